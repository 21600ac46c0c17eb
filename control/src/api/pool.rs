//! Static addresses: which are free, and which come next. An address belongs to one accelerator at a time, for the
//! accelerator's whole life, and rests as long as it can before another one gets it. Pure.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::errors::{ApiError, Exception};

/// Addresses of a family that an accelerator has.
pub(crate) const EACH: usize = 2;

/// Where addresses come from, and which are taken.
pub(crate) struct Pool<'a> {
    pub(crate) prefixes: &'a [IpNet],
    pub(crate) taken: HashSet<IpAddr>,
}

impl Pool<'_> {
    /// The next `count` free IPv4 addresses behind `last`.
    pub(crate) fn ipv4(
        &self,
        count: usize,
        last: Option<Ipv4Addr>,
    ) -> Result<Vec<Ipv4Addr>, ApiError> {
        let nets: Vec<Ipv4Net> = self
            .prefixes
            .iter()
            .filter_map(|net| match net {
                IpNet::V4(net) => Some(*net),
                IpNet::V6(_) => None,
            })
            .collect();
        let is_free = |ip: Ipv4Addr| {
            !matches!(ip.octets()[3], 0 | 255) && !self.taken.contains(&IpAddr::V4(ip))
        };
        let ranges: Vec<(u128, u128)> = nets
            .iter()
            .map(|net| {
                (
                    net.network().to_bits().into(),
                    net.broadcast().to_bits().into(),
                )
            })
            .collect();
        let found = search(&ranges, count, last.map(|ip| ip.to_bits().into()), |bits| {
            is_free(v4(bits))
        });
        if found.len() < count {
            return Err(exhausted("IPv4", nets.is_empty()));
        }
        Ok(found.into_iter().map(v4).collect())
    }

    /// The next two free IPv6 addresses behind `last`.
    pub(crate) fn ipv6(&self, last: Option<Ipv6Addr>) -> Result<Vec<Ipv6Addr>, ApiError> {
        let nets: Vec<Ipv6Net> = self
            .prefixes
            .iter()
            .filter_map(|net| match net {
                IpNet::V6(net) => Some(*net),
                IpNet::V4(_) => None,
            })
            .collect();
        // The first address of a prefix is the routers' anycast one (RFC 4291 §2.6.1).
        let ranges: Vec<(u128, u128)> = nets
            .iter()
            .map(|net| (net.network().to_bits() + 1, net.broadcast().to_bits()))
            .collect();
        let is_free = |bits| !self.taken.contains(&IpAddr::V6(Ipv6Addr::from_bits(bits)));
        let found = search(&ranges, EACH, last.map(Ipv6Addr::to_bits), is_free);
        if found.len() < EACH {
            return Err(exhausted("IPv6", nets.is_empty()));
        }
        Ok(found.into_iter().map(Ipv6Addr::from_bits).collect())
    }

    /// Whether the pool holds the address and nobody has it.
    pub(crate) fn is_free(&self, ip: Ipv4Addr) -> bool {
        let ours = self
            .prefixes
            .iter()
            .any(|net| net.contains(&IpAddr::V4(ip)));
        ours && !matches!(ip.octets()[3], 0 | 255) && !self.taken.contains(&IpAddr::V4(ip))
    }
}

fn v4(bits: u128) -> Ipv4Addr {
    // Ranges of IPv4 hold 32 bits.
    Ipv4Addr::from_bits(bits as u32)
}

fn exhausted(family: &str, no_prefix: bool) -> ApiError {
    if no_prefix {
        let message = format!(
            "There is no {family} prefix to take addresses from: add one to [api] address_pool"
        );
        return Exception::InvalidArgument.because(message);
    }
    Exception::LimitExceeded.because(format!(
        "All {family} addresses of [api] address_pool are in use: add a prefix"
    ))
}

/// Goes from behind `last` to the end of the ranges and then from the beginning. Each step past an address that is taken is one
/// step, so the work is bounded by what is taken, not by the size of the ranges.
fn search(
    ranges: &[(u128, u128)],
    count: usize,
    last: Option<u128>,
    is_free: impl Fn(u128) -> bool,
) -> Vec<u128> {
    let split = last.and_then(|last| {
        let index = ranges
            .iter()
            .position(|(first, end)| (*first..=*end).contains(&last))?;
        Some((index, last))
    });
    let mut order: Vec<(u128, u128)> = Vec::with_capacity(ranges.len() + 1);
    match split {
        None => order.extend(ranges),
        Some((index, last)) => {
            let (first, end) = ranges[index];
            if last < end {
                order.push((last + 1, end));
            }
            order.extend(&ranges[index + 1..]);
            order.extend(&ranges[..index]);
            order.push((first, last));
        }
    }
    let mut found = Vec::with_capacity(count);
    for (first, end) in order {
        for bits in first..=end {
            if found.len() == count {
                return found;
            }
            if is_free(bits) && !found.contains(&bits) {
                found.push(bits);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool<'a>(prefixes: &'a [IpNet], taken: &[&str]) -> Pool<'a> {
        Pool {
            prefixes,
            taken: taken
                .iter()
                .map(|ip| ip.parse().expect("an address"))
                .collect(),
        }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts
            .iter()
            .map(|text| text.parse().expect("a prefix"))
            .collect()
    }

    #[test]
    fn addresses_come_in_turn_and_rest_as_long_as_they_can() {
        let nets = nets(&["127.77.0.0/24"]);
        let none = pool(&nets, &[]);
        assert_eq!(
            none.ipv4(2, None).unwrap(),
            [Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::new(127, 77, 0, 2)]
        );
        let last = Some(Ipv4Addr::new(127, 77, 0, 254));
        assert_eq!(
            none.ipv4(2, last).unwrap()[0],
            Ipv4Addr::new(127, 77, 0, 1),
            "around"
        );
        let taken = pool(&nets, &["127.77.0.3", "127.77.0.5"]);
        let last = Some(Ipv4Addr::new(127, 77, 0, 2));
        assert_eq!(
            taken.ipv4(2, last).unwrap(),
            [Ipv4Addr::new(127, 77, 0, 4), Ipv4Addr::new(127, 77, 0, 6)]
        );
    }

    #[test]
    fn a_pool_gives_each_address_once_and_then_says_so() {
        let nets = nets(&["192.0.2.0/29", "198.51.100.252/30"]);
        let mut taken = HashSet::new();
        let mut last = None;
        for _ in 0..5 {
            let pool = Pool {
                prefixes: &nets,
                taken: taken.clone(),
            };
            let given = pool.ipv4(2, last).expect("ten are there");
            last = given.last().copied();
            for ip in given {
                assert!(taken.insert(IpAddr::V4(ip)), "{ip} twice");
                assert!(!matches!(ip.octets()[3], 0 | 255));
            }
        }
        let full = Pool {
            prefixes: &nets,
            taken,
        };
        assert_eq!(
            full.ipv4(1, last).unwrap_err().exception,
            Exception::LimitExceeded
        );
        assert_eq!(
            full.ipv6(None).unwrap_err().exception,
            Exception::InvalidArgument
        );
    }

    #[test]
    fn ipv6_comes_from_prefixes_of_any_size() {
        let nets = nets(&["2001:db8::/32"]);
        let given = pool(&nets, &["2001:db8::1"]).ipv6(None).unwrap();
        assert_eq!(
            given,
            [
                "2001:db8::2".parse::<Ipv6Addr>().unwrap(),
                "2001:db8::3".parse().unwrap()
            ]
        );
    }
}
