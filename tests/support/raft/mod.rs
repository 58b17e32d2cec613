//! A cluster of Raft nodes in one thread whose every step is asked for: messages wait until they are
//! delivered, steps of persistence until they are persisted, time until it passes.
#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll::clock::UnixMillis;
use plimsoll::raft::{
    ClusterId, Envelope, Identity, Member, Node, Now, Options, Persist, Progress, RaftId, Request,
    RequestId, Response, SavedSnapshot, SnapshotJob, found,
};
use plimsoll::storage::{MemDisk, Recovered, Storage, StorageOptions};

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub const EPOCH: u64 = 0xe;
/// The wall time at which a cluster is founded.
pub const FOUNDED_MS: u64 = 1_000_000_000;

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
    storage: Option<Storage<MemDisk>>,
    /// Whether what is to be persisted is, at once.
    pub persists_at_once: bool,
    pub unsynced: VecDeque<Persist>,
    /// Whether a snapshot that is wanted is saved, at once.
    pub saves_at_once: bool,
    /// The snapshot that waits to be saved.
    unsaved: Option<SnapshotJob>,
    pub wall_offset_ms: i64,
    pub responses: Vec<Response>,
    pub progress: Vec<Progress>,
}

impl Host {
    /// The storage, opened if it was not.
    pub fn storage(&mut self) -> &mut Storage<MemDisk> {
        if self.storage.is_none() {
            self.open();
        }
        self.storage.as_mut().unwrap()
    }

    /// Opens what is durable.
    pub fn open(&mut self) -> Recovered {
        let disk = self.storage.take().map_or_else(MemDisk::new, Storage::into_disk);
        let (storage, recovered) = Storage::open(disk, STORAGE).unwrap();
        self.storage = Some(storage);
        recovered
    }
}

/// Makes a step durable.
pub fn persist_to(storage: &mut Storage<MemDisk>, persist: &Persist) {
    if let Some((meta, bytes)) = &persist.snapshot {
        storage.save_snapshot(*meta, bytes).unwrap();
    }
    storage.write(&persist.batch).unwrap();
    storage.sync().unwrap();
}

fn save(storage: &mut Storage<MemDisk>, node: &mut Node, job: &SnapshotJob, now: Now) {
    let (meta, bytes) = (job.meta(), job.encode());
    storage.save_snapshot(meta, &bytes).unwrap();
    let length = job.measure();
    assert_eq!(length, bytes.len() as u64);
    let bytes = Some(bytes).filter(|_| job.is_wanted(length));
    let saved = SavedSnapshot { meta, length, bytes };
    if let Some(index) = node.handle_snapshot_saved(saved, now) {
        storage.compact(index).unwrap();
    }
}

impl Cluster {
    /// A founded cluster of voters 1 to n.
    pub fn new(voters: u64, options: Options) -> Self {
        let members: Vec<_> = (1..=voters).map(member).collect();
        let mut cluster = Self {
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            now_ms: 0,
            options,
            requests: 0,
        };
        for member in &members {
            let (meta, bytes) = found(CLUSTER, EPOCH, UnixMillis(0), &members);
            cluster.add_host(member.id);
            let host = cluster.hosts.get_mut(&member.id).unwrap();
            host.storage().save_snapshot(meta, &bytes).unwrap();
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
            storage: None,
            persists_at_once: true,
            unsynced: VecDeque::new(),
            saves_at_once: true,
            unsaved: None,
            wall_offset_ms: 0,
            responses: Vec::new(),
            progress: Vec::new(),
        };
        self.hosts.insert(id, host);
    }

    pub fn now(&self, id: RaftId) -> Now {
        let wall = (FOUNDED_MS + self.now_ms).checked_add_signed(self.hosts[&id].wall_offset_ms);
        Now { monotonic_ms: self.now_ms, wall: UnixMillis(wall.unwrap()) }
    }

    /// Starts a host from what is durable.
    pub fn start(&mut self, id: RaftId) {
        let now = self.now(id);
        let options = self.options.clone();
        let host = self.hosts.get_mut(&id).unwrap();
        host.identity.start += 1;
        let seed = id.0 * 1_000 + host.identity.start;
        let recovered = host.open();
        let node = Node::new(&host.identity, options, recovered, seed, now);
        host.node = Some(node.unwrap());
        self.poll(id);
    }

    /// Ends a host; what was not durable is lost.
    pub fn crash(&mut self, id: RaftId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.unsynced.clear();
        host.unsaved = None;
        let mut disk = host.storage.take().unwrap().into_disk();
        disk.lose_unsynced();
        host.storage = Some(Storage::open(disk, STORAGE).unwrap().0);
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
            host.unsaved = node.poll_snapshot().or(host.unsaved.take());
            if let Some(job) = host.unsaved.take_if(|_| host.saves_at_once) {
                save(host.storage.as_mut().unwrap(), node, &job, now);
                continue;
            }
            if !host.persists_at_once || host.unsynced.is_empty() {
                break;
            }
            let persist = host.unsynced.pop_front().unwrap();
            persist_to(host.storage.as_mut().unwrap(), &persist);
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

    /// Makes what waits durable.
    pub fn persist(&mut self, id: RaftId) {
        let now = self.now(id);
        let host = self.hosts.get_mut(&id).unwrap();
        let steps: Vec<_> = host.unsynced.drain(..).collect();
        for step in &steps {
            persist_to(host.storage(), step);
        }
        if let Some(last) = steps.last() {
            self.with(id, |node, now| node.handle_persisted(last.number, now));
        }
        let host = self.hosts.get_mut(&id).unwrap();
        if let (Some(job), Some(node)) = (host.unsaved.take(), host.node.as_mut()) {
            save(host.storage.as_mut().unwrap(), node, &job, now);
            self.poll(id);
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

const STORAGE: StorageOptions = StorageOptions { segment_bytes: 8_192 };
const DELIVERIES_MAX: usize = 100_000;
