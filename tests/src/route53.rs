//! Route 53 on loopback, written from the service model and the developer guide, and strict where moto is not: requests are atomic,
//! limits are counted, routing policies are kept apart, names are escaped and sorted, changes take their time, and everything that
//! can go wrong can be made to.

mod rules;
mod wire;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use crate::fake::{self, Fake};

pub use self::wire::{Change, CheckConfig, Set};

/// The zone that is there from the start.
pub const ZONE: &str = "Z0FAKE0EXAMPLE";

/// Its name.
pub const NAME: &str = "example.com";

/// A health check.
#[derive(Clone, Debug)]
pub struct Check {
    /// What its maker called it.
    pub reference: String,
    /// What it asks.
    pub config: CheckConfig,
    /// Counts its changes.
    pub version: i64,
}

/// What goes wrong with the list of a zone's record sets, whose answers are of status 200 all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is in it.
    Empty,
    /// It ends behind a record set, whole by its length.
    Cut,
    /// It says that there is more, and not where.
    NoNext,
}

/// Everything that there is, and what goes wrong.
#[derive(Debug, Default)]
pub struct World {
    /// Zones by id: name and record sets by key.
    pub zones: BTreeMap<String, Zone>,
    /// Health checks by id.
    pub checks: BTreeMap<String, Check>,
    /// References of checks that were deleted: they are burnt.
    pub burnt: HashSet<String>,
    /// Changes by id, and how often each will still be pending.
    pub pending: HashMap<String, u32>,
    /// How often a new change will be pending.
    pub pending_for: u32,
    /// Requests for changes so far, refused ones included.
    pub requests: usize,
    /// Elements of the largest request that was accepted.
    pub largest: usize,
    /// So many requests for changes are throttled.
    pub throttle: usize,
    /// So many requests for changes meet another one.
    pub busy: usize,
    /// The request of this number never gets an answer, and is not done.
    pub hang_at: Option<usize>,
    /// The request of this number is done, and its answer is lost.
    pub lose_at: Option<usize>,
    /// Names that are protected.
    pub protected: HashSet<String>,
    /// Whether protections may be listed.
    pub hide_protections: bool,
    /// The most record sets of a zone.
    pub most_sets: usize,
    /// Nothing may be changed.
    pub deny: bool,
    /// Nothing is answered at all.
    pub mute: bool,
    /// What goes wrong with the zone's list.
    pub fault: Option<Fault>,
    /// Operations that were asked for, in turn.
    pub calls: Vec<String>,
    next: usize,
}

/// A zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// Its name, without a trailing dot.
    pub name: String,
    /// Its record sets.
    pub sets: BTreeMap<rules::Place, Set>,
}

impl Zone {
    /// With what Route 53 itself puts into a new one.
    fn new(name: &str) -> Zone {
        let own = [
            ("NS", "ns-1.example.net."),
            (
                "SOA",
                "ns-1.example.net. host.example.net. 1 7200 900 1209600 86400",
            ),
        ];
        let sets = own.map(|(kind, value)| Set::simple(name, kind, 172_800, &[value]));
        Zone {
            name: name.to_owned(),
            sets: sets.map(|set| (rules::Place::of(&set), set)).into(),
        }
    }
}

impl World {
    fn id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{:08}", self.next)
    }

    /// The record sets of the first zone, in the order of the wire.
    ///
    /// # Panics
    /// When there is none.
    pub fn sets(&self) -> Vec<Set> {
        let zone = self.zones.get(ZONE).expect("the zone stays");
        zone.sets.values().cloned().collect()
    }

    /// Puts a record set there as its owner would.
    ///
    /// # Panics
    /// When the zone would not take it.
    pub fn put(&mut self, set: Set) {
        let zone = self.zones.get_mut(ZONE).expect("the zone stays");
        zone.sets.insert(rules::Place::of(&set), set);
    }

    /// The only set of a name and type.
    ///
    /// # Panics
    /// When there is none, or several.
    pub fn set(&self, name: &str, kind: &str) -> Set {
        let sets = self.sets().into_iter();
        let mut found: Vec<Set> = sets
            .filter(|set| set.name == format!("{name}.") && set.kind == kind)
            .collect();
        assert_eq!(found.len(), 1, "{name} {kind}: {found:?}");
        found.remove(0)
    }
}

/// A running Route 53; it ends with its owner.
pub struct Route53(Fake<World>);

impl Route53 {
    /// Starts one with an empty zone `example.com`.
    ///
    /// # Panics
    /// When its address cannot be had.
    pub async fn start() -> Route53 {
        let mut world = World {
            pending_for: 1,
            most_sets: 10_000,
            ..World::default()
        };
        world.zones.insert(ZONE.to_owned(), Zone::new(NAME));
        Route53(Fake::start(world, answer).await)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// What there is, to look at and to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.world()
    }

