//! What a node is told when it starts: who it is, whom it talks to, how its engine behaves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::about::Traits;
use crate::clock::{Clock, UnixMillis};
use crate::crdt;
use crate::raft::{self, Progress};
use crate::storage::StorageOptions;
use crate::transport::Secret;

/// The options of a node.
#[derive(Clone)]
pub struct NodeOptions {
    /// Its name, for people; a node that takes another one's place bears the same name.
    pub name: String,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What tells the time that passes: the runtime's own clock, or one that is set by hand.
    pub monotonic: Arc<dyn Clock>,
    /// How it reaches others, and they it; none of a node that is alone.
    pub network: Option<NetworkOptions>,
    /// How many nodes found a cluster together.
    pub bootstrap_expect: usize,
    /// Whether it may found a cluster: else it only joins one.
    pub may_found: bool,
    /// Whether it may become a voter.
    pub is_eligible: bool,
    /// Nodes that name the same one are likely to fail together: voters are spread over them.
    pub failure_domain: Option<String>,
    /// Up to how many voters there are: while it leads it promotes learners until then.
    pub voters_max: usize,
    /// Up to how many learners there are that could become voters, likewise.
    pub standbys_max: usize,
    /// How long a member is out of reach before it is removed, likewise.
    pub failure_timeout_ms: u64,
    /// The Raft engine.
    pub raft: raft::Options,
    /// The replicas of the eventually consistent half.
    pub crdt: crdt::Options,
    /// Its storage.
    pub storage: StorageOptions,
    /// Who looks on, if anybody does.
    pub probe: Option<Arc<dyn Probe>>,
}

/// Looks on at a node from within its process, as the simulator does, and stands for what the network and
/// a disk in memory would do. It decides nothing else.
pub trait Probe: Send + Sync {
    /// The machine has moved. Nothing of the step is published or answered yet.
    fn progress(&self, progress: &Progress);

    /// How long what is to be made durable waits before it is written: a disk in memory takes no time
    /// of its own.
    fn disk_wait(&self) -> Duration;

    /// Whether the network carries what this node sends to an address.
    fn carries(&self, _address: &str) -> bool {
        true
    }
}

/// How a node reaches others.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// What every connection proves.
    pub secret: Secret,
    /// Where it listens for members, `host:port`.
    pub listen: String,
    /// Where it listens for clients, `host:port`; none if it serves none.
    pub listen_clients: Option<String>,
    /// Where the others reach it, `host:port`.
    pub advertise: String,
    /// Where others may be found at first.
    pub join: Vec<String>,
}

impl NodeOptions {
    /// A node that is alone: a cluster of one, without a network.
    #[must_use]
    pub fn alone(name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: name.into(),
            clock,
            monotonic: Arc::new(RuntimeClock(Instant::now())),
            network: None,
            bootstrap_expect: 1,
            may_found: true,
            is_eligible: true,
            failure_domain: None,
            voters_max: VOTERS_MAX_DEFAULT,
            standbys_max: STANDBYS_MAX_DEFAULT,
            failure_timeout_ms: FAILURE_TIMEOUT_MS_DEFAULT,
            raft: raft::Options::default(),
            crdt: crdt::Options::default(),
            storage: StorageOptions::default(),
            probe: None,
        }
    }

    /// What the node is.
    pub(super) fn traits(&self) -> Traits {
        Traits {
            is_eligible: self.is_eligible,
            priority: self.raft.priority,
            failure_domain: self.failure_domain.clone(),
        }
    }

    /// The address that the log keeps of it.
    pub(super) fn address(&self) -> String {
        self.network.as_ref().map_or_else(String::new, |network| network.advertise.clone())
    }
}

impl std::fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOptions")
            .field("name", &self.name)
            .field("network", &self.network)
            .field("raft", &self.raft)
            .finish_non_exhaustive()
    }
}

/// The time of the runtime since an instant.
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What is wanted of the membership unless it is said otherwise.
const VOTERS_MAX_DEFAULT: usize = 5;
const STANDBYS_MAX_DEFAULT: usize = 4;
const FAILURE_TIMEOUT_MS_DEFAULT: u64 = 600_000;
