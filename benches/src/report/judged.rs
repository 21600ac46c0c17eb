//! What Portolan set itself beside its peers, and whether a run met it. All are ratios within one run, as machines differ.

use serde::Serialize;

use super::Row;

/// One goal and its figure.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// What is compared with what.
    pub what: &'static str,
    /// What was measured.
    pub figure: f64,
    /// Its unit; empty for a ratio.
    pub unit: &'static str,
    /// Whether a larger figure is a better one.
    pub more_is_better: bool,
    /// What must be met.
    pub must: f64,
    /// What is wanted.
    pub goal: Option<f64>,
    /// The generator or the endpoint, not the target, was the limit of one of the rows.
    pub bound: bool,
}

impl Judgement {
    pub(super) fn sign(&self) -> &'static str {
        if self.more_is_better { "≥" } else { "≤" }
    }

    fn meets(&self, bound: f64) -> bool {
        if self.more_is_better {
            self.figure >= bound
        } else {
            self.figure <= bound
        }
    }

    /// In a word.
    pub fn verdict(&self) -> &'static str {
        match (
            self.meets(self.must),
            self.goal.map(|goal| self.meets(goal)),
        ) {
            (false, _) => "**missed**",
            (true, Some(true)) => "goal met",
            (true, Some(false) | None) => "met",
        }
    }
}

/// Judges a run by every goal whose rows it has.
pub fn judge(rows: &[Row]) -> Vec<Judgement> {
    let run = Measured(rows);
    let mut all = Vec::new();
    bulk(&run, &mut all);
    requests(&run, &mut all);
    flows(&run, &mut all);
    envoy(&run, &mut all);
    datagrams(&run, &mut all);
    all.into_iter().flatten().collect()
}

const OURS: &str = "portolan";
const DEFAULTS: [&str; 2] = ["haproxy", "nginx"];
const AT_ANY_SETTING: [&str; 5] = ["haproxy", "haproxy-256k", "nginx", "nginx-256k", "envoy"];

type Goals = Vec<Option<Judgement>>;

fn bulk(run: &Measured<'_>, all: &mut Goals) {
    let (rate, cpu) = (Figure::Rate, Figure::Cpu);
    for (workload, against, figure, what, must, goal) in [
        (
            "bulk-1",
            &["haproxy"][..],
            rate,
            "bulk, 1 stream, Gbit/s to HAProxy",
            1.3,
            1.5,
        ),
        (
            "bulk-1",
            &["haproxy"],
            cpu,
            "bulk, 1 stream, CPU a GB to HAProxy",
            0.7,
            0.55,
        ),
        (
            "bulk-64",
            &["haproxy"],
            rate,
            "bulk, 64 streams, Gbit/s to HAProxy",
            1.2,
            1.4,
        ),
        (
            "bulk-64",
            &["nginx"],
            rate,
            "bulk, 64 streams, Gbit/s to nginx",
            1.1,
            1.3,
        ),
        (
            "bulk-64",
            &["haproxy"],
            cpu,
            "bulk, 64 streams, CPU a GB to HAProxy",
            0.6,
            0.5,
        ),
        (
            "bulk-1",
            &AT_ANY_SETTING,
            rate,
            "bulk, 1 stream, Gbit/s to the best peer at any setting",
            0.85,
            1.05,
        ),
        (
            "bulk-64",
            &AT_ANY_SETTING,
            rate,
            "bulk, 64 streams, Gbit/s to the best peer at any setting",
            0.95,
            1.1,
        ),
    ] {
        all.push(run.judge(workload, against, figure, what, must, goal));
    }
}

fn requests(run: &Measured<'_>, all: &mut Goals) {
    let (rate, cpu) = (Figure::Rate, Figure::Cpu);
    for (workload, against, figure, what, must, goal) in [
        (
            "requests-64",
            &DEFAULTS[..],
            rate,
            "keep-alive, 64 connections, requests/s to the best of HAProxy and nginx",
            0.95,
            1.05,
        ),
        (
            "requests-64",
            &DEFAULTS,
            cpu,
            "keep-alive, 64 connections, CPU a request to the best of HAProxy and nginx",
            1.05,
            0.95,
        ),
        (
            "requests-2000",
            &["haproxy"],
            rate,
            "2,000 busy connections, requests/s to HAProxy",
            1.1,
            1.35,
        ),
        (
            "requests-2000",
            &["haproxy"],
            cpu,
            "2,000 busy connections, CPU a request to HAProxy",
            0.85,
            0.6,
        ),
        (
            "requests-2000",
            &["haproxy"],
            Figure::P99,
            "2,000 busy connections, p99 to HAProxy",
            1.0,
            0.8,
        ),
    ] {
        all.push(run.judge(workload, against, figure, what, must, goal));
    }
    all.push(run.added_latency());
}

fn flows(run: &Measured<'_>, all: &mut Goals) {
    all.push(run.judge(
        "connects-32",
        &DEFAULTS,
        Figure::Rate,
        "new connections/s to the best of HAProxy and nginx",
        0.88,
        1.05,
    ));
    all.push(run.judge(
        "idle",
        &["haproxy"],
        Figure::Memory,
        "memory an idle flow to HAProxy",
        0.3,
        0.1,
    ));
}

