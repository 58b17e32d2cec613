//! Every kind of bad input, on every database, with the error's kind, a part of its message, and the outcome.

use plimsoll::entry::{Condition, ListQuery, Operation, PutOptions, Version};
use plimsoll::error::{Error, ErrorKind, Outcome, Result};
use plimsoll::limits::VALUE_DEPTH_MAX;
use plimsoll::store::{StoreHandle, WatchQuery};
use plimsoll::value::{Table, Value};

use super::Fixture;

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::table(), |inner, _| Value::Table([(1, inner)].into_iter().collect()))
}

fn conditional(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

/// The calls that must fail, each with a name.
async fn failures(store: &StoreHandle) -> Vec<(&'static str, Error)> {
    fn failed<T>(result: Result<T>) -> Error {
        result.err().expect("an error")
    }
    let long = "k".repeat(1_025);
    let wide = "é".repeat(256);
    let version = Version::Numbered { epoch: 1, revision: 1 };
    let large = vec![0; 2 << 20];
    let key = plimsoll::entry::Key::new("k").expect("a key");
    let check = [Operation::Check { key, condition: Condition::Absent }];
    let large_table: Table = (1..=400_000).map(|i| (i, i)).collect();
    vec![
        ("get empty", failed(store.get("").await)),
        ("has long", failed(store.has(&long).await)),
        ("entry NUL", failed(store.entry("a\0b").await)),
        ("get over column", failed(store.get(&wide).await)),
        ("has over column", failed(store.has(&wide).await)),
        ("set empty", failed(store.set("", 1, None).await)),
        ("set long", failed(store.set(&long, 1, None).await)),
        ("set NUL", failed(store.set("a\0b", 1, None).await)),
        ("set over column", failed(store.set(&wide, 1, None).await)),
        ("set large", failed(store.set("k", large, None).await)),
        ("set large table", failed(store.set("k", large_table, None).await)),
        ("set deep", failed(store.set("k", nested(VALUE_DEPTH_MAX + 1), None).await)),
        ("put absent", failed(store.put("k", 1, conditional(Condition::Absent)).await)),
        ("put version", failed(store.put("k", 1, conditional(Condition::Version(version))).await)),
        (
            "put version 0",
            failed(store.put("k", 1, conditional(Condition::Version(Version::Unversioned))).await),
        ),
        ("delete empty", failed(store.delete("", None).await)),
        ("delete over column", failed(store.delete(&wide, None).await)),
        ("delete version", failed(store.delete("k", Some(version)).await)),
        ("transact", failed(store.transact(&check).await)),
        ("watch", failed(store.watch(&WatchQuery::default()).await)),
    ]
}

#[tokio::test]
async fn bad_input_is_a_clear_error_and_nothing_is_lost() {
    let expected = [
        ("get empty", "empty", None),
        ("has long", "1024", None),
        ("entry NUL", "NUL", None),
        ("get over column", "256 characters, column \"key\" of \"kv_store\" holds 255", None),
        ("has over column", "holds 255", None),
        ("set empty", "empty", Some(Outcome::None)),
        ("set long", "1024", Some(Outcome::None)),
        ("set NUL", "NUL", Some(Outcome::None)),
        ("set over column", "holds 255", Some(Outcome::None)),
        ("set large", "1048576", Some(Outcome::None)),
        ("set large table", "1048576", Some(Outcome::None)),
        ("set deep", "64 levels", Some(Outcome::None)),
        ("put absent", "conditional writes", Some(Outcome::None)),
        ("put version", "conditional writes", Some(Outcome::None)),
        ("put version 0", "conditional writes", Some(Outcome::None)),
        ("delete empty", "empty", Some(Outcome::None)),
        ("delete over column", "holds 255", Some(Outcome::None)),
        ("delete version", "conditional writes", Some(Outcome::None)),
        ("transact", "transactions", Some(Outcome::None)),
        ("watch", "watches", None),
    ];
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    store.set("k", "kept", None).await.unwrap();
    let actual = failures(&store).await;
    assert_eq!(actual.len(), expected.len());
    for ((name, error), (expected_name, message, outcome)) in actual.into_iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
        assert!(error.message().contains(message), "{name}: {error}");
        assert_eq!(error.outcome(), outcome, "{name}");
        assert!(!error.retryable(), "{name}");
    }
    let page = store.list(&ListQuery::new()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(store.get("k").await, Ok(Some("kept".into())));

    store.release();
    for (name, error) in failures(&store).await {
        assert!(error.message().contains("released"), "{name}: {error}");
    }
}
