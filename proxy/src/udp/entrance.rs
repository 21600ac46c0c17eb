//! Listening sockets of a worker: opened and closed as the edge says. One whose listener is gone stays for as long as it has flows, since
//! answers leave by it and nothing else tells a client's datagrams to be of a flow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;
use portolan_config::flow::EndCause;
use portolan_config::stats::DropCause;

use super::batch::{Batch, SLOTS};
use super::table::{self, FlowId};
use super::{Carried, Group, Source, Turn, Udp, steer};
use crate::doors::{Behind, Whose};
use crate::sys::udp::{Sender as Outbox, dropped, filter, unfilter};

/// One listening socket.
pub(super) struct Entrance {
    pub(super) bind: SocketAddr,
    /// The edge has it, too, for a successor.
    pub(super) group: Group,
    pub(super) slot: usize,
    pub(super) behind: Behind,
    /// What answers leave by from the many ports that it takes.
    pub(super) raw: Option<Arc<OwnedFd>>,
    /// Answers may leave in trains; not where the device cannot compute their checksums.
    pub(super) joins: bool,
    /// Its listener is gone: no new flows, and those that are there end at this time at the latest.
    pub(super) leaving: Option<Instant>,
    /// In the queue of those that had more than a turn's share.
    pub(super) queued: bool,
    /// What the kernel had dropped when it was last asked.
    pub(super) dropped: u32,
}

impl Entrance {
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.group[self.slot].as_fd()
    }

    /// How long flows may go on when the listener is gone.
    fn longest_drain(&self) -> Duration {
        match &self.behind {
            Behind::One(door) => {
                let listener = door.listener();
                let drains = listener.groups.iter().map(|g| g.settings.drain_timeout);
                drains.max().unwrap_or_default()
            }
            // Its ports lead here no longer: nothing would come of a client any more.
            Behind::ByPort(_) => Duration::ZERO,
        }
    }
}

impl Udp {
    pub(super) fn open_entrance(
        &mut self,
        turn: &mut Turn<'_>,
        bind: SocketAddr,
        (group, slot): (Group, usize),
        (whose, raw): (&Whose, Option<Arc<OwnedFd>>),
    ) {
        let Some(behind) = whose.resolve(&self.doors) else {
            // The snapshot that this was opened for has been overtaken; its Close follows.
            return;
        };
        if self.replies.capacity() == 0 {
            self.inbox = Batch::new();
            self.outbox = Batch::new();
            self.sender = Outbox::new(SLOTS);
            self.replies.reserve(SLOTS);
        }
        let same =
            |entrance: &Entrance| entrance.slot == slot && Arc::ptr_eq(&entrance.group, &group);
        if let Some((_, entrance)) = self.entrances.iter_mut().find(|(_, e)| same(e)) {
            // It was leaving, and has flows from before.
            entrance.leaving = None;
            entrance.behind = behind;
            return;
        }
        let entrance = Entrance {
            bind,
            // What a filter kept away was not dropped for want of room.
            dropped: dropped(group[slot].as_fd()).unwrap_or(0),
            group,
            slot,
            behind,
            raw,
            joins: true,
            leaving: None,
            queued: false,
        };
        // Fails where there is none, as on every socket that was never left.
        let _ = unfilter(entrance.socket());
        let vacant = self.entrances.vacant_entry();
        let key = vacant.key();
        let registered = turn.registry.register(
            &mut SourceFd(&entrance.socket().as_raw_fd()),
            Source::Entrance.token(key as u32),
            Interest::READABLE,
        );
        if let Err(error) = registered {
            tracing::error!(%bind, %error, "cannot wait for datagrams at this address");
            return;
        }
        vacant.insert(entrance);
        self.read_entrance(turn, key);
    }

