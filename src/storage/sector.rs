//! Sectors: 512 bytes that tell by themselves what they are and where they belong.
//!
//! ```text
//!   0  checksum, 8: xxh3 of the 504 bytes that follow
//!   8  segment, 8: the number of the segment
//!  16  batch, 8: the number of the batch
//!  24  place, 4: which sector of the segment this is
//!  28  first, 4, and last, 4: the batch's first and last sector
//!  36  used, 2: bytes of the batch in this sector, 1 to 472
//!  38  format version, 1: 1
//!  39  zero, 1
//!  40  the bytes, then zeros
//! ```
//!
//! Numbers are unsigned, most significant byte first. All sectors of a batch but the last are full.
//! A sector that was never written is all zero, and nothing that was written is.
//!
//! No repair: what does not look as it must is reported, never guessed at.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use xxhash_rust::xxh3::xxh3_64;

use super::disk::SECTOR_BYTES;

/// The version of the format of all files.
pub(super) const FORMAT_VERSION: u8 = 1;

/// Bytes of a batch that a sector carries.
pub(super) const PAYLOAD_BYTES: usize = SECTOR_BYTES - HEAD_BYTES;

/// What a sector turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sector {
    /// Never written, or zeroed since.
    Zero,
    /// Part of a batch, and in its place.
    Part(Part),
    /// Of another version of the format.
    Version(u8),
    /// Anything else; what is wrong with it.
    Bad(&'static str),
}

/// What a sector says of the batch that it is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub batch: u64,
    pub first: u32,
    pub last: u32,
}

/// How many sectors a batch takes.
pub(super) const fn sectors_of(bytes: usize) -> usize {
    bytes.div_ceil(PAYLOAD_BYTES)
}

/// Lays a batch out in sectors, from a place of a segment on.
pub(super) fn lay_out(sectors: &mut Vec<u8>, segment: u64, first: u32, batch: u64, bytes: &[u8]) {
    sectors.clear();
    sectors.resize(sectors_of(bytes.len()) * SECTOR_BYTES, 0);
    let last = first + sectors_of(bytes.len()) as u32 - 1;
    let parts = bytes.chunks(PAYLOAD_BYTES);
    for ((place, sector), part) in (first..).zip(sectors.chunks_exact_mut(SECTOR_BYTES)).zip(parts)
    {
        sector[8..16].copy_from_slice(&segment.to_be_bytes());
        sector[16..24].copy_from_slice(&batch.to_be_bytes());
        sector[24..28].copy_from_slice(&place.to_be_bytes());
        sector[28..32].copy_from_slice(&first.to_be_bytes());
        sector[32..36].copy_from_slice(&last.to_be_bytes());
        sector[36..38].copy_from_slice(&(part.len() as u16).to_be_bytes());
        sector[38] = FORMAT_VERSION;
        sector[HEAD_BYTES..HEAD_BYTES + part.len()].copy_from_slice(part);
        let checksum = xxh3_64(&sector[8..]);
        sector[..8].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Looks at a sector at a place of a segment.
pub(super) fn look(sector: &[u8], segment: u64, place: u32) -> Sector {
    if sector == ZEROS {
        return Sector::Zero;
    }
    if number(sector, 0, 8) != xxh3_64(&sector[8..]) {
        return Sector::Bad("its checksum is wrong");
    }
    if sector[38] != FORMAT_VERSION {
        return Sector::Version(sector[38]);
    }
    if number(sector, 8, 8) != segment || number(sector, 24, 4) != u64::from(place) {
        return Sector::Bad("it belongs elsewhere");
    }
    let (first, last) = (number(sector, 28, 4) as u32, number(sector, 32, 4) as u32);
    let used = used(sector);
    let is_full = used == PAYLOAD_BYTES || place == last && used > 0 && used < PAYLOAD_BYTES;
    if !(first..=last).contains(&place) || !is_full || sector[39] != 0 {
        return Sector::Bad("it contradicts itself");
    }
    Sector::Part(Part { batch: number(sector, 16, 8), first, last })
}

/// The bytes of the batch in a sector that was looked at.
pub(super) fn payload(sector: &[u8]) -> &[u8] {
    &sector[HEAD_BYTES..HEAD_BYTES + used(sector)]
}

fn used(sector: &[u8]) -> usize {
    number(sector, 36, 2) as usize
}

fn number(sector: &[u8], at: usize, bytes: usize) -> u64 {
    sector[at..at + bytes].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const HEAD_BYTES: usize = 40;
const ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
