//! A majority loses its disks: a survivor goes on as a new cluster, and the others join it.
//!
//! Drawn only where a survivor holds everything that was committed: what forced recovery can't give
//! back is not promised, and would only be noise here. What the survivor had in its log and nobody
//! had applied is applied by the recovery: whoever asked for it may find that it happened.

use bytes::Bytes;
use plimsoll::check::history::Label;
use plimsoll::kv::LogEntry;
use plimsoll::raft::{Applied, ClusterId, Identity, force_new_cluster};
use plimsoll::storage::Storage;

use super::{Event, World};
use crate::coverage::Mark;
use crate::invariants::{Durable, SeenOfNode, Violation, does_not_open};
use crate::rng::Rng;

impl World {
    /// Lets a majority lose its disks, if a survivor has everything.
    pub(super) fn lose_majority(&mut self, node: u8, seed: u64) -> Result<bool, Violation> {
        if self.hosts.iter().any(|host| host.is_damaged || host.is_misdirected) {
            return Ok(false);
        }
        let turned = self.hosts.iter().cycle().skip(usize::from(node)).take(self.hosts.len());
        let Some(survivor) = turned.map(super::Host::index).find(|index| self.has_all(*index))
        else {
            return Ok(false);
        };
        let tail = self.tail_of(survivor);
        let mut rng = Rng::new(seed);
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            self.crash(index, 0, None)?;
            let host = &mut self.hosts[usize::from(index)];
            host.life += 1;
            host.removed_us = None;
            if index != survivor {
                host.replace_disk();
            }
        }
        self.cluster = ClusterId(rng.next());
        let epoch = rng.next();
        let index = self.recover_disk(survivor, epoch)?;
        self.follow_tail(&tail)?;
        let log_time = tail.last().map_or(self.checker.machines.log_time(), |last| last.log_time);
        self.checker.raft.restart(index);
        self.checker.machines.restart(index, log_time);
        self.checker.membership.clear();
        self.reconciler.need();
        let label = Label { index, log_time, epoch };
        self.tell(|workload, context| workload.recover(&tail, label, context));
        for host in self.hosts.iter().filter(|host| host.is_wanted) {
            let at_us = self.now_us + rng.between(1, DOWN_US);
            self.queue.push(at_us, Event::Start { host: host.index, life: host.life });
        }
        self.coverage.mark(Mark::Recovered);
        Ok(true)
    }

    /// Whether a node holds, durably, everything that was committed anywhere.
    fn has_all(&self, index: u8) -> bool {
        let host = &self.hosts[usize::from(index)];
        let (committed, term) = self.checker.raft.last_committed();
        let is_idle = host.driver.waiting.is_empty() && host.driver.unsynced.is_none();
        let has_it = |node: &plimsoll::raft::Node| node.log().term_at(committed) == Some(term);
        host.is_wanted
            && is_idle
            && committed > 0
            && host.durable.last_index >= committed
            && host.node().is_some_and(has_it)
    }

    /// What a node's log holds beyond what it has applied, applied to a clone of its machine.
    fn tail_of(&self, index: u8) -> Vec<Applied> {
        let node = self.hosts[usize::from(index)].node().expect("it runs");
        let mut machine = node.machine().clone();
        let entries = node.applied() + 1..=node.log().last_index();
        let entries = entries.filter_map(|index| node.log().entry(index));
        let commands = entries.filter(|entry| entry.entry_type == 0 && !entry.data.is_empty());
        let mut tail = Vec::new();
        for entry in commands {
            let (index, term) = (entry.index, entry.term);
            let decoded = LogEntry::decode(Bytes::copy_from_slice(&entry.data));
            let LogEntry { stamp, command } = decoded.expect("a node wrote it");
            let outcome = machine.apply(index, stamp, &command);
            let log_time = machine.log_time();
            let applied = Applied { index, term, log_time, origin: None, command, outcome };
            if self.checker.machines.is_new(&applied) {
                tail.push(applied);
            }
        }
        tail
    }

    fn follow_tail(&mut self, tail: &[Applied]) -> Result<(), Violation> {
        for applied in tail {
            let moment = self.moment(applied);
            self.checker.expiry.check_applied(applied, moment)?;
        }
        Ok(())
    }

    /// Makes a survivor's disk that of a new cluster; answers the index at which it begins.
    fn recover_disk(&mut self, survivor: u8, epoch: u64) -> Result<u64, Violation> {
        let options = self.plan.storage_options();
        let host = &mut self.hosts[usize::from(survivor)];
        let disk = host.disk.take().expect("it has just ended");
        let fail = |why: &dyn std::fmt::Display| does_not_open(&format!("recovery: {why}"));
        let (mut storage, recovered) = Storage::open(disk, options).map_err(|why| fail(&why))?;
        let identity = recovered.identity.clone().expect("it has run");
        let identity = Identity::decode(identity).map_err(|why| fail(&why))?;
        let recovery = force_new_cluster(&identity, host.member(), recovered, self.cluster, epoch)
            .map_err(|why| fail(&why))?;
        let (meta, bytes) = &recovery.snapshot;
        let written = storage
            .save_snapshot(*meta, bytes)
            .and_then(|()| storage.write(&recovery.batch))
            .and_then(|()| storage.sync())
            .and_then(|()| storage.save_identity(&recovery.identity.encode()));
        written.map_err(|why| fail(&why))?;
        host.disk = Some(storage.into_disk());
        host.durable = Durable::default();
        host.durable.synced(&recovery.batch);
        host.durable.saved(*meta);
        host.seen = SeenOfNode::default();
        Ok(meta.index)
    }
}

/// The longest until the nodes start again.
const DOWN_US: u64 = 1_000_000;
