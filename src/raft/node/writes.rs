//! Requests that go through the log: commands and changes of the membership, kept until they end.
//!
//! The leader proposes them; another member forwards them to it. A command is sent again after every
//! change of leader and after a while without an answer, under the session stamp that it carries, so
//! that it is applied once. It ends when this node applies it, or at its deadline: then its outcome
//! is unknown if it was ever sent. A change of the membership is sent again only if the leader says
//! that it was not proposed.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Node;
use super::leading::NotProposed;
use crate::error::Outcome;
use crate::kv::{Command, decode_command, encode_command};
use crate::limits::RAFT_REQUESTS_MAX;
use crate::raft::message::{Body, Decline};
use crate::raft::request::{Failure, FailureReason, MemberChange, Origin, RequestId};
use crate::raft::{Now, RaftId};

/// The requests that wait to be applied.
#[derive(Debug, Default)]
pub(super) struct Writes {
    waiting: BTreeMap<RequestId, Waiting>,
    /// Where this node has put requests of its own as a leader: by index, the term and the request.
    proposed: BTreeMap<u64, (u64, RequestId)>,
}

#[derive(Debug)]
struct Waiting {
    what: What,
    deadline_ms: u64,
    /// Whether it may be in some member's log.
    was_sent: bool,
    /// When it is to be sent next; none if it is waited for without sending it again.
    send_ms: Option<u64>,
}

#[derive(Clone, Debug)]
enum What {
    Command(Bytes),
    Change(Vec<MemberChange>),
}

impl Writes {
    /// Ends a request; answers whether it was waiting.
    pub fn remove(&mut self, request: RequestId) -> bool {
        self.waiting.remove(&request).is_some()
    }

    /// Takes all requests out, each with what is known of its outcome.
    pub fn drain(&mut self) -> Vec<(RequestId, Outcome)> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(request, waiting)| (request, waiting.outcome())).collect()
    }

    /// All commands are to be sent at the next occasion: there may be another leader.
    pub fn send_again(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.send_ms = waiting.send_ms.map(|_| 0);
        }
    }

    /// The number of waiting requests.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Waiting {
    const fn outcome(&self) -> Outcome {
        if self.was_sent { Outcome::Unknown } else { Outcome::None }
    }
}

impl Node {
    pub(super) fn start_write(
        &mut self,
        id: RequestId,
        command: &Command,
        deadline_ms: u64,
        now: Now,
    ) {
        self.start_waiting(id, What::Command(encode_command(command)), deadline_ms, now);
    }

    pub(super) fn start_change(
        &mut self,
        id: RequestId,
        changes: Vec<MemberChange>,
        deadline_ms: u64,
        now: Now,
    ) {
        self.start_waiting(id, What::Change(changes), deadline_ms, now);
    }

    fn start_waiting(&mut self, id: RequestId, what: What, deadline_ms: u64, now: Now) {
        if self.writes.len() + self.reads.len() >= RAFT_REQUESTS_MAX {
            return self.respond(id, Err(Failure::without_effect(FailureReason::Busy)));
        }
        let waiting = Waiting { what, deadline_ms, was_sent: false, send_ms: Some(0) };
        self.writes.waiting.insert(id, waiting);
        self.send_write(id, now);
    }

    /// Ends what is past its deadline and sends what is due.
    pub(super) fn retry_writes(&mut self, now: Now) {
        let mut ended = Vec::new();
        let mut due = Vec::new();
        for (id, waiting) in &self.writes.waiting {
            if waiting.deadline_ms <= now.monotonic_ms {
                ended.push((*id, waiting.outcome()));
            } else if waiting.send_ms.is_some_and(|at| at <= now.monotonic_ms) {
                due.push(*id);
            }
        }
        let reason = self.timeout_reason();
        for (id, outcome) in ended {
            self.writes.remove(id);
            self.respond(id, Err(Failure { reason: reason.clone(), outcome }));
        }
        for id in due {
            self.send_write(id, now);
        }
    }

    pub(super) fn timeout_reason(&self) -> FailureReason {
        if self.leader().is_some() { FailureReason::Timeout } else { FailureReason::NoLeader }
    }

