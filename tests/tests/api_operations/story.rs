//! The story that every client tells: each operation once with success, and each exception that the model declares for it, in an order in
//! which they can come about. What can be made from the model is; the rest is told.

#![expect(
    clippy::too_many_lines,
    reason = "a story of many calls reads best in one piece"
)]

use std::collections::{BTreeMap, BTreeSet};

use portolan_tests::binary;
use serde::Serialize;
use serde_json::{Value, json};

const NOWHERE: &str =
    "arn:aws:globalaccelerator::000000000000:accelerator/11111111-1111-4111-8111-111111111111";
const NO_ATTACHMENT: &str =
    "arn:aws:globalaccelerator::000000000000:attachment/11111111-1111-4111-8111-111111111111";

/// What the edge's file says beside `[api]`; the accelerator's address is put in.
pub(crate) const FILE: &str = r#"
[[endpoint_alias]]
id = "subnet-1"
address = "10.1.0.0/28"
[[accelerator]]
name = "filed"
addresses = ["ADDRESS"]
[[accelerator.listener]]
protocol = "TCP"
ports = [20000]
[[accelerator.listener.endpoint_group]]
region = "eu-central-1"
endpoints = [{ id = "web", address = "127.0.0.1:9" }]
"#;

/// One call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) operation: String,
    /// Texts that begin with `$` are variables.
    pub(crate) input: Value,
    /// The exception that there must be; `None` is success.
    pub(crate) is: Option<String>,
    /// Variables, by a pointer into the answer.
    pub(crate) keep: BTreeMap<String, String>,
    /// It only prepares, whichever client it is done by.
    pub(crate) setup: bool,
}

/// An operation and an exception; none is success.
pub(crate) type Judgement = (String, String);

/// The chapters.
pub(crate) struct Story {
    /// All is well.
    pub(crate) fine: Vec<Step>,
    /// The disk takes nothing.
    pub(crate) full: Vec<Step>,
    /// It does again; quotas are used up.
    pub(crate) again: Vec<Step>,
    /// A successor has the store: at once, as each has to wait.
    pub(crate) upgrading: Vec<Step>,
    model: Model,
}

impl Story {
    pub(crate) fn new() -> Story {
        let model = Model::read();
        let mut teller = Teller {
            model: &model,
            steps: Vec::new(),
            tokens: 0,
        };
        success(&mut teller);
        what_the_model_refuses(&mut teller);
        states(&mut teller);
        let fine = teller.chapter();
        full_disk(&mut teller);
        let full = teller.chapter();
        limits(&mut teller);
        let again = teller.chapter();
        for operation in model.declaring("TransactionInProgressException") {
            teller.refused(&operation, json!({}), "TransactionInProgressException");
        }
        let upgrading = teller.chapter();
        Story {
            fine,
            full,
            again,
            upgrading,
            model,
        }
    }

    /// Operations and declared exceptions that are not judged and could be; those that are said to be impossible and came about.
    pub(crate) fn gaps(&self) -> (Vec<Judgement>, Vec<Judgement>) {
        let steps = [&self.fine, &self.full, &self.again, &self.upgrading];
        let judged: BTreeSet<Judgement> = steps
            .into_iter()
            .flatten()
            .filter(|step| !step.setup)
            .map(|step| (step.operation.clone(), step.is.clone().unwrap_or_default()))
            .collect();
        let mut wanted: BTreeSet<Judgement> = BTreeSet::new();
        for (operation, errors) in &self.model.errors {
            wanted.insert((operation.clone(), String::new()));
            wanted.extend(
                errors
                    .iter()
                    .map(|error| (operation.clone(), error.clone())),
            );
        }
        let cannot: BTreeSet<Judgement> = impossible(&self.model)
            .map(|(operation, error, _)| (operation, error))
            .collect();
        let missing = wanted
            .difference(&judged)
            .filter(|pair| !cannot.contains(pair));
        let wrong = cannot
            .iter()
            .filter(|pair| judged.contains(pair) || !wanted.contains(*pair));
        (missing.cloned().collect(), wrong.cloned().collect())
    }
}

