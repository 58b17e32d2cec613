//! The file of `KV` that other programs write too: whatever it holds is readable, neither its
//! schema nor its journal mode changes, and what is wrong with it is said.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::namespaces::{Namespace, Namespaces, PutOptions, Query};
use plimsoll::sql::SqliteNamespaces;
use rusqlite::Connection;
use tempfile::TempDir;

/// The schema of existing files, word for word.
const SCHEMA: &str = "\
CREATE TABLE kv (namespace TEXT, key TEXT, value BLOB NOT NULL, metadata TEXT, expiration INTEGER, \
PRIMARY KEY(namespace, key));
CREATE INDEX idx_kv_namespace_key ON kv(namespace, key);";

const NOW: u64 = 1_700_000_000;

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn with(statements: &str) -> Self {
        let fixture = Self::empty();
        fixture.other_program().execute_batch(statements).unwrap();
        fixture
    }

    /// A file as another program has made it.
    fn existing() -> Self {
        Self::with(SCHEMA)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kv.db")
    }

    fn other_program(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn namespaces(&self) -> Namespaces {
        let backend = SqliteNamespaces::with_busy_timeout(self.path(), Duration::from_millis(50));
        Namespaces::new(backend, Arc::new(ManualClock::new(UnixMillis(NOW * 1_000))))
    }

    async fn namespace(&self, name: &[u8]) -> Namespace {
        self.namespaces().namespace(name).await.unwrap()
    }

    async fn error_of_get(&self) -> Error {
        self.namespace(b"ns").await.get(b"k").await.unwrap_err()
    }

    async fn error_of_put(&self) -> Error {
        put(&self.namespace(b"ns").await, "k", "v").await.unwrap_err()
    }
}

async fn put(namespace: &Namespace, key: &str, value: &str) -> Result<(), Error> {
    namespace.put(key.as_bytes(), value.to_owned(), PutOptions::default()).await
}

async fn get(namespace: &Namespace, key: &[u8]) -> Option<Vec<u8>> {
    namespace.get(key).await.unwrap().map(|record| record.value.to_vec())
}

async fn names(namespace: &Namespace) -> Vec<Vec<u8>> {
    let page = namespace.list(&Query::new()).await.unwrap();
    assert!(page.is_complete());
    page.keys.iter().map(|row| row.name.to_vec()).collect()
}

/// Everything that the file says about itself.
fn schema(connection: &Connection) -> (Vec<(String, Option<String>)>, String, i64) {
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let journal = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    (rows.map(Result::unwrap).collect(), journal, version)
}

#[tokio::test]
async fn an_existing_file_opens_as_it_is_and_stays_so() {
    for journal in ["delete", "wal", "truncate", "persist"] {
        let fixture = Fixture::existing();
        let other = fixture.other_program();
        let mode: String =
            other.query_row(&format!("PRAGMA journal_mode = {journal}"), (), |r| r.get(0)).unwrap();
        assert_eq!(mode, journal);
        other
            .execute_batch(&format!(
                "INSERT INTO kv VALUES
                     ('ns', 'plain', CAST('text' AS BLOB), NULL, NULL),
                     ('ns', 'about', x'00ff', '{{\"author\": \"alice\"}}', {}),
                     ('ns', 'gone', x'00', NULL, {NOW}),
                     ('other', 'plain', x'01', NULL, NULL)",
                NOW + 1,
            ))
            .unwrap();
        let before = schema(&other);
        let namespace = fixture.namespace(b"ns").await;
        assert_eq!(get(&namespace, b"plain").await.unwrap(), b"text");
        let about = namespace.get(b"about").await.unwrap().unwrap();
        assert_eq!((&about.value[..], about.expiration), (&b"\x00\xff"[..], Some(1_700_000_001)));
        assert_eq!(about.metadata.as_deref(), Some(&b"{\"author\": \"alice\"}"[..]));
        assert_eq!(get(&namespace, b"gone").await, None);
        assert_eq!(names(&namespace).await, [&b"about"[..], b"plain"]);

        put(&namespace, "new", "written by us").await.unwrap();
        namespace.delete(b"plain").await.unwrap();
        let rows: i64 = other.query_row("SELECT count(*) FROM kv", (), |row| row.get(0)).unwrap();
        assert_eq!(rows, 4, "{journal}");
        assert_eq!(schema(&other), before, "{journal}");
    }
}

