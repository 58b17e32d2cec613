//! The node of a cluster, or the client of one, from its section of the configuration: opened when it
//! is first needed.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::{ClusterOptions, CrdtOptions, RaftOptions, RaftRole};
use crate::crdt;
use crate::error::{Error, Result};
#[cfg(feature = "http")]
use crate::http::{HttpListener, HttpServer};
use crate::node::{
    Access, Client, ClientOptions, ClusterNode, Disks, Drawn, NetworkOptions, NodeOptions, Session,
    storage_error,
};
use crate::raft;
use crate::storage::StorageError;
use crate::storage_fs::FsDisk;
use crate::store::WallClock;
use crate::transport::Secret;

/// A way to a cluster, and the session under which this process writes: a node that runs here, or a
/// client of nodes elsewhere.
#[derive(Debug)]
pub struct OpenNode {
    /// None of a client.
    node: Option<ClusterNode>,
    /// None if the configuration names no address for it.
    #[cfg(feature = "http")]
    http: Option<HttpServer>,
    session: Arc<Session>,
}

impl OpenNode {
    /// Opens the node of a configuration, and serves what it tells over HTTP.
    ///
    /// # Errors
    /// `UNAVAILABLE` if its folder or an address is in use; `INVALID` for a secret that can't be read,
    /// a folder of another version, or HTTP in a build without it; `INTERNAL` if the folder is damaged.
    pub async fn open(options: &ClusterOptions) -> Result<Self> {
        if options.raft.role == RaftRole::Client {
            let client = Client::new(client_options(options)?);
            let session = Arc::new(Session::new(Access::Client(client)));
            return Ok(Self {
                node: None,
                #[cfg(feature = "http")]
                http: None,
                session,
            });
        }
        refuse_eviction(options)?;
        let system = options.raft.data_dir.join("_sys");
        let (folder, replicas) = (system.join("raft"), system.join("kvcrdt"));
        #[cfg(feature = "http")]
        let listener = match options.http.socket_addr() {
            Some(address) => Some((HttpListener::bind(address).await?, folder.clone())),
            None => None,
        };
        #[cfg(not(feature = "http"))]
        refuse_http(options)?;
        let options = node_options(options)?;
        let opening = tokio::task::spawn_blocking(move || {
            Ok(Disks { raft: FsDisk::open(&folder)?, crdt: Some(FsDisk::open(&replicas)?) })
        });
        let disks = opening.await.expect("opening a folder does not panic");
        let disks = disks.map_err(|error| storage_error(&StorageError::Disk(error)))?;
        let node = ClusterNode::open_on(disks, options, Drawn::from_system()).await?;
        let session = Arc::new(Session::new(Access::Node(node.handle().clone())));
        #[cfg(feature = "http")]
        let http =
            listener.map(|(listener, folder)| listener.serve(node.handle().clone(), Some(folder)));
        Ok(Self {
            node: Some(node),
            #[cfg(feature = "http")]
            http,
            session,
        })
    }

    /// The node that runs here; none of a client.
    #[must_use]
    pub const fn node(&self) -> Option<&ClusterNode> {
        self.node.as_ref()
    }

    /// Ends the node, once what it has acknowledged is durable.
    pub async fn close(&self) {
        #[cfg(feature = "http")]
        if let Some(http) = &self.http {
            http.close().await;
        }
        if let Some(node) = &self.node {
            node.close().await;
        }
    }

