//! The table of a store: its names, its DDL, and whether a table that exists can serve.
//!
//! Read when a store opens, so that a wrong table is one clear error that names the field of the
//! configuration, instead of an error of every call. What a database tells about a table is put
//! into a [`TableDescription`] first; the judgement is the same for every database.
//!
//! A table may have more columns than the store knows, as long as a row can be inserted without
//! them; an update leaves them as they are.

use std::fmt::Write as _;

use super::Identifier;
use crate::error::{Error, Result};
use crate::value::Value;

/// The configured names of a store's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// The table (`table_name`).
    pub table: Identifier,
    /// The column of keys (`id_column_name`).
    pub key: Identifier,
    /// The column of values (`payload_column_name`).
    pub payload: Identifier,
    /// The column of deadlines in Unix milliseconds (`expire_column_name`).
    pub expire: Identifier,
}

/// Whose SQL a statement is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

/// What a column holds, by its declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text, of at most so many characters.
    Text(Option<usize>),
    /// Bytes.
    Bytes,
    /// JSON.
    Json,
    /// Integers.
    Integer,
    /// Whatever is put in.
    Untyped,
    /// Anything else.
    Other,
}

/// A column of a table that exists.
#[derive(Clone, Debug)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// The type as it was declared.
    pub declared_type: String,
    /// What it holds.
    pub holds: ColumnType,
    /// Whether NULL is refused.
    pub is_not_null: bool,
    /// Whether the database fills it in if an insert does not name it.
    pub has_default: bool,
    /// Whether it is computed and can't be written.
    pub is_generated: bool,
}

/// What a relation with the configured name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// A table whose columns take only values of their declared types.
    StrictTable,
    /// A view.
    View,
    /// A virtual table, or another thing without ordinary rows.
    Virtual,
}

/// What a database tells about a table.
#[derive(Clone, Debug)]
pub struct TableDescription {
    /// What it is.
    pub kind: RelationKind,
    /// Its columns.
    pub columns: Vec<ColumnDescription>,
    /// Whether the key column alone is unique.
    pub is_key_unique: bool,
    /// The collation of the key, if it may take different keys for one.
    pub key_collation: Option<String>,
    /// Whether the database takes names for one that differ only in case.
    pub folds_case: bool,
}

/// What a table says about the keys that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimit(Option<usize>);

impl TableNames {
    /// Checks that the columns are three.
    ///
    /// # Errors
    /// `INVALID` if a name occurs twice.
    pub fn check(&self) -> Result<()> {
        let columns = self.columns();
        for (position, (field, name)) in columns.iter().enumerate() {
            for (other_field, other) in &columns[..position] {
                if name.is_same_name(other.as_str()) {
                    return Err(Error::invalid(format!(
                        "{other_field} and {field} are both {name}: a store needs three columns"
                    ))
                    .with_detail("field", *field));
                }
            }
        }
        Ok(())
    }

    /// The statements that make the table and the index by which it is swept.
    #[must_use]
    pub fn ddl(&self, dialect: Dialect) -> String {
        let Self { table, key, payload, expire } = self;
        let bytewise = match dialect {
            Dialect::Sqlite => "",
            // So that the index of the primary key serves listings, whatever the database's locale.
            Dialect::Postgres => " COLLATE \"C\"",
        };
        let index = format!("\"idx_{}_{}\"", table.as_str(), expire.as_str());
        let mut ddl = String::new();
        write!(
            ddl,
            "CREATE TABLE IF NOT EXISTS {table} (\n    \
                 {key} VARCHAR(255){bytewise} PRIMARY KEY,\n    \
                 {payload} BYTEA NOT NULL,\n    \
                 {expire} BIGINT\n\
             );\n\
             CREATE INDEX IF NOT EXISTS {index} ON {table} ({expire}) WHERE {expire} IS NOT NULL;"
        )
        .expect("a string takes every write");
        ddl
    }

    /// The error of a table that is not there.
    #[must_use]
    pub fn missing_table(&self, dialect: Dialect, database: &str) -> Error {
        let ddl = self.ddl(dialect);
        Error::invalid(format!(
            "table_name: {database} has no table {}; set create_table: true, or create it with\n{ddl}",
            self.table
        ))
        .with_detail("field", FIELD_TABLE)
        .with_detail("ddl", ddl)
    }

