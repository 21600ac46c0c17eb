//! The table of UDP's flows without any socket: `cargo bench -p portolan-benches --bench flow_table`. What a datagram of a flow that is there
//! costs (find, touch), what a new flow costs, what a flow's end costs by its idle timeout, with up to 100,000 flows; and the memory
//! that they take.

use std::fs;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portolan_proxy::flow_table::{CARRIED_BYTES, Table, Tuple};

const FLOWS: [u32; 3] = [100, 10_000, 100_000];

const IDLE: Duration = Duration::from_secs(30);

/// As large as what the proxy carries of a flow.
type Carried = (NonZeroU64, [u64; CARRIED_BYTES / 8 - 1]);

const CARRIED: Carried = (NonZeroU64::MIN, [0; CARRIED_BYTES / 8 - 1]);

fn tuple(number: u32) -> Tuple {
    let client = SocketAddr::from((
        Ipv4Addr::from(0x0a00_0000 + number / 4),
        1024 + number as u16,
    ));
    let local = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 53));
    Tuple {
        client: client.into(),
        local: local.into(),
    }
}

fn filled(flows: u32, now: Instant) -> Table<Carried> {
    let mut table = Table::new(now);
    for number in 0..flows {
        table.insert(tuple(number), None, CARRIED, IDLE, now);
    }
    table
}

/// Each in an order in which no two neighbours in memory follow one another.
fn scattered(flows: u32) -> impl FnMut() -> u32 {
    let mut at = 0u32;
    move || {
        at = at.wrapping_add(0x9e37_79b1);
        ((u64::from(at) * u64::from(flows)) >> 32) as u32
    }
}

fn steady(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table/datagram");
    group.throughput(Throughput::Elements(1));
    for flows in FLOWS {
        let now = Instant::now();
        let mut table = filled(flows, now);
        let mut next = scattered(flows);
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter(|| {
                let id = table.find(&tuple(next()), None);
                let id = id.expect("every flow is there");
                table.touch(black_box(id), now);
            });
        });
    }
    group.finish();
}

fn new_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table/new");
    for flows in FLOWS {
        group.throughput(Throughput::Elements(flows.into()));
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter_batched(
                Instant::now,
                |now| filled(flows, now),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn ends(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table/idle");
    for flows in FLOWS {
        group.throughput(Throughput::Elements(flows.into()));
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter_batched(
                || {
                    let now = Instant::now();
                    (filled(flows, now), now)
                },
                |(mut table, now)| {
                    let mut ended = 0;
                    // As its driver does: it looks again when the table says so.
                    let mut at = now;
                    while ended < flows {
                        at += IDLE / 8;
                        for id in table.expired(at, |_| IDLE, |_, _| {}) {
                            table.remove(id);
                            ended += 1;
                        }
                    }
                    table
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Printed, as criterion measures no memory.
fn memory(_: &mut Criterion) {
    for flows in FLOWS.into_iter().filter(|flows| *flows >= 10_000) {
        let before = resident();
        let table = filled(flows, Instant::now());
        let grown = resident().saturating_sub(before);
        println!(
            "flow_table/memory/{flows}: {:.0} bytes a flow resident, of which {} are an entry and its part of the index",
            grown as f64 / f64::from(flows),
            Table::<Carried>::BYTES_A_FLOW,
        );
        black_box(table);
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

criterion_group!(benches, memory, steady, new_flows, ends);
criterion_main!(benches);
