//! Actors: on whose behalf a call is made.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeSet;

use crate::value::{Table, Value};

/// On whose behalf calls are made: an id, the groups it is in, and what else is known about it.
///
/// The host says who the actor is; nothing here checks it. An actor with an empty id is
/// anonymous: conditions on `actor.id` find none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    id: String,
    groups: BTreeSet<String>,
    meta: Table,
}

impl Actor {
    /// Nobody in particular, in no group.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// An actor with an id, in no group; without one it is anonymous.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// Adds the actor to a group.
    #[must_use]
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.groups.insert(group.into());
        self
    }

    /// Sets what conditions find as `actor.meta.NAME`; a table is reached into with further dots.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.meta.insert(name, value);
        self
    }

    /// The id; empty for an anonymous actor.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_in_any(&self, groups: &BTreeSet<String>) -> bool {
        !self.groups.is_disjoint(groups)
    }

    /// The value at the end of a path of names.
    pub(super) fn meta(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let start = self.meta.get(first.as_str())?;
        rest.iter().try_fold(start, |value, name| value.as_table()?.get(name.as_str()))
    }
}
