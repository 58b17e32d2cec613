//! What has to hold in every state, and what has to happen in some.
//!
//! Half of it is about the state as it is. The other half is about where it leads when nothing more goes
//! wrong ([`Settled`]): no further writes, restarts and late messages, and every member exchanges with
//! every other until nothing changes. A state in which that ends badly is reported at once, so nothing
//! hangs on fairness, and no cycle can hide it.

use std::cell::RefCell;

use stateright::Property;

use super::Collection;
use super::actions::{collect, exchange, take_list};
use super::bounds::Bounds;
use super::rule::{Coverage, MEMBERS, Members, Rule, Stamp};
use super::state::{Kind, State};

/// The properties of the model.
#[must_use]
pub fn properties(bounds: &Bounds) -> Vec<Property<Collection>> {
    let mut properties = vec![
        Property::always(COVERED, |model: &Collection, state| model.admit(is_covered(state))),
        Property::always(BURIED, |model: &Collection, state| model.admit(is_buried(state))),
        Property::always(EQUAL, |model: &Collection, state| model.admit(are_equal(state))),
        Property::always(JOINS, |model: &Collection, state| {
            model.admit(settled(model.rule, state).all_joined)
        }),
        Property::always(MEETS, |model: &Collection, state| {
            model.admit(settled(model.rule, state).all_equal)
        }),
        Property::always(KEEPS, |model: &Collection, state| {
            model.admit(settled(model.rule, state).is_kept)
        }),
        Property::always(FORGETS, |model: &Collection, state| {
            model.admit(settled(model.rule, state).is_collected)
        }),
        Property::sometimes("a tombstone is collected", |_, state| has_collected(state)),
        Property::sometimes("a tombstone is collected, and a value is there again", |_, state| {
            has_collected(state) && state.listed().any(|replica| shows(state, replica.entry))
        }),
    ];
    if bounds.empty + bounds.older > 0 {
        properties.push(Property::sometimes("a new incarnation collects", |_, state: &State| {
            let is_new = |member: usize| state.replicas[member].incarnations[member].0 > 0;
            state.members().iter().any(|member| is_new(member) && collected(state, member))
        }));
    }
    properties.extend(about_lists(bounds));
    if bounds.leases > 0 {
        properties.push(Property::sometimes(
            "an expired entry is collected",
            |_, state: &State| {
                let is_lease = |stamp: Option<Stamp>| {
                    stamp.is_some_and(|stamp| state.write(stamp).kind == Kind::Lease)
                };
                state.members().iter().any(|member| {
                    collected(state, member) && is_lease(state.replicas[member].coverage.newest())
                })
            },
        ));
    }
    properties
}

/// What has to happen where the list of members changes.
fn about_lists(bounds: &Bounds) -> Vec<Property<Collection>> {
    let mut properties = Vec::new();
    if bounds.removals + bounds.additions > 0 {
        properties.push(Property::sometimes(
            "what was deleted in a later epoch is collected",
            |_, state: &State| {
                let is_later = |stamp: Stamp| !state.write(stamp).epochs.contains(0);
                let is_it = |member: usize| {
                    let newest = state.replicas[member].coverage.newest();
                    collected(state, member) && newest.is_some_and(is_later)
                };
                state.members().iter().any(is_it)
            },
        ));
    }
    if bounds.removals > 0 {
        properties.push(Property::sometimes(
            "who collected may hear from a removed member, and must not",
            |_, state: &State| (0..MEMBERS).any(|member| may_hear_of_removed(state, member)),
        ));
    }
    if bounds.additions > 0 {
        properties.push(Property::sometimes(
            "an added member is the first to collect",
            |_, state: &State| {
                let added = Members(state.members().0 & !state.lists[0].0);
                added.iter().any(|member| {
                    let newest = state.replicas[member].coverage.newest();
                    let mut others = state.members().iter().filter(|other| *other != member);
                    collected(state, member)
                        && others.all(|other| state.replicas[other].entry == newest)
                })
            },
        ));
    }
    properties
}

/// What its names say, in sentences.
pub const PROMISES: &[(&str, &str)] = &[
    (COVERED, "a joined member holds the newest write that it covers, or has collected it"),
    (BURIED, "once everyone knew of a delete, or it was collected, nothing older is shown"),
    (EQUAL, "joined members that cover the same writes show the same"),
    (JOINS, "when nothing more goes wrong, every member joins"),
    (MEETS, "when everything is exchanged, all members hold and cover the same"),
    (KEEPS, "the newest write that any member has kept is what is left in the end"),
    (FORGETS, "in the end no tombstone is left"),
];

const COVERED: &str = "covered";
const BURIED: &str = "buried";
const EQUAL: &str = "equal";
const JOINS: &str = "joins";
const MEETS: &str = "converges";
const KEEPS: &str = "kept";
const FORGETS: &str = "collected";

