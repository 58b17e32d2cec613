//! Raft's own promises (Ongaro, Ousterhout: "In Search of an Understandable Consensus Algorithm",
//! figure 3), seen from outside: from the entries that nodes write, their terms, roles and commits.

use std::collections::BTreeMap;

use plimsoll::raft::{Node, RaftId, Role};
use plimsoll::storage::Batch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Promise, SeenOfNode, Violation};

pub(super) const ONE_LEADER: Promise =
    Promise { name: "one leader", sentence: "a term has at most one leader" };
pub(super) const LOG_MATCHING: Promise = Promise {
    name: "log matching",
    sentence: "entries of one index and term are equal, and so is everything before them",
};
pub(super) const LEADER_COMPLETENESS: Promise = Promise {
    name: "leader completeness",
    sentence: "what was committed in a term is in the log of every leader of a later term",
};
pub(super) const COMMITTED_ONCE: Promise = Promise {
    name: "committed once",
    sentence: "no two nodes take different entries of one index for committed",
};
pub(super) const TERM_GROWS: Promise =
    Promise { name: "term grows", sentence: "the term and commit of a running node never go back" };

/// What was seen of all logs.
///
/// An entry counts for log matching once it is durable somewhere. Before that it may be forgotten, and
/// with it the term in which it was made, by a leader who was the only voter and has told nobody.
#[derive(Debug, Default)]
pub(crate) struct RaftLogs {
    leaders: BTreeMap<u64, RaftId>,
    leaders_before: usize,
    /// When an entry was first seen, by index and term.
    proposed: BTreeMap<(u64, u64), u64>,
    /// By index: the first entry seen there.
    entries: Vec<Option<EntrySeen>>,
    /// Entries seen where another one had been seen: by index and term.
    others: BTreeMap<(u64, u64), EntrySeen>,
    /// By index: the term of the committed entry.
    committed: Vec<u64>,
    /// By the term in which a commit was seen: the greatest index then, and the term of its entry.
    commits: BTreeMap<u64, (u64, u64)>,
}

/// An entry that a node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntrySeen {
    index: u64,
    term: u64,
    content: u64,
    term_before: u64,
}

impl RaftLogs {
    /// Entries that a node is about to write are looked at; they are added to `seen`.
    pub fn see(&mut self, node: &Node, batch: &Batch, now_us: u64, seen: &mut Vec<EntrySeen>) {
        let Some(first) = batch.entries.first() else { return };
        let mut term_before = match batch.reset {
            Some((_, term)) => term,
            None => node.log().term_at(first.index - 1).unwrap_or(0),
        };
        for entry in &batch.entries {
            let seed = xxh3_64_with_seed(&entry.context, u64::from(entry.kind));
            let content = xxh3_64_with_seed(&entry.data, seed);
            let (index, term) = (entry.index, entry.term);
            self.proposed.entry((index, term)).or_insert(now_us);
            seen.push(EntrySeen { index, term, content, term_before });
            term_before = term;
        }
    }

    /// Entries that were written are durable.
    pub fn check_entries(&mut self, durable: &[EntrySeen]) -> Result<(), Violation> {
        for entry in durable {
            if let Some(other) = self.first_seen(entry.index, *entry)
                && other != *entry
            {
                let EntrySeen { index, term, .. } = entry;
                let what = if other.content == entry.content { "follow" } else { "are" };
                return Err(LOG_MATCHING.broken(format!(
                    "the entries of index {index} and term {term} {what} different ones"
                )));
            }
        }
        Ok(())
    }

    /// When an entry was first seen anywhere.
    pub fn proposed_us(&self, index: u64, term: u64) -> Option<u64> {
        self.proposed.get(&(index, term)).copied()
    }

