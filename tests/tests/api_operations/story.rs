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

use super::refusals::{full_disk, limits, states, what_the_model_refuses};
use super::success::success;

pub(crate) const NOWHERE: &str =
    "arn:aws:globalaccelerator::000000000000:accelerator/11111111-1111-4111-8111-111111111111";
pub(crate) const NO_ATTACHMENT: &str =
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

pub(crate) fn reads(operation: &str) -> bool {
    operation.starts_with("Describe") || operation.starts_with("List")
}

/// What botocore's model says, as far as the story needs it.
pub(crate) struct Model {
    /// Declared exceptions by operation.
    pub(crate) errors: BTreeMap<String, Vec<String>>,
    /// Required members with the longest text that each takes, by operation.
    pub(crate) required: BTreeMap<String, Vec<(String, Option<usize>)>>,
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

    pub(crate) fn declaring(&self, error: &str) -> Vec<String> {
        let all = self.errors.iter();
        all.filter(|(_, errors)| errors.iter().any(|declared| declared == error))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Writes steps down.
pub(crate) struct Teller<'a> {
    pub(crate) model: &'a Model,
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

    pub(crate) fn ok(&mut self, operation: &str, more: Value) -> &mut Step {
        self.step(operation, more, None)
    }

    pub(crate) fn setup(&mut self, operation: &str, more: Value) -> &mut Step {
        let step = self.step(operation, more, None);
        step.setup = true;
        step
    }

    pub(crate) fn refused(&mut self, operation: &str, more: Value, is: &str) {
        self.step(operation, more, Some(is));
    }

    fn chapter(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }
}

impl Step {
    pub(crate) fn keep(&mut self, name: &str, pointer: &str) {
        self.keep.insert(name.to_owned(), pointer.to_owned());
    }
}
