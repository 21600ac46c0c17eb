//! The checker: the handle that control holds. Its one task owns all probe state; dropping the handle ends the task and
//! every probe under way. No call blocks or awaits the task.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use portolan_config::address::EndpointAddr;
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::AddressLive;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::driver::Driver;
use crate::counters::ProbeCounters;
use crate::known::{KnownHealth, Recalled};
use crate::probe::TlsClients;
use crate::target::ProbeTarget;
use crate::view::{AddressHealth, View};

mod driver;
mod entry;

/// Suspicions that may wait for the task. A region that dies raises thousands in a burst; those beyond say the same again.
const PENDING_SUSPICIONS: usize = 8192;

/// `probe_now` requests that may wait for the task; those beyond are due by their schedule anyway.
const PENDING_REQUESTS: usize = 1024;

/// Settings of a checker.
#[derive(Clone, Debug)]
pub struct CheckerOptions {
    /// Probes under way at once; one descriptor each. The rest wait in the order in which they fell due.
    pub max_in_flight: usize,
    /// What a predecessor knew: targets that appear soon after the start begin with it.
    pub known: Vec<KnownHealth>,
}

impl Default for CheckerOptions {
    /// 1024: a dead region of 5,000 endpoints at 10 s with a timeout of 2 s keeps 1,000 probes under way.
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            known: Vec::new(),
        }
    }
}

/// Evidence of live flows against an endpoint.
#[derive(Clone, Debug)]
pub struct Suspicion {
    /// Who is suspect.
    pub target: ProbeTarget,
    /// The address and port that the flow met it at.
    pub to: EndpointAddr,
    /// Whether flows reach the endpoint address at no other port than `to`'s. A burst then asks `to`, though the check may ask
    /// another port. With several flow ports one of them may be served by nobody, which must not fail the others at a client's
    /// bidding: then the burst asks the check's port instead.
    pub only_port: bool,
    /// What the flow met.
    pub kind: SignalKind,
    /// When.
    pub at: Instant,
    /// What the data path hears of the address meanwhile.
    pub live: Arc<AddressLive>,
}

/// What callers leave for the task.
#[derive(Debug, Default)]
struct Inbox {
    wanted: Option<HashSet<ProbeTarget>>,
    suspicions: VecDeque<Suspicion>,
    requests: Vec<ProbeTarget>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    posted: Notify,
    view: View,
    counters: Arc<ProbeCounters>,
    recalled: Recalled,
}

/// Probes targets and tells their health. One owner, any number of callers.
#[derive(Debug)]
pub struct Checker {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Checker {
    /// Starts the task on `runtime`, which needs its io and time drivers.
    pub fn start(runtime: &Handle, options: CheckerOptions) -> Checker {
        Self::start_with(runtime, options, TlsClients::default())
    }

    fn start_with(runtime: &Handle, options: CheckerOptions, tls: TlsClients) -> Checker {
        let CheckerOptions {
            max_in_flight,
            known,
        } = options;
        let shared = Arc::new(Shared {
            recalled: Recalled::new(known, Instant::now()),
            ..Shared::default()
        });
        let driver = Driver::new(Arc::clone(&shared), tls, max_in_flight);
        let task = runtime.spawn(driver.run()).abort_handle();
        Checker { shared, task }
    }

    /// Probes exactly `targets` from now on. What stays goes on undisturbed; a new target at an address that stays goes on with its
    /// health, visible in [`Checker::health`] before this returns.
    pub fn set_targets(&self, targets: Vec<ProbeTarget>) {
        let wanted: HashSet<_> = targets.into_iter().collect();
        // The view is made and the order left under one lock: two callers cannot leave them different.
        let mut inbox = self.shared.inbox();
        let (now, wall) = (Instant::now(), SystemTime::now());
        let recall = |target: &ProbeTarget| self.shared.recalled.of(target, now, wall);
        self.shared.view.reconcile(&wanted, recall, now, wall);
        inbox.wanted = Some(wanted);
        drop(inbox);
        self.shared.posted.notify_one();
    }

    /// Takes evidence of a live flow.
    pub fn suspect(&self, suspicion: Suspicion) {
        let mut inbox = self.shared.inbox();
        if inbox.suspicions.len() >= PENDING_SUSPICIONS {
            self.shared
                .counters
                .suspicions_dropped
                .fetch_add(1, Ordering::Relaxed);
            return;
        }
        inbox.suspicions.push_back(suspicion);
        drop(inbox);
        self.shared.posted.notify_one();
    }

    /// Probes `target` at once, besides its schedule.
    pub fn probe_now(&self, target: &ProbeTarget) {
        let mut inbox = self.shared.inbox();
        if inbox.requests.len() < PENDING_REQUESTS {
            inbox.requests.push(target.clone());
        }
        drop(inbox);
        self.shared.posted.notify_one();
    }

    /// Returns once [`Checker::take_changes`] has something to give; at once if it has.
    pub async fn changed(&self) {
        self.shared.view.changed().await;
    }

    /// The targets that changed since the last call, as they are now: state, failure, or a round trip that moved noticeably. A
    /// target is told once when it is new.
    pub fn take_changes(&self) -> Vec<(ProbeTarget, AddressHealth)> {
        self.shared.view.take_changes()
    }

    /// What is known of `target`; `None` when it is not probed.
    pub fn health(&self, target: &ProbeTarget) -> Option<AddressHealth> {
        self.shared.view.health(target)
    }

    /// What is known of every target, for a successor.
    pub fn known(&self) -> Vec<KnownHealth> {
        self.shared.view.known(Instant::now())
    }

    /// Its counters.
    pub fn counters(&self) -> Arc<ProbeCounters> {
        Arc::clone(&self.shared.counters)
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing panics while it holds the lock; were it so, the queues are still whole.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
