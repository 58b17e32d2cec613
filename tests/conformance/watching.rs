//! Watches, where a kind claims them: whole revisions in order, no gap, no repeat.

use std::time::Duration;

use plimsoll::entry::{Change, Condition, EventKind, Version};
use plimsoll::error::ErrorKind;
use plimsoll::store::{Backend, Watch, WatchQuery};

use crate::{Store, delete, for_every_kind, put};

/// Runs a case on every kind that claims watches.
async fn where_watchable(case: impl AsyncFn(&Store)) {
    for_every_kind(async |store| {
        if store.info.watch {
            case(store).await;
        }
    })
    .await;
}

/// The next change, which is there already.
async fn next(watch: &mut Watch) -> Change {
    watch.next(Some(Duration::from_secs(10))).await.unwrap().expect("the watch goes on")
}

/// That nothing has changed.
async fn assert_quiet(watch: &mut Watch) {
    let error = watch.next(Some(Duration::from_millis(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

fn summary(change: &Change) -> Vec<(EventKind, &str)> {
    change.events.iter().map(|event| (event.kind, event.key.as_str())).collect()
}

#[tokio::test]
async fn a_watch_shows_each_change_once_and_in_order() {
    where_watchable(async |store| {
        store.write("before", 1).await;
        let mut watch = store.watch(&WatchQuery::default()).await.unwrap();
        let first = store.write("k", "v").await;
        store.delete("k", None).await.unwrap();
        store.delete("k", None).await.unwrap();
        let operations = [put("a", Condition::None), delete("before", None)];
        store.transact(&operations).await.unwrap();

        let change = next(&mut watch).await;
        assert_eq!(change.revision, first.version);
        assert_eq!(change.events[0].entry, Some(first));
        assert_eq!(summary(&next(&mut watch).await), [(EventKind::Delete, "k")]);
        let expected = [(EventKind::Put, "a"), (EventKind::Delete, "before")];
        assert_eq!(summary(&next(&mut watch).await), expected);
        assert_quiet(&mut watch).await;
    })
    .await;
}

#[tokio::test]
async fn a_watch_begins_after_a_version() {
    where_watchable(async |store| {
        let first = store.write("a", 1).await.version;
        let second = store.write("b", 1).await.version;
        let third = store.write("c", 1).await.version;
        let query = WatchQuery { after: Some(first), ..WatchQuery::default() };
        let mut watch = store.watch(&query).await.unwrap();
        assert_eq!(next(&mut watch).await.revision, second);
        assert_eq!(next(&mut watch).await.revision, third);
        assert_quiet(&mut watch).await;
    })
    .await;
}

#[tokio::test]
async fn a_watch_of_a_prefix_shows_its_part_of_a_revision() {
    where_watchable(async |store| {
        let query = WatchQuery { prefix: b"a/".to_vec(), ..WatchQuery::default() };
        let mut watch = store.watch(&query).await.unwrap();
        store.write("b/1", 1).await;
        let operations = [put("a/1", Condition::None), put("b/1", Condition::None)];
        store.transact(&operations).await.unwrap();
        assert_eq!(summary(&next(&mut watch).await), [(EventKind::Put, "a/1")]);
        assert_quiet(&mut watch).await;
    })
    .await;
}

#[tokio::test]
async fn an_expired_entry_expires_before_what_is_written_over_it() {
    where_watchable(async |store| {
        let mut watch = store.watch(&WatchQuery::default()).await.unwrap();
        store.write_for("k", 5).await;
        next(&mut watch).await;
        store.pass(5);
        if store.info.backend != Backend::KvRaft {
            assert_quiet(&mut watch).await;
        }
        store.write("k", 1).await;
        let change = next(&mut watch).await;
        let mut events: Vec<_> = change.events.iter().map(|event| event.kind).collect();
        // A leader removes what has expired by itself, and may be faster: then in a revision before.
        if store.info.backend == Backend::KvRaft && events == [EventKind::Expire] {
            events.extend(next(&mut watch).await.events.iter().map(|event| event.kind));
        }
        assert_eq!(events, [EventKind::Expire, EventKind::Put]);
    })
    .await;
}

#[tokio::test]
async fn sweeping_shows_what_expired_as_one_revision() {
    where_watchable(async |store| {
        store.write_for("b", 5).await;
        store.write_for("a", 5).await;
        store.write_for("first", 4).await;
        let mut watch = store.watch(&WatchQuery::default()).await.unwrap();
        store.pass(5);
        if store.fixture.sweep().is_some() {
            let expected =
                [(EventKind::Expire, "first"), (EventKind::Expire, "a"), (EventKind::Expire, "b")];
            assert_eq!(summary(&next(&mut watch).await), expected, "by deadline, then by key");
            assert_quiet(&mut watch).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_version_of_another_epoch_comes_too_late() {
    where_watchable(async |store| {
        let Version::Numbered { epoch, revision } = store.write("k", 1).await.version else {
            panic!("a store that can be watched has versions");
        };
        let foreign = Version::Numbered { epoch: epoch + 1, revision };
        let query = WatchQuery { after: Some(foreign), ..WatchQuery::default() };
        let error = store.watch(&query).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.detail("reason"), Some(&"compacted".into()));
    })
    .await;
}

#[tokio::test]
async fn a_closed_watch_ends() {
    where_watchable(async |store| {
        let mut watch = store.watch(&WatchQuery::default()).await.unwrap();
        store.write("k", 1).await;
        watch.close();
        assert_eq!(watch.next(None).await, Ok(None));
    })
    .await;
}
