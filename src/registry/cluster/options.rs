//! What the section `cluster` says, as plain data with its defaults.
//!
//! Options that exist in a `Config` are checked; those that a program makes are checked when the
//! configuration is built.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::address::HostAddress;

/// The options of a cluster's node. A configuration that has them has the cluster enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The name of the node, for people and for the default of its data folder: a letter or a digit,
    /// followed by those, `.`, `_` or `-`. In a text the host name is the default.
    pub name: String,
    /// Nodes of one failure domain (a rack, a zone) are likely to fail together.
    pub failure_domain: Option<String>,
    /// The file with the secret that all nodes share. A node that listens to others needs it.
    pub secret_file: Option<PathBuf>,
    /// How the nodes find and reach each other.
    pub membership: MembershipOptions,
    /// Where clients are served; default port 7947.
    pub client: ListenOptions,
    /// Where status and metrics are served over HTTP; default port 7948.
    pub http: ListenOptions,
    /// The Raft engine, of `store.kv.raft`.
    pub raft: RaftOptions,
    /// The CRDT engine, of `store.kv.crdt`.
    pub crdt: CrdtOptions,
}

impl ClusterOptions {
    /// A cluster of this node alone, which listens nowhere, and keeps its state in a folder.
    #[must_use]
    pub fn new(name: &str, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            failure_domain: None,
            secret_file: None,
            membership: MembershipOptions::default(),
            client: ListenOptions::new(CLIENT_PORT),
            http: ListenOptions::new(HTTP_PORT),
            raft: RaftOptions::new(data_dir),
            crdt: CrdtOptions::default(),
        }
    }
}

/// How the nodes of a cluster find and reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipOptions {
    /// The address at which other nodes are listened to, which may stand for all of the machine's;
    /// none, the default, for a node that stays alone.
    pub bind_addr: Option<IpAddr>,
    /// The port of that address, from 1; default 7946.
    pub bind_port: u16,
    /// Where others reach this node, if that is not where it listens.
    pub advertise_addr: Option<HostAddress>,
    /// Nodes to ask for the others; not all of them have to be up.
    pub join_addrs: Vec<HostAddress>,
}

impl MembershipOptions {
    /// Where to listen to other nodes; none if the node stays alone.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.bind_addr?, self.bind_port))
    }

    /// Where others reach this node; none if it listens to nobody.
    #[must_use]
    pub fn advertised(&self) -> Option<HostAddress> {
        let bound = self.bind_addr?;
        let own = || HostAddress { host: bound.to_string(), port: self.bind_port };
        Some(self.advertise_addr.clone().unwrap_or_else(own))
    }
}

impl Default for MembershipOptions {
    fn default() -> Self {
        let bind_port = MEMBERSHIP_PORT;
        Self { bind_addr: None, bind_port, advertise_addr: None, join_addrs: Vec::new() }
    }
}

/// Where something is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// The address to listen at; none, the default, for not at all.
    pub bind_addr: Option<IpAddr>,
    /// The port of that address, from 1.
    pub bind_port: u16,
}

impl ListenOptions {
    /// Nowhere yet, but at this port if an address is added.
    #[must_use]
    pub const fn new(bind_port: u16) -> Self {
        Self { bind_addr: None, bind_port }
    }

    /// Where to listen; none for not at all.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.bind_addr?, self.bind_port))
    }
}

/// What a node is to the Raft engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftRole {
    /// It keeps the state, and may vote.
    Server,
    /// It keeps nothing, and asks the servers.
    Client,
}

/// The Raft engine of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftOptions {
    /// The folder of the node's state; in a text `~/.plimsoll/store/<name>` is the default.
    pub data_dir: PathBuf,
    /// Whether the node keeps the state; default [`RaftRole::Server`].
    pub role: RaftRole,
    /// Whether the node may become a voter; default true.
    pub eligible: bool,
    /// The node's rank in elections, and among those that may become voters: the higher, the sooner;
    /// default 100.
    pub priority: u32,
    /// How many nodes found the cluster together; default 1: this one alone, unless it is to join
    /// others. 0 never founds one.
    pub bootstrap_expect: usize,
    /// Most voters; default 5.
    pub max_voters: usize,
    /// Most nodes that keep the state without a vote, to become voters when one is gone; default 4.
    pub max_standbys: usize,
    /// How often a leader is heard; default 200 ms.
    pub heartbeat_timeout: Duration,
    /// How long a leader may be silent before there is an election, at least (twice as long at
    /// most); more than two heartbeats, default 1 s.
    pub election_timeout: Duration,
    /// Applied entries of the log after which there is a snapshot; default 8,192.
    pub snapshot_threshold: u64,
    /// How far clocks that agree may differ; default 10 s.
    pub clock_bound: Duration,
    /// How long a voter may be out of reach before another takes its place; default 10 min.
    pub failure_timeout: Duration,
}

impl RaftOptions {
    /// The defaults, with the state in a folder.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            role: RaftRole::Server,
            eligible: true,
            priority: 100,
            bootstrap_expect: 1,
            max_voters: 5,
            max_standbys: 4,
            heartbeat_timeout: Duration::from_millis(200),
            election_timeout: Duration::from_secs(1),
            snapshot_threshold: 8_192,
            clock_bound: Duration::from_secs(10),
            failure_timeout: Duration::from_mins(10),
        }
    }
}

/// The CRDT engine of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrdtOptions {
    /// How far a clock may be ahead before its writes are refused; default 5 s.
    pub clock_bound: Duration,
    /// Most deleted and expired entries that are remembered; default 1,000,000.
    pub max_tombstones: u64,
    /// How long a member may be absent before it is no longer waited for; none, the default, for
    /// ever.
    pub eviction_horizon: Option<Duration>,
}

impl Default for CrdtOptions {
    fn default() -> Self {
        Self {
            clock_bound: Duration::from_secs(5),
            max_tombstones: 1_000_000,
            eviction_horizon: None,
        }
    }
}

pub(super) const MEMBERSHIP_PORT: u16 = 7946;
pub(super) const CLIENT_PORT: u16 = 7947;
pub(super) const HTTP_PORT: u16 = 7948;
