//! Writes: time to live, what many writers were told, dropped futures, sweeping, closing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use plimsoll::entry::{ListQuery, PutOptions};
use plimsoll::error::{ErrorKind, Outcome};
use plimsoll::sql::{PoolOptions, PostgresDatabase, PostgresOptions, SqlClock};
use plimsoll::store::{SqlOptions, SqlStore, Store, StoreHandle};
use plimsoll::value::{Table, TableKey, Value};

use super::{Fixture, NOW_MS, all_keys, ttl_ms};

#[tokio::test]
async fn an_entry_is_gone_from_its_deadline_on() {
    let Some(fixture) = Fixture::available() else { return };
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
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    let options = PutOptions { ttl: ttl_ms(100), ..PutOptions::default() };
    let entry = store.put("k", 1, options).await.unwrap();
    assert_eq!(entry.expires_at.unwrap().0, NOW_MS + 100);
    let entry = store.put("k", 2, PutOptions::default()).await.unwrap();
    assert_eq!(entry.expires_at, None);
    fixture.clock.advance_ms(1_000);
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}

#[tokio::test]
async fn the_clock_of_the_server_decides_by_default() {
    let Some(fixture) = Fixture::available() else { return };
    let options = SqlOptions { clock: SqlClock::Server, ..fixture.options() };
    let store = fixture.open(fixture.database(), options).await.unwrap();
    let server_ms = || {
        let now = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        fixture.value(now).unwrap().parse::<u64>().unwrap()
    };
    let before = server_ms();
    store.set("short", 1, ttl_ms(60)).await.unwrap();
    store.set("long", 1, ttl_ms(60_000)).await.unwrap();
    let deadline = store.entry("long").await.unwrap().unwrap().expires_at.unwrap().0;
    assert!((before + 60_000..=server_ms() + 60_000).contains(&deadline));
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(store.get("short").await, Ok(None));
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["long"]);
    assert_eq!(store.has("long").await, Ok(true));
}

/// A deadline counts from when the row is written, not from when the write began to wait.
#[tokio::test]
async fn the_clock_is_read_after_the_wait_for_a_lock() {
    let Some(fixture) = Fixture::available() else { return };
    let options = SqlOptions { clock: SqlClock::Server, ..fixture.options() };
    let store = fixture.open(fixture.database(), options).await.unwrap();
    store.set("k", 1, None).await.unwrap();
    let other = fixture.session().await;
    other.batch_execute("BEGIN; SELECT * FROM kv_store FOR UPDATE").await.unwrap();
    let write = store.set("k", 2, ttl_ms(500));
    let (written, ()) = tokio::join!(write, async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        other.batch_execute("COMMIT").await.unwrap();
    });
    written.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_writers_were_acknowledged_is_there() {
    const WRITERS: i64 = 32;
    const ROUNDS: i64 = 20;
    let Some(fixture) = Fixture::available() else { return };
    let database = fixture.database();
    let store = fixture.open(database.clone(), fixture.options()).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let key = format!("{writer}/{round}");
                store.set(&key, round, None).await.unwrap();
                store.set(&format!("{writer}"), round, None).await.unwrap();
                store.set("shared", writer, None).await.unwrap();
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
    assert!(fixture.connections() <= PoolOptions::default().max_open);
    database.close().await;
    let store = fixture.store().await;
    for writer in 0..WRITERS {
        assert_eq!(store.get(&format!("{writer}")).await, Ok(Some((ROUNDS - 1).into())));
        for round in 0..ROUNDS {
            let expected = (round % 2 == 0).then(|| Value::from(round));
            assert_eq!(store.get(&format!("{writer}/{round}")).await, Ok(expected));
        }
    }
}

/// Values that a column of another type would change, if they were written to it as they are.
fn delicate_values() -> Vec<Value> {
    let key = TableKey::from;
    let mixed: Table = [
        (key("a\0b"), Value::from("x\0y")),
        (1.into(), 1e16.into()),
        (key("$plimsoll"), f64::NAN.into()),
        (TableKey::Float(0.5), vec![0xff, 0, 0x5c].into()),
    ]
    .into_iter()
    .collect();
    vec![
        true.into(),
        i64::MIN.into(),
        1.0.into(),
        (-0.0).into(),
        1e16.into(),
        (-1e18).into(),
        1e300.into(),
        5e-324.into(),
        f64::MAX.into(),
        f64::INFINITY.into(),
        "\\x41 \u{1f600} \\ ' \" \0".into(),
        vec![0xff, 0].into(),
        Value::table(),
        mixed.into(),
    ]
}

