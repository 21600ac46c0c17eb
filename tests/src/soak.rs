//! A long run of everything at once: mixed traffic through one edge while its endpoints are killed, vanish and stall, and while it is
//! reloaded, drained, upgraded and stopped for moments. A ledger on both ends proves what became of every byte and every flow.
//!
//! `portolan-soak` is its program. Whatever nothing explains is a finding, and one finding fails the run.

mod datagrams;
mod deck;
mod faults;
mod gauges;
mod ledger;
mod operator;
mod plan;
mod records;
mod report;
mod stage;
mod streams;

pub use self::gauges::Gauges;
pub use self::operator::Done;
pub use self::report::Report;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::datagrams::Sessions;
use self::gauges::median_kib;
use self::ledger::Ledger;
use self::operator::Operator;
use self::plan::{Kind, Plan};
use self::records::Records;
use self::stage::{Stage, Variant};
use crate::deadline::PATIENCE;
use crate::edge::Edge;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long new flows begin.
    pub seconds: u64,
    /// What everything random comes from.
    pub seed: u64,
    /// New flows of TCP a second; of UDP there are a fifth as many.
    pub rate: u32,
}

/// Flows at once: a machine that is slower than the rate must not be drowned.
const MOST_FLOWS: usize = 500;

/// Flows of a process that is measured fresh.
const WARM_UP: u64 = 200;

/// Ids of UDP's flows begin here.
const DATAGRAM_IDS: u64 = 1 << 40;

/// The slowest plan, with an edge and endpoints that stand still meanwhile.
const LAST_FLOWS: Duration = Duration::from_secs(240);

/// How often the books are looked through.
const LOOK: Duration = Duration::from_millis(250);

/// How often people hear of it.
const TELL: Duration = Duration::from_secs(5);

/// What all parts of a run share.
struct Run {
    options: Options,
    stage: Stage,
    ledger: Arc<Ledger>,
    sessions: Arc<Sessions>,
    pid: Arc<AtomicU32>,
    began: Instant,
    /// Looks at the serving process, one a second, with its pid.
    samples: std::sync::Mutex<Vec<(u32, Gauges)>>,
}

/// Runs, and tells `tell` how it goes.
pub async fn run(options: Options, tell: fn(&str)) -> anyhow::Result<Report> {
    let (ledger, sessions) = (Arc::<Ledger>::default(), Arc::<Sessions>::default());
    let stage = Stage::set(&ledger, &sessions).await?;
    let edge = Edge::start(&stage.file(&Variant::FIRST)).await;
    let mut records = Records::open(&edge.file().with_file_name("flows.jsonl"))?;
    let pid = Arc::new(AtomicU32::new(0));
    let mut operator = Operator::new(edge, Arc::clone(&pid));
    let run = Arc::new(Run {
        options,
        stage,
        ledger,
        sessions,
        pid,
        began: Instant::now(),
        samples: std::sync::Mutex::default(),
    });
    run.warm_up(&mut records).await?;
    let fresh = run.idle(&operator).await?;
    tell(&format!("a fresh process: {fresh:?}"));

    let (stop, stopped) = watch::channel(false);
    let books = tokio::spawn(Arc::clone(&run).keep_books(records, stopped.clone(), tell));
    let (endpoint_stalls, ended) = run.play(operator).await?;
    operator = ended;
    run.finish(&mut operator).await;
    stop.send_replace(true);
    books.await??;
    run.ledger.settle(true);
    run.sessions.settle(&run.ledger, true);

    let last = run.idle_again(&operator, fresh).await?;
    let mut report = run.report(fresh, last);
    report.endpoint_stalls = endpoint_stalls;
    report.operations = operator.done;
    if !report.is_clean() {
        tell(&format!(
            "the edge's last words:\n{}",
            operator.last_words()
        ));
    }
    operator.edge.signal("TERM");
    let status = operator.edge.process().end(PATIENCE).await;
    anyhow::ensure!(status.success(), "the edge ended with {status}");
    Ok(report)
}

