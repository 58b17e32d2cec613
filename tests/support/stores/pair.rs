//! A store and its specification, side by side: every step is taken by both and compared.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use plimsoll::check::spec::{Profile, Refusal, Spec};
use plimsoll::clock::{Clock as _, UnixMillis};
use plimsoll::entry::{
    Change, Event, ListQuery, Operation, OperationResult, Page, PutOptions, Ttl, Version,
};
use plimsoll::error::{Error, ErrorKind, Outcome, Result};
use plimsoll::keyspace::Keyspace;
use plimsoll::store::{StoreHandle, Watch, WatchQuery};

use super::stamps::Stamps;
use super::steps::Step;
use crate::explore::Recorder;
use crate::kinds::{Fixture, Kind};
use crate::writes::{KEYS, Versions, WriteStep, key};

/// What a step finds wrong.
pub type Verdict = std::result::Result<(), String>;

/// A store, used through a handle, and what it must do.
pub struct Pair {
    fixture: Fixture,
    handle: StoreHandle,
    spec: Spec,
    versions: Versions,
    stamps: RefCell<Stamps>,
    /// Open since the store is, if it can be watched; and the revision up to which it has told.
    watch: Option<(Watch, u64)>,
}

impl Pair {
    /// A new store of a kind, small enough to be full at times.
    pub async fn open(kind: Kind) -> Self {
        Self::on(Fixture::open(kind, SIZE_MAX).await).await
    }

    /// A store that is empty.
    pub async fn on(fixture: Fixture) -> Self {
        let handle = fixture.acquire();
        let spec = new_spec(&fixture);
        let (versions, stamps) = (Versions::default(), RefCell::default());
        let mut pair = Self { fixture, handle, spec, versions, stamps, watch: None };
        pair.watch_from_now().await;
        pair
    }

    /// The store, to be used again.
    #[allow(dead_code, reason = "a fuzz target empties a store; the properties open one anew")]
    pub fn into_fixture(self) -> Fixture {
        self.fixture
    }

    /// Takes a step with both and compares.
    pub async fn step(&mut self, step: &Step, recorder: &mut Recorder) -> Verdict {
        match step {
            Step::Write(write) => self.write(write, recorder).await,
            Step::Set { key, value, ttl_ms } => self.set(*key, *value, *ttl_ms, recorder).await,
            Step::Transact(writes) => self.transact(writes, recorder).await,
            Step::Read(key) => self.read(*key).await,
            Step::List { prefix, after, limit } => {
                let query = ListQuery::new().prefix(*prefix).after(*after).limit(*limit);
                self.page(&query).await.map(drop)
            }
            Step::Scan { prefix, limit } => self.scan(prefix, *limit).await,
            Step::Watch { prefix, key: number, after } => {
                let name = (keyspace(), key(*number));
                let after = self.versions.version(&self.spec, &name, *after);
                self.watch(prefix, after, recorder).await
            }
            Step::Drain => self.drain().await,
            Step::Pass(milliseconds) => {
                self.fixture.clock.advance_ms(*milliseconds);
                Ok(())
            }
            Step::Sweep => self.sweep(),
            Step::Release => self.release(recorder).await,
            Step::Reopen => self.reopen(recorder).await,
        }
    }

    async fn write(&mut self, write: &WriteStep, recorder: &mut Recorder) -> Verdict {
        let now = self.now();
        match self.versions.operation(&self.spec, &keyspace(), write) {
            Operation::Put { key, value, options } => {
                let name = (keyspace(), key);
                let expected = self.spec.put(now, &name, value.clone(), options);
                let mut found = self.handle.put(name.1.as_str(), value, options).await;
                if let Ok(entry) = &mut found {
                    self.versions.learn(name, entry.version);
                    *entry = self.stamps.get_mut().written(entry.clone())?;
                }
                compare_write("put", found, expected, recorder)
            }
            Operation::Delete { key, if_version } => {
                let name = (keyspace(), key);
                let expected = self.spec.delete(now, &name, if_version);
                let found = self.handle.delete(name.1.as_str(), if_version).await;
                compare_write("delete", found, expected, recorder)
            }
            Operation::Check { .. } => self.transact(std::slice::from_ref(write), recorder).await,
        }
    }

    /// A put without a condition, and without an answer but that it was done.
    async fn set(
        &mut self,
        number: usize,
        value: usize,
        ttl_ms: u64,
        recorder: &mut Recorder,
    ) -> Verdict {
        let (name, value) = ((keyspace(), key(number)), crate::writes::value(value));
        let options = PutOptions { ttl: Ttl::from_ms(ttl_ms).unwrap(), ..PutOptions::default() };
        let expected = self.spec.put(self.now(), &name, value.clone(), options);
        if let Ok(entry) = &expected {
            self.versions.learn(name, entry.version);
        }
        let found = self.handle.set(KEYS[number], value, options.ttl).await;
        self.stamps.get_mut().written_untold(&key(number));
        compare_write("set", found, expected.map(drop), recorder)
    }