    /// Proposes a request, or forwards it to the leader. Without a leader it waits for one.
    fn send_write(&mut self, id: RequestId, now: Now) {
        let Some(waiting) = self.writes.waiting.get(&id) else { return };
        let what = waiting.what.clone();
        let origin = Origin { node: self.id, start: self.start, request: id };
        let again_ms = now.monotonic_ms + self.options.election_ms();
        let is_command = matches!(what, What::Command(_));
        if self.is_leader() {
            match self.propose_write(origin, &what, now) {
                Ok((index, term)) => {
                    self.writes.proposed.insert(index, (term, id));
                    self.sent(id, is_command.then_some(again_ms));
                }
                Err(Decline::Refused(why)) => self.refuse_write(id, why),
                Err(Decline::Busy | Decline::NotLeader(_)) => {
                    self.not_sent(id, now.monotonic_ms + self.options.tick_ms);
                }
            }
        } else if let Some(leader) = self.leader() {
            let body = match what {
                What::Command(command) => Body::Forward { origin, command },
                What::Change(changes) => Body::ForwardChange { origin, changes },
            };
            self.transmit(leader, body, now);
            self.sent(id, is_command.then_some(again_ms));
        }
    }

    fn sent(&mut self, id: RequestId, send_ms: Option<u64>) {
        if let Some(waiting) = self.writes.waiting.get_mut(&id) {
            waiting.was_sent = true;
            waiting.send_ms = send_ms;
        }
    }

    fn not_sent(&mut self, id: RequestId, send_ms: u64) {
        if let Some(waiting) = self.writes.waiting.get_mut(&id) {
            waiting.send_ms = Some(send_ms);
        }
    }

    fn refuse_write(&mut self, id: RequestId, why: String) {
        let Some(waiting) = self.writes.waiting.remove(&id) else { return };
        // An earlier attempt may have been proposed, and be the very reason of the refusal.
        let outcome = waiting.outcome();
        self.respond(id, Err(Failure { reason: FailureReason::Refused(why), outcome }));
    }

    fn propose_write(
        &mut self,
        origin: Origin,
        what: &What,
        now: Now,
    ) -> Result<(u64, u64), Decline> {
        match what {
            What::Command(command) => {
                self.propose(Some(origin), command, now).map_err(|why| match why {
                    NotProposed::NotLeader => Decline::NotLeader(self.leader()),
                    NotProposed::Busy => Decline::Busy,
                })
            }
            What::Change(changes) => self.propose_change(origin, changes),
        }
    }

    /// A command that another member forwards.
    pub(super) fn take_forwarded(&mut self, origin: Origin, command: &Bytes, now: Now) {
        if decode_command(command.clone()).is_err() {
            return;
        }
        self.take_proposal(origin, &What::Command(command.clone()), now);
    }

    /// A change of the membership that another member forwards.
    pub(super) fn take_change(&mut self, origin: Origin, changes: Vec<MemberChange>, now: Now) {
        self.take_proposal(origin, &What::Change(changes), now);
    }

    fn take_proposal(&mut self, origin: Origin, what: &What, now: Now) {
        if let Err(why) = self.propose_write(origin, what, now) {
            let Origin { node, start, request } = origin;
            self.transmit(node, Body::Decline { start, request, why }, now);
        }
    }

    /// A forwarded request was not proposed this time.
    pub(super) fn take_decline(&mut self, id: RequestId, why: Decline, now: Now) {
        match why {
            Decline::Refused(why) => self.refuse_write(id, why),
            Decline::Busy | Decline::NotLeader(_) => {
                self.not_sent(id, now.monotonic_ms + self.options.tick_ms);
            }
        }
    }

    /// What this node has put at an index that turned out to hold something else is sent again: it
    /// was overwritten by another leader.
    pub(super) fn note_index(&mut self, index: u64, term: u64) {
        while let Some(first) = self.writes.proposed.first_entry()
            && *first.key() <= index
        {
            let is_lost = *first.key() < index || first.get().0 != term;
            let (_, request) = first.remove();
            if is_lost && let Some(waiting) = self.writes.waiting.get_mut(&request) {
                waiting.send_ms = waiting.send_ms.map(|_| 0);
            }
        }
    }

    /// Sends a request to hand leadership over.
    pub(super) fn transfer(&mut self, id: RequestId, to: RaftId) {
        let refused = |why: &str| Failure::without_effect(FailureReason::Refused(why.to_owned()));
        let result = if !self.voters().incoming.contains(&to) {
            Err(refused("only a voter can lead"))
        } else if self.leader().is_none() {
            Err(Failure::without_effect(FailureReason::NoLeader))
        } else {
            self.raw.transfer_leader(to.0);
            Ok(crate::raft::Answer::TransferStarted)
        };
        self.respond(id, result);
    }
}
