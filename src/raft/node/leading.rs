//! Leading: the clock of the log, what a leader proposes by itself, and handing leadership over.
//!
//! A leader's stamps are its anchor plus monotonic time. The anchor is what the clocks of a majority
//! agreed on in its election, or the last log time if they did not, and never before the latter.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::Node;
use super::apply::encode_origin;
use crate::clock::UnixMillis;
use crate::kv::{Action, Command, LogEntry, encode_command};
use crate::limits::RAFT_STAMP_PERIOD_MS;
use crate::mutant::mutant;
use crate::raft::request::Origin;
use crate::raft::{Now, RaftId};

/// The time of a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leadership {
    /// Its term.
    term: u64,
    /// The stamp at which it began.
    anchor: UnixMillis,
    /// The monotonic time at which it began.
    since_ms: u64,
    /// Whether a majority's clocks agreed.
    is_resolved: bool,
    /// The monotonic time of the newest stamp.
    stamped_ms: u64,
    /// Its own advance of log time is under way.
    is_advancing: bool,
    /// The monotonic time at which it last tried to hand leadership over.
    handed_over_ms: Option<u64>,
}

/// Why a leader did not propose something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotProposed {
    NotLeader,
    Busy,
}

impl Node {
    pub(super) fn start_leading(&mut self, now: Now) {
        let agreed = self.agreed_time(now);
        let newest = self.raw.store().newest_stamp().max(self.log_time());
        let time =
            if mutant!("leader's clock without the quorum") { Some(now.wall) } else { agreed };
        let mut anchor = time.unwrap_or(newest).max(newest);
        if mutant!("leader forgets the last log time") {
            anchor = time.unwrap_or(now.wall);
        }
        self.leadership = Some(Leadership {
            term: self.raw.raft.term,
            anchor,
            since_ms: now.monotonic_ms,
            is_resolved: agreed.is_some(),
            stamped_ms: now.monotonic_ms,
            is_advancing: false,
            handed_over_ms: None,
        });
    }

    pub(super) fn stop_leading(&mut self) {
        self.leadership = None;
        self.stop_sending();
    }

    /// Whether the present leadership began without a majority's clocks in agreement.
    pub(super) fn is_clock_unresolved(&self) -> bool {
        self.leadership.is_some_and(|leadership| !leadership.is_resolved)
    }

    /// What a leader does by itself at every tick.
    pub(super) fn lead(&mut self, now: Now) {
        self.advance_log_time(now);
        self.hand_over_if_clock_is_off(now);
        self.leave_joint(now);
    }

    /// Proposes a command. Its index is the last of the log then.
    pub(super) fn propose(
        &mut self,
        origin: Option<Origin>,
        command: &[u8],
        now: Now,
    ) -> Result<(u64, u64), NotProposed> {
        let Some(mut leadership) = self.leadership.filter(|_| self.is_leader()) else {
            return Err(NotProposed::NotLeader);
        };
        let data = LogEntry::seal(leadership.stamp(now), command).to_vec();
        let context = origin.map_or_else(Vec::new, encode_origin);
        self.raw.propose(context, data).map_err(|_| NotProposed::Busy)?;
        leadership.stamped_ms = now.monotonic_ms;
        self.leadership = Some(leadership);
        Ok((self.raw.raft.raft_log.last_index(), leadership.term))
    }

    /// Removes what has expired, and keeps log time near the clock while a deadline is pending.
    fn advance_log_time(&mut self, now: Now) {
        let Some(leadership) = self.leadership.filter(|leadership| !leadership.is_advancing) else {
            return;
        };
        let Some(deadline) = self.machine.next_deadline() else { return };
        let is_due = deadline <= leadership.stamp(now);
        let is_quiet = now.monotonic_ms - leadership.stamped_ms >= RAFT_STAMP_PERIOD_MS;
        if !is_due && !is_quiet {
            return;
        }
        let command = encode_command(&Command::new(Action::Advance));
        if self.propose(None, &command, now).is_ok()
            && let Some(leadership) = &mut self.leadership
        {
            leadership.is_advancing = true;
        }
    }

    /// An advance of this leadership was applied: there may be another one.
    pub(super) fn note_applied(&mut self, term: u64, action: &Action) {
        if let Some(leadership) = &mut self.leadership
            && leadership.term == term
            && *action == Action::Advance
        {
            leadership.is_advancing = false;
        }
    }

    /// A leader whose clock is far from that of an agreeing majority lets another one lead, whose
    /// clock is near it.
    fn hand_over_if_clock_is_off(&mut self, now: Now) {
        let Some(leadership) = self.leadership else { return };
        let waited_ms = leadership.handed_over_ms.map(|at| now.monotonic_ms - at);
        let is_early = waited_ms.is_some_and(|waited_ms| waited_ms < self.options.election_ms());
        if is_early || !self.is_clock_off(now) {
            return;
        }
        self.clock_off_ms = Some(now.monotonic_ms);
        let agreed = self.agreed_time(now);
        let is_right = |voter| {
            let time = self.clocks.time_at(voter, now);
            let apart_ms = time.zip(agreed).map(|(time, agreed)| time.0.abs_diff(agreed.0));
            apart_ms.is_some_and(|apart_ms| apart_ms <= self.options.clock_bound_ms)
        };
        if let Some(successor) = self.most_caught_up(is_right) {
            self.raw.transfer_leader(successor.0);
        }
        if let Some(leadership) = &mut self.leadership {
            leadership.handed_over_ms = Some(now.monotonic_ms);
        }
    }

    /// The voter, other than this one, that has the most of the log, of those that are suitable.
    pub(super) fn most_caught_up(&self, is_suitable: impl Fn(RaftId) -> bool) -> Option<RaftId> {
        let voters = self.voters();
        let progress = self.raw.raft.prs();
        let others =
            voters.incoming.iter().filter(|voter| **voter != self.id && is_suitable(**voter));
        let active = others.filter_map(|voter| {
            let progress = progress.get(voter.0)?;
            progress.recent_active.then_some((progress.matched, *voter))
        });
        active.max().map(|(_, voter)| voter)
    }

    /// Whether the clocks of a majority agree, and this node's is not among them.
    pub(super) fn is_clock_off(&self, now: Now) -> bool {
        let agreed = self.agreed_time(now);
        agreed.is_some_and(|agreed| agreed.0.abs_diff(now.wall.0) > self.options.clock_bound_ms)
    }

    /// Whether this node's clock was off when it last asked for votes or led, not long ago.
    pub(super) fn was_clock_off(&self, now: Now) -> bool {
        let rest_ms = CLOCK_OFF_RESTS_ELECTIONS * self.options.election_ms();
        self.clock_off_ms.is_some_and(|off_ms| now.monotonic_ms - off_ms < rest_ms)
    }

    fn agreed_time(&self, now: Now) -> Option<UnixMillis> {
        let age_max_ms = REPORT_AGE_ELECTIONS * self.options.election_ms();
        let bound_ms = self.options.clock_bound_ms;
        self.clocks.agreed(&self.voters(), self.id, bound_ms, age_max_ms, now)
    }
}

impl Leadership {
    fn stamp(self, now: Now) -> UnixMillis {
        if mutant!("stamps follow the wall clock") {
            return now.wall;
        }
        self.anchor.after(now.monotonic_ms - self.since_ms)
    }
}

/// For how many election timeouts the report of a clock counts.
const REPORT_AGE_ELECTIONS: u64 = 4;
/// For how many election timeouts a node whose clock was off does not campaign: long enough for
/// another to be elected, be it at the second attempt.
const CLOCK_OFF_RESTS_ELECTIONS: u64 = 4;
