//! UDP through the edge: where datagrams go, where answers come from, what happens when endpoints fail, and what refuses whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use portolan_tests::datagram::{Answer, Client, Endpoint, name_in, who_at_last};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::process::Process;
use portolan_tests::toml::{Group, datagrams, unasked};
use portolan_tests::{payload, peer, place};

async fn edge_before(at: SocketAddr, lines: &str, endpoints: &[&Endpoint]) -> Edge {
    Edge::start(&datagrams(at, lines, &[unasked(endpoints.iter().copied())])).await
}

async fn dropped(edge: &Edge, cause: &str) -> u64 {
    let metrics = edge.metrics().await;
    metrics.sum("datagrams_dropped_total", &[("cause", cause)]) as u64
}

async fn active(edge: &Edge) -> u64 {
    edge.metrics().await.sum("flows_active", &[]) as u64
}

#[tokio::test]
async fn datagrams_of_every_size_pass_byte_for_byte() {
    for at in [place::fresh(), place::fresh_v6()] {
        let endpoint = Endpoint::start("a", Answer::Echo).await;
        let edge = edge_before(at, "", &[&endpoint]).await;
        let client = Client::to(at).await;
        for len in [0, 1, 1472, 9000, 65_507, 2048, 0] {
            let datagram = payload::stretch(len as u64, 0, len);
            assert!(
                client.ask(datagram).await == datagram,
                "{len} bytes at {at}"
            );
        }
        let metrics = edge.metrics().await;
        until("they are counted", PATIENCE, async || {
            let metrics = edge.metrics().await;
            ["in", "out"]
                .iter()
                .all(|way| metrics.sum("datagrams_total", &[("direction", way)]) == 7.0)
        })
        .await;
        assert_eq!(metrics.sum("datagrams_dropped_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn answers_leave_from_the_address_and_port_that_the_client_used() {
    // On the wildcard of both families: the answer to the very first datagram must come from where it was sent to, or a connected
    // client does not get it.
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let (one, two) = (place::fresh(), place::fresh());
    let toml = datagrams(one, "", &[unasked([&endpoint])])
        .replace(&format!("addresses = [\"{}\"]", one.ip()), "addresses = []")
        .replace(
            &format!("ports = [{}]", one.port()),
            &format!("ports = [{}, {}]", one.port(), two.port()),
        );
    let _edge = Edge::start(&toml).await;
    let addresses = [
        one.ip(),
        two.ip(),
        [127, 0, 0, 1].into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for port in [one.port(), two.port()] {
        for address in addresses {
            let client = Client::to((address, port).into()).await;
            assert_eq!(client.who("first").await, "a", "{address}:{port}");
            assert_eq!(client.who("second").await, "a", "{address}:{port}");
        }
    }
}

#[tokio::test]
async fn a_flow_stays_with_its_endpoint_and_ends_when_it_is_silent() {
    let (a, b) = (
        Endpoint::start("a", Answer::Name).await,
        Endpoint::start("b", Answer::Name).await,
    );
    let at = place::fresh();
    // Far longer than a busy machine leaves a client without its turn.
    let edge = edge_before(at, "idle_timeout = \"3s\"", &[&a, &b]).await;
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    // Kept, so that no two have one port.
    let mut clients = Vec::new();
    for number in 0..60 {
        let client = Client::to(at).await;
        let first = client.who(&number.to_string()).await;
        for again in 0..3 {
            assert_eq!(client.who(&format!("{number} {again}")).await, first);
        }
        *shares.entry(first).or_default() += 1;
        clients.push(client);
    }
    assert!(shares.values().all(|share| *share >= 10), "{shares:?}");
    until("they end", PATIENCE, async || {
        active(&edge).await == 0 && edge.ended("idle").await == 60
    })
    .await;
    let flows = eventually("they are recorded", PATIENCE, async || {
        Some(edge.flows()).filter(|flows| flows.len() == 60)
    })
    .await;
    for flow in flows {
        assert_eq!(flow["protocol"], "UDP");
        assert_eq!(
            (&flow["packets_in"], &flow["packets_out"]),
            (&4.into(), &4.into())
        );
        assert_eq!(flow["cause"], "idle");
    }
}

#[tokio::test]
async fn trains_keep_the_sizes_of_their_datagrams() {
    let endpoint = Endpoint::start("a", Answer::Echo).await;
    let at = place::fresh();
    for (lines, header) in [("", 0), ("proxy_protocol = \"v2\"", 28 + 11)] {
        let groups = [unasked([&endpoint]).with(lines)];
        let edge = Edge::start(&datagrams(at, "", &groups)).await;
        let client = Client::to(at).await;
        let train = payload::stretch(7, 0, 9 * 1200 + 300);
        client.say_train(train, 1200).await;
        let mut expected: Vec<&[u8]> = train.chunks(1200).collect();
        for datagram in &expected {
            let answer = client.hear().await;
            assert_eq!(&&answer[header..], datagram);
        }
        let mut seen: Vec<Vec<u8>> = endpoint.seen().into_iter().map(|(_, d)| d).collect();
        seen.iter_mut().for_each(|datagram| {
            datagram.drain(..header);
        });
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected);
        until("they are counted", PATIENCE, async || {
            edge.metrics()
                .await
                .sum("datagrams_total", &[("direction", "in")])
                == 10.0
        })
        .await;
    }
}

/// 1,000 flows with endpoint `a`, until `kill` has killed it.
async fn leaves_its_flows_to_another(a: SocketAddr, kill: impl AsyncFnOnce()) {
    let b = Endpoint::start("b", Answer::Name).await;
    let at = place::fresh();
    // Health is not asked: what moves the flows is that the host refuses.
    let group = unasked([&b]).named("a", a, "");
    let edge = Edge::start(&datagrams(at, "", &[group])).await;
    let mut clients = Vec::new();
    while clients.len() < 1000 {
        let client = Client::to(at).await;
        if client.who("hello").await == "a" {
            clients.push(client);
        }
    }
    kill().await;
    let began = Instant::now();
    let mut asked: BTreeMap<usize, usize> = BTreeMap::new();
    for (number, client) in clients.iter().enumerate() {
        let (name, times) = who_at_last(client, &number.to_string(), Duration::from_secs(2)).await;
        assert_eq!(name, "b");
        *asked.entry(times).or_default() += 1;
    }
    println!(
        "1000 flows of an endpoint that died were answered by another after this many datagrams each: {asked:?}, all in {:?}",
        began.elapsed()
    );
    assert!(asked.keys().all(|times| *times <= 2), "{asked:?}");
    // They stay there.
    assert_eq!(clients[0].who("again").await, "b");
    until("all of that is counted", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.sum("connect_failures_total", &[("cause", "refused")]) >= 1000.0
            && edge.ended("endpoint_rst").await == 1000
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_closes_its_port_leaves_its_flows_to_another_at_once() {
    let mut a = Endpoint::start("a", Answer::Name).await;
    leaves_its_flows_to_another(a.address(), async move || a.kill().await).await;
}

/// As [`Answer::Name`], in a process of its own.
const NAMED: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    datagram, sender = s.recvfrom(65536)
    s.sendto(b'a ' + datagram, sender)";

#[tokio::test]
async fn an_endpoint_whose_process_dies_leaves_its_flows_to_another_at_once() {
    let Some(python) = peer::find("python3") else {
        return;
    };
    let at = place::fresh();
    let mut command = Command::new(python);
    command.args(["-c", NAMED, &at.ip().to_string(), &at.port().to_string()]);
    let mut process = Process::spawn("an endpoint", &mut command);
    until("it serves", PATIENCE, async || {
        let client = Client::to(at).await;
        let _ = client.say(b"?").await;
        client
            .hear_within(Duration::from_millis(200))
            .await
            .is_some()
    })
    .await;
    leaves_its_flows_to_another(at, async move || {
        process.signal("KILL");
        process.end(PATIENCE).await;
    })
    .await;
}

#[tokio::test]
async fn a_silent_endpoint_is_found_by_its_check_and_left_at_the_next_datagram() {
    let (a, b) = (
        Endpoint::start("a", Answer::Echo).await,
        Endpoint::start("b", Answer::Echo).await,
    );
    let at = place::fresh();
    let check = "health_check = { protocol = \"UDP\", send = \"0x70696e67\", expect = \"ping\", interval = \"100ms\", \
                 fast_interval = \"50ms\", timeout = \"2s\", threshold = 2 }";
    let of = |endpoint: &Endpoint, region: &str, latency: &str| {
        Group::new(region, latency)
            .with(check)
            .named(endpoint.id(), endpoint.address(), "")
    };
    let groups = [of(&a, "near", "1ms"), of(&b, "far", "50ms")];
    let edge = Edge::start(&datagrams(at, "", &groups)).await;
    edge.until_health("a", "UP", PATIENCE).await;
    edge.until_health("b", "UP", PATIENCE).await;
    let client = Client::to(at).await;
    assert_eq!(client.ask(b"hello").await, b"hello");
    let said = |endpoint: &Endpoint, what: &[u8]| {
        let seen = endpoint.seen();
        seen.iter().filter(|(_, said)| said == what).count()
    };
    assert_eq!((said(&a, b"hello"), said(&b, b"hello")), (1, 0));

    a.set_answer(Answer::Silence);
    edge.until_health("a", "DOWN", PATIENCE).await;
    until("the flow is elsewhere", PATIENCE, async || {
        let _ = client.say(b"hello").await;
        client
            .hear_within(Duration::from_millis(500))
            .await
            .is_some()
    })
    .await;
    until("it is counted", PATIENCE, async || {
        edge.ended("stranded_reset").await == 1
    })
    .await;
    // What is back takes new flows; the one that left stays where it is.
    a.set_answer(Answer::Echo);
    edge.until_health("a", "UP", PATIENCE).await;
    client.say(b"and on").await.expect("it can be sent");
    // Answers to what was said before may still come.
    while client.hear().await != b"and on" {}
    assert_eq!((said(&a, b"and on"), said(&b, b"and on")), (0, 1));
}

#[tokio::test]
async fn a_drained_endpoint_keeps_its_flows_and_gets_no_new_ones() {
    let (a, b) = (
        Endpoint::start("a", Answer::Name).await,
        Endpoint::start("b", Answer::Name).await,
    );
    let at = place::fresh();
    let edge = edge_before(at, "", &[&a, &b]).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let client = Client::to(at).await;
        let name = client.who(&number.to_string()).await;
        clients.push((client, name));
    }
    let (status, body) = edge.post("/api/v1/endpoints/a/drain").await;
    assert_eq!(status, 200, "{body}");
    for _ in 0..20 {
        assert_eq!(Client::to(at).await.who("new").await, "b");
    }
    for (client, name) in &clients {
        assert_eq!(client.who("old").await, *name);
    }
}

#[tokio::test]
async fn a_reload_moves_no_flow() {
    let (a, b, c) = (
        Endpoint::start("a", Answer::Name).await,
        Endpoint::start("b", Answer::Name).await,
        Endpoint::start("c", Answer::Name).await,
    );
    let (at, other) = (place::fresh(), place::fresh());
    let edge = edge_before(at, "", &[&a, &b]).await;
    let mut clients = Vec::new();
    for number in 0..100 {
        let client = Client::to(at).await;
        let name = client.who(&number.to_string()).await;
        clients.push((client, name));
    }
    let sources = |endpoint: &Endpoint| -> BTreeSet<SocketAddr> {
        endpoint.seen().into_iter().map(|(from, _)| from).collect()
    };
    let before = (sources(&a), sources(&b));

    let generation = edge.generation().await.unwrap_or_default();
    let toml = datagrams(at, "", &[unasked([&a, &b, &c])]);
    let second = datagrams(other, "", &[unasked([&c])]).replace("\"shop\"", "\"other\"");
    edge.rewrite(&format!("{toml}\n{second}"));
    edge.signal("HUP");
    edge.until_generation_above(generation).await;
    until("the new listener serves", PATIENCE, async || {
        let client = Client::to(other).await;
        let _ = client.say(b"x").await;
        client
            .hear_within(Duration::from_millis(200))
            .await
            .is_some()
    })
    .await;
    for (client, name) in &clients {
        assert_eq!(client.who("after").await, *name);
    }
    // The endpoints see the same sources: nothing was opened anew.
    assert_eq!((sources(&a), sources(&b)), before);
}

#[tokio::test]
async fn a_full_listener_refuses_new_flows_and_keeps_the_living() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let at = place::fresh();
    let edge = edge_before(at, "max_flows = 20", &[&endpoint]).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let client = Client::to(at).await;
        client.who(&number.to_string()).await;
        // Answered and going on: confirmed.
        client.who("and on").await;
        clients.push(client);
    }
    let late = Client::to(at).await;
    for _ in 0..10 {
        late.say(b"me too").await.expect("it can be sent");
    }
    until("they are refused", PATIENCE, async || {
        let metrics = edge.metrics().await;
        let hits = metrics.sum("limit_hits_total", &[("limit", "listener_max_flows")]);
        dropped(&edge, "limit").await == 10 && hits == 10.0
    })
    .await;
    for client in &clients {
        assert_eq!(client.who("still here").await, "a");
    }
    assert_eq!(active(&edge).await, 20);
}

#[tokio::test]
async fn the_oldest_flow_that_nobody_confirmed_makes_room() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let at = place::fresh();
    // One worker's flows make room for that worker's.
    let toml = format!(
        "[pop]\nname = \"one\"\nworkers = 1\n{}",
        datagrams(at, "max_flows = 3", &[unasked([&endpoint])])
    );
    let edge = Edge::start(&toml).await;
    let keeper = Client::to(at).await;
    keeper.who("one").await;
    keeper.who("two").await;
    let mut others = Vec::new();
    for number in 0..10 {
        let client = Client::to(at).await;
        assert_eq!(client.who(&number.to_string()).await, "a");
        others.push(client);
    }
    until("eight had to go", PATIENCE, async || {
        active(&edge).await == 3 && edge.ended("limit").await == 8
    })
    .await;
    let port = keeper.local().port();
    endpoint.seen();
    keeper.who("three").await;
    assert_eq!(endpoint.seen().len(), 1, "of {port}");
    assert_eq!(edge.ended("limit").await, 8);
}

#[tokio::test]
async fn what_no_descriptor_is_left_for_is_refused_and_counted() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let at = place::fresh();
    let toml = datagrams(at, "", &[unasked([&endpoint])]);
    let edge = Edge::with(&toml).descriptors(512).ready().await;
    let mut clients = Vec::new();
    for number in 0..600 {
        let client = Client::to(at).await;
        let question = number.to_string();
        client
            .say(question.as_bytes())
            .await
            .expect("it can be sent");
        let Some(answer) = client.hear_within(Duration::from_secs(5)).await else {
            break;
        };
        assert_eq!(name_in(&answer, &question).as_deref(), Some("a"));
        let answer = client.who("and on").await;
        assert_eq!(answer, "a");
        clients.push(client);
    }
    assert!((100..600).contains(&clients.len()), "{}", clients.len());
    assert!(dropped(&edge, "limit").await >= 1);
    for client in &clients {
        assert_eq!(client.who("still here").await, "a");
    }
}

