//! What is shared, what is rebuilt, who is available; and the promise that health never empties a listener.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Instant, SystemTime};

use portolan_config::file;
use portolan_config::health::Failure;
use portolan_config::model::Config;
use portolan_config::snapshot::AddressId;
use portolan_config::units::{EndpointId, Region};
use portolan_healthcheck::AddressHealth;
use proptest::prelude::*;

use portolan_config::address::EndpointAddr;

use super::*;
use crate::layout::{Resolved, Surroundings};
use crate::order::Distance;
use crate::registry::Registry;
use crate::way_back::Way;

/// Names resolve to whatever was set; these ids drain.
#[derive(Default)]
struct Around {
    resolved: HashMap<String, Resolved>,
    draining: Vec<String>,
}

impl Surroundings for Around {
    fn resolve(&self, name: &Arc<str>) -> Resolved {
        self.resolved.get(&**name).cloned().unwrap_or_default()
    }

    fn is_draining(&self, endpoint: &EndpointId, _: &Region) -> bool {
        self.draining.iter().any(|id| id == endpoint.as_str())
    }

    fn way_back(&self, _: EndpointAddr) -> Way {
        Way::Untested
    }
}

struct Case {
    registry: Registry,
    around: Around,
    layout: Layout,
    health: HealthTable,
    orders: Vec<Order>,
    verdicts: Arc<[Verdict]>,
    snapshot: Snapshot,
}

fn parse(text: &str) -> Config {
    file::parse(text, Path::new("test.toml"))
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .config
}

const TWO_GROUPS: &str = r#"
[[accelerator]]
name = "shop"
addresses = ["127.0.0.1"]
[[accelerator.listener]]
protocol = "TCP"
ports = [4998]
[[accelerator.listener.endpoint_group]]
region = "eu"
endpoints = [{ id = "a", address = "10.0.0.1" }, { id = "b", address = "10.0.0.2", weight = 0 }]
[[accelerator.listener.endpoint_group]]
region = "us"
endpoints = [{ id = "c", address = "web.test:8080" }, { id = "d", address = "10.0.0.4" }]
"#;

impl Case {
    fn new(text: &str) -> Case {
        let mut case = Case {
            registry: Registry::default(),
            around: Around::default(),
            layout: Layout::default(),
            health: HealthTable::new(),
            orders: Vec::new(),
            verdicts: Arc::from([]),
            snapshot: Snapshot::default(),
        };
        case.lay_out(text);
        case
    }

    fn lay_out(&mut self, text: &str) {
        self.layout = Layout::build(&parse(text), &self.around, &mut self.registry);
        self.health = vec![None; self.layout.targets.len()];
        self.orders = self
            .layout
            .listeners
            .iter()
            .map(|_| Order::default())
            .collect();
        self.rank();
    }

    fn rank(&mut self) {
        for (listener, order) in self.layout.listeners.iter().zip(&mut self.orders) {
            let distances = listener.groups.iter().map(|group| Distance {
                region: group.region.clone(),
                configured: group.latency,
                measured: None,
            });
            order.update(&distances.collect::<Vec<_>>(), Instant::now());
        }
    }

    fn set(&mut self, ip: &str, state: HealthState, rtt_micros: u64) {
        let ip: IpAddr = ip.parse().expect("an address");
        for (target, health) in self.layout.targets.iter().zip(&mut self.health) {
            if target.address.0.ip() == ip {
                *health = Some(Arc::new(health_of(state, rtt_micros)));
            }
        }
    }

    /// Compiles with everything touched; whether something differed.
    fn compile(&mut self) -> bool {
        self.compile_touched(&Touched::Everything)
    }

    fn compile_touched(&mut self, touched: &Touched) -> bool {
        let inputs = Inputs {
            layout: &self.layout,
            health: &self.health,
            orders: &self.orders,
            verdicts: &self.verdicts,
            touched,
        };
        let compiled = compile(&self.snapshot, &inputs);
        let differs = compiled.is_some();
        self.snapshot = compiled.unwrap_or_else(|| std::mem::take(&mut self.snapshot));
        differs
    }

