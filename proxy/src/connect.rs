//! From a picked endpoint to a connected one: attempts, the free retry after a refusal, the race (hedge) against an endpoint that
//! stays silent, and the budget that keeps hedges from becoming a storm. The client sees none of it.

mod budget;
mod hedge;
mod opening;
mod socket;

use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::event::Event;
use mio::net::TcpStream;
use portolan_config::address::ClientAddr;
use portolan_config::clock;
use portolan_config::flow::{EndCause, PickReason};
use portolan_config::health::HealthState;
use portolan_config::model::ProxyProtocol;
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::{AddressId, AddressSnapshot, ListenerSnapshot, Snapshot};
use portolan_config::stats::{ConnectFailure, HedgeResult, Limit};
use smallvec::SmallVec;

use crate::accept::reset_on_close;
pub(crate) use crate::connect::budget::Budget;
use crate::connect::hedge::{hedge_after, slow_after};
use crate::connect::opening::opening;
pub(crate) use crate::connect::socket::{classify, watch_path};
use crate::flow::{Abreast, Door, Flow, Phase, Route, Side};
use crate::list;
use crate::pick::{self, Candidate, Candidates};
use crate::relay::Ready;
use crate::wheel::Wheel;
use crate::worker::{Handle, Timer, Worker};

/// A flow that lives for this long is one that stays, and is given what only such a flow needs.
const YOUNG: Duration = Duration::from_secs(1);

/// Connects of one flow in the air at once; one side of the token each.
const ABREAST: usize = 3;

/// A flow without an endpoint yet.
pub(crate) struct Connecting {
    /// What `candidates` walks over.
    listener: Arc<ListenerSnapshot>,
    candidates: Candidates,
    tried: SmallVec<[AddressId; 4]>,
    attempts: SmallVec<[Attempt; 1]>,
    /// When the next endpoint is raced.
    hedge_at: Option<Instant>,
    /// When the endpoint asked last is reported as silent.
    slow_at: Option<Instant>,
    /// Read from the client together with its PROXY header.
    prelude: Vec<u8>,
    /// Type-length-values of that header, to be passed on.
    tlvs: Vec<u8>,
    /// No further candidate is asked: the budget is used up.
    spent: bool,
}

/// One connect in the air.
struct Attempt {
    side: Side,
    stream: TcpStream,
    route: Rc<Route>,
    port: u16,
    proxy: ProxyProtocol,
    started: Instant,
    deadline: Instant,
    reason: PickReason,
}

/// Why a further candidate is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    First,
    Retry,
    Hedge,
}

impl Worker {
    /// Picks an endpoint for a new flow and begins to connect.
    pub(crate) fn connect(&mut self, key: u32, prelude: Vec<u8>, tlvs: Vec<u8>) {
        let flow = &mut self.flows[key as usize];
        // The vectors of a PROXY header are gone once they were passed on: such a flow cannot begin anew.
        flow.retried_reset |= !tlvs.is_empty();
        self.budget.count_connect(self.now);
        self.begin(key, None, (prelude, tlvs), Ask::First);
    }

    /// Goes back to connecting with a flow that was reset before a byte had passed.
    pub(crate) fn connect_again(&mut self, key: u32) {
        self.leave_route(key);
        self.wheel.clear(&mut self.flows, key);
        let flow = &mut self.flows[key as usize];
        flow.retried_reset = true;
        // Closed now: its side of the token is another socket's from here on.
        flow.endpoint = None;
        let failed = flow.route.as_ref().map(|route| route.address);
        // The header at the front was made for the endpoint that is gone.
        let (mut kept, ours) = self.scratch.take_kept(&mut flow.inbound);
        let prelude = kept.split_off(ours);
        self.begin(key, failed, (prelude, Vec::new()), Ask::Retry);
    }

    fn begin(
        &mut self,
        key: u32,
        tried: Option<AddressId>,
        (prelude, tlvs): (Vec<u8>, Vec<u8>),
        ask: Ask,
    ) {
        let flow = &mut self.flows[key as usize];
        let listener = flow.door.listener();
        let candidates = pick::candidates(
            &listener,
            pick::key(&listener, flow.client_addr, flow.listener_addr),
        );
        flow.phase = Phase::Connecting(Box::new(Connecting {
            listener,
            candidates,
            tried: tried.into_iter().collect(),
            attempts: SmallVec::new(),
            hedge_at: None,
            slow_at: None,
            prelude,
            tlvs,
            spent: false,
        }));
        self.connecting = list::push::<Flow, Abreast>(&mut self.flows, self.connecting, key);
        self.advance(key, ask);
    }

