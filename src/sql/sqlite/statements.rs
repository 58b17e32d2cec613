//! The statements of one table, in SQLite's dialect.
//!
//! Each takes the bound time as a parameter that may be NULL and then reads SQLite's own clock.
//! SQLite reads it once per statement, so that a deadline can't pass between two rows.
//!
//! Keys are compared bytewise by name, whatever the column's own collation.

use crate::sql::schema::TableNames;

/// The texts of the statements; prepared once per connection, found again by their text.
#[derive(Debug)]
pub(super) struct Statements {
    /// ?1 key, ?2 now: payload, deadline.
    pub(super) entry: String,
    /// ?1 key, ?2 now: a row if the key is present.
    pub(super) has: String,
    /// ?1 key, ?2 payload: writes a row without a deadline.
    pub(super) upsert: String,
    /// ?1 key, ?2 payload, ?3 ttl in ms, ?4 now: writes a row with a deadline, and returns it.
    pub(super) upsert_ttl: String,
    /// ?1 key, ?2 now: deletes a present row.
    pub(super) delete: String,
    /// ?1 now, ?2 most rows: deletes rows whose deadline has come.
    pub(super) sweep: String,
    /// ?1 now, ?2 start, ?3 end: key, payload, deadline, in key order.
    list: [String; 4],
}

impl Statements {
    pub(super) fn new(names: &TableNames) -> Self {
        let TableNames { table, key, payload, expire } = names;
        let is_live = |now: usize| format!("({expire} IS NULL OR {expire} > {})", now_ms(now));
        let upsert = |deadline: &str| {
            format!(
                "INSERT INTO {table} ({key}, {payload}, {expire}) VALUES (?1, ?2, {deadline}) \
                 ON CONFLICT ({key}) DO UPDATE \
                 SET {payload} = excluded.{payload}, {expire} = excluded.{expire}"
            )
        };
        let list = |start: &str, end: &str| {
            format!(
                "SELECT {key}, {payload}, {expire} FROM {table} \
                 WHERE {key} {start} ?2 {BYTEWISE}{end} AND {} ORDER BY {key} {BYTEWISE}",
                is_live(1)
            )
        };
        let has_key = format!("{key} = ?1 {BYTEWISE}");
        let before_end = format!(" AND {key} < ?3 {BYTEWISE}");
        Self {
            entry: format!(
                "SELECT {payload}, {expire} FROM {table} WHERE {has_key} AND {}",
                is_live(2)
            ),
            has: format!("SELECT 1 FROM {table} WHERE {has_key} AND {}", is_live(2)),
            upsert: upsert("NULL"),
            upsert_ttl: format!("{} RETURNING {expire}", upsert(&format!("{} + ?3", now_ms(4)))),
            delete: format!("DELETE FROM {table} WHERE {has_key} AND {}", is_live(2)),
            sweep: format!(
                "DELETE FROM {table} WHERE {key} {BYTEWISE} IN (SELECT {key} FROM {table} \
                 WHERE {expire} <= {} AND {key} IS NOT NULL LIMIT ?2)",
                now_ms(1)
            ),
            list: [list(">=", ""), list(">", ""), list(">=", &before_end), list(">", &before_end)],
        }
    }

    /// The statement of a listing.
    pub(super) fn list(&self, is_start_excluded: bool, has_end: bool) -> &str {
        &self.list[usize::from(is_start_excluded) + 2 * usize::from(has_end)]
    }
}

/// The order of keys.
const BYTEWISE: &str = "COLLATE BINARY";

/// The time of a statement: what is bound, else SQLite's clock. Seconds with three decimals are
/// rounded, because their float times 1,000 may be a little less than the whole number.
fn now_ms(parameter: usize) -> String {
    format!("coalesce(?{parameter}, CAST(round(unixepoch('subsec') * 1000) AS INTEGER))")
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::sql::Identifier;

    /// No statement scans the table or sorts: each finds its rows by an index.
    #[test]
    fn every_statement_finds_its_rows_by_an_index() {
        let name = |name| Identifier::new(name).expect("a valid name");
        let names = TableNames {
            table: name("kv_store"),
            key: name("key"),
            payload: name("value"),
            expire: name("expires_at"),
        };
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch(&names.ddl(crate::sql::schema::Dialect::Sqlite)).expect("valid");
        let statements = Statements::new(&names);
        let by_key = "INDEX sqlite_autoindex_kv_store_1 (key";
        let by_deadline = "INDEX idx_kv_store_expires_at (expires_at<?)";
        for (statement, accesses) in [
            (&*statements.entry, &[by_key][..]),
            (&statements.has, &[by_key]),
            (&statements.delete, &[by_key]),
            (&statements.sweep, &[by_key, "LIST SUBQUERY", by_deadline][..]),
            (statements.list(false, false), &[by_key][..]),
            (statements.list(true, false), &[by_key]),
            (statements.list(false, true), &[by_key]),
            (statements.list(true, true), &[by_key]),
        ] {
            let plan: Vec<String> = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .expect("valid")
                .raw_query()
                .mapped(|row| row.get(3))
                .collect::<Result<_, _>>()
                .expect("text");
            assert_eq!(plan.len(), accesses.len(), "{statement}: {plan:?}");
            for (step, access) in plan.iter().zip(accesses) {
                assert!(step.contains(access) && !step.contains("SCAN"), "{statement}: {plan:?}");
            }
        }
    }
}
