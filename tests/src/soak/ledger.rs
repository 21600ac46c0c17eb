//! The books: what each end of each flow sent and got, what the edge recorded of it, and what was done to the endpoints meanwhile. A flow
//! is judged when all of that is known: it is whole, or a fault explains its end, or it is a finding. Whole flows leave the books.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{HEAD, Kind, Plan};
use super::records::Record;

/// Of findings, so many are kept word for word.
const KEPT: usize = 50;

/// Ids of flows that ended before their time: an endpoint may accept them late.
const REMEMBERED: usize = 10_000;

/// What one end has moved so far, behind the head.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) got: AtomicU64,
    pub(super) sent: AtomicU64,
}

/// How a flow ended on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All was sent, all was got, each byte right, and the end of the stream.
    Whole,
    /// The client did what its plan says.
    Aborted,
    /// Cut off.
    Broken(String),
    /// Bytes that are not this flow's. Nothing explains them.
    Wrong(String),
}

/// What is done to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FaultKind {
    /// Its process is killed.
    Kill,
    /// Its host comes back without its connections, or is out of reach.
    Vanish,
    /// It is drained by the operator, or by a new file.
    Drain,
}

/// The listeners' half-close timeout.
const HALF_CLOSE_MS: u64 = 30_000;

impl FaultKind {
    /// Whether it can end a flow like that.
    fn explains(self, record: &Record) -> bool {
        match (self, record.cause.as_str()) {
            (FaultKind::Kill | FaultKind::Vanish, "endpoint_rst" | "stranded_reset")
            | (FaultKind::Drain, "drain_timeout") => true,
            // The kernel of who was not acknowledged tries again after pauses that double, the sixth of them longer than the edge waits.
            (FaultKind::Vanish, "half_close") => record.lasted_ms >= HALF_CLOSE_MS,
            _ => false,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "endpoint killed",
            FaultKind::Vanish => "endpoint vanished",
            FaultKind::Drain => "endpoint drained",
        }
    }
}

struct Fault {
    kind: FaultKind,
    endpoint: String,
    from: Instant,
    to: Option<Instant>,
}

/// Names a fault until it is over.
#[derive(Clone, Copy)]
pub(super) struct FaultId(usize);

struct Entry {
    plan: Plan,
    began: Instant,
    client: Option<(End, Arc<Tally>)>,
    endpoints: Vec<At>,
    record: Option<(Record, Instant)>,
}

/// A flow at an endpoint.
struct At {
    endpoint: String,
    tally: Arc<Tally>,
    end: Option<(End, Instant)>,
}

/// What came out so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) begun: u64,
    pub(super) whole: u64,
    pub(super) aborted: u64,
    pub(super) bytes: u64,
    pub(super) by_kind: HashMap<Kind, u64>,
    pub(super) explained: HashMap<(String, FaultKind), u64>,
    pub(super) findings: u64,
    pub(super) first_findings: Vec<String>,
    pub(super) records: u64,
}

#[derive(Default)]
struct Books {
    entries: HashMap<u64, Entry>,
    by_client: HashMap<SocketAddr, u64>,
    over: HashSet<u64>,
    faults: Vec<Fault>,
    totals: Totals,
}

