//! The disk as storage sees it: a folder of files, seven synchronous methods.
//!
//! Nothing is durable before it is synced, contents and names apart. Of what was not, a crash leaves
//! any part: every 512-byte sector of every write, and every change of a name, survives or not, by
//! itself. A real disk does no worse, and [`MemDisk`](super::MemDisk) does all of that.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

/// The unit that a disk writes wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A folder of files. Names are plain: no folders within.
pub trait Disk {
    /// The names of all files, in order.
    ///
    /// # Errors
    /// If the folder can't be read.
    fn names(&self) -> Result<Vec<String>, DiskError>;

    /// The contents of a file.
    ///
    /// # Errors
    /// If there is no such file, or it can't be read.
    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError>;

    /// Writes at an offset. A file that does not exist is created, one that is too short filled up
    /// with zeros.
    ///
    /// # Errors
    /// If it can't be written; [`DiskErrorKind::Full`] if there is no room. A part may be written.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes the contents and the length of a file durable.
    ///
    /// # Errors
    /// Then nobody knows what is durable: the caller must not go on with this file.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name; one of that name is replaced.
    ///
    /// # Errors
    /// If there is no such file, or the name can't be given.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// If there is no such file, or it can't be removed.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Makes all names durable: what was created, renamed and removed.
    ///
    /// # Errors
    /// As [`Disk::sync`].
    fn sync_names(&mut self) -> Result<(), DiskError>;
}

/// What a disk could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What kind of failure it is.
    pub kind: DiskErrorKind,
    /// What was being done, and to which file.
    pub what: String,
}

/// The kinds of a disk's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// There is no such file.
    NotFound,
    /// There is no room.
    Full,
    /// Anything else.
    Failed,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DiskErrorKind::NotFound => "there is no such file",
            DiskErrorKind::Full => "the disk is full",
            DiskErrorKind::Failed => "the disk failed",
        };
        write!(f, "{}: {kind}", self.what)
    }
}

impl std::error::Error for DiskError {}
