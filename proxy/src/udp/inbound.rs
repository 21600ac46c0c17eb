//! Client → endpoint: datagrams are read in batches, each is given to its flow, and what stands one after another for the same flow is
//! sent together.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use portolan_config::model::Protocol;
use portolan_config::stats::DropCause;
use smallvec::SmallVec;

use super::batch::{Batch, SLOTS};
use super::open::First;
use super::replay::Kept;
use super::table::{Declared, FlowId, Tuple};
use super::train::{Piece, joined};
use super::{Again, Entrance, Turn, Udp};
use crate::accept::is_lack;
use crate::flow::Door;
use crate::proxy_protocol::{Decoded, decode, encode_v2};
use crate::sys::udp::{MAX_SEGMENTS, Meta, Outgoing, path_mtu, send};

/// Batches read of one socket in a turn: others wait, too.
const BATCHES_A_TURN: usize = 4;

/// How often one message is tried: after a refusal by each of a few endpoints, an interruption, an error that belonged to an earlier one.
const TRIES: usize = 6;

/// Datagrams, one after another, of one flow.
#[derive(Default)]
struct Run<'b> {
    flow: Option<FlowId>,
    messages: SmallVec<[Message<'b>; SLOTS]>,
    /// What their sender's header carried, to be passed on.
    tlvs: &'b [u8],
}

/// One datagram, or several of one size.
#[derive(Clone, Copy)]
struct Message<'b> {
    payload: &'b [u8],
    segment: usize,
    ecn: u8,
}

impl Message<'_> {
    fn piece(&self) -> Piece {
        Piece {
            len: self.payload.len(),
            segment: self.segment,
            ecn: self.ecn,
        }
    }

    fn datagrams(&self) -> u64 {
        match self.segment {
            0 => 1,
            segment => self.payload.len().div_ceil(segment) as u64,
        }
    }
}

/// What to do about a message that was not sent.
enum After {
    /// Try it again.
    Again,
    /// Go on with the next one.
    Next,
}

impl Udp {
    /// Reads what waits at a listening socket, up to a turn's share.
    pub(super) fn read_entrance(&mut self, turn: &mut Turn<'_>, key: usize) {
        let handed = |entrance: &Entrance| self.handed && entrance.leaving.is_none();
        if self.held || self.entrances.get(key).is_none_or(handed) {
            return;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut more = true;
        for _ in 0..BATCHES_A_TURN {
            let Some(entrance) = self.entrances.get(key) else {
                more = false;
                break;
            };
            match inbox.receive(entrance.socket(), true, 0..SLOTS) {
                Ok(metas) => {
                    let metas: SmallVec<[Meta; SLOTS]> = metas.into();
                    more = metas.len() == SLOTS;
                    self.openings.read(more);
                    self.take_in(turn, key, &inbox, &metas);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    more = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        turn.shared.stats.accept_errors.fetch_add(1, Relaxed);
                        // The error is taken off the socket; what waits behind it raises no new event.
                        more = !is_lack(&error);
                    }
                }
            }
            if !more {
                break;
            }
        }
        self.inbox = inbox;
        if more
            && let Some(entrance) = self.entrances.get_mut(key)
            && !entrance.queued
        {
            entrance.queued = true;
            self.again.push(Again::Entrance(key));
        }
    }

