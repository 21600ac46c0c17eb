//! What a process holds of the machine: memory of its own, descriptors, threads.

use std::fs;

use serde::Serialize;

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gauges {
    /// RssAnon, in KiB.
    pub anonymous_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Tasks of its runtime, where they were asked for.
    pub tasks: u64,
}

impl Gauges {
    /// Looks; `None` when the process is gone.
    pub(super) fn of(pid: u32) -> Option<Gauges> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Gauges {
            anonymous_kib: number("RssAnon:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            threads: number("Threads:")?,
            tasks: 0,
        })
    }

    /// Whether there are no more descriptors, threads and tasks than there were.
    pub(super) fn is_within(self, before: Gauges) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.tasks <= before.tasks
    }

    /// The larger of each.
    pub(super) fn max(self, other: Gauges) -> Gauges {
        Gauges {
            anonymous_kib: self.anonymous_kib.max(other.anonymous_kib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            tasks: self.tasks.max(other.tasks),
        }
    }
}

/// The median of what a process held.
pub(super) fn median_kib(gauges: &[Gauges]) -> u64 {
    let mut sizes: Vec<u64> = gauges.iter().map(|gauges| gauges.anonymous_kib).collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or_default()
}
