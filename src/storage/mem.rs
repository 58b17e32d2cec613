//! A disk in memory that can lose what was not synced, and fail in the ways of a real one.
//!
//! It keeps what is there beside what it takes to go back: the durable form of every sector that an
//! unsynced write touched, and the unsynced changes of names. A crash rolls everything back and then
//! lets an oracle say which of it survives after all.
//!
//! Faults are set by whoever tests: a failing write or sync, a full disk, a corrupted sector, a write
//! that lands elsewhere, an end of all operations after the n-th.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use super::disk::{Disk, DiskError, DiskErrorKind, SECTOR_BYTES};

/// A disk in memory. A clone is an image of it.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since they were last synced.
    renames: Vec<NameChange>,
    next_file: u64,
    operations: u64,
    faults: Faults,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable_len: usize,
    /// The durable form of the sectors that unsynced writes touched.
    durable_sectors: BTreeMap<usize, Vec<u8>>,
    /// Unsynced writes, in order.
    writes: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Created(String, u64),
    Renamed(String, String),
    Removed(String),
}

/// What goes wrong next.
#[derive(Clone, Debug, Default)]
struct Faults {
    next_write_fails: bool,
    next_sync_fails: bool,
    capacity: Option<u64>,
    next_write_lands_at: Option<u64>,
    operations_max: Option<u64>,
}

/// Something unsynced whose fate a crash decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced<'a> {
    /// One sector of one write.
    Sector {
        /// The file.
        name: &'a str,
        /// Which unsynced write of the file, oldest first.
        write: usize,
        /// Which sector of the file.
        sector: usize,
    },
    /// A name that was given, changed or removed.
    Name {
        /// The name.
        name: &'a str,
    },
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails. Of what was not synced the oracle says what survives. Faults end.
    pub fn crash(&mut self, mut survives: impl FnMut(Unsynced<'_>) -> bool) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.renames) {
            change.apply_if(&mut names, |name| survives(Unsynced::Name { name }));
        }
        let named: BTreeMap<u64, String> =
            names.iter().map(|(name, file)| (*file, name.clone())).collect();
        self.files.retain(|file, _| named.contains_key(file));
        for (number, file) in &mut self.files {
            let name = &named[number];
            file.crash(|write, sector| survives(Unsynced::Sector { name, write, sector }));
        }
        self.durable_names.clone_from(&names);
        self.names = names;
        self.faults = Faults::default();
    }

    /// The power fails, and nothing that was not synced survives.
    pub fn lose_unsynced(&mut self) {
        self.crash(|_| false);
    }

    /// How many operations that change something were begun.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// All operations that change something fail once so many were begun since the disk was made.
    pub fn stop_after(&mut self, operations: u64) {
        self.faults.operations_max = Some(operations);
    }

    /// The next write fails; a part of it may be there.
    pub fn fail_next_write(&mut self) {
        self.faults.next_write_fails = true;
    }

    /// The next sync fails: nothing is durable that was not before, for sure.
    pub fn fail_next_sync(&mut self) {
        self.faults.next_sync_fails = true;
    }

    /// Files together hold at most so many bytes; none means no limit.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.faults.capacity = bytes;
    }

    /// The next write goes to another offset of its file, unnoticed.
    pub fn misdirect_next_write(&mut self, offset: u64) {
        self.faults.next_write_lands_at = Some(offset);
    }

    /// Changes a byte of a sector of a file, durably and unnoticed. Answers whether there is one.
    pub fn corrupt(&mut self, name: &str, sector: usize, xor: u8) -> bool {
        let file = self.names.get(name).and_then(|number| self.files.get_mut(number));
        let Some(file) = file else { return false };
        let at = sector * SECTOR_BYTES + SECTOR_BYTES / 2;
        let Some(byte) = file.bytes.get_mut(at) else { return false };
        *byte ^= xor;
        if let Some(durable) = file.durable_sectors.get_mut(&sector) {
            durable[SECTOR_BYTES / 2] ^= xor;
        }
        true
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.names.values().map(|number| self.files[number].bytes.len() as u64).sum()
    }

    fn file(&self, name: &str) -> Result<&File, DiskError> {
        let number = self.names.get(name).ok_or_else(|| not_found(name))?;
        Ok(&self.files[number])
    }

    fn begin(&mut self, what: &str, name: &str) -> Result<(), DiskError> {
        if self.faults.operations_max.is_some_and(|max| self.operations >= max) {
            return Err(failed(what, name));
        }
        self.operations += 1;
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply_if(&mut self.names, |_| true);
        self.renames.push(change);
    }
}

impl Disk for MemDisk {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        self.file(name).map(|file| file.bytes.clone())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.begin("writing", name)?;
        let offset = self.faults.next_write_lands_at.take().unwrap_or(offset);
        let end = offset + bytes.len() as u64;
        let len = self.file(name).map_or(0, |file| file.bytes.len() as u64);
        let grown = self.bytes() + end.saturating_sub(len);
        if end > len && self.faults.capacity.is_some_and(|capacity| grown > capacity) {
            let what = format!("writing {name}");
            return Err(DiskError { kind: DiskErrorKind::Full, what });
        }
        if !self.names.contains_key(name) {
            self.next_file += 1;
            self.files.insert(self.next_file, File::default());
            self.change_name(NameChange::Created(name.to_owned(), self.next_file));
        }
        let file = self.files.get_mut(&self.names[name]).expect("every name has a file");
        let offset = usize::try_from(offset).expect("a file in memory");
        if std::mem::take(&mut self.faults.next_write_fails) {
            file.write(offset, &bytes[..bytes.len() / 2]);
            return Err(failed("writing", name));
        }
        file.write(offset, bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.begin("syncing", name)?;
        if std::mem::take(&mut self.faults.next_sync_fails) {
            return Err(failed("syncing", name));
        }
        let number = self.names.get(name).ok_or_else(|| not_found(name))?;
        self.files.get_mut(number).expect("every name has a file").sync();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.begin("renaming", from)?;
        self.file(from)?;
        self.change_name(NameChange::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.begin("removing", name)?;
        self.file(name)?;
        self.change_name(NameChange::Removed(name.to_owned()));
        Ok(())
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        self.begin("syncing", "the names")?;
        if std::mem::take(&mut self.faults.next_sync_fails) {
            return Err(failed("syncing", "the names"));
        }
        self.renames.clear();
        self.durable_names.clone_from(&self.names);
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|number, _| named.contains(number));
        Ok(())
    }
}

