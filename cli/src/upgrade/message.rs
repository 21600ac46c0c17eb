//! What the two processes say to each other. JSON with names: a release may add fields that an older one does not know, and leaves
//! out what a newer one has a default for. What means something else gets another protocol number.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use portolan_control::Inheritance;
use serde::{Deserialize, Serialize};

use super::process::ProcessId;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(super) enum Message {
    /// The successor's first word.
    Hello(Hello),
    /// It may go on.
    Welcome(Welcome),
    /// It may not, or something went wrong.
    Refuse {
        /// For people.
        why: String,
    },
    /// Listening sockets, a descriptor each.
    Sockets {
        /// In the order of the descriptors.
        items: Vec<SocketItem>,
    },
    /// What came with the last message is the receiver's from here on.
    Taken,
    /// What is known.
    State {
        /// Health and names.
        known: Inheritance,
    },
    /// The successor could serve now.
    Ready,
    /// It shall.
    Going,
    /// It does.
    Serving,
    /// The predecessor accepts nothing any more.
    Farewell,
    /// Live flows, two descriptors each: client, endpoint. What is kept of them is in the blob: inbound, outbound, flow by flow.
    Flows {
        /// In the order of the descriptors.
        items: Vec<FlowItem>,
    },
    /// There are no more of them.
    FlowsEnd,
    /// Live flows of UDP, a descriptor each: the socket toward the endpoint.
    Datagrams {
        /// In the order of the descriptors.
        items: Vec<DatagramItem>,
    },
    /// Where connections of QUIC live; by what they are known is in the blob.
    Connections {
        /// What entries of the blob point at.
        homes: Vec<HomeItem>,
    },
    /// There is no more of UDP.
    DatagramsEnd,
}

impl Message {
    /// The error of hearing it where the protocol does not have it.
    pub(super) fn unexpected(&self) -> io::Error {
        if let Message::Refuse { why } = self {
            return io::Error::other(why.clone());
        }
        let text = format!("{self:?}");
        let name = text.split([' ', '(', '{']).next().unwrap_or_default();
        io::Error::new(ErrorKind::InvalidData, format!("{name} was not expected"))
    }
}

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// What it speaks.
    pub(super) protocol: u32,
    /// The release, for logs.
    #[serde(default)]
    pub(super) version: String,
    /// Who it is.
    pub(super) process: ProcessId,
    /// Whether it wants the live flows.
    #[serde(default)]
    pub(super) with_flows: bool,
    /// Whether it takes the live flows of UDP, and reads no datagram before it has them.
    #[serde(default)]
    pub(super) datagrams: bool,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// What it speaks.
    pub(super) protocol: u32,
    /// The release, for logs.
    #[serde(default)]
    pub(super) version: String,
    /// Who it is.
    pub(super) process: ProcessId,
    /// Its own predecessors that still finish their flows.
    #[serde(default)]
    pub(super) draining: Vec<ProcessId>,
    /// Whether it gives its live flows of UDP.
    #[serde(default)]
    pub(super) datagrams: bool,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SocketKind {
    /// A TCP listener's.
    Tcp,
    /// A UDP listener's.
    Udp,
    /// `[admin]`.
    Admin,
    /// `[readiness]`.
    Readiness,
    /// `[api]`.
    Api,
    /// The one that upgrades are asked for on.
    Upgrade,
    /// The interface that addresses stand on: no socket, but what holds it in life.
    Interface,
    /// One that only a newer release knows; it is closed.
    #[serde(other)]
    Unknown,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SocketItem {
    /// What it is for.
    pub(super) kind: SocketKind,
    /// Where, as the file says; none for a Unix socket.
    #[serde(default)]
    pub(super) address: Option<SocketAddr>,
}

/// A live flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FlowItem {
    pub(super) id: u64,
    pub(super) accelerator: String,
    pub(super) region: String,
    pub(super) endpoint: String,
    pub(super) client_addr: SocketAddr,
    pub(super) listener_addr: SocketAddr,
    pub(super) endpoint_addr: SocketAddr,
    pub(super) age: Duration,
    pub(super) idle: Duration,
    pub(super) connect_took: Duration,
    pub(super) attempts: u8,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) endpoint_finished_first: Option<bool>,
    #[serde(default)]
    pub(super) drain_left: Option<Duration>,
    pub(super) inbound: PipeItem,
    pub(super) outbound: PipeItem,
}

/// One direction of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PipeItem {
    pub(super) bytes: u64,
    pub(super) reads: u32,
    pub(super) eof: bool,
    pub(super) shut: bool,
    /// How many bytes of the blob are its.
    pub(super) kept: usize,
    pub(super) ours: usize,
}

/// A live flow of UDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DatagramItem {
    pub(super) id: u64,
    pub(super) bind: SocketAddr,
    pub(super) slot: usize,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) accelerator: String,
    #[serde(default)]
    pub(super) declared: Option<(SocketAddr, SocketAddr)>,
    pub(super) region: String,
    pub(super) endpoint: String,
    pub(super) endpoint_addr: SocketAddr,
    pub(super) age: Duration,
    pub(super) at_endpoint: Duration,
    #[serde(default)]
    pub(super) heard: Option<Duration>,
    #[serde(default)]
    pub(super) silent: Duration,
    pub(super) attempts: u8,
    pub(super) reason: String,
    pub(super) confirmed: bool,
    #[serde(default)]
    pub(super) connection: Vec<u8>,
    pub(super) bytes: (u64, u64),
    pub(super) packets: (u64, u64),
}

/// Where connections of QUIC live.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct HomeItem {
    pub(super) accelerator: String,
    pub(super) port: u16,
    pub(super) endpoint: SocketAddr,
}
