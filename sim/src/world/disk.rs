//! The steps of a disk: write, sync, save a snapshot, each an event of its own.
//!
//! While a batch is between its write and its sync, the steps that come wait, and make the next batch
//! together: group commit, as in production. A step may fail, find the disk full, or be the last thing
//! that its computer did.

use std::collections::VecDeque;

use plimsoll::raft::{Persist, SavedSnapshot, SnapshotJob};
use plimsoll::storage::{Disk, MemDisk, StorageError, Unsynced as Fate};

use super::drive::STORAGE_FAILED;
use super::node::Unsynced;
use super::{Event, World};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::faults::{Fault, FaultKind};
use crate::invariants::Violation;
use crate::rng::Rng;
use crate::trace::What;

impl World {
    /// Schedules the next write, if there is something to write and the disk is free.
    pub(super) fn schedule_disk(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index)];
        if host.driver.is_busy || host.driver.waiting.is_empty() {
            return;
        }
        host.driver.is_busy = true;
        let life = host.life;
        let wait_us = WRITE_US + host.slow_us / 4;
        self.queue.push(self.now_us + wait_us, Event::DiskWrite { host: index, life });
    }

    /// Writes what waits, as one batch.
    pub(super) fn disk_write(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        let event = Event::DiskWrite { host: index, life };
        if self.unless_paused(index, event).is_none() {
            return Ok(());
        }
        let subject = self.next_disk_step(index);
        let has_written =
            std::mem::replace(&mut self.hosts[usize::from(index)].driver.has_written, true);
        let fault = self.disk_fault(index, subject, if has_written { 1 } else { FIRST_FAULTS });
        let host = &mut self.hosts[usize::from(index)];
        let Some(persist) = take_group(&mut host.driver.waiting) else {
            host.driver.is_busy = false;
            return Ok(());
        };
        let Persist { number, snapshot, batch } = persist;
        let storage = host.storage.as_mut().expect("a node that runs has a storage");
        if let Some(fault) = fault {
            set_fault(storage.disk_mut(), fault);
        }
        let saved =
            snapshot.as_ref().map_or(Ok(()), |(meta, bytes)| storage.save_snapshot(*meta, bytes));
        if let (Ok(()), Some((meta, _))) = (&saved, &snapshot) {
            host.durable.saved(*meta);
        }
        if let Err(why) = saved.and_then(|()| storage.write(&batch)) {
            return self.storage_failed(index, &why, fault);
        }
        let last = batch.entries.last().map_or(0, |entry| entry.index);
        host.driver.unsynced = Some(Unsynced { number, batch, fault });
        let slow_us = host.slow_us;
        let wait_us = self.natural_disk_us(subject) + slow_us;
        self.queue.push(self.now_us + wait_us, Event::DiskSync { host: index, life });
        self.note(Some(index), What::Write { number, last }, number ^ last << 20);
        Ok(())
    }

    /// Makes what was written durable, and tells the node.
    pub(super) fn disk_sync(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        if self.unless_paused(index, Event::DiskSync { host: index, life }).is_none() {
            return Ok(());
        }
        let host = &mut self.hosts[usize::from(index)];
        let storage = host.storage.as_mut().expect("a node that runs has a storage");
        if let Err(why) = storage.sync() {
            let fault = host.driver.unsynced.as_ref().and_then(|unsynced| unsynced.fault);
            return self.storage_failed(index, &why, fault);
        }
        if let Err(why) = storage.make_spare() {
            let fault = host.driver.unsynced.as_ref().and_then(|unsynced| unsynced.fault);
            return self.storage_failed(index, &why, fault);
        }
        host.driver.is_busy = false;
        let Some(Unsynced { number, batch, .. }) = host.driver.unsynced.take() else {
            return Ok(());
        };
        host.durable.synced(&batch);
        while let Some((_, entries)) = host.driver.entries.pop_front_if(|(n, _)| *n <= number) {
            self.checker.raft.check_entries(&entries)?;
        }
        self.note(Some(index), What::Sync { number }, number);
        self.feed(index, |node, now| node.handle_persisted(number, now))
    }

    /// A node asks for a snapshot: it is encoded and saved after a while.
    pub(super) fn take_snapshot_job(&mut self, index: u8, job: SnapshotJob) {
        let host = &mut self.hosts[usize::from(index)];
        host.driver.snapshot = Some(job);
        let (life, slow_us) = (host.life, host.slow_us);
        let subject = self.next_disk_step(index);
        let wait_us = 4 * self.natural_disk_us(subject) + slow_us;
        self.queue.push(self.now_us + wait_us, Event::SaveSnapshot { host: index, life });
    }

    pub(super) fn save_snapshot(&mut self, index: u8) -> Result<(), Violation> {
        let life = self.hosts[usize::from(index)].life;
        if self.unless_paused(index, Event::SaveSnapshot { host: index, life }).is_none() {
            return Ok(());
        }
        let subject = self.next_disk_step(index);
        let fault = self.disk_fault(index, subject, SNAPSHOT_FAULTS);
        let host = &mut self.hosts[usize::from(index)];
        let Some(job) = host.driver.snapshot.take() else { return Ok(()) };
        let storage = host.storage.as_mut().expect("a node that runs has a storage");
        if let Some(fault) = fault {
            set_fault(storage.disk_mut(), fault);
        }
        let (meta, bytes) = (job.meta(), job.encode());
        let length = bytes.len() as u64;
        if let Err(why) = storage.save_snapshot(meta, &bytes) {
            return self.storage_failed(index, &why, fault);
        }
        host.durable.saved(meta);
        self.coverage.mark(Mark::SnapshotTaken);
        self.note(Some(index), What::Snapshot { index: meta.index }, meta.index);
        let now = self.hosts[usize::from(index)].now(self.now_us);
        let host = &mut self.hosts[usize::from(index)];
        let node = host.node.as_mut().expect("it lives");
        let bytes = Some(bytes).filter(|_| job.is_wanted(length));
        let saved = SavedSnapshot { meta, length, bytes };
        if let Some(covered) = node.handle_snapshot_saved(saved, now) {
            let storage = host.storage.as_mut().expect("a node that runs has a storage");
            if let Err(why) = storage.compact(covered) {
                return self.storage_failed(index, &why, fault);
            }
        }
        self.drain(index)
    }

    /// A node's storage failed: either its computer stopped at that moment, or the node has to stop.
    fn storage_failed(
        &mut self,
        index: u8,
        why: &StorageError,
        fault: Option<Fault>,
    ) -> Result<(), Violation> {
        let is_power_failure = fault.is_some_and(|fault| fault.kind == FaultKind::CrashInWrite);
        let image = fault.map_or(0, |fault| fault.set);
        if !is_power_failure {
            let node = self.hosts[usize::from(index)].node.as_mut().expect("it lives");
            node.handle_storage_error(STORAGE_FAILED);
            self.coverage.mark(Mark::StorageStopped);
            self.drain(index)?;
        }
        let is_full = matches!(why, StorageError::Full(_));
        let down_ms = fault.map_or(DOWN_MS, |fault| fault.for_ms.max(DOWN_MS));
        self.hosts[usize::from(index)].is_full |= is_full;
        self.crash(index, image, Some(down_ms * 1_000))
    }

    pub(super) fn next_disk_step(&mut self, index: u8) -> Subject {
        let host = &mut self.hosts[usize::from(index)];
        host.disk_steps += 1;
        Subject::File { node: index, n: host.disk_steps }
    }

    /// A fault of a step, which is so many times as likely as usual.
    pub(super) fn disk_fault(&mut self, index: u8, subject: Subject, times: u32) -> Option<Fault> {
        if self.is_healed {
            return None;
        }
        let rates = &self.rates;
        let fault = self.choices.deviation(subject, |rng| draw(rates, times, rng))?;
        self.coverage.fault(fault.kind);
        self.note(Some(index), What::Fault(fault), fault.set);
        Some(fault)
    }
}

