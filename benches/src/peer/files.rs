//! The configuration that each target is given: as its own documentation would have it, with the threads of [`THREADS`], and nothing
//! switched off that it has on by default.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::service::Service;

/// Threads that every target gets.
pub const THREADS: usize = 2;

/// Where the services are forwarded.
pub(super) type Forwarded = [(Service, SocketAddr)];

/// Where Portolan's Global Accelerator API answers.
pub const PORTOLAN_API: &str = "127.0.0.1:7898";

/// Checks, metrics and flow records are on.
pub(super) fn portolan(services: &Forwarded) -> String {
    format!(
        "[pop]\nname = \"bench\"\nworkers = {THREADS}\n[admin]\nlisten = \"127.0.0.1:7899\"\n[log]\nflow_log = \"flows.jsonl\"\n\
         [api]\nlisten = \"{PORTOLAN_API}\"\naddress_pool = [\"127.77.99.0/24\"]\n[store]\npath = \"bench.redb\"\n{}",
        accelerators(services)
    )
}

/// The same, but for the API, without io_uring.
pub(super) fn portolan_epoll(services: &Forwarded) -> String {
    portolan_with("io_engine = \"epoll\"", 7897, services)
}

/// The same, but for the API, splicing what is bulk.
pub(super) fn portolan_splice(services: &Forwarded) -> String {
    portolan_with("splice = true", 7896, services)
}

fn portolan_with(line: &str, admin: u16, services: &Forwarded) -> String {
    format!(
        "[pop]\nname = \"bench\"\nworkers = {THREADS}\n{line}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\nflow_log = \"flows.jsonl\"\n{}",
        accelerators(services)
    )
}

fn accelerators(services: &Forwarded) -> String {
    let accelerator = |(service, at): &(Service, SocketAddr)| {
        let protocol = if service.is_udp() { "UDP" } else { "TCP" };
        // As Global Accelerator does, endpoints of UDP are checked over TCP.
        let check = if service.is_udp() {
            let port = Service::Answers.endpoint().port();
            format!("health_check = {{ port = {port} }}\n")
        } else {
            String::new()
        };
        format!(
            "[[accelerator]]\nname = \"{}\"\naddresses = [\"{}\"]\n[[accelerator.listener]]\nprotocol = \"{protocol}\"\nports = [{}]\n\
             [[accelerator.listener.endpoint_group]]\nregion = \"here\"\n{check}endpoints = [{}]\n",
            service.name(),
            at.ip(),
            at.port(),
            joined(*service, ", ", |_, to| format!("{{ address = \"{to}\" }}"))
        )
    };
    services.iter().map(accelerator).collect()
}

/// All addresses of a service's endpoint, numbered from 1 on, as a target's file names them.
fn joined(service: Service, between: &str, of: impl Fn(usize, SocketAddr) -> String) -> String {
    let named = (1..)
        .zip(service.endpoints())
        .map(|(number, to)| of(number, to));
    named.collect::<Vec<_>>().join(between)
}

/// It has no UDP.
pub(super) fn haproxy(services: &Forwarded, buffer: Option<u32>, folder: &Path) -> String {
    let buffer = buffer.map_or(String::new(), |size| format!("  tune.bufsize {size}\n"));
    let listen = |(service, at): &(Service, SocketAddr)| {
        let server = |number, to| format!("  server s{number} {to} check inter 1s\n");
        let (name, servers) = (service.name(), joined(*service, "", server));
        format!("listen {name}\n  bind {at}\n{servers}")
    };
    let tcp = services.iter().filter(|(service, _)| !service.is_udp());
    let socket = folder.join(format!("haproxy{}.sock", services[0].1.port()));
    format!(
        "global\n  nbthread {THREADS}\n  maxconn 9500\n  stats socket {} level admin expose-fd listeners\n{buffer}\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 340s\n  timeout server 340s\n{}",
        socket.display(),
        tcp.map(listen).collect::<String>()
    )
}

pub(super) fn nginx(services: &Forwarded, buffer: Option<&str>, folder: &Path) -> String {
    let buffer = buffer.map_or(String::new(), |size| {
        format!("  proxy_buffer_size {size};\n")
    });
    let server = |(service, at): &(Service, SocketAddr)| {
        let listen = if service.is_udp() {
            "udp reuseport"
        } else {
            "reuseport backlog=4096"
        };
        let (name, servers) = (
            service.name(),
            joined(*service, " ", |_, to| format!("server {to};")),
        );
        format!(
            "  upstream {name} {{ {servers} }}\n  server {{ listen {at} {listen}; proxy_pass {name}; }}\n"
        )
    };
    format!(
        "daemon off;\nload_module /usr/lib/nginx/modules/ngx_stream_module.so;\nworker_processes {THREADS};\nworker_rlimit_nofile 20000;\n\
         pid {}/nginx{}.pid;\nerror_log stderr crit;\nevents {{ worker_connections 20000; }}\n\
         stream {{\n  proxy_half_close on;\n  tcp_nodelay on;\n{buffer}{}}}\n",
        folder.display(),
        services[0].1.port(),
        services.iter().map(server).collect::<String>()
    )
}

pub(super) fn envoy(services: &Forwarded) -> String {
    let to = |(service, at): &(Service, SocketAddr)| (*service, *at, service.endpoints());
    envoy_file(&services.iter().map(to).collect::<Vec<_>>())
}

/// Each service, where it is taken, and where it goes to.
pub fn envoy_file(services: &[(Service, SocketAddr, Vec<SocketAddr>)]) -> String {
    let listeners = services.iter().map(|(s, at, _)| envoy_listener(*s, *at));
    let clusters = services.iter().map(|(s, _, to)| envoy_cluster(*s, to));
    json!({ "static_resources": {
        "listeners": listeners.collect::<Vec<_>>(), "clusters": clusters.collect::<Vec<_>>() } })
    .to_string()
}

fn envoy_listener(service: Service, at: SocketAddr) -> serde_json::Value {
    let name = service.name();
    let address = |protocol: &str| {
        json!({ "socket_address": {
            "protocol": protocol, "address": at.ip().to_string(), "port_value": at.port() } })
    };
    if service.is_udp() {
        return json!({
            "name": name, "address": address("UDP"), "udp_listener_config": {},
            "listener_filters": [{
                "name": "envoy.filters.udp_listener.udp_proxy",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
                    "stat_prefix": name,
                    "matcher": { "on_no_match": { "action": {
                        "name": "route",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route",
                            "cluster": name
                        } } } }
                }
            }]
        });
    }
    json!({
        "name": name, "address": address("TCP"),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": name, "cluster": name
            }
        }] }]
    })
}

fn envoy_cluster(service: Service, to: &[SocketAddr]) -> serde_json::Value {
    let name = service.name();
    let endpoint = |to: &SocketAddr| {
        json!({ "endpoint": { "address": { "socket_address": {
            "address": to.ip().to_string(), "port_value": to.port() } } } })
    };
    let endpoints: Vec<_> = to.iter().map(endpoint).collect();
    let limits = json!([{ "max_connections": 20000, "max_pending_requests": 20000 }]);
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": { "thresholds": limits },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] }
    })
}
