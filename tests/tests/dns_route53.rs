//! Publication against a Route 53 that is as strict as the documentation says: plans and their application, everything that goes
//! wrong on the way, and the edge that keeps its records.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_tests::deadline::{PATIENCE, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::http::{self, Following};
use portolan_tests::process::Process;
use portolan_tests::publication::{Pop, record, toml};
use portolan_tests::route53::{Fault, Route53, Set};
use portolan_tests::{aws, place, publication};

#[path = "dns_route53/killed.rs"]
mod killed;

const SHOP: &str = "accelerator = \"shop\"";
const CHECK: &str = "health_check = { port = 8088, path = \"/readyz\" }";

async fn pop(route53: &Route53, records: &str) -> Pop {
    Pop::new(&toml("fra1", &route53.toml(), records))
}

fn many(count: usize) -> String {
    (0..count)
        .map(|n| record(&format!("r{n:04}"), "accelerator = \"one\""))
        .collect()
}

#[tokio::test]
async fn every_policy_is_taken_and_read_back_the_same() {
    let route53 = Route53::start().await;
    let policies = [
        "type = \"simple\"",
        "type = \"weighted\", weight = 85",
        "type = \"latency\", region = \"eu-central-1\"",
        "type = \"geolocation\", country = \"*\"",
        "type = \"geolocation\", country = \"US\", state = \"CA\"",
        "type = \"geolocation\", continent = \"EU\"",
        "type = \"geoproximity\", latitude = 50.11, longitude = -8.68, bias = -20",
        "type = \"geoproximity\", region = \"eu-west-1\"",
        "type = \"multivalue\"",
        "type = \"failover\", role = \"primary\"",
        "type = \"failover\", role = \"secondary\"",
    ];
    let records: String = policies
        .iter()
        .enumerate()
        .flat_map(|(n, policy)| {
            let check = if policy.contains("simple") { "" } else { CHECK };
            let lines = |value: &str| format!("{value}\npolicy = {{ {policy} }}\n{check}");
            [
                record(&format!("pop{n}"), &lines("addresses = \"pop\"")),
                record(&format!("shop{n}"), &lines(SHOP)),
            ]
        })
        .collect();
    let star = record("*", SHOP);
    let aliases = record("top", "alias = \"pop2.example.com\"")
        + &record(
            "lb",
            "alias = \"x.eu-central-1.elb.amazonaws.com\"\nalias_zone = \"Z215JYRZR1TBD5\"",
        );
    let pop = pop(&route53, &format!("{records}{star}{aliases}")).await;
    pop.converge(&[]).await;
    let world = route53.world();
    assert_eq!(world.checks.len(), 2, "one a family, shared by all records");
    assert_eq!(world.set("*.example.com", "A").values().len(), 2);
    assert_eq!(world.set("top.example.com", "AAAA").policies(), [""; 0]);
}

#[tokio::test]
async fn foreign_records_stay_and_are_named() {
    let route53 = Route53::start().await;
    let foreign = [
        Set::simple("www.example.com", "A", 300, &["192.0.2.1"]),
        Set::simple(
            "www.example.com",
            "TXT",
            300,
            &["\"heritage=external-dns,external-dns/owner=k8s\""],
        ),
        Set::simple("mail.example.com", "MX", 300, &["10 mail.example.org."]),
    ];
    for set in &foreign {
        route53.world().put(set.clone());
    }
    let pop = pop(&route53, &(record("www", SHOP) + &record("app", SHOP))).await;
    let said = pop.run(&["plan"]).await;
    assert!(said.out.contains("external-dns owner k8s"), "{said:?}");
    pop.converge(&[]).await;
    pop.converge(&["--adopt"]).await;
    for set in &foreign {
        assert!(route53.world().sets().contains(set), "{set:?}");
    }
    pop.rewrite(&toml("fra1", &route53.toml(), ""));
    pop.converge(&[]).await;
    assert_eq!(route53.world().sets().len(), foreign.len() + 2);
}

