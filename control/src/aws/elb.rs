//! Reads load balancers: what they are, what their tags say, and whether anything healthy is behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aws_sdk_elasticloadbalancingv2::types::{
    Listener, LoadBalancer, LoadBalancerSchemeEnum, TargetGroup, TargetHealthStateEnum,
};
use aws_sdk_elasticloadbalancingv2::{Client, config};

use super::asking::{Asking, Found, Listed, bisect};
use super::picture::{LoadBalancerFacts, Resource};
use super::session::{Account, Call, CallError, Fault, Service, WholeXml};

/// The most load balancers that one call takes by ARN, for descriptions and for tags.
const ARNS: usize = 20;

/// The most that a page holds.
const PAGE: i32 = 400;

/// Load balancers of one account and region.
#[derive(Clone)]
pub(super) struct Reader {
    asking: Asking,
    client: Client,
    account: Account,
    region: String,
}

/// The parts of a load balancer's ARN that say where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) region: String,
    pub(super) account: String,
}

/// Where a load balancer is; `None` for anything else, classic ones included.
pub(super) fn place(arn: &str) -> Option<Place> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "elasticloadbalancing", region, account, resource] = parts[..] else {
        return None;
    };
    // Classic load balancers have a name alone behind the slash.
    let is_v2 = resource
        .strip_prefix("loadbalancer/")
        .is_some_and(|rest| rest.split('/').count() == 3);
    is_v2.then(|| Place {
        region: region.to_owned(),
        account: account.to_owned(),
    })
}

impl Reader {
    pub(super) async fn new(
        asking: &Asking,
        account: &Account,
        region: &str,
    ) -> Result<Self, CallError> {
        let call = Call {
            service: Service::Elb,
            operation: "DescribeLoadBalancers",
            account,
            region,
        };
        let config = asking.session.config(&call).await?;
        let config = config::Builder::from(&config).interceptor(WholeXml);
        Ok(Self {
            asking: asking.clone(),
            client: Client::from_conf(config.build()),
            account: account.clone(),
            region: region.to_owned(),
        })
    }

