//! The write-ahead log: batches in segments, one sync each.
//!
//! Segments are files `log-<number>`, numbered without a gap. A new one is filled with zeros and synced,
//! its name too, before a batch is written into it. A batch lies in one segment; one that is larger
//! than a segment gets a segment of its own size.
//!
//! Invariants:
//! 1. No sector of a batch is written before the batch before it was synced.
//! 2. A batch number is used once: the next one lies above every one seen, complete or not.
//! 3. Every batch names the one before it that counts.
//!
//! Opening reads all segments and tells three things apart. A batch with all its sectors counts. The
//! highest batch may be *torn*: some of its sectors are all zero. It was never acknowledged; it is cut
//! off, and everything behind is zeroed and synced before anything is appended. Whatever else is not
//! right (a sector that is neither zero nor right, a lower batch with a sector missing, a batch or a
//! segment that is missing in between) is damage, and nothing is opened.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::VecDeque;

use bytes::Bytes;

use super::StorageError;
use super::batch::{self, Batch, HardState, ReadBatch};
use super::disk::{Disk, SECTOR_BYTES};
use super::sector::{Sector, lay_out, look, payload, sectors_of};
use crate::mutant::mutant;

/// The log on a disk.
#[derive(Debug)]
pub(super) struct Wal {
    segment_bytes: usize,
    /// All segments, oldest first; the last one is written.
    segments: VecDeque<Segment>,
    /// The first free sector of the last segment.
    next_sector: u32,
    /// The batch before the next one.
    before: u64,
    next_batch: u64,
    hard_state: HardState,
    /// The batch that was written and not synced: its number.
    unsynced: Option<u64>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    sectors: u32,
    /// The greatest index of an entry in it.
    index_max: u64,
}

/// A batch found at opening, with the segment that it lies in.
struct Found {
    number: u64,
    batch: ReadBatch,
}

impl Wal {
    /// Reads what is there, oldest first, and cuts a torn end off.
    pub fn open<D: Disk>(
        disk: &mut D,
        names: &[String],
        segment_bytes: usize,
    ) -> Result<(Self, Vec<ReadBatch>), StorageError> {
        let mut wal = Self {
            segment_bytes,
            segments: VecDeque::new(),
            next_sector: 0,
            before: 0,
            next_batch: 1,
            hard_state: HardState::default(),
            unsynced: None,
            scratch: Vec::new(),
        };
        let mut contents = Vec::new();
        for name in names {
            let number = parse_name(name).ok_or_else(|| StorageError::foreign(name))?;
            contents.push((number, disk.read(name)?));
        }
        for pair in contents.windows(2) {
            if pair[0].0 + 1 != pair[1].0 {
                let missing = name_of(pair[0].0 + 1);
                return Err(StorageError::damaged(&missing, "the segment is missing"));
            }
        }
        let found = wal.read_all(disk, &contents)?;
        Ok((wal, found.into_iter().map(|found| found.batch).collect()))
    }

    fn read_all<D: Disk>(
        &mut self,
        disk: &mut D,
        contents: &[(u64, Vec<u8>)],
    ) -> Result<Vec<Found>, StorageError> {
        let highest = highest_batch(contents)?;
        let mut all: Vec<Found> = Vec::new();
        let mut is_ended = false;
        for (number, bytes) in contents {
            let (found, end) = read_segment(*number, bytes, highest)?;
            if is_ended && !found.is_empty() {
                return Err(StorageError::damaged(&name_of(number - 1), "its end is missing"));
            }
            let sectors = (bytes.len() / SECTOR_BYTES) as u32;
            let entries = found.iter().flat_map(|found| &found.batch.entries);
            let index_max = entries.map(|entry| entry.index).max().unwrap_or(0);
            // A segment that nothing was written to may not even have its full length.
            if found.is_empty() && end == 0 {
                is_ended = true;
                self.cut(disk, *number, bytes, 0)?;
                continue;
            }
            self.segments.push_back(Segment { number: *number, sectors, index_max });
            self.next_sector = end;
            if end < highest.end_in(*number) {
                is_ended = true;
                self.cut(disk, *number, bytes, end)?;
            }
            all.extend(found);
        }
        let mut before = all.first().map_or(0, |found| found.batch.before);
        for found in &all {
            if found.batch.before != before && !mutant!("missing batch is not noticed") {
                let what = format!("batch {} does not follow batch {before}", found.number);
                return Err(StorageError::damaged("the log", &what));
            }
            before = found.number;
            self.hard_state = found.batch.hard_state;
        }
        self.before = before;
        self.next_batch = before.max(highest.number) + 1;
        Ok(all)
    }

