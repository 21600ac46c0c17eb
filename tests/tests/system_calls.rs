//! What a flow asks of the kernel, counted by strace: a connect, one request, its answer, a close. Nearly all of such a flow's time is
//! spent in the kernel, and what slips in here (a wake-up a record, an option that only long flows need) is in no profile of ours.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portolan_tests::client::Caller;
use portolan_tests::deadline::{PATIENCE, eventually, patiently, throughout, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::peer::{is_installed, skip};
use portolan_tests::process::Process;
use portolan_tests::toml::{Group, shop};
use portolan_tests::{client, place};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

/// Flows that are counted, and how many at once.
const FLOWS: usize = 640;
const AT_ONCE: usize = 32;

/// What a flow needs, whatever the load: accept4 (and one in vain where nobody waits behind it), epoll_ctl twice, socket, connect, four
/// reads, two writes, shutdown, getsockname for its record, close twice. One half of a call is for what is no flow's.
const OWN: f64 = 16.5;

/// Names of these calls, and of those that a flow of this kind has no need of and that would come with one.
const OF_FLOWS: [&str; 16] = [
    "accept4",
    "bind",
    "close",
    "connect",
    "epoll_ctl",
    "getpeername",
    "getsockname",
    "getsockopt",
    "ioctl",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
];

/// How threads wake each other, and how records get into their file: by time, not by flow. A record that woke its writer, and with it
/// whoever watches the folder, took seven of these.
const OF_WAKING: [&str; 3] = ["futex", "read", "write"];
const WAKING: f64 = 3.5;

/// How often it is counted at most: a machine that is busy with something else lets threads sleep that would have found work.
const TURNS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_flow_asks_the_kernel_for_no_more_than_it_needs() {
    if !is_installed("strace") {
        return skip("strace is not installed");
    }
    let endpoint = Endpoint::start("a", endpoint::echo()).await;
    let at = place::fresh();
    let group = Group::new("r", "1ms").unasked().endpoint(&endpoint);
    let mut edge = Edge::start(&shop(at, "", &[group])).await;
    // What only the first flow of a listener, or of a worker, needs.
    flows(at, 2 * AT_ONCE).await;

    let folder = tempfile::tempdir().unwrap();
    for turn in 1..=TURNS {
        let Some(counting) = Counting::of(edge.process().pid(), folder.path()).await else {
            return skip("strace may not attach to a process here (ptrace)");
        };
        flows(at, FLOWS).await;
        until("all flows are over", PATIENCE, async || {
            edge.metrics().await.sum("flows_active", &[]) == 0.0
        })
        .await;
        let calls = counting.end().await;

        let a_flow = |names: &[&str]| {
            let of = names.iter().filter_map(|name| calls.get(*name));
            of.sum::<u64>() as f64 / FLOWS as f64
        };
        let (own, waking) = (a_flow(&OF_FLOWS), a_flow(&OF_WAKING));
        println!("{own:.2} calls a flow, {waking:.2} to wake threads: {calls:?}");
        assert!(own > 13.0, "strace has missed a part: {calls:?}");
        if own <= OWN && waking <= WAKING {
            return;
        }
        assert!(turn < TURNS, "more than {OWN} or {WAKING}: {calls:?}");
    }
}

/// What the data path lets itself ask about silence at most (proxy/src/silence.rs): of one address in a tick, and ticks in a second.
const LOOKS_OF_AN_ADDRESS: f64 = 3.0;
const TICKS: f64 = 100.0;

/// How long each kind of flow is watched.
const WATCHED: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_is_asked_about_silence_only_where_an_answer_is_owed_and_seldom() {
    if !is_installed("strace") {
        return skip("strace is not installed");
    }
    let endpoint = Endpoint::start("a", endpoint::custom(answer_unless_told_to_think)).await;
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .with("health_check = { protocol = \"NONE\" }")
        .endpoint(&endpoint);
    let toml = format!("[pop]\nworkers = 1\n\n{}", shop(at, "", &[group]));
    let mut edge = Edge::start(&toml).await;
    let mut callers = Vec::new();
    for _ in 0..400 {
        let mut caller = Caller::connect(at).await.unwrap();
        assert_eq!(caller.ask("hello").await.unwrap(), "hello");
        callers.push(caller);
    }
    let folder = tempfile::tempdir().unwrap();
    let pid = edge.process().pid();
    let mut rates = Vec::new();
    for (questions, line) in [(0, "hello"), (20, "hello"), (200, "think")] {
        let began = Instant::now();
        let Some(counting) = Counting::of(pid, folder.path()).await else {
            return skip("strace may not attach to a process here (ptrace)");
        };
        let end = Instant::now() + WATCHED;
        let mut speaking = JoinSet::new();
        for mut caller in callers.drain(..questions) {
            speaking.spawn(async move {
                let mut pace = interval(Duration::from_millis(20));
                while Instant::now() < end {
                    pace.tick().await;
                    if line == "hello" {
                        assert_eq!(caller.ask(line).await.unwrap(), "hello");
                    } else {
                        caller.say(line).await.unwrap();
                    }
                }
                caller
            });
        }
        throughout("they are watched", WATCHED, async || true).await;
        let spoke = speaking.join_all().await;
        let calls = counting.end().await;
        let seconds = began.elapsed().as_secs_f64();
        let asked = calls.get("getsockopt").copied().unwrap_or_default();
        rates.push(asked as f64 / seconds);
        drop(spoke);
    }
    println!(
        "the kernel asked, times a second: {:.1} about 400 idle flows; {:.1} about 20 more that ask and are answered every 20 ms; {:.1} about \
         200 that ask every 20 ms and are not",
        rates[0], rates[1], rates[2]
    );
    assert_eq!(rates[0], 0.0, "idle flows cost nothing");
    assert!(rates[2] > 1.0, "strace has missed it");
    assert!(rates[2] <= LOOKS_OF_AN_ADDRESS * TICKS, "{rates:?}");
}

/// Sends every line back but those that it has to think about.
async fn answer_unless_told_to_think(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if line != "think\n" {
            stream.write_all(line.as_bytes()).await?;
        }
        line.clear();
    }
    Ok(())
}

async fn flows(to: SocketAddr, count: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        clients.spawn(async move {
            for _ in 0..count.div_ceil(AT_ONCE) {
                let asked = patiently("an answer", client::ask(to, "hello")).await;
                assert_eq!(asked.unwrap(), "hello");
            }
        });
    }
    clients.join_all().await;
}

/// strace, attached to every thread of a process.
struct Counting {
    strace: Process,
    file: PathBuf,
}

impl Counting {
    /// `None` where it may not attach.
    async fn of(pid: u32, folder: &Path) -> Option<Counting> {
        let file = folder.join("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(&file);
        command.args(["-p", &pid.to_string()]);
        let mut strace = Process::spawn("strace", &mut command);
        // "Process 7 attached with 9 threads" is said when all of them are.
        let attached = eventually("strace attaches, or ends", PATIENCE, async || {
            let attached = strace.output().contains(" attached");
            (attached || strace.ended().is_some()).then_some(attached)
        })
        .await;
        attached.then_some(Counting { strace, file })
    }

    /// Lets go of the process. Calls by name.
    async fn end(mut self) -> BTreeMap<String, u64> {
        self.strace.signal("INT");
        self.strace.end(PATIENCE).await;
        let summary = std::fs::read_to_string(&self.file).unwrap();
        // Share, seconds, microseconds a call, calls, errors (or nothing), name.
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let calls = words.get(3)?.parse().ok()?;
            Some(((*words.last()?).to_owned(), calls))
        };
        summary.lines().filter_map(line).collect()
    }
}