#[tokio::test]
async fn affinity_by_source_holds_over_ports() {
    let endpoints = [
        Endpoint::start("a", Answer::Name).await,
        Endpoint::start("b", Answer::Name).await,
        Endpoint::start("c", Answer::Name).await,
    ];
    let at = place::fresh();
    let [a, b, c] = &endpoints;
    let _edge = edge_before(at, "client_affinity = \"SOURCE_IP\"", &[a, b, c]).await;
    let mut met = BTreeSet::new();
    for _ in 0..12 {
        let from: IpAddr = place::client();
        let first = Client::from(from, at).await.who("one").await;
        for _ in 0..5 {
            assert_eq!(Client::from(from, at).await.who("more").await, first);
        }
        met.insert(first);
    }
    assert!(met.len() > 1);
}

#[tokio::test]
async fn an_upgrade_loses_no_datagram() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let at = place::fresh();
    let mut edge = edge_before(at, "idle_timeout = \"2s\"", &[&endpoint]).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let askers: Vec<_> = (0..20)
        .map(|number| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let lasting = Client::to(at).await;
                let mut asked = 0;
                while !*stopped.borrow() {
                    // Flows that last, and new ones.
                    let question = format!("{number} {asked}");
                    assert_eq!(lasting.who(&question).await, "a");
                    assert_eq!(Client::to(at).await.who(&question).await, "a");
                    asked += 2;
                }
                asked
            })
        })
        .collect();
    for _ in 0..3 {
        let mut old = edge.upgrade(&[]).await;
        old.end(PATIENCE).await;
    }
    stop.send_replace(true);
    let mut asked = 0;
    for asker in askers {
        asked += asker.await.expect("every question was answered");
    }
    println!("3 upgrades: 0 of {asked} datagrams were lost");
    assert!(dropped(&edge, "closing").await == 0 && asked > 100);
}