#[tokio::test]
async fn a_plan_that_is_no_longer_true_is_refused() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &record("app", "accelerator = \"one\"")).await;
    pop.converge(&[]).await;
    pop.rewrite(&toml("fra1", &route53.toml(), &record("app", SHOP)));
    let plan = pop.plan(&[]).await;
    let checksum = plan["checksum"].as_str().expect("it has one").to_owned();
    route53
        .world()
        .put(Set::simple("app.example.com", "A", 60, &["192.0.2.66"]));
    let said = pop.run(&["apply", "--plan", &checksum]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("have changed"), "{said:?}");
    assert_eq!(
        route53.world().set("app.example.com", "A").values(),
        ["192.0.2.66"]
    );
    pop.converge(&[]).await;
}

#[tokio::test]
async fn not_now_is_waited_out() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &record("app", SHOP)).await;
    {
        let mut world = route53.world();
        (world.busy, world.throttle, world.pending_for) = (2, 1, 2);
    }
    let said = pop.converge(&[]).await;
    assert!(said.err.contains("PriorRequestNotComplete"), "{said:?}");
    assert_eq!(route53.world().requests, 4);
}

#[tokio::test]
async fn a_protected_name_does_not_hold_up_the_others() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &many(20)).await;
    {
        let mut world = route53.world();
        world.protected.insert("r0007.example.com".into());
        world.hide_protections = true;
    }
    let said = pop.apply(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("r0007") && said.out.contains("is protected"),
        "{said:?}"
    );
    assert_eq!(route53.world().sets().len(), 2 + 19 * 2);
    assert_eq!(pop.plan(&[]).await["counts"]["create"], 2);
    // Where they may be listed, the plan knows before.
    route53.world().hide_protections = false;
    let requests = route53.world().requests;
    let said = pop.run(&["plan"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("r0007.example.com A is protected"),
        "{said:?}"
    );
    assert_eq!(route53.world().requests, requests);
    route53.world().protected.clear();
    pop.converge(&[]).await;
}

#[tokio::test]
async fn a_zone_that_is_full_is_told_of_and_takes_what_fits() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &many(5)).await;
    route53.world().most_sets = 2 + 3 * 2;
    let said = pop.run(&["plan"]).await;
    assert!(
        said.out
            .contains("the zone holds 2 of 8 record sets: 2 names are left out"),
        "{said:?}"
    );
    pop.converge(&[]).await;
    assert_eq!(route53.world().sets().len(), 2 + 3 * 2);
}

#[tokio::test]
async fn a_zone_that_is_not_all_there_is_not_believed() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &record("app", SHOP)).await;
    pop.converge(&[]).await;
    let whole = route53.world().sets();
    for fault in [Fault::Empty, Fault::Cut, Fault::NoNext] {
        route53.world().fault = Some(fault);
        let said = pop.run(&["plan"]).await;
        assert_eq!(said.code, Some(1), "{fault:?}: {said:?}");
    }
    route53.world().fault = None;
    assert_eq!(route53.world().sets(), whole);
    assert_eq!(pop.plan(&[]).await["counts"]["delete"], 0);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_not_sent_twice() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &record("app", SHOP)).await;
    route53.world().lose_at = Some(1);
    let said = pop.converge(&[]).await;
    assert!(said.err.contains("it was done"), "{said:?}");
    assert_eq!(route53.world().requests, 1);
}

#[tokio::test]
async fn without_permission_nothing_happens() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &many(3)).await;
    route53.world().deny = true;
    let said = pop.apply(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("AccessDenied") || said.out.contains("not authorized"),
        "{said:?}"
    );
    assert_eq!(route53.world().requests, 1);
}

