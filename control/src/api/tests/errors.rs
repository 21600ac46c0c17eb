//! Every exception that the model declares for an operation, brought about.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fake::{Api, text};
use crate::api::errors::Exception;
use crate::api::operations::Operation;
use crate::api::shapes::model::{MODEL, Shape};

const NOWHERE: &str =
    "arn:aws:globalaccelerator::123456789012:accelerator/11111111-1111-4111-8111-111111111111";

/// The smallest input that the model takes, with what the test wants in it.
fn least(operation: Operation, more: Value) -> Value {
    let mut input = json!({});
    let shape = MODEL.operations[operation.name()]
        .input
        .as_ref()
        .map(|name| &MODEL.shapes[name]);
    let object = input.as_object_mut().expect("an object");
    if let Some(Shape::Structure { required, .. }) = shape {
        for member in required {
            let value = match member.as_str() {
                "PortRanges" => json!([{ "FromPort": 9000, "ToPort": 9100 }]),
                "Protocol" => json!("TCP"),
                "EndpointGroupRegion" => json!("ap-south-1"),
                "EndpointConfigurations" => json!([{ "EndpointId": "10.0.0.1" }]),
                "EndpointIdentifiers" => json!([{ "EndpointId": "10.0.0.1" }]),
                "EndpointIds" | "TagKeys" => json!(["x"]),
                "Tags" => json!([{ "Key": "a", "Value": "b" }]),
                "DestinationConfigurations" => {
                    json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }])
                }
                "CidrAuthorizationContext" => json!({ "Message": "m", "Signature": "s" }),
                "Cidr" => json!("203.0.113.0/24"),
                "ResourceOwnerAwsAccountId" => json!("123456789012"),
                "DestinationAddress" => json!("10.1.0.5"),
                "EndpointId" => json!("subnet-1"),
                "ListenerArn" => json!(format!("{NOWHERE}/listener/11111111")),
                "EndpointGroupArn" => json!(format!(
                    "{NOWHERE}/listener/11111111/endpoint-group/111111111111"
                )),
                "AttachmentArn" => json!(
                    NOWHERE
                        .replace("accelerator", "attachment")
                        .replace("globalattachment", "globalaccelerator")
                ),
                "AcceleratorArn" | "ResourceArn" => json!(NOWHERE),
                _ => json!("x"),
            };
            object.insert(member.clone(), value);
        }
    }
    object.extend(more.as_object().expect("an object").clone());
    input
}

/// The exceptions that were brought about, by operation.
#[derive(Default)]
struct Seen(BTreeSet<(&'static str, &'static str)>);

impl Seen {
    async fn refused(&mut self, api: &Api, operation: &str, more: Value, exception: Exception) {
        let operation = Operation::by_name(operation).expect(operation);
        api.refused(operation.name(), least(operation, more), exception)
            .await;
        self.0.insert((operation.name(), exception.name()));
    }
}

#[tokio::test]
async fn every_declared_exception_comes_about_but_for_those_that_cannot_here() {
    let mut seen = Seen::default();
    what_does_not_exist(&mut seen).await;
    arguments(&mut seen).await;
    limits(&mut seen).await;
    states(&mut seen).await;
    what_is_not_ours(&mut seen).await;
    concurrency_and_faults(&mut seen).await;
    let declared = MODEL.operations.iter().flat_map(|(operation, shape)| {
        shape
            .errors
            .iter()
            .map(move |error| (operation.as_str(), error.as_str()))
    });
    let missing: BTreeSet<(&str, &str)> = declared.filter(|pair| !seen.0.contains(pair)).collect();
    // AddCustomRoutingEndpoints alone has a conflict of its own here: addresses of an accelerator never change, and removing is one
    // step; a member of the account may always read what it has; the service's other reasons are limits that this edge has not.
    let cannot: BTreeSet<(&str, &str)> = [
        ("UpdateAccelerator", "ConflictException"),
        ("UpdateCustomRoutingAccelerator", "ConflictException"),
        ("RemoveCustomRoutingEndpoints", "ConflictException"),
        ("UpdateListener", "LimitExceededException"),
        ("UpdateCustomRoutingListener", "LimitExceededException"),
        ("CreateCustomRoutingEndpointGroup", "AccessDeniedException"),
        ("CreateAccelerator", "AccessDeniedException"),
        ("CreateCustomRoutingAccelerator", "AccessDeniedException"),
        ("CreateCrossAccountAttachment", "AccessDeniedException"),
        ("DescribeCrossAccountAttachment", "AccessDeniedException"),
        ("ListCrossAccountAttachments", "AccessDeniedException"),
        ("UpdateCrossAccountAttachment", "AccessDeniedException"),
        ("DeleteCrossAccountAttachment", "AccessDeniedException"),
        ("ListCrossAccountResourceAccounts", "AccessDeniedException"),
        ("ListCrossAccountResources", "AccessDeniedException"),
        ("ProvisionByoipCidr", "AccessDeniedException"),
        ("AdvertiseByoipCidr", "AccessDeniedException"),
        ("WithdrawByoipCidr", "AccessDeniedException"),
        ("DeprovisionByoipCidr", "AccessDeniedException"),
        ("ListByoipCidrs", "AccessDeniedException"),
        ("RemoveCustomRoutingEndpoints", "AccessDeniedException"),
        (
            "UpdateCustomRoutingAcceleratorAttributes",
            "AccessDeniedException",
        ),
        ("CreateEndpointGroup", "AcceleratorNotFoundException"),
        (
            "CreateCustomRoutingEndpointGroup",
            "AcceleratorNotFoundException",
        ),
    ]
    .into();
    let readers = |pair: &&(&str, &str)| {
        let reads = Operation::by_name(pair.0).is_some_and(Operation::only_reads);
        // Reading touches no store that could fail.
        reads && pair.1 == "InternalServiceErrorException"
    };
    let left: Vec<_> = missing
        .difference(&cannot)
        .filter(|pair| !readers(pair))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    let surprising: Vec<_> = cannot.intersection(&seen.0).collect();
    assert!(surprising.is_empty(), "they can: {surprising:#?}");
}

