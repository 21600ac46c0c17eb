//! The embedded store: what is committed is there after it was opened again, and nobody else opens it meanwhile.

use serde_json::json;

use super::*;

fn put(key: &str, value: Value) -> Change {
    Change {
        table: Table::Accelerators,
        key: key.to_owned(),
        value: Some(value),
    }
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.redb");
    {
        let store = Embedded::open(&path).expect("a new store");
        store
            .commit(&[put("a", json!({ "n": 1 })), put("b", json!([]))])
            .expect("committed");
        let gone = Change {
            table: Table::Accelerators,
            key: "b".to_owned(),
            value: None,
        };
        store
            .commit(&[gone, put("c", json!("ü"))])
            .expect("committed");
    }
    let records = Embedded::open(&path)
        .expect("the same store")
        .load()
        .expect("its records");
    let expected = [
        ("a".to_owned(), json!({ "n": 1 })),
        ("c".to_owned(), json!("ü")),
    ]
    .into();
    assert_eq!(records[&Table::Accelerators], expected);
}

#[test]
fn a_second_opener_is_told_that_it_is_busy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.redb");
    let _store = Embedded::open(&path).expect("a new store");
    assert!(matches!(
        Embedded::open(&path),
        Err(StoreError::Busy { .. })
    ));
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.redb");
    std::fs::write(&path, "hello, I am a text").expect("written");
    assert!(matches!(
        Embedded::open(&path),
        Err(StoreError::Failed { .. })
    ));
}

#[test]
fn an_export_survives_json() {
    let mut records = Records::new();
    records
        .entry(Table::EndpointGroups)
        .or_default()
        .insert("x/y".to_owned(), json!({ "z": [1, 2.5] }));
    let export = Export {
        schema: SCHEMA,
        records,
    };
    let text = serde_json::to_string(&export).expect("JSON");
    assert!(text.contains("endpoint_groups"));
    assert_eq!(
        serde_json::from_str::<Export>(&text).expect("the same"),
        export
    );
}
