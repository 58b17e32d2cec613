//! The writer: one thread per database, which puts whatever is queued into one transaction.
//!
//! A commit costs a sync of the disk, a statement next to nothing: so writes that arrive while one
//! commit runs share the next. There is no waiting for company; a lone write is committed at once.
//!
//! The caller's contract:
//! 1. A write is answered after the commit that contains it, never before.
//! 2. A statement that fails is undone alone and answered with its own error; the others commit.
//! 3. A transaction that fails as a whole leaves nothing. Unless a lock was the reason (which would
//!    be met again), its writes are run once more, each by itself, so that each gets its own answer.
//! 4. A commit whose end is not known is answered so, and never repeated.
//! 5. Whoever drops the future of a queued write may find it applied or not, never half.
//! 6. At most [`SQLITE_WRITES_MAX`] writes are queued or running; further callers wait for room.
//!
//! Expired rows are deleted here too, in batches between the groups and without waiting for locks, so
//! that sweeping never stands in the way of writes for longer than a batch.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::connection::Purpose;
use super::failure::Failure;
use super::plan::Plan;
use super::reader::to_deadline;
use super::readers::Readers;
use crate::clock::UnixMillis;
use crate::entry::{Key, Ttl};
use crate::error::{Error, Outcome, Result};
use crate::limits::{REMOVALS_MAX, SQLITE_WRITES_MAX};

/// The statements of a write. They run within a transaction, which may be undone and run again.
pub(super) type Write = Box<dyn Fn(&Connection) -> Result<Written, Failure> + Send>;

/// What a committed write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// What it was asked to.
    Done,
    /// The row has this deadline.
    Upserted(Option<UnixMillis>),
    /// Whether there was a row.
    Deleted(bool),
}

/// A write with the way back to its caller.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Result<Written>>,
    /// The room that the write takes in the queue.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What the thread is asked to do.
pub(super) enum Request {
    /// To write.
    Write(Job),
    /// To run the statements that make a table.
    Create { ddl: String, reply: oneshot::Sender<Result<()>> },
    /// To delete the expired rows of a table at an interval, for as long as `alive` lives.
    Sweep { plan: Arc<Plan>, interval: Duration, alive: Weak<()> },
}

/// Starts the thread. It ends when the last sender is gone and all that was queued is answered.
///
/// # Errors
/// `UNAVAILABLE` if the system has no thread to give.
pub(super) fn start(
    readers: Arc<Readers>,
) -> Result<(Sender<Request>, std::thread::JoinHandle<()>)> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let writer = Writer { readers, receiver, deferred: None, connection: None, sweeps: Vec::new() };
    let thread = std::thread::Builder::new()
        .name("plimsoll-sqlite".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| Error::unavailable(format!("no thread for the writer: {error}")))?;
    Ok((sender, thread))
}

struct Writer {
    readers: Arc<Readers>,
    receiver: Receiver<Request>,
    /// A request that ended the last group without being part of it.
    deferred: Option<Request>,
    /// The connection of a database in a file.
    connection: Option<Connection>,
    sweeps: Vec<Sweep>,
}

struct Sweep {
    plan: Arc<Plan>,
    interval: Duration,
    due: Instant,
    alive: Weak<()>,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.next_request() {
                Ok(Request::Write(job)) => self.write_group(job),
                Ok(Request::Create { ddl, reply }) => {
                    // A caller that is gone needs no answer.
                    let _ = reply.send(self.create(&ddl));
                }
                Ok(Request::Sweep { plan, interval, alive }) => {
                    self.sweeps.push(Sweep { plan, interval, due: after(interval), alive });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.sweep_due();
        }
    }

