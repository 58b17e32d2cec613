//! Conditions and versions, where a kind claims them; refusals where it does not.

use std::collections::BTreeSet;

use plimsoll::entry::{Condition, StampVersion, Version};
use plimsoll::error::ErrorKind;
use plimsoll::hlc::HybridTime;
use plimsoll::store::WatchQuery;

use crate::{Store, assert_refused, for_every_kind};

fn other_epoch(version: Version) -> Version {
    match version {
        Version::Numbered { epoch, revision } => Version::Numbered { epoch: epoch + 1, revision },
        Version::Unversioned | Version::Stamped { .. } => version,
    }
}

fn later(version: Version) -> Version {
    match version {
        Version::Numbered { epoch, revision } => {
            Version::Numbered { epoch, revision: revision + 100 }
        }
        Version::Unversioned | Version::Stamped { .. } => version,
    }
}

#[tokio::test]
async fn what_info_does_not_claim_is_refused_and_writes_nothing() {
    for_every_kind(async |store| {
        let entry = store.write("k", "kept").await;
        if !store.info.versioned {
            assert_eq!(entry.version.to_string(), "0");
        }
        if !store.info.conditional_put {
            for condition in [Condition::Absent, Condition::Version(entry.version)] {
                for key in ["k", "new"] {
                    assert_refused(store.write_if(key, condition).await, ErrorKind::Invalid);
                }
            }
            assert_refused(store.delete("k", Some(entry.version)).await, ErrorKind::Invalid);
        }
        if !store.info.transact {
            assert_refused(store.transact(&[]).await, ErrorKind::Invalid);
            assert_refused(store.transact(&[crate::delete("k", None)]).await, ErrorKind::Invalid);
        }
        if !store.info.watch {
            let error = store.watch(&Default::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        assert_eq!(store.keys().await, ["k"]);
        assert_eq!(store.entry("k").await.unwrap(), Some(entry));
    })
    .await;
}

/// Runs a case on every kind that claims conditional writes.
async fn where_conditional(case: impl AsyncFn(&Store)) {
    for_every_kind(async |store| {
        if store.info.conditional_put {
            case(store).await;
        }
    })
    .await;
}

#[tokio::test]
async fn only_one_writer_creates_a_key() {
    where_conditional(async |store| {
        let created = store.write_if("k", Condition::Absent).await.unwrap();
        let refused = store.write_if("k", Condition::Absent).await;
        let error = assert_refused(refused, ErrorKind::AlreadyExists);
        assert!(!error.retryable());
        assert_eq!(store.entry("k").await.unwrap(), Some(created));
        assert!(store.delete("k", None).await.unwrap());
        store.write_if("k", Condition::Absent).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_version_lets_one_of_two_writers_through() {
    where_conditional(async |store| {
        let old = store.write("k", 1).await.version;
        let new = store.write_if("k", Condition::Version(old)).await.unwrap().version;
        let refused = store.write_if("k", Condition::Version(old)).await;
        let error = assert_refused(refused, ErrorKind::Conflict);
        assert!(error.retryable(), "read again and retry");
        assert_eq!(error.detail("version"), Some(&new.to_string().into()), "the current one");
        assert_refused(store.delete("k", Some(old)).await, ErrorKind::Conflict);
        assert!(store.delete("k", Some(new)).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_version_of_an_absent_key_is_not_found() {
    where_conditional(async |store| {
        let version = store.write("other", 1).await.version;
        let refused = store.write_if("k", Condition::Version(version)).await;
        assert_refused(refused, ErrorKind::NotFound);
        assert_refused(store.delete("k", Some(version)).await, ErrorKind::NotFound);
        assert_eq!(store.keys().await, ["other"]);
    })
    .await;
}

#[tokio::test]
async fn foreign_and_future_versions_conflict() {
    where_conditional(async |store| {
        let current = store.write("k", 1).await;
        for version in [other_epoch(current.version), later(current.version)] {
            let refused = store.write_if("k", Condition::Version(version)).await;
            assert_refused(refused, ErrorKind::Conflict);
            assert_refused(store.delete("k", Some(version)).await, ErrorKind::Conflict);
        }
        assert_eq!(store.entry("k").await.unwrap(), Some(current));
    })
    .await;
}

#[tokio::test]
async fn a_version_of_another_kind_of_store_is_invalid() {
    where_conditional(async |store| {
        store.write("k", 1).await;
        let time = HybridTime { wall: store.now(), logical: 0 };
        for foreign in [Version::Unversioned, Version::Stamped(StampVersion::new(time, 1, 1))] {
            let condition = Condition::Version(foreign);
            assert_refused(store.write_if("k", condition).await, ErrorKind::Invalid);
            assert_refused(store.delete("k", Some(foreign)).await, ErrorKind::Invalid);
            let operations = [crate::put("k", condition)];
            assert_refused(store.transact(&operations).await, ErrorKind::Invalid);
            let query = WatchQuery { after: Some(foreign), ..WatchQuery::default() };
            assert_eq!(store.watch(&query).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
    })
    .await;
}

#[tokio::test]
async fn a_single_writer_never_meets_a_conflict() {
    where_conditional(async |store| {
        let mut version = store.write("k", 0).await.version;
        for _ in 0..50 {
            version = store.write_if("k", Condition::Version(version)).await.unwrap().version;
            assert_eq!(store.entry("k").await.unwrap().unwrap().version, version);
        }
    })
    .await;
}

#[tokio::test]
async fn a_version_is_never_used_twice_for_a_key() {
    for kind in crate::KINDS {
        let mut store = Store::open(*kind, 0).await;
        if !store.info.versioned {
            continue;
        }
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            for _ in 0..3 {
                let versions = [
                    store.write("k", 1).await.version,
                    store.write("k", 1).await.version,
                    store.write_for("k", 5).await.version,
                ];
                store.pass(5);
                let after_expiry = store.write("k", 1).await.version;
                for version in versions.into_iter().chain([after_expiry]) {
                    assert!(seen.insert(version.to_string()), "{version} was used before");
                }
                store.delete("k", None).await.unwrap();
            }
            store.fixture.reopen().await;
            store.handle = store.fixture.acquire();
        }
    }
}

#[tokio::test]
async fn a_command_that_changes_something_takes_one_revision() {
    where_conditional(async |store| {
        let revision = async || match store.write("probe", 1).await.version {
            Version::Numbered { revision, .. } => revision,
            version => panic!("{version}: conditions need revisions"),
        };
        let before = revision().await;
        store.write("k", 1).await;
        store.delete("k", None).await.unwrap();
        store.delete("k", None).await.unwrap();
        store.write_if("probe", Condition::Absent).await.unwrap_err();
        store
            .write_if("k", Condition::Version(Version::Numbered { epoch: 9, revision: 9 }))
            .await
            .unwrap_err();
        assert_eq!(revision().await - before, 3, "a write, a delete, and the probe");
        if store.info.transact {
            let before = revision().await;
            let writes = [crate::put("a", Condition::None), crate::put("b", Condition::None)];
            store.transact(&writes).await.unwrap();
            store.transact(&[crate::check("a", Condition::None)]).await.unwrap();
            store.transact(&[]).await.unwrap();
            assert_eq!(revision().await - before, 2, "one transaction, and the probe");
        }
    })
    .await;
}
