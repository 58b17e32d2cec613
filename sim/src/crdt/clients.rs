//! Who uses CRDT nodes: clients that write, delete, read and list a few keys in both spaces, each at a node
//! of its own, now and then at another one.
//!
//! A client remembers what it has seen at the replica that it stays at, so that a read which shows less is
//! noticed. What it asks, and where, follows from the number of the operation alone.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use plimsoll::crdt::{Author, Dot, Entry, Refusal, Replica, Stamp, Written};
use plimsoll::entry::{Key, Ttl};
use plimsoll::gossip::{Node, Space};
use plimsoll::hlc::ClockRefusal;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::limits::{CLOCK_REPORT_MS_MAX, GOSSIP_PUSHED_BYTES_MAX, VALUE_BYTES_MAX};
use plimsoll::value::{Encoded, Value};

use super::{CrdtWorld, Event, SPACES, place_of};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::invariants::{
    CLOCKS_REFUSE, OPERATION_ENDS, READS_WHAT_WAS_WRITTEN, SERVES_AFTER_HEALING, Violation,
};
use crate::rng::Rng;
use crate::scenario::Plan;
use crate::trace::What;
use crate::world::Summary;

/// An operation on its way to a node.
#[derive(Debug)]
pub(super) struct Operation {
    pub number: u64,
    pub client: u8,
    pub space: Space,
    pub what: Asked,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Put { key: QualifiedKey, value: Encoded, ttl: Option<Ttl> },
    Delete { key: QualifiedKey },
    Get { key: QualifiedKey },
    List,
}

/// A write that waits until its record is durable.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub operation: u64,
    pub deadline_ms: u64,
    client: u8,
    key: QualifiedKey,
    stamp: Stamp,
    dot: Dot,
    record: u64,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Client>,
    /// Operations without an end: where they were asked, and when.
    open: BTreeMap<u64, (u8, u64)>,
    /// Of both spaces.
    keys: [Vec<QualifiedKey>; 2],
    operations: u64,
    definite: u64,
}

#[derive(Debug, Default)]
struct Client {
    home: u8,
    operations: u32,
    /// What was seen of each key at the replica that it stays at.
    floors: [Floors; 2],
}

#[derive(Debug, Default)]
struct Floors {
    at: Option<(u8, Author)>,
    seen: BTreeMap<QualifiedKey, Stamp>,
}

impl Clients {
    pub fn new(plan: &Plan) -> Self {
        let places = u8::try_from(plan.nodes).expect("few nodes");
        let clients = (0..u8::try_from(plan.clients).expect("few clients"))
            .map(|index| Client { home: index % places, ..Client::default() })
            .collect();
        let keys = ["volatile", "durable"].map(|name| {
            let keyspace = Keyspace::new(name).expect("a good name");
            let key = |n| Key::new(&format!("k{n}")).expect("a good key");
            (0..plan.keys).map(|n| QualifiedKey::new(&keyspace, &key(n))).collect()
        });
        Self { clients, open: BTreeMap::new(), keys, operations: 0, definite: 0 }
    }

    pub fn summary(&self) -> Summary {
        Summary { operations: self.operations, definite: self.definite }
    }

    /// Operations without an end.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// An operation ends, and its client does not know how.
    pub fn unknown(&mut self, operation: u64) {
        self.open.remove(&operation);
    }

    fn ends(&mut self, operation: u64) {
        self.definite += u64::from(self.open.remove(&operation).is_some());
    }

    /// What a client has seen there before, if it stayed there.
    fn floors(&mut self, client: u8, space: Space, at: (u8, Author)) -> &mut Floors {
        let floors = &mut self.clients[usize::from(client)].floors[place_of(space)];
        if floors.at != Some(at) {
            *floors = Floors { at: Some(at), seen: BTreeMap::new() };
        }
        floors
    }
}

impl Floors {
    fn see(&mut self, key: &QualifiedKey, stamp: Stamp) {
        let seen = self.seen.entry(key.clone()).or_insert(stamp);
        *seen = (*seen).max(stamp);
    }
}

impl CrdtWorld {
    /// A client asks a few things in one go.
    pub(super) fn burst(&mut self, client: u8) {
        if self.is_healed {
            return;
        }
        let n = self.clients.clients[usize::from(client)].operations;
        let mut rng = self.choices.natural(Subject::Operation { client, n: n + BURST });
        let wait_us = rng.between(1, 2 * self.plan.burst_period_ms) * 1_000;
        self.queue.push(self.now_us + wait_us, Event::Wake { client });
        if rng.chance(MOVES_PER_MILLION) {
            self.move_on(client, &mut rng);
        }
        for _ in 0..rng.between(1, self.plan.burst_max) {
            self.begin_operation(client);
        }
    }

