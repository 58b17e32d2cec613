//! The loop of a member: inputs into [`raft::Node`](crate::raft::Node), outputs to where they belong.
//!
//! One task owns the node. It takes what has come in the meantime as one step (so that commands that
//! come together are one batch on the disk and one round of messages), and then empties all of the
//! node's queues. What is to be made durable goes to the disk's task and what is to be sent to the
//! links, at the same time: the node itself holds back what must wait.
//!
//! Invariants:
//! 1. The machine is published before the answers of the step are given.
//! 2. Every request is answered, at the latest when the loop ends.
//! 3. Nothing here waits for a peer, a client or the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, error, info};

use super::about::Sightings;
use super::crdt::Listing;
use super::disk::{DiskTask, Done, Work};
use super::found::Founded;
use super::handle::{Figures, MemberStatus, NodeStatus, Phase, Published};
use super::links::Links;
use super::metrics::Metrics;
use super::observe::{DISK, NODE, Observer, SNAPSHOT};
use super::options::NodeOptions;
use super::reconcile::{Reconciler, Reply, Step, Wish};
use crate::crdt::{MemberId, MemberList};
use crate::error::Outcome;
use crate::raft::{
    self, Answer, Body, ClusterId, Envelope, Failure, FailureReason, Hello, Identity, Member, Now,
    Progress, RaftId, Request, RequestId,
};
use crate::storage::{Recovered, SharedDisk, Storage};

/// What a node is given.
pub(super) enum Input {
    /// A message of a member.
    Message(Envelope),
    /// What a node tells of itself that belongs to no cluster, or is told by one that does.
    Hello(Hello),
    /// A node asks to take part.
    Wish(Wish),
    /// A leader has no room for this node.
    NoRoom,
    /// A node was heard that says where it is.
    Heard(RaftId, String),
    /// Messages to a member were lost.
    Unreachable(RaftId),
    /// A request of this process or of a client.
    Request { request: Request, deadline_ms: u64, answer: oneshot::Sender<Result<Answer, Failure>> },
    /// Asks for the status.
    Status(oneshot::Sender<Figures>),
    /// The disk of the replicas has failed.
    Failed(String),
    /// Ends the node.
    Stop,
}

/// What a node has in all its phases.
pub(super) struct Driver {
    pub options: NodeOptions,
    pub identity: Identity,
    pub links: Links,
    pub metrics: Arc<Metrics>,
    pub inbox: mpsc::Receiver<Input>,
    pub published: watch::Sender<Published>,
    /// The cluster, once there is one.
    pub cluster: watch::Sender<Option<ClusterId>>,
    pub waiting: BTreeMap<RequestId, oneshot::Sender<Result<Answer, Failure>>>,
    pub requests: u64,
    pub seed: u64,
    /// Whom gossip sees; none while there is no gossip.
    pub sightings: watch::Receiver<Option<Sightings>>,
    /// Who the members are, for the replicas.
    pub listing: watch::Sender<Listing>,
}

/// A member at work.
struct Running {
    driver: Driver,
    node: raft::Node,
    disk: DiskTask,
    reconciler: Reconciler,
    observer: Observer,
    installs: u64,
}

impl Driver {
    pub fn now(&self) -> Now {
        let monotonic_ms = self.options.monotonic.now().0;
        Now { monotonic_ms, wall: self.options.clock.now() }
    }

    pub fn own(&self) -> Member {
        let (id, name) = (self.identity.id, self.options.name.clone());
        Member { id, name, address: self.options.address() }
    }

