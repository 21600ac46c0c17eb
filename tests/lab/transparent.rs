//! Clients' own addresses: what README tells operators to do, as it stands there, and what becomes of flows with and without it.

use std::net::{IpAddr, SocketAddr};

use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::lab::anycast::{commands, obey};
use portolan_tests::lab::{Lab, Node, VIPS, World};
use portolan_tests::peer::{is_installed, skip};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Where endpoints tell whom they see.
const PORT: u16 = 9100;

/// Answers every connection with the address that it came from.
async fn tell_whom(region: &Node) {
    let both = region.endpoint(1);
    for ip in [IpAddr::V4(both.v4), IpAddr::V6(both.v6)] {
        region
            .run(async move || {
                let listener = TcpListener::bind((ip, PORT)).await.unwrap();
                tokio::task::spawn_local(async move {
                    loop {
                        let (mut stream, peer) = listener.accept().await.unwrap();
                        tokio::task::spawn_local(async move {
                            let _ = stream.write_all(peer.to_string().as_bytes()).await;
                            // Open as long as its client wants it: its four addresses and ports are taken.
                            let _ = stream.read(&mut [0]).await;
                        });
                    }
                });
            })
            .await;
    }
}

/// What an endpoint sees of a client that speaks to a VIP, and what the client is; the connection stands as long as it is held.
async fn ask(client: &Node, to: SocketAddr, from_port: u16) -> (String, SocketAddr, TcpStream) {
    client
        .run(async move || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None);
            let socket = socket.unwrap();
            socket.set_reuse_address(true).unwrap();
            let any: IpAddr = match to {
                SocketAddr::V4(_) => [0; 4].into(),
                SocketAddr::V6(_) => [0u16; 8].into(),
            };
            socket
                .bind(&SockAddr::from(SocketAddr::new(any, from_port)))
                .unwrap();
            let mut stream = TcpSocket::from_std_stream(socket.into())
                .connect(to)
                .await
                .unwrap();
            let mut seen = [0; 64];
            let len = stream.read(&mut seen).await.unwrap();
            let seen = String::from_utf8_lossy(&seen[..len]).into_owned();
            let own = stream.local_addr().unwrap();
            (seen, own, stream)
        })
        .await
}

fn configuration(region: &Node) -> String {
    let both = region.endpoint(1);
    let mut toml = String::from("[pop]\nname = \"pop\"\n");
    for (name, vip, to) in [
        ("four", VIPS[0], IpAddr::V4(both.v4)),
        ("six", VIPS[1], IpAddr::V6(both.v6)),
    ] {
        toml += &format!("[[accelerator]]\nname = \"{name}\"\naddresses = [\"{vip}\"]\n");
        for port in [9000, 9001] {
            toml += &format!(
                "[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [{port}]\n\
                 [[accelerator.listener.endpoint_group]]\nregion = \"near\"\nclient_address = \"transparent\"\n\
                 endpoints = [{{ id = \"{name}-{port}\", address = \"{}\" }}]\n",
                SocketAddr::new(to, PORT)
            );
        }
    }
    toml
}

