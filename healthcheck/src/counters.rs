//! What the checker counts, for metrics: relaxed atomics, written by the checker's task alone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use portolan_config::health::Failure;
use portolan_config::stats::Histogram;

/// How a probe ended: the label of `probe_results_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ProbeResult {
    /// It passed.
    Pass,
    /// The port answered with a reset.
    Refused,
    /// Nothing answered in time.
    TimedOut,
    /// The network said that there is no way there.
    Unreachable,
    /// Reset after it was accepted.
    Reset,
    /// Answered, but not what the check asks for.
    Answer,
    /// Could not be made: this host's fault.
    Local,
}

impl ProbeResult {
    /// Every one, in the order of the discriminants.
    pub const ALL: [ProbeResult; 7] = [
        ProbeResult::Pass,
        ProbeResult::Refused,
        ProbeResult::TimedOut,
        ProbeResult::Unreachable,
        ProbeResult::Reset,
        ProbeResult::Answer,
        ProbeResult::Local,
    ];

    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeResult::Pass => "pass",
            ProbeResult::Refused => "refused",
            ProbeResult::TimedOut => "timeout",
            ProbeResult::Unreachable => "unreachable",
            ProbeResult::Reset => "reset",
            ProbeResult::Answer => "answer",
            ProbeResult::Local => "local",
        }
    }
}

impl From<Option<&Failure>> for ProbeResult {
    fn from(failure: Option<&Failure>) -> Self {
        match failure {
            None => ProbeResult::Pass,
            Some(Failure::Refused) => ProbeResult::Refused,
            Some(Failure::TimedOut) => ProbeResult::TimedOut,
            Some(Failure::Unreachable) => ProbeResult::Unreachable,
            Some(Failure::Reset) => ProbeResult::Reset,
            Some(Failure::Answer(_)) => ProbeResult::Answer,
            Some(Failure::Local(_)) => ProbeResult::Local,
        }
    }
}

/// Counters of a checker.
#[derive(Debug, Default)]
pub struct ProbeCounters {
    results: [AtomicU64; ProbeResult::ALL.len()],
    /// Probes and burst connects under way.
    pub in_flight: AtomicUsize,
    /// Probes that are due and wait for one of those to end.
    pub waiting: AtomicUsize,
    /// Probes that were due while the same address had as many under way as it may.
    pub skipped: AtomicU64,
    /// How long after they were due probes began.
    pub lateness: Histogram,
    max_lateness_micros: AtomicU64,
    /// Bursts that lifted the suspicion.
    pub bursts_lifted: AtomicU64,
    /// Bursts that found the endpoint dead.
    pub bursts_down: AtomicU64,
    /// Bursts that this host could not ask.
    pub bursts_undecided: AtomicU64,
    /// Suspicions that found the queue full.
    pub suspicions_dropped: AtomicU64,
}

impl ProbeCounters {
    /// Probes that ended so, burst connects left out.
    pub fn results(&self, result: ProbeResult) -> u64 {
        self.results[result as usize].load(Ordering::Relaxed)
    }

    /// What became of suspicions that were looked into, by label.
    pub fn suspicions(&self) -> [(&'static str, u64); 3] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("lifted", count(&self.bursts_lifted)),
            ("down", count(&self.bursts_down)),
            ("undecided", count(&self.bursts_undecided)),
        ]
    }

    /// The worst lateness since the start.
    pub fn max_lateness(&self) -> Duration {
        Duration::from_micros(self.max_lateness_micros.load(Ordering::Relaxed))
    }

    pub(crate) fn count_result(&self, result: ProbeResult) {
        self.results[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn observe_lateness(&self, late: Duration) {
        self.lateness.observe(late);
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.max_lateness_micros
            .fetch_max(micros, Ordering::Relaxed);
    }
}
