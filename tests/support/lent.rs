//! A disk in memory that its owner keeps while others use it.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use plimsoll::storage::{Disk, DiskError, MemDisk, SharedDisk};

/// A disk with several handles.
#[derive(Clone, Default)]
pub struct Lent(pub Arc<Mutex<MemDisk>>);

impl SharedDisk for Lent {
    fn beside(&self) -> Self {
        self.clone()
    }
}

impl Disk for Lent {
    fn names(&self) -> Result<Vec<String>, DiskError> {
        self.0.lock().unwrap().names()
    }

    fn read(&self, name: &str) -> Result<Bytes, DiskError> {
        self.0.lock().unwrap().read(name)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.lock().unwrap().write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.0.lock().unwrap().sync(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.lock().unwrap().rename(from, to)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.0.lock().unwrap().remove(name)
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        self.0.lock().unwrap().sync_names()
    }
}
