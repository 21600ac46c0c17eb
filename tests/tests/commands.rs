//! What the commands say, and how they end.

use std::process::{Command, Output};

use portolan_tests::binary;
use portolan_tests::deadline::PATIENCE;
use portolan_tests::near_and_far::near_and_far;
use portolan_tests::place;

fn portolan(arguments: &[&str]) -> Output {
    Command::new(binary::portolan())
        .args(arguments)
        .output()
        .expect("portolan can be run")
}

fn check(toml: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let file = directory.path().join("portolan.toml");
    std::fs::write(&file, toml).expect("it is writable");
    let output = portolan(&["check", "--config", &file.display().to_string()]);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn check_explains_a_good_file() {
    let toml = "[[accelerator]]\nname = \"shop\"\naddresses = [\"127.0.0.1\"]\n[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [18080]\n\
                [[accelerator.listener.endpoint_group]]\nregion = \"us-east-1\"\nendpoints = [{ address = \"127.0.0.2:80\" }]\n";
    let (code, said) = check(toml);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("shop") && said.contains("us-east-1"),
        "{said}"
    );
}

#[test]
fn the_example_is_a_good_file() {
    let example = binary::root().join("config/portolan.example.toml");
    let output = portolan(&["check", "--config", &example.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn check_tells_every_error_by_place_and_key_at_once() {
    let toml = "[pop]\nnaem = \"x\"\n\n[[accelerator]]\nname = \"shop\"\naddresses = [\"256.1.1.1\"]\n\n[[accelerator.listener]]\nprotocol = \"TPC\"\nports = [0]\n";
    let (code, said) = check(toml);
    assert_eq!(code, Some(2), "{said}");
    for place in [
        "portolan.toml:2:1: ",
        "portolan.toml:6:",
        "portolan.toml:9:",
        "portolan.toml:10:",
    ] {
        assert!(said.contains(place), "{place} in {said}");
    }
    for word in ["naem", "name", "addresses", "protocol", "ports"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn wrong_usage_is_64_and_a_missing_edge_is_1() {
    assert_eq!(portolan(&["run", "--cofnig", "x"]).status.code(), Some(64));
    assert_eq!(portolan(&["frobnicate"]).status.code(), Some(64));
    let nobody = format!("http://{}", place::fresh());
    let status = portolan(&["status", "--admin", &nobody]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    assert!(
        String::from_utf8_lossy(&status.stderr).contains(&nobody[7..]),
        "{status:?}"
    );
}

#[tokio::test]
async fn status_and_why_say_what_happens() {
    let (at, _near, far, edge) = near_and_far().await;
    far.kill().await;
    edge.until_health("far", "DOWN", PATIENCE).await;

    let status = edge.command(&["status"]).await;
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.success()
            && ["shop", "near", "far", "DOWN"]
                .iter()
                .all(|word| table.contains(word)),
        "{table}"
    );
    let json = edge.command(&["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(json["accelerators"][0]["name"], "shop");

    let to = format!("{at}/TCP");
    let why = edge
        .command(&["why", "--client", "192.0.2.1", "--to", &to])
        .await;
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("near") && why.contains("far"), "{why}");
}

/// The unit as it is shipped, but for what is not installed here: the program at its path, and the manual.
fn unit_here(folder: &std::path::Path) -> std::path::PathBuf {
    let shipped = binary::root().join("packaging/portolan.service");
    let shipped = std::fs::read_to_string(shipped).expect("it is shipped");
    let program = binary::portolan().display().to_string();
    let lines = shipped
        .lines()
        .filter(|line| !line.starts_with("Documentation="));
    let unit = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("/usr/bin/portolan", &program);
    let path = folder.join("portolan.service");
    std::fs::write(&path, unit).expect("the folder is writable");
    path
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let analyze = |arguments: &[&str], unit: &std::path::Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(unit).output()
    };
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_here(folder.path());
    let Ok(verified) = analyze(&["verify"], &unit) else {
        println!("skipped: no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // Exposure in tenths; 30 is what systemd calls OK.
    let asked = ["security", "--offline=true", "--threshold=30", "--no-pager"];
    let judged = analyze(&asked, &unit).unwrap();
    let said = String::from_utf8_lossy(&judged.stdout);
    println!("{}", said.lines().last().unwrap_or_default());
    assert!(judged.status.success(), "{said}");
}
