//! The handle of a store: what `store.get(id)` hands out.
//!
//! **Permissions are enforced here and nowhere else**, but for the two scans that only a store can
//! restrict (`list` and `watch`, which are given the rights). The order of every call: a released
//! handle is refused, arguments are parsed, rights are asked for with the very [`Key`] that the
//! store is given, and only then is anything said about the store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Backend, Info, Resolved, Store, Watch, WatchQuery};
use crate::entry::{
    Condition, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Ttl, Version,
};
use crate::error::{Error, Outcome, Result};
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::mutant::mutant;
use crate::policy::{Permission, Rights, Subject};
use crate::value::{Encoded, Value};

/// A handle on a store. Clones share the release.
#[derive(Clone)]
pub struct StoreHandle(Arc<Inner>);

struct Inner {
    id: String,
    store: Arc<dyn Store>,
    info: Info,
    rights: Rights,
    released: AtomicBool,
}

impl StoreHandle {
    /// A handle on a store under an id, with which everything is allowed.
    #[must_use]
    pub fn new(id: &str, store: Arc<dyn Store>) -> Self {
        Self::with_rights(id, store, Rights::unrestricted())
    }

    /// A handle on a store under an id, for an actor with these rights on it. Whoever is given the
    /// handle, or a clone, has the rights of that actor.
    #[must_use]
    pub fn with_rights(id: &str, store: Arc<dyn Store>, rights: Rights) -> Self {
        let info = Info { id: id.to_owned(), ..store.info() };
        let released = AtomicBool::new(false);
        Self(Arc::new(Inner { id: id.to_owned(), store, info, rights, released }))
    }

    /// The id under which the store was acquired.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The backend behind the store. Needs no permission: errors name it too.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.0.info.backend
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
    /// `INVALID` after release; `PERMISSION_DENIED` without `store.info`.
    pub fn info(&self) -> Result<Info> {
        self.check_released()?;
        self.0.rights.check(Permission::Info, Subject::Whole)?;
        Ok(self.0.info.clone())
    }

