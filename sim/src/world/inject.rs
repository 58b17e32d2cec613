//! What goes wrong: drawing a fault for a slot of time, and doing it.
//!
//! A fault that does not apply (the node is down already, the last intact copy would be lost) is
//! skipped and counted. What ends by itself schedules its own end.

use super::events::Undo;
use super::network::{link, links_between};
use super::{Event, SLOT_US, World};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::faults::{Fault, FaultKind, Rates};
use crate::invariants::{Moment, Violation};
use crate::rng::Rng;
use crate::trace::What;
use plimsoll::raft::Applied;
use plimsoll::storage::{Disk, MemDisk, SECTOR_BYTES, Storage};

impl World {
    /// A slot of time, in which one fault may begin.
    pub(super) fn slot(&mut self) -> Result<(), Violation> {
        if self.is_healed {
            return Ok(());
        }
        self.queue.push(self.now_us + SLOT_US, Event::Slot);
        self.slots += 1;
        let subject = Subject::Slot { n: self.slots };
        let (rates, hosts, leader) = (&self.rates, self.hosts.len() as u64, self.leader());
        let times = if self.is_founding() { FOUNDING_FAULTS } else { 1 };
        let draw = |rng: &mut Rng| draw_slot(rates, times, hosts, leader, rng);
        let drawn = self.choices.deviation(subject, draw);
        let Some(fault) = drawn else { return Ok(()) };
        if self.inject(fault)? {
            self.disturb(self.now_us + fault.for_ms * 1_000);
            self.coverage.fault(fault.kind);
            self.note(None, What::Fault(fault), fault.set ^ fault.for_ms);
        } else {
            self.choices.skip(subject);
        }
        Ok(())
    }

    /// Does a fault; answers whether it applies.
    fn inject(&mut self, fault: Fault) -> Result<bool, Violation> {
        let Fault { kind, node, set, for_ms, amount } = fault;
        let until_us = self.now_us + for_ms * 1_000;
        let place = usize::from(node);
        let Some(host) = self.hosts.get(place) else { return Ok(false) };
        let (is_up, is_running) = (host.is_up(), host.is_running());
        match kind {
            FaultKind::Partition | FaultKind::OneWay | FaultKind::Bridge => {
                self.network.cut(set);
                self.queue.push(until_us, Event::Undo(Undo::Cut { links: set }));
            }
            FaultKind::Clog => {
                self.network.clog(set);
                self.queue.push(until_us, Event::Undo(Undo::Clog { links: set }));
            }
            FaultKind::SlowLink => {
                let by_us = amount.unsigned_abs();
                self.network.slow(set, by_us);
                self.queue.push(until_us, Event::Undo(Undo::Slow { links: set, by_us }));
            }
            FaultKind::Pause if is_running && !host.is_paused() => self.pause(node, for_ms * 1_000),
            FaultKind::Crash if is_running => {
                self.crash(node, set, Some(for_ms * 1_000))?;
                self.crash_again(fault);
            }
            FaultKind::Misdirection if is_up && self.may_lose(node) => {
                return Ok(self.misdirect(fault));
            }
            FaultKind::CrashAll => self.crash_all(set, for_ms * 1_000)?,
            FaultKind::LostDisk if self.may_lose(node) => self.lose_disk(node, for_ms * 1_000)?,
            FaultKind::Corruption if is_up && self.may_lose(node) => {
                return self.corrupt(node, set, for_ms * 1_000);
            }
            FaultKind::DiskFull if is_running => {
                let host = &mut self.hosts[place];
                host.is_full = true;
                let storage = host.storage.as_mut().expect("a node that runs has a storage");
                storage.disk_mut().set_capacity(Some(0));
                self.queue.push(until_us, Event::Undo(Undo::DiskFull { host: node }));
            }
            FaultKind::SlowDisk => {
                let by_us = amount.unsigned_abs();
                self.hosts[place].slow_us += by_us;
                self.queue.push(until_us, Event::Undo(Undo::SlowDisk { host: node, by_us }));
            }
            FaultKind::ClockStep => self.step_clock(node, amount),
            FaultKind::ClockDrift => {
                let now_us = self.now_us;
                self.hosts[place].clock.drift(now_us, amount);
            }
            FaultKind::Transfer => return Ok(self.ask_transfer(node)),
            FaultKind::Add => return Ok(self.add(node)),
            FaultKind::Remove => return Ok(self.remove(node)),
            FaultKind::LostMajority => return self.lose_majority(node, set),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Ends a fault.
    pub(super) fn undo(&mut self, undo: Undo) {
        if self.is_healed {
            return;
        }
        match undo {
            Undo::Cut { links } => self.network.uncut(links),
            Undo::Slow { links, by_us } => self.network.unslow(links, by_us),
            Undo::Clog { links } => {
                for letter in self.network.unclog(links) {
                    self.queue.push(self.now_us + 1, Event::Deliver(letter));
                }
            }
            Undo::DiskFull { host } => self.free_disk(host),
            Undo::SlowDisk { host, by_us } => {
                let host = &mut self.hosts[usize::from(host)];
                host.slow_us = host.slow_us.saturating_sub(by_us);
            }
        }
    }

    pub(super) fn free_disk(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index)];
        host.is_full = false;
        if let Some(storage) = &mut host.storage {
            storage.disk_mut().set_capacity(None);
        }
    }

