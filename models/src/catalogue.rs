//! The models that there are, within which bounds each is searched, and how many states it has there.

use crate::collection::bounds::Bounds;
use crate::collection::mutants::Mutant;

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
pub const ALL: &[Entry] = &[
    Entry {
        name: "collection",
        about: "three members collect the tombstones of a key; one starts anew, one pauses",
        standard: Scope { bounds: Bounds { durable: 1, empty: 1, ..BASE }, unique: 444_772 },
        deep: Scope {
            bounds: Bounds { puts: 2, durable: 1, empty: 1, plain: 1, ..BASE },
            unique: 7_935_273,
        },
    },
    Entry {
        name: "snapshot",
        about: "the same; one is set back to a snapshot",
        standard: Scope { bounds: Bounds { older: 1, ..BASE }, unique: 432_877 },
        deep: Scope { bounds: Bounds { older: 1, durable: 1, ..BASE }, unique: 1_031_352 },
    },
    Entry {
        name: "rollback",
        about: "the same; one starts anew, and one, perhaps the same, is set back to a snapshot",
        standard: Scope {
            bounds: Bounds { empty: 1, older: 1, plain: 2, ..BASE },
            unique: 739_136,
        },
        deep: Scope {
            bounds: Bounds { empty: 1, older: 1, durable: 1, plain: 2, ..BASE },
            unique: 2_339_053,
        },
    },
    Entry {
        name: "restarts",
        about: "the same; two start anew",
        standard: Scope { bounds: Bounds { empty: 2, plain: 1, ..BASE }, unique: 313_336 },
        deep: Scope { bounds: Bounds { empty: 2, ..BASE }, unique: 1_162_409 },
    },
    Entry {
        name: "late",
        about: "the same; one starts anew, and any one message is late for ever",
        standard: Scope {
            bounds: Bounds { empty: 1, delayed: 1, plain: 2, ..BASE },
            unique: 1_471_723,
        },
        deep: Scope {
            bounds: Bounds { empty: 1, delayed: 1, plain: 1, ..BASE },
            unique: 3_059_185,
        },
    },
    Entry {
        name: "first-start",
        about: "the same; all start for the first time, and one starts anew",
        standard: Scope {
            bounds: Bounds { first: 1, empty: 1, plain: 1, ..BASE },
            unique: 109_563,
        },
        deep: Scope { bounds: Bounds { first: 1, empty: 2, ..BASE }, unique: 2_026_300 },
    },
    Entry {
        name: "expiry",
        about: "the same; a value has a deadline, and clocks differ",
        standard: Scope {
            bounds: Bounds { leases: 1, deletes: 0, empty: 1, plain: 1, ..BASE },
            unique: 344_117,
        },
        deep: Scope {
            bounds: Bounds { leases: 1, deletes: 0, empty: 1, ..BASE },
            unique: 1_198_549,
        },
    },
    Entry {
        name: "all-restart",
        about: "the same; all start anew, one after another",
        standard: Scope { bounds: Bounds { empty: 3, plain: 2, ..BASE }, unique: 754_066 },
        deep: Scope { bounds: Bounds { empty: 3, plain: 1, ..BASE }, unique: 1_320_321 },
    },
    Entry {
        name: "removal",
        about: "the same; one is removed, and one starts anew",
        standard: Scope {
            bounds: Bounds { removals: 1, empty: 1, plain: 1, ..BASE },
            unique: 543_583,
        },
        deep: Scope { bounds: Bounds { removals: 1, empty: 1, ..BASE }, unique: 1_473_587 },
    },
    Entry {
        name: "addition",
        about: "the same, with two members; one is added, and one starts anew",
        standard: Scope {
            bounds: Bounds { members: 2, additions: 1, empty: 1, plain: 1, ..BASE },
            unique: 532_445,
        },
        deep: Scope {
            bounds: Bounds { members: 2, additions: 1, removals: 1, empty: 1, plain: 2, ..BASE },
            unique: 3_479_700,
        },
    },
];

/// A put and a delete.
const BASE: Bounds = Bounds { puts: 1, deletes: 1, ..Bounds::NONE };

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
