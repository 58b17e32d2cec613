//! Founding: nodes with empty directories agree on their cluster, on a network and disks that fail.
//!
//! What a driver does before its node is a member: hellos travel like messages, a pledge and the
//! first snapshot are steps of the disk, and a member that gets a hello answers with its cluster.
//! What is on the disks is known here from outside, and everything that a node says or does is
//! compared with that. The founders expect exactly as many as they are; in some runs one more waits to
//! found. Then views differ, lists may overlap, and an operator does what is told to do about it: takes
//! the one too many away, and empties the directories of those that are split.

use bytes::Bytes;
use plimsoll::raft::{ClusterId, Founding, FoundingStatus, Hello, Identity, Now};
use plimsoll::storage::{DiskErrorKind, MemDisk, SnapshotMeta, Storage, StorageError};

use super::disk::{crash_image, set_fault};
use super::network::Letter;
use super::{Event, World};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::faults::{Fault, FaultKind};
use crate::invariants::{FOUNDED_AFTER_HEALING, Violation, does_not_open};
use crate::rng::mix;
use crate::trace::What;

/// A node that belongs to no cluster yet.
#[derive(Debug)]
pub(crate) struct Founder {
    machine: Founding,
    /// What waits for the disk.
    step: Option<Step>,
}

/// A step of the disk.
#[derive(Debug)]
enum Step {
    /// An identity with a pledge.
    Pledge(Identity),
    /// The cluster is founded.
    Found(Identity, SnapshotMeta, Bytes),
    /// A cluster is there already: the identity of who is to be added to it.
    Join(Identity),
}

impl World {
    /// Lets the founders start, each at a time of its own, on empty disks.
    pub(super) fn await_founding(&mut self) {
        let candidates = self.candidates();
        for host in &mut self.hosts[..candidates] {
            (host.is_wanted, host.is_founder) = (true, true);
            let mut rng = self.choices.natural(Subject::Start { node: host.index, n: 0 });
            let at_us = rng.below(STARTS_WITHIN_US);
            self.queue.push(at_us, Event::Start { host: host.index, life: 0 });
        }
    }

    /// How many wait to found at first: the expected ones, and perhaps one more.
    fn candidates(&self) -> usize {
        let candidates = self.plan.nodes + self.plan.founding.saturating_sub(1);
        usize::try_from(candidates).expect("a world has few nodes").min(self.hosts.len())
    }

    /// Whether a founder has yet to find its cluster.
    pub(super) fn is_founding(&self) -> bool {
        self.hosts.iter().any(|host| host.is_founder && host.is_wanted && !host.has_founded)
    }

    /// Starts a node that belongs to no cluster.
    pub(super) fn start_founder(
        &mut self,
        index: u8,
        storage: Storage<MemDisk>,
        identity: Identity,
    ) -> Result<(), Violation> {
        let expected = usize::try_from(self.plan.nodes).expect("a world has few nodes");
        let candidates = &self.hosts[..self.candidates()];
        let members: Vec<_> = candidates.iter().map(super::Host::member).collect();
        let host = &mut self.hosts[usize::from(index)];
        host.starts += 1;
        host.life += 1;
        let mut rng = self.choices.natural(Subject::Start { node: index, n: host.starts });
        let drawn = (ClusterId(rng.next()), rng.next());
        let is_pledged = u64::from(identity.pledge.is_some());
        let mut machine = Founding::new(host.member(), identity, expected, drawn, PATIENCE_MS);
        members.into_iter().for_each(|member| machine.handle_peer(member));
        host.founder = Some(Founder { machine, step: None });
        host.storage = Some(storage);
        let life = host.life;
        let first_tick_us = host.clock.after(self.now_us, self.plan.tick_ms * 1_000);
        self.queue.push(first_tick_us, Event::Tick { host: index, life });
        if is_pledged > 0 {
            self.coverage.mark(Mark::PledgedStart);
        }
        self.note(Some(index), What::Start { start: u64::from(life), last: 0 }, is_pledged);
        self.feed_founder(index, |_, _| {})
    }

    /// Feeds a founder and moves what it puts out.
    pub(super) fn feed_founder(
        &mut self,
        index: u8,
        input: impl FnOnce(&mut Founding, Now),
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let now = host.now(self.now_us);
        let Some(founder) = host.founder.as_mut() else { return Ok(()) };
        input(&mut founder.machine, now);
        let mut step = founder.machine.poll_save().map(Step::Pledge);
        if founder.step.is_none() && step.is_none() {
            step = match founder.machine.status(now) {
                FoundingStatus::Join { cluster, .. } => {
                    Some(Step::Join(Identity { cluster: Some(cluster), ..Identity::new(host.id) }))
                }
                _ => founder
                    .machine
                    .founded()
                    .map(|(identity, meta, bytes)| Step::Found(identity, meta, bytes)),
            };
        }
        let hellos: Vec<_> = std::iter::from_fn(|| founder.machine.poll_transmit()).collect();
        if let Some(step) = step {
            founder.step = Some(step);
            self.schedule_founding(index);
        }
        for (member, hello) in hellos {
            self.checker.foundings.check_said(&hello)?;
            self.send(index, Letter::Hello { to: member.id, hello: Box::new(hello) });
        }
        Ok(())
    }

