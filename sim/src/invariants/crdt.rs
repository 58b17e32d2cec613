//! What CRDT replicas promise, judged by what the world has seen of each write.
//!
//! A [`Book`] is kept for each of the two spaces. It knows who wrote what, from the calls that were made,
//! and after every step it looks at what the replica concerned covers and holds. Nothing of the engine is
//! asked whether that is right: the newest write of each key among those that are covered is found here.
//!
//! Invariants: what a replica covers is only looked through for what is new in it, so that a look costs
//! as much as the step did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plimsoll::clock::UnixMillis;
use plimsoll::crdt::{Author, Coverage, Dot, Entry, MemberId, Replica, Stamp, Written};
use plimsoll::kv::QualifiedKey;
use plimsoll::value::Encoded;

use super::{Promise, Violation};

pub(super) const STAMPS_GROW: Promise = Promise {
    name: "stamps grow",
    sentence: "no two writes have one stamp, and each is later than all that its replica covers and all \
               that its member wrote before, over restarts too unless the disk was lost",
};
pub(super) const COVERED_IS_HELD: Promise = Promise {
    name: "covered is held",
    sentence: "a joined replica holds of each key the newest write that it covers, or has dropped it as a \
               tombstone; what an incarnation covers only grows",
};
pub(super) const NOTHING_COMES_BACK: Promise = Promise {
    name: "nothing comes back",
    sentence: "no joined replica shows what is older than a write that all listed replicas covered, or \
               that was dropped as a tombstone, until all have lost that",
};
pub(super) const NOTHING_FROM_THE_FUTURE: Promise = Promise {
    name: "nothing from the future",
    sentence: "no replica covers a write that is ahead of all that its clock has shown by more than the bound",
};
pub(super) const EQUAL_COVERAGE: Promise = Promise {
    name: "equal coverage",
    sentence: "joined replicas that cover the same hold the same lasting values",
};
pub(super) const ACKNOWLEDGED_IS_KEPT: Promise = Promise {
    name: "acknowledged is kept",
    sentence: "a replica covers what it acknowledged until its state is lost; a durable one over crashes",
};
pub(super) const READS_OWN_WRITES: Promise = Promise {
    name: "reads own writes",
    sentence: "a client that stays at a replica sees there what it wrote and read before, or what is later",
};
pub(crate) const READS_WHAT_WAS_WRITTEN: Promise = Promise {
    name: "reads what was written",
    sentence: "what a read shows was written under that key, with that stamp and deadline",
};
/// What is counted as an alarm does not happen.
pub(crate) const NO_ALARM: Promise = Promise {
    name: "no alarm",
    sentence: "no replica counts a fault or a divergence, and no node a message that is none",
};
/// Clocks refuse only while one is wrong.
pub(crate) const CLOCKS_REFUSE: Promise = Promise {
    name: "clocks refuse",
    sentence: "a clock refuses a write only if a clock is or was off, a message came late that told the \
               time, a node has just started, or its bound is not durable yet",
};
/// Liveness after healing.
pub(crate) const SERVES_AFTER_HEALING: Promise = Promise {
    name: "serves after healing",
    sentence: "every listed node takes writes within a bound after everything was healed",
};
/// SWIM after healing.
pub(crate) const SEEN_AFTER_HEALING: Promise = Promise {
    name: "seen after healing",
    sentence: "every listed node sees every other one up within a bound after everything was healed",
};
pub(super) const COLLECTED_AFTER_HEALING: Promise = Promise {
    name: "collected after healing",
    sentence: "no tombstone is left, and collection waits for nobody, once everything was healed",
};
pub(super) const REPLICAS_CONVERGE: Promise = Promise {
    name: "replicas converge",
    sentence: "once everything was healed all listed replicas hold the same bytes, of each key the write \
               with the greatest stamp among those that survive",
};

/// A write that was made.
#[derive(Clone, Debug)]
struct Write {
    key: QualifiedKey,
    stamp: Stamp,
    deadline: Option<UnixMillis>,
    /// None is a delete.
    value: Option<Encoded>,
    /// At which place.
    by: u8,
    /// The state that it was written into, or synced into, is there.
    is_kept: bool,
}

