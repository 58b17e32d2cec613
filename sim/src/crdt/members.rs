//! Who is agreed to be a member. Each change is a list with the next epoch; a node hears of the last one at a
//! time of its own, makes it durable, and goes by it from then on. Who was removed runs on for a while,
//! whether it has heard of that or not.

use std::collections::BTreeSet;

use plimsoll::crdt::{MemberId, MemberList};

use super::{CrdtWorld, Event};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::invariants::Violation;
use crate::trace::What;
use crate::world::host_of;
use plimsoll::gossip::Space;
use plimsoll::raft::RaftId;

impl CrdtWorld {
    /// A list is agreed on.
    pub(super) fn agree(&mut self, members: BTreeSet<MemberId>) {
        let epoch = self.list.epoch + 1;
        self.listed = members.iter().map(|member| host_of(RaftId(member.0))).collect();
        self.list = MemberList { epoch, members };
        self.books.iter_mut().for_each(|book| book.list_changed(&self.listed));
        let n = u32::try_from(epoch).expect("few changes");
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            let mut rng = self.choices.natural(Subject::Joint { n });
            let wait_us = (0..=index).map(|_| rng.pick(&HEARD_US)).last().unwrap_or(0);
            self.queue.push(self.now_us + wait_us, Event::Hear { host: index });
        }
        self.note(None, What::Word("a list of members is agreed on"), epoch);
    }

    /// A node hears of the last list: its ledger is to have it.
    pub(super) fn hear(&mut self, index: u8) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        if host.node.is_none() || host.driver.has_failed || host.ledger.list == self.list {
            return Ok(());
        }
        if host.is_paused() {
            self.queue.push(self.now_us + HEARD_AGAIN_US, Event::Hear { host: index });
            return Ok(());
        }
        let ledger = host.driver.ledger.get_or_insert_with(|| host.ledger.clone());
        ledger.list = self.list.clone();
        self.schedule_disk(index);
        Ok(())
    }

    /// A node with an empty disk becomes a member.
    pub(super) fn add(&mut self, index: u8) -> bool {
        let host = &self.hosts[usize::from(index)];
        if self.listed.contains(&index) || host.node.is_some() {
            return false;
        }
        self.empty(index);
        let mut members = self.list.members.clone();
        members.insert(self.member_at(index));
        self.mark_change();
        self.agree(members);
        let life = self.hosts[usize::from(index)].life;
        self.queue.push(self.now_us + ADDED_STARTS_US, Event::Start { host: index, life });
        true
    }

    /// A member is removed for good. It ends some time later.
    pub(super) fn remove(&mut self, index: u8) -> bool {
        if !self.listed.contains(&index) || self.listed.len() <= MEMBERS_MIN {
            return false;
        }
        let mut members = self.list.members.clone();
        members.remove(&self.member_at(index));
        self.mark_change();
        self.agree(members);
        let life = self.hosts[usize::from(index)].life;
        self.queue.push(self.now_us + RETIRES_US, Event::Retire { host: index, life });
        true
    }

    /// One member takes the place of another one.
    pub(super) fn replace(&mut self, old: MemberId, new: MemberId) {
        let mut members = self.list.members.clone();
        members.remove(&old);
        members.insert(new);
        self.mark_change();
        self.agree(members);
    }

    /// A node that is no member any more ends for good, in whatever life it is.
    pub(super) fn retire(&mut self, index: u8, _life: u32) {
        if self.listed.contains(&index) {
            return;
        }
        self.crash(index, 0, None);
        self.empty(index);
    }

    /// A place gets an empty disk under a new id. What its node held is gone.
    fn empty(&mut self, index: u8) {
        self.lose(Space::Durable, index);
        let host = &mut self.hosts[usize::from(index)];
        host.replace_disk(true);
        // A start that was under way is of the node before.
        host.life += 1;
    }

    fn mark_change(&mut self) {
        if self.network.has_cuts() {
            self.coverage.mark(Mark::ChangeInPartition);
        }
    }
}

/// How long it takes until a node hears of a list.
const HEARD_US: [u64; 5] = [1_000, 30_000, 500_000, 3_000_000, 10_000_000];
const HEARD_AGAIN_US: u64 = 500_000;
/// When a node starts that was added.
const ADDED_STARTS_US: u64 = 200_000;
/// When a node ends that was removed.
const RETIRES_US: u64 = 6_000_000;
/// Fewest members that are left.
const MEMBERS_MIN: usize = 2;
