//! Addresses announced by BGP: they live as long as the process, are left politely, and BIRD is told by a file that it may refuse.

use std::net::SocketAddr;
use std::time::Instant;

use portolan_tests::api::{Place, text};
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::lab::anycast::{
    by_bird, configure_bird, next_hop, put, served_by, states, until_by, until_states,
};
use portolan_tests::lab::scene::{self, LINES};
use portolan_tests::lab::{Lab, VIPS, World};
use serde_json::{Value, json};

/// A PoP's configuration, with this after it.
fn configuration(world: &World, pop: &str, announce: &str) -> String {
    format!("{}\n{announce}\n", scene::mapped(world, pop, ""))
}

async fn error(edge: &Edge) -> Option<String> {
    let state = edge.state().await;
    state["announce"]["error"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_on_the_process_own_interface_goes_with_the_process() {
    let world = World::atlantic().without_vips();
    let Some(lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let announce = "[announce]\nmode = [\"interface\"]\ndrain = \"0s\"\nself_check = \"200ms\"";
    let mut edges = Vec::new();
    for pop in ["pop-iad", "pop-fra"] {
        edges.push(scene::pop(&lab, pop, &configuration(&world, pop, announce)).await);
    }
    until_by(&lab, "r-use", "pop-iad").await;
    until_by(&lab, "r-eu", "pop-fra").await;
    let served = served_by(&lab, "c-nyc").await.unwrap();
    assert!(served.starts_with("us-east-1-"), "{served}");
    // IPv6 may come later than the route that was waited for.
    until("both prefixes are counted", PATIENCE, async || {
        let metrics = edges[0].metrics().await;
        metrics.sum("announced_prefixes", &[]) == 2.0
    })
    .await;

    let began = Instant::now();
    edges[0].signal("KILL");
    until_by(&lab, "r-use", "r-eu").await;
    println!(
        "kill -9: the router had left the PoP after {:?}",
        began.elapsed()
    );
    assert!(served_by(&lab, "c-nyc").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_goes_on_with_the_interface_and_takes_off_what_its_file_lacks() {
    let world = World::atlantic().without_vips();
    let Some(lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let announce = "[announce]\nmode = [\"interface\"]\ndrain = \"0s\"\nself_check = \"200ms\"";
    let toml = configuration(&world, "pop-iad", announce);
    let edge = scene::pop(&lab, "pop-iad", &toml).await;
    let pop = lab.node("pop-iad");
    let stands = async |vip: usize| {
        let shown = pop.ip(&["addr", "show", "dev", "vip0"]).await;
        shown.contains(&format!(" {}/", VIPS[vip]))
    };
    until("both addresses stand", PATIENCE, async || {
        stands(0).await && stands(1).await
    })
    .await;
    until_by(&lab, "r-use", "pop-iad").await;

    let less = toml.replace(&format!(", \"{}\"", VIPS[1]), "");
    assert_ne!(less, toml);
    let successor = edge.successor_on(&less).await;
    until("the successor serves", PATIENCE, async || {
        assert_eq!(next_hop(&lab, "r-use").await, "pop-iad");
        successor.output().contains(" serving pop=")
    })
    .await;
    until("what its file lacks is gone", PATIENCE, async || {
        assert_eq!(next_hop(&lab, "r-use").await, "pop-iad");
        !stands(1).await
    })
    .await;
    assert!(stands(0).await);
    let served = served_by(&lab, "c-nyc").await.unwrap();
    assert!(served.starts_with("us-east-1-"), "{served}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readmes_bird_announces_leaves_politely_and_may_refuse() {
    let world = World::atlantic().without_vips();
    let Some(mut lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    // Longer than the test looks, however busy the machine is; it is told when that has been long enough.
    let (announce, include) = by_bird(&mut lab, "pop-iad", "drain = \"1h\"");
    let toml = configuration(&world, "pop-iad", &announce);
    let edge = scene::pop(&lab, "pop-iad", &toml).await;
    let (own, whole) = configure_bird(&mut lab, "pop-iad", "r-use", &include).await;
    until_by(&lab, "r-use", "pop-iad").await;
    until_states(&edge, &["announced", "announced"]).await;
    assert!(served_by(&lab, "c-nyc").await.is_ok());

    // Left: first as the worst choice, then not at all; what comes meanwhile is served.
    edge.command(&["drain", "--pop"]).await;
    until(
        "the router hears the community and the prepends",
        PATIENCE,
        async || {
            let route = lab.ask_bird("r-use", "show route for 203.0.113.10/32 all");
            route.is_some_and(|route| {
                route.contains("(65535,0)") && route.contains("65100 65100 65100 65100")
            })
        },
    )
    .await;
    assert!(served_by(&lab, "c-nyc").await.is_ok());
    assert_eq!(next_hop(&lab, "r-use").await, "pop-iad");
    edge.rewrite(&toml.replace("drain = \"1h\"", "drain = \"1s\""));
    edge.signal("HUP");
    until("it is withdrawn", PATIENCE, async || {
        next_hop(&lab, "r-use").await != "pop-iad"
    })
    .await;
    until_states(&edge, &["left", "left"]).await;
    edge.command(&["undrain", "--pop"]).await;
    until_by(&lab, "r-use", "pop-iad").await;
    until_states(&edge, &["announced", "announced"]).await;

    // Somebody breaks BIRD's configuration: the old one stays in force, and so does the old include.
    put(&own, &format!("{whole}\nnonsense;\n"));
    let before = std::fs::read_to_string(&include).unwrap();
    edge.command(&["drain", "--pop"]).await;
    until("BIRD refuses and that is told", PATIENCE, async || {
        error(&edge)
            .await
            .is_some_and(|error| error.contains("BIRD refuses"))
    })
    .await;
    // It is tried again every second; in between it is what it was.
    until("the old include is back", PATIENCE, async || {
        std::fs::read_to_string(&include).unwrap() == before
    })
    .await;
    assert_eq!(next_hop(&lab, "r-use").await, "pop-iad");
    put(&own, &whole);
    until("it is withdrawn after all", PATIENCE, async || {
        next_hop(&lab, "r-use").await != "pop-iad"
    })
    .await;
    until("nothing is wrong any more", PATIENCE, async || {
        error(&edge).await.is_none()
    })
    .await;
}

/// Asks the API of `pop-iad`.
async fn ok(lab: &Lab, operation: &'static str, input: Value) -> Value {
    let api = Place {
        listen: SocketAddr::from(([127, 0, 0, 1], 9980)),
        pool: String::new(),
    };
    let node = lab.node("pop-iad");
    node.run(async move || api.ok(operation, input).await).await
}

async fn until_range_is(lab: &Lab, state: &str) {
    until(&format!("the range is {state}"), PATIENCE, async || {
        let ranges = ok(lab, "ListByoipCidrs", json!({})).await;
        ranges["ByoipCidrs"][0]["State"] == state
    })
    .await;
}

/// An accelerator of the API at the first address, with an endpoint in `us-east-1`.
async fn accelerator_in_range(lab: &Lab) {
    let made =
        json!({ "Name": "shop", "IpAddresses": [VIPS[0].to_string()], "IdempotencyToken": "t" });
    let made = ok(lab, "CreateAccelerator", made).await;
    let listener = json!({ "AcceleratorArn": made["Accelerator"]["AcceleratorArn"], "Protocol": "TCP",
        "PortRanges": [{ "FromPort": LINES, "ToPort": LINES }], "IdempotencyToken": "t" });
    let made = ok(lab, "CreateListener", listener).await;
    let endpoint = SocketAddr::new(lab.node("us-east-1").endpoint(1).v4.into(), LINES).to_string();
    let group = json!({ "ListenerArn": made["Listener"]["ListenerArn"], "EndpointGroupRegion": "us-east-1",
        "EndpointConfigurations": [{ "EndpointId": endpoint }], "IdempotencyToken": "t" });
    let made = ok(lab, "CreateEndpointGroup", group).await;
    let group = text(&made["EndpointGroup"]["EndpointGroupArn"]);
    until("its endpoint is up", PATIENCE, async || {
        let shown = json!({ "EndpointGroupArn": group });
        let shown = ok(lab, "DescribeEndpointGroup", shown).await;
        shown["EndpointGroup"]["EndpointDescriptions"][0]["HealthState"] == "HEALTHY"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_announced_while_the_api_advertises_it_and_its_addresses_serve() {
    let world = World::atlantic().without_vips();
    let Some(mut lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let (announce, include) = by_bird(&mut lab, "pop-iad", "drain = \"1s\"");
    let toml = format!("[pop]\nname = \"pop-iad\"\n[api]\n{announce}\n");
    let edge = scene::pop(&lab, "pop-iad", &toml).await;
    configure_bird(&mut lab, "pop-iad", "r-use", &include).await;
    let range = json!({ "Cidr": "203.0.113.0/24" });
    let brought = json!({ "Cidr": "203.0.113.0/24", "CidrAuthorizationContext": { "Message": "m", "Signature": "s" } });
    ok(&lab, "ProvisionByoipCidr", brought).await;
    accelerator_in_range(&lab).await;
    until_range_is(&lab, "READY").await;
    assert_eq!(next_hop(&lab, "r-use").await, "nowhere");
    assert!(states(&edge).await.is_empty(), "{}", edge.state().await);

    let answer = ok(&lab, "AdvertiseByoipCidr", range.clone()).await;
    assert_eq!(answer["ByoipCidr"]["State"], "PENDING_ADVERTISING");
    until_range_is(&lab, "ADVERTISING").await;
    until_by(&lab, "r-use", "pop-iad").await;
    let route = lab.ask_bird("r-use", "show route for 203.0.113.10");
    let route = route.expect("BIRD answers");
    assert!(route.contains("203.0.113.0/24"), "{route}");
    let served = served_by(&lab, "c-nyc").await.unwrap();
    assert!(served.starts_with("us-east-1-"), "{served}");

    let answer = ok(&lab, "WithdrawByoipCidr", range).await;
    assert_eq!(answer["ByoipCidr"]["State"], "PENDING_WITHDRAWING");
    until_range_is(&lab, "READY").await;
    until("the router has left it", PATIENCE, async || {
        next_hop(&lab, "r-use").await == "nowhere"
    })
    .await;
    assert!(states(&edge).await.is_empty(), "{}", edge.state().await);
}
