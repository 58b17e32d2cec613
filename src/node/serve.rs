//! The node's side of a client's connection: many requests at once, answered as they are done.
//!
//! One task reads the connection and starts a task for each request; all answers go through one
//! queue, and what waits there leaves in one flush.
//!
//! Invariants:
//! 1. Whoever says what can't be read, or nothing for a while, is let go; so is one that does not
//!    read its answers.
//! 2. What a connection holds is bounded: its requests by number and bytes, its answers by bytes,
//!    its watches by number. While a bound is reached, the connection is not read.
//! 3. Every read of the machine is of one that shows all that was acknowledged before; every read of a
//!    replica shows what this node has acknowledged.
//! 4. No command is proposed that could be applied twice and change something twice.
//!
//! Nothing here is tried again: that is the client's matter, on another node if it likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use xxhash_rust::xxh3::Xxh3;

use super::handle::{NodeHandle, Published};
use super::metrics::{Metrics, Side};
use super::protocol::{Applied, Ask, ClientFrame, Look, NodeFrame, Seen, Tell, refusal};
use super::replicas;
use super::watching::watch;
use crate::error::{Error, ErrorKind};
use crate::kv::{Command, KeyRef, QualifiedKey, Record, StateMachine};
use crate::limits::{
    BACKUP_CHUNK_BYTES, CLIENT_ANSWER_BYTES_MAX, CLIENT_BACKUPS_MAX, CLIENT_REQUEST_BYTES_MAX,
    CLIENT_REQUESTS_MAX, CLIENT_TIMEOUT_MS_MAX, CLIENT_WATCHES_MAX,
};
use crate::mutant::mutant;
use crate::raft::{Answer, Failure, FailureReason, Request};
use crate::transport::{FrameReceiver, FrameSender};

/// Serves a client until it leaves or is let go. `backups` are the places of the whole node.
pub(super) async fn serve(
    node: NodeHandle,
    backups: Arc<Semaphore>,
    sender: FrameSender,
    receiver: FrameReceiver,
) {
    let (queue, frames) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(CLIENT_ANSWER_BYTES_MAX));
    let (ends, ended) = mpsc::unbounded_channel();
    let metrics = Arc::clone(&node.metrics);
    let _held = metrics.connections(Side::FromClient).hold();
    let serving = Serving {
        node,
        backups,
        answers: Answers { queue, room },
        requests: Arc::new(Semaphore::new(CLIENT_REQUESTS_MAX)),
        bytes: Arc::new(Semaphore::new(CLIENT_REQUEST_BYTES_MAX)),
        watches: Arc::new(Semaphore::new(CLIENT_WATCHES_MAX)),
        ends,
        ended,
        running: Running::default(),
    };
    // Whichever ends first ends the other, and all that was started with it.
    tokio::select! {
        biased;
        () = serving.run(receiver) => {}
        () = send(sender, frames, &metrics) => {}
    }
}

/// The places for backups that a node has.
pub(super) fn backup_places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CLIENT_BACKUPS_MAX))
}

/// One connection.
struct Serving {
    node: NodeHandle,
    backups: Arc<Semaphore>,
    answers: Answers,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    ends: mpsc::UnboundedSender<End>,
    ended: mpsc::UnboundedReceiver<End>,
    running: Running,
}

/// The tasks of requests by their ids. They end with the connection.
#[derive(Default)]
struct Running(BTreeMap<u64, JoinHandle<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

/// A request's task has ended.
struct End {
    id: u64,
    /// Not if it has panicked or was given up.
    is_done: bool,
}

/// Tells the end of a task, whatever ends it.
struct Ending {
    id: u64,
    is_done: bool,
    ends: mpsc::UnboundedSender<End>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Without a receiver the connection has ended.
        let _ = self.ends.send(End { id: self.id, is_done: self.is_done });
    }
}

impl Serving {
    async fn run(mut self, mut receiver: FrameReceiver) {
        let mut heard = Instant::now();
        loop {
            let received = tokio::select! {
                biased;
                Some(End { id, is_done }) = self.ended.recv() => {
                    // One that has panicked would be waited for for ever.
                    if self.running.0.remove(&id).is_some() && !is_done {
                        return;
                    }
                    continue;
                }
                received = receiver.receive() => received,
                () = sleep_until(heard + SILENCE_MAX) => return,
            };
            let Ok(Some(bytes)) = received else { return };
            let length = bytes.len();
            self.node.metrics.received(Side::FromClient).add(length as u64);
            let Ok(frame) = ClientFrame::decode(bytes) else { return };
            match frame {
                ClientFrame::Alive => {}
                ClientFrame::Cancel(id) => {
                    if let Some(task) = self.running.0.remove(&id) {
                        task.abort();
                    }
                }
                ClientFrame::Request { id, timeout_ms, ask } => {
                    let timeout_ms = timeout_ms.min(CLIENT_TIMEOUT_MS_MAX);
                    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
                    if self.start(id, deadline, ask, length).await.is_none() {
                        return;
                    }
                }
            }
            // Not before it was started: until then the connection was not read.
            heard = Instant::now();
        }
    }

