//! Envelopes in bytes, as they travel between members.
//!
//! Format version 1 (primitives of [`crate::codec`]):
//!
//! ```text
//! version: byte   cluster: fixed   from: fixed   to: fixed   wall clock (ms)   body: byte, then
//!     raft             the message as raft-rs encodes it (protocol buffers), to the end
//!     forward          origin, command: bytes
//!     forward change   origin, count, changes
//!     decline          start, request, why: byte, leader: 0 or 1 and fixed, or the reason
//!     chunk            snapshot, offset, bytes
//!     chunk received   snapshot, offset
//!     not member       index
//! origin: node: fixed, start, request
//! change: byte, member (added, moved) or id: fixed (promoted, removed, demoted)
//! snapshot: index, term, length, digest: fixed
//! ```
//!
//! No frame, no checksum, no secrecy: those are the transport's. Whatever arrives is decoded or
//! refused, never trusted for a length.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;
use prost_raft::Message as _;
use raft::eraftpb::Message;

use super::founding::Hello;
use super::identity::Pledge;
use super::message::{Body, Decline, Envelope, SnapshotName};
use super::request::{MemberChange, Origin, RequestId};
use super::state::{read_member, write_member};
use super::{ClusterId, RaftId};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::RAFT_MEMBERS_MAX;

type Decoded<T> = Result<T, DecodeError>;

impl Envelope {
    /// The envelope in bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.byte(FORMAT_VERSION);
        writer.fixed(self.cluster.0);
        writer.fixed(self.from.0);
        writer.fixed(self.to.0);
        writer.unsigned(self.wall.0);
        match &self.body {
            Body::Raft(message) => {
                writer.byte(BODY_RAFT);
                writer.raw(&message.encode_to_vec());
            }
            Body::Forward { origin, command } => {
                writer.byte(BODY_FORWARD);
                write_origin(&mut writer, *origin);
                writer.bytes(command);
            }
            Body::ForwardChange { origin, changes } => {
                writer.byte(BODY_FORWARD_CHANGE);
                write_origin(&mut writer, *origin);
                writer.count(changes.len());
                for change in changes {
                    write_change(&mut writer, change);
                }
            }
            Body::Decline { start, request, why } => {
                writer.byte(BODY_DECLINE);
                writer.unsigned(*start);
                writer.unsigned(request.0);
                write_decline(&mut writer, why);
            }
            Body::Chunk { snapshot, offset, bytes } => {
                writer.byte(BODY_CHUNK);
                snapshot.write(&mut writer);
                writer.unsigned(*offset);
                writer.bytes(bytes);
            }
            Body::ChunkReceived { snapshot, offset } => {
                writer.byte(BODY_CHUNK_RECEIVED);
                snapshot.write(&mut writer);
                writer.unsigned(*offset);
            }
            Body::NotMember { index } => {
                writer.byte(BODY_NOT_MEMBER);
                writer.unsigned(*index);
            }
        }
        writer.finish()
    }

    /// The envelope that [`Envelope::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are none, or of another format version.
    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a format version")? != FORMAT_VERSION {
            return Err(reader.error("an envelope of this format version"));
        }
        let cluster = ClusterId(reader.fixed("a cluster id")?);
        let from = RaftId::read(&mut reader)?;
        let to = RaftId::read(&mut reader)?;
        let wall = UnixMillis(reader.unsigned("a wall clock")?);
        let body = read_body(&mut reader)?;
        reader.finish("the end of the envelope")?;
        Ok(Self { from, to, cluster, wall, body })
    }
}

impl Hello {
    /// The hello in bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.byte(FORMAT_VERSION);
        write_member(&mut writer, &self.member);
        writer.byte(u8::from(self.cluster.is_some()));
        if let Some(cluster) = self.cluster {
            writer.fixed(cluster.0);
        }
        writer.byte(u8::from(self.pledge.is_some()));
        if let Some(pledge) = &self.pledge {
            pledge.write(&mut writer);
        }
        writer.unsigned(self.wall.0);
        writer.byte(u8::from(self.founds));
        writer.finish()
    }

    /// The hello that [`Hello::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are none, or of another format version.
    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a format version")? != FORMAT_VERSION {
            return Err(reader.error("a hello of this format version"));
        }
        let member = read_member(&mut reader)?;
        let cluster = match reader.byte("a flag")? {
            0 => None,
            _ => Some(ClusterId(reader.fixed("a cluster id")?)),
        };
        let pledge = match reader.byte("a flag")? {
            0 => None,
            _ => Some(Pledge::read(&mut reader)?),
        };
        let wall = UnixMillis(reader.unsigned("a wall clock")?);
        let founds = reader.byte("a flag")? == 1;
        reader.finish("the end of the hello")?;
        Ok(Self { member, cluster, pledge, wall, founds })
    }
}

