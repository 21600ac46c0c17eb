//! Runs the load workloads against every target, interleaved, prints the tables, and writes them with charts and raw figures.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use portolan_benches::endpoint;
use portolan_benches::measure::{Endpoints, Plan};
use portolan_benches::options::Options;
use portolan_benches::peer::{Kind, Target};
use portolan_benches::profile;
use portolan_benches::report::{self, Row, Sample};
use portolan_benches::udp;
use portolan_benches::workload::{self, Workload};
use portolan_benches::write;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("endpoints").is_some() {
        return endpoint::serve();
    }
    if arguments.next_if_eq("udp").is_some() {
        return udp::run(&udp::Options::read(arguments)?);
    }
    let profile = arguments.next_if_eq("profile").is_some();
    let options = Options::read(arguments)?;
    let mut workloads = workload::all();
    workloads.retain(|workload| options.wants(&workload.name()));
    ensure!(!workloads.is_empty(), "no workload has that name; --list");
    if options.list {
        for workload in &workloads {
            println!("{:<16}{}", workload.name(), workload.says());
        }
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("portolan-load-{}", std::process::id()));
    let plan = Plan {
        reps: options.reps,
        length: options.length,
        idle: options.idle,
        portolan: options.portolan.clone(),
        folder: folder.clone(),
    };
    fs::create_dir_all(&folder)?;
    let done = if profile {
        Endpoints::start().and_then(|_endpoints| profile::print(&plan))
    } else {
        run(&plan, &options, &workloads)
    };
    let _ = fs::remove_dir_all(folder);
    done
}

fn run(plan: &Plan, options: &Options, workloads: &[Box<dyn Workload>]) -> Result<()> {
    let _endpoints = Endpoints::start()?;
    let mut targets = start(plan, options)?;
    let mut samples = Vec::new();
    let mut rows = Vec::new();
    for workload in workloads {
        plan.measure(workload.as_ref(), &mut targets, &mut samples)?;
        rows = report::rows(&samples);
        // A run takes minutes; one that is cut short has told what it had measured.
        if let Some(out) = &options.out {
            publish(out, plan, &targets, workloads, &samples, &rows)?;
        }
    }
    println!("{}", report::tables(&rows, workloads));
    println!("{}", report::judgements(&report::judge(&rows)));
    Ok(())
}

fn start(plan: &Plan, options: &Options) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for kind in Kind::ALL {
        if !options.wants_target(kind.name()) {
            continue;
        }
        match plan.start(kind) {
            Ok(target) => targets.push(target),
            Err(error) if kind == Kind::Portolan => return Err(error),
            Err(error) => eprintln!("LEFT OUT {}: {error:#}", kind.name()),
        }
    }
    Ok(targets)
}

fn publish(
    out: &Path,
    plan: &Plan,
    targets: &[Target],
    workloads: &[Box<dyn Workload>],
    samples: &[Sample],
    rows: &[Row],
) -> Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let report = write::Report {
        plan,
        targets,
        workloads,
        samples,
        rows,
    };
    report.write(out)
}
