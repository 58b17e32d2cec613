//! Which change of the members a leader makes next: pure functions of what it sees.
//!
//! The first rule that has something to change says what; one change at a time. Together they come to rest:
//! each change brings the members nearer to what is wanted, and none undoes another.
//!
//! Invariants:
//! 1. Of the voters that the leader hears, a majority is in the old configuration and in the new one.
//! 2. The leader removes itself never, and makes itself a learner only by handing leadership over, if it is
//!    not to vote.
//! 3. Voters change places only if the failure domains among them become more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Wish;
use crate::limits::RAFT_MEMBERS_MAX;
use crate::mutant::mutant;
use crate::node::about::Traits;
use crate::raft::{Member, MemberChange, RaftId};

/// What is wanted of the membership.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Up to how many voters.
    pub voters: usize,
    /// Up to how many learners that could become voters.
    pub standbys: usize,
    /// After which time a member is removed that nobody reaches.
    pub failure_timeout_ms: u64,
}

/// What a leader sees.
#[derive(Debug)]
pub struct View<'a> {
    /// The leader itself, and where it is now.
    pub own: &'a Member,
    pub voters: &'a BTreeSet<RaftId>,
    pub learners: &'a BTreeSet<RaftId>,
    /// The members, as the log knows them.
    pub members: &'a BTreeMap<RaftId, Member>,
    /// What nodes have told of themselves, members or not.
    pub traits: &'a BTreeMap<RaftId, Traits>,
    /// How the members are reached, but for the leader.
    pub reach: BTreeMap<RaftId, Reach>,
    /// Who asked to take part lately.
    pub wishes: Vec<&'a Wish>,
    pub wanted: &'a Wanted,
    /// The members have been the same for a while, under this leader.
    pub is_settled: bool,
}

/// How a member is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The leader has heard it lately.
    pub is_heard: bool,
    /// It may be promoted, as far as the log goes.
    pub is_caught_up: bool,
    /// Gossip sees it.
    pub is_seen: bool,
    /// For how long neither the leader nor gossip has reached it.
    pub away_ms: Option<u64>,
}

/// A change, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub changes: Vec<MemberChange>,
    pub why: &'static str,
}

impl Step {
    fn new(why: &'static str, changes: impl IntoIterator<Item = MemberChange>) -> Self {
        Self { changes: changes.into_iter().collect(), why }
    }
}

