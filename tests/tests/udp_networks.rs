//! UDP where the network is more than loopback's one address: answers come from where the client spoke to, and a flood of forged sources
//! does not cost those who are there.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use portolan_tests::datagram::{Answer, Client, Endpoint, name_in, who_at_last};
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::toml::{Group, datagrams};
use portolan_tests::{network, place};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Gives this network what `lines` of a shell say.
fn set_up(lines: &[&str]) {
    let script = format!("set -e\n{}", lines.join("\n"));
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.expect("sh can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
}

/// As `datagrams`, on every address of the host.
fn everywhere(at: SocketAddr, lines: &str, endpoint: &Endpoint) -> String {
    let group = Group::new("r", "1ms")
        .unasked()
        .named(endpoint.id(), endpoint.address(), "");
    datagrams(at, lines, &[group])
        .replace(&format!("addresses = [\"{}\"]", at.ip()), "addresses = []")
}

#[tokio::test]
async fn answers_come_from_the_address_that_was_asked_whichever_the_host_prefers() {
    if network::elsewhere("answers_come_from_the_address_that_was_asked_whichever_the_host_prefers")
    {
        return;
    }
    set_up(&[
        "ip address add 192.0.2.1/24 dev lo",
        "ip address add 192.0.2.2/24 dev lo",
        "ip address add 198.51.100.1/24 dev lo",
        "ip address add 2001:db8:1::1/64 dev lo nodad",
        "ip address add 2001:db8:1::2/64 dev lo nodad",
    ]);
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let at = place::fresh();
    let _edge = Edge::start(&everywhere(at, "", &endpoint)).await;
    let pairs = [
        ("192.0.2.1", "192.0.2.2"),
        ("192.0.2.2", "192.0.2.1"),
        ("198.51.100.1", "192.0.2.2"),
        ("198.51.100.1", "127.0.0.1"),
        ("2001:db8:1::1", "2001:db8:1::2"),
        ("2001:db8:1::2", "2001:db8:1::1"),
        ("2001:db8:1::2", "::1"),
    ];
    for (to, from) in pairs {
        let to = SocketAddr::new(to.parse().expect("an address"), at.port());
        // Connected: it hears nobody else, and nothing of the first answer is forgiven.
        let client = Client::from(from.parse().expect("an address"), to).await;
        for question in ["first", "second"] {
            assert_eq!(client.who(question).await, "a", "{from} asked {to}");
        }
    }
    println!(
        "answers came from the address that was asked for {} pairs of addresses",
        pairs.len()
    );
}

/// Flows that are there before the flood.
const ESTABLISHED: usize = 40;

/// How often each of them asks.
const EVERY: Duration = Duration::from_millis(40);

/// For how long, with and without a flood.
const FLOOD: Duration = Duration::from_millis(2500);

/// What a question may take.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1500);

/// How often each flood is tried at most: a machine that is busy with something else loses questions that no flood took.
const TURNS: usize = 3;

/// Forged sources a second that a debug build takes on a busy machine, too.
const WITHIN_REACH: u32 = 5_000;

/// What the listener is told, forged sources a second, and the percentage of questions that may be lost. The bounds are what can be asked
/// of a debug build on a machine that has other things to do; what a flood costs is the figure that is printed.
const FLOODS: [(&str, u32, f64); 3] = [
    ("", 5_000, 5.0),
    ("", 50_000, 25.0),
    ("new_flows = 2000", 50_000, 25.0),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flood_of_forged_sources_leaves_established_flows_served() {
    if network::elsewhere("a_flood_of_forged_sources_leaves_established_flows_served") {
        return;
    }
    // Answers to forged sources leave by a link on which nobody listens.
    set_up(&[
        "ip link add out type veth peer name nowhere",
        "ip link set out arp off up",
        "ip link set nowhere up",
        "ip address add 192.0.2.1/24 dev out",
        "ip route add default dev out",
    ]);
    let endpoint = Endpoint::start("a", Answer::Name).await;
    let at = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), place::fresh().port());
    let edge = Edge::start(&everywhere(at.into(), "idle_timeout = \"2s\"", &endpoint)).await;
    let mut clients = Vec::new();
    for number in 0..ESTABLISHED {
        let client = Client::from(at.ip().to_owned().into(), at.into()).await;
        client.who(&format!("hello {number}")).await;
        clients.push(Arc::new(client));
    }
    let calm = ask_for(&clients).await;
    println!(
        "without a flood {} of {} questions were lost",
        calm.1, calm.0
    );
    for (lines, rate, bound) in FLOODS {
        if !lines.is_empty() {
            let generation = edge.generation().await.unwrap_or_default();
            let lines = format!("idle_timeout = \"2s\"\n{lines}");
            edge.rewrite(&everywhere(at.into(), &lines, &endpoint));
            edge.signal("HUP");
            edge.until_generation_above(generation).await;
        }
        for turn in 1..=TURNS {
            let percent = lost_beside(&edge, at, rate, &clients, lines).await;
            if percent < bound {
                break;
            }
            assert!(turn < TURNS, "{percent} % in the last of {TURNS} turns");
        }
    }
    until("every flow is still served", PATIENCE, async || {
        for client in &clients {
            let _ = client.say(b"after").await;
            if client.hear_within(Duration::from_secs(1)).await.is_none() {
                return false;
            }
        }
        true
    })
    .await;
}

