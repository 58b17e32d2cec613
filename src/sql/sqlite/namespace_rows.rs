//! The rows of the table `kv`: its statements, and whether a file has it.
//!
//! Namespaces and keys are byte strings. We write them as text of those very bytes, UTF-8 or not,
//! which SQLite compares bytewise. Other programs may have written them as BLOBs, which SQLite
//! keeps apart from text: each name has two forms, so an entry may stand in one of four rows. All
//! four are read, text first, and listed as one; a write leaves the text form alone.
//!
//! Values of any storage class are read as their bytes, those of numbers as decimal text. An
//! expiration that is no number is none. Rows whose namespace or key is NULL have no name.
//!
//! Each put that expires also looks at a few rows at a random place and deletes those that have
//! expired: what nobody asks for again goes away in time, and no write pays for a walk.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use bytes::Bytes;

use super::describe::check_encoding;
use super::failure::Failure;
use crate::clock::UnixMillis;
use crate::error::Error;
use crate::limits::KV_PAGE_BYTES_MAX;
use crate::namespaces::{Batch, Range, Record, Row};
use crate::sql::range::above_prefix;

/// What a new file is made with: the schema that existing files have.
pub(super) const DDL: &str = "\
CREATE TABLE IF NOT EXISTS kv (
    namespace TEXT,
    key TEXT,
    value BLOB NOT NULL,
    metadata TEXT,
    expiration INTEGER,
    PRIMARY KEY (namespace, key)
);
CREATE INDEX IF NOT EXISTS idx_kv_namespace_key ON kv (namespace, key);";

/// A key in a namespace.
#[derive(Debug)]
pub(super) struct NamespaceKey {
    namespace: Vec<u8>,
    key: Vec<u8>,
}

impl NamespaceKey {
    pub(super) fn new(namespace: &[u8], key: &[u8]) -> Self {
        Self { namespace: namespace.to_vec(), key: key.to_vec() }
    }

    /// Both forms of the namespace, then both of the key.
    fn forms(&self) -> [Name<'_>; 4] {
        let Self { namespace, key } = self;
        [Name::Text(namespace), Name::Blob(namespace), Name::Text(key), Name::Blob(key)]
    }
}

/// A name in one of its forms.
#[derive(Clone, Copy)]
enum Name<'a> {
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl ToSql for Name<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The record of a key that is present.
pub(super) fn read(
    connection: &Connection,
    key: &NamespaceKey,
    now: UnixMillis,
) -> Result<Option<Record>, Failure> {
    let [text, blob, key_text, key_blob] = key.forms();
    let mut statement = connection.prepare_cached(READ)?;
    let record = statement
        .query_row((text, blob, key_text, key_blob, seconds(now)), |row| {
            Ok(Record {
                value: to_bytes(row, 0)?.unwrap_or_default(),
                metadata: to_bytes(row, 1)?,
                expiration: to_expiration(row.get_ref(2)?),
            })
        })
        .optional()?;
    Ok(record)
}

/// Writes a record, whatever was there.
pub(super) fn write(
    connection: &Connection,
    key: &NamespaceKey,
    record: &Record,
    now: UnixMillis,
) -> Result<(), Failure> {
    let [text, blob, key_text, key_blob] = key.forms();
    let metadata = record.metadata.as_deref().map(Name::Text);
    let parameters = (text, key_text, &record.value[..], metadata, record.expiration);
    connection.prepare_cached(WRITE)?.execute(parameters)?;
    connection.prepare_cached(REMOVE_BLOBS)?.execute((text, blob, key_text, key_blob))?;
    if record.expiration.is_some() {
        connection.prepare_cached(SWEEP)?.execute((seconds(now), ROWS_SWEPT))?;
    }
    Ok(())
}

/// Removes a record, in whatever form.
pub(super) fn remove(connection: &Connection, key: &NamespaceKey) -> Result<(), Failure> {
    connection.prepare_cached(REMOVE)?.execute(key.forms())?;
    Ok(())
}

