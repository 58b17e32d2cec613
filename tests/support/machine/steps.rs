//! Steps of a machine's life, as data: generated, shrunk and printed.
//!
//! A step names what it needs by its place in what came before (the third last version that was
//! seen, the oldest session), never by value: so a step means something in every shrunk sequence.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;

use crate::writes::{KEYS, PLACES, VALUES, WriteStep, limit, write};

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// As the first step: the machine is not empty but close to the limits on numbers.
    Crowded,
    /// A command is applied.
    Command { stamp: i64, call: Option<Call>, action: ActionStep },
    /// A page is read.
    List { keyspace: usize, prefix: &'static [u8], after: &'static [u8], limit: usize, ahead: u64 },
    /// The changes after a revision, so many before the newest, are read.
    Changes { back: u64 },
    /// The machine is replaced by the one that its snapshot makes. Damaged in the bit at this
    /// place, the snapshot makes none.
    Reload { damage: usize },
    /// The machine is replaced by one restored from its snapshot in a new epoch.
    Restore,
    /// A clone is set aside; it must be found unchanged at the end.
    Clone,
    /// Clones each go another way; all must differ in snapshot and digest.
    Fork { key: usize, value: usize },
}

/// What a command does.
#[derive(Clone, Debug)]
pub enum ActionStep {
    Write { keyspace: usize, write: WriteStep, make_room: bool },
    Transact { keyspace: usize, writes: Vec<WriteStep>, make_room: bool },
    Advance,
    OpenSession,
}

/// Under which identity a command arrives.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub session: SessionPick,
    pub seq: SeqPick,
    /// How far below the next number the client still asks; none keeps what it was.
    pub low: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub enum SessionPick {
    /// Counted from the last one opened.
    Newest(usize),
    /// Counted from the first one opened.
    Oldest(usize),
    /// One of another epoch, or never opened.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub enum SeqPick {
    /// The next number.
    Next,
    /// A number again, or one left out before: so many below the next.
    Below(u64),
    /// A number further on: those between are left out, or come later.
    Above(u64),
}

/// The keyspaces; one is the other's beginning.
pub const KEYSPACES: [&str; 2] = ["a", "a.b"];

/// Most steps of a sequence.
pub const STEPS_MAX: usize = 160;

/// Sequences of steps. One in [`CROWDED_EVERY`] starts crowded, and lets everything expire once.
pub fn sequences(seed: u64) -> impl Strategy<Value = Vec<Step>> {
    let is_crowded = seed.is_multiple_of(CROWDED_EVERY);
    prop::collection::vec(step(), 1..=STEPS_MAX).prop_map(move |mut steps| {
        if is_crowded {
            let action = ActionStep::Advance;
            steps.insert(steps.len() / 2, Step::Command { stamp: 60, call: None, action });
            steps.insert(0, Step::Crowded);
        }
        steps
    })
}

/// Crowded machines take long to compare.
const CROWDED_EVERY: u64 = 125;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        120 => (stamp(), prop::option::weighted(0.4, call()), action())
            .prop_map(|(stamp, call, action)| Step::Command { stamp, call, action }),
        16 => (keyspace(), select(&PLACES), select(&PLACES), limit(), 0..40_u64).prop_map(
            |(keyspace, prefix, after, limit, ahead)| {
                Step::List { keyspace, prefix, after, limit, ahead }
            }
        ),
        6 => (0..10_u64).prop_map(|back| Step::Changes { back }),
        3 => any::<usize>().prop_map(|damage| Step::Reload { damage }),
        1 => Just(Step::Restore),
        1 => Just(Step::Clone),
        1 => (0..KEYS.len(), 0..VALUES).prop_map(|(key, value)| Step::Fork { key, value }),
    ]
}

/// How far a stamp lies after the one before; leaders disagree, so also before it.
fn stamp() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0), 4 => 1..=12_i64, 2 => -30..=-1_i64, 1 => 13..=60_i64]
}

fn action() -> BoxedStrategy<ActionStep> {
    prop_oneof![
        24 => (keyspace(), write(), make_room())
            .prop_map(|(keyspace, write, make_room)| ActionStep::Write { keyspace, write, make_room }),
        8 => (keyspace(), prop::collection::vec(write(), 0..=4), make_room()).prop_map(
            |(keyspace, writes, make_room)| {
                ActionStep::Transact { keyspace, writes: with_each_key_once(writes), make_room }
            }
        ),
        3 => Just(ActionStep::Advance),
        3 => Just(ActionStep::OpenSession),
    ]
    .boxed()
}

/// That a key occurs once is checked before a transaction is proposed.
fn with_each_key_once(writes: Vec<WriteStep>) -> Vec<WriteStep> {
    let mut kept: Vec<WriteStep> = Vec::new();
    for write in writes {
        if kept.iter().all(|other| other.key() != write.key()) {
            kept.push(write);
        }
    }
    kept
}

fn call() -> BoxedStrategy<Call> {
    let session = prop_oneof![
        6 => (0..3_usize).prop_map(SessionPick::Newest),
        2 => (0..3_usize).prop_map(SessionPick::Oldest),
        1 => Just(SessionPick::Unknown),
    ];
    let seq = prop_oneof![
        5 => Just(SeqPick::Next),
        4 => (1..=4_u64).prop_map(SeqPick::Below),
        1 => select(&[1, 2, 1_022, 1_023, 1_024, 1_025, u64::MAX / 2][..]).prop_map(SeqPick::Above),
    ];
    (session, seq, prop::option::weighted(0.3, 0..=4_u64))
        .prop_map(|(session, seq, low)| Call { session, seq, low })
        .boxed()
}

fn keyspace() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 1 => Just(1)]
}

fn make_room() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { stamp, call, action } => {
                write!(f, "stamp {stamp:+}: {action}")?;
                call.map_or(Ok(()), |call| write!(f, " as {call:?}"))
            }
            Self::List { keyspace, prefix, after, limit, ahead } => write!(
                f,
                "list {} prefix \"{}\" after \"{}\" limit {limit}, {ahead} ms ahead",
                KEYSPACES[*keyspace],
                prefix.escape_ascii(),
                after.escape_ascii()
            ),
            Self::Changes { back } => write!(f, "changes after the newest revision but {back}"),
            Self::Fork { key, value } => write!(f, "fork at {:?} with value {value}", KEYS[*key]),
            Self::Reload { .. } => f.write_str("Reload"),
            Self::Crowded | Self::Restore | Self::Clone => write!(f, "{self:?}"),
        }
    }
}

impl fmt::Display for ActionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = |make_room: bool| if make_room { ", making room" } else { "" };
        match self {
            Self::Write { keyspace, write, make_room } => {
                write!(f, "{}: {write}{}", KEYSPACES[*keyspace], room(*make_room))
            }
            Self::Transact { keyspace, writes, make_room } => {
                write!(f, "{}: transact", KEYSPACES[*keyspace])?;
                for write in writes {
                    write!(f, " [{write}]")?;
                }
                f.write_str(room(*make_room))
            }
            Self::Advance => f.write_str("advance"),
            Self::OpenSession => f.write_str("open a session"),
        }
    }
}
