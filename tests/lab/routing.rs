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

/// What a busy machine hides at the start is seen once the smoothed distances are those of the map, and has had its half minute.
const SETTLED: Duration = Duration::from_secs(90);

/// Waits until the regions are in this order.
async fn until_order(edge: &Edge, expected: &[&str]) {
    until(&format!("the order is {expected:?}"), SETTLED, async || {
        regions(&order(edge).await) == expected
    })
    .await;
}

async fn distance(edge: &Edge, region: &str) -> f64 {
    let order = order(edge).await;
    order.iter().find(|(name, _)| name == region).unwrap().1
}

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

    println!(
        "pop-iad {:?}, pop-fra {:?}",
        order(iad).await,
        order(fra).await
    );
    for (edge, client, nearest) in [(iad, "c-nyc", "us-east-1"), (fra, "c-ber", "eu-west-1")] {
        until(&format!("{nearest} is the first"), SETTLED, async || {
            regions(&order(edge).await)[0] == nearest
        })
        .await;
        until(&format!("{client} is served there"), PATIENCE, async || {
            let served = served_by(&lab, client).await;
            served.is_ok_and(|id| id.starts_with(nearest))
        })
        .await;
    }
    for (region, by_map) in [("us-east-1", 2.0), ("us-west-2", 60.0), ("eu-west-1", 68.0)] {
        let measured = distance(iad, region).await;
        assert!(
            measured >= by_map,
            "{region}: {measured} ms, {by_map} ms by the map"
        );
    }

    // The backbone to eu-west-1 is cut: 75 ms over the Internet instead of 68.
    let health = transitions(iad).await;
    let before = order(iad).await;
    lab.record();
    lab.link("pop-iad", "eu-west-1").set("carrier=0");
    let mut by_internet = 0;
    until("the longer way is measured", PATIENCE, async || {
        by_internet += lab.record_on("r-eu", "eu-west-1").len();
        // Enough for the smoothed distance to have followed. What moves by less than a twentieth is no news, so that the whole way to 75
        // need not be told.
        by_internet >= 50 && distance(iad, "eu-west-1").await >= 70.0
    })
    .await;
    // The second and third are 8 ms apart, which a busy machine can hide at the start: then theirs may still become that of the map.
    let by_map = ["us-east-1", "us-west-2", "eu-west-1"];
    throughout("the order stands", Duration::from_secs(1), async || {
        let now = order(iad).await;
        regions(&now) == regions(&before) || regions(&now) == by_map
    })
    .await;
    assert_eq!(transitions(iad).await, health, "nobody's health changed");
    until("c-nyc is served as before", PATIENCE, async || {
        let served = served_by(&lab, "c-nyc").await;
        served.is_ok_and(|id| id.starts_with("us-east-1-"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_becomes_farther_for_good_changes_the_order_once() {
    let world = World::star(&[("near", "5ms"), ("middle", "20ms"), ("far", "40ms")]);
    let Some(lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let edge = scene::pop(&lab, "pop", &scene::configuration(&world, "pop", OFTEN)).await;
    until_order(&edge, &["near", "middle", "far"]).await;
    let served = served_by(&lab, "client").await.unwrap();
    assert!(served.starts_with("near-"), "{served}");
    let before = transitions(&edge).await;

    // A short detour is ridden out.
    lab.link("pop", "near").set("delay=30ms");
    until("the detour is measured", PATIENCE, async || {
        distance(&edge, "near").await > 50.0
    })
    .await;
    lab.link("pop", "near").set("delay=5ms");
    until("its end is measured", PATIENCE, async || {
        distance(&edge, "near").await < 30.0
    })
    .await;
    let order_then = order(&edge).await;
    assert_eq!(regions(&order_then), ["near", "middle", "far"]);

    lab.link("pop", "near").set("delay=30ms");
    let mut seen = vec![order_then];
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
    let served = served_by(&lab, "client").await.unwrap();
    assert!(served.starts_with("middle-"), "{served}");
    throughout("that stays", Duration::from_secs(2), async || {
        regions(&order(&edge).await) == ["middle", "near", "far"]
    })
    .await;
    assert_eq!(transitions(&edge).await, before, "nobody's health changed");
}
