//! A store that fails, and works again: what was refused is not there, what was acknowledged is, and nobody has to restart anything.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::fake::{Api, Memory};
use crate::api::errors::Exception;
use crate::api::keeper::Keeper;
use crate::store::{Change, Records, Store, StoreError, Table};

#[tokio::test]
async fn after_a_full_disk_the_api_takes_changes_again() {
    let api = Api::new();
    let kept = api.accelerator("kept").await;
    api.store.fails.store(true, Ordering::Relaxed);
    for name in ["a", "b"] {
        let create = json!({ "Name": name, "IdempotencyToken": name });
        api.refused("CreateAccelerator", create, Exception::InternalServiceError)
            .await;
    }
    let rename = json!({ "AcceleratorArn": kept, "Name": "renamed" });
    api.refused("UpdateAccelerator", rename, Exception::InternalServiceError)
        .await;
    api.store.fails.store(false, Ordering::Relaxed);
    let again = api.accelerator("a").await;
    let later = Api::over(api.store.clone());
    let all = later.ok("ListAccelerators", json!({})).await;
    let names: Vec<_> = all["Accelerators"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| a["Name"].clone())
        .collect();
    assert_eq!(names, ["kept", "a", "filed"]);
    assert_eq!(all["Accelerators"][1]["AcceleratorArn"], again.as_str());
}

/// Takes what it is given, and says that it did not.
#[derive(Default)]
struct Liar {
    memory: Memory,
    lies: AtomicBool,
    commits: AtomicUsize,
}

impl Store for Liar {
    fn load(&self) -> Result<Records, StoreError> {
        self.memory.load()
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.memory.commit(changes)?;
        match self.lies.load(Ordering::Relaxed) {
            true => Err(StoreError::Failed {
                path: "memory".into(),
                source: "the answer was lost".into(),
            }),
            false => Ok(()),
        }
    }
}

/// A store that has `old`, took `new` and said that it did not; its keeper, and how often it was opened.
fn with_something_refused() -> (Arc<Liar>, Keeper, Arc<Mutex<u32>>) {
    let store: Arc<Liar> = Arc::default();
    let opened = Arc::new(Mutex::new(0));
    let (shared, counted) = (store.clone(), opened.clone());
    let keeper = Keeper::open(move || {
        *counted.lock().expect("whole") += 1;
        Ok(shared.clone() as Arc<dyn Store>)
    })
    .expect("memory opens")
    .without_pause();
    let put = |value: &str| Change {
        table: Table::Meta,
        key: "k".to_owned(),
        value: Some(value.into()),
    };
    keeper.commit(&[put("old")], Vec::new).expect("taken");
    store.lies.store(true, Ordering::Relaxed);
    let refused = keeper.commit(&[put("new")], || vec![put("old")]);
    assert!(matches!(refused, Err(StoreError::Failed { .. })));
    store.lies.store(false, Ordering::Relaxed);
    (store, keeper, opened)
}

#[test]
fn what_a_failed_commit_has_left_is_taken_back_before_anything_else() {
    let (store, keeper, opened) = with_something_refused();
    let records = keeper.load().expect("opened again");
    assert_eq!(records[&Table::Meta]["k"], "old");
    assert_eq!(*opened.lock().expect("whole"), 2);
    assert_eq!(store.commits.load(Ordering::Relaxed), 3);
}

#[test]
fn a_successor_finds_nothing_that_was_refused() {
    let (store, keeper, _) = with_something_refused();
    assert_eq!(
        store.load().expect("memory")[&Table::Meta]["k"],
        "new",
        "it is there"
    );
    keeper.release();
    assert_eq!(store.load().expect("memory")[&Table::Meta]["k"], "old");
    assert!(matches!(keeper.load(), Err(StoreError::Released)));
}

#[test]
fn a_store_that_failed_is_left_in_peace_for_a_moment() {
    let store: Arc<Memory> = Arc::default();
    let opened = Arc::new(AtomicUsize::new(0));
    let (shared, counted) = (store.clone(), opened.clone());
    let keeper = Keeper::open(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(shared.clone() as Arc<dyn Store>)
    })
    .expect("memory opens");
    store.fails.store(true, Ordering::Relaxed);
    let failed = keeper.commit(&[], Vec::new);
    assert!(matches!(failed, Err(StoreError::Failed { .. })));
    let refused = keeper.commit(&[], Vec::new);
    assert!(matches!(refused, Err(StoreError::Resting(why)) if why.contains("the disk is full")));
    assert_eq!(opened.load(Ordering::Relaxed), 1, "not opened again yet");
}
