//! Endpoint ids: what a name of AWS's, or an address of our own, is reached by. An alias of the file goes before everything.

use ipnet::Ipv4Net;
use portolan_config::address::Host;
use portolan_config::file;
use portolan_config::model::{AliasAddress, AwsReach, Config, EndpointAlias};

use crate::aws::Named;
use crate::aws::picture::{Resource, Way};

/// What gives ids their meaning beside AWS's answers.
#[derive(Clone, Copy)]
pub(crate) struct Meaning<'a> {
    pub(crate) aliases: &'a [EndpointAlias],
    /// From where AWS's resources are reached; `None` without `[aws]`.
    pub(crate) reach: Option<AwsReach>,
}

impl<'a> Meaning<'a> {
    /// By the configuration in force.
    pub(crate) fn of(config: &'a Config) -> Self {
        Self {
            aliases: &config.endpoint_aliases,
            reach: config.aws.as_ref().map(|aws| aws.reach),
        }
    }

    /// What AWS is to be asked about, if it is: what has an alias is what the alias says.
    pub(crate) fn to_ask(self, region: &str, id: &str) -> Option<Named> {
        self.reach?;
        Named::of(region, id).filter(|_| !self.has_alias(id))
    }

    /// Whether the operator has said what it is.
    pub(crate) fn has_alias(self, id: &str) -> bool {
        alias(id, self.aliases).is_some()
    }

    /// What an endpoint is reached by. `found` is what AWS said of it last.
    pub(crate) fn endpoint(
        self,
        id: &str,
        found: Option<&Resource>,
    ) -> Result<(Host, Option<u16>), String> {
        match alias(id, self.aliases) {
            Some(AliasAddress::Endpoint(host, port)) => return Ok((host.clone(), *port)),
            Some(AliasAddress::Subnet(net)) => {
                return Err(format!(
                    "'{id}' is an alias of the subnet {net}, not of an endpoint"
                ));
            }
            None => {}
        }
        if let Some(resource) = found {
            // What was found once is served without [aws], too: only the operator's word on how it is reached has gone.
            return match resource.way(self.reach.unwrap_or(AwsReach::Public))? {
                Way::Name(name) => Ok((Host::Name(name.into()), None)),
                Way::Ip(ip) => Ok((Host::Ip(ip), None)),
            };
        }
        match name_of_aws(id) {
            Some(what) => Err(self.unresolved(id, what)),
            None => file::endpoint_host(id).map_err(|error| error.to_string()),
        }
    }

    fn unresolved(self, id: &str, what: &str) -> String {
        let resolvable = Named::is_id(id);
        let or_ask = match (resolvable, self.reach) {
            (true, None) => ", add [aws] with credentials, so that AWS is asked what it is",
            (true, Some(_)) | (false, _) => "",
        };
        format!(
            "'{id}' is {what} that this edge cannot resolve: add [[endpoint_alias]] id = \"{id}\", address = \"…\" to its \
             file{or_ask}, or give an address or a name as the endpoint's id"
        )
    }
}

/// The subnet that an id stands for: an alias, or a prefix as it is.
pub(crate) fn subnet(id: &str, aliases: &[EndpointAlias]) -> Result<Ipv4Net, String> {
    let net = match alias(id, aliases) {
        Some(AliasAddress::Subnet(net)) => net.to_string(),
        Some(AliasAddress::Endpoint(..)) => {
            return Err(format!(
                "'{id}' is an alias of an endpoint, not of a subnet"
            ));
        }
        None if id.contains('/') && !id.starts_with("arn:") => id.to_owned(),
        None => {
            return Err(format!(
                "'{id}' is a subnet that this edge cannot resolve: add [[endpoint_alias]] id = \"{id}\", address = \
                 \"10.0.0.0/24\" to its file, or give a prefix as the endpoint's id"
            ));
        }
    };
    let net: Ipv4Net = net
        .parse()
        .map_err(|_| format!("'{id}' is no IPv4 prefix"))?;
    match (17..=28).contains(&net.prefix_len()) {
        true => Ok(net.trunc()),
        false => Err(format!(
            "the subnet {net} must be of a size from /28 to /17"
        )),
    }
}

