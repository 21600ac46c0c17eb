//! Runs the load workloads against every target, interleaved, prints the tables, and writes them with charts and raw figures.

use std::fs;

use anyhow::{Result, ensure};
use portolan_benches::endpoint;
use portolan_benches::measure::{Endpoints, Plan};
use portolan_benches::options::{HELP, Options};
use portolan_benches::peer::{Kind, Target};
use portolan_benches::profile;
use portolan_benches::report;
use portolan_benches::workload::{self, Workload};
use portolan_benches::write::Book;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("endpoints").is_some() {
        return endpoint::serve();
    }
    let profile = arguments.next_if_eq("profile").is_some();
    let options = Options::read(arguments)?;
    if options.help {
        println!("{HELP}");
        return Ok(());
    }
    let mut workloads = workload::all();
    workloads.retain(|workload| options.wants(&workload.name()));
    ensure!(!workloads.is_empty(), "no workload has that name; --list");
    if options.list {
        for workload in &workloads {
            println!("{:<20}{}", workload.name(), workload.says());
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
    let mut book = Book::open(options, workloads)?;
    let mut targets = start(plan, options, &mut book)?;
    for workload in workloads {
        plan.measure(workload.as_ref(), &mut targets, &mut book)?;
        // A run takes minutes; one that is cut short has told what it had measured.
        if let Some(out) = &options.out {
            book.write(out, plan, &targets)?;
        }
    }
    let rows = report::rows(&book.samples);
    println!("{}", report::tables(&rows, &workload::all()));
    println!("{}", report::judgements(&report::judge(&rows)));
    Ok(())
}

fn start(plan: &Plan, options: &Options, book: &mut Book) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for kind in Kind::ALL {
        if !options.wants_target(kind.name()) {
            continue;
        }
        match plan.start(kind) {
            Ok(target) => targets.push(target),
            Err(error) if kind == Kind::Portolan => return Err(error),
            Err(error) => book.leave_out(format!("{}: {error:#}", kind.name())),
        }
    }
    Ok(targets)
}
