//! Where new flows go: distance, dials, weights, affinity, ports, families.

use std::net::SocketAddr;

use portolan_tests::client::{self, Caller, shares};
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::place;
use portolan_tests::toml::{Group, accelerator, shop};

#[tokio::test]
async fn new_flows_go_to_the_nearest_region() {
    let (near, far, farthest) = (
        Endpoint::named("near").await,
        Endpoint::named("far").await,
        Endpoint::named("farthest").await,
    );
    let at = place::fresh();
    // Not in the order of distance: the order of the file only breaks ties.
    let groups = [
        Group::new("us-west-2", "140ms").endpoint(&farthest),
        Group::new("eu-central-1", "5ms").endpoint(&near),
        Group::new("us-east-1", "90ms").endpoint(&far),
    ];
    let edge = Edge::start(&shop(at, "", &groups)).await;

    assert_eq!(
        shares(at, 50).await.into_iter().collect::<Vec<_>>(),
        [("near".to_owned(), 50)]
    );

    let state = edge.state().await;
    let groups = state["accelerators"][0]["listeners"][0]["endpoint_groups"]
        .as_array()
        .unwrap();
    let order: Vec<_> = groups
        .iter()
        .map(|group| group["order"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [2, 0, 1], "{state:#}");
    let counted = edge.endpoint("near").await;
    assert_eq!(counted["total_flows"], 50);
    assert_eq!(counted["health"], "UP");
}

#[tokio::test]
async fn a_dial_lets_its_share_pass_to_the_next_region() {
    let (near, far) = (Endpoint::named("near").await, Endpoint::named("far").await);
    let at = place::fresh();
    let groups = [
        Group::new("near", "1ms")
            .endpoint(&near)
            .with("traffic_dial = 30.0"),
        Group::new("far", "50ms").endpoint(&far),
    ];
    let _edge = Edge::start(&shop(at, "", &groups)).await;

    // Five standard deviations of 600 draws at 30 % are 56.
    let shares = shares(at, 600).await;
    assert!((124..=236).contains(&shares["near"]), "{shares:?}");
    assert_eq!(shares["near"] + shares["far"], 600);
}

#[tokio::test]
async fn what_no_dial_takes_goes_to_the_last_region() {
    let (near, far) = (Endpoint::named("near").await, Endpoint::named("far").await);
    let at = place::fresh();
    let groups = [
        Group::new("near", "1ms")
            .endpoint(&near)
            .with("traffic_dial = 0.0"),
        Group::new("far", "50ms")
            .endpoint(&far)
            .with("traffic_dial = 10.0"),
    ];
    let _edge = Edge::start(&shop(at, "", &groups)).await;

    assert_eq!(
        shares(at, 60).await.into_iter().collect::<Vec<_>>(),
        [("far".to_owned(), 60)]
    );
}

#[tokio::test]
async fn a_region_at_dial_zero_stands_by() {
    let (near, standby) = (
        Endpoint::named("near").await,
        Endpoint::named("standby").await,
    );
    let at = place::fresh();
    let groups = [
        Group::new("near", "1ms").endpoint(&near),
        Group::new("standby", "50ms")
            .endpoint(&standby)
            .with("traffic_dial = 0.0"),
    ];
    let edge = Edge::start(&shop(at, "", &groups)).await;
    assert_eq!(client::ask(at, "x").await.unwrap(), "near");

    near.kill().await;
    assert_eq!(client::ask(at, "x").await.unwrap(), "standby");
    edge.until_health("near", "DOWN", PATIENCE).await;
    assert_eq!(client::ask(at, "x").await.unwrap(), "standby");
}

#[tokio::test]
async fn endpoints_share_by_weight_and_weight_zero_gets_nothing() {
    let (heavy, light, none) = (
        Endpoint::named("heavy").await,
        Endpoint::named("light").await,
        Endpoint::named("none").await,
    );
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .weighted(&heavy, 192)
        .weighted(&light, 64)
        .weighted(&none, 0);
    let _edge = Edge::start(&shop(at, "", &[group])).await;

    // Five standard deviations of 600 draws at 25 % are 53.
    let shares = shares(at, 600).await;
    assert!((97..=203).contains(&shares["light"]), "{shares:?}");
    assert_eq!(shares["light"] + shares["heavy"], 600);
}

#[tokio::test]
async fn a_client_keeps_its_endpoint_with_source_ip() {
    let endpoints = [
        Endpoint::named("a").await,
        Endpoint::named("b").await,
        Endpoint::named("c").await,
        Endpoint::named("d").await,
    ];
    let places = place::fresh_with_one_port(1);
    let at = places[0];
    let other_port = SocketAddr::new(at.ip(), at.port() + 1);
    let group = endpoints
        .iter()
        .fold(Group::new("r", "1ms"), Group::endpoint);
    let ports = format!("\"{}-{}\"", at.port(), other_port.port());
    let toml = accelerator(
        "shop",
        &[at],
        &ports,
        "client_affinity = \"SOURCE_IP\"",
        &[group],
    );
    let edge = Edge::start(&toml).await;

    let mut used = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let from = place::client();
        let first = client::ask_from(from, at, "x").await.unwrap();
        for to in [at, other_port, at, other_port] {
            assert_eq!(
                client::ask_from(from, to, "x").await.unwrap(),
                first,
                "{from} to {to}"
            );
        }
        // What `why` says is what happens.
        let (status, why) = edge
            .get(&format!("/api/v1/why?client={from}&to={at}/TCP"))
            .await;
        assert_eq!(status, 200, "{why}");
        assert!(
            why.contains(&format!("\"{first}\"")),
            "{from} got {first}: {why}"
        );
        used.insert(first);
    }
    assert!(
        used.len() > 1,
        "twelve clients of four endpoints all got {used:?}"
    );
}

