//! Reads: each one statement on one connection, from rows to entries.
//!
//! Rows are taken as other programs may have written them: a payload of any storage class, a
//! deadline that is a float, a key that is no key.

use std::ops::Bound;

use rusqlite::Connection;
use rusqlite::types::{Type, ValueRef};

use super::failure::Failure;
use super::plan::Plan;
use crate::clock::UnixMillis;
use crate::entry::{Entry, Key, ListQuery, Page, Version};
use crate::error::{Error, Result};
use crate::limits::PAGE_BYTES_MAX;
use crate::policy::Rights;
use crate::sql::payload;
use crate::sql::range::KeyRange;
use crate::value::{Encoded, Value};

/// The entry of a key, if it is present.
pub(super) fn entry(
    connection: &Connection,
    plan: &Plan,
    key: &Key,
) -> Result<Option<Entry>, Failure> {
    let mut statement = connection.prepare_cached(&plan.statements.entry)?;
    let mut rows = statement.query((key.as_str(), plan.clock.bound_ms()))?;
    match rows.next()? {
        None => Ok(None),
        Some(row) => Ok(Some(to_entry(plan, key.clone(), row.get_ref(0)?, row.get_ref(1)?)?)),
    }
}

/// Whether a key is present.
pub(super) fn has(connection: &Connection, plan: &Plan, key: &Key) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(&plan.statements.has)?;
    Ok(statement.exists((key.as_str(), plan.clock.bound_ms()))?)
}

/// One page of entries.
///
/// Rows that are no entries or may not be read are passed over; the page ends at its limits only
/// once a further entry is seen, whose payload is not looked at.
pub(super) fn list(
    connection: &Connection,
    plan: &Plan,
    query: &ListQuery,
    rights: &Rights,
) -> Result<Page, Failure> {
    let mut page = Page::default();
    let Some(range) = KeyRange::of(query) else {
        return Ok(page);
    };
    let (start, is_start_excluded) = match &range.start {
        Bound::Included(start) => (start.as_str(), false),
        Bound::Excluded(start) => (start.as_str(), true),
        Bound::Unbounded => ("", false),
    };
    let text = plan.statements.list(is_start_excluded, range.end.is_some());
    let mut statement = connection.prepare_cached(text)?;
    statement.raw_bind_parameter(1, plan.clock.bound_ms())?;
    statement.raw_bind_parameter(2, start)?;
    if let Some(end) = &range.end {
        statement.raw_bind_parameter(3, end)?;
    }
    let mut rows = statement.raw_query();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let key = to_key(plan, row.get_ref(0)?).filter(|key| rights.may_read(key.as_str()));
        let Some(key) = key else {
            continue;
        };
        if page.items.len() >= query.items_max() || bytes >= PAGE_BYTES_MAX {
            page.has_more = true;
            break;
        }
        let entry = to_entry(plan, key, row.get_ref(1)?, row.get_ref(2)?)?;
        bytes += entry.key.as_str().len() + encoded_length(plan, &entry)?;
        page.items.push(entry);
    }
    page.cursor = page.items.last().map_or_else(String::new, |last| last.key.to_string());
    Ok(page)
}

/// The key of a row, if it can be one.
fn to_key(plan: &Plan, key: ValueRef<'_>) -> Option<Key> {
    let ValueRef::Text(bytes) = key else {
        return None;
    };
    Key::from_bytes(bytes).ok().filter(|key| plan.key_limit.admits(key.as_str()))
}

fn to_entry(plan: &Plan, key: Key, payload: ValueRef<'_>, deadline: ValueRef<'_>) -> Result<Entry> {
    let value =
        to_value(payload).map_err(|error| blame(error, &key, plan, plan.names.payload.as_str()))?;
    let expires_at = to_deadline(deadline)
        .map_err(|error| blame(error, &key, plan, plan.names.expire.as_str()))?;
    Ok(Entry { key, value, version: Version::Unversioned, expires_at })
}

fn to_value(payload: ValueRef<'_>) -> Result<Value> {
    match payload {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => payload::decode(bytes),
        ValueRef::Integer(integer) => Ok(Value::Integer(integer)),
        ValueRef::Real(float) => Ok(Value::Float(float)),
        ValueRef::Null => Err(Error::internal("the payload is NULL, which is no value")),
    }
}

/// The first whole millisecond at which the entry is gone.
pub(super) fn to_deadline(deadline: ValueRef<'_>) -> Result<Option<UnixMillis>> {
    match deadline {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(ms) => Ok(Some(UnixMillis(u64::try_from(ms).unwrap_or(0)))),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates"
        )]
        ValueRef::Real(ms) => Ok(Some(UnixMillis(ms.ceil() as u64))),
        ValueRef::Text(_) | ValueRef::Blob(_) => {
            let found = match deadline.data_type() {
                Type::Text => "text",
                _ => "bytes",
            };
            Err(Error::internal(format!(
                "the deadline is {found}, not a number of Unix milliseconds"
            )))
        }
    }
}

/// What an entry adds to its page, counted as on every other kind of store.
fn encoded_length(plan: &Plan, entry: &Entry) -> Result<usize> {
    let encoded = Encoded::new(&entry.value).map_err(|error| {
        let error = Error::internal(error.message());
        blame(error, &entry.key, plan, plan.names.payload.as_str())
    })?;
    Ok(encoded.len())
}

/// Names the row and column of a value that can't be read.
fn blame(error: Error, key: &Key, plan: &Plan, column: &str) -> Error {
    let table = plan.names.table.as_str();
    error
        .context(format_args!("key {key:?}, column {column:?} of table {table:?}"))
        .with_detail("key", key.as_str())
        .with_detail("column", column)
        .with_detail("table", table)
}