    fn move_on(&mut self, client: u8, rng: &mut Rng) {
        let places: Vec<u8> = self.listed.iter().copied().collect();
        self.clients.clients[usize::from(client)].home = rng.pick(&places);
    }

    fn begin_operation(&mut self, client: u8) {
        let who = &mut self.clients.clients[usize::from(client)];
        who.operations += 1;
        let (home, n) = (who.home, who.operations);
        let mut rng = self.choices.natural(Subject::Operation { client, n });
        let space = rng.pick(&SPACES);
        let keys = &self.clients.keys[place_of(space)];
        let key = keys[usize::try_from(rng.below(keys.len() as u64)).expect("few")].clone();
        self.clients.operations += 1;
        let number = self.clients.operations;
        let what = draw(&self.plan, key, number, &mut rng);
        self.clients.open.insert(number, (home, self.now_us));
        let operation = Box::new(Operation { number, client, space, what });
        self.queue.push(self.now_us + ASK_US, Event::Ask { host: home, operation });
        let patience_us = (self.plan.patience_ms + GRACE_MS) * 1_000;
        self.queue.push(self.now_us + patience_us, Event::GiveUp { operation: number });
    }

    /// A client waits no longer. A node that was there all the time should have answered.
    pub(super) fn give_up(&mut self, operation: u64) -> Result<(), Violation> {
        let Some((home, asked_us)) = self.clients.open.remove(&operation) else { return Ok(()) };
        let host = &self.hosts[usize::from(home)];
        if host.node.is_some() && !host.is_paused() && host.disturbed_us < asked_us {
            let what = format!("operation {operation} at node {home} has no end");
            return Err(OPERATION_ENDS.broken(what));
        }
        self.coverage.mark(Mark::ClientGaveUp);
        Ok(())
    }

    /// An operation arrives at a node.
    pub(super) fn ask(&mut self, index: u8, operation: Box<Operation>) -> Result<(), Violation> {
        let (number, client) = (operation.number, operation.client);
        if self.hosts[usize::from(index)].node.is_none() {
            self.clients.ends(number);
            let subject = Subject::Operation { client, n: BURST - 1 };
            let mut rng = self.choices.natural(subject);
            _ = rng.next();
            let mut rng = Rng::of(rng.next(), number);
            self.move_on(client, &mut rng);
            return Ok(());
        }
        let event = self.unless_paused(index, Event::Ask { host: index, operation });
        let Some(Event::Ask { operation, .. }) = event else { return Ok(()) };
        self.note(Some(index), What::Ask { request: number }, number);
        let Operation { space, what, .. } = *operation;
        let node = self.hosts[usize::from(index)].node.as_ref();
        let Some(replica) = node.and_then(|node| node.replica(space)) else {
            self.clients.ends(number);
            return Ok(());
        };
        let at = (index, replica.author());
        match what {
            Asked::Put { key, value, ttl } => {
                let put = value.clone();
                let write = |node: &mut Node, now| node.put(space, &key, put, ttl, now);
                self.write(index, (number, client), space, &key, Some(value), write)
            }
            Asked::Delete { key } => {
                let write = |node: &mut Node, now| node.delete(space, &key, now);
                self.write(index, (number, client), space, &key, None, write)
            }
            Asked::Get { key } => self.get(number, client, space, at, &key),
            Asked::List => self.list(number, client, space, at),
        }
    }

    fn write(
        &mut self,
        index: u8,
        (number, client): (u64, u8),
        space: Space,
        key: &QualifiedKey,
        value: Option<Encoded>,
        write: impl FnOnce(&mut Node, plimsoll::clock::Now) -> Result<Written, Refusal>,
    ) -> Result<(), Violation> {
        let now = self.read_clock(index);
        let host = &mut self.hosts[usize::from(index)];
        let node = host.node.as_mut().expect("it was just asked");
        let written = match write(node, now) {
            Ok(written) => written,
            Err(refusal) => return self.refused(index, number, refusal),
        };
        let wall = written.stamp.time.wall.0;
        let (is_durable, counter) = (space == Space::Durable, written.dot.counter);
        self.note(Some(index), What::Put { is_durable, wall, counter }, wall ^ counter);
        self.book(space).note_write(index, key, value, &written)?;
        let Written { stamp, dot, record, .. } = written;
        let deadline_ms = now.monotonic_ms + self.plan.patience_ms;
        let waiting = Waiting {
            operation: number,
            deadline_ms,
            client,
            key: key.clone(),
            stamp,
            dot,
            record: record.unwrap_or(0),
        };
        if record.is_some() {
            self.hosts[usize::from(index)].pending.insert(number, waiting);
            return self.drain(index);
        }
        self.drain(index)?;
        self.acknowledged(index, space, &waiting)
    }

