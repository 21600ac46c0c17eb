//! The configuration file over the life of the process: when it has changed, what it says now, and which of its changes
//! take effect at the next start only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use portolan_config::file::{self, Loaded};
use portolan_config::model::{Config, Pop};
use tokio::sync::mpsc;

/// One hint that the folder changed is as good as many.
const PENDING_HINTS: usize = 1;

/// What tells one content of a file from another, cheaply. Follows links, so that a swapped link is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    /// `None` when there is no file, which is no content to reload.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        let meta = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: meta.modified().ok(),
            bytes: meta.len(),
            inode: meta.ino(),
        })
    }
}

/// Hints that something in the file's folder changed. The folder and not the file: editors and deployment tools replace the
/// file by another one, which a watch on the file would not see.
pub(crate) struct Watch {
    hints: mpsc::Receiver<()>,
    // Dropped, it stops watching.
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches the folder of `path`.
    pub(crate) fn start(path: &Path) -> notify::Result<Watch> {
        let (sender, hints) = mpsc::channel(PENDING_HINTS);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading the file raises access events; taking those for changes would never end.
                if !event.is_ok_and(|event| event.kind.is_access()) {
                    // A full channel holds the same hint already.
                    let _ = sender.try_send(());
                }
            })?;
        watcher.watch(folder_of(path), RecursiveMode::NonRecursive)?;
        Ok(Watch {
            hints,
            _watcher: watcher,
        })
    }

    /// The next hint. Never returns once the watcher has died: the periodic look at the stamp goes on.
    pub(crate) async fn hint(&mut self) {
        if self.hints.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// What a reading of the file gave.
pub(crate) struct Read {
    /// Taken before the reading: a change in between is seen as one.
    pub(crate) stamp: Option<Stamp>,
    /// The content, or every error of it, a line each.
    pub(crate) outcome: Result<Loaded, String>,
}

/// Reads the file. Blocks.
pub(crate) fn read(path: PathBuf) -> Read {
    let stamp = Stamp::of(&path);
    let outcome = file::load(&path).map_err(|errors| errors.to_string());
    Read { stamp, outcome }
}

/// Sentences about what differs from the configuration that the process started with and cannot change under way.
pub(crate) fn needs_restart(started_with: &Config, now: &Config) -> Vec<String> {
    let Config {
        pop:
            Pop {
                name: _,
                addresses: _,
                workers,
                io_engine,
                splice,
                state_file,
                port_steering,
            },
        admin,
        readiness,
        shutdown_drain: _,
        upgrade_drain: _,
        log,
        limits,
        resolver: _,
        api,
        store,
        aws: _,
        endpoint_aliases: _,
        dns: _,
        announce: _,
        accelerators: _,
    } = started_with;
    let changed = [
        ("[pop] workers", *workers != now.pop.workers),
        ("[pop] io_engine", *io_engine != now.pop.io_engine),
        ("[pop] splice", *splice != now.pop.splice),
        ("[pop] state_file", *state_file != now.pop.state_file),
        (
            "[pop] port_steering",
            *port_steering != now.pop.port_steering,
        ),
        ("[admin]", *admin != now.admin),
        ("[readiness]", *readiness != now.readiness),
        ("[log]", *log != now.log),
        ("[limits]", *limits != now.limits),
        ("[api]", *api != now.api),
        ("[store]", *store != now.store),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed
        .map(|(what, _)| {
            format!("{what} was changed in the file and takes effect at the next start")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(text: &str) -> Config {
        file::parse(text, Path::new("test.toml"))
            .expect("a valid file")
            .config
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = config("");
        assert_eq!(
            needs_restart(&old, &config("[shutdown]\ndrain = \"1s\"")),
            Vec::<String>::new()
        );
        let new = config(
            "[pop]\nworkers = 3\n[admin]\nlisten = \"127.0.0.1:9911\"\n[log]\nformat = \"json\"",
        );
        let named = needs_restart(&old, &new).join("\n");
        for key in ["[pop] workers", "[admin]", "[log]"] {
            assert!(named.contains(key), "{key} in {named}");
        }
        assert_eq!(needs_restart(&old, &new).len(), 3);
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_raises_a_hint() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("portolan.toml");
        fs::write(&path, "a").expect("written");
        let before = Stamp::of(&path);
        let mut watch = Watch::start(&path).expect("a watch");
        fs::write(folder.path().join("new"), "b").expect("written");
        fs::rename(folder.path().join("new"), &path).expect("replaced");
        let hint = tokio::time::timeout(Duration::from_secs(20), watch.hint());
        hint.await.expect("a hint");
        assert_ne!(Stamp::of(&path), before);
        fs::remove_file(&path).expect("removed");
        assert_eq!(Stamp::of(&path), None);
    }
}
