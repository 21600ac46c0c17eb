//! What a pick costs: `cargo bench -p portolan-benches --bench pick`. Snapshots of 10, 1,000 and 100,000 endpoints (up to 10,000 a
//! group), both affinities, all healthy, half of each group down, and the nearest group down; with the hash of the 5-tuple and
//! the walker that connect keeps, as a new flow pays for it. The baseline beside it is the flow's hash alone, which every
//! consistent choice pays. Then what building a selector costs, which
//! control pays when ids or weights change.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portolan_config::address::{ClientAddr, ListenerAddr};
use portolan_config::health::HealthState;
use portolan_config::model::{
    ClientAffinity, GroupSettings, ListenerSettings, OnUnhealthy, Protocol, ProxyProtocol,
};
use portolan_config::selector::Selector;
use portolan_config::snapshot::{
    AddressId, AddressLive, AddressSnapshot, EndpointSnapshot, GroupSnapshot, ListenerSnapshot,
};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{
    AcceleratorName, EndpointId, PortRange, PortSet, Region, TrafficDial, Weight,
};
use portolan_proxy::pick;

/// Endpoints by group.
const SIZES: [(&str, usize, usize); 3] = [("10", 1, 10), ("1000", 1, 1000), ("100000", 10, 10_000)];
const AFFINITIES: [ClientAffinity; 2] = [ClientAffinity::None, ClientAffinity::SourceIp];

/// Which endpoints are up.
#[derive(Clone, Copy)]
enum Health {
    All,
    Half,
    NotTheNearestGroup,
}

impl Health {
    fn is_up(self, group: usize, endpoint: usize) -> bool {
        match self {
            Health::All => true,
            Health::Half => endpoint.is_multiple_of(2),
            Health::NotTheNearestGroup => group > 0,
        }
    }
}

fn picks(c: &mut Criterion) {
    let mut benches = c.benchmark_group("pick");
    for (name, groups, size) in SIZES {
        for affinity in AFFINITIES {
            for (what, health) in [("up", Health::All), ("half_down", Health::Half)] {
                let listener = listener(affinity, groups, size, health);
                let id = BenchmarkId::new(format!("{}/{what}", affinity.as_str()), name);
                benches.bench_function(id, |b| each_flow(b, |client| first(&listener, client)));
            }
        }
    }
    let listener = listener(
        ClientAffinity::SourceIp,
        10,
        10_000,
        Health::NotTheNearestGroup,
    );
    let id = BenchmarkId::new("SOURCE_IP/nearest_group_down", "100000");
    benches.bench_function(id, |b| each_flow(b, |client| first(&listener, client)));
    benches.bench_function("baseline/hash_alone", |b| {
        each_flow(b, |client| pick::key(&listener, client, SPOKEN_TO))
    });
    benches.finish();
}

/// All candidates of a flow, as one whose connects all fail asks for them.
fn walks(c: &mut Criterion) {
    let mut benches = c.benchmark_group("walk_16_candidates");
    for (name, groups, size) in SIZES {
        let listener = listener(ClientAffinity::SourceIp, groups, size, Health::All);
        benches.bench_function(name, |b| {
            each_flow(b, |client| {
                let mut walk = pick::candidates(&listener, pick::key(&listener, client, SPOKEN_TO));
                std::iter::from_fn(|| walk.next(&listener)).count()
            });
        });
    }
    benches.finish();
}

fn builds(c: &mut Criterion) {
    let mut benches = c.benchmark_group("build_selector");
    benches.sample_size(10);
    for (affinity, size) in [
        (ClientAffinity::None, 64),
        (ClientAffinity::None, 10_000),
        (ClientAffinity::SourceIp, 64),
        (ClientAffinity::SourceIp, 1000),
        (ClientAffinity::SourceIp, 10_000),
    ] {
        let weights: Vec<_> = (0..size).map(|i| (id(i), weight(i))).collect();
        let id = BenchmarkId::new(affinity.as_str(), size);
        benches.bench_function(id, |b| {
            b.iter(|| Selector::build(black_box(&weights), affinity))
        });
    }
    benches.finish();
}

const SPOKEN_TO: ListenerAddr = ListenerAddr(SocketAddr::new(
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    443,
));

/// Times `pick` for one client after the other, no two the same.
fn each_flow<T>(bencher: &mut criterion::Bencher<'_>, pick: impl Fn(ClientAddr) -> T) {
    let mut next = 0u32;
    bencher.iter(|| {
        next = next.wrapping_add(0x9e37_79b9);
        pick(ClientAddr((Ipv4Addr::from(next), 40_000).into()))
    });
}

fn first(listener: &ListenerSnapshot, client: ClientAddr) -> Option<pick::Candidate> {
    pick::candidates(listener, pick::key(listener, client, SPOKEN_TO)).next(listener)
}

fn id(i: usize) -> EndpointId {
    EndpointId::new(format!("i-{i:017x}"))
}

fn weight(i: usize) -> Weight {
    Weight([128, 128, 64, 255][i % 4])
}

fn listener(
    affinity: ClientAffinity,
    groups: usize,
    size: usize,
    health: Health,
) -> ListenerSnapshot {
    let weights: Vec<_> = (0..size).map(|i| (id(i), weight(i))).collect();
    let selector = Arc::new(Selector::build(&weights, affinity));
    let group = |group| {
        let endpoints = (0..size).map(|i| endpoint(i, health.is_up(group, i)));
        Arc::new(GroupSnapshot {
            region: Region::new(format!("region-{group}")),
            // Nearer groups leave something to the next, so that dials are walked.
            traffic_dial: TrafficDial::from_percent(if group == 9 { 100.0 } else { 50.0 })
                .expect("a percentage"),
            distance: Some(Duration::from_millis(10)),
            port_overrides: Vec::new(),
            settings: Arc::new(GroupSettings {
                proxy_protocol: ProxyProtocol::Off,
                on_unhealthy: OnUnhealthy::Reset,
                reset_over: Duration::from_secs(1),
                reset_rate: 2000,
                drain_timeout: Duration::from_secs(300),
            }),
            endpoints: endpoints.collect::<Vec<_>>().into(),
            selector: selector.clone(),
        })
    };
    ListenerSnapshot {
        accelerator: AcceleratorName::new("shop"),
        protocol: Protocol::Tcp,
        addresses: Vec::new(),
        ports: PortSet::new(vec![PortRange::new(443, 443).expect("a range")]).expect("a set"),
        client_affinity: affinity,
        settings: Arc::new(ListenerSettings::default()),
        groups: (0..groups).map(group).collect(),
        stats: Arc::new(ListenerStats::default()),
    }
}

fn endpoint(i: usize, is_up: bool) -> EndpointSnapshot {
    let health = if is_up {
        HealthState::Up
    } else {
        HealthState::Down
    };
    let address = AddressSnapshot {
        ip: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i as u32)),
        health,
        rtt: None,
        live: Arc::new(AddressLive::new(AddressId(i as u64))),
    };
    EndpointSnapshot {
        id: id(i),
        weight: weight(i),
        port: None,
        max_flows: 0,
        draining: false,
        available: is_up,
        health,
        reason: None,
        addresses: vec![address],
        stats: Arc::new(EndpointStats::default()),
    }
}

criterion_group!(benches, picks, walks, builds);
criterion_main!(benches);
