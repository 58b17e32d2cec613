//! Exactly-once writes: a client session over a way to a cluster.
//!
//! The first write opens a session; each write then has a number of its own under which it is sent,
//! however often. A write of unknown outcome keeps its number until it is resolved: asking again
//! sends the command again, and the machine answers as it did, or would have, the first time.
//!
//! Invariants:
//! 1. A command is sent under one stamp only, unless the machine has said that it refused it and
//!    nobody else can have applied it.
//! 2. What is dropped half-way is never asked about again, and its number is free.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::access::{self, Access};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::kv::{Action, Command, Reason, Refusal, Reply, SessionStamp};
use crate::mutant::mutant;
use crate::node::left;
use crate::raft::{ClientSession, Failure};

/// A client of a cluster, with the session under which it writes.
pub struct Session {
    access: Access,
    state: Mutex<State>,
    /// Held by whoever opens a session: the others wait for it.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    numbers: ClientSession,
    /// The operations of unknown outcome, by their names.
    unknown: BTreeMap<String, (SessionStamp, Action)>,
}

impl State {
    /// The cluster no longer knows the session of a stamp.
    fn expire(&mut self, stamp: SessionStamp) {
        if self.numbers.id() == Some(stamp.session) {
            self.numbers.expired();
        }
    }
}

/// A write that was sent and not answered: its number is freed if nobody waits any more.
struct Running<'a> {
    session: &'a Session,
    stamp: Option<SessionStamp>,
}

impl Session {
    /// A client without a session yet.
    #[must_use]
    pub fn new(access: Access) -> Self {
        let (state, opening) = (Mutex::default(), tokio::sync::Mutex::new(()));
        Self { access, state, opening }
    }

    /// The way to the cluster.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Has an action applied, exactly once.
    ///
    /// # Errors
    /// With what is known of the outcome. If it is unknown, `details.operation` names the write for
    /// [`Session::resolve`].
    pub async fn write(&self, action: Action, timeout: Duration) -> Result<Reply> {
        let deadline = Instant::now() + timeout;
        loop {
            self.open(deadline).await?;
            let Some(stamp) = self.begin()? else { continue };
            match self.send(stamp, &action, deadline).await {
                Ended::Replied(reply) => return Ok(reply),
                Ended::Failed(error) => return Err(error),
                // It was refused, and had never been sent before: a new session takes it.
                Ended::SessionExpired { was_repeated: false } => {}
                Ended::SessionExpired { was_repeated: true } => return Err(expired()),
            }
        }
    }

    /// Asks again about a write of unknown outcome, by the name in its error. It is applied now if it
    /// was not before. Answers as the write would have; of several that ask at once, one is answered.
    ///
    /// # Errors
    /// As of the write itself; `UNAVAILABLE` with `details.reason = "forgotten"` if the write was given
    /// up, or is none of this client.
    pub async fn resolve(&self, operation: &str, timeout: Duration) -> Result<(Action, Reply)> {
        let deadline = Instant::now() + timeout;
        let (stamp, action) = {
            let state = self.state();
            let known = state.unknown.get(operation);
            let restamped =
                known.and_then(|(stamp, action)| Some((state.numbers.restamp(*stamp)?, action)));
            let (stamp, action) = restamped.ok_or_else(|| forgotten(operation))?;
            (stamp, action.clone())
        };
        let stamp = if mutant!("resolving takes a new number") {
            self.begin()?.unwrap_or(stamp)
        } else {
            stamp
        };
        let command = Command { session: Some(stamp), action: action.clone() };
        // Whatever becomes of this attempt, the number is held until the outcome is known.
        match self.access.write(command, left(deadline)).await.answer {
            Ok(reply) => {
                let mut state = self.state();
                // Whoever asked at the same time has had the answer, and the number is free: this
                // one may be to a repeat that came too late.
                if state.unknown.remove(operation).is_none() {
                    return Err(forgotten(operation));
                }
                if is_expired(&reply) {
                    state.expire(stamp);
                    return Err(expired());
                }
                state.numbers.finish(stamp);
                Ok((action, reply))
            }
            // Not sent this time; what was sent before is as unknown as it was.
            Err(failure) => Err(failure
                .to_error()
                .with_outcome(Outcome::Unknown)
                .with_detail("operation", operation.to_owned())),
        }
    }

