//! What was measured, condensed: medians and spread over the repetitions of a run.

mod chart;
mod judged;
mod markdown;

use serde::{Deserialize, Serialize};

pub use self::chart::chart;
pub use self::judged::{Judgement, judge};
pub use self::markdown::{judgements, summary, tables};

/// One repetition of one workload against one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The workload.
    pub workload: String,
    /// The target.
    pub target: String,
    /// In the workload's unit.
    pub rate: f64,
    /// CPU of the target and of the kernel's threads per unit of work.
    pub cpu: Option<f64>,
    /// Median time of an operation, microseconds.
    pub p50: Option<f64>,
    /// 99th percentile, microseconds.
    pub p99: Option<f64>,
    /// 99.9th percentile, microseconds.
    pub p999: Option<f64>,
    /// Operations that failed.
    pub failed: u64,
    /// Resident memory of the target after the run, bytes.
    pub resident: Option<u64>,
    /// The part of the time in which the generator's threads were on a CPU.
    pub generator_busy: f64,
    /// The part of the time in which the target's core worked; where it has one of its own, beside a generator that never sleeps.
    pub target_busy: Option<f64>,
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the samples are below.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
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
    pub cpu: Option<Spread>,
    /// Median of the medians, microseconds.
    pub p50: Option<f64>,
    /// Median of the 99th percentiles, microseconds.
    pub p99: Option<f64>,
    /// Median of the 99.9th percentiles, microseconds.
    pub p999: Option<f64>,
    /// All failures.
    pub failed: u64,
    /// Median of the resident memories, bytes.
    pub resident: Option<f64>,
    /// Median of [`Sample::generator_busy`].
    pub generator_busy: f64,
    /// Median of [`Sample::target_busy`].
    pub target_busy: Option<f64>,
    /// The generator (or the endpoint) was what limited the rate, so that the row is a floor and not the target's rate.
    pub bound: bool,
}

/// A generator that is on a CPU for this part of the time could not have asked for more.
const BUSY: f64 = 0.95;

/// A target that gets this near to what is had without one was not what limited the rate.
const NEAR_DIRECT: f64 = 0.9;

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
    let mut rows: Vec<Row> = names
        .iter()
        .filter_map(|(workload, target)| {
            let of = samples
                .iter()
                .filter(|s| s.workload == *workload && s.target == *target);
            row(&of.collect::<Vec<_>>())
        })
        .collect();
    mark_bound(&mut rows);
    rows
}

fn row(samples: &[&Sample]) -> Option<Row> {
    let first = samples.first()?;
    let of = |field: fn(&Sample) -> Option<f64>| {
        Spread::of(samples.iter().filter_map(|sample| field(sample)))
    };
    let median = |field| of(field).map(|spread| spread.median);
    Some(Row {
        workload: first.workload.clone(),
        target: first.target.clone(),
        rate: of(|s| Some(s.rate))?,
        cpu: of(|s| s.cpu),
        p50: median(|s| s.p50),
        p99: median(|s| s.p99),
        p999: median(|s| s.p999),
        failed: samples.iter().map(|s| s.failed).sum(),
        resident: median(|s| s.resident.map(|bytes| bytes as f64)),
        generator_busy: median(|s| Some(s.generator_busy))?,
        target_busy: median(|s| s.target_busy),
        bound: false,
    })
}

fn mark_bound(rows: &mut [Row]) {
    let direct: Vec<(String, f64)> = rows
        .iter()
        .filter(|row| row.target == "direct")
        .map(|row| (row.workload.clone(), row.rate.median))
        .collect();
    // Only rates are bound by a generator; a figure without CPU (memory, a time) is not one.
    for row in rows.iter_mut().filter(|row| row.cpu.is_some()) {
        let ceiling = direct
            .iter()
            .find(|(workload, _)| *workload == row.workload);
        let near = ceiling.is_some_and(|(_, rate)| row.rate.median >= rate * NEAR_DIRECT);
        let was_limit = match row.target_busy {
            Some(busy) => busy < BUSY,
            None => near || row.generator_busy >= BUSY,
        };
        row.bound = row.target != "direct" && was_limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: &str, rate: f64, generator_busy: f64) -> Sample {
        Sample {
            workload: "requests-1".to_owned(),
            target: target.to_owned(),
            rate,
            cpu: Some(1.0),
            p50: None,
            p99: None,
            p999: None,
            failed: 1,
            resident: None,
            generator_busy,
            target_busy: None,
        }
    }

    #[test]
    fn a_row_is_the_median_of_its_samples_and_counts_all_failures() {
        let samples = [3.0, 1.0, 2.0].map(|rate| sample("portolan", rate, 0.5));
        let rows = rows(&samples);
        assert_eq!(rows.len(), 1);
        let expected = Spread {
            median: 2.0,
            min: 1.0,
            max: 3.0,
        };
        assert_eq!((rows[0].rate, rows[0].failed), (expected, 3));
        assert!(!rows[0].bound);
    }

    #[test]
    fn a_generator_that_is_the_bottleneck_is_named() {
        let rows = rows(&[
            sample("direct", 100.0, 1.0),
            sample("portolan", 91.0, 0.5),
            sample("nginx", 50.0, 0.96),
            sample("haproxy", 50.0, 0.5),
        ]);
        let bound: Vec<bool> = rows.iter().map(|row| row.bound).collect();
        assert_eq!(bound, [false, true, true, false]);
    }

    #[test]
    fn a_core_of_its_own_that_is_not_busy_tells_of_the_generator() {
        let with = |target: &str, busy| Sample {
            target_busy: Some(busy),
            ..sample(target, 99.0, 1.0)
        };
        let rows = rows(&[
            sample("direct", 100.0, 1.0),
            with("portolan", 0.5),
            with("nginx", 0.99),
        ]);
        let bound: Vec<bool> = rows.iter().map(|row| row.bound).collect();
        assert_eq!(bound, [false, true, false]);
    }
}