#[tokio::test]
async fn ports_are_overridden_else_the_endpoints_own_else_the_listeners() {
    let own = Endpoint::named("own").await;
    let places = place::fresh_with_one_port(2);
    let (at, same_port) = (
        places[0],
        Endpoint::start_at(places[1], "same", endpoint::naming()).await,
    );
    let override_to = Endpoint::start_at(
        SocketAddr::new(place::fresh().ip(), at.port() + 1),
        "override",
        endpoint::naming(),
    )
    .await;

    let group = Group::new("r", "1ms").endpoint(&own);
    let edge = Edge::start(&shop(at, "", &[group])).await;
    assert_eq!(client::ask(at, "x").await.unwrap(), "own");

    let generation = edge.generation().await.unwrap();
    let group = Group::new("r", "1ms").named("same", same_port.address().ip(), "");
    edge.rewrite(&shop(at, "", &[group]));
    edge.until_generation_above(generation).await;
    until("the listener's port is used", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "same")
    })
    .await;

    // The override wins over the endpoint's own port, which is another endpoint's here.
    let generation = edge.generation().await.unwrap();
    let line = format!(
        "port_overrides = [{{ listener_port = {}, endpoint_port = {} }}]",
        at.port(),
        override_to.address().port()
    );
    let address = SocketAddr::new(override_to.address().ip(), 1);
    let group = Group::new("r", "1ms")
        .with(line)
        .unasked()
        .named("override", address, "");
    edge.rewrite(&shop(at, "", &[group]));
    edge.until_generation_above(generation).await;
    until("the override is used", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "override")
    })
    .await;
}

#[tokio::test]
async fn ipv6_clients_reach_ipv4_endpoints_and_the_other_way_round() {
    let v4 = Endpoint::named("v4").await;
    let v6 = Endpoint::start_at(place::fresh_v6(), "v6", endpoint::naming()).await;
    let (at_v4, at_v6) = (place::fresh(), place::fresh_v6());
    let toml = [
        accelerator(
            "four",
            &[at_v4],
            &at_v4.port().to_string(),
            "",
            &[Group::new("r", "1ms").endpoint(&v6)],
        ),
        accelerator(
            "six",
            &[at_v6],
            &at_v6.port().to_string(),
            "",
            &[Group::new("r", "1ms").endpoint(&v4)],
        ),
    ]
    .concat();
    let edge = Edge::start(&toml).await;

    assert_eq!(client::ask(at_v4, "x").await.unwrap(), "v6");
    assert_eq!(client::ask(at_v6, "x").await.unwrap(), "v4");
    assert_eq!(edge.endpoint("v6").await["health"], "UP");
}

#[tokio::test]
async fn every_port_of_every_range_on_every_address_is_served() {
    let endpoint = Endpoint::named("a").await;
    let places = place::fresh_with_one_port(4);
    let port = places[0].port();
    let ports = format!("{port}, \"{}-{}\"", port + 10, port + 40);
    let toml = accelerator(
        "shop",
        &places,
        &ports,
        "",
        &[Group::new("r", "1ms").endpoint(&endpoint)],
    );
    let edge = Edge::start(&toml).await;

    for place in &places {
        for port in std::iter::once(port).chain(port + 10..=port + 40) {
            let to = SocketAddr::new(place.ip(), port);
            assert_eq!(
                client::ask(to, "x")
                    .await
                    .unwrap_or_else(|error| panic!("{to}: {error}")),
                "a"
            );
        }
    }
    let beside = SocketAddr::new(places[0].ip(), port + 41);
    assert!(client::ask(beside, "x").await.is_err());
    let state = edge.state().await;
    let addresses = state["accelerators"][0]["addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 4);
    assert!(
        addresses.iter().all(|address| address["assigned"] == true),
        "{state:#}"
    );
}

#[tokio::test]
async fn a_disabled_accelerator_takes_nothing_and_keeps_its_flows() {
    let endpoint = Endpoint::named("a").await;
    let at = place::fresh();
    let toml = shop(at, "", &[Group::new("r", "1ms").endpoint(&endpoint)]);
    let edge = Edge::start(&toml).await;
    let mut caller = Caller::connect(at).await.unwrap();
    assert_eq!(caller.ask("x").await.unwrap(), "a");

    edge.rewrite(&toml.replacen("name = \"shop\"", "name = \"shop\"\nenabled = false", 1));
    until("new flows are refused", PATIENCE, async || {
        client::is_refused(at).await
    })
    .await;
    assert_eq!(caller.ask("still here").await.unwrap(), "a");
    until("the state says so", PATIENCE, async || {
        edge.state().await["accelerators"][0]["enabled"] == false
    })
    .await;

    edge.rewrite(&toml);
    until("new flows are taken", PATIENCE, async || {
        client::ask(at, "x").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_at_its_max_flows_is_passed_over() {
    let (small, large) = (
        Endpoint::named("small").await,
        Endpoint::named("large").await,
    );
    let at = place::fresh();
    let groups = [
        Group::new("near", "1ms").named("small", small.address(), ", max_flows = 2"),
        Group::new("far", "50ms").endpoint(&large),
    ];
    let _edge = Edge::start(&shop(at, "", &groups)).await;

    let mut held = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let mut caller = Caller::connect(at).await.unwrap();
        answers.push(caller.ask("x").await.unwrap());
        held.push(caller);
    }
    assert_eq!(answers, ["small", "small", "large", "large"]);
    held.truncate(0);
    until("a flow's end makes room", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "small")
    })
    .await;
}
