//! What outlives the process: records of the API, as JSON under a key. Every commit is one transaction, durable before it
//! returns. [`Store`] is the seam for another store beside the embedded one; the API asks for nothing else.

mod embedded;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::embedded::Embedded;

/// The form of the records. A newer one is refused, an older one is to be brought up when it is opened.
pub const SCHEMA: u32 = 1;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Accelerators of both kinds.
    Accelerators,
    /// Listeners.
    Listeners,
    /// Endpoint groups.
    EndpointGroups,
    /// Cross-account attachments.
    Attachments,
    /// Address ranges that were brought along.
    ByoipCidrs,
    /// Answers of creates, by idempotency token.
    Tokens,
    /// Single values.
    Meta,
}

impl Table {
    /// All of them, parents before children.
    pub const ALL: [Table; 7] = [
        Table::Accelerators,
        Table::Listeners,
        Table::EndpointGroups,
        Table::Attachments,
        Table::ByoipCidrs,
        Table::Tokens,
        Table::Meta,
    ];
}

/// One change: a record put in its place, or taken away.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: String,
    /// What; `None` takes it away.
    pub value: Option<Value>,
}

/// All records.
pub type Records = BTreeMap<Table, BTreeMap<String, Value>>;

/// A store. Calls block for as long as the disk takes.
pub trait Store: Send + Sync {
    /// Everything that is in it.
    fn load(&self) -> Result<Records, StoreError>;

    /// Takes all the changes or none, and returns when they would survive a crash.
    fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Why records cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{}: another process has it open", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer Portolan.
    #[error("{}: its schema is {found}, and this Portolan knows up to {SCHEMA}; run the one that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A record cannot be read.
    #[error("{}: the record {table:?} {key:?} is broken: {source}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Its table.
        table: Table,
        /// Its key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It was let go for a successor.
    #[error("the store is with the successor of this process")]
    Released,
    /// It failed a moment ago, and is not asked again yet.
    #[error("the store failed a moment ago: {0}")]
    Resting(String),
    /// The disk or the file failed.
    #[error("{}: {source}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What `portolan store export` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The form of the records.
    pub schema: u32,
    /// The records.
    pub records: Records,
}