    /// The next request, or a timeout when a sweep is due.
    fn next_request(&mut self) -> Result<Request, RecvTimeoutError> {
        if let Some(request) = self.deferred.take() {
            return Ok(request);
        }
        match self.sweeps.iter().map(|sweep| sweep.due).min() {
            Some(due) => self.receiver.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Commits a write together with all that are queued behind it, and answers them.
    fn write_group(&mut self, first: Job) {
        let mut jobs = vec![first];
        while jobs.len() < SQLITE_WRITES_MAX {
            match self.receiver.try_recv() {
                Ok(Request::Write(job)) => jobs.push(job),
                Ok(request) => {
                    self.deferred = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        // Nobody waits for these any more, and nothing of them has happened.
        jobs.retain(|job| !job.reply.is_closed());
        let answers = self.commit(&jobs);
        for (Job { reply, permit, .. }, answer) in jobs.into_iter().zip(answers) {
            drop(permit);
            let _ = reply.send(answer);
        }
    }

    /// Commits writes as one transaction, else one by one; an answer for each.
    fn commit(&mut self, jobs: &[Job]) -> Vec<Result<Written>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        match self.try_commit(jobs) {
            Ok(answers) => answers,
            Err(failure) if failure.may_split && jobs.len() > 1 => self.commit_singly(jobs),
            Err(failure) => vec![Err(failure.error); jobs.len()],
        }
    }

    /// Commits each write by itself. A lock that one of them meets is not waited for again.
    fn commit_singly(&mut self, jobs: &[Job]) -> Vec<Result<Written>> {
        let mut locked = None;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs.chunks(1) {
            match &locked {
                Some(error) => answers.push(Err(Error::clone(error))),
                None => match self.try_commit(job) {
                    Ok(answer) => answers.extend(answer),
                    Err(failure) => {
                        locked = failure.is_locked.then(|| failure.error.clone());
                        answers.push(Err(failure.error));
                    }
                },
            }
        }
        answers
    }

    fn try_commit(&mut self, jobs: &[Job]) -> Result<Vec<Result<Written>>, TransactionFailure> {
        self.with_connection(Purpose::Write, |connection, name| {
            transaction(connection, name, || run_all(connection, name, jobs))
        })
    }

    /// Runs the statements that make a table, in a file that is made if it is missing.
    fn create(&mut self, ddl: &str) -> Result<()> {
        // What is open may have been opened without the settings of a new file.
        self.connection = None;
        self.with_connection(Purpose::Create, |connection, name| {
            transaction(connection, name, || Ok(connection.execute_batch(ddl)?))
        })
        .map_err(|failure| failure.error)
    }

    /// Runs one batch of each sweep that is due, and forgets those whose table is closed.
    fn sweep_due(&mut self) {
        self.sweeps.retain(|sweep| sweep.alive.strong_count() > 0);
        let now = Instant::now();
        for position in 0..self.sweeps.len() {
            if self.sweeps[position].due > now {
                continue;
            }
            let plan = Arc::clone(&self.sweeps[position].plan);
            let busy_timeout = self.readers.opener().busy_timeout();
            let removed = self.with_connection(Purpose::Write, |connection, name| {
                let settings = |failure| TransactionFailure::before_commit(failure, name);
                // A lock is for writes to wait for.
                set_busy_timeout(connection, Duration::ZERO).map_err(settings)?;
                let removed = transaction(connection, name, || delete_expired(connection, &plan));
                set_busy_timeout(connection, busy_timeout).map_err(settings)?;
                removed
            });
            // There is nobody to tell of a failure; the next sweep meets it again or does not.
            let is_cut_short = removed.is_ok_and(|removed| removed >= REMOVALS_MAX);
            let sweep = &mut self.sweeps[position];
            sweep.due = if is_cut_short { now } else { after(sweep.interval) };
        }
    }

    /// Uses the connection, opening it if there is none, and closes it if it may be harmed.
    fn with_connection<T>(
        &mut self,
        purpose: Purpose,
        write: impl FnOnce(&Connection, &str) -> Result<T, TransactionFailure>,
    ) -> Result<T, TransactionFailure> {
        let opener = self.readers.opener();
        let name = opener.name();
        let not_begun = |failure| TransactionFailure::before_commit(failure, &name);
        if opener.is_in_memory() {
            return self.readers.with_memory(|connection| write(connection, &name), not_begun);
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = opener.open(purpose).map_err(not_begun)?;
                self.readers.writer_opened();
                connection
            }
        };
        let result = write(&connection, &name);
        if !result.as_ref().is_err_and(|failure| failure.harms_connection) {
            self.connection = Some(connection);
        }
        result
    }
}

/// Why a transaction was not committed, or may not have been.
struct TransactionFailure {
    error: Error,
    is_locked: bool,
    /// Whether its writes may do better by themselves.
    may_split: bool,
    harms_connection: bool,
}

impl TransactionFailure {
    fn before_commit(failure: Failure, name: &str) -> Self {
        Self::new(failure, |failure| failure.into_error(name).or_outcome(Outcome::None))
    }

    fn at_commit(failure: Failure, name: &str) -> Self {
        Self::new(failure, |failure| failure.into_commit_error(name))
    }

    fn new(failure: Failure, to_error: impl FnOnce(Failure) -> Error) -> Self {
        let is_locked = failure.is_busy();
        let harms_connection = !failure.spares_connection();
        let error = to_error(failure);
        let may_split = !is_locked && error.outcome() == Some(Outcome::None);
        Self { error, is_locked, may_split, harms_connection }
    }
}

/// Runs statements in a transaction that takes the write lock at once, so that only its begin and,
/// in a rollback journal, its commit may wait.
fn transaction<T>(
    connection: &Connection,
    name: &str,
    body: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, TransactionFailure> {
    let result = match execute(connection, "BEGIN IMMEDIATE").and_then(|()| body()) {
        Ok(done) => match execute(connection, "COMMIT") {
            Ok(()) => return Ok(done),
            Err(failure) => TransactionFailure::at_commit(failure, name),
        },
        Err(failure) => TransactionFailure::before_commit(failure, name),
    };
    // Some failures have rolled back already. One that can't be rolled back ends with its
    // connection.
    let is_over = connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok();
    Err(TransactionFailure { harms_connection: result.harms_connection || !is_over, ..result })
}

fn set_busy_timeout(connection: &Connection, timeout: Duration) -> Result<(), Failure> {
    Ok(connection.busy_timeout(timeout)?)
}

fn execute(connection: &Connection, statement: &str) -> Result<(), Failure> {
    connection.prepare_cached(statement)?.execute(())?;
    Ok(())
}

/// Runs writes within a transaction; fails if one of them ended it, or met with more than a refusal
/// of its own.
fn run_all(
    connection: &Connection,
    name: &str,
    jobs: &[Job],
) -> Result<Vec<Result<Written>>, Failure> {
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        match (job.write)(connection) {
            Ok(written) => answers.push(Ok(written)),
            Err(failure) if failure.is_refusal() && !connection.is_autocommit() => {
                answers.push(Err(failure.into_error(name).or_outcome(Outcome::None)));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(answers)
}

/// Writes a row of a table, whatever was there.
pub(super) fn upsert(plan: Arc<Plan>, key: Key, payload: Vec<u8>, ttl: Option<Ttl>) -> Write {
    Box::new(move |connection| {
        let Some(ttl) = ttl else {
            let mut statement = connection.prepare_cached(&plan.statements.upsert)?;
            statement.execute((key.as_str(), &payload))?;
            return Ok(Written::Upserted(None));
        };
        let ttl_ms = i64::try_from(ttl.as_ms()).expect("a ttl is at most 100 years");
        let mut statement = connection.prepare_cached(&plan.statements.upsert_ttl)?;
        let parameters = (key.as_str(), &payload, ttl_ms, plan.clock.bound_ms());
        let deadline = statement.query_row(parameters, |row| Ok(to_deadline(row.get_ref(0)?)))?;
        Ok(Written::Upserted(deadline?))
    })
}

/// Deletes a present row of a table.
pub(super) fn delete(plan: Arc<Plan>, key: Key) -> Write {
    Box::new(move |connection| {
        let mut statement = connection.prepare_cached(&plan.statements.delete)?;
        let deleted = statement.execute((key.as_str(), plan.clock.bound_ms()))?;
        Ok(Written::Deleted(deleted > 0))
    })
}

/// Deletes one batch of expired rows; answers how many.
fn delete_expired(connection: &Connection, plan: &Plan) -> Result<usize, Failure> {
    let rows_max = i64::try_from(REMOVALS_MAX).expect("a small number");
    let mut statement = connection.prepare_cached(&plan.statements.sweep)?;
    Ok(statement.execute((plan.clock.bound_ms(), rows_max))?)
}

/// The instant a time from now, or so far off that it does not matter.
fn after(interval: Duration) -> Instant {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    Instant::now() + interval.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// A database that may not grow beyond a few pages, with a table.
    fn small_database() -> Connection {
        let connection = Connection::open_in_memory().expect("opens");
        connection.pragma_update(None, "max_page_count", 4).expect("is set");
        connection.execute_batch("CREATE TABLE t (x)").expect("valid");
        connection
    }

    fn count(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).expect("counts")
    }

    #[test]
    fn a_full_disk_leaves_nothing_and_the_connection_goes_on() {
        let connection = small_database();
        let insert = |bytes: usize| {
            transaction(&connection, "the database", || {
                connection.execute("INSERT INTO t VALUES (1)", ())?;
                connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes as i64])?;
                Ok(())
            })
        };
        let failure = insert(1 << 20).expect_err("no room");
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable, "{}", failure.error);
        assert_eq!(failure.error.outcome(), Some(Outcome::None));
        assert!(failure.error.retryable() && failure.may_split && !failure.harms_connection);
        assert_eq!(count(&connection), 0);
        assert!(insert(10).is_ok());
        assert_eq!(count(&connection), 2);
    }

    #[test]
    fn a_transaction_that_fails_is_over() {
        let connection = small_database();
        for body in ["BEGIN", "SELECT * FROM missing", "ROLLBACK; SELECT * FROM missing"] {
            let failure = transaction(&connection, "the database", || {
                connection.execute("INSERT INTO t VALUES (1)", ())?;
                Ok(connection.execute_batch(body)?)
            });
            assert_eq!(failure.expect_err(body).error.outcome(), Some(Outcome::None));
            assert!(connection.is_autocommit(), "{body}");
            assert_eq!(count(&connection), 0, "{body}");
        }
    }
}