impl Run {
    /// The first flows of the first process, before anything is done to anybody.
    async fn warm_up(self: &Arc<Self>, records: &mut Records) -> anyhow::Result<()> {
        let mut flows = JoinSet::new();
        for id in 0..WARM_UP {
            let kind = Plan::of(self.options.seed, id).kind;
            if !matches!(kind, Kind::Long | Kind::Slow) {
                flows.spawn(Arc::clone(self).flow(id));
            }
            if id < WARM_UP / 4 {
                flows.spawn(Arc::clone(self).datagram_flow(DATAGRAM_IDS + id));
            }
            sleep(Duration::from_millis(5)).await;
        }
        while let Some(flow) = flows.join_next().await {
            flow?;
        }
        while self.ledger.open() + self.sessions.open() > 0 {
            self.look(records)?;
            sleep(LOOK).await;
            anyhow::ensure!(
                self.began.elapsed() < LAST_FLOWS,
                "the first flows do not end"
            );
        }
        Ok(())
    }

    fn look(&self, records: &mut Records) -> anyhow::Result<()> {
        for record in records.read().context("the flow log")? {
            if record.is_datagrams {
                self.sessions.recorded(&self.ledger, &record);
                self.ledger.count(|totals| totals.records += 1);
            } else {
                self.ledger.recorded(record);
            }
        }
        self.ledger.settle(false);
        self.sessions.settle(&self.ledger, false);
        Ok(())
    }

    /// Traffic, faults and operations for as long as was asked for.
    async fn play(self: &Arc<Self>, operator: Operator) -> anyhow::Result<(u64, Operator)> {
        let span = Duration::from_secs(self.options.seconds);
        let (stop, stopped) = watch::channel(false);
        let traffic = tokio::spawn(Arc::clone(self).traffic(stopped.clone()));
        // The last process is to grow old.
        let last_upgrade = Instant::now() + span * 2 / 3;
        let (seed, turn) = (self.options.seed, Mutex::new(()));
        let faults = faults::run(&self.stage, &self.ledger, seed, &turn, stopped.clone());
        let turns = (&turn, last_upgrade);
        let operating = operator.run(&self.stage, &self.ledger, seed, turns, stopped);
        let mut told = signal(SignalKind::terminate())?;
        let ending = async {
            // Told to end, it ends as if its time were over, and leaves no edge behind.
            let _ = timeout(span, told.recv()).await;
            stop.send_replace(true);
        };
        let (stalls, operator, ()) = tokio::join!(faults, operating, ending);
        traffic.await?;
        Ok((stalls?, operator))
    }

