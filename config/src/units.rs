//! Small value types that cannot be built wrong: names, weights, dials, ports.

use std::fmt;
use std::sync::Arc;

/// Declares a cheap-to-clone, immutable name type around `Arc<str>`.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name that its reader has already judged valid.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type!(
    /// The name of an accelerator, unique in a configuration.
    AcceleratorName
);
name_type!(
    /// A region, in AWS's spelling where it is AWS's (`us-east-1`).
    Region
);
name_type!(
    /// The id of an endpoint, unique in its group; what the hash of the pick is taken over.
    EndpointId
);

/// An endpoint's weight, 0 to 255. Zero takes nothing new and is no failover target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u8);

impl Weight {
    /// Global Accelerator's default.
    pub const DEFAULT: Weight = Weight(128);

    /// Whether the endpoint may be given new flows at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// The share of the traffic that reaches a group which the group takes, as a fraction 0.0 to 1.0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct TrafficDial(f64);

impl TrafficDial {
    /// All of the traffic.
    pub const FULL: TrafficDial = TrafficDial(1.0);

    /// From a percentage; `None` when it is not within 0 to 100.
    pub fn from_percent(percent: f64) -> Option<Self> {
        (0.0..=100.0)
            .contains(&percent)
            .then_some(Self(percent / 100.0))
    }

    /// The dial as a percentage, 0 to 100.
    pub fn percent(self) -> f64 {
        self.0 * 100.0
    }

    /// Whether the group takes nothing in normal routing.
    pub fn is_zero(self) -> bool {
        self.0 <= 0.0
    }

    /// Whether a uniformly distributed hash falls inside the dial. Monotone: raising the dial only adds hashes.
    pub fn takes(self, hash: u64) -> bool {
        // 53 bits are what a double carries exactly, so 1.0 takes every hash and 0.0 none.
        ((hash >> 11) as f64) < self.0 * (1u64 << 53) as f64
    }
}

/// Ports from `first` to `last`, both included; `first` is at least 1 and at most `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// `None` when the range is empty or holds port 0.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first >= 1 && first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` lies within.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A set of ports: sorted ranges that neither overlap nor are empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// Sorts the ranges; `None` when there are none or two of them overlap.
    pub fn new(mut ranges: Vec<PortRange>) -> Option<Self> {
        ranges.sort();
        let apart = ranges
            .windows(2)
            .all(|pair| pair[0].last() < pair[1].first());
        (apart && !ranges.is_empty()).then_some(Self(ranges))
    }

    /// The fewest ranges that hold these ports and no other; `None` when there are none, or one comes twice.
    pub fn of_ports(ports: impl IntoIterator<Item = u16>) -> Option<Self> {
        let mut ports: Vec<u16> = ports.into_iter().collect();
        ports.sort_unstable();
        let mut ranges: Vec<PortRange> = Vec::new();
        for port in ports {
            match ranges.last_mut() {
                Some(range) if range.last.checked_add(1) == Some(port) => range.last = port,
                _ => ranges.push(PortRange::new(port, port)?),
            }
        }
        Self::new(ranges)
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// The lowest port of all.
    pub fn first(&self) -> u16 {
        self.0[0].first()
    }

    /// How many ports there are.
    pub fn len(&self) -> usize {
        self.0
            .iter()
            .map(|r| usize::from(r.last() - r.first()) + 1)
            .sum()
    }

    /// Never: a set holds at least one port.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether `port` is in one of the ranges.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.0.partition_point(|range| range.first() <= port);
        self.0[..after]
            .last()
            .is_some_and(|range| range.contains(port))
    }

    /// Every port, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().flat_map(|r| r.first()..=r.last())
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{range}")?;
        }
        Ok(())
    }
}
