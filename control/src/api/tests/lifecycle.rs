//! What the operations do, one after another, as clients use them.

use std::net::IpAddr;

use portolan_config::model::Source;
use serde_json::{Value, json};

use super::fake::{Api, text};
use crate::api::errors::Exception;

#[tokio::test]
async fn an_accelerator_lives_from_create_to_delete() {
    let api = Api::new();
    let made = api
        .ok(
            "CreateAccelerator",
            json!({ "Name": "MyAppGA", "Enabled": true, "IdempotencyToken": "t" }),
        )
        .await;
    let made = &made["Accelerator"];
    assert_eq!(made["Status"], "IN_PROGRESS");
    assert_eq!(made["IpAddressType"], "IPV4");
    assert_eq!(
        made["IpSets"][0]["IpAddresses"],
        json!(["192.0.2.1", "192.0.2.2"])
    );
    assert_eq!(made["IpSets"][0]["IpFamily"], "IPv4");
    let dns = text(&made["DnsName"]);
    let label = dns
        .strip_suffix(".awsglobalaccelerator.com")
        .expect("the zone");
    assert!(
        label.len() == 17
            && label.starts_with('a')
            && label[1..].bytes().all(|b| b.is_ascii_hexdigit()),
        "{dns}"
    );
    assert!(made["CreatedTime"].is_f64());

    let arn = json!({ "AcceleratorArn": made["AcceleratorArn"] });
    assert_eq!(
        api.ok("DescribeAccelerator", arn.clone()).await["Accelerator"]["Status"],
        "IN_PROGRESS"
    );
    let served = api.serve();
    assert_eq!((served.len(), served[0].name.as_str()), (1, "MyAppGA"));
    assert_eq!(
        api.ok("DescribeAccelerator", arn.clone()).await["Accelerator"]["Status"],
        "DEPLOYED"
    );

    api.refused(
        "DeleteAccelerator",
        arn.clone(),
        Exception::AcceleratorNotDisabled,
    )
    .await;
    let accelerator = text(&made["AcceleratorArn"]);
    let listener = api.listener(&accelerator, 80).await;
    assert_eq!(
        api.ok("DescribeAccelerator", arn.clone()).await["Accelerator"]["Status"],
        "IN_PROGRESS",
        "a change below"
    );
    api.ok(
        "UpdateAccelerator",
        json!({ "AcceleratorArn": accelerator, "Enabled": false }),
    )
    .await;
    assert!(!api.serve()[0].enabled);
    api.refused(
        "DeleteAccelerator",
        arn.clone(),
        Exception::AssociatedListenerFound,
    )
    .await;
    let group = api.group(&listener, "us-east-1", json!([])).await;
    let listener = json!({ "ListenerArn": listener });
    api.refused(
        "DeleteListener",
        listener.clone(),
        Exception::AssociatedEndpointGroupFound,
    )
    .await;
    assert_eq!(
        api.ok("DeleteEndpointGroup", json!({ "EndpointGroupArn": group }))
            .await,
        json!({})
    );
    assert_eq!(api.ok("DeleteListener", listener.clone()).await, json!({}));
    assert_eq!(api.ok("DeleteAccelerator", arn.clone()).await, json!({}));
    api.refused("DescribeAccelerator", arn, Exception::AcceleratorNotFound)
        .await;
    api.refused("DescribeListener", listener, Exception::ListenerNotFound)
        .await;
    assert!(api.serve().is_empty());
}

#[tokio::test]
async fn a_group_begins_with_the_services_defaults() {
    let api = Api::new();
    let listener = api.listener(&api.accelerator("a").await, 8080).await;
    let input = json!({ "ListenerArn": listener, "EndpointGroupRegion": "us-east-1", "IdempotencyToken": "t" });
    let mut group = api.ok("CreateEndpointGroup", input).await["EndpointGroup"].clone();
    let arn = text(
        &group
            .as_object_mut()
            .expect("an object")
            .remove("EndpointGroupArn")
            .expect("an ARN"),
    );
    assert!(arn.starts_with(&format!("{listener}/endpoint-group/")));
    let expected = json!({ "EndpointGroupRegion": "us-east-1", "EndpointDescriptions": [], "TrafficDialPercentage": 100.0,
        "HealthCheckPort": 8080, "HealthCheckProtocol": "TCP", "HealthCheckIntervalSeconds": 30, "ThresholdCount": 3,
        "PortOverrides": [] });
    assert_eq!(group, expected);

    let update = json!({ "EndpointGroupArn": arn, "HealthCheckProtocol": "HTTP", "TrafficDialPercentage": 12.5 });
    let group = &api.ok("UpdateEndpointGroup", update).await["EndpointGroup"];
    assert_eq!(
        (&group["HealthCheckPath"], &group["TrafficDialPercentage"]),
        (&json!("/"), &json!(12.5))
    );
    let update = json!({ "EndpointGroupArn": arn, "HealthCheckProtocol": "TCP" });
    let group = &api.ok("UpdateEndpointGroup", update).await["EndpointGroup"];
    assert!(group.get("HealthCheckPath").is_none());
}

