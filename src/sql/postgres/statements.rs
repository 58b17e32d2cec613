//! The statements of one table, in PostgreSQL's dialect.
//!
//! Each takes the bound time as a parameter that may be NULL and then reads the server's clock.
//! Statements about one row read it when they judge or write the row, after any wait for its lock;
//! statements about many rows read it once, so that a deadline can't pass between two of them.
//!
//! One key is compared as its column is: what is no collation for different keys (`describe` sees
//! to that) is bytewise for equality, and so the index of the column serves. Order is bytewise by
//! name.
//!
//! Every parameter is cast, so that its type does not depend on the table.

use std::sync::Arc;

use crate::limits::{KEY_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::sql::schema::TableNames;

/// What the column of payloads holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadType {
    /// `bytea`.
    Bytes,
    /// `text`, `varchar` or `char`.
    Text,
    /// `json`: the text as it was written.
    Json,
    /// `jsonb`: what the text means.
    Jsonb,
}

/// The texts of the statements; prepared once per connection, found again by their text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statements {
    /// $1 key, $2 now: payload unless it is too long, its length, deadline.
    pub(super) entry: Arc<str>,
    /// $1 key, $2 now: a row if the key is present.
    pub(super) has: Arc<str>,
    /// $1 key, $2 payload: writes a row without a deadline.
    pub(super) upsert: Arc<str>,
    /// $1 key, $2 payload, $3 ttl in ms, $4 now: writes a row with a deadline, and returns it.
    pub(super) upsert_ttl: Arc<str>,
    /// $1 key, $2 now: deletes a present row.
    pub(super) delete: Arc<str>,
    /// $1 now, $2 most rows: deletes rows whose deadline has come.
    pub(super) sweep: Arc<str>,
    /// $1 now, $2 start, $3 most rows, $4 most bytes, $5 end: key, payload unless it is too long,
    /// its length, deadline, and how many rows there were before the bytes ran out; in key order.
    list: [Arc<str>; 4],
    /// $1 now, $2 start, $3 most rows, $4 end: keys, in key order.
    keys: [Arc<str>; 4],
    /// As a listing, but $2 is the keys that are wanted.
    pub(super) page: Arc<str>,
}

impl Statements {
    pub(super) fn new(names: &TableNames, payload_type: PayloadType) -> Self {
        let TableNames { table, key, payload, expire } = names;
        let is_live = |now: &str| format!("({expire} IS NULL OR {expire} > {now})");
        let has_key = format!("{key} = CAST($1 AS text)");
        let (read, size) = (payload_type.read(names), payload_type.size(names));
        let upsert = |deadline: &str| {
            format!(
                "INSERT INTO {table} ({key}, {payload}, {expire}) \
                 VALUES (CAST($1 AS text), {}, {deadline}) ON CONFLICT ({key}) DO UPDATE \
                 SET {payload} = excluded.{payload}, {expire} = {deadline}",
                payload_type.parameter()
            )
        };
        let deadline = format!("CAST($3 AS bigint) + {}", now_ms(4));
        Self {
            entry: format!(
                "SELECT CASE WHEN {size} <= {PAYLOAD_BYTES_MAX} THEN {read} END, {size}, {expire} \
                 FROM {table} WHERE {has_key} AND {}",
                is_live(&now_ms(2))
            )
            .into(),
            has: format!("SELECT 1 FROM {table} WHERE {has_key} AND {}", is_live(&now_ms(2)))
                .into(),
            upsert: upsert("NULL").into(),
            upsert_ttl: format!("{} RETURNING {expire}", upsert(&deadline)).into(),
            delete: format!("DELETE FROM {table} WHERE {has_key} AND {}", is_live(&now_ms(2)))
                .into(),
            sweep: format!(
                "DELETE FROM {table} WHERE {key} = ANY (ARRAY(SELECT {key} FROM {table} \
                 WHERE {expire} <= (SELECT {now}) AND {key} IS NOT NULL \
                 LIMIT CAST($2 AS bigint) FOR UPDATE SKIP LOCKED)) AND {expire} <= (SELECT {now})",
                now = now_ms(1)
            )
            .into(),
            list: RANGES
                .map(|range| list(names, payload_type, &in_range(names, range, "$2", "$5")).into()),
            keys: RANGES.map(|range| keys(names, &in_range(names, range, "$2", "$4")).into()),
            page: list(names, payload_type, &format!("{key} = ANY (CAST($2 AS text[]))")).into(),
        }
    }

