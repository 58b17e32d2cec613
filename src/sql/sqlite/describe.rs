//! What SQLite tells about a table.
//!
//! The table-valued forms of the pragmas take the name as a parameter and fold its case as
//! statements do.

use rusqlite::{Connection, OptionalExtension, Row};

use super::failure::Failure;
use crate::error::Error;
use crate::sql::schema::{
    ColumnDescription, ColumnType, RelationKind, TableDescription, TableNames,
};

/// Reads what a table is; none if there is none.
pub(super) fn describe(
    connection: &Connection,
    names: &TableNames,
) -> Result<Option<TableDescription>, Failure> {
    check_encoding(connection)?;
    let table = names.table.as_str();
    let kind = connection
        .query_row(
            "SELECT type, strict FROM pragma_table_list(?1) WHERE schema = 'main'",
            [table],
            |row| Ok(relation_kind(&row.get::<_, String>(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some(kind) = kind else {
        return Ok(None);
    };
    let columns = connection
        .prepare(
            "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden \
             FROM pragma_table_xinfo(?1)",
        )?
        .query_map([table], |row| column(row, kind))?
        .collect::<Result<Vec<_>, _>>()?;
    let key_indexes = key_indexes(connection, names)?;
    let is_bytewise = |collation: &String| collation.eq_ignore_ascii_case("BINARY");
    let foreign = key_indexes.iter().find(|collation| !is_bytewise(collation));
    Ok(Some(TableDescription {
        kind,
        columns,
        is_key_unique: !key_indexes.is_empty(),
        key_collation: foreign.cloned(),
    }))
}

/// The order of keys is that of their bytes in UTF-8, which other encodings do not keep.
pub(super) fn check_encoding(connection: &Connection) -> Result<(), Failure> {
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    if encoding == "UTF-8" {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "file: the database keeps text as {encoding}, under which keys have another order: \
         a store needs one with PRAGMA encoding = 'UTF-8'"
    ))
    .with_detail("field", "file")
    .into())
}

fn relation_kind(kind: &str, is_strict: bool) -> RelationKind {
    match kind {
        "table" if is_strict => RelationKind::StrictTable,
        "table" => RelationKind::Table,
        "view" => RelationKind::View,
        _ => RelationKind::Virtual,
    }
}

fn column(row: &Row<'_>, kind: RelationKind) -> rusqlite::Result<ColumnDescription> {
    let declared_type: String = row.get(1)?;
    let is_key_of_table = row.get::<_, i64>(4)? > 0;
    let hidden: i64 = row.get(5)?;
    let is_rowid = is_key_of_table && declared_type.eq_ignore_ascii_case("INTEGER");
    // Outside strict tables ANY is a numeric type like every other unknown name.
    let is_any = kind == RelationKind::StrictTable && declared_type.eq_ignore_ascii_case("ANY");
    Ok(ColumnDescription {
        name: row.get(0)?,
        holds: if is_any { ColumnType::Untyped } else { ColumnType::parse(&declared_type) },
        declared_type,
        is_not_null: row.get(2)?,
        has_default: row.get::<_, bool>(3)? || is_rowid || hidden != 0,
        is_generated: hidden != 0,
    })
}

/// The collations of the unique indexes on the key column alone.
fn key_indexes(connection: &Connection, names: &TableNames) -> Result<Vec<String>, Failure> {
    let collations = connection
        .prepare(
            "SELECT min(part.coll) \
             FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS part \
             WHERE list.\"unique\" AND NOT list.partial AND part.key \
             GROUP BY list.name \
             HAVING count(*) = 1 AND min(part.name) = ?2 COLLATE NOCASE",
        )?
        .query_map([names.table.as_str(), names.key.as_str()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(collations)
}