    fn call(&self, operation: &'static str) -> Call<'_> {
        Call {
            service: Service::Elb,
            operation,
            account: &self.account,
            region: &self.region,
        }
    }

    /// These load balancers.
    pub(super) async fn by_arn(&self, arns: &[String]) -> Found<(String, Resource)> {
        bisect(arns, ARNS, |arns| async move {
            let call = self.call("DescribeLoadBalancers");
            let answer = self
                .asking
                .call(&call, || {
                    let request = self
                        .client
                        .describe_load_balancers()
                        .set_load_balancer_arns(Some(arns.clone()));
                    async move { Ok(request.send().await?) }
                })
                .await?;
            let read = answer.load_balancers.unwrap_or_default();
            Ok(read.into_iter().filter_map(balancer).collect())
        })
        .await
    }

    /// All of the region.
    pub(super) async fn all(&self) -> Listed<(String, Resource)> {
        self.every(balancer).await
    }

    /// Name and hosted zone of every load balancer of the region.
    pub(super) async fn zones(&self) -> Listed<(String, String)> {
        self.every(|b| b.dns_name.zip(b.canonical_hosted_zone_id))
            .await
    }

    async fn every<T>(&self, read: impl Fn(LoadBalancer) -> Option<T>) -> Listed<T> {
        let ask = |marker| {
            let request = self.client.describe_load_balancers().page_size(PAGE);
            request.set_marker(marker).send()
        };
        self.list("DescribeLoadBalancers", "LoadBalancers", ask, |page| {
            let found = page.load_balancers;
            let found = found.map(|all| all.into_iter().filter_map(&read).collect());
            (found, page.next_marker)
        })
        .await
    }

    /// The tags of these load balancers.
    pub(super) async fn tags(&self, arns: &[String]) -> Found<(String, BTreeMap<String, String>)> {
        bisect(arns, ARNS, |arns| async move {
            let call = self.call("DescribeTags");
            let answer = self
                .asking
                .call(&call, || {
                    let request = self
                        .client
                        .describe_tags()
                        .set_resource_arns(Some(arns.clone()));
                    async move { Ok(request.send().await?) }
                })
                .await?;
            let descriptions = answer.tag_descriptions.unwrap_or_default().into_iter();
            let read = descriptions.filter_map(|read| {
                let tags = read.tags.unwrap_or_default().into_iter();
                let tags = tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())));
                Some((read.resource_arn?, tags.collect()))
            });
            Ok(read.collect())
        })
        .await
    }

    /// The target groups of a load balancer.
    pub(super) async fn target_groups(&self, balancer: &str) -> Listed<String> {
        let ask = |marker| {
            let request = self.client.describe_target_groups();
            let request = request.load_balancer_arn(balancer);
            request.set_marker(marker).send()
        };
        self.list("DescribeTargetGroups", "TargetGroups", ask, |page| {
            let arn = |group: TargetGroup| group.target_group_arn;
            let found = page.target_groups;
            let found = found.map(|all| all.into_iter().filter_map(arn).collect());
            (found, page.next_marker)
        })
        .await
    }

    /// The states of a target group's targets.
    pub(super) async fn target_health(
        &self,
        group: &str,
    ) -> Result<Vec<TargetHealthStateEnum>, CallError> {
        let call = self.call("DescribeTargetHealth");
        self.asking
            .call(&call, || {
                let request = self.client.describe_target_health().target_group_arn(group);
                async move {
                    let answer = request.send().await?;
                    let read = answer
                        .target_health_descriptions
                        .ok_or_else(|| no_list("TargetHealthDescriptions"))?;
                    let states = read
                        .into_iter()
                        .filter_map(|target| target.target_health?.state);
                    Ok(states.collect())
                }
            })
            .await
    }

    /// The ports that a load balancer listens on.
    pub(super) async fn listener_ports(&self, balancer: &str) -> Listed<u16> {
        let ask = |marker| {
            let request = self.client.describe_listeners();
            let request = request.load_balancer_arn(balancer);
            request.set_marker(marker).send()
        };
        self.list("DescribeListeners", "Listeners", ask, |page| {
            let port = |listener: Listener| u16::try_from(listener.port?).ok();
            let found = page.listeners;
            let found = found.map(|all| all.into_iter().filter_map(port).collect());
            (found, page.next_marker)
        })
        .await
    }

    /// All pages of a list. `ask` takes a marker; `read` gives what is on a page, which is `None` where there is no list, and the next
    /// marker.
    async fn list<T, P, E, F>(
        &self,
        operation: &'static str,
        name: &str,
        ask: impl Fn(Option<String>) -> F,
        read: impl Fn(P) -> (Option<Vec<T>>, Option<String>),
    ) -> Listed<T>
    where
        F: Future<Output = Result<P, E>>,
        Fault: From<E>,
    {
        let (call, read) = (self.call(operation), &read);
        self.asking
            .pages(&call, |marker| {
                let asked = ask(marker);
                async move {
                    let (found, next) = read(asked.await?);
                    Ok((found.ok_or_else(|| no_list(name))?, next))
                }
            })
            .await
    }
}

fn no_list(name: &str) -> Fault {
    Fault::new(
        super::session::ErrorClass::Malformed,
        format!("the answer has no {name}"),
    )
}

fn balancer(read: LoadBalancer) -> Option<(String, Resource)> {
    let zones = read.availability_zones.unwrap_or_default();
    let addresses = zones
        .into_iter()
        .flat_map(|zone| zone.load_balancer_addresses.unwrap_or_default());
    let fixed = addresses
        .flat_map(|address| [address.ip_address, address.ipv6_address])
        .flatten();
    let mut static_addresses: Vec<IpAddr> =
        fixed.filter_map(|address| address.parse().ok()).collect();
    static_addresses.sort_unstable();
    static_addresses.dedup();
    let facts = LoadBalancerFacts {
        kind: read
            .r#type
            .map_or_else(String::new, |kind| kind.as_str().to_owned()),
        dns_name: read.dns_name.unwrap_or_default(),
        internal: read.scheme == Some(LoadBalancerSchemeEnum::Internal),
        state: read
            .state
            .and_then(|state| state.code)
            .map_or_else(String::new, |code| code.as_str().to_owned()),
        static_addresses,
    };
    Some((read.load_balancer_arn?, Resource::LoadBalancer(facts)))
}
