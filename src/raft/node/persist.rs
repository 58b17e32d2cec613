//! What is to be made durable, and what raft-rs means by it.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;
use raft::eraftpb::Entry;

use crate::storage::{Batch, HardState, SnapshotMeta, StoredEntry};

/// One step of what is to be made durable: a snapshot first, if there is one, then the batch.
#[derive(Clone, Debug)]
pub struct Persist {
    /// Grows with every step; acknowledging one acknowledges all before it.
    pub number: u64,
    /// An installed snapshot, to be saved before the batch is written.
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
    /// Entries and the hard state.
    pub batch: Batch,
}

impl Persist {
    /// Takes the next step into this one, so that both are written and synced as one batch; gives it
    /// back if that can't be: an installed snapshot is saved before its batch, and after the batches
    /// before it are durable.
    #[must_use]
    pub fn join(&mut self, next: Self) -> Option<Self> {
        if self.snapshot.is_some() || next.snapshot.is_some() {
            return Some(next);
        }
        self.number = next.number;
        let Batch { hard_state, entries, .. } = next.batch;
        self.batch.hard_state = hard_state.or(self.batch.hard_state);
        if let Some(first) = entries.first() {
            // What the later step replaces does not stay.
            let kept = self.batch.entries.partition_point(|entry| entry.index < first.index);
            self.batch.entries.truncate(kept);
        }
        self.batch.entries.extend(entries);
        None
    }
}

pub(super) fn to_stored(entry: Entry) -> StoredEntry {
    StoredEntry {
        index: entry.index,
        term: entry.term,
        kind: u8::try_from(entry.entry_type).expect("raft-rs has three kinds of entries"),
        context: entry.context.into(),
        data: entry.data.into(),
    }
}

/// An entry of raft-rs, as it was before it was stored.
pub(in crate::raft) fn from_stored(entry: StoredEntry) -> Entry {
    Entry {
        index: entry.index,
        term: entry.term,
        entry_type: i32::from(entry.kind),
        context: entry.context.to_vec(),
        data: entry.data.to_vec(),
        sync_log: false,
    }
}

pub(super) fn to_hard_state(hard_state: &raft::eraftpb::HardState) -> HardState {
    HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
}
