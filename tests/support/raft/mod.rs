//! A cluster of Raft nodes in one thread whose every step is asked for: messages wait until they are
//! delivered, steps of persistence until they are persisted, time until it passes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll::clock::UnixMillis;
use plimsoll::raft::{
    ClusterId, Envelope, Identity, Member, Node, Now, Options, Persist, Progress, RaftId, Request,
    RequestId, Response, found,
};
use plimsoll::storage::{Batch, HardState, Recovered, SnapshotMeta, StoredEntry};

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub const EPOCH: u64 = 0xe;

/// The nodes and what lies between them.
pub struct Cluster {
    pub hosts: BTreeMap<RaftId, Host>,
    /// Messages under way, per directed link, oldest first.
    pub links: BTreeMap<(RaftId, RaftId), VecDeque<Envelope>>,
    /// Links on which messages are lost.
    pub cut: BTreeSet<(RaftId, RaftId)>,
    pub now_ms: u64,
    pub options: Options,
    requests: u64,
}

/// One node and its disk.
pub struct Host {
    pub node: Option<Node>,
    pub identity: Identity,
    pub disk: Durable,
    /// Whether what is to be persisted is, at once.
    pub persists_at_once: bool,
    pub unsynced: VecDeque<Persist>,
    pub wall_offset_ms: i64,
    pub responses: Vec<Response>,
    pub progress: Vec<Progress>,
}

/// What is durable, in the plainest form.
#[derive(Clone, Default)]
pub struct Durable {
    hard_state: HardState,
    snapshot: Option<(SnapshotMeta, bytes::Bytes)>,
    entries: Vec<StoredEntry>,
}

impl Durable {
    fn write(&mut self, persist: &Persist) {
        self.write_parts(persist.snapshot.as_ref(), &persist.batch);
    }

    pub fn write_parts(&mut self, snapshot: Option<&(SnapshotMeta, bytes::Bytes)>, batch: &Batch) {
        if let Some(snapshot) = snapshot {
            self.snapshot = Some(snapshot.clone());
        }
        let Batch { hard_state, reset, entries } = batch;
        if reset.is_some() {
            self.entries.clear();
        }
        if let Some(first) = entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
        }
        self.entries.extend(entries.iter().cloned());
        self.hard_state = hard_state.unwrap_or(self.hard_state);
    }

    pub fn recover(&self) -> Recovered {
        let index = self.snapshot.as_ref().map_or(0, |(meta, _)| meta.index);
        let entries = self.entries.iter().filter(|entry| entry.index > index).cloned().collect();
        Recovered {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries,
            ..Recovered::default()
        }
    }
}

impl Cluster {
    /// A founded cluster of voters 1 to n, at 1,000,000 ms of wall time.
    pub fn new(voters: u64, options: Options) -> Self {
        let members: Vec<_> = (1..=voters).map(member).collect();
        let (meta, bytes) = found(CLUSTER, EPOCH, &members);
        let mut cluster = Self {
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            now_ms: 0,
            options,
            requests: 0,
        };
        for member in members {
            cluster.add_host(member.id);
            let host = cluster.hosts.get_mut(&member.id).unwrap();
            host.disk.snapshot = Some((meta, bytes.clone()));
            cluster.start(member.id);
        }
        cluster
    }

    /// A host with an empty disk, not started.
    pub fn add_host(&mut self, id: RaftId) {
        let identity = Identity { cluster: Some(CLUSTER), ..Identity::new(id) };
        let host = Host {
            node: None,
            identity,
            disk: Durable::default(),
            persists_at_once: true,
            unsynced: VecDeque::new(),
            wall_offset_ms: 0,
            responses: Vec::new(),
            progress: Vec::new(),
        };
        self.hosts.insert(id, host);
    }

    pub fn now(&self, id: RaftId) -> Now {
        let wall = (1_000_000 + self.now_ms).checked_add_signed(self.hosts[&id].wall_offset_ms);
        Now { monotonic_ms: self.now_ms, wall: UnixMillis(wall.unwrap()) }
    }

