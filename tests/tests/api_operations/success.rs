//! What goes well: each operation, with what the chapters behind it need.

#![expect(
    clippy::too_many_lines,
    reason = "a story of many calls reads best in one piece"
)]

use serde_json::json;

use super::story::Teller;

pub(crate) fn success(t: &mut Teller<'_>) {
    t.setup("ListAccelerators", json!({}))
        .keep("filed", "/Accelerators/0/AcceleratorArn");
    t.setup("ListListeners", json!({ "AcceleratorArn": "$filed" }))
        .keep("filed_listener", "/Listeners/0/ListenerArn");
    t.setup(
        "ListEndpointGroups",
        json!({ "ListenerArn": "$filed_listener" }),
    )
    .keep("filed_group", "/EndpointGroups/0/EndpointGroupArn");
    standard(t);
    custom_routing(t);
    let resources = json!([{ "EndpointId": "127.0.0.1", "Region": "us-east-1" }]);
    let shared = json!({ "Name": "shared", "Principals": ["000000000000"], "Resources": resources, "Tags": [{ "Key": "a", "Value": "b" }] });
    t.ok("CreateCrossAccountAttachment", shared)
        .keep("attachment", "/CrossAccountAttachment/AttachmentArn");
    t.ok(
        "DescribeCrossAccountAttachment",
        json!({ "AttachmentArn": "$attachment" }),
    );
    t.ok("ListCrossAccountAttachments", json!({ "MaxResults": 5 }));
    let more = json!([{ "Cidr": "203.0.113.0/24" }]);
    let update = json!({ "AttachmentArn": "$attachment", "Name": "renamed", "AddPrincipals": ["111111111111"], "AddResources": more.clone() });
    t.ok("UpdateCrossAccountAttachment", update);
    let back = json!({ "AttachmentArn": "$attachment", "RemovePrincipals": ["111111111111"], "RemoveResources": more });
    t.ok("UpdateCrossAccountAttachment", back);
    t.ok("ListCrossAccountResourceAccounts", json!({}));
    t.ok("ListCrossAccountResources", json!({}));
    t.setup("CreateCrossAccountAttachment", json!({}))
        .keep("gone", "/CrossAccountAttachment/AttachmentArn");
    t.ok(
        "DeleteCrossAccountAttachment",
        json!({ "AttachmentArn": "$gone" }),
    );
    t.ok("ProvisionByoipCidr", json!({ "Cidr": "203.0.113.0/24" }));
    t.ok("AdvertiseByoipCidr", json!({ "Cidr": "203.0.113.0/24" }));
    t.ok("ListByoipCidrs", json!({ "MaxResults": 5 }));
    t.setup("ProvisionByoipCidr", json!({ "Cidr": "198.51.100.0/24" }));
    t.setup("ProvisionByoipCidr", json!({ "Cidr": "198.18.250.0/24" }));
    t.ok("DeprovisionByoipCidr", json!({ "Cidr": "198.18.250.0/24" }));
}

