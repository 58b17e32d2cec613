//! Opening connections, and the settings under which they work.
//!
//! A file that we make gets a write-ahead log; a file that has pages keeps the journal mode it
//! has, because other programs may rely on it. Every writing connection syncs as configured,
//! whatever the journal mode; the modes that would make that worthless (`OFF`, `MEMORY`) are settings
//! of a connection, never of a file, and so never ours. Paths are never taken as URIs or as SQLite's special names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::Failure;
use super::{SqliteFile, SqliteOptions, Synchronous};
use crate::error::Error;

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading.
    Read,
    /// Writing to a file that exists.
    Write,
    /// Writing, to a file that is made if it is missing.
    Create,
}

/// Opens connections to one database.
#[derive(Debug)]
pub(super) struct Opener {
    file: SqliteFile,
    synchronous: Synchronous,
    busy_timeout: Duration,
}

impl Opener {
    pub(super) fn new(options: SqliteOptions) -> Self {
        let SqliteOptions { file, synchronous, busy_timeout } = options;
        Self { file, synchronous, busy_timeout: busy_timeout.min(BUSY_TIMEOUT_MAX) }
    }

    /// Opens a connection.
    pub(super) fn open(&self, purpose: Purpose) -> Result<Connection, Failure> {
        let connection = match &self.file {
            SqliteFile::Memory => Connection::open_in_memory()?,
            SqliteFile::Path(path) => self.open_file(path, purpose)?,
        };
        self.configure(&connection, purpose)?;
        Ok(connection)
    }

    /// The database as messages name it.
    pub(super) fn name(&self) -> String {
        match &self.file {
            SqliteFile::Memory => "the database in memory".to_owned(),
            SqliteFile::Path(path) => format!("the database {}", path.display()),
        }
    }

    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.file, SqliteFile::Memory)
    }

    /// Whether there is nothing to open yet.
    pub(super) fn is_file_missing(&self) -> bool {
        match &self.file {
            SqliteFile::Memory => false,
            SqliteFile::Path(path) => matches!(path.try_exists(), Ok(false)),
        }
    }

    pub(super) fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    pub(super) fn synchronous(&self) -> Synchronous {
        self.synchronous
    }

    /// Checks, before the file is opened for a new table, that its path is no mistake.
    ///
    /// # Errors
    /// `INVALID` for what can never become a database; a file that is there but can't be opened
    /// is a matter of opening it.
    pub(super) fn check_path(&self, is_created: bool) -> Result<(), Error> {
        let SqliteFile::Path(path) = &self.file else {
            return Ok(());
        };
        let path = absolute(path)?;
        let folder = path.parent().unwrap_or(&path);
        let is_missing = |path: &Path| matches!(path.try_exists(), Ok(false));
        let mistake = if path.is_dir() {
            format!("{} is a folder, not a database file", path.display())
        } else if is_missing(folder) {
            let folder = folder.display();
            format!("the folder {folder} does not exist: create it, or correct the path")
        } else if is_missing(&path) && !is_created {
            let path = path.display();
            format!(
                "the database file {path} does not exist: correct the path, or set create_table: true"
            )
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("file: {mistake}")).with_detail("field", "file"))
    }

    fn open_file(&self, path: &Path, purpose: Purpose) -> Result<Connection, Failure> {
        let absolute = absolute(path)?;
        let create = match purpose {
            Purpose::Read | Purpose::Write => OpenFlags::empty(),
            Purpose::Create => OpenFlags::SQLITE_OPEN_CREATE,
        };
        // SQLite opens a file that it may not write for reading, by itself.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        Ok(Connection::open_with_flags(absolute, flags)?)
    }

    fn configure(&self, connection: &Connection, purpose: Purpose) -> Result<(), Failure> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS_PREPARED_MAX);
        // A name in double quotes that is no column is an error, not a string.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
        // What a file of unknown origin defines runs only functions without side effects.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        if self.is_in_memory() {
            return Ok(());
        }
        if purpose == Purpose::Read {
            connection.busy_timeout(Duration::ZERO)?;
            connection.pragma_update(None, "query_only", true)?;
            return Ok(());
        }
        connection.busy_timeout(self.busy_timeout)?;
        if purpose == Purpose::Create && is_new(connection)? {
            connection.pragma_update(None, "journal_mode", "WAL")?;
        }
        let synchronous = match self.synchronous {
            // As FULL, and where a commit is the removal of a journal, that is synced too.
            Synchronous::Full => "EXTRA",
            Synchronous::Normal => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        let reaches_platter = self.synchronous == Synchronous::Full;
        connection.pragma_update(None, "fullfsync", reaches_platter)?;
        connection.pragma_update(None, "checkpoint_fullfsync", reaches_platter)?;
        Ok(())
    }
}

/// The path as the operating system takes it, whatever SQLite would make of it.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| {
        Error::invalid(format!("file: {:?} is no path of a database: {error}", path.display()))
            .with_detail("field", "file")
    })
}

/// Whether nothing was ever written to the file.
fn is_new(connection: &Connection) -> Result<bool, Failure> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(pages == 0)
}

/// SQLite counts the milliseconds of a wait in 31 bits.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Statements that a connection keeps prepared; six for each table.
const STATEMENTS_PREPARED_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn pragma(connection: &Connection, name: &str) -> String {
        let text = |value| match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        };
        connection.pragma_query_value(None, name, |row| row.get(0).map(text)).expect("answers")
    }

    /// SQLite's numbers: 1 NORMAL, 3 EXTRA.
    #[test]
    fn a_connection_works_under_the_settings_of_its_purpose() {
        for (synchronous, number) in [(Synchronous::Full, "3"), (Synchronous::Normal, "1")] {
            let folder = tempfile::tempdir().expect("a folder");
            let file = SqliteFile::Path(folder.path().join("new.db"));
            let opener = Opener::new(SqliteOptions {
                synchronous,
                busy_timeout: Duration::MAX,
                ..SqliteOptions::new(file)
            });
            let creating = opener.open(Purpose::Create).expect("is made");
            creating.execute_batch("CREATE TABLE t (x)").expect("valid");
            let writing = opener.open(Purpose::Write).expect("opens");
            for connection in [&creating, &writing] {
                assert_eq!(pragma(connection, "journal_mode"), "wal");
                assert_eq!(pragma(connection, "synchronous"), number);
                assert_eq!(pragma(connection, "busy_timeout"), i32::MAX.to_string());
            }
            let reading = opener.open(Purpose::Read).expect("opens");
            assert_eq!(pragma(&reading, "busy_timeout"), "0");
            assert!(reading.execute_batch("DELETE FROM t").is_err());
        }
    }

    /// Names that mean something to SQLite are files here, which are not there.
    #[test]
    fn a_path_is_a_path() {
        for path in [":memory:", "file::memory:", "file:x?mode=memory"] {
            let opener = Opener::new(SqliteOptions::new(SqliteFile::Path(path.into())));
            let failure = opener.open(Purpose::Write).expect_err(path);
            let error = failure.into_error("the database");
            assert!(error.message().contains("can't be opened"), "{path}: {error}");
        }
    }

    #[test]
    fn a_name_in_quotes_is_never_a_string() {
        let opener = Opener::new(SqliteOptions::new(SqliteFile::Memory));
        let connection = opener.open(Purpose::Create).expect("opens");
        assert!(connection.prepare("SELECT \"no column\"").is_err());
    }
}
