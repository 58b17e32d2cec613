//! References between entries: each leads to an entry, of the right kind, and none leads back.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{EntryKind, RegistryEntry, SkippedEntry};
use super::entry_id::EntryId;
use super::problem::{Origin, Problem};
use super::suggest::did_you_mean;

/// A field of an entry that names another entry.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) target: EntryId,
    pub(super) wanted: Wanted,
    pub(super) origin: Origin,
}

/// What a reference has to lead to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// A database: `db.sql.sqlite`.
    #[cfg(feature = "sql")]
    Database,
    /// A store.
    Store,
}

impl Wanted {
    fn accepts(self, kind: &EntryKind) -> bool {
        match self {
            #[cfg(feature = "sql")]
            Self::Database => kind.is_database(),
            Self::Store => kind.is_store(),
        }
    }

    const fn description(self) -> &'static str {
        match self {
            #[cfg(feature = "sql")]
            Self::Database => "a database (db.sql.sqlite)",
            Self::Store => "a store",
        }
    }
}

/// Every problem with the references of entries whose ids are unique.
pub(super) fn check(entries: &[RegistryEntry], skipped: &[SkippedEntry]) -> Vec<Problem> {
    let by_id = entries.iter().map(|entry| (entry.id(), entry)).collect();
    let graph = Graph { by_id, skipped };
    let cycles = graph.cycles(entries);
    let in_cycle: BTreeSet<_> = cycles.iter().flatten().map(|entry| entry.id()).collect();
    let mut problems: Vec<_> = cycles.iter().filter_map(|cycle| describe(cycle)).collect();
    for entry in entries.iter().filter(|entry| !in_cycle.contains(entry.id())) {
        problems.extend(entry.reference().and_then(|reference| graph.check(reference)));
    }
    problems
}

struct Graph<'a> {
    by_id: BTreeMap<&'a EntryId, &'a RegistryEntry>,
    skipped: &'a [SkippedEntry],
}

impl<'a> Graph<'a> {
    /// What is wrong with the target of a reference.
    fn check(&self, reference: &Reference) -> Option<Problem> {
        let (target, wanted) = (&reference.target, reference.wanted);
        let message = match self.by_id.get(target) {
            Some(entry) if wanted.accepts(entry.kind()) => return None,
            Some(entry) => {
                let (kind, wanted) = (entry.kind().name(), wanted.description());
                format!("{target} is a {kind}; name {wanted}")
            }
            None => match self.skipped.iter().find(|entry| entry.id() == target.as_str()) {
                Some(entry) => format!(
                    "{target} is of the foreign kind {} and was left out; name {}",
                    entry.kind(),
                    wanted.description()
                ),
                None => {
                    let known = self.by_id.values().filter(|entry| wanted.accepts(entry.kind()));
                    let near = did_you_mean(target.as_str(), known.map(|e| e.id().as_str()));
                    format!(
                        "there is no entry {target}{near} (it has to be {})",
                        wanted.description()
                    )
                }
            },
        };
        Some(Problem::new(reference.origin.clone(), message))
    }

    /// Every cycle once, each from its first entry that a walk in the order of entries reaches.
    fn cycles(&self, entries: &'a [RegistryEntry]) -> Vec<Vec<&'a RegistryEntry>> {
        let mut reached_by: BTreeMap<&EntryId, usize> = BTreeMap::new();
        let mut cycles = Vec::new();
        for (walk, start) in entries.iter().enumerate() {
            let mut next = Some(start);
            while let Some(entry) = next {
                let earlier = reached_by.insert(entry.id(), walk);
                match earlier {
                    None => next = self.target(entry),
                    Some(earlier) => {
                        if earlier == walk {
                            cycles.push(self.cycle_from(entry));
                        }
                        break;
                    }
                }
            }
        }
        cycles
    }

    fn cycle_from(&self, first: &'a RegistryEntry) -> Vec<&'a RegistryEntry> {
        let followers = std::iter::successors(self.target(first), |entry| self.target(entry));
        let others = followers.take_while(|entry| entry.id() != first.id());
        std::iter::once(first).chain(others).collect()
    }

    fn target(&self, entry: &RegistryEntry) -> Option<&'a RegistryEntry> {
        self.by_id.get(&entry.reference()?.target).copied()
    }
}

/// The problem of a cycle, at the reference of its first entry.
fn describe(cycle: &[&RegistryEntry]) -> Option<Problem> {
    let (first, reference) = (cycle.first()?, cycle.first()?.reference()?);
    let mut path = String::new();
    for entry in cycle {
        path.push_str(&format!("{} -> ", entry.id()));
    }
    let message = format!(
        "{path}{} is a cycle of references; name {} in one of them",
        first.id(),
        reference.wanted.description()
    );
    Some(Problem::new(reference.origin.clone(), message))
}