    /// Records up to a number are durable: the writes in them are acknowledged.
    pub(super) fn acknowledge(&mut self, index: u8, record: u64) -> Result<(), Violation> {
        let pending = &mut self.hosts[usize::from(index)].pending;
        let durable: Vec<_> = pending.extract_if(.., |_, it| it.record <= record).collect();
        for (_, waiting) in durable {
            self.acknowledged(index, Space::Durable, &waiting)?;
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        index: u8,
        space: Space,
        waiting: &Waiting,
    ) -> Result<(), Violation> {
        let Waiting { operation, client, key, stamp, dot, .. } = waiting;
        self.note(Some(index), What::Answer { request: *operation, how: "done" }, *operation);
        self.clients.ends(*operation);
        self.book(space).acknowledge(index, *dot)?;
        self.clients.floors(*client, space, (index, dot.author)).see(key, *stamp);
        Ok(())
    }

    fn refused(&mut self, index: u8, number: u64, refusal: Refusal) -> Result<(), Violation> {
        self.note(Some(index), What::Answer { request: number, how: "none" }, !number);
        self.clients.ends(number);
        let mark = match refusal {
            Refusal::Removed => Mark::RefusedRemoved,
            Refusal::NotJoined => Mark::RefusedNotJoined,
            Refusal::Tombstones => Mark::RefusedByTombstones,
            Refusal::Superseded(by) => {
                let what = format!("node {index} is superseded by {by:?}, and is the last start");
                return Err(CLOCKS_REFUSE.broken(what));
            }
            Refusal::Clock(why) => {
                self.check_clock(index, why)?;
                Mark::RefusedByClock
            }
        };
        self.coverage.mark(mark);
        Ok(())
    }

    /// Whether a clock had a reason to refuse.
    fn check_clock(&mut self, index: u8, why: ClockRefusal) -> Result<(), Violation> {
        let now = self.read_clock(index);
        let host = &self.hosts[usize::from(index)];
        let node = host.node.as_ref().expect("it has just refused");
        let is_waiting = host.driver.ledger.is_some() || host.driver.has_failed;
        let is_explained = match why {
            ClockRefusal::Ahead { .. } => {
                let counted_us = 2 * CLOCK_REPORT_MS_MAX * 1_000;
                let is_late = self.late_us > 0 && self.now_us < self.late_us + counted_us;
                // A start begins at the durable bound of the one before, which is ahead.
                let has_just_started =
                    self.now_us < self.started_us + self.plan.clock_bound_ms * 1_000;
                self.has_wrong_clock || is_late || has_just_started
            }
            ClockRefusal::Unreserved => is_waiting || node.wanted_reservation(now).is_some(),
        };
        if is_explained {
            return Ok(());
        }
        Err(CLOCKS_REFUSE.broken(format!("node {index}: {why:?}\n{}", host.words(self.now_us))))
    }

    fn get(
        &mut self,
        number: u64,
        client: u8,
        space: Space,
        at: (u8, Author),
        key: &QualifiedKey,
    ) -> Result<(), Violation> {
        let now = self.read_clock(at.0);
        let Some(replica) = self.replica(at.0, space) else { return Ok(()) };
        match replica.get(key, now.wall).map(Option::<&Arc<Entry>>::cloned) {
            Err(refusal) => self.refused(at.0, number, refusal),
            Ok(shown) => {
                self.clients.ends(number);
                self.see(client, space, at, key, shown.as_ref())
            }
        }
    }

    fn list(
        &mut self,
        number: u64,
        client: u8,
        space: Space,
        at: (u8, Author),
    ) -> Result<(), Violation> {
        let now = self.read_clock(at.0);
        let Some(replica) = self.replica(at.0, space) else { return Ok(()) };
        let items = replica.range(Bound::Unbounded, now.wall).map(|items| {
            let items = items.map(|(key, entry)| (key.clone(), Arc::clone(entry)));
            items.collect::<Vec<_>>()
        });
        let listed = match items {
            Ok(listed) => listed,
            Err(refusal) => return self.refused(at.0, number, refusal),
        };
        if !listed.is_sorted_by(|one, other| one.0 < other.0) {
            return Err(READS_WHAT_WAS_WRITTEN.broken("a listing is not in the order of its keys"));
        }
        self.clients.ends(number);
        let listed: BTreeMap<_, _> = listed.into_iter().collect();
        for key in self.clients.keys[place_of(space)].clone() {
            self.see(client, space, at, &key, listed.get(&key))?;
        }
        Ok(())
    }

    fn replica(&self, index: u8, space: Space) -> Option<&Replica> {
        self.hosts[usize::from(index)].node.as_ref()?.replica(space)
    }

    /// A client sees what a key shows.
    fn see(
        &mut self,
        client: u8,
        space: Space,
        at: (u8, Author),
        key: &QualifiedKey,
        shown: Option<&Arc<Entry>>,
    ) -> Result<(), Violation> {
        let latest = self.latest;
        let floors = self.clients.floors(client, space, at);
        let floor = floors.seen.get(key).copied();
        if let Some(entry) = shown {
            floors.see(key, entry.stamp());
        } else if floor.is_some() {
            self.coverage.mark(Mark::ExpiredRead);
        }
        self.books[place_of(space)].check_read(key, shown, floor, latest)
    }

    /// Writes at every listed node, now that nothing is wrong any more.
    pub(super) fn check_serving(&mut self) -> Result<(), Violation> {
        for index in self.listed.clone() {
            for space in SPACES {
                let key = self.clients.keys[place_of(space)][0].clone();
                self.clients.operations += 1;
                let number = self.clients.operations;
                self.clients.open.insert(number, (index, self.now_us));
                let value = value(number, 0);
                let put = value.clone();
                let definite = self.clients.definite;
                let write = |node: &mut Node, now| node.put(space, &key, put, None, now);
                if self.replica(index, space).is_none() {
                    return Err(SERVES_AFTER_HEALING.broken(format!("node {index} is not there")));
                }
                self.write(index, (number, 0), space, &key, Some(value), write)?;
                let is_pending = self.hosts[usize::from(index)].pending.contains_key(&number);
                let last = self.replica(index, space).map(|it| it.map().entry(&key).is_some());
                let is_refused = self.clients.definite > definite && last != Some(true);
                if is_refused && !is_pending && self.plan.tombstones_max > 1 {
                    let what = format!("node {index} refuses a write to {space:?}");
                    return Err(SERVES_AFTER_HEALING.broken(what));
                }
            }
        }
        Ok(())
    }
}

/// What a client asks.
fn draw(plan: &Plan, key: QualifiedKey, number: u64, rng: &mut Rng) -> Asked {
    let percent = |rng: &mut Rng, percent: u64| rng.below(100) < percent;
    if percent(rng, plan.read_percent) {
        let is_list = percent(rng, plan.list_percent);
        return if is_list { Asked::List } else { Asked::Get { key } };
    }
    if percent(rng, 30) {
        return Asked::Delete { key };
    }
    let ttl = percent(rng, plan.ttl_percent).then(|| rng.between(1, plan.ttl_ms_max));
    let ttl = ttl.and_then(|ms| Ttl::from_ms(ms).expect("within the limits"));
    let bytes = match rng.below(1_000) {
        0 => VALUE_BYTES_MAX - 32,
        1..=15 => GOSSIP_PUSHED_BYTES_MAX + usize::try_from(rng.below(20_000)).expect("small"),
        _ => 0,
    };
    Asked::Put { key, value: value(number, bytes), ttl }
}

/// A value that no other operation writes.
fn value(number: u64, bytes: usize) -> Encoded {
    let value = if bytes == 0 {
        Value::from(number.cast_signed())
    } else {
        Value::from(format!("{number}{}", ".".repeat(bytes)).as_str())
    };
    Encoded::new(&value).expect("within the limits")
}

/// Numbers of subjects for bursts.
const BURST: u32 = 1 << 30;
/// Of a million bursts, before so many the client moves.
const MOVES_PER_MILLION: u32 = 50_000;
/// From a client to its node.
const ASK_US: u64 = 50;
/// What a client waits beyond the deadline that it gave its node.
const GRACE_MS: u64 = 600;