    fn group(&self, region: &str) -> Arc<GroupSnapshot> {
        let groups = self
            .snapshot
            .listeners
            .iter()
            .flat_map(|listener| &listener.groups);
        groups
            .into_iter()
            .find(|group| group.region.as_str() == region)
            .expect("a group")
            .clone()
    }

    fn endpoint(&self, id: &str) -> EndpointSnapshot {
        let groups = self
            .snapshot
            .listeners
            .iter()
            .flat_map(|listener| &listener.groups);
        let mut endpoints = groups.flat_map(|group| group.endpoints.iter());
        endpoints
            .find(|endpoint| endpoint.id.as_str() == id)
            .expect("an endpoint")
            .clone()
    }
}

fn health_of(state: HealthState, rtt_micros: u64) -> AddressHealth {
    AddressHealth {
        state,
        since: Instant::now(),
        since_wall: SystemTime::now(),
        failure: (state == HealthState::Down).then_some(Failure::Refused),
        first_evidence: None,
        rtt: (rtt_micros > 0).then(|| Duration::from_micros(rtt_micros)),
        last_ok: None,
        transitions: 1,
        decided_by_burst: false,
        flaps: Vec::new(),
    }
}

#[test]
fn what_did_not_change_is_shared() {
    let mut case = Case::new(TWO_GROUPS);
    assert!(case.compile());
    assert!(!case.compile(), "nothing differs");
    assert_eq!(case.snapshot.generation, 1);
    let (eu, us) = (case.group("eu"), case.group("us"));
    case.set("10.0.0.1", HealthState::Up, 800);
    assert!(case.compile());
    assert_eq!(case.snapshot.generation, 2);
    assert!(Arc::ptr_eq(&case.group("us"), &us));
    assert!(!Arc::ptr_eq(&case.group("eu"), &eu));
    assert!(
        Arc::ptr_eq(&case.group("eu").selector, &eu.selector),
        "health rebuilds no selector"
    );
    case.lay_out(TWO_GROUPS);
    case.set("10.0.0.1", HealthState::Up, 800);
    assert!(!case.compile(), "the same layout built again");
}

#[test]
fn only_touched_groups_are_looked_at() {
    let mut case = Case::new(TWO_GROUPS);
    case.compile();
    case.set("10.0.0.1", HealthState::Up, 800);
    case.set("10.0.0.4", HealthState::Up, 800);
    let mut touched = Touched::nothing();
    assert!(!case.compile_touched(&touched));
    touched.add(0, 1);
    assert!(case.compile_touched(&touched));
    assert_eq!(case.endpoint("a").health, HealthState::Unknown);
    assert_eq!(case.endpoint("d").health, HealthState::Up);
}

/// Listeners with a group of ten endpoints each, numbered through from 10.0.0.0 on.
fn many(listeners: usize) -> String {
    let mut text = "[[accelerator]]\nname = \"shop\"\naddresses = [\"127.0.0.1\"]\n".to_owned();
    for listener in 0..listeners {
        let endpoint = |number: usize| {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number as u32);
            format!("{{ id = \"{ip}\", address = \"{ip}\" }}")
        };
        let endpoints: Vec<_> = (listener * 10..listener * 10 + 10).map(endpoint).collect();
        text += &format!(
            "[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [{}]\n\
             [[accelerator.listener.endpoint_group]]\nregion = \"eu\"\nendpoints = [{}]\n",
            20_000 + listener,
            endpoints.join(", ")
        );
    }
    text
}

