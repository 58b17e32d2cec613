//! What is known of one table once it was read.

use super::statements::Statements;
use crate::sql::SqlClock;
use crate::sql::schema::{KeyLimit, TableNames};

/// Names, statements and limits of a table that can serve.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) names: TableNames,
    pub(super) statements: Statements,
    pub(super) key_limit: KeyLimit,
    pub(super) clock: SqlClock,
}

impl Plan {
    pub(super) fn new(names: TableNames, key_limit: KeyLimit, clock: SqlClock) -> Self {
        let statements = Statements::new(&names);
        Self { names, statements, key_limit, clock }
    }
}
