//! The node: what drives the Raft engine on sockets, files and the clocks of a real computer.
//!
//! Everything that decides is in [`raft::Node`](crate::raft::Node); here it gets its inputs and its outputs get to
//! where they belong. The parts, each a task:
//!
//! - `driver` owns the engine: takes what has come as one step, publishes the machine, answers;
//!   `reconcile` is what a leader proposes by itself, `found` the time before there is a cluster;
//! - `disk` owns the storage: writes what waits as one batch, one sync for all of it;
//! - `crdt` is the eventually consistent half of the node, with gossip: a task beside the driver, which
//!   tells it who the members are;
//! - `links` send to members, one task and one bounded queue for each address;
//! - `listen` takes connections of members and of clients, which `serve` answers.
//!
//! Beside them `metrics` counts what they do, and `observe` what becomes of the engine.
//!
//! # How it keeps the engine's contract ([`crate::raft`])
//! 1. The identity is durable, with its start number raised, before the engine is made.
//! 2. The driver empties every queue of the engine after every step.
//! 3. One tick for each period; after a pause of the process one, not as many as were missed.
//! 4. What it gives to transmit goes out at once, while the disk is still writing.
//! 5. The disk's task writes steps in order, several as one batch, and reports what is durable.
//! 6. A failure of the disk ends the node. It is started again by whoever started it.
//! 7. The machine is published before the answers of a step are given, so that a read which was
//!    confirmed finds all that it must see.
//!
//! A node is crash-only: it is closed by stopping, and started by recovering what storage holds.
//!
//! No `#[cfg]` of the simulator here: under it `tokio` is another crate.

mod about;
mod access;
mod backup;
mod client;
mod crdt;
mod disk;
mod driver;
mod found;
mod frames;
mod handle;
mod links;
mod listen;
mod metrics;
mod observe;
mod options;
mod protocol;
mod reconcile;
mod replicas;
mod serve;
mod session;
mod watching;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tracing::info;

use crate::crdt::MemberId;
use crate::error::{Error, ErrorKind, Result};
use crate::kv::StateMachine;
use crate::limits::NODE_INBOX_MAX;
use crate::raft::{ClusterId, Identity, RaftId};
use crate::storage::{DiskErrorKind, Recovered, SharedDisk, Storage, StorageError};
use crate::transport::{Greeting, Role};

use about::About;
pub use access::Access;
pub use backup::{BACKUP_HEAD, read_backup, recover_alone, restore_to};
pub use client::{
    Backup, Client, ClientOptions, ClientProbe, ClientSent, ClientWatch, LatestPlace, Place,
};
use crdt::{Beginning, Listing};
pub use crdt::{CrdtFigures, CrdtHandle, SightFigures, SpaceFigures};
use driver::{Driver, Input};
pub use handle::{Figures, MemberStatus, NodeHandle, NodeStatus, Part, Phase, Published, Standing};
use links::Links;
use listen::Listening;
pub use metrics::{
    Counter, Ended, Gauge, Held, Histogram, Measured, Metrics, Operation, Rejection, Side,
};
use observe::NODE;
pub use options::{NetworkOptions, NodeOptions, Probe};
pub use protocol::{Applied, Seen, Stamped};
pub use replicas::Replicas;
use serve::backup_places;
pub use session::Session;

/// A node of a cluster, at work until it is closed or dropped.
pub struct ClusterNode {
    handle: NodeHandle,
    work: JoinHandle<Result<(), String>>,
    listeners: Vec<JoinHandle<()>>,
    replicas: JoinHandle<()>,
}

/// The disks of a node, one for each engine.
#[derive(Debug)]
pub struct Disks<D> {
    /// What the Raft engine must not forget.
    pub raft: D,
    /// What the replicas must not forget. Without it the node has none: it takes part in gossip only, and
    /// members that have replicas wait for it when they forget deletes.
    pub crdt: Option<D>,
}

