//! Processes by a name that is not given twice: the pid alone may be another's tomorrow.

use serde::{Deserialize, Serialize};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Its pid.
    pub(crate) pid: u32,
    /// When it started, in the kernel's ticks since boot (proc(5)).
    started: u64,
}

impl ProcessId {
    /// This process.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        let started = stat(pid).map_or(0, |(_, started)| started);
        Self { pid, started }
    }

    /// Whether it still runs. One that has ended and waits for its parent does not.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, started)| started == self.started && state != 'Z' && state != 'X')
    }
}

/// State and start of a process; `None` when there is none.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, parentheses too. The state is field 3, the start field 22.
    let fields = &text[text.rfind(')')? + 1..];
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_while_it_runs() {
        let own = ProcessId::own();
        assert!(own.started > 0 && own.is_alive());
        let another = ProcessId {
            started: own.started + 1,
            ..own
        };
        assert!(!another.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = stat(child.id()).map(|(_, started)| ProcessId {
            pid: child.id(),
            started,
        });
        child.wait().unwrap();
        assert!(ended.is_none_or(|ended| !ended.is_alive()));
    }
}
