//! Who shall be a member, and the changes that lead there.
//!
//! What a node's gossip will decide one day is decided here from outside: places that are wanted and
//! no members are added as learners; learners are promoted, in one joint change with the removal of
//! whoever they replace; whoever is a member and not wanted is removed. One change at a time, asked at
//! any node, tried again until it is so.

use std::collections::BTreeSet;

use plimsoll::raft::{MemberChange, Node, RaftId, Request, RequestId, Response, Status};

use super::{Ask, Event, World};
use crate::choices::Subject;
use crate::coverage::{Coverage, Mark};
use crate::invariants::Violation;

/// The changes under way.
#[derive(Debug, Default)]
pub(crate) struct Reconciler {
    pending: BTreeSet<RequestId>,
    asked: u32,
    /// Whether there was ever anything to change.
    is_needed: bool,
}

impl Reconciler {
    /// Takes a response if it belongs to a change; else gives it back.
    pub fn take(&mut self, response: Response, coverage: &mut Coverage) -> Option<Response> {
        if !self.pending.remove(&response.request) {
            return Some(response);
        }
        if let Err(failure) = &response.result
            && matches!(failure.reason, plimsoll::raft::FailureReason::Refused(_))
        {
            coverage.mark(Mark::ChangeRefused);
        }
        None
    }

    /// Whether a request that was not taken belongs to a change.
    pub fn take_refusal(&mut self, request: RequestId) -> bool {
        self.pending.remove(&request)
    }

    /// From now on there is something to change.
    pub const fn need(&mut self) {
        self.is_needed = true;
    }
}

impl World {
    /// Looks whether the membership is as wanted, and asks for the next change if it is not.
    pub(super) fn reconcile(&mut self) -> Result<(), Violation> {
        if self.is_over {
            return Ok(());
        }
        self.queue.push(self.now_us + PERIOD_US, Event::Reconcile);
        self.tend_founding()?;
        if !self.reconciler.is_needed {
            return Ok(());
        }
        self.replace_damaged();
        self.end_removed()?;
        let Some(leader) = self.leader() else { return Ok(()) };
        let status = self.hosts[usize::from(leader)].node().map(Node::status);
        let Some(status) = status else { return Ok(()) };
        if !status.outgoing.is_empty() {
            self.coverage.mark(Mark::Joint);
            return Ok(());
        }
        let changes = self.wanted_changes(&status);
        if changes.is_empty() {
            return Ok(());
        }
        self.mark_change();
        if changes.iter().any(|change| matches!(change, MemberChange::Promote(_))) {
            self.coverage.mark(Mark::Promoted);
        }
        self.reconciler.asked += 1;
        let n = self.reconciler.asked;
        let mut rng = self.choices.natural(Subject::Operation { client: u8::MAX, n });
        let up: Vec<u8> =
            self.hosts.iter().filter(|host| host.is_up()).map(super::Host::index).collect();
        let at = rng.pick(&up);
        self.ask_node(at, Request::Change(changes), CHANGE_MS);
        Ok(())
    }

    /// The next changes towards what is wanted.
    fn wanted_changes(&self, status: &Status) -> Vec<MemberChange> {
        let wanted: BTreeSet<RaftId> =
            self.hosts.iter().filter(|host| host.is_wanted).map(|host| host.id).collect();
        let members: BTreeSet<RaftId> = status.voters.union(&status.learners).copied().collect();
        let unwanted = members.iter().find(|id| !wanted.contains(*id)).copied();
        let missing = self.hosts.iter().find(|host| host.is_wanted && !members.contains(&host.id));
        if let Some(host) = missing {
            return vec![MemberChange::AddLearner(host.member())];
        }
        let can_vote = |id: &&RaftId| {
            wanted.contains(id) && self.place_of(**id).is_some_and(super::Host::is_up)
        };
        if let Some(learner) = status.learners.iter().find(can_vote) {
            let promote = MemberChange::Promote(*learner);
            // A leader is removed once it has handed over: a sole voter can do that to nobody yet.
            let replaced = unwanted.filter(|_| status.voters.len() > 1);
            return [promote].into_iter().chain(replaced.map(MemberChange::Remove)).collect();
        }
        unwanted.map(MemberChange::Remove).into_iter().collect()
    }

