//! What the edge stands between: endpoints of two regions, and the file that names them, in the variants that reloads go through.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt as _};
use tokio::sync::watch;

use super::datagrams::{self, Sessions};
use super::ledger::Ledger;
use super::streams;
use crate::endpoint::Endpoint;
use crate::place;
use crate::toml::{Group, accelerator, datagrams};

/// How long a drained endpoint's flows may go on.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// Endpoints of the near region, and of both.
const NEAR: usize = 3;
const ALL: usize = 5;

/// An endpoint of TCP, and the switch that makes it stand still.
pub(super) struct Stop {
    pub(super) endpoint: Endpoint,
    pub(super) stall: watch::Sender<bool>,
}

/// Everything around the edge.
pub(super) struct Stage {
    pub(super) tcp: Vec<Stop>,
    pub(super) udp: Vec<datagrams::Endpoint>,
    /// Where flows of TCP go: a listener without affinity with two ports, and one with.
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) datagrams: SocketAddr,
    /// Comes and goes with reloads, and nobody speaks to it.
    extra: SocketAddr,
}

impl Stage {
    pub(super) async fn set(ledger: &Arc<Ledger>, sessions: &Arc<Sessions>) -> io::Result<Stage> {
        let mut tcp = Vec::new();
        for number in 0..ALL {
            let (stall, stalled) = watch::channel(false);
            let name = format!("tcp-{number}");
            let behaviour = streams::answering(ledger, &name, &stalled);
            let endpoint = Endpoint::start(&name, behaviour).await;
            tcp.push(Stop { endpoint, stall });
        }
        let mut udp = Vec::new();
        for name in datagrams::endpoints() {
            let started = datagrams::Endpoint::start(ledger, sessions, name, place::fresh());
            udp.push(started.await?);
        }
        let first = place::fresh();
        let second = SocketAddr::new(first.ip(), first.port() + 1);
        Ok(Stage {
            tcp,
            udp,
            listeners: vec![first, second, place::fresh()],
            datagrams: place::fresh(),
            extra: place::fresh(),
        })
    }

    /// The file, as a reload may find it.
    pub(super) fn file(&self, variant: &Variant) -> String {
        let group = |region: &str, latency: &str, endpoints: std::ops::Range<usize>| {
            let drain = format!("drain_timeout = \"{}s\"", DRAIN_TIMEOUT.as_secs());
            let dial = format!(
                "traffic_dial = {}.0",
                if region == "near" { variant.dial } else { 100 }
            );
            let group = Group::new(region, latency).with(drain).with(dial);
            endpoints
                .filter(|number| Some(*number) != variant.without)
                .fold(group, |group, number| {
                    group.weighted(&self.tcp[number].endpoint, variant.weights[number])
                })
        };
        let groups = [
            group("near", "1ms", 0..NEAR),
            group("far", "40ms", NEAR..ALL),
        ];
        let ports = |at: &[SocketAddr]| {
            let ports: Vec<_> = at.iter().map(|at| at.port().to_string()).collect();
            ports.join(", ")
        };
        let (plain, sticky) = self.listeners.split_at(2);
        let at_two = accelerator("plain", &plain[..1], &ports(plain), "", &groups);
        let affine = "client_affinity = \"SOURCE_IP\"";
        let at_one = accelerator("sticky", sticky, &ports(sticky), affine, &groups);
        let unasked = Group::new("near", "1ms").unasked();
        let of_udp = self.udp.iter().fold(unasked, |group, endpoint| {
            group.named(&endpoint.name, endpoint.address, "")
        });
        let idle = format!("idle_timeout = \"{}s\"", datagrams::IDLE_TIMEOUT);
        let udp = datagrams(self.datagrams, &idle, &[of_udp])
            .replace("name = \"shop\"", "name = \"voice\"");
        let mut file = format!("{SETTINGS}{at_two}{at_one}{udp}");
        if variant.extra {
            file += &accelerator("extra", &[self.extra], &ports(&[self.extra]), "", &groups);
        }
        file
    }
}

const SETTINGS: &str = "[shutdown]\nupgrade_drain = \"5m\"\n";

/// What reloads change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    weights: [u8; ALL],
    dial: u8,
    extra: bool,
    /// An endpoint that is not in the file.
    without: Option<usize>,
}

impl Variant {
    pub(super) const FIRST: Variant = Variant {
        weights: [128; ALL],
        dial: 100,
        extra: false,
        without: None,
    };

    /// The same without an endpoint.
    pub(super) fn without(&self, endpoint: usize) -> Variant {
        Variant {
            without: Some(endpoint),
            ..self.clone()
        }
    }

    /// Another one, with all endpoints.
    pub(super) fn random(random: &mut impl Rng) -> Variant {
        Variant {
            weights: std::array::from_fn(|_| random.random_range(1..=255)),
            dial: [25, 50, 75, 100][random.random_range(0..4)],
            extra: random.random_bool(0.5),
            without: None,
        }
    }
}
