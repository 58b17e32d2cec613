//! The machine: entries, sessions and history under one `apply`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use equivalent::Comparable;

use super::command::{Action, Command, Reason, Refusal, Reply, SessionId, Write, Written};
use super::digest::Digest;
use super::entries::{Entries, Record};
use super::history::{History, KeyEvent, RevisionChange};
use super::key::{KeyRef, QualifiedKey};
use super::page::{KeyPage, PageQuery};
use super::session::{Admission, Executed, Sessions};
use crate::clock::UnixMillis;
use crate::codec::Writer;
use crate::entry::{Condition, EventKind, ListQuery, Version};
use crate::limits::REMOVALS_MAX;
use crate::mutant::mutant;

/// A replicated key-value machine. Equal commands make equal machines; a clone is O(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMachine {
    pub(super) epoch: u64,
    pub(super) revision: u64,
    pub(super) log_time: UnixMillis,
    pub(super) entries: Entries,
    pub(super) sessions: Sessions,
    pub(super) history: History,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer to whoever proposed it.
    pub reply: Reply,
    /// The revision that it made, if it changed an entry.
    pub change: Option<RevisionChange>,
    /// Where it was executed, if that was before and this is only the reply of then.
    pub repeats: Option<Execution>,
}

/// Where a command was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// At which index of the log.
    pub index: u64,
    /// The log time after it.
    pub log_time: UnixMillis,
}

/// What the writes did and the revision that they made, or why which of them (counted from 0)
/// refused.
type WriteResult = Result<(Vec<Written>, Option<RevisionChange>), (Reason, usize)>;

/// One page of a listing.
pub type MachinePage = KeyPage<Arc<Record>>;

/// Whether a full store takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Enough,
    /// It does once expired entries are removed: set `make_room`.
    AfterRemovals,
    /// It does not.
    None,
}

impl Outcome {
    /// Of a command that is executed now.
    const fn new(reply: Reply, change: Option<RevisionChange>) -> Self {
        Self { reply, change, repeats: None }
    }
}

