//! Recovery: what the files of a folder amount to, and what has to be done before they are used.
//!
//! Reading comes first and changes nothing, so a folder that is refused stays as it was found. What
//! has to be done then is little: zero a torn tail, remove a segment that was never used, make the
//! first one.
//!
//! Invariants: what is recovered is consecutive from the snapshot on; its entries were all written,
//! and everything that was synced is among them.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::batch::{HardState, Position, Record, StoredEntry};
use super::disk::Disk;
use super::segment::{self, Image, Tail, name_of};
use super::{Damage, StorageError};

/// What the log of a folder amounts to.
#[derive(Debug)]
pub(super) struct Found {
    /// The segments in order, with the end of the log before each.
    pub segments: Vec<(u64, Position)>,
    /// Sectors of the last segment.
    pub sectors: u32,
    /// How the last segment ends.
    pub tail: Tail,
    /// A segment after the last that was never used.
    pub unused: Option<u64>,
    pub highest_batch: u64,
    pub log: Log,
}

/// The log as batches make it.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Entries up to this index are not known. The term is, unless entries replaced others before it.
    base: Position,
    is_base_term_known: bool,
    entries: Vec<StoredEntry>,
    pub hard_state: HardState,
}

/// Reads the segments of a folder. There is none in one that was never used.
pub(super) fn read<D: Disk>(
    disk: &D,
    numbers: &[u64],
    is_beginning: bool,
) -> Result<Option<Found>, StorageError> {
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(StorageError::Missing { file: name_of(pair[0] + 1) });
        }
    }
    let Some(&first) = numbers.first() else {
        return if is_beginning { Ok(None) } else { Err(missing_log()) };
    };
    let mut found = Found {
        segments: Vec::new(),
        sectors: 0,
        tail: Tail::Ended,
        unused: None,
        highest_batch: 0,
        log: Log::default(),
    };
    for &number in numbers {
        let image = Image::new(number, disk.read(&name_of(number))?);
        if found.tail != Tail::Ended {
            found.check_unused(&image)?;
            continue;
        }
        // The first segment is made before anything else is saved; a crash may have come before.
        if is_beginning && numbers == [1] && image.check_unused().is_ok() {
            return Ok(None);
        }
        found.take(&image, number == first)?;
    }
    match found.tail {
        Tail::Ended => Err(StorageError::Missing { file: name_of(numbers[numbers.len() - 1] + 1) }),
        _ => Ok(Some(found)),
    }
}

impl Found {
    fn take(&mut self, image: &Image, is_first: bool) -> Result<(), StorageError> {
        let head = image.head()?;
        if is_first {
            self.log = Log::after(head.before, head.hard_state);
            self.highest_batch = head.first_batch.saturating_sub(1);
        } else if head.before != self.log.last() || head.hard_state != self.log.hard_state {
            return Err(image.damaged(0, "it does not continue the segment before it"));
        }
        let log = &mut self.log;
        let walk = segment::walk(image, self.highest_batch, |place, record| {
            log.take(record).map_err(|what| image.damaged(place, what))
        })?;
        self.segments.push((image.number, head.before));
        self.sectors = head.sectors;
        self.tail = walk.tail;
        self.highest_batch = walk.highest;
        Ok(())
    }

    /// A segment is made only when all before it is durable, and used only when the one before it
    /// has ended.
    fn check_unused(&mut self, image: &Image) -> Result<(), StorageError> {
        if matches!(self.tail, Tail::Torn(_)) || self.unused.is_some() {
            return Err(image.damaged(0, "the segment before it has no end"));
        }
        image.check_unused()?;
        self.unused = Some(image.number);
        Ok(())
    }
}

impl Log {
    /// A log that begins after a position.
    pub const fn after(base: Position, hard_state: HardState) -> Self {
        Self { base, is_base_term_known: true, entries: Vec::new(), hard_state }
    }

    /// The last index and its term.
    pub fn last(&self) -> Position {
        self.entries.last().map_or(self.base, |e| Position { index: e.index, term: e.term })
    }

    fn take(&mut self, record: Record) -> Result<(), &'static str> {
        if record.before != self.last() {
            return Err("a batch does not continue the one before it");
        }
        self.hard_state = record.hard_state;
        if let Some(position) = record.reset {
            *self = Self::after(position, self.hard_state);
        }
        let Some(first) = record.entries.first() else { return Ok(()) };
        if first.index > self.last().index + 1 {
            return Err("entries are missing before a batch");
        }
        if first.index > self.base.index {
            self.entries.truncate((first.index - self.base.index - 1) as usize);
        } else {
            self.entries.clear();
            self.base = Position { index: first.index - 1, term: 0 };
            self.is_base_term_known = false;
        }
        self.entries.extend(record.entries);
        Ok(())
    }

    /// The entries after the newest snapshot, and whether the log holds the snapshot's last entry. If
    /// not, the snapshot came from elsewhere and all of the log is older than it or in conflict with
    /// it: so the entries go, and the log has to be reset.
    pub fn after_snapshot(
        &self,
        snapshot: Option<Position>,
    ) -> Result<(Vec<StoredEntry>, bool), Damage> {
        let snapshot_index = snapshot.map_or(0, |position| position.index);
        let damage = |what: &str| {
            let file = super::blob::snapshot_name(snapshot_index);
            Damage { file, sector: None, what: what.to_owned() }
        };
        if self.base.index > snapshot_index {
            return Err(damage("it or a newer one is missing: the log begins after it"));
        }
        if self.hard_state.commit > self.last().index.max(snapshot_index) {
            return Err(damage("the log after it ends before what is committed"));
        }
        let Some(snapshot) = snapshot else { return Ok((self.entries.clone(), true)) };
        let holds = match snapshot.index.checked_sub(self.base.index + 1) {
            None if self.is_base_term_known => self.base.term == snapshot.term,
            None => return Err(damage("the log does not tell its term")),
            Some(at) => {
                self.entries.get(at as usize).is_some_and(|entry| entry.term == snapshot.term)
            }
        };
        if !holds && self.hard_state.commit > snapshot.index {
            return Err(damage("what the log has committed contradicts it"));
        }
        let after = self.entries.iter().filter(|entry| holds && entry.index > snapshot.index);
        Ok((after.cloned().collect(), holds))
    }
}

fn missing_log() -> StorageError {
    StorageError::Missing { file: name_of(1) }
}
