//! UDP through the edge as programs see it that we did not write: iperf3, whose sender numbers its datagrams and whose receiver counts
//! them, and aioquic, whose client moves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portolan_tests::deadline::{PATIENCE, eventually, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::peer::{self, Peer};
use portolan_tests::process::Process;
use portolan_tests::toml::{Group, datagrams, shop};
use portolan_tests::{binary, place};
use serde_json::Value;

#[tokio::test]
async fn iperf3_speaks_to_its_server_over_tcp_and_udp_at_one_port() {
    let Some(program) = peer::find("iperf3") else {
        return;
    };
    let to = place::fresh();
    let (address, port) = (to.ip().to_string(), to.port().to_string());
    let arguments = ["--server", "--bind", &address, "--port", &port];
    let _server = Peer::start(program.clone(), &arguments, "", to).await;
    let at = place::fresh();
    let group = || Group::new("r", "1ms").unasked().named("server", to, "");
    // Its control connection is one of TCP to the port that its datagrams go to.
    let toml = format!(
        "{}\n{}",
        shop(at, "", &[group()]),
        datagrams(at, "", &[group()]).replace("\"shop\"", "\"stream\"")
    );
    let edge = Edge::start(&toml).await;
    for more in [&[][..], &["--reverse"], &["--length", "9000"]] {
        for turn in 1..=TURNS {
            let ran = lost_by_iperf3(&program, at, more).await;
            println!("iperf3 --udp {more:?}: lost, of all: {ran:?}");
            // Nothing is lost on a machine that has time; a tenth says that datagrams pass, in order and to the right stream.
            if ran
                .as_ref()
                .is_ok_and(|(lost, all)| *all > 50.0 && *lost <= all / 10.0)
            {
                break;
            }
            assert!(turn < TURNS, "{ran:?}");
        }
    }
    until("all flows are seen", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.sum("datagrams_total", &[("direction", "out")]) > 50.0
    })
    .await;
}

/// How often it is tried: a busy machine loses some, and a server that is not done with one client yet refuses the next.
const TURNS: usize = 5;

/// Two streams of a second, with these words more: how many datagrams were lost, of how many; or what iperf3 has to complain of.
async fn lost_by_iperf3(
    program: &Path,
    at: SocketAddr,
    more: &[&str],
) -> Result<(f64, f64), String> {
    let mut run = tokio::process::Command::new(program);
    run.args(["--client", &at.ip().to_string()]);
    run.args(["--port", &at.port().to_string()]);
    run.args(["--udp", "--bitrate", "10M", "--parallel", "2"]);
    run.args(["--time", "1", "--json"]).args(more);
    let output = patiently("iperf3", run.kill_on_drop(true).output()).await;
    let output = output.expect("iperf3 can be run");
    let said: Value = serde_json::from_slice(&output.stdout).expect("iperf3 says JSON");
    if let Some(error) = said["error"].as_str() {
        return Err(error.to_owned());
    }
    let sum = &said["end"]["sum"];
    let number = |name: &str| sum[name].as_f64().expect("a number");
    Ok((number("lost_packets"), number("packets")))
}

/// The Python of the virtual environment with aioquic; `None`, and a line that says so, without it.
fn python_of_quic() -> Option<PathBuf> {
    let folder = binary::root().join("target/quic-clients");
    let found = folder.join("bin/python");
    if folder.join(".installed").exists() && found.exists() {
        return Some(found);
    }
    peer::skip("aioquic is not installed: run tests/python.sh quic-clients");
    None
}

fn aioquic(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(binary::root().join("tests/quic_peer.py"));
    command
}

/// An endpoint of aioquic's that says its name.
async fn endpoint(python: &Path, at: SocketAddr, name: &str, keys: &Path) -> Process {
    let mut command = aioquic(python);
    command.args(["serve", &at.ip().to_string(), &at.port().to_string(), name]);
    command.args([keys.join("certificate"), keys.join("key")]);
    let mut process = Process::spawn("an endpoint of aioquic", &mut command);
    until("aioquic serves", PATIENCE, async || {
        if let Some(status) = process.ended() {
            panic!("aioquic ended with {status}:\n{}", process.output());
        }
        process.output().contains("serving")
    })
    .await;
    process
}

fn download(python: &Path, at: SocketAddr, keys: &Path) -> tokio::process::Command {
    let mut command = aioquic(python);
    command.args(["download", &at.ip().to_string(), &at.port().to_string()]);
    command.args(["300000", "3"]).arg(keys.join("certificate"));
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn aioquic_downloads_from_one_endpoint_while_its_client_moves() {
    let Some(python) = python_of_quic() else {
        return;
    };
    let keys = tempfile::tempdir().expect("there is a temporary directory");
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).expect("a key");
    std::fs::write(keys.path().join("certificate"), made.cert.pem()).expect("it is writable");
    let key = made.signing_key.serialize_pem();
    std::fs::write(keys.path().join("key"), key).expect("it is writable");
    let (a, b) = (place::fresh(), place::fresh());
    let _endpoints = (
        endpoint(&python, a, "a", keys.path()).await,
        endpoint(&python, b, "b", keys.path()).await,
    );
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .unasked()
        .named("a", a, "")
        .named("b", b, "");
    let edge = Edge::start(&datagrams(at, "quic = true", &[group])).await;
    // Six clients that move three times: a pick anew each time would be right by chance once in 260,000 runs.
    let downloads: Vec<_> = (0..6)
        .map(|_| tokio::spawn(download(&python, at, keys.path()).output()))
        .collect();
    let mut served = String::new();
    for download in downloads {
        let output: Output = patiently("a download", download)
            .await
            .expect("it does not panic")
            .expect("python can be run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{errors}");
        let names = said.trim();
        let first = &names[..1];
        assert_eq!(names, first.repeat(4), "four downloads of one connection");
        served += first;
    }
    let flows = eventually("flows are counted", PATIENCE, async || {
        let metrics = edge.metrics().await;
        let flows = metrics.sum("flows_active", &[]);
        (flows >= 6.0).then_some(flows)
    })
    .await;
    println!("aioquic: 6 connections over {flows} flows, each at one endpoint: {served}");
}
