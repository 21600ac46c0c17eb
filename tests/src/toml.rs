//! Configuration files, written as an operator would, with the addresses of this test.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::datagram;
use crate::endpoint::Endpoint;

/// A check that decides fast, for tests that are about what follows from it.
pub const FAST_TCP: &str = r#"{ protocol = "TCP", interval = "200ms", fast_interval = "50ms", timeout = "500ms", threshold = 2 }"#;

/// An endpoint group's text.
#[derive(Clone, Debug)]
pub struct Group {
    region: String,
    lines: Vec<String>,
    endpoints: Vec<String>,
}

impl Group {
    /// A group at a distance, such as `"5ms"`, checked by [`FAST_TCP`].
    pub fn new(region: &str, latency: &str) -> Group {
        Group {
            region: region.to_owned(),
            lines: vec![format!("latency = \"{latency}\"")],
            endpoints: Vec::new(),
        }
    }

    /// Adds a line.
    pub fn with(mut self, line: impl Into<String>) -> Group {
        self.lines.push(line.into());
        self
    }

    /// Has its endpoints asked nothing: they are up.
    pub fn unasked(self) -> Group {
        self.with("health_check = { protocol = \"NONE\" }")
    }

    /// Adds an endpoint of the default weight.
    pub fn endpoint(self, endpoint: &Endpoint) -> Group {
        self.named(endpoint.id(), endpoint.address(), "")
    }

    /// Adds an endpoint with a weight.
    pub fn weighted(self, endpoint: &Endpoint, weight: u8) -> Group {
        self.named(
            endpoint.id(),
            endpoint.address(),
            &format!(", weight = {weight}"),
        )
    }

    /// Adds an endpoint by id and address, with further keys behind a comma.
    pub fn named(mut self, id: &str, address: impl std::fmt::Display, more: &str) -> Group {
        self.endpoints.push(format!(
            "{{ id = \"{id}\", address = \"{address}\"{more} }}"
        ));
        self
    }

    fn write(&self, out: &mut String) {
        let _ = write!(
            out,
            "[[accelerator.listener.endpoint_group]]\nregion = \"{}\"\n",
            self.region
        );
        if !self.lines.iter().any(|line| line.contains("health_check")) {
            let _ = writeln!(out, "health_check = {FAST_TCP}");
        }
        for line in &self.lines {
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(out, "endpoints = [{}]", self.endpoints.join(", "));
    }
}

/// A group of endpoints of UDP that are asked nothing.
pub fn unasked<'e>(endpoints: impl IntoIterator<Item = &'e datagram::Endpoint>) -> Group {
    let group = Group::new("r", "1ms").unasked();
    let add = |group: Group, to: &datagram::Endpoint| group.named(to.id(), to.address(), "");
    endpoints.into_iter().fold(group, add)
}

/// An accelerator `shop` with one TCP listener at `at`, with further lines for the listener.
pub fn shop(at: SocketAddr, lines: &str, groups: &[Group]) -> String {
    accelerator("shop", &[at], &at.port().to_string(), lines, groups)
}

/// The same with UDP, under groups of endpoints that are asked nothing unless they say what.
pub fn datagrams(at: SocketAddr, lines: &str, groups: &[Group]) -> String {
    shop(at, lines, groups).replace("protocol = \"TCP\"\nports", "protocol = \"UDP\"\nports")
}

/// An accelerator with one TCP listener: its addresses, its ports as in the file, further lines, its groups.
pub fn accelerator(
    name: &str,
    at: &[SocketAddr],
    ports: &str,
    lines: &str,
    groups: &[Group],
) -> String {
    let addresses: Vec<String> = at.iter().map(|at| format!("\"{}\"", at.ip())).collect();
    let mut out = format!(
        "[[accelerator]]\nname = \"{name}\"\naddresses = [{}]\n\n[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [{ports}]\n{lines}\n",
        addresses.join(", ")
    );
    for group in groups {
        group.write(&mut out);
    }
    out
}
