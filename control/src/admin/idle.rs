//! A controller for tests of what stands on it, over a data path that carries nothing.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use portolan_config::explain::{Chosen, Explanation};
use portolan_config::file;
use portolan_config::model::Protocol;
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::EdgeStats;
use tokio::sync::mpsc;

use crate::data_plane::{Binding, DataPlane};
use crate::{ControlHandle, Controller, ControllerOptions};

/// Two regions without checks, so that nothing is asked over the network.
pub(crate) const FILE: &str = r#"
[[accelerator]]
name = "shop"
addresses = ["127.77.0.10"]
[[accelerator.listener]]
protocol = "TCP"
ports = [80, "8000-8100"]
[[accelerator.listener.endpoint_group]]
region = "us-east-1"
latency = "5ms"
health_check = { protocol = "NONE" }
endpoints = [{ id = "web-1", address = "127.0.0.1:81" }, { id = "arn:aws:x/y?z", address = "127.0.0.2:81" }]
[[accelerator.listener.endpoint_group]]
region = "eu-west-1"
latency = "50ms"
health_check = { protocol = "NONE" }
endpoints = [{ id = "web-1", address = "127.0.0.3:81" }]
"#;

/// Starts a controller on `toml`.
pub(crate) fn controller(toml: &str) -> ControlHandle {
    let loaded = file::parse(toml, Path::new("portolan.toml")).expect("the test's file is valid");
    // The sender may go: no signal ever comes.
    let (_, signals) = mpsc::channel(1);
    Controller::start(
        ControllerOptions {
            config: loaded.config,
            warnings: Vec::new(),
            config_path: None,
            state_path: None,
            data_plane: Arc::new(Idle::default()),
            predecessor: None,
        },
        signals,
    )
}

#[derive(Default)]
struct Idle {
    stats: Arc<EdgeStats>,
}

impl DataPlane for Idle {
    fn publish(&self, _snapshot: Arc<Snapshot>) {}

    fn bindings(&self) -> Vec<Binding> {
        Vec::new()
    }

    fn stats(&self) -> Arc<EdgeStats> {
        self.stats.clone()
    }

    fn explain(
        &self,
        client: IpAddr,
        port: Option<u16>,
        to: SocketAddr,
        protocol: Protocol,
    ) -> Option<Explanation> {
        let known = to.ip() == IpAddr::from([127, 77, 0, 10]) && protocol == Protocol::Tcp;
        known.then(|| Explanation {
            generation: 1,
            client: port.map_or(client.to_string(), |port| {
                SocketAddr::new(client, port).to_string()
            }),
            to: format!("{to}/{protocol}"),
            accelerator: "shop".into(),
            client_affinity: "NONE".into(),
            chosen: port.map(|_| Chosen {
                region: "us-east-1".into(),
                endpoint: "web-1".into(),
                address: "127.0.0.1:81".into(),
                reason: "nearest".into(),
                then: Vec::new(),
            }),
            groups: Vec::new(),
        })
    }

    fn relay_mode(&self) -> &'static str {
        "copy"
    }

    fn max_flows(&self) -> usize {
        1000
    }
}
