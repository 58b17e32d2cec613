//! Exchanges: how a replica takes the whole state of another one, in bytes proportional to the
//! difference, as if in one moment.
//!
//! The asker tells what it covers; the server answers with what it holds of other writes, chunk by
//! chunk in the order of keys, and forgets the asker in between. What the server covered with its first
//! answer is what the asker covers in the end, not before: every later chunk is of a state that
//! includes that one. Entries are merged as they come, like pushes, by a replica that has joined; one
//! that has not puts them aside until it has all.
//!
//! A server that has dropped a tombstone has nothing to send for it, although the asker may still hold
//! an older value. So answers carry what may have been dropped, and if the asker may have missed any of
//! it, the exchange goes on: it walks the hash trie to the keys in which the two differ, and takes note
//! of those that the server covers and does not hold. What was written meanwhile hides what was dropped
//! before, as the key is held again: so if the server covers more than with its first answer, it is asked
//! for the rest once the walk is over. If the server dropped more while the exchange was
//! on, it begins anew. Until it ends, pushes of what the server covered are not looked at: they may be
//! of values that it has dropped, and the exchange brings what is left of them.
//!
//! A server whose clock is too far ahead may hold entries from the future. An exchange with it never
//! ends: what it brings is merged like pushes, without those entries, and nothing else is covered. For
//! the server may have superseded other writes by them, and which ones nobody can tell. Nor are those
//! entries asked for before their time. If it comes while an exchange is on that was begun without them,
//! that one begins anew: in the end it would cover what it has not asked for.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use super::lww::{ENTRY_BYTES, Entry};
use super::message::{Answer, Ask, ExchangeId, Question, Reply};
use super::rule::{Image, State};
use super::stamp::{Author, MemberId, Stamp};
use super::trie::{Look, Path, Walk};
use super::vector::Coverage;
use crate::kv::QualifiedKey;
use crate::limits::CRDT_PATHS_MAX;
use crate::mutant::mutant;

/// An exchange that is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Exchange {
    pub id: ExchangeId,
    pub server: MemberId,
    /// What is not asked for: what was covered when it began, and what was refused before.
    known: Coverage,
    step: u64,
    /// The server as it was with its first answer.
    pub first: Option<First>,
    /// The last key of the chunk before.
    after: Option<QualifiedKey>,
    /// What came for a replica that has not joined.
    staged: Vector<(QualifiedKey, Arc<Entry>)>,
    walk: Option<Walk>,
    /// The walk is over, and what was written since the first answer is asked for.
    has_walked: bool,
    /// What is held here and was dropped by the server.
    superseded: Vector<(QualifiedKey, Stamp)>,
}

/// What the server's first answer said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct First {
    pub image: Image,
    pub collected: OrdMap<Author, u64>,
    dropped: u64,
}

/// What an answer leads to.
pub(super) enum Progress {
    /// There is more to ask.
    Goes,
    /// It has to begin anew.
    Fails,
    /// It is complete.
    Ends,
}

impl Exchange {
    pub fn new(id: ExchangeId, server: MemberId, known: Coverage) -> Self {
        Self {
            id,
            server,
            known,
            step: 0,
            first: None,
            after: None,
            staged: Vector::new(),
            walk: None,
            has_walked: false,
            superseded: Vector::new(),
        }
    }

    /// As if what an answer answers had been asked just now. Only a mutant does.
    pub fn stale(answer: &Answer) -> Self {
        let server = answer.image.from.member;
        Self { step: answer.step, ..Self::new(answer.exchange, server, Coverage::default()) }
    }

    /// The step that has not been answered.
    pub fn ask(&self, state: &State) -> Ask {
        let question = match &self.walk {
            Some(walk) => Question::Nodes(walk.questions(state.map.trie(), CRDT_PATHS_MAX)),
            None => {
                let mut known = self.known.clone();
                if let Some(first) = self.first.as_ref().filter(|_| self.has_walked) {
                    known.unite(&first.image.coverage);
                }
                Question::Entries { known, after: self.after.clone() }
            }
        };
        Ask { exchange: self.id, step: self.step, question }
    }

    /// Whether an answer is one to the step that was asked last.
    pub fn expects(&self, answer: &Answer) -> bool {
        let is_step = (answer.exchange, answer.step) == (self.id, self.step);
        is_step && answer.image.from.member == self.server
    }

    /// Whether the server covers a write that is not covered here and that it was not asked for.
    pub fn leaves_out(&self, ours: &Coverage, theirs: &Coverage) -> bool {
        let unasked = self.known.difference(ours);
        unasked.difference(theirs) != unasked
    }