    /// Asks the next candidate; ends the flow when none is left and none is in the air.
    fn advance(&mut self, key: u32, ask: Ask) {
        if !self.ask_next(key, ask) {
            self.give_up(key);
        }
    }

    /// Asks the next candidate, and the next after one that fails at once. False when none is left.
    fn ask_next(&mut self, key: u32, ask: Ask) -> bool {
        let mut ask = ask;
        while let Some((candidate, route)) = self.next_candidate(key, ask) {
            let flow = &mut self.flows[key as usize];
            flow.attempts = flow.attempts.saturating_add(1);
            if ask != Ask::First {
                flow.door.stats.retries.fetch_add(1, Relaxed);
            }
            match self.attempt(key, &candidate, Rc::clone(&route), ask) {
                Ok(()) => {
                    self.arm_connect(key);
                    return true;
                }
                Err(error) => {
                    self.count_failure(&route, candidate.to.0.port(), &error);
                    self.forget_route(&route);
                    ask = Ask::Retry;
                }
            }
        }
        false
    }

    /// The next candidate that this flow has not asked, if it may ask another.
    fn next_candidate(&mut self, key: u32, ask: Ask) -> Option<(Candidate, Rc<Route>)> {
        let flow = &mut self.flows[key as usize];
        let door = Rc::clone(&flow.door);
        let (attempts, client, spoken_to) = (flow.attempts, flow.client_addr, flow.listener_addr);
        let Phase::Connecting(connecting) = &mut flow.phase else {
            return None;
        };
        let newest = door.listener();
        let newer = !Arc::ptr_eq(&newest, &connecting.listener);
        if newer && ask != Ask::First {
            // Health has changed since the flow began: the order of its candidates with it.
            connecting.candidates =
                pick::candidates(&newest, pick::key(&newest, client, spoken_to));
            connecting.listener = newest;
        }
        if connecting.spent
            || attempts >= connecting.listener.settings.connect_attempts.get()
            || connecting.attempts.len() >= ABREAST
        {
            return None;
        }
        // The last attempt of a flow, and a race against two silent endpoints, leave the group where the others are: it may
        // be the whole region that is gone.
        let limit = connecting.listener.settings.connect_attempts.get();
        let racing = ask == Ask::Hedge && connecting.attempts.len() >= 2;
        let leaves = ask != Ask::First && limit > 1 && (attempts + 1 == limit || racing);
        let candidate = loop {
            if leaves {
                connecting.candidates.leave_group();
            }
            let candidate = connecting.candidates.next(&connecting.listener)?;
            let address = address_of(&connecting.listener, &candidate);
            if !connecting.tried.contains(&address) {
                break candidate;
            }
        };
        let address = address_of(&connecting.listener, &candidate);
        connecting.tried.push(address);
        let listener = Arc::clone(&connecting.listener);
        let route = self
            .routes
            .entry(address)
            .or_insert_with(|| Rc::new(Route::new(&listener, &candidate, &door)));
        Some((candidate, Rc::clone(route)))
    }

