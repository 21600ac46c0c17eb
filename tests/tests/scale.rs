//! Many of everything: reloads under load, idle flows up to the descriptors' end, floods beside other sources. `PORTOLAN_FULL=1` runs all
//! of it at full size.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use portolan_tests::client::{Caller, End, connect_from, end};
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::load::Load;
use portolan_tests::place;
use portolan_tests::toml::{Group, accelerator, shop};

fn is_full() -> bool {
    std::env::var_os("PORTOLAN_FULL").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_fail_nothing_and_leave_nothing_behind() {
    let rounds = if is_full() { 200 } else { 50 };
    let endpoints = [
        Endpoint::start("a", endpoint::naming()).await,
        Endpoint::start("b", endpoint::naming()).await,
    ];
    let (at, other) = (place::fresh(), place::fresh());
    let file = |round: u8| {
        let group = Group::new("near", "1ms")
            .weighted(&endpoints[0], round.max(1))
            .weighted(&endpoints[1], 100);
        let mut file = shop(at, "", std::slice::from_ref(&group));
        if round % 2 == 1 {
            // Listening sockets come and go, too.
            let ports = format!("\"{}-{}\"", other.port(), other.port() + 9);
            file += &accelerator("other", &[other], &ports, "", &[group]);
        }
        file
    };
    let mut edge = Edge::start(&file(0)).await;
    let mut before = None;
    let load = Load::start(at, 100);
    for round in 1..=rounds {
        let generation = edge.generation().await.unwrap();
        edge.rewrite(&file(round as u8));
        edge.signal("HUP");
        edge.until_generation_above(generation).await;
        if round == 10 {
            before = Some(edge.process().anonymous_memory());
        }
    }
    load.until_done(20).await;
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
        failed[0]
    );
    let memory_before = before.unwrap();
    let memory = edge.process().anonymous_memory();
    println!(
        "{rounds} reloads: 0 of {} connections failed; memory {} KiB after ten, {} KiB after all",
        attempts.len(),
        memory_before >> 10,
        memory >> 10
    );
    assert!(memory < memory_before + memory_before / 4 + (4 << 20));
    // As many descriptors as a process that has never been reloaded.
    let fresh = Edge::start(&file(0)).await.process().descriptors();
    until(
        "no more descriptors than at the start",
        PATIENCE,
        async || edge.process().descriptors() <= fresh + 2,
    )
    .await;
}

