//! What holds for every machine that commands have made. A snapshot of one that breaks it was never
//! written by a machine, whatever its digest says, and is refused.
//!
//! 1. Versions, deadlines and sequence numbers are such as commands give: no revision above the
//!    newest, no deadline further off than a time to live reaches, no reply outside its window.
//! 2. Sessions are of this epoch, and used no earlier than opened.
//! 3. The history and the entries tell the same: what the history wrote or removed last is what the
//!    entries have, and what was written since its beginning stands in it.
//!
//! No order and no counts: the decoder sees to those where it reads. No limits of commands (operations
//! of a transaction, `max_size`): those are checked before a command is proposed, and the machine takes
//! any. Not whether the commands existed: two histories may lead to one state.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{Reason, Refusal, Reply, SessionId, Written};
use super::entries::Record;
use super::history::KeyEvent;
use super::key::QualifiedKey;
use super::machine::StateMachine;
use super::session::{ClientSession, Executed};
use crate::clock::UnixMillis;
use crate::entry::{EventKind, Version};
use crate::limits::{REMOVALS_MAX, SESSION_REPLIES_MAX, TTL_MS_MAX};

/// Whether something holds; if not, what was expected.
pub(super) type Holds = Result<(), &'static str>;

impl StateMachine {
    /// Whether commands can have made this machine. O(n log n).
    pub(super) fn check_invariants(&self) -> Holds {
        for (_, record) in self.entries.iter() {
            self.check_record(record)?;
        }
        for (id, session) in self.sessions.iter() {
            self.check_session(*id, session)?;
        }
        self.check_history()
    }

    fn check_record(&self, record: &Record) -> Holds {
        self.check_version(record.version)?;
        self.check_deadline(record.deadline)
    }

    /// A restore goes on counting, so versions of earlier epochs are no higher either.
    fn check_version(&self, version: Version) -> Holds {
        let is_given = match version {
            Version::Numbered { revision, .. } => (1..=self.revision).contains(&revision),
            Version::Unversioned | Version::Stamped { .. } => false,
        };
        require(is_given, "a version that was given")
    }

    fn check_deadline(&self, deadline: Option<UnixMillis>) -> Holds {
        let given = UnixMillis(1)..=self.log_time.after(TTL_MS_MAX);
        let is_given = deadline.is_none_or(|deadline| given.contains(&deadline));
        require(is_given, "a deadline within a time to live")
    }

    fn check_session(&self, id: SessionId, session: &ClientSession) -> Holds {
        require(id.epoch == self.epoch, "a session of this epoch")?;
        let was_used = session.low > 0 || !session.replies.is_empty();
        let used_first = if was_used { id.index.checked_add(1) } else { Some(id.index) };
        let is_used_since = used_first.is_some_and(|first| first <= session.used_at);
        require(is_used_since, "a session used after it was opened")?;
        for (seq, Executed { execution, reply }) in &session.replies {
            let place = seq.checked_sub(session.low);
            let is_within = place.is_some_and(|place| place < SESSION_REPLIES_MAX);
            require(is_within, "a sequence number within the window")?;
            let is_use = id.index < execution.index && execution.index <= session.used_at;
            require(is_use && execution.log_time <= self.log_time, "a command executed since")?;
            self.check_reply(id, session.used_at, reply)?;
        }
        Ok(())
    }

    fn check_reply(&self, session: SessionId, used_at: u64, reply: &Reply) -> Holds {
        match reply {
            Reply::Written(written) => self.check_writing(std::slice::from_ref(written)),
            Reply::Transacted(all) => self.check_writing(all),
            Reply::Advanced(removed) => {
                require(*removed <= REMOVALS_MAX, "as many removals as a command makes")
            }
            Reply::SessionOpened(id) => {
                let is_later = session.index < id.index && id.index <= used_at;
                require(id.epoch == self.epoch && is_later, "a session opened through this one")
            }
            Reply::Refused(refusal) => self.check_refusal(*refusal),
        }
    }

    /// What one command wrote has one version, of this epoch.
    fn check_writing(&self, all: &[Written]) -> Holds {
        let mut first = None;
        for written in all {
            let Written::Put { version, deadline } = *written else { continue };
            self.check_version(version)?;
            self.check_deadline(deadline)?;
            let is_of_command = *first.get_or_insert(version) == version;
            require(is_of_command && self.is_of_epoch(version), "one version for one command")?;
        }
        Ok(())
    }

    /// Refusals of the session itself are no reply of a command.
    fn check_refusal(&self, Refusal { reason, index }: Refusal) -> Holds {
        require(index != Some(0), "operations counted from 1")?;
        match reason {
            Reason::Exists(version) | Reason::OtherVersion(version) => self.check_version(version),
            Reason::Absent => Ok(()),
            Reason::SessionExpired | Reason::SequenceTooLow | Reason::SequenceTooHigh => {
                Err("a refusal that is kept")
            }
        }
    }

    fn is_of_epoch(&self, version: Version) -> bool {
        matches!(version, Version::Numbered { epoch, .. } if epoch == self.epoch)
    }

    fn check_history(&self) -> Holds {
        let mut newest: BTreeMap<&QualifiedKey, Option<&Arc<Record>>> = BTreeMap::new();
        for change in self.history.iter() {
            require(!change.events.is_empty(), "a revision with an event")?;
            for event in &*change.events {
                let before = newest.get(&event.key).copied();
                self.check_event(change.revision, event, before)?;
                newest.insert(&event.key, event.record.as_ref());
            }
        }
        for (key, record) in &newest {
            let is_same = self.entries.get(*key) == *record;
            require(is_same, "entries that the history has made")?;
        }
        for (key, record) in self.entries.iter() {
            let is_recorded = match record.version {
                Version::Numbered { revision, .. } if revision > self.history.compacted() => {
                    newest.contains_key(key)
                }
                Version::Numbered { .. } | Version::Unversioned | Version::Stamped { .. } => true,
            };
            require(is_recorded, "a history of all that was written since it begins")?;
        }
        Ok(())
    }

    /// `before` is what the key had then, as far as the history tells: a record, or none.
    fn check_event(
        &self,
        revision: u64,
        event: &KeyEvent,
        before: Option<Option<&Arc<Record>>>,
    ) -> Holds {
        if let Some(record) = &event.record {
            let version = Version::Numbered { epoch: self.epoch, revision };
            require(record.version == version, "a write with the version of its revision")?;
            return self.check_deadline(record.deadline);
        }
        let was_present = match before {
            None => self.history.compacted() > 0,
            Some(None) => false,
            Some(Some(record)) => event.kind == EventKind::Delete || !record.is_live(self.log_time),
        };
        require(was_present, "a removal of what was there")
    }
}

fn require(holds: bool, expected: &'static str) -> Holds {
    if holds { Ok(()) } else { Err(expected) }
}
