//! UDP with programs and stacks that we did not write: DNS servers and their tools, PROXY headers read by dnsdist and unbound, QUIC.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use portolan_tests::datagram::{Answer, Client, Endpoint};
use portolan_tests::deadline::{PATIENCE, eventually, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::peer::{self, Peer};
use portolan_tests::toml::{Group, datagrams};
use portolan_tests::{dns, payload, place};
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use tokio::net::UdpSocket;

fn group_of(to: SocketAddr, line: &str) -> Group {
    Group::new("r", "1ms")
        .unasked()
        .with(line)
        .named("a", to, "")
}

async fn edge_before(to: SocketAddr, lines: &str, line: &str) -> (Edge, SocketAddr) {
    let at = place::fresh();
    let edge = Edge::start(&datagrams(at, lines, &[group_of(to, line)])).await;
    (edge, at)
}

/// Asks for a name until an answer comes: a server may still be starting.
async fn lookup(from: IpAddr, at: SocketAddr) -> dns::Answer {
    let client = Client::from(from, at).await;
    eventually("an answer", PATIENCE, async || {
        client.say(&dns::question("who.test")).await.ok()?;
        let answer = client.hear_within(Duration::from_secs(1)).await?;
        Some(dns::read(&answer))
    })
    .await
}

fn unbound(to: SocketAddr, more: &str) -> String {
    format!(
        "server:\n directory: \".\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n\
         interface: {}@{}\n module-config: \"iterator\"\n{more}\
         local-zone: \"test.\" static\n local-data: \"who.test. A 192.0.2.7\"\nremote-control:\n control-enable: no\n",
        to.ip(),
        to.port()
    )
}

#[tokio::test]
async fn a_name_server_answers_its_tools_through_the_edge() {
    let Some(program) = peer::find("unbound") else {
        return;
    };
    let to = place::fresh();
    let allow = " access-control: 127.0.0.0/8 allow\n";
    let _unbound = Peer::start(program, &["-d", "-c", "config"], &unbound(to, allow), to).await;
    let (_edge, at) = edge_before(to, "", "").await;
    assert_eq!(lookup(place::client(), at).await.last, [192, 0, 2, 7]);

    if let Some(kdig) = peer::find("kdig") {
        let mut asked = tokio::process::Command::new(kdig);
        asked.args([format!("@{}", at.ip()), format!("-p{}", at.port())]);
        asked.args(["+short", "+noall", "+answer", "+timeout=5", "who.test", "A"]);
        let output = patiently("kdig", asked.kill_on_drop(true).output()).await;
        let output = output.expect("kdig can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("192.0.2.7"), "{text} {output:?}");
    }
    if let Some(dnsperf) = peer::find("dnsperf") {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let queries = directory.path().join("queries");
        std::fs::write(&queries, "who.test A\n").expect("it is writable");
        let mut load = tokio::process::Command::new(dnsperf);
        load.args(["-s", &at.ip().to_string(), "-p", &at.port().to_string()]);
        load.args(["-n", "2000", "-c", "20", "-q", "20", "-d"]);
        let output = patiently("dnsperf", load.arg(&queries).kill_on_drop(true).output()).await;
        let text = output.expect("dnsperf can be run").stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("(100.00%)"), "{text}");
        assert!(text.contains("Queries lost:         0"), "{text}");
    }
}

#[tokio::test]
async fn unbound_reads_the_client_from_the_header_of_each_datagram() {
    let Some(program) = peer::find("unbound") else {
        return;
    };
    let (to, known, stranger) = (place::fresh(), place::client(), place::client());
    let more = format!(
        " proxy-protocol-port: {}\n access-control: 127.0.0.0/8 refuse\n access-control: 127.0.0.1/32 allow\n \
         access-control: {known}/32 allow\n",
        to.port()
    );
    let _unbound = Peer::start(program, &["-d", "-c", "config"], &unbound(to, &more), to).await;
    let (_edge, at) = edge_before(to, "", "proxy_protocol = \"v2\"").await;
    let allowed = lookup(known, at).await;
    assert_eq!((allowed.code, allowed.last), (0, [192, 0, 2, 7]));
    assert_eq!(lookup(stranger, at).await.code, 5, "refused");
}

#[tokio::test]
async fn dnsdist_reads_the_client_from_the_header_of_each_datagram() {
    let Some(program) = peer::find("dnsdist") else {
        return;
    };
    let (to, known, stranger) = (place::fresh(), place::client(), place::client());
    let config = format!(
        "setLocal(\"{to}\")\nsetProxyProtocolACL({{\"127.0.0.0/8\"}})\nsetACL({{\"127.0.0.0/8\"}})\nsetSecurityPollSuffix(\"\")\n\
         local known = newNMG()\nknown:addMask(\"{known}/32\")\n\
         addAction(NetmaskGroupRule(known), SpoofAction(\"192.0.2.7\"))\naddAction(AllRule(), SpoofAction(\"192.0.2.99\"))\n"
    );
    let arguments = ["--supervised", "--disable-syslog", "-C", "config"];
    let _dnsdist = Peer::start(program, &arguments, &config, to).await;
    let (_edge, at) = edge_before(to, "", "proxy_protocol = \"v2\"").await;
    assert_eq!(lookup(known, at).await.last, [192, 0, 2, 7]);
    assert_eq!(lookup(stranger, at).await.last, [192, 0, 2, 99]);
}

#[tokio::test]
async fn every_datagram_tells_the_client_in_its_header() {
    let endpoint = Endpoint::start("a", Answer::Echo).await;
    let (_edge, at) = edge_before(endpoint.address(), "", "proxy_protocol = \"v2\"").await;
    let client = Client::from(place::client(), at).await;
    for len in [0, 5, 1400, 9000] {
        let datagram = payload::stretch(3, 0, len);
        client.ask(datagram).await;
        let seen = endpoint.seen();
        let [(_, seen)] = seen.as_slice() else {
            panic!("{} datagrams", seen.len());
        };
        let (header, used) = ProxyHeader::parse(seen, ParseConfig::default()).expect("a header");
        let told = header.proxied_address().expect("with addresses");
        assert_eq!((told.source, told.destination), (client.local(), at));
        assert!(&seen[used..] == datagram, "{len}");
    }
}

#[tokio::test]
async fn a_trusted_sender_says_who_the_client_is() {
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let (edge, at) = edge_before(
        endpoint.address(),
        "accept_proxy = { from = [\"127.0.0.0/8\"] }",
        "proxy_protocol = \"v2\"",
    )
    .await;
    let balancer = Client::to(at).await;
    let destination: SocketAddr = "192.0.2.1:53".parse().expect("an address");
    let mut ports = Vec::new();
    for client in [
        "198.51.100.7:1000",
        "198.51.100.8:1000",
        "198.51.100.7:1000",
    ] {
        let source: SocketAddr = client.parse().expect("an address");
        let mut datagram = Vec::new();
        let addresses = ProxiedAddress::datagram(source, destination);
        ProxyHeader::with_address(addresses)
            .encode_v2(&mut datagram)
            .expect("a header");
        datagram.extend_from_slice(b"question");
        // The answer has no header: it goes back the way that the question came.
        let answer = balancer.ask(&datagram).await;
        let seen = endpoint.seen();
        let [(from, seen)] = seen.as_slice() else {
            panic!("{} datagrams", seen.len());
        };
        let (header, used) = ProxyHeader::parse(seen, ParseConfig::default()).expect("a header");
        let told = header.proxied_address().expect("with addresses");
        assert_eq!((told.source, told.destination), (source, destination));
        assert_eq!(&seen[used..], b"question");
        assert!(answer.starts_with(b"a ") && answer.ends_with(b"question"));
        ports.push(from.port());
    }
    assert_ne!(ports[0], ports[1], "two clients are two flows");
    assert_eq!(ports[0], ports[2], "one client is one flow");

    balancer.say(b"no header").await.expect("it can be sent");
    balancer.say(b"").await.expect("it can be sent");
    until("they are dropped and counted", PATIENCE, async || {
        let metrics = edge.metrics().await;
        metrics.sum("datagrams_dropped_total", &[("cause", "proxy_header")]) == 2.0
            && metrics.sum("proxy_header_errors_total", &[]) == 2.0
    })
    .await;
    assert!(endpoint.seen().is_empty());
}

/// A network address translator: what it carries comes from another port after [`Translator::rebind`].
struct Translator {
    outside: Arc<Mutex<Arc<UdpSocket>>>,
    inside: SocketAddr,
    to: SocketAddr,
    inner: Arc<UdpSocket>,
    client: Arc<Mutex<Option<SocketAddr>>>,
}

impl Translator {
    async fn before(to: SocketAddr) -> Translator {
        let inner = Arc::new(bound().await);
        let first = Arc::new(bound().await);
        let translator = Translator {
            inside: inner.local_addr().expect("it is bound"),
            outside: Arc::new(Mutex::new(Arc::clone(&first))),
            to,
            inner: Arc::clone(&inner),
            client: Arc::default(),
        };
        translator.carry_back(first);
        let (outside, client) = (
            Arc::clone(&translator.outside),
            Arc::clone(&translator.client),
        );
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = inner.recv_from(&mut buffer).await {
                *client.lock().expect("no holder panics") = Some(from);
                let outside = Arc::clone(&outside.lock().expect("no holder panics"));
                let _ = outside.send_to(&buffer[..len], to).await;
            }
        });
        translator
    }

    fn carry_back(&self, outside: Arc<UdpSocket>) {
        let (inner, client, to) = (Arc::clone(&self.inner), Arc::clone(&self.client), self.to);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = outside.recv_from(&mut buffer).await {
                let client = *client.lock().expect("no holder panics");
                if let Some(client) = client.filter(|_| from == to) {
                    let _ = inner.send_to(&buffer[..len], client).await;
                }
            }
        });
    }

    async fn rebind(&self) {
        let next = Arc::new(bound().await);
        self.carry_back(Arc::clone(&next));
        *self.outside.lock().expect("no holder panics") = next;
    }
}

