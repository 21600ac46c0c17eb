//! Probes against real sockets on loopback.

use std::io;
use std::sync::Arc;

use portolan_config::model::{HealthCheck, HttpProbe, UdpProbe};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fixture::{
    Accepting, Refusing, Swallowing, check, in_time, ms, question, read_request, target,
};

async fn run(target: &ProbeTarget) -> Finding {
    in_time(
        "the probe",
        probe(target, target.check.timeout, &TlsClients::default()),
    )
    .await
}

async fn ask_http(endpoint: &Accepting, question: HttpProbe) -> Option<Failure> {
    run(&target(endpoint.address, check(Probe::Http(question))))
        .await
        .failure
}

fn answer(what: &str) -> Option<Failure> {
    Some(Failure::Answer(what.into()))
}

fn answer_text(failure: Option<Failure>) -> String {
    match failure {
        Some(Failure::Answer(what)) => what.to_string(),
        other => panic!("{other:?}"),
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn tcp_passes_and_closes_by_reset() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let endpoint = Accepting::serving(move |mut stream: TcpStream| {
        let tell = tell.clone();
        async move {
            let read = stream.read(&mut [0; 1]).await;
            tell.send(read.map_err(|error| error.kind())).await.unwrap();
        }
    })
    .await;
    let finding = run(&target(endpoint.address, check(Probe::Tcp))).await;
    assert_eq!(finding.failure, None);
    assert!(finding.rtt.is_some());
    let read = in_time("the close", told.recv()).await.unwrap();
    assert_eq!(read, Err(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn udp_asks_and_looks_into_the_answer() {
    let socket = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let probe = |send: &str, expect: Option<&str>| {
        Probe::Udp(UdpProbe {
            send: send.into(),
            expect: expect.map(Into::into),
        })
    };
    let ask = async |probe| {
        let check = HealthCheck {
            timeout: ms(1500),
            ..check(probe)
        };
        run(&target(address, check)).await
    };
    // The first of each two questions is lost.
    let answering = tokio::spawn(async move {
        let mut buffer = [0; 64];
        for number in 0.. {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            if number % 2 == 1 {
                let answer = [b"to ", &buffer[..len]].concat();
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    for (send, expect) in [("ping", Some("to ping")), ("", None), ("x", Some("o x"))] {
        let finding = ask(probe(send, expect)).await;
        assert_eq!(finding.failure, None, "{send}");
        // Since the question that was answered, not since the one that was lost a third of the time before.
        assert!(finding.rtt.is_some_and(|rtt| rtt < ms(500)));
    }
    let other = answer_text(ask(probe("ping", Some("pong"))).await.failure);
    assert!(other.contains("7 bytes"), "{other}");
    answering.abort();
    let _ = answering.await;
    let gone = ask(probe("ping", None)).await.failure;
    assert_eq!(gone, Some(Failure::Refused));
    let _silent = tokio::net::UdpSocket::bind(address).await.unwrap();
    let silent = ask(probe("ping", None)).await.failure;
    assert_eq!(silent, Some(Failure::TimedOut));
}

#[tokio::test]
async fn a_port_without_listener_is_refused() {
    let (_held, address) = Refusing::new();
    for probe in [Probe::Tcp, Probe::Http(question())] {
        let finding = run(&target(address, check(probe))).await;
        assert_eq!(
            finding,
            Finding {
                failure: Some(Failure::Refused),
                rtt: None
            }
        );
    }
}

#[tokio::test]
async fn swallowed_syns_time_out() {
    let (_held, address) = Swallowing::new();
    let check = HealthCheck {
        timeout: ms(100),
        ..check(Probe::Tcp)
    };
    let finding = run(&target(address, check)).await;
    assert_eq!(
        finding,
        Finding {
            failure: Some(Failure::TimedOut),
            rtt: None
        }
    );
}

#[tokio::test]
async fn a_socket_connected_to_itself_is_noticed() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let stream = in_time("simultaneous open", socket.connect(address))
        .await
        .unwrap();
    assert!(tcp::is_connected_to_itself(&stream));
}

#[test]
fn errors_of_a_connect() {
    let table = [
        (libc::ECONNREFUSED, "refused"),
        (libc::ETIMEDOUT, "timeout"),
        (libc::ECONNRESET, "reset"),
        (libc::EHOSTUNREACH, "unreachable"),
        (libc::ENETUNREACH, "unreachable"),
        (libc::EACCES, "unreachable"),
        (libc::EPERM, "unreachable"),
        (libc::EINVAL, "unreachable"),
        (libc::EMFILE, "local"),
        (libc::ENFILE, "local"),
        (libc::EADDRNOTAVAIL, "local"),
        (libc::EADDRINUSE, "local"),
        (libc::ENOBUFS, "local"),
        (libc::ENOMEM, "local"),
    ];
    for (errno, label) in table {
        let error = io::Error::from_raw_os_error(errno);
        assert_eq!(failure::of_connect(&error).label(), label, "{error}");
    }
}

#[test]
fn reasons_are_short_and_printable() {
    let long = io::Error::other(format!("bad\r\n\x1b[31m{}", "x".repeat(10_000)));
    let Failure::Answer(what) = failure::of_exchange(&long, "TLS") else {
        panic!("not an answer");
    };
    assert!(what.starts_with("TLS: bad   [31mxxx"), "{what}");
    assert_eq!(what.len(), 200);
}

#[tokio::test]
async fn no_check_passes_without_asking() {
    let (_held, address) = Refusing::new();
    let finding = run(&target(address, check(Probe::None))).await;
    assert_eq!(
        finding,
        Finding {
            failure: None,
            rtt: None
        }
    );
}

#[tokio::test]
async fn a_port_besides_must_pass_too() {
    let endpoint = Accepting::silent().await;
    let (_held, dead) = Refusing::new();
    let target = target(endpoint.address, check(Probe::Tcp));
    let tls = TlsClients::default();
    let patience = target.check.timeout;
    let finding = probe_with_port(&target, Some(EndpointAddr(dead)), patience, &tls).await;
    assert_eq!(finding.failure, Some(Failure::Refused));
    let finding = probe_with_port(
        &target,
        Some(EndpointAddr(endpoint.address)),
        patience,
        &tls,
    )
    .await;
    assert_eq!(finding.failure, None);
}

#[tokio::test]
async fn http_statuses() {
    let table = [
        ("200 OK", (200, 399), None),
        ("302 Found", (200, 399), None),
        (
            "503 Service Unavailable",
            (200, 399),
            answer("HTTP 503, not 200-399"),
        ),
        ("204 No Content", (200, 200), answer("HTTP 204, not 200")),
        ("404 Not Found", (404, 404), None),
    ];
    for (status, wanted, expected) in table {
        let endpoint =
            Accepting::answering(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        let asked = HttpProbe {
            status: wanted,
            ..question()
        };
        assert_eq!(ask_http(&endpoint, asked).await, expected, "{status}");
    }
}

#[tokio::test]
async fn the_request() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let endpoint = Accepting::serving(move |mut stream: TcpStream| {
        let tell = tell.clone();
        async move {
            tell.send(read_request(&mut stream).await).await.unwrap();
        }
    })
    .await;
    let mut asked = target(endpoint.address, check(Probe::Http(question())));
    run(&asked).await;
    let head = told.recv().await.unwrap();
    assert!(head.starts_with("GET /health HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: {}\r\n", endpoint.address)),
        "{head}"
    );
    assert!(head.contains("connection: close\r\n"), "{head}");

    asked.name = Some("web.internal".into());
    run(&asked).await;
    let head = told.recv().await.unwrap();
    assert!(
        head.contains(&format!(
            "host: web.internal:{}\r\n",
            endpoint.address.port()
        )),
        "{head}"
    );

    asked.check = Arc::new(check(Probe::Http(HttpProbe {
        host: Some("shop.example".into()),
        ..question()
    })));
    run(&asked).await;
    assert!(
        told.recv()
            .await
            .unwrap()
            .contains("host: shop.example\r\n")
    );
}

#[test]
fn the_host_header_names_a_port_that_is_not_the_default() {
    let table = [
        ("192.0.2.1:80", None, 80, "192.0.2.1"),
        ("192.0.2.1:8080", None, 80, "192.0.2.1:8080"),
        ("[2001:db8::1]:443", None, 443, "[2001:db8::1]"),
        ("[2001:db8::1]:80", None, 443, "[2001:db8::1]:80"),
        ("192.0.2.1:443", Some("web.internal"), 443, "web.internal"),
    ];
    for (address, name, default_port, expected) in table {
        let mut target = target(address.parse().unwrap(), check(Probe::Http(question())));
        target.name = name.map(Arc::from);
        assert_eq!(http::host(&target, &question(), default_port), expected);
    }
}

#[tokio::test]
async fn bodies() {
    let early = format!("needle{}", "x".repeat(100_000));
    let late = format!("{}needle", "x".repeat(64 * 1024 - 3));
    let last = format!("{}needle{}", "x".repeat(64 * 1024 - 6), "x".repeat(1000));
    let missing = answer("body does not hold the text asked for");
    let table = [
        (ok("the needle is here"), None),
        (ok(&early), None),
        (ok(&last), None),
        (ok(&late), missing.clone()),
        (ok("nothing"), missing.clone()),
        (ok(""), missing),
        // Straddles two chunks.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nnee\r\n3\r\ndle\r\n0\r\n\r\n".into(), None),
        // Ends by closing.
        ("HTTP/1.0 200 OK\r\n\r\na needle".into(), None),
    ];
    for (text, expected) in table {
        let endpoint = Accepting::answering(&text).await;
        let asked = HttpProbe {
            body: Some("needle".into()),
            ..question()
        };
        let head = &text[..text.len().min(80)];
        assert_eq!(ask_http(&endpoint, asked).await, expected, "{head}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_an_answer_that_fails() {
    let endpoint = Accepting::serving(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
        let _ = stream.write_all(begun).await;
        crate::fixture::say_nothing(stream).await;
    })
    .await;
    let wanted = HttpProbe {
        body: Some("needle".into()),
        ..question()
    };
    // Long enough for what does come.
    let slow = HealthCheck {
        timeout: ms(1500),
        ..check(Probe::Http(wanted))
    };
    let finding = run(&target(endpoint.address, slow)).await;
    assert_eq!(finding.failure, answer("body not complete in time"));
    assert!(finding.rtt.is_some());
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_says_nothing_times_out() {
    let endpoint = Accepting::silent().await;
    let https = Probe::Https {
        http: question(),
        sni: None,
        verify_tls: false,
    };
    for probe in [Probe::Http(question()), https] {
        let hung = HealthCheck {
            timeout: ms(100),
            ..check(probe)
        };
        let finding = run(&target(endpoint.address, hung)).await;
        assert_eq!(finding.failure, Some(Failure::TimedOut));
        assert!(finding.rtt.is_some());
    }
}

#[tokio::test]
async fn answers_that_are_no_http() {
    for text in [
        "",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "\0\0\0\0\0\0\0\0",
        "HTTP/1.1 twohundred OK\r\n\r\n",
    ] {
        let endpoint = Accepting::answering(text).await;
        let failure = ask_http(&endpoint, question()).await;
        assert!(answer_text(failure).starts_with("HTTP"), "{text:?}");
    }
}

#[tokio::test]
async fn a_body_cut_short_is_an_answer_that_fails() {
    let endpoint =
        Accepting::answering("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
    let wanted = HttpProbe {
        body: Some("needle".into()),
        ..question()
    };
    assert!(answer_text(ask_http(&endpoint, wanted).await).starts_with("HTTP body"));
}

#[tokio::test]
async fn a_reset_before_the_answer_is_a_reset() {
    let endpoint = Accepting::serving(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(ask_http(&endpoint, question()).await, Some(Failure::Reset));
}

/// An HTTPS endpoint that tells the server name it was greeted with, and the roots that trust it.
async fn https_endpoint(
    names: &[&str],
) -> (
    Accepting,
    RootCertStore,
    tokio::sync::mpsc::Receiver<Option<String>>,
) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let cert: CertificateDer<'static> = issued.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.clone()], key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, told) = tokio::sync::mpsc::channel(8);
    let endpoint = Accepting::serving(move |stream| {
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let _ = tell.try_send(name);
            read_request(&mut stream).await;
            let _ = stream.write_all(ok("fine").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    (endpoint, roots, told)
}

fn https(sni: Option<&str>, verify_tls: bool) -> HealthCheck {
    let wanted = HttpProbe {
        body: Some("fine".into()),
        ..question()
    };
    check(Probe::Https {
        http: wanted,
        sni: sni.map(str::to_owned),
        verify_tls,
    })
}

#[tokio::test]
async fn a_certificate_is_judged_only_when_asked() {
    let (endpoint, roots, _told) = https_endpoint(&["web.internal", "127.0.0.1"]).await;
    let ours = TlsClients::with_roots(roots);
    let theirs = TlsClients::with_roots(https_endpoint(&["other"]).await.1);
    let table = [
        (&theirs, https(None, false), None, true),
        (&theirs, https(None, true), None, false),
        (&ours, https(Some("web.internal"), true), None, true),
        (&ours, https(None, true), Some("web.internal"), true),
        (&ours, https(None, true), None, true),
        (&ours, https(Some("elsewhere.internal"), true), None, false),
        (&ours, https(Some("elsewhere.internal"), false), None, true),
    ];
    for (tls, check, name, passes) in table {
        let mut target = target(endpoint.address, check);
        target.name = name.map(Arc::from);
        let failure = in_time("the probe", probe(&target, target.check.timeout, tls))
            .await
            .failure;
        let row = format!("{:?} {name:?}", target.check.probe);
        match failure {
            None => assert!(passes, "{row}"),
            Some(Failure::Answer(what)) => {
                assert!(!passes && what.starts_with("TLS: "), "{row}: {what}")
            }
            Some(other) => panic!("{row}: {other}"),
        }
    }
}

#[tokio::test]
async fn sni_is_the_checks_name_else_the_endpoints_never_an_address() {
    let (endpoint, _roots, mut told) = https_endpoint(&["web.internal"]).await;
    let table = [
        (
            Some("sni.internal"),
            Some("web.internal"),
            Some("sni.internal"),
        ),
        (None, Some("web.internal"), Some("web.internal")),
        (None, None, None),
    ];
    for (sni, name, expected) in table {
        let mut target = target(endpoint.address, https(sni, false));
        target.name = name.map(Arc::from);
        assert_eq!(run(&target).await.failure, None);
        assert_eq!(told.recv().await.unwrap().as_deref(), expected);
    }
}

#[tokio::test]
async fn plain_text_behind_an_https_check_is_an_answer_that_fails() {
    let endpoint = Accepting::serving(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        crate::fixture::say_nothing(stream).await;
    })
    .await;
    let finding = run(&target(endpoint.address, https(None, false))).await;
    assert!(answer_text(finding.failure).starts_with("TLS: "));
}