    async fn transact(&mut self, writes: &[WriteStep], recorder: &mut Recorder) -> Verdict {
        let operations: Vec<_> = writes
            .iter()
            .map(|write| self.versions.operation(&self.spec, &keyspace(), write))
            .collect();
        let expected = self.spec.transact(self.now(), &keyspace(), &operations);
        let found = self.handle.transact(&operations).await;
        for result in found.iter().flatten() {
            if let OperationResult::Put(entry) = result {
                self.versions.learn((keyspace(), entry.key.clone()), entry.version);
            }
        }
        compare_write("transact", found, expected, recorder)
    }

    async fn read(&self, number: usize) -> Verdict {
        let (key, expected) =
            (KEYS[number], self.spec.entry(self.now(), &(keyspace(), key(number))));
        same("has", &self.handle.has(key).await, &Ok(expected.is_some()))?;
        let value = expected.as_ref().map(|entry| entry.value.clone());
        same("get", &self.handle.get(key).await, &Ok(value))?;
        let found = self.handle.entry(key).await;
        let mut stamps = self.stamps.borrow_mut();
        let found = found.map(|found| found.map(|entry| stamps.read(entry)).transpose());
        same("entry", &found, &Ok(Ok(expected)))
    }

    async fn page(&self, query: &ListQuery) -> std::result::Result<Page, String> {
        let expected = self.spec.list(self.now(), &keyspace(), query);
        let mut found = self.handle.list(query).await;
        for entry in found.iter_mut().flat_map(|page| &mut page.items) {
            *entry = self.stamps.borrow_mut().read(entry.clone())?;
        }
        same("page", &found, &Ok(expected.clone()))?;
        Ok(expected)
    }

    /// All pages together are the filter by prefix.
    async fn scan(&self, prefix: &[u8], limit: usize) -> Verdict {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = ListQuery::new().prefix(prefix).after(cursor).limit(limit);
            let page = self.page(&query).await?;
            found.extend(page.items);
            if !page.has_more {
                break;
            }
            cursor = page.cursor;
        }
        let mut expected: Vec<_> = (0..KEYS.len())
            .filter(|number| KEYS[*number].as_bytes().starts_with(prefix))
            .filter_map(|number| self.spec.entry(self.now(), &(keyspace(), key(number))))
            .collect();
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        same("scan", &found, &expected)
    }

    async fn watch(&self, prefix: &[u8], after: Version, recorder: &mut Recorder) -> Verdict {
        let query = WatchQuery { prefix: prefix.to_vec(), after: Some(after) };
        let watch = self.handle.watch(&query).await;
        if !self.spec.profile().watch {
            return same("watch", &watch.map(drop).map_err(|e| e.kind()), &Err(ErrorKind::Invalid));
        }
        let mut watch = match (watch, self.spec.changes_after(after)) {
            (Ok(watch), Ok(_)) => watch,
            (Err(error), Err(refusal)) => {
                recorder.mark("a watch comes too late, or from elsewhere");
                return same("watch", &error.kind(), &refusal.kind);
            }
            (found, expected) => return Err(format!("WRONG watch: {found:?}, not {expected:?}")),
        };
        same("changes", &drained(&mut watch).await?, &self.changes(after, prefix)?)
    }

    async fn drain(&mut self) -> Verdict {
        let Some((watch, seen)) = &mut self.watch else { return Ok(()) };
        let found = drained(watch).await?;
        let after = Version::Numbered { epoch: self.spec.epoch(), revision: *seen };
        *seen = self.spec.revision();
        same("changes of the open watch", &found, &self.changes(after, b"")?)
    }

    fn sweep(&mut self) -> Verdict {
        let Some(found) = self.fixture.sweep() else { return Ok(()) };
        let (now, mut expected) = (self.now(), 0);
        loop {
            match self.spec.advance(now) {
                0 => return same("swept", &found, &expected),
                removed => expected += removed,
            }
        }
    }

    /// A released handle answers `INVALID` to everything but its release.
    async fn release(&mut self, recorder: &mut Recorder) -> Verdict {
        let handle = std::mem::replace(&mut self.handle, self.fixture.acquire());
        same("release", &[handle.release(), handle.release()], &[true, true])?;
        let options = PutOptions::default();
        let check = Operation::Delete { key: key(0), if_version: None };
        let writes = [
            handle.set(KEYS[0], 1, None).await.map(drop),
            handle.put(KEYS[0], 1, options).await.map(drop),
            handle.delete(KEYS[0], None).await.map(drop),
            handle.transact(&[check]).await.map(drop),
        ];
        let reads = [
            handle.get("").await.map(drop),
            handle.entry(KEYS[0]).await.map(drop),
            handle.has(KEYS[0]).await.map(drop),
            handle.list(&ListQuery::new()).await.map(drop),
            handle.watch(&WatchQuery::default()).await.map(drop),
            handle.info().map(drop),
        ];
        let invalid = Refusal { kind: ErrorKind::Invalid, current: None, index: None };
        for write in writes {
            compare_write("a write after release", write, Err(invalid), recorder)?;
        }
        for read in reads {
            same("a read after release", &read.map_err(|e| e.kind()), &Err(ErrorKind::Invalid))?;
        }
        recorder.mark("a handle is released");
        Ok(())
    }

    async fn reopen(&mut self, recorder: &mut Recorder) -> Verdict {
        self.drain().await?;
        self.fixture.reopen().await;
        self.handle = self.fixture.acquire();
        if let Some((mut watch, _)) = self.watch.take() {
            let end = watch.next(None).await.map_err(|error| error.kind());
            same("the end of a watch", &end, &Err(ErrorKind::Canceled))?;
            same("a watch after its end", &watch.next(None).await, &Ok(None))?;
        }
        if !self.fixture.keeps_entries() {
            self.spec = new_spec(&self.fixture);
        }
        self.watch_from_now().await;
        recorder.mark("a store is opened again");
        Ok(())
    }

    async fn watch_from_now(&mut self) {
        if self.spec.profile().watch {
            let watch = self.handle.watch(&WatchQuery::default()).await.unwrap();
            self.watch = Some((watch, self.spec.revision()));
        }
    }

    /// What a watch sees after a version.
    fn changes(&self, after: Version, prefix: &[u8]) -> std::result::Result<Vec<Change>, String> {
        let revisions = self.spec.changes_after(after).map_err(|refusal| format!("{refusal:?}"))?;
        let to_change = |number, events: Vec<(Keyspace, Event)>| Change {
            revision: Version::Numbered { epoch: self.spec.epoch(), revision: number },
            events: events
                .into_iter()
                .map(|(_, event)| event)
                .filter(|event| event.key.as_str().as_bytes().starts_with(prefix))
                .collect(),
        };
        let changes = revisions.into_iter().map(|r| to_change(r.number, r.events));
        Ok(changes.filter(|change| !change.events.is_empty()).collect())
    }

    fn now(&self) -> UnixMillis {
        self.fixture.clock.now()
    }
}

