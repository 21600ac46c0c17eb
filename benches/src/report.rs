//! Tables that people read, and the same as JSON: medians and spread over the repetitions, and ratios to the peers of the same run.

use std::fmt::Write;

use serde::Serialize;

/// One repetition of one workload against one target.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// The workload.
    pub workload: String,
    /// The target.
    pub target: String,
    /// Operations or Gbit a second; bytes for memory.
    pub rate: f64,
    /// Microseconds of the target's CPU an operation, or seconds a GB; kernel threads included.
    pub cpu: f64,
    /// Median time of an operation, microseconds.
    pub p50: f64,
    /// 99th percentile, microseconds.
    pub p99: f64,
    /// 99.9th percentile, microseconds.
    pub p999: f64,
    /// Operations that failed.
    pub failed: u64,
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Half of the samples are below.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

/// One row of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// The target.
    pub target: String,
    /// See [`Sample::rate`].
    pub rate: Spread,
    /// See [`Sample::cpu`].
    pub cpu: Spread,
    /// Median of the medians, microseconds.
    pub p50: f64,
    /// Median of the 99th percentiles, microseconds.
    pub p99: f64,
    /// Median of the 99.9th percentiles, microseconds.
    pub p999: f64,
    /// All failures.
    pub failed: u64,
}

/// Condenses samples, in the order in which workloads and targets first appear.
pub fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for sample in samples {
        let name = (sample.workload.as_str(), sample.target.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut order: Vec<&str> = names.iter().map(|(workload, _)| *workload).collect();
    order.dedup();
    names.sort_by_key(|(workload, _)| order.iter().position(|w| w == workload));
    names
        .into_iter()
        .map(|(workload, target)| {
            let of = |field: fn(&Sample) -> f64| {
                let chosen = samples
                    .iter()
                    .filter(|s| s.workload == workload && s.target == target);
                Spread::of(chosen.map(field).collect())
            };
            Row {
                workload: workload.to_owned(),
                target: target.to_owned(),
                rate: of(|s| s.rate),
                cpu: of(|s| s.cpu),
                p50: of(|s| s.p50).median,
                p99: of(|s| s.p99).median,
                p999: of(|s| s.p999).median,
                failed: samples
                    .iter()
                    .filter(|s| s.workload == workload && s.target == target)
                    .map(|s| s.failed)
                    .sum(),
            }
        })
        .collect()
}

/// The rows as Markdown, a table a workload, with Portolan's ratio to each target.
pub fn markdown(rows: &[Row], unit: impl Fn(&str) -> (&'static str, &'static str)) -> String {
    let mut text = String::new();
    let mut workloads: Vec<&str> = rows.iter().map(|row| row.workload.as_str()).collect();
    workloads.dedup();
    for workload in workloads {
        let (rate_unit, cpu_unit) = unit(workload);
        let ours = rows
            .iter()
            .find(|r| r.workload == workload && r.target == "portolan");
        let _ = writeln!(text, "\n### {workload}\n");
        let _ = writeln!(
            text,
            "| target | {rate_unit} | (min–max) | {cpu_unit} | p50 µs | p99 µs | p99.9 µs | failed | portolan ÷ it: rate | CPU |"
        );
        let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|---|");
        for row in rows.iter().filter(|row| row.workload == workload) {
            let ratio = |a: Option<f64>, b: f64| {
                a.filter(|_| b > 0.0)
                    .map_or("–".to_owned(), |a| format!("{:.2}", a / b))
            };
            let _ = writeln!(
                text,
                "| {} | {} | {}–{} | {} | {:.0} | {:.0} | {:.0} | {} | {} | {} |",
                row.target,
                number(row.rate.median),
                number(row.rate.min),
                number(row.rate.max),
                number(row.cpu.median),
                row.p50,
                row.p99,
                row.p999,
                row.failed,
                ratio(ours.map(|o| o.rate.median), row.rate.median),
                ratio(ours.map(|o| o.cpu.median), row.cpu.median),
            );
        }
    }
    text
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}
