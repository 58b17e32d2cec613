//! `store.sql` on SQLite against bare rusqlite: the same statements, the same settings.
//!
//! `cargo bench --bench sqlite`. With one caller and with sixteen. The bare side has a connection
//! for each thread, with its statements prepared, and commits each write by itself; ours reads on
//! pooled connections and writes through one thread that groups what is waiting into one commit.
//! Each written value is a new one: SQLite does not write a page that has not changed.

mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll::sql::{Identifier, SqliteDatabase, SqliteFile, SqliteOptions};
use plimsoll::store::{SqlOptions, SqlStore, StoreHandle};
use rusqlite::{Connection, params};
use support::{Contender, Picker, contest, median};
use tokio::runtime::Runtime;

const ROWS: usize = 10_000;
const VALUE_BYTES: usize = 256;
/// Both sides have as many threads: what contends inside SQLite contends alike.
const CALLERS_MAX: usize = 16;
const AIM: f64 = 1.3;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(folder.path());
    print_fdatasync(folder.path());
    for callers in [1, CALLERS_MAX] {
        bench.get(callers);
    }
    for callers in [1, CALLERS_MAX] {
        bench.upsert(callers);
    }
}

struct Bench {
    bare: PathBuf,
    runtime: Runtime,
    store: StoreHandle,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CALLERS_MAX)
            .enable_all()
            .build()
            .expect("starts");
        let store = runtime.block_on(async {
            let file = SqliteFile::Path(folder.join("ours.db"));
            let database = SqliteDatabase::open(SqliteOptions::new(file));
            let table = Identifier::new("kv_store").expect("a name");
            let options = SqlOptions { create_table: true, ..SqlOptions::new(table) };
            let store = SqlStore::open(database, options).await.expect("opens");
            StoreHandle::new("app:records", store)
        });
        let bench = Self { bare: folder.join("bare.db"), runtime, store };
        bench.fill();
        bench
    }

    /// The same rows in both files.
    fn fill(&self) {
        let connection = self.connect();
        connection.execute_batch(DDL).expect("creates");
        connection.execute_batch("BEGIN").expect("begins");
        for i in 0..ROWS {
            upsert(&connection, &key(i), &value());
        }
        connection.execute_batch("COMMIT").expect("commits");
        self.runtime.block_on(async {
            let mut writes = tokio::task::JoinSet::new();
            for i in 0..ROWS {
                let (store, value) = (self.store.clone(), value());
                writes.spawn(async move { store.set(&key(i), value, None).await });
            }
            while let Some(written) = writes.join_next().await {
                written.expect("no panic").expect("is written");
            }
        });
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.bare).expect("opens");
        connection.busy_timeout(Duration::from_secs(60)).expect("is set");
        connection.pragma_update(None, "journal_mode", "WAL").expect("is set");
        connection.pragma_update(None, "synchronous", "EXTRA").expect("is set");
        connection
    }

    fn get(&self, callers: usize) {
        let connections: Vec<_> = (0..callers).map(|_| self.connect()).collect();
        let mut connections = connections;
        let bare = |n: usize| {
            std::thread::scope(|scope| {
                for (caller, connection) in connections.iter_mut().enumerate() {
                    scope.spawn(move || {
                        let mut picker = Picker::seeded(caller);
                        for _ in 0..n.div_ceil(callers) {
                            black_box(select(connection, &key(picker.below(ROWS))));
                        }
                    });
                }
            });
        };
        let ours = |n: usize| {
            self.each_caller(callers, n, |store, key| async move {
                black_box(store.get(&key).await.expect("answers"));
            });
        };
        contest(
            &format!("get, {callers} callers, {VALUE_BYTES} B"),
            Some(AIM),
            vec![Contender::new("rusqlite", bare), Contender::new("store.sql", ours)],
        );
    }

    fn upsert(&self, callers: usize) {
        let mut connections: Vec<_> = (0..callers).map(|_| self.connect()).collect();
        let bare = |n: usize| {
            std::thread::scope(|scope| {
                for (caller, connection) in connections.iter_mut().enumerate() {
                    scope.spawn(move || {
                        let mut picker = Picker::seeded(caller);
                        for _ in 0..n.div_ceil(callers) {
                            upsert(connection, &key(picker.below(ROWS)), &value());
                        }
                    });
                }
            });
        };
        let ours = |n: usize| {
            self.each_caller(callers, n, |store, key| async move {
                store.set(&key, value(), None).await.expect("is written");
            });
        };
        contest(
            &format!("upsert, {callers} callers, {VALUE_BYTES} B, durable"),
            Some(AIM),
            vec![Contender::new("rusqlite", bare), Contender::new("store.sql", ours)],
        );
    }

    /// Runs `n` operations by so many tasks, each one operation after the other.
    fn each_caller<F: Future<Output = ()> + Send>(
        &self,
        callers: usize,
        n: usize,
        operation: impl Fn(StoreHandle, String) -> F + Send + Copy + 'static,
    ) {
        self.runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for caller in 0..callers {
                let store = self.store.clone();
                tasks.spawn(async move {
                    let mut picker = Picker::seeded(caller);
                    for _ in 0..n.div_ceil(callers) {
                        operation(store.clone(), key(picker.below(ROWS))).await;
                    }
                });
            }
            while let Some(task) = tasks.join_next().await {
                task.expect("no panic");
            }
        });
    }
}

/// A value that was not written before.
fn value() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{number:0VALUE_BYTES$}")
}

fn key(i: usize) -> String {
    format!("user:{i:06}")
}

fn upsert(connection: &Connection, key: &str, value: &str) {
    let mut statement = connection.prepare_cached(UPSERT).expect("is right");
    let payload = format!("\"{value}\"");
    statement.execute(params![key, payload.as_bytes()]).expect("is written");
}

fn select(connection: &Connection, key: &str) -> Option<Vec<u8>> {
    let mut statement = connection.prepare_cached(SELECT).expect("is right");
    let now: Option<i64> = None;
    let mut rows = statement.query(params![key, now]).expect("runs");
    rows.next().expect("answers").map(|row| row.get(0).expect("a payload"))
}

/// What one durable write costs here and now, for calibration.
fn print_fdatasync(folder: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(folder.join("sync")).expect("a file");
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&[1; 4096]).expect("writes");
        file.sync_data().expect("syncs");
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("calibration: write and fdatasync of 4 KiB, median {:.0} us", median(times));
}

const DDL: &str = "CREATE TABLE kv_store (key VARCHAR(255) PRIMARY KEY, value BYTEA NOT NULL, \
    expires_at BIGINT); \
    CREATE INDEX idx_expires_at ON kv_store(expires_at) WHERE expires_at IS NOT NULL";
const UPSERT: &str = "INSERT INTO kv_store (key, value, expires_at) VALUES (?1, ?2, NULL) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
const SELECT: &str = "SELECT value, expires_at FROM kv_store WHERE key = ?1 AND (expires_at IS NULL \
    OR expires_at > coalesce(?2, CAST(round(unixepoch('subsec') * 1000) AS INTEGER)))";
