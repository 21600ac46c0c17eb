//! Endpoints by AWS's own ids: asked for once, kept, followed, and refused with the remedy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_config::address::Host;
use portolan_config::model::{HealthCheck, Probe};
use serde_json::{Value, json};

use super::fake::{Api, text};
use crate::api::errors::Exception;
use crate::aws::picture::{ElasticIpFacts, InstanceFacts, LoadBalancerFacts, Resource};
use crate::aws::session::{Account, Call, CallError, ErrorClass, Fault, Service};
use crate::aws::{Looked, Named};

const BALANCER: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/shop/60dc6c495c0c9188";
const INSTANCE: &str = "i-0123456789abcdef0";
const ELASTIC_IP: &str = "eipalloc-0123456789abcdef0";

fn with_aws() -> Api {
    Api::beside(Arc::default(), "[aws]\n")
}

fn knows(api: &Api, id: &str, what: Looked) {
    let named = Named::of("us-east-1", id).expect("an id of AWS's");
    let mut aws = api.edge.aws.lock().expect("whole");
    aws.insert(named, what);
}

fn balancer(internal: bool) -> Looked {
    Looked::Found(Resource::LoadBalancer(LoadBalancerFacts {
        kind: "application".to_owned(),
        dns_name: "Shop-1.us-east-1.elb.amazonaws.com".to_owned(),
        internal,
        state: "active".to_owned(),
        static_addresses: Vec::new(),
    }))
}

fn instance(state: &str, public: [u8; 4]) -> Looked {
    Looked::Found(Resource::Instance(InstanceFacts {
        state: state.to_owned(),
        public: Some(public.into()),
        private: None,
        ipv6: None,
    }))
}

fn failed(class: ErrorClass) -> Looked {
    let call = Call {
        service: Service::Elb,
        operation: "DescribeLoadBalancers",
        account: &Account::Own,
        region: "us-east-1",
    };
    let fault = Fault::new(class, "told by the test");
    Looked::Failed(Arc::new(CallError::of(&call, fault, 1)))
}

/// What is served for the only group: hosts, and the check.
fn served(api: &Api) -> (Vec<Host>, HealthCheck) {
    let all = api.serve();
    let group = &all[0].listeners[0].endpoint_groups[0];
    let hosts = group.endpoints.iter().map(|e| e.host.clone()).collect();
    (hosts, (*group.health_check).clone())
}

async fn listener(api: &Api) -> String {
    let accelerator = api.accelerator("shop").await;
    api.listener(&accelerator, 80).await
}

async fn shown(api: &Api, group: &str) -> Value {
    let shown = api
        .ok(
            "DescribeEndpointGroup",
            json!({ "EndpointGroupArn": group }),
        )
        .await;
    shown["EndpointGroup"]["EndpointDescriptions"].clone()
}

#[tokio::test]
async fn load_balancers_instances_and_elastic_ips_are_what_aws_says_and_stay_so_without_it() {
    let api = with_aws();
    knows(&api, BALANCER, balancer(false));
    knows(&api, INSTANCE, instance("running", [192, 0, 2, 77]));
    let public: Option<IpAddr> = Some([198, 51, 100, 9].into());
    let elastic_ip = Resource::ElasticIp(ElasticIpFacts {
        public,
        private: None,
    });
    knows(&api, ELASTIC_IP, Looked::Found(elastic_ip));
    let listener = listener(&api).await;
    let ids = json!([{ "EndpointId": BALANCER }, { "EndpointId": INSTANCE }, { "EndpointId": ELASTIC_IP }]);
    let group = api.group(&listener, "us-east-1", ids).await;
    let hosts = [
        Host::Name("shop-1.us-east-1.elb.amazonaws.com".into()),
        Host::Ip([192, 0, 2, 77].into()),
        Host::Ip([198, 51, 100, 9].into()),
    ];
    assert_eq!(served(&api).0, hosts);
    assert_eq!(text(&shown(&api, &group).await[0]["EndpointId"]), BALANCER);
    let asked = || api.edge.asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 1);
    let again = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": INSTANCE }] });
    api.ok("UpdateEndpointGroup", again).await;
    assert_eq!(asked(), 1, "what is known is not asked for again");
    // A process that starts while nobody can be asked, and even without [aws].
    for more in ["[aws]\n", ""] {
        let later = Api::beside(api.store.clone(), more);
        assert_eq!(served(&later).0, hosts[1..2]);
    }
}