#[tokio::test]
async fn endpoints_are_replaced_added_and_removed_and_show_their_health() {
    let api = Api::new();
    let listener = api.listener(&api.accelerator("a").await, 80).await;
    let group = api
        .group(
            &listener,
            "us-east-1",
            json!([{ "EndpointId": "10.0.0.1" }]),
        )
        .await;
    let added = api
        .ok("AddEndpoints", json!({ "EndpointGroupArn": group, "EndpointConfigurations": [
            { "EndpointId": "10.0.0.2", "Weight": 0 },
            { "EndpointId": "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/50dc6c495c0c9188" }] }))
        .await;
    let states = |descriptions: &Value| -> Vec<(String, String)> {
        let all = descriptions.as_array().expect("a list").iter();
        all.map(|d| (text(&d["HealthState"]), d["Weight"].to_string()))
            .collect()
    };
    let two = [
        ("UNHEALTHY".to_owned(), "0".to_owned()),
        ("INITIAL".to_owned(), "128".to_owned()),
    ];
    assert_eq!(states(&added["EndpointDescriptions"]), two);
    assert!(text(&added["EndpointDescriptions"][0]["HealthReason"]).contains("connection refused"));
    let served = api.serve();
    let endpoints = &served[0].listeners[0].endpoint_groups[0].endpoints;
    assert_eq!(endpoints.len(), 3);
    assert_eq!(endpoints[2].port, Some(8080), "the alias names it");

    let remove =
        json!({ "EndpointGroupArn": group, "EndpointIdentifiers": [{ "EndpointId": "10.0.0.2" }] });
    api.ok("RemoveEndpoints", remove.clone()).await;
    api.refused("RemoveEndpoints", remove, Exception::InvalidArgument)
        .await;
    let update = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [] });
    let cleared = api.ok("UpdateEndpointGroup", update).await;
    assert_eq!(cleared["EndpointGroup"]["EndpointDescriptions"], json!([]));
    let update = json!({ "EndpointGroupArn": group, "ThresholdCount": 5 });
    assert_eq!(
        api.ok("UpdateEndpointGroup", update).await["EndpointGroup"]["ThresholdCount"],
        5
    );
}

#[tokio::test]
async fn the_same_resource_may_stand_twice_with_and_without_its_clients_address() {
    let api = Api::new();
    let listener = api.listener(&api.accelerator("a").await, 80).await;
    let twice = json!([{ "EndpointId": "10.0.0.1" }, { "EndpointId": "10.0.0.1", "ClientIPPreservationEnabled": true }]);
    let group = api.group(&listener, "us-east-1", twice).await;
    assert_eq!(
        api.serve()[0].listeners[0].endpoint_groups[0]
            .endpoints
            .len(),
        2
    );
    let one = json!([{ "EndpointId": "10.0.0.1", "ClientIPPreservationEnabled": true }]);
    api.ok(
        "RemoveEndpoints",
        json!({ "EndpointGroupArn": group, "EndpointIdentifiers": one }),
    )
    .await;
    let left = api
        .ok(
            "DescribeEndpointGroup",
            json!({ "EndpointGroupArn": group }),
        )
        .await;
    let left = &left["EndpointGroup"]["EndpointDescriptions"];
    assert_eq!(
        (
            left.as_array().map(Vec::len),
            &left[0]["ClientIPPreservationEnabled"]
        ),
        (Some(1), &json!(false))
    );
}

