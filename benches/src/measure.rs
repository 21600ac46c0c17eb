//! Runs workloads against targets, interleaved, and accounts for the CPU and memory that each run took.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cpu;
use crate::peer::{Kind, Target};
use crate::report::Sample;
use crate::workload::{Outcome, Run, Workload};
use crate::write::Book;

/// What is to be measured.
pub struct Plan {
    /// Repetitions.
    pub reps: usize,
    /// How long each takes.
    pub length: Duration,
    /// Flows of the workloads that hold flows.
    pub idle: usize,
    /// The binary of Portolan.
    pub portolan: PathBuf,
    /// Where targets keep their files; goes with the plan's owner.
    pub folder: PathBuf,
}

/// The endpoints' process; ends with its owner.
pub struct Endpoints(Child);

impl Endpoints {
    /// Starts this program again as endpoints.
    pub fn start() -> Result<Endpoints> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("endpoints")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("the endpoints' output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the endpoints did not start");
        Ok(Endpoints(child))
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Plan {
    /// Starts a target.
    pub fn start(&self, kind: Kind) -> Result<Target> {
        Target::start(kind, &self.portolan, &self.folder)
    }

    /// All repetitions of a workload against all targets.
    pub fn measure(
        &self,
        workload: &dyn Workload,
        targets: &mut [Target],
        book: &mut Book,
    ) -> Result<()> {
        let name = workload.name();
        let mut left_out = Vec::new();
        for rep in 0..self.reps {
            // Interleaved, and backwards every other time, so that a drift of the machine meets all alike.
            let mut order: Vec<usize> = (0..targets.len()).collect();
            if rep % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let target = &mut targets[index];
                let kind = target.kind;
                if !kind.has(workload.service()) || left_out.contains(&kind) {
                    continue;
                }
                eprint!("\r{name} {}/{} {:<14}", rep + 1, self.reps, kind.name());
                let sample = self.sample(workload, target);
                match sample.with_context(|| format!("{name} through {}", kind.name())) {
                    Ok(sample) => book.samples.extend(sample),
                    Err(error) if matches!(kind, Kind::Direct | Kind::Portolan) => {
                        return Err(error);
                    }
                    // A peer that cannot be measured so costs its row, not the run.
                    Err(error) => {
                        left_out.push(kind);
                        book.leave_out(format!("{error:#}"));
                    }
                }
            }
        }
        eprintln!();
        Ok(())
    }

    fn sample(&self, workload: &dyn Workload, target: &mut Target) -> Result<Option<Sample>> {
        if workload.wants_fresh_target() {
            target.restart(&self.portolan, &self.folder)?;
        }
        let target = &*target;
        let run = Run {
            target,
            folder: &self.folder.join(target.kind.name()),
            portolan: &self.portolan,
            length: workload.length(self.length),
            idle: self.idle,
        };
        let used = || target.pid().map_or(Duration::ZERO, cpu::family) + cpu::kernel();
        let (before, own_before) = (used(), cpu::own());
        let Some(outcome) = workload.run(&run)? else {
            return Ok(None);
        };
        let cpu = used().saturating_sub(before);
        let own = cpu::own().saturating_sub(own_before);
        Ok(Some(sample(workload, target, &outcome, cpu, own)))
    }
}

fn sample(
    workload: &dyn Workload,
    target: &Target,
    outcome: &Outcome,
    cpu: Duration,
    own: Duration,
) -> Sample {
    let time = |percentile: f64| {
        let times = outcome.times.as_ref();
        times.map(|times| times.value_at_percentile(percentile) as f64 / 1000.0)
    };
    let per_work = workload.units().cpu.filter(|_| outcome.work > 0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let available = outcome.took.as_secs_f64() * outcome.threads.clamp(1, cores) as f64;
    let (cpu, resident, target_busy) = match &outcome.own {
        Some(own) => (own.cpu, own.resident, own.busy),
        None => (cpu, target.pid().map(cpu::resident), None),
    };
    Sample {
        workload: workload.name(),
        target: target.kind.name().to_owned(),
        rate: outcome.rate,
        cpu: per_work.map(|(_, scale)| cpu.as_secs_f64() * scale / outcome.work),
        p50: time(50.0),
        p99: time(99.0),
        p999: time(99.9),
        failed: outcome.failed,
        resident,
        generator_busy: own.as_secs_f64() / available,
        target_busy,
    }
}
