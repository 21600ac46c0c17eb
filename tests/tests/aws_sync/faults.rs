//! Everything that can go wrong with AWS, met by an edge that serves endpoints of every kind; and addresses that change.

use portolan_tests::client::Caller;
use portolan_tests::deadline::throughout;

use super::balancers::facing;
use super::*;

const INSTANCE: &str = "i-0123456789abcdef0";

/// An accelerator whose endpoints are of every kind that AWS gives a meaning, each alone in its region: an alias, an instance, a network
/// load balancer, and one that comes by its tags.
struct Fleet {
    at: SocketAddr,
    aws: Aws,
    toml: String,
    _running: Vec<Endpoint>,
}

const FLEET: usize = 4;

/// Edges that run at the same time.
const AT_ONCE: usize = 10;

impl Fleet {
    async fn new() -> Fleet {
        let places = place::fresh_with_one_port(FLEET + 1);
        let at = places[0];
        let mut running = Vec::new();
        for place in &places[1..] {
            running.push(Endpoint::start_at(*place, "any", endpoint::naming()).await);
        }
        let balancer = balancer_arn("eu-west-1", "net/web");
        let shop = Accelerator::new("shop", at.port())
            .endpoint("us-east-1", NEAR)
            .endpoint("us-west-2", INSTANCE)
            .endpoint("eu-west-1", &balancer);
        // Others beside it, so that lists have pages.
        let others = ["a", "b", "c"].map(|name| Accelerator::new(name, 80));
        let aws = Aws::start([vec![shop], others.into()].concat()).await;
        let tags = [("portolan:accelerator".to_owned(), "shop".to_owned())];
        let tagged = Balancer {
            tags: tags.into(),
            ..facing(&[places[4].ip()])
        };
        {
            let mut world = aws.world();
            world.instances.insert(INSTANCE.to_owned(), places[2].ip());
            world.balancers.insert(balancer, facing(&[places[3].ip()]));
            let arn = balancer_arn("ap-south-1", "net/tagged");
            world.balancers.insert(arn, tagged);
        }
        let more = format!(
            "regions = [\"ap-south-1\"]\n[aws.addresses]\nshop = [\"{}\"]\n",
            at.ip()
        );
        // The names of load balancers are asked of nobody.
        let toml = format!(
            "{}[[endpoint_alias]]\nid = \"{NEAR}\"\naddress = \"{}\"\n[resolver]\nnameservers = [\"{}\"]\n",
            aws.toml(&more),
            places[1],
            place::fresh()
        );
        Fleet {
            at,
            aws,
            toml,
            _running: running,
        }
    }

    async fn edge(&self) -> Edge {
        let edge = aws::edge(&self.toml).ready().await;
        until("all of the fleet is up", PATIENCE, async || {
            let up = |endpoint: &&Value| endpoint["health"] == "UP";
            endpoints(&edge).await.iter().filter(up).count() == FLEET
        })
        .await;
        edge
    }

    /// All of it is served, and flows go on.
    async fn is_served(&self, edge: &Edge) -> bool {
        let served = endpoints(edge).await;
        served.len() == FLEET
            && served.iter().all(|endpoint| endpoint["weight"] == 128)
            && client::ask(self.at, "x").await.is_ok()
    }
}