#[tokio::test]
async fn a_repeated_create_makes_nothing_and_answers_the_same() {
    let api = Api::new();
    let input = json!({ "Name": "a", "IdempotencyToken": "same" });
    let first = api.ok("CreateAccelerator", input.clone()).await;
    assert_eq!(api.ok("CreateAccelerator", input.clone()).await, first);
    let restarted = Api::over(api.store.clone());
    assert_eq!(
        restarted.ok("CreateAccelerator", input).await,
        first,
        "after a restart, too"
    );
    restarted
        .refused(
            "CreateAccelerator",
            json!({ "Name": "b", "IdempotencyToken": "same" }),
            Exception::InvalidArgument,
        )
        .await;
    let all = restarted.ok("ListAccelerators", json!({})).await;
    assert_eq!(
        all["Accelerators"].as_array().map(Vec::len),
        Some(2),
        "one, and the file's"
    );
}

#[tokio::test]
async fn addresses_that_another_source_has_taken_are_not_given_and_ours_are_entered_at_once() {
    let api = Api::new();
    let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
    // Taken a moment ago, and in no configuration yet.
    api.ledger
        .claim(Source::Aws, [ip(1), ip(3)])
        .expect("nobody has them");
    let arn = api.accelerator("shop").await;
    let served = api.serve();
    assert_eq!(served[0].addresses, [ip(2), ip(4)]);
    let ours = api.ledger.of_others(Source::Aws);
    assert_eq!(ours, [ip(2), ip(4)].into(), "before anybody serves them");
    assert_eq!(api.ledger.claim(Source::Aws, [ip(4)]), Err(ip(4)));

    let restarted = Api::over(api.store.clone());
    assert_eq!(restarted.ledger.of_others(Source::Aws), ours);
    let disabled = json!({ "AcceleratorArn": arn, "Enabled": false });
    api.ok("UpdateAccelerator", disabled).await;
    api.serve();
    api.ok("DeleteAccelerator", json!({ "AcceleratorArn": arn }))
        .await;
    assert!(api.ledger.of_others(Source::Aws).is_empty(), "given back");
}

#[tokio::test]
async fn dual_stack_keeps_its_ipv6_addresses_over_a_time_without() {
    let api = Api::new();
    let made = api
        .ok(
            "CreateAccelerator",
            json!({ "Name": "a", "IpAddressType": "DUAL_STACK", "IdempotencyToken": "t" }),
        )
        .await["Accelerator"]
        .clone();
    let arn = made["AcceleratorArn"].clone();
    assert_eq!(made["IpSets"][1]["IpAddressFamily"], "IPv6");
    assert!(text(&made["DualStackDnsName"]).ends_with(".dualstack.awsglobalaccelerator.com"));
    let to = |kind: &str| json!({ "AcceleratorArn": arn, "IpAddressType": kind });
    let v4 = api.ok("UpdateAccelerator", to("IPV4")).await["Accelerator"].clone();
    assert_eq!(v4["IpSets"].as_array().map(Vec::len), Some(1));
    assert_eq!(api.serve()[0].addresses.len(), 2);
    let again = api.ok("UpdateAccelerator", to("DUAL_STACK")).await["Accelerator"].clone();
    assert_eq!(again["IpSets"], made["IpSets"]);
    assert_eq!(again["Events"].as_array().map(Vec::len), Some(2));
    assert_eq!(api.serve()[0].addresses.len(), 4);
}

