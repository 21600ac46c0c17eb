//! The book of a run: every sample, written as Markdown for people, SVG charts that it shows, and JSON with samples and configurations.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::measure::Plan;
use crate::options::Options;
use crate::peer::{THREADS, Target};
use crate::report::{self, Row, Sample};
use crate::udp;
use crate::workload::{self, Workload};

/// The file of it that can be read again.
pub const FILE: &str = "load.json";

/// What was measured, and by which commands.
#[derive(Default, Serialize, Deserialize)]
pub struct Book {
    /// In the order in which they were given.
    pub commands: Vec<String>,
    /// What could not be measured, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Every repetition.
    pub samples: Vec<Sample>,
}

impl Book {
    /// A new one; or that of earlier parts of this run, without what is measured again.
    pub fn open(options: &Options, again: &[Box<dyn Workload>]) -> Result<Self> {
        let mut book = match &options.out {
            Some(out) if options.add && out.join(FILE).exists() => Self::read(&out.join(FILE))?,
            Some(_) | None => Self::default(),
        };
        let again: Vec<String> = again.iter().map(|workload| workload.name()).collect();
        book.samples.retain(|s| !again.contains(&s.workload));
        book.commands.push(command());
        Ok(book)
    }

    /// Says at once, and in the report, what will be missing.
    pub fn leave_out(&mut self, what: String) {
        eprintln!("\nLEFT OUT {what}");
        self.left_out.push(what);
    }

    /// What was written.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes it all into a folder.
    pub fn write(&self, out: &Path, plan: &Plan, targets: &[Target]) -> Result<()> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        let rows = report::rows(&self.samples);
        fs::write(out.join(FILE), self.json(plan, targets, &rows)?)?;
        fs::write(out.join("README.md"), self.markdown(plan, targets, &rows))?;
        for workload in workload::all() {
            let name = workload.name();
            let rows: Vec<&Row> = rows.iter().filter(|r| r.workload == name).collect();
            if !rows.is_empty() {
                let svg = report::chart(&name, workload.units(), &rows);
                fs::write(out.join(format!("{name}.svg")), svg)?;
            }
        }
        Ok(())
    }

    fn json(&self, plan: &Plan, targets: &[Target], rows: &[Row]) -> Result<String> {
        let targets: Vec<Value> = targets
            .iter()
            .map(|t| {
                json!({ "name": t.kind.name(), "version": t.version, "command": t.command,
                        "configuration": t.configuration, "configuration_udp": udp::configuration(t.kind) })
            })
            .collect();
        Ok(serde_json::to_string_pretty(&json!({
            "host": host(),
            "commit": commit(),
            "commands": self.commands,
            "left_out": self.left_out,
            "repetitions": plan.reps,
            "seconds": plan.length.as_secs_f64(),
            "targets": targets,
            "judged": report::judge(rows),
            "rows": rows,
            "samples": self.samples,
        }))?)
    }

    fn markdown(&self, plan: &Plan, targets: &[Target], rows: &[Row]) -> String {
        let mut text = self.heading(plan, targets);
        let judged = report::judge(rows);
        if !judged.is_empty() {
            let _ = write!(
                text,
                "\n## Judged\n\nPortolan beside its peers in this run.\n\n{}",
                report::judgements(&judged)
            );
        }
        let workloads = workload::all();
        text.push_str("\n## Summary\n\n");
        text += &report::summary(rows, &workloads);
        text.push_str("\n## Tables\n");
        text += &report::tables(rows, &workloads);
        text.push_str("\n## Charts\n\n");
        for name in workloads.iter().map(|workload| workload.name()) {
            if rows.iter().any(|row| row.workload == name) {
                let _ = writeln!(text, "![{name}]({name}.svg)\n");
            }
        }
        text.push_str("## Configurations\n");
        for target in targets.iter().filter(|t| !t.command.is_empty()) {
            let (name, command) = (target.kind.name(), &target.command);
            let _ = write!(
                text,
                "\n### {name}\n\n`{command}`\n\n```\n{}\n```\n",
                target.configuration.trim()
            );
            let udp = udp::configuration(target.kind);
            if !udp.is_empty() {
                let _ = write!(text, "\nUDP on one core:\n\n```\n{}\n```\n", udp.trim());
            }
        }
        text
    }

    fn heading(&self, plan: &Plan, targets: &[Target]) -> String {
        let mut text = format!(
            "# Beside the peers\n\nMade by `{}` at commit {}.\n\n* host: {}\n* {} repetitions of {} s, interleaved, order reversed each time; medians, with the smallest and the largest.\n\
             * Every target has {THREADS} threads (UDP: one, on a core of its own); generator, endpoints and target share the host's CPUs over loopback. A rate says how good a \
             target is only in comparison with the others of the same run.\n\
             * CPU is that of the target's processes and of the kernel's worker and softirq threads, per unit of work. RSS is the target's after the run.\n\
             * Portolan runs with health checks, metrics, flow records of every flow, API and store on.\n",
            self.commands.join("`, `"),
            commit(),
            host(),
            plan.reps,
            plan.length.as_secs_f64()
        );
        for target in targets.iter().filter(|t| !t.version.is_empty()) {
            let _ = writeln!(text, "* {}: {}", target.kind.name(), target.version);
        }
        for what in &self.left_out {
            let _ = writeln!(text, "* left out: {}", what.replace('\n', " "));
        }
        text
    }
}

/// What was typed, as far as it matters.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("portolan-load {}", arguments.join(" "))
}

/// Of the tree, as far as it is one of git's.
fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .output();
    let said = git.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).trim().to_owned()
    });
    if said.is_empty() {
        "unknown".into()
    } else {
        said
    }
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
