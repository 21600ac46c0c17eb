//! What AWS says, in our words: the picture that is served and kept on disk, and the reading of one cycle, which knows of every
//! part whether it was read to its end. Plain data; identity is an ARN or an id, never an address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_config::model::AwsReach;
use serde::{Deserialize, Serialize};

/// Everything that is known, by ARN. What is in it has been seen and is not known to be gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The account that it is of; `None` before the first reading.
    pub account: Option<String>,
    /// Global Accelerator's.
    pub accelerators: BTreeMap<String, AcceleratorFacts>,
    /// Load balancers that carry `portolan:accelerator`.
    pub tagged: BTreeMap<String, TaggedFacts>,
    /// What endpoints are, by [`resource_key`].
    pub resources: BTreeMap<String, Resource>,
    /// Names of custom routing accelerators, which are not imported.
    pub custom_routing: Vec<String>,
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcceleratorFacts {
    /// Its name, which need not be unique.
    pub name: String,
    /// Whether it takes traffic.
    pub enabled: bool,
    /// AWS is changing it at this moment.
    pub in_progress: bool,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// AWS's own static addresses of it.
    pub aws_addresses: Vec<String>,
    /// By ARN.
    pub listeners: BTreeMap<String, ListenerFacts>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerFacts {
    /// UDP instead of TCP.
    pub udp: bool,
    /// First and last port of each range.
    pub ports: Vec<(u16, u16)>,
    /// A client stays with its endpoint.
    pub source_ip_affinity: bool,
    /// By ARN.
    pub groups: BTreeMap<String, GroupFacts>,
}

/// An endpoint group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// Its region.
    pub region: String,
    /// Percentage, 0 to 100.
    pub traffic_dial: f64,
    /// How AWS checks instances and Elastic IPs.
    pub health_check: CheckFacts,
    /// Listener port and endpoint port.
    pub port_overrides: Vec<(u16, u16)>,
    /// By the key of [`endpoint_key`].
    pub endpoints: BTreeMap<String, EndpointFacts>,
}

/// A group's health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFacts {
    /// `TCP`, `HTTP` or `HTTPS`.
    pub protocol: String,
    /// The port asked.
    pub port: Option<u16>,
    /// What HTTP asks for.
    pub path: Option<String>,
    /// Seconds.
    pub interval: u16,
    /// Results in a row that change the state.
    pub threshold: u8,
}

/// An endpoint of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFacts {
    /// ARN, instance or allocation id.
    pub id: String,
    /// 0 to 255.
    pub weight: u8,
    /// AWS keeps the client's address.
    pub client_ip_preservation: bool,
}

/// What a load balancer's tags say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaggedFacts {
    /// `portolan:accelerator`.
    pub accelerator: String,
    /// Where the load balancer is.
    pub region: String,
    /// `portolan:weight`, 128 without it.
    pub weight: u8,
    /// `portolan:dial`, of the whole group.
    pub dial: Option<f64>,
    /// `portolan:port`.
    pub port: Option<u16>,
}

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resource {
    /// An application or network load balancer.
    LoadBalancer(LoadBalancerFacts),
    /// An instance.
    Instance(InstanceFacts),
    /// An Elastic IP.
    ElasticIp(ElasticIpFacts),
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerFacts {
    /// `application`, `network` or what else there will be.
    #[serde(rename = "type")]
    pub kind: String,
    /// What its addresses are found by.
    pub dns_name: String,
    /// Faces its network alone.
    pub internal: bool,
    /// `active`, `provisioning`, …
    pub state: String,
    /// A network load balancer's fixed addresses.
    pub static_addresses: Vec<IpAddr>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// `running`, `stopped`, …
    pub state: String,
    /// Its address on the internet.
    pub public: Option<IpAddr>,
    /// Its address in its network.
    pub private: Option<IpAddr>,
    /// IPv6.
    pub ipv6: Option<IpAddr>,
}

/// An Elastic IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIpFacts {
    /// Itself.
    pub public: Option<IpAddr>,
    /// What it leads to in its network.
    pub private: Option<IpAddr>,
}

/// What an endpoint is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A name.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl Resource {
    /// How it is reached from here, or why it is not. Scheme and the operator's word decide, never how an address looks.
    pub fn way(&self, reach: AwsReach) -> Result<Way, String> {
        match self {
            Resource::LoadBalancer(balancer) => balancer.way(reach),
            Resource::Instance(instance) => instance.way(reach),
            Resource::ElasticIp(ElasticIpFacts { public, private }) => match reach {
                AwsReach::Public => {
                    public.ok_or_else(|| "the Elastic IP has no address".to_owned())
                }
                AwsReach::Private => {
                    let missing = || "the Elastic IP leads to no private address".to_owned();
                    private.or(*public).ok_or_else(missing)
                }
            }
            .map(Way::Ip),
        }
    }
}

