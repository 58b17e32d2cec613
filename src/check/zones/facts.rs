//! What the calls of a history say about each key: who made a version, who saw it, who found the key
//! absent or present, who may have changed it.
//!
//! A transaction or a page says something about several keys at once. Whatever did not happen says
//! nothing. What contradicts itself within one version is told here already.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::check::history::{Answer, Call, History, Observation, Outcome, Request, Short};
use crate::check::parts::{Effect, Part, parts};
use crate::check::spec::Refusal;
use crate::check::violation::Violation;
use crate::clock::UnixMillis;
use crate::entry::{Condition, Entry, Key, OperationResult, Version};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::mutant::mutant;
use crate::value::Value;

/// The position of a call in the history.
pub(super) type At = u32;

/// Everything that is known about all keys.
pub(super) struct Facts<'a> {
    pub history: &'a History,
    pub keys: Vec<KeyFacts<'a>>,
    /// Whether a call is about several keys: then keys can't be judged one by one.
    pub has_wide_calls: bool,
    numbers: BTreeMap<&'a Keyspace, BTreeMap<&'a [u8], usize>>,
    makers: BTreeMap<(u64, u64), At>,
}

/// What is known about a key.
pub(super) struct KeyFacts<'a> {
    pub key: &'a Key,
    /// One cluster for each version that was made or seen.
    pub clusters: Vec<Cluster<'a>>,
    /// Who found the key absent.
    pub absents: Vec<At>,
    /// Who found the key present, not saying at which version.
    pub presents: Vec<At>,
    /// Who left the key absent: deletes that happened, whatever they found.
    pub deletes: Vec<At>,
    /// Who found the key present and removed it.
    pub removals: Vec<At>,
    /// Puts that may have happened, or will.
    pub open_puts: Vec<OpenPut<'a>>,
    /// Deletes that may have happened, or will.
    pub open_deletes: Vec<At>,
    numbers: BTreeMap<(u64, u64), usize>,
}

/// A put whose outcome is unknown.
#[derive(Clone, Copy)]
pub(super) struct OpenPut<'a> {
    pub call: At,
    pub value: &'a Value,
    pub has_ttl: bool,
    pub condition: Condition,
}

/// A version, the call that made it, and all that saw it.
pub(super) struct Cluster<'a> {
    pub version: Version,
    /// Who made it, if it says so or nobody else can have.
    pub maker: Option<At>,
    /// No maker can have been called before this.
    pub made_after: u64,
    pub seen_by: Vec<At>,
    /// Whose condition it was, successfully: they saw it last.
    pub taken_by: Option<At>,
    /// The version that took its place at once.
    pub next: Option<usize>,
    pub has_previous: bool,
    value: Option<&'a Value>,
    deadline: Option<Option<UnixMillis>>,
    /// Whether it may expire.
    pub has_ttl: bool,
}

impl<'a> Facts<'a> {
    /// Collects what is known.
    pub fn of(history: &'a History) -> Result<Self, Violation> {
        let mut facts = Self {
            history,
            keys: Vec::new(),
            has_wide_calls: false,
            numbers: BTreeMap::new(),
            makers: BTreeMap::new(),
        };
        for (at, call) in (0..).zip(&history.calls) {
            facts.call(at, call)?;
        }
        // Only now the keys are known.
        for (at, call) in (0..).zip(&history.calls) {
            facts.page(at, call)?;
        }
        for key in &mut facts.keys {
            key.find_makers(history)?;
        }
        Ok(facts)
    }

