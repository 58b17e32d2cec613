//! The handle of a store: what `store.get(id)` hands out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Info, Store, Watch, WatchQuery};
use crate::entry::{
    Condition, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Ttl, Version,
};
use crate::error::{Error, Outcome, Result};
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::value::{Encoded, Value};

/// A handle on a store. Clones share the release.
#[derive(Clone)]
pub struct StoreHandle(Arc<Inner>);

struct Inner {
    id: String,
    store: Arc<dyn Store>,
    info: Info,
    released: AtomicBool,
}

impl StoreHandle {
    /// A handle on a store under an id.
    #[must_use]
    pub fn new(id: &str, store: Arc<dyn Store>) -> Self {
        let info = Info { id: id.to_owned(), ..store.info() };
        Self(Arc::new(Inner { id: id.to_owned(), store, info, released: AtomicBool::new(false) }))
    }

    /// The id under which the store was acquired.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Gives the handle back: from now on it answers `INVALID`. Always true, any number of times.
    pub fn release(&self) -> bool {
        self.0.released.store(true, Ordering::Release);
        true
    }

    /// Whether the handle was released.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.0.released.load(Ordering::Acquire)
    }

    /// The store, unless the handle was released.
    ///
    /// # Errors
    /// `INVALID` after [`StoreHandle::release`].
    pub fn check_released(&self) -> Result<()> {
        if self.is_released() {
            return Err(Error::invalid(format!("the handle of {} is released", self.0.id)));
        }
        Ok(())
    }

    fn store(&self) -> Result<&dyn Store> {
        self.check_released()?;
        Ok(&*self.0.store)
    }

    /// What the store is and what it supports.
    ///
    /// # Errors
    /// `INVALID` after release.
    pub fn info(&self) -> Result<Info> {
        self.check_released()?;
        Ok(self.0.info.clone())
    }

    /// The value of a key, if it is present.
    ///
    /// # Errors
    /// `INVALID` for a bad key or after release; whatever the backend reports.
    pub async fn get(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.entry(key).await?.map(|entry| entry.value))
    }

    /// The entry of a key, if it is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get`].
    pub async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let store = self.store()?;
        store.entry(&Key::new(key)?).await
    }

    /// Whether a key is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get`].
    pub async fn has(&self, key: &str) -> Result<bool> {
        let store = self.store()?;
        store.has(&Key::new(key)?).await
    }

    /// Writes a value. Without a time to live the entry does not expire, whatever was there before.
    ///
    /// # Errors
    /// `INVALID` for a bad key or value or after release; `UNAVAILABLE` if the store is full.
    pub async fn set(&self, key: &str, value: impl Into<Value>, ttl: Option<Ttl>) -> Result<()> {
        let options = PutOptions { ttl, condition: Condition::None };
        self.put(key, value, options).await.map(|_| ())
    }

    /// Writes a value under a condition and returns the new entry.
    ///
    /// # Errors
    /// As [`StoreHandle::set`]; by the condition `ALREADY_EXISTS`, `NOT_FOUND`, or `CONFLICT` with
    /// the current version in `details.version`.
    pub async fn put(
        &self,
        key: &str,
        value: impl Into<Value>,
        options: PutOptions,
    ) -> Result<Entry> {
        let value = value.into();
        let attempt = async {
            let store = self.store()?;
            let key = Key::new(key)?;
            self.check_condition(options.condition)?;
            store.put(key, value, options).await
        };
        attempt.await.map_err(written_nothing)
    }

    /// Deletes a key; answers whether it was present. With a version, only if that is current.
    ///
    /// # Errors
    /// `INVALID` for a bad key or after release; with a version `NOT_FOUND` or `CONFLICT`.
    pub async fn delete(&self, key: &str, if_version: Option<Version>) -> Result<bool> {
        let attempt = async {
            let store = self.store()?;
            let key = Key::new(key)?;
            self.check_condition(if_version.map_or(Condition::None, Condition::Version))?;
            store.delete(&key, if_version).await
        };
        attempt.await.map_err(written_nothing)
    }

    /// One page of entries.
    ///
    /// # Errors
    /// `INVALID` after release; whatever the backend reports.
    pub async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.store()?.list(query).await
    }

    /// Runs operations, all or none.
    ///
    /// # Errors
    /// `INVALID` if the store has no transactions, a key occurs twice, or a limit is passed; else
    /// that of the first failing operation, with its `details.index` counted from 1.
    pub async fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>> {
        let attempt = async {
            let store = self.store()?;
            self.require(self.0.info.transact, "transactions")?;
            check_transaction(operations)?;
            for (position, operation) in operations.iter().enumerate() {
                self.check_condition(operation.condition())
                    .map_err(|error| error.with_detail("index", position + 1))?;
            }
            store.transact(operations).await
        };
        attempt.await.map_err(written_nothing)
    }

    /// A stream of changes.
    ///
    /// # Errors
    /// `INVALID` if the store cannot be watched, or `after` is too old or of another epoch.
    pub async fn watch(&self, query: &WatchQuery) -> Result<Watch> {
        let store = self.store()?;
        self.require(self.0.info.watch, "watches")?;
        store.watch(query).await
    }

    fn check_condition(&self, condition: Condition) -> Result<()> {
        if condition == Condition::None {
            return Ok(());
        }
        self.require(self.0.info.conditional_put, "conditional writes")?;
        if condition == Condition::Version(Version::Unversioned) {
            return Err(Error::invalid(format!(
                "\"{}\" is a version of a store that has none, and never one of {}",
                Version::Unversioned,
                self.0.id
            )));
        }
        Ok(())
    }

    fn require(&self, is_supported: bool, what: &str) -> Result<()> {
        if is_supported {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} is a {} store, which has no {what}; store.memory and store.kv.raft have",
            self.0.id, self.0.info.backend
        )))
    }
}

/// An error that says nothing about the store was raised before anything was written.
fn written_nothing(error: Error) -> Error {
    error.or_outcome(Outcome::None)
}

fn check_transaction(operations: &[Operation]) -> Result<()> {
    if operations.len() > TRANSACTION_OPERATIONS_MAX {
        return Err(Error::invalid(format!(
            "the transaction has {} operations, the limit is {TRANSACTION_OPERATIONS_MAX}",
            operations.len()
        ))
        .with_detail("limit", TRANSACTION_OPERATIONS_MAX)
        .with_detail("actual", operations.len()));
    }
    let mut keys = std::collections::BTreeSet::new();
    let mut bytes = 0;
    for (position, operation) in operations.iter().enumerate() {
        let key = operation.key();
        if !keys.insert(key) {
            return Err(Error::invalid(format!("the key {key:?} occurs twice in the transaction"))
                .with_detail("index", position + 1));
        }
        bytes += key.as_str().len();
        if let Operation::Put { value, .. } = operation {
            bytes += Encoded::new(value)
                .map_err(|error| error.with_detail("index", position + 1))?
                .len();
        }
    }
    if bytes > TRANSACTION_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the transaction has {bytes} bytes of keys and values, the limit is {TRANSACTION_BYTES_MAX}"
        ))
        .with_detail("limit", TRANSACTION_BYTES_MAX)
        .with_detail("actual", bytes));
    }
    Ok(())
}

/// As Lua prints it.
impl fmt::Display for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_released() { "store.Store{released}" } else { "store.Store{}" })
    }
}

impl fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
