//! One member: raft-rs's node, the log in memory, the machine, and whoever waits for them.
//!
//! The caller's contract stands in [`crate::raft`]. The parts: `ready` moves what raft-rs hands out
//! to where it belongs, `apply` feeds the machine, `leading` stamps and proposes, `writes` and
//! `reads` keep requests until they end, `snapshots` moves the state of others, `membership`
//! changes who takes part.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod apply;
mod leading;
mod membership;
mod persist;
mod reads;
mod ready;
mod snapshots;
mod status;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};

use super::clock::{Clocks, Voters};
use super::identity::Identity;
use super::log::Log;
use super::message::{Body, Envelope, Member};
use super::options::Options;
use super::request::{Applied, Failure, FailureReason, Request, RequestId, Response};
use super::state::State;
use super::{ClusterId, Now, RaftId};
use crate::kv::StateMachine;
use crate::limits::{
    RAFT_INFLIGHT_MESSAGES_MAX, RAFT_MESSAGE_BYTES_MAX, RAFT_UNCOMMITTED_BYTES_MAX,
};
use crate::mutant::mutant;
use crate::storage::Recovered;

use leading::Leadership;
pub use membership::Reached;
pub use persist::Persist;
pub(super) use persist::from_stored;
use reads::Reads;
use ready::Outstanding;
use snapshots::Snapshots;
pub use snapshots::{SavedSnapshot, SnapshotJob};
pub use status::{Role, Status};
use writes::Writes;

/// A member of a cluster.
pub struct Node {
    id: RaftId,
    start: u64,
    cluster: ClusterId,
    options: Options,
    raw: RawNode<Log>,
    /// The state of the random numbers for election timeouts.
    random: u64,
    /// Term, role and leader when they were last looked at.
    seen: (u64, StateRole, u64),
    machine: StateMachine,
    applied: u64,
    members: BTreeMap<RaftId, Member>,
    /// The index at which it was agreed last who they are.
    listed_at: u64,
    /// Told by its peers, or by the log, that it is no member any more.
    is_removed: bool,
    clocks: Clocks,
    /// The monotonic time at which it last knew its own clock to be off.
    clock_off_ms: Option<u64>,
    leadership: Option<Leadership>,
    writes: Writes,
    /// A change of the membership that was asked for here, was applied, and may be in its joint phase.
    applied_change: Option<RequestId>,
    reads: Reads,
    snapshots: Snapshots,
    outstanding: VecDeque<Outstanding>,
    transmits: VecDeque<Envelope>,
    persists: VecDeque<Persist>,
    responses: VecDeque<Response>,
    progress: VecDeque<Progress>,
    stopped: Option<String>,
}

/// What happened to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A command was applied.
    Applied(Box<Applied>),
    /// The machine was replaced by a snapshot: what lies between was applied elsewhere.
    Installed {
        /// The last index that the snapshot covers.
        index: u64,
    },
}

/// Why a node can't start from what its storage holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(String);

impl StartError {
    pub(in crate::raft) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl Node {
    /// A node on what its storage holds. Without a snapshot it is a member that waits to be added:
    /// it answers, and never campaigns. `seed` makes its election timeouts.
    ///
    /// # Errors
    /// If the storage belongs to no cluster or to another one, or holds what no node can have
    /// written.
    pub fn new(
        identity: &Identity,
        options: Options,
        recovered: Recovered,
        seed: u64,
        now: Now,
    ) -> Result<Self, StartError> {
        let fail = |why: &str| Err(StartError::new(why));
        let Some(cluster) = identity.cluster else {
            return fail("the data directory belongs to no cluster");
        };
        let length = recovered.snapshot.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        let state = match recovered.snapshot {
            Some((_, bytes)) => State::decode(bytes).map_err(|e| StartError(e.to_string()))?,
            None => State::before_joining(cluster),
        };
        if state.cluster != cluster {
            return fail("the snapshot is of another cluster");
        }
        let log = Log::recover(&state, recovered.hard_state, recovered.entries);
        let config = config_of(identity.id, &options, state.index);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, log, &logger).map_err(|e| StartError(e.to_string()))?;
        let seen = (raw.raft.term, raw.raft.state, raw.raft.leader_id);
        let mut node = Self {
            id: identity.id,
            start: if mutant!("read context restarts") { 0 } else { identity.start },
            cluster,
            raw,
            random: seed,
            seen,
            machine: state.machine,
            applied: state.index,
            members: state.members,
            listed_at: state.listed_at,
            is_removed: false,
            clocks: Clocks::default(),
            clock_off_ms: None,
            leadership: None,
            writes: Writes::default(),
            applied_change: None,
            reads: Reads::default(),
            snapshots: Snapshots::new(state.index, length),
            options,
            outstanding: VecDeque::new(),
            transmits: VecDeque::new(),
            persists: VecDeque::new(),
            responses: VecDeque::new(),
            progress: VecDeque::new(),
            stopped: None,
        };
        node.draw_election_timeout();
        node.settle(now);
        Ok(node)
    }

