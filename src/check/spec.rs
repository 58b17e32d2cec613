//! The sequential specification of a store: what each operation answers, and what it changes.
//!
//! One ordered map, scanned from end to end wherever that is the plainest way to say something.
//! Every operation takes the time of the caller. Time that was written at never goes back: an
//! operation happens at the later of its own time and that of the last write.
//!
//! The contract in six sentences, each a function below:
//! 1. An expired entry is an absent key ([`Spec::entry`]).
//! 2. Conditions are judged against the state before; one that fails changes nothing
//!    ([`Spec::commit`]).
//! 3. A command that changes something takes one revision, whatever it changes ([`Spec::commit`]).
//! 4. A successful write replaces value, version and deadline ([`Spec::commit`]).
//! 5. A page is the first part of what the filter leaves, in bytewise order ([`Spec::list`]).
//! 6. Watchers see whole revisions in order, or are told that they came too late
//!    ([`Spec::changes_after`]).
//!
//! No handles, no ids, no parsing: arguments are the parsed vocabulary. No client sessions: those
//! are [`session`](super::session).
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::clock::UnixMillis;
use crate::entry::{
    Condition, Entry, Event, EventKind, Key, ListQuery, Operation, OperationResult, Page,
    PutOptions, Version,
};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::limits::{
    HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX, PAGE_BYTES_MAX, REMOVALS_MAX, TRANSACTION_BYTES_MAX,
    TRANSACTION_OPERATIONS_MAX,
};
use crate::value::{Encoded, Value};

/// What a kind of store supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether entries have versions.
    pub versioned: bool,
    /// Whether writes may carry conditions.
    pub conditional_put: bool,
    /// Whether there are transactions.
    pub transact: bool,
    /// Whether changes can be watched.
    pub watch: bool,
    /// Most live entries; none means no limit.
    pub size_max: Option<usize>,
}

impl Profile {
    /// What the state machine supports: everything.
    pub const MACHINE: Self = Self {
        versioned: true,
        conditional_put: true,
        transact: true,
        watch: true,
        size_max: None,
    };
}

/// Why an operation is refused. Nothing was changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The version that the key has, where another one was required.
    pub current: Option<Version>,
    /// Which operation of a transaction failed first, counted from 1.
    pub index: Option<usize>,
}

impl Refusal {
    const fn new(kind: ErrorKind) -> Self {
        Self { kind, current: None, index: None }
    }

    const fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}

/// What one revision changed, in all keyspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// Its events, in order, each in a keyspace.
    pub events: Vec<(Keyspace, Event)>,
}

