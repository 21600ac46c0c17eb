//! The TOML file: text in, a valid [`Config`] out, or every error at once, each with line, column, key and remedy.
//! `run`, `check` and reload call [`load`]; single values are read by the command line and the API with the same
//! functions. Nothing downstream checks a value again.

mod accelerator;
mod announce;
mod api;
mod aws;
mod dns;
mod document;
mod endpoint_group;
mod health_check;
mod keys;
mod listener;
mod process;
mod report;
mod rules;
mod section;
mod typed;
mod values;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::keys::{KEYS, Key, KeyDefault, Table, reference_table};
pub use self::report::{Problem, Warning};
pub use self::values::{ValueError, duration, endpoint_host, show_duration, size};

use self::document::Position;
use self::report::Report;
use self::rules::Claims;
use self::section::Section;
use crate::model::Config;

/// A file is read whole; 100,000 endpoints are about 8 MiB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A file that can be served.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is allowed but probably not meant, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// Why a file cannot be served.
#[derive(Debug, Error)]
pub enum FileErrors {
    /// It could not be read at all.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was read, and these are its errors in the order of the file, one a line.
    #[error("{}", list(problems, *more))]
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
        /// How many further ones were found and left out.
        more: usize,
    },
}

impl FileErrors {
    /// The errors with a place in the file; none when it could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            FileErrors::Unreadable { .. } => &[],
            FileErrors::Invalid { problems, .. } => problems,
        }
    }
}

/// Reads the file at `path`. Relative paths in it are taken from where it lies.
pub fn load(path: &Path) -> Result<Loaded, FileErrors> {
    let bytes = read_bounded(path).map_err(|source| FileErrors::Unreadable {
        file: path.to_path_buf(),
        source,
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path),
        Err(error) => Err(not_utf8(&error, path)),
    }
}

/// Reads `text` as if it lay at `path`, which names it in messages and anchors the relative paths in it.
pub fn parse(text: &str, path: &Path) -> Result<Loaded, FileErrors> {
    let report = Report::default();
    let document = document::parse(text, &report);
    let config = document.as_ref().and_then(|table| {
        let root = Section::root(table.get_ref(), &report);
        config(&root, path.parent().unwrap_or(Path::new("")))
    });
    let findings = report.finish(text, path);
    match config {
        Some(config) if findings.errors.is_empty() => Ok(Loaded {
            config,
            warnings: findings.warnings,
        }),
        _ => Err(FileErrors::Invalid {
            problems: findings.errors,
            more: findings.more,
        }),
    }
}

/// Reads every table before it gives up on any, so that all errors are found.
fn config(root: &Section<'_>, folder: &Path) -> Option<Config> {
    let mut claims = Claims::default();
    let pop = process::pop(root, folder, &mut claims);
    let admin = process::admin(root, folder, &mut claims);
    let readiness = process::readiness(root, &mut claims);
    let shutdown_drain = process::shutdown_drain(root);
    let upgrade_drain = process::upgrade_drain(root);
    let log = process::log(root, folder);
    let limits = process::limits(root);
    let resolver = process::resolver(root);
    let api = api::api(root, folder, &mut claims);
    let aws = aws::aws(root, &mut claims);
    let store = api::store(root, folder);
    let endpoint_aliases = api::endpoint_aliases(root);
    let accelerators = accelerator::accelerators(root, &mut claims);
    let dns = dns::dns(
        root,
        pop.as_ref(),
        readiness.flatten().map(|listen| listen.port()),
        accelerators.as_deref(),
        root.gives(Table::Api.name()) || root.gives(Table::Aws.name()),
        root.gives(Table::Aws.name()),
    );
    let announce = announce::announce(root, folder);
    claims.check(root.report());
    Some(Config {
        pop: pop?,
        admin: admin?,
        readiness: readiness?,
        shutdown_drain: shutdown_drain?,
        upgrade_drain: upgrade_drain?,
        log: log?,
        limits: limits?,
        resolver: resolver?,
        api: api?,
        aws: aws?,
        store: store?,
        endpoint_aliases: endpoint_aliases?,
        dns: dns?,
        announce: announce?,
        accelerators: accelerators?,
    })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error, path: &Path) -> FileErrors {
    let valid = error.utf8_error().valid_up_to();
    let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
    let Position { line, column } = document::position(&before, before.len());
    FileErrors::Invalid {
        problems: vec![Problem {
            file: path.to_path_buf(),
            line,
            column,
            key: document::key_at(&before, before.len()),
            what: "not UTF-8 text".into(),
            remedy: "save the file as UTF-8".into(),
        }],
        more: 0,
    }
}

fn list(problems: &[Problem], more: usize) -> String {
    let mut lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    if more > 0 {
        lines.push(format!("and {more} more errors"));
    }
    lines.join("\n")
}
