//! Hosts: a process, a disk, a clock; and the lives of processes.
//!
//! A process is killed before it is started again, so that all of its sockets are gone; a handle to it
//! is asked for anew each time. What is random in a node comes from the run's seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use madsim::runtime::Handle;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use plimsoll::clock::{Clock, UnixMillis};
use plimsoll::kv::StateMachine;
use plimsoll::node::{ClusterNode, Disks, Drawn, NetworkOptions, NodeHandle, NodeOptions, Probe};
use plimsoll::raft::{ClusterId, Progress, RaftId};
use plimsoll::transport::Secret;
use tokio::sync::oneshot;

use super::disk::HostDisk;
use super::stage::{Shared, Stage, now_us, spawn_at};
use super::wires::{clients_listen_address, ip_of, listen_address, public_address};
use crate::invariants::{NODE_LIVES, does_not_open};
use crate::rng::Rng;
use crate::scenario::Plan;
use crate::world::Workload;

/// A host.
pub(super) struct Host {
    pub place: u8,
    pub process: NodeId,
    pub disk: HostDisk,
    /// What its replicas must not forget: on the same computer, so it comes and goes with the other.
    pub replicas: HostDisk,
    pub state: State,
    /// Asks the node; none while there is none.
    pub handle: Option<NodeHandle>,
    /// The machine as it was published last.
    pub machine: StateMachine,
    pub is_paused: bool,
    pub resumed_us: u64,
    /// Its disk was made to fail: the node has to stop.
    pub has_disk_fault: bool,
    /// How many nodes have lived here.
    pub lives: u64,
    /// How often it has moved to another address.
    pub moves: u16,
    pub part: Part,
    clock: Arc<HostClock>,
    slow_us: Arc<AtomicU64>,
    closing: Option<oneshot::Sender<()>>,
}

/// What part a host has in the cluster, or is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It founds the cluster.
    Founder,
    /// It joined later.
    Joiner,
    /// It is being removed.
    Leaving,
    /// It has none.
    Spare,
}

impl Part {
    /// Whether it is to be a voter.
    pub fn is_wanted(self) -> bool {
        matches!(self, Self::Founder | Self::Joiner)
    }
}

/// How far a life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no process.
    Down,
    /// A node runs, or is about to.
    Up,
    /// The node ended by itself.
    Ended,
    /// The node was closed.
    Closed,
}

impl Host {
    /// A host with an empty disk, and no process yet.
    pub fn new(place: u8, part: Part, offset_ms: i64) -> Self {
        let ip = ip_of(place);
        let process = Handle::current().create_node().name(format!("n{place}")).ip(ip).build();
        Self {
            place,
            process: process.id(),
            disk: HostDisk::default(),
            replicas: HostDisk::default(),
            state: State::Down,
            handle: None,
            machine: StateMachine::new(EPOCH),
            is_paused: false,
            resumed_us: 0,
            has_disk_fault: false,
            lives: 0,
            moves: 0,
            part,
            clock: Arc::new(HostClock { offset_ms: AtomicI64::new(offset_ms) }),
            slow_us: Arc::default(),
            closing: None,
        }
    }

    /// Where members reach it.
    pub fn address(&self) -> String {
        public_address(self.place, self.moves).to_string()
    }

    /// Its name, whichever node has lived here.
    pub fn name(&self) -> String {
        format!("n{}", self.place)
    }

    /// Whether there is a node that works.
    pub fn is_at_work(&self) -> bool {
        self.handle.is_some() && !self.is_paused && self.state == State::Up
    }

    /// Its disks are lost, or were never used.
    pub fn empty(&mut self) {
        (self.disk, self.replicas) = Default::default();
    }

    /// Moves the wall clock.
    pub fn set_clock(&self, offset_ms: i64) {
        self.clock.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Lets every batch wait for so much longer.
    pub fn set_slow(&self, slow_us: u64) {
        self.slow_us.store(slow_us, Ordering::Relaxed);
    }

    /// Asks the node to close.
    pub fn close(&mut self) {
        if let Some(closing) = self.closing.take() {
            // It may have ended in this very moment.
            let _ = closing.send(());
        }
    }

    fn options(&self, plan: &Plan, join: Vec<String>, probe: Arc<Eye>) -> NodeOptions {
        let network = NetworkOptions {
            secret: secret(),
            listen: listen_address(self.place).to_string(),
            listen_clients: Some(clients_listen_address(self.place).to_string()),
            advertise: self.address(),
            join,
        };
        NodeOptions {
            network: Some(network),
            bootstrap_expect: usize::try_from(plan.nodes).expect("few nodes"),
            may_found: self.part == Part::Founder,
            voters_max: usize::try_from(plan.nodes + plan.spares).expect("few nodes"),
            raft: plan.options(),
            storage: plan.storage_options(),
            probe: Some(probe),
            ..NodeOptions::alone(self.name(), self.clock.clone())
        }
    }
}

/// The secret of the cluster.
pub(super) fn secret() -> Secret {
    Secret::from_bytes([7; 32])
}

impl Shared {
    /// Starts a node on a host that has none.
    pub fn start(&self, place: u8) {
        let mut stage = self.lock();
        let Stage { hosts, plan, record, .. } = &mut *stage;
        let is_in = |host: &&Host| host.part.is_wanted();
        let join = hosts.iter().filter(is_in).map(Host::address).collect();
        let host = &mut hosts[usize::from(place)];
        if host.state != State::Down || host.part == Part::Spare {
            return;
        }
        host.lives += 1;
        let mut rng = Rng::of(plan.natural ^ u64::from(place), host.lives);
        let drawn = Drawn {
            id: RaftId(rng.next().max(1)),
            cluster: ClusterId(rng.next()),
            epoch: EPOCH,
            seed: rng.next(),
        };
        let probe = Eye {
            shared: self.clone(),
            place,
            slow_us: Arc::clone(&host.slow_us),
            usual_us: (plan.disk_us_min, plan.disk_us_max),
            seed: rng.next(),
            batches: AtomicU64::new(0),
        };
        let options = host.options(plan, join, Arc::new(probe));
        let (closing, closed) = oneshot::channel();
        host.closing = Some(closing);
        host.state = State::Up;
        record.note(Some(place), format_args!("starts, life {}", host.lives));
        let disks = Disks { raft: host.disk.clone(), crdt: Some(host.replicas.clone()) };
        Handle::current().restart(host.process);
        spawn_at(host.process, self.clone().live(place, disks, options, drawn, closed));
    }