    /// A node that ends may do so once more, soon after its start.
    fn crash_again(&mut self, fault: Fault) {
        if fault.amount > 0 {
            let host = &self.hosts[usize::from(fault.node)];
            let life = host.life + 1;
            let start_us = self.now_us + fault.for_ms * 1_000;
            let again = Fault { amount: 0, ..fault };
            let event = Event::Crash { host: fault.node, life, fault: again };
            self.queue.push(start_us + fault.amount.unsigned_abs(), event);
        }
    }

    /// The next write lands elsewhere in its file. Nobody notices, until the node has ended and is to
    /// start again: then it must refuse.
    fn misdirect(&mut self, fault: Fault) -> bool {
        let host = &mut self.hosts[usize::from(fault.node)];
        let storage = host.storage.as_mut().expect("a node that runs has a storage");
        let offset = fault.amount.unsigned_abs() * SECTOR_BYTES as u64;
        storage.disk_mut().misdirect_next_write(offset);
        host.is_misdirected = true;
        self.reconciler.need();
        let life = host.life;
        let event = Event::Crash { host: fault.node, life, fault };
        self.queue.push(self.now_us + MISDIRECTED_RUNS_US, event);
        true
    }

    fn crash_all(&mut self, images: u64, down_us: u64) -> Result<(), Violation> {
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            let mut rng = Rng::of(images, u64::from(index));
            let image = rng.next();
            let down_us = down_us + rng.below(500_000);
            self.crash(index, image, Some(down_us))?;
        }
        Ok(())
    }

    /// Whether a node's disk may be lost or damaged: every configuration in force, and the one that
    /// was applied last, must keep a majority of intact disks. Who has not applied the last one yet
    /// still goes by the one before, which may need the very node: all others must have.
    fn may_lose(&self, node: u8) -> bool {
        let lost = self.hosts[usize::from(node)].id;
        let is_intact = |id| {
            let host = self.place_of(id);
            id != lost && host.is_some_and(|host| !host.is_damaged && !host.is_misdirected)
        };
        let is_member = self.checker.membership.voters().any(|id| id == lost);
        let since = self.checker.membership.since();
        let knows = |id| {
            let host = self.place_of(id);
            host.and_then(|host| host.node()).is_some_and(|node| node.applied() >= since)
        };
        is_member
            && self.checker.membership.voters().filter(|id| *id != lost).all(knows)
            && !self.checker.membership.is_joint()
            && self.checker.membership.is_quorum(is_intact)
            && self.checker.membership.voters().filter(|id| *id != lost).all(is_intact)
    }

    fn lose_disk(&mut self, node: u8, down_us: u64) -> Result<(), Violation> {
        self.reconciler.need();
        self.crash(node, 0, None)?;
        let host = &mut self.hosts[usize::from(node)];
        host.replace_disk();
        host.life += 1;
        let life = host.life;
        self.queue.push(self.now_us + down_us, Event::Start { host: node, life });
        Ok(())
    }

    /// Damages a synced sector of a batch that later ones follow. The node must refuse to start; then
    /// its disk is replaced.
    fn corrupt(&mut self, node: u8, seed: u64, down_us: u64) -> Result<bool, Violation> {
        let storage = self.hosts[usize::from(node)].storage.as_mut();
        let disk = storage.expect("a node that runs has a storage").disk_mut();
        if damageable(disk).is_empty() {
            return Ok(false);
        }
        self.reconciler.need();
        self.crash(node, 0, None)?;
        let options = self.plan.storage_options();
        let host = &mut self.hosts[usize::from(node)];
        let mut disk = host.disk.take().expect("it has just ended");
        let is_hit = damage(&mut disk, seed);
        // Whether it counts is what opening must find out; a disk on which nothing is wrong after
        // all stays in use.
        host.is_damaged = is_hit && Storage::open(disk.clone(), options).is_err();
        let is_missed = is_hit && !host.is_damaged;
        host.disk = Some(disk);
        host.life += 1;
        let life = host.life;
        self.queue.push(self.now_us + down_us, Event::Start { host: node, life });
        if is_missed { Err(crate::invariants::damage_was_opened(node)) } else { Ok(true) }
    }

    /// Steps a wall clock, as far as the guarantee allows: fewer than half of the voters may be off.
    fn step_clock(&mut self, node: u8, by_ms: i64) {
        let now_us = self.now_us;
        let good_ms = (self.plan.clock_bound_ms / 4).cast_signed();
        let is_off = |host: &super::Host| host.clock.error_ms(now_us).abs() > good_ms;
        let others = self.hosts.iter().filter(|host| host.index != node && is_off(host)).count();
        let voters = match self.checker.membership.voters().count() {
            0 => usize::try_from(self.plan.nodes).expect("a world has few nodes"),
            voters => voters,
        };
        let clock = &mut self.hosts[usize::from(node)].clock;
        let mut by_ms = by_ms;
        if 2 * (others + 1) >= voters {
            // It ends within what a right clock may be off.
            let error_ms = clock.error_ms(now_us);
            by_ms = (error_ms + by_ms).clamp(-good_ms / 2, good_ms / 2) - error_ms;
        }
        clock.step(by_ms);
    }

    /// What the bounds of expiry depend on now.
    pub(super) fn moment(&mut self, applied: &Applied) -> Moment {
        let now_us = self.now_us;
        if self.clocks_are_trusted {
            let good_ms = (self.plan.clock_bound_ms / 4).cast_signed();
            let is_off = |id: &plimsoll::raft::RaftId| {
                let host = self.place_of(*id);
                host.is_some_and(|host| host.clock.error_ms(now_us).abs() > good_ms)
            };
            let voters = self.checker.membership.voters().count();
            let off = self.checker.membership.voters().filter(is_off).count();
            self.clocks_are_trusted = 2 * off < voters.max(1);
        }
        let proposed = self.checker.raft.proposed_us(applied.index, applied.term);
        let bound_ms = self.plan.clock_bound_ms + self.plan.clock_bound_ms / 4 + ROUND_TRIP_MS;
        Moment {
            now_us,
            proposed_us: proposed.unwrap_or(now_us),
            term: applied.term,
            anchor_error_us: self.clocks_are_trusted.then_some(bound_ms * 1_000),
            unresolved: self.unresolved,
            lag_us: self.lags_us.get(&applied.term).copied().unwrap_or(u64::MAX / 4),
        }
    }

    /// Counts what a membership change meets.
    pub(super) fn mark_change(&mut self) {
        if self.network.has_cuts() {
            self.coverage.mark(Mark::ChangeInPartition);
        }
    }
}

