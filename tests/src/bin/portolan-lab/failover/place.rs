//! The world of the faults of endpoints: one PoP, three regions at different distances that are struck at the same moment, each with
//! listeners of its own, and one farther region that takes over.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use portolan_tests::binary;
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::lab::{Lab, World, node};
use portolan_tests::process::Process;

use super::contestants::Contestant;

/// Round trips of the regions that are struck, in milliseconds.
pub(crate) const NEAR: [u32; 3] = [2, 20, 80];

/// The region that takes over, 90 ms away.
pub(crate) const FAR: &str = "far";

/// Where everybody's probes go, so that they can be told from connections.
pub(crate) const HEALTH_PORT: u16 = 9100;

/// Portolan's connections come from here; its probes and bursts, from the PoP's own address, are thus told apart, too.
pub(crate) const PORTOLAN_SOURCE: &str = "10.101.0.2";

/// One of the regions that are struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: usize,
}

impl Place {
    pub(crate) fn all() -> impl Iterator<Item = Place> {
        (0..NEAR.len()).map(|index| Place { index })
    }

    pub(crate) fn rtt(self) -> u32 {
        NEAR[self.index]
    }

    pub(crate) fn name(self) -> &'static str {
        ["near2", "near20", "near80"][self.index]
    }

    /// The second octet of its addresses.
    pub(crate) fn region(self) -> usize {
        self.index + 1
    }

    /// Its endpoint's address, from 1.
    pub(crate) fn endpoint(self, index: u8) -> IpAddr {
        IpAddr::from([10, self.region() as u8, 0, 10 + index])
    }
}

/// The world and its endpoints, which are processes.
pub(crate) struct Ground {
    /// By place, two each; the far region's last.
    pub(crate) endpoints: Vec<[Process; 2]>,
    pub(crate) lab: Lab,
}

impl Ground {
    /// `None` where there can be no lab.
    pub(crate) async fn start() -> Result<Option<Ground>> {
        let delays = NEAR.map(|rtt| format!("{}ms", rtt / 2));
        let mut regions: Vec<(&str, &str)> = Place::all()
            .map(|place| (place.name(), delays[place.index].as_str()))
            .collect();
        regions.push((FAR, "45ms"));
        let Some(lab) = Lab::start(World::star(&regions)).await else {
            return Ok(None);
        };
        let source = format!("{PORTOLAN_SOURCE}/32");
        lab.node("pop")
            .ip(&["addr", "add", &source, "dev", "lo"])
            .await;
        let mut endpoints = Vec::new();
        for (region, _) in regions {
            endpoints.push([serve(&lab, region, 1).await, serve(&lab, region, 2).await]);
        }
        Ok(Some(Ground { endpoints, lab }))
    }
}

async fn serve(lab: &Lab, region: &str, index: u8) -> Process {
    let region = lab.node(region);
    let address = IpAddr::V4(region.endpoint(index).v4);
    let name = format!("{}-{index}", region.name());
    let mut command = node::command(binary::lab());
    command.args(["serve", &name]);
    for who in Contestant::ALL {
        let at = SocketAddr::new(address, who.endpoint_port());
        command.arg(format!("lines={at}"));
    }
    // The last that it opens.
    let last = SocketAddr::new(address, HEALTH_PORT);
    command.arg(format!("web={last}"));
    let process = region.spawn(&name, command).await;
    until(&format!("{name} serves"), PATIENCE, async || {
        let connect = async move || tokio::net::TcpStream::connect(last).await.is_ok();
        region.run(connect).await
    })
    .await;
    process
}