/// The books, shared by everybody.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Books>);

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is about to begin.
    pub(super) fn begin(&self, plan: Plan) {
        let mut books = self.books();
        books.totals.begun += 1;
        let entry = Entry {
            plan,
            began: Instant::now(),
            client: None,
            endpoints: Vec::new(),
            record: None,
        };
        books.entries.insert(plan.id, entry);
    }

    /// It has connected from there.
    pub(super) fn connected(&self, id: u64, client: SocketAddr) {
        self.books().by_client.insert(client, id);
    }

    /// It is done.
    pub(super) fn client_ended(&self, id: u64, end: End, tally: Arc<Tally>) {
        if let Some(entry) = self.books().entries.get_mut(&id) {
            entry.client = Some((end, tally));
        }
    }

    /// A flow has reached an endpoint; gives its place among those.
    pub(super) fn reached(&self, plan: &Plan, endpoint: &str, tally: Arc<Tally>) -> usize {
        let mut books = self.books();
        if let Some(entry) = books.entries.get_mut(&plan.id) {
            entry.endpoints.push(At {
                endpoint: endpoint.to_owned(),
                tally,
                end: None,
            });
            return entry.endpoints.len() - 1;
        }
        if !books.over.contains(&plan.id) {
            let why = format!("flow {} reached {endpoint} when it was over", plan.id);
            books.totals.finding(why);
        }
        usize::MAX
    }

    /// It has ended there.
    pub(super) fn left(&self, id: u64, place: usize, end: End) {
        let mut books = self.books();
        let at = books
            .entries
            .get_mut(&id)
            .and_then(|entry| entry.endpoints.get_mut(place));
        if let Some(at) = at {
            at.end = Some((end, Instant::now()));
        }
    }

    /// The edge has recorded a flow of TCP.
    pub(super) fn recorded(&self, record: Record) {
        let mut books = self.books();
        books.totals.records += 1;
        let known = books.by_client.get(&record.client).copied();
        let entry = known.and_then(|id| books.entries.get_mut(&id));
        match entry {
            Some(entry) if entry.record.is_none() => {
                entry.record = Some((record, Instant::now()));
            }
            Some(entry) => {
                let id = entry.plan.id;
                let why = format!("flow {id} was recorded twice: {record:?}");
                books.totals.finding(why);
            }
            None => {
                let why = format!("a flow that nobody made was recorded: {record:?}");
                books.totals.finding(why);
            }
        }
    }

    /// Something is done to an endpoint from here on.
    pub(super) fn fault(&self, kind: FaultKind, endpoint: &str) -> FaultId {
        let mut books = self.books();
        books.faults.push(Fault {
            kind,
            endpoint: endpoint.to_owned(),
            from: Instant::now(),
            to: None,
        });
        FaultId(books.faults.len() - 1)
    }

    /// It is over.
    pub(super) fn fault_over(&self, fault: FaultId) {
        self.books().faults[fault.0].to = Some(Instant::now());
    }

    /// Whether a fault touched one of these endpoints at a time.
    pub(super) fn is_touched(&self, endpoints: &[String], from: Instant, to: Instant) -> bool {
        let touches =
            |fault: &Fault| endpoints.contains(&fault.endpoint) && fault.overlaps(from, to);
        self.books().faults.iter().any(touches)
    }

    /// How often each fault was injected.
    pub(super) fn faults(&self) -> HashMap<FaultKind, u64> {
        let mut count = HashMap::new();
        for fault in &self.books().faults {
            *count.entry(fault.kind).or_default() += 1;
        }
        count
    }

    /// Something that nothing explains.
    pub(super) fn finding(&self, what: String) {
        self.books().totals.finding(what);
    }

    /// Counts what was not made by a flow of TCP.
    pub(super) fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut self.books().totals);
    }

    /// What came out so far.
    pub(super) fn totals(&self) -> Totals {
        self.books().totals.clone()
    }

    /// Flows whose clients are not done.
    pub(super) fn running(&self) -> usize {
        let books = self.books();
        books
            .entries
            .values()
            .filter(|e| e.client.is_none())
            .count()
    }

    /// Flows in the books.
    pub(super) fn open(&self) -> usize {
        self.books().entries.len()
    }

    /// Judges the flows of which everything is known; all of them at the `last` time.
    pub(super) fn settle(&self, last: bool) {
        let mut books = self.books();
        let due: Vec<u64> = books
            .entries
            .iter()
            .filter(|(_, entry)| last || entry.is_settled())
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(entry) = books.entries.remove(&id) else {
                continue;
            };
            if let Some((record, _)) = &entry.record {
                books.by_client.remove(&record.client);
            }
            let judgement = judge(&entry, &books.faults);
            books.enter(&entry, judgement);
        }
    }
}

impl Books {
    fn enter(&mut self, entry: &Entry, judgement: Judgement) {
        let whole = matches!(judgement, Judgement::Whole { .. });
        let totals = &mut self.totals;
        *totals.by_kind.entry(entry.plan.kind).or_default() += 1;
        match judgement {
            Judgement::Whole { bytes } => {
                totals.whole += 1;
                totals.bytes += bytes;
            }
            Judgement::Aborted => totals.aborted += 1,
            Judgement::Explained(cause, fault) => {
                *totals.explained.entry((cause, fault)).or_default() += 1;
            }
            Judgement::Finding(why) => totals.finding(why),
        }
        if !whole {
            if self.over.len() >= REMEMBERED {
                self.over.clear();
            }
            self.over.insert(entry.plan.id);
        }
    }
}

