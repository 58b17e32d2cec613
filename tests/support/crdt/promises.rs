//! What has to hold after every step, and what has to be there in the end. It shares nothing with the
//! engine but the names of writes.

use std::collections::BTreeMap;

use plimsoll::clock::UnixMillis;
use plimsoll::crdt::{Dot, LwwMap, MemberList, Stamp};
use plimsoll::kv::QualifiedKey;

use super::node::{BOUND_MS, Node, member};

/// A write that some client asked for, or that a mutant made.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: QualifiedKey,
    pub stamp: Stamp,
    pub dot: Dot,
    pub is_delete: bool,
    pub deadline: Option<UnixMillis>,
}

/// What was written, and what nobody may show any more.
#[derive(Default)]
pub struct Promises {
    pub writes: Vec<Write>,
    buried: BTreeMap<QualifiedKey, Stamp>,
}

impl Promises {
    /// `last` is the last list that was agreed on, whoever has heard of it.
    pub fn check(
        &mut self,
        nodes: &[Node],
        last: &MemberList,
        monotonic_ms: u64,
    ) -> Result<(), String> {
        for node in joined(nodes) {
            self.is_covered(node, nodes, monotonic_ms)?;
        }
        self.bury(nodes, last, monotonic_ms);
        for node in joined(nodes) {
            if last.members.contains(&member(node.number)) {
                self.is_buried(node, monotonic_ms)?;
            }
            let status = node.replica.status();
            if (status.faults, status.divergences) != (0, 0) {
                return Err(format!("faults or divergences: {status:?}"));
            }
        }
        are_equal(nodes, monotonic_ms)
    }

    /// A joined member holds the newest write that it covers, or has dropped it as a tombstone.
    fn is_covered(&self, node: &Node, nodes: &[Node], ms: u64) -> Result<(), String> {
        let (map, coverage) = (node.replica.map(), node.replica.coverage());
        let mut newest: BTreeMap<&QualifiedKey, &Write> = BTreeMap::new();
        for write in self.writes.iter().filter(|write| coverage.covers(write.dot)) {
            let known = newest.entry(&write.key).or_insert(write);
            if known.stamp < write.stamp {
                *known = write;
            }
        }
        for (key, write) in &newest {
            let held = map.entry(*key).map(|entry| entry.stamp());
            let may_be_dropped = is_tombstone(write, nodes, ms);
            if held != Some(write.stamp) && !(held.is_none() && may_be_dropped) {
                let n = node.number;
                return Err(format!("not covered: n{n} covers {write:?} and holds {held:?}"));
            }
            let deadline = map.entry(*key).and_then(|entry| entry.register.val.deadline);
            if held.is_some() && deadline != write.deadline {
                return Err(format!("n{} has another deadline than {write:?}", node.number));
            }
        }
        match map.iter().find(|(key, _)| !newest.contains_key(key)) {
            Some((key, entry)) => Err(format!("n{} holds {key:?} {entry:?}", node.number)),
            None => Ok(()),
        }
    }

    /// Once everyone who is listed covered a tombstone, or one dropped it, nothing older may be shown,
    /// until all have lost it.
    fn bury(&mut self, nodes: &[Node], last: &MemberList, ms: u64) {
        let mut is_new = listed(nodes, last).map(|node| {
            let status = node.replica.status();
            status.has_joined && status.epoch == last.epoch
        });
        if is_new.all(|it| it) {
            for write in self.writes.iter().filter(|write| is_tombstone(write, nodes, ms)) {
                if listed(nodes, last).all(|node| node.replica.coverage().covers(write.dot)) {
                    let buried = self.buried.entry(write.key.clone()).or_insert(write.stamp);
                    *buried = (*buried).max(write.stamp);
                }
            }
        }
        let writes = &self.writes;
        self.buried.retain(|_, stamp| {
            let write = writes.iter().find(|write| write.stamp == *stamp).unwrap();
            listed(nodes, last).any(|node| node.replica.coverage().covers(write.dot))
        });
    }

    /// What a member has dropped as a tombstone must not be missed by any other.
    pub fn bury_collected(&mut self, before: &LwwMap, after: &LwwMap) {
        for (key, entry) in before.iter().filter(|(key, _)| after.entry(*key).is_none()) {
            let buried = self.buried.entry(key.clone()).or_insert(entry.stamp());
            *buried = (*buried).max(entry.stamp());
        }
    }

    fn is_buried(&self, node: &Node, ms: u64) -> Result<(), String> {
        for (key, buried) in &self.buried {
            let wall = node.now(ms).wall;
            let shown = node.replica.map().get(key, wall).map(|entry| entry.stamp());
            if shown.is_some_and(|shown| shown < *buried) {
                let n = node.number;
                return Err(format!("resurrected: n{n} shows {shown:?}, buried is {buried:?}"));
            }
        }
        Ok(())
    }

    /// What has to be shown in the end: the newest write of each key that any listed member covers.
    pub fn survivors(&self, nodes: &[Node], last: &MemberList) -> BTreeMap<QualifiedKey, Write> {
        let mut newest: BTreeMap<QualifiedKey, Write> = BTreeMap::new();
        for write in &self.writes {
            let is_kept = listed(nodes, last).any(|node| node.replica.coverage().covers(write.dot));
            let known = newest.get(&write.key).map(|known| known.stamp);
            if is_kept && known < Some(write.stamp) {
                newest.insert(write.key.clone(), write.clone());
            }
        }
        newest
    }
}

/// Whether a write is a tombstone to everyone.
pub fn is_tombstone(write: &Write, nodes: &[Node], ms: u64) -> bool {
    let has_passed = |deadline: UnixMillis| nodes.iter().all(|node| deadline <= node.now(ms).wall);
    write.is_delete || write.deadline.is_some_and(has_passed)
}

/// Members that cover the same show the same.
fn are_equal(nodes: &[Node], ms: u64) -> Result<(), String> {
    let shown = |node: &Node| {
        let all = node.replica.map().iter();
        let is_lasting = |deadline: UnixMillis| nodes.iter().all(|n| deadline > n.now(ms).wall);
        let shown = all.filter(|(_, entry)| {
            !entry.is_delete() && entry.register.val.deadline.is_none_or(is_lasting)
        });
        shown.map(|(key, entry)| (key.clone(), entry.stamp())).collect::<Vec<_>>()
    };
    for one in joined(nodes) {
        for other in joined(nodes) {
            let covers_same = one.replica.coverage() == other.replica.coverage();
            if covers_same && shown(one) != shown(other) {
                let (one, other) = (one.number, other.number);
                return Err(format!("n{one} and n{other} cover the same and show other things"));
            }
        }
    }
    Ok(())
}

/// The members of a list.
pub fn listed<'a>(nodes: &'a [Node], list: &MemberList) -> impl Iterator<Item = &'a Node> {
    nodes.iter().filter(|node| list.members.contains(&member(node.number)))
}

pub fn joined(nodes: &[Node]) -> impl Iterator<Item = &Node> {
    nodes.iter().filter(|node| node.replica.status().has_joined)
}

/// Longer than any deadline lies ahead, and than clocks differ.
pub const LONG_MS: u64 = 20 * BOUND_MS;