async fn bound() -> UdpSocket {
    UdpSocket::bind((place::client(), 0))
        .await
        .expect("a free port")
}

/// A QUIC endpoint that says its id, and then as many bytes as it is asked for.
fn quic_endpoint(
    id: &'static str,
) -> (quinn::Endpoint, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).expect("a key");
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into());
    let endpoint = quinn::Endpoint::server(config.expect("a certificate"), place::fresh());
    let endpoint = endpoint.expect("a free port");
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.ok()?;
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let asked = receive.read_to_end(8).await.ok()?;
                    let len = u64::from_be_bytes(asked.try_into().ok()?);
                    send.write_all(id.as_bytes()).await.ok()?;
                    payload::send(&mut send, 7, len, 16_384).await.ok()?;
                    send.finish().ok()?;
                }
                Some(())
            });
        }
    });
    (endpoint, certificate)
}

fn quic_client(trusted: Vec<rustls::pki_types::CertificateDer<'static>>) -> quinn::Endpoint {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate).expect("a certificate");
    }
    let config = quinn::ClientConfig::with_root_certificates(Arc::new(roots));
    let mut client = quinn::Endpoint::client((place::client(), 0).into()).expect("a free port");
    client.set_default_client_config(config.expect("TLS 1.3"));
    client
}

