//! Writes a run's report: Markdown for people, SVG charts that it shows, JSON with every sample and configuration.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::json;

use crate::measure::Plan;
use crate::peer::{THREADS, Target};
use crate::report::{self, Row, Sample};
use crate::workload::Workload;

/// What there is to tell.
pub struct Report<'a> {
    /// How it was run.
    pub plan: &'a Plan,
    /// Through whom.
    pub targets: &'a [Target],
    /// What.
    pub workloads: &'a [Box<dyn Workload>],
    /// Every repetition.
    pub samples: &'a [Sample],
    /// And condensed.
    pub rows: &'a [Row],
}

impl Report<'_> {
    /// Writes it all into a folder.
    pub fn write(&self, out: &Path) -> Result<()> {
        fs::write(out.join("load.json"), self.json()?)?;
        fs::write(out.join("README.md"), self.markdown())?;
        for workload in self.workloads {
            let name = workload.name();
            let rows: Vec<&Row> = self.rows.iter().filter(|r| r.workload == name).collect();
            if !rows.is_empty() {
                let svg = report::chart(&name, workload.units(), &rows);
                fs::write(out.join(format!("{name}.svg")), svg)?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Result<String> {
        let targets: Vec<_> = self
            .targets
            .iter()
            .map(|t| {
                json!({ "name": t.kind.name(), "version": t.version, "command": t.command,
                        "configuration": t.configuration })
            })
            .collect();
        Ok(serde_json::to_string_pretty(&json!({
            "host": host(),
            "command": command(),
            "repetitions": self.plan.reps,
            "seconds": self.plan.length.as_secs_f64(),
            "targets": targets,
            "judged": report::judge(self.rows),
            "rows": self.rows,
            "samples": self.samples,
        }))?)
    }

    fn markdown(&self) -> String {
        let mut text = self.heading();
        let judged = report::judge(self.rows);
        if !judged.is_empty() {
            let _ = write!(
                text,
                "\n## Judged\n\nRatios of Portolan to its peers in this run.\n\n{}",
                report::judgements(&judged)
            );
        }
        text.push_str("\n## Summary\n\n");
        text += &report::summary(self.rows, self.workloads);
        text.push_str("\n## Tables\n");
        text += &report::tables(self.rows, self.workloads);
        text.push_str("\n## Charts\n\n");
        for workload in self.workloads {
            let name = workload.name();
            if self.rows.iter().any(|row| row.workload == name) {
                let _ = writeln!(text, "![{name}]({name}.svg)\n");
            }
        }
        text.push_str("## Configurations\n");
        for target in self.targets.iter().filter(|t| !t.command.is_empty()) {
            let (name, command, file) =
                (target.kind.name(), &target.command, &target.configuration);
            let _ = write!(
                text,
                "\n### {name}\n\n`{command}`\n\n```\n{}\n```\n",
                file.trim()
            );
        }
        text
    }

    fn heading(&self) -> String {
        let mut text = format!(
            "# Beside the peers\n\nMade by `{}`.\n\n* host: {}\n* {} repetitions of {} s, interleaved, order reversed each time; medians, with the smallest and the largest.\n\
             * Every target has {THREADS} threads; generator, endpoints and target share the host's CPUs over loopback. A rate says how good a \
             target is only in comparison with the others of the same run.\n\
             * CPU is that of the target's processes and of the kernel's worker and softirq threads, per unit of work. RSS is the target's after the run.\n\
             * Portolan runs with health checks, metrics, flow records of every flow, API and store on.\n",
            command(),
            host(),
            self.plan.reps,
            self.plan.length.as_secs_f64()
        );
        for target in self.targets.iter().filter(|t| !t.version.is_empty()) {
            let _ = writeln!(text, "* {}: {}", target.kind.name(), target.version);
        }
        text
    }
}

/// What was typed, as far as it matters.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("portolan-load {}", arguments.join(" "))
}

fn host() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = Command::new("uname").args(["-sr"]).output();
    let kernel = kernel.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).into_owned()
    });
    let congestion = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    format!(
        "{cpus} CPUs ({model}), {}, congestion control {}",
        kernel.trim(),
        congestion.unwrap_or_default().trim()
    )
}
