//! The sync from AWS end to end: import, changes that are followed, everything that goes wrong, tags, a start without AWS, and the
//! commands.

use std::net::{IpAddr, SocketAddr};
use std::process::Output;
use std::time::Duration;

use portolan_tests::aws::{self, Accelerator, Aws, Balancer, Fault, balancer_arn, balancer_arn_of};
use portolan_tests::deadline::{PATIENCE, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::names::Names;
use portolan_tests::{binary, client, place};
use serde_json::Value;

#[path = "aws_sync/balancers.rs"]
mod balancers;
#[path = "aws_sync/faults.rs"]
mod faults;

const NEAR: &str = "eipalloc-near";
const FAR: &str = "eipalloc-far";

/// Two endpoints, each in its region, known to the edge by aliases; an accelerator `shop` in AWS that has both.
struct Bench {
    near: Endpoint,
    far: Endpoint,
    at: SocketAddr,
    aws: Aws,
}

impl Bench {
    async fn new() -> Bench {
        let near = Endpoint::start("near", endpoint::naming()).await;
        let far = Endpoint::start("far", endpoint::naming()).await;
        let at = place::fresh();
        let shop = Accelerator::new("shop", at.port())
            .endpoint("us-east-1", NEAR)
            .endpoint("eu-west-1", FAR);
        // Others beside it, so that lists have pages.
        let others = ["a", "b", "c"].map(|name| Accelerator::new(name, 80));
        let aws = Aws::start([vec![shop], others.into()].concat()).await;
        Bench { near, far, at, aws }
    }

    fn toml(&self) -> String {
        let alias = |id: &str, to: &Endpoint| {
            format!(
                "[[endpoint_alias]]\nid = \"{id}\"\naddress = \"{}\"\n",
                to.address()
            )
        };
        let addresses = format!("[aws.addresses]\nshop = [\"{}\"]\n", self.at.ip());
        let section = self.aws.toml(&addresses);
        format!(
            "{section}{}{}",
            alias(NEAR, &self.near),
            alias(FAR, &self.far)
        )
    }

    async fn edge(&self) -> Edge {
        let edge = aws::edge(&self.toml()).ready().await;
        until("both endpoints are up", PATIENCE, async || {
            self.up(&edge).await == 2
        })
        .await;
        edge
    }

    async fn up(&self, edge: &Edge) -> usize {
        endpoints(edge)
            .await
            .iter()
            .filter(|endpoint| endpoint["health"] == "UP")
            .count()
    }
}

async fn shop(edge: &Edge) -> Option<Value> {
    let state = edge.state().await;
    let accelerators = state["accelerators"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    accelerators
        .into_iter()
        .find(|accelerator| accelerator["name"] == "shop")
}

async fn groups(edge: &Edge) -> Vec<Value> {
    let shop = shop(edge).await.unwrap_or_default();
    shop["listeners"][0]["endpoint_groups"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

async fn endpoints(edge: &Edge) -> Vec<Value> {
    let groups = groups(edge).await;
    let endpoints = groups
        .iter()
        .filter_map(|group| group["endpoints"].as_array());
    let served = endpoints.flatten().filter(|e| e["unreachable"] == false);
    served.cloned().collect()
}

/// Rows of endpoints that AWS has and nobody can reach.
async fn unreached(edge: &Edge) -> Vec<Value> {
    let groups = groups(edge).await;
    let endpoints = groups
        .iter()
        .filter_map(|group| group["endpoints"].as_array());
    let rows = endpoints.flatten().filter(|e| e["unreachable"] == true);
    rows.cloned().collect()
}

async fn view(edge: &Edge) -> Value {
    edge.state().await["aws"].clone()
}

/// A reading whose calls fail waits between their attempts, and several edges read at once.
const LONGEST_READING: Duration = Duration::from_secs(60);

async fn cycles_pass(edge: &Edge, count: u64) {
    let before = view(edge).await["cycle"].as_u64().unwrap_or(0);
    for number in before + 1..=before + count {
        until("a reading passes", LONGEST_READING, async || {
            view(edge).await["cycle"].as_u64().unwrap_or(0) >= number
        })
        .await;
    }
}

/// A `portolan` command with credentials.
async fn command(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary::portolan());
    command
        .args(arguments)
        .kill_on_drop(true)
        .envs(aws::credentials());
    patiently("a command", command.output())
        .await
        .expect("portolan can be run")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn an_accelerator_is_imported_and_its_changes_are_followed() {
    let bench = Bench::new().await;
    let edge = bench.edge().await;
    let imported = shop(&edge).await.expect("there");
    assert_eq!(imported["source"], "aws");
    assert_eq!(
        imported["addresses"][0]["address"],
        bench.at.ip().to_string()
    );
    assert!(
        ["near", "far"].contains(
            &client::ask(bench.at, "x")
                .await
                .expect("an answer")
                .as_str()
        )
    );
    // What is told of a reading comes behind what is served by it.
    until("the others have no addresses", PATIENCE, async || {
        let notes = view(&edge).await["notes"].to_string();
        notes.contains("not_served") && notes.contains("[aws.addresses]")
    })
    .await;

    {
        let mut world = bench.aws.world();
        let groups = &mut world.accelerators[0].groups;
        groups
            .get_mut("us-east-1")
            .expect("there")
            .1
            .insert(NEAR.to_owned(), 7);
        groups.get_mut("eu-west-1").expect("there").0 = 12.5;
    }
    // One reading may have been under way; the next one has it: within an interval.
    cycles_pass(&edge, 2).await;
    let (endpoints, groups) = (endpoints(&edge).await, groups(&edge).await);
    assert!(endpoints.iter().any(|e| e["weight"] == 7), "{endpoints:#?}");
    assert!(
        groups.iter().any(|group| group["traffic_dial"] == 12.5),
        "{groups:#?}"
    );
    bench.aws.world().accelerators[0].enabled = false;
    until("it is disabled, not gone", PATIENCE, async || {
        shop(&edge)
            .await
            .is_some_and(|shop| shop["enabled"] == false)
    })
    .await;
    bench.aws.world().accelerators[0].enabled = true;
    until("it is enabled", PATIENCE, async || {
        client::ask(bench.at, "x").await.is_ok()
    })
    .await;
    let shown = view(&edge).await;
    assert_eq!(shown["freshness"], "fresh");
    assert_eq!(shown["account"], aws::ACCOUNT);
}

#[tokio::test]
async fn a_start_without_aws_serves_what_was_known() {
    let bench = Bench::new().await;
    let edge = bench.edge().await;
    cycles_pass(&edge, 1).await;
    bench.aws.vanish();
    let edge = edge.restart().await;
    let shop = shop(&edge)
        .await
        .expect("served from the first snapshot on");
    assert_eq!(shop["source"], "aws");
    until("both endpoints are up", PATIENCE, async || {
        bench.up(&edge).await == 2
    })
    .await;
    client::ask(bench.at, "x").await.expect("served");
    until("its age is told", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.text().contains("\nportolan_aws_sync_age_seconds")
            && metrics.sum("aws_sync_age_seconds", &[]) > 0.0
    })
    .await;
}

#[tokio::test]
async fn an_emptied_file_and_no_aws_serve_the_answer_before() {
    let bench = Bench::new().await;
    let edge = bench.edge().await;
    cycles_pass(&edge, 2).await;
    bench.aws.vanish();
    let edge = edge
        .restart_after(|folder| {
            let file = folder.join("portolan.aws.json");
            assert!(file.is_file(), "the last answer lies beside the store");
            std::fs::write(file, "").expect("it is writable");
        })
        .await;
    assert!(shop(&edge).await.is_some(), "{}", edge.log());
    until("both endpoints are up", PATIENCE, async || {
        bench.up(&edge).await == 2
    })
    .await;
    client::ask(bench.at, "x").await.expect("served");
}

async fn both_are_shown(edge: &Edge) {
    let rows = unreached(edge).await;
    assert_eq!(rows.len(), 2, "they stand among the endpoints: {rows:#?}");
    for row in &rows {
        assert_eq!(row["health"], "UNKNOWN");
        assert_eq!(row["weight"], 128);
        let reason = row["health_reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("unreachable: "), "{row:#}");
    }
}

async fn it_is_asked_sparingly(edge: &Edge, aws: &Aws) {
    let calls = aws.world().calls.clone();
    let looks = calls
        .iter()
        .filter(|c| *c == "DescribeLoadBalancers")
        .count();
    let cycles = view(edge).await["cycle"].as_u64().unwrap_or(1) as usize;
    // Two requests of twenty and six, and one id found in twenty by halving: five more pairs.
    assert!(
        looks <= (cycles + 1) * 12,
        "{looks} calls in {cycles} readings"
    );
}

#[tokio::test]
async fn tagged_load_balancers_fill_an_accelerator_of_the_file() {
    let endpoint = Endpoint::start("tagged", endpoint::naming()).await;
    let at = place::fresh();
    let aws = Aws::start(Vec::new()).await;
    let arn = balancer_arn("us-east-1", "net/tagged");
    let tags = [("portolan:accelerator", "shop"), ("portolan:weight", "9")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
    let port = (
        "portolan:port".to_owned(),
        endpoint.address().port().to_string(),
    );
    aws.world().balancers.insert(
        arn.clone(),
        Balancer {
            scheme: "internet-facing".into(),
            addresses: vec![endpoint.address().ip()],
            tags: tags.into_iter().chain([port]).collect(),
            targets: Some((1, 0)),
            ..Balancer::default()
        },
    );
    let toml = format!(
        "{}[resolver]\nnameservers = [\"{}\"]\n[[accelerator]]\nname = \"shop\"\naddresses = [\"{}\"]\n[[accelerator.listener]]\n\
         protocol = \"TCP\"\nports = [{}]\n[[accelerator.listener.endpoint_group]]\nregion = \"us-east-1\"\nendpoints = []\n",
        aws.toml("regions = [\"us-east-1\"]"),
        place::fresh(),
        at.ip(),
        at.port()
    );
    let edge = aws::edge(&toml).ready().await;
    until("it fills the group", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "tagged")
    })
    .await;
    until("the state shows it", PATIENCE, async || {
        endpoints(&edge).await.len() == 1
    })
    .await;
    let found = edge.endpoint(&arn).await;
    assert_eq!(found["weight"], 9);
    assert_eq!(shop(&edge).await.expect("there")["source"], "file");
    // Its tag goes: the last endpoint of all stays until the operator says so.
    aws.world()
        .balancers
        .get_mut(&arn)
        .expect("there")
        .tags
        .clear();
    cycles_pass(&edge, 2).await;
    assert_eq!(endpoints(&edge).await.len(), 1);
    let output = text(&edge.command(&["aws", "sync", "--accept-shrink"]).await);
    until("it is gone", PATIENCE, async || {
        endpoints(&edge).await.is_empty()
    })
    .await;
    assert!(!output.contains("held"), "{output}");
}

#[tokio::test]
async fn the_plan_says_what_would_change_and_sync_does_it() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("portolan.toml");
    std::fs::write(&file, bench.toml()).expect("writable");
    let file = file.to_str().expect("a path");
    let nobody = format!("http://{}", place::fresh());
    let plan =
        async |more: &[&str]| command(&[&["aws", "plan", "--config", file], more].concat()).await;

    let first = plan(&[]).await;
    assert_eq!(first.status.code(), Some(2), "{}", text(&first));
    assert!(
        text(&first).contains("+ shop listener 0123abcd us-east-1 eipalloc-near"),
        "{}",
        text(&first)
    );
    let synced = command(&["aws", "sync", "--config", file, "--admin", &nobody]).await;
    assert_eq!(synced.status.code(), Some(0), "{}", text(&synced));
    let second = plan(&[]).await;
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));

    bench.aws.world().accelerators[0].groups.remove("eu-west-1");
    let held = plan(&["--json"]).await;
    assert_eq!(held.status.code(), Some(2));
    let planned: Value = serde_json::from_slice(&held.stdout).expect("JSON");
    assert_eq!(planned["changes"][0]["action"], "hold", "{planned:#}");
    let accepted = command(&[
        "aws",
        "sync",
        "--config",
        file,
        "--admin",
        &nobody,
        "--accept-shrink",
    ])
    .await;
    assert!(
        text(&accepted).contains("- shop listener 0123abcd eu-west-1"),
        "{}",
        text(&accepted)
    );
    assert_eq!(plan(&[]).await.status.code(), Some(0));
    bench.aws.fail(Fault::Denied);
    let denied = plan(&[]).await;
    assert_eq!(denied.status.code(), Some(1), "{}", text(&denied));
    assert!(
        text(&denied).contains("denied: AccessDeniedException"),
        "{}",
        text(&denied)
    );
}

#[tokio::test]
async fn permissions_are_tried_and_the_least_policy_is_printed() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("portolan.toml");
    std::fs::write(&file, bench.toml()).expect("writable");
    let file = file.to_str().expect("a path");
    let policy = command(&["aws", "check-permissions", "--config", file, "--policy"]).await;
    let policy: Value = serde_json::from_slice(&policy.stdout).expect("JSON");
    assert_eq!(policy["Version"], "2012-10-17");
    let allowed = command(&["aws", "check-permissions", "--config", file]).await;
    assert!(
        text(&allowed).contains("allowed globalaccelerator:ListEndpointGroups"),
        "{}",
        text(&allowed)
    );
    bench.aws.fail(Fault::Denied);
    let denied = command(&["aws", "check-permissions", "--config", file, "--json"]).await;
    assert_eq!(denied.status.code(), Some(1));
    let checked: Value = serde_json::from_slice(&denied.stdout).expect("JSON");
    let verdicts = checked["permissions"].to_string();
    assert!(
        verdicts.contains("denied") && !verdicts.contains("unknown"),
        "{verdicts}"
    );
}

