//! Requests that are right, at the wrong time: what they name is in a state that does not take them, is not the API's, or the store
//! does not answer.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::super::fake::Api;
use super::{Seen, least};
use crate::api::errors::Exception;
use crate::api::operations::Operation;

pub(super) async fn states(seen: &mut Seen) {
    let api = Api::new();
    let accelerator = api.accelerator("a").await;
    let listener = api.listener(&accelerator, 80).await;
    api.group(&listener, "ap-south-1", json!([])).await;
    seen.refused(
        &api,
        "DeleteAccelerator",
        json!({ "AcceleratorArn": accelerator }),
        Exception::AcceleratorNotDisabled,
    )
    .await;
    api.ok(
        "UpdateAccelerator",
        json!({ "AcceleratorArn": accelerator, "Enabled": false }),
    )
    .await;
    seen.refused(
        &api,
        "DeleteAccelerator",
        json!({ "AcceleratorArn": accelerator }),
        Exception::AssociatedListenerFound,
    )
    .await;
    seen.refused(
        &api,
        "DeleteListener",
        json!({ "ListenerArn": listener }),
        Exception::AssociatedEndpointGroupFound,
    )
    .await;
    seen.refused(
        &api,
        "CreateEndpointGroup",
        json!({ "ListenerArn": listener }),
        Exception::EndpointGroupAlreadyExists,
    )
    .await;
    let taken =
        json!({ "AcceleratorArn": accelerator, "PortRanges": [{ "FromPort": 80, "ToPort": 81 }] });
    seen.refused(&api, "CreateListener", taken, Exception::InvalidPortRange)
        .await;
    let backwards =
        json!({ "ListenerArn": listener, "PortRanges": [{ "FromPort": 81, "ToPort": 80 }] });
    seen.refused(
        &api,
        "UpdateListener",
        backwards,
        Exception::InvalidPortRange,
    )
    .await;
    let (custom, listener, group) = api
        .custom(json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }]))
        .await;
    api.ok("AddCustomRoutingEndpoints", json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": "subnet-1" }] })).await;
    let by = |id: &str| json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": id }] });
    seen.refused(
        &api,
        "AddCustomRoutingEndpoints",
        by("subnet-1"),
        Exception::EndpointAlreadyExists,
    )
    .await;
    seen.refused(
        &api,
        "AddCustomRoutingEndpoints",
        by("10.1.0.0/27"),
        Exception::Conflict,
    )
    .await;
    seen.refused(
        &api,
        "DeleteCustomRoutingAccelerator",
        json!({ "AcceleratorArn": custom }),
        Exception::AcceleratorNotDisabled,
    )
    .await;
    api.ok(
        "UpdateCustomRoutingAccelerator",
        json!({ "AcceleratorArn": custom, "Enabled": false }),
    )
    .await;
    seen.refused(
        &api,
        "DeleteCustomRoutingAccelerator",
        json!({ "AcceleratorArn": custom }),
        Exception::AssociatedListenerFound,
    )
    .await;
    seen.refused(
        &api,
        "DeleteCustomRoutingListener",
        json!({ "ListenerArn": listener }),
        Exception::AssociatedEndpointGroupFound,
    )
    .await;
    let again = json!({ "ListenerArn": listener, "EndpointGroupRegion": "us-east-1" });
    seen.refused(
        &api,
        "CreateCustomRoutingEndpointGroup",
        again,
        Exception::EndpointGroupAlreadyExists,
    )
    .await;
    let backwards = json!({ "ListenerArn": listener, "DestinationConfigurations": [{ "FromPort": 2, "ToPort": 1, "Protocols": ["TCP"] }] });
    seen.refused(
        &api,
        "CreateCustomRoutingEndpointGroup",
        backwards,
        Exception::InvalidPortRange,
    )
    .await;
    let taken =
        json!({ "AcceleratorArn": custom, "PortRanges": [{ "FromPort": 5500, "ToPort": 6500 }] });
    seen.refused(
        &api,
        "CreateCustomRoutingListener",
        taken,
        Exception::InvalidPortRange,
    )
    .await;
    let shrunk =
        json!({ "ListenerArn": listener, "PortRanges": [{ "FromPort": 5000, "ToPort": 5900 }] });
    seen.refused(
        &api,
        "UpdateCustomRoutingListener",
        shrunk,
        Exception::InvalidPortRange,
    )
    .await;
    let provision = Operation::ProvisionByoipCidr;
    api.ok(provision.name(), least(provision, json!({}))).await;
    seen.refused(
        &api,
        "ProvisionByoipCidr",
        json!({}),
        Exception::IncorrectCidrState,
    )
    .await;
    seen.refused(
        &api,
        "WithdrawByoipCidr",
        json!({}),
        Exception::IncorrectCidrState,
    )
    .await;
    api.ok("AdvertiseByoipCidr", json!({ "Cidr": "203.0.113.0/24" }))
        .await;
    seen.refused(
        &api,
        "AdvertiseByoipCidr",
        json!({}),
        Exception::IncorrectCidrState,
    )
    .await;
    seen.refused(
        &api,
        "DeprovisionByoipCidr",
        json!({}),
        Exception::IncorrectCidrState,
    )
    .await;
}

