//! Thousands of targets.

use std::net::{Ipv4Addr, SocketAddr};

use portolan_config::stats::Histogram;
use socket2::{Domain, Socket, Type};

use super::*;

/// A listener that takes whatever comes to any address of 127/8 and drops it; its own thread, so that it does not compete for the
/// test's runtime.
fn sink() -> u16 {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener
        .bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())
        .unwrap();
    listener.listen(4096).unwrap();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    let listener = std::net::TcpListener::from(listener);
    std::thread::spawn(move || listener.incoming().for_each(drop));
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_targets_are_probed_on_time() {
    const TARGETS: u32 = 10_000;
    const INTERVAL: Duration = Duration::from_secs(10);
    let port = sink();
    let checker = start();
    // A machine that starves the listener drops SYNs; the second retransmission comes after 3 s.
    let patient = HealthCheck {
        interval: INTERVAL,
        timeout: INTERVAL / 2,
        ..check(Probe::Tcp)
    };
    let targets: Vec<_> = (0..TARGETS)
        .map(|n| {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + n);
            target((address, port).into(), patient.clone())
        })
        .collect();
    let began = Instant::now();
    checker.set_targets(targets.clone());
    let mut unknown: HashSet<_> = targets.iter().collect();
    until("a first result of each", || {
        unknown.retain(|target| checker.health(target).unwrap().state == HealthState::Unknown);
        unknown.is_empty()
    })
    .await;
    let first = began.elapsed();
    let counters = checker.counters();
    let (before, _) = counters.lateness.read();
    let (cpu_before, steady) = (cpu_time(), Instant::now());
    let results = || {
        ProbeResult::ALL
            .iter()
            .map(|result| counters.results(*result))
            .sum::<u64>()
    };
    // The second probes come from half an interval on, spread evenly: a fifth of them is enough to judge by.
    until("a fifth of the second ones", || {
        results() >= u64::from(TARGETS) * 6 / 5
    })
    .await;
    let (elapsed, results) = (began.elapsed(), results());
    let (after, _) = counters.lateness.read();
    let cores = (cpu_time() - cpu_before).as_secs_f64() / steady.elapsed().as_secs_f64();
    let late: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    println!(
        "first results of all after {first:?}; then p99 of lateness {}, {cores:.2} cores with the endpoints' own part, skipped {}",
        quantile(&late, 0.99),
        counters.skipped.load(Ordering::Relaxed),
    );
    // One at once, one at 0.5 to 1.5 intervals, then one an interval: no more, however slow this machine is.
    let most = 2.0
        + (elapsed.as_secs_f64() / INTERVAL.as_secs_f64() - 0.5)
            .max(0.0)
            .floor();
    assert!(
        results as f64 <= f64::from(TARGETS) * most,
        "{results} probes in {elapsed:?}"
    );
}

/// What this process has used so far, user and system.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name may hold spaces; utime and stime are the 12th and 13th fields behind it (proc(5)), in hundredths of a second.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// The bucket's bound, as text.
fn quantile(counts: &[u64], share: f64) -> String {
    let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
    let mut sum = 0;
    let bucket = counts.iter().position(|count| {
        sum += count;
        sum >= wanted
    });
    match bucket.and_then(|bucket| Histogram::BOUNDS.get(bucket)) {
        Some(bound) => format!("at most {} ms", bound * 1e3),
        None => "above 5 s".to_owned(),
    }
}
