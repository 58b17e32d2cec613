//! Storage: what a Raft member must not forget, on a disk that forgets.
//!
//! One folder with one writer holds the identity (a small blob), snapshots, and a write-ahead log of
//! hard states and entries. The caller's contract:
//!
//! 1. [`Storage::open`] reads everything, or refuses: what it gives is a prefix of what was written,
//!    with all of it that was acknowledged. It never guesses about damage.
//! 2. [`Storage::write`] writes one batch; [`Storage::sync`] makes it durable. Only then it may be
//!    acknowledged, and only then the next one is written.
//! 3. [`Storage::save_identity`] and [`Storage::save_snapshot`] are durable when they return. An
//!    installed snapshot is saved before the batch that resets the log to it.
//! 4. [`Storage::compact`] forgets what lies at or before the index of a saved snapshot.
//! 5. After any error the storage takes nothing more: a failed sync is never tried again, because
//!    nobody knows what it left.
//!
//! The formats: [`batch`], [`sector`], [`wal`], [`blob`]; byte by byte in `docs/design/storage.md`.
//!
//! No threads, no queue, no clock: who drives it decides when the disk is called. No protection
//! against a folder that was rolled back to an older image: nothing in it could tell.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod batch;
mod blob;
mod disk;
mod mem;
mod sector;
mod wal;

use std::fmt;

use bytes::Bytes;

pub use batch::{Batch, HardState, StoredEntry};
pub use disk::{Disk, DiskError, DiskErrorKind, SECTOR_BYTES};
pub use mem::{MemDisk, Unsynced};

use crate::limits::{IDENTITY_BYTES_MAX, SEGMENT_BYTES};
use batch::ReadBatch;
use wal::Wal;

/// How storage behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// Bytes of a segment of the log.
    pub segment_bytes: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES }
    }
}

/// What a snapshot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotMeta {
    /// The last index that it covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
}

/// What was found at opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The identity that was saved last.
    pub identity: Option<Bytes>,
    /// The hard state that was written last.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
    /// The entries after it, consecutive.
    pub entries: Vec<StoredEntry>,
}

/// The storage of one member.
#[derive(Debug)]
pub struct Storage<D> {
    disk: D,
    wal: Wal,
    /// The names of snapshots that may be removed once a newer one is durable.
    snapshots: Vec<String>,
    /// The log on disk does not belong to the snapshot: the next batch resets it to this.
    pending_reset: Option<SnapshotMeta>,
    /// Something went wrong: nothing more is taken.
    has_failed: bool,
}

/// Why storage can't be opened or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// The disk failed, or is full.
    Disk(DiskError),
    /// What stands on the disk is not what was written.
    Damaged {
        /// In which file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that is none of storage's.
    Foreign {
        /// Which one.
        file: String,
    },
    /// An earlier operation failed.
    Failed,
}

impl StorageError {
    fn damaged(file: &str, what: &str) -> Self {
        Self::Damaged { file: file.to_owned(), what: what.to_owned() }
    }

    fn foreign(file: &str) -> Self {
        Self::Foreign { file: file.to_owned() }
    }
}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => fmt::Display::fmt(error, f),
            Self::Damaged { file, what } => write!(f, "{file} is damaged: {what}"),
            Self::Foreign { file } => {
                write!(f, "{file} does not belong into this folder: it is another program's")
            }
            Self::Failed => f.write_str("storage has failed before and takes nothing more"),
        }
    }
}

impl std::error::Error for StorageError {}

impl<D: Disk> Storage<D> {
    /// Opens a folder; an empty one is a beginning.
    ///
    /// # Errors
    /// If the disk fails, if anything that counts is damaged or missing, or if a file is not
    /// storage's own.
    pub fn open(mut disk: D, options: StorageOptions) -> Result<(Self, Recovered), StorageError> {
        let names = disk.names()?;
        let mut segments = Vec::new();
        let mut snapshots = Vec::new();
        let mut identity = None;
        for name in names {
            if name == blob::TEMPORARY {
                disk.remove(&name)?;
            } else if name == IDENTITY {
                identity = Some(blob::load(&disk, &name)?.1);
            } else if name.starts_with(wal::PREFIX) {
                segments.push(name);
            } else if name.starts_with(SNAPSHOT_PREFIX) {
                snapshots.push(name);
            } else if name != LOCK {
                return Err(StorageError::foreign(&name));
            }
        }
        let snapshot = match snapshots.last() {
            None => None,
            Some(name) => {
                let ((index, term), bytes) = blob::load(&disk, name)?;
                let meta = SnapshotMeta { index, term };
                if snapshot_name(meta) != *name {
                    return Err(StorageError::foreign(name));
                }
                Some((meta, bytes))
            }
        };
        let (wal, batches) = Wal::open(&mut disk, &segments, options.segment_bytes)?;
        let meta = snapshot.as_ref().map(|(meta, _)| *meta);
        let Replayed { hard_state, entries, is_foreign } = replay(batches, meta)?;
        let pending_reset = meta.filter(|_| is_foreign);
        let storage = Self { disk, wal, snapshots, pending_reset, has_failed: false };
        Ok((storage, Recovered { identity, hard_state, snapshot, entries }))
    }

