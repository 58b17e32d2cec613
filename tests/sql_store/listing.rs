//! Listings, on every database: order, literal prefixes, paging, expired rows.

use std::collections::BTreeMap;

use plimsoll::entry::ListQuery;
use plimsoll::limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX, VALUE_BYTES_MAX};
use plimsoll::policy::{
    Actor, Effect, Field, Operand, Operator, Pattern, Policies, Policy, PolicyCondition,
};
use plimsoll::store::StoreHandle;
use plimsoll::value::Encoded;
use proptest::prelude::*;

use super::{Fixture, all_keys, ttl_ms};

async fn filled(fixture: &Fixture, keys: &[&str]) -> StoreHandle {
    let store = fixture.store().await;
    for key in keys {
        store.set(key, 1, None).await.expect("writes");
    }
    store
}

#[tokio::test]
async fn order_is_bytewise_and_prefixes_are_literal() {
    let Some(fixture) = Fixture::available() else { return };
    let keys =
        ["%", "_", "A", "B", "Z%", "Za", "Zé", "_a", "a", "a%b", "a_b", "aXb", "b", "é", "éa", "ê"];
    let store = filled(&fixture, &keys).await;
    let mut sorted: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    sorted.sort_unstable();
    for limit in [1, 2, 3, 100] {
        let listed = all_keys(&store, ListQuery::new().limit(limit)).await;
        let listed: Vec<_> = listed.iter().map(String::as_bytes).collect();
        assert_eq!(listed, sorted, "limit {limit}");
    }
    for (prefix, expected) in [
        (&b"_"[..], &["_", "_a"][..]),
        (b"%", &["%"]),
        (b"a_", &["a_b"]),
        (b"a%", &["a%b"]),
        (b"a", &["a", "a%b", "aXb", "a_b"]),
        (b"A", &["A"]),
        (b"Z", &["Z%", "Za", "Zé"]),
        ("é".as_bytes(), &["é", "éa"]),
        (b"\xc3", &["é", "éa", "ê"]),
        (b"Z\xc3", &["Zé"]),
        (b"\xe2\x82", &[]),
        (b"\xff", &[]),
        (b"a\0", &[]),
        (b"zz", &[]),
    ] {
        let listed = all_keys(&store, ListQuery::new().prefix(prefix).limit(1)).await;
        assert_eq!(listed, expected, "prefix {prefix:x?}");
    }
}

#[tokio::test]
async fn a_cursor_need_not_exist_nor_be_a_key() {
    let Some(fixture) = Fixture::available() else { return };
    let store = filled(&fixture, &["a", "b", "é"]).await;
    for (after, expected) in [
        (&b""[..], &["a", "b", "é"][..]),
        (b"a", &["b", "é"]),
        (b"aa", &["b", "é"]),
        (b"a\0", &["b", "é"]),
        (b"b\xff", &["é"]),
        (b"\xc3", &["é"]),
        (b"\xc3\xa9", &[]),
        (b"\xff", &[]),
    ] {
        let listed = store.list(&ListQuery::new().after(after)).await.unwrap();
        let keys: Vec<_> = listed.items.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, expected, "after {after:x?}");
    }
    let page = store.list(&ListQuery::new().after("é")).await.unwrap();
    assert_eq!((page.cursor.as_str(), page.has_more), ("", false));
    let page = store.list(&ListQuery::new().limit(3)).await.unwrap();
    assert_eq!((page.cursor.as_str(), page.has_more), ("é", false));
}

#[tokio::test]
async fn expired_rows_neither_appear_nor_cut_a_page_short() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    for i in 0..30 {
        let ttl = if i % 3 == 0 { None } else { ttl_ms(5) };
        store.set(&format!("k{i:02}"), i, ttl).await.unwrap();
    }
    fixture.clock.advance_ms(5);
    let page = store.list(&ListQuery::new().limit(4)).await.unwrap();
    let keys: Vec<_> = page.items.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["k00", "k03", "k06", "k09"]);
    assert!(page.has_more);
    let page = store.list(&ListQuery::new().after("k09").limit(6)).await.unwrap();
    assert_eq!(page.items.len(), 6);
    assert!(!page.has_more, "what follows has expired");
}

