//! What the rest of the process sees of the sync, and how it asks for one: state, metrics and the admin API read here, and none of
//! them ever waits for AWS.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::lookup::Lookup;
use super::map::{Note, Unreached};
use super::plan::Change;
use super::session::{Calls, ErrorClass};
use super::steady::Steady;

/// After this long without a whole reading it is told.
const STALE_SECONDS: u64 = 300;

/// After this long it is an error. What is served stays.
const OLD_SECONDS: u64 = 3600;

/// The sync, for people and machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AwsView {
    /// The account that everything is of.
    pub account: Option<String>,
    /// Readings since the start.
    pub cycle: u64,
    /// The last wish for a reading that was fulfilled, by its ticket.
    pub fulfilled: u64,
    /// Seconds since everything was last read to its end; `null` is never.
    pub age_seconds: Option<u64>,
    /// `fresh`, `stale` (5 minutes), `old` (an hour) or `never`. What is served stays.
    pub freshness: String,
    /// Accelerators that come from AWS and are served here.
    pub accelerators: usize,
    /// Why the last reading was not whole, a sentence each.
    pub errors: Vec<String>,
    /// Losses that wait for a second and third reading, or for the operator.
    pub held: Vec<Change>,
    /// What is not served or not reached, and why.
    pub notes: Vec<Note>,
    /// What was read and makes no sense.
    pub remarks: Vec<String>,
}

/// What the running sync publishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    pub(crate) view: AwsView,
    pub(crate) read_at: Option<SystemTime>,
    pub(crate) unreached: Vec<Unreached>,
}

/// What somebody wants of the sync.
pub(crate) enum Wish {
    /// Another reading, now.
    Sync {
        /// Losses that wait may go.
        accept_shrink: bool,
        /// What the wish is known by.
        ticket: u64,
    },
}

/// Why there is no sync to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSync {
    /// The file has no `[aws]`, or `import = false`.
    #[error("nothing is imported from AWS: the file has no [aws] with import = true")]
    Off,
    /// One is asked for already.
    #[error("a reading is asked for already")]
    Busy,
}

/// Between the sync and everybody else. There is one in every process; without a sync it is empty.
#[derive(Default)]
pub(crate) struct Door {
    published: ArcSwapOption<Published>,
    errors: [AtomicU64; ErrorClass::ALL.len()],
    wishes: Mutex<Option<mpsc::Sender<Wish>>>,
    paused: AtomicBool,
    tickets: AtomicU64,
    /// What the ids are that the API's endpoints have.
    lookup: Lookup,
    clock: Steady,
    calls: Arc<Calls>,
}

impl Door {
    /// The sync takes its place.
    pub(crate) fn open(&self, wishes: mpsc::Sender<Wish>) {
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner) = Some(wishes);
    }

    /// A successor reads AWS meanwhile, or does so no more.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    pub(crate) fn publish(&self, published: Option<Published>) {
        self.published.store(published.map(Arc::new));
    }

    pub(crate) fn count(&self, class: ErrorClass) {
        if let Some(index) = ErrorClass::ALL.iter().position(|known| *known == class) {
            self.errors[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Errors by class, in the order of [`ErrorClass::ALL`].
    pub(crate) fn errors(&self) -> [u64; ErrorClass::ALL.len()] {
        std::array::from_fn(|index| self.errors[index].load(Ordering::Relaxed))
    }

    /// Where calls to AWS are counted, whoever makes them.
    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// What every time of the sync is measured by.
    pub(crate) fn clock(&self) -> Steady {
        self.clock
    }

    /// Seconds since the last whole reading; 0 without a sync.
    pub(crate) fn age(&self) -> f64 {
        let published = self.published.load();
        let read_at = published.as_ref().and_then(|published| published.read_at);
        let age = read_at.and_then(|then| self.clock.since(then));
        age.map_or(0.0, |age| age.as_secs_f64())
    }

    /// What AWS has and this PoP cannot reach.
    pub(crate) fn unreached(&self) -> Vec<Unreached> {
        let published = self.published.load();
        let published = published.as_ref();
        published.map_or_else(Vec::new, |published| published.unreached.clone())
    }

    /// `None` where nothing is imported.
    pub(crate) fn view(&self) -> Option<AwsView> {
        let published = self.published.load_full()?;
        let age = published.read_at.and_then(|then| self.clock.since(then));
        let age = age.map(|age| age.as_secs());
        Some(AwsView {
            age_seconds: age,
            freshness: freshness(age).to_owned(),
            ..published.view.clone()
        })
    }

    /// Asks for a reading; the ticket that it is fulfilled by.
    pub(crate) fn ask(&self, accept_shrink: bool) -> Result<u64, NoSync> {
        self.published.load().as_ref().ok_or(NoSync::Off)?;
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let wishes = wishes.as_ref().ok_or(NoSync::Off)?;
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        let wish = Wish::Sync {
            accept_shrink,
            ticket,
        };
        wishes.try_send(wish).map_err(|_| NoSync::Busy)?;
        Ok(ticket)
    }
}

/// A word for the age of what is served.
fn freshness(age: Option<u64>) -> &'static str {
    match age {
        None => "never",
        Some(age) if age > OLD_SECONDS => "old",
        Some(age) if age > STALE_SECONDS => "stale",
        Some(_) => "fresh",
    }
}

/// Sentences, each once with how often it was said.
pub(crate) fn told(sentences: impl Iterator<Item = String>) -> Vec<String> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for sentence in sentences {
        *counted.entry(sentence).or_default() += 1;
    }
    let told = counted.into_iter().map(|(sentence, count)| match count {
        1 => sentence,
        _ => format!("{sentence} ({count} times)"),
    });
    told.take(MOST_SENTENCES).collect()
}

/// More of them say no more.
const MOST_SENTENCES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_grows_stale_and_then_old() {
        let cases = [
            (None, "never"),
            (Some(0), "fresh"),
            (Some(300), "fresh"),
            (Some(301), "stale"),
            (Some(3600), "stale"),
            (Some(3601), "old"),
        ];
        for (age, word) in cases {
            assert_eq!(freshness(age), word, "{age:?}");
        }
    }
}
