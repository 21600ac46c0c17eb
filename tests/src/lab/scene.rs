//! A world with the product in it: endpoints in the regions, and PoPs that send clients of [`VIPS`] to them.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use super::{Lab, Node, Role, VIPS, World};
use crate::binary;
use crate::deadline::{PATIENCE, until};
use crate::edge::Edge;
use crate::process::Process;

/// Where endpoints speak in lines, and where clients of the PoPs do.
pub const LINES: u16 = 9000;
/// Where endpoints speak HTTP.
pub const WEB: u16 = 8080;
/// Where clients of the PoPs speak HTTP.
pub const CLIENTS_WEB: u16 = 80;

/// Endpoints in each region.
const EACH: u8 = 2;

/// An endpoint in a process of its own.
pub struct Served {
    /// Its id: the region and a number.
    pub id: String,
    /// Its process.
    pub process: Process,
}

/// Starts endpoint `index` of a region and waits until it serves.
pub async fn serve(region: &Node, index: u8) -> Served {
    let id = format!("{}-{index}", region.name());
    let both = region.endpoint(index);
    let mut command = super::node::command(binary::lab());
    command.args(["serve", &id]);
    for address in [IpAddr::V4(both.v4), IpAddr::V6(both.v6)] {
        for (kind, port) in [("lines", LINES), ("web", WEB)] {
            command.arg(format!("{kind}={}", SocketAddr::new(address, port)));
        }
    }
    let process = region.spawn(&id, command).await;
    // The last that it opens.
    let at = SocketAddr::new(both.v6.into(), WEB);
    until(&format!("{id} serves"), PATIENCE, async || {
        region
            .run(async move || TcpStream::connect(at).await.is_ok())
            .await
    })
    .await;
    Served { id, process }
}

/// Starts the endpoints of every region, two each.
pub async fn serve_everywhere(lab: &Lab) -> Vec<Served> {
    let mut served = Vec::new();
    for region in lab.nodes_of(Role::Region) {
        for index in 1..=EACH {
            served.push(serve(region, index).await);
        }
    }
    served
}

/// The configuration of a PoP: accelerator `shop` at the first IPv4 and the first IPv6 of [`VIPS`], in lines and HTTP, over all regions'
/// endpoints. `group` is added to every endpoint group.
pub fn configuration(world: &World, pop: &str, group: &str) -> String {
    file(world, pop, |_| group.to_owned())
}

/// The same where distances are not what is tried: they are those of the map, so that a machine that was busy at the start does not decide
/// who is the nearest.
pub fn mapped(world: &World, pop: &str, group: &str) -> String {
    file(world, pop, |region| {
        let there_and_back = 2 * world.delay_between(pop, region).as_micros();
        format!("latency = \"{there_and_back}us\"\n{group}")
    })
}

fn file(world: &World, pop: &str, group: impl Fn(&str) -> String) -> String {
    let mut out = format!("[pop]\nname = \"{pop}\"\n\n");
    let _ = writeln!(
        out,
        "[[accelerator]]\nname = \"shop\"\naddresses = [\"{}\", \"{}\"]",
        VIPS[0], VIPS[1]
    );
    for (port, endpoints) in [(LINES, LINES), (CLIENTS_WEB, WEB)] {
        let _ = writeln!(
            out,
            "\n[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [{port}]"
        );
        for region in world.places_of(Role::Region) {
            let _ = writeln!(
                out,
                "[[accelerator.listener.endpoint_group]]\nregion = \"{}\"\n{}\nendpoints = [",
                region.name,
                group(&region.name)
            );
            for index in 1..=EACH {
                let (name, at) = (&region.name, region.endpoint(index).v4);
                let _ = writeln!(
                    out,
                    "  {{ id = \"{name}-{index}\", address = \"{at}:{endpoints}\" }},"
                );
            }
            out += "]\n";
        }
    }
    out
}

/// Starts the product at a PoP.
pub async fn pop(lab: &Lab, name: &str, toml: &str) -> Edge {
    Edge::with(toml).at(lab.node(name)).ready().await
}
