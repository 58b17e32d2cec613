//! Snapshots: taking them, sending them in chunks, and putting them together.
//!
//! raft-rs's own snapshot message carries a name (index, term, length, digest) instead of the data.
//! Before it leaves, the chunks travel: the sender keeps a few under way, the receiver takes them in
//! order and says how much it has, so that a broken transfer goes on where it stood. Only when all
//! has arrived, its digest is right and it can be read, the receiver lets the message in.
//!
//! Invariants: at most one job is under way; at most one snapshot is being received; nothing of a
//! snapshot is used before all of it was verified.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raft::SnapshotStatus;
use raft::eraftpb::{ConfState, Message, Snapshot};

use super::{Node, to_bytes};
use crate::codec::Reader;
use crate::limits::RAFT_CHUNKS_MAX;
use crate::raft::message::{Body, SnapshotName};
use crate::raft::state::State;
use crate::raft::{Now, Options, RaftId};
use crate::storage::SnapshotMeta;

/// The state of which a snapshot is wanted. Cheap to hold: it is a clone of the machine.
#[derive(Clone, Debug)]
pub struct SnapshotJob {
    state: State,
    /// Somebody waits for it.
    is_needed: bool,
    kept_bytes: u64,
}

impl SnapshotJob {
    /// What the snapshot covers.
    #[must_use]
    pub fn meta(&self) -> SnapshotMeta {
        self.state.meta()
    }

    /// The snapshot. O(n).
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.state.encode()
    }

    /// How many bytes it has. Cheap, however many there are.
    #[must_use]
    pub fn measure(&self) -> u64 {
        self.state.measure()
    }

    /// The snapshot in parts that are encoded when they are asked for: only one of them is in memory.
    pub fn parts(&self) -> impl Iterator<Item = Bytes> {
        self.state.parts()
    }

    /// Whether the node wants a snapshot of this length back once it is saved: to send it, or
    /// because it is small.
    #[must_use]
    pub const fn is_wanted(&self, length: u64) -> bool {
        self.is_needed || length <= self.kept_bytes
    }
}

/// A snapshot that was saved.
#[derive(Clone, Debug)]
pub struct SavedSnapshot {
    /// What it covers.
    pub meta: SnapshotMeta,
    /// How many bytes it has.
    pub length: u64,
    /// Its bytes, if [`SnapshotJob::is_wanted`].
    pub bytes: Option<Bytes>,
}

/// A snapshot that has arrived and was verified.
#[derive(Debug)]
pub(super) struct Whole {
    pub name: SnapshotName,
    pub bytes: Bytes,
    pub state: State,
}

/// Snapshots on their way.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The last index of the newest own snapshot.
    newest: u64,
    /// How many bytes it has.
    length: u64,
    job: Option<SnapshotJob>,
    /// The configuration at the index of the job under way.
    under_way: Option<ConfState>,
    /// The newest own snapshot, for sending, as long as it is small or needed.
    sendable: Option<(SnapshotName, Bytes)>,
    sending: BTreeMap<RaftId, Sending>,
    receiving: Option<Receiving>,
    whole: Option<Whole>,
}

#[derive(Debug)]
struct Sending {
    name: SnapshotName,
    bytes: Bytes,
    /// Goes when all has arrived.
    message: Message,
    /// How much has arrived.
    arrived: u64,
    /// How much was sent.
    sent: u64,
    /// When the receiver was last heard.
    heard_ms: u64,
    /// When something was last sent.
    sent_ms: u64,
}

#[derive(Debug)]
struct Receiving {
    name: SnapshotName,
    bytes: Vec<u8>,
}

impl Snapshots {
    pub const fn new(newest: u64, length: u64) -> Self {
        Self {
            newest,
            length,
            job: None,
            under_way: None,
            sendable: None,
            sending: BTreeMap::new(),
            receiving: None,
            whole: None,
        }
    }

    pub fn take_job(&mut self) -> Option<SnapshotJob> {
        self.job.take()
    }

    /// The snapshot that raft-rs has taken in.
    pub fn take_whole(&mut self, snapshot: &Snapshot) -> Whole {
        let whole = self.whole.take().expect("raft-rs is given only snapshots that are whole");
        assert_eq!(read_name(&snapshot.data), Some(whole.name), "it is the newest one");
        whole
    }

    /// The machine was replaced by a snapshot.
    pub fn installed(&mut self, index: u64, length: u64) {
        if index > self.newest {
            (self.newest, self.length) = (index, length);
        }
    }
}

