//! Where the data path's time goes: samples of perf, told apart by the system call that they fell into, and the system calls of a flow
//! and of a request, counted by strace for Portolan and its peers. Programs that are missing are named and left out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client;
use crate::cpu;
use crate::measure::Plan;
use crate::peer::{Kind, Target};
use crate::service::Service;
use crate::workload::Run;

/// Whose system calls are counted.
const COUNTED: [Kind; 4] = [Kind::Portolan, Kind::Haproxy, Kind::Nginx, Kind::Envoy];

/// How many rows a table of samples has.
const ROWS: usize = 16;

/// What is profiled, by the name of its workload.
const PROFILED: [&str; 4] = ["bulk-64", "requests-64", "requests-2000", "connects-32"];

/// Prints all of it as Markdown.
pub fn print(plan: &Plan) -> Result<()> {
    println!("# Where the time goes\n");
    match samples(plan) {
        Ok(()) => {}
        Err(error) => println!("LEFT OUT perf: {error:#}\n"),
    }
    println!("# System calls\n");
    match system_calls(plan) {
        Ok(()) => {}
        Err(error) => println!("LEFT OUT strace: {error:#}\n"),
    }
    Ok(())
}

fn samples(plan: &Plan) -> Result<()> {
    let target = plan.start(Kind::Portolan)?;
    for workload in crate::workload::all() {
        let name = workload.name();
        if !PROFILED.contains(&name.as_str()) {
            continue;
        }
        let data = plan.folder.join("perf.data");
        let pid = target.pid().context("a process")?;
        let mut perf = Command::new("perf")
            .args(["record", "-q", "-g", "-e", "cpu-clock", "-F", "1999", "-o"])
            .arg(&data)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .context("perf; apt-get install linux-perf")?;
        workload.run(&Run {
            target: &target,
            folder: &plan.folder,
            portolan: &plan.portolan,
            length: plan.length,
            idle: plan.idle,
        })?;
        interrupt(&mut perf)?;
        let script = Command::new("perf")
            .args(["script", "-F", "ip,sym", "-i"])
            .arg(&data)
            .stderr(Stdio::null())
            .output()?;
        println!("## {name}\n\n{}.\n", workload.says());
        print_shares(&shares(&String::from_utf8_lossy(&script.stdout)));
    }
    Ok(())
}

/// Samples by where they fell: a system call, or a function of user space.
fn shares(script: &str) -> BTreeMap<String, u64> {
    let mut shares = BTreeMap::new();
    for stack in script.split("\n\n") {
        // The innermost frame first: an address and a name.
        let frames: Vec<&str> = stack
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .map(|(_, symbol)| symbol.trim())
            .collect();
        if let Some(place) = place(&frames) {
            *shares.entry(place).or_default() += 1;
        }
    }
    shares
}

fn place(frames: &[&str]) -> Option<String> {
    let call = frames.iter().find_map(|f| {
        f.strip_prefix("__x64_sys_")
            .or_else(|| f.strip_prefix("__arm64_sys_"))
    });
    if let Some(call) = call {
        return Some(format!("{call}(2)"));
    }
    let in_kernel = |frame: &&&str| frame.starts_with("entry_SYSCALL") || frame.starts_with("asm_");
    if frames.iter().any(|frame| in_kernel(&frame)) {
        return Some("kernel: entry, exit, interrupts".to_owned());
    }
    let innermost = frames.first()?;
    // The hash and what precedes the last two parts of a path say nothing to people.
    let name = innermost.split("::h").next().unwrap_or(innermost);
    Some(format!("`{name}`"))
}

fn print_shares(shares: &BTreeMap<String, u64>) {
    let all: u64 = shares.values().sum();
    let share = |samples: u64| samples as f64 * 100.0 / all.max(1) as f64;
    let mut rows: Vec<_> = shares.iter().collect();
    rows.sort_by_key(|(_, samples)| std::cmp::Reverse(**samples));
    println!("| where | of {all} samples |\n|---|---|");
    for (place, samples) in rows.iter().take(ROWS) {
        println!("| {place} | {:.1} % |", share(**samples));
    }
    let own: u64 = rows
        .iter()
        .filter(|(place, _)| place.starts_with('`'))
        .map(|(_, n)| **n)
        .sum();
    println!("| (all of user space) | {:.1} % |\n", share(own));
}

