//! The commands of a history, taken apart: one part for each key that a command is about.
//!
//! No allocation: parts refer to the call that they are of.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::history::Request;
use crate::entry::{Condition, Key, Operation, Ttl};
use crate::value::Value;

/// What a command does to one key, and what it requires of it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub key: &'a Key,
    pub condition: Condition,
    pub effect: Effect<'a>,
}

/// What a command does to one key.
#[derive(Clone, Copy)]
pub(super) enum Effect<'a> {
    Put { value: &'a Value, ttl: Option<Ttl> },
    Delete,
    Check,
}

/// The number of parts of a request: none if it reads.
pub(super) fn count(request: &Request) -> usize {
    match request {
        Request::Put(_) | Request::Delete(_) => 1,
        Request::Transact(operations) => operations.len(),
        Request::Get(_) | Request::Entry(_) | Request::Has(_) | Request::List(_) => 0,
    }
}

/// The parts of a request, in order.
pub(super) fn parts(request: &Request) -> impl Iterator<Item = Part<'_>> {
    (0..count(request)).map(move |position| match request {
        Request::Put(put) => Part {
            key: &put.key,
            condition: put.condition,
            effect: Effect::Put { value: &put.value, ttl: put.ttl },
        },
        Request::Delete(delete) => Part {
            key: &delete.key,
            condition: delete.if_version.map_or(Condition::None, Condition::Version),
            effect: Effect::Delete,
        },
        Request::Transact(operations) => of_operation(&operations[position]),
        Request::Get(_) | Request::Entry(_) | Request::Has(_) | Request::List(_) => {
            unreachable!("reads have no parts")
        }
    })
}

fn of_operation(operation: &Operation) -> Part<'_> {
    let effect = match operation {
        Operation::Put { value, options, .. } => Effect::Put { value, ttl: options.ttl },
        Operation::Delete { .. } => Effect::Delete,
        Operation::Check { .. } => Effect::Check,
    };
    Part { key: operation.key(), condition: operation.condition(), effect }
}
