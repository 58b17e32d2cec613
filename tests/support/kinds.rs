//! Every kind of store, each with what a test needs: a clock set by hand, a way to open it, to
//! acquire handles, and to open it again.

#[allow(clippy::duplicate_mod, reason = "the fuzz targets use stores and namespaces")]
#[cfg(feature = "node")]
#[path = "crdt_kind.rs"]
mod crdt_kind;
#[cfg(all(feature = "postgres", unix))]
mod postgres;
#[cfg(feature = "node")]
#[path = "raft_kind.rs"]
mod raft_kind;

use std::sync::Arc;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::policy::Rights;
use plimsoll::store::{MemoryOptions, MemoryStore, Store, StoreHandle};

#[cfg(feature = "sql")]
use plimsoll::sql::{
    Database, Identifier, SqlClock, SqliteDatabase, SqliteFile, SqliteOptions, Synchronous,
};
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
    /// `store.sql` on a PostgreSQL server.
    #[cfg(all(feature = "postgres", unix))]
    Postgres,
    /// `store.kv.raft` of one node. Not where revisions are counted: its leader takes one for expired
    /// entries when its clock says so.
    #[cfg(feature = "node")]
    #[allow(dead_code)]
    Raft,
    /// `store.kv.crdt` of one node.
    #[cfg(feature = "node")]
    #[allow(dead_code)]
    Crdt,
    /// The same with `durable: true`.
    #[cfg(feature = "node")]
    #[allow(dead_code)]
    DurableCrdt,
}

impl Kind {
    /// Whether it can be had here; says why not.
    pub fn is_available(self) -> bool {
        match self {
            Self::Memory => true,
            #[cfg(feature = "sql")]
            Self::Sqlite => true,
            #[cfg(all(feature = "postgres", unix))]
            Self::Postgres => postgres::shared().is_some(),
            #[cfg(feature = "node")]
            Self::Raft | Self::Crdt | Self::DurableCrdt => true,
        }
    }
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
    Sql {
        store: Arc<SqlStore>,
        database: Database,
        place: Place,
    },
    /// Taken only while it is opened again.
    #[cfg(feature = "node")]
    Raft(Option<raft_kind::RaftKind>),
    /// Likewise.
    #[cfg(feature = "node")]
    Crdt(Option<crdt_kind::CrdtKind>),
}

/// Where an SQL database is.
#[cfg(feature = "sql")]
enum Place {
    Folder(tempfile::TempDir),
    #[cfg(all(feature = "postgres", unix))]
    Role(String),
}

impl Fixture {
    /// A new, empty store, which holds `max_size` entries if its kind has a limit (0: the default).
    pub async fn open(kind: Kind, max_size: u64) -> Self {
        let clock = ManualClock::new(START);
        let backing = match kind {
            Kind::Memory => Backing::Memory(memory(max_size, 1, &clock)),
            #[cfg(feature = "sql")]
            Kind::Sqlite => sql(Place::Folder(tempfile::tempdir().unwrap()), &clock).await,
            #[cfg(all(feature = "postgres", unix))]
            Kind::Postgres => {
                let server =
                    postgres::shared().expect("the test has asked whether it is available");
                sql(Place::Role(server.new_role()), &clock).await
            }
            #[cfg(feature = "node")]
            Kind::Raft => Backing::Raft(Some(raft_kind::RaftKind::open(1, &clock).await)),
            #[cfg(feature = "node")]
            Kind::Crdt | Kind::DurableCrdt => {
                let durable = kind == Kind::DurableCrdt;
                Backing::Crdt(Some(crdt_kind::CrdtKind::open(durable, &clock).await))
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
            Backing::Sql { store, database, place } => {
                database.close().await;
                (*store, *database) = open_sql(place, &self.clock).await;
            }
            #[cfg(feature = "node")]
            Backing::Raft(kind) => {
                let raft_kind::RaftKind { folder, node, store } = kind.take().expect("it is open");
                drop(store);
                node.close().await;
                drop(node);
                *kind = Some(raft_kind::RaftKind::open_on(folder, 1, &self.clock).await);
            }
            #[cfg(feature = "node")]
            Backing::Crdt(kind) => {
                let open = kind.take().expect("it is open");
                // A start begins above all that an earlier one may have stamped, up to a second ahead.
                self.clock.advance_ms(900);
                *kind = Some(open.reopen(&self.clock).await);
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
            Backing::Sql { .. } => None,
            #[cfg(feature = "node")]
            Backing::Raft(_) | Backing::Crdt(_) => None,
        }
    }

    /// The epoch of its versions.
    pub const fn epoch(&self) -> u64 {
        match self.backing {
            #[cfg(feature = "node")]
            Backing::Raft(_) => 1,
            _ => self.openings,
        }
    }

    /// Whether it keeps its entries when it is opened again.
    pub fn keeps_entries(&self) -> bool {
        match &self.backing {
            Backing::Memory(_) => false,
            #[cfg(feature = "sql")]
            Backing::Sql { .. } => true,
            #[cfg(feature = "node")]
            Backing::Raft(_) => true,
            #[cfg(feature = "node")]
            Backing::Crdt(kind) => kind.as_ref().expect("it is open").durable,
        }
    }

    /// Most live entries, if its kind has a limit.
    pub fn size_max(&self) -> Option<usize> {
        match self.backing {
            Backing::Memory(_) => Some(usize::try_from(self.max_size).unwrap()),
            #[cfg(feature = "sql")]
            Backing::Sql { .. } => None,
            #[cfg(feature = "node")]
            Backing::Raft(_) | Backing::Crdt(_) => None,
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        match &self.backing {
            Backing::Memory(store) => store.clone(),
            #[cfg(feature = "sql")]
            Backing::Sql { store, .. } => store.clone(),
            #[cfg(feature = "node")]
            Backing::Raft(kind) => kind.as_ref().expect("it is open").store.clone(),
            #[cfg(feature = "node")]
            Backing::Crdt(kind) => kind.as_ref().expect("it is open").store.clone(),
        }
    }
}

fn memory(max_size: u64, epoch: u64, clock: &ManualClock) -> Arc<MemoryStore> {
    let options = MemoryOptions { max_size, cleanup_interval: None };
    MemoryStore::with_clock(options, epoch, Arc::new(clock.clone()))
}

#[cfg(feature = "sql")]
async fn sql(place: Place, clock: &ManualClock) -> Backing {
    let (store, database) = open_sql(&place, clock).await;
    Backing::Sql { store, database, place }
}

#[cfg(feature = "sql")]
async fn open_sql(place: &Place, clock: &ManualClock) -> (Arc<SqlStore>, Database) {
    let database = match place {
        Place::Folder(folder) => Database::from(SqliteDatabase::open(SqliteOptions {
            // What is tested here is what a statement does, not what the disk does.
            synchronous: Synchronous::Normal,
            ..SqliteOptions::new(SqliteFile::Path(folder.path().join("store.db")))
        })),
        #[cfg(all(feature = "postgres", unix))]
        Place::Role(role) => {
            let server = postgres::shared().expect("it was there when the role was made");
            Database::from(plimsoll::sql::PostgresDatabase::open(server.options(role)))
        }
    };
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
