//! The harness keeps its word: endpoints fail as they say they do. Without this, an end-to-end test proves nothing.

use std::time::Duration;

use portolan_tests::client::{self, Caller, End};
use portolan_tests::deadline::{patiently, throughout};
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::payload::{self, Exchange, Order};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_killed_endpoint_resets_refuses_and_comes_back() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let mut caller = Caller::connect(endpoint.address()).await.unwrap();
    assert_eq!(caller.ask("hello").await.unwrap(), "a");
    assert!(caller.is_open());

    endpoint.kill().await;
    assert_eq!(caller.end().await, End::Reset);
    let refused = client::ask(endpoint.address(), "x").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    endpoint.revive().await;
    assert_eq!(client::ask(endpoint.address(), "again").await.unwrap(), "a");
    assert!(endpoint.seen().line("hello") && endpoint.seen().line("again"));
}

#[tokio::test]
async fn a_swallowing_endpoint_answers_nothing_until_revived() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let mut caller = Caller::connect(endpoint.address()).await.unwrap();
    assert_eq!(caller.ask("hello").await.unwrap(), "a");

    endpoint.swallow().await;
    let answer = tokio::spawn(async move { caller.ask("are you there").await });
    let connect = tokio::spawn(TcpStream::connect(endpoint.address()));
    throughout(
        "nothing is answered",
        Duration::from_millis(500),
        async || !answer.is_finished() && !connect.is_finished(),
    )
    .await;

    endpoint.revive().await;
    assert_eq!(patiently("an answer", answer).await.unwrap().unwrap(), "a");
    patiently("a connection", connect).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_vanished_endpoint_refuses_and_leaves_connections_open() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let mut caller = Caller::connect(endpoint.address()).await.unwrap();
    caller.ask("hello").await.unwrap();

    endpoint.vanish().await;
    let refused = client::ask(endpoint.address(), "x").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    throughout(
        "the connection stays",
        Duration::from_millis(200),
        async || caller.is_open(),
    )
    .await;
}

#[tokio::test]
async fn a_refusing_endpoint_goes_on_with_what_it_has() {
    let endpoint = Endpoint::start("a", endpoint::naming()).await;
    let mut caller = Caller::connect(endpoint.address()).await.unwrap();
    caller.ask("hello").await.unwrap();

    endpoint.refuse().await;
    assert!(client::ask(endpoint.address(), "x").await.is_err());
    assert_eq!(caller.ask("still here").await.unwrap(), "a");
}

/// The judge of the relay finds nothing wrong where nothing is in between, and does find what is wrong.
#[tokio::test]
async fn an_exchange_proves_its_bytes() {
    let endpoint = Endpoint::start("a", payload::exchanging()).await;
    for order in [Order::Together, Order::AfterClient, Order::AfterEndpoint] {
        let exchange = Exchange {
            seed: 7,
            up: 2_500_000,
            down: 1_234_567,
            order,
            piece: 65_536,
        };
        let stream = TcpStream::connect(endpoint.address()).await.unwrap();
        patiently("an exchange", exchange.ask(stream))
            .await
            .unwrap();
    }

    let mut wire = Vec::new();
    payload::send(&mut wire, 7, 10_000, 1_000).await.unwrap();
    payload::receive(&mut wire.as_slice(), 7, 10_000, 333)
        .await
        .unwrap();
    assert!(
        payload::receive(&mut &wire[..9_999], 7, 10_000, 333)
            .await
            .is_err()
    );
    wire[5_000] ^= 1;
    assert!(
        payload::receive(&mut wire.as_slice(), 7, 10_000, 333)
            .await
            .is_err()
    );
}
