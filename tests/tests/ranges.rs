//! Listeners with more ports than are worth a socket each: one socket a worker takes them all, and nothing else notices.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use portolan_tests::client::{self, Caller};
use portolan_tests::datagram::{self, Answer};
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::load::Load;
use portolan_tests::network::elsewhere;
use portolan_tests::toml::{Group, accelerator};
use portolan_tests::{binary, peer, place};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Two workers, whatever the machine has: so that the figures are the same everywhere.
const POP: &str = "[pop]\nname = \"test\"\nworkers = 2\n";

/// Of datagrams' flows: far longer than a busy machine leaves a client without its turn.
const IDLE: &str = "3s";

/// A listener of TCP and one of UDP on the same addresses and ports.
fn both(at: &[SocketAddr], ports: &str, tcp: &Group, udp: &Group) -> String {
    let of_udp = accelerator(
        "x",
        at,
        ports,
        &format!("idle_timeout = \"{IDLE}\""),
        std::slice::from_ref(udp),
    )
    .replace("protocol = \"TCP\"\nports", "protocol = \"UDP\"\nports");
    let listener = of_udp.find("[[accelerator.listener]]").unwrap();
    let of_tcp = accelerator("shop", at, ports, "", std::slice::from_ref(tcp));
    format!("{POP}{of_tcp}{}", &of_udp[listener..])
}

fn tcp_group(endpoint: &Endpoint) -> Group {
    Group::new("near", "1ms").unasked().endpoint(endpoint)
}

fn udp_group(endpoint: &datagram::Endpoint) -> Group {
    let group = Group::new("near", "1ms").unasked();
    group.named(endpoint.id(), endpoint.address(), "")
}

/// Ports all over the place, both ends included.
fn some_ports(count: usize) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([1, 22, 1023, 65534, 65535]);
    while ports.len() < count {
        ports.insert(rand::random_range(1..=u16::MAX));
    }
    ports
}

/// The address that a PROXY header of version 2 says the client spoke to.
fn destination(header: &[u8]) -> SocketAddr {
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    match header[13] >> 4 {
        1 => {
            let ip: [u8; 4] = header[20..24].try_into().unwrap();
            (ip, port(26)).into()
        }
        2 => {
            let ip: [u8; 16] = header[32..48].try_into().unwrap();
            (ip, port(50)).into()
        }
        other => panic!("no family {other}"),
    }
}

