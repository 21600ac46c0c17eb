//! Answers of entrances that take many ports: their socket is bound to one of these, so they leave by a raw one, each datagram with a
//! header that names the port its client used. One raw socket a worker and family serves all ports. What it costs is the checksum, made
//! here, and trains, which leave datagram by datagram.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::slice;
use std::sync::Arc;

use portolan_config::stats::DropCause;
use smallvec::SmallVec;

use super::batch::{Reply, SLOTS};
use super::{Turn, Udp};
use crate::sys::udp::Outgoing;

/// The header of UDP (RFC 768).
const HEADER: usize = 8;

/// One datagram of a reply.
pub(super) struct Answer {
    /// Which reply, and which bytes of it.
    reply: usize,
    bytes: Range<usize>,
    header: [u8; HEADER],
}

impl Udp {
    /// What answers of an entrance leave by, where its own socket will not do.
    pub(super) fn raw_of(&self, entrance: u32) -> Option<Arc<OwnedFd>> {
        let entrance = self.entrances.get(entrance as usize)?;
        entrance.raw.as_ref().map(Arc::clone)
    }

    /// Sends answers from the addresses and ports that they are due from.
    pub(super) fn send_answers(&mut self, turn: &mut Turn<'_>, raw: &OwnedFd, replies: &[Reply]) {
        let mut answers = std::mem::take(&mut self.answers);
        answers.clear();
        for (index, reply) in replies.iter().enumerate() {
            self.split(index, reply, &mut answers);
        }
        let mut sent = 0;
        while let Some(next) = answers.get(sent) {
            let result = {
                let waiting = &answers[sent..answers.len().min(sent + SLOTS)];
                let bytes = |answer: &Answer| {
                    let reply = &replies[answer.reply];
                    &self.outbox.bytes(reply.slot, reply.len)[answer.bytes.clone()]
                };
                let parts: SmallVec<[&[u8]; SLOTS]> = waiting.iter().map(bytes).collect();
                let outgoing = waiting.iter().zip(&parts).map(|(answer, part)| {
                    let reply = &replies[answer.reply];
                    Outgoing {
                        // A raw socket of IPv6 takes the port for a protocol.
                        to: Some(without_port(reply.to)),
                        from: reply.from.map(|from| from.ip()),
                        header: &answer.header,
                        parts: slice::from_ref(part),
                        segment: 0,
                        ecn: reply.ecn,
                    }
                });
                let ipv6 = replies[next.reply].to.is_ipv6();
                self.sender.send(raw.as_fd(), ipv6, outgoing)
            };
            match result {
                Ok(count) => {
                    for answer in &answers[sent..sent + count] {
                        let path = &replies[answer.reply].path;
                        self.note(turn, path, (0, 0), (1, answer.bytes.len() as u64));
                    }
                    sent += count;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let cause = match error.raw_os_error() {
                        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropCause::SendBuffer,
                        Some(libc::EMSGSIZE) => DropCause::Mtu,
                        Some(_) | None => DropCause::Network,
                    };
                    let stats = &replies[next.reply].path.route.door.stats;
                    stats.count_dropped(cause, 1);
                    sent += 1;
                }
            }
        }
        self.answers = answers;
    }

    fn split(&self, index: usize, reply: &Reply, answers: &mut Vec<Answer>) {
        let Some(from) = reply.from else {
            return;
        };
        let all = self.outbox.bytes(reply.slot, reply.len);
        let size = match reply.segment {
            0 => all.len().max(1),
            segment => segment,
        };
        let mut first = 0;
        loop {
            let last = (first + size).min(all.len());
            answers.push(Answer {
                reply: index,
                bytes: first..last,
                header: header(from, reply.to, &all[first..last]),
            });
            first = last;
            if first == all.len() {
                return;
            }
        }
    }
}

fn without_port(to: SocketAddr) -> SocketAddr {
    let mut to = to;
    to.set_port(0);
    to
}

/// The header of a datagram, checksum included.
fn header(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> [u8; HEADER] {
    // What is longer is not sent: the kernel says EMSGSIZE.
    let len = (HEADER + payload.len()) as u16;
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..6].copy_from_slice(&len.to_be_bytes());
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&from.octets()) + sum(&to.octets()),
        // A flow has one family.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    };
    let pseudo = addresses + sum(&[0, libc::IPPROTO_UDP as u8]) + sum(&len.to_be_bytes());
    let checksum = !fold(pseudo + sum(&header) + sum(payload));
    // None at all is written as zero, so a zero is written as its other form.
    let checksum = if checksum == 0 { u16::MAX } else { checksum };
    header[6..].copy_from_slice(&checksum.to_ne_bytes());
    header
}

/// The sum of RFC 1071, which is the same in either byte order: here in the machine's, four bytes at a time.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    let whole =
        words.map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])));
    whole.sum::<u64>() + u64::from(u32::from_ne_bytes(rest))
}

fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 as it stands there: two bytes at a time, in the network's order.
    fn plain(parts: &[&[u8]]) -> u16 {
        let all = parts.concat();
        let mut sum = 0u32;
        for pair in all.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn a_receiver_finds_the_checksum_right() {
        let addresses = [
            ("192.0.2.1:53", "198.51.100.7:40000"),
            ("[2001:db8::1]:53", "[2001:db8::2]:40000"),
        ];
        for (from, to) in addresses {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let octets = |at: SocketAddr| match at.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            for len in [0, 1, 2, 3, 4, 5, 7, 8, 1200, 65_507] {
                let payload: Vec<u8> = (0..len).map(|n| (n * 7 + 3) as u8).collect();
                let header = header(from, to, &payload);
                let udp_len = (HEADER + len) as u16;
                let found = plain(&[
                    &octets(from),
                    &octets(to),
                    &[0, 17],
                    &udp_len.to_be_bytes(),
                    &header,
                    &payload,
                ]);
                assert_eq!(found, 0xffff, "{from} {len}");
            }
        }
    }
}
