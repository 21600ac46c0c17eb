//! Nonsense on every port: nothing panics, what is refused is counted, and the next client is served.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::net::SocketAddr;

use portolan_tests::client;
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::toml::{Group, shop};
use portolan_tests::{http, place};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Beginnings that get past the first checks of one parser or another.
const BEGINNINGS: [&[u8]; 9] = [
    b"",
    b"PROXY ",
    b"PROXY TCP4 ",
    b"PROXY TCP6 ::",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x40",
    b"GET / HTTP/1.1\r\n",
    b"POST /api/v1/endpoints/%zz/drain HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
    b"GET /api/v1/why?client=%00&to=[[[ HTTP/1.1\r\nHost: \xff\r\n\r\n",
];

/// Sends one piece of nonsense, and leaves in one of several impolite ways.
async fn pester(at: SocketAddr, random: &mut SmallRng) {
    let mut bytes = BEGINNINGS[random.random_range(0..BEGINNINGS.len())].to_vec();
    let mut noise = vec![0; [0, 1, 20, 300, 5_000, 20_000][random.random_range(0..6)]];
    random.fill(noise.as_mut_slice());
    bytes.append(&mut noise);
    let mut stream = TcpStream::connect(at).await.unwrap();
    // The other side may well hang up in the middle.
    let _ = stream.write_all(&bytes).await;
    match random.random_range(0..3) {
        0 => client::reset(stream),
        1 => drop(stream),
        _ => {
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            let _ = tokio::time::timeout(PATIENCE, read)
                .await
                .expect("it is let go");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_on_every_port_is_survived() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let (plain, believing, readiness) = (place::fresh(), place::fresh(), place::fresh());
    let group = [Group::new("r", "1ms").endpoint(&endpoint)];
    let accept_proxy = "accept_proxy = { from = [\"127.0.0.0/8\"], timeout = \"3s\" }";
    let toml = [
        format!("[readiness]\nlisten = \"{readiness}\"\n"),
        shop(plain, "idle_timeout = \"5s\"", &group),
        shop(believing, accept_proxy, &group).replacen("shop", "believing", 1),
    ]
    .concat();
    let mut edge = Edge::start(&toml).await;
    let before = edge.ended("limit").await;

    let seed = 0x0067_6172_6261_6765;
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..150 {
        for at in [plain, believing, readiness, edge.admin()] {
            pester(at, &mut random).await;
        }
    }
    assert!(edge.process().ended().is_none(), "seed {seed:#x}");
    assert!(!edge.log().contains("panicked"), "seed {seed:#x}");

    assert_eq!(client::ask(plain, "x").await.unwrap(), "a");
    let polite = client::ask(believing, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nx")
        .await
        .unwrap();
    assert_eq!(polite, "a");
    assert_eq!(
        http::request(readiness, "GET", "/readyz").await.unwrap().0,
        200
    );
    assert_eq!(edge.get("/livez").await.0, 200);
    // Half of those who connected there at the least sent what no header begins with.
    until("refusals are counted", PATIENCE, async || {
        edge.ended("limit").await >= before + 75
    })
    .await;
    until("nothing is left over", PATIENCE, async || {
        edge.metrics().await.sum("flows_active", &[]) == 0.0
    })
    .await;
}

/// Many who connect and never say what the edge is waiting for are let go by its timer, and do not stand in the way meanwhile.
#[tokio::test]
async fn silent_connections_do_not_hold_up_others() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let at = place::fresh();
    let accept_proxy = "accept_proxy = { from = [\"127.0.0.0/8\"], timeout = \"5s\" }";
    let edge = Edge::start(&shop(
        at,
        accept_proxy,
        &[Group::new("r", "1ms").endpoint(&endpoint)],
    ))
    .await;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(TcpStream::connect(at).await.unwrap());
    }
    // The line break that `ask` adds completes the header; the answer is to what the header's end makes of an empty line.
    let mut caller = client::Caller::connect(at).await.unwrap();
    let answer = caller
        .ask("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello")
        .await
        .unwrap();
    assert_eq!(answer, "a");
    until("they are let go", PATIENCE, async || {
        edge.ended("limit").await == 500
    })
    .await;
}

#[tokio::test]
async fn the_admin_server_answers_strangers_with_errors_of_theirs() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let edge = Edge::start(&shop(
        place::fresh(),
        "",
        &[Group::new("r", "1ms").endpoint(&endpoint)],
    ))
    .await;
    for (method, path) in [
        ("GET", "/nowhere"),
        ("GET", "/api/v1/why"),
        ("GET", "/api/v1/why?client=nobody&to=nowhere"),
        ("POST", "/api/v1/endpoints/nothing/drain"),
        ("POST", "/api/v1/endpoints/a/drain?for=ever"),
        ("DELETE", "/api/v1/state"),
    ] {
        let (status, body) = http::request(edge.admin(), method, path).await.unwrap();
        assert!(
            (400..500).contains(&status),
            "{method} {path}: {status} {body}"
        );
    }
    // A page in an operator's browser must not reach it under another name.
    let (status, _) = http::request_as(edge.admin(), "GET", "/api/v1/state", "evil.example")
        .await
        .unwrap();
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(edge.get("/api/v1/state").await.0, 200);
}
