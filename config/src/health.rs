//! What is known of an endpoint's health, in the words that state, metrics and the data path share.

use std::fmt;
use std::sync::Arc;

/// The three states of an endpoint or of one of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum HealthState {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// It passes its check.
    Up,
    /// It fails its check, or live traffic found it dead.
    Down,
}

impl HealthState {
    /// The word that the admin API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Unknown => "UNKNOWN",
            HealthState::Up => "UP",
            HealthState::Down => "DOWN",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a probe failed, or what live traffic met.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The port answered with a reset.
    Refused,
    /// Nothing answered in time.
    TimedOut,
    /// The network said that there is no way there.
    Unreachable,
    /// The connection was reset after it was accepted.
    Reset,
    /// It answered, but not what the check asks for (status, body, TLS, closed early); the text says what.
    Answer(Arc<str>),
    /// The probe could not be made at all, which is this host's fault (descriptors, ports); never counts against the endpoint.
    Local(Arc<str>),
}

impl Failure {
    /// Whether path or port failed, so that flows of the endpoint are stranded. An endpoint that answers is drained instead.
    pub fn strands_flows(&self) -> bool {
        match self {
            Failure::Refused | Failure::TimedOut | Failure::Unreachable | Failure::Reset => true,
            Failure::Answer(_) | Failure::Local(_) => false,
        }
    }

    /// A short word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::TimedOut => "timeout",
            Failure::Unreachable => "unreachable",
            Failure::Reset => "reset",
            Failure::Answer(_) => "answer",
            Failure::Local(_) => "local",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused => f.write_str("connection refused"),
            Failure::TimedOut => f.write_str("no answer in time"),
            Failure::Unreachable => f.write_str("unreachable"),
            Failure::Reset => f.write_str("connection reset"),
            Failure::Answer(what) => f.write_str(what),
            Failure::Local(what) => write!(f, "could not probe: {what}"),
        }
    }
}
