//! How fast AWS may be asked, and how long a failed call waits. Time and chance are arguments; [`Paces::wait`] alone sleeps.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Service;

/// A token bucket that lends: who comes when it is empty is told how long to wait, in turn.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Full.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            per_second: f64::from(per_second.max(1)),
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Takes a token; how long to wait before using it.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst) - 1.0;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-self.tokens / self.per_second)
    }
}

/// A bucket for each service and account.
pub(super) struct Paces {
    per_second: u32,
    burst: u32,
    buckets: Mutex<HashMap<(Service, String), Bucket>>,
}

impl Paces {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            burst,
            buckets: Mutex::default(),
        }
    }

    /// Waits for this caller's turn.
    pub(super) async fn wait(&self, service: Service, account: &str) {
        let wait = self.take(service, account, Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    fn take(&self, service: Service, account: &str, now: Instant) -> Duration {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry((service, account.to_owned()));
        bucket
            .or_insert_with(|| Bucket::new(self.per_second, self.burst, now))
            .take(now)
    }
}

/// Full jitter: anything from nothing to twice the last bound, which is capped
/// (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap }
    }

    /// The wait behind an attempt, counted from 1; `chance` is from 0 to 1.
    pub(super) fn wait(self, attempt: u32, chance: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        doubled.min(self.cap).mul_f64(chance.clamp(0.0, 1.0))
    }
}
