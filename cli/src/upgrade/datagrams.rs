//! Live flows of UDP on their way from one process to the other. They go with every upgrade: left behind, each would reach its endpoint
//! from another port, as a stranger. While they are on their way nobody reads the listening sockets, whose queues keep what comes.

use std::collections::HashMap;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use portolan_config::units::{AcceleratorName, EndpointId, Region};
use portolan_proxy::{HandedConnection, HandedDatagrams, KnownBy};
use tracing::{info, warn};

use super::STEP;
use super::flows::reason;
use super::message::{DatagramItem, HomeItem, Message};
use super::wire::{Frame, MOST_DESCRIPTORS, Wire, invalid};
use crate::assembly::Estate;

/// How long clients' datagrams may wait for the flows to come: longer than a hundred thousand of them take, shorter than most clients
/// wait for an answer. After it the sockets are read, and what still comes has its place if its client has been silent.
const HOLD: Duration = Duration::from_secs(2);

/// Connections of a message.
const CONNECTIONS: usize = 1 << 16;

/// Bytes of a connection in the blob: its home's place, the length of what it is known by, and that.
const ENTRY: usize = 4 + 1 + LONGEST_ID;
const LONGEST_ID: usize = 20;

/// Marks a client's address where the length of an id stands.
const CLIENT: u8 = u8::MAX;

/// Gives everything of UDP away. After an error what was not taken is back.
pub(super) fn give_datagrams(estate: &Estate, wire: &Wire) -> io::Result<()> {
    let began = Instant::now();
    let mut flows = estate.export_datagrams();
    let given = flows.len();
    while !flows.is_empty() {
        let count = flows.len().min(MOST_DESCRIPTORS);
        let batch: Vec<_> = flows.drain(..count).collect();
        if let Err((error, back)) = give(wire, batch) {
            flows.extend(back);
            estate.adopt_datagrams(flows);
            return Err(error);
        }
    }
    let connections = estate.export_connections();
    for some in connections.chunks(CONNECTIONS) {
        let (homes, blob) = pack(some);
        wire.send(&Message::Connections { homes }, &[], &blob, STEP)?;
    }
    wire.say(&Message::DatagramsEnd, STEP)?;
    if given > 0 {
        info!(flows = given, connections = connections.len(), took = ?began.elapsed(), "flows of UDP were handed over");
    }
    Ok(())
}

fn give(wire: &Wire, batch: Vec<HandedDatagrams>) -> Result<(), (io::Error, Vec<HandedDatagrams>)> {
    let items = batch.iter().map(DatagramItem::of).collect();
    let descriptors: Vec<_> = batch.iter().map(|flow| flow.socket.as_fd()).collect();
    let said = wire
        .send(&Message::Datagrams { items }, &descriptors, &[], STEP)
        .and_then(|()| wire.expect(&Message::Taken, STEP));
    // Unlike a stream, a flow of datagrams does no harm where it is in two processes: only one of them is sent any.
    said.map_err(|error| (error, batch))
}

/// Takes what the predecessor gives of UDP until it has no more; then, or when it takes too long, or after an error, its sockets are read.
pub(super) fn take_datagrams(estate: &Estate, wire: &Wire, within: Duration) -> io::Result<()> {
    let _holding = hold(estate);
    let mut taken = 0;
    loop {
        let Frame {
            message,
            descriptors,
            blob,
        } = wire.receive(within)?;
        if let Message::Datagrams { items } = message {
            let flows = unpack(items, descriptors)?;
            taken += flows.len();
            estate.adopt_datagrams(flows);
            wire.say(&Message::Taken, STEP)?;
        } else if let Message::Connections { homes } = message {
            estate.adopt_connections(unpack_connections(&homes, &blob)?);
        } else if message == Message::DatagramsEnd {
            info!(flows = taken, "flows of UDP were taken over");
            return Ok(());
        } else {
            return Err(message.unexpected());
        }
    }
}

/// Lets the sockets be read when its holder has let go, and after [`HOLD`] at the latest.
fn hold(estate: &Estate) -> Option<SyncSender<()>> {
    let (holder, held) = sync_channel::<()>(0);
    let until_done = {
        let estate = estate.clone();
        move || {
            if held.recv_timeout(HOLD) == Err(RecvTimeoutError::Timeout) {
                warn!("the predecessor's flows of UDP do not come; not waiting for them");
            }
            estate.go_on_with_datagrams();
        }
    };
    match thread::Builder::new()
        .name("datagrams".into())
        .spawn(until_done)
    {
        Ok(_) => Some(holder),
        Err(error) => {
            warn!(%error, "flows of UDP are not waited for");
            estate.go_on_with_datagrams();
            None
        }
    }
}

