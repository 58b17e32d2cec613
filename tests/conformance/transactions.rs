//! Transactions, where a kind claims them.

use plimsoll::entry::{Condition, OperationResult};
use plimsoll::error::ErrorKind;
use plimsoll::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use plimsoll::value::Value;

use crate::{Store, assert_refused, check, delete, for_every_kind, put};

/// Runs a case on every kind that claims transactions.
async fn where_transactional(case: impl AsyncFn(&Store)) {
    for_every_kind(async |store| {
        if store.info.transact {
            case(store).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_transaction_answers_for_each_operation() {
    where_transactional(async |store| {
        let old = store.write("old", 1).await;
        let current = Condition::Version(old.version);
        let operations = [
            put("new", Condition::Absent),
            check("old", current),
            delete("absent", None),
            put("other", Condition::None),
        ];
        let results = store.transact(&operations).await.unwrap();
        let new = store.entry("new").await.unwrap().unwrap();
        let other = store.entry("other").await.unwrap().unwrap();
        assert_eq!(new.version, other.version, "one transaction is one version");
        let expected = [
            OperationResult::Put(new),
            OperationResult::Checked,
            OperationResult::Deleted(false),
            OperationResult::Put(other),
        ];
        assert_eq!(results, expected);
        let results = store.transact(&[delete("old", Some(old.version))]).await.unwrap();
        assert_eq!(results, [OperationResult::Deleted(true)]);
        assert_eq!(store.transact(&[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_changes_nothing_if_one_operation_fails_and_names_the_first() {
    where_transactional(async |store| {
        let entry = store.write("k", 1).await;
        let stale = store.write("gone", 1).await.version;
        store.delete("gone", None).await.unwrap();
        let table = [
            (check("k", Condition::Absent), ErrorKind::AlreadyExists),
            (put("k", Condition::Absent), ErrorKind::AlreadyExists),
            (check("gone", Condition::Version(stale)), ErrorKind::NotFound),
            (delete("gone", Some(stale)), ErrorKind::NotFound),
            (put("k", Condition::Version(stale)), ErrorKind::Conflict),
            (delete("k", Some(stale)), ErrorKind::Conflict),
        ];
        for (failing, kind) in table {
            let operations = [
                put("a", Condition::None),
                delete("b", None),
                failing.clone(),
                put("c", Condition::Version(stale)),
            ];
            let error = assert_refused(store.transact(&operations).await, kind);
            assert_eq!(error.detail("index"), Some(&Value::from(3)), "{failing:?}");
            assert_eq!(store.keys().await, ["k"]);
            assert_eq!(store.entry("k").await.unwrap(), Some(entry.clone()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_occurs_once_in_a_transaction() {
    where_transactional(async |store| {
        for second in [put("k", Condition::None), delete("k", None), check("k", Condition::Absent)]
        {
            let operations = [put("a", Condition::None), put("k", Condition::None), second];
            let error = assert_refused(store.transact(&operations).await, ErrorKind::Invalid);
            assert_eq!(error.detail("index"), Some(&Value::from(3)));
        }
        assert_eq!(store.keys().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_has_limits_and_names_them() {
    where_transactional(async |store| {
        let most: Vec<_> = (0..TRANSACTION_OPERATIONS_MAX)
            .map(|number| put(&format!("k{number}"), Condition::None))
            .collect();
        store.transact(&most).await.unwrap();
        let mut more = most;
        more.push(delete("one more", None));
        let error = assert_refused(store.transact(&more).await, ErrorKind::Invalid);
        assert_eq!(error.detail("limit"), Some(&Value::from(TRANSACTION_OPERATIONS_MAX)));

        let half = vec![0_u8; TRANSACTION_BYTES_MAX / 2];
        let large = |key| match put(key, Condition::None) {
            plimsoll::entry::Operation::Put { key, options, .. } => {
                plimsoll::entry::Operation::Put { key, value: half.clone().into(), options }
            }
            other => other,
        };
        let error =
            assert_refused(store.transact(&[large("a"), large("b")]).await, ErrorKind::Invalid);
        assert_eq!(error.detail("limit"), Some(&Value::from(TRANSACTION_BYTES_MAX)));
        assert!(!store.has("a").await.unwrap());
    })
    .await;
}
