//! The tests of the tests: every deliberate bug in storage must be caught by a crash or by damage.
//!
//! `cargo mutants` prints how many generated runs that takes.
#![allow(clippy::unwrap_used)]

#[path = "support/storage_crashes.rs"]
mod crashes;

use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll::mutant;

/// Each mutant must be caught within this many runs.
const RUNS_MAX: u64 = 60;

fn run_that_fails() -> Option<u64> {
    (1..=RUNS_MAX).find(|seed| {
        let run = || {
            crashes::crash_everywhere(*seed).is_err()
                || crashes::fail_every_sync(*seed).is_err()
                || crashes::damage_everything(*seed).is_err()
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
    })
}

#[test]
fn every_mutant_is_caught_and_storage_without_one_is_not() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = Vec::new();
    println!("runs  mutant");
    for name in mutant::STORAGE {
        mutant::set(Some(name));
        match run_that_fails() {
            Some(run) => println!("{run:>4}  {name}"),
            None => survivors.push(name),
        }
    }
    mutant::set(None);
    let without = run_that_fails();
    drop(std::panic::take_hook());
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    assert_eq!(without, None, "caught though there is no mutant");
}