impl StateMachine {
    /// An empty machine. The epoch must be random: it keeps versions apart from those of any
    /// other machine.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self::beginning(epoch, UnixMillis::default())
    }

    /// An empty machine whose log time begins at an instant.
    #[must_use]
    pub fn beginning(epoch: u64, log_time: UnixMillis) -> Self {
        Self {
            epoch,
            revision: 0,
            log_time,
            entries: Entries::default(),
            sessions: Sessions::default(),
            history: History::default(),
        }
    }

    /// Executes the command at an index of the log, stamped by the leader's clock. Total: every
    /// command has a reply. O(log n) for each write and each removal.
    pub fn apply(&mut self, index: u64, stamp: UnixMillis, command: &Command) -> Outcome {
        if mutant!("log time goes back") {
            self.log_time = stamp;
        }
        self.log_time = self.log_time.max(stamp);
        let Some(session) = command.session else {
            return self.execute(index, stamp, &command.action);
        };
        let (reply, repeats) = match self.sessions.admit(index, session) {
            Admission::Execute => {
                let outcome = self.execute(index, stamp, &command.action);
                let execution = Execution { index, log_time: self.log_time };
                self.sessions.record(session, Executed { execution, reply: outcome.reply.clone() });
                return outcome;
            }
            Admission::Repeat(Executed { execution, reply }) => (reply, Some(execution)),
            Admission::Refuse(reason) => (Reply::Refused(Refusal { reason, index: None }), None),
        };
        Outcome { reply, change: None, repeats }
    }

    fn execute(&mut self, index: u64, stamp: UnixMillis, action: &Action) -> Outcome {
        match action {
            Action::Write { write, make_room } => match self.check(write, self.log_time) {
                Ok(()) => {
                    let mut events = self.start_writing(*make_room, 1);
                    let written = self.write_one(stamp, write, &mut events);
                    Outcome::new(Reply::Written(written), self.commit(events))
                }
                Err(reason) => self.refuse(reason, None),
            },
            Action::Transact { writes, make_room } => {
                match self.write_all(stamp, writes, *make_room) {
                    Ok((written, change)) => Outcome::new(Reply::Transacted(written), change),
                    Err((reason, position)) => self.refuse(reason, Some(position + 1)),
                }
            }
            Action::Advance => {
                let events = self.remove_expired();
                let removed = events.len();
                Outcome::new(Reply::Advanced(removed), self.commit(events))
            }
            Action::OpenSession => {
                let id = SessionId { epoch: self.epoch, index };
                self.sessions.open(id);
                Outcome::new(Reply::SessionOpened(id), None)
            }
        }
    }

    /// All or none: conditions first, each against the state before.
    fn write_all(&mut self, stamp: UnixMillis, writes: &[Write], make_room: bool) -> WriteResult {
        let is_late = mutant!("transaction applies what precedes the failure");
        let checked_first = if is_late { 1 } else { writes.len() };
        for (position, write) in writes.iter().take(checked_first).enumerate() {
            self.check(write, self.log_time).map_err(|reason| (reason, position))?;
        }
        let mut events = self.start_writing(make_room, writes.len());
        let mut written = Vec::with_capacity(writes.len());
        for (position, write) in writes.iter().enumerate() {
            if is_late && let Err(reason) = self.check(write, self.log_time) {
                return Err((reason, position));
            }
            written.push(self.write_one(stamp, write, &mut events));
        }
        Ok((written, self.commit(events)))
    }

    fn write_one(
        &mut self,
        stamp: UnixMillis,
        write: &Write,
        events: &mut Vec<KeyEvent>,
    ) -> Written {
        match write {
            Write::Check { .. } => Written::Checked,
            Write::Delete { key, .. } => {
                let is_present = self.live(key, self.log_time).is_some()
                    || mutant!("delete finds an expired entry") && self.entries.get(key).is_some();
                if is_present {
                    self.entries.remove(key);
                    if !mutant!("delete takes no revision") {
                        events.push(KeyEvent::removal(EventKind::Delete, key.clone()));
                    }
                }
                Written::Deleted(is_present)
            }
            Write::Put { key, value, ttl, .. } => {
                let start = if mutant!("deadline from the stamp") { stamp } else { self.log_time };
                let mut deadline = ttl.map(|ttl| start.after(ttl.as_ms()));
                if mutant!("overwriting keeps the old deadline") {
                    let old = self.entries.get(key);
                    deadline = deadline.or(old.and_then(|old| old.deadline));
                }
                let version = Version::Numbered { epoch: self.epoch, revision: self.revision + 1 };
                let record = Arc::new(Record::new(key, value.detached(), version, deadline));
                let old = self.entries.insert(key, Arc::clone(&record));
                if old.is_some_and(|old| !old.is_live(self.log_time))
                    && !mutant!("expired entry is overwritten without its expire event")
                {
                    events.push(KeyEvent::removal(EventKind::Expire, key.clone()));
                }
                events.push(KeyEvent::put(key.clone(), record));
                Written::Put { version, deadline }
            }
        }
    }

    fn check(&self, write: &Write, now: UnixMillis) -> Result<(), Reason> {
        if write.condition() == Condition::None {
            return Ok(());
        }
        let key = write.key();
        let current = self.live(key, now).map(|record| record.version);
        match (write.condition(), current) {
            (Condition::Absent, None) if mutant!("absent condition sees an expired entry") => {
                match self.entries.get(key) {
                    None => Ok(()),
                    Some(record) => Err(Reason::Exists(record.version)),
                }
            }
            (Condition::None, _) | (Condition::Absent, None) => Ok(()),
            (Condition::Absent, Some(version)) => Err(Reason::Exists(version)),
            (Condition::Version(_), None) => Err(Reason::Absent),
            (Condition::Version(wanted), Some(current)) if wanted == current => Ok(()),
            (
                Condition::Version(Version::Numbered { revision: wanted, .. }),
                Some(Version::Numbered { revision: current, .. }),
            ) if wanted == current && mutant!("condition compares revisions only") => Ok(()),
            (Condition::Version(_), Some(current)) => Err(Reason::OtherVersion(current)),
        }
    }

    /// The record of a key that is present.
    fn live<K: Comparable<QualifiedKey>>(&self, key: &K, now: UnixMillis) -> Option<&Arc<Record>> {
        let now = now.max(self.log_time);
        self.entries.get(key).filter(|record| record.is_live(now))
    }

    /// The events before the first write: those of a purge, if there is to be one.
    fn start_writing(&mut self, make_room: bool, writes: usize) -> Vec<KeyEvent> {
        if !make_room {
            return Vec::with_capacity(writes);
        }
        let mut events = self.remove_expired();
        if mutant!("purge takes its own revision") {
            self.commit(std::mem::take(&mut events));
        }
        events
    }

    fn refuse(&mut self, reason: Reason, index: Option<usize>) -> Outcome {
        if mutant!("failed write takes a revision") {
            self.push_revision(Vec::new());
        }
        Outcome::new(Reply::Refused(Refusal { reason, index }), None)
    }

    /// Removes expired entries, at most [`REMOVALS_MAX`], and returns their events.
    fn remove_expired(&mut self) -> Vec<KeyEvent> {
        let limit =
            if mutant!("advance removes without a limit") { usize::MAX } else { REMOVALS_MAX };
        let keys: Vec<_> = self.entries.expired(self.log_time).take(limit).cloned().collect();
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            self.entries.remove(&key);
            events.push(KeyEvent::removal(EventKind::Expire, key));
        }
        events
    }

    /// Makes a revision of events, unless there are none.
    fn commit(&mut self, events: Vec<KeyEvent>) -> Option<RevisionChange> {
        if events.is_empty() { None } else { Some(self.push_revision(events)) }
    }

    fn push_revision(&mut self, events: Vec<KeyEvent>) -> RevisionChange {
        self.revision += 1;
        let change = RevisionChange { revision: self.revision, events: events.into() };
        self.history.push(change.clone());
        change
    }

    /// The record of a key, if the key is present at an instant (or at the log time, if later).
    #[must_use]
    pub fn get(&self, key: KeyRef<'_>, now: UnixMillis) -> Option<&Arc<Record>> {
        self.live(&key, now)
    }

    /// One page of a keyspace as it is at an instant (or at the log time, if later). O(log n) and
    /// the length of the page, and of the expired, unremoved entries that it passes.
    #[must_use]
    pub fn list(&self, keyspace: &str, query: &ListQuery, now: UnixMillis) -> MachinePage {
        self.list_where(keyspace, query, now, |_| true)
    }

    /// As [`StateMachine::list`], of those keys only that a filter lets through: the page is the
    /// same as if the machine had no others. It costs what it passes over.
    #[must_use]
    pub fn list_where(
        &self,
        keyspace: &str,
        query: &ListQuery,
        now: UnixMillis,
        admits: impl Fn(&str) -> bool,
    ) -> MachinePage {
        let now = now.max(self.log_time);
        let query = PageQuery { keyspace, query };
        let records = self.entries.range(query.start());
        let walk = records.map(|(key, record)| (key, record.is_live(now).then_some(record)));
        query.fill(walk, admits, |record| (Arc::clone(record), record.value.len()))
    }

    /// Why an action would be refused for its conditions at an instant, if it would.
    #[must_use]
    pub fn refusal(&self, action: &Action, now: UnixMillis) -> Option<Refusal> {
        let is_transaction = matches!(action, Action::Transact { .. });
        action.writes().iter().enumerate().find_map(|(position, write)| {
            let reason = self.check(write, now).err()?;
            Some(Refusal { reason, index: is_transaction.then_some(position + 1) })
        })
    }

    /// Whether a store of at most `entries_max` entries takes writes at an instant.
    #[must_use]
    pub fn room_for(&self, writes: &[Write], entries_max: usize, now: UnixMillis) -> Room {
        let now = now.max(self.log_time);
        let (mut added, mut removed) = (0, 0);
        for write in writes {
            let record = self.entries.get(write.key());
            match write {
                Write::Put { .. } => added += usize::from(record.is_none()),
                Write::Delete { .. } => {
                    removed += usize::from(record.is_some_and(|record| record.is_live(now)));
                }
                Write::Check { .. } => {}
            }
        }
        let len_after = self.entries.len() + added;
        if len_after <= entries_max + removed || added == 0 {
            return Room::Enough;
        }
        // An expired entry that is put itself frees nothing: it comes back.
        let wanted = len_after - entries_max - removed;
        let is_put = |key: &QualifiedKey| {
            writes.iter().any(|write| matches!(write, Write::Put { key: put, .. } if put == key))
        };
        let removable = self
            .entries
            .expired(now)
            .take(REMOVALS_MAX)
            .filter(|key| !is_put(key))
            .take(wanted)
            .count();
        if removable == wanted { Room::AfterRemovals } else { Room::None }
    }

    /// The revisions after one, in order; none if they are no longer all kept.
    pub fn changes_after(
        &self,
        revision: u64,
    ) -> Option<impl ExactSizeIterator<Item = &RevisionChange>> {
        self.history.after_revision(revision)
    }

    /// The earliest deadline of an entry that was not removed yet.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.entries.next_deadline()
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of changes so far.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The greatest stamp so far.
    #[must_use]
    pub const fn log_time(&self) -> UnixMillis {
        self.log_time
    }

    /// The number of entries, those expired but not removed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of entries with a deadline.
    #[must_use]
    pub fn expiring_len(&self) -> usize {
        self.entries.expiring_len()
    }

    /// The number of client sessions.
    #[must_use]
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// The digest of the whole state, kept incrementally: O(1).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut writer = Writer::with_capacity(40);
        writer.fixed(self.epoch);
        writer.fixed(self.revision);
        writer.fixed(self.log_time.0);
        writer.fixed(self.history.compacted());
        Digest::of(HASH_SCALARS, writer.as_slice())
            .plus(self.entries.digest())
            .plus(self.sessions.digest())
            .plus(self.history.digest())
    }

    /// The digest computed anew from every part of the state: O(n).
    #[must_use]
    pub fn recomputed_digest(&self) -> Digest {
        let mut entries = Entries::default();
        for (key, record) in self.entries.iter() {
            let record = Record::new(key, record.value.clone(), record.version, record.deadline);
            entries.insert(key, Arc::new(record));
        }
        let mut sessions = Sessions::default();
        for (id, session) in self.sessions.iter() {
            sessions.insert(*id, session.as_ref().clone());
        }
        let mut history = History::after(self.history.compacted());
        for change in self.history.iter() {
            history.push(change.clone());
        }
        Self { entries, sessions, history, ..*self }.digest()
    }
}

const HASH_SCALARS: u64 = 4;
