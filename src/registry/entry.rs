//! Registry entries: an id, a kind with its options, and where they stand.
//!
//! To add a kind: a variant of [`EntryKind`], a function that reads its fields, one that writes them,
//! and a line in [`read_kind`]; what it refers to goes into `RegistryEntry::reference`, and the
//! builder gets a method.

use std::path::Path;

use super::config::LoadOptions;
use super::crdt_store::{self, CrdtStoreOptions};
use super::entry_id::{self, EntryId};
use super::fields::{Fields, Given};
use super::kv::{self, KvEntry};
use super::nodes::Nodes;
use super::policy;
#[cfg(feature = "postgres")]
use super::postgres;
use super::problem::{Origin, Refusal};
use super::raft_store::{self, RaftStoreOptions};
use super::references::Reference;
#[cfg(feature = "sql")]
use super::sql::{self, SqlStoreEntry};
use super::suggest::did_you_mean;
use crate::policy::Policy;
#[cfg(feature = "postgres")]
use crate::sql::PostgresOptions;
#[cfg(feature = "sql")]
use crate::sql::{SqlClock, SqliteOptions};
use crate::store::MemoryOptions;

/// An entry of a configuration, checked.
#[derive(Clone, Debug)]
pub struct RegistryEntry {
    id: EntryId,
    kind: EntryKind,
    auto_start: bool,
    origin: Origin,
}

/// What an entry is, with its options.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EntryKind {
    /// `store.memory`.
    MemoryStore(MemoryOptions),
    /// `security.policy`.
    Policy(Policy),
    /// `store.sql`.
    #[cfg(feature = "sql")]
    SqlStore(SqlStoreEntry),
    /// `db.sql.sqlite`.
    #[cfg(feature = "sql")]
    SqliteDatabase(SqliteOptions),
    /// `db.sql.postgres`.
    #[cfg(feature = "postgres")]
    PostgresDatabase(PostgresOptions),
    /// `kv`.
    Kv(KvEntry),
    /// `store.kv.raft`.
    RaftStore(RaftStoreOptions),
    /// `store.kv.crdt`.
    CrdtStore(CrdtStoreOptions),
}

impl EntryKind {
    /// The kind as a configuration writes it, such as `store.memory`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MemoryStore(_) => STORE_MEMORY,
            Self::Policy(_) => SECURITY_POLICY,
            #[cfg(feature = "sql")]
            Self::SqlStore(_) => STORE_SQL,
            #[cfg(feature = "sql")]
            Self::SqliteDatabase(_) => DB_SQL_SQLITE,
            #[cfg(feature = "postgres")]
            Self::PostgresDatabase(_) => DB_SQL_POSTGRES,
            Self::Kv(_) => KV,
            Self::RaftStore(_) => STORE_KV_RAFT,
            Self::CrdtStore(_) => STORE_KV_CRDT,
        }
    }

    /// Whether the entry is a store: no database behind one, no policy.
    #[must_use]
    pub const fn is_store(&self) -> bool {
        match self {
            Self::MemoryStore(_) | Self::RaftStore(_) | Self::CrdtStore(_) => true,
            Self::Policy(_) => false,
            #[cfg(feature = "sql")]
            Self::SqlStore(_) => true,
            #[cfg(feature = "sql")]
            Self::SqliteDatabase(_) => false,
            #[cfg(feature = "postgres")]
            Self::PostgresDatabase(_) => false,
            Self::Kv(_) => false,
        }
    }

    /// Whether the entry is a database with tables of stores.
    #[cfg(feature = "sql")]
    #[must_use]
    pub const fn is_database(&self) -> bool {
        match self {
            Self::SqliteDatabase(_) => true,
            #[cfg(feature = "postgres")]
            Self::PostgresDatabase(_) => true,
            Self::MemoryStore(_)
            | Self::Policy(_)
            | Self::SqlStore(_)
            | Self::Kv(_)
            | Self::RaftStore(_)
            | Self::CrdtStore(_) => false,
        }
    }
}

