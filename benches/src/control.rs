//! What a change costs: reload under load, and the time from an API call to its effect. Envoy is left out, as it takes its
//! changes from a control plane of its own kind that would be measured with it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::client;
use crate::endpoint::{self, ANSWER, REQUEST};
use crate::peer::{self, Kind};
use crate::service::Service;
use crate::tcp;
use crate::workload::{Outcome, Run, Units, Workload};

/// The workloads of this file.
pub(crate) fn all() -> Vec<Box<dyn Workload>> {
    vec![Box::new(Reload), Box::new(Effect)]
}

struct Reload;

/// Reloads come this often.
const RELOAD_EVERY: Duration = Duration::from_millis(200);

impl Workload for Reload {
    fn name(&self) -> String {
        "reload".to_owned()
    }

    fn says(&self) -> String {
        format!(
            "new connections, 32 at a time, while the configuration is changed and reloaded every {} ms",
            RELOAD_EVERY.as_millis()
        )
    }

    fn units(&self) -> Units {
        Units::OPERATIONS
    }

    fn service(&self) -> Service {
        Service::Spread
    }

    fn length(&self, asked: Duration) -> Duration {
        asked.max(RELOAD_EVERY * 4)
    }

    /// Workers that an earlier run's reloads left behind would count.
    fn wants_fresh_target(&self) -> bool {
        true
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        if matches!(
            run.target.kind,
            Kind::Envoy | Kind::PortolanEpoll | Kind::PortolanSplice | Kind::Direct
        ) {
            return Ok(None);
        }
        let to = run.to(self.service())?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reloads = scope.spawn(|| -> Result<()> {
                for number in 1.. {
                    thread::park_timeout(RELOAD_EVERY);
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    reload(run, number)?;
                }
                Ok(())
            });
            let done = client::connects(to, 32, run.length);
            over.store(true, Ordering::Relaxed);
            reloads.thread().unpark();
            reloads.join().expect("reloading does not panic")?;
            Ok(Some(tcp::operations(done?)))
        })
    }
}

/// Changes a timeout in the target's file and has it read again.
fn reload(run: &Run<'_>, number: u64) -> Result<()> {
    let seconds = 340 + number % 2;
    let (from, to) = match run.target.kind {
        Kind::Direct | Kind::PortolanEpoll | Kind::PortolanSplice | Kind::Envoy => return Ok(()),
        Kind::Portolan => (
            "protocol = \"TCP\"",
            format!("protocol = \"TCP\"\nidle_timeout = \"{seconds}s\""),
        ),
        Kind::Haproxy | Kind::HaproxyLarge => {
            ("timeout client 340s", format!("timeout client {seconds}s"))
        }
        Kind::Nginx | Kind::NginxLarge => (
            "tcp_nodelay on;",
            format!("tcp_nodelay on; proxy_timeout {seconds}s;"),
        ),
    };
    configure(run, &run.target.configuration.replace(from, &to))
}

fn configure(run: &Run<'_>, text: &str) -> Result<()> {
    let path = run.folder.join(run.target.kind.file());
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)?;
    match run.target.kind {
        Kind::Haproxy | Kind::HaproxyLarge => run.target.signal("USR2"),
        Kind::Direct
        | Kind::Portolan
        | Kind::PortolanEpoll
        | Kind::PortolanSplice
        | Kind::Nginx
        | Kind::NginxLarge
        | Kind::Envoy => run.target.signal("HUP"),
    }
}

struct Effect;

/// The endpoints between which new connections are moved, and what their answers begin with.
const MOVES: [(u16, u8); 2] = [(7790, b'1'), (7791, b'2')];

/// The port of the accelerator that is made by the API.
const MADE: u16 = 7795;

/// Within this, a change must have been made.
const PATIENCE: Duration = Duration::from_secs(10);

impl Workload for Effect {
    fn name(&self) -> String {
        "effect".to_owned()
    }

    fn says(&self) -> String {
        "time from the call that moves new connections to another endpoint until one is answered by it. Portolan: \
         UpdateEndpointGroup, written to disk before it is answered; HAProxy: `set server` on its socket; nginx: file and SIGHUP"
            .to_owned()
    }

    fn units(&self) -> Units {
        Units {
            rate: "ms (median)",
            more_is_better: false,
            cpu: None,
        }
    }

    fn service(&self) -> Service {
        Service::Answers
    }

    fn wants_fresh_target(&self) -> bool {
        true
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        endpoints()?;
        let start = Instant::now();
        let (to, mut change) = match run.target.kind {
            Kind::Direct
            | Kind::PortolanEpoll
            | Kind::PortolanSplice
            | Kind::Envoy
            | Kind::HaproxyLarge
            | Kind::NginxLarge => return Ok(None),
            Kind::Portolan => made_by_api()?,
            Kind::Haproxy | Kind::Nginx => (run.to(self.service())?, Change::Peer),
        };
        let mut times = client::times()?;
        let mut failed = 0;
        let mut number = 0;
        while number < 4 || start.elapsed() < run.length {
            let (port, byte) = MOVES[number % 2];
            number += 1;
            let began = Instant::now();
            change.make(run, port)?;
            failed += until_answered_by(to, byte)?;
            times.saturating_record(began.elapsed().as_nanos() as u64);
        }
        Ok(Some(Outcome {
            rate: times.value_at_percentile(50.0) as f64 / 1e6,
            work: 0.0,
            took: start.elapsed(),
            times: Some(times),
            failed,
            threads: 1,
            own: None,
        }))
    }
}