/// What we write is what the other program would have written.
#[tokio::test]
async fn another_program_reads_what_is_written() {
    let fixture = Fixture::empty();
    let namespaces = fixture.namespaces();
    let namespace = namespaces.namespace(b"ns").await.unwrap();
    let options = PutOptions {
        expiry: plimsoll::namespaces::Expiry::after(60.0).unwrap(),
        metadata: Some("{\"a\":1}".to_owned()),
    };
    namespace.put("é".as_bytes(), "value", options).await.unwrap();
    namespace.put(b"empty", "", PutOptions::default()).await.unwrap();
    let other = fixture.other_program();
    let row = |key: &str| {
        other
            .query_row(
                "SELECT typeof(namespace), typeof(key), typeof(value), CAST(value AS TEXT), \
                 metadata, expiration, namespace FROM kv WHERE key = ?1",
                [key],
                |row| {
                    let types: [String; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                    let value: String = row.get(3)?;
                    let metadata: Option<String> = row.get(4)?;
                    let expiration: Option<i64> = row.get(5)?;
                    Ok((types.join(" "), value, metadata, expiration))
                },
            )
            .unwrap()
    };
    let types = "text text blob".to_owned();
    let expiration = i64::try_from(NOW + 60).unwrap();
    let about = Some("{\"a\":1}".to_owned());
    assert_eq!(row("é"), (types.clone(), "value".to_owned(), about, Some(expiration)));
    assert_eq!(row("empty"), (types, String::new(), None, None));

    // A file that we made has the schema of the others.
    let columns = |connection: &Connection| -> Vec<String> {
        let columns = "SELECT name || type || \"notnull\" || pk FROM pragma_table_info('kv')";
        let mut statement = connection.prepare(columns).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(columns(&other), columns(&Fixture::existing().other_program()));
    let names: Vec<_> = schema(&other).0.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["idx_kv_namespace_key", "kv", "sqlite_autoindex_kv_1"]);
    namespaces.close().await;
    assert!(get_error(&namespace).await.message().contains("closed"));
}

async fn get_error(namespace: &Namespace) -> Error {
    namespace.get(b"empty").await.unwrap_err()
}

/// Rows of every form that the schema lets other programs write.
fn insert_whatever(other: &Connection, long: &str) {
    other
        .execute_batch(&format!(
            "INSERT INTO kv VALUES
                 ('ns', '', 'text value', NULL, NULL),
                 ('ns', 'integer', 42, NULL, NULL),
                 ('ns', 'float', 1.5, NULL, NULL),
                 ('ns', 7, x'07', NULL, NULL),
                 ('ns', x'62ff', x'08', NULL, NULL),
                 (CAST('ns' AS BLOB), 'in a blob', x'09', NULL, NULL),
                 (CAST('ns' AS BLOB), x'00', x'0a', NULL, NULL),
                 ('ns', '{long}', x'0b', NULL, NULL),
                 ('ns', 'no json', x'0c', '{{not json', NULL),
                 ('ns', 'blob metadata', x'0d', x'ff', NULL),
                 ('ns', 'number metadata', x'0e', 5, NULL),
                 ('ns', 'ends within', x'0f', NULL, {NOW}.5),
                 ('ns', 'ended', x'10', NULL, {NOW} - 0.5),
                 ('ns', 'ends never', x'11', NULL, 'soon'),
                 ('ns', 'as text', x'12', NULL, '{}'),
                 ('ns', 'negative', x'13', NULL, -5),
                 ('ns', 'zero', x'14', NULL, 0),
                 ('ns', NULL, x'15', NULL, NULL),
                 (NULL, 'k', x'16', NULL, NULL),
                 ('{long}', 'k', x'17', NULL, NULL)",
            NOW + 1,
        ))
        .unwrap();
}

/// A row as it must be read: value, metadata, expiration.
type Expected<'a> = (&'a [u8], Option<&'a [u8]>, Option<i64>);

#[tokio::test]
async fn whatever_a_file_holds_is_readable_and_listable() {
    let long = "k".repeat(5_000);
    let fixture = Fixture::existing();
    insert_whatever(&fixture.other_program(), &long);
    let namespace = fixture.namespace(b"ns").await;
    let far = i64::try_from(NOW + 1).unwrap();
    let expected: BTreeMap<&[u8], Expected<'_>> = BTreeMap::from([
        (&b""[..], (&b"text value"[..], None, None)),
        (b"integer", (b"42", None, None)),
        (b"float", (b"1.5", None, None)),
        (b"7", (b"\x07", None, None)),
        (b"b\xff", (b"\x08", None, None)),
        (b"in a blob", (b"\x09", None, None)),
        (b"\0", (b"\x0a", None, None)),
        (long.as_bytes(), (b"\x0b", None, None)),
        (b"no json", (b"\x0c", Some(&b"{not json"[..]), None)),
        (b"blob metadata", (b"\x0d", Some(b"\xff"), None)),
        (b"number metadata", (b"\x0e", Some(b"5"), None)),
        (b"ends within", (b"\x0f", None, Some(far))),
        (b"ends never", (b"\x11", None, None)),
        (b"as text", (b"\x12", None, Some(far))),
    ]);
    for limit in [1.0, 3.0, 100.0] {
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let query = Query::new().limit(limit).unwrap().cursor(cursor);
            let page = namespace.list(&query).await.unwrap();
            listed.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let keys: Vec<_> = listed.iter().map(|row| &row.name[..]).collect();
        assert_eq!(keys, expected.keys().copied().collect::<Vec<_>>(), "{limit}");
        for row in &listed {
            let record = namespace.get(&row.name).await.unwrap().unwrap();
            let (value, metadata, expiration) = expected[&row.name[..]];
            assert_eq!(record.value, value, "{row:?}");
            assert_eq!((row.metadata.as_deref(), row.expiration), (metadata, expiration));
            assert_eq!((record.metadata, record.expiration), (row.metadata.clone(), expiration));
        }
    }
    for absent in [&b"ended"[..], b"negative", b"zero", b"k"] {
        assert_eq!(get(&namespace, absent).await, None);
    }
    // A name over the limit names what the file holds, and nothing else.
    let namespaces = fixture.namespaces();
    let longer = namespaces.namespace(long.as_bytes()).await.unwrap();
    assert_eq!(get(&longer, b"k").await.unwrap(), b"\x17");
    assert_eq!(put(&longer, "new", "v").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(namespaces.namespace(&[b'x'; 5_000]).await.is_err());
    namespace.delete(long.as_bytes()).await.unwrap();
    assert_eq!(get(&namespace, long.as_bytes()).await, None);
}

