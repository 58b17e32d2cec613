//! Three nodes on loopback and in temporary folders, with their lives and deaths; and the recording of
//! what they apply.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::init::write_secret;
use super::{Told, only_one};
use crate::check::history::History;
use crate::error::{Error, ErrorKind, Result};
use crate::gossip::Space;
use crate::node::{
    ClusterNode, Disks, Drawn, MemberStatus, NetworkOptions, NodeHandle, NodeOptions, Phase, Probe,
    storage_error,
};
use crate::raft::{Options, Progress, Role};
use crate::recorder::Recorder;
use crate::storage::StorageError;
use crate::storage_fs::FsDisk;
use crate::store::WallClock;
use crate::transport::Secret;

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// The nodes.
pub(super) struct Cluster {
    folder: PathBuf,
    secret: Secret,
    /// The epoch of its machine, whoever founds it.
    epoch: u64,
    places: Vec<Place>,
    shared: Shared,
}

/// Where a node lives.
struct Place {
    members: String,
    clients: String,
    node: Option<ClusterNode>,
}

/// What the nodes and their clients share: who can be asked, and what is recorded.
#[derive(Clone)]
pub(super) struct Shared {
    handles: Arc<Mutex<Vec<Option<NodeHandle>>>>,
    /// The node that is cut off from all others, if one is.
    cut_off: Arc<Mutex<Option<usize>>>,
    recording: Arc<Mutex<Recording>>,
}

/// What was asked, answered and applied.
pub(super) struct Recording {
    pub recorder: Recorder,
    /// The last index that any node has applied.
    applied: u64,
    /// The calls that were answered.
    pub answered: u64,
}

impl Cluster {
    /// Three places in a folder, and their secret; no node yet.
    pub fn new(folder: PathBuf) -> Result<Self> {
        let file = folder.join(SECRET_FILE);
        write_secret(&file)?;
        let secret = Secret::from_file(&file).map_err(|error| Error::invalid(error.to_string()))?;
        let place = || {
            let (members, clients) = (free_address()?, free_address()?);
            Ok(Place { members, clients, node: None })
        };
        let places = (0..NODES).map(|_| place()).collect::<std::io::Result<_>>();
        let places =
            places.map_err(|error| Error::unavailable(format!("no port is free: {error}")))?;
        let recording = Recording { recorder: Recorder::with_others(), applied: 0, answered: 0 };
        let shared = Shared {
            handles: Arc::new(Mutex::new(vec![None; NODES])),
            cut_off: Arc::default(),
            recording: Arc::new(Mutex::new(recording)),
        };
        Ok(Self { folder, secret, epoch: Drawn::from_system().epoch, places, shared })
    }

    /// The name of a node.
    pub fn name(place: usize) -> String {
        format!("n{}", place + 1)
    }

    /// The file that the secret is in.
    pub fn secret_file(&self) -> PathBuf {
        self.folder.join(SECRET_FILE)
    }

    /// Where a node listens for members, and where for clients.
    pub fn addresses(&self, place: usize) -> (&str, &str) {
        (&self.places[place].members, &self.places[place].clients)
    }

    /// What is shared with clients.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// How many calls were answered so far.
    pub fn calls(&self) -> u64 {
        self.shared.recording().answered
    }

    /// A way to ask a node, if it runs.
    pub fn handle(&self, place: usize) -> Option<NodeHandle> {
        self.shared.handle(place)
    }

    /// Starts a node. What was killed a moment ago may hold its folder and ports still.
    pub async fn start(&mut self, place: usize) -> Told<()> {
        let until = Instant::now() + PATIENCE;
        let node = loop {
            match self.open(place).await {
                Ok(node) => break node,
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(format!("{} does not start: {error}", Self::name(place))),
            }
        };
        self.shared.handles()[place] = Some(node.handle().clone());
        self.places[place].node = Some(node);
        Ok(())
    }

    async fn open(&self, place: usize) -> Result<ClusterNode> {
        let folder = self.folder.join(Self::name(place));
        let disk = |name| {
            let disk = FsDisk::open(&folder.join(name)).map_err(StorageError::Disk);
            disk.map_err(|error| storage_error(&error))
        };
        let disks = Disks { raft: disk("raft")?, crdt: Some(disk("kvcrdt")?) };
        let network = NetworkOptions {
            secret: self.secret.clone(),
            listen: self.places[place].members.clone(),
            listen_clients: Some(self.places[place].clients.clone()),
            advertise: self.places[place].members.clone(),
            join: self.places.iter().map(|place| place.members.clone()).collect(),
        };
        let members = self.places.iter().map(|place| place.members.clone()).collect();
        let probe = Eye { shared: self.shared.clone(), epoch: self.epoch, place, members };
        let options = NodeOptions {
            network: Some(network),
            bootstrap_expect: NODES,
            raft: Options { tick_ms: TICK_MS, ..Options::default() },
            probe: Some(Arc::new(probe)),
            ..NodeOptions::alone(Self::name(place), Arc::new(WallClock::new()))
        };
        let drawn = Drawn { epoch: self.epoch, ..Drawn::from_system() };
        ClusterNode::open_on(disks, options, drawn).await
    }

