//! Watches on `store.memory`: in order, without a gap or a repeat, resumable or compacted.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::entry::{Change, EventKind, PutOptions, Ttl, Version};
use plimsoll::error::ErrorKind;
use plimsoll::limits::HISTORY_REVISIONS_MAX;
use plimsoll::store::{MemoryOptions, MemoryStore, Store as _, StoreHandle, Watch, WatchQuery};

const EPOCH: u64 = 7;

struct Fixture {
    store: Arc<MemoryStore>,
    handle: StoreHandle,
    clock: ManualClock,
}

fn fixture() -> Fixture {
    let clock = ManualClock::new(UnixMillis(1_000));
    let options = MemoryOptions { max_size: 0, cleanup_interval: None };
    let store = MemoryStore::with_clock(options, EPOCH, Arc::new(clock.clone()));
    let handle = StoreHandle::new("app:cache", store.clone());
    Fixture { store, handle, clock }
}

fn version(revision: u64) -> Version {
    Version::Numbered { epoch: EPOCH, revision }
}

/// What is there already, without waiting.
async fn drain(watch: &mut Watch) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match watch.next(Some(Duration::from_millis(1))).await {
            Ok(Some(Change { revision, events })) => {
                let events: Vec<_> =
                    events.iter().map(|e| format!("{} {}", e.kind.as_str(), e.key)).collect();
                let (_, number) = revision
                    .to_string()
                    .split_once('-')
                    .map(|(e, r)| (e.to_owned(), r.to_owned()))
                    .unwrap();
                seen.push(format!("{number}: {}", events.join(", ")));
            }
            Ok(None) => return seen,
            Err(error) if error.kind() == ErrorKind::Timeout => return seen,
            Err(error) => {
                seen.push(format!("{} {:?}", error.kind().as_str(), error.detail("reason")));
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn a_watch_sees_what_its_prefix_selects_from_now_on() {
    let Fixture { handle, .. } = fixture();
    handle.set("a/0", 1, None).await.unwrap();
    let query = WatchQuery { prefix: b"a/".to_vec(), after: None };
    let mut watch = handle.watch(&query).await.unwrap();
    handle.set("a/1", 1, None).await.unwrap();
    handle.set("b/1", 1, None).await.unwrap();
    handle.delete("a/1", None).await.unwrap();
    handle.delete("a/1", None).await.unwrap();
    assert_eq!(drain(&mut watch).await, ["2: put a/1", "4: delete a/1"]);
}

#[tokio::test]
async fn a_watch_resumes_after_a_version() {
    let Fixture { handle, .. } = fixture();
    for i in 1..=4 {
        handle.set(&format!("k{i}"), i, None).await.unwrap();
    }
    let query = WatchQuery { after: Some(version(2)), ..WatchQuery::default() };
    let mut watch = handle.watch(&query).await.unwrap();
    assert_eq!(drain(&mut watch).await, ["3: put k3", "4: put k4"]);
}

#[tokio::test]
async fn a_write_on_an_expired_entry_expires_it_first() {
    let Fixture { handle, clock, store } = fixture();
    let mut watch = handle.watch(&WatchQuery::default()).await.unwrap();
    let ttl = Ttl::from_ms(10).unwrap();
    handle.set("k", 1, ttl).await.unwrap();
    handle.set("l", 1, ttl).await.unwrap();
    clock.advance_ms(10);
    handle.set("k", 2, None).await.unwrap();
    assert_eq!(store.sweep(), Ok(1));
    assert_eq!(
        drain(&mut watch).await,
        ["1: put k", "2: put l", "3: expire k, put k", "4: expire l"]
    );
}

#[tokio::test]
async fn old_foreign_and_future_versions_are_refused() {
    let Fixture { handle, .. } = fixture();
    for i in 0..=HISTORY_REVISIONS_MAX {
        handle.set("k", i, None).await.unwrap();
    }
    let mut rows = Vec::new();
    for after in [
        version(0),
        version(1),
        Version::Numbered { epoch: EPOCH + 1, revision: 2 },
        version(u64::MAX),
        Version::Unversioned,
    ] {
        let query = WatchQuery { after: Some(after), ..WatchQuery::default() };
        let answer = handle.watch(&query).await;
        rows.push(answer.map(|_| "watches").map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            error.detail("reason").cloned()
        }));
    }
    let compacted = Err(Some("compacted".into()));
    assert_eq!(rows, [compacted.clone(), Ok("watches"), compacted, Err(None), Err(None)]);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_where_it_stood() {
    let Fixture { handle, .. } = fixture();
    let mut watch = handle.watch(&WatchQuery::default()).await.unwrap();
    handle.set("k", 0, None).await.unwrap();
    assert_eq!(drain(&mut watch).await, ["1: put k"]);
    for i in 0..=HISTORY_REVISIONS_MAX {
        handle.set("k", i, None).await.unwrap();
    }
    let error = watch.next(None).await.unwrap_err();
    assert_eq!(error.detail("delivered"), Some(&version(1).to_string().into()));
    assert_eq!(watch.next(None).await, Ok(None), "the stream has ended");
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_a_write_and_by_the_end_of_the_store() {
    let Fixture { handle, store, .. } = fixture();
    let mut watch = handle.watch(&WatchQuery::default()).await.unwrap();
    let reader = tokio::spawn(async move {
        let first = watch.next(None).await;
        (first, watch.next(None).await)
    });
    tokio::task::yield_now().await;
    handle.put("k", true, PutOptions::default()).await.unwrap();
    tokio::task::yield_now().await;
    store.close().await;
    let (first, second) = reader.await.unwrap();
    let change = first.unwrap().unwrap();
    assert_eq!(change.events[0].kind, EventKind::Put);
    assert_eq!(change.events[0].entry.as_ref().map(|e| e.version), Some(change.revision));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Canceled);
}

#[tokio::test]
async fn closing_a_watch_ends_it() {
    let Fixture { handle, .. } = fixture();
    let mut watch = handle.watch(&WatchQuery::default()).await.unwrap();
    watch.close();
    assert_eq!(watch.next(None).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn expired_entries_are_swept_at_the_cleanup_interval() {
    let clock = ManualClock::new(UnixMillis(1_000));
    let options = MemoryOptions { max_size: 0, cleanup_interval: Some(Duration::from_secs(60)) };
    let store = MemoryStore::with_clock(options, EPOCH, Arc::new(clock.clone()));
    let handle = StoreHandle::new("app:cache", store.clone());
    for i in 0..2_500 {
        handle.set(&format!("k{i}"), i, Ttl::from_ms(10).unwrap()).await.unwrap();
    }
    handle.set("stays", 1, None).await.unwrap();
    clock.advance_ms(10);
    assert_eq!(store.machine().unwrap().len(), 2_501, "invisible, but not removed yet");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(store.machine().unwrap().len(), 1);
}
