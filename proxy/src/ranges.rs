//! Ports by the thousand: one socket a worker takes all ports of an address that its listeners have, where ordinary sockets would be one
//! a port. Two ways lead there. `sk_lookup`: a program in the kernel finds the socket before the ordinary lookup does (`program`),
//! attached as long as there is something to steer. `TPROXY`: the operator's firewall rules send the ports there, and nothing is done here
//! but marking the sockets.
//!
//! Connected sockets of either protocol are found by the kernel before the program is asked (Documentation/bpf/prog_sk_lookup.rst), so
//! flows that are there never notice. Sockets that merely listen are found after it: what is not ours is looked up by ourselves and
//! left alone (`others`).

mod lookup;
mod others;
mod program;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portolan_config::model::{PortSteering, Protocol};
use portolan_config::units::PortRange;

use lookup::Lookup;

/// How often is looked whether somebody else has begun to listen on a port of ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Ports that are tried for the one that the sockets are bound to, from the highest down: others may have some.
const ANCHORS: usize = 64;

/// Whether a listener on this many ports could be served by this process, here and now. Loads the program, and attaches nothing.
pub fn can_steer(steering: PortSteering, protocol: Protocol) -> io::Result<()> {
    match steering {
        PortSteering::SkLookup => drop(Lookup::load()?),
        PortSteering::Tproxy => crate::sys::may_be_transparent()?,
    }
    match protocol {
        Protocol::Tcp => Ok(()),
        // Answers must leave from any of the ports.
        Protocol::Udp => crate::udp::can_answer(),
    }
}

/// Why these ports cannot be taken on every address of the host; `None` when they can.
pub fn wildcard_fault(protocol: Protocol, ports: &[PortRange]) -> Option<String> {
    let clients = ephemeral_ports();
    let meets =
        |range: &&PortRange| range.first() <= clients.last() && clients.first() <= range.last();
    let range = ports.iter().find(meets)?;
    (protocol == Protocol::Udp).then(|| {
        format!(
            "{range} on every address meets {clients}, where programs of this host await answers \
             (net.ipv4.ip_local_port_range); give the accelerator addresses"
        )
    })
}

/// What steers, and for which addresses. Dropping it ends that.
pub(crate) struct Ranges {
    steering: PortSteering,
    attached: Option<Attached>,
}

struct Attached {
    lookup: Arc<Mutex<Lookup>>,
    watch: Option<Watch>,
}

/// The thread that looks around.
struct Watch {
    /// Dropped to end it.
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Ranges {
    pub(crate) fn new(steering: PortSteering) -> Self {
        Self {
            steering,
            attached: None,
        }
    }

    /// Whether ports that come under way can be steered, too: they are in no rule of a firewall.
    pub(crate) fn takes_any(&self, protocol: Protocol) -> bool {
        self.steering == PortSteering::SkLookup && can_steer(self.steering, protocol).is_ok()
    }

    /// Whether the sockets are to be marked as transparent.
    pub(crate) fn transparent(&self) -> bool {
        self.steering == PortSteering::Tproxy
    }

    /// Ports that the sockets may be bound to, the best first. Rules of a firewall name it, so there it is the highest one of all.
    pub(crate) fn anchors(&self, ranges: &[PortRange]) -> Vec<u16> {
        let most = match self.steering {
            PortSteering::SkLookup => ANCHORS,
            PortSteering::Tproxy => 1,
        };
        let ports = |range: &PortRange| (range.first()..=range.last()).rev();
        ranges.iter().rev().flat_map(ports).take(most).collect()
    }

    /// Gives ports of an address to a socket and its group. Called again when they change; after an error the address has none.
    pub(crate) fn serve(
        &mut self,
        protocol: Protocol,
        ip: IpAddr,
        socket: BorrowedFd<'_>,
        ranges: Vec<PortRange>,
    ) -> io::Result<()> {
        let fault = ip
            .is_unspecified()
            .then(|| wildcard_fault(protocol, &ranges));
        if let Some(fault) = fault.flatten() {
            self.forget(protocol, ip);
            return Err(io::Error::other(fault));
        }
        if self.steering == PortSteering::Tproxy {
            return Ok(());
        }
        let attached = match &mut self.attached {
            Some(attached) => attached,
            None => self.attached.insert(Attached::new(Lookup::load()?)),
        };
        attached.lock().serve(protocol, ip, socket, ranges)?;
        attached.watch()
    }

    /// Takes the ports of an address back. With the last one the program goes.
    pub(crate) fn forget(&mut self, protocol: Protocol, ip: IpAddr) {
        let Some(attached) = &self.attached else {
            return;
        };
        let mut lookup = attached.lock();
        lookup.forget(protocol, ip);
        let last = lookup.is_empty();
        drop(lookup);
        if last {
            self.attached = None;
        }
    }

    /// Takes all ports of a protocol back.
    pub(crate) fn forget_all(&mut self, protocol: Protocol) {
        let served = self.attached.as_ref().map(|it| it.lock().served(protocol));
        for ip in served.unwrap_or_default() {
            self.forget(protocol, ip);
        }
    }
}

impl Attached {
    fn new(lookup: Lookup) -> Self {
        Self {
            lookup: Arc::new(Mutex::new(lookup)),
            watch: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lookup> {
        lock(&self.lookup)
    }

    fn watch(&mut self) -> io::Result<()> {
        if self.watch.is_none() {
            self.watch = Some(Watch::start(Arc::clone(&self.lookup))?);
        }
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // At once, whatever the watch is about.
        self.lock().detach();
        if let Some(Watch { stop, thread }) = self.watch.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the watch over ranges of ports has panicked");
            }
        }
    }
}

impl Watch {
    fn start(lookup: Arc<Mutex<Lookup>>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(0);
        let thread = std::thread::Builder::new()
            .name("ranges".into())
            .spawn(move || {
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    if let Err(error) = lock(&lookup).look_around() {
                        tracing::error!(%error, "cannot see who else listens on ports of a range");
                    }
                }
            })?;
        Ok(Self { stop, thread })
    }
}

fn lock(lookup: &Mutex<Lookup>) -> MutexGuard<'_, Lookup> {
    lookup.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports that the system gives to clients which ask for none.
pub(crate) fn ephemeral_ports() -> PortRange {
    let read = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = read.ok().and_then(|text| {
        let mut ports = text.split_whitespace().map(str::parse);
        PortRange::new(ports.next()?.ok()?, ports.next()?.ok()?)
    });
    range.unwrap_or(PortRange::new(32768, 60999).expect("a range of the kernel's own"))
}
