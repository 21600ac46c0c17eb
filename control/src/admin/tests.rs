//! The router as a client meets it, over a real controller and a data path that carries nothing.

mod random;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::*;

const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9900);

fn admin(toml: &str, token_file: Option<PathBuf>) -> Admin {
    let flow_log = Arc::new(FlowLog::start("fra1").unwrap());
    Admin::new(AdminOptions {
        control: idle::controller(toml),
        flow_log,
        token_file,
    })
    .unwrap()
}

fn router() -> Router {
    admin(idle::FILE, None).router(SocketAddr::from(LISTEN))
}

async fn ask(router: &Router, request: axum::http::request::Builder, body: &str) -> Response {
    let request = request.body(Body::from(body.to_owned())).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn asked(method: &str, uri: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "127.0.0.1:9900");
    let response = ask(&router(), request, body).await;
    let status = response.status();
    (status, json_of(response).await)
}

async fn text_of(response: Response) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn json_of(response: Response) -> Value {
    let text = text_of(response).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn liveness_metrics_state_and_dashboard_are_served() {
    let router = router();
    for (path, kind, holds) in [
        ("/livez", "text/plain; charset=utf-8", "ok"),
        (
            "/metrics",
            "text/plain; version=0.0.4",
            "portolan_flows_active",
        ),
        ("/api/v1/state", "application/json", "\"accelerators\""),
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
    ] {
        let response = ask(&router, Request::get(path), "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{path}");
        assert_eq!(
            response.headers()[header::CACHE_CONTROL],
            "no-store",
            "{path}"
        );
        assert!(text_of(response).await.contains(holds), "{path}");
    }
}

#[tokio::test]
async fn the_state_is_what_the_commands_read() {
    let (status, state) = asked("GET", "/api/v1/state", "").await;
    assert_eq!(status, StatusCode::OK);
    let state: StateView = serde_json::from_value(state).unwrap();
    assert_eq!(state.accelerators[0].name, "shop");
}

#[tokio::test]
async fn readiness_is_a_status_with_reasons() {
    let control = idle::controller("");
    let router: Router = readiness::routes(control.clone());
    let status = async || ask(&router, Request::get("/readyz"), "").await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while status().await.status() != StatusCode::OK {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            text_of(status().await).await
        );
        tokio::task::yield_now().await;
    }

    control.begin_shutdown();
    let response = status().await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = json_of(response).await;
    assert_eq!(body["ready"], false);
    assert!(!body["reasons"].as_array().unwrap().is_empty(), "{body}");
}