    /// The call at a position.
    pub fn at(&self, at: At) -> &'a Call {
        &self.history.calls[at as usize]
    }

    fn number(&mut self, keyspace: &'a Keyspace, key: &'a Key) -> usize {
        let numbers = self.numbers.entry(keyspace).or_default();
        *numbers.entry(key.as_str().as_bytes()).or_insert_with(|| {
            self.keys.push(KeyFacts::new(key));
            self.keys.len() - 1
        })
    }

    fn of_key(&mut self, keyspace: &'a Keyspace, key: &'a Key) -> &mut KeyFacts<'a> {
        let number = self.number(keyspace, key);
        &mut self.keys[number]
    }

    fn call(&mut self, at: At, call: &'a Call) -> Result<(), Violation> {
        let history = self.history;
        match (&call.request, &call.outcome) {
            (Request::Get(key) | Request::Entry(key), Outcome::Ok(Answer::Entry(seen))) => {
                self.of_key(&call.keyspace, key).saw_entry(history, at, &Seen::from(seen.as_ref()))
            }
            (Request::Get(key) | Request::Entry(key), Outcome::Failed(refusal)) => {
                if refusal.kind == ErrorKind::NotFound {
                    self.of_key(&call.keyspace, key).absents.push(at);
                }
                Ok(())
            }
            (Request::Has(key), Outcome::Ok(Answer::Present(is_present))) => {
                let key = self.of_key(&call.keyspace, key);
                if *is_present { &mut key.presents } else { &mut key.absents }.push(at);
                Ok(())
            }
            (request, outcome) if request.is_command() => {
                self.has_wide_calls |= parts(request).nth(1).is_some();
                match outcome {
                    Outcome::Unknown => self.may_have_happened(at, call),
                    Outcome::Failed(refusal) => self.refused(at, call, refusal)?,
                    Outcome::Ok(answer) => self.happened(at, call, answer)?,
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A page shows its items, and that the other keys of its range were absent. Keys that no other
    /// kind of call names are known only from the first page on that shows them.
    fn page(&mut self, at: At, call: &'a Call) -> Result<(), Violation> {
        let (Request::List(query), Outcome::Ok(Answer::Page(page))) =
            (&call.request, &call.outcome)
        else {
            return Ok(());
        };
        self.has_wide_calls = true;
        let start = query.prefix.as_slice().max(query.after.as_slice());
        let bytes_of = |item: &'a Entry| item.key.as_str().as_bytes();
        let last = page.items.last().map_or(start, bytes_of);
        let mut items = page.items.iter().peekable();
        let mut strangers = Vec::new();
        let numbers = self.numbers.entry(&call.keyspace).or_default();
        for (key, number) in numbers.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)) {
            if !key.starts_with(&query.prefix) || page.has_more && *key > last {
                break;
            }
            while let Some(item) = items.next_if(|item| bytes_of(item) < *key) {
                strangers.push(item);
            }
            let facts = &mut self.keys[*number];
            match items.next_if(|item| bytes_of(item) == *key) {
                Some(item) => facts.saw_entry(self.history, at, &Seen::from(item))?,
                None if *key > query.after.as_slice() => facts.absents.push(at),
                None => {}
            }
        }
        strangers.extend(items);
        for item in strangers {
            let history = self.history;
            self.of_key(&call.keyspace, &item.key).saw_entry(history, at, &Seen::from(item))?;
        }
        Ok(())
    }

    /// An unknown outcome: any part may have had its effect.
    fn may_have_happened(&mut self, at: At, call: &'a Call) {
        for part in parts(&call.request) {
            let key = self.of_key(&call.keyspace, part.key);
            match part.effect {
                Effect::Put { value, ttl } => {
                    let (has_ttl, condition) = (ttl.is_some(), part.condition);
                    key.open_puts.push(OpenPut { call: at, value, has_ttl, condition });
                }
                Effect::Delete => key.open_deletes.push(at),
                Effect::Check => {}
            }
        }
    }

    /// A refusal: the conditions before the one that failed held.
    fn refused(&mut self, at: At, call: &'a Call, refusal: &Refusal) -> Result<(), Violation> {
        if !call.is_observation() || mutant!("refusals are no observations") {
            return Ok(());
        }
        let failed = refusal.index.unwrap_or(1).saturating_sub(1);
        for (position, part) in parts(&call.request).enumerate().take(failed + 1) {
            if position < failed {
                self.condition_held(at, call, part)?;
                continue;
            }
            let history = self.history;
            let key = self.of_key(&call.keyspace, part.key);
            match (refusal.kind, refusal.current) {
                (ErrorKind::NotFound, _) => key.absents.push(at),
                (_, None) => key.presents.push(at),
                (ErrorKind::Conflict, Some(current))
                    if part.condition == Condition::Version(current) =>
                {
                    let current = Short(current);
                    let explanation = format!(
                        "call {} was refused because {:?} had {current}, the very version that it \
                         required",
                        call.id, part.key,
                    );
                    return Err(Violation::new(explanation, [call]));
                }
                (_, Some(current)) => key.saw_entry(history, at, &Seen::only(current))?,
            }
        }
        Ok(())
    }

    fn condition_held(&mut self, at: At, call: &'a Call, part: Part<'a>) -> Result<(), Violation> {
        let history = self.history;
        let key = self.of_key(&call.keyspace, part.key);
        match part.condition {
            Condition::None => Ok(()),
            Condition::Absent => {
                key.absents.push(at);
                Ok(())
            }
            Condition::Version(version) => key.saw_entry(history, at, &Seen::only(version)),
        }
    }

    fn happened(&mut self, at: At, call: &'a Call, answer: &'a Answer) -> Result<(), Violation> {
        for (position, part) in parts(&call.request).enumerate() {
            let (made, found) = match answer {
                Answer::Entry(made) => (Some(Seen::from(made.as_ref())), None),
                Answer::Present(found) => (None, Some(*found)),
                Answer::Page(_) => (None, None),
                Answer::Transacted(results) => match results.get(position) {
                    Some(OperationResult::Put(made)) => (Some(Seen::from(made)), None),
                    Some(OperationResult::Deleted(found)) => (None, Some(*found)),
                    Some(OperationResult::Checked) | None => (None, None),
                },
            };
            match (part.effect, made) {
                (Effect::Put { value, ttl }, Some(made)) => {
                    self.made(at, call, made.version)?;
                    self.condition_held(at, call, part)?;
                    let history = self.history;
                    let key = self.of_key(&call.keyspace, part.key);
                    key.made(history, at, part, &made)?;
                    let written = Seen { value: Some(value), ..Seen::only(made.version) };
                    let number = key.check(history, at, &written)?;
                    key.clusters[number].has_ttl |= ttl.is_some();
                }
                (Effect::Delete, _) => {
                    self.condition_held(at, call, part)?;
                    let history = self.history;
                    self.of_key(&call.keyspace, part.key).deleted(history, at, part, found)?;
                }
                (Effect::Check | Effect::Put { .. }, _) => self.condition_held(at, call, part)?,
            }
        }
        Ok(())
    }

    /// A version is made by one command only, in whatever keyspace.
    fn made(&mut self, at: At, call: &'a Call, version: Version) -> Result<(), Violation> {
        let Version::Numbered { epoch, revision } = version else { return Ok(()) };
        match self.makers.insert((epoch, revision), at) {
            Some(other) if other != at && !mutant!("version may be made twice") => {
                let explanation = format!(
                    "{} was made by two calls, but no version is used twice",
                    Short(version)
                );
                Err(Violation::new(explanation, [self.at(other), call]))
            }
            _ => Ok(()),
        }
    }
}

/// What a call saw of an entry, as far as it tells.
pub(super) struct Seen<'a> {
    version: Version,
    value: Option<&'a Value>,
    deadline: Option<Option<UnixMillis>>,
}

