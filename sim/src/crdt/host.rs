//! One CRDT node of a world: the shipped machine, and what its process and its computer are.
//!
//! A member's id belongs to one disk, as a Raft id does; a node that was replaced has another one. What a
//! node must not forget is a [`Ledger`], the identity of its storage. Its durable replica's snapshots and
//! records are the snapshots and the log of that storage: the term of an entry is the replica's incarnation,
//! its index the number of the record above the index at which the incarnation began.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::codec::{DecodeError, Reader, Writer};
use plimsoll::crdt::{MemberId, MemberList};
use plimsoll::gossip::{Node, Space};
use plimsoll::storage::{MemDisk, Storage};

use super::clients::Waiting;
use super::{Event, SPACES};
use crate::faults::Fault;
use crate::world::{HostClock, raft_id};

/// A node and its computer.
#[derive(Debug)]
pub(super) struct Host {
    pub index: u8,
    /// Disks that its place has had.
    pub disks: u64,
    pub node: Option<Node>,
    pub clock: HostClock,
    /// The latest that its wall clock has shown.
    pub latest: UnixMillis,
    /// Grows with every start and end.
    pub life: u32,
    /// Starts so far: a number that no loss of a disk sets back.
    pub starts: u64,
    /// The storage while the node runs, else the disk alone.
    pub storage: Option<Storage<MemDisk>>,
    pub disk: Option<MemDisk>,
    pub ledger: Ledger,
    /// The index at which the durable replica's incarnation began.
    pub base: u64,
    pub is_full: bool,
    pub slow_us: u64,
    pub disk_steps: u32,
    pub driver: Driver,
    /// While it is paused: what waits for it.
    pub inbox: Option<VecDeque<Event>>,
    /// Writes that wait for their records.
    pub pending: BTreeMap<u64, Waiting>,
    /// A snapshot of the durable replica that was saved once.
    pub older: Option<Bytes>,
    /// The next start begins with it.
    pub is_set_back: bool,
    /// When it was paused or ended last.
    pub disturbed_us: u64,
    pub seen: [Seen; 2],
    /// The number of the tick that is due, and when.
    pub tick: u64,
    pub tick_us: u64,
    /// Whom it has taken for down.
    pub down: u64,
}

/// What was last seen of a replica, for marks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub has_joined: bool,
    pub dropped: u64,
    pub from_future: u64,
    /// The exchange that it asked for last.
    pub exchange: u64,
}

/// What the driver of a node has under way.
#[derive(Debug, Default)]
pub(super) struct Driver {
    /// What the ledger is to be.
    pub ledger: Option<Ledger>,
    /// Records that are not written.
    pub records: VecDeque<(u64, Bytes)>,
    /// A write or a sync is scheduled.
    pub is_busy: bool,
    /// The number of the last record that is written and not synced, and what the disk does wrong.
    pub unsynced: Option<(u64, Option<Fault>)>,
    /// Bytes of records since the last snapshot.
    pub record_bytes: u64,
    pub is_saving: bool,
    /// The disk has failed: it is not used any more.
    pub has_failed: bool,
}

/// What a node must not forget, beside its durable replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub reserved: UnixMillis,
    /// The disk has failed under the durable replica: what it holds is only good to begin with.
    pub is_doubtful: bool,
    pub list: MemberList,
}

impl Ledger {
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.unsigned(self.reserved.0);
        writer.byte(u8::from(self.is_doubtful));
        writer.unsigned(self.list.epoch);
        writer.count(self.list.members.len());
        self.list.members.iter().for_each(|member| writer.fixed(member.0));
        writer.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let reserved = UnixMillis(reader.unsigned("a bound")?);
        let is_doubtful = reader.byte("a flag")? == 1;
        let epoch = reader.unsigned("an epoch")?;
        let count = reader.count(8, "the number of members")?;
        let members = (0..count).map(|_| Ok(MemberId(reader.fixed("a member")?)));
        let members = members.collect::<Result<_, DecodeError>>()?;
        reader.finish("the end of the ledger")?;
        Ok(Self { reserved, is_doubtful, list: MemberList { epoch, members } })
    }
}

impl Host {
    /// A place for a node, with an empty disk.
    pub fn new(index: u8) -> Self {
        Self {
            index,
            disks: 1,
            node: None,
            clock: HostClock::right(),
            latest: UnixMillis(0),
            life: 0,
            starts: 0,
            storage: None,
            disk: Some(MemDisk::new()),
            ledger: Ledger::default(),
            base: 0,
            is_full: false,
            slow_us: 0,
            disk_steps: 0,
            driver: Driver::default(),
            inbox: None,
            pending: BTreeMap::new(),
            older: None,
            is_set_back: false,
            disturbed_us: 0,
            seen: [Seen::default(); 2],
            tick: 0,
            tick_us: 0,
            down: 0,
        }
    }

    /// Its id as a member: that of its present disk.
    pub const fn member(&self) -> MemberId {
        MemberId(raft_id(self.index, self.disks).0)
    }

    pub const fn is_paused(&self) -> bool {
        self.inbox.is_some()
    }

    pub fn now(&self, true_us: u64) -> Now {
        self.clock.now(true_us)
    }

    /// Takes an empty disk: of the same member, or of a new one.
    pub fn replace_disk(&mut self, is_new_member: bool) {
        self.disks += u64::from(is_new_member);
        self.disk = Some(MemDisk::new());
        self.ledger = Ledger::default();
        self.older = None;
        self.is_set_back = false;
    }

    /// The node in a line.
    pub fn words(&self, now_us: u64) -> String {
        let now = self.now(now_us);
        let state = match &self.node {
            None => "is down".to_owned(),
            Some(node) => {
                let spaces = SPACES.map(|space| words_of(node, space));
                let paused = if self.is_paused() { ", paused" } else { "" };
                format!("start {}{paused}\n  {}\n  {}", self.starts, spaces[0], spaces[1])
            }
        };
        let off_ms = self.clock.error_ms(now_us);
        let (index, member) = (self.index, self.member().0);
        format!("node {index} ({member:x}), wall {}, off by {off_ms} ms: {state}", now.wall.0)
    }
}

fn words_of(node: &Node, space: Space) -> String {
    let Some(replica) = node.replica(space) else { return format!("{space:?}: let go") };
    let status = replica.status();
    format!(
        "{space:?}: {:?} epoch {}, joined {}, whole {}, {} registers, {} tombstones, waits for {:?}, \
         covers {:?}",
        status.author,
        status.epoch,
        status.has_joined,
        status.is_whole,
        status.registers,
        status.tombstones,
        status.blocking,
        replica.coverage()
    )
}

/// Where a place is reached.
pub(super) fn address(index: u8) -> String {
    format!("n{index}")
}

/// The place at an address.
pub(super) fn place_at(address: &str) -> Option<u8> {
    address.strip_prefix('n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledgers_are_read_as_they_were_written() {
        let members = [MemberId(3), MemberId(258)].into();
        let list = MemberList { epoch: 4, members };
        let ledger = Ledger { reserved: UnixMillis(77), is_doubtful: true, list };
        assert_eq!(Ledger::decode(ledger.encode()), Ok(ledger));
        assert_eq!(place_at(&address(6)), Some(6));
    }
}