/// Random numbers that a start needs: all independent and unpredictable.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// The raft id of an empty directory; not 0.
    pub id: RaftId,
    /// The id of a cluster that this node founds.
    pub cluster: ClusterId,
    /// The epoch of its machine.
    pub epoch: u64,
    /// For election timeouts.
    pub seed: u64,
}

impl Drawn {
    /// Random numbers of the system.
    ///
    /// # Panics
    /// If the system has none.
    #[must_use]
    pub fn from_system() -> Self {
        let draw = || getrandom::u64().expect("the system has random numbers");
        let (id, cluster) = (RaftId(draw().max(1)), ClusterId(draw()));
        Self { id, cluster, epoch: draw(), seed: draw() }
    }
}

impl ClusterNode {
    /// Opens a node without replicas, as [`ClusterNode::open_on`] does.
    ///
    /// # Errors
    /// As [`ClusterNode::open_on`].
    pub async fn open<D: SharedDisk + Send + 'static>(
        disk: D,
        options: NodeOptions,
        drawn: Drawn,
    ) -> Result<Self> {
        Self::open_on(Disks { raft: disk, crdt: None }, options, drawn).await
    }

    /// Opens a node on its disks. It is there at once; requests wait until it belongs to a cluster
    /// that has a leader, or end by their deadline.
    ///
    /// # Errors
    /// `UNAVAILABLE` if another process has a directory, or an address is in use; `INVALID` if a
    /// directory is of another version or holds what is not the node's; `INTERNAL` if it is damaged or
    /// fails.
    pub async fn open_on<D: SharedDisk + Send + 'static>(
        disks: Disks<D>,
        options: NodeOptions,
        drawn: Drawn,
    ) -> Result<Self> {
        let Disks { raft, crdt } = disks;
        let about = About::of(&options)?.encode();
        let (storage, recovered, identity) = open_storage(raft, options.clone(), drawn).await?;
        let me = MemberId(identity.id.0);
        let opened = match crdt {
            Some(disk) => Some(crdt::open_disk(disk, &options, me).await?),
            None => None,
        };
        let (inbox, inputs) = mpsc::channel(NODE_INBOX_MAX);
        let machine = StateMachine::new(0);
        let published = Published { machine, applied: 0, installs: 0, stopped: None };
        let published = watch::Sender::new(published);
        let (crdt, replicate) = crdt::prepare(&options, opened.is_some());
        let handle = NodeHandle {
            inbox,
            crdt,
            published: published.subscribe(),
            monotonic: Arc::clone(&options.monotonic),
            metrics: Arc::default(),
        };
        let cluster = watch::Sender::new(identity.cluster);
        tell_start(&options, &identity);
        let listeners = listen(&options, &identity, &handle, &cluster).await?;
        let links = || {
            let network = options.network.as_ref();
            let network =
                network.map(|network| (network.secret.clone(), greeting(&options, &identity)));
            let (inbox, probe) = (handle.inbox.downgrade(), options.probe.clone());
            Links::new(network, inbox, Arc::clone(&handle.metrics), probe)
        };
        let (listing, listed) = watch::channel(Listing::of(identity.cluster));
        let (sights, sightings) = watch::channel(None);
        let beginning = Beginning {
            me,
            number: identity.start,
            seed: drawn.seed,
            links: links(),
            listing: listed,
            sightings: sights,
            about,
            raft: handle.inbox.downgrade(),
        };
        let driver = Driver {
            links: links(),
            options,
            identity,
            metrics: Arc::clone(&handle.metrics),
            inbox: inputs,
            published,
            cluster,
            waiting: BTreeMap::new(),
            requests: 0,
            seed: drawn.seed,
            sightings,
            listing,
        };
        let replicas = replicate(beginning, opened);
        let work = tokio::spawn(driver.live(storage, recovered, (drawn.cluster, drawn.epoch)));
        Ok(Self { handle, work, listeners, replicas })
    }

    /// The handle through which it is asked.
    #[must_use]
    pub const fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Ends the node, once what it has on its disk's queue is durable.
    pub async fn close(&self) {
        for listener in &self.listeners {
            listener.abort();
        }
        self.handle.crdt.close().await;
        // It may have ended already.
        let _ = self.handle.inbox.send(Input::Stop).await;
        // Its sender lives as long as the driver.
        let mut published = self.handle.published();
        while published.changed().await.is_ok() {}
    }

    /// Waits until the node ends by itself: its disk failed, or it can't go on.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<()> {
        match (&mut self.work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Error::unavailable(format!("the node has stopped: {why}"))),
            Err(error) => Err(Error::internal(format!("the node has stopped: {error}"))),
        }
    }
}

