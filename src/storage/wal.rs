//! The write-ahead log: appends batches to segments, one sync each.
//!
//! 1. A batch starts on a fresh sector, lies in one segment, and is written only when the one before
//!    it is durable. One that is larger than a segment gets a segment of its own size.
//! 2. A segment is zeroed and synced, and its name too, before the one before it is ended; that end
//!    is synced before the new segment is used. So a batch never meets anything but zeros.
//!    Its zeros may have been made durable long before, under another name: then only its head is
//!    waited for.
//! 3. The number of a batch exceeds every number that was ever seen in the folder.
//! 4. A segment is removed when the log before the next one is covered by a snapshot, oldest first,
//!    each removal synced: what is left has no holes.
//!
//! No cache and no reading: the log is read once, by [`recovery`](super::recovery).
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::VecDeque;

use super::StorageError;
use super::batch::{self, Batch, HardState, Position};
use super::disk::{Disk, SECTOR_BYTES};
use super::recovery::Found;
use super::sector;
use super::segment::{Head, Tail, name_of};
use crate::limits::BATCH_BYTES_MAX;
use crate::mutant::mutant;

/// The log of an open folder.
#[derive(Debug)]
pub(super) struct Wal {
    segment_sectors: u32,
    /// Segments in order, with the end of the log before each.
    segments: VecDeque<(u64, Position)>,
    /// The last segment's file.
    name: String,
    /// The last segment's sectors.
    sectors: u32,
    /// The first sector of it that was never written.
    place: u32,
    next_batch: u64,
    hard_state: HardState,
    /// The end of the log.
    last: Position,
    /// The next batch has to begin the log anew after this.
    reset: Option<Position>,
    /// A batch was written and is not durable yet.
    has_unsynced: bool,
    /// There is a file of zeros that can become the next segment.
    has_spare: bool,
    /// Where batches are laid out.
    buffer: Vec<u8>,
}

impl Wal {
    /// Makes the first segment of a folder.
    pub fn create<D: Disk>(disk: &mut D, segment_bytes: usize) -> Result<Self, StorageError> {
        let segment_sectors = sectors_of_segment(segment_bytes);
        let mut wal = Self {
            segment_sectors,
            segments: VecDeque::new(),
            name: String::new(),
            sectors: 0,
            place: 0,
            next_batch: 1,
            hard_state: HardState::default(),
            last: Position::default(),
            reset: None,
            has_unsynced: false,
            has_spare: false,
            buffer: Vec::new(),
        };
        wal.make_segment(disk, 1, segment_sectors, 1)?;
        Ok(wal)
    }

    /// Makes what was found ready to be written to. With `reset` the log does not reach the snapshot
    /// and begins anew with the next batch.
    pub fn resume<D: Disk>(
        disk: &mut D,
        segment_bytes: usize,
        found: &Found,
        reset: Option<Position>,
    ) -> Result<Self, StorageError> {
        if let Some(number) = found.unused {
            disk.remove(&name_of(number))?;
            disk.sync_names()?;
        }
        let &(number, _) = found.segments.last().expect("a log that was found has a segment");
        let name = name_of(number);
        let place = match found.tail {
            Tail::Clean(place) => place,
            Tail::Torn(place) => {
                let bytes = u64::from(found.sectors - place) * SECTOR_BYTES as u64;
                write_zeros(disk, &name, u64::from(place) * SECTOR_BYTES as u64, bytes)?;
                place
            }
            Tail::Ended => unreachable!("the last segment of a log that was found has no end"),
        };
        // What was read may not be durable yet if only the process ended. The end of the segment
        // before the last one may be such a thing too.
        if !(matches!(found.tail, Tail::Torn(_)) && mutant!("cut is not synced")) {
            for (number, _) in found.segments.iter().rev().take(2) {
                disk.sync(&name_of(*number))?;
            }
        }
        let is_reused = mutant!("batch number is reused");
        Ok(Self {
            segment_sectors: sectors_of_segment(segment_bytes),
            segments: found.segments.iter().copied().collect(),
            name,
            sectors: found.sectors,
            place,
            next_batch: found.highest_batch + u64::from(!is_reused),
            hard_state: found.log.hard_state,
            last: found.log.last(),
            reset,
            has_unsynced: false,
            has_spare: false,
            buffer: Vec::new(),
        })
    }

    /// Writes a batch, beside a snapshot that covers an index.
    pub fn write<D: Disk>(
        &mut self,
        disk: &mut D,
        batch: &Batch,
        covered: u64,
    ) -> Result<(), StorageError> {
        assert!(!self.has_unsynced, "a batch is written only when the one before it was synced");
        let given = batch.reset.map(|(index, term)| Position { index, term });
        let reset = given.or(self.reset);
        let hard_state = batch.hard_state.unwrap_or(self.hard_state);
        let last = self.last_after(batch, reset);
        let known = last.index.max(covered);
        assert!(hard_state.commit <= known, "commit {} is beyond {known}", hard_state.commit);
        let bytes = batch::encode(self.last, hard_state, reset, &batch.entries);
        assert!(bytes.len() <= BATCH_BYTES_MAX, "the caller keeps batches within their limit");
        let sectors = sector::sectors_of(bytes.len()) as u32;
        // One sector stays free for the end of the segment.
        if self.place + sectors + 1 > self.sectors {
            self.begin_segment(disk, sectors)?;
        }
        self.append(disk, bytes.as_slice())?;
        (self.hard_state, self.last, self.reset) = (hard_state, last, None);
        self.has_unsynced = true;
        Ok(())
    }