#[tokio::test]
async fn an_answer_that_ends_early_takes_nothing_away() {
    let at = place::fresh();
    let aws = Aws::start(Vec::new()).await;
    let arn = |number: usize| balancer_arn("us-east-1", &format!("net/tagged-{number}"));
    for number in 0..4 {
        let tags = [
            ("portolan:accelerator", "shop".to_owned()),
            ("portolan:port", at.port().to_string()),
        ];
        let tags = tags.map(|(key, value)| (key.to_owned(), value));
        let balancer = Balancer {
            tags: tags.into(),
            ..balancers::facing(&[place::fresh().ip()])
        };
        aws.world().balancers.insert(arn(number), balancer);
    }
    let addresses = format!(
        "regions = [\"us-east-1\"]\n[aws.addresses]\nshop = [\"{}\"]\n",
        at.ip()
    );
    let resolver = format!("[resolver]\nnameservers = [\"{}\"]\n", place::fresh());
    let edge = aws::edge(&format!("{}{resolver}", aws.toml(&addresses)))
        .ready()
        .await;
    until("all four are served", PATIENCE, async || {
        endpoints(&edge).await.len() == 4
    })
    .await;
    // One of four is little enough to go at once, if it were gone.
    for fault in [Fault::FewerTags, Fault::Cut] {
        aws.fail(fault);
        cycles_pass(&edge, 2).await;
        assert_eq!(endpoints(&edge).await.len(), 4, "{fault:?}");
        aws.fail(Fault::None);
        cycles_pass(&edge, 1).await;
    }
    aws.world().balancers.remove(&arn(3));
    until("what is gone goes", PATIENCE, async || {
        endpoints(&edge).await.len() == 3
    })
    .await;
}