/// The specification of an empty store that supports what `info()` claims.
fn new_spec(fixture: &Fixture) -> Spec {
    let info = fixture.acquire().info().unwrap();
    let profile = Profile {
        // Without conditions nobody needs to foresee a version.
        versioned: info.versioned && info.conditional_put,
        conditional_put: info.conditional_put,
        transact: info.transact,
        watch: info.watch,
        size_max: fixture.size_max(),
    };
    Spec::new(profile, fixture.epoch())
}

/// The changes that a watch has without waiting. Dropping a future that waits loses nothing.
async fn drained(watch: &mut Watch) -> std::result::Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    loop {
        let mut next = pin!(watch.next(None));
        match poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await {
            Poll::Pending => return Ok(changes),
            Poll::Ready(Ok(Some(change))) => changes.push(change),
            Poll::Ready(end) => return Err(format!("WRONG: the watch ends with {end:?}")),
        }
    }
}

fn compare_write<T: PartialEq + Debug>(
    what: &str,
    found: Result<T>,
    expected: std::result::Result<T, Refusal>,
    recorder: &mut Recorder,
) -> Verdict {
    recorder.note(|| format!("{found:?}"));
    match (found, expected) {
        (Ok(found), Ok(expected)) => same(what, &found, &expected),
        (Err(error), Err(refusal)) => {
            recorder.mark(refusal.kind.as_str());
            compare_error(&error, &refusal)
        }
        (found, expected) => {
            Err(format!("WRONG {what}: found {found:?}\n      expected {expected:?}"))
        }
    }
}

/// Kind, outcome, details and advice of the error of a write.
fn compare_error(error: &Error, refusal: &Refusal) -> Verdict {
    same("kind", &error.kind(), &refusal.kind)?;
    same("outcome", &error.outcome(), &Some(Outcome::None))?;
    let is_transient = matches!(refusal.kind, ErrorKind::Conflict | ErrorKind::Unavailable);
    same("retryable", &error.retryable(), &is_transient)?;
    let current = refusal.current.map(|version| version.to_string().into());
    same("details.version", &error.detail("version").cloned(), &current)?;
    same("details.index", &error.detail("index").cloned(), &refusal.index.map(Into::into))
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(format!("WRONG {what}: found {found:?}\n      expected {expected:?}"))
}

/// A store is one keyspace.
fn keyspace() -> Keyspace {
    Keyspace::new("store").unwrap()
}

/// Fewer than there are keys.
const SIZE_MAX: u64 = 4;
