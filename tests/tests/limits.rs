//! Caps and rates: what is too much is refused at once, counted, and disturbs nobody else.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use portolan_tests::client::{Caller, End, connect_from, end};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::place;
use portolan_tests::toml::{Group, shop};

async fn limited(limits: &str, lines: &str) -> (Edge, Endpoint, SocketAddr) {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let at = place::fresh();
    let groups = [Group::new("near", "1ms").endpoint(&endpoint)];
    // More workers than one, whatever the machine: counts are shared by them.
    let toml = format!("[pop]\nworkers = 3\n[limits]\n{limits}\n");
    let edge = Edge::start(&(toml + &shop(at, lines, &groups))).await;
    (edge, endpoint, at)
}

/// Callers that are served, up to `count`.
async fn callers(at: SocketAddr, from: IpAddr, count: usize) -> Vec<Caller> {
    let mut callers = Vec::new();
    for number in 0..count {
        let mut caller = Caller::connect_from(from, at).await.unwrap();
        let answer = caller.ask(&number.to_string()).await;
        assert_eq!(answer.unwrap(), "a", "{number} of {count}");
        callers.push(caller);
    }
    callers
}

/// The same after others have left: a flow leaves its endpoint's count before it leaves its source's.
async fn callers_at_last(at: SocketAddr, from: IpAddr, count: usize) -> Vec<Caller> {
    let mut callers = Vec::new();
    while callers.len() < count {
        let caller = eventually("there is room", PATIENCE, async || {
            let mut caller = Caller::connect_from(from, at).await.ok()?;
            caller.ask("x").await.ok().map(|_| caller)
        });
        callers.push(caller.await);
    }
    callers
}

