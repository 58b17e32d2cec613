//! The sequential specification of a store: what each operation answers, and what it changes.
//!
//! One ordered map, scanned from end to end wherever that is the plainest way to say something.
//! Every operation takes the time of the caller. Time that was written at never goes back: an
//! operation happens at the later of its own time and that of the last write.
//!
//! The contract in six sentences, each a function:
//! 1. An expired entry is an absent key ([`Spec::entry`]).
//! 2. Conditions are judged against the state before; one that fails changes nothing
//!    ([`Spec::commit`]).
//! 3. A command that changes something takes one revision, whatever it changes ([`Spec::commit`]).
//! 4. A successful write replaces value, version and deadline ([`Spec::commit`]).
//! 5. A page is the first part of what the filter leaves, in bytewise order ([`Spec::list`]).
//! 6. Watchers see whole revisions in order, or are told that they came too late
//!    ([`Spec::changes_after`]).
//!
//! That much holds for every command of an engine. What a store makes of it (what its kind
//! supports, how much it takes) is in [`Spec::put`], [`Spec::delete`] and [`Spec::transact`].
//!
//! No handles, no ids, no parsing: arguments are the parsed vocabulary. No client sessions: those
//! are [`session`](super::session).
//!
//! ```
//! use plimsoll::check::spec::{Name, Profile, Spec};
//! use plimsoll::clock::UnixMillis;
//! use plimsoll::entry::{Condition, Key, PutOptions, Ttl};
//! use plimsoll::keyspace::Keyspace;
//!
//! let name: Name = (Keyspace::new("locks")?, Key::new("job-1")?);
//! let create = PutOptions { ttl: Ttl::from_ms(500)?, condition: Condition::Absent };
//! let mut spec = Spec::new(Profile::MACHINE, 1);
//! assert!(spec.put(UnixMillis(0), &name, "me".into(), create).is_ok());
//! assert!(spec.put(UnixMillis(499), &name, "you".into(), create).is_err());
//! assert!(spec.put(UnixMillis(500), &name, "you".into(), create).is_ok());
//! # Ok::<(), plimsoll::error::Error>(())
//! ```
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod store;
mod words;

use std::collections::{BTreeMap, VecDeque};

use crate::clock::UnixMillis;
use crate::entry::{
    Condition, Entry, Event, EventKind, Key, ListQuery, Operation, OperationResult, Page, Version,
};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX, PAGE_BYTES_MAX, REMOVALS_MAX};
use crate::value::{Encoded, Value};

pub use words::{Name, Profile, Refusal, Revision};

/// A store, or several that share an engine, each in its keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    profile: Profile,
    epoch: u64,
    revision: u64,
    time: UnixMillis,
    entries: BTreeMap<Name, Stored>,
    /// The newest revisions without a gap, as many as the limits allow.
    history: VecDeque<Revision>,
    history_bytes: usize,
}

impl Spec {
    /// An empty store in an epoch.
    #[must_use]
    pub const fn new(profile: Profile, epoch: u64) -> Self {
        Self {
            profile,
            epoch,
            revision: 0,
            time: UnixMillis(0),
            entries: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
        }
    }

    /// Judges all conditions against the state before; then removes expired entries, if the store
    /// is to make room; then writes. All that makes at most one revision.
    ///
    /// # Errors
    /// That of the first operation whose condition fails, with its index.
    pub fn commit(
        &mut self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
        make_room: bool,
    ) -> Result<Vec<OperationResult>, Refusal> {
        let now = self.pass(now);
        self.judge_all(now, keyspace, operations)?;
        let mut events = if make_room { self.remove_expired(now) } else { Vec::new() };
        let version = self.next_version();
        let mut results = Vec::new();
        for operation in operations {
            let name = (keyspace.clone(), operation.key().clone());
            results.push(self.execute(now, name, operation, version, &mut events));
        }
        self.close_revision(events);
        Ok(results)
    }

