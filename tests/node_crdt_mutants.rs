//! The tests of the tests: every deliberate bug in what drives replicas is caught by the trials that
//! `replicas.rs` makes.
//!
//! Mutants are active on one thread: so are the tasks of a node here. What its disk does on others has none.
#![allow(clippy::unwrap_used)]

#[path = "support/lent.rs"]
mod lent;
#[path = "support/mutants.rs"]
mod mutants;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/replicas.rs"]
mod replicas;

use plimsoll::mutant;

fn run(trial: impl Future<Output = ()>) -> bool {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    mutants::caught(|| runtime.block_on(trial)).is_err()
}

fn what_catches() -> Option<String> {
    if run(replicas::crash_and_set_back()) {
        return Some("a crash and a clock that is set back".to_owned());
    }
    if run(replicas::fail_disk("sync")) {
        return Some("a sync that fails".to_owned());
    }
    run(replicas::crash_everywhere()).then(|| "a crash".to_owned())
}

#[test]
fn every_mutant_is_caught_and_the_node_without_one_is_not() {
    mutants::all_are_caught(mutant::REPLICAS, what_catches);
}
