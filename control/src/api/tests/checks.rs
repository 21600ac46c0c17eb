//! How endpoints of the API's groups are asked: at the edge's own interval or the API's, and at which port.

use std::sync::Arc;
use std::time::Duration;

use portolan_config::model::{HealthCheck, Probe};
use serde_json::json;

use super::fake::{Api, FILE};

/// What is asked of a group with one endpoint that the API says this of beside.
async fn check(api: &Api, endpoint: &str, more: serde_json::Value) -> Arc<HealthCheck> {
    let listener = api.listener(&api.accelerator("a").await, 80).await;
    let group = api
        .group(&listener, "us-east-1", json!([{ "EndpointId": endpoint }]))
        .await;
    let mut update = json!({ "EndpointGroupArn": group });
    update
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    let shown = api.ok("UpdateEndpointGroup", update).await;
    let shown = &shown["EndpointGroup"];
    let reported = (
        &shown["HealthCheckIntervalSeconds"],
        &shown["HealthCheckPort"],
    );
    assert_eq!(reported.0, &more["HealthCheckIntervalSeconds"]);
    assert_eq!(
        reported.1,
        more.get("HealthCheckPort").unwrap_or(&json!(80))
    );
    let served = api.serve();
    served[0].listeners[0].endpoint_groups[0]
        .health_check
        .clone()
}

#[tokio::test]
async fn the_apis_interval_is_kept_and_reported_and_obeyed_where_the_file_says_so() {
    let asked = json!({ "HealthCheckIntervalSeconds": 10, "ThresholdCount": 2 });
    let own = check(&Api::new(), "10.0.0.1", asked.clone()).await;
    let (second, fast) = (Duration::from_secs(1), Duration::from_millis(200));
    assert_eq!((own.interval, own.fast_interval), (second, fast));
    assert_eq!(own.unhealthy_threshold.get(), 2);
    let file = FILE.replace("[api]\n", "[api]\nhonour_interval = true\n");
    let obeyed = check(&Api::of_file(Arc::default(), &file), "10.0.0.1", asked).await;
    let ten = Duration::from_secs(10);
    assert_eq!((obeyed.interval, obeyed.fast_interval), (ten, ten));
}

#[tokio::test]
async fn the_port_asked_is_the_groups_else_the_endpoints_else_the_listeners() {
    let asked = json!({ "HealthCheckIntervalSeconds": 30 });
    let of = async |endpoint, more| check(&Api::new(), endpoint, more).await.port;
    assert_eq!(of("10.0.0.1", asked.clone()).await, Some(80));
    // Left to the endpoint, which has one of its own.
    assert_eq!(of("10.0.0.1:8080", asked).await, None);
    let named = json!({ "HealthCheckIntervalSeconds": 30, "HealthCheckPort": 9 });
    assert_eq!(of("10.0.0.1:8080", named).await, Some(9));
}

#[tokio::test]
async fn certificates_are_verified_where_the_file_says_so_alone() {
    let asked = json!({ "HealthCheckIntervalSeconds": 30, "HealthCheckProtocol": "HTTPS" });
    let file = FILE.replace("[api]\n", "[api]\nverify_tls = true\n");
    for (api, expected) in [
        (Api::new(), false),
        (Api::of_file(Arc::default(), &file), true),
    ] {
        let check = check(&api, "web.example.com", asked.clone()).await;
        let Probe::Https { verify_tls, .. } = &check.probe else {
            panic!("{check:?}");
        };
        assert_eq!(*verify_tls, expected);
    }
}