/// The end of a state when nothing more goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// All members have joined.
    pub all_joined: bool,
    /// All hold and cover the same.
    pub all_equal: bool,
    /// What survives is the newest acknowledged write that a member covered.
    pub is_kept: bool,
    /// No tombstone is left.
    pub is_collected: bool,
}

fn is_covered(state: &State) -> bool {
    state.replicas.iter().filter(|replica| replica.has_joined).all(|replica| {
        let newest = replica.coverage.newest();
        replica.entry == newest
            || replica.entry.is_none() && newest.is_some_and(|newest| state.is_tombstone(newest))
    })
}

fn is_buried(state: &State) -> bool {
    state.listed().all(|replica| {
        !replica.has_joined || !shows(state, replica.entry) || replica.entry >= state.buried
    })
}

fn are_equal(state: &State) -> bool {
    let shown = |entry: Option<Stamp>| entry.filter(|entry| !state.is_tombstone(*entry));
    let joined = || state.replicas.iter().filter(|replica| replica.has_joined);
    joined().all(|one| {
        joined()
            .all(|other| one.coverage != other.coverage || shown(one.entry) == shown(other.entry))
    })
}

/// Lets everything settle. The last answer is remembered, as several properties ask in turn.
fn settled(rule: Rule, state: &State) -> Settled {
    thread_local! {
        static LAST: RefCell<Option<(Rule, State, Settled)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((with, of, settled)) if *with == rule && of == state => *settled,
        _ => {
            let settled = settle(rule, state);
            *last = Some((rule, state.clone(), settled));
            settled
        }
    })
}

fn settle(rule: Rule, state: &State) -> Settled {
    let mut end = state.clone();
    let list = state.list();
    for member in list.members.iter() {
        if end.replicas[member].list != list {
            take_list(&mut end, rule, member, list);
        }
    }
    let is_still = (0..ROUNDS_MAX).any(|_| {
        let before = end.replicas;
        round(rule, &mut end);
        end.replicas == before
    });
    let first = end.listed().next().expect("there is a member");
    Settled {
        all_joined: end.listed().all(|replica| replica.has_joined),
        all_equal: is_still
            && end
                .listed()
                .all(|replica| (replica.entry, replica.coverage) == (first.entry, first.coverage)),
        is_kept: first.entry.filter(|entry| !end.is_tombstone(*entry)) == survivor(state),
        is_collected: end
            .listed()
            .all(|replica| replica.entry.is_none_or(|entry| !end.is_tombstone(entry))),
    }
}

/// Everyone exchanges with everyone, and collects what may be collected.
fn round(rule: Rule, state: &mut State) {
    let listed: Vec<_> = state.list().members.iter().collect();
    for distance in 1..listed.len() {
        for (place, from) in listed.iter().enumerate() {
            exchange(state, rule, *from, listed[(place + distance) % listed.len()]);
        }
    }
    for member in listed {
        let replica = state.replicas[member];
        let standing = replica.entry.map(|entry| state.standing(member, entry));
        if standing.is_some_and(|standing| rule.may_collect(&replica, member, standing)) {
            collect(state, member);
        }
    }
}

/// What has to be shown in the end: the newest write that a client made and a member covers.
fn survivor(state: &State) -> Option<Stamp> {
    let covered =
        state.listed().fold(Coverage::default(), |all, replica| all.union(replica.coverage));
    let newest = state
        .stamped()
        .filter(|(stamp, write)| covered.covers(*stamp) && write.kind.is_acknowledged())
        .map(|(stamp, _)| stamp)
        .max();
    newest.filter(|stamp| !state.is_tombstone(*stamp))
}

fn shows(state: &State, entry: Option<Stamp>) -> bool {
    entry.is_some_and(|entry| !state.is_tombstone(entry))
}

fn collected(state: &State, member: usize) -> bool {
    let replica = &state.replicas[member];
    let newest = replica.coverage.newest();
    replica.has_joined && replica.entry.is_none() && newest.is_some()
}

/// Whether it would show again what it has collected, if it heard a push of who was removed.
fn may_hear_of_removed(state: &State, member: usize) -> bool {
    let replica = &state.replicas[member];
    let is_listed = |writer: u8| state.list().members.contains(usize::from(writer));
    let mut removed = state.stamped().filter(|(_, write)| !is_listed(write.member));
    let is_late = |stamp: Stamp| {
        let is_older = replica.coverage.newest().is_some_and(|newest| stamp < newest);
        is_older && !replica.coverage.covers(stamp) && !state.is_tombstone(stamp)
    };
    is_listed(u8::try_from(member).expect("members are few"))
        && collected(state, member)
        && removed.any(|(stamp, _)| is_late(stamp))
}

fn has_collected(state: &State) -> bool {
    state.members().iter().any(|member| collected(state, member))
}

/// Rounds after which what still changes never comes to rest: three are enough for all that there is
/// to learn.
const ROUNDS_MAX: usize = 12;
