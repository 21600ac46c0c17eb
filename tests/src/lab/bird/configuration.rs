//! BIRD's files: routers that speak with each other and with their PoPs, and PoPs that announce what they are told.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::super::routes::host;
use super::super::world::{Both, POP_AS, Place, Role, World};

/// With timers for a lab: BIRD's own (5 s before the first connect, 120 s after an error, 240 s of silence) are for another world.
const PEER: &str = "template bgp peer {
  hold time 9; keepalive time 3; connect delay time 0; connect retry time 1;
  error wait time 1, 2; error forget time 5; bfd on; med metric on;
}
";

const ROUTER_FILTERS: &str = "filter to_kernel { accept; }
filter from_customer {
  # RFC 8326: who is going away asks to be the last choice.
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}
# Between routers equal paths are settled by distance, as hot-potato routing would: BGP itself is blind to it.
function from_peer(int distance) { bgp_med = distance; accept; }
";

/// A place's configuration.
pub(super) fn text(world: &World, place: usize, directory: &Path) -> String {
    match world.places[place].role {
        Role::Router(number) => router(world, place, number, directory),
        Role::Pop => pop(world, place, directory),
        Role::Region | Role::Client => unreachable!("only routers and PoPs run BIRD"),
    }
}

/// The include that announces addresses.
pub(super) fn announcement(addresses: &[IpAddr]) -> String {
    addresses.iter().fold(String::new(), |mut out, address| {
        let name = address.to_string().replace(['.', ':'], "_");
        let _ = writeln!(
            out,
            "protocol static vip_{name} {{ {}; route {} blackhole; }}",
            family(address.is_ipv6()),
            host(*address)
        );
        out
    })
}

fn common(place: &Place, directory: &Path) -> String {
    let log = directory.join("bird.log");
    let mut out = format!("log \"{}\" all;\n", log.display());
    out += "debug protocols { states, events };\ntimeformat protocol iso long us;\n";
    let _ = writeln!(out, "router id {};", place.own().v4);
    out += "protocol device { }\n";
    out += "protocol bfd { interface \"*\" { interval 100 ms; multiplier 3; }; }\n";
    for v6 in [false, true] {
        let family = family(v6);
        let _ = writeln!(
            out,
            "protocol kernel kernel_{family} {{ merge paths on limit 16; {family} {{ import none; export filter to_kernel; }}; }}"
        );
    }
    out + PEER
}

fn router(world: &World, place: usize, number: u32, directory: &Path) -> String {
    let mut out = ROUTER_FILTERS.to_owned() + &common(&world.places[place], directory);
    for v6 in [false, true] {
        let _ = writeln!(
            out,
            "protocol static attached_{0} {{ {0}; {1} }}",
            family(v6),
            attached(world, place, v6)
        );
    }
    let known = "where source = RTS_STATIC || source = RTS_BGP";
    for peer in world.neighbours(place) {
        let them = &world.places[peer];
        match them.role {
            Role::Router(theirs) => {
                let distance = distance(world, place, peer);
                let session = Session {
                    ours: number,
                    theirs,
                    import: &format!("filter {{ from_peer({distance}); }}"),
                    export: known,
                    // One side listens, the later one in the file calls: no connect is lost, and no time.
                    passive: place < peer,
                };
                out += &session.text(world, place, peer);
            }
            Role::Pop => {
                let session = Session {
                    ours: number,
                    theirs: POP_AS,
                    import: "filter from_customer",
                    export: known,
                    passive: true,
                };
                out += &session.text(world, place, peer);
            }
            Role::Region | Role::Client => {}
        }
    }
    out
}

/// Static routes to the regions and clients at a router.
fn attached(world: &World, router: usize, v6: bool) -> String {
    let mut out = String::new();
    for peer in world.neighbours(router) {
        let them = &world.places[peer];
        if them.speaks_bgp() {
            continue;
        }
        let Both { v4, v6: via6 } = world.on_link(peer, router);
        let [prefix4, prefix6] = them.prefixes();
        let _ = if v6 {
            write!(out, "route {prefix6} via {via6}; ")
        } else {
            write!(out, "route {prefix4} via {v4}; ")
        };
    }
    out
}

/// Microseconds one way, as the link was made.
fn distance(world: &World, a: usize, b: usize) -> u128 {
    let link = world.link_between(a, b).expect("neighbours have a link");
    let settings = super::super::wan::parse(&world.links[link].settings).expect("it was taken");
    settings.delay.as_micros()
}

fn pop(world: &World, place: usize, directory: &Path) -> String {
    let me = &world.places[place];
    let Both { v4, v6 } = me.own();
    let mut out = format!(
        "filter to_kernel {{
  if source != RTS_BGP then reject;
  if net.type = NET_IP4 then krt_prefsrc = {v4};
  if net.type = NET_IP6 then krt_prefsrc = {v6};
  accept;
}}
filter to_upstream {{ if source != RTS_STATIC && source != RTS_DEVICE then reject; accept; }}
"
    );
    out += &common(me, directory);
    let _ = write!(
        out,
        "protocol static own_ipv4 {{ ipv4; route {v4}/32 blackhole; }}
protocol static own_ipv6 {{ ipv6; route {v6}/128 blackhole; }}
include \"{}\";
# Whatever address is on an interface of this name, for as long as it is.
protocol direct vip_interface {{ interface \"vip*\"; ipv4; ipv6; }}
",
        directory.join("announced.conf").display()
    );
    for peer in world.neighbours(place) {
        if let Role::Router(theirs) = world.places[peer].role {
            let session = Session {
                ours: POP_AS,
                theirs,
                import: "all",
                export: "filter to_upstream",
                passive: false,
            };
            out += &session.text(world, place, peer);
        }
    }
    out
}

/// BGP with one neighbour, over both families.
struct Session<'a> {
    ours: u32,
    theirs: u32,
    import: &'a str,
    export: &'a str,
    passive: bool,
}

impl Session<'_> {
    fn text(&self, world: &World, place: usize, peer: usize) -> String {
        let Session {
            ours,
            theirs,
            import,
            export,
            passive,
        } = self;
        let (me, them) = (world.on_link(place, peer), world.on_link(peer, place));
        // In front, as a name of BIRD's own (`us` is one) would be a syntax error.
        let name = format!("to_{}", world.places[peer].name.replace('-', "_"));
        let passive = if *passive { " passive on;" } else { "" };
        let addresses = [
            (me.v4.to_string(), them.v4.to_string()),
            (me.v6.to_string(), them.v6.to_string()),
        ];
        let mut out = String::new();
        for (v6, (local, neighbour)) in [false, true].into_iter().zip(addresses) {
            let family = family(v6);
            let _ = writeln!(
                out,
                "protocol bgp {name}_{family} from peer {{
  local {local} as {ours}; neighbor {neighbour} as {theirs};{passive}
  {family} {{ import {import}; export {export}; next hop self; }};
}}"
            );
        }
        out
    }
}

fn family(v6: bool) -> &'static str {
    if v6 { "ipv6" } else { "ipv4" }
}
