//! The specification of client sessions: which commands are executed, and which only answered.
//!
//! A client opens a session through the log and then numbers its commands. A command arrives once,
//! several times, late, or never; it is executed at most once. With each the client says from which
//! number on it may still ask: replies below are forgotten, and commands below are refused.
//!
//! No states of commands here, only numbers and replies of any type `R`. No limit on time: sessions
//! end by being the least recently used of too many.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use crate::limits::{CLIENT_SESSIONS_MAX, SESSION_REPLIES_MAX};

/// The name of a session: the epoch and the index of the command that opened it.
pub type SessionName = (u64, u64);

/// What becomes of a command of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission<R> {
    /// It is executed; its reply is then [recorded](Sessions::record).
    Execute,
    /// It was executed before, with this reply.
    Repeat(R),
    /// It is not executed.
    Refused(Refused),
}

/// Why a command of a session is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The session was never opened, or was evicted.
    UnknownSession,
    /// The client has said that it no longer asks about this number.
    TooLow,
    /// More numbers are open than replies are kept.
    TooHigh,
}

/// All client sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions<R> {
    sessions: BTreeMap<SessionName, Session<R>>,
    /// Counts uses, so that "least recently used" is a comparison of numbers.
    uses: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session<R> {
    /// The lowest number that the client may still ask about.
    low: u64,
    /// The replies to executed commands, none below `low`.
    replies: BTreeMap<u64, R>,
    last_use: u64,
}

impl<R: Clone> Sessions<R> {
    /// No sessions.
    #[must_use]
    pub const fn new() -> Self {
        Self { sessions: BTreeMap::new(), uses: 0 }
    }

    /// Opens a session. If there are too many then, the least recently used one is evicted.
    pub fn open(&mut self, name: SessionName) {
        self.uses += 1;
        self.sessions
            .insert(name, Session { low: 0, replies: BTreeMap::new(), last_use: self.uses });
        if self.sessions.len() > CLIENT_SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_use);
            let oldest = *oldest.expect("there are too many").0;
            self.sessions.remove(&oldest);
        }
    }

    /// Decides about the command `seq` of a session, whose client may still ask from `low` on.
    pub fn admit(&mut self, name: SessionName, seq: u64, low: u64) -> Admission<R> {
        self.uses += 1;
        let Some(session) = self.sessions.get_mut(&name) else {
            return Admission::Refused(Refused::UnknownSession);
        };
        session.last_use = self.uses;
        // A late command carries an old `low`; what was given up stays given up.
        session.low = session.low.max(low);
        session.replies.retain(|seq, _| *seq >= session.low);
        if seq < session.low {
            return Admission::Refused(Refused::TooLow);
        }
        if seq - session.low >= SESSION_REPLIES_MAX {
            return Admission::Refused(Refused::TooHigh);
        }
        match session.replies.get(&seq) {
            Some(reply) => Admission::Repeat(reply.clone()),
            None => Admission::Execute,
        }
    }

    /// Keeps the reply of a command that was executed.
    ///
    /// # Panics
    /// If the session is unknown: [`Sessions::admit`] has not answered [`Admission::Execute`].
    pub fn record(&mut self, name: SessionName, seq: u64, reply: R) {
        let session = self.sessions.get_mut(&name).expect("the command was admitted");
        session.replies.insert(seq, reply);
    }

    /// Forgets all sessions, as a restore does.
    pub fn clear(&mut self) {
        self.sessions.clear();
    }

    /// The number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

impl<R: Clone> Default for Sessions<R> {
    fn default() -> Self {
        Self::new()
    }
}
