//! Steps of a store's life, as data: generated, shrunk and printed.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;

use crate::writes::{KEYS, PLACES, VALUES, VersionPick, WriteStep, limit, ttl_ms, version, write};

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A put, a delete, or a transaction of one check.
    Write(WriteStep),
    /// A `set`.
    Set { key: usize, value: usize, ttl_ms: u64 },
    /// Several, all or none; keys may occur twice.
    Transact(Vec<WriteStep>),
    /// `get`, `entry` and `has` of a key.
    Read(usize),
    /// A page.
    List { prefix: &'static [u8], after: &'static [u8], limit: usize },
    /// All pages, one after another.
    Scan { prefix: &'static [u8], limit: usize },
    /// What a new watch finds.
    Watch { prefix: &'static [u8], key: usize, after: VersionPick },
    /// What the watch that is always open finds.
    Drain,
    /// So many milliseconds go by.
    Pass(u64),
    /// Expired entries are removed.
    Sweep,
    /// The handle is released and another one acquired.
    Release,
    /// The store is closed and opened again.
    Reopen,
}

/// Most steps of a sequence.
const STEPS_MAX: usize = 200;

/// Sequences of steps.
pub fn sequences() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..=STEPS_MAX)
}

fn step() -> BoxedStrategy<Step> {
    prop_oneof![
        40 => write().prop_map(Step::Write),
        6 => (0..KEYS.len(), 0..VALUES, ttl_ms())
            .prop_map(|(key, value, ttl_ms)| Step::Set { key, value, ttl_ms }),
        12 => prop::collection::vec(write(), 0..=4).prop_map(Step::Transact),
        12 => (0..KEYS.len()).prop_map(Step::Read),
        10 => (select(&PLACES), select(&PLACES), limit())
            .prop_map(|(prefix, after, limit)| Step::List { prefix, after, limit }),
        4 => (select(&PLACES), limit()).prop_map(|(prefix, limit)| Step::Scan { prefix, limit }),
        6 => (select(&PLACES), 0..KEYS.len(), version())
            .prop_map(|(prefix, key, after)| Step::Watch { prefix, key, after }),
        4 => Just(Step::Drain),
        14 => (1..30_u64).prop_map(Step::Pass),
        3 => Just(Step::Sweep),
        1 => Just(Step::Release),
        1 => Just(Step::Reopen),
    ]
    .boxed()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(write) => write!(f, "{write}"),
            Self::Set { key, value, ttl_ms } => {
                write!(f, "set {:?} value {value} ttl {ttl_ms} ms", KEYS[*key])
            }
            Self::Transact(writes) => {
                f.write_str("transact")?;
                writes.iter().try_for_each(|write| write!(f, " [{write}]"))
            }
            Self::Read(key) => write!(f, "read {:?}", KEYS[*key]),
            Self::List { prefix, after, limit } => write!(
                f,
                "list prefix \"{}\" after \"{}\" limit {limit}",
                prefix.escape_ascii(),
                after.escape_ascii()
            ),
            Self::Scan { prefix, limit } => {
                write!(f, "scan prefix \"{}\" limit {limit}", prefix.escape_ascii())
            }
            Self::Watch { prefix, key, after } => write!(
                f,
                "watch prefix \"{}\" after {after:?} of {:?}",
                prefix.escape_ascii(),
                KEYS[*key]
            ),
            Self::Pass(milliseconds) => write!(f, "{milliseconds} ms pass"),
            Self::Drain | Self::Sweep | Self::Release | Self::Reopen => write!(f, "{self:?}"),
        }
    }
}