#[tokio::test]
async fn lists_are_paged_in_the_order_of_creation() {
    let api = Api::new();
    for number in 0..19 {
        api.accelerator(&format!("a{number}")).await;
    }
    let mut names = Vec::new();
    let mut token = Value::Null;
    loop {
        let page = api
            .ok(
                "ListAccelerators",
                json!({ "MaxResults": 7, "NextToken": token }),
            )
            .await;
        names.extend(
            page["Accelerators"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|a| text(&a["Name"])),
        );
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let expected: Vec<String> = (0..19)
        .map(|number| format!("a{number}"))
        .chain(["filed".to_owned()])
        .collect();
    assert_eq!(names, expected);
    let first = api.ok("ListAccelerators", json!({})).await;
    assert_eq!(
        first["Accelerators"].as_array().map(Vec::len),
        Some(10),
        "ten without MaxResults"
    );
}

#[tokio::test]
async fn what_the_file_made_is_shown_and_not_changed() {
    let api = Api::new();
    let all = api.ok("ListAccelerators", json!({})).await;
    let filed = &all["Accelerators"][0];
    assert_eq!(
        (text(&filed["Name"]), text(&filed["Status"])),
        ("filed".into(), "DEPLOYED".into())
    );
    let arn = &filed["AcceleratorArn"];
    let listeners = api
        .ok("ListListeners", json!({ "AcceleratorArn": arn }))
        .await;
    let listener = &listeners["Listeners"][0]["ListenerArn"];
    let groups = api
        .ok("ListEndpointGroups", json!({ "ListenerArn": listener }))
        .await;
    let group = &groups["EndpointGroups"][0];
    assert_eq!(group["EndpointDescriptions"][0]["EndpointId"], "web");
    assert_eq!(
        Api::new().ok("ListAccelerators", json!({})).await["Accelerators"][0]["AcceleratorArn"],
        *arn
    );
    for (operation, input) in [
        (
            "UpdateAccelerator",
            json!({ "AcceleratorArn": arn, "Enabled": false }),
        ),
        ("DeleteAccelerator", json!({ "AcceleratorArn": arn })),
        ("DeleteListener", json!({ "ListenerArn": listener })),
        (
            "DeleteEndpointGroup",
            json!({ "EndpointGroupArn": group["EndpointGroupArn"] }),
        ),
        ("TagResource", json!({ "ResourceArn": arn, "Tags": [] })),
    ] {
        let message = api.refused(operation, input, Exception::AccessDenied).await;
        assert!(
            message.contains("the edge's configuration file"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn tags_stand_on_everything_with_an_arn() {
    let api = Api::new();
    let accelerator = api.accelerator("a").await;
    let listener = api.listener(&accelerator, 80).await;
    let group = api.group(&listener, "us-east-1", json!([])).await;
    let attachment = api
        .ok(
            "CreateCrossAccountAttachment",
            json!({ "Name": "x", "IdempotencyToken": "t" }),
        )
        .await;
    let attachment = text(&attachment["CrossAccountAttachment"]["AttachmentArn"]);
    for arn in [accelerator, listener, group, attachment] {
        let tags = json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "" }]);
        api.ok("TagResource", json!({ "ResourceArn": arn, "Tags": tags }))
            .await;
        assert_eq!(
            api.ok("ListTagsForResource", json!({ "ResourceArn": arn }))
                .await["Tags"],
            tags
        );
        for _ in 0..2 {
            api.ok(
                "UntagResource",
                json!({ "ResourceArn": arn, "TagKeys": ["a"] }),
            )
            .await;
        }
        let left = api
            .ok("ListTagsForResource", json!({ "ResourceArn": arn }))
            .await;
        assert_eq!(left["Tags"], json!([{ "Key": "b", "Value": "" }]));
    }
}

#[tokio::test]
async fn flow_logs_are_disabled_before_they_go_elsewhere() {
    let api = Api::new();
    let arn = api.accelerator("a").await;
    let set = |more: Value| {
        let mut input = json!({ "AcceleratorArn": arn });
        input
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        input
    };
    api.refused(
        "UpdateAcceleratorAttributes",
        set(json!({ "FlowLogsEnabled": true })),
        Exception::InvalidArgument,
    )
    .await;
    let on =
        set(json!({ "FlowLogsEnabled": true, "FlowLogsS3Bucket": "b", "FlowLogsS3Prefix": "p/" }));
    let on = api.ok("UpdateAcceleratorAttributes", on).await;
    let described = api
        .ok("DescribeAcceleratorAttributes", set(json!({})))
        .await;
    assert_eq!(on, described);
    let elsewhere = set(json!({ "FlowLogsS3Prefix": "q/" }));
    api.refused(
        "UpdateAcceleratorAttributes",
        elsewhere.clone(),
        Exception::InvalidArgument,
    )
    .await;
    api.ok(
        "UpdateAcceleratorAttributes",
        set(json!({ "FlowLogsEnabled": false })),
    )
    .await;
    api.ok("UpdateAcceleratorAttributes", elsewhere).await;
}

#[tokio::test]
async fn attachments_let_principals_use_their_resources() {
    let api = Api::new();
    let listener = api.listener(&api.accelerator("a").await, 80).await;
    let made = api
        .ok("CreateCrossAccountAttachment", json!({ "Name": "shared", "IdempotencyToken": "t",
            "Principals": ["123456789012"], "Resources": [{ "EndpointId": "10.0.0.1", "Region": "us-east-1" }] }))
        .await;
    let arn = text(&made["CrossAccountAttachment"]["AttachmentArn"]);
    let with = |id: &str| json!([{ "EndpointId": id, "AttachmentArn": arn }]);
    let group = api.group(&listener, "us-east-1", with("10.0.0.1")).await;
    let add = json!({ "EndpointGroupArn": group, "EndpointConfigurations": with("10.0.0.2") });
    api.refused("AddEndpoints", add.clone(), Exception::AccessDenied)
        .await;
    let update = json!({ "AttachmentArn": arn, "AddResources": [{ "EndpointId": "10.0.0.2" }], "AddPrincipals": ["999999999999"] });
    let updated = api.ok("UpdateCrossAccountAttachment", update).await;
    assert_eq!(
        updated["CrossAccountAttachment"]["Resources"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    api.ok("AddEndpoints", add).await;
    let owners = api.ok("ListCrossAccountResourceAccounts", json!({})).await;
    assert_eq!(
        owners["ResourceOwnerAwsAccountIds"],
        json!(["123456789012"])
    );
    let resources = api
        .ok(
            "ListCrossAccountResources",
            json!({ "ResourceOwnerAwsAccountId": "123456789012", "MaxResults": 1 }),
        )
        .await;
    assert!(resources["NextToken"].is_string());
    api.refused(
        "DeleteCrossAccountAttachment",
        json!({ "AttachmentArn": arn }),
        Exception::InvalidArgument,
    )
    .await;
    api.ok("DeleteEndpointGroup", json!({ "EndpointGroupArn": group }))
        .await;
    api.ok(
        "DeleteCrossAccountAttachment",
        json!({ "AttachmentArn": arn }),
    )
    .await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_after_an_import() {
    let api = Api::new();
    let listener = api.listener(&api.accelerator("a").await, 80).await;
    let group = api
        .group(
            &listener,
            "us-east-1",
            json!([{ "EndpointId": "10.0.0.1" }]),
        )
        .await;
    let arn = json!({ "EndpointGroupArn": group });
    let shown = api.ok("DescribeEndpointGroup", arn.clone()).await;
    let served = api.serve();
    let restarted = Api::over(api.store.clone());
    assert_eq!(
        restarted.ok("DescribeEndpointGroup", arn.clone()).await,
        shown
    );
    assert_eq!(restarted.serve(), served);
    let export = api.engine.clone().export().await.expect("an export");
    let elsewhere = Api::new();
    elsewhere.accelerator("other").await;
    elsewhere
        .engine
        .clone()
        .import(export)
        .await
        .expect("imported");
    assert_eq!(elsewhere.ok("DescribeEndpointGroup", arn).await, shown);
    assert_eq!(elsewhere.serve(), served);
}

#[tokio::test]
async fn two_accelerators_of_one_name_are_served_under_two() {
    let api = Api::new();
    for token in ["1", "2"] {
        api.ok(
            "CreateAccelerator",
            json!({ "Name": "same", "IdempotencyToken": token }),
        )
        .await;
    }
    let names: Vec<String> = api.serve().iter().map(|a| a.name.to_string()).collect();
    assert_eq!(names[0], "same");
    assert!(names[1].starts_with("same-") && names[1] != names[0]);
}

#[tokio::test]
async fn a_renamed_accelerator_is_served_under_its_new_name_unless_somebody_has_it() {
    let api = Api::new();
    let (one, other) = (api.accelerator("one").await, api.accelerator("other").await);
    let served = || -> Vec<String> { api.serve().iter().map(|a| a.name.to_string()).collect() };
    assert_eq!(served(), ["one", "other"]);
    let rename = async |arn: &str, name: &str| {
        let input = json!({ "AcceleratorArn": arn, "Name": name });
        api.ok("UpdateAccelerator", input).await;
    };
    rename(&one, "first").await;
    assert_eq!(served(), ["first", "other"]);
    rename(&one, "first").await;
    assert_eq!(
        served(),
        ["first", "other"],
        "its own name is nobody else's"
    );
    let id = other.rsplit('/').next().expect("an id")[..8].to_owned();
    rename(&other, "first").await;
    assert_eq!(served(), ["first".to_owned(), format!("first-{id}")]);
    // The file's names go before the API's.
    rename(&other, "filed").await;
    assert_eq!(served(), ["first".to_owned(), format!("filed-{id}")]);
}
