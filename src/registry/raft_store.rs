//! The kind `store.kv.raft`: a view on the Raft engine of the node.
//!
//! Entries with one namespace share its data.

use super::fields::Fields;
use super::nodes::Nodes;
use crate::keyspace::Keyspace;

/// A `store.kv.raft`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStoreOptions {
    /// What keeps its keys apart from those of others; in a configuration, `namespace`.
    pub keyspace: Keyspace,
}

/// Reads the fields of a `store.kv.raft`; none if one that is required was reported.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<RaftStoreOptions> {
    let keyspace =
        fields.required("namespace", "deployments", |given| Ok(Keyspace::new(given.text()?)?));
    Some(RaftStoreOptions { keyspace: keyspace? })
}

/// The fields of a `store.kv.raft`.
pub(super) fn write(options: &RaftStoreOptions, nodes: &mut Nodes) {
    nodes.text("namespace", options.keyspace.as_str());
}