    /// Starts a request once there is room for it. None if it can't be one.
    async fn start(&mut self, id: u64, deadline: Instant, ask: Ask, length: usize) -> Option<()> {
        if self.running.0.contains_key(&id) {
            return None;
        }
        let place = if matches!(ask, Ask::Watch { .. }) {
            let Ok(place) = Arc::clone(&self.watches).try_acquire_owned() else {
                let what = format!("more than {CLIENT_WATCHES_MAX} watches of a client");
                return self.answers.give(id, too_many(&what)).await;
            };
            place
        } else {
            Arc::clone(&self.requests).acquire_owned().await.ok()?
        };
        let weight = length.min(CLIENT_REQUEST_BYTES_MAX) as u32;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(weight).await.ok()?;
        let (node, backups) = (self.node.clone(), Arc::clone(&self.backups));
        let work = Work { node, backups, answers: self.answers.clone(), id, deadline };
        let ending = Ending { id, is_done: false, ends: self.ends.clone() };
        let task = tokio::spawn(async move {
            // Whole, so that it ends with the task.
            let mut ending = ending;
            let last = work.run(ask).await;
            // Without a sender the connection has ended.
            let _ = work.give(last).await;
            drop((place, bytes));
            ending.is_done = true;
        });
        self.running.0.insert(id, task);
        Some(())
    }
}

/// One request at work.
pub(super) struct Work {
    pub node: NodeHandle,
    backups: Arc<Semaphore>,
    answers: Answers,
    id: u64,
    deadline: Instant,
}

impl Work {
    /// Does what is asked for and gives the last answer.
    async fn run(&self, ask: Ask) -> Tell {
        match ask {
            Ask::Write(command) => match refusal(&command) {
                None => self.write(command).await,
                Some(failure) => Tell::Failed(failure),
            },
            Ask::Look(look) => match self.look().await {
                Ok(Published { machine, .. }) => seen(&machine, look),
                Err(failure) => Tell::Failed(failure),
            },
            Ask::Labelled(look) => match self.look().await {
                Ok(Published { machine, applied: index, .. }) => {
                    let (log_time, epoch) = (machine.log_time(), machine.epoch());
                    let seen_at = Seen { index, log_time, epoch };
                    Tell::Labelled { seen: seen_at, tell: Box::new(seen(&machine, look)) }
                }
                Err(failure) => Tell::Failed(failure),
            },
            Ask::Watch { keyspace, prefix, after } => watch(self, &keyspace, &prefix, after).await,
            Ask::Status => match timeout(self.remaining(), self.node.status()).await {
                Ok(Some(status)) => Tell::Status(Box::new(status)),
                Ok(None) => Tell::Failed(Failure::without_effect(FailureReason::Stopped)),
                Err(_) => Tell::Failed(Failure::without_effect(FailureReason::Timeout)),
            },
            Ask::Change(changes) => self.request(Request::Change(changes)).await,
            Ask::Transfer(to) => self.request(Request::Transfer(to)).await,
            Ask::Backup => self.backup().await,
            Ask::Replica(space, ask) => {
                let replicas = self.node.crdt();
                replicas::answer(replicas, space, ask, self.remaining()).await
            }
        }
    }

    async fn write(&self, command: Command) -> Tell {
        let installs = || self.node.published.borrow().installs;
        let before = installs();
        match self.node.request(Request::Write(command), self.remaining()).await {
            Ok(Answer::Applied { index, log_time, reply }) => {
                // What an installed snapshot covers was applied here without being looked at.
                let was_repeated = installs() != before;
                Tell::Applied { applied: Applied { index, log_time, reply }, was_repeated }
            }
            Ok(_) => Tell::Error(Error::internal("a write was answered as something else")),
            Err(failure) => Tell::Failed(failure),
        }
    }

    async fn request(&self, request: Request) -> Tell {
        match self.node.request(request, self.remaining()).await {
            Ok(Answer::Changed { index }) => Tell::Changed(index),
            Ok(Answer::TransferStarted) => Tell::TransferStarted,
            Ok(_) => Tell::Error(Error::internal("a request was answered as something else")),
            Err(failure) => Tell::Failed(failure),
        }
    }

    /// The machine with everything that was acknowledged before.
    pub async fn read(&self) -> Result<StateMachine, Failure> {
        self.node.read(self.remaining()).await
    }

