//! What operators do to an edge all day: reloads, good and broken ones, drains, upgrades of both kinds; and a host that lets the edge stand
//! still. One after another, as people do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::deck::Deck;
use super::ledger::{FaultKind, Ledger};
use super::stage::{DRAIN_TIMEOUT, Stage, Variant};
use crate::deadline::{PATIENCE, until};
use crate::edge::Edge;
use crate::process::Process;

/// Processes that may still finish flows; another plain upgrade is refused.
const MOST_PREDECESSORS: usize = 2;

/// What was done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Done {
    /// Files that were taken.
    pub reloads: u64,
    /// Files that were refused.
    pub broken_files: u64,
    /// Endpoints drained by command.
    pub drains: u64,
    /// Endpoints that left the file and came back.
    pub removals: u64,
    /// `run --upgrade`.
    pub upgrades: u64,
    /// `run --upgrade --with-flows`.
    pub upgrades_with_flows: u64,
    /// Times the edge was stopped for a moment.
    pub edge_stalls: u64,
    /// The slowest upgrade, from start to serving.
    pub slowest_upgrade_ms: u64,
}

#[derive(Clone, Copy)]
enum Act {
    Reload,
    Break,
    Remove,
    Drain,
    Upgrade { with_flows: bool },
    Stall,
}

/// As often as each comes: of what matters most there is most.
const ACTS: [Act; 12] = [
    Act::Reload,
    Act::Reload,
    Act::Reload,
    Act::Break,
    Act::Remove,
    Act::Drain,
    Act::Upgrade { with_flows: false },
    Act::Upgrade { with_flows: false },
    Act::Upgrade { with_flows: true },
    Act::Upgrade { with_flows: true },
    Act::Stall,
    Act::Stall,
];

/// Whoever operates the edge.
pub(super) struct Operator {
    pub(super) edge: Edge,
    pub(super) predecessors: Vec<Process>,
    pub(super) done: Done,
    /// The process that serves, for those who measure it.
    pid: Arc<AtomicU32>,
    variant: Variant,
}

impl Operator {
    pub(super) fn new(mut edge: Edge, pid: Arc<AtomicU32>) -> Operator {
        pid.store(edge.process().pid(), Relaxed);
        Operator {
            edge,
            predecessors: Vec::new(),
            done: Done::default(),
            pid,
            variant: Variant::FIRST,
        }
    }

