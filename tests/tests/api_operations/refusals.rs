//! What is refused: by the model, by the state that things are in, by a disk that is full, by quotas.

#![expect(
    clippy::too_many_lines,
    reason = "a story of many calls reads best in one piece"
)]

use serde_json::{Value, json};

use super::story::{NO_ATTACHMENT, NOWHERE, Teller, reads};

/// What can be made from the model alone: a text that is too long or a page that is too large, and what is not there.
pub(crate) fn what_the_model_refuses(t: &mut Teller<'_>) {
    for operation in t.model.declaring("InvalidArgumentException") {
        let longest = t.model.required[&operation]
            .iter()
            .find_map(|(member, max)| Some((member.clone(), (*max)?)));
        let wrong = match longest {
            Some((member, max)) => json!({ member: "x".repeat(max + 1) }),
            None => json!({ "MaxResults": 1000 }),
        };
        t.refused(&operation, wrong, "InvalidArgumentException");
    }
    // Parents go before children: an operation that names a listener of no accelerator has no listener.
    let named = [
        (
            "AcceleratorNotFoundException",
            &["AcceleratorArn", "ResourceArn"][..],
        ),
        ("ListenerNotFoundException", &["ListenerArn"]),
        ("EndpointGroupNotFoundException", &["EndpointGroupArn"]),
        ("AttachmentNotFoundException", &["AttachmentArn"]),
        ("ByoipCidrNotFoundException", &["Cidr"]),
    ];
    for (error, members) in named {
        for operation in t.model.declaring(error) {
            let required = &t.model.required[&operation];
            if required
                .iter()
                .any(|(name, _)| members.contains(&name.as_str()))
            {
                t.refused(&operation, json!({}), error);
            }
        }
    }
    let nowhere = json!({ "AcceleratorArn": NOWHERE });
    t.refused(
        "ListCrossAccountResources",
        nowhere,
        "AcceleratorNotFoundException",
    );
    let no_group = format!("{NOWHERE}/listener/11111111/endpoint-group/111111111111");
    let mappings = json!({ "AcceleratorArn": "$custom", "EndpointGroupArn": no_group.clone() });
    t.refused(
        "ListCustomRoutingPortMappings",
        mappings,
        "EndpointGroupNotFoundException",
    );
    for (arn, error) in [
        (
            format!("{NOWHERE}/listener/11111111"),
            "ListenerNotFoundException",
        ),
        (no_group, "EndpointGroupNotFoundException"),
        (NO_ATTACHMENT.to_owned(), "AttachmentNotFoundException"),
    ] {
        t.refused("ListTagsForResource", json!({ "ResourceArn": arn }), error);
    }
    for operation in t.model.declaring("InvalidNextTokenException") {
        let of = match operation.contains("CustomRouting") {
            true => json!({ "AcceleratorArn": "$custom", "ListenerArn": "$custom_listener" }),
            false => json!({ "AcceleratorArn": "$accelerator", "ListenerArn": "$listener" }),
        };
        let required: Vec<String> = t.model.required[&operation]
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let mut more = json!({ "NextToken": "made-up" });
        for (member, arn) in of.as_object().expect("an object") {
            if required.contains(member) {
                more[member] = arn.clone();
            }
        }
        t.refused(&operation, more, "InvalidNextTokenException");
    }
}

