//! What a node counts and measures while it works: plain atomics, read by whoever exports them.
//!
//! A figure that the engine tells through its status is not kept here a second time. Counting costs one
//! relaxed addition, measuring a time two readings of the clock and two additions: nobody waits for it.
//!
//! No names of an exposition format, no HTTP: that is above. Figures that belong together may be read
//! at slightly different moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::kv::Reply;
use crate::raft::{Answer, Failure, FailureReason, Request};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// How much was counted since the node started.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
}

/// How many of something there are at present.
#[derive(Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// How many there are.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more, until what is returned is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(&self.0))
    }
}

/// One of what a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held(Arc<AtomicI64>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often a measure fell between which bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The upper bounds of the buckets, inclusive.
    pub bounds: &'static [u64],
    /// How many fell into each bucket alone, and last those above all bounds.
    pub counts: Vec<u64>,
    /// All that was measured, added up.
    pub sum: u64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self { bounds, counts, sum: AtomicU64::default() }
    }

    /// What was measured since the node started.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Measured { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }

    pub(super) fn observe(&self, measure: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < measure);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(measure, Ordering::Relaxed);
    }

    pub(super) fn observe_since(&self, since: Instant) {
        self.observe(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What a node is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A command.
    Write,
    /// The confirmation that the machine is recent enough to be read.
    Read,
    /// A change of the membership.
    Change,
    /// Leadership for another one.
    Transfer,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Write, Self::Read, Self::Change, Self::Transfer];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Change => "member_change",
            Self::Transfer => "transfer",
        }
    }

    const fn of(request: &Request) -> Self {
        match request {
            Request::Write(_) => Self::Write,
            Request::Read => Self::Read,
            Request::Change(_) => Self::Change,
            Request::Transfer(_) => Self::Transfer,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Done,
    /// A condition did not hold, or it is not allowed.
    Refused,
    /// Its deadline passed.
    Timeout,
    /// Its deadline passed, and no leader was known.
    NoLeader,
    /// Too many requests waited.
    Busy,
    /// The node has stopped.
    Stopped,
    /// Whoever asked waited no longer.
    Canceled,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Refused,
        Self::Timeout,
        Self::NoLeader,
        Self::Busy,
        Self::Stopped,
        Self::Canceled,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::NoLeader => "no_leader",
            Self::Busy => "busy",
            Self::Stopped => "stopped",
            Self::Canceled => "canceled",
        }
    }

    const fn of(result: &Result<Answer, Failure>) -> Self {
        match result {
            Ok(Answer::Applied { reply: Reply::Refused(_), .. }) => Self::Refused,
            Ok(_) => Self::Done,
            Err(Failure { reason, .. }) => match reason {
                FailureReason::Refused(_) => Self::Refused,
                FailureReason::Timeout => Self::Timeout,
                FailureReason::NoLeader => Self::NoLeader,
                FailureReason::Busy => Self::Busy,
                FailureReason::Stopped | FailureReason::NoNode(_) => Self::Stopped,
            },
        }
    }
}

/// With whom a node is connected, and who made the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To a member, made by this node: what it sends goes here.
    ToMember,
    /// From a member: what is received comes here.
    FromMember,
    /// From a client, in both directions.
    FromClient,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ToMember, Self::FromMember, Self::FromClient];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToMember => "to_member",
            Self::FromMember => "from_member",
            Self::FromClient => "from_client",
        }
    }
}

/// Why a connection was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There were too many already.
    Full,
    /// The handshake failed: another secret, another protocol, or silence.
    Handshake,
    /// It is of another cluster.
    Foreign,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Handshake, Self::Foreign];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Handshake => "handshake",
            Self::Foreign => "foreign",
        }
    }
}

/// What a node counts and measures. Times are in nanoseconds.
#[derive(Debug)]
pub struct Metrics {
    requests: [[Counter; Ended::ALL.len()]; Operation::ALL.len()],
    request_times: [Histogram; Operation::ALL.len()],
    connections: [Gauge; Side::ALL.len()],
    sent: [Counter; Side::ALL.len()],
    received: [Counter; Side::ALL.len()],
    rejections: [Counter; Rejection::ALL.len()],
    /// Connections to members that could not be made.
    pub connects_failed: Counter,
    /// Watches, of clients and of this process.
    pub watches: Gauge,
    /// Commands that the machine has applied here.
    pub applied: Counter,
    /// Elections in which this node stood.
    pub elections_started: Counter,
    /// Elections that it won.
    pub elections_won: Counter,
    /// How often a leader became known that was not known in that term before.
    pub leader_changes: Counter,
    /// Snapshots that were saved here.
    pub snapshots_taken: Counter,
    /// Snapshots that a member has received from here whole.
    pub snapshots_sent: Counter,
    /// Snapshots that have replaced the machine.
    pub snapshots_installed: Counter,
    /// How long a batch took to be written and synced.
    pub durable_times: Histogram,
    /// How many entries of the log were written and synced as one batch.
    pub batch_entries: Histogram,
    /// How long a step of the engine took that applied something.
    pub apply_times: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            request_times: std::array::from_fn(|_| Histogram::new(TIME_BOUNDS_NS)),
            connections: Default::default(),
            sent: Default::default(),
            received: Default::default(),
            rejections: Default::default(),
            connects_failed: Counter::default(),
            watches: Gauge::default(),
            applied: Counter::default(),
            elections_started: Counter::default(),
            elections_won: Counter::default(),
            leader_changes: Counter::default(),
            snapshots_taken: Counter::default(),
            snapshots_sent: Counter::default(),
            snapshots_installed: Counter::default(),
            durable_times: Histogram::new(TIME_BOUNDS_NS),
            batch_entries: Histogram::new(BATCH_BOUNDS),
            apply_times: Histogram::new(TIME_BOUNDS_NS),
        }
    }
}

