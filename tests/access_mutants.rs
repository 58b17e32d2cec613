//! The tests of the tests: every deliberate bug in the enforcement of permissions must be caught by
//! the property that `leaks.rs` runs.
//!
//! `cargo test --features mutants --test access_mutants -- --nocapture` prints how many operations
//! that takes.
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
use plimsoll::mutant;

/// Each mutant must be caught within this many operations: as many as a run executes.
const STEPS_MAX: u64 = 60_000;

#[test]
fn every_mutant_is_caught() {
    let plan = Plan {
        seed: explore::seed(Some(1)),
        steps_min: STEPS_MAX,
        shrinks_max: 0,
        command: "cargo test --features mutants --test access_mutants",
    };
    let mut survivors = Vec::new();
    println!("operations  mutant");
    for name in mutant::ACCESS {
        mutant::set(Some(name));
        match leaks::check(Kind::Memory, plan) {
            Ok(_) => survivors.push(name),
            Err(failure) => println!("{:>10}  {name}", failure.steps),
        }
    }
    mutant::set(None);
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
