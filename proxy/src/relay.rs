//! The third step: bytes both ways, the end of a direction passed on as a half-close and a reset as a reset; then the timers that
//! bound it all.

pub(crate) mod pump;
pub(crate) mod ring;
pub(crate) mod splice;

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use mio::Interest;
use mio::net::TcpStream;
use portolan_config::clock;
use portolan_config::flow::EndCause;
use portolan_config::signal::SignalKind;

use crate::connect::{send_at_once, watch_path};
use crate::flow::{CLIENT, End, Flow, Phase, Side};
pub(crate) use crate::relay::pump::{Pipe, Ready, Scratch};
use crate::relay::pump::{Pumped, Way, pump};
use crate::sys;
use crate::wheel::Wheel;
use crate::worker::{Again, Handle, Worker};

/// What a turn of a flow came to.
enum Turn {
    Goes,
    GoesOnAtOnce,
    Over(EndCause),
    /// The endpoint failed; whether that is the end depends on what has passed.
    EndpointFailed(io::Error),
    /// The network says that there is no way to the endpoint; the connection stands.
    Unreachable,
}

impl Worker {
    /// Moves what can be moved. `failed` names a side on which the kernel reported an error.
    pub(crate) fn relay(&mut self, handle: Handle, failed: Option<Side>) {
        let flow = &self.flows[handle.key as usize];
        if matches!(flow.phase, Phase::Relaying) && !flow.on_ring.has() {
            self.moving(handle, |flow, scratch| turn(flow, scratch, failed));
            if self.flow(handle).is_some() {
                self.join_ring(handle);
            }
        }
    }

    /// Has something moved, and sees to what that means.
    fn moving(&mut self, handle: Handle, what: impl FnOnce(&mut Flow, &mut Scratch) -> Turn) {
        let key = handle.key as usize;
        let flow = &mut self.flows[key];
        let before = (flow.inbound.bytes, flow.outbound.bytes);
        let (reads, went_on) = (flow.outbound.reads, !flow.outbound.eof);
        let turn = what(flow, &mut self.scratch);
        self.scratch.pipes.settle(&self.shared.stats);
        flow.prompt |= flow.writes_on() && flow.endpoint.as_ref().is_some_and(send_at_once);
        let moved = (
            flow.inbound.bytes - before.0,
            flow.outbound.bytes - before.1,
        );
        // Read, not written on: a client that takes nothing says nothing about the endpoint.
        let answered = flow.outbound.reads != reads;
        let ended = (went_on && flow.outbound.eof) || matches!(turn, Turn::EndpointFailed(_));
        let left = ended && !answered && !flow.on_ring.ends_answer() && !flow.inbound.eof;
        if moved != (0, 0) || answered {
            flow.active = self.wheel.tick(self.now);
            if let Some(route) = flow.route.as_ref().map(Rc::clone) {
                self.note(&route, moved.0, moved.1);
                if answered {
                    route.live.answered(clock::millis(self.now));
                }
            }
            self.note_waiting(handle, moved.0 > 0, answered);
            if before.0 == 0 && moved.0 > 0 {
                self.expect_first_byte(handle);
            }
        }
        if left {
            self.note_left(handle.key);
        }
        if let Err(error) = self.await_room(handle) {
            tracing::error!(%error, "cannot wait for a client to take bytes");
            return self.end(handle.key, EndCause::Limit);
        }
        match turn {
            Turn::Goes => self.watch_half_close(handle.key),
            Turn::GoesOnAtOnce => {
                let flow = &mut self.flows[key];
                if !flow.queued {
                    flow.queued = true;
                    self.again.push(Again::Flow(handle));
                }
            }
            Turn::Over(cause) => self.end(handle.key, cause),
            Turn::EndpointFailed(error) => self.endpoint_failed(handle.key, &error),
            Turn::Unreachable => self.endpoint_unreachable(handle),
        }
    }

