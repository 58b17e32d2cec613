//! The disk as storage sees it: one folder of files, seven synchronous methods.
//!
//! What a caller may rely on is little. Contents and length of a file are durable once [`Disk::sync`]
//! has returned, names once [`Disk::sync_names`] has. Of everything else a crash leaves any part:
//! each 512-byte sector of each write, and each change of a name, by itself and in any order.
//!
//! No folders, no appending, no reading of parts: files are bounded, and are read once, at opening.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use bytes::Bytes;

/// The unit that a disk writes wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A folder of files with plain names.
pub trait Disk {
    /// The names of all files, in order.
    ///
    /// # Errors
    /// If the folder can't be read.
    fn names(&self) -> Result<Vec<String>, DiskError>;

    /// The whole contents of a file.
    ///
    /// # Errors
    /// If there is no such file, or it can't be read.
    fn read(&self, name: &str) -> Result<Bytes, DiskError>;

    /// Writes bytes at an offset. The file is created where there is none, and filled up with zeros
    /// where it is shorter than the offset.
    ///
    /// # Errors
    /// [`DiskErrorKind::Full`] if there is no room, or any other failure. A part may be written.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes the contents and the length of a file durable.
    ///
    /// # Errors
    /// Then nobody knows what is durable, and a later sync that succeeds proves nothing.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name, in place of the file that has it, if there is one: after a crash
    /// the name leads to the one or to the other.
    ///
    /// # Errors
    /// If there is no such file, or it can't be renamed.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// If there is no such file, or it can't be removed.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Makes durable which names there are, and which files they lead to.
    ///
    /// # Errors
    /// As [`Disk::sync`].
    fn sync_names(&mut self) -> Result<(), DiskError>;
}

/// A folder that two may use at once, each for files that the other does not touch.
pub trait SharedDisk: Disk + Sized {
    /// Another handle on the same folder. What holds for one holds for both: names that one makes
    /// durable are durable.
    #[must_use]
    fn beside(&self) -> Self;
}

/// A disk that is lent stays with its owner, also when what was opened on it was refused.
impl<D: Disk> Disk for &mut D {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        (**self).names()
    }

    fn read(&self, name: &str) -> Result<Bytes, DiskError> {
        (**self).read(name)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).sync(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        (**self).rename(from, to)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).remove(name)
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        (**self).sync_names()
    }
}

/// What a disk could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What kind of failure it is.
    pub kind: DiskErrorKind,
    /// What was being done, to which file, and what the system said.
    pub what: String,
}

/// The kinds of a disk's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// There is no such file.
    NotFound,
    /// There is no room left.
    Full,
    /// Another process has the folder.
    Locked,
    /// Anything else.
    Failed,
}

impl DiskError {
    /// An error of a kind.
    #[must_use]
    pub fn new(kind: DiskErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DiskErrorKind::NotFound => "there is no such file",
            DiskErrorKind::Full => "the disk is full",
            DiskErrorKind::Locked => "the folder is in use",
            DiskErrorKind::Failed => "the disk failed",
        };
        write!(f, "{kind}: {}", self.what)
    }
}

impl std::error::Error for DiskError {}
