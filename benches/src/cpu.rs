//! CPU time of a process and of the kernel's own threads, from `/proc/…/schedstat` (nanoseconds on a CPU; Linux 2.6.23).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// CPU time that all threads of a process have used.
pub fn process(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    tasks
        .flatten()
        .map(|task| on_cpu(&task.path().join("schedstat")))
        .sum()
}

/// CPU time of a process and of all its descendants (nginx and HAProxy serve from children), with that of those that have ended: a
/// reload replaces them.
pub fn family(pid: u32) -> Duration {
    let of = |pid| process(pid) + ended_children(pid);
    members(pid).into_iter().map(of).sum()
}

/// CPU time of children that a process has waited for (proc(5): `cutime` and `cstime`, in ticks of 10 ms).
fn ended_children(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; `cutime` is the 16th field, the 3rd is the first behind it.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = behind_name.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// CPU time of this process, with that of threads that have ended.
pub fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Resident memory of a process and its descendants, in bytes.
pub fn resident(pid: u32) -> u64 {
    members(pid).into_iter().map(resident_one).sum()
}

/// CPU time of the kernel's workers and softirq threads: work that a proxy caused and nobody bills it for.
pub fn kernel() -> Duration {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Duration::ZERO;
    };
    processes
        .flatten()
        .filter(|process| {
            fs::read_to_string(process.path().join("comm"))
                .is_ok_and(|name| name.starts_with("kworker") || name.starts_with("ksoftirqd"))
        })
        .map(|process| on_cpu(&process.path().join("schedstat")))
        .sum()
}

/// A process and all its descendants.
pub fn members(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() {
        let children = format!("/proc/{0}/task/{0}/children", all[next]);
        let children = fs::read_to_string(children).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        next += 1;
    }
    all
}

fn on_cpu(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn resident_one(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
