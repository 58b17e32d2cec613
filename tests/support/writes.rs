//! Generated writes with their conditions and versions: the part of a sequence that a state
//! machine and a store have in common.
//!
//! A version is named by its place in what came before (the third last one that was given), never
//! by value: so a write means something in every shrunk sequence.

use std::collections::BTreeMap;
use std::fmt;

use plimsoll::check::spec::{Name, Spec};
use plimsoll::entry::{Condition, Key, Operation, PutOptions, Ttl, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::value::{Table, Value};
use proptest::prelude::*;
use proptest::sample::select;

/// A write, as data.
#[derive(Clone, Debug)]
pub enum WriteStep {
    Put { key: usize, value: usize, ttl_ms: u64, condition: ConditionStep },
    Delete { key: usize, if_version: Option<VersionPick> },
    Check { key: usize, condition: ConditionStep },
}

impl WriteStep {
    pub const fn key(&self) -> usize {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } => *key,
        }
    }
}

/// What a write requires.
#[derive(Clone, Copy, Debug)]
pub enum ConditionStep {
    None,
    Absent,
    Version(VersionPick),
}

/// Where a version comes from.
#[derive(Clone, Copy, Debug)]
pub enum VersionPick {
    /// What the key has, expired or not.
    Current,
    /// One that was given, counted from the newest.
    Given(usize),
    /// The current revision of the key, in another epoch.
    Foreign,
    /// A revision that was not made yet.
    Future(u64),
    /// The version of stores without versions.
    Unversioned,
}

/// The versions that were given so far, from which steps take theirs.
#[derive(Clone, Default)]
pub struct Versions {
    /// All of them, oldest first.
    given: Vec<Version>,
    /// The newest of each name, whatever became of its entry.
    newest: BTreeMap<Name, Version>,
}

impl Versions {
    /// A write was given a version.
    pub fn learn(&mut self, name: Name, version: Version) {
        self.given.push(version);
        self.newest.insert(name, version);
    }

    /// The operation that a step means now.
    pub fn operation(&self, spec: &Spec, keyspace: &Keyspace, write: &WriteStep) -> Operation {
        let key = key(write.key());
        let name = (keyspace.clone(), key.clone());
        let condition = |condition: ConditionStep| match condition {
            ConditionStep::None => Condition::None,
            ConditionStep::Absent => Condition::Absent,
            ConditionStep::Version(pick) => Condition::Version(self.version(spec, &name, pick)),
        };
        match *write {
            WriteStep::Put { value, ttl_ms, condition: step, .. } => {
                put(key, self::value(value), ttl_ms, condition(step))
            }
            WriteStep::Delete { if_version, .. } => {
                let if_version = if_version.map(|pick| self.version(spec, &name, pick));
                Operation::Delete { key, if_version }
            }
            WriteStep::Check { condition: step, .. } => {
                Operation::Check { key, condition: condition(step) }
            }
        }
    }

    /// The version that a step means now.
    pub fn version(&self, spec: &Spec, name: &Name, pick: VersionPick) -> Version {
        let newest = self.newest.get(name).copied();
        let (epoch, revision) = (spec.epoch(), spec.revision());
        let first = Version::Numbered { epoch, revision: 1 };
        match pick {
            VersionPick::Current => newest.unwrap_or(first),
            VersionPick::Given(back) => {
                let place = self.given.len().checked_sub(back + 1);
                place.map_or(first, |place| self.given[place])
            }
            VersionPick::Foreign => match newest.unwrap_or(first) {
                Version::Numbered { epoch, revision } => {
                    Version::Numbered { epoch: epoch ^ 0xff00, revision }
                }
                Version::Unversioned | Version::Stamped { .. } => first,
            },
            VersionPick::Future(ahead) => Version::Numbered { epoch, revision: revision + ahead },
            VersionPick::Unversioned => Version::Unversioned,
        }
    }
}