    /// Judges a table that exists.
    ///
    /// # Errors
    /// `INVALID`, naming the field, if the store can't work on it.
    pub fn check_table(&self, found: &TableDescription) -> Result<KeyLimit> {
        self.check_kind(found)?;
        let key = self.column(found, FIELD_KEY, &self.key)?;
        let payload = self.column(found, FIELD_PAYLOAD, &self.payload)?;
        let expire = self.column(found, FIELD_EXPIRE, &self.expire)?;
        let key_chars_max = match key.holds {
            ColumnType::Text(length) => length,
            ColumnType::Untyped => None,
            _ => return Err(self.wrong_type(FIELD_KEY, key, "keys: VARCHAR(n) or TEXT")),
        };
        let takes_bytes = match payload.holds {
            ColumnType::Bytes | ColumnType::Untyped => true,
            ColumnType::Text(_) | ColumnType::Json => found.kind != RelationKind::StrictTable,
            ColumnType::Integer | ColumnType::Other => false,
        };
        if !takes_bytes {
            return Err(self.wrong_type(FIELD_PAYLOAD, payload, "payloads: BYTEA or BLOB"));
        }
        if !matches!(expire.holds, ColumnType::Integer | ColumnType::Untyped) {
            return Err(self.wrong_type(FIELD_EXPIRE, expire, "Unix milliseconds: BIGINT"));
        }
        if expire.is_not_null {
            return Err(self.refuse(
                FIELD_EXPIRE,
                format!("column {} is NOT NULL, but an entry without ttl has none", self.expire),
            ));
        }
        self.check_key_index(found)?;
        self.check_other_columns(found)?;
        Ok(KeyLimit(key_chars_max))
    }

    fn check_kind(&self, found: &TableDescription) -> Result<()> {
        let kind = match found.kind {
            RelationKind::Table | RelationKind::StrictTable => return Ok(()),
            RelationKind::View => "a view",
            RelationKind::Virtual => "a virtual or internal table",
        };
        Err(self.refuse(FIELD_TABLE, format!("{} is {kind}, not an ordinary table", self.table)))
    }

    fn check_key_index(&self, found: &TableDescription) -> Result<()> {
        if let Some(collation) = &found.key_collation {
            return Err(self.refuse(
                FIELD_KEY,
                format!(
                    "column {} is unique by the collation {collation}, under which different keys \
                     may be one: declare it without COLLATE",
                    self.key
                ),
            ));
        }
        if !found.is_key_unique {
            return Err(self.refuse(
                FIELD_KEY,
                format!("column {} is neither PRIMARY KEY nor UNIQUE by itself", self.key),
            ));
        }
        Ok(())
    }

    fn check_other_columns(&self, found: &TableDescription) -> Result<()> {
        let is_ours =
            |column: &str| self.columns().iter().any(|(_, name)| found.names(name, column));
        let unfilled = found
            .columns
            .iter()
            .find(|column| column.is_not_null && !column.has_default && !is_ours(&column.name));
        match unfilled {
            None => Ok(()),
            Some(column) => Err(self.refuse(
                FIELD_TABLE,
                format!(
                    "column {:?} of {} is NOT NULL without a DEFAULT, and the store has no value \
                     for it",
                    column.name, self.table
                ),
            )),
        }
    }

    fn column<'a>(
        &self,
        found: &'a TableDescription,
        field: &'static str,
        name: &Identifier,
    ) -> Result<&'a ColumnDescription> {
        let Some(column) = found.columns.iter().find(|column| found.names(name, &column.name))
        else {
            let names: Vec<_> = found.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(self.refuse(
                field,
                format!("{} has no column {name}; it has {}", self.table, names.join(", ")),
            ));
        };
        if column.is_generated {
            return Err(self.refuse(field, format!("column {name} is generated: not writable")));
        }
        Ok(column)
    }

    fn wrong_type(&self, field: &'static str, found: &ColumnDescription, wanted: &str) -> Error {
        self.refuse(
            field,
            format!(
                "column {:?} of {} is declared {:?}, which does not hold {wanted}",
                found.name, self.table, found.declared_type
            ),
        )
    }

    fn refuse(&self, field: &'static str, reason: String) -> Error {
        Error::invalid(format!("{field}: {reason}"))
            .with_detail("field", field)
            .with_detail("table", self.table.as_str())
    }

    fn columns(&self) -> [(&'static str, &Identifier); 3] {
        [(FIELD_KEY, &self.key), (FIELD_PAYLOAD, &self.payload), (FIELD_EXPIRE, &self.expire)]
    }
}

