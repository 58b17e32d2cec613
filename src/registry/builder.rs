//! A configuration made in Rust, entry by entry.
//!
//! The builder writes each entry as the nodes that a text would have and gives them to the reader of
//! texts. So a configuration means the same, and a problem is told in the same words, whichever way
//! it was made; the place of an entry is that of the call that added it.
//!
//! No variables here: `${env:NAME}` in a string means itself.

use std::cell::RefCell;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cluster::{self, ClusterOptions};
use super::config::{Config, LoadOptions};
use super::crdt_store::{self, CrdtStoreOptions};
use super::entry::{self, Parsed};
use super::entry_id::{self, EntryId};
use super::environment::Environment;
use super::fields::{Context, Fields};
use super::kv;
use super::nodes::Nodes;
use super::policy;
#[cfg(feature = "postgres")]
use super::postgres;
use super::problem::{FieldPath, Origin, Problem};
use super::raft_store::{self, RaftStoreOptions};
use super::source;
#[cfg(feature = "sql")]
use super::sql;
use super::suggest::did_you_mean;
use crate::error::Result;
use crate::policy::Policy;
#[cfg(feature = "postgres")]
use crate::sql::PostgresOptions;
#[cfg(feature = "sql")]
use crate::sql::SqliteOptions;
use crate::store::MemoryOptions;
#[cfg(feature = "sql")]
use crate::store::SqlOptions;

/// A configuration that is being made; [`Config::builder`] starts one. Ids are written as
/// `namespace:name`. Nothing is checked before [`ConfigBuilder::build`].
///
/// ```
/// # #[cfg(feature = "sql")] {
/// use plimsoll::Config;
/// use plimsoll::sql::{Identifier, SqliteFile, SqliteOptions};
/// use plimsoll::store::{MemoryOptions, SqlOptions};
///
/// let table = SqlOptions { create_table: true, ..SqlOptions::new(Identifier::new("records")?) };
/// let config = Config::builder()
///     .folder("/srv/app")
///     .memory("app:cache", MemoryOptions { max_size: 1_000, ..Default::default() })
///     .sqlite("app:database", SqliteOptions::new(SqliteFile::Path("records.db".into())))
///     .sql_store("app:records", "app:database", table)
///     .auto_start("app:records")
///     .build()?;
/// assert_eq!(config.entries().len(), 3);
///
/// let wrong = Config::builder().kv("app:kv", "app:cash").build().unwrap_err();
/// assert!(wrong.message().ends_with("entries[0].store: there is no entry app:cash (it has to be a store)"));
/// # }
/// # Ok::<(), plimsoll::error::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing before build"]
pub struct ConfigBuilder {
    folder: PathBuf,
    entries: Vec<Addition>,
    clusters: Vec<(ClusterOptions, Place)>,
    auto_starts: Vec<(String, Place)>,
}

/// Where a method of the builder was called.
type Place = &'static Location<'static>;

/// An entry as it was added.
#[derive(Clone, Debug)]
struct Addition {
    id: String,
    kind: Kind,
    place: Place,
}

#[derive(Clone, Debug)]
enum Kind {
    Memory(MemoryOptions),
    Policy(Policy),
    Kv {
        store: String,
    },
    RaftStore(RaftStoreOptions),
    CrdtStore(CrdtStoreOptions),
    #[cfg(feature = "sql")]
    Sqlite(SqliteOptions),
    #[cfg(feature = "sql")]
    SqlStore {
        database: String,
        options: SqlOptions,
    },
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresOptions>),
}

impl ConfigBuilder {
    pub(super) fn new() -> Self {
        let (entries, clusters, auto_starts) = (Vec::new(), Vec::new(), Vec::new());
        Self { folder: PathBuf::new(), entries, clusters, auto_starts }
    }

