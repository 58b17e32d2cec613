//! A node: a replica, its physical clock, and what it has on disk.

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{Incarnation, Kept, MemberId, MemberList, Options, Replica, Start};

/// How far clocks may differ.
pub const BOUND_MS: u64 = 4_000;

/// Every chunk has one entry, so that exchanges of two keys have two.
pub const OPTIONS: Options =
    Options { clock_bound_ms: BOUND_MS, tombstones_max: 1_000, chunk_bytes: 1 };

pub const MEMBERS: usize = 3;

/// A way to restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With the state that was synced.
    Durable,
    /// With nothing.
    Empty,
    /// With the state of an older snapshot.
    Older,
}

pub struct Node {
    pub number: usize,
    pub replica: Replica,
    pub is_durable: bool,
    /// The number of the last start.
    start: u64,
    /// The last incarnation.
    pub incarnation: u64,
    /// The list of members that it was given last, which is durable.
    pub list: MemberList,
    /// The list that it was given first.
    first_list: MemberList,
    /// How far its clock is ahead.
    pub skew_ms: u64,
    reserved: UnixMillis,
    /// What is synced: a snapshot, and the records after it.
    snapshot: Bytes,
    records: Vec<Bytes>,
    /// What was given out and is not synced.
    unsynced: Vec<(u64, Bytes)>,
    /// An older snapshot.
    pub older: Option<Bytes>,
}

pub fn member(number: usize) -> MemberId {
    MemberId(number as u64 + 1)
}

/// The list of a founded cluster.
pub fn first_list() -> MemberList {
    MemberList { epoch: 0, members: (0..MEMBERS).map(member).collect() }
}

fn start(
    number: usize,
    start: u64,
    members: MemberList,
    reserved: UnixMillis,
    is_durable: bool,
) -> Start {
    let member = member(number);
    Start { member, number: start, members, reserved, is_durable, options: OPTIONS }
}

/// A driver that does not make the list durable. This mutant is no matter of the engine.
fn forgets_lists() -> bool {
    #[cfg(feature = "mutants")]
    return plimsoll::mutant::is_active("epoch forgotten");
    #[cfg(not(feature = "mutants"))]
    false
}

impl Node {
    pub fn new(number: usize, list: MemberList, is_durable: bool, skew_ms: u64) -> Self {
        let begun = start(number, 1, list.clone(), UnixMillis(0), is_durable);
        let replica = Replica::begin(begun, None, Incarnation(0));
        let (_, snapshot) = replica.snapshot();
        Self {
            number,
            replica,
            is_durable,
            start: 1,
            incarnation: 1,
            first_list: list.clone(),
            list,
            skew_ms,
            reserved: UnixMillis(0),
            snapshot,
            records: Vec::new(),
            unsynced: Vec::new(),
            older: None,
        }
    }

    pub fn now(&self, monotonic_ms: u64) -> Now {
        Now { monotonic_ms, wall: UnixMillis(1_000_000 + monotonic_ms + self.skew_ms) }
    }

    /// Makes the clock's bound durable if it runs out.
    pub fn reserve(&mut self, monotonic_ms: u64) {
        if let Some(until) = self.replica.wanted_reservation(self.now(monotonic_ms)) {
            self.reserved = until;
            self.replica.reserve(until);
        }
    }

    /// Moves on to a later list.
    pub fn take_list(&mut self, list: &MemberList, monotonic_ms: u64) {
        self.list = list.clone();
        self.replica.set_list(list.clone(), self.now(monotonic_ms));
    }

    /// Whether it lists itself, as far as it knows.
    pub fn is_listed(&self) -> bool {
        self.list.members.contains(&member(self.number))
    }

    /// Takes a record from a durable replica.
    pub fn cut(&mut self) {
        self.unsynced.extend(self.replica.poll_record());
    }

    /// Syncs all records that were taken.
    pub fn sync(&mut self) -> u64 {
        let mut last = 0;
        for (number, record) in self.unsynced.drain(..) {
            self.records.push(record);
            last = number;
        }
        self.replica.handle_durable(last);
        last
    }

    /// Replaces the records by a snapshot.
    pub fn compact(&mut self) {
        let (number, snapshot) = self.replica.snapshot();
        let kept = Kept::decode(&snapshot, BOUND_MS).unwrap();
        assert_eq!(kept.record(), number);
        self.snapshot = snapshot;
        self.records.clear();
    }

    /// Keeps the snapshot of this moment, to be set back to it later.
    pub fn keep(&mut self) {
        self.older = Some(self.replica.snapshot().1);
    }

    /// Everything that is synced.
    pub fn recovered(&self) -> Kept {
        let mut kept = Kept::decode(&self.snapshot, BOUND_MS).unwrap();
        for record in &self.records {
            kept.apply(record.clone()).unwrap();
        }
        kept
    }

    pub fn restart(&mut self, manner: Manner) {
        self.start += 1;
        self.unsynced.clear();
        if forgets_lists() && manner != Manner::Durable {
            self.list = self.first_list.clone();
        }
        let list = self.list.clone();
        let begun = start(self.number, self.start, list, self.reserved, self.is_durable);
        let last = Incarnation(self.incarnation);
        self.replica = match manner {
            Manner::Durable => {
                let kept = self.recovered();
                assert_eq!(kept.author().incarnation, last);
                Replica::resume(begun, kept)
            }
            Manner::Empty => Replica::begin(begun, None, last),
            Manner::Older => {
                let kept = self.older.as_ref().map(|it| Kept::decode(it, BOUND_MS).unwrap());
                Replica::begin(begun, kept, last)
            }
        };
        self.incarnation = self.replica.status().author.incarnation.0;
        if manner != Manner::Durable {
            self.snapshot = self.replica.snapshot().1;
            self.records.clear();
        }
    }
}
