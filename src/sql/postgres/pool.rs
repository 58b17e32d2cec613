//! The pool: at most so many connections, of which some wait for the next call.
//!
//! Invariants:
//! 1. Connections in use and idle ones together are never more than `max_open`: a new one is made
//!    only under a permit, and while none is idle; a connection is put back before its permit is.
//!    The permit of one that is given up in use is kept until the server knows.
//! 2. A connection is put back only by [`Lease::finish`]. One that failed in any way that may have
//!    harmed it, or whose user is gone in the middle of a statement, is closed, and the statement
//!    canceled.
//! 3. Waiting ends with `connect_timeout`, and nothing was sent then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Connector};
use super::failure::Failure;
use super::options::PostgresOptions;
use crate::error::{Error, Result};

/// The connections to one database.
pub(super) struct Pool {
    options: PostgresOptions,
    /// Made by the first connection that reads its certificates.
    connector: OnceLock<Connector>,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    is_closed: AtomicBool,
}

impl Pool {
    pub(super) fn new(options: PostgresOptions) -> Arc<Self> {
        let options = options.within_limits();
        Arc::new(Self {
            connector: OnceLock::new(),
            permits: Arc::new(Semaphore::new(options.pool.max_open)),
            idle: Mutex::new(Vec::new()),
            is_closed: AtomicBool::new(false),
            options,
        })
    }

    pub(super) fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// A connection for one statement: an idle one, else a new one.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, Failure> {
        let deadline = Instant::now() + self.options.connect_timeout;
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| self.exhausted())?.expect("the semaphore is never closed");
        if self.is_closed.load(Ordering::Acquire) {
            return Err(self.closed().into());
        }
        let idle = self.take_idle();
        let is_pooled = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => match timeout_at(deadline, self.connector()?.connect()).await {
                Ok(connected) => connected?,
                Err(_) => return Err(self.silent().into()),
            },
        };
        Ok(Lease {
            pool: Arc::clone(self),
            connection: Some(connection),
            permit: Some(permit),
            is_pooled,
            is_running: false,
        })
    }

    /// What cancels statements.
    ///
    /// # Errors
    /// `INVALID` if the certificates are of no use.
    pub(super) fn connector(&self) -> Result<&Connector> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector);
        }
        let connector = Connector::new(&self.options)?;
        Ok(self.connector.get_or_init(|| connector))
    }

    /// Closes the idle connections: a sign says that they are gone as well.
    pub(super) fn forget_idle(&self) {
        self.idle().clear();
    }

    /// Refuses what comes from now on, and waits for what is under way.
    pub(super) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let all =
            u32::try_from(self.options.pool.max_open).expect("at most POSTGRES_CONNECTIONS_MAX");
        let _all = self.permits.acquire_many(all).await.expect("the semaphore is never closed");
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            if let Ok(connector) = self.connector() {
                connection.discard(connector, false).await;
            }
        }
    }

    /// The error of every access after the close.
    pub(super) fn closed(&self) -> Error {
        Error::unavailable(format!("{} is closed", self.options)).with_retryable(false)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        let max_lifetime = self.options.pool.max_lifetime;
        let is_young =
            |connection: &Connection| max_lifetime.is_none_or(|max| connection.age() < max);
        std::iter::from_fn(|| idle.pop()).find(|c| !c.is_closed() && is_young(c))
    }

    fn give_back(&self, connection: Connection) -> Option<Connection> {
        let mut idle = self.idle();
        let is_wanted = !connection.is_closed() && idle.len() < self.options.pool.max_idle;
        if is_wanted {
            idle.push(connection);
            return None;
        }
        Some(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exhausted(&self) -> Failure {
        let max_open = self.options.pool.max_open;
        Error::unavailable(format!(
            "all {max_open} connections to {} were in use for {:?}; try again, or raise \
             pool.max_open",
            self.options, self.options.connect_timeout
        ))
        .with_detail("limit", max_open)
        .into()
    }

    fn silent(&self) -> Error {
        Error::unavailable(format!(
            "{} did not take the connection within {:?}; see that the server runs, and that host \
             and port are its own",
            self.options, self.options.connect_timeout
        ))
    }
}

/// A connection in use.
pub(super) struct Lease {
    pool: Arc<Pool>,
    /// None once it was put back.
    connection: Option<Connection>,
    permit: Option<OwnedSemaphorePermit>,
    is_pooled: bool,
    /// Whether a statement may be under way.
    is_running: bool,
}

impl Lease {
    /// The connection, for a statement.
    pub(super) fn start(&mut self) -> &mut Connection {
        self.is_running = true;
        self.connection.as_mut().expect("put back only by finish")
    }

    /// Whether the connection was used before.
    pub(super) fn is_pooled(&self) -> bool {
        self.is_pooled
    }

    /// The statement came to its end; whether the connection is as good as before.
    pub(super) fn finish(mut self, is_good: bool) {
        self.is_running = false;
        if is_good && let Some(connection) = self.connection.take() {
            self.connection = self.pool.give_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let (pool, permit, is_running) =
            (Arc::clone(&self.pool), self.permit.take(), self.is_running);
        // Without a runtime everything is ending, and the connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(connector) = pool.connector() {
                    connection.discard(connector, is_running).await;
                }
                drop(permit);
            });
        }
    }
}
