//! The house's own rules, checked: who may depend on whom, where `unsafe` may stand, how files begin. ARCHITECTURE.md says why.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// Folder, and our own crates that it may depend on.
const MAY_DEPEND_ON: [(&str, &[&str]); 5] = [
    ("config", &[]),
    ("proxy", &["portolan-config"]),
    ("healthcheck", &["portolan-config"]),
    ("control", &["portolan-config", "portolan-healthcheck"]),
    (
        "cli",
        &[
            "portolan-config",
            "portolan-proxy",
            "portolan-healthcheck",
            "portolan-control",
        ],
    ),
];

/// Folder, and foreign crates (by prefix) that it must not depend on: the data path knows nothing of HTTP, JSON, DNS or AWS and
/// runs on no runtime; the vocabulary does no input or output; the process has one owner.
const MUST_NOT_DEPEND_ON: [(&str, &[&str]); 4] = [
    (
        "proxy",
        &[
            "tokio",
            "hyper",
            "http",
            "axum",
            "serde_json",
            "hickory",
            "aws",
            "prometheus",
            "rustls",
            "pingora-core",
        ],
    ),
    (
        "config",
        &[
            "tokio", "hyper", "mio", "socket2", "pingora", "aws", "hickory",
        ],
    ),
    ("healthcheck", &["pingora", "axum", "aws"]),
    ("control", &["pingora", "mio"]),
];

/// The leaf modules that may hold system calls Rust cannot check, with everything below them.
const MAY_BE_UNSAFE: [&str; 3] = [
    "proxy/src/sys",
    "tests/src/lab/sys",
    "control/src/publish/announce/tun",
];

const FOLDERS: [&str; 7] = [
    "benches",
    "cli",
    "config",
    "control",
    "healthcheck",
    "proxy",
    "tests",
];

/// Beyond this a file holds more than one idea.
const LONGEST_FILE: usize = 600;

#[test]
fn our_crates_depend_on_each_other_as_drawn() {
    for (folder, allowed) in MAY_DEPEND_ON {
        for dependency in dependencies(folder) {
            let ours = dependency.starts_with("portolan");
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "{folder} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    for (folder, forbidden) in MUST_NOT_DEPEND_ON {
        for dependency in dependencies(folder) {
            let bad = forbidden
                .iter()
                .any(|prefix| dependency.starts_with(prefix));
            assert!(!bad, "{folder} must not depend on {dependency}");
        }
    }
}

#[test]
fn versions_are_written_once() {
    for folder in FOLDERS {
        let path = root().join(folder).join("Cargo.toml");
        for line in fs::read_to_string(path).unwrap().lines() {
            assert!(
                !line.contains("version = \""),
                "{folder}/Cargo.toml: {line}: versions belong in the workspace's manifest"
            );
        }
    }
}

#[test]
fn the_top_level_holds_the_crates_packaging_and_nothing_else() {
    let found: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let mut expected: BTreeSet<String> = FOLDERS.map(String::from).into();
    // What a package is made with, beside the binary.
    expected.insert("packaging".to_owned());
    assert_eq!(found, expected);
}

#[test]
fn system_calls_that_rust_cannot_check_stay_in_named_leaf_modules() {
    // In two halves, so that this line is none.
    let word = concat!("un", "safe");
    for (path, text) in sources() {
        if MAY_BE_UNSAFE.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let mut rest = code
                .match_indices(word)
                .map(|(at, _)| &code[at + word.len()..]);
            // A block, a function, an impl or an attribute; `unsafe_code` and 'unsafe-inline' are neither.
            let stands = rest.any(|rest| rest.is_empty() || rest.starts_with([' ', '{', '(']));
            assert!(!stands, "{path}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{path} must begin with //!");
        assert!(
            !path.ends_with("/mod.rs"),
            "{path}: foo.rs and foo/, not mod.rs"
        );
        let lines = text.lines().count();
        assert!(
            lines <= LONGEST_FILE,
            "{path} has {lines} lines; split it by idea"
        );
    }
}

#[test]
fn the_map_names_files_that_are_there() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let lines = map.lines().count();
    assert!(lines < 150, "ARCHITECTURE.md has {lines} lines");
    let files: Vec<&str> = map
        .split('`')
        .filter(|word| word.ends_with(".rs") && word.contains('/') && !word.contains('{'))
        .collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(root().join(file).is_file(), "ARCHITECTURE.md names {file}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Normal and build dependencies, as cargo reads them; tests may use more.
fn dependencies(folder: &str) -> Vec<String> {
    static METADATA: LazyLock<Value> = LazyLock::new(metadata);
    let manifest = root().join(folder).join("Cargo.toml");
    let packages = METADATA["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["manifest_path"].as_str() == manifest.to_str())
        .unwrap_or_else(|| panic!("{folder} is not in the workspace"));
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Path from the root, and text, of every Rust source.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 20, "the sources are not where they should be");
    found
}
