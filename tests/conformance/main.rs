//! The contract of a store, promise by promise, on every kind. What a kind supports is what its
//! `info()` claims: the suite asks it, and demands of the rest that it is refused.
//!
//! A test is a promise, and runs on every kind; the kind that breaks it is named in the output.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

mod conditions;
mod entries;
mod errors;
mod handles;
mod listing;
mod transactions;
mod values;
mod watching;

#[path = "../support/kinds.rs"]
mod kinds;

use kinds::{Fixture, Kind};
use plimsoll::clock::{Clock as _, UnixMillis};
use plimsoll::entry::{Condition, Entry, Key, Operation, PutOptions, Ttl, Version};
use plimsoll::error::{Error, ErrorKind, Outcome, Result};
use plimsoll::store::{Info, StoreHandle};
use plimsoll::value::Value;

/// Every kind that this build has.
const KINDS: &[Kind] = &[
    Kind::Memory,
    #[cfg(feature = "sql")]
    Kind::Sqlite,
    #[cfg(all(feature = "postgres", unix))]
    Kind::Postgres,
    #[cfg(feature = "node")]
    Kind::Raft,
    #[cfg(feature = "node")]
    Kind::Crdt,
    #[cfg(feature = "node")]
    Kind::DurableCrdt,
];

/// Every kind that can be had here.
fn kinds() -> impl Iterator<Item = Kind> {
    KINDS.iter().copied().filter(|kind| kind.is_available())
}

/// A new store, what it claims, and a handle on it.
struct Store {
    fixture: Fixture,
    handle: StoreHandle,
    info: Info,
}

impl std::ops::Deref for Store {
    type Target = StoreHandle;

    fn deref(&self) -> &StoreHandle {
        &self.handle
    }
}

impl Store {
    async fn open(kind: Kind, max_size: u64) -> Self {
        let fixture = Fixture::open(kind, max_size).await;
        let handle = fixture.acquire();
        let info = handle.info().unwrap();
        Self { fixture, handle, info }
    }

    /// Writes a key without ado.
    async fn write(&self, key: &str, value: impl Into<Value>) -> Entry {
        self.put(key, value, PutOptions::default()).await.unwrap()
    }

    /// Writes a key that expires.
    async fn write_for(&self, key: &str, ttl_ms: u64) -> Entry {
        let options = PutOptions { ttl: ttl(ttl_ms), ..PutOptions::default() };
        self.put(key, 1, options).await.unwrap()
    }

    /// Writes a key under a condition.
    async fn write_if(&self, key: &str, condition: Condition) -> Result<Entry> {
        self.put(key, 1, PutOptions { ttl: None, condition }).await
    }

    fn pass(&self, milliseconds: u64) {
        self.fixture.clock.advance_ms(milliseconds);
    }

    fn now(&self) -> UnixMillis {
        self.fixture.clock.now()
    }

    /// All keys, page by page.
    async fn keys(&self) -> Vec<String> {
        let page = self.list(&plimsoll::entry::ListQuery::new()).await.unwrap();
        assert!(!page.has_more, "few enough for one page");
        page.items.iter().map(|entry| entry.key.to_string()).collect()
    }
}

/// Runs a case on a new store of every kind.
async fn for_every_kind(case: impl AsyncFn(&Store)) {
    for kind in kinds() {
        println!("{kind:?}");
        case(&Store::open(kind, 0).await).await;
    }
}

/// That a write was refused, with a kind, and wrote nothing.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.outcome(), Some(Outcome::None), "{error:?}");
    error
}

fn ttl(milliseconds: u64) -> Option<Ttl> {
    Ttl::from_ms(milliseconds).unwrap()
}

fn put(key: &str, condition: Condition) -> Operation {
    let options = PutOptions { ttl: None, condition };
    Operation::Put { key: Key::new(key).unwrap(), value: Value::from(1), options }
}

fn delete(key: &str, if_version: Option<Version>) -> Operation {
    Operation::Delete { key: Key::new(key).unwrap(), if_version }
}

fn check(key: &str, condition: Condition) -> Operation {
    Operation::Check { key: Key::new(key).unwrap(), condition }
}