    /// Founds or joins a cluster if it belongs to none, and runs as a member of it.
    ///
    /// # Errors
    /// Why it can't, or had to stop.
    pub async fn live<D: SharedDisk + Send + 'static>(
        self,
        storage: Storage<D>,
        recovered: Recovered,
        drawn: (ClusterId, u64),
    ) -> Result<(), String> {
        let (published, name) = (self.published.clone(), self.options.name.clone());
        let ended = self.belong_and_run(storage, recovered, drawn).await;
        match &ended {
            Ok(()) => info!(target: NODE, node = name, "has stopped: it was told to"),
            Err(why) => error!(target: NODE, node = name, why, "has stopped"),
        }
        // Also of a node that never came to run.
        let why = ended.as_ref().err().map_or(CLOSED, String::as_str);
        published.send_modify(|published| {
            published.stopped.get_or_insert_with(|| why.to_owned());
        });
        ended
    }

    async fn belong_and_run<D: SharedDisk + Send + 'static>(
        mut self,
        storage: Storage<D>,
        recovered: Recovered,
        drawn: (ClusterId, u64),
    ) -> Result<(), String> {
        if self.identity.cluster.is_some() {
            return self.run(storage, recovered, None, Vec::new()).await;
        }
        let Some(founded) = self.found(storage, drawn).await? else { return Ok(()) };
        let Founded { storage, recovered, via, early } = founded;
        self.cluster.send_replace(self.identity.cluster);
        self.links.set_cluster(self.identity.cluster);
        self.run(storage, recovered, via, early).await
    }

    /// Runs as a member until it is told to stop, or must.
    ///
    /// # Errors
    /// Why the node can't run, or had to stop.
    async fn run<D: SharedDisk + Send + 'static>(
        self,
        storage: Storage<D>,
        recovered: Recovered,
        via: Option<String>,
        early: Vec<Input>,
    ) -> Result<(), String> {
        let raft_options = self.options.raft.clone();
        let (seed, now) = (self.seed, self.now());
        let node = raft::Node::new(&self.identity, raft_options, recovered, seed, now)
            .map_err(|error| error.to_string())?;
        let reconciler = Reconciler::new(&self.options, self.own(), via);
        let observer = Observer::new(&node, self.options.name.clone());
        let metrics = Arc::clone(&self.metrics);
        let disk = DiskTask::spawn(storage, metrics, self.options.probe.clone());
        let mut running = Running { driver: self, node, disk, reconciler, observer, installs: 0 };
        // What was recovered is there before anything is applied on it.
        running.publish(None);
        running.list();
        running.turn(|running| running.step(early));
        let ended = running.work().await;
        running.end().await;
        ended
    }
}

impl Running {
    async fn work(&mut self) -> Result<(), String> {
        let period = std::time::Duration::from_millis(self.driver.options.raft.tick_ms);
        let mut ticks = interval(period);
        // After a pause of the process there is one tick, not one for each that was missed: the time
        // of the others did not pass for it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inputs = Vec::with_capacity(INPUTS_MAX);
        loop {
            tokio::select! {
                biased;
                done = self.disk.done.recv() => self.turn(|running| running.disk_done(done)),
                _ = ticks.tick() => self.turn(Self::tick),
                count = self.driver.inbox.recv_many(&mut inputs, INPUTS_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let is_stop = inputs.iter().any(|input| matches!(input, Input::Stop));
                    self.turn(|running| running.step(inputs.drain(..)));
                    if is_stop {
                        return Ok(());
                    }
                }
            }
            if let Some(why) = self.node.stopped() {
                return Err(why.to_owned());
            }
        }
    }

    /// One step of the engine, with all that comes of it.
    fn turn(&mut self, step: impl FnOnce(&mut Self)) {
        let (since, before) = (Instant::now(), self.node.applied());
        step(self);
        self.drain();
        let metrics = &self.driver.metrics;
        if self.node.applied() != before {
            metrics.apply_times.observe_since(since);
        }
        self.observer.look(&self.node, metrics);
    }

    fn tick(&mut self) {
        let now = self.driver.now();
        self.node.handle_tick(now);
        self.observer.look_around(&self.node, now);
        self.list();
        let steps = {
            let sightings = self.driver.sightings.borrow();
            self.reconciler.tick(&self.node, sightings.as_ref(), now)
        };
        if let Some(Step { changes, why }) = steps.change {
            debug!(target: NODE, node = self.driver.options.name, ?changes, why, "proposes a change of members");
            // Whatever comes of it is seen at the next look.
            let id = self.next_request();
            let deadline_ms = now.monotonic_ms + CHANGE_MS;
            self.node.handle_request(id, Request::Change(changes), deadline_ms, now);
        }
        if let Some((address, wish)) = steps.ask {
            self.driver.links.wish(&address, wish);
        }
    }