fn system_calls(plan: &Plan) -> Result<()> {
    for (what, unit) in [
        ("A connection with one request", "flow"),
        ("A request on one of 64 connections", "request"),
    ] {
        let mut columns: Vec<(&str, BTreeMap<String, f64>)> = Vec::new();
        for kind in COUNTED {
            match plan.start(kind) {
                Ok(target) => columns.push((kind.name(), counted(plan, &target, unit)?)),
                Err(error) => println!("LEFT OUT {}: {error:#}\n", kind.name()),
            }
        }
        println!("## {what}\n");
        print_columns(&columns, unit);
    }
    Ok(())
}

/// System calls for each operation.
fn counted(plan: &Plan, target: &Target, unit: &str) -> Result<BTreeMap<String, f64>> {
    let to = target.address(Service::Answers).context("an address")?;
    let file = plan.folder.join("strace");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-o"]).arg(&file);
    for pid in cpu::members(target.pid().context("a process")?) {
        command.args(["-p", &pid.to_string()]);
    }
    let mut strace = command
        .stderr(Stdio::piped())
        .spawn()
        .context("strace; apt-get install strace")?;
    let mut said = BufReader::new(strace.stderr.take().context("its output")?);
    said.read_line(&mut String::new())?;
    // Its other threads follow within moments.
    std::thread::sleep(Duration::from_millis(300));
    let done = match unit {
        "flow" => client::connects(to, 32, plan.length)?,
        _ => client::requests(to, 64, 1, plan.length)?,
    };
    interrupt(&mut strace)?;
    let summary = std::fs::read_to_string(file)?;
    Ok(parse(&summary, done.count))
}

/// The lines of a summary: share, seconds, microseconds a call, calls, errors (or nothing), name.
fn parse(summary: &str, operations: u64) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (*words.last()?, words.get(3)?.parse::<u64>().ok()?);
        (name != "total").then(|| (name.to_owned(), calls as f64 / operations.max(1) as f64))
    };
    summary.lines().filter_map(line).collect()
}

fn print_columns(columns: &[(&str, BTreeMap<String, f64>)], unit: &str) {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    println!("| calls a {unit} | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    let total = |column: &BTreeMap<String, f64>| column.values().sum::<f64>();
    row("**all**", columns.iter().map(|(_, column)| total(column)));
    let calls: std::collections::BTreeSet<&String> =
        columns.iter().flat_map(|(_, c)| c.keys()).collect();
    for call in calls {
        let values: Vec<f64> = columns
            .iter()
            .map(|(_, c)| c.get(call).copied().unwrap_or(0.0))
            .collect();
        // What comes of timers and checks is no part of a flow.
        if values.iter().any(|value| *value >= 0.02) {
            row(call, values.into_iter());
        }
    }
    println!();
}

fn row(name: &str, values: impl Iterator<Item = f64>) {
    let values: Vec<String> = values.map(|value| format!("{value:.2}")).collect();
    println!("| {name} | {} |", values.join(" | "));
}

fn interrupt(child: &mut Child) -> Result<()> {
    let kill = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status()?;
    ensure!(kill.success(), "kill");
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_belongs_to_the_system_call_that_it_fell_into() {
        let script = "\t  ffff tcp_sendmsg\n\t ffff __x64_sys_sendto\n\t 7f00 send\n\n\t 55aa portolan_proxy::relay::pump::pump::h0123\n\n";
        let shares = shares(script);
        assert_eq!(shares["sendto(2)"], 1);
        assert_eq!(shares["`portolan_proxy::relay::pump::pump`"], 1);
    }

    #[test]
    fn calls_are_counted_for_each_operation() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- --------- ----------------\n \
                       50.00    0.1      1      300        10 recvfrom\n 50.00    0.1      1      200           sendto\n100.00    0.2    1    500   10 total\n";
        let calls = parse(summary, 100);
        assert_eq!(calls["recvfrom"], 3.0);
        assert_eq!(calls["sendto"], 2.0);
        assert_eq!(calls.len(), 2);
    }
}
