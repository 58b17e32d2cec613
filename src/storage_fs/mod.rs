//! Real files as storage's [`Disk`]: one folder, one writer.
//!
//! Contents are synced with `fdatasync`, which takes the length along; names by syncing the folder.
//! The folder is locked while it is open, by a lock that ends with the process whatever ends it; its
//! file tells who holds it.
//!
//! Invariant: names are plain, so no path leads out of the folder.
//!
//! No caching and no buffering: what was written is with the system. On systems where a folder can't
//! be synced (Windows) names are as durable as the system makes them by itself.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::storage::{Disk, DiskError, DiskErrorKind, SharedDisk};

/// A folder of real files.
#[derive(Debug)]
pub struct FsDisk {
    folder: PathBuf,
    /// Files that were written to, by name.
    files: BTreeMap<String, File>,
    /// Held open: the lock ends when all handles have closed it.
    lock: Arc<File>,
}

impl FsDisk {
    /// Opens a folder, which is made where there is none, and locks it.
    ///
    /// # Errors
    /// [`DiskErrorKind::Locked`] if another process, or this one, has it open, or any failure to make
    /// or open the folder.
    pub fn open(folder: &Path) -> Result<Self, DiskError> {
        make_folder(folder)?;
        let lock = lock(&folder.join(LOCK))?;
        Ok(Self { folder: folder.to_owned(), files: BTreeMap::new(), lock: Arc::new(lock) })
    }

    fn path(&self, name: &str) -> PathBuf {
        let is_plain =
            !name.is_empty() && !name.contains(['/', '\\', ':']) && !name.starts_with('.');
        assert!(is_plain && name != LOCK, "storage names its files plainly: {name:?}");
        self.folder.join(name)
    }

    /// The handle of a file, which is opened, or created if that is wanted.
    fn file(&mut self, name: &str, creates: bool) -> std::io::Result<&mut File> {
        if !self.files.contains_key(name) {
            let path = self.path(name);
            let file = OpenOptions::new().read(true).write(true).create(creates).open(path)?;
            self.files.insert(name.to_owned(), file);
        }
        Ok(self.files.get_mut(name).expect("it was just inserted"))
    }
}

impl Disk for FsDisk {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        let failed = |error| failure("listing", &self.folder, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != LOCK {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Bytes, DiskError> {
        let path = self.path(name);
        fs::read(&path).map(Bytes::from).map_err(|error| failure("reading", &path, &error))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file(name, true).and_then(|file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        });
        written.map_err(|error| failure("writing", &self.path(name), &error))
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let synced = self.file(name, false).and_then(|file| file.sync_data());
        synced.map_err(|error| failure("syncing", &self.path(name), &error))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let path = self.path(from);
        self.files.remove(from);
        self.files.remove(to);
        fs::rename(&path, self.path(to)).map_err(|error| failure("renaming", &path, &error))
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        self.files.remove(name);
        fs::remove_file(&path).map_err(|error| failure("removing", &path, &error))
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        sync_folder(&self.folder)
    }
}

impl SharedDisk for FsDisk {
    fn beside(&self) -> Self {
        Self { folder: self.folder.clone(), files: BTreeMap::new(), lock: Arc::clone(&self.lock) }
    }
}

/// Makes a folder and those above it, each name durable in the one above.
fn make_folder(folder: &Path) -> Result<(), DiskError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(failure("making", folder, &error))
        }
        _ => sync_folder(parent.unwrap_or(Path::new("."))),
    }
}

fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    if cfg!(windows) {
        return Ok(());
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failure("syncing the names of", folder, &error))
}

/// Takes the lock of a folder, and writes down who has it.
fn lock(path: &Path) -> Result<File, DiskError> {
    let failed = |error| failure("locking", path, &error);
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            // A process that is being started has the files of the one that starts it, for a moment.
            Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                let what = format!("{} is held by {}", path.display(), holder(&mut file));
                return Err(DiskError::new(DiskErrorKind::Locked, what));
            }
        }
    }
    let line = format!("process {}\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(line.as_bytes())).map_err(failed)?;
    Ok(file)
}

/// What the holder of a lock wrote down; it may be about to.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(1..) => text.trim_end().to_owned(),
        _ => "another process".to_owned(),
    }
}

fn failure(doing: &str, path: &Path, error: &std::io::Error) -> DiskError {
    let kind = match error.kind() {
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            DiskErrorKind::Full
        }
        _ => DiskErrorKind::Failed,
    };
    DiskError::new(kind, format!("{doing} {}: {error}", path.display()))
}

/// The file whose lock is the folder's.
const LOCK: &str = "lock";

/// How often a lock that somebody has is tried again, and after what time.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What is read of it.
const HOLDER_BYTES_MAX: u64 = 64;