fn read_body(reader: &mut Reader) -> Decoded<Body> {
    Ok(match reader.byte("a body")? {
        BODY_RAFT => {
            let rest = reader.raw(reader.remaining(), "a message of Raft")?;
            let message = Message::decode(rest).map_err(|_| reader.error("a message of Raft"))?;
            Body::Raft(Box::new(message))
        }
        BODY_FORWARD => {
            Body::Forward { origin: read_origin(reader)?, command: reader.bytes("a command")? }
        }
        BODY_FORWARD_CHANGE => {
            let origin = read_origin(reader)?;
            let count = reader.count(9, "the number of changes")?;
            if count > RAFT_MEMBERS_MAX {
                return Err(reader.error("the number of changes"));
            }
            let changes = (0..count).map(|_| read_change(reader)).collect::<Decoded<_>>()?;
            Body::ForwardChange { origin, changes }
        }
        BODY_DECLINE => Body::Decline {
            start: reader.unsigned("a start")?,
            request: RequestId(reader.unsigned("a request")?),
            why: read_decline(reader)?,
        },
        BODY_CHUNK => Body::Chunk {
            snapshot: SnapshotName::read(reader)?,
            offset: reader.unsigned("an offset")?,
            bytes: reader.bytes("a chunk")?,
        },
        BODY_CHUNK_RECEIVED => Body::ChunkReceived {
            snapshot: SnapshotName::read(reader)?,
            offset: reader.unsigned("an offset")?,
        },
        BODY_NOT_MEMBER => Body::NotMember { index: reader.unsigned("an index")? },
        _ => return Err(reader.error("a body")),
    })
}

pub(super) fn write_origin(writer: &mut Writer, origin: Origin) {
    writer.fixed(origin.node.0);
    writer.unsigned(origin.start);
    writer.unsigned(origin.request.0);
}

pub(super) fn read_origin(reader: &mut Reader) -> Decoded<Origin> {
    let node = RaftId::read(reader)?;
    let start = reader.unsigned("a start")?;
    Ok(Origin { node, start, request: RequestId(reader.unsigned("a request")?) })
}

pub(crate) fn write_change(writer: &mut Writer, change: &MemberChange) {
    match change {
        MemberChange::AddLearner(member) => {
            writer.byte(CHANGE_ADD);
            write_member(writer, member);
        }
        MemberChange::Promote(id) => {
            writer.byte(CHANGE_PROMOTE);
            writer.fixed(id.0);
        }
        MemberChange::Remove(id) => {
            writer.byte(CHANGE_REMOVE);
            writer.fixed(id.0);
        }
        MemberChange::Move(member) => {
            writer.byte(CHANGE_MOVE);
            write_member(writer, member);
        }
        MemberChange::Demote(id) => {
            writer.byte(CHANGE_DEMOTE);
            writer.fixed(id.0);
        }
    }
}

pub(crate) fn read_change(reader: &mut Reader) -> Decoded<MemberChange> {
    Ok(match reader.byte("a change")? {
        CHANGE_ADD => MemberChange::AddLearner(read_member(reader)?),
        CHANGE_PROMOTE => MemberChange::Promote(RaftId::read(reader)?),
        CHANGE_REMOVE => MemberChange::Remove(RaftId::read(reader)?),
        CHANGE_MOVE => MemberChange::Move(read_member(reader)?),
        CHANGE_DEMOTE => MemberChange::Demote(RaftId::read(reader)?),
        _ => return Err(reader.error("a change")),
    })
}

fn write_decline(writer: &mut Writer, why: &Decline) {
    match why {
        Decline::NotLeader(None) => writer.byte(DECLINE_NO_LEADER),
        Decline::NotLeader(Some(leader)) => {
            writer.byte(DECLINE_OTHER_LEADER);
            writer.fixed(leader.0);
        }
        Decline::Busy => writer.byte(DECLINE_BUSY),
        Decline::Refused(why) => {
            writer.byte(DECLINE_REFUSED);
            writer.bytes(why.as_bytes());
        }
    }
}

