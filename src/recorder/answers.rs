//! From what the engine says to what a history holds of it: as the store's facade tells it to clients.

use std::sync::Arc;

use crate::check::history::{Answer, Label, Observation, Outcome, Request};
use crate::check::spec::Refusal;
use crate::clock::UnixMillis;
use crate::entry::{Entry, Operation, OperationResult, Page};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::kv::{self, KeyRef, MachinePage, Reason, Record, Reply, StateMachine, Written};

/// What a read sees in a machine, now.
///
/// # Panics
/// If the request is a write.
#[must_use]
pub fn read(machine: &StateMachine, keyspace: &Keyspace, request: &Request) -> Outcome {
    let find = |key| machine.get(KeyRef::new(keyspace, key), UnixMillis(0));
    match request {
        Request::Get(key) | Request::Entry(key) => found(find(key)),
        Request::Has(key) => Outcome::Ok(Answer::Present(find(key).is_some())),
        Request::List(query) => listed(&machine.list(keyspace.as_str(), query, UnixMillis(0))),
        Request::Put(_) | Request::Delete(_) | Request::Transact(_) => {
            unreachable!("writes are not read")
        }
    }
}

/// What a read tells of the record of a key.
#[must_use]
pub fn found(record: Option<&Arc<Record>>) -> Outcome {
    match record {
        Some(record) => Outcome::Ok(Answer::entry(observe(record))),
        None => failed(ErrorKind::NotFound),
    }
}

/// What a listing tells.
#[must_use]
pub fn listed(page: &MachinePage) -> Outcome {
    let entry = |(key, record): &(kv::QualifiedKey, Arc<Record>)| Entry {
        key: key.to_key(),
        value: record.value.decode(),
        version: record.version,
        expires_at: record.deadline,
    };
    let items: Vec<Entry> = page.items.iter().map(entry).collect();
    let cursor = items.last().map_or_else(String::new, |item| item.key.to_string());
    Outcome::Ok(Answer::page(Page { items, cursor, has_more: page.has_more }))
}

/// Where a read happened that looked at a machine which has applied an index.
#[must_use]
pub fn label(machine: &StateMachine, index: u64) -> Label {
    Label { index, log_time: machine.log_time(), epoch: machine.epoch() }
}

fn observe(record: &Arc<Record>) -> Observation {
    let value = Arc::new(record.value.decode());
    Observation { value, version: record.version, expires_at: record.deadline }
}

/// What a write is told by a reply; none if its session is unknown.
///
/// # Panics
/// If the reply is none to the request.
#[must_use]
pub fn written(request: &Request, reply: &Reply) -> Option<Outcome> {
    Some(match (request, reply) {
        (Request::Put(put), Reply::Written(Written::Put { version, deadline })) => {
            let value = Arc::clone(&put.value);
            let observation = Observation { value, version: *version, expires_at: *deadline };
            Outcome::Ok(Answer::entry(observation))
        }
        (Request::Delete(_), Reply::Written(Written::Deleted(was_present))) => {
            Outcome::Ok(Answer::Present(*was_present))
        }
        (Request::Transact(operations), Reply::Transacted(written)) => {
            let results = operations.iter().zip(written).map(result);
            Outcome::Ok(Answer::transacted(results.collect()))
        }
        (_, Reply::Refused(refusal)) => return refused(*refusal),
        (request, reply) => panic!("{reply:?} is no answer to {request}"),
    })
}

fn result((operation, written): (&Operation, &Written)) -> OperationResult {
    match (operation, written) {
        (Operation::Put { key, value, .. }, Written::Put { version, deadline }) => {
            OperationResult::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                version: *version,
                expires_at: *deadline,
            })
        }
        (_, Written::Deleted(was_present)) => OperationResult::Deleted(*was_present),
        _ => OperationResult::Checked,
    }
}

fn refused(refusal: kv::Refusal) -> Option<Outcome> {
    let (kind, current) = match refusal.reason {
        Reason::Exists(version) => (ErrorKind::AlreadyExists, Some(version)),
        Reason::Absent => (ErrorKind::NotFound, None),
        Reason::OtherVersion(version) => (ErrorKind::Conflict, Some(version)),
        Reason::SessionExpired => return None,
        Reason::SequenceTooLow => (ErrorKind::Invalid, None),
        Reason::SequenceTooHigh => (ErrorKind::RateLimited, None),
    };
    Some(Outcome::failed(Refusal { kind, current, index: refusal.index }))
}

/// A failure of a kind.
#[must_use]
pub fn failed(kind: ErrorKind) -> Outcome {
    Outcome::failed(Refusal { kind, current: None, index: None })
}
