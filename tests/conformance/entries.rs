//! Reading and writing single entries, and their expiry.

use plimsoll::entry::{Condition, PutOptions, Ttl, Version};
use plimsoll::error::ErrorKind;
use plimsoll::limits::TTL_MS_MAX;
use plimsoll::store::Backend;

use crate::{assert_refused, check, for_every_kind, ttl};

#[tokio::test]
async fn an_absent_key_is_absent_for_every_reader() {
    for_every_kind(async |store| {
        assert_eq!(store.get("k").await.unwrap(), None);
        assert_eq!(store.entry("k").await.unwrap(), None);
        assert!(!store.has("k").await.unwrap());
        assert!(!store.delete("k", None).await.unwrap());
        assert_eq!(store.keys().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_stored_false_is_a_value() {
    for_every_kind(async |store| {
        store.set("k", false, None).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(false.into()));
        assert!(store.has("k").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn an_entry_shows_its_key_value_version_and_deadline() {
    for_every_kind(async |store| {
        let options = PutOptions { ttl: ttl(1_500), ..PutOptions::default() };
        let written = store.put("k", "v", options).await.unwrap();
        assert_eq!((written.key.as_str(), written.value.as_str()), ("k", Some("v")));
        assert_eq!(written.expires_at, Some(store.now().after(1_500)));
        let is_right = match written.version {
            Version::Numbered { epoch, revision } => {
                store.info.conditional_put && (epoch, revision) == (store.fixture.epoch(), 1)
            }
            Version::Stamped(stamp) => {
                store.info.backend == Backend::KvCrdt && stamp.time().wall == store.now()
            }
            Version::Unversioned => !store.info.versioned,
        };
        assert!(is_right, "{:?}", written.version);
        assert_eq!(store.entry("k").await.unwrap(), Some(written.clone()), "what put answered");
        let text = written.version.to_string();
        assert_eq!(Version::parse(&text), Ok(written.version), "a version is read as printed");
    })
    .await;
}

#[tokio::test]
async fn a_delete_tells_whether_there_was_a_key() {
    for_every_kind(async |store| {
        store.write("k", 1).await;
        assert!(store.delete("k", None).await.unwrap());
        assert!(!store.delete("k", None).await.unwrap());
        assert_eq!(store.get("k").await.unwrap(), None);
        store.write("k", 2).await;
        assert_eq!(store.get("k").await.unwrap(), Some(2.into()));
    })
    .await;
}

#[tokio::test]
async fn a_write_replaces_value_version_and_deadline() {
    for_every_kind(async |store| {
        let first = store.write_for("k", 10).await;
        let second = store.write("k", "other").await;
        assert_eq!(second.expires_at, None, "a write without ttl clears the old one");
        assert_eq!(second.version != first.version, store.info.versioned);
        store.pass(10);
        assert_eq!(store.entry("k").await.unwrap(), Some(second.clone()));

        store.write_for("k", 10).await;
        store.write_for("k", 30).await;
        store.pass(29);
        assert!(store.has("k").await.unwrap(), "the later deadline counts");
        store.pass(1);
        assert!(!store.has("k").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_conditional_write_without_ttl_clears_the_deadline_too() {
    for_every_kind(async |store| {
        if !store.info.conditional_put {
            return;
        }
        let first = store.write_for("k", 10).await;
        let entry = store.write_if("k", Condition::Version(first.version)).await.unwrap();
        assert_eq!(entry.expires_at, None);
        // And one with a ttl sets it.
        let condition = Condition::Version(entry.version);
        let options = PutOptions { ttl: ttl(5), condition };
        let entry = store.put("k", 1, options).await.unwrap();
        assert_eq!(entry.expires_at, Some(store.now().after(5)));
    })
    .await;
}

#[tokio::test]
async fn an_entry_is_there_before_its_deadline_and_gone_from_it_on() {
    for_every_kind(async |store| {
        store.write_for("k", 10).await;
        store.pass(9);
        assert!(store.has("k").await.unwrap());
        store.pass(1);
        assert!(!store.has("k").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn an_expired_entry_is_an_absent_key_for_every_operation() {
    for_every_kind(async |store| {
        let old = store.write_for("k", 10).await;
        store.pass(10);
        assert_eq!(store.get("k").await.unwrap(), None);
        assert_eq!(store.entry("k").await.unwrap(), None);
        assert!(!store.has("k").await.unwrap());
        assert_eq!(store.keys().await, [""; 0]);
        assert!(!store.delete("k", None).await.unwrap());
        if store.info.conditional_put {
            let current = Condition::Version(old.version);
            assert_refused(store.write_if("k", current).await, ErrorKind::NotFound);
            let deleted = store.delete("k", Some(old.version)).await;
            assert_refused(deleted, ErrorKind::NotFound);
            if store.info.transact {
                store.transact(&[check("k", Condition::Absent)]).await.unwrap();
                let refused = store.transact(&[check("k", current)]).await;
                assert_refused(refused, ErrorKind::NotFound);
            }
            store.write_if("k", Condition::Absent).await.unwrap();
        } else {
            store.write("k", 1).await;
        }
        assert!(store.has("k").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn the_longest_time_to_live_is_a_hundred_years() {
    for_every_kind(async |store| {
        store.write_for("k", TTL_MS_MAX).await;
        store.pass(TTL_MS_MAX - 1);
        assert!(store.has("k").await.unwrap());
        store.pass(1);
        assert!(!store.has("k").await.unwrap());
        assert!(Ttl::from_ms(TTL_MS_MAX + 1).is_err());
    })
    .await;
}