    pub(super) fn assign_entrance(&mut self, turn: &mut Turn<'_>, bind: SocketAddr, whose: &Whose) {
        let Some(behind) = whose.resolve(&self.doors) else {
            return;
        };
        let here = self.entrances.iter_mut();
        let here = here.filter(|(_, e)| e.bind == bind && e.leaving.is_none());
        let mut keys = Vec::new();
        for (key, entrance) in here {
            entrance.behind = behind.clone();
            keys.push(key as u32);
        }
        if let Behind::ByPort(doors) = behind {
            self.end_flows(turn, |flow| {
                let port = SocketAddr::from(flow.tuple.local).port();
                keys.contains(&flow.carried.entrance) && doors.find(port).is_none()
            });
        }
    }

    fn end_flows(&mut self, turn: &mut Turn<'_>, which: impl Fn(&table::Flow<Carried>) -> bool) {
        for id in self.table.ids() {
            if self.table.get(id).is_some_and(&which) {
                self.end(turn, id, EndCause::DrainTimeout);
            }
        }
    }

    /// Takes no new flows there. What waits is read first, so that nothing is lost that came before.
    pub(super) fn close_entrances(&mut self, turn: &mut Turn<'_>, bind: SocketAddr) {
        let keys: Vec<usize> = self
            .entrances
            .iter()
            .filter(|(_, entrance)| entrance.bind == bind && entrance.leaving.is_none())
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.read_entrance(turn, key);
            self.flush(turn);
            if let Some(entrance) = self.entrances.get_mut(key) {
                entrance.leaving = Some(turn.now + entrance.longest_drain());
            }
        }
        self.close_left(turn);
    }

    /// Closes the sockets of listeners that are gone once nobody needs them: their flows are over, or have had their time.
    pub(super) fn close_left(&mut self, turn: &mut Turn<'_>) {
        let leaving: Vec<(usize, Instant)> = self
            .entrances
            .iter()
            .filter_map(|(key, entrance)| Some((key, entrance.leaving?)))
            .collect();
        if leaving.is_empty() {
            return;
        }
        let mut flows: HashMap<usize, Vec<FlowId>> = HashMap::new();
        for id in self.table.ids() {
            if let Some(flow) = self.table.get(id) {
                let here = flow.carried.entrance as usize;
                flows.entry(here).or_default().push(id);
            }
        }
        for (key, until) in leaving {
            let flows = flows.remove(&key).unwrap_or_default();
            if !flows.is_empty() && turn.now < until {
                continue;
            }
            for id in flows {
                self.end(turn, id, EndCause::DrainTimeout);
            }
            self.count_dropped(key);
            let entrance = self.entrances.remove(key);
            // Other workers may keep the group, and this socket with it: it would fill with what nobody reads.
            if let Err(error) = filter(entrance.socket(), &steer::closed()) {
                tracing::debug!(%error, "a listening socket takes no filter");
            }
            leave(turn, &entrance);
        }
    }

    pub(super) fn hand_over(&mut self, turn: &Turn<'_>) {
        self.closing = true;
        self.handed = true;
        // Those of listeners that are gone are handed to nobody.
        for (_, entrance) in self.entrances.iter().filter(|(_, e)| e.leaving.is_none()) {
            leave(turn, entrance);
        }
    }

    pub(super) fn count_dropped(&mut self, key: usize) {
        let Some(entrance) = self.entrances.get_mut(key) else {
            return;
        };
        if let Ok(now) = dropped(entrance.socket()) {
            let new = now.wrapping_sub(std::mem::replace(&mut entrance.dropped, now));
            if new > 0
                && let Some(door) = entrance.behind.first()
            {
                let count = u64::from(new);
                door.stats.count_dropped(DropCause::ReceiveBuffer, count);
            }
        }
    }
}

/// Takes a socket out of the event loop, which closing alone does not do while others hold it.
fn leave(turn: &Turn<'_>, entrance: &Entrance) {
    let socket = entrance.socket().as_raw_fd();
    if let Err(error) = turn.registry.deregister(&mut SourceFd(&socket)) {
        tracing::debug!(%error, "a listening socket was not registered");
    }
}
