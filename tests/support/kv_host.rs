//! Lua states with the global `KV`, for every backend of namespaces there is.
//!
//! Time stands still unless a script calls `advance(seconds)`; `now()` tells it, in seconds. The
//! including test has `mod host` too.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses what it needs")]

#[allow(clippy::duplicate_mod, reason = "the fuzz targets use stores and namespaces")]
#[path = "crdt_kind.rs"]
mod crdt_kind;

use std::sync::{Arc, Mutex, PoisonError};

use plimsoll::clock::{Clock, ManualClock, UnixMillis};
use plimsoll::lua::mlua::{Lua, MultiValue};
use plimsoll::namespaces::{Backend, Memory, Namespaces};
use plimsoll::sql::{
    Identifier, SqlClock, SqliteDatabase, SqliteFile, SqliteNamespaces, SqliteOptions, Synchronous,
};
use plimsoll::store::{
    BoundStore, MemoryOptions, MemoryStore, SqlOptions, SqlStore, Store, StoreHandle,
};
use tempfile::TempDir;

/// What keeps the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvKind {
    /// The core's own maps.
    Memory,
    /// A file with the table `kv`.
    Sqlite,
    /// A `store.memory`.
    BoundToMemory,
    /// A `store.sql`.
    BoundToSql,
    /// A `store.kv.crdt` of one node.
    BoundToCrdt,
}

impl KvKind {
    pub const ALL: [Self; 5] =
        [Self::Memory, Self::Sqlite, Self::BoundToMemory, Self::BoundToSql, Self::BoundToCrdt];

    /// As scripts name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::BoundToMemory => "bound.memory",
            Self::BoundToSql => "bound.sql",
            Self::BoundToCrdt => "bound.crdt",
        }
    }
}

/// Namespaces of a kind, with what they stand on.
pub struct KvFixture {
    pub namespaces: Namespaces,
    pub clock: ManualClock,
    /// The store of a bound kind.
    pub store: Option<StoreHandle>,
    pub folder: TempDir,
    /// The node of a kind that has one.
    node: Option<crdt_kind::CrdtKind>,
}

impl KvFixture {
    pub async fn new(kind: KvKind) -> Self {
        let manual = ManualClock::new(START);
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let folder = tempfile::tempdir().unwrap();
        let mut node = None;
        let (backend, store): (Arc<dyn Backend>, _) = match kind {
            KvKind::Memory => (Arc::new(Memory::new()), None),
            KvKind::Sqlite => (SqliteNamespaces::open(folder.path().join("data/kv.db")), None),
            KvKind::BoundToMemory => {
                let options = MemoryOptions { max_size: 0, cleanup_interval: None };
                bound(MemoryStore::with_clock(options, 1, Arc::clone(&clock)))
            }
            KvKind::BoundToSql => bound(sql_store(folder.path(), Arc::clone(&clock)).await),
            KvKind::BoundToCrdt => {
                let crdt = node.insert(crdt_kind::CrdtKind::open(false, &manual).await);
                bound(crdt.store.clone())
            }
        };
        let namespaces = Namespaces::new(backend, clock);
        Self { namespaces, clock: manual, store, folder, node }
    }
}

fn bound(store: Arc<dyn Store>) -> (Arc<dyn Backend>, Option<StoreHandle>) {
    let handle = StoreHandle::new("app:store", store);
    (BoundStore::new(handle.clone()), Some(handle))
}

async fn sql_store(folder: &std::path::Path, clock: Arc<dyn Clock>) -> Arc<SqlStore> {
    let options = SqliteOptions {
        synchronous: Synchronous::Normal,
        ..SqliteOptions::new(SqliteFile::Path(folder.join("store.db")))
    };
    let database = SqliteDatabase::open(options);
    // TEXT, so that keys may be as long as those of any store.
    rusqlite::Connection::open(folder.join("store.db"))
        .unwrap()
        .execute_batch(
            "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at BIGINT)",
        )
        .unwrap();
    let options = SqlOptions {
        clock: SqlClock::Bound(clock),
        ..SqlOptions::new(Identifier::new("entries").unwrap())
    };
    SqlStore::open(database, options).await.unwrap()
}

/// A state with `KV`.
pub struct KvHost {
    pub lua: Lua,
    pub fixture: KvFixture,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl KvHost {
    pub async fn new(kind: KvKind) -> Self {
        let fixture = KvFixture::new(kind).await;
        let lua = Lua::new();
        plimsoll::lua::install_kv(&lua, &fixture.namespaces).unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        crate::host::replace_print(&lua, Arc::clone(&printed));
        let clock = fixture.clock.clone();
        let now = lua.create_function(move |_, ()| Ok(clock.now().as_seconds())).unwrap();
        lua.globals().set("now", now).unwrap();
        let clock = fixture.clock.clone();
        let advance = lua.create_function(move |_, seconds: f64| {
            clock.advance_ms((seconds * 1_000.0).round() as u64);
            Ok(())
        });
        lua.globals().set("advance", advance.unwrap()).unwrap();
        Self { lua, fixture, printed }
    }

    /// Runs a chunk; its results.
    pub async fn try_run(&self, chunk: &str) -> plimsoll::lua::mlua::Result<MultiValue> {
        self.lua.load(chunk).set_name("=script").eval_async().await
    }

    /// What was printed since the last call.
    pub fn printed(&self) -> String {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&std::mem::take(&mut *printed)).into_owned()
    }
}

/// The first instant.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);
