//! The engine handle: what opens when, once, again after a failure, and never half.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use plimsoll::entry::{PutOptions, Version};
use plimsoll::error::{Error, ErrorKind};
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::store::Backend;
use rusqlite::Connection;

fn config(folder: &Path, entries: &str) -> Config {
    let text = format!("version: \"1.0\"\nnamespace: app\nentries:\n{entries}");
    Config::parse(&text, folder, "t.yaml", LoadOptions::default()).unwrap()
}

async fn open(folder: &Path, entries: &str) -> Result<Plimsoll, Error> {
    Plimsoll::open(config(folder, entries)).await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const CACHE: &str = "  - {name: cache, kind: store.memory}\n";

const DATABASE: &str = "  - {name: db, kind: db.sql.sqlite, file: data.db, busy_timeout: 20ms}\n";

const DDL: &str =
    "CREATE TABLE t (key VARCHAR(255) PRIMARY KEY, value BYTEA NOT NULL, expires_at BIGINT)";

#[tokio::test]
async fn ids_that_are_no_stores_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), &format!("{CACHE}{DATABASE}")).await.unwrap();
    let table = [
        ("", ErrorKind::Invalid, "the id of the store is empty; name one such as app:cache"),
        ("app:cahce", ErrorKind::NotFound, "has no store \"app:cahce\"; did you mean app:cache?"),
        ("cache", ErrorKind::NotFound, "the configuration has no store \"cache\""),
        ("app:nothing_like_it", ErrorKind::NotFound, "the configuration has no store"),
        ("app:db", ErrorKind::Invalid, "app:db is a db.sql.sqlite, not a store"),
    ];
    for (id, kind, expected) in table {
        let error = engine.store(id).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{id:?}");
        assert!(error.message().contains(expected), "{error}");
        assert!(!error.retryable());
    }
    let handle = engine.store("app:cache").await.unwrap();
    assert_eq!(handle.info().unwrap().id, "app:cache");
    assert_eq!(format!("{engine:?}"), "[app:cache, app:db]");
}

#[tokio::test]
async fn handles_and_clones_of_the_engine_share_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), CACHE).await.unwrap();
    let first = engine.store("app:cache").await.unwrap();
    let second = engine.clone().store("app:cache").await.unwrap();
    first.set("k", 1_i64, None).await.unwrap();
    first.release();
    assert_eq!(second.get("k").await.unwrap(), Some(1_i64.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_first_uses_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let entries = format!(
        "{CACHE}{DATABASE}  - {{name: s, kind: store.sql, database: app:db, table_name: t, create_table: true}}\n"
    );
    for _ in 0..20 {
        let engine = open(folder.path(), &entries).await.unwrap();
        let tasks = (0..16).map(|i| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let sql = engine.store("app:s").await.unwrap();
                sql.set("k", 1_i64, None).await.unwrap();
                let cache = engine.store("app:cache").await.unwrap();
                let key = format!("k{i}");
                cache.put(&key, i64::from(i), PutOptions::default()).await.unwrap().version
            })
        });
        let mut epochs = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            let Version::Numbered { epoch, .. } = task.await.unwrap() else { panic!("a version") };
            epochs.push(epoch);
        }
        epochs.dedup();
        assert_eq!(epochs.len(), 1, "every task wrote to the same store");
        engine.close().await;
    }
}

#[tokio::test]
async fn nothing_opens_after_the_close() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), CACHE).await.unwrap();
    let clone = engine.clone();
    engine.store("app:cache").await.unwrap();
    engine.close().await;
    engine.close().await;
    let error = clone.store("app:cache").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("the engine is closed"));
    assert!(!error.retryable());
}

