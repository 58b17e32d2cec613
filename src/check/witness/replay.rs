//! A store replayed at speed: what the [specification](crate::check::spec) says, in ordered maps
//! that borrow everything from the history and compare answers where they lie.
//!
//! No trust: a property compares it with the specification, and the
//! [verifier](crate::check::certificate) uses only that. Invariant: `deadlines` holds exactly the
//! entries in memory that have a deadline.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::check::certificate::Step;
use crate::check::deliveries::Made;
use crate::check::history::{
    Answer, Call, Label, Observation, Outcome, Request, Short, Upkeep, Work,
};
use crate::check::parts::{Effect, Part, parts};
use crate::check::spec::{Refusal, Revision};
use crate::clock::UnixMillis;
use crate::entry::{
    Condition, Entry, Event, EventKind, Key, ListQuery, OperationResult, Page, Version,
};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::limits::{PAGE_BYTES_MAX, REMOVALS_MAX};
use crate::mutant::mutant;
use crate::value::{Encoded, Value};

/// A store, somewhere in the recorded order.
pub(super) struct Replay<'a> {
    epoch: u64,
    revision: u64,
    time: UnixMillis,
    is_started: bool,
    spaces: BTreeMap<&'a Keyspace, Space<'a>>,
    deadlines: BTreeSet<(UnixMillis, &'a Keyspace, &'a Key)>,
    latest_call: u64,
    /// What the step under way changed so far.
    changes: Vec<Change<'a>>,
    /// Every revision so far, if they are wanted.
    revisions: Vec<Made>,
    is_recording: bool,
}

type Space<'a> = BTreeMap<&'a [u8], Stored<'a>>;

#[derive(Clone, Copy)]
struct Stored<'a> {
    key: &'a Key,
    value: &'a Value,
    version: Version,
    deadline: Option<UnixMillis>,
    made_by: Step,
}

impl Stored<'_> {
    fn is_live(&self, now: UnixMillis) -> bool {
        mutant!("ttl is ignored") || self.deadline.is_none_or(|deadline| now < deadline)
    }
}

/// An answer that the store would not have given.
pub(super) struct Mismatch {
    /// What it is, in words.
    pub explanation: String,
    /// What made the entry that should have been seen.
    pub made_by: Option<Step>,
    /// The version that was seen instead.
    pub seen: Option<Version>,
    /// Whether nothing in the order has made that version yet.
    pub is_unmade: bool,
}

impl Mismatch {
    fn new(explanation: impl Into<String>) -> Self {
        Self { explanation: explanation.into(), made_by: None, seen: None, is_unmade: false }
    }
}

type Checked = Result<(), Mismatch>;

impl<'a> Replay<'a> {
    /// An empty store; its epoch is that of the first step.
    pub const fn new(is_recording: bool) -> Self {
        Self {
            epoch: 0,
            revision: 0,
            time: UnixMillis(0),
            is_started: false,
            spaces: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            latest_call: 0,
            changes: Vec::new(),
            revisions: Vec::new(),
            is_recording,
        }
    }

    /// Does what a step of upkeep did.
    pub fn upkeep(&mut self, step: Step, upkeep: &Upkeep) -> Checked {
        if upkeep.work == Work::Restore {
            self.epoch = upkeep.label.epoch;
            self.is_started = true;
        }
        self.pass(upkeep.label)?;
        if upkeep.work == Work::Advance {
            self.advance(step);
        }
        Ok(())
    }

    /// Makes a call, and compares its answer.
    pub fn call(&mut self, step: Step, call: &'a Call) -> Checked {
        let label = call.label.expect("only calls with a label are in the order");
        self.pass(label)?;
        self.latest_call = self.latest_call.max(call.called_at);
        match &call.request {
            Request::Get(key) | Request::Entry(key) => self.read(call, key),
            Request::Has(key) => {
                let stored = self.live(&call.keyspace, key);
                if call.outcome == Outcome::Ok(Answer::Present(stored.is_some())) {
                    return Ok(());
                }
                Err(self.wrong_state(call, key, describe(stored), stored, None))
            }
            Request::List(query) => self.list(call, query),
            Request::Put(_) | Request::Delete(_) | Request::Transact(_) => self.command(step, call),
        }
    }

    /// Every revision that was made, if they were wanted.
    pub fn into_revisions(self) -> Vec<Made> {
        self.revisions
    }

