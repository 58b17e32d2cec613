//! `store.sql` on PostgreSQL, through the Rust API, beside a second program with its own connection.
//!
//! The tests start a server of their own, or say that they are skipped where none is installed.
//! What holds on every database is tested by the files of `tests/sql_store`.
#![cfg(all(feature = "postgres", unix))]
#![allow(clippy::unwrap_used)]

#[path = "../support/postgres.rs"]
mod postgres;

#[path = "../sql_store/bad_input.rs"]
mod bad_input;
mod faults;
mod foreign;
#[path = "../sql_store/listing.rs"]
mod listing;
mod table;
mod tls;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::entry::{ListQuery, Ttl};
use plimsoll::error::Result;
use plimsoll::policy::Rights;
use plimsoll::sql::{Identifier, PostgresDatabase, PostgresOptions, SqlClock};
use plimsoll::store::{SqlOptions, SqlStore, StoreHandle};

use postgres::Server;

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

/// A role of the shared server with a schema of its own, and a clock to bind.
struct Fixture {
    server: &'static Server,
    role: String,
    clock: ManualClock,
}

impl Fixture {
    /// The table of the documents; none where PostgreSQL is not installed.
    fn available() -> Option<Self> {
        Self::with(SEED_DDL)
    }

    /// A schema in which another program has run some statements.
    fn with(ddl: &str) -> Option<Self> {
        let fixture = Self::empty()?;
        fixture.run(ddl);
        Some(fixture)
    }

    /// A schema without a table.
    fn empty() -> Option<Self> {
        let server = postgres::shared()?;
        let clock = ManualClock::new(UnixMillis(NOW_MS));
        Some(Self { server, role: server.new_role(), clock })
    }

    /// Has another program run statements.
    fn run(&self, sql: &str) {
        self.server.run_as(&self.role, sql);
    }

    /// The first column of the first row that another program sees.
    fn value(&self, sql: &str) -> Option<String> {
        self.server.value(&self.role, sql)
    }

    /// A connection of another program.
    async fn session(&self) -> tokio_postgres::Client {
        self.server.connect(&self.role).await.unwrap()
    }

    /// How many connections the store has.
    fn connections(&self) -> usize {
        let count = "SELECT count(*) FROM pg_stat_activity \
                     WHERE usename = current_user AND application_name = 'plimsoll'";
        self.value(count).unwrap().parse().unwrap()
    }

    /// Waits for what must come soon.
    fn eventually(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "not yet: {what}\n{}", self.server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn postgres_options(&self) -> PostgresOptions {
        self.server.options(&self.role)
    }

    fn database(&self) -> Arc<PostgresDatabase> {
        PostgresDatabase::open(self.postgres_options())
    }

    /// The store on the seed's names, with the bound clock.
    async fn store(&self) -> StoreHandle {
        self.open(self.database(), self.options()).await.expect("opens")
    }

    /// The same, for an actor with some rights.
    async fn store_with_rights(&self, rights: Rights) -> StoreHandle {
        let store = SqlStore::open(self.database(), self.options()).await.expect("opens");
        StoreHandle::with_rights("app:records", store, rights)
    }

    async fn open(
        &self,
        database: Arc<PostgresDatabase>,
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
