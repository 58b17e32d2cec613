//! Writes: time to live, group commit, dropped futures, sweeping, closing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll::entry::ListQuery;
use plimsoll::error::{ErrorKind, Outcome};
use plimsoll::limits::REMOVALS_MAX;
use plimsoll::sql::SqlClock;
use plimsoll::store::{SqlOptions, SqlStore, Store, StoreHandle};
use plimsoll::value::Value;

use super::{Fixture, NOW_MS, SEED_DDL, all_keys, ttl_ms};

#[tokio::test]
async fn an_entry_is_gone_from_its_deadline_on() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    store.set("k", 1, ttl_ms(100)).await.unwrap();
    fixture.clock.advance_ms(99);
    assert_eq!(store.has("k").await, Ok(true));
    fixture.clock.advance_ms(1);
    assert_eq!(store.has("k").await, Ok(false));
    assert_eq!(store.entry("k").await, Ok(None));
    assert_eq!(store.delete("k", None).await, Ok(false));
    assert_eq!(all_keys(&store, ListQuery::new()).await, [""; 0]);
    store.set("k", 2, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}

#[tokio::test]
async fn a_write_without_ttl_clears_the_old_one() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    let entry = store
        .put("k", 1, plimsoll::entry::PutOptions { ttl: ttl_ms(100), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(entry.expires_at.unwrap().0, NOW_MS + 100);
    let entry = store.put("k", 2, Default::default()).await.unwrap();
    assert_eq!(entry.expires_at, None);
    fixture.clock.advance_ms(1_000);
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}

#[tokio::test]
async fn the_clock_of_the_server_decides_by_default() {
    let fixture = Fixture::seed();
    let options = SqlOptions { clock: SqlClock::Server, ..fixture.options() };
    let store = fixture.open(fixture.database(), options).await.unwrap();
    let now_ms = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    };
    let before = now_ms();
    store.set("short", 1, ttl_ms(60)).await.unwrap();
    store.set("long", 1, ttl_ms(60_000)).await.unwrap();
    let deadline = store.entry("long").await.unwrap().unwrap().expires_at.unwrap().0;
    assert!((before + 60_000..=now_ms() + 60_000).contains(&deadline));
    while now_ms() < before + 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(store.get("short").await, Ok(None));
    assert_eq!(store.has("long").await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_writers_were_acknowledged_is_there_after_reopening() {
    const WRITERS: i64 = 32;
    const ROUNDS: i64 = 20;
    let fixture = Fixture::empty();
    let options = SqlOptions { create_table: true, ..fixture.options() };
    let database = fixture.database();
    let store = fixture.open(database.clone(), options.clone()).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let key = format!("{writer}/{round}");
                store.set(&key, round, None).await.unwrap();
                store.set(&format!("{writer}"), round, None).await.unwrap();
                assert_eq!(store.get(&key).await.unwrap(), Some(round.into()));
                if round % 2 == 1 {
                    assert!(store.delete(&key, None).await.unwrap());
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    database.close().await;
    let store = fixture.open(fixture.database(), options).await.unwrap();
    for writer in 0..WRITERS {
        assert_eq!(store.get(&format!("{writer}")).await, Ok(Some((ROUNDS - 1).into())));
        for round in 0..ROUNDS {
            let expected = (round % 2 == 0).then(|| Value::from(round));
            assert_eq!(store.get(&format!("{writer}/{round}")).await, Ok(expected));
        }
    }
}

/// The files as they are when the process dies: nothing is closed, nothing is flushed.
#[tokio::test]
async fn an_acknowledged_write_is_in_the_files_at_once() {
    for ddl in [SEED_DDL.to_owned(), format!("PRAGMA journal_mode = WAL; {SEED_DDL}")] {
        let fixture = Fixture::with(&ddl);
        let store = fixture.store().await;
        for i in 0..20 {
            store.set(&format!("k{i}"), i, None).await.unwrap();
            let image = Fixture::empty();
            for file in std::fs::read_dir(fixture.folder.path()).unwrap() {
                let file = file.unwrap();
                // The index of the log is shared memory, which ends with the processes.
                if !file.file_name().to_string_lossy().ends_with("-shm") {
                    let copy = image.folder.path().join(file.file_name());
                    std::fs::copy(file.path(), copy).unwrap();
                }
            }
            let recovered = image.store().await;
            for j in 0..=i {
                assert_eq!(recovered.get(&format!("k{j}")).await, Ok(Some(j.into())));
            }
        }
    }
}

/// Starts writes while another program holds the lock, so that all but the first share one
/// transaction; answers the errors by key.
async fn write_together(
    fixture: &Fixture,
    store: &StoreHandle,
    keys: &[&'static str],
) -> Vec<(&'static str, Result<(), plimsoll::error::Error>)> {
    let other = fixture.other_program();
    other.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let writes = std::iter::once("first").chain(keys.iter().copied()).map(|key| {
        let store = store.clone();
        tokio::spawn(async move { (key, store.set(key, 1, None).await) })
    });
    let writes: Vec<_> = writes.collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    other.execute_batch("COMMIT").expect("unlocks");
    let mut answers = Vec::new();
    for write in writes {
        answers.push(write.await.expect("no panic"));
    }
    assert!(answers.remove(0).1.is_ok());
    answers
}

/// What makes one write of a group fail: by itself, with the transaction, or at the commit.
#[tokio::test]
async fn a_write_that_fails_does_not_take_its_group_with_it() {
    let table = "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BLOB, expires_at INT";
    for (ddl, message) in [
        (format!("{table}, CHECK (key <> 'bad'))"), "CHECK constraint failed"),
        (
            format!(
                "{table}); CREATE TRIGGER no BEFORE INSERT ON kv_store WHEN new.key = 'bad' \
                 BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END"
            ),
            "not this one",
        ),
        (
            format!(
                "CREATE TABLE parent (name TEXT PRIMARY KEY); \
                 INSERT INTO parent VALUES ('a'), ('b'), ('c'), ('first'); \
                 {table}, FOREIGN KEY (key) REFERENCES parent (name) DEFERRABLE INITIALLY DEFERRED)"
            ),
            "FOREIGN KEY constraint failed",
        ),
    ] {
        let fixture = Fixture::with(&ddl);
        let store = fixture.patient_store().await;
        let answers = write_together(&fixture, &store, &["a", "b", "bad", "c"]).await;
        for (key, answer) in answers {
            if key == "bad" {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                assert_eq!(error.outcome(), Some(Outcome::None));
                assert!(error.message().contains(message), "{error}");
            } else {
                assert_eq!(answer, Ok(()), "{message}");
            }
        }
        assert_eq!(all_keys(&store, ListQuery::new()).await, ["a", "b", "c", "first"]);
    }
}

#[tokio::test]
async fn a_dropped_write_is_applied_wholly_or_not_at_all() {
    let fixture = Fixture::seed();
    let store = fixture.patient_store().await;
    let other = fixture.other_program();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for i in 0..50 {
        let key = format!("k{i:02}");
        let mut write = pin!(store.set(&key, "whole", ttl_ms(1_000)));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(write.as_mut().poll(context).is_pending());
    }
    other.execute_batch("COMMIT").unwrap();
    // The queue is in order: once this is answered, the dropped ones are done or gone.
    store.set("last", 1, None).await.unwrap();
    let page = store.list(&ListQuery::new()).await.unwrap();
    for entry in page.items.iter().filter(|entry| entry.key.as_str() != "last") {
        assert_eq!(entry.value, "whole".into());
        assert_eq!(entry.expires_at.unwrap().0, NOW_MS + 1_000);
    }
    assert!(page.items.len() <= 51);
}

#[test]
fn point_reads_need_no_runtime_and_do_not_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fixture = Fixture::seed();
    let store = runtime.block_on(fixture.store());
    runtime.block_on(store.set("k", 1, None)).unwrap();
    drop(runtime);
    let context = &mut Context::from_waker(Waker::noop());
    let get = pin!(store.get("k")).as_mut().poll(context);
    assert_eq!(get, Poll::Ready(Ok(Some(1.into()))));
    let has = pin!(store.has("absent")).as_mut().poll(context);
    assert_eq!(has, Poll::Ready(Ok(false)));
}

async fn count_rows(fixture: &Fixture) -> i64 {
    let other = fixture.other_program();
    other.query_row("SELECT count(*) FROM kv_store", (), |row| row.get(0)).expect("counts")
}

async fn rows_become(fixture: &Fixture, expected: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while count_rows(fixture).await != expected {
        assert!(tokio::time::Instant::now() < deadline, "{} rows", count_rows(fixture).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn sweeping_deletes_the_expired_and_nothing_else() {
    let fixture = Fixture::seed();
    fixture
        .other_program()
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
             INSERT INTO kv_store SELECT 'k' || i, '1', {NOW_MS} + i % 2 FROM n; \
             INSERT INTO kv_store VALUES ('stays', '1', NULL), ('word', '1', 'soon')"
        ))
        .unwrap();
    let interval = Some(Duration::from_millis(5));
    let options = SqlOptions { cleanup_interval: interval, ..fixture.options() };
    let store = SqlStore::open(fixture.database(), options).await.unwrap();
    rows_become(&fixture, 2_502).await;
    fixture.clock.advance_ms(1);
    rows_become(&fixture, 2).await;

    // A closed store sweeps no more.
    store.close().await;
    let handle = StoreHandle::new("app:records", store.clone());
    handle.set("late", 1, ttl_ms(1)).await.unwrap();
    fixture.clock.advance_ms(1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(count_rows(&fixture).await, 3);
}

#[tokio::test]
async fn a_sweep_takes_as_many_batches_as_it_needs() {
    const ROWS: usize = 30 * REMOVALS_MAX;
    let fixture = Fixture::seed();
    fixture
        .other_program()
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             INSERT INTO kv_store SELECT 'k' || i, '1', 0 FROM n"
        ))
        .unwrap();
    let interval = Some(Duration::from_secs(1));
    let options = SqlOptions { cleanup_interval: interval, ..fixture.options() };
    let _store = fixture.open(fixture.database(), options).await.unwrap();
    // One batch for each interval would take half a minute.
    rows_become(&fixture, 0).await;
}

#[tokio::test]
async fn sweeping_does_not_wait_for_locks() {
    let fixture = Fixture::seed();
    let options =
        SqlOptions { cleanup_interval: Some(Duration::from_millis(1)), ..fixture.options() };
    let database = fixture.patient_database();
    let store = fixture.open(Arc::clone(&database), options).await.unwrap();
    store.set("k", 1, None).await.unwrap();
    let other = fixture.other_program();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    // Sweeps have met the lock by now; the writer is still there to end.
    let closing = tokio::time::timeout(Duration::from_secs(60), database.close());
    assert!(closing.await.is_ok());
}

#[tokio::test]
async fn without_an_interval_nothing_is_swept() {
    for cleanup_interval in [None, Some(Duration::ZERO)] {
        let fixture = Fixture::seed();
        let options = SqlOptions { cleanup_interval, ..fixture.options() };
        let store = fixture.open(fixture.database(), options).await.unwrap();
        store.set("k", 1, ttl_ms(1)).await.unwrap();
        fixture.clock.advance_ms(1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.set("other", 1, None).await.unwrap();
        assert_eq!(count_rows(&fixture).await, 2);
    }
}

#[tokio::test]
async fn closing_finishes_what_is_queued_and_refuses_the_rest() {
    let fixture = Fixture::seed();
    let database = fixture.database();
    let store = fixture.open(Arc::clone(&database), fixture.options()).await.unwrap();
    let mut queued = Box::pin(store.set("queued", 1, None));
    let context = &mut Context::from_waker(Waker::noop());
    assert!(queued.as_mut().poll(context).is_pending());
    database.close().await;
    assert_eq!(queued.await, Ok(()));
    for error in [
        store.get("queued").await.unwrap_err(),
        store.set("k", 1, None).await.unwrap_err(),
        store.list(&ListQuery::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("closed") && !error.retryable(), "{error}");
    }
    database.close().await;
    assert_eq!(fixture.store().await.get("queued").await, Ok(Some(1.into())));
}
