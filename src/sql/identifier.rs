//! Identifiers: names of tables and columns that are safe in a statement.
//!
//! Two guards, each enough by itself: the characters are restricted, and a name is only ever
//! written in double quotes. So a name may be a keyword (`key`, `value`, `order`).
//!
//! No schema prefix (`public.kv_store`): the database's search path decides.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::IDENTIFIER_BYTES_MAX;

/// A name of a table or column; one that exists is valid. Cloning shares it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(Arc<str>);

impl Identifier {
    /// Parses a name.
    ///
    /// # Errors
    /// `INVALID` unless it matches `^[A-Za-z_][A-Za-z0-9_]*$` and has at most
    /// [`IDENTIFIER_BYTES_MAX`] bytes.
    pub fn new(name: &str) -> Result<Self> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts_well = name.as_bytes().first().is_some_and(|b| !b.is_ascii_digit());
        if !starts_well || !name.bytes().all(is_allowed) {
            return Err(Error::invalid(format!(
                "{name:?} is no name of a table or column: it must start with a letter or '_', \
                 followed by letters, digits or '_'"
            )));
        }
        if name.len() > IDENTIFIER_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the name {name:?} has {} bytes, the limit is {IDENTIFIER_BYTES_MAX}",
                name.len()
            ))
            .with_detail("limit", IDENTIFIER_BYTES_MAX)
            .with_detail("actual", name.len()));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a database that folds case (SQLite does, even in quotes) takes both for one name.
    #[must_use]
    pub fn is_same_name(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

/// As it stands in a statement: in double quotes.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "a".repeat(IDENTIFIER_BYTES_MAX);
        for good in ["kv_store", "_k9", "Key", "select", &longest] {
            let name = Identifier::new(good).expect("good");
            assert_eq!(name.to_string(), format!("\"{good}\""));
        }
        let too_long = "a".repeat(IDENTIFIER_BYTES_MAX + 1);
        for bad in ["", "9a", "a b", "a\"b", "a;b", "a.b", "é", "a\0", "a-b", &too_long] {
            assert!(Identifier::new(bad).is_err(), "{bad:?}");
        }
    }
}
