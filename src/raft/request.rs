//! What a node is asked for, and what it answers.
//!
//! Every request ends: with an answer, or with a failure by its deadline. A failure says what is
//! known of the outcome; `None` means that nothing of the request was or will be applied.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use super::RaftId;
use super::message::Member;
use crate::clock::UnixMillis;
use crate::error::{Error, ErrorKind, Outcome};
use crate::kv;
use crate::limits::RAFT_REQUESTS_MAX;

/// Names a request towards one node, within one of its starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a node is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Have a command applied. The node may propose it several times: a command that must not be
    /// applied twice carries a session stamp.
    Write(kv::Command),
    /// Wait until the machine shows everything that was acknowledged before the request.
    Read,
    /// Hand leadership to a voter.
    Transfer(RaftId),
    /// Change the membership, all at once.
    Change(Vec<MemberChange>),
}

/// One change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A member that receives the log and does not vote.
    AddLearner(Member),
    /// A learner that has caught up becomes a voter.
    Promote(RaftId),
    /// A voter becomes a learner: it keeps the state, and votes no more.
    Demote(RaftId),
    /// A member leaves for ever: its raft id is never used again.
    Remove(RaftId),
    /// A member is reached elsewhere, or bears another name; it votes or not as before.
    Move(Member),
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Which request.
    pub request: RequestId,
    /// How it ended.
    pub result: Result<Answer, Failure>,
}

/// What was asked for, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command was applied.
    Applied {
        /// At which index of the log it was executed: a command of a session perhaps before, as an
        /// earlier copy of it.
        index: u64,
        /// The log time after that.
        log_time: UnixMillis,
        /// What the machine replied.
        reply: kv::Reply,
    },
    /// The machine, as it is now, is recent enough.
    Read {
        /// The index that it has applied.
        index: u64,
    },
    /// The membership was changed, and members that were removed are needed no more.
    Changed {
        /// At which index of the log the change, or its joint phase, ended.
        index: u64,
    },
    /// The transfer of leadership has begun; the status shows when it is done.
    TransferStarted,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: FailureReason,
    /// What is known of its effect.
    pub outcome: Outcome,
}

/// The reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// Its deadline passed.
    Timeout,
    /// Its deadline passed, and no leader was known.
    NoLeader,
    /// Too many requests wait already.
    Busy,
    /// It is not allowed, for the reason given.
    Refused(String),
    /// The node has stopped.
    Stopped,
    /// No node could be asked, for the reason given.
    NoNode(String),
}

impl Failure {
    /// A failure that has certainly changed nothing.
    #[must_use]
    pub const fn without_effect(reason: FailureReason) -> Self {
        Self { reason, outcome: Outcome::None }
    }

    /// The error that a caller gets.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let is_unknown = self.outcome == Outcome::Unknown;
        let error = match &self.reason {
            // Nothing says of an earlier attempt that it failed, too.
            FailureReason::Refused(why) if is_unknown => Error::unavailable(why.clone()),
            FailureReason::Busy if is_unknown => {
                Error::unavailable("the node that would tell is too busy")
            }
            FailureReason::Timeout => {
                Error::new(ErrorKind::Timeout, "the cluster did not answer in time")
            }
            FailureReason::NoLeader => Error::unavailable("the cluster has no leader"),
            FailureReason::Busy => Error::new(
                ErrorKind::RateLimited,
                format!("more than {RAFT_REQUESTS_MAX} requests wait at this node"),
            )
            .with_detail("limit", i64::try_from(RAFT_REQUESTS_MAX).unwrap_or(i64::MAX)),
            FailureReason::Refused(why) => Error::invalid(why.clone()),
            FailureReason::Stopped => Error::unavailable("the node has stopped"),
            FailureReason::NoNode(why) => Error::unavailable(why.clone()),
        };
        error.with_outcome(self.outcome)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_error(), f)
    }
}

/// Where a command came from: enough to recognise it in the log, whoever proposed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The node that took the request.
    pub node: RaftId,
    /// In which of its starts.
    pub start: u64,
    /// Which request.
    pub request: RequestId,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its index in the log.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The log time after it.
    pub log_time: UnixMillis,
    /// Where it came from; none if the leader proposed it by itself.
    pub origin: Option<Origin>,
    /// The command.
    pub command: kv::Command,
    /// What it did.
    pub outcome: kv::Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_an_error_that_keeps_its_outcome() {
        let refused = || FailureReason::Refused("no".to_owned());
        for reason in [
            FailureReason::Timeout,
            FailureReason::NoLeader,
            FailureReason::Busy,
            refused(),
            FailureReason::Stopped,
            FailureReason::NoNode("far".to_owned()),
        ] {
            for outcome in [Outcome::None, Outcome::Unknown] {
                let error = Failure { reason: reason.clone(), outcome }.to_error();
                assert_eq!(error.outcome(), Some(outcome), "{error}");
                assert!(!error.retryable() || outcome == Outcome::None, "{error}");
            }
        }
        assert_eq!(Failure::without_effect(refused()).to_error().kind(), ErrorKind::Invalid);
    }
}