    /// Writes a batch; nothing of it is durable yet.
    ///
    /// # Errors
    /// If the disk fails or is full: then nothing more is taken.
    ///
    /// # Panics
    /// If the batch before was not synced.
    pub fn write(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let Some(meta) = self.pending_reset.take_if(|_| batch.reset.is_none()) else {
            self.pending_reset = None;
            return self.guard(|disk, wal| wal.write(disk, batch));
        };
        let batch = Batch { reset: Some((meta.index, meta.term)), ..batch.clone() };
        self.guard(|disk, wal| wal.write(disk, &batch))
    }

    /// Makes the batch that was written durable.
    ///
    /// # Errors
    /// If the disk fails: then nothing more is taken.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.guard(|disk, wal| wal.sync(disk))
    }

    /// Replaces the identity, durably.
    ///
    /// # Errors
    /// If the disk fails or is full: then nothing more is taken.
    ///
    /// # Panics
    /// If it is longer than [`IDENTITY_BYTES_MAX`].
    pub fn save_identity(&mut self, identity: &[u8]) -> Result<(), StorageError> {
        assert!(identity.len() <= IDENTITY_BYTES_MAX, "an identity is small");
        self.guard(|disk, _| blob::save(disk, IDENTITY, (0, 0), identity))
    }

    /// Saves a snapshot, durably, and removes the ones before it.
    ///
    /// # Errors
    /// If the disk fails or is full: then nothing more is taken.
    pub fn save_snapshot(&mut self, meta: SnapshotMeta, bytes: &[u8]) -> Result<(), StorageError> {
        let name = snapshot_name(meta);
        // One that covers less than what is there is of no use.
        if self.snapshots.last().is_some_and(|newest| *newest >= name) {
            return Ok(());
        }
        self.guard(|disk, _| blob::save(disk, &name, (meta.index, meta.term), bytes))?;
        let old = std::mem::replace(&mut self.snapshots, vec![name]);
        self.guard(|disk, _| {
            for name in &old {
                disk.remove(name)?;
            }
            if old.is_empty() { Ok(()) } else { Ok(disk.sync_names()?) }
        })
    }

    /// Forgets what lies at or before an index, as far as whole segments go. A snapshot at or after
    /// the index must have been saved.
    ///
    /// # Errors
    /// If the disk fails: then nothing more is taken.
    pub fn compact(&mut self, index: u64) -> Result<(), StorageError> {
        self.guard(|disk, wal| wal.compact(disk, index))
    }

    /// Ends, and gives the disk back.
    #[must_use]
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// The disk, for setting faults.
    pub const fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    fn guard(
        &mut self,
        operation: impl FnOnce(&mut D, &mut Wal) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if self.has_failed {
            return Err(StorageError::Failed);
        }
        let result = operation(&mut self.disk, &mut self.wal);
        self.has_failed = result.is_err();
        result
    }
}

/// The log that batches make, after a snapshot.
struct Replayed {
    hard_state: HardState,
    entries: Vec<StoredEntry>,
    /// Whether what stands on disk is not of the snapshot's history. That is so after a crash between
    /// saving an installed snapshot and resetting the log: the entries end before the snapshot, or
    /// have another term at its index.
    is_foreign: bool,
}

fn replay(
    batches: Vec<ReadBatch>,
    snapshot: Option<SnapshotMeta>,
) -> Result<Replayed, StorageError> {
    let mut hard_state = HardState::default();
    let mut entries: Vec<StoredEntry> = Vec::new();
    for batch in batches {
        hard_state = batch.hard_state;
        if batch.reset.is_some() {
            entries.clear();
        }
        let Some(first) = batch.entries.first().map(|entry| entry.index) else { continue };
        entries.truncate(entries.partition_point(|entry| entry.index < first));
        entries.extend(batch.entries);
    }
    if entries.windows(2).any(|pair| pair[0].index + 1 != pair[1].index) {
        return Err(StorageError::damaged("the log", "entries are missing in it"));
    }
    let after = snapshot.map_or(0, |meta| meta.index);
    if entries.first().is_some_and(|first| first.index > after + 1) {
        let what = format!("it begins after index {after}, where the snapshot ends");
        return Err(StorageError::damaged("the log", &what));
    }
    let is_foreign = snapshot.is_some_and(|meta| {
        let at = entries.iter().find(|entry| entry.index == meta.index);
        at.is_some_and(|entry| entry.term != meta.term)
            || entries.last().is_some_and(|last| last.index < meta.index)
    });
    if is_foreign {
        entries.clear();
    }
    entries.retain(|entry| entry.index > after);
    Ok(Replayed { hard_state, entries, is_foreign })
}

fn snapshot_name(meta: SnapshotMeta) -> String {
    format!("{SNAPSHOT_PREFIX}{:016x}-{:016x}", meta.index, meta.term)
}

const IDENTITY: &str = "identity";
const SNAPSHOT_PREFIX: &str = "snapshot-";

/// The file by which an adapter keeps a second writer out.
pub const LOCK: &str = "lock";
