//! Files that are locked, read-only, damaged, or not there.

use std::time::{Duration, Instant};

use plimsoll::entry::ListQuery;
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::store::SqlOptions;

use super::{Fixture, SEED_DDL, database_at};

fn assert_locked(error: &Error, outcome: Option<Outcome>) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("locked"), "{error}");
    assert!(error.retryable());
    assert_eq!(error.outcome(), outcome);
}

#[tokio::test]
async fn a_locked_file_is_unavailable_until_it_is_unlocked() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    store.set("k", 1, None).await.unwrap();
    let other = fixture.other_program();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_locked(&store.get("k").await.unwrap_err(), None);
    assert_locked(&store.list(&ListQuery::new()).await.unwrap_err(), None);
    assert_locked(&store.set("k", 2, None).await.unwrap_err(), Some(Outcome::None));
    assert_locked(&store.delete("k", None).await.unwrap_err(), Some(Outcome::None));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
    store.set("k", 3, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(3.into())));
}

#[tokio::test]
async fn a_lock_shorter_than_the_busy_timeout_is_waited_for() {
    let fixture = Fixture::seed();
    let store = fixture.patient_store().await;
    store.set("k", 1, None).await.unwrap();
    let other = fixture.other_program();
    for round in 0..3 {
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let (get, set, _) = tokio::join!(store.get("k"), store.set("other", round, None), async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            other.execute_batch("COMMIT").unwrap();
        });
        assert_eq!((get, set), (Ok(Some(1.into())), Ok(())));
    }
}

/// In a rollback journal it is the commit that waits for readers.
#[tokio::test]
async fn a_commit_that_readers_hold_up_leaves_nothing() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    store.set("k", 1, None).await.unwrap();
    let other = fixture.other_program();
    other.execute_batch("BEGIN; SELECT * FROM kv_store").unwrap();
    assert_locked(&store.set("k", 2, None).await.unwrap_err(), Some(Outcome::None));
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
    other.execute_batch("COMMIT").unwrap();
    store.set("k", 3, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(3.into())));
}