    /// Whether a write is left to the exchange, although it was pushed.
    pub fn brings(&self, entry: &Entry) -> bool {
        self.first.as_ref().is_some_and(|first| first.image.coverage.covers(entry.dot()))
    }

    /// Takes an answer to the last step. Nothing in it is from the future.
    pub fn take(&mut self, state: &mut State, answer: Answer) -> Progress {
        let Answer { image, collected, dropped, reply, .. } = answer;
        let first = self.first.get_or_insert_with(|| First {
            image: image.clone(),
            collected: collected.clone(),
            dropped,
        });
        if first.image.from != image.from {
            return Progress::Fails;
        }
        if state.takes_nothing_of(&image) {
            return Progress::Ends;
        }
        let is_same = first.dropped == dropped;
        self.step += 1;
        let is_over = match reply {
            Reply::Entries { entries, is_last } => self.take_entries(state, entries, is_last),
            Reply::Nodes(nodes) => self.take_nodes(state, nodes) && !self.goes_on(&image),
        };
        if !is_same && state.may_have_missed(&image.coverage, &collected) {
            return Progress::Fails;
        }
        if is_over { Progress::Ends } else { Progress::Goes }
    }

    /// Merges what the end of the exchange brings.
    pub fn end(self, state: &mut State) {
        let first = self.first.expect("an exchange ends with an answer");
        if !state.takes_nothing_of(&first.image) {
            for (key, entry) in &self.staged {
                state.merge_entry(key, entry);
            }
        }
        let superseded: Vec<_> = self.superseded.into_iter().collect();
        state.take_sync(&first.image, &superseded, &first.collected);
    }

    /// Whether nothing is left to ask.
    fn take_entries(
        &mut self,
        state: &mut State,
        entries: Vec<(QualifiedKey, Arc<Entry>)>,
        is_last: bool,
    ) -> bool {
        if let Some((key, _)) = entries.last() {
            self.after = Some(key.clone());
        }
        if state.has_joined {
            for (key, entry) in &entries {
                state.merge_entry(key, entry);
            }
        } else {
            self.staged.extend(entries);
        }
        if !is_last {
            return mutant!("coverage before entries");
        }
        if self.has_walked {
            return true;
        }
        let first = self.first.as_ref().expect("set with the first answer");
        let may_hold_dropped =
            !state.map.is_empty() && state.may_have_missed(&first.image.coverage, &first.collected);
        if may_hold_dropped {
            self.walk = Some(Walk::new());
        }
        !may_hold_dropped
    }

    /// At the end of the walk: whether something was written since the first answer. Then it is asked for.
    fn goes_on(&mut self, image: &Image) -> bool {
        let first = self.first.as_ref().expect("set with the first answer");
        self.has_walked = !image.coverage.is_within(&first.image.coverage);
        (self.walk, self.after) = (None, None);
        self.has_walked
    }

    /// Whether nothing is left to ask.
    fn take_nodes(&mut self, state: &State, nodes: Vec<(Path, Look)>) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        let first = self.first.as_ref().expect("set with the first answer");
        let trie = state.map.trie();
        for (path, theirs) in walk.take(trie, CRDT_PATHS_MAX, nodes) {
            for key in trie.keys(path).into_iter().filter(|key| !theirs.contains(key)) {
                let held = state.map.entry(&key).expect("the trie holds what the map holds");
                if first.image.coverage.covers(held.dot()) {
                    self.superseded.push_back((key, held.stamp()));
                }
            }
        }
        walk.is_over()
    }
}

/// The answer of a server whose state, as far as it may be told, is this one.
pub(super) fn reply(state: &State, question: Question, chunk_bytes: usize) -> Reply {
    match question {
        Question::Nodes(nodes) => {
            let trie = state.map.trie();
            let look = |(path, hash)| Some((path, trie.look(path, hash)?));
            Reply::Nodes(nodes.into_iter().take(CRDT_PATHS_MAX).filter_map(look).collect())
        }
        Question::Entries { known, after } => {
            let coverage = &state.coverage;
            // So many fill it, and one more tells that they are not the last.
            let keys_max = (chunk_bytes / ENTRY_BYTES).saturating_add(2);
            let mut keys = state.map.keys_beyond(after.as_ref(), &known, coverage, keys_max);
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while bytes < chunk_bytes
                && let Some(key) = keys.next()
            {
                let entry = state.map.entry(&key).expect("only held keys are beyond");
                bytes += key.as_bytes().len() + entry.size();
                entries.push((key, Arc::clone(entry)));
            }
            Reply::Entries { is_last: keys.next().is_none(), entries }
        }
    }
}
