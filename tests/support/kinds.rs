//! Every kind of store, each with what a test needs: a clock set by hand, a way to open it, to
//! acquire handles, and to open it again.

use std::sync::Arc;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::policy::Rights;
use plimsoll::store::{MemoryOptions, MemoryStore, Store, StoreHandle};

#[cfg(feature = "sql")]
use plimsoll::sql::{Identifier, SqlClock, SqliteDatabase, SqliteFile, SqliteOptions, Synchronous};
#[cfg(feature = "sql")]
use plimsoll::store::{SqlOptions, SqlStore};

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `store.memory`.
    Memory,
    /// `store.sql` on an SQLite file.
    #[cfg(feature = "sql")]
    Sqlite,
}

/// An open store. Its files, if it has any, go with it.
pub struct Fixture {
    pub clock: ManualClock,
    max_size: u64,
    /// How often it was opened: each time a memory store takes another epoch.
    openings: u64,
    backing: Backing,
}

enum Backing {
    Memory(Arc<MemoryStore>),
    #[cfg(feature = "sql")]
    Sqlite {
        store: Arc<SqlStore>,
        database: Arc<SqliteDatabase>,
        folder: tempfile::TempDir,
    },
}

impl Fixture {
    /// A new, empty store, which holds `max_size` entries if its kind has a limit (0: the default).
    pub async fn open(kind: Kind, max_size: u64) -> Self {
        let clock = ManualClock::new(START);
        let backing = match kind {
            Kind::Memory => Backing::Memory(memory(max_size, 1, &clock)),
            #[cfg(feature = "sql")]
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let (store, database) = sqlite(folder.path(), &clock).await;
                Backing::Sqlite { store, database, folder }
            }
        };
        Self { clock, max_size, openings: 1, backing }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store().close().await;
        self.openings += 1;
        match &mut self.backing {
            Backing::Memory(store) => *store = memory(self.max_size, self.openings, &self.clock),
            #[cfg(feature = "sql")]
            Backing::Sqlite { store, database, folder } => {
                database.close().await;
                (*store, *database) = sqlite(folder.path(), &self.clock).await;
            }
        }
    }

    /// A handle on the store.
    pub fn acquire(&self) -> StoreHandle {
        self.acquire_with_rights(Rights::unrestricted())
    }

    /// A handle on the store, for an actor with these rights.
    pub fn acquire_with_rights(&self, rights: Rights) -> StoreHandle {
        StoreHandle::with_rights(ID, self.store(), rights)
    }

    /// Removes expired entries, where a test can ask for that; answers how many.
    pub fn sweep(&self) -> Option<usize> {
        match &self.backing {
            Backing::Memory(store) => Some(store.sweep().unwrap()),
            #[cfg(feature = "sql")]
            Backing::Sqlite { .. } => None,
        }
    }

    /// The epoch of its versions.
    pub const fn epoch(&self) -> u64 {
        self.openings
    }

    /// Whether it keeps its entries when it is opened again.
    pub fn keeps_entries(&self) -> bool {
        !matches!(self.backing, Backing::Memory(_))
    }

    /// Most live entries, if its kind has a limit.
    pub fn size_max(&self) -> Option<usize> {
        match self.backing {
            Backing::Memory(_) => Some(usize::try_from(self.max_size).unwrap()),
            #[cfg(feature = "sql")]
            Backing::Sqlite { .. } => None,
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        match &self.backing {
            Backing::Memory(store) => store.clone(),
            #[cfg(feature = "sql")]
            Backing::Sqlite { store, .. } => store.clone(),
        }
    }
}

fn memory(max_size: u64, epoch: u64, clock: &ManualClock) -> Arc<MemoryStore> {
    let options = MemoryOptions { max_size, cleanup_interval: None };
    MemoryStore::with_clock(options, epoch, Arc::new(clock.clone()))
}

#[cfg(feature = "sql")]
async fn sqlite(
    folder: &std::path::Path,
    clock: &ManualClock,
) -> (Arc<SqlStore>, Arc<SqliteDatabase>) {
    let options = SqliteOptions {
        // What is tested here is what a statement does, not what the disk does.
        synchronous: Synchronous::Normal,
        ..SqliteOptions::new(SqliteFile::Path(folder.join("store.db")))
    };
    let database = SqliteDatabase::open(options);
    let options = SqlOptions {
        create_table: true,
        clock: SqlClock::Bound(Arc::new(clock.clone())),
        ..SqlOptions::new(Identifier::new("entries").unwrap())
    };
    let store = SqlStore::open(database.clone(), options).await.unwrap();
    (store, database)
}

/// The id under which handles are acquired.
pub const ID: &str = "app:store";

/// The first instant.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);
