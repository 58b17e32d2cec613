//! Linearizable reads: confirm leadership once for all that wait, then apply up to the index.
//!
//! A round carries a context that no other round of any node or any life can have: raft id, start
//! number, counter. raft-rs drops read requests silently in several cases (no leader, a leader
//! without a committed entry of its term, a change of role), so a round is issued again after a
//! while and after every change of role, under a new context, until its requests reach their
//! deadlines.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use super::Node;
use crate::codec::Writer;
use crate::limits::RAFT_REQUESTS_MAX;
use crate::mutant::mutant;
use crate::raft::Now;
use crate::raft::request::{Answer, Failure, FailureReason, RequestId};

/// The reads that wait.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// All waiting requests and their deadlines.
    deadlines: BTreeMap<RequestId, u64>,
    /// Those that no round was issued for.
    fresh: Vec<RequestId>,
    /// Rounds that are not confirmed, by their contexts.
    rounds: BTreeMap<Vec<u8>, Round>,
    /// Rounds that are confirmed and wait for the machine: the index, the requests.
    confirmed: Vec<(u64, Vec<RequestId>)>,
    counter: u64,
}

#[derive(Debug)]
struct Round {
    requests: Vec<RequestId>,
    issued_ms: u64,
}

impl Reads {
    /// The number of waiting requests.
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Takes all requests out.
    pub fn drain(&mut self) -> Vec<RequestId> {
        let deadlines = std::mem::take(self).deadlines;
        deadlines.into_keys().collect()
    }

    /// Leadership was confirmed for a round: its reads are good from this index on.
    pub fn confirm(&mut self, context: &[u8], index: u64) {
        if let Some(round) = self.rounds.remove(context) {
            self.confirmed.push((index, round.requests));
        }
    }

    /// All rounds that are not confirmed are to be issued again.
    pub fn issue_again(&mut self) {
        for (_, round) in std::mem::take(&mut self.rounds) {
            self.fresh.extend(round.requests);
        }
    }
}

impl Node {
    pub(super) fn start_read(&mut self, id: RequestId, deadline_ms: u64) {
        if self.writes.len() + self.reads.len() >= RAFT_REQUESTS_MAX {
            return self.respond(id, Err(Failure::without_effect(FailureReason::Busy)));
        }
        self.reads.deadlines.insert(id, deadline_ms);
        self.reads.fresh.push(id);
    }

    /// Issues a round for all reads that have none, if there is a leader to ask.
    pub(super) fn issue_reads(&mut self, now: Now) {
        if self.reads.fresh.is_empty() || self.stopped.is_some() {
            return;
        }
        let requests = std::mem::take(&mut self.reads.fresh);
        if mutant!("read without ReadIndex") {
            return self.reads.confirmed.push((0, requests));
        }
        if mutant!("read at an old commit index") && self.is_leader() {
            return self.reads.confirmed.push((self.raw.raft.raft_log.committed, requests));
        }
        // raft-rs would drop it: nobody to ask, or nothing committed in the leader's own term yet.
        let is_early = self.is_leader() && !self.raw.raft.commit_to_current_term();
        if self.leader().is_none() || is_early {
            self.reads.fresh = requests;
            return;
        }
        self.reads.counter += 1;
        let mut context = Writer::with_capacity(24);
        context.fixed(self.id.0);
        context.fixed(self.start);
        context.fixed(self.reads.counter);
        let context = context.finish().to_vec();
        self.reads.rounds.insert(context.clone(), Round { requests, issued_ms: now.monotonic_ms });
        self.raw.read_index(context);
    }

    /// Answers the reads whose index the machine has applied.
    pub(super) fn answer_reads(&mut self) {
        let applied = self.applied;
        let (ready, waiting) = std::mem::take(&mut self.reads.confirmed)
            .into_iter()
            .partition(|(index, _)| *index <= applied);
        self.reads.confirmed = waiting;
        let ready: Vec<(u64, Vec<RequestId>)> = ready;
        for request in ready.into_iter().flat_map(|(_, requests)| requests) {
            if self.reads.deadlines.remove(&request).is_some() {
                self.respond(request, Ok(Answer::Read { index: applied }));
            }
        }
    }

    /// Ends what is past its deadline and issues again what was dropped.
    pub(super) fn retry_reads(&mut self, now: Now) {
        let reads = &mut self.reads;
        let is_over = |deadline_ms: &u64| *deadline_ms <= now.monotonic_ms;
        let ended: Vec<_> =
            reads.deadlines.iter().filter(|(_, at)| is_over(at)).map(|(id, _)| *id).collect();
        let patience_ms =
            READ_PATIENCE_HEARTBEATS * self.options.heartbeat_ticks as u64 * self.options.tick_ms;
        let dropped: Vec<_> = reads
            .rounds
            .iter()
            .filter(|(_, round)| now.monotonic_ms - round.issued_ms >= patience_ms)
            .map(|(context, _)| context.clone())
            .collect();
        if !mutant!("dropped read is not issued again") {
            for context in dropped {
                let round = reads.rounds.remove(&context).expect("just seen");
                reads.fresh.extend(round.requests);
            }
        }
        if !ended.is_empty() {
            self.end_reads(&ended);
        }
    }

    fn end_reads(&mut self, ended: &[RequestId]) {
        let reads = &mut self.reads;
        for id in ended {
            reads.deadlines.remove(id);
        }
        let deadlines = &reads.deadlines;
        let is_waiting = |id: &RequestId| deadlines.contains_key(id);
        reads.fresh.retain(is_waiting);
        for round in reads.rounds.values_mut() {
            round.requests.retain(is_waiting);
        }
        reads.rounds.retain(|_, round| !round.requests.is_empty());
        for (_, requests) in &mut reads.confirmed {
            requests.retain(is_waiting);
        }
        reads.confirmed.retain(|(_, requests)| !requests.is_empty());
        let reason = self.timeout_reason();
        for id in ended {
            self.respond(*id, Err(Failure::without_effect(reason.clone())));
        }
    }
}

/// Heartbeats after which a round without an answer is issued again.
const READ_PATIENCE_HEARTBEATS: u64 = 2;
