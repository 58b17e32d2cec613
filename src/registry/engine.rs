//! The engine handle: opens the entries of a configuration and hands out stores.
//!
//! An entry is opened at start (`lifecycle.auto_start`) or by its first use, and what it refers to
//! before it. Concurrent first uses open it once; if opening fails, the next use tries again. A
//! start that meets a broken entry closes what it had opened and fails; a database that is merely
//! down is tried again by the first use.
//!
//! No use after [`Plimsoll::close`]: it waits for openings that are under way, so that it misses
//! none, and whoever comes later is refused.

use std::collections::BTreeMap;
use std::fmt;
#[cfg(feature = "sql")]
use std::io;
#[cfg(feature = "sql")]
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "node")]
use std::time::Duration;

use tokio::sync::{OnceCell, RwLock};

use super::config::Config;
#[cfg(feature = "node")]
use super::crdt_store::CrdtStoreOptions;
use super::entry::{EntryKind, RegistryEntry};
use super::entry_id::EntryId;
#[cfg(feature = "node")]
use super::node::OpenNode;
#[cfg(feature = "node")]
use super::raft_store::RaftStoreOptions;
use super::suggest::did_you_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::namespaces::Namespaces;
use crate::policy::{Actor, Permission, Policies, Rights, Subject};
#[cfg(feature = "postgres")]
use crate::sql::PostgresDatabase;
#[cfg(feature = "sql")]
use crate::sql::{Database, SqliteDatabase, SqliteFile, SqliteOptions};
#[cfg(feature = "sql")]
use crate::store::SqlStore;
use crate::store::{BoundStore, MemoryStore, Store, StoreHandle, WallClock};
#[cfg(feature = "node")]
use crate::store::{CrdtStore, RaftStore};

/// An engine on a configuration, used by an actor. Clones share the engine.
///
/// [`Plimsoll::open`] gives the engine to an anonymous actor; [`Plimsoll::as_actor`] to another.
/// Where the configuration has no policies, the actor makes no difference.
///
/// ```
/// use plimsoll::registry::{Config, LoadOptions, Plimsoll};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let text = r#"
/// version: "1.0"
/// namespace: app
/// entries:
///   - name: cache
///     kind: store.memory
/// "#;
/// let config = Config::parse(text, ".", "app.yaml", LoadOptions::default())?;
/// let engine = Plimsoll::open(config).await?;
/// let cache = engine.store("app:cache").await?;
/// cache.set("greeting", "hello", None).await?;
/// assert_eq!(cache.get("greeting").await?, Some("hello".into()));
/// engine.close().await;
/// # Ok::<(), plimsoll::error::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Plimsoll {
    inner: Arc<Inner>,
    actor: Arc<Actor>,
}

struct Inner {
    config: Config,
    policies: Policies,
    /// What is open, by the id of the entry; a cell is empty until then.
    stores: BTreeMap<EntryId, OnceCell<Arc<dyn Store>>>,
    /// Databases open their files and connections themselves, when they are first used.
    #[cfg(feature = "sql")]
    databases: BTreeMap<EntryId, Database>,
    /// The node of a cluster: its first store opens it, or whoever runs it.
    #[cfg(feature = "node")]
    node: OnceCell<OpenNode>,
    is_closed: RwLock<bool>,
}

