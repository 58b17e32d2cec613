//! Segments: the files of the log, and what stands in one.
//!
//! A segment is a row of sectors whose number never changes. Sector 0 is its head, a batch of one
//! sector with the number of the first batch that may follow:
//!
//! ```text
//! "PLIMLOG"  sectors of the segment: fixed
//! end of the log before it: index, term
//! hard state: term: fixed, vote: fixed, commit: fixed
//! ```
//!
//! Batches follow without a gap, then zeros. The last batch of a segment that has a successor is its
//! end (see [`batch`](super::batch)).
//!
//! [`walk`] holds the rule by which a torn tail and damage are told apart. Invariant: it takes for a
//! torn tail only what a crash can leave of one batch that was never synced: some of its sectors,
//! and zeros in place of all others up to the end of the segment.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

use super::batch::{self, HardState, Position, Record};
use super::disk::SECTOR_BYTES;
use super::sector::{self, Part, Sector};
use super::{Damage, StorageError};
use crate::codec::{DecodeError, Reader, Writer};
use crate::mutant::mutant;

/// What the head of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub sectors: u32,
    pub first_batch: u64,
    /// The end of the log before the segment.
    pub before: Position,
    pub hard_state: HardState,
}

/// A segment as it was read.
#[derive(Debug)]
pub(super) struct Image {
    pub number: u64,
    bytes: Bytes,
}

/// How the batches of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With the end of the segment: there is a successor.
    Ended,
    /// Zeros follow from this place on.
    Clean(u32),
    /// What a crash left of a batch follows from this place on, and zeros.
    Torn(u32),
}

/// What [`walk`] found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub tail: Tail,
    /// The highest number of a batch, torn ones included.
    pub highest: u64,
}

/// The name of a segment's file.
pub(super) fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// The number of the segment in a file of this name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()?;
    (name_of(number) == name).then_some(number)
}

impl Head {
    /// The head as a sector.
    pub fn lay_out(&self, sectors: &mut Vec<u8>, number: u64) {
        let mut writer = Writer::with_capacity(64);
        writer.raw(MAGIC);
        writer.fixed(u64::from(self.sectors));
        writer.unsigned(self.before.index);
        writer.unsigned(self.before.term);
        batch::encode_hard_state(&mut writer, self.hard_state);
        sector::lay_out(sectors, number, 0, self.first_batch, writer.as_slice());
    }

    fn decode(bytes: &[u8], first_batch: u64) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        if reader.raw(MAGIC.len(), "head")?.as_ref() != MAGIC {
            return Err(reader.error("head"));
        }
        let sectors =
            u32::try_from(reader.fixed("sectors")?).map_err(|_| reader.error("sectors"))?;
        let before = Position { index: reader.unsigned("index")?, term: reader.unsigned("term")? };
        let hard_state = batch::decode_hard_state(&mut reader)?;
        reader.finish("end of the head")?;
        Ok(Self { sectors, first_batch, before, hard_state })
    }
}

impl Image {
    pub const fn new(number: u64, bytes: Bytes) -> Self {
        Self { number, bytes }
    }

    /// The head of a segment that was in use.
    pub fn head(&self) -> Result<Head, StorageError> {
        let Sector::Part(part) = self.look(0)? else {
            return Err(self.damaged(0, "the head is missing"));
        };
        let head = Head::decode(sector::payload(self.sector(0)), part.batch)
            .map_err(|error| self.damaged(0, &error.to_string()))?;
        if self.bytes.len() as u64 != u64::from(head.sectors) * SECTOR_BYTES as u64 {
            return Err(self.damaged(0, "the file has not the length that its head tells"));
        }
        Ok(head)
    }

    /// That no batch was ever written, as in a segment whose making a crash interrupted.
    pub fn check_unused(&self) -> Result<(), StorageError> {
        for place in 0..self.sectors() {
            match self.look(place)? {
                Sector::Zero => {}
                Sector::Part(_) if place == 0 => {}
                _ => return Err(self.damaged(place, "the segment before it has no end")),
            }
        }
        Ok(())
    }

