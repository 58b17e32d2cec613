//! The models that there are, within which bounds each is searched, and how many states it has there.

use crate::collection::Collection;
use crate::collection::bounds::Bounds;
use crate::collection::mutants::Mutant;
use crate::collection::rule::Rule;

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is modelled.
    pub about: &'static str,
    /// What `cargo models --all` searches.
    pub standard: Scope,
    /// What `--deep` searches.
    pub deep: Scope,
}

/// Bounds, and what is within them.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// How much may happen.
    pub bounds: Bounds,
    /// The states that can be reached. Any other number says that the model, or the search, changed.
    pub unique: usize,
}

/// All models.
pub const ALL: &[Entry] = &[Entry {
    name: "collection",
    about: "three replicas of a key restart in every way, and collect its tombstones",
    standard: Scope { bounds: COLLECTION, unique: 0 },
    deep: Scope { bounds: COLLECTION, unique: 0 },
}];

impl Entry {
    /// The model of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|entry| entry.name == name)
    }

    /// The mutants that are searched with this model.
    pub fn mutants(&self) -> impl Iterator<Item = Mutant> + use<> {
        let name = self.name;
        Mutant::ALL.iter().copied().filter(move |mutant| mutant.model() == name)
    }
}

/// The model with this rule and bounds.
#[must_use]
pub fn collection(weakness: Option<Mutant>, bounds: Bounds, is_reduced: bool) -> Collection {
    Collection { rule: Rule { weakness }, bounds, is_reduced }
}

const COLLECTION: Bounds =
    Bounds { puts: 1, deletes: 1, durable: 1, empty: 1, older: 1, ..Bounds::NONE };
