//! Who becomes a member, and a voter: what a leader proposes by itself, one change at a time.
//!
//! A node that is no voter and could be one asks the leader, again and again; so does a member that the
//! log knows elsewhere, or by another name, than it is. Here is what a leader remembers of that and of who
//! answers; [`rules`] decide what is done about it, [`watch`] says who has been away. The leader's node
//! itself refuses what would lose a quorum, or comes too early: then it is tried again. All other changes
//! are asked for by people.
//!
//! Not here: IO, and what gossip does. What it sees is an input.

mod rules;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use super::about::{Sightings, Traits};
use super::handle::{Part, Standing};
use super::options::NodeOptions;
use crate::raft::{Member, Node, Now, RaftId, Role, Status};
pub(super) use rules::Step;
use rules::{View, Wanted, is_moved, is_standby, was_removed};
use watch::{Watch, unseen_ms};

/// What is wanted of the membership, and what is known of those who are to take part.
#[derive(Debug)]
pub(super) struct Reconciler {
    own: Member,
    own_traits: Traits,
    wanted: Wanted,
    /// Where a node asks that knows no leader, one after the other: who told it of the cluster may be
    /// gone.
    doors: Vec<String>,
    /// How often it has asked there.
    knocks: usize,
    /// Who asked lately.
    asked: BTreeMap<RaftId, Asked>,
    /// Who was seen as a member: a raft id that was removed never comes back, though a wish of it may
    /// still be under way.
    seen: BTreeSet<RaftId>,
    /// What nodes have told of themselves.
    traits: BTreeMap<RaftId, Traits>,
    watch: Watch,
    /// When a leader said that there is no room.
    no_room_ms: Option<u64>,
    due_ms: u64,
}

/// A node that asks to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub member: Member,
    pub traits: Traits,
    /// The index that it has applied; 0 of a node that was never a member.
    pub applied: u64,
}

/// What a node is told that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It should ask at this address.
    Elsewhere(String),
    /// It was a member, and is none any more.
    Removed,
    /// There is no room for it.
    NoRoom,
}

#[derive(Debug)]
struct Asked {
    wish: Wish,
    at_ms: u64,
}

/// What is to be done at a tick.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// A change to propose.
    pub change: Option<Step>,
    /// An address at which to ask for something.
    pub ask: Option<(String, Wish)>,
}

impl Reconciler {
    pub fn new(options: &NodeOptions, own: Member, via: Option<String>) -> Self {
        let join = options.network.iter().flat_map(|network| network.join.clone());
        let doors = via.into_iter().chain(join).filter(|door| *door != own.address).collect();
        let wanted = Wanted {
            voters: options.voters_max,
            standbys: options.standbys_max,
            failure_timeout_ms: options.failure_timeout_ms,
        };
        Self {
            own,
            own_traits: options.traits(),
            wanted,
            doors,
            knocks: 0,
            asked: BTreeMap::new(),
            seen: BTreeSet::new(),
            traits: BTreeMap::new(),
            watch: Watch::default(),
            no_room_ms: None,
            due_ms: 0,
        }
    }

    /// A node asks to take part. Gives what it is to be told, if anything.
    pub fn take(&mut self, wish: Wish, node: &Node, now: Now) -> Option<Reply> {
        if node.role() != Role::Leader {
            return address_of(node, node.leader_id()?).map(Reply::Elsewhere);
        }
        let id = wish.member.id;
        let is_member = node.members().contains_key(&id);
        let was_member = self.seen.contains(&id) || was_removed(wish.applied, node.applied());
        if !is_member && was_member {
            return Some(Reply::Removed);
        }
        let status = node.status();
        let has_room = is_member || self.view(node, &status, None, now).has_room_for(&wish);
        if self.asked.len() < ASKED_MAX || self.asked.contains_key(&id) {
            self.asked.insert(id, Asked { wish, at_ms: now.monotonic_ms });
        }
        (!has_room).then_some(Reply::NoRoom)
    }

    /// A leader says that there is no room. Gives whether that is news.
    pub fn note_no_room(&mut self, now: Now) -> bool {
        let is_news = !self.was_told_lately(now);
        self.no_room_ms = Some(now.monotonic_ms);
        is_news
    }

    /// What is to be done now.
    pub fn tick(&mut self, node: &Node, sightings: Option<&Sightings>, now: Now) -> Steps {
        self.seen.extend(node.members().keys());
        if now.monotonic_ms < self.due_ms {
            return Steps::default();
        }
        self.due_ms = now.monotonic_ms + PERIOD_MS;
        let oldest_ms = now.monotonic_ms.saturating_sub(FRESH_MS);
        let status = node.status();
        let is_removed = |id: &RaftId| self.seen.contains(id) && !node.members().contains_key(id);
        self.asked.retain(|id, asked| asked.at_ms >= oldest_ms && !is_removed(id));
        self.learn_traits(node, sightings);
        if status.role != Role::Leader {
            self.watch.forget();
            return Steps { change: None, ask: self.ask(node, &status) };
        }
        let parts = [&status.voters, &status.outgoing, &status.learners];
        self.watch.look(status.term, parts, &node.reached(), now.monotonic_ms);
        // A change that is under way ends first.
        let is_joint = !status.outgoing.is_empty();
        let change = (!is_joint).then(|| self.view(node, &status, sightings, now).next()).flatten();
        Steps { change, ask: None }
    }

