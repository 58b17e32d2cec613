//! Two worlds that differ in what the restricted actor may not know.

use std::fmt::Debug;
use std::time::Duration;

use plimsoll::entry::{Condition, Key, ListQuery, Operation, PutOptions, Ttl, Version};
use plimsoll::error::Result;
use plimsoll::store::{StoreHandle, Watch, WatchQuery};
use plimsoll::value::Value;

use super::Verdict;
use super::steps::{After, Call, KEYS, Part, Pick, Step, VersionPick, WATCHES_MAX};
use crate::explore::Recorder;
use crate::kinds::{Fixture, ID, Kind};
use crate::policies::{Question, Setup};

/// The worlds, and what the actor was told so far: the same in both.
pub struct Worlds {
    worlds: [World; 2],
    knowledge: Vec<Knowledge>,
    /// What the host writes where the actor may know nothing: in the second world elsewhere.
    elsewhere: Vec<usize>,
    host_writes: u64,
    actor_writes: u64,
    versions: Vec<Version>,
    cursor: String,
}

struct World {
    name: char,
    fixture: Fixture,
    host: StoreHandle,
    actor: StoreHandle,
    watches: Vec<Watch>,
}

/// What the actor may know of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Everything.
    All,
    /// Whether it is there: it may be asked for, or be deleted.
    Presence,
    /// Nothing.
    None,
}

impl Worlds {
    pub async fn open(kind: Kind, setup: &Setup) -> Self {
        let may = |action, key| {
            setup.allows(Question { action, resource: ID, key: Some(key), prefix: None })
        };
        let knowledge: Vec<_> = KEYS
            .iter()
            .map(|key| match (may("store.key.get", key), may("store.key.has", key)) {
                (true, _) => Knowledge::All,
                (false, true) => Knowledge::Presence,
                (false, false) if may("store.key.delete", key) => Knowledge::Presence,
                (false, false) => Knowledge::None,
            })
            .collect();
        Self {
            worlds: [World::open(kind, 'A', setup).await, World::open(kind, 'B', setup).await],
            elsewhere: elsewhere(&knowledge),
            knowledge,
            host_writes: 0,
            actor_writes: 0,
            versions: Vec::new(),
            cursor: String::new(),
        }
    }

    pub async fn step(&mut self, step: &Step, recorder: &mut Recorder) -> Verdict {
        match step {
            Step::Begin(_) => {}
            Step::HostPut { keys, ttl_ms } => self.host_put(keys, *ttl_ms).await,
            Step::HostDelete { key } => self.host_delete(*key).await,
            Step::Pass(milliseconds) => {
                for world in &self.worlds {
                    world.fixture.clock.advance_ms(*milliseconds);
                }
            }
            Step::Call(call) => return self.call(call, recorder).await,
        }
        Ok(())
    }

    /// One revision in both worlds.
    async fn host_put(&mut self, keys: &[usize], ttl_ms: u64) {
        self.host_writes += 1;
        let ttl = Ttl::from_ms(ttl_ms).unwrap();
        for (world, number) in self.worlds.iter().zip(0_u64..) {
            let mut operations = Vec::new();
            for &key in keys {
                let secret = format!("vault-{}-{}", world.name, self.host_writes);
                let (key, value) = match (self.knowledge[key], number) {
                    (Knowledge::All, _) => (key, format!("open-{}", self.host_writes)),
                    (Knowledge::None, 1) => (self.elsewhere[key], secret),
                    (Knowledge::Presence | Knowledge::None, _) => (key, secret),
                };
                let options = PutOptions { ttl, condition: Condition::None };
                operations.push(Operation::Put { key: name(key), value: value.into(), options });
            }
            world.host_writes(&operations).await;
        }
    }

    /// Of a key whose presence the actor may not know, a delete would take a revision in one world
    /// and none in the other: revisions are counted for everyone.
    async fn host_delete(&mut self, key: usize) {
        if self.knowledge[key] == Knowledge::None {
            return;
        }
        for world in &self.worlds {
            world.host.delete(KEYS[key], None).await.unwrap();
        }
    }