impl Node {
    /// A snapshot that was asked for is durable. Returns the index up to which the log on disk may
    /// be compacted; none if a newer snapshot was installed meanwhile.
    pub fn handle_snapshot_saved(&mut self, saved: SavedSnapshot, now: Now) -> Option<u64> {
        let SavedSnapshot { meta, length, bytes } = saved;
        let conf = self.snapshots.under_way.take()?;
        if self.stopped.is_some() || meta.index < self.snapshots.newest {
            return None;
        }
        (self.snapshots.newest, self.snapshots.length) = (meta.index, length);
        let named = bytes.map(|bytes| (SnapshotName::of(meta.index, meta.term, &bytes), bytes));
        let name = named.as_ref().map(|(name, _)| *name);
        self.snapshots.sendable = named;
        let log = self.raw.mut_store();
        // Members a little behind are served from the log.
        let kept = self.options.snapshot_threshold / 2;
        log.compact(log.first_kept(meta.index, kept, self.options.log_bytes_max / 4) - 1);
        // Whoever was added while it was being saved would not take it: there will be another one.
        let is_complete = ids_of(log.conf()).is_subset(&ids_of(&conf));
        log.offer(name.filter(|_| is_complete).map(|name| (name, conf)));
        self.settle(now);
        Some(meta.index)
    }

    /// Asks for a snapshot if enough was applied since the last one, or a follower needs one.
    pub(super) fn want_snapshot(&mut self) {
        if self.snapshots.under_way.is_some() || self.stopped.is_some() {
            return;
        }
        let log = self.raw.store();
        if !self.is_snapshot_due() && !log.wants_snapshot() {
            return;
        }
        let is_needed = log.wants_snapshot();
        let conf = log.conf().clone();
        let Some(term) = log.term_at(self.applied) else { return };
        self.snapshots.under_way = Some(conf.clone());
        self.snapshots.job = Some(SnapshotJob {
            is_needed,
            kept_bytes: self.options.snapshot_kept_bytes,
            state: State {
                cluster: self.cluster,
                index: self.applied,
                term,
                conf,
                members: self.members.clone(),
                listed_at: self.listed_at,
                machine: self.machine.clone(),
            },
        });
    }

    /// Whether enough was applied since the last snapshot for what another one costs: it costs as much
    /// as the state is large. Members come to it at different times, so that not all of them write
    /// theirs at once.
    fn is_snapshot_due(&self) -> bool {
        let Options { snapshot_threshold, log_bytes_max, .. } = self.options;
        let (applied, bytes) = (self.applied - self.snapshots.newest, self.raw.store().bytes());
        let share = self.id.0 % DUE_SHARES;
        let sooner = |bytes: u64| bytes - bytes / 4 * share / DUE_SHARES;
        let is_worth_it = bytes as u64 >= sooner(self.snapshots.length / 2);
        let is_log_large = bytes as u64 > sooner(log_bytes_max as u64);
        applied >= snapshot_threshold && is_worth_it || applied > 0 && is_log_large
    }

    /// Begins to send a snapshot, in the place of raft-rs's message.
    pub(super) fn start_sending(&mut self, to: RaftId, message: Message, now: Now) {
        let name = read_name(&message.get_snapshot().data);
        let sendable = self.snapshots.sendable.as_ref();
        let Some((name, bytes)) = sendable.filter(|(have, _)| Some(*have) == name).cloned() else {
            return self.raw.report_snapshot(to.0, SnapshotStatus::Failure);
        };
        let (heard_ms, sent_ms) = (now.monotonic_ms, now.monotonic_ms);
        let sending = Sending { name, bytes, message, arrived: 0, sent: 0, heard_ms, sent_ms };
        self.snapshots.sending.insert(to, sending);
        // Asks how much of it is there already.
        self.transmit(to, Body::Chunk { snapshot: name, offset: 0, bytes: Bytes::new() }, now);
    }

    /// How much has arrived: sends more, or, if that is all, lets raft-rs's message follow.
    pub(super) fn take_chunk_received(
        &mut self,
        from: RaftId,
        name: SnapshotName,
        offset: u64,
        now: Now,
    ) {
        let Some(sending) = self.snapshots.sending.get_mut(&from) else { return };
        if sending.name != name || offset > name.bytes {
            return;
        }
        sending.heard_ms = now.monotonic_ms;
        sending.arrived = offset;
        sending.sent = sending.sent.max(offset);
        if offset == name.bytes {
            let sending = self.snapshots.sending.remove(&from).expect("just seen");
            self.transmit(from, Body::Raft(Box::new(sending.message)), now);
            self.raw.report_snapshot(from.0, SnapshotStatus::Finish);
            self.release_snapshot();
        } else {
            self.send_chunks(from, now);
        }
    }

    fn send_chunks(&mut self, to: RaftId, now: Now) {
        let chunk_bytes = self.options.chunk_bytes as u64;
        let Some(sending) = self.snapshots.sending.get_mut(&to) else { return };
        let until = sending.name.bytes.min(sending.arrived + RAFT_CHUNKS_MAX * chunk_bytes);
        let mut chunks = Vec::new();
        while sending.sent < until {
            let end = sending.name.bytes.min(sending.sent + chunk_bytes);
            let bytes = sending.bytes.slice(sending.sent as usize..end as usize);
            chunks.push(Body::Chunk { snapshot: sending.name, offset: sending.sent, bytes });
            sending.sent = end;
            sending.sent_ms = now.monotonic_ms;
        }
        for chunk in chunks {
            self.transmit(to, chunk, now);
        }
    }

