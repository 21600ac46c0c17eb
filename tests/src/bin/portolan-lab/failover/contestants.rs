//! Who is compared: Portolan, HAProxy as it comes and as it can be tuned, Envoy. All at one PoP, over the same endpoints, under the same fault
//! at the same moment, each configured as its own documentation would have it.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::lab::{Lab, VIPS, node};
use portolan_tests::process::Process;
use portolan_tests::{http, peer};
use serde_json::{Value, json};

use super::place::{FAR, HEALTH_PORT, NEAR, PORTOLAN_SOURCE, Place};

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Portolan,
    HaproxyDefault,
    HaproxyTuned,
    Envoy,
}

/// How endpoints are checked, as far as the fault makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Each one's usual check: what is found sooner is found by live traffic.
    Usual,
    /// Every 100 ms, three failures.
    Dense,
    /// An HTTP request every 500 ms.
    Http,
}

/// One that runs.
pub(crate) struct Running {
    pub(crate) who: Contestant,
    held: Held,
    directory: PathBuf,
}

enum Held {
    Edge(Box<Edge>),
    /// Killed when this is dropped.
    Process {
        _process: Process,
    },
}

impl Contestant {
    pub(crate) const ALL: [Contestant; 4] = [
        Contestant::Portolan,
        Contestant::HaproxyDefault,
        Contestant::HaproxyTuned,
        Contestant::Envoy,
    ];

    /// As on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Contestant::Portolan => "portolan",
            Contestant::HaproxyDefault => "haproxy-default",
            Contestant::HaproxyTuned => "haproxy-tuned",
            Contestant::Envoy => "envoy",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Portolan => "Portolan",
            Contestant::HaproxyDefault => "HAProxy, default",
            Contestant::HaproxyTuned => "HAProxy, tuned",
            Contestant::Envoy => "Envoy",
        }
    }

    /// Apart from the others in every port.
    fn offset(self) -> u16 {
        self as u16
    }

    /// Where its clients of a place connect.
    pub(crate) fn entry(self, place: Place) -> SocketAddr {
        SocketAddr::new(VIPS[0], 7000 + 10 * place.index as u16 + self.offset())
    }

    /// The port at which endpoints take its connections, and nobody else's.
    pub(crate) fn endpoint_port(self) -> u16 {
        9000 + self.offset()
    }

    /// Whether it can be run here; says so when not.
    pub(crate) fn is_here(self) -> bool {
        match self {
            Contestant::Portolan => true,
            Contestant::HaproxyDefault | Contestant::HaproxyTuned => {
                peer::find("haproxy").is_some()
            }
            Contestant::Envoy => match envoy() {
                Some(_) => true,
                None => {
                    peer::skip("Envoy is not installed; name its binary in ENVOY");
                    false
                }
            },
        }
    }

    /// What it says its version is.
    pub(crate) fn version(self) -> String {
        let (program, flag) = match self {
            Contestant::Portolan => (portolan_tests::binary::portolan().to_owned(), "--version"),
            Contestant::HaproxyDefault | Contestant::HaproxyTuned => {
                (PathBuf::from("haproxy"), "-v")
            }
            Contestant::Envoy => (envoy().unwrap_or_default(), "--version"),
        };
        let output = std::process::Command::new(&program).arg(flag).output();
        let text = output.map_or(Vec::new(), |output| output.stdout);
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find(|line| !line.trim().is_empty());
        let line = line.unwrap_or("").trim();
        // Envoy begins with the name that it was called by.
        let called = program.to_string_lossy();
        line.strip_prefix(&*called)
            .unwrap_or(line)
            .trim()
            .to_owned()
    }

    /// Its configuration.
    pub(crate) fn configuration(self, check: Check, directory: &Path) -> String {
        match self {
            Contestant::Portolan => portolan(check),
            Contestant::HaproxyDefault | Contestant::HaproxyTuned => {
                haproxy(self, check, directory)
            }
            Contestant::Envoy => envoy_file(check),
        }
    }

    /// Starts it at the PoP and waits until it serves.
    pub(crate) async fn start(self, lab: &Lab, check: Check) -> Result<Running> {
        let directory = lab
            .directory()
            .join(format!("contestant-{}", self.offset()));
        std::fs::create_dir_all(&directory)?;
        let configuration = self.configuration(check, &directory);
        let pop = lab.node("pop");
        let held = if self == Contestant::Portolan {
            let edge = Edge::with(&configuration).at(pop).ready().await;
            Held::Edge(Box::new(edge))
        } else {
            // Envoy goes by the ending.
            let file = directory.join("configuration.json");
            std::fs::write(&file, configuration)?;
            let mut command = if self == Contestant::Envoy {
                let mut command = node::command(envoy().context("it was there")?);
                command.args(["--disable-hot-restart", "--concurrency", "2", "-l", "error"]);
                command.arg("--config-path").arg(&file);
                command
            } else {
                let mut command = node::command("haproxy");
                command.args(["-db", "-q", "-f"]).arg(&file);
                command
            };
            command.current_dir(&directory);
            Held::Process {
                _process: pop.spawn(self.name(), command).await,
            }
        };
        let running = Running {
            who: self,
            held,
            directory,
        };
        running.until_it_serves(lab).await;
        Ok(running)
    }
}

