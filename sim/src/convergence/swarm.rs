//! Nodes that gossip, on a network that only delays and loses: thousands of them in one thread.
//!
//! No disks: replicas are volatile, and what a clock reserves is durable at once. Bytes are those that a
//! connection would carry, without its own.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{Incarnation, MemberId, MemberList, Options, Replica, Stamp, Start};
use plimsoll::entry::Key;
use plimsoll::gossip::{Node, Peer, Space};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::value::{Encoded, Value};

use crate::rng::Rng;

/// Nodes numbered from 1, and what is under way between them.
pub struct Swarm {
    nodes: BTreeMap<u64, Node>,
    list: MemberList,
    events: BTreeMap<(u64, u64), Event>,
    made: u64,
    now_ms: u64,
    rng: Rng,
    /// Messages lost of a million.
    pub lost_per_million: u32,
    /// Who talks to nobody but each other.
    pub cut_off: BTreeSet<u64>,
    /// What was sent since it was cleared.
    pub sent: Sent,
}

/// Bytes and messages by what they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Of replicas.
    pub replica_bytes: u64,
    /// Likewise.
    pub replica_messages: u64,
    /// Of SWIM.
    pub swim_bytes: u64,
}

enum Event {
    Deliver { to: u64, bytes: Bytes },
    Tick(u64),
}

impl Swarm {
    /// So many nodes that start for the first time, all of them listed.
    #[must_use]
    pub fn new(nodes: u64, seed: u64) -> Self {
        let mut swarm = Self::empty(seed);
        swarm.list.members = (1..=nodes).map(MemberId).collect();
        for id in 1..=nodes {
            swarm.start(id, 1, None);
        }
        swarm
    }

    /// So many nodes that were alone, each in a cluster of its own that was empty, and are listed
    /// together now: they have joined, and have not met. No cluster begins like this; it is a way to
    /// have a large one at once.
    #[must_use]
    pub fn put_together(nodes: u64, seed: u64) -> Self {
        let mut swarm = Self::empty(seed);
        for id in 1..=nodes {
            swarm.list.members = [MemberId(id)].into();
            swarm.start(id, 1, None);
        }
        swarm.list = MemberList { epoch: 2, members: (1..=nodes).map(MemberId).collect() };
        let now = swarm.now();
        swarm.nodes.values_mut().for_each(|node| node.set_list(&swarm.list, now));
        swarm
    }

