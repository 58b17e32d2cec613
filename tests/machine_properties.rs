//! The state machine against its specification, over generated sequences of everything that can
//! happen to it.
#![allow(clippy::unwrap_used)]

#[path = "support/explore.rs"]
mod explore;
#[path = "support/machine/mod.rs"]
mod machine;
#[path = "support/writes.rs"]
mod writes;

use explore::{Plan, Recorder};
use machine::pair::Pair;
use machine::steps::{ActionStep, Step};
use writes::{ConditionStep, KEYS, LARGE, WriteStep};

#[test]
fn the_machine_does_what_the_specification_says() {
    let plan = Plan {
        seed: explore::seed(None),
        steps_min: 100_000,
        shrinks_max: 20_000,
        command: "cargo test --test machine_properties",
    };
    let report = machine::check(plan).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert!(report.steps >= 100_000);
    for mark in MARKS {
        assert!(report.marks.contains_key(mark), "never seen: {mark}");
    }
}

/// Large values are too slow for every sequence: one of them passes the limits on bytes.
#[test]
fn pages_and_history_end_at_their_bytes() {
    let mut steps = Vec::new();
    for number in 0..40 {
        let (key, condition) = (number % KEYS.len(), ConditionStep::None);
        let write = WriteStep::Put { key, value: LARGE, ttl_ms: 0, condition };
        let action = ActionStep::Write { keyspace: 0, write, make_room: false };
        steps.push(Step::Command { stamp: 0, call: None, action });
        steps.extend([15, 16, 17].map(|back| Step::Changes { back }));
    }
    steps.push(Step::List { keyspace: 0, prefix: b"", after: b"", limit: 0, ahead: 0 });
    steps.push(Step::Reload { damage: 0 });
    let mut recorder = Recorder::default();
    machine::run(Pair::new(), &steps, &mut recorder).unwrap_or_else(|wrong| panic!("{wrong}"));
    for mark in ["changes are no longer known", "a page is followed by another"] {
        assert!(recorder.marks.contains_key(mark), "never seen: {mark}");
    }
}

/// What must have happened, or the property says nothing about it.
const MARKS: [&str; 16] = [
    "a machine is reloaded from its snapshot",
    "a machine is restored in a new epoch",
    "a page is followed by another",
    "a repeated command is answered from memory",
    "a transaction fails after its first operation",
    "a write lands on an expired entry",
    "a write makes room",
    "an advance removes entries",
    "changes are no longer known",
    "more entries expire than one command removes",
    "refused: another version",
    "refused: the key exists",
    "refused: the key is absent",
    "refused: the number is too high",
    "refused: the number is too low",
    "refused: the session is unknown",
];
