//! The model of tombstone collection, within bounds so small that they take seconds: the rule holds,
//! what is wrong is refuted by a shortest trace, and the reduction by symmetry loses nothing.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};

use plimsoll_models::catalogue;
use plimsoll_models::collection::bounds::Bounds;
use plimsoll_models::collection::mutants::Mutant;
use plimsoll_models::collection::properties::PROMISES;
use plimsoll_models::collection::rule::Rule;
use plimsoll_models::collection::state::State;
use plimsoll_models::collection::{Collection, trace};
use plimsoll_models::search::{Found, Manner, search};
use stateright::Model;

fn bounds(text: &str) -> Bounds {
    text.parse().unwrap()
}

fn run(weakness: Option<Mutant>, bounds: Bounds) -> (Collection, Found<State>) {
    let model = Collection::new(Rule { weakness }, bounds);
    let found = search(model.clone(), Manner { threads: 1, is_watched: false });
    (model, found)
}

#[test]
fn the_rule_holds_when_nobody_restarts() {
    let (_, found) = run(None, bounds("puts=1,deletes=1,plain=1"));
    assert_eq!(found.violated, None);
    assert_eq!(found.never, Vec::<&str>::new());
    assert_eq!(found.unique, 8_370);
}

#[test]
fn the_rule_holds_when_all_start_for_the_first_time() {
    let (_, found) = run(None, bounds("first=1,deletes=1,plain=2"));
    assert_eq!(found.violated, None);
    assert_eq!(found.unique, 269);
}

#[test]
fn what_never_happens_is_told() {
    let (_, found) = run(None, bounds("puts=1"));
    assert!(found.never.contains(&"a tombstone is collected"), "{:?}", found.never);
}

/// Those that take less than a second; `cargo models --all` runs the others.
const QUICK: &[(Mutant, &str)] = &[
    (Mutant::SnapshotSameIncarnation, "buried"),
    (Mutant::FixedCut, "converges"),
    (Mutant::NoJoin, "buried"),
    (Mutant::JoinNeedsJoined, "joins"),
    (Mutant::PrefixDigests, "collected"),
    (Mutant::CoverageBeforeEntries, "covered"),
    (Mutant::AliveMembersOnly, "buried"),
    (Mutant::CollectedByAge, "buried"),
    (Mutant::UnmetNotAsked, "buried"),
    (Mutant::NoReceiveFilter, "covered"),
    (Mutant::OtherEpochPushes, "covered"),
    (Mutant::DroppedAtDeadline, "kept"),
    (Mutant::ExpiryDeletes, "kept"),
];

#[test]
fn a_weakened_rule_is_refuted_by_a_shortest_trace() {
    for (mutant, broken) in QUICK {
        let (_, found) = run(Some(*mutant), mutant.bounds());
        let (property, states) = found.violated.unwrap();
        assert_eq!((property, states.len() - 1), (*broken, mutant.steps()), "{}", mutant.name());
        assert_eq!(found.depth, mutant.steps());
    }
}

#[test]
fn a_trace_reads_as_one_run() {
    let (model, found) = run(Some(Mutant::AliveMembersOnly), Mutant::AliveMembersOnly.bounds());
    let (property, states) = found.violated.unwrap();
    let told = trace::tell(&model, &states, property);
    assert_eq!(
        told,
        [
            "   0  all members have joined and met, and nothing is written",
            "   1  n0 puts X1                                             n0.0 holds X1 {X1}",
            "   2  n1 deletes: T2                                         n1.0 holds T2 {T2}",
            "   3  n2 exchanges with n1.0                                 n2.0 holds T2 {T2}, n1.0: {T2}",
            "   4  n2 collects T2                                         n2.0 holds nothing {T2}, n1.0: {T2}",
            "      stamps in order: X1 < T2",
            "      not buried: once everyone knew of a delete, or it was collected, nothing older is shown",
        ]
    );
}

/// Every state that can be reached, found by a search of its own.
fn reachable(model: &Collection) -> BTreeSet<State> {
    let mut seen: BTreeSet<_> = model.init_states().into_iter().collect();
    let mut waiting: VecDeque<_> = seen.iter().cloned().collect();
    while let Some(state) = waiting.pop_front() {
        for next in model.next_states(&state) {
            if seen.insert(next.clone()) {
                waiting.push_back(next);
            }
        }
    }
    seen
}

#[test]
fn the_states_that_stand_for_others_are_exactly_those_of_the_whole_search() {
    let model = Collection::new(Rule::WHOLE, bounds("deletes=1,empty=1,plain=2"));
    let whole = reachable(&model.to_walk());
    let reduced = reachable(&model);
    let representatives: BTreeSet<_> = whole.iter().map(State::representative).collect();
    assert!(whole.len() > 4 * reduced.len(), "{} and {}", whole.len(), reduced.len());
    assert_eq!(representatives, reduced);
}

/// Two lists and three members, of which one is not listed at first, and one not in the end.
#[test]
fn members_that_come_and_go_are_alike_too() {
    let model =
        Collection::new(Rule::WHOLE, bounds("members=2,additions=1,removals=1,first=1,plain=2"));
    let whole = reachable(&model.to_walk());
    let reduced = reachable(&model);
    let representatives: BTreeSet<_> = whole.iter().map(State::representative).collect();
    assert!(whole.len() > reduced.len(), "{} and {}", whole.len(), reduced.len());
    assert_eq!(representatives, reduced);
}

#[test]
fn bounds_are_read_or_refused() {
    let read = bounds("puts=2,empty=1,delayed=1");
    assert_eq!((read.puts, read.empty, read.delayed, read.members), (2, 1, 1, 3));
    for wrong in [
        "",
        "puts",
        "puts=x",
        "pots=1",
        "puts=9",
        "puts=3,deletes=3",
        "leases=2",
        "delayed=3",
        "members=0",
        "members=3,additions=2",
        "removals=3",
        "leases=1,members=2,additions=1",
    ] {
        assert!(wrong.parse::<Bounds>().is_err(), "{wrong}");
    }
}

#[test]
fn each_sentence_has_a_mutant_and_each_promise_a_model() {
    let sentences: BTreeSet<_> = Mutant::ALL.iter().map(|mutant| mutant.sentence()).collect();
    assert_eq!(sentences, (0..=12).collect());
    let names: BTreeSet<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    assert_eq!(names.len(), Mutant::ALL.len());
    for mutant in Mutant::ALL {
        assert!(catalogue::Entry::named(mutant.model()).is_some(), "{}", mutant.name());
    }
    assert_eq!(PROMISES.len(), 7);
}