    fn empty(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            list: MemberList { epoch: 1, members: BTreeSet::new() },
            events: BTreeMap::new(),
            made: 0,
            now_ms: 1,
            rng: Rng::new(seed),
            lost_per_million: 0,
            cut_off: BTreeSet::new(),
            sent: Sent::default(),
        }
    }

    /// Starts a node, anew or with a replica that was stopped.
    pub fn start(&mut self, id: u64, number: u64, replica: Option<Replica>) {
        let now = self.now();
        let me = Peer::new(MemberId(id), number, &address(id), Bytes::new());
        let mut node = Node::new(me, self.rng.next());
        node.set_doors([address(1).as_str().into()]);
        let begin = || Replica::begin(self.start_of(id, number), None, Incarnation(0));
        let replica = replica.unwrap_or_else(begin);
        node.start(Space::Volatile, replica, now);
        node.set_list(&self.list, now);
        self.nodes.insert(id, node);
        // Nodes start at different times: their rounds do not fall together.
        let at_ms = self.now_ms + self.rng.below(1_000);
        self.schedule(at_ms, Event::Tick(id));
    }

    /// What the replica of a node's start is given.
    #[must_use]
    pub fn start_of(&self, id: u64, number: u64) -> Start {
        Start {
            member: MemberId(id),
            number,
            members: self.list.clone(),
            reserved: UnixMillis(0),
            is_durable: false,
            options: Options::default(),
        }
    }

    /// Stops a node; what is under way to it is lost.
    pub fn stop(&mut self, id: u64) -> Option<Replica> {
        self.nodes.remove(&id)?.stop(Space::Volatile)
    }

    /// Writes a value at a node.
    ///
    /// # Panics
    /// If the node refuses.
    pub fn put(&mut self, id: u64, key: &QualifiedKey, value: &Encoded) -> Stamp {
        let now = self.now();
        let node = self.nodes.get_mut(&id).expect("it runs");
        reserve(node, now);
        let written = node.put(Space::Volatile, key, value.clone(), None, now).expect("it serves");
        self.send(id);
        written.stamp
    }

    /// Deletes a key at a node.
    ///
    /// # Panics
    /// If the node refuses.
    pub fn delete(&mut self, id: u64, key: &QualifiedKey) -> Stamp {
        let now = self.now();
        let node = self.nodes.get_mut(&id).expect("it runs");
        reserve(node, now);
        let written = node.delete(Space::Volatile, key, now).expect("it serves");
        self.send(id);
        written.stamp
    }

    /// Lets something happen; answers whether it is before an instant.
    pub fn step(&mut self, until_ms: u64) -> bool {
        let Some(first) = self.events.first_entry() else { return false };
        if first.key().0 > until_ms {
            self.now_ms = self.now_ms.max(until_ms);
            return false;
        }
        let ((at_ms, _), event) = first.remove_entry();
        self.now_ms = at_ms;
        match event {
            Event::Deliver { to, bytes } => {
                let now = self.now();
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.handle(bytes, now).expect("nodes send messages only");
                    self.send(to);
                }
            }
            Event::Tick(id) => self.tick(id),
        }
        true
    }

    /// Lets everything happen for so long.
    pub fn run(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.step(until_ms) {}
    }

    /// Lets everything happen until something holds, at most for so long. Answers whether it does.
    pub fn run_until(&mut self, ms: u64, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let until_ms = self.now_ms + ms;
        while !holds(self) {
            if !self.step((self.now_ms + 50).min(until_ms)) && self.now_ms >= until_ms {
                return holds(self);
            }
        }
        true
    }

    /// Gives a node bytes from nowhere. Answers whether it refuses them.
    ///
    /// # Panics
    /// If it does not run.
    pub fn deliver(&mut self, to: u64, bytes: &[u8]) -> bool {
        let now = self.now();
        let node = self.nodes.get_mut(&to).expect("it runs");
        node.handle(Bytes::copy_from_slice(bytes), now).is_err()
    }

    /// A node's replica.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn replica(&self, id: u64) -> &Replica {
        self.nodes[&id].replica(Space::Volatile).expect("each node has one")
    }

    /// The nodes that run.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.nodes.keys().copied()
    }

    /// Whether all nodes have joined and cover the same.
    #[must_use]
    pub fn has_converged(&self) -> bool {
        let mut replicas = self.ids().map(|id| self.replica(id));
        let Some(first) = replicas.next() else { return true };
        let is_same = |other: &Replica| other.has_joined() && other.coverage() == first.coverage();
        first.has_joined() && replicas.all(is_same)
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What all clocks show.
    #[must_use]
    pub const fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall: UnixMillis(EPOCH_MS + self.now_ms) }
    }

    fn tick(&mut self, id: u64) {
        let now = self.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        reserve(node, now);
        if node.due_ms() <= self.now_ms {
            node.tick(now);
        }
        let due_ms = node.due_ms().max(self.now_ms + 1);
        self.send(id);
        self.schedule(due_ms, Event::Tick(id));
    }

    /// Puts what a node has to say on the network.
    fn send(&mut self, from: u64) {
        let mut sent = Vec::new();
        let node = self.nodes.get_mut(&from).expect("it runs");
        while let Some(transmit) = node.poll_transmit() {
            let by_address = || transmit.address.as_deref()?.strip_prefix("host:")?.parse().ok();
            let to = if transmit.to.0 == 0 { by_address() } else { Some(transmit.to.0) };
            sent.extend(to.map(|to: u64| (to, transmit.bytes)));
        }
        for (to, bytes) in sent {
            let length = bytes.len() as u64;
            if bytes[0] == 0 {
                self.sent.swim_bytes += length;
            } else {
                self.sent.replica_bytes += length;
                self.sent.replica_messages += 1;
            }
            let is_cut = self.cut_off.contains(&from) != self.cut_off.contains(&to);
            if !is_cut && !self.rng.chance(self.lost_per_million) {
                let at_ms = self.now_ms + self.rng.between(DELAY_MS.0, DELAY_MS.1);
                self.schedule(at_ms, Event::Deliver { to, bytes });
            }
        }
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.made += 1;
        self.events.insert((at_ms, self.made), event);
    }
}

/// A key of the swarm.
///
/// # Panics
/// If the name is none.
#[must_use]
pub fn key(name: &str) -> QualifiedKey {
    let keyspace = Keyspace::new("app").expect("a good name");
    QualifiedKey::new(&keyspace, &Key::new(name).expect("a good key"))
}

/// A value of so many bytes.
///
/// # Panics
/// If it is too large.
#[must_use]
pub fn value(bytes: usize, filled_with: u8) -> Encoded {
    Encoded::new(&Value::from(vec![filled_with; bytes])).expect("it is small enough")
}

fn reserve(node: &mut Node, now: Now) {
    if let Some(until) = node.wanted_reservation(now) {
        node.reserve(until);
    }
}

fn address(id: u64) -> String {
    format!("host:{id}")
}

/// How long a message takes, at least and at most.
const DELAY_MS: (u64, u64) = (1, 3);
/// The wall clock at the beginning: November 2023.
const EPOCH_MS: u64 = 1_700_000_000_000;
