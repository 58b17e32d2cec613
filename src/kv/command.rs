//! Commands of the machine, and what it replies.
//!
//! A command is complete: all that depends on a clock, a random number or a configuration was
//! decided by whoever proposed it. Its limits were checked before, too; the machine gives an answer
//! to any command.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use super::key::QualifiedKey;
use crate::clock::UnixMillis;
use crate::entry::{Condition, Ttl, Version};
use crate::error::Error;
use crate::limits::SESSION_REPLIES_MAX;
use crate::value::Encoded;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Under which identity it is executed at most once; none for commands without a client.
    pub session: Option<SessionStamp>,
    /// What to do.
    pub action: Action,
}

impl Command {
    /// A command without a client session.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        Self { session: None, action }
    }
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One write.
    Write {
        /// The write.
        write: Write,
        /// Remove expired entries first, because the store is full of them.
        make_room: bool,
    },
    /// Several writes on different keys, all or none, against the state before.
    Transact {
        /// The writes.
        writes: Vec<Write>,
        /// Remove expired entries first, because the store is full of them.
        make_room: bool,
    },
    /// Removes expired entries, at most [`crate::limits::REMOVALS_MAX`], earliest deadlines first.
    Advance,
    /// Opens a client session.
    OpenSession,
}

impl Action {
    /// The writes of the action; none if it has none.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        match self {
            Self::Write { write, .. } => std::slice::from_ref(write),
            Self::Transact { writes, .. } => writes,
            Self::Advance | Self::OpenSession => &[],
        }
    }

    /// The action with the order to remove expired entries first.
    #[must_use]
    pub fn making_room(mut self) -> Self {
        match &mut self {
            Self::Write { make_room, .. } | Self::Transact { make_room, .. } => *make_room = true,
            Self::Advance | Self::OpenSession => {}
        }
        self
    }
}

/// One write, or the requirement of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: QualifiedKey,
        /// The value.
        value: Encoded,
        /// Time to live, from the log time of the command.
        ttl: Option<Ttl>,
        /// What must hold.
        condition: Condition,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: QualifiedKey,
        /// The version that it must have.
        if_version: Option<Version>,
    },
    /// Changes nothing.
    Check {
        /// The key.
        key: QualifiedKey,
        /// What must hold.
        condition: Condition,
    },
}

impl Write {
    /// The key that the write is about.
    #[must_use]
    pub const fn key(&self) -> &QualifiedKey {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } => key,
        }
    }

    /// What must hold for the write.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Put { condition, .. } | Self::Check { condition, .. } => *condition,
            Self::Delete { if_version: None, .. } => Condition::None,
            Self::Delete { if_version: Some(version), .. } => Condition::Version(*version),
        }
    }
}

/// The identity of a client session: where and when it was opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The epoch of the machine then.
    pub epoch: u64,
    /// The index of the command that opened it.
    pub index: u64,
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}@{}", self.epoch, self.index)
    }
}

/// The identity of a command within a client session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStamp {
    /// The session.
    pub session: SessionId,
    /// The command's sequence number, unique in the session.
    pub seq: u64,
    /// The lowest sequence number that the client may still ask about.
    pub low: u64,
}

/// What the machine answers to a command. Small: it holds no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Action::Write`].
    Written(Written),
    /// To [`Action::Transact`]: one for each write.
    Transacted(Vec<Written>),
    /// To [`Action::Advance`]: how many entries were removed.
    Advanced(usize),
    /// To [`Action::OpenSession`].
    SessionOpened(SessionId),
    /// Nothing was changed.
    Refused(Refusal),
}

/// What one write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The entry was written.
    Put {
        /// The new version.
        version: Version,
        /// The new deadline.
        deadline: Option<UnixMillis>,
    },
    /// Whether there was an entry to delete.
    Deleted(bool),
    /// The condition held.
    Checked,
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// Which write of a transaction failed first, counted from 1; none for other commands.
    pub index: Option<usize>,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The key must be absent and has this version.
    Exists(Version),
    /// The key must have a version and is absent.
    Absent,
    /// The key has this version, not the one required.
    OtherVersion(Version),
    /// The client session is unknown: never opened, evicted, or of another epoch.
    SessionExpired,
    /// The sequence number lies below what the client may still ask about.
    SequenceTooLow,
    /// The sequence number lies too far above what the client may still ask about.
    SequenceTooHigh,
}

impl Refusal {
    /// The error that a caller gets, for the key of the refused write. The outcome is left to the
    /// caller: only who proposed the command knows whether an earlier attempt was sent.
    #[must_use]
    pub fn to_error(&self, key: &str) -> Error {
        let error = match self.reason {
            Reason::Exists(version) => Error::already_exists(format!("the key {key:?} exists"))
                .with_detail("version", version.to_string()),
            Reason::Absent => Error::absent(key),
            Reason::OtherVersion(current) => Error::conflict(format!(
                "the key {key:?} has another version: read it again and retry"
            ))
            .with_detail("version", current.to_string()),
            Reason::SessionExpired => Error::unavailable("the client session is no longer known")
                .with_detail("reason", "session_expired"),
            Reason::SequenceTooLow => {
                Error::invalid("the client has given up asking about this operation")
            }
            Reason::SequenceTooHigh => Error::new(
                crate::error::ErrorKind::RateLimited,
                format!("more than {SESSION_REPLIES_MAX} operations of the client are unresolved"),
            )
            .with_detail("limit", i64::try_from(SESSION_REPLIES_MAX).unwrap_or(i64::MAX)),
        };
        match self.index {
            None => error,
            Some(index) => error.with_detail("index", index),
        }
    }
}
