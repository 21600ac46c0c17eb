//! Requests that nobody would send: the router answers each, and none with a fault of its own.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use tower::ServiceExt;

use super::*;

fn paths() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/api/v1/state",
        "/api/v1/events",
        "/api/v1/why",
        "/api/v1/reload",
        "/api/v1/endpoints/web-1/drain",
        "/api/v1/endpoints/web-1/undrain",
        "/api/v1/endpoints/%/drain",
        "/api/v1/endpoints/%00%ff/drain",
        "/api/v1/endpoints//drain",
        "/api/v1/pop/drain",
        "/api/v1/pop/undrain",
    ]);
    let query = prop_oneof![
        Just(String::new()),
        "\\?[!-~]{0,60}",
        "\\?client=[0-9a-f.:\\[\\]%]{0,30}&to=[0-9a-f.:\\[\\]%/TCPUD]{0,40}",
        "\\?region=[a-z0-9-]{0,12}&for=[0-9a-z]{0,24}",
    ];
    prop_oneof![
        4 => (known, query).prop_map(|(path, query)| format!("{path}{query}")),
        1 => "/[!-~]{0,80}",
        1 => "(http://[!-~]{1,20}/[!-~]{0,20}|\\*|[a-z.]{1,10}:[0-9]{1,5})",
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "host",
            "origin",
            "authorization",
            "sec-fetch-site",
            "content-type",
            "content-length",
            "expect"
        ])
        .prop_map(str::to_owned),
        "[a-z-]{1,12}",
    ];
    let value = prop_oneof![
        prop::sample::select(vec![
            "localhost",
            "127.0.0.1:9900",
            "[::1]:9900",
            "http://localhost",
            "application/json",
            "same-origin"
        ])
        .prop_map(|value| value.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec((name, value), 0..6)
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..200),
        "\\{\"(region|for|x)\":(\"[ -~]{0,20}\"|null|[0-9]{1,5}|\\[\\])\\}"
            .prop_map(String::into_bytes),
        "[\\[{]{0,300}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// 503 is an honest answer of this router (not ready, too many streams); every other 5xx would be our fault.
    #[test]
    fn nothing_a_client_sends_is_our_fault(
        method in prop_oneof![3 => Just("GET".to_owned()), 3 => Just("POST".to_owned()), 1 => "[A-Z]{1,8}"],
        path in paths(),
        headers in headers(),
        body in bodies(),
    ) {
        thread_local! {
            static WORLD: (tokio::runtime::Runtime, Router) = {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let router = runtime.block_on(async { router() });
                (runtime, router)
            };
        }
        let Ok(uri) = path.parse::<axum::http::Uri>() else { return Ok(()) };
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = uri;
        for (name, value) in headers {
            let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
            request.headers_mut().append(HeaderName::try_from(name).unwrap(), value);
        }
        let status = WORLD.with(|(runtime, router)| runtime.block_on(router.clone().oneshot(request)).unwrap().status());
        prop_assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {status}");
    }
}