    /// Sees to it that a client that takes nothing is heard of when it does: few are ever so slow.
    fn await_room(&mut self, handle: Handle) -> io::Result<()> {
        let flow = &mut self.flows[handle.key as usize];
        // On the ring it is off the event loop, and back on it before it waits.
        if flow.client_ready.writable
            || flow.on_ring.has()
            || std::mem::replace(&mut flow.told_of_room, true)
        {
            return Ok(());
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .reregister(&mut flow.client, handle.token(CLIENT), both)
    }

    /// ICMP, which anybody on the path may have sent: suspicion at once, and the flow goes on as if nothing had been said.
    fn endpoint_unreachable(&mut self, handle: Handle) {
        let flow = &mut self.flows[handle.key as usize];
        if !std::mem::replace(&mut flow.queued, true) {
            self.again.push(Again::Flow(handle));
        }
        let flow = &self.flows[handle.key as usize];
        if let Some(route) = &flow.route {
            self.raise(route, flow.endpoint_port, SignalKind::Unreachable, flow.id);
        }
    }

    /// The endpoint reset the flow, or the path to it died under it.
    fn endpoint_failed(&mut self, key: u32, error: &io::Error) {
        let flow = &self.flows[key as usize];
        // What was read and not taken is kept, so that another endpoint can be given all of it.
        let untouched = flow.inbound.bytes == 0 && flow.outbound.reads == 0 && !flow.outbound.eof;
        if let Some(route) = &flow.route {
            let source = flow.client_addr.0.ip();
            let kind = match error.raw_os_error() {
                Some(libc::ETIMEDOUT) => Some(SignalKind::TimedOut),
                Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => Some(SignalKind::Unreachable),
                _ if flow.outbound.bytes == 0 => Some(SignalKind::ResetBeforeFirstByte { source }),
                _ => None,
            };
            if let Some(kind) = kind {
                self.raise(route, flow.endpoint_port, kind, flow.id);
            }
        }
        // Nothing has passed either way, so another endpoint can serve this flow as if nothing had been.
        if untouched && !flow.retried_reset && !flow.inbound.shut {
            self.connect_again(key);
        } else {
            self.end(key, EndCause::EndpointRst);
        }
    }

    /// A flow of which one direction is over is looked at after its half-close timeout.
    fn watch_half_close(&mut self, key: u32) {
        let flow = &mut self.flows[key as usize];
        if flow.finished_first.is_some() || !(flow.inbound.shut || flow.outbound.shut) {
            return;
        }
        flow.finished_first = Some(if flow.inbound.shut {
            End::Client
        } else {
            End::Endpoint
        });
        let timeout = flow.door.settings().half_close_timeout;
        let deadline = self
            .wheel
            .tick(self.now)
            .saturating_add(Wheel::ticks(timeout));
        self.wheel.set(&mut self.flows, key, deadline);
    }

    /// A flow's slot of the wheel came up: it is over if no byte has moved for its timeout, else it goes into a later slot.
    pub(crate) fn on_wheel(&mut self, key: u32) {
        let tick = self.wheel.tick(self.now);
        let flow = &mut self.flows[key as usize];
        let settings = flow.door.settings();
        if !std::mem::replace(&mut flow.stays, true)
            && let (Some(endpoint), Some(route)) = (&flow.endpoint, &flow.route)
            && let Err(error) = watch_path(endpoint, route.ip, &settings)
        {
            // It was reset a moment ago; the event is on its way.
            tracing::debug!(%error, "an endpoint's socket takes no keepalive");
        }
        let (timeout, cause) = match flow.finished_first {
            None => (settings.idle_timeout, EndCause::Idle),
            // Counted from the last byte: a long answer to a client that has finished asking is not cut off.
            Some(_) => (settings.half_close_timeout, EndCause::HalfClose),
        };
        let deadline = flow.active.saturating_add(Wheel::ticks(timeout));
        if deadline <= tick {
            self.end(key, cause);
        } else {
            self.wheel.set(&mut self.flows, key, deadline);
        }
    }
}

impl Flow {
    /// Whether its endpoint's socket has been, or will be, written to more than once.
    fn writes_on(&self) -> bool {
        !self.prompt && (self.inbound.reads > 1 || self.inbound.is_blocked())
    }
}

/// Pumps both directions once, the one out of a failed socket first: what it had sent before it failed still counts.
fn turn(flow: &mut Flow, scratch: &mut Scratch, failed: Option<Side>) -> Turn {
    let order = if failed.is_some_and(|side| side != CLIENT) {
        [outbound, inbound]
    } else {
        [inbound, outbound]
    };
    if let Some(turn) = failed.and_then(|side| failed_after_its_end(flow, side)) {
        return turn;
    }
    let mut again = false;
    for pump in order {
        match pump(flow, scratch) {
            Ok(more) => again |= more,
            Err(turn) => return turn,
        }
    }
    match (flow.inbound.shut && flow.outbound.shut, flow.finished_first) {
        (true, _) if flow.cut_off => Turn::Over(EndCause::EndpointRst),
        (true, Some(End::Endpoint)) => Turn::Over(EndCause::EndpointFin),
        (true, Some(End::Client) | None) => Turn::Over(EndCause::ClientFin),
        (false, _) if again => Turn::GoesOnAtOnce,
        (false, _) => Turn::Goes,
    }
}

/// A socket that failed after its end had been read is not read again, so its error must be asked for.
fn failed_after_its_end(flow: &Flow, side: Side) -> Option<Turn> {
    if side == CLIENT {
        let error = flow.inbound.eof.then(|| pending_error(&flow.client))?;
        error.map(|_| Turn::Over(EndCause::ClientRst))
    } else {
        let endpoint = flow.endpoint.as_ref()?;
        let error = flow.outbound.eof.then(|| pending_error(endpoint))?;
        error.map(|error| endpoint_error(endpoint, error))
    }
}

/// What an error of the endpoint's socket means. A reset and the end of all retries close the connection; what ICMP says does not.
fn endpoint_error(endpoint: &TcpStream, error: io::Error) -> Turn {
    let is_icmp = error
        .raw_os_error()
        .is_some_and(|code| OF_ICMP.contains(&code));
    match sys::tcp_state(endpoint.as_fd()) {
        Ok(state) if is_icmp && state.open => Turn::Unreachable,
        Ok(_) | Err(_) => Turn::EndpointFailed(error),
    }
}

/// What the kernel makes of ICMP (`icmp_err_convert` in net/ipv4/icmp.c, `tab_unreach` in net/ipv6/icmp.c). Each is told once.
const OF_ICMP: [i32; 9] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ENOPROTOOPT,
    libc::ECONNREFUSED,
    libc::EOPNOTSUPP,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EACCES,
    libc::EPROTO,
];