#[tokio::test]
async fn a_store_opens_on_a_locked_file_and_serves_once_it_is_unlocked() {
    let fixture = Fixture::seed();
    let other = fixture.other_program();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let store = fixture.store().await;
    assert_locked(&store.get("k").await.unwrap_err(), None);
    assert_locked(&store.set("k", 1, None).await.unwrap_err(), Some(Outcome::None));

    // Those that wait for the same attempt share its error: nobody waits in line.
    let start = Instant::now();
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.has("k").await })
        })
        .collect();
    for call in calls {
        assert_locked(&call.await.unwrap().unwrap_err(), None);
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

    other.execute_batch("COMMIT").unwrap();
    store.set("k", 1, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
}

/// The format says that a file whose write version is unknown may be read but not written: a
/// read-only file, whoever runs the test.
#[tokio::test]
async fn a_read_only_file_is_read_and_not_written() {
    let fixture = Fixture::seed();
    fixture.other_program().execute("INSERT INTO kv_store VALUES ('k', '1', NULL)", ()).unwrap();
    let mut bytes = std::fs::read(fixture.path()).unwrap();
    bytes[18] = 9;
    std::fs::write(fixture.path(), bytes).unwrap();
    let store = fixture.store().await;
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
    assert_eq!(store.list(&ListQuery::new()).await.unwrap().items.len(), 1);
    for error in
        [store.set("k", 2, None).await.unwrap_err(), store.delete("k", None).await.unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.outcome(), Some(Outcome::None));
        assert!(!error.retryable() && error.message().contains("permissions"), "{error}");
    }
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_internal_error() {
    let fixture = Fixture::empty();
    std::fs::write(fixture.path(), "not a database, but long enough to look like a file\n")
        .unwrap();
    for create_table in [false, true] {
        let options = SqlOptions { create_table, ..fixture.options() };
        let error = fixture.open(fixture.database(), options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(error.message().contains("no SQLite database") && !error.retryable(), "{error}");
    }
    let kept = std::fs::read_to_string(fixture.path()).unwrap();
    assert!(kept.starts_with("not a database"), "the file is left alone");
}

#[tokio::test]
async fn a_damaged_file_is_an_internal_error_and_the_store_goes_on() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    for i in 0..200 {
        fixture
            .other_program()
            .execute(
                "INSERT INTO kv_store VALUES (?1, ?2, NULL)",
                (format!("k{i:03}"), "1".repeat(500)),
            )
            .unwrap();
    }
    // Every page after the first, which keeps the schema.
    let mut bytes = std::fs::read(fixture.path()).unwrap();
    bytes[4_096..].fill(0xa5);
    std::fs::write(fixture.path(), bytes).unwrap();
    for _ in 0..2 {
        for error in [
            store.get("k100").await.unwrap_err(),
            store.has("k100").await.unwrap_err(),
            store.list(&ListQuery::new()).await.unwrap_err(),
            store.set("k100", 1, None).await.unwrap_err(),
            store.delete("k100", None).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
            assert!(error.message().contains("damaged") && !error.retryable(), "{error}");
            assert!(matches!(error.outcome(), None | Some(Outcome::None)));
        }
    }
}

#[tokio::test]
async fn a_path_that_can_be_no_database_is_a_mistake() {
    let fixture = Fixture::empty();
    let missing_folder = fixture.folder.path().join("missing/test.db");
    for (path, create_table, message) in [
        (fixture.path(), false, "set create_table: true"),
        (missing_folder.clone(), true, "create it, or correct the path"),
        (missing_folder, false, "does not exist"),
        (fixture.folder.path().to_owned(), true, "is a folder"),
        ("".into(), true, "no path"),
    ] {
        let options = SqlOptions { create_table, ..fixture.options() };
        let error = fixture.open(database_at(&path, Duration::ZERO), options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.detail("field"), Some(&"file".into()), "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    assert_eq!(std::fs::read_dir(fixture.folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn a_file_that_was_removed_is_told_from_one_that_is_written() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    store.set("k", 1, None).await.unwrap();
    std::fs::remove_file(fixture.path()).unwrap();
    let error = store.set("k", 2, None).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));

    // Another file in its place is used from then on, by readers too.
    fixture.other_program().execute_batch(SEED_DDL).unwrap();
    store.set("k", 3, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(3.into())));
    let replaced = fixture.other_program();
    let rows: i64 =
        replaced.query_row("SELECT count(*) FROM kv_store", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

/// A process that may not write beyond a size of file meets a true input and output error, in the
/// middle of a commit.
#[cfg(unix)]
#[test]
fn a_commit_that_meets_an_io_error_has_an_unknown_outcome() {
    const FOLDER: &str = "PLIMSOLL_TEST_LIMITED_FOLDER";
    const LIMITED: &str = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Some(folder) = std::env::var_os(FOLDER) {
        return runtime.block_on(write_until_an_error(std::path::Path::new(&folder)));
    }
    let fixture = Fixture::with(&format!("PRAGMA journal_mode = WAL; {SEED_DDL}"));
    let limited = std::process::Command::new("sh")
        .args(["-c", LIMITED])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_commit_that_meets_an_io_error_has_an_unknown_outcome"])
        .env(FOLDER, fixture.folder.path())
        .output()
        .unwrap();
    assert!(limited.status.success(), "{limited:?}");

    runtime.block_on(async {
        let store = fixture.store().await;
        let acknowledged = store.get("acknowledged").await.unwrap().expect("was written");
        let acknowledged = acknowledged.as_integer().expect("a number");
        assert!(acknowledged > 0);
        for i in 0..acknowledged {
            assert_eq!(store.get(&format!("k{i}")).await, Ok(Some(large_value(i))));
        }
        let unknown = store.get(&format!("k{acknowledged}")).await.unwrap();
        assert!(unknown.is_none_or(|value| value == large_value(acknowledged)), "half a write");
    });
}

#[cfg(unix)]
async fn write_until_an_error(folder: &std::path::Path) {
    let database = database_at(&folder.join("test.db"), Duration::from_secs(5));
    let options = SqlOptions::new(super::name("kv_store"));
    let store = plimsoll::store::SqlStore::open(database, options).await.expect("opens");
    let store = plimsoll::store::StoreHandle::new("app:records", store);
    let mut acknowledged = 0;
    let error = loop {
        match store.set(&format!("k{acknowledged}"), large_value(acknowledged), None).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the limit does not hold");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error}");
    assert!(!error.retryable());

    // The store goes on, with what fits.
    assert_eq!(store.get("k0").await, Ok(Some(large_value(0))));
    store.set("acknowledged", acknowledged, None).await.expect("fits");
}

#[cfg(unix)]
fn large_value(i: i64) -> plimsoll::value::Value {
    format!("{i}:{}", "x".repeat(100_000)).into()
}