#[test]
fn one_change_among_ten_thousand_endpoints_compiles_one_group() {
    const LISTENERS: usize = 1000;
    const CHANGED: usize = 500;
    let mut case = Case::new(&many(LISTENERS));
    case.compile();
    let mut touched = Touched::nothing();
    touched.add(CHANGED, 0);
    let mut took = Vec::new();
    for round in 0..21 {
        let groups = |case: &Case| {
            let listeners = case.snapshot.listeners.iter();
            listeners
                .map(|l| Arc::clone(&l.groups[0]))
                .collect::<Vec<_>>()
        };
        let before = groups(&case);
        let states = [HealthState::Up, HealthState::Down];
        case.set("10.0.19.140", states[round % 2], 800);
        let began = Instant::now();
        assert!(case.compile_touched(&touched));
        took.push(began.elapsed());
        for (index, (new, old)) in groups(&case).iter().zip(&before).enumerate() {
            assert_eq!(Arc::ptr_eq(new, old), index != CHANGED);
        }
    }
    took.sort();
    println!(
        "one change among {} endpoints: compiled in {:?}, at most {:?}",
        LISTENERS * 10,
        took[10],
        took[20]
    );
    // The best one: a busy machine adds to what it takes, nothing takes away from it.
    assert!(took[0] < std::time::Duration::from_millis(25), "{took:?}");
}

#[test]
fn selectors_follow_ids_weights_and_affinity() {
    let mut case = Case::new(TWO_GROUPS);
    case.compile();
    let before = case.group("eu").selector.clone();
    for (from, to, shared) in [
        ("10.0.0.1\"", "10.0.0.9\"", true),
        ("weight = 0", "weight = 9", false),
        ("id = \"b\"", "id = \"bb\"", false),
        (
            "ports = [4998]",
            "ports = [4998]\nclient_affinity = \"SOURCE_IP\"",
            false,
        ),
    ] {
        let mut case = Case::new(TWO_GROUPS);
        case.compile();
        let before = case.group("eu").selector.clone();
        case.lay_out(&TWO_GROUPS.replace(from, to));
        assert!(case.compile(), "{to}");
        assert_eq!(
            Arc::ptr_eq(&case.group("eu").selector, &before),
            shared,
            "{to}"
        );
    }
    case.lay_out(&TWO_GROUPS.replace("region = \"us\"", "region = \"us\"\ntraffic_dial = 50.0"));
    case.compile();
    assert!(Arc::ptr_eq(&case.group("eu").selector, &before));
}

#[test]
fn available_is_up_with_a_weight_and_no_drain() {
    let mut case = Case::new(TWO_GROUPS);
    case.around.draining = vec!["d".to_owned()];
    case.lay_out(TWO_GROUPS);
    for ip in ["10.0.0.1", "10.0.0.2", "10.0.0.4"] {
        case.set(ip, HealthState::Up, 0);
    }
    case.compile();
    for (id, available) in [("a", true), ("b", false), ("c", false), ("d", false)] {
        assert_eq!(case.endpoint(id).available, available, "{id}");
    }
    assert!(case.endpoint("d").draining);
}

#[test]
fn without_a_check_everything_is_up() {
    let mut case = Case::new(&TWO_GROUPS.replace(
        "region = \"eu\"",
        "region = \"eu\"\nhealth_check = { protocol = \"NONE\" }",
    ));
    case.compile();
    assert!(case.endpoint("a").available);
    assert_eq!(case.endpoint("a").reason, None);
}

#[test]
fn a_name_is_up_while_one_of_its_addresses_is() {
    let ips = |list: &[&str]| {
        list.iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect::<Vec<IpAddr>>()
    };
    let mut case = Case::new(TWO_GROUPS);
    case.compile();
    assert_eq!(
        case.endpoint("c").reason.as_deref(),
        Some("web.test is being resolved")
    );
    let resolved = Resolved {
        addresses: ips(&["10.1.0.1", "10.1.0.2"]),
        unused: 3,
        error: None,
    };
    case.around.resolved.insert("web.test".to_owned(), resolved);
    case.lay_out(TWO_GROUPS);
    case.set("10.1.0.1", HealthState::Down, 0);
    case.compile();
    assert_eq!(case.endpoint("c").health, HealthState::Unknown);
    case.set("10.1.0.2", HealthState::Up, 0);
    case.compile();
    let endpoint = case.endpoint("c");
    assert!(endpoint.available);
    assert_eq!(
        endpoint.reason.as_deref(),
        Some("3 further addresses of web.test are not used")
    );
    case.set("10.1.0.2", HealthState::Down, 0);
    case.compile();
    let endpoint = case.endpoint("c");
    assert_eq!(endpoint.health, HealthState::Down);
    let reason = endpoint.reason.expect("a reason");
    assert!(
        reason.starts_with("connection refused (TCP 10.1.0.1:8080)"),
        "{reason}"
    );
}

