//! What the announcer does when things happen to it: upgrades withdraw nothing, a program may stand for BIRD, and a PoP leaves for what
//! only it cannot do.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_tests::deadline::{PATIENCE, throughout, until};
use portolan_tests::lab::anycast::{
    announce, next_hop, obey, served_by, states, until_by, until_states,
};
use portolan_tests::lab::scene::{self, LINES};
use portolan_tests::lab::{Lab, VIPS, World, node};
use portolan_tests::load::Load;
use portolan_tests::peer::{is_installed, skip};
use portolan_tests::process::Process;

/// Every change of a router's routes, as they happen.
async fn watch_routes(lab: &Lab, router: &str) -> Process {
    let mut command = node::command("ip");
    command.args(["-o", "monitor", "route"]);
    lab.node(router).spawn("ip monitor", command).await
}

fn changes(watch: &Process) -> Vec<String> {
    let text = watch.output();
    let ours = text.lines().filter(|line| line.contains("203.0.113.10"));
    ours.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_withdraws_nothing_and_loses_nobody() {
    let Some(mut lab) = Lab::start(World::atlantic().without_vips()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let mut edge = announce(&mut lab, "pop-iad", "r-use", "drain = \"1s\"").await;
    until_states(&edge, &["announced", "announced"]).await;
    let watch = watch_routes(&lab, "r-use").await;
    let at = SocketAddr::new(VIPS[0], LINES);
    let start = async move || Load::start(at, 50);
    let load = lab.node("c-nyc").run(start).await;
    load.until_done(50).await;

    let predecessor = edge.upgrade(&[]).await;
    load.until_done(50).await;
    // However the old process ends.
    predecessor.signal("KILL");
    drop(predecessor);
    throughout("it is announced", Duration::from_secs(3), async || {
        next_hop(&lab, "r-use").await == "pop-iad"
    })
    .await;
    // Of the new process, which looks for itself.
    until_states(&edge, &["announced", "announced"]).await;
    assert_eq!(changes(&watch), Vec::<String>::new());
    let attempts = load.stop().await;
    let lost = attempts.iter().filter(|attempt| attempt.answer.is_err());
    assert_eq!(lost.count(), 0);

    // The successor's life is what holds it.
    edge.signal("KILL");
    until("the router hears of it", PATIENCE, async || {
        !changes(&watch).is_empty()
    })
    .await;
}

/// A program that stands for ExaBGP, GoBGP or a cloud: it makes of what it is told routes of the BIRD in that folder.
const SPEAKER: &str = r#"#!/bin/sh
set -e
told=$(cat)
echo "$told" >> "$1/told"
n=0
for prefix in $(echo "$told" | grep -o '"prefix":"[^"]*"' | cut -d'"' -f4); do
    n=$((n + 1))
    case $prefix in *:*) family=ipv6 ;; *) family=ipv4 ;; esac
    echo "protocol static told_$n { $family; route $prefix blackhole; }"
done > "$1/announced.new"
mv "$1/announced.new" "$1/announced.conf"
birdc -s "$1/bird.ctl" configure | grep -q -e Reconfigured -e 'in progress'
"#;

fn speaker(folder: &Path) -> PathBuf {
    let path = folder.join("speaker");
    std::fs::write(&path, SPEAKER).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_announces_and_withdraws_as_it_is_told() {
    let world = World::atlantic().without_vips();
    let Some(mut lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let folder = lab.bird("pop-iad").include();
    let folder = folder.parent().unwrap().to_owned();
    // The interface's name is none that the lab's BIRD announces by itself.
    let announce = format!(
        "[announce]\nmode = [\"interface\", \"exec\"]\ninterface = \"accelerators\"\ncommand = [\"{}\", \"{}\"]\ndrain = \"1s\"\nself_check = \"200ms\"\n",
        speaker(&folder).display(),
        folder.display()
    );
    let toml = scene::mapped(&world, "pop-iad", "");
    let edge = scene::pop(&lab, "pop-iad", &format!("{toml}\n{announce}")).await;
    until_by(&lab, "r-use", "pop-iad").await;
    let served = served_by(&lab, "c-nyc").await.unwrap();
    assert!(served.starts_with("us-east-1-"), "{served}");

    edge.command(&["drain", "--pop"]).await;
    until("it is withdrawn", PATIENCE, async || {
        next_hop(&lab, "r-use").await != "pop-iad"
    })
    .await;
    // The interface's part of it may come first.
    let told = || std::fs::read_to_string(folder.join("told")).unwrap();
    until("it is told so", PATIENCE, async || {
        told().ends_with("{\"announce\":[],\"pop\":\"pop-iad\"}\n")
    })
    .await;
    let leaving = r#"{"leaving":true,"prefix":"203.0.113.10/32"}"#;
    assert!(told().contains(leaving), "{}", told());
    edge.command(&["undrain", "--pop"]).await;
    until_by(&lab, "r-use", "pop-iad").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop_stays_when_every_endpoint_is_down_and_leaves_when_it_cannot_serve_itself() {
    let Some(mut lab) = Lab::start(World::atlantic().without_vips()).await else {
        return;
    };
    let mut endpoints = scene::serve_everywhere(&lab).await;
    let edge = announce(&mut lab, "pop-iad", "r-use", "hold = \"1s\"").await;
    until_by(&lab, "r-use", "pop-iad").await;
    for endpoint in &mut endpoints {
        endpoint.process.signal("KILL");
    }
    for endpoint in &endpoints {
        edge.until_health(&endpoint.id, "DOWN", PATIENCE).await;
    }
    // More than three checks and what they may take.
    throughout("it stays", Duration::from_secs(3), async || {
        next_hop(&lab, "r-use").await == "pop-iad"
    })
    .await;
    assert_eq!(states(&edge).await, ["announced", "announced"]);

    if !is_installed("nft") {
        return skip("nft is not installed");
    }
    let pop = lab.node("pop-iad");
    let deaf = "nft 'add table ip deaf; add chain ip deaf in { type filter hook input priority 0; }; add rule ip deaf in ip daddr 203.0.113.10 drop'";
    obey(pop, vec![deaf.to_owned()]).await;
    until("its own address is withdrawn", PATIENCE, async || {
        next_hop(&lab, "r-use").await != "pop-iad"
    })
    .await;
    until_states(&edge, &["withdrawn", "announced"]).await;
    obey(pop, vec!["nft delete table ip deaf".to_owned()]).await;
    until_by(&lab, "r-use", "pop-iad").await;
}