impl TableDescription {
    /// Whether a configured name is that of a column.
    fn names(&self, name: &Identifier, column: &str) -> bool {
        if self.folds_case { name.is_same_name(column) } else { name.as_str() == column }
    }
}

impl ColumnType {
    /// Reads a declared type, by the parts of its name that SQLite and PostgreSQL share.
    #[must_use]
    pub fn parse(declared: &str) -> Self {
        let upper = declared.to_ascii_uppercase();
        let has = |parts: &[&str]| parts.iter().any(|part| upper.contains(part));
        // The order is that of SQLite's affinity rules, under which "CHARINT" holds integers.
        if upper.trim().is_empty() {
            Self::Untyped
        } else if has(&["INT"]) {
            Self::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text(parse_length(&upper))
        } else if has(&["BLOB", "BYTEA", "BINARY"]) {
            Self::Bytes
        } else if has(&["JSON"]) {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// The number in the brackets of a declared type.
fn parse_length(declared: &str) -> Option<usize> {
    let (_, rest) = declared.split_once('(')?;
    let (length, _) = rest.split_once(')')?;
    length.trim().parse().ok()
}

impl KeyLimit {
    /// Whether a key fits the column.
    #[must_use]
    pub fn admits(self, key: &str) -> bool {
        // No key has more characters than bytes: the usual one is not counted.
        self.0.is_none_or(|limit| key.len() <= limit || key.chars().count() <= limit)
    }

    /// Checks that a key fits the column.
    ///
    /// # Errors
    /// `INVALID` with `details.limit`, in characters.
    pub fn check(self, key: &str, names: &TableNames) -> Result<()> {
        match self.0 {
            Some(limit) if !self.admits(key) => {
                let actual = key.chars().count();
                Err(Error::invalid(format!(
                    "the key has {actual} characters, column {} of {} holds {limit}",
                    names.key, names.table
                ))
                .with_detail("limit", limit)
                .with_detail("actual", actual))
            }
            _ => Ok(()),
        }
    }
}

/// The error of a statement that does not fit the tables that the database now has.
pub(super) fn schema_mismatch(message: String) -> Error {
    Error::internal(message).with_detail("reason", SCHEMA_MISMATCH)
}

/// Whether an error is one of [`schema_mismatch`].
pub(super) fn is_schema_mismatch(error: &Error) -> bool {
    error.detail("reason").and_then(Value::as_str) == Some(SCHEMA_MISMATCH)
}

/// The reason in the details of such an error.
const SCHEMA_MISMATCH: &str = "schema";

/// The fields of the configuration, as errors name them.
const FIELD_TABLE: &str = "table_name";
const FIELD_KEY: &str = "id_column_name";
const FIELD_PAYLOAD: &str = "payload_column_name";
const FIELD_EXPIRE: &str = "expire_column_name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_read() {
        for (declared, holds) in [
            ("VARCHAR(255)", ColumnType::Text(Some(255))),
            ("character varying ( 9 )", ColumnType::Text(Some(9))),
            ("TEXT", ColumnType::Text(None)),
            ("BYTEA", ColumnType::Bytes),
            ("varbinary(10)", ColumnType::Bytes),
            ("JSONB", ColumnType::Json),
            ("BIGINT", ColumnType::Integer),
            ("", ColumnType::Untyped),
            ("NUMERIC(10, 2)", ColumnType::Other),
            ("TIMESTAMP", ColumnType::Other),
            ("DOUBLE PRECISION", ColumnType::Other),
        ] {
            assert_eq!(ColumnType::parse(declared), holds, "{declared}");
        }
    }

    #[test]
    fn a_key_limit_counts_characters() {
        let limit = KeyLimit(Some(3));
        assert!(limit.admits("éàü") && limit.admits("abc") && !limit.admits("abcd"));
        assert!(KeyLimit(None).admits(&"a".repeat(2_000)));
    }
}
