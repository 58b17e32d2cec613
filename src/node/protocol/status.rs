//! What a node tells of itself, in bytes.
//!
//! ```text
//! name, phase: byte, then
//!     0 waiting    seen              1 pledged   agreed
//!     2 split                        3 join      cluster: fixed, member
//!     4 member     cluster: fixed, id: fixed, role: byte (follower, pre-candidate, candidate,
//!                  leader), term, vote and leader: each 0, or 1 and id: fixed, commit, applied,
//!                  first index, last index, voters, outgoing, learners: each a count and ids: fixed,
//!                  clock unresolved: byte, unsynced, waiting, removed: byte, members: count and
//!                  members, digest: text, revision, entries, wall clock (ms), log time (ms),
//!                  standings: count and standings, what it waits for: text, or empty
//! member: id: fixed, name, address                       ids, members and standings in order
//! standing: id: fixed, part: byte (voter, standby, learner), failure domain: text, or empty, how long
//!                  it has been away (ms): 0, or 1 and the number
//! ```
//!
//! After the phase: 0, or 1 and what stands in `src/node/crdt/figures.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Decoded, read_flag, read_text};
use crate::codec::{Reader, Writer};
use crate::node::crdt::CrdtFigures;
use crate::node::handle::{MemberStatus, NodeStatus, Part, Phase, Standing};
use crate::raft::{
    ClusterId, FoundingStatus, Member, RaftId, Role, Status, read_member, write_member,
};

pub(super) fn write(writer: &mut Writer, NodeStatus { name, phase, crdt }: &NodeStatus) {
    writer.bytes(name.as_bytes());
    match phase {
        Phase::Founding(FoundingStatus::Waiting { seen }) => {
            writer.byte(PHASE_WAITING);
            writer.count(*seen);
        }
        Phase::Founding(FoundingStatus::Pledged { agreed }) => {
            writer.byte(PHASE_PLEDGED);
            writer.count(*agreed);
        }
        Phase::Founding(FoundingStatus::Split) => writer.byte(PHASE_SPLIT),
        Phase::Founding(FoundingStatus::Join { cluster, via }) => {
            writer.byte(PHASE_JOIN);
            writer.fixed(cluster.0);
            write_member(writer, via);
        }
        Phase::Member(member) => {
            writer.byte(PHASE_MEMBER);
            write_status(writer, member);
        }
    }
    writer.byte(u8::from(crdt.is_some()));
    if let Some(crdt) = crdt {
        crdt.write(writer);
    }
}

pub(super) fn read(reader: &mut Reader) -> Decoded<NodeStatus> {
    let name = read_text(reader, "a name")?;
    let phase = match reader.byte("a phase")? {
        PHASE_WAITING => Phase::Founding(FoundingStatus::Waiting { seen: read_size(reader)? }),
        PHASE_PLEDGED => Phase::Founding(FoundingStatus::Pledged { agreed: read_size(reader)? }),
        PHASE_SPLIT => Phase::Founding(FoundingStatus::Split),
        PHASE_JOIN => Phase::Founding(FoundingStatus::Join {
            cluster: ClusterId(reader.fixed("a cluster id")?),
            via: read_member(reader)?,
        }),
        PHASE_MEMBER => Phase::Member(Box::new(read_status(reader)?)),
        _ => return Err(reader.error("a phase")),
    };
    let has_figures = read_flag(reader)?;
    let crdt = has_figures.then(|| CrdtFigures::read(reader).map(Box::new)).transpose()?;
    Ok(NodeStatus { name, phase, crdt })
}

fn write_status(writer: &mut Writer, status: &MemberStatus) {
    writer.fixed(status.cluster.0);
    let raft = &status.raft;
    writer.fixed(raft.id.0);
    writer.byte(match raft.role {
        Role::Follower => ROLE_FOLLOWER,
        Role::PreCandidate => ROLE_PRE_CANDIDATE,
        Role::Candidate => ROLE_CANDIDATE,
        Role::Leader => ROLE_LEADER,
    });
    writer.unsigned(raft.term);
    for id in [raft.vote, raft.leader] {
        writer.byte(u8::from(id.is_some()));
        if let Some(id) = id {
            writer.fixed(id.0);
        }
    }
    for index in [raft.commit, raft.applied, raft.first_index, raft.last_index] {
        writer.unsigned(index);
    }
    for ids in [&raft.voters, &raft.outgoing, &raft.learners] {
        writer.count(ids.len());
        for id in ids {
            writer.fixed(id.0);
        }
    }
    writer.byte(u8::from(raft.clock_unresolved));
    writer.count(raft.unsynced);
    writer.count(raft.waiting);
    writer.byte(u8::from(raft.is_removed));
    writer.count(status.members.len());
    for member in status.members.values() {
        write_member(writer, member);
    }
    writer.bytes(status.digest.as_bytes());
    writer.unsigned(status.revision);
    writer.count(status.entries);
    writer.unsigned(status.wall_ms);
    writer.unsigned(status.log_time_ms);
    writer.count(status.standings.len());
    for (id, standing) in &status.standings {
        writer.fixed(id.0);
        writer.byte(match standing.part {
            Part::Voter => PART_VOTER,
            Part::Standby => PART_STANDBY,
            Part::Learner => PART_LEARNER,
        });
        write_optional_text(writer, standing.failure_domain.as_deref());
        writer.optional(standing.away_ms);
    }
    write_optional_text(writer, status.waits_for.as_deref());
}

