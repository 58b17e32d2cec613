//! Opening: tables that serve, tables that can't, and what `create_table` makes.

use plimsoll::entry::ListQuery;
use plimsoll::error::ErrorKind;
use plimsoll::sql::{PostgresDatabase, PostgresOptions};
use plimsoll::store::{Backend, Consistency, SqlOptions};
use plimsoll::value::Value;

use super::{Fixture, NOW_MS, SEED_DDL, all_keys, name, ttl_ms};

#[tokio::test]
async fn the_table_of_the_documents_serves() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    store.set("a", 1, None).await.unwrap();
    store.set("b", "text", ttl_ms(1_500)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(1.into()));
    let entry = store.entry("b").await.unwrap().unwrap();
    assert_eq!(entry.value, "text".into());
    assert_eq!(entry.version.to_string(), "0");
    assert_eq!(entry.expires_at.unwrap().0, NOW_MS + 1_500);
    let rows = "SELECT string_agg(concat_ws(' ', key, value, expires_at), ', ' ORDER BY key) \
                FROM kv_store";
    let expected = format!("a \\x31, b \\x227465787422 {}", NOW_MS + 1_500);
    assert_eq!(fixture.value(rows), Some(expected));
}

#[tokio::test]
async fn create_table_makes_the_table_with_an_index_that_serves_listings() {
    let Some(fixture) = Fixture::empty() else { return };
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
        store.set("k", "v", ttl_ms(5)).await.unwrap();
        assert!(store.delete("k", None).await.unwrap());
        store.set("k", "v", None).await.unwrap();
        assert_eq!(all_keys(&store, ListQuery::new().prefix("k")).await, ["k"]);
        database.close().await;
    }
    let session = fixture.session().await;
    session.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off").await.unwrap();
    let plan = "EXPLAIN SELECT * FROM \"Order\" ORDER BY \"group\" COLLATE \"C\" LIMIT 5";
    let plan: Vec<String> =
        session.query(plan, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Index Scan using \"Order_pkey\"")), "{plan:?}");
    assert!(plan.iter().all(|line| !line.contains("Sort")), "{plan:?}");
    let sweeping = "SELECT indexname FROM pg_indexes WHERE indexname = 'idx_Order_where' \
                    AND schemaname = current_schema";
    assert!(fixture.value(sweeping).is_some());
}

#[tokio::test]
async fn the_case_of_names_counts() {
    let Some(fixture) = Fixture::with(
        "CREATE TABLE \"KV\" (\"Key\" TEXT PRIMARY KEY, key TEXT, \"Value\" BYTEA, expires_at BIGINT); \
         CREATE TABLE kv (key TEXT PRIMARY KEY, value BYTEA, expires_at BIGINT)",
    ) else {
        return;
    };
    let upper = SqlOptions {
        table: name("KV"),
        key_column: name("Key"),
        payload_column: name("Value"),
        ..fixture.options()
    };
    let lower = SqlOptions { table: name("kv"), ..fixture.options() };
    let database = fixture.database();
    let upper = fixture.open(database.clone(), upper).await.unwrap();
    let lower = fixture.open(database.clone(), lower).await.unwrap();
    upper.set("k", 1, None).await.unwrap();
    lower.set("k", 2, None).await.unwrap();
    assert_eq!(upper.get("k").await, Ok(Some(1.into())));
    assert_eq!(lower.get("k").await, Ok(Some(2.into())));
    let missing = SqlOptions { table: name("Kv"), ..fixture.options() };
    let error = fixture.open(database, missing).await.unwrap_err();
    assert_eq!(error.detail("field"), Some(&"table_name".into()), "{error}");
}

#[tokio::test]
async fn info_tells_the_truth_about_durability() {
    let Some(fixture) = Fixture::available() else { return };
    let info = fixture.store().await.info().unwrap();
    assert_eq!((info.backend, info.consistency), (Backend::Sql, Consistency::Local));
    let supported: Vec<_> =
        info.capabilities().into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    assert_eq!(supported, ["durable", "list", "ttl"]);
    assert_eq!(info.synchronous, None);

    fixture.run("ALTER TABLE kv_store SET UNLOGGED");
    assert!(!fixture.store().await.info().unwrap().durable, "unlogged");
    fixture.run("ALTER TABLE kv_store SET LOGGED");
    assert!(fixture.store().await.info().unwrap().durable, "logged again");
    fixture.server.run(&format!("ALTER ROLE {} SET synchronous_commit = off", fixture.role));
    assert!(!fixture.store().await.info().unwrap().durable, "synchronous_commit = off");

    // Nothing is claimed of a server that was never reached.
    let nowhere = PostgresOptions { port: 1, ..fixture.postgres_options() };
    let store = fixture.open(PostgresDatabase::open(nowhere), fixture.options()).await.unwrap();
    assert!(!store.info().unwrap().durable);
}

