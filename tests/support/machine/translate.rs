//! Between the words of the machine and those of the specification.

use plimsoll::check::session::Refused;
use plimsoll::check::spec::{self, Name};
use plimsoll::entry::{
    Condition, Event, Key, Operation, OperationResult, PutOptions, Ttl, Version,
};
use plimsoll::error::ErrorKind;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{QualifiedKey, Reason, Refusal, Reply, RevisionChange, Write, Written};
use plimsoll::value::{Encoded, Table, Value};

use super::steps::{KEYS, KEYSPACES};

pub fn keyspace(index: usize) -> Keyspace {
    Keyspace::new(KEYSPACES[index]).unwrap()
}

pub fn key(index: usize) -> Key {
    Key::new(KEYS[index]).unwrap()
}

/// Every name that steps write to.
pub fn names() -> impl Iterator<Item = Name> {
    (0..KEYSPACES.len())
        .flat_map(|space| (0..KEYS.len()).map(move |index| (keyspace(space), key(index))))
}

pub fn value(index: usize) -> Value {
    match index {
        0 => Value::from(false),
        1 => Value::from("text"),
        2 => {
            Value::from([(1, Value::from(1.0)), (3, Value::from(1))].into_iter().collect::<Table>())
        }
        _ => Value::from(index),
    }
}

pub fn put(key: Key, value: Value, ttl_ms: u64, condition: Condition) -> Operation {
    let ttl = Ttl::from_ms(ttl_ms).unwrap();
    Operation::Put { key, value, options: PutOptions { ttl, condition } }
}

pub fn to_write(keyspace: &Keyspace, operation: &Operation) -> Write {
    let key = QualifiedKey::new(keyspace, operation.key());
    match operation {
        Operation::Put { value, options, .. } => Write::Put {
            key,
            value: Encoded::new(value).unwrap(),
            ttl: options.ttl,
            condition: options.condition,
        },
        Operation::Delete { if_version, .. } => Write::Delete { key, if_version: *if_version },
        Operation::Check { condition, .. } => Write::Check { key, condition: *condition },
    }
}

pub fn to_written(result: &OperationResult) -> Written {
    match result {
        OperationResult::Put(entry) => {
            Written::Put { version: entry.version, deadline: entry.expires_at }
        }
        OperationResult::Deleted(was_present) => Written::Deleted(*was_present),
        OperationResult::Checked => Written::Checked,
    }
}

pub fn to_refusal(refusal: spec::Refusal) -> Refusal {
    let reason = match (refusal.kind, refusal.current) {
        (ErrorKind::AlreadyExists, Some(version)) => Reason::Exists(version),
        (ErrorKind::NotFound, None) => Reason::Absent,
        (ErrorKind::Conflict, Some(version)) => Reason::OtherVersion(version),
        other => panic!("a condition is not refused like this: {other:?}"),
    };
    Refusal { reason, index: refusal.index }
}

pub fn to_reply(refused: Refused) -> Reply {
    let reason = match refused {
        Refused::UnknownSession => Reason::SessionExpired,
        Refused::TooLow => Reason::SequenceTooLow,
        Refused::TooHigh => Reason::SequenceTooHigh,
    };
    Reply::Refused(Refusal { reason, index: None })
}

/// A change of the machine, as the specification would put it.
pub fn to_revision(change: &RevisionChange) -> spec::Revision {
    let to_pair = |event: &plimsoll::kv::KeyEvent| -> (Keyspace, Event) {
        (Keyspace::new(event.key.keyspace()).unwrap(), event.to_event())
    };
    spec::Revision { number: change.revision, events: change.events.iter().map(to_pair).collect() }
}

/// The same revision in another epoch; the first revision, if there is no version.
pub fn foreign(version: Option<Version>) -> Version {
    match version {
        Some(Version::Numbered { epoch, revision }) => {
            Version::Numbered { epoch: epoch ^ 0xff00, revision }
        }
        Some(Version::Unversioned) | None => Version::Numbered { epoch: 0xff00, revision: 1 },
    }
}