    /// Whether the conditions of all operations hold; if not, which fails first.
    fn judge_all(
        &self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
    ) -> Result<(), Refusal> {
        for (index, operation) in (1..).zip(operations) {
            let name = (keyspace.clone(), operation.key().clone());
            self.judge(now, &name, operation.condition()).map_err(|refusal| refusal.at(index))?;
        }
        Ok(())
    }

    /// Whether a condition holds for a key.
    fn judge(&self, now: UnixMillis, name: &Name, condition: Condition) -> Result<(), Refusal> {
        let current = self.entry(now, name).map(|entry| entry.version);
        match (condition, current) {
            (Condition::None, _) | (Condition::Absent, None) => Ok(()),
            (Condition::Absent, Some(_)) => {
                Err(Refusal { current, ..Refusal::new(ErrorKind::AlreadyExists) })
            }
            (Condition::Version(_), None) => Err(Refusal::new(ErrorKind::NotFound)),
            (Condition::Version(required), Some(version)) if required == version => Ok(()),
            (Condition::Version(_), Some(_)) => {
                Err(Refusal { current, ..Refusal::new(ErrorKind::Conflict) })
            }
        }
    }

    /// Executes one operation whose condition holds.
    fn execute(
        &mut self,
        now: UnixMillis,
        name: Name,
        operation: &Operation,
        version: Version,
        events: &mut Vec<(Keyspace, Event)>,
    ) -> OperationResult {
        match operation {
            Operation::Check { .. } => OperationResult::Checked,
            Operation::Delete { .. } => {
                let was_present = self.entry(now, &name).is_some();
                if was_present {
                    self.entries.remove(&name);
                    events.push(removal(EventKind::Delete, name));
                }
                OperationResult::Deleted(was_present)
            }
            Operation::Put { value, options, .. } => {
                let deadline = options.ttl.map(|ttl| now.after(ttl.as_ms()));
                let stored = Stored { value: value.clone(), version, deadline };
                let entry = to_entry(&name.1, &stored);
                let replaced = self.entries.insert(name.clone(), stored);
                if replaced.is_some_and(|replaced| replaced.is_expired(now)) {
                    events.push(removal(EventKind::Expire, name.clone()));
                }
                let (keyspace, key) = name;
                let put = Event { kind: EventKind::Put, key, entry: Some(entry.clone()) };
                events.push((keyspace, put));
                OperationResult::Put(entry)
            }
        }
    }

    /// Removes expired entries, at most [`REMOVALS_MAX`], in a revision of their own; answers how
    /// many.
    pub fn advance(&mut self, now: UnixMillis) -> usize {
        let now = self.pass(now);
        let events = self.remove_expired(now);
        let removed = events.len();
        self.close_revision(events);
        removed
    }

    /// Removes the expired entries with the earliest deadlines.
    fn remove_expired(&mut self, now: UnixMillis) -> Vec<(Keyspace, Event)> {
        let mut expired: Vec<(Option<UnixMillis>, Name)> = Vec::new();
        for (name, stored) in &self.entries {
            if stored.is_expired(now) {
                expired.push((stored.deadline, name.clone()));
            }
        }
        expired.sort();
        expired.truncate(REMOVALS_MAX);
        let mut events = Vec::new();
        for (_, name) in expired {
            self.entries.remove(&name);
            events.push(removal(EventKind::Expire, name));
        }
        events
    }

    /// Continues from a backup, in a new epoch: entries keep their versions, watchers start anew.
    pub fn restore(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.history.clear();
        self.history_bytes = 0;
    }

    /// Lets time pass; answers the time it is then.
    pub fn pass(&mut self, now: UnixMillis) -> UnixMillis {
        self.time = self.time.max(now);
        self.time
    }

    /// Counts events as a revision and remembers it, if there are any.
    fn close_revision(&mut self, events: Vec<(Keyspace, Event)>) {
        if events.is_empty() {
            return;
        }
        self.revision += 1;
        let revision = Revision { number: self.revision, events };
        self.history_bytes += revision_bytes(&revision);
        self.history.push_back(revision);
        while self.history.len() > HISTORY_REVISIONS_MAX || self.history_bytes > HISTORY_BYTES_MAX {
            let oldest = self.history.pop_front().expect("what is over a limit is not empty");
            self.history_bytes -= revision_bytes(&oldest);
        }
    }