    /// What the members are, as far as it is known here.
    pub fn standings(
        &self,
        node: &Node,
        sightings: Option<&Sightings>,
        now: Now,
    ) -> BTreeMap<RaftId, Standing> {
        let status = node.status();
        let reach = self.watch.reach(sightings, now.monotonic_ms);
        let leads = status.role == Role::Leader;
        let standing = |id: &RaftId| {
            let part = if !status.learners.contains(id) {
                Part::Voter
            } else if is_standby(*id, &self.traits) {
                Part::Standby
            } else {
                Part::Learner
            };
            let away_ms = if leads {
                reach.get(id).and_then(|reach| reach.away_ms)
            } else {
                unseen_ms(*id, sightings, now.monotonic_ms)
            };
            let away_ms = away_ms.filter(|_| *id != self.own.id);
            let failure_domain = self.traits.get(id).and_then(|told| told.failure_domain.clone());
            (*id, Standing { part, failure_domain, away_ms })
        };
        node.members().keys().map(standing).collect()
    }

    /// What a leader waits for before it changes the members, or a node before it becomes one.
    pub fn waits_for(
        &self,
        node: &Node,
        sightings: Option<&Sightings>,
        now: Now,
    ) -> Option<String> {
        let status = node.status();
        if status.role == Role::Leader {
            return self.view(node, &status, sightings, now).waits_for();
        }
        let is_outside = !node.members().contains_key(&self.own.id) && self.was_told_lately(now);
        is_outside.then(|| NO_ROOM.to_owned())
    }

    fn was_told_lately(&self, now: Now) -> bool {
        self.no_room_ms.is_some_and(|at_ms| now.monotonic_ms.saturating_sub(at_ms) <= FRESH_MS)
    }

    /// Of members and of those that ask: what they told last, by gossip or with their wish.
    fn learn_traits(&mut self, node: &Node, sightings: Option<&Sightings>) {
        for (id, sighting) in sightings.iter().flat_map(|sightings| &sightings.seen) {
            if let Some(about) = &sighting.about {
                self.traits.insert(*id, about.traits.clone());
            }
        }
        for (id, asked) in &self.asked {
            self.traits.insert(*id, asked.wish.traits.clone());
        }
        self.traits.insert(self.own.id, self.own_traits.clone());
        let asked = &self.asked;
        self.traits.retain(|id, _| node.members().contains_key(id) || asked.contains_key(id));
    }

    fn view<'a>(
        &'a self,
        node: &'a Node,
        status: &'a Status,
        sightings: Option<&Sightings>,
        now: Now,
    ) -> View<'a> {
        let settle_ms = SETTLE_MS.min(self.wanted.failure_timeout_ms);
        View {
            own: &self.own,
            voters: &status.voters,
            learners: &status.learners,
            members: node.members(),
            traits: &self.traits,
            reach: self.watch.reach(sightings, now.monotonic_ms),
            wishes: self.asked.values().map(|asked| &asked.wish).collect(),
            wanted: &self.wanted,
            is_settled: self.watch.is_settled(settle_ms, now.monotonic_ms),
        }
    }

    /// Whom to ask, if this node wants more than it is.
    fn ask(&mut self, node: &Node, status: &Status) -> Option<(String, Wish)> {
        // Of the old half only: it is being removed.
        let is_voter = status.voters.union(&status.outgoing).any(|id| *id == self.own.id);
        let is_learner = status.learners.contains(&self.own.id);
        let has_its_part = is_voter || is_learner && !self.own_traits.is_eligible;
        if has_its_part && !is_moved(node.members(), &self.own) || status.is_removed {
            return None;
        }
        let leader = status.leader.and_then(|id| address_of(node, id));
        let (member, traits) = (self.own.clone(), self.own_traits.clone());
        let wish = Wish { member, traits, applied: status.applied };
        leader.or_else(|| self.next_door()).map(|address| (address, wish))
    }

    fn next_door(&mut self) -> Option<String> {
        self.knocks += 1;
        self.doors.get(self.knocks.checked_rem(self.doors.len())?).cloned()
    }
}

fn address_of(node: &Node, id: RaftId) -> Option<String> {
    node.members().get(&id).map(|member| member.address.clone())
}

/// What a node waits for that has no room.
const NO_ROOM: &str =
    "there is no room: the cluster has as many voters and standbys as it is to have";
/// How often it is looked.
const PERIOD_MS: u64 = 500;
/// For how long a node that asked is taken to be there.
const FRESH_MS: u64 = 3_000;
/// How many nodes may ask at once.
const ASKED_MAX: usize = 64;
/// For how long the members have been the same before two change places.
const SETTLE_MS: u64 = 30_000;
