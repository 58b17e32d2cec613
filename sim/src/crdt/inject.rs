//! What goes wrong with CRDT nodes: doing the faults that are drawn as for Raft nodes.
//!
//! Nothing needs a majority here, so nothing is spared: all disks may be lost at once, all clocks be off,
//! and who is cut off may be so for long. What survives then is for the checks to know.

use super::{CrdtWorld, Event};
use crate::choices::Subject;
use crate::faults::{Fault, FaultKind, Rates};
use crate::invariants::Violation;
use crate::rng::Rng;
use crate::trace::What;
use crate::world::{SLOT_US, Undo, draw_message, draw_slot};
use plimsoll::gossip::Space;

impl CrdtWorld {
    /// A slot of time, in which one fault may begin.
    pub(super) fn slot(&mut self) -> Result<(), Violation> {
        if self.is_healed {
            return Ok(());
        }
        self.queue.push(self.now_us + SLOT_US, Event::Slot);
        self.slots += 1;
        let subject = Subject::Slot { n: self.slots };
        let (rates, hosts) = (&self.rates, self.hosts.len() as u64);
        let draw = |rng: &mut Rng| {
            let fault = draw_slot(rates, 1, hosts, None, rng)?;
            Some(prolonged(fault, rng))
        };
        let Some(fault) = self.choices.deviation(subject, draw) else { return Ok(()) };
        if self.inject(fault)? {
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
        let is_up = host.node.is_some();
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
            FaultKind::Pause if is_up && !host.is_paused() => self.pause(node, for_ms * 1_000),
            FaultKind::Crash if is_up => {
                self.crash(node, set, Some(for_ms * 1_000));
                self.crash_again(fault);
            }
            FaultKind::CrashAll => self.crash_all(set, for_ms * 1_000),
            FaultKind::LostDisk if is_up => self.lose_disk(node, set, for_ms * 1_000),
            FaultKind::SetBack if is_up && host.older.is_some() => {
                self.hosts[place].is_set_back = true;
                self.crash(node, set, Some(for_ms * 1_000));
            }
            FaultKind::DiskFull if is_up && host.storage.is_some() => {
                let host = &mut self.hosts[place];
                host.is_full = true;
                let storage = host.storage.as_mut().expect("it was just there");
                storage.disk_mut().set_capacity(Some(0));
                self.queue.push(until_us, Event::Undo(Undo::DiskFull { host: node }));
            }
            FaultKind::SlowDisk => {
                let by_us = amount.unsigned_abs();
                self.hosts[place].slow_us += by_us;
                self.queue.push(until_us, Event::Undo(Undo::SlowDisk { host: node, by_us }));
            }
            FaultKind::ClockStep => self.step_clock(fault),
            FaultKind::ClockDrift => {
                let now_us = self.now_us;
                self.hosts[place].clock.drift(now_us, amount);
                self.has_wrong_clock = true;
            }
            FaultKind::Add => return Ok(self.add(node)),
            FaultKind::Remove => return Ok(self.remove(node)),
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
                for parcel in self.network.unclog(links) {
                    self.queue.push(self.now_us + 1, Event::Deliver(parcel));
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
            let life = self.hosts[usize::from(fault.node)].life + 1;
            let start_us = self.now_us + fault.for_ms * 1_000;
            let again = Fault { amount: 0, ..fault };
            let event = Event::Crash { host: fault.node, life, fault: again };
            self.queue.push(start_us + fault.amount.unsigned_abs(), event);
        }
    }

    fn crash_all(&mut self, images: u64, down_us: u64) {
        for index in 0..u8::try_from(self.hosts.len()).expect("few nodes") {
            let mut rng = Rng::of(images, u64::from(index));
            let image = rng.next();
            let down_us = down_us + rng.below(500_000);
            self.crash(index, image, Some(down_us));
        }
    }

    /// A node starts with an empty disk: as the same member, or as a new one in its place.
    fn lose_disk(&mut self, index: u8, set: u64, down_us: u64) {
        self.crash(index, set, None);
        let is_replaced = self.listed.contains(&index) && set & 1 == 1;
        let member = self.member_at(index);
        self.lose(Space::Durable, index);
        self.books.iter_mut().for_each(|book| book.lose_clock(member));
        self.hosts[usize::from(index)].replace_disk(is_replaced);
        if is_replaced {
            self.replace(member, self.member_at(index));
        }
        let life = self.hosts[usize::from(index)].life;
        self.queue.push(self.now_us + down_us, Event::Start { host: index, life });
    }

    /// A wall clock jumps, and is put right after a while unless it stays so.
    fn step_clock(&mut self, fault: Fault) {
        let Fault { node, for_ms, amount, .. } = fault;
        self.hosts[usize::from(node)].clock.step(amount);
        self.has_wrong_clock = true;
        if for_ms > 0 {
            let at_us = self.now_us + for_ms * 1_000;
            self.queue.push(at_us, Event::SetRight { host: node, by_ms: -amount });
        }
    }

    pub(super) fn set_right(&mut self, index: u8, by_ms: i64) {
        if !self.is_healed {
            self.hosts[usize::from(index)].clock.step(by_ms);
        }
    }

    /// Clocks differ a little from the beginning.
    pub(super) fn skew(&mut self, index: u8) {
        let subject = Subject::Start { node: index, n: 0 };
        let most_ms = self.plan.clock_bound_ms / SKEW_PART;
        let skew_ms = self.choices.natural(subject).between(0, 2 * most_ms);
        let by_ms = skew_ms.cast_signed() - most_ms.cast_signed();
        self.hosts[usize::from(index)].clock.step(by_ms);
    }
}

/// Being cut off is more than a moment now and then, and wrong clocks are put right.
fn prolonged(fault: Fault, rng: &mut Rng) -> Fault {
    match fault.kind {
        FaultKind::Partition
        | FaultKind::OneWay
        | FaultKind::Bridge
        | FaultKind::Clog
        | FaultKind::Pause
            if rng.chance(300_000) =>
        {
            fault.lasting(fault.for_ms * rng.between(3, 10))
        }
        FaultKind::ClockStep if rng.chance(800_000) => fault.lasting(rng.between(200, 8_000)),
        _ => fault,
    }
}

/// Now and then a message, or its double, comes so late that everything else has changed.
pub(super) fn draw_late_message(rates: &Rates, rng: &mut Rng) -> Option<Fault> {
    let fault = draw_message(rates, 1, rng)?;
    let is_very_late = fault.kind != FaultKind::Drop && rng.chance(100_000);
    let times = i64::try_from(rng.between(2, 60)).expect("small");
    Some(if is_very_late { fault.by(fault.amount * times) } else { fault })
}

/// Right clocks differ from the truth by so small a part of the bound.
const SKEW_PART: u64 = 16;