impl View<'_> {
    /// The next change, if there is anything to change.
    pub fn next(&self) -> Option<Step> {
        // Who is where comes first: whose place somebody takes is told by names.
        self.move_one()
            .or_else(|| self.replace())
            .or_else(|| self.promote())
            .or_else(|| self.remove_voter())
            .or_else(|| self.remove_learner())
            .or_else(|| self.add())
            .or_else(|| self.retire())
            .or_else(|| self.spread())
    }

    /// What the leader waits for, in words, if it is for something.
    pub fn waits_for(&self) -> Option<String> {
        self.longest_away(self.voters.iter().chain(self.learners)).map_or_else(
            || self.waits_for_room_or_standby(),
            |(id, away_ms)| {
                let name = self.name_of(id);
                let left_ms = self.wanted.failure_timeout_ms.saturating_sub(away_ms);
                Some(match left_ms {
                    0 => format!(
                        "{name} is out of reach, and too few voters are reached to remove it"
                    ),
                    _ => format!(
                        "{name} is out of reach: in {} s it is removed",
                        left_ms.div_ceil(1_000)
                    ),
                })
            },
        )
    }

    fn waits_for_room_or_standby(&self) -> Option<String> {
        let is_late = |id: &&RaftId| {
            self.is_eligible(**id) && !self.reach_of(**id).is_some_and(|reach| reach.is_caught_up)
        };
        if self.voters.len() < self.wanted.voters
            && let Some(id) = self.learners.iter().find(is_late)
        {
            return Some(format!("{} has to catch up before it votes", self.name_of(*id)));
        }
        let outside = |wish: &&&Wish| !self.members.contains_key(&wish.member.id);
        match self.wishes.iter().filter(outside).count() {
            0 => None,
            count => {
                Some(format!("no room for {count} more: there are as many standbys as wanted"))
            }
        }
    }

    /// Puts right where a member is, or what it is called.
    fn move_one(&self) -> Option<Step> {
        let wishes = self.wishes.iter().map(|wish| &wish.member);
        let mut present = [self.own].into_iter().chain(wishes);
        let wrong = present.find(|member| is_moved(self.members, member))?;
        Some(Step::new("it is elsewhere", [MemberChange::Move(wrong.clone())]))
    }

    /// A node with an empty directory takes the place of the member of its name.
    fn replace(&self) -> Option<Step> {
        self.wishes.iter().find_map(|Wish { member, .. }| {
            let why = "it takes the place of its name";
            if self.voters.contains(&member.id) {
                return None;
            }
            if self.learners.contains(&member.id) {
                let place = self.place_of_name(member, self.voters)?;
                let promote =
                    self.may_vote(member.id).then_some(MemberChange::Promote(member.id))?;
                let is_kept = mutant!("learner's predecessor stays a voter");
                let remove = (!is_kept).then_some(MemberChange::Remove(place));
                return Some(Step::new(why, [promote].into_iter().chain(remove)));
            }
            let place = self.place_of_name(member, self.learners)?;
            Some(Step::new(
                why,
                [MemberChange::Remove(place), MemberChange::AddLearner(member.clone())],
            ))
        })
    }

    /// A learner votes if there is room.
    fn promote(&self) -> Option<Step> {
        let has_room = self.voters.len() < self.wanted.voters;
        let best = has_room.then(|| self.best_standby(self.voters))??;
        Some(Step::new("there are fewer voters than wanted", [MemberChange::Promote(best)]))
    }

    /// A voter that nobody reaches is removed; a standby takes its place.
    fn remove_voter(&self) -> Option<Step> {
        let (gone, _) =
            self.longest_away(self.voters).filter(|(_, away_ms)| self.is_failure(*away_ms))?;
        let mut after = self.voters.clone();
        after.remove(&gone);
        let has_room =
            after.len() < self.wanted.voters && !mutant!("failed voter is removed alone");
        let standby = has_room.then(|| self.best_standby(&after)).flatten();
        after.extend(standby);
        let changes =
            standby.map(MemberChange::Promote).into_iter().chain([MemberChange::Remove(gone)]);
        self.keeps_quorum(&after).then(|| Step::new("it was not reached for too long", changes))
    }

    /// A learner that nobody reaches makes room.
    fn remove_learner(&self) -> Option<Step> {
        let (gone, _) =
            self.longest_away(self.learners).filter(|(_, away_ms)| self.is_failure(*away_ms))?;
        let changes = [MemberChange::Remove(gone)];
        self.keeps_quorum(self.voters)
            .then(|| Step::new("it was not reached for too long", changes))
    }

    /// Who asks becomes a learner first.
    fn add(&self) -> Option<Step> {
        let taken = self.domains_of(self.voters);
        let outside = self
            .wishes
            .iter()
            .filter(|wish| !self.members.contains_key(&wish.member.id) && self.has_room_for(wish));
        let best = outside.min_by_key(|wish| rank(wish.member.id, &wish.traits, &taken))?;
        Some(Step::new("it asks to take part", [MemberChange::AddLearner(best.member.clone())]))
    }

    /// A voter that is not to vote becomes a learner, as long as another one is. The leader comes last: its
    /// node hands leadership over instead.
    fn retire(&self) -> Option<Step> {
        let is_barred = |id: &&RaftId| self.traits.contains_key(id) && !self.is_eligible(**id);
        let is_anybody_left = self.voters.iter().any(|id| !is_barred(&id));
        if !is_anybody_left || !self.are_voters_well() {
            return None;
        }
        let barred = self.voters.iter().filter(is_barred);
        let leaves = *barred.max_by_key(|id| (**id != self.own.id, Reverse(**id)))?;
        let mut after = self.voters.clone();
        after.remove(&leaves);
        let standby = self.best_standby(&after);
        let changes = standby.map(MemberChange::Promote).into_iter();
        let step = Step::new("it is not to vote", changes.chain([MemberChange::Demote(leaves)]));
        after.extend(standby);
        self.keeps_quorum(&after).then_some(step)
    }

    /// A voter changes places with a standby of a failure domain that has no voter.
    fn spread(&self) -> Option<Step> {
        if !self.is_settled || !self.are_voters_well() {
            return None;
        }
        let taken = self.domains_of(self.voters);
        let adds = |id: &RaftId| self.traits.get(id).is_some_and(|it| adds_domain(it, &taken));
        let standby = self.best_standby(self.voters).filter(|id| self.is_well(*id))?;
        let gains = adds(&standby) || mutant!("places are changed for nothing");
        let leaves = self.least_of_doubled_domain().filter(|_| gains)?;
        let changes = [MemberChange::Promote(standby), MemberChange::Demote(leaves)];
        Some(Step::new("the voters are in more failure domains", changes))
    }

    /// All voters are reached, and have told what they are.
    fn are_voters_well(&self) -> bool {
        self.voters.iter().all(|id| self.is_well(*id) && self.traits.contains_key(id))
    }

    fn is_well(&self, id: RaftId) -> bool {
        let is_reached = self.reach_of(id).is_some_and(|reach| reach.is_heard && reach.is_seen);
        id == self.own.id || is_reached || mutant!("places are changed while somebody is away")
    }

    /// Of the voters that share a failure domain the one of least priority; never the leader.
    fn least_of_doubled_domain(&self) -> Option<RaftId> {
        let domain_of = |id: &RaftId| self.traits.get(id)?.failure_domain.as_deref();
        let is_doubled = |id: &RaftId| {
            let own = domain_of(id);
            own.is_some() && self.voters.iter().filter(|other| domain_of(other) == own).count() > 1
        };
        let is_leader =
            |id: &RaftId| *id == self.own.id && !mutant!("leader makes itself a learner");
        let doubled = self.voters.iter().filter(|id| !is_leader(id) && is_doubled(id));
        doubled.copied().min_by_key(|id| (self.traits.get(id).map(|it| it.priority), Reverse(*id)))
    }

    /// The standby that would vote first beside these voters.
    fn best_standby(&self, voters: &BTreeSet<RaftId>) -> Option<RaftId> {
        let taken = self.domains_of(voters);
        let ready = self.learners.iter().copied().filter(|id| {
            // It takes a certain place, once it asks for it again.
            let is_successor =
                self.members.get(id).is_some_and(|it| self.place_of_name(it, voters).is_some());
            self.may_vote(*id) && !is_successor
        });
        let ranked = ready.filter_map(|id| Some((rank(id, self.traits.get(&id)?, &taken), id)));
        ranked.min().map(|(_, id)| id)
    }

    /// The failure domains that these nodes name.
    fn domains_of(&self, ids: &BTreeSet<RaftId>) -> BTreeSet<&str> {
        ids.iter().filter_map(|id| self.traits.get(id)?.failure_domain.as_deref()).collect()
    }

    /// The member of the same name, of an earlier directory. The leader is there, and no predecessor.
    fn place_of_name(&self, member: &Member, among: &BTreeSet<RaftId>) -> Option<RaftId> {
        let is_it = |id: &&RaftId| {
            let is_other = **id != member.id && **id != self.own.id;
            is_other && self.members.get(id).is_some_and(|it| it.name == member.name)
        };
        among.iter().find(is_it).copied()
    }

    /// Whether there is room for a node that is no member yet. Those that are never to vote need none
    /// among the standbys; who takes the place of its name finds it there.
    pub fn has_room_for(&self, wish: &Wish) -> bool {
        if self.members.len() >= RAFT_MEMBERS_MAX {
            return false;
        }
        let has_place = self.place_of_name(&wish.member, self.voters).is_some();
        let standbys = self.learners.iter().filter(|id| is_standby(**id, self.traits)).count();
        let room = self.wanted.voters.saturating_sub(self.voters.len()) + self.wanted.standbys;
        !wish.traits.is_eligible || has_place || standbys < room || mutant!("room for any number")
    }

    /// Of these members the one that has been away for the longest time.
    fn longest_away<'a>(&self, ids: impl IntoIterator<Item = &'a RaftId>) -> Option<(RaftId, u64)> {
        let others = ids.into_iter().copied().filter(|id| *id != self.own.id);
        let away = others.filter_map(|id| Some((self.reach_of(id)?.away_ms?, Reverse(id))));
        away.max().map(|(away_ms, Reverse(id))| (id, away_ms))
    }

    const fn is_failure(&self, away_ms: u64) -> bool {
        away_ms >= self.wanted.failure_timeout_ms
    }

    /// Whether the voters that are heard are a majority of these voters, and of those there are.
    fn keeps_quorum(&self, after: &BTreeSet<RaftId>) -> bool {
        let is_heard = |id: &&RaftId| {
            **id == self.own.id || self.reach_of(**id).is_some_and(|reach| reach.is_heard)
        };
        let has_majority =
            |half: &BTreeSet<RaftId>| half.iter().filter(is_heard).count() > half.len() / 2;
        [self.voters, after].into_iter().all(has_majority)
            || mutant!("members are removed without a majority")
    }

    /// Whether a learner may be promoted.
    fn may_vote(&self, id: RaftId) -> bool {
        let reach = self.reach_of(id);
        self.is_eligible(id) && reach.is_some_and(|reach| reach.is_heard && reach.is_caught_up)
    }

    fn is_eligible(&self, id: RaftId) -> bool {
        let told = self.traits.get(&id);
        told.is_some_and(|it| it.is_eligible || mutant!("node that is not eligible votes"))
    }

    fn reach_of(&self, id: RaftId) -> Option<&Reach> {
        self.reach.get(&id)
    }

    fn name_of(&self, id: RaftId) -> &str {
        self.members.get(&id).map_or("a member", |member| &member.name)
    }
}

