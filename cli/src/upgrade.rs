//! Taking over from a running process without losing a connection. The successor asks over a Unix socket beside the state file; the
//! predecessor gives copies of its sockets and what it knows, and serves on as if nothing were until the successor serves, too.
//!
//! ```text
//! successor                      predecessor
//!   Hello               →          who asks, may it
//!                       ←  Welcome | Refuse
//!   Taken               ⇄  Sockets   200 descriptors a message
//!                       ←  State     health, names
//!   (starts, held back)
//!   Ready               →          leaves the state file alone
//!                       ←  Going
//!   (opens its doors)
//!   Serving             →
//!                       ←  Farewell, and accepts no more
//!   Taken               ⇄  Datagrams flows of UDP; no datagram is read here before DatagramsEnd
//!                       ←  Connections, DatagramsEnd
//!   Taken               ⇄  Flows     when live flows of TCP are handed over, too
//!                       ←  FlowsEnd
//! ```
//!
//! Up to `Farewell` everything can fail on either side, and the predecessor serves on. A successor whose predecessor dies under way
//! goes on alone.

mod datagrams;
mod flows;
mod message;
mod offer;
mod process;
mod socket;
mod takeover;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use self::flows::give_flows;
pub(crate) use self::message::SocketKind;
pub(crate) use self::offer::{Offering, Successor};
pub(crate) use self::takeover::{Inherited, Takeover, ask};

use std::time::Duration;

/// The protocol spoken. A process that speaks another one is refused before it is given anything.
const PROTOCOL: u32 = 1;

/// How long the other side may take for what needs no work: it is a program on the same host.
const STEP: Duration = Duration::from_secs(5);

/// How long a successor may take to start and to get ready.
const GET_READY: Duration = Duration::from_secs(30);

/// How long it may take from the word to serving: thousands of listeners on a starved machine. The predecessor accepts meanwhile.
const BEGIN: Duration = Duration::from_secs(30);

/// Predecessors that may still be finishing their flows: each keeps its memory and asks every endpoint.
const MOST_PREDECESSORS: usize = 2;
