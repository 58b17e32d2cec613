//! What a policy denies is not told: by no answer, error, cursor or event of any sequence of calls.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "support/explore.rs"]
mod explore;
#[path = "support/kinds.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod kinds;
#[path = "support/leaks/mod.rs"]
mod leaks;
#[path = "support/policies.rs"]
mod policies;

use explore::Plan;
use kinds::Kind;

#[test]
fn a_memory_store_tells_nothing_that_is_denied() {
    let marks = ["Conflict", "AlreadyExists", "changes told", "a write where nothing may be known"];
    check(Kind::Memory, 60_000, &marks);
}

#[cfg(feature = "sql")]
#[test]
fn an_sqlite_store_tells_nothing_that_is_denied() {
    check(Kind::Sqlite, 30_000, &["a write where nothing may be known"]);
}

/// Runs the property and checks that what it should meet has happened.
fn check(kind: Kind, steps_min: u64, marks: &[&str]) {
    let plan = Plan {
        seed: explore::seed(None),
        steps_min,
        shrinks_max: 5_000,
        command: "cargo test --test leaks",
    };
    let report = leaks::check(kind, plan).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{kind:?}: {report}");
    assert!(report.marks["calls"] >= 20_000, "{report}");
    let always =
        ["PermissionDenied", "pages of a restricted reader", "pages with more behind them"];
    for mark in marks.iter().chain(&always) {
        assert!(report.marks.contains_key(mark), "never seen: {mark}");
    }
}