#[tokio::test]
async fn a_page_ends_at_its_item_limit_and_at_4_mib() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    let value = vec![b'x'; VALUE_BYTES_MAX - 4];
    for i in 0..6 {
        store.set(&format!("big{i}"), value.clone(), None).await.unwrap();
    }
    let page = store.list(&ListQuery::new()).await.unwrap();
    let bytes: usize = page
        .items
        .iter()
        .map(|entry| entry.key.as_str().len() + Encoded::new(&entry.value).unwrap().len())
        .sum();
    assert!(page.has_more && page.items.len() == 4 && bytes >= PAGE_BYTES_MAX);
    let rest = store.list(&ListQuery::new().after(page.cursor)).await.unwrap();
    assert!(!rest.has_more && rest.items.len() == 2);

    fixture.run(
        "DELETE FROM kv_store; \
         WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 11000) \
         INSERT INTO kv_store SELECT CAST(i AS TEXT), '1', NULL FROM n",
    );
    let page = store.list(&ListQuery::new().limit(5_000)).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (PAGE_ITEMS_MAX, true));
    let page = store.list(&ListQuery::new()).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (100, true));
}

/// Who may read only some keys gets them all, in full pages, whatever lies between them.
#[tokio::test]
async fn a_restricted_reader_gets_full_pages_of_what_may_be_read() {
    let Some(fixture) = Fixture::available() else { return };
    fixture.run(
        "WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 15000) \
         INSERT INTO kv_store SELECT CAST(i AS TEXT), '1', NULL FROM n; \
         UPDATE kv_store SET value = 'no value' WHERE key NOT LIKE '%77'",
    );
    let all = || vec![Pattern::parse("*").unwrap()];
    let field = Field::parse("key").unwrap();
    let ends = Operand::One("77$".into());
    let condition = PolicyCondition::new(field, Operator::Matches, ends).unwrap();
    let policies: Policies = [
        Policy::new(Effect::Allow, vec![Pattern::parse("store.key.list").unwrap()], all()),
        Policy::new(Effect::Allow, all(), all()).with_condition(condition),
    ]
    .into_iter()
    .collect();
    let store = fixture.store_with_rights(policies.rights(&Actor::new("ann"), "app:records")).await;
    for limit in [1, 7, 50, 100] {
        let mut readable = Vec::new();
        let mut page = store.list(&ListQuery::new().limit(limit)).await.unwrap();
        while page.has_more {
            assert_eq!(page.items.len(), limit, "full, until the last");
            readable.append(&mut page.items);
            page = store.list(&ListQuery::new().after(page.cursor).limit(limit)).await.unwrap();
        }
        readable.append(&mut page.items);
        let keys: Vec<_> = readable.iter().map(|entry| entry.key.to_string()).collect();
        let expected: Vec<_> = (100..150).map(|i| format!("{i}77")).collect();
        assert_eq!(keys, expected, "limit {limit}");
    }
    let page = store.list(&ListQuery::new().prefix("149").limit(1)).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (1, false));
    let page = store.list(&ListQuery::new().prefix("1500")).await.unwrap();
    assert_eq!((page.items.len(), page.has_more, page.cursor.as_str()), (0, false, ""));
}

/// Keys over an alphabet in which case, wildcards and cut characters matter.
fn key() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "A", "_", "%", "é", "ê", "😀"]), 1..4)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// All pages together are the filter by prefix, on a model with deadlines.
    #[test]
    fn all_pages_together_are_the_filter_by_prefix(
        rows in prop::collection::btree_map(key(), prop::option::of(1..10_u64), 0..40),
        prefixes in prop::collection::vec((key(), 0..5_usize), 8),
        elapsed in 0..10_u64,
        limit in 1..7_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let Some(fixture) = Fixture::available() else { return };
            let store = fixture.store().await;
            for (key, ttl) in &rows {
                store.set(key, 1, ttl.and_then(ttl_ms)).await.unwrap();
            }
            fixture.clock.advance_ms(elapsed);
            let live: BTreeMap<&[u8], &str> = rows
                .iter()
                .filter(|(_, ttl)| ttl.is_none_or(|ttl| ttl > elapsed))
                .map(|(key, _)| (key.as_bytes(), key.as_str()))
                .collect();
            for (key, length) in &prefixes {
                let mut prefix = key.clone().into_bytes();
                prefix.truncate(*length);
                let expected: Vec<_> =
                    live.range(&*prefix..).take_while(|(key, _)| key.starts_with(&prefix)).collect();
                let query = ListQuery::new().prefix(prefix.clone()).limit(limit);
                let listed = all_keys(&store, query).await;
                assert!(listed.iter().eq(expected.iter().map(|(_, key)| **key)), "{prefix:x?}");
            }
        });
    }
}
