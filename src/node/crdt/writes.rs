//! Writes that wait: for the bound of the clock, or to be durable.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::clock::Now;
use crate::crdt::{Refusal, Written};
use crate::entry::Ttl;
use crate::gossip::{Node, Space};
use crate::hlc::ClockRefusal;
use crate::kv::QualifiedKey;
use crate::mutant::mutant;
use crate::value::Encoded;

/// A write of this process or of a client.
pub(in crate::node) struct Write {
    pub space: Space,
    pub key: QualifiedKey,
    pub action: Action,
    pub answer: Answer,
}

/// What a write does.
pub(in crate::node) enum Action {
    Put(Encoded, Option<Ttl>),
    Delete,
}

/// Who waits for a write.
pub(in crate::node) type Answer = oneshot::Sender<Result<Written, Refusal>>;

/// All writes that wait.
#[derive(Default)]
pub(super) struct Writes {
    /// They need a later bound of the clock.
    held: VecDeque<Write>,
    /// They are made, and durable with a record.
    undurable: VecDeque<(u64, Answer, Written)>,
    /// They are answered once the replicas are published.
    ended: Vec<(Answer, Result<Written, Refusal>)>,
    /// Those that a clock has refused.
    pub clock_refusals: u64,
}

impl Writes {
    /// Makes a write, unless it has to wait.
    pub fn make(&mut self, write: Write, node: &mut Node, now: Now) {
        // Whoever gave it has given up.
        if write.answer.is_closed() {
            return;
        }
        let Write { space, key, action, .. } = &write;
        let result = match action {
            _ if node.replica(*space).is_none() => Err(Refusal::NotJoined),
            Action::Put(value, ttl) => node.put(*space, key, value.clone(), *ttl, now),
            Action::Delete => node.delete(*space, key, now),
        };
        match result {
            Err(Refusal::Clock(ClockRefusal::Unreserved)) => self.held.push_back(write),
            Ok(written @ Written { record: Some(record), .. })
                if !mutant!("replica's write is answered before it is durable") =>
            {
                self.undurable.push_back((record, write.answer, written));
            }
            other => {
                self.clock_refusals += u64::from(matches!(other, Err(Refusal::Clock(_))));
                self.ended.push((write.answer, other));
            }
        }
    }

    /// Makes those that waited for the bound of the clock.
    pub fn retry(&mut self, node: &mut Node, now: Now) {
        for write in std::mem::take(&mut self.held) {
            self.make(write, node, now);
        }
    }

    /// All records up to a number are durable.
    pub fn note_durable(&mut self, number: u64) {
        while let Some((record, ..)) = self.undurable.front()
            && *record <= number
        {
            let (_, answer, written) = self.undurable.pop_front().expect("it was just there");
            self.ended.push((answer, Ok(written)));
        }
    }

    /// Answers those that have ended. What they did is published before.
    pub fn answer(&mut self) {
        for (answer, result) in self.ended.drain(..) {
            // Whoever waited may have given up.
            _ = answer.send(result);
        }
    }

    /// Whether some wait for the bound of the clock.
    pub fn are_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether some wait at all.
    pub fn are_waiting(&self) -> bool {
        self.are_held() || !self.undurable.is_empty()
    }
}
