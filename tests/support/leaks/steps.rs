//! The steps of the leak property, generated: what the host does, and what the restricted actor
//! calls.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::policies::{Setup, setup};

/// The keys, none a part of another or of a message.
pub const KEYS: &[&str] = &[
    "secret:dora-1",
    "secret:eve-2",
    "team/fay",
    "team/gus-4",
    "user:ada-5",
    "user:bob-6",
    "user:cyn-secret",
    "user:ida-\u{e9}8",
    "zed-9",
];

/// The resource patterns of policies; the store is `app:store`.
const RESOURCES: &[&str] = &["*", "app:*", "app:store", "app:other"];

/// A step, as data.
#[derive(Clone, Debug)]
pub enum Step {
    /// Comes first: who is restricted, and how.
    Begin(Box<Setup>),
    /// The host writes keys, in one transaction where the store has them.
    HostPut { keys: Vec<usize>, ttl_ms: u64 },
    /// The host deletes a key.
    HostDelete { key: usize },
    /// Time passes.
    Pass(u64),
    /// The actor calls.
    Call(Call),
}

/// A call of the restricted actor.
#[derive(Clone, Debug)]
pub enum Call {
    Get(usize),
    Entry(usize),
    Has(usize),
    Set { key: usize, ttl_ms: u64 },
    Put { key: usize, condition: Pick },
    Delete { key: usize, condition: Pick },
    List { prefix: &'static [u8], after: After, limit: usize },
    Transact(Vec<Part>),
    Watch { prefix: &'static [u8], after: Option<VersionPick> },
    Next(usize),
    Info,
}

/// An operation of a transaction.
#[derive(Clone, Debug)]
pub enum Part {
    Put(usize, Pick),
    Delete(usize, Pick),
    Check(usize, Pick),
}

/// A condition.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    None,
    Absent,
    Version(VersionPick),
}

/// Where a version comes from.
#[derive(Clone, Copy, Debug)]
pub enum VersionPick {
    /// One that the actor was told, counted from the newest.
    Told(usize),
    /// The actor knows the epoch from any version and tries revisions.
    Forged(u64),
}

/// Where a page starts.
#[derive(Clone, Copy, Debug)]
pub enum After {
    Start,
    /// After the cursor of the last page.
    Cursor,
    /// After a key, there or not, allowed or not.
    Key(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Call {
    /// The keys that the caller names.
    pub fn named(&self) -> Vec<&'static str> {
        let keys = match self {
            Self::Get(key) | Self::Entry(key) | Self::Has(key) => vec![*key],
            Self::Set { key, .. } | Self::Put { key, .. } | Self::Delete { key, .. } => vec![*key],
            Self::List { after: After::Key(key), .. } => vec![*key],
            Self::Transact(parts) => parts.iter().map(Part::key).collect(),
            Self::List { .. } | Self::Watch { .. } | Self::Next(_) | Self::Info => Vec::new(),
        };
        keys.into_iter().map(|key| KEYS[key]).collect()
    }
}

impl Part {
    pub const fn key(&self) -> usize {
        match self {
            Self::Put(key, _) | Self::Delete(key, _) | Self::Check(key, _) => *key,
        }
    }
}

/// Sequences that start with policies and an actor.
pub fn sequences() -> impl Strategy<Value = Vec<Step>> {
    let begin = setup(KEYS, RESOURCES).prop_map(|setup| Step::Begin(Box::new(setup)));
    (begin, vec(step(), 1..120)).prop_map(|(begin, mut steps)| {
        steps.insert(0, begin);
        steps
    })
}

fn step() -> impl Strategy<Value = Step> {
    let all: Vec<_> = (0..KEYS.len()).collect();
    let ttl = || prop_oneof![3 => Just(0), 1 => 1..50_u64];
    prop_oneof![
        5 => (subsequence(all, 1..4), ttl()).prop_map(|(keys, ttl_ms)| Step::HostPut { keys, ttl_ms }),
        1 => key().prop_map(|key| Step::HostDelete { key }),
        1 => (1..40_u64).prop_map(Step::Pass),
        18 => call().prop_map(Step::Call),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let ttl = || prop_oneof![3 => Just(0), 1 => 1..50_u64];
    let part = prop_oneof![
        (key(), pick()).prop_map(|(key, pick)| Part::Put(key, pick)),
        (key(), pick()).prop_map(|(key, pick)| Part::Delete(key, pick)),
        (key(), pick()).prop_map(|(key, pick)| Part::Check(key, pick)),
    ];
    let after = prop_oneof![Just(After::Start), Just(After::Cursor), key().prop_map(After::Key),];
    prop_oneof![
        2 => key().prop_map(Call::Get),
        1 => key().prop_map(Call::Entry),
        1 => key().prop_map(Call::Has),
        2 => (key(), ttl()).prop_map(|(key, ttl_ms)| Call::Set { key, ttl_ms }),
        3 => (key(), pick()).prop_map(|(key, condition)| Call::Put { key, condition }),
        2 => (key(), pick()).prop_map(|(key, condition)| Call::Delete { key, condition }),
        4 => (prefix(), after, 0..4_usize)
            .prop_map(|(prefix, after, limit)| Call::List { prefix, after, limit }),
        2 => vec(part, 0..4).prop_map(Call::Transact),
        1 => (prefix(), prop::option::of(version()))
            .prop_map(|(prefix, after)| Call::Watch { prefix, after }),
        4 => (0..WATCHES_MAX).prop_map(Call::Next),
        1 => Just(Call::Info),
    ]
}

fn key() -> impl Strategy<Value = usize> {
    0..KEYS.len()
}

fn prefix() -> impl Strategy<Value = &'static [u8]> {
    select(vec![&b""[..], b"", b"", b"user:", b"secret", b"team/", b"user:ida-\xc3", b"x"])
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        2 => Just(Pick::None),
        1 => Just(Pick::Absent),
        2 => version().prop_map(Pick::Version),
    ]
}

fn version() -> impl Strategy<Value = VersionPick> {
    prop_oneof![
        2 => (0..4_usize).prop_map(VersionPick::Told),
        1 => (0..60_u64).prop_map(VersionPick::Forged),
    ]
}

/// Most watches that the actor has open; a further one takes the place of the oldest.
pub const WATCHES_MAX: usize = 3;