/// Two endpoints in this process, for its life.
fn endpoints() -> Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        let start = |(port, byte)| endpoint::start(Service::Answers, local(port), byte);
        MOVES
            .into_iter()
            .try_for_each(start)
            .map_err(|e| format!("{e:#}"))
    };
    STARTED
        .get_or_init(start)
        .clone()
        .map_err(anyhow::Error::msg)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Connects until the right endpoint answers; how many connects failed meanwhile.
fn until_answered_by(to: SocketAddr, byte: u8) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut failed = 0;
    while Instant::now() < deadline {
        match ask(to) {
            Ok(answer) if answer == byte => return Ok(failed),
            Ok(_) => {}
            Err(_) => failed += 1,
        }
    }
    bail!(
        "no connection to {to} was answered by the endpoint that it was moved to, {failed} failed"
    )
}

fn ask(to: SocketAddr) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(&[b'r'; REQUEST])?;
    let mut answer = [0; ANSWER];
    stream.read_exact(&mut answer)?;
    Ok(answer[0])
}

enum Change {
    /// The ARN of the group whose endpoint is another from here on.
    Api(String),
    Peer,
}

impl Change {
    fn make(&mut self, run: &Run<'_>, port: u16) -> Result<()> {
        let to = local(port);
        match self {
            Change::Api(group) => {
                let endpoint = json!({ "EndpointId": to.to_string(), "Weight": 128 });
                let input =
                    json!({ "EndpointGroupArn": group, "EndpointConfigurations": [endpoint] });
                call("UpdateEndpointGroup", &input).map(drop)
            }
            Change::Peer if run.target.kind == Kind::Haproxy => set_server(run, to),
            Change::Peer => {
                let endpoint = Service::Answers.endpoint().to_string();
                let text = run.target.configuration.replace(&endpoint, &to.to_string());
                configure(run, &text)
            }
        }
    }
}

fn set_server(run: &Run<'_>, to: SocketAddr) -> Result<()> {
    for _ in 0..COMMANDS {
        match command(run, to) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("HAProxy's socket"),
            Ok(answer) => {
                ensure!(answer.contains("change"), "HAProxy: {}", answer.trim());
                return Ok(());
            }
        }
    }
    bail!("HAProxy answers no command")
}

/// HAProxy 2.6 was seen to leave one in a hundred commands unanswered, and to answer it when it is given again.
const COMMANDS: usize = 3;
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

fn command(run: &Run<'_>, to: SocketAddr) -> std::io::Result<String> {
    let service = Service::Answers;
    let port = run.target.address(service).map_or(0, |at| at.port());
    let mut socket = UnixStream::connect(run.folder.join(format!("haproxy{port}.sock")))?;
    socket.set_read_timeout(Some(ANSWERED_WITHIN))?;
    let (name, ip, port) = (service.name(), to.ip(), to.port());
    writeln!(socket, "set server {name}/s1 addr {ip} port {port}")?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    Ok(answer)
}

/// An accelerator of the API's, its address, and the call that moves it.
fn made_by_api() -> Result<(SocketAddr, Change)> {
    let text = |value: &Value, path: &str| -> Result<String> {
        let found = value.pointer(path).and_then(Value::as_str);
        Ok(found
            .with_context(|| format!("no {path} in {value}"))?
            .to_owned())
    };
    let made = call(
        "CreateAccelerator",
        &json!({ "Name": "made", "IdempotencyToken": "a" }),
    )?;
    let arn = text(&made, "/Accelerator/AcceleratorArn")?;
    let address = text(&made, "/Accelerator/IpSets/0/IpAddresses/0")?;
    let listener = call(
        "CreateListener",
        &json!({ "AcceleratorArn": arn, "Protocol": "TCP", "IdempotencyToken": "b",
                 "PortRanges": [{ "FromPort": MADE, "ToPort": MADE }] }),
    )?;
    let endpoint = json!({ "EndpointId": local(MOVES[1].0).to_string(), "Weight": 128 });
    let group = call(
        "CreateEndpointGroup",
        &json!({ "ListenerArn": text(&listener, "/Listener/ListenerArn")?, "IdempotencyToken": "c",
                 "EndpointGroupRegion": "here", "EndpointConfigurations": [endpoint] }),
    )?;
    let to = SocketAddr::new(address.parse()?, MADE);
    until_answered_by(to, MOVES[1].1)?;
    Ok((
        to,
        Change::Api(text(&group, "/EndpointGroup/EndpointGroupArn")?),
    ))
}

/// One operation of the Global Accelerator API.
fn call(operation: &str, input: &Value) -> Result<Value> {
    let mut stream = TcpStream::connect(peer::PORTOLAN_API).context("Portolan's API")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = input.to_string();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {}\r\nx-amz-target: GlobalAccelerator_V20180706.{operation}\r\n\
         content-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        peer::PORTOLAN_API,
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{operation}: {answer}");
    Ok(serde_json::from_str(body)?)
}
