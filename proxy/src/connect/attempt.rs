//! One connect in the air: sent, answered, failed, overdue or let go.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mio::Interest;
use mio::event::Event;
use mio::net::TcpStream;
use portolan_config::address::ClientAddr;
use portolan_config::flow::PickReason;
use portolan_config::snapshot::ListenerSnapshot;
use portolan_config::stats::{HedgeResult, Limit};

use super::hedge::{hedge_after, slow_after};
use super::{ABREAST, Ask, Attempt, at, classify, socket};
use crate::accept::reset_on_close;
use crate::flow::{Door, Phase, Route, Side};
use crate::pick::Candidate;
use crate::relay::Ready;
use crate::worker::{Handle, Timer, Worker};

impl Worker {
    /// Sends one SYN.
    pub(super) fn attempt(
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
    pub(super) fn arm_connect(&mut self, key: u32) {
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
                let to = attempt.route.addr(attempt.port);
                if socket::is_connected_to_itself(&attempt.stream, to, &self.ephemeral) {
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
        self.count_failure(key, &attempt.route, attempt.port, error);
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
    pub(super) fn count_failure(&mut self, key: u32, route: &Route, port: u16, error: &io::Error) {
        let Some(kind) = route.count_failure(classify(error)) else {
            let lacks = [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ENFILE];
            if error
                .raw_os_error()
                .is_some_and(|code| lacks.contains(&code))
            {
                self.shared.stats.count_limit(Limit::Ports);
            }
            return;
        };
        self.raise(route, port, kind, self.flows[key as usize].id);
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

    pub(super) fn drop_attempt(&mut self, attempt: Attempt) {
        reset_on_close(&attempt.stream);
        attempt.route.stats.active_flows.fetch_sub(1, Relaxed);
        let route = attempt.route;
        self.forget_route(&route);
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