impl std::fmt::Debug for ClusterNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterNode")
    }
}

impl Drop for ClusterNode {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
        // Their disks' tasks finish what they were given.
        self.work.abort();
        self.replicas.abort();
    }
}

fn tell_start(options: &NodeOptions, identity: &Identity) {
    let (node, id, start) = (&options.name, identity.id, identity.start);
    let cluster = identity.cluster.map(|cluster| cluster.to_string());
    let network = options.network.as_ref();
    let members = network.map(|network| network.listen.as_str());
    let clients = network.and_then(|network| network.listen_clients.as_deref());
    info!(target: NODE, node, %id, start, cluster, members, clients, "starts");
}

/// Opens the storage and raises the start number.
async fn open_storage<D: SharedDisk + Send + 'static>(
    disk: D,
    options: NodeOptions,
    drawn: Drawn,
) -> Result<(Storage<D>, Recovered, Identity)> {
    let opening = spawn_blocking(move || {
        let (mut storage, recovered) = Storage::open(disk, options.storage)?;
        let identity = match &recovered.identity {
            None => Ok(Identity::new(drawn.id)),
            Some(bytes) => Identity::decode(bytes.clone()),
        };
        let Ok(mut identity) = identity else {
            return Ok(Err(Error::invalid(
                "the directory's identity can't be read: it is of another version",
            )));
        };
        identity.start += 1;
        storage.save_identity(&identity.encode())?;
        Ok(Ok((storage, recovered, identity)))
    });
    let opened = opening.await.map_err(|error| Error::internal(error.to_string()))?;
    opened.map_err(|error| storage_error(&error))?
}

/// The error for a storage that can't be opened.
#[must_use]
pub fn storage_error(error: &StorageError) -> Error {
    let message = error.to_string();
    match error {
        StorageError::Disk(disk) if disk.kind == DiskErrorKind::Locked => {
            Error::unavailable(message)
        }
        StorageError::Full(_) => Error::unavailable(message),
        StorageError::Version { .. } | StorageError::Foreign { .. } => Error::invalid(message),
        _ => Error::new(ErrorKind::Internal, message),
    }
}

fn greeting(options: &NodeOptions, identity: &Identity) -> Greeting {
    Greeting {
        role: Role::Peer,
        cluster: identity.cluster,
        id: Some(identity.id),
        name: options.name.clone(),
        address: options.address(),
    }
}

/// Binds the node's addresses and takes connections there.
async fn listen(
    options: &NodeOptions,
    identity: &Identity,
    node: &NodeHandle,
    cluster: &watch::Sender<Option<ClusterId>>,
) -> Result<Vec<JoinHandle<()>>> {
    let Some(network) = &options.network else { return Ok(Vec::new()) };
    let mut listeners = Vec::new();
    for address in [Some(&network.listen), network.listen_clients.as_ref()].into_iter().flatten() {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::unavailable(format!("{address} can't be listened on: {error}"))
                .with_detail("address", address.clone())
        })?;
        listeners.push(listener);
    }
    let listening = Listening {
        secret: network.secret.clone(),
        greeting: greeting(options, identity),
        node: node.clone(),
        backups: backup_places(),
        cluster: cluster.subscribe(),
        refused: Arc::default(),
    };
    let run = |listener| tokio::spawn(listening.clone().run(listener));
    Ok(listeners.into_iter().map(run).collect())
}

/// The time that is left until an instant.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
