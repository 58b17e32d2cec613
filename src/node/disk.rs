//! The disk of a node: one task that owns its storage and does what it is given in order, off the
//! runtime's threads.
//!
//! Group commit: the steps that come while a batch is being written and synced make the next batch
//! together. A snapshot is encoded here too: it is a clone of the state, and nobody waits for it.
//!
//! Invariant: after a failure nothing more is done; the node is told once and stops.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::metrics::Metrics;
use super::options::Probe;
use crate::raft::{Persist, SnapshotJob};
use crate::storage::{Disk, SnapshotMeta, Storage, StorageError};

/// What the disk is given to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Write a step and make it durable.
    Persist(Persist),
    /// Encode and save a snapshot.
    Snapshot(Box<SnapshotJob>),
    /// Forget the log up to an index.
    Compact(u64),
}

/// What the disk has done.
#[derive(Debug)]
pub(super) enum Done {
    /// All steps up to this number are durable.
    Persisted(u64),
    /// A snapshot is durable.
    SnapshotSaved(SnapshotMeta, Bytes),
    /// Something failed: nothing more will be done.
    Failed(String),
}

/// The disk's task, and the ends of its queues. Both queues are short by themselves: the node keeps at
/// most [`crate::limits::RAFT_PERSISTS_MAX`] steps and one snapshot outstanding.
pub(super) struct DiskTask {
    pub work: mpsc::UnboundedSender<Work>,
    pub done: mpsc::UnboundedReceiver<Done>,
    /// Ends once `work` is dropped and all of it is done.
    pub task: JoinHandle<()>,
}

impl DiskTask {
    pub fn spawn<D: Disk + Send + 'static>(
        storage: Storage<D>,
        metrics: Arc<Metrics>,
        probe: Option<Arc<dyn Probe>>,
    ) -> Self {
        let (work, works) = mpsc::unbounded_channel();
        let (dones, done) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(storage, works, dones, (metrics, probe)));
        Self { work, done, task }
    }
}

async fn run<D: Disk + Send + 'static>(
    mut storage: Storage<D>,
    mut works: mpsc::UnboundedReceiver<Work>,
    dones: mpsc::UnboundedSender<Done>,
    (metrics, probe): (Arc<Metrics>, Option<Arc<dyn Probe>>),
) {
    let mut waiting = VecDeque::new();
    while let Some(work) = works.recv().await {
        waiting.push_back(work);
        while !waiting.is_empty() {
            if let Some(probe) = &probe {
                sleep(probe.disk_wait()).await;
            }
            waiting.extend(std::iter::from_fn(|| works.try_recv().ok()));
            let group = take_group(&mut waiting);
            let metrics = Arc::clone(&metrics);
            let step = spawn_blocking(move || {
                let result = execute(&mut storage, group, &metrics);
                (storage, result)
            });
            let Ok((returned, result)) = step.await else {
                // The storage is gone with the panic, or the runtime is ending.
                let _ = dones.send(Done::Failed("the disk's work was broken off".to_owned()));
                return;
            };
            storage = returned;
            let (done, has_failed) = match result {
                Ok(done) => (done, false),
                Err(error) => (Some(Done::Failed(error.to_string())), true),
            };
            // Without a receiver the node has ended; what it gave is still done.
            let _ = done.map(|done| dones.send(done));
            if has_failed {
                return;
            }
        }
    }
}

/// What is done as one: the steps that may be one batch, or one other thing.
fn take_group(waiting: &mut VecDeque<Work>) -> Work {
    let first = waiting.pop_front().expect("the caller has looked");
    let Work::Persist(mut group) = first else { return first };
    while let Some(Work::Persist(_)) = waiting.front() {
        let Some(Work::Persist(next)) = waiting.pop_front() else { break };
        if let Some(next) = group.join(next) {
            waiting.push_front(Work::Persist(next));
            break;
        }
    }
    Work::Persist(group)
}

fn execute<D: Disk>(
    storage: &mut Storage<D>,
    work: Work,
    metrics: &Metrics,
) -> Result<Option<Done>, StorageError> {
    match work {
        Work::Persist(Persist { number, snapshot, batch }) => {
            if let Some((meta, bytes)) = &snapshot {
                storage.save_snapshot(*meta, bytes)?;
            }
            let since = Instant::now();
            storage.write(&batch)?;
            storage.sync()?;
            metrics.durable_times.observe_since(since);
            if !batch.entries.is_empty() {
                metrics.batch_entries.observe(batch.entries.len() as u64);
            }
            Ok(Some(Done::Persisted(number)))
        }
        Work::Snapshot(job) => {
            let (meta, bytes) = (job.meta(), job.encode());
            storage.save_snapshot(meta, &bytes)?;
            Ok(Some(Done::SnapshotSaved(meta, bytes)))
        }
        Work::Compact(index) => {
            storage.compact(index)?;
            Ok(None)
        }
    }
}