pub(super) async fn what_is_not_ours(seen: &mut Seen) {
    let api = Api::new();
    let all = api.ok("ListAccelerators", json!({})).await;
    let accelerator = &all["Accelerators"][0]["AcceleratorArn"];
    let listener = api
        .ok("ListListeners", json!({ "AcceleratorArn": accelerator }))
        .await["Listeners"][0]["ListenerArn"]
        .clone();
    let groups = api
        .ok("ListEndpointGroups", json!({ "ListenerArn": listener }))
        .await;
    let group = &groups["EndpointGroups"][0]["EndpointGroupArn"];
    for operation in ["UpdateAccelerator", "UpdateAcceleratorAttributes"] {
        seen.refused(
            &api,
            operation,
            json!({ "AcceleratorArn": accelerator }),
            Exception::AccessDenied,
        )
        .await;
    }
    seen.refused(
        &api,
        "CreateEndpointGroup",
        json!({ "ListenerArn": listener }),
        Exception::AccessDenied,
    )
    .await;
    for operation in ["UpdateEndpointGroup", "AddEndpoints", "RemoveEndpoints"] {
        seen.refused(
            &api,
            operation,
            json!({ "EndpointGroupArn": group }),
            Exception::AccessDenied,
        )
        .await;
    }
    let (_, _, custom) = api
        .custom(json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }]))
        .await;
    let nobodys = "arn:aws:globalaccelerator::123456789012:attachment/1";
    let with = json!([{ "EndpointId": "subnet-1", "AttachmentArn": nobodys }]);
    let add = json!({ "EndpointGroupArn": custom, "EndpointConfigurations": with });
    seen.refused(
        &api,
        "AddCustomRoutingEndpoints",
        add,
        Exception::AccessDenied,
    )
    .await;
}

