//! PROXY headers in and out: whose word is believed, and whether programs that we did not write read the same client as we do.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portolan_tests::client::{self, Caller};
use portolan_tests::deadline::{PATIENCE, eventually, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::http::Status;
use portolan_tests::peer::{self, Peer};
use portolan_tests::toml::{Group, shop};
use portolan_tests::{dns, place};
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader, Tlv};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const TRUST_LOOPBACK: &str =
    r#"accept_proxy = { from = ["127.0.0.0/8", "::1/128"], timeout = "30s" }"#;

/// An edge before an endpoint that keeps the head of each connection; `out` is `off`, `v1` or `v2`.
async fn capturing(lines: &str, out: &str) -> (Edge, SocketAddr, Endpoint) {
    let endpoint = Endpoint::start("a", endpoint::capturing()).await;
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .with(format!("proxy_protocol = \"{out}\""))
        .unasked()
        .endpoint(&endpoint);
    let edge = Edge::start(&shop(at, lines, &[group])).await;
    (edge, at, endpoint)
}

/// Sends `bytes` and a final line, and gives what reached the endpoint, the final line cut off.
async fn through(from: IpAddr, at: SocketAddr, endpoint: &Endpoint, bytes: &[u8]) -> Vec<u8> {
    let before = endpoint.seen().heads().len();
    let mut stream = client::connect_from(from, at).await.unwrap();
    stream.write_all(&[bytes, b"\n.\n"].concat()).await.unwrap();
    // Others may have come by: a peer's start is waited for by connecting to it.
    let mut head = eventually("it arrives", PATIENCE, async || {
        let mut heads = endpoint.seen().heads().into_iter().skip(before);
        heads.find(|head| head.ends_with(b"\n.\n"))
    })
    .await;
    head.truncate(head.len() - 3);
    head
}

fn parsed(head: &[u8]) -> (ProxyHeader<'_>, &[u8]) {
    let read = ProxyHeader::parse(head, ParseConfig::default());
    let (header, len) = read.unwrap_or_else(|error| panic!("{error}: {}", head.escape_ascii()));
    (header, &head[len..])
}

fn source(head: &[u8]) -> SocketAddr {
    parsed(head)
        .0
        .proxied_address()
        .expect("a header with addresses")
        .source
}

fn v2(source: &str, destination: &str, tlvs: Vec<Tlv<'_>>) -> Vec<u8> {
    let addresses = ProxiedAddress::stream(source.parse().unwrap(), destination.parse().unwrap());
    let mut out = Vec::new();
    ProxyHeader::with_tlvs(Some(addresses), tlvs)
        .encode_v2(&mut out)
        .unwrap();
    out
}

