//! What AWS answers, as the service models write it. Pure.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Accelerator, Fault, World};
use crate::{binary, fake};

type Answer = (u16, &'static str, String);

const JSON: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml";

/// Access keys of assumed roles: this, and the account.
pub(super) const ASSUMED: &str = "ASIA";

/// Operations of what is only good to know.
const ENRICHMENT: [&str; 3] = [
    "DescribeListeners",
    "DescribeTargetGroups",
    "DescribeTargetHealth",
];

/// The operation that is asked for: the header's in JSON protocols, the form's in Query.
pub(super) fn operation(target: Option<&str>, body: &[u8]) -> String {
    match target {
        Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
        None => form(body, "Action").unwrap_or_default(),
    }
}

fn form(body: &[u8], name: &str) -> Option<String> {
    let mut pairs = all_of_form(body).into_iter();
    pairs.find(|(key, _)| key == name).map(|(_, value)| value)
}

fn all_of_form(body: &[u8]) -> Vec<(String, String)> {
    fake::pairs(&String::from_utf8_lossy(body)).collect()
}

/// Status, content type and body.
pub(super) fn answer(
    world: &World,
    fault: Fault,
    operation: &str,
    is_json: bool,
    body: &[u8],
) -> Answer {
    let error = |status, code, message| {
        if is_json {
            json_error(status, code, message)
        } else {
            xml_error(status, code, message)
        }
    };
    let right = || match is_json {
        true => accelerators(world, fault, operation, body),
        false => query(world, fault, operation, body),
    };
    match fault {
        Fault::None
        | Fault::EmptyLists
        | Fault::SecondPage
        | Fault::WrongAccount
        | Fault::FewerTags
        | Fault::Hang => right(),
        Fault::Enrichment if !ENRICHMENT.contains(&operation) => right(),
        Fault::Cut => cut(right()),
        Fault::Throttle if is_json => error(400, "ThrottlingException", "Rate exceeded"),
        Fault::Throttle => error(400, "Throttling", "Rate exceeded"),
        Fault::Failure | Fault::Enrichment => error(
            500,
            "InternalServiceErrorException",
            "There was an internal error",
        ),
        Fault::Html => (
            500,
            "text/html",
            "<html><body>Internal Server Error</body></html>".to_owned(),
        ),
        Fault::Denied => error(
            403,
            "AccessDeniedException",
            "User is not authorized to perform this",
        ),
        Fault::Empty => (
            200,
            if is_json { JSON } else { XML },
            if is_json {
                "{}".to_owned()
            } else {
                String::new()
            },
        ),
        Fault::Truncated => {
            let (status, kind, text) = right();
            (
                status,
                kind,
                text.chars().take(text.chars().count() / 2).collect(),
            )
        }
    }
}

/// Without the last item of its list, and without what comes behind.
fn cut((status, kind, text): Answer) -> Answer {
    let items = ["<member><LoadBalancerArn>", "<member><ResourceArn>"];
    let last = items.iter().find_map(|item| text.rfind(item));
    let end = last.unwrap_or(text.len() / 2);
    (status, kind, text[..end].to_owned())
}

fn json_error(status: u16, code: &str, message: &str) -> Answer {
    (
        status,
        JSON,
        json!({ "__type": code, "message": message }).to_string(),
    )
}

fn xml_error(status: u16, code: &str, message: &str) -> Answer {
    let text = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>0f0f</RequestId></ErrorResponse>"
    );
    (status, XML, text)
}

fn arn(world: &World, name: &str) -> String {
    format!(
        "arn:aws:globalaccelerator::{}:accelerator/{name}-1234abcd",
        world.account
    )
}

fn accelerators(world: &World, fault: Fault, operation: &str, body: &[u8]) -> Answer {
    let input: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let of = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
    let found = |wanted: &str| {
        world
            .accelerators
            .iter()
            .find(|a| wanted.starts_with(&arn(world, &a.name)))
    };
    let (list, items) = match operation {
        "ListAccelerators" => (
            "Accelerators",
            world
                .accelerators
                .iter()
                .map(|a| accelerator(world, a))
                .collect(),
        ),
        "ListCustomRoutingAccelerators" => ("Accelerators", Vec::new()),
        "ListListeners" => match found(&of("AcceleratorArn")) {
            Some(accelerator) => ("Listeners", vec![listener(world, accelerator)]),
            None => return json_error(400, "AcceleratorNotFoundException", "no such accelerator"),
        },
        "ListEndpointGroups" => match found(&of("ListenerArn")) {
            Some(accelerator) => ("EndpointGroups", groups(world, accelerator)),
            None => return json_error(400, "ListenerNotFoundException", "no such listener"),
        },
        other => return json_error(400, "UnknownOperationException", other),
    };
    let items = if fault == Fault::EmptyLists {
        Vec::new()
    } else {
        items
    };
    let from: usize = of("NextToken").parse().unwrap_or(0);
    if fault == Fault::SecondPage && from > 0 {
        return json_error(
            500,
            "InternalServiceErrorException",
            "There was an internal error",
        );
    }
    let asked = input["MaxResults"]
        .as_u64()
        .map_or(10, |most| most as usize);
    let to = (from + asked.min(world.page)).min(items.len());
    let mut answer = json!({ list: items[from.min(items.len())..to] });
    if to < items.len() {
        answer["NextToken"] = json!(to.to_string());
    }
    conform(&format!("{operation}Response"), &answer);
    (200, JSON, answer.to_string())
}