#[tokio::test]
async fn the_folder_of_the_builtin_configuration_is_made_when_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Plimsoll::open(Config::builtin(folder.path())).await.unwrap();
    engine.store("app:cache").await.unwrap().set("k", 1_i64, None).await.unwrap();
    assert!(names(folder.path()).is_empty(), "the cache needs no folder");

    let records = engine.store("app:records").await.unwrap();
    records.set("k", "kept", None).await.unwrap();
    let info = records.info().unwrap();
    assert_eq!((info.backend, info.durable), (Backend::Sql, true));
    assert_eq!(names(folder.path()), [".plimsoll"]);
    engine.close().await;
    assert_eq!(names(&folder.path().join(".plimsoll")), ["records.db"], "no log is left behind");

    let engine = Plimsoll::open(Config::builtin(folder.path())).await.unwrap();
    let records = engine.store("app:records").await.unwrap();
    assert_eq!(records.get("k").await.unwrap(), Some("kept".into()));
    engine.close().await;
}

#[tokio::test]
async fn only_the_last_folder_of_a_path_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let entries = |file: &str, create: bool| {
        format!(
            "  - {{name: db, kind: db.sql.sqlite, file: {file}}}\n  - {{name: s, kind: store.sql, database: app:db, table_name: t, create_table: {create}}}\n"
        )
    };
    let engine = open(folder.path(), &entries("a/b/x.db", true)).await.unwrap();
    let error = engine.store("app:s").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for expected in
        ["app:s (t.yaml:5:5)", "app:db (t.yaml:4:5)", "a/b can't be made", "correct the path"]
    {
        assert!(error.message().contains(expected), "{error}");
    }
    assert!(names(folder.path()).is_empty());

    let engine = open(folder.path(), &entries("a/x.db", false)).await.unwrap();
    let error = engine.store("app:s").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(names(folder.path()).is_empty(), "nothing is made unless create_table says so");

    let engine = open(folder.path(), &entries("a/x.db", true)).await.unwrap();
    engine.store("app:s").await.unwrap();
    engine.close().await;
    assert_eq!(names(&folder.path().join("a")), ["x.db"]);
}

#[tokio::test]
async fn a_broken_entry_stops_the_start_and_closes_what_was_open() {
    let folder = tempfile::tempdir().unwrap();
    let entries = format!(
        "{DATABASE}  - {{name: good, kind: store.sql, database: app:db, table_name: g, create_table: true, lifecycle: {{auto_start: true}}}}\n  - name: bad\n    kind: store.sql\n    database: app:db\n    table_name: missing\n    lifecycle: {{auto_start: true}}\n"
    );
    let error = open(folder.path(), &entries).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for expected in ["app:bad (t.yaml:6:5)", "table_name", "CREATE TABLE", "missing"] {
        assert!(error.message().contains(expected), "{error}");
    }
    assert_eq!(names(folder.path()), ["data.db"], "its log went with the last connection");

    let lazily = entries.replace("auto_start: true", "auto_start: false");
    let engine = open(folder.path(), &lazily).await;
    assert!(engine.is_ok(), "without auto_start it is found at the first use");
}

#[tokio::test]
async fn a_failed_opening_is_tried_again_by_the_next_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let entries =
        format!("{DATABASE}  - {{name: s, kind: store.sql, database: app:db, table_name: t}}\n");
    let engine = open(folder.path(), &entries).await.unwrap();
    assert_eq!(engine.store("app:s").await.unwrap_err().kind(), ErrorKind::Invalid, "no file");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE other (a)").unwrap();
    let error = engine.store("app:s").await.unwrap_err();
    assert!(error.message().contains("CREATE TABLE"), "no table: {error}");
    connection.execute_batch(DDL).unwrap();
    let store = engine.store("app:s").await.unwrap();
    store.set("k", 1_i64, None).await.unwrap();
    engine.close().await;
}

#[tokio::test]
async fn a_database_that_is_down_does_not_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(DDL).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let entries = "  - {name: db, kind: db.sql.sqlite, file: data.db, busy_timeout: 20ms, lifecycle: {auto_start: true}}\n  - {name: s, kind: store.sql, database: app:db, table_name: t, lifecycle: {auto_start: true}}\n";
    let engine = open(folder.path(), entries).await.unwrap();
    let store = engine.store("app:s").await.unwrap();
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    connection.execute_batch("ROLLBACK").unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.get("k").await.unwrap(), None);
    engine.close().await;
}

