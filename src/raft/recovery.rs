//! Forced recovery: one member goes on alone after the majority is lost for good.
//!
//! Everything in the member's log is applied, committed or not: what was acknowledged and is here
//! must stay, and what was not has an unknown outcome anyway. The result is a new cluster with a new
//! id and a new epoch: the members left behind are not heard any more if they come back, versions
//! from before are never given again, and client sessions end. The new cluster begins at an index of
//! its own, one above the last of the old one.
//!
//! Restoring a backup is the same with a machine that comes from elsewhere.
//!
//! What this can't give back: writes that were acknowledged by others and never reached this member.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{ConfState, EntryType};

use super::identity::Identity;
use super::message::Member;
use super::node::from_stored;
use super::state::State;
use super::{ClusterId, StartError};
use crate::kv::{LogEntry, StateMachine};
use crate::storage::{Batch, HardState, Recovered, SnapshotMeta};

/// What is to be made durable, in this order, for a member to go on alone.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The whole state.
    pub snapshot: (SnapshotMeta, Bytes),
    /// The log, empty after the snapshot.
    pub batch: Batch,
    /// The data directory in its new cluster.
    pub identity: Identity,
}

/// The state of a member as the beginning of a new cluster of which it is the only voter. Cluster
/// id and epoch must be random.
///
/// # Errors
/// If the storage holds no state, or one that can't be read.
pub fn force_new_cluster(
    identity: &Identity,
    own: Member,
    recovered: Recovered,
    cluster: ClusterId,
    epoch: u64,
) -> Result<Recovery, StartError> {
    let Some((_, bytes)) = recovered.snapshot else {
        return Err(StartError::new("the data directory holds no state"));
    };
    let mut state = State::decode(bytes).map_err(|error| StartError::new(&error.to_string()))?;
    for entry in recovered.entries.into_iter().map(from_stored) {
        if entry.index != state.index + 1 {
            return Err(StartError::new("the log does not follow the snapshot"));
        }
        (state.index, state.term) = (entry.index, entry.term);
        if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
            let entry = LogEntry::decode(Bytes::from(entry.data))
                .map_err(|error| StartError::new(&error.to_string()))?;
            state.machine.apply(state.index, entry.stamp, &entry.command);
        }
    }
    state.machine = StateMachine::restore(state.machine.snapshot(), epoch)
        .map_err(|error| StartError::new(&error.to_string()))?;
    // An index of its own: storage may hold the old cluster's snapshot of the last one, and would take
    // the new one for the same.
    state.index += 1;
    state.cluster = cluster;
    state.conf = ConfState { voters: vec![own.id.0], ..ConfState::default() };
    state.members = BTreeMap::from([(own.id, own)]);
    state.listed_at = state.index;
    let term = recovered.hard_state.term.max(state.term);
    let hard_state = HardState { term, vote: 0, commit: state.index };
    let batch = Batch {
        hard_state: Some(hard_state),
        reset: Some((state.index, state.term)),
        entries: Vec::new(),
    };
    let identity = Identity { cluster: Some(cluster), pledge: None, ..identity.clone() };
    Ok(Recovery { snapshot: (state.meta(), state.encode()), batch, identity })
}

/// A backup's machine as the beginning of a new cluster of which this directory is the only voter.
/// Cluster id and epoch must be random: versions of the backup stay, and none of them is given again.
///
/// # Errors
/// If the backup holds no machine that can be read.
pub fn restore(
    identity: &Identity,
    own: Member,
    machine: Bytes,
    cluster: ClusterId,
    epoch: u64,
) -> Result<Recovery, StartError> {
    let machine = StateMachine::restore(machine, epoch)
        .map_err(|error| StartError::new(&error.to_string()))?;
    let conf = ConfState { voters: vec![own.id.0], ..ConfState::default() };
    let members = BTreeMap::from([(own.id, own)]);
    let (index, term) = (1, 1);
    let state = State { cluster, index, term, conf, members, listed_at: index, machine };
    let batch = Batch {
        hard_state: Some(HardState { term, vote: 0, commit: index }),
        reset: Some((index, term)),
        entries: Vec::new(),
    };
    let identity = Identity { cluster: Some(cluster), pledge: None, ..identity.clone() };
    Ok(Recovery { snapshot: (state.meta(), state.encode()), batch, identity })
}

/// Name and address of a directory's own member, as its newest snapshot knows them.
#[must_use]
pub fn own_member(identity: &Identity, recovered: &Recovered) -> Option<Member> {
    let (_, bytes) = recovered.snapshot.as_ref()?;
    State::decode(bytes.clone()).ok()?.members.remove(&identity.id)
}