#[tokio::test]
async fn a_name_in_both_forms_is_one_entry() {
    let fixture = Fixture::existing();
    let other = fixture.other_program();
    let both = "INSERT OR REPLACE INTO kv VALUES
                    ('ns', 'k', 'text', NULL, NULL), ('ns', x'6b', 'blob', NULL, NULL),
                    (x'6e73', 'k', 'blob ns', NULL, NULL), (x'6e73', x'6b', 'blobs', NULL, NULL)";
    other.execute_batch(both).unwrap();
    let namespace = fixture.namespace(b"ns").await;
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"text");
    assert_eq!(names(&namespace).await, [b"k"]);
    put(&namespace, "k", "ours").await.unwrap();
    let rows = || other.query_row("SELECT count(*) FROM kv", (), |row| row.get::<_, i64>(0));
    assert_eq!((get(&namespace, b"k").await.unwrap(), rows()), (b"ours".to_vec(), Ok(1)));
    other.execute_batch(both).unwrap();
    namespace.delete(b"k").await.unwrap();
    assert_eq!((get(&namespace, b"k").await, rows()), (None, Ok(0)));
}

#[tokio::test]
async fn pages_of_a_large_file_are_cut_at_ten_thousand_and_list_everything() {
    let fixture = Fixture::existing();
    let other = fixture.other_program();
    other
        .execute_batch(
            "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO kv SELECT 'ns', printf('k%05d', i), x'00', NULL, NULL FROM n; COMMIT",
        )
        .unwrap();
    let namespace = fixture.namespace(b"ns").await;
    let first = namespace.list(&Query::new().limit(1e6).unwrap()).await.unwrap();
    assert_eq!((first.keys.len(), first.is_complete()), (10_000, false));
    let query = Query::new().limit(1e6).unwrap().cursor(first.cursor);
    let second = namespace.list(&query).await.unwrap();
    assert_eq!((second.keys.len(), second.is_complete()), (2_000, true));
    assert_eq!(&second.keys[0].name[..], b"k10001");

    // Names and metadata of more than 16 MiB: the page ends, and the next goes on.
    other
        .execute("UPDATE kv SET metadata = '\"' || printf('%.*c', 500000, 'm') || '\"' WHERE key < 'k00100'", ())
        .unwrap();
    let (mut keys, mut pages, mut cursor) = (0, 0, None);
    loop {
        let query = Query::new().prefix("k000").cursor(cursor);
        let page = namespace.list(&query).await.unwrap();
        (keys, pages, cursor) = (keys + page.keys.len(), pages + 1, page.cursor);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((keys, pages), (99, 3));
}

#[tokio::test]
async fn what_has_expired_leaves_the_file_in_time() {
    let fixture = Fixture::existing();
    let other = fixture.other_program();
    other
        .execute_batch(&format!(
            "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             INSERT INTO kv SELECT 'sessions', i, x'00', NULL, {NOW} - 1 FROM n;
             INSERT INTO kv VALUES ('sessions', 'stays', x'00', NULL, NULL); COMMIT"
        ))
        .unwrap();
    let namespace = fixture.namespace(b"ns").await;
    for i in 0..100 {
        let expiry = plimsoll::namespaces::Expiry::after(1_000.0).unwrap();
        let options = PutOptions { expiry, metadata: None };
        namespace.put(format!("k{i}").as_bytes(), "v", options).await.unwrap();
    }
    let rows: i64 = other
        .query_row("SELECT count(*) FROM kv WHERE namespace = 'sessions'", (), |row| row.get(0))
        .unwrap();
    assert!((1..40).contains(&rows), "{rows} of 100 expired rows are left");
    assert!(get(&fixture.namespace(b"sessions").await, b"stays").await.is_some());
}

#[tokio::test]
async fn a_missing_file_holds_nothing_and_is_made_by_the_first_put() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".luat/data/kv.db");
    let backend = SqliteNamespaces::open(&path);
    let namespaces = Namespaces::new(backend, Arc::new(ManualClock::new(UnixMillis(NOW * 1_000))));
    let namespace = namespaces.namespace(b"ns").await.unwrap();
    assert_eq!(get(&namespace, b"k").await, None);
    assert_eq!(names(&namespace).await, Vec::<Vec<u8>>::new());
    namespace.delete(b"k").await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "reading makes nothing");
    put(&namespace, "k", "v").await.unwrap();
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"v");
    assert!(path.is_file());

    // A file without a byte is as good as none.
    let fixture = Fixture::empty();
    std::fs::write(fixture.path(), "").unwrap();
    let namespace = fixture.namespace(b"ns").await;
    assert_eq!(get(&namespace, b"k").await, None);
    put(&namespace, "k", "v").await.unwrap();
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"v");
}

