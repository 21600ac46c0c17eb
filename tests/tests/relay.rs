//! Bytes, ends and resets through the relay, and what it costs to be patient with slow readers.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portolan_tests::client::{self, Caller, End};
use portolan_tests::deadline::{PATIENCE, eventually, patiently, throughout, until};
use portolan_tests::edge::{self, Edge};
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::payload::{self, Exchange, Order};
use portolan_tests::place;
use portolan_tests::toml::{Group, shop};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

async fn edge_before(endpoint: &Endpoint, lines: &str) -> (Edge, std::net::SocketAddr) {
    let at = place::fresh();
    // Unchecked: what endpoints see are the clients alone.
    let group = Group::new("r", "1ms").unasked().endpoint(endpoint);
    let edge = Edge::start(&shop(at, lines, &[group])).await;
    (edge, at)
}

/// Flows of the integrity test, and how many at once.
const FLOWS: u64 = 20_000;
const AT_ONCE: usize = 64;

/// Random sizes, half-closes from either side, slow readers: every byte of every flow is the right one, and so is every end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_flows_arrive_byte_for_byte() {
    let endpoint = Endpoint::start("a", payload::exchanging()).await;
    let (edge, at) = edge_before(&endpoint, "").await;
    let seed = 0x0070_6f72_746f_6c61;
    let mut random = SmallRng::seed_from_u64(seed);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut flows = JoinSet::new();
    for number in 0..FLOWS {
        let exchange = Exchange::random(&mut random, number * 7919);
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        flows.spawn(async move {
            let _turn = turn;
            let whole = async { exchange.ask(TcpStream::connect(at).await?).await };
            match tokio::time::timeout(4 * PATIENCE, whole).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{exchange:?}: {error}")),
                Err(_) => Some(format!("{exchange:?}: hangs")),
            }
        });
    }
    let bad: Vec<String> = flows.join_all().await.into_iter().flatten().collect();
    assert!(
        bad.is_empty(),
        "{} of {FLOWS} bad, seed {seed:#x}: {:#?}",
        bad.len(),
        &bad[..bad.len().min(5)]
    );

    until("all flows are over", PATIENCE, async || {
        edge.metrics().await.sum("flows_active", &[]) == 0.0
    })
    .await;
    until("all flows ended by FIN", PATIENCE, async || {
        edge.ended("client_fin").await + edge.ended("endpoint_fin").await >= FLOWS
    })
    .await;
}

/// That bulk was spliced where this run of the suite asks for it, and nowhere else.
async fn assert_spliced_as_asked(edge: &Edge) {
    let spliced = edge.metrics().await.sum("spliced_bytes_total", &[]);
    assert_eq!(spliced > 0.0, edge::splices(), "{spliced} bytes");
}

#[tokio::test]
async fn a_large_transfer_in_both_directions_at_once() {
    let endpoint = Endpoint::start("a", payload::exchanging()).await;
    let (edge, at) = edge_before(&endpoint, "").await;
    let exchange = Exchange {
        seed: 3,
        up: 40_000_000,
        down: 60_000_000,
        order: Order::Together,
        piece: 65_536,
    };
    let stream = TcpStream::connect(at).await.unwrap();
    tokio::time::timeout(4 * PATIENCE, exchange.ask(stream))
        .await
        .expect("it does not hang")
        .unwrap();
    assert_spliced_as_asked(&edge).await;
}

