//! The end of a run: everything is healed, and what must come true then is checked.
//!
//! Healing ends partitions, pauses and faults of disks, lets stopped nodes start, and lets clocks run
//! at their right rate. What clocks show stays as it is: a cluster must live with that.

use plimsoll::raft::Node;

use super::{Event, World};
use crate::invariants::{
    CONVERGED_AFTER_HEALING, LEADER_AFTER_HEALING, REMOVED_KNOWS, RESOLVED_AFTER_HEALING,
    Violation, check_recomputed,
};
use crate::trace::What;

impl World {
    /// Heals everything.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.is_healed = true;
        self.note(None, What::Word("everything is healed"), 5);
        for letter in self.network.heal() {
            self.queue.push(self.now_us + 1, Event::Deliver(letter));
        }
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            self.free_disk(index);
            let now_us = self.now_us;
            let host = &mut self.hosts[usize::from(index)];
            host.slow_us = 0;
            host.clock.drift(now_us, 0);
            if host.is_wanted && !host.is_up() {
                let life = host.life;
                self.queue.push(self.now_us + 1, Event::Start { host: index, life });
            }
            self.resume(index)?;
        }
        self.tell(|workload, context| workload.heal(context));
        let at_us = self.now_us + LEADER_ELECTIONS * self.plan.election_us();
        self.queue.push(at_us, Event::ExpectLeader);
        Ok(())
    }

    pub(super) fn expect_leader(&mut self) -> Result<(), Violation> {
        self.check_founded()?;
        let Some(_) = self.leader() else {
            return Err(LEADER_AFTER_HEALING.broken(self.overview()));
        };
        // Whoever asks again does so within its patience, and resolving may take two turns.
        let at_us = self.now_us + 3 * self.plan.patience_ms * 1_000 + RESOLVE_US;
        self.queue.push(at_us, Event::ExpectResolved);
        Ok(())
    }

    pub(super) fn expect_resolved(&mut self) -> Result<(), Violation> {
        let pending = self.workload.pending();
        if pending > 0 {
            let what = format!("{pending} operations are pending\n{}", self.overview());
            return Err(RESOLVED_AFTER_HEALING.broken(what));
        }
        let expire_us = self.plan.ttl_ms_max * 1_000 * u64::from(self.plan.ttl_percent > 0);
        let clocks_us = 4 * self.plan.clock_bound_ms * 1_000;
        self.queue.push(self.now_us + expire_us + clocks_us + SETTLE_US, Event::End);
        Ok(())
    }

    /// All members hold the same.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        self.is_over = true;
        let Some(leader) = self.leader() else {
            return Err(LEADER_AFTER_HEALING.broken(self.overview()));
        };
        let node = self.hosts[usize::from(leader)].node().expect("it leads");
        let (applied, digest) = (node.applied(), node.machine().digest());
        let expiring = node.machine().expiring_len();
        if expiring > 0 && self.clocks_are_trusted && self.unresolved == 0 {
            let what = format!("{expiring} entries have not expired\n{}", self.overview());
            return Err(CONVERGED_AFTER_HEALING.broken(what));
        }
        let members: Vec<_> = node.members().keys().copied().collect();
        for id in members {
            let Some(node) = self.place_of(id).and_then(super::Host::node) else {
                continue;
            };
            if (node.applied(), node.machine().digest()) != (applied, digest) {
                return Err(CONVERGED_AFTER_HEALING.broken(self.overview()));
            }
            check_recomputed(node)?;
        }
        let is_unaware = |host: &&super::Host| {
            let status = host.node().map(Node::status);
            host.removed_us.is_some()
                && status.is_some_and(|own| !own.is_removed && own.voters.contains(&own.id))
        };
        if let Some(host) = self.hosts.iter().find(is_unaware) {
            let what = format!("node {} does not\n{}", host.index, self.overview());
            return Err(REMOVED_KNOWS.broken(what));
        }
        let is_missing = |host: &super::Host| host.is_wanted && !host.is_up();
        if self.hosts.iter().any(is_missing) {
            return Err(CONVERGED_AFTER_HEALING.broken(self.overview()));
        }
        self.note(None, What::Word("the end"), applied);
        Ok(())
    }

    /// All nodes in a line each.
    #[must_use]
    pub fn overview(&self) -> String {
        let mut lines = Vec::new();
        for host in &self.hosts {
            let what = match host.node().map(Node::status) {
                None => match &host.founder {
                    None => "is down".to_owned(),
                    Some(founder) => founder.words(host.now(self.now_us)),
                },
                Some(status) => format!(
                    "{:?}, term {}, leader {:?}, commit {}, applied {}, log {}..={}, voters {:?}, \
                     outgoing {:?}, learners {:?}{}",
                    status.role,
                    status.term,
                    status.leader,
                    status.commit,
                    status.applied,
                    status.first_index,
                    status.last_index,
                    status.voters,
                    status.outgoing,
                    status.learners,
                    if host.is_paused() { ", paused" } else { "" },
                ),
            };
            lines.push(format!("node {} ({:?}): {what}", host.index, host.id));
        }
        lines.join("\n")
    }
}

/// Election timeouts within which there is a leader.
const LEADER_ELECTIONS: u64 = 10;
const RESOLVE_US: u64 = 5_000_000;
const SETTLE_US: u64 = 5_000_000;
