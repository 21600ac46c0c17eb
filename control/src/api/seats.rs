//! How many connections one client may have: nobody can take all of them and leave none for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::limiter::source;

/// Connections of one client. The SDKs keep ten to fifty, and all clients of a host behind one address are one here.
const EACH: usize = 64;

/// Who is connected. Bounded by the connections that there can be.
#[derive(Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's; given back when it is dropped.
pub(crate) struct Seat {
    seats: Seats,
    source: IpAddr,
}

impl Seats {
    /// One more for this client; `None` when it has its share.
    pub(crate) fn take(&self, client: IpAddr) -> Option<Seat> {
        let source = source(client);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(source).or_default();
        (*count < EACH).then(|| {
            *count += 1;
            Seat {
                seats: self.clone(),
                source,
            }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_gets_it_back() {
        let seats = Seats::default();
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut held: Vec<Seat> = (0..100).filter_map(|_| seats.take(one)).collect();
        assert_eq!(held.len(), EACH);
        assert!(seats.take(other).is_some(), "others are not concerned");
        held.pop();
        assert!(seats.take(one).is_some());
        held.clear();
        assert!(seats.0.lock().expect("whole").is_empty(), "nothing is kept");
    }
}
