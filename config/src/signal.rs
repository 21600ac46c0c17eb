//! Evidence that live flows give about an endpoint: what the data path tells the health side.

use std::net::IpAddr;
use std::time::Instant;

use crate::address::EndpointAddr;
use crate::snapshot::AddressId;

/// What a live flow met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// A connect was answered with a reset.
    Refused,
    /// A connect ran into its timeout.
    TimedOut,
    /// A connect was still unanswered when a hedge was due.
    Slow,
    /// The network said that there is no way there.
    Unreachable,
    /// The endpoint reset a flow before its first byte; counts from three different sources.
    ResetBeforeFirstByte {
        /// The client that met it.
        source: IpAddr,
    },
    /// Data stood unacknowledged for longer than the path's round trip and its jitter explain.
    Unacknowledged,
    /// A client's first bytes were delivered, and no byte has come back for as long as the listener expects one; counts from three
    /// different sources.
    NeverAnswers {
        /// The client that met it.
        source: IpAddr,
    },
    /// The endpoint ended a good part of its flows at once, and owed nothing by it.
    EndedTogether,
}

/// One piece of evidence.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// Which endpoint address.
    pub address: AddressId,
    /// The address and port that raised it, which the burst asks.
    pub to: EndpointAddr,
    /// What was met.
    pub kind: SignalKind,
    /// When.
    pub at: Instant,
}

/// Takes signals from the data path's threads. Must neither block nor allocate without bound: drop and count instead.
pub trait SignalSink: Send + Sync {
    /// Takes one signal.
    fn raise(&self, signal: Signal);
}