pub(super) async fn concurrency_and_faults(seen: &mut Seen) {
    let api = Api::new();
    let accelerator = api.accelerator("a").await;
    let listener = api.listener(&accelerator, 80).await;
    let group = api
        .group(
            &listener,
            "us-east-1",
            json!([{ "EndpointId": "10.0.0.1" }]),
        )
        .await;
    let off = api
        .ok(
            "CreateAccelerator",
            json!({ "Name": "off", "Enabled": false, "IdempotencyToken": "off" }),
        )
        .await;
    let empty = api.listener(&accelerator, 81).await;
    let (custom, custom_listener, custom_group) = api
        .custom(json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }]))
        .await;
    let add = json!({ "EndpointGroupArn": custom_group, "EndpointConfigurations": [{ "EndpointId": "subnet-1" }] });
    api.ok("AddCustomRoutingEndpoints", add).await;
    let custom_off = json!({ "Name": "off", "Enabled": false, "IdempotencyToken": "off" });
    let custom_off = api.ok("CreateCustomRoutingAccelerator", custom_off).await;
    let ranges = json!([{ "FromPort": 7000, "ToPort": 7100 }]);
    let custom_empty =
        json!({ "AcceleratorArn": custom, "PortRanges": ranges, "IdempotencyToken": "e" });
    let custom_empty = api.ok("CreateCustomRoutingListener", custom_empty).await;
    let attachment = api
        .ok(
            "CreateCrossAccountAttachment",
            json!({ "Name": "x", "IdempotencyToken": "t" }),
        )
        .await;
    let provision = |cidr: &str| least(Operation::ProvisionByoipCidr, json!({ "Cidr": cidr }));
    for cidr in ["198.18.0.0/24", "198.18.1.0/24"] {
        api.ok("ProvisionByoipCidr", provision(cidr)).await;
    }
    api.ok("AdvertiseByoipCidr", json!({ "Cidr": "198.18.1.0/24" }))
        .await;
    let fine = |operation: &str| match operation {
        "DeleteAccelerator" => json!({ "AcceleratorArn": off["Accelerator"]["AcceleratorArn"] }),
        "DeleteCustomRoutingAccelerator" => {
            json!({ "AcceleratorArn": custom_off["Accelerator"]["AcceleratorArn"] })
        }
        "DeleteListener" => json!({ "ListenerArn": empty }),
        "DeleteCustomRoutingListener" => {
            json!({ "ListenerArn": custom_empty["Listener"]["ListenerArn"] })
        }
        "RemoveCustomRoutingEndpoints" => {
            json!({ "EndpointGroupArn": custom_group, "EndpointIds": ["subnet-1"] })
        }
        "AddCustomRoutingEndpoints" => {
            json!({ "EndpointGroupArn": custom_group, "EndpointConfigurations": [{ "EndpointId": "10.2.0.0/28" }] })
        }
        "AllowCustomRoutingTraffic" => {
            json!({ "EndpointGroupArn": custom_group, "AllowAllTrafficToEndpoint": true })
        }
        "DenyCustomRoutingTraffic" => {
            json!({ "EndpointGroupArn": custom_group, "DenyAllTrafficToEndpoint": true })
        }
        "UpdateCustomRoutingListener" => {
            json!({ "ListenerArn": custom_listener, "PortRanges": [{ "FromPort": 5000, "ToPort": 6100 }] })
        }
        "AddEndpoints" => {
            json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": "10.0.0.2" }] })
        }
        "AdvertiseByoipCidr" | "DeprovisionByoipCidr" => json!({ "Cidr": "198.18.0.0/24" }),
        "WithdrawByoipCidr" => json!({ "Cidr": "198.18.1.0/24" }),
        "ProvisionByoipCidr" => json!({}),
        name if name.contains("Attachment") => {
            json!({ "AttachmentArn": attachment["CrossAccountAttachment"]["AttachmentArn"] })
        }
        name if name.contains("CustomRouting") => {
            json!({ "AcceleratorArn": custom, "ListenerArn": custom_listener, "EndpointGroupArn": custom_group })
        }
        _ => {
            json!({ "AcceleratorArn": accelerator, "ListenerArn": listener, "EndpointGroupArn": group, "ResourceArn": accelerator })
        }
    };
    let writers: Vec<Operation> = Operation::ALL
        .iter()
        .copied()
        .filter(|operation| !operation.only_reads())
        .collect();
    api.store.fails.store(true, Ordering::Relaxed);
    for operation in &writers {
        seen.refused(
            &api,
            operation.name(),
            fine(operation.name()),
            Exception::InternalServiceError,
        )
        .await;
    }
    api.store.fails.store(false, Ordering::Relaxed);
    api.engine.release().await;
    for operation in &writers {
        seen.refused(
            &api,
            operation.name(),
            fine(operation.name()),
            Exception::TransactionInProgress,
        )
        .await;
    }
    api.engine.clone().take_back().await;
    for operation in writers
        .iter()
        .filter(|operation| operation.name().starts_with("Update"))
    {
        api.ok(operation.name(), least(*operation, fine(operation.name())))
            .await;
    }
}
