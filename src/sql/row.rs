//! From the columns of a row to an entry, on every database.

use crate::clock::UnixMillis;
use crate::entry::{Entry, Key, Version};
use crate::error::{Error, Result};
use crate::sql::TableNames;
use crate::value::{Encoded, Value};

/// The entry of a row, once its columns were read.
///
/// # Errors
/// What is wrong with a column, with the key, the column and the table.
pub(super) fn to_entry(
    names: &TableNames,
    key: Key,
    value: Result<Value>,
    deadline: Result<Option<UnixMillis>>,
) -> Result<Entry> {
    let value = value.map_err(|error| blame(error, &key, names, names.payload.as_str()))?;
    let expires_at = deadline.map_err(|error| blame(error, &key, names, names.expire.as_str()))?;
    Ok(Entry { key, value, version: Version::Unversioned, expires_at })
}

/// What an entry adds to its page, counted as on every other kind of store.
///
/// # Errors
/// `INTERNAL` if the value of another program is over a limit.
pub(super) fn encoded_length(names: &TableNames, entry: &Entry) -> Result<usize> {
    let encoded = Encoded::new(&entry.value).map_err(|error| {
        let error = Error::internal(error.message());
        blame(error, &entry.key, names, names.payload.as_str())
    })?;
    Ok(encoded.len())
}

/// Names the row and column of a value that can't be read.
fn blame(error: Error, key: &Key, names: &TableNames, column: &str) -> Error {
    let table = names.table.as_str();
    error
        .context(format_args!("key {key:?}, column {column:?} of table {table:?}"))
        .with_detail("key", key.as_str())
        .with_detail("column", column)
        .with_detail("table", table)
}
