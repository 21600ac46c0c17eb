//! A region that says of its endpoints that there is no way to them, instead of falling silent. They are gone: nothing is heard of them, either.

use std::net::IpAddr;

use super::Node;
use super::anycast::obey;

/// What makes it say so, of whom it is told.
const REFUSAL: [&str; 6] = [
    "nft add table ip fault",
    "nft add set ip fault dead '{ type ipv4_addr; }'",
    "nft add chain ip fault in '{ type filter hook input priority filter; }'",
    "nft add rule ip fault in ip daddr @dead reject with icmp type host-unreachable",
    // What they have sent and nobody acknowledged they would send again, and thereby show that they live. The answer above comes in their name.
    "nft add chain ip fault out '{ type filter hook output priority filter; }'",
    "nft add rule ip fault out ip saddr @dead meta l4proto != icmp drop",
];

/// Gets a region ready for it. To every packet there will be an answer: a kernel gives no more than a thousand a second, otherwise.
///
/// # Panics
/// Without nftables.
pub async fn prepare(region: &Node) {
    let talk = async || std::fs::write("/proc/sys/net/ipv4/icmp_msgs_per_sec", "100000");
    let done = region.run(talk).await;
    done.expect("a namespace of our own may be set");
    obey(region, REFUSAL.map(str::to_owned).to_vec()).await;
}

/// From here on there is no way to these.
///
/// # Panics
/// When it is not prepared.
pub async fn strike(region: &Node, dead: &[IpAddr]) {
    let dead: Vec<String> = dead.iter().map(IpAddr::to_string).collect();
    let command = format!("nft add element ip fault dead '{{ {} }}'", dead.join(", "));
    obey(region, vec![command]).await;
}
