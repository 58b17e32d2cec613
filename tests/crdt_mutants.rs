//! The tests of the tests: every deliberate bug of the CRDT engine, each refuted variant of the rule of
//! collection among them, must be caught by random schedules or by one of the trials.
//!
//! `cargo mutants` prints what caught each.
#![allow(clippy::unwrap_used)]

#[path = "support/crdt/mod.rs"]
mod crdt;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crdt::run::World;
use crdt::trials;
use plimsoll::mutant;

/// Random schedules are tried up to this seed.
const SEEDS: std::ops::Range<u64> = 0..400;

fn fails(run: impl FnOnce() -> Result<(), String>) -> bool {
    catch_unwind(AssertUnwindSafe(run)).map_or(true, |result| result.is_err())
}

/// The trace or trial that finds something wrong, else the first seed that does.
fn what_catches() -> Option<String> {
    let trace = trials::TRACES.iter().find(|(_, trace)| fails(|| trials::replay(trace)));
    let trial = || trials::TRIALS.iter().find(|(_, trial)| fails(trial)).map(|(name, _)| *name);
    if let Some(name) = trace.map(|(name, _)| *name).or_else(trial) {
        return Some(format!("{name:?}"));
    }
    let mut seeds = SEEDS;
    seeds.find(|seed| fails(|| World::run(*seed).map(drop))).map(|seed| format!("seed {seed}"))
}

#[test]
fn every_mutant_is_caught_and_the_engine_without_one_is_not() {
    // What is wrong may be a panic, and there will be one for some mutants.
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = Vec::new();
    println!("mutant                                         caught by");
    for name in mutant::CRDT {
        mutant::set(Some(name));
        match what_catches() {
            Some(how) => println!("{name:<45}  {how}"),
            None => survivors.push(name),
        }
    }
    mutant::set(None);
    let without = what_catches();
    drop(std::panic::take_hook());
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    assert_eq!(without, None, "caught though there is no mutant");
}

/// A trace that was found for a weaker rule breaks that one.
#[test]
fn every_trace_breaks_the_rule_that_it_was_found_for() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut held = Vec::new();
    for (name, trace) in trials::TRACES {
        mutant::set(Some(name));
        if !fails(|| trials::replay(trace)) {
            held.push(name);
        }
    }
    mutant::set(None);
    drop(std::panic::take_hook());
    assert!(held.is_empty(), "{held:?}");
}