impl Running {
    async fn until_it_serves(&self, lab: &Lab) {
        for place in Place::all() {
            let at = self.who.entry(place);
            until(
                &format!("{} serves at {at}", self.who.name()),
                PATIENCE,
                async || {
                    let connect = async move || tokio::net::TcpStream::connect(at).await.is_ok();
                    lab.node("pop").run(connect).await
                },
            )
            .await;
        }
    }

    /// By place: whether it holds all near endpoints for dead, by its own words.
    pub(crate) async fn holds_dead(&self, lab: &Lab) -> [bool; NEAR.len()] {
        let mut dead = [false; NEAR.len()];
        let text = match &self.held {
            Held::Edge(edge) => return portolan_holds_dead(&edge.state().await),
            Held::Process { .. } if self.who == Contestant::Envoy => {
                let ask = async || http::request(envoy_admin(), "GET", "/clusters").await;
                lab.node("pop")
                    .run(ask)
                    .await
                    .map_or(String::new(), |(_, body)| body)
            }
            Held::Process { .. } => self.haproxy_says("show stat\n").unwrap_or_default(),
        };
        for place in Place::all() {
            let all_dead = if self.who == Contestant::Envoy {
                text.lines()
                    .filter(|line| line.starts_with(&format!("{}::", place.name())))
                    .filter(|line| line.contains("health_flags") && is_near(line, place))
                    .all(|line| line.contains("failed"))
            } else {
                let state = |line: &str| line.split(',').nth(17).map(str::to_owned);
                text.lines()
                    .filter(|line| line.starts_with(&format!("{},near-", place.name())))
                    .all(|line| state(line).is_some_and(|state| state.starts_with("DOWN")))
            };
            dead[place.index] = all_dead && !text.is_empty();
        }
        dead
    }

    /// Falls and returns of endpoints that it saw since it began.
    pub(crate) async fn alarms(&self, lab: &Lab) -> u64 {
        match &self.held {
            Held::Edge(edge) => {
                let metrics = edge.metrics().await;
                metrics.sum("endpoint_transitions_total", &[]) as u64
            }
            Held::Process { .. } if self.who == Contestant::Envoy => {
                let path = "/stats?filter=(ejections_enforced_total|health_check.failure)$";
                let ask = async move || http::request(envoy_admin(), "GET", path).await;
                let text = lab
                    .node("pop")
                    .run(ask)
                    .await
                    .map_or(String::new(), |(_, body)| body);
                let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
                text.lines()
                    .filter(|line| line.contains("ejections_enforced_total"))
                    .filter_map(number)
                    .sum()
            }
            Held::Process { .. } => {
                let text = self.haproxy_says("show stat\n").unwrap_or_default();
                // `chkdown`: how often a server went from UP to DOWN.
                let falls = |line: &str| line.split(',').nth(22)?.parse::<u64>().ok();
                text.lines()
                    .filter(|line| line.contains(",near-") || line.contains(",far-"))
                    .filter_map(falls)
                    .sum()
            }
        }
    }

