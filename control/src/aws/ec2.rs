//! Reads instances and Elastic IPs. By hand (Query protocol, signature version 4): the typed client is half a gigabyte of debug
//! binary for two calls. By filter, never by id: one id that is gone would hide all the others.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::asking::{Asking, Listed};
use super::picture::{ElasticIpFacts, InstanceFacts, Resource};
use super::session::{
    Account, Answered, ByHand, Call, CallError, ErrorClass, Fault, Service, encoded,
};

const VERSION: &str = "2016-11-15";

/// Values that one filter takes.
const FILTER_VALUES: usize = 200;

/// EC2 of one account and region.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) asking: Asking,
    pub(super) account: Account,
    pub(super) region: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instances {
    reservation_set: Option<Items<Reservation>>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Items<T> {
    #[serde(default = "Vec::new")]
    item: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    instances_set: Option<Items<Instance>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    instance_id: String,
    instance_state: State,
    ip_address: Option<String>,
    private_ip_address: Option<String>,
    ipv6_address: Option<String>,
    network_interface_set: Option<Items<Interface>>,
}

#[derive(Deserialize)]
struct State {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    ipv6_addresses_set: Option<Items<Ipv6Address>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ipv6Address {
    ipv6_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Addresses {
    addresses_set: Option<Items<Address>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    allocation_id: Option<String>,
    public_ip: Option<String>,
    private_ip_address: Option<String>,
}

/// EC2's own form, and that of the other Query services, which proxies and fakes use.
#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "Errors")]
    errors: Option<Errors>,
    #[serde(rename = "Error")]
    error: Option<OneError>,
    #[serde(rename = "RequestID", alias = "RequestId")]
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(rename = "Error")]
    error: OneError,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

impl Reader {
    fn call(&self, operation: &'static str) -> Call<'_> {
        Call {
            service: Service::Ec2,
            operation,
            account: &self.account,
            region: &self.region,
        }
    }

    /// These instances; those that are not there are left out.
    pub(super) async fn instances(&self, ids: &[String]) -> Listed<(String, Resource)> {
        let call = self.call("DescribeInstances");
        let mut all = Listed {
            items: Vec::new(),
            error: None,
        };
        for ids in ids.chunks(FILTER_VALUES) {
            let read = self.asking.pages(&call, |token| async move {
                let mut params = filter("instance-id", ids);
                params.extend(token.map(|token| ("NextToken".to_owned(), token)));
                let answer: Instances = self.ask("DescribeInstances", params).await?;
                let reservations = answer
                    .reservation_set
                    .ok_or_else(|| malformed("the answer has no reservationSet"))?;
                let instances = reservations
                    .item
                    .into_iter()
                    .filter_map(|r| r.instances_set)
                    .flat_map(|set| set.item);
                Ok((instances.map(instance).collect(), answer.next_token))
            });
            let Listed { items, error } = read.await;
            all.items.extend(items);
            all.error = all.error.or(error);
        }
        all
    }

    /// These Elastic IPs; those that are not there are left out.
    pub(super) async fn elastic_ips(&self, ids: &[String]) -> Listed<(String, Resource)> {
        let call = self.call("DescribeAddresses");
        let mut all = Listed {
            items: Vec::new(),
            error: None,
        };
        for ids in ids.chunks(FILTER_VALUES) {
            let read = self.asking.pages(&call, |_| async move {
                let answer: Addresses = self
                    .ask("DescribeAddresses", filter("allocation-id", ids))
                    .await?;
                let addresses = answer
                    .addresses_set
                    .ok_or_else(|| malformed("the answer has no addressesSet"))?;
                Ok((
                    addresses.item.into_iter().filter_map(elastic_ip).collect(),
                    None,
                ))
            });
            let Listed { items, error } = read.await;
            all.items.extend(items);
            all.error = all.error.or(error);
        }
        all
    }

    /// Whether the operation is allowed.
    pub(super) async fn dry_run(&self, operation: &'static str) -> Result<(), CallError> {
        let call = self.call(operation);
        let tried = self.asking.call(&call, || async move {
            let params = vec![("DryRun".to_owned(), "true".to_owned())];
            self.ask::<serde::de::IgnoredAny>(operation, params).await
        });
        match tried.await {
            Ok(_) => Ok(()),
            Err(error) if error.fault.code.as_deref() == Some("DryRunOperation") => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        operation: &str,
        params: Vec<(String, String)>,
    ) -> Result<T, Fault> {
        let body = form(operation, params);
        let request = ByHand {
            service: Service::Ec2,
            account: &self.account,
            region: &self.region,
            method: "POST",
            path: "/",
            content_type: Some("application/x-www-form-urlencoded; charset=utf-8"),
            body: &body,
        };
        let Answered {
            status,
            request_id,
            body,
        } = request.send(&self.asking.session).await?;
        if status == 200 {
            return read(&body);
        }
        Err(refusal(status, &body, request_id))
    }
}

fn refusal(status: u16, body: &str, request_id: Option<String>) -> Fault {
    let Ok(answer) = quick_xml::de::from_str::<ErrorAnswer>(body) else {
        return Fault::answered(status, None, None, request_id);
    };
    let ErrorAnswer {
        errors,
        error,
        request_id: own,
    } = answer;
    let error = errors.map(|errors| errors.error).or(error);
    let (code, message) = error.map_or((None, None), |error| (error.code, error.message));
    Fault::answered(status, code, message, own.or(request_id))
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, Fault> {
    // A document that was cut off may still parse as far as it goes.
    if !body.trim_end().ends_with("Response>") {
        return Err(malformed("the answer is cut off, or no answer of EC2"));
    }
    quick_xml::de::from_str(body)
        .map_err(|error| malformed(&format!("the answer cannot be read: {error}")))
}

fn malformed(what: &str) -> Fault {
    Fault::new(ErrorClass::Malformed, what)
}

fn filter(name: &str, values: &[String]) -> Vec<(String, String)> {
    let mut params = vec![("Filter.1.Name".to_owned(), name.to_owned())];
    params.extend(
        values
            .iter()
            .enumerate()
            .map(|(index, value)| (format!("Filter.1.Value.{}", index + 1), value.clone())),
    );
    params
}

fn form(operation: &str, mut params: Vec<(String, String)>) -> String {
    params.push(("Action".to_owned(), operation.to_owned()));
    params.push(("Version".to_owned(), VERSION.to_owned()));
    let pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    pairs.join("&")
}

fn instance(read: Instance) -> (String, Resource) {
    let ip = |text: Option<String>| text.and_then(|text| text.parse::<IpAddr>().ok());
    let interfaces = read
        .network_interface_set
        .into_iter()
        .flat_map(|set| set.item);
    let of_interfaces = interfaces
        .filter_map(|interface| interface.ipv6_addresses_set)
        .flat_map(|set| set.item);
    let first = of_interfaces
        .filter_map(|address| address.ipv6_address)
        .next();
    let facts = InstanceFacts {
        state: read.instance_state.name,
        public: ip(read.ip_address),
        private: ip(read.private_ip_address),
        ipv6: ip(read.ipv6_address.or(first)),
    };
    (read.instance_id, Resource::Instance(facts))
}

fn elastic_ip(read: Address) -> Option<(String, Resource)> {
    let ip = |text: Option<String>| text.and_then(|text| text.parse::<IpAddr>().ok());
    let facts = ElasticIpFacts {
        public: ip(read.public_ip),
        private: ip(read.private_ip_address),
    };
    Some((read.allocation_id?, Resource::ElasticIp(facts)))
}

#[cfg(test)]
mod tests;