fn unpack(items: Vec<DatagramItem>, descriptors: Vec<OwnedFd>) -> io::Result<Vec<HandedDatagrams>> {
    if descriptors.len() != items.len() {
        return Err(invalid("a descriptor makes a flow"));
    }
    let both = items.into_iter().zip(descriptors);
    Ok(both.map(|(item, socket)| item.flow(socket)).collect())
}

pub(super) fn pack(connections: &[HandedConnection]) -> (Vec<HomeItem>, Vec<u8>) {
    let mut places = HashMap::new();
    let mut homes = Vec::new();
    let mut blob = Vec::with_capacity(connections.len() * ENTRY);
    for connection in connections {
        let home = HomeItem {
            accelerator: connection.accelerator.to_string(),
            port: connection.port,
            endpoint: connection.endpoint,
        };
        let place = *places.entry(home).or_insert_with_key(|home| {
            homes.push(home.clone());
            homes.len() as u32 - 1
        });
        let mut bytes = [0; LONGEST_ID];
        let len = match &connection.known_by {
            KnownBy::Id(id) => {
                let len = id.len().min(LONGEST_ID);
                bytes[..len].copy_from_slice(&id[..len]);
                len as u8
            }
            KnownBy::Client(client) => {
                bytes[..16].copy_from_slice(&client.octets());
                CLIENT
            }
        };
        blob.extend_from_slice(&place.to_be_bytes());
        blob.push(len);
        blob.extend_from_slice(&bytes);
    }
    (homes, blob)
}

pub(super) fn unpack_connections(
    homes: &[HomeItem],
    blob: &[u8],
) -> io::Result<Vec<HandedConnection>> {
    let (entries, rest) = blob.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        return Err(invalid("half a connection"));
    }
    let entries = entries.iter().map(|entry| {
        let (place, known) = entry.split_first_chunk::<4>()?;
        let home = homes.get(u32::from_be_bytes(*place) as usize)?;
        let (len, bytes) = known.split_first()?;
        let known_by = match *len {
            CLIENT => KnownBy::Client(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
            len => KnownBy::Id(bytes.get(..usize::from(len))?.to_vec()),
        };
        Some(HandedConnection {
            accelerator: AcceleratorName::new(home.accelerator.as_str()),
            port: home.port,
            known_by,
            endpoint: home.endpoint,
        })
    });
    entries
        .collect::<Option<_>>()
        .ok_or_else(|| invalid("a connection lives nowhere"))
}

impl DatagramItem {
    fn of(flow: &HandedDatagrams) -> Self {
        let HandedDatagrams {
            socket: _,
            bind,
            slot,
            client,
            local,
            accelerator,
            declared,
            region,
            endpoint_id,
            endpoint_addr,
            id,
            age,
            at_endpoint,
            heard,
            silent,
            attempts,
            reason,
            confirmed,
            connection,
            bytes,
            packets,
        } = flow;
        Self {
            id: *id,
            bind: *bind,
            slot: *slot,
            client: *client,
            local: *local,
            accelerator: accelerator.to_string(),
            declared: *declared,
            region: region.to_string(),
            endpoint: endpoint_id.to_string(),
            endpoint_addr: *endpoint_addr,
            age: *age,
            at_endpoint: *at_endpoint,
            heard: *heard,
            silent: *silent,
            attempts: *attempts,
            reason: reason.as_str().to_owned(),
            confirmed: *confirmed,
            connection: connection.clone(),
            bytes: *bytes,
            packets: *packets,
        }
    }

    fn flow(self, socket: OwnedFd) -> HandedDatagrams {
        HandedDatagrams {
            socket,
            bind: self.bind,
            slot: self.slot,
            client: self.client,
            local: self.local,
            accelerator: AcceleratorName::new(self.accelerator),
            declared: self.declared,
            region: Region::new(self.region),
            endpoint_id: EndpointId::new(self.endpoint),
            endpoint_addr: self.endpoint_addr,
            id: self.id,
            age: self.age,
            at_endpoint: self.at_endpoint,
            heard: self.heard,
            silent: self.silent,
            attempts: self.attempts,
            reason: reason(&self.reason),
            confirmed: self.confirmed,
            connection: self.connection,
            bytes: self.bytes,
            packets: self.packets,
        }
    }
}