    async fn call(&mut self, call: &Call, recorder: &mut Recorder) -> Verdict {
        recorder.mark("calls");
        self.actor_writes += 1;
        let (first, learned) = self.call_in(0, call, recorder).await;
        let (second, _) = self.call_in(1, call, recorder).await;
        let answers = [first, second];
        self.learn(learned, &answers[0], recorder);
        recorder.note(|| answers[0].clone());
        let named = call.named();
        for (world, answer) in self.worlds.iter().zip(&answers) {
            let place = format!("in world {}: {answer}", world.name);
            if answer.contains("vault-") {
                return Err(format!("a value that may not be read {place}"));
            }
            for (key, knowledge) in KEYS.iter().zip(&self.knowledge) {
                let is_told = answer.contains(key) && !named.contains(key);
                if is_told && *knowledge != Knowledge::All {
                    return Err(format!("a key that may not be read, {key}, {place}"));
                }
            }
        }
        if answers[0] == answers[1] {
            return Ok(());
        }
        Err(format!("the worlds answer differently:\n      {}\n      {}", answers[0], answers[1]))
    }

    /// The answer of one world, as text, and what the actor can use of it.
    async fn call_in(
        &mut self,
        number: usize,
        call: &Call,
        recorder: &mut Recorder,
    ) -> (String, Learner) {
        let value = || Value::from(format!("mine-{}", self.actor_writes));
        let actor = self.worlds[number].actor.clone();
        let mut learner = Learner { told: Vec::new(), cursor: None };
        let text = match call {
            Call::Get(key) => shown(&actor.get(KEYS[*key]).await),
            Call::Entry(key) => {
                let entry = actor.entry(KEYS[*key]).await;
                learner.told.extend(entry.iter().flatten().map(|entry| entry.version));
                shown(&entry)
            }
            Call::Has(key) => shown(&actor.has(KEYS[*key]).await),
            Call::Set { key, ttl_ms } => {
                let set = actor.set(KEYS[*key], value(), Ttl::from_ms(*ttl_ms).unwrap()).await;
                if number == 0 && set.is_ok() && self.knowledge[*key] == Knowledge::None {
                    recorder.mark("a write where nothing may be known");
                }
                shown(&set)
            }
            Call::Put { key, condition } => {
                let options = PutOptions { ttl: None, condition: self.condition(*condition) };
                let entry = actor.put(KEYS[*key], value(), options).await;
                learner.told.extend(entry.iter().map(|entry| entry.version));
                shown(&entry)
            }
            Call::Delete { key, condition } => {
                let if_version = match self.condition(*condition) {
                    Condition::Version(version) => Some(version),
                    Condition::None | Condition::Absent => None,
                };
                shown(&actor.delete(KEYS[*key], if_version).await)
            }
            Call::List { prefix, after, limit } => {
                let page = actor.list(&self.query(prefix, *after, *limit)).await;
                learner.cursor = page.as_ref().ok().map(|page| page.cursor.clone());
                if number == 0 {
                    self.mark_page(&page, recorder);
                }
                shown(&page)
            }
            Call::Transact(parts) => {
                let parts = parts.iter().map(|part| self.operation(part, value()));
                shown(&actor.transact(&parts.collect::<Vec<_>>()).await)
            }
            Call::Watch { prefix, after } => {
                let after = after.map(|pick| self.version(pick));
                let query = WatchQuery { prefix: prefix.to_vec(), after };
                let watch = actor.watch(&query).await;
                let text = shown(&watch);
                self.worlds[number].watches.extend(watch);
                if self.worlds[number].watches.len() > WATCHES_MAX {
                    self.worlds[number].watches.remove(0);
                }
                text
            }
            Call::Next(watch) => match self.worlds[number].watches.get_mut(*watch) {
                Some(watch) => {
                    let next = watch.next(Some(Duration::ZERO)).await;
                    if let Ok(Some(change)) = &next {
                        learner.told.push(change.revision);
                        recorder.mark("changes told");
                    }
                    shown(&next)
                }
                None => String::new(),
            },
            Call::Info => shown(&actor.info()),
        };
        (text, learner)
    }

