//! Listings: pages in bytewise order that together are the filter by prefix.

use plimsoll::entry::{ListQuery, Page};
use plimsoll::limits::{PAGE_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, VALUE_BYTES_MAX};

use crate::{Store, for_every_kind};

fn keys(page: &Page) -> Vec<&str> {
    page.items.iter().map(|entry| entry.key.as_str()).collect()
}

async fn filled(store: &Store, keys: &[&str]) {
    for key in keys {
        store.write(key, 1).await;
    }
}

#[tokio::test]
async fn an_empty_page_has_no_cursor_and_nothing_follows() {
    for_every_kind(async |store| {
        let empty = Page { items: Vec::new(), cursor: String::new(), has_more: false };
        assert_eq!(store.list(&ListQuery::new()).await.unwrap(), empty);
        filled(store, &["a"]).await;
        assert_eq!(store.list(&ListQuery::new().prefix("b")).await.unwrap(), empty);
        assert_eq!(store.list(&ListQuery::new().after("a")).await.unwrap(), empty);
    })
    .await;
}

#[tokio::test]
async fn a_prefix_means_itself() {
    for_every_kind(async |store| {
        let all = [
            "%", "A", "A%", "A_b", "Ab", "a", "a%b", "a*", "a?", "a[b", "a\\", "a_b", "ab", "é",
            "ê",
        ];
        filled(store, &all).await;
        let table: [(&[u8], &[&str]); 9] = [
            (b"", &all),
            (b"a", &["a", "a%b", "a*", "a?", "a[b", "a\\", "a_b", "ab"]),
            (b"A", &["A", "A%", "A_b", "Ab"]),
            (b"%", &["%"]),
            (b"a_", &["a_b"]),
            (b"a%", &["a%b"]),
            (b"a\\", &["a\\"]),
            // The first byte that é and ê share; a prefix may end within a character.
            (b"\xc3", &["é", "ê"]),
            (b"\xff", &[]),
        ];
        for (prefix, expected) in table {
            let page = store.list(&ListQuery::new().prefix(prefix)).await.unwrap();
            assert_eq!(keys(&page), expected, "{}", prefix.escape_ascii());
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_is_exclusive_and_need_not_exist() {
    for_every_kind(async |store| {
        filled(store, &["a", "b", "b/1", "c"]).await;
        let table: [(&str, &[u8], &[&str]); 8] = [
            ("", b"", &["a", "b", "b/1", "c"]),
            ("", b"a", &["b", "b/1", "c"]),
            ("", b"aa", &["b", "b/1", "c"]),
            ("", b"b/\xff", &["c"]),
            ("", b"z", &[]),
            ("b", b"a", &["b", "b/1"]),
            ("b", b"b", &["b/1"]),
            ("b", b"c", &[]),
        ];
        for (prefix, after, expected) in table {
            let query = ListQuery::new().prefix(prefix).after(after);
            let page = store.list(&query).await.unwrap();
            assert_eq!(keys(&page), expected, "{prefix} after {}", after.escape_ascii());
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_has_as_many_items_as_asked_for() {
    for_every_kind(async |store| {
        for number in 0..=PAGE_ITEMS_MAX {
            store.write(&format!("k{number:04}"), 1).await;
        }
        for (limit, items) in [
            (0, PAGE_ITEMS_DEFAULT),
            (1, 1),
            (PAGE_ITEMS_MAX, PAGE_ITEMS_MAX),
            (PAGE_ITEMS_MAX + 1, PAGE_ITEMS_MAX),
        ] {
            let page = store.list(&ListQuery::new().limit(limit)).await.unwrap();
            assert_eq!((page.items.len(), page.has_more), (items, true), "limit {limit}");
            assert_eq!(page.cursor, page.items[items - 1].key.as_str(), "the last item");
        }
        let last = store.list(&ListQuery::new().after("k0999")).await.unwrap();
        assert_eq!((keys(&last), last.has_more), (vec!["k1000"], false));
    })
    .await;
}

#[tokio::test]
async fn a_page_ends_at_its_bytes_and_says_so() {
    for_every_kind(async |store| {
        let value = vec![b'x'; VALUE_BYTES_MAX / 2];
        let count = 2 * PAGE_BYTES_MAX / value.len();
        for number in 0..count {
            store.write(&format!("k{number:02}"), value.clone()).await;
        }
        let (mut found, mut pages, mut query) = (Vec::new(), 0, ListQuery::new());
        loop {
            let page = store.list(&query).await.unwrap();
            let bytes: usize = page.items.iter().map(|e| e.value.as_bytes().unwrap().len()).sum();
            assert!(bytes <= PAGE_BYTES_MAX + value.len());
            found.extend(page.items.iter().map(|entry| entry.key.to_string()));
            pages += 1;
            if !page.has_more {
                break;
            }
            query = query.after(page.cursor);
        }
        let expected: Vec<_> = (0..count).map(|number| format!("k{number:02}")).collect();
        assert_eq!(found, expected);
        assert!((2..=4).contains(&pages), "{pages} pages");
    })
    .await;
}

#[tokio::test]
async fn expired_entries_neither_appear_nor_cut_a_page_short() {
    for_every_kind(async |store| {
        for number in 0..40 {
            let key = format!("k{number:02}");
            if number % 4 == 0 {
                store.write(&key, 1).await
            } else {
                store.write_for(&key, 5).await
            };
        }
        store.pass(5);
        let page = store.list(&ListQuery::new().limit(9)).await.unwrap();
        assert_eq!((page.items.len(), page.has_more), (9, true));
        let page = store.list(&ListQuery::new().limit(10)).await.unwrap();
        assert_eq!((page.items.len(), page.has_more), (10, false), "only expired ones follow");
    })
    .await;
}

/// While others write between its pages, a scan shows every key that stays exactly once, in order.
#[tokio::test]
async fn a_scan_shows_what_stays_once_whatever_changes_between_its_pages() {
    for_every_kind(async |store| {
        for number in 0..60 {
            store.write(&format!("k{number:02}"), 1).await;
        }
        let (mut found, mut query) = (Vec::new(), ListQuery::new().limit(7));
        loop {
            let page = store.list(&query).await.unwrap();
            found.extend(keys(&page).into_iter().map(str::to_owned));
            if !page.has_more {
                break;
            }
            // The cursor's own key goes; others come before and behind it, and entries change.
            store.delete(&page.cursor, None).await.unwrap();
            store.write("a", 1).await;
            store.write(&format!("{}+", page.cursor), 1).await;
            store.write("k59", 2).await;
            query = query.after(page.cursor);
        }
        let mut sorted = found.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(found, sorted, "in order, none twice");
        for number in 0..60 {
            let key = format!("k{number:02}");
            assert!(found.contains(&key), "{key} was there during the whole scan");
        }
    })
    .await;
}