    fn sectors(&self) -> u32 {
        (self.bytes.len() / SECTOR_BYTES) as u32
    }

    fn sector(&self, place: u32) -> &[u8] {
        &self.bytes[place as usize * SECTOR_BYTES..][..SECTOR_BYTES]
    }

    /// A sector that is zero or valid; anything else is an error.
    fn look(&self, place: u32) -> Result<Sector, StorageError> {
        if place >= self.sectors() {
            return Ok(Sector::Zero);
        }
        match sector::look(self.sector(place), self.number, place) {
            Sector::Bad(what) => Err(self.damaged(place, what)),
            Sector::Version(version) => {
                Err(StorageError::Version { file: name_of(self.number), version })
            }
            sector => Ok(sector),
        }
    }

    /// The batch that begins at a place, if it is there wholly.
    fn whole_batch(&self, first: u32) -> Result<Option<(u64, Bytes)>, StorageError> {
        let Sector::Part(part) = self.look(first)? else { return Ok(None) };
        if part.first != first || part.last >= self.sectors() {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(sector::PAYLOAD_BYTES);
        for place in first..=part.last {
            if self.look(place)? != Sector::Part(part) {
                return Ok(None);
            }
            bytes.extend_from_slice(sector::payload(self.sector(place)));
        }
        Ok(Some((part.batch, bytes.into())))
    }

    pub fn damaged(&self, place: u32, what: &str) -> StorageError {
        let sector = Some(u64::from(place));
        StorageError::Damaged(Damage { file: name_of(self.number), sector, what: what.to_owned() })
    }
}

/// Reads the batches of a segment in order, and tells how they end. `highest` is the highest number
/// of a batch in the segments before it.
pub(super) fn walk(
    image: &Image,
    mut highest: u64,
    mut take: impl FnMut(u32, Record) -> Result<(), StorageError>,
) -> Result<Walk, StorageError> {
    let mut place = 1;
    loop {
        let batch = match image.whole_batch(place) {
            Err(StorageError::Damaged(_)) if mutant!("corrupt middle is cut as a tail") => {
                return Ok(Walk { tail: Tail::Torn(place), highest: highest + 1 });
            }
            batch => batch?,
        };
        let Some((number, bytes)) = batch else { break };
        if number <= highest {
            return Err(image.damaged(place, "the number of a batch comes again"));
        }
        highest = number;
        let next = place + sector::sectors_of(bytes.len()) as u32;
        let record = batch::decode(bytes).map_err(|e| image.damaged(place, &e.to_string()))?;
        if mutant!("valid tail is dropped") && tail_from(image, next, highest)?.is_none() {
            return Ok(Walk { tail: Tail::Torn(place), highest });
        }
        let is_end = record.is_end;
        take(place, record)?;
        place = next;
        if is_end {
            return match tail_from(image, place, highest)? {
                None => Ok(Walk { tail: Tail::Ended, highest }),
                Some(_) => Err(image.damaged(place, "something follows the end of the segment")),
            };
        }
    }
    Ok(match tail_from(image, place, highest)? {
        None => Walk { tail: Tail::Clean(place), highest },
        Some(part) if mutant!("torn tail is accepted") => {
            Walk { tail: Tail::Clean(part.last + 1), highest: part.batch }
        }
        Some(part) => Walk { tail: Tail::Torn(place), highest: part.batch },
    })
}

/// The batch of which a part stands from a place on, if there are not only zeros. Anything but one
/// batch that begins there, newer than all before it, and zeros, is damage.
fn tail_from(image: &Image, place: u32, highest: u64) -> Result<Option<Part>, StorageError> {
    let mut torn = None;
    for at in place..image.sectors() {
        let Sector::Part(part) = image.look(at)? else { continue };
        let is_last_batch = part.first == place && part.batch > highest;
        if !is_last_batch || torn.is_some_and(|torn| torn != part) {
            return Err(image.damaged(at, "what precedes it in the log is missing"));
        }
        torn = Some(part);
    }
    Ok(torn)
}

const PREFIX: &str = "log-";
const MAGIC: &[u8] = b"PLIMLOG";
