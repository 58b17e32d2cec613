//! The statements of one table, in SQLite's dialect.
//!
//! Each takes the bound time as a parameter that may be NULL and then reads SQLite's own clock.
//! SQLite reads it once per statement, so that a deadline can't pass between two rows.

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
                 WHERE {key} {start} ?2{end} AND {} ORDER BY {key}",
                is_live(1)
            )
        };
        let before_end = format!(" AND {key} < ?3");
        Self {
            entry: format!(
                "SELECT {payload}, {expire} FROM {table} WHERE {key} = ?1 AND {}",
                is_live(2)
            ),
            has: format!("SELECT 1 FROM {table} WHERE {key} = ?1 AND {}", is_live(2)),
            upsert: upsert("NULL"),
            upsert_ttl: format!("{} RETURNING {expire}", upsert(&format!("{} + ?3", now_ms(4)))),
            delete: format!("DELETE FROM {table} WHERE {key} = ?1 AND {}", is_live(2)),
            sweep: format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} \
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

/// The time of a statement: what is bound, else SQLite's clock. Seconds with three decimals are
/// rounded, because their float times 1,000 may be a little less than the whole number.
fn now_ms(parameter: usize) -> String {
    format!("coalesce(?{parameter}, CAST(round(unixepoch('subsec') * 1000) AS INTEGER))")
}
