//! Text to a TOML document whose every key and value knows its place, and places to lines and columns. Knows no key of ours.

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::report::{MAX_ERRORS, Report};
use super::values::ValueError;

/// Line and column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Where the lines of a text begin.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(after_newlines).collect();
        Lines { text, starts }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = self.text[start..offset].chars().filter(|c| *c != BOM);
        Position {
            line,
            column: column.count() + 1,
        }
    }
}

/// Windows editors put it first; nobody sees it, so it is no column.
const BOM: char = '\u{feff}';

/// The position of one offset.
pub(super) fn position(text: &str, offset: usize) -> Position {
    Lines::of(text).position(offset)
}

/// The document, as far as it can be understood: `None` when what is broken leaves its structure in doubt, so that
/// reading on would only invent errors. Every syntax error is reported either way.
pub(super) fn parse<'t>(text: &'t str, report: &Report) -> Option<Spanned<DeTable<'t>>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(MAX_ERRORS) {
        let span = error.span().unwrap_or(0..0);
        let wrong = text.get(span.clone()).unwrap_or("");
        report.syntax(span.start, key_at(text, span.start), fault(error, wrong));
    }
    report.left_out(errors.len().saturating_sub(MAX_ERRORS));
    errors.iter().all(stays_in_its_value).then_some(table)
}

const DUPLICATE: &str = "duplicate key";
const UNQUOTED: &str = "string values must be quoted";
const BOOLEAN: &str = "invalid boolean";

/// Whether the parser knew where the broken value ends. An unknown message counts as structural, which is the safe side.
fn stays_in_its_value(error: &Error) -> bool {
    [DUPLICATE, UNQUOTED, BOOLEAN]
        .iter()
        .any(|known| error.message().starts_with(known))
}

fn fault(error: &Error, wrong: &str) -> ValueError {
    let message = error.message();
    if message.starts_with(DUPLICATE) {
        return ValueError::new(
            format!("`{wrong}` is given twice"),
            "remove one of the two".into(),
        );
    }
    if message.starts_with(UNQUOTED) || message.starts_with(BOOLEAN) {
        return ValueError::new(
            format!("`{wrong}` is not a TOML value"),
            format!("put text in quotes, \"{wrong}\"; true, false and numbers stand bare"),
        );
    }
    let (what, expected) = match message.split_once(", expected ") {
        Some((what, expected)) => (what, format!("expected {expected}")),
        None => (message, "correct the TOML here".into()),
    };
    ValueError::new(format!("not TOML: {what}"), expected)
}

/// How far back a header is looked for: keeps a large file of garbage from being read once an error.
const HEADER_WITHIN: usize = 64 * 1024;

/// The key on the line of `offset`, below the header above it: a guess for text that did not parse.
pub(super) fn key_at(text: &str, offset: usize) -> String {
    let offset = text.floor_char_boundary(offset);
    let line_start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    if let Some(header) = header(line) {
        return header.to_string();
    }
    let from = text.floor_char_boundary(line_start.saturating_sub(HEADER_WITHIN));
    let table = text[from..line_start].lines().rev().find_map(header);
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let key = key.filter(|key| is_dotted_key(key));
    match (table, key) {
        (Some(table), Some(key)) => format!("{table}.{key}"),
        (Some(table), None) => table.to_string(),
        (None, Some(key)) => key.to_string(),
        (None, None) => "syntax".to_string(),
    }
}

fn header(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = line.strip_prefix("[[").or_else(|| line.strip_prefix('['))?;
    let name = name.split([']', '#']).next().unwrap_or(name).trim();
    let ports = name.bytes().all(|b| b.is_ascii_digit());
    (is_dotted_key(name) && !ports).then_some(name)
}

fn is_dotted_key(text: &str) -> bool {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !text.is_empty() && text.bytes().all(bare)
}
