//! Since when a leader has not heard the members, and since when they are as they are.
//!
//! It counts from its own election at the earliest: what another one saw, or it saw before, is no reason
//! to remove anybody. Nor is time in which it did not look.

use std::collections::{BTreeMap, BTreeSet};

use crate::mutant::mutant;
use crate::node::about::Sightings;
use crate::raft::{RaftId, Reached};

use super::rules::Reach;

/// What a leader remembers of its term. Of a node that does not lead, nothing.
#[derive(Debug, Default)]
pub struct Watch {
    term: Option<u64>,
    looked_ms: u64,
    /// When a member answered last; of one that never did, since when it is waited for.
    heard: BTreeMap<RaftId, u64>,
    caught_up: BTreeSet<RaftId>,
    /// The voters, of both halves, and the learners.
    parts: [BTreeSet<RaftId>; 3],
    changed_ms: u64,
}

impl Watch {
    /// Looks at how a leader reaches the others. It begins anew in another term, and after a pause in
    /// which nothing was heard.
    pub fn look(
        &mut self,
        term: u64,
        parts: [&BTreeSet<RaftId>; 3],
        reached: &BTreeMap<RaftId, Reached>,
        now_ms: u64,
    ) {
        let has_paused = now_ms.saturating_sub(self.looked_ms) > PAUSE_MS;
        if self.term != Some(term) || has_paused && !mutant!("a pause is time of watching") {
            *self = Self { term: Some(term), changed_ms: now_ms, ..Self::default() };
        }
        self.looked_ms = now_ms;
        self.heard.retain(|id, _| reached.contains_key(id));
        for (id, reached) in reached {
            let began_ms = if mutant!("new leader has watched before") { 0 } else { now_ms };
            let heard_ms = self.heard.entry(*id).or_insert(began_ms);
            if reached.is_active {
                *heard_ms = now_ms;
            }
        }
        let caught_up = reached.iter().filter(|(_, reached)| reached.is_caught_up);
        self.caught_up = caught_up.map(|(id, _)| *id).collect();
        if self.parts.each_ref() != parts {
            self.parts = parts.map(Clone::clone);
            self.changed_ms = now_ms;
        }
    }

    /// It does not lead.
    pub fn forget(&mut self) {
        if self.term.is_some() {
            *self = Self::default();
        }
    }

    /// How the members are reached that a leader knows.
    pub fn reach(&self, sightings: Option<&Sightings>, now_ms: u64) -> BTreeMap<RaftId, Reach> {
        let reach = |(id, heard_ms): (&RaftId, &u64)| {
            let silent_ms = now_ms.saturating_sub(*heard_ms);
            let unseen_ms = unseen_ms(*id, sightings, now_ms);
            let reach = Reach {
                is_heard: silent_ms <= HEARD_MS,
                is_caught_up: self.caught_up.contains(id),
                is_seen: sightings.is_some() && unseen_ms.is_none(),
                away_ms: away_ms(silent_ms, unseen_ms),
            };
            (*id, reach)
        };
        self.heard.iter().map(reach).collect()
    }

    /// Whether the members have been the same for so long.
    pub fn is_settled(&self, for_ms: u64, now_ms: u64) -> bool {
        let [_, outgoing, _] = &self.parts;
        outgoing.is_empty() && now_ms.saturating_sub(self.changed_ms) >= for_ms
    }
}

/// For how long neither the leader nor gossip has reached a member.
fn away_ms(silent_ms: u64, unseen_ms: Option<u64>) -> Option<u64> {
    if mutant!("leader alone finds who is away") {
        return (silent_ms > HEARD_MS).then_some(silent_ms);
    }
    if mutant!("gossip alone finds who is away") {
        return unseen_ms;
    }
    unseen_ms.filter(|_| silent_ms > HEARD_MS).map(|unseen_ms| unseen_ms.min(silent_ms))
}

/// For how long gossip has not seen a node: never seen, since gossip runs here. None if it sees it, and
/// where there is no gossip.
pub fn unseen_ms(id: RaftId, sightings: Option<&Sightings>, now_ms: u64) -> Option<u64> {
    let Sightings { since_ms, seen } = sightings?;
    let since_ms = match seen.get(&id) {
        Some(sighting) if sighting.is_up => return None,
        Some(sighting) => sighting.since_ms,
        None => *since_ms,
    };
    Some(now_ms.saturating_sub(since_ms))
}

/// For how long whoever was heard counts as there.
const HEARD_MS: u64 = 3_000;
/// After which time without a look nothing that was seen before counts.
const PAUSE_MS: u64 = 3_000;