/// Tables of all kinds into which a row goes, and out of which it comes.
#[tokio::test]
async fn other_tables_serve() {
    for ddl in [
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value TEXT, expires_at BIGINT)",
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value VARCHAR, expires_at BIGINT)",
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value JSON, expires_at BIGINT)",
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value JSONB, expires_at BIGINT)",
        "CREATE TABLE kv_store (key TEXT COLLATE \"C\" UNIQUE, value BYTEA, expires_at BIGINT)",
        "CREATE TABLE kv_store (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         key VARCHAR(9) NOT NULL UNIQUE, value BYTEA NOT NULL, expires_at BIGINT, \
         made TIMESTAMPTZ NOT NULL DEFAULT now(), \
         size INT GENERATED ALWAYS AS (length(value)) STORED)",
        "CREATE TABLE kv_store (key TEXT, value BYTEA, expires_at BIGINT, PRIMARY KEY (key, value)); \
         CREATE UNIQUE INDEX ON kv_store (key)",
        "CREATE DOMAIN title AS VARCHAR(9); CREATE DOMAIN body AS JSONB; \
         CREATE TABLE kv_store (key title PRIMARY KEY, value body, expires_at BIGINT)",
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BYTEA, expires_at BIGINT) \
         PARTITION BY HASH (key); \
         CREATE TABLE a PARTITION OF kv_store FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE b PARTITION OF kv_store FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ] {
        let Some(fixture) = Fixture::with(ddl) else { return };
        let store = fixture.store().await;
        store.set("k", "old", ttl_ms(5)).await.unwrap();
        store.set("k", 1.5, None).await.unwrap();
        store.set("l", 2, ttl_ms(5)).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(1.5.into()), "{ddl}");
        assert_eq!(all_keys(&store, ListQuery::new()).await, ["k", "l"], "{ddl}");
        fixture.clock.advance_ms(10);
        assert_eq!(all_keys(&store, ListQuery::new()).await, ["k"], "{ddl}");
        assert!(store.delete("k", None).await.unwrap(), "{ddl}");
        assert!(!store.delete("l", None).await.unwrap(), "{ddl}");
    }
}

#[tokio::test]
async fn an_update_leaves_columns_of_others_alone() {
    let Some(fixture) = Fixture::with(
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BYTEA, expires_at BIGINT, note TEXT); \
         INSERT INTO kv_store VALUES ('k', '1', NULL, 'mine')",
    ) else {
        return;
    };
    fixture.store().await.set("k", 2, None).await.unwrap();
    let note = fixture.value("SELECT note FROM kv_store WHERE value = '2'");
    assert_eq!(note.as_deref(), Some("mine"));
}

/// What is wrong with a table: the statements that make it, the field that the error names, and a
/// part of its message.
type Wrong = (String, &'static str, &'static str);

fn wrong_relations() -> Vec<Wrong> {
    vec![
        (String::new(), "table_name", "CREATE TABLE IF NOT EXISTS \"kv_store\""),
        (
            "CREATE VIEW kv_store AS SELECT 'a' AS key, 1 AS value, 2 AS expires_at".to_owned(),
            "table_name",
            "is a view",
        ),
        (
            "CREATE MATERIALIZED VIEW kv_store AS SELECT 'a' AS key".to_owned(),
            "table_name",
            "is a view",
        ),
        ("CREATE SEQUENCE kv_store".to_owned(), "table_name", "not an ordinary table"),
        (
            "CREATE TABLE kv_store (name TEXT PRIMARY KEY, value BYTEA)".to_owned(),
            "id_column_name",
            "it has name, value",
        ),
        (
            "CREATE TABLE kv_store (\"Key\" TEXT PRIMARY KEY, value BYTEA)".to_owned(),
            "id_column_name",
            "no column \"key\"",
        ),
        (
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, expires_at BIGINT)".to_owned(),
            "payload_column_name",
            "no column \"value\"",
        ),
        (
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BYTEA)".to_owned(),
            "expire_column_name",
            "no column \"expires_at\"",
        ),
    ]
}