#[tokio::test]
async fn trusted_headers_of_both_versions_name_the_client() {
    let (edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    let from = place::client();
    let v1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nhello".to_vec();
    let v2 = [
        v2("203.0.113.7:4711", "198.51.100.1:443", vec![]),
        b"hello".to_vec(),
    ]
    .concat();
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\nhello".to_vec();
    for (bytes, client) in [
        (v1, "203.0.113.7:4711"),
        (v2, "203.0.113.7:4711"),
        (six, "[2001:db8::7]:4711"),
    ] {
        let head = through(from, at, &endpoint, &bytes).await;
        let (header, rest) = parsed(&head);
        assert_eq!(
            header.proxied_address().unwrap().source,
            client.parse().unwrap()
        );
        assert_eq!(rest, b"hello");
    }
    // It is the client in every word that the edge says of it.
    until("flows are recorded", PATIENCE, async || {
        edge.flows().len() == 3
    })
    .await;
    let mut clients: Vec<_> = edge
        .flows()
        .iter()
        .map(|flow| flow["client_ip"].as_str().unwrap().to_owned())
        .collect();
    // Recorded in the order of their ends, which may be another one.
    clients.sort();
    assert_eq!(clients, ["2001:db8::7", "203.0.113.7", "203.0.113.7"]);
}

#[tokio::test]
async fn a_header_in_single_bytes_is_a_header() {
    let (_edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    for bytes in [
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n".to_vec(),
        v2(
            "203.0.113.7:4711",
            "198.51.100.1:443",
            vec![Tlv::Authority("shop.example".into())],
        ),
    ] {
        let before = endpoint.seen().heads().len();
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in &bytes {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(b"hello\n.\n").await.unwrap();
        let head = eventually("it arrives", PATIENCE, async || {
            endpoint.seen().heads().get(before).cloned()
        })
        .await;
        let (header, rest) = parsed(&head);
        assert_eq!(
            header.proxied_address().unwrap().source,
            "203.0.113.7:4711".parse().unwrap()
        );
        assert_eq!(rest, b"hello\n.\n");
    }
}

#[tokio::test]
async fn headers_without_addresses_mean_the_connections_own() {
    let (_edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    let from = place::client();
    let mut local = Vec::new();
    ProxyHeader::with_local().encode_v2(&mut local).unwrap();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 1 2 3 4\r\n".to_vec(),
        local,
    ] {
        let head = through(from, at, &endpoint, &[header.as_slice(), b"hello"].concat()).await;
        assert_eq!(source(&head).ip(), from);
        assert_eq!(parsed(&head).1, b"hello");
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let lines = r#"accept_proxy = { from = ["192.0.2.0/24"], timeout = "3s" }"#;
    let (_edge, at, endpoint) = capturing(lines, "v2").await;
    let from = place::client();
    let lie = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nhello";
    let head = through(from, at, &endpoint, lie).await;
    assert_eq!(source(&head).ip(), from);
    assert_eq!(parsed(&head).1, lie, "it is the client's data");
}

#[tokio::test]
async fn a_trusted_sender_without_a_header_is_let_go_and_counted() {
    let lines = r#"accept_proxy = { from = ["127.0.0.0/8"], timeout = "500ms" }"#;
    let (edge, at, endpoint) = capturing(lines, "off").await;
    let mut silent = TcpStream::connect(at).await.unwrap();
    client::end(&mut silent).await;
    let mut slow = TcpStream::connect(at).await.unwrap();
    // On a machine that stalls, its time may be over before.
    let _ = slow.write_all(b"PROXY TCP4 203.0.113.7 ").await;
    client::end(&mut slow).await;
    until("both are counted", PATIENCE, async || {
        edge.ended("limit").await == 2
    })
    .await;
    assert_eq!(endpoint.seen().accepted(), 0);
}

#[tokio::test]
async fn garbage_is_let_go_at_once_and_counted() {
    // A timeout beyond the patience of this test: only the bytes can have ended it.
    let lines = r#"accept_proxy = { from = ["127.0.0.0/8"], timeout = "60s" }"#;
    let (edge, at, endpoint) = capturing(lines, "off").await;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n",
        b"PROXY TCP7 ",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        client::end(&mut stream).await;
    }
    until("all are counted", PATIENCE, async || {
        edge.ended("limit").await == garbage.len() as u64
    })
    .await;
    assert_eq!(endpoint.seen().accepted(), 0);
    let head = through(
        place::client(),
        at,
        &endpoint,
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nstill here",
    )
    .await;
    assert_eq!(head, b"still here");
}

#[tokio::test]
async fn unknown_vectors_are_passed_on_and_a_unique_id_is_there() {
    let (_edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    let tlvs = vec![
        Tlv::Authority("shop.example".into()),
        Tlv::Noop(9),
        Tlv::Custom(0xea, b"vpce-1".as_slice().into()),
    ];
    let bytes = v2("203.0.113.7:4711", "198.51.100.1:443", tlvs);
    let head = through(place::client(), at, &endpoint, &bytes).await;
    let (header, _) = parsed(&head);
    let found: Vec<Tlv<'_>> = header.tlvs().map(Result::unwrap).collect();
    assert_eq!(header.authority(), Some("shop.example"));
    assert!(
        found.contains(&Tlv::Custom(0xea, b"vpce-1".as_slice().into())),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|tlv| matches!(tlv, Tlv::Noop(_))),
        "{found:?}"
    );
    let first = header.unique_id().expect("a unique id").to_vec();

    let next = through(place::client(), at, &endpoint, &bytes).await;
    assert_ne!(parsed(&next).0.unique_id().expect("a unique id"), first);
}

#[tokio::test]
async fn both_versions_are_written_before_the_first_byte() {
    for version in ["v1", "v2"] {
        let (_edge, at, endpoint) = capturing("", version).await;
        let from = place::client();
        let head = through(from, at, &endpoint, b"hello").await;
        let (header, rest) = parsed(&head);
        let addresses = header.proxied_address().unwrap();
        assert_eq!((addresses.source.ip(), addresses.destination), (from, at));
        assert_eq!(rest, b"hello");
        assert_eq!(head.starts_with(b"PROXY TCP4 "), version == "v1");
    }
}

/// A server that speaks first needs its header before the client says anything.
#[tokio::test]
async fn a_header_does_not_wait_for_the_clients_first_byte() {
    let greeter = endpoint::custom(async |mut stream: TcpStream| {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n") {
            header.push(tokio::io::AsyncReadExt::read_u8(&mut stream).await?);
        }
        stream.write_all(b"welcome\n").await
    });
    let endpoint = Endpoint::start("a", greeter).await;
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .with("proxy_protocol = \"v1\"")
        .endpoint(&endpoint);
    let _edge = Edge::start(&shop(at, "", &[group])).await;
    assert_eq!(
        Caller::connect(at).await.unwrap().listen().await.unwrap(),
        "welcome"
    );
}

/// An edge that writes headers of `version` toward a peer at `to`.
async fn edge_before(to: SocketAddr, version: &str) -> (Edge, SocketAddr) {
    let at = place::fresh();
    let group = Group::new("r", "1ms")
        .with(format!("proxy_protocol = \"{version}\""))
        .unasked()
        .named("peer", to, "");
    (Edge::start(&shop(at, "", &[group])).await, at)
}

/// What an HTTP server answers to a client that speaks from `from`: the body.
async fn http_body(from: IpAddr, at: SocketAddr) -> (SocketAddr, String) {
    let mut stream = client::connect_from(from, at).await.unwrap();
    let local = stream.local_addr().unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    patiently("an answer", read).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let body = answer
        .split("\r\n\r\n")
        .nth(1)
        .unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    (local, body.trim().to_owned())
}

const NGINX_MAIN: &str = "daemon off; master_process off; pid nginx.pid; error_log stderr warn; events { worker_connections 256; }\n";

async fn nginx(program: PathBuf, config: &str, at: SocketAddr) -> Peer {
    Peer::start(
        program,
        &["-p", ".", "-e", "stderr", "-c", "config"],
        config,
        at,
    )
    .await
}

#[tokio::test]
async fn nginx_reads_the_client_from_our_headers() {
    let Some(program) = peer::find("nginx") else {
        return;
    };
    let to = place::fresh();
    let http = format!(
        "http {{ access_log off; client_body_temp_path .; proxy_temp_path .; fastcgi_temp_path .; uwsgi_temp_path .; scgi_temp_path .;
         server {{ listen {to} proxy_protocol; return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }} }}"
    );
    let _nginx = nginx(program, &[NGINX_MAIN, &http].concat(), to).await;
    for version in ["v1", "v2"] {
        let (_edge, at) = edge_before(to, version).await;
        let (local, seen) = http_body(place::client(), at).await;
        assert_eq!(seen, local.to_string(), "{version}");
    }
}

