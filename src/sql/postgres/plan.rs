//! What is known of one table once it was read.

use super::describe::Found;
use super::statements::{PayloadType, Statements};
use crate::entry::Key;
use crate::error::{Error, Result};
use crate::sql::schema::{KeyLimit, TableNames};
use crate::sql::{SqlClock, TableOptions};

/// Names, statements and limits of a table that can serve.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) names: TableNames,
    pub(super) statements: Statements,
    pub(super) payload_type: PayloadType,
    /// Whether a commit in the table outlives a crash of the server.
    pub(super) is_durable: bool,
    pub(super) clock: SqlClock,
    key_limit: KeyLimit,
}

impl Plan {
    /// Judges a table.
    ///
    /// # Errors
    /// `INVALID`, naming the field, if it can't serve.
    pub(super) fn new(options: &TableOptions, found: &Found) -> Result<Self> {
        let names = options.names.clone();
        let key_limit = names.check_table(&found.table)?;
        let payload_type = found
            .payload_type
            .ok_or_else(|| Error::internal("a payload column of no type that holds payloads"))?;
        Ok(Self {
            statements: Statements::new(&names, payload_type),
            payload_type,
            is_durable: found.is_durable,
            clock: options.clock.clone(),
            key_limit,
            names,
        })
    }

    /// Whether another plan does the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.statements == other.statements && self.key_limit == other.key_limit
    }

    /// Checks that a key fits the column.
    ///
    /// # Errors
    /// `INVALID` with `details.limit`, in characters.
    pub(super) fn check_key(&self, key: &Key) -> Result<()> {
        self.key_limit.check(key.as_str(), &self.names)
    }
}