#[tokio::test]
async fn three_thousand_records_go_within_the_limits() {
    let route53 = Route53::start().await;
    let pop = pop(&route53, &many(1500)).await;
    let said = pop.apply(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    {
        let world = route53.world();
        assert_eq!(world.sets().len(), 2 + 3000);
        assert!(
            world.largest <= 500 && world.requests <= 12,
            "{} {}",
            world.largest,
            world.requests
        );
    }
    pop.rewrite(&toml("fra1", &route53.toml(), &many(900)));
    let said = pop.apply(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("600 of 1500"), "{said:?}");
    assert_eq!(route53.world().sets().len(), 2 + 3000);
    pop.converge(&["--force"]).await;
    assert_eq!(route53.world().sets().len(), 2 + 1800);
}

#[tokio::test]
async fn killed_between_requests_it_converges_without_a_duplicate() {
    let route53 = Route53::start().await;
    let weighted = |n: usize| {
        let lines = format!(
            "addresses = \"pop\"\npolicy = {{ type = \"weighted\", weight = 85 }}\n{CHECK}"
        );
        record(&format!("w{n:03}"), &lines)
    };
    let records: String = (0..400).map(weighted).collect();
    let pop = pop(&route53, &records).await;
    let plan = pop.plan(&[]).await;
    let checksum = plan["checksum"].as_str().expect("it has one").to_owned();
    route53.world().hang_at = Some(2);
    let mut process = Process::spawn("apply", &mut pop.command(&["apply", "--plan", &checksum]));
    until("the second request is under way", PATIENCE, async || {
        route53.world().requests == 2
    })
    .await;
    process.signal("KILL");
    process.end(PATIENCE).await;
    let before = route53.world().sets().len();
    assert!(before > 2 && before < 2 + 800, "{before}");

    route53.world().hang_at = None;
    pop.converge(&[]).await;
    let world = route53.world();
    assert_eq!(world.sets().len(), 2 + 800);
    assert_eq!(
        world.checks.len(),
        2,
        "those that were made before are found again"
    );
}

#[tokio::test]
async fn health_checks_follow_the_records() {
    let route53 = Route53::start().await;
    let with = |check: &str| {
        let lines = format!("addresses = \"pop\"\npolicy = {{ type = \"multivalue\" }}\n{check}");
        toml("fra1", &route53.toml(), &record("app", &lines))
    };
    let pop = Pop::new(&with("health_check = { port = 8088 }"));
    let said = pop.run(&["plan"]).await;
    assert!(said.out.contains("$1.50"), "{said:?}");
    pop.converge(&[]).await;
    let ids = |route53: &Route53| route53.world().checks.keys().cloned().collect::<Vec<_>>();
    let first = ids(&route53);
    let prefix = "portolan1:edge:fra1:";
    assert!(
        route53
            .world()
            .checks
            .values()
            .all(|check| check.reference.starts_with(prefix))
    );

    // What can change does, under the same id.
    pop.rewrite(&with("health_check = { port = 8088, threshold = 5 }"));
    pop.converge(&[]).await;
    assert_eq!(ids(&route53), first);
    assert!(
        route53
            .world()
            .checks
            .values()
            .all(|check| check.config.failure_threshold == Some(5))
    );

    // What cannot is replaced; the old ones go once nothing refers to them.
    pop.rewrite(&with("health_check = { port = 8088, interval = \"10s\" }"));
    pop.converge(&[]).await;
    let second = ids(&route53);
    assert_eq!(second.len(), 2);
    assert!(
        second.iter().all(|id| !first.contains(id)),
        "{first:?} {second:?}"
    );
    let used = route53.world().set("app.example.com", "A").health_check_id;
    assert!(used.is_some_and(|id| second.contains(&id)));

    pop.rewrite(&with(""));
    pop.converge(&[]).await;
    assert!(ids(&route53).is_empty());
}

#[tokio::test]
async fn observing_writes_nothing() {
    let route53 = Route53::start().await;
    let file =
        toml("fra1", &route53.toml(), &record("app", SHOP)).replace("\"sync\"", "\"observe\"");
    let pop = Pop::new(&file);
    let said = pop.apply(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("observe"), "{said:?}");
    assert_eq!(route53.world().requests, 0);
    let edge = edge(&file).await;
    until("the edge has compared", PATIENCE, async || {
        let metrics = edge.metrics().await;
        edge.state().await["dns"]["changes"]["create"] == 2
            && metrics.sum("dns_plan_changes", &[("action", "create")]) == 2.0
    })
    .await;
    assert_eq!(route53.world().requests, 0);
    pop.converge(&["--mode", "sync"]).await;
}

/// The file of an edge that compares every second.
fn quick(file: &str) -> String {
    let owner = "owner = \"edge\"\n";
    file.replace(owner, &format!("{owner}interval = \"1s\"\n"))
}

/// An edge on this file, comparing every second.
async fn edge(file: &str) -> Edge {
    let file = quick(file).replace("[readiness]\nlisten = \"127.0.0.1:0\"\n", "");
    // Its addresses are not this machine's: nothing is to listen there.
    aws::edge(&file).ready().await
}

#[tokio::test]
async fn the_edge_keeps_its_records() {
    let route53 = Route53::start().await;
    let file = |records: &str| toml("fra1", &route53.toml(), records);
    let edge = edge(&file(&record("app", SHOP))).await;
    let values = |route53: &Route53| {
        let sets = route53.world().sets();
        let set = sets
            .iter()
            .find(|set| set.name == "app.example.com." && set.kind == "A");
        set.map(|set| {
            set.values()
                .iter()
                .map(|v| (*v).to_owned())
                .collect::<Vec<_>>()
        })
    };
    let good = Some(vec!["203.0.113.1".to_owned(), "203.0.113.2".to_owned()]);
    until("it is published", PATIENCE, async || {
        values(&route53) == good
    })
    .await;
    until("it shows", PATIENCE, async || {
        let dns = &edge.state().await["dns"];
        dns["owned"] == 1 && dns["error"].is_null() && dns["checked_at"].is_string()
    })
    .await;
    let status = edge.command(&["status"]).await;
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("DNS example.com  in sync"),
        "{status:?}"
    );

    // Drift is put right and told; the third time it is a fight.
    let events = Following::get(edge.admin(), "/api/v1/events").await;
    until("events are followed", PATIENCE, async || {
        events.said().contains("event: hello")
    })
    .await;
    for drift in 1..=3 {
        route53
            .world()
            .put(Set::simple("app.example.com", "A", 5, &["192.0.2.66"]));
        until("it is put right", PATIENCE, async || {
            values(&route53) == good
        })
        .await;
        // The next one only when this one is over: two at once would be one.
        until("it is seen to be right", PATIENCE, async || {
            let dns = &edge.state().await["dns"];
            dns["drifts"].as_u64() >= Some(drift) && dns["changes"]["update"] == 0
        })
        .await;
    }
    until("the fight is told", PATIENCE, async || {
        let dns = &edge.state().await["dns"];
        dns["drifts"].as_u64() >= Some(3) && dns["fights"][0].is_string()
    })
    .await;
    until("the events say so", PATIENCE, async || {
        let said = events.said();
        let drifts = said.lines().filter(|line| {
            line.contains("\"name\":\"app.example.com\"") && line.contains("\"corrected\":true")
        });
        drifts.count() >= 3 && said.contains("event: dns_fight") && said.contains("\"flips\":3")
    })
    .await;
}