    /// Zeroes a segment from a sector on, durably; one without any batch is removed instead.
    fn cut<D: Disk>(
        &mut self,
        disk: &mut D,
        number: u64,
        bytes: &[u8],
        from: u32,
    ) -> Result<(), StorageError> {
        let name = name_of(number);
        if from == 0 {
            disk.remove(&name)?;
            disk.sync_names()?;
            return Ok(());
        }
        let from = from as usize * SECTOR_BYTES;
        disk.write(&name, from as u64, &vec![0; bytes.len() - from])?;
        if !mutant!("cut is not synced") {
            disk.sync(&name)?;
        }
        Ok(())
    }

    /// Writes a batch. Nothing of it is durable yet.
    pub fn write<D: Disk>(&mut self, disk: &mut D, batch: &Batch) -> Result<(), StorageError> {
        assert!(self.unsynced.is_none(), "a batch is written after the one before it was synced");
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
        let bytes = batch::encode(batch, self.before, self.hard_state);
        let count = sectors_of(bytes.len()) as u32;
        if self.segments.back().is_none_or(|last| self.next_sector + count > last.sectors) {
            self.add_segment(disk, count)?;
        }
        let segment = self.segments.back_mut().expect("just made");
        let number = self.next_batch;
        self.scratch.clear();
        lay_out(&mut self.scratch, segment.number, self.next_sector, number, &bytes);
        let offset = u64::from(self.next_sector) * SECTOR_BYTES as u64;
        disk.write(&name_of(segment.number), offset, &self.scratch)?;
        let newest = batch.entries.last().map_or(0, |entry| entry.index);
        segment.index_max = segment.index_max.max(newest);
        self.next_sector += count;
        self.next_batch += 1;
        self.unsynced = Some(number);
        Ok(())
    }

    /// Makes the batch that was written durable.
    pub fn sync<D: Disk>(&mut self, disk: &mut D) -> Result<(), StorageError> {
        let Some(number) = self.unsynced.take() else { return Ok(()) };
        let segment = self.segments.back().expect("a batch lies in a segment");
        if !mutant!("sync is skipped") {
            let synced = disk.sync(&name_of(segment.number));
            if !mutant!("sync error is ignored") {
                synced?;
            }
        }
        self.before = number;
        Ok(())
    }

    /// A new segment, zeroed and durable with its name.
    fn add_segment<D: Disk>(&mut self, disk: &mut D, least: u32) -> Result<(), StorageError> {
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        let sectors = least.max((self.segment_bytes / SECTOR_BYTES) as u32);
        let name = name_of(number);
        disk.write(&name, 0, &vec![0; sectors as usize * SECTOR_BYTES])?;
        disk.sync(&name)?;
        disk.sync_names()?;
        self.segments.push_back(Segment { number, sectors, index_max: 0 });
        self.next_sector = 0;
        Ok(())
    }

    /// Removes the oldest segments whose entries all lie at or before an index. One at a time and
    /// durably, so that no gap can come of it; never the last, which holds the hard state.
    pub fn compact<D: Disk>(&mut self, disk: &mut D, index: u64) -> Result<(), StorageError> {
        // The last segment may hold nothing but a batch that is not durable yet.
        if self.unsynced.is_some() {
            return Ok(());
        }
        let is_early = mutant!("segment is deleted too early");
        while self.segments.len() > 1 && (self.segments[0].index_max <= index || is_early) {
            let oldest = self.segments.pop_front().expect("there are two");
            disk.remove(&name_of(oldest.number))?;
            disk.sync_names()?;
        }
        Ok(())
    }
}