    /// From where relative paths resolve; without it, from the working directory.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        folder.as_ref().clone_into(&mut self.folder);
        self
    }

    /// Makes the engine a node of a cluster, as the section `cluster` with `enabled: true`.
    #[track_caller]
    pub fn cluster(mut self, options: ClusterOptions) -> Self {
        self.clusters.push((options, Location::caller()));
        self
    }

    /// Adds a `store.memory`.
    #[track_caller]
    pub fn memory(self, id: &str, options: MemoryOptions) -> Self {
        self.add(id, Kind::Memory(options))
    }

    /// Adds a `db.sql.sqlite`.
    #[cfg(feature = "sql")]
    #[track_caller]
    pub fn sqlite(self, id: &str, options: SqliteOptions) -> Self {
        self.add(id, Kind::Sqlite(options))
    }

    /// Adds a `db.sql.postgres`.
    #[cfg(feature = "postgres")]
    #[track_caller]
    pub fn postgres(self, id: &str, options: PostgresOptions) -> Self {
        self.add(id, Kind::Postgres(Box::new(options)))
    }

    /// Adds a `store.sql` in a database, which is an entry too.
    #[cfg(feature = "sql")]
    #[track_caller]
    pub fn sql_store(self, id: &str, database: &str, options: SqlOptions) -> Self {
        self.add(id, Kind::SqlStore { database: database.to_owned(), options })
    }

    /// Adds a `store.kv.raft`, which needs [`ConfigBuilder::cluster`] before it is used.
    #[track_caller]
    pub fn raft_store(self, id: &str, options: RaftStoreOptions) -> Self {
        self.add(id, Kind::RaftStore(options))
    }

    /// Adds a `store.kv.crdt`, which needs [`ConfigBuilder::cluster`] before it is used.
    #[track_caller]
    pub fn crdt_store(self, id: &str, options: CrdtStoreOptions) -> Self {
        self.add(id, Kind::CrdtStore(options))
    }

    /// Adds a `kv`: the namespaces of `KV` are kept in this store, which is an entry too.
    #[track_caller]
    pub fn kv(self, id: &str, store: &str) -> Self {
        self.add(id, Kind::Kv { store: store.to_owned() })
    }

    /// Adds a `security.policy`. With the first one, what no policy allows is denied.
    #[track_caller]
    pub fn policy(self, id: &str, policy: Policy) -> Self {
        self.add(id, Kind::Policy(policy))
    }

    /// Opens an entry of this configuration at start, and not only when it is first used.
    #[track_caller]
    pub fn auto_start(mut self, id: &str) -> Self {
        self.auto_starts.push((id.to_owned(), Location::caller()));
        self
    }

    /// Checks the entries, as those of a text are checked.
    ///
    /// # Errors
    /// `INVALID` with every problem, as [`Config::load`]; the place is that of the call which added
    /// the entry.
    pub fn build(self) -> Result<Config> {
        let (mut config, mut problems) = (Config::default(), Vec::new());
        let folder = source::absolute(&self.folder);
        for (index, addition) in self.entries.iter().enumerate() {
            let path = FieldPath::default().field("entries").item(index);
            let is_started = self.auto_starts.iter().any(|(id, _)| *id == addition.id);
            config.add(addition.read(&folder, path, is_started, &mut problems));
        }
        for (options, place) in &self.clusters {
            read_cluster(&mut config, options, place, &folder, &mut problems);
        }
        problems.extend(self.auto_starts.iter().filter_map(|(id, place)| self.check(id, place)));
        config.checked(problems)
    }

    #[track_caller]
    fn add(mut self, id: &str, kind: Kind) -> Self {
        self.entries.push(Addition { id: id.to_owned(), kind, place: Location::caller() });
        self
    }

    /// What is wrong with an id that is to be opened at start.
    fn check(&self, id: &str, place: Place) -> Option<Problem> {
        let mut ids = self.entries.iter().map(|addition| addition.id.as_str());
        if ids.any(|known| known == id) {
            return None;
        }
        let near = did_you_mean(id, self.entries.iter().map(|addition| addition.id.as_str()));
        let path = FieldPath::default().field("auto_start");
        Some(Problem::new(origin(place, path), format!("there is no entry {id}{near}")))
    }
}