/// Why not all groups are transparent; `None` when all are.
async fn reason(edge: &Edge) -> Option<String> {
    let state = edge.state().await;
    let accelerators = state["accelerators"].as_array().unwrap().iter();
    let listeners = accelerators.flat_map(|a| a["listeners"].as_array().unwrap());
    let mut groups = listeners.flat_map(|l| l["endpoint_groups"].as_array().unwrap());
    groups.find_map(|group| group["client_address_reason"].as_str().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_see_their_clients_once_answers_come_back_and_the_pop_until_then() {
    let Some(lab) = Lab::start(World::star(&[("near", "1ms")])).await else {
        return;
    };
    let (pop, near, client) = (lab.node("pop"), lab.node("near"), lab.node("client"));
    // A host that knows its own network alone, and takes nothing from strangers.
    for family in ["-4", "-6"] {
        near.ip(&[family, "route", "del", "default"]).await;
    }
    let strict = "sysctl -w net.ipv4.conf.all.rp_filter=1".to_owned();
    obey(near, vec![strict]).await;
    tell_whom(near).await;
    let edge = Edge::with(&configuration(near)).at(pop).ready().await;

    let why = eventually("the self-test fails", PATIENCE, async || {
        reason(&edge)
            .await
            .filter(|why| why.contains("return path"))
    })
    .await;
    println!("{why}");
    let vips = [VIPS[0], VIPS[1]].map(|vip| SocketAddr::new(vip, 9000));
    for vip in vips {
        let (seen, own, _stream) = ask(client, vip, 0).await;
        let seen: SocketAddr = seen.parse().unwrap();
        assert_ne!(seen.ip(), own.ip(), "the edge's own address");
    }
    // One of the two ends of the way back may have been asked before the other.
    until("all four groups are refused", PATIENCE, async || {
        edge.metrics().await.sum("client_address_refused", &[]) == 4.0
    })
    .await;

    let named = |block, from, to| {
        let lines = commands("## Clients' own addresses", block).into_iter();
        lines.map(|line| line.replace(from, to)).collect()
    };
    obey(pop, named(1, "backbone0", "near")).await;
    obey(near, named(2, "pop0", "pop")).await;
    until("answers come back", PATIENCE, async || {
        reason(&edge).await.is_none()
    })
    .await;
    for vip in vips {
        let (seen, own, _stream) = ask(client, vip, 0).await;
        assert_eq!(seen, own.to_string(), "the client's own address and port");
        // The same client port by way of another listener meets the same endpoint.
        let (seen, ..) = ask(client, SocketAddr::new(vip.ip(), 9001), own.port()).await;
        assert_ne!(seen, own.to_string(), "taken, so that the edge's is used");
    }
    until("both are counted", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.sum("client_address_fallbacks_total", &[("cause", "port")]) == 2.0
    })
    .await;

    // The way back goes: flows are not lost for long, and come from the PoP again.
    pop.ip(&["rule", "del", "iif", "near", "lookup", "100"])
        .await;
    eventually("the loss is seen", PATIENCE, async || reason(&edge).await).await;
    let (seen, own, _stream) = ask(client, vips[0], 0).await;
    assert_ne!(seen, own.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cap_net_raw_alone_is_enough_and_without_it_that_is_told() {
    if !is_installed("setpriv") {
        return skip("setpriv is not installed");
    }
    let Some(lab) = Lab::start(World::star(&[("near", "1ms")])).await else {
        return;
    };
    let (pop, near, client) = (lab.node("pop"), lab.node("near"), lab.node("client"));
    tell_whom(near).await;
    for (place, block, from, to) in [(pop, 1, "backbone0", "near"), (near, 2, "pop0", "pop")] {
        let lines = commands("## Clients' own addresses", block).into_iter();
        obey(place, lines.map(|line| line.replace(from, to)).collect()).await;
    }
    let at = SocketAddr::new(VIPS[0], 9000);
    let with = |right| {
        Edge::with(&configuration(near))
            .at(pop)
            .with_no_right_but(right)
    };
    {
        let edge = with("").ready().await;
        until("the self-test says why", PATIENCE, async || {
            let why = reason(&edge).await;
            why.is_some_and(|why| why.contains("lacks CAP_NET_RAW"))
        })
        .await;
        let (seen, own, _stream) = ask(client, at, 0).await;
        assert_ne!(seen, own.to_string(), "the edge's own address");
    }
    let mut edge = with("net_raw").ready().await;
    let status = format!("/proc/{}/status", edge.process().pid());
    let status = std::fs::read_to_string(status).unwrap();
    // capabilities(7): CAP_NET_RAW is 13.
    for line in ["Uid:\t65534\t65534", "CapEff:\t0000000000002000"] {
        assert!(status.contains(line), "{status}");
    }
    until("the client's own address is seen", PATIENCE, async || {
        let (seen, own, _stream) = ask(client, at, 0).await;
        seen == own.to_string()
    })
    .await;
}
