//! What was acknowledged outlives the process, and what was asked for is served: soon, and at the size that AWS's quotas allow.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portolan_tests::api::{Place, text};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::{client, place};
use serde_json::json;

/// Where nothing has to listen: health is not what these tests are about.
const NOBODY: &str = "127.0.0.1:9";

#[tokio::test]
async fn killed_during_a_thousand_creates_it_has_every_one_that_it_acknowledged() {
    let at = Place::fresh();
    let near = Endpoint::start("near", endpoint::naming()).await;
    let mut edge = at.edge("").ready().await;
    let port = place::fresh().port();
    let (_, listener, addresses) = at.accelerator("first", port).await;
    at.group(&listener, "near", &[near.address().to_string()])
        .await;
    eventually("traffic flows", PATIENCE, async || {
        client::ask(addresses[0], "?").await.ok()
    })
    .await;

    // 19 accelerators, ten listeners each, 42 groups each: a thousand resources, by a few clients at once, until it is gone.
    let began = Instant::now();
    let creating = (0..4).map(|worker| {
        let at = at.clone();
        tokio::spawn(async move { create_until_gone(&at, worker).await })
    });
    let creating: Vec<_> = creating.collect();
    // Whenever this is, many have been acknowledged and many are under way.
    let done = |edge_log: String| edge_log.matches("changed by the API").count();
    eventually("hundreds were made", Duration::from_secs(120), async || {
        (done(edge.log()) > 500).then_some(())
    })
    .await;
    edge.signal("KILL");
    let mut acknowledged = BTreeSet::new();
    for creating in creating {
        acknowledged.extend(creating.await.expect("no panic"));
    }
    edge.process().end(PATIENCE).await;
    println!(
        "{} acknowledged in {:?}",
        acknowledged.len(),
        began.elapsed()
    );
    assert!(acknowledged.len() > 400, "{}", acknowledged.len());

    let restarted = Instant::now();
    let _again = edge.second();
    eventually("traffic flows again", PATIENCE, async || {
        client::ask(addresses[1], "?").await.ok()
    })
    .await;
    println!("traffic resumed after {:?}", restarted.elapsed());
    eventually("the API answers", PATIENCE, async || {
        at.post(
            &[(
                "x-amz-target",
                "GlobalAccelerator_V20180706.ListAccelerators",
            )],
            Vec::new(),
        )
        .await
        .ok()
    })
    .await;
    for arn in &acknowledged {
        let (operation, member) = match arn {
            arn if arn.contains("/endpoint-group/") => {
                ("DescribeEndpointGroup", "EndpointGroupArn")
            }
            arn if arn.contains("/listener/") => ("DescribeListener", "ListenerArn"),
            _ => ("DescribeAccelerator", "AcceleratorArn"),
        };
        at.ok(operation, json!({ member: arn })).await;
    }
}

/// Makes what one worker is to make; gives what was acknowledged before the process went.
async fn create_until_gone(at: &Place, worker: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in (worker..19).step_by(4) {
        let name = format!("a{number}");
        let Some(accelerator) = create(
            at,
            "CreateAccelerator",
            json!({ "Name": name, "IdempotencyToken": name }),
        )
        .await
        else {
            return acknowledged;
        };
        acknowledged.push(accelerator.clone());
        let mut listeners = Vec::new();
        for port in 20_000..20_010 {
            let input = json!({ "AcceleratorArn": accelerator, "Protocol": "TCP", "IdempotencyToken": port.to_string(),
                "PortRanges": [{ "FromPort": port, "ToPort": port }] });
            let Some(listener) = create(at, "CreateListener", input).await else {
                return acknowledged;
            };
            acknowledged.push(listener.clone());
            listeners.push(listener);
        }
        for group in 0..42 {
            let region = format!("r{group}");
            let input = json!({ "ListenerArn": listeners[group % 10], "EndpointGroupRegion": region, "IdempotencyToken": region,
                "EndpointConfigurations": [{ "EndpointId": NOBODY }] });
            let Some(group) = create(at, "CreateEndpointGroup", input).await else {
                return acknowledged;
            };
            acknowledged.push(group);
        }
    }
    acknowledged
}

/// The ARN of what was made; `None` when the process is gone.
async fn create(at: &Place, operation: &str, input: serde_json::Value) -> Option<String> {
    let target = format!("GlobalAccelerator_V20180706.{operation}");
    let (status, body) = at
        .post(&[("x-amz-target", &target)], input.to_string().into_bytes())
        .await
        .ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
    assert_eq!(status, 200, "{operation} {input}: {answer}");
    let made = answer.as_object()?.values().next()?;
    ["EndpointGroupArn", "ListenerArn", "AcceleratorArn"]
        .iter()
        .find_map(|arn| Some(text(made.get(arn)?)))
}