    /// Sends again what was not heard of, and gives up on who is not heard at all.
    pub(super) fn retry_snapshots(&mut self, now: Now) {
        let patience_ms = self.options.election_ms();
        let peers: Vec<_> = self.snapshots.sending.keys().copied().collect();
        for peer in peers {
            let Some(sending) = self.snapshots.sending.get_mut(&peer) else { continue };
            if now.monotonic_ms - sending.heard_ms >= GIVE_UP_ELECTIONS * patience_ms {
                self.snapshots.sending.remove(&peer);
                self.raw.report_snapshot(peer.0, SnapshotStatus::Failure);
                self.release_snapshot();
            } else if now.monotonic_ms - sending.sent_ms >= patience_ms / 2 {
                sending.sent = sending.arrived;
                sending.sent_ms = now.monotonic_ms;
                let (snapshot, offset) = (sending.name, sending.arrived);
                self.transmit(peer, Body::Chunk { snapshot, offset, bytes: Bytes::new() }, now);
            }
        }
    }

    /// This node no longer leads.
    pub(super) fn stop_sending(&mut self) {
        self.snapshots.sending.clear();
        self.release_snapshot();
    }

    /// Lets go of a snapshot that is too large to be kept for nobody.
    fn release_snapshot(&mut self) {
        let sendable = self.snapshots.sendable.as_ref();
        let is_large =
            sendable.is_some_and(|(name, _)| name.bytes > self.options.snapshot_kept_bytes);
        if is_large && self.snapshots.sending.is_empty() {
            self.snapshots.sendable = None;
            self.raw.mut_store().offer(None);
        }
    }

    /// A part of a snapshot. Taken only where the last one ended.
    pub(super) fn take_chunk(
        &mut self,
        from: RaftId,
        name: SnapshotName,
        offset: u64,
        bytes: &[u8],
        now: Now,
    ) {
        let arrived = self.receive(name, offset, bytes);
        self.transmit(from, Body::ChunkReceived { snapshot: name, offset: arrived }, now);
    }

    /// Answers how much of a snapshot is there.
    fn receive(&mut self, name: SnapshotName, offset: u64, bytes: &[u8]) -> u64 {
        let is_whole = self.snapshots.whole.as_ref().is_some_and(|whole| whole.name == name);
        // What is covered already needs no data: raft-rs will see that from the message.
        if is_whole || name.index <= self.commit() {
            return name.bytes;
        }
        if self.snapshots.receiving.as_ref().is_none_or(|receiving| receiving.name != name) {
            self.snapshots.receiving = Some(Receiving { name, bytes: Vec::new() });
        }
        let receiving = self.snapshots.receiving.as_mut().expect("just set");
        let arrived = receiving.bytes.len() as u64;
        if offset != arrived || arrived + bytes.len() as u64 > name.bytes {
            return arrived;
        }
        receiving.bytes.extend_from_slice(bytes);
        let arrived = receiving.bytes.len() as u64;
        if arrived < name.bytes {
            return arrived;
        }
        let receiving = self.snapshots.receiving.take().expect("just seen");
        self.snapshots.whole = self.verify(name, to_bytes(receiving.bytes));
        if self.snapshots.whole.is_some() { name.bytes } else { 0 }
    }

    /// The snapshot, if its bytes are those that were named and can be read.
    fn verify(&self, name: SnapshotName, bytes: Bytes) -> Option<Whole> {
        if SnapshotName::of(name.index, name.term, &bytes) != name {
            return None;
        }
        let state = State::decode(bytes.clone()).ok()?;
        let is_named =
            state.cluster == self.cluster && (state.index, state.term) == (name.index, name.term);
        is_named.then_some(Whole { name, bytes, state })
    }

    /// Whether raft-rs may see a snapshot message: if all of it is here and there is room in line, or
    /// if it covers nothing new.
    pub(super) fn may_step_snapshot(&self, message: &Message) -> bool {
        let snapshot = message.get_snapshot();
        if snapshot.get_metadata().index <= self.commit() {
            return true;
        }
        let name = read_name(&snapshot.data);
        let is_whole = self.snapshots.whole.as_ref().is_some_and(|whole| Some(whole.name) == name);
        is_whole && !self.is_line_full()
    }
}

/// Everyone in a configuration, in any role.
fn ids_of(conf: &ConfState) -> BTreeSet<u64> {
    let roles = [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next];
    roles.into_iter().flatten().copied().collect()
}

fn read_name(data: &[u8]) -> Option<SnapshotName> {
    SnapshotName::read(&mut Reader::new(Bytes::copy_from_slice(data))).ok()
}

/// Into how many shares members are divided by when a snapshot is due.
const DUE_SHARES: u64 = 4;
/// Election timeouts after which a receiver that is not heard is given up.
const GIVE_UP_ELECTIONS: u64 = 5;
