//! Opening: tables that serve, tables that can't, and what a new file becomes.

use plimsoll::entry::ListQuery;
use plimsoll::error::ErrorKind;
use plimsoll::sql::{SqliteDatabase, SqliteFile, SqliteOptions, Synchronous};
use plimsoll::store::{Backend, Consistency, SqlOptions};
use plimsoll::value::Value;

use super::{Fixture, NOW_MS, SEED_DDL, all_keys, name, ttl_ms};

#[tokio::test]
async fn the_table_of_the_documents_serves() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    store.set("a", 1, None).await.unwrap();
    store.set("b", "text", ttl_ms(1_500)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(1.into()));
    let entry = store.entry("b").await.unwrap().unwrap();
    assert_eq!(entry.value, "text".into());
    assert_eq!(entry.version.to_string(), "0");
    assert_eq!(entry.expires_at.unwrap().0, NOW_MS + 1_500);

    let rows: Vec<(String, String, Vec<u8>, Option<i64>)> = fixture
        .other_program()
        .prepare("SELECT key, typeof(value), value, expires_at FROM kv_store ORDER BY key")
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let blob = || "blob".to_owned();
    assert_eq!(
        rows,
        [
            ("a".to_owned(), blob(), b"1".to_vec(), None),
            ("b".to_owned(), blob(), b"\"text\"".to_vec(), Some(NOW_MS as i64 + 1_500)),
        ]
    );
}

#[tokio::test]
async fn create_table_makes_the_file_the_table_and_a_write_ahead_log() {
    let fixture = Fixture::empty();
    let options = SqlOptions {
        table: name("Order"),
        key_column: name("group"),
        payload_column: name("select"),
        expire_column: name("where"),
        create_table: true,
        ..fixture.options()
    };
    for round in 0..2 {
        let database = fixture.database();
        let store = fixture.open(database.clone(), options.clone()).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), (round > 0).then(|| Value::from("v")));
        store.set("k", "v", None).await.unwrap();
        database.close().await;
    }
    let other = fixture.other_program();
    let journal: String = other.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(journal, "wal");
    let ddl: Vec<String> = other
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC")
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(ddl[0].contains("\"group\" VARCHAR(255) PRIMARY KEY"), "{ddl:?}");
    assert!(ddl[1].contains("\"idx_Order_where\""), "{ddl:?}");
}

#[tokio::test]
async fn a_file_of_another_program_keeps_its_journal_mode() {
    let fixture = Fixture::with("CREATE TABLE other (x)");
    let options = SqlOptions { create_table: true, ..fixture.options() };
    let store = fixture.open(fixture.database(), options).await.unwrap();
    store.set("k", "v", None).await.unwrap();
    let journal: String =
        fixture.other_program().query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(journal, "delete");
}

#[tokio::test]
async fn stores_share_a_database() {
    let fixture = Fixture::empty();
    let database = fixture.database();
    let table =
        |table: &str| SqlOptions { table: name(table), create_table: true, ..fixture.options() };
    let first = fixture.open(database.clone(), table("first")).await.unwrap();
    let second = fixture.open(database.clone(), table("second")).await.unwrap();
    let again = fixture.open(database, table("FIRST")).await.unwrap();
    first.set("k", 1, None).await.unwrap();
    second.set("k", 2, None).await.unwrap();
    assert_eq!(again.get("k").await.unwrap(), Some(1.into()));
    assert_eq!(second.get("k").await.unwrap(), Some(2.into()));
}