/// `portolan-crowd`, which ends with its owner.
struct Crowd {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(what: &str, at: SocketAddr) -> Crowd {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $(ulimit -H -n); exec \"$0\" \"$@\""]);
        command.args([env!("CARGO_BIN_EXE_portolan-crowd"), what, &at.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Crowd {
            child,
            input,
            output: BufReader::new(output),
        }
    }

    fn heard(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// How many did it, if all did.
    fn all(&mut self, line: &str) -> usize {
        writeln!(self.input, "{line}").unwrap();
        let heard = self.heard();
        let (done, failed) = heard.split_once(' ').unwrap();
        assert_eq!(failed, "0", "{line}: {heard}");
        done.parse().unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn descriptors() -> usize {
    let shown = Command::new("sh")
        .args(["-c", "ulimit -H -n"])
        .output()
        .unwrap();
    // "unlimited" is no number.
    String::from_utf8_lossy(&shown.stdout)
        .trim()
        .parse()
        .unwrap_or(usize::MAX)
}

/// How long it takes until a connection is sent away.
async fn refused(at: SocketAddr, from: IpAddr) -> Duration {
    let began = Instant::now();
    if let Ok(mut stream) = connect_from(from, at).await {
        assert_eq!(end(&mut stream).await, End::Reset);
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_flows_cost_little_and_a_full_edge_refuses_at_once() {
    const FEW: usize = 1000;
    let most = 9000.min((descriptors().saturating_sub(2000)) / 2);
    if most < 9000 {
        println!(
            "only {most} flows: the hard limit of descriptors is {}",
            descriptors()
        );
    }
    let (to, at) = (place::fresh(), place::fresh());
    let mut endpoint = Crowd::start("serve", to);
    assert_eq!(endpoint.heard(), "serving");
    let group = Group::new("near", "1ms").named("a", to, "");
    let toml = format!("[limits]\nmax_flows = {most}\n{}", shop(at, "", &[group]));
    let mut edge = Edge::start(&toml).await;
    let mut clients = Crowd::start("call", at);
    assert_eq!(clients.all(&format!("open {FEW}")), FEW);
    let few = edge.process().anonymous_memory();
    assert_eq!(clients.all(&format!("open {}", most - FEW)), most - FEW);
    let many = edge.process().anonymous_memory();
    let each = many.saturating_sub(few) / (most - FEW) as u64;
    println!("an idle flow beyond {FEW} costs {each} bytes, up to {most} flows");
    assert!(each <= 1024, "{each} bytes");

    let mut waits = Vec::new();
    for _ in 0..200 {
        waits.push(refused(at, place::client()).await);
    }
    waits.sort();
    println!(
        "200 refusals beside {most} flows: median {:?}, 99th {:?}",
        waits[100], waits[198]
    );
    // Of the quicker ones: a machine that is busy with something else holds up the others, and them alone.
    assert!(waits[20] < Duration::from_millis(5), "{waits:?}");
    until("all are counted", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.sum("limit_hits_total", &[("limit", "max_flows")]) == 200.0
    })
    .await;
    assert_eq!(clients.all("ask"), most);
}

/// How long connections of a source take that begins a hundred a second.
async fn served_for(span: Duration, at: SocketAddr, from: IpAddr) -> Vec<Duration> {
    let until = Instant::now() + span;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut took = Vec::new();
    while Instant::now() < until {
        pace.tick().await;
        let began = Instant::now();
        let mut caller = Caller::connect_from(from, at).await.unwrap();
        assert_eq!(caller.ask("x").await.unwrap(), "a");
        took.push(began.elapsed());
    }
    took
}

/// A source that begins so many a second and waits for none of them.
async fn flood(at: SocketAddr, from: IpAddr, a_second: u32) {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / a_second);
    loop {
        pace.tick().await;
        drop(connect_from(from, at).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_over_its_rate_does_not_slow_another() {
    let rounds = if is_full() { 10 } else { 3 };
    let span = Duration::from_millis(if is_full() { 2000 } else { 500 });
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let at = place::fresh();
    let group = Group::new("near", "1ms").endpoint(&endpoint);
    let toml = format!(
        "[limits]\nnew_flows_per_source = 200\n{}",
        shop(at, "", &[group])
    );
    let edge = Edge::start(&toml).await;
    let (greedy, modest) = (place::client(), place::client());
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut goes = false;
    // In turns, so that what else goes on on this machine meets both; a quiet round is enough.
    for _ in 0..rounds {
        let mut calm = served_for(span, at, modest).await;
        let flooding = tokio::spawn(flood(at, greedy, 1000));
        let mut busy = served_for(span, at, modest).await;
        flooding.abort();
        // The flood's own clients run on this machine, too: far more than the 5 % that are the aim.
        goes |= median(&mut busy) < median(&mut calm) * 5 + Duration::from_millis(5);
        alone.append(&mut calm);
        beside.append(&mut busy);
    }
    let refused = edge
        .metrics()
        .await
        .sum("limit_hits_total", &[("limit", "new_flows_per_source")]);
    let medians = (median(&mut alone), median(&mut beside));
    println!(
        "the slowest of {} alone: {:?}, of {} beside: {:?}",
        alone.len(),
        alone.last(),
        beside.len(),
        beside.last()
    );
    let (alone, beside) = medians;
    println!(
        "beside {refused} refusals of another source a connection takes {beside:?}, alone {alone:?}: {:+.1} %",
        (beside.as_secs_f64() / alone.as_secs_f64() - 1.0) * 100.0
    );
    assert!(refused > 0.0);
    assert!(goes, "slower in every round");
}

/// Sorts them, too.
fn median(took: &mut [Duration]) -> Duration {
    took.sort();
    took[took.len() / 2]
}
