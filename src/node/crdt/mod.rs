//! The eventually consistent half of a node: what drives [`gossip::Node`](crate::gossip::Node).
//!
//! A task of its own, so that merging what another node brings never makes the Raft engine wait, and with
//! connections and a disk of its own. Its parts:
//!
//! - `task` owns the engine: takes what has come as one step, publishes the replicas, answers;
//!   `writes` are those that wait, for the bound of the clock or to be durable;
//! - `keeper` accounts for what is durable, `ledger` is what is so beside the durable replica, `disk`
//!   writes it: several records, one sync;
//! - `inlet` is how messages come in, without a connection ever waiting;
//! - `handle` is what the rest of the program has of it, `figures` what it is told of it, `observe`
//!   what is logged.
//!
//! # How it keeps the engines' contracts ([`crate::gossip`], [`crate::crdt`])
//! 1. The number of a start is that of the Raft engine's identity, which is durable before.
//! 2. The durable replica resumes from its newest snapshot and all records after it, unless the ledger says
//!    that the disk has failed since: then, and where nothing is found, it begins. The other one begins.
//! 3. The bound of the clock is made durable ahead while there are writes. One that comes too early for
//!    it waits until it is.
//! 4. A replica that begins is saved before it is given to the engine. Records are written in order;
//!    writes are answered once theirs is durable, and published.
//! 5. After a failure of the disk nothing more is written but that it is so. The node stops.
//! 6. Lists of members come from the Raft engine: as of what it has applied, with the index of the last
//!    change as their epoch. They are durable before they are used.
//!
//! Gossip runs from the start, before the node belongs to a cluster; replicas run once it is a member.
//!
//! No decisions about members, merging or spreading: those are the engines'.

mod disk;
mod figures;
mod handle;
mod inlet;
mod keeper;
mod ledger;
mod observe;
mod task;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use disk::DiskTask;
pub use figures::{CrdtFigures, SightFigures, SpaceFigures};
pub use handle::CrdtHandle;
use handle::Input;
pub(super) use handle::{Published, unready};
use inlet::inlet;
use keeper::Keeper;
use task::Task;

use super::about::Sightings;
use super::driver;
use super::links::Links;
use super::options::NodeOptions;
use crate::crdt::{MemberId, MemberList};
use crate::error::{Error, Result};
use crate::gossip::{Node, Peer, Space};
use crate::limits::CRDT_INBOX_MAX;
use crate::raft::ClusterId;
use crate::storage::SharedDisk;

/// Who the members are, and where, as the Raft engine knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub cluster: Option<ClusterId>,
    pub list: MemberList,
    pub addresses: BTreeMap<MemberId, Arc<str>>,
}

impl Listing {
    /// What is known of a cluster before the Raft engine runs.
    pub fn of(cluster: Option<ClusterId>) -> Self {
        Self { cluster, ..Self::default() }
    }
}

/// With what the replicas start.
pub(super) struct Beginning {
    pub me: MemberId,
    /// The number of the start.
    pub number: u64,
    pub seed: u64,
    pub links: Links,
    pub listing: watch::Receiver<Listing>,
    /// Where those are that gossip sees.
    pub sightings: watch::Sender<Option<Sightings>>,
    /// What the node tells of itself.
    pub about: Bytes,
    /// The driver of the Raft engine: it stops the node when the disk fails.
    pub raft: mpsc::WeakSender<driver::Input>,
}

/// All that the task has beside the engine and its disk.
struct Parts {
    options: NodeOptions,
    me: MemberId,
    number: u64,
    links: Links,
    calls: mpsc::Receiver<Input>,
    messages: inlet::Outlet,
    listing: watch::Receiver<Listing>,
    sightings: watch::Sender<Option<Sightings>>,
    published: watch::Sender<Published>,
    raft: mpsc::WeakSender<driver::Input>,
}

/// A disk that has been read, and what was found on it.
pub(super) struct Opened(DiskTask, ledger::Ledger, ledger::FoundLog);

/// Reads the disk of the replicas and starts the task that writes to it.
///
/// # Errors
/// If it is another node's, damaged, in use, or fails.
pub(super) async fn open_disk<D: SharedDisk + Send + 'static>(
    disk: D,
    options: &NodeOptions,
    me: MemberId,
) -> Result<Opened> {
    let (storage, bound_ms) = (options.storage, options.crdt.clock_bound_ms);
    let opening = spawn_blocking(move || ledger::open(disk, storage, me, bound_ms));
    let found = opening.await.map_err(|error| Error::internal(error.to_string()))??;
    let (disk, ledger, log) = DiskTask::spawn(found, options);
    Ok(Opened(disk, ledger, log))
}

/// What makes a task of the replicas, and the handle through which they are asked.
pub(super) fn prepare(
    options: &NodeOptions,
    has_disk: bool,
) -> (CrdtHandle, impl FnOnce(Beginning, Option<Opened>) -> JoinHandle<()> + use<>) {
    let (inbox, calls) = mpsc::channel(CRDT_INBOX_MAX);
    let (inlet, messages) = inlet();
    let published = watch::Sender::new(Published::default());
    let handle = CrdtHandle {
        inbox,
        inlet,
        published: published.subscribe(),
        clock: Arc::clone(&options.clock),
        has_disk,
    };
    let options = options.clone();
    let spawn = move |beginning: Beginning, opened: Option<Opened>| {
        let Beginning { me, number, seed, links, listing, sightings, about, raft } = beginning;
        let node = Node::new(Peer::new(me, number, &options.address(), about), seed);
        let keeper = opened.map(|Opened(disk, ledger, log)| Keeper::new(disk, ledger, log));
        let parts = Parts {
            options,
            me,
            number,
            links,
            calls,
            messages,
            listing,
            sightings,
            published,
            raft,
        };
        tokio::spawn(Task::new(parts, node, keeper).run())
    };
    (handle, spawn)
}

const SPACES: [Space; 2] = [Space::Volatile, Space::Durable];