pub(crate) fn states(t: &mut Teller<'_>) {
    not_ours(t);
    t.refused(
        "DeleteAccelerator",
        json!({ "AcceleratorArn": "$accelerator" }),
        "AcceleratorNotDisabledException",
    );
    t.refused(
        "DeleteCustomRoutingAccelerator",
        json!({ "AcceleratorArn": "$custom" }),
        "AcceleratorNotDisabledException",
    );
    let turn = |arn: &str, on: bool| json!({ "AcceleratorArn": arn, "Enabled": on });
    t.setup("UpdateAccelerator", turn("$accelerator", false));
    t.setup("UpdateCustomRoutingAccelerator", turn("$custom", false));
    t.refused(
        "DeleteAccelerator",
        json!({ "AcceleratorArn": "$accelerator" }),
        "AssociatedListenerFoundException",
    );
    t.refused(
        "DeleteCustomRoutingAccelerator",
        json!({ "AcceleratorArn": "$custom" }),
        "AssociatedListenerFoundException",
    );
    t.setup("UpdateAccelerator", turn("$accelerator", true));
    t.setup("UpdateCustomRoutingAccelerator", turn("$custom", true));
    t.refused(
        "DeleteListener",
        json!({ "ListenerArn": "$listener" }),
        "AssociatedEndpointGroupFoundException",
    );
    t.refused(
        "DeleteCustomRoutingListener",
        json!({ "ListenerArn": "$custom_listener" }),
        "AssociatedEndpointGroupFoundException",
    );
    let there =
        |listener: &str| json!({ "ListenerArn": listener, "EndpointGroupRegion": "us-east-1" });
    t.refused(
        "CreateEndpointGroup",
        there("$listener"),
        "EndpointGroupAlreadyExistsException",
    );
    t.refused(
        "CreateCustomRoutingEndpointGroup",
        there("$custom_listener"),
        "EndpointGroupAlreadyExistsException",
    );
    let ports = |from: u16, to: u16| json!([{ "FromPort": from, "ToPort": to }]);
    let range = "InvalidPortRangeException";
    t.refused(
        "CreateListener",
        json!({ "AcceleratorArn": "$accelerator", "PortRanges": ports(20080, 20090) }),
        range,
    );
    t.refused(
        "UpdateListener",
        json!({ "ListenerArn": "$listener", "PortRanges": ports(20090, 20080) }),
        range,
    );
    t.refused(
        "CreateCustomRoutingListener",
        json!({ "AcceleratorArn": "$custom", "PortRanges": ports(21400, 21700) }),
        range,
    );
    t.refused(
        "UpdateCustomRoutingListener",
        json!({ "ListenerArn": "$custom_listener", "PortRanges": ports(21000, 21100) }),
        range,
    );
    let backwards = json!([{ "FromPort": 2, "ToPort": 1, "Protocols": ["TCP"] }]);
    t.refused(
        "CreateCustomRoutingEndpointGroup",
        json!({ "ListenerArn": "$custom_listener", "DestinationConfigurations": backwards }),
        range,
    );
    let with = |id: &str| json!({ "EndpointGroupArn": "$custom_group", "EndpointConfigurations": [{ "EndpointId": id }] });
    t.refused(
        "AddCustomRoutingEndpoints",
        with("subnet-1"),
        "EndpointAlreadyExistsException",
    );
    t.refused(
        "AddCustomRoutingEndpoints",
        with("10.1.0.0/27"),
        "ConflictException",
    );
    t.refused(
        "RemoveCustomRoutingEndpoints",
        json!({ "EndpointGroupArn": "$custom_group" }),
        "EndpointNotFoundException",
    );
    t.refused(
        "ListCustomRoutingPortMappingsByDestination",
        json!({ "EndpointId": "subnet-9" }),
        "EndpointNotFoundException",
    );
    let (ready, advertised) = (
        json!({ "Cidr": "198.51.100.0/24" }),
        json!({ "Cidr": "203.0.113.0/24" }),
    );
    t.refused(
        "ProvisionByoipCidr",
        ready.clone(),
        "IncorrectCidrStateException",
    );
    t.refused("WithdrawByoipCidr", ready, "IncorrectCidrStateException");
    t.refused(
        "AdvertiseByoipCidr",
        advertised.clone(),
        "IncorrectCidrStateException",
    );
    t.refused(
        "DeprovisionByoipCidr",
        advertised,
        "IncorrectCidrStateException",
    );
}

