//! Storage: what a Raft member must not forget, on a disk that forgets.
//!
//! One folder with one writer holds an identity (a small blob), snapshots, and a write-ahead log of
//! hard states and entries. The caller's contract:
//!
//! 1. [`Storage::open`] gives a prefix of what was written, with everything in it that was
//!    acknowledged, or refuses. A folder that it refuses stays as it was.
//! 2. [`Storage::write`] writes one batch and [`Storage::sync`] makes it durable: only then it may be
//!    acknowledged, and only then the next one may be written.
//! 3. [`Storage::save_identity`] and [`Storage::save_snapshot`] are durable when they return. An
//!    installed snapshot is saved before the batch that resets the log to it.
//!    One that a [`SnapshotSaver`] saves meanwhile, on another thread, counts once it was adopted.
//! 4. [`Storage::compact`] forgets what lies at or before an index that a saved snapshot covers.
//! 5. After an error nothing more is taken: a sync that failed is never tried again, because nobody
//!    knows what it left. The member stops, and opening tells what there is.
//!
//! Breaking the contract is a programmer's error and panics. The format stands byte by byte in
//! `docs/design/storage.md`.
//!
//! No threads, no queue, no clock: who drives it decides when the disk is called. No repair: damage
//! is named and refused. No protection against a folder that was rolled back to an older image as a
//! whole, nor against the loss of the very last batch by damage: nothing in it could tell.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod batch;
mod blob;
mod disk;
mod error;
mod mem;
mod recovery;
mod sector;
mod segment;
mod wal;

use bytes::Bytes;

pub use batch::{Batch, HardState, StoredEntry};
pub use blob::Sink;
pub use disk::{Disk, DiskError, DiskErrorKind, SECTOR_BYTES, SharedDisk};
pub use error::{Damage, StorageError};
pub use mem::{MemDisk, Unsynced};

use crate::limits::{IDENTITY_BYTES_MAX, SEGMENT_BYTES};
use batch::Position;
use wal::Wal;

/// How storage behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// Bytes of a segment of the log, rounded down to sectors.
    pub segment_bytes: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES }
    }
}

/// What a snapshot covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The entries after the snapshot, consecutive; without a snapshot they begin with index 1.
    pub entries: Vec<StoredEntry>,
}

/// The storage of one member.
#[derive(Debug)]
pub struct Storage<D> {
    disk: D,
    wal: Wal,
    /// The indexes of the snapshots that are there, in order.
    snapshots: Vec<u64>,
    /// An operation failed: nothing more is taken.
    has_failed: bool,
}

impl<D: Disk> Storage<D> {
    /// Opens a folder. An empty one is a beginning.
    ///
    /// # Errors
    /// If the disk fails; if anything that counts is damaged, missing or of another version; if a
    /// file is not storage's own.
    pub fn open(mut disk: D, options: StorageOptions) -> Result<(Self, Recovered), StorageError> {
        let files = Files::of(&disk)?;
        let identity = files.load_identity(&disk)?;
        let snapshot = files.load_snapshot(&disk)?;
        let is_beginning = identity.is_none() && snapshot.is_none();
        let found = recovery::read(&disk, &files.segments, is_beginning)?;

        let at = snapshot.as_ref().map(|(meta, _)| meta.position());
        let log = found.as_ref().map(|found| found.log.after_snapshot(at)).transpose()?;

        for name in &files.temporary {
            disk.remove(name)?;
        }
        let (wal, hard_state, entries) = match found.zip(log) {
            None => {
                if !files.segments.is_empty() {
                    disk.remove(&segment::name_of(1))?;
                    disk.sync_names()?;
                }
                let wal = Wal::create(&mut disk, options.segment_bytes)?;
                (wal, HardState::default(), Vec::new())
            }
            Some((found, (entries, is_held))) => {
                let reset = at.filter(|_| !is_held);
                let wal = Wal::resume(&mut disk, options.segment_bytes, &found, reset)?;
                (wal, found.log.hard_state, entries)
            }
        };
        disk.sync_names()?;
        let storage = Self { disk, wal, snapshots: files.snapshots, has_failed: false };
        Ok((storage, Recovered { identity, hard_state, snapshot, entries }))
    }

