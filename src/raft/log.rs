//! The log in memory: all entries since the last compaction, readable before they are durable.
//!
//! raft-rs reads entries, terms and the configuration from here and never from a disk. Entries, an
//! installed snapshot's boundary and the hard state are put in as soon as raft-rs hands them out;
//! that they are durable is acknowledged later, and separately.
//!
//! Invariant: entries are consecutive, from `first_index` to `last_index`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, EntryType, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::message::SnapshotName;
use super::node::from_stored;
use super::state::State;
use crate::clock::UnixMillis;
use crate::codec::Writer;
use crate::kv::LogEntry;
use crate::storage::{HardState, StoredEntry};

/// The entries of a node since its last compaction.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// The last index that is no longer kept, and its term.
    compacted: (u64, u64),
    /// The greatest log time at the compacted index.
    compacted_time: UnixMillis,
    bytes: usize,
    hard_state: HardState,
    conf: ConfState,
    /// The snapshot that can be sent, with the configuration at its index.
    sendable: Option<(SnapshotName, ConfState)>,
    /// A follower needs a snapshot and there is none that can be sent.
    wants_snapshot: Cell<bool>,
}

impl Log {
    /// A log that begins after an index.
    pub(super) fn new(index: u64, term: u64, time: UnixMillis, conf: ConfState) -> Self {
        let hard_state = HardState { term, vote: 0, commit: index };
        Self {
            entries: VecDeque::new(),
            compacted: (index, term),
            compacted_time: time,
            bytes: 0,
            hard_state,
            conf,
            sendable: None,
            wants_snapshot: Cell::new(false),
        }
    }

    /// The log of a node that starts from a snapshot and the entries after it.
    pub(super) fn recover(state: &State, hard_state: HardState, entries: Vec<StoredEntry>) -> Self {
        let time = state.machine.log_time();
        let mut log = Self::new(state.index, state.term, time, state.conf.clone());
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.index > state.index)
            .map(from_stored)
            .collect();
        log.append(&entries);
        log.hard_state = HardState {
            term: hard_state.term.max(state.term),
            vote: hard_state.vote,
            commit: hard_state.commit.max(state.index),
        };
        log
    }

    /// The first index that is kept.
    #[must_use]
    pub const fn first_index(&self) -> u64 {
        self.compacted.0 + 1
    }

    /// The last index.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
    }

    /// The term of an index: of the kept ones, and of the one before.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            return Some(self.compacted.1);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// The entry at an index.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        let position = index.checked_sub(self.first_index())?;
        self.entries.get(usize::try_from(position).ok()?)
    }

    /// The bytes of the kept entries.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The stamp of the newest command: the time that no leader may go behind.
    #[must_use]
    pub fn newest_stamp(&self) -> UnixMillis {
        let is_command = |entry: &&Entry| entry.entry_type == EntryType::EntryNormal as i32;
        let mut stamps = self.entries.iter().rev().filter(is_command);
        stamps.find_map(|entry| LogEntry::stamp_of(&entry.data)).unwrap_or(self.compacted_time)
    }

    pub(super) const fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(super) const fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(super) fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// Appends entries; the first replaces whatever stood at or after its index.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            self.first_index() <= first.index && first.index <= self.last_index() + 1,
            "entries are consecutive"
        );
        while self.last_index() >= first.index {
            let dropped = self.entries.pop_back().expect("the last index is kept");
            self.bytes -= entry_bytes(&dropped);
        }
        for entry in entries {
            self.bytes += entry_bytes(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// Begins anew after an installed snapshot.
    pub(super) fn reset(&mut self, index: u64, term: u64, time: UnixMillis, conf: ConfState) {
        let hard_state = self.hard_state;
        *self = Self::new(index, term, time, conf);
        self.hard_state = HardState { commit: hard_state.commit.max(index), ..hard_state };
    }

    /// Forgets the entries up to an index.
    pub(super) fn compact(&mut self, index: u64) {
        while self.first_index() <= index {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= entry_bytes(&entry);
            self.compacted = (entry.index, entry.term);
            let stamp = LogEntry::stamp_of(&entry.data).unwrap_or_default();
            if entry.entry_type == EntryType::EntryNormal as i32 {
                self.compacted_time = self.compacted_time.max(stamp);
            }
        }
    }

    /// The first index to keep of those up to an index, where so many entries are kept, or fewer if they
    /// have more than so many bytes.
    pub(super) fn first_kept(&self, index: u64, entries: u64, bytes: usize) -> u64 {
        let (mut first, mut sum) = (index + 1, 0);
        while first > self.first_index().max(index.saturating_sub(entries) + 1)
            && let Some(entry) = self.entry(first - 1)
        {
            sum += entry_bytes(entry);
            if sum > bytes {
                break;
            }
            first -= 1;
        }
        first
    }

    /// Offers a snapshot to followers that are too far behind; none takes the offer back.
    pub(super) fn offer(&mut self, snapshot: Option<(SnapshotName, ConfState)>) {
        self.sendable = snapshot;
        if self.sendable.is_some() {
            self.wants_snapshot.set(false);
        }
    }

    /// Whether a follower needs a snapshot that there is not yet.
    pub(super) const fn wants_snapshot(&self) -> bool {
        self.wants_snapshot.get()
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES + entry.data.len() + entry.context.len()
}

/// What an entry takes beside its data.
const ENTRY_OVERHEAD_BYTES: usize = 80;

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let HardState { term, vote, commit } = self.hard_state;
        let hard_state = raft::eraftpb::HardState { term, vote, commit };
        Ok(RaftState { hard_state, conf_state: self.conf.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first_index() {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last_index() + 1, "raft-rs asks for entries that there are");
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in low..high {
            let entry = self.entry(index).expect("between the first and the last index");
            bytes += entry_bytes(entry) as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.compacted.0 {
            return Err(StorageError::Compacted.into());
        }
        self.term_at(index).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(Self::first_index(self))
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(Self::last_index(self))
    }

    /// Only what can be sent at once: else whoever drives the node is asked for a snapshot, and
    /// raft-rs asks again.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.sendable {
            Some((name, conf)) if name.index >= request_index.max(self.compacted.0) => {
                let mut writer = Writer::with_capacity(40);
                name.write(&mut writer);
                let mut snapshot = Snapshot { data: writer.finish().to_vec(), metadata: None };
                let metadata = snapshot.mut_metadata();
                metadata.index = name.index;
                metadata.term = name.term;
                metadata.conf_state = Some(conf.clone());
                Ok(snapshot)
            }
            _ => {
                self.wants_snapshot.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
