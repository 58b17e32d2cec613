//! The words of the specification beyond the engine's own.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use crate::entry::{Event, Key, Version};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;

/// What a kind of store supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether entries have versions.
    pub versioned: bool,
    /// Whether writes may carry conditions.
    pub conditional_put: bool,
    /// Whether there are transactions.
    pub transact: bool,
    /// Whether changes can be watched.
    pub watch: bool,
    /// Most live entries; none means no limit.
    pub size_max: Option<usize>,
}

impl Profile {
    /// What the state machine supports: everything.
    pub const MACHINE: Self = Self {
        versioned: true,
        conditional_put: true,
        transact: true,
        watch: true,
        size_max: None,
    };
}

/// Why an operation is refused. Nothing was changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The version that the key has, where another one was required.
    pub current: Option<Version>,
    /// Which operation of a transaction failed first, counted from 1.
    pub index: Option<usize>,
}

impl Refusal {
    pub(super) const fn new(kind: ErrorKind) -> Self {
        Self { kind, current: None, index: None }
    }

    pub(super) const fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}

/// What one revision changed, in all keyspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// Its events, in order, each in a keyspace.
    pub events: Vec<(Keyspace, Event)>,
}

/// The full name of an entry.
pub type Name = (Keyspace, Key);
