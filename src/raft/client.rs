//! The client's side of exactly-once: sequence numbers within a client session.
//!
//! A client opens a session through the log and then numbers its writes. With each it says the
//! lowest number that it may still ask about; the machine keeps the replies from there on. A write
//! whose outcome is unknown holds that number until it is resolved or given up, so that asking again
//! under the same number is answered as the first time.
//!
//! Invariants:
//! 1. A number is used for one operation only.
//! 2. `low` is at most every number that is in flight or held.
//! 3. Never more than [`SESSION_REPLIES_MAX`] numbers from `low` on are in use: the machine refuses
//!    none of them for being too high.
//!
//! No transport, no retries, no deadlines: those are the caller's.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::kv::{SessionId, SessionStamp};
use crate::limits::SESSION_REPLIES_MAX;

/// The numbers of one client.
#[derive(Clone, Debug, Default)]
pub struct ClientSession {
    id: Option<SessionId>,
    next_seq: u64,
    /// The numbers in use, and whether their outcome is unknown.
    used: BTreeMap<u64, bool>,
}

impl ClientSession {
    /// A client without a session yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a session must be opened before the next write.
    #[must_use]
    pub const fn needs_opening(&self) -> bool {
        self.id.is_none()
    }

    /// The session, if one is open.
    #[must_use]
    pub const fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// A session was opened.
    pub fn opened(&mut self, id: SessionId) {
        *self = Self { id: Some(id), next_seq: 0, used: BTreeMap::new() };
    }

    /// The cluster no longer knows the session. What was in flight has an unknown outcome for ever.
    pub fn expired(&mut self) {
        *self = Self::default();
    }

    /// The stamp of a new write. If the window is full, the oldest operation of unknown outcome is
    /// given up: resolving it will find it forgotten.
    ///
    /// # Errors
    /// `RATE_LIMITED` if [`SESSION_REPLIES_MAX`] calls are running.
    ///
    /// # Panics
    /// If no session is open.
    pub fn begin(&mut self) -> Result<SessionStamp> {
        let session = self.id.expect("a session is opened before its first write");
        while self.next_seq - self.low() >= SESSION_REPLIES_MAX {
            let oldest = self.used.first_entry().expect("low lies below the next number");
            if !*oldest.get() {
                return Err(too_many());
            }
            oldest.remove();
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.used.insert(seq, false);
        Ok(SessionStamp { session, seq, low: self.low() })
    }

    /// The stamp under which an operation is sent again; none if it was given up, or belongs to a
    /// session that is gone.
    #[must_use]
    pub fn restamp(&self, stamp: SessionStamp) -> Option<SessionStamp> {
        let session = self.id.filter(|id| *id == stamp.session)?;
        self.used.get(&stamp.seq)?;
        Some(SessionStamp { session, seq: stamp.seq, low: self.low() })
    }

    /// An operation has ended with a known outcome, or nobody will ask about it again.
    pub fn finish(&mut self, stamp: SessionStamp) {
        if self.id == Some(stamp.session) {
            self.used.remove(&stamp.seq);
        }
    }

    /// The outcome of an operation is unknown: its number is kept for asking again.
    pub fn hold(&mut self, stamp: SessionStamp) {
        if self.id == Some(stamp.session)
            && let Some(is_held) = self.used.get_mut(&stamp.seq)
        {
            *is_held = true;
        }
    }

    /// The lowest number that may still be asked about.
    fn low(&self) -> u64 {
        self.used.first_key_value().map_or(self.next_seq, |(seq, _)| *seq)
    }
}

fn too_many() -> Error {
    let limit = i64::try_from(SESSION_REPLIES_MAX).unwrap_or(i64::MAX);
    Error::new(
        ErrorKind::RateLimited,
        format!("{SESSION_REPLIES_MAX} writes of this client are running already"),
    )
    .with_detail("limit", limit)
    .with_outcome(Outcome::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> ClientSession {
        let mut session = ClientSession::new();
        session.opened(SessionId { epoch: 1, index: 2 });
        session
    }

    #[test]
    fn an_unknown_operation_holds_low_until_it_is_finished() {
        let mut session = session();
        let first = session.begin().unwrap();
        let second = session.begin().unwrap();
        assert_eq!((first.seq, first.low, second.seq, second.low), (0, 0, 1, 0));
        session.hold(first);
        session.finish(second);
        assert_eq!(session.begin().unwrap().low, 0);
        assert_eq!(session.restamp(first).unwrap().seq, 0);
        session.finish(first);
        assert_eq!(session.restamp(first), None);
        assert_eq!(session.begin().unwrap().low, 2);
    }

    #[test]
    fn over_the_window_the_oldest_unknown_operation_is_given_up() {
        let mut session = session();
        let stamps: Vec<_> = (0..SESSION_REPLIES_MAX).map(|_| session.begin().unwrap()).collect();
        let error = session.begin().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::RateLimited, Some(Outcome::None)));
        session.hold(stamps[0]);
        assert_eq!(session.begin().unwrap().low, 1);
        assert_eq!(session.restamp(stamps[0]), None, "given up");
    }

    #[test]
    fn what_belongs_to_a_session_that_is_gone_is_not_sent_again() {
        let mut session = session();
        let stamp = session.begin().unwrap();
        session.expired();
        assert!(session.needs_opening());
        session.opened(SessionId { epoch: 1, index: 9 });
        session.begin().unwrap();
        assert_eq!(session.restamp(stamp), None);
        session.finish(stamp);
        assert!(session.used.contains_key(&0), "of the new session");
    }
}