    /// Lets a tick of monotonic time pass.
    pub fn handle_tick(&mut self, now: Now) {
        if self.stopped.is_some() {
            return;
        }
        if self.is_leader() || !self.must_not_campaign(now) {
            self.raw.tick();
        } else if self.is_removed || self.was_clock_off(now) {
            // It does not campaign. But it goes on to vote, and therefore must not take a leader that
            // it heard once for one that is there still.
            self.raw.raft.election_elapsed += 1;
        }
        self.settle(now);
        self.lead(now);
        self.retry_writes(now);
        self.retry_reads(now);
        self.retry_snapshots(now);
        self.settle(now);
    }

    /// Takes a message. Those of other clusters, or for someone else, are dropped.
    pub fn handle_message(&mut self, envelope: Envelope, now: Now) {
        if self.stopped.is_some() || envelope.to != self.id || envelope.cluster != self.cluster {
            return;
        }
        let Envelope { from, wall, body, .. } = envelope;
        match body {
            Body::Raft(message) => self.step(from, wall, *message, now),
            Body::Forward { origin, command } => self.take_forwarded(origin, &command, now),
            Body::ForwardChange { origin, changes } => self.take_change(origin, changes, now),
            Body::Decline { start, request, why } if start == self.start => {
                self.take_decline(request, why, now);
            }
            Body::Decline { .. } => {}
            Body::Chunk { snapshot, offset, bytes } => {
                self.take_chunk(from, snapshot, offset, &bytes, now);
            }
            Body::ChunkReceived { snapshot, offset } => {
                self.take_chunk_received(from, snapshot, offset, now);
            }
            Body::NotMember { index } => self.take_not_member(index),
        }
        self.settle(now);
    }

    /// Takes a request. It ends with a response, at the latest at the first tick from its deadline
    /// on (in milliseconds of monotonic time). Ids are unique within a start.
    pub fn handle_request(&mut self, id: RequestId, request: Request, deadline_ms: u64, now: Now) {
        self.handle_requests([(id, request, deadline_ms)], now);
    }

    /// Takes requests that have come together, as [`Node::handle_request`] takes one. Their commands
    /// are persisted and sent as one step, and one confirmation of leadership serves all their reads.
    pub fn handle_requests(
        &mut self,
        requests: impl IntoIterator<Item = (RequestId, Request, u64)>,
        now: Now,
    ) {
        for (id, request, deadline_ms) in requests {
            if self.stopped.is_some() {
                let failure = Failure::without_effect(FailureReason::Stopped);
                self.responses.push_back(Response { request: id, result: Err(failure) });
                continue;
            }
            match request {
                Request::Write(command) => self.start_write(id, &command, deadline_ms, now),
                Request::Read => self.start_read(id, deadline_ms),
                Request::Change(changes) => self.start_change(id, changes, deadline_ms, now),
                Request::Transfer(to) => self.transfer(id, to),
            }
        }
        if self.stopped.is_none() {
            self.settle(now);
        }
    }

    /// A peer could not be reached.
    pub fn handle_unreachable(&mut self, peer: RaftId, now: Now) {
        if self.stopped.is_none() {
            self.raw.report_unreachable(peer.0);
            self.settle(now);
        }
    }