    fn take_in<'b>(&mut self, turn: &mut Turn<'_>, key: usize, inbox: &'b Batch, metas: &[Meta]) {
        let entrance = &self.entrances[key];
        let (bind, behind) = (entrance.bind, entrance.behind.clone());
        let mut run = Run::default();
        for (slot, meta) in metas.iter().enumerate() {
            let bytes: &'b [u8] = inbox.bytes(slot, meta.len);
            let port = meta.port.unwrap_or(bind.port());
            // None where a reload has taken the port away since the datagram came.
            let Some(door) = behind.at(port) else {
                continue;
            };
            if meta.truncated {
                door.stats.count_dropped(DropCause::Truncated, 1);
                continue;
            }
            let local = SocketAddr::new(meta.local.unwrap_or(bind.ip()), port);
            let tuple = Tuple {
                client: meta.from.into(),
                local: local.into(),
            };
            let trusted = door.settings().accept_proxy.as_ref().is_some_and(|accept| {
                let from = meta.from.ip().to_canonical();
                accept.from.iter().any(|net| net.contains(&from))
            });
            let whole = Message {
                payload: bytes,
                segment: meta.segment,
                ecn: meta.ecn,
            };
            if !trusted {
                self.give(turn, (key, door), (tuple, None), whole, &[], &mut run);
                continue;
            }
            // Every datagram brings a header of its own.
            for datagram in pieces(bytes, meta.segment) {
                match opened(datagram) {
                    Some((declared, tlvs, payload)) => {
                        let message = Message {
                            payload,
                            segment: 0,
                            ecn: meta.ecn,
                        };
                        self.give(
                            turn,
                            (key, door),
                            (tuple, declared),
                            message,
                            tlvs,
                            &mut run,
                        );
                    }
                    None => {
                        turn.shared.stats.proxy_header_errors.fetch_add(1, Relaxed);
                        door.stats.count_dropped(DropCause::ProxyHeader, 1);
                    }
                }
            }
        }
        self.send_run(turn, &mut run);
    }

    /// Gives a message to its flow, or to a new one.
    fn give<'b>(
        &mut self,
        turn: &mut Turn<'_>,
        (key, door): (usize, &Rc<Door>),
        (tuple, declared): (Tuple, Option<Declared>),
        message: Message<'b>,
        tlvs: &'b [u8],
        run: &mut Run<'b>,
    ) {
        let flow = match self.table.find(&tuple, declared.as_ref()) {
            Some(id) => {
                if run.flow != Some(id) {
                    self.send_run(turn, run);
                    self.go_on(turn, key, id);
                }
                id
            }
            None => {
                // What was read before may make room, and keeps its order.
                self.send_run(turn, run);
                let first = First {
                    entrance: key,
                    door,
                    tuple,
                    declared,
                    payload: message.payload,
                };
                match self.open(turn, &first) {
                    Ok(id) => id,
                    Err(cause) => {
                        door.stats.count_dropped(cause, message.datagrams());
                        return;
                    }
                }
            }
        };
        if run.flow != Some(flow) || run.tlvs != tlvs || run.messages.len() == SLOTS {
            self.send_run(turn, run);
        }
        run.flow = Some(flow);
        run.tlvs = tlvs;
        run.messages.push(message);
    }

    /// A datagram of a flow that is there.
    fn go_on(&mut self, turn: &mut Turn<'_>, key: usize, id: FlowId) {
        self.openings.known(turn.now);
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        // Another than it came in by, where a named address has been opened beside the wildcard.
        flow.carried.entrance = key as u32;
        let (since, heard) = flow.carried.times();
        if let Some(cause) = flow.carried.path.must_leave(since, heard, turn.now) {
            self.leave_stranded(turn, id, cause);
        }
        if heard.is_some() {
            self.table.confirm(id);
        }
    }

    /// Sends what a run holds, and empties it.
    fn send_run(&mut self, turn: &mut Turn<'_>, run: &mut Run<'_>) {
        let messages = std::mem::take(&mut run.messages);
        let Some(id) = run.flow.take().filter(|_| !messages.is_empty()) else {
            return;
        };
        let mut header = std::mem::take(&mut self.header);
        let mut sent = 0;
        let mut tries = 0;
        while sent < messages.len() {
            self.write_header(id, run.tlvs, &mut header);
            match self.send_some(id, &header, &messages[sent..]) {
                Ok(count) => {
                    self.note_sent(turn, id, &messages[sent..sent + count]);
                    sent += count;
                    tries = 0;
                }
                Err(error) if self.was_joined(id, &header, &messages[sent..], &error) => {}
                Err(error) => {
                    tries += 1;
                    let after = self.on_send_error(turn, id, &header, messages[sent], &error);
                    if tries >= TRIES || matches!(after, After::Next) {
                        sent += 1;
                        tries = 0;
                    }
                }
            }
        }
        self.warn_of_fragments(turn, id, &header, &messages);
        if let [.., last] = messages.as_slice() {
            self.keep(id, last);
        }
        self.header = header;
    }

    /// The PROXY header of a flow, where its endpoint gets one.
    fn write_header(&self, id: FlowId, tlvs: &[u8], header: &mut Vec<u8>) {
        header.clear();
        let Some(flow) = self
            .table
            .get(id)
            .filter(|flow| flow.carried.path.proxy.get())
        else {
            return;
        };
        let (client, local) = match flow.declared.as_deref() {
            Some(declared) => *declared,
            None => (flow.tuple.client, flow.tuple.local),
        };
        encode_v2(
            client.into(),
            local.into(),
            Protocol::Udp,
            Some(&flow.carried.id.to_be_bytes()),
            tlvs,
            header,
        );
    }

    fn send_some(
        &mut self,
        id: FlowId,
        header: &[u8],
        messages: &[Message<'_>],
    ) -> io::Result<usize> {
        let Some(socket) = self.sockets.get(id as usize).and_then(Option::as_ref) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let Some(flow) = self.table.get(id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let path = &flow.carried.path;
        let (splits, joins) = (path.splits.get(), path.joins.get());
        let ipv6 = path.route.ip.is_ipv6();
        match messages {
            [one] if header.is_empty() && one.segment == 0 && one.ecn == 0 => {
                send(socket.as_fd(), one.payload).map(|()| 1)
            }
            // A train that must go one by one is its own error, dealt with as such.
            [train, ..]
                if train.segment > 0 && (splits || train.datagrams() > MAX_SEGMENTS as u64) =>
            {
                Err(io::Error::from_raw_os_error(libc::EINVAL))
            }
            messages => {
                let whole = |message: &&Message<'_>| !(splits && message.segment > 0);
                let whole = messages.iter().take_while(whole).count();
                let messages = &messages[..whole];
                let parts: SmallVec<[&[u8]; SLOTS]> = messages.iter().map(|m| m.payload).collect();
                let trains = trains(messages, &parts, header, joins);
                let sent = self.sender.send(socket.as_fd(), ipv6, trains.clone())?;
                Ok(trains.take(sent).map(|train| train.parts.len()).sum())
            }
        }
    }

    /// Whether what was refused were several datagrams joined to one train, as devices refuse that of some paths. Such ones are sent
    /// one by one from here on.
    fn was_joined(
        &self,
        id: FlowId,
        header: &[u8],
        messages: &[Message<'_>],
        error: &io::Error,
    ) -> bool {
        let Some(flow) = self.table.get(id) else {
            return false;
        };
        let joins = &flow.carried.path.joins;
        let pieces = messages.iter().map(Message::piece);
        if !is_of_trains(error) || joined(pieces, header.len(), joins.get()) <= 1 {
            return false;
        }
        joins.set(match error.raw_os_error() {
            // The device cannot compute their checksums, whatever their length.
            Some(libc::EIO) => 0,
            Some(_) | None => messages[0].payload.len() + header.len() - 1,
        });
        true
    }

    fn on_send_error(
        &mut self,
        turn: &mut Turn<'_>,
        id: FlowId,
        header: &[u8],
        message: Message<'_>,
        error: &io::Error,
    ) -> After {
        self.forget_errors(id, error);
        let cause = match error.raw_os_error() {
            Some(libc::EINTR) => return After::Again,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropCause::SendBuffer,
            // Told of an earlier datagram; this one was not sent, and goes to the next endpoint after that one has.
            Some(
                libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EPERM
                | libc::EACCES,
            ) => {
                if self.leave_refused(turn, id, error) {
                    self.replay(turn, id);
                    return After::Again;
                }
                DropCause::Refused
            }
            Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO) if message.segment > 0 => {
                // EIO: the device cannot compute checksums (Linux before 6.11). It will not learn it.
                if error.raw_os_error() == Some(libc::EIO)
                    && let Some(flow) = self.table.get(id)
                {
                    flow.carried.path.splits.set(true);
                }
                self.send_singly(turn, id, header, message);
                return After::Next;
            }
            Some(libc::EMSGSIZE) => DropCause::Mtu,
            Some(_) | None => DropCause::Network,
        };
        if let Some(flow) = self.table.get(id) {
            let door = Rc::clone(&flow.carried.path.route.door);
            door.stats.count_dropped(cause, message.datagrams());
            if cause == DropCause::Mtu && self.may_log(turn.now) {
                tracing::warn!(
                    accelerator = %door.accelerator, bytes = message.payload.len(), header = header.len(),
                    "a datagram is too long to be sent to its endpoint with its PROXY header; counted in datagrams_dropped_total"
                );
            }
        }
        After::Next
    }

    /// Sends the datagrams of a train one by one.
    fn send_singly(&mut self, turn: &mut Turn<'_>, id: FlowId, header: &[u8], train: Message<'_>) {
        for payload in pieces(train.payload, train.segment) {
            let single = Message {
                payload,
                segment: 0,
                ecn: train.ecn,
            };
            match self.send_some(id, header, &[single]) {
                Ok(_) => self.note_sent(turn, id, &[single]),
                Err(error) => {
                    self.on_send_error(turn, id, header, single, &error);
                }
            }
        }
    }

    fn note_sent(&mut self, turn: &mut Turn<'_>, id: FlowId, messages: &[Message<'_>]) {
        let datagrams: u64 = messages.iter().map(Message::datagrams).sum();
        let bytes: u64 = messages.iter().map(|m| m.payload.len() as u64).sum();
        self.table.touch(id, turn.now);
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        flow.carried.packets_in += datagrams;
        flow.carried.bytes_in += bytes;
        let path = Rc::clone(&flow.carried.path);
        self.note(turn, &path, (datagrams, bytes), (0, 0));
    }

    /// Keeps the last datagram until it is answered.
    fn keep(&mut self, id: FlowId, last: &Message<'_>) {
        let kept = match last.segment {
            0 => self.ring.keep(last.payload),
            _ => Kept::NONE,
        };
        if let Some(flow) = self.table.get_mut(id) {
            flow.carried.kept = kept;
        }
    }

    /// Sends a flow's last unanswered datagram to the endpoint that it came to.
    pub(super) fn replay(&mut self, turn: &mut Turn<'_>, id: FlowId) {
        let Some(flow) = self.table.get(id) else {
            return;
        };
        let Some(payload) = self
            .ring
            .get(flow.carried.kept)
            .map(SmallVec::<[u8; 256]>::from_slice)
        else {
            return;
        };
        let mut header = Vec::new();
        self.write_header(id, &[], &mut header);
        let message = Message {
            payload: &payload,
            segment: 0,
            ecn: 0,
        };
        // An error is the next datagram's to deal with.
        if self.send_some(id, &header, &[message]).is_ok() {
            self.note_sent(turn, id, &[message]);
        }
    }

    /// Says, once a while, that datagrams are fragmented because of our header: they would have fitted without it.
    fn warn_of_fragments(
        &mut self,
        turn: &Turn<'_>,
        id: FlowId,
        header: &[u8],
        messages: &[Message<'_>],
    ) {
        /// No path takes less (RFC 8200 §5), headers of IPv6 and UDP off.
        const FITS: usize = 1280 - 48;
        if header.is_empty() {
            return;
        }
        let longest = messages
            .iter()
            .map(|message| match message.segment {
                0 => message.payload.len(),
                segment => segment,
            })
            .max();
        let Some(len) = longest
            .map(|len| len + header.len())
            .filter(|len| *len > FITS)
        else {
            return;
        };
        let (Some(flow), Some(Some(socket))) = (self.table.get(id), self.sockets.get(id as usize))
        else {
            return;
        };
        let path = Rc::clone(&flow.carried.path);
        let ipv6 = path.route.ip.is_ipv6();
        let headers = if ipv6 { 48 } else { 28 };
        let mtu = path.mtu(turn.now, || {
            path_mtu(socket.as_fd(), ipv6).unwrap_or(usize::MAX)
        });
        if len + headers > mtu && len - header.len() + headers <= mtu && self.may_log(turn.now) {
            tracing::warn!(
                endpoint = %path.route.endpoint, mtu, datagram = len - header.len(), header = header.len(),
                "datagrams to this endpoint are fragmented because of their PROXY header; raise the MTU of its path or let clients send less"
            );
        }
    }
}

/// Messages as they are handed to the kernel: what can be joined is.
fn trains<'a>(
    messages: &'a [Message<'a>],
    parts: &'a [&'a [u8]],
    header: &'a [u8],
    joins: usize,
) -> impl Iterator<Item = Outgoing<'a>> + Clone {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = messages.get(at)?;
        let pieces = messages[at..].iter().map(Message::piece);
        let count = joined(pieces, header.len(), joins);
        let parts = &parts[at..at + count];
        at += count;
        Some(Outgoing {
            to: None,
            from: None,
            header,
            parts,
            segment: if count > 1 {
                first.payload.len()
            } else {
                first.segment
            },
            ecn: first.ecn,
        })
    })
}

/// Whether an error can be that a train is not taken, whose datagrams would be.
pub(super) fn is_of_trains(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)
    )
}

/// The datagrams that a train is made of.
pub(super) fn pieces(bytes: &[u8], segment: usize) -> impl Iterator<Item = &[u8]> {
    let size = match segment {
        0 => bytes.len().max(1),
        segment => segment,
    };
    let empty: Range<usize> = 0..usize::from(bytes.is_empty());
    bytes.chunks(size).chain(empty.map(|_| &[][..]))
}

/// A datagram of a trusted sender: who it says the client is, what else its header holds, and the payload.
fn opened(datagram: &[u8]) -> Option<(Option<Declared>, &[u8], &[u8])> {
    match decode(datagram) {
        Decoded::Header {
            len,
            addresses,
            tlvs,
        } => {
            let declared =
                addresses.map(|(source, destination)| (source.into(), destination.into()));
            Some((declared, tlvs, &datagram[len..]))
        }
        Decoded::Incomplete | Decoded::Malformed(_) => None,
    }
}