#[tokio::test]
async fn why_answers_or_says_what_was_wrong_with_the_question() {
    let (status, answer) = asked(
        "GET",
        "/api/v1/why?client=198.51.100.7:40000&to=127.77.0.10:80/TCP",
        "",
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["chosen"]["endpoint"], "web-1");

    for (query, expected) in [
        ("", StatusCode::BAD_REQUEST),
        ("?client=198.51.100.7", StatusCode::BAD_REQUEST),
        ("?client=web&to=127.77.0.10:80/TCP", StatusCode::BAD_REQUEST),
        (
            "?client=198.51.100.7&to=127.77.0.10/TCP",
            StatusCode::BAD_REQUEST,
        ),
        (
            "?client=198.51.100.7&to=127.77.0.10:80/TCP&cleint=1",
            StatusCode::BAD_REQUEST,
        ),
        (
            "?client=198.51.100.7&to=192.0.2.99:80/TCP",
            StatusCode::NOT_FOUND,
        ),
        (
            "?client=198.51.100.7&to=127.77.0.10:80/UDP",
            StatusCode::NOT_FOUND,
        ),
    ] {
        let (status, answer) = asked("GET", &format!("/api/v1/why{query}"), "").await;
        assert_eq!(status, expected, "{query}: {answer}");
        assert!(
            answer["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
            "{query}: {answer}"
        );
    }
}

#[tokio::test]
async fn drains_take_percent_encoded_ids_and_say_where_in_query_or_body() {
    let router = router();
    let post = async |uri: &str, body: &str| {
        let response = ask(&router, Request::post(uri), body).await;
        (response.status(), json_of(response).await)
    };
    let (status, answer) = post("/api/v1/endpoints/web-1/drain?region=eu-west-1&for=1h", "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        answer["places"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    assert!(answer["until"].is_string(), "{answer}");
    let (status, answer) = post(
        "/api/v1/endpoints/arn%3Aaws%3Ax%2Fy%3Fz/drain",
        r#"{"region":"us-east-1"}"#,
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["endpoint"], "arn:aws:x/y?z");

    let state = json_of(ask(&router, Request::get("/api/v1/state"), "").await).await;
    assert_eq!(
        state["drains"].as_array().map(Vec::len),
        Some(2),
        "{state:#}"
    );
    let (status, answer) = post("/api/v1/endpoints/web-1/undrain", "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, answer) = post("/api/v1/endpoints/web-1/undrain", "").await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}

#[tokio::test]
async fn a_drain_that_is_not_understood_drains_nothing() {
    for (uri, body, expected) in [
        ("nope/drain", "", StatusCode::NOT_FOUND),
        ("web-1/drain?region=mars-1", "", StatusCode::NOT_FOUND),
        ("web-1/drain?regoin=us-east-1", "", StatusCode::BAD_REQUEST),
        ("web-1/drain?region=a&region=b", "", StatusCode::BAD_REQUEST),
        ("web-1/drain?for=soon", "", StatusCode::BAD_REQUEST),
        ("web-1/drain?for=0s", "", StatusCode::BAD_REQUEST),
        ("web-1/drain?for=9000000h", "", StatusCode::BAD_REQUEST),
        (
            "web-1/drain",
            "{\"regoin\":\"us-east-1\"}",
            StatusCode::BAD_REQUEST,
        ),
        ("web-1/drain", "[\"us-east-1\"]", StatusCode::BAD_REQUEST),
        ("web-1/drain", "region=us-east-1", StatusCode::BAD_REQUEST),
        (
            "web-1/drain?region=us-east-1",
            "{}",
            StatusCode::BAD_REQUEST,
        ),
        ("web-1/undrain?for=1h", "", StatusCode::BAD_REQUEST),
        ("web-1/undrain", "", StatusCode::CONFLICT),
        ("%ff/drain", "", StatusCode::BAD_REQUEST),
        (
            "web-1/drain",
            &"x".repeat(BODY_LIMIT + 1),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let (status, answer) = asked("POST", &format!("/api/v1/endpoints/{uri}"), body).await;
        assert_eq!(
            status,
            expected,
            "{uri} {}: {answer}",
            &body[..body.len().min(40)]
        );
        assert!(
            answer["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
            "{uri}: {answer}"
        );
    }
}

#[tokio::test]
async fn the_whole_pop_drains_and_comes_back() {
    let router = router();
    for (path, draining) in [("drain", true), ("undrain", false)] {
        let response = ask(&router, Request::post(format!("/api/v1/pop/{path}")), "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(json_of(response).await, json!({ "pop_draining": draining }));
        let state = json_of(ask(&router, Request::get("/api/v1/state"), "").await).await;
        assert_eq!(state["pop_draining"], draining);
    }
}

#[tokio::test]
async fn a_reload_without_a_file_and_unknown_pages_say_so_in_json() {
    for (method, uri, expected) in [
        ("POST", "/api/v1/reload", StatusCode::CONFLICT),
        ("GET", "/api/v1/reload", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/api/v1/state", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/nope", StatusCode::NOT_FOUND),
        ("GET", "/api/v1/endpoints/a/b/drain", StatusCode::NOT_FOUND),
    ] {
        let (status, answer) = asked(method, uri, "").await;
        assert_eq!(status, expected, "{method} {uri}: {answer}");
        assert!(answer["error"].is_string(), "{method} {uri}: {answer}");
    }
}

#[tokio::test]
async fn foreign_pages_are_refused_everywhere() {
    let router = router();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/livez"),
        ("GET", "/api/v1/state"),
        ("POST", "/api/v1/pop/drain"),
        ("GET", "/nope"),
    ] {
        let request = || Request::builder().method(method).uri(path);
        let foreign = [
            request().header("host", "evil.example"),
            request()
                .header("host", "localhost:9900")
                .header("origin", "http://evil.example"),
        ];
        for request in foreign {
            let response = ask(&router, request, "").await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{method} {path}");
            assert!(json_of(response).await["error"].is_string());
        }
    }
    let request = Request::post("/api/v1/pop/drain")
        .header("host", "localhost")
        .header("sec-fetch-site", "cross-site");
    assert_eq!(
        ask(&router, request, "").await.status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn with_a_token_only_liveness_and_the_empty_page_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let router = admin(idle::FILE, Some(path)).router(SocketAddr::from(LISTEN));
    for (method, uri, open) in [
        ("GET", "/livez", true),
        ("GET", "/readyz", true),
        ("GET", "/", true),
        ("GET", "/metrics", false),
        ("GET", "/api/v1/state", false),
        ("GET", "/api/v1/events", false),
        ("GET", "/api/v1/why", false),
        ("POST", "/api/v1/endpoints/web-1/drain", false),
        ("POST", "/api/v1/pop/drain", false),
        ("POST", "/api/v1/reload", false),
    ] {
        let request = || Request::builder().method(method).uri(uri);
        let without = ask(&router, request(), "").await;
        assert_eq!(without.status() != StatusCode::UNAUTHORIZED, open, "{uri}");
        assert_eq!(
            without.headers().contains_key(header::WWW_AUTHENTICATE),
            !open,
            "{uri}"
        );
        let wrong = ask(
            &router,
            request().header("authorization", "Bearer guess"),
            "",
        )
        .await;
        assert_eq!(wrong.status() != StatusCode::UNAUTHORIZED, open, "{uri}");
        let with = ask(
            &router,
            request().header("authorization", "Bearer s3cret"),
            "",
        )
        .await;
        assert_ne!(with.status(), StatusCode::UNAUTHORIZED, "{uri}");
    }
}

#[tokio::test]
async fn a_token_file_without_a_token_is_told_at_start() {
    let flow_log = Arc::new(FlowLog::start("fra1").unwrap());
    let options = AdminOptions {
        control: idle::controller(""),
        flow_log,
        token_file: Some("/no/such/token".into()),
    };
    let error = Admin::new(options).err().unwrap();
    assert!(error.to_string().contains("/no/such/token"), "{error}");
}

#[tokio::test]
async fn events_begin_at_once_and_tell_what_happens() {
    let router = router();
    let response = ask(&router, Request::get("/api/v1/events"), "").await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut body = response.into_body();
    let mut text = String::new();
    let mut posted = false;
    while !text.contains("event: drain\n") {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        let frame = frame.expect("an event comes").unwrap().unwrap();
        text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        if !posted {
            assert!(
                text.starts_with("event: hello\ndata: {\"generation\":"),
                "{text}"
            );
            posted = true;
            let drained = ask(&router, Request::post("/api/v1/endpoints/web-1/drain"), "").await;
            assert_eq!(drained.status(), StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed() {
    let router = router();
    let response = ask(&router, Request::get("/api/v1/events"), "").await;
    // More than the channel keeps; nobody reads meanwhile.
    for _ in 0..700 {
        for path in ["drain", "undrain"] {
            ask(&router, Request::post(format!("/api/v1/pop/{path}")), "").await;
        }
    }
    let mut body = response.into_body();
    let mut text = String::new();
    while !text.contains("event: lagged\n") {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        text += std::str::from_utf8(
            frame
                .expect("an event comes")
                .unwrap()
                .unwrap()
                .data_ref()
                .unwrap(),
        )
        .unwrap();
    }
    assert!(text.contains("{\"missed\":"), "{text}");
}

#[tokio::test]
async fn event_streams_leave_room_for_others_and_give_it_back() {
    let router = router();
    let mut streams = Vec::new();
    for _ in 0..EVENT_STREAMS {
        streams.push(ask(&router, Request::get("/api/v1/events"), "").await);
    }
    assert!(
        streams
            .iter()
            .all(|stream| stream.status() == StatusCode::OK)
    );
    let refused = ask(&router, Request::get("/api/v1/events"), "").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);

    streams.pop();
    let next = ask(&router, Request::get("/api/v1/events"), "").await;
    assert_eq!(next.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_listener_speaks_http_and_survives_what_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(admin(idle::FILE, None).serve(listener, CancellationToken::new()));
    let say = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset instead of an end is an answer, too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let good = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
        b"GET",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/pop/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/pop/drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &[b'A'; 100_000],
    ] {
        let answer = say(garbage).await;
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    assert!(say(good.as_bytes()).await.starts_with("HTTP/1.1 200 "));

    serving.abort();
    let _ = serving.await;
    assert!(
        TcpStream::connect(at).await.is_err(),
        "the listener is closed with its future"
    );
}

#[tokio::test]
async fn the_readiness_listener_serves_two_pages_to_anybody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(readiness::serve(
        listener,
        idle::controller(""),
        CancellationToken::new(),
    ));
    for (path, expected) in [
        ("/livez", "200"),
        ("/metrics", "404"),
        ("/", "404"),
        ("/api/v1/state", "404"),
    ] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: edge.example.com\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{path}: {answer}"
        );
    }
    serving.abort();
}

#[test]
fn the_dashboard_needs_nothing_from_elsewhere_and_makes_no_markup_of_data() {
    let page = include_str!("dashboard.html");
    for foreign in ["http:", "https:", "src=", "@import", "url(", "//cdn"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for markup in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("textContent"));
    assert!(page.len() < 64 * 1024, "{} bytes", page.len());
}