#[tokio::test]
async fn haproxy_reads_the_client_from_our_headers() {
    let Some(program) = peer::find("haproxy") else {
        return;
    };
    let to = place::fresh();
    let config = format!(
        "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
         frontend in\n bind {to} accept-proxy\n http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port]\"\n"
    );
    let _haproxy = Peer::start(program, &["-db", "-f", "config"], &config, to).await;
    for version in ["v1", "v2"] {
        let (_edge, at) = edge_before(to, version).await;
        let (local, seen) = http_body(place::client(), at).await;
        assert_eq!(seen, local.to_string(), "{version}");
    }
}

#[tokio::test]
async fn unbound_reads_the_client_from_our_headers() {
    // The proxy's own address must be allowed, too: on loopback it is 127.0.0.1.
    let Some(program) = peer::find("unbound") else {
        return;
    };
    let (to, known, stranger) = (place::fresh(), place::client(), place::client());
    let config = format!(
        "server:\n directory: \".\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n\
         interface: {}@{}\n proxy-protocol-port: {}\n do-udp: no\n module-config: \"iterator\"\n\
         access-control: 127.0.0.0/8 refuse\n access-control: 127.0.0.1/32 allow\n access-control: {known}/32 allow\n\
         local-zone: \"test.\" static\n local-data: \"who.test. A 192.0.2.7\"\nremote-control:\n control-enable: no\n",
        to.ip(),
        to.port(),
        to.port()
    );
    let _unbound = Peer::start(program, &["-d", "-c", "config"], &config, to).await;
    // Only version 2 is known to it.
    let (_edge, at) = edge_before(to, "v2").await;
    let answer = async |from| {
        dns::ask(client::connect_from(from, at).await.unwrap(), "who.test")
            .await
            .unwrap()
    };
    let allowed = patiently("an answer", answer(known)).await;
    assert_eq!((allowed.code, allowed.last), (0, [192, 0, 2, 7]));
    assert_eq!(
        patiently("an answer", answer(stranger)).await.code,
        5,
        "refused"
    );
}

#[tokio::test]
async fn dnsdist_reads_the_client_from_our_headers() {
    let Some(program) = peer::find("dnsdist") else {
        return;
    };
    let (to, known, stranger) = (place::fresh(), place::client(), place::client());
    let config = format!(
        "setLocal(\"{to}\")\nsetProxyProtocolACL({{\"127.0.0.0/8\"}})\nsetACL({{\"127.0.0.0/8\"}})\nsetSecurityPollSuffix(\"\")\n\
         addAction(NetmaskGroupRule(newNMG_of(\"{known}/32\")), SpoofAction(\"192.0.2.7\"))\naddAction(AllRule(), SpoofAction(\"192.0.2.99\"))\n"
    );
    let config = format!(
        "function newNMG_of(text) local group = newNMG() group:addMask(text) return group end\n{config}"
    );
    let arguments = ["--supervised", "--disable-syslog", "-C", "config"];
    let _dnsdist = Peer::start(program, &arguments, &config, to).await;
    let (_edge, at) = edge_before(to, "v2").await;
    let answer = async |from| {
        dns::ask(client::connect_from(from, at).await.unwrap(), "who.test")
            .await
            .unwrap()
    };
    assert_eq!(
        patiently("an answer", answer(known)).await.last,
        [192, 0, 2, 7]
    );
    assert_eq!(
        patiently("an answer", answer(stranger)).await.last,
        [192, 0, 2, 99]
    );
}

