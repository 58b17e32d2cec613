//! One node: SWIM and its replicas behind one door.
//!
//! ```text
//! message:  kind: byte, and of all but a packet the space: byte (0 volatile, 1 durable)
//! 0: packet (peer.rs)                who is there
//! 1: envelope (docs/design/crdt.md)  between replicas
//! 2: hint: member: fixed, coverage   which writes it holds
//! 3: pull: member: fixed, coverage   which of those are to be pushed
//! ```
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::membership::{Membership, Sight};
use super::peer::Peer;
use super::random::Random;
use super::spread::{Said, Scene, Spread};
use crate::clock::{Now, UnixMillis};
use crate::codec::{DecodeError, Reader, Writer};
use crate::crdt::{Coverage, Envelope, MemberId, MemberList, Refusal, Replica, Written};
use crate::entry::Ttl;
use crate::kv::QualifiedKey;
use crate::value::Encoded;

/// Which of a node's replicas: each namespace lives in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// What a start without others finds empty.
    Volatile,
    /// What survives a crash.
    Durable,
}

impl Space {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::Durable => "durable",
        }
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whose it is; 0 is whoever is at the address.
    pub to: MemberId,
    /// Where that is, as far as it is known by gossip.
    pub address: Option<Arc<str>>,
    /// What it says.
    pub bytes: Bytes,
}

/// A node that gossips.
pub struct Node {
    me: MemberId,
    membership: Membership,
    spreads: BTreeMap<Space, Spread>,
    /// The other listed members.
    others: BTreeSet<MemberId>,
    random: Random,
    transmits: VecDeque<Transmit>,
    /// Messages that were none.
    malformed: u64,
}

impl Node {
    /// A node that has just started. `seed` makes its choices.
    #[must_use]
    pub fn new(me: Peer, seed: u64) -> Self {
        Self {
            me: me.id,
            membership: Membership::new(me, seed),
            spreads: BTreeMap::new(),
            others: BTreeSet::new(),
            random: Random::new(!seed),
            transmits: VecDeque::new(),
            malformed: 0,
        }
    }

    /// Addresses at which other nodes may be.
    pub fn set_doors(&mut self, doors: impl IntoIterator<Item = Arc<str>>) {
        self.membership.set_doors(doors);
    }

    /// Takes in a replica that has just started. [`Node::set_list`] follows with its list or a later one.
    pub fn start(&mut self, space: Space, replica: Replica, now: Now) {
        self.spreads.insert(space, Spread::new(replica, now));
    }

    /// Lets a replica go: its disk has failed.
    pub fn stop(&mut self, space: Space) -> Option<Replica> {
        self.spreads.remove(&space).map(Spread::into_replica)
    }

    /// The listed members, which are durable: the replicas move on to them. Who is not listed itself
    /// has nobody to talk to.
    ///
    /// # Panics
    /// If a replica has a later list.
    pub fn set_list(&mut self, list: &MemberList, now: Now) {
        let is_listed = list.members.contains(&self.me);
        let is_other = |member: &MemberId| is_listed && *member != self.me;
        self.others = list.members.iter().copied().filter(is_other).collect();
        for spread in self.spreads.values_mut() {
            spread.replica_mut().set_list(list.clone(), now);
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If it is refused; nothing has changed then.
    ///
    /// # Panics
    /// If there is no such replica.
    pub fn put(
        &mut self,
        space: Space,
        key: &QualifiedKey,
        value: Encoded,
        ttl: Option<Ttl>,
        now: Now,
    ) -> Result<Written, Refusal> {
        let written = self.running(space).replica_mut().put(key, value, ttl, now)?;
        self.with_spread(space, now, Spread::flush);
        Ok(written)
    }

    /// Deletes a key, also one that is not known here.
    ///
    /// # Errors
    /// If it is refused; nothing has changed then.
    ///
    /// # Panics
    /// If there is no such replica.
    pub fn delete(
        &mut self,
        space: Space,
        key: &QualifiedKey,
        now: Now,
    ) -> Result<Written, Refusal> {
        let written = self.running(space).replica_mut().delete(key, now)?;
        self.with_spread(space, now, Spread::flush);
        Ok(written)
    }

    /// Takes a message.
    ///
    /// # Errors
    /// If it is none; nothing has changed then.
    pub fn handle(&mut self, message: Bytes, now: Now) -> Result<(), DecodeError> {
        let heard = Heard::decode(message).inspect_err(|_| self.malformed += 1)?;
        match heard {
            Heard::Packet(packet) => {
                self.membership.handle(&packet, now.monotonic_ms);
                self.collect_packets();
            }
            Heard::Envelope(space, envelope) => {
                self.with_spread(space, now, |spread, scene| spread.handle(*envelope, scene));
            }
            Heard::Hint(space, from, held) => {
                self.with_spread(space, now, |spread, scene| {
                    spread.handle_hint(from, &held, scene)
                });
            }
            Heard::Pull(space, from, wanted) => {
                self.with_spread(space, now, |spread, scene| {
                    spread.handle_pull(from, &wanted, scene);
                });
            }
        }
        Ok(())
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.membership.tick(now.monotonic_ms);
        self.collect_packets();
        for space in [Space::Volatile, Space::Durable] {
            self.with_spread(space, now, Spread::tick);
        }
    }

    /// When [`Node::tick`] has something to do, in milliseconds of the monotonic clock.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let spreads = self.spreads.values().map(Spread::due_ms);
        spreads.fold(self.membership.due_ms(), u64::min)
    }

    /// What is to be sent next.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next record of a durable replica to make durable, with its number.
    pub fn poll_record(&mut self) -> Option<(u64, Bytes)> {
        self.spreads.get_mut(&Space::Durable)?.replica_mut().poll_record()
    }

    /// All records up to a number are durable.
    pub fn handle_durable(&mut self, number: u64, now: Now) {
        if let Some(spread) = self.spreads.get_mut(&Space::Durable) {
            spread.replica_mut().handle_durable(number);
        }
        self.with_spread(Space::Durable, now, Spread::flush);
    }

    /// The bound of the clocks to make durable next, if the one there is runs out soon.
    #[must_use]
    pub fn wanted_reservation(&self, now: Now) -> Option<UnixMillis> {
        self.spreads.values().filter_map(|spread| spread.replica().wanted_reservation(now)).max()
    }

    /// Takes note of a bound of the clocks that is durable.
    pub fn reserve(&mut self, until: UnixMillis) {
        self.spreads.values_mut().for_each(|spread| spread.replica_mut().reserve(until));
    }

    /// A replica.
    #[must_use]
    pub fn replica(&self, space: Space) -> Option<&Replica> {
        self.spreads.get(&space).map(Spread::replica)
    }

    /// Itself, as others know it.
    #[must_use]
    pub fn me(&self) -> &Peer {
        self.membership.me()
    }

    /// All other nodes that were seen since the start, in the order of their ids.
    pub fn sights(&self) -> impl Iterator<Item = &Sight> {
        self.membership.sights()
    }

    /// How many messages were none.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed + self.membership.malformed()
    }

