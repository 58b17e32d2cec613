//! What a store is and what it supports.

use std::fmt;

/// The backend behind a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In memory of the process.
    Memory,
    /// A table of an SQL database.
    Sql,
    /// The node-wide Raft engine.
    KvRaft,
    /// The node-wide CRDT engine.
    KvCrdt,
}

impl Backend {
    /// The backend's string, as in `store.backend`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sql => "sql",
            Self::KvRaft => "kv.raft",
            Self::KvCrdt => "kv.crdt",
        }
    }
}

/// What a store promises about concurrent users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Every operation is linearizable on every node.
    Linearizable,
    /// Replicas converge.
    Eventual,
    /// As the one process or database behind it.
    Local,
}

impl Consistency {
    /// The consistency's string, as in `store.consistency`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Eventual => "eventual",
            Self::Local => "local",
        }
    }
}

/// What `info()` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The id under which the store was acquired; empty outside a registry.
    pub id: String,
    /// The backend.
    pub backend: Backend,
    /// The consistency.
    pub consistency: Consistency,
    /// Whether an acknowledged write survives a crash of the process and of the machine.
    pub durable: bool,
    /// Whether `list` is supported.
    pub list: bool,
    /// Whether entries have versions.
    pub versioned: bool,
    /// Whether conditional writes are supported.
    pub conditional_put: bool,
    /// Whether entries can expire.
    pub ttl: bool,
    /// Whether `transact` is supported.
    pub transact: bool,
    /// Whether `watch` is supported.
    pub watch: bool,
    /// How a database of our own syncs, where that is weaker than the default: `NORMAL`.
    pub synchronous: Option<&'static str>,
}

impl Info {
    /// The boolean capabilities with their names, in the order of the documentation.
    #[must_use]
    pub const fn capabilities(&self) -> [(&'static str, bool); 7] {
        [
            ("durable", self.durable),
            ("list", self.list),
            ("versioned", self.versioned),
            ("conditional_put", self.conditional_put),
            ("ttl", self.ttl),
            ("transact", self.transact),
            ("watch", self.watch),
        ]
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
