//! Finds out which process listens on an address, from /proc alone: it works when that process hangs, and asks nothing of it.
//! Called when the admin address is taken; sees the processes of the same user, and all of them as root.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its id.
    pub(crate) pid: u32,
    /// Its name, as `ps` shows it.
    pub(crate) name: String,
}

/// Who listens on `address`, or on the wildcard with its port.
pub(crate) fn of(address: SocketAddr) -> Option<Owner> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path(), &inodes).then(|| Owner {
            pid,
            name: name(&process.path()),
        })
    })
}

fn holds(process: &Path, inodes: &[u64]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let Ok(link) = fs::read_link(descriptor.path()) else {
            return false;
        };
        let link = link.to_string_lossy();
        let inode = link
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| inodes.contains(&inode))
    })
}

fn name(process: &Path) -> String {
    fs::read_to_string(process.join("comm"))
        .map_or_else(|_| "?".into(), |name| name.trim_end().to_owned())
}

/// Inodes of the sockets of a `/proc/net/tcp` table that listen where a bind to `address` collides (proc_net_tcp.rst).
fn listening_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let listening = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = parse_address(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let collides = local.ip().to_canonical() == address.ip().to_canonical()
            || local.ip().is_unspecified()
            || address.ip().is_unspecified();
        (state == LISTEN && local.port() == address.port() && collides).then_some(inode)
    };
    table.lines().skip(1).filter_map(listening).collect()
}

/// `0100007F:26AC`: words in the host's byte order, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        ip.get(at..at + 8)
            .and_then(|word| u32::from_str_radix(word, 16).ok())
            .map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for index in 0..4 {
                octets[index * 4..][..4].copy_from_slice(&word(index * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn finds_this_process_on_either_family() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A host without IPv6 has nothing to find there.
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let owner = of(listener.local_addr().unwrap()).unwrap();
            assert_eq!(owner.pid, std::process::id());
        }
    }

    #[test]
    fn finds_nobody_where_nobody_listens() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(of(address), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_the_table_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:26AC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:26AC 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
            2: 00000000:26AD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n\
            3: garbage\n";
        assert_eq!(
            listening_inodes(table, "127.0.0.1:9900".parse().unwrap()),
            [4711]
        );
        assert_eq!(
            listening_inodes(table, "127.0.0.2:9901".parse().unwrap()),
            [4713]
        );
        assert_eq!(
            listening_inodes(table, "127.0.0.2:9900".parse().unwrap()),
            [] as [u64; 0]
        );
    }
}
