//! Reads Global Accelerator. An answer without its list is no empty list: AWS always sends one.

use std::collections::BTreeMap;

use aws_sdk_globalaccelerator::Client;
use aws_sdk_globalaccelerator::types::{
    Accelerator, AcceleratorStatus, ClientAffinity, EndpointDescription, EndpointGroup, Listener,
    PortRange,
};

use super::asking::{Asking, Listed};
use super::picture::{
    AcceleratorFacts, CheckFacts, EndpointFacts, GroupFacts, ListenerFacts, endpoint_key,
};
use super::session::{Account, Call, CallError, ErrorClass, Fault, Service};

/// The most that a page holds.
const PAGE: i32 = 100;

const HOME: &str = "us-west-2";

fn call(operation: &'static str) -> Call<'static> {
    Call {
        service: Service::GlobalAccelerator,
        operation,
        account: &Account::Own,
        region: HOME,
    }
}

/// Global Accelerator as one account sees it.
#[derive(Clone)]
pub(super) struct Reader {
    asking: Asking,
    client: Client,
}

impl Reader {
    pub(super) async fn new(asking: &Asking) -> Result<Self, CallError> {
        let config = asking.session.config(&call("ListAccelerators")).await?;
        Ok(Self {
            asking: asking.clone(),
            client: Client::new(&config),
        })
    }

    /// Every accelerator, without listeners.
    pub(super) async fn accelerators(&self) -> Listed<(String, AcceleratorFacts)> {
        let call = call("ListAccelerators");
        self.asking
            .pages(&call, |token| {
                let request = self
                    .client
                    .list_accelerators()
                    .max_results(PAGE)
                    .set_next_token(token);
                async move {
                    let page = request.send().await?;
                    let items = listed(page.accelerators, "Accelerators")?
                        .into_iter()
                        .map(accelerator);
                    Ok((items.collect::<Result<_, _>>()?, page.next_token))
                }
            })
            .await
    }

    /// The listeners of an accelerator, without groups.
    pub(super) async fn listeners(&self, accelerator: &str) -> Listed<(String, ListenerFacts)> {
        let call = call("ListListeners");
        self.asking
            .pages(&call, |token| {
                let request = self
                    .client
                    .list_listeners()
                    .accelerator_arn(accelerator)
                    .max_results(PAGE);
                let request = request.set_next_token(token);
                async move {
                    let page = request.send().await?;
                    let items = listed(page.listeners, "Listeners")?
                        .into_iter()
                        .map(listener);
                    Ok((items.collect::<Result<_, _>>()?, page.next_token))
                }
            })
            .await
    }

    /// The groups of a listener with their endpoints.
    pub(super) async fn groups(&self, listener: &str) -> Listed<(String, GroupFacts)> {
        let call = call("ListEndpointGroups");
        self.asking
            .pages(&call, |token| {
                let request = self
                    .client
                    .list_endpoint_groups()
                    .listener_arn(listener)
                    .max_results(PAGE);
                let request = request.set_next_token(token);
                async move {
                    let page = request.send().await?;
                    let items = listed(page.endpoint_groups, "EndpointGroups")?
                        .into_iter()
                        .map(group);
                    Ok((items.collect::<Result<_, _>>()?, page.next_token))
                }
            })
            .await
    }

    /// Names of the custom routing accelerators.
    pub(super) async fn custom_routing(&self) -> Listed<String> {
        let call = call("ListCustomRoutingAccelerators");
        self.asking
            .pages(&call, |token| {
                let request = self
                    .client
                    .list_custom_routing_accelerators()
                    .max_results(PAGE);
                let request = request.set_next_token(token);
                async move {
                    let page = request.send().await?;
                    let items = listed(page.accelerators, "Accelerators")?.into_iter();
                    Ok((
                        items.filter_map(|accelerator| accelerator.name).collect(),
                        page.next_token,
                    ))
                }
            })
            .await
    }
}

fn listed<T>(list: Option<Vec<T>>, name: &str) -> Result<Vec<T>, Fault> {
    list.ok_or_else(|| malformed(&format!("the answer has no {name}")))
}

fn malformed(what: &str) -> Fault {
    Fault::new(ErrorClass::Malformed, what)
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, Fault> {
    value.ok_or_else(|| malformed(&format!("something in the answer has no {name}")))
}

fn accelerator(read: Accelerator) -> Result<(String, AcceleratorFacts), Fault> {
    let arn = required(read.accelerator_arn, "AcceleratorArn")?;
    let sets = read.ip_sets.unwrap_or_default();
    let facts = AcceleratorFacts {
        // What it is served under: half an answer must not take that away.
        name: required(read.name, "Name")?,
        // Absent is the service's default.
        enabled: read.enabled.unwrap_or(true),
        in_progress: read.status == Some(AcceleratorStatus::InProgress),
        created: read.created_time.map_or(0, |time| time.secs()),
        aws_addresses: sets
            .into_iter()
            .flat_map(|set| set.ip_addresses.unwrap_or_default())
            .collect(),
        listeners: BTreeMap::new(),
    };
    Ok((arn, facts))
}

fn listener(read: Listener) -> Result<(String, ListenerFacts), Fault> {
    let arn = required(read.listener_arn, "ListenerArn")?;
    let ranges = required(read.port_ranges, "PortRanges")?;
    let facts = ListenerFacts {
        udp: match required(read.protocol, "Protocol")?.as_str() {
            "TCP" => false,
            "UDP" => true,
            other => return Err(malformed(&format!("the protocol {other} is not known"))),
        },
        ports: ranges.iter().map(range).collect::<Result<_, _>>()?,
        source_ip_affinity: read.client_affinity == Some(ClientAffinity::SourceIp),
        groups: BTreeMap::new(),
    };
    Ok((arn, facts))
}

fn range(read: &PortRange) -> Result<(u16, u16), Fault> {
    Ok((
        port(read.from_port, "FromPort")?,
        port(read.to_port, "ToPort")?,
    ))
}

fn port(read: Option<i32>, name: &str) -> Result<u16, Fault> {
    let read = required(read, name)?;
    u16::try_from(read).map_err(|_| malformed(&format!("{name} is {read}")))
}

fn group(read: EndpointGroup) -> Result<(String, GroupFacts), Fault> {
    let arn = required(read.endpoint_group_arn, "EndpointGroupArn")?;
    let mut endpoints = BTreeMap::new();
    for description in required(read.endpoint_descriptions, "EndpointDescriptions")? {
        let endpoint = endpoint(description)?;
        endpoints.insert(endpoint_key(&endpoint), endpoint);
    }
    let mut port_overrides = Vec::new();
    for read in read.port_overrides.unwrap_or_default() {
        port_overrides.push((
            port(read.listener_port, "ListenerPort")?,
            port(read.endpoint_port, "EndpointPort")?,
        ));
    }
    let check = CheckFacts {
        protocol: read
            .health_check_protocol
            .map_or_else(|| "TCP".to_owned(), |protocol| protocol.as_str().to_owned()),
        port: read
            .health_check_port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        path: read.health_check_path.filter(|path| path.starts_with('/')),
        interval: read
            .health_check_interval_seconds
            .and_then(|s| u16::try_from(s).ok())
            .unwrap_or(30),
        threshold: read
            .threshold_count
            .and_then(|count| u8::try_from(count).ok())
            .unwrap_or(3)
            .clamp(1, 10),
    };
    let facts = GroupFacts {
        region: required(read.endpoint_group_region, "EndpointGroupRegion")?,
        traffic_dial: read
            .traffic_dial_percentage
            .map_or(100.0, |dial| f64::from(dial).clamp(0.0, 100.0)),
        health_check: check,
        port_overrides,
        endpoints,
    };
    Ok((arn, facts))
}

fn endpoint(read: EndpointDescription) -> Result<EndpointFacts, Fault> {
    Ok(EndpointFacts {
        id: required(read.endpoint_id, "EndpointId")?,
        // 128 is the service's default.
        weight: read.weight.map_or(128, |weight| weight.clamp(0, 255) as u8),
        client_ip_preservation: read.client_ip_preservation_enabled.unwrap_or(false),
    })
}
