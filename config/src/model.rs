//! Desired state: what operator, API and AWS ask for. Valid by construction: `file` (and later the API) are its only makers,
//! and nothing downstream checks it again.

mod announce;
mod api;
mod aws;
mod dns;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::Host;
use crate::units::{AcceleratorName, EndpointId, PortSet, Region, TrafficDial, Weight};

pub use self::announce::{Announce, Bird};
pub use self::api::{AliasAddress, Api, Credential, EndpointAlias};
pub use self::aws::{Aws, AwsReach, AwsRole};
pub use self::dns::{
    CONTINENTS, Dns, DnsMode, DnsRecord, FailoverRole, HostedZone, LATENCY_REGIONS, Location,
    Place, PopCheck, PopCheckProtocol, RecordValue, RoutingPolicy, is_country, is_state,
    load_balancer_region,
};

/// Everything one file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This PoP.
    pub pop: Pop,
    /// The admin listener.
    pub admin: Admin,
    /// The readiness listener, when there is one.
    pub readiness: Option<SocketAddr>,
    /// How long SIGTERM lets flows finish.
    pub shutdown_drain: Duration,
    /// How long flows may go on in a process that has handed over to a successor.
    pub upgrade_drain: Duration,
    /// Logs.
    pub log: Log,
    /// Caps.
    pub limits: Limits,
    /// Name resolution.
    pub resolver: Resolver,
    /// The Global-Accelerator-compatible API, when there is one.
    pub api: Option<Api>,
    /// What is read from AWS, when something is.
    pub aws: Option<Aws>,
    /// Where what the API makes is kept.
    pub store: PathBuf,
    /// What endpoint ids that are no addresses stand for.
    pub endpoint_aliases: Vec<EndpointAlias>,
    /// Publication in Route 53, when there is one.
    pub dns: Option<Dns>,
    /// How static addresses are announced, when they are.
    pub announce: Option<Announce>,
    /// The accelerators, in the order of the file.
    pub accelerators: Vec<Accelerator>,
}

/// `[pop]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pop {
    /// Its name; the host's by default.
    pub name: String,
    /// Its own unicast addresses.
    pub addresses: Vec<IpAddr>,
    /// Data-path threads; 0 means one a core.
    pub workers: usize,
    /// What they receive with.
    pub io_engine: IoEngine,
    /// Whether bulk is relayed by splice.
    pub splice: bool,
    /// Where the operator's drains are kept over restarts.
    pub state_file: PathBuf,
    /// How listeners of very many ports are served.
    pub port_steering: PortSteering,
}

/// What the data path receives the bytes of TCP flows with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEngine {
    /// By io_uring while it wins, where it is possible; by epoll otherwise.
    #[default]
    Auto,
    /// By epoll and a call for each.
    Epoll,
    /// By io_uring, every flow that can.
    IoUring,
}

/// How the clients of more ports than there are sockets come to one socket a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortSteering {
    /// By a program in the kernel, which this process brings.
    #[default]
    SkLookup,
    /// By rules of the firewall, which the operator brings.
    Tproxy,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A bearer token is read from here; required off loopback.
    pub token_file: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Text for people or JSON lines.
    pub format: LogFormat,
    /// Where flow records go; `None` is off.
    pub flow_log: Option<PathBuf>,
    /// The share of flows that are recorded, 0.0 to 1.0.
    pub sample: f64,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[limits]`. Zero means no limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// All flows; 0 is by the descriptor limit.
    pub max_flows: u32,
    /// Flows of one source.
    pub max_flows_per_source: u32,
    /// New flows a second of one source.
    pub new_flows_per_source: u32,
    /// Bytes of flow table.
    pub flow_table: u64,
}

/// `[resolver]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers to ask; empty means the system's.
    pub nameservers: Vec<SocketAddr>,
    /// How long the last good answer is kept when resolution fails.
    pub stale_for: Duration,
}

/// Who asked for an accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The TOML file.
    File,
    /// The Global Accelerator API.
    Api,
    /// Sync from AWS.
    Aws,
}

impl Source {
    /// The word that the admin API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Api => "api",
            Source::Aws => "aws",
        }
    }
}