#[tokio::test]
async fn a_half_close_is_passed_on_and_the_other_direction_lives() {
    let endpoint = Endpoint::start("a", endpoint::echo()).await;
    let (edge, at) = edge_before(&endpoint, "").await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"all I have to say").await.unwrap();
    // The echo closes only when it has seen the end: its FIN proves that ours arrived.
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    patiently("the echo's end", stream.read_to_end(&mut back))
        .await
        .unwrap();
    assert_eq!(back, b"all I have to say");
    until("it is counted", PATIENCE, async || {
        edge.ended("client_fin").await == 1
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_closes_first_is_heard_out_and_so_is_the_client() {
    let heard = Arc::new(Notify::new());
    let tell = Arc::clone(&heard);
    let behaviour = endpoint::custom(move |mut stream: TcpStream| {
        let tell = Arc::clone(&tell);
        async move {
            stream.write_all(b"goodbye").await?;
            stream.shutdown().await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            if rest == b"I heard you" {
                tell.notify_one();
            }
            Ok(())
        }
    });
    let endpoint = Endpoint::start("a", behaviour).await;
    let (edge, at) = edge_before(&endpoint, "").await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut said = Vec::new();
    patiently("the endpoint's end", stream.read_to_end(&mut said))
        .await
        .unwrap();
    assert_eq!(said, b"goodbye");
    stream.write_all(b"I heard you").await.unwrap();
    stream.shutdown().await.unwrap();
    patiently("the client was heard", heard.notified()).await;
    until("it is counted", PATIENCE, async || {
        edge.ended("endpoint_fin").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let endpoint = Endpoint::start("greeter", endpoint::greeting()).await;
    let (_edge, at) = edge_before(&endpoint, "").await;
    let mut caller = Caller::connect(at).await.unwrap();
    assert_eq!(caller.listen().await.unwrap(), "greeter");
    assert_eq!(caller.ask("thanks").await.unwrap(), "greeter");
}

#[tokio::test]
async fn a_clients_reset_reaches_the_endpoint_as_a_reset() {
    let ends = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&ends);
    let behaviour = endpoint::custom(move |mut stream: TcpStream| {
        let kept = Arc::clone(&kept);
        async move {
            stream.write_all(b"ready\n").await?;
            let end = client::end(&mut stream).await;
            kept.lock().unwrap().push(end);
            Ok(())
        }
    });
    let endpoint = Endpoint::start("a", behaviour).await;
    let (edge, at) = edge_before(&endpoint, "").await;

    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    stream.write_all(b"some bytes").await.unwrap();
    client::reset(stream);
    let ended = eventually("the endpoint sees the end", PATIENCE, async || {
        ends.lock().unwrap().pop()
    })
    .await;
    assert_eq!(ended, End::Reset);
    until("it is counted", PATIENCE, async || {
        edge.ended("client_rst").await == 1
    })
    .await;

    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.read_exact(&mut greeting).await.unwrap();
    drop(stream);
    let ended = eventually("the endpoint sees the end", PATIENCE, async || {
        ends.lock().unwrap().pop()
    })
    .await;
    assert_eq!(ended, End::Closed);
}

#[tokio::test]
async fn an_endpoints_reset_reaches_the_client_as_a_reset() {
    let behaviour = endpoint::custom(async |mut stream: TcpStream| {
        let mut order = [0];
        stream.read_exact(&mut order).await?;
        stream.write_all(b"x").await?;
        let mut cue = [0];
        stream.read_exact(&mut cue).await?;
        if order == [b'R'] {
            client::reset(stream);
        }
        Ok(())
    });
    let endpoint = Endpoint::start("a", behaviour).await;
    let (edge, at) = edge_before(&endpoint, "").await;
    for (order, expected) in [(b'R', End::Reset), (b'F', End::Closed)] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&[order]).await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"!").await.unwrap();
        assert_eq!(
            client::end(&mut stream).await,
            expected,
            "{}",
            char::from(order)
        );
    }
    until("it is counted", PATIENCE, async || {
        edge.ended("endpoint_rst").await == 1
    })
    .await;
}

/// A truncated answer must not look like a whole one: what the endpoint sent before its reset may arrive, a clean end may not.
#[tokio::test]
async fn a_reset_behind_data_is_never_a_clean_end() {
    let behaviour = endpoint::custom(async |mut stream: TcpStream| {
        stream.write_all(&[7; 200_000]).await?;
        client::reset(stream);
        Ok(())
    });
    let endpoint = Endpoint::start("a", behaviour).await;
    let (_edge, at) = edge_before(&endpoint, "").await;
    for _ in 0..50 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(client::end(&mut stream).await, End::Reset);
    }
}