#[tokio::test]
async fn a_locked_file_is_unavailable_until_it_is_unlocked() {
    let fixture = Fixture::existing();
    let namespace = fixture.namespace(b"ns").await;
    put(&namespace, "k", "v").await.unwrap();
    let other = fixture.other_program();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let errors = [
        (namespace.get(b"k").await.unwrap_err(), None),
        (namespace.list(&Query::new()).await.unwrap_err(), None),
        (put(&namespace, "k", "w").await.unwrap_err(), Some(Outcome::None)),
        (namespace.delete(b"k").await.unwrap_err(), Some(Outcome::None)),
    ];
    for (error, outcome) in errors {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, outcome), "{error}");
        assert!(error.retryable() && error.message().contains("locked"), "{error}");
    }
    other.execute_batch("COMMIT").unwrap();
    put(&namespace, "k", "w").await.unwrap();
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"w");
}

/// On one thread: a call that blocked the runtime would keep the lock from ever being released.
#[tokio::test(flavor = "current_thread")]
async fn a_call_that_waits_for_a_lock_lets_others_go_on() {
    let fixture = Fixture::existing();
    let backend = SqliteNamespaces::with_busy_timeout(fixture.path(), Duration::from_secs(5));
    let clock = Arc::new(ManualClock::new(UnixMillis(NOW * 1_000)));
    let namespace = Namespaces::new(backend, clock).namespace(b"ns").await.unwrap();
    let other = fixture.other_program();
    for round in 0..3 {
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let (read, written, deleted, ()) = tokio::join!(
            namespace.get(b"absent"),
            put(&namespace, "k", "v"),
            namespace.delete(b"other"),
            async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                other.execute_batch("COMMIT").unwrap();
            }
        );
        assert_eq!((read, written, deleted), (Ok(None), Ok(()), Ok(())), "{round}");
    }
}