#[tokio::test]
async fn what_goes_in_comes_out_of_every_type_of_column() {
    for column in ["BYTEA", "TEXT", "VARCHAR(9000)", "JSON", "JSONB"] {
        let ddl = format!(
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value {column} NOT NULL, expires_at BIGINT)"
        );
        let Some(fixture) = Fixture::with(&ddl) else { return };
        let store = fixture.store().await;
        for (i, value) in delicate_values().into_iter().enumerate() {
            let key = format!("{i:02}");
            store.set(&key, value.clone(), None).await.unwrap();
            let read = store.get(&key).await.unwrap().unwrap();
            assert_eq!(format!("{read:?}"), format!("{value:?}"), "{column}");
        }
        let page = store.list(&ListQuery::new()).await.unwrap();
        let listed: Vec<_> = page.items.into_iter().map(|entry| entry.value).collect();
        assert_eq!(format!("{listed:?}"), format!("{:?}", delicate_values()), "{column}");
    }
}

/// What makes a write fail: by itself or at its commit.
#[tokio::test]
async fn a_row_that_the_table_refuses_is_invalid_and_nothing_is_written() {
    let table = "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BYTEA, expires_at BIGINT";
    let trigger = |body: &str| {
        format!(
            "{table}); CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN {body} END $$; CREATE TRIGGER judge BEFORE INSERT ON kv_store \
             FOR EACH ROW EXECUTE FUNCTION judge()"
        )
    };
    for (ddl, message) in [
        (format!("{table}, CHECK (key <> 'bad'))"), "violates check constraint"),
        (
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value VARCHAR(4), expires_at BIGINT)"
                .to_owned(),
            "value too long",
        ),
        (trigger("RAISE EXCEPTION 'not this one';"), "not this one"),
        (trigger("RAISE EXCEPTION 'own code' USING ERRCODE = 'SHOP1';"), "own code"),
        (trigger("RETURN NULL;"), "suppresses it"),
        (
            format!(
                "CREATE TABLE parent (name TEXT PRIMARY KEY); \
                 {table}, FOREIGN KEY (key) REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
            ),
            "violates foreign key constraint",
        ),
    ] {
        let Some(fixture) = Fixture::with(&ddl) else { return };
        let store = fixture.store().await;
        for _ in 0..2 {
            let error = store.set("bad", "long", None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert_eq!(error.outcome(), Some(Outcome::None));
            assert!(error.message().contains(message), "{error}");
            assert_eq!(store.has("bad").await, Ok(false));
        }
        assert_eq!(fixture.connections(), 1, "the connection was as good as before");
    }
}

#[tokio::test]
async fn a_dropped_write_is_applied_wholly_or_not_at_all_and_frees_its_connection() {
    let Some(fixture) = Fixture::available() else { return };
    let pool = PoolOptions { max_open: 2, max_idle: 2, max_lifetime: None };
    let options = PostgresOptions { pool, ..fixture.postgres_options() };
    let store = fixture.open(PostgresDatabase::open(options), fixture.options()).await.unwrap();
    store.set("k", "old", None).await.unwrap();
    let other = fixture.session().await;
    for _ in 0..5 {
        let lock = "BEGIN; SELECT * FROM kv_store WHERE key = 'k' FOR UPDATE";
        other.batch_execute(lock).await.unwrap();
        for _ in 0..2 {
            let write = store.set("k", "whole", ttl_ms(1_000));
            let dropped = tokio::time::timeout(Duration::from_millis(30), write).await;
            assert!(dropped.is_err(), "it waits for the lock");
        }
        // The statements that nobody waits for are canceled, although the lock is still held.
        store.set("another", 1, None).await.unwrap();
        fixture.eventually("no statement waits", || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                           AND usename = current_user";
            fixture.value(waiting).as_deref() == Some("0")
        });
        other.batch_execute("COMMIT").await.unwrap();
        let entry = store.entry("k").await.unwrap().unwrap();
        match entry.expires_at {
            None => assert_eq!(entry.value, "old".into()),
            Some(deadline) => {
                assert_eq!((entry.value, deadline.0), ("whole".into(), NOW_MS + 1_000))
            }
        }
    }
    assert!(fixture.connections() <= 3);
}

