//! The key-value machine: deterministic, total, replicated by feeding it the same log.
//!
//! ```text
//! apply(index, stamp, command) -> Outcome { reply, change, repeats }
//! ```
//!
//! It holds entries in one ordered map (all keyspaces together), the order of their deadlines,
//! client sessions, and the last revisions for watchers. `store.memory` is this machine with a
//! clock and no log; `store.kv.raft` is the same machine behind consensus.
//!
//! Time is an input. Every command is stamped, and log time, the greatest stamp so far, is the only
//! clock that a command sees. An entry with a time to live gets log time + ttl as its deadline; from
//! the deadline on it is absent for every command, removed or not. Readers bring their own instant.
//!
//! Invariants:
//! 1. Equal logs make equal machines: equal digests, equal snapshots, equal replies.
//! 2. A version (epoch, revision) names one command for ever: the revision grows by one with every
//!    command that changes something, and the epoch is random and drawn anew at every restore.
//! 3. A refused command changes nothing but log time and the sessions.
//! 4. Log time never goes back.
//! 5. The history holds consecutive revisions up to the newest.
//! 6. A clone is O(1) and never changes: readers, snapshots and models are clones.
//!
//! No configuration: limits that someone can set are checked before a command is proposed. No
//! reads through `apply`: a read is a look at a clone.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod command;
mod digest;
mod entries;
mod history;
mod invariants;
mod key;
mod log_entry;
mod machine;
mod page;
mod session;
mod snapshot;
pub mod wire;

pub use command::{
    Action, Command, Reason, Refusal, Reply, SessionId, SessionStamp, Write, Written,
};
pub use digest::Digest;
pub use entries::Record;
pub use history::{KeyEvent, RevisionChange};
pub use key::{KeyRef, QualifiedKey};
pub use log_entry::{LogEntry, decode_command, encode_command};
pub use machine::{Execution, MachinePage, Outcome, Room, StateMachine};
pub use page::{KeyPage, PageQuery};
pub use snapshot::SnapshotParts;
