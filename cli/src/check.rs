//! `portolan check`: reads a file as `run` would and says what would be served, what is doubtful about it, and under which limits.
//! Opens no socket and asks nobody, so that it can be run anywhere.

mod summary;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use portolan_config::file::{self, FileErrors, Loaded, Problem};
use serde::Serialize;

use crate::args::{EXIT_DONE, EXIT_INVALID_FILE};
use crate::client::{print, print_json};
use crate::limits::{self, Effective, Unmet};
use crate::table::{Paint, Style};

use self::summary::summary;

/// What `portolan check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The TOML file
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: PathBuf,

    /// Print errors, warnings and limits as JSON
    #[arg(long)]
    json: bool,
}

/// `portolan check`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = match file::load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            if args.json {
                print_json(&Report::invalid(args, &errors))?;
            }
            return Ok(ExitCode::from(EXIT_INVALID_FILE));
        }
    };
    // Raised as `run` raises it, so that the figures are those of a `run` by this user.
    let descriptors = limits::raise_descriptors();
    if let Some(unmet) = Unmet::of(&loaded.config, descriptors) {
        eprintln!("{}: {unmet}", args.config.display());
        if args.json {
            print_json(&Report::unmet(args, &unmet))?;
        }
        return Ok(ExitCode::from(EXIT_INVALID_FILE));
    }
    let effective = Effective {
        descriptors,
        max_flows: limits::max_flows(&loaded.config),
        workers: limits::workers(&loaded.config),
        config: &loaded.config,
    };
    if args.json {
        print_json(&Report::valid(args, &loaded, &effective))?;
    } else {
        print(&told(args, &loaded, &effective, Paint::of_stdout()))?;
    }
    Ok(ExitCode::from(EXIT_DONE))
}

fn told(args: &Args, loaded: &Loaded, effective: &Effective<'_>, paint: Paint) -> String {
    let Loaded { config, warnings } = loaded;
    let mut out = format!(
        "{} {}\n\n",
        args.config.display(),
        paint.text(Style::Good, "is valid")
    );
    out += &summary(config, paint);
    if !warnings.is_empty() {
        out += &format!("\n{}\n", paint.text(Style::Notice, "Warnings"));
        for warning in warnings {
            out += &format!("  {}\n", paint.text(Style::Normal, &warning.to_string()));
        }
    }
    out += &format!(
        "\n{}\n{effective}\n",
        paint.text(Style::Strong, "Effective limits, of this user here")
    );
    out
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    file: String,
    errors: Vec<Finding>,
    /// Errors that were found and left out of the list.
    more_errors: usize,
    warnings: Vec<Finding>,
    limits: Vec<Limit>,
}

#[derive(Debug, Serialize)]
struct Finding {
    /// `null` when the file could not be read at all, like the two that follow, or when it asks for what this host does not have.
    line: Option<usize>,
    column: Option<usize>,
    key: Option<String>,
    what: String,
    remedy: Option<String>,
}

#[derive(Debug, Serialize)]
struct Limit {
    name: &'static str,
    value: String,
    by: String,
}

impl Report {
    fn invalid(args: &Args, errors: &FileErrors) -> Self {
        let (errors, more_errors) = match errors {
            FileErrors::Invalid { problems, more } => {
                (problems.iter().map(Finding::of).collect(), *more)
            }
            FileErrors::Unreadable { file: _, source } => {
                let what = format!("cannot be read: {source}");
                (
                    vec![Finding {
                        line: None,
                        column: None,
                        key: None,
                        what,
                        remedy: None,
                    }],
                    0,
                )
            }
        };
        Report {
            valid: false,
            file: args.config.display().to_string(),
            errors,
            more_errors,
            warnings: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Right, but not on this host.
    fn unmet(args: &Args, unmet: &Unmet) -> Self {
        Report {
            valid: false,
            file: args.config.display().to_string(),
            errors: vec![Finding {
                line: None,
                column: None,
                key: Some(unmet.key.clone()),
                what: unmet.what.clone(),
                remedy: Some(unmet.remedy.clone()),
            }],
            more_errors: 0,
            warnings: Vec::new(),
            limits: Vec::new(),
        }
    }

    fn valid(args: &Args, loaded: &Loaded, effective: &Effective<'_>) -> Self {
        let limit = |(name, value, by)| Limit { name, value, by };
        Report {
            valid: true,
            file: args.config.display().to_string(),
            errors: Vec::new(),
            more_errors: 0,
            warnings: loaded.warnings.iter().map(Finding::of).collect(),
            limits: effective.rows().into_iter().map(limit).collect(),
        }
    }
}

impl Finding {
    fn of(problem: &Problem) -> Self {
        let Problem {
            file: _,
            line,
            column,
            key,
            what,
            remedy,
        } = problem;
        Finding {
            line: Some(*line),
            column: Some(*column),
            key: Some(key.clone()),
            what: what.clone(),
            remedy: Some(remedy.clone()),
        }
    }
}