/// How long it takes until a connection is sent away.
async fn refused(at: SocketAddr, from: IpAddr) -> Duration {
    let began = Instant::now();
    match connect_from(from, at).await {
        Ok(mut stream) => assert_eq!(end(&mut stream).await, End::Reset),
        // The reset was faster than the connect's return.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    began.elapsed()
}

async fn hits(edge: &Edge, limit: &str) -> usize {
    let metrics = edge.metrics().await;
    metrics.sum("limit_hits_total", &[("limit", limit)]) as usize
}

async fn all_are_served(callers: &mut [Caller]) {
    for caller in callers {
        assert_eq!(caller.ask("still").await.unwrap(), "a");
    }
}

#[tokio::test]
async fn at_the_cap_new_flows_are_refused_at_once_and_living_ones_go_on() {
    let (edge, endpoint, at) = limited("max_flows = 50", "").await;
    until("the limits are told", PATIENCE, async || {
        edge.log().contains("[limits] max_flows")
    })
    .await;
    let mut living = callers(at, place::client(), 50).await;
    let before = endpoint.seen().accepted();
    let mut waits = Vec::new();
    for _ in 0..200 {
        waits.push(refused(at, place::client()).await);
    }
    waits.sort();
    println!(
        "200 refusals at the cap: median {:?}, 99th {:?}",
        waits[100], waits[198]
    );
    assert_eq!(hits(&edge, "max_flows").await, 200);
    assert_eq!(edge.ended("limit").await, 200);
    assert_eq!(edge.endpoint("a").await["active_flows"], 50);
    all_are_served(&mut living).await;
    // Refused before any work: no endpoint heard of them, but for a probe now and then.
    assert!(endpoint.seen().accepted() < before + 200);

    living.pop();
    until("there is room again", PATIENCE, async || {
        let caller = Caller::connect(at).await;
        match caller {
            Ok(mut caller) => caller.ask("x").await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_has_a_cap_of_its_own() {
    let (edge, _endpoint, at) = limited("", "max_flows = 7").await;
    let mut living = callers(at, place::client(), 7).await;
    refused(at, place::client()).await;
    assert_eq!(hits(&edge, "listener_max_flows").await, 1);
    all_are_served(&mut living).await;
}

#[tokio::test]
async fn a_source_at_its_cap_is_refused_whichever_worker_it_meets_and_others_are_not() {
    let (edge, _endpoint, at) = limited("max_flows_per_source = 10", "").await;
    let (greedy, modest) = (place::client(), place::client());
    let mut living = callers(at, greedy, 10).await;
    for _ in 0..50 {
        refused(at, greedy).await;
    }
    assert_eq!(hits(&edge, "max_flows_per_source").await, 50);
    let mut others = callers(at, modest, 10).await;
    all_are_served(&mut others).await;
    all_are_served(&mut living).await;

    // What leaves makes room, on any worker.
    drop(living);
    until("all have left", PATIENCE, async || {
        edge.endpoint("a").await["active_flows"] == 10
    })
    .await;
    callers_at_last(at, greedy, 10).await;
}

#[tokio::test]
async fn a_sources_count_goes_with_its_flows_to_another_process() {
    let (mut edge, _endpoint, at) = limited("max_flows_per_source = 10", "").await;
    let greedy = place::client();
    let mut living = callers(at, greedy, 10).await;
    let mut old = edge.upgrade(&["--with-flows"]).await;
    assert!(old.end(PATIENCE).await.success());
    until("all flows are there", PATIENCE, async || {
        edge.endpoint("a").await["active_flows"] == 10
    })
    .await;
    refused(at, greedy).await;
    assert_eq!(hits(&edge, "max_flows_per_source").await, 1);
    all_are_served(&mut living).await;
    living.pop();
    until("there is room again", PATIENCE, async || {
        edge.endpoint("a").await["active_flows"] == 9
    })
    .await;
    callers_at_last(at, greedy, 1).await;
}

/// A caller whose PROXY header names another source, as a load balancer in front would.
async fn caller_for(at: SocketAddr, source: &str) -> std::io::Result<Caller> {
    let mut stream = connect_from(place::client(), at).await?;
    let header = format!("PROXY TCP6 {source} 2001:db8::ffff 4321 80\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, header.as_bytes()).await?;
    let mut caller = Caller::over(stream)?;
    caller.ask("x").await?;
    Ok(caller)
}

#[tokio::test]
async fn the_addresses_of_one_ipv6_64_are_one_source() {
    let trusting = "accept_proxy = { from = [\"127.0.0.0/8\"] }";
    let (edge, _endpoint, at) = limited("max_flows_per_source = 5", trusting).await;
    let mut living = Vec::new();
    for host in 1..=50 {
        // Each from another address of the subscriber's network.
        let source = format!("2001:db8:1:2:{host:x}::{host:x}");
        living.extend(caller_for(at, &source).await);
    }
    assert_eq!(living.len(), 5);
    assert_eq!(hits(&edge, "max_flows_per_source").await, 45);
    living.push(caller_for(at, "2001:db8:1:3::1").await.unwrap());
    all_are_served(&mut living).await;
}

#[tokio::test]
async fn a_source_over_its_rate_is_refused_and_others_are_not() {
    let (edge, _endpoint, at) = limited("new_flows_per_source = 20", "").await;
    let (flood, modest) = (place::client(), place::client());
    let began = Instant::now();
    let mut served = 0;
    for _ in 0..200 {
        if let Ok(mut caller) = Caller::connect_from(flood, at).await
            && caller.ask("x").await.is_ok()
        {
            served += 1;
        }
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    // A second's worth, and as much again where two seconds meet.
    assert!(
        (20..=20 * (seconds + 1)).contains(&served),
        "{served} in {seconds} s"
    );
    assert_eq!(hits(&edge, "new_flows_per_source").await, 200 - served);
    callers(at, modest, 10).await;
}

#[tokio::test]
async fn a_listener_over_its_rate_refuses() {
    let (edge, _endpoint, at) = limited("", "new_flows = 30").await;
    // All of them wait in the queue of a stopped process, so that they come at once however slow this machine is.
    let mut streams = Vec::new();
    edge.in_one_go(async || {
        for _ in 0..200 {
            streams.push(connect_from(place::client(), at).await.unwrap());
        }
    })
    .await;
    let mut served = 0;
    for stream in streams {
        let mut caller = Caller::over(stream).unwrap();
        served += usize::from(caller.ask("x").await.is_ok());
    }
    assert!((30..200).contains(&served), "{served}");
    assert_eq!(hits(&edge, "listener_new_flows").await, 200 - served);
}

#[tokio::test]
async fn a_cap_that_the_descriptors_cannot_carry_is_an_error_and_no_silent_cap() {
    let at = place::fresh();
    let group = Group::new("near", "1ms").named("a", place::fresh(), "");
    let toml = format!("[limits]\nmax_flows = 5000\n{}", shop(at, "", &[group]));
    let mut edge = Edge::with(&toml).descriptors(2000).unready();
    assert_eq!(edge.process().end(PATIENCE).await.code(), Some(2));
    let log = edge.log();
    for figure in ["portolan.toml: limits.max_flows: 5000", "2000 descriptors"] {
        assert!(log.contains(figure), "{log}");
    }

    let limit = "ulimit -n 2000; exec \"$0\" check --json --config \"$1\"";
    let mut check = std::process::Command::new("sh");
    check
        .args(["-c", limit])
        .arg(portolan_tests::binary::portolan());
    let checked = check.arg(edge.file()).output().unwrap();
    assert_eq!(checked.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"][0]["key"], "limits.max_flows");
}