#[test]
fn small_moves_of_a_round_trip_make_no_snapshot() {
    let mut case = Case::new(TWO_GROUPS);
    case.set("10.0.0.1", HealthState::Up, 20_000);
    case.compile();
    for (micros, differs) in [
        (20_400, false),
        (21_900, false),
        (23_000, true),
        (21_000, false),
        (19_000, true),
    ] {
        case.set("10.0.0.1", HealthState::Up, micros);
        assert_eq!(case.compile(), differs, "{micros}");
    }
}

#[test]
fn names_and_counters_outlive_generations_until_nobody_holds_them() {
    let mut case = Case::new(TWO_GROUPS);
    case.compile();
    let a = case.endpoint("a");
    let id: AddressId = a.addresses[0].live.id;
    let without = TWO_GROUPS.replace("{ id = \"a\", address = \"10.0.0.1\" }, ", "");
    case.lay_out(&without);
    case.compile();
    case.registry.sweep();
    case.lay_out(TWO_GROUPS);
    case.compile();
    assert!(Arc::ptr_eq(&case.endpoint("a").stats, &a.stats));
    assert_eq!(case.endpoint("a").addresses[0].live.id, id);
    drop(a);
    case.lay_out(&without);
    case.compile();
    case.registry.sweep();
    case.lay_out(TWO_GROUPS);
    case.compile();
    assert_ne!(case.endpoint("a").addresses[0].live.id, id);
}

#[test]
fn disabled_accelerators_are_probed_and_not_served() {
    let mut case =
        Case::new(&TWO_GROUPS.replace("name = \"shop\"", "name = \"shop\"\nenabled = false"));
    case.compile();
    assert!(case.snapshot.listeners.is_empty());
    assert_eq!(case.layout.targets.len(), 3);
}

fn any_state() -> impl Strategy<Value = Option<HealthState>> {
    prop_oneof![
        Just(None),
        Just(Some(HealthState::Unknown)),
        Just(Some(HealthState::Up)),
        Just(Some(HealthState::Down)),
    ]
}

proptest! {
    /// Whatever health says, every group and every endpoint stays, with its weight, address and selector; and compiling step
    /// by step with what was touched says the same as compiling from nothing.
    #[test]
    fn health_never_empties_a_listener(steps in prop::collection::vec(prop::collection::vec(any_state(), 3), 1..12)) {
        let mut case = Case::new(TWO_GROUPS);
        case.compile();
        for states in steps {
            let mut touched = Touched::nothing();
            for (target, state) in states.into_iter().enumerate() {
                let new = state.map(|state| Arc::new(health_of(state, 1000)));
                let state_of = |health: &Option<Arc<AddressHealth>>| health.as_ref().map(|health| health.state);
                if state_of(&new) != state_of(&case.health[target]) {
                    case.layout.shared_by[target].iter().for_each(|spot| touched.add(spot.listener, spot.group));
                }
                case.health[target] = new;
            }
            case.compile_touched(&touched);
            let groups = &case.snapshot.listeners[0].groups;
            let ids: Vec<&str> = groups.iter().flat_map(|g| g.endpoints.iter()).map(|e| e.id.as_str()).collect();
            prop_assert_eq!(ids, ["a", "b", "c", "d"]);
            prop_assert!(groups[0].endpoints[0].is_open() && groups[1].endpoints[1].is_open());
            let generation = case.snapshot.generation;
            prop_assert!(!case.compile(), "untouched groups had changed at generation {}", generation);
        }
    }
}