/// Route 53's checkers are out there and this machine is not: the check that was made is asked as they would, at loopback in the place
/// of the PoP's public address.
#[tokio::test]
async fn a_pop_leaves_by_its_health_check_and_no_record_is_written() {
    let route53 = Route53::start().await;
    let lines = "addresses = \"pop\"\npolicy = { type = \"multivalue\" }\nhealth_check = { path = \"/readyz\" }";
    let readiness = place::fresh();
    let file = toml("fra1", &route53.toml(), &record("app", lines));
    let file = file.replace("127.0.0.1:0", &readiness.to_string());
    let edge = aws::edge(&quick(&file)).ready().await;
    until("records and checks are there", PATIENCE, async || {
        let world = route53.world();
        world.checks.len() == 2 && world.sets().len() == 2 + 2
    })
    .await;
    let config = {
        let world = route53.world();
        world.checks.values().next().expect("there").config.clone()
    };
    let port = config.port.and_then(|port| u16::try_from(port).ok());
    let checker = SocketAddr::new(readiness.ip(), port.expect("it names its port"));
    let path = config.resource_path.expect("it asks for something");
    let asked = async || {
        http::request(checker, "GET", &path)
            .await
            .expect("it listens")
            .0
    };
    assert_eq!(asked().await, 200);
    // One look: the world is locked while it is looked at.
    let written = || {
        let world = route53.world();
        (world.sets(), world.requests)
    };
    let before = written();

    let drained = edge.command(&["drain", "--pop"]).await;
    assert!(drained.status.success(), "{drained:?}");
    until("the checker is told", PATIENCE, async || {
        asked().await == 503
    })
    .await;
    let compared = async || edge.state().await["dns"]["checked_at"].clone();
    let at = compared().await;
    until("the zone is compared meanwhile", PATIENCE, async || {
        compared().await != at
    })
    .await;
    assert_eq!(asked().await, 503);
    assert_eq!(written(), before);
    edge.command(&["undrain", "--pop"]).await;
    until("it is back", PATIENCE, async || asked().await == 200).await;
}

