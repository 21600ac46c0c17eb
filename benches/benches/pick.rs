//! What a pick costs: `cargo bench -p portolan-benches --bench pick`. Snapshots of 10, 1,000 and 100,000 endpoints (up to 10,000 a
//! group), both affinities, all healthy, half of each group down, and the nearest group down; with the hash of the 5-tuple and
//! the walker that connect keeps, as a new flow pays for it. The baseline beside it is the flow's hash alone, which every
//! consistent choice pays. Then what building a selector costs, which
//! control pays when ids or weights change.

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portolan_benches::listener::{Health, SPOKEN_TO, first, id, listener, weight};
use portolan_config::address::ClientAddr;
use portolan_config::model::ClientAffinity;
use portolan_config::selector::Selector;
use portolan_proxy::pick;

/// Endpoints by group.
const SIZES: [(&str, usize, usize); 3] = [("10", 1, 10), ("1000", 1, 1000), ("100000", 10, 10_000)];
const AFFINITIES: [ClientAffinity; 2] = [ClientAffinity::None, ClientAffinity::SourceIp];

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

/// Times `pick` for one client after the other, no two the same.
fn each_flow<T>(bencher: &mut criterion::Bencher<'_>, pick: impl Fn(ClientAddr) -> T) {
    let mut next = 0u32;
    bencher.iter(|| {
        next = next.wrapping_add(0x9e37_79b9);
        pick(ClientAddr((Ipv4Addr::from(next), 40_000).into()))
    });
}

criterion_group!(benches, picks, walks, builds);
criterion_main!(benches);