/// The writes of one space, and what the replica at each place was seen to make of them.
#[derive(Debug)]
pub(crate) struct Book {
    writes: BTreeMap<Dot, Write>,
    by_key: BTreeMap<QualifiedKey, BTreeMap<Stamp, Dot>>,
    views: Vec<View>,
    /// The last stamp of each member.
    last: BTreeMap<MemberId, Stamp>,
    buried: BTreeMap<QualifiedKey, (Stamp, Dot)>,
    bound_ms: u64,
}

/// What was last seen of the replica at a place. While its node is down: what it goes on with.
#[derive(Clone, Debug, Default)]
struct View {
    author: Option<Author>,
    has_joined: bool,
    coverage: Coverage,
    root: u128,
    /// The newest write that is covered, of each key; and of all.
    newest: BTreeMap<QualifiedKey, (Stamp, Dot)>,
    greatest: Option<Stamp>,
    held: BTreeMap<QualifiedKey, Stamp>,
    /// Values without a deadline.
    lasting: Vec<(QualifiedKey, Stamp)>,
    acknowledged: Vec<Dot>,
}

/// What a look depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    /// The places of the members that were agreed on last.
    pub listed: &'a BTreeSet<u8>,
    /// The clock of the replica that is looked at.
    pub wall: UnixMillis,
    /// The latest that it has ever shown.
    pub own_latest: UnixMillis,
    /// The latest that any clock has ever shown.
    pub latest: UnixMillis,
}

/// What a look found that is worth a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looked {
    /// Something changed.
    pub has_changed: bool,
    /// Something that was held is not held any more.
    pub has_dropped: bool,
}

impl Book {
    pub fn new(places: usize, bound_ms: u64) -> Self {
        Self {
            writes: BTreeMap::new(),
            by_key: BTreeMap::new(),
            views: vec![View::default(); places],
            last: BTreeMap::new(),
            buried: BTreeMap::new(),
            bound_ms,
        }
    }

    /// A replica has taken a write.
    pub fn note_write(
        &mut self,
        by: u8,
        key: &QualifiedKey,
        value: Option<Encoded>,
        written: &Written,
    ) -> Result<(), Violation> {
        let Written { stamp, dot, deadline, record, .. } = *written;
        let seen = self.views[usize::from(by)].greatest;
        let last = self.last.get(&stamp.author.member).copied();
        if last.max(seen) >= Some(stamp) {
            return Err(STAMPS_GROW.broken(format!(
                "{dot:?} at node {by} has {stamp:?}; it wrote {last:?} last and covers {seen:?}"
            )));
        }
        self.last.insert(stamp.author.member, stamp);
        self.forget_unsynced(dot)?;
        let is_kept = record.is_none();
        let write = Write { key: key.clone(), stamp, deadline, value, by, is_kept };
        self.writes.insert(dot, write);
        match self.by_key.entry(key.clone()).or_default().insert(stamp, dot) {
            None => Ok(()),
            Some(other) => {
                Err(STAMPS_GROW.broken(format!("{stamp:?} is of {dot:?} and {other:?}")))
            }
        }
    }

    /// A write that a crash has undone before anybody saw it leaves its name to another one.
    fn forget_unsynced(&mut self, dot: Dot) -> Result<(), Violation> {
        let Some(write) = self.writes.remove(&dot) else { return Ok(()) };
        if write.is_kept || self.views.iter().any(|view| view.coverage.covers(dot)) {
            return Err(STAMPS_GROW.broken(format!("{dot:?} names {write:?} and another write")));
        }
        if let Some(writes) = self.by_key.get_mut(&write.key) {
            writes.remove(&write.stamp);
        }
        Ok(())
    }

    /// A replica has acknowledged one of its writes.
    pub fn acknowledge(&mut self, by: u8, dot: Dot) -> Result<(), Violation> {
        let view = &mut self.views[usize::from(by)];
        view.acknowledged.push(dot);
        self.writes.get_mut(&dot).expect("it was noted when it was made").is_kept = true;
        view.check_acknowledged(by, &view.acknowledged[view.acknowledged.len() - 1..])
    }

    /// The replica at a place has lost its state, wholly or in part.
    pub fn lose(&mut self, place: u8, listed: &BTreeSet<u8>) {
        self.views[usize::from(place)] = View::default();
        self.writes
            .values_mut()
            .filter(|write| write.by == place)
            .for_each(|it| it.is_kept = false);
        self.list_changed(listed);
    }

