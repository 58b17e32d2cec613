//! Handles that block: every call of [`StoreHandle`].

use std::fmt;

use super::Watch;
use super::runtime::Runtime;
use crate::entry::{Entry, ListQuery, Operation, OperationResult, Page, PutOptions, Ttl, Version};
use crate::error::{Error, Result};
use crate::store::{Backend, Info, Resolved, StoreHandle, WatchQuery};
use crate::value::Value;

/// A handle on a store. Clones share the release.
#[derive(Clone)]
pub struct Store {
    handle: StoreHandle,
    runtime: Runtime,
}

impl Store {
    pub(super) const fn new(handle: StoreHandle, runtime: Runtime) -> Self {
        Self { handle, runtime }
    }

    /// The handle for async code.
    #[must_use]
    pub fn handle(&self) -> &StoreHandle {
        &self.handle
    }

    #[track_caller]
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.wait(future)
    }

    /// The id under which the store was acquired.
    #[must_use]
    pub fn id(&self) -> &str {
        self.handle.id()
    }

    /// The backend behind the store.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.handle.backend()
    }

    /// Gives the handle back: from now on it answers `INVALID`. Always true, any number of times.
    pub fn release(&self) -> bool {
        self.handle.release()
    }

    /// Whether the handle was released.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.handle.is_released()
    }

    /// The store, unless the handle was released.
    ///
    /// # Errors
    /// As [`StoreHandle::check_released`].
    pub fn check_released(&self) -> Result<()> {
        self.handle.check_released()
    }

    /// What the store is and what it supports.
    ///
    /// # Errors
    /// As [`StoreHandle::info`].
    pub fn info(&self) -> Result<Info> {
        self.handle.info()
    }

    /// The value of a key, if it is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get`].
    #[track_caller]
    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        self.wait(self.handle.get(key))
    }

    /// The entry of a key, if it is present.
    ///
    /// # Errors
    /// As [`StoreHandle::entry`].
    #[track_caller]
    pub fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.wait(self.handle.entry(key))
    }

    /// Whether a key is present.
    ///
    /// # Errors
    /// As [`StoreHandle::has`].
    #[track_caller]
    pub fn has(&self, key: &str) -> Result<bool> {
        self.wait(self.handle.has(key))
    }

    /// Writes a value. Without a time to live the entry does not expire, whatever was there before.
    ///
    /// # Errors
    /// As [`StoreHandle::set`].
    #[track_caller]
    pub fn set(&self, key: &str, value: impl Into<Value>, ttl: Option<Ttl>) -> Result<()> {
        self.wait(self.handle.set(key, value, ttl))
    }

    /// Writes a value under a condition and returns the new entry.
    ///
    /// # Errors
    /// As [`StoreHandle::put`].
    #[track_caller]
    pub fn put(&self, key: &str, value: impl Into<Value>, options: PutOptions) -> Result<Entry> {
        self.wait(self.handle.put(key, value, options))
    }

    /// Deletes a key; answers whether it was present. With a version, only if that is current.
    ///
    /// # Errors
    /// As [`StoreHandle::delete`].
    #[track_caller]
    pub fn delete(&self, key: &str, if_version: Option<Version>) -> Result<bool> {
        self.wait(self.handle.delete(key, if_version))
    }

    /// One page of the entries that may be read.
    ///
    /// # Errors
    /// As [`StoreHandle::list`].
    #[track_caller]
    pub fn list(&self, query: &ListQuery) -> Result<Page> {
        self.wait(self.handle.list(query))
    }

    /// Runs operations, all or none.
    ///
    /// # Errors
    /// As [`StoreHandle::transact`].
    #[track_caller]
    pub fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>> {
        self.wait(self.handle.transact(operations))
    }

    /// Asks again what became of a write of unknown outcome.
    ///
    /// # Errors
    /// As [`StoreHandle::resolve`].
    #[track_caller]
    pub fn resolve(&self, error: &Error) -> Result<Resolved> {
        self.wait(self.handle.resolve(error))
    }

    /// A stream of the changes of keys that may be read.
    ///
    /// # Errors
    /// As [`StoreHandle::watch`].
    #[track_caller]
    pub fn watch(&self, query: &WatchQuery) -> Result<Watch> {
        let watch = self.wait(self.handle.watch(query))?;
        Ok(Watch::new(watch, self.runtime.clone()))
    }
}

/// As Lua prints it.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.handle, f)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.handle, f)
    }
}