impl NameChange {
    /// Makes the change, if it can be made and the oracle lets it.
    fn apply_if(&self, names: &mut BTreeMap<String, u64>, mut is_made: impl FnMut(&str) -> bool) {
        match self {
            Self::Created(name, file) => {
                if is_made(name) {
                    names.insert(name.clone(), *file);
                }
            }
            Self::Renamed(from, to) => {
                if names.contains_key(from) && is_made(to) {
                    let file = names.remove(from).expect("just seen");
                    names.insert(to.clone(), file);
                }
            }
            Self::Removed(name) => {
                if names.contains_key(name) && is_made(name) {
                    names.remove(name);
                }
            }
        }
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            self.keep(sector);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.writes.push((offset, bytes.to_vec()));
    }

    /// Keeps the durable form of a sector, unless it is kept or lies beyond what is durable.
    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        if start >= self.durable_len || self.durable_sectors.contains_key(&sector) {
            return;
        }
        let end = self.durable_len.min(start + SECTOR_BYTES);
        let mut durable = self.bytes[start..end].to_vec();
        durable.resize(SECTOR_BYTES, 0);
        self.durable_sectors.insert(sector, durable);
    }

    fn sync(&mut self) {
        self.durable_len = self.bytes.len();
        self.durable_sectors.clear();
        self.writes.clear();
    }

    fn crash(&mut self, mut survives: impl FnMut(usize, usize) -> bool) {
        self.bytes.truncate(self.durable_len);
        for (sector, durable) in std::mem::take(&mut self.durable_sectors) {
            let start = sector * SECTOR_BYTES;
            let end = self.durable_len.min(start + SECTOR_BYTES);
            self.bytes[start..end].copy_from_slice(&durable[..end - start]);
        }
        for (write, (offset, bytes)) in std::mem::take(&mut self.writes).into_iter().enumerate() {
            let end = offset + bytes.len();
            for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
                if !survives(write, sector) {
                    continue;
                }
                let from = offset.max(sector * SECTOR_BYTES);
                let to = end.min((sector + 1) * SECTOR_BYTES);
                if self.bytes.len() < to {
                    self.bytes.resize(to, 0);
                }
                self.bytes[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
            }
        }
        self.durable_len = self.bytes.len();
    }
}

fn not_found(name: &str) -> DiskError {
    DiskError { kind: DiskErrorKind::NotFound, what: name.to_owned() }
}

fn failed(what: &str, name: &str) -> DiskError {
    DiskError { kind: DiskErrorKind::Failed, what: format!("{what} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_what_was_synced_and_what_survives() {
        let mut disk = MemDisk::new();
        disk.write("a", 0, &[1; 1_024]).unwrap();
        disk.sync("a").unwrap();
        disk.sync_names().unwrap();
        disk.write("a", 256, &[2; 1_024]).unwrap();
        disk.write("b", 0, &[3; 10]).unwrap();
        let mut lost = disk.clone();
        lost.lose_unsynced();
        assert_eq!(lost.read("a").unwrap(), [1; 1_024]);
        assert_eq!(lost.names().unwrap(), ["a"]);
        let mut torn = disk.clone();
        torn.crash(|what| matches!(what, Unsynced::Sector { sector: 1, .. }));
        let expected = [[1; 512], [2; 512]].concat();
        assert_eq!(torn.read("a").unwrap(), expected);
        disk.crash(|_| true);
        assert_eq!(disk.read("a").unwrap().len(), 1_280);
        assert_eq!(disk.read("b").unwrap(), [3; 10]);
    }

    #[test]
    fn names_survive_by_themselves() {
        let mut disk = MemDisk::new();
        disk.write("new", 0, &[1]).unwrap();
        disk.sync("new").unwrap();
        disk.sync_names().unwrap();
        disk.rename("new", "kept").unwrap();
        let mut lost = disk.clone();
        lost.lose_unsynced();
        assert_eq!(lost.names().unwrap(), ["new"]);
        disk.sync_names().unwrap();
        disk.remove("kept").unwrap();
        disk.lose_unsynced();
        assert_eq!(disk.read("kept").unwrap(), [1]);
    }

    #[test]
    fn a_failed_sync_makes_nothing_durable_and_a_full_disk_takes_nothing() {
        let mut disk = MemDisk::new();
        disk.write("a", 0, &[1; 600]).unwrap();
        disk.fail_next_sync();
        assert_eq!(disk.sync("a").unwrap_err().kind, DiskErrorKind::Failed);
        disk.set_capacity(Some(1_000));
        assert_eq!(disk.write("a", 600, &[1; 600]).unwrap_err().kind, DiskErrorKind::Full);
        disk.write("a", 0, &[2; 600]).unwrap();
        disk.sync_names().unwrap();
        disk.lose_unsynced();
        assert!(disk.read("a").unwrap().is_empty());
    }
}
