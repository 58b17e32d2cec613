//! How a Raft node behaves: periods, bounds and thresholds.
//!
//! No addresses and no files: those belong to whoever drives the node.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use crate::limits::{RAFT_CHUNK_BYTES, RAFT_LOG_BYTES_MAX, RAFT_SNAPSHOT_KEPT_BYTES};

/// The options of a node. All members of a cluster should have the same periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Milliseconds of monotonic time between two ticks.
    pub tick_ms: u64,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader after which a follower asks for votes, at least; twice as many at
    /// most. Also the time within which a leader must hear from a quorum.
    pub election_ticks: usize,
    /// Milliseconds by which clocks that agree may differ.
    pub clock_bound_ms: u64,
    /// Entries applied since the last snapshot after which there is another one, unless their bytes are
    /// few beside those of the state: then it takes more of them.
    pub snapshot_threshold: u64,
    /// Bytes of entries kept in memory after which there is a snapshot, however few they are.
    pub log_bytes_max: usize,
    /// Bytes of a snapshot up to which it is kept in memory, for whoever may need it. A larger one is
    /// there only while it is being sent.
    pub snapshot_kept_bytes: u64,
    /// Bytes of a snapshot that travel in one message.
    pub chunk_bytes: usize,
    /// The node's rank in elections: among candidates with equal logs the higher one wins.
    pub priority: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tick_ms: 100,
            heartbeat_ticks: 2,
            election_ticks: 10,
            clock_bound_ms: 10_000,
            snapshot_threshold: 8_192,
            log_bytes_max: RAFT_LOG_BYTES_MAX,
            snapshot_kept_bytes: RAFT_SNAPSHOT_KEPT_BYTES,
            chunk_bytes: RAFT_CHUNK_BYTES,
            priority: 0,
        }
    }
}

impl Options {
    /// Milliseconds of the shortest election timeout.
    #[must_use]
    pub const fn election_ms(&self) -> u64 {
        self.election_ticks as u64 * self.tick_ms
    }
}