    fn disk_done(&mut self, done: Option<Done>) {
        let now = self.driver.now();
        let Some(done) = done else {
            return self.node.handle_storage_error("the disk's task has ended");
        };
        match done {
            Done::Persisted(number) => self.node.handle_persisted(number, now),
            Done::SnapshotSaved(saved) => {
                self.driver.metrics.snapshots_taken.add(1);
                let (node, index, bytes) =
                    (&self.driver.options.name, saved.meta.index, saved.length);
                debug!(target: SNAPSHOT, node, index, bytes, "has saved a snapshot");
                if let Some(index) = self.node.handle_snapshot_saved(saved, now) {
                    self.give(Work::Compact(index));
                }
            }
            Done::Failed(why) => {
                error!(target: DISK, node = self.driver.options.name, why, "the disk has failed");
                self.node.handle_storage_error(&why);
            }
        }
    }

    /// Takes inputs that have come together: messages one by one, requests all at once.
    fn step(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let now = self.driver.now();
        let mut requests = Vec::new();
        for input in inputs {
            match input {
                Input::Message(envelope) => self.node.handle_message(envelope, now),
                Input::Hello(hello) => self.greet(hello, now),
                Input::Wish(wish) => self.take_wish(wish, now),
                Input::NoRoom => self.note_no_room(now),
                Input::Heard(id, address) => {
                    let logged = self.node.members().get(&id).map(|member| member.address.clone());
                    self.driver.links.heard(id, address, logged);
                }
                Input::Unreachable(peer) => self.node.handle_unreachable(peer, now),
                Input::Request { request, deadline_ms, answer } => {
                    let id = self.next_request();
                    self.driver.waiting.insert(id, answer);
                    requests.push((id, request, deadline_ms));
                }
                Input::Status(answer) => {
                    let _ = answer.send(self.figures(now));
                }
                Input::Failed(why) => self.node.handle_storage_error(&why),
                Input::Stop => {}
            }
        }
        self.node.handle_requests(requests, now);
    }

    /// A node asks to take part. One that was removed and does not know is told.
    fn take_wish(&mut self, wish: Wish, now: Now) {
        let (to, address) = (wish.member.id, wish.member.address.clone());
        let Driver { links, identity, .. } = &mut self.driver;
        match self.reconciler.take(wish.clone(), &self.node, now) {
            Some(Reply::Elsewhere(leader)) => links.wish(&leader, wish),
            Some(Reply::NoRoom) => links.no_room(&address),
            Some(Reply::Removed) => {
                let cluster = identity.cluster.expect("a member has a cluster");
                let body = Body::NotMember { index: self.node.applied() };
                let envelope = Envelope { from: identity.id, to, cluster, wall: now.wall, body };
                links.send(Some(&address), envelope);
            }
            None => {}
        }
    }

    fn note_no_room(&mut self, now: Now) {
        if self.reconciler.note_no_room(now) {
            info!(target: NODE, node = self.driver.options.name, "the cluster has no room for it yet: it goes on asking");
        }
    }

    /// A node without a cluster learns that there is one.
    fn greet(&mut self, hello: Hello, now: Now) {
        if hello.cluster.is_none() {
            let (member, cluster) = (self.driver.own(), self.driver.identity.cluster);
            let answer = Hello { member, cluster, pledge: None, wall: now.wall, founds: false };
            self.driver.links.hello(&hello.member.address, answer);
        }
    }

    /// Moves all that the node puts out to where it belongs.
    fn drain(&mut self) {
        while let Some(persist) = self.node.poll_persist() {
            self.give(Work::Persist(persist));
        }
        while let Some(envelope) = self.node.poll_transmit() {
            let member = self.node.members().get(&envelope.to);
            if envelope.is_snapshot() {
                self.driver.metrics.snapshots_sent.add(1);
                let name = member.map_or("?", |member| member.name.as_str());
                let (node, to) = (&self.driver.options.name, envelope.to);
                info!(target: SNAPSHOT, node, %to, name, "a member has received a snapshot");
            }
            self.driver.links.send(member.map(|member| member.address.as_str()), envelope);
        }
        if let Some(job) = self.node.poll_snapshot() {
            self.give(Work::Snapshot(Box::new(job)));
        }
        while let Some(progress) = self.node.poll_progress() {
            match &progress {
                Progress::Applied(_) => self.driver.metrics.applied.add(1),
                Progress::Installed { index } => {
                    self.installs += 1;
                    let node = &self.driver.options.name;
                    info!(target: SNAPSHOT, node, index, "a snapshot has replaced the machine");
                    self.driver.metrics.snapshots_installed.add(1);
                }
            }
            if let Some(probe) = &self.driver.options.probe {
                probe.progress(&progress);
            }
        }
        // Not every entry is a command: what has moved the index moves it here too.
        if self.node.applied() != self.driver.published.borrow().applied {
            self.publish(None);
            if self.node.listed_at() != self.driver.listing.borrow().list.epoch {
                self.list();
            }
        }
        while let Some(response) = self.node.poll_response() {
            if let Some(answer) = self.driver.waiting.remove(&response.request) {
                let _ = answer.send(response.result);
            }
        }
    }