    fn learn(&mut self, learner: Learner, text: &str, recorder: &mut Recorder) {
        self.versions.extend(learner.told);
        self.cursor = learner.cursor.unwrap_or(std::mem::take(&mut self.cursor));
        for kind in ["PermissionDenied", "Conflict", "AlreadyExists", "NotFound"] {
            if text.starts_with(&format!("Err({kind}")) {
                recorder.mark(kind);
            }
        }
    }

    fn mark_page(&self, page: &Result<plimsoll::entry::Page>, recorder: &mut Recorder) {
        let Ok(page) = page else { return };
        recorder.mark("pages");
        if page.has_more {
            recorder.mark("pages with more behind them");
        }
        if self.knowledge.iter().any(|knowledge| *knowledge != Knowledge::All) {
            recorder.mark("pages of a restricted reader");
        }
    }

    fn query(&self, prefix: &[u8], after: After, limit: usize) -> ListQuery {
        let after = match after {
            After::Start => "",
            After::Cursor => &self.cursor,
            After::Key(key) => KEYS[key],
        };
        ListQuery::new().prefix(prefix).after(after).limit(limit)
    }

    fn operation(&self, part: &Part, value: Value) -> Operation {
        let key = name(part.key());
        match part {
            Part::Put(_, pick) => {
                let options = PutOptions { ttl: None, condition: self.condition(*pick) };
                Operation::Put { key, value, options }
            }
            Part::Delete(_, pick) => {
                let if_version = match self.condition(*pick) {
                    Condition::Version(version) => Some(version),
                    Condition::None | Condition::Absent => None,
                };
                Operation::Delete { key, if_version }
            }
            Part::Check(_, pick) => {
                let condition = match self.condition(*pick) {
                    Condition::None => Condition::Absent,
                    condition => condition,
                };
                Operation::Check { key, condition }
            }
        }
    }

    fn condition(&self, pick: Pick) -> Condition {
        match pick {
            Pick::None => Condition::None,
            Pick::Absent => Condition::Absent,
            Pick::Version(pick) => Condition::Version(self.version(pick)),
        }
    }

    fn version(&self, pick: VersionPick) -> Version {
        let epoch = self.worlds[0].fixture.epoch();
        match pick {
            VersionPick::Told(back) if back < self.versions.len() => {
                self.versions[self.versions.len() - 1 - back]
            }
            VersionPick::Told(_) => Version::Unversioned,
            VersionPick::Forged(revision) => Version::Numbered { epoch, revision },
        }
    }
}

/// What the actor takes from an answer for later calls.
struct Learner {
    told: Vec<Version>,
    cursor: Option<String>,
}

impl World {
    async fn open(kind: Kind, name: char, setup: &Setup) -> Self {
        let fixture = Fixture::open(kind, 0).await;
        let rights = setup.policies().rights(&setup.actor.to_actor(), ID);
        let (host, actor) = (fixture.acquire(), fixture.acquire_with_rights(rights));
        Self { name, fixture, host, actor, watches: Vec::new() }
    }

    async fn host_writes(&self, operations: &[Operation]) {
        if self.host.info().unwrap().transact {
            self.host.transact(operations).await.unwrap();
            return;
        }
        for operation in operations {
            let Operation::Put { key, value, options } = operation else { unreachable!() };
            self.host.put(key.as_str(), value.clone(), *options).await.unwrap();
        }
    }
}

/// Another key for each of which nothing may be known, if there is one: the next of them.
fn elsewhere(knowledge: &[Knowledge]) -> Vec<usize> {
    let hidden = |key: &usize| knowledge[*key] == Knowledge::None;
    let next = |key| {
        let mut others = (key + 1..KEYS.len()).chain(0..=key);
        others.find(hidden).unwrap_or(key)
    };
    (0..KEYS.len()).map(next).collect()
}

fn name(key: usize) -> Key {
    Key::new(KEYS[key]).unwrap()
}

/// All that an answer tells; of an error whether to retry, too.
fn shown<T: Debug>(answer: &Result<T>) -> String {
    match answer {
        Ok(answer) => format!("Ok({answer:?})"),
        Err(error) => format!("Err({error:?}, retryable: {})", error.retryable()),
    }
}