    /// The session of this process.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

/// What was asked for is not left out silently.
fn refuse_eviction(options: &ClusterOptions) -> Result<()> {
    match options.crdt.eviction_horizon {
        None => Ok(()),
        Some(_) => Err(Error::invalid(
            "this build waits for absent members for ever, and evicts none: write \
             cluster.crdt.eviction_horizon: 0, and remove a member that will not come back",
        )
        .with_detail("field", "cluster.crdt.eviction_horizon")),
    }
}

/// What was asked for is not left out silently.
#[cfg(not(feature = "http"))]
fn refuse_http(options: &ClusterOptions) -> Result<()> {
    match options.http.socket_addr() {
        None => Ok(()),
        Some(_) => Err(Error::invalid(
            "this build serves nothing over HTTP: build it with the feature http, or remove the section \
             cluster.http",
        )
        .with_detail("field", "cluster.http")),
    }
}

fn secret(options: &ClusterOptions) -> Result<Secret> {
    let in_field = |error: Error| error.with_detail("field", "cluster.secret_file");
    let Some(file) = &options.secret_file else {
        return Err(in_field(Error::invalid("a cluster of several nodes needs its secret")));
    };
    Secret::from_file(file).map_err(|error| in_field(Error::invalid(error.to_string())))
}

fn client_options(options: &ClusterOptions) -> Result<ClientOptions> {
    Ok(ClientOptions {
        addresses: options.membership.join_addrs.iter().map(ToString::to_string).collect(),
        secret: secret(options)?,
        name: options.name.clone(),
    })
}

fn node_options(options: &ClusterOptions) -> Result<NodeOptions> {
    let (membership, raft) = (&options.membership, &options.raft);
    let network = match membership.socket_addr() {
        Some(listen) => {
            let secret = secret(options)?;
            let advertise = membership.advertised().map_or(listen.to_string(), |it| it.to_string());
            Some(NetworkOptions {
                secret,
                listen: listen.to_string(),
                listen_clients: options.client.socket_addr().map(|address| address.to_string()),
                advertise,
                join: membership.join_addrs.iter().map(ToString::to_string).collect(),
            })
        }
        None => None,
    };
    // One alone founds at once; one that is to join others never does.
    let is_joining = raft.bootstrap_expect <= 1 && !membership.join_addrs.is_empty();
    Ok(NodeOptions {
        network,
        bootstrap_expect: raft.bootstrap_expect.max(1),
        may_found: raft.bootstrap_expect > 0 && !is_joining,
        is_eligible: raft.eligible,
        failure_domain: options.failure_domain.clone(),
        voters_max: raft.max_voters,
        standbys_max: raft.max_standbys,
        failure_timeout_ms: milliseconds(raft.failure_timeout),
        raft: engine_options(raft),
        crdt: replica_options(&options.crdt),
        ..NodeOptions::alone(&options.name, Arc::new(WallClock::new()))
    })
}

fn replica_options(options: &CrdtOptions) -> crdt::Options {
    crdt::Options {
        clock_bound_ms: milliseconds(options.clock_bound),
        tombstones_max: usize::try_from(options.max_tombstones).unwrap_or(usize::MAX),
        ..crdt::Options::default()
    }
}

/// Two ticks a heartbeat, so that it is never late by more than half of its period.
fn engine_options(options: &RaftOptions) -> raft::Options {
    let heartbeat_ms = milliseconds(options.heartbeat_timeout).max(2);
    let tick_ms = (heartbeat_ms / 2).min(TICK_MS_MAX);
    let ticks = |ms: u64| usize::try_from(ms.div_ceil(tick_ms)).unwrap_or(usize::MAX);
    raft::Options {
        tick_ms,
        heartbeat_ticks: ticks(heartbeat_ms),
        election_ticks: ticks(milliseconds(options.election_timeout)),
        clock_bound_ms: milliseconds(options.clock_bound),
        snapshot_threshold: options.snapshot_threshold,
        priority: i64::from(options.priority),
        ..raft::Options::default()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The longest tick: deadlines of requests are looked at once in each.
const TICK_MS_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_engine() {
        let options = engine_options(&RaftOptions::new("folder"));
        assert_eq!(options, raft::Options { priority: 100, ..raft::Options::default() });
        assert_eq!(replica_options(&CrdtOptions::default()), crdt::Options::default());
    }

    #[test]
    fn what_is_wanted_of_the_members_reaches_the_node() {
        let mut options = ClusterOptions::new("n1", "folder");
        let alone = node_options(&options).expect("a node alone");
        assert_eq!((alone.voters_max, alone.standbys_max), (5, 4));
        assert_eq!((alone.failure_timeout_ms, alone.is_eligible), (600_000, true));
        options.failure_domain = Some("rack-7".into());
        options.raft.eligible = false;
        options.raft.priority = 7;
        options.raft.max_voters = 3;
        options.raft.max_standbys = 1;
        options.raft.failure_timeout = Duration::from_mins(1);
        let node = node_options(&options).expect("a node alone");
        assert_eq!((node.voters_max, node.standbys_max), (3, 1));
        assert_eq!((node.failure_timeout_ms, node.is_eligible), (60_000, false));
        assert_eq!((node.failure_domain.as_deref(), node.raft.priority), (Some("rack-7"), 7));
    }

    #[test]
    fn short_heartbeats_have_short_ticks() {
        let options = RaftOptions {
            heartbeat_timeout: Duration::from_millis(20),
            election_timeout: Duration::from_millis(150),
            ..RaftOptions::new("folder")
        };
        let options = engine_options(&options);
        let raft::Options { tick_ms, heartbeat_ticks, election_ticks, .. } = options;
        assert_eq!((tick_ms, heartbeat_ticks, election_ticks), (10, 2, 15));
    }
}
