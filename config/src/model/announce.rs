//! `[announce]`: how the static addresses are announced to the routers, and when they are taken back.

use std::path::PathBuf;
use std::time::Duration;

/// How the accelerators' addresses become reachable here. At least one way is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// They live on an interface of this process, which goes when it goes.
    pub interface: Option<String>,
    /// A generated file that BIRD includes.
    pub bird: Option<Bird>,
    /// A program that is told what is to be announced, with its arguments.
    pub exec: Option<Vec<String>>,
    /// Our AS number, which is put in front of the path while an address is being left; none is not.
    pub asn: Option<u32>,
    /// How often it is put there.
    pub prepend: u8,
    /// How long an address that is being left stays announced as the worst choice.
    pub drain: Duration,
    /// How long all must be well before what was withdrawn is announced again.
    pub hold: Duration,
    /// From one look at our own listeners to the next; `None` is off.
    pub self_check: Option<Duration>,
}

/// Where BIRD is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bird {
    /// Its control socket.
    pub socket: PathBuf,
    /// The file that its configuration includes.
    pub include: PathBuf,
}
