//! What becomes of live flows when their endpoint goes down or is drained: the verdicts of the snapshot, carried out. Stranded flows
//! are let go at a pace, and those on which the endpoint has shown life since are left alone.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use portolan_config::flow::EndCause;
use portolan_config::snapshot::{AddressId, Fate, Verdict};

use crate::flow::{Abreast, Flow, Phase};
use crate::list;
use crate::sys;
use crate::worker::{Handle, Timer, Worker};

/// Resets are released in batches this far apart.
const BATCH: Duration = Duration::from_millis(10);

/// From the decision to the first reset: a fault can be known before a flow that lives has had anything to say.
const GRACE: Duration = Duration::from_millis(80);

/// The kernel's clock for `TCP_INFO` counts in jiffies, 10 ms on the coarsest configuration: what was heard just before a fault can
/// look as if it had been heard this much after it.
const JIFFY: Duration = Duration::from_millis(10);

/// Flows waiting to be let go.
#[derive(Default)]
pub(crate) struct Strands {
    /// The number of the last verdict that was carried out.
    seen: u64,
    stranded: Vec<Stranded>,
    /// When the last batch was released.
    last_batch: Option<Instant>,
    drains: Vec<(AddressId, Instant, Instant)>,
}

/// The flows of one address that are being reset.
struct Stranded {
    address: AddressId,
    silent_since: Instant,
    began: Instant,
    /// Between two resets of this worker, by `reset_over`.
    spacing: Duration,
    /// Resets a second of the whole PoP.
    rate: u32,
    released: usize,
    flows: Vec<Handle>,
}

impl Worker {
    /// Carries out the verdicts that are new to this worker.
    pub(crate) fn pass_verdicts(&mut self, verdicts: &[Verdict]) {
        let first_new = verdicts.partition_point(|verdict| verdict.number <= self.strands.seen);
        for verdict in &verdicts[first_new..] {
            self.strands.seen = verdict.number;
            // What was decided before about this address is overtaken.
            self.strands
                .stranded
                .retain(|s| s.address != verdict.address);
            self.strands
                .drains
                .retain(|(address, ..)| *address != verdict.address);
            match verdict.fate {
                Fate::Keep => {}
                Fate::Drain { until: None } => {}
                Fate::Drain { until: Some(until) } => {
                    self.strands
                        .drains
                        .push((verdict.address, verdict.decided, until));
                    self.arm(until, Timer::Drain(verdict.address));
                }
                Fate::Reset {
                    silent_since,
                    over,
                    rate,
                } => self.strand(verdict, silent_since, over, rate),
            }
        }
    }

    fn strand(&mut self, verdict: &Verdict, silent_since: Instant, over: Duration, rate: u32) {
        let flows = self.flows_of(verdict.address, verdict.decided);
        if flows.is_empty() {
            return;
        }
        let count = u32::try_from(flows.len()).unwrap_or(u32::MAX);
        if self.strands.stranded.is_empty() {
            self.strands.last_batch = None;
            self.arm(self.now + GRACE, Timer::Strand);
        }
        self.strands.stranded.push(Stranded {
            address: verdict.address,
            silent_since,
            began: self.now + GRACE,
            spacing: over / count,
            rate,
            released: 0,
            flows,
        });
    }

    /// The flows of an address that were opened before `decided`.
    fn flows_of(&mut self, address: AddressId, decided: Instant) -> Vec<Handle> {
        let Some(route) = self.routes.get(&address) else {
            return Vec::new();
        };
        let keys = list::keys::<Flow, Abreast>(&mut self.flows, route.flows.get());
        keys.into_iter()
            .filter(|key| self.flows[*key as usize].started < decided)
            .map(|key| self.handle(key))
            .collect()
    }

    /// Lets go of the stranded flows whose turn has come.
    pub(crate) fn release_stranded(&mut self) {
        let now = self.now;
        let since = self
            .strands
            .last_batch
            .replace(now)
            .map_or(BATCH, |last| now.saturating_duration_since(last));
        let mut due = Vec::new();
        for stranded in &mut self.strands.stranded {
            // The rate is the PoP's, over all addresses that fell; each worker takes its part of it.
            let share = f64::from(stranded.rate) / f64::from(self.shared.workers);
            let room = ((share * since.as_secs_f64()).ceil() as usize).saturating_sub(due.len());
            let elapsed = now.saturating_duration_since(stranded.began);
            let allowed = if now < stranded.began {
                0
            } else if stranded.spacing.is_zero() {
                usize::MAX
            } else {
                (elapsed.as_nanos() / stranded.spacing.as_nanos()) as usize + 1
            };
            let upto = allowed
                .min(stranded.flows.len())
                .min(stranded.released + room);
            let batch = &stranded.flows[stranded.released.min(upto)..upto];
            due.extend(batch.iter().map(|handle| (*handle, stranded.silent_since)));
            stranded.released = upto;
        }
        self.strands.stranded.retain(|s| s.released < s.flows.len());
        for (handle, silent_since) in due {
            if self.is_stranded(handle, silent_since) {
                self.end(handle.key, EndCause::StrandedReset);
            }
        }
        if !self.strands.stranded.is_empty() {
            self.arm(now + BATCH, Timer::Strand);
        }
    }

    /// Whether a flow's endpoint has sent and acknowledged nothing since.
    fn is_stranded(&mut self, handle: Handle, silent_since: Instant) -> bool {
        let now = self.now;
        let Some(flow) = self
            .flow(handle)
            .filter(|flow| matches!(flow.phase, Phase::Relaying))
        else {
            return false;
        };
        let Some(endpoint) = &flow.endpoint else {
            return false;
        };
        match sys::tcp_state(endpoint.as_fd()) {
            Ok(state) => now
                .checked_sub(state.heard)
                .is_none_or(|heard| heard <= silent_since + JIFFY),
            Err(_) => true,
        }
    }

    /// What is left of a drain for a flow that was opened at `started`.
    pub(crate) fn drain_left(&self, address: AddressId, started: Instant) -> Option<Duration> {
        let mut drains = self.strands.drains.iter();
        let (.., until) =
            drains.find(|(drained, decided, _)| *drained == address && started < *decided)?;
        Some(until.saturating_duration_since(self.now))
    }

    /// Lets the flows of an address that no verdict will name finish, for so long.
    pub(crate) fn drain_departed(&mut self, address: AddressId, left: Duration) {
        let Some(until) = self.now.checked_add(left) else {
            return;
        };
        if self.strands.drains.iter().all(|(a, ..)| *a != address) {
            // Whenever they were opened: all of them were before it left.
            self.strands.drains.push((address, until, until));
            self.arm(until, Timer::Drain(address));
        }
    }

    /// The time of a drain is up.
    pub(crate) fn end_drain(&mut self, address: AddressId) {
        let now = self.now;
        let over = self
            .strands
            .drains
            .iter()
            .position(|(drained, _, until)| *drained == address && *until <= now);
        let Some(index) = over else {
            return;
        };
        let (_, decided, _) = self.strands.drains.swap_remove(index);
        for handle in self.flows_of(address, decided) {
            self.end(handle.key, EndCause::DrainTimeout);
        }
    }
}
