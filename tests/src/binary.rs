//! Where the built `portolan` is. It is built by the first test that misses it or finds it older than the sources, once for all of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The crates whose sources are in the binary.
const SOURCES: [&str; 5] = ["config", "proxy", "healthcheck", "control", "cli"];

/// The binary's path. `PORTOLAN_BIN` names another one. A program that is no test takes the one beside it as it is.
///
/// # Panics
/// When it is not there and cannot be built.
pub fn portolan() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os("PORTOLAN_BIN") {
        Some(path) => PathBuf::from(path),
        None => built(),
    })
}

fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("a file lies in a folder");
    if !folder.ends_with("deps") {
        return folder.join("portolan");
    }
    // target/PROFILE/deps/TEST
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests live in target/PROFILE/deps");
    let binary = profile.join("portolan");
    // Tests of several binaries may run at once; the lock ends with the file handle.
    let lock = std::fs::File::create(profile.join("portolan-tests.lock"))
        .expect("the target directory is writable");
    lock.lock().expect("a lock file can be locked");
    if !is_current(&binary) {
        build(profile);
    }
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --workspace`, or name it in PORTOLAN_BIN",
        binary.display()
    );
    binary
}

/// Whole workspace, one binary: so that the features, and with them the dependencies' builds, are those of `cargo test --workspace`.
fn build(profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bin", "portolan"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command
        .current_dir(root())
        .status()
        .expect("cargo can be run");
    assert!(
        status.success(),
        "`cargo build --workspace --bin portolan` failed, see above"
    );
}

fn is_current(binary: &Path) -> bool {
    let Ok(built) = binary.metadata().and_then(|meta| meta.modified()) else {
        return false;
    };
    SOURCES
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
