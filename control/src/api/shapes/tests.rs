//! The types against the model: every member of every operation's input and output goes through the type and comes back, and
//! the model holds nothing that the types do not know.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::model::{MODEL, Model, Shape, matches};
use crate::api::errors::Exception;
use crate::api::operations::Operation;

/// A value of a shape with every member in it.
fn full(model: &Model, name: &str) -> Value {
    match &model.shapes[name] {
        Shape::Structure { members, .. } => {
            let member = |(member, shape): (&String, &Value)| {
                (member.clone(), full(model, shape.as_str().expect("a name")))
            };
            Value::Object(members.iter().map(member).collect::<Map<String, Value>>())
        }
        Shape::List { member, .. } => json!([full(model, member)]),
        Shape::String {
            words,
            min,
            pattern,
            ..
        } => match (words.first(), pattern.as_deref()) {
            (Some(word), _) => json!(word),
            (None, Some(pattern)) => {
                let text = if matches(pattern, "/x") {
                    "/x"
                } else {
                    "123456789012"
                };
                json!(text)
            }
            (None, None) => json!("x".repeat(min.unwrap_or(1).max(1))),
        },
        Shape::Integer { min, .. } => json!(min.unwrap_or(1).max(10)),
        Shape::Float { .. } => json!(12.5),
        Shape::Boolean => json!(true),
        Shape::Timestamp => json!(1_542_394_847.5),
    }
}

fn full_or_empty(name: Option<&String>) -> Value {
    name.map_or_else(|| json!({}), |name| full(&MODEL, name))
}

#[test]
fn every_operation_of_the_model_is_there_and_no_other() {
    let ours: BTreeSet<&str> = Operation::ALL
        .iter()
        .map(|operation| operation.name())
        .collect();
    let models: BTreeSet<&str> = MODEL.operations.keys().map(String::as_str).collect();
    assert_eq!(ours, models);
    assert_eq!(ours.len(), 56);
}

#[test]
fn every_member_of_every_shape_goes_through_its_type_and_comes_back() {
    for operation in Operation::ALL {
        let shape = &MODEL.operations[operation.name()];
        let (input, output) = (
            full_or_empty(shape.input.as_ref()),
            full_or_empty(shape.output.as_ref()),
        );
        let (read_input, read_output) = operation.round_trip(input.clone(), output.clone());
        assert_eq!(read_input, Ok(input.clone()), "{} input", operation.name());
        assert_eq!(read_output, Ok(output), "{} output", operation.name());
        assert_eq!(
            operation.check(input.clone()),
            Ok(input),
            "{} checked",
            operation.name()
        );
    }
}

#[test]
fn every_word_of_every_enumeration_is_known() {
    let known = |shape: &str, word: &str| -> bool {
        use super::{accelerators, byoip, custom_routing, endpoint_groups, listeners};
        fn reads<T: serde::de::DeserializeOwned + serde::Serialize>(word: &str) -> bool {
            let value = serde_json::from_value::<T>(json!(word));
            value.is_ok_and(|value| {
                serde_json::to_value(value).is_ok_and(|value| value == json!(word))
            })
        }
        match shape {
            "AcceleratorStatus" | "CustomRoutingAcceleratorStatus" => {
                reads::<accelerators::AcceleratorStatus>(word)
            }
            "ByoipCidrState" => reads::<byoip::ByoipCidrState>(word),
            "ClientAffinity" => reads::<listeners::ClientAffinity>(word),
            "CustomRoutingDestinationTrafficState" => {
                reads::<custom_routing::CustomRoutingDestinationTrafficState>(word)
            }
            "CustomRoutingProtocol" | "Protocol" => reads::<listeners::Protocol>(word),
            "HealthCheckProtocol" => reads::<endpoint_groups::HealthCheckProtocol>(word),
            "HealthState" => reads::<endpoint_groups::HealthState>(word),
            "IpAddressFamily" => reads::<accelerators::IpAddressFamily>(word),
            "IpAddressType" => reads::<accelerators::IpAddressType>(word),
            _ => false,
        }
    };
    for (name, shape) in &MODEL.shapes {
        if let Shape::String { words, pattern, .. } = shape {
            for word in words {
                assert!(known(name, word), "{name} {word}");
            }
            if let Some(pattern) = pattern {
                matches(pattern, "");
            }
        }
    }
}

#[test]
fn every_exception_of_the_model_is_there() {
    let ours: BTreeSet<&str> = Exception::ALL
        .iter()
        .map(|exception| exception.name())
        .collect();
    let declared = MODEL
        .operations
        .values()
        .flat_map(|operation| &operation.errors);
    let declared: BTreeSet<&str> = declared.map(String::as_str).collect();
    assert!(
        declared.is_subset(&ours),
        "{:?}",
        declared.difference(&ours)
    );
    assert_eq!(declared.len(), 20);
}

#[test]
fn what_clients_do_not_check_is_refused_in_awss_words() {
    let refused = |operation: Operation, input: Value| operation.check(input).unwrap_err();
    let error = refused(Operation::ListAccelerators, json!({ "MaxResults": 1000 }));
    assert_eq!(error.exception, Exception::InvalidArgument);
    assert_eq!(
        error.message,
        "1 validation error detected: Value '1000' at 'maxResults' failed to satisfy constraint: \
         Member must have value less than or equal to 100"
    );
    let group = |more: Value| {
        let mut input =
            json!({ "ListenerArn": "a", "EndpointGroupRegion": "r", "IdempotencyToken": "t" });
        input
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        refused(Operation::CreateEndpointGroup, input).message
    };
    assert!(
        group(json!({ "HealthCheckProtocol": "ICMP" }))
            .contains("enum value set: [TCP, HTTP, HTTPS]")
    );
    assert!(group(json!({ "HealthCheckPath": "x" })).contains("at 'healthCheckPath'"));
    assert!(group(json!({ "TrafficDialPercentage": 100.5 })).contains("'trafficDialPercentage'"));
    assert!(
        group(json!({ "EndpointConfigurations": [{ "EndpointId": "a", "Weight": 256 }] }))
            .contains("Value '256' at 'endpointConfigurations.1.member.weight'")
    );
    assert!(
        group(json!({ "EndpointConfigurations": [{}] }))
            .contains("endpointConfigurations.1.member.endpointId")
    );
    let two = refused(
        Operation::CreateListener,
        json!({ "AcceleratorArn": "a", "PortRanges": [{ "FromPort": 0, "ToPort": 70000 }],
        "Protocol": "TCP", "IdempotencyToken": "t" }),
    );
    assert!(
        two.message.starts_with("2 validation errors detected"),
        "{two}"
    );
    let missing = refused(Operation::CreateAccelerator, json!({ "Name": null }));
    assert!(
        missing.message.contains("Value null at 'name'"),
        "{missing}"
    );
    assert_eq!(
        refused(Operation::CreateAccelerator, json!({ "Name": 3 })).exception,
        Exception::Serialization
    );
    assert_eq!(
        refused(Operation::CreateAccelerator, json!([])).exception,
        Exception::Serialization
    );
}

#[test]
fn unknown_members_are_ignored() {
    let input = json!({ "MaxResults": 5, "Colour": "blue" });
    assert_eq!(
        Operation::ListAccelerators.check(input),
        Ok(json!({ "MaxResults": 5 }))
    );
    assert_eq!(
        Operation::ListCrossAccountResourceAccounts.check(json!({ "x": 1 })),
        Ok(json!({}))
    );
}
