//! The sync against moto: load balancers, instances and Elastic IPs as somebody else answers for them. Global Accelerator, which moto
//! lacks, is the fake one.

use portolan_tests::aws::{self, Accelerator, Aws};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::moto::Moto;
use portolan_tests::{http, place};
use serde_json::Value;

/// A Query call to moto, which reads region and service from the signature's scope and checks no more of it.
async fn ask(moto: &Moto, service: &str, form: &str) -> String {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let (status, body) = http::send(moto.at(), "POST", &format!("/?{form}"), &scope, "")
        .await
        .expect("moto answers");
    assert_eq!(status, 200, "{form}: {body}");
    body
}

/// The text of the first element of that name.
fn element(body: &str, name: &str) -> String {
    let (_, rest) = body
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}

async fn endpoints(edge: &Edge) -> Vec<Value> {
    let state = edge.state().await;
    let shop = state["accelerators"]
        .as_array()
        .and_then(|all| all.first())
        .cloned()
        .unwrap_or_default();
    let groups = shop["listeners"][0]["endpoint_groups"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    groups
        .iter()
        .filter_map(|group| group["endpoints"].as_array())
        .flatten()
        .filter(|endpoint| endpoint["unreachable"] == false)
        .cloned()
        .collect()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told to one moto")]
async fn what_moto_answers_is_read() {
    let Some(moto) = Moto::start().await else {
        return;
    };
    let eip = ask(
        &moto,
        "ec2",
        "Action=AllocateAddress&Version=2016-11-15&Domain=vpc",
    )
    .await;
    let (allocation, address) = (element(&eip, "allocationId"), element(&eip, "publicIp"));
    let vpc = ask(&moto, "ec2", "Action=DescribeSubnets&Version=2016-11-15").await;
    let subnets: Vec<&str> = vpc
        .split("<subnetId>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .collect();
    let create = |name: &str, scheme: &str| {
        format!(
            "Action=CreateLoadBalancer&Version=2015-12-01&Name={name}&Scheme={scheme}&Subnets.member.1={}&Subnets.member.2={}",
            subnets[0], subnets[1]
        )
    };
    let facing = element(
        &ask(
            &moto,
            "elasticloadbalancing",
            &create("web", "internet-facing"),
        )
        .await,
        "LoadBalancerArn",
    );
    let inside = element(
        &ask(&moto, "elasticloadbalancing", &create("inside", "internal")).await,
        "LoadBalancerArn",
    );
    let mut shop = Accelerator::new("shop", 80).endpoint("us-east-1", "eipalloc-0000000000000none");
    for id in [&allocation, &facing, &inside] {
        shop = shop.endpoint("us-east-1", id);
    }
    let accelerators = Aws::start(vec![shop]).await;
    // The name of a load balancer is asked of nobody.
    let toml = format!(
        "[aws]\ninterval = \"1s\"\n[aws.addresses]\nshop = [\"{}\"]\n[resolver]\nnameservers = [\"{}\"]\n",
        place::fresh().ip(),
        place::fresh()
    );
    let edge = aws::edge(&toml)
        .environment("AWS_ENDPOINT_URL", &format!("http://{}", moto.at()))
        .environment("AWS_ENDPOINT_URL_GLOBAL_ACCELERATOR", &accelerators.url())
        .ready()
        .await;
    until("what can be reached is served", PATIENCE, async || {
        endpoints(&edge).await.len() == 2
    })
    .await;
    let served = endpoints(&edge).await;
    let of = |id: &str| {
        served
            .iter()
            .find(|endpoint| endpoint["id"] == *id)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(of(&allocation)["address"], Value::from(address));
    assert!(
        of(&facing)["address"]
            .as_str()
            .unwrap_or_default()
            .ends_with(".elb.amazonaws.com"),
        "{served:#?}"
    );
    // What is told of a reading comes behind what is served by it.
    let view = eventually("the reading is told of", PATIENCE, async || {
        let view = edge.state().await["aws"].clone();
        (view["account"] == aws::ACCOUNT).then_some(view)
    })
    .await;
    assert_eq!(view["errors"], Value::Array(Vec::new()), "{view:#}");
    let notes = view["notes"].to_string();
    assert!(
        notes.contains(&inside) && notes.contains("internal load balancer"),
        "{notes}"
    );
    assert!(notes.contains("0000none"), "{notes}");

    // It gets another address: an Elastic IP in the place of the old one, followed within an interval.
    let other = ask(
        &moto,
        "ec2",
        "Action=AllocateAddress&Version=2016-11-15&Domain=vpc",
    )
    .await;
    let other_id = element(&other, "allocationId");
    {
        let mut world = accelerators.world();
        let group = world.accelerators[0]
            .groups
            .get_mut("us-east-1")
            .expect("there");
        group.1.insert(other_id.clone(), 5);
    }
    until("the new one is served", PATIENCE, async || {
        endpoints(&edge).await.iter().any(|e| e["id"] == *other_id)
    })
    .await;
}
