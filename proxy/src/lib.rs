//! The data way: accept → pick → connect → relay → account. Depends on the vocabulary alone; knows no AWS, no DNS, no HTTP.
//!
//! [`Edge`] is all that the rest of the process sees of it. Inside, a worker a core runs an event loop over flows that are plain data.

mod accept;
mod account;
mod capacity;
mod connect;
#[cfg(test)]
mod counted;
mod doors;
mod doubt;
mod edge;
mod engine;
mod first_byte;
mod flow;
mod gate;
mod handle;
mod handover;
mod list;
mod listen;
pub mod pick;
pub mod proxy_protocol;
mod ranges;
mod rate;
mod relay;
mod silence;
mod storm;
mod strand;
mod sys;
mod udp;
mod wheel;
mod wide;
mod worker;

/// The table of UDP's flows, for its bench.
#[doc(hidden)]
pub mod flow_table {
    pub use crate::udp::CARRIED_BYTES;
    pub use crate::udp::table::{Declared, Flow, FlowId, Place, Table, Tuple};
}

pub use capacity::{effective_max_flows, listening_descriptors};
pub use edge::{BindState, Edge, EdgeOptions};
pub use engine::{can_splice, can_use_io_uring, splice_descriptors};
pub use handover::{HandedFlow, HandedPipe, ListeningSocket};
pub use ranges::{can_steer, wildcard_fault};
pub use udp::{HandedConnection, HandedDatagrams, KnownBy};
pub use wide::MOST_SOCKET_PORTS;
