//! Which endpoint a QUIC connection lives at, by its connection ids: what keeps it there when the client's address changes. Only what
//! every version of QUIC has is read (RFC 8999): an endpoint's long headers name the ids that its clients will use, a client's short
//! header begins with one of them. Nothing is decrypted and no help of the endpoint is needed.
//!
//! An id that was given later, inside the encryption, is not known; its sender then goes by where its address was last seen to have a
//! connection. A client that moves is a new flow: the endpoint sees a new path and validates it itself (RFC 9000 §9).
//!
//! Shared by the workers, since a changed port may meet another worker. Asked only for datagrams that belong to no flow.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portolan_config::snapshot::AddressId;
use portolan_config::stats::ListenerStats;

use super::handover::KnownBy;

/// The longest id of the versions that there are (RFC 9000 §17.2); RFC 8999 allows 255.
const LONGEST: usize = 20;

/// Shorter ones say too little: 4 bytes are met by chance.
const SHORTEST: usize = 4;

/// Locks, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// Ids in a generation of a shard; with two generations and all shards half a million, some 40 MB.
const MOST: usize = 1 << 14;

/// An id that nothing was heard of for one to two generations is forgotten. Live flows renew theirs.
const GENERATION: Duration = Duration::from_secs(300);

/// An id, or a client's address, at one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    listener: usize,
    /// [`CLIENT`] for a client's address.
    len: u8,
    bytes: [u8; LONGEST],
}

const CLIENT: u8 = u8::MAX;

impl Id {
    fn connection(listener: usize, id: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..id.len()].copy_from_slice(id);
        Self {
            listener,
            len: id.len() as u8,
            bytes,
        }
    }

    /// What a predecessor knew a connection by; `None` for what it cannot have been.
    pub(crate) fn of(listener: usize, known_by: &KnownBy) -> Option<Self> {
        match known_by {
            KnownBy::Id(id) if (SHORTEST..=LONGEST).contains(&id.len()) => {
                Some(Self::connection(listener, id))
            }
            KnownBy::Id(_) => None,
            KnownBy::Client(ip) => Some(Self::client(listener, (*ip).into())),
        }
    }

    /// Its listener's name.
    pub(crate) fn listener(&self) -> usize {
        self.listener
    }

    /// What it is, without its listener.
    pub(crate) fn known_by(&self) -> KnownBy {
        if self.len == CLIENT {
            let (octets, _) = self
                .bytes
                .split_first_chunk::<16>()
                .expect("an address fits into an id");
            return KnownBy::Client(Ipv6Addr::from(*octets));
        }
        KnownBy::Id(self.bytes[..usize::from(self.len)].to_vec())
    }

    fn client(listener: usize, ip: IpAddr) -> Self {
        let ip: Ipv6Addr = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut bytes = [0; LONGEST];
        bytes[..16].copy_from_slice(&ip.octets());
        Self {
            listener,
            len: CLIENT,
            bytes,
        }
    }
}

/// Where a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) address: AddressId,
    pub(crate) port: u16,
}

/// All connections that are known.
#[derive(Default)]
pub(crate) struct Connections {
    shards: [Mutex<Shard>; SHARDS],
    /// Lengths that endpoints gave ids of, as bits.
    lengths: AtomicU32,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Id, Home>,
    old: HashMap<Id, Home>,
    turned: Option<Instant>,
}

impl Connections {
    /// Looks at a packet that an endpoint sent, and notes the id that it names; gives what to renew while the flow lives.
    pub(crate) fn learn(
        &self,
        listener: usize,
        packet: &[u8],
        client: IpAddr,
        home: Home,
        now: Instant,
    ) -> Option<Id> {
        let source = source_of_long(packet)?;
        if !(SHORTEST..=LONGEST).contains(&source.len()) {
            return None;
        }
        self.lengths.fetch_or(1 << source.len(), Relaxed);
        let id = Id::connection(listener, source);
        self.put(id, home, now);
        self.put(Id::client(listener, client), home, now);
        Some(id)
    }

    /// Notes that the flow of an id lives.
    pub(crate) fn renew(&self, id: Id, home: Home, now: Instant) {
        self.put(id, home, now);
    }

    /// All that are known.
    pub(crate) fn all(&self) -> Vec<(Id, Home)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let both = shard.young.iter().chain(&shard.old);
            all.extend(both.map(|(id, home)| (*id, *home)));
        }
        all
    }

    /// Takes what a predecessor knew; what was learned since is newer.
    pub(crate) fn recall(&self, id: Id, home: Home, now: Instant) {
        if id.len != CLIENT {
            self.lengths.fetch_or(1 << id.len, Relaxed);
        }
        self.with(id, now, |shard| {
            if !shard.young.contains_key(&id) {
                shard.put(id, home);
            }
        });
    }

    /// Where a client's packet belongs that is of no flow.
    pub(crate) fn find(
        &self,
        listener: usize,
        packet: &[u8],
        client: IpAddr,
        now: Instant,
    ) -> Option<Home> {
        let behind = short(packet)?;
        let lengths = self.lengths.load(Relaxed);
        let ids = (SHORTEST..=LONGEST)
            .rev()
            .filter(|len| lengths & (1 << len) != 0)
            .filter_map(|len| behind.get(..len))
            .map(|id| Id::connection(listener, id));
        ids.chain([Id::client(listener, client)])
            .find_map(|id| self.take(id, now))
    }

    fn put(&self, id: Id, home: Home, now: Instant) {
        self.with(id, now, |shard| shard.put(id, home));
    }

    fn take(&self, id: Id, now: Instant) -> Option<Home> {
        self.with(id, now, |shard| shard.take(id))
    }

    fn with<T>(&self, id: Id, now: Instant, what: impl FnOnce(&mut Shard) -> T) -> T {
        // Ids are random; addresses differ at their ends.
        let sum: usize = id.bytes.iter().map(|byte| usize::from(*byte)).sum();
        let mut shard = self.shards[sum % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shard.turn(now);
        what(&mut shard)
    }
}

