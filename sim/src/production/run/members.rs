//! Who is a member: hosts that join, are removed, move, or lose their disks.
//!
//! Each begins only while the members are those that are wanted ([`Run::whole`]), and until it is done
//! none of the others begins. What a majority needs to recover stays where it is: at most one voter is
//! without its disk, or elsewhere than the others know, and there are three voters at least.

use std::collections::BTreeMap;
use std::time::Duration;

use madsim::time::sleep;
use plimsoll::error::ErrorKind;
use plimsoll::node::{Client, MemberStatus};
use plimsoll::raft::{Member, MemberChange, RaftId, Role};

use super::{Kind, Later, Run};
use crate::production::callers::client_at;
use crate::production::hosts::Part;
use crate::production::stage::{Shared, spawn_at};
use crate::production::wires::{OPERATOR, listen_address, public_address};

/// A cluster whose members are those that are wanted.
pub(super) struct Whole {
    pub leader: MemberStatus,
    /// All have applied the same, and hold the same.
    pub are_equal: bool,
}

impl Run {
    /// The cluster, if the members are as they are wanted: all of those hosts, as voters, under their
    /// names and at their addresses.
    pub(super) async fn whole(&self) -> Option<Whole> {
        let mut wanted = BTreeMap::new();
        let (mut leader, mut seen) = (None, Vec::new());
        for place in self.wanted() {
            let status = self.status(place).await?;
            let id = status.raft.id;
            {
                let stage = self.shared.lock();
                let host = &stage.hosts[usize::from(place)];
                let (name, address) = (host.name(), host.address());
                wanted.insert(id, Member { id, name, address });
            }
            let members = status.members.clone();
            seen.push((status.raft.applied, status.digest.clone(), members));
            if status.raft.role == Role::Leader {
                leader = Some(status);
            }
        }
        let leader = leader?;
        let are_voters = leader.raft.voters.iter().eq(wanted.keys());
        let is_settled = leader.raft.outgoing.is_empty() && leader.raft.learners.is_empty();
        let are_known = seen.iter().all(|(.., members)| *members == wanted);
        let are_equal = seen.iter().all(|it| *it == seen[0]);
        let is_whole = are_voters && is_settled && are_known && !self.is_leaving();
        is_whole.then_some(Whole { leader, are_equal })
    }

    /// A host loses its disk; a node with an empty one takes its place.
    pub(super) async fn lose_disk(&mut self, place: u8) {
        if !self.is_wanted(place) || self.whole().await.is_none() {
            return;
        }
        let down_ms = self.down_ms();
        {
            let mut stage = self.shared.lock();
            stage.begin_fault(Kind::LostDisk, Some(place), format_args!("for {down_ms} ms"));
        }
        self.shared.kill(place, None);
        self.shared.lock().hosts[usize::from(place)].empty();
        self.later(down_ms, Later::Start(place));
    }

    /// A host that was none of them becomes a member.
    pub(super) async fn join(&mut self) {
        let spare = self.places().find(|place| self.part_of(*place) == Part::Spare);
        let Some(place) = spare.filter(|_| !self.is_leaving()) else { return };
        if self.whole().await.is_none() {
            return;
        }
        {
            let mut stage = self.shared.lock();
            stage.hosts[usize::from(place)].part = Part::Joiner;
            stage.begin_fault(Kind::Join, Some(place), format_args!(""));
        }
        self.later(0, Later::Start(place));
    }

    /// A member is removed, as by a person: who asks until it is done, and then takes the host away.
    pub(super) async fn remove(&mut self) {
        let wanted = self.wanted();
        if wanted.len() <= VOTERS_MIN || self.whole().await.is_none() {
            return;
        }
        let place = self.rng.pick(&wanted);
        let Some(status) = self.status(place).await else { return };
        let hosts = {
            let mut stage = self.shared.lock();
            stage.hosts[usize::from(place)].part = Part::Leaving;
            stage.begin_fault(Kind::Remove, Some(place), format_args!("{}", status.raft.id));
            u8::try_from(stage.hosts.len()).expect("few hosts")
        };
        let client = client_at(OPERATOR, hosts, None);
        spawn_at(self.operator_at, remove(self.shared.clone(), client, place, status.raft.id));
    }

    /// Hosts whose removal is done are taken away after a while.
    pub(super) fn take_away(&mut self) {
        let removed: Vec<_> = std::mem::take(&mut self.shared.lock().removed);
        for place in removed {
            let in_ms = self.rng.pick(&[0, 300, 5_000]);
            self.later(in_ms, Later::Retire(place));
        }
    }

    /// A host is taken away, and comes back without anything.
    pub(super) fn retire(&mut self, place: u8) {
        self.shared.kill(place, None);
        let mut stage = self.shared.lock();
        let host = &mut stage.hosts[usize::from(place)];
        host.empty();
        host.part = Part::Spare;
    }

    /// A host ends, and starts again where nobody has known it.
    pub(super) async fn move_host(&mut self, place: u8) {
        if !self.is_wanted(place) || self.whole().await.is_none() {
            return;
        }
        let (image, down_ms) = (self.rng.next(), self.down_ms());
        let (old, new) = {
            let mut stage = self.shared.lock();
            let host = &mut stage.hosts[usize::from(place)];
            let before = host.moves;
            host.moves += 1;
            let at = (public_address(place, before), public_address(place, before + 1));
            stage.begin_fault(Kind::Move, Some(place), format_args!("to {}", at.1));
            at
        };
        self.shared.kill(place, Some(image));
        self.wires.leave(old);
        self.relay(place, new, listen_address(place));
        self.later(down_ms, Later::Start(place));
    }

    fn part_of(&self, place: u8) -> Part {
        self.shared.lock().hosts[usize::from(place)].part
    }

    fn is_wanted(&self, place: u8) -> bool {
        self.part_of(place).is_wanted()
    }

    fn is_leaving(&self) -> bool {
        self.shared.lock().hosts.iter().any(|host| host.part == Part::Leaving)
    }
}

/// Removes a member, whatever becomes of the attempts.
async fn remove(shared: Shared, client: Client, place: u8, id: RaftId) {
    loop {
        let changed = client.change(vec![MemberChange::Remove(id)], CHANGE_TIME).await;
        {
            let mut stage = shared.lock();
            stage.record.note(Some(place), format_args!("is to be removed: {changed:?}"));
            let is_done = match &changed {
                Ok(_) => true,
                // An earlier attempt has done it.
                Err(error) => {
                    let kinds = [ErrorKind::Invalid, ErrorKind::Unavailable];
                    kinds.contains(&error.kind()) && error.message().contains("is no member")
                }
            };
            if is_done {
                return stage.removed.push(place);
            }
        }
        sleep(CHANGE_WAIT).await;
    }
}

/// Fewer voters are not wanted: with them no disk could be lost.
const VOTERS_MIN: usize = 3;
/// How long one attempt to change the membership may take, and the pause after it.
const CHANGE_TIME: Duration = Duration::from_secs(3);
const CHANGE_WAIT: Duration = Duration::from_millis(500);
