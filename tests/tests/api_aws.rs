//! The API beside AWS: endpoints by AWS's own ids, against moto, and accelerators that come from AWS, which the API shows and does not
//! change.

#![expect(
    clippy::too_many_lines,
    reason = "a story of many calls reads best in one piece"
)]

use std::net::{IpAddr, SocketAddr};

use portolan_tests::api::{Place, text};
use portolan_tests::aws::{self, Accelerator, Aws};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::moto::Moto;
use portolan_tests::{client, dns, http, place};
use serde_json::{Value, json};

/// A Query call to moto, which reads region and service from the signature's scope and checks no more of it.
async fn ask(moto: &Moto, service: &str, form: &str) -> String {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let (status, body) = http::send(moto.at(), "POST", &format!("/?{form}"), &scope, "")
        .await
        .expect("moto answers");
    assert_eq!(status, 200, "{form}: {body}");
    body
}

async fn ec2(moto: &Moto, action: &str) -> String {
    ask(moto, "ec2", &format!("Action={action}&Version=2016-11-15")).await
}

/// The text of the first element of that name.
fn element(body: &str, name: &str) -> String {
    let (_, rest) = body
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}

/// A load balancer of moto's: its ARN and its name in DNS.
async fn balancer(moto: &Moto, name: &str, kind: &str) -> (String, String) {
    let subnets = ec2(moto, "DescribeSubnets").await;
    let subnets: Vec<&str> = subnets
        .split("<subnetId>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .collect();
    let form = format!(
        "Action=CreateLoadBalancer&Version=2015-12-01&Name={name}&Scheme=internet-facing&Type={kind}&Subnets.member.1={}&Subnets.member.2={}",
        subnets[0], subnets[1]
    );
    let made = ask(moto, "elasticloadbalancing", &form).await;
    (
        element(&made, "LoadBalancerArn"),
        element(&made, "DNSName").to_ascii_lowercase(),
    )
}

/// An edge that asks moto about endpoints, and the name server about names.
async fn edge(at: &Place, moto: &Moto, names: &dns::Server) -> Edge {
    let toml = format!(
        "{}{}interval = \"1s\"\n[resolver]\nnameservers = [\"{}\"]\n",
        at.toml(),
        moto.toml(),
        names.at()
    );
    aws::edge(&toml).ready().await
}

async fn described(at: &Place, group: &str) -> Vec<Value> {
    let shown = json!({ "EndpointGroupArn": group });
    let shown = at.ok("DescribeEndpointGroup", shown).await;
    let all = &shown["EndpointGroup"]["EndpointDescriptions"];
    all.as_array().expect("a list").clone()
}

#[tokio::test]
async fn load_balancers_by_their_arns_take_traffic_and_go_on_when_aws_is_gone() {
    let Some(moto) = Moto::start().await else {
        return;
    };
    let behind = Endpoint::start("behind", endpoint::naming()).await;
    let IpAddr::V4(ip) = behind.address().ip() else {
        panic!("loopback addresses of tests are IPv4");
    };
    let names = dns::Server::start(ip).await;
    let at = Place::fresh();
    let edge = edge(&at, &moto, &names).await;
    let port = behind.address().port();
    for (name, kind) in [("web", "application"), ("tcp", "network")] {
        let (arn, dns_name) = balancer(&moto, name, kind).await;
        let (_, listener, addresses) = at.accelerator(name, port).await;
        let group = at
            .group(&listener, "us-east-1", std::slice::from_ref(&arn))
            .await;
        for address in addresses {
            let answer = eventually("traffic flows", PATIENCE, async || {
                client::ask(address, "?").await.ok()
            })
            .await;
            assert!(answer.contains("behind"), "{answer}");
        }
        assert!(names.asked().contains(&dns_name), "{:?}", names.asked());
        // Flows are served before the first check of health is over.
        let shown = eventually("it is shown as healthy", PATIENCE, async || {
            let shown = described(&at, &group).await.remove(0);
            (shown["HealthState"] == "HEALTHY").then_some(shown)
        })
        .await;
        assert_eq!(text(&shown["EndpointId"]), arn);
    }
    let arn = aws::balancer_arn("us-east-1", "app/nobodys");
    let (_, listener, addresses) = at.accelerator("later", port).await;
    let create = json!({ "ListenerArn": listener, "EndpointGroupRegion": "us-east-1", "IdempotencyToken": "t",
        "EndpointConfigurations": [{ "EndpointId": arn }] });
    let (status, refused) = at.call("CreateEndpointGroup", &create).await;
    assert_eq!(
        (status, text(&refused["__type"])),
        (400, "InvalidArgumentException".to_owned())
    );
    let message = text(&refused["Message"]);
    assert!(
        message.contains("was not found in us-east-1") && message.contains("[[endpoint_alias]]"),
        "{message}"
    );
    // What is known is known to the next process, whether AWS answers it or not.
    drop((moto, addresses));
    let edge = edge.restart().await;
    let all = at.ok("ListAccelerators", json!({})).await;
    let to = text(&all["Accelerators"][0]["IpSets"][0]["IpAddresses"][0]);
    let to: SocketAddr = format!("{to}:{port}").parse().expect("an address");
    eventually("traffic flows again", PATIENCE, async || {
        client::ask(to, "?").await.ok()
    })
    .await;
    drop(edge);
}

#[tokio::test]
async fn instances_and_elastic_ips_are_followed() {
    let Some(moto) = Moto::start().await else {
        return;
    };
    let names = dns::Server::start([127, 0, 0, 1].into()).await;
    let at = Place::fresh();
    let edge = edge(&at, &moto, &names).await;
    let run = ec2(
        &moto,
        "RunInstances&ImageId=ami-12c6146b&MinCount=1&MaxCount=1",
    )
    .await;
    let instance = element(&run, "instanceId");
    let shown = ec2(&moto, "DescribeInstances").await;
    let address = element(&shown, "ipAddress");
    let allocated = ec2(&moto, "AllocateAddress&Domain=vpc").await;
    let (allocation, elastic) = (
        element(&allocated, "allocationId"),
        element(&allocated, "publicIp"),
    );
    let (_, listener, _) = at.accelerator("shop", place::fresh().port()).await;
    let ids = [instance.clone(), allocation.clone()];
    let group = at.group(&listener, "us-east-1", &ids).await;
    for (id, address) in [(&instance, &address), (&allocation, &elastic)] {
        let is_there = |endpoint: &Value| endpoint["address"] == address.as_str();
        edge.until_endpoint(id, "served at its address", is_there)
            .await;
    }

    ec2(&moto, &format!("StopInstances&InstanceId.1={instance}")).await;
    let reason = eventually("it is shown as stopped", PATIENCE, async || {
        let shown = described(&at, &group).await.remove(0);
        shown["HealthReason"]
            .as_str()
            .filter(|reason| reason.contains("stopped"))
            .map(|_| text(&shown["HealthState"]))
    })
    .await;
    assert_eq!(reason, "UNHEALTHY");
    until("it gets nothing", PATIENCE, async || {
        !edge.state().await.to_string().contains(&instance)
    })
    .await;
    ec2(&moto, &format!("StartInstances&InstanceId.1={instance}")).await;
    let shown = ec2(&moto, "DescribeInstances").await;
    let address = element(&shown, "ipAddress");
    eventually("it is served again", PATIENCE, async || {
        let state = edge.state().await.to_string();
        (state.contains(&instance) && state.contains(&address)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_comes_from_aws_is_shown_and_not_changed() {
    let near = Endpoint::start("near", endpoint::naming()).await;
    let port = near.address().port();
    let arn = aws::balancer_arn("us-east-1", "app/web");
    let amazon = Aws::start(vec![
        Accelerator::new("synced", port).endpoint("us-east-1", &arn),
    ])
    .await;
    let at = Place::fresh();
    let alias = format!(
        "[[endpoint_alias]]\nid = \"{arn}\"\naddress = \"{}\"\n",
        near.address()
    );
    let toml = format!("{}{}{alias}", at.toml(), amazon.toml(""));
    let _edge = aws::edge(&toml).ready().await;
    let shown = eventually("it is listed", PATIENCE, async || {
        let all = at.ok("ListAccelerators", json!({})).await;
        let all = all["Accelerators"].as_array().expect("a list").clone();
        all.into_iter().find(|found| found["Name"] == "synced")
    })
    .await;
    let accelerator = json!({ "AcceleratorArn": shown["AcceleratorArn"] });
    let described = at.ok("DescribeAccelerator", accelerator.clone()).await;
    assert_eq!(described["Accelerator"], shown);
    let to = text(&shown["IpSets"][0]["IpAddresses"][0]);
    let to: SocketAddr = format!("{to}:{port}").parse().expect("an address");
    eventually("it takes traffic", PATIENCE, async || {
        client::ask(to, "?").await.ok()
    })
    .await;
    let listeners = at.ok("ListListeners", accelerator.clone()).await;
    let listener = json!({ "ListenerArn": listeners["Listeners"][0]["ListenerArn"] });
    assert_eq!(listeners["Listeners"][0]["PortRanges"][0]["FromPort"], port);
    let groups = at.ok("ListEndpointGroups", listener.clone()).await;
    let group = &groups["EndpointGroups"][0];
    assert_eq!(text(&group["EndpointGroupRegion"]), "us-east-1");
    assert_eq!(text(&group["EndpointDescriptions"][0]["EndpointId"]), arn);
    let group = json!({ "EndpointGroupArn": group["EndpointGroupArn"] });

    let with = |of: &Value, more: Value| {
        let mut input = of.clone();
        let object = input.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        input
    };
    let resource = json!({ "ResourceArn": shown["AcceleratorArn"] });
    let ports = json!([{ "FromPort": 81, "ToPort": 81 }]);
    let endpoints = json!([{ "EndpointId": "127.0.0.1" }]);
    let changes = [
        (
            "UpdateAccelerator",
            with(&accelerator, json!({ "Enabled": false })),
        ),
        ("DeleteAccelerator", accelerator.clone()),
        ("UpdateAcceleratorAttributes", accelerator.clone()),
        (
            "CreateListener",
            with(
                &accelerator,
                json!({ "Protocol": "TCP", "PortRanges": ports, "IdempotencyToken": "t" }),
            ),
        ),
        (
            "UpdateListener",
            with(&listener, json!({ "ClientAffinity": "SOURCE_IP" })),
        ),
        ("DeleteListener", listener.clone()),
        (
            "CreateEndpointGroup",
            with(
                &listener,
                json!({ "EndpointGroupRegion": "r", "IdempotencyToken": "t" }),
            ),
        ),
        (
            "UpdateEndpointGroup",
            with(&group, json!({ "TrafficDialPercentage": 0 })),
        ),
        ("DeleteEndpointGroup", group.clone()),
        (
            "AddEndpoints",
            with(
                &group,
                json!({ "EndpointConfigurations": endpoints.clone() }),
            ),
        ),
        (
            "RemoveEndpoints",
            with(&group, json!({ "EndpointIdentifiers": endpoints })),
        ),
        (
            "TagResource",
            with(&resource, json!({ "Tags": [{ "Key": "a", "Value": "b" }] })),
        ),
        (
            "UntagResource",
            with(&resource, json!({ "TagKeys": ["a"] })),
        ),
    ];
    for (operation, input) in changes {
        let (status, refused) = at.call(operation, &input).await;
        assert_eq!(
            (status, text(&refused["__type"])),
            (400, "AccessDeniedException".to_owned()),
            "{operation}: {refused}"
        );
        let message = text(&refused["Message"]);
        assert!(message.contains("'synced' was made by AWS"), "{message}");
    }
    let after = at.ok("DescribeAccelerator", accelerator).await;
    assert_eq!(after["Accelerator"], shown);
}
