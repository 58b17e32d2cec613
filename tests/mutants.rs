//! The tests of the tests: every deliberate bug in the state machine must be caught by the
//! property that `machine_properties.rs` runs.
//!
//! `cargo test --no-default-features --features mutants --test mutants -- --nocapture` prints how
//! many operations that takes.
#![allow(clippy::unwrap_used)]

#[path = "support/explore.rs"]
mod explore;
#[path = "support/machine/mod.rs"]
mod machine;
#[path = "support/writes.rs"]
mod writes;

use explore::Plan;
use plimsoll::mutant;

/// Each mutant must be caught within this many operations: far fewer than a run executes.
const STEPS_MAX: u64 = 50_000;

#[test]
fn every_mutant_is_caught_and_the_machine_without_one_is_not() {
    let plan = Plan {
        seed: explore::seed(Some(1)),
        steps_min: STEPS_MAX,
        shrinks_max: 0,
        command: "cargo test --no-default-features --features mutants --test mutants",
    };
    let mut survivors = Vec::new();
    println!("operations  mutant");
    for name in mutant::ALL {
        mutant::set(Some(name));
        match machine::check(plan) {
            Ok(_) => survivors.push(name),
            Err(failure) => println!("{:>10}  {name}", failure.steps),
        }
    }
    mutant::set(None);
    assert!(mutant::ALL.len() >= 10, "only {} mutants", mutant::ALL.len());
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    let report = machine::check(plan).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{:>10}  no mutant, nothing caught", report.steps);
}