/// The key of a number below [`KEYS`].
pub fn key(number: usize) -> Key {
    Key::new(KEYS[number]).unwrap()
}

/// A put, from plain numbers.
pub fn put(key: Key, value: Value, ttl_ms: u64, condition: Condition) -> Operation {
    let ttl = Ttl::from_ms(ttl_ms).unwrap();
    Operation::Put { key, value, options: PutOptions { ttl, condition } }
}

/// A value for every number; those below [`VALUES`] are each of another kind.
pub fn value(number: usize) -> Value {
    let table = |pairs: [(i32, Value); 2]| Value::from(pairs.into_iter().collect::<Table>());
    match number {
        0 => Value::from(false),
        1 => Value::from("text"),
        2 => table([(1, Value::from(1.0)), (3, Value::from(1))]),
        3 => Value::from(1),
        4 => Value::from(1.0),
        5 => Value::from(-0.0),
        6 => Value::from(f64::NAN),
        7 => Value::from(vec![0xff, 0, b'"']),
        8 => Value::table(),
        9 => table([(1, Value::table()), (2, Value::from(f64::INFINITY))]),
        LARGE => Value::from(vec![b'x'; 1_000_000]),
        _ => Value::from(number),
    }
}

/// How many kinds of values [`value`] gives.
pub const VALUES: usize = 10;

/// The number of a value of nearly the largest size.
pub const LARGE: usize = 1_000_000;

/// The keys of a keyspace.
pub const KEYS: [&str; 6] = ["a", "ab", "b", "b/é", "\u{1}", "c"];

/// Prefixes and cursors: keys, beginnings of keys, half a character, and places between keys.
pub const PLACES: [&[u8]; 8] = [b"", b"a", b"b", b"b/\xc3", b"ab", b"aa", b"\x01", b"zz"];

/// Writes.
pub fn write() -> BoxedStrategy<WriteStep> {
    prop_oneof![
        6 => (0..KEYS.len(), 0..VALUES, ttl_ms(), condition())
            .prop_map(|(key, value, ttl_ms, condition)| WriteStep::Put { key, value, ttl_ms, condition }),
        2 => (0..KEYS.len(), prop::option::weighted(0.4, version()))
            .prop_map(|(key, if_version)| WriteStep::Delete { key, if_version }),
        1 => (0..KEYS.len(), condition()).prop_map(|(key, condition)| WriteStep::Check { key, condition }),
    ]
    .boxed()
}

fn condition() -> BoxedStrategy<ConditionStep> {
    prop_oneof![
        3 => Just(ConditionStep::None),
        1 => Just(ConditionStep::Absent),
        2 => version().prop_map(ConditionStep::Version),
    ]
    .boxed()
}

/// Where versions come from.
pub fn version() -> impl Strategy<Value = VersionPick> {
    prop_oneof![
        6 => Just(VersionPick::Current),
        3 => (0..6_usize).prop_map(VersionPick::Given),
        1 => Just(VersionPick::Foreign),
        1 => (1..4_u64).prop_map(VersionPick::Future),
        1 => Just(VersionPick::Unversioned),
    ]
}

/// Times to live.
pub fn ttl_ms() -> impl Strategy<Value = u64> {
    select(&[0, 0, 1, 10, 20, 50, 200][..])
}

/// Limits of pages.
pub fn limit() -> impl Strategy<Value = usize> {
    select(&[1, 1, 2, 3, 0, 5][..])
}

impl fmt::Display for WriteStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.verb(), KEYS[self.key()])?;
        match self {
            Self::Put { value, ttl_ms, condition, .. } => {
                write!(f, " value {value} ttl {ttl_ms} ms if {condition:?}")
            }
            Self::Delete { if_version: Some(version), .. } => write!(f, " if {version:?}"),
            Self::Delete { if_version: None, .. } => Ok(()),
            Self::Check { condition, .. } => write!(f, " {condition:?}"),
        }
    }
}

impl WriteStep {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::Check { .. } => "check",
        }
    }
}
