//! `store.sql` on SQLite, through the Rust API, beside a second program with its own connection.
#![cfg(feature = "sql")]

mod bad_input;
mod faults;
mod foreign;
mod listing;
mod table;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::entry::{ListQuery, Ttl};
use plimsoll::error::Result;
use plimsoll::policy::Rights;
use plimsoll::sql::{Identifier, SqlClock, SqliteDatabase, SqliteFile, SqliteOptions};
use plimsoll::store::{SqlOptions, SqlStore, StoreHandle};
use tempfile::TempDir;

/// The table as the documents of the product define it.
const SEED_DDL: &str = "
    CREATE TABLE kv_store (
        key VARCHAR(255) PRIMARY KEY,
        value BYTEA NOT NULL,
        expires_at BIGINT
    );
    CREATE INDEX idx_expires_at ON kv_store(expires_at) WHERE expires_at IS NOT NULL;
";

/// Some instant, in Unix milliseconds.
const NOW_MS: u64 = 1_700_000_000_000;

/// A folder with a database file, and a clock to bind.
struct Fixture {
    folder: TempDir,
    clock: ManualClock,
}

impl Fixture {
    /// A folder without a file.
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, clock: ManualClock::new(UnixMillis(NOW_MS)) }
    }

    /// A file in which another program has run some statements.
    fn with(ddl: &str) -> Self {
        let fixture = Self::empty();
        fixture.other_program().execute_batch(ddl).expect("valid statements");
        fixture
    }

    /// A file with the table of the documents.
    fn seed() -> Self {
        Self::with(SEED_DDL)
    }

    /// The same, for tests that are shared with databases which may not be installed.
    #[expect(clippy::unnecessary_wraps, reason = "SQLite is always there")]
    fn available() -> Option<Self> {
        Some(Self::seed())
    }

    /// Has another program run statements.
    fn run(&self, sql: &str) {
        self.other_program().execute_batch(sql).expect("valid statements");
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    /// A connection of another program.
    fn other_program(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("opens")
    }

    /// The database, with a busy timeout that is soon over.
    fn database(&self) -> Arc<SqliteDatabase> {
        database_at(&self.path(), Duration::from_millis(200))
    }

    /// The database, with a busy timeout that no test waits for in vain.
    fn patient_database(&self) -> Arc<SqliteDatabase> {
        database_at(&self.path(), Duration::from_secs(600))
    }

    /// The store on the seed's names, with the bound clock.
    async fn store(&self) -> StoreHandle {
        self.open(self.database(), self.options()).await.expect("opens")
    }

    /// The same, on the patient database.
    async fn patient_store(&self) -> StoreHandle {
        self.open(self.patient_database(), self.options()).await.expect("opens")
    }

    /// The same, for an actor with some rights.
    async fn store_with_rights(&self, rights: Rights) -> StoreHandle {
        let store = SqlStore::open(self.database(), self.options()).await.expect("opens");
        StoreHandle::with_rights("app:records", store, rights)
    }

    async fn open(
        &self,
        database: Arc<SqliteDatabase>,
        options: SqlOptions,
    ) -> Result<StoreHandle> {
        let store = SqlStore::open(database, options).await?;
        Ok(StoreHandle::new("app:records", store))
    }

    fn options(&self) -> SqlOptions {
        let clock = SqlClock::Bound(Arc::new(self.clock.clone()));
        SqlOptions { clock, ..SqlOptions::new(name("kv_store")) }
    }
}

fn database_at(path: &Path, busy_timeout: Duration) -> Arc<SqliteDatabase> {
    let file = SqliteFile::Path(path.to_owned());
    SqliteDatabase::open(SqliteOptions { busy_timeout, ..SqliteOptions::new(file) })
}

fn name(name: &str) -> Identifier {
    Identifier::new(name).expect("a valid name")
}

#[expect(clippy::unnecessary_wraps, reason = "as set takes it")]
fn ttl_ms(ms: u64) -> Option<Ttl> {
    Some(Ttl::from_ms(ms).expect("in range").expect("not 0"))
}

/// The keys of all pages together.
async fn all_keys(store: &StoreHandle, query: ListQuery) -> Vec<String> {
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.list(&query.clone().after(after)).await.expect("lists");
        keys.extend(page.items.iter().map(|entry| entry.key.to_string()));
        if !page.has_more {
            return keys;
        }
        after = page.cursor;
    }
}
