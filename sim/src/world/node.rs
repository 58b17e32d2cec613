//! One node of a world: the shipped machine and everything around it that a process and its computer
//! are: a disk, clocks, requests under way, steps that wait for the disk.
//!
//! A raft id belongs to one disk. It names the place of its node in the low byte and counts the disks
//! of that place above it, so that a message finds its way without a table.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use plimsoll::raft::{Identity, Member, Node, Now, Persist, RaftId, RequestId, SnapshotJob};
use plimsoll::storage::{Batch, MemDisk, SnapshotMeta, Storage, StorageOptions};

use super::clock::HostClock;
use super::events::Event;
use super::founding::Founder;
use crate::faults::Fault;
use crate::invariants::{Brought, Durable, EntrySeen, SeenOfNode};

/// A node and its computer.
#[derive(Debug)]
pub struct Host {
    pub(crate) index: u8,
    pub(crate) id: RaftId,
    pub(crate) node: Option<Node>,
    /// Before it belongs to a cluster.
    pub(crate) founder: Option<Founder>,
    pub(crate) clock: HostClock,
    /// Grows with every start and end: what was scheduled in an earlier life is void.
    pub(crate) life: u32,
    pub(crate) starts: u32,
    /// The storage while the node runs, else the disk alone.
    pub(crate) storage: Option<Storage<MemDisk>>,
    pub(crate) disk: Option<MemDisk>,
    pub(crate) is_full: bool,
    pub(crate) slow_us: u64,
    pub(crate) disk_steps: u32,
    /// Damaged on purpose: it must not start.
    pub(crate) is_damaged: bool,
    /// A write of this life landed elsewhere, or will.
    pub(crate) is_misdirected: bool,
    pub(crate) driver: Driver,
    /// While it is paused: what waits for it.
    pub(crate) inbox: Option<VecDeque<Event>>,
    /// It led when it was paused.
    pub(crate) led_at_pause: bool,
    /// Requests that are not answered.
    pub(crate) pending: BTreeMap<RequestId, Asked>,
    pub(crate) durable: Durable,
    /// What leaders have brought in this life.
    pub(crate) brought: Brought,
    pub(crate) seen: SeenOfNode,
    /// When it became a leader.
    pub(crate) led_since_us: u64,
    /// Whether it is to be a member.
    pub(crate) is_wanted: bool,
    /// It began with an empty disk, to found a cluster with others; and whether it has.
    pub(crate) is_founder: bool,
    pub(crate) has_founded: bool,
    /// When it was taken out, if it was: it runs on for a while.
    pub(crate) removed_us: Option<u64>,
}

/// A request that is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// On the monotonic clock.
    pub deadline_ms: u64,
    /// It is a read, asked where and when reads are served.
    pub is_due: bool,
    pub asked_us: u64,
    /// How many messages had been troubled before.
    pub troubles: u64,
}

/// What the driver of a node has under way.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    pub waiting: VecDeque<Persist>,
    /// A write or sync is scheduled.
    pub is_busy: bool,
    /// Something was written in this life.
    pub has_written: bool,
    /// What is written and not synced.
    pub unsynced: Option<Unsynced>,
    pub snapshot: Option<SnapshotJob>,
    /// Entries that are not durable yet, each with its step.
    pub entries: VecDeque<(u64, Vec<EntrySeen>)>,
}

/// A batch between its write and its sync.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub number: u64,
    pub batch: Batch,
    /// What its disk was told to do wrong.
    pub fault: Option<Fault>,
}

impl Host {
    /// A place for a node, with an empty disk.
    pub(crate) fn new(index: u8) -> Self {
        Self {
            index,
            id: raft_id(index, 1),
            node: None,
            founder: None,
            clock: HostClock::right(),
            life: 0,
            starts: 0,
            storage: None,
            disk: Some(MemDisk::new()),
            is_full: false,
            slow_us: 0,
            disk_steps: 0,
            is_damaged: false,
            is_misdirected: false,
            driver: Driver::default(),
            inbox: None,
            led_at_pause: false,
            pending: BTreeMap::new(),
            durable: Durable::default(),
            brought: Brought::default(),
            seen: SeenOfNode::default(),
            led_since_us: 0,
            is_wanted: false,
            is_founder: false,
            has_founded: false,
            removed_us: None,
        }
    }

    /// The node, if it runs.
    #[must_use]
    pub const fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Which place it has, from 0.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// Its raft id: that of its present disk.
    #[must_use]
    pub const fn id(&self) -> RaftId {
        self.id
    }

    /// Whether it runs as a member, paused or not.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Whether its process runs: as a member, or to found a cluster.
    pub(crate) const fn is_running(&self) -> bool {
        self.node.is_some() || self.founder.is_some()
    }

    /// Whether it is paused.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.inbox.is_some()
    }

    /// What its clocks show.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        self.clock.now(true_us)
    }

    /// How it is named in the cluster.
    pub(crate) fn member(&self) -> Member {
        Member { id: self.id, name: format!("n{}", self.index), address: String::new() }
    }

    /// Prepares the disk of a founder.
    pub(crate) fn found(
        &mut self,
        options: StorageOptions,
        identity: &Identity,
        snapshot: &(SnapshotMeta, Bytes),
    ) {
        let disk = self.disk.take().expect("it has not run");
        let (mut storage, _) = Storage::open(disk, options).expect("the disk is empty");
        storage.save_snapshot(snapshot.0, &snapshot.1).expect("the disk is sound");
        storage.save_identity(&identity.encode()).expect("the disk is sound");
        self.disk = Some(storage.into_disk());
    }

    /// Takes the next empty disk, under the next raft id.
    pub(crate) fn replace_disk(&mut self) {
        self.id = raft_id(self.index, (self.id.0 >> 8) + 1);
        self.disk = Some(MemDisk::new());
        self.storage = None;
        self.is_damaged = false;
        self.is_misdirected = false;
        self.is_founder = false;
        self.durable = Durable::default();
    }
}

/// The raft id of the disks of a place, counted from 1.
#[must_use]
pub const fn raft_id(index: u8, disk: u64) -> RaftId {
    RaftId(disk << 8 | (index as u64 + 1))
}

/// The place that a raft id belongs to.
#[must_use]
pub const fn host_of(id: RaftId) -> u8 {
    ((id.0 & 0xff) as u8).wrapping_sub(1)
}
