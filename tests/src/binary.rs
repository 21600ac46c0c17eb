//! Where the built programs are. They are built by the first test that misses one or finds it older than its sources, once for all of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The product: its name, and the crates whose sources are in it.
const PORTOLAN: (&str, &[&str]) = (
    "portolan",
    &["config", "proxy", "healthcheck", "control", "cli"],
);

/// The lab's own program.
const LAB: (&str, &[&str]) = ("portolan-lab", &["tests"]);

/// The product's path. `PORTOLAN_BIN` names another one. A program that is no test takes the one beside it as it is.
///
/// # Panics
/// When it is not there and cannot be built.
pub fn portolan() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os("PORTOLAN_BIN") {
        Some(path) => PathBuf::from(path),
        None => built(PORTOLAN),
    })
}

/// The path of the program that is an endpoint in a process of its own, and much else of the lab.
///
/// # Panics
/// When it is not there and cannot be built.
pub fn lab() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| built(LAB))
}

fn built((name, sources): (&str, &[&str])) -> PathBuf {
    let us = std::env::current_exe().expect("a program knows its own path");
    let folder = us.parent().expect("a file lies in a folder");
    if !folder.ends_with("deps") {
        return folder.join(name);
    }
    // target/PROFILE/deps/TEST
    let profile = folder.parent().expect("a folder lies in another one");
    let binary = profile.join(name);
    // Tests of several binaries may run at once; the lock ends with the file handle.
    let lock = std::fs::File::create(profile.join("portolan-tests.lock"))
        .expect("the target directory is writable");
    lock.lock().expect("a lock file can be locked");
    if !is_current(&binary, sources) {
        build(name, profile);
    }
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --workspace`, or name it in PORTOLAN_BIN",
        binary.display()
    );
    binary
}

/// Whole workspace, one binary: so that the features, and with them the dependencies' builds, are those of `cargo test --workspace`.
fn build(name: &str, profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bin", name]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command
        .current_dir(root())
        .status()
        .expect("cargo can be run");
    assert!(
        status.success(),
        "`cargo build --workspace --bin {name}` failed, see above"
    );
}

fn is_current(binary: &Path, sources: &[&str]) -> bool {
    let Ok(built) = binary.metadata().and_then(|meta| meta.modified()) else {
        return false;
    };
    sources
        .iter()
        .all(|source| newest(&root().join(source).join("src")) <= built)
}

fn newest(directory: &Path) -> SystemTime {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest(&entry.path()),
            _ => entry
                .metadata()
                .and_then(|meta| meta.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
        })
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the workspace")
}