    /// A node that refused its damaged disk gets an empty one.
    fn replace_damaged(&mut self) {
        let life_ms = self.now_us;
        for host in &mut self.hosts {
            if host.is_damaged && !host.is_up() {
                host.replace_disk();
                host.life += 1;
                let (index, life) = (host.index, host.life);
                self.queue.push(life_ms + PERIOD_US, Event::Start { host: index, life });
            }
        }
    }

    /// Nodes that are no members any more run on for a while, and end.
    fn end_removed(&mut self) -> Result<(), Violation> {
        let is_member = |id: RaftId| self.checker.membership.voters().any(|voter| voter == id);
        let is_over = |host: &&super::Host| {
            // Those that run when everything is healed are looked at in the end.
            !self.is_healed
                && !is_member(host.id)
                && host.removed_us.is_some_and(|at_us| self.now_us >= at_us + REMOVED_RUNS_US)
        };
        let over: Vec<u8> = self.hosts.iter().filter(is_over).map(super::Host::index).collect();
        for index in over {
            self.crash(index, 0, None)?;
            let host = &mut self.hosts[usize::from(index)];
            host.removed_us = None;
            host.replace_disk();
        }
        Ok(())
    }

    /// A place that is free gets a new node.
    pub(super) fn add(&mut self, node: u8) -> bool {
        let voters = self.hosts.iter().filter(|host| host.is_wanted).count();
        let free =
            |host: &&super::Host| !host.is_wanted && !host.is_up() && host.removed_us.is_none();
        let Some(place) = self.hosts.iter().find(free).map(super::Host::index) else {
            return false;
        };
        if voters >= VOTERS_MAX || usize::from(node) >= self.hosts.len() || self.is_founding() {
            return false;
        }
        let host = &mut self.hosts[usize::from(place)];
        host.replace_disk();
        host.is_wanted = true;
        host.life += 1;
        let life = host.life;
        self.queue.push(self.now_us + 1, Event::Start { host: place, life });
        self.reconciler.need();
        true
    }

    /// A member is to leave for good.
    pub(super) fn remove(&mut self, node: u8) -> bool {
        let voters = self.hosts.iter().filter(|host| host.is_wanted).count();
        let (now_us, is_founding) = (self.now_us, self.is_founding());
        let host = &mut self.hosts[usize::from(node)];
        if voters <= VOTERS_MIN || !host.is_wanted || is_founding {
            return false;
        }
        host.is_wanted = false;
        host.removed_us = Some(now_us);
        self.reconciler.need();
        true
    }

    /// Leadership is to go to a node.
    pub(super) fn ask_transfer(&mut self, node: u8) -> bool {
        let Some(leader) = self.leader() else { return false };
        let to = self.hosts[usize::from(node)].id;
        if leader == node || !self.checker.membership.voters().any(|id| id == to) {
            return false;
        }
        self.ask_node(leader, Request::Transfer(to), CHANGE_MS);
        true
    }

    fn ask_node(&mut self, at: u8, request: Request, patience_ms: u64) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.reconciler.pending.insert(id);
        let ask = Box::new(Ask { id, request, patience_ms });
        self.queue.push(self.now_us + 1, Event::Ask { host: at, ask });
    }
}

/// How often the membership is looked at.
pub(super) const PERIOD_US: u64 = 500_000;
/// How long a change is waited for.
const CHANGE_MS: u64 = 3_000;
/// How long a removed node runs on.
const REMOVED_RUNS_US: u64 = 8_000_000;
const VOTERS_MAX: usize = 5;
const VOTERS_MIN: usize = 3;
