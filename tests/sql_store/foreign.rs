//! Rows that other programs write, before and while the store is open.

use plimsoll::entry::ListQuery;
use plimsoll::error::ErrorKind;
use plimsoll::value::{Table, TableKey, Value};

use super::{Fixture, NOW_MS, all_keys};

fn object(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Table(pairs.into_iter().map(|(key, value)| (TableKey::from(key), value)).collect())
}

/// The literal that another program inserts into a column of a type, and what the store reads.
#[tokio::test]
async fn payloads_of_every_storage_class_are_read() {
    for (declared, literal, value) in [
        ("BYTEA", "x'7b2261223a317d'", object([("a", 1.into())])),
        ("BYTEA", r#"'{"a": [true, "x"]}'"#, {
            let list: Table = [(1, Value::from(true)), (2, "x".into())].into_iter().collect();
            object([("a", list.into())])
        }),
        ("BYTEA", "'\"text\"'", "text".into()),
        ("BYTEA", "'42'", 42.into()),
        ("BYTEA", "42", 42.into()),
        ("BYTEA", "1.5", 1.5.into()),
        ("BYTEA", "'1.5'", 1.5.into()),
        ("BYTEA", "9e999", f64::INFINITY.into()),
        ("BLOB", "3.0", 3.0.into()),
        ("BLOB", "'3.0'", 3.0.into()),
        ("TEXT", "42", 42.into()),
        ("TEXT", "json_object('k', NULL, 'l', 1)", object([("l", 1.into())])),
        ("", "-7", (-7).into()),
        ("BLOB", "'[]'", Value::table()),
    ] {
        let fixture = Fixture::with(&format!(
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value {declared}, expires_at BIGINT); \
             INSERT INTO kv_store VALUES ('k', {literal}, NULL)"
        ));
        let store = fixture.store().await;
        assert_eq!(store.get("k").await.unwrap(), Some(value.clone()), "{declared} {literal}");
        let page = store.list(&ListQuery::new()).await.unwrap();
        assert_eq!(page.items[0].value, value, "{declared} {literal}");
    }
}

#[tokio::test]
async fn a_payload_that_is_no_value_is_named_and_can_be_replaced() {
    for literal in ["'hello'", "x'ff'", "'null'", "''", "NULL", "'{\"$plimsoll\":\"x\"}'"] {
        let fixture = Fixture::with(&format!(
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value BLOB, expires_at BIGINT); \
             INSERT INTO kv_store VALUES ('a', '1', NULL), ('bad', {literal}, NULL), \
             ('c', '3', NULL)"
        ));
        let store = fixture.store().await;
        let error = store.get("bad").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{literal}");
        assert!(!error.retryable());
        for part in ["\"bad\"", "\"value\"", "\"kv_store\""] {
            assert!(error.message().contains(part), "{literal}: {error}");
        }
        assert_eq!(store.has("bad").await, Ok(true));

        // The page before it is whole; the page that meets it fails, and names where to go on.
        let page = store.list(&ListQuery::new().limit(1)).await.unwrap();
        assert!(page.has_more);
        let error = store.list(&ListQuery::new()).await.unwrap_err();
        let key = error.detail("key").and_then(Value::as_str).unwrap();
        assert_eq!(all_keys(&store, ListQuery::new().prefix("c")).await, ["c"]);
        let rest = store.list(&ListQuery::new().after(key)).await.unwrap();
        assert_eq!(rest.items[0].key.as_str(), "c");

        store.set("bad", 2, None).await.unwrap();
        assert_eq!(store.get("bad").await, Ok(Some(2.into())));
        assert_eq!(store.delete("bad", None).await, Ok(true));
    }
}

#[tokio::test]
async fn deadlines_of_other_programs_are_understood() {
    let fixture = Fixture::seed();
    let other = fixture.other_program();
    let insert = |key: &str, deadline: &str| {
        let row = format!("INSERT INTO kv_store VALUES ('{key}', '1', {deadline})");
        other.execute_batch(&row).unwrap();
    };
    insert("gone", &(NOW_MS - 1).to_string());
    insert("gone now", &NOW_MS.to_string());
    insert("long gone", "-5");
    insert("text number", &format!("'{}'", NOW_MS + 2));
    insert("real", &format!("{}.5", NOW_MS + 1));
    insert("word", "'soon'");
    let store = fixture.store().await;
    for key in ["gone", "gone now", "long gone"] {
        assert_eq!(store.has(key).await, Ok(false), "{key}");
        assert_eq!(store.get(key).await, Ok(None), "{key}");
        assert_eq!(store.delete(key, None).await, Ok(false), "{key}");
    }
    for key in ["text number", "real"] {
        let deadline = store.entry(key).await.unwrap().unwrap().expires_at.unwrap();
        assert_eq!(deadline.0, NOW_MS + 2, "{key}");
    }
    let error = store.get("word").await.unwrap_err();
    assert!(error.message().contains("\"expires_at\""), "{error}");
    fixture.clock.advance_ms(1);
    assert_eq!(store.has("real").await, Ok(true));
    fixture.clock.advance_ms(1);
    assert_eq!(store.has("real").await, Ok(false));
}