fn not_ours(t: &mut Teller<'_>) {
    let denied = "AccessDeniedException";
    for operation in ["UpdateAccelerator", "UpdateAcceleratorAttributes"] {
        t.refused(operation, json!({ "AcceleratorArn": "$filed" }), denied);
    }
    t.refused(
        "CreateEndpointGroup",
        json!({ "ListenerArn": "$filed_listener" }),
        denied,
    );
    for operation in ["UpdateEndpointGroup", "AddEndpoints", "RemoveEndpoints"] {
        t.refused(
            operation,
            json!({ "EndpointGroupArn": "$filed_group" }),
            denied,
        );
    }
    let with = json!([{ "EndpointId": "10.5.0.0/28", "AttachmentArn": NO_ATTACHMENT }]);
    t.refused(
        "AddCustomRoutingEndpoints",
        json!({ "EndpointGroupArn": "$custom_group", "EndpointConfigurations": with }),
        denied,
    );
}

/// Every change, each of which would be taken if it could be kept.
pub(crate) fn full_disk(t: &mut Teller<'_>) {
    let ports = |from: u16, to: u16| json!([{ "FromPort": from, "ToPort": to }]);
    let group = |more: Value| {
        let mut input = json!({ "EndpointGroupArn": "$group" });
        input
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        input
    };
    let custom_group = |more: Value| {
        let mut input = group(more);
        input["EndpointGroupArn"] = json!("$custom_group");
        input
    };
    let names: Vec<String> = t
        .model
        .errors
        .keys()
        .filter(|name| !reads(name))
        .cloned()
        .collect();
    for operation in names {
        let fine = match operation.as_str() {
            "UpdateAccelerator" | "UpdateAcceleratorAttributes" => {
                json!({ "AcceleratorArn": "$accelerator" })
            }
            "UpdateCustomRoutingAccelerator" | "UpdateCustomRoutingAcceleratorAttributes" => {
                json!({ "AcceleratorArn": "$custom" })
            }
            "DeleteAccelerator" => json!({ "AcceleratorArn": "$off" }),
            "DeleteCustomRoutingAccelerator" => json!({ "AcceleratorArn": "$custom_off" }),
            "CreateListener" => {
                json!({ "AcceleratorArn": "$accelerator", "PortRanges": ports(20500, 20500) })
            }
            "CreateCustomRoutingListener" => {
                json!({ "AcceleratorArn": "$custom", "PortRanges": ports(25000, 25100) })
            }
            "UpdateListener" | "CreateEndpointGroup" => json!({ "ListenerArn": "$listener" }),
            "UpdateCustomRoutingListener" => {
                json!({ "ListenerArn": "$custom_listener", "PortRanges": ports(21000, 21700) })
            }
            "CreateCustomRoutingEndpointGroup" => json!({ "ListenerArn": "$custom_listener" }),
            "DeleteListener" => json!({ "ListenerArn": "$empty" }),
            "DeleteCustomRoutingListener" => json!({ "ListenerArn": "$custom_empty" }),
            "UpdateEndpointGroup" | "DeleteEndpointGroup" | "RemoveEndpoints" => group(json!({})),
            "AddEndpoints" => {
                group(json!({ "EndpointConfigurations": [{ "EndpointId": "127.0.0.3:9" }] }))
            }
            "DeleteCustomRoutingEndpointGroup" => custom_group(json!({})),
            "AddCustomRoutingEndpoints" => {
                custom_group(json!({ "EndpointConfigurations": [{ "EndpointId": "10.3.0.0/28" }] }))
            }
            "RemoveCustomRoutingEndpoints" => custom_group(json!({ "EndpointIds": ["subnet-1"] })),
            "AllowCustomRoutingTraffic" => {
                custom_group(json!({ "AllowAllTrafficToEndpoint": true }))
            }
            "DenyCustomRoutingTraffic" => custom_group(json!({ "DenyAllTrafficToEndpoint": true })),
            "TagResource" | "UntagResource" => json!({ "ResourceArn": "$accelerator" }),
            "UpdateCrossAccountAttachment" | "DeleteCrossAccountAttachment" => {
                json!({ "AttachmentArn": "$attachment" })
            }
            "AdvertiseByoipCidr" | "DeprovisionByoipCidr" => json!({ "Cidr": "198.51.100.0/24" }),
            "WithdrawByoipCidr" => json!({ "Cidr": "203.0.113.0/24" }),
            _ => json!({}),
        };
        t.refused(&operation, fine, "InternalServiceErrorException");
    }
}

