//! What must be true after every step, each promise in one sentence and one small function.
//!
//! The world tells the `Checker` what a step touched (an entry was written, a command was applied, a
//! message left), and only that is looked at: checking costs less than what is checked. The checks
//! share nothing with the engine but its vocabulary; what they know, they have seen from outside.
//!
//! Further invariants of an embedder implement [`Invariant`].

mod crdt;
mod durability;
mod expiry;
mod founding;
mod machine;
mod membership;
mod raft;

use std::fmt;

use plimsoll::raft::Node;

use crate::world::World;

pub(crate) use crdt::{
    Book, CLOCKS_REFUSE, NO_ALARM, READS_WHAT_WAS_WRITTEN, SEEN_AFTER_HEALING,
    SERVES_AFTER_HEALING, Scene,
};
pub(crate) use durability::{Brought, Durable, damage_was_opened, does_not_open};
pub(crate) use expiry::{Expiry, Moment};
pub(crate) use founding::{FOUNDED_AFTER_HEALING, Foundings};
pub(crate) use machine::{Machines, check_recomputed};
pub(crate) use membership::Membership;
pub(crate) use raft::{EntrySeen, RaftLogs};

/// A promise that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its name, for reports.
    pub name: &'static str,
    /// What is promised.
    pub sentence: &'static str,
}

impl Promise {
    pub(crate) fn broken(&self, details: impl Into<String>) -> Violation {
        Violation { name: self.name, sentence: self.sentence, details: details.into() }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub name: &'static str,
    /// What was promised.
    pub sentence: &'static str,
    /// What happened instead.
    pub details: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n{}", self.name, self.sentence, self.details)
    }
}

/// An invariant of an embedder, asked after every step.
pub trait Invariant {
    /// What is promised.
    fn promise(&self) -> Promise;

    /// What is wrong, if anything is.
    ///
    /// # Errors
    /// In words.
    fn check(&mut self, world: &World) -> Result<(), String>;
}

/// All promises that a world checks by itself.
pub const PROMISES: &[Promise] = &[
    raft::ONE_LEADER,
    raft::LOG_MATCHING,
    raft::LEADER_COMPLETENESS,
    raft::COMMITTED_ONCE,
    raft::TERM_GROWS,
    durability::NOTHING_FORGOTTEN,
    durability::DURABLE_BEFORE_SAID,
    durability::STORAGE_OPENS,
    durability::DAMAGE_IS_REFUSED,
    machine::EQUAL_DIGESTS,
    machine::RECOMPUTED_DIGESTS,
    machine::REVISION_GROWS,
    machine::VERSION_ONCE,
    machine::LOG_TIME_GROWS,
    expiry::EXPIRY_ORDER,
    expiry::NOT_EARLY,
    expiry::NOT_LATE,
    membership::QUORUM_OVERLAP,
    membership::EQUAL_CONFIGURATIONS,
    machine::SESSION_OF_EPOCH,
    founding::PLEDGED_BEFORE_SAID,
    founding::PLEDGED_ONCE,
    founding::FOUNDED_ONCE,
    FOUNDED_AFTER_HEALING,
    READS_SERVED,
    REMOVED_KNOWS,
    OPERATION_ENDS,
    NODE_LIVES,
    LEADER_AFTER_HEALING,
    RESOLVED_AFTER_HEALING,
    CONVERGED_AFTER_HEALING,
    LINEARIZABLE,
    crdt::STAMPS_GROW,
    crdt::COVERED_IS_HELD,
    crdt::NOTHING_COMES_BACK,
    crdt::NOTHING_FROM_THE_FUTURE,
    crdt::EQUAL_COVERAGE,
    crdt::ACKNOWLEDGED_IS_KEPT,
    crdt::READS_OWN_WRITES,
    READS_WHAT_WAS_WRITTEN,
    NO_ALARM,
    CLOCKS_REFUSE,
    SERVES_AFTER_HEALING,
    SEEN_AFTER_HEALING,
    crdt::COLLECTED_AFTER_HEALING,
    crdt::REPLICAS_CONVERGE,
    NO_PANIC,
];

/// Every request ends.
pub(crate) const OPERATION_ENDS: Promise = Promise {
    name: "operation ends",
    sentence: "every request is answered at the latest at the first tick after its deadline",
};
/// Nodes stop only when their storage fails.
pub(crate) const NODE_LIVES: Promise =
    Promise { name: "node lives", sentence: "a node stops only because its storage failed" };
/// Reads are not dropped.
pub(crate) const READS_SERVED: Promise = Promise {
    name: "reads served",
    sentence: "a read at a voter that is not behind is answered while a leader is settled and nothing but \
               a message or two goes wrong",
};
/// Removed nodes end.
pub(crate) const REMOVED_KNOWS: Promise = Promise {
    name: "removed knows",
    sentence: "a node that was removed does not take itself for a voter once everything was healed",
};
/// Liveness after healing.
pub(crate) const LEADER_AFTER_HEALING: Promise = Promise {
    name: "leader after healing",
    sentence: "there is a leader within ten election timeouts after everything was healed",
};
/// Liveness of clients after healing.
pub(crate) const RESOLVED_AFTER_HEALING: Promise = Promise {
    name: "resolved after healing",
    sentence: "everything that was pending is resolved once everything was healed",
};
/// Convergence after healing.
pub(crate) const CONVERGED_AFTER_HEALING: Promise = Promise {
    name: "converged after healing",
    sentence: "all members hold the same state once everything was healed, and nothing expired",
};
/// What clients were told is explained by one order.
pub(crate) const LINEARIZABLE: Promise = Promise {
    name: "linearizable",
    sentence: "what clients and watches were told is explained by one order that respects real time",
};
/// The machines do not panic.
pub(crate) const NO_PANIC: Promise =
    Promise { name: "no panic", sentence: "nothing that a node is fed makes it panic" };

/// The invariants of a world.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub raft: RaftLogs,
    pub machines: Machines,
    pub expiry: Expiry,
    pub membership: Membership,
    pub foundings: Foundings,
}

/// What was last seen of a node, so that only what is new is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenOfNode {
    pub term: u64,
    pub led_term: u64,
    pub commit: u64,
    pub applied: u64,
}

impl Checker {
    /// Looks at what changed in a node. Answers whether it has just become a leader.
    pub fn look(&mut self, node: &Node, seen: &mut SeenOfNode) -> Result<bool, Violation> {
        self.raft.check_term(node, seen)?;
        self.raft.check_commit(node, seen)?;
        self.machines.check_digest(node, seen)?;
        self.raft.check_leader(node, seen)
    }
}
