//! The entries of the machine: an ordered map, the order of their deadlines, and a digest.
//!
//! Invariants: the expiry index holds exactly the entries with a deadline; the digest is the sum
//! of the hashes of all entries. Every operation is O(log n), a clone O(1).
//!
//! No expiry here: an entry stays until it is removed. Who reads compares deadlines.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::ops::Bound;
use std::sync::Arc;

use equivalent::Comparable;
use imbl::{OrdMap, OrdSet};

use super::digest::{Digest, entry_hash};
use super::key::{KeyRef, QualifiedKey};
use super::wire::encoded_len;
use crate::clock::UnixMillis;
use crate::entry::Version;
use crate::mutant::mutant;
use crate::value::Encoded;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Encoded,
    /// The write that made it.
    pub version: Version,
    /// The instant from which it is gone.
    pub deadline: Option<UnixMillis>,
    hash: Digest,
}

impl Record {
    pub(super) fn new(
        key: &QualifiedKey,
        value: Encoded,
        version: Version,
        deadline: Option<UnixMillis>,
    ) -> Self {
        let hash = entry_hash(key, &value, version, deadline);
        Self { value, version, deadline, hash }
    }

    /// The same with a value that keeps nothing else in memory.
    pub(super) fn detached(self) -> Self {
        Self { value: self.value.detached(), ..self }
    }

    /// Whether the entry is still there at an instant.
    #[must_use]
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.deadline.is_none_or(|deadline| now < deadline)
    }

    pub(super) const fn hash(&self) -> Digest {
        self.hash
    }
}

/// The entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    map: OrdMap<QualifiedKey, Arc<Record>>,
    expiry: OrdSet<(UnixMillis, QualifiedKey)>,
    digest: Digest,
    /// How many bytes all keys and records have when they are encoded.
    encoded_len: usize,
}

impl Entries {
    /// Sets a key; answers what it had.
    pub fn insert(&mut self, key: &QualifiedKey, record: Arc<Record>) -> Option<Arc<Record>> {
        self.digest = self.digest.plus(record.hash());
        self.encoded_len += encoded_len(key, &record);
        let deadline = record.deadline;
        let old = self.map.insert(key.clone(), record);
        if let Some(old) = &old {
            self.digest = self.digest.minus(old.hash());
            self.encoded_len -= encoded_len(key, old);
            if !mutant!("expiry index keeps the old deadline") {
                self.forget_deadline(key, old);
            }
        }
        if let Some(deadline) = deadline {
            self.expiry.insert((deadline, key.clone()));
        }
        old
    }

    /// Removes a key; answers what it had.
    pub fn remove(&mut self, key: &QualifiedKey) -> Option<Arc<Record>> {
        let old = self.map.remove(key)?;
        self.digest = self.digest.minus(old.hash());
        self.encoded_len -= encoded_len(key, &old);
        self.forget_deadline(key, &old);
        Some(old)
    }

    fn forget_deadline(&mut self, key: &QualifiedKey, old: &Record) {
        if let Some(deadline) = old.deadline {
            self.expiry.remove(&(deadline, key.clone()));
        }
    }

    /// What a key has.
    pub fn get<K: Comparable<QualifiedKey>>(&self, key: &K) -> Option<&Arc<Record>> {
        self.map.get(key)
    }

    /// How many bytes all of it has when it is encoded.
    pub const fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The entries from a place on, in order.
    pub fn range<'a>(
        &'a self,
        start: Bound<KeyRef<'_>>,
    ) -> impl Iterator<Item = (&'a QualifiedKey, &'a Arc<Record>)> {
        self.map.range((start, Bound::Unbounded))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&QualifiedKey, &Arc<Record>)> {
        self.map.iter()
    }

    /// The keys whose deadline has come, earliest first, keys of one deadline in their order.
    pub fn expired(&self, now: UnixMillis) -> impl Iterator<Item = &QualifiedKey> {
        self.expiry.iter().take_while(move |(deadline, _)| *deadline <= now).map(|(_, key)| key)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.expiry.get_min().map(|(deadline, _)| *deadline)
    }

    /// The number of entries, expired ones included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The number of entries with a deadline.
    pub fn expiring_len(&self) -> usize {
        self.expiry.len()
    }

    /// The sum of the hashes of all entries.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}
