//! Rows that other programs write, before and while the store is open.

use plimsoll::entry::ListQuery;
use plimsoll::error::ErrorKind;
use plimsoll::limits::PAYLOAD_BYTES_MAX;
use plimsoll::value::{Table, TableKey, Value};

use super::{Fixture, NOW_MS, all_keys};

fn object(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Table(pairs.into_iter().map(|(key, value)| (TableKey::from(key), value)).collect())
}

/// The literal that another program inserts into a column of a type, and what the store reads.
#[tokio::test]
async fn payloads_of_every_type_of_column_are_read() {
    let list: Table = [(1, Value::from(true)), (2, "x".into())].into_iter().collect();
    for (declared, literal, value) in [
        ("BYTEA", "'\\x7b2261223a317d'", object([("a", 1.into())])),
        ("BYTEA", "convert_to('{\"a\": [true, \"x\"]}', 'UTF8')", object([("a", list.into())])),
        ("BYTEA", "'42'", 42.into()),
        ("TEXT", "'\"text\"'", "text".into()),
        ("TEXT", "'1.50'", 1.5.into()),
        ("VARCHAR(20)", "'[]'", Value::table()),
        ("JSON", "'{\"k\": null, \"l\": 1, \"l\": 2}'", object([("l", 2.into())])),
        ("JSON", "'\"\\u0000\"'", "\0".into()),
        ("JSONB", "jsonb_build_object('k', NULL, 'l', 1)", object([("l", 1.into())])),
        ("JSONB", "'12345678901234567890'", 12_345_678_901_234_567_890.0.into()),
        ("JSONB", "'-7'", (-7).into()),
        ("JSONB", "'7.0'", 7.0.into()),
    ] {
        let Some(fixture) = Fixture::with(&format!(
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value {declared}, expires_at BIGINT); \
             INSERT INTO kv_store VALUES ('k', {literal}, NULL)"
        )) else {
            return;
        };
        let store = fixture.store().await;
        assert_eq!(store.get("k").await.unwrap(), Some(value.clone()), "{declared} {literal}");
        let page = store.list(&ListQuery::new()).await.unwrap();
        assert_eq!(page.items[0].value, value, "{declared} {literal}");
    }
}

#[tokio::test]
async fn a_payload_that_is_no_value_is_named_and_can_be_replaced() {
    for (declared, literal) in [
        ("BYTEA", "'hello'"),
        ("BYTEA", "'\\xff'"),
        ("BYTEA", "'null'"),
        ("BYTEA", "''"),
        ("BYTEA", "NULL"),
        ("TEXT", "'hello'"),
        ("JSON", "'null'"),
        ("JSONB", "'{\"$plimsoll\":\"x\"}'"),
    ] {
        let Some(fixture) = Fixture::with(&format!(
            "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value {declared}, expires_at BIGINT); \
             INSERT INTO kv_store VALUES ('a', '1', NULL), ('bad', {literal}, NULL), \
             ('c', '3', NULL)"
        )) else {
            return;
        };
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
        let rest = store.list(&ListQuery::new().after(key)).await.unwrap();
        assert_eq!(rest.items[0].key.as_str(), "c");

        store.set("bad", 2, None).await.unwrap();
        assert_eq!(store.get("bad").await, Ok(Some(2.into())));
        assert_eq!(store.delete("bad", None).await, Ok(true));
    }
}

/// The server does not send what is over a limit, nor more than a page may hold.
#[tokio::test]
async fn payloads_that_are_far_too_large_cost_nothing() {
    let Some(fixture) = Fixture::available() else { return };
    let length = PAYLOAD_BYTES_MAX + 1;
    fixture.run(&format!(
        "INSERT INTO kv_store SELECT 'big' || i, convert_to(repeat(' ', {length}), 'UTF8'), NULL \
         FROM generate_series(1, 9) i"
    ));
    let store = fixture.store().await;
    for error in
        [store.get("big1").await.unwrap_err(), store.list(&ListQuery::new()).await.unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert_eq!(error.detail("limit"), Some(&PAYLOAD_BYTES_MAX.into()));
        assert_eq!(error.detail("actual"), Some(&length.into()));
    }

    // Large, but short in the encoding: a page may be shorter than its limits, and says so.
    fixture.run(
        "DELETE FROM kv_store; INSERT INTO kv_store \
         SELECT 'k' || i, convert_to(repeat(' ', 3000000) || i, 'UTF8'), NULL \
         FROM generate_series(1, 9) i",
    );
    let page = store.list(&ListQuery::new()).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (3, true));
    assert_eq!(all_keys(&store, ListQuery::new()).await.len(), 9);
}