impl Addition {
    /// Reads the entry as if it stood in a text; none if something was reported.
    fn read(
        &self,
        folder: &Path,
        path: FieldPath,
        is_started: bool,
        problems: &mut Vec<Problem>,
    ) -> Option<Parsed> {
        let origin = origin(self.place, path.clone());
        let context = context(&origin.file);
        let report = |field, error| {
            context.report(&Origin { path: path.field(field), ..origin.clone() }, error);
        };
        let (namespace, name) = match self.id.split_once(':') {
            Some((namespace, name)) => match entry_id::check_part("namespace", namespace) {
                Ok(()) => (Some(namespace), name),
                Err(error) => {
                    report("namespace", error);
                    (None, name)
                }
            },
            None => {
                EntryId::parse(&self.id).map_or_else(|error| report("id", error), drop);
                (None, "unnamed")
            }
        };
        let nodes = self.nodes(name, is_started);
        report_refusals(&nodes, &origin, &context);
        let node = nodes.finish();
        let fields = Fields::new(&context, &node, path).expect("the node is a mapping");
        let parsed = entry::read(fields, namespace, folder, &LoadOptions::default());
        problems.extend(context.problems.into_inner());
        parsed.map(|parsed| self.with_clock(parsed))
    }

    fn nodes(&self, name: &str, is_started: bool) -> Nodes {
        let mut nodes = Nodes::new(self.place.into());
        nodes.text("name", name);
        nodes.text("kind", self.kind.name());
        let mut lifecycle = nodes.nested();
        lifecycle.plain("auto_start", is_started);
        nodes.mapping("lifecycle", lifecycle);
        self.kind.write(&mut nodes);
        nodes
    }

    fn with_clock(&self, parsed: Parsed) -> Parsed {
        match (parsed, &self.kind) {
            #[cfg(feature = "sql")]
            (Parsed::Entry(mut entry), Kind::SqlStore { options, .. }) => {
                entry.set_clock(options.clock.clone());
                Parsed::Entry(entry)
            }
            (parsed, _) => parsed,
        }
    }
}

impl Kind {
    const fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => entry::STORE_MEMORY,
            Self::Policy(_) => entry::SECURITY_POLICY,
            Self::Kv { .. } => entry::KV,
            Self::RaftStore(_) => entry::STORE_KV_RAFT,
            Self::CrdtStore(_) => entry::STORE_KV_CRDT,
            #[cfg(feature = "sql")]
            Self::Sqlite(_) => entry::DB_SQL_SQLITE,
            #[cfg(feature = "sql")]
            Self::SqlStore { .. } => entry::STORE_SQL,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => entry::DB_SQL_POSTGRES,
        }
    }

    fn write(&self, nodes: &mut Nodes) {
        match self {
            Self::Memory(options) => entry::write_memory(options, nodes),
            Self::Policy(policy) => policy::write(policy, nodes),
            Self::Kv { store } => kv::write(store, nodes),
            Self::RaftStore(options) => raft_store::write(options, nodes),
            Self::CrdtStore(options) => crdt_store::write(options, nodes),
            #[cfg(feature = "sql")]
            Self::Sqlite(options) => sql::write_sqlite(options, nodes),
            #[cfg(feature = "sql")]
            Self::SqlStore { database, options } => sql::write_store(database, options, nodes),
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => postgres::write(options, nodes),
        }
    }
}

/// Reads the options of a cluster as if they stood in a text.
fn read_cluster(
    config: &mut Config,
    options: &ClusterOptions,
    place: Place,
    folder: &Path,
    problems: &mut Vec<Problem>,
) {
    let path = FieldPath::default().field("cluster");
    let origin = origin(place, path.clone());
    let context = context(&origin.file);
    let mut nodes = Nodes::new(place.into());
    cluster::write(options, &mut nodes);
    report_refusals(&nodes, &origin, &context);
    let node = nodes.finish();
    let fields = Fields::new(&context, &node, path).expect("the node is a mapping");
    config.read_cluster(fields, folder, &Environment::default());
    problems.extend(context.problems.into_inner());
}

/// Without an environment: text means itself.
fn context(file: &Arc<str>) -> Context<'_> {
    Context { file, environment: None, problems: RefCell::default() }
}

/// Reports what no text could say.
fn report_refusals(nodes: &Nodes, origin: &Origin, context: &Context<'_>) {
    for (field, why) in nodes.refusals() {
        let path = field.split('.').fold(origin.path.clone(), |path, name| path.field(name));
        context.report(&Origin { path, ..origin.clone() }, *why);
    }
}

fn origin(place: Place, path: FieldPath) -> Origin {
    let file: Arc<str> = place.file().into();
    Origin { file, position: Some(place.into()), path }
}