fn alias<'a>(id: &str, aliases: &'a [EndpointAlias]) -> Option<&'a AliasAddress> {
    aliases
        .iter()
        .find(|alias| alias.id == id)
        .map(|alias| &alias.address)
}

/// What AWS would call it, when the id is one of AWS's.
fn name_of_aws(id: &str) -> Option<&'static str> {
    if id.starts_with("arn:") {
        return Some(match id.contains(":loadbalancer/") {
            true => "a load balancer ARN",
            false => "an ARN",
        });
    }
    let hex = |rest: &str| rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit());
    if id.strip_prefix("i-").is_some_and(hex) {
        return Some("an instance id");
    }
    if id.starts_with("eipalloc-") {
        return Some("an Elastic IP allocation id");
    }
    id.starts_with("subnet-").then_some("a subnet id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::picture::InstanceFacts;

    fn aliases() -> Vec<EndpointAlias> {
        let host = Host::Ip("10.0.1.10".parse().expect("an address"));
        let subnet = "10.0.0.0/24".parse().expect("a prefix");
        vec![
            EndpointAlias {
                id: "i-0123456789abcdef0".into(),
                address: AliasAddress::Endpoint(host, Some(80)),
            },
            EndpointAlias {
                id: "subnet-1".into(),
                address: AliasAddress::Subnet(subnet),
            },
        ]
    }

    fn endpoint(id: &str, aliases: &[EndpointAlias]) -> Result<(Host, Option<u16>), String> {
        let meaning = Meaning {
            aliases,
            reach: None,
        };
        meaning.endpoint(id, None)
    }

    #[test]
    fn aliases_addresses_and_names_resolve_and_the_rest_says_how() {
        let (host, port) = endpoint("i-0123456789abcdef0", &aliases()).expect("an alias");
        assert_eq!((host.to_string().as_str(), port), ("10.0.1.10", Some(80)));
        assert_eq!(
            endpoint("10.0.0.1:8080", &[]).expect("an address").1,
            Some(8080)
        );
        assert_eq!(endpoint("web.internal", &[]).expect("a name").1, None);
        let arn = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/my/50dc6c495c0c9188";
        for id in [
            arn,
            "i-0123456789abcdef1",
            "eipalloc-0123456789",
            "subnet-9",
        ] {
            let error = endpoint(id, &aliases()).unwrap_err();
            assert!(
                error.contains("[[endpoint_alias]]") && error.contains(id),
                "{error}"
            );
            assert_eq!(error.contains("[aws]"), id != "subnet-9", "{error}");
        }
        assert!(endpoint("256.1.1.1", &[]).is_err() && endpoint("", &[]).is_err());
    }

    #[test]
    fn what_aws_found_is_reached_as_the_operator_says_and_after_an_alias() {
        let found = Resource::Instance(InstanceFacts {
            state: "running".to_owned(),
            public: Some([192, 0, 2, 1].into()),
            private: Some([10, 0, 0, 7].into()),
            ipv6: None,
        });
        let by = |reach, id: &str| {
            let meaning = Meaning {
                aliases: &aliases(),
                reach,
            };
            let (host, _) = meaning.endpoint(id, Some(&found)).expect("found");
            host.to_string()
        };
        assert_eq!(by(Some(AwsReach::Public), "i-1"), "192.0.2.1");
        assert_eq!(by(Some(AwsReach::Private), "i-1"), "10.0.0.7");
        assert_eq!(by(None, "i-1"), "192.0.2.1");
        assert_eq!(by(None, "i-0123456789abcdef0"), "10.0.1.10", "the alias");
    }

    #[test]
    fn subnets_are_aliases_or_prefixes_of_a_size() {
        assert_eq!(
            subnet("subnet-1", &aliases())
                .expect("an alias")
                .to_string(),
            "10.0.0.0/24"
        );
        assert_eq!(
            subnet("10.1.2.3/28", &[]).expect("a prefix").to_string(),
            "10.1.2.0/28"
        );
        for id in [
            "10.0.0.0/16",
            "10.0.0.0/29",
            "subnet-2",
            "10.0.0.1",
            "2001:db8::/64",
        ] {
            assert!(subnet(id, &aliases()).is_err(), "{id}");
        }
    }
}