#[tokio::test]
async fn what_aws_does_not_know_or_cannot_be_reached_is_refused_with_the_remedy() {
    let api = with_aws();
    let listener = listener(&api).await;
    let group = api.group(&listener, "us-east-1", json!([])).await;
    let add = |id: &str| json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": id }] });
    let refused = async |id: &str, exception| {
        let message = api.refused("AddEndpoints", add(id), exception).await;
        assert!(message.contains("[[endpoint_alias]]"), "{message}");
        message
    };
    let missing = refused(INSTANCE, Exception::InvalidArgument).await;
    assert!(missing.contains("was not found in us-east-1"), "{missing}");
    knows(&api, BALANCER, failed(ErrorClass::Denied));
    let denied = refused(BALANCER, Exception::InvalidArgument).await;
    assert!(denied.contains("told by the test"), "{denied}");
    // Clients ask again after this one.
    knows(&api, BALANCER, failed(ErrorClass::Timeout));
    refused(BALANCER, Exception::InternalServiceError).await;
    knows(&api, BALANCER, balancer(true));
    let internal = refused(BALANCER, Exception::InvalidArgument).await;
    assert!(internal.contains("reach = \"private\""), "{internal}");
    let elsewhere = BALANCER.replace("us-east-1", "us-west-2");
    let message = api
        .refused("AddEndpoints", add(&elsewhere), Exception::InvalidArgument)
        .await;
    assert!(message.contains("us-west-2"), "{message}");
    assert_eq!(shown(&api, &group).await, json!([]));
    // A region is part of the name of the host that is asked: whoever makes one up is refused before that.
    let before = api.edge.asked.load(Ordering::Relaxed);
    for region in ["evil.example.com/", "us-east-1@evil", ""] {
        let input = json!({ "ListenerArn": listener, "EndpointGroupRegion": region, "IdempotencyToken": region,
            "EndpointConfigurations": [{ "EndpointId": INSTANCE }] });
        api.refused("CreateEndpointGroup", input, Exception::InvalidArgument)
            .await;
    }
    assert_eq!(api.edge.asked.load(Ordering::Relaxed), before);
    // Without [aws] nobody is asked, and the message says that somebody could be.
    let alone = Api::new();
    let listener = self::listener(&alone).await;
    let group = alone.group(&listener, "us-east-1", json!([])).await;
    let add = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": BALANCER }] });
    let message = alone
        .refused("AddEndpoints", add, Exception::InvalidArgument)
        .await;
    assert!(
        message.contains("[aws]") && message.contains("[[endpoint_alias]]"),
        "{message}"
    );
    assert_eq!(alone.edge.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn endpoints_are_followed_when_they_become_something_else() {
    let api = with_aws();
    knows(&api, INSTANCE, instance("running", [192, 0, 2, 77]));
    let listener = listener(&api).await;
    let group = api
        .group(&listener, "us-east-1", json!([{ "EndpointId": INSTANCE }]))
        .await;
    knows(&api, INSTANCE, instance("running", [192, 0, 2, 78]));
    api.engine.refresh().await;
    assert_eq!(served(&api).0, [Host::Ip([192, 0, 2, 78].into())]);
    knows(&api, INSTANCE, instance("stopped", [192, 0, 2, 78]));
    api.engine.refresh().await;
    assert_eq!(served(&api).0, []);
    let endpoint = shown(&api, &group).await[0].clone();
    assert_eq!(text(&endpoint["HealthState"]), "UNHEALTHY");
    assert!(
        text(&endpoint["HealthReason"]).contains("stopped"),
        "{endpoint}"
    );
    // It is not believed that everything is gone, nor what could not be asked.
    knows(&api, INSTANCE, instance("running", [192, 0, 2, 79]));
    api.engine.refresh().await;
    for answer in [Looked::Missing, failed(ErrorClass::Timeout)] {
        knows(&api, INSTANCE, answer);
        api.engine.refresh().await;
        assert_eq!(served(&api).0, [Host::Ip([192, 0, 2, 79].into())]);
    }
}

#[tokio::test]
async fn load_balancers_are_asked_where_their_flows_go_whatever_the_groups_check_says() {
    let api = with_aws();
    knows(&api, BALANCER, balancer(false));
    let listener = listener(&api).await;
    let input = json!({ "ListenerArn": listener, "EndpointGroupRegion": "us-east-1", "IdempotencyToken": "t",
        "EndpointConfigurations": [{ "EndpointId": BALANCER }], "HealthCheckProtocol": "HTTPS", "HealthCheckPath": "/up",
        "HealthCheckPort": 9999, "PortOverrides": [{ "ListenerPort": 80, "EndpointPort": 8443 }] });
    let made = api.ok("CreateEndpointGroup", input).await;
    assert_eq!(made["EndpointGroup"]["HealthCheckPort"], 9999);
    let (_, check) = served(&api);
    assert_eq!((check.probe, check.port), (Probe::Tcp, Some(8443)));
    // An address beside it is asked as the group says, and so is the load balancer then.
    let group = text(&made["EndpointGroup"]["EndpointGroupArn"]);
    let add = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": "10.0.0.1" }] });
    api.ok("AddEndpoints", add).await;
    let (_, check) = served(&api);
    assert!(matches!(check.probe, Probe::Https { .. }));
    assert_eq!(check.port, Some(9999));
}
