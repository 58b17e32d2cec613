//! Stores: the trait that every kind implements, and the handle through which it is used.
//!
//! A [`Store`] is one keyspace of a backend: it takes parsed arguments and knows nothing of
//! handles, ids or capabilities of other kinds. A [`StoreHandle`] is what users hold: it parses,
//! asks for the rights of the actor that acquired it, refuses what the kind does not support,
//! answers after its release, and makes sure that every error of a write says what happened to the
//! store.
//!
//! The contract of an implementation:
//! 1. An expired entry is an absent key, for every operation and every condition.
//! 2. Every successful write replaces value, version and deadline.
//! 3. A page is one atomic read, in bytewise key order. Page and watch answer as if the keys that
//!    the given rights do not let read were not there: they are passed over before they count,
//!    before their values are decoded, and before an error could name them.
//! 4. A dropped future of a write leaves the outcome unknown, never half a write.
//! 5. An error of a write carries an outcome unless it is [`Outcome::None`](crate::error::Outcome);
//!    the handle adds that one.
//! 6. Only what [`Info`] claims is called with: the handle refuses the rest.

mod bound;
mod clock;
#[cfg(feature = "node")]
mod crdt;
mod handle;
mod info;
mod machine;
mod memory;
mod paging;
#[cfg(feature = "node")]
mod raft;
#[cfg(feature = "sql")]
mod sql;
#[cfg(feature = "serde")]
mod typed;
mod watch;

use async_trait::async_trait;

use crate::entry::{Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version};
use crate::error::{Error, Result};
use crate::policy::Rights;
use crate::value::Value;

pub use bound::{Acquiring, BoundStore};
pub use clock::{SystemClock, WallClock};
#[cfg(feature = "node")]
pub use crdt::CrdtStore;
pub use handle::StoreHandle;
pub use info::{Backend, Consistency, Info};
pub use memory::{MemoryOptions, MemoryStore};
#[cfg(feature = "node")]
pub use raft::RaftStore;
#[cfg(feature = "sql")]
pub use sql::{SqlOptions, SqlStore};
pub use watch::{Watch, WatchQuery};

/// What a write gave whose outcome was unknown before.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// As `set`.
    Set,
    /// As `put`.
    Put(Entry),
    /// As `delete`: whether there was an entry.
    Deleted(bool),
    /// As `transact`.
    Transacted(Vec<OperationResult>),
}

/// One keyspace of a backend. See the module's contract.
#[async_trait]
pub trait Store: Send + Sync {
    /// What the store is and what it supports.
    fn info(&self) -> Info;

    /// The entry of a key, if it is present.
    async fn entry(&self, key: &Key) -> Result<Option<Entry>>;

    /// Whether a key is present.
    async fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.entry(key).await?.is_some())
    }

    /// Writes an entry and returns it.
    ///
    /// # Errors
    /// `ALREADY_EXISTS`, `NOT_FOUND` or `CONFLICT` by the condition; `UNAVAILABLE` if full.
    async fn put(&self, key: Key, value: Value, options: PutOptions) -> Result<Entry>;

    /// Deletes an entry; answers whether there was one.
    ///
    /// # Errors
    /// With a version: `NOT_FOUND` if absent, `CONFLICT` if it has another.
    async fn delete(&self, key: &Key, if_version: Option<Version>) -> Result<bool>;

    /// One page of the entries that may be read.
    async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page>;

    /// Runs operations, all or none, against the state before.
    ///
    /// # Errors
    /// That of the first failing operation, with `details.index` counted from 1.
    async fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>>;

    /// The changes of keys that may be read, from now or after a version.
    ///
    /// # Errors
    /// `INVALID` with `details.reason = "compacted"` if the version is too old or foreign.
    async fn watch(&self, query: &WatchQuery, rights: &Rights) -> Result<Watch>;

    /// Asks again what became of a write of unknown outcome, by its name in `details.operation`, if
    /// the rights allow what it did.
    ///
    /// # Errors
    /// That of the write; `INVALID` if the kind of store has no way to ask.
    async fn resolve(&self, operation: &str, rights: &Rights) -> Result<Resolved> {
        let _ = (operation, rights);
        Err(Error::invalid("this kind of store can't tell what became of an operation"))
    }

    /// Ends background work. Called once, when the engine closes.
    async fn close(&self) {}
}
