//! Membership: who takes part, changed through the log by joint consensus.
//!
//! A leader proposes one change at a time, and refuses what would lose a quorum: the voters that it
//! has heard lately must be a majority of the old configuration and of the new one. Adding goes
//! through a learner, which is promoted once it has caught up. A voter may become a learner again. A member that says to be elsewhere than
//! the log knows is moved: no vote is given or taken by that. The leader does neither remove nor demote
//! itself: it hands leadership over first.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::Node;
use super::apply::encode_origin;
use crate::codec::{Reader, Writer};
use crate::limits::{RAFT_MEMBERS_MAX, RAFT_PROMOTION_LAG_MAX};
use crate::mutant::mutant;
use crate::raft::clock::Voters;
use crate::raft::message::{Body, Decline, Member};
use crate::raft::request::{MemberChange, Origin};
use crate::raft::state::{read_member, write_member};
use crate::raft::{Now, RaftId};

/// How a leader finds another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// It has answered within the last election timeout, or has just become a member.
    pub is_active: bool,
    /// It may be promoted: it answers, and has nearly all of the log.
    pub is_caught_up: bool,
}

impl Node {
    /// Proposes a change of the membership; returns its index and term.
    pub(super) fn propose_change(
        &mut self,
        origin: Origin,
        changes: &[MemberChange],
    ) -> Result<(u64, u64), Decline> {
        if !self.is_leader() {
            return Err(Decline::NotLeader(self.leader()));
        }
        if self.raw.raft.has_pending_conf() || self.is_joint() {
            return Err(Decline::Busy);
        }
        self.check_change(changes).map_err(Decline::Refused)?;
        let before = self.voters().incoming;
        let unseats = [MemberChange::Remove(self.id), MemberChange::Demote(self.id)];
        if unseats.iter().any(|change| changes.contains(change)) {
            if let Some(successor) = self.most_caught_up(|_| true) {
                self.raw.transfer_leader(successor.0);
            }
            return Err(Decline::Busy);
        }
        let change = to_conf_change(changes, &before);
        let proposed = self.raw.propose_conf_change(encode_origin(origin), change);
        proposed.map_err(|_| Decline::Busy)?;
        Ok((self.raw.raft.raft_log.last_index(), self.raw.raft.term))
    }

    /// Why a change must not be made, if so.
    fn check_change(&self, changes: &[MemberChange]) -> Result<(), String> {
        let before = self.voters();
        let mut after = before.incoming.clone();
        let mut named = BTreeSet::new();
        let mut members = self.members.len();
        for change in changes {
            let id = change.id();
            if !named.insert(id) {
                return Err(format!("{id} is changed twice"));
            }
            match change {
                MemberChange::Remove(_) | MemberChange::Demote(_)
                    if self.is_sole_voter() && id == self.id =>
                {
                    return Err(format!("{id} is the only voter: promote another one first"));
                }
                MemberChange::AddLearner(_) if self.knows(id) => {
                    return Err(format!("{id} is a member already"));
                }
                MemberChange::AddLearner(_) => members += 1,
                MemberChange::Promote(_) if before.incoming.contains(&id) => {
                    return Err(format!("{id} is a voter already"));
                }
                MemberChange::Promote(_) => {
                    self.check_promotion(id)?;
                    after.insert(id);
                }
                MemberChange::Demote(_) if !before.incoming.contains(&id) => {
                    return Err(format!("{id} is no voter"));
                }
                MemberChange::Remove(_) if !self.knows(id) => {
                    return Err(format!("{id} is no member"));
                }
                MemberChange::Remove(_) | MemberChange::Demote(_) => {
                    after.remove(&id);
                }
                MemberChange::Move(_) if !self.knows(id) => {
                    return Err(format!("{id} is no member"));
                }
                MemberChange::Move(_) => {}
            }
        }
        if changes.is_empty() {
            return Err("there is nothing to change".to_owned());
        }
        if members > RAFT_MEMBERS_MAX {
            return Err(format!("a cluster has at most {RAFT_MEMBERS_MAX} members"));
        }
        self.check_quorum(before.incoming, after)
    }

    fn check_promotion(&self, id: RaftId) -> Result<(), String> {
        let Some(progress) = self.raw.raft.prs().get(id.0) else {
            return Err(format!("{id} is no member: add it as a learner first"));
        };
        let lag = self.commit().saturating_sub(progress.matched);
        // raft-rs takes a new member for active until it has been silent for a while.
        if !progress.recent_active || progress.matched == 0 {
            return Err(format!("{id} can't be reached"));
        }
        if lag > RAFT_PROMOTION_LAG_MAX {
            return Err(format!("{id} is {lag} entries behind: it has to catch up first"));
        }
        Ok(())
    }

