//! The sections of `cluster` about the engines of a node: `raft`, `crdt`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{CrdtOptions, RaftOptions, RaftRole};
use super::placed::Placed;
use crate::limits::{RAFT_FOUNDERS_MAX, RAFT_MEMBERS_MAX};
use crate::registry::duration::duration_text;
use crate::registry::fields::{Context, Fields, Given};
use crate::registry::nodes::Nodes;
use crate::registry::problem::{Origin, Refusal};

/// The section `raft`, with the places of what is checked with other fields.
pub(super) struct Raft {
    /// Its folder is empty if none is given.
    pub(super) options: RaftOptions,
    pub(super) data_dir_origin: Origin,
    pub(super) role_origin: Origin,
    counts: Counts,
    periods: Periods,
}

impl Raft {
    pub(super) fn read(fields: &mut Fields<'_>, folder: &Path) -> Self {
        let default = RaftOptions::new(PathBuf::new());
        let data_dir =
            Placed::take(fields, "data_dir", default.data_dir, |given| given.path(folder));
        let role = Placed::take(fields, "role", default.role, role);
        let eligible = fields.optional("eligible", |given| given.boolean());
        let priority = fields.optional("priority", priority);
        let counts = Counts::read(fields);
        let periods = Periods::read(fields);
        let snapshot_threshold = fields.optional("snapshot_threshold", at_least_one);
        let clock_bound = fields.optional("clock_bound", |given| given.positive_duration());
        let options = RaftOptions {
            data_dir: data_dir.clone(),
            role: *role,
            eligible: eligible.unwrap_or(default.eligible),
            priority: priority.unwrap_or(default.priority),
            bootstrap_expect: *counts.founders,
            max_voters: *counts.voters,
            max_standbys: *counts.standbys,
            heartbeat_timeout: *periods.heartbeat,
            election_timeout: *periods.election,
            failure_timeout: *periods.failure,
            snapshot_threshold: snapshot_threshold.unwrap_or(default.snapshot_threshold),
            clock_bound: clock_bound.unwrap_or(default.clock_bound),
        };
        let (data_dir_origin, role_origin) = (data_dir.origin, role.origin);
        Self { options, data_dir_origin, role_origin, counts, periods }
    }

    pub(super) fn expect_origin(&self) -> &Origin {
        &self.counts.founders.origin
    }

    /// Reports what its fields say against each other.
    pub(super) fn check(&self, context: &Context<'_>) {
        self.counts.check(context);
        self.periods.check(context);
    }
}

/// How many nodes do what.
struct Counts {
    founders: Placed<usize>,
    voters: Placed<usize>,
    standbys: Placed<usize>,
}

impl Counts {
    fn read(fields: &mut Fields<'_>) -> Self {
        let default = RaftOptions::new(PathBuf::new());
        let mut count = |name, default, limit| {
            Placed::take(fields, name, default, |given| number_of_nodes(given, limit))
        };
        Self {
            founders: count("bootstrap_expect", default.bootstrap_expect, RAFT_FOUNDERS_MAX),
            voters: count("max_voters", default.max_voters, RAFT_MEMBERS_MAX),
            standbys: count("max_standbys", default.max_standbys, RAFT_MEMBERS_MAX),
        }
    }

    fn check(&self, context: &Context<'_>) {
        let (founders, voters, standbys) = (*self.founders, *self.voters, *self.standbys);
        if voters == 0 {
            context
                .report(&self.voters.origin, "nothing is decided without a voter; write 1 or more");
        } else if founders > voters {
            let message = format!(
                "{founders} founders are more than the {voters} of max_voters, and founders vote; \
                 write {voters} or fewer, or raise max_voters"
            );
            context.report(self.founders.origin_or(&self.voters), message);
        }
        if voters + standbys > RAFT_MEMBERS_MAX {
            let message = format!(
                "{voters} voters and {standbys} standbys are more than the {RAFT_MEMBERS_MAX} \
                 members that a cluster can have; write fewer"
            );
            let origin = self.standbys.origin_or(&self.voters);
            context.report(origin, Refusal::over_limit(RAFT_MEMBERS_MAX, message));
        }
    }
}

/// The times that depend on each other.
struct Periods {
    heartbeat: Placed<Duration>,
    election: Placed<Duration>,
    failure: Placed<Duration>,
}

