//! Histories: what clients asked, when, and what they were told.
//!
//! A [`History`] is the only thing that the checkers look at. It holds three lists, in any order:
//!
//! 1. [`Call`]s, one for each operation of a client. A call that a client resumes (it resolves an
//!    unknown outcome under the same [`CommandId`]) stays one call: it began when it was first made
//!    and has the last answer.
//! 2. [`Delivery`]s, one for each revision that a watch handed out.
//! 3. [`Upkeep`], what the machine did on its own account: expiring entries, starting an epoch.
//!
//! Times are counted in any unit that grows, and on one clock for all clients: nanoseconds or the
//! steps of a simulation. A call happened before another if it returned before the other was made;
//! calls that share an instant overlap.
//!
//! A [`Label`] is what a user never sees: where in the log a command was executed, or which state
//! a read saw. A recorder takes it from the machine itself. It may leave labels out; but where it
//! gives them, it gives one to every command that was executed, also to those whose outcome their
//! client does not know. Labels make checking quick, and are themselves checked.
//!
//! Values and observations are shared: a million calls should fit into memory. No parsing here:
//! the form in files is in `history_file`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod words;

use std::sync::Arc;

use super::session::SessionName;
use super::spec::Refusal;
use crate::clock::UnixMillis;
use crate::entry::{
    Change, Condition, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Ttl, Version,
};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::mutant::mutant;
use crate::value::Value;

pub(crate) use words::Short;

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The calls of clients.
    pub calls: Vec<Call>,
    /// What watches handed out; those of one watch in their order.
    pub deliveries: Vec<Delivery>,
    /// What the machine did without being asked.
    pub upkeep: Vec<Upkeep>,
}

impl History {
    /// Whether it says nothing that could be wrong: no call is an observation, and no watch handed
    /// out anything. A checker that passes such a history has checked nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && !self.calls.iter().any(Call::is_observation)
    }
}

/// One operation of a client, from its call to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name in the history, unique.
    pub id: u64,
    /// Who made it.
    pub client: u32,
    /// Which node it was made at.
    pub node: u32,
    /// In which keyspace.
    pub keyspace: Keyspace,
    /// What was asked.
    pub request: Request,
    /// Under which identity a write was sent, if under any.
    pub command: Option<Box<CommandId>>,
    /// When it was made.
    pub called_at: u64,
    /// When it was answered, if it was. After an answer of an unknown outcome it may still happen.
    pub returned_at: Option<u64>,
    /// The answer.
    pub outcome: Outcome,
    /// Where it happened, if the recorder tells.
    pub label: Option<Label>,
}

impl Call {
    /// When it was certainly over: a call whose outcome is unknown may happen at any time.
    #[must_use]
    pub fn ended_at(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Unknown if mutant!("unknown outcome ends a call") => self.returned_at,
            Outcome::Ok(_) | Outcome::Failed(_) => self.returned_at,
            Outcome::Unknown => None,
        }
    }

    /// Whether it says something about the state: it happened, or a condition failed.
    #[must_use]
    pub fn is_observation(&self) -> bool {
        match &self.outcome {
            Outcome::Ok(_) => true,
            Outcome::Failed(refusal) => matches!(
                refusal.kind,
                ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::Conflict
            ),
            Outcome::Unknown => false,
        }
    }

    /// The version that it made, if it says that it made one.
    #[must_use]
    pub fn version_made(&self) -> Option<Version> {
        match (&self.request, &self.outcome) {
            (Request::Put(_), Outcome::Ok(Answer::Entry(observation))) => Some(observation.version),
            (Request::Transact(_), Outcome::Ok(Answer::Transacted(results))) => {
                results.iter().find_map(|result| match result {
                    OperationResult::Put(entry) => Some(entry.version),
                    OperationResult::Deleted(_) | OperationResult::Checked => None,
                })
            }
            _ => None,
        }
    }
}

/// The identity under which a command is executed at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId {
    /// The client session.
    pub session: SessionName,
    /// The number of the command in it.
    pub seq: u64,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The value of a key.
    Get(Key),
    /// The entry of a key.
    Entry(Key),
    /// Whether a key is present.
    Has(Key),
    /// Writes an entry; a `set` is one without a condition.
    Put(Box<PutRequest>),
    /// Deletes an entry.
    Delete(Box<DeleteRequest>),
    /// One page of the keyspace.
    List(Box<ListQuery>),
    /// All of several operations, or none.
    Transact(Box<[Operation]>),
}

