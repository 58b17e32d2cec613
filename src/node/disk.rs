//! The disk of a node: one task that owns its storage and does what it is given in order, off the
//! runtime's threads.
//!
//! Group commit: the steps that come while a batch is being written and synced make the next batch
//! together. A snapshot is encoded and saved beside that, on another thread and in parts: it is a clone
//! of the state, and no step waits for it.
//!
//! Invariants: after a failure nothing more is done; the node is told once and stops. The task ends only
//! when nobody writes to the folder any more.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::metrics::Metrics;
use super::options::Probe;
use crate::raft::{Persist, SavedSnapshot, SnapshotJob};
use crate::storage::{Disk, SharedDisk, SnapshotSaver, Storage, StorageError};

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
    SnapshotSaved(SavedSnapshot),
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
    pub fn spawn<D: SharedDisk + Send + 'static>(
        storage: Storage<D>,
        metrics: Arc<Metrics>,
        probe: Option<Arc<dyn Probe>>,
    ) -> Self {
        let (work, works) = mpsc::unbounded_channel();
        let (dones, done) = mpsc::unbounded_channel();
        let (made, makes) = mpsc::unbounded_channel();
        let beside = Beside { made, makes, under_way: 0, makes_spare: false };
        let run = Run { storage: Some(storage), dones, metrics, probe, beside };
        let task = tokio::spawn(run.work(works));
        Self { work, done, task }
    }
}

/// The task.
struct Run<D> {
    /// None while a batch is being written.
    storage: Option<Storage<D>>,
    dones: mpsc::UnboundedSender<Done>,
    metrics: Arc<Metrics>,
    probe: Option<Arc<dyn Probe>>,
    beside: Beside,
}

/// What is done beside the log, on other threads.
struct Beside {
    made: mpsc::UnboundedSender<Result<Made, String>>,
    makes: mpsc::UnboundedReceiver<Result<Made, String>>,
    under_way: usize,
    makes_spare: bool,
}

/// What was made beside the log.
enum Made {
    Snapshot(SavedSnapshot),
    Spare,
}

impl<D: SharedDisk + Send + 'static> Run<D> {
    async fn work(mut self, mut works: mpsc::UnboundedReceiver<Work>) {
        let mut waiting = VecDeque::new();
        let mut result = Ok(());
        while result.is_ok() {
            if waiting.is_empty() {
                tokio::select! {
                    biased;
                    Some(made) = self.beside.makes.recv() => {
                        result = self.adopt(made);
                        continue;
                    }
                    work = works.recv() => match work {
                        Some(work) => waiting.push_back(work),
                        None => break,
                    }
                }
            }
            while let Ok(made) = self.beside.makes.try_recv() {
                result = result.and(self.adopt(made));
            }
            if let Some(probe) = &self.probe {
                sleep(probe.disk_wait()).await;
            }
            waiting.extend(std::iter::from_fn(|| works.try_recv().ok()));
            if result.is_ok() {
                result = self.execute(take_group(&mut waiting)).await;
            }
        }
        if let Err(why) = result {
            self.tell(Done::Failed(why));
        }
        while self.beside.under_way > 0 {
            // Nobody asks any more what comes of it.
            self.beside.makes.recv().await;
            self.beside.under_way -= 1;
        }
    }

    async fn execute(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::Persist(persist) => {
                let number = persist.number;
                let metrics = Arc::clone(&self.metrics);
                self.on_disk(move |storage| write(storage, &persist, &metrics)).await?;
                self.tell(Done::Persisted(number));
                self.make_spare();
            }
            Work::Snapshot(job) => self.save(job),
            Work::Compact(index) => self.on_disk(move |storage| storage.compact(index)).await?,
        }
        Ok(())
    }

    /// Does something with the storage, off the runtime's threads.
    async fn on_disk(
        &mut self,
        work: impl FnOnce(&mut Storage<D>) -> Result<(), StorageError> + Send + 'static,
    ) -> Result<(), String> {
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

    /// Begins to save a snapshot. The node asks for one at a time.
    fn save(&mut self, job: Box<SnapshotJob>) {
        let mut saver = self.storage().snapshot_saver();
        self.make(move || save(&mut saver, &job).map(Made::Snapshot));
    }

    /// Begins to make a spare segment, if the log will need one soon.
    fn make_spare(&mut self) {
        if self.beside.makes_spare {
            return;
        }
        if let Some(maker) = self.storage().spare_maker() {
            self.beside.makes_spare = true;
            self.make(move || maker.make().map(|()| Made::Spare));
        }
    }

    /// Makes something on another thread.
    fn make(&mut self, work: impl FnOnce() -> Result<Made, StorageError> + Send + 'static) {
        let made = self.beside.made.clone();
        self.beside.under_way += 1;
        tokio::spawn(async move {
            let result = spawn_blocking(work).await.map_err(|_| BROKEN_OFF.to_owned());
            // Without a receiver the node is gone.
            let _ = made.send(result.and_then(|result| result.map_err(|error| error.to_string())));
        });
    }

    fn adopt(&mut self, made: Result<Made, String>) -> Result<(), String> {
        self.beside.under_way -= 1;
        match made? {
            Made::Snapshot(saved) => {
                self.storage().adopt_snapshot(saved.meta);
                self.tell(Done::SnapshotSaved(saved));
            }
            Made::Spare => {
                self.beside.makes_spare = false;
                self.storage().adopt_spare();
            }
        }
        Ok(())
    }

    const fn storage(&mut self) -> &mut Storage<D> {
        self.storage.as_mut().expect("it was given back")
    }

    /// Without a receiver the node has ended; what it gave is still done.
    fn tell(&self, done: Done) {
        let _ = self.dones.send(done);
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

/// Writes a step and makes it durable.
fn write<D: Disk>(
    storage: &mut Storage<D>,
    persist: &Persist,
    metrics: &Metrics,
) -> Result<(), StorageError> {
    if let Some((meta, bytes)) = &persist.snapshot {
        storage.save_snapshot(*meta, bytes)?;
    }
    let since = Instant::now();
    storage.write(&persist.batch)?;
    storage.sync()?;
    metrics.durable_times.observe_since(since);
    if !persist.batch.entries.is_empty() {
        metrics.batch_entries.observe(persist.batch.entries.len() as u64);
    }
    Ok(())
}

/// Encodes a snapshot and saves it. Only one that the node wants back is ever whole in memory.
fn save<D: Disk>(
    saver: &mut SnapshotSaver<D>,
    job: &SnapshotJob,
) -> Result<SavedSnapshot, StorageError> {
    let (meta, length) = (job.meta(), job.measure());
    let bytes = job.is_wanted(length).then(|| job.encode());
    match &bytes {
        Some(bytes) => saver.save(meta, length, |sink| sink(bytes))?,
        None => saver.save(meta, length, |sink| job.parts().try_for_each(|part| sink(&part)))?,
    }
    Ok(SavedSnapshot { meta, length, bytes })
}

const BROKEN_OFF: &str = "the disk's work was broken off";