async fn what_does_not_exist(seen: &mut Seen) {
    let api = Api::new();
    let by_error = [
        (
            "AcceleratorNotFoundException",
            Exception::AcceleratorNotFound,
        ),
        ("ListenerNotFoundException", Exception::ListenerNotFound),
        (
            "EndpointGroupNotFoundException",
            Exception::EndpointGroupNotFound,
        ),
        ("AttachmentNotFoundException", Exception::AttachmentNotFound),
        ("ByoipCidrNotFoundException", Exception::ByoipCidrNotFound),
    ];
    for (operation, shape) in &MODEL.operations {
        for (name, exception) in by_error {
            let needs_group = operation == "ListCustomRoutingPortMappings"
                && exception == Exception::EndpointGroupNotFound;
            let below_listener = operation.contains("CreateEndpointGroup")
                || operation.contains("CreateCustomRoutingEndpointGroup");
            if !shape.errors.iter().any(|error| error == name)
                || operation == "ListTagsForResource"
                || needs_group
            {
                continue;
            }
            if below_listener && exception == Exception::AcceleratorNotFound {
                continue;
            }
            let more = match operation.as_str() {
                "ListCrossAccountResources" => json!({ "AcceleratorArn": NOWHERE }),
                _ => json!({}),
            };
            seen.refused(&api, operation, more, exception).await;
        }
    }
    for (arn, exception) in [
        (NOWHERE.to_owned(), Exception::AcceleratorNotFound),
        (
            format!("{NOWHERE}/listener/11111111"),
            Exception::ListenerNotFound,
        ),
        (
            format!("{NOWHERE}/listener/11111111/endpoint-group/1"),
            Exception::EndpointGroupNotFound,
        ),
        (
            "arn:aws:globalaccelerator::123456789012:attachment/1".to_owned(),
            Exception::AttachmentNotFound,
        ),
    ] {
        seen.refused(
            &api,
            "ListTagsForResource",
            json!({ "ResourceArn": arn }),
            exception,
        )
        .await;
    }
    let (accelerator, _, custom_group) = api
        .custom(json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }]))
        .await;
    let group = json!({ "AcceleratorArn": accelerator, "EndpointGroupArn": format!("{NOWHERE}/listener/1/endpoint-group/1") });
    seen.refused(
        &api,
        "ListCustomRoutingPortMappings",
        group,
        Exception::EndpointGroupNotFound,
    )
    .await;
    let remove = json!({ "EndpointGroupArn": custom_group });
    seen.refused(
        &api,
        "RemoveCustomRoutingEndpoints",
        remove,
        Exception::EndpointNotFound,
    )
    .await;
    seen.refused(
        &api,
        "ListCustomRoutingPortMappingsByDestination",
        json!({}),
        Exception::EndpointNotFound,
    )
    .await;
}

async fn arguments(seen: &mut Seen) {
    let api = Api::new();
    for (operation, shape) in &MODEL.operations {
        let Some(Shape::Structure { members, .. }) =
            shape.input.as_ref().map(|name| &MODEL.shapes[name])
        else {
            continue;
        };
        let more = if members.contains_key("MaxResults") {
            json!({ "MaxResults": 20_001 })
        } else if let Some(text) = members
            .keys()
            .find(|m| m.ends_with("Arn") || *m == "Name" || *m == "Cidr")
        {
            json!({ text.as_str(): "x".repeat(2000) })
        } else {
            continue;
        };
        seen.refused(&api, operation, more, Exception::InvalidArgument)
            .await;
        if shape
            .errors
            .iter()
            .any(|error| error == "InvalidNextTokenException")
        {
            let mut more = json!({ "NextToken": "made-up" });
            let (accelerator, listener, _) = match operation.contains("CustomRouting") {
                true => {
                    let api = Api::new();
                    let (accelerator, listener, group) = api
                        .custom(json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }]))
                        .await;
                    let add = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": "subnet-1" }] });
                    api.ok("AddCustomRoutingEndpoints", add).await;
                    more.as_object_mut().expect("an object").extend([
                        ("AcceleratorArn".to_owned(), json!(accelerator)),
                        ("ListenerArn".to_owned(), json!(listener)),
                    ]);
                    seen.refused(&api, operation, more.clone(), Exception::InvalidNextToken)
                        .await;
                    continue;
                }
                false => {
                    let api = Api::new();
                    let accelerator = api.accelerator("a").await;
                    let listener = api.listener(&accelerator, 80).await;
                    more.as_object_mut().expect("an object").extend([
                        ("AcceleratorArn".to_owned(), json!(accelerator)),
                        ("ListenerArn".to_owned(), json!(listener)),
                    ]);
                    seen.refused(&api, operation, more.clone(), Exception::InvalidNextToken)
                        .await;
                    (accelerator, listener, api)
                }
            };
            let _ = (accelerator, listener);
        }
    }
}

async fn limits(seen: &mut Seen) {
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
    seen.0
        .insert(("UpdateEndpointGroup", Exception::LimitExceeded.name()));
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

async fn states(seen: &mut Seen) {
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

async fn what_is_not_ours(seen: &mut Seen) {
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

async fn concurrency_and_faults(seen: &mut Seen) {
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