/// The highest batch of which anything is there, and where its sectors lie.
#[derive(Clone, Copy, Debug, Default)]
struct Highest {
    number: u64,
    segment: u64,
    end: u32,
}

impl Highest {
    /// The sector behind it, in a segment.
    const fn end_in(self, segment: u64) -> u32 {
        if self.segment == segment { self.end } else { 0 }
    }
}

fn highest_batch(contents: &[(u64, Vec<u8>)]) -> Result<Highest, StorageError> {
    let mut highest = Highest::default();
    for (segment, bytes) in contents {
        for (place, sector) in (0..).zip(bytes.chunks(SECTOR_BYTES)) {
            match look(sector, *segment, place) {
                Sector::Part { batch, last, .. } if batch >= highest.number => {
                    highest = Highest { number: batch, segment: *segment, end: last + 1 };
                }
                Sector::Part { .. } | Sector::Zero => {}
                Sector::Damaged if mutant!("corrupt middle is cut as a tail") => {}
                Sector::Damaged => return Err(damaged_sector(*segment, place)),
            }
        }
    }
    Ok(highest)
}

/// The batches of a segment, and the first sector behind them.
fn read_segment(
    number: u64,
    bytes: &[u8],
    highest: Highest,
) -> Result<(Vec<Found>, u32), StorageError> {
    let count = (bytes.len() / SECTOR_BYTES) as u32;
    let sector = |place: u32| {
        let start = place as usize * SECTOR_BYTES;
        &bytes[start..start + SECTOR_BYTES]
    };
    let mut found = Vec::new();
    let mut place = 0;
    while place < count {
        let Sector::Part { batch, first, last } = look(sector(place), number, place) else { break };
        let is_whole = first == place
            && last < count
            && (first..=last).all(|place| {
                look(sector(place), number, place) == Sector::Part { batch, first, last }
            });
        let is_torn = batch == highest.number;
        if !is_whole && is_torn && !mutant!("torn tail is accepted") {
            return Ok((found, place.min(first)));
        }
        if !is_whole && !is_torn {
            return Err(damaged_sector(number, place));
        }
        let parts = (first..=last.min(count - 1)).flat_map(|place| payload(sector(place)));
        let payload: Bytes = parts.copied().collect::<Vec<u8>>().into();
        let batch_read = batch::decode(&payload).map_err(|error| {
            StorageError::damaged(&name_of(number), &format!("batch {batch}: {error}"))
        })?;
        found.push(Found { number: batch, batch: batch_read });
        place = last + 1;
    }
    if mutant!("valid tail is dropped") && found.last().is_some_and(|l| l.number == highest.number)
    {
        let dropped = found.pop().expect("just seen");
        let lost = sectors_of(batch::encode_len(&dropped.batch)) as u32;
        return Ok((found, place - lost));
    }
    // Behind the last batch there are zeros, or sectors of the highest batch whose first is lost.
    for behind in place..count {
        match look(sector(behind), number, behind) {
            Sector::Zero => {}
            Sector::Part { batch, .. } if batch == highest.number => {}
            Sector::Part { .. } | Sector::Damaged => return Err(damaged_sector(number, place)),
        }
    }
    Ok((found, place))
}

fn damaged_sector(segment: u64, place: u32) -> StorageError {
    StorageError::damaged(&name_of(segment), &format!("sector {place} is damaged"))
}

/// The name of a segment.
pub(super) fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

fn parse_name(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()?;
    (name_of(number) == name && number > 0).then_some(number)
}

/// What the names of segments begin with.
pub(super) const PREFIX: &str = "log-";
