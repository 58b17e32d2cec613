//! The laws of the CRDT engine's parts: merging is a join, it agrees with the crate's registers wherever
//! those accept, and a coverage is a set of writes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use crdts::CvRDT;
use plimsoll::clock::UnixMillis;
use plimsoll::codec::{Reader, Writer};
use plimsoll::crdt::{Author, Coverage, Dot, Entry, Incarnation, LwwMap, MemberId, Stamp};
use plimsoll::entry::Key;
use plimsoll::hlc::HybridTime;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::value::{Encoded, Value};
use proptest::collection::vec;
use proptest::prelude::*;

const BOUND_MS: u64 = 10;
const NOW: UnixMillis = UnixMillis(50);

fn key(number: u8) -> QualifiedKey {
    let key = Key::new(&format!("k{number}")).unwrap();
    QualifiedKey::new(&Keyspace::new("laws").unwrap(), &key)
}

fn author(number: u64) -> Author {
    Author { member: MemberId(number / 2), incarnation: Incarnation(number % 2) }
}

/// Few stamps and few values, so that stamps are the same with different values now and then.
fn entry() -> impl Strategy<Value = Arc<Entry>> {
    let deadline = prop::option::of(prop::sample::select(vec![30, 45, 50, 51, 90]));
    (0..4_u64, 0..3_u64, 0..3_u32, 0..4_i64, deadline).prop_map(
        |(by, wall, logical, value, deadline)| {
            let time = HybridTime { wall: UnixMillis(wall), logical };
            let stamp = Stamp { time, author: author(by) };
            let counter = 1 + wall * 3 + u64::from(logical);
            let put = |value| {
                let bytes = Encoded::new(&Value::from(value)).unwrap();
                Entry::put(stamp, counter, bytes, deadline.map(UnixMillis))
            };
            let entry = if value == 0 { Entry::delete(stamp, counter) } else { put(value) };
            Arc::new(entry)
        },
    )
}

fn map() -> impl Strategy<Value = LwwMap> {
    vec((0..3_u8, entry()), 0..6).prop_map(|entries| {
        let mut map = LwwMap::new(BOUND_MS);
        for (number, entry) in entries {
            map.merge(&key(number), &entry);
        }
        map
    })
}

fn joined(one: &LwwMap, other: &LwwMap) -> LwwMap {
    let mut joined = one.clone();
    joined.merge_map(other);
    joined
}

fn same(one: &LwwMap, other: &LwwMap) -> Result<(), TestCaseError> {
    prop_assert_eq!(one.dump(), other.dump());
    prop_assert_eq!(one.trie(), other.trie());
    prop_assert_eq!(one.lasting(), other.lasting());
    Ok(())
}

