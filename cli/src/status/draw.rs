//! The state as a table for people: what is wrong on top, then accelerators, listeners, groups by distance, endpoints. Pure.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use portolan_control::state::{
    AcceleratorView, ConfigView, DrainView, EndpointGroupView, EndpointView, ListenerView,
    PortsView, StateView, StaticAddressView,
};

use crate::table::{Cell, Paint, Style, Table};
use crate::why::health_style;

/// What moved between two looks, a second, by endpoint.
pub(super) struct Flow<'a> {
    endpoints: HashMap<Place<'a>, PerSecond>,
}

/// An endpoint's place: ids repeat between groups.
type Place<'a> = (&'a str, usize, &'a str, &'a str);

struct PerSecond {
    flows: f64,
    bytes_in: f64,
    bytes_out: f64,
}

impl<'a> Flow<'a> {
    /// What moved from `old` to `new`. An endpoint that is new, or whose process was restarted, is left out.
    pub(super) fn between(old: &StateView, new: &'a StateView, took: Duration) -> Self {
        let before: HashMap<Place<'_>, &EndpointView> = endpoints(old).collect();
        let seconds = took.as_secs_f64().max(0.001);
        let moved = endpoints(new).filter_map(|(place, now)| {
            let before = before.get(&place)?;
            let per_second =
                |now: u64, before: u64| Some(now.checked_sub(before)? as f64 / seconds);
            let moved = PerSecond {
                flows: per_second(now.total_flows, before.total_flows)?,
                bytes_in: per_second(now.bytes_in, before.bytes_in)?,
                bytes_out: per_second(now.bytes_out, before.bytes_out)?,
            };
            Some((place, moved))
        });
        Flow {
            endpoints: moved.collect(),
        }
    }
}

fn endpoints<'s>(state: &'s StateView) -> impl Iterator<Item = (Place<'s>, &'s EndpointView)> {
    state.accelerators.iter().flat_map(|accelerator| {
        accelerator
            .listeners
            .iter()
            .enumerate()
            .flat_map(move |(index, listener)| {
                listener.endpoint_groups.iter().flat_map(move |group| {
                    let place = move |e: &'s EndpointView| {
                        (
                            accelerator.name.as_str(),
                            index,
                            group.region.as_str(),
                            e.id.as_str(),
                        )
                    };
                    group.endpoints.iter().map(move |e| (place(e), e))
                })
            })
    })
}

/// The whole text.
pub(super) fn draw(
    state: &StateView,
    flow: Option<&Flow<'_>>,
    paint: Paint,
    now: SystemTime,
) -> String {
    let mut out = head(state, paint, now);
    out += &notices(state, paint, now);
    if let Some(aws) = &state.aws {
        out += &crate::aws::view(aws, paint);
    }
    if let Some(dns) = &state.dns {
        out += &crate::dns::view(dns, paint);
    }
    if let Some(announce) = &state.announce {
        out += &super::announce::view(announce, paint);
    }
    for accelerator in &state.accelerators {
        out.push('\n');
        out += &accelerator_line(accelerator, paint);
        for (index, listener) in accelerator.listeners.iter().enumerate() {
            out += &listener_line(listener, paint);
            let mut table = Table::default();
            columns(&mut table, flow.is_some());
            let mut groups: Vec<&EndpointGroupView> = listener.endpoint_groups.iter().collect();
            groups.sort_by_key(|group| group.order);
            for group in groups {
                table.across(group_line(group, paint));
                for endpoint in &group.endpoints {
                    let place = (
                        accelerator.name.as_str(),
                        index,
                        group.region.as_str(),
                        endpoint.id.as_str(),
                    );
                    let moved = flow.map(|flow| flow.endpoints.get(&place));
                    table.row(endpoint_row(endpoint, moved, now));
                }
                if group.endpoints.is_empty() {
                    table.across(paint.text(Style::Faint, "  no endpoints"));
                }
            }
            out += &table.render(paint, 4);
        }
    }
    if state.accelerators.is_empty() {
        out += "\nno accelerator is configured\n";
    }
    out
}