    /// The life of a process.
    async fn live(
        self,
        place: u8,
        disks: Disks<HostDisk>,
        options: NodeOptions,
        drawn: Drawn,
        closed: oneshot::Receiver<()>,
    ) {
        let mut node = match ClusterNode::open_on(disks, options, drawn).await {
            Ok(node) => node,
            Err(why) => {
                let mut stage = self.lock();
                if !stage.hosts[usize::from(place)].has_disk_fault {
                    stage.fail(does_not_open(&format!("node {place}: {why}")));
                }
                return stage.ended(place, State::Ended, &why.to_string());
            }
        };
        self.lock().hosts[usize::from(place)].handle = Some(node.handle().clone());
        let ended = tokio::select! {
            biased;
            ended = node.ended() => Some(ended),
            _ = closed => None,
        };
        let Some(ended) = ended else {
            node.close().await;
            return self.lock().ended(place, State::Closed, "it was asked to");
        };
        let why = ended.err().map_or_else(|| "nobody knows why".to_owned(), |why| why.to_string());
        let mut stage = self.lock();
        if !stage.hosts[usize::from(place)].has_disk_fault {
            stage.fail(NODE_LIVES.broken(format!("node {place}: {why}")));
        }
        stage.ended(place, State::Ended, &why);
    }

    /// Ends a process, and the power of its host. The image decides what survives of what was not
    /// synced; without one, nothing does.
    pub fn kill(&self, place: u8, image: Option<u64>) {
        {
            let mut stage = self.lock();
            let host = &mut stage.hosts[usize::from(place)];
            Handle::current().kill(host.process);
            match image {
                Some(image) => [&host.disk, &host.replicas].map(|disk| disk.crash(image)),
                None => [&host.disk, &host.replicas].map(HostDisk::lose_unsynced),
            };
            host.state = State::Down;
            host.handle = None;
            host.machine = StateMachine::new(EPOCH);
            host.is_paused = false;
            host.has_disk_fault = false;
            host.closing = None;
            stage.forget_asked(place);
            stage.record.note(Some(place), format_args!("is down"));
        }
        self.tell(|clients, context| clients.end_node(place, context));
    }
}

impl Stage {
    fn ended(&mut self, place: u8, state: State, why: &str) {
        self.hosts[usize::from(place)].state = state;
        self.record.note(Some(place), format_args!("has ended ({state:?}): {why}"));
    }

    /// Stops a process for a while.
    pub fn pause(&mut self, place: u8) {
        let host = &mut self.hosts[usize::from(place)];
        host.is_paused = true;
        Handle::current().pause(host.process);
    }

    /// Lets it go on.
    pub fn resume(&mut self, place: u8) {
        let host = &mut self.hosts[usize::from(place)];
        if host.is_paused {
            host.is_paused = false;
            host.resumed_us = now_us();
            Handle::current().resume(host.process);
            self.record.note(Some(place), format_args!("goes on"));
        }
    }
}

/// Looks on at a node, and slows its disk down.
struct Eye {
    shared: Shared,
    place: u8,
    slow_us: Arc<AtomicU64>,
    usual_us: (u64, u64),
    seed: u64,
    batches: AtomicU64,
}

impl Probe for Eye {
    fn progress(&self, progress: &Progress) {
        self.shared.progress(self.place, progress);
    }

    fn disk_wait(&self) -> Duration {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        let usual_us = Rng::of(self.seed, batch).between(self.usual_us.0, self.usual_us.1);
        Duration::from_micros(usual_us + self.slow_us.load(Ordering::Relaxed))
    }
}

/// The wall clock of a host: simulated time, and an offset.
struct HostClock {
    offset_ms: AtomicI64,
}

impl Clock for HostClock {
    fn now(&self) -> UnixMillis {
        let now = TimeHandle::current().now_time();
        let since = now.duration_since(std::time::UNIX_EPOCH).expect("it is later");
        let millis = u64::try_from(since.as_millis()).expect("it is not so late");
        UnixMillis(millis.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed)))
    }
}

/// The epoch of the cluster's machine, whoever founds it.
pub(super) const EPOCH: u64 = 0x006d_6164_7369_6d31;
