//! `store.memory`: the machine with the clock of the process and without a log.
//!
//! Reads take the machine's lock shared and see now = max(process clock, log time); writes take it
//! alone and stamp their command with the process clock. The store is gone with the process.
//!
//! No writes by readers: an expired entry is invisible at once and removed by a sweep, by a write
//! on its key, or by a write that finds the store full.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::machine::{
    closed, compacted, filtered, page_of, put_entry, refused, start_of_watch, to_entry, to_put,
    to_result, to_write, unexpected,
};
use super::watch::{ChangeSource, NextChange};
use super::{Backend, Consistency, Info, Store, SystemClock, Watch, WatchQuery};
use crate::clock::{Clock, UnixMillis};
use crate::entry::{
    Change, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version,
};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::kv::{Action, Command, KeyRef, QualifiedKey, Reply, Room, StateMachine, Write, Written};
use crate::limits::MEMORY_ENTRIES_DEFAULT;
use crate::policy::Rights;
use crate::value::Value;

/// Options of a memory store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Most live entries; 0 means [`MEMORY_ENTRIES_DEFAULT`].
    pub max_size: u64,
    /// How often expired entries are removed; none means never by the clock.
    pub cleanup_interval: Option<Duration>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_size: MEMORY_ENTRIES_DEFAULT,
            cleanup_interval: Some(Duration::from_secs(5 * 60)),
        }
    }
}

/// A store in the memory of the process.
pub struct MemoryStore {
    this: Weak<Self>,
    keyspace: Keyspace,
    entries_max: usize,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    progress: watch::Sender<Progress>,
}

struct State {
    machine: StateMachine,
    /// The index of the last command.
    index: u64,
}

/// What watchers wait for.
#[derive(Clone, Copy, Default)]
struct Progress {
    revision: u64,
    is_closed: bool,
}

impl MemoryStore {
    /// An empty store on the clock of the process, with an epoch drawn at random.
    ///
    /// # Panics
    /// If `cleanup_interval` is set outside a tokio runtime, or the system has no random numbers.
    #[must_use]
    pub fn open(options: MemoryOptions) -> Arc<Self> {
        let epoch = getrandom::u64().expect("the system has random numbers");
        Self::with_clock(options, epoch, Arc::new(SystemClock::new()))
    }

