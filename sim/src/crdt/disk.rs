//! The disk of a CRDT node: what a start finds on it, and the steps that keep what must not be forgotten.
//!
//! Records that come while others are between their write and their sync wait, and are written together.
//! The ledger goes before them. A step may fail, find the disk full, or be the last thing that its computer
//! did. After a failure the durable replica is let go or the node ends; either way the disk is marked, if it
//! still takes that, as good to begin with only.

use bytes::Bytes;
use plimsoll::crdt::{Incarnation, Kept, MemberId, Options, Replica, Start};
use plimsoll::gossip::{Node, Peer, Space};
use plimsoll::storage::{
    Batch, MemDisk, Recovered, SnapshotMeta, Storage, StorageError, StoredEntry,
};

use super::host::{Driver, Ledger, Seen, address};
use super::{CrdtWorld, Event};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::faults::{Fault, FaultKind};
use crate::invariants::{Violation, does_not_open};
use crate::trace::What;
use crate::world::{SNAPSHOT_FAULTS, draw_disk, set_fault};

/// What a start has found.
struct Found {
    storage: Storage<MemDisk>,
    ledger: Ledger,
    kept: Option<Kept>,
    /// The index at which its incarnation began, and the last one that was used.
    base: u64,
    last: u64,
}

impl CrdtWorld {
    /// Starts a node from its disk.
    pub(super) fn start(&mut self, index: u8, life: u32) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        if host.node.is_some() || host.life != life {
            return Ok(());
        }
        let Some(mut disk) = host.disk.take() else { return Ok(()) };
        disk.set_capacity(host.is_full.then_some(0));
        host.starts += 1;
        let n = u32::try_from(host.starts).expect("few starts");
        let subject = Subject::Start { node: index, n };
        if let Some(fault) = self.disk_fault(index, subject, SNAPSHOT_FAULTS) {
            set_fault(&mut disk, fault);
        }
        // Lent, it stays here if opening it fails.
        let before = disk.clone();
        let opened = Storage::open(disk, self.plan.storage_options());
        let (storage, recovered) = match opened {
            Ok(opened) => opened,
            Err(why) => return self.not_opened(index, before, &why),
        };
        let found = self.read(index, storage, recovered)?;
        self.start_on(index, found, subject)
    }

    /// A disk that fails, is full or stops is tried again; nothing else keeps a node from starting.
    fn not_opened(
        &mut self,
        index: u8,
        mut disk: MemDisk,
        why: &StorageError,
    ) -> Result<(), Violation> {
        if !matches!(why, StorageError::Disk(_) | StorageError::Full(_) | StorageError::Failed) {
            return Err(does_not_open(&format!("node {index}: {why}")));
        }
        disk.lose_unsynced();
        self.hosts[usize::from(index)].disk = Some(disk);
        self.start_later(index);
        Ok(())
    }

    fn start_later(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index)];
        if host.is_full {
            self.coverage.mark(Mark::StartRefusedFull);
        }
        host.life += 1;
        let life = host.life;
        self.queue.push(self.now_us + START_AGAIN_US, Event::Start { host: index, life });
        self.note(Some(index), What::Word("can't start: the disk fails"), 2);
    }

    /// The ledger, and the durable replica as of the last record.
    fn read(
        &self,
        index: u8,
        storage: Storage<MemDisk>,
        recovered: Recovered,
    ) -> Result<Found, Violation> {
        let bad = |why: &dyn std::fmt::Display| does_not_open(&format!("node {index}: {why}"));
        let ledger = recovered.identity.map_or(Ok(Ledger::default()), Ledger::decode);
        let mut ledger = ledger.map_err(|why| bad(&why))?;
        if ledger.list.epoch == 0 {
            ledger.list = self.list.clone();
        }
        let Some((meta, bytes)) = recovered.snapshot else {
            return Ok(Found { storage, ledger, kept: None, base: 0, last: 0 });
        };
        let mut kept = self.decode(&bytes).map_err(|why| bad(&why))?;
        let base = meta.index - kept.record();
        let mut last = meta.index;
        for entry in recovered.entries {
            last = entry.index;
            kept.apply(entry.data).map_err(|why| bad(&why))?;
        }
        Ok(Found { storage, ledger, kept: Some(kept), base, last })
    }

    fn decode(&self, bytes: &Bytes) -> Result<Kept, plimsoll::codec::DecodeError> {
        Kept::decode(bytes, self.plan.clock_bound_ms)
    }

    fn start_on(&mut self, index: u8, found: Found, subject: Subject) -> Result<(), Violation> {
        let Found { mut storage, mut ledger, kept, base, last } = found;
        let host = &self.hosts[usize::from(index)];
        let start = |is_durable| Start {
            member: host.member(),
            number: host.starts,
            members: ledger.list.clone(),
            reserved: ledger.reserved,
            is_durable,
            options: self.replica_options(),
        };
        let volatile = Replica::begin(start(false), None, Incarnation(0));
        let ended = kept.as_ref().map_or(Incarnation(0), |kept| kept.author().incarnation);
        let is_resumed = kept.is_some() && !ledger.is_doubtful && !host.is_set_back;
        let older = host.older.clone().filter(|_| host.is_set_back);
        let durable = match kept {
            Some(kept) if is_resumed => Replica::resume(start(true), kept),
            kept => {
                let older = older.as_ref().and_then(|bytes| self.decode(bytes).ok());
                let kept = if host.is_set_back { older } else { kept };
                Replica::begin(start(true), kept, ended)
            }
        };
        let is_doubtful = std::mem::take(&mut ledger.is_doubtful);
        let mut result = Ok(base);
        if !is_resumed {
            result = begin(&mut storage, &durable, last + 1);
        }
        let result = result.and_then(|base| {
            storage.save_identity(&ledger.encode())?;
            Ok(base)
        });
        let Ok(base) = result else {
            let mut disk = storage.into_disk();
            disk.lose_unsynced();
            self.hosts[usize::from(index)].disk = Some(disk);
            self.start_later(index);
            return Ok(());
        };
        self.mark_start(index, is_resumed, is_doubtful);
        let seed = self.choices.natural(subject).next();
        let list = ledger.list.clone();
        let host = &mut self.hosts[usize::from(index)];
        host.is_set_back = false;
        (host.ledger, host.base, host.storage) = (ledger, base, Some(storage));
        (host.driver, host.seen) = (Driver::default(), [Seen::default(); 2]);
        host.life += 1;
        (host.tick_us, host.down) = (0, 0);
        let number = host.starts;
        let me = Peer::new(host.member(), number, &address(index), Bytes::new());
        let mut node = Node::new(me, seed);
        node.set_doors(self.doors());
        let now = self.read_clock(index);
        node.start(Space::Volatile, volatile, now);
        node.start(Space::Durable, durable, now);
        node.set_list(&list, now);
        self.hosts[usize::from(index)].node = Some(node);
        self.started_us = self.now_us;
        self.note(Some(index), What::Start { start: number, last }, seed ^ last);
        let wait_us = self.choices.natural(subject).between(10_000, 3_000_000);
        self.queue.push(self.now_us + wait_us, Event::Hear { host: index });
        self.drain(index)
    }

    /// What a start makes of the durable replica.
    fn mark_start(&mut self, index: u8, is_resumed: bool, is_doubtful: bool) {
        let is_set_back = self.hosts[usize::from(index)].is_set_back;
        if is_resumed {
            self.coverage.mark(Mark::ReplicaResumed);
        } else if is_set_back {
            self.coverage.mark(Mark::BegunOlder);
            self.lose(Space::Durable, index);
        } else if is_doubtful {
            self.coverage.mark(Mark::BegunDoubtful);
        }
    }

    fn replica_options(&self) -> Options {
        let size = |value: u64| usize::try_from(value).expect("a small number");
        Options {
            clock_bound_ms: self.plan.clock_bound_ms,
            tombstones_max: size(self.plan.tombstones_max),
            chunk_bytes: size(self.plan.chunk_bytes),
        }
    }

    /// If the clock's bound runs out, the ledger is to have the next one.
    pub(super) fn want_reservation(&mut self, index: u8) {
        let now = self.read_clock(index);
        let host = &mut self.hosts[usize::from(index)];
        let Some(node) = &host.node else { return };
        let Some(until) = node.wanted_reservation(now) else { return };
        let ledger = host.driver.ledger.get_or_insert_with(|| host.ledger.clone());
        ledger.reserved = ledger.reserved.max(until);
        self.reserved = self.reserved.max(until);
    }

    /// Schedules the next write, if there is something to write and the disk is free.
    pub(super) fn schedule_disk(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index)];
        let driver = &mut host.driver;
        let is_idle = driver.ledger.is_none() && driver.records.is_empty();
        if driver.is_busy || driver.has_failed || is_idle || host.node.is_none() {
            return;
        }
        driver.is_busy = true;
        let (life, wait_us) = (host.life, WRITE_US + host.slow_us / 4);
        self.queue.push(self.now_us + wait_us, Event::DiskWrite { host: index, life });
    }

    /// Writes what waits: the ledger, else all records as one batch.
    pub(super) fn disk_write(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        let event = Event::DiskWrite { host: index, life };
        if self.unless_paused(index, event).is_none() {
            return Ok(());
        }
        let subject = self.next_disk_step(index);
        let fault = self.disk_fault(index, subject, 1);
        let host = &mut self.hosts[usize::from(index)];
        let Some(storage) = host.storage.as_mut() else { return Ok(()) };
        if let Some(fault) = fault {
            set_fault(storage.disk_mut(), fault);
        }
        if let Some(ledger) = host.driver.ledger.take() {
            host.driver.is_busy = false;
            if let Err(why) = storage.save_identity(&ledger.encode()) {
                return self.storage_failed(index, &why, fault);
            }
            return self.take_ledger(index, ledger);
        }
        let author = host.node.as_ref().and_then(|node| node.replica(Space::Durable));
        let term = author.map_or(0, |replica| replica.author().incarnation.0);
        let base = host.base;
        let records: Vec<_> = host.driver.records.drain(..).collect();
        let Some(number) = records.last().map(|(number, _)| *number) else {
            host.driver.is_busy = false;
            return Ok(());
        };
        let entry = |(number, data)| StoredEntry {
            index: base + number,
            term,
            kind: 0,
            context: Bytes::new(),
            data,
        };
        let entries: Vec<_> = records.into_iter().map(entry).collect();
        host.driver.record_bytes += entries.iter().map(|it| it.data.len() as u64).sum::<u64>();
        if let Err(why) = storage.write(&Batch { entries, ..Batch::default() }) {
            return self.storage_failed(index, &why, fault);
        }
        host.driver.unsynced = Some((number, fault));
        let slow_us = host.slow_us;
        let wait_us = self.natural_disk_us(subject) + slow_us;
        self.queue.push(self.now_us + wait_us, Event::DiskSync { host: index, life });
        self.note(Some(index), What::Write { number, last: base + number }, number);
        Ok(())
    }

    /// A ledger is durable: what is new in it counts from now on.
    fn take_ledger(&mut self, index: u8, ledger: Ledger) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let before = std::mem::replace(&mut host.ledger, ledger.clone());
        if before.list != ledger.list {
            self.coverage.mark(Mark::ListTaken);
        }
        self.note(Some(index), What::Word("has saved its ledger"), ledger.reserved.0);
        self.feed(index, |node, now| {
            node.reserve(ledger.reserved);
            node.set_list(&ledger.list, now);
        })
    }

    /// Makes what was written durable, and tells the node.
    pub(super) fn disk_sync(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        if self.unless_paused(index, Event::DiskSync { host: index, life }).is_none() {
            return Ok(());
        }
        let host = &mut self.hosts[usize::from(index)];
        let Some(storage) = host.storage.as_mut() else { return Ok(()) };
        let Some((number, fault)) = host.driver.unsynced.take() else { return Ok(()) };
        if let Err(why) = storage.sync().and_then(|()| storage.make_spare()) {
            return self.storage_failed(index, &why, fault);
        }
        host.driver.is_busy = false;
        self.note(Some(index), What::Sync { number }, number);
        self.feed(index, |node, now| node.handle_durable(number, now))?;
        self.acknowledge(index, number)?;
        let host = &mut self.hosts[usize::from(index)];
        if host.driver.record_bytes > self.plan.record_bytes_max && !host.driver.is_saving {
            host.driver.is_saving = true;
            let wait_us = 4 * self.plan.disk_us_max + self.hosts[usize::from(index)].slow_us;
            self.queue.push(self.now_us + wait_us, Event::SaveSnapshot { host: index, life });
        }
        Ok(())
    }

    /// Saves what is durable of the durable replica, in place of its records.
    pub(super) fn save_snapshot(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        if self.unless_paused(index, Event::SaveSnapshot { host: index, life }).is_none() {
            return Ok(());
        }
        let subject = self.next_disk_step(index);
        let fault = self.disk_fault(index, subject, SNAPSHOT_FAULTS);
        let is_copied = self.choices.natural(subject).chance(300_000);
        let host = &mut self.hosts[usize::from(index)];
        let (Some(storage), Some(node)) = (host.storage.as_mut(), &host.node) else {
            return Ok(());
        };
        let Some(replica) = node.replica(Space::Durable) else { return Ok(()) };
        if let Some(fault) = fault {
            set_fault(storage.disk_mut(), fault);
        }
        let (meta, bytes) = snapshot(replica, host.base);
        let saved = storage.save_snapshot(meta, &bytes).and_then(|()| storage.compact(meta.index));
        if let Err(why) = saved {
            return self.storage_failed(index, &why, fault);
        }
        (host.driver.is_saving, host.driver.record_bytes) = (false, 0);
        if is_copied {
            host.older = Some(bytes);
        }
        self.coverage.mark(Mark::SnapshotTaken);
        self.note(Some(index), What::Snapshot { index: meta.index }, meta.index);
        Ok(())
    }

    /// A node's storage failed: its computer stopped at that moment; or the node ends; or it lets its
    /// durable replica go, and ends later.
    fn storage_failed(
        &mut self,
        index: u8,
        why: &StorageError,
        fault: Option<Fault>,
    ) -> Result<(), Violation> {
        let is_full = matches!(why, StorageError::Full(_));
        let image = fault.map_or(0, |fault| fault.set);
        let down_us = fault.map_or(DOWN_MS, |fault| fault.for_ms.max(DOWN_MS)) * 1_000;
        self.hosts[usize::from(index)].is_full |= is_full;
        if fault.is_some_and(|fault| fault.kind == FaultKind::CrashInWrite) {
            self.crash(index, image, Some(down_us));
            return Ok(());
        }
        self.coverage.mark(Mark::StorageStopped);
        self.mark_doubtful(index);
        if image & 1 == 1 || self.is_healed {
            self.crash(index, image, Some(down_us));
            return Ok(());
        }
        self.let_go(index, down_us)
    }

    /// Writes down that what the disk holds is doubtful, if it still takes that.
    fn mark_doubtful(&mut self, index: u8) {
        let options = self.plan.storage_options();
        let host = &mut self.hosts[usize::from(index)];
        let Some(storage) = host.storage.take() else { return };
        let ledger = Ledger { is_doubtful: true, ..host.ledger.clone() };
        let mut disk = storage.into_disk();
        if let Ok((mut storage, _)) = Storage::open(&mut disk, options) {
            // A disk that has failed may well not take this either.
            _ = storage.save_identity(&ledger.encode());
        }
        host.disk = Some(disk);
        host.driver = Driver { has_failed: true, ..Driver::default() };
    }

    /// The volatile replica goes on alone, until the node ends.
    fn let_go(&mut self, index: u8, after_us: u64) -> Result<(), Violation> {
        self.coverage.mark(Mark::ReplicaLetGo);
        let host = &mut self.hosts[usize::from(index)];
        let node = host.node.as_mut().expect("it lives");
        node.stop(Space::Durable);
        for waiting in std::mem::take(&mut host.pending).into_values() {
            self.clients.unknown(waiting.operation);
        }
        let life = self.hosts[usize::from(index)].life;
        let fault = Fault::new(FaultKind::SyncError).lasting(DOWN_MS).at(index);
        let at_us = self.now_us + after_us;
        self.queue.push(at_us, Event::Crash { host: index, life, fault });
        self.note(Some(index), What::Word("lets its durable replica go"), 7);
        self.drain(index)
    }

    fn next_disk_step(&mut self, index: u8) -> Subject {
        let host = &mut self.hosts[usize::from(index)];
        host.disk_steps += 1;
        Subject::File { node: index, n: host.disk_steps }
    }

    /// A fault of a step, which is so many times as likely as usual.
    fn disk_fault(&mut self, index: u8, subject: Subject, times: u32) -> Option<Fault> {
        if self.is_healed {
            return None;
        }
        let rates = &self.rates;
        let fault = self.choices.deviation(subject, |rng| draw_disk(rates, times, rng))?;
        self.coverage.fault(fault.kind);
        self.note(Some(index), What::Fault(fault), fault.set);
        Some(fault)
    }

    /// A draw for what goes its natural way at a disk.
    fn natural_disk_us(&self, subject: Subject) -> u64 {
        let mut rng = self.choices.natural(subject);
        rng.between(self.plan.disk_us_min, self.plan.disk_us_max)
    }

    /// The id of whoever is at a place.
    pub(super) fn member_at(&self, index: u8) -> MemberId {
        self.hosts[usize::from(index)].member()
    }
}

/// Begins the log anew for a replica that has begun, at an index above all that were used.
fn begin(
    storage: &mut Storage<MemDisk>,
    replica: &Replica,
    index: u64,
) -> Result<u64, StorageError> {
    let (meta, bytes) = snapshot(replica, index);
    storage.save_snapshot(meta, &bytes)?;
    let reset = Some((meta.index, meta.term));
    storage.write(&Batch { reset, ..Batch::default() })?;
    storage.sync()?;
    storage.compact(meta.index)?;
    Ok(index)
}

/// What is durable of a replica whose incarnation began at an index.
fn snapshot(replica: &Replica, base: u64) -> (SnapshotMeta, Bytes) {
    let (number, bytes) = replica.snapshot();
    (SnapshotMeta { index: base + number, term: replica.author().incarnation.0 }, bytes)
}

/// From a step to its write.
const WRITE_US: u64 = 30;
/// The shortest time that a failed node is down.
const DOWN_MS: u64 = 300;
/// Until a start is tried again.
const START_AGAIN_US: u64 = 500_000;