#[tokio::test]
async fn permissions_are_tried_and_the_policy_is_for_this_zone() {
    let route53 = Route53::start().await;
    let lines = format!("addresses = \"pop\"\npolicy = {{ type = \"multivalue\" }}\n{CHECK}");
    let pop = pop(&route53, &record("app", &lines)).await;
    let said = pop.run_aws(&["check-permissions"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "allowed route53:ListResourceRecordSets",
        "allowed route53:GetChange",
        "allowed route53:DeleteHealthCheck",
        "not tried route53:ChangeResourceRecordSets",
        "arn:aws:route53:::hostedzone/Z0FAKE0EXAMPLE",
    ] {
        assert!(said.out.contains(line), "{line}: {said:?}");
    }
    assert!(!said.out.contains("globalaccelerator"), "{said:?}");
    assert_eq!(route53.world().requests, 0);
    assert!(route53.world().checks.is_empty());
    route53.world().hide_protections = true;
    let said = pop.run_aws(&["check-permissions"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let denied = "denied route53:ListResourceRecordSetProtections";
    assert!(said.out.contains(denied), "{said:?}");
}

#[tokio::test]
async fn a_route_53_that_says_nothing_holds_up_nothing() {
    let route53 = Route53::start().await;
    route53.world().mute = true;
    let edge = edge(&toml("fra1", &route53.toml(), &record("app", SHOP))).await;
    until("it is asked", PATIENCE, async || {
        !patiently("state", edge.state()).await["generation"].is_null()
    })
    .await;
    assert_eq!(edge.get("/readyz").await.0, 200);
    let (code, _) = edge.get("/metrics").await;
    assert_eq!(code, 200);
    let mut edge = edge;
    edge.signal("TERM");
    let ended = edge.process().end(Duration::from_secs(10)).await;
    assert!(ended.success(), "{ended:?}");
}

#[tokio::test]
async fn a_zone_that_is_not_there_is_made_on_request() {
    let route53 = Route53::start().await;
    let elsewhere = |create: &str| {
        toml("fra1", &route53.toml(), &record("app", SHOP))
            .replace("example.com", "example.net")
            .replace("mode = \"sync\"\n", &format!("mode = \"sync\"\n{create}\n"))
    };
    let pop = Pop::new(&elsewhere(""));
    let said = pop.run(&["plan"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("create_zone"), "{said:?}");
    pop.rewrite(&elsewhere("create_zone = true"));
    pop.converge(&[]).await;
    let world = route53.world();
    assert!(
        world
            .zones
            .values()
            .any(|zone| zone.name == "example.net" && zone.sets.len() == 2 + 2)
    );
}

#[tokio::test]
async fn pops_share_a_name_and_nothing_else() {
    let route53 = Route53::start().await;
    let lines =
        format!("addresses = \"pop\"\npolicy = {{ type = \"weighted\", weight = 85 }}\n{CHECK}");
    let of = |pop: &str| {
        Pop::new(&publication::toml(
            pop,
            &route53.toml(),
            &record("regional", &lines),
        ))
    };
    let pops = [of("fra1"), of("iad1"), of("sin1")];
    for pop in &pops {
        pop.converge(&[]).await;
    }
    assert_eq!(route53.world().checks.len(), 6);
    let leaving = publication::toml("iad1", &route53.toml(), "");
    pops[1].rewrite(&leaving);
    pops[1].converge(&[]).await;
    let world = route53.world();
    let left: Vec<String> = world
        .sets()
        .into_iter()
        .filter_map(|set| set.set_identifier)
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.iter().all(|id| !id.contains("iad1")), "{left:?}");
    assert_eq!(world.checks.len(), 4);
}
