//! Bulk through the kernel alone: where the file asks for it, for what is bulk and for nothing else, and a way to go on where it is not to be
//! had. That no byte suffers is shown by the suites of the relay and of upgrades, which `make test` runs with it, too.

use std::net::SocketAddr;
use std::process::Command;

use portolan_tests::client::Caller;
use portolan_tests::deadline::{PATIENCE, eventually, patiently};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Behaviour, Endpoint};
use portolan_tests::payload::{self, Exchange, Order};
use portolan_tests::peer::{is_installed, skip};
use portolan_tests::toml::{Group, shop};
use portolan_tests::{binary, place};
use tokio::net::TcpStream;

/// Few enough for the part of them that pipes take to matter.
const DESCRIPTORS: u32 = 1024;

async fn edge(splice: bool, behaviour: Behaviour) -> (Edge, Endpoint, SocketAddr) {
    let endpoint = Endpoint::start("a", behaviour).await;
    let at = place::fresh();
    let group = Group::new("r", "1ms").unasked().endpoint(&endpoint);
    let pop =
        format!("[pop]\nname = \"test\"\nworkers = 2\nio_engine = \"epoll\"\nsplice = {splice}\n");
    let toml = pop + &shop(at, "", &[group]);
    let edge = Edge::with(&toml).descriptors(DESCRIPTORS).ready().await;
    (edge, endpoint, at)
}

async fn spliced(edge: &Edge) -> f64 {
    edge.metrics().await.sum("spliced_bytes_total", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_bulk_is_spliced_and_recorded_like_all_else() {
    let (edge, _endpoint, at) = edge(true, payload::exchanging()).await;
    assert_eq!(edge.state().await["relay_mode"], "copy,splice");
    let exchange = Exchange {
        seed: 11,
        up: 20_000_000,
        down: 30_000_000,
        order: Order::AfterClient,
        piece: 65_536,
    };
    let stream = TcpStream::connect(at).await.unwrap();
    let asked = patiently("an answer", exchange.ask(stream));
    asked.await.unwrap();
    let record = eventually("its record", PATIENCE, async || edge.flows().pop()).await;
    let moved = ["bytes_in", "bytes_out"].map(|key| record[key].as_u64().unwrap());
    // Its head goes before what the client says.
    assert_eq!(moved, [20_000_000 + 40, 30_000_000]);
    assert_eq!(record["cause"], "client_fin");
    let spliced = spliced(&edge).await;
    assert!(spliced > 10_000_000.0, "{spliced} bytes");
    assert!(spliced < 50_000_000.0, "{spliced} bytes");
}

#[tokio::test]
async fn no_request_is_spliced() {
    let (edge, _endpoint, at) = edge(true, endpoint::naming()).await;
    let mut caller = Caller::connect(at).await.unwrap();
    for _ in 0..100 {
        assert_eq!(caller.ask("x").await.unwrap(), "a");
    }
    assert_eq!(spliced(&edge).await, 0.0);
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("splice_fallbacks_total", &[]), 0.0);
}

#[tokio::test]
async fn pipes_take_descriptors_from_flows() {
    let flows = async |splice: bool| {
        let (edge, ..) = edge(splice, endpoint::naming()).await;
        edge.metrics().await.sum("flows_limit", &[])
    };
    // A sixteenth of all descriptors, two a flow.
    let part = f64::from(DESCRIPTORS / 16 / 2);
    assert_eq!(flows(false).await - flows(true).await, part);
}

/// A process that the kernel forbids to splice says so, and serves.
#[tokio::test]
async fn where_the_kernel_forbids_it_bulk_is_copied() {
    if !is_installed("strace") {
        return skip("strace is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    std::fs::write(&file, "[pop]\nio_engine = \"epoll\"\nsplice = true\n").unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=splice"])
        .args(["-e", "inject=splice:error=EPERM"])
        .arg(binary::portolan())
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if said.contains("ptrace") {
        return skip("strace may not attach to a process here (ptrace)");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let row = "splice cannot be used here: Operation not permitted";
    assert!(said.contains(row), "{said}");
}
