//! A disk in memory that loses what was not synced, and fails in the ways of a real one.
//!
//! It holds the live contents, and beside them what it takes to go back: the bytes that each
//! unsynced write replaced, and the unsynced changes of names. A sync forgets those, so it costs
//! next to nothing. A crash goes back to the durable image and asks an oracle, piece by piece, which
//! of the unsynced sectors and names survive all the same.
//!
//! Faults are set by whoever tests: a failing write or sync, a full disk, a corrupted sector, a
//! write that lands elsewhere, an end of all operations after the n-th.
//!
//! Invariants: the undo log of a file, applied newest first, gives its durable contents; after a
//! failed sync no later sync of that file makes anything durable, because real systems forget which
//! pages they failed to write.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::disk::{Disk, DiskError, DiskErrorKind, SECTOR_BYTES};

/// A disk in memory. A clone is an image of it, counters and faults included.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    files: BTreeMap<FileId, File>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    /// What happened to names since they were last synced.
    name_changes: Vec<NameChange>,
    /// Names were synced without success since the last crash.
    has_doubtful_names: bool,
    next_file: FileId,
    operations: u64,
    faults: Faults,
}

/// Something unsynced whose fate a crash decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced<'a> {
    /// A sector, or the part of it that one write wrote.
    Sector {
        /// The file.
        name: &'a str,
        /// Which of the file's unsynced writes, oldest first.
        write: usize,
        /// Which sector of the file.
        sector: usize,
    },
    /// The length that a file had grown to; where it survives and sectors do not, there are zeros.
    Length {
        /// The file.
        name: &'a str,
    },
    /// A name that was given, changed or removed.
    Name {
        /// The name; of a renamed file the new one.
        name: &'a str,
    },
}

type FileId = u64;

#[derive(Clone, Debug, Default)]
struct File {
    /// Shared between images of the disk until one of them writes.
    bytes: Arc<Vec<u8>>,
    /// Unsynced writes, oldest first.
    writes: Vec<Undo>,
    /// What they replaced, one after the other.
    replaced: Vec<u8>,
    /// A sync failed since the last crash.
    is_doubtful: bool,
}

/// What a file held when it was read.
struct Contents(Arc<Vec<u8>>);

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What it takes to undo a write, beside the bytes that it replaced.
#[derive(Clone, Copy, Debug)]
struct Undo {
    offset: usize,
    length: usize,
    file_length_before: usize,
}

#[derive(Clone, Debug)]
enum NameChange {
    Created(String, FileId),
    Renamed(String, String, FileId),
    Removed(String, FileId),
}