fn envoy(run: &Measured<'_>, all: &mut Goals) {
    let rate = Figure::Rate;
    for (workload, figure, what, must, goal) in [
        ("connects-32", rate, "new connections/s to Envoy", 1.3, 1.6),
        (
            "requests-64",
            rate,
            "keep-alive, 64 connections, requests/s to Envoy",
            1.2,
            1.4,
        ),
        (
            "bulk-64",
            rate,
            "bulk, 64 streams, Gbit/s to Envoy",
            1.2,
            1.4,
        ),
        (
            "idle",
            Figure::Memory,
            "memory an idle flow to Envoy",
            0.3,
            0.1,
        ),
    ] {
        all.push(run.judge(workload, &["envoy"], figure, what, must, goal));
    }
}

/// Against nginx, on one core each.
fn datagrams(run: &Measured<'_>, all: &mut Goals) {
    for (workload, what, must, goal) in [
        ("udp-100", "UDP, 100 flows, datagrams/s to nginx", 1.0, 1.15),
        (
            "udp-10000",
            "UDP, 10,000 flows, datagrams/s to nginx",
            1.15,
            1.4,
        ),
        (
            "udp-trains",
            "UDP, trains of 16 split by the kernel, datagrams/s to nginx",
            1.4,
            1.4,
        ),
        (
            "udp-trains-offload",
            "UDP, trains of 16 split by the device, datagrams/s to nginx",
            1.4,
            3.0,
        ),
        ("udp-new", "UDP, new flows/s to nginx", 1.0, 1.0),
        (
            "udp-15000",
            "UDP, 15,000 flows, datagrams/s to nginx",
            1.0,
            1.0,
        ),
    ] {
        all.push(run.judge(workload, &["nginx"], Figure::Rate, what, must, goal));
    }
    let memory = run.row("udp-memory", OURS);
    all.push(memory.map(|row| Judgement {
        what: "UDP, memory a flow with its socket, kernel included",
        figure: row.rate.median,
        unit: " bytes",
        more_is_better: false,
        must: 4096.0,
        goal: None,
        bound: false,
    }));
}

#[derive(Clone, Copy, PartialEq)]
enum Figure {
    Rate,
    Cpu,
    P99,
    Memory,
}

impl Figure {
    fn of(self, row: &Row) -> Option<f64> {
        match self {
            Figure::Rate | Figure::Memory => Some(row.rate.median),
            Figure::Cpu => row.cpu.map(|cpu| cpu.median),
            Figure::P99 => row.p99,
        }
    }
}

struct Measured<'a>(&'a [Row]);

impl Measured<'_> {
    fn row(&self, workload: &str, target: &str) -> Option<&Row> {
        let mut rows = self.0.iter();
        rows.find(|row| row.workload == workload && row.target == target)
    }

    /// Portolan to the best of `against`; nothing where one of them was not measured.
    fn judge(
        &self,
        workload: &str,
        against: &[&str],
        figure: Figure,
        what: &'static str,
        must: f64,
        goal: f64,
    ) -> Option<Judgement> {
        let more_is_better = figure == Figure::Rate;
        let ours = self.row(workload, OURS)?;
        let theirs = against.iter().map(|target| self.row(workload, target));
        let theirs: Vec<&Row> = theirs.collect::<Option<_>>()?;
        let figures: Option<Vec<f64>> = theirs.iter().map(|row| figure.of(row)).collect();
        let best = figures?
            .into_iter()
            .reduce(|a, b| if more_is_better { a.max(b) } else { a.min(b) })?;
        Some(Judgement {
            what,
            figure: figure.of(ours)? / best,
            unit: "",
            more_is_better,
            must,
            goal: Some(goal),
            bound: figure == Figure::Rate && (ours.bound || theirs.iter().any(|row| row.bound)),
        })
    }

    /// What a proxy adds to the median of one connection's requests: at most HAProxy's, and nginx's is the goal.
    fn added_latency(&self) -> Option<Judgement> {
        let p50 = |target: &str| self.row("requests-1", target)?.p50;
        let direct = p50("direct")?;
        Some(Judgement {
            what: "added p50 on one keep-alive connection, against HAProxy's and nginx's",
            figure: p50(OURS)? - direct,
            unit: " µs",
            more_is_better: false,
            must: p50("haproxy")? - direct,
            goal: Some(p50("nginx")? - direct),
            bound: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Spread;

    fn row(workload: &str, target: &str, rate: f64, p50: f64) -> Row {
        let spread = Spread {
            median: rate,
            min: rate,
            max: rate,
        };
        Row {
            workload: workload.to_owned(),
            target: target.to_owned(),
            rate: spread,
            cpu: None,
            p50: Some(p50),
            p99: None,
            p999: None,
            failed: 0,
            resident: None,
            generator_busy: 0.0,
            target_busy: None,
            bound: false,
        }
    }

    #[test]
    fn a_goal_is_judged_against_the_best_of_the_peers_and_only_if_all_were_there() {
        let mut rows = vec![
            row("connects-32", "portolan", 90.0, 0.0),
            row("connects-32", "haproxy", 80.0, 0.0),
        ];
        assert!(judge(&rows).is_empty());
        rows.push(row("connects-32", "nginx", 100.0, 0.0));
        let judged = judge(&rows);
        assert_eq!(judged.len(), 1);
        assert!((judged[0].figure - 0.9).abs() < 1e-9);
        assert_eq!(judged[0].verdict(), "met");
    }

    #[test]
    fn latency_is_what_is_added_to_direct() {
        let rows = [
            ("direct", 60.0),
            ("portolan", 95.0),
            ("haproxy", 90.0),
            ("nginx", 80.0),
        ]
        .map(|(target, p50)| row("requests-1", target, 1.0, p50));
        let judged = judge(&rows);
        assert_eq!((judged[0].figure, judged[0].must), (35.0, 30.0));
        assert_eq!(judged[0].verdict(), "**missed**");
    }
}