    /// As [`Work::read`], with how far that machine has come.
    async fn look(&self) -> Result<Published, Failure> {
        if mutant!("served read without ReadIndex") {
            return Ok(self.node.published.borrow().clone());
        }
        self.node.read_published(self.remaining()).await
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Sends the whole machine in chunks, and gives what stands behind them.
    async fn backup(&self) -> Tell {
        let Ok(_place) = self.backups.try_acquire() else {
            return too_many(&format!("more than {CLIENT_BACKUPS_MAX} backups of a node"));
        };
        let machine = match self.read().await {
            Ok(machine) => machine,
            Err(failure) => return Tell::Failed(failure),
        };
        let (mut digest, mut bytes) = (Xxh3::new(), 0);
        // Encoding a part takes no longer than other answers do.
        'parts: for part in machine.snapshot_parts() {
            digest.update(&part);
            bytes += part.len() as u64;
            for start in (0..part.len()).step_by(BACKUP_CHUNK_BYTES) {
                let end = part.len().min(start + BACKUP_CHUNK_BYTES);
                if self.give(Tell::Chunk(part.slice(start..end))).await.is_none() {
                    // Nobody is there to be told.
                    break 'parts;
                }
            }
        }
        Tell::BackupEnd { bytes, digest: digest.digest() }
    }

    /// Gives an answer, once there is room for it. None if the connection has ended.
    pub async fn give(&self, tell: Tell) -> Option<()> {
        self.answers.give(self.id, tell).await
    }
}

fn find<'a>(machine: &'a StateMachine, key: &QualifiedKey) -> Option<&'a Arc<Record>> {
    let place = KeyRef { keyspace: key.keyspace(), key: key.key().as_bytes() };
    machine.get(place, machine.log_time())
}

/// What is seen of a machine.
fn seen(machine: &StateMachine, look: Look) -> Tell {
    match look {
        Look::Record(key) => {
            let found = find(machine, &key).map(Arc::clone);
            Tell::Record(found.map(|record| (key, record)))
        }
        Look::Has(key) => Tell::Has(find(machine, &key).is_some()),
        Look::Page(keyspace, query) => {
            Tell::Page(machine.list(keyspace.as_str(), &query, machine.log_time()))
        }
    }
}

fn too_many(what: &str) -> Tell {
    Tell::Error(Error::new(ErrorKind::RateLimited, format!("{what} run already")))
}

/// Where answers wait to be sent.
#[derive(Clone)]
struct Answers {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
}

/// An answer in bytes, and the room that it takes until it was sent.
type Queued = (Bytes, OwnedSemaphorePermit);

impl Answers {
    /// Encoded only once there is room: until then an answer is a clone that costs nothing.
    async fn give(&self, id: u64, tell: Tell) -> Option<()> {
        let weight = tell.weight().min(CLIENT_ANSWER_BYTES_MAX) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await.ok()?;
        let bytes = NodeFrame::Answer { id, tell }.encode();
        self.queue.send((bytes, room)).ok()
    }
}

/// Sends answers until there are no more, the connection fails, or nobody reads them.
async fn send(
    mut sender: FrameSender,
    mut frames: mpsc::UnboundedReceiver<Queued>,
    metrics: &Metrics,
) {
    let sent = metrics.sent(Side::FromClient);
    let mut waiting = Vec::with_capacity(FLUSH_FRAMES);
    loop {
        let received = frames.recv_many(&mut waiting, FLUSH_FRAMES);
        let mut rooms = Vec::new();
        match timeout(NODE_ALIVE_PERIOD, received).await {
            Ok(0) => return,
            Ok(_) => {
                for (bytes, room) in waiting.drain(..) {
                    if sender.push(&bytes).is_err() {
                        return;
                    }
                    sent.add(bytes.len() as u64);
                    rooms.push(room);
                }
            }
            Err(_) => {
                if sender.push(&NodeFrame::Alive.encode()).is_err() {
                    return;
                }
            }
        }
        if flush(&mut sender).await.is_none() {
            return;
        }
    }
}

/// Flushes for as long as the other side reads. None if it does not, or if the connection failed.
pub(super) async fn flush(sender: &mut FrameSender) -> Option<()> {
    loop {
        let before = sender.buffered();
        match timeout(STALL_MAX, sender.flush()).await {
            Ok(flushed) => return flushed.ok(),
            Err(_) if sender.buffered() < before => {}
            Err(_) => return None,
        }
    }
}

/// How many answers leave in one flush.
const FLUSH_FRAMES: usize = 256;
/// For how long the other side may read nothing of what waits for it.
const STALL_MAX: Duration = Duration::from_secs(10);
/// For how long a client may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// After which silence a node says that it is there.
pub(super) const NODE_ALIVE_PERIOD: Duration = Duration::from_secs(2);
