//! A network of a test's own: what needs rights, or would be in the way of others on this host, runs in a network namespace with
//! nothing but loopback. The test binary runs itself again in there, endpoints, clients, edges and all.

use std::process::Command;

use crate::peer::skip;

const INSIDE: &str = "PORTOLAN_TESTS_NETWORK";

/// Capabilities that the tests in there need: `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_SYS_ADMIN`, `CAP_BPF` (linux/capability.h).
const NEEDED: u64 = 1 << 12 | 1 << 13 | 1 << 21 | 1 << 39;

/// Runs the test of this name in a network of its own. True when that is done, or cannot be, which is said; false in there, where the test
/// goes on.
///
/// # Panics
/// When the test in there fails.
pub fn elsewhere(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    if !has_rights() {
        skip("a network namespace and sk_lookup need root");
        return true;
    }
    let script = r#"ip link set lo up && exec "$0" "$1" --exact --nocapture"#;
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .arg(test)
        .env(INSIDE, "1")
        .status()
        .expect("unshare can be run");
    assert!(status.success(), "{test} failed in a network of its own");
    true
}

fn has_rights() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    held.is_some_and(|held| held & NEEDED == NEEDED)
}