impl Plimsoll {
    /// Opens the entries that start at once, and stands ready to open the others.
    ///
    /// # Errors
    /// That of the first entry that is broken; nothing stays open then.
    pub async fn open(config: Config) -> Result<Self> {
        let inner = Arc::new(Inner {
            policies: policies(&config),
            stores: cells(&config),
            #[cfg(feature = "sql")]
            databases: databases(&config),
            #[cfg(feature = "node")]
            node: OnceCell::new(),
            is_closed: RwLock::new(false),
            config,
        });
        let engine = Self { inner, actor: Arc::new(Actor::anonymous()) };
        for entry in engine.config().entries().iter().filter(|entry| entry.auto_start()) {
            match engine.inner.start(entry).await {
                Err(error) if !is_merely_down(&error) => {
                    engine.close().await;
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(engine)
    }

    /// The same engine, used by an actor: the stores that it hands out do what the policies allow
    /// this actor. Cheap; the engine as it was goes on for whoever has it.
    ///
    /// Whoever has the engine can use it as any actor, and close it: it is the host's. What may be
    /// given to others is a handle, or a Lua state into which the engine was installed.
    #[must_use]
    pub fn as_actor(&self, actor: Actor) -> Self {
        Self { inner: Arc::clone(&self.inner), actor: Arc::new(actor) }
    }

    /// The actor that uses the engine.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// A handle on a store, with the rights of the actor.
    ///
    /// # Errors
    /// `INVALID` for an empty id; `PERMISSION_DENIED` without `store.get` on the id, whether there
    /// is such a store or not; `NOT_FOUND` for an unknown one; `INVALID` for an entry that is no
    /// store; `UNAVAILABLE` after [`Plimsoll::close`]; what the opening of the entry reports.
    pub async fn store(&self, id: &str) -> Result<StoreHandle> {
        if id.is_empty() {
            return Err(Error::invalid("the id of the store is empty; name one such as app:cache"));
        }
        let rights = self.rights(id);
        // Before anything is looked up: a refusal must not tell whether the store is there.
        rights.check(Permission::Get, Subject::Whole)?;
        let entry = self.config().entry(id).ok_or_else(|| self.unknown_store(id))?;
        let is_closed = self.inner.is_closed.read().await;
        if *is_closed {
            return Err(Error::unavailable("the engine is closed").with_retryable(false));
        }
        let store = self.inner.store(entry).await?;
        Ok(StoreHandle::with_rights(id, store, rights))
    }

    /// The namespaces of `KV` in the store that the entry of kind `kv` names; none if there is no
    /// such entry. The store is opened by the first call that needs it.
    #[must_use]
    pub fn namespaces(&self) -> Option<Namespaces> {
        let store = self.config().kv()?.store().clone();
        let engine = self.clone();
        let backend = BoundStore::acquiring(move || {
            let (engine, store) = (engine.clone(), store.clone());
            Box::pin(async move { engine.store(store.as_str()).await })
        });
        Some(Namespaces::new(backend, Arc::new(WallClock::new())))
    }

    /// Ends background work and closes databases; any number of times. A handle that is still held
    /// then answers as its store does once that is closed.
    pub async fn close(&self) {
        let mut is_closed = self.inner.is_closed.write().await;
        if std::mem::replace(&mut *is_closed, true) {
            return;
        }
        for store in self.inner.stores.values().filter_map(OnceCell::get) {
            store.close().await;
        }
        #[cfg(feature = "sql")]
        for database in self.inner.databases.values() {
            database.close().await;
        }
        #[cfg(feature = "node")]
        if let Some(node) = self.inner.node.get() {
            node.close().await;
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The node of the cluster that the configuration enables, opened now if it was not before.
    ///
    /// # Errors
    /// `INVALID` if no cluster is enabled; what opening the node reports; `UNAVAILABLE` after
    /// [`Plimsoll::close`].
    #[cfg(feature = "node")]
    pub async fn node(&self) -> Result<&OpenNode> {
        let Some(cluster) = self.config().cluster() else {
            return Err(Error::invalid(
                "no cluster is enabled; write cluster.enabled: true in the configuration",
            )
            .with_detail("field", "cluster.enabled"));
        };
        let is_closed = self.inner.is_closed.read().await;
        if *is_closed {
            return Err(Error::unavailable("the engine is closed").with_retryable(false));
        }
        self.inner.node.get_or_try_init(|| OpenNode::open(cluster)).await
    }

    /// The ids of the stores that the actor may acquire, in order.
    pub fn store_ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.inner.stores.keys().map(EntryId::as_str);
        ids.filter(|id| self.rights(id).allow(Permission::Get, Subject::Whole))
    }

    fn rights(&self, id: &str) -> Rights {
        self.inner.policies.rights(&self.actor, id)
    }

    /// Suggests only what the actor may acquire.
    fn unknown_store(&self, id: &str) -> Error {
        let near = did_you_mean(id, self.store_ids());
        Error::not_found(format!("the configuration has no store {id:?}{near}"))
    }
}

impl Inner {
    /// Opens an entry, whatever its kind.
    async fn start(&self, entry: &RegistryEntry) -> Result<()> {
        if let EntryKind::Policy(_) = entry.kind() {
            // It holds from the start, with or without being told.
            return Ok(());
        }
        #[cfg(feature = "sql")]
        if let Some(database) = self.databases.get(entry.id()) {
            return database.check().await.map_err(|error| in_entry(entry, error));
        }
        let store = match entry.kind() {
            EntryKind::Kv(kv) => self.config.entry(kv.store().as_str()).unwrap_or(entry),
            _ => entry,
        };
        self.store(store).await.map(|_| ())
    }

    /// The store of an entry, opened now if it was not before.
    async fn store(&self, entry: &RegistryEntry) -> Result<Arc<dyn Store>> {
        let cell = self.stores.get(entry.id()).ok_or_else(|| no_store(entry))?;
        let store = cell.get_or_try_init(|| self.open_store(entry)).await;
        store.cloned().map_err(|error| in_entry(entry, error))
    }

    async fn open_store(&self, entry: &RegistryEntry) -> Result<Arc<dyn Store>> {
        match entry.kind() {
            EntryKind::MemoryStore(options) => Ok(MemoryStore::open(*options)),
            #[cfg(feature = "sql")]
            EntryKind::SqlStore(sql) => {
                let database = &self.databases[sql.database()];
                if sql.options().create_table {
                    self.make_folder(sql.database()).await?;
                }
                Ok(SqlStore::open(database.clone(), sql.options().clone()).await?)
            }
            EntryKind::RaftStore(_) | EntryKind::CrdtStore(_) => self.open_view(entry).await,
            EntryKind::Policy(_) => Err(no_store(entry)),
            #[cfg(feature = "sql")]
            EntryKind::SqliteDatabase(_) => Err(no_store(entry)),
            #[cfg(feature = "postgres")]
            EntryKind::PostgresDatabase(_) => Err(no_store(entry)),
            EntryKind::Kv(_) => Err(no_store(entry)),
        }
    }

    /// A view on an engine of the node, which is opened by the first one.
    #[cfg(feature = "node")]
    async fn open_view(&self, entry: &RegistryEntry) -> Result<Arc<dyn Store>> {
        let Some(cluster) = self.config.cluster() else { return Err(no_cluster(entry)) };
        let node = self.node.get_or_try_init(|| OpenNode::open(cluster)).await?;
        let session = node.session();
        match entry.kind() {
            EntryKind::RaftStore(RaftStoreOptions { keyspace }) => {
                Ok(Arc::new(RaftStore::new(Arc::clone(session), keyspace.clone())))
            }
            EntryKind::CrdtStore(CrdtStoreOptions { keyspace, durable }) => {
                let access = session.access().clone();
                let store = CrdtStore::new(access, keyspace.clone(), *durable);
                // Others may be away for any time: who waits for them is told so by each call.
                if cluster.membership.socket_addr().is_none() {
                    store.until_joined(ALONE_WAIT).await;
                }
                Ok(Arc::new(store))
            }
            _ => Err(no_store(entry)),
        }
    }

    #[cfg(not(feature = "node"))]
    #[expect(clippy::unused_async, reason = "with a node it opens that one")]
    async fn open_view(&self, entry: &RegistryEntry) -> Result<Arc<dyn Store>> {
        if self.config.cluster().is_none() {
            return Err(no_cluster(entry));
        }
        let kind = entry.kind().name();
        let message =
            format!("this build has no node, which a {kind} needs; use another kind of store");
        Err(Error::unavailable(message).with_retryable(false))
    }

    /// Makes the folder of a database file that is about to be made, if only that one is missing: a
    /// path with a slip in it must not leave a tree of folders behind.
    #[cfg(feature = "sql")]
    async fn make_folder(&self, database: &EntryId) -> Result<()> {
        let Some(entry) = self.config.entry(database.as_str()) else {
            return Ok(());
        };
        let EntryKind::SqliteDatabase(SqliteOptions { file: SqliteFile::Path(file), .. }) =
            entry.kind()
        else {
            return Ok(());
        };
        let file = file.clone();
        let made = tokio::task::spawn_blocking(move || make_folder_of(&file));
        let made = made.await.expect("making a folder does not panic");
        made.map_err(|error| in_entry(entry, error))
    }
}

fn policies(config: &Config) -> Policies {
    let policy = |entry: &RegistryEntry| match entry.kind() {
        EntryKind::Policy(policy) => Some(policy.clone()),
        _ => None,
    };
    config.entries().iter().filter_map(policy).collect()
}

/// A cell for each store.
fn cells(config: &Config) -> BTreeMap<EntryId, OnceCell<Arc<dyn Store>>> {
    let stores = config.entries().iter().filter(|entry| entry.kind().is_store());
    stores.map(|entry| (entry.id().clone(), OnceCell::new())).collect()
}

#[cfg(feature = "sql")]
fn databases(config: &Config) -> BTreeMap<EntryId, Database> {
    let database = |entry: &RegistryEntry| match entry.kind() {
        EntryKind::SqliteDatabase(options) => {
            Some(Database::from(SqliteDatabase::open(options.clone())))
        }
        #[cfg(feature = "postgres")]
        EntryKind::PostgresDatabase(options) => {
            Some(Database::from(PostgresDatabase::open(options.clone())))
        }
        EntryKind::MemoryStore(_)
        | EntryKind::Policy(_)
        | EntryKind::SqlStore(_)
        | EntryKind::Kv(_)
        | EntryKind::RaftStore(_)
        | EntryKind::CrdtStore(_) => None,
    };
    let entries = config.entries().iter();
    entries.filter_map(|entry| Some((entry.id().clone(), database(entry)?))).collect()
}

#[cfg(feature = "sql")]
fn make_folder_of(file: &Path) -> Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.is_dir()) else {
        return Ok(());
    };
    match std::fs::create_dir(folder) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::invalid(format!(
            "file: the folder {} can't be made: {error}; make it, or correct the path",
            folder.display()
        ))
        .with_detail("field", "file")),
        Ok(()) => Ok(()),
    }
}

fn no_store(entry: &RegistryEntry) -> Error {
    let (id, kind) = (entry.id(), entry.kind().name());
    let remedy = match entry.kind() {
        EntryKind::Policy(_) => "name a store",
        _ => "name a store that uses it",
    };
    Error::invalid(format!("{id} is a {kind}, not a store; {remedy}"))
}

fn no_cluster(entry: &RegistryEntry) -> Error {
    let kind = entry.kind().name();
    Error::invalid(format!(
        "a {kind} needs a cluster, be it of one node, and none is enabled; write cluster.enabled: true \
         in the configuration"
    ))
    .with_detail("field", "cluster.enabled")
}

/// Says which entry could not be opened, and where it stands.
fn in_entry(entry: &RegistryEntry, error: Error) -> Error {
    error.context(format!("{} ({})", entry.id(), entry.location()))
}

/// Whether an opening may succeed later without a change of the configuration.
fn is_merely_down(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// How long a node that is alone may take until its replicas serve.
#[cfg(feature = "node")]
const ALONE_WAIT: Duration = Duration::from_secs(5);

impl fmt::Debug for Plimsoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.config().entries().iter().map(RegistryEntry::id)).finish()
    }
}
