//! From rows to entries and pages.
//!
//! Rows are taken as other programs may have written them: a payload that is no value, a key that
//! is no key.

use std::ops::Bound;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::access::{Access, Parameter};
use super::plan::Plan;
use super::scan::Scan;
use super::statements::PayloadType;
use crate::clock::UnixMillis;
use crate::entry::{Entry, Key, ListQuery, Page};
use crate::error::{Error, Result};
use crate::limits::{PAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::policy::Rights;
use crate::sql::range::KeyRange;
use crate::sql::{payload, row};

/// The entry of a key, if there is a row.
pub(super) fn to_entry(plan: &Plan, key: &Key, rows: &[Row]) -> Result<Option<Entry>> {
    rows.first().map(|row| entry_at(plan, key.clone(), row, 0)).transpose()
}

/// What asks for a page of the keys in a range that may be read.
pub(super) fn list(plan: &Plan, range: &KeyRange, items_max: usize, rights: &Rights) -> Access {
    // One row more tells whether there is more.
    let rows_max = items_max + 1;
    if rights.are_restricted() {
        let scan = Scan::new(&plan.statements, range, rows_max, rights);
        return Access::scan(scan).by(&plan.clock);
    }
    let (start, is_start_excluded) = start_of(range);
    let text = plan.statements.list(is_start_excluded, range.end.is_some());
    let rows_max = i64::try_from(rows_max).expect("at most PAGE_ITEMS_MAX and one");
    let bytes_max = i64::try_from(PAGE_PAYLOADS_BYTES_MAX).expect("small");
    let mut parameters = vec![
        Parameter::Now,
        Parameter::Text(start),
        Parameter::Integer(rows_max),
        Parameter::Integer(bytes_max),
    ];
    parameters.extend(range.end.clone().map(Parameter::Text));
    Access::read(text, parameters).by(&plan.clock)
}

/// Where a range starts, and whether it does so after that key.
pub(super) fn start_of(range: &KeyRange) -> (String, bool) {
    match &range.start {
        Bound::Included(start) => (start.clone(), false),
        Bound::Excluded(start) => (start.clone(), true),
        Bound::Unbounded => (String::new(), false),
    }
}

/// The page of the rows that the server has sent, which may be fewer than it has found.
pub(super) fn to_page(plan: &Plan, query: &ListQuery, rows: &[Row]) -> Result<Page> {
    let mut page = Page::default();
    let (mut bytes, mut seen, mut found) = (0, 0, 0_i64);
    for row in rows {
        found = column(row, 4)?;
        if page.items.len() >= query.items_max() || bytes >= PAGE_BYTES_MAX {
            break;
        }
        seen += 1;
        let key = Key::new(column(row, 0)?)?;
        let entry = entry_at(plan, key, row, 1)?;
        bytes += entry.key.as_str().len() + row::encoded_length(&plan.names, &entry)?;
        page.items.push(entry);
    }
    page.has_more = found > seen;
    page.cursor = page.items.last().map_or_else(String::new, |last| last.key.to_string());
    Ok(page)
}

/// The first millisecond at which an entry is gone.
pub(super) fn to_deadline(ms: Option<i64>) -> Option<UnixMillis> {
    ms.map(|ms| UnixMillis(u64::try_from(ms).unwrap_or(0)))
}

/// A column of a statement of ours, whose type we know.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, place: usize) -> Result<T> {
    row.try_get(place).map_err(|error| {
        Error::internal(format!(
            "the server answers with another type than it was asked for: {error}"
        ))
    })
}

/// The entry whose payload, length and deadline stand in a row, from a place on.
fn entry_at(plan: &Plan, key: Key, row: &Row, place: usize) -> Result<Entry> {
    let value = match read_payload(plan.payload_type, row, place)? {
        Some(payload) => payload::decode(payload),
        None => Err(unread(column(row, place + 1)?)),
    };
    let deadline = to_deadline(column(row, place + 2)?);
    row::to_entry(&plan.names, key, value, Ok(deadline))
}

fn read_payload(payload_type: PayloadType, row: &Row, place: usize) -> Result<Option<&[u8]>> {
    match payload_type {
        PayloadType::Bytes => column(row, place),
        PayloadType::Text | PayloadType::Json | PayloadType::Jsonb => {
            Ok(column::<Option<&str>>(row, place)?.map(str::as_bytes))
        }
    }
}

/// Why the server has not sent a payload, whose length it tells.
fn unread(length: Option<i32>) -> Error {
    match length {
        None => Error::internal("the payload is NULL, which is no value"),
        Some(length) => Error::internal(format!(
            "the payload has {length} bytes, the limit is {PAYLOAD_BYTES_MAX}"
        ))
        .with_detail("limit", PAYLOAD_BYTES_MAX)
        .with_detail("actual", i64::from(length)),
    }
}

/// The server sends no further payloads of a page once it has sent so many bytes of JSON: the JSON
/// of a page that is full by its encoding is about as long.
pub(super) const PAGE_PAYLOADS_BYTES_MAX: usize = 2 * PAGE_BYTES_MAX;