/// The percentage of questions that are lost beside a flood. Beyond [`WITHIN_REACH`] without the share of all datagrams that found the
/// socket's buffer full, because the edge had not its turn: whoever speaks there loses as much, and established flows are to lose no more.
async fn lost_beside(
    edge: &Edge,
    at: SocketAddrV4,
    rate: u32,
    clients: &[Arc<Client>],
    lines: &str,
) -> f64 {
    // Flows that are there, whatever time has passed since the last turn; twice, for only who goes on after an answer is known to be there.
    for client in clients {
        for question in ["hello", "hello again"] {
            who_at_last(client, question, Duration::from_secs(1)).await;
        }
    }
    let before = drops(edge).await;
    let flood = Flood::start(at, rate);
    let (asked, lost) = ask_for(clients).await;
    let (sent, took) = flood.stop();
    let after = drops(edge).await;
    let dropped: Vec<_> = after
        .iter()
        .zip(before)
        .map(|((cause, after), (_, before))| (*cause, after - before))
        .filter(|(_, count)| *count > 0.0)
        .collect();
    let percent = lost as f64 * 100.0 / asked as f64;
    println!(
        "{ESTABLISHED} flows, {lines:?}, beside {:.0} forged sources a second ({sent} in all, dropped: {dropped:?}): \
         {lost} of {asked} questions lost, {percent:.2} %",
        sent as f64 / took.as_secs_f64(),
    );
    assert!(sent > 5_000, "no flood: {sent}");
    let unread = dropped.iter().find(|(cause, _)| *cause == "receive_buffer");
    let unread = unread.map_or(0.0, |(_, count)| *count) * 100.0 / (sent + asked) as f64;
    percent - if rate > WITHIN_REACH { unread } else { 0.0 }
}

/// What was dropped, by cause.
async fn drops(edge: &Edge) -> [(&'static str, f64); 5] {
    let metrics = edge.metrics().await;
    let causes = [
        "limit",
        "overload",
        "receive_buffer",
        "endpoint_buffer",
        "send_buffer",
    ];
    causes.map(|cause| {
        let count = metrics.sum("datagrams_dropped_total", &[("cause", cause)]);
        (cause, count)
    })
}

/// Every client asks at its pace for [`FLOOD`]: how many questions there were, and how many were not answered.
async fn ask_for(clients: &[Arc<Client>]) -> (u64, u64) {
    let answered = Arc::new(AtomicU64::new(0));
    let asked = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| {
            let (client, asked, answered) = (
                Arc::clone(client),
                Arc::clone(&asked),
                Arc::clone(&answered),
            );
            tokio::spawn(async move {
                let hearing = {
                    let client = Arc::clone(&client);
                    tokio::spawn(async move {
                        while let Some(answer) = client.hear_within(ANSWERED_WITHIN).await {
                            if name_in(&answer, "q").is_some() {
                                answered.fetch_add(1, Relaxed);
                            }
                        }
                    })
                };
                let end = Instant::now() + FLOOD;
                let mut pace = tokio::time::interval(EVERY);
                while Instant::now() < end {
                    pace.tick().await;
                    if client.say(b"q").await.is_ok() {
                        asked.fetch_add(1, Relaxed);
                    }
                }
                let _ = hearing.await;
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a client does not panic");
    }
    let (asked, answered) = (asked.load(Relaxed), answered.load(Relaxed));
    (asked, asked.saturating_sub(answered))
}

/// Datagrams from sources that nobody has.
struct Flood {
    began: Instant,
    ended: Arc<AtomicBool>,
    sending: thread::JoinHandle<u64>,
}

impl Flood {
    fn start(to: SocketAddrV4, rate: u32) -> Flood {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        // The kernel fills in what is zero of the header.
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)));
        let socket = socket.expect("root in a namespace may send anything");
        let sending = thread::spawn(move || {
            let (began, mut sent) = (Instant::now(), 0u64);
            let address = SockAddr::from(SocketAddr::from(to));
            while !end.load(Relaxed) {
                let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                // A sender that was held up does not make up for all of it at once.
                let most = due.min(sent + 500);
                while sent < most && socket.send_to(&forged(sent as u32, to), &address).is_ok() {
                    sent += 1;
                }
                // As it comes from a network: in between, the processor is the edge's.
                thread::sleep(Duration::from_micros(100));
            }
            sent
        });
        Flood {
            began: Instant::now(),
            ended,
            sending,
        }
    }

    fn stop(self) -> (u64, Duration) {
        self.ended.store(true, Relaxed);
        let sent = self.sending.join().expect("a sender does not panic");
        (sent, self.began.elapsed())
    }
}

/// An IPv4 header, a UDP header without a checksum, and a word.
fn forged(number: u32, to: SocketAddrV4) -> [u8; 32] {
    let mut packet = [0; 32];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&32u16.to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    let source = 0x0a00_0000 | (number.wrapping_mul(0x9e37_79b1) >> 8);
    packet[12..16].copy_from_slice(&source.to_be_bytes());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let port = 1024 + (number % 60_000) as u16;
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..26].copy_from_slice(&12u16.to_be_bytes());
    packet[28..32].copy_from_slice(b"evil");
    packet
}
