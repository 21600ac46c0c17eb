//! One direction of a link: what becomes of a packet, and when it arrives. Sans-IO: frames and `now` come in, frames that are due go out.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt as _;

use super::settings::Settings;

/// A `virtio_net_hdr` stands before each packet.
pub(crate) const FRAME_HEADER: usize = 10;

/// Per direction: a guard for the machine's memory, far above what a link of these tests holds.
const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;

/// A clock's reading: the time since the emulator began.
pub(crate) type Moment = Duration;

/// What happened on a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets delivered.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lost at random.
    pub lost: u64,
    /// Dropped from a full queue.
    pub overflowed: u64,
    /// Lost in the hole.
    pub swallowed: u64,
    /// The longest that a packet was delivered after its time: how far the emulator itself disturbed.
    pub latest: Duration,
}

#[derive(Debug)]
struct Packet {
    due: Moment,
    frame: Box<[u8]>,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    pub(crate) settings: Settings,
    pub(crate) counted: Counted,
    /// In the order of `due`.
    queue: VecDeque<Packet>,
    queued_bytes: usize,
    /// When the serialiser is idle again.
    idle_at: Moment,
    in_burst: bool,
}

impl Direction {
    /// Takes a frame: it is lost, or waits for its time.
    pub(crate) fn accept(&mut self, frame: &[u8], now: Moment, rng: &mut impl rand::Rng) {
        if self.settings.blackhole {
            self.counted.swallowed += 1;
            return;
        }
        if self.loses(rng) {
            self.counted.lost += 1;
            return;
        }
        let Some(sent) = self.serialise(frame.len() - FRAME_HEADER, now) else {
            self.counted.overflowed += 1;
            return;
        };
        let arrives = self.arrival(sent, now, rng);
        // The order is kept: never before the packet in front.
        let due = self
            .queue
            .back()
            .map_or(arrives, |last| arrives.max(last.due));
        self.queued_bytes += frame.len();
        self.queue.push_back(Packet {
            due,
            frame: frame.into(),
        });
    }

    /// The next frame whose time has come.
    pub(crate) fn next(&mut self, now: Moment) -> Option<Box<[u8]>> {
        while self.due().is_some_and(|due| due <= now) {
            let packet = self.queue.pop_front()?;
            self.queued_bytes -= packet.frame.len();
            if self.settings.blackhole {
                self.counted.swallowed += 1;
                continue;
            }
            self.counted.latest = self.counted.latest.max(now - packet.due);
            self.counted.packets += 1;
            self.counted.bytes += (packet.frame.len() - FRAME_HEADER) as u64;
            return Some(packet.frame);
        }
        None
    }

    /// When the next frame's time comes.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.queue.front().map(|packet| packet.due)
    }

    /// The fibre is cut: what is on its way is gone.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// Each packet by itself, or in bursts after Gilbert and Elliott.
    fn loses(&mut self, rng: &mut impl rand::Rng) -> bool {
        let Settings { loss, burst, .. } = self.settings;
        if loss <= 0.0 {
            return false;
        }
        if burst <= 1.0 {
            return rng.random_bool(loss);
        }
        let leave = 1.0 / burst;
        let enter = (loss * leave / (1.0 - loss).max(1e-9)).min(1.0);
        self.in_burst = if self.in_burst {
            !rng.random_bool(leave)
        } else {
            rng.random_bool(enter)
        };
        self.in_burst
    }

    /// When the packet has left; `None` when the queue before the serialiser is full.
    fn serialise(&mut self, bytes: usize, now: Moment) -> Option<Moment> {
        if self.queued_bytes + bytes > MOST_BYTES_IN_FLIGHT {
            return None;
        }
        if self.settings.rate == 0 {
            return Some(now);
        }
        let begins = self.idle_at.max(now);
        if begins - now > self.settings.queue {
            return None;
        }
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / self.settings.rate as f64);
        self.idle_at = begins + takes;
        Some(self.idle_at)
    }

    fn arrival(&self, sent: Moment, now: Moment, rng: &mut impl rand::Rng) -> Moment {
        let Settings { delay, jitter, .. } = self.settings;
        if jitter.is_zero() {
            return sent + delay;
        }
        let spread = jitter.mul_f64(2.0 * rng.random::<f64>());
        (sent + delay + spread).saturating_sub(jitter).max(now)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn direction(words: &str) -> Direction {
        let change = super::super::settings::Change::default()
            .parse(words)
            .unwrap();
        Direction {
            settings: change.there,
            ..Direction::default()
        }
    }

    fn frame(bytes: usize) -> Vec<u8> {
        vec![0; FRAME_HEADER + bytes]
    }

    #[test]
    fn a_packet_arrives_after_the_delay_and_not_before() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut link = direction("delay=40ms");
        link.accept(&frame(100), 5 * MS, &mut rng);
        assert_eq!(link.due(), Some(45 * MS));
        assert!(link.next(44 * MS).is_none());
        assert_eq!(link.next(46 * MS).unwrap().len(), 110);
        assert_eq!((link.counted.packets, link.counted.bytes), (1, 100));
        assert_eq!(link.counted.latest, MS);
    }

    #[test]
    fn jitter_keeps_the_order_and_its_bounds() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut link = direction("delay=40ms jitter=30ms");
        for sent in 0..1000 {
            link.accept(&frame(1), sent * MS, &mut rng);
        }
        let mut before = Duration::ZERO;
        let mut early = 0;
        for sent in 0..1000 {
            let due = link.due().unwrap();
            assert!(due >= before && due >= (sent + 10) * MS && due <= (sent + 70) * MS);
            early += u32::from(due < (sent + 60) * MS);
            before = due;
            link.next(due).unwrap();
        }
        assert!(early > 100, "{early} of 1000 were earlier than the latest");
    }

    #[test]
    fn loss_is_as_much_as_asked_for_alone_or_in_bursts() {
        for words in ["loss=2%", "loss=2% burst=5"] {
            let mut rng = StdRng::seed_from_u64(1);
            let mut link = direction(words);
            for _ in 0..100_000 {
                link.accept(&frame(1), Duration::ZERO, &mut rng);
                link.next(Duration::ZERO);
            }
            let lost = link.counted.lost;
            assert!((1500..2500).contains(&lost), "{words}: {lost} of 100000");
        }
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_ends() {
        let mut rng = StdRng::seed_from_u64(1);
        // A packet of 1250 bytes takes a millisecond.
        let mut link = direction("rate=10mbit queue=5ms");
        for _ in 0..20 {
            link.accept(&frame(1250), Duration::ZERO, &mut rng);
        }
        assert_eq!(link.counted.overflowed, 14);
        for sent in 1..=6 {
            assert_eq!(link.due(), Some(sent * MS));
            link.next(sent * MS).unwrap();
        }
    }

    #[test]
    fn a_hole_swallows_what_comes_and_what_is_on_its_way() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut link = direction("delay=10ms");
        link.accept(&frame(1), Duration::ZERO, &mut rng);
        link.settings.blackhole = true;
        link.accept(&frame(1), Duration::ZERO, &mut rng);
        assert!(link.next(20 * MS).is_none());
        assert_eq!(link.counted.swallowed, 2);
        assert_eq!(link.due(), None);
    }
}
