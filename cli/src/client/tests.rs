//! The client against small servers that answer well, badly, late or not at all.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn url(text: &str) -> Result<String, String> {
    text.parse::<AdminUrl>().map(|url| url.to_string())
}

fn client(at: SocketAddr, token: Option<&str>) -> Client {
    Client {
        url: at.to_string().parse().unwrap(),
        token: token.map(str::to_owned),
    }
}

/// Answers one request with `answer` and gives what was asked.
async fn server(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.windows(4).any(|window| window == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (at, asked)
}

#[test]
fn urls_are_read_with_or_without_a_scheme() {
    for (text, expected) in [
        ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
        ("http://127.0.0.1:9900/", "http://127.0.0.1:9900"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("127.0.0.1:1234", "http://127.0.0.1:1234"),
        ("localhost", "http://localhost:9900"),
        ("http://[::1]:9900", "http://[::1]:9900"),
        ("[::1]", "http://[::1]:9900"),
    ] {
        assert_eq!(url(text), Ok(expected.to_owned()), "{text}");
    }
    for text in [
        "",
        "http://",
        "https://127.0.0.1",
        "ftp://x",
        "http://x/api",
        "http://u@x",
        "http://x:99999",
        "http://x:",
        "a b",
        "http://x?y",
        "unix:/run/x",
    ] {
        assert!(url(text).is_err(), "{text}");
    }
}

#[test]
fn ids_are_one_segment_of_a_path() {
    assert_eq!(encode("web-1"), "web-1");
    assert_eq!(encode("arn:aws:x/y z?é"), "arn%3Aaws%3Ax%2Fy%20z%3F%C3%A9");
}

#[tokio::test]
async fn an_answer_is_read_and_the_request_names_host_and_token() {
    let (at, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}").await;
    let (value, whole): (Value, Value) = client(at, Some("s3cret"))
        .get("/api/v1/state")
        .await
        .unwrap();
    assert_eq!(value, json!({ "a": 1 }));
    assert_eq!(whole, value);
    let asked = asked.await.unwrap().to_ascii_lowercase();
    assert!(
        asked.starts_with("get /api/v1/state http/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains(&format!("host: {at}\r\n")), "{asked}");
    assert!(
        asked.contains("authorization: bearer s3cret\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let (at, _asked) = server("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[1,2]").await;
    let (value, _): (Vec<u8>, Value) = client(at, None).get("/").await.unwrap();
    assert_eq!(value, [1, 2]);
}

#[tokio::test]
async fn every_failure_says_what_to_do() {
    for (answer, token, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 29\r\n\r\n{\"error\":\"no endpoint \\\"x\\\"\"}",
            None,
            "no endpoint \"x\"",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
            None,
            "--token-file FILE",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
            Some("x"),
            "does not accept this token",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            None,
            "does not answer like Portolan (status 200)",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n{}",
            None,
            "(status 502)",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\"",
            None,
            "gave no whole answer",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", None, "gave no whole answer"),
    ] {
        let (at, _asked) = server(answer).await;
        let error = client(at, token).get::<Value>("/").await.unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{expected:?} in {error:#}"
        );
    }
}

#[tokio::test]
async fn an_answer_in_another_shape_names_the_version() {
    let (at, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}").await;
    let error = client(at, None).get::<Vec<u8>>("/").await.unwrap_err();
    assert!(
        error.to_string().contains("another version of Portolan"),
        "{error:#}"
    );
}

#[tokio::test]
async fn nobody_there_names_the_address_and_the_remedy() {
    let at = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = client(at, None)
        .get::<Value>("/")
        .await
        .unwrap_err()
        .to_string();
    for expected in [
        &format!("http://{at}"),
        "connection refused",
        "portolan run",
        "--admin",
        "PORTOLAN_ADMIN",
    ] {
        assert!(error.contains(expected), "{expected:?} in {error}");
    }
}

#[tokio::test]
async fn a_token_that_http_cannot_carry_is_no_panic() {
    let (at, _asked) = server("").await;
    let error = client(at, Some("a\nb"))
        .get::<Value>("/")
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("cannot carry"), "{error:#}");
}
