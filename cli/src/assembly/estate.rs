//! What a successor may be given of a running edge, while it runs on: the upgrade asks for it, from threads of its own.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use portolan_control::ControlHandle;
use portolan_proxy::{Edge, HandedConnection, HandedDatagrams, HandedFlow, ListeningSocket};

use super::{Door, Plane, lock};
use crate::upgrade::SocketKind;

/// The parts of a running edge that are given to a successor, in copies.
#[derive(Clone)]
pub(crate) struct Estate {
    control: ControlHandle,
    plane: Arc<Plane>,
    doors: Arc<Mutex<Vec<Door>>>,
}

impl Estate {
    pub(super) fn new(
        control: ControlHandle,
        plane: Arc<Plane>,
        doors: Arc<Mutex<Vec<Door>>>,
    ) -> Self {
        Self {
            control,
            plane,
            doors,
        }
    }

    /// The control way.
    pub(crate) fn control(&self) -> &ControlHandle {
        &self.control
    }

    /// What is listened on beside the data path: kind, address as the file has it, socket.
    pub(crate) fn doors(&self) -> std::io::Result<Vec<(SocketKind, Option<SocketAddr>, OwnedFd)>> {
        let doors = lock(&self.doors);
        let copies = doors.iter().map(|door| {
            let socket = door.socket.try_clone()?;
            Ok((door.kind, door.address, socket))
        });
        let interface = self.control.share_interface();
        let interface = interface.map(|held| Ok((SocketKind::Interface, None, held)));
        copies.chain(interface).collect()
    }

    /// Adds the socket that upgrades are asked for on.
    pub(crate) fn keep_upgrade_socket(&self, socket: UnixListener) {
        lock(&self.doors).push(Door {
            kind: SocketKind::Upgrade,
            address: None,
            socket: socket.into(),
        });
    }

    /// What the data path listens on.
    pub(crate) fn listening_sockets(&self) -> std::io::Result<Vec<ListeningSocket>> {
        self.plane.ask(Ok(Vec::new()), Edge::listening_sockets)
    }

    /// Flows now.
    pub(crate) fn active_flows(&self) -> usize {
        self.plane.ask(0, Edge::active_flows)
    }

    /// Takes the established flows out of the data path.
    pub(crate) fn export_flows(&self) -> Vec<HandedFlow> {
        self.plane.ask(Vec::new(), Edge::export_flows)
    }

    /// Puts flows into the data path.
    pub(crate) fn adopt_flows(&self, flows: Vec<HandedFlow>) {
        self.plane.ask((), |edge| edge.adopt_flows(flows));
    }

    /// Takes the flows of UDP out of the data path.
    pub(crate) fn export_datagrams(&self) -> Vec<HandedDatagrams> {
        self.plane.ask(Vec::new(), Edge::export_datagrams)
    }

    /// Puts flows of UDP into the data path.
    pub(crate) fn adopt_datagrams(&self, flows: Vec<HandedDatagrams>) {
        self.plane.ask((), |edge| edge.adopt_datagrams(flows));
    }

    /// Where connections of QUIC live.
    pub(crate) fn export_connections(&self) -> Vec<HandedConnection> {
        self.plane.ask(Vec::new(), Edge::export_connections)
    }

    /// Takes what a predecessor knows of connections of QUIC.
    pub(crate) fn adopt_connections(&self, connections: Vec<HandedConnection>) {
        self.plane
            .ask((), |edge| edge.adopt_connections(connections));
    }

    /// Lets a predecessor's sockets of UDP be read.
    pub(crate) fn go_on_with_datagrams(&self) {
        self.plane.ask((), Edge::go_on_with_datagrams);
    }
}
