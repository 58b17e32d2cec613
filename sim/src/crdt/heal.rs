//! The end of a run: everything is healed, and what must come true then is checked.
//!
//! Healing ends partitions, pauses and faults of disks, and lets stopped nodes start. What is promised then
//! holds once every stamp that was given lies within the bound of every clock. Waiting for that could take
//! hours, in which nothing else happens; so all clocks are set to when it is so. The latest deadline lies
//! before that, too.

use plimsoll::gossip::Space;
use plimsoll::raft::RaftId;

use super::{CrdtWorld, Event, SPACES, place_of};
use crate::invariants::{
    NO_ALARM, OPERATION_ENDS, SEEN_AFTER_HEALING, SERVES_AFTER_HEALING, Violation,
};
use crate::trace::What;
use crate::world::{WALL_START_MS, host_of};

impl CrdtWorld {
    /// Heals everything.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.is_healed = true;
        self.note(None, What::Word("everything is healed"), 5);
        for parcel in self.network.heal() {
            self.queue.push(self.now_us + 1, Event::Deliver(parcel));
        }
        self.set_clocks();
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            self.free_disk(index);
            self.hosts[usize::from(index)].slow_us = 0;
            self.resume(index)?;
            if self.hosts[usize::from(index)].driver.has_failed {
                self.crash(index, 0, None);
            }
            if !self.listed.contains(&index) {
                self.retire(index, 0);
                continue;
            }
            let host = &self.hosts[usize::from(index)];
            if host.node.is_none() {
                let life = host.life;
                self.queue.push(self.now_us + 1, Event::Start { host: index, life });
            }
            self.queue.push(self.now_us + HEARD_US, Event::Hear { host: index });
        }
        self.queue.push(self.now_us + SERVING_US, Event::ExpectServing);
        Ok(())
    }

    /// All clocks show the same, and no less than any stamp that was given or may have been, or any
    /// deadline.
    fn set_clocks(&mut self) {
        let truth_ms = WALL_START_MS + self.now_us / 1_000;
        let latest = self.books.iter().map(|book| book.latest_instant().0).max().unwrap_or(0);
        let wall_ms = truth_ms.max(latest).max(self.reserved.0);
        let now_us = self.now_us;
        for host in &mut self.hosts {
            host.clock.drift(now_us, 0);
            let shown_ms = host.now(now_us).wall.0;
            host.clock.step(wall_ms.cast_signed() - shown_ms.cast_signed());
        }
        self.note(None, What::Word("all clocks are set"), wall_ms);
    }

    /// Everyone serves, and sees everyone.
    pub(super) fn expect_serving(&mut self) -> Result<(), Violation> {
        for index in &self.listed {
            let Some(node) = &self.hosts[usize::from(*index)].node else {
                return Err(SERVES_AFTER_HEALING.broken(self.overview_of(*index)));
            };
            let is_up = |place: &u8| {
                let mut up = node.sights().filter(|sight| sight.is_up);
                let member = self.hosts[usize::from(*place)].member();
                place == index || up.any(|sight| sight.peer.id == member)
            };
            if let Some(missed) = self.listed.iter().find(|place| !is_up(place)) {
                let seen: Vec<_> = node.sights().collect();
                let what = format!("node {index} does not see node {missed} up: {seen:?}");
                return Err(SEEN_AFTER_HEALING.broken(what));
            }
            for space in SPACES {
                if !node.replica(space).is_some_and(plimsoll::crdt::Replica::has_joined) {
                    return Err(SERVES_AFTER_HEALING.broken(self.overview_of(*index)));
                }
            }
        }
        self.check_serving()?;
        let clocks_us = 2 * self.plan.clock_bound_ms * 1_000;
        self.queue.push(self.now_us + clocks_us + SETTLE_US, Event::End);
        Ok(())
    }

    /// All listed replicas hold the same, and nothing is left open.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        self.is_over = true;
        if self.clients.open() > 0 {
            let what = format!("{} operations have no end", self.clients.open());
            return Err(OPERATION_ENDS.broken(what));
        }
        for space in SPACES {
            let replicas: Vec<_> = self
                .listed
                .iter()
                .filter_map(|index| {
                    let node = self.hosts[usize::from(*index)].node.as_ref()?;
                    Some((*index, node.replica(space)?))
                })
                .collect();
            if replicas.len() < self.listed.len() {
                return Err(SERVES_AFTER_HEALING.broken("a replica is not there"));
            }
            self.books[place_of(space)].check_end(&replicas)?;
        }
        let digest = self.listed.iter().next().map_or(0, |index| self.root(*index));
        self.note(None, What::Word("the end"), digest);
        self.check_malformed()
    }

    fn root(&self, index: u8) -> u64 {
        let node = self.hosts[usize::from(index)].node.as_ref();
        let replica = node.and_then(|node| node.replica(Space::Durable));
        replica.map_or(0, |replica| (replica.map().trie().root() >> 64) as u64)
    }

    fn check_malformed(&self) -> Result<(), Violation> {
        let nodes = self.hosts.iter().filter_map(|host| host.node.as_ref());
        match nodes.map(|node| (node.malformed(), node.me())).find(|(count, _)| *count > 0) {
            None => Ok(()),
            Some((count, me)) => {
                let index = host_of(RaftId(me.id.0));
                Err(NO_ALARM.broken(format!("node {index} got {count} messages that are none")))
            }
        }
    }

    fn overview_of(&self, index: u8) -> String {
        self.hosts[usize::from(index)].words(self.now_us)
    }
}

/// When everyone has heard of the last list.
const HEARD_US: u64 = 500_000;
/// When everyone serves, and sees everyone.
const SERVING_US: u64 = 40_000_000;
/// When everything that was written has come to everyone, and was collected.
const SETTLE_US: u64 = 20_000_000;