/// What goes wrong next.
#[derive(Clone, Debug, Default)]
struct Faults {
    next_write_fails: bool,
    next_sync_fails: bool,
    next_write_lands_at: Option<u64>,
    failing_operation: Option<u64>,
    capacity: Option<u64>,
    operations_max: Option<u64>,
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails. Of what was not synced, the oracle says what survives. Faults end; what was
    /// counted stays counted.
    pub fn crash(&mut self, mut survives: impl FnMut(Unsynced<'_>) -> bool) {
        for change in std::mem::take(&mut self.name_changes) {
            if survives(Unsynced::Name { name: change.name() }) {
                change.apply(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
        self.forget_unnamed();
        for (name, file) in &self.names {
            let file = self.files.get_mut(file).expect("a file that is named is kept");
            file.crash(name, &mut survives);
        }
        self.has_doubtful_names = false;
        self.faults = Faults::default();
    }

    /// The power fails, and nothing that was not synced survives.
    pub fn lose_unsynced(&mut self) {
        self.crash(|_| false);
    }

    /// How many operations that change something were begun since the disk was made.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Every operation that changes something fails once so many were begun since the disk was made.
    pub fn stop_after(&mut self, operations: u64) {
        self.faults.operations_max = Some(operations);
    }

    /// The next write fails; its first half, in whole sectors, is written all the same.
    pub fn fail_next_write(&mut self) {
        self.faults.next_write_fails = true;
    }

    /// The next sync, of contents or of names, fails. What it was to make durable may be, or may not
    /// be: the next crash decides, whatever is synced meanwhile.
    pub fn fail_next_sync(&mut self) {
        self.faults.next_sync_fails = true;
    }

    /// The operation before which so many were begun fails, as the next write or sync would; a rename
    /// or a removal that fails does nothing.
    pub fn fail_operation(&mut self, operations: u64) {
        self.faults.failing_operation = Some(operations);
    }

    /// Files together hold at most so many bytes; none means no limit.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.faults.capacity = bytes;
    }

    /// The next write goes to another offset of its file, unnoticed.
    pub fn misdirect_next_write(&mut self, offset: u64) {
        self.faults.next_write_lands_at = Some(offset);
    }

    /// Changes a byte in the middle of a sector, durably and unnoticed. Answers whether the file has
    /// that byte.
    pub fn corrupt(&mut self, name: &str, sector: usize, xor: u8) -> bool {
        self.corrupt_byte(name, sector * SECTOR_BYTES + SECTOR_BYTES / 2, xor)
    }

    /// Changes one byte, durably and unnoticed. Answers whether the file has it.
    pub fn corrupt_byte(&mut self, name: &str, offset: usize, xor: u8) -> bool {
        let file = self.names.get(name).and_then(|file| self.files.get_mut(file));
        file.is_some_and(|file| file.corrupt(offset, xor))
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.names.values().map(|file| self.files[file].bytes.len() as u64).sum()
    }

    /// A digest of what would be there if the power failed and nothing unsynced survived.
    #[must_use]
    pub fn durable_digest(&self) -> u128 {
        let mut durable = self.clone();
        durable.lose_unsynced();
        let mut digest = Xxh3::new();
        for (name, file) in &durable.names {
            let bytes = &durable.files[file].bytes;
            for part in [name.as_bytes(), bytes.as_slice()] {
                digest.update(&(part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        digest.digest128()
    }

    /// Counts an operation. Answers whether it has to fail on the way.
    fn begin(&mut self, what: &str, name: &str) -> Result<bool, DiskError> {
        if self.faults.operations_max.is_some_and(|max| self.operations >= max) {
            return Err(failed("stopped", what, name));
        }
        self.operations += 1;
        Ok(self.faults.failing_operation == Some(self.operations - 1))
    }

    /// As [`MemDisk::begin`], for an operation that happens or does not.
    fn begin_whole(&mut self, what: &str, name: &str) -> Result<(), DiskError> {
        if self.begin(what, name)? { Err(failed("failed", what, name)) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> Result<FileId, DiskError> {
        let missing = || DiskError::new(DiskErrorKind::NotFound, name);
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn find_or_create(&mut self, name: &str) -> FileId {
        if let Some(file) = self.names.get(name) {
            return *file;
        }
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, File::default());
        self.change_names(NameChange::Created(name.to_owned(), file));
        file
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    /// Whether a file may grow to a length.
    fn has_room(&self, file: FileId, length: usize) -> bool {
        let grown = length.saturating_sub(self.files[&file].bytes.len()) as u64;
        grown == 0 || self.faults.capacity.is_none_or(|max| self.bytes() + grown <= max)
    }

    /// Forgets the files that no name leads to, live or durable.
    fn forget_unnamed(&mut self) {
        let live = self.names.values();
        let named: BTreeSet<FileId> = live.chain(self.durable_names.values()).copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }
}

impl Disk for MemDisk {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Bytes, DiskError> {
        Ok(Bytes::from_owner(Contents(Arc::clone(&self.files[&self.find(name)?].bytes))))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut fails = self.begin("writing", name)?;
        fails |= std::mem::take(&mut self.faults.next_write_fails);
        let offset = self.faults.next_write_lands_at.take().unwrap_or(offset);
        let offset = usize::try_from(offset).expect("a file in memory is addressable");
        let file = self.find_or_create(name);
        if !self.has_room(file, offset + bytes.len()) {
            return Err(DiskError::new(DiskErrorKind::Full, format!("writing {name}")));
        }
        let written = if fails { first_half(offset, bytes) } else { bytes };
        self.files.get_mut(&file).expect("it was found").write(offset, written);
        if fails { Err(failed("failed", "writing", name)) } else { Ok(()) }
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let mut fails = self.begin("syncing", name)?;
        fails |= std::mem::take(&mut self.faults.next_sync_fails);
        let file = self.find(name)?;
        let file = self.files.get_mut(&file).expect("it was found");
        if fails {
            file.is_doubtful = true;
            return Err(failed("failed", "syncing", name));
        }
        file.sync();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.begin_whole("renaming", from)?;
        let file = self.find(from)?;
        self.change_names(NameChange::Renamed(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.begin_whole("removing", name)?;
        let file = self.find(name)?;
        self.change_names(NameChange::Removed(name.to_owned(), file));
        Ok(())
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        let mut fails = self.begin("syncing", "the names")?;
        fails |= std::mem::take(&mut self.faults.next_sync_fails);
        if fails {
            self.has_doubtful_names = true;
            return Err(failed("failed", "syncing", "the names"));
        }
        if !self.has_doubtful_names {
            for change in self.name_changes.drain(..) {
                change.apply(&mut self.durable_names);
            }
            self.forget_unnamed();
        }
        Ok(())
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let undo = Undo { offset, length: bytes.len(), file_length_before: self.bytes.len() };
        let replaced = undo.replaced();
        self.writes.push(undo);
        if replaced > 0 {
            self.replaced.extend_from_slice(&self.bytes[offset..offset + replaced]);
        }
        put(Arc::make_mut(&mut self.bytes), offset, bytes);
    }

    fn sync(&mut self) {
        if !self.is_doubtful {
            self.writes.clear();
            self.replaced.clear();
        }
    }

    /// Changes a byte, and what unsynced writes replaced there too: a crash that undoes them finds it
    /// changed as well.
    fn corrupt(&mut self, offset: usize, xor: u8) -> bool {
        let Some(byte) = Arc::make_mut(&mut self.bytes).get_mut(offset) else { return false };
        *byte ^= xor;
        let mut at = 0;
        for write in &self.writes {
            let replaced = write.replaced();
            if (write.offset..write.offset + replaced).contains(&offset) {
                self.replaced[at + offset - write.offset] ^= xor;
            }
            at += replaced;
        }
        true
    }

    fn crash(&mut self, name: &str, survives: &mut impl FnMut(Unsynced<'_>) -> bool) {
        let length = self.bytes.len();
        let writes = self.undo();
        for (write, (offset, bytes)) in writes.iter().enumerate() {
            let mut at = *offset;
            while at < offset + bytes.len() {
                let sector = at / SECTOR_BYTES;
                let end = ((sector + 1) * SECTOR_BYTES).min(offset + bytes.len());
                if survives(Unsynced::Sector { name, write, sector }) {
                    put(Arc::make_mut(&mut self.bytes), at, &bytes[at - offset..end - offset]);
                }
                at = end;
            }
        }
        if self.bytes.len() < length && survives(Unsynced::Length { name }) {
            Arc::make_mut(&mut self.bytes).resize(length, 0);
        }
        self.is_doubtful = false;
    }

    /// Goes back to the durable contents. Gives the writes that were undone, oldest first.
    fn undo(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut undone = Vec::new();
        while let Some(undo) = self.writes.pop() {
            let Undo { offset, length, file_length_before } = undo;
            undone.push((offset, self.bytes[offset..offset + length].to_vec()));
            let replaced = undo.replaced();
            let kept = self.replaced.len() - replaced;
            if replaced > 0 {
                let bytes = Arc::make_mut(&mut self.bytes);
                bytes[offset..offset + replaced].copy_from_slice(&self.replaced[kept..]);
            }
            self.replaced.truncate(kept);
            Arc::make_mut(&mut self.bytes).truncate(file_length_before);
        }
        undone.reverse();
        undone
    }
}

impl Undo {
    /// How many bytes the write replaced; what it wrote beyond them made the file longer.
    fn replaced(self) -> usize {
        self.file_length_before.clamp(self.offset, self.offset + self.length) - self.offset
    }
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            Self::Created(name, _) | Self::Renamed(_, name, _) | Self::Removed(name, _) => name,
        }
    }

    /// Changes names. Where earlier changes were lost, a name that leads elsewhere stays.
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        let mut forget = |name: &String, file| {
            if names.get(name) == Some(file) {
                names.remove(name);
            }
        };
        match self {
            Self::Created(name, file) => _ = names.insert(name.clone(), *file),
            Self::Renamed(from, to, file) => {
                forget(from, file);
                names.insert(to.clone(), *file);
            }
            Self::Removed(name, file) => forget(name, file),
        }
    }
}

/// Writes at an offset, over zeros where there was nothing.
fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if offset == bytes.len() {
        bytes.extend_from_slice(new);
        return;
    }
    if end > bytes.len() {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

/// About half of what is written at an offset, up to the end of a sector.
fn first_half(offset: usize, bytes: &[u8]) -> &[u8] {
    let middle = (offset + bytes.len() / 2) / SECTOR_BYTES * SECTOR_BYTES;
    &bytes[..middle.saturating_sub(offset)]
}

fn failed(why: &str, what: &str, name: &str) -> DiskError {
    DiskError::new(DiskErrorKind::Failed, format!("{why} ({what} {name})"))
}