fn wrong_columns() -> Vec<Wrong> {
    let columns = |key: &str, value: &str, expires: &str| {
        format!("CREATE TABLE kv_store (key {key}, value {value}, expires_at {expires})")
    };
    let good = "TEXT PRIMARY KEY";
    let with = |more: &str| format!("{}; {more}", columns("TEXT", "BYTEA", "BIGINT"));
    vec![
        (columns("BIGINT PRIMARY KEY", "BYTEA", "BIGINT"), "id_column_name", "\"bigint\""),
        (columns("BYTEA PRIMARY KEY", "BYTEA", "BIGINT"), "id_column_name", "\"bytea\""),
        (columns("CHAR(9) PRIMARY KEY", "BYTEA", "BIGINT"), "id_column_name", "\"character(9)\""),
        (columns(good, "BIGINT", "BIGINT"), "payload_column_name", "BYTEA or BLOB"),
        (columns(good, "INTERVAL", "BIGINT"), "payload_column_name", "\"interval\""),
        (columns(good, "TEXT[]", "BIGINT"), "payload_column_name", "\"text[]\""),
        (columns(good, "BYTEA", "TIMESTAMPTZ"), "expire_column_name", "BIGINT"),
        (columns(good, "BYTEA", "INTEGER"), "expire_column_name", "\"integer\""),
        (columns(good, "BYTEA", "BIGINT NOT NULL"), "expire_column_name", "without ttl"),
        (columns("TEXT", "BYTEA", "BIGINT"), "id_column_name", "neither PRIMARY KEY nor UNIQUE"),
        (
            with("CREATE UNIQUE INDEX ON kv_store (key) WHERE value IS NOT NULL"),
            "id_column_name",
            "neither",
        ),
        (with("CREATE UNIQUE INDEX ON kv_store (lower(key))"), "id_column_name", "neither"),
        (with("ALTER TABLE kv_store ADD UNIQUE (key) DEFERRABLE"), "id_column_name", "neither"),
        (
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', \
             deterministic = false); "
                .to_owned()
                + &columns("TEXT COLLATE loose PRIMARY KEY", "BYTEA", "BIGINT"),
            "id_column_name",
            "the collation loose",
        ),
        (
            columns(good, "BYTEA GENERATED ALWAYS AS ('1') STORED", "BIGINT"),
            "payload_column_name",
            "generated",
        ),
        (
            with("ALTER TABLE kv_store ADD PRIMARY KEY (key), ADD owner TEXT NOT NULL"),
            "table_name",
            "\"owner\"",
        ),
    ]
}

#[tokio::test]
async fn wrong_tables_are_refused_at_open() {
    for (ddl, field, message) in wrong_relations().into_iter().chain(wrong_columns()) {
        let Some(fixture) = Fixture::with(&ddl) else { return };
        let error = fixture.open(fixture.database(), fixture.options()).await.expect_err(&ddl);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{ddl}: {error}");
        assert!(!error.retryable());
        assert_eq!(error.detail("field").and_then(Value::as_str), Some(field), "{ddl}: {error}");
        assert!(error.message().contains(message), "{ddl}: {error}");
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let Some(fixture) = Fixture::empty() else { return };
    fixture.server.run(
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0",
    );
    let options =
        PostgresOptions { database: "latin".to_owned(), ..fixture.server.options("admin") };
    let database = PostgresDatabase::open(options);
    let error = fixture.open(database, fixture.options()).await.unwrap_err();
    assert_eq!(error.detail("field"), Some(&"database".into()), "{error}");
    assert!(error.message().contains("LATIN1"), "{error}");
}

#[tokio::test]
async fn the_printed_ddl_makes_a_table_that_serves() {
    let Some(fixture) = Fixture::empty() else { return };
    let error = fixture.open(fixture.database(), fixture.options()).await.unwrap_err();
    fixture.run(error.detail("ddl").and_then(Value::as_str).unwrap());
    fixture.store().await.set("k", 1, None).await.unwrap();
}

#[tokio::test]
async fn one_column_for_two_purposes_is_refused() {
    let Some(fixture) = Fixture::available() else { return };
    let options = SqlOptions { expire_column: name("KEY"), ..fixture.options() };
    let error = fixture.open(fixture.database(), options).await.unwrap_err();
    assert!(error.message().contains("id_column_name and expire_column_name"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_make_the_table_at_the_same_time_do_not_disturb_each_other() {
    for _ in 0..5 {
        let Some(fixture) = Fixture::empty() else { return };
        let options = SqlOptions { create_table: true, ..fixture.options() };
        let opening = (0..8).map(|i| {
            let (database, options) = (fixture.database(), options.clone());
            tokio::spawn(async move {
                let store = plimsoll::store::SqlStore::open(database, options).await?;
                let store = plimsoll::store::StoreHandle::new("app:records", store);
                store.set(&format!("k{i}"), i, None).await
            })
        });
        for opened in opening.collect::<Vec<_>>() {
            assert_eq!(opened.await.unwrap(), Ok(()));
        }
        assert_eq!(all_keys(&fixture.store().await, ListQuery::new()).await.len(), 8);
    }
}

#[tokio::test]
async fn a_table_that_changes_under_the_store_is_read_anew_or_explained() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    store.set("k", 1, None).await.unwrap();

    // Payloads of another type: the store goes on, on connections that have prepared for the old.
    fixture.run(
        "ALTER TABLE kv_store ALTER value TYPE JSONB USING convert_from(value, 'UTF8')::jsonb",
    );
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
    store.set("k", -0.0, None).await.unwrap();
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["k"]);
    assert_eq!(store.get("k").await, Ok(Some((-0.0).into())));

    fixture.run("ALTER TABLE kv_store ALTER key TYPE VARCHAR(3)");
    let error = store.set("long key", 1, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");

    fixture.run("ALTER TABLE kv_store RENAME COLUMN expires_at TO until");
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error.detail("field"), Some(&"expire_column_name".into()), "{error}");

    fixture.run("DROP TABLE kv_store");
    for error in [
        store.get("k").await.unwrap_err(),
        store.set("k", 1, None).await.unwrap_err(),
        store.list(&ListQuery::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.detail("field"), Some(&"table_name".into()), "{error}");
    }

    fixture.run(SEED_DDL);
    store.set("k", 2, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}
