//! The kind `kv`: the store in which the namespaces of the `KV` API are kept.
//!
//! The entry's presence is what it says: the `KV` of an engine whose configuration has one uses its
//! store. So there can be one, and no script needs to know its name.

use super::entry::{EntryKind, RegistryEntry};
use super::entry_id::EntryId;
use super::fields::Fields;
use super::nodes::Nodes;
use super::problem::Problem;
use super::references::{Reference, Wanted};

/// A `kv`: the store of the namespaces.
#[derive(Clone, Debug)]
pub struct KvEntry {
    store: Reference,
}

impl KvEntry {
    /// The id of the store.
    #[must_use]
    pub fn store(&self) -> &EntryId {
        &self.store.target
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.store
    }
}

/// Reads the fields of a `kv`; none if one that is required was reported.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<KvEntry> {
    let store = fields.required("store", "app:deployments", |given| {
        let target = EntryId::parse(given.text()?)?;
        Ok(Reference { target, wanted: Wanted::Store, origin: given.origin.clone() })
    });
    Some(KvEntry { store: store? })
}

/// The fields of a `kv`.
pub(super) fn write(store: &str, nodes: &mut Nodes) {
    nodes.text("store", store);
}

/// A problem for each entry of the kind but the first.
pub(super) fn check_single(entries: &[RegistryEntry]) -> Vec<Problem> {
    let mut all = entries.iter().filter(|entry| matches!(entry.kind(), EntryKind::Kv(_)));
    let Some(first) = all.next() else {
        return Vec::new();
    };
    let problem = |entry: &RegistryEntry| {
        let (id, origin) = (entry.id(), first.origin());
        let message = format!(
            "{id} is a second entry of kind kv, the first stands at {origin}; KV has one store, so \
             remove one of them"
        );
        Problem::new(entry.origin().clone(), message)
    };
    all.map(problem).collect()
}