impl Totals {
    fn finding(&mut self, what: String) {
        self.findings += 1;
        if self.first_findings.len() < KEPT {
            self.first_findings.push(what);
        }
    }
}

impl Entry {
    /// Far beyond what a reset takes that arrives.
    const RESET_ARRIVES: Duration = Duration::from_secs(5);

    fn is_settled(&self) -> bool {
        let Some((record, at)) = &self.record else {
            return false;
        };
        // A reset on its way to an endpoint that has vanished is lost, and the endpoint never hears of it.
        let is_reset = !record.cause.ends_with("_fin") && at.elapsed() > Self::RESET_ARRIVES;
        let has_left = self.endpoints.iter().all(|at| at.end.is_some());
        self.client.is_some() && (has_left || is_reset)
    }
}

impl Fault {
    /// A flow that began while a fault was being undone may have met the rest of it.
    const AFTERMATH: Duration = Duration::from_secs(1);

    fn overlaps(&self, from: Instant, to: Instant) -> bool {
        let ended = self.to.is_some_and(|end| end + Self::AFTERMATH < from);
        self.from <= to && !ended
    }
}

enum Judgement {
    Whole { bytes: u64 },
    Aborted,
    Explained(String, FaultKind),
    Finding(String),
}

fn judge(entry: &Entry, faults: &[Fault]) -> Judgement {
    let Some((client, sent)) = &entry.client else {
        return entry.finding("its client hangs");
    };
    let ends = entry.endpoints.iter().filter_map(At::end);
    if ends.chain([client]).any(|end| matches!(end, End::Wrong(_))) {
        return entry.finding("wrong bytes");
    }
    if entry.endpoints.len() > 1 {
        return entry.finding("it reached more than one endpoint");
    }
    let Some((record, recorded)) = &entry.record else {
        return entry.finding("it was not recorded");
    };
    let at = entry.endpoints.first();
    if *client == End::Aborted && record.cause == "client_rst" {
        let got = at.map_or(0, |at| at.tally.got.load(Relaxed));
        if got > sent.sent.load(Relaxed) {
            return entry.finding("more was got than sent");
        }
        return Judgement::Aborted;
    }
    let all = (entry.plan.up + HEAD as u64, entry.plan.down);
    let finished =
        *client == End::Whole && matches!(record.cause.as_str(), "client_fin" | "endpoint_fin");
    if finished && (record.bytes_in, record.bytes_out) != all {
        return entry.finding("the record has other bytes");
    }
    if finished && at.and_then(At::end) == Some(&End::Whole) {
        return Judgement::Whole {
            bytes: all.0 + all.1,
        };
    }
    let ended = at.and_then(|at| at.end.as_ref()).map(|(_, at)| *at);
    // A client may be done long before the edge is, which has an endpoint that reads slowly to wait for.
    let ended = ended.map_or(*recorded, |at| at.max(*recorded));
    let explains = |fault: &&Fault| {
        let at_it = record.endpoint.as_deref() == Some(&fault.endpoint)
            && fault.overlaps(entry.began, ended);
        // Finished as far as the edge can know: what an endpoint has not read when it is killed has left the edge long ago.
        at_it && (fault.kind.explains(record) || finished && fault.kind == FaultKind::Kill)
    };
    match faults.iter().find(explains) {
        Some(fault) if finished => Judgement::Explained("unread".into(), fault.kind),
        Some(fault) => Judgement::Explained(record.cause.clone(), fault.kind),
        None => entry.finding("nothing explains its end"),
    }
}

impl At {
    fn end(&self) -> Option<&End> {
        self.end.as_ref().map(|(end, _)| end)
    }
}