    /// Writing or syncing failed: the node ends. What waits has an unknown outcome if it was sent.
    pub fn handle_storage_error(&mut self, why: &str) {
        self.stop(why);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Envelope> {
        self.transmits.pop_front()
    }

    /// The next thing to write and make durable, in this order.
    pub fn poll_persist(&mut self) -> Option<Persist> {
        self.persists.pop_front()
    }

    /// The state of which a snapshot is wanted.
    pub fn poll_snapshot(&mut self) -> Option<SnapshotJob> {
        self.snapshots.take_job()
    }

    /// The next end of a request.
    pub fn poll_response(&mut self) -> Option<Response> {
        self.responses.pop_front()
    }

    /// What happened to the machine, in order.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        self.progress.pop_front()
    }

    /// The machine, with everything applied up to [`Node::applied`].
    #[must_use]
    pub const fn machine(&self) -> &StateMachine {
        &self.machine
    }

    /// The last index that was applied.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// The log in memory.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.raw.store()
    }

    /// The members, as of the applied index.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<RaftId, Member> {
        &self.members
    }

    /// The index at which it was agreed last who is a member, on every member the same: with each
    /// change of who that is it grows. Of a node that waits to be added it is 0.
    #[must_use]
    pub const fn listed_at(&self) -> u64 {
        self.listed_at
    }

    /// Whether it is no member any more, as far as it knows: it may have heard so without the change.
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// Why the node has stopped, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Steps a message of the Raft protocol.
    fn step(&mut self, from: RaftId, wall: crate::clock::UnixMillis, message: Message, now: Now) {
        // A forwarded request to hand leadership over names who is to lead in the sender's place.
        let kind = message.get_msg_type();
        if message.from != from.0 && kind != MessageType::MsgTransferLeader {
            return;
        }
        if self.is_fresh_answer(from, &message) || mutant!("late clocks count") {
            self.clocks.report(from, wall, now);
        }
        match kind {
            // Proposals are forwarded by a message of our own, with their origin.
            MessageType::MsgPropose => return,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if !self.knows(from) => {
                self.send_not_member(from, now);
            }
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse
                if !self.is_leader() && self.is_clock_off(now) =>
            {
                self.clock_off_ms = Some(now.monotonic_ms);
                if !message.reject {
                    return;
                }
            }
            // Whoever is told to campaign wins at once if it is the sole voter: as at a tick.
            MessageType::MsgTimeoutNow if self.must_not_campaign(now) => return,
            MessageType::MsgSnapshot if !self.may_step_snapshot(&message) => return,
            _ => {}
        }
        // An error means that the message is out of place: it is as if it had been lost.
        let _ = self.raw.step(message);
    }

    /// Whether a message answers what this node asks in its present role: only then its clock is as
    /// young as the question. Answers to an earlier candidacy or leadership may be of any age.
    fn is_fresh_answer(&self, from: RaftId, message: &Message) -> bool {
        let (term, role) = (self.raw.raft.term, self.raw.raft.state);
        match message.get_msg_type() {
            // Of a pre-vote only the first answer counts once votes are asked for.
            MessageType::MsgRequestPreVoteResponse => {
                role == StateRole::PreCandidate
                    || role == StateRole::Candidate && !self.clocks.has(from)
            }
            MessageType::MsgRequestVoteResponse => {
                role == StateRole::Candidate && message.term == term
            }
            MessageType::MsgHeartbeatResponse | MessageType::MsgAppendResponse => {
                role == StateRole::Leader && message.term == term
            }
            _ => false,
        }
    }

    /// After every input: follows changes of role, and moves what raft-rs hands out.
    fn settle(&mut self, now: Now) {
        loop {
            self.follow_role(now);
            self.issue_reads(now);
            if !self.take_ready(now) {
                break;
            }
        }
        self.answer_reads();
        self.want_snapshot();
    }

    /// Follows changes of term, role and leader: draws a new election timeout, begins or ends to
    /// lead, sends again what the new leader may not know.
    fn follow_role(&mut self, now: Now) {
        let raft = &self.raw.raft;
        let present = (raft.term, raft.state, raft.leader_id);
        if present == self.seen {
            return;
        }
        let before = std::mem::replace(&mut self.seen, present);
        self.reads.issue_again();
        self.writes.send_again();
        if (present.0, present.1) == (before.0, before.1) {
            return;
        }
        self.draw_election_timeout();
        let is_candidate = |role| matches!(role, StateRole::PreCandidate | StateRole::Candidate);
        if is_candidate(present.1) && !is_candidate(before.1) {
            self.clocks.clear();
        }
        if before.1 == StateRole::Leader {
            self.stop_leading();
        }
        if present.1 == StateRole::Leader {
            self.start_leading(now);
        }
    }

    /// raft-rs draws from the thread's random numbers; ours come from the seed.
    fn draw_election_timeout(&mut self) {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.random;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^= drawn >> 31;
        let ticks = self.options.election_ticks;
        let timeout = ticks + (drawn % ticks as u64) as usize;
        self.raw.raft.set_randomized_election_timeout(timeout);
        let is_sole = self.voters().incoming.iter().eq([&self.id]) && !self.is_joint();
        if is_sole && self.raw.raft.state == StateRole::Follower {
            // A sole voter has nobody to wait for: it campaigns at its next tick.
            self.raw.raft.election_elapsed = timeout;
        }
    }

    /// Ends the node: everything that waits is answered, nothing is said or taken any more.
    fn stop(&mut self, why: &str) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some(why.to_owned());
        self.transmits.clear();
        self.persists.clear();
        self.outstanding.clear();
        for (request, outcome) in self.writes.drain() {
            let failure = Failure { reason: FailureReason::Stopped, outcome };
            self.responses.push_back(Response { request, result: Err(failure) });
        }
        for request in self.reads.drain() {
            let failure = Failure::without_effect(FailureReason::Stopped);
            self.responses.push_back(Response { request, result: Err(failure) });
        }
    }

    fn respond(&mut self, request: RequestId, result: Result<super::Answer, Failure>) {
        self.responses.push_back(Response { request, result });
    }

    fn transmit(&mut self, to: RaftId, body: Body, now: Now) {
        let (from, cluster, wall) = (self.id, self.cluster, now.wall);
        self.transmits.push_back(Envelope { from, to, cluster, wall, body });
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn leader(&self) -> Option<RaftId> {
        let id = self.raw.raft.leader_id;
        (id != 0).then_some(RaftId(id))
    }

    fn is_sole_voter(&self) -> bool {
        let voters = self.voters();
        voters.outgoing.is_empty() && voters.incoming.len() == 1 && voters.contains(self.id)
    }

    /// A sole voter wins its election at once, and raft-rs requires that all before is durable then.
    /// Before a campaign raft-rs looks through what is committed and not applied, which is not there
    /// while a snapshot takes its place. Who was removed does not campaign. Whose clock was off a short
    /// while ago leaves it to others: whoever is asked for a vote begins to wait anew, so that a node
    /// which counts none of them could keep all others from asking.
    fn must_not_campaign(&self, now: Now) -> bool {
        let is_sole_voter = self.is_sole_voter();
        self.is_removed
            || self.is_installing()
            || is_sole_voter && !self.outstanding.is_empty()
            || !is_sole_voter && self.was_clock_off(now)
    }

    fn voters(&self) -> Voters {
        let conf = self.raw.store().conf();
        let set = |ids: &[u64]| ids.iter().copied().map(RaftId).collect();
        Voters { incoming: set(&conf.voters), outgoing: set(&conf.voters_outgoing) }
    }

    /// Whether a raft id takes part, in any role.
    fn knows(&self, id: RaftId) -> bool {
        let conf = self.raw.store().conf();
        [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next]
            .into_iter()
            .any(|ids| ids.contains(&id.0))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn config_of(id: RaftId, options: &Options, applied: u64) -> Config {
    Config {
        id: id.0,
        election_tick: options.election_ticks,
        heartbeat_tick: options.heartbeat_ticks,
        min_election_tick: options.election_ticks,
        max_election_tick: 2 * options.election_ticks,
        applied,
        max_size_per_msg: RAFT_MESSAGE_BYTES_MAX,
        max_inflight_msgs: RAFT_INFLIGHT_MESSAGES_MAX,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        // raft-rs would add entries to a message that has none without a look at what precedes them.
        batch_append: mutant!("entries join a waiting message"),
        priority: options.priority,
        max_uncommitted_size: RAFT_UNCOMMITTED_BYTES_MAX,
        ..Config::default()
    }
}

/// Bytes of an entry or a message, which raft-rs keeps as vectors.
fn to_bytes(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes)
}
