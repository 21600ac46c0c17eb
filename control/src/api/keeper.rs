//! Holds the store, and lets it go for a successor: a file that one process alone can have open goes from hand to hand. A store that
//! failed once is opened again before it is used again: it may have stopped in the middle, and takes nothing more as it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::{Change, Records, Store, StoreError};

/// A store that failed is tried no sooner again: who asks meanwhile is refused at once, and a sick disk is left in peace.
const PAUSE: Duration = Duration::from_secs(1);

type Open = dyn Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync;

/// The store, unless it was let go.
pub(crate) struct Keeper {
    open: Box<Open>,
    store: Mutex<Held>,
    pause: Duration,
}

enum Held {
    Open(Arc<dyn Store>),
    Released,
    Failed(Failed),
}

/// It failed.
struct Failed {
    /// Nobody knows whether it has what it refused; these changes take that back.
    undo: Vec<Change>,
    /// When it was tried last.
    at: Instant,
    /// What it said then.
    why: String,
}

impl Keeper {
    /// Opens it.
    pub(crate) fn open(
        open: impl Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync + 'static,
    ) -> Result<Keeper, StoreError> {
        let store = open()?;
        Ok(Keeper {
            open: Box::new(open),
            store: Mutex::new(Held::Open(store)),
            pause: PAUSE,
        })
    }

    /// Tries a store that failed whenever it is asked for.
    #[cfg(test)]
    pub(crate) fn without_pause(self) -> Keeper {
        Keeper {
            pause: Duration::ZERO,
            ..self
        }
    }

    /// Everything that is in it.
    pub(crate) fn load(&self) -> Result<Records, StoreError> {
        self.held()?.load()
    }

    /// Takes all the changes or none, and returns when they would survive a crash. `undo` says what was before.
    pub(crate) fn commit(
        &self,
        changes: &[Change],
        undo: impl FnOnce() -> Vec<Change>,
    ) -> Result<(), StoreError> {
        let done = self.held()?.commit(changes);
        if let Err(error @ StoreError::Failed { .. }) = &done {
            let failed = Failed {
                undo: undo(),
                at: Instant::now(),
                why: error.to_string(),
            };
            *self.lock() = Held::Failed(failed);
        }
        done
    }

    /// Lets it go. What a failed commit may have left is taken back first, as far as the store lets us: whoever opens it next believes
    /// what is in it.
    pub(crate) fn release(&self) {
        let mut held = self.lock();
        if let Held::Failed(failed) = &*held
            && let Err(error) = self.open_again(&failed.undo)
        {
            tracing::error!(%error, "the API's store is let go with what was refused last perhaps in it");
        }
        *held = Held::Released;
    }

    /// Opens it again.
    pub(crate) fn take_back(&self) -> Result<(), StoreError> {
        let store = (self.open)()?;
        *self.lock() = Held::Open(store);
        Ok(())
    }

    fn held(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut held = self.lock();
        let failed = match &mut *held {
            Held::Open(store) => return Ok(store.clone()),
            Held::Released => return Err(StoreError::Released),
            Held::Failed(failed) => failed,
        };
        if failed.at.elapsed() < self.pause {
            return Err(StoreError::Resting(failed.why.clone()));
        }
        match self.open_again(&failed.undo) {
            Ok(store) => {
                tracing::info!("the API's store works again");
                *held = Held::Open(store.clone());
                Ok(store)
            }
            Err(error) => {
                failed.at = Instant::now();
                failed.why = error.to_string();
                Err(error)
            }
        }
    }

    fn open_again(&self, undo: &[Change]) -> Result<Arc<dyn Store>, StoreError> {
        let store = (self.open)()?;
        store.commit(undo)?;
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
