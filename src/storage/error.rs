//! Why storage can't be opened or written.
//!
//! An error of the disk, a full disk, damage, and files that do not belong here are told apart, each
//! with the file's name. None of them is worth a retry on the same open storage.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use super::disk::{DiskError, DiskErrorKind};

/// Why storage can't be opened or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// The disk failed.
    Disk(DiskError),
    /// There is no room left on the disk.
    Full(DiskError),
    /// What stands in a file is not what was written.
    Damaged(Damage),
    /// A file that must be there is not.
    Missing {
        /// Which one.
        file: String,
    },
    /// A file that is none of storage's.
    Foreign {
        /// Which one.
        file: String,
    },
    /// A file of another version of the format.
    Version {
        /// Which one.
        file: String,
        /// Its version.
        version: u8,
    },
    /// An earlier operation failed, so nothing more is taken.
    Failed,
}

/// What is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub file: String,
    /// Which of its 512-byte sectors, if it is one.
    pub sector: Option<u64>,
    /// What is wrong with it.
    pub what: String,
}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        match error.kind {
            DiskErrorKind::Full => Self::Full(error),
            _ => Self::Disk(error),
        }
    }
}

impl From<Damage> for StorageError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) | Self::Full(error) => fmt::Display::fmt(error, f),
            Self::Damaged(damage) => fmt::Display::fmt(damage, f),
            Self::Missing { file } => write!(f, "{file} is missing"),
            Self::Foreign { file } => write!(f, "{file} is not a file of this storage"),
            Self::Version { file, version } => {
                write!(f, "{file} is of version {version} of the format, which is unknown here")
            }
            Self::Failed => f.write_str("storage failed before and takes nothing more"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged", self.file)?;
        if let Some(sector) = self.sector {
            write!(f, " in sector {sector}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for StorageError {}
