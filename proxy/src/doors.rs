//! Whose listener a socket leads to: one, or by the port that was spoken to, where a socket takes many. As keys on the way from the edge to
//! a worker, as doors in the worker.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portolan_config::units::PortRange;

use crate::flow::Door;
use crate::worker::DoorKey;

/// As the edge says it.
#[derive(Clone)]
pub(crate) enum Whose {
    One(DoorKey),
    ByPort(Arc<ByPort<DoorKey>>),
}

/// As a worker has it.
#[derive(Clone)]
pub(crate) enum Behind {
    One(Rc<Door>),
    ByPort(Rc<ByPort<Rc<Door>>>),
}

/// Something for each port of some ranges.
#[derive(PartialEq)]
pub(crate) struct ByPort<D> {
    /// Ascending, apart from each other.
    pub(crate) parts: Vec<(PortRange, D)>,
    /// What the sockets themselves give to the connections of TCP.
    pub(crate) keepalive: Duration,
    pub(crate) user_timeout: Duration,
}

impl<D> ByPort<D> {
    /// What a port has; `None` outside of the ranges.
    pub(crate) fn find(&self, port: u16) -> Option<&D> {
        let after = self
            .parts
            .partition_point(|(range, _)| range.first() <= port);
        let (range, found) = self.parts[..after].last()?;
        range.contains(port).then_some(found)
    }
}

impl Whose {
    /// Its doors; `None` when a newer snapshot no longer has the one. Of many those that are left, which may be none: a newer word follows.
    pub(crate) fn resolve(&self, doors: &HashMap<DoorKey, Rc<Door>>) -> Option<Behind> {
        match self {
            Whose::One(key) => doors.get(key).map(Rc::clone).map(Behind::One),
            Whose::ByPort(keys) => {
                let known = |(range, key): &(PortRange, DoorKey)| {
                    doors.get(key).map(|door| (*range, Rc::clone(door)))
                };
                Some(Behind::ByPort(Rc::new(ByPort {
                    parts: keys.parts.iter().filter_map(known).collect(),
                    keepalive: keys.keepalive,
                    user_timeout: keys.user_timeout,
                })))
            }
        }
    }
}

impl Behind {
    /// The door of a port; `None` where a reload has taken it away.
    pub(crate) fn at(&self, port: u16) -> Option<&Rc<Door>> {
        match self {
            Behind::One(door) => Some(door),
            Behind::ByPort(doors) => doors.find(port),
        }
    }

    /// The door that counts what is known of the socket alone.
    pub(crate) fn first(&self) -> Option<&Rc<Door>> {
        match self {
            Behind::One(door) => Some(door),
            Behind::ByPort(doors) => doors.parts.first().map(|(_, door)| door),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_in_its_range_alone() {
        let range = |first, last| PortRange::new(first, last).unwrap();
        let doors = ByPort {
            parts: vec![
                (range(10, 19), 'a'),
                (range(20, 20), 'b'),
                (range(30, 65535), 'c'),
            ],
            keepalive: Duration::ZERO,
            user_timeout: Duration::ZERO,
        };
        let table = [
            (9, None),
            (10, Some('a')),
            (19, Some('a')),
            (20, Some('b')),
            (21, None),
            (29, None),
            (65535, Some('c')),
        ];
        for (port, found) in table {
            assert_eq!(doors.find(port).copied(), found, "{port}");
        }
    }
}
