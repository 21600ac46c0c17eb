//! The kernel's part of a place: its settings, and the lines for `ip -batch` that give it addresses and routes.

use std::net::IpAddr;
use std::path::Path;

use super::world::{Both, Role, VIPS, Vips, World};

/// What is on its way while the emulator is off the processor must fit the device's ring.
const RING: u32 = 8192;

/// The settings under `/proc/sys/net` of the namespace that the calling thread is in. Before there are interfaces: they inherit.
pub(crate) fn configure_kernel(role: Role) -> std::io::Result<()> {
    for family in ["all", "default"] {
        set(&format!("ipv4/conf/{family}/rp_filter"), 0)?;
        // A route over a dead link is none.
        set(
            &format!("ipv4/conf/{family}/ignore_routes_with_linkdown"),
            1,
        )?;
        set(
            &format!("ipv6/conf/{family}/ignore_routes_with_linkdown"),
            1,
        )?;
    }
    if let Role::Router(_) = role {
        set("ipv4/ip_forward", 1)?;
        set("ipv6/conf/all/forwarding", 1)?;
        set("ipv4/fib_multipath_hash_policy", 1)?;
        set("ipv6/fib_multipath_hash_policy", 1)?;
    }
    // ICMP errors are limited to one a second and peer after six, otherwise: a test asks more often than that.
    set("ipv4/icmp_ratelimit", 0)?;
    set("ipv6/icmp/ratelimit", 0)
}

fn set(key: &str, value: u32) -> std::io::Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    // IPv6 may be off.
    if path.exists() {
        std::fs::write(path, value.to_string())?;
    }
    Ok(())
}

/// The lines for a place, after its interfaces are there.
pub(crate) fn lines(world: &World, place: usize) -> Vec<String> {
    let me = &world.places[place];
    let mut lines = vec!["link set lo up".to_owned()];
    for Both { v4, v6 } in me.on_loopback() {
        lines.push(format!("addr add {v4}/32 dev lo"));
        lines.push(format!("addr add {v6}/128 dev lo nodad"));
    }
    if me.role == Role::Pop && world.vips == Vips::OfTheLab {
        lines.extend(VIPS.map(|vip| format!("addr add {} dev lo nodad", host(vip))));
    }
    for peer in world.neighbours(place) {
        let name = &world.places[peer].name;
        let Both { v4, v6 } = world.on_link(place, peer);
        lines.push(format!("link set {name} txqueuelen {RING} up"));
        lines.push(format!("addr add {v4}/31 dev {name}"));
        lines.push(format!("addr add {v6}/127 dev {name} nodad"));
    }
    lines.extend(defaults(world, place));
    lines.extend(direct(world, place));
    lines
}

/// Where regions and clients send what they have no better way for: to their router, or to the PoP where there is none.
fn defaults(world: &World, place: usize) -> Vec<String> {
    let me = &world.places[place];
    if me.speaks_bgp() {
        return Vec::new();
    }
    let gateway = world
        .neighbours(place)
        .find(|peer| world.places[*peer].is_router())
        .or_else(|| world.neighbours(place).next());
    let Some(gateway) = gateway else {
        return Vec::new();
    };
    let (via, own) = (world.on_link(gateway, place), me.own());
    vec![
        format!("route add default via {} src {}", via.v4, own.v4),
        format!("route add default via {} src {}", via.v6, own.v6),
    ]
}

/// Between a PoP and its neighbours that are no routers: the backbone, preferred to what BIRD finds (metric 32).
fn direct(world: &World, place: usize) -> Vec<String> {
    let me = &world.places[place];
    let mut lines = Vec::new();
    for peer in world.neighbours(place) {
        let them = &world.places[peer];
        if me.is_router() || them.is_router() || (me.role != Role::Pop && them.role != Role::Pop) {
            continue;
        }
        let (via, own) = (world.on_link(peer, place), me.own());
        let [v4, v6] = them.prefixes();
        lines.push(format!(
            "route add {v4} via {} src {} metric 10",
            via.v4, own.v4
        ));
        lines.push(format!(
            "route add {v6} via {} src {} metric 10",
            via.v6, own.v6
        ));
    }
    lines
}

/// An address as a prefix of itself.
pub(crate) fn host(address: IpAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{bits}")
}
