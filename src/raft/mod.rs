//! The Raft engine: a linearizable, exactly-once, durable key-value machine, without IO.
//!
//! [`Node`] is one member: raft-rs's `RawNode` with everything around it that a correct member
//! needs (the log in memory, client origins, reads, log time, snapshots, membership) and the
//! machine itself. It reads no clock, draws no random number of its own, opens nothing and waits
//! for nothing: input goes in through `handle_*` with the time, output comes out of `poll_*`.
//! Production drives it with sockets and files, the simulator with virtual ones, and neither knows
//! more about Raft than this page.
//!
//! # The caller's contract
//! 1. Before [`Node::new`] the identity, with its start number raised by one, is durable.
//! 2. Every `handle_*` is followed by polling every `poll_*` until it gives none, in any order.
//! 3. [`Node::handle_tick`] comes once in every `tick_ms` of monotonic time.
//! 4. What [`Node::poll_transmit`] gives may go out at once: whatever must be durable before it is
//!    said has been held back. Messages may be lost, doubled, reordered and late.
//! 5. What [`Node::poll_persist`] gives is written in its order and made durable, snapshot first;
//!    then [`Node::handle_persisted`] acknowledges all up to its number. Several may be written
//!    before one sync.
//! 6. If writing or syncing fails, [`Node::handle_storage_error`] ends the node. It is never tried
//!    again: after a failed sync nobody knows what is durable.
//! 7. What [`Node::poll_snapshot`] gives is encoded (anywhere, it is a clone of the state), saved,
//!    and reported with [`Node::handle_snapshot_saved`], which tells how far the log on disk may be
//!    compacted. Steps may be written before and after; nobody waits for it.
//! 8. An [`Answer::Read`] is good for the machine as it is when the answer is polled.
//! 9. A panic out of this module ends the node. It is started again from its storage.
//!
//! # How it keeps its promises
//! - **Nothing is said that could be forgotten.** Messages that follow a change of term or vote, a
//!   leader's too, or a committed change of members, leave only when that is durable; a follower's all leave after what they
//!   confirm is durable.
//! - **A write is applied once.** Its command carries a client session stamp; the node may propose
//!   it again after every change of leader, and the machine answers repeats from its memory. The
//!   answer comes from the node's own application of the command, found by its origin.
//! - **A read sees every write that ended before it.** Leadership is confirmed with a quorum after
//!   the read began ([`raft::ReadOnlyOption::Safe`]), under a context that no other life of any
//!   node can have used; then the local machine applies up to the index. No lease reads.
//! - **Time is an input of the log.** Only the leader stamps, from an anchor on which the clocks of
//!   a majority agree, and nobody reads a clock while applying.
//!
//! Not here: who should be a member (that is decided above), retries after a deadline (the client's
//! matter, under the same session stamp), lease reads, stale reads.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod client;
mod clock;
mod founding;
mod identity;
mod log;
mod message;
mod node;
mod options;
mod recovery;
mod request;
mod state;
mod wire;

use std::fmt;

use crate::codec::{DecodeError, Reader};

pub use crate::clock::Now;
pub use client::ClientSession;
pub use founding::{Founding, FoundingStatus, Hello};
pub use identity::{Identity, Pledge};
pub use log::Log;
pub use message::{Body, Decline, Envelope, Member, SnapshotName};
pub use node::{
    Node, Persist, Progress, Reached, Role, SavedSnapshot, SnapshotJob, StartError, Status,
};
pub use options::Options;
pub use recovery::{Recovery, force_new_cluster, own_member, restore};
pub use request::{
    Answer, Applied, Failure, FailureReason, MemberChange, Origin, Request, RequestId, Response,
};
pub use state::found;
#[cfg(feature = "node")]
pub(crate) use state::{read_member, write_member};
#[cfg(feature = "node")]
pub(crate) use wire::{read_change, write_change};

/// The name of a data directory in its cluster: random, never 0, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftId(pub u64);

/// The name of a cluster: random, drawn when it is founded and at every forced recovery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl RaftId {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.fixed("a raft id")? {
            0 => Err(reader.error("a raft id")),
            id => Ok(Self(id)),
        }
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