#[tokio::test]
async fn a_change_is_served_within_moments() {
    let at = Place::fresh();
    let (one, other) = (
        Endpoint::start("one", endpoint::naming()).await,
        Endpoint::start("other", endpoint::naming()).await,
    );
    let _edge = at.edge("").ready().await;
    let port = place::fresh().port();
    let (_, listener, addresses) = at.accelerator("swinging", port).await;
    let ids = [one.address().to_string(), other.address().to_string()];
    let group = at.group(&listener, "r", &ids).await;
    let mut taken: Vec<Duration> = Vec::new();
    let healthy = async || {
        let shown = at
            .ok(
                "DescribeEndpointGroup",
                json!({ "EndpointGroupArn": group }),
            )
            .await;
        let all = shown["EndpointGroup"]["EndpointDescriptions"]
            .as_array()
            .expect("a list")
            .clone();
        all.iter()
            .all(|endpoint| endpoint["HealthState"] == "HEALTHY")
            .then_some(())
    };
    eventually("both are up", PATIENCE, healthy).await;
    for round in 0..40 {
        let (on, off) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let endpoints = json!([{ "EndpointId": ids[on], "Weight": 255 }, { "EndpointId": ids[off], "Weight": 0 }]);
        let update = json!({ "EndpointGroupArn": group, "EndpointConfigurations": endpoints });
        let began = Instant::now();
        at.ok("UpdateEndpointGroup", update).await;
        let expected = ["one", "other"][on];
        eventually("new flows go there", PATIENCE, async || {
            let answer = client::ask(addresses[0], "?").await.ok()?;
            answer.contains(expected).then_some(())
        })
        .await;
        taken.push(began.elapsed());
    }
    taken.sort();
    let (median, worst) = (taken[taken.len() / 2], taken[taken.len() - 1]);
    println!(
        "from the request to the first flow by it: median {median:?}, worst {worst:?}, {} updates",
        taken.len()
    );
    // Fifty is the aim; a loaded machine may take five times as long.
    assert!(median < Duration::from_millis(250), "{median:?}");
}

#[tokio::test]
async fn what_is_answered_is_served() {
    let at = Place::fresh();
    let near = Endpoint::start("near", endpoint::naming()).await;
    let _edge = at.edge("").ready().await;
    // Where serving takes longer than an answer may wait, it is answered before, and shown as in progress until it is served: now and then,
    // on a machine that stalls, and not as a rule.
    let mut in_a_row = 0;
    for round in 0..40 {
        let port = place::fresh().port();
        let name = format!("at-once-{round}");
        let (accelerator, listener, addresses) = at.accelerator(&name, port).await;
        at.group(&listener, "r", &[near.address().to_string()])
            .await;
        let at_once = client::ask(addresses[0], "?").await;
        in_a_row = if at_once.is_ok() { in_a_row + 1 } else { 0 };
        let describe = json!({ "AcceleratorArn": accelerator });
        until("it is deployed", PATIENCE, async || {
            let shown = at.ok("DescribeAccelerator", describe.clone()).await;
            shown["Accelerator"]["Status"] == "DEPLOYED"
        })
        .await;
        for address in addresses {
            let answer = client::ask(address, "?").await;
            assert_eq!(answer.expect("it is deployed"), "near", "{name}");
        }
        if in_a_row == 5 {
            return;
        }
    }
    panic!("what was answered was not served five times in a row");
}