impl<'a> Seen<'a> {
    const fn only(version: Version) -> Self {
        Self { version, value: None, deadline: None }
    }
}

impl<'a> From<&'a Observation> for Seen<'a> {
    fn from(seen: &'a Observation) -> Self {
        let Observation { value, version, expires_at } = seen;
        Self { version: *version, value: Some(value), deadline: Some(*expires_at) }
    }
}

impl<'a> From<&'a Entry> for Seen<'a> {
    fn from(seen: &'a Entry) -> Self {
        let Entry { value, version, expires_at, .. } = seen;
        Self { version: *version, value: Some(value), deadline: Some(*expires_at) }
    }
}

impl<'a> KeyFacts<'a> {
    const fn new(key: &'a Key) -> Self {
        Self {
            key,
            clusters: Vec::new(),
            absents: Vec::new(),
            presents: Vec::new(),
            deletes: Vec::new(),
            removals: Vec::new(),
            open_puts: Vec::new(),
            open_deletes: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// The number of a version's cluster, if there is one.
    fn known_cluster(&self, version: Version) -> Option<usize> {
        self.numbers.get(&name_of(version)).copied()
    }

    /// The number of a version's cluster, which is made if there is none.
    fn cluster(&mut self, version: Version) -> usize {
        let clusters = &mut self.clusters;
        *self.numbers.entry(name_of(version)).or_insert_with(|| {
            clusters.push(Cluster {
                version,
                maker: None,
                made_after: 0,
                seen_by: Vec::new(),
                taken_by: None,
                next: None,
                has_previous: false,
                value: None,
                deadline: None,
                has_ttl: false,
            });
            clusters.len() - 1
        })
    }

    fn saw_entry(&mut self, history: &History, at: At, seen: &Seen<'a>) -> Result<(), Violation> {
        let number = self.check(history, at, seen)?;
        self.clusters[number].seen_by.push(at);
        Ok(())
    }

    /// All that see a version see the same value and deadline; answers the version's cluster.
    fn check(&mut self, history: &History, at: At, seen: &Seen<'a>) -> Result<usize, Violation> {
        let number = self.cluster(seen.version);
        let cluster = &mut self.clusters[number];
        let is_same_value = match (cluster.value, seen.value) {
            (Some(known), Some(seen)) => std::ptr::eq(known, seen) || known == seen,
            (known, seen) => {
                cluster.value = known.or(seen);
                true
            }
        };
        let is_same_deadline = match (cluster.deadline, seen.deadline) {
            (Some(known), Some(seen)) => known == seen,
            (known, seen) => {
                cluster.deadline = known.or(seen);
                true
            }
        };
        cluster.has_ttl |= cluster.deadline.is_some_and(|deadline| deadline.is_some());
        if is_same_value && is_same_deadline {
            return Ok(number);
        }
        let what = if is_same_value { "two deadlines" } else { "two values" };
        let others = cluster.maker.into_iter().chain(cluster.seen_by.iter().copied());
        let calls = others.filter(|other| *other != at).take(1).chain([at]);
        let explanation = format!("{} of {:?} has {what}", Short(seen.version), self.key);
        Err(Violation::new(explanation, calls.map(|at| &history.calls[at as usize])))
    }

    /// A put made a version, at once after the one that it required.
    fn made(
        &mut self,
        history: &History,
        at: At,
        part: Part<'a>,
        made: &Seen<'a>,
    ) -> Result<(), Violation> {
        let number = self.check(history, at, made)?;
        self.clusters[number].maker = Some(at);
        self.clusters[number].made_after = history.calls[at as usize].called_at;
        if let Condition::Version(required) = part.condition {
            let previous = self.take(history, at, required)?;
            self.clusters[previous].next = Some(number);
            self.clusters[number].has_previous = true;
        }
        Ok(())
    }

    fn deleted(
        &mut self,
        history: &History,
        at: At,
        part: Part<'a>,
        found: Option<bool>,
    ) -> Result<(), Violation> {
        self.deletes.push(at);
        if let Condition::Version(required) = part.condition {
            self.take(history, at, required)?;
            self.removals.push(at);
            if found == Some(false) {
                let call = &history.calls[at as usize];
                let explanation =
                    format!("call {} deleted {} and found no entry", call.id, Short(required));
                return Err(Violation::new(explanation, [call]));
            }
            return Ok(());
        }
        match found {
            Some(true) => {
                self.presents.push(at);
                self.removals.push(at);
            }
            Some(false) => self.absents.push(at),
            None => {}
        }
        Ok(())
    }

    /// A version can satisfy only one write that replaces it.
    fn take(&mut self, history: &History, at: At, required: Version) -> Result<usize, Violation> {
        let number = self.cluster(required);
        if let Some(other) = self.clusters[number].taken_by.replace(at) {
            let explanation = format!(
                "two writes required {} of {:?}, and both succeeded",
                Short(required),
                self.key
            );
            let calls = [other, at].map(|at| &history.calls[at as usize]);
            return Err(Violation::new(explanation, calls));
        }
        Ok(number)
    }

    /// Finds out who may have made the versions of which nobody says so.
    fn find_makers(&mut self, history: &History) -> Result<(), Violation> {
        let mut makers = BTreeMap::new();
        for number in 0..self.clusters.len() {
            if self.clusters[number].maker.is_some() {
                continue;
            }
            let cluster = &self.clusters[number];
            let candidates = self.candidates(history, cluster);
            let version = cluster.version;
            let Some(earliest) = candidates.iter().map(|put| called_at(history, put)).min() else {
                if mutant!("version that nobody made is accepted") {
                    continue;
                }
                let explanation = format!(
                    "{} of {:?} was seen, but nobody can have made it",
                    Short(version),
                    self.key
                );
                let seen_by = cluster.seen_by.iter().take(2);
                return Err(Violation::new(
                    explanation,
                    seen_by.map(|at| &history.calls[*at as usize]),
                ));
            };
            let may_expire = candidates.iter().any(|put| put.has_ttl);
            let only = if candidates.len() == 1 { Some(candidates[0]) } else { None };
            let cluster = &mut self.clusters[number];
            cluster.made_after = earliest;
            cluster.has_ttl |= may_expire;
            let Some(only) = only else { continue };
            cluster.maker = Some(only.call);
            if let Some(other) = makers.insert(only.call, version) {
                let explanation = format!(
                    "{} and {} of {:?} were seen, but only one write can have made them",
                    Short(other),
                    Short(version),
                    self.key
                );
                return Err(Violation::new(explanation, [&history.calls[only.call as usize]]));
            }
            if let Condition::Version(required) = only.condition
                && let Some(previous) = self.known_cluster(required)
            {
                self.take(history, only.call, required)?;
                self.clusters[previous].next = Some(number);
                self.clusters[number].has_previous = true;
            }
        }
        Ok(())
    }

    /// The puts of unknown outcome that may have made what a cluster saw.
    fn candidates(&self, history: &History, cluster: &Cluster<'_>) -> Vec<OpenPut<'a>> {
        let ends = cluster.seen_by.iter().filter_map(|at| history.calls[*at as usize].ended_at());
        let first_end = ends.min().unwrap_or(u64::MAX);
        let may_have_made = |put: &&OpenPut<'_>| {
            called_at(history, put) <= first_end
                && cluster.value.is_none_or(|value| value == put.value)
                && cluster.deadline.is_none_or(|deadline| deadline.is_some() == put.has_ttl)
        };
        self.open_puts.iter().filter(may_have_made).copied().collect()
    }
}

const fn name_of(version: Version) -> (u64, u64) {
    match version {
        Version::Numbered { epoch, revision } => (epoch, revision),
        Version::Unversioned | Version::Stamped { .. } => (0, 0),
    }
}

fn called_at(history: &History, put: &OpenPut<'_>) -> u64 {
    history.calls[put.call as usize].called_at
}