/// Asks for bytes and checks them; gives the id of the endpoint.
async fn download(connection: &quinn::Connection, len: u64) -> String {
    let (mut send, mut receive) = patiently("a stream", connection.open_bi())
        .await
        .expect("the connection lives");
    send.write_all(&len.to_be_bytes()).await.expect("it lives");
    send.finish().expect("it lives");
    let mut id = [0; 1];
    patiently("the endpoint's name", receive.read_exact(&mut id))
        .await
        .expect("the connection lives");
    let rest = payload::receive(&mut receive, 7, len, 16_384);
    patiently("the whole download", rest)
        .await
        .expect("every byte");
    String::from_utf8_lossy(&id).into_owned()
}

#[tokio::test]
async fn a_quic_connection_stays_with_its_endpoint_when_its_client_moves() {
    const MIB: u64 = 1 << 20;
    let (a, b) = (quic_endpoint("a"), quic_endpoint("b"));
    let at = place::fresh();
    let to = |endpoint: &quinn::Endpoint| endpoint.local_addr().expect("it is bound");
    let group = Group::new("r", "1ms")
        .unasked()
        .named("a", to(&a.0), "")
        .named("b", to(&b.0), "");
    let edge = Edge::start(&datagrams(at, "quic = true", &[group])).await;
    let trusted = vec![a.1.clone(), b.1.clone()];
    // Ten times, or a pick anew could be right by chance.
    for _ in 0..10 {
        let translator = Translator::before(at).await;
        let client = quic_client(trusted.clone());
        let connecting = client
            .connect(translator.inside, "edge.test")
            .expect("valid");
        let connection = patiently("a handshake", connecting)
            .await
            .expect("a connection");
        let first = download(&connection, MIB).await;
        translator.rebind().await;
        assert_eq!(download(&connection, MIB).await, first);
        translator.rebind().await;
        assert_eq!(download(&connection, 10).await, first);
    }
    // One whose stack moves by itself, and takes a connection id that the edge has not seen: known by its address.
    for _ in 0..5 {
        let client = quic_client(trusted.clone());
        let from = client.local_addr().expect("it is bound").ip();
        let connecting = client.connect(at, "edge.test").expect("valid");
        let connection = patiently("a handshake", connecting)
            .await
            .expect("a connection");
        let first = download(&connection, MIB).await;
        let socket = std::net::UdpSocket::bind((from, 0)).expect("a free port");
        client.rebind(socket).expect("a socket");
        assert_eq!(download(&connection, MIB).await, first);
    }
    drop(edge);
}

