//! The disk of a host: in memory, and still there when the process that had it is gone.
//!
//! It takes no time; how long a batch waits before it is written is the probe's matter.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use plimsoll::storage::{Disk, DiskError, MemDisk, SharedDisk};

use crate::world::crash_image;

/// A disk that its host and the process on it share.
#[derive(Clone, Debug, Default)]
pub(super) struct HostDisk(Arc<Mutex<MemDisk>>);

impl HostDisk {
    /// The power fails: the image decides what survives of what was not synced.
    pub fn crash(&self, image: u64) {
        crash_image(&mut self.lock(), image);
    }

    /// The power fails, and only what was synced survives.
    pub fn lose_unsynced(&self) {
        self.lock().lose_unsynced();
    }

    /// After so many operations nothing works any more.
    pub fn stop_in(&self, operations: u64) {
        let mut disk = self.lock();
        let end = disk.operations() + operations;
        disk.stop_after(end);
    }

    pub fn fail_next_sync(&self) {
        self.lock().fail_next_sync();
    }

    fn lock(&self) -> MutexGuard<'_, MemDisk> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl SharedDisk for HostDisk {
    fn beside(&self) -> Self {
        self.clone()
    }
}

impl Disk for HostDisk {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        self.lock().names()
    }

    fn read(&self, name: &str) -> Result<Bytes, DiskError> {
        self.lock().read(name)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.lock().write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.lock().sync(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.lock().rename(from, to)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.lock().remove(name)
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        self.lock().sync_names()
    }
}
