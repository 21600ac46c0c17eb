//! Custom routing: what is allowed is open, over TCP and UDP, and nothing else; the mapping is listed as it is served.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_tests::api::{Place, text};
use portolan_tests::datagram::{self, Answer};
use portolan_tests::deadline::{PATIENCE, eventually};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::{client, place};
use serde_json::{Value, json};

/// An accelerator with one group of one subnet.
struct Games {
    at: Place,
    _edge: Edge,
    accelerator: String,
    group: String,
    subnet: String,
    ip: String,
}

impl Games {
    async fn start(subnet: &str, ports: (u16, u16), destinations: Value) -> Games {
        let at = Place::fresh();
        let edge = at.edge("").ready().await;
        let create = json!({ "Name": "games", "IdempotencyToken": "t" });
        let made = at.ok("CreateCustomRoutingAccelerator", create).await;
        let accelerator = text(&made["Accelerator"]["AcceleratorArn"]);
        let ip = text(&made["Accelerator"]["IpSets"][0]["IpAddresses"][1]);
        let ranges = json!([{ "FromPort": ports.0, "ToPort": ports.1 }]);
        let create =
            json!({ "AcceleratorArn": accelerator, "PortRanges": ranges, "IdempotencyToken": "t" });
        let made = at.ok("CreateCustomRoutingListener", create).await;
        let create = json!({ "ListenerArn": made["Listener"]["ListenerArn"], "EndpointGroupRegion": "us-east-1", "IdempotencyToken": "t",
            "DestinationConfigurations": destinations });
        let made = at.ok("CreateCustomRoutingEndpointGroup", create).await;
        let group = text(&made["EndpointGroup"]["EndpointGroupArn"]);
        let add = json!({ "EndpointGroupArn": group, "EndpointConfigurations": [{ "EndpointId": subnet }] });
        at.ok("AddCustomRoutingEndpoints", add).await;
        Games {
            at,
            _edge: edge,
            accelerator,
            group,
            subnet: subnet.to_owned(),
            ip,
        }
    }

    /// Where the accelerator takes what is for `to`.
    async fn toward(&self, to: SocketAddr) -> SocketAddr {
        let by = json!({ "EndpointId": self.subnet, "DestinationAddress": to.ip().to_string(), "MaxResults": 100 });
        let by = self
            .at
            .ok("ListCustomRoutingPortMappingsByDestination", by)
            .await;
        let all = by["DestinationPortMappings"].as_array().expect("a list");
        let found = all
            .iter()
            .find(|mapping| mapping["DestinationSocketAddress"]["Port"] == to.port())
            .unwrap_or_else(|| panic!("{to} is not in {by}"));
        let socket = &found["AcceleratorSocketAddresses"][1];
        assert_eq!(text(&socket["IpAddress"]), self.ip);
        format!("{}:{}", self.ip, socket["Port"])
            .parse()
            .expect("an address")
    }

    async fn set(&self, operation: &str, to: SocketAddr, ports: &[u16]) {
        let input = json!({ "EndpointGroupArn": self.group, "EndpointId": self.subnet,
            "DestinationAddresses": [to.ip().to_string()], "DestinationPorts": ports });
        self.at.ok(operation, input).await;
    }
}

/// A subnet of loopback of this test's own, and a host in it.
fn subnet() -> (String, String) {
    let subnet = Place::fresh().pool.replace("/24", "/28");
    let host = subnet.replace("0/28", "5");
    (subnet, host)
}