/// Calls need no runtime of their own, and survive the one in which they were first made.
#[test]
fn calls_come_from_any_executor() {
    let Some(fixture) = Fixture::available() else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = runtime().block_on(fixture.store());
    runtime().block_on(store.set("k", 1, None)).unwrap();
    let mut get = pin!(store.get("k"));
    let context = &mut Context::from_waker(Waker::noop());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let std::task::Poll::Ready(value) = get.as_mut().poll(context) {
            assert_eq!(value, Ok(Some(1.into())));
            return;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn count_rows(fixture: &Fixture) -> String {
    fixture.value("SELECT count(*) FROM kv_store").unwrap()
}

#[tokio::test]
async fn sweeping_deletes_the_expired_and_nothing_else() {
    let Some(fixture) = Fixture::available() else { return };
    fixture.run(&format!(
        "INSERT INTO kv_store SELECT 'k' || i, '1', {NOW_MS} + i % 2 FROM generate_series(1, 5000) i; \
         INSERT INTO kv_store VALUES ('stays', '1', NULL)"
    ));
    let interval = Some(Duration::from_millis(5));
    let options = SqlOptions { cleanup_interval: interval, ..fixture.options() };
    let store = SqlStore::open(fixture.database(), options).await.unwrap();
    fixture.eventually("half is gone", || count_rows(&fixture) == "2501");
    // A row that somebody works on is left for later, and does not hold up the others.
    let other = fixture.session().await;
    other.batch_execute("BEGIN; SELECT * FROM kv_store WHERE key = 'k1' FOR UPDATE").await.unwrap();
    fixture.clock.advance_ms(1);
    fixture.eventually("all others are gone", || count_rows(&fixture) == "2");
    other.batch_execute("COMMIT").await.unwrap();
    fixture.eventually("it is gone too", || count_rows(&fixture) == "1");

    // A closed store sweeps no more.
    store.close().await;
    let handle = StoreHandle::new("app:records", store.clone());
    handle.set("late", 1, ttl_ms(1)).await.unwrap();
    fixture.clock.advance_ms(1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(count_rows(&fixture), "2");
}

#[tokio::test]
async fn closing_finishes_what_is_under_way_and_refuses_the_rest() {
    let Some(fixture) = Fixture::available() else { return };
    let database = fixture.database();
    let store = fixture.open(Arc::clone(&database), fixture.options()).await.unwrap();
    let mut begun = Box::pin(store.set("begun", 1, None));
    let context = &mut Context::from_waker(Waker::noop());
    assert!(begun.as_mut().poll(context).is_pending());
    let (begun, ()) = tokio::join!(begun, database.close());
    assert_eq!(begun, Ok(()));
    for error in [
        store.get("begun").await.unwrap_err(),
        store.set("k", 1, None).await.unwrap_err(),
        store.list(&ListQuery::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("closed") && !error.retryable(), "{error}");
    }
    database.close().await;
    fixture.eventually("no connection is left", || fixture.connections() == 0);
    assert_eq!(fixture.store().await.get("begun").await, Ok(Some(1.into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_keeps_to_its_limits() {
    let Some(fixture) = Fixture::available() else { return };
    let pool =
        PoolOptions { max_open: 3, max_idle: 1, max_lifetime: Some(Duration::from_millis(50)) };
    let options = PostgresOptions { pool, ..fixture.postgres_options() };
    let store = fixture.open(PostgresDatabase::open(options), fixture.options()).await.unwrap();
    let pid = "SELECT pid FROM pg_stat_activity WHERE usename = current_user \
               AND application_name = 'plimsoll'";
    let before = fixture.value(pid);
    assert!(before.is_some());
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.set("k", 1, None).await.unwrap();
    assert_ne!(fixture.value(pid), before, "a connection that was too old is not used");

    let other = fixture.session().await;
    other.batch_execute("BEGIN; SELECT * FROM kv_store FOR UPDATE").await.unwrap();
    let writes: Vec<_> = (0..6)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move { store.set("k", i, None).await })
        })
        .collect();
    fixture.eventually("all connections are in use", || fixture.connections() == 3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fixture.connections(), 3);
    other.batch_execute("COMMIT").await.unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    fixture.eventually("one is kept", || fixture.connections() == 1);
}