impl Shard {
    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= GENERATION {
            self.rotate();
            self.turned = Some(now);
        }
    }

    fn rotate(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }

    fn put(&mut self, id: Id, home: Home) {
        if self.young.len() >= MOST && !self.young.contains_key(&id) {
            self.rotate();
        }
        self.young.insert(id, home);
    }

    fn take(&mut self, id: Id) -> Option<Home> {
        if let Some(home) = self.young.get(&id) {
            return Some(*home);
        }
        let home = self.old.remove(&id)?;
        self.put(id, home);
        Some(home)
    }
}

/// A listener's name over all generations: the address of its counters.
pub(crate) fn name_of(stats: &Arc<ListenerStats>) -> usize {
    Arc::as_ptr(stats) as usize
}

/// The source connection id of a packet with a long header. Version negotiation, version 0, names none of the endpoint's own.
fn source_of_long(packet: &[u8]) -> Option<&[u8]> {
    let (first, rest) = packet.split_first()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    if first & 0x80 == 0 || *version == [0; 4] {
        return None;
    }
    let (_destination, rest) = prefixed(rest)?;
    let (source, _) = prefixed(rest)?;
    Some(source)
}

/// Bytes behind their length, and what follows them.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// What follows the first byte of a short header.
fn short(packet: &[u8]) -> Option<&[u8]> {
    let (first, rest) = packet.split_first()?;
    (first & 0x80 == 0).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: usize = 1;

    fn long(version: u32, destination: &[u8], source: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc3];
        packet.extend_from_slice(&version.to_be_bytes());
        packet.push(destination.len() as u8);
        packet.extend_from_slice(destination);
        packet.push(source.len() as u8);
        packet.extend_from_slice(source);
        packet.extend_from_slice(b"rest");
        packet
    }

    fn short_header(id: &[u8]) -> Vec<u8> {
        [&[0x41], id, b"payload"].concat()
    }

    fn home(number: u64) -> Home {
        Home {
            address: AddressId(number),
            port: 443,
        }
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn long_headers_name_their_source_whatever_their_version() {
        for version in [1, 0x6b33_43cf, 0xdead_beef] {
            assert_eq!(
                source_of_long(&long(version, b"destination", b"12345678")),
                Some(&b"12345678"[..])
            );
        }
        assert_eq!(source_of_long(&long(0, b"d", b"12345678")), None);
        assert_eq!(source_of_long(&short_header(b"12345678")), None);
        let whole = long(1, b"destination", b"12345678");
        for cut in 0..whole.len() - 4 {
            assert_eq!(source_of_long(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_connection_is_found_from_another_address_by_its_id() {
        let (known, now) = (Connections::default(), Instant::now());
        known.learn(L, &long(1, b"c", b"12345678"), ip(1), home(7), now);
        known.learn(L, &long(1, b"c", b"abcdefghijkl"), ip(2), home(8), now);
        let find = |id: &[u8], from| known.find(L, &short_header(id), from, now);
        assert_eq!(find(b"12345678", ip(9)), Some(home(7)));
        assert_eq!(find(b"abcdefghijkl", ip(9)), Some(home(8)));
        assert_eq!(find(b"other-id-her", ip(9)), None);
        assert_eq!(
            known.find(2, &short_header(b"12345678"), ip(9), now),
            None,
            "another listener's"
        );
        assert_eq!(
            find(b"given-inside", ip(2)),
            Some(home(8)),
            "by the address that it had"
        );
        assert_eq!(
            known.find(L, &long(1, b"12345678", b"x"), ip(2), now),
            None,
            "a new connection is picked anew"
        );
    }

    #[test]
    fn what_is_not_renewed_is_forgotten() {
        let (known, now) = (Connections::default(), Instant::now());
        let id = known
            .learn(L, &long(1, b"c", b"12345678"), ip(1), home(7), now)
            .unwrap();
        let find = |now| known.find(L, &short_header(b"12345678"), ip(9), now);
        known.renew(id, home(7), now + GENERATION);
        assert_eq!(find(now + GENERATION * 2), Some(home(7)));
        let later = now + GENERATION * 4;
        assert_eq!(find(later - GENERATION), Some(home(7)));
        find(later);
        assert_eq!(find(later + GENERATION), Some(home(7)), "asked for: alive");
        find(later + GENERATION * 2);
        known.find(L, &short_header(b"unknown!"), ip(9), later + GENERATION * 3);
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let (known, now) = (Connections::default(), Instant::now());
        for number in 0..(MOST * SHARDS * 3) as u64 {
            let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            known.learn(L, &long(1, b"c", &id), ip(1), home(1), now);
        }
        for shard in &known.shards {
            let shard = shard.lock().unwrap();
            assert!(shard.young.len() <= MOST && shard.old.len() <= MOST);
        }
    }
}
