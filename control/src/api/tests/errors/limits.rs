//! One more of everything than the account may have.

use serde_json::{Value, json};

use super::super::fake::{Api, text};
use super::{Seen, least};
use crate::api::errors::Exception;
use crate::api::operations::Operation;

pub(super) async fn limits(seen: &mut Seen) {
    let api = Api::new();
    let accelerator = api.accelerator("first").await;
    for number in 1..20 {
        api.accelerator(&format!("a{number}")).await;
    }
    seen.refused(
        &api,
        "CreateAccelerator",
        json!({ "Name": "b", "IdempotencyToken": "new" }),
        Exception::LimitExceeded,
    )
    .await;
    let (custom, custom_listener, custom_group) = api
        .custom(json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }]))
        .await;
    for number in 1..10 {
        let name = format!("c{number}");
        api.ok(
            "CreateCustomRoutingAccelerator",
            json!({ "Name": name, "IdempotencyToken": name }),
        )
        .await;
    }
    let more = json!({ "Name": "d", "IdempotencyToken": "new" });
    seen.refused(
        &api,
        "CreateCustomRoutingAccelerator",
        more,
        Exception::LimitExceeded,
    )
    .await;
    let mut first = None;
    for port in 1..=10 {
        let listener = api.listener(&accelerator, port).await;
        first.get_or_insert(listener);
    }
    let listener = first.expect("ten were made");
    let more = json!({ "AcceleratorArn": accelerator, "IdempotencyToken": "new" });
    seen.refused(&api, "CreateListener", more, Exception::LimitExceeded)
        .await;
    let mut group = String::new();
    for number in 0..42 {
        group = api.group(&listener, &format!("r{number}"), json!([])).await;
    }
    seen.refused(
        &api,
        "CreateEndpointGroup",
        json!({ "ListenerArn": listener }),
        Exception::LimitExceeded,
    )
    .await;
    let ten: Vec<Value> = (1..=10)
        .map(|n| json!({ "EndpointId": format!("10.0.1.{n}") }))
        .collect();
    api.ok(
        "AddEndpoints",
        json!({ "EndpointGroupArn": group, "EndpointConfigurations": ten }),
    )
    .await;
    seen.refused(
        &api,
        "AddEndpoints",
        json!({ "EndpointGroupArn": group }),
        Exception::LimitExceeded,
    )
    .await;
    // The model's own bound on the list is the same as the group's, so it is the one that is met.
    let eleven: Vec<Value> = (1..=11)
        .map(|n| json!({ "EndpointId": format!("10.0.1.{n}") }))
        .collect();
    let update = json!({ "EndpointGroupArn": group, "EndpointConfigurations": eleven });
    api.refused("UpdateEndpointGroup", update, Exception::InvalidArgument)
        .await;
    for number in 1..10u16 {
        let from = 6000 + number * 100;
        let ranges = json!([{ "FromPort": from + 1, "ToPort": from + 99 }]);
        let input = json!({ "AcceleratorArn": custom, "PortRanges": ranges, "IdempotencyToken": number.to_string() });
        api.ok("CreateCustomRoutingListener", input).await;
    }
    let more = json!({ "AcceleratorArn": custom, "IdempotencyToken": "new" });
    seen.refused(
        &api,
        "CreateCustomRoutingListener",
        more,
        Exception::LimitExceeded,
    )
    .await;
    for number in 1..42 {
        let more = json!({ "ListenerArn": custom_listener, "EndpointGroupRegion": format!("r{number}"), "IdempotencyToken": number.to_string() });
        let operation = Operation::CreateCustomRoutingEndpointGroup;
        api.ok(operation.name(), least(operation, more)).await;
    }
    let more = json!({ "ListenerArn": custom_listener });
    seen.refused(
        &api,
        "CreateCustomRoutingEndpointGroup",
        more,
        Exception::LimitExceeded,
    )
    .await;
    let huge = json!({ "EndpointGroupArn": custom_group, "EndpointConfigurations": [{ "EndpointId": "10.64.0.0/17" }] });
    seen.refused(
        &api,
        "AddCustomRoutingEndpoints",
        huge,
        Exception::LimitExceeded,
    )
    .await;
    let mut arn = String::new();
    for number in 0..10 {
        let input = json!({ "Name": "x", "IdempotencyToken": number.to_string() });
        arn = text(
            &api.ok("CreateCrossAccountAttachment", input).await["CrossAccountAttachment"]["AttachmentArn"],
        );
    }
    seen.refused(
        &api,
        "CreateCrossAccountAttachment",
        json!({ "IdempotencyToken": "new" }),
        Exception::LimitExceeded,
    )
    .await;
    let principals: Vec<String> = (0..11).map(|n| format!("{n:012}")).collect();
    let update = json!({ "AttachmentArn": arn, "AddPrincipals": principals });
    seen.refused(
        &api,
        "UpdateCrossAccountAttachment",
        update,
        Exception::LimitExceeded,
    )
    .await;
    for number in 0..32 {
        let operation = Operation::ProvisionByoipCidr;
        api.ok(
            operation.name(),
            least(
                operation,
                json!({ "Cidr": format!("198.18.{number}.0/24") }),
            ),
        )
        .await;
    }
    seen.refused(
        &api,
        "ProvisionByoipCidr",
        json!({}),
        Exception::LimitExceeded,
    )
    .await;
}