impl Entry {
    fn finding(&self, why: &str) -> Judgement {
        let ends = self.endpoints.iter().map(|at| (&at.endpoint, at.end()));
        let ends: Vec<_> = ends.collect();
        Judgement::Finding(format!(
            "flow {} ({}): {why}; client {:?}, endpoints {ends:?}, record {:?}",
            self.plan.id,
            self.plan.kind.name(),
            self.client.as_ref().map(|(end, _)| end),
            self.record.as_ref().map(|(record, _)| record),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(client: SocketAddr, plan: &Plan, cause: &str) -> Record {
        Record {
            client,
            endpoint: Some("a".into()),
            cause: cause.into(),
            bytes_in: plan.up + HEAD as u64,
            bytes_out: plan.down,
            packets_in: 1,
            lasted_ms: 0,
            is_datagrams: false,
        }
    }

    fn flow(ledger: &Ledger, cause: &str, client: End, endpoint: Option<End>) {
        let plan = Plan::of(1, 1);
        let from: SocketAddr = "127.0.0.1:1".parse().unwrap();
        ledger.begin(plan);
        ledger.connected(plan.id, from);
        if let Some(end) = endpoint {
            let place = ledger.reached(&plan, "a", Arc::default());
            ledger.left(plan.id, place, end);
        }
        ledger.client_ended(plan.id, client, Arc::default());
        ledger.recorded(record(from, &plan, cause));
        ledger.settle(false);
    }

    fn broken() -> End {
        End::Broken("reset".into())
    }

    #[test]
    fn what_is_whole_on_both_ends_is_whole() {
        let ledger = Ledger::default();
        flow(&ledger, "client_fin", End::Whole, Some(End::Whole));
        let totals = ledger.totals();
        assert_eq!((totals.whole, totals.findings), (1, 0));
    }

    #[test]
    fn whatever_is_not_is_a_finding() {
        let cases = [
            ("client_fin", End::Whole, None),
            ("client_fin", End::Whole, Some(broken())),
            ("idle", End::Whole, Some(End::Whole)),
            ("client_fin", broken(), Some(End::Whole)),
            ("endpoint_rst", broken(), Some(broken())),
            ("shutdown", End::Whole, Some(End::Whole)),
            ("client_fin", End::Whole, Some(End::Wrong("x".into()))),
        ];
        for (cause, client, endpoint) in cases {
            let ledger = Ledger::default();
            flow(&ledger, cause, client.clone(), endpoint.clone());
            assert_eq!(
                ledger.totals().findings,
                1,
                "{cause} {client:?} {endpoint:?}"
            );
        }
    }

    #[test]
    fn a_fault_explains_only_what_it_can_have_done() {
        for (kind, at, cause, explained) in [
            (FaultKind::Kill, "a", "endpoint_rst", 1),
            (FaultKind::Vanish, "a", "stranded_reset", 1),
            (FaultKind::Kill, "b", "endpoint_rst", 0),
            (FaultKind::Drain, "a", "endpoint_rst", 0),
            (FaultKind::Drain, "a", "drain_timeout", 1),
            (FaultKind::Kill, "a", "idle", 0),
        ] {
            let ledger = Ledger::default();
            ledger.fault(kind, at);
            flow(&ledger, cause, broken(), Some(broken()));
            let totals = ledger.totals();
            assert_eq!(
                totals.explained.values().sum::<u64>(),
                explained,
                "{kind:?} {cause}"
            );
            assert_eq!(totals.findings, 1 - explained);
        }
    }

    #[test]
    fn what_a_killed_endpoint_had_not_read_has_left_the_edge() {
        for (kind, explained) in [(FaultKind::Kill, 1), (FaultKind::Vanish, 0)] {
            let ledger = Ledger::default();
            ledger.fault(kind, "a");
            flow(&ledger, "client_fin", End::Whole, Some(broken()));
            let totals = ledger.totals();
            assert_eq!(
                totals.explained.values().sum::<u64>(),
                explained,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_flow_that_reaches_two_endpoints_is_a_finding() {
        let ledger = Ledger::default();
        let plan = Plan::of(1, 1);
        ledger.begin(plan);
        ledger.connected(1, "127.0.0.1:1".parse().unwrap());
        for endpoint in ["a", "b"] {
            let place = ledger.reached(&plan, endpoint, Arc::default());
            ledger.left(1, place, End::Whole);
        }
        ledger.client_ended(1, End::Whole, Arc::default());
        ledger.recorded(record("127.0.0.1:1".parse().unwrap(), &plan, "client_fin"));
        ledger.settle(false);
        assert_eq!(ledger.totals().findings, 1);
    }
}
