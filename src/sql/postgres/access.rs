//! Accesses: each one statement on one connection (or a transaction that reads), with a deadline.
//!
//! An access that fails because the connection that it was given had ended before (the server was
//! restarted, an administrator or a timeout closed it) is repeated once on a new one, if that is
//! certain to be no second write: the statement was not sent, the server refused it before it began,
//! or it reads. Nothing else is repeated; the caller decides, by what the error says.
//!
//! When the deadline passes the statement is canceled, and what it then answers decides: that it was
//! canceled, or that it had come to its end before.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::timeout;
use tokio_postgres::CancelToken;
use tokio_postgres::types::ToSql;

use super::connection::{Answer, Connection};
use super::failure::Failure;
use super::pool::Pool;
use super::scan::Scan;
use crate::error::Result;
use crate::sql::SqlClock;

/// What is done on one connection, from which the next caller takes it over as it was.
#[derive(Debug)]
pub(super) struct Access {
    work: Work,
    /// Whose time is bound as [`Parameter::Now`].
    clock: SqlClock,
    is_write: bool,
}

#[derive(Debug)]
enum Work {
    Statement(Arc<str>, Vec<Parameter>),
    Script(Arc<str>),
    Scan(Scan),
}

/// What is bound to a parameter.
#[derive(Debug)]
pub(super) enum Parameter {
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    Id(u32),
    /// The time at which the statement runs, or NULL for the server's.
    Now,
}

impl Access {
    /// A statement that changes nothing.
    pub(super) fn read(text: impl Into<Arc<str>>, parameters: Vec<Parameter>) -> Self {
        Self::new(Work::Statement(text.into(), parameters), false)
    }

    /// A statement that writes.
    pub(super) fn write(text: impl Into<Arc<str>>, parameters: Vec<Parameter>) -> Self {
        Self::new(Work::Statement(text.into(), parameters), true)
    }

    /// Statements without parameters, all or none.
    pub(super) fn script(text: impl Into<Arc<str>>) -> Self {
        Self::new(Work::Script(text.into()), true)
    }

    /// A listing that looks at each key.
    pub(super) fn scan(scan: Scan) -> Self {
        Self::new(Work::Scan(scan), false)
    }

    const fn new(work: Work, is_write: bool) -> Self {
        Self { work, clock: SqlClock::Server, is_write }
    }

    /// By a clock.
    pub(super) fn by(self, clock: &SqlClock) -> Self {
        Self { clock: clock.clone(), ..self }
    }

    async fn run(&self, connection: &mut Connection) -> Result<Answer, Failure> {
        let now = self.clock.bound_ms();
        match &self.work {
            Work::Statement(text, parameters) => {
                let parameters: Vec<_> = parameters.iter().map(|p| p.value(&now)).collect();
                connection.query(text, &parameters).await
            }
            Work::Script(text) => connection.run_script(text).await,
            Work::Scan(scan) => scan.run(connection, now).await,
        }
    }
}

impl Parameter {
    fn value<'a>(&'a self, now: &'a Option<i64>) -> &'a (dyn ToSql + Sync) {
        match self {
            Self::Text(text) => text,
            Self::Bytes(bytes) => bytes,
            Self::Integer(integer) => integer,
            Self::Id(id) => id,
            Self::Now => now,
        }
    }
}

/// Runs an access on a connection of the pool.
pub(super) async fn perform(pool: &Arc<Pool>, access: &Access) -> Result<Answer> {
    let to_error = |failure: Failure| failure.into_error(pool.options(), access.is_write);
    let mut is_repeated = false;
    loop {
        let mut lease = pool.lease().await.map_err(to_error)?;
        let was_pooled = lease.is_pooled();
        let connection = lease.start();
        let token = connection.cancel_token();
        let (result, is_canceled) = bounded(pool, &token, access.run(connection)).await;
        let failure = match result {
            Ok(answer) => {
                // A cancellation that comes too late would hit the next statement.
                lease.finish(!is_canceled);
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        lease.finish(!is_canceled && failure.spares_connection());
        if failure.concerns_server() {
            pool.forget_idle();
        }
        if is_repeated || !was_pooled || !failure.is_stale(access.is_write) {
            return Err(to_error(failure));
        }
        // What is idle is as old.
        pool.forget_idle();
        is_repeated = true;
    }
}

/// Waits for a statement, and cancels it once its time is over; says whether it did.
async fn bounded<T>(
    pool: &Pool,
    token: &CancelToken,
    statement: impl Future<Output = Result<T, Failure>>,
) -> (Result<T, Failure>, bool) {
    let options = pool.options();
    let mut statement = pin!(statement);
    if let Ok(result) = timeout(options.statement_timeout, &mut statement).await {
        return (result, false);
    }
    let cancel = async {
        if let Ok(connector) = pool.connector() {
            connector.cancel(token).await;
        }
        std::future::pending::<()>().await;
    };
    let last_word = async {
        tokio::select! {
            result = &mut statement => result,
            () = cancel => Err(Failure::silent()),
        }
    };
    let result = timeout(options.connect_timeout, last_word).await;
    (result.unwrap_or_else(|_| Err(Failure::silent())).map_err(Failure::after_cancel), true)
}