/// What is told of a fault.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// An error of this class, counted and shown.
    Error(&'static str),
    /// What would go, and why it stays.
    Held(&'static str),
    /// Nothing: the answer leaves out what no answer leaves out.
    Nothing,
    /// Nothing yet: no reading comes to its end.
    Later,
}

/// A fault of operations whose names begin so, met by two readings at least.
async fn is_survived((of, fault, told): (&'static str, Fault, Told)) {
    let fleet = Fleet::new().await;
    let edge = fleet.edge().await;
    let what = format!("{fault:?} of {of}*");
    fleet.aws.fail_of(of, fault);
    if let Told::Later = told {
        let second = Duration::from_secs(1);
        throughout(&what, 3 * second, async || fleet.is_served(&edge).await).await;
        return;
    }
    // One may have been under way that met no fault.
    cycles_pass(&edge, 2).await;
    assert!(fleet.is_served(&edge).await, "{what}");
    let shown = view(&edge).await;
    match told {
        Told::Error(class) => {
            let metrics = edge.metrics().await;
            let count = metrics.sum("aws_sync_errors_total", &[("class", class)]);
            assert!(count >= 1.0, "{what} counts as {class}");
            let errors = shown["errors"].to_string();
            assert!(errors.contains(&format!(": {class}: ")), "{what}: {errors}");
        }
        Told::Held(why) => {
            let held = shown["held"].to_string();
            assert!(held.contains(why), "{what}: {shown:#}");
        }
        Told::Nothing | Told::Later => {}
    }
    fleet.aws.fail(Fault::None);
    until("everything is read again", LONGEST_READING, async || {
        let shown = view(&edge).await;
        shown["errors"] == Value::Array(Vec::new()) && shown["held"] == Value::Array(Vec::new())
    })
    .await;
    assert!(fleet.is_served(&edge).await, "{what}, over");
}

#[tokio::test]
async fn nothing_that_goes_wrong_empties_or_shrinks_what_is_served() {
    let all = "last endpoint of all";
    let cases = [
        ("", Fault::Throttle, Told::Error("throttled")),
        ("", Fault::Failure, Told::Error("unavailable")),
        ("", Fault::Html, Told::Error("unavailable")),
        ("", Fault::Denied, Told::Error("denied")),
        ("", Fault::Empty, Told::Error("malformed")),
        ("", Fault::Truncated, Told::Error("malformed")),
        ("", Fault::Cut, Told::Error("malformed")),
        ("", Fault::SecondPage, Told::Error("unavailable")),
        ("", Fault::WrongAccount, Told::Error("wrong_account")),
        ("", Fault::EmptyLists, Told::Held(all)),
        ("", Fault::Hang, Told::Later),
        ("List", Fault::EmptyLists, Told::Held("last endpoint")),
        ("Describe", Fault::Throttle, Told::Error("throttled")),
        ("Describe", Fault::Denied, Told::Error("denied")),
        ("Describe", Fault::Empty, Told::Error("malformed")),
        ("Describe", Fault::Truncated, Told::Error("malformed")),
        ("Describe", Fault::EmptyLists, Told::Held("last endpoint")),
        ("Describe", Fault::Hang, Told::Later),
        ("DescribeTags", Fault::FewerTags, Told::Nothing),
    ];
    // Many at once: most of the time they wait between attempts.
    for wave in cases.chunks(AT_ONCE) {
        let together = tokio::task::LocalSet::new();
        let tasks: Vec<_> = wave
            .iter()
            .map(|case| together.spawn_local(is_survived(*case)))
            .collect();
        together.await;
        for task in tasks {
            task.await.expect("a fault that is survived");
        }
    }
}

/// An endpoint by this id gets another address in AWS.
async fn is_followed(id: &str, give: impl Fn(&Aws, IpAddr)) {
    let places = place::fresh_with_one_port(3);
    let at = places[0];
    let _old = Endpoint::start_at(places[1], "old", endpoint::naming()).await;
    let _new = Endpoint::start_at(places[2], "new", endpoint::naming()).await;
    let shop = Accelerator::new("shop", at.port()).endpoint("us-east-1", id);
    let aws = Aws::start(vec![shop]).await;
    give(&aws, places[1].ip());
    let addresses = format!("[aws.addresses]\nshop = [\"{}\"]\n", at.ip());
    let resolver = format!("[resolver]\nnameservers = [\"{}\"]\n", place::fresh());
    let edge = aws::edge(&format!("{}{resolver}", aws.toml(&addresses)))
        .ready()
        .await;
    until("it is imported", PATIENCE, async || {
        endpoints(&edge).await.len() == 1
    })
    .await;
    edge.until_health(id, "UP", PATIENCE).await;
    let mut caller = Caller::connect(at).await.expect("served");
    assert_eq!(caller.ask("x").await.expect("an answer"), "old", "{id}");

    give(&aws, places[2].ip());
    // One reading may have been under way; the next one has it: within an interval.
    cycles_pass(&edge, 2).await;
    until("new flows go to the new address", PATIENCE, async || {
        client::ask(at, "x").await.is_ok_and(|id| id == "new")
    })
    .await;
    let shown = edge.endpoint(id).await;
    assert_eq!(
        shown["addresses"][0]["address"],
        places[2].ip().to_string(),
        "{id}"
    );
    let answer = caller.ask("y").await.expect("it goes on");
    assert_eq!(
        answer, "old",
        "{id}: a flow that was there finishes where it is"
    );
}

#[tokio::test]
async fn an_address_that_changes_is_followed_within_an_interval_and_the_old_one_drains() {
    is_followed(INSTANCE, |aws, ip| {
        aws.world().instances.insert(INSTANCE.to_owned(), ip);
    })
    .await;
    let balancer = balancer_arn("us-east-1", "net/web");
    is_followed(&balancer, |aws, ip| {
        let balancer = balancer.clone();
        aws.world().balancers.insert(balancer, facing(&[ip]));
    })
    .await;
}
