//! The file of the demo, and the same lines for real endpoints, which the demo ends with. The first is written to disk and read
//! by the real reader; a test reads the second, so that it can be copied as it stands.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// A group of the file.
pub(super) struct Group {
    /// Its region.
    pub(super) region: &'static str,
    /// What the distance is set to.
    pub(super) latency: Duration,
    /// Its endpoints.
    pub(super) endpoints: Vec<SocketAddr>,
}

/// The demo's own file.
pub(super) fn file(admin: SocketAddr, listener: SocketAddr, groups: &[Group]) -> String {
    let mut text = format!(
        r#"[pop]
name = "demo"

[admin]
listen = "{admin}"

[[accelerator]]
name = "shop"
addresses = ["{}"]
"#,
        listener.ip(),
    );
    for protocol in ["TCP", "UDP"] {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"
[[accelerator.listener]]
protocol = "{protocol}"
ports = [{}]
"#,
            listener.port()
        );
        write_groups(&mut text, protocol, groups);
    }
    text
}

fn write_groups(text: &mut String, protocol: &str, groups: &[Group]) {
    // Endpoints of UDP are asked over TCP by default, too; said, since it is not what everybody expects.
    let check = match protocol {
        "UDP" => "health_check = { protocol = \"TCP\" }\n",
        _ => "",
    };
    for Group {
        region,
        latency,
        endpoints,
    } in groups
    {
        let endpoints: Vec<String> = endpoints
            .iter()
            .enumerate()
            .map(|(index, address)| {
                format!(
                    "  {{ id = \"{region}-{}\", address = \"{address}\" }},\n",
                    index + 1
                )
            })
            .collect();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"
[[accelerator.listener.endpoint_group]]
region = "{region}"
latency = "{}ms"        # on loopback everything is equally near, so the distance is told
{check}endpoints = [
{}]
"#,
            latency.as_millis(),
            endpoints.concat()
        );
    }
}

/// The same for real endpoints: distances are measured, health is asked over HTTP.
pub(super) const FOR_REAL: &str = r#"[[accelerator]]
name = "shop"
addresses = ["203.0.113.10"]            # your anycast or static address; leave it out for every address of this host

[[accelerator.listener]]
protocol = "TCP"
ports = [443]

[[accelerator.listener.endpoint_group]]
region = "eu-central-1"                 # nearest first, as measured from here
health_check = { protocol = "HTTPS", path = "/healthz", interval = "1s" }
endpoints = [{ address = "app.eu-central-1.example.com" }]

[[accelerator.listener.endpoint_group]]
region = "us-east-1"
health_check = { protocol = "HTTPS", path = "/healthz", interval = "1s" }
endpoints = [{ address = "app.us-east-1.example.com" }]
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use portolan_config::file;

    use super::*;

    #[test]
    fn both_files_are_read_without_an_error_or_a_warning() {
        let listener = SocketAddr::from(([127, 0, 0, 1], 9000));
        let group = |region, port| Group {
            region,
            latency: Duration::from_millis(8),
            endpoints: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        };
        let admin = SocketAddr::from(([127, 0, 0, 1], 9900));
        let demo = super::file(
            admin,
            listener,
            &[group("eu-central-1", 9001), group("us-east-1", 9002)],
        );
        for text in [demo.as_str(), FOR_REAL] {
            match file::parse(text, Path::new("portolan.toml")) {
                Ok(loaded) => assert_eq!(loaded.warnings.len(), 0, "{text}"),
                Err(errors) => panic!("{errors}\n{text}"),
            }
        }
    }
}