    /// Ends a node without a word: what it has not written down is lost.
    pub fn kill(&mut self, place: usize) {
        self.shared.handles()[place] = None;
        drop(self.places[place].node.take());
    }

    /// Cuts a node off from all others, or none any more.
    pub fn cut_off(&self, place: Option<usize>) {
        *self.shared.cut_off.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Ends all nodes.
    pub async fn close(&mut self) {
        self.shared.handles().fill(None);
        for place in &mut self.places {
            if let Some(node) = place.node.take() {
                node.close().await;
            }
        }
    }

    /// The place of the leader, once there is one that a majority follows.
    pub async fn leader(&self) -> Told<usize> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for place in 0..NODES {
                let Some(handle) = self.handle(place) else { continue };
                let Some(status) = member_status(&handle).await else { continue };
                if status.raft.role == Role::Leader && handle.read(PAUSE * 10).await.is_ok() {
                    return Ok(place);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("there is no leader".to_owned())
    }

    /// Waits until the replicas of all nodes have met, and serve.
    pub async fn replicas_have_joined(&self) -> Told<()> {
        let until = Instant::now() + PATIENCE;
        for place in 0..NODES {
            let handle = self.handle(place).ok_or("it was started")?;
            while handle.crdt().replica(Space::Volatile).await.is_err() {
                if Instant::now() > until {
                    return Err(format!("the replica of {} does not join", Self::name(place)));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Waits until a node has applied what others had when this was called; answers the index.
    pub async fn catch_up(&self, place: usize) -> Told<u64> {
        let goal = self.shared.recording().applied;
        let handle = self.handle(place).ok_or("it was started")?;
        let mut published = handle.published();
        let reached = published.wait_for(|published| published.applied >= goal);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        match reached {
            Ok(Ok(published)) => Ok(published.applied),
            _ => Err(format!("{} does not catch up", Self::name(place))),
        }
    }

    /// Waits until all nodes hold the same at the same index; answers index and digest.
    pub async fn settle(&self) -> Told<(u64, String)> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let mut seen = Vec::new();
            for place in 0..NODES {
                let Some(handle) = self.handle(place) else { continue };
                let status = member_status(&handle).await;
                seen.extend(status.map(|status| (status.raft.applied, status.digest)));
            }
            if seen.len() == NODES && seen.iter().all(|one| *one == seen[0]) {
                return Ok(seen.swap_remove(0));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("the nodes do not come to hold the same".to_owned())
    }

    /// What was recorded. The nodes are closed, and there is no client any more.
    pub fn into_history(self) -> Told<History> {
        let Self { shared, places, .. } = self;
        drop(places);
        let recording = only_one(shared.recording).ok_or("somebody records still")?;
        Ok(recording.recorder.history)
    }
}

impl Shared {
    /// A way to ask a node, if it runs.
    pub fn handle(&self, place: usize) -> Option<NodeHandle> {
        self.handles()[place].clone()
    }

    /// What is recorded.
    pub fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, Vec<Option<NodeHandle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node tells of itself as a member.
async fn member_status(handle: &NodeHandle) -> Option<MemberStatus> {
    match handle.status().await?.phase {
        Phase::Member(status) => Some(*status),
        Phase::Founding(_) => None,
    }
}

/// Looks on at a node: whoever applies an index first labels its command. And cuts its network.
struct Eye {
    shared: Shared,
    epoch: u64,
    place: usize,
    /// The addresses of all nodes, in the order of their places.
    members: Vec<String>,
}

impl Probe for Eye {
    fn progress(&self, progress: &Progress) {
        let Progress::Applied(applied) = progress else { return };
        let mut recording = self.shared.recording();
        if applied.index > recording.applied {
            recording.applied = applied.index;
            recording.recorder.applied(applied, self.epoch);
        }
    }

    fn disk_wait(&self) -> Duration {
        Duration::ZERO
    }

    fn carries(&self, address: &str) -> bool {
        let cut_off = *self.shared.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        let to = self.members.iter().position(|member| member == address);
        cut_off.is_none_or(|cut_off| (cut_off == self.place) == (Some(cut_off) == to))
    }
}

/// An address of this computer that nobody listens on now.
fn free_address() -> std::io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

const SECRET_FILE: &str = "cluster.secret";
/// Of a demo, whose nodes are close to each other: elections take half a second.
const TICK_MS: u64 = 25;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
