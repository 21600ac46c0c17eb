//! The command line of `portolan-load`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What it says when it is asked wrongly, or for this.
pub const HELP: &str = "portolan-load [profile] [--quick] [--reps N] [--seconds S] [--only WORKLOAD,…] [--targets NAME,…] [--portolan PATH] [--out DIR] [--add] [--idle FLOWS] [--list]";

/// Targets of a quick run: everybody once, as they come.
const QUICK_TARGETS: &str = "direct,portolan,haproxy,nginx,envoy";

/// What is asked for.
pub struct Options {
    /// Repetitions.
    pub reps: usize,
    /// Length of each.
    pub length: Duration,
    /// Workloads; all when empty.
    pub only: Vec<String>,
    /// Targets; all when empty.
    pub targets: Vec<String>,
    /// The binary.
    pub portolan: PathBuf,
    /// Where the report goes; nowhere when absent.
    pub out: Option<PathBuf>,
    /// What is in that folder of other workloads stays: a run in parts.
    pub add: bool,
    /// Flows of the workloads that hold flows.
    pub idle: usize,
    /// The workloads are named and nothing is run.
    pub list: bool,
    /// The usage is told and nothing is run.
    pub help: bool,
}

impl Options {
    /// Reads the process's arguments.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            reps: 5,
            length: Duration::from_secs(1),
            only: Vec::new(),
            targets: Vec::new(),
            portolan: PathBuf::from("target/release/portolan"),
            out: None,
            add: false,
            idle: 9000,
            list: false,
            help: false,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} wants a value; {HELP}"))
            };
            match argument.as_str() {
                "--quick" => {
                    (options.reps, options.length) = (3, Duration::from_millis(300));
                    options.idle = 3000;
                    options.targets = words(QUICK_TARGETS);
                }
                "--reps" => options.reps = value()?.parse()?,
                "--seconds" => options.length = Duration::from_secs_f64(value()?.parse()?),
                "--only" => options.only = words(&value()?),
                "--targets" => options.targets = words(&value()?),
                "--portolan" => options.portolan = value()?.into(),
                "--out" => options.out = Some(value()?.into()),
                "--add" => options.add = true,
                "--idle" => options.idle = value()?.parse()?,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                _ => bail!("{argument} is not known; {HELP}"),
            }
        }
        Ok(options)
    }

    /// Whether a workload is wanted: by its name, or by the part of it before a number.
    pub fn wants(&self, workload: &str) -> bool {
        let family = workload.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        let named = |only: &String| only == workload || only == family;
        self.only.is_empty() || self.only.iter().any(named)
    }

    /// Whether a target is wanted.
    pub fn wants_target(&self, name: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target == name)
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_that_is_asked_for_is_no_error() {
        for word in ["--help", "-h"] {
            let options = Options::read([word.to_owned()].into_iter()).expect("it is known");
            assert!(options.help);
        }
        assert!(Options::read(["--halp".to_owned()].into_iter()).is_err());
    }
}
