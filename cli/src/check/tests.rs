//! What `check` says of a valid file, and what of a broken one.

use std::path::Path;

use super::*;

const FILE: &str = r#"
[pop]
name = "fra1"
[log]
flow_log = "flows.jsonl"
sample = 0.5
[[accelerator]]
name = "shop"
addresses = ["127.77.0.10"]
[[accelerator.listener]]
protocol = "TCP"
ports = [80, "8000-8100"]
fail_open = false
[[accelerator.listener.endpoint_group]]
region = "us-east-1"
latency = "5ms"
port_overrides = [{ listener_port = 80, endpoint_port = 9080 }]
endpoints = [{ id = "web-1", address = "10.0.1.10", weight = 192 }, { address = "web-2.internal:81", weight = 64 }, { address = "10.0.1.12", weight = 0 }]
[[accelerator.listener.endpoint_group]]
region = "eu-west-1"
health_check = { protocol = "NONE" }
endpoints = []
"#;

fn loaded() -> Loaded {
    file::parse(FILE, Path::new("portolan.toml")).unwrap()
}

fn args() -> Args {
    Args {
        config: "portolan.toml".into(),
        json: false,
    }
}

fn effective(loaded: &Loaded) -> Effective<'_> {
    Effective {
        descriptors: limits::Descriptors {
            started_with: 1024,
            soft: 4096,
            hard: 4096,
        },
        max_flows: 1000,
        workers: 2,
        config: &loaded.config,
    }
}

#[test]
fn a_valid_file_is_told_in_words() {
    let loaded = loaded();
    let text = told(&args(), &loaded, &effective(&loaded), Paint::Plain);
    for expected in [
        "portolan.toml is valid\n",
        "flow log   flows.jsonl, 50 % of the flows\n",
        "shop  127.77.0.10\n",
        "  TCP 80,8000-8100  client affinity NONE, idle 5m40s, connect 5s × 3, hedge auto, no fail open\n",
        "    us-east-1  dial 100 %, distance 5ms, check TCP every 1s, timeout 2s, 3 up, 3 down, resets flows of a dead endpoint, port 80 → 9080\n",
        "web-1              → 10.0.1.10:9080",
        "75.0 % of the group",
        "→ web-2.internal:9080",
        "nothing new",
        "    eu-west-1  dial 100 %, distance as measured, no check: always up",
        "no endpoints: never available",
        "Effective limits",
        "descriptors",
    ] {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
}

#[test]
fn warnings_are_said_with_their_place() {
    let mut loaded = loaded();
    loaded.warnings = vec![Problem {
        file: "portolan.toml".into(),
        line: 3,
        column: 1,
        key: "pop.name".into(),
        what: "doubtful".into(),
        remedy: "look again".into(),
    }];
    let text = told(&args(), &loaded, &effective(&loaded), Paint::Plain);
    assert!(
        text.contains("Warnings\n  portolan.toml:3:1: pop.name: doubtful; look again\n"),
        "{text}"
    );
}

#[test]
fn machines_get_places_and_limits() {
    let loaded = loaded();
    let report =
        serde_json::to_value(Report::valid(&args(), &loaded, &effective(&loaded))).unwrap();
    assert_eq!(report["valid"], true);
    assert!(
        report["limits"]
            .as_array()
            .unwrap()
            .iter()
            .any(|l| l["name"] == "flows" && l["value"] == "1000"),
        "{report}"
    );

    let errors = file::parse("[pop]\nnam = 1\n", Path::new("portolan.toml")).unwrap_err();
    let report = serde_json::to_value(Report::invalid(&args(), &errors)).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"][0]["line"], 2);
    assert_eq!(report["errors"][0]["key"], "pop.nam");

    let errors = file::load(Path::new("/no/such/file.toml")).unwrap_err();
    let report = serde_json::to_value(Report::invalid(&args(), &errors)).unwrap();
    assert_eq!(report["errors"][0]["line"], serde_json::Value::Null);
}
