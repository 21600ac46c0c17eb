//! The sync from AWS end to end: import, changes that are followed, everything that goes wrong, tags, a start without AWS, and the
//! commands.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use portolan_tests::aws::{self, Accelerator, Aws, Balancer, Fault, balancer_arn};
use portolan_tests::deadline::{PATIENCE, patiently, throughout, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::{binary, client, place};
use serde_json::Value;

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
    endpoints.flatten().cloned().collect()
}

async fn view(edge: &Edge) -> Value {
    edge.state().await["aws"].clone()
}

async fn cycles_pass(edge: &Edge, count: u64) {
    let before = view(edge).await["cycle"].as_u64().unwrap_or(0);
    until("readings pass", PATIENCE, async || {
        view(edge).await["cycle"].as_u64().unwrap_or(0) >= before + count
    })
    .await;
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
    let notes = view(&edge).await["notes"].to_string();
    assert!(
        notes.contains("not_served") && notes.contains("[aws.addresses]"),
        "the others have no addresses: {notes}"
    );

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
    until("weight and dial are followed", PATIENCE, async || {
        let weight = endpoints(&edge)
            .await
            .iter()
            .any(|endpoint| endpoint["weight"] == 7);
        weight
            && groups(&edge)
                .await
                .iter()
                .any(|group| group["traffic_dial"] == 12.5)
    })
    .await;
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
    assert_eq!(view(&edge).await["freshness"], "fresh");
    assert_eq!(view(&edge).await["account"], aws::ACCOUNT);
}

/// A fault, met by two readings at least; the class that it counts as.
async fn is_survived(fault: Fault, class: Option<&str>) {
    let bench = Bench::new().await;
    let edge = bench.edge().await;
    bench.aws.fail(fault);
    // One may have been under way that met no fault.
    cycles_pass(&edge, 2).await;
    assert_eq!(endpoints(&edge).await.len(), 2, "{fault:?}");
    client::ask(bench.at, "x")
        .await
        .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    let Some(class) = class else {
        let held = view(&edge).await["held"].to_string();
        assert!(held.contains("last endpoint of all"), "{held}");
        return;
    };
    let count = edge
        .metrics()
        .await
        .sum("aws_sync_errors_total", &[("class", class)]);
    assert!(count >= 1.0, "{fault:?} counts as {class}");
    let errors = view(&edge).await["errors"].to_string();
    assert!(
        errors.contains(&format!(": {class}: ")),
        "{fault:?}: {errors}"
    );
    bench.aws.fail(Fault::None);
    until("everything is read again", PATIENCE, async || {
        view(&edge).await["errors"]
            .as_array()
            .is_some_and(Vec::is_empty)
    })
    .await;
}

#[tokio::test]
async fn nothing_that_goes_wrong_empties_or_shrinks_what_is_served() {
    let cases = [
        (Fault::Throttle, Some("throttled")),
        (Fault::Failure, Some("unavailable")),
        (Fault::Html, Some("unavailable")),
        (Fault::Denied, Some("denied")),
        (Fault::Empty, Some("malformed")),
        (Fault::Truncated, Some("malformed")),
        (Fault::SecondPage, Some("unavailable")),
        (Fault::WrongAccount, Some("wrong_account")),
        (Fault::EmptyLists, None),
    ];
    // At once: most of the time they wait between attempts.
    let together = tokio::task::LocalSet::new();
    let tasks = cases.map(|(fault, class)| together.spawn_local(is_survived(fault, class)));
    together.await;
    for task in tasks {
        task.await.expect("a fault that is survived");
    }
}

#[tokio::test]
async fn flows_go_on_while_aws_hangs() {
    let bench = Bench::new().await;
    let edge = bench.edge().await;
    bench.aws.fail(Fault::Hang);
    throughout("flows go on", Duration::from_secs(3), async || {
        endpoints(&edge).await.len() == 2 && client::ask(bench.at, "x").await.is_ok()
    })
    .await;
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
    assert!(edge.metrics().await.sum("aws_sync_age_seconds", &[]) > 0.0);
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
    let notes = view(&edge).await["notes"].clone();
    let unreachable: Vec<String> = notes
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
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
    let status = text(&edge.command(&["status"]).await);
    assert!(
        status.contains("unreachable: shop us-east-1")
            && status.contains("AWS account 123456789012"),
        "{status}"
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