/// All indexes say what a map built anew from the registers says.
fn consistent(map: &LwwMap) -> Result<(), TestCaseError> {
    let mut anew = LwwMap::new(BOUND_MS);
    anew.advance(map.now());
    for (key, entry) in map.iter() {
        anew.merge(key, entry);
    }
    same(map, &anew)?;
    prop_assert_eq!(map.tombstones_len(), anew.tombstones_len());
    for (key, _) in map.iter() {
        prop_assert_eq!(map.standing(key), anew.standing(key));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_a_join(one in map(), other in map(), third in map()) {
        same(&joined(&one, &other), &joined(&other, &one))?;
        same(&joined(&joined(&one, &other), &third), &joined(&one, &joined(&other, &third)))?;
        same(&joined(&one, &one), &one)?;
        consistent(&joined(&one, &other))?;
    }

    #[test]
    fn merging_agrees_with_the_crate_wherever_it_accepts(one in entry(), other in entry()) {
        let mut map = LwwMap::new(BOUND_MS);
        map.merge(&key(0), &one);
        map.merge(&key(0), &other);
        let ours = &map.entry(&key(0)).unwrap().register;
        match one.register.validate_merge(&other.register) {
            Ok(()) => {
                let mut theirs = one.register.clone();
                theirs.merge(other.register.clone());
                prop_assert_eq!(ours, &theirs);
                prop_assert_eq!(map.faults(), 0);
            }
            Err(_) => {
                prop_assert_eq!(ours.val, one.register.val.max(other.register.val));
                prop_assert_eq!(map.faults(), 1, "a fault is counted");
            }
        }
    }

    #[test]
    fn what_has_expired_is_absent_and_its_value_is_freed_after_the_bound(mut map in map(), late in 0..60_u64) {
        let before = map.dump();
        let now = NOW.after(late);
        let shown: Vec<_> = map.iter().map(|(key, entry)| {
            let deadline = entry.register.val.deadline;
            (key.clone(), !entry.is_delete() && deadline.is_none_or(|deadline| now < deadline))
        }).collect();
        for (key, is_shown) in &shown {
            prop_assert_eq!(map.get(key, now).is_some(), *is_shown, "before the map is told");
        }
        map.advance(now);
        for (key, is_shown) in &shown {
            prop_assert_eq!(map.get(key, UnixMillis(0)).is_some(), *is_shown, "it never goes back");
            let entry = map.entry(key).unwrap();
            let deadline = entry.register.val.deadline;
            let is_freed = deadline.is_some_and(|deadline| deadline.after(BOUND_MS) < now);
            prop_assert_eq!(entry.bytes.is_none(), is_freed || entry.is_delete());
        }
        prop_assert_eq!(map.tombstones_len(), shown.iter().filter(|(_, is_shown)| !is_shown).count());
        prop_assert_eq!(map.dump(), before, "expiry writes nothing");
        consistent(&map)?;
    }

    #[test]
    fn a_coverage_is_a_set_of_writes(one in dots(), other in dots(), extra in dot()) {
        let (set, others): (BTreeSet<_>, BTreeSet<_>) =
            (one.iter().copied().collect(), other.iter().copied().collect());
        let coverage: Coverage = one.into_iter().collect();
        let theirs: Coverage = other.into_iter().collect();
        prop_assert_eq!(&coverage, &set.iter().copied().collect(), "order does not matter");
        prop_assert_eq!(coverage.len(), set.len() as u64);
        prop_assert_eq!(coverage.covers(extra), set.contains(&extra));
        prop_assert_eq!(coverage.is_within(&theirs), set.is_subset(&others));
        prop_assert_eq!(coverage.difference(&theirs), set.difference(&others).copied().collect());
        let mut union = coverage.clone();
        union.unite(&theirs);
        prop_assert_eq!(&union, &set.union(&others).copied().collect());
        let begins = |dot: &Dot| (1..dot.counter).all(|counter| set.contains(&Dot { counter, ..*dot }));
        prop_assert_eq!(coverage.prefix(), set.iter().filter(|dot| begins(dot)).copied().collect());

        let mut writer = Writer::new();
        coverage.encode(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::new(bytes.clone());
        prop_assert_eq!(Coverage::decode(&mut reader).unwrap(), coverage);
        reader.finish("the end").unwrap();
        for length in 0..bytes.len() {
            let mut reader = Reader::new(bytes.slice(..length));
            prop_assert!(Coverage::decode(&mut reader).is_err(), "what is cut is refused");
        }
    }

    #[test]
    fn what_decodes_as_a_coverage_is_what_was_encoded(bytes in vec(0..4_u8, 0..60)) {
        let mut reader = Reader::new(bytes.clone().into());
        if let Ok(coverage) = Coverage::decode(&mut reader) {
            let mut writer = Writer::new();
            coverage.encode(&mut writer);
            prop_assert_eq!(writer.as_slice(), &bytes[..writer.len()]);
        }
    }
}

/// Runs that are as long as may be, of many authors.
#[test]
fn a_coverage_of_almost_everything_is_counted_and_the_greatest_number_is_no_counter() {
    let decode = |last: u64| {
        let mut writer = Writer::new();
        writer.count(3);
        for member in 0..3 {
            writer.fixed(member);
            writer.unsigned(0);
            writer.count(1);
            writer.unsigned(0);
            writer.unsigned(last - 1);
        }
        Coverage::decode(&mut Reader::new(writer.finish()))
    };
    assert_eq!(decode(u64::MAX - 1).unwrap().len(), u64::MAX, "and no more");
    assert_eq!(decode(7).unwrap().len(), 21);
    assert_eq!(decode(u64::MAX).unwrap_err().what, "a run of counters");
}

fn dot() -> impl Strategy<Value = Dot> {
    (0..3_u64, 1..12_u64).prop_map(|(by, counter)| Dot { author: author(by), counter })
}

fn dots() -> impl Strategy<Value = Vec<Dot>> {
    vec(dot(), 0..24)
}