#[tokio::test]
async fn deadlines_of_other_programs_are_understood() {
    let Some(fixture) = Fixture::available() else { return };
    let insert = |key: &str, deadline: i128| {
        fixture.run(&format!("INSERT INTO kv_store VALUES ('{key}', '1', {deadline})"));
    };
    insert("gone", i128::from(NOW_MS) - 1);
    insert("gone now", NOW_MS.into());
    insert("long gone", -5);
    insert("later", i128::from(NOW_MS) + 2);
    insert("never", i64::MAX.into());
    let store = fixture.store().await;
    for key in ["gone", "gone now", "long gone"] {
        assert_eq!(store.has(key).await, Ok(false), "{key}");
        assert_eq!(store.get(key).await, Ok(None), "{key}");
        assert_eq!(store.delete(key, None).await, Ok(false), "{key}");
    }
    let deadline = store.entry("later").await.unwrap().unwrap().expires_at.unwrap();
    assert_eq!(deadline.0, NOW_MS + 2);
    fixture.clock.advance_ms(2);
    assert_eq!(store.has("later").await, Ok(false));
    assert_eq!(store.has("never").await, Ok(true));
}

#[tokio::test]
async fn rows_that_no_key_can_name_are_no_entries() {
    let Some(fixture) = Fixture::with(
        "CREATE TABLE kv_store (key TEXT UNIQUE, value BYTEA, expires_at BIGINT); \
         INSERT INTO kv_store VALUES (NULL, '1', NULL), (NULL, '1', 5), ('', '1', NULL), \
         ('a', '1', NULL), (repeat('b', 1025), '1', NULL), ('c', '1', NULL)",
    ) else {
        return;
    };
    let store = fixture.store().await;
    assert_eq!(all_keys(&store, ListQuery::new()).await, ["a", "c"]);
    assert_eq!(all_keys(&store, ListQuery::new().limit(1)).await, ["a", "c"]);
    assert_eq!(all_keys(&store, ListQuery::new().prefix("b")).await, [""; 0]);
    let last = store.list(&ListQuery::new().after("b").limit(1)).await.unwrap();
    assert!(!last.has_more, "what follows is no entry");
}

#[tokio::test]
async fn a_column_too_short_for_the_key_is_told_by_its_length() {
    let Some(fixture) = Fixture::with(
        "CREATE TABLE kv_store (key VARCHAR(3) PRIMARY KEY, value BYTEA, expires_at BIGINT)",
    ) else {
        return;
    };
    let store = fixture.store().await;
    store.set("éàü", 1, None).await.unwrap();
    assert_eq!(store.get("éàü").await, Ok(Some(1.into())));
    let error = store.set("abcd", 1, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.detail("limit"), Some(&3.into()));
}

#[tokio::test]
async fn each_sees_the_others_writes_at_once() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    let other = fixture.session().await;
    for round in 0..20_i64 {
        store.set("ours", round, None).await.unwrap();
        let read = "SELECT convert_from(value, 'UTF8') FROM kv_store WHERE key = 'ours'";
        let seen: String = other.query_one(read, &[]).await.unwrap().get(0);
        assert_eq!(seen, round.to_string());
        let write = "INSERT INTO kv_store VALUES ('theirs', convert_to($1, 'UTF8'), NULL) \
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        other.execute(write, &[&round.to_string()]).await.unwrap();
        assert_eq!(store.get("theirs").await, Ok(Some(round.into())));
    }
}