    /// The value of a key, if it is present.
    ///
    /// # Errors
    /// `INVALID` for a bad key or after release; `PERMISSION_DENIED` without `store.key.get`;
    /// whatever the backend reports.
    pub async fn get(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.entry(key).await?.map(|entry| entry.value))
    }

    /// The entry of a key, if it is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get`].
    pub async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let store = self.store()?;
        let key = Key::new(key)?;
        self.check_key(Permission::KeyGet, &key)?;
        store.entry(&key).await
    }

    /// Whether a key is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get`], with `store.key.has`.
    pub async fn has(&self, key: &str) -> Result<bool> {
        let store = self.store()?;
        let key = Key::new(key)?;
        self.check_key(Permission::KeyHas, &key)?;
        store.has(&key).await
    }

    /// Writes a value. Without a time to live the entry does not expire, whatever was there before.
    ///
    /// # Errors
    /// `INVALID` for a bad key or value or after release; `PERMISSION_DENIED` without
    /// `store.key.set`; `UNAVAILABLE` if the store is full.
    pub async fn set(&self, key: &str, value: impl Into<Value>, ttl: Option<Ttl>) -> Result<()> {
        let options = PutOptions { ttl, condition: Condition::None };
        // Resolved later, it gives what a `set` gives.
        let as_set = |error: Error| match error.detail(OPERATION).and_then(Value::as_str) {
            Some(operation) => {
                let operation = format!("{operation}{SET}");
                error.with_detail(OPERATION, operation)
            }
            None => error,
        };
        self.put(key, value, options).await.map(|_| ()).map_err(as_set)
    }

    /// Writes a value under a condition and returns the new entry.
    ///
    /// # Errors
    /// As [`StoreHandle::set`]; by the condition `ALREADY_EXISTS`, `NOT_FOUND`, or `CONFLICT` with
    /// the current version in `details.version`. What a condition tells is read: it needs
    /// `store.key.get` too.
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
            self.check_write(Permission::KeySet, &key, options.condition)?;
            self.check_condition(options.condition)?;
            store.put(key, value, options).await
        };
        attempt.await.map_err(written_nothing)
    }

    /// Deletes a key; answers whether it was present. With a version, only if that is current.
    ///
    /// # Errors
    /// `INVALID` for a bad key or after release; `PERMISSION_DENIED` without `store.key.delete`;
    /// with a version `NOT_FOUND` or `CONFLICT`, and `store.key.get` is needed too.
    pub async fn delete(&self, key: &str, if_version: Option<Version>) -> Result<bool> {
        let attempt = async {
            let store = self.store()?;
            let key = Key::new(key)?;
            let condition = if_version.map_or(Condition::None, Condition::Version);
            self.check_write(Permission::KeyDelete, &key, condition)?;
            self.check_condition(condition)?;
            store.delete(&key, if_version).await
        };
        attempt.await.map_err(written_nothing)
    }

    /// One page of the entries that may be read: the same as if the store had no others. It costs
    /// what it passes over.
    ///
    /// # Errors
    /// `INVALID` after release; `PERMISSION_DENIED` without `store.key.list` of the prefix;
    /// whatever the backend reports.
    pub async fn list(&self, query: &ListQuery) -> Result<Page> {
        let store = self.store()?;
        self.0.rights.check(Permission::KeyList, Subject::Prefix(&query.prefix))?;
        store.list(query, &self.0.rights).await
    }

    /// Runs operations, all or none.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` if one operation is not allowed, as the same write alone would be (a
    /// check needs `store.key.get`); `INVALID` if the store has no transactions, a key occurs
    /// twice, or a limit is passed; else that of the first failing operation. What concerns one
    /// operation has its `details.index`, counted from 1.
    pub async fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>> {
        let attempt = async {
            let store = self.store()?;
            each_operation(operations, |operation| self.check_operation(operation))?;
            self.require(self.0.info.transact, "transactions")?;
            check_transaction(operations)?;
            each_operation(operations, |operation| self.check_condition(operation.condition()))?;
            store.transact(operations).await
        };
        attempt.await.map_err(written_nothing)
    }

    /// A stream of the changes of keys that may be read.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` if no key may be read, whatever it is; `INVALID` if the store cannot be
    /// watched, or `after` is too old or of another epoch.
    pub async fn watch(&self, query: &WatchQuery) -> Result<Watch> {
        let store = self.store()?;
        self.0.rights.check(Permission::KeyGet, Subject::SomeKey)?;
        self.require(self.0.info.watch, "watches")?;
        store.watch(query, &self.0.rights).await
    }

    /// Asks again what became of a write whose error says that its outcome is unknown. If it was not
    /// applied, it is applied now.
    ///
    /// # Errors
    /// As of the write; `INVALID` for any other error, and on a store that can't tell; `UNAVAILABLE`
    /// with `details.reason = "forgotten"` if the write was given up meanwhile.
    pub async fn resolve(&self, error: &Error) -> Result<Resolved> {
        let store = self.store()?;
        if error.outcome() != Some(Outcome::Unknown) {
            return Err(Error::invalid(
                "resolve takes an error whose details.outcome is \"unknown\"",
            ));
        }
        let (id, backend) = (&self.0.id, self.0.info.backend);
        if backend != Backend::KvRaft {
            return Err(Error::invalid(format!(
                "{id} is a {backend} store, which can't tell what became of an operation: read the \
                 key to find out"
            )));
        }
        let Some(operation) = error.detail(OPERATION).and_then(Value::as_str) else {
            return Err(Error::invalid("the error names no operation: it is of another store"));
        };
        let (name, is_set) = match operation.strip_suffix(SET) {
            Some(name) => (name, true),
            None => (operation, false),
        };
        let resolved = store.resolve(name, &self.0.rights).await.map_err(written_nothing)?;
        Ok(if is_set { Resolved::Set } else { resolved })
    }

    fn check_key(&self, permission: Permission, key: &Key) -> Result<()> {
        self.0.rights.check(permission, Subject::Key(key.as_str()))
    }

    /// A write needs its own permission, and one with a condition also that to read: whether the
    /// condition holds tells what is there, and a refusal names its version.
    fn check_write(&self, permission: Permission, key: &Key, condition: Condition) -> Result<()> {
        self.check_key(permission, key)?;
        match condition {
            _ if mutant!("condition needs no right to read") => Ok(()),
            Condition::None => Ok(()),
            Condition::Absent | Condition::Version(_) => self.check_key(Permission::KeyGet, key),
        }
    }

    fn check_operation(&self, operation: &Operation) -> Result<()> {
        let (key, condition) = (operation.key(), operation.condition());
        match operation {
            _ if mutant!("transaction needs no rights") => Ok(()),
            Operation::Put { .. } => self.check_write(Permission::KeySet, key, condition),
            Operation::Delete { .. } => self.check_write(Permission::KeyDelete, key, condition),
            Operation::Check { .. } => self.check_key(Permission::KeyGet, key),
        }
    }

    fn check_condition(&self, condition: Condition) -> Result<()> {
        if condition == Condition::None {
            return Ok(());
        }
        self.require(self.0.info.conditional_put, "conditional writes")?;
        match condition {
            Condition::Version(version @ (Version::Unversioned | Version::Stamped { .. })) => {
                let id = &self.0.id;
                Err(Error::invalid(format!(
                    "\"{version}\" is a version of another kind of store, and never one of {id}"
                )))
            }
            _ => Ok(()),
        }
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

/// The detail that names an operation of unknown outcome, and what stands behind the name of a `set`.
const OPERATION: &str = "operation";
const SET: &str = "/set";

/// An error that says nothing about the store was raised before anything was written.
fn written_nothing(error: Error) -> Error {
    error.or_outcome(Outcome::None)
}

/// Checks the operations of a transaction one by one; an error says which it is about.
fn each_operation(
    operations: &[Operation],
    check: impl Fn(&Operation) -> Result<()>,
) -> Result<()> {
    (1_usize..).zip(operations).try_for_each(|(index, operation)| {
        check(operation).map_err(|error| error.with_detail("index", index))
    })
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