/// Whether the log knows a member elsewhere, or by another name.
pub fn is_moved(members: &BTreeMap<RaftId, Member>, member: &Member) -> bool {
    let is_wrong = members.get(&member.id).is_some_and(|known| known != member);
    is_wrong && !mutant!("member that has moved is not put right")
}

/// Whether a learner could become a voter. One that has said nothing counts: it takes room.
pub fn is_standby(id: RaftId, traits: &BTreeMap<RaftId, Traits>) -> bool {
    traits.get(&id).is_none_or(|told| told.is_eligible)
}

/// Whether a node was a member before, that is none now: its raft id never comes back. It knows a part of
/// the log, of which the leader has as much.
pub fn was_removed(wish_applied: u64, applied: u64) -> bool {
    wish_applied > 0 && wish_applied <= applied && !mutant!("removed node is added again")
}

/// The order in which nodes become voters, the first is the least.
fn rank(id: RaftId, traits: &Traits, taken: &BTreeSet<&str>) -> (bool, Reverse<i64>, RaftId) {
    let adds_none = !adds_domain(traits, taken) && !mutant!("failure domains count for nothing");
    (adds_none, Reverse(traits.priority), id)
}

/// Whether a node is of a failure domain that has nobody yet. One that names none adds none.
fn adds_domain(traits: &Traits, taken: &BTreeSet<&str>) -> bool {
    traits.failure_domain.as_deref().is_some_and(|domain| !taken.contains(domain))
}