    /// Lets time pass to that of a label, which must fit.
    fn pass(&mut self, label: Label) -> Checked {
        if !self.is_started {
            self.is_started = true;
            self.epoch = label.epoch;
        }
        if label.epoch != self.epoch {
            let (new, old) = (label.epoch, self.epoch);
            let explanation =
                format!("at {label} the epoch was {new:x}, which had not begun: it was {old:x}");
            return Err(Mismatch::new(explanation));
        }
        if label.log_time < self.time {
            let explanation =
                format!("log time went back from {} to {}", self.time.0, label.log_time.0);
            return Err(Mismatch::new(explanation));
        }
        self.time = label.log_time;
        Ok(())
    }

    /// Removes expired entries, as many as one command does.
    fn advance(&mut self, step: Step) {
        while let Some(&(deadline, keyspace, key)) = self.deadlines.first()
            && deadline <= self.time
            && self.changes.len() < REMOVALS_MAX
        {
            self.deadlines.pop_first();
            self.space(keyspace).remove(key.as_str().as_bytes());
            self.changes.push((EventKind::Expire, keyspace, key, None));
        }
        self.close_revision(step);
    }

    fn read(&self, call: &Call, key: &Key) -> Checked {
        let stored = self.live(&call.keyspace, key);
        match (&call.outcome, stored) {
            (Outcome::Ok(Answer::Entry(seen)), Some(stored)) if is_entry(seen, stored) => Ok(()),
            (Outcome::Failed(refusal), None) if **refusal == refused(ErrorKind::NotFound) => Ok(()),
            (outcome, _) => {
                let seen = match outcome {
                    Outcome::Ok(Answer::Entry(seen)) => Some(seen.version),
                    _ => None,
                };
                Err(self.wrong_state(call, key, describe(stored), stored, seen))
            }
        }
    }

    fn list(&self, call: &Call, query: &ListQuery) -> Checked {
        let Outcome::Ok(Answer::Page(page)) = &call.outcome else {
            return Err(Mismatch::new("a list is answered with a page"));
        };
        if mutant!("pages are not compared") {
            return Ok(());
        }
        let mut items = page.items.iter();
        let (mut count, mut bytes) = (0, 0);
        for stored in self.matching(&call.keyspace, query) {
            if count == query.items_max() || bytes >= PAGE_BYTES_MAX {
                return self.end_of_page(call, page, items.next(), true);
            }
            let item = items.next();
            if !item.is_some_and(|item| is_item(item, stored)) {
                let seen = item.filter(|item| item.key == *stored.key).map(|item| item.version);
                return Err(self.wrong_state(
                    call,
                    stored.key,
                    describe(Some(stored)),
                    Some(stored),
                    seen,
                ));
            }
            count += 1;
            bytes += stored.key.as_str().len() + encoded_bytes(stored.value);
        }
        self.end_of_page(call, page, items.next(), false)
    }

    /// Compares what a page says about its own end.
    fn end_of_page(
        &self,
        call: &Call,
        page: &Page,
        extra: Option<&Entry>,
        has_more: bool,
    ) -> Checked {
        if let Some(extra) = extra {
            let stored = self.live(&call.keyspace, &extra.key);
            let shown = format!("{} or beyond the end of the page", describe(stored));
            return Err(self.wrong_state(call, &extra.key, shown, stored, Some(extra.version)));
        }
        let cursor = page.items.last().map_or("", |last| last.key.as_str());
        if page.has_more != has_more || page.cursor != cursor {
            let explanation = format!(
                "call {} lists a page that ends with has_more {} and cursor {:?}, but it was {has_more} \
                 and {cursor:?}",
                call.id, page.has_more, page.cursor,
            );
            return Err(Mismatch::new(explanation));
        }
        Ok(())
    }

