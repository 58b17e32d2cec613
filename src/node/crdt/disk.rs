//! The disk of the replicas: one task that does what it is given in order, off the runtime's threads.
//!
//! Records that come while others are being synced are synced together. Of several ledgers that wait the
//! last one says all. A snapshot is encoded and saved beside that, from a clone of the replica.
//!
//! Invariants: after a failure nothing more is done, but that it is written down if that still goes; the
//! owner is told once. The task ends only when nobody writes to the folder any more.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::ledger::{Found, FoundLog, Ledger, mark_doubtful};
use crate::crdt::Replica;
use crate::limits::CRDT_BATCH_BYTES;
use crate::node::options::{NodeOptions, Probe};
use crate::storage::{
    Batch, SharedDisk, SnapshotMeta, Storage, StorageError, StorageOptions, StoredEntry,
};

/// What the disk is given to do.
pub(super) enum Work {
    /// Replace the ledger.
    Ledger(Ledger),
    /// Save the replica, whose incarnation begins at an index, and begin the log anew there.
    Begin { replica: Box<Replica>, index: u64 },
    /// Append a record.
    Record { index: u64, term: u64, bytes: Bytes },
    /// Save what of the replica is durable, in place of the records of its incarnation, which began at
    /// an index.
    Snapshot { replica: Box<Replica>, base: u64 },
}

/// What the disk has done.
pub(super) enum Done {
    /// This ledger is durable.
    Ledger(Ledger),
    /// The replica may speak. Its snapshot has so many bytes.
    Begun { bytes: u64 },
    /// All records up to an index are durable.
    Recorded(u64),
    /// A snapshot of so many bytes is durable.
    Snapshot { bytes: u64 },
    /// Something failed: nothing more will be done.
    Failed(String),
}

/// The disk's task, and the ends of its queues. Both are short by themselves: its owner keeps few
/// records, one ledger and one snapshot outstanding.
pub(super) struct DiskTask {
    pub work: mpsc::UnboundedSender<Work>,
    pub done: mpsc::UnboundedReceiver<Done>,
    /// Ends once `work` is dropped and all of it is done.
    pub task: JoinHandle<()>,
}

impl DiskTask {
    /// Starts it on what was found. The rest of that is given back.
    pub fn spawn<D: SharedDisk + Send + 'static>(
        found: Found<D>,
        options: &NodeOptions,
    ) -> (Self, Ledger, FoundLog) {
        let Found { storage, ledger, log } = found;
        let (work, works) = mpsc::unbounded_channel();
        let (dones, done) = mpsc::unbounded_channel();
        let run = Run {
            storage: Some(storage),
            options: options.storage,
            ledger: ledger.clone(),
            dones,
            probe: options.probe.clone(),
            saving: None,
        };
        let task = tokio::spawn(run.work(works));
        (Self { work, done, task }, ledger, log)
    }
}

struct Run<D> {
    /// None while something is being written.
    storage: Option<Storage<D>>,
    options: StorageOptions,
    /// The last one that was saved.
    ledger: Ledger,
    dones: mpsc::UnboundedSender<Done>,
    probe: Option<Arc<dyn Probe>>,
    /// The snapshot that is being saved beside the log.
    saving: Option<JoinHandle<Result<(SnapshotMeta, u64), StorageError>>>,
}

