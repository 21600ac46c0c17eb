//! The last datagrams that were sent to endpoints, for the moment in which one turns out to be gone: what its flow sent last goes to
//! another endpoint instead of being lost. One ring a worker, of fixed size, whatever the number of flows. Sans-IO.

/// What the ring holds: at 100,000 small datagrams a second some 20 ms, which an answer of ICMP from a region nearby takes.
const RING: usize = 256 * 1024;

/// Longer ones are not kept: whoever sends trains of datagrams repeats what is lost.
const LONGEST: usize = 2048;

/// Where a datagram was put: its length above 48 bits of place, which are not used up in a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept(u64);

const PLACE_BITS: u32 = 48;

impl Kept {
    /// Nothing was kept.
    pub(crate) const NONE: Kept = Kept(u64::MAX);

    fn new(at: u64, len: usize) -> Self {
        Self(((len as u64) << PLACE_BITS) | at)
    }

    fn at(self) -> u64 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }

    fn len(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }
}

/// The ring.
pub(crate) struct Ring {
    bytes: Box<[u8]>,
    /// Bytes ever written, gaps at the end included.
    written: u64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Box::default(),
            written: 0,
        }
    }

    /// Keeps a copy, in the place of the oldest.
    pub(crate) fn keep(&mut self, payload: &[u8]) -> Kept {
        if payload.len() > LONGEST {
            return Kept::NONE;
        }
        if self.bytes.is_empty() {
            self.bytes = vec![0; RING].into();
        }
        let mut at = (self.written % RING as u64) as usize;
        if at + payload.len() > RING {
            self.written += (RING - at) as u64;
            at = 0;
        }
        self.bytes[at..at + payload.len()].copy_from_slice(payload);
        let kept = Kept::new(self.written, payload.len());
        self.written += payload.len() as u64;
        kept
    }

    /// What was kept, unless it was overwritten.
    pub(crate) fn get(&self, kept: Kept) -> Option<&[u8]> {
        if kept == Kept::NONE || self.written.saturating_sub(kept.at()) > RING as u64 {
            return None;
        }
        let at = (kept.at() % RING as u64) as usize;
        self.bytes.get(at..at + kept.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_what_was_put_there() {
        let mut ring = Ring::new();
        let mut kept = Vec::new();
        for number in 0..5000u32 {
            let len = (number as usize * 37) % (LONGEST + 1);
            let payload: Vec<u8> = (0..len).map(|i| (number as usize + i) as u8).collect();
            kept.push((ring.keep(&payload), payload));
        }
        let there = kept
            .iter()
            .filter(|(place, payload)| match ring.get(*place) {
                Some(found) => {
                    assert_eq!(found, payload);
                    true
                }
                None => false,
            })
            .count();
        assert!((200..400).contains(&there), "{there}");
        assert!(ring.get(kept[4999].0).is_some());
    }

    #[test]
    fn empty_and_long_ones() {
        let mut ring = Ring::new();
        let empty = ring.keep(b"");
        assert_eq!(ring.get(empty), Some(&b""[..]));
        assert_eq!(ring.keep(&[0; LONGEST + 1]), Kept::NONE);
        assert_eq!(ring.get(Kept::NONE), None);
    }
}