    /// The voters that can be reached must be a majority of the old configuration and of the new.
    fn check_quorum(
        &self,
        before: BTreeSet<RaftId>,
        after: BTreeSet<RaftId>,
    ) -> Result<(), String> {
        if after.is_empty() {
            return Err("a cluster needs a voter".to_owned());
        }
        let reached: BTreeSet<_> = before
            .union(&after)
            .copied()
            .filter(|id| *id == self.id || self.is_active(*id))
            .collect();
        let (have, wanted) = (after.intersection(&reached).count(), after.len() / 2 + 1);
        if (Voters { incoming: before, outgoing: after }).has_quorum(&reached) {
            Ok(())
        } else {
            Err(format!(
                "it would lose the quorum: {have} of {wanted} needed voters can be reached"
            ))
        }
    }

    /// What a leader knows of the other members' progress; nothing of one that does not lead.
    #[must_use]
    pub fn reached(&self) -> BTreeMap<RaftId, Reached> {
        let others = self.members.keys().filter(|id| **id != self.id && self.is_leader());
        let reached = |id: &RaftId| Reached {
            is_active: self.is_active(*id),
            is_caught_up: self.check_promotion(*id).is_ok(),
        };
        others.map(|id| (*id, reached(id))).collect()
    }

    fn is_active(&self, id: RaftId) -> bool {
        self.raw.raft.prs().get(id.0).is_some_and(|progress| progress.recent_active)
    }

    pub(super) fn is_joint(&self) -> bool {
        !self.raw.store().conf().voters_outgoing.is_empty()
    }

    /// A joint phase ends by itself; a leader that finds one open ends it.
    pub(super) fn leave_joint(&mut self, _now: Now) {
        if self.is_leader() && self.is_joint() && !self.raw.raft.has_pending_conf() {
            // Refused now, it is tried again at the next tick.
            let _ = self.raw.propose_conf_change(Vec::new(), ConfChangeV2::default());
        }
    }

    /// After a change was applied: keeps the members and their addresses in step.
    pub(super) fn follow_members(&mut self, change: &ConfChangeV2) {
        for member in decode_members(&change.context) {
            if self.members.insert(member.id, member).is_none() {
                self.listed_at = self.applied;
            }
            // A member takes only a snapshot whose configuration has it.
            self.raw.mut_store().offer(None);
        }
        let leaving: Vec<_> = self.members.keys().copied().filter(|id| !self.knows(*id)).collect();
        for id in leaving {
            self.members.remove(&id);
            self.listed_at = self.applied;
            self.is_removed |= id == self.id;
        }
        // Elected in the joint phase that removes or demotes it, it ends that phase and then stops to
        // lead.
        if self.is_leader() && !self.voters().contains(self.id) {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// Tells one who asks for votes that it is no member.
    pub(super) fn send_not_member(&mut self, to: RaftId, now: Now) {
        self.transmit(to, Body::NotMember { index: self.applied }, now);
    }

    /// Someone who has applied as much as this node, or more, does not know it: it was removed.
    pub(super) fn take_not_member(&mut self, index: u64) {
        if index >= self.applied && !mutant!("removed node votes") {
            self.is_removed = true;
        }
    }
}

impl MemberChange {
    /// Whom it is about.
    #[must_use]
    pub const fn id(&self) -> RaftId {
        match self {
            Self::AddLearner(member) | Self::Move(member) => member.id,
            Self::Promote(id) | Self::Demote(id) | Self::Remove(id) => *id,
        }
    }
}

fn to_conf_change(changes: &[MemberChange], voters: &BTreeSet<RaftId>) -> ConfChangeV2 {
    let single = |change: &MemberChange| {
        let kind = match change {
            // Whoever is moved is added once more, as what it is: that changes nothing but its name
            // and address.
            MemberChange::Move(member) if voters.contains(&member.id) => ConfChangeType::AddNode,
            MemberChange::AddLearner(_) | MemberChange::Demote(_) | MemberChange::Move(_) => {
                ConfChangeType::AddLearnerNode
            }
            MemberChange::Promote(_) => ConfChangeType::AddNode,
            MemberChange::Remove(_) => ConfChangeType::RemoveNode,
        };
        ConfChangeSingle { change_type: kind as i32, node_id: change.id().0 }
    };
    let told: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            MemberChange::AddLearner(member) | MemberChange::Move(member) => Some(member),
            MemberChange::Promote(_) | MemberChange::Demote(_) | MemberChange::Remove(_) => None,
        })
        .collect();
    let mut writer = Writer::new();
    writer.count(told.len());
    for member in told {
        write_member(&mut writer, member);
    }
    ConfChangeV2 {
        transition: ConfChangeTransition::Auto as i32,
        changes: changes.iter().map(single).collect(),
        context: writer.finish().to_vec(),
    }
}

fn decode_members(context: &[u8]) -> Vec<Member> {
    let mut reader = Reader::new(bytes::Bytes::copy_from_slice(context));
    let count = reader.count(10, "the number of members").unwrap_or(0);
    (0..count).map_while(|_| read_member(&mut reader).ok()).collect()
}