    fn schedule_founding(&mut self, index: u8) {
        let subject = self.next_disk_step(index);
        let host = &self.hosts[usize::from(index)];
        let (life, slow_us) = (host.life, host.slow_us);
        let wait_us = self.natural_disk_us(subject) + slow_us;
        self.queue.push(self.now_us + wait_us, Event::SaveFounding { host: index, life });
    }

    /// Saves what a founder wants to be saved.
    pub(super) fn save_founding(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        if self.unless_paused(index, Event::SaveFounding { host: index, life }).is_none() {
            return Ok(());
        }
        let subject = self.next_disk_step(index);
        let fault = self.disk_fault(index, subject, FOUNDING_FAULTS);
        let host = &mut self.hosts[usize::from(index)];
        let Some(step) = host.founder.as_mut().and_then(|founder| founder.step.take()) else {
            return Ok(());
        };
        let storage = host.storage.as_mut().expect("a node that runs has a storage");
        if let Some(fault) = fault {
            set_fault(storage.disk_mut(), fault);
        }
        let saved = match &step {
            Step::Pledge(identity) | Step::Join(identity) => {
                storage.save_identity(&identity.encode())
            }
            Step::Found(identity, meta, bytes) => storage
                .save_snapshot(*meta, bytes)
                .and_then(|()| storage.save_identity(&identity.encode())),
        };
        if let Err(why) = saved {
            return self.founding_failed(index, &why, fault);
        }
        match step {
            Step::Pledge(identity) => {
                self.checker.foundings.saved(&identity)?;
                let pledged = identity.pledge.map_or(0, |pledge| pledge.cluster.0);
                self.note(Some(index), What::Word("has pledged"), pledged);
                self.feed_founder(index, Founding::handle_saved)
            }
            Step::Found(identity, ..) => {
                let cluster = identity.cluster.map_or(0, |cluster| cluster.0);
                self.note(Some(index), What::Word("has founded"), cluster);
                self.become_member(index)
            }
            Step::Join(identity) => {
                let cluster = identity.cluster.map_or(0, |cluster| cluster.0);
                self.note(Some(index), What::Word("joins instead of founding"), cluster);
                self.coverage.mark(Mark::JoinsInstead);
                self.become_member(index)
            }
        }
    }