    /// Writes a batch. It is not durable yet.
    ///
    /// # Errors
    /// If the disk fails or is full.
    ///
    /// # Panics
    /// If the batch before it was not synced, if its entries do not follow the log, or if it commits
    /// what neither the log nor a snapshot holds.
    pub fn write(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let covered = self.snapshots.last().copied().unwrap_or(0);
        self.attempt(|storage| storage.wal.write(&mut storage.disk, batch, covered))
    }

    /// Makes the batch that was written durable.
    ///
    /// # Errors
    /// If the disk fails. Then nothing is known about the batch until the folder is opened again.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.attempt(|storage| storage.wal.sync(&mut storage.disk))
    }

    /// Replaces the identity, durably.
    ///
    /// # Errors
    /// If the disk fails or is full.
    ///
    /// # Panics
    /// If it is longer than [`IDENTITY_BYTES_MAX`].
    pub fn save_identity(&mut self, identity: &[u8]) -> Result<(), StorageError> {
        assert!(identity.len() <= IDENTITY_BYTES_MAX, "the caller keeps the identity small");
        self.attempt(|storage| {
            let (kind, at) = (blob::Kind::Identity, Position::default());
            blob::save(&mut storage.disk, kind, blob::IDENTITY, at, identity)
        })
    }

    /// Saves a snapshot, durably. Older ones stay until the log is compacted. One that covers less than
    /// the newest is not saved: an own one may be ready only after a later one was installed.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub fn save_snapshot(&mut self, meta: SnapshotMeta, bytes: &[u8]) -> Result<(), StorageError> {
        let newest = self.snapshots.last().copied();
        if newest.is_some_and(|newest| meta.index < newest) {
            return self.attempt(|_| Ok(()));
        }
        self.attempt(|storage| {
            let (kind, name) = (blob::Kind::Snapshot, blob::snapshot_name(meta.index));
            blob::save(&mut storage.disk, kind, &name, meta.position(), bytes)
        })?;
        if newest != Some(meta.index) {
            self.snapshots.push(meta.index);
        }
        Ok(())
    }

    /// What saves snapshots while the log is being written, on a handle of its own.
    pub fn snapshot_saver(&self) -> SnapshotSaver<D>
    where
        D: SharedDisk,
    {
        SnapshotSaver { disk: self.disk.beside() }
    }

    /// What makes a spare segment while the log is being written, if one is wanted: zeros that are
    /// durable before the log needs them. Without one the log makes its segments when it needs them.
    pub fn spare_maker(&self) -> Option<SpareMaker<D>>
    where
        D: SharedDisk,
    {
        let bytes = self.wal.spare_wanted();
        (bytes > 0).then(|| SpareMaker { disk: self.disk.beside(), bytes })
    }

    /// Makes a spare segment in place, if one is wanted.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub fn make_spare(&mut self) -> Result<(), StorageError> {
        let bytes = self.wal.spare_wanted();
        if bytes == 0 {
            return Ok(());
        }
        self.attempt(|storage| wal::make_spare(&mut storage.disk, bytes))?;
        self.adopt_spare();
        Ok(())
    }

    /// A spare segment was made.
    pub fn adopt_spare(&mut self) {
        self.wal.adopt_spare();
    }

    /// A snapshot was saved beside the log: it counts from now on.
    pub fn adopt_snapshot(&mut self, meta: SnapshotMeta) {
        if let Err(position) = self.snapshots.binary_search(&meta.index) {
            self.snapshots.insert(position, meta.index);
        }
    }

    /// Removes whole segments whose entries all lie at or before an index, and all snapshots but the
    /// newest.
    ///
    /// # Errors
    /// If the disk fails.
    ///
    /// # Panics
    /// If no saved snapshot covers the index.
    pub fn compact(&mut self, index: u64) -> Result<(), StorageError> {
        let newest = self.snapshots.last().copied().unwrap_or(0);
        assert!(index <= newest, "only what a snapshot covers is forgotten");
        self.attempt(|storage| {
            let old = storage.snapshots.len().saturating_sub(1);
            for index in storage.snapshots.drain(..old) {
                storage.disk.remove(&blob::snapshot_name(index))?;
            }
            storage.wal.compact(&mut storage.disk, index)
        })
    }

    /// Gives the disk back.
    #[must_use]
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// The disk, for whoever sets faults. Whoever writes to it breaks the storage.
    pub const fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Does something unless an earlier operation failed, and remembers whether this one did.
    fn attempt(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if self.has_failed {
            return Err(StorageError::Failed);
        }
        let result = action(self);
        self.has_failed = result.is_err();
        result
    }
}

