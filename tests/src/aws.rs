//! AWS as the sync meets it: Global Accelerator, load balancers and STS on loopback, written from the service models (every answer of
//! Global Accelerator is checked against it), with everything that can go wrong. moto is the other judge; it has no Global
//! Accelerator, and forgives what AWS does not.

mod answers;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use crate::edge::{Edge, Start};
use crate::fake::Fake;

/// The account that everything belongs to, unless a test says otherwise.
pub const ACCOUNT: &str = "123456789012";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Too many calls.
    Throttle,
    /// The service fails, in its own words.
    Failure,
    /// The service fails, in HTML.
    Html,
    /// The permission is missing.
    Denied,
    /// Status 200, and nothing in it.
    Empty,
    /// Status 200, and lists without anything in them.
    EmptyLists,
    /// No answer at all.
    Hang,
    /// The answer ends in the middle, whole by its length.
    Truncated,
    /// The answer ends behind an item of its list, whole by its length, and with it everything that says that there is more.
    Cut,
    /// The last load balancer that is asked for is not told the tags of.
    FewerTags,
    /// What is only good to know fails: listeners, target groups, target health.
    Enrichment,
    /// The pages behind the first one fail.
    SecondPage,
    /// The credentials are another account's.
    WrongAccount,
}

/// An accelerator.
#[derive(Clone, Debug)]
pub struct Accelerator {
    /// Its name.
    pub name: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Its listener's port.
    pub port: u16,
    /// Its listener's groups by region: dial, and weights by endpoint id.
    pub groups: BTreeMap<String, (f64, BTreeMap<String, u8>)>,
}

impl Accelerator {
    /// With one listener on a TCP port.
    pub fn new(name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            enabled: true,
            port,
            groups: BTreeMap::new(),
        }
    }

    /// Adds an endpoint of weight 128 to the group of a region, which is made when it is new.
    pub fn endpoint(mut self, region: &str, id: &str) -> Self {
        let group = self
            .groups
            .entry(region.to_owned())
            .or_insert((100.0, BTreeMap::new()));
        group.1.insert(id.to_owned(), 128);
        self
    }
}

/// A load balancer.
#[derive(Clone, Debug, Default)]
pub struct Balancer {
    /// `internal` or `internet-facing`.
    pub scheme: String,
    /// Its name; empty is one that nobody resolves.
    pub name: String,
    /// What its name resolves to, as far as the network is concerned: fixed addresses.
    pub addresses: Vec<IpAddr>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Healthy and unhealthy targets of its one target group; `None` has no target group.
    pub targets: Option<(usize, usize)>,
}

/// Everything that there is.
#[derive(Clone, Debug)]
pub struct World {
    /// Whose credentials these are.
    pub account: String,
    /// Accelerators.
    pub accelerators: Vec<Accelerator>,
    /// Load balancers by ARN, each seen by its own account alone.
    pub balancers: BTreeMap<String, Balancer>,
    /// What has to be said to assume a role.
    pub external_id: String,
    /// Items of a page of Global Accelerator.
    pub page: usize,
    /// Addresses of running instances by id.
    pub instances: BTreeMap<String, IpAddr>,
    /// What goes wrong with the services that hold data.
    pub fault: Fault,
    /// It goes wrong with operations whose names begin so, and with no others.
    pub fault_of: &'static str,
    /// What goes wrong with GetCallerIdentity.
    pub identity_fault: Fault,
    /// Operations that were asked for, in turn.
    pub calls: Vec<String>,
}

/// The ARN of a load balancer of [`ACCOUNT`]: `app/name` or `net/name`.
pub fn balancer_arn(region: &str, name: &str) -> String {
    balancer_arn_of(ACCOUNT, region, name)
}

/// The same in another account.
pub fn balancer_arn_of(account: &str, region: &str, name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/{name}/50dc6c495c0c9188")
}

/// A running AWS; it ends with its owner.
pub struct Aws(Fake<World>);

impl Aws {
    /// Starts one with these accelerators.
    ///
    /// # Panics
    /// When its address cannot be had.
    pub async fn start(accelerators: Vec<Accelerator>) -> Aws {
        let world = World {
            account: ACCOUNT.to_owned(),
            accelerators,
            balancers: BTreeMap::new(),
            external_id: String::new(),
            page: 2,
            instances: BTreeMap::new(),
            fault: Fault::None,
            fault_of: "",
            identity_fault: Fault::None,
            calls: Vec::new(),
        };
        Aws(Fake::start(world, answer).await)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// What there is, to look at and to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.world()
    }

    /// What goes wrong from here on.
    pub fn fail(&self, fault: Fault) {
        let mut world = self.world();
        world.fault_of = "";
        world.fault = if fault == Fault::WrongAccount {
            Fault::None
        } else {
            fault
        };
        world.identity_fault = if fault == Fault::WrongAccount {
            fault
        } else {
            Fault::None
        };
    }

    /// The same, with operations alone whose names begin so.
    pub fn fail_of(&self, operations: &'static str, fault: Fault) {
        self.fail(fault);
        self.world().fault_of = operations;
    }

    /// The file's `[aws]`, read every second; `more` goes into it.
    pub fn toml(&self, more: &str) -> String {
        format!(
            "[aws]\nendpoint_url = \"{}\"\ninterval = \"1s\"\n{more}\n",
            self.url()
        )
    }

    /// Takes it off the network.
    pub fn vanish(&self) {
        self.0.vanish();
    }
}

/// An edge with credentials, and without anything of the machine that might be taken for some.
pub fn edge(toml: &str) -> Start {
    credentials()
        .iter()
        .fold(Edge::with(toml), |start, (name, value)| {
            start.environment(name, value)
        })
}

/// What the SDK finds in its environment.
pub fn credentials() -> [(&'static str, &'static str); 5] {
    [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        (
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        ),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]
}

/// Whose signature it is: an account's whose role was assumed, or `None`, the own one's. Nothing without a signature.
fn signer(authorization: &str) -> Option<Option<String>> {
    let (_, credential) = authorization.split_once("Credential=")?;
    let key = credential.split('/').next()?;
    Some(key.strip_prefix(answers::ASSUMED).map(str::to_owned))
}

async fn answer(
    request: Request<Incoming>,
    world: Arc<Mutex<World>>,
) -> io::Result<Response<Full<Bytes>>> {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let authorization = request.headers().get("authorization");
    let signer = authorization.and_then(|value| signer(value.to_str().ok()?));
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let operation = answers::operation(target.as_deref(), &body);
    let fault = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        world.calls.push(operation.clone());
        if operation == "GetCallerIdentity" {
            world.identity_fault
        } else if operation.starts_with(world.fault_of) {
            world.fault
        } else {
            Fault::None
        }
    };
    if fault == Fault::Hang {
        std::future::pending::<()>().await;
    }
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (status, kind, text) = match signer {
        Some(signer) => {
            world.balancers.retain(|arn, _| {
                let account = arn.split(':').nth(4);
                account == Some(signer.as_deref().unwrap_or(&world.account))
            });
            answers::answer(&world, fault, &operation, target.is_some(), &body)
        }
        None => (403, "text/plain", "not signed".to_owned()),
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", kind)
        .header("x-amzn-requestid", "0f0f");
    Ok(response.body(Full::from(text)).expect("a valid answer"))
}
