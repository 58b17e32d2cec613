//! Who becomes a member, and a voter: what a leader proposes by itself, one change at a time.
//!
//! A node that is no voter and wants to be one asks the leader, again and again. Whoever asks is
//! added as a learner first. A learner that asks is promoted while there are fewer voters than
//! wanted; it takes the place of a voter of its own name, which a node with an empty directory
//! replaces. A member that the log knows elsewhere, or by another name, than it is asks too, voter or
//! not, and the log is put right. All other changes are asked for by people. The leader's node itself
//! refuses what would lose a quorum, or comes too early: then it is tried again.

use std::collections::{BTreeMap, BTreeSet};

use super::options::NodeOptions;
use crate::mutant::mutant;
use crate::raft::{Member, MemberChange, Node, Now, RaftId, Role, Status};

/// What is wanted of the membership.
#[derive(Debug)]
pub(super) struct Reconciler {
    own: Member,
    voters_max: usize,
    wants_vote: bool,
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
    due_ms: u64,
}

/// A node that asks to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub member: Member,
    /// As a voter, not only as a learner.
    pub wants_vote: bool,
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
    pub change: Option<Vec<MemberChange>>,
    /// An address at which to ask for something.
    pub ask: Option<(String, Wish)>,
}

impl Reconciler {
    pub fn new(options: &NodeOptions, own: Member, via: Option<String>) -> Self {
        let (voters_max, wants_vote) = (options.voters_max, options.is_eligible);
        let (asked, seen) = (BTreeMap::new(), BTreeSet::new());
        let join = options.network.iter().flat_map(|network| network.join.clone());
        let doors = via.into_iter().chain(join).filter(|door| *door != own.address).collect();
        Self { own, voters_max, wants_vote, doors, knocks: 0, asked, seen, due_ms: 0 }
    }

    /// A node asks to take part. Gives an address if it should ask there instead.
    pub fn take(&mut self, wish: Wish, node: &Node, now: Now) -> Option<String> {
        if node.role() != Role::Leader {
            return address_of(node, node.leader_id()?);
        }
        let is_member = node.members().contains_key(&wish.member.id);
        if self.seen.contains(&wish.member.id) && !is_member {
            return None;
        }
        if self.asked.len() < ASKED_MAX || self.asked.contains_key(&wish.member.id) {
            self.asked.insert(wish.member.id, Asked { wish, at_ms: now.monotonic_ms });
        }
        None
    }

    /// What is to be done now.
    pub fn tick(&mut self, node: &Node, now: Now) -> Steps {
        self.seen.extend(node.members().keys());
        if now.monotonic_ms < self.due_ms {
            return Steps::default();
        }
        self.due_ms = now.monotonic_ms + PERIOD_MS;
        let oldest_ms = now.monotonic_ms.saturating_sub(FRESH_MS);
        let status = node.status();
        let is_removed = |id: &RaftId| self.seen.contains(id) && !node.members().contains_key(id);
        self.asked.retain(|id, asked| asked.at_ms >= oldest_ms && !is_removed(id));
        if status.role == Role::Leader {
            let wishes = || self.asked.values().map(|asked| &asked.wish);
            // Who is where comes first: whose place somebody takes is told by names.
            let change = [&self.own]
                .into_iter()
                .chain(wishes().map(|wish| &wish.member))
                .find_map(|member| moved(member, node))
                .or_else(|| wishes().find_map(|wish| self.change(wish, node, &status)));
            return Steps { change, ask: None };
        }
        Steps { change: None, ask: self.ask(node, &status) }
    }

    /// The next change towards what a node asks for.
    fn change(&self, wish: &Wish, node: &Node, status: &Status) -> Option<Vec<MemberChange>> {
        let Wish { member, wants_vote } = wish;
        let is_learner = status.learners.contains(&member.id);
        if status.voters.contains(&member.id) {
            return None;
        }
        if !is_learner {
            return Some(vec![MemberChange::AddLearner(member.clone())]);
        }
        let has_its_name = |id: &&RaftId| {
            **id != member.id && node.members().get(id).is_some_and(|it| it.name == member.name)
        };
        let predecessor = status.voters.iter().find(has_its_name);
        let has_room = predecessor.is_some() || status.voters.len() < self.voters_max;
        let promote = (*wants_vote && has_room).then_some(MemberChange::Promote(member.id));
        let is_kept = mutant!("learner's predecessor stays a voter");
        let remove = predecessor.filter(|_| !is_kept).map(|id| MemberChange::Remove(*id));
        promote.map(|promote| [promote].into_iter().chain(remove).collect())
    }

    /// Whom to ask, if this node wants more than it is.
    fn ask(&mut self, node: &Node, status: &Status) -> Option<(String, Wish)> {
        // Of the old half only: it is being removed.
        let is_voter = status.voters.union(&status.outgoing).any(|id| *id == self.own.id);
        let has_its_part = is_voter || status.learners.contains(&self.own.id) && !self.wants_vote;
        let is_content = has_its_part && moved(&self.own, node).is_none();
        if is_content || status.is_removed {
            return None;
        }
        let leader = status.leader.and_then(|id| address_of(node, id));
        let wish = Wish { member: self.own.clone(), wants_vote: self.wants_vote };
        leader.or_else(|| self.next_door()).map(|address| (address, wish))
    }

    fn next_door(&mut self) -> Option<String> {
        self.knocks += 1;
        self.doors.get(self.knocks.checked_rem(self.doors.len())?).cloned()
    }
}

/// The change that puts the log right about a member, if it knows it otherwise.
fn moved(member: &Member, node: &Node) -> Option<Vec<MemberChange>> {
    let known = node.members().get(&member.id)?;
    let is_wrong = known != member && !mutant!("member that has moved is not put right");
    is_wrong.then(|| vec![MemberChange::Move(member.clone())])
}

fn address_of(node: &Node, id: RaftId) -> Option<String> {
    node.members().get(&id).map(|member| member.address.clone())
}

/// How often it is looked.
const PERIOD_MS: u64 = 500;
/// For how long a node that asked is taken to be there.
const FRESH_MS: u64 = 3_000;
/// How many nodes may ask at once.
const ASKED_MAX: usize = 64;