    /// The file's `[aws]`, for the endpoint alone.
    pub fn toml(&self) -> String {
        format!(
            "[aws]\nimport = false\nendpoint_url = \"{}\"\ncalls_per_second = 500\nburst = 500\n",
            self.url()
        )
    }
}

/// What is said to a request.
pub(crate) enum Said {
    /// An answer.
    Body(u16, String),
    /// Nothing, for ever.
    Silence,
    /// The connection ends.
    Lost,
}

async fn answer(
    request: Request<Incoming>,
    world: Arc<Mutex<World>>,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let is_signed = parts.headers.contains_key("authorization");
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let query = fake::pairs(parts.uri.query().unwrap_or_default()).collect();
    let said = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_signed {
            wire::error(
                403,
                "MissingAuthenticationToken",
                "the request is not signed",
            )
        } else if world.mute {
            Said::Silence
        } else {
            route(&mut world, &parts.method, &path, &query, &body)
        }
    };
    match said {
        Said::Body(status, body) => Ok(respond(status, body)),
        Said::Lost => Err(io::Error::other("the answer is lost")),
        Said::Silence => std::future::pending().await,
    }
}

fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "text/xml")
        .header("x-amzn-requestid", "fake")
        .body(Full::new(Bytes::from(body)));
    response.expect("the parts are valid")
}

fn route(
    world: &mut World,
    method: &Method,
    path: &str,
    query: &HashMap<String, String>,
    body: &str,
) -> Said {
    let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let operation = format!("{method} {}", steps.get(1..).unwrap_or_default().join("/"));
    world.calls.push(operation);
    match (method.as_str(), steps.get(1..).unwrap_or_default()) {
        ("POST", []) if body.contains("Action=GetCallerIdentity") => wire::identity(),
        ("GET", ["hostedzonesbyname"]) => wire::zones(world),
        ("POST", ["hostedzone"]) => wire::create_zone(world, body),
        ("GET", ["hostedzone", id]) => wire::zone(world, id),
        ("GET", ["hostedzone", id, "rrsetprotection"]) => wire::protections(world, id),
        ("GET", ["hostedzonelimit", id, "MAX_RRSETS_BY_ZONE"]) => wire::zone_limit(world, id),
        ("GET", ["accountlimit", "MAX_HEALTH_CHECKS_BY_OWNER"]) => wire::account_limit(world),
        ("GET", ["hostedzone", id, "rrset"]) => wire::list(world, id, query),
        ("POST", ["hostedzone", id, "rrset"]) => change(world, id, body),
        ("GET", ["change", id]) => wire::change(world, id),
        ("GET", ["healthcheck"]) => wire::checks(world, query),
        ("POST", ["healthcheck"]) => wire::create_check(world, body),
        ("POST", ["healthcheck", id]) => wire::update_check(world, id, body),
        ("DELETE", ["healthcheck", id]) => wire::delete_check(world, id),
        ("POST", ["tags", "healthcheck", _]) => {
            Said::Body(200, "<ChangeTagsForResourceResponse/>".into())
        }
        (_, _) => wire::error(404, "UnknownOperation", path),
    }
}

fn change(world: &mut World, id: &str, body: &str) -> Said {
    world.requests += 1;
    let number = world.requests;
    if world.deny {
        return wire::error(
            403,
            "AccessDenied",
            "not authorized to perform route53:ChangeResourceRecordSets",
        );
    }
    if world.throttle > 0 {
        world.throttle -= 1;
        return wire::error(400, "Throttling", "Rate exceeded");
    }
    if world.busy > 0 {
        world.busy -= 1;
        return wire::error(
            400,
            "PriorRequestNotComplete",
            "The request was rejected because Route 53 was still processing a prior request.",
        );
    }
    if world.hang_at == Some(number) {
        return Said::Silence;
    }
    let changes = match wire::read_changes(body) {
        Ok(changes) => changes,
        Err(why) => return wire::error(400, "InvalidInput", &why),
    };
    let Some(zone) = world.zones.get(id) else {
        return wire::error(404, "NoSuchHostedZone", id);
    };
    let checks: HashSet<&String> = world.checks.keys().collect();
    match rules::apply(id, zone, &changes, &checks, &world.protected) {
        Err(whats) => wire::invalid_batch(number, &whats),
        Ok((after, elements)) => {
            world.largest = world.largest.max(elements);
            world.zones.insert(id.to_owned(), after);
            let change = world.id("C");
            world.pending.insert(change.clone(), world.pending_for);
            if world.lose_at == Some(number) {
                return Said::Lost;
            }
            wire::changed(&change)
        }
    }
}
