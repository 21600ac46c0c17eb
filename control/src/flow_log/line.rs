//! One flow record as one JSON line: Global Accelerator's flow-log fields in its order, then ours. Pure.
//!
//! Written by hand: on an edge of many short flows the lines are a part of what a flow costs, and a serializer takes three times as
//! long. What is written is read back by a real one in the tests.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portolan_config::flow::{EndCause, FlowRecord};

/// Appends the record and a newline. Global Accelerator's fields come first and keep its names, units and words; what it prints as `-` is
/// `null`. A line tells the whole flow, seen from the client: `packets` and `bytes` are the client's, as `direction` says.
pub(super) fn append(lines: &mut Vec<u8>, pop: &str, record: &FlowRecord) {
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
    let endpoint = endpoint.as_ref();
    let (client_ip, listener_ip) = (ip(client.0), ip(listener.0));
    let address = endpoint.map(|e| e.address.0);
    let edge = endpoint.and_then(|e| e.edge_address);
    let refused = *cause == EndCause::Limit;
    let ended = started.checked_add(*lasted).unwrap_or(*started);

    let mut line = Line(lines);
    line.raw(r#"{"version":"2.0","aws_account_id":null,"accelerator_id":"#);
    line.text(accelerator.as_str());
    line.raw(r#","client_ip":"#).address(client_ip);
    line.raw(r#","client_port":"#).number(client.0.port());
    line.raw(r#","accelerator_ip":"#).address(listener_ip);
    line.raw(r#","accelerator_port":"#)
        .number(listener.0.port());
    line.raw(r#","endpoint_ip":"#);
    line.or_null(address, |line, a| line.address(ip(a)));
    line.raw(r#","endpoint_port":"#);
    line.or_null(address, |line, a| line.number(a.port()));
    line.raw(r#","protocol":"#).word(protocol.as_str());
    line.raw(r#","ip_address_type":"#).word(family(client_ip));
    line.raw(r#","packets":"#).number(*packets_in);
    line.raw(r#","bytes":"#).number(*bytes_in);
    line.raw(r#","start_time":"#).number(seconds(*started));
    line.raw(r#","end_time":"#).number(seconds(ended));
    line.raw(r#","action":"#);
    line.word(if refused { "REJECT" } else { "ACCEPT" });
    line.raw(r#","log_status":"OK","globalaccelerator_source_ip":"#);
    line.or_null(edge, |line, a| line.address(ip(a)));
    line.raw(r#","globalaccelerator_source_port":"#);
    line.or_null(edge, |line, a| line.number(a.port()));
    line.raw(r#","endpoint_region":"#);
    line.or_null(endpoint, |line, e| line.text(e.region.as_str()));
    line.raw(r#","globalaccelerator_region":"#).text(pop);
    line.raw(r#","direction":"INGRESS","vpc_id":null,"reject_reason":"#);
    line.or_null(refused.then_some("LIMIT"), Line::word);
    line.raw(r#","flow_id":"#).number(*id);
    line.raw(r#","endpoint_id":"#);
    line.or_null(endpoint, |line, e| line.text(e.id.as_str()));
    line.raw(r#","reason":"#);
    line.or_null(endpoint, |line, e| line.word(e.reason.as_str()));
    line.raw(r#","cause":"#).word(cause.as_str());
    line.raw(r#","duration_ms":"#).millis(*lasted);
    line.raw(r#","connect_ms":"#);
    line.or_null(*connect_took, Line::millis);
    line.raw(r#","attempts":"#).number(*attempts);
    line.raw(r#","bytes_in":"#).number(*bytes_in);
    line.raw(r#","bytes_out":"#).number(*bytes_out);
    line.raw(r#","packets_in":"#).number(*packets_in);
    line.raw(r#","packets_out":"#).number(*packets_out);
    line.raw("}\n");
}

/// The end of the lines that is being written.
struct Line<'l>(&'l mut Vec<u8>);

impl<'l> Line<'l> {
    fn raw(&mut self, json: &str) -> &mut Line<'l> {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A word of ours, in which nothing has to be escaped.
    fn word(&mut self, word: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(b'"');
    }

    /// Somebody else's text.
    fn text(&mut self, text: &str) {
        let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        if text.as_bytes().iter().all(is_plain) {
            return self.word(text);
        }
        // Writing a string into memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.0, text);
    }

    fn number(&mut self, number: impl Into<u64>) {
        let mut rest = number.into();
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
    }

    /// With three digits behind the point: to the microsecond, since more would be noise.
    fn millis(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.number(micros / 1000);
        let below = micros % 1000;
        let digits = [below / 100, below / 10 % 10, below % 10];
        self.0.push(b'.');
        self.0.extend(digits.map(|digit| b'0' + digit as u8));
    }

    fn address(&mut self, address: IpAddr) {
        self.0.push(b'"');
        match address {
            IpAddr::V4(v4) => {
                for (place, octet) in v4.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.0.push(b'.');
                    }
                    self.number(octet);
                }
            }
            IpAddr::V6(v6) => {
                // Writing into memory cannot fail.
                let _ = write!(self.0, "{v6}");
            }
        }
        self.0.push(b'"');
    }

    fn or_null<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Line<'l>, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.extend_from_slice(b"null"),
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPV4",
        IpAddr::V6(_) => "IPV6",
    }
}

/// An IPv4-mapped address is written as the IPv4 address that it is.
fn ip(addr: SocketAddr) -> IpAddr {
    addr.ip().to_canonical()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