    /// A member has lost its clock's bound.
    pub fn lose_clock(&mut self, member: MemberId) {
        self.last.remove(&member);
    }

    /// What all listed members have lost may be missed.
    pub fn list_changed(&mut self, listed: &BTreeSet<u8>) {
        let Self { views, buried, .. } = self;
        let covers = |place: &u8, dot| views[usize::from(*place)].coverage.covers(dot);
        buried.retain(|_, (_, dot)| listed.iter().any(|place| covers(place, *dot)));
    }

    /// Looks at what changed in the replica at a place.
    pub fn look(
        &mut self,
        place: u8,
        replica: &Replica,
        scene: &Scene<'_>,
    ) -> Result<Looked, Violation> {
        let view = &mut self.views[usize::from(place)];
        let (author, root) = (replica.author(), replica.map().trie().root());
        let is_new = view.author != Some(author);
        let has_joined = replica.shows().is_ok();
        let is_same = view.root == root && view.coverage == *replica.coverage();
        if !is_new && is_same && view.has_joined == has_joined {
            return Ok(Looked::default());
        }
        if is_new {
            let acknowledged = std::mem::take(&mut view.acknowledged);
            *view = View { author: Some(author), acknowledged, ..View::default() };
        }
        view.has_joined = has_joined;
        let gained = self.take_coverage(place, replica.coverage())?;
        self.check_future(place, &gained, scene)?;
        if is_new {
            let view = &self.views[usize::from(place)];
            view.check_acknowledged(place, &view.acknowledged)?;
        }
        let dropped = self.take_map(place, replica);
        if has_joined {
            self.check_held(place, replica, scene)?;
            self.bury(&gained, &dropped, scene);
            self.check_buried(place, replica, scene)?;
            self.check_equal(place, scene)?;
        }
        Ok(Looked { has_changed: true, has_dropped: !dropped.is_empty() })
    }

    /// Takes note of what is covered newly.
    fn take_coverage(&mut self, place: u8, coverage: &Coverage) -> Result<Vec<Dot>, Violation> {
        let view = &mut self.views[usize::from(place)];
        let lost = view.coverage.difference(coverage);
        if !lost.is_empty() {
            let what = format!("node {place} covered {lost:?} and does not any more");
            return Err(COVERED_IS_HELD.broken(what));
        }
        let mut gained = Vec::new();
        for (author, (first, last)) in coverage.difference(&view.coverage).runs() {
            for counter in first..=last {
                let dot = Dot { author, counter };
                let Some(write) = self.writes.get(&dot) else {
                    let what = format!("node {place} covers {dot:?}, which nobody wrote");
                    return Err(COVERED_IS_HELD.broken(what));
                };
                let newest = view.newest.entry(write.key.clone()).or_insert((write.stamp, dot));
                *newest = (*newest).max((write.stamp, dot));
                view.greatest = view.greatest.max(Some(write.stamp));
                gained.push(dot);
            }
        }
        view.coverage = coverage.clone();
        Ok(gained)
    }

    /// What is covered newly is not from too far in the future by any reading of the own clock.
    fn check_future(&self, place: u8, gained: &[Dot], scene: &Scene<'_>) -> Result<(), Violation> {
        let most = scene.own_latest.after(self.bound_ms);
        let is_beyond = |dot: &&Dot| self.writes[*dot].stamp.time.wall > most;
        match gained.iter().find(is_beyond) {
            None => Ok(()),
            Some(dot) => Err(NOTHING_FROM_THE_FUTURE.broken(format!(
                "node {place} covers {:?}, its clock has shown {:?} at most",
                self.writes[dot], scene.own_latest
            ))),
        }
    }

    /// Takes note of what is held. Answers what is not any more, although nothing replaced it.
    fn take_map(&mut self, place: u8, replica: &Replica) -> Vec<(QualifiedKey, Stamp)> {
        let view = &mut self.views[usize::from(place)];
        let map = replica.map();
        view.root = map.trie().root();
        let is_lasting =
            |entry: &Entry| !entry.is_delete() && entry.register.val.deadline.is_none();
        let held: BTreeMap<_, _> =
            map.iter().map(|(key, entry)| (key.clone(), entry.stamp())).collect();
        let lasting = map.iter().filter(|(_, entry)| is_lasting(entry));
        view.lasting = lasting.map(|(key, entry)| (key.clone(), entry.stamp())).collect();
        let before = std::mem::replace(&mut view.held, held);
        before.into_iter().filter(|(key, _)| !view.held.contains_key(key)).collect()
    }

