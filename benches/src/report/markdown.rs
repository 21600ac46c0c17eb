//! The rows as Markdown, which is what a terminal shows as well: a table a workload, with Portolan's ratio to each target.

use std::fmt::Write;

use super::{Judgement, Row};
use crate::workload::Workload;

const BOUND: &str =
    "\n¹ The generator or the endpoint was the bottleneck: the rate is a floor of the target's.\n";

/// A table for each workload that has rows.
pub fn tables(rows: &[Row], workloads: &[Box<dyn Workload>]) -> String {
    let mut text = String::new();
    for workload in workloads {
        let name = workload.name();
        let rows: Vec<&Row> = rows.iter().filter(|row| row.workload == name).collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n### {name}\n\n{}.\n\n", sentence(&workload.says()));
            table(&mut text, &rows, workload.as_ref());
        }
    }
    text
}

/// One line a workload, one column a target: medians of the rates, and below them CPU per unit of work.
pub fn summary(rows: &[Row], workloads: &[Box<dyn Workload>]) -> String {
    let mut targets: Vec<&str> = Vec::new();
    for row in rows {
        if !targets.contains(&row.target.as_str()) {
            targets.push(&row.target);
        }
    }
    let mut head = vec!["", "unit"];
    head.extend(&targets);
    let head: Vec<String> = head.into_iter().map(String::from).collect();
    let mut text = String::new();
    line(&mut text, &head);
    line(
        &mut text,
        &head.iter().map(|_| "---".to_owned()).collect::<Vec<_>>(),
    );
    for workload in workloads {
        let (name, units) = (workload.name(), workload.units());
        let find = |target: &&str| {
            let mut rows = rows.iter();
            rows.find(|row| row.workload == name && row.target == **target)
        };
        if targets.iter().find_map(find).is_none() {
            continue;
        }
        let rates = targets
            .iter()
            .map(|t| number(find(t).map(|row| row.rate.median)));
        let mut cells = vec![name.clone(), units.rate.to_owned()];
        cells.extend(rates);
        line(&mut text, &cells);
        if let Some((unit, _)) = units.cpu {
            let cpu = |row: &Row| row.cpu.filter(|_| row.resident.is_some());
            let mut cells = vec![String::new(), unit.to_owned()];
            cells.extend(
                targets
                    .iter()
                    .map(|t| number(find(t).and_then(cpu).map(|c| c.median))),
            );
            line(&mut text, &cells);
        }
    }
    text
}

fn table(text: &mut String, rows: &[&Row], workload: &dyn Workload) {
    let units = workload.units();
    let has_cpu = rows.iter().any(|row| row.cpu.is_some());
    let has_times = rows.iter().any(|row| row.p50.is_some());
    let ours = rows.iter().find(|row| row.target == "portolan");
    let mut head = vec!["target".to_owned(), units.rate.to_owned(), "min–max".into()];
    if has_cpu {
        head.push(units.cpu.map_or("CPU", |(name, _)| name).to_owned());
    }
    if has_times {
        head.extend(["p50 µs", "p99 µs", "p99.9 µs"].map(String::from));
    }
    head.extend(["RSS MiB", "failed", "Portolan ÷ it"].map(String::from));
    if has_cpu {
        head.push("CPU".to_owned());
    }
    line(text, &head);
    line(
        text,
        &head.iter().map(|_| "---".to_owned()).collect::<Vec<_>>(),
    );
    for row in rows {
        let mut cells = vec![
            format!("{}{}", row.target, if row.bound { " ¹" } else { "" }),
            number(Some(row.rate.median)),
            format!(
                "{}–{}",
                number(Some(row.rate.min)),
                number(Some(row.rate.max))
            ),
        ];
        if has_cpu {
            cells.push(number(
                row.cpu
                    .map(|cpu| cpu.median)
                    .filter(|_| row.resident.is_some()),
            ));
        }
        if has_times {
            cells.extend([row.p50, row.p99, row.p999].map(number));
        }
        cells.push(number(row.resident.map(|bytes| bytes / f64::from(1 << 20))));
        cells.push(row.failed.to_string());
        cells.push(ratio(ours.map(|o| o.rate.median), Some(row.rate.median)));
        if has_cpu {
            let cpu = |row: &Row| row.cpu.map(|cpu| cpu.median);
            let theirs = cpu(row).filter(|_| row.resident.is_some());
            cells.push(ratio(ours.and_then(|o| cpu(o)), theirs));
        }
        line(text, &cells);
    }
    if rows.iter().any(|row| row.bound) {
        text.push_str(BOUND);
    }
}

/// What was set as a goal, and what was measured.
pub fn judgements(judgements: &[Judgement]) -> String {
    let mut text = String::new();
    line(
        &mut text,
        &["measured", "figure", "must", "goal", ""].map(String::from),
    );
    line(&mut text, &["---"; 5].map(String::from));
    for judgement in judgements {
        let bound = |value: Option<f64>| {
            value.map_or("–".to_owned(), |v| format!("{} {v:.2}", judgement.sign()))
        };
        line(
            &mut text,
            &[
                format!(
                    "{}{}",
                    judgement.what,
                    if judgement.bound { " ¹" } else { "" }
                ),
                format!("{:.2}{}", judgement.figure, judgement.unit),
                bound(Some(judgement.must)),
                bound(judgement.goal),
                judgement.verdict().to_owned(),
            ],
        );
    }
    if judgements.iter().any(|judgement| judgement.bound) {
        text.push_str(BOUND);
    }
    text
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    let ratio = ours.zip(theirs).filter(|(_, theirs)| *theirs > 0.0);
    ratio.map_or("–".to_owned(), |(ours, theirs)| {
        format!("{:.2}", ours / theirs)
    })
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(v) if v >= 1000.0 => format!("{v:.0}"),
        Some(v) if v >= 10.0 => format!("{v:.1}"),
        Some(v) => format!("{v:.3}"),
    }
}
