//! Keys and values: what goes in comes out.

use plimsoll::entry::{ListQuery, Ttl};
use plimsoll::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX};
use plimsoll::value::{Table, TableKey, Value};

use crate::for_every_kind;

fn table<K: Into<TableKey>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Value {
    pairs.into_iter().collect::<Table>().into()
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::table(), |inner, _| table([(1, inner)]))
}

fn values() -> Vec<Value> {
    let one = || Value::from(1);
    let mut mixed = Table::new();
    mixed.push("first");
    mixed.push(false);
    mixed.insert(-7, "integer");
    mixed.insert(1_000_000, "sparse");
    mixed.insert(TableKey::float(0.5).unwrap(), "float");
    mixed.insert(TableKey::float(f64::NEG_INFINITY).unwrap(), "infinite");
    mixed.insert(true, "boolean");
    mixed.insert("1", "a string that is a number");
    mixed.insert("", "empty");
    mixed.insert(bytes::Bytes::from_static(b"\xff\0"), "bytes");
    vec![
        true.into(),
        false.into(),
        0.into(),
        i64::MIN.into(),
        i64::MAX.into(),
        // A float stays a float, whatever its value.
        1.0.into(),
        0.0.into(),
        (-0.0).into(),
        1e300.into(),
        5e-324.into(),
        9_007_199_254_740_993.0.into(),
        f64::INFINITY.into(),
        f64::NEG_INFINITY.into(),
        f64::NAN.into(),
        "".into(),
        "text, 'quoted' \"twice\", \u{0}, \u{1f600}".into(),
        (0..=u8::MAX).collect::<Vec<_>>().into(),
        // What other encodings give a meaning of its own.
        "null".into(),
        "{\"$bytes\": \"AA==\"}".into(),
        table([("$float", "nan".into()), ("$bytes", one())]),
        table([("$", one())]),
        Value::table(),
        table([(1, Value::table()), (2, table([("list", table([(1, one())]))]))]),
        table([(2, one())]),
        mixed.into(),
    ]
}

#[tokio::test]
async fn what_goes_in_comes_out_exactly() {
    for_every_kind(async |store| {
        for (number, value) in values().into_iter().enumerate() {
            let key = format!("value/{number:02}");
            let written = store.write(&key, value.clone()).await;
            assert_eq!(written.value, value, "as put answers it");
            assert_eq!(store.get(&key).await.unwrap(), Some(value.clone()));
            assert_eq!(store.entry(&key).await.unwrap().unwrap().value, value);
        }
        let page = store.list(&ListQuery::new()).await.unwrap();
        let listed: Vec<_> = page.items.into_iter().map(|entry| entry.value).collect();
        assert_eq!(listed, values(), "as list shows them");
    })
    .await;
}

#[tokio::test]
async fn the_deepest_and_the_largest_value_are_taken() {
    for_every_kind(async |store| {
        let bytes_of_tag_and_length = 4;
        let largest = vec![b'x'; VALUE_BYTES_MAX - bytes_of_tag_and_length];
        for value in [nested(VALUE_DEPTH_MAX), largest.into()] {
            store.write("k", value.clone()).await;
            assert_eq!(store.get("k").await.unwrap(), Some(value));
        }
    })
    .await;
}

#[tokio::test]
async fn keys_are_kept_exactly_and_stand_in_bytewise_order() {
    for_every_kind(async |store| {
        let longest = "k".repeat(KEY_BYTES_MAX.min(255));
        let keys = [
            "\u{1}",
            " ",
            "%",
            "10",
            "9",
            "A",
            "_",
            "a",
            "a ",
            "a/",
            "aa",
            &longest,
            "é",
            "e\u{301}",
            "\u{10ffff}",
        ];
        for (number, key) in keys.iter().enumerate() {
            store.write(key, number).await;
        }
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(store.get(key).await.unwrap(), Some(number.into()), "{key:?}");
        }
        let mut expected = keys;
        expected.sort_unstable_by_key(|key| key.as_bytes());
        assert_eq!(store.keys().await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_time_to_live_counts_in_milliseconds_rounded_up() {
    for_every_kind(async |store| {
        for (seconds, milliseconds) in
            [(0.001, 1), (0.0011, 2), (0.3, 300), (2.5, 2_500), (1e-9, 1)]
        {
            store.set("k", 1, Ttl::from_seconds(seconds).unwrap()).await.unwrap();
            let entry = store.entry("k").await.unwrap().unwrap();
            assert_eq!(entry.expires_at, Some(store.now().after(milliseconds)), "{seconds} s");
        }
        store.set("k", 1, Ttl::from_seconds(0.0).unwrap()).await.unwrap();
        assert_eq!(store.entry("k").await.unwrap().unwrap().expires_at, None);
    })
    .await;
}