    /// A founder goes on as what its disk says that it is.
    fn become_member(&mut self, index: u8) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        host.founder = None;
        host.disk = host.storage.take().map(Storage::into_disk);
        let life = host.life;
        self.start(index, life)
    }

    /// A founder's storage failed, or its computer stopped: it ends, as a member does.
    fn founding_failed(
        &mut self,
        index: u8,
        why: &StorageError,
        fault: Option<Fault>,
    ) -> Result<(), Violation> {
        if fault.is_none_or(|fault| fault.kind != FaultKind::CrashInWrite) {
            self.coverage.mark(Mark::StorageStopped);
        }
        let is_full = matches!(why, StorageError::Disk(error) if error.kind == DiskErrorKind::Full);
        self.hosts[usize::from(index)].is_full |= is_full;
        let down_ms = fault.map_or(DOWN_MS, |fault| fault.for_ms.max(DOWN_MS));
        self.crash_founder(index, fault.map_or(0, |fault| fault.set), Some(down_ms * 1_000))
    }

    /// Ends a founder: what it had not synced is at the mercy of an image.
    pub(super) fn crash_founder(
        &mut self,
        index: u8,
        image: u64,
        down_us: Option<u64>,
    ) -> Result<(), Violation> {
        let options = self.plan.storage_options();
        let host = &mut self.hosts[usize::from(index)];
        host.founder = None;
        host.life += 1;
        host.inbox = None;
        let storage = host.storage.take().expect("a node that runs has a storage");
        let mut disk = storage.into_disk();
        crash_image(&mut disk, image);
        let fail = |why: &dyn std::fmt::Display| does_not_open(&format!("node {index}: {why}"));
        let (_, found) = Storage::open(disk.clone(), options).map_err(|why| fail(&why))?;
        let identity = match found.identity {
            None => Identity::new(host.id),
            Some(bytes) => Identity::decode(bytes).map_err(|why| fail(&why))?,
        };
        if identity.cluster.is_none() {
            self.checker.foundings.saved(&identity)?;
        }
        host.disk = Some(disk);
        let life = host.life;
        if let Some(down_us) = down_us {
            self.queue.push(self.now_us + down_us, Event::Start { host: index, life });
        }
        self.coverage.mark(Mark::CrashInFounding);
        self.disturb(self.now_us);
        self.note(Some(index), What::Word("ends"), image);
        Ok(())
    }

    /// A hello arrives. Who is a member answers with its cluster.
    pub(super) fn take_hello(&mut self, index: u8, hello: Hello) -> Result<(), Violation> {
        let host = &self.hosts[usize::from(index)];
        if host.founder.is_some() {
            return self.feed_founder(index, |founding, now| founding.handle_hello(hello, now));
        }
        if hello.cluster.is_none() && host.is_up() {
            self.coverage.mark(Mark::MemberTellsFounder);
            let (member, wall) = (host.member(), host.now(self.now_us).wall);
            let answer =
                Hello { member, cluster: Some(self.cluster), pledge: None, wall, founds: false };
            let to = hello.member.id;
            self.send(index, Letter::Hello { to, hello: Box::new(answer) });
        }
        Ok(())
    }

    /// A founder starts as a member: of the cluster that it has founded, or of one that was there.
    pub(super) fn follow_founded(
        &mut self,
        index: u8,
        cluster: ClusterId,
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        if self.checker.foundings.joins(host.id, cluster) {
            host.is_founder = false;
            self.reconciler.need();
            return Ok(());
        }
        host.has_founded = true;
        self.cluster = cluster;
        self.checker.foundings.founded(host.id, cluster)
    }

    /// What an operator does who looks at founders now and then.
    pub(super) fn tend_founding(&mut self) -> Result<(), Violation> {
        if !self.is_founding() {
            return Ok(());
        }
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            let host = &self.hosts[usize::from(index)];
            let is_in_use = |id| self.place_of(id).is_some();
            if host.is_founder && self.checker.foundings.is_split(host.id, is_in_use) {
                self.empty_directory(index)?;
            }
        }
        let is_time = self.is_healed || self.now_us > TOO_MANY_FOR_US;
        let last = self.candidates() - 1;
        let host = &self.hosts[last];
        if is_time
            && last as u64 >= self.plan.nodes
            && host.is_founder
            && !self.checker.foundings.is_named(host.id)
        {
            self.remove_founder(host.index)?;
        }
        Ok(())
    }

    /// A node whose pledge can't come true any more begins anew.
    fn empty_directory(&mut self, index: u8) -> Result<(), Violation> {
        self.coverage.mark(Mark::FoundersSplit);
        self.remove_founder(index)?;
        let has_begun = self.checker.foundings.has_cluster();
        let host = &mut self.hosts[usize::from(index)];
        (host.is_wanted, host.is_founder) = (true, !has_begun);
        let life = host.life;
        self.queue.push(self.now_us + 1, Event::Start { host: index, life });
        if has_begun {
            self.reconciler.need();
        }
        Ok(())
    }

    fn remove_founder(&mut self, index: u8) -> Result<(), Violation> {
        self.crash(index, 0, None)?;
        let host = &mut self.hosts[usize::from(index)];
        host.replace_disk();
        host.is_wanted = false;
        host.life += 1;
        Ok(())
    }

    /// Everything is healed: nobody founds any more.
    pub(super) fn check_founded(&self) -> Result<(), Violation> {
        if self.is_founding() {
            return Err(FOUNDED_AFTER_HEALING.broken(self.overview()));
        }
        Ok(())
    }
}

impl Founder {
    /// How far it is, in words.
    pub fn words(&self, now: Now) -> String {
        match self.machine.status(now) {
            FoundingStatus::Waiting { seen } => format!("sees {seen} founders"),
            FoundingStatus::Pledged { agreed } => format!("has pledged, as {agreed} founders have"),
            FoundingStatus::Split => "has pledged, and others to another list".to_owned(),
            FoundingStatus::Join { cluster, .. } => format!("sees the cluster {cluster}"),
        }
    }
}

/// A number that differs where hellos do.
pub(crate) fn number_of(hello: &Hello) -> u64 {
    let cluster = hello.cluster.map_or(0, |cluster| cluster.0);
    let pledge = hello.pledge.as_ref().map_or(0, |pledge| pledge.cluster.0 ^ pledge.at.0);
    mix(cluster).wrapping_add(pledge)
}

/// How long a hello counts.
const PATIENCE_MS: u64 = 1_000;
/// How long one founder too many is left alone.
const TOO_MANY_FOR_US: u64 = 10_000_000;
/// The founders start within this time.
const STARTS_WITHIN_US: u64 = 2_000_000;
/// A founder saves twice in its life.
const FOUNDING_FAULTS: u32 = 40;
/// The shortest time that a failed founder is down.
const DOWN_MS: u64 = 300;