/// The next present rows of a range.
pub(super) fn scan(
    connection: &Connection,
    namespace: &[u8],
    range: &Range,
    now: UnixMillis,
) -> Result<Batch, Failure> {
    let end = above_prefix(&range.prefix);
    let mut start = range.prefix.to_vec();
    if let Some(after) = &range.after
        && *after >= range.prefix
    {
        // The least byte string above a name is the name with a zero byte behind it.
        start.clear();
        start.extend_from_slice(after);
        start.push(0);
    }
    let (mut rows, mut cut) = (Vec::new(), None::<Bytes>);
    for namespace in [Name::Text(namespace), Name::Blob(namespace)] {
        let text_end = match &end {
            Some(end) => Name::Text(end),
            // Every text stands before every BLOB.
            None => Name::Blob(&[]),
        };
        let texts = (Name::Text(&start), Some(text_end));
        let blobs = (Name::Blob(&start), end.as_deref().map(Name::Blob));
        for (start, end) in [texts, blobs] {
            let part = scan_form(connection, namespace, start, end, range.rows_max, now)?;
            cut = [cut, part.more_after].into_iter().flatten().min();
            rows.extend(part.rows);
        }
    }
    // A form that was cut short may have more rows from there on: they come with the next batch.
    rows.retain(|row| cut.as_ref().is_none_or(|cut| row.name <= *cut));
    // The sort is stable, and texts were read first.
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows.dedup_by(|later, earlier| later.name == earlier.name);
    Ok(Batch { rows, more_after: cut })
}

/// The rows of a range whose namespace and key have one form each.
fn scan_form(
    connection: &Connection,
    namespace: Name<'_>,
    start: Name<'_>,
    end: Option<Name<'_>>,
    rows_max: usize,
    now: UnixMillis,
) -> Result<Batch, Failure> {
    let text = if end.is_some() { SCAN_TO } else { SCAN };
    let mut statement = connection.prepare_cached(text)?;
    statement.raw_bind_parameter(1, namespace)?;
    statement.raw_bind_parameter(2, start)?;
    statement.raw_bind_parameter(3, seconds(now))?;
    if let Some(end) = end {
        statement.raw_bind_parameter(4, end)?;
    }
    let mut batch = Batch::default();
    let mut bytes = 0;
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        if batch.rows.len() >= rows_max || bytes >= KV_PAGE_BYTES_MAX {
            batch.more_after = batch.rows.last().map(|last: &Row| last.name.clone());
            break;
        }
        let name = to_bytes(row, 0)?.unwrap_or_default();
        let metadata = to_bytes(row, 1)?;
        bytes += name.len() + metadata.as_ref().map_or(0, Bytes::len);
        batch.rows.push(Row { name, metadata, expiration: to_expiration(row.get_ref(2)?) });
    }
    Ok(batch)
}

/// Whether a file has its table; not, if it has none at all.
///
/// # Errors
/// `INVALID` if it has others, or one of this name that can't serve.
pub(super) fn check(connection: &Connection, database: &str) -> Result<bool, Failure> {
    check_encoding(connection)?;
    let kind: Option<(String, bool)> = connection
        .query_row(
            "SELECT type, wr FROM pragma_table_list('kv') WHERE schema = 'main'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let problem = match kind {
        None => {
            let others =
                "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'";
            if connection.query_row(others, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(false);
            }
            Some("it has other tables, and none that is called kv".to_owned())
        }
        Some((kind, _)) if kind != "table" => Some(format!("its kv is a {kind}, not a table")),
        Some((_, true)) => Some("its table kv is WITHOUT ROWID".to_owned()),
        Some((_, false)) => wrong_columns(connection)?,
    };
    match problem {
        None => Ok(true),
        Some(problem) => Err(Error::invalid(format!(
            "{database} is not one of KV: {problem}; set data_dir of luat.toml to another folder, \
             or move the file away. KV keeps its entries in\n{DDL}"
        ))
        .with_detail("ddl", DDL)
        .into()),
    }
}