#[tokio::test]
async fn a_database_in_memory_serves_and_ends_with_its_owner() {
    let fixture = Fixture::empty();
    let memory = || SqliteDatabase::open(SqliteOptions::new(SqliteFile::Memory));
    let options = SqlOptions { create_table: true, ..fixture.options() };
    let store = fixture.open(memory(), options.clone()).await.unwrap();
    store.set("a", 1, None).await.unwrap();
    store.set("b", 2, ttl_ms(10)).await.unwrap();
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["a", "b"]);
    fixture.clock.advance_ms(10);
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["a"]);
    assert!(store.delete("a", None).await.unwrap());
    assert!(!store.info().unwrap().durable);
    let other = fixture.open(memory(), options).await.unwrap();
    assert_eq!(other.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn info_tells_the_truth() {
    let fixture = Fixture::seed();
    let info = fixture.store().await.info().unwrap();
    assert_eq!((info.backend, info.consistency), (Backend::Sql, Consistency::Local));
    let supported: Vec<_> =
        info.capabilities().into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    assert_eq!(supported, ["durable", "list", "ttl"]);
    assert_eq!(info.synchronous, None);

    let normal = SqliteDatabase::open(SqliteOptions {
        synchronous: Synchronous::Normal,
        ..SqliteOptions::new(SqliteFile::Path(fixture.path()))
    });
    let store = fixture.open(normal, fixture.options()).await.unwrap();
    store.set("k", 1, None).await.unwrap();
    let info = store.info().unwrap();
    assert_eq!((info.durable, info.synchronous), (false, Some("NORMAL")));
}

/// Tables of all kinds into which a row goes, and out of which it comes.
#[tokio::test]
async fn other_tables_serve() {
    for ddl in [
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BLOB, expires_at INTEGER)",
        "CREATE TABLE kv_store (key PRIMARY KEY, value, expires_at)",
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value TEXT, expires_at BIGINT) WITHOUT ROWID",
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value ANY, expires_at INT) STRICT",
        "CREATE TABLE KV_Store (KEY TEXT UNIQUE, Value JSON, Expires_At INTEGER)",
        "CREATE TABLE kv_store (id INTEGER PRIMARY KEY NOT NULL, key TEXT NOT NULL UNIQUE, \
         value BLOB NOT NULL, expires_at INT, made TEXT NOT NULL DEFAULT 'now', \
         size INT AS (length(value)))",
        "CREATE TABLE kv_store (key TEXT, value BLOB, expires_at INT, PRIMARY KEY (key, value)); \
         CREATE UNIQUE INDEX by_key ON kv_store (key)",
        "CREATE TABLE kv_store (key TEXT COLLATE NOCASE, value BLOB, expires_at INT); \
         CREATE UNIQUE INDEX by_key ON kv_store (key COLLATE BINARY)",
    ] {
        let fixture = Fixture::with(ddl);
        let store = fixture.store().await;
        store.set("k", "old", ttl_ms(5)).await.unwrap();
        store.set("k", 1.5, None).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(1.5.into()), "{ddl}");
        fixture.clock.advance_ms(10);
        store.set("K", 2, None).await.unwrap();
        assert_eq!(all_keys(&store, ListQuery::new()).await, ["K", "k"], "{ddl}");
        assert!(store.delete("k", None).await.unwrap(), "{ddl}");
        assert_eq!(store.has("K").await, Ok(true), "{ddl}");
    }
}

#[tokio::test]
async fn an_update_leaves_columns_of_others_alone() {
    let fixture = Fixture::with(
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BLOB, expires_at INT, note TEXT); \
         INSERT INTO kv_store VALUES ('k', '1', NULL, 'mine')",
    );
    fixture.store().await.set("k", 2, None).await.unwrap();
    let note: String = fixture
        .other_program()
        .query_row("SELECT note FROM kv_store WHERE value = x'32'", (), |row| row.get(0))
        .unwrap();
    assert_eq!(note, "mine");
}