fn accelerator(world: &World, accelerator: &Accelerator) -> Value {
    json!({
        "AcceleratorArn": arn(world, &accelerator.name),
        "Name": accelerator.name,
        "IpAddressType": "IPV4",
        "Enabled": accelerator.enabled,
        "IpSets": [{ "IpFamily": "IPv4", "IpAddresses": ["192.0.2.250", "192.0.2.251"], "IpAddressFamily": "IPv4" }],
        "DnsName": "a1234567890abcdef.awsglobalaccelerator.com",
        "Status": "DEPLOYED",
        "CreatedTime": 1_500_000_000.0,
        "LastModifiedTime": 1_500_000_000.0,
    })
}

fn listener(world: &World, accelerator: &Accelerator) -> Value {
    json!({
        "ListenerArn": format!("{}/listener/0123abcd", arn(world, &accelerator.name)),
        "PortRanges": [{ "FromPort": accelerator.port, "ToPort": accelerator.port }],
        "Protocol": "TCP",
        "ClientAffinity": "NONE",
    })
}

fn groups(world: &World, accelerator: &Accelerator) -> Vec<Value> {
    let of = |(region, (dial, endpoints)): (
        &String,
        &(f64, std::collections::BTreeMap<String, u8>),
    )| {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(id, weight)| {
                json!({ "EndpointId": id, "Weight": weight, "HealthState": "HEALTHY", "ClientIPPreservationEnabled": false })
            })
            .collect();
        json!({
            "EndpointGroupArn": format!("{}/listener/0123abcd/endpoint-group/{region}", arn(world, &accelerator.name)),
            "EndpointGroupRegion": region,
            "EndpointDescriptions": endpoints,
            "TrafficDialPercentage": dial,
            "HealthCheckPort": accelerator.port,
            "HealthCheckProtocol": "TCP",
            "HealthCheckIntervalSeconds": 30,
            "ThresholdCount": 3,
            "PortOverrides": [],
        })
    };
    accelerator.groups.iter().map(of).collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm an operation, as in the service's own list"
)]
fn query(world: &World, fault: Fault, operation: &str, body: &[u8]) -> Answer {
    let members = |prefix: &str| -> Vec<String> {
        let pairs = all_of_form(body).into_iter();
        pairs
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(_, value)| value)
            .collect()
    };
    let wanted = [
        members("LoadBalancerArns.member."),
        members("ResourceArns.member."),
    ]
    .concat();
    // Unlike moto: one that is not there fails the call, and twenty is the most.
    if wanted.len() > 20 {
        return xml_error(400, "ValidationError", "more than 20");
    }
    if wanted.iter().any(|arn| !world.balancers.contains_key(arn)) {
        return xml_error(
            400,
            "LoadBalancerNotFound",
            "One or more load balancers not found",
        );
    }
    let is_empty = fault == Fault::EmptyLists;
    if operation == "DescribeInstances" {
        return instances(world, is_empty, &members("Filter.1.Value."));
    }
    let chosen = world
        .balancers
        .iter()
        .filter(|(arn, _)| !is_empty && (wanted.is_empty() || wanted.contains(arn)));
    let of = form(body, "LoadBalancerArn")
        .or_else(|| form(body, "TargetGroupArn"))
        .unwrap_or_default();
    let targets = world
        .balancers
        .get(of.trim_start_matches("tg:"))
        .and_then(|balancer| balancer.targets)
        .filter(|_| !is_empty);
    let result = match operation {
        "GetCallerIdentity" => {
            let account = if fault == Fault::WrongAccount {
                "999999999999"
            } else {
                world.account.as_str()
            };
            let arn = format!("arn:aws:iam::{account}:user/x");
            format!("<Arn>{arn}</Arn><UserId>x</UserId><Account>{account}</Account>")
        }
        "AssumeRole" => {
            let of = |name: &str| form(body, name).unwrap_or_default();
            if of("ExternalId") != world.external_id {
                return xml_error(
                    403,
                    "AccessDenied",
                    "not authorized to perform sts:AssumeRole",
                );
            }
            let account = of("RoleArn")
                .split(':')
                .nth(4)
                .unwrap_or_default()
                .to_owned();
            format!(
                "<Credentials><AccessKeyId>{ASSUMED}{account}</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
            )
        }
        "DescribeLoadBalancers" => {
            let members = chosen.map(|(arn, balancer)| {
                let kind = if arn.contains("/net/") { "network" } else { "application" };
                let addresses = balancer.addresses.iter().map(|ip| format!("<member><IpAddress>{ip}</IpAddress></member>"));
                format!(
                    "<member><LoadBalancerArn>{arn}</LoadBalancerArn><DNSName>{}</DNSName>\
                     <CanonicalHostedZoneId>Z215JYRZR1TBD5</CanonicalHostedZoneId><Scheme>{}</Scheme><Type>{kind}</Type>\
                     <State><Code>active</Code></State><AvailabilityZones><member><ZoneName>a</ZoneName><LoadBalancerAddresses>{}\
                     </LoadBalancerAddresses></member></AvailabilityZones></member>",
                    if balancer.name.is_empty() { "x-1.elb.invalid" } else { balancer.name.as_str() },
                    balancer.scheme,
                    addresses.collect::<String>()
                )
            });
            format!(
                "<LoadBalancers>{}</LoadBalancers>",
                members.collect::<String>()
            )
        }
        "DescribeTags" => {
            let fewer = usize::from(fault == Fault::FewerTags);
            let told = wanted.len().saturating_sub(fewer);
            let members = chosen.take(told).map(|(arn, balancer)| {
                let tags = balancer
                    .tags
                    .iter()
                    .map(|(k, v)| format!("<member><Key>{k}</Key><Value>{v}</Value></member>"));
                format!(
                    "<member><ResourceArn>{arn}</ResourceArn><Tags>{}</Tags></member>",
                    tags.collect::<String>()
                )
            });
            format!(
                "<TagDescriptions>{}</TagDescriptions>",
                members.collect::<String>()
            )
        }
        "DescribeListeners" => "<Listeners></Listeners>".to_owned(),
        "DescribeTargetGroups" => match targets {
            Some(_) => format!(
                "<TargetGroups><member><TargetGroupArn>tg:{of}</TargetGroupArn></member></TargetGroups>"
            ),
            None => "<TargetGroups></TargetGroups>".to_owned(),
        },
        "DescribeTargetHealth" => {
            let (healthy, unhealthy) = targets.unwrap_or_default();
            let states = std::iter::repeat_n("healthy", healthy)
                .chain(std::iter::repeat_n("unhealthy", unhealthy));
            let members = states.map(|state| {
                format!("<member><TargetHealth><State>{state}</State></TargetHealth></member>")
            });
            format!(
                "<TargetHealthDescriptions>{}</TargetHealthDescriptions>",
                members.collect::<String>()
            )
        }
        other => return xml_error(400, "InvalidAction", other),
    };
    let text = format!(
        "<{operation}Response><{operation}Result>{result}</{operation}Result></{operation}Response>"
    );
    (200, XML, text)
}