    /// The statement of a listing.
    pub(super) fn list(&self, is_start_excluded: bool, has_end: bool) -> Arc<str> {
        Arc::clone(&self.list[usize::from(is_start_excluded) + 2 * usize::from(has_end)])
    }

    /// The statement of a listing of keys alone.
    pub(super) fn keys(&self, is_start_excluded: bool, has_end: bool) -> Arc<str> {
        Arc::clone(&self.keys[usize::from(is_start_excluded) + 2 * usize::from(has_end)])
    }
}

/// The kinds of ranges: how they start, and whether they end.
const RANGES: [(&str, bool); 4] = [(">=", false), (">", false), (">=", true), (">", true)];

/// Whether a key is in a range between two parameters.
fn in_range(
    TableNames { key, .. }: &TableNames,
    (from, has_end): (&str, bool),
    start: &str,
    end: &str,
) -> String {
    let end = match has_end {
        true => format!(" AND {key} {BYTEWISE} < CAST({end} AS text)"),
        false => String::new(),
    };
    format!("{key} {BYTEWISE} {from} CAST({start} AS text){end}")
}

/// The keys of entries that are wanted.
fn keys(names: &TableNames, is_wanted: &str) -> String {
    let TableNames { table, key, .. } = names;
    format!(
        "SELECT CAST({key} AS text) FROM {table} WHERE {} \
         ORDER BY {key} {BYTEWISE} LIMIT CAST($3 AS bigint)",
        is_listed(names, is_wanted)
    )
}

/// Whether a row is an entry that is wanted.
fn is_listed(TableNames { key, expire, .. }: &TableNames, is_wanted: &str) -> String {
    format!(
        "{is_wanted} AND octet_length({key}) BETWEEN 1 AND {KEY_BYTES_MAX} \
         AND ({expire} IS NULL OR {expire} > (SELECT {}))",
        now_ms(1)
    )
}

/// The server's clock, or the time that is bound as $1.
pub(super) fn clock() -> String {
    format!("SELECT {}", now_ms(1))
}

/// The rows of a page, of which the server sends no more than may fit. From the inside: at most so
/// many rows in order; how many bytes stand before each; those before which the bytes suffice.
fn list(names: &TableNames, payload_type: PayloadType, is_wanted: &str) -> String {
    let TableNames { table, key, expire, .. } = names;
    let (read, size) = (payload_type.read(names), payload_type.size(names));
    format!(
        "SELECT found_key, CASE WHEN found_size <= {PAYLOAD_BYTES_MAX} THEN found_payload END, \
         found_size, found_deadline, found_rows FROM (\
         SELECT *, count(*) OVER () AS found_rows, coalesce(sum(found_size) OVER (\
         ORDER BY found_key {BYTEWISE} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) \
         AS bytes_before FROM (\
         SELECT CAST({key} AS text) AS found_key, {read} AS found_payload, {size} AS found_size, \
         {expire} AS found_deadline FROM {table} WHERE {} \
         ORDER BY {key} {BYTEWISE} LIMIT CAST($3 AS bigint)) AS page) AS measured \
         WHERE bytes_before < CAST($4 AS bigint) ORDER BY found_key {BYTEWISE}",
        is_listed(names, is_wanted)
    )
}

impl PayloadType {
    /// The payload as it is read: bytes as bytes, all else as text.
    fn read(self, TableNames { payload, .. }: &TableNames) -> String {
        match self {
            Self::Bytes => payload.to_string(),
            Self::Text | Self::Json | Self::Jsonb => format!("CAST({payload} AS text)"),
        }
    }

    /// How many bytes that has.
    fn size(self, names: &TableNames) -> String {
        format!("octet_length({})", self.read(names))
    }

    /// The payload as it is written.
    const fn parameter(self) -> &'static str {
        match self {
            Self::Bytes => "CAST($2 AS bytea)",
            Self::Text => "CAST($2 AS text)",
            Self::Json => "CAST(CAST($2 AS text) AS json)",
            Self::Jsonb => "CAST(CAST($2 AS text) AS jsonb)",
        }
    }
}

/// The order of keys.
const BYTEWISE: &str = "COLLATE \"C\"";

/// The time: what is bound, else the server's clock, in whole milliseconds that have passed.
fn now_ms(parameter: usize) -> String {
    format!(
        "coalesce(CAST(${parameter} AS bigint), \
         CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint))"
    )
}
