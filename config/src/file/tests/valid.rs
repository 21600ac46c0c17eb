//! What a valid file becomes.

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::address::Host;
use crate::model::{Config, HedgeAfter, Listener, PortSteering, Probe, ProxyProtocol};

/// The example of the reference, every key that there is.
const WHOLE: &str = include_str!("valid/whole.toml");

const EXAMPLE: &str = include_str!("../../../portolan.example.toml");

fn first_listener(config: &Config) -> &Listener {
    &config.accelerators[0].listeners[0]
}

#[test]
fn the_whole_reference_is_read() {
    let loaded = load(WHOLE);
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.pop.name, "fra1");
    assert_eq!(config.readiness, Some("0.0.0.0:8088".parse().unwrap()));
    assert_eq!(config.shutdown_drain, Duration::from_secs(30));
    assert_eq!(config.upgrade_drain, Duration::from_secs(600));
    assert_eq!(config.limits.flow_table, 256 << 20);
    let listener = first_listener(&config);
    assert_eq!(listener.ports.to_string(), "80,443,8000-8100");
    assert_eq!(listener.settings.idle_timeout, Duration::from_secs(340));
    assert_eq!(listener.settings.hedge_after, HedgeAfter::Auto);
    assert_eq!(listener.settings.accept_proxy, None);
    let group = &listener.endpoint_groups[0];
    assert_eq!(group.latency, None);
    assert_eq!(group.health_check.probe, Probe::Tcp);
    assert_eq!(group.settings.proxy_protocol, ProxyProtocol::Off);
    let [web_1, web_2] = &group.endpoints[..] else {
        panic!("two endpoints")
    };
    assert_eq!(web_1.id.as_str(), "web-1");
    assert_eq!(web_2.id.as_str(), "web-2.internal:8080");
    assert_eq!(web_2.host, Host::Name("web-2.internal".into()));
    assert_eq!((web_2.port, web_2.weight.0), (Some(8080), 128));
}

#[test]
fn the_example_file_is_valid_and_without_warnings() {
    let loaded = load(EXAMPLE);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.accelerators.len(), 2);
}

#[test]
fn an_empty_file_is_valid_and_warned_of() {
    let loaded = load("");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(!loaded.config.pop.name.is_empty());
    assert_eq!(
        loaded.config.admin.listen,
        "127.0.0.1:9900".parse().unwrap()
    );
    assert_eq!(loaded.config.readiness, None);
}

#[test]
fn relative_paths_start_where_the_file_lies() {
    let text = "[pop]\nstate_file = \"s.json\"\n[admin]\ntoken_file = \"../t\"\n[log]\nflow_log = \"/f\"\n";
    let config = load(text).config;
    assert_eq!(config.pop.state_file, PathBuf::from("/etc/portolan/s.json"));
    assert_eq!(config.admin.token_file, Some("/etc/portolan/../t".into()));
    assert_eq!(config.log.flow_log, Some("/f".into()));
    let default = load("").config;
    assert_eq!(
        default.pop.state_file,
        PathBuf::from("/etc/portolan/portolan.state.json")
    );
    let here = super::super::parse("", Path::new("portolan.toml")).unwrap();
    assert_eq!(
        here.config.pop.state_file,
        PathBuf::from("portolan.state.json")
    );
}

#[test]
fn a_listener_may_have_every_port() {
    let config = load(&listener("").replace("ports = [80]", "ports = [\"1-65535\"]")).config;
    let ports = &config.accelerators[0].listeners[0].ports;
    assert_eq!(ports.len(), 65_535);
    assert_eq!(config.pop.port_steering, PortSteering::SkLookup);
    let config = load("[pop]\nport_steering = \"tproxy\"").config;
    assert_eq!(config.pop.port_steering, PortSteering::Tproxy);
}

#[test]
fn a_check_on_the_first_of_thousands_of_ports_is_doubtful() {
    let warnings = |lines: &str| {
        let lines = format!("{lines}\nendpoints = [{{ address = \"10.0.0.1\" }}]");
        let file = group(&lines).replace("ports = [80]", "ports = [\"1-65535\"]");
        let warnings = load(&file).warnings;
        warnings.iter().map(ToString::to_string).collect::<String>()
    };
    let doubt = "asked on port 1, the first of 65535";
    assert!(warnings("").contains(doubt), "{}", warnings(""));
    assert!(!warnings("health_check = { port = 80 }").contains(doubt));
}

#[test]
fn udp_has_defaults_of_its_own() {
    let udp = |lines: &str| listener(lines).replace("TCP", "UDP");
    let config = load(&udp("")).config;
    let settings = &first_listener(&config).settings;
    assert_eq!(settings.idle_timeout, Duration::from_secs(30));
    assert_eq!(settings.new_flows, 100_000);
    let config = load(&udp("idle_timeout = \"340s\"\nnew_flows = 0")).config;
    let settings = &first_listener(&config).settings;
    assert_eq!(settings.idle_timeout, Duration::from_secs(340));
    assert_eq!(settings.new_flows, 0);
}