    /// The entry of a key, if it is present.
    #[must_use]
    pub fn entry(&self, now: UnixMillis, name: &Name) -> Option<Entry> {
        let now = self.time.max(now);
        let stored = self.entries.get(name)?;
        (!stored.is_expired(now)).then(|| to_entry(&name.1, stored))
    }

    /// One page of a keyspace.
    #[must_use]
    pub fn list(&self, now: UnixMillis, keyspace: &Keyspace, query: &ListQuery) -> Page {
        let mut page = Page::default();
        let mut bytes = 0;
        for name in self.entries.keys().filter(|name| name.0 == *keyspace) {
            let key = name.1.as_str().as_bytes();
            let Some(entry) = self.entry(now, name) else { continue };
            if !key.starts_with(&query.prefix) || key <= query.after.as_slice() {
                continue;
            }
            if page.items.len() == query.items_max() || bytes >= PAGE_BYTES_MAX {
                page.has_more = true;
                break;
            }
            bytes += key.len() + encoded_bytes(&entry.value);
            page.cursor = name.1.to_string();
            page.items.push(entry);
        }
        page
    }

    /// The revisions after a version.
    ///
    /// # Errors
    /// `INVALID` if they are no longer all known, or the version is of another epoch.
    pub fn changes_after(&self, version: Version) -> Result<Vec<Revision>, Refusal> {
        let known = self.history.len() as u64;
        match version {
            Version::Numbered { epoch, revision }
                if epoch == self.epoch
                    && revision <= self.revision
                    && self.revision - revision <= known =>
            {
                let later = self.history.iter().skip((known - (self.revision - revision)) as usize);
                Ok(later.cloned().collect())
            }
            Version::Numbered { .. } | Version::Unversioned | Version::Stamped { .. } => {
                Err(Refusal::new(ErrorKind::Invalid))
            }
        }
    }

    /// The number of live entries.
    #[must_use]
    pub fn live(&self, now: UnixMillis) -> usize {
        self.entries.keys().filter(|name| self.entry(now, name).is_some()).count()
    }

    /// The number of entries in memory, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The deadlines of the entries in memory, expired ones included, earliest first.
    #[must_use]
    pub fn deadlines(&self) -> Vec<UnixMillis> {
        let mut deadlines: Vec<_> =
            self.entries.values().filter_map(|stored| stored.deadline).collect();
        deadlines.sort();
        deadlines
    }

    /// What the store supports.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The newest revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The time of the last write.
    #[must_use]
    pub const fn time(&self) -> UnixMillis {
        self.time
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The version that the next change gives.
    fn next_version(&self) -> Version {
        if !self.profile.versioned {
            return Version::Unversioned;
        }
        Version::Numbered { epoch: self.epoch, revision: self.revision + 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    value: Value,
    version: Version,
    deadline: Option<UnixMillis>,
}

impl Stored {
    fn is_expired(&self, now: UnixMillis) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

fn removal(kind: EventKind, (keyspace, key): Name) -> (Keyspace, Event) {
    (keyspace, Event { kind, key, entry: None })
}

fn to_entry(key: &Key, stored: &Stored) -> Entry {
    Entry {
        key: key.clone(),
        value: stored.value.clone(),
        version: stored.version,
        expires_at: stored.deadline,
    }
}

/// Keys count with their keyspace and the byte that separates the two.
fn revision_bytes(revision: &Revision) -> usize {
    let mut bytes = 0;
    for (keyspace, event) in &revision.events {
        bytes += keyspace.as_str().len() + 1 + event.key.as_str().len();
        bytes += event.entry.as_ref().map_or(0, |entry| encoded_bytes(&entry.value));
    }
    bytes
}

fn encoded_bytes(value: &Value) -> usize {
    Encoded::new(value).expect("values were checked where they came in").len()
}
