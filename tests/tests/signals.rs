//! What live flows tell of their endpoints, and what they do not. Probes are too seldom here to decide anything.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::net::SocketAddr;
use std::time::Duration;

use portolan_tests::client::{self, Caller};
use portolan_tests::deadline::{PATIENCE, throughout, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::place;
use portolan_tests::toml::{Group, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Never within a test.
const SELDOM: &str = r#"health_check = { protocol = "TCP", interval = "300s", timeout = "2s" }"#;

/// An edge with a near endpoint and a far one.
async fn edge(at: SocketAddr, near: &Endpoint, far: &Endpoint) -> Edge {
    let groups = [
        Group::new("near", "1ms").endpoint(near).with(SELDOM),
        Group::new("far", "60ms").endpoint(far).with(SELDOM),
    ];
    Edge::start(&shop(at, "hedge_after = \"off\"", &groups)).await
}

fn reason(endpoint: &serde_json::Value) -> &str {
    endpoint["health_reason"].as_str().unwrap_or_default()
}

async fn transitions(edge: &Edge, id: &str) -> f64 {
    let metrics = edge.metrics().await;
    metrics.sum("endpoint_transitions_total", &[("endpoint", id)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_falls_silent_is_known_by_a_live_flow() {
    let (near, far) = (Endpoint::named("near").await, Endpoint::named("far").await);
    let at = place::fresh();
    let edge = edge(at, &near, &far).await;
    let mut caller = Caller::connect(at).await.unwrap();
    assert_eq!(caller.ask("hello").await.unwrap(), "near");

    near.swallow().await;
    let fault = Instant::now();
    // It goes on asking; nobody connects anew, which would tell it otherwise.
    let asking = tokio::spawn(async move { caller.ask("still there?").await });
    let down = edge.until_health("near", "DOWN", PATIENCE).await;
    println!("known after {:?}", fault.elapsed());
    assert!(reason(&down).starts_with("no answer in time"), "{down}");
    let mut moved = Caller::connect(at).await.unwrap();
    assert_eq!(moved.ask("hello").await.unwrap(), "far");
    assert!(asking.await.unwrap().is_err(), "the stranded flow is reset");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_is_known_by_the_flows_that_it_takes_with_it() {
    let (near, far) = (Endpoint::named("near").await, Endpoint::named("far").await);
    let at = place::fresh();
    let edge = edge(at, &near, &far).await;
    let mut callers = Vec::new();
    for _ in 0..12 {
        let mut caller = Caller::connect(at).await.unwrap();
        assert_eq!(caller.ask("hello").await.unwrap(), "near");
        callers.push(caller);
    }
    let fault = Instant::now();
    near.kill().await;
    // Nobody says anything, nobody connects.
    let down = edge.until_health("near", "DOWN", PATIENCE).await;
    println!("known after {:?}", fault.elapsed());
    // A connect may still be accepted by the dying process, and reset with the rest.
    let (refused, reset) = ("connection refused", "connection reset");
    assert!(
        reason(&down).starts_with(refused) || reason(&down).starts_with(reset),
        "{down}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flow_that_falls_silent_fails_no_endpoint() {
    // It takes bytes, acknowledges none of them, and connects as ever.
    let near = Endpoint::start("near", endpoint::deaf_after_the_first_line()).await;
    let far = Endpoint::named("far").await;
    let at = place::fresh();
    let edge = edge(at, &near, &far).await;
    let mut caller = Caller::connect(at).await.unwrap();
    assert_eq!(caller.ask("hello").await.unwrap(), "near");
    let asking = tokio::spawn(async move { caller.ask("again").await });
    let bursts = async || {
        let metrics = edge.metrics().await;
        metrics.sum("suspicions_total", &[("result", "lifted")])
    };
    until("three bursts", PATIENCE, async || bursts().await >= 3.0).await;
    assert_eq!(edge.endpoint("near").await["health"], "UP");
    assert!((transitions(&edge, "near").await - 1.0).abs() < 0.1);
    asking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_a_stalled_client_and_long_thinking_are_no_fault() {
    let lossy = Endpoint::start("near", endpoint::lossy()).await;
    let thinker = Endpoint::start("far", endpoint::thinking(Duration::from_secs(10))).await;
    let (at, at_thinker) = (place::fresh(), place::fresh());
    let other = Endpoint::named("other").await;
    let toml = shop(
        at,
        "",
        &[
            Group::new("near", "1ms").endpoint(&lossy).with(SELDOM),
            Group::new("other", "60ms").endpoint(&other).with(SELDOM),
        ],
    ) + &shop(
        at_thinker,
        "",
        &[
            Group::new("far", "1ms").endpoint(&thinker).with(SELDOM),
            Group::new("other", "60ms").endpoint(&other).with(SELDOM),
        ],
    )
    .replace("\"shop\"", "\"thought\"");
    let edge = Edge::start(&toml).await;

    let mut waiting = Caller::connect(at_thinker).await.unwrap();
    let thought = tokio::spawn(async move { waiting.ask("42?").await });
    let stalled = client::connect_from(place::client(), at).await.unwrap();
    let flood = vec![7; 8 << 20];
    stalled.set_nodelay(true).unwrap();
    let (mut answers, mut asks) = stalled.into_split();
    let flooding = tokio::spawn(async move { asks.write_all(&flood).await });
    let echoing: Vec<_> = (0..8).map(|_| tokio::spawn(echo_for(at))).collect();

    throughout("nobody is down", Duration::from_secs(11), async || {
        edge.endpoint("near").await["health"] == "UP"
            && edge.endpoint("far").await["health"] == "UP"
    })
    .await;
    for id in ["near", "far"] {
        assert!((transitions(&edge, id).await - 1.0).abs() < 0.1, "{id}");
    }
    assert_eq!(thought.await.unwrap().unwrap(), "far");
    // The client that took nothing for so long takes all of it.
    let mut taken = 0;
    let mut buffer = vec![0; 1 << 20];
    while taken < 8 << 20 {
        taken += answers.read(&mut buffer).await.unwrap();
    }
    flooding.await.unwrap().unwrap();
    for echo in echoing {
        assert!(echo.await.unwrap() > 0);
    }
}

/// A small question every few milliseconds, for ten seconds; how many were answered.
async fn echo_for(at: SocketAddr) -> u32 {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (began, mut answered) = (Instant::now(), 0);
    let mut clock = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < Duration::from_secs(10) {
        clock.tick().await;
        stream.write_all(&[1; 64]).await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        answered += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_never_answers_is_left_unless_it_is_the_last() {
    let hanging = Endpoint::start("hangs", endpoint::silent()).await;
    let last = Endpoint::start("last", endpoint::silent()).await;
    let far = Endpoint::named("far").await;
    let (at, at_last) = (place::fresh(), place::fresh());
    let expecting = "expect_first_byte = \"300ms\"\nfail_open = false";
    let toml = shop(
        at,
        expecting,
        &[
            Group::new("near", "1ms").endpoint(&hanging).with(SELDOM),
            Group::new("far", "60ms").endpoint(&far).with(SELDOM),
        ],
    ) + &shop(
        at_last,
        expecting,
        &[Group::new("near", "1ms").endpoint(&last).with(SELDOM)],
    )
    .replace("\"shop\"", "\"alone\"");
    let edge = Edge::start(&toml).await;
    let mut waiting = Vec::new();
    for at in [at_last, at] {
        for _ in 0..4 {
            let client = client::connect_from(place::client(), at).await;
            let mut client = client.unwrap();
            client.write_all(b"anybody?\n").await.unwrap();
            waiting.push(client);
        }
    }
    let down = edge.until_health("hangs", "DOWN", PATIENCE).await;
    assert!(
        reason(&down).starts_with("accepts connections, never answers"),
        "{down}"
    );
    assert_eq!(edge.endpoint("last").await["health"], "UP");
    let mut moved = Caller::connect(at).await.unwrap();
    assert_eq!(moved.ask("hello").await.unwrap(), "far");
    assert_eq!(edge.endpoint("last").await["health"], "UP");
}