    /// Whether nobody can see a write any more, by any clock.
    fn is_tombstone(&self, write: &Write, latest: UnixMillis) -> bool {
        let has_passed = |deadline: UnixMillis| deadline.after(self.bound_ms) <= latest;
        write.value.is_none() || write.deadline.is_some_and(has_passed)
    }

    fn check_held(&self, place: u8, replica: &Replica, scene: &Scene<'_>) -> Result<(), Violation> {
        let view = &self.views[usize::from(place)];
        for (key, (stamp, dot)) in &view.newest {
            let write = &self.writes[dot];
            let held = view.held.get(key);
            let may_be_dropped = held.is_none() && self.is_tombstone(write, scene.latest);
            if held != Some(stamp) && !may_be_dropped {
                let what = format!("node {place} covers {write:?} and holds {held:?}");
                return Err(COVERED_IS_HELD.broken(what));
            }
        }
        for (key, entry) in replica.map().iter() {
            let write = self.writes.get(&entry.dot());
            let is_it = |write: &&Write| {
                (write.stamp, write.deadline) == (entry.stamp(), entry.register.val.deadline)
                    && write.key == *key
            };
            if write.filter(is_it).is_none() || !view.newest.contains_key(key) {
                let what = format!("node {place} holds {key:?} {entry:?}, written was {write:?}");
                return Err(COVERED_IS_HELD.broken(what));
            }
        }
        Ok(())
    }

    /// Takes note of what may not be missed any more.
    fn bury(&mut self, gained: &[Dot], dropped: &[(QualifiedKey, Stamp)], scene: &Scene<'_>) {
        let Self { writes, views, buried, by_key, .. } = self;
        let mut bury = |key: &QualifiedKey, stamp, dot| {
            let known = buried.entry(key.clone()).or_insert((stamp, dot));
            *known = (*known).max((stamp, dot));
        };
        let has = |place: &u8, dot| {
            let view = &views[usize::from(*place)];
            view.has_joined && view.coverage.covers(dot)
        };
        for dot in gained {
            if scene.listed.iter().all(|place| has(place, *dot)) {
                bury(&writes[dot].key, writes[dot].stamp, *dot);
            }
        }
        for (key, stamp) in dropped {
            if let Some(dot) = by_key.get(key).and_then(|writes| writes.get(stamp)) {
                bury(key, *stamp, *dot);
            }
        }
    }

    fn check_buried(
        &self,
        place: u8,
        replica: &Replica,
        scene: &Scene<'_>,
    ) -> Result<(), Violation> {
        if !scene.listed.contains(&place) {
            return Ok(());
        }
        for (key, (buried, dot)) in &self.buried {
            let shown = replica.map().get(key, scene.wall).map(|entry| entry.stamp());
            if shown.is_some_and(|shown| shown < *buried) {
                return Err(NOTHING_COMES_BACK.broken(format!(
                    "node {place} shows {key:?} {shown:?}, and {dot:?} {buried:?} was known to all"
                )));
            }
        }
        Ok(())
    }

    fn check_equal(&self, place: u8, scene: &Scene<'_>) -> Result<(), Violation> {
        let view = &self.views[usize::from(place)];
        for other in scene.listed.iter().filter(|other| **other != place) {
            let theirs = &self.views[usize::from(*other)];
            let covers_same = theirs.has_joined && theirs.coverage == view.coverage;
            if covers_same && theirs.lasting != view.lasting {
                return Err(EQUAL_COVERAGE.broken(format!(
                    "node {place} holds {:?}, node {other} holds {:?}",
                    view.lasting, theirs.lasting
                )));
            }
        }
        Ok(())
    }

