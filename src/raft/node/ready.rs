//! What raft-rs hands out (`Ready`), moved to where it belongs: to the disk, to peers, to the machine.
//!
//! Several Readies are outstanding at a time. Each waits in line until it is durable; only then do
//! the messages that it held back leave. A Ready without anything to write waits for those before it
//! and for nothing else.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{ReadState, Ready};

use super::persist::{Persist, to_hard_state, to_stored};
use super::snapshots::Whole;
use super::{Node, Progress};
use crate::limits::RAFT_PERSISTS_MAX;
use crate::mutant::mutant;
use crate::raft::message::Body;
use crate::raft::request::{Answer, RequestId};
use crate::raft::{Now, RaftId};
use crate::storage::Batch;

/// A Ready that is not durable yet.
#[derive(Debug)]
pub(super) struct Outstanding {
    number: u64,
    /// Whether something of it must be made durable.
    is_written: bool,
    /// Whether nothing may be said before it is durable: term, vote or members change with it.
    is_binding: bool,
    /// What may be said once it is durable.
    held: Vec<Message>,
    /// The snapshot that takes the machine's place once it is durable.
    snapshot: Option<Whole>,
    /// A change of the membership that was applied with it, to be answered once it is durable, and
    /// its index.
    change: Option<(RequestId, u64)>,
}

impl Node {
    /// Acknowledges that everything up to a number of [`Persist`] is durable.
    pub fn handle_persisted(&mut self, number: u64, now: Now) {
        if self.stopped.is_some() {
            return;
        }
        self.acknowledge(number, now);
        self.settle(now);
    }

    /// Moves one Ready of raft-rs, if there is one and room for it.
    pub(super) fn take_ready(&mut self, now: Now) -> bool {
        if self.stopped.is_some() || self.is_line_full() || !self.raw.has_ready() {
            return false;
        }
        let mut ready = self.raw.ready();
        let mut at_once = ready.take_messages();
        let mut held = ready.take_persisted_messages();
        let read_states = ready.take_read_states();
        let committed = ready.take_committed_entries();
        let outstanding = self.keep(&mut ready, committed.iter().any(changes_members));
        let may_speak =
            !outstanding.is_binding && !self.outstanding.iter().any(|before| before.is_binding);
        if !may_speak && !mutant!("vote sent before it is durable") {
            held.splice(0..0, std::mem::take(&mut at_once));
        }
        if mutant!("vote sent before it is durable") {
            at_once.append(&mut held);
        }
        self.line_up(Outstanding { held, ..outstanding });
        self.raw.advance_append_async(ready);
        for message in at_once {
            self.send(message, now);
        }
        for ReadState { index, request_ctx } in read_states {
            self.reads.confirm(&request_ctx, index);
        }
        self.apply_all(committed, now);
        // What needs no writing is not waited for, unless something before it is.
        self.acknowledge(0, now);
        true
    }

    /// Whether as many steps wait for the disk as may.
    pub(super) fn is_line_full(&self) -> bool {
        let written = self.outstanding.iter().filter(|outstanding| outstanding.is_written);
        written.count() >= RAFT_PERSISTS_MAX
    }

    /// What has nothing to write joins its like at the end of the line, so that a leader on a slow
    /// disk goes on to say what it may.
    fn line_up(&mut self, outstanding: Outstanding) {
        match self.outstanding.back_mut() {
            Some(last) if !last.is_written && !outstanding.is_written => {
                last.number = outstanding.number;
                last.held.extend(outstanding.held);
            }
            _ => self.outstanding.push_back(outstanding),
        }
    }

    /// Puts what must be durable into the log in memory and in line for the disk.
    fn keep(&mut self, ready: &mut Ready, changes_members: bool) -> Outstanding {
        let number = ready.number();
        let snapshot = if ready.snapshot().is_empty() {
            None
        } else {
            Some(self.snapshots.take_whole(ready.snapshot()))
        };
        let entries = ready.take_entries();
        let before = self.raw.store().hard_state();
        let hard_state = ready.hs().map_or(before, to_hard_state);
        let changes_vote = (hard_state.term, hard_state.vote) != (before.term, before.vote);
        // Members that are removed may be gone for good once they hear that this is committed.
        let is_binding =
            changes_vote || changes_members && !mutant!("removal told before it is durable");
        let store = self.raw.mut_store();
        if let Some(Whole { state, .. }) = &snapshot {
            store.reset(state.index, state.term, state.machine.log_time(), state.conf.clone());
        }
        store.append(&entries);
        store.set_hard_state(hard_state);
        let is_written = is_binding || snapshot.is_some() || !entries.is_empty();
        if is_written {
            self.persists.push_back(Persist {
                number,
                snapshot: snapshot.as_ref().map(|whole| (whole.state.meta(), whole.bytes.clone())),
                batch: Batch {
                    hard_state: Some(hard_state),
                    reset: snapshot.as_ref().map(|whole| (whole.state.index, whole.state.term)),
                    entries: entries.into_iter().map(to_stored).collect(),
                },
            });
        }
        Outstanding { number, is_written, is_binding, held: Vec::new(), snapshot, change: None }
    }

    /// Releases what is durable: everything up to a number, and what stands behind it in line
    /// without anything to write.
    fn acknowledge(&mut self, number: u64, now: Now) {
        let mut last = None;
        let mut held = Vec::new();
        while let Some(front) = self.outstanding.front()
            && (front.number <= number || !front.is_written)
        {
            let front = self.outstanding.pop_front().expect("just seen");
            last = Some(front.number);
            held.extend(front.held);
            if let Some((request, index)) = front.change {
                self.answer_change(request, index);
            }
            if let Some(whole) = front.snapshot {
                self.raw.on_persist_ready(front.number);
                self.install(whole);
            }
        }
        let Some(last) = last else { return };
        self.raw.on_persist_ready(last);
        for message in held {
            self.send(message, now);
        }
    }

    /// Answers the change that was applied last once that is durable.
    pub(super) fn answer_change_when_durable(&mut self, request: RequestId, index: u64) {
        let newest = self.outstanding.back_mut().expect("what is applied is of the newest step");
        newest.change = Some((request, index));
    }

    fn answer_change(&mut self, request: RequestId, index: u64) {
        if self.writes.remove(request) {
            self.respond(request, Ok(Answer::Changed { index }));
        }
    }

    /// Whether a snapshot is on its way to the disk, to take the machine's place.
    pub(super) fn is_installing(&self) -> bool {
        self.outstanding.iter().any(|outstanding| outstanding.snapshot.is_some())
    }

    /// Takes the state of a durable snapshot in the place of the machine.
    fn install(&mut self, whole: Whole) {
        let state = whole.state;
        if state.index <= self.applied {
            return;
        }
        self.machine = state.machine;
        self.members = state.members;
        self.listed_at = state.listed_at;
        self.applied = state.index;
        self.snapshots.installed(state.index, whole.name.bytes);
        self.raw.advance_apply_to(state.index);
        self.progress.push_back(Progress::Installed { index: state.index });
        if let Some(request) = self.take_ended_change() {
            self.answer_change(request, state.index);
        }
    }

    fn send(&mut self, message: Message, now: Now) {
        let to = RaftId(message.to);
        assert!(
            message.entries.first().is_none_or(|first| {
                message.get_msg_type() != MessageType::MsgAppend || first.index == message.index + 1
            }),
            "the entries of an append follow its index"
        );
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.start_sending(to, message, now);
        } else {
            self.transmit(to, Body::Raft(Box::new(message)), now);
        }
    }
}

fn changes_members(entry: &Entry) -> bool {
    entry.get_entry_type() != EntryType::EntryNormal
}
