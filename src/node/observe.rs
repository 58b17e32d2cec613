//! What is noticed of an engine from one step to the next: elections, leaders, members, its clock.
//!
//! The engine tells how it is, not what has changed. Here the one is made of the other, to be counted.
//! It looks and decides nothing.

use crate::raft::{Node, RaftId, Role};

use super::metrics::Metrics;

/// How the engine was when it was last looked at.
#[derive(Debug)]
pub(super) struct Observer {
    role: Role,
    term: u64,
    leader: Option<(u64, RaftId)>,
}

impl Observer {
    pub fn new(node: &Node) -> Self {
        Self { role: node.role(), term: node.term(), leader: None }
    }

    /// Looks after a step: cheap.
    pub fn look(&mut self, node: &Node, metrics: &Metrics) {
        let (role, term) = (node.role(), node.term());
        if (role, term) != (self.role, self.term) {
            self.note_role(role, term, metrics);
            (self.role, self.term) = (role, term);
        }
        let leader = node.leader_id().map(|leader| (term, leader));
        if leader.is_some() && leader != self.leader {
            metrics.leader_changes.add(1);
            self.leader = leader;
        }
    }

    fn note_role(&self, role: Role, term: u64, metrics: &Metrics) {
        let is_standing = |role| matches!(role, Role::PreCandidate | Role::Candidate);
        let was_standing = is_standing(self.role);
        let has_won = role == Role::Leader && (self.role != Role::Leader || term != self.term);
        // Alone, it stands and wins in one step.
        if !was_standing && (is_standing(role) || has_won) {
            metrics.elections_started.add(1);
        }
        if has_won {
            metrics.elections_won.add(1);
        }
    }
}
