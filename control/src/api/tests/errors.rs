//! Every exception that the model declares for an operation, brought about.

mod limits;
mod states;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fake::Api;
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
    limits::limits(&mut seen).await;
    states::states(&mut seen).await;
    states::what_is_not_ours(&mut seen).await;
    states::concurrency_and_faults(&mut seen).await;
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
        ("UpdateEndpointGroup", "LimitExceededException"),
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
