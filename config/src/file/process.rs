//! The tables about this process: `[pop]`, `[admin]`, `[readiness]`, `[shutdown]`, `[log]`, `[limits]`, `[resolver]`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::keys::Table;
use super::rules::{Claims, OwnSocket};
use super::section::Section;
use super::typed::{self, duration, float, integer, one_of, parsed};
use super::values;
use crate::model::{Admin, IoEngine, Limits, Log, LogFormat, Pop, PortSteering, Resolver};

/// More threads than any host has cores for.
const MAX_WORKERS: i64 = 256;
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Fewer bytes hold no useful number of flows; more are no host's.
const FLOW_TABLE: (u64, u64) = (1 << 20, 1 << 40);

pub(super) fn pop(root: &Section<'_>, folder: &Path, claims: &mut Claims) -> Option<Pop> {
    let section = root.child(Table::Pop)?;
    let name = section.optional("name", typed::name);
    let addresses = section.distinct("addresses", typed::ip);
    let workers = section.get("workers", integer(0..=MAX_WORKERS));
    let state_file = section.get("state_file", typed::path);
    let engines = &[
        ("auto", IoEngine::Auto),
        ("epoll", IoEngine::Epoll),
        ("io_uring", IoEngine::IoUring),
    ];
    let io_engine = section.get("io_engine", one_of(engines));
    let splice = section.get("splice", typed::boolean);
    let steerings = &[
        ("sk_lookup", PortSteering::SkLookup),
        ("tproxy", PortSteering::Tproxy),
    ];
    let port_steering = section.get("port_steering", one_of(steerings));
    let addresses = addresses?;
    claims.this_host(&addresses);
    Some(Pop {
        name: name?.unwrap_or_else(host_name),
        addresses,
        workers: workers?,
        io_engine: io_engine?,
        splice: splice?,
        state_file: folder.join(state_file?),
        port_steering: port_steering?,
    })
}

/// The host's name, as far as it may stand as ours.
fn host_name() -> String {
    let given = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let given = given.trim();
    if typed::is_name(given) {
        given.to_string()
    } else {
        "localhost".to_string()
    }
}

pub(super) fn admin(root: &Section<'_>, folder: &Path, claims: &mut Claims) -> Option<Admin> {
    let section = root.child(Table::Admin)?;
    let listen = section.get("listen", parsed(values::listen));
    let token_file = section.path_in("token_file", folder);
    let (listen, token_file) = (listen?, token_file?);
    if !listen.ip().is_loopback() && token_file.is_none() {
        section.error(
            "listen",
            format!("{listen} can be reached from other hosts, and no token is asked for"),
            "set token_file in [admin], or listen on 127.0.0.1",
        );
    }
    // Without SO_REUSEPORT: a second process must not get it.
    claims.portolan(own_socket(&section, listen, false));
    Some(Admin { listen, token_file })
}

/// `Some(None)` is a file without `[readiness]`.
pub(super) fn readiness(root: &Section<'_>, claims: &mut Claims) -> Option<Option<SocketAddr>> {
    let section = root.child(Table::Readiness)?;
    if !section.is_present() {
        return Some(None);
    }
    let listen = section.get("listen", parsed(values::listen))?;
    claims.portolan(own_socket(&section, listen, true));
    Some(Some(listen))
}

fn own_socket(section: &Section<'_>, addr: SocketAddr, shares_port: bool) -> OwnSocket {
    OwnSocket {
        addr,
        shares_port,
        path: section.path_of("listen"),
        offset: section.offset_of("listen"),
    }
}

pub(super) fn shutdown_drain(root: &Section<'_>) -> Option<Duration> {
    let section = root.child(Table::Shutdown)?;
    section.get("drain", duration(Duration::ZERO..=DAY))
}

pub(super) fn upgrade_drain(root: &Section<'_>) -> Option<Duration> {
    let section = root.child(Table::Shutdown)?;
    section.get("upgrade_drain", duration(Duration::ZERO..=DAY))
}

pub(super) fn log(root: &Section<'_>, folder: &Path) -> Option<Log> {
    let section = root.child(Table::Log)?;
    let formats = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.get("format", one_of(formats));
    let flow_log = section.get("flow_log", |value| typed::text(value).map(str::to_string));
    let sample = section.get("sample", float(0.0..=1.0));
    let flow_log = flow_log?;
    Some(Log {
        format: format?,
        flow_log: (!flow_log.is_empty()).then(|| folder.join(flow_log)),
        sample: sample?,
    })
}

pub(super) fn limits(root: &Section<'_>) -> Option<Limits> {
    let section = root.child(Table::Limits)?;
    let count = || integer::<u32>(0..=i64::from(u32::MAX));
    let max_flows = section.get("max_flows", count());
    let max_flows_per_source = section.get("max_flows_per_source", count());
    let new_flows_per_source = section.get("new_flows_per_source", count());
    let flow_table = section.get("flow_table", typed::size(FLOW_TABLE.0..=FLOW_TABLE.1));
    Some(Limits {
        max_flows: max_flows?,
        max_flows_per_source: max_flows_per_source?,
        new_flows_per_source: new_flows_per_source?,
        flow_table: flow_table?,
    })
}

pub(super) fn resolver(root: &Section<'_>) -> Option<Resolver> {
    let section = root.child(Table::Resolver)?;
    let nameservers = section.distinct("nameservers", parsed(values::name_server));
    let stale_for = section.get("stale_for", duration(Duration::ZERO..=WEEK));
    Some(Resolver {
        nameservers: nameservers?,
        stale_for: stale_for?,
    })
}