#[tokio::test]
async fn rows_that_no_key_can_name_are_no_entries() {
    let fixture = Fixture::with(
        "CREATE TABLE kv_store (key PRIMARY KEY, value, expires_at); \
         INSERT INTO kv_store VALUES (NULL, '1', NULL), (5, '1', NULL), (1.5, '1', NULL), \
         ('', '1', NULL), ('a', '1', NULL), ('a' || char(0), '1', NULL), \
         (CAST(x'61ff' AS TEXT), '1', NULL), (x'62', '1', NULL), ('c', '1', NULL)",
    );
    let long = "b".repeat(1_025);
    fixture
        .other_program()
        .execute("INSERT INTO kv_store VALUES (?1, '1', NULL)", [&long])
        .unwrap();
    let store = fixture.store().await;
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["a", "c"]);
    assert_eq!(all_keys(&store, ListQuery::new().limit(1)).await, ["a", "c"]);
    assert_eq!(all_keys(&store, ListQuery::new().prefix("b")).await, [""; 0]);
    let last = store.list(&ListQuery::new().after("b").limit(1)).await.unwrap();
    assert!(!last.has_more, "what follows is no entry");
    store.set("b", "mine", None).await.unwrap();
    let rows: i64 = fixture
        .other_program()
        .query_row("SELECT count(*) FROM kv_store", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 11, "the bytes x'62' are another key than the text 'b'");
}

#[tokio::test]
async fn keys_longer_than_the_column_are_no_entries() {
    let fixture = Fixture::with(
        "CREATE TABLE kv_store (key VARCHAR(3) PRIMARY KEY, value BYTEA, expires_at BIGINT); \
         INSERT INTO kv_store VALUES ('éàü', '1', NULL), ('abcd', '1', NULL)",
    );
    let store = fixture.store().await;
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["éàü"]);
    assert_eq!(store.get("éàü").await, Ok(Some(1.into())));
    let error = store.get("abcd").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.detail("limit"), Some(&3.into()));
}

#[tokio::test]
async fn each_sees_the_others_writes_at_once() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    let other = fixture.other_program();
    for round in 0..20 {
        store.set("ours", round, None).await.unwrap();
        let seen: Vec<u8> = other
            .query_row("SELECT value FROM kv_store WHERE key = 'ours'", (), |row| row.get(0))
            .unwrap();
        assert_eq!(seen, round.to_string().as_bytes());
        other
            .execute("INSERT OR REPLACE INTO kv_store VALUES ('theirs', ?1, NULL)", [round])
            .unwrap();
        assert_eq!(store.get("theirs").await, Ok(Some(round.into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_writes_at_the_same_time() {
    const ROUNDS: i32 = 100;
    for journal in ["DELETE", "WAL"] {
        let fixture = Fixture::with(&format!("PRAGMA journal_mode = {journal}; {SEED}"));
        let store = fixture.store().await;
        let other = fixture.other_program();
        other.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        let theirs = std::thread::spawn(move || {
            for round in 0..ROUNDS {
                let row = (format!("theirs{round}"), round);
                other.execute("INSERT INTO kv_store VALUES (?1, ?2, NULL)", row).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let key = format!("ours{round}");
            // A lock is an error to try again, and the ordinary loop is safe.
            while let Err(error) = store.set(&key, round, None).await {
                assert!(error.retryable(), "{journal}: {error}");
            }
            let mut read = store.get(&key).await;
            while read.as_ref().is_err_and(plimsoll::error::Error::retryable) {
                read = store.get(&key).await;
            }
            assert_eq!(read, Ok(Some(round.into())), "{journal}");
        }
        theirs.join().unwrap();
        assert_eq!(all_keys(&store, ListQuery::new()).await.len(), 2 * ROUNDS as usize);
    }
}

use super::SEED_DDL as SEED;

#[tokio::test]
async fn a_table_that_changes_under_the_store_is_explained() {
    let fixture = Fixture::seed();
    let store = fixture.store().await;
    store.set("k", 1, None).await.unwrap();
    let other = fixture.other_program();

    other.execute_batch("ALTER TABLE kv_store RENAME COLUMN expires_at TO until").unwrap();
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error.detail("field"), Some(&"expire_column_name".into()), "{error}");

    other.execute_batch("DROP TABLE kv_store").unwrap();
    for error in [
        store.get("k").await.unwrap_err(),
        store.set("k", 1, None).await.unwrap_err(),
        store.list(&ListQuery::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.detail("field"), Some(&"table_name".into()), "{error}");
    }

    other.execute_batch(SEED).unwrap();
    store.set("k", 2, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}
