//! Flows of UDP and an upgrade: they go along with their sockets, so that neither clients nor endpoints notice, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use portolan_tests::datagram::{Answer, Client, Endpoint, who_at_last};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::place;
use portolan_tests::toml::{Group, datagrams, unasked};

async fn edge_before(at: SocketAddr, lines: &str, endpoints: &[Endpoint]) -> Edge {
    Edge::start(&datagrams(at, lines, &[unasked(endpoints)])).await
}

/// Which endpoint each of these was last sent to, and from which of the edge's addresses.
fn places(endpoints: &[Endpoint]) -> BTreeMap<Vec<u8>, (String, SocketAddr)> {
    let seen = endpoints.iter().flat_map(|endpoint| {
        let seen = endpoint.seen().into_iter();
        seen.map(|(from, datagram)| (datagram, (endpoint.id().to_owned(), from)))
    });
    seen.collect()
}

async fn all_ask(clients: &[Client]) {
    for (number, client) in clients.iter().enumerate() {
        client.who(&number.to_string()).await;
    }
}

#[tokio::test]
async fn flows_go_to_the_new_process_with_their_sockets() {
    let endpoints = [
        Endpoint::start("a", Answer::Name).await,
        Endpoint::start("b", Answer::Name).await,
    ];
    let at = place::fresh();
    // Far longer than an upgrade takes, however busy the machine is.
    let mut edge = edge_before(at, "idle_timeout = \"10s\"", &endpoints).await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(Client::to(at).await);
    }
    all_ask(&clients).await;
    let before = places(&endpoints);
    assert_eq!(before.len(), 300);
    for more in [&[][..], &["--with-flows"]] {
        let mut old = edge.upgrade(more).await;
        // Nothing is left there to wait for.
        assert!(old.end(PATIENCE).await.success(), "{}", old.output());
        until("all flows are there", PATIENCE, async || {
            edge.metrics().await.sum("flows_active", &[]) == 300.0
        })
        .await;
        all_ask(&clients).await;
        assert_eq!(places(&endpoints), before);
    }
    let records = eventually("every record is written", PATIENCE, async || {
        Some(edge.flows()).filter(|flows| flows.len() == 300)
    })
    .await;
    let ids: BTreeSet<_> = records
        .iter()
        .map(|record| record["flow_id"].as_u64())
        .collect();
    assert_eq!(ids.len(), 300);
    for record in records {
        assert_eq!(
            (&record["packets_in"], &record["packets_out"]),
            (&3.into(), &3.into())
        );
        assert_eq!(record["cause"], "idle");
    }
}

#[tokio::test]
async fn answers_that_come_meanwhile_arrive() {
    let endpoints = [Endpoint::start("a", Answer::Name).await];
    let at = place::fresh();
    let mut edge = edge_before(at, "", &endpoints).await;
    let client = Client::to(at).await;
    client.who("hello").await;
    let (_, (_, flow)) = places(&endpoints).pop_first().expect("it was asked");
    // What the endpoint says by itself finds the client, whoever has the flow.
    let endpoint = endpoints[0].address();
    for round in 0..3_u8 {
        let mut old = edge.upgrade(&[]).await;
        let socket = tokio::net::UdpSocket::bind((endpoint.ip(), 0))
            .await
            .expect("a free port");
        // Not the endpoint's port: the flow's socket takes nothing from it.
        socket.send_to(b"stranger", flow).await.expect("a route");
        assert_eq!(client.who(&format!("round {round}")).await, "a");
        assert!(old.end(PATIENCE).await.success());
    }
    until("it is one flow", PATIENCE, async || {
        edge.metrics().await.sum("flows_active", &[]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_flow_whose_listener_or_endpoint_is_gone_begins_anew() {
    let endpoints = [
        Endpoint::start("a", Answer::Name).await,
        Endpoint::start("b", Answer::Name).await,
    ];
    let at = place::fresh();
    let mut edge = edge_before(at, "", &endpoints[..1]).await;
    let client = Client::to(at).await;
    assert_eq!(client.who("before").await, "a");
    let text = std::fs::read_to_string(edge.file()).expect("it is there");
    let [a, b] = [&endpoints[0], &endpoints[1]].map(|endpoint| endpoint.address().to_string());
    let other = text.replace(&a, &b).replace("id = \"a\"", "id = \"b\"");
    // Both at once: the file is another one when the new process reads it.
    edge.rewrite(&other);
    let mut old = edge.upgrade(&[]).await;
    assert_eq!(client.who("after").await, "b");
    assert!(old.end(PATIENCE).await.success());
    until("the first flow was recorded", PATIENCE, async || {
        edge.flows().iter().any(|flow| flow["endpoint_id"] == "a")
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_flows_of_a_predecessor_that_is_dead() {
    let answering = Endpoint::start("a", Answer::Name).await;
    let hole =
        portolan_tests::endpoint::Endpoint::start("hole", portolan_tests::endpoint::silent()).await;
    hole.swallow().await;
    let at = place::fresh();
    // Its first probe keeps a successor from getting ready for five seconds: time enough to kill who waits for it.
    let patient = r#"health_check = { protocol = "TCP", interval = "1m", timeout = "1m" }"#;
    let groups = [
        Group::new("near", "1ms")
            .unasked()
            .named("a", answering.address(), ""),
        Group::new("far", "9ms").endpoint(&hole).with(patient),
    ];
    let mut edge = Edge::start(&datagrams(at, "", &groups)).await;
    let client = Client::to(at).await;
    assert_eq!(client.who("before").await, "a");
    let successor = edge.successor(&[]);
    until("it takes over", PATIENCE, async || {
        successor.output().contains("taking over")
    })
    .await;
    edge.signal("KILL");
    edge.process().end(PATIENCE).await;
    let step = std::time::Duration::from_millis(200);
    let (who, _) = who_at_last(&client, "after", step).await;
    assert_eq!(who, "a");
}
