//! The whole controller over a data path that only records, with real endpoints on loopback.

mod bench;

use std::net::IpAddr;

use portolan_config::health::HealthState;
use portolan_config::signal::{Signal, SignalKind};
use portolan_config::snapshot::{Fate, Verdict};
use tokio::net::TcpListener;

use self::bench::{Bench, Listening, config, request};
use super::*;
use crate::deadline::PATIENCE;
use crate::handle::{DrainError, DrainRequest, ReloadError, UndrainRequest};
use crate::resolve::driver::tests::{Zone, name_server};

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_come_up_and_a_dead_one_goes_down_with_its_flows() {
    let (a, b) = (Listening::start().await, Listening::start().await);
    let bench = Bench::start(&config(&[("a", a.address), ("b", b.address)]));
    assert_eq!(
        bench.plane.snapshots().len(),
        1,
        "published before start returned"
    );
    bench.is("a", HealthState::Up).await;
    bench.is("b", HealthState::Up).await;
    let mut events = bench.control.events();
    a.stop().await;
    bench.is("a", HealthState::Down).await;
    bench
        .until("a reset", || {
            matches!(bench.plane.verdicts()[..], [Fate::Reset { .. }])
        })
        .await;
    let endpoint = bench.endpoint("a").expect("it stays");
    assert!(!endpoint.available);
    let reason = endpoint.reason.as_deref().expect("a reason").to_owned();
    assert!(reason.contains("refused"), "{reason}");
    let mut names = Vec::new();
    while let Ok(event) = events.try_recv() {
        names.push(event.what.name());
    }
    assert!(
        names.contains(&"health") && names.contains(&"verdict") && names.contains(&"generation"),
        "{names:?}"
    );
    let metrics = bench.control.metrics_view();
    assert!(metrics.detection_seconds.read().0.iter().sum::<u64>() >= 1);
    assert_eq!(
        metrics
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.up)
            .count(),
        1
    );
    assert_eq!(metrics.endpoints[0].transitions, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_endpoint_dies_at_once_nothing_is_reset() {
    let (a, b) = (Listening::start().await, Listening::start().await);
    let bench = Bench::start(&config(&[("a", a.address), ("b", b.address)]));
    bench.is("a", HealthState::Up).await;
    bench.is("b", HealthState::Up).await;
    tokio::join!(a.stop(), b.stop());
    bench.is("a", HealthState::Down).await;
    bench.is("b", HealthState::Down).await;
    let down = bench.plane.newest().generation;
    // A tick later everything that was held has been decided.
    bench.control.drain(request("b")).await.expect("known");
    bench
        .until("the next generation", || {
            bench.plane.newest().generation > down
        })
        .await;
    let fates = bench.plane.verdicts();
    assert!(
        fates.iter().all(|fate| !matches!(fate, Fate::Reset { .. })),
        "{fates:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_becomes_a_suspicion() {
    let (a, b) = (Listening::start().await, Listening::start().await);
    let slow = config(&[("a", a.address), ("b", b.address)])
        .replace("interval = \"50ms\"", "interval = \"1h\"");
    let bench = Bench::start(&slow);
    bench.is("a", HealthState::Up).await;
    let (address, to) = (
        bench.endpoint("a").expect("there").addresses[0].live.id,
        a.address,
    );
    a.stop().await;
    let signal = Signal {
        address,
        to: portolan_config::address::EndpointAddr(to),
        kind: SignalKind::Refused,
        at: Instant::now(),
    };
    bench.signals.send(signal).await.expect("taken");
    bench.is("a", HealthState::Down).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_names_counters_and_health() {
    let (a, b) = (Listening::start().await, Listening::start().await);
    let bench = Bench::start(&config(&[("a", a.address)]));
    bench.is("a", HealthState::Up).await;
    let before = bench.endpoint("a").expect("there");
    let first = bench.plane.snapshots().len();
    bench.replace(
        &config(&[("a", a.address), ("b", b.address)])
            .replace("timeout = \"1s\"", "timeout = \"2s\""),
    );
    bench
        .until("b is there", || bench.endpoint("b").is_some())
        .await;
    let after = bench.endpoint("a").expect("there");
    assert!(Arc::ptr_eq(&before.stats, &after.stats));
    assert!(Arc::ptr_eq(
        &before.addresses[0].live,
        &after.addresses[0].live
    ));
    for snapshot in &bench.plane.snapshots()[first..] {
        let a = &snapshot.listeners[0].groups[0].endpoints[0];
        assert_eq!(
            a.health,
            HealthState::Up,
            "generation {} forgot it",
            snapshot.generation
        );
    }
    assert_eq!(bench.control.state().config.generation, 2);
    bench.replace(&config(&[("b", b.address)]));
    bench
        .until("a's flows drain", || {
            matches!(bench.plane.verdicts()[..], [Fate::Drain { until: Some(_) }])
        })
        .await;
    assert!(bench.endpoint("a").is_none());
    bench.replace(&config(&[("a", a.address), ("b", b.address)]));
    bench
        .until("a is back", || {
            matches!(bench.plane.verdicts()[..], [Fate::Drain { .. }, Fate::Keep])
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_refused_and_the_old_one_stays() {
    let a = Listening::start().await;
    let good = config(&[("a", a.address)]);
    let bench = Bench::start(&good);
    bench.is("a", HealthState::Up).await;
    std::fs::write(bench.path(), "[[accelerator]\nname = 1").expect("written");
    let refused = bench.control.reload().await.expect_err("it is broken");
    assert!(
        matches!(&refused, ReloadError::Refused(errors) if errors.contains("portolan.toml:1")),
        "{refused}"
    );
    let state = bench.control.state();
    assert!(state.config.error.is_some() && state.config.generation == 1);
    assert!(!bench.control.metrics_view().config_reload_success);
    assert!(
        bench
            .endpoint("a")
            .is_some_and(|endpoint| endpoint.available)
    );
    std::fs::write(
        bench.path(),
        good.replace("[[accelerator]]", "[pop]\nworkers = 7\n[[accelerator]]"),
    )
    .expect("written");
    let outcome = bench.control.reload().await.expect("it is good");
    assert!(outcome.changed && outcome.generation == 2);
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("[pop] workers")),
        "{outcome:?}"
    );
    let again = bench.control.reload().await.expect("it is good");
    assert!(!again.changed && again.generation == 2);
    assert_eq!(bench.control.state().config.error, None);
    assert!(bench.control.metrics_view().config_reload_success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_outlives_reload_and_restart() {
    let (a, b) = (Listening::start().await, Listening::start().await);
    let text = config(&[("a", a.address), ("b", b.address)]);
    let bench = Bench::start(&text);
    bench.is("a", HealthState::Up).await;
    let outcome = bench.control.drain(request("a")).await.expect("known");
    assert_eq!(
        (outcome.places.len(), outcome.not_saved, outcome.until),
        (1, None, None)
    );
    assert!(
        bench
            .endpoint("a")
            .is_some_and(|endpoint| endpoint.draining && !endpoint.available)
    );
    assert!(matches!(
        bench.plane.verdicts()[..],
        [Fate::Drain { until: Some(_) }]
    ));
    bench.replace(&text.replace("timeout = \"1s\"", "timeout = \"2s\""));
    bench.control.reload().await.expect("it is good");
    assert!(
        bench
            .endpoint("a")
            .is_some_and(|endpoint| endpoint.draining)
    );
    let folder = bench.folder.clone();
    drop(bench);
    let bench = Bench::start_in(folder);
    assert!(
        bench
            .endpoint("a")
            .is_some_and(|endpoint| endpoint.draining),
        "in the very first snapshot"
    );
    assert_eq!(bench.control.drains().len(), 1);
    let undrain = UndrainRequest {
        endpoint: "a".to_owned(),
        region: None,
    };
    bench
        .control
        .undrain(undrain.clone())
        .await
        .expect("draining");
    bench.is("a", HealthState::Up).await;
    assert!(
        bench
            .endpoint("a")
            .is_some_and(|endpoint| endpoint.available)
    );
    let error = bench
        .control
        .undrain(undrain)
        .await
        .expect_err("not any more");
    assert!(matches!(error, DrainError::NotDraining { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_run_out_and_unknown_ids_name_near_ones() {
    let a = Listening::start().await;
    let bench = Bench::start(&config(&[("web-1", a.address)]));
    bench.is("web-1", HealthState::Up).await;
    let error = bench
        .control
        .drain(request("wbe-1"))
        .await
        .expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "no endpoint \"wbe-1\"; did you mean web-1?"
    );
    let elsewhere = DrainRequest {
        region: Some("mars".to_owned()),
        ..request("web-1")
    };
    let error = bench
        .control
        .drain(elsewhere)
        .await
        .expect_err("unknown there");
    assert_eq!(
        error.to_string(),
        "no endpoint \"web-1\" in mars; did you mean web-1 in region-web-1?"
    );
    let short = DrainRequest {
        for_: Some(Duration::from_millis(10)),
        ..request("web-1")
    };
    let outcome = bench.control.drain(short).await.expect("known");
    assert!(outcome.until.is_some());
    bench
        .until("the drain ran out", || {
            bench.endpoint("web-1").is_some_and(|e| e.available)
        })
        .await;
    assert_eq!(bench.control.drains(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_for_results_and_listeners_and_follows_drains() {
    let a = Listening::start().await;
    let bench = Bench::start(&config(&[("a", a.address)]));
    bench
        .until("ready", || bench.control.readiness().ready)
        .await;
    bench.control.drain_pop(true).await.expect("obeyed");
    assert_eq!(bench.control.readiness().reasons, ["the PoP is draining"]);
    bench.control.drain_pop(false).await.expect("obeyed");
    assert!(bench.control.readiness().ready);
    *bench.plane.refuse_to_bind.lock().expect("not poisoned") = Some("address in use".to_owned());
    let state = bench.control.state();
    assert!(
        !state.ready && state.not_ready[0].contains("127.0.0.1:4999/TCP: address in use"),
        "{:?}",
        state.not_ready
    );
    assert!(!state.accelerators[0].addresses[0].assigned);
    *bench.plane.refuse_to_bind.lock().expect("not poisoned") = None;
    bench.control.begin_shutdown();
    assert_eq!(
        bench.control.readiness().reasons,
        ["the process is shutting down"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_configured_is_ready_and_names_resolve() {
    let bench = Bench::start("");
    assert!(bench.control.readiness().ready);
    let a = Listening::start().await;
    let named = config(&[("a", a.address)]).replace("127.0.0.1:", "localhost:");
    std::fs::write(bench.path(), named).expect("written");
    bench.control.reload().await.expect("it is good");
    bench.is("a", HealthState::Up).await;
    let state = bench.control.state();
    let endpoint = &state.accelerators[0].listeners[0].endpoint_groups[0].endpoints[0];
    assert_eq!(endpoint.address, format!("localhost:{}", a.address.port()));
    assert!(
        endpoint
            .addresses
            .iter()
            .any(|address| address.address == "127.0.0.1" && address.health == "UP")
    );
    assert!(endpoint.health_since.is_some() && endpoint.latency_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_state_file_is_put_aside_and_told_of() {
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    std::fs::write(folder.path().join("portolan.toml"), "").expect("written");
    std::fs::write(folder.path().join("state.json"), "{").expect("written");
    let bench = Bench::start_in(folder);
    let warnings = bench.control.state().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("drains of before are lost")),
        "{warnings:?}"
    );
    assert!(bench.folder.path().join("state.json.unreadable").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_ends_with_the_last_handle() {
    let bench = Bench::start("");
    let Bench {
        control,
        signals,
        plane,
        folder: _folder,
    } = bench;
    drop(control);
    tokio::time::timeout(PATIENCE, signals.closed())
        .await
        .expect("the task has ended");
    assert_eq!(plane.snapshots().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_left_its_name_drains_and_the_new_one_comes_up() {
    let a = Listening::start().await;
    let other = TcpListener::bind(("127.0.0.2", a.address.port()))
        .await
        .expect("the same port");
    let zone = Zone::default();
    let answer = |last: u8| {
        let entry = (vec![[127, 0, 0, last].into()], 1);
        zone.lock()
            .expect("not poisoned")
            .insert("web.test".to_owned(), entry);
    };
    answer(1);
    let server = name_server(zone.clone()).await;
    let text = config(&[("a", a.address)]).replace("127.0.0.1:", "web.test:");
    let bench = Bench::start(&format!("[resolver]\nnameservers = [\"{server}\"]\n{text}"));
    bench.is("a", HealthState::Up).await;
    let old = bench.endpoint("a").expect("there").addresses[0].live.id;
    answer(2);
    let moved = || {
        bench
            .endpoint("a")
            .is_some_and(|e| e.available && e.addresses[0].ip == IpAddr::from([127, 0, 0, 2]))
    };
    bench.until("the new address is up", moved).await;
    let verdicts = bench.plane.newest().verdicts.clone();
    assert!(
        matches!(verdicts[..], [Verdict { address, fate: Fate::Drain { .. }, .. }] if address == old),
        "{verdicts:?}"
    );
    drop(other);
    zone.lock().expect("not poisoned").clear();
    let state = || {
        bench.control.state().accelerators[0].listeners[0].endpoint_groups[0].endpoints[0].clone()
    };
    bench
        .until("the name is gone", || {
            state()
                .health_reason
                .is_some_and(|why| why.contains("no longer resolves"))
        })
        .await;
    assert_eq!(state().addresses.len(), 1, "the last answer is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_keeps_its_field_names() {
    let a = Listening::start().await;
    let bench =
        Bench::start(&config(&[("a", a.address)]).replace("[4999]", "[4990, \"4995-4999\"]"));
    bench.is("a", HealthState::Up).await;
    let state = serde_json::to_value(bench.control.state()).expect("it is JSON");
    for pointer in [
        "/pop",
        "/generation",
        "/config/generation",
        "/config/loaded_at",
        "/config/error",
        "/config/source",
        "/accelerators/0/name",
        "/accelerators/0/enabled",
        "/accelerators/0/source",
        "/accelerators/0/addresses/0/address",
        "/accelerators/0/addresses/0/assigned",
        "/accelerators/0/listeners/0/protocol",
        "/accelerators/0/listeners/0/endpoint_groups/0/region",
        "/accelerators/0/listeners/0/endpoint_groups/0/traffic_dial",
        "/accelerators/0/listeners/0/endpoint_groups/0/distance_ms",
        "/accelerators/0/listeners/0/endpoint_groups/0/order",
    ] {
        assert!(state.pointer(pointer).is_some(), "{pointer} in {state:#}");
    }
    assert_eq!(
        state["accelerators"][0]["listeners"][0]["ports"],
        serde_json::json!([4990, "4995-4999"])
    );
    let endpoint = &state["accelerators"][0]["listeners"][0]["endpoint_groups"][0]["endpoints"][0];
    for key in [
        "id",
        "address",
        "addresses",
        "weight",
        "health",
        "health_reason",
        "latency_ms",
        "active_flows",
        "total_flows",
        "bytes_in",
        "bytes_out",
    ] {
        assert!(endpoint.get(key).is_some(), "{key} in {endpoint:#}");
    }
    assert_eq!(endpoint["health"], "UP");
    assert_eq!(endpoint["addresses"][0]["health"], "UP");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_cannot_be_saved_is_in_force_and_says_so() {
    let a = Listening::start().await;
    let bench = Bench::start(&config(&[("a", a.address)]));
    // A folder where the file should be: nothing can be renamed onto it.
    std::fs::create_dir(bench.folder.path().join("state.json")).expect("made");
    let outcome = bench.control.drain(request("a")).await.expect("known");
    assert!(
        outcome
            .not_saved
            .is_some_and(|why| why.contains("state.json"))
    );
    assert!(
        bench
            .endpoint("a")
            .is_some_and(|endpoint| endpoint.draining)
    );
}
