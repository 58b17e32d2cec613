//! Every kind of store against the specification, over generated sequences of everything that its
//! users can do, with time passing, handles released and stores opened again.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "support/explore.rs"]
mod explore;
#[path = "support/kinds.rs"]
mod kinds;
#[path = "support/stores/mod.rs"]
mod stores;
#[path = "support/writes.rs"]
mod writes;

use explore::Plan;
use kinds::Kind;

#[test]
fn a_memory_store_does_what_the_specification_says() {
    let errors = ["AlreadyExists", "Conflict", "Invalid", "NotFound", "Unavailable"];
    check(Kind::Memory, 100_000, &errors);
}

#[cfg(feature = "sql")]
#[test]
fn an_sqlite_store_does_what_the_specification_says() {
    check(Kind::Sqlite, 20_000, &["Invalid"]);
}

#[cfg(all(feature = "postgres", unix))]
#[test]
fn a_postgres_store_does_what_the_specification_says() {
    if Kind::Postgres.is_available() {
        check(Kind::Postgres, 5_000, &["Invalid"]);
    }
}

#[cfg(feature = "node")]
#[test]
fn a_crdt_store_does_what_the_specification_says() {
    check(Kind::Crdt, 5_000, &["Invalid"]);
}

#[cfg(feature = "node")]
#[test]
fn a_durable_crdt_store_does_what_the_specification_says() {
    check(Kind::DurableCrdt, 5_000, &["Invalid"]);
}

/// Runs the property and checks that what it should meet has happened: the kinds of errors too.
fn check(kind: Kind, steps_min: u64, marks: &[&str]) {
    let plan = Plan {
        seed: explore::seed(None),
        steps_min,
        shrinks_max: 5_000,
        command: "cargo test --test store_properties",
    };
    let report = stores::check(kind, plan).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{kind:?}: {report}");
    assert!(report.steps >= steps_min);
    for mark in marks.iter().chain(&["a handle is released", "a store is opened again"]) {
        assert!(report.marks.contains_key(mark), "never seen: {mark}");
    }
}