impl Metrics {
    /// How many requests of a kind have ended in a way.
    #[must_use]
    pub const fn requests(&self, operation: Operation, ended: Ended) -> &Counter {
        &self.requests[operation as usize][ended as usize]
    }

    /// How long requests of a kind took, however they ended.
    #[must_use]
    pub const fn request_times(&self, operation: Operation) -> &Histogram {
        &self.request_times[operation as usize]
    }

    /// Connections that stand.
    #[must_use]
    pub const fn connections(&self, side: Side) -> &Gauge {
        &self.connections[side as usize]
    }

    /// Bytes of frames that were sent, without what the encryption adds.
    #[must_use]
    pub const fn sent(&self, side: Side) -> &Counter {
        &self.sent[side as usize]
    }

    /// Bytes of frames that were received, likewise.
    #[must_use]
    pub const fn received(&self, side: Side) -> &Counter {
        &self.received[side as usize]
    }

    /// Connections that were not kept.
    #[must_use]
    pub const fn rejections(&self, rejection: Rejection) -> &Counter {
        &self.rejections[rejection as usize]
    }

    /// A request begins.
    pub(super) fn begin(&self, request: &Request) -> Timed<'_> {
        let operation = Operation::of(request);
        Timed { metrics: self, operation, since: Instant::now(), ended: Ended::Canceled }
    }
}

/// A request under way: it is counted when this is dropped.
pub(super) struct Timed<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    since: Instant,
    ended: Ended,
}

impl Timed<'_> {
    pub fn end(mut self, result: &Result<Answer, Failure>) {
        self.ended = Ended::of(result);
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.metrics.requests(self.operation, self.ended).add(1);
        self.metrics.request_times(self.operation).observe_since(self.since);
    }
}

/// From 0.1 ms, below which no disk answers, to 10 s, above which everybody has given up.
const TIME_BOUNDS_NS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// Up to the number of inputs that are one step.
const BATCH_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::new(&[10, 20]);
        for measure in [0, 10, 11, 20, 21, 1_000] {
            histogram.observe(measure);
        }
        let measured = histogram.measured();
        assert_eq!(measured, Measured { bounds: &[10, 20], counts: vec![2, 2, 2], sum: 1_062 });
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let gauge = Gauge::default();
        let (one, other) = (gauge.hold(), gauge.hold());
        assert_eq!(gauge.value(), 2);
        drop(one);
        assert_eq!(gauge.value(), 1);
        drop(other);
        assert_eq!(gauge.value(), 0);
    }

    #[test]
    fn the_names_of_a_label_differ_and_stand_at_their_place() {
        let operations = Operation::ALL.map(|it| (it as usize, it.as_str()));
        let ends = Ended::ALL.map(|it| (it as usize, it.as_str()));
        let sides = Side::ALL.map(|it| (it as usize, it.as_str()));
        let rejections = Rejection::ALL.map(|it| (it as usize, it.as_str()));
        for names in [&operations[..], &ends, &sides, &rejections] {
            let distinct: std::collections::BTreeSet<_> = names.iter().map(|it| it.1).collect();
            assert_eq!(distinct.len(), names.len());
            assert!(names.iter().enumerate().all(|(place, (at, _))| place == *at));
        }
    }

    #[test]
    fn a_request_that_nobody_waits_for_is_counted_too() {
        let metrics = Metrics::default();
        drop(metrics.begin(&Request::Read));
        metrics.begin(&Request::Read).end(&Ok(Answer::Read { index: 1 }));
        assert_eq!(metrics.requests(Operation::Read, Ended::Canceled).value(), 1);
        assert_eq!(metrics.requests(Operation::Read, Ended::Done).value(), 1);
        assert_eq!(metrics.request_times(Operation::Read).measured().counts.iter().sum::<u64>(), 2);
    }
}
