//! Whatever a body holds, an operation answers or refuses, and what it leaves can be served and read again.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Map, Value, json};

use super::fake::Api;
use crate::api::operations::Operation;
use crate::api::shapes::model::{MODEL, Shape};

/// Values of a shape, and a few that are none.
fn of(name: &str, arns: Vec<String>) -> BoxedStrategy<Value> {
    let anything = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ];
    let right: BoxedStrategy<Value> = match &MODEL.shapes[name] {
        Shape::Structure { members, .. } => {
            let strategies: Vec<_> = members
                .iter()
                .map(|(member, shape)| {
                    let value = of(shape.as_str().expect("a name"), arns.clone());
                    (
                        Just(member.clone()),
                        proptest::option::weighted(0.85, value),
                    )
                })
                .collect();
            strategies
                .prop_map(|members| {
                    let given = members
                        .into_iter()
                        .filter_map(|(member, value)| Some((member, value?)));
                    Value::Object(given.collect::<Map<String, Value>>())
                })
                .boxed()
        }
        Shape::List { member, .. } => proptest::collection::vec(of(member, arns), 0..4)
            .prop_map(Value::Array)
            .boxed(),
        Shape::String { words, .. } if !words.is_empty() => proptest::sample::select(words.clone())
            .prop_map(Value::from)
            .boxed(),
        Shape::String { .. } => {
            let mut texts = arns;
            texts.extend(
                [
                    "a",
                    "b.c",
                    "us-east-1",
                    "10.0.0.1",
                    "10.0.0.2:80",
                    "10.1.0.0/28",
                    "subnet-1",
                    "10.1.0.5",
                    "/",
                    "203.0.113.0/24",
                    "123456789012",
                    "web.internal",
                ]
                .map(str::to_owned),
            );
            proptest::sample::select(texts)
                .prop_map(Value::from)
                .boxed()
        }
        Shape::Integer { .. } => prop_oneof![0..=100i64, 4990..=5050i64, 0..=70_000i64]
            .prop_map(Value::from)
            .boxed(),
        Shape::Float { .. } => (-1.0..101.0f64).prop_map(|number| json!(number)).boxed(),
        Shape::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Timestamp => Just(json!(1.0)).boxed(),
    };
    prop_oneof![30 => right, 1 => anything].boxed()
}

fn request(arns: Vec<String>) -> impl Strategy<Value = (Operation, Value)> {
    proptest::sample::select(Operation::ALL.to_vec()).prop_flat_map(move |operation| {
        let input = MODEL.operations[operation.name()].input.clone();
        let value = input.map_or_else(|| Just(json!({})).boxed(), |input| of(&input, arns.clone()));
        (Just(operation), value)
    })
}

/// An API with one of everything, and the ARNs of it.
async fn furnished() -> (Api, Vec<String>) {
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
    let (custom, custom_listener, custom_group) = api
        .custom(json!([{ "FromPort": 80, "ToPort": 82, "Protocols": ["TCP"] }]))
        .await;
    let add = json!({ "EndpointGroupArn": custom_group, "EndpointConfigurations": [{ "EndpointId": "subnet-1" }] });
    api.ok("AddCustomRoutingEndpoints", add).await;
    (
        api,
        vec![
            accelerator,
            listener,
            group,
            custom,
            custom_listener,
            custom_group,
        ],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_of_requests_leaves_a_world_that_is_served_and_read_again(
        seeds in proptest::collection::vec(any::<u64>(), 24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (api, arns) = furnished().await;
            let strategy = request(arns);
            for seed in seeds {
                let rng = proptest::test_runner::TestRng::from_seed(
                    proptest::test_runner::RngAlgorithm::ChaCha, &[seed.to_le_bytes(); 4].concat());
                let mut runner = proptest::test_runner::TestRunner::new_with_rng(ProptestConfig::default(), rng);
                let (operation, input) = strategy.new_tree(&mut runner).expect("a request").current();
                let shown = input.to_string();
                if let Err(error) = api.call(operation.name(), input).await {
                    assert_ne!(error.exception, crate::api::errors::Exception::InternalServiceError, "{} {shown}: {error}", operation.name());
                }
            }
            let served = api.serve();
            let restarted = Api::over(api.store.clone());
            let names = |accelerators: &[portolan_config::model::Accelerator]| -> Vec<usize> {
                accelerators.iter().map(|a| a.listeners.len()).collect()
            };
            assert_eq!(names(&restarted.serve()), names(&served));
        });
    }

    #[test]
    fn any_json_is_answered(depth in 0usize..90, text in "\\PC{0,40}", operation in proptest::sample::select(Operation::ALL.to_vec())) {
        let deep = (0..depth).fold(json!(text), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "Name": inner }) });
        let _ = operation.check(deep.clone());
        let mut object = Map::new();
        for member in ["Name", "Tags", "PortRanges", "EndpointConfigurations", "AcceleratorArn", "Cidr"] {
            object.insert(member.to_owned(), deep.clone());
        }
        let _ = operation.check(Value::Object(object));
    }
}
