//! Which connections were begun, and when: every SYN that enters a link, seen on the wire and not in anybody's own words. A SYN that is
//! sent again is not a second one.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::direction::FRAME_HEADER;

/// TCP's number.
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A connection's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When it entered the link.
    pub at: Instant,
    /// The link; what passes several is told of each.
    pub(crate) link: usize,
    /// Who began it.
    pub from: SocketAddr,
    /// Whom it was for.
    pub to: SocketAddr,
}

/// Keeps what it sees while it is told to.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    on: bool,
    /// By link, as what is sent again is met once more.
    seen: HashSet<(usize, SocketAddr, SocketAddr, u32)>,
    opened: Vec<Opened>,
}

impl Recorder {
    /// Begins, goes on, or ends; gives what came since the last call.
    pub(crate) fn turn(&mut self, on: bool) -> Vec<Opened> {
        if !(self.on && on) {
            self.seen.clear();
        }
        self.on = on;
        std::mem::take(&mut self.opened)
    }

    /// Looks at a frame that enters a link.
    pub(crate) fn look(&mut self, link: usize, frame: &[u8], at: Instant) {
        if !self.on {
            return;
        }
        if let Some((from, to, sequence)) = begins(&frame[FRAME_HEADER..])
            && self.seen.insert((link, from, to, sequence))
        {
            self.opened.push(Opened { at, link, from, to });
        }
    }
}

/// Who begins a connection with whom in this packet, and its sequence number.
fn begins(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, u32)> {
    let (protocol, from, to, header): (u8, IpAddr, IpAddr, usize) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let address = |at: usize| {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(octets)))
            };
            (*packet.get(9)?, address(12)?, address(16)?, header)
        }
        6 => {
            let address = |at: usize| {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            };
            (*packet.get(6)?, address(8)?, address(24)?, 40)
        }
        _ => return None,
    };
    let segment = packet.get(header..header + 14)?;
    if protocol != TCP || segment[13] & (SYN | ACK) != SYN {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
    Some((
        SocketAddr::new(from, port(0)),
        SocketAddr::new(to, port(2)),
        sequence,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.1:1000 to 10.0.0.2:80, without options.
    fn frame(flags: u8) -> Vec<u8> {
        let mut packet = vec![0; FRAME_HEADER + 40];
        let ip = &mut packet[FRAME_HEADER..];
        ip[0] = 0x45;
        ip[9] = TCP;
        ip[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        ip[20..24].copy_from_slice(&[3, 232, 0, 80]);
        ip[33] = flags;
        packet
    }

    #[test]
    fn a_connection_is_recorded_once_and_only_while_told_to() {
        let mut recorder = Recorder::default();
        let now = Instant::now();
        recorder.look(0, &frame(SYN), now);
        assert!(recorder.turn(true).is_empty());
        recorder.look(0, &frame(SYN), now);
        recorder.look(0, &frame(SYN), now);
        recorder.look(0, &frame(SYN | ACK), now);
        recorder.look(0, &frame(ACK), now);
        recorder.look(1, &frame(SYN), now);
        let opened = recorder.turn(false);
        assert_eq!(opened.len(), 2, "one on each link");
        assert_eq!(opened[0].from, "10.0.0.1:1000".parse().unwrap());
        assert_eq!(opened[0].to, "10.0.0.2:80".parse().unwrap());
    }

    #[test]
    fn what_is_cut_short_is_nobody() {
        let whole = frame(SYN);
        for length in FRAME_HEADER..whole.len() - 6 {
            assert_eq!(begins(&whole[FRAME_HEADER..length]), None, "{length}");
        }
    }
}
