//! What is measured: a list of workloads, each run against every target that can carry it. A new one is a type of its own and a
//! line in [`all`].

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::peer::Target;
use crate::service::Service;
use crate::{control, picks, tcp, udp};

/// One thing to measure.
pub trait Workload {
    /// Its name, on the command line and in the tables.
    fn name(&self) -> String;
    /// What it does, in a sentence for the report.
    fn says(&self) -> String;
    /// What its figures are.
    fn units(&self) -> Units;
    /// The service that it drives: targets that lack it are left out.
    fn service(&self) -> Service;
    /// Whether each run has a target that was just started.
    fn wants_fresh_target(&self) -> bool {
        false
    }
    /// Whether a long run tells more than one of the length that was asked for, times this.
    fn length(&self, asked: Duration) -> Duration {
        asked
    }
    /// Runs once. `None` where this target cannot be measured so.
    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>>;
}

/// What a run is given.
pub struct Run<'a> {
    /// Whom it goes through.
    pub target: &'a Target,
    /// The target's folder, with its configuration.
    pub folder: &'a Path,
    /// The binary of Portolan, for targets of a workload's own.
    pub portolan: &'a Path,
    /// How long it lasts.
    pub length: Duration,
    /// How many flows are held open by those that hold flows open.
    pub idle: usize,
}

impl Run<'_> {
    /// Where the target takes a service.
    pub fn to(&self, service: Service) -> Result<std::net::SocketAddr> {
        let address = self.target.address(service);
        address.ok_or_else(|| anyhow::anyhow!("{} has no {service:?}", self.target.kind.name()))
    }
}

/// The figures of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Units {
    /// Of the rate.
    pub rate: &'static str,
    /// Whether a larger rate is a better one.
    pub more_is_better: bool,
    /// Of the CPU per unit of work, and what seconds per unit are multiplied by.
    pub cpu: Option<(&'static str, f64)>,
}

impl Units {
    /// Operations a second.
    pub const OPERATIONS: Units = Units {
        rate: "ops/s",
        more_is_better: true,
        cpu: Some(("CPU µs/op", 1e6)),
    };
    /// Bytes moved.
    pub const BULK: Units = Units {
        rate: "Gbit/s",
        more_is_better: true,
        cpu: Some(("CPU s/GB", 1.0)),
    };
}

/// What a run came to.
pub struct Outcome {
    /// In [`Units::rate`].
    pub rate: f64,
    /// Units of work done, which the target's CPU is divided by.
    pub work: f64,
    /// How long it took.
    pub took: Duration,
    /// Nanoseconds an operation, where that was measured.
    pub times: Option<Histogram<u64>>,
    /// Operations that failed.
    pub failed: u64,
    /// Threads of the generator: one that is always busy could not have asked for more.
    pub threads: usize,
    /// What the target used, where the workload has one of its own.
    pub own: Option<Own>,
}

/// What a target of a workload's own used.
pub struct Own {
    /// CPU time, with that of its core's softirq thread.
    pub cpu: Duration,
    /// The part of the time in which its only core worked. The generator of such a workload never sleeps, so this tells who was the limit.
    pub busy: Option<f64>,
    /// Resident memory after the run, bytes.
    pub resident: Option<u64>,
}

/// All workloads, in the order of the report.
pub fn all() -> Vec<Box<dyn Workload>> {
    let families = [tcp::all(), udp::all(), control::all(), picks::all()];
    families.into_iter().flatten().collect()
}