    /// What a read shows. `floor`: the latest of the key that its client has seen at this replica.
    pub fn check_read(
        &self,
        key: &QualifiedKey,
        shown: Option<&Arc<Entry>>,
        floor: Option<Stamp>,
        latest: UnixMillis,
    ) -> Result<(), Violation> {
        let Some(entry) = shown else {
            let writes = self.by_key.get(key);
            let is_gone = |dot: &Dot| {
                let write = &self.writes[dot];
                write.value.is_none() || write.deadline.is_some_and(|it| it <= latest)
            };
            let explains =
                |floor| writes.is_some_and(|it| it.range(floor..).any(|it| is_gone(it.1)));
            return match floor {
                Some(floor) if !explains(floor) => Err(READS_OWN_WRITES
                    .broken(format!("{key:?} shows nothing, and {floor:?} was seen there"))),
                _ => Ok(()),
            };
        };
        let write = self.writes.get(&entry.dot());
        let is_it = |write: &&Write| {
            (&write.key, write.stamp, write.deadline)
                == (key, entry.stamp(), entry.register.val.deadline)
                && write.value.is_some()
                && write.value == entry.bytes
        };
        if write.filter(is_it).is_none() {
            let what = format!("{key:?} shows {entry:?}, written was {write:?}");
            return Err(READS_WHAT_WAS_WRITTEN.broken(what));
        }
        if Some(entry.stamp()) < floor {
            let what = format!("{key:?} shows {:?}, and {floor:?} was seen there", entry.stamp());
            return Err(READS_OWN_WRITES.broken(what));
        }
        Ok(())
    }

    /// The greatest stamp that was given, and the latest deadline.
    pub fn latest_instant(&self) -> UnixMillis {
        let instants = self.writes.values().map(|it| it.deadline.max(Some(it.stamp.time.wall)));
        instants.max().flatten().unwrap_or(UnixMillis(0))
    }

    /// The end: all listed replicas hold the same, and of each key what has to be there.
    pub fn check_end(&self, replicas: &[(u8, &Replica)]) -> Result<(), Violation> {
        let Some((_, first)) = replicas.first() else { return Ok(()) };
        for (place, replica) in replicas {
            let status = replica.status();
            if !status.has_joined {
                return Err(SERVES_AFTER_HEALING.broken(format!("node {place}: {status:?}")));
            }
            let is_same = replica.coverage() == first.coverage();
            if !is_same || replica.map().dump() != first.map().dump() {
                return Err(REPLICAS_CONVERGE.broken(self.difference(*place, replica, first)));
            }
            if status.tombstones > 0 || !status.blocking.is_empty() || !status.is_whole {
                return Err(COLLECTED_AFTER_HEALING.broken(format!("node {place}: {status:?}")));
            }
        }
        for (key, writes) in &self.by_key {
            let covered = writes.iter().rev().find(|(_, dot)| first.coverage().covers(**dot));
            let kept = writes.iter().rev().find(|(_, dot)| self.is_kept(dot, replicas));
            let held = first.map().entry(key).map(|entry| entry.stamp());
            let winner = covered.filter(|(_, dot)| {
                let write = &self.writes[dot];
                write.value.is_some() && write.deadline.is_none()
            });
            if held != winner.map(|(stamp, _)| *stamp) || covered < kept {
                return Err(REPLICAS_CONVERGE.broken(format!(
                    "{key:?} is {held:?}; the greatest that is covered is {covered:?}, the greatest that \
                     was kept {kept:?}"
                )));
            }
        }
        Ok(())
    }

    fn is_kept(&self, dot: &Dot, replicas: &[(u8, &Replica)]) -> bool {
        let write = &self.writes[dot];
        write.is_kept && replicas.iter().any(|(place, _)| *place == write.by)
    }

    fn difference(&self, place: u8, replica: &Replica, first: &Replica) -> String {
        let lacks = first.coverage().difference(replica.coverage());
        let has = replica.coverage().difference(first.coverage());
        let held = |replica: &Replica| {
            let entries = replica.map().iter();
            entries.map(|(key, entry)| format!("{key:?} {:?}", entry.stamp())).collect::<Vec<_>>()
        };
        format!(
            "node {place} lacks {lacks:?} of the first one, and has {has:?} more\n{:?}\n{:?}",
            held(first),
            held(replica)
        )
    }
}

impl View {
    fn check_acknowledged(&self, place: u8, dots: &[Dot]) -> Result<(), Violation> {
        match dots.iter().find(|dot| !self.coverage.covers(**dot)) {
            None => Ok(()),
            Some(dot) => {
                let what = format!("node {place} has acknowledged {dot:?} and does not cover it");
                Err(ACKNOWLEDGED_IS_KEPT.broken(what))
            }
        }
    }
}
