//! Three replicas under random schedules: messages lost, repeated, reordered and late, restarts with the
//! state, without it and from older snapshots, members removed and added. After every step all promises
//! hold, and in the end, when nothing more goes wrong, everyone who is listed holds the newest of what
//! survived, and no tombstone is left.
#![allow(clippy::unwrap_used)]

#[path = "support/crdt/mod.rs"]
mod crdt;

use std::collections::BTreeMap;

use crdt::run::World;
use crdt::trials;

#[test]
fn replicas_converge_and_nothing_comes_back() {
    let runs: u64 = std::env::var("RUNS").map_or(3_000, |runs| runs.parse().unwrap());
    let seeds = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1,
        Err(_) => 0..runs,
    };
    let is_all = seeds.end - seeds.start == runs;
    let mut marks: BTreeMap<_, u64> = BTreeMap::new();
    for seed in seeds {
        let seen = World::run(seed).unwrap_or_else(|wrong| {
            panic!("{wrong}\n\nSEED={seed} cargo test --test crdt_schedules")
        });
        for (mark, count) in seen {
            *marks.entry(mark).or_default() += count;
        }
    }
    println!("{marks:#?}");
    for mark in MARKS {
        assert!(!is_all || marks.contains_key(mark), "never seen: {mark}");
    }
}

#[test]
fn the_traces_against_weaker_rules_come_to_nothing() {
    for (name, _, trace) in trials::TRACES {
        trials::replay(trace).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
    }
}

#[test]
fn what_hardly_ever_happens_is_handled() {
    for (name, trial) in trials::TRIALS {
        trial().unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    }
}

/// What must have happened, or the runs say nothing about it.
const MARKS: [&str; 17] = [
    "a delete",
    "a join",
    "a member hears that it is removed",
    "a member is added",
    "a member is removed",
    "a message is lost",
    "a message of a removed member arrives",
    "a message of an ended incarnation arrives",
    "a message of another epoch arrives",
    "a new incarnation collects",
    "a put",
    "a restart from an older snapshot",
    "a restart with a later list",
    "a restart with the state",
    "a restart without state",
    "a tombstone is collected",
    "an added member collects",
];
