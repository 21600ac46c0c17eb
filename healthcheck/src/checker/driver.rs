//! The checker's one task: owns every entry, one heap of timers, and the probes under way. All decisions are made in the sans-IO
//! parts; here are the clock and the tasks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::health::Failure;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::entry::Entry;
use super::{Inbox, Shared};
use crate::counters::ProbeResult;
use crate::probe::{self, Finding, TlsClients};
use crate::suspicion::Decision;
use crate::target::ProbeTarget;
use crate::view::Heirs;

/// Burst connects under way at once. Their own, beside those of probes: a region that dies with 170 endpoints is asked at once,
/// however many probes wait for its timeouts.
const BURST_CONNECTS: usize = 512;

/// When the next look is taken whether a burst connect has room.
const BURST_RETRY: Duration = Duration::from_millis(5);

/// Names an entry for the life of the task, so that late timers and results find the right one or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct EntryId(u64);

/// What a task under way is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Probe { sent: Instant, brief: bool },
    Burst { number: u64 },
}

#[derive(Debug)]
struct Running {
    entry: EntryId,
    purpose: Purpose,
    abort: AbortHandle,
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    tls: Arc<TlsClients>,
    max_in_flight: usize,
    rng: SmallRng,
    entries: HashMap<EntryId, Entry>,
    ids: HashMap<ProbeTarget, EntryId>,
    next_id: u64,
    /// At most one valid timer an entry, [`Entry::armed`]; others are passed over when they go off.
    timers: BinaryHeap<Reverse<(Instant, EntryId)>>,
    /// Probes that are due and find no room, in the order in which they fell due; each entry once at most.
    waiting: VecDeque<EntryId>,
    tasks: JoinSet<Finding>,
    running: HashMap<Id, Running>,
    probes_under_way: usize,
    bursts_under_way: usize,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, tls: TlsClients, max_in_flight: usize) -> Self {
        Self {
            shared,
            tls: Arc::new(tls),
            max_in_flight: max_in_flight.max(1),
            rng: SmallRng::from_rng(&mut rand::rng()),
            entries: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            timers: BinaryHeap::new(),
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            probes_under_way: 0,
            bursts_under_way: 0,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let next = self.timers.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.on_ended(ended),
                () = self.shared.posted.notified() => self.on_posted(),
                () = sleep_until(next), if next.is_some() => {}
            }
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.on_ended(ended);
            }
            self.run_timers();
            self.start_waiting();
            let counters = &self.shared.counters;
            counters
                .in_flight
                .store(self.running.len(), Ordering::Relaxed);
            counters
                .waiting
                .store(self.waiting.len(), Ordering::Relaxed);
        }
    }

    fn on_posted(&mut self) {
        let Inbox {
            wanted,
            suspicions,
            requests,
        } = std::mem::take(&mut *self.shared.inbox());
        if let Some(wanted) = wanted {
            self.reconcile(&wanted);
        }
        for suspicion in suspicions {
            let Some(id) = self.ids.get(&suspicion.target).copied() else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if let Some(decision) = entry.on_suspicion(suspicion) {
                self.on_decision(id, decision);
            }
            self.arm(id);
        }
        let now = Instant::now();
        for target in requests {
            let Some(id) = self.ids.get(&target).copied() else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.schedule.hasten(now);
            self.arm(id);
        }
    }

    /// Makes the entries those that are wanted.
    fn reconcile(&mut self, wanted: &HashSet<ProbeTarget>) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let added = self.added(wanted, now, wall);
        let gone: HashSet<EntryId> = self
            .ids
            .extract_if(|target, _| !wanted.contains(target))
            .map(|(_, id)| id)
            .collect();
        self.entries.retain(|id, _| !gone.contains(id));
        for running in self.running.values().filter(|r| gone.contains(&r.entry)) {
            running.abort.abort();
        }
        for entry in added {
            let id = EntryId(self.next_id);
            self.next_id += 1;
            self.shared.view.store(&entry.target, entry.health());
            self.ids.insert(entry.target.clone(), id);
            self.entries.insert(id, entry);
            self.arm(id);
        }
    }

    fn added(
        &mut self,
        wanted: &HashSet<ProbeTarget>,
        now: Instant,
        wall: SystemTime,
    ) -> Vec<Entry> {
        let added: Vec<_> = wanted
            .iter()
            .filter(|t| !self.ids.contains_key(*t))
            .cloned()
            .collect();
        if added.is_empty() {
            return Vec::new();
        }
        let heirs = Heirs::new(
            self.entries.values().map(|e| (&e.target, e.state())),
            wanted,
        );
        added
            .into_iter()
            .map(|target| {
                let old = heirs.ancestor(&target).and_then(|old| self.ids.get(old));
                match old.and_then(|id| self.entries.get(id)) {
                    Some(old) => old.heir(target, &mut self.rng, now, wall),
                    None => match self.shared.recalled.of(&target, now, wall) {
                        Some(known) => Entry::recalled(target, known, &mut self.rng, now),
                        None => Entry::new(target, &mut self.rng, now, wall),
                    },
                }
            })
            .collect()
    }

    /// Sets the entry's timer, if it has to go off sooner than the one that is set.
    fn arm(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Some(at) = entry.wake_at() else { return };
        if entry.armed.is_none_or(|armed| at < armed) {
            entry.armed = Some(at);
            self.timers.push(Reverse((at, id)));
        }
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.armed != Some(at) {
                continue;
            }
            entry.armed = None;
            self.ask_bursts(id, now);
            self.ask_if_due(id, now);
            self.arm(id);
        }
    }

    /// Makes the burst connects that are due.
    fn ask_bursts(&mut self, id: EntryId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        loop {
            if self.bursts_under_way >= BURST_CONNECTS {
                if entry.suspect.wake_at().is_some_and(|at| at <= now) {
                    entry.suspect.put_off(now + BURST_RETRY);
                }
                return;
            }
            let Some(connect) = entry.suspect.poll(entry.rtt(), now) else {
                return;
            };
            self.bursts_under_way += 1;
            let target = entry.target.clone();
            let abort = self
                .tasks
                .spawn(async move { probe::burst(&target, connect.to, connect.timeout).await });
            let purpose = Purpose::Burst {
                number: connect.burst,
            };
            self.running.insert(
                abort.id(),
                Running {
                    entry: id,
                    purpose,
                    abort,
                },
            );
        }
    }

    /// Starts or queues the probe if it is due.
    fn ask_if_due(&mut self, id: EntryId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let due = entry.schedule.due();
        if entry.target.is_always_up() || due > now {
            return;
        }
        entry.schedule.advance(&mut self.rng, now);
        if entry.waits_since.is_some() || entry.in_flight() >= entry.schedule.overlap() {
            self.shared.counters.skipped.fetch_add(1, Ordering::Relaxed);
        } else {
            entry.waits_since = Some(due);
            self.waiting.push_back(id);
        }
    }

    /// Starts the probes that wait, first due first, while there is room.
    fn start_waiting(&mut self) {
        while self.probes_under_way < self.max_in_flight {
            let Some(id) = self.waiting.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let Some(due) = entry.waits_since.take() else {
                continue;
            };
            let now = Instant::now();
            self.shared
                .counters
                .observe_lateness(now.saturating_duration_since(due));
            let asking = entry.begin_probe(now);
            self.probes_under_way += 1;
            let target = entry.target.clone();
            let besides = entry.port_asked_besides(now);
            let tls = Arc::clone(&self.tls);
            let abort = self.tasks.spawn(async move {
                probe::probe_with_port(&target, besides, asking.timeout, &tls).await
            });
            let purpose = Purpose::Probe {
                sent: now,
                brief: asking.brief,
            };
            self.running.insert(
                abort.id(),
                Running {
                    entry: id,
                    purpose,
                    abort,
                },
            );
        }
    }

    fn on_ended(&mut self, ended: Result<(Id, Finding), JoinError>) {
        let (task, finding) = match ended {
            Ok((task, finding)) => (task, finding),
            Err(error) => (error.id(), Finding::not_made(&error.to_string())),
        };
        let Some(Running {
            entry: id,
            purpose,
            abort: _,
        }) = self.running.remove(&task)
        else {
            return;
        };
        match purpose {
            Purpose::Probe { .. } => self.probes_under_way -= 1,
            Purpose::Burst { number: _ } => self.bursts_under_way -= 1,
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        match purpose {
            Purpose::Probe { sent, brief } => {
                entry.end_probe(sent, brief && finding.failure.is_some());
                self.shared
                    .counters
                    .count_result(ProbeResult::from(finding.failure.as_ref()));
                entry.on_probe(finding, sent, &mut self.rng, now);
            }
            Purpose::Burst { number } => {
                if let Some(decision) = entry.suspect.on_outcome(number, finding.failure) {
                    self.on_decision(id, decision);
                    self.arm(id);
                }
                return;
            }
        }
        self.shared.view.store(&entry.target, entry.health());
        self.arm(id);
    }

    fn on_decision(&mut self, id: EntryId, decision: Decision) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let counters = &self.shared.counters;
        match decision {
            Decision::Lifted => counters.bursts_lifted.fetch_add(1, Ordering::Relaxed),
            Decision::Dead { .. } | Decision::Hangs { .. } => {
                counters.bursts_down.fetch_add(1, Ordering::Relaxed)
            }
            Decision::Undecided => counters.bursts_undecided.fetch_add(1, Ordering::Relaxed),
        };
        entry.on_decision(decision, &mut self.rng, Instant::now());
        self.shared.view.store(&entry.target, entry.health());
    }
}

impl Finding {
    /// The task itself broke.
    fn not_made(why: &str) -> Self {
        Self {
            failure: Some(Failure::Local(Arc::from(why))),
            rtt: None,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