/// The steps at the front that make one batch.
fn take_group(waiting: &mut VecDeque<Persist>) -> Option<Persist> {
    let mut group = waiting.pop_front()?;
    while let Some(next) = waiting.pop_front() {
        if let Some(next) = group.join(next) {
            waiting.push_front(next);
            break;
        }
    }
    Some(group)
}

/// A fault of one step of a disk.
pub(crate) fn draw(rates: &crate::faults::Rates, times: u32, rng: &mut Rng) -> Option<Fault> {
    if rng.chance(rates.of(FaultKind::SyncError) * times.min(SNAPSHOT_FAULTS)) {
        let down_ms = rng.between(300, 3_000);
        return Some(Fault::new(FaultKind::SyncError).lasting(down_ms).on(rng.next()));
    }
    if rng.chance(rates.of(FaultKind::CrashInWrite) * times) {
        let fault = Fault::new(FaultKind::CrashInWrite).lasting(rng.between(300, 3_000));
        let operations = i64::try_from(rng.below(6)).expect("small");
        return Some(fault.on(rng.next()).by(operations));
    }
    None
}

pub(crate) fn set_fault(disk: &mut MemDisk, fault: Fault) {
    match fault.kind {
        FaultKind::SyncError => disk.fail_next_sync(),
        FaultKind::CrashInWrite => {
            let operations = disk.operations() + fault.amount.unsigned_abs();
            disk.stop_after(operations);
        }
        _ => {}
    }
}

/// Lets the power of a disk fail. The image decides what survives of what was not synced: nothing,
/// everything, or each sector and name by chance.
pub(crate) fn crash_image(disk: &mut MemDisk, image: u64) {
    let mut rng = Rng::new(image);
    let survive_per_million = rng.pick(&[0, 1_000_000, 500_000, 900_000]);
    disk.crash(|_: Fate<'_>| rng.chance(survive_per_million));
}

/// The files of a log, for faults that damage one.
pub(super) fn log_files(disk: &MemDisk) -> Vec<String> {
    let names = disk.names().unwrap_or_default();
    names.into_iter().filter(|name| name.starts_with("log-")).collect()
}

/// The first write of a life shows what its start has left undone.
const FIRST_FAULTS: u32 = 100;
/// Saving a snapshot is rare, and has many steps of its own.
pub(crate) const SNAPSHOT_FAULTS: u32 = 20;
/// From a step to its write.
const WRITE_US: u64 = 30;
/// The shortest time that a failed node is down.
const DOWN_MS: u64 = 300;
