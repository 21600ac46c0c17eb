//! Load balancers: of other accounts, whose addresses change, without a healthy target, of which not everything is known.

use portolan_tests::deadline::eventually;

use super::*;

/// A load balancer that faces the internet and has these fixed addresses.
pub(super) fn facing(addresses: &[IpAddr]) -> Balancer {
    Balancer {
        scheme: "internet-facing".into(),
        addresses: addresses.to_vec(),
        ..Balancer::default()
    }
}

#[tokio::test]
async fn a_load_balancer_of_another_account_is_read_by_a_role_of_it() {
    const OTHER: &str = "222222222222";
    let endpoint = Endpoint::start("other", endpoint::naming()).await;
    let at = SocketAddr::new(place::fresh().ip(), endpoint.address().port());
    let arn = balancer_arn_of(OTHER, "us-east-1", "net/other");
    let shop = Accelerator::new("shop", at.port()).endpoint("us-east-1", &arn);
    let aws = Aws::start(vec![shop]).await;
    {
        let mut world = aws.world();
        world.external_id = "portolan-at-edge".into();
        let balancer = facing(&[endpoint.address().ip()]);
        world.balancers.insert(arn.clone(), balancer);
    }
    let file = |roles: &str| {
        let addresses = format!("{roles}\n[aws.addresses]\nshop = [\"{}\"]\n", at.ip());
        let resolver = format!("[resolver]\nnameservers = [\"{}\"]\n", place::fresh());
        format!("{}{resolver}", aws.toml(&addresses))
    };
    let edge = aws::edge(&file("")).ready().await;
    until("it is shown as unreachable", PATIENCE, async || {
        unreached(&edge).await.len() == 1
    })
    .await;
    let errors = view(&edge).await["errors"].to_string();
    assert!(
        errors.contains("no role reads account 222222222222"),
        "{errors}"
    );

    let role = |id: &str| {
        format!(
            "roles = [{{ arn = \"arn:aws:iam::{OTHER}:role/portolan-sync-read\", external_id = \"{id}\" }}]"
        )
    };
    edge.rewrite(&file(&role("somebody-else")));
    until("the role is refused", PATIENCE, async || {
        let errors = view(&edge).await["errors"].to_string();
        errors.contains("account 222222222222: credentials")
    })
    .await;
    edge.rewrite(&file(&role("portolan-at-edge")));
    until("it is served", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "other")
    })
    .await;
    until("nothing is missing", PATIENCE, async || {
        unreached(&edge).await.is_empty() && view(&edge).await["freshness"] == "fresh"
    })
    .await;
    assert!(aws.world().calls.iter().any(|call| call == "AssumeRole"));
}

#[tokio::test]
async fn addresses_of_a_load_balancer_are_followed_and_those_that_left_drain() {
    const NAME: &str = "web-1.us-east-1.elb.amazonaws.com";
    let places = place::fresh_with_one_port(3);
    let (at, old, new) = (places[0], places[1], places[2]);
    let old = Endpoint::start_at(old, "old", endpoint::naming()).await;
    let new = Endpoint::start_at(new, "new", endpoint::naming()).await;
    let ip = |endpoint: &Endpoint| match endpoint.address().ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip}"),
    };
    let names = Names::start().await;
    names.set(NAME, &[ip(&old)]);
    let arn = balancer_arn("us-east-1", "app/web");
    let shop = Accelerator::new("shop", at.port()).endpoint("us-east-1", &arn);
    let aws = Aws::start(vec![shop]).await;
    let web = Balancer {
        name: NAME.to_ascii_uppercase(),
        ..facing(&[])
    };
    aws.world().balancers.insert(arn.clone(), web);
    let addresses = format!("[aws.addresses]\nshop = [\"{}\"]\n", at.ip());
    let edge = aws::edge(&format!("{}{}", aws.toml(&addresses), names.toml()))
        .ready()
        .await;
    until("it is imported", PATIENCE, async || {
        endpoints(&edge).await.len() == 1
    })
    .await;
    edge.until_health(&arn, "UP", PATIENCE).await;
    let mut caller = client::Caller::connect(at).await.expect("served");
    assert_eq!(caller.ask("x").await.expect("an answer"), "old");

    names.set(NAME, &[ip(&new)]);
    until("new flows go to the new address", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "new")
    })
    .await;
    assert_eq!(
        caller.ask("y").await.expect("it goes on"),
        "old",
        "a flow that was there finishes where it is"
    );
    let shown = edge.endpoint(&arn).await;
    assert_eq!(shown["addresses"][0]["address"], ip(&new).to_string());
}