const MIB: u64 = 1 << 20;

/// An endpoint that reads nothing until it is told, then all of it.
fn stalling(go: &Arc<Semaphore>) -> endpoint::Behaviour {
    let go = Arc::clone(go);
    endpoint::custom(move |mut stream: TcpStream| {
        let go = Arc::clone(&go);
        async move {
            let _turn = go.acquire().await.map_err(std::io::Error::other)?;
            payload::receive(&mut stream, 1, TRANSFER, 65_536).await?;
            stream.write_all(b"whole\n").await
        }
    })
}

const TRANSFER: u64 = 300_000_000;
const PIECE: usize = 65_536;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_of_300_mb_costs_the_edge_no_memory() {
    let go = Arc::new(Semaphore::new(1));
    let endpoint = Endpoint::start("a", stalling(&go)).await;
    let (mut edge, at) = edge_before(&endpoint, "").await;
    // A whole transfer first: buffers that the edge keeps for all flows are there then.
    transfer(at).await.0.await.unwrap();
    edge.metrics().await;
    let before = edge.process().anonymous_memory();

    let stall = go.acquire().await.unwrap();
    let (running, sent) = transfer(at).await;
    until_it_stalls(&sent).await;
    let grown = |edge: &mut Edge| edge.process().anonymous_memory().saturating_sub(before);
    let most = keeps_at_most();
    throughout("the memory stays", Duration::from_millis(500), async || {
        grown(&mut edge) <= most
    })
    .await;
    assert!(!running.is_finished());

    drop(stall);
    running.await.unwrap();
    let grown = grown(&mut edge);
    assert!(grown <= most, "grown by {} KiB", grown / 1024);
    assert_spliced_as_asked(&edge).await;
}

/// What the edge holds of it, in memory or in a pipe of the kernel, goes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_transfer_goes_on_in_another_process_byte_for_byte() {
    let go = Arc::new(Semaphore::new(1));
    let endpoint = Endpoint::start("a", stalling(&go)).await;
    let (mut edge, at) = edge_before(&endpoint, "").await;
    let stall = go.acquire().await.unwrap();
    let (running, sent) = transfer(at).await;
    until_it_stalls(&sent).await;
    assert_spliced_as_asked(&edge).await;
    let mut old = edge.upgrade(&["--with-flows"]).await;
    assert!(old.end(PATIENCE).await.success(), "{}", old.output());
    assert!(!running.is_finished());

    drop(stall);
    running.await.unwrap();
    let whole = eventually("its record", PATIENCE, async || edge.flows().pop()).await;
    assert_eq!(whole["bytes_in"], TRANSFER);
    assert_eq!(whole["cause"], "client_fin");
    assert_spliced_as_asked(&edge).await;
}

async fn until_it_stalls(sent: &AtomicU64) {
    until("the transfer stalls", PATIENCE, async || {
        let before = sent.load(Ordering::SeqCst);
        // Longer than a loaded machine leaves a sender without its turn.
        let unmoved = async || sent.load(Ordering::SeqCst) == before;
        let quiet = Duration::from_millis(300);
        tokio::time::timeout(
            quiet,
            until("it moves", PATIENCE, async || !unmoved().await),
        )
        .await
        .is_err()
            && before > 0
    })
    .await;
    assert!(sent.load(Ordering::SeqCst) < TRANSFER);
}

/// A flow that is put on the ring of io_uring whatever it carries may find all of the ring's buffers filled when its sink is full: 2 MiB,
/// in a chunk that grows by doubling.
fn keeps_at_most() -> u64 {
    match std::env::var("PORTOLAN_TESTS_IO_ENGINE").as_deref() {
        Ok("io_uring") => 5 * MIB,
        _ => MIB,
    }
}

