//! What PostgreSQL tells about a table.
//!
//! Read from the catalog, which answers without any right on the table itself. The name is looked
//! up as statements look it up: along the search path, its case as it stands.

use std::sync::Arc;

use super::access::{Access, Parameter, perform};
use super::pool::Pool;
use super::rows::column;
use super::statements::PayloadType;
use crate::error::{Error, Result};
use crate::sql::schema::{
    ColumnDescription, ColumnType, RelationKind, TableDescription, TableNames,
};

/// What a table is.
pub(super) struct Found {
    pub(super) table: TableDescription,
    /// The type of the payload column; none if there is none that can hold payloads.
    pub(super) payload_type: Option<PayloadType>,
    /// Whether a commit in it outlives a crash of the server.
    pub(super) is_durable: bool,
}

/// Reads what a table is; none if there is none.
pub(super) async fn describe(pool: &Arc<Pool>, names: &TableNames) -> Result<Option<Found>> {
    let rows = |text, parameters| async move {
        perform(pool, &Access::read(text, parameters)).await.map(|answer| answer.rows)
    };
    let relation = rows(RELATION, vec![Parameter::Text(names.table.to_string())]).await?;
    let row = relation.first().ok_or_else(|| Error::internal("no answer about the server"))?;
    check_server(column(row, 0)?, column(row, 1)?)?;
    let Some(id) = column::<Option<u32>>(row, 2)? else {
        return Ok(None);
    };
    let kind = relation_kind(column(row, 3)?);
    let is_durable = column(row, 4)?;
    let mut columns = Vec::new();
    let mut payload_type = None;
    let mut key_collation = None;
    for row in &rows(COLUMNS, vec![Parameter::Id(id)]).await? {
        let name: &str = column(row, 0)?;
        let base: &str = column(row, 2)?;
        if name == names.payload.as_str() {
            payload_type = to_payload_type(base);
        }
        if name == names.key.as_str() {
            key_collation = column::<Option<String>>(row, 7)?;
        }
        columns.push(ColumnDescription {
            name: name.to_owned(),
            declared_type: column(row, 1)?,
            holds: to_column_type(base, column(row, 3)?),
            is_not_null: column(row, 4)?,
            has_default: column(row, 5)?,
            is_generated: column(row, 6)?,
        });
    }
    let key = Parameter::Text(names.key.as_str().to_owned());
    let indexes = rows(KEY_INDEXES, vec![Parameter::Id(id), key]).await?;
    for index in &indexes {
        key_collation = key_collation.or(column(index, 0)?);
    }
    let table = TableDescription {
        kind,
        columns,
        is_key_unique: !indexes.is_empty(),
        key_collation,
        folds_case: false,
    };
    Ok(Some(Found { table, payload_type, is_durable }))
}

fn check_server(version: i32, encoding: &str) -> Result<()> {
    if version < VERSION_MIN {
        return Err(Error::invalid(format!(
            "host: the server is PostgreSQL {}; a store needs {} or newer",
            version / VERSION_UNIT,
            VERSION_MIN / VERSION_UNIT
        ))
        .with_detail("field", "host"));
    }
    // The order of keys is that of their bytes in UTF-8, which other encodings do not keep.
    if encoding != "UTF8" {
        return Err(Error::invalid(format!(
            "database: it keeps text as {encoding}, under which keys have another order: a store \
             needs one with ENCODING 'UTF8'"
        ))
        .with_detail("field", "database"));
    }
    Ok(())
}

fn relation_kind(kind: &str) -> RelationKind {
    match kind {
        // Ordinary and partitioned tables.
        "r" | "p" => RelationKind::Table,
        // Views, and those that are kept.
        "v" | "m" => RelationKind::View,
        _ => RelationKind::Virtual,
    }
}

/// What a type holds, by its name in the catalog. `char` is none for keys, because it fills them
/// with blanks; smaller integers hold no deadlines.
fn to_column_type(base: &str, length: Option<i32>) -> ColumnType {
    match base {
        "varchar" => ColumnType::Text(length.and_then(|length| usize::try_from(length).ok())),
        "text" => ColumnType::Text(None),
        "bytea" => ColumnType::Bytes,
        "json" | "jsonb" => ColumnType::Json,
        "int8" => ColumnType::Integer,
        _ => ColumnType::Other,
    }
}

fn to_payload_type(base: &str) -> Option<PayloadType> {
    match base {
        "bytea" => Some(PayloadType::Bytes),
        "text" | "varchar" => Some(PayloadType::Text),
        "json" => Some(PayloadType::Json),
        "jsonb" => Some(PayloadType::Jsonb),
        _ => None,
    }
}

/// $1 name in quotes: version, encoding; and, if there is such a relation, its id, kind, and
/// whether what is committed in it is durable.
const RELATION: &str = "\
SELECT CAST(current_setting('server_version_num') AS integer), \
    current_setting('server_encoding'), \
    relation.oid, \
    CAST(relation.relkind AS text), \
    relation.relpersistence = 'p' AND current_setting('synchronous_commit') <> 'off' \
        AND current_setting('fsync') = 'on' \
FROM (SELECT to_regclass(CAST($1 AS text)) AS id) AS wanted \
LEFT JOIN pg_catalog.pg_class AS relation ON relation.oid = wanted.id";

/// $1 id: name, declared type, the type beneath a domain, its length in characters, whether it is
/// not null, has a default, is generated, and its collation if that may take different texts for
/// one.
const COLUMNS: &str = "\
SELECT CAST(a.attname AS text), \
    format_type(a.atttypid, a.atttypmod), \
    CAST(base.typname AS text), \
    CASE WHEN coalesce(domain.typtypmod, a.atttypmod) >= 4 \
        THEN coalesce(domain.typtypmod, a.atttypmod) - 4 END, \
    a.attnotnull OR coalesce(domain.typnotnull, false), \
    a.atthasdef OR a.attidentity <> '' OR coalesce(domain.typdefault IS NOT NULL, false), \
    a.attgenerated <> '' OR a.attidentity = 'a', \
    CASE WHEN NOT c.collisdeterministic THEN CAST(c.collname AS text) END \
FROM pg_catalog.pg_attribute AS a \
LEFT JOIN pg_catalog.pg_type AS domain ON domain.oid = a.atttypid AND domain.typtype = 'd' \
JOIN pg_catalog.pg_type AS base ON base.oid = coalesce(domain.typbasetype, a.atttypid) \
LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation \
WHERE a.attrelid = CAST($1 AS oid) AND a.attnum > 0 AND NOT a.attisdropped \
ORDER BY a.attnum";

/// $1 id, $2 key column: one row for each unique index on that column alone which can tell whether
/// a key is there, with its collation if that may take different texts for one.
const KEY_INDEXES: &str = "\
SELECT CASE WHEN NOT c.collisdeterministic THEN CAST(c.collname AS text) END \
FROM pg_catalog.pg_index AS i \
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = i.indcollation[0] \
WHERE i.indrelid = CAST($1 AS oid) AND a.attname = CAST($2 AS text) \
    AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
    AND i.indnkeyatts = 1";

/// The oldest server whose catalog has all this.
const VERSION_MIN: i32 = 12 * VERSION_UNIT;

/// A major version, as the server counts.
const VERSION_UNIT: i32 = 10_000;
