//! Endpoint → client: what flows' sockets receive is gathered over flows and leaves in batches, each datagram from the address and port
//! that its client used.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use portolan_config::clock;
use portolan_config::stats::DropCause;
use smallvec::SmallVec;

use super::batch::{Reply, SLOTS};
use super::inbound::{is_of_trains, pieces};
use super::open::name_of;
use super::replay::Kept;
use super::table::FlowId;
use super::{Again, Turn, Udp, train};
use crate::sys;
use crate::sys::udp::{Meta, Outgoing};

/// Datagrams received of one flow at once: a few flows that answer together fill the buffers.
const OF_ONE_FLOW: usize = 8;

/// Receives of one flow in a turn: others wait, too.
const RECEIVES_A_TURN: usize = 8;

impl Udp {
    /// Reads what waits at a flow's socket, up to a turn's share.
    pub(super) fn read_flow(&mut self, turn: &mut Turn<'_>, id: FlowId) {
        for _ in 0..RECEIVES_A_TURN {
            // An event may be of a socket that is no longer.
            let Some(Some(socket)) = self.sockets.get(id as usize) else {
                return;
            };
            let first = self.used_slots();
            let room = OF_ONE_FLOW.min(SLOTS - first);
            let received = self
                .outbox
                .receive(socket.as_fd(), false, first..first + room);
            match received {
                Ok(metas) => {
                    let metas: SmallVec<[Meta; OF_ONE_FLOW]> = metas.into();
                    let more = metas.len() == room;
                    self.take_out(turn, id, &metas);
                    if self.used_slots() == SLOTS {
                        self.flush(turn);
                    }
                    if !more {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.on_receive_error(turn, id, &error),
            }
        }
        self.again.push(Again::Flow(id));
    }

    /// Buffers that hold answers.
    fn used_slots(&self) -> usize {
        self.replies.last().map_or(0, |reply| reply.slot + 1)
    }

    fn take_out(&mut self, turn: &mut Turn<'_>, id: FlowId, metas: &[Meta]) {
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        let carried = &mut flow.carried;
        let Some(entrance) = self.entrances.get(carried.entrance as usize) else {
            return;
        };
        let many = entrance.bind.ip().is_unspecified() || entrance.raw.is_some();
        let (to, local) = (flow.tuple.client, flow.tuple.local);
        let from = many.then(|| local.into());
        let now = clock::millis(turn.now).max(1);
        carried.heard = now;
        carried.kept = Kept::NONE;
        if let Some(rare) = &mut carried.rare {
            rare.tried.clear();
        }
        let path = Rc::clone(&carried.path);
        path.route.live.heard(now);
        let quic = path.route.door.settings().quic;
        let first = self.replies.last().map_or(0, |reply| reply.slot + 1);
        for (slot, meta) in (first..).zip(metas) {
            if meta.truncated {
                let stats = &path.route.door.stats;
                stats.count_dropped(DropCause::Truncated, 1);
                continue;
            }
            if quic {
                let packet = self.outbox.bytes(slot, meta.len);
                let name = name_of(&path.route.door);
                let known = &turn.shared.connections;
                let home = carried.home();
                if let Some(id) = known.learn(name, packet, to.ip(), home, turn.now) {
                    carried.rare().connection = Some(id);
                }
            }
            carried.packets_out += meta.datagrams();
            carried.bytes_out += meta.len as u64;
            let reply = Reply {
                entrance: carried.entrance,
                to: to.into(),
                from,
                slot,
                len: meta.len,
                segment: meta.segment,
                ecn: meta.ecn,
                path: Rc::clone(&path),
            };
            self.replies.push(reply);
        }
        self.table.touch(id, turn.now);
    }

    /// ICMP has said that nobody is there: what was sent last goes to another endpoint.
    fn on_receive_error(&mut self, turn: &mut Turn<'_>, id: FlowId, error: &io::Error) {
        self.forget_errors(id, error);
        let met = matches!(
            error.raw_os_error(),
            Some(
                libc::ECONNREFUSED
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::ENETDOWN
                    | libc::EACCES
                    | libc::ENOPROTOOPT
                    | libc::EPROTO
            )
        );
        if !met {
            return;
        }
        let kept = self.table.get(id).map(|flow| flow.carried.kept);
        if self.leave_refused(turn, id, error) {
            self.replay(turn, id);
        } else if let Some(flow) = self.table.get(id)
            && kept.is_some_and(|kept| self.ring.get(kept).is_some())
        {
            let stats = &flow.carried.path.route.door.stats;
            stats.count_dropped(DropCause::Refused, 1);
        }
    }

    /// What a flow's socket has been told by ICMP, and by the kernel of datagrams that are too long, waits in a queue that takes room
    /// from its answers.
    pub(super) fn forget_errors(&self, id: FlowId, error: &io::Error) {
        let busy = matches!(
            error.raw_os_error(),
            Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)
        );
        if let Some(socket) = self.sockets.get(id as usize).and_then(Option::as_ref)
            && !busy
        {
            sys::empty_error_queue(socket.as_fd());
        }
    }

    /// Sends the answers that wait.
    pub(super) fn flush(&mut self, turn: &mut Turn<'_>) {
        let mut replies = std::mem::take(&mut self.replies);
        let mut sent = 0;
        while let Some(next) = replies.get(sent) {
            let entrance = next.entrance;
            let same = replies[sent..]
                .iter()
                .take_while(|reply| reply.entrance == entrance)
                .count();
            let same_entrance = &replies[sent..sent + same];
            match self.raw_of(entrance) {
                Some(raw) => self.send_answers(turn, &raw, same_entrance),
                None => self.send_replies(turn, entrance, same_entrance),
            }
            sent += same;
        }
        replies.clear();
        self.replies = replies;
    }

    fn send_replies(&mut self, turn: &mut Turn<'_>, entrance: u32, replies: &[Reply]) {
        let mut sent = 0;
        while sent < replies.len() {
            let rest = &replies[sent..];
            let Some(entrance) = self.entrances.get(entrance as usize) else {
                return;
            };
            let (result, first) = {
                let parts: SmallVec<[&[u8]; SLOTS]> = rest
                    .iter()
                    .map(|reply| self.outbox.bytes(reply.slot, reply.len))
                    .collect();
                let trains = trains(rest, &parts, entrance.joins);
                let sizes = || trains.clone().map(|train| train.parts.len());
                let (socket, ipv6) = (entrance.socket(), entrance.bind.is_ipv6());
                let result = self.sender.send(socket, ipv6, trains.clone());
                let result = result.map(|count| sizes().take(count).sum::<usize>());
                let first = sizes().next().unwrap_or(1);
                (result, first)
            };
            match result {
                Ok(count) => {
                    for reply in &rest[..count] {
                        let passed = (reply.datagrams(), reply.len as u64);
                        self.note(turn, &reply.path, (0, 0), passed);
                    }
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.on_reply_error(turn, &rest[..first], &error);
                    sent += first;
                }
            }
        }
    }

    /// What was to leave as one, a train or a datagram, was refused.
    fn on_reply_error(&mut self, turn: &mut Turn<'_>, replies: &[Reply], error: &io::Error) {
        let Some(first) = replies.first() else {
            return;
        };
        if is_of_trains(error) && (first.segment > 0 || replies.len() > 1) {
            if error.raw_os_error() == Some(libc::EIO)
                && let Some(entrance) = self.entrances.get_mut(first.entrance as usize)
            {
                entrance.joins = false;
            }
            for reply in replies {
                self.reply_singly(turn, reply);
            }
            return;
        }
        let cause = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropCause::SendBuffer,
            Some(libc::EMSGSIZE) => DropCause::Mtu,
            Some(_) | None => DropCause::Network,
        };
        let stats = &first.path.route.door.stats;
        stats.count_dropped(cause, replies.iter().map(Reply::datagrams).sum());
    }