/// A named set of static addresses with listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Accelerator {
    /// Unique.
    pub name: AcceleratorName,
    /// Who asked for it.
    pub source: Source,
    /// Whether it takes new flows.
    pub enabled: bool,
    /// Where it listens; empty is the wildcard of both families.
    pub addresses: Vec<IpAddr>,
    /// Its listeners; their ports do not overlap within a protocol.
    pub listeners: Vec<Listener>,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Terminated and relayed.
    Tcp,
    /// Forwarded by flow.
    Udp,
}

impl Protocol {
    /// `TCP` or `UDP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a flow's hash is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAffinity {
    /// The 5-tuple: every flow is picked anew.
    None,
    /// Source and accelerator address, whatever port and protocol.
    SourceIp,
}

impl ClientAffinity {
    /// Global Accelerator's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientAffinity::None => "NONE",
            ClientAffinity::SourceIp => "SOURCE_IP",
        }
    }
}

/// Protocol and ports on an accelerator.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its ports.
    pub ports: PortSet,
    /// What ties a client to an endpoint.
    pub client_affinity: ClientAffinity,
    /// How its flows are treated.
    pub settings: Arc<ListenerSettings>,
    /// Its groups, in the order of the file; regions are unique.
    pub endpoint_groups: Vec<EndpointGroup>,
}

/// How the flows of a listener are treated.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// A flow on which no byte moved for this long is closed.
    pub idle_timeout: Duration,
    /// How long one direction may outlive the other.
    pub half_close_timeout: Duration,
    /// How long all connects of a flow may take, each on its own.
    pub connect_timeout: Duration,
    /// Connects a flow may try, the first included.
    pub connect_attempts: NonZeroU8,
    /// When a second endpoint is raced.
    pub hedge_after: HedgeAfter,
    /// TCP keepalive idle time on both sides.
    pub keepalive: Duration,
    /// `TCP_USER_TIMEOUT` on both sides.
    pub user_timeout: Duration,
    /// Whether flows go somewhere when no endpoint anywhere is available.
    pub fail_open: bool,
    /// Whose PROXY headers are believed; `None` is nobody's.
    pub accept_proxy: Option<AcceptProxy>,
    /// Flows of this listener; 0 is no cap of its own.
    pub max_flows: u32,
    /// New flows a second of this listener; 0 is no cap.
    pub new_flows: u32,
    /// The edge's own addresses toward endpoints, used in turn; empty is the kernel's choice.
    pub source_addresses: Vec<IpAddr>,
    /// UDP: a flow of QUIC stays with its endpoint when the client's address changes.
    pub quic: bool,
    /// An endpoint that has a client's bytes and answers none for this long is said to hang; `None` is off.
    pub expect_first_byte: Option<Duration>,
}

impl Default for ListenerSettings {
    /// The defaults of a TCP listener, for one that is known by its flows alone.
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(340),
            half_close_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            connect_attempts: NonZeroU8::new(3).expect("3 is not 0"),
            hedge_after: HedgeAfter::Auto,
            keepalive: Duration::from_secs(60),
            user_timeout: Duration::from_secs(340),
            fail_open: true,
            accept_proxy: None,
            max_flows: 0,
            new_flows: 0,
            source_addresses: Vec::new(),
            quic: false,
            expect_first_byte: None,
        }
    }
}

/// When a second endpoint is raced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// After max(50 ms, 3 × the endpoint's smoothed connect time).
    Auto,
    /// After a fixed time.
    After(Duration),
    /// Never.
    Off,
}

/// `accept_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptProxy {
    /// Senders that are believed; from them a header is required.
    pub from: Vec<IpNet>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// The endpoints of one region under a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointGroup {
    /// Unique within the listener.
    pub region: Region,
    /// The share of the traffic it takes.
    pub traffic_dial: TrafficDial,
    /// Overrides the measured distance.
    pub latency: Option<Duration>,
    /// How its endpoints are checked.
    pub health_check: Arc<HealthCheck>,
    /// Listener port to endpoint port.
    pub port_overrides: Vec<PortOverride>,
    /// How its flows are treated.
    pub settings: Arc<GroupSettings>,
    /// Its endpoints; ids are unique.
    pub endpoints: Vec<Endpoint>,
}

/// One port override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortOverride {
    /// A port of the listener.
    pub listener_port: u16,
    /// What is connected to instead.
    pub endpoint_port: u16,
}