/// The full name of an entry.
pub type Name = (Keyspace, Key);

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

    /// Writes a value.
    ///
    /// # Errors
    /// By the condition; `UNAVAILABLE` if the store is full; `INVALID` if there are no conditions.
    pub fn put(
        &mut self,
        now: UnixMillis,
        name: &Name,
        value: Value,
        options: PutOptions,
    ) -> Result<Entry, Refusal> {
        let (keyspace, key) = name.clone();
        let results = self.write(now, &keyspace, &[Operation::Put { key, value, options }]);
        match results.map_err(|refusal| Refusal { index: None, ..refusal })?.pop() {
            Some(OperationResult::Put(entry)) => Ok(entry),
            other => unreachable!("a put gives an entry, not {other:?}"),
        }
    }

    /// Deletes a key; answers whether it was present.
    ///
    /// # Errors
    /// By the condition; `INVALID` if there are no conditions.
    pub fn delete(
        &mut self,
        now: UnixMillis,
        name: &Name,
        if_version: Option<Version>,
    ) -> Result<bool, Refusal> {
        let (keyspace, key) = name.clone();
        let results = self.write(now, &keyspace, &[Operation::Delete { key, if_version }]);
        match results.map_err(|refusal| Refusal { index: None, ..refusal })?.pop() {
            Some(OperationResult::Deleted(was_present)) => Ok(was_present),
            other => unreachable!("a delete tells whether there was a key, not {other:?}"),
        }
    }

    /// Runs operations, all or none, against the state before.
    ///
    /// # Errors
    /// `INVALID` if there are no transactions, a key occurs twice or a limit is passed; else that
    /// of the first operation that fails.
    pub fn transact(
        &mut self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
    ) -> Result<Vec<OperationResult>, Refusal> {
        let invalid = Refusal::new(ErrorKind::Invalid);
        if !self.profile.transact || operations.len() > TRANSACTION_OPERATIONS_MAX {
            return Err(invalid);
        }
        let mut keys = BTreeSet::new();
        for (index, operation) in (1..).zip(operations) {
            if !keys.insert(operation.key()) {
                return Err(invalid.at(index));
            }
        }
        let bytes: usize = operations.iter().map(operation_bytes).sum();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(invalid);
        }
        self.write(now, keyspace, operations)
    }

    /// Writes within the limits of the store.
    fn write(
        &mut self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
    ) -> Result<Vec<OperationResult>, Refusal> {
        let invalid = Refusal::new(ErrorKind::Invalid);
        for (index, operation) in (1..).zip(operations) {
            let condition = operation.condition();
            if condition != Condition::None && !self.profile.conditional_put {
                return Err(invalid);
            }
            // A version of another kind of store: it could not have been one of this store's.
            if condition == Condition::Version(Version::Unversioned) {
                return Err(invalid.at(index));
            }
        }
        self.judge_all(now, keyspace, operations)?;
        // New keys beyond the limit are refused, unless as many keys go in the same transaction.
        let size_max = self.profile.size_max.unwrap_or(usize::MAX);
        let (mut live, mut len) = (self.live(now), self.len());
        let (live_before, len_before) = (live, len);
        for operation in operations {
            let name = (keyspace.clone(), operation.key().clone());
            let is_live = self.entry(now, &name).is_some();
            match operation {
                Operation::Put { .. } => {
                    live += usize::from(!is_live);
                    len += usize::from(!self.entries.contains_key(&name));
                }
                Operation::Delete { .. } => {
                    live -= usize::from(is_live);
                    len -= usize::from(is_live);
                }
                Operation::Check { .. } => {}
            }
        }
        if live > live_before && live > size_max {
            return Err(Refusal::new(ErrorKind::Unavailable));
        }
        let make_room = len > len_before && len > size_max;
        self.commit(now, keyspace, operations, make_room)
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
        let (keyspace, key) = name.clone();
        match operation {
            Operation::Check { .. } => OperationResult::Checked,
            Operation::Delete { .. } => {
                let was_present = self.entry(now, &name).is_some();
                if was_present {
                    self.entries.remove(&name);
                    events.push((keyspace, Event { kind: EventKind::Delete, key, entry: None }));
                }
                OperationResult::Deleted(was_present)
            }
            Operation::Put { value, options, .. } => {
                let deadline = options.ttl.map(|ttl| now.after(ttl.as_ms()));
                let stored = Stored { value: value.clone(), version, deadline };
                let entry = to_entry(&key, &stored);
                let replaced = self.entries.insert(name, stored);
                if replaced.is_some_and(|replaced| replaced.is_expired(now)) {
                    let kind = EventKind::Expire;
                    events.push((keyspace.clone(), Event { kind, key: key.clone(), entry: None }));
                }
                let entry_then = Some(entry.clone());
                events.push((keyspace, Event { kind: EventKind::Put, key, entry: entry_then }));
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
            let (keyspace, key) = name;
            events.push((keyspace, Event { kind: EventKind::Expire, key, entry: None }));
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
        let too_late = Err(Refusal::new(ErrorKind::Invalid));
        let Version::Numbered { epoch, revision } = version else { return too_late };
        let is_known = revision >= self.revision - self.history.len() as u64;
        if epoch != self.epoch || !is_known || revision > self.revision {
            return too_late;
        }
        Ok(self.history.iter().filter(|change| change.number > revision).cloned().collect())
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

fn to_entry(key: &Key, stored: &Stored) -> Entry {
    Entry {
        key: key.clone(),
        value: stored.value.clone(),
        version: stored.version,
        expires_at: stored.deadline,
    }
}

fn operation_bytes(operation: &Operation) -> usize {
    let value = match operation {
        Operation::Put { value, .. } => encoded_bytes(value),
        Operation::Delete { .. } | Operation::Check { .. } => 0,
    };
    operation.key().as_str().len() + value
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
