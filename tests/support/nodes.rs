//! Nodes of a cluster in this process, on loopback and temporary folders.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plimsoll::clock::{Clock, UnixMillis};
use plimsoll::entry::{Condition, Key};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, KeyRef, QualifiedKey, StateMachine, Write};
use plimsoll::node::{
    ClusterNode, Drawn, MemberStatus, NetworkOptions, NodeHandle, NodeOptions, NodeStatus, Phase,
};
use plimsoll::raft::{Answer, Failure, Options, Request, Role};
use plimsoll::storage_fs::FsDisk;
use plimsoll::transport::Secret;
use plimsoll::value::{Encoded, Value};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The wall clock of this computer, moved.
pub struct Wall(pub i64);

impl Clock for Wall {
    fn now(&self) -> UnixMillis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let millis = u64::try_from(since.as_millis()).unwrap();
        UnixMillis(millis.saturating_add_signed(self.0))
    }
}

/// A cluster: names, addresses and folders; and the nodes that run.
pub struct Nodes {
    pub folder: tempfile::TempDir,
    pub addresses: Vec<String>,
    pub secret: Secret,
    pub expect: usize,
    pub nodes: Vec<Option<ClusterNode>>,
}

impl Nodes {
    /// So many places, of which `expect` found a cluster.
    pub fn places(count: usize, expect: usize) -> Self {
        let addresses = (0..count).map(|_| free_address()).collect();
        Self {
            folder: tempfile::tempdir().unwrap(),
            addresses,
            secret: Secret::from_bytes([7; 32]),
            expect,
            nodes: (0..count).map(|_| None).collect(),
        }
    }

    /// A cluster of voters that runs.
    pub async fn founded(count: usize) -> Self {
        let mut nodes = Self::places(count, count);
        for place in 0..count {
            nodes.start(place).await;
        }
        nodes.leader().await;
        nodes
    }

    pub fn options(&self, place: usize) -> NodeOptions {
        let raft = Options { tick_ms: 20, ..Options::default() };
        let listen = self.addresses[place].clone();
        let network = NetworkOptions {
            secret: self.secret.clone(),
            advertise: listen.clone(),
            listen,
            listen_clients: None,
            join: self.addresses.clone(),
        };
        NodeOptions {
            network: Some(network),
            bootstrap_expect: self.expect,
            may_found: place < self.expect,
            raft,
            ..NodeOptions::alone(format!("n{place}"), Arc::new(Wall(0)))
        }
    }

    pub fn data_dir(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("n{place}"))
    }

    pub async fn start(&mut self, place: usize) {
        let options = self.options(place);
        self.start_with(place, options).await;
    }

    pub async fn start_with(&mut self, place: usize, options: NodeOptions) {
        self.nodes[place] = Some(open(&self.data_dir(place), options).await);
    }

    pub async fn stop(&mut self, place: usize) {
        self.nodes[place].take().expect("it runs").close().await;
    }

    pub fn handle(&self, place: usize) -> &NodeHandle {
        self.nodes[place].as_ref().expect("it runs").handle()
    }

    pub async fn status(&self, place: usize) -> Option<MemberStatus> {
        member_status(self.nodes[place].as_ref()?.handle()).await
    }

    /// The place of a leader that most members follow, once there is one.
    pub async fn leader(&self) -> usize {
        let leads = async || {
            for place in 0..self.nodes.len() {
                let Some(status) = self.status(place).await else { continue };
                if status.raft.role == Role::Leader
                    && self.handle(place).read(Duration::from_millis(500)).await.is_ok()
                {
                    return Some(place);
                }
            }
            None
        };
        eventually("there is a leader", leads).await
    }
}

pub async fn member_status(handle: &NodeHandle) -> Option<MemberStatus> {
    match handle.status().await? {
        NodeStatus { phase: Phase::Member(status), .. } => Some(*status),
        NodeStatus { phase: Phase::Founding(_), .. } => None,
    }
}

pub async fn open(folder: &Path, options: NodeOptions) -> ClusterNode {
    let disk = FsDisk::open(folder).unwrap();
    ClusterNode::open(disk, options, Drawn::from_system()).await.unwrap()
}

/// Waits until something is so.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An address of this computer that nobody has, and nobody is given by chance: its port lies below
/// those that the system gives to connections, and differs between processes and from call to call.
pub fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", 10_000 + place % 20_000);
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

pub fn put(key: &str, value: &str) -> Request {
    let key = QualifiedKey::new(&Keyspace::new("app").unwrap(), &Key::new(key).unwrap());
    let value = Encoded::new(&Value::from(value)).unwrap();
    Request::Write(Command::new(Action::Write {
        write: Write::Put { key, value, ttl: None, condition: Condition::None },
        make_room: false,
    }))
}

pub async fn write(handle: &NodeHandle, key: &str, value: &str) -> Result<Answer, Failure> {
    handle.request(put(key, value), PATIENCE).await
}

pub fn value_of(machine: &StateMachine, key: &str) -> Option<Value> {
    let key = KeyRef { keyspace: "app", key: key.as_bytes() };
    machine.get(key, UnixMillis(0)).map(|record| record.value.decode())
}