    /// Makes the batch that was written durable.
    pub fn sync<D: Disk>(&mut self, disk: &mut D) -> Result<(), StorageError> {
        if self.has_unsynced && !mutant!("sync is skipped") {
            let synced = disk.sync(&self.name);
            if !mutant!("sync error is ignored") {
                synced?;
            }
        }
        self.has_unsynced = false;
        Ok(())
    }

    /// The bytes of a file of zeros that should be made, so that the next segment is there in time; 0 if
    /// that one is far off.
    pub const fn spare_wanted(&self) -> u64 {
        if self.has_spare || self.place <= self.sectors / 2 {
            return 0;
        }
        self.segment_sectors as u64 * SECTOR_BYTES as u64
    }

    /// The file of zeros is there, and durable.
    pub const fn adopt_spare(&mut self) {
        self.has_spare = true;
    }

    /// Removes the segments before which and in which everything lies at or before an index.
    pub fn compact<D: Disk>(&mut self, disk: &mut D, index: u64) -> Result<(), StorageError> {
        while let [Some((number, _)), Some((_, before))] =
            [self.segments.front(), self.segments.get(1)]
        {
            let is_early = mutant!("segment is deleted too early") && before.index > 0;
            if before.index > index && !is_early {
                break;
            }
            disk.remove(&name_of(*number))?;
            disk.sync_names()?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// The end of the log after a batch.
    fn last_after(&self, batch: &Batch, reset: Option<Position>) -> Position {
        let mut last = reset.unwrap_or(self.last);
        let Some(first) = batch.entries.first() else { return last };
        assert!(
            (1..=last.index + 1).contains(&first.index),
            "entry {} does not follow the log, which ends with {}",
            first.index,
            last.index,
        );
        for (entry, index) in batch.entries.iter().zip(first.index..) {
            assert_eq!(entry.index, index, "the entries of a batch are consecutive");
            last = Position { index, term: entry.term };
        }
        last
    }

    fn append<D: Disk>(&mut self, disk: &mut D, bytes: &[u8]) -> Result<(), StorageError> {
        let &(segment, _) = self.segments.back().expect("there is always a segment");
        sector::lay_out(&mut self.buffer, segment, self.place, self.next_batch, bytes);
        let offset = u64::from(self.place) * SECTOR_BYTES as u64;
        disk.write(&self.name, offset, &self.buffer)?;
        self.place += sector::sectors_of(bytes.len()) as u32;
        self.next_batch += 1;
        Ok(())
    }

    /// Ends the last segment and begins the next, with room for a batch of so many sectors.
    fn begin_segment<D: Disk>(&mut self, disk: &mut D, sectors: u32) -> Result<(), StorageError> {
        let &(number, _) = self.segments.back().expect("there is always a segment");
        let (name, place) = (self.name.clone(), self.place);
        let needed = HEAD_SECTORS + sectors + END_SECTORS;
        let end = batch::encode_end(self.last, self.hard_state);
        sector::lay_out(&mut self.buffer, number, place, self.next_batch, end.as_slice());
        let end = std::mem::take(&mut self.buffer);
        self.next_batch += 1;
        self.make_segment(disk, number + 1, needed.max(self.segment_sectors), self.next_batch)?;
        disk.write(&name, u64::from(place) * SECTOR_BYTES as u64, &end)?;
        Ok(disk.sync(&name)?)
    }

    fn make_segment<D: Disk>(
        &mut self,
        disk: &mut D,
        number: u64,
        sectors: u32,
        first_batch: u64,
    ) -> Result<(), StorageError> {
        let head = Head { sectors, first_batch, before: self.last, hard_state: self.hard_state };
        let name = name_of(number);
        head.lay_out(&mut self.buffer, number);
        if self.has_spare && sectors == self.segment_sectors {
            self.has_spare = false;
            disk.write(SPARE, 0, &self.buffer)?;
            disk.sync(SPARE)?;
            disk.rename(SPARE, &name)?;
        } else {
            disk.write(&name, 0, &self.buffer)?;
            let rest = u64::from(sectors - HEAD_SECTORS) * SECTOR_BYTES as u64;
            write_zeros(disk, &name, SECTOR_BYTES as u64, rest)?;
            disk.sync(&name)?;
        }
        disk.sync_names()?;
        self.segments.push_back((number, self.last));
        (self.name, self.sectors, self.place) = (name, sectors, HEAD_SECTORS);
        Ok(())
    }
}

/// Makes a file of zeros that can become a segment. Its name need not be durable.
pub(super) fn make_spare<D: Disk>(disk: &mut D, bytes: u64) -> Result<(), StorageError> {
    write_zeros(disk, SPARE, 0, bytes)?;
    Ok(disk.sync(SPARE)?)
}

/// Writes zeros, a bounded piece at a time.
fn write_zeros<D: Disk>(
    disk: &mut D,
    name: &str,
    offset: u64,
    bytes: u64,
) -> Result<(), StorageError> {
    let end = offset + bytes;
    let mut at = offset;
    while at < end {
        let piece = (end - at).min(ZEROS.len() as u64);
        disk.write(name, at, &ZEROS[..piece as usize])?;
        at += piece;
    }
    Ok(())
}

/// Sectors of a segment of about so many bytes, in which at least a small batch has room.
fn sectors_of_segment(bytes: usize) -> u32 {
    let sectors = u32::try_from(bytes / SECTOR_BYTES).expect("a segment is shorter than 2 TiB");
    sectors.max(HEAD_SECTORS + 1 + END_SECTORS)
}

const HEAD_SECTORS: u32 = 1;
const END_SECTORS: u32 = 1;

/// What a segment is called before it is one.
pub(super) const SPARE: &str = "spare.new";

static ZEROS: [u8; 1 << 18] = [0; 1 << 18];
