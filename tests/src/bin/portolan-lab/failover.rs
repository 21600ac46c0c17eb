//! How soon a dead place is left: faults in the lab, many times each, Portolan beside HAProxy and Envoy, and the report about it.

mod clients;
mod contestants;
mod disturbances;
mod faults;
mod place;
mod plot;
mod pops;
mod report;
mod run;
mod statistics;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use contestants::Contestant;
use faults::Fault;
use pops::PopFault;
use run::Sample;

/// `run FAULT RUNS FOLDER [WHO…]`, `disturb MINUTES FOLDER` or `report FOLDER INTO`.
pub(crate) async fn run(words: &[&str]) -> Result<ExitCode> {
    match words {
        ["disturb", minutes, folder] => {
            disturbances::run(
                minutes.parse().context("how many minutes?")?,
                Path::new(folder),
            )
            .await
        }
        ["run", fault, runs, folder] if PopFault::named(fault).is_some() => {
            let runs = runs.parse().context("how many runs?")?;
            let fault = PopFault::named(fault).context("it was there")?;
            pops::strike(fault, runs, Path::new(folder)).await
        }
        ["run", fault, runs, folder, who @ ..] => {
            let found = Fault::ALL.into_iter().find(|known| known.word() == *fault);
            let Some(fault) = found else {
                bail!("{fault}: {}", Fault::ALL.map(Fault::word).join(" | "));
            };
            let runs = runs.parse().context("how many runs?")?;
            strike(fault, runs, Path::new(folder), &chosen(who)?).await
        }
        ["report", folder, into] => {
            report::write(Path::new(folder), Path::new(into))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!(
            "failover run FAULT RUNS FOLDER [WHO…] | disturb MINUTES FOLDER | report FOLDER INTO"
        ),
    }
}

/// Those that are named, or all, as far as they are here.
fn chosen(words: &[&str]) -> Result<Vec<Contestant>> {
    let known = Contestant::ALL.map(Contestant::word);
    if let Some(unknown) = words.iter().find(|word| !known.contains(word)) {
        bail!("{unknown}: {}", known.join(" | "));
    }
    let wanted = |who: &Contestant| words.is_empty() || words.contains(&who.word());
    let all = Contestant::ALL.into_iter();
    Ok(all.filter(wanted).filter(|who| who.is_here()).collect())
}

/// Adds `runs` runs to what there is.
async fn strike(fault: Fault, runs: usize, folder: &Path, who: &[Contestant]) -> Result<ExitCode> {
    std::fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{}.jsonl", fault.word())))?;
    for number in 1..=runs {
        let began = Instant::now();
        let Some(samples) = run::once(fault, who).await? else {
            return Ok(ExitCode::FAILURE);
        };
        for sample in &samples {
            // In one write: others may add to it at the same time.
            file.write_all(format!("{}\n", serde_json::to_string(sample)?).as_bytes())?;
        }
        println!(
            "{} {number}/{runs} in {:.1?}: {}",
            fault.word(),
            began.elapsed(),
            shown(&samples)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(samples: &[Sample]) -> String {
    let one = |sample: &Sample| format!("{} {} {}ms", sample.contestant, sample.rtt, sample.last);
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}
