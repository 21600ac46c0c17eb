//! What becomes of UDP's flows whose listener is gone, and of answers that there is no room for.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use portolan_tests::datagram::{Answer, Client, Endpoint, who_at_last};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::place;
use portolan_tests::toml::{datagrams, unasked};

async fn dropped(edge: &Edge, cause: &str) -> u64 {
    let metrics = edge.metrics().await;
    metrics.sum("datagrams_dropped_total", &[("cause", cause)]) as u64
}

#[tokio::test]
async fn what_a_flow_had_no_room_for_is_counted() {
    let endpoint = std::net::UdpSocket::bind(place::fresh()).expect("a free port");
    let at = place::fresh();
    let to = endpoint.local_addr().expect("it is bound");
    let group = unasked([]).named("a", to, "");
    let edge = Edge::start(&datagrams(at, "idle_timeout = \"3s\"", &[group])).await;
    let client = Client::to(at).await;
    client.say(b"a flow").await.expect("it can be sent");
    let mut buffer = [0; 16];
    let (_, edge_address) = endpoint.recv_from(&mut buffer).expect("a datagram");
    edge.in_one_go(async || {
        // Far more than the kernel holds for a socket that nobody reads.
        for _ in 0..4000 {
            let sent = endpoint.send_to(&[0; 8000], edge_address);
            sent.expect("it can be sent");
        }
    })
    .await;
    until(
        "it is counted when the flow is over",
        PATIENCE,
        async || dropped(&edge, "endpoint_buffer").await > 0,
    )
    .await;
    assert_eq!(dropped(&edge, "receive_buffer").await, 0);
}

async fn reload(edge: &Edge, toml: &str) {
    let generation = edge.generation().await.unwrap_or_default();
    edge.rewrite(toml);
    edge.signal("HUP");
    edge.until_generation_above(generation).await;
}

#[tokio::test]
async fn a_listener_that_is_removed_keeps_its_flows_and_takes_no_new_ones() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let (at, other) = (place::fresh(), place::fresh());
    let stays = datagrams(other, "", &[unasked([&endpoint])]).replace("\"shop\"", "\"other\"");
    let goes = datagrams(at, "idle_timeout = \"5s\"", &[unasked([&endpoint])]);
    let both = format!("{goes}\n{stays}");
    let edge = Edge::start(&both).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let client = Client::to(at).await;
        client.who(&number.to_string()).await;
        clients.push(client);
    }
    let sources =
        || -> BTreeSet<SocketAddr> { endpoint.seen().into_iter().map(|(from, _)| from).collect() };
    let before = sources();
    let everybody = async |question: &str| {
        for client in &clients {
            assert_eq!(client.who(question).await, "a");
        }
    };

    reload(&edge, &stays).await;
    everybody("after it went").await;
    let late = Client::to(at).await;
    for _ in 0..3 {
        let _ = late.say(b"too late").await;
        assert_eq!(late.hear_within(Duration::from_millis(100)).await, None);
    }
    everybody("and later").await;
    assert_eq!(sources(), before, "the flows that were there, and no other");

    // Back before they are over: they go on, and new ones come.
    reload(&edge, &both).await;
    everybody("after it came back").await;
    assert_eq!(sources(), before);
    for number in 0..20 {
        let client = Client::to(at).await;
        // The door may open a moment after the generation is told.
        let step = Duration::from_millis(500);
        let (name, _) = who_at_last(&client, &number.to_string(), step).await;
        assert_eq!(name, "a");
    }

    // The port is free when the last flow is over.
    reload(&edge, &stays).await;
    until("the port is free", PATIENCE, async || {
        std::net::UdpSocket::bind(at).is_ok()
    })
    .await;
    // Counters go with their listener, records stay.
    let causes = eventually("all are recorded", PATIENCE, async || {
        let flows = edge.flows();
        let causes: Vec<String> = flows.iter().map(|flow| flow["cause"].to_string()).collect();
        (causes.len() == 40).then_some(causes)
    })
    .await;
    assert!(causes.iter().all(|cause| cause == "\"idle\""), "{causes:?}");
}

#[tokio::test]
async fn flows_of_a_removed_listener_end_when_their_time_to_drain_is_over() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let (at, other) = (place::fresh(), place::fresh());
    let stays = datagrams(other, "", &[unasked([&endpoint])]).replace("\"shop\"", "\"other\"");
    let drains = unasked([&endpoint]).with("drain_timeout = \"1s\"");
    let edge = Edge::start(&format!("{}\n{stays}", datagrams(at, "", &[drains]))).await;
    let client = Client::to(at).await;
    client.who("before").await;
    reload(&edge, &stays).await;
    until("it ends", PATIENCE, async || {
        // Never silent, so that nothing but the drain can end it.
        let _ = client.say(b"and on").await;
        edge.flows()
            .iter()
            .any(|flow| flow["cause"] == "drain_timeout")
    })
    .await;
}
