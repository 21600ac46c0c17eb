//! Whether the edge is full: while it refuses flows for want of room, a check that is refused says nothing about the way to the endpoints.
//! A PoP that left because of a flood would send it on to the next one.

use std::time::{Duration, Instant};

/// How long a refusal counts: longer than a check takes.
const COUNTS_FOR: Duration = Duration::from_secs(3);

/// What is known of refusals that met everybody.
#[derive(Default)]
pub(super) struct Room {
    refused: u64,
    last: Option<Instant>,
}

impl Room {
    /// Takes up how many flows have been refused so far; `true` while some are.
    pub(super) fn is_short(&mut self, refused: u64, now: Instant) -> bool {
        if std::mem::replace(&mut self.refused, refused) != refused {
            self.last = Some(now);
        }
        self.last
            .is_some_and(|at| now.saturating_duration_since(at) < COUNTS_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_short_from_a_refusal_on_for_a_while() {
        let (mut room, start) = (Room::default(), Instant::now());
        assert!(!room.is_short(0, start));
        assert!(room.is_short(1, start));
        assert!(room.is_short(1, start + COUNTS_FOR / 2));
        assert!(room.is_short(9, start + COUNTS_FOR));
        assert!(!room.is_short(9, start + COUNTS_FOR * 2));
    }
}
