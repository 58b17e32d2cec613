//! The registry: what a configuration says there is, and the engine that opens it.
//!
//! A configuration is YAML: a file, or a folder with a tree of `_index.yaml` files. Each file names
//! a namespace and lists entries; an entry has a name, a kind and the fields of its kind, and is
//! known by its id, `namespace:name`. Reading goes through five steps, each a file here:
//!
//! 1. `source`: paths to texts.
//! 2. `yaml`: a text to a tree of nodes with their positions; `environment` writes variables out.
//! 3. `fields`: a node to typed values; every problem is noted with its place, and reading goes on.
//! 4. `entry`: the fields of a kind to a [`RegistryEntry`] with that kind's options.
//! 5. `references`: entries to each other.
//!
//! A [`ConfigBuilder`] starts at the third: it makes the nodes that a text would have, so that what
//! is checked, and what is said about it, is the same.
//!
//! What comes out is a [`Config`]. It opened nothing, and what is wrong with it is known:
//! [`Plimsoll::open`] can fail only because of what is outside, such as a table that is missing.
//!
//! **Architecture invariant:** nothing starts half. A configuration with one problem is no
//! configuration, and an engine of which one entry is broken does not start.
//!
//! No reloading: a configuration is read once. No writing: entries are not changed at run time.

mod builder;
mod cluster;
mod config;
mod crdt_store;
mod duration;
mod engine;
mod entry;
mod entry_id;
mod environment;
mod fields;
mod kv;
#[cfg(feature = "sql")]
mod luat;
#[cfg(feature = "node")]
mod node;
mod nodes;
mod policy;
#[cfg(feature = "postgres")]
mod postgres;
mod problem;
mod raft_store;
mod references;
mod source;
#[cfg(feature = "sql")]
mod sql;
mod suggest;
mod yaml;

pub use builder::ConfigBuilder;
pub use cluster::{
    ClusterOptions, CrdtOptions, HostAddress, ListenOptions, MembershipOptions, RaftOptions,
    RaftRole,
};
pub use config::{Config, LoadOptions};
pub use crdt_store::CrdtStoreOptions;
pub use duration::parse_duration;
pub use engine::Plimsoll;
pub use entry::{EntryKind, RegistryEntry, SkippedEntry};
pub use entry_id::EntryId;
pub use environment::Environment;
pub use kv::KvEntry;
#[cfg(feature = "sql")]
pub use luat::LuatProject;
#[cfg(feature = "node")]
pub use node::OpenNode;
pub use raft_store::RaftStoreOptions;
#[cfg(feature = "sql")]
pub use sql::SqlStoreEntry;