/// What is wrong with the columns of the table, if anything is.
fn wrong_columns(connection: &Connection) -> Result<Option<String>, Failure> {
    let columns = connection
        .prepare(
            "SELECT lower(name), upper(type), \
             \"notnull\" AND dflt_value IS NULL AND hidden = 0 FROM pragma_table_xinfo('kv')",
        )?
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (name, declared) in COLUMNS {
        match columns.iter().find(|(column, _, _)| column == name) {
            None => return Ok(Some(format!("its table kv has no column {name}"))),
            Some((_, actual, _)) if actual != declared => {
                return Ok(Some(format!(
                    "the column {name} of its table kv is {actual:?}, not {declared}"
                )));
            }
            Some(_) => {}
        }
    }
    let is_ours = |name: &str| COLUMNS.iter().any(|(column, _)| *column == name);
    if let Some((name, ..)) = columns.iter().find(|(name, _, must)| *must && !is_ours(name)) {
        return Ok(Some(format!("the column {name} of its table kv must be given a value")));
    }
    let is_unique: bool = connection.query_row(UNIQUE, [], |row| row.get(0))?;
    let problem = "its table kv has no PRIMARY KEY (namespace, key)";
    Ok((!is_unique).then(|| problem.to_owned()))
}

/// Whole seconds: an expiration that is a whole number is above them exactly while it lies ahead,
/// and one with a fraction counts as the next second.
fn seconds(now: UnixMillis) -> i64 {
    i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX)
}

fn to_bytes(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<Bytes>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Bytes::copy_from_slice(bytes)),
        // The statements leave no numbers.
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn to_expiration(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(seconds) => Some(seconds),
        ValueRef::Real(seconds) => Some(seconds.ceil() as i64),
        ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => None,
    }
}

const COLUMNS: [(&str, &str); 5] = [
    ("namespace", "TEXT"),
    ("key", "TEXT"),
    ("value", "BLOB"),
    ("metadata", "TEXT"),
    ("expiration", "INTEGER"),
];

/// Whether namespace and key together are unique, bytewise.
const UNIQUE: &str = "\
SELECT EXISTS (
    SELECT 1 FROM pragma_index_list('kv') AS list, pragma_index_xinfo(list.name) AS part
    WHERE list.\"unique\" AND NOT list.partial AND part.key
    GROUP BY list.name
    HAVING count(*) = 2 AND min(lower(part.name)) = 'key' AND max(lower(part.name)) = 'namespace'
        AND min(part.coll) = 'BINARY' AND max(part.coll) = 'BINARY'
)";

/// ?1, ?2 namespace, ?3, ?4 key, ?5 now.
const READ: &str = "\
SELECT CAST(value AS BLOB), CAST(metadata AS BLOB), expiration FROM kv
WHERE namespace IN (?1, ?2) AND key IN (?3, ?4) AND (expiration IS NULL OR expiration > ?5)
ORDER BY typeof(namespace) DESC, typeof(key) DESC LIMIT 1";

/// ?1 namespace, ?2 start, ?3 now.
const SCAN: &str = "\
SELECT key, CAST(metadata AS BLOB), expiration FROM kv
WHERE namespace = ?1 AND key >= ?2 AND (expiration IS NULL OR expiration > ?3) ORDER BY key";

/// As [`SCAN`], ?4 end.
const SCAN_TO: &str = "\
SELECT key, CAST(metadata AS BLOB), expiration FROM kv
WHERE namespace = ?1 AND key >= ?2 AND key < ?4 AND (expiration IS NULL OR expiration > ?3)
ORDER BY key";

const WRITE: &str = "\
INSERT INTO kv (namespace, key, value, metadata, expiration) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (namespace, key) DO UPDATE
SET value = excluded.value, metadata = excluded.metadata, expiration = excluded.expiration";

/// ?1, ?2 namespace, ?3, ?4 key.
const REMOVE: &str = "DELETE FROM kv WHERE namespace IN (?1, ?2) AND key IN (?3, ?4)";

/// As [`REMOVE`], but for the row whose namespace and key are text.
const REMOVE_BLOBS: &str = "\
DELETE FROM kv WHERE namespace IN (?1, ?2) AND key IN (?3, ?4)
AND (typeof(namespace) = 'blob' OR typeof(key) = 'blob')";

/// ?1 now, ?2 how many rows to look at.
const SWEEP: &str = "\
DELETE FROM kv WHERE expiration <= ?1 AND rowid IN (
    SELECT rowid FROM kv
    WHERE rowid >= (SELECT abs(random() % (last + 1)) FROM (SELECT max(rowid) AS last FROM kv))
    ORDER BY rowid LIMIT ?2
)";

/// Enough to keep up with any rate of writes: more rows are looked at than are added.
const ROWS_SWEPT: i64 = 16;
