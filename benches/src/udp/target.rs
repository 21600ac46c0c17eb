//! Who stands between generator and endpoint, with one worker on a core of its own.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::host;
use crate::cpu;
use crate::peer::{self, Kind};
use crate::service::Service;

/// Where the endpoint is: below the ports that the system gives out.
pub(super) const ENDPOINT: &str = "127.0.0.1:7871";

/// Where targets take datagrams; there is never more than one.
const AT: &str = "127.0.0.1:7872";

/// How long a target may take until it forwards.
const START: Duration = Duration::from_secs(10);

/// A running target.
pub(super) struct Target {
    pub(super) kind: Kind,
    /// Where it takes datagrams.
    pub(super) address: SocketAddr,
    child: Option<Child>,
}

impl Target {
    pub(super) fn start(kind: Kind, portolan: &Path, folder: &Path) -> Result<Target> {
        let mut target = Target {
            kind,
            address: if kind == Kind::Direct { ENDPOINT } else { AT }.parse()?,
            child: None,
        };
        if kind == Kind::Direct {
            return Ok(target);
        }
        fs::create_dir_all(folder)?;
        let path = folder.join(kind.file());
        fs::write(&path, configuration(kind, folder)?)?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = pinned(peer::program(kind, portolan)?);
        command.args(arguments(kind)).arg(&path).current_dir(folder);
        let output = command.stdout(log.try_clone()?).stderr(log);
        let child = output.stdin(Stdio::null()).spawn();
        target.child = Some(child.with_context(|| format!("{} cannot be started", kind.name()))?);
        target.wait_until_it_forwards(folder)?;
        Ok(target)
    }

    /// CPU time of its processes and of its core's softirq thread.
    pub(super) fn cpu(&self) -> Duration {
        let pid = self.child.as_ref().map(Child::id);
        pid.map_or(Duration::ZERO, |pid| {
            cpu::family(pid) + host::softirq(host::THEIRS)
        })
    }

    /// Resident memory of its processes, bytes.
    pub(super) fn resident(&self) -> u64 {
        let pid = self.child.as_ref().map(Child::id);
        pid.map_or(0, cpu::resident)
    }

    fn wait_until_it_forwards(&mut self, folder: &Path) -> Result<()> {
        let endpoint = UdpSocket::bind(ENDPOINT).context(ENDPOINT)?;
        endpoint.set_read_timeout(Some(Duration::from_millis(20)))?;
        let client = UdpSocket::bind("127.0.0.1:0")?;
        let deadline = Instant::now() + START;
        loop {
            // Refused while nobody listens.
            let _ = client.send_to(b"?", self.address);
            if endpoint.recv_from(&mut [0; 8]).is_ok() {
                return Ok(());
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => false,
            };
            if ended || Instant::now() > deadline {
                let name = self.kind.name();
                let log = fs::read_to_string(folder.join("log"));
                bail!(
                    "{name} forwards nothing: {}",
                    log.unwrap_or_default().trim()
                );
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else {
            return;
        };
        // nginx's workers end with their master when it is asked to; nobody waits for flows.
        let signal = match self.kind {
            Kind::Nginx | Kind::NginxLarge => "TERM",
            Kind::Direct
            | Kind::Portolan
            | Kind::PortolanEpoll
            | Kind::PortolanSplice
            | Kind::Haproxy
            | Kind::HaproxyLarge
            | Kind::Envoy => "KILL",
        };
        let _ = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        let _ = child.wait();
    }
}

fn pinned(program: PathBuf) -> Command {
    if !host::has_two_cores() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &host::THEIRS.to_string()]).arg(program);
    command
}

fn arguments(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Direct | Kind::Portolan | Kind::PortolanEpoll | Kind::PortolanSplice => {
            &["run", "--config"]
        }
        // Beside the one of the other workloads.
        Kind::Envoy => &[
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
            "-l",
            "off",
            "-c",
        ],
        Kind::Haproxy | Kind::HaproxyLarge | Kind::Nginx | Kind::NginxLarge => &["-c"],
    }
}

/// What a target is given; empty for one that takes no part.
pub(super) fn configuration(kind: Kind, folder: &Path) -> Result<String> {
    let (at, endpoint) = (AT.parse()?, ENDPOINT.parse()?);
    Ok(match kind {
        Kind::Direct
        | Kind::PortolanEpoll
        | Kind::PortolanSplice
        | Kind::Haproxy
        | Kind::HaproxyLarge
        | Kind::NginxLarge => String::new(),
        Kind::Portolan => portolan_file(at),
        Kind::Nginx => nginx_file(at, folder),
        Kind::Envoy => peer::envoy_file(&[(Service::Echoes, at, vec![endpoint])]),
    })
}

/// Checks (of the endpoint's port for TCP, as Global Accelerator does), metrics and flow records are on.
fn portolan_file(at: SocketAddr) -> String {
    format!(
        "[pop]\nname = \"bench\"\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:7870\"\n[log]\nflow_log = \"flows.jsonl\"\n\
         [[accelerator]]\nname = \"echo\"\naddresses = [\"{}\"]\n[[accelerator.listener]]\nprotocol = \"UDP\"\nports = [{}]\n\
         [[accelerator.listener.endpoint_group]]\nregion = \"here\"\nhealth_check = {{ port = {} }}\nendpoints = [{{ address = \"{ENDPOINT}\" }}]\n",
        at.ip(),
        at.port(),
        Service::Answers.endpoint().port()
    )
}

/// A flow takes two of its connections; buffers as large as Portolan's.
fn nginx_file(at: SocketAddr, folder: &Path) -> String {
    format!(
        "daemon off;\nload_module /usr/lib/nginx/modules/ngx_stream_module.so;\nworker_processes 1;\nworker_rlimit_nofile 20000;\n\
         pid {}/nginx.pid;\nerror_log stderr crit;\nevents {{ worker_connections 40000; }}\n\
         stream {{\n  server {{ listen {at} udp reuseport rcvbuf=4m sndbuf=1m; proxy_pass {ENDPOINT}; proxy_timeout 30s; }}\n}}\n",
        folder.display()
    )
}
