//! Runs the load workloads against every target, interleaved, and prints and writes the tables.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portolan_benches::client::{self, Done};
use portolan_benches::cpu;
use portolan_benches::endpoint::{self, Kind};
use portolan_benches::peer::{self, Target};
use portolan_benches::report::{self, Sample};

const HELP: &str = "portolan-load [--quick] [--reps N] [--seconds S] [--only WORKLOAD,…] [--targets NAME,…] [--portolan PATH] [--out DIR]";

struct Options {
    reps: usize,
    length: Duration,
    only: Vec<String>,
    targets: Vec<String>,
    portolan: PathBuf,
    out: PathBuf,
    idle: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    Bulk(usize),
    Requests(usize),
    Connects(usize),
    Idle,
}

const WORKLOADS: [(&str, Workload); 7] = [
    ("bulk-1", Workload::Bulk(1)),
    ("bulk-64", Workload::Bulk(64)),
    ("requests-1", Workload::Requests(1)),
    ("requests-64", Workload::Requests(64)),
    ("requests-2000", Workload::Requests(2000)),
    ("connects-32", Workload::Connects(32)),
    ("idle", Workload::Idle),
];

fn main() -> Result<()> {
    let options = options()?;
    let folder = std::env::temp_dir().join(format!("portolan-load-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    endpoint::start(peer::ANSWERING.parse()?, Kind::Answer, 2)?;
    endpoint::start(peer::SWALLOWING.parse()?, Kind::Swallow, 2)?;
    let mut targets = Vec::new();
    for (index, name) in peer::NAMES.into_iter().enumerate() {
        if !options.targets.is_empty() && !options.targets.iter().any(|t| t == name) {
            continue;
        }
        match peer::start(name, &options.portolan, &folder, index as u16) {
            Ok(target) => targets.push(target),
            Err(error) if name == "portolan" => return Err(error),
            Err(error) => eprintln!("LEFT OUT {name}: {error:#}"),
        }
    }
    let mut samples = Vec::new();
    for (name, workload) in WORKLOADS {
        if !options.only.is_empty() && !options.only.iter().any(|o| o == name) {
            continue;
        }
        for rep in 0..options.reps {
            // Interleaved, and backwards every other time, so that a drift of the machine meets all alike.
            let order: Vec<&Target> = if rep % 2 == 0 {
                targets.iter().collect()
            } else {
                targets.iter().rev().collect()
            };
            for target in order {
                eprint!("\r{name} {}/{} {:<14}", rep + 1, options.reps, target.name);
                if let Some(sample) = run(name, workload, target, &options)? {
                    samples.push(sample);
                }
            }
        }
        eprintln!();
    }
    let rows = report::rows(&samples);
    let text = report::markdown(&rows, units);
    println!("{text}");
    fs::create_dir_all(&options.out)?;
    let versions: Vec<_> = targets
        .iter()
        .map(|t| (t.name, &t.version, &t.configuration))
        .collect();
    let host = fs::read_to_string("/proc/version").unwrap_or_default();
    let all = serde_json::json!({ "host": host.trim(), "targets": versions, "rows": rows, "samples": samples });
    fs::write(
        options.out.join("load.json"),
        serde_json::to_string_pretty(&all)?,
    )?;
    fs::write(
        options.out.join("load.md"),
        format!("{}\n{text}", heading(&targets, &host, &options)),
    )?;
    drop(targets);
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn heading(targets: &[Target], host: &str, options: &Options) -> String {
    let mut text = format!(
        "# Load beside the peers\n\n`make bench` on {} CPUs, {}\n\n{} repetitions of {} s, interleaved; medians. Every target has {} threads. CPU is the target's processes and the kernel's \
         worker threads.\n\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        host.trim(),
        options.reps,
        options.length.as_secs_f64(),
        peer::THREADS
    );
    for target in targets.iter().filter(|t| !t.version.is_empty()) {
        text += &format!("* {}: {}\n", target.name, target.version);
    }
    text
}

fn units(workload: &str) -> (&'static str, &'static str) {
    match workload {
        "idle" => ("bytes RSS a flow", "–"),
        name if name.starts_with("bulk") => ("Gbit/s", "CPU s/GB"),
        _ => ("ops/s", "CPU µs/op"),
    }
}

fn run(
    name: &str,
    workload: Workload,
    target: &Target,
    options: &Options,
) -> Result<Option<Sample>> {
    let sample = |rate: f64, cpu: f64, done: Option<&Done>| Sample {
        workload: name.to_owned(),
        target: target.name.to_owned(),
        rate,
        cpu,
        p50: micros(done, 50.0),
        p99: micros(done, 99.0),
        p999: micros(done, 99.9),
        failed: done.map_or(0, |d| d.failed),
    };
    if workload == Workload::Idle {
        let Some(pid) = target.pid() else {
            return Ok(None);
        };
        let before = cpu::resident(pid);
        let kept = client::idle(target.answering, options.idle).context("idle connections")?;
        let after = cpu::resident(pid);
        let per_flow = after.saturating_sub(before) as f64 / kept.len() as f64;
        return Ok(Some(sample(per_flow, 0.0, None)));
    }
    let used = || target.pid().map_or(Duration::ZERO, cpu::family) + cpu::kernel();
    let before = used();
    let done = match workload {
        Workload::Bulk(streams) => client::bulk(target.swallowing, streams, options.length)?,
        Workload::Requests(connections) => {
            client::requests(target.answering, connections, options.length)?
        }
        Workload::Connects(abreast) => client::connects(target.answering, abreast, options.length)?,
        Workload::Idle => return Ok(None),
    };
    let cpu = used().saturating_sub(before).as_secs_f64();
    let (count, seconds) = (done.count as f64, done.took.as_secs_f64());
    Ok(Some(match workload {
        Workload::Bulk(_) => sample(
            count * 8.0 / 1e9 / seconds,
            cpu / (count / 1e9),
            Some(&done),
        ),
        Workload::Requests(_) | Workload::Connects(_) | Workload::Idle => {
            sample(count / seconds, cpu * 1e6 / count, Some(&done))
        }
    }))
}

fn micros(done: Option<&Done>, percentile: f64) -> f64 {
    done.map_or(0.0, |done| {
        done.times.value_at_percentile(percentile) as f64 / 1000.0
    })
}

fn options() -> Result<Options> {
    let mut options = Options {
        reps: 5,
        length: Duration::from_secs(2),
        only: Vec::new(),
        targets: Vec::new(),
        portolan: PathBuf::from("target/release/portolan"),
        out: PathBuf::from("benches/results"),
        idle: 9000,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} wants a value; {HELP}"))
        };
        match argument.as_str() {
            "--quick" => (options.reps, options.length) = (2, Duration::from_millis(800)),
            "--reps" => options.reps = value()?.parse()?,
            "--seconds" => options.length = Duration::from_secs_f64(value()?.parse()?),
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--targets" => options.targets = value()?.split(',').map(str::to_owned).collect(),
            "--portolan" => options.portolan = value()?.into(),
            "--out" => options.out = value()?.into(),
            "--idle" => options.idle = value()?.parse()?,
            // What cargo passes to every bench.
            "--bench" => {}
            _ => bail!("{argument} is not known; {HELP}"),
        }
    }
    Ok(options)
}
