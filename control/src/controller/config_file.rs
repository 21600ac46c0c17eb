//! Following the configuration file: when to look at it, when to read it, and who waits for a reading.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::handle::{ReloadError, ReloadOutcome};
use crate::reload::{self, Read, Stamp, Watch};

/// A file is read this long after the last hint that it changed: whoever writes it may need several steps.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// The file is looked at this often when no hint comes: network file systems give none.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Who waits for a reading.
type Reply = oneshot::Sender<Result<ReloadOutcome, ReloadError>>;

/// The file and where its reading stands.
pub(super) struct ConfigFile {
    path: PathBuf,
    watch: Option<Watch>,
    /// Of the content that was last read.
    stamp: Option<Stamp>,
    /// When to read it.
    due: Option<Instant>,
    next_look: Instant,
    reading: Option<JoinHandle<Read>>,
    /// Who waits for the reading under way, and for the one after it.
    waiting: Vec<Reply>,
    waiting_next: Vec<Reply>,
}

pub(super) enum FileNews {
    /// Something in its folder changed.
    Hint,
    /// A reading has ended.
    Read(Box<Read>),
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf, now: Instant) -> ConfigFile {
        let watch = Watch::start(&path)
            .inspect_err(|error| {
                let every = LOOK_EVERY.as_secs();
                tracing::warn!(
                    "{}: looked at every {every} s, for it cannot be watched: {error}",
                    path.display()
                );
            })
            .ok();
        ConfigFile {
            path,
            watch,
            // It was read before anybody watched it: once more, in case it changed in between.
            stamp: None,
            due: Some(now),
            next_look: now + LOOK_EVERY,
            reading: None,
            waiting: Vec::new(),
            waiting_next: Vec::new(),
        }
    }

    /// The next thing to know about the file; never when there is none.
    pub(super) async fn news(file: &mut Option<ConfigFile>) -> FileNews {
        let Some(ConfigFile {
            watch,
            reading,
            stamp,
            ..
        }) = file
        else {
            return std::future::pending().await;
        };
        let hint = async {
            match watch {
                Some(watch) => watch.hint().await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match reading {
                Some(reading) => reading.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hint => FileNews::Hint,
            read = read => FileNews::Read(Box::new(read.unwrap_or_else(|error| Read {
                stamp: *stamp,
                outcome: Err(error.to_string()),
            }))),
        }
    }

    /// Its folder changed.
    pub(super) fn hint(&mut self, now: Instant) {
        // The first hint counts: a folder that never rests, such as one with a log in it, must not put the reading off for ever.
        self.due.get_or_insert(now + DEBOUNCE);
    }

    /// When to keep time again.
    pub(super) fn next(&self) -> Instant {
        self.due
            .map_or(self.next_look, |due| due.min(self.next_look))
    }

    /// Begins what is due.
    pub(super) fn keep_time(&mut self, now: Instant) {
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.due.get_or_insert(now);
        }
        if self.due.is_some_and(|due| now >= due) {
            // A reading under way may have begun before the change.
            self.due = self.reading.is_some().then(|| now + DEBOUNCE);
            let stamp = Stamp::of(&self.path);
            if self.reading.is_none() && stamp.is_some() && stamp != self.stamp {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let path = self.path.clone();
        self.reading = Some(tokio::task::spawn_blocking(move || reload::read(path)));
    }

    /// Reads it now, whatever its stamp. A reading under way may have begun before the change that is asked for.
    pub(super) fn ask(&mut self, reply: Reply) {
        if self.reading.is_some() {
            self.waiting_next.push(reply);
        } else {
            self.waiting.push(reply);
            self.begin();
        }
    }

    /// A reading has ended: who waited for it. Begins the next one, if somebody waits for that.
    pub(super) fn was_read(&mut self, stamp: Option<Stamp>) -> Vec<Reply> {
        self.stamp = stamp;
        self.reading = None;
        let waited = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.waiting_next));
        if !self.waiting.is_empty() {
            self.begin();
        }
        waited
    }
}