impl Periods {
    fn read(fields: &mut Fields<'_>) -> Self {
        let default = RaftOptions::new(PathBuf::new());
        let mut period =
            |name, default| Placed::take(fields, name, default, |given| given.positive_duration());
        Self {
            heartbeat: period("heartbeat_timeout", default.heartbeat_timeout),
            election: period("election_timeout", default.election_timeout),
            failure: period("failure_timeout", default.failure_timeout),
        }
    }

    fn check(&self, context: &Context<'_>) {
        let text = |period: &Placed<Duration>| duration_text(**period);
        let (heartbeat, election) = (text(&self.heartbeat), text(&self.election));
        if *self.election <= self.heartbeat.saturating_mul(2) {
            let message = format!(
                "election_timeout is {election} and heartbeat_timeout {heartbeat}: one lost heartbeat \
                 must not end a term; make election_timeout longer than two heartbeats"
            );
            context.report(self.election.origin_or(&self.heartbeat), message);
        }
        if *self.failure <= *self.election {
            let message = format!(
                "failure_timeout is {} and election_timeout {election}: no voter must be replaced \
                 while a leader is elected; make failure_timeout longer",
                text(&self.failure)
            );
            context.report(self.failure.origin_or(&self.election), message);
        }
    }
}

/// Reads the section `crdt`.
pub(super) fn read_crdt(fields: &mut Fields<'_>) -> CrdtOptions {
    let default = CrdtOptions::default();
    let clock_bound = fields.optional("clock_bound", |given| given.positive_duration());
    let max_tombstones = fields.optional("max_tombstones", at_least_one);
    let eviction_horizon = fields.optional("eviction_horizon", |given| given.interval());
    CrdtOptions {
        clock_bound: clock_bound.unwrap_or(default.clock_bound),
        max_tombstones: max_tombstones.unwrap_or(default.max_tombstones),
        eviction_horizon: eviction_horizon.unwrap_or(default.eviction_horizon),
    }
}

/// The fields of `raft`.
pub(super) fn write_raft(options: &RaftOptions, nodes: &mut Nodes) {
    let mut own = nodes.nested();
    own.path("data_dir", &options.data_dir);
    own.text("role", role_name(options.role));
    own.plain("eligible", options.eligible);
    own.plain("priority", options.priority);
    own.plain("bootstrap_expect", options.bootstrap_expect);
    own.plain("max_voters", options.max_voters);
    own.plain("max_standbys", options.max_standbys);
    own.duration("heartbeat_timeout", options.heartbeat_timeout);
    own.duration("election_timeout", options.election_timeout);
    own.plain("snapshot_threshold", options.snapshot_threshold);
    own.duration("clock_bound", options.clock_bound);
    own.duration("failure_timeout", options.failure_timeout);
    nodes.mapping("raft", own);
}

/// The fields of `crdt`.
pub(super) fn write_crdt(options: &CrdtOptions, nodes: &mut Nodes) {
    let mut own = nodes.nested();
    own.duration("clock_bound", options.clock_bound);
    own.plain("max_tombstones", options.max_tombstones);
    own.interval("eviction_horizon", options.eviction_horizon);
    nodes.mapping("crdt", own);
}

fn role(given: &Given<'_>) -> Result<RaftRole, Refusal> {
    match given.text()? {
        "server" => Ok(RaftRole::Server),
        "client" => Ok(RaftRole::Client),
        other => Err(Refusal::new(format!("{other:?} is unknown; write server or client"))),
    }
}

const fn role_name(role: RaftRole) -> &'static str {
    match role {
        RaftRole::Server => "server",
        RaftRole::Client => "client",
    }
}

fn priority(given: &Given<'_>) -> Result<u32, Refusal> {
    let priority = given.count()?;
    priority
        .try_into()
        .map_err(|_| Refusal::new(format!("{priority} is too large; write {} or less", u32::MAX)))
}

fn number_of_nodes(given: &Given<'_>, limit: usize) -> Result<usize, Refusal> {
    match usize::try_from(given.count()?) {
        Ok(number) if number <= limit => Ok(number),
        _ => Err(Refusal::over_limit(limit, format!("too many nodes; write {limit} or fewer"))),
    }
}

fn at_least_one(given: &Given<'_>) -> Result<u64, Refusal> {
    match given.count()? {
        0 => Err(Refusal::new("0 is too few; write 1 or more")),
        number => Ok(number),
    }
}
