//! What a node tells of itself.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use raft::StateRole;

use super::Node;
use crate::raft::{Now, RaftId};

/// The role of a member in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its raft id.
    pub id: RaftId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// For whom it has voted in this term.
    pub vote: Option<RaftId>,
    /// Who leads, as far as it knows.
    pub leader: Option<RaftId>,
    /// The last index that it knows to be committed.
    pub commit: u64,
    /// The last index that its machine has applied.
    pub applied: u64,
    /// The first index of its log in memory.
    pub first_index: u64,
    /// The last index of its log.
    pub last_index: u64,
    /// The voters, of the new half of a joint configuration.
    pub voters: BTreeSet<RaftId>,
    /// The voters of the old half of a joint configuration; else empty.
    pub outgoing: BTreeSet<RaftId>,
    /// The members that do not vote.
    pub learners: BTreeSet<RaftId>,
    /// It leads, and the clocks of no majority agreed when it began.
    pub clock_unresolved: bool,
    /// How many steps wait to be durable.
    pub unsynced: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// It is no member any more.
    pub is_removed: bool,
}

impl Node {
    /// What the node tells of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        let conf = self.raw.store().conf();
        let set = |ids: &[u64]| ids.iter().copied().map(RaftId).collect();
        Status {
            id: self.id,
            role: self.role(),
            term: raft.term,
            vote: (raft.vote != 0).then_some(RaftId(raft.vote)),
            leader: self.leader(),
            commit: raft.raft_log.committed,
            applied: self.applied,
            first_index: self.log().first_index(),
            last_index: self.log().last_index(),
            voters: set(&conf.voters),
            outgoing: set(&conf.voters_outgoing),
            learners: conf
                .learners
                .iter()
                .chain(&conf.learners_next)
                .map(|id| RaftId(*id))
                .collect(),
            clock_unresolved: self.is_clock_unresolved(),
            unsynced: self.outstanding.len(),
            waiting: self.writes.len() + self.reads.len(),
            is_removed: self.is_removed,
        }
    }

    /// The role in the present term: cheap.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// Who leads, as far as the node knows: cheap.
    #[must_use]
    pub fn leader_id(&self) -> Option<RaftId> {
        self.leader()
    }

    /// The present term: cheap.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The last index known to be committed: cheap.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// By how many milliseconds the clocks of the other members are ahead of this node's, as far as
    /// their last messages tell: negative of one that is behind.
    #[must_use]
    pub fn clock_offsets(&self, now: Now) -> BTreeMap<RaftId, i64> {
        let others = self.members.keys().filter(|member| **member != self.id);
        let offset = |member: &RaftId| {
            let time = self.clocks.time_at(*member, now)?;
            Some((*member, time.0.wrapping_sub(now.wall.0).cast_signed()))
        };
        others.filter_map(offset).collect()
    }

    /// Whether the clocks of a majority agree, and this node's is not among them: then it does not
    /// lead, and asks for no votes.
    #[must_use]
    pub fn is_clock_refused(&self, now: Now) -> bool {
        self.is_clock_off(now)
    }

    /// The term of an entry of the log, if it is there and not compacted: also of one that has come and
    /// waits to be written, which [`Node::log`] does not show yet.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        // Of what is not there raft-rs says 0.
        self.raw.raft.raft_log.term(index).ok().filter(|term| *term > 0)
    }
}