/// How the flows of a group are treated.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSettings {
    /// PROXY header toward the endpoints.
    pub proxy_protocol: ProxyProtocol,
    /// Which address the endpoints see.
    pub client_address: ClientAddress,
    /// What live flows meet when their endpoint goes down.
    pub on_unhealthy: OnUnhealthy,
    /// Resets are spread over this long.
    pub reset_over: Duration,
    /// Resets a second at most.
    pub reset_rate: u32,
    /// How long draining flows may take.
    pub drain_timeout: Duration,
}

/// The values that the keys have when they are left out.
impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            proxy_protocol: ProxyProtocol::Off,
            client_address: ClientAddress::Edge,
            on_unhealthy: OnUnhealthy::Reset,
            reset_over: Duration::from_secs(1),
            reset_rate: 2000,
            drain_timeout: Duration::from_secs(300),
        }
    }
}

/// Which address endpoints see as a flow's source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// The edge's.
    #[default]
    Edge,
    /// The client's own, where the way back has been proved.
    Transparent,
}

impl ClientAddress {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientAddress::Edge => "edge",
            ClientAddress::Transparent => "transparent",
        }
    }
}

/// PROXY header toward endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None.
    Off,
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

/// What live flows meet when their endpoint goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// They are reset, paced.
    Reset,
    /// They finish, up to `drain_timeout`.
    Drain,
    /// They are left alone.
    Keep,
}

/// Something that takes connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Unique in its group.
    pub id: EndpointId,
    /// What it is reached by.
    pub host: Host,
    /// Its own port, when it names one.
    pub port: Option<u16>,
    /// Its share.
    pub weight: Weight,
    /// Flows at most; 0 is no cap.
    pub max_flows: u32,
}

impl EndpointGroup {
    /// The port that a flow to `listener_port` goes to on `endpoint`: override, else the endpoint's own, else the same.
    pub fn endpoint_port(&self, endpoint: &Endpoint, listener_port: u16) -> u16 {
        self.port_overrides
            .iter()
            .find(|o| o.listener_port == listener_port)
            .map(|o| o.endpoint_port)
            .or(endpoint.port)
            .unwrap_or(listener_port)
    }

    /// The port that health checks ask: the check's, else the endpoint's own, else the listener's first; never an override.
    pub fn probe_port(&self, endpoint: &Endpoint, listener: &Listener) -> u16 {
        self.health_check
            .port
            .or(endpoint.port)
            .unwrap_or(listener.ports.first())
    }
}

/// How endpoints are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// The port, when it is neither the endpoint's nor the listener's.
    pub port: Option<u16>,
    /// Time between probes when all is well.
    pub interval: Duration,
    /// Time between probes while an endpoint is changing its mind.
    pub fast_interval: Duration,
    /// Time a probe may take.
    pub timeout: Duration,
    /// Passes that bring an endpoint up.
    pub healthy_threshold: NonZeroU8,
    /// Failures that bring it down.
    pub unhealthy_threshold: NonZeroU8,
    /// The share of the interval by which probes are spread, 0.0 to 1.0.
    pub jitter: f64,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Nothing: always up.
    None,
    /// A connect, closed by reset.
    Tcp,
    /// A GET over plain HTTP.
    Http(HttpProbe),
    /// A GET over TLS.
    Https {
        /// The request.
        http: HttpProbe,
        /// The name in SNI; the endpoint's own name when absent.
        sni: Option<String>,
        /// Whether the certificate must verify.
        verify_tls: bool,
    },
    /// One datagram, and an answer to it.
    Udp(UdpProbe),
}

impl Probe {
    /// Global Accelerator's word, or `NONE`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Probe::None => "NONE",
            Probe::Tcp => "TCP",
            Probe::Http(_) => "HTTP",
            Probe::Https { .. } => "HTTPS",
            Probe::Udp(_) => "UDP",
        }
    }
}

/// What a UDP probe says and what passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpProbe {
    /// The datagram that is sent.
    pub send: Vec<u8>,
    /// Bytes that the answer must hold; any answer passes when absent.
    pub expect: Option<Vec<u8>>,
}

/// The request of an HTTP probe and what passes.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// The Host header; the endpoint's own name or address when absent.
    pub host: Option<String>,
    /// Statuses that pass, both ends included.
    pub status: (u16, u16),
    /// Text that the first 64 KiB of the body must hold.
    pub body: Option<String>,
}
