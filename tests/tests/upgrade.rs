//! A process hands everything to the next one: no connection fails, live ones finish or go along, and what goes wrong changes nothing.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use portolan_tests::client::{self, Caller, End};
use portolan_tests::deadline::{PATIENCE, eventually, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::load::Load;
use portolan_tests::payload::stretch;
use portolan_tests::place;
use portolan_tests::process::Process;
use portolan_tests::toml::{Group, accelerator, shop};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// As many as the largest file has ports that are sockets.
const PORTS: u16 = 1000;

async fn unfailed(load: Load) -> usize {
    let attempts = load.stop().await;
    let failed: Vec<_> = attempts
        .iter()
        .filter(|attempt| attempt.answer.is_err())
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        attempts.len(),
        &failed[..failed.len().min(5)]
    );
    attempts.len()
}

async fn one_shop(behaviour: endpoint::Behaviour) -> (Edge, Endpoint, SocketAddr) {
    let endpoint = Endpoint::start("a", behaviour).await;
    let at = place::fresh();
    let groups = [Group::new("near", "1ms").endpoint(&endpoint)];
    let edge = Edge::start(&shop(at, "", &groups)).await;
    (edge, endpoint, at)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_upgrades_of_a_thousand_listeners_fail_no_connection() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let ip = place::fresh();
    let (first, last) = (20_000, 20_000 + PORTS - 1);
    let group = Group::new("near", "1ms").endpoint(&endpoint);
    let toml = accelerator("shop", &[ip], &format!("\"{first}-{last}\""), "", &[group]);
    let mut edge = Edge::start(&toml).await;
    let ports = [first, first + 333, first + 666, last];
    let loads = ports.map(|port| Load::start(SocketAddr::new(ip.ip(), port), 50));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        let mut old = edge.upgrade(&[]).await;
        slowest = slowest.max(began.elapsed());
        assert!(old.end(PATIENCE).await.success(), "{}", old.output());
        loads[0].until_done(10).await;
    }
    let mut connections = 0;
    for load in loads {
        connections += unfailed(load).await;
    }
    println!(
        "20 upgrades, {PORTS} ports: 0 of {connections} connections failed; the slowest took {slowest:?} from start to serving"
    );
    // And the edge is what it was: its admin server answers, every port listens once.
    assert_eq!(edge.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn live_flows_finish_in_the_old_process() {
    let (mut edge, endpoint, at) = one_shop(endpoint::naming()).await;
    let mut callers = Vec::new();
    for number in 0..20 {
        let mut caller = Caller::connect(at).await.unwrap();
        caller.ask(&format!("before-{number}")).await.unwrap();
        callers.push(caller);
    }
    let mut old = edge.upgrade(&[]).await;
    for caller in &mut callers {
        assert_eq!(caller.ask("after").await.unwrap(), "a");
    }
    assert_eq!(client::ask(at, "new").await.unwrap(), "a");
    assert!(old.ended().is_none());
    until("the new flow has ended", PATIENCE, async || {
        edge.endpoint("a").await["active_flows"] == 0 && endpoint.seen().live() == 20
    })
    .await;
    drop(callers);
    assert!(old.end(PATIENCE).await.success());
    until("every record is written", PATIENCE, async || {
        edge.flows().len() == 21
    })
    .await;
    assert!(edge.flows().iter().all(|flow| flow["cause"] != "shutdown"));
}

#[tokio::test]
async fn the_old_process_watches_over_the_flows_it_has() {
    let near = Endpoint::start("near", endpoint::naming()).await;
    let far = Endpoint::start("far", endpoint::naming()).await;
    let at = place::fresh();
    let groups = [
        Group::new("near", "1ms").endpoint(&near),
        Group::new("far", "50ms").endpoint(&far),
    ];
    let mut edge = Edge::start(&shop(at, "", &groups)).await;
    edge.until_health("near", "UP", PATIENCE).await;
    let mut caller = Caller::connect(at).await.unwrap();
    assert_eq!(caller.ask("before").await.unwrap(), "near");
    let mut old = edge.upgrade(&[]).await;
    near.vanish().await;
    assert_eq!(caller.end().await, End::Reset);
    assert!(old.end(PATIENCE).await.success());
}

/// A connection that sends its stream, gets it back, and compares every byte until it is told to stop. One that is `lazy` reads less
/// than it sends, so that the edge has to keep some.
async fn echoed(at: SocketAddr, seed: u64, lazy: bool, stop: watch::Receiver<bool>) -> u64 {
    let (mut from, mut to) = TcpStream::connect(at).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        let (mut sent, piece) = (0, if lazy { 60_000 } else { 700 });
        while !*stop.borrow() {
            let bytes = stretch(seed, sent, piece);
            to.write_all(bytes).await.unwrap();
            sent += bytes.len() as u64;
            if !lazy {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        to.shutdown().await.unwrap();
        sent
    });
    let (mut seen, mut buffer) = (0, vec![0; 9_000]);
    loop {
        let read = patiently("the echo", from.read(&mut buffer)).await.unwrap();
        if read == 0 {
            break;
        }
        assert!(
            buffer[..read] == *stretch(seed, seen, read),
            "flow {seed}, byte {seen}"
        );
        seen += read as u64;
        if lazy && !sending.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(sending.await.unwrap(), seen, "flow {seed}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn with_flows_all_of_them_go_on_in_the_new_process_byte_for_byte() {
    let (mut edge, endpoint, at) = one_shop(endpoint::echo()).await;
    let (stop, stopped) = watch::channel(false);
    let mut flows = JoinSet::new();
    for seed in 0..200 {
        flows.spawn(echoed(at, seed, seed % 10 == 0, stopped.clone()));
    }
    let all = async |edge: &Edge| edge.endpoint("a").await["active_flows"] == 200;
    // Established, all of them: a listening queue may have been full, and then a SYN is sent again after a second.
    until("200 flows", PATIENCE, async || {
        all(&edge).await && endpoint.seen().live() >= 200
    })
    .await;

    let mut old = edge.upgrade(&["--with-flows"]).await;
    let began = Instant::now();
    assert!(old.end(PATIENCE).await.success(), "{}", old.output());
    println!(
        "the old process had gone {:?} after the new one said that it serves",
        began.elapsed()
    );
    until("all flows are there", PATIENCE, async || {
        all(&edge).await && edge.log().contains("live flows were taken over")
    })
    .await;

    // They carry on for a while, and through another upgrade.
    let load = Load::start(at, 20);
    load.until_done(20).await;
    let mut second = edge.upgrade(&["--with-flows"]).await;
    assert!(second.end(PATIENCE).await.success(), "{}", second.output());
    load.until_done(20).await;
    load.stop().await;
    // And a probe, now and then.
    until("200 connections to the endpoint", PATIENCE, async || {
        endpoint.seen().live() == 200
    })
    .await;

    stop.send_replace(true);
    let mut bytes = 0;
    while let Some(flow) = patiently("the flows' ends", flows.join_next()).await {
        bytes += flow.unwrap();
    }
    println!("200 of 200 flows went on, {bytes} bytes, each compared");
    let echoes = || {
        let mut flows = edge.flows();
        flows.retain(|flow| flow["bytes_in"].as_u64() > Some(1000));
        flows
    };
    until("every record is written", PATIENCE, async || {
        echoes().len() == 200
    })
    .await;
    let recorded: u64 = echoes()
        .iter()
        .map(|flow| flow["bytes_in"].as_u64().unwrap())
        .sum();
    assert_eq!(
        recorded, bytes,
        "records count the bytes of all three processes"
    );
    assert!(echoes().iter().all(|flow| flow["cause"] == "client_fin"));
    let ids: std::collections::HashSet<_> =
        echoes().iter().map(|f| f["flow_id"].to_string()).collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn a_third_is_refused_while_two_finish_their_flows() {
    let (mut edge, _endpoint, at) = one_shop(endpoint::naming()).await;
    let mut callers = Vec::new();
    let mut olds = Vec::new();
    for _ in 0..2 {
        let mut caller = Caller::connect(at).await.unwrap();
        caller.ask("x").await.unwrap();
        callers.push(caller);
        olds.push(edge.upgrade(&[]).await);
    }
    let mut refused = edge.successor(&[]);
    assert_eq!(refused.end(PATIENCE).await.code(), Some(1));
    let why = refused.output();
    for old in &olds {
        assert!(why.contains(&old.pid().to_string()), "{why}");
    }
    assert!(why.contains("--with-flows"), "{why}");

    let mut caller = Caller::connect(at).await.unwrap();
    caller.ask("x").await.unwrap();
    let mut third = edge.upgrade(&["--with-flows"]).await;
    assert!(third.end(PATIENCE).await.success());
    for caller in callers.iter_mut().chain([&mut caller]) {
        assert_eq!(caller.ask("still").await.unwrap(), "a");
    }
    drop(callers);
    for old in &mut olds {
        assert!(old.end(PATIENCE).await.success());
    }
    let mut last = edge.upgrade(&[]).await;
    assert_eq!(caller.ask("still").await.unwrap(), "a");
    drop(caller);
    assert!(last.end(PATIENCE).await.success());
}

#[tokio::test]
async fn health_and_drains_are_known_from_the_first_moment() {
    let up = Endpoint::start("up", endpoint::naming()).await;
    let down = Endpoint::start("down", endpoint::naming()).await;
    let drained = Endpoint::start("drained", endpoint::naming()).await;
    down.refuse().await;
    let at = place::fresh();
    // Asked once at the start and not again: a slow upgrade must not be overtaken by probes that fail.
    let group = Group::new("near", "1ms")
        .with(r#"health_check = { protocol = "TCP", interval = "300s" }"#)
        .endpoint(&up)
        .endpoint(&down)
        .endpoint(&drained);
    let mut edge = Edge::start(&shop(at, "", &[group])).await;
    edge.until_health("down", "DOWN", PATIENCE).await;
    edge.until_health("up", "UP", PATIENCE).await;
    assert_eq!(edge.post("/api/v1/endpoints/drained/drain").await.0, 200);

    // From here on nothing answers a probe; what is known can only come from the process before.
    for endpoint in [&up, &down, &drained] {
        endpoint.swallow().await;
    }
    let mut old = edge.upgrade(&[]).await;
    let after = edge.endpoint("up").await;
    assert_eq!(after["health"], "UP");
    // Since before the new process read its file; times of RFC 3339 compare as text.
    let loaded = edge.state().await["config"]["loaded_at"].to_string();
    assert!(
        *after["health_since"].to_string() < *loaded,
        "{after} {loaded}"
    );
    assert_eq!(edge.endpoint("down").await["health"], "DOWN");
    assert_eq!(edge.endpoint("drained").await["draining"], true);
    assert!(old.end(PATIENCE).await.success());
    // The new process writes the state file, and reads what it wrote.
    assert_eq!(edge.post("/api/v1/endpoints/drained/undrain").await.0, 200);
    let mut old = edge.upgrade(&[]).await;
    assert_eq!(edge.endpoint("drained").await["draining"], false);
    assert!(old.end(PATIENCE).await.success());
}

#[tokio::test]
async fn without_a_process_to_take_over_from_it_is_a_plain_start() {
    let (mut edge, _endpoint, at) = one_shop(endpoint::naming()).await;
    edge.signal("KILL");
    edge.process().end(PATIENCE).await;
    // The socket of the killed process is still there, and nobody listens on it.
    assert!(edge.upgrade_socket().exists());
    edge.upgrade(&["--with-flows"]).await;
    assert!(
        edge.log().contains("nobody to take over from"),
        "{}",
        edge.log()
    );
    until("it serves", PATIENCE, async || {
        client::ask(at, "x").await.is_ok()
    })
    .await;
}

/// A successor of this test's own making, which says what it likes.
struct Impostor(UnixStream);

impl Impostor {
    fn connect(edge: &Edge) -> Impostor {
        let stream = UnixStream::connect(edge.upgrade_socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Impostor(stream)
    }

    fn say(&mut self, message: &Value) {
        let text = message.to_string();
        let mut frame = b"PTUP".to_vec();
        for number in [0, text.len() as u32, 0] {
            frame.extend_from_slice(&number.to_be_bytes());
        }
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).unwrap();
    }

    /// Descriptors that come along are closed by the kernel, as nobody asks for them.
    fn hear(&mut self) -> Value {
        let mut head = [0; 16];
        self.0.read_exact(&mut head).unwrap();
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let mut text = vec![0; number(8) as usize];
        self.0.read_exact(&mut text).unwrap();
        assert_eq!(number(12), 0, "a blob");
        serde_json::from_slice(&text).unwrap()
    }

    fn hello(&mut self, protocol: u32) -> Value {
        let process = json!({ "pid": std::process::id(), "started": 1 });
        self.say(&json!({ "message": "hello", "protocol": protocol, "version": "9.9.9", "process": process }));
        self.hear()
    }

    fn until_state(&mut self) {
        assert_eq!(self.hello(1)["message"], "welcome");
        loop {
            match self.hear()["message"].as_str() {
                Some("sockets") => self.say(&json!({ "message": "taken" })),
                Some("state") => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_successor_does_wrong_the_old_process_serves() {
    let (mut edge, _endpoint, at) = one_shop(endpoint::naming()).await;
    let pid = edge.process().pid();
    let load = Load::start(at, 100);

    // Garbage, a protocol of another age, silence at once.
    let mut garbage = Impostor::connect(&edge);
    garbage
        .0
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(garbage.hear()["message"], "refuse");
    let answer = Impostor::connect(&edge).hello(99);
    assert_eq!(answer["message"], "refuse");
    assert!(
        answer["why"]
            .as_str()
            .unwrap()
            .contains("protocol 1, not 99"),
        "{answer}"
    );
    let _silent = Impostor::connect(&edge);

    // Gone with all sockets in its hands; gone when it should serve.
    let mut gone = Impostor::connect(&edge);
    gone.until_state();
    drop(gone);
    until("it is noticed", PATIENCE, async || {
        edge.log().contains("went away")
    })
    .await;
    let mut gone = Impostor::connect(&edge);
    gone.until_state();
    gone.say(&json!({ "message": "ready" }));
    assert_eq!(gone.hear()["message"], "going");
    // In between nothing is drained here that the successor would not hear of.
    assert_eq!(edge.post("/api/v1/pop/drain").await.0, 503);
    drop(gone);
    until("drains are taken again", PATIENCE, async || {
        edge.post("/api/v1/pop/drain").await.0 == 200
    })
    .await;
    assert_eq!(edge.post("/api/v1/pop/undrain").await.0, 200);

    // One that hangs holds the turn, but not for ever.
    let mut hanging = Impostor::connect(&edge);
    assert_eq!(hanging.hello(1)["message"], "welcome");
    let mut other = edge.successor(&[]);
    assert_eq!(other.end(PATIENCE).await.code(), Some(1));
    assert!(
        other.output().contains("another upgrade is under way"),
        "{}",
        other.output()
    );
    until("the turn is over", PATIENCE, async || {
        // The silent one's and this one's.
        edge.log().matches("did not answer in time").count() == 2
    })
    .await;

    assert_eq!(edge.process().pid(), pid);
    assert!(edge.process().ended().is_none());
    load.until_done(20).await;
    unfailed(load).await;
    // After all of that an upgrade is still one.
    let mut old = edge.upgrade(&[]).await;
    assert!(old.end(PATIENCE).await.success());
    assert_eq!(client::ask(at, "x").await.unwrap(), "a");
}

#[tokio::test]
async fn a_broken_file_ends_the_new_process_before_it_asks() {
    let (mut edge, _endpoint, at) = one_shop(endpoint::naming()).await;
    edge.rewrite("[[accelerator]]\nnames = 1\n");
    let mut broken = edge.successor(&[]);
    assert_eq!(broken.end(PATIENCE).await.code(), Some(2));
    assert!(edge.process().ended().is_none());
    assert!(!edge.log().contains("an upgrade begins"));
    assert_eq!(client::ask(at, "x").await.unwrap(), "a");
}

/// An edge whose successors need five seconds to get ready: one endpoint swallows its probes, and the check is patient.
async fn slow_to_get_ready() -> (Edge, [Endpoint; 2], SocketAddr) {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let hole = Endpoint::start("hole", endpoint::naming()).await;
    hole.swallow().await;
    let at = place::fresh();
    let patient = r#"health_check = { protocol = "TCP", interval = "1m", timeout = "1m" }"#;
    let groups = [
        Group::new("near", "1ms").endpoint(&endpoint),
        Group::new("far", "9ms").endpoint(&hole).with(patient),
    ];
    let edge = Edge::start(&shop(at, "", &groups)).await;
    (edge, [endpoint, hole], at)
}

async fn until_it_waits(edge: &mut Edge, successor: &Process) {
    until("sockets are given", PATIENCE, async || {
        edge.log().contains("an upgrade begins") && successor.output().contains("taking over")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_is_killed_before_it_is_ready_changes_nothing() {
    let (mut edge, _endpoints, at) = slow_to_get_ready().await;
    let load = Load::start(at, 100);
    let mut killed = edge.successor(&[]);
    until_it_waits(&mut edge, &killed).await;
    load.until_done(20).await;
    killed.signal("KILL");
    killed.end(PATIENCE).await;
    until("it is noticed", PATIENCE, async || {
        edge.log().contains("went away")
    })
    .await;
    load.until_done(20).await;
    unfailed(load).await;
    assert!(edge.process().ended().is_none());
    assert_eq!(edge.get("/readyz").await.0, 200);
}

/// Whether all threads of a process are stopped (proc(5)).
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat[stat.rfind(')').unwrap_or(0)..].starts_with(") T")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_is_killed_half_way_leaves_its_listeners_to_the_new_process() {
    let (mut edge, _endpoints, at) = slow_to_get_ready().await;
    let successor = edge.successor(&[]);
    until_it_waits(&mut edge, &successor).await;
    // What waits in the listeners' queues is not lost with the process that made them.
    edge.signal("STOP");
    let pid = edge.process().pid();
    until("every thread stands still", PATIENCE, async || {
        stands_still(pid)
    })
    .await;
    let mut waiting = Caller::connect(at).await.unwrap();
    edge.signal("KILL");
    edge.process().end(PATIENCE).await;
    assert_eq!(waiting.ask("are you there").await.unwrap(), "a");
    eventually("it serves alone", PATIENCE, async || {
        let output = successor.output();
        (output.contains("going on alone") && output.contains(" serving pop=")).then_some(())
    })
    .await;
    assert_eq!(edge.get("/readyz").await.0, 200);
}

/// A process that is nobody's child here.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let kill = format!("kill -KILL {}", self.0);
        let _ = std::process::Command::new("sh")
            .args(["-c", &kill])
            .status();
    }
}

#[tokio::test]
async fn a_signal_starts_the_successor_and_systemd_hears_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let notified = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notified).unwrap();
    manager.set_nonblocking(true).unwrap();
    let mut heard = String::new();
    let mut hear = || {
        let mut message = [0; 1024];
        while let Ok(length) = manager.recv(&mut message) {
            heard += &String::from_utf8_lossy(&message[..length]);
            heard.push('\n');
        }
        heard.clone()
    };
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let at = place::fresh();
    let group = Group::new("near", "1ms").endpoint(&endpoint);
    let mut edge = Edge::with(&shop(at, "", &[group]))
        .environment("NOTIFY_SOCKET", notified.to_str().unwrap())
        .ready()
        .await;
    until("the manager is told", PATIENCE, async || {
        hear().contains("READY=1")
    })
    .await;
    edge.signal("USR2");
    let successor = eventually("the new main process", PATIENCE, async || {
        let heard = hear();
        let (_, pid) = heard.split_once("MAINPID=")?;
        pid.lines().next()?.parse().ok()
    })
    .await;
    let _orphan = Orphan(successor);
    assert_ne!(successor, edge.process().pid());
    assert!(
        edge.process().end(PATIENCE).await.success(),
        "{}",
        edge.log()
    );
    assert!(!hear().contains("STOPPING"), "{}", hear());
    assert_eq!(client::ask(at, "x").await.unwrap(), "a");
    assert_eq!(edge.get("/readyz").await.0, 200);
}
