//! The history for watchers: the last revisions with all their events, a bounded ring.
//!
//! Invariant: the kept revisions are consecutive and end with the newest one, so that a reader at
//! any kept place sees every later revision, once and in order; a reader before it is told that
//! the history was compacted.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use imbl::Vector;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::digest::Digest;
use super::entries::Record;
use super::key::QualifiedKey;
use crate::entry::{Entry, Event, EventKind};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX};
use crate::mutant::mutant;

/// What one revision changed in the machine, all keyspaces together. Cloning shares the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionChange {
    /// The revision.
    pub revision: u64,
    /// Its events, in order.
    pub events: Arc<[KeyEvent]>,
}

/// One change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which key.
    pub key: QualifiedKey,
    /// What was written, of a put.
    pub record: Option<Arc<Record>>,
}

impl KeyEvent {
    pub(super) const fn removal(kind: EventKind, key: QualifiedKey) -> Self {
        Self { kind, key, record: None }
    }

    pub(super) const fn put(key: QualifiedKey, record: Arc<Record>) -> Self {
        Self { kind: EventKind::Put, key, record: Some(record) }
    }

    /// The event as watchers of its keyspace see it.
    #[must_use]
    pub fn to_event(&self) -> Event {
        let key = self.key.to_key();
        let entry = self.record.as_ref().map(|record| Entry {
            key: key.clone(),
            value: record.value.decode(),
            version: record.version,
            expires_at: record.deadline,
        });
        Event { kind: self.kind, key, entry }
    }

    fn bytes(&self) -> usize {
        self.key.as_bytes().len() + self.record.as_ref().map_or(0, |record| record.value.len())
    }
}

impl RevisionChange {
    fn bytes(&self) -> usize {
        self.events.iter().map(KeyEvent::bytes).sum()
    }

    /// Chained over the events: their order counts.
    fn hash(&self) -> Digest {
        let mut chain = self.revision;
        for event in &*self.events {
            chain = xxh3_64_with_seed(event.key.as_bytes(), chain ^ (event.kind as u64) << 56);
            if let Some(record) = &event.record {
                chain = xxh3_64_with_seed(&record.hash().0.to_be_bytes(), chain);
            }
        }
        Digest::of(HASH_CHANGE, &chain.to_be_bytes())
    }
}

/// A kept revision, with what it counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    change: RevisionChange,
    bytes: usize,
    hash: Digest,
}

/// The kept revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    kept: Vector<Kept>,
    /// The newest revision that is no longer kept.
    compacted: u64,
    bytes: usize,
    digest: Digest,
}

impl History {
    /// An empty history after a revision.
    pub fn after(revision: u64) -> Self {
        Self { compacted: revision, ..Self::default() }
    }

    /// Appends the next revision and drops the oldest ones over the limits.
    pub fn push(&mut self, change: RevisionChange) {
        assert_eq!(change.revision, self.newest() + 1, "revisions are consecutive");
        let (bytes, hash) = (change.bytes(), change.hash());
        self.bytes += bytes;
        self.digest = self.digest.plus(hash);
        self.kept.push_back(Kept { change, bytes, hash });
        while (self.kept.len() > HISTORY_REVISIONS_MAX || self.bytes > HISTORY_BYTES_MAX)
            && !mutant!("history is never compacted")
        {
            let oldest = self.kept.pop_front().expect("there is the one just appended");
            self.bytes -= oldest.bytes;
            self.digest = self.digest.minus(oldest.hash);
            self.compacted = oldest.change.revision;
        }
    }

    /// The revisions after one, in order; none if it lies before what is kept.
    pub fn after_revision(
        &self,
        revision: u64,
    ) -> Option<impl ExactSizeIterator<Item = &RevisionChange>> {
        let skip = usize::try_from(revision.checked_sub(self.compacted)?).ok()?;
        Some(self.kept.iter().skip(skip).map(|kept| &kept.change))
    }

    /// All kept revisions, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RevisionChange> {
        self.kept.iter().map(|kept| &kept.change)
    }

    /// The newest revision that is no longer kept.
    pub const fn compacted(&self) -> u64 {
        self.compacted
    }

    /// The sum of the hashes of the kept revisions.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    fn newest(&self) -> u64 {
        self.kept.back().map_or(self.compacted, |kept| kept.change.revision)
    }
}

const HASH_CHANGE: u64 = 3;