    fn haproxy_says(&self, question: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.directory.join("stats.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(question.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

fn is_near(line: &str, place: Place) -> bool {
    line.contains(&format!("::10.{}.0.", place.region()))
}

fn portolan_holds_dead(state: &Value) -> [bool; NEAR.len()] {
    let mut dead = [false; NEAR.len()];
    for place in Place::all() {
        let listener = &state["accelerators"][0]["listeners"][place.index];
        let groups = listener["endpoint_groups"].as_array();
        let near = groups
            .into_iter()
            .flatten()
            .filter(|group| group["region"] == place.name());
        let mut endpoints =
            near.flat_map(|group| group["endpoints"].as_array().into_iter().flatten());
        dead[place.index] = endpoints.all(|endpoint| endpoint["health"] == "DOWN");
    }
    dead
}

fn portolan(check: Check) -> String {
    let check = match check {
        Check::Usual => format!("{{ protocol = \"TCP\", port = {HEALTH_PORT} }}"),
        Check::Dense => format!(
            "{{ protocol = \"TCP\", port = {HEALTH_PORT}, interval = \"100ms\", timeout = \"100ms\", threshold = 3 }}"
        ),
        Check::Http => format!(
            "{{ protocol = \"HTTP\", port = {HEALTH_PORT}, path = \"/health\", interval = \"500ms\", timeout = \"300ms\", fast_interval = \"100ms\", threshold = 2 }}"
        ),
    };
    let who = Contestant::Portolan;
    let mut out = format!(
        "[[accelerator]]\nname = \"shop\"\naddresses = [\"{}\"]\n",
        VIPS[0]
    );
    for place in Place::all() {
        out += &format!(
            "\n[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [{}]\nsource_addresses = [\"{PORTOLAN_SOURCE}\"]\n",
            who.entry(place).port()
        );
        for (region, number) in [(place.name(), place.region()), (FAR, NEAR.len() + 1)] {
            let port = who.endpoint_port();
            out += &format!(
                "[[accelerator.listener.endpoint_group]]\nregion = \"{region}\"\nhealth_check = {check}\nendpoints = [{{ id = \"{region}-1\", address = \"10.{number}.0.11:{port}\" }}, {{ id = \"{region}-2\", address = \"10.{number}.0.12:{port}\" }}]\n"
            );
        }
    }
    out
}

fn haproxy(who: Contestant, check: Check, directory: &Path) -> String {
    let tuned = who == Contestant::HaproxyTuned;
    // Above the longest round trip, 90 ms.
    let (connect, more) = if tuned {
        ("250ms", "  timeout check 250ms\n  option redispatch 1\n")
    } else {
        ("5s", "  option redispatch\n")
    };
    let pace = match (tuned, check) {
        (false, _) => "",
        (true, Check::Usual) => {
            "inter 1s fastinter 100ms fall 2 observe layer4 error-limit 1 on-error mark-down"
        }
        (true, Check::Dense) => "inter 100ms fall 3",
        (true, Check::Http) => "inter 500ms fastinter 100ms fall 2",
    };
    let web = match check {
        Check::Http => "  option httpchk GET /health\n",
        Check::Usual | Check::Dense => "",
    };
    let mut out = format!(
        "global\n  stats socket {}/stats.sock level admin\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect {connect}\n  timeout client 340s\n  timeout server 340s\n{more}",
        directory.display()
    );
    for place in Place::all() {
        out += &format!(
            "listen {}\n  bind {}\n{web}  option allbackups\n",
            place.name(),
            who.entry(place)
        );
        for (region, number, backup) in [
            ("near", place.region(), ""),
            ("far", NEAR.len() + 1, " backup"),
        ] {
            for index in 1..=2 {
                out += &format!(
                    "  server {region}-{index} 10.{number}.0.1{index}:{} check port {HEALTH_PORT} {pace}{backup}\n",
                    who.endpoint_port()
                );
            }
        }
    }
    out
}

fn envoy() -> Option<PathBuf> {
    std::env::var_os("ENVOY")
        .map(PathBuf::from)
        .filter(|path| path.exists())
}

fn envoy_admin() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9901))
}

fn envoy_file(check: Check) -> String {
    let who = Contestant::Envoy;
    let health = match check {
        Check::Usual => {
            json!({"interval": "1s", "timeout": "0.25s", "unhealthy_interval": "0.1s", "no_traffic_interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 2, "tcp_health_check": {}})
        }
        Check::Dense => {
            json!({"interval": "0.1s", "timeout": "0.1s", "no_traffic_interval": "0.1s", "unhealthy_threshold": 3, "healthy_threshold": 2, "tcp_health_check": {}})
        }
        Check::Http => {
            json!({"interval": "0.5s", "timeout": "0.3s", "unhealthy_interval": "0.1s", "no_traffic_interval": "0.5s", "unhealthy_threshold": 2, "healthy_threshold": 2, "http_health_check": {"path": "/health"}})
        }
    };
    let mut listeners = Vec::new();
    let mut clusters = Vec::new();
    for place in Place::all() {
        let entry = who.entry(place);
        let address = json!({"socket_address": {"address": entry.ip().to_string(), "port_value": entry.port()}});
        let proxy = json!({"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": place.name(), "cluster": place.name(), "max_connect_attempts": 3}});
        listeners.push(json!({"name": place.name(), "address": address, "filter_chains": [{"filters": [proxy]}]}));
        let endpoints = |number: usize| -> Vec<Value> {
            (1..=2)
                .map(|index| json!({"endpoint": {
                    "address": {"socket_address": {"address": format!("10.{number}.0.1{index}"), "port_value": who.endpoint_port()}},
                    "health_check_config": {"port_value": HEALTH_PORT}}}))
                .collect()
        };
        clusters.push(json!({
            "name": place.name(), "type": "STATIC", "connect_timeout": "0.25s",
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
            "health_checks": [health.clone()],
            "outlier_detection": {"max_ejection_percent": 100},
            "load_assignment": {"cluster_name": place.name(), "endpoints": [
                {"priority": 0, "lb_endpoints": endpoints(place.region())},
                {"priority": 1, "lb_endpoints": endpoints(NEAR.len() + 1)}]}}));
    }
    let admin =
        json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}});
    json!({"admin": admin, "static_resources": {"listeners": listeners, "clusters": clusters}})
        .to_string()
}
