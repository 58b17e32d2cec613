//! Time to live: in order, not early, not late.
//!
//! Deadlines are compared with log time, which follows the clocks of a majority. The bounds hold in
//! true time while fewer than half of the voters have clocks that are off: an anchor is then wrong by
//! the clock bound, what right clocks may be off, and a round trip. Two anchors meet in the life of an
//! entry, that of its write and that of its expiry.

use std::collections::BTreeMap;

use plimsoll::clock::UnixMillis;
use plimsoll::entry::EventKind;
use plimsoll::kv::{Action, KeyEvent, QualifiedKey};
use plimsoll::raft::Applied;

use super::{Promise, Violation};

pub(super) const EXPIRY_ORDER: Promise = Promise {
    name: "expiry order",
    sentence: "entries expire at or after their deadlines in log time, earliest deadlines first",
};
pub(super) const NOT_EARLY: Promise = Promise {
    name: "not early",
    sentence: "an entry is there for its time to live less what the leaders' clocks were wrong",
};
pub(super) const NOT_LATE: Promise = Promise {
    name: "not late",
    sentence: "an entry is gone after its time to live, what the leaders' clocks were wrong and the time \
               without a leader",
};

/// The entries with a deadline.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    living: BTreeMap<QualifiedKey, Living>,
    /// True time of the last command, and the sum of the long waits between commands.
    last_us: u64,
    quiet_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Living {
    deadline: UnixMillis,
    ttl_us: u64,
    /// When the write was proposed, and when it was applied.
    proposed_us: u64,
    written_us: u64,
    /// The term of the leader that stamped the write, and quiet time then.
    term: u64,
    quiet_us: u64,
    lag_us: u64,
}

/// What the bounds depend on at the time of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub now_us: u64,
    /// When the command was proposed.
    pub proposed_us: u64,
    /// The term of the leader that stamped it: it may be applied only under a later one.
    pub term: u64,
    /// What an anchor may be wrong; none if too many clocks are off, or were.
    pub anchor_error_us: Option<u64>,
    /// Leaders so far whose clocks were unresolved.
    pub unresolved: u64,
    /// By how much log time may lag in the term of the command.
    pub lag_us: u64,
}

impl Expiry {
    /// A command that was applied for the first time anywhere.
    /// Answers whether an entry expired under another leader than the one that wrote it.
    pub fn check_applied(&mut self, applied: &Applied, at: Moment) -> Result<bool, Violation> {
        let waited_us = at.now_us - self.last_us;
        self.last_us = at.now_us;
        if waited_us > QUIET_US {
            self.quiet_us += waited_us;
        }
        let Some(change) = &applied.outcome.change else { return Ok(false) };
        let mut is_under_other = false;
        let mut latest = UnixMillis(0);
        let is_advance = applied.command.action == Action::Advance;
        for event in &*change.events {
            if event.kind == EventKind::Expire {
                let deadline = self.check_expired(event, applied, at)?;
                if is_advance && deadline < latest {
                    return Err(EXPIRY_ORDER.broken(format!(
                        "at index {}, {:?} of {deadline:?} expires after one of {latest:?}",
                        applied.index, event.key
                    )));
                }
                latest = deadline;
                let living = self.living.get(&event.key);
                is_under_other |= living.is_some_and(|living| living.term < at.term);
            }
            self.follow(event, applied.log_time, at);
        }
        Ok(is_under_other)
    }

    /// By how much log time may lag in a term without agreeing clocks, given that of the term before:
    /// it goes on from the last log time, which was stamped a while ago.
    pub const fn lag_us(&self, before_us: u64, now_us: u64) -> u64 {
        before_us + UNRESOLVED_US + (now_us - self.last_us)
    }

    /// An entry expires; answers its deadline.
    fn check_expired(
        &self,
        event: &KeyEvent,
        applied: &Applied,
        at: Moment,
    ) -> Result<UnixMillis, Violation> {
        let Some(living) = self.living.get(&event.key) else {
            return Err(EXPIRY_ORDER.broken(format!(
                "at index {}, {:?} expires and has no deadline",
                applied.index, event.key
            )));
        };
        if living.deadline > applied.log_time {
            return Err(EXPIRY_ORDER.broken(format!(
                "at index {}, log time {:?}, {:?} expires before {:?}",
                applied.index, applied.log_time, event.key, living.deadline
            )));
        }
        if let Some(anchor_error_us) = at.anchor_error_us {
            self.check_bounds(living, anchor_error_us, event, at)?;
        }
        Ok(living.deadline)
    }

    fn check_bounds(
        &self,
        living: &Living,
        anchor_error_us: u64,
        event: &KeyEvent,
        at: Moment,
    ) -> Result<(), Violation> {
        let lived_us = at.now_us - living.written_us;
        let lived_most_us = at.now_us - living.proposed_us;
        let drift_us = (living.ttl_us.max(lived_us)) * DRIFT_PERCENT_MAX / 100;
        let is_one_leader = at.term == living.term;
        let anchors_us = 2 * anchor_error_us;
        // What log time lagged at the write, the next leader that knows better makes up for at once.
        let changes_us = if is_one_leader { 0 } else { anchors_us + living.lag_us };
        let early_us = drift_us + SLACK_US + changes_us;
        let told = || {
            let (lived_ms, ttl_ms) = (lived_us / 1_000, living.ttl_us / 1_000);
            format!("{:?} lived {lived_ms} ms with a time to live of {ttl_ms} ms", event.key)
        };
        if lived_most_us + early_us < living.ttl_us {
            return Err(NOT_EARLY.broken(format!("{}; allowed: {} ms", told(), early_us / 1_000)));
        }
        let late_us = anchors_us
            + drift_us
            + (self.quiet_us - living.quiet_us)
            + at.unresolved * UNRESOLVED_US
            + LATE_SLACK_US;
        if lived_us > living.ttl_us + late_us {
            return Err(NOT_LATE.broken(format!("{}; allowed: {} ms", told(), late_us / 1_000)));
        }
        Ok(())
    }

    fn follow(&mut self, event: &KeyEvent, log_time: UnixMillis, at: Moment) {
        let deadline = event.record.as_ref().and_then(|record| record.deadline);
        match deadline {
            None => {
                self.living.remove(&event.key);
            }
            Some(deadline) => {
                let ttl_us = (deadline.0 - log_time.0) * 1_000;
                let (written_us, term, lag_us) = (at.now_us, at.term, at.lag_us);
                let quiet_us = self.quiet_us;
                let proposed_us = at.proposed_us;
                let living =
                    Living { deadline, ttl_us, proposed_us, written_us, term, quiet_us, lag_us };
                self.living.insert(event.key.clone(), living);
            }
        }
    }
}

/// The fastest and slowest clocks of a world.
pub(crate) const DRIFT_PERCENT_MAX: u64 = 2;
/// A wait between two commands from which on it counts as time without a leader.
const QUIET_US: u64 = 300_000;
/// Between proposing and applying.
const SLACK_US: u64 = 1_500_000;
/// A tick, a commit and a proposal that has to be repeated.
const LATE_SLACK_US: u64 = 3_000_000;
/// What an election without agreeing clocks may add.
const UNRESOLVED_US: u64 = 10_000_000;
