//! What members send each other: Raft's own messages, forwarded requests, and snapshots in chunks.
//!
//! Every envelope names its cluster: a message of another cluster is dropped, so that the members
//! left behind by a forced recovery are not heard. It also carries the sender's wall clock: answers
//! to a candidate are how a new leader learns the time.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};

use super::request::{MemberChange, Origin, RequestId};
use super::{ClusterId, RaftId};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};

/// A member of a cluster, as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its raft id.
    pub id: RaftId,
    /// Its name, for people.
    pub name: String,
    /// Where to reach it; what that means is the driver's matter.
    pub address: String,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Who sent it.
    pub from: RaftId,
    /// For whom it is.
    pub to: RaftId,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The sender's wall clock when it was sent.
    pub wall: UnixMillis,
    /// What it says.
    pub body: Body,
}

impl Envelope {
    /// Whether it ends the sending of a snapshot: all of that has arrived before it.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        let is_it = |message: &Message| message.get_msg_type() == MessageType::MsgSnapshot;
        matches!(&self.body, Body::Raft(message) if is_it(message))
    }

    /// About how many bytes its data takes: entries, commands and chunks.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.body {
            Body::Raft(message) => {
                message.entries.iter().map(|entry| entry.data.len() + entry.context.len()).sum()
            }
            Body::Forward { command, .. } => command.len(),
            Body::Chunk { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A message of the Raft protocol.
    Raft(Box<Message>),
    /// Asks the leader to propose a command.
    Forward {
        /// Who asks.
        origin: Origin,
        /// The encoded command.
        command: Bytes,
    },
    /// Asks the leader to change the membership.
    ForwardChange {
        /// Who asks.
        origin: Origin,
        /// The changes.
        changes: Vec<MemberChange>,
    },
    /// A forwarded request was not proposed.
    Decline {
        /// Which one, of which start of the receiver.
        start: u64,
        /// Which one.
        request: RequestId,
        /// Why.
        why: Decline,
    },
    /// A part of a snapshot; an empty part only asks how much has arrived.
    Chunk {
        /// Of which snapshot.
        snapshot: SnapshotName,
        /// Where the part begins.
        offset: u64,
        /// The part.
        bytes: Bytes,
    },
    /// How much of a snapshot has arrived.
    ChunkReceived {
        /// Of which snapshot.
        snapshot: SnapshotName,
        /// All before this offset.
        offset: u64,
    },
    /// The receiver is no member of the cluster any more.
    NotMember {
        /// At which index of the log that was so.
        index: u64,
    },
}

/// Why a request was not proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decline {
    /// The receiver does not lead; it may know who does.
    NotLeader(Option<RaftId>),
    /// It takes no proposals at present.
    Busy,
    /// It must not be done.
    Refused(String),
}

/// Which snapshot: what a message of the Raft protocol carries in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The last index that it covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their xxh3 hash.
    pub digest: u64,
}

impl SnapshotName {
    pub(super) fn of(index: u64, term: u64, bytes: &[u8]) -> Self {
        let digest = xxhash_rust::xxh3::xxh3_64(bytes);
        Self { index, term, bytes: bytes.len() as u64, digest }
    }

    pub(super) fn write(self, writer: &mut Writer) {
        writer.unsigned(self.index);
        writer.unsigned(self.term);
        writer.unsigned(self.bytes);
        writer.fixed(self.digest);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            index: reader.unsigned("a snapshot's index")?,
            term: reader.unsigned("a snapshot's term")?,
            bytes: reader.unsigned("a snapshot's length")?,
            digest: reader.fixed("a snapshot's digest")?,
        })
    }
}

impl Body {
    /// One word for what it says.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Raft(message) => raft_kind(message.get_msg_type()),
            Self::Forward { .. } => "forward",
            Self::ForwardChange { .. } => "forward-change",
            Self::Decline { .. } => "decline",
            Self::Chunk { .. } => "chunk",
            Self::ChunkReceived { .. } => "chunk-received",
            Self::NotMember { .. } => "not-member",
        }
    }
}

const fn raft_kind(kind: MessageType) -> &'static str {
    match kind {
        MessageType::MsgAppend => "append",
        MessageType::MsgAppendResponse => "append-response",
        MessageType::MsgRequestVote => "vote",
        MessageType::MsgRequestVoteResponse => "vote-response",
        MessageType::MsgRequestPreVote => "pre-vote",
        MessageType::MsgRequestPreVoteResponse => "pre-vote-response",
        MessageType::MsgSnapshot => "snapshot",
        MessageType::MsgHeartbeat => "heartbeat",
        MessageType::MsgHeartbeatResponse => "heartbeat-response",
        MessageType::MsgTimeoutNow => "timeout-now",
        MessageType::MsgReadIndex => "read-index",
        MessageType::MsgReadIndexResp => "read-index-response",
        MessageType::MsgTransferLeader => "transfer-leader",
        MessageType::MsgPropose => "propose",
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => "local",
    }
}
