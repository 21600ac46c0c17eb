//! The first step: a connection comes in by a door. It is let in or refused at once, and where its sender is trusted to say who
//! the client is, that is read first. Nothing else waits for the client's bytes: protocols in which the other side speaks first work.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mio::Interest;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use portolan_config::address::{ClientAddr, ListenerAddr, canonical};
use portolan_config::flow::{EndCause, PickReason};
use portolan_config::stats::Limit;
use std::os::fd::AsRawFd;

use crate::doors::{Behind, Whose};
use crate::flow::{CLIENT, Door, Flow, HeaderWait, Phase};
use crate::list::Links;
use crate::listen::suit;
use crate::proxy_protocol::{Decoded, decode};
use crate::relay::ring::OnRing;
use crate::relay::{Pipe, Ready};
use crate::wheel::NO_SLOT;
use crate::worker::{Again, Entrance, Handle, Timer, Worker};

/// Connections taken from one socket in a turn.
const ACCEPTS_A_TURN: usize = 64;

/// The longest PROXY header that is read, with what may follow it in the same segment.
const HEADER_LIMIT: usize = 4096 + 16;

impl Worker {
    pub(crate) fn open_entrance(
        &mut self,
        bind: SocketAddr,
        socket: Arc<TcpListener>,
        whose: &Whose,
    ) {
        let Some(behind) = whose.resolve(&self.doors) else {
            // The snapshot that this was opened for has been overtaken; its Close follows.
            return;
        };
        let vacant = self.entrances.vacant_entry();
        let handle = Handle {
            key: vacant.key() as u32,
            generation: 0,
        };
        let registered = self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            handle.token(CLIENT),
            Interest::READABLE,
        );
        if let Err(error) = registered {
            tracing::error!(%bind, %error, "cannot wait for connections on this address");
            return;
        }
        let key = vacant.key();
        vacant.insert(Entrance {
            bind,
            socket,
            behind,
            queued: false,
        });
        self.accept(key);
    }

    pub(crate) fn assign_entrance(&mut self, bind: SocketAddr, whose: &Whose) {
        let Some(behind) = whose.resolve(&self.doors) else {
            return;
        };
        for (_, entrance) in self.entrances.iter_mut().filter(|(_, e)| e.bind == bind) {
            entrance.behind = behind.clone();
        }
    }

    /// Closes listening sockets, each emptied first: what the kernel has accepted must not be reset.
    pub(crate) fn close_entrances(&mut self, which: impl Fn(&Entrance) -> bool) {
        let keys: Vec<usize> = self
            .entrances
            .iter()
            .filter(|(_, entrance)| which(entrance))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let socket = Arc::clone(&self.entrances[key].socket);
            while self.accept_some(key) {}
            // Others may still hold a shared socket, so closing it would not take it out of this event loop.
            if let Err(error) = self
                .poll
                .registry()
                .deregister(&mut SourceFd(&socket.as_raw_fd()))
            {
                tracing::debug!(%error, "a listening socket was not registered");
            }
            self.entrances.remove(key);
        }
    }

    /// Takes what waits on a listening socket, up to a turn's share.
    pub(crate) fn accept(&mut self, key: usize) {
        if self.accept_paused || !self.entrances.contains(key) {
            return;
        }
        self.see_newer_snapshot();
        if self.accept_some(key)
            && let Some(entrance) = self.entrances.get_mut(key)
            && !entrance.queued
        {
            entrance.queued = true;
            self.again.push(Again::Accept(key));
        }
    }

    /// True when the turn's share was used up and more may wait.
    fn accept_some(&mut self, key: usize) -> bool {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(entrance) = self.entrances.get(key) else {
                return false;
            };
            match entrance.socket.accept() {
                Ok((client, peer)) => {
                    match entrance.met(&client) {
                        Some(met) => self.open(client, peer, met),
                        // A reload has taken the port away since the client came.
                        None => reset_on_close(&client),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.shared.stats.accept_errors.fetch_add(1, Relaxed);
                    // Anything but a lack of descriptors or memory is that connection's own misfortune (accept(2)).
                    if is_lack(&error) {
                        self.pause_accepting();
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Lets one connection in, or refuses it.
    fn open(&mut self, client: TcpStream, peer: SocketAddr, met: Met) {
        let Met { door, at } = met;
        let listener = door.listener();
        let shared = &self.shared;
        if let Err(limit) =
            shared
                .gate
                .admit(&shared.stats, &door.stats, &listener.settings, self.now)
        {
            self.refuse(&client, &door, limit);
            return;
        }
        let peer = canonical(peer);
        let trusted = listener
            .settings
            .accept_proxy
            .as_ref()
            .filter(|accept| accept.from.iter().any(|net| net.contains(&peer.ip())));
        let phase = trusted.map(|accept| {
            Phase::Header(Box::new(HeaderWait {
                read: Vec::new(),
                deadline: self.now + accept.timeout,
            }))
        });
        let source = if phase.is_some() {
            Ok(None)
        } else {
            shared.gate.admit_source(peer.ip(), self.now)
        };
        let source = match source {
            Ok(source) => source,
            Err(limit) => {
                shared.gate.leave(&shared.stats, &door.stats);
                self.refuse(&client, &door, limit);
                return;
            }
        };
        // Only a wildcard socket has to be asked which address the client spoke to.
        let spoken_to = if at.ip().is_unspecified() {
            client.local_addr().map_or(at, canonical)
        } else {
            at
        };
        let waits = phase.is_some();
        let flow = self.new_flow(
            client,
            ClientAddr(peer),
            ListenerAddr(spoken_to),
            door,
            phase,
            source,
        );
        let key = self.flows.insert(flow) as u32;
        let handle = self.handle(key);
        // That it takes bytes goes without saying, until it does not.
        let registered = self.poll.registry().register(
            &mut self.flows[key as usize].client,
            handle.token(CLIENT),
            Interest::READABLE,
        );
        if registered.is_err() {
            self.end(key, EndCause::Limit);
        } else if waits {
            if let Phase::Header(wait) = &self.flows[key as usize].phase {
                let deadline = wait.deadline;
                self.arm(deadline, Timer::Flow(handle));
            }
        } else {
            self.connect(key, Vec::new(), Vec::new());
        }
    }

    fn new_flow(
        &mut self,
        client: TcpStream,
        client_addr: ClientAddr,
        listener_addr: ListenerAddr,
        door: Rc<Door>,
        phase: Option<Phase>,
        source: Option<Box<pingora_limits::inflight::Guard>>,
    ) -> Flow {
        let id = self.next_id;
        self.next_id += 1;
        Flow {
            client,
            endpoint: None,
            generation: self.next_generation(),
            phase: phase.unwrap_or(Phase::Relaying),
            client_ready: Ready {
                writable: true,
                ..Ready::default()
            },
            endpoint_ready: Ready::default(),
            endpoint_side: 1,
            attempts: 0,
            reason: PickReason::Nearest,
            finished_first: None,
            retried_reset: false,
            stays: false,
            queued: false,
            waits: false,
            told_of_room: false,
            prompt: false,
            cut_off: false,
            on_ring: OnRing::default(),
            endpoint_port: 0,
            slot: NO_SLOT,
            active: self.wheel.tick(self.now),
            connect_micros: 0,
            asked: 0,
            in_slot: Links::NONE,
            abreast: Links::NONE,
            inbound: Pipe::default(),
            outbound: Pipe::default(),
            door,
            route: None,
            source,
            id,
            started: self.now,
            client_addr,
            listener_addr,
            declared: None,
        }
    }

    /// Sends a connection away that was never a flow: a reset, before any work.
    fn refuse(&self, client: &TcpStream, door: &Door, limit: Limit) {
        reset_on_close(client);
        self.shared.stats.count_limit(limit);
        door.stats.count_end(EndCause::Limit);
    }

    /// Reads on in a PROXY header.
    pub(crate) fn on_header(&mut self, handle: Handle) {
        loop {
            let Some(flow) = self.flows.get_mut(handle.key as usize) else {
                return;
            };
            let Phase::Header(wait) = &mut flow.phase else {
                return;
            };
            let room = HEADER_LIMIT - wait.read.len().min(HEADER_LIMIT);
            let buffer = &mut self.scratch.buffer()[..room];
            let read = match (&flow.client).read(buffer) {
                Ok(0) => return self.refuse_header(handle.key),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    flow.client_ready.readable = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.refuse_header(handle.key),
            };
            wait.read.extend_from_slice(&buffer[..read]);
            match decode(&wait.read) {
                Decoded::Incomplete if wait.read.len() < HEADER_LIMIT => {}
                Decoded::Incomplete | Decoded::Malformed(_) => {
                    return self.refuse_header(handle.key);
                }
                Decoded::Header {
                    len,
                    addresses,
                    tlvs,
                } => {
                    let tlvs = tlvs.to_vec();
                    let rest = wait.read[len..].to_vec();
                    if let Some((source, destination)) = addresses {
                        flow.client_addr = ClientAddr(canonical(source));
                        flow.declared = Some(Box::new(canonical(destination)));
                    }
                    return self.admit_declared(handle.key, rest, tlvs);
                }
            }
        }
    }

    /// Goes on with a flow whose client a PROXY header named.
    fn admit_declared(&mut self, key: u32, rest: Vec<u8>, tlvs: Vec<u8>) {
        let source: IpAddr = self.flows[key as usize].client_addr.0.ip();
        match self.shared.gate.admit_source(source, self.now) {
            Ok(guard) => {
                self.flows[key as usize].source = guard;
                self.connect(key, rest, tlvs);
            }
            Err(limit) => {
                self.shared.stats.count_limit(limit);
                self.end(key, EndCause::Limit);
            }
        }
    }

    /// Ends a flow whose PROXY header was late or none.
    pub(crate) fn refuse_header(&mut self, key: u32) {
        self.shared.stats.proxy_header_errors.fetch_add(1, Relaxed);
        self.end(key, EndCause::Limit);
    }
}

/// What a connection was made to.
struct Met {
    door: Rc<Door>,
    /// The unspecified address where it has not been asked for.
    at: SocketAddr,
}

impl Entrance {
    /// The listener that a connection belongs to; a socket for many ports has to be asked for the port.
    fn met(&self, client: &TcpStream) -> Option<Met> {
        match &self.behind {
            Behind::One(door) => Some(Met {
                door: Rc::clone(door),
                at: self.bind,
            }),
            Behind::ByPort(doors) => {
                let at = canonical(client.local_addr().ok()?);
                let door = Rc::clone(doors.find(at.port())?);
                let settings = door.settings();
                let given = (doors.keepalive, doors.user_timeout);
                if given != (settings.keepalive, settings.user_timeout) {
                    suit(client, &settings);
                }
                Some(Met { door, at })
            }
        }
    }
}

/// Makes the coming close of a socket a reset.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // On a socket that the peer has reset already this fails, and there is nothing left to do.
    let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

/// Whether the system, not the connection, is at fault.
pub(crate) fn is_lack(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
