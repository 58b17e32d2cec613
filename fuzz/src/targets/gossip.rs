//! Three nodes that gossip, and messages between them that are lost, repeated, reordered and damaged;
//! bytes from nowhere too. Nothing panics. If none was damaged, all become the same in the end.
//!
//! A damaged message that still is one says what no member would, and members are trusted: then
//! nothing is asked of what they hold.

use std::collections::BTreeSet;

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{Incarnation, MemberId, MemberList, Options, Replica, Start};
use plimsoll::entry::{Key, Ttl};
use plimsoll::gossip::{Node, Peer, Space};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::value::Encoded;

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut nodes = Nodes::new();
    while !input.is_empty() {
        nodes.step(&mut input);
    }
    if !nodes.is_damaged {
        nodes.settle();
    }
}

const NODES: u64 = 3;

struct Nodes {
    nodes: Vec<Node>,
    starts: u64,
    under_way: Vec<(usize, Bytes)>,
    monotonic_ms: u64,
    is_damaged: bool,
}

impl Nodes {
    fn new() -> Self {
        let now = Now { monotonic_ms: 0, wall: UnixMillis(EPOCH_MS) };
        let nodes = (1..=NODES).map(|id| start(id, 1, now)).collect();
        let mut nodes =
            Self { nodes, starts: 1, under_way: Vec::new(), monotonic_ms: 0, is_damaged: false };
        nodes.rounds(20);
        nodes
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.nodes.len());
        let space = input.one_of(&[Space::Volatile, Space::Volatile, Space::Durable]);
        let now = self.now();
        match input.below(10) {
            0 | 1 => {
                let key = key(input.byte() % 8);
                let ttl = Ttl::from_ms(u64::from(input.byte() / 64) * 700).expect("a short time");
                let value = Encoded::new(&i64::from(input.byte()).into()).expect("a small value");
                // It may be refused: then nothing has changed.
                _ = self.nodes[at].put(space, &key, value, ttl, now);
            }
            2 => _ = self.nodes[at].delete(space, &key(input.byte() % 8), now),
            3 | 4 => {
                self.monotonic_ms += u64::from(input.byte()) * 4;
                let now = self.now();
                self.nodes[at].tick(now);
            }
            5 => self.deliver(usize::from(input.byte()), true),
            6 => self.deliver(usize::from(input.byte()), false),
            7 if !self.under_way.is_empty() => {
                let place = usize::from(input.byte()) % self.under_way.len();
                self.under_way.remove(place);
            }
            8 if !self.under_way.is_empty() => {
                let place = usize::from(input.byte()) % self.under_way.len();
                let (_, bytes) = &mut self.under_way[place];
                let mut damaged = bytes.to_vec();
                if let Some(byte) = damaged.get_mut(usize::from(input.byte())) {
                    *byte ^= input.byte();
                    self.is_damaged = true;
                }
                *bytes = damaged.into();
            }
            9 => {
                let bytes = Bytes::copy_from_slice(input.fewer_than(64));
                self.is_damaged |= self.nodes[at].handle(bytes, now).is_ok();
            }
            _ => {
                self.starts += 1;
                self.nodes[at] = start(at as u64 + 1, self.starts, now);
            }
        }
        self.collect();
    }

    /// Gives a message to its node, and keeps it for another time or not.
    fn deliver(&mut self, choice: usize, is_kept: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let place = choice % self.under_way.len();
        let (to, bytes) =
            if is_kept { self.under_way[place].clone() } else { self.under_way.remove(place) };
        let now = self.now();
        // A damaged one may be none.
        _ = self.nodes[to].handle(bytes, now);
    }

    /// Ticks, and messages that all arrive.
    fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.monotonic_ms += 200;
            let now = self.now();
            self.nodes.iter_mut().for_each(|node| node.tick(now));
            self.collect();
            while let Some((to, bytes)) = self.under_way.pop() {
                self.nodes[to].handle(bytes, now).expect("nodes send messages only");
                self.collect();
            }
        }
    }

    fn settle(&mut self) {
        self.rounds(300);
        for space in [Space::Volatile, Space::Durable] {
            let replicas: Vec<_> =
                self.nodes.iter().map(|node| node.replica(space).expect("it has both")).collect();
            for replica in &replicas {
                assert!(replica.has_joined(), "all join");
                assert_eq!(replica.coverage(), replicas[0].coverage(), "all cover the same");
                let [own, first] = [*replica, replicas[0]].map(|it| it.map().trie().root());
                assert_eq!(own, first, "and hold the same");
                assert_eq!((replica.status().faults, replica.status().divergences), (0, 0));
            }
        }
    }

    fn collect(&mut self) {
        let now = self.now();
        for node in &mut self.nodes {
            if let Some(until) = node.wanted_reservation(now) {
                node.reserve(until);
            }
            while let Some((number, _)) = node.poll_record() {
                node.handle_durable(number, now);
            }
            while let Some(transmit) = node.poll_transmit() {
                if (1..=NODES).contains(&transmit.to.0) {
                    self.under_way.push((transmit.to.0 as usize - 1, transmit.bytes));
                }
            }
        }
    }

    const fn now(&self) -> Now {
        Now { monotonic_ms: self.monotonic_ms, wall: UnixMillis(EPOCH_MS + self.monotonic_ms) }
    }
}

fn start(id: u64, number: u64, now: Now) -> Node {
    let mut node = Node::new(Peer::new(MemberId(id), number, "", Bytes::new()), id);
    let members: BTreeSet<_> = (1..=NODES).map(MemberId).collect();
    let list = MemberList { epoch: 1, members };
    for space in [Space::Volatile, Space::Durable] {
        let start = Start {
            member: MemberId(id),
            number,
            members: list.clone(),
            reserved: UnixMillis(now.wall.0 + 1_000),
            is_durable: space == Space::Durable,
            options: Options { tombstones_max: 5, ..Options::default() },
        };
        node.start(space, Replica::begin(start, None, Incarnation(0)), now);
    }
    node.set_list(&list, now);
    node
}

fn key(number: u8) -> QualifiedKey {
    let keyspace = Keyspace::new("k").expect("a name");
    QualifiedKey::new(&keyspace, &Key::new(&format!("k{number}")).expect("a key"))
}

const EPOCH_MS: u64 = 1_700_000_000_000;
