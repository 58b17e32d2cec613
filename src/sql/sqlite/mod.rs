//! SQLite: a database embedded in the process.
//!
//! [`SqliteDatabase`] is shared by the stores whose tables are in it. Reads go through
//! `readers`, on the calling thread where they can; writes through `writer`, one thread that
//! commits in groups. Both open their connections when they are first needed, so a file that is
//! locked or out of reach does not stop the start: its calls answer `UNAVAILABLE`.
//!
//! Durability: with [`Synchronous::Full`] a write is answered after the disk has it, in a
//! write-ahead log or a rollback journal alike. [`Synchronous::Normal`] survives a crash of the
//! process, not of the machine, and shows in `info()`. A database in memory ends with its
//! [`SqliteDatabase`].

mod connection;
mod describe;
mod failure;
mod namespace_rows;
mod namespaces;
mod plan;
mod reader;
mod readers;
mod statements;
mod writer;

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use self::connection::Opener;
use self::failure::{Failure, is_schema_mismatch};
use self::plan::Plan;
use self::readers::{Readers, run_blocking};
use self::writer::{Job, Request, Write, Written};
use super::schema::{KeyLimit, TableNames};
use super::{TableOptions, payload};
use crate::clock::UnixMillis;
use crate::entry::{Entry, Key, ListQuery, Page, Ttl};
use crate::error::{Error, Outcome, Result};
use crate::limits::SQLITE_WRITES_MAX;
use crate::policy::Rights;
use crate::value::Value;

pub use self::namespaces::SqliteNamespaces;

/// Where a database is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqliteFile {
    /// In a file; a relative path is taken from the working directory.
    Path(PathBuf),
    /// In memory of the process.
    Memory,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// That the disk has it.
    #[default]
    Full,
    /// That the operating system has it: a crash of the machine may lose the last writes.
    Normal,
}

/// How a database is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Where it is kept.
    pub file: SqliteFile,
    /// What a commit waits for.
    pub synchronous: Synchronous,
    /// How long an access waits for the locks of other programs.
    pub busy_timeout: Duration,
}

impl SqliteOptions {
    /// A database with the default settings: `FULL`, five seconds.
    #[must_use]
    pub fn new(file: SqliteFile) -> Self {
        Self { file, synchronous: Synchronous::default(), busy_timeout: Duration::from_secs(5) }
    }
}

/// An SQLite database.
#[derive(Debug)]
pub struct SqliteDatabase {
    readers: Arc<Readers>,
    writer: Mutex<WriterState>,
    /// The room in the writer's queue.
    room: Arc<Semaphore>,
}

#[derive(Debug)]
enum WriterState {
    /// Nothing was written yet.
    Idle,
    Running(Sender<Request>, JoinHandle<()>),
    Closed,
}

impl SqliteDatabase {
    /// A database. Nothing is opened before it is used.
    #[must_use]
    pub fn open(options: SqliteOptions) -> Arc<Self> {
        Arc::new(Self {
            readers: Arc::new(Readers::new(Opener::new(options))),
            writer: Mutex::new(WriterState::Idle),
            room: Arc::new(Semaphore::new(SQLITE_WRITES_MAX)),
        })
    }

    /// Opens the file, if there is one, and reads from it, so that what is wrong with it shows now.
    ///
    /// # Errors
    /// `INVALID` if the path is none of a database; `INTERNAL` if the file is damaged;
    /// `UNAVAILABLE` if it is locked or can't be opened.
    pub async fn check(&self) -> Result<()> {
        if self.opener().is_file_missing() {
            return Ok(());
        }
        self.opener().check_path(true)?;
        let read = |connection: &Connection| {
            let version = connection.pragma_query_value(None, "schema_version", |row| row.get(0));
            Ok::<i64, Failure>(version?)
        };
        let result = self.readers.read_blocking(read).await;
        result.map(drop).map_err(|failure| self.to_error(failure))
    }

    /// Finishes the queued writes and closes the file; every later access answers `UNAVAILABLE`.
    ///
    /// Dropping the last reference does the same without waiting for it.
    pub async fn close(&self) {
        let state = std::mem::replace(&mut *self.writer_state(), WriterState::Closed);
        if let WriterState::Running(requests, thread) = state {
            drop(requests);
            // A writer that panicked has answered its callers by vanishing.
            let _ = run_blocking(move || thread.join()).await;
        }
        self.readers.close();
    }

