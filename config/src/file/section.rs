//! One table of the file: hands out its keys by name, typed and with the default of [`KEYS`](super::KEYS), refuses the
//! unknown ones, and reports whatever is wrong without stopping.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KeyDefault, Table};
use super::report::Report;
use super::typed;
use super::values::ValueError;

/// A table, present or not. Every method that returns `None` has reported why.
pub(super) struct Section<'a> {
    report: &'a Report,
    table: Table,
    entries: Option<&'a DeTable<'a>>,
    offset: usize,
    path: String,
}

/// An element of an array with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) offset: usize,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(entries: &'a DeTable<'a>, report: &'a Report) -> Self {
        Self::open(report, Table::Root, entries, 0, String::new())
    }

    fn open(
        report: &'a Report,
        table: Table,
        entries: &'a DeTable<'a>,
        offset: usize,
        path: String,
    ) -> Self {
        let section = Section {
            report,
            table,
            entries: Some(entries),
            offset,
            path,
        };
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if !table.is_open() && !keys::is_known(table, name) {
                let key_path = section.path_of(name);
                report.error(key.span().start, key_path, keys::unknown(table, name));
            }
        }
        section
    }

    /// Where findings go.
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// The dotted path of this table.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The dotted path of a key in it.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Whether the file has this table.
    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// The keys that the file gives, in its order.
    pub(super) fn names(&self) -> Vec<String> {
        let Some(entries) = self.entries else {
            return Vec::new();
        };
        let mut names: Vec<(usize, String)> = entries
            .keys()
            .map(|key| (key.span().start, key.get_ref().to_string()))
            .collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// Whether the file gives this key.
    pub(super) fn gives(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Where the value of a key stands; without it, where the table begins.
    pub(super) fn offset_of(&self, name: &str) -> usize {
        self.entry(name)
            .map_or(self.offset, |entry| entry.span().start)
    }

    /// Reports an error at a key.
    pub(super) fn error(&self, name: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let fault = ValueError::new(what.into(), remedy.into());
        self.report
            .error(self.offset_of(name), self.path_of(name), fault);
    }

    /// Reports a warning at a key.
    pub(super) fn warn(&self, name: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let fault = ValueError::new(what.into(), remedy.into());
        self.report
            .warn(self.offset_of(name), self.path_of(name), fault);
    }

    /// The value of a key, else its default; a required one that is absent is an error.
    pub(super) fn get<T>(
        &self,
        name: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, ValueError>,
    ) -> Option<T> {
        if let Some(value) = self.optional(name, &read)? {
            return Some(value);
        }
        let value = self.default_of(name)?;
        let read = read(value.get_ref());
        Some(read.expect("the defaults of KEYS are within their own bounds"))
    }

    /// The value of a key when the file gives it.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, ValueError>,
    ) -> Option<Option<T>> {
        let Some(entry) = self.entry(name) else {
            return Some(None);
        };
        let judged = read(entry.get_ref());
        self.judge(judged, entry.span().start, || self.path_of(name))
            .map(Some)
    }

    /// The elements of an array, each with its place. All of them are read before the first error ends it.
    pub(super) fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, ValueError>,
    ) -> Option<Vec<Item<T>>> {
        let Some(entry) = self.entry(name) else {
            self.default_of(name)?;
            return Some(Vec::new());
        };
        let Some(array) = entry.get_ref().as_array() else {
            let fault = typed::wrong_type(entry.get_ref(), "an array in [brackets]");
            return self.judge(Err(fault), entry.span().start, || self.path_of(name));
        };
        let read = array.iter().enumerate().map(|(index, element)| {
            let offset = element.span().start;
            let path = || format!("{}[{index}]", self.path_of(name));
            let value = self.judge(read(element.get_ref()), offset, path)?;
            Some(Item { value, offset })
        });
        let read: Vec<Option<Item<T>>> = read.collect();
        read.into_iter().collect()
    }

    /// Like [`list`](Self::list), and none may come twice.
    pub(super) fn distinct<T: PartialEq + std::fmt::Display>(
        &self,
        name: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, ValueError>,
    ) -> Option<Vec<T>> {
        let items = self.list(name, read)?;
        let mut kept: Vec<T> = Vec::with_capacity(items.len());
        let mut all_distinct = true;
        for (index, item) in items.into_iter().enumerate() {
            if kept.contains(&item.value) {
                all_distinct = false;
                let fault = ValueError::new(
                    format!("{} is given twice", item.value),
                    "remove one of the two".into(),
                );
                let path = format!("{}[{index}]", self.path_of(name));
                self.report.error(item.offset, path, fault);
            } else {
                kept.push(item.value);
            }
        }
        all_distinct.then_some(kept)
    }

    /// A path of the file system, relative ones taken from `folder`.
    pub(super) fn path_in(&self, name: &str, folder: &Path) -> Option<Option<PathBuf>> {
        let given = self.optional(name, typed::path)?;
        Some(given.map(|path| folder.join(path)))
    }

    /// The table below this one. Absent, it is there without keys.
    pub(super) fn child(&self, table: Table) -> Option<Section<'a>> {
        let name = table.name();
        let path = self.path_of(name);
        let Some(entry) = self.entry(name) else {
            return Some(Section {
                report: self.report,
                table,
                entries: None,
                offset: self.offset,
                path,
            });
        };
        let offset = entry.span().start;
        match entry.get_ref().as_table() {
            Some(entries) => Some(Self::open(self.report, table, entries, offset, path)),
            None => {
                let fault = typed::wrong_type(entry.get_ref(), "a table");
                self.judge(Err(fault), offset, || path.clone())
            }
        }
    }

    /// The array of tables below this one; none when absent.
    pub(super) fn children(&self, table: Table) -> Option<Vec<Section<'a>>> {
        let name = table.name();
        let Some(entry) = self.entry(name) else {
            return Some(Vec::new());
        };
        let Some(array) = entry.get_ref().as_array() else {
            let expected = format!("an array of tables: {}", table.heading());
            let fault = typed::wrong_type(entry.get_ref(), &expected);
            return self.judge(Err(fault), entry.span().start, || self.path_of(name));
        };
        let sections = array.iter().enumerate().map(|(index, element)| {
            let offset = element.span().start;
            let path = format!("{}[{index}]", self.path_of(name));
            match element.get_ref().as_table() {
                Some(entries) => Some(Self::open(self.report, table, entries, offset, path)),
                None => {
                    let fault = typed::wrong_type(element.get_ref(), "a table { … }");
                    self.judge(Err(fault), offset, || path.clone())
                }
            }
        });
        let sections: Vec<Option<Section<'a>>> = sections.collect();
        // What can be read is read: an element that is no table has been reported.
        Some(sections.into_iter().flatten().collect())
    }

    fn entry(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.and_then(|entries| entries.get(name))
    }

    fn default_of(&self, name: &str) -> Option<Spanned<DeValue<'static>>> {
        match keys::find(self.table, name).default {
            KeyDefault::Value(text) => {
                Some(DeValue::parse(text).expect("the defaults of KEYS are TOML"))
            }
            KeyDefault::Required | KeyDefault::Absent(_) => {
                let fault =
                    ValueError::new("missing".into(), keys::remedy_missing(self.table, name));
                self.report.missing(self.offset, self.path_of(name), fault);
                None
            }
        }
    }

    fn judge<T>(
        &self,
        judged: Result<T, ValueError>,
        offset: usize,
        path: impl FnOnce() -> String,
    ) -> Option<T> {
        judged
            .map_err(|fault| self.report.error(offset, path(), fault))
            .ok()
    }
}
