//! A configuration in words: what would be served, where flows would go, how endpoints are checked. Pure.

use std::net::SocketAddr;

use portolan_config::address::Host;
use portolan_config::file::show_duration;
use portolan_config::model::{
    Accelerator, ClientAddress, Config, Endpoint, EndpointGroup, HealthCheck, HedgeAfter, Listener,
    ListenerSettings, OnUnhealthy, Probe, ProxyProtocol,
};

use crate::table::{Cell, Paint, Style, Table};

/// Endpoints of a group that are listed; the rest is counted.
const LISTED: usize = 20;

/// The text.
pub(super) fn summary(config: &Config, paint: Paint) -> String {
    let mut out = process(config, paint);
    for accelerator in &config.accelerators {
        out.push('\n');
        out += &accelerator_lines(accelerator, paint);
    }
    if config.accelerators.is_empty() {
        out += "\nNo accelerator: nothing would be served.\n";
    }
    out
}

fn process(config: &Config, paint: Paint) -> String {
    let mut table = Table::default();
    let mut row = |name: &str, value: String| {
        table.row(vec![
            Cell::text(Style::Faint, name),
            Cell::text(Style::Normal, value),
        ])
    };
    row("PoP", config.pop.name.clone());
    let guarded = if config.admin.token_file.is_some() {
        ", with a token"
    } else {
        ""
    };
    row("admin", format!("http://{}/{guarded}", config.admin.listen));
    row(
        "readiness",
        config
            .readiness
            .map_or("off".into(), |listen| format!("http://{listen}/readyz")),
    );
    let flow_log = match &config.log.flow_log {
        Some(path) if config.log.sample < 1.0 => format!(
            "{}, {} % of the flows",
            path.display(),
            config.log.sample * 100.0
        ),
        Some(path) => path.display().to_string(),
        None => "off".into(),
    };
    row("flow log", flow_log);
    row(
        "shutdown",
        format!(
            "flows have {} to finish",
            show_duration(config.shutdown_drain)
        ),
    );
    table.render(paint, 0)
}

fn accelerator_lines(accelerator: &Accelerator, paint: Paint) -> String {
    let addresses: Vec<String> = accelerator
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    let at = if addresses.is_empty() {
        "every address of this host".to_owned()
    } else {
        addresses.join(", ")
    };
    let mut out = format!(
        "{}  {at}",
        paint.text(Style::Strong, accelerator.name.as_str())
    );
    if !accelerator.enabled {
        out += &format!(
            "  {}",
            paint.text(Style::Notice, "disabled: takes no flows")
        );
    }
    out.push('\n');
    for listener in &accelerator.listeners {
        out += &listener_lines(listener, paint);
    }
    if accelerator.listeners.is_empty() {
        out += &format!("  {}\n", paint.text(Style::Notice, "no listener"));
    }
    out
}

fn listener_lines(listener: &Listener, paint: Paint) -> String {
    let title = format!("{} {}", listener.protocol, listener.ports);
    let mut out = format!(
        "  {}  {}\n",
        paint.text(Style::Strong, &title),
        paint.text(Style::Faint, &settings(listener)),
    );
    for group in &listener.endpoint_groups {
        out += &group_lines(group, listener, paint);
    }
    if listener.endpoint_groups.is_empty() {
        out += &format!(
            "    {}\n",
            paint.text(Style::Notice, "no endpoint group: every flow is refused")
        );
    }
    out
}

fn settings(listener: &Listener) -> String {
    let ListenerSettings {
        idle_timeout,
        connect_timeout,
        connect_attempts,
        hedge_after,
        fail_open,
        accept_proxy,
        max_flows,
        new_flows,
        ..
    } = &*listener.settings;
    let hedge = match hedge_after {
        HedgeAfter::Auto => "auto".to_owned(),
        HedgeAfter::After(after) => show_duration(*after),
        HedgeAfter::Off => "off".to_owned(),
    };
    let mut parts = vec![
        format!("client affinity {}", listener.client_affinity.as_str()),
        format!("idle {}", show_duration(*idle_timeout)),
        format!(
            "connect {} × {connect_attempts}",
            show_duration(*connect_timeout)
        ),
        format!("hedge {hedge}"),
    ];
    if !fail_open {
        parts.push("no fail open".into());
    }
    if let Some(accept) = accept_proxy {
        let from: Vec<String> = accept.from.iter().map(ToString::to_string).collect();
        parts.push(format!("PROXY header from {}", from.join(", ")));
    }
    if *max_flows != 0 {
        parts.push(format!("{max_flows} flows at most"));
    }
    if *new_flows != 0 {
        parts.push(format!("{new_flows} new flows/s at most"));
    }
    parts.join(", ")
}

