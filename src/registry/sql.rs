//! The SQL kinds: `store.sql` and `db.sql.sqlite`; `postgres` has the third.

use std::path::Path;
use std::time::Duration;

use super::entry_id::EntryId;
use super::fields::{Fields, Given};
use super::nodes::Nodes;
use super::problem::Refusal;
use super::references::{Reference, Wanted};
use crate::sql::{Identifier, SqlClock, SqliteFile, SqliteOptions, Synchronous, TableNames};
use crate::store::SqlOptions;

/// A `store.sql`: a table of a database.
#[derive(Clone, Debug)]
pub struct SqlStoreEntry {
    database: Reference,
    options: SqlOptions,
}

impl SqlStoreEntry {
    /// The id of the database.
    #[must_use]
    pub fn database(&self) -> &EntryId {
        &self.database.target
    }

    /// The table and how it is used.
    #[must_use]
    pub fn options(&self) -> &SqlOptions {
        &self.options
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.database
    }

    /// Gives it a clock, which no text can name.
    pub(super) fn set_clock(&mut self, clock: SqlClock) {
        self.options.clock = clock;
    }
}

/// Reads the fields of a `store.sql`; none if one that is required was reported.
pub(super) fn read_store(fields: &mut Fields<'_>) -> Option<SqlStoreEntry> {
    let database = fields.required("database", "app:database", |given| {
        let target = EntryId::parse(given.text()?)?;
        Ok(Reference { target, wanted: Wanted::Database, origin: given.origin.clone() })
    });
    let names = read_names(fields);
    let cleanup_interval = fields.optional("cleanup_interval", |given| given.interval());
    let create_table = fields.optional("create_table", |given| given.boolean());
    let TableNames { table, key, payload, expire } = names?;
    let options = SqlOptions {
        table,
        key_column: key,
        payload_column: payload,
        expire_column: expire,
        cleanup_interval: cleanup_interval.flatten(),
        create_table: create_table.unwrap_or(false),
        clock: SqlClock::Server,
    };
    Some(SqlStoreEntry { database: database?, options })
}

/// The fields of a `store.sql`, all but its clock.
pub(super) fn write_store(database: &str, options: &SqlOptions, nodes: &mut Nodes) {
    nodes.text("database", database);
    nodes.text("table_name", options.table.as_str());
    nodes.text("id_column_name", options.key_column.as_str());
    nodes.text("payload_column_name", options.payload_column.as_str());
    nodes.text("expire_column_name", options.expire_column.as_str());
    nodes.interval("cleanup_interval", options.cleanup_interval);
    nodes.plain("create_table", options.create_table);
}

fn read_names(fields: &mut Fields<'_>) -> Option<TableNames> {
    let table = fields.required("table_name", "kv_store", identifier);
    let mut last_given = None;
    let mut column = |name, default| {
        let given = fields.optional(name, |given| Ok((identifier(given)?, given.origin.clone())));
        match given {
            Some((column, origin)) => {
                last_given = Some(origin);
                column
            }
            None => Identifier::new(default).expect("the defaults are names"),
        }
    };
    let key = column("id_column_name", "key");
    let payload = column("payload_column_name", "value");
    let expire = column("expire_column_name", "expires_at");
    let names = TableNames { table: table?, key, payload, expire };
    // The defaults differ, so that one of two equal names was given.
    if let (Err(error), Some(origin)) = (names.check(), last_given) {
        fields.report(&origin, format!("{}; rename one of them", error.message()));
    }
    Some(names)
}

fn identifier(given: &Given<'_>) -> Result<Identifier, Refusal> {
    Ok(Identifier::new(given.text()?)?)
}

/// Reads the fields of a `db.sql.sqlite`; none if one that is required was reported.
pub(super) fn read_sqlite(fields: &mut Fields<'_>, folder: &Path) -> Option<SqliteOptions> {
    let file = fields.required("file", "records.db", |given| sqlite_file(given.text()?, folder));
    let synchronous = fields.optional("synchronous", |given| match given.text()? {
        "full" => Ok(Synchronous::Full),
        "normal" => Ok(Synchronous::Normal),
        other => Err(Refusal::new(format!("{other:?} is unknown; write full or normal"))),
    });
    let busy_timeout = fields.optional("busy_timeout", |given| match given.duration()? {
        timeout if timeout > BUSY_TIMEOUT_MAX => {
            Err(Refusal::new(format!("{} is too long; write 24h or less", given.text()?)))
        }
        timeout => Ok(timeout),
    });
    let default = SqliteOptions::new(file?);
    Some(SqliteOptions {
        synchronous: synchronous.unwrap_or(default.synchronous),
        busy_timeout: busy_timeout.unwrap_or(default.busy_timeout),
        file: default.file,
    })
}

/// The fields of a `db.sql.sqlite`.
pub(super) fn write_sqlite(options: &SqliteOptions, nodes: &mut Nodes) {
    match &options.file {
        SqliteFile::Memory => nodes.text("file", MEMORY),
        SqliteFile::Path(file) if file == Path::new(MEMORY) => {
            nodes.path("file", &Path::new(".").join(file));
        }
        SqliteFile::Path(file) => nodes.path("file", file),
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "full",
        Synchronous::Normal => "normal",
    };
    nodes.text("synchronous", synchronous);
    nodes.duration("busy_timeout", options.busy_timeout);
}

fn sqlite_file(path: &str, folder: &Path) -> Result<SqliteFile, Refusal> {
    if path == MEMORY {
        return Ok(SqliteFile::Memory);
    }
    let wrong = match path {
        "" => "the path is empty; write a path, or ':memory:'".to_owned(),
        _ if path.contains('\0') => "the path has a NUL character; remove it".to_owned(),
        _ if path.starts_with('~') => format!(
            "{path:?} starts with ~, which is not written out; write ${{env:HOME}} for the home \
             folder, or ./~ for a file of that name"
        ),
        _ => return Ok(SqliteFile::Path(folder.join(path))),
    };
    Err(Refusal::new(wrong))
}

/// The path that stands for no file.
const MEMORY: &str = ":memory:";

/// Longer waits would not fit the database's own counter of milliseconds.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
