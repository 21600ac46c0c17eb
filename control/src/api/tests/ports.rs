//! How many ports there may be: as many as there are where they can be steered, as many as are worth a socket each elsewhere.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::fake::Api;
use crate::api::errors::Exception;

#[tokio::test]
async fn a_listener_has_every_port_where_ports_can_be_steered() {
    let api = Api::new();
    let accelerator = api.accelerator("games").await;
    let create = |protocol: &str| {
        json!({ "AcceleratorArn": accelerator, "Protocol": protocol, "IdempotencyToken": protocol,
            "PortRanges": [{ "FromPort": 1, "ToPort": 65535 }] })
    };
    api.ok("CreateListener", create("TCP")).await;
    assert_eq!(api.serve()[0].listeners[0].ports.len(), 65_535);
    api.edge.steers_ports.store(false, Ordering::SeqCst);
    let why = api
        .refused("CreateListener", create("UDP"), Exception::InvalidPortRange)
        .await;
    assert!(why.contains("CAP_NET_ADMIN and CAP_BPF"), "{why}");
}

#[tokio::test]
async fn custom_routing_opens_thousands_of_ports_in_one_range_a_destination() {
    let api = Api::new();
    let destinations = json!([{ "FromPort": 80, "ToPort": 83, "Protocols": ["UDP"] }]);
    let (_, listener, group) = api.custom(destinations).await;
    let ranges =
        json!({ "ListenerArn": listener, "PortRanges": [{ "FromPort": 1, "ToPort": 65535 }] });
    api.ok("UpdateCustomRoutingListener", ranges).await;
    let subnet = "10.32.0.0/19";
    let add =
        json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": subnet }] });
    api.ok("AddCustomRoutingEndpoints", add).await;
    let allow = json!({ "EndpointGroupArn": group, "EndpointId": subnet, "AllowAllTrafficToEndpoint": true });
    api.edge.steers_ports.store(false, Ordering::SeqCst);
    let operation = "AllowCustomRoutingTraffic";
    let why = api
        .refused(operation, allow.clone(), Exception::InvalidArgument)
        .await;
    assert!(why.contains("at most 4096 without"), "{why}");
    api.edge.steers_ports.store(true, Ordering::SeqCst);
    api.ok(operation, allow).await;
    let listeners = &api.serve()[0].listeners;
    assert_eq!(listeners.len(), (1 << 13) - 5);
    assert!(listeners.iter().all(|listener| listener.ports.len() == 4));
    assert!(
        listeners
            .iter()
            .all(|listener| listener.ports.ranges().len() == 1)
    );
}
