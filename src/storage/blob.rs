//! Files that are replaced as a whole: the identity, and snapshots.
//!
//! A blob is written under a temporary name, synced, renamed, and the names are synced: after a crash
//! there is the old one or the new one, never a part. Its head covers all of it:
//!
//! ```text
//! "PLIMBLOB"   version: byte   first number: 8   second number: 8   length: 8   checksum: 8   bytes
//! ```
//!
//! The numbers are a snapshot's index and term. The checksum (xxh3) covers them, the length and the
//! bytes.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::StorageError;
use super::disk::Disk;
use crate::codec::{Reader, Writer};
use crate::mutant::mutant;

/// Replaces a file with bytes, durably.
pub(super) fn save<D: Disk>(
    disk: &mut D,
    name: &str,
    numbers: (u64, u64),
    bytes: &[u8],
) -> Result<(), StorageError> {
    let mut writer = Writer::with_capacity(HEAD_BYTES + bytes.len());
    writer.raw(MAGIC);
    writer.byte(FORMAT_VERSION);
    writer.fixed(numbers.0);
    writer.fixed(numbers.1);
    writer.fixed(bytes.len() as u64);
    writer.fixed(checksum(numbers, bytes));
    writer.raw(bytes);
    let bytes = writer.finish();
    if mutant!("snapshot is not atomic") {
        disk.write(name, 0, &bytes)?;
        disk.sync(name)?;
        disk.sync_names()?;
        return Ok(());
    }
    disk.write(TEMPORARY, 0, &bytes)?;
    disk.sync(TEMPORARY)?;
    disk.rename(TEMPORARY, name)?;
    disk.sync_names()?;
    Ok(())
}

/// The numbers and bytes that a file was replaced with.
pub(super) fn load<D: Disk>(disk: &D, name: &str) -> Result<((u64, u64), Bytes), StorageError> {
    let damaged = |_| StorageError::damaged(name, "it is not what was written");
    let mut reader = Reader::new(disk.read(name)?.into());
    let mut read = || {
        if reader.raw(MAGIC.len(), "a blob")? != MAGIC {
            return Err(reader.error("a blob"));
        }
        let version = reader.byte("a format version")?;
        let numbers = (reader.fixed("a number")?, reader.fixed("a number")?);
        let length = reader.fixed("a length")?;
        let sum = reader.fixed("a checksum")?;
        let length = usize::try_from(length).map_err(|_| reader.error("a length"))?;
        let bytes = reader.raw(length, "the bytes")?;
        Ok((version, numbers, sum, bytes))
    };
    let (version, numbers, sum, bytes) = read().map_err(damaged)?;
    if version != FORMAT_VERSION {
        let what = format!("format version {version}, this program reads {FORMAT_VERSION}");
        return Err(StorageError::damaged(name, &what));
    }
    if reader.remaining() > 0 || sum != checksum(numbers, &bytes) {
        return Err(StorageError::damaged(name, "it is not what was written"));
    }
    Ok((numbers, bytes))
}

fn checksum(numbers: (u64, u64), bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, numbers.0.rotate_left(32) ^ numbers.1 ^ bytes.len() as u64)
}

/// The name of a file that is being written.
pub(super) const TEMPORARY: &str = "temporary";

const MAGIC: &[u8] = b"PLIMBLOB";
const FORMAT_VERSION: u8 = 1;
const HEAD_BYTES: usize = 41;
