//! What others than the API made, the file above all, in the form of the API's own records: shown like everything else, and
//! refused to whoever wants to change it. Names are derived from names, so that they stay the same over restarts.

use std::net::IpAddr;

use portolan_config::model::{
    Accelerator, ClientAffinity as ModelAffinity, Config, Endpoint, EndpointGroup, HttpProbe,
    Listener, Probe, Protocol as ModelProtocol, Source,
};
use ring::digest;

use super::arn::{AcceleratorId, GroupId, ListenerId};
use super::records::{
    AcceleratorRecord, EndpointRecord, GroupBody, GroupRecord, Kind, ListenerRecord, StandardGroup,
    Tags,
};
use super::shapes::accelerators::{AcceleratorAttributes, IpAddressType};
use super::shapes::endpoint_groups::{HealthCheckProtocol, PortOverride};
use super::shapes::listeners::{ClientAffinity, PortRange, Protocol};
use super::time::Timestamp;
use super::world::World;

/// Behind everything that the API made.
const FIRST_SEQ: u64 = 1 << 62;

/// The records. `since` stands for the time of their creation, which nobody noted.
pub(crate) fn world(config: &Config, since: Timestamp) -> World {
    let mut world = World::default();
    let others = config
        .accelerators
        .iter()
        .filter(|accelerator| accelerator.source != Source::Api);
    for (seq, accelerator) in (FIRST_SEQ..).zip(others) {
        let seed = format!("{}\n{}", accelerator.source.as_str(), accelerator.name);
        let id = AcceleratorId::derived(bits(&seed));
        for (listener_seq, listener) in (0..).zip(&accelerator.listeners) {
            let seed = format!("{seed}\n{}\n{}", listener.protocol, listener.ports);
            let listener_id = ListenerId::derived(id.clone(), bits(&seed) as u32);
            for (group_seq, group) in (0..).zip(&listener.endpoint_groups) {
                let seed = format!("{seed}\n{}", group.region);
                let group_id = GroupId::derived(listener_id.clone(), bits(&seed) as u64);
                world
                    .groups
                    .insert(group_id, group_record(group, listener, group_seq));
            }
            world
                .listeners
                .insert(listener_id, listener_record(listener, listener_seq));
        }
        world.accelerators.insert(
            id,
            accelerator_record(accelerator, config, seq, bits(&seed), since),
        );
    }
    world
}

fn accelerator_record(
    accelerator: &Accelerator,
    config: &Config,
    seq: u64,
    bits: u128,
    since: Timestamp,
) -> AcceleratorRecord {
    // The wildcard is every address of this PoP, as far as it says which those are.
    let addresses = match accelerator.addresses.as_slice() {
        [] => &config.pop.addresses,
        named => named,
    };
    let mut ipv4 = Vec::new();
    let mut ipv6 = Vec::new();
    for address in addresses {
        match address {
            IpAddr::V4(ip) => ipv4.push(*ip),
            IpAddr::V6(ip) => ipv6.push(*ip),
        }
    }
    AcceleratorRecord {
        seq,
        kind: Kind::Standard,
        name: accelerator.name.to_string(),
        served_as: accelerator.name.to_string(),
        ip_address_type: if ipv6.is_empty() {
            IpAddressType::Ipv4
        } else {
            IpAddressType::DualStack
        },
        enabled: accelerator.enabled,
        ipv4,
        ipv6,
        dns_label: format!("a{:016x}", bits as u64),
        created: since,
        modified: since,
        events: Vec::new(),
        attributes: AcceleratorAttributes {
            flow_logs_enabled: false,
            flow_logs_s3_bucket: None,
            flow_logs_s3_prefix: None,
        },
        tags: Tags::new(),
        source: accelerator.source,
    }
}

fn listener_record(listener: &Listener, seq: u64) -> ListenerRecord {
    let ranges = listener.ports.ranges().iter();
    ListenerRecord {
        seq,
        port_ranges: ranges
            .map(|range| PortRange {
                from_port: range.first(),
                to_port: range.last(),
            })
            .collect(),
        protocol: Some(match listener.protocol {
            ModelProtocol::Tcp => Protocol::Tcp,
            ModelProtocol::Udp => Protocol::Udp,
        }),
        client_affinity: match listener.client_affinity {
            ModelAffinity::None => ClientAffinity::None,
            ModelAffinity::SourceIp => ClientAffinity::SourceIp,
        },
        tags: Tags::new(),
    }
}

fn group_record(group: &EndpointGroup, listener: &Listener, seq: u64) -> GroupRecord {
    let check = &group.health_check;
    let path = |http: &HttpProbe| Some(http.path.clone());
    let (health_check_protocol, health_check_path) = match &check.probe {
        Probe::Http(http) => (HealthCheckProtocol::Http, path(http)),
        Probe::Https { http, .. } => (HealthCheckProtocol::Https, path(http)),
        // Global Accelerator knows no other; TCP says the least.
        Probe::None | Probe::Tcp | Probe::Udp(_) => (HealthCheckProtocol::Tcp, None),
    };
    let overrides = group.port_overrides.iter();
    GroupRecord {
        seq,
        region: group.region.to_string(),
        tags: Tags::new(),
        body: GroupBody::Standard(StandardGroup {
            traffic_dial: group.traffic_dial.percent(),
            health_check_port: check.port.or(Some(listener.ports.first())),
            health_check_protocol,
            health_check_path,
            health_check_interval: check.interval.as_secs().clamp(1, 3600) as u16,
            threshold: check.unhealthy_threshold.get(),
            port_overrides: overrides
                .map(|o| PortOverride {
                    listener_port: o.listener_port,
                    endpoint_port: o.endpoint_port,
                })
                .collect(),
            endpoints: group.endpoints.iter().map(endpoint_record).collect(),
        }),
    }
}

fn endpoint_record(endpoint: &Endpoint) -> EndpointRecord {
    EndpointRecord {
        id: endpoint.id.to_string(),
        weight: endpoint.weight.0,
        client_ip_preservation: false,
        attachment: None,
        found: None,
    }
}

/// 128 bits that stand for a text.
fn bits(text: &str) -> u128 {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let first: [u8; 16] = hash.as_ref()[..16]
        .try_into()
        .expect("SHA-256 has 32 bytes");
    u128::from_be_bytes(first)
}