fn read_decline(reader: &mut Reader) -> Decoded<Decline> {
    Ok(match reader.byte("a reason")? {
        DECLINE_NO_LEADER => Decline::NotLeader(None),
        DECLINE_OTHER_LEADER => Decline::NotLeader(Some(RaftId::read(reader)?)),
        DECLINE_BUSY => Decline::Busy,
        DECLINE_REFUSED => {
            let why = reader.bytes("a reason")?;
            let why = String::from_utf8(why.to_vec()).map_err(|_| reader.error("a reason"))?;
            Decline::Refused(why)
        }
        _ => return Err(reader.error("a reason")),
    })
}

const FORMAT_VERSION: u8 = 1;

const BODY_RAFT: u8 = 0;
const BODY_FORWARD: u8 = 1;
const BODY_FORWARD_CHANGE: u8 = 2;
const BODY_DECLINE: u8 = 3;
const BODY_CHUNK: u8 = 4;
const BODY_CHUNK_RECEIVED: u8 = 5;
const BODY_NOT_MEMBER: u8 = 6;

const CHANGE_ADD: u8 = 0;
const CHANGE_PROMOTE: u8 = 1;
const CHANGE_REMOVE: u8 = 2;
const CHANGE_MOVE: u8 = 3;
const CHANGE_DEMOTE: u8 = 4;

const DECLINE_NO_LEADER: u8 = 0;
const DECLINE_OTHER_LEADER: u8 = 1;
const DECLINE_BUSY: u8 = 2;
const DECLINE_REFUSED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Member;

    fn bodies() -> Vec<Body> {
        let origin = Origin { node: RaftId(1), start: 2, request: RequestId(3) };
        let member = Member { id: RaftId(4), name: "n4".into(), address: "host:1".into() };
        let snapshot = SnapshotName::of(10, 2, b"bytes");
        let raft = Message { term: 3, from: 1, to: 2, index: 300, ..Message::default() };
        let decline = |why| Body::Decline { start: 2, request: RequestId(3), why };
        vec![
            Body::Raft(Box::new(raft)),
            Body::Forward { origin, command: Bytes::from_static(b"command") },
            Body::ForwardChange {
                origin,
                changes: vec![
                    MemberChange::AddLearner(member.clone()),
                    MemberChange::Move(member),
                    MemberChange::Promote(RaftId(5)),
                    MemberChange::Remove(RaftId(6)),
                    MemberChange::Demote(RaftId(7)),
                ],
            },
            decline(Decline::NotLeader(None)),
            decline(Decline::NotLeader(Some(RaftId(7)))),
            decline(Decline::Busy),
            decline(Decline::Refused("no".into())),
            Body::Chunk { snapshot, offset: 5, bytes: Bytes::from_static(b"part") },
            Body::ChunkReceived { snapshot, offset: 9 },
            Body::NotMember { index: 12 },
        ]
    }

    #[test]
    fn hellos_round_trip_and_what_is_cut_is_refused() {
        let member =
            |id| Member { id: RaftId(id), name: format!("n{id}"), address: "host:1".into() };
        let (cluster, at) = (ClusterId(9), UnixMillis(70));
        let pledge = Pledge { cluster, epoch: 4, at, founders: vec![member(1), member(2)] };
        for (cluster, pledge) in [(None, None), (Some(cluster), None), (None, Some(pledge))] {
            let hello =
                Hello { member: member(1), cluster, pledge, wall: UnixMillis(1_000), founds: true };
            let bytes = hello.encode();
            assert_eq!(Hello::decode(bytes.clone()), Ok(hello));
            for end in 0..bytes.len() {
                assert!(Hello::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn envelopes_round_trip_and_what_is_cut_is_refused() {
        for body in bodies() {
            let (from, to) = (RaftId(1), RaftId(2));
            let envelope =
                Envelope { from, to, cluster: ClusterId(9), wall: UnixMillis(1_000), body };
            let bytes = envelope.encode();
            assert_eq!(Envelope::decode(bytes.clone()).as_ref(), Ok(&envelope));
            let is_raft = matches!(envelope.body, Body::Raft(_));
            for end in 0..bytes.len() {
                // A protocol buffer may end after any of its fields.
                let cut = Envelope::decode(bytes.slice(..end));
                assert!(is_raft || cut.is_err(), "{:?} cut at {end}", envelope.body);
                assert_ne!(cut, Ok(envelope.clone()));
            }
        }
    }
}
