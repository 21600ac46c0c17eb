//! What the API keeps: one record a resource, as it stands in the store and in memory. Forms that are stored, so a change
//! here is a change of the schema.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use portolan_config::model::Source;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arn::{AcceleratorId, GroupId};
use super::shapes::accelerators::{AcceleratorAttributes, AcceleratorEvent, IpAddressType};
use super::shapes::attachments::Resource;
use super::shapes::byoip::{ByoipCidrEvent, ByoipCidrState};
use super::shapes::custom_routing::CustomRoutingDestinationConfiguration;
use super::shapes::endpoint_groups::{HealthCheckProtocol, PortOverride};
use super::shapes::listeners::{ClientAffinity, PortRange, Protocol};
use super::time::Timestamp;
use crate::aws::picture::Resource as AwsResource;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// The two kinds of accelerators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Chooses among endpoints by health, distance and weight.
    Standard,
    /// Maps every port to one socket of a subnet.
    CustomRouting,
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AcceleratorRecord {
    /// Orders lists by creation.
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Under which it is served and measured: its name, unless somebody else has that.
    pub(crate) served_as: String,
    pub(crate) ip_address_type: IpAddressType,
    pub(crate) enabled: bool,
    pub(crate) ipv4: Vec<Ipv4Addr>,
    /// Reserved from the first time it was dual-stack on.
    pub(crate) ipv6: Vec<Ipv6Addr>,
    pub(crate) dns_label: String,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) events: Vec<AcceleratorEvent>,
    pub(crate) attributes: AcceleratorAttributes,
    pub(crate) tags: Tags,
    /// Who made it. Only the API's own are stored.
    #[serde(skip, default = "made_here")]
    pub(crate) source: Source,
}

impl AcceleratorRecord {
    /// All of its static addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.ipv4.iter().copied().map(IpAddr::V4);
        v4.chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }
}

fn made_here() -> Source {
    Source::Api
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListenerRecord {
    pub(crate) seq: u64,
    /// In the order in which they were given.
    pub(crate) port_ranges: Vec<PortRange>,
    /// `None` under a custom routing accelerator, where it is the destinations'.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) client_affinity: ClientAffinity,
    pub(crate) tags: Tags,
}

/// An endpoint group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    pub(crate) seq: u64,
    pub(crate) region: String,
    pub(crate) tags: Tags,
    pub(crate) body: GroupBody,
}

/// What differs between the kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupBody {
    Standard(StandardGroup),
    CustomRouting(CustomGroup),
}

/// A group of a standard accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StandardGroup {
    pub(crate) traffic_dial: f64,
    /// As it was asked for; `None` is the endpoint's own port, else the listener's first.
    pub(crate) health_check_port: Option<u16>,
    pub(crate) health_check_protocol: HealthCheckProtocol,
    /// Absent while the protocol is TCP.
    pub(crate) health_check_path: Option<String>,
    pub(crate) health_check_interval: u16,
    pub(crate) threshold: u8,
    pub(crate) port_overrides: Vec<PortOverride>,
    pub(crate) endpoints: Vec<EndpointRecord>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub(crate) id: String,
    pub(crate) weight: u8,
    pub(crate) client_ip_preservation: bool,
    pub(crate) attachment: Option<String>,
    /// What AWS said last that its id stands for, when it is AWS's: kept, so that it is served whether AWS can be asked or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<AwsResource>,
}

/// A group of a custom routing accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CustomGroup {
    pub(crate) destinations: Vec<CustomRoutingDestinationConfiguration>,
    pub(crate) subnets: Vec<SubnetRecord>,
}

/// A subnet with its part of the listener's ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SubnetRecord {
    pub(crate) id: String,
    /// What the id stood for when it was added; the mapping never changes afterwards.
    pub(crate) prefix: Ipv4Net,
    /// The accelerator's ports, in the order of the mapping.
    pub(crate) ports: Vec<PortRange>,
    /// Positions of the mapping that take traffic, first and last; sorted and apart.
    pub(crate) allowed: Vec<(u32, u32)>,
    pub(crate) attachment: Option<String>,
}

/// A cross-account attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AttachmentRecord {
    pub(crate) seq: u64,
    pub(crate) name: String,
    pub(crate) principals: Vec<String>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) tags: Tags,
}

/// An address range that was brought along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ByoipRecord {
    pub(crate) seq: u64,
    pub(crate) state: ByoipCidrState,
    pub(crate) events: Vec<ByoipCidrEvent>,
}

/// The answer of a create, kept for whoever repeats the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    /// Of the whole request.
    pub(crate) digest: String,
    pub(crate) answer: Value,
    pub(crate) at: Timestamp,
}

/// Single values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    /// The last addresses handed out: the search for the next goes on behind them, so that an address rests as long as it can.
    pub(crate) last_ipv4: Option<Ipv4Addr>,
    pub(crate) last_ipv6: Option<Ipv6Addr>,
    pub(crate) last_withdrawal: Option<Timestamp>,
    /// Signs page tokens, so that they outlive a restart.
    pub(crate) page_key: String,
}

/// Something to put in its place, or take away.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Edit {
    Accelerator(AcceleratorId, Option<AcceleratorRecord>),
    Listener(super::arn::ListenerId, Option<ListenerRecord>),
    Group(GroupId, Option<GroupRecord>),
    Attachment(super::arn::AttachmentId, Option<AttachmentRecord>),
    Byoip(Ipv4Net, Option<ByoipRecord>),
    Token(String, Option<TokenRecord>),
    Meta(Meta),
}