    /// The live entries that a query is about, in order.
    fn matching(&self, keyspace: &Keyspace, query: &ListQuery) -> impl Iterator<Item = Stored<'a>> {
        let ListQuery { prefix, after, .. } = query;
        let start = if after >= prefix && !after.is_empty() {
            Bound::Excluded(after.as_slice())
        } else {
            Bound::Included(prefix.as_slice())
        };
        let space = self.spaces.get(keyspace);
        let range = space.map(|space| space.range::<[u8], _>((start, Bound::Unbounded)));
        range
            .into_iter()
            .flatten()
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, stored)| *stored)
            .filter(|stored| stored.is_live(self.time))
    }

    /// Executes a command, if its conditions hold.
    fn command(&mut self, step: Step, call: &'a Call) -> Checked {
        let is_transaction = matches!(call.request, Request::Transact(_));
        for (index, part) in (1..).zip(parts(&call.request)) {
            if part.condition == Condition::None {
                continue;
            }
            let stored = self.live(&call.keyspace, part.key);
            let Some(refusal) = judge(part.condition, stored) else { continue };
            let refusal = Refusal { index: is_transaction.then_some(index), ..refusal };
            return match &call.outcome {
                Outcome::Unknown => Ok(()),
                Outcome::Failed(told) if **told == refusal => Ok(()),
                outcome => {
                    let seen = match outcome {
                        Outcome::Failed(told) => told.current,
                        _ => call.version_made(),
                    };
                    Err(self.wrong_state(call, part.key, describe(stored), stored, seen))
                }
            };
        }
        self.execute(step, call, is_transaction)
    }

    /// Executes a command whose conditions hold.
    fn execute(&mut self, step: Step, call: &'a Call, is_transaction: bool) -> Checked {
        if let Outcome::Failed(told) = &call.outcome {
            let index = told.index.unwrap_or(1);
            let part = parts(&call.request).nth(index.saturating_sub(1));
            let key =
                part.map(|part| part.key).ok_or_else(|| Mismatch::new("no such operation"))?;
            let stored = self.live(&call.keyspace, key);
            return Err(self.wrong_state(call, key, describe(stored), stored, told.current));
        }
        let version = Version::Numbered { epoch: self.epoch, revision: self.revision + 1 };
        let results = match &call.outcome {
            Outcome::Ok(Answer::Transacted(results)) if is_transaction => Some(results.as_ref()),
            _ => None,
        };
        if results.is_some_and(|results| results.len() != parts(&call.request).count()) {
            return Err(Mismatch::new("a transaction has one result for each operation"));
        }
        for (position, part) in parts(&call.request).enumerate() {
            let (done, before) = self.execute_part(step, call, part, version);
            let is_as_told = match (&call.outcome, results) {
                (Outcome::Unknown, _) => true,
                (_, Some(results)) => is_result(&results[position], done),
                (Outcome::Ok(answer), None) if !is_transaction => is_answer(answer, done),
                _ => false,
            };
            if !is_as_told {
                let should = match done {
                    Done::Put(stored) => describe(Some(stored)),
                    Done::Deleted(_) | Done::Checked => describe(before),
                };
                return Err(self.wrong_state(call, part.key, should, before, call.version_made()));
            }
        }
        self.close_revision(step);
        Ok(())
    }

    /// Executes a part; answers what it did, and what was there before.
    fn execute_part(
        &mut self,
        step: Step,
        call: &'a Call,
        part: Part<'a>,
        version: Version,
    ) -> (Done<'a>, Option<Stored<'a>>) {
        let (keyspace, key, now) = (&call.keyspace, part.key, self.time);
        let bytes = key.as_str().as_bytes();
        match part.effect {
            Effect::Check => (Done::Checked, None),
            Effect::Delete => {
                let live = self.live(keyspace, key);
                if live.is_some() {
                    self.space(keyspace).remove(bytes);
                    self.forget_deadline(keyspace, live);
                    self.changes.push((EventKind::Delete, keyspace, key, None));
                }
                (Done::Deleted(live.is_some()), live)
            }
            Effect::Put { value, ttl } => {
                let deadline = ttl.map(|ttl| now.after(ttl.as_ms()));
                let stored = Stored { key, value, version, deadline, made_by: step };
                let replaced = self.space(keyspace).insert(bytes, stored);
                self.forget_deadline(keyspace, replaced);
                if replaced.is_some_and(|replaced| !replaced.is_live(now)) {
                    self.changes.push((EventKind::Expire, keyspace, key, None));
                }
                if let Some(deadline) = deadline {
                    self.deadlines.insert((deadline, keyspace, key));
                }
                self.changes.push((EventKind::Put, keyspace, key, Some(stored)));
                (Done::Put(stored), replaced)
            }
        }
    }

    fn forget_deadline(&mut self, keyspace: &'a Keyspace, stored: Option<Stored<'a>>) {
        if let Some(Stored { key, deadline: Some(deadline), .. }) = stored {
            self.deadlines.remove(&(deadline, keyspace, key));
        }
    }

    /// Counts the changes of a step as a revision, if there are any.
    fn close_revision(&mut self, step: Step) {
        if self.changes.is_empty() {
            return;
        }
        self.revision += 1;
        if self.is_recording {
            let events = self.changes.iter().map(to_event).collect();
            let revision = Revision { number: self.revision, events };
            let (epoch, latest_call) = (self.epoch, self.latest_call);
            self.revisions.push(Made { epoch, revision, step, latest_call });
        }
        self.changes.clear();
    }

    fn space(&mut self, keyspace: &'a Keyspace) -> &mut Space<'a> {
        self.spaces.entry(keyspace).or_default()
    }

    /// The entry of a key, if it is present.
    fn live(&self, keyspace: &Keyspace, key: &Key) -> Option<Stored<'a>> {
        let stored = *self.spaces.get(keyspace)?.get(key.as_str().as_bytes())?;
        stored.is_live(self.time).then_some(stored)
    }

    /// An answer that is wrong about a key.
    fn wrong_state(
        &self,
        call: &Call,
        key: &Key,
        should: String,
        stored: Option<Stored<'_>>,
        seen: Option<Version>,
    ) -> Mismatch {
        let seen = seen.filter(|seen| stored.is_none_or(|stored| stored.version != *seen));
        let is_unmade = match seen {
            Some(Version::Numbered { epoch, revision }) => {
                epoch == self.epoch && revision > self.revision
            }
            Some(Version::Unversioned | Version::Stamped { .. }) | None => false,
        };
        let told = seen.map_or(String::new(), |seen| format!(" (it was told {})", Short(seen)));
        let explanation = format!(
            "call {} of client {} should have found {key:?} {should}{told}, at log time {}",
            call.id, call.client, self.time.0
        );
        Mismatch { explanation, made_by: stored.map(|stored| stored.made_by), seen, is_unmade }
    }
}