    /// Sends one SYN.
    fn attempt(
        &mut self,
        key: u32,
        candidate: &Candidate,
        route: Rc<Route>,
        ask: Ask,
    ) -> io::Result<()> {
        let handle = self.handle(key);
        let now = self.now;
        let flow = &mut self.flows[key as usize];
        let Phase::Connecting(connecting) = &mut flow.phase else {
            return Ok(());
        };
        let settings = Arc::clone(&connecting.listener.settings);
        let side = (1..=ABREAST as Side)
            .find(|side| {
                connecting
                    .attempts
                    .iter()
                    .all(|attempt| attempt.side != *side)
            })
            .unwrap_or(1);
        let who = (flow.client_addr, flow.id);
        let mut stream = from_where(who, &flow.door, &connecting.listener, candidate)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, handle.token(side), interest)?;
        route.stats.active_flows.fetch_add(1, Relaxed);
        let hedge_after = hedge_after(&connecting.listener, candidate, &route);
        connecting.hedge_at = hedge_after.map(|after| now + after);
        connecting.slow_at = Some(now + slow_after(&connecting.listener, candidate, &route));
        connecting.attempts.push(Attempt {
            side,
            stream,
            route,
            port: candidate.to.0.port(),
            proxy: connecting.listener.groups[candidate.group]
                .settings
                .proxy_protocol,
            started: now,
            deadline: now + settings.connect_timeout,
            reason: match ask {
                Ask::First => candidate.reason,
                Ask::Retry => PickReason::Retry,
                Ask::Hedge => PickReason::Hedge,
            },
        });
        Ok(())
    }

    /// Sets the timer of the next thing that can be due for a connecting flow.
    fn arm_connect(&mut self, key: u32) {
        let Phase::Connecting(connecting) = &self.flows[key as usize].phase else {
            return;
        };
        let deadlines = connecting.attempts.iter().map(|attempt| attempt.deadline);
        let moments = connecting.hedge_at.into_iter().chain(connecting.slow_at);
        if let Some(at) = deadlines.chain(moments).min() {
            let handle = self.handle(key);
            self.arm(at, Timer::Flow(handle));
        }
    }

    /// An event of one of the sockets that are connecting.
    pub(crate) fn on_connect_event(&mut self, handle: Handle, side: Side, event: &Event) {
        let flow = &mut self.flows[handle.key as usize];
        let first = flow.attempts == 1;
        let Phase::Connecting(connecting) = &mut flow.phase else {
            return;
        };
        let Some(index) = connecting
            .attempts
            .iter()
            .position(|attempt| attempt.side == side)
        else {
            return;
        };
        let stream = &connecting.attempts[index].stream;
        // Of a flow's first connect, writable without an error or a hang-up means connected: nothing need be asked.
        let clean = first && event.is_writable() && !event.is_error() && !event.is_write_closed();
        let pending = if clean { Ok(None) } else { stream.take_error() };
        let error = match pending {
            Ok(None) if event.is_writable() && !event.is_error() => {
                // An event of an earlier attempt on the same side may still have been on its way.
                if !first && stream.peer_addr().is_err() {
                    return;
                }
                let attempt = connecting.attempts.swap_remove(index);
                if socket::is_connected_to_itself(&attempt.stream, attempt.route.addr(attempt.port))
                {
                    self.attempt_failed(
                        handle.key,
                        attempt,
                        &io::ErrorKind::ConnectionRefused.into(),
                    );
                } else {
                    let ready = Ready {
                        readable: event.is_readable(),
                        writable: true,
                        read_closed: event.is_read_closed(),
                    };
                    self.connected(handle, attempt, ready);
                }
                return;
            }
            Ok(None) => return,
            Ok(Some(error)) | Err(error) => error,
        };
        let attempt = connecting.attempts.swap_remove(index);
        self.attempt_failed(handle.key, attempt, &error);
    }

    /// One of a flow's connects failed: the next candidate is asked at once, at no charge.
    fn attempt_failed(&mut self, key: u32, attempt: Attempt, error: &io::Error) {
        attempt.route.stats.active_flows.fetch_sub(1, Relaxed);
        self.count_failure(&attempt.route, attempt.port, error);
        if attempt.reason == PickReason::Hedge {
            self.flows[key as usize]
                .door
                .stats
                .count_hedge(HedgeResult::Lost);
        }
        let route = Rc::clone(&attempt.route);
        drop(attempt);
        self.forget_route(&route);
        self.advance(key, Ask::Retry);
    }

    /// Counts a failed connect and tells the health side, where the endpoint is at fault.
    fn count_failure(&mut self, route: &Route, port: u16, error: &io::Error) {
        let failure = classify(error);
        route.stats.connect_failures.fetch_add(1, Relaxed);
        route.door.stats.count_connect_failure(failure);
        let kind = match failure {
            ConnectFailure::Refused => SignalKind::Refused,
            ConnectFailure::TimedOut => SignalKind::TimedOut,
            ConnectFailure::Unreachable | ConnectFailure::Reset => SignalKind::Unreachable,
            ConnectFailure::Local => {
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::EMFILE | libc::ENFILE)
                ) {
                    self.shared.stats.count_limit(Limit::Ports);
                }
                return;
            }
        };
        self.raise(route, port, kind);
    }

    /// A hedge or a timeout is due.
    pub(crate) fn on_connect_timer(&mut self, handle: Handle) {
        let now = self.now;
        let Some(flow) = self.flow(handle) else {
            return;
        };
        let Phase::Connecting(connecting) = &mut flow.phase else {
            return;
        };
        if let Some(index) = connecting
            .attempts
            .iter()
            .position(|attempt| attempt.deadline <= now)
        {
            let attempt = connecting.attempts.swap_remove(index);
            return self.attempt_timed_out(handle, attempt);
        }
        let slow = connecting.slow_at.take_if(|at| *at <= now).is_some();
        let hedge = connecting.hedge_at.take_if(|at| *at <= now).is_some();
        if slow {
            self.report_slow(handle.key);
        }
        if hedge {
            self.hedge(handle.key);
        } else {
            self.arm_connect(handle.key);
        }
    }

    fn attempt_timed_out(&mut self, handle: Handle, attempt: Attempt) {
        let key = handle.key;
        let granted = self.budget.take_extra(self.now);
        if let Phase::Connecting(connecting) = &mut self.flows[key as usize].phase {
            // Out of budget: this flow waits for what is in the air, or fails, rather than add to a storm.
            connecting.spent |= !granted;
        }
        self.attempt_failed(key, attempt, &io::ErrorKind::TimedOut.into());
        if self
            .flow(handle)
            .is_some_and(|flow| matches!(flow.phase, Phase::Connecting(_)))
        {
            self.arm_connect(key);
        }
    }

    /// An endpoint answered: the flow is its, and the others are let go before a byte was written to them.
    fn connected(&mut self, handle: Handle, attempt: Attempt, ready: Ready) {
        let key = handle.key;
        self.connecting = list::remove::<Flow, Abreast>(&mut self.flows, self.connecting, key);
        let now = self.now;
        let flow = &mut self.flows[key as usize];
        let Phase::Connecting(connecting) = std::mem::replace(&mut flow.phase, Phase::Relaying)
        else {
            return;
        };
        let Connecting {
            attempts,
            prelude,
            tlvs,
            ..
        } = *connecting;
        let raced = attempt.reason == PickReason::Hedge;
        flow.endpoint_side = attempt.side;
        flow.endpoint_ready = ready;
        flow.endpoint_port = attempt.port;
        flow.reason = attempt.reason;
        flow.connect_micros = u32::try_from((now - flow.started).as_micros()).unwrap_or(u32::MAX);
        flow.endpoint = Some(attempt.stream);
        let (bytes, ours) = opening(flow, attempt.proxy, prelude, &tlvs);
        self.scratch.prepend(&mut flow.inbound, bytes, ours);
        flow.door.stats.connect.observe(now - flow.started);
        let route = attempt.route;
        route.live.connected(now - attempt.started);
        route.live.heard(clock::millis(now));
        route.stats.total_flows.fetch_add(1, Relaxed);
        route.flows.set(list::push::<Flow, Abreast>(
            &mut self.flows,
            route.flows.get(),
            key,
        ));
        let flow = &mut self.flows[key as usize];
        if raced {
            flow.door.stats.count_hedge(HedgeResult::Won);
        }
        flow.route = Some(route);
        let door = Rc::clone(&flow.door);
        for loser in attempts {
            if loser.reason == PickReason::Hedge {
                door.stats.count_hedge(HedgeResult::Lost);
            }
            self.drop_attempt(loser);
        }
        let tick = self.wheel.tick(now);
        let flow = &mut self.flows[key as usize];
        (flow.active, flow.stays) = (tick, false);
        let idle = door.settings().idle_timeout.min(YOUNG);
        self.wheel.set(
            &mut self.flows,
            key,
            tick.saturating_add(Wheel::ticks(idle)),
        );
        self.relay(handle, None);
    }

    fn drop_attempt(&mut self, attempt: Attempt) {
        reset_on_close(&attempt.stream);
        attempt.route.stats.active_flows.fetch_sub(1, Relaxed);
        let route = attempt.route;
        self.forget_route(&route);
    }

    /// No candidate is left: waits for those in the air, or fails the flow.
    fn give_up(&mut self, key: u32) {
        let waits = matches!(&self.flows[key as usize].phase, Phase::Connecting(c) if !c.attempts.is_empty());
        if waits {
            self.arm_connect(key);
        } else if self.flows[key as usize].route.is_some() {
            // It had an endpoint, which reset it.
            self.end(key, EndCause::EndpointRst);
        } else {
            self.end(key, EndCause::ConnectFailed);
        }
    }

    /// Takes a connecting flow's sockets down with it.
    pub(crate) fn abandon(&mut self, key: u32) {
        let Phase::Connecting(connecting) = &mut self.flows[key as usize].phase else {
            return;
        };
        let attempts = std::mem::take(&mut connecting.attempts);
        for attempt in attempts {
            self.drop_attempt(attempt);
        }
        self.connecting = list::remove::<Flow, Abreast>(&mut self.flows, self.connecting, key);
    }

    /// Flows that wait for an address which the newest snapshot knows to be down ask the next candidate, at no charge; where there
    /// is none they go on waiting.
    pub(crate) fn leave_fallen(&mut self) {
        let waiting = list::keys::<Flow, Abreast>(&mut self.flows, self.connecting);
        if waiting.is_empty() {
            return;
        }
        let down = down(&self.shared.snapshot.load());
        for key in waiting {
            while let Some(side) = self.fallen(key, &down) {
                if !self.ask_next(key, Ask::Retry) {
                    break;
                }
                let Phase::Connecting(connecting) = &mut self.flows[key as usize].phase else {
                    break;
                };
                let left = connecting.attempts.iter().position(|a| a.side == side);
                if let Some(index) = left {
                    let attempt = connecting.attempts.swap_remove(index);
                    self.drop_attempt(attempt);
                }
            }
        }
    }

    /// A connect of this flow to an address that is down, where another endpoint is available.
    fn fallen(&self, key: u32, down: &HashSet<AddressId>) -> Option<Side> {
        let flow = &self.flows[key as usize];
        let Phase::Connecting(connecting) = &flow.phase else {
            return None;
        };
        let listener = flow.door.listener();
        if listener
            .groups
            .iter()
            .all(|g| g.endpoints.available().is_empty())
        {
            return None;
        }
        let mut attempts = connecting.attempts.iter();
        let fallen = attempts.find(|attempt| down.contains(&attempt.route.address));
        fallen.map(|attempt| attempt.side)
    }

    /// Forgets a route that nobody uses.
    pub(crate) fn forget_route(&mut self, route: &Rc<Route>) {
        // The table's reference and the caller's.
        if Rc::strong_count(route) <= 2 {
            self.routes.remove(&route.address);
        }
    }
}

