//! Holds the store, and lets it go for a successor: a file that one process alone can have open goes from hand to hand.

use std::sync::{Arc, PoisonError, RwLock};

use crate::store::{Change, Records, Store, StoreError};

type Open = dyn Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync;

/// The store, unless it was let go.
pub(crate) struct Keeper {
    open: Box<Open>,
    store: RwLock<Option<Arc<dyn Store>>>,
}

impl Keeper {
    /// Opens it.
    pub(crate) fn open(
        open: impl Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync + 'static,
    ) -> Result<Keeper, StoreError> {
        let store = open()?;
        Ok(Keeper {
            open: Box::new(open),
            store: RwLock::new(Some(store)),
        })
    }

    /// Everything that is in it.
    pub(crate) fn load(&self) -> Result<Records, StoreError> {
        self.held()?.load()
    }

    /// Takes all the changes or none, and returns when they would survive a crash.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.held()?.commit(changes)
    }

    /// Lets it go.
    pub(crate) fn release(&self) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Opens it again.
    pub(crate) fn take_back(&self) -> Result<(), StoreError> {
        let store = (self.open)()?;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        Ok(())
    }

    fn held(&self) -> Result<Arc<dyn Store>, StoreError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or(StoreError::Released)
    }
}
