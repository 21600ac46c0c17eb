//! PoPs choose regions by the distance that they measure, follow it when it changes, and do not flap.

use std::time::Duration;

use portolan_tests::deadline::{PATIENCE, throughout, until};
use portolan_tests::edge::Edge;
use portolan_tests::lab::anycast::served_by;
use portolan_tests::lab::scene;
use portolan_tests::lab::{Lab, Role, World};
use serde_json::Value;

/// Asks often, so that a smoothed round trip follows within seconds.
const OFTEN: &str =
    r#"health_check = { protocol = "TCP", interval = "100ms", timeout = "2s", threshold = 3 }"#;

/// The regions of an edge's first listener, nearest first, with their distances in milliseconds.
async fn order(edge: &Edge) -> Vec<(String, f64)> {
    let state = edge.state().await;
    let groups = &state["accelerators"][0]["listeners"][0]["endpoint_groups"];
    let mut found: Vec<&Value> = groups.as_array().unwrap().iter().collect();
    found.sort_by_key(|group| group["order"].as_u64());
    let told = |group: &Value| {
        let region = group["region"].as_str().unwrap().to_owned();
        (region, group["distance_ms"].as_f64().unwrap_or(f64::NAN))
    };
    found.into_iter().map(told).collect()
}

fn regions(order: &[(String, f64)]) -> Vec<&str> {
    order.iter().map(|(region, _)| region.as_str()).collect()
}

/// Which endpoint a new connection of this client gets.
async fn transitions(edge: &Edge) -> f64 {
    edge.metrics().await.sum("endpoint_transitions_total", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pop_has_its_own_order_and_a_longer_way_round_a_cut_changes_nothing() {
    let world = World::atlantic();
    let Some(lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let mut edges = Vec::new();
    for pop in lab.nodes_of(Role::Pop) {
        let toml = scene::configuration(&world, pop.name(), OFTEN);
        edges.push(scene::pop(&lab, pop.name(), &toml).await);
    }
    let [iad, fra] = edges.as_slice() else {
        panic!("the world has two PoPs")
    };

    let (from_iad, from_fra) = (order(iad).await, order(fra).await);
    println!("pop-iad {from_iad:?}, pop-fra {from_fra:?}");
    // The second and third are 8 ms apart, which a busy machine can hide at the start.
    assert_eq!(regions(&from_iad)[0], "us-east-1");
    assert_eq!(regions(&from_fra)[0], "eu-west-1");
    for (region, by_map) in [("us-east-1", 2.0), ("us-west-2", 60.0), ("eu-west-1", 68.0)] {
        let measured = from_iad.iter().find(|(name, _)| name == region).unwrap().1;
        assert!(
            measured >= by_map,
            "{region}: {measured} ms, {by_map} ms by the map"
        );
    }
    assert!(
        served_by(&lab, "c-nyc")
            .await
            .unwrap()
            .starts_with("us-east-1-")
    );
    assert!(
        served_by(&lab, "c-ber")
            .await
            .unwrap()
            .starts_with("eu-west-1-")
    );

    // The backbone to eu-west-1 is cut: 75 ms over the Internet instead of 68.
    let before = transitions(iad).await;
    let far = from_iad.iter().find(|(name, _)| name == "eu-west-1");
    let shortest = far.unwrap().1;
    lab.link("pop-iad", "eu-west-1").set("carrier=0");
    until("the longer way is measured", PATIENCE, async || {
        let found = order(iad).await;
        let (_, distance) = found.iter().find(|(name, _)| name == "eu-west-1").unwrap();
        // What moves by less than a twentieth is no news, so that the whole way to 75 need not be told.
        *distance >= shortest + 2.0
    })
    .await;
    throughout("the order stands", Duration::from_secs(1), async || {
        regions(&order(iad).await) == regions(&from_iad)
    })
    .await;
    assert_eq!(transitions(iad).await, before, "nobody's health changed");
    assert!(
        served_by(&lab, "c-nyc")
            .await
            .unwrap()
            .starts_with("us-east-1-")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_becomes_farther_for_good_changes_the_order_once() {
    let world = World::star(&[("near", "5ms"), ("middle", "20ms"), ("far", "40ms")]);
    let Some(lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let edge = scene::pop(&lab, "pop", &scene::configuration(&world, "pop", OFTEN)).await;
    assert_eq!(regions(&order(&edge).await), ["near", "middle", "far"]);
    assert!(
        served_by(&lab, "client")
            .await
            .unwrap()
            .starts_with("near-")
    );
    let before = transitions(&edge).await;

    // A short detour is ridden out.
    lab.link("pop", "near").set("delay=30ms");
    until("the detour is measured", PATIENCE, async || {
        order(&edge).await[0].1 > 50.0
    })
    .await;
    lab.link("pop", "near").set("delay=5ms");
    until("its end is measured", PATIENCE, async || {
        order(&edge).await[0].1 < 30.0
    })
    .await;

    lab.link("pop", "near").set("delay=30ms");
    let mut seen = vec![order(&edge).await];
    until("the order has changed", 3 * PATIENCE, async || {
        let now = order(&edge).await;
        let changed = regions(&now) != regions(seen.last().unwrap());
        if changed {
            seen.push(now);
        }
        changed
    })
    .await;
    assert_eq!(regions(&seen[1]), ["middle", "near", "far"], "{seen:?}");
    assert!(
        served_by(&lab, "client")
            .await
            .unwrap()
            .starts_with("middle-")
    );
    throughout("that stays", Duration::from_secs(2), async || {
        regions(&order(&edge).await) == ["middle", "near", "far"]
    })
    .await;
    assert_eq!(transitions(&edge).await, before, "nobody's health changed");
}
