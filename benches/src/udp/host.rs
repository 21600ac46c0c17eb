//! The machine of a run: which core the generator has and which the target, what the kernel's own memory is.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The generator's core, with the endpoint.
const OURS: usize = 0;

/// The target's core.
pub(super) const THEIRS: usize = 1;

/// Whether each of the two can have a core of its own.
pub(super) fn has_two_cores() -> bool {
    thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Pins this thread.
pub(super) fn pin_generator() -> Result<()> {
    if !has_two_cores() {
        eprintln!(
            "one core only: the generator and its targets share it, and the rates say little"
        );
        return Ok(());
    }
    let mut cores = CpuSet::new();
    cores.set(OURS);
    sched_setaffinity(None, &cores).context("cannot pin the generator to a core")
}

/// What the kernel holds for itself.
pub(super) struct Kernel {
    slab: u64,
}

impl Kernel {
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(Self {
            slab: kib.context("/proc/meminfo has no Slab")? * 1024,
        })
    }

    /// Bytes that it has grown by.
    pub(super) fn since(&self, before: &Self) -> u64 {
        self.slab.saturating_sub(before.slab)
    }
}

/// CPU time of a core's softirq thread: work that its processes caused and could not do at once.
pub(super) fn softirq(core: usize) -> Duration {
    let name = format!("ksoftirqd/{core}");
    let Ok(processes) = fs::read_dir("/proc") else {
        return Duration::ZERO;
    };
    let is = |path: &std::path::Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let mut paths = processes.flatten().map(|entry| entry.path());
    let Some(path) = paths.find(|path| is(path)) else {
        return Duration::ZERO;
    };
    let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