fn standard(t: &mut Teller<'_>) {
    let create = json!({ "Name": "judged", "IpAddressType": "IPV4", "Enabled": true, "Tags": [{ "Key": "a", "Value": "b" }] });
    t.ok("CreateAccelerator", create)
        .keep("accelerator", "/Accelerator/AcceleratorArn");
    let it = || json!({ "AcceleratorArn": "$accelerator" });
    t.ok("DescribeAccelerator", it());
    t.ok("ListAccelerators", json!({ "MaxResults": 5 }));
    t.ok(
        "UpdateAccelerator",
        json!({ "AcceleratorArn": "$accelerator", "Name": "judged-2", "Enabled": true }),
    );
    t.ok("DescribeAcceleratorAttributes", it());
    let logs = json!({ "AcceleratorArn": "$accelerator", "FlowLogsEnabled": true, "FlowLogsS3Bucket": "b", "FlowLogsS3Prefix": "p" });
    t.ok("UpdateAcceleratorAttributes", logs);
    let create = json!({ "AcceleratorArn": "$accelerator", "PortRanges": [{ "FromPort": 20080, "ToPort": 20080 }], "ClientAffinity": "SOURCE_IP" });
    t.ok("CreateListener", create)
        .keep("listener", "/Listener/ListenerArn");
    t.ok("DescribeListener", json!({ "ListenerArn": "$listener" }));
    t.ok(
        "ListListeners",
        json!({ "AcceleratorArn": "$accelerator", "MaxResults": 5 }),
    );
    t.ok(
        "UpdateListener",
        json!({ "ListenerArn": "$listener", "ClientAffinity": "NONE" }),
    );
    let endpoints =
        json!([{ "EndpointId": "127.0.0.1:9", "Weight": 1, "ClientIPPreservationEnabled": false }]);
    let create = json!({ "ListenerArn": "$listener", "EndpointGroupRegion": "us-east-1", "EndpointConfigurations": endpoints,
        "TrafficDialPercentage": 50.0, "HealthCheckPort": 9, "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/", "HealthCheckIntervalSeconds": 10,
        "ThresholdCount": 1, "PortOverrides": [{ "ListenerPort": 20080, "EndpointPort": 9 }] });
    t.ok("CreateEndpointGroup", create)
        .keep("group", "/EndpointGroup/EndpointGroupArn");
    t.ok(
        "DescribeEndpointGroup",
        json!({ "EndpointGroupArn": "$group" }),
    );
    t.ok(
        "ListEndpointGroups",
        json!({ "ListenerArn": "$listener", "MaxResults": 5 }),
    );
    t.ok(
        "UpdateEndpointGroup",
        json!({ "EndpointGroupArn": "$group", "TrafficDialPercentage": 100.0 }),
    );
    t.ok("AddEndpoints", json!({ "EndpointGroupArn": "$group", "EndpointConfigurations": [{ "EndpointId": "127.0.0.2:9" }] }));
    t.ok("RemoveEndpoints", json!({ "EndpointGroupArn": "$group", "EndpointIdentifiers": [{ "EndpointId": "127.0.0.2:9" }] }));
    t.ok("TagResource", json!({ "ResourceArn": "$group" }));
    t.ok("ListTagsForResource", json!({ "ResourceArn": "$group" }));
    t.ok(
        "UntagResource",
        json!({ "ResourceArn": "$group", "TagKeys": ["a"] }),
    );
    let second = json!({ "ListenerArn": "$listener", "EndpointGroupRegion": "eu-west-1" });
    t.setup("CreateEndpointGroup", second)
        .keep("gone", "/EndpointGroup/EndpointGroupArn");
    t.ok(
        "DeleteEndpointGroup",
        json!({ "EndpointGroupArn": "$gone" }),
    );
    let on = |port: u16| json!({ "AcceleratorArn": "$accelerator", "PortRanges": [{ "FromPort": port, "ToPort": port }] });
    t.setup("CreateListener", on(20081))
        .keep("gone", "/Listener/ListenerArn");
    t.ok("DeleteListener", json!({ "ListenerArn": "$gone" }));
    t.setup("CreateListener", on(20082))
        .keep("empty", "/Listener/ListenerArn");
    let off = || json!({ "Name": "off", "Enabled": false });
    t.setup("CreateAccelerator", off())
        .keep("gone", "/Accelerator/AcceleratorArn");
    t.ok("DeleteAccelerator", json!({ "AcceleratorArn": "$gone" }));
    t.setup("CreateAccelerator", off())
        .keep("off", "/Accelerator/AcceleratorArn");
}

