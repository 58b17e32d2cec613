//! What a snapshot holds: the machine, the configuration and the members, all at one index.
//!
//! Configuration and applied index stand in one file with the machine, so that no crash can part
//! them: a node that starts from a snapshot has exactly the configuration that was in force there,
//! and later changes come from the log.
//!
//! Format version 2 (primitives of [`crate::codec`]):
//!
//! ```text
//! "PLIMRS"  format version: byte   cluster: fixed   index   term
//! voters, learners, outgoing voters, next learners: each a count and ids: fixed   auto leave: byte
//! members: count, each: id: fixed, name, address                                  in order of ids
//! the index at which it was agreed who they are
//! the machine's snapshot: all that follows
//! ```
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::iter;

use bytes::Bytes;
use raft::eraftpb::ConfState;

use super::message::Member;
use super::{ClusterId, RaftId};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::StateMachine;
use crate::mutant::mutant;
use crate::storage::SnapshotMeta;

/// All that a member knows at one index of the log.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub cluster: ClusterId,
    pub index: u64,
    pub term: u64,
    pub conf: ConfState,
    pub members: BTreeMap<RaftId, Member>,
    /// The index at which it was agreed last who is a member.
    pub listed_at: u64,
    pub machine: StateMachine,
}

impl State {
    pub fn encode(&self) -> Bytes {
        let length = usize::try_from(self.measure()).expect("it fits into memory");
        let mut bytes = Vec::with_capacity(length);
        for part in self.parts() {
            bytes.extend_from_slice(&part);
        }
        bytes.into()
    }

    /// How many bytes [`State::encode`] gives.
    pub fn measure(&self) -> u64 {
        (self.head().len() + self.machine.snapshot_len()) as u64
    }

    /// As [`State::encode`], in parts that are encoded when they are asked for.
    pub fn parts(&self) -> impl Iterator<Item = Bytes> {
        iter::once(self.head()).chain(self.machine.snapshot_parts())
    }

    /// All but the machine.
    fn head(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(MAGIC);
        writer.byte(FORMAT_VERSION);
        writer.fixed(self.cluster.0);
        writer.unsigned(self.index);
        writer.unsigned(self.term);
        let conf = &self.conf;
        let is_forgotten = mutant!("configuration missing in the snapshot");
        let outgoing = if is_forgotten { &[][..] } else { &conf.voters_outgoing };
        for ids in [&conf.voters[..], &conf.learners, outgoing, &conf.learners_next] {
            write_ids(&mut writer, ids);
        }
        writer.byte(u8::from(conf.auto_leave && !outgoing.is_empty()));
        writer.count(self.members.len());
        for member in self.members.values() {
            write_member(&mut writer, member);
        }
        writer.unsigned(self.listed_at);
        writer.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.raw(MAGIC.len(), "a snapshot of a member")? != MAGIC
            || reader.byte("a format version")? != FORMAT_VERSION
        {
            return Err(reader.error("a snapshot of this format version"));
        }
        let cluster = ClusterId(reader.fixed("a cluster id")?);
        let index = reader.unsigned("an index")?;
        let term = reader.unsigned("a term")?;
        let conf = ConfState {
            voters: read_ids(&mut reader)?,
            learners: read_ids(&mut reader)?,
            voters_outgoing: read_ids(&mut reader)?,
            learners_next: read_ids(&mut reader)?,
            auto_leave: reader.byte("a flag")? == 1,
        };
        let mut members = BTreeMap::new();
        for _ in 0..reader.count(10, "the number of members")? {
            let member = read_member(&mut reader)?;
            members.insert(member.id, member);
        }
        let listed_at = reader.unsigned("when the members were agreed on")?;
        let rest = reader.remaining();
        let machine = StateMachine::from_snapshot(reader.raw(rest, "the machine")?)?;
        Ok(Self { cluster, index, term, conf, members, listed_at, machine })
    }

    /// What a member knows that waits to be added.
    pub fn before_joining(cluster: ClusterId) -> Self {
        let (conf, members) = (ConfState::default(), BTreeMap::new());
        let machine = StateMachine::new(0);
        Self { cluster, index: 0, term: 0, conf, members, listed_at: 0, machine }
    }

    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { index: self.index, term: self.term }
    }
}

/// The first snapshot of a cluster, from which every founder starts: an empty machine whose log time
/// begins at an instant, and all founders as voters.
///
/// # Panics
/// If there is no founder.
#[must_use]
pub fn found(
    cluster: ClusterId,
    epoch: u64,
    at: UnixMillis,
    founders: &[Member],
) -> (SnapshotMeta, Bytes) {
    assert!(!founders.is_empty(), "a cluster has founders");
    let members: BTreeMap<_, _> =
        founders.iter().map(|member| (member.id, member.clone())).collect();
    let conf =
        ConfState { voters: members.keys().map(|id| id.0).collect(), ..ConfState::default() };
    let machine = StateMachine::beginning(epoch, at);
    let (index, term, listed_at) = (FIRST_INDEX, FIRST_TERM, FIRST_INDEX);
    let state = State { cluster, index, term, conf, members, listed_at, machine };
    (state.meta(), state.encode())
}

fn write_ids(writer: &mut Writer, ids: &[u64]) {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    writer.count(ids.len());
    for id in ids {
        writer.fixed(id);
    }
}

fn read_ids(reader: &mut Reader) -> Result<Vec<u64>, DecodeError> {
    let count = reader.count(8, "the number of ids")?;
    (0..count).map(|_| RaftId::read(reader).map(|id| id.0)).collect()
}

pub(crate) fn write_member(writer: &mut Writer, member: &Member) {
    writer.fixed(member.id.0);
    writer.bytes(member.name.as_bytes());
    writer.bytes(member.address.as_bytes());
}

pub(crate) fn read_member(reader: &mut Reader) -> Result<Member, DecodeError> {
    let id = RaftId::read(reader)?;
    let mut text = |what| {
        let bytes = reader.bytes(what)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| reader.error(what))
    };
    Ok(Member { id, name: text("a member's name")?, address: text("a member's address")? })
}

const MAGIC: &[u8] = b"PLIMRS";
const FORMAT_VERSION: u8 = 2;
const FIRST_INDEX: u64 = 1;
const FIRST_TERM: u64 = 1;
