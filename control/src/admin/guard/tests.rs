//! The table of who is let in.

use super::*;

const LOOPBACK: &str = "127.0.0.1";
const PASS: Option<&str> = None;

fn judged(listen: &str, mutates: bool, headers: &[(&str, &str)]) -> Option<&'static str> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    judge(
        &Uri::from_static("/api/v1/state"),
        &map,
        mutates,
        listen.parse().unwrap(),
    )
    .err()
}

#[test]
fn the_host_is_loopback_or_where_we_listen() {
    for (listen, host, pass) in [
        (LOOPBACK, "127.0.0.1:9900", true),
        (LOOPBACK, "127.0.0.1", true),
        (LOOPBACK, "127.9.9.9:1", true),
        (LOOPBACK, "[::1]:9900", true),
        (LOOPBACK, "[::ffff:127.0.0.1]", true),
        (LOOPBACK, "localhost:9900", true),
        (LOOPBACK, "LocalHost", true),
        (LOOPBACK, "192.0.2.1:9900", false),
        (LOOPBACK, "evil.example", false),
        (LOOPBACK, "127.0.0.1.evil.example", false),
        (LOOPBACK, "localhost.evil.example", false),
        (LOOPBACK, "evil.example@127.0.0.1", false),
        (LOOPBACK, "", false),
        (LOOPBACK, "/", false),
        ("192.0.2.1", "192.0.2.1:9900", true),
        ("192.0.2.1", "192.0.2.2:9900", false),
        ("192.0.2.1", "localhost", true),
        ("0.0.0.0", "198.51.100.1:9900", true),
        ("::", "[2001:db8::1]:9900", true),
        ("0.0.0.0", "evil.example:9900", false),
    ] {
        assert_eq!(
            judged(listen, false, &[("host", host)]).is_none(),
            pass,
            "{host} at {listen}"
        );
    }
}

#[test]
fn no_host_at_all_is_an_old_client_and_two_are_a_trick() {
    assert_eq!(judged(LOOPBACK, false, &[]), PASS);
    assert!(
        judged(
            LOOPBACK,
            false,
            &[("host", "localhost"), ("host", "localhost")]
        )
        .is_some()
    );
}

#[test]
fn an_absolute_request_line_is_judged_like_a_host() {
    let judged = |uri: &'static str, host: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        judge(
            &Uri::from_static(uri),
            &headers,
            false,
            LOOPBACK.parse().unwrap(),
        )
        .err()
    };
    assert_eq!(judged("http://localhost/livez", "localhost"), PASS);
    assert!(judged("http://evil.example/livez", "evil.example").is_some());
    assert!(judged("http://evil.example/livez", "localhost").is_some());
}

#[test]
fn the_origin_is_the_page_itself() {
    for (origin, pass) in [
        ("http://localhost:9900", true),
        ("https://localhost:9900", true),
        ("http://localhost:3000", false),
        ("http://evil.example", false),
        ("null", false),
        ("", false),
        ("file://", false),
    ] {
        let headers = [("host", "localhost:9900"), ("origin", origin)];
        assert_eq!(
            judged(LOOPBACK, false, &headers).is_none(),
            pass,
            "{origin}"
        );
        assert_eq!(judged(LOOPBACK, true, &headers).is_none(), pass, "{origin}");
    }
    assert!(judged(LOOPBACK, false, &[("origin", "http://localhost")]).is_some());
}

#[test]
fn another_site_may_link_to_us_but_not_change_anything() {
    for (site, mutates, pass) in [
        ("same-origin", true, true),
        ("none", true, true),
        ("same-site", true, false),
        ("cross-site", true, false),
        ("cross-site", false, true),
    ] {
        let headers = [("host", "localhost"), ("sec-fetch-site", site)];
        assert_eq!(
            judged(LOOPBACK, mutates, &headers).is_none(),
            pass,
            "{site}"
        );
    }
}