fn custom_routing(t: &mut Teller<'_>) {
    let create = json!({ "Name": "games", "IpAddressType": "IPV4", "Enabled": true, "Tags": [{ "Key": "a", "Value": "b" }] });
    t.ok("CreateCustomRoutingAccelerator", create)
        .keep("custom", "/Accelerator/AcceleratorArn");
    t.ok(
        "DescribeCustomRoutingAccelerator",
        json!({ "AcceleratorArn": "$custom" }),
    );
    t.ok("ListCustomRoutingAccelerators", json!({ "MaxResults": 5 }));
    t.ok(
        "UpdateCustomRoutingAccelerator",
        json!({ "AcceleratorArn": "$custom", "Name": "games-2", "Enabled": true }),
    );
    t.ok(
        "DescribeCustomRoutingAcceleratorAttributes",
        json!({ "AcceleratorArn": "$custom" }),
    );
    t.ok(
        "UpdateCustomRoutingAcceleratorAttributes",
        json!({ "AcceleratorArn": "$custom", "FlowLogsEnabled": false }),
    );
    let ports = |from: u16, to: u16| json!([{ "FromPort": from, "ToPort": to }]);
    t.ok(
        "CreateCustomRoutingListener",
        json!({ "AcceleratorArn": "$custom", "PortRanges": ports(21000, 21500) }),
    )
    .keep("custom_listener", "/Listener/ListenerArn");
    t.ok(
        "DescribeCustomRoutingListener",
        json!({ "ListenerArn": "$custom_listener" }),
    );
    t.ok(
        "ListCustomRoutingListeners",
        json!({ "AcceleratorArn": "$custom", "MaxResults": 5 }),
    );
    t.ok(
        "UpdateCustomRoutingListener",
        json!({ "ListenerArn": "$custom_listener", "PortRanges": ports(21000, 21600) }),
    );
    let destinations = json!([{ "FromPort": 80, "ToPort": 81, "Protocols": ["TCP", "UDP"] }]);
    let create = json!({ "ListenerArn": "$custom_listener", "EndpointGroupRegion": "us-east-1", "DestinationConfigurations": destinations });
    t.ok("CreateCustomRoutingEndpointGroup", create)
        .keep("custom_group", "/EndpointGroup/EndpointGroupArn");
    t.ok(
        "DescribeCustomRoutingEndpointGroup",
        json!({ "EndpointGroupArn": "$custom_group" }),
    );
    t.ok(
        "ListCustomRoutingEndpointGroups",
        json!({ "ListenerArn": "$custom_listener", "MaxResults": 5 }),
    );
    let with = |id: &str| json!({ "EndpointGroupArn": "$custom_group", "EndpointConfigurations": [{ "EndpointId": id }] });
    t.ok("AddCustomRoutingEndpoints", with("subnet-1"));
    let some = || json!({ "EndpointGroupArn": "$custom_group", "DestinationAddresses": ["10.1.0.5"], "DestinationPorts": [80] });
    t.ok("AllowCustomRoutingTraffic", some());
    t.ok("DenyCustomRoutingTraffic", some());
    let all = json!({ "AcceleratorArn": "$custom", "EndpointGroupArn": "$custom_group", "MaxResults": 20000 });
    t.ok("ListCustomRoutingPortMappings", all);
    t.ok(
        "ListCustomRoutingPortMappingsByDestination",
        json!({ "MaxResults": 20000 }),
    );
    t.setup("AddCustomRoutingEndpoints", with("10.2.0.0/28"));
    t.ok(
        "RemoveCustomRoutingEndpoints",
        json!({ "EndpointGroupArn": "$custom_group", "EndpointIds": ["10.2.0.0/28"] }),
    );
    let second = json!({ "ListenerArn": "$custom_listener", "EndpointGroupRegion": "eu-west-1" });
    t.setup("CreateCustomRoutingEndpointGroup", second)
        .keep("gone", "/EndpointGroup/EndpointGroupArn");
    t.ok(
        "DeleteCustomRoutingEndpointGroup",
        json!({ "EndpointGroupArn": "$gone" }),
    );
    let on =
        |from: u16| json!({ "AcceleratorArn": "$custom", "PortRanges": ports(from, from + 50) });
    t.setup("CreateCustomRoutingListener", on(22000))
        .keep("gone", "/Listener/ListenerArn");
    t.ok(
        "DeleteCustomRoutingListener",
        json!({ "ListenerArn": "$gone" }),
    );
    t.setup("CreateCustomRoutingListener", on(22100))
        .keep("custom_empty", "/Listener/ListenerArn");
    let off = || json!({ "Name": "off", "Enabled": false });
    t.setup("CreateCustomRoutingAccelerator", off())
        .keep("gone", "/Accelerator/AcceleratorArn");
    t.ok(
        "DeleteCustomRoutingAccelerator",
        json!({ "AcceleratorArn": "$gone" }),
    );
    t.setup("CreateCustomRoutingAccelerator", off())
        .keep("custom_off", "/Accelerator/AcceleratorArn");
}