#[tokio::test]
async fn a_database_that_is_broken_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let entries =
        "  - {name: db, kind: db.sql.sqlite, file: data.db, lifecycle: {auto_start: true}}\n";
    assert!(open(folder.path(), entries).await.is_ok(), "a file that is missing is made later");

    std::fs::write(
        folder.path().join("data.db"),
        "this is no database, and long enough".repeat(99),
    )
    .unwrap();
    let error = open(folder.path(), entries).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().starts_with("app:db (t.yaml:4:5): "), "{error}");

    std::fs::remove_file(folder.path().join("data.db")).unwrap();
    std::fs::create_dir(folder.path().join("data.db")).unwrap();
    let error = open(folder.path(), entries).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("is a folder, not a database file"), "{error}");
}

#[tokio::test]
async fn relative_paths_resolve_from_the_file_they_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let index = |namespace: &str| {
        format!(
            "version: \"1.0\"\nnamespace: {namespace}\nentries:\n  - {{name: db, kind: db.sql.sqlite, file: x.db}}\n  - {{name: s, kind: store.sql, database: '{namespace}:db', table_name: t, create_table: true}}\n"
        )
    };
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("_index.yaml"), index(name)).unwrap();
    }
    let config = Config::load(folder.path(), LoadOptions::default()).unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    engine.store("a:s").await.unwrap().set("k", 1_i64, None).await.unwrap();
    engine.store("b:s").await.unwrap();
    engine.close().await;
    for name in ["a", "b"] {
        assert_eq!(names(&folder.path().join(name)), ["_index.yaml", "x.db"]);
    }
}

#[tokio::test]
async fn databases_in_memory_are_shared_by_their_stores() {
    let folder = tempfile::tempdir().unwrap();
    let entries = "  - {name: db, kind: db.sql.sqlite, file: ':memory:'}\n  - {name: a, kind: store.sql, database: app:db, table_name: t, create_table: true}\n  - {name: b, kind: store.sql, database: app:db, table_name: t}\n";
    let engine = open(folder.path(), entries).await.unwrap();
    let a = engine.store("app:a").await.unwrap();
    a.set("k", 1_i64, None).await.unwrap();
    let b = engine.store("app:b").await.unwrap();
    assert_eq!(b.get("k").await.unwrap(), Some(1_i64.into()));
    assert!(!b.info().unwrap().durable);
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn the_settings_of_entries_reach_their_stores() {
    let folder = tempfile::tempdir().unwrap();
    let entries = "  - {name: m, kind: store.memory, max_size: 2}\n  - {name: db, kind: db.sql.sqlite, file: n.db, synchronous: normal}\n  - {name: s, kind: store.sql, database: app:db, table_name: t, id_column_name: k, payload_column_name: v, expire_column_name: e, create_table: true}\n";
    let engine = open(folder.path(), entries).await.unwrap();
    let memory = engine.store("app:m").await.unwrap();
    memory.set("a", 1_i64, None).await.unwrap();
    memory.set("b", 1_i64, None).await.unwrap();
    let full = memory.set("c", 1_i64, None).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Unavailable);

    let sql = engine.store("app:s").await.unwrap();
    sql.set("key", "text", None).await.unwrap();
    let info = sql.info().unwrap();
    assert_eq!((info.durable, info.synchronous), (false, Some("NORMAL")));
    engine.close().await;
    let connection = Connection::open(folder.path().join("n.db")).unwrap();
    let row = connection.query_row("SELECT k, v, e FROM t", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Option<i64>>(2)?))
    });
    assert_eq!(row.unwrap(), ("key".to_owned(), b"\"text\"".to_vec(), None));
}
