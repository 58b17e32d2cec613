//! Namespaces in memory, gone with their owner.
//!
//! An ordered map for each namespace, and the order of expirations across all of them. Whatever has
//! expired is removed by the next writes, at most [`REMOVALS_MAX`] records each, so that entries
//! that nobody asks for again take no memory for long.
//!
//! Invariant: `expirations` holds exactly the records that have one. No empty namespace is kept.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::backend::{Answer, Backend, Batch, Range, Record, Row, is_present, ready};
use crate::clock::UnixMillis;
use crate::limits::REMOVALS_MAX;
use crate::mutant::mutant;

/// Namespaces in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    namespaces: BTreeMap<Bytes, BTreeMap<Bytes, Record>>,
    /// Expiration, namespace, key.
    expirations: BTreeSet<(i64, Bytes, Bytes)>,
}

impl Memory {
    /// No entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records are kept, expired ones included.
    #[must_use]
    pub fn records(&self) -> usize {
        self.state().namespaces.values().map(BTreeMap::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock calls out, so that a panic under it left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn read<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        _: UnixMillis,
    ) -> Answer<'a, Option<Record>> {
        let state = self.state();
        let record = state.namespaces.get(namespace).and_then(|records| records.get(key));
        ready(Ok(record.cloned()))
    }

    fn write<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        record: Record,
        now: UnixMillis,
    ) -> Answer<'a, ()> {
        let mut state = self.state();
        state.remove(namespace, key);
        state.remove_expired(now);
        state.insert(Bytes::copy_from_slice(namespace), Bytes::copy_from_slice(key), record);
        ready(Ok(()))
    }

    fn remove<'a>(&'a self, namespace: &'a [u8], key: &'a [u8]) -> Answer<'a, ()> {
        self.state().remove(namespace, key);
        ready(Ok(()))
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a [u8],
        range: &'a Range,
        now: UnixMillis,
    ) -> Answer<'a, Batch> {
        let state = self.state();
        let Some(records) = state.namespaces.get(namespace) else {
            return ready(Ok(Batch::default()));
        };
        let start = match &range.after {
            Some(after) if mutant!("cursor starts at its name") => Bound::Included(&after[..]),
            Some(after) if *after >= range.prefix => Bound::Excluded(&after[..]),
            _ => Bound::Included(&range.prefix[..]),
        };
        let mut rows: Vec<_> = records
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(&range.prefix))
            .filter(|(_, record)| is_present(record.expiration, now))
            .take(range.rows_max + 1)
            .map(|(name, record)| row(name, record))
            .collect();
        let has_more = rows.len() > range.rows_max;
        rows.truncate(range.rows_max);
        let last = rows.last().filter(|_| has_more).map(|row| row.name.clone());
        ready(Ok(Batch { rows, more_after: last }))
    }
}

impl State {
    fn insert(&mut self, namespace: Bytes, key: Bytes, record: Record) {
        if let Some(expiration) = record.expiration {
            self.expirations.insert((expiration, namespace.clone(), key.clone()));
        }
        self.namespaces.entry(namespace).or_default().insert(key, record);
    }

    fn remove(&mut self, namespace: &[u8], key: &[u8]) {
        let Some(records) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let removed = records.remove_entry(key);
        if records.is_empty() {
            self.namespaces.remove(namespace);
        }
        if let Some((key, Record { expiration: Some(expiration), .. })) = removed
            && !mutant!("expiration order keeps an overwritten one")
        {
            self.expirations.remove(&(expiration, Bytes::copy_from_slice(namespace), key));
        }
    }

    fn remove_expired(&mut self, now: UnixMillis) {
        for _ in 0..REMOVALS_MAX {
            match self.expirations.first() {
                Some((expiration, _, _)) if !is_present(Some(*expiration), now) => {}
                _ => return,
            }
            let (_, namespace, key) = self.expirations.first().cloned().expect("seen above");
            self.remove(&namespace, &key);
        }
    }
}

fn row(name: &Bytes, record: &Record) -> Row {
    Row { name: name.clone(), metadata: record.metadata.clone(), expiration: record.expiration }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(memory: &Memory, key: &'static str, expiration: Option<i64>, now: UnixMillis) {
        let record = Record { value: Bytes::new(), metadata: None, expiration };
        drop(memory.write(b"n", key.as_bytes(), record, now));
    }

    #[test]
    fn what_has_expired_is_removed_by_the_next_write() {
        let memory = Memory::new();
        for key in ["a", "b", "c"] {
            put(&memory, key, Some(10), UnixMillis(0));
        }
        put(&memory, "a", None, UnixMillis(0));
        put(&memory, "c", Some(20), UnixMillis(0));
        assert_eq!(memory.records(), 3);
        put(&memory, "d", None, UnixMillis(10_000));
        assert_eq!(memory.records(), 3, "b is gone; a and c were overwritten");
        drop(memory.remove(b"n", b"c"));
        put(&memory, "d", None, UnixMillis(20_000));
        assert_eq!(memory.records(), 2);
        assert!(memory.state().expirations.is_empty());
    }
}
