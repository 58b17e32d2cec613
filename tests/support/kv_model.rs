//! A model of namespaces of a page: an ordered map and the sentences of `docs/lua-kv.md`.
//!
//! It shares no code with what it checks. Times are multiples of 250 ms, which floats of seconds
//! hold exactly.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use plimsoll::clock::{Clock, ManualClock};
use plimsoll::namespaces::{Cursor, Expiry, Namespaces, PutOptions, Query};
use proptest::prelude::*;

/// A call, or time that passes. Names, keys and prefixes are positions in their lists.
#[derive(Clone, Debug)]
pub enum Step {
    Put {
        name: usize,
        key: usize,
        value: Vec<u8>,
        expiry: When,
        metadata: Option<&'static str>,
    },
    Delete {
        name: usize,
        key: usize,
    },
    Get {
        name: usize,
        key: usize,
    },
    /// Pages to the end; after each a key is deleted, and perhaps that of the cursor.
    List {
        name: usize,
        prefix: usize,
        limit: usize,
        deleted: usize,
    },
    Wait {
        ms: u64,
    },
}

/// When an entry expires.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Never,
    /// At so many milliseconds before or after now.
    At(i64),
    /// After so many milliseconds.
    After(u64),
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    value: Vec<u8>,
    metadata: Option<&'static str>,
    /// In seconds.
    expiration: Option<u64>,
}

#[derive(Default)]
struct Model {
    now_ms: u64,
    entries: BTreeMap<(usize, Vec<u8>), Kept>,
}

impl Model {
    fn put(
        &mut self,
        name: usize,
        key: &[u8],
        value: &[u8],
        when: When,
        metadata: Option<&'static str>,
    ) {
        let deadline_ms = match when {
            When::Never => None,
            When::At(ms) => Some(self.now_ms.checked_add_signed(ms).unwrap()),
            When::After(ms) => Some(self.now_ms + ms),
        };
        let place = (name, key.to_vec());
        if deadline_ms.is_some_and(|deadline| deadline <= self.now_ms) {
            self.entries.remove(&place);
            return;
        }
        let expiration = deadline_ms.map(|ms| ms / 1_000 + u64::from(ms % 1_000 > 0));
        self.entries.insert(place, Kept { value: value.to_vec(), metadata, expiration });
    }

    fn get(&self, name: usize, key: &[u8]) -> Option<&Kept> {
        let kept = self.entries.get(&(name, key.to_vec()))?;
        kept.expiration.is_none_or(|at| self.now_ms < at * 1_000).then_some(kept)
    }

    fn names(&self, name: usize, prefix: &[u8], after: Option<&[u8]>) -> Vec<Vec<u8>> {
        let keys = self.entries.keys().filter(|(of, _)| *of == name).map(|(_, key)| key);
        keys.filter(|key| key.starts_with(prefix))
            .filter(|key| after.is_none_or(|after| key.as_slice() > after))
            .filter(|key| self.get(name, key).is_some())
            .cloned()
            .collect()
    }
}

pub const NAMES: [&[u8]; 4] = [b"", b"a", b"a/", "\u{e9}".as_bytes()];
pub const KEYS: [&str; 12] =
    ["", "a", "a/", "a/b", "ab", "aa", "b", "b%", "b_", "B", "\u{e9}", "\u{10ffff}"];
pub const PREFIXES: [&[u8]; 8] =
    [b"", b"a", b"a/", b"b", b"\xc3", "\u{10ffff}".as_bytes(), b"zz", b"\xff"];

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        2 => Just(When::Never),
        2 => (-8_i64..24).prop_map(|quarters| When::At(quarters * 250)),
        2 => (0_u64..24).prop_map(|quarters| When::After(quarters * 250)),
    ]
}