impl<D: SharedDisk + Send + 'static> Run<D> {
    async fn work(mut self, mut works: mpsc::UnboundedReceiver<Work>) {
        let mut result = Ok(());
        let mut waiting = VecDeque::new();
        while result.is_ok() {
            if waiting.is_empty() {
                tokio::select! {
                    biased;
                    saved = saved(&mut self.saving) => {
                        result = self.adopt(saved).await;
                        continue;
                    }
                    work = works.recv() => match work {
                        Some(work) => waiting.push_back(work),
                        None => break,
                    }
                }
            }
            if let Some(probe) = &self.probe {
                sleep(probe.disk_wait()).await;
            }
            waiting.extend(std::iter::from_fn(|| works.try_recv().ok()));
            result = self.execute(&mut waiting).await;
        }
        if let Some(saving) = self.saving.take() {
            // Nobody asks any more what comes of it.
            _ = saving.await;
        }
        if let Err(why) = result {
            self.note_failure().await;
            // Without a receiver the node has ended.
            _ = self.dones.send(Done::Failed(why));
        }
    }

    /// Does what waits first, with all that may be done together with it.
    async fn execute(&mut self, waiting: &mut VecDeque<Work>) -> Result<(), String> {
        let Some(first) = waiting.pop_front() else { return Ok(()) };
        let done = match first {
            Work::Ledger(mut ledger) => {
                while let Some(Work::Ledger(_)) = waiting.front() {
                    let Some(Work::Ledger(next)) = waiting.pop_front() else { break };
                    ledger = next;
                }
                let bytes = ledger.encode();
                self.on_disk(move |storage| storage.save_identity(&bytes)).await?;
                self.ledger = ledger.clone();
                Done::Ledger(ledger)
            }
            Work::Begin { replica, index } => {
                let bytes = self.on_disk(move |storage| begin(storage, &replica, index)).await?;
                Done::Begun { bytes }
            }
            Work::Record { index, term, bytes } => {
                let batch = take_batch(stored(index, term, bytes), waiting);
                let last = index + batch.entries.len() as u64 - 1;
                self.on_disk(move |storage| storage.write(&batch).and_then(|()| storage.sync()))
                    .await?;
                Done::Recorded(last)
            }
            Work::Snapshot { replica, base } => {
                let mut saver = self.storage().snapshot_saver();
                self.saving = Some(spawn_blocking(move || {
                    let (meta, bytes) = snapshot(&replica, base);
                    let length = bytes.len() as u64;
                    saver.save(meta, length, |sink| sink(&bytes))?;
                    Ok((meta, length))
                }));
                return Ok(());
            }
        };
        // Without a receiver the node has ended; what it gave is still done.
        _ = self.dones.send(done);
        Ok(())
    }

    async fn adopt(&mut self, saved: Result<(SnapshotMeta, u64), String>) -> Result<(), String> {
        let (meta, bytes) = saved?;
        self.storage().adopt_snapshot(meta);
        self.on_disk(move |storage| storage.compact(meta.index)).await?;
        _ = self.dones.send(Done::Snapshot { bytes });
        Ok(())
    }

    /// Does something with the storage, off the runtime's threads.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Storage<D>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, String> {
        let mut storage = self.storage.take().expect("it was given back");
        let step = spawn_blocking(move || {
            let result = work(&mut storage);
            (storage, result)
        });
        // Else the storage is gone with a panic, or the runtime is ending.
        let (storage, result) = step.await.map_err(|_| BROKEN_OFF)?;
        self.storage = Some(storage);
        result.map_err(|error| error.to_string())
    }

    async fn note_failure(&mut self) {
        let (Some(storage), options) = (self.storage.take(), self.options) else { return };
        let ledger = self.ledger.clone();
        let noting = spawn_blocking(move || mark_doubtful(storage.into_disk(), options, &ledger));
        // A disk that has failed may well not take this either.
        _ = noting.await;
    }

    const fn storage(&mut self) -> &mut Storage<D> {
        self.storage.as_mut().expect("it was given back")
    }
}

/// Waits for the snapshot that is being saved; for ever if there is none.
async fn saved(
    saving: &mut Option<JoinHandle<Result<(SnapshotMeta, u64), StorageError>>>,
) -> Result<(SnapshotMeta, u64), String> {
    let Some(task) = saving else { return std::future::pending().await };
    let result = task.await;
    *saving = None;
    result.map_err(|_| BROKEN_OFF.to_owned())?.map_err(|error| error.to_string())
}

fn begin<D: SharedDisk>(
    storage: &mut Storage<D>,
    replica: &Replica,
    index: u64,
) -> Result<u64, StorageError> {
    let (meta, bytes) = snapshot(replica, index);
    storage.save_snapshot(meta, &bytes)?;
    let reset = Some((meta.index, meta.term));
    storage.write(&Batch { reset, ..Batch::default() })?;
    storage.sync()?;
    storage.compact(meta.index)?;
    Ok(bytes.len() as u64)
}

/// What is durable of a replica whose incarnation began at an index.
fn snapshot(replica: &Replica, base: u64) -> (SnapshotMeta, Bytes) {
    let (number, bytes) = replica.snapshot();
    let term = replica.status().author.incarnation.0;
    (SnapshotMeta { index: base + number, term }, bytes)
}

/// The records that are written and synced together.
fn take_batch(first: StoredEntry, waiting: &mut VecDeque<Work>) -> Batch {
    let mut bytes = first.data.len();
    let mut entries = vec![first];
    while bytes < CRDT_BATCH_BYTES
        && let Some(Work::Record { .. }) = waiting.front()
    {
        let Some(Work::Record { index, term, bytes: data }) = waiting.pop_front() else { break };
        bytes += data.len();
        entries.push(stored(index, term, data));
    }
    Batch { entries, ..Batch::default() }
}

fn stored(index: u64, term: u64, data: Bytes) -> StoredEntry {
    StoredEntry { index, term, kind: 0, context: Bytes::new(), data }
}

const BROKEN_OFF: &str = "the disk's work was broken off";
