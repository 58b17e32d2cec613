//! Sectors of the log: how a batch lies on the disk, and how a torn one differs from a damaged one.
//!
//! A batch is one sync. It begins on a fresh sector, and each of its sectors says to which batch it
//! belongs and where that begins and ends:
//!
//! ```text
//! checksum: 8 bytes   batch number: 8   first sector: 4   last sector: 4   payload: 488     big-endian
//! ```
//!
//! The checksum (xxh3, seeded with the segment's number and the sector's own place) covers all that
//! follows it, so that a sector that was written to another place is not taken for the one there.
//! Segments are zeroed and synced before use: a sector that a crash has lost is all zero, and a sector
//! that is neither zero nor right was damaged.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::disk::SECTOR_BYTES;

/// Bytes of a batch in one sector.
pub(super) const PAYLOAD_BYTES: usize = SECTOR_BYTES - HEAD_BYTES;

/// What one sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sector {
    /// Nothing was written here, or what was written is lost.
    Zero,
    /// A part of a batch.
    Part { batch: u64, first: u32, last: u32 },
    /// Something else.
    Damaged,
}

/// How many sectors a batch of so many bytes takes.
pub(super) const fn sectors_of(bytes: usize) -> usize {
    if bytes == 0 { 1 } else { bytes.div_ceil(PAYLOAD_BYTES) }
}

/// A batch in sectors, for a place in a segment. Appends to `sectors`.
pub(super) fn lay_out(sectors: &mut Vec<u8>, segment: u64, first: u32, batch: u64, bytes: &[u8]) {
    let count = sectors_of(bytes.len());
    let last = first + u32::try_from(count).expect("a segment has fewer sectors") - 1;
    for (position, place) in (first..=last).enumerate() {
        let start = sectors.len();
        sectors.extend_from_slice(&[0; 8]);
        sectors.extend_from_slice(&batch.to_be_bytes());
        sectors.extend_from_slice(&first.to_be_bytes());
        sectors.extend_from_slice(&last.to_be_bytes());
        let from = position * PAYLOAD_BYTES;
        let to = bytes.len().min(from + PAYLOAD_BYTES);
        sectors.extend_from_slice(&bytes[from..to]);
        sectors.resize(start + SECTOR_BYTES, 0);
        let checksum = checksum(&sectors[start..], segment, place);
        sectors[start..start + 8].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// What stands at a place of a segment.
pub(super) fn look(sector: &[u8], segment: u64, place: u32) -> Sector {
    if sector.iter().all(|byte| *byte == 0) {
        return Sector::Zero;
    }
    let number = |at: usize| {
        u64::from_be_bytes(sector[at..at + 8].try_into().expect("eight bytes of a sector"))
    };
    if sector.len() != SECTOR_BYTES || number(0) != checksum(sector, segment, place) {
        return Sector::Damaged;
    }
    let (first, last) = ((number(16) >> 32) as u32, number(16) as u32);
    if !(first..=last).contains(&place) {
        return Sector::Damaged;
    }
    Sector::Part { batch: number(8), first, last }
}

/// The bytes of the batch in a sector.
pub(super) fn payload(sector: &[u8]) -> &[u8] {
    &sector[HEAD_BYTES..]
}

fn checksum(sector: &[u8], segment: u64, place: u32) -> u64 {
    xxh3_64_with_seed(&sector[8..], segment.rotate_left(32) ^ u64::from(place))
}

const HEAD_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_tell_their_batch_and_their_place() {
        let bytes = [7; PAYLOAD_BYTES + 1];
        let mut sectors = Vec::new();
        lay_out(&mut sectors, 3, 5, 42, &bytes);
        assert_eq!(sectors.len(), 2 * SECTOR_BYTES);
        let (one, two) = sectors.split_at(SECTOR_BYTES);
        let part = Sector::Part { batch: 42, first: 5, last: 6 };
        assert_eq!((look(one, 3, 5), look(two, 3, 6)), (part, part));
        for (sector, segment, place) in [(one, 3, 6), (two, 3, 5), (one, 4, 5), (two, 3, 7)] {
            assert_eq!(look(sector, segment, place), Sector::Damaged);
        }
        assert_eq!(payload(one), [7; PAYLOAD_BYTES]);
        assert_eq!(look(&[0; SECTOR_BYTES], 3, 5), Sector::Zero);
        for at in 0..SECTOR_BYTES {
            let mut damaged = one.to_vec();
            damaged[at] ^= 1;
            assert_eq!(look(&damaged, 3, 5), Sector::Damaged, "byte {at}");
        }
    }
}
