//! Who stands between generator and endpoint: nobody, Portolan, nginx; with one worker, on a core of its own.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::host;
use crate::cpu;

/// Where the endpoint is: below the ports that the system gives out.
pub(super) const ENDPOINT: &str = "127.0.0.1:7871";

/// How long a target may take until it forwards.
const START: Duration = Duration::from_secs(10);

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody: what the generator alone reaches.
    Direct,
    /// This project.
    Portolan,
    /// nginx with its stream module.
    Nginx,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Direct, Kind::Portolan, Kind::Nginx];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Portolan => "portolan",
            Kind::Nginx => "nginx",
        }
    }

    fn address(self) -> &'static str {
        match self {
            Kind::Direct => ENDPOINT,
            Kind::Portolan => "127.0.0.1:7872",
            Kind::Nginx => "127.0.0.1:7873",
        }
    }
}

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
            address: kind.address().parse()?,
            child: None,
        };
        let (program, arguments, file, text) = match kind {
            Kind::Direct => return Ok(target),
            Kind::Portolan => (
                fs::canonicalize(portolan)
                    .with_context(|| format!("{}: cargo build --release", portolan.display()))?,
                vec!["run", "--config"],
                "portolan.toml",
                portolan_file(target.address),
            ),
            Kind::Nginx => (
                "nginx".into(),
                vec!["-c"],
                "nginx.conf",
                nginx_file(target.address, folder),
            ),
        };
        let path = folder.join(file);
        fs::write(&path, text)?;
        let log = fs::File::create(folder.join(format!("{}.log", kind.name())))?;
        let mut command = if host::has_two_cores() {
            let mut command = Command::new("taskset");
            command.args(["-c", &host::THEIRS.to_string()]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).arg(&path).current_dir(folder);
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
                let log = fs::read_to_string(folder.join(format!("{name}.log")));
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
            Kind::Direct | Kind::Portolan => "KILL",
            Kind::Nginx => "TERM",
        };
        let _ = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        let _ = child.wait();
    }
}

fn portolan_file(at: SocketAddr) -> String {
    format!(
        "[pop]\nname = \"bench\"\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:7870\"\n\
         [[accelerator]]\nname = \"echo\"\naddresses = [\"{}\"]\n[[accelerator.listener]]\nprotocol = \"UDP\"\nports = [{}]\n\
         [[accelerator.listener.endpoint_group]]\nregion = \"here\"\nhealth_check = {{ protocol = \"NONE\" }}\nendpoints = [{{ address = \"{ENDPOINT}\" }}]\n",
        at.ip(),
        at.port()
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