    /// Whether an acknowledged write survives a crash of the process and of the machine.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        !self.opener().is_in_memory() && self.opener().synchronous() == Synchronous::Full
    }

    /// `NORMAL`, if that is how a file syncs.
    #[must_use]
    pub fn weaker_synchronous(&self) -> Option<&'static str> {
        match self.opener().synchronous() {
            Synchronous::Normal if !self.opener().is_in_memory() => Some("NORMAL"),
            Synchronous::Normal | Synchronous::Full => None,
        }
    }

    /// Opens a table, as [`Database::open_table`](super::Database::open_table).
    pub(super) async fn open_table(
        self: &Arc<Self>,
        options: &TableOptions,
    ) -> Result<SqliteTable> {
        let TableOptions { names, cleanup_interval, create_table, clock } = options;
        names.check()?;
        self.opener().check_path(*create_table)?;
        let key_limit = match self.read_table(names).await? {
            Some(key_limit) => key_limit,
            None if *create_table => {
                self.create_table(names).await?;
                self.read_table(names).await?.ok_or_else(|| self.missing_table(names))?
            }
            None => return Err(self.missing_table(names)),
        };
        let plan = Arc::new(Plan::new(names.clone(), key_limit, clock.clone()));
        let sweeping = Arc::new(());
        if let Some(interval) = cleanup_interval.filter(|interval| !interval.is_zero()) {
            let alive = Arc::downgrade(&sweeping);
            self.request(Request::Sweep { plan: Arc::clone(&plan), interval, alive })?;
        }
        Ok(SqliteTable { database: Arc::clone(self), plan, sweeping: Mutex::new(Some(sweeping)) })
    }

    /// What a table says about its keys; none if there is no such table.
    async fn read_table(&self, names: &TableNames) -> Result<Option<KeyLimit>> {
        if self.opener().is_file_missing() {
            return Ok(None);
        }
        let wanted = names.clone();
        let read = move |connection: &_| describe::describe(connection, &wanted);
        let found = self.readers.read_blocking(read).await.map_err(|f| self.to_error(f))?;
        found.map(|found| names.check_table(&found)).transpose()
    }

    async fn create_table(&self, names: &TableNames) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Create { ddl: names.ddl(), reply })?;
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    async fn write(&self, write: Write) -> Result<Written> {
        let room = Arc::clone(&self.room).acquire_owned();
        let permit = room.await.expect("the semaphore is never closed");
        let (reply, answer) = oneshot::channel();
        self.request(Request::Write(Job { write, reply, permit }))?;
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// Hands a request to the writer, which it starts if there is none.
    fn request(&self, request: Request) -> Result<()> {
        let mut state = self.writer_state();
        if let WriterState::Idle = *state {
            let (requests, thread) = writer::start(Arc::clone(&self.readers))?;
            *state = WriterState::Running(requests, thread);
        }
        match &*state {
            WriterState::Running(requests, _) => {
                requests.send(request).map_err(|_| self.readers.closed())
            }
            WriterState::Idle | WriterState::Closed => Err(self.readers.closed()),
        }
    }

    fn writer_state(&self) -> std::sync::MutexGuard<'_, WriterState> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opener(&self) -> &Opener {
        self.readers.opener()
    }

    fn to_error(&self, failure: Failure) -> Error {
        failure.into_error(&self.opener().name())
    }

    fn missing_table(&self, names: &TableNames) -> Error {
        names.missing_table(&self.opener().name())
    }

    /// The error of a write whose answer got lost with the writer.
    fn unanswered(&self) -> Error {
        Error::internal(format!("the writer of {} has ended", self.opener().name()))
            .with_outcome(Outcome::Unknown)
    }
}

/// A table of an SQLite database.
#[derive(Debug)]
pub struct SqliteTable {
    database: Arc<SqliteDatabase>,
    plan: Arc<Plan>,
    /// The writer sweeps the table for as long as this lives.
    sweeping: Mutex<Option<Arc<()>>>,
}

impl SqliteTable {
    pub(super) async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        self.check_key(key)?;
        let (plan, key) = (Arc::clone(&self.plan), key.clone());
        let read = move |connection: &_| reader::entry(connection, &plan, &key);
        let result = self.database.readers.read_now(read).await;
        self.explained(result.map_err(|failure| self.database.to_error(failure))).await
    }

    pub(super) async fn has(&self, key: &Key) -> Result<bool> {
        self.check_key(key)?;
        let (plan, key) = (Arc::clone(&self.plan), key.clone());
        let read = move |connection: &_| reader::has(connection, &plan, &key);
        let result = self.database.readers.read_now(read).await;
        self.explained(result.map_err(|failure| self.database.to_error(failure))).await
    }

    pub(super) async fn upsert(
        &self,
        key: &Key,
        value: &Value,
        ttl: Option<Ttl>,
    ) -> Result<Option<UnixMillis>> {
        self.check_key(key)?;
        let plan = Arc::clone(&self.plan);
        let write = writer::upsert(plan, key.clone(), payload::encode(value)?, ttl);
        match self.explained(self.database.write(write).await).await? {
            Written::Upserted(deadline) => Ok(deadline),
            Written::Deleted(_) | Written::Done => Err(self.database.unanswered()),
        }
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<bool> {
        self.check_key(key)?;
        let write = writer::delete(Arc::clone(&self.plan), key.clone());
        match self.explained(self.database.write(write).await).await? {
            Written::Deleted(was_present) => Ok(was_present),
            Written::Upserted(_) | Written::Done => Err(self.database.unanswered()),
        }
    }

    pub(super) async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        let (plan, query, rights) = (Arc::clone(&self.plan), query.clone(), rights.clone());
        let read = move |connection: &_| reader::list(connection, &plan, &query, &rights);
        let result = self.database.readers.read_blocking(read).await;
        self.explained(result.map_err(|failure| self.database.to_error(failure))).await
    }

    pub(super) fn stop_sweeping(&self) {
        self.sweeping.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        self.plan.key_limit.check(key.as_str(), &self.plan.names)
    }

    /// Where a statement does not fit the table any more: what is wrong with the table now.
    async fn explained<T>(&self, result: Result<T>) -> Result<T> {
        let error = match result {
            Err(error) if is_schema_mismatch(&error) => error,
            result => return result,
        };
        Err(match self.database.read_table(&self.plan.names).await {
            Ok(Some(_)) => error,
            Ok(None) => self.database.missing_table(&self.plan.names),
            Err(wrong) => wrong,
        })
    }
}