/// A fault of one message.
pub(crate) fn draw_message(rates: &Rates, times: u32, rng: &mut Rng) -> Option<Fault> {
    if rng.chance(rates.of(FaultKind::Drop) * times) {
        return Some(Fault::new(FaultKind::Drop));
    }
    let late = |rng: &mut Rng| i64::try_from(rng.between(200, 400_000)).expect("small");
    if rng.chance(rates.of(FaultKind::Duplicate) * times) {
        return Some(Fault::new(FaultKind::Duplicate).by(late(rng)));
    }
    if rng.chance(rates.of(FaultKind::Reorder) * times) {
        return Some(Fault::new(FaultKind::Reorder).by(late(rng)));
    }
    None
}

/// A node ends while two configurations are in force.
pub(super) fn draw_joint(rates: &Rates, rng: &mut Rng) -> Option<Fault> {
    let is_drawn = rates.of(FaultKind::Crash) > 0 && rng.chance(500_000);
    let after_us = i64::try_from(rng.below(30_000)).expect("small");
    let fault = Fault::new(FaultKind::Crash).on(rng.next()).lasting(rng.between(100, 2_000));
    is_drawn.then_some(fault.by(after_us))
}

/// A fault of a slot of time.
pub(crate) fn draw_slot(
    rates: &Rates,
    times: u32,
    hosts: u64,
    leader: Option<u8>,
    rng: &mut Rng,
) -> Option<Fault> {
    let kind = SLOT_KINDS.iter().copied().find(|kind| rng.chance(rates.of(*kind) * times))?;
    let any = u8::try_from(rng.below(hosts)).expect("few nodes");
    let node = leader.filter(|_| rng.chance(400_000)).unwrap_or(any);
    let fault = Fault::new(kind).at(node);
    let ms = |rng: &mut Rng, least, most| rng.between(least, most);
    Some(match kind {
        FaultKind::Partition | FaultKind::OneWay | FaultKind::Bridge => {
            let for_ms = rng.pick(&[300, 1_000, 2_000, 4_000]);
            fault.on(draw_cut(kind, hosts, node, rng)).lasting(for_ms)
        }
        FaultKind::Clog | FaultKind::SlowLink => {
            let peer = u8::try_from(rng.below(hosts)).expect("few nodes");
            let by_us = i64::try_from(rng.between(5_000, 300_000)).expect("small");
            fault.on(link(node, peer) | link(peer, any)).lasting(ms(rng, 200, 3_000)).by(by_us)
        }
        FaultKind::Pause => fault.lasting(rng.pick(&[100, 500, 1_500, 4_000])),
        FaultKind::Crash => {
            let again_us = i64::try_from(rng.between(1_000, 400_000)).expect("small");
            let fault = fault.on(rng.next()).lasting(rng.pick(&[20, 50, 300, 1_000, 4_000]));
            if rng.chance(300_000) { fault.by(again_us) } else { fault }
        }
        FaultKind::LostDisk | FaultKind::SetBack => {
            fault.on(rng.next()).lasting(rng.pick(&[50, 300, 1_000, 4_000]))
        }
        FaultKind::Misdirection => {
            let sector = i64::try_from(rng.between(1, 30)).expect("small");
            fault.on(rng.next()).lasting(ms(rng, 100, 1_000)).by(sector)
        }
        FaultKind::CrashAll | FaultKind::Corruption | FaultKind::LostMajority => {
            fault.on(rng.next()).lasting(ms(rng, 100, 1_500))
        }
        FaultKind::DiskFull => fault.lasting(ms(rng, 200, 3_000)),
        FaultKind::SlowDisk => {
            let by_us = i64::try_from(rng.between(5_000, 200_000)).expect("small");
            fault.lasting(ms(rng, 500, 5_000)).by(by_us)
        }
        FaultKind::ClockStep => {
            let far = rng.pick(&[100, 1_000, 10_000, 3_600_000]);
            let by_ms = i64::try_from(rng.between(1, far)).expect("small");
            fault.by(if rng.chance(500_000) { by_ms } else { -by_ms })
        }
        FaultKind::ClockDrift => {
            let ppm = i64::try_from(rng.below(40_001)).expect("small") - 20_000;
            fault.by(if rng.chance(200_000) { 0 } else { ppm })
        }
        _ => fault,
    })
}