/// Says to each connection what its PROXY header said it was made to.
fn saying_destination() -> endpoint::Behaviour {
    endpoint::custom(async |mut stream: TcpStream| {
        let mut header = vec![0; 16];
        stream.read_exact(&mut header).await?;
        let rest = u16::from_be_bytes([header[14], header[15]]);
        header.resize(16 + usize::from(rest), 0);
        stream.read_exact(&mut header[16..]).await?;
        let line = format!("{}\n", destination(&header));
        stream.write_all(line.as_bytes()).await
    })
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

async fn no_flows(edge: &Edge) {
    until("no flow is left", PATIENCE, async || {
        edge.metrics().await.sum("flows_active", &[]) == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_on_every_port_serves_two_hundred_random_ports() {
    if elsewhere("a_listener_on_every_port_serves_two_hundred_random_ports") {
        return;
    }
    let v2 = "proxy_protocol = \"v2\"";
    let tcp = Endpoint::start("tcp", saying_destination()).await;
    let udp = datagram::Endpoint::start("udp", Answer::Echo).await;
    let (v4, v6) = (place::fresh(), SocketAddr::new("::1".parse().unwrap(), 1));
    let groups = (tcp_group(&tcp).with(v2), udp_group(&udp).with(v2));
    let toml = both(&[v4, v6], "\"1-65535\"", &groups.0, &groups.1);
    let mut edge = Edge::start(&toml).await;
    until("it says how ports are steered", PATIENCE, async || {
        edge.log().contains("sk_lookup")
    })
    .await;
    let ports = some_ports(200);
    for (number, port) in ports.iter().enumerate() {
        let ip = if number % 2 == 0 { v4.ip() } else { v6.ip() };
        let at = SocketAddr::new(ip, *port);
        let mut caller = Caller::connect(at).await.unwrap();
        assert_eq!(caller.listen().await.unwrap(), at.to_string());
        // A connected client hears no answer that comes from anywhere else.
        let client = datagram::Client::to(at).await;
        for word in ["first", "second", ""] {
            let answer = client.ask(word.as_bytes()).await;
            assert_eq!(destination(&answer), at);
            assert!(answer.ends_with(word.as_bytes()));
        }
    }
    // Whole however long, and trains in their pieces.
    let client = datagram::Client::to(SocketAddr::new(v4.ip(), 40_001)).await;
    let long = vec![7; 60_000];
    assert!(client.ask(&long).await.ends_with(&long));
    client.say_train(&long[..5 * 1200 + 300], 1200).await;
    for len in [1200, 1200, 1200, 1200, 1200, 300] {
        assert!(client.hear().await.ends_with(&long[..len]));
    }
    no_flows(&edge).await;
    // Each is one flow, under the port that its client used: all datagrams of one have met one worker.
    let records = eventually("all flows are recorded", PATIENCE, async || {
        Some(edge.flows()).filter(|flows| flows.len() >= 401)
    })
    .await;
    let of = |protocol: &str| {
        let mine = records.iter().filter(|flow| flow["protocol"] == protocol);
        let ports: Vec<u64> = mine
            .filter_map(|flow| flow["accelerator_port"].as_u64())
            .collect();
        (ports.len(), ports.into_iter().collect::<BTreeSet<u64>>())
    };
    let asked: BTreeSet<u64> = ports.iter().map(|port| u64::from(*port)).collect();
    assert_eq!(of("TCP"), (200, asked.clone()));
    let (count, recorded) = of("UDP");
    assert_eq!(count, 201);
    assert!(recorded.is_superset(&asked));
    let why = edge
        .command(&[
            "why",
            "--client",
            "192.0.2.1:5000",
            "--to",
            &format!("{}:31337/TCP", v4.ip()),
        ])
        .await;
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("tcp"), "{why}");
    let with = descriptors(edge.process().pid());
    let generation = edge.generation().await.unwrap();
    edge.rewrite(POP);
    edge.signal("HUP");
    edge.until_generation_above(generation).await;
    let without = eventually("the sockets are closed", PATIENCE, async || {
        let now = descriptors(edge.process().pid());
        (now < with && client::is_refused(SocketAddr::new(v4.ip(), 80)).await).then_some(now)
    })
    .await;
    println!(
        "131,070 ports of two addresses, TCP and UDP: {} descriptors",
        with - without
    );
    assert!(with - without < 20, "{with} - {without}");
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_and_affinity_go_by_the_real_port() {
    if elsewhere("overrides_and_affinity_go_by_the_real_port") {
        return;
    }
    // Port 443 leads elsewhere; no listener has the port that it leads to.
    let at = place::fresh();
    let ip = place::fresh().ip();
    let plain = Endpoint::start_at(SocketAddr::new(ip, 20_001), "plain", endpoint::naming()).await;
    let other = Endpoint::start_at(SocketAddr::new(ip, 30_000), "other", endpoint::naming()).await;
    let group = Group::new("near", "1ms")
        .unasked()
        .with("port_overrides = [{ listener_port = 443, endpoint_port = 30000 }]")
        .named("e", ip, "");
    let ports = "\"1-29999\", \"30001-65535\"";
    let edge = Edge::start(&format!(
        "{POP}{}",
        accelerator("shop", &[at], ports, "", &[group])
    ))
    .await;
    // Without a port of its own an endpoint is asked on the listener's, which is the real one.
    for (port, name) in [(20_001, "plain"), (443, "other")] {
        assert_eq!(
            client::ask(SocketAddr::new(at.ip(), port), "x")
                .await
                .unwrap(),
            name
        );
    }
    assert!(client::is_refused(SocketAddr::new(at.ip(), 30_000)).await);
    drop((plain, other, edge));
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_add_and_remove_ranges_and_leave_flows_alone() {
    if elsewhere("reloads_add_and_remove_ranges_and_leave_flows_alone") {
        return;
    }
    let tcp = Endpoint::start("tcp", endpoint::naming()).await;
    let udp = datagram::Endpoint::start("udp", Answer::Name).await;
    let at = place::fresh();
    let on = |port| SocketAddr::new(at.ip(), port);
    let file = |ports: &str| both(&[at], ports, &tcp_group(&tcp), &udp_group(&udp));
    let edge = Edge::start(&file("80, 65535")).await;
    let reload = async |ports: &str| {
        let generation = edge.generation().await.unwrap();
        edge.rewrite(&file(ports));
        edge.signal("HUP");
        edge.until_generation_above(generation).await;
    };
    let mut early = Caller::connect(on(80)).await.unwrap();
    early.ask("early").await.unwrap();
    assert!(client::is_refused(on(81)).await);
    let load = Load::start(on(80), 50);
    // From sockets to a range, to other ranges, to sockets.
    for (ports, open, shut) in [
        ("\"1-65535\"", vec![80, 81, 9000, 65535], vec![]),
        (
            "\"1-3000\", \"60000-65534\"",
            vec![80, 81, 60000],
            vec![3001, 65535],
        ),
        ("\"80-2000\"", vec![80, 81], vec![79, 2001, 60000]),
        ("80, 9000", vec![80, 9000], vec![81]),
        ("\"1-65535\"", vec![80, 9000], vec![]),
    ] {
        reload(ports).await;
        load.until_done(5).await;
        for port in open {
            until(&format!("{port} of {ports}"), PATIENCE, async || {
                client::ask(on(port), "x").await.is_ok_and(|id| id == "tcp")
            })
            .await;
            let client = datagram::Client::to(on(port)).await;
            // The last of the doors may open a moment after the generation is told.
            let step = Duration::from_millis(500);
            let (name, _) = datagram::who_at_last(&client, "x", step).await;
            assert_eq!(name, "udp", "{port} of {ports}");
        }
        for port in shut {
            until(&format!("{port} is shut"), PATIENCE, async || {
                client::is_refused(on(port)).await
            })
            .await;
        }
        assert_eq!(early.ask("still").await.unwrap(), "tcp");
    }
    let attempts = load.stop().await;
    let failed = attempts
        .iter()
        .filter(|attempt| attempt.answer.is_err())
        .count();
    println!(
        "five reloads between sockets and ranges: {failed} of {} connections failed",
        attempts.len()
    );
    // A socket that closes takes along who has not finished the handshake; ranges alone lose nothing.
    assert!(
        failed * 50 <= attempts.len(),
        "{failed} of {}",
        attempts.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_of_a_range_fail_no_connection_and_lose_no_datagram() {
    if elsewhere("upgrades_of_a_range_fail_no_connection_and_lose_no_datagram") {
        return;
    }
    let tcp = Endpoint::start("tcp", endpoint::naming()).await;
    let udp = datagram::Endpoint::start("udp", Answer::Name).await;
    let at = place::fresh();
    let toml = both(&[at], "\"1-65535\"", &tcp_group(&tcp), &udp_group(&udp))
        .replace(&format!("\"{IDLE}\""), "\"60s\"");
    let mut edge = Edge::start(&toml).await;
    let loads = [1, 4711, 65535].map(|port| Load::start(SocketAddr::new(at.ip(), port), 50));
    let mut answered = 0;
    let steady = datagram::Client::to(SocketAddr::new(at.ip(), 31_337)).await;
    steady.who("first").await;
    let seen_from = udp.seen().last().unwrap().0;
    for round in 0..5 {
        let mut old = edge.upgrade(&[]).await;
        // A flow that is there goes along: its endpoint sees it come from where it came before.
        assert_eq!(steady.who("still").await, "udp");
        assert_eq!(udp.seen().last().unwrap().0, seen_from);
        for port in [53, 40_000] {
            let client = datagram::Client::to(SocketAddr::new(at.ip(), port)).await;
            assert_eq!(client.who(&format!("{round}")).await, "udp");
            answered += 1;
        }
        assert!(old.end(PATIENCE).await.success(), "{}", old.output());
        loads[0].until_done(10).await;
    }
    let mut connections = 0;
    for load in loads {
        let attempts = load.stop().await;
        let failed: Vec<_> = attempts
            .iter()
            .filter(|attempt| attempt.answer.is_err())
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {}: {:?}",
            failed.len(),
            attempts.len(),
            failed.first()
        );
        connections += attempts.len();
    }
    println!(
        "5 upgrades of a range: 0 of {connections} connections failed, {answered} datagrams answered"
    );
    // Killed, it leaves nothing behind.
    edge.signal("KILL");
    edge.process().end(PATIENCE).await;
    // The kernel may take a moment after the process is gone.
    until("who comes now meets nobody", PATIENCE, async || {
        client::is_refused(SocketAddr::new(at.ip(), 80)).await
    })
    .await;
}

/// A program that listens on every address, in a process of its own.
struct Other(std::process::Child);

impl Other {
    fn start(port: u16) -> Other {
        let code = format!(
            "import socket, sys\ns = socket.create_server(('0.0.0.0', {port}))\nprint(flush=True)\nwhile True: s.accept()[0].sendall(b'other\\n')"
        );
        let mut child = Command::new("python3")
            .args(["-c", &code])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Other(child)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn greets(at: SocketAddr) -> Option<String> {
    let mut caller = Caller::connect(at).await.ok()?;
    caller.listen().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_keep_their_ports_and_are_named() {
    if elsewhere("other_programs_keep_their_ports_and_are_named") {
        return;
    }
    if peer::find("python3").is_none() {
        return;
    }
    let early = Other::start(22);
    let tcp = Endpoint::start("tcp", endpoint::greeting()).await;
    let at = place::fresh();
    let group = tcp_group(&tcp);
    let toml = accelerator("shop", &[at], "\"1-65535\"", "", &[group]);
    let edge = Edge::start(&format!("{POP}{toml}")).await;
    let on = |port| SocketAddr::new(at.ip(), port);
    assert_eq!(greets(on(22)).await.as_deref(), Some("other"));
    assert_ne!(greets(on(23)).await.as_deref(), Some("other"));
    until("it is named", PATIENCE, async || {
        edge.log().contains(&format!("{}", on(22)))
    })
    .await;
    // One that comes later is seen within a second or so; its port comes back when it goes.
    let late = Other::start(2222);
    until("the port is its own", PATIENCE, async || {
        greets(on(2222)).await.as_deref() == Some("other")
    })
    .await;
    drop((early, late));
    for port in [22, 2222] {
        until("the port is the range's again", PATIENCE, async || {
            greets(on(port)).await.is_some_and(|line| line != "other")
        })
        .await;
    }
}

/// Runs a command on a file with the capabilities that are left.
fn without(capabilities: &str, arguments: &[&str], directory: &Path) -> Output {
    // Who is not root has none of them anyway.
    let mut command = match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--bounding-set={capabilities}"));
            command.arg(binary::portolan());
            command
        }
        _ => Command::new(binary::portolan()),
    };
    command
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

#[tokio::test]
async fn without_the_rights_run_and_check_end_with_2_and_name_them() {
    if peer::find("setpriv").is_none() {
        return;
    }
    let ip: IpAddr = place::fresh().ip();
    let admin = place::fresh();
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Group::new("near", "1ms").named("e", "10.0.0.1", "");
    let listener = accelerator(
        "shop",
        &[SocketAddr::new(ip, 1)],
        "\"1-65535\"",
        "",
        &[endpoint],
    );
    let file = format!("[admin]\nlisten = \"{admin}\"\n{listener}");
    std::fs::write(directory.path().join("portolan.toml"), &file).unwrap();
    let arguments = ["--config", "portolan.toml"];
    for command in ["run", "check"] {
        let output = without(
            "-bpf,-net_admin,-sys_admin,-net_raw",
            &[&[command], &arguments[..]].concat(),
            directory.path(),
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        for word in [
            "accelerator[0].listener[0].ports",
            "65535 ports",
            "CAP_NET_ADMIN",
            "CAP_BPF",
            "tproxy",
            "1000 ports",
        ] {
            assert!(said.contains(word), "{command}: no {word} in {said}");
        }
    }
    // Fewer ports need no rights, and every port on every address takes answers from this host's own clients.
    std::fs::write(
        directory.path().join("portolan.toml"),
        file.replace("1-65535", "5001-6000"),
    )
    .unwrap();
    let output = without(
        "-bpf,-net_admin,-sys_admin,-net_raw",
        &["check", "--config", "portolan.toml"],
        directory.path(),
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let wild = file
        .replace(&format!("addresses = [\"{ip}\"]"), "addresses = []")
        .replace(
            "protocol = \"TCP\"\nports = [\"1-65535\"]",
            "protocol = \"UDP\"\nports = [\"20000-65535\"]",
        );
    std::fs::write(directory.path().join("portolan.toml"), wild).unwrap();
    let output = without(
        "-bpf",
        &["check", "--config", "portolan.toml"],
        directory.path(),
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ip_local_port_range"), "{said}");
}

/// What the README gives for TPROXY.
fn rules(ip: IpAddr) -> String {
    format!(
        "table inet portolan {{\n  chain ranges {{\n    type filter hook prerouting priority mangle;\n    \
         ip daddr {ip} meta l4proto {{ tcp, udp }} th dport 1-65535 tproxy ip to {ip}:65535\n  }}\n}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_may_bring_the_ports_instead() {
    if elsewhere("a_firewall_may_bring_the_ports_instead") {
        return;
    }
    let Some(nft) = peer::find("nft") else {
        return;
    };
    let tcp = Endpoint::start("tcp", saying_destination()).await;
    let udp = datagram::Endpoint::start("udp", Answer::Echo).await;
    let at = place::fresh();
    let v2 = "proxy_protocol = \"v2\"";
    let toml = both(
        &[at],
        "\"1-65535\"",
        &tcp_group(&tcp).with(v2),
        &udp_group(&udp).with(v2),
    )
    .replace(POP, &format!("{POP}port_steering = \"tproxy\"\n"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules");
    std::fs::write(&file, rules(at.ip())).unwrap();
    assert!(
        Command::new(nft)
            .arg("-f")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    let edge = Edge::start(&toml).await;
    for port in some_ports(20) {
        let at = SocketAddr::new(at.ip(), port);
        let mut caller = Caller::connect(at).await.unwrap();
        assert_eq!(caller.listen().await.unwrap(), at.to_string());
        let client = datagram::Client::to(at).await;
        assert_eq!(destination(&client.ask(b"x").await), at);
        assert!(client.hear_within(Duration::from_millis(1)).await.is_none());
    }
    drop(edge);
}
