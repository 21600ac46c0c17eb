//! Times as the API says them: Unix seconds as a JSON number with a fraction.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the epoch; on the wire, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    /// The time by this host's clock.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
    }

    /// From whole seconds.
    #[cfg(test)]
    pub(crate) fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Time passed since `earlier`; zero when the clock went back.
    pub(crate) fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // Saturates at both ends, and takes what is no number for 0.
        Ok(Self((seconds * 1000.0).round() as u64))
    }
}
