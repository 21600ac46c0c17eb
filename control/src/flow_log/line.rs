//! One flow record as one JSON line: Global Accelerator's flow-log fields in its order, then ours. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portolan_config::flow::{EndCause, FlowRecord};
use serde::Serialize;

/// The fields of a line. Global Accelerator's come first and keep its names, units and words; what it prints as `-` is `null`.
/// A line tells the whole flow, seen from the client: `packets` and `bytes` are the client's, as `direction` says.
#[derive(Serialize)]
struct Line<'a> {
    version: &'static str,
    aws_account_id: Option<&'static str>,
    accelerator_id: &'a str,
    client_ip: IpAddr,
    client_port: u16,
    accelerator_ip: IpAddr,
    accelerator_port: u16,
    endpoint_ip: Option<IpAddr>,
    endpoint_port: Option<u16>,
    protocol: &'static str,
    ip_address_type: &'static str,
    packets: u64,
    bytes: u64,
    start_time: u64,
    end_time: u64,
    action: &'static str,
    log_status: &'static str,
    globalaccelerator_source_ip: Option<IpAddr>,
    globalaccelerator_source_port: Option<u16>,
    endpoint_region: Option<&'a str>,
    globalaccelerator_region: &'a str,
    direction: &'static str,
    vpc_id: Option<&'static str>,
    reject_reason: Option<&'static str>,
    flow_id: u64,
    endpoint_id: Option<&'a str>,
    reason: Option<&'static str>,
    cause: &'static str,
    duration_ms: f64,
    connect_ms: Option<f64>,
    attempts: u8,
    bytes_in: u64,
    bytes_out: u64,
    packets_in: u64,
    packets_out: u64,
}

/// Appends the record and a newline.
pub(super) fn append(lines: &mut Vec<u8>, pop: &str, record: &FlowRecord) {
    let whole = lines.len();
    match serde_json::to_writer(&mut *lines, &line(pop, record)) {
        Ok(()) => lines.push(b'\n'),
        // Nothing in a line can fail to serialize; half a line must not stay if that ever changes.
        Err(_) => lines.truncate(whole),
    }
}

fn line<'a>(pop: &'a str, record: &'a FlowRecord) -> Line<'a> {
    // Destructured, so that a new field of the record is not forgotten here.
    let FlowRecord {
        id,
        protocol,
        accelerator,
        client,
        listener,
        endpoint,
        bytes_in,
        bytes_out,
        packets_in,
        packets_out,
        started,
        lasted,
        connect_took,
        attempts,
        cause,
    } = record;
    let address = endpoint.as_ref().map(|e| e.address.0);
    let edge = endpoint.as_ref().and_then(|e| e.edge_address);
    let refused = *cause == EndCause::Limit;
    Line {
        version: "2.0",
        aws_account_id: None,
        accelerator_id: accelerator.as_str(),
        client_ip: ip(client.0),
        client_port: client.0.port(),
        accelerator_ip: ip(listener.0),
        accelerator_port: listener.0.port(),
        endpoint_ip: address.map(ip),
        endpoint_port: address.map(|a| a.port()),
        protocol: protocol.as_str(),
        ip_address_type: match ip(client.0) {
            IpAddr::V4(_) => "IPV4",
            IpAddr::V6(_) => "IPV6",
        },
        packets: *packets_in,
        bytes: *bytes_in,
        start_time: seconds(*started),
        end_time: seconds(started.checked_add(*lasted).unwrap_or(*started)),
        action: if refused { "REJECT" } else { "ACCEPT" },
        log_status: "OK",
        globalaccelerator_source_ip: edge.map(ip),
        globalaccelerator_source_port: edge.map(|a| a.port()),
        endpoint_region: endpoint.as_ref().map(|e| e.region.as_str()),
        globalaccelerator_region: pop,
        direction: "INGRESS",
        vpc_id: None,
        reject_reason: refused.then_some("LIMIT"),
        flow_id: *id,
        endpoint_id: endpoint.as_ref().map(|e| e.id.as_str()),
        reason: endpoint.as_ref().map(|e| e.reason.as_str()),
        cause: cause.as_str(),
        duration_ms: millis(*lasted),
        connect_ms: connect_took.map(millis),
        attempts: *attempts,
        bytes_in: *bytes_in,
        bytes_out: *bytes_out,
        packets_in: *packets_in,
        packets_out: *packets_out,
    }
}

/// An IPv4-mapped address is written as the IPv4 address that it is.
fn ip(addr: SocketAddr) -> IpAddr {
    addr.ip().to_canonical()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// To the microsecond; more digits would be noise.
fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}
