//! The tests of the tests: every deliberate bug in the core of namespaces must be caught by the
//! model that `kv_properties.rs` compares every backend with.
//!
//! `cargo mutants` prints how many runs that takes.
#![allow(clippy::unwrap_used)]

#[path = "support/kv_model.rs"]
mod kv_model;
#[path = "support/mutants.rs"]
mod mutants;

use std::sync::Arc;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::mutant;
use plimsoll::namespaces::{Memory, Namespaces};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Each mutant must be caught within this many runs, as many as the property makes.
const RUNS_MAX: u32 = 2_000;

/// The run in which the model and namespaces in memory differ, if there is one.
fn run_that_differs() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let steps = prop::collection::vec(kv_model::step(), 1..60);
    let mut runs = 1..=RUNS_MAX;
    let differs = |_: &u32| {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        let clock = ManualClock::new(UnixMillis(1_700_000_000_000));
        let namespaces = Namespaces::new(Arc::new(Memory::new()), Arc::new(clock.clone()));
        let run = || runtime.block_on(kv_model::run(&namespaces, &clock, &steps));
        mutants::caught(run).is_err()
    };
    runs.find(differs).map(|run| format!("run {run}"))
}

#[test]
fn every_mutant_is_caught_and_the_core_without_one_is_not() {
    mutants::all_are_caught(mutant::KV, run_that_differs);
}