/// Tables on which a store can't work: the field that the error names, and a part of its message.
#[tokio::test]
async fn wrong_tables_are_refused_at_open() {
    let columns = |key: &str, value: &str, expires: &str| {
        format!("CREATE TABLE kv_store (key {key}, value {value}, expires_at {expires})")
    };
    let good = "TEXT PRIMARY KEY";
    for (ddl, field, message) in [
        (
            "CREATE TABLE other (x)".to_owned(),
            "table_name",
            "CREATE TABLE IF NOT EXISTS \"kv_store\"",
        ),
        (
            "CREATE VIEW kv_store AS SELECT 'a' AS key, 1 AS value, 2 AS expires_at".to_owned(),
            "table_name",
            "is a view",
        ),
        (
            "CREATE VIRTUAL TABLE kv_store USING fts5(key, value, expires_at)".to_owned(),
            "table_name",
            "virtual",
        ),
        (
            "CREATE TABLE kv_store (name TEXT PRIMARY KEY, value BLOB)".to_owned(),
            "id_column_name",
            "it has name, value",
        ),
        (
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, expires_at INT)".to_owned(),
            "payload_column_name",
            "no column \"value\"",
        ),
        (
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BLOB)".to_owned(),
            "expire_column_name",
            "no column \"expires_at\"",
        ),
        (columns("INTEGER PRIMARY KEY", "BLOB", "INT"), "id_column_name", "\"INTEGER\""),
        (columns("BYTEA PRIMARY KEY", "BLOB", "INT"), "id_column_name", "\"BYTEA\""),
        (columns(good, "INTEGER", "INT"), "payload_column_name", "BYTEA or BLOB"),
        (columns(good, "TIMESTAMP", "INT"), "payload_column_name", "\"TIMESTAMP\""),
        (columns(good, "BLOB", "TIMESTAMP"), "expire_column_name", "BIGINT"),
        (columns(good, "BLOB", "TEXT"), "expire_column_name", "BIGINT"),
        (columns(good, "BLOB", "INT NOT NULL"), "expire_column_name", "without ttl"),
        (columns("TEXT", "BLOB", "INT"), "id_column_name", "neither PRIMARY KEY nor UNIQUE"),
        (columns("TEXT COLLATE NOCASE PRIMARY KEY", "BLOB", "INT"), "id_column_name", "NOCASE"),
        (columns(good, "TEXT", "INT") + " STRICT", "payload_column_name", "BLOB"),
        (columns(good, "BLOB AS (x'31')", "INT"), "payload_column_name", "generated"),
        (
            columns("TEXT", "BLOB", "INT")
                + "; CREATE UNIQUE INDEX some ON kv_store (key) WHERE value IS NOT NULL",
            "id_column_name",
            "neither",
        ),
        (
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BLOB, expires_at INT, \
             owner TEXT NOT NULL)"
                .to_owned(),
            "table_name",
            "\"owner\"",
        ),
        (format!("PRAGMA encoding = 'UTF-16'; {SEED_DDL}"), "file", "UTF-16"),
    ] {
        let fixture = Fixture::with(&ddl);
        let error = fixture.open(fixture.database(), fixture.options()).await.expect_err(&ddl);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{ddl}: {error}");
        assert!(!error.retryable());
        assert_eq!(error.detail("field").and_then(Value::as_str), Some(field), "{ddl}: {error}");
        assert!(error.message().contains(message), "{ddl}: {error}");
    }
}

#[tokio::test]
async fn the_printed_ddl_makes_a_table_that_serves() {
    let fixture = Fixture::with("CREATE TABLE other (x)");
    let error = fixture.open(fixture.database(), fixture.options()).await.unwrap_err();
    let ddl = error.detail("ddl").and_then(Value::as_str).unwrap();
    fixture.other_program().execute_batch(ddl).unwrap();
    fixture.store().await.set("k", 1, None).await.unwrap();
}

#[tokio::test]
async fn one_column_for_two_purposes_is_refused() {
    let fixture = Fixture::seed();
    let options = SqlOptions { expire_column: name("KEY"), ..fixture.options() };
    let error = fixture.open(fixture.database(), options).await.unwrap_err();
    assert!(error.message().contains("id_column_name and expire_column_name"), "{error}");
}