#[tokio::test]
async fn files_that_are_no_kv_are_told_apart_and_left_alone() {
    let row = |statements: &str, message: &'static str| (statements.to_owned(), message);
    for (statements, message) in [
        row("CREATE TABLE users (id)", "it has other tables, and none that is called kv"),
        row("CREATE TABLE kv (k TEXT PRIMARY KEY, v BLOB)", "has no column namespace"),
        row(&SCHEMA.replace("metadata TEXT, ", ""), "has no column metadata"),
        row(&SCHEMA.replace("key TEXT", "key INTEGER"), "the column key of its table kv is"),
        row(&SCHEMA.replace("PRIMARY KEY(namespace, key)", "PRIMARY KEY(key)"), "no PRIMARY KEY"),
        row(
            &SCHEMA.replace("namespace TEXT", "namespace TEXT COLLATE NOCASE"),
            "no PRIMARY KEY (namespace, key)",
        ),
        row(
            &SCHEMA.replace("expiration INTEGER,", "expiration INTEGER, owner TEXT NOT NULL,"),
            "the column owner of its table kv must be given a value",
        ),
        row(
            "CREATE TABLE t (namespace, key, value, metadata, expiration);
             CREATE VIEW kv AS SELECT * FROM t",
            "its kv is a view",
        ),
        row(&SCHEMA.replace("key));", "key)) WITHOUT ROWID;"), "WITHOUT ROWID"),
    ] {
        let fixture = Fixture::with(&statements);
        let before = schema(&fixture.other_program());
        for error in [fixture.error_of_get().await, fixture.error_of_put().await] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{statements}: {error}");
            assert!(error.message().contains(message), "{statements}: {error}");
            assert!(error.message().contains("CREATE TABLE IF NOT EXISTS kv"), "{error}");
            assert!(error.message().contains("kv.db"), "{error}");
        }
        assert_eq!(schema(&fixture.other_program()), before);
    }
    // More columns than ours do no harm where a row can be made without them.
    let fixture =
        Fixture::with(&SCHEMA.replace("expiration INTEGER,", "expiration INTEGER, note TEXT,"));
    let namespace = fixture.namespace(b"ns").await;
    put(&namespace, "k", "v").await.unwrap();
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"v");
}

#[tokio::test]
async fn what_is_no_database_or_can_not_be_written_is_said() {
    let fixture = Fixture::empty();
    std::fs::write(fixture.path(), "no database, but long enough to look like a file\n").unwrap();
    for error in [fixture.error_of_get().await, fixture.error_of_put().await] {
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(error.message().contains("no SQLite database") && !error.retryable(), "{error}");
    }
    assert!(std::fs::read_to_string(fixture.path()).unwrap().starts_with("no database"));

    let fixture = Fixture::empty();
    std::fs::create_dir(fixture.path()).unwrap();
    for error in [fixture.error_of_get().await, fixture.error_of_put().await] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("is a folder"), "{error}");
    }

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let backend = SqliteNamespaces::open(folder.path().join("file/data/kv.db"));
    let namespaces = Namespaces::new(backend, Arc::new(ManualClock::default()));
    let namespace = namespaces.namespace(b"ns").await.unwrap();
    let error = put(&namespace, "k", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));

    // The format says that a file whose write version is unknown may be read but not written: a
    // read-only file, whoever runs the test.
    let fixture = Fixture::existing();
    fixture
        .other_program()
        .execute("INSERT INTO kv VALUES ('ns', 'k', 'v', NULL, NULL)", ())
        .unwrap();
    let mut bytes = std::fs::read(fixture.path()).unwrap();
    bytes[18] = 9;
    std::fs::write(fixture.path(), bytes).unwrap();
    let namespace = fixture.namespace(b"ns").await;
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"v");
    for error in
        [put(&namespace, "k", "w").await.unwrap_err(), namespace.delete(b"k").await.unwrap_err()]
    {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));
        assert!(!error.retryable() && error.message().contains("permissions"), "{error}");
    }
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"v");
}

#[tokio::test]
async fn a_file_that_is_removed_or_changed_meanwhile_is_looked_at_anew() {
    let fixture = Fixture::existing();
    let namespace = fixture.namespace(b"ns").await;
    put(&namespace, "k", "v").await.unwrap();
    std::fs::remove_file(fixture.path()).unwrap();
    assert_eq!(put(&namespace, "k", "w").await.unwrap_err().outcome(), Some(Outcome::None));
    put(&namespace, "k", "w").await.unwrap();
    assert_eq!(get(&namespace, b"k").await.unwrap(), b"w");

    fixture.other_program().execute_batch("ALTER TABLE kv RENAME TO old").unwrap();
    for error in [
        put(&namespace, "k", "x").await.unwrap_err(),
        namespace.get(b"k").await.unwrap_err(),
        put(&namespace, "k", "x").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("none that is called kv"), "{error}");
    }
}
