//! The table of a run: medians over the repetitions, and what they are beside nginx's.

use std::fmt::Write;
use std::time::Duration;

use super::generator::Done;

/// What one repetition came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figure {
    /// Round trips a second, or bytes.
    value: f64,
    is_bytes: bool,
    /// Microseconds of the target's core for each datagram that it forwarded: two a round trip.
    cpu: Option<f64>,
    /// The part of the time in which the target's core worked.
    busy: Option<f64>,
    p50: Option<f64>,
    p99: Option<f64>,
    lost: u64,
    sent: u64,
}

impl Figure {
    pub(super) fn of(done: &Done, cpu: Duration, took: Duration) -> Self {
        let time = |percentile| done.times.value_at_percentile(percentile) as f64 / 1000.0;
        let worked = !cpu.is_zero();
        Self {
            value: done.answered as f64 / done.took.as_secs_f64(),
            is_bytes: false,
            cpu: worked.then(|| cpu.as_secs_f64() * 1e6 / (2 * done.answered) as f64),
            busy: worked.then(|| cpu.as_secs_f64() / took.as_secs_f64()),
            p50: Some(time(50.0)),
            p99: Some(time(99.0)),
            lost: done.lost,
            sent: done.answered + done.lost,
        }
    }

    pub(super) fn bytes(value: f64) -> Self {
        Self {
            value,
            is_bytes: true,
            ..Self::default()
        }
    }
}

struct Row {
    workload: String,
    says: String,
    target: String,
    figures: Vec<Figure>,
}

/// The table.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn add(
        &mut self,
        workload: &str,
        says: &str,
        target: &str,
        suffix: &str,
        figure: Figure,
    ) {
        let workload = format!("{workload}{suffix}");
        let same = |row: &&mut Row| row.workload == workload && row.target == target;
        match self.rows.iter_mut().find(same) {
            Some(row) => row.figures.push(figure),
            None => self.rows.push(Row {
                says: if suffix.is_empty() {
                    says.to_owned()
                } else {
                    String::new()
                },
                target: target.to_owned(),
                figures: vec![figure],
                workload,
            }),
        }
    }

    /// As Markdown.
    pub fn markdown(&self, host: &str) -> String {
        let mut text = format!(
            "# UDP on one core\n\n{host}\n\nOne worker a target, on a core of its own; generator and endpoint on another one. Medians, \
             (least–most). CPU is of the target's core for each datagram forwarded, two a round trip. Where its core is not busy all \
             the time, the generator was the limit, and CPU says more than the rate.\n"
        );
        let mut workloads: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !workloads.contains(&row.workload.as_str()) {
                workloads.push(&row.workload);
            }
        }
        for workload in workloads {
            self.write(&mut text, workload);
        }
        text
    }

    fn write(&self, text: &mut String, workload: &str) {
        let rows = || self.rows.iter().filter(|row| row.workload == workload);
        let says = rows().map(|row| row.says.as_str()).next().unwrap_or("");
        let separator = if says.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "\n### {workload}{separator}{says}\n");
        let nginx = rows().find(|row| row.target == "nginx");
        let bytes = rows().any(|row| row.figures.iter().any(|figure| figure.is_bytes));
        if bytes {
            let _ = writeln!(
                text,
                "| target | bytes | | beside nginx |\n|---|---|---|---|"
            );
        } else {
            let _ = writeln!(
                text,
                "| target | round trips/s | | beside nginx | CPU µs/datagram | beside nginx | core busy | p50 µs | p99 µs | lost |\n|---|---|---|---|---|---|---|---|---|---|"
            );
        }
        for row in rows() {
            let value = |row: &Row| median(row.figures.iter().map(|f| f.value));
            let cpu = |row: &Row| median(row.figures.iter().filter_map(|f| f.cpu));
            let beside = |of: &dyn Fn(&Row) -> f64| match nginx.map(of) {
                Some(theirs) if theirs > 0.0 => format!("{:.2}", of(row) / theirs),
                Some(_) | None => "–".to_owned(),
            };
            let all = row.figures.iter().map(|f| f.value);
            let least = all.clone().fold(f64::INFINITY, f64::min);
            let most = all.fold(0.0, f64::max);
            let _ = write!(
                text,
                "| {} | {:.0} | {least:.0}–{most:.0} | {} |",
                row.target,
                value(row),
                beside(&value)
            );
            if bytes {
                let _ = writeln!(text);
                continue;
            }
            let of =
                |field: fn(&Figure) -> Option<f64>| median(row.figures.iter().filter_map(field));
            let lost: u64 = row.figures.iter().map(|f| f.lost).sum();
            let sent: u64 = row.figures.iter().map(|f| f.sent).sum();
            let _ = writeln!(
                text,
                " {:.2} | {} | {:.0} % | {:.0} | {:.0} | {lost} of {sent} |",
                cpu(row),
                beside(&cpu),
                of(|f| f.busy) * 100.0,
                of(|f| f.p50),
                of(|f| f.p99),
            );
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