fn draw_cut(kind: FaultKind, hosts: u64, node: u8, rng: &mut Rng) -> u64 {
    let all = (1_u64 << hosts) - 1;
    let group = if rng.chance(500_000) { 1 << node } else { rng.between(1, all) & all };
    let rest = all & !group;
    match kind {
        FaultKind::OneWay if rng.chance(500_000) => links_between(group, rest),
        FaultKind::OneWay => links_between(rest, group),
        FaultKind::Bridge => {
            let bridge = 1_u64 << node;
            let (one, other) = (group & !bridge, rest & !bridge);
            links_between(one, other) | links_between(other, one)
        }
        _ => links_between(group, rest) | links_between(rest, group),
    }
}

/// Damages one written sector that is not in the last part of the log. Answers whether there is one.
fn damage(disk: &mut MemDisk, seed: u64) -> bool {
    let mut rng = Rng::new(seed);
    let places = damageable(disk);
    if places.is_empty() {
        return false;
    }
    let chosen = usize::try_from(rng.below(places.len() as u64)).expect("a length");
    let (name, sector) = &places[chosen];
    disk.corrupt(name, *sector, u8::try_from(rng.between(1, 255)).expect("a byte"))
}

/// The written sectors of a log, by file and number. Damaged, none of them is taken for a torn end:
/// what a torn end lacks is all zero.
fn damageable(disk: &MemDisk) -> Vec<(String, usize)> {
    let mut places: Vec<(String, usize)> = Vec::new();
    for name in super::disk::log_files(disk) {
        let bytes = disk.read(&name).unwrap_or_default();
        let is_written = |sector: &[u8]| sector != [0; SECTOR_BYTES];
        let sectors = bytes.chunks(SECTOR_BYTES).enumerate().filter(|(_, s)| is_written(s));
        places.extend(sectors.map(|(sector, _)| (name.clone(), sector)));
    }
    places
}

/// The kinds that begin in slots of time, in the order in which they are tried.
const SLOT_KINDS: &[FaultKind] = &[
    FaultKind::LostMajority,
    FaultKind::Corruption,
    FaultKind::Misdirection,
    FaultKind::LostDisk,
    FaultKind::SetBack,
    FaultKind::CrashAll,
    FaultKind::Add,
    FaultKind::Remove,
    FaultKind::Crash,
    FaultKind::Pause,
    FaultKind::Partition,
    FaultKind::OneWay,
    FaultKind::Bridge,
    FaultKind::Clog,
    FaultKind::SlowLink,
    FaultKind::DiskFull,
    FaultKind::SlowDisk,
    FaultKind::ClockStep,
    FaultKind::ClockDrift,
    FaultKind::Transfer,
];

/// So much likelier are faults while a cluster is being founded: that is soon over.
const FOUNDING_FAULTS: u32 = 3;
/// How long a node runs on after a write that landed elsewhere.
const MISDIRECTED_RUNS_US: u64 = 1_500_000;
/// A generous round trip, late messages included.
const ROUND_TRIP_MS: u64 = 1_000;
