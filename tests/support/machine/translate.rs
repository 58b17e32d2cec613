//! Between the words of the machine and those of the specification.

use std::sync::LazyLock;

use plimsoll::check::session::Refused;
use plimsoll::check::spec::{self, Name};
use plimsoll::entry::{Event, Operation, OperationResult};
use plimsoll::error::ErrorKind;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{QualifiedKey, Reason, Refusal, Reply, RevisionChange, Write, Written};
use plimsoll::value::Encoded;

use super::steps::KEYSPACES;
use crate::writes::{KEYS, key};

pub fn keyspace(index: usize) -> Keyspace {
    Keyspace::new(KEYSPACES[index]).unwrap()
}

/// Every name that steps write to.
pub static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    let keys = |space| (0..KEYS.len()).map(move |index| (keyspace(space), key(index)));
    (0..KEYSPACES.len()).flat_map(keys).collect()
});

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