/// The disk works again. Quotas come last: nothing can be made behind them.
pub(crate) fn limits(t: &mut Teller<'_>) {
    let limit = "LimitExceededException";
    t.ok("WithdrawByoipCidr", json!({ "Cidr": "203.0.113.0/24" }));
    for number in 0..18 {
        t.setup(
            "CreateAccelerator",
            json!({ "Name": format!("a{number}"), "Enabled": false }),
        );
    }
    t.refused("CreateAccelerator", json!({}), limit);
    for number in 0..8 {
        t.setup(
            "CreateCustomRoutingAccelerator",
            json!({ "Name": format!("c{number}"), "Enabled": false }),
        );
    }
    t.refused("CreateCustomRoutingAccelerator", json!({}), limit);
    for number in 0..8u16 {
        let ports = json!([{ "FromPort": 20100 + number, "ToPort": 20100 + number }]);
        t.setup(
            "CreateListener",
            json!({ "AcceleratorArn": "$accelerator", "PortRanges": ports }),
        );
        let from = 23000 + 100 * number;
        let ports = json!([{ "FromPort": from, "ToPort": from + 50 }]);
        t.setup(
            "CreateCustomRoutingListener",
            json!({ "AcceleratorArn": "$custom", "PortRanges": ports }),
        );
    }
    t.refused(
        "CreateListener",
        json!({ "AcceleratorArn": "$accelerator" }),
        limit,
    );
    t.refused(
        "CreateCustomRoutingListener",
        json!({ "AcceleratorArn": "$custom" }),
        limit,
    );
    for number in 0..41 {
        let region = format!("r{number}");
        t.setup(
            "CreateEndpointGroup",
            json!({ "ListenerArn": "$listener", "EndpointGroupRegion": region }),
        );
        t.setup(
            "CreateCustomRoutingEndpointGroup",
            json!({ "ListenerArn": "$custom_listener", "EndpointGroupRegion": region }),
        );
    }
    t.refused(
        "CreateEndpointGroup",
        json!({ "ListenerArn": "$listener" }),
        limit,
    );
    t.refused(
        "CreateCustomRoutingEndpointGroup",
        json!({ "ListenerArn": "$custom_listener" }),
        limit,
    );
    let nine: Vec<Value> = (0..9)
        .map(|n| json!({ "EndpointId": format!("127.0.1.{n}:9") }))
        .collect();
    t.setup(
        "AddEndpoints",
        json!({ "EndpointGroupArn": "$group", "EndpointConfigurations": nine }),
    );
    let one = json!([{ "EndpointId": "127.0.2.1:9" }]);
    t.refused(
        "AddEndpoints",
        json!({ "EndpointGroupArn": "$group", "EndpointConfigurations": one }),
        limit,
    );
    let huge = json!([{ "EndpointId": "10.64.0.0/17" }]);
    t.refused(
        "AddCustomRoutingEndpoints",
        json!({ "EndpointGroupArn": "$custom_group", "EndpointConfigurations": huge }),
        limit,
    );
    for _ in 0..9 {
        t.setup("CreateCrossAccountAttachment", json!({}));
    }
    t.refused("CreateCrossAccountAttachment", json!({}), limit);
    let eleven: Vec<String> = (0..11).map(|n| format!("{n:012}")).collect();
    t.refused(
        "UpdateCrossAccountAttachment",
        json!({ "AttachmentArn": "$attachment", "AddPrincipals": eleven }),
        limit,
    );
    for number in 0..30 {
        t.setup(
            "ProvisionByoipCidr",
            json!({ "Cidr": format!("198.18.{number}.0/24") }),
        );
    }
    t.refused(
        "ProvisionByoipCidr",
        json!({ "Cidr": "198.18.200.0/24" }),
        limit,
    );
}