/// Two application load balancers with fixed addresses: behind one nothing is healthy.
async fn full_and_empty(fault: Fault) -> (Edge, SocketAddr, [Endpoint; 2], Aws) {
    let places = place::fresh_with_one_port(3);
    let full = Endpoint::start_at(places[1], "full", endpoint::naming()).await;
    let empty = Endpoint::start_at(places[2], "empty", endpoint::naming()).await;
    let arn = |name: &str| balancer_arn("us-east-1", &format!("app/{name}"));
    let shop = Accelerator::new("shop", places[0].port())
        .endpoint("us-east-1", &arn("full"))
        .endpoint("us-east-1", &arn("empty"));
    let aws = Aws::start(vec![shop]).await;
    for (endpoint, name, targets) in [(&full, "full", (1, 1)), (&empty, "empty", (0, 2))] {
        let balancer = Balancer {
            name: format!("{name}.invalid"),
            targets: Some(targets),
            ..facing(&[endpoint.address().ip()])
        };
        aws.world().balancers.insert(arn(name), balancer);
    }
    aws.fail(fault);
    let addresses = format!("[aws.addresses]\nshop = [\"{}\"]\n", places[0].ip());
    let resolver = format!("[resolver]\nnameservers = [\"{}\"]\n", place::fresh());
    let edge = aws::edge(&format!("{}{resolver}", aws.toml(&addresses)))
        .ready()
        .await;
    until("both are up", PATIENCE, async || {
        let endpoints = endpoints(&edge).await;
        endpoints.iter().filter(|e| e["health"] == "UP").count() == 2
    })
    .await;
    (edge, places[0], [full, empty], aws)
}

#[tokio::test]
async fn a_load_balancer_without_a_healthy_target_gets_nothing_new() {
    let (edge, at, _running, _aws) = full_and_empty(Fault::None).await;
    until("it is told", PATIENCE, async || {
        let notes = view(&edge).await["notes"].to_string();
        notes.contains("no healthy target is behind it: it gets nothing new")
    })
    .await;
    until("its weight is 0", PATIENCE, async || {
        let endpoints = endpoints(&edge).await;
        endpoints.iter().filter(|e| e["weight"] == 0).count() == 1
    })
    .await;
    for _ in 0..20 {
        assert_eq!(client::ask(at, "x").await.expect("served"), "full");
    }
}

#[tokio::test]
async fn what_is_only_good_to_know_holds_nothing_back() {
    let (edge, _, _running, aws) = full_and_empty(Fault::Enrichment).await;
    until("it is asked and fails", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.sum("aws_sync_errors_total", &[("class", "unavailable")]) > 0.0
    })
    .await;
    cycles_pass(&edge, 1).await;
    let endpoints = endpoints(&edge).await;
    assert!(
        endpoints.iter().all(|e| e["weight"] == 128),
        "{endpoints:#?}"
    );
    let shown = view(&edge).await;
    assert_eq!(shown["freshness"], "fresh");
    assert_eq!(shown["errors"], Value::Array(Vec::new()));
    assert!(
        aws.world()
            .calls
            .iter()
            .any(|c| c == "DescribeTargetGroups")
    );
    let metrics = edge.metrics().await;
    let calls = |result: &str| {
        let labels = [("service", "elasticloadbalancing"), ("result", result)];
        metrics.sum("aws_api_calls_total", &labels)
    };
    assert!(calls("ok") > 0.0 && calls("unavailable") > 0.0);
}

#[tokio::test]
async fn one_bad_load_balancer_hides_no_good_one_and_all_are_told() {
    let endpoint = Endpoint::start("behind", endpoint::naming()).await;
    let (good, at) = (
        endpoint.address(),
        SocketAddr::new(place::fresh().ip(), endpoint.address().port()),
    );
    let name = |number: usize| balancer_arn("us-east-1", &format!("net/nlb-{number}"));
    let mut shop = Accelerator::new("shop", at.port());
    for number in 0..25 {
        shop = shop.endpoint("us-east-1", &name(number));
    }
    let internal = balancer_arn("us-east-1", "app/inside");
    let aws = Aws::start(vec![shop.endpoint("us-east-1", &internal)]).await;
    {
        let mut world = aws.world();
        let facing = Balancer {
            scheme: "internet-facing".into(),
            addresses: vec![good.ip()],
            ..Balancer::default()
        };
        for number in (0..25).filter(|number| *number != 13) {
            world.balancers.insert(name(number), facing.clone());
        }
        world.balancers.insert(
            internal.clone(),
            Balancer {
                scheme: "internal".into(),
                ..Balancer::default()
            },
        );
    }
    let addresses = format!("[aws.addresses]\nshop = [\"{}\"]\n", at.ip());
    // Nobody answers there: the fixed addresses of the load balancers stand in for their name.
    let resolver = format!("[resolver]\nnameservers = [\"{}\"]\n", place::fresh());
    let edge = aws::edge(&format!("{}{resolver}", aws.toml(&addresses)))
        .ready()
        .await;
    until("24 are served", PATIENCE, async || {
        endpoints(&edge).await.len() == 24
    })
    .await;
    // What is told of a reading comes behind what is served by it.
    let unreachable = eventually("it is told", PATIENCE, async || {
        let notes = view(&edge).await["notes"].clone();
        let notes = notes.as_array()?.iter().map(Value::to_string);
        Some(notes.collect::<Vec<String>>()).filter(|notes| !notes.is_empty())
    })
    .await;
    assert_eq!(unreachable.len(), 2, "{unreachable:?}");
    assert!(
        unreachable
            .iter()
            .any(|note| note.contains("nlb-13") && note.contains("not found"))
    );
    assert!(
        unreachable
            .iter()
            .any(|note| note.contains("app/inside") && note.contains("internal load balancer"))
    );
    until("it is reached", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "behind")
    })
    .await;
    both_are_shown(&edge).await;
    it_is_asked_sparingly(&edge, &aws).await;
    let status = text(&edge.command(&["status"]).await);
    assert!(
        status.contains("unreachable: an internal load balancer")
            && status.contains("unreachable: shop us-east-1")
            && status.contains("AWS account 123456789012"),
        "{status}"
    );
}