impl LoadBalancerFacts {
    fn way(&self, reach: AwsReach) -> Result<Way, String> {
        if self.internal && reach == AwsReach::Public {
            return Err("an internal load balancer cannot be reached from the internet; [aws] reach = \"private\", or an \
                        [[endpoint_alias]], says that it can be from here"
                .to_owned());
        }
        if self.kind == "gateway" {
            return Err("a gateway load balancer takes no connections".to_owned());
        }
        if self.dns_name.is_empty() {
            return Err("the load balancer has no name yet".to_owned());
        }
        Ok(Way::Name(
            self.dns_name
                .to_ascii_lowercase()
                .trim_end_matches('.')
                .to_owned(),
        ))
    }
}

impl InstanceFacts {
    fn way(&self, reach: AwsReach) -> Result<Way, String> {
        if self.state != "running" {
            // Its address may be somebody else's by now.
            return Err(format!("the instance is {}", self.state));
        }
        let (found, missing) = match reach {
            AwsReach::Public => (
                self.public.or(self.ipv6),
                "the instance has no public address; [aws] reach = \"private\", or an [[endpoint_alias]], says how else it \
                 is reached",
            ),
            AwsReach::Private => (
                self.private.or(self.ipv6).or(self.public),
                "the instance has no address",
            ),
        };
        found.map(Way::Ip).ok_or_else(|| missing.to_owned())
    }
}

/// The key of what an endpoint is: ARNs hold their region, ids do not.
pub fn resource_key(region: &str, id: &str) -> String {
    if id.starts_with("arn:") {
        id.to_owned()
    } else {
        format!("{region}/{id}")
    }
}

/// The key of an endpoint in its group: the same resource may be in it twice, with its client's address and without.
pub fn endpoint_key(endpoint: &EndpointFacts) -> String {
    if endpoint.client_ip_preservation {
        format!("{}#client-ip", endpoint.id)
    } else {
        endpoint.id.clone()
    }
}

/// What came of reading one list.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope<T> {
    /// What was in it.
    pub seen: BTreeMap<String, T>,
    /// Whether its last page was read without an error: only then what is not in it may be gone.
    pub whole: bool,
}

impl<T> Default for Scope<T> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
            whole: false,
        }
    }
}

impl<T> Scope<T> {
    /// Read to its end.
    pub fn whole(seen: BTreeMap<String, T>) -> Self {
        Self { seen, whole: true }
    }
}

/// One cycle's reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Whose credentials asked; `None` when nobody said so, and then nothing else counts.
    pub account: Option<String>,
    /// The accelerators; the facts' own listeners are empty here.
    pub accelerators: Scope<SeenAccelerator>,
    /// Tagged load balancers, by region.
    pub tagged: BTreeMap<String, Scope<TaggedFacts>>,
    /// What endpoints are, as far as it was read. `None` is known not to be there.
    pub resources: BTreeMap<String, Option<Resource>>,
    /// Questions about what endpoints are that were not answered.
    pub unanswered: usize,
    /// `None` when it was not read.
    pub custom_routing: Option<Vec<String>>,
}

/// An accelerator as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenAccelerator {
    /// Without listeners.
    pub facts: AcceleratorFacts,
    /// Its listeners.
    pub listeners: Scope<SeenListener>,
}

/// A listener as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenListener {
    /// Without groups.
    pub facts: ListenerFacts,
    /// Its groups, each with all its endpoints: AWS gives them together.
    pub groups: Scope<GroupFacts>,
}

impl Reading {
    /// Whether everything was read to its end.
    pub fn is_whole(&self) -> bool {
        let listeners = |seen: &SeenAccelerator| {
            seen.listeners.whole
                && seen
                    .listeners
                    .seen
                    .values()
                    .all(|listener| listener.groups.whole)
        };
        self.account.is_some()
            && self.accelerators.whole
            && self.accelerators.seen.values().all(listeners)
            && self.tagged.values().all(|scope| scope.whole)
            && self.unanswered == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_comes_back_from_json() {
        let balancer = LoadBalancerFacts {
            kind: "application".to_owned(),
            dns_name: "web.example.com".to_owned(),
            internal: false,
            state: "active".to_owned(),
            static_addresses: vec![[192, 0, 2, 1].into()],
        };
        let instance = InstanceFacts {
            state: "running".to_owned(),
            public: None,
            private: Some([10, 0, 0, 1].into()),
            ipv6: None,
        };
        let elastic_ip = ElasticIpFacts {
            public: Some([192, 0, 2, 2].into()),
            private: None,
        };
        for resource in [
            Resource::LoadBalancer(balancer),
            Resource::Instance(instance),
            Resource::ElasticIp(elastic_ip),
        ] {
            let text = serde_json::to_string(&resource).expect("JSON");
            let back: Resource = serde_json::from_str(&text).expect(&text);
            assert_eq!(back, resource, "{text}");
        }
    }
}
