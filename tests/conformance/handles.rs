//! Handles, what `info()` says, the size of a store, and opening it again.

use plimsoll::entry::{Condition, ListQuery};
use plimsoll::error::ErrorKind;
use plimsoll::limits::MEMORY_ENTRIES_DEFAULT;
use plimsoll::store::{Backend, Consistency, WatchQuery};
use plimsoll::value::Value;

use crate::kinds::{ID, Kind};
use crate::{Store, assert_refused, delete, for_every_kind, kinds, put};

#[tokio::test]
async fn info_says_what_the_kind_is() {
    for kind in kinds() {
        let info = Store::open(kind, 0).await.info;
        assert_eq!(info.id, ID);
        // durable, list, versioned, conditional_put, ttl, transact, watch
        let (backend, expected) = match kind {
            Kind::Memory => (Backend::Memory, [false, true, true, true, true, true, true]),
            // The fixture syncs less than the default, and says so.
            #[cfg(feature = "sql")]
            Kind::Sqlite => (Backend::Sql, [false, true, false, false, true, false, false]),
            #[cfg(all(feature = "postgres", unix))]
            Kind::Postgres => (Backend::Sql, [true, true, false, false, true, false, false]),
            #[cfg(feature = "node")]
            Kind::Raft => (Backend::KvRaft, [true; 7]),
            #[cfg(feature = "node")]
            Kind::Crdt => (Backend::KvCrdt, [false, true, true, false, true, false, false]),
            #[cfg(feature = "node")]
            Kind::DurableCrdt => (Backend::KvCrdt, [true, true, true, false, true, false, false]),
        };
        let consistency = match backend {
            Backend::KvRaft => Consistency::Linearizable,
            Backend::KvCrdt => Consistency::Eventual,
            _ => Consistency::Local,
        };
        assert_eq!((info.backend, info.consistency), (backend, consistency));
        assert_eq!(info.capabilities().map(|(_, claimed)| claimed), expected, "{kind:?}");
    }
}

#[tokio::test]
async fn a_released_handle_answers_invalid_and_others_go_on() {
    for_every_kind(async |store| {
        store.write("k", 1).await;
        let handle = store.fixture.acquire();
        let clone = handle.clone();
        assert_eq!(handle.to_string(), "store.Store{}");
        assert!(handle.release() && handle.release(), "every time");
        assert_eq!(clone.to_string(), "store.Store{released}", "clones share the release");
        assert_refused(clone.set("k", 2, None).await, ErrorKind::Invalid);
        assert_refused(clone.delete("k", None).await, ErrorKind::Invalid);
        assert_refused(clone.transact(&[]).await, ErrorKind::Invalid);
        // It answers before it looks at anything else.
        for error in [
            clone.get("").await.map(drop).unwrap_err(),
            clone.entry("").await.map(drop).unwrap_err(),
            clone.has("").await.map(drop).unwrap_err(),
            clone.list(&ListQuery::new()).await.map(drop).unwrap_err(),
            clone.watch(&WatchQuery::default()).await.map(drop).unwrap_err(),
            clone.info().map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("released"), "{error}");
        }
        assert_eq!(store.get("k").await.unwrap(), Some(1.into()));
    })
    .await;
}

#[tokio::test]
async fn what_is_durable_is_there_when_the_store_opens_again() {
    for kind in kinds() {
        let mut store = Store::open(kind, 0).await;
        let kept = store.write("kept", "v").await;
        store.write_for("brief", 5).await;
        store.delete("kept too", None).await.unwrap();
        store.fixture.reopen().await;
        store.handle = store.fixture.acquire();
        store.pass(5);
        let expected = store.fixture.keeps_entries().then_some(kept);
        assert_eq!(store.entry("kept").await.unwrap(), expected);
        assert!(!store.has("brief").await.unwrap());
    }
}

/// Runs a case on every kind that has a limit on its entries, set to three.
async fn where_limited(case: impl AsyncFn(&Store)) {
    for kind in kinds() {
        let store = Store::open(kind, 3).await;
        if store.fixture.size_max().is_some() {
            case(&store).await;
        }
    }
}

#[tokio::test]
async fn a_full_store_refuses_new_keys_and_nothing_else() {
    where_limited(async |store| {
        let entry = store.write("a", 1).await;
        store.write("b", 1).await;
        store.write("c", 1).await;
        let error = assert_refused(store.set("d", 1, None).await, ErrorKind::Unavailable);
        assert!(error.retryable());
        assert_eq!(error.detail("limit"), Some(&Value::from(3)));
        store.write_if("a", Condition::Version(entry.version)).await.unwrap();
        let refused = store.write_if("a", Condition::Absent).await;
        assert_refused(refused, ErrorKind::AlreadyExists);
        let refused = store.write_if("d", Condition::Version(entry.version)).await;
        assert_refused(refused, ErrorKind::NotFound);
        // A transaction counts what it leaves, not what it meets on the way.
        store.transact(&[put("d", Condition::None), delete("a", None)]).await.unwrap();
        let refused = store.transact(&[put("e", Condition::None), delete("absent", None)]).await;
        assert_refused(refused, ErrorKind::Unavailable);
        assert!(store.delete("b", None).await.unwrap());
        store.write("e", 1).await;
        assert_eq!(store.keys().await, ["c", "d", "e"]);
    })
    .await;
}

#[tokio::test]
async fn expired_entries_do_not_count_towards_the_size() {
    where_limited(async |store| {
        for key in ["a", "b", "c"] {
            store.write_for(key, 5).await;
        }
        store.pass(5);
        // Neither the key that is written nor one that is deleted takes room from the others.
        let operations = [put("d", Condition::None), put("a", Condition::None), delete("b", None)];
        store.transact(&operations).await.unwrap();
        store.write("c", 1).await;
        assert_refused(store.set("e", 1, None).await, ErrorKind::Unavailable);
        assert_eq!(store.keys().await, ["a", "c", "d"]);
    })
    .await;
}

#[tokio::test]
async fn a_memory_store_holds_ten_thousand_entries_unless_told_otherwise() {
    let store = Store::open(Kind::Memory, 0).await;
    for number in 0..MEMORY_ENTRIES_DEFAULT {
        store.write(&format!("k{number}"), 1).await;
    }
    let error = assert_refused(store.set("one more", 1, None).await, ErrorKind::Unavailable);
    assert_eq!(error.detail("limit"), Some(&Value::from(10_000)));
}
