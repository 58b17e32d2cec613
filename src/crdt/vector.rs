//! Coverage: the set of writes whose effects a state includes, exactly, as a version vector with gaps.
//!
//! Of each author it has the length of the contiguous beginning, and beyond the first gap the runs of
//! writes that are there, in order. Without gaps it is a plain version vector.
//!
//! Invariants: an author that is there covers something; runs do not touch, neither each other nor
//! the beginning. So equal sets are equal, and have equal bytes. What is read has no counter of
//! [`u64::MAX`], so that what follows a run is a number.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use imbl::OrdMap;

use super::stamp::{Author, Dot};
use crate::codec::{DecodeError, Reader, Writer};

/// A set of writes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Coverage {
    authors: OrdMap<Author, Counters>,
}

/// The writes of one author: disjoint runs that do not touch, in order. Both ends belong to a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Counters(Vec<(u64, u64)>);

impl Coverage {
    /// Adds a write. Answers whether it was not there.
    pub fn insert(&mut self, dot: Dot) -> bool {
        debug_assert!(dot.counter > 0, "writes are counted from 1");
        if self.covers(dot) {
            return false;
        }
        let counters = self.authors.entry(dot.author).or_default();
        counters.insert_run((dot.counter, dot.counter));
        true
    }

    /// Adds all that another one has.
    pub fn unite(&mut self, other: &Self) {
        for (author, theirs) in &other.authors {
            match self.authors.get_mut(author) {
                Some(ours) => theirs.0.iter().for_each(|run| ours.insert_run(*run)),
                None => _ = self.authors.insert(*author, theirs.clone()),
            }
        }
    }

    /// Whether a write is in it.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.authors.get(&dot.author).is_some_and(|counters| counters.contains(dot.counter))
    }

    /// Whether the other has all of it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.runs().all(|(author, (first, last))| {
            let theirs = other.authors.get(&author);
            theirs.is_some_and(|theirs| theirs.run_of(first).is_some_and(|run| last <= run.1))
        })
    }

    /// What it has and the other has not.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut authors = OrdMap::new();
        for (author, ours) in &self.authors {
            let left = match other.authors.get(author) {
                Some(theirs) => ours.without(theirs),
                None => ours.clone(),
            };
            if !left.0.is_empty() {
                authors.insert(*author, left);
            }
        }
        Self { authors }
    }

    /// The part before the first gap of each author, without the rest.
    #[must_use]
    pub fn prefix(&self) -> Self {
        let first_runs = self.authors.iter().filter_map(|(author, counters)| {
            let first = counters.0.first().filter(|run| run.0 == 1)?;
            Some((*author, Counters(vec![*first])))
        });
        Self { authors: first_runs.collect() }
    }

    /// How many writes are in it; the greatest number if they are more.
    #[must_use]
    pub fn len(&self) -> u64 {
        let lengths = self.runs().map(|(_, (first, last))| (last - first).saturating_add(1));
        lengths.fold(0, u64::saturating_add)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.authors.is_empty()
    }

    /// The number of the author's last write in it, or 0.
    #[must_use]
    pub fn last(&self, author: Author) -> u64 {
        self.authors.get(&author).and_then(|counters| counters.0.last()).map_or(0, |run| run.1)
    }

    /// Its writes as runs: both ends belong to a run.
    pub fn runs(&self) -> impl Iterator<Item = (Author, (u64, u64))> {
        self.authors
            .iter()
            .flat_map(|(author, counters)| counters.0.iter().map(|run| (*author, *run)))
    }

    /// Writes the authors in order, each with its runs: how far after the end of the one before a run
    /// begins, less one for all but the first, and its length less one.
    pub fn encode(&self, writer: &mut Writer) {
        writer.count(self.authors.len());
        for (author, Counters(runs)) in &self.authors {
            author.encode(writer);
            writer.count(runs.len());
            let mut least = 1;
            for (first, last) in runs {
                writer.unsigned(first - least);
                writer.unsigned(last - first);
                least = last.saturating_add(2);
            }
        }
    }

    /// Reads what [`Coverage::encode`] wrote.
    ///
    /// # Errors
    /// If it is none, or not in its canonical form.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut authors = OrdMap::new();
        for _ in 0..reader.count(12, "the number of authors")? {
            let author = Author::decode(reader)?;
            if authors.get_max().is_some_and(|(previous, _)| *previous >= author) {
                return Err(reader.error("authors in order"));
            }
            let counters = Counters::decode(reader)?;
            authors.insert(author, counters);
        }
        Ok(Self { authors })
    }
}

impl Counters {
    fn contains(&self, counter: u64) -> bool {
        self.run_of(counter).is_some()
    }

    fn run_of(&self, counter: u64) -> Option<(u64, u64)> {
        let place = self.0.partition_point(|run| run.1 < counter);
        self.0.get(place).copied().filter(|run| run.0 <= counter)
    }

    /// Adds a run, which may overlap and touch those that are there.
    fn insert_run(&mut self, (first, last): (u64, u64)) {
        let from = self.0.partition_point(|run| run.1.saturating_add(1) < first);
        let to = self.0.partition_point(|run| run.0 <= last.saturating_add(1));
        let merged = match self.0.get(from..to) {
            Some([]) | None => (first, last),
            Some([.., end]) => (self.0[from].0.min(first), end.1.max(last)),
        };
        self.0.splice(from..to, [merged]);
    }

    fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (first, last) in &self.0 {
            let mut next = *first;
            let from = other.0.partition_point(|run| run.1 < *first);
            for (begin, end) in other.0[from..].iter().take_while(|run| run.0 <= *last) {
                if next < *begin {
                    left.push((next, begin - 1));
                }
                next = end.saturating_add(1).max(next);
            }
            if next <= *last {
                left.push((next, *last));
            }
        }
        Self(left)
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut runs = Vec::new();
        let mut least = Some(1_u64);
        for _ in 0..reader.count(2, "the number of runs")? {
            let (skipped, more) = (reader.unsigned("a gap")?, reader.unsigned("a run")?);
            let first = least.and_then(|least| least.checked_add(skipped));
            let run = first.and_then(|first| Some((first, first.checked_add(more)?)));
            let run = run.filter(|run| run.1 < u64::MAX);
            let run = run.ok_or(reader.error("a run of counters"))?;
            least = run.1.checked_add(2);
            runs.push(run);
        }
        if runs.is_empty() {
            return Err(reader.error("an author that is covered"));
        }
        Ok(Self(runs))
    }
}

impl FromIterator<Dot> for Coverage {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut coverage = Self::default();
        for dot in dots {
            coverage.insert(dot);
        }
        coverage
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.authors.iter().map(|(author, counters)| (author, &counters.0)))
            .finish()
    }
}
