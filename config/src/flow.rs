//! A flow as it is remembered: why it went where it went, how it ended, and the record that is written of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::address::{ClientAddr, EndpointAddr, ListenerAddr};
use crate::model::Protocol;
use crate::units::{AcceleratorName, EndpointId, Region};

/// Why a flow ended: a closed list, used as a metric's label and in flow records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum EndCause {
    /// Both directions were closed, the client's first.
    ClientFin,
    /// Both directions were closed, the endpoint's first.
    EndpointFin,
    /// The client reset the connection.
    ClientRst,
    /// The endpoint reset the connection.
    EndpointRst,
    /// No byte moved for the idle timeout.
    Idle,
    /// One direction was closed and the other did not follow in time.
    HalfClose,
    /// No endpoint could be connected to.
    ConnectFailed,
    /// The endpoint went down and the flow was let go.
    StrandedReset,
    /// A drain's time was up.
    DrainTimeout,
    /// Refused by a limit, or by a PROXY header that did not come or was not one.
    Limit,
    /// This process ended.
    Shutdown,
}

impl EndCause {
    /// Every cause, in the order of the discriminants.
    pub const ALL: [EndCause; 11] = [
        EndCause::ClientFin,
        EndCause::EndpointFin,
        EndCause::ClientRst,
        EndCause::EndpointRst,
        EndCause::Idle,
        EndCause::HalfClose,
        EndCause::ConnectFailed,
        EndCause::StrandedReset,
        EndCause::DrainTimeout,
        EndCause::Limit,
        EndCause::Shutdown,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            EndCause::ClientFin => "client_fin",
            EndCause::EndpointFin => "endpoint_fin",
            EndCause::ClientRst => "client_rst",
            EndCause::EndpointRst => "endpoint_rst",
            EndCause::Idle => "idle",
            EndCause::HalfClose => "half_close",
            EndCause::ConnectFailed => "connect_failed",
            EndCause::StrandedReset => "stranded_reset",
            EndCause::DrainTimeout => "drain_timeout",
            EndCause::Limit => "limit",
            EndCause::Shutdown => "shutdown",
        }
    }
}

/// Why an endpoint was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PickReason {
    /// The nearest group's dial took the flow, and the endpoint was available.
    Nearest,
    /// Nearer groups' dials let the flow pass.
    Dial,
    /// The chosen group had no available endpoint; this is the nearest that had one, whatever its dial.
    Failover,
    /// No group had an available endpoint.
    FailOpen,
    /// An earlier candidate of this flow refused, timed out or was reset.
    Retry,
    /// A second endpoint was raced, and won.
    Hedge,
    /// The QUIC connection lives there, and its client's address has changed.
    Connection,
}

impl PickReason {
    /// The word used in records and by `why`.
    pub fn as_str(self) -> &'static str {
        match self {
            PickReason::Nearest => "nearest",
            PickReason::Dial => "dial",
            PickReason::Failover => "failover",
            PickReason::FailOpen => "fail_open",
            PickReason::Retry => "retry",
            PickReason::Hedge => "hedge",
            PickReason::Connection => "connection",
        }
    }
}

/// One finished flow.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Unique within this process's life and its successors'.
    pub id: u64,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The accelerator.
    pub accelerator: AcceleratorName,
    /// Who.
    pub client: ClientAddr,
    /// Spoken to.
    pub listener: ListenerAddr,
    /// Where it went; `None` when no endpoint was reached.
    pub endpoint: Option<RecordedEndpoint>,
    /// Bytes from client to endpoint.
    pub bytes_in: u64,
    /// Bytes from endpoint to client.
    pub bytes_out: u64,
    /// Datagrams or reads from client to endpoint.
    pub packets_in: u64,
    /// Datagrams or reads from endpoint to client.
    pub packets_out: u64,
    /// When it began.
    pub started: SystemTime,
    /// How long it lasted.
    pub lasted: Duration,
    /// From accept to a connected endpoint, when there was one.
    pub connect_took: Option<Duration>,
    /// Connects tried.
    pub attempts: u8,
    /// How it ended.
    pub cause: EndCause,
}

/// The endpoint's side of a record.
#[derive(Clone, Debug)]
pub struct RecordedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its region.
    pub region: Region,
    /// The address and port that were connected to.
    pub address: EndpointAddr,
    /// The edge's own address and port toward it; `None` when it could not be read.
    pub edge_address: Option<SocketAddr>,
    /// Why this one.
    pub reason: PickReason,
}

/// Takes records from the data path's threads. Must neither block nor allocate without bound: drop and count instead.
pub trait RecordSink: Send + Sync {
    /// Whether anybody wants records at all; the data path skips building them when not.
    fn wants(&self) -> bool;

    /// Takes one record.
    fn record(&self, record: FlowRecord);
}

/// A sink that wants nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecords;

impl RecordSink for NoRecords {
    fn wants(&self) -> bool {
        false
    }

    fn record(&self, _record: FlowRecord) {}
}

/// A shared sink.
pub type Records = Arc<dyn RecordSink>;