#[tokio::test]
async fn headers_of_haproxy_are_read() {
    let Some(program) = peer::find("haproxy") else {
        return;
    };
    let (_edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    let (one, two) = (place::fresh(), place::fresh());
    let config = format!(
        "defaults\n mode tcp\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
         listen one\n bind {one}\n server edge {at} send-proxy\n\
         listen two\n bind {two}\n server edge {at} send-proxy-v2 proxy-v2-options crc32c,unique-id\n unique-id-format %[src]-%[src_port]\n"
    );
    let _haproxy = Peer::start(program, &["-db", "-f", "config"], &config, two).await;
    for through_peer in [one, two] {
        let from = place::client();
        let head = through(from, through_peer, &endpoint, b"hello").await;
        assert_eq!(source(&head).ip(), from);
        assert_eq!(parsed(&head).1, b"hello");
        if through_peer == two {
            let unique_id = parsed(&head)
                .0
                .unique_id()
                .map(<[u8]>::to_vec)
                .unwrap_or_default();
            assert!(
                unique_id.starts_with(from.to_string().as_bytes()),
                "HAProxy's own unique id is kept: {unique_id:?}"
            );
        }
    }
}

#[tokio::test]
async fn headers_of_nginx_are_read() {
    let Some(program) = peer::find("nginx") else {
        return;
    };
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !std::path::Path::new(module).exists() {
        return peer::skip("nginx has no stream module");
    }
    let (_edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    let to = place::fresh();
    let stream =
        format!("stream {{ server {{ listen {to}; proxy_pass {at}; proxy_protocol on; }} }}");
    let config = [&format!("load_module {module};\n"), NGINX_MAIN, &stream].concat();
    let _nginx = nginx(program, &config, to).await;
    let from = place::client();
    let head = through(from, to, &endpoint, b"hello").await;
    assert_eq!(source(&head).ip(), from);
}

#[tokio::test]
async fn headers_of_curl_are_read() {
    let Some(program) = peer::find("curl") else {
        return;
    };
    let web = Endpoint::start("web", endpoint::web(&Status::default())).await;
    let at = place::fresh();
    let edge = Edge::start(&shop(
        at,
        TRUST_LOOPBACK,
        &[Group::new("r", "1ms").endpoint(&web)],
    ))
    .await;
    let from = place::client().to_string();
    let mut curl = tokio::process::Command::new(program);
    curl.args([
        "-sS",
        "--max-time",
        "30",
        "--interface",
        &from,
        "--haproxy-protocol",
        &format!("http://{at}/"),
    ]);
    let output = patiently("curl", curl.output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "web", "{output:?}");
    until("the flow is recorded", PATIENCE, async || {
        !edge.flows().is_empty()
    })
    .await;
    assert_eq!(edge.flows()[0]["client_ip"], from.as_str());
}

#[tokio::test]
async fn headers_of_dnsdist_are_read() {
    let Some(program) = peer::find("dnsdist") else {
        return;
    };
    let (_edge, at, endpoint) = capturing(TRUST_LOOPBACK, "v2").await;
    let to = place::fresh();
    let config = format!(
        "setLocal(\"{to}\")\nsetACL({{\"127.0.0.0/8\"}})\nsetSecurityPollSuffix(\"\")\n\
         newServer({{ address = \"{at}\", useProxyProtocol = true, tcpOnly = true, tcpRecvTimeout = 1, healthCheckMode = \"up\" }}):setUp()\n"
    );
    let arguments = ["--supervised", "--disable-syslog", "-C", "config"];
    let _dnsdist = Peer::start(program, &arguments, &config, to).await;
    let from = place::client();
    let stream = client::connect_from(from, to).await.unwrap();
    // The endpoint is no DNS server: it never answers, and need not for its head to be kept when dnsdist gives up.
    let asking = tokio::spawn(dns::ask(stream, "who.test"));
    let head = eventually("a head", Duration::from_secs(60), async || {
        endpoint
            .seen()
            .heads()
            .into_iter()
            .find(|head| head.windows(3).any(|word| word == b"who"))
    })
    .await;
    assert_eq!(source(&head).ip(), from);
    asking.abort();
}