impl RegistryEntry {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// The kind with its options.
    #[must_use]
    pub fn kind(&self) -> &EntryKind {
        &self.kind
    }

    /// Whether the entry is opened at start, and not only when it is first used.
    #[must_use]
    pub fn auto_start(&self) -> bool {
        self.auto_start
    }

    /// Where the entry stands: `file:line:column`.
    #[must_use]
    pub fn location(&self) -> String {
        self.origin.to_string()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Gives a `store.sql` a clock, which no text can name.
    #[cfg(feature = "sql")]
    pub(super) fn set_clock(&mut self, clock: SqlClock) {
        if let EntryKind::SqlStore(store) = &mut self.kind {
            store.set_clock(clock);
        }
    }

    /// The entry that this one needs.
    pub(super) fn reference(&self) -> Option<&Reference> {
        match &self.kind {
            #[cfg(feature = "sql")]
            EntryKind::SqlStore(entry) => Some(entry.reference()),
            #[cfg(feature = "sql")]
            EntryKind::SqliteDatabase(_) => None,
            #[cfg(feature = "postgres")]
            EntryKind::PostgresDatabase(_) => None,
            EntryKind::MemoryStore(_)
            | EntryKind::Policy(_)
            | EntryKind::RaftStore(_)
            | EntryKind::CrdtStore(_) => None,
            EntryKind::Kv(entry) => Some(entry.reference()),
        }
    }
}

/// An entry of a foreign kind that was left out.
#[derive(Clone, Debug)]
pub struct SkippedEntry {
    id: String,
    kind: String,
    origin: Origin,
}

impl SkippedEntry {
    /// The id, which may have another form than those of entries that are read.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The foreign kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where the entry stands: `file:line:column`.
    #[must_use]
    pub fn location(&self) -> String {
        self.origin.to_string()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// What became of an entry.
pub(super) enum Parsed {
    Entry(RegistryEntry),
    Skipped(SkippedEntry),
}

/// Reads an entry; none if something was reported. A namespace of none was reported already.
pub(super) fn read(
    mut fields: Fields<'_>,
    namespace: Option<&str>,
    folder: &Path,
    options: &LoadOptions,
) -> Option<Parsed> {
    let origin = fields.origin().clone();
    let name = fields.required("name", "cache", text_and_origin);
    let kind = fields.required("kind", STORE_MEMORY, text_and_origin);
    let is_foreign = kind.as_ref().is_some_and(|(kind, _)| !KINDS.contains(&kind.as_str()));
    if is_foreign && options.skip_foreign_kinds {
        // Other programs have other rules for names.
        let id = format!("{}:{}", namespace?, name?.0);
        return Some(Parsed::Skipped(SkippedEntry { id, kind: kind?.0, origin }));
    }
    let name = name.and_then(|(name, origin)| {
        let checked = entry_id::check_part("name", &name);
        checked.map_err(|error| fields.report(&origin, error)).ok().map(|()| name)
    });
    fields.optional("meta", |given| given.mapping());
    let auto_start = fields.optional_mapping("lifecycle").and_then(|mut lifecycle| {
        let auto_start = lifecycle.optional("auto_start", |given| given.boolean());
        lifecycle.finish();
        auto_start
    });
    let (kind, kind_origin) = kind?;
    let kind = read_kind(fields, &kind, &kind_origin, folder);
    let id = EntryId::new(namespace?, &name?).expect("both parts were checked");
    Some(Parsed::Entry(RegistryEntry {
        id,
        kind: kind?,
        auto_start: auto_start.unwrap_or(false),
        origin,
    }))
}

fn text_and_origin(given: &Given<'_>) -> Result<(String, Origin), Refusal> {
    Ok((given.text()?.to_owned(), given.origin.clone()))
}

/// Reads the fields of a kind; none if something was reported.
#[cfg_attr(not(feature = "sql"), expect(unused_variables, reason = "only databases have paths"))]
fn read_kind(
    mut fields: Fields<'_>,
    kind: &str,
    kind_origin: &Origin,
    folder: &Path,
) -> Option<EntryKind> {
    let parsed = match kind {
        STORE_MEMORY => Some(EntryKind::MemoryStore(memory_store(&mut fields))),
        SECURITY_POLICY => policy::read(&mut fields).map(EntryKind::Policy),
        #[cfg(feature = "sql")]
        STORE_SQL => sql::read_store(&mut fields).map(EntryKind::SqlStore),
        #[cfg(feature = "sql")]
        DB_SQL_SQLITE => sql::read_sqlite(&mut fields, folder).map(EntryKind::SqliteDatabase),
        #[cfg(feature = "postgres")]
        DB_SQL_POSTGRES => postgres::read(&mut fields, folder).map(EntryKind::PostgresDatabase),
        KV => kv::read(&mut fields).map(EntryKind::Kv),
        STORE_KV_RAFT => raft_store::read(&mut fields).map(EntryKind::RaftStore),
        STORE_KV_CRDT => crdt_store::read(&mut fields).map(EntryKind::CrdtStore),
        _ => {
            // The fields of a kind that is not read mean nothing here.
            fields.report(kind_origin, refused_kind(kind));
            return None;
        }
    };
    fields.finish();
    parsed
}

/// The fields of a `store.memory`.
pub(super) fn write_memory(options: &MemoryOptions, nodes: &mut Nodes) {
    nodes.plain("max_size", options.max_size);
    nodes.interval("cleanup_interval", options.cleanup_interval);
}

fn memory_store(fields: &mut Fields<'_>) -> MemoryOptions {
    let default = MemoryOptions::default();
    MemoryOptions {
        max_size: fields.optional("max_size", |given| given.count()).unwrap_or(default.max_size),
        cleanup_interval: fields
            .optional("cleanup_interval", |given| given.interval())
            .unwrap_or(default.cleanup_interval),
    }
}

fn refused_kind(kind: &str) -> String {
    let built = BUILT_KINDS.join(", ");
    if cfg!(not(feature = "sql")) && [STORE_SQL, DB_SQL_SQLITE].contains(&kind) {
        return format!(
            "{kind} needs the feature sql, which this build lacks; add it to the build"
        );
    }
    if cfg!(not(feature = "postgres")) && kind == DB_SQL_POSTGRES {
        return format!(
            "{kind} needs the feature postgres, which this build lacks; add it to the build"
        );
    }
    let near = did_you_mean(kind, KINDS);
    format!(
        "{kind:?} is no kind of entry{near} (known are {built}); --skip-foreign-kinds leaves out \
         the entries of other programs"
    )
}

pub(super) const STORE_MEMORY: &str = "store.memory";
pub(super) const SECURITY_POLICY: &str = "security.policy";
pub(super) const STORE_SQL: &str = "store.sql";
pub(super) const STORE_KV_RAFT: &str = "store.kv.raft";
pub(super) const STORE_KV_CRDT: &str = "store.kv.crdt";
pub(super) const DB_SQL_SQLITE: &str = "db.sql.sqlite";
pub(super) const DB_SQL_POSTGRES: &str = "db.sql.postgres";
pub(super) const KV: &str = "kv";

/// The kinds that this build can open.
const BUILT_KINDS: &[&str] = if cfg!(feature = "postgres") {
    &KINDS
} else if cfg!(feature = "sql") {
    &[STORE_MEMORY, STORE_SQL, STORE_KV_RAFT, STORE_KV_CRDT, DB_SQL_SQLITE, KV, SECURITY_POLICY]
} else {
    &[STORE_MEMORY, STORE_KV_RAFT, STORE_KV_CRDT, KV, SECURITY_POLICY]
};

/// The kinds that are ours: they are never skipped as foreign.
const KINDS: [&str; 8] = [
    STORE_MEMORY,
    STORE_SQL,
    STORE_KV_RAFT,
    STORE_KV_CRDT,
    DB_SQL_SQLITE,
    DB_SQL_POSTGRES,
    KV,
    SECURITY_POLICY,
];