#[tokio::test]
async fn the_api_and_the_import_never_give_one_address_twice() {
    let api = portolan_tests::api::Place::fresh();
    let aws = Aws::start(Vec::new()).await;
    // Fourteen addresses, two for each: seven accelerators, whoever makes them.
    let prefix = api.pool.replace(".0/24", ".16/28");
    let section = api.toml().replace(&api.pool, &prefix);
    let edge = aws::edge(&format!("{section}{}", aws.toml("")))
        .ready()
        .await;
    let mut made = 0;
    for round in 0..4 {
        let name = format!("of-aws-{round}");
        let imported = Accelerator::new(&name, 8000 + round).endpoint("us-east-1", "i-none");
        aws.world().accelerators.push(imported);
        let input = serde_json::json!({ "Name": format!("of-api-{round}"), "IdempotencyToken": format!("{round}") });
        made += usize::from(api.call("CreateAccelerator", &input).await.0 == 200);
        cycles_pass(&edge, 1).await;
    }
    assert!(made >= 3, "{made}");
    let state = edge.state().await;
    let accelerators = state["accelerators"].as_array().expect("a list");
    assert!(accelerators.len() >= 7, "{state:#}");
    let mut seen = std::collections::HashSet::new();
    for accelerator in accelerators {
        for address in accelerator["addresses"].as_array().expect("a list") {
            assert!(seen.insert(address["address"].to_string()), "{state:#}");
        }
    }
}
