//! Counters that the data path writes with relaxed atomics, a few a flow and none a byte, and that metrics and state read.
//! They belong to the thing they count and outlive every snapshot that mentions it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::flow::EndCause;

/// Counters of a listener.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Flows now.
    pub active_flows: AtomicU32,
    /// Flows ended, by [`EndCause`] as an index.
    pub ended: [AtomicU64; EndCause::ALL.len()],
    /// Bytes from clients.
    pub bytes_in: AtomicU64,
    /// Bytes to clients.
    pub bytes_out: AtomicU64,
    /// Time from accept to a connected endpoint.
    pub connect: Histogram,
    /// Connects that failed, by [`ConnectFailure`] as an index.
    pub connect_failures: [AtomicU64; ConnectFailure::ALL.len()],
    /// Connects to a further candidate after a failed one.
    pub retries: AtomicU64,
    /// Hedges, by [`HedgeResult`] as an index.
    pub hedges: [AtomicU64; HedgeResult::ALL.len()],
    /// Connects from the edge's address that were to come from the client's, by [`AddressFallback`] as an index.
    pub address_fallbacks: [AtomicU64; AddressFallback::ALL.len()],
    /// Datagrams from clients that were sent on.
    pub datagrams_in: AtomicU64,
    /// Datagrams to clients that were sent.
    pub datagrams_out: AtomicU64,
    /// Datagrams that came and were not sent on, by [`DropCause`] as an index.
    pub datagrams_dropped: [AtomicU64; DropCause::ALL.len()],
}

impl ListenerStats {
    /// Counts datagrams that were not sent on.
    pub fn count_dropped(&self, cause: DropCause, datagrams: u64) {
        self.datagrams_dropped[cause as usize].fetch_add(datagrams, Ordering::Relaxed);
    }

    /// Counts a flow's end.
    pub fn count_end(&self, cause: EndCause) {
        self.ended[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed connect.
    pub fn count_connect_failure(&self, failure: ConnectFailure) {
        self.connect_failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connect that could not come from its client's address.
    pub fn count_address_fallback(&self, cause: AddressFallback) {
        self.address_fallbacks[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a hedge.
    pub fn count_hedge(&self, result: HedgeResult) {
        self.hedges[result as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counters of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointStats {
    /// Flows now.
    pub active_flows: AtomicU32,
    /// Flows ever.
    pub total_flows: AtomicU64,
    /// Bytes from clients.
    pub bytes_in: AtomicU64,
    /// Bytes to clients.
    pub bytes_out: AtomicU64,
    /// Connects that failed, whatever the cause.
    pub connect_failures: AtomicU64,
}

/// Counters of the whole data path.
#[derive(Debug, Default)]
pub struct EdgeStats {
    /// Flows now.
    pub active_flows: AtomicU32,
    /// Refusals, by [`Limit`] as an index.
    pub limit_hits: [AtomicU64; Limit::ALL.len()],
    /// `accept` calls that failed (descriptors, memory, network).
    pub accept_errors: AtomicU64,
    /// Flows that were received by io_uring for a while.
    pub io_uring_flows: AtomicU64,
    /// Bytes that were relayed by splice, through the kernel alone.
    pub spliced_bytes: AtomicU64,
    /// Readings that were copied, though they were to be spliced: for want of a kernel pipe, or since the kernel refused.
    pub splice_fallbacks: AtomicU64,
    /// Connections closed and datagrams dropped for a PROXY header that was missing, late or malformed.
    pub proxy_header_errors: AtomicU64,
    /// Signals that found the health side's queue full.
    pub signals_dropped: AtomicU64,
}

impl EdgeStats {
    /// Counts a refusal.
    pub fn count_limit(&self, limit: Limit) {
        self.limit_hits[limit as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Declares a closed set that is used as an index and as a metric's label.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every one, in the order of the discriminants.
            pub const ALL: [$name; [$($label),+].len()] = [$($name::$variant),+];

            /// The metric's label.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $label),+ }
            }
        }
    };
}

labels! {
    /// Why a connect failed.
    ConnectFailure {
        /// Answered with a reset.
        Refused => "refused",
        /// Not answered in time.
        TimedOut => "timeout",
        /// The network said that there is no way there.
        Unreachable => "unreachable",
        /// Accepted, then reset before a byte passed either way.
        Reset => "reset",
        /// This host's fault: descriptors, ports, memory.
        Local => "local",
    }
}

labels! {
    /// What came of a hedge.
    HedgeResult {
        /// The second endpoint answered first.
        Won => "won",
        /// The first endpoint answered after all.
        Lost => "lost",
        /// It was due, but the budget was spent.
        Denied => "denied",
    }
}

labels! {
    /// Why a flow came from the edge's address though its group wants its client's.
    AddressFallback {
        /// Client and endpoint are of different families.
        Family => "family",
        /// The client's address and port are taken toward this endpoint, by another flow or a closed one.
        Port => "port",
        /// This process may not use addresses that are not this host's.
        Right => "right",
    }
}

labels! {
    /// What refused a flow.
    Limit {
        /// `[limits] max_flows`, or what the descriptor limit allows.
        Flows => "max_flows",
        /// A listener's `max_flows`.
        ListenerFlows => "listener_max_flows",
        /// A listener's `new_flows`.
        ListenerRate => "listener_new_flows",
        /// `max_flows_per_source`.
        SourceFlows => "max_flows_per_source",
        /// `new_flows_per_source`.
        SourceRate => "new_flows_per_source",
        /// No ephemeral port or no descriptor was left toward an endpoint.
        Ports => "ephemeral_ports",
        /// `[limits] flow_table`.
        FlowTable => "flow_table",
    }
}

labels! {
    /// Why a datagram was not sent on.
    DropCause {
        /// It would have begun a flow, and a limit refused that.
        Limit => "limit",
        /// It would have begun a flow while the worker had too little time for those that are there.
        Overload => "overload",
        /// No endpoint could be had.
        NoEndpoint => "no_endpoint",
        /// The endpoint's host said that nobody is there, and the datagram could not go to another one.
        Refused => "refused",
        /// It came with a PROXY header that was missing or malformed, where a trusted sender owes one.
        ProxyHeader => "proxy_header",
        /// With its PROXY header it is longer than a datagram, or than the path takes.
        Mtu => "mtu",
        /// It was longer than a receive buffer.
        Truncated => "truncated",
        /// It came faster than it was read: the socket's receive buffer was full.
        ReceiveBuffer => "receive_buffer",
        /// An endpoint's came faster than it was read: the receive buffer of its flow was full.
        EndpointBuffer => "endpoint_buffer",
        /// The socket's send buffer or the device's queue was full.
        SendBuffer => "send_buffer",
        /// It came from port 0, which cannot be answered.
        NoPort => "no_port",
        /// It would have begun a flow at a listener that takes no new ones: the process ends, or the listener is gone.
        Closing => "closing",
        /// The network refused it: no route, a firewall's rule.
        Network => "network",
    }
}

/// A histogram of times with fixed bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Upper bounds in seconds; a last bucket takes the rest.
    pub const BOUNDS: [f64; 13] = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    ];

    /// Counts one time.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Self::BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts by bucket (not cumulative; the last one is above every bound) and the sum in seconds.
    pub fn read(&self) -> ([u64; Histogram::BOUNDS.len() + 1], f64) {
        let counts = std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        (counts, self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6)
    }
}
