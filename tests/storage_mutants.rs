//! The tests of the tests: every deliberate bug in storage must be caught by the trials that
//! `storage_runs.rs` makes.
//!
//! `cargo mutants` prints which trial caught each, and with which seed.
#![allow(clippy::unwrap_used)]

#[path = "support/mutants.rs"]
mod mutants;
#[path = "support/storage_runs.rs"]
mod runs;

use plimsoll::mutant;

/// Each mutant must be caught within this many seeds, as many as the trials make at least.
const SEEDS: std::ops::Range<u64> = 0..3;

type Trial = (&'static str, fn(u64));

const TRIALS: &[Trial] = &[
    ("a crash", |seed| _ = runs::crash_everywhere(seed)),
    ("a failed operation", |seed| runs::fail_everywhere(seed)),
    ("corruption", |seed| _ = runs::corrupt_everywhere(seed)),
    ("a second crash", |seed| _ = runs::crash_again(seed)),
];

/// The trial that finds something wrong, and its seed, if there is one.
fn what_catches() -> Option<String> {
    SEEDS
        .flat_map(|seed| TRIALS.iter().map(move |(name, trial)| (*name, *trial, seed)))
        .find(|(_, trial, seed)| mutants::caught(|| trial(*seed)).is_err())
        .map(|(name, _, seed)| format!("{name}, seed {seed}"))
}

#[test]
fn every_mutant_is_caught_and_storage_without_one_is_not() {
    mutants::all_are_caught(mutant::STORAGE, what_catches);
}
