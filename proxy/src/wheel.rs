//! The coarse clock of idle and half-close timeouts: one wheel a worker, no system call and no allocation a flow.
//! A flow stands in the slot of its deadline as it was when it was put there; when the slot comes up and bytes have moved since,
//! it is put into a later one. Moving bytes therefore costs one store of the current tick and nothing else.

use std::time::{Duration, Instant};

use slab::Slab;

use crate::list::{self, Linked, NIL};

/// A tick: the precision of idle and half-close timeouts.
pub(crate) const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 128;

/// Slots of the wheel. With [`TICK`] one round is 131 s; later deadlines go round more than once.
const SLOTS: usize = 1024;

/// The tick that a wheel begins with: a flow that comes from another process may have been silent for long, at most 37 hours.
const FIRST: u32 = 1 << 20;

/// The slot of a flow that is in none.
pub(crate) const NO_SLOT: u16 = u16::MAX;

/// The list of a slot.
pub(crate) struct InSlot;

/// What the wheel needs of a flow besides its links.
pub(crate) trait Timed: Linked<InSlot> {
    /// The slot that it is in.
    fn slot(&mut self) -> &mut u16;
}

/// The wheel.
pub(crate) struct Wheel {
    start: Instant,
    /// The tick whose slot was last looked at.
    turned: u32,
    heads: Box<[u32]>,
    count: usize,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            start: now,
            turned: FIRST,
            heads: vec![NIL; SLOTS].into(),
            count: 0,
        }
    }

    /// The tick of `at`.
    pub(crate) fn tick(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.start);
        // Not by `as_millis`, whose 128 bits are a division each: this is asked whenever bytes move.
        let millis = since.as_secs() * 1000 + u64::from(since.subsec_millis());
        let ticks = u32::try_from(millis / TICK_MILLIS);
        ticks.map_or(u32::MAX, |ticks| FIRST.saturating_add(ticks))
    }

    /// A duration in ticks, rounded up, at least one.
    pub(crate) fn ticks(duration: Duration) -> u32 {
        let ticks = duration.as_millis().div_ceil(TICK.as_millis()).max(1);
        u32::try_from(ticks).unwrap_or(u32::MAX / 2)
    }

    /// Puts a flow into the slot of `deadline`, out of the one that it was in.
    pub(crate) fn set<T: Timed>(&mut self, slab: &mut Slab<T>, key: u32, deadline: u32) {
        self.clear(slab, key);
        // Not before the next turn, and not further than one round: it is looked at again then.
        let tick = deadline.clamp(self.turned + 1, self.turned + SLOTS as u32 - 1);
        let slot = tick as usize % SLOTS;
        self.heads[slot] = list::push::<T, InSlot>(slab, self.heads[slot], key);
        *slab[key as usize].slot() = slot as u16;
        self.count += 1;
    }

    /// Takes a flow out.
    pub(crate) fn clear<T: Timed>(&mut self, slab: &mut Slab<T>, key: u32) {
        let slot = std::mem::replace(slab[key as usize].slot(), NO_SLOT);
        if slot != NO_SLOT {
            let head = &mut self.heads[usize::from(slot)];
            *head = list::remove::<T, InSlot>(slab, *head, key);
            self.count -= 1;
        }
    }

    /// When the wheel must be turned next; `None` while it is empty.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        (self.count > 0).then(|| self.start + TICK * (self.turned + 1 - FIRST))
    }

    /// Turns the wheel up to `now` and returns the flows whose slots came up, taken out of the wheel.
    pub(crate) fn turn<T: Timed>(&mut self, slab: &mut Slab<T>, now: Instant) -> Vec<u32> {
        let tick = self.tick(now);
        let mut due = Vec::new();
        if self.count == 0 {
            self.turned = tick;
            return due;
        }
        let slots = (tick.saturating_sub(self.turned) as usize).min(SLOTS);
        for step in 1..=slots {
            let slot = (self.turned as usize + step) % SLOTS;
            for key in list::keys::<T, InSlot>(slab, self.heads[slot]) {
                self.clear(slab, key);
                due.push(key);
            }
        }
        self.turned = self.turned.max(tick);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Links;

    struct Element(Links, u16);
    impl Linked<InSlot> for Element {
        fn links(&mut self) -> &mut Links {
            &mut self.0
        }
    }
    impl Timed for Element {
        fn slot(&mut self) -> &mut u16 {
            &mut self.1
        }
    }

    #[test]
    fn a_flow_comes_up_at_its_deadline_and_not_before() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let mut slab = Slab::new();
        let key = slab.insert(Element(Links::NONE, NO_SLOT)) as u32;
        wheel.set(&mut slab, key, FIRST + 10);
        assert!(wheel.turn(&mut slab, start + TICK * 9).is_empty());
        assert_eq!(wheel.turn(&mut slab, start + TICK * 10), [key]);
        assert!(wheel.next_turn().is_none());
    }

    #[test]
    fn a_deadline_beyond_a_round_is_looked_at_within_the_round() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let mut slab = Slab::new();
        let key = slab.insert(Element(Links::NONE, NO_SLOT)) as u32;
        wheel.set(&mut slab, key, FIRST + 5000);
        assert_eq!(wheel.turn(&mut slab, start + TICK * 1023), [key]);
    }

    #[test]
    fn a_late_turn_misses_nobody() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let mut slab = Slab::new();
        for deadline in [1, 100, 1000] {
            let key = slab.insert(Element(Links::NONE, NO_SLOT)) as u32;
            wheel.set(&mut slab, key, FIRST + deadline);
        }
        assert_eq!(wheel.turn(&mut slab, start + TICK * 9000).len(), 3);
    }
}