    /// A new cluster goes on after an index: what was seen of the old one does not bind it.
    pub fn restart(&mut self, index: u64) {
        let kept = usize::try_from(index).expect("a log in memory") + 1;
        self.leaders_before += self.leaders.len();
        self.leaders.clear();
        self.entries.truncate(kept);
        self.committed.truncate(kept);
        self.others.clear();
        self.proposed.clear();
        self.commits.clear();
    }

    /// The entry of this index and term that was seen before, if one was.
    fn first_seen(&mut self, index: u64, entry: EntrySeen) -> Option<EntrySeen> {
        let slot = slot(&mut self.entries, index);
        match slot {
            None => {
                *slot = Some(entry);
                None
            }
            Some(first) if first.term == entry.term => Some(*first),
            Some(_) => {
                let known = self.others.get(&(index, entry.term)).copied();
                self.others.entry((index, entry.term)).or_insert(entry);
                known
            }
        }
    }

    pub fn check_term(&self, node: &Node, seen: &mut SeenOfNode) -> Result<(), Violation> {
        let (term, commit) = (node.term(), node.commit());
        if term < seen.term || commit < seen.commit {
            return Err(TERM_GROWS.broken(format!(
                "{:?} went from term {}, commit {} to term {term}, commit {commit}",
                node.status().id,
                seen.term,
                seen.commit
            )));
        }
        seen.term = term;
        Ok(())
    }

    pub fn check_commit(&mut self, node: &Node, seen: &mut SeenOfNode) -> Result<(), Violation> {
        let commit = node.commit();
        if commit == seen.commit {
            return Ok(());
        }
        for index in seen.commit + 1..=commit {
            // What an installed snapshot covers is compared by the machine's digest.
            let Some(term) = node.term_at(index) else { continue };
            let known = slot(&mut self.committed, index);
            if *known != 0 && *known != term {
                return Err(COMMITTED_ONCE.broken(format!(
                    "at index {index}, {:?} takes the entry of term {term} for committed, another \
                     node that of term {known}",
                    node.status().id
                )));
            }
            *known = term;
        }
        seen.commit = commit;
        let greatest = self.commits.values().next_back().map_or(0, |(index, _)| *index);
        if commit > greatest
            && let Some(term) = node.term_at(commit)
        {
            self.commits.insert(node.term(), (commit, term));
        }
        Ok(())
    }

    /// Answers whether the node has just become a leader.
    pub fn check_leader(&mut self, node: &Node, seen: &mut SeenOfNode) -> Result<bool, Violation> {
        if node.role() != Role::Leader || seen.led_term == node.term() {
            return Ok(false);
        }
        let term = node.term();
        seen.led_term = term;
        let id = node.status().id;
        let leader = *self.leaders.entry(term).or_insert(id);
        if leader != id {
            return Err(
                ONE_LEADER.broken(format!("{leader:?} and {id:?} both lead in term {term}"))
            );
        }
        if let Some((_, (index, entry_term))) = self.commits.range(..term).next_back()
            && node.term_at(*index) != Some(*entry_term)
            && node.log().first_index() <= *index
        {
            return Err(LEADER_COMPLETENESS.broken(format!(
                "{id:?} leads in term {term} without the entry of index {index} and term \
                 {entry_term}, which was committed; its log ends at {}",
                node.log().last_index()
            )));
        }
        Ok(true)
    }

    /// How many terms had a leader.
    pub fn leaders_len(&self) -> usize {
        self.leaders_before + self.leaders.len()
    }

    /// The greatest index that was committed, and its term.
    pub fn last_committed(&self) -> (u64, u64) {
        self.commits.values().next_back().copied().unwrap_or_default()
    }
}

/// The place of an index, made if there is none.
pub(super) fn slot<T: Clone + Default>(slots: &mut Vec<T>, index: u64) -> &mut T {
    let index = usize::try_from(index).expect("a log in memory");
    if slots.len() <= index {
        slots.resize((index + 1).next_power_of_two().max(1_024), T::default());
    }
    &mut slots[index]
}