/// Saves snapshots beside the log: one at a time, each in parts, while the log goes on.
#[derive(Debug)]
pub struct SnapshotSaver<D> {
    disk: D,
}

impl<D: Disk> SnapshotSaver<D> {
    /// Saves a snapshot of a length, durably, with what the giver puts into the sink.
    /// [`Storage::adopt_snapshot`] is told of it then. If another one was installed meanwhile, the
    /// later of the two counts.
    ///
    /// # Errors
    /// If the disk fails or is full; or the giver's own.
    ///
    /// # Panics
    /// If what is given is more or less than the length.
    pub fn save(
        &mut self,
        meta: SnapshotMeta,
        length: u64,
        give: impl FnOnce(&mut Sink<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let name = blob::snapshot_name(meta.index);
        let (kind, temporary, at) = (blob::Kind::Snapshot, blob::BESIDE_NEW, meta.position());
        blob::Blob { kind, temporary, name: &name, at, length }.save(&mut self.disk, give)
    }
}

/// Makes one spare segment. [`Storage::adopt_spare`] is told of it then.
#[derive(Debug)]
pub struct SpareMaker<D> {
    disk: D,
    bytes: u64,
}

impl<D: Disk> SpareMaker<D> {
    /// Makes it, durably.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub fn make(mut self) -> Result<(), StorageError> {
        wal::make_spare(&mut self.disk, self.bytes)
    }
}

impl SnapshotMeta {
    const fn position(self) -> Position {
        Position { index: self.index, term: self.term }
    }
}

/// What files are called until they get their own names: nobody's, once the folder is opened again.
const TEMPORARY: [&str; 4] = [blob::IDENTITY_NEW, blob::SNAPSHOT_NEW, blob::BESIDE_NEW, wal::SPARE];

/// The files of a folder by what they are, each kind in order.
#[derive(Debug, Default)]
struct Files {
    has_identity: bool,
    snapshots: Vec<u64>,
    segments: Vec<u64>,
    temporary: Vec<String>,
}

impl Files {
    fn of<D: Disk>(disk: &D) -> Result<Self, StorageError> {
        let mut files = Self::default();
        for name in disk.names()? {
            if name == blob::IDENTITY {
                files.has_identity = true;
            } else if TEMPORARY.contains(&name.as_str()) {
                files.temporary.push(name);
            } else if let Some(index) = blob::snapshot_index(&name) {
                files.snapshots.push(index);
            } else if let Some(number) = segment::number_of(&name) {
                files.segments.push(number);
            } else {
                return Err(StorageError::Foreign { file: name });
            }
        }
        Ok(files)
    }

    fn load_identity<D: Disk>(&self, disk: &D) -> Result<Option<Bytes>, StorageError> {
        if !self.has_identity {
            return Ok(None);
        }
        let (_, bytes) = blob::load(disk, blob::Kind::Identity, blob::IDENTITY)?;
        Ok(Some(bytes))
    }

    fn load_snapshot<D: Disk>(
        &self,
        disk: &D,
    ) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
        let Some(&index) = self.snapshots.last() else { return Ok(None) };
        let name = blob::snapshot_name(index);
        let (at, bytes) = blob::load(disk, blob::Kind::Snapshot, &name)?;
        if at.index != index {
            let what = "it is another snapshot than its name tells".to_owned();
            return Err(StorageError::Damaged(Damage { file: name, sector: None, what }));
        }
        Ok(Some((SnapshotMeta { index, term: at.term }, bytes)))
    }
}