/// Any step.
pub fn step() -> impl Strategy<Value = Step> {
    let (name, key) = (0..NAMES.len(), 0..KEYS.len());
    let value = prop::collection::vec(any::<u8>(), 0..4);
    let metadata = prop::sample::select(vec![None, Some("{}"), Some(r#"{"a":[1,2.5,"é"]}"#)]);
    prop_oneof![
        6 => (name.clone(), key.clone(), value, when(), metadata).prop_map(
            |(name, key, value, expiry, metadata)| Step::Put { name, key, value, expiry, metadata }
        ),
        1 => (name.clone(), key.clone()).prop_map(|(name, key)| Step::Delete { name, key }),
        3 => (name.clone(), key.clone()).prop_map(|(name, key)| Step::Get { name, key }),
        2 => (name, 0..PREFIXES.len(), 1_usize..6, key).prop_map(
            |(name, prefix, limit, deleted)| Step::List { name, prefix, limit, deleted }
        ),
        2 => (0_u64..16).prop_map(|quarters| Step::Wait { ms: quarters * 250 }),
    ]
}

/// Runs steps on empty namespaces and on the model, and compares what they answer.
///
/// # Panics
/// At the first difference.
pub async fn run(namespaces: &Namespaces, clock: &ManualClock, steps: &[Step]) {
    let mut model = Model { now_ms: clock.now().0, ..Model::default() };
    for step in steps {
        match step {
            Step::Put { name, key, value, expiry, metadata } => {
                let seconds = |ms: u64| ms as f64 / 1_000.0;
                let options = PutOptions {
                    expiry: match expiry {
                        When::Never => Expiry::NEVER,
                        When::At(ms) => {
                            let at = model.now_ms.checked_add_signed(*ms).unwrap();
                            Expiry::at_unix(seconds(at)).unwrap()
                        }
                        When::After(ms) => Expiry::after(seconds(*ms)).unwrap(),
                    },
                    metadata: metadata.map(str::to_owned),
                };
                let namespace = namespaces.namespace(NAMES[*name]).await.unwrap();
                namespace.put(KEYS[*key].as_bytes(), value.clone(), options).await.unwrap();
                model.put(*name, KEYS[*key].as_bytes(), value, *expiry, *metadata);
            }
            Step::Delete { name, key } => {
                let namespace = namespaces.namespace(NAMES[*name]).await.unwrap();
                namespace.delete(KEYS[*key].as_bytes()).await.unwrap();
                model.entries.remove(&(*name, KEYS[*key].as_bytes().to_vec()));
            }
            Step::Get { name, key } => {
                let namespace = namespaces.namespace(NAMES[*name]).await.unwrap();
                let found = namespace.get(KEYS[*key].as_bytes()).await.unwrap();
                let expected = model.get(*name, KEYS[*key].as_bytes());
                assert_eq!(found.is_some(), expected.is_some(), "{step:?}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    assert_eq!(found.value, expected.value);
                    assert_eq!(found.metadata.as_deref(), expected.metadata.map(str::as_bytes));
                    assert_eq!(found.expiration.map(i64::unsigned_abs), expected.expiration);
                }
            }
            Step::List { name, prefix, limit, deleted } => {
                list(namespaces, &mut model, *name, PREFIXES[*prefix], *limit, *deleted).await;
            }
            Step::Wait { ms } => {
                clock.advance_ms(*ms);
                model.now_ms += ms;
            }
        }
    }
}

async fn list(
    namespaces: &Namespaces,
    model: &mut Model,
    name: usize,
    prefix: &'static [u8],
    limit: usize,
    deleted: usize,
) {
    let namespace = namespaces.namespace(NAMES[name]).await.unwrap();
    let (mut cursor, mut after) = (None::<Cursor>, None::<Vec<u8>>);
    loop {
        let query = Query::new().prefix(prefix).limit(limit as f64).unwrap().cursor(cursor);
        let page = namespace.list(&query).await.unwrap();
        let mut expected = model.names(name, prefix, after.as_deref());
        let is_complete = expected.len() <= limit;
        expected.truncate(limit);
        let names: Vec<_> = page.keys.iter().map(|row| row.name.to_vec()).collect();
        assert_eq!((names, page.is_complete()), (expected, is_complete));
        for row in &page.keys {
            let kept = model.get(name, &row.name).unwrap();
            assert_eq!(row.metadata.as_deref(), kept.metadata.map(str::as_bytes));
            assert_eq!(row.expiration.map(i64::unsigned_abs), kept.expiration);
        }
        let Some(last) = page.keys.last() else { break };
        if page.is_complete() {
            break;
        }
        // A key goes away, and perhaps the one that the cursor was made of.
        after = Some(last.name.to_vec());
        cursor = page.cursor.map(|cursor| {
            let text = cursor.to_string();
            Cursor::parse(text.as_bytes()).unwrap().expect("not the start")
        });
        let cursor_key = Some(&last.name[..]).filter(|_| deleted.is_multiple_of(2));
        for key in [Some(KEYS[deleted].as_bytes()), cursor_key].into_iter().flatten() {
            namespace.delete(key).await.unwrap();
            model.entries.remove(&(name, key.to_vec()));
        }
    }
}
