//! The disk of storage on real files: one folder, one writer.
//!
//! Files stay open between a write and its sync. Contents are synced with `fdatasync`, names by syncing
//! the folder. A second writer is kept out by an exclusive lock on the file `lock`, which names its
//! holder; the lock ends with the process, however that ends.
//!
//! No caching, no retries: a failed sync is reported, and storage takes nothing more then.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::storage::{Disk, DiskError, DiskErrorKind, LOCK};

/// A folder of real files, locked for this process.
#[derive(Debug)]
pub struct FsDisk {
    folder: PathBuf,
    /// Held for as long as the disk lives.
    _lock: File,
    /// Files that were written.
    open: BTreeMap<String, File>,
}

impl FsDisk {
    /// Opens a folder, creating it if need be, and locks it.
    ///
    /// # Errors
    /// `UNAVAILABLE` if another process holds the lock (the message names it) or the folder can't be
    /// created or read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        let lock = lock(&folder)?;
        Ok(Self { folder, _lock: lock, open: BTreeMap::new() })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            let path = self.folder.join(name);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            // Only the newest segment and a file on its way are written: few stay open.
            while self.open.len() >= FILES_OPEN_MAX {
                self.open.pop_first();
            }
            self.open.insert(name.to_owned(), file);
        }
        Ok(self.open.get_mut(name).expect("just inserted"))
    }
}

impl Disk for FsDisk {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&self.folder)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|error| judge(&error, "listing", &self.folder.to_string_lossy()))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(self.folder.join(name))?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| judge(&error, "reading", name))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        };
        self.file(name).and_then(write).map_err(|error| judge(&error, "writing", name))
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let synced = self.file(name).and_then(|file| file.sync_data());
        synced.map_err(|error| judge(&error, "syncing", name))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.open.remove(from);
        self.open.remove(to);
        std::fs::rename(self.folder.join(from), self.folder.join(to))
            .map_err(|error| judge(&error, "renaming", from))
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.open.remove(name);
        std::fs::remove_file(self.folder.join(name))
            .map_err(|error| judge(&error, "removing", name))
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| judge(&error, "syncing", &self.folder.to_string_lossy()))
    }
}

fn judge(error: &io::Error, what: &str, name: &str) -> DiskError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::Full,
        _ => DiskErrorKind::Failed,
    };
    DiskError { kind, what: format!("{what} {name}: {error}") }
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let cannot = |error: &io::Error| {
        Error::unavailable(format!("the folder {} can't be used: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| cannot(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Error::unavailable(format!(
                "the folder {} is in use by {}",
                folder.display(),
                if holder.is_empty() { "another process" } else { holder.trim() }
            ))
            .with_detail("reason", "locked"));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(&error)),
    }
    let holder = format!("process {}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
    written.map_err(|error| cannot(&error))?;
    Ok(file)
}

const FILES_OPEN_MAX: usize = 8;
