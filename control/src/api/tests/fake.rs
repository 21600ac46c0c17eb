//! A store in memory that can fail, an edge that has a configuration, and an engine over both.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_config::file;
use portolan_config::health::HealthState;
use portolan_config::model::Config;
use portolan_config::units::EndpointId;
use serde_json::{Value, json};

use crate::advertised::Ranges;
use crate::api::audit::Asker;
use crate::api::edge::{Asking, Edge, Place};
use crate::api::endpoint_id::Meaning;
use crate::api::engine::Engine;
use crate::api::errors::{ApiError, Exception};
use crate::api::keeper::Keeper;
use crate::api::load;
use crate::api::operations::Operation;
use crate::api::publisher::Publisher;
use crate::api::settings::Settings;
use crate::api::sigv4::Caller;
use crate::aws::{Answers, Looked, Named};
use crate::handle::EndpointHealth;
use crate::pool::Ledger;
use crate::store::{Change, Records, Store, StoreError};

/// What the tests' file says, beside nothing.
pub(super) const FILE: &str = r#"
[api]
account_id = "123456789012"
address_pool = ["192.0.2.0/24", "2001:db8::/64"]
[[endpoint_alias]]
id = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/50dc6c495c0c9188"
address = "10.0.0.1:8080"
[[endpoint_alias]]
id = "subnet-1"
address = "10.1.0.0/28"
[[accelerator]]
name = "filed"
addresses = ["198.51.100.1"]
[[accelerator.listener]]
protocol = "TCP"
ports = [80]
[[accelerator.listener.endpoint_group]]
region = "eu-central-1"
endpoints = [{ id = "web", address = "10.0.0.9" }]
"#;

/// Records in memory.
#[derive(Default)]
pub(super) struct Memory {
    records: Mutex<Records>,
    pub(super) fails: AtomicBool,
}

impl Store for Memory {
    fn load(&self) -> Result<Records, StoreError> {
        Ok(self
            .records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Failed {
                path: "memory".into(),
                source: "the disk is full".into(),
            });
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { table, key, value } in changes {
            let rows = records.entry(*table).or_default();
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }
}

/// An edge on which every endpoint is up, unless its id says otherwise, beside an AWS that knows what the test says.
pub(super) struct FakeEdge {
    config: Arc<Config>,
    /// What AWS answers; what is not in it is missing.
    pub(super) aws: Mutex<Answers>,
    /// How often it was asked for something.
    pub(super) asked: AtomicUsize,
    /// What the API wants announced.
    pub(super) advertised: Mutex<Ranges>,
    /// What an announcer announces; `None` without one.
    pub(super) announced: Mutex<Option<Ranges>>,
    /// Whether it may steer ports.
    pub(super) steers_ports: AtomicBool,
    /// Who has what of the pool.
    ledger: Arc<Ledger>,
}

impl Edge for FakeEdge {
    fn config(&self) -> Arc<Config> {
        self.config.clone()
    }

    fn look_up(&self, wanted: BTreeSet<Named>) -> Asking<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let known = self.aws.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = |named: Named| {
            let answer = known.get(&named).cloned().unwrap_or(Looked::Missing);
            (named, answer)
        };
        let answers: Answers = wanted.into_iter().map(answer).collect();
        Box::pin(std::future::ready(answers))
    }

    fn advertise(&self, ranges: Ranges) {
        *self
            .advertised
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = ranges;
    }

    fn announced(&self) -> Option<Arc<Ranges>> {
        let announced = self.announced.lock();
        announced
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .map(Arc::new)
    }

    fn steers_ports(&self) -> bool {
        self.steers_ports.load(Ordering::SeqCst)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn health(&self, _: &Place) -> HashMap<EndpointId, EndpointHealth> {
        let up = EndpointHealth {
            state: HealthState::Up,
            reason: None,
        };
        let reason = Some("connection refused (TCP 10.0.0.2:80)".to_owned());
        let down = EndpointHealth {
            state: HealthState::Down,
            reason,
        };
        [
            (EndpointId::new("10.0.0.1"), up),
            (EndpointId::new("10.0.0.2"), down),
        ]
        .into()
    }
}

/// The API under test.
pub(super) struct Api {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<Memory>,
    pub(super) edge: Arc<FakeEdge>,
    config: Arc<Config>,
    publisher: Mutex<Publisher>,
    /// What others have of the pool.
    pub(super) ledger: Arc<Ledger>,
}

impl Api {
    pub(super) fn new() -> Api {
        Api::over(Arc::default())
    }

    /// As a process that starts on what another has left.
    pub(super) fn over(store: Arc<Memory>) -> Api {
        Api::beside(store, "")
    }

