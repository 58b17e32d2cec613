//! What is durable of a node's replicas, and what is under way to become so.
//!
//! It gives the disk its work and keeps account of it: the ledger as it is and as it was given, the
//! records that wait to be durable, and when the log has grown so much that a snapshot is due. It decides
//! how the durable replica starts; nothing else about replicas.

use bytes::Bytes;

use super::disk::{DiskTask, Work};
use super::ledger::{FoundLog, Ledger};
use crate::clock::UnixMillis;
use crate::crdt::{Incarnation, MemberList, Replica, Start};
use crate::limits::CRDT_SNAPSHOT_BYTES_MIN;
use crate::mutant::mutant;

/// The durable side of a node's replicas.
pub(super) struct Keeper {
    pub disk: DiskTask,
    /// What is durable.
    pub ledger: Ledger,
    /// What was given to the disk last.
    given: Ledger,
    /// What was found of the durable replica, until it starts.
    found: Option<FoundLog>,
    /// Where the durable replica's incarnation began in the log, and its number.
    base: u64,
    term: u64,
    /// The last record that was given, and the last one that is durable.
    given_record: u64,
    durable_record: u64,
    /// Bytes of the last snapshot, and of the records since.
    snapshot_bytes: u64,
    log_bytes: u64,
    /// How much of the log the snapshot that is being saved replaces.
    saving: Option<u64>,
}

/// How the durable replica starts.
pub(super) enum Started {
    /// It goes on.
    Resumed(Replica),
    /// It begins anew, and may speak once it is saved.
    Begins(Replica),
}

impl Keeper {
    pub fn new(disk: DiskTask, ledger: Ledger, found: FoundLog) -> Self {
        Self {
            disk,
            given: ledger.clone(),
            ledger,
            base: 0,
            term: 0,
            given_record: 0,
            durable_record: 0,
            snapshot_bytes: found.snapshot_bytes,
            log_bytes: found.record_bytes,
            saving: None,
            found: Some(found),
        }
    }

    /// Whether this node was ever listed.
    pub const fn was_listed(&self) -> bool {
        self.given.list.epoch > 0
    }

    /// Makes a list durable, if it is later than the last one.
    pub fn keep_list(&mut self, list: &MemberList) {
        if list.epoch > self.given.list.epoch {
            self.given.list = list.clone();
            self.give_ledger();
        }
    }

    /// Makes a bound of the clock durable.
    pub fn keep_reservation(&mut self, until: UnixMillis) {
        self.given.reserved = self.given.reserved.max(until);
        self.give_ledger();
    }

    /// Whether a bound of the clock is under way to the disk.
    pub fn is_reserving(&self) -> bool {
        self.given.reserved != self.ledger.reserved
    }

    /// Starts the durable replica.
    pub fn start(&mut self, start: Start) -> Started {
        let found = self.found.take().expect("it starts once");
        let is_overlooked = mutant!("durable replica resumes after its disk has failed");
        match found.kept {
            Some(kept) if !self.ledger.is_doubtful || is_overlooked => {
                self.base = found.last_index - kept.record();
                self.term = kept.author().incarnation.0;
                (self.given_record, self.durable_record) = (kept.record(), kept.record());
                Started::Resumed(Replica::resume(start, kept))
            }
            kept => {
                let last = kept.as_ref().map_or(Incarnation(0), |kept| kept.author().incarnation);
                (self.base, self.term) = (found.last_index + 1, start.number);
                let replica = Replica::begin(start, kept, last);
                self.give(Work::Begin { replica: Box::new(replica.clone()), index: self.base });
                Started::Begins(replica)
            }
        }
    }

    /// The durable replica has begun.
    pub fn note_begun(&mut self, bytes: u64) {
        (self.snapshot_bytes, self.log_bytes) = (bytes, 0);
        if self.given.is_doubtful {
            self.given.is_doubtful = false;
            self.give_ledger();
        }
    }

    /// Whether another record may be given: one is being written, one waits. What changes meanwhile
    /// becomes one record.
    pub const fn takes_record(&self) -> bool {
        self.given_record - self.durable_record < RECORDS_MAX
    }

    /// Makes a record durable.
    pub fn keep_record(&mut self, number: u64, bytes: Bytes) {
        self.given_record = number;
        self.log_bytes += bytes.len() as u64;
        self.give(Work::Record { index: self.base + number, term: self.term, bytes });
    }

    /// Records are durable up to an index; gives the number of the last one.
    pub const fn note_recorded(&mut self, index: u64) -> u64 {
        self.durable_record = index - self.base;
        self.durable_record
    }

    /// Saves the replica in place of its records, if there are many.
    pub fn save_when_due(&mut self, replica: &Replica) {
        let due_bytes = (self.snapshot_bytes / 2).max(CRDT_SNAPSHOT_BYTES_MIN);
        if self.saving.is_none() && self.log_bytes >= due_bytes {
            self.saving = Some(self.log_bytes);
            self.give(Work::Snapshot { replica: Box::new(replica.clone()), base: self.base });
        }
    }

    /// A snapshot is durable.
    pub fn note_snapshot(&mut self, bytes: u64) {
        self.snapshot_bytes = bytes;
        self.log_bytes -= self.saving.take().unwrap_or(0);
    }

    fn give_ledger(&self) {
        self.give(Work::Ledger(self.given.clone()));
    }

    /// Without a receiver the disk's task has ended, and says so itself.
    fn give(&self, work: Work) {
        _ = self.disk.work.send(work);
    }
}

/// Records that are given to the disk at once.
const RECORDS_MAX: u64 = 2;