/// Declared exceptions that no request can bring about here, with the reason.
fn impossible(model: &Model) -> impl Iterator<Item = (String, String, &'static str)> + '_ {
    const READS: &str = "reading touches no store that could fail";
    const ONE_ACCOUNT: &str =
        "this edge is one account, and whoever may ask may ask for everything";
    const LISTED: [(&str, &str, &str); 25] = [
        (
            "UpdateAccelerator",
            "ConflictException",
            "its addresses do not change, and its type may at any time",
        ),
        (
            "UpdateCustomRoutingAccelerator",
            "ConflictException",
            "its addresses do not change, and its type may at any time",
        ),
        (
            "RemoveCustomRoutingEndpoints",
            "ConflictException",
            "removing is one step",
        ),
        (
            "UpdateListener",
            "LimitExceededException",
            "the model bounds its lists as the quota does",
        ),
        (
            "UpdateCustomRoutingListener",
            "LimitExceededException",
            "the model bounds its lists as the quota does",
        ),
        (
            "UpdateEndpointGroup",
            "LimitExceededException",
            "the model bounds its lists as the quota does",
        ),
        (
            "CreateEndpointGroup",
            "AcceleratorNotFoundException",
            "a listener that is there has its accelerator",
        ),
        (
            "CreateCustomRoutingEndpointGroup",
            "AcceleratorNotFoundException",
            "a listener that is there has its accelerator",
        ),
        (
            "CreateCustomRoutingEndpointGroup",
            "AccessDeniedException",
            "only the API makes custom routing accelerators",
        ),
        (
            "RemoveCustomRoutingEndpoints",
            "AccessDeniedException",
            "only the API makes custom routing accelerators",
        ),
        (
            "UpdateCustomRoutingAcceleratorAttributes",
            "AccessDeniedException",
            "only the API makes custom routing accelerators",
        ),
        ("CreateAccelerator", "AccessDeniedException", ONE_ACCOUNT),
        (
            "CreateCustomRoutingAccelerator",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "CreateCrossAccountAttachment",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "DescribeCrossAccountAttachment",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "ListCrossAccountAttachments",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "UpdateCrossAccountAttachment",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "DeleteCrossAccountAttachment",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "ListCrossAccountResourceAccounts",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        (
            "ListCrossAccountResources",
            "AccessDeniedException",
            ONE_ACCOUNT,
        ),
        ("ProvisionByoipCidr", "AccessDeniedException", ONE_ACCOUNT),
        ("AdvertiseByoipCidr", "AccessDeniedException", ONE_ACCOUNT),
        ("WithdrawByoipCidr", "AccessDeniedException", ONE_ACCOUNT),
        ("DeprovisionByoipCidr", "AccessDeniedException", ONE_ACCOUNT),
        ("ListByoipCidrs", "AccessDeniedException", ONE_ACCOUNT),
    ];
    let listed = LISTED
        .iter()
        .map(|(operation, error, why)| ((*operation).to_owned(), (*error).to_owned(), *why));
    let readers = model.errors.keys().filter(|name| reads(name));
    let readers = readers.map(|name| {
        (
            name.clone(),
            "InternalServiceErrorException".to_owned(),
            READS,
        )
    });
    listed.chain(readers)
}

fn reads(operation: &str) -> bool {
    operation.starts_with("Describe") || operation.starts_with("List")
}

/// What botocore's model says, as far as the story needs it.
struct Model {
    /// Declared exceptions by operation.
    errors: BTreeMap<String, Vec<String>>,
    /// Required members with the longest text that each takes, by operation.
    required: BTreeMap<String, Vec<(String, Option<usize>)>>,
}

impl Model {
    fn read() -> Model {
        let path = binary::root().join("control/src/api/shapes/model.json");
        let text = std::fs::read_to_string(path).expect("the model is there");
        let model: Value = serde_json::from_str(&text).expect("the model is JSON");
        let shape = |name: &Value| model["shapes"][name.as_str().unwrap_or_default()].clone();
        let (mut errors, mut required) = (BTreeMap::new(), BTreeMap::new());
        for (name, operation) in model["operations"].as_object().expect("operations") {
            let declared = operation["errors"].as_array().into_iter().flatten();
            let declared = declared.map(portolan_tests::api::text).collect();
            errors.insert(name.clone(), declared);
            let input = shape(&operation["input"]);
            let members = input["required"].as_array().cloned().unwrap_or_default();
            let longest = |member: &Value| {
                let member = portolan_tests::api::text(member);
                let of = shape(&input["members"][member.as_str()]);
                let is_text = of["type"] == "string" && of["enum"].is_null();
                let max = of["max"].as_u64().filter(|_| is_text);
                (member, max.map(|max| max as usize))
            };
            required.insert(name.clone(), members.iter().map(longest).collect());
        }
        Model { errors, required }
    }

    fn declaring(&self, error: &str) -> Vec<String> {
        let all = self.errors.iter();
        all.filter(|(_, errors)| errors.iter().any(|declared| declared == error))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Writes steps down.
struct Teller<'a> {
    model: &'a Model,
    steps: Vec<Step>,
    tokens: usize,
}

impl Teller<'_> {
    /// The smallest input that the model takes, with what is wanted in it.
    fn least(&mut self, operation: &str, more: Value) -> Value {
        let mut input = json!({});
        let object = input.as_object_mut().expect("an object");
        for (member, _) in &self.model.required[operation] {
            let value = match member.as_str() {
                "IdempotencyToken" => {
                    self.tokens += 1;
                    json!(format!("token-{}", self.tokens))
                }
                "PortRanges" => json!([{ "FromPort": 29000, "ToPort": 29020 }]),
                "Protocol" => json!("TCP"),
                "EndpointGroupRegion" => json!("ap-south-1"),
                "EndpointConfigurations" => json!([{ "EndpointId": "127.0.0.1:9" }]),
                "EndpointIdentifiers" => json!([{ "EndpointId": "127.0.0.1:9" }]),
                "EndpointIds" | "TagKeys" => json!(["x"]),
                "Tags" => json!([{ "Key": "a", "Value": "b" }]),
                "DestinationConfigurations" => {
                    json!([{ "FromPort": 80, "ToPort": 80, "Protocols": ["TCP"] }])
                }
                "CidrAuthorizationContext" => json!({ "Message": "m", "Signature": "s" }),
                "Cidr" => json!("192.0.2.0/24"),
                "ResourceOwnerAwsAccountId" => json!("000000000000"),
                "DestinationAddress" => json!("10.1.0.5"),
                "EndpointId" => json!("subnet-1"),
                "ListenerArn" => json!(format!("{NOWHERE}/listener/11111111")),
                "EndpointGroupArn" => json!(format!(
                    "{NOWHERE}/listener/11111111/endpoint-group/111111111111"
                )),
                "AttachmentArn" => json!(NO_ATTACHMENT),
                "AcceleratorArn" | "ResourceArn" => json!(NOWHERE),
                _ => json!("x"),
            };
            object.insert(member.clone(), value);
        }
        object.extend(more.as_object().expect("an object").clone());
        input
    }

    fn step(&mut self, operation: &str, more: Value, is: Option<&str>) -> &mut Step {
        let input = self.least(operation, more);
        self.steps.push(Step {
            operation: operation.to_owned(),
            input,
            is: is.map(str::to_owned),
            keep: BTreeMap::new(),
            setup: false,
        });
        self.steps.last_mut().expect("it was just pushed")
    }

    fn ok(&mut self, operation: &str, more: Value) -> &mut Step {
        self.step(operation, more, None)
    }

    fn setup(&mut self, operation: &str, more: Value) -> &mut Step {
        let step = self.step(operation, more, None);
        step.setup = true;
        step
    }

    fn refused(&mut self, operation: &str, more: Value, is: &str) {
        self.step(operation, more, Some(is));
    }

    fn chapter(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }
}

impl Step {
    fn keep(&mut self, name: &str, pointer: &str) {
        self.keep.insert(name.to_owned(), pointer.to_owned());
    }
}

fn success(t: &mut Teller<'_>) {
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

/// What can be made from the model alone: a text that is too long or a page that is too large, and what is not there.
fn what_the_model_refuses(t: &mut Teller<'_>) {
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

fn states(t: &mut Teller<'_>) {
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
fn full_disk(t: &mut Teller<'_>) {
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
fn limits(t: &mut Teller<'_>) {
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
