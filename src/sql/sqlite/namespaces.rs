//! Namespaces of the `KV` API in an SQLite file that other programs read and write too.
//!
//! ```sql
//! CREATE TABLE kv (
//!     namespace TEXT, key TEXT, value BLOB NOT NULL, metadata TEXT, expiration INTEGER,
//!     PRIMARY KEY (namespace, key)
//! );
//! CREATE INDEX idx_kv_namespace_key ON kv (namespace, key);
//! ```
//!
//! Metadata is JSON, the expiration Unix seconds. A file that is there is used as it is: neither its
//! schema nor its journal mode is touched. A file that is missing holds nothing; the first write
//! makes it, with its folders.
//!
//! Whatever a file of this schema holds is readable: see [`namespace_rows`](super::namespace_rows).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::{Failure, is_schema_mismatch};
use super::namespace_rows::{self as rows, NamespaceKey};
use super::readers::run_blocking;
use super::writer::{Request, Written};
use super::{SqliteDatabase, SqliteFile, SqliteOptions};
use crate::clock::UnixMillis;
use crate::error::{Error, Result};
use crate::namespaces::{Answer, Backend, Batch, Range, Record};

/// Namespaces in an SQLite file.
#[derive(Debug)]
pub struct SqliteNamespaces {
    database: Arc<SqliteDatabase>,
    path: PathBuf,
    /// Whether the file was seen with its table.
    is_checked: AtomicBool,
}

impl SqliteNamespaces {
    /// The namespaces in the file of a path. Nothing is opened before it is used. An access waits
    /// five seconds for the locks of other programs.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>) -> Arc<Self> {
        Self::with_busy_timeout(path, BUSY_TIMEOUT)
    }

    /// As [`SqliteNamespaces::open`], with another time to wait for locks.
    #[must_use]
    pub fn with_busy_timeout(path: impl Into<PathBuf>, busy_timeout: Duration) -> Arc<Self> {
        let path = path.into();
        let file = SqliteFile::Path(path.clone());
        let database =
            SqliteDatabase::open(SqliteOptions { busy_timeout, ..SqliteOptions::new(file) });
        Arc::new(Self { database, path, is_checked: AtomicBool::new(false) })
    }

    /// Whether there is a table to read.
    async fn exists(&self) -> Result<bool> {
        if self.is_checked.load(Ordering::Acquire) {
            return Ok(true);
        }
        if self.database.opener().is_file_missing() {
            return Ok(false);
        }
        self.database.opener().check_path(true)?;
        let exists = self.check().await?;
        self.is_checked.store(exists, Ordering::Release);
        Ok(exists)
    }

    /// Whether the file has its table; another schema is an error.
    async fn check(&self) -> Result<bool> {
        let name = self.database.opener().name();
        let check = move |connection: &_| rows::check(connection, &name);
        let checked = self.database.readers.read_blocking(check).await;
        checked.map_err(|failure| self.database.to_error(failure))
    }

    async fn require(&self) -> Result<()> {
        if self.exists().await? {
            return Ok(());
        }
        let path = self.path.clone();
        run_blocking(move || make_folders_of(&path)).await??;
        let (reply, answer) = oneshot::channel();
        self.database.request(Request::Create { ddl: rows::DDL.to_owned(), reply })?;
        answer.await.unwrap_or_else(|_| Err(self.database.unanswered()))?;
        self.exists().await.map(drop)
    }

    async fn write_row(
        &self,
        write: impl Fn(&Connection) -> Result<(), Failure> + Send + 'static,
    ) -> Result<()> {
        let write = Box::new(move |connection: &_| write(connection).map(|()| Written::Done));
        let written = self.database.write(write).await.map(drop);
        self.explained(written).await
    }

    /// Where a statement does not fit the table any more: what is wrong with the table now. After
    /// any error the file is looked at anew, for it may be gone, or another.
    async fn explained<T>(&self, result: Result<T>) -> Result<T> {
        let Err(error) = &result else {
            return result;
        };
        self.is_checked.store(false, Ordering::Release);
        if is_schema_mismatch(error) {
            self.check().await?;
        }
        result
    }

    async fn read_record(
        &self,
        namespace: &[u8],
        key: &[u8],
        now: UnixMillis,
    ) -> Result<Option<Record>> {
        if !self.exists().await? {
            return Ok(None);
        }
        let key = NamespaceKey::new(namespace, key);
        let read = move |connection: &_| rows::read(connection, &key, now);
        let record = self.database.readers.read_now(read).await;
        self.explained(record.map_err(|failure| self.database.to_error(failure))).await
    }

    async fn scan_rows(&self, namespace: &[u8], range: &Range, now: UnixMillis) -> Result<Batch> {
        if !self.exists().await? {
            return Ok(Batch::default());
        }
        let (namespace, range) = (namespace.to_vec(), range.clone());
        let scan = move |connection: &_| rows::scan(connection, &namespace, &range, now);
        let batch = self.database.readers.read_blocking(scan).await;
        self.explained(batch.map_err(|failure| self.database.to_error(failure))).await
    }
}

impl Backend for SqliteNamespaces {
    fn read<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        now: UnixMillis,
    ) -> Answer<'a, Option<Record>> {
        Box::pin(self.read_record(namespace, key, now))
    }

    fn write<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        record: Record,
        now: UnixMillis,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            self.require().await?;
            let key = NamespaceKey::new(namespace, key);
            self.write_row(move |connection| rows::write(connection, &key, &record, now)).await
        })
    }

    fn remove<'a>(&'a self, namespace: &'a [u8], key: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(async move {
            if !self.exists().await? {
                return Ok(());
            }
            let key = NamespaceKey::new(namespace, key);
            self.write_row(move |connection| rows::remove(connection, &key)).await
        })
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a [u8],
        range: &'a Range,
        now: UnixMillis,
    ) -> Answer<'a, Batch> {
        Box::pin(self.scan_rows(namespace, range, now))
    }

    fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.database.close())
    }
}

fn make_folders_of(file: &std::path::Path) -> Result<()> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::unavailable(format!(
            "the folder {} can't be made: {error}; make it, or set data_dir of luat.toml",
            folder.display()
        ))
        .with_retryable(false)
    })
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
