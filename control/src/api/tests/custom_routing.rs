//! Custom routing: the mapping, who may be reached, and what the data path is given.

use portolan_config::model::Protocol;
use serde_json::{Value, json};

use super::fake::{Api, text};
use crate::api::errors::Exception;

const DESTINATIONS: &str = r#"[{ "FromPort": 80, "ToPort": 81, "Protocols": ["TCP", "UDP"] }]"#;

async fn with_subnet(api: &Api) -> (String, String, String) {
    let (accelerator, listener, group) = api
        .custom(serde_json::from_str(DESTINATIONS).expect("JSON"))
        .await;
    let add = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": "subnet-1" }] });
    api.ok("AddCustomRoutingEndpoints", add).await;
    (accelerator, listener, group)
}

#[tokio::test]
async fn a_subnet_is_mapped_in_sequence_and_denied_until_it_is_allowed() {
    let api = Api::new();
    let (accelerator, _, group) = with_subnet(&api).await;
    let list = json!({ "AcceleratorArn": accelerator, "MaxResults": 20000 });
    let mappings = api.ok("ListCustomRoutingPortMappings", list.clone()).await;
    let mappings = mappings["PortMappings"].as_array().expect("a list").clone();
    assert_eq!(
        mappings.len(),
        11 * 2,
        "a /28 without its five reserved addresses"
    );
    assert_eq!(mappings[0]["AcceleratorPort"], 5000);
    assert_eq!(
        mappings[0]["DestinationSocketAddress"],
        json!({ "IpAddress": "10.1.0.4", "Port": 80 })
    );
    assert!(
        mappings
            .iter()
            .all(|m| m["DestinationTrafficState"] == "DENY")
    );
    assert!(api.serve()[0].listeners.is_empty(), "nothing is open");

    let allow = json!({ "EndpointGroupArn": group, "EndpointId": "subnet-1", "DestinationAddresses": ["10.1.0.5"],
        "DestinationPorts": [81] });
    api.ok("AllowCustomRoutingTraffic", allow).await;
    let served = api.serve();
    assert_eq!(served[0].listeners.len(), 2, "TCP and UDP");
    for (listener, protocol) in served[0]
        .listeners
        .iter()
        .zip([Protocol::Tcp, Protocol::Udp])
    {
        assert_eq!(listener.protocol, protocol);
        assert_eq!(listener.ports.iter().collect::<Vec<_>>(), [5003]);
        let group = &listener.endpoint_groups[0];
        assert_eq!(group.endpoints[0].host.to_string(), "10.1.0.5");
        assert_eq!(group.endpoint_port(&group.endpoints[0], 5003), 81);
    }
    let by = json!({ "EndpointId": "subnet-1", "DestinationAddress": "10.1.0.5" });
    let by = api
        .ok("ListCustomRoutingPortMappingsByDestination", by)
        .await;
    let states: Vec<String> = by["DestinationPortMappings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| text(&m["DestinationTrafficState"]))
        .collect();
    assert_eq!(states, ["DENY", "ALLOW"]);
    assert_eq!(
        by["DestinationPortMappings"][1]["AcceleratorSocketAddresses"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );

    let all = json!({ "EndpointGroupArn": group, "EndpointId": "subnet-1", "DenyAllTrafficToEndpoint": true });
    api.ok("DenyCustomRoutingTraffic", all).await;
    assert!(api.serve()[0].listeners.is_empty());
}

#[tokio::test]
async fn mappings_are_paged_and_never_change_when_others_come_or_go() {
    let api = Api::new();
    let (accelerator, _, group) = with_subnet(&api).await;
    let before = api
        .ok(
            "ListCustomRoutingPortMappings",
            json!({ "AcceleratorArn": accelerator, "MaxResults": 100 }),
        )
        .await;
    let add = |id: &str| json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": id }] });
    api.ok("AddCustomRoutingEndpoints", add("10.2.0.0/28"))
        .await;
    let mut all: Vec<Value> = Vec::new();
    let mut token = Value::Null;
    loop {
        let input = json!({ "AcceleratorArn": accelerator, "MaxResults": 5, "NextToken": token });
        let page = api.ok("ListCustomRoutingPortMappings", input).await;
        all.extend(page["PortMappings"].as_array().expect("a list").clone());
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(all.len(), 44);
    assert_eq!(
        &all[..22],
        before["PortMappings"]
            .as_array()
            .expect("a list")
            .as_slice()
    );
    let remove = |id: &str| json!({ "EndpointGroupArn": group, "EndpointIds": [id] });
    api.ok("RemoveCustomRoutingEndpoints", remove("subnet-1"))
        .await;
    let left = api
        .ok(
            "ListCustomRoutingPortMappings",
            json!({ "AcceleratorArn": accelerator, "MaxResults": 100 }),
        )
        .await;
    assert_eq!(
        left["PortMappings"].as_array().expect("a list").as_slice(),
        &all[22..]
    );
    api.refused(
        "RemoveCustomRoutingEndpoints",
        remove("subnet-1"),
        Exception::EndpointNotFound,
    )
    .await;
}

#[tokio::test]
async fn the_rules_of_custom_routing_hold() {
    let api = Api::new();
    let (accelerator, listener, group) = with_subnet(&api).await;
    let add = |id: &str| json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": id }] });
    api.refused(
        "AddCustomRoutingEndpoints",
        add("subnet-1"),
        Exception::EndpointAlreadyExists,
    )
    .await;
    api.refused(
        "AddCustomRoutingEndpoints",
        add("10.1.0.0/27"),
        Exception::Conflict,
    )
    .await;
    api.refused(
        "AddCustomRoutingEndpoints",
        add("10.3.0.0/20"),
        Exception::LimitExceeded,
    )
    .await;
    api.refused(
        "AddCustomRoutingEndpoints",
        add("subnet-2"),
        Exception::InvalidArgument,
    )
    .await;
    let ranges = |from: u16, to: u16| json!({ "ListenerArn": listener, "PortRanges": [{ "FromPort": from, "ToPort": to }] });
    api.refused(
        "UpdateCustomRoutingListener",
        ranges(5100, 6000),
        Exception::InvalidPortRange,
    )
    .await;
    api.refused(
        "UpdateCustomRoutingListener",
        ranges(5000, 5999),
        Exception::InvalidPortRange,
    )
    .await;
    api.ok("UpdateCustomRoutingListener", ranges(4000, 7000))
        .await;
    let small = json!({ "AcceleratorArn": accelerator, "IdempotencyToken": "s", "PortRanges": [{ "FromPort": 1, "ToPort": 15 }] });
    api.refused(
        "CreateCustomRoutingListener",
        small,
        Exception::InvalidPortRange,
    )
    .await;
    let allow = |more: Value| {
        let mut input = json!({ "EndpointGroupArn": group, "EndpointId": "subnet-1" });
        input
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        input
    };
    for more in [
        json!({}),
        json!({ "DestinationAddresses": ["10.1.0.3"] }),
        json!({ "DestinationAddresses": ["10.9.0.5"] }),
        json!({ "DestinationAddresses": ["10.1.0.5"], "DestinationPorts": [443] }),
        json!({ "DestinationAddresses": ["10.1.0.5"], "AllowAllTrafficToEndpoint": true }),
        json!({ "EndpointId": "subnet-9", "AllowAllTrafficToEndpoint": true }),
    ] {
        api.refused(
            "AllowCustomRoutingTraffic",
            allow(more),
            Exception::InvalidArgument,
        )
        .await;
    }
    api.ok(
        "AllowCustomRoutingTraffic",
        allow(json!({ "AllowAllTrafficToEndpoint": true })),
    )
    .await;
    let open: usize = api.serve()[0]
        .listeners
        .iter()
        .map(|listener| listener.ports.len())
        .sum();
    assert_eq!(open, 22 * 2);
    api.refused(
        "DescribeAccelerator",
        json!({ "AcceleratorArn": accelerator }),
        Exception::AcceleratorNotFound,
    )
    .await;
    api.refused(
        "DescribeListener",
        json!({ "ListenerArn": listener }),
        Exception::ListenerNotFound,
    )
    .await;
    api.refused(
        "DescribeEndpointGroup",
        json!({ "EndpointGroupArn": group }),
        Exception::EndpointGroupNotFound,
    )
    .await;
}
