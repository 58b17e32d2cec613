//! The connections of readers.
//!
//! A point read runs on the calling thread: it takes an idle connection, or opens one, and does not
//! wait for locks. Only if it meets one is it repeated on a blocking thread, with the busy timeout.
//! Lists always run there.
//!
//! A database in memory has one connection, which its writer shares; its lock stands for SQLite's.
//!
//! Invariants: a connection that failed in any way that may have harmed it is closed, never given
//! back; after the writer opened its connection anew no older one is used, for the path may name
//! another file by then; a panic under the lock poisons nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection::{Opener, Purpose};
use super::failure::Failure;
use crate::error::{Error, Result};
use crate::limits::SQLITE_BLOCKING_READS_MAX;

/// How long an access waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not at all.
    Never,
    /// As long as the busy timeout says.
    BusyTimeout,
}

/// The connections of readers of one database.
#[derive(Debug)]
pub(super) struct Readers {
    opener: Opener,
    /// A thread takes the connection of its own place first: its pages are in that core's cache.
    idle: [Mutex<Option<Idle>>; SQLITE_BLOCKING_READS_MAX],
    /// The only connection of a database in memory.
    memory: Mutex<Option<Connection>>,
    /// How often the writer opened its connection.
    generation: AtomicU64,
    is_closed: AtomicBool,
    blocking: Arc<Semaphore>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    generation: u64,
}

impl Readers {
    pub(super) fn new(opener: Opener) -> Self {
        Self {
            opener,
            idle: Default::default(),
            memory: Mutex::new(None),
            generation: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            blocking: Arc::new(Semaphore::new(SQLITE_BLOCKING_READS_MAX)),
        }
    }

    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Reads on the calling thread, and on a blocking one only if a lock is in the way.
    pub(super) async fn read_now<T, F>(self: &Arc<Self>, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        match self.access(Wait::Never, &read) {
            Err(failure) if failure.is_busy() => self.read_blocking(read).await,
            result => result,
        }
    }

    /// Reads on a blocking thread; outside a tokio runtime on this one.
    pub(super) async fn read_blocking<T, F>(self: &Arc<Self>, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let room = Arc::clone(&self.blocking).acquire_owned();
        let permit = room.await.expect("the semaphore is never closed");
        let this = Arc::clone(self);
        run_blocking(move || {
            // Kept until the read ends, even if nobody waits for it any more.
            let _permit = permit;
            this.access(Wait::BusyTimeout, read)
        })
        .await?
    }

    /// Lets the writer of a database in memory use its connection.
    pub(super) fn with_memory<T, E>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, E>,
        not_opened: impl FnOnce(Failure) -> E,
    ) -> Result<T, E> {
        let mut memory = lock(&self.memory);
        write(self.opened(&mut memory).map_err(not_opened)?)
    }

    /// Says that the writer has opened its connection (again).
    pub(super) fn writer_opened(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Closes the idle connections; every later access is refused.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for place in &self.idle {
            lock(place).take();
        }
        lock(&self.memory).take();
    }

    /// The error of every access after the close.
    pub(super) fn closed(&self) -> Error {
        Error::unavailable(format!("{} is closed", self.opener.name())).with_retryable(false)
    }

    fn access<T>(
        &self,
        wait: Wait,
        read: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(self.closed().into());
        }
        if self.opener.is_in_memory() {
            return match wait {
                Wait::BusyTimeout => self.access_memory(lock(&self.memory), read),
                Wait::Never => match self.memory.try_lock() {
                    Ok(guard) => self.access_memory(guard, read),
                    Err(TryLockError::Poisoned(poison)) => {
                        self.access_memory(poison.into_inner(), read)
                    }
                    Err(TryLockError::WouldBlock) => Err(Failure::InUse),
                },
            };
        }
        let idle = self.take()?;
        let result = waiting(&idle.connection, wait, self.opener.busy_timeout(), read);
        if result.as_ref().err().is_none_or(Failure::spares_connection) {
            self.give_back(idle);
        }
        result
    }

    fn access_memory<T>(
        &self,
        mut memory: MutexGuard<'_, Option<Connection>>,
        access: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        access(self.opened(&mut memory)?)
    }

    fn opened<'a>(&self, memory: &'a mut Option<Connection>) -> Result<&'a Connection, Failure> {
        let connection = match memory.take() {
            Some(connection) => connection,
            None => self.opener.open(Purpose::Create)?,
        };
        Ok(memory.insert(connection))
    }

    /// An idle connection of the present generation, else a new one.
    fn take(&self) -> Result<Idle, Failure> {
        let generation = self.generation.load(Ordering::Acquire);
        let is_present = |idle: &Idle| idle.generation == generation;
        match self.places().filter_map(|place| lock(place).take()).find(is_present) {
            Some(idle) => Ok(idle),
            None => Ok(Idle { connection: self.opener.open(Purpose::Read)?, generation }),
        }
    }

    /// Keeps a connection for the next reader, if there is a place for it.
    fn give_back(&self, idle: Idle) {
        if idle.generation != self.generation.load(Ordering::Acquire)
            || self.is_closed.load(Ordering::Acquire)
        {
            return;
        }
        for place in self.places() {
            let mut place = lock(place);
            if place.is_none() {
                *place = Some(idle);
                return;
            }
        }
    }

    /// The places of idle connections, this thread's own first.
    fn places(&self) -> impl Iterator<Item = &Mutex<Option<Idle>>> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        let own = OWN.with(|own| own % self.idle.len());
        self.idle[own..].iter().chain(&self.idle[..own])
    }
}

/// Runs a function on a blocking thread; outside a tokio runtime on this one.
pub(super) async fn run_blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Err(_) => Ok(run()),
        Ok(runtime) => runtime.spawn_blocking(run).await.map_err(|error| {
            if error.is_panic() {
                Error::internal(format!("an access to the database panicked: {error}"))
            } else {
                Error::unavailable("the runtime is shutting down")
            }
        }),
    }
}

/// Reads with the busy timeout that the wait calls for.
fn waiting<T>(
    connection: &Connection,
    wait: Wait,
    timeout: Duration,
    read: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if wait == Wait::Never {
        return read(connection);
    }
    connection.busy_timeout(timeout)?;
    let result = read(connection);
    connection.busy_timeout(Duration::ZERO)?;
    result
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