/// By filter: those that are not there are left out.
fn instances(world: &World, is_empty: bool, wanted: &[String]) -> Answer {
    let there = world.instances.iter();
    let there = there.filter(|(id, _)| !is_empty && wanted.contains(id));
    let items = there.map(|(id, ip)| {
        format!(
            "<item><instancesSet><item><instanceId>{id}</instanceId><instanceState><name>running</name></instanceState>\
             <ipAddress>{ip}</ipAddress></item></instancesSet></item>"
        )
    });
    let text = format!(
        "<DescribeInstancesResponse><requestId>0f0f</requestId><reservationSet>{}</reservationSet></DescribeInstancesResponse>",
        items.collect::<String>()
    );
    (200, XML, text)
}

/// Demands that an answer is of the service model's shape: every member known, every value of its type.
fn conform(shape: &str, value: &Value) {
    static MODEL: LazyLock<Value> = LazyLock::new(|| {
        let path: &Path = binary::root();
        let text = std::fs::read_to_string(path.join("control/src/api/shapes/model.json"))
            .expect("botocore's model");
        serde_json::from_str(&text).expect("JSON")
    });
    let known = &MODEL["shapes"][shape];
    match known["type"].as_str() {
        Some("structure") => {
            for (name, value) in value
                .as_object()
                .unwrap_or_else(|| panic!("{shape}: {value}"))
            {
                let member = known["members"][name].as_str();
                conform(
                    member.unwrap_or_else(|| panic!("{shape} has no {name}")),
                    value,
                );
            }
        }
        Some("list") => {
            let member = known["member"].as_str().expect("lists name their members");
            value
                .as_array()
                .unwrap_or_else(|| panic!("{shape}: {value}"))
                .iter()
                .for_each(|value| conform(member, value));
        }
        Some("string") => assert!(value.is_string(), "{shape}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{shape}: {value}"),
        Some("integer") => assert!(value.is_u64(), "{shape}: {value}"),
        Some("float" | "timestamp") => assert!(value.is_number(), "{shape}: {value}"),
        other => panic!("{shape} is {other:?}"),
    }
}