#[tokio::test]
async fn a_quic_connection_stays_with_its_endpoint_when_the_edge_is_another_process() {
    let (a, b) = (quic_endpoint("a"), quic_endpoint("b"));
    let at = place::fresh();
    let to = |endpoint: &quinn::Endpoint| endpoint.local_addr().expect("it is bound");
    let group = Group::new("r", "1ms")
        .unasked()
        .named("a", to(&a.0), "")
        .named("b", to(&b.0), "");
    let mut edge = Edge::start(&datagrams(at, "quic = true", &[group])).await;
    let trusted = vec![a.1.clone(), b.1.clone()];
    let mut connections = Vec::new();
    for _ in 0..10 {
        let translator = Translator::before(at).await;
        let client = quic_client(trusted.clone());
        let connecting = client
            .connect(translator.inside, "edge.test")
            .expect("valid");
        let connection = patiently("a handshake", connecting)
            .await
            .expect("a connection");
        let first = download(&connection, 1000).await;
        connections.push((translator, client, connection, first));
    }
    let mut old = edge.upgrade(&[]).await;
    assert!(old.end(PATIENCE).await.success(), "{}", old.output());
    for (_, _, connection, first) in &connections {
        assert_eq!(download(connection, 1000).await, *first);
    }
    // From elsewhere, which only the connection's id tells.
    for (translator, _, connection, first) in &connections {
        translator.rebind().await;
        assert_eq!(download(connection, 1000).await, *first);
    }
    drop(edge);
}
