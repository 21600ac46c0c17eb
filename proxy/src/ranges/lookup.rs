//! The program, its maps and its link in the kernel. Written to by the edge when listeners come and go, and by the watch over what others
//! listen on. The link is held last and let go first: no entry is looked at before all are there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use portolan_config::model::Protocol;
use portolan_config::units::PortRange;

use super::table::{self, KEY, Open, Place, Places};
use super::{ephemeral_ports, others, program};
use crate::sys::bpf::{self, Map};

/// Entries of the map of ranges: a range takes at most 30, each port that is left to others one. Takes no memory before there are any.
const ENTRIES: u32 = 1 << 20;

/// Addresses with ranges, of both protocols; each takes eight bytes of the map.
const SOCKETS: u32 = 4096;

pub(super) struct Lookup {
    ranges: Map<KEY, 4>,
    sockets: Map<4, 4>,
    program: OwnedFd,
    link: Option<OwnedFd>,
    places: Places,
    /// What the map of ranges holds.
    written: BTreeMap<[u8; KEY], u32>,
    /// Sockets that listen on ports of the places.
    open: Vec<Open>,
    /// Their numbers, and whether they are this process's. Once own, a socket stays so while it is there: a predecessor may still have it.
    known: HashMap<u32, bool>,
    told: BTreeSet<(Protocol, SocketAddr)>,
}

impl Lookup {
    /// Makes the maps and loads the program; attaches nothing.
    pub(super) fn load() -> io::Result<Self> {
        let ranges = Map::longest_prefix(b"portolan_ranges\0", ENTRIES)?;
        let sockets = Map::sockets(b"portolan_socks\0\0", SOCKETS)?;
        let program = program::loaded(&ranges, &sockets)?;
        Ok(Self {
            ranges,
            sockets,
            program,
            link: None,
            places: Places::new(),
            written: BTreeMap::new(),
            open: Vec::new(),
            known: HashMap::new(),
            told: BTreeSet::new(),
        })
    }

    /// Gives ports of an address to a socket and its group, instead of what it had. After an error it has nothing.
    pub(super) fn serve(
        &mut self,
        protocol: Protocol,
        ip: IpAddr,
        socket: BorrowedFd<'_>,
        ranges: Vec<PortRange>,
    ) -> io::Result<()> {
        let served = self.try_serve(protocol, ip, socket, ranges);
        if served.is_err() {
            self.forget(protocol, ip);
        }
        served
    }

    fn try_serve(
        &mut self,
        protocol: Protocol,
        ip: IpAddr,
        socket: BorrowedFd<'_>,
        ranges: Vec<PortRange>,
    ) -> io::Result<()> {
        let had = self.places.get(&(protocol, ip)).map(|place| place.number);
        let number = had.unwrap_or_else(|| self.free_number());
        let descriptor = socket.as_raw_fd();
        self.sockets
            .put(&number.to_ne_bytes(), &descriptor.to_ne_bytes())?;
        let place = Place { number, ranges };
        self.places.insert((protocol, ip), place);
        self.look_around()?;
        if self.link.is_none() {
            let network = File::open("/proc/thread-self/ns/net")?;
            self.link = Some(bpf::attach(self.program.as_fd(), network.as_fd())?);
        }
        Ok(())
    }

    fn free_number(&self) -> u32 {
        let taken: BTreeSet<u32> = self.places.values().map(|place| place.number).collect();
        (0..).find(|number| !taken.contains(number)).unwrap_or(0)
    }

    /// Takes the ports of an address back.
    pub(super) fn forget(&mut self, protocol: Protocol, ip: IpAddr) {
        let Some(place) = self.places.remove(&(protocol, ip)) else {
            return;
        };
        if let Err(error) = self.write() {
            tracing::error!(%ip, %error, "ports of an address are still steered");
        }
        // One that was closed has left by itself.
        let _ = self.sockets.remove(&place.number.to_ne_bytes());
    }

    /// The addresses that ports of a protocol are steered for.
    pub(super) fn served(&self, protocol: Protocol) -> Vec<IpAddr> {
        let mine = self.places.keys().filter(|(p, _)| *p == protocol);
        mine.map(|(_, ip)| *ip).collect()
    }

    /// Whether nothing is steered.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Lets the kernel go on as if there were no program.
    pub(super) fn detach(&mut self) {
        self.link = None;
    }

    /// Sees who listens on ports of the places, and leaves those ports to them.
    pub(super) fn look_around(&mut self) -> io::Result<()> {
        let mut found = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            if self.places.keys().any(|(p, _)| *p == protocol) {
                found.extend(others::sockets(protocol)?);
            }
        }
        // Whether a socket is ours is asked only of those for which it matters.
        let (places, ephemeral) = (&self.places, ephemeral_ports());
        found.retain(|found| !table::left(places, &[found.open], ephemeral).is_empty());
        if found.iter().any(|f| !self.known.contains_key(&f.inode)) {
            let own = others::own()?;
            for found in &found {
                let own = own.contains(&found.inode);
                self.known.entry(found.inode).or_insert(own);
            }
        }
        let present: BTreeSet<u32> = found.iter().map(|found| found.inode).collect();
        self.known.retain(|inode, _| present.contains(inode));
        self.open = found
            .into_iter()
            .map(|found| Open {
                own: self.known.get(&found.inode).copied().unwrap_or(false),
                ..found.open
            })
            .collect();
        self.write()?;
        self.tell_left();
        Ok(())
    }

    /// Says once whose ports are not served here.
    fn tell_left(&mut self) {
        let foreign: Vec<Open> = self.open.iter().filter(|open| !open.own).copied().collect();
        let left = table::left(&self.places, &foreign, ephemeral_ports());
        for (protocol, address) in &left {
            if !self.told.contains(&(*protocol, *address)) {
                tracing::warn!(
                    %protocol, %address,
                    "another program listens on a port inside of a listener's range, and keeps it"
                );
            }
        }
        self.told = left.into_iter().collect();
    }

    /// Brings the map of ranges to what it should be: new entries first, so that no port is without one meanwhile.
    fn write(&mut self) -> io::Result<()> {
        let wanted = table::entries(&self.places, &self.open, ephemeral_ports());
        for (key, number) in &wanted {
            if self.written.get(key) != Some(number) {
                self.ranges.put(key, &number.to_ne_bytes())?;
                self.written.insert(*key, *number);
            }
        }
        let gone: Vec<[u8; KEY]> = self
            .written
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .copied()
            .collect();
        for key in gone {
            self.ranges.remove(&key)?;
            self.written.remove(&key);
        }
        Ok(())
    }
}