#[test]
fn one_threshold_sets_both_and_each_may_differ() {
    let thresholds = |inner: &str| {
        let config = load(&check(inner)).config;
        let check = &first_listener(&config).endpoint_groups[0].health_check;
        [check.healthy_threshold, check.unhealthy_threshold].map(NonZeroU8::get)
    };
    assert_eq!(thresholds(""), [3, 3]);
    assert_eq!(thresholds("threshold = 5"), [5, 5]);
    assert_eq!(thresholds("threshold = 5, unhealthy_threshold = 2"), [5, 2]);
    assert_eq!(thresholds("healthy_threshold = 1"), [1, 3]);
}

#[test]
fn the_fast_interval_follows_a_shorter_interval() {
    let fast = |inner: &str| {
        let config = load(&check(inner)).config;
        let check = &first_listener(&config).endpoint_groups[0].health_check;
        check.fast_interval.as_millis()
    };
    assert_eq!(fast(""), 200);
    assert_eq!(fast("interval = \"100ms\""), 100);
    assert_eq!(fast("interval = \"100ms\", fast_interval = \"50ms\""), 50);
}

#[test]
fn https_is_verified_where_there_is_a_name() {
    let verified = |text: String| {
        let config = load(&text).config;
        match &first_listener(&config).endpoint_groups[0]
            .health_check
            .probe
        {
            Probe::Https { verify_tls, .. } => *verify_tls,
            other @ (Probe::None | Probe::Tcp | Probe::Http(_) | Probe::Udp(_)) => {
                panic!("{other:?}")
            }
        }
    };
    let by_address = |inner: &str| check(inner).replace("web.internal", "10.0.0.1");
    assert!(verified(check("protocol = \"HTTPS\"")));
    assert!(!verified(check("protocol = \"HTTPS\", verify_tls = false")));
    assert!(verified(by_address(
        "protocol = \"HTTPS\", sni = \"web.example\""
    )));
    assert!(!verified(by_address("protocol = \"HTTPS\"")));
}

#[test]
fn an_http_check_takes_a_status_a_host_and_a_body() {
    let text = check(
        "protocol = \"HTTP\", path = \"/h?a=1\", status = 204, host = \"[::1]:80\", body = \"ok\", port = 8081",
    );
    let config = load(&text).config;
    let check = &first_listener(&config).endpoint_groups[0].health_check;
    assert_eq!(check.port, Some(8081));
    let Probe::Http(http) = &check.probe else {
        panic!("{:?}", check.probe)
    };
    assert_eq!((http.path.as_str(), http.status), ("/h?a=1", (204, 204)));
    assert_eq!(http.host.as_deref(), Some("[::1]:80"));
    assert_eq!(http.body.as_deref(), Some("ok"));
}

#[test]
fn a_udp_check_takes_text_or_bytes() {
    let probe = |inner: &str| {
        let config = load(&check(inner)).config;
        match &first_listener(&config).endpoint_groups[0]
            .health_check
            .probe
        {
            Probe::Udp(probe) => (probe.send.clone(), probe.expect.clone()),
            other @ (Probe::None | Probe::Tcp | Probe::Http(_) | Probe::Https { .. }) => {
                panic!("{other:?}")
            }
        }
    };
    assert_eq!(probe("protocol = \"UDP\""), (vec![], None));
    assert_eq!(
        probe("protocol = \"UDP\", send = \"0x00fF\", expect = \"pong\""),
        (vec![0, 0xff], Some(b"pong".to_vec()))
    );
}

#[test]
fn the_id_of_an_endpoint_does_not_depend_on_its_spelling() {
    let id = |address: &str| {
        let config = load(&super::address(&format!("\"{address}\""))).config;
        first_listener(&config).endpoint_groups[0].endpoints[0]
            .id
            .to_string()
    };
    assert_eq!(id("10.0.1.10:80"), "10.0.1.10:80");
    assert_eq!(id("[2001:DB8:0::1]:80"), "[2001:db8::1]:80");
    assert_eq!(id("[2001:db8::1]"), "2001:db8::1");
    assert_eq!(id("Web.Internal."), "web.internal");
}

#[test]
fn a_bare_prefix_an_integer_dial_and_a_hedge_time_are_read() {
    let text = group("traffic_dial = 50\nlatency = \"1500us\"").replace(
        "ports = [80]",
        "ports = [80]\nhedge_after = \"75ms\"\naccept_proxy = { from = [\"10.0.0.1\", \"fd00::/8\"] }",
    );
    let config = load(&text).config;
    let listener = first_listener(&config);
    assert_eq!(
        listener.settings.hedge_after,
        HedgeAfter::After(Duration::from_millis(75))
    );
    let accept = listener.settings.accept_proxy.as_ref().unwrap();
    assert_eq!(
        accept.from,
        ["10.0.0.1/32".parse().unwrap(), "fd00::/8".parse().unwrap()]
    );
    assert_eq!(accept.timeout, Duration::from_secs(3));
    let group = &listener.endpoint_groups[0];
    assert!((group.traffic_dial.percent() - 50.0).abs() < f64::EPSILON);
    assert_eq!(group.latency, Some(Duration::from_micros(1500)));
}

#[test]
fn a_hundred_thousand_endpoints_are_read() {
    let many: Vec<String> = (0..100_000)
        .map(|i| {
            format!(
                "{{ address = \"10.{}.{}.{}\" }}",
                i >> 16,
                (i >> 8) & 255,
                i & 255
            )
        })
        .collect();
    let config = load(&endpoints(&many.join(",\n"))).config;
    assert_eq!(
        first_listener(&config).endpoint_groups[0].endpoints.len(),
        100_000
    );
}