    fn running(&mut self, space: Space) -> &mut Spread {
        self.spreads.get_mut(&space).expect("whoever writes has started the replica")
    }

    fn with_spread(&mut self, space: Space, now: Now, f: impl FnOnce(&mut Spread, &mut Scene<'_>)) {
        let Some(spread) = self.spreads.get_mut(&space) else { return };
        let is_down =
            |member: &MemberId| self.membership.sight(*member).is_some_and(|it| !it.is_up);
        let targets: Vec<_> = self.others.iter().copied().filter(|it| !is_down(it)).collect();
        let mut out = Vec::new();
        f(spread, &mut Scene { now, targets: &targets, random: &mut self.random, out: &mut out });
        for said in out {
            let (to, bytes) = encode(self.me, space, said);
            let address = self.membership.sight(to).map(|sight| Arc::clone(&sight.peer.address));
            self.transmits.push_back(Transmit { to, address, bytes });
        }
    }

    fn collect_packets(&mut self) {
        while let Some((to, packet)) = self.membership.poll_transmit() {
            let mut writer = Writer::with_capacity(packet.len() + 1);
            writer.byte(PACKET);
            writer.raw(&packet);
            let address = Some(to.address);
            self.transmits.push_back(Transmit { to: to.id, address, bytes: writer.finish() });
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("me", self.me()).finish_non_exhaustive()
    }
}

/// A message that came.
enum Heard {
    Packet(Bytes),
    Envelope(Space, Box<Envelope>),
    Hint(Space, MemberId, Coverage),
    Pull(Space, MemberId, Coverage),
}

impl Heard {
    fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let kind = reader.byte("a kind of message")?;
        if kind == PACKET {
            let rest = reader.remaining();
            return Ok(Self::Packet(reader.raw(rest, "a packet")?));
        }
        let space = match reader.byte("a space")? {
            0 => Space::Volatile,
            1 => Space::Durable,
            _ => return Err(reader.error("a space")),
        };
        if kind == ENVELOPE {
            let rest = reader.remaining();
            let envelope = Envelope::decode(reader.raw(rest, "an envelope")?)?;
            return Ok(Self::Envelope(space, Box::new(envelope)));
        }
        let from = MemberId(reader.fixed("a member")?);
        let coverage = Coverage::decode(&mut reader)?;
        let heard = match kind {
            HINT => Self::Hint(space, from, coverage),
            PULL => Self::Pull(space, from, coverage),
            _ => return Err(reader.error("a kind of message")),
        };
        reader.finish("the end of the message")?;
        Ok(heard)
    }
}

/// What is said, in bytes, and to whom.
fn encode(me: MemberId, space: Space, said: Said) -> (MemberId, Bytes) {
    let mut writer = Writer::with_capacity(64);
    let mut start = |kind| {
        writer.byte(kind);
        writer.byte(u8::from(space == Space::Durable));
    };
    let to = match said {
        Said::Envelope(envelope) => {
            start(ENVELOPE);
            writer.raw(&envelope.encode());
            envelope.to
        }
        Said::Hint(to, coverage) => {
            start(HINT);
            writer.fixed(me.0);
            coverage.encode(&mut writer);
            to
        }
        Said::Pull(to, coverage) => {
            start(PULL);
            writer.fixed(me.0);
            coverage.encode(&mut writer);
            to
        }
    };
    (to, writer.finish())
}

const PACKET: u8 = 0;
const ENVELOPE: u8 = 1;
const HINT: u8 = 2;
const PULL: u8 = 3;
