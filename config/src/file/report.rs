//! Where the reader notes what it finds while it goes on reading, and how that is shown to the operator.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{Lines, Position};
use super::values::{ValueError, printable};

/// More than anybody reads; a file of garbage must not make a list as large as itself.
pub(super) const MAX_ERRORS: usize = 1000;

/// The same bound for warnings; those beyond it are dropped.
const MAX_WARNINGS: usize = 1000;

/// Something found at a place in the file: `file:line:column: key: what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As it was named on the command line.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The dotted path of the key, such as `accelerator[0].listener[1].ports`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// A problem that keeps nothing from running.
pub type Warning = Problem;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            file,
            line,
            column,
            key,
            what,
            remedy,
        } = self;
        let file = file.display();
        write!(f, "{file}:{line}:{column}: {key}: {what}; {remedy}")
    }
}

impl std::error::Error for Problem {}

/// Collects errors and warnings by byte offset.
#[derive(Default)]
pub(super) struct Report {
    errors: RefCell<Vec<Found>>,
    warnings: RefCell<Vec<Found>>,
    more: Cell<usize>,
    /// Lines on which the TOML itself is broken: what was recovered there is a guess that deserves no second error.
    broken: RefCell<Vec<usize>>,
}

struct Found {
    kind: Kind,
    offset: usize,
    key: String,
    what: String,
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syntax,
    Value,
    Missing,
}

/// What a report comes to.
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) more: usize,
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    /// The value at `offset` is wrong.
    pub(super) fn error(&self, offset: usize, key: String, fault: ValueError) {
        self.push(Kind::Value, offset, key, fault);
    }

    /// A required key is absent; `offset` is that of the table which should hold it.
    pub(super) fn missing(&self, offset: usize, key: String, fault: ValueError) {
        self.push(Kind::Missing, offset, key, fault);
    }

    /// The TOML itself is broken.
    pub(super) fn syntax(&self, offset: usize, key: String, fault: ValueError) {
        self.broken.borrow_mut().push(offset);
        self.push(Kind::Syntax, offset, key, fault);
    }

    /// Allowed, but probably not meant.
    pub(super) fn warn(&self, offset: usize, key: String, fault: ValueError) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MAX_WARNINGS {
            warnings.push(Found::new(Kind::Value, offset, key, fault));
        }
    }

    /// So many more errors were found that nobody will read.
    pub(super) fn left_out(&self, more: usize) {
        self.more.set(self.more.get() + more);
    }

    fn push(&self, kind: Kind, offset: usize, key: String, fault: ValueError) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MAX_ERRORS {
            errors.push(Found::new(kind, offset, key, fault));
        } else {
            self.left_out(1);
        }
    }

    /// Sorts what was found by place, and gives it lines and columns.
    pub(super) fn finish(self, text: &str, path: &Path) -> Findings {
        let lines = Lines::of(text);
        let broken: Vec<usize> = self
            .broken
            .into_inner()
            .into_iter()
            .map(|offset| lines.position(offset).line)
            .collect();
        let errors = self.errors.into_inner().into_iter().filter(|found| {
            let guessed = match found.kind {
                Kind::Syntax => false,
                Kind::Value => broken.contains(&lines.position(found.offset).line),
                Kind::Missing => !broken.is_empty(),
            };
            !guessed
        });
        let errors = show(errors.collect(), &lines, path);
        let warnings = show(self.warnings.into_inner(), &lines, path);
        Findings {
            errors,
            more: self.more.get(),
            warnings,
        }
    }
}

impl Found {
    fn new(kind: Kind, offset: usize, key: String, fault: ValueError) -> Self {
        let ValueError { what, remedy } = fault;
        Found {
            kind,
            offset,
            key: printable(&key),
            what,
            remedy,
        }
    }
}

fn show(mut found: Vec<Found>, lines: &Lines<'_>, path: &Path) -> Vec<Problem> {
    found.sort_by_key(|found| found.offset);
    found
        .into_iter()
        .map(|found| {
            let Position { line, column } = lines.position(found.offset);
            Problem {
                file: path.to_path_buf(),
                line,
                column,
                key: found.key,
                what: found.what,
                remedy: found.remedy,
            }
        })
        .collect()
}