    async fn traffic(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut pace = interval(Duration::from_secs(1) / self.options.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let room = Arc::new(Semaphore::new(MOST_FLOWS));
        for id in WARM_UP.. {
            tokio::select! {
                _ = pace.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let run = Arc::clone(&self);
            tokio::spawn(async move {
                run.flow(id).await;
                drop(place);
            });
            if id % 5 == 0 {
                tokio::spawn(Arc::clone(&self).datagram_flow(DATAGRAM_IDS + id));
            }
        }
    }

    async fn flow(self: Arc<Self>, id: u64) {
        let plan = Plan::of(self.options.seed, id);
        let to = self.stage.listeners[plan.listener % self.stage.listeners.len()];
        streams::ask(Arc::clone(&self.ledger), plan, source(id), to).await;
    }

    async fn datagram_flow(self: Arc<Self>, id: u64) {
        let (ledger, sessions) = (Arc::clone(&self.ledger), Arc::clone(&self.sessions));
        let to = self.stage.datagrams;
        datagrams::ask(ledger, sessions, self.options.seed, id, source(id), to).await;
    }

    /// Waits for the last flows, for the last predecessor's end, and for what is still to be recorded.
    async fn finish(&self, operator: &mut Operator) {
        let running = async {
            while self.ledger.running() + self.sessions.running() > 0 {
                sleep(LOOK).await;
            }
        };
        // Who is still there after each of these is told of by name when the books are closed.
        let mut in_time = timeout(LAST_FLOWS, running).await.is_ok();
        let predecessors = async {
            while !operator.predecessors.is_empty() {
                operator.note_ends(&self.ledger);
                sleep(LOOK).await;
            }
        };
        in_time &= timeout(PATIENCE, predecessors).await.is_ok();
        let books = async {
            while self.ledger.open() + self.sessions.open() > 0 {
                sleep(LOOK).await;
            }
        };
        in_time &= timeout(PATIENCE, books).await.is_ok();
        if !in_time {
            let predecessors = operator.predecessors.len();
            self.ledger.finding(format!(
                "not everything came to an end in time; {predecessors} predecessors are left"
            ));
        }
    }

    async fn keep_books(
        self: Arc<Self>,
        mut records: Records,
        stopped: watch::Receiver<bool>,
        tell: fn(&str),
    ) -> anyhow::Result<()> {
        let mut told = Instant::now();
        let mut found = 0;
        let mut sampled = Instant::now();
        while !*stopped.borrow() {
            self.look(&mut records)?;
            let findings = self.ledger.totals().first_findings;
            findings[found..].iter().for_each(|finding| tell(finding));
            found = findings.len();
            if sampled.elapsed() >= Duration::from_secs(1) {
                sampled = Instant::now();
                self.sample();
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                tell(&self.progress());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    fn sample(&self) {
        let pid = self.pid.load(Relaxed);
        if let Some(gauges) = Gauges::of(pid) {
            self.samples().push((pid, gauges));
        }
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, Vec<(u32, Gauges)>> {
        self.samples
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn progress(&self) -> String {
        let totals = self.ledger.totals();
        let gauges = Gauges::of(self.pid.load(Relaxed)).unwrap_or_default();
        format!(
            "{:>5} s: {} flows running, {} whole, {} ended by faults, {} datagrams; {} KiB, {} descriptors; {} unexplained",
            self.began.elapsed().as_secs(),
            self.ledger.running() + self.sessions.running(),
            totals.whole,
            totals.explained.values().sum::<u64>(),
            self.sessions.counts().datagrams,
            gauges.anonymous_kib,
            gauges.descriptors,
            totals.findings,
        )
    }

    /// What the serving process holds when it has no flows.
    async fn idle(&self, operator: &Operator) -> anyhow::Result<Gauges> {
        let edge = &operator.edge;
        let mut metrics = edge.metrics().await;
        let until = Instant::now() + PATIENCE;
        while metrics.sum("flows_active", &[]) > 0.0 {
            anyhow::ensure!(
                Instant::now() < until,
                "flows that nobody has are still counted"
            );
            sleep(LOOK).await;
            metrics = edge.metrics().await;
        }
        let gauges = Gauges::of(self.pid.load(Relaxed)).context("the edge is gone")?;
        Ok(Gauges {
            tasks: metrics.sum("tasks", &[]) as u64,
            ..gauges
        })
    }

    /// The same, when what outlasts its last use for a while has gone: threads of a pool, a probe under way.
    async fn idle_again(&self, operator: &Operator, fresh: Gauges) -> anyhow::Result<Gauges> {
        let until = Instant::now() + PATIENCE;
        loop {
            let gauges = self.idle(operator).await?;
            if gauges.is_within(fresh) || Instant::now() >= until {
                return Ok(gauges);
            }
            sleep(LOOK).await;
        }
    }

    fn report(&self, fresh: Gauges, last: Gauges) -> Report {
        let samples = self.samples().clone();
        let pid = self.pid.load(Relaxed);
        let of_last: Vec<Gauges> = samples
            .iter()
            .filter(|(of, _)| *of == pid)
            .map(|(_, gauges)| *gauges)
            .collect();
        // A fifth each: the first seconds fill pools, the last ones empty them.
        let fifth = of_last.len() / 5;
        let young = median_kib(&of_last[fifth..2 * fifth]);
        let old = median_kib(&of_last[3 * fifth..4 * fifth]);
        let counts = self.sessions.counts();
        let mut report = Report {
            seed: self.options.seed,
            seconds: self.options.seconds,
            datagram_flows: counts.flows,
            datagrams: counts.datagrams,
            datagrams_lost_by_fault: counts.lost_by_fault,
            datagram_flows_moved_by_fault: counts.moved_by_fault,
            fresh,
            last,
            peak: samples
                .iter()
                .fold(last, |peak, (_, gauges)| peak.max(*gauges)),
            loaded_kib: [young, old],
            ..Report::default()
        };
        for grown in report.growth() {
            self.ledger.finding(grown);
        }
        report.enter(&self.ledger, &self.ledger.totals());
        report
    }
}

/// Where a flow comes from: an address that no other one has for a long time, so that its record is found by it.
fn source(id: u64) -> IpAddr {
    let (b, c) = ((id / 250) % 250, id % 250);
    Ipv4Addr::new(127, 90, b as u8 + 1, c as u8 + 1).into()
}
