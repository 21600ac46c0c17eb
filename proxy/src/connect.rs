//! From a picked endpoint to a connected one: attempts, the free retry after a refusal, the race (hedge) against an endpoint that
//! stays silent, and the budget that keeps hedges from becoming a storm. The client sees none of it.

mod attempt;
mod budget;
mod fallen;
mod hedge;
mod opening;
mod socket;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use portolan_config::clock;
use portolan_config::flow::{EndCause, PickReason};
use portolan_config::model::ProxyProtocol;
use portolan_config::snapshot::{AddressId, AddressSnapshot, ListenerSnapshot};
use portolan_config::stats::HedgeResult;
use smallvec::SmallVec;

pub(crate) use crate::connect::budget::Budget;
use crate::connect::opening::opening;
pub(crate) use crate::connect::socket::{classify, send_at_once, watch_path};
use crate::flow::{Abreast, Flow, Phase, Route, Side};
use crate::list;
use crate::pick::{self, Candidate, Candidates};
use crate::relay::Ready;
use crate::wheel::Wheel;
use crate::worker::{Handle, Worker};

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
        let Ok((mut kept, ours)) = self.scratch.take_kept(&mut flow.inbound) else {
            return self.end(key, EndCause::EndpointRst);
        };
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
                    self.count_failure(key, &route, candidate.to.0.port(), &error);
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
        let (bytes, ours) = opening(flow, attempt.proxy, prelude, &tlvs);
        // What goes before the client's bytes is a write of its own.
        flow.prompt = !bytes.is_empty() && send_at_once(&attempt.stream);
        flow.endpoint = Some(attempt.stream);
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

    /// Forgets a route that nobody uses.
    pub(crate) fn forget_route(&mut self, route: &Rc<Route>) {
        // The table's reference and the caller's.
        if Rc::strong_count(route) <= 2 {
            self.routes.remove(&route.address);
        }
    }
}

fn at<'l>(listener: &'l ListenerSnapshot, candidate: &Candidate) -> &'l AddressSnapshot {
    &listener.groups[candidate.group].endpoints[candidate.endpoint].addresses[candidate.address]
}

fn address_of(listener: &ListenerSnapshot, candidate: &Candidate) -> AddressId {
    at(listener, candidate).live.id
}
