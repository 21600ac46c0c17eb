//! Writes the state file beside the controller's task: the disk may take its time, and a failover may not wait for it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::drains::{self, Drains};

/// Saves drains, the newest last whatever order the threads run in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saver {
    path: Option<PathBuf>,
    /// Another process writes the file.
    elsewhere: bool,
    handed_out: u64,
    saved: Arc<Mutex<Saved>>,
}

/// How far it has come.
#[derive(Debug, Default)]
struct Saved {
    /// The newest that was tried.
    tried: u64,
    /// The newest that is in the file.
    there: u64,
}

impl Saver {
    /// Saves to `path`; nowhere when there is none.
    pub(crate) fn new(path: Option<PathBuf>) -> Saver {
        Saver {
            path,
            ..Saver::default()
        }
    }

    /// Leaves the file to another process, or has it back.
    pub(crate) fn leave(&mut self, elsewhere: bool) {
        self.elsewhere = elsewhere;
    }

    /// Where drains are saved.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether the file holds what was last to be saved. False while that is under way.
    pub(crate) fn is_saved(&self) -> bool {
        let saved = self.saved.try_lock();
        saved.is_ok_and(|saved| saved.there == self.handed_out)
    }

    /// Saves. The handle gives the error, when there is one.
    pub(crate) fn save(&mut self, drains: Drains) -> JoinHandle<Option<String>> {
        self.handed_out += 1;
        let (number, saved, path) = (self.handed_out, self.saved.clone(), self.path.clone());
        let path = path.filter(|_| !self.elsewhere);
        tokio::task::spawn_blocking(move || {
            let path = path?;
            let mut saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
            if saved.tried > number {
                // A newer save has everything that this one has.
                return None;
            }
            saved.tried = number;
            let Err(error) = drains::save(&path, &drains) else {
                saved.there = number;
                return None;
            };
            tracing::error!(
                "drains are in force but would not outlive this process: {}: {error}",
                path.display()
            );
            Some(format!("{}: {error}", path.display()))
        })
    }
}