#[tokio::test]
async fn twenty_accelerators_with_all_that_they_may_have_load_and_serve() {
    let at = Place::fresh();
    let near = Endpoint::start("near", endpoint::naming()).await;
    let edge = at.edge("").ready().await;
    let first_port = 21_000;
    let began = Instant::now();
    // So many clients that none waits for long behind the others: one that waits for five seconds would be refused.
    let making = (0..10).map(|worker| {
        let (at, near) = (at.clone(), near.address());
        tokio::spawn(async move {
            let mut addresses = Vec::new();
            for number in (worker..20).step_by(10) {
                addresses.extend(furnish(&at, number, first_port, near).await);
            }
            addresses
        })
    });
    let making: Vec<_> = making.collect();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for making in making {
        addresses.extend(making.await.expect("no panic"));
    }
    println!("1,060 creates took {:?}", began.elapsed());
    eventually(
        "everything is deployed",
        Duration::from_secs(120),
        async || {
            let all = at
                .ok("ListAccelerators", json!({ "MaxResults": 100 }))
                .await;
            let all = all["Accelerators"].as_array().expect("a list").clone();
            (all.len() == 20 && all.iter().all(|a| a["Status"] == "DEPLOYED")).then_some(())
        },
    )
    .await;
    println!("and were served after {:?}", began.elapsed());
    for address in addresses {
        for port in [first_port, first_port + 9] {
            let to = SocketAddr::new(address.ip(), port);
            eventually("every address serves", PATIENCE, async || {
                client::ask(to, "?").await.ok()
            })
            .await;
        }
    }
    let state = edge.state().await;
    let listeners = state["accelerators"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|a| a["listeners"].as_array().expect("a list"));
    let groups: Vec<_> = listeners
        .flat_map(|l| l["endpoint_groups"].as_array().expect("a list"))
        .collect();
    let endpoints: usize = groups
        .iter()
        .map(|g| g["endpoints"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!((groups.len(), endpoints), (840, 8400));
}

/// An accelerator with ten listeners, 42 groups and ten endpoints a group, one of which is there.
async fn furnish(at: &Place, number: usize, first_port: u16, near: SocketAddr) -> Vec<SocketAddr> {
    let (accelerator, first, addresses) = at.accelerator(&format!("a{number}"), first_port).await;
    let mut listeners = vec![first];
    for port in first_port + 1..first_port + 10 {
        listeners.push(at.listener(&accelerator, port).await);
    }
    for group in 0..42 {
        let mut endpoints = vec![near.to_string()];
        endpoints.extend((1..10).map(|n| format!("127.0.{group}.{n}:{}", near.port())));
        at.group(&listeners[group % 10], &format!("r{group}"), &endpoints)
            .await;
    }
    addresses
}

#[tokio::test]
async fn a_successor_has_the_api_its_store_and_its_connections() {
    let at = Place::fresh();
    let near = Endpoint::start("near", endpoint::naming()).await;
    let mut edge = at.edge("").ready().await;
    let port = place::fresh().port();
    let (accelerator, listener, addresses) = at.accelerator("kept", port).await;
    at.group(&listener, "near", &[near.address().to_string()])
        .await;
    eventually("traffic flows", PATIENCE, async || {
        client::ask(addresses[0], "?").await.ok()
    })
    .await;
    for name in ["first", "second"] {
        let mut old = edge.upgrade(&[]).await;
        client::ask(addresses[1], "?")
            .await
            .expect("the successor serves what the API made");
        let update = json!({ "AcceleratorArn": accelerator, "Name": name });
        at.ok("UpdateAccelerator", update).await;
        assert!(old.end(PATIENCE).await.success(), "{}", old.output());
    }
    let shown = at
        .ok(
            "DescribeAccelerator",
            json!({ "AcceleratorArn": accelerator }),
        )
        .await;
    assert_eq!(text(&shown["Accelerator"]["Name"]), "second");
}

#[tokio::test]
async fn a_renamed_accelerator_is_measured_under_its_new_name_and_keeps_its_connections() {
    let at = Place::fresh();
    let near = Endpoint::start("near", endpoint::naming()).await;
    let edge = at.edge("").ready().await;
    let port = place::fresh().port();
    let (accelerator, listener, addresses) = at.accelerator("before", port).await;
    at.group(&listener, "near", &[near.address().to_string()])
        .await;
    let mut caller = eventually("traffic flows", PATIENCE, async || {
        let mut caller = client::Caller::connect(addresses[0]).await.ok()?;
        caller.ask("?").await.ok().map(|_| caller)
    })
    .await;
    let flows = async |name: &str| {
        let metrics = edge.metrics().await;
        let is_there = metrics.text().contains(&format!("accelerator=\"{name}\""));
        is_there.then(|| metrics.sum("flows_active", &[("accelerator", name)]))
    };
    eventually("the flow is counted", PATIENCE, async || {
        flows("before").await.filter(|count| *count == 1.0)
    })
    .await;
    let rename = json!({ "AcceleratorArn": accelerator, "Name": "after" });
    at.ok("UpdateAccelerator", rename).await;
    eventually("the flow is counted there", PATIENCE, async || {
        flows("after").await.filter(|count| *count == 1.0)
    })
    .await;
    until("nothing is left behind", PATIENCE, async || {
        flows("before").await.is_none()
    })
    .await;
    caller.ask("still there?").await.expect("the same flow");
    // Its end and the next one's are told under the new name, too.
    drop(caller);
    client::ask(addresses[1], "?").await.expect("it serves");
    let ended = eventually("both flows are told", PATIENCE, async || {
        let ended = edge.flows();
        (ended.len() >= 2).then_some(ended)
    })
    .await;
    let of_new = ended.last().expect("two").to_string();
    assert!(of_new.contains("after"), "{of_new}");
    let state = edge.state().await;
    assert_eq!(text(&state["accelerators"][0]["name"]), "after");
}