/// What one revision changed.
type Change<'a> = (EventKind, &'a Keyspace, &'a Key, Option<Stored<'a>>);

/// What a part of a command did.
#[derive(Clone, Copy)]
enum Done<'a> {
    Put(Stored<'a>),
    Deleted(bool),
    Checked,
}

/// How a condition fails, if it does.
fn judge(condition: Condition, stored: Option<Stored<'_>>) -> Option<Refusal> {
    match (condition, stored.map(|stored| stored.version)) {
        (Condition::None, _) | (Condition::Absent, None) => None,
        (Condition::Absent, current) => {
            Some(Refusal { current, ..refused(ErrorKind::AlreadyExists) })
        }
        (Condition::Version(_), None) => Some(refused(ErrorKind::NotFound)),
        (Condition::Version(required), Some(current)) if required == current => None,
        (Condition::Version(_), current) => {
            Some(Refusal { current, ..refused(ErrorKind::Conflict) })
        }
    }
}

const fn refused(kind: ErrorKind) -> Refusal {
    Refusal { kind, current: None, index: None }
}

fn is_answer(answer: &Answer, done: Done<'_>) -> bool {
    match (answer, done) {
        (Answer::Entry(seen), Done::Put(stored)) => is_entry(seen, stored),
        (Answer::Present(told), Done::Deleted(was_present)) => *told == was_present,
        _ => false,
    }
}

fn is_result(result: &OperationResult, done: Done<'_>) -> bool {
    match (result, done) {
        (OperationResult::Put(entry), Done::Put(stored)) => is_item(entry, stored),
        (OperationResult::Deleted(told), Done::Deleted(was_present)) => *told == was_present,
        (OperationResult::Checked, Done::Checked) => true,
        _ => false,
    }
}

fn is_entry(seen: &Observation, stored: Stored<'_>) -> bool {
    seen.version == stored.version
        && seen.expires_at == stored.deadline
        && is_value(&seen.value, stored.value)
}

fn is_item(entry: &Entry, stored: Stored<'_>) -> bool {
    entry.key == *stored.key
        && entry.version == stored.version
        && entry.expires_at == stored.deadline
        && is_value(&entry.value, stored.value)
}

/// Values are often shared.
fn is_value(seen: &Value, stored: &Value) -> bool {
    std::ptr::eq(seen, stored) || seen == stored
}

fn describe(stored: Option<Stored<'_>>) -> String {
    match stored {
        Some(stored) => format!("at {} = {:?}", Short(stored.version), stored.value),
        None => "absent".to_owned(),
    }
}

fn to_event((kind, keyspace, key, stored): &Change<'_>) -> (Keyspace, Event) {
    let entry = stored.map(|stored| Entry {
        key: stored.key.clone(),
        value: stored.value.clone(),
        version: stored.version,
        expires_at: stored.deadline,
    });
    ((*keyspace).clone(), Event { kind: *kind, key: (*key).clone(), entry })
}

fn encoded_bytes(value: &Value) -> usize {
    Encoded::new(value).expect("values were checked where they came in").len()
}