fn head(state: &StateView, paint: Paint, now: SystemTime) -> String {
    let ConfigView {
        generation,
        loaded_at,
        error: _,
        source,
    } = &state.config;
    let ready = match (state.pop_draining, state.ready) {
        (true, _) => paint.text(Style::Notice, "draining"),
        (false, true) => paint.text(Style::Good, "ready"),
        (false, false) => paint.text(Style::Bad, "not ready"),
    };
    let mut about = format!("snapshot {}, configuration {generation}", state.generation);
    if let Some(source) = source {
        about += &format!(" from {source}");
    }
    if let Some(age) = age(loaded_at, now) {
        about += &format!(" {age} ago");
    }
    if let Some(engine) = engine(&state.relay_mode) {
        about += &format!(", relay {engine}");
    }
    format!(
        "{}  {ready}  {}\n",
        paint.text(Style::Strong, &format!("PoP {}", state.pop)),
        paint.text(Style::Faint, &about)
    )
}

/// What receives, in the file's word for it; `None` of an edge that does not say.
fn engine(relay_mode: &str) -> Option<&str> {
    match relay_mode {
        "" => None,
        "copy" => Some("epoll"),
        "copy,splice" => Some("epoll,splice"),
        other => Some(other),
    }
}

fn notices(state: &StateView, paint: Paint, now: SystemTime) -> String {
    let mut lines = Vec::new();
    if let Some(error) = &state.config.error {
        lines.push((
            Style::Bad,
            format!("the newest configuration was refused, the old one is in force: {error}"),
        ));
    }
    lines.extend(
        state
            .not_ready
            .iter()
            .map(|why| (Style::Bad, format!("not ready: {why}"))),
    );
    lines.extend(
        state
            .warnings
            .iter()
            .map(|warning| (Style::Notice, format!("warning: {warning}"))),
    );
    lines.extend(
        state
            .drains
            .iter()
            .map(|drain| (Style::Notice, drain_line(drain, now))),
    );
    lines
        .into_iter()
        .map(|(style, text)| paint.text(style, &text) + "\n")
        .collect()
}

fn drain_line(drain: &DrainView, now: SystemTime) -> String {
    let DrainView {
        endpoint,
        region,
        since,
        until,
    } = drain;
    let mut text = format!("drain: {endpoint}");
    if let Some(region) = region {
        text += &format!(" in {region}");
    }
    if let Some(age) = age(since, now) {
        text += &format!(", {age} old");
    }
    if let Some(until) = until {
        text += &format!(", until {until}");
    }
    text
}

fn accelerator_line(accelerator: &AcceleratorView, paint: Paint) -> String {
    let AcceleratorView {
        name,
        enabled,
        source,
        addresses,
        listeners: _,
    } = accelerator;
    let mut line = format!(
        "{}  {}",
        paint.text(Style::Strong, name),
        paint.text(Style::Faint, source)
    );
    if !enabled {
        line += &format!("  {}", paint.text(Style::Notice, "disabled"));
    }
    for StaticAddressView {
        address,
        assigned,
        error,
    } in addresses
    {
        line += "  ";
        line += &match (assigned, error) {
            (true, None) => paint.text(Style::Normal, address),
            (false, None) => paint.text(Style::Bad, &format!("{address} (not served)")),
            (_, Some(error)) => paint.text(Style::Bad, &format!("{address} ({error})")),
        };
    }
    line + "\n"
}

fn listener_line(listener: &ListenerView, paint: Paint) -> String {
    let ports: Vec<String> = listener
        .ports
        .iter()
        .map(|ports| match ports {
            PortsView::Port(port) => port.to_string(),
            PortsView::Range(range) => range.clone(),
        })
        .collect();
    let title = format!("{} {}", listener.protocol, ports.join(", "));
    let about = format!(
        "client affinity {}, {} flows",
        listener.client_affinity,
        count(listener.active_flows)
    );
    format!(
        "  {}  {}\n",
        paint.text(Style::Strong, &title),
        paint.text(Style::Faint, &about)
    )
}

