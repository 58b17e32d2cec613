//! What a node must not forget, and must not say before it can't be forgotten.

use std::collections::BTreeMap;

use plimsoll::raft::{Body, Envelope, RaftId};
use plimsoll::storage::{Batch, Recovered, SnapshotMeta};

use super::{Promise, Violation};

pub(super) const NOTHING_FORGOTTEN: Promise = Promise {
    name: "nothing forgotten",
    sentence: "term, vote, entries and snapshot that were acknowledged as durable survive every crash",
};
pub(super) const DURABLE_BEFORE_SAID: Promise = Promise {
    name: "durable before said",
    sentence: "a node confirms a term, a vote or an entry only when that is durable",
};
pub(super) const STORAGE_OPENS: Promise = Promise {
    name: "storage opens",
    sentence: "storage opens after every crash that damaged nothing synced",
};
pub(super) const DAMAGE_IS_REFUSED: Promise = Promise {
    name: "damage is refused",
    sentence: "storage does not open when something that counts is damaged",
};

/// What of a node's state is acknowledged as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub term: u64,
    pub vote: u64,
    pub last_index: u64,
    pub snapshot: u64,
}

/// The last index that leaders have brought to a node, by their terms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brought(BTreeMap<u64, u64>);

impl Brought {
    /// A message comes to the node.
    pub fn note(&mut self, envelope: &Envelope) {
        let Body::Raft(message) = &envelope.body else { return };
        if envelope.body.kind() != "append" {
            return;
        }
        let last = message.index + message.entries.len() as u64;
        let known = self.0.entry(message.term).or_default();
        *known = last.max(*known);
    }

    fn up_to(&self, term: u64) -> u64 {
        self.0.get(&term).copied().unwrap_or(0)
    }
}

impl Durable {
    /// What a start found.
    pub fn recovered(recovered: &Recovered) -> Self {
        let snapshot = recovered.snapshot.as_ref().map_or(0, |(meta, _)| meta.index);
        Self {
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            last_index: recovered.entries.last().map_or(snapshot, |entry| entry.index),
            snapshot,
        }
    }

    /// A batch was synced.
    pub fn synced(&mut self, batch: &Batch) {
        if let Some(hard_state) = batch.hard_state {
            (self.term, self.vote) = (hard_state.term, hard_state.vote);
        }
        if let Some((index, _)) = batch.reset {
            self.last_index = index;
        }
        if let Some(last) = batch.entries.last() {
            self.last_index = last.index;
        }
    }

    /// A snapshot was saved.
    pub fn saved(&mut self, meta: SnapshotMeta) {
        self.snapshot = self.snapshot.max(meta.index);
    }

    /// After a crash: what was found is at least what was durable. A batch that was written and not
    /// synced may have survived, and shorten the log: then `shortened_to` is where it would end.
    pub fn check_recovered(
        &self,
        found: &Recovered,
        shortened_to: Option<u64>,
    ) -> Result<(), Violation> {
        let now = Self::recovered(found);
        let kept = shortened_to.map_or(self.last_index, |end| self.last_index.min(end));
        let is_vote_kept = now.term > self.term || self.vote == 0 || now.vote == self.vote;
        if now.term >= self.term
            && is_vote_kept
            && now.last_index >= kept.max(self.snapshot)
            && now.snapshot >= self.snapshot
        {
            return Ok(());
        }
        Err(NOTHING_FORGOTTEN.broken(format!("durable was {self:?}, found is {now:?}")))
    }

    /// A message leaves the node.
    pub fn check_said(&self, envelope: &Envelope, brought: &Brought) -> Result<(), Violation> {
        let Body::Raft(message) = &envelope.body else { return Ok(()) };
        let kind = envelope.body.kind();
        let wrong = |what: String| {
            Err(DURABLE_BEFORE_SAID.broken(format!(
                "{:?} says {kind} to {:?}: {what}, durable is {self:?}",
                envelope.from, envelope.to
            )))
        };
        match kind {
            // A pre-vote asks about the term after; nothing changes by it.
            "pre-vote" | "pre-vote-response" => Ok(()),
            "vote-response" if !message.reject => {
                // In a term that lies behind it can't vote any more.
                let is_past = message.term < self.term;
                if is_past || (self.term, RaftId(self.vote)) == (message.term, envelope.to) {
                    return Ok(());
                }
                wrong(format!("its vote in term {}", message.term))
            }
            // What came in an earlier term may have given way to a later one before the disk took it. Who
            // elected the later leader did not have it, so that by this answer it can't be committed.
            "append-response"
                if message.term < self.term && message.index <= brought.up_to(message.term) =>
            {
                Ok(())
            }
            "append-response" if !message.reject && message.index > self.last_index => {
                wrong(format!("it has index {}", message.index))
            }
            _ if message.term > self.term => wrong(format!("term {}", message.term)),
            _ => Ok(()),
        }
    }
}

pub(crate) fn does_not_open(why: &str) -> Violation {
    STORAGE_OPENS.broken(why)
}

pub(crate) fn damage_was_opened(node: u8) -> Violation {
    DAMAGE_IS_REFUSED.broken(format!("node {node} started on a damaged log"))
}