#[tokio::test]
async fn what_is_allowed_is_open_over_tcp_and_udp_and_nothing_else() {
    let (subnet, host) = subnet();
    let port = place::fresh().port();
    let [one, other]: [SocketAddr; 2] =
        [port, port + 1].map(|port| format!("{host}:{port}").parse().expect("an address"));
    let _web = Endpoint::start_at(one, "inside", endpoint::naming()).await;
    let game = datagram::Endpoint::start_at(one, "inside", Answer::Name).await;
    let second = datagram::Endpoint::start_at(other, "second", Answer::Name).await;
    let both = json!([{ "FromPort": port, "ToPort": port + 1, "Protocols": ["TCP", "UDP"] }]);
    let games = Games::start(&subnet, (21000, 21100), both).await;
    let (to, to_other) = (games.toward(one).await, games.toward(other).await);
    assert!(client::is_refused(to).await, "denied at first");
    let player = datagram::Client::to(to).await;
    player.say(b"anybody?").await.expect("sent");
    let refused = player.hear_within(PATIENCE).await;
    assert_eq!(
        (refused, game.seen()),
        (None, Vec::new()),
        "denied at first"
    );

    games
        .set("AllowCustomRoutingTraffic", one, &[port, port + 1])
        .await;
    let answer = eventually("the allowed socket answers", PATIENCE, async || {
        client::ask(to, "who?").await.ok()
    })
    .await;
    assert!(answer.contains("inside"), "{answer}");
    let step = Duration::from_millis(200);
    for (to, name) in [(to, "inside"), (to_other, "second")] {
        let player = datagram::Client::to(to).await;
        let (answered, _) = datagram::who_at_last(&player, "who?", step).await;
        assert_eq!(answered, name);
    }

    // One of two ports of the same host: its flows end, the other's go on.
    let (player, neighbour) = (
        datagram::Client::to(to).await,
        datagram::Client::to(to_other).await,
    );
    player.who("before").await;
    neighbour.who("before").await;
    games.set("DenyCustomRoutingTraffic", one, &[port]).await;
    eventually("the denied socket is closed", PATIENCE, async || {
        tokio::net::TcpStream::connect(to).await.err().map(drop)
    })
    .await;
    // An answer may be late, so silence alone is not its end: nothing arrives either, while the neighbour is heard.
    eventually(
        "the live flow of datagrams has ended",
        PATIENCE,
        async || {
            game.seen();
            let _ = player.say(b"still there?").await;
            let is_silent = player.hear_within(step).await.is_none();
            neighbour.who("meanwhile").await;
            (is_silent && game.seen().is_empty()).then_some(())
        },
    )
    .await;
    game.seen();
    for _ in 0..5 {
        let _ = player.say(b"still there?").await;
    }
    assert_eq!(neighbour.who("after").await, "second");
    assert_eq!(game.seen(), Vec::new(), "nothing comes through");
    drop(second);
}

#[tokio::test]
async fn the_whole_mapping_is_listed_in_pages_of_twenty_thousand() {
    let destinations = json!([{ "FromPort": 80, "ToPort": 81, "Protocols": ["TCP", "UDP"] }]);
    let games = Games::start("10.64.0.0/18", (20_000, 60_000), destinations).await;
    let host: SocketAddr = "10.64.0.4:81".parse().expect("an address");
    games.set("AllowCustomRoutingTraffic", host, &[81]).await;
    let page = async |size: Option<u32>, token: &Value| {
        let mut input =
            json!({ "AcceleratorArn": games.accelerator, "EndpointGroupArn": games.group });
        if let Some(size) = size {
            input["MaxResults"] = json!(size);
        }
        if !token.is_null() {
            input["NextToken"] = token.clone();
        }
        games.at.call("ListCustomRoutingPortMappings", &input).await
    };
    let (_, first) = page(Some(20_000), &Value::Null).await;
    let (_, second) = page(Some(20_000), &first["NextToken"]).await;
    assert!(second.get("NextToken").is_none(), "the last page");
    let of = |page: &Value| page["PortMappings"].as_array().expect("a list").clone();
    let all = [of(&first), of(&second)].concat();
    // The first four addresses of a subnet and its last are AWS's own.
    assert_eq!((of(&first).len(), all.len()), (20_000, ((1 << 14) - 5) * 2));
    let line = |mapping: &Value| {
        let socket = &mapping["DestinationSocketAddress"];
        format!(
            "{} {}:{} {}",
            mapping["AcceleratorPort"],
            text(&socket["IpAddress"]),
            socket["Port"],
            text(&mapping["DestinationTrafficState"])
        )
    };
    let lines: Vec<String> = all.iter().map(line).collect();
    assert_eq!(
        lines[..3],
        [
            "20000 10.64.0.4:80 DENY",
            "20001 10.64.0.4:81 ALLOW",
            "20002 10.64.0.5:80 DENY"
        ]
    );
    assert_eq!(lines[32_757], "52757 10.64.63.254:81 DENY");
    let (_, few) = page(None, &Value::Null).await;
    assert_eq!(of(&few).len(), 10, "the default");
    let (status, refused) = page(Some(20_001), &Value::Null).await;
    assert_eq!(
        (status, text(&refused["__type"])),
        (400, "InvalidArgumentException".to_owned())
    );
}
