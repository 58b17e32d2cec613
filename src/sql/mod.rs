//! Stores in tables of SQL databases.
//!
//! An entry is a row: the key as text, the value as JSON ([`payload`]), the deadline in Unix
//! milliseconds or NULL. The table may be read and written by other programs while the store is
//! open; nothing of it is cached.
//!
//! ```text
//!   store::SqlStore          the Store trait: keys, limits, what the kind does not support
//!         |
//!   Database -> Table        this module: a closed set of databases, one table of one of them
//!         |
//!   sqlite                   connections, statements, the grouping writer, errors
//! ```
//!
//! What is the same for every database stands beside this module: [`identifier`] (names that are
//! safe in a statement), [`payload`], [`range`] (what a listing asks for, as bounds in text),
//! [`schema`] (whether a table can serve, and the statements that make one).
//!
//! Invariants:
//! 1. A row whose deadline has come is absent for every statement: each compares the deadline with
//!    the time *within* the statement, so that no clock is read before a wait.
//! 2. A write is one statement, applied wholly or not at all, and answered after its commit.
//! 3. Rows that no key can name (NULL, not text, not UTF-8, empty, over a limit) are not entries:
//!    listings skip them, and nothing changes them.
//! 4. A payload that is no value is an error that names the key and the column. `has`, `delete` and
//!    overwriting work on it; a listing that meets it fails, rather than hide data, and goes on
//!    after the key in `details.key`. Of a key that may not be read it tells nothing.
//!
//! No versions, conditions, transactions or watches: another program's write would not keep to
//! them.

pub mod identifier;
pub mod payload;
pub mod range;
pub mod schema;
pub mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, UnixMillis};
use crate::entry::{Entry, Key, ListQuery, Page, Ttl};
use crate::error::Result;
use crate::policy::Rights;
use crate::value::Value;

pub use identifier::Identifier;
pub use schema::TableNames;
pub use sqlite::{SqliteDatabase, SqliteFile, SqliteNamespaces, SqliteOptions, Synchronous};

/// Whose clock decides which rows have expired.
#[derive(Clone, Default)]
pub enum SqlClock {
    /// The database server's, read within each statement.
    #[default]
    Server,
    /// A clock of the process, bound to each statement as it runs; for tests.
    Bound(Arc<dyn Clock>),
}

impl SqlClock {
    /// The time to bind, in Unix milliseconds; none leaves it to the server.
    #[must_use]
    pub fn bound_ms(&self) -> Option<i64> {
        match self {
            Self::Server => None,
            Self::Bound(clock) => Some(i64::try_from(clock.now().0).unwrap_or(i64::MAX)),
        }
    }
}

impl fmt::Debug for SqlClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "Server",
            Self::Bound(_) => "Bound",
        })
    }
}

/// How a store uses its table.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// The names of the table and its columns.
    pub names: TableNames,
    /// How often expired rows are deleted; none or 0 means never.
    pub cleanup_interval: Option<Duration>,
    /// Whether a table that is missing is made.
    pub create_table: bool,
    /// Whose clock decides.
    pub clock: SqlClock,
}

/// A database with tables of stores. Cloning shares it.
#[derive(Clone, Debug)]
pub enum Database {
    /// SQLite, embedded.
    Sqlite(Arc<SqliteDatabase>),
}

impl From<Arc<SqliteDatabase>> for Database {
    fn from(database: Arc<SqliteDatabase>) -> Self {
        Self::Sqlite(database)
    }
}

impl Database {
    /// Opens a table: reads what it is, makes it if asked to, and starts its sweeping.
    ///
    /// # Errors
    /// `INVALID`, naming the field, if the table can't serve; `UNAVAILABLE` if the database is
    /// down; `INTERNAL` if it is corrupt.
    pub async fn open_table(&self, options: &TableOptions) -> Result<Table> {
        match self {
            Self::Sqlite(database) => database.open_table(options).await.map(Table::Sqlite),
        }
    }

    /// Whether an acknowledged write survives a crash of the process and of the machine.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Sqlite(database) => database.is_durable(),
        }
    }

    /// How the database syncs, where that is weaker than the default.
    #[must_use]
    pub fn weaker_synchronous(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(database) => database.weaker_synchronous(),
        }
    }
}

/// A table of a database. Dropping it ends its sweeping.
#[derive(Debug)]
pub enum Table {
    /// In an SQLite database.
    Sqlite(sqlite::SqliteTable),
}

impl Table {
    /// The entry of a key, if it is present.
    ///
    /// # Errors
    /// `INVALID` if the key does not fit the column; `INTERNAL` if the payload is no value.
    pub async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        match self {
            Self::Sqlite(table) => table.entry(key).await,
        }
    }

    /// Whether a key is present.
    ///
    /// # Errors
    /// `INVALID` if the key does not fit the column.
    pub async fn has(&self, key: &Key) -> Result<bool> {
        match self {
            Self::Sqlite(table) => table.has(key).await,
        }
    }

    /// Writes a row, with or without a deadline, whatever was there; answers the deadline.
    ///
    /// # Errors
    /// `INVALID` if the key does not fit the column or the value is over a limit.
    pub async fn upsert(
        &self,
        key: &Key,
        value: &Value,
        ttl: Option<Ttl>,
    ) -> Result<Option<UnixMillis>> {
        match self {
            Self::Sqlite(table) => table.upsert(key, value, ttl).await,
        }
    }

    /// Deletes a row; answers whether the key was present.
    ///
    /// # Errors
    /// `INVALID` if the key does not fit the column.
    pub async fn delete(&self, key: &Key) -> Result<bool> {
        match self {
            Self::Sqlite(table) => table.delete(key).await,
        }
    }

    /// One page of the entries that may be read, as one statement reads it.
    ///
    /// # Errors
    /// `INTERNAL`, with the key in `details.key`, if a payload is no value.
    pub async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        match self {
            Self::Sqlite(table) => table.list(query, rights).await,
        }
    }

    /// Ends the deletion of expired rows, as dropping the table does.
    pub fn stop_sweeping(&self) {
        match self {
            Self::Sqlite(table) => table.stop_sweeping(),
        }
    }
}