    /// Goes on until it is told to stop, and leaves the edge with the first file. No upgrades from `last_upgrade` on.
    pub(super) async fn run(
        mut self,
        stage: &Stage,
        ledger: &Arc<Ledger>,
        seed: u64,
        (turn, last_upgrade): (&Mutex<()>, Instant),
        mut stop: watch::Receiver<bool>,
    ) -> Operator {
        let mut random = SmallRng::seed_from_u64(seed ^ 2);
        let mut deck = Deck::of(&ACTS);
        loop {
            let pause = Duration::from_millis(random.random_range(500..4_000));
            if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                break;
            }
            if let Some(status) = self.edge.process().ended() {
                ledger.finding(format!("the edge ended with {status}"));
                break;
            }
            self.note_ends(ledger);
            match deck.draw(&mut random) {
                Act::Upgrade { with_flows } if Instant::now() < last_upgrade => {
                    self.upgrade(with_flows).await;
                }
                Act::Reload | Act::Upgrade { .. } => {
                    self.reload(stage, Variant::random(&mut random)).await;
                }
                Act::Break => self.reload_broken(stage).await,
                Act::Remove => {
                    let without = random.random_range(0..stage.tcp.len());
                    self.remove(stage, ledger, turn, without).await;
                }
                Act::Drain => {
                    let victim = random.random_range(0..stage.tcp.len() + stage.udp.len());
                    self.drain(stage, ledger, turn, victim).await;
                }
                Act::Stall => {
                    let span = Duration::from_millis(random.random_range(100..1_000));
                    self.stall(span).await;
                }
            }
        }
        if self.edge.process().ended().is_none() {
            self.reload(stage, Variant::FIRST).await;
        }
        self
    }

    /// Forgets predecessors that have ended; they must have ended well.
    pub(super) fn note_ends(&mut self, ledger: &Ledger) {
        self.predecessors.retain_mut(|old| {
            let Some(status) = old.ended() else {
                return true;
            };
            if !status.success() {
                ledger.finding(format!(
                    "a predecessor ended with {status}: {}",
                    tail(&old.output())
                ));
            }
            false
        });
    }

    /// The last lines of the serving process's log.
    pub(super) fn last_words(&self) -> String {
        tail(&self.edge.log())
    }

    async fn reload(&mut self, stage: &Stage, variant: Variant) {
        if variant == self.variant {
            return;
        }
        let before = self.edge.generation().await.unwrap_or_default();
        self.edge.rewrite(&stage.file(&variant));
        self.edge.signal("HUP");
        self.edge.until_generation_above(before).await;
        self.variant = variant;
        self.done.reloads += 1;
    }

    async fn reload_broken(&mut self, stage: &Stage) {
        let refused = async |edge: &Edge| !edge.state().await["config"]["error"].is_null();
        self.edge.rewrite("[[accelerator]]\nnames = 1\n");
        self.edge.signal("HUP");
        until("the broken file is refused", PATIENCE, async || {
            refused(&self.edge).await
        })
        .await;
        self.edge.rewrite(&stage.file(&self.variant));
        self.edge.signal("HUP");
        until("the file is taken again", PATIENCE, async || {
            !refused(&self.edge).await
        })
        .await;
        self.done.broken_files += 1;
    }

    /// An endpoint leaves the file and comes back: it drains, and its last flows end.
    async fn remove(&mut self, stage: &Stage, ledger: &Ledger, turn: &Mutex<()>, without: usize) {
        let _turn = turn.lock().await;
        let fault = ledger.fault(FaultKind::Drain, stage.tcp[without].endpoint.id());
        let whole = self.variant.clone();
        let variant = whole.without(without);
        self.reload(stage, variant).await;
        sleep(DRAIN_TIMEOUT + Duration::from_secs(1)).await;
        self.reload(stage, whole).await;
        ledger.fault_over(fault);
        self.done.removals += 1;
    }

    async fn drain(&mut self, stage: &Stage, ledger: &Ledger, turn: &Mutex<()>, victim: usize) {
        let _turn = turn.lock().await;
        let name = match victim.checked_sub(stage.tcp.len()) {
            None => stage.tcp[victim].endpoint.id(),
            Some(of_udp) => &stage.udp[of_udp].name,
        };
        let fault = ledger.fault(FaultKind::Drain, name);
        let path = |verb: &str| format!("/api/v1/endpoints/{name}/{verb}");
        let (status, body) = self.edge.post(&path("drain")).await;
        if status != 200 {
            ledger.finding(format!("no drain of {name}: {status} {body}"));
        }
        sleep(DRAIN_TIMEOUT + Duration::from_secs(1)).await;
        let (status, body) = self.edge.post(&path("undrain")).await;
        if status != 200 {
            ledger.finding(format!("no end of the drain of {name}: {status} {body}"));
        }
        ledger.fault_over(fault);
        self.done.drains += 1;
    }

    async fn upgrade(&mut self, with_flows: bool) {
        // A third would be refused, and says itself that this is the way.
        let with_flows = with_flows || self.predecessors.len() >= MOST_PREDECESSORS;
        self.tell_warnings();
        let began = Instant::now();
        let old = if with_flows {
            self.done.upgrades_with_flows += 1;
            self.edge.upgrade(&["--with-flows"]).await
        } else {
            self.done.upgrades += 1;
            self.edge.upgrade(&[]).await
        };
        let took = began.elapsed().as_millis() as u64;
        self.done.slowest_upgrade_ms = self.done.slowest_upgrade_ms.max(took);
        self.predecessors.push(old);
        self.pid.store(self.edge.process().pid(), Relaxed);
    }

    /// Prints what the serving process warned of around its upgrade, before it goes: it is what explains a finding.
    fn tell_warnings(&self) {
        let of_upgrade = |line: &&str| {
            line.contains(" WARN ")
                && ["UDP", "upgrade", "cessor"]
                    .iter()
                    .any(|word| line.contains(word))
        };
        for line in self.edge.log().lines().filter(of_upgrade) {
            println!("soak: the edge said: {line}");
        }
    }

    async fn stall(&mut self, span: Duration) {
        self.edge.signal("STOP");
        sleep(span).await;
        self.edge.signal("CONT");
        self.done.edge_stalls += 1;
    }
}

/// The end of a log: what it was about when something was found.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