/// The arguments of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRequest {
    /// The key.
    pub key: Key,
    /// The value; what is observed of it later shares it.
    pub value: Arc<Value>,
    /// Time to live, from the log time at which the command is executed.
    pub ttl: Option<Ttl>,
    /// What must hold.
    pub condition: Condition,
}

/// The arguments of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// The key.
    pub key: Key,
    /// The version that it must have; none means any, or no entry at all.
    pub if_version: Option<Version>,
}

impl Request {
    /// A put.
    #[must_use]
    pub fn put(key: Key, value: impl Into<Arc<Value>>, options: PutOptions) -> Self {
        let PutOptions { ttl, condition } = options;
        Self::Put(Box::new(PutRequest { key, value: value.into(), ttl, condition }))
    }

    /// A delete.
    #[must_use]
    pub fn delete(key: Key, if_version: Option<Version>) -> Self {
        Self::Delete(Box::new(DeleteRequest { key, if_version }))
    }

    /// A listing.
    #[must_use]
    pub fn list(query: ListQuery) -> Self {
        Self::List(Box::new(query))
    }

    /// A transaction.
    #[must_use]
    pub fn transact(operations: Vec<Operation>) -> Self {
        Self::Transact(operations.into())
    }

    /// Whether it is a command of the log, even if it changes nothing; the others read.
    #[must_use]
    pub const fn is_command(&self) -> bool {
        matches!(self, Self::Put(_) | Self::Delete(_) | Self::Transact(_))
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, with this answer.
    Ok(Answer),
    /// It changed nothing. `NOT_FOUND`, `ALREADY_EXISTS` and `CONFLICT` are observations: the key
    /// was in that state. Any other kind says only that the call did not happen.
    Failed(Box<Refusal>),
    /// It happened or not, or will.
    Unknown,
}

impl Outcome {
    /// A failure.
    #[must_use]
    pub fn failed(refusal: Refusal) -> Self {
        Self::Failed(Box::new(refusal))
    }
}

/// What a client is told by a call that succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a get, an entry or a put: the entry that was there, or is now.
    Entry(Arc<Observation>),
    /// Of a has or a delete: whether the key was present.
    Present(bool),
    /// Of a list.
    Page(Box<Page>),
    /// Of a transaction.
    Transacted(Box<[OperationResult]>),
}

impl Answer {
    /// An entry.
    #[must_use]
    pub fn entry(observation: impl Into<Arc<Observation>>) -> Self {
        Self::Entry(observation.into())
    }

    /// A page.
    #[must_use]
    pub fn page(page: Page) -> Self {
        Self::Page(Box::new(page))
    }

    /// The results of a transaction.
    #[must_use]
    pub fn transacted(results: Vec<OperationResult>) -> Self {
        Self::Transacted(results.into())
    }
}

/// What was seen of an entry. The version is recorded even where a client is not told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The value.
    pub value: Arc<Value>,
    /// The write that made the entry.
    pub version: Version,
    /// The instant from which the entry is gone.
    pub expires_at: Option<UnixMillis>,
}

/// Where in the log something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// The index of a command, where it was executed first; of a read, that of the last command
    /// that it saw executed, or 0.
    pub index: u64,
    /// The log time at which it was judged.
    pub log_time: UnixMillis,
    /// The epoch of the machine.
    pub epoch: u64,
}

/// One revision that a watch handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which watch, unique in the history.
    pub watch: u64,
    /// Whose.
    pub client: u32,
    /// At which node.
    pub node: u32,
    /// Of which keyspace.
    pub keyspace: Keyspace,
    /// Of which keys.
    pub prefix: Vec<u8>,
    /// After which revision this is the next for the watch: the one handed out before, or the one
    /// that the watch started after; none if this is the first of a watch that started at once.
    pub after: Option<Version>,
    /// When it was handed out.
    pub delivered_at: u64,
    /// The revision and its events.
    pub change: Change,
}

/// Something that the machine did on its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Where.
    pub label: Label,
    /// What.
    pub work: Work,
}

/// What a machine does on its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It removed expired entries.
    Advance,
    /// It went on in a new epoch, that of the label.
    Restore,
    /// It executed the command of this identity. Recorders may tell of every execution: one that
    /// belongs to no call, or is the second of its identity, is a violation.
    Execute(CommandId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_calls_fit_into_memory() {
        assert!(size_of::<Call>() <= 144, "a call has {} bytes", size_of::<Call>());
        assert!(size_of::<PutRequest>() <= 64, "a put has {} bytes", size_of::<PutRequest>());
        assert!(size_of::<Observation>() <= 48);
    }
}
