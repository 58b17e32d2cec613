//! The kind `store.kv.crdt`: a view on the CRDT engine of the node.
//!
//! Entries with one namespace share its data. A namespace lives either in the replica that is durable
//! or in the one that is not, so all of its entries say the same of that.

use std::collections::BTreeMap;

use super::entry::{EntryKind, RegistryEntry};
use super::fields::Fields;
use super::nodes::Nodes;
use super::problem::Problem;
use crate::keyspace::Keyspace;

/// A `store.kv.crdt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrdtStoreOptions {
    /// What keeps its keys apart from those of others; in a configuration, `namespace`.
    pub keyspace: Keyspace,
    /// Whether what is acknowledged survives a crash of its node.
    pub durable: bool,
}

/// Reads the fields of a `store.kv.crdt`; none if one that is required was reported.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<CrdtStoreOptions> {
    let keyspace =
        fields.required("namespace", "sessions", |given| Ok(Keyspace::new(given.text()?)?));
    let durable = fields.optional("durable", |given| given.boolean()).unwrap_or(false);
    Some(CrdtStoreOptions { keyspace: keyspace?, durable })
}

/// The fields of a `store.kv.crdt`.
pub(super) fn write(options: &CrdtStoreOptions, nodes: &mut Nodes) {
    nodes.text("namespace", options.keyspace.as_str());
    nodes.plain("durable", options.durable);
}

/// A problem for each entry that says of its namespace something else than the first of that namespace.
pub(super) fn check_durable(entries: &[RegistryEntry]) -> Vec<Problem> {
    let mut firsts = BTreeMap::new();
    let stores = entries.iter().filter_map(|entry| match entry.kind() {
        EntryKind::CrdtStore(options) => Some((entry, options)),
        _ => None,
    });
    let mut problems = Vec::new();
    for (entry, CrdtStoreOptions { keyspace, durable }) in stores {
        let (first, first_durable) = *firsts.entry(keyspace).or_insert((entry, *durable));
        if first_durable != *durable {
            let (id, first_id, place) = (entry.id(), first.id(), first.origin());
            let message = format!(
                "{id} says durable: {durable} of the namespace {keyspace}, and {first_id} at {place} says \
                 durable: {first_durable}; make them the same, or give one of them another namespace"
            );
            problems.push(Problem::new(entry.origin().clone(), message));
        }
    }
    problems
}
