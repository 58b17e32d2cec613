//! The history for watchers: the last revisions with all their events, a bounded ring.
//!
//! Invariant: the kept revisions are consecutive and end with the newest one, so that a reader at
//! any kept place sees every later revision, once and in order; a reader before it is told that
//! the history was compacted.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use imbl::Vector;

use super::digest::Digest;
use super::entries::Record;
use super::key::QualifiedKey;
use crate::codec::Writer;
use crate::entry::{Entry, Event, EventKind};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX};

/// What one revision changed in the machine, all keyspaces together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionChange {
    /// The revision.
    pub revision: u64,
    /// Its events, in order.
    pub events: Vec<KeyEvent>,
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

    fn hash(&self) -> Digest {
        let mut writer = Writer::with_capacity(64);
        writer.unsigned(self.revision);
        for event in &self.events {
            writer.byte(event.kind as u8);
            writer.bytes(event.key.as_bytes());
            if let Some(record) = &event.record {
                writer.raw(&record.hash().0.to_be_bytes());
            }
        }
        Digest::of(HASH_CHANGE, writer.as_slice())
    }
}

/// The kept revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    changes: Vector<Arc<RevisionChange>>,
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
    pub fn push(&mut self, change: Arc<RevisionChange>) {
        assert_eq!(change.revision, self.newest() + 1, "revisions are consecutive");
        self.bytes += change.bytes();
        self.digest = self.digest.plus(change.hash());
        self.changes.push_back(change);
        while self.changes.len() > HISTORY_REVISIONS_MAX || self.bytes > HISTORY_BYTES_MAX {
            let oldest = self.changes.pop_front().expect("there is the one just appended");
            self.bytes -= oldest.bytes();
            self.digest = self.digest.minus(oldest.hash());
            self.compacted = oldest.revision;
        }
    }

    /// The revisions after one, in order; none if it lies before what is kept.
    pub fn after_revision(
        &self,
        revision: u64,
    ) -> Option<impl ExactSizeIterator<Item = &Arc<RevisionChange>>> {
        let skip = usize::try_from(revision.checked_sub(self.compacted)?).ok()?;
        Some(self.changes.iter().skip(skip))
    }

    /// All kept revisions, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<RevisionChange>> {
        self.changes.iter()
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
        self.changes.back().map_or(self.compacted, |change| change.revision)
    }
}

const HASH_CHANGE: u64 = 3;