/// From client to endpoint; whether there is more to move at once.
fn inbound(flow: &mut Flow, scratch: &mut Scratch) -> Result<bool, Turn> {
    let Some(endpoint) = flow.endpoint.as_ref().filter(|_| !flow.inbound.shut) else {
        return Ok(false);
    };
    let (source, sink) = (&mut flow.client_ready, &mut flow.endpoint_ready);
    let other_way = Way::of(&flow.outbound);
    match pump(
        &flow.client,
        source,
        endpoint,
        sink,
        &mut flow.inbound,
        scratch,
        other_way,
    ) {
        Pumped::Waiting => Ok(false),
        Pumped::Again => Ok(true),
        Pumped::SourceFailed(_) => Err(Turn::Over(EndCause::ClientRst)),
        Pumped::SinkFailed(error) => endpoint_takes_nothing(flow, scratch, error),
    }
}

/// The endpoint's socket gave an error instead of taking bytes: the client is given what had been answered before.
fn endpoint_takes_nothing(
    flow: &mut Flow,
    scratch: &mut Scratch,
    error: io::Error,
) -> Result<bool, Turn> {
    let Some(endpoint) = &flow.endpoint else {
        return Ok(false);
    };
    let Turn::EndpointFailed(error) = endpoint_error(endpoint, sooner(endpoint, error)) else {
        return Err(Turn::Unreachable);
    };
    while outbound(flow, scratch)? {}
    if flow.outbound.is_blocked() {
        // The endpoint takes nothing more, but the client has yet to take what it had answered: all of it, where a broken pipe says that
        // the endpoint had come to its end.
        flow.cut_off = error.raw_os_error() != Some(libc::EPIPE);
        scratch.forget(&mut flow.inbound);
        (flow.inbound.eof, flow.inbound.shut) = (true, true);
        return Ok(false);
    }
    Err(Turn::EndpointFailed(error))
}

/// From endpoint to client; whether there is more to move at once.
fn outbound(flow: &mut Flow, scratch: &mut Scratch) -> Result<bool, Turn> {
    let Some(endpoint) = flow.endpoint.as_ref().filter(|_| !flow.outbound.shut) else {
        return Ok(false);
    };
    let (source, sink) = (&mut flow.endpoint_ready, &mut flow.client_ready);
    let other_way = Way::of(&flow.inbound);
    match pump(
        endpoint,
        source,
        &flow.client,
        sink,
        &mut flow.outbound,
        scratch,
        other_way,
    ) {
        Pumped::Waiting => Ok(false),
        Pumped::Again => Ok(true),
        Pumped::SourceFailed(error) => Err(endpoint_error(endpoint, error)),
        Pumped::SinkFailed(_) => Err(Turn::Over(EndCause::ClientRst)),
    }
}

fn pending_error(socket: &TcpStream) -> Option<io::Error> {
    socket.take_error().ok().flatten()
}

/// A broken pipe says less than the error that broke it.
fn sooner(socket: &TcpStream, error: io::Error) -> io::Error {
    pending_error(socket).unwrap_or(error)
}
