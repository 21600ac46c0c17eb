//! What the data path receives with: io_uring while many flows are busy, never when it is not wanted, and a way to go on where it is not
//! to be had. That no byte suffers is shown by the suites of the relay and of upgrades, which `make test` runs with io_uring, too.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use portolan_tests::deadline::{PATIENCE, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::peer::{is_installed, skip};
use portolan_tests::toml::{Group, shop};
use portolan_tests::{binary, place};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Callers that speak at once: more than a crowd for each of two workers.
const MANY: usize = 600;
const FEW: usize = 4;

async fn edge(engine: &str) -> (Edge, Endpoint, SocketAddr) {
    let endpoint = Endpoint::start("a", endpoint::echo()).await;
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .with("health_check = { protocol = \"NONE\" }")
        .endpoint(&endpoint);
    let pop = format!("[pop]\nname = \"test\"\nworkers = 2\nio_engine = \"{engine}\"\n");
    let edge = Edge::start(&(pop + &shop(at, "", &[group]))).await;
    (edge, endpoint, at)
}

async fn callers(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut callers = Vec::new();
    for _ in 0..count {
        let connect = patiently("a connection", TcpStream::connect(to));
        callers.push(connect.await.unwrap());
    }
    callers
}

/// What a caller says in a round; no two say the same.
fn words(caller: usize, round: usize) -> String {
    format!("caller {caller:>8}, round {round:>8}\n")
}

async fn all_speak(callers: &mut [TcpStream], round: usize) {
    for (number, caller) in callers.iter_mut().enumerate() {
        let said = words(number, round);
        caller.write_all(said.as_bytes()).await.unwrap();
    }
}

async fn all_are_answered(callers: &mut [TcpStream], round: usize) {
    for (number, caller) in callers.iter_mut().enumerate() {
        let said = words(number, round);
        let mut heard = vec![0; said.len()];
        let read = patiently("an answer", caller.read_exact(&mut heard));
        read.await.unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), said);
    }
}

/// All of them, each in its turn, so often that every flow is one that goes on.
async fn converse(callers: &mut [TcpStream]) {
    for round in 0..8 {
        all_speak(callers, round).await;
        all_are_answered(callers, round).await;
    }
}

/// What all of them say waits in the queues of a stopped process: however fast this machine is, there is a crowd.
async fn crowd(edge: &Edge, callers: &mut [TcpStream]) {
    edge.in_one_go(async || all_speak(callers, 8).await).await;
    all_are_answered(callers, 8).await;
}

/// Whether it never receives by io_uring.
async fn copies(edge: &Edge) -> bool {
    let (_, metrics) = edge.get("/metrics").await;
    metrics.contains("portolan_relay_mode{mode=\"copy\"}")
}

async fn on_ring(edge: &Edge) -> f64 {
    edge.metrics().await.sum("io_uring_flows_total", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_busy_flows_are_received_by_io_uring_and_few_are_not() {
    let (edge, _endpoint, at) = edge("auto").await;
    if copies(&edge).await {
        return skip("io_uring cannot be used here");
    }
    let mut few = callers(at, FEW).await;
    converse(&mut few).await;
    crowd(&edge, &mut few).await;
    assert_eq!(on_ring(&edge).await, 0.0);

    let mut many = callers(at, MANY).await;
    converse(&mut many).await;
    crowd(&edge, &mut many).await;
    assert!(on_ring(&edge).await > MANY as f64 / 4.0);
    // And on they go.
    converse(&mut many).await;
    drop((few, many));
    until("all flows are over", PATIENCE, async || {
        edge.metrics().await.sum("flows_active", &[]) == 0.0
            && edge.metrics().await.sum("flows_total", &[]) == (FEW + MANY) as f64
    })
    .await;
    assert_eq!(edge.ended("client_fin").await, (FEW + MANY) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flow_is_where_io_uring_is_off() {
    let (edge, _endpoint, at) = edge("epoll").await;
    let mut many = callers(at, MANY).await;
    converse(&mut many).await;
    crowd(&edge, &mut many).await;
    assert_eq!(on_ring(&edge).await, 0.0);
    assert!(copies(&edge).await);
    assert_eq!(edge.state().await["relay_mode"], "copy");
}

/// `portolan check`, forbidden to make a ring.
fn check_without_io_uring(file: &Path) -> (Option<i32>, String) {
    let output: Output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup"])
        .args(["-e", "inject=io_uring_setup:error=EPERM"])
        .arg(binary::portolan())
        .args(["check", "--config"])
        .arg(file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn where_the_kernel_forbids_it_choice_goes_on_and_demand_is_told() {
    if !is_installed("strace") {
        return skip("strace is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    let written = |engine: &str| {
        std::fs::write(&file, format!("[pop]\nio_engine = \"{engine}\"\n")).unwrap();
        check_without_io_uring(&file)
    };
    let (code, said) = written("auto");
    if said.contains("ptrace") {
        return skip("strace may not attach to a process here (ptrace)");
    }
    assert_eq!(code, Some(0), "{said}");
    let row = "io_uring cannot be used here: Operation not permitted";
    assert!(said.contains(row), "{said}");

    let (code, said) = written("io_uring");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("pop.io_engine") && said.contains("kernel.io_uring_disabled"),
        "{said}"
    );
}
