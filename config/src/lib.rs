//! The vocabulary of Portolan: model types, ids, units, the TOML file, and the snapshot that the data path runs on.
//! Every other crate speaks these words; this one depends on none of them and does no input or output but reading that file.

pub mod address;
pub mod clock;
pub mod doubt;
pub mod explain;
pub mod file;
pub mod flow;
pub mod health;
pub mod model;
pub mod selector;
pub mod signal;
pub mod snapshot;
pub mod stats;
pub mod units;