fn group_lines(group: &EndpointGroup, listener: &Listener, paint: Paint) -> String {
    let mut out = format!(
        "    {}  {}\n",
        paint.text(Style::Strong, group.region.as_str()),
        paint.text(Style::Faint, &group_about(group)),
    );
    let weights: u32 = group.endpoints.iter().map(|e| u32::from(e.weight.0)).sum();
    let mut table = Table::default();
    for endpoint in group.endpoints.iter().take(LISTED) {
        table.row(endpoint_row(endpoint, group, listener, weights));
    }
    let more = group.endpoints.len().saturating_sub(LISTED);
    if more > 0 {
        table.across(paint.text(Style::Faint, &format!("and {more} more")));
    }
    if group.endpoints.is_empty() {
        table.across(paint.text(Style::Notice, "no endpoints: never available"));
    }
    out += &table.render(paint, 6);
    out
}

fn group_about(group: &EndpointGroup) -> String {
    let mut parts = vec![
        format!("dial {} %", group.traffic_dial.percent()),
        match group.latency {
            Some(latency) => format!("distance {}", show_duration(latency)),
            None => "distance as measured".into(),
        },
        check(&group.health_check),
        match group.settings.on_unhealthy {
            OnUnhealthy::Reset => "resets flows of a dead endpoint".into(),
            OnUnhealthy::Drain => format!(
                "drains flows of a dead endpoint, {}",
                show_duration(group.settings.drain_timeout)
            ),
            OnUnhealthy::Keep => "keeps flows of a dead endpoint".into(),
        },
    ];
    match group.settings.proxy_protocol {
        ProxyProtocol::Off => {}
        ProxyProtocol::V1 => parts.push("PROXY v1".into()),
        ProxyProtocol::V2 => parts.push("PROXY v2".into()),
    }
    if group.settings.client_address == ClientAddress::Transparent {
        parts.push("clients' own addresses, where the way back is proved".into());
    }
    parts.extend(
        group
            .port_overrides
            .iter()
            .map(|o| format!("port {} → {}", o.listener_port, o.endpoint_port)),
    );
    parts.join(", ")
}

fn check(check: &HealthCheck) -> String {
    let every = show_duration(check.interval);
    let what = match &check.probe {
        Probe::None => return "no check: always up".into(),
        Probe::Tcp => "TCP".to_owned(),
        Probe::Udp(_) => "UDP".to_owned(),
        Probe::Http(http) => format!("HTTP {}", http.path),
        Probe::Https { http, .. } => format!("HTTPS {}", http.path),
    };
    format!(
        "check {what} every {every}, timeout {}, {} up, {} down",
        show_duration(check.timeout),
        check.healthy_threshold,
        check.unhealthy_threshold,
    )
}

/// Ports as the flows to the listener's first port would have them.
fn endpoint_row(
    endpoint: &Endpoint,
    group: &EndpointGroup,
    listener: &Listener,
    weights: u32,
) -> Vec<Cell> {
    let port = group.endpoint_port(endpoint, listener.ports.first());
    let to = match &endpoint.host {
        Host::Ip(ip) => SocketAddr::new(*ip, port).to_string(),
        Host::Name(name) => format!("{name}:{port}"),
    };
    let share = if endpoint.weight.is_zero() {
        "nothing new".to_owned()
    } else {
        format!(
            "{:.1} % of the group",
            f64::from(endpoint.weight.0) * 100.0 / f64::from(weights)
        )
    };
    let most = if endpoint.max_flows == 0 {
        String::new()
    } else {
        format!("{} flows at most", endpoint.max_flows)
    };
    vec![
        Cell::text(Style::Normal, endpoint.id.as_str()),
        Cell::text(Style::Faint, format!("→ {to}")),
        Cell::text(
            Style::Faint,
            format!("checked on {}", group.probe_port(endpoint, listener)),
        ),
        Cell::text(Style::Normal, format!("weight {}", endpoint.weight.0)),
        Cell::number(share),
        Cell::text(Style::Faint, most),
    ]
}