/// An empty text says nothing.
fn write_optional_text(writer: &mut Writer, text: Option<&str>) {
    writer.bytes(text.unwrap_or_default().as_bytes());
}

fn read_status(reader: &mut Reader) -> Decoded<MemberStatus> {
    Ok(MemberStatus {
        cluster: ClusterId(reader.fixed("a cluster id")?),
        raft: read_raft(reader)?,
        members: read_members(reader)?,
        digest: read_text(reader, "a digest")?,
        revision: reader.unsigned("a revision")?,
        entries: read_size(reader)?,
        wall_ms: reader.unsigned("a wall clock")?,
        log_time_ms: reader.unsigned("a log time")?,
        standings: read_standings(reader)?,
        waits_for: read_optional_text(reader, "what it waits for")?,
    })
}

fn read_raft(reader: &mut Reader) -> Decoded<Status> {
    Ok(Status {
        id: RaftId::read(reader)?,
        role: match reader.byte("a role")? {
            ROLE_FOLLOWER => Role::Follower,
            ROLE_PRE_CANDIDATE => Role::PreCandidate,
            ROLE_CANDIDATE => Role::Candidate,
            ROLE_LEADER => Role::Leader,
            _ => return Err(reader.error("a role")),
        },
        term: reader.unsigned("a term")?,
        vote: read_optional_id(reader)?,
        leader: read_optional_id(reader)?,
        commit: reader.unsigned("an index")?,
        applied: reader.unsigned("an index")?,
        first_index: reader.unsigned("an index")?,
        last_index: reader.unsigned("an index")?,
        voters: read_ids(reader)?,
        outgoing: read_ids(reader)?,
        learners: read_ids(reader)?,
        clock_unresolved: read_flag(reader)?,
        unsynced: read_size(reader)?,
        waiting: read_size(reader)?,
        is_removed: read_flag(reader)?,
    })
}

fn read_members(reader: &mut Reader) -> Decoded<BTreeMap<RaftId, Member>> {
    let mut members = BTreeMap::new();
    for _ in 0..reader.count(10, "the number of members")? {
        let member = read_member(reader)?;
        if members.last_key_value().is_some_and(|(last, _)| *last >= member.id) {
            return Err(reader.error("members in order"));
        }
        members.insert(member.id, member);
    }
    Ok(members)
}

fn read_standings(reader: &mut Reader) -> Decoded<BTreeMap<RaftId, Standing>> {
    let mut standings = BTreeMap::new();
    for _ in 0..reader.count(11, "the number of standings")? {
        let id = RaftId::read(reader)?;
        if standings.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(reader.error("standings in order"));
        }
        let part = match reader.byte("a part")? {
            PART_VOTER => Part::Voter,
            PART_STANDBY => Part::Standby,
            PART_LEARNER => Part::Learner,
            _ => return Err(reader.error("a part")),
        };
        let failure_domain = read_optional_text(reader, "a failure domain")?;
        let away_ms = reader.optional("how long a member has been away")?;
        standings.insert(id, Standing { part, failure_domain, away_ms });
    }
    Ok(standings)
}

fn read_optional_text(reader: &mut Reader, what: &'static str) -> Decoded<Option<String>> {
    Ok(Some(read_text(reader, what)?).filter(|text| !text.is_empty()))
}

fn read_ids(reader: &mut Reader) -> Decoded<BTreeSet<RaftId>> {
    let mut ids = BTreeSet::new();
    for _ in 0..reader.count(8, "the number of ids")? {
        let id = RaftId::read(reader)?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(reader.error("ids in order"));
        }
        ids.insert(id);
    }
    Ok(ids)
}

fn read_optional_id(reader: &mut Reader) -> Decoded<Option<RaftId>> {
    if read_flag(reader)? { RaftId::read(reader).map(Some) } else { Ok(None) }
}

fn read_size(reader: &mut Reader) -> Decoded<usize> {
    let number = reader.unsigned("a number")?;
    usize::try_from(number).map_err(|_| reader.error("a number"))
}

const PHASE_WAITING: u8 = 0;
const PHASE_PLEDGED: u8 = 1;
const PHASE_SPLIT: u8 = 2;
const PHASE_JOIN: u8 = 3;
const PHASE_MEMBER: u8 = 4;

const ROLE_FOLLOWER: u8 = 0;
const ROLE_PRE_CANDIDATE: u8 = 1;
const ROLE_CANDIDATE: u8 = 2;
const ROLE_LEADER: u8 = 3;

const PART_VOTER: u8 = 0;
const PART_STANDBY: u8 = 1;
const PART_LEARNER: u8 = 2;
