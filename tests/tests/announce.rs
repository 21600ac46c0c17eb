//! What an announcer tells a program, on a host without routers: no more than it must, and everything that goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_tests::deadline::{PATIENCE, throughout, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::place;
use portolan_tests::toml::{Group, shop};
use tempfile::TempDir;

const ALL: &str =
    "{\"announce\":[{\"leaving\":false,\"prefix\":\"203.0.113.10/32\"}],\"pop\":\"test\"}\n";
const NOTHING: &str = "{\"announce\":[],\"pop\":\"test\"}\n";

/// A program that notes what it is told.
struct Program {
    folder: TempDir,
}

impl Program {
    fn new() -> Program {
        let folder = tempfile::tempdir().expect("a folder");
        Program { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("told")
    }

    /// The file's section for it. The address is on no interface here, so that it is not checked.
    fn section(&self, modes: &str, more: &str) -> String {
        format!(
            "[announce]\nmode = [{modes}]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\nself_check = \"off\"\n{more}\n",
            self.file().display()
        )
    }

    fn told(&self) -> String {
        read(&self.file())
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A file with one address to announce.
fn served(endpoint: &Endpoint) -> String {
    let at = (
        std::net::Ipv4Addr::new(203, 0, 113, 10),
        place::fresh().port(),
    )
        .into();
    shop(at, "", &[Group::new("r", "1ms").endpoint(endpoint)])
}

#[tokio::test]
async fn a_way_that_leaves_the_file_is_told_that_nothing_is_announced() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let (program, other) = (Program::new(), Program::new());
    let served = served(&endpoint);
    let edge = Edge::start(&format!("{}\n{served}", program.section("\"exec\"", ""))).await;
    until("all is announced", PATIENCE, async || program.told() == ALL).await;

    edge.rewrite(&format!("{}\n{served}", other.section("\"exec\"", "")));
    edge.signal("HUP");
    until("the other one is told", PATIENCE, async || {
        other.told() == ALL
    })
    .await;
    assert_eq!(program.told(), format!("{ALL}{NOTHING}"));

    edge.rewrite(&served);
    edge.signal("HUP");
    let all_gone = format!("{ALL}{NOTHING}");
    until("it is withdrawn", PATIENCE, async || {
        other.told() == all_gone
    })
    .await;
    until("nothing is shown of it", PATIENCE, async || {
        edge.state().await["announce"].is_null()
            && edge.metrics().await.sum("announced_prefixes", &[]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn an_interface_that_cannot_be_had_is_told_once_and_leaves_the_other_ways_alone() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let program = Program::new();
    // With all rights there is no second one of this name.
    let section = program.section("\"interface\", \"exec\"", "interface = \"lo\"");
    let edge = Edge::start(&format!("{section}\n{}", served(&endpoint))).await;
    until("all is announced", PATIENCE, async || program.told() == ALL).await;
    let is_told = async || {
        let error = edge.state().await["announce"]["error"].to_string();
        error.contains("interface lo")
    };
    until("the error is shown", PATIENCE, &is_told).await;
    throughout("the error stands", Duration::from_secs(3), &is_told).await;
    assert_eq!(program.told(), ALL);
    let log = edge.log();
    assert_eq!(log.matches("announcing: interface lo").count(), 1, "{log}");
    assert!(!log.contains("announcing works again"), "{log}");
}
