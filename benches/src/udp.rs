//! UDP beside nginx on one core: what `portolan-load udp` runs. The target has one worker, pinned to a core of its own; generator and
//! endpoint spin on the other one, so that what the target's core does can be told apart: on loopback a datagram is delivered on the
//! CPU that sends it.

mod generator;
mod host;
mod table;
mod target;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use generator::{Done, Generator, Shape};
use host::Kernel;
use target::{Kind, Target};

pub use table::{Figure, Table};

/// What `portolan-load udp` takes.
pub const HELP: &str = "portolan-load udp [--quick] [--reps N] [--seconds S] [--only ROW,…] [--targets NAME,…] [--portolan PATH] [--out FILE] [--list]";

/// What is asked for.
pub struct Options {
    reps: usize,
    length: Duration,
    only: Vec<String>,
    targets: Vec<String>,
    portolan: PathBuf,
    out: Option<PathBuf>,
    list: bool,
}

impl Options {
    /// Reads arguments.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            reps: 5,
            length: Duration::from_secs(1),
            only: Vec::new(),
            targets: Vec::new(),
            portolan: PathBuf::from("target/release/portolan"),
            out: None,
            list: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} wants a value; {HELP}"))
            };
            match argument.as_str() {
                "--quick" => (options.reps, options.length) = (2, Duration::from_millis(500)),
                "--reps" => options.reps = value()?.parse()?,
                "--seconds" => options.length = Duration::from_secs_f64(value()?.parse()?),
                "--only" => options.only = words(&value()?),
                "--targets" => options.targets = words(&value()?),
                "--portolan" => options.portolan = value()?.into(),
                "--out" => options.out = Some(value()?.into()),
                "--list" => options.list = true,
                _ => bail!("{argument} is not known; {HELP}"),
            }
        }
        Ok(options)
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

/// Flows of the rows that hold many: what a target can hold in 20,000 descriptors, with room to spare.
const MANY: usize = 15_000;

/// Round trips in flight: enough that the target always has work, few enough that no queue overflows.
const WINDOW: usize = 64;

/// What is measured.
#[derive(Clone, Copy)]
enum Workload {
    /// As many round trips as get through.
    Rate(Shape),
    /// One round trip at a time.
    PingPong,
    /// So many round trips a second, whether or not the earlier ones are answered.
    Paced(u32),
    /// Every datagram begins a flow, until there are [`MANY`]; then what they take, and round trips over all of them.
    Many,
}

const fn interleaved(flows: usize) -> Workload {
    Workload::Rate(Shape {
        flows,
        bytes: 64,
        train: 1,
        coalesced: false,
    })
}

const fn trains(coalesced: bool) -> Workload {
    Workload::Rate(Shape {
        flows: 10,
        bytes: 1200,
        train: 16,
        coalesced,
    })
}

const WORKLOADS: [(&str, &str, Workload); 7] = [
    (
        "udp-100",
        "round trips of 64 bytes over 100 flows, 64 in flight",
        interleaved(100),
    ),
    (
        "udp-10000",
        "the same over 10,000 flows",
        interleaved(10_000),
    ),
    (
        "udp-trains",
        "trains of 16 datagrams of 1,200 bytes over 10 flows; the kernel splits them",
        trains(false),
    ),
    (
        "udp-trains-offload",
        "the same where the device splits and coalesces them",
        trains(true),
    ),
    (
        "udp-ping-pong",
        "one round trip of 64 bytes at a time",
        Workload::PingPong,
    ),
    (
        "udp-20k",
        "20,000 round trips a second over 100 flows",
        Workload::Paced(20_000),
    ),
    (
        "udp-new",
        "every datagram a new flow, up to 15,000",
        Workload::Many,
    ),
];

