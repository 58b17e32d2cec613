//! `store.sql`: a view on a table of an SQL database, which other programs may share.
//!
//! What the table holds and how it is read and written is [`crate::sql`]'s matter. Here are the
//! store's own rules: a database that is down when the store opens leaves it to its first calls to
//! find the table; there are no versions, conditions, transactions or watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Backend, Consistency, Info, Store, Watch, WatchQuery};
use crate::entry::{
    Condition, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version,
};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Rights;
use crate::sql::{Database, Identifier, SqlClock, Table, TableNames, TableOptions};
use crate::value::Value;

/// Options of an SQL store.
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// The table.
    pub table: Identifier,
    /// The column of keys.
    pub key_column: Identifier,
    /// The column of values.
    pub payload_column: Identifier,
    /// The column of deadlines.
    pub expire_column: Identifier,
    /// How often expired rows are deleted; none or 0 means never.
    pub cleanup_interval: Option<Duration>,
    /// Whether a table that is missing is made.
    pub create_table: bool,
    /// Whose clock decides which rows have expired.
    pub clock: SqlClock,
}

impl SqlOptions {
    /// The defaults for a table: columns `key`, `value` and `expires_at`, no sweeping, no making
    /// of tables, the clock of the server.
    ///
    /// # Panics
    /// Never: the names of the columns are valid.
    #[must_use]
    pub fn new(table: Identifier) -> Self {
        let column = |name| Identifier::new(name).expect("a valid name");
        Self {
            table,
            key_column: column("key"),
            payload_column: column("value"),
            expire_column: column("expires_at"),
            cleanup_interval: None,
            create_table: false,
            clock: SqlClock::Server,
        }
    }
}

/// A store in a table of a database.
pub struct SqlStore {
    database: Database,
    options: TableOptions,
    table: OnceLock<Table>,
    /// How many attempts to open the table have ended.
    attempts: AtomicU64,
    /// Held during an attempt; the error of the last one.
    opening: Mutex<Option<Error>>,
}

impl SqlStore {
    /// Opens a store.
    ///
    /// # Errors
    /// `INVALID`, naming the field, if the table is missing or can't serve; `INTERNAL` if the
    /// database is damaged. A database that is down (`UNAVAILABLE`) is none: the calls say so.
    pub async fn open(database: impl Into<Database>, options: SqlOptions) -> Result<Arc<Self>> {
        let names = TableNames {
            table: options.table,
            key: options.key_column,
            payload: options.payload_column,
            expire: options.expire_column,
        };
        let store = Self {
            database: database.into(),
            options: TableOptions {
                names,
                cleanup_interval: options.cleanup_interval,
                create_table: options.create_table,
                clock: options.clock,
            },
            table: OnceLock::new(),
            attempts: AtomicU64::new(0),
            opening: Mutex::new(None),
        };
        match store.table().await {
            Err(error) if error.kind() != ErrorKind::Unavailable => Err(error),
            Ok(_) | Err(_) => Ok(Arc::new(store)),
        }
    }

    /// The table, opened if it is not yet. Callers that waited for an attempt share its error, so
    /// that a database that is down costs each of them one wait, not one after another.
    async fn table(&self) -> Result<&Table> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let attempts_before = self.attempts.load(Ordering::Acquire);
        let mut last_error = self.opening.lock().await;
        if self.table.get().is_none() {
            if self.attempts.load(Ordering::Acquire) != attempts_before
                && let Some(error) = &*last_error
            {
                return Err(error.clone());
            }
            let opened = self.database.open_table(&self.options).await;
            self.attempts.fetch_add(1, Ordering::AcqRel);
            match opened {
                Ok(table) => drop(self.table.set(table)),
                Err(error) => {
                    *last_error = Some(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(self.table.get().expect("set above, or by whoever held the lock before"))
    }
}

#[async_trait]
impl Store for SqlStore {
    fn info(&self) -> Info {
        Info {
            id: String::new(),
            backend: Backend::Sql,
            consistency: Consistency::Local,
            durable: self.database.is_durable(),
            list: true,
            versioned: false,
            conditional_put: false,
            ttl: true,
            transact: false,
            watch: false,
            synchronous: self.database.weaker_synchronous(),
        }
    }

    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        self.table().await?.entry(key).await
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        self.table().await?.has(key).await
    }

    async fn put(&self, key: Key, value: Value, options: PutOptions) -> Result<Entry> {
        if options.condition != Condition::None {
            return Err(unsupported("conditional writes"));
        }
        let expires_at = self.table().await?.upsert(&key, &value, options.ttl).await?;
        Ok(Entry { key, value, version: Version::Unversioned, expires_at })
    }

    async fn delete(&self, key: &Key, if_version: Option<Version>) -> Result<bool> {
        if if_version.is_some() {
            return Err(unsupported("conditional writes"));
        }
        self.table().await?.delete(key).await
    }

    async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        self.table().await?.list(query, rights).await
    }

    async fn transact(&self, _: &[Operation]) -> Result<Vec<OperationResult>> {
        Err(unsupported("transactions"))
    }

    async fn watch(&self, _: &WatchQuery, _: &Rights) -> Result<Watch> {
        Err(unsupported("watches"))
    }

    /// Ends the sweeping. The database stays open for its other stores.
    async fn close(&self) {
        if let Some(table) = self.table.get() {
            table.stop_sweeping();
        }
    }
}

fn unsupported(what: &str) -> Error {
    Error::invalid(format!("store.sql has no {what}"))
}
