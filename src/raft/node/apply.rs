//! Applying: committed entries go to the machine, in order, and whoever waits for them is answered.
//!
//! Nothing here depends on anything but the log: not on the role, not on a clock.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType};

use super::{Node, Progress, to_bytes};
use crate::clock::UnixMillis;
use crate::codec::{Reader, Writer};
use crate::kv::{Execution, LogEntry};
use crate::mutant::mutant;
use crate::raft::Now;
use crate::raft::request::{Answer, Applied, Origin, RequestId};
use crate::raft::wire::{read_origin, write_origin};

impl Node {
    /// Applies committed entries.
    pub(super) fn apply_all(&mut self, entries: Vec<Entry>, now: Now) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        for entry in entries {
            if self.stopped.is_some() {
                return;
            }
            assert_eq!(entry.index, self.applied + 1, "entries are applied in order");
            self.applied = entry.index;
            self.note_index(entry.index, entry.term);
            match entry.get_entry_type() {
                // A new leader's first entry, or a change of membership that raft-rs refused.
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => self.apply_command(entry, now),
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    self.apply_change(&entry);
                }
            }
        }
        if self.stopped.is_none() {
            self.raw.advance_apply_to(last);
        }
    }

    fn apply_command(&mut self, entry: Entry, now: Now) {
        let (index, term) = (entry.index, entry.term);
        let origin = decode_origin(entry.context);
        let Ok(LogEntry { stamp, command }) = LogEntry::decode(to_bytes(entry.data)) else {
            // Every member reads the same bytes: none of them can go on.
            return self.stop(&format!("the command at index {index} can't be read"));
        };
        let stamp = if mutant!("expiry by the local clock") { now.wall } else { stamp };
        let outcome = self.machine.apply(index, stamp, &command);
        let log_time = self.machine.log_time();
        self.note_applied(term, &command.action);
        if let Some(origin) = origin.filter(|origin| self.is_own(*origin))
            && self.writes.remove(origin.request)
        {
            let reply = outcome.reply.clone();
            let executed = outcome.repeats.unwrap_or(Execution { index, log_time });
            let Execution { index, log_time } = executed;
            self.respond(origin.request, Ok(Answer::Applied { index, log_time, reply }));
        }
        let applied = Applied { index, term, log_time, origin, command, outcome };
        self.progress.push_back(Progress::Applied(Box::new(applied)));
    }

    fn apply_change(&mut self, entry: &Entry) {
        let Some(change) = decode_change(entry) else {
            return self.stop(&format!("the change at index {} can't be read", entry.index));
        };
        let conf = match self.change_conf(&change) {
            Ok(conf) => conf,
            Err(error) => {
                return self.stop(&format!("the change at index {}: {error}", entry.index));
            }
        };
        self.raw.mut_store().set_conf(conf);
        self.follow_members(&change);
        let origin = decode_origin(entry.context.clone()).filter(|origin| self.is_own(*origin));
        self.applied_change = origin.map(|origin| origin.request).or(self.applied_change);
        if let Some(request) = self.take_ended_change() {
            self.answer_change_when_durable(request, entry.index);
        }
    }

    /// A change that was asked for here and was applied, once no joint phase is open: until then it
    /// needs the old members.
    pub(super) fn take_ended_change(&mut self) -> Option<RequestId> {
        if self.is_joint() { None } else { self.applied_change.take() }
    }

    fn change_conf(&mut self, change: &ConfChangeV2) -> raft::Result<ConfState> {
        let conf = self.raw.apply_conf_change(change)?;
        if mutant!("joint phase is left early") && !conf.voters_outgoing.is_empty() {
            return self.raw.apply_conf_change(&ConfChangeV2::default());
        }
        Ok(conf)
    }

    pub(super) fn is_own(&self, origin: Origin) -> bool {
        origin.node == self.id && origin.start == self.start
    }

    /// The log time: the greatest stamp that was applied.
    pub(super) const fn log_time(&self) -> UnixMillis {
        self.machine.log_time()
    }
}

/// Changes are proposed in the second form only.
fn decode_change(entry: &Entry) -> Option<ConfChangeV2> {
    let is_second_form = entry.get_entry_type() == EntryType::EntryConfChangeV2;
    is_second_form.then(|| prost_raft::Message::decode(&entry.data[..]).ok()).flatten()
}

/// An origin as it stands in the context of an entry.
pub(super) fn encode_origin(origin: Origin) -> Vec<u8> {
    let mut writer = Writer::with_capacity(24);
    write_origin(&mut writer, origin);
    writer.finish().to_vec()
}

/// None of what a leader proposed by itself.
fn decode_origin(context: Vec<u8>) -> Option<Origin> {
    read_origin(&mut Reader::new(to_bytes(context))).ok()
}