    /// What an operation of unknown outcome does, if it is known here.
    #[must_use]
    pub fn action_of(&self, operation: &str) -> Option<Action> {
        self.state().unknown.get(operation).map(|(_, action)| action.clone())
    }

    /// Opens a session if there is none. Nothing of the write was sent until then.
    async fn open(&self, deadline: Instant) -> Result<()> {
        if !self.state().numbers.needs_opening() {
            return Ok(());
        }
        let nothing = |error: Error| error.with_outcome(Outcome::None);
        let late = || nothing(Error::timeout("the cluster opened no client session in time"));
        let lock = tokio::time::timeout(left(deadline), self.opening.lock());
        let _opening = lock.await.map_err(|_| late())?;
        if !self.state().numbers.needs_opening() {
            return Ok(());
        }
        let command = Command::new(Action::OpenSession);
        match self.access.write(command, left(deadline)).await.answer {
            Ok(Reply::SessionOpened(id)) => {
                let mut state = self.state();
                state.unknown.clear();
                state.numbers.opened(id);
                Ok(())
            }
            Ok(reply) => Err(Error::internal(format!("opening a session was answered {reply:?}"))),
            Err(failure) => Err(nothing(failure.to_error())),
        }
    }

    /// A number for a new write; none if the session is gone meanwhile.
    fn begin(&self) -> Result<Option<SessionStamp>> {
        let mut state = self.state();
        if state.numbers.needs_opening() {
            return Ok(None);
        }
        state.numbers.begin().map(Some)
    }

    async fn send(&self, stamp: SessionStamp, action: &Action, deadline: Instant) -> Ended {
        let mut running = Running { session: self, stamp: Some(stamp) };
        let command = Command { session: Some(stamp), action: action.clone() };
        let access::Outcome { answer, was_repeated } =
            self.access.write(command, left(deadline)).await;
        running.stamp = None;
        match answer {
            Ok(reply) if is_expired(&reply) => {
                self.state().expire(stamp);
                Ended::SessionExpired { was_repeated }
            }
            Ok(reply) => {
                self.state().numbers.finish(stamp);
                Ended::Replied(reply)
            }
            Err(failure @ Failure { outcome: Outcome::None, .. }) => {
                self.state().numbers.finish(stamp);
                Ended::Failed(failure.to_error())
            }
            Err(failure) => {
                self.state().numbers.hold(stamp);
                Ended::Failed(self.unknown(failure.to_error(), stamp, action.clone()))
            }
        }
    }

    /// Keeps an operation whose outcome is unknown, and names it in its error.
    fn unknown(&self, error: Error, stamp: SessionStamp, action: Action) -> Error {
        let name = Operation(stamp).to_string();
        let mut state = self.state();
        // Those that were given up are forgotten.
        let State { numbers, unknown } = &mut *state;
        unknown.retain(|_, (stamp, _)| numbers.restamp(*stamp).is_some());
        unknown.insert(name.clone(), (stamp, action));
        error.with_detail("operation", name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a write ended.
enum Ended {
    Replied(Reply),
    Failed(Error),
    SessionExpired { was_repeated: bool },
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(stamp) = self.stamp.take() {
            self.session.state().numbers.finish(stamp);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.access).finish()
    }
}

/// The name of an operation in `details.operation`.
struct Operation(SessionStamp);

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionStamp { session, seq, .. } = self.0;
        write!(f, "{:016x}-{}-{seq}", session.epoch, session.index)
    }
}

fn is_expired(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(Refusal { reason: Reason::SessionExpired, .. }))
}

fn expired() -> Error {
    Error::unavailable("the client session was given up while the write was under way")
        .with_detail("reason", "session_expired")
        .with_outcome(Outcome::Unknown)
}

fn forgotten(operation: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the operation {operation} is not known here, or was given up"),
    )
    .with_detail("reason", "forgotten")
    .with_outcome(Outcome::Unknown)
}