    /// Starts a host from what is durable.
    pub fn start(&mut self, id: RaftId) {
        let now = self.now(id);
        let options = self.options.clone();
        let host = self.hosts.get_mut(&id).unwrap();
        host.identity.start += 1;
        let seed = id.0 * 1_000 + host.identity.start;
        let node = Node::new(&host.identity, options, host.disk.recover(), seed, now);
        host.node = Some(node.unwrap());
        self.poll(id);
    }

    /// Ends a host; what was not durable is lost.
    pub fn crash(&mut self, id: RaftId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.unsynced.clear();
    }

    /// Feeds a node and takes what it puts out.
    pub fn with(&mut self, id: RaftId, input: impl FnOnce(&mut Node, Now)) {
        let now = self.now(id);
        if let Some(node) = self.hosts.get_mut(&id).unwrap().node.as_mut() {
            input(node, now);
            self.poll(id);
        }
    }

    fn poll(&mut self, id: RaftId) {
        let now = self.now(id);
        let host = self.hosts.get_mut(&id).unwrap();
        let Some(node) = host.node.as_mut() else { return };
        loop {
            host.unsynced.extend(std::iter::from_fn(|| node.poll_persist()));
            if let Some(job) = node.poll_snapshot() {
                let (meta, bytes) = (job.meta(), job.encode());
                host.disk.snapshot = Some((meta, bytes.clone()));
                node.handle_snapshot_saved(meta, bytes, now);
            }
            if !host.persists_at_once || host.unsynced.is_empty() {
                break;
            }
            let persist = host.unsynced.pop_front().unwrap();
            host.disk.write(&persist);
            node.handle_persisted(persist.number, now);
        }
        host.responses.extend(std::iter::from_fn(|| node.poll_response()));
        host.progress.extend(std::iter::from_fn(|| node.poll_progress()));
        for envelope in std::iter::from_fn(|| node.poll_transmit()) {
            let link = (envelope.from, envelope.to);
            if !self.cut.contains(&link) {
                self.links.entry(link).or_default().push_back(envelope);
            }
        }
    }

    /// Makes the oldest steps that wait durable.
    pub fn persist(&mut self, id: RaftId) {
        let host = self.hosts.get_mut(&id).unwrap();
        let steps: Vec<_> = host.unsynced.drain(..).collect();
        for step in &steps {
            host.disk.write(step);
        }
        if let Some(last) = steps.last() {
            self.with(id, |node, now| node.handle_persisted(last.number, now));
        }
    }

    /// Lets ticks pass, delivering everything after each.
    pub fn tick(&mut self, ticks: u64, only: Option<&[RaftId]>) {
        for _ in 0..ticks {
            self.now_ms += self.options.tick_ms;
            let ids: Vec<_> = self.hosts.keys().copied().collect();
            for id in ids {
                if only.is_none_or(|only| only.contains(&id)) {
                    self.with(id, Node::handle_tick);
                }
            }
            self.deliver();
        }
    }

    /// Delivers messages until none is left.
    pub fn deliver(&mut self) {
        for _ in 0..DELIVERIES_MAX {
            let Some((link, envelope)) = self
                .links
                .iter_mut()
                .find_map(|(link, queue)| queue.pop_front().map(|envelope| (*link, envelope)))
            else {
                return;
            };
            if self.hosts.contains_key(&link.1) {
                self.with(link.1, |node, now| node.handle_message(envelope, now));
            }
        }
        panic!("messages without end");
    }

    /// Asks a node; the answer is among its responses.
    pub fn request(&mut self, id: RaftId, request: Request, patience_ms: u64) -> RequestId {
        self.requests += 1;
        let request_id = RequestId(self.requests);
        let deadline_ms = self.now_ms + patience_ms;
        self.with(id, |node, now| node.handle_request(request_id, request, deadline_ms, now));
        request_id
    }

    /// The end of a request, if it has ended.
    pub fn response(&mut self, id: RaftId, request: RequestId) -> Option<Response> {
        let responses = &mut self.hosts.get_mut(&id).unwrap().responses;
        let position = responses.iter().position(|response| response.request == request)?;
        Some(responses.remove(position))
    }

    pub fn node(&self, id: RaftId) -> &Node {
        self.hosts[&id].node.as_ref().unwrap()
    }
}

pub fn member(number: u64) -> Member {
    Member { id: RaftId(number), name: format!("n{number}"), address: String::new() }
}

const DELIVERIES_MAX: usize = 100_000;