async fn transfer(at: std::net::SocketAddr) -> (tokio::task::JoinHandle<()>, Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let progress = Arc::clone(&sent);
    let running = tokio::spawn(async move {
        for offset in (0..TRANSFER).step_by(PIECE) {
            let size = PIECE.min((TRANSFER - offset) as usize);
            stream
                .write_all(payload::stretch(1, offset, size))
                .await
                .unwrap();
            progress.store(offset + size as u64, Ordering::SeqCst);
        }
        stream.shutdown().await.unwrap();
        let mut caller = Caller::over(stream).unwrap();
        assert_eq!(caller.listen().await.unwrap(), "whole");
    });
    (running, sent)
}

#[tokio::test]
async fn an_idle_flow_is_closed_and_a_busy_one_is_not() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let (edge, at) = edge_before(&endpoint, "idle_timeout = \"2s\"").await;
    let mut idle = Caller::connect(at).await.unwrap();
    let mut busy = Caller::connect(at).await.unwrap();
    idle.ask("x").await.unwrap();
    busy.ask("x").await.unwrap();
    until("the idle flow is closed", PATIENCE, async || {
        busy.ask("x").await.expect("the busy flow lives");
        !idle.is_open()
    })
    .await;
    assert_eq!(busy.ask("x").await.unwrap(), "a");
    until("it is counted", PATIENCE, async || {
        edge.ended("idle").await == 1
    })
    .await;
    until("the endpoint is told", PATIENCE, async || {
        endpoint.seen().live() <= 1
    })
    .await;
}

#[tokio::test]
async fn one_direction_does_not_outlive_the_other_for_ever() {
    let endpoint = Endpoint::start("a", endpoint::silent()).await;
    let (edge, at) = edge_before(&endpoint, "half_close_timeout = \"1s\"").await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.shutdown().await.unwrap();
    client::end(&mut stream).await;
    until("it is counted", PATIENCE, async || {
        edge.ended("half_close").await == 1
    })
    .await;
}

/// Far more clients than flows fit, and then no descriptor left at all: those that were served go on, the others are let go, and the
/// edge neither dies nor spins.
#[tokio::test]
async fn running_out_of_descriptors_is_survived_without_spinning() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let at = place::fresh();
    let toml = shop(at, "", &[Group::new("r", "1ms").endpoint(&endpoint)]);
    let mut edge = Edge::with(&toml).descriptors(96).ready().await;
    let mut served = Caller::connect(at).await.unwrap();
    assert_eq!(served.ask("x").await.unwrap(), "a");

    let mut held = Vec::new();
    for _ in 0..200 {
        // Refused early, some are gone before they are there.
        held.extend(TcpStream::connect(at).await);
    }
    stays_calm(&mut edge).await;
    assert_eq!(served.ask("still here").await.unwrap(), "a");
    let metrics = edge.metrics().await;
    let refused = metrics.sum("limit_hits_total", &[]);
    assert!(refused > 0.0, "refusals are counted:\n{}", metrics.text());

    // The admin server's connections take what the flows left: every accept fails. Few enough to wait in its backlog.
    let admin = edge.admin();
    let mut starving = Vec::new();
    for _ in 0..100 {
        starving.push(TcpStream::connect(admin).await.unwrap());
        held.extend(TcpStream::connect(at).await);
    }
    stays_calm(&mut edge).await;
    assert_eq!(served.ask("still here").await.unwrap(), "a");

    drop((held, starving));
    until("new clients are served", PATIENCE, async || {
        client::ask(at, "x").await.is_ok()
    })
    .await;
    assert_eq!(served.ask("still here").await.unwrap(), "a");
}

async fn stays_calm(edge: &mut Edge) {
    let before = edge.process().cpu_time();
    let span = Duration::from_secs(2);
    throughout("it runs", span, async || edge.process().ended().is_none()).await;
    let used = edge.process().cpu_time() - before;
    assert!(
        used < span / 2,
        "{used:?} of CPU time in {span:?} with nothing to do"
    );
}
