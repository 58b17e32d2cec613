//! The tests of the tests: every deliberate bug of the CRDT engine, each refuted variant of the rule of
//! collection among them, must be caught by random schedules or by one of the trials. Caught is what
//! breaks a promise: one that is checked between the steps, or one that the engine asserts. A panic of
//! the tests, or a trace that could not be replayed, catches nothing.
//!
//! `cargo mutants` prints what caught each.
#![allow(clippy::unwrap_used)]

#[path = "support/crdt/mod.rs"]
mod crdt;
#[path = "support/mutants.rs"]
mod mutants;

use crdt::run::World;
use crdt::trials::{self, Wrong};
use plimsoll::mutant;

/// Random schedules are tried up to this seed.
const SEEDS: std::ops::Range<u64> = 0..800;

/// The promise that is broken, if one is.
fn broken<E: Into<Wrong>>(run: impl FnOnce() -> Result<(), E>) -> Option<String> {
    match mutants::caught(run) {
        Ok(Ok(())) => None,
        Ok(Err(wrong)) => match wrong.into() {
            Wrong::Broken(words) => Some(words),
            Wrong::NotReplayed(_) => None,
        },
        Err(panic) => panic.file.starts_with("src").then_some(panic.message),
    }
}

/// The trace or trial that finds something wrong, else the first seed that does.
fn what_catches() -> Option<String> {
    let mut traces = trials::TRACES.iter();
    let trace = traces.find(|(_, _, trace)| broken(|| trials::replay(trace)).is_some());
    let trial = || trials::TRIALS.iter().find(|(_, trial)| broken(trial).is_some());
    let named = trace.map(|(name, ..)| *name).or_else(|| trial().map(|(name, _)| *name));
    if let Some(name) = named {
        return Some(format!("{name:?}"));
    }
    let mut seeds = SEEDS;
    let is_broken = |seed: &u64| broken(|| World::run(*seed).map(drop)).is_some();
    seeds.find(is_broken).map(|seed| format!("seed {seed}"))
}

#[test]
fn every_mutant_is_caught_and_the_engine_without_one_is_not() {
    mutants::all_are_caught(mutant::CRDT, what_catches);
}

/// A trace that was found for a weaker rule breaks the promise that it was found to break.
#[test]
fn every_trace_breaks_the_rule_that_it_was_found_for() {
    let mut others = Vec::new();
    mutants::quietly(|| {
        for (name, expected, trace) in trials::TRACES {
            let told = mutants::with(Some(name), || broken(|| trials::replay(trace)));
            let promise = told.as_ref().and_then(|told| told.lines().last());
            if !promise.is_some_and(|promise| promise.starts_with(expected)) {
                others.push((name, promise.map(str::to_owned)));
            }
        }
    });
    assert!(others.is_empty(), "{others:#?}");
}