/// A socket toward the candidate, from the client's own address where that is wanted and works.
fn from_where(
    (client, number): (ClientAddr, u64),
    door: &Door,
    listener: &ListenerSnapshot,
    candidate: &Candidate,
) -> io::Result<TcpStream> {
    let (to, settings) = (candidate.to.0, &listener.settings);
    if at(listener, candidate).transparent {
        match socket::open_as(client.0, to) {
            Ok(stream) => return Ok(stream),
            Err((Some(cause), _)) => door.stats.count_address_fallback(cause),
            Err((None, error)) => return Err(error),
        }
    }
    socket::open(to, settings, number)
}

fn at<'l>(listener: &'l ListenerSnapshot, candidate: &Candidate) -> &'l AddressSnapshot {
    &listener.groups[candidate.group].endpoints[candidate.endpoint].addresses[candidate.address]
}

fn address_of(listener: &ListenerSnapshot, candidate: &Candidate) -> AddressId {
    at(listener, candidate).live.id
}

/// The addresses that a snapshot knows to be down.
fn down(snapshot: &Snapshot) -> HashSet<AddressId> {
    let groups = snapshot.listeners.iter().flat_map(|l| &l.groups);
    let addresses = groups
        .flat_map(|g| g.endpoints.iter())
        .flat_map(|e| &e.addresses);
    let fallen = addresses.filter(|address| address.health == HealthState::Down);
    fallen.map(|address| address.live.id).collect()
}