    /// An empty store on a given clock, with a given epoch.
    ///
    /// # Panics
    /// If `cleanup_interval` is set outside a tokio runtime.
    #[must_use]
    pub fn with_clock(options: MemoryOptions, epoch: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        let max_size = match options.max_size {
            0 => MEMORY_ENTRIES_DEFAULT,
            max_size => max_size,
        };
        let store = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            keyspace: Keyspace::new("memory").expect("a valid name"),
            entries_max: usize::try_from(max_size).unwrap_or(usize::MAX),
            clock,
            state: RwLock::new(State { machine: StateMachine::new(epoch), index: 0 }),
            progress: watch::Sender::new(Progress::default()),
        });
        if let Some(interval) = options.cleanup_interval {
            tokio::spawn(sweep_regularly(Arc::downgrade(&store), interval));
        }
        store
    }

    /// Removes all expired entries, in batches; answers how many.
    ///
    /// # Errors
    /// `INTERNAL` after a panic within the machine.
    pub fn sweep(&self) -> Result<usize> {
        let mut removed = 0;
        loop {
            let batch = self.sweep_batch()?;
            removed += batch;
            if batch == 0 {
                return Ok(removed);
            }
        }
    }

    /// A clone of the machine: a snapshot of the store.
    ///
    /// # Errors
    /// `INTERNAL` after a panic within the machine.
    pub fn machine(&self) -> Result<StateMachine> {
        Ok(self.read()?.machine.clone())
    }

    fn sweep_batch(&self) -> Result<usize> {
        let mut state = self.write()?;
        let now = self.clock.now();
        if state.machine.next_deadline().is_none_or(|deadline| now < deadline) {
            return Ok(0);
        }
        match self.apply(&mut state, now, &Command::new(Action::Advance)) {
            Reply::Advanced(removed) => Ok(removed),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Checks `max_size`, then runs the action as one command.
    fn propose(&self, mut action: Action) -> Result<Reply> {
        let mut state = self.write()?;
        let now = self.clock.now();
        match state.machine.room_for(action.writes(), self.entries_max, now) {
            Room::Enough => {}
            Room::AfterRemovals => action = action.making_room(),
            // A condition that fails is the better answer: it holds for any size.
            Room::None => {
                return Err(match state.machine.refusal(&action, now) {
                    Some(refusal) => refused(&refusal, &action),
                    None => self.full(),
                });
            }
        }
        let command = Command::new(action);
        match self.apply(&mut state, now, &command) {
            Reply::Refused(refusal) => Err(refused(&refusal, &command.action)),
            reply => Ok(reply),
        }
    }

    fn full(&self) -> Error {
        let entries_max = self.entries_max;
        Error::unavailable(format!("the store is full: it holds max_size = {entries_max} entries"))
            .with_detail("reason", "full")
            .with_detail("limit", entries_max)
    }

    fn write_one(&self, write: Write) -> Result<Written> {
        match self.propose(Action::Write { write, make_room: false })? {
            Reply::Written(written) => Ok(written),
            reply => Err(unexpected(&reply)),
        }
    }

    fn apply(&self, state: &mut State, now: UnixMillis, command: &Command) -> Reply {
        state.index += 1;
        let outcome = state.machine.apply(state.index, now, command);
        if let Some(change) = outcome.change {
            self.progress.send_modify(|progress| progress.revision = change.revision);
        }
        outcome.reply
    }

    fn qualified(&self, key: &Key) -> QualifiedKey {
        QualifiedKey::new(&self.keyspace, key)
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, State>> {
        self.state.read().map_err(stopped)
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, State>> {
        self.state.write().map_err(stopped)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn info(&self) -> Info {
        Info {
            id: String::new(),
            backend: Backend::Memory,
            consistency: Consistency::Local,
            durable: false,
            list: true,
            versioned: true,
            conditional_put: true,
            ttl: true,
            transact: true,
            watch: true,
            synchronous: None,
        }
    }

    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        let record = {
            let state = self.read()?;
            let now = self.clock.now();
            state.machine.get(KeyRef::new(&self.keyspace, key), now).cloned()
        };
        Ok(record.map(|record| to_entry(key.clone(), &record)))
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        let state = self.read()?;
        let now = self.clock.now();
        Ok(state.machine.get(KeyRef::new(&self.keyspace, key), now).is_some())
    }

    async fn put(&self, key: Key, value: Value, options: PutOptions) -> Result<Entry> {
        let write = to_put(&self.keyspace, &key, &value, options)?;
        put_entry(key, value, self.write_one(write)?)
    }

    async fn delete(&self, key: &Key, if_version: Option<Version>) -> Result<bool> {
        match self.write_one(Write::Delete { key: self.qualified(key), if_version })? {
            Written::Deleted(was_present) => Ok(was_present),
            written => Err(unexpected(&Reply::Written(written))),
        }
    }

    async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        // On a snapshot: a page that passes over many keys keeps no writer waiting.
        let (machine, now) = {
            let state = self.read()?;
            (state.machine.clone(), self.clock.now())
        };
        page_of(machine, &self.keyspace, query, now, rights).await
    }

    async fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>> {
        let writes = operations
            .iter()
            .map(|operation| to_write(&self.keyspace, operation))
            .collect::<Result<Vec<_>>>()?;
        match self.propose(Action::Transact { writes, make_room: false })? {
            Reply::Transacted(written) => Ok(operations
                .iter()
                .zip(written)
                .map(|(op, written)| to_result(op, written))
                .collect()),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn watch(&self, query: &WatchQuery, rights: &Rights) -> Result<Watch> {
        // Subscribed before the revision is read: nothing falls between the two.
        let progress = self.progress.subscribe();
        let state = self.read()?;
        let seen = match query.after {
            None => state.machine.revision(),
            Some(version) => start_of_watch(&state.machine, version)?,
        };
        Ok(Watch::new(MemoryChanges {
            store: self.this.clone(),
            progress,
            epoch: state.machine.epoch(),
            seen,
            delivered: query.after,
            prefix: query.prefix.clone(),
            rights: rights.clone(),
        }))
    }

    async fn close(&self) {
        self.progress.send_modify(|progress| progress.is_closed = true);
    }
}

/// The changes of a memory store, from a revision on.
struct MemoryChanges {
    /// Weak: a watcher does not keep a store alive that nobody else can write to.
    store: Weak<MemoryStore>,
    progress: watch::Receiver<Progress>,
    epoch: u64,
    /// The last revision looked at.
    seen: u64,
    /// The last revision delivered, or where the watch started.
    delivered: Option<Version>,
    prefix: Vec<u8>,
    rights: Rights,
}

impl MemoryChanges {
    /// The next change that is already there.
    fn poll(&mut self) -> Result<Option<Change>> {
        let store = self.store.upgrade().ok_or_else(closed)?;
        let state = store.read()?;
        let Some(changes) = state.machine.changes_after(self.seen) else {
            return Err(compacted(self.delivered));
        };
        for change in changes {
            self.seen = change.revision;
            if let Some(change) =
                filtered(change, &store.keyspace, &self.prefix, &self.rights, self.epoch)
            {
                self.delivered = Some(change.revision);
                return Ok(Some(change));
            }
        }
        Ok(None)
    }
}

impl ChangeSource for MemoryChanges {
    fn next(&mut self) -> NextChange<'_> {
        Box::pin(async move {
            loop {
                let is_closed = self.progress.borrow_and_update().is_closed;
                if let Some(change) = self.poll()? {
                    return Ok(change);
                }
                if is_closed || self.progress.changed().await.is_err() {
                    return Err(closed());
                }
            }
        })
    }
}

async fn sweep_regularly(store: Weak<MemoryStore>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        loop {
            let Some(store) = store.upgrade() else { return };
            if store.progress.borrow().is_closed {
                return;
            }
            match store.sweep_batch() {
                Ok(0) => break,
                Ok(_) => {}
                // The machine stopped: every call says so, and there is nothing left to sweep.
                Err(_) => return,
            }
            drop(store);
            tokio::task::yield_now().await;
        }
    }
}

fn stopped<T>(_: PoisonError<T>) -> Error {
    Error::internal("the store has stopped after a panic in its machine")
}