    fn publish(&self, stopped: Option<String>) {
        let (machine, applied) = (self.node.machine().clone(), self.node.applied());
        let published = Published { machine, applied, installs: self.installs, stopped };
        self.driver.published.send_replace(published);
    }

    /// Tells the replicas who the members are. One that was removed may hear of it without the change.
    fn list(&self) {
        let (me, epoch) = (MemberId(self.driver.identity.id.0), self.node.listed_at());
        let known = self.node.members().iter();
        let addresses: BTreeMap<_, _> =
            known.map(|(id, it)| (MemberId(id.0), Arc::from(it.address.as_str()))).collect();
        let mut list = MemberList { epoch, members: addresses.keys().copied().collect() };
        if self.node.is_removed() && list.members.remove(&me) {
            list.epoch += 1;
        }
        let listing = Listing { cluster: self.driver.identity.cluster, list, addresses };
        self.driver.listing.send_if_modified(|told| {
            let is_other = *told != listing;
            *told = listing;
            is_other
        });
    }

    fn figures(&self, now: Now) -> Figures {
        Figures {
            status: self.status(now),
            clock_offsets_ms: self.node.clock_offsets(now),
            is_clock_refused: self.node.is_clock_refused(now),
            log_bytes: self.node.log().bytes(),
        }
    }

    fn status(&self, now: Now) -> NodeStatus {
        let sightings = self.driver.sightings.borrow();
        let (node, sightings) = (&self.node, sightings.as_ref());
        let machine = self.node.machine();
        let status = MemberStatus {
            cluster: self.driver.identity.cluster.expect("a member has a cluster"),
            raft: self.node.status(),
            members: self.node.members().clone(),
            digest: format!("{:032x}", machine.digest().0),
            revision: machine.revision(),
            entries: machine.len(),
            wall_ms: now.wall.0,
            log_time_ms: machine.log_time().0,
            standings: self.reconciler.standings(node, sightings, now),
            waits_for: self.reconciler.waits_for(node, sightings, now),
        };
        NodeStatus {
            name: self.driver.options.name.clone(),
            phase: Phase::Member(Box::new(status)),
            crdt: None,
        }
    }

    /// Without a receiver the disk's task has ended, and says so itself.
    fn give(&self, work: Work) {
        let _ = self.disk.work.send(work);
    }

    const fn next_request(&mut self) -> RequestId {
        self.driver.requests += 1;
        RequestId(self.driver.requests)
    }

    /// Answers all that still waits, and lets the disk finish.
    async fn end(mut self) {
        let why = self.node.stopped().unwrap_or(CLOSED).to_owned();
        self.node.handle_storage_error(&why);
        self.drain();
        self.publish(Some(why));
        for (_, answer) in std::mem::take(&mut self.driver.waiting) {
            let gone = Failure { reason: FailureReason::Stopped, outcome: Outcome::Unknown };
            let _ = answer.send(Err(gone));
        }
        let Self { disk, .. } = self;
        drop(disk.work);
        // A panic there was reported as a failure of the disk.
        let _ = disk.task.await;
    }
}

/// Why a node has stopped that was told to.
const CLOSED: &str = "it was closed";
/// How many inputs are one step.
const INPUTS_MAX: usize = 1_024;
/// For how long a change of the membership is waited for.
const CHANGE_MS: u64 = 5_000;