fn group_line(group: &EndpointGroupView, paint: Paint) -> String {
    let title = format!("{}. {}", group.order + 1, group.region);
    let about = format!(
        "{}, dial {} %, check {}",
        distance(group.distance_ms),
        group.traffic_dial,
        group.health_check
    );
    let transparency = match (&group.client_address_reason, group.client_address.as_str()) {
        (Some(why), _) => paint.text(Style::Bad, &format!("  clients' addresses: {why}")),
        (None, "transparent") => paint.text(Style::Faint, ", clients' own addresses"),
        (None, _) => String::new(),
    };
    let about_style = if group.traffic_dial > 0.0 {
        Style::Faint
    } else {
        Style::Notice
    };
    format!(
        "{}  {}{transparency}",
        paint.text(Style::Strong, &title),
        paint.text(about_style, &about)
    )
}

fn columns(table: &mut Table, rates: bool) {
    let number = |name: &str| Cell::number(name).styled(Style::Faint);
    let text = |name: &str| Cell::text(Style::Faint, name);
    let [flows, bytes_in, bytes_out] = if rates {
        ["NEW/S", "IN/S", "OUT/S"]
    } else {
        ["TOTAL", "IN", "OUT"]
    };
    table.row(vec![
        text("  ENDPOINT"),
        text("HEALTH"),
        text("FOR"),
        number("LATENCY"),
        number("WEIGHT"),
        number("FLOWS"),
        number(flows),
        number(bytes_in),
        number(bytes_out),
        text("REASON"),
    ]);
}

fn endpoint_row(
    endpoint: &EndpointView,
    moved: Option<Option<&PerSecond>>,
    now: SystemTime,
) -> Vec<Cell> {
    let [flows, bytes_in, bytes_out] = match moved {
        None => [
            count(endpoint.total_flows),
            bytes(endpoint.bytes_in as f64),
            bytes(endpoint.bytes_out as f64),
        ],
        Some(None) => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
        Some(Some(moved)) => [
            format!("{:.0}", moved.flows),
            bytes(moved.bytes_in),
            bytes(moved.bytes_out),
        ],
    };
    let name = if endpoint.address == endpoint.id || endpoint.address.is_empty() {
        format!("  {}", endpoint.id)
    } else {
        format!("  {} ({})", endpoint.id, endpoint.address)
    };
    let since = endpoint
        .health_since
        .as_deref()
        .and_then(|since| age(since, now));
    let weight_style = if endpoint.weight == 0 {
        Style::Notice
    } else {
        Style::Normal
    };
    vec![
        Cell::text(Style::Normal, name),
        health(endpoint),
        Cell::text(Style::Faint, since.unwrap_or_default()),
        Cell::number(endpoint.latency_ms.map_or("–".to_owned(), millis)),
        Cell::number(endpoint.weight.to_string()).styled(weight_style),
        Cell::number(count(endpoint.active_flows)),
        Cell::number(flows),
        Cell::number(bytes_in),
        Cell::number(bytes_out),
        Cell::text(Style::Notice, remarks(endpoint)),
    ]
}

fn health(endpoint: &EndpointView) -> Cell {
    match endpoint.unreachable {
        true => Cell::text(Style::Notice, "–"),
        false => Cell::text(health_style(&endpoint.health), &endpoint.health),
    }
}

/// Why it is not up, that it drains, and which of several addresses are down.
fn remarks(endpoint: &EndpointView) -> String {
    let mut remarks = Vec::new();
    if endpoint.draining {
        remarks.push("draining".to_owned());
    }
    remarks.extend(endpoint.health_reason.clone());
    let down: Vec<&str> = endpoint
        .addresses
        .iter()
        .filter(|a| a.health != "UP")
        .map(|a| a.address.as_str())
        .collect();
    if endpoint.health == "UP" && !down.is_empty() {
        remarks.push(format!(
            "{} of {} addresses not up: {}",
            down.len(),
            endpoint.addresses.len(),
            down.join(", ")
        ));
    }
    remarks.join("; ")
}

fn distance(ms: Option<f64>) -> String {
    ms.map_or("distance unknown".to_owned(), millis)
}

fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// With a space between thousands.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

pub(super) fn bytes(n: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KB", "MB", "GB", "TB", "PB"];
    let mut value = n;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{value:.0} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// How long ago an RFC 3339 time was, in its largest unit; `None` when it is none.
pub(super) fn age(time: &str, now: SystemTime) -> Option<String> {
    let at = humantime::parse_rfc3339_weak(time).ok()?;
    let seconds = now.duration_since(at).unwrap_or_default().as_secs();
    Some(match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    })
}
