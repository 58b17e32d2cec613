//! What is noticed of an engine from one step to the next: elections, leaders, members, its clock.
//!
//! The engine tells how it is, not what has changed. Here the one is made of the other, to be counted
//! and logged. It looks and decides nothing.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::raft::{Member, Node, Now, RaftId, Role, Status};

use super::metrics::Metrics;

/// How the engine was when it was last looked at.
#[derive(Debug)]
pub(super) struct Observer {
    /// The name of the node.
    name: String,
    role: Role,
    term: u64,
    leader: Option<RaftId>,
    /// The last leader that was known, with its term.
    known: Option<(u64, RaftId)>,
    /// The members, and whether they vote. None before the first look.
    members: Option<BTreeMap<RaftId, (Member, bool)>>,
    is_removed: bool,
    is_clock_refused: bool,
    is_clock_unresolved: bool,
}

impl Observer {
    pub fn new(node: &Node, name: String) -> Self {
        Self {
            name,
            role: node.role(),
            term: node.term(),
            leader: None,
            known: None,
            members: None,
            is_removed: false,
            is_clock_refused: false,
            is_clock_unresolved: false,
        }
    }

    /// Looks after a step: cheap.
    pub fn look(&mut self, node: &Node, metrics: &Metrics) {
        let (role, term) = (node.role(), node.term());
        if (role, term) != (self.role, self.term) {
            self.note_role(role, term, metrics);
            (self.role, self.term) = (role, term);
        }
        let leader = node.leader_id();
        let Some(id) = leader else {
            if self.leader.take().is_some() {
                warn!(target: RAFT, node = self.name, term, "knows no leader");
            }
            return;
        };
        let is_another = self.known.replace((term, id)) != Some((term, id));
        if is_another {
            metrics.leader_changes.add(1);
        }
        // Also the one of before, after a time without any.
        if is_another || self.leader.is_none() {
            let leader_name = node.members().get(&id).map_or("?", |member| member.name.as_str());
            info!(target: RAFT, node = self.name, term, leader = %id, leader_name, "follows a leader");
        }
        self.leader = leader;
    }

    fn note_role(&self, role: Role, term: u64, metrics: &Metrics) {
        let is_standing = |role| matches!(role, Role::PreCandidate | Role::Candidate);
        let was_standing = is_standing(self.role);
        let has_won = role == Role::Leader && (self.role != Role::Leader || term != self.term);
        // Alone, it stands and wins in one step.
        if !was_standing && (is_standing(role) || has_won) {
            metrics.elections_started.add(1);
            info!(target: RAFT, node = self.name, term, "stands for election");
        }
        if has_won {
            metrics.elections_won.add(1);
            info!(target: RAFT, node = self.name, term, "has won the election and leads");
        } else if was_standing && role == Role::Follower {
            info!(target: RAFT, node = self.name, term, "has not won the election");
        } else if self.role == Role::Leader && role != Role::Leader {
            info!(target: RAFT, node = self.name, term, "no longer leads");
        }
    }

    /// Looks at what changes seldom.
    pub fn look_around(&mut self, node: &Node, now: Now) {
        let status = node.status();
        self.note_members(node.members(), &status);
        if status.is_removed && !self.is_removed {
            warn!(target: RAFT, node = self.name, id = %status.id, "is no member any more");
        }
        self.is_removed = status.is_removed;
        let is_refused = node.is_clock_refused(now);
        match (self.is_clock_refused, is_refused) {
            (false, true) => {
                warn!(target: CLOCK, node = self.name, "its clock is far from a majority's: it does not lead");
            }
            (true, false) => {
                info!(target: CLOCK, node = self.name, "its clock is near a majority's again")
            }
            _ => {}
        }
        self.is_clock_refused = is_refused;
        if status.clock_unresolved && !self.is_clock_unresolved {
            warn!(target: CLOCK, node = self.name, term = status.term, "leads though no majority's clocks agree");
        }
        self.is_clock_unresolved = status.clock_unresolved;
    }

    fn note_members(&mut self, members: &BTreeMap<RaftId, Member>, status: &Status) {
        let votes = |id: &RaftId| status.voters.contains(id);
        let is_same = self.members.as_ref().is_some_and(|before| {
            before.len() == members.len()
                && before.iter().all(|(id, (member, voted))| {
                    members.get(id) == Some(member) && votes(id) == *voted
                })
        });
        if is_same {
            return;
        }
        let now: BTreeMap<_, _> =
            members.iter().map(|(id, member)| (*id, (member.clone(), votes(id)))).collect();
        // What it starts with is no change.
        if let Some(before) = &self.members {
            let node = &self.name;
            for (id, (member, voter)) in &now {
                let Member { name, address, .. } = member;
                match before.get(id) {
                    None => {
                        info!(target: RAFT, node, %id, name, address, voter, "a member was added")
                    }
                    Some((_, voted)) if voted != voter => {
                        let what =
                            if *voter { "a member was promoted" } else { "a member was demoted" };
                        info!(target: RAFT, node, %id, name, address, "{what}");
                    }
                    Some((known, _)) if known != member => {
                        info!(target: RAFT, node, %id, name, address, "a member has moved");
                    }
                    Some(_) => {}
                }
            }
            for (id, (member, _)) in before.iter().filter(|(id, _)| !now.contains_key(id)) {
                let Member { name, address, .. } = member;
                info!(target: RAFT, node, %id, name, address, "a member was removed");
            }
        }
        self.members = Some(now);
    }
}

/// The targets of events, by which they are filtered; `docs/logs.md` lists them.
pub(super) const NODE: &str = "plimsoll::node";
pub(super) const RAFT: &str = "plimsoll::raft";
pub(super) const CLOCK: &str = "plimsoll::clock";
pub(super) const SNAPSHOT: &str = "plimsoll::snapshot";
pub(super) const DISK: &str = "plimsoll::disk";
pub(super) const NET: &str = "plimsoll::net";
pub(super) const GOSSIP: &str = "plimsoll::gossip";
pub(super) const CRDT: &str = "plimsoll::crdt";