/// Runs everything that is asked for, prints the table and writes it.
pub fn run(options: &Options) -> Result<()> {
    if options.list {
        for (name, says, _) in WORKLOADS {
            println!("{name:<22}{says}");
        }
        return Ok(());
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|o| o == name);
    let workloads: Vec<_> = WORKLOADS.into_iter().filter(|w| wanted(w.0)).collect();
    ensure!(!workloads.is_empty(), "no row has that name; --list");
    host::pin_generator()?;
    let folder = std::env::temp_dir().join(format!("portolan-udp-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let kinds = kinds(options, &folder)?;
    let mut table = Table::default();
    for (name, says, workload) in workloads {
        for rep in 0..options.reps {
            // Interleaved, and backwards every other time, so that a drift of the machine meets all alike.
            let mut order = kinds.clone();
            if rep % 2 == 1 {
                order.reverse();
            }
            for kind in order {
                eprint!("\r{name} {}/{} {:<10}", rep + 1, options.reps, kind.name());
                let target = Target::start(kind, &options.portolan, &folder)?;
                let figures = once(workload, &target, options.length);
                let figures = figures.with_context(|| format!("{name} through {}", kind.name()))?;
                for (row, figure) in figures {
                    table.add(name, says, kind.name(), row, figure);
                }
            }
        }
        eprintln!();
    }
    let _ = fs::remove_dir_all(&folder);
    let text = table.markdown(&host::description());
    println!("{text}");
    if let Some(out) = &options.out {
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(out, text).with_context(|| out.display().to_string())?;
    }
    Ok(())
}

/// Whoever is asked for and can be started.
fn kinds(options: &Options, folder: &std::path::Path) -> Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        let named = options.targets.iter().any(|name| name == kind.name());
        if !options.targets.is_empty() && !named {
            continue;
        }
        match Target::start(kind, &options.portolan, folder) {
            Ok(_) => kinds.push(kind),
            Err(error) if kind == Kind::Portolan => return Err(error),
            Err(error) => eprintln!("LEFT OUT {}: {error:#}", kind.name()),
        }
    }
    Ok(kinds)
}

/// One repetition: the rows that it gives beside the workload's own, which has no suffix.
fn once(
    workload: Workload,
    target: &Target,
    length: Duration,
) -> Result<Vec<(&'static str, Figure)>> {
    let small = Shape {
        flows: 100,
        bytes: 64,
        train: 1,
        coalesced: false,
    };
    match workload {
        Workload::Rate(shape) => {
            let mut generator = Generator::new(target.address, shape)?;
            // Every flow is there before the clock runs.
            generator.visit_all(WINDOW)?;
            let window = if shape.train > 1 {
                shape.train * 12
            } else {
                WINDOW
            };
            Ok(vec![(
                "",
                timed(target, || generator.closed(window, length))?,
            )])
        }
        Workload::PingPong => {
            let mut generator = Generator::new(target.address, Shape { flows: 1, ..small })?;
            generator.visit_all(1)?;
            Ok(vec![("", timed(target, || generator.closed(1, length))?)])
        }
        Workload::Paced(rate) => {
            let mut generator = Generator::new(target.address, small)?;
            generator.visit_all(WINDOW)?;
            Ok(vec![("", timed(target, || generator.paced(rate, length))?)])
        }
        Workload::Many => many(
            target,
            Shape {
                flows: MANY,
                ..small
            },
            length,
        ),
    }
}

fn many(target: &Target, shape: Shape, length: Duration) -> Result<Vec<(&'static str, Figure)>> {
    // One flow first, so that what a target takes for the first of all is not counted.
    let mut first = Generator::new(target.address, Shape { flows: 1, ..shape })?;
    first.visit_all(1)?;
    drop(first);
    let before = (target.resident(), Kernel::now()?);
    let mut generator = Generator::new(target.address, shape)?;
    let began = timed(target, || generator.visit_all(WINDOW))?;
    let after = (target.resident(), Kernel::now()?);
    let mut rows = vec![("", began)];
    if target.kind != Kind::Direct {
        let flows = MANY as f64;
        let own = after.0.saturating_sub(before.0) as f64 / flows;
        let all = own + after.1.since(&before.1) as f64 / flows;
        rows.push((" memory a flow", Figure::bytes(all)));
        rows.push((" memory of its own", Figure::bytes(own)));
    }
    let steady = timed(target, || generator.closed(WINDOW, length))?;
    rows.push((" then all of them", steady));
    Ok(rows)
}

/// Runs it, and counts what the target's core did meanwhile.
fn timed(target: &Target, run: impl FnOnce() -> Result<Done>) -> Result<Figure> {
    let (began, before) = (Instant::now(), target.cpu());
    let done = run()?;
    let cpu = target.cpu().saturating_sub(before);
    ensure!(done.answered > 0, "nothing was answered");
    Ok(Figure::of(&done, cpu, began.elapsed()))
}
