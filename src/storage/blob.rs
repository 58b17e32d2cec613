//! Blobs: the identity and the snapshots, files that are replaced as a whole.
//!
//! ```text
//!   0  "PLIMIDN" or "PLIMSNP", 7
//!   7  format version, 1: 1
//!   8  index, 8, and term, 8: what a snapshot covers; 0 in an identity
//!  24  length of the bytes, 8
//!  32  the bytes
//!      checksum, 16: xxh3-128 of all that precedes it
//! ```
//!
//! A blob is written to a temporary name, synced, renamed, and the names are synced: after a crash
//! the name leads to the old one or to the new one. What a temporary name leads to is nobody's.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::batch::Position;
use super::disk::Disk;
use super::sector::FORMAT_VERSION;
use super::{Damage, StorageError};
use crate::codec::{DecodeError, Reader, Writer};
use crate::mutant::mutant;

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Identity,
    Snapshot,
}

/// The name of the identity's file.
pub(super) const IDENTITY: &str = "identity";

/// The names under which blobs are written before they get their own; the last one is that of a
/// snapshot which is saved beside the log.
pub(super) const IDENTITY_NEW: &str = "identity.new";
pub(super) const SNAPSHOT_NEW: &str = "snapshot.new";
pub(super) const BESIDE_NEW: &str = "beside.new";

/// The name of a snapshot's file.
pub(super) fn snapshot_name(index: u64) -> String {
    format!("{SNAPSHOT_PREFIX}{index:016x}")
}

/// The index that the snapshot in a file of this name covers.
pub(super) fn snapshot_index(name: &str) -> Option<u64> {
    let index = u64::from_str_radix(name.strip_prefix(SNAPSHOT_PREFIX)?, 16).ok()?;
    (snapshot_name(index) == name).then_some(index)
}

/// Makes a blob durable under a name.
pub(super) fn save<D: Disk>(
    disk: &mut D,
    kind: Kind,
    name: &str,
    at: Position,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let blob = Blob { kind, temporary: kind.temporary(), name, at, length: bytes.len() as u64 };
    blob.save(disk, |sink| sink(bytes))
}

/// What takes the parts of a blob, in order.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), StorageError> + 'a;

/// A blob that is to be saved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blob<'a> {
    pub kind: Kind,
    /// What it is called until it is whole.
    pub temporary: &'a str,
    pub name: &'a str,
    pub at: Position,
    pub length: u64,
}

impl Blob<'_> {
    /// Makes it durable, with what the giver puts into the sink.
    ///
    /// # Panics
    /// If that is more or less than its length.
    pub fn save<D: Disk>(
        self,
        disk: &mut D,
        give: impl FnOnce(&mut Sink<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut head = Writer::with_capacity(HEAD_BYTES);
        head.raw(self.kind.magic());
        head.byte(FORMAT_VERSION);
        for number in [self.at.index, self.at.term, self.length] {
            head.fixed(number);
        }
        let mut checksum = Xxh3::new();
        checksum.update(head.as_slice());
        let is_atomic = self.kind == Kind::Identity || !mutant!("snapshot is not atomic");
        let temporary = if is_atomic { self.temporary } else { self.name };
        disk.write(temporary, 0, head.as_slice())?;
        let mut end = HEAD_BYTES as u64;
        give(&mut |part| {
            checksum.update(part);
            disk.write(temporary, end, part)?;
            end += part.len() as u64;
            Ok(())
        })?;
        assert_eq!(end, HEAD_BYTES as u64 + self.length, "all of it was given");
        disk.write(temporary, end, &checksum.digest128().to_be_bytes())?;
        disk.sync(temporary)?;
        if is_atomic {
            disk.rename(temporary, self.name)?;
        }
        Ok(disk.sync_names()?)
    }
}

/// Reads a blob.
pub(super) fn load<D: Disk>(
    disk: &D,
    kind: Kind,
    name: &str,
) -> Result<(Position, Bytes), StorageError> {
    let bytes = disk.read(name)?;
    if bytes.starts_with(kind.magic()) && bytes.get(7).is_some_and(|v| *v != FORMAT_VERSION) {
        return Err(StorageError::Version { file: name.to_owned(), version: bytes[7] });
    }
    decode(kind, bytes).map_err(|error| {
        let file = name.to_owned();
        StorageError::Damaged(Damage { file, sector: None, what: error.to_string() })
    })
}

fn decode(kind: Kind, file: Bytes) -> Result<(Position, Bytes), DecodeError> {
    let mut reader = Reader::new(file.clone());
    if reader.raw(8, "head")?[..7] != *kind.magic() {
        return Err(reader.error("head"));
    }
    let at = Position { index: reader.fixed("index")?, term: reader.fixed("term")? };
    let length = usize::try_from(reader.fixed("length")?).map_err(|_| reader.error("length"))?;
    let bytes = reader.raw(length, "bytes")?;
    let checksum = xxh3_128(&file[..HEAD_BYTES + length]).to_be_bytes();
    if reader.raw(16, "checksum")? != checksum[..] {
        return Err(reader.error("checksum"));
    }
    reader.finish("end of the file")?;
    Ok((at, bytes))
}

impl Kind {
    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Identity => b"PLIMIDN",
            Self::Snapshot => b"PLIMSNP",
        }
    }

    const fn temporary(self) -> &'static str {
        match self {
            Self::Identity => IDENTITY_NEW,
            Self::Snapshot => SNAPSHOT_NEW,
        }
    }
}

const SNAPSHOT_PREFIX: &str = "snapshot-";
const HEAD_BYTES: usize = 32;
