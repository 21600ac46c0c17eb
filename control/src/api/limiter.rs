//! How often one client may ask. A token bucket a client address; the table of them is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// Requests a second of one client, in the long run. Terraform and CDK ask for a few; a script that loads thousands of
/// resources is slowed, and SDKs repeat what was refused.
const RATE: f64 = 500.0;

/// Requests that a client may save up.
const BURST: f64 = 2000.0;

/// Clients that are remembered. Beyond it those whose bucket is full again are forgotten, which changes nothing for them.
const CLIENTS: usize = 10_000;

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets.
#[derive(Default)]
pub(crate) struct Limiter {
    buckets: HashMap<IpAddr, Bucket>,
}

impl Limiter {
    /// Whether the client may ask now.
    pub(crate) fn admits(&mut self, client: IpAddr, now: Instant) -> bool {
        let source = source(client);
        if self.buckets.len() >= CLIENTS && !self.buckets.contains_key(&source) {
            self.buckets
                .retain(|_, bucket| bucket.filled(now).tokens < BURST);
            if self.buckets.len() >= CLIENTS {
                return false;
            }
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket {
            tokens: BURST,
            at: now,
        });
        *bucket = bucket.filled(now);
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

impl Bucket {
    fn filled(self, now: Instant) -> Bucket {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * RATE;
        Bucket {
            tokens: (self.tokens + more).min(BURST),
            at: now,
        }
    }
}

/// One host has a /64 of IPv6 to itself.
pub(crate) fn source(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_may_burst_and_then_comes_at_the_rate() {
        let mut limiter = Limiter::default();
        let (ip, now) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        let burst = (0..3000).filter(|_| limiter.admits(ip, now)).count();
        assert_eq!(burst, 2000);
        assert!(
            limiter.admits(IpAddr::from([192, 0, 2, 2]), now),
            "others are not concerned"
        );
        let second = now + Duration::from_secs(1);
        let later = (0..3000).filter(|_| limiter.admits(ip, second)).count();
        assert_eq!(later, 500);
    }

    #[test]
    fn the_table_is_bounded_and_a_prefix_is_one_client() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        for client in 0..20_000u32 {
            limiter.admits(IpAddr::V4(client.into()), now);
        }
        assert!(limiter.buckets.len() <= CLIENTS);
        let later = now + Duration::from_secs(10);
        assert!(limiter.admits(IpAddr::from([192, 0, 2, 1]), later));
        let a: IpAddr = "2001:db8::1".parse().expect("an address");
        let b: IpAddr = "2001:db8::2".parse().expect("an address");
        assert_eq!(source(a), source(b));
    }
}
