//! Whether the listeners of a file can have so many ports on this host, for `run` and `check`: what steers them needs rights, and a
//! listener without them would only seem to be served.

use std::io;

use caps::{CapSet, Capability};
use portolan_config::model::{Accelerator, Config, Listener, PortSteering, Protocol};
use portolan_proxy::{MOST_SOCKET_PORTS, can_steer, wildcard_fault};

use crate::limits::Unmet;

/// What is wrong with the first listener that cannot be served, if one cannot.
pub(crate) fn unmet(config: &Config) -> Option<Unmet> {
    let steering = config.pop.port_steering;
    for (number, accelerator) in config.accelerators.iter().enumerate() {
        for (index, listener) in accelerator.listeners.iter().enumerate() {
            if !accelerator.enabled || listener.ports.len() <= MOST_SOCKET_PORTS {
                continue;
            }
            let key = format!("accelerator[{number}].listener[{index}].ports");
            if let Some(what) = on_every_address(accelerator, listener) {
                let remedy = "set addresses in [[accelerator]]".to_owned();
                return Some(Unmet { key, what, remedy });
            }
            if let Err(error) = can_steer(steering, listener.protocol) {
                return Some(not_permitted(key, listener, steering, &error));
            }
        }
    }
    None
}

fn on_every_address(accelerator: &Accelerator, listener: &Listener) -> Option<String> {
    accelerator
        .addresses
        .is_empty()
        .then(|| wildcard_fault(listener.protocol, listener.ports.ranges()))
        .flatten()
}

fn not_permitted(
    key: String,
    listener: &Listener,
    steering: PortSteering,
    error: &io::Error,
) -> Unmet {
    let needed = needed(steering, listener.protocol);
    let names: Vec<&str> = needed.iter().map(|(_, name)| *name).collect();
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| *name)
        .collect();
    let lacks = match missing.as_slice() {
        [] => "this process has them".to_owned(),
        missing => format!("this process lacks {}", missing.join(", ")),
    };
    let what = format!(
        "{} ports need {} ({}), and {lacks}: {error}",
        listener.ports.len(),
        names.join(", "),
        word(steering),
    );
    let other = match steering {
        PortSteering::SkLookup => {
            ", or set [pop] port_steering = \"tproxy\" and have the firewall bring the clients (CAP_NET_ADMIN or CAP_NET_RAW suffices)"
        }
        PortSteering::Tproxy => "",
    };
    let remedy = format!(
        "grant them (AmbientCapabilities=){other}, or give at most {MOST_SOCKET_PORTS} ports a listener"
    );
    Unmet { key, what, remedy }
}

/// What a way of steering needs.
fn needed(steering: PortSteering, protocol: Protocol) -> Vec<(Capability, &'static str)> {
    let mut needed = match steering {
        PortSteering::SkLookup => vec![
            (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
            (Capability::CAP_BPF, "CAP_BPF"),
        ],
        PortSteering::Tproxy => Vec::new(),
    };
    match (steering, protocol) {
        (_, Protocol::Udp) => needed.push((Capability::CAP_NET_RAW, "CAP_NET_RAW")),
        (PortSteering::Tproxy, Protocol::Tcp) => {
            needed.push((Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"));
        }
        (PortSteering::SkLookup, Protocol::Tcp) => {}
    }
    needed
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// As the file says it.
fn word(steering: PortSteering) -> &'static str {
    match steering {
        PortSteering::SkLookup => "sk_lookup",
        PortSteering::Tproxy => "tproxy",
    }
}

/// How listeners of many ports are served here, for the table of limits.
pub(crate) fn row(steering: PortSteering) -> (&'static str, String, String) {
    let name = "ports beyond 1000";
    let way = word(steering);
    let why =
        |error: io::Error| format!("[pop] port_steering = \"{way}\" is not possible: {error}");
    let udp = can_steer(steering, Protocol::Udp);
    match (can_steer(steering, Protocol::Tcp), udp) {
        (Err(error), _) => (name, "none".to_owned(), why(error)),
        (Ok(()), Err(error)) => (name, format!("{way}, TCP"), why(error)),
        (Ok(()), Ok(())) => {
            let by = "[pop] port_steering; one socket a worker and address".to_owned();
            (name, way.to_owned(), by)
        }
    }
}
