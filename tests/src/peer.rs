//! Programs that we did not write. A test that misses one says so in a line `SKIPPED: …` and passes: `tests/peers.sh` installs them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::deadline::{PATIENCE, until};
use crate::process::Process;

/// Where a program is; `None`, and a line that says so, when it is not installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let found = look_for(program);
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    look_for(program).is_some()
}

fn look_for(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons live where an ordinary user's path does not look.
    let daemons = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(daemons)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Where skipped tests are counted: a file that `make test` shows at its end.
const SKIPPED: &str = "PORTOLAN_TESTS_SKIPPED";

/// Says that a test, or a part of it, did not run. Written past the capture of the test runner, so that it is always seen.
pub fn skip(why: &str) {
    use std::io::Write as _;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
    let Some(path) = std::env::var_os(SKIPPED) else {
        return;
    };
    let mut append = std::fs::OpenOptions::new();
    if let Ok(mut file) = append.append(true).create(true).open(path) {
        // In one write: tests of several processes share the file.
        let _ = file.write_all(format!("  {test}: {why}\n").as_bytes());
    }
}

/// A running peer with a directory of its own.
pub struct Peer {
    /// The process.
    pub process: Process,
    /// Its directory.
    pub directory: TempDir,
}

impl Peer {
    /// Writes `config` into a file of a fresh directory, starts the program there, and waits until it listens at `at`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(program: PathBuf, arguments: &[&str], config: &str, at: SocketAddr) -> Peer {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        std::fs::write(directory.path().join("config"), config).expect("it is writable");
        let name = program.display().to_string();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory.path());
        let mut process = Process::spawn(&name, &mut command);
        let mut what = String::new();
        let _ = write!(what, "{name} listens at {at}");
        until(&what, PATIENCE, async || {
            if let Some(status) = process.ended() {
                panic!(
                    "{name} ended with {status}:\n{}\n{config}",
                    process.output()
                );
            }
            TcpStream::connect(at).await.is_ok()
        })
        .await;
        Peer { process, directory }
    }
}