    /// Sends the datagrams of a train one by one.
    fn reply_singly(&mut self, turn: &mut Turn<'_>, reply: &Reply) {
        let Some(entrance) = self.entrances.get(reply.entrance as usize) else {
            return;
        };
        let (socket, ipv6) = (entrance.socket(), entrance.bind.is_ipv6());
        let (mut datagrams, mut bytes) = (0, 0);
        let train = self.outbox.bytes(reply.slot, reply.len);
        for payload in pieces(train, reply.segment) {
            let single = Outgoing {
                to: Some(reply.to),
                from: reply.from.map(|from| from.ip()),
                header: &[],
                parts: &[payload],
                segment: 0,
                ecn: reply.ecn,
            };
            let sent = self.sender.send(socket, ipv6, std::iter::once(single));
            if sent.is_ok() {
                datagrams += 1;
                bytes += payload.len() as u64;
            }
        }
        let lost = reply.datagrams() - datagrams;
        if lost > 0 {
            let stats = &reply.path.route.door.stats;
            stats.count_dropped(DropCause::Network, lost);
        }
        self.note(turn, &reply.path, (0, 0), (datagrams, bytes));
    }
}

/// Answers of one entrance as they are handed to the kernel: what can be joined is.
fn trains<'a>(
    replies: &'a [Reply],
    parts: &'a [&'a [u8]],
    joins: bool,
) -> impl Iterator<Item = Outgoing<'a>> + Clone {
    let longest = if joins { train::LONGEST } else { 0 };
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = replies.get(at)?;
        let same = |reply: &&Reply| reply.to == first.to && reply.from == first.from;
        let pieces = replies[at..].iter().take_while(same).map(Reply::piece);
        let count = train::joined(pieces, 0, longest);
        let parts = &parts[at..at + count];
        at += count;
        Some(Outgoing {
            to: Some(first.to),
            from: first.from.map(|from| from.ip()),
            header: &[],
            parts,
            segment: if count > 1 { first.len } else { first.segment },
            ecn: first.ecn,
        })
    })
}