    /// The same, with more in the file.
    pub(super) fn beside(store: Arc<Memory>, more: &str) -> Api {
        Api::of_file(store, &format!("{FILE}{more}"))
    }

    /// The same, with this file.
    pub(super) fn of_file(store: Arc<Memory>, text: &str) -> Api {
        let config = file::parse(text, Path::new("test.toml"))
            .expect("a valid file")
            .config;
        let settings = Settings::of(config.api.as_ref().expect("an [api]"));
        let opened = store.clone();
        let keeper = Keeper::open(move || Ok(opened.clone() as Arc<dyn Store>))
            .expect("memory opens")
            .without_pause();
        let world = load(&keeper, Path::new("memory")).expect("records that this API wrote");
        let config = Arc::new(config);
        let ledger = Arc::<Ledger>::default();
        let edge = Arc::new(FakeEdge {
            config: config.clone(),
            aws: Mutex::default(),
            asked: AtomicUsize::new(0),
            advertised: Mutex::default(),
            announced: Mutex::default(),
            steers_ports: AtomicBool::new(true),
            ledger: ledger.clone(),
        });
        let engine = Engine::new(settings, keeper, world, edge.clone())
            .with_patience(Duration::from_millis(20));
        Api {
            engine: Arc::new(engine),
            store,
            edge,
            config,
            publisher: Mutex::default(),
            ledger,
        }
    }

    /// Carries an operation out.
    pub(super) async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let operation = Operation::by_name(operation).expect(operation);
        let asker = Asker {
            caller: Caller {
                access_key_id: None,
            },
            client: [127, 0, 0, 1].into(),
            request_id: "test".to_owned(),
        };
        self.engine.clone().call(operation, input, asker).await
    }

    /// The answer, which there must be.
    pub(super) async fn ok(&self, operation: &str, input: Value) -> Value {
        let shown = input.to_string();
        self.call(operation, input)
            .await
            .unwrap_or_else(|error| panic!("{operation} {shown}: {error}"))
    }

    /// The exception, which there must be, declared by the model or common to all of AWS.
    pub(super) async fn refused(
        &self,
        operation: &str,
        input: Value,
        expected: Exception,
    ) -> String {
        let shown = input.to_string();
        match self.call(operation, input).await {
            Ok(answer) => panic!("{operation} {shown}: {answer}"),
            Err(error) => {
                assert_eq!(error.exception, expected, "{operation} {shown}: {error}");
                error.message
            }
        }
    }

    /// What the data path would be given; it is served from here on.
    pub(super) fn serve(&self) -> Vec<portolan_config::model::Accelerator> {
        let mut publisher = self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (version, accelerators) = self.engine.build(&mut publisher, Meaning::of(&self.config));
        self.engine.is_served(version);
        accelerators
    }

    pub(super) async fn accelerator(&self, name: &str) -> String {
        let made = self
            .ok(
                "CreateAccelerator",
                json!({ "Name": name, "IdempotencyToken": name }),
            )
            .await;
        text(&made["Accelerator"]["AcceleratorArn"])
    }

    pub(super) async fn listener(&self, accelerator: &str, port: u16) -> String {
        let input = json!({ "AcceleratorArn": accelerator, "Protocol": "TCP", "IdempotencyToken": port.to_string(),
            "PortRanges": [{ "FromPort": port, "ToPort": port }] });
        text(&self.ok("CreateListener", input).await["Listener"]["ListenerArn"])
    }

    pub(super) async fn group(&self, listener: &str, region: &str, endpoints: Value) -> String {
        let input = json!({ "ListenerArn": listener, "EndpointGroupRegion": region, "IdempotencyToken": region,
            "EndpointConfigurations": endpoints });
        text(&self.ok("CreateEndpointGroup", input).await["EndpointGroup"]["EndpointGroupArn"])
    }

    pub(super) async fn custom(&self, destinations: Value) -> (String, String, String) {
        let made = self
            .ok(
                "CreateCustomRoutingAccelerator",
                json!({ "Name": "games", "IdempotencyToken": "a" }),
            )
            .await;
        let accelerator = text(&made["Accelerator"]["AcceleratorArn"]);
        let input = json!({ "AcceleratorArn": accelerator, "IdempotencyToken": "l",
            "PortRanges": [{ "FromPort": 5000, "ToPort": 6000 }] });
        let made = self.ok("CreateCustomRoutingListener", input).await;
        let listener = text(&made["Listener"]["ListenerArn"]);
        let input = json!({ "ListenerArn": listener, "EndpointGroupRegion": "us-east-1", "IdempotencyToken": "g",
            "DestinationConfigurations": destinations });
        let made = self.ok("CreateCustomRoutingEndpointGroup", input).await;
        (
            accelerator,
            listener,
            text(&made["EndpointGroup"]["EndpointGroupArn"]),
        )
    }
}

pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
