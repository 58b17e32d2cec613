//! The machine's words in those of stores, and back: what the kinds on the machine share.

use super::paging::page_from;
use crate::clock::UnixMillis;
use crate::entry::{
    Change, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version,
};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::kv::{
    Action, MachinePage, QualifiedKey, Record, Refusal, Reply, RevisionChange, StateMachine, Write,
    Written,
};
use crate::mutant::mutant;
use crate::policy::Rights;
use crate::value::{Encoded, Value};

/// One page of a snapshot of a machine, without the keys that may not be read.
pub(super) async fn page_of(
    machine: StateMachine,
    keyspace: &Keyspace,
    query: &ListQuery,
    now: UnixMillis,
    rights: &Rights,
) -> Result<Page> {
    let may_be_long = rights.are_restricted() && machine.len() > SCAN_MAX;
    let (keyspace, query, rights) = (keyspace.clone(), query.clone(), rights.clone());
    let scan =
        move || machine.list_where(keyspace.as_str(), &query, now, |key| rights.may_read(key));
    let page = if may_be_long { off_the_runtime(scan).await? } else { scan() };
    Ok(to_page(&page))
}

/// A page of the machine as callers see it.
pub(super) fn to_page(page: &MachinePage) -> Page {
    let items: Vec<_> =
        page.items.iter().map(|(key, record)| to_entry(key.to_key(), record)).collect();
    page_from(items, page.has_more)
}

/// The part of a change that a watch asks for and may tell, if there is any.
pub(super) fn filtered(
    change: &RevisionChange,
    keyspace: &Keyspace,
    prefix: &[u8],
    rights: &Rights,
    epoch: u64,
) -> Option<Change> {
    let events: Vec<_> = change
        .events
        .iter()
        .filter(|event| event.key.keyspace() == keyspace.as_str())
        .filter(|event| event.key.key().as_bytes().starts_with(prefix))
        .filter(|event| {
            rights.may_read(event.key.key()) || mutant!("watch tells changes that may not be read")
        })
        .map(crate::kv::KeyEvent::to_event)
        .collect();
    let revision = Version::Numbered { epoch, revision: change.revision };
    (!events.is_empty()).then_some(Change { revision, events })
}

/// The revision after which a watch starts.
pub(super) fn start_of_watch(machine: &StateMachine, version: Version) -> Result<u64> {
    match version {
        Version::Unversioned | Version::Stamped { .. } => {
            Err(Error::invalid("after must be a version of this store"))
        }
        Version::Numbered { epoch, revision } if epoch == machine.epoch() => {
            if revision > machine.revision() {
                return Err(Error::invalid(format!("{version} is no version of this store yet")));
            }
            match machine.changes_after(revision) {
                Some(_) => Ok(revision),
                None => Err(compacted(None)),
            }
        }
        Version::Numbered { .. } => Err(compacted(None)),
    }
}

pub(super) fn compacted(delivered: Option<Version>) -> Error {
    let error = Error::invalid(
        "the changes after this version are no longer kept: list the keys and watch from now",
    )
    .with_detail("reason", "compacted");
    match delivered {
        None => error,
        Some(version) => error.with_detail("delivered", version.to_string()),
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Canceled, "the store is closed")
}

/// Runs what may take long where it keeps no other task waiting; outside a runtime there is none.
async fn off_the_runtime<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Err(_) => Ok(run()),
        Ok(runtime) => runtime.spawn_blocking(run).await.map_err(|error| match error.is_panic() {
            true => Error::internal(format!("the listing panicked: {error}")),
            false => Error::unavailable("the runtime is shutting down"),
        }),
    }
}

/// The error for the write that was refused.
pub(super) fn refused(refusal: &Refusal, action: &Action) -> Error {
    let position = refusal.index.map_or(0, |index| index - 1);
    refusal.to_error(action.writes()[position].key().key())
}

pub(super) fn to_entry(key: Key, record: &Record) -> Entry {
    Entry {
        key,
        value: record.value.decode(),
        version: record.version,
        expires_at: record.deadline,
    }
}

/// A put as the machine takes it.
pub(super) fn to_put(
    keyspace: &Keyspace,
    key: &Key,
    value: &Value,
    options: PutOptions,
) -> Result<Write> {
    let PutOptions { ttl, condition } = options;
    let (key, value) = (QualifiedKey::new(keyspace, key), Encoded::new(value)?);
    Ok(Write::Put { key, value, ttl, condition })
}

/// The entry that a put has made.
pub(super) fn put_entry(key: Key, value: Value, written: Written) -> Result<Entry> {
    match written {
        Written::Put { version, deadline } => {
            Ok(Entry { key, value, version, expires_at: deadline })
        }
        written => Err(unexpected(&Reply::Written(written))),
    }
}

pub(super) fn to_write(keyspace: &Keyspace, operation: &Operation) -> Result<Write> {
    let key = QualifiedKey::new(keyspace, operation.key());
    Ok(match operation {
        Operation::Put { key, value, options } => to_put(keyspace, key, value, *options)?,
        Operation::Delete { if_version, .. } => Write::Delete { key, if_version: *if_version },
        Operation::Check { condition, .. } => Write::Check { key, condition: *condition },
    })
}

pub(super) fn to_result(operation: &Operation, written: Written) -> OperationResult {
    match (operation, written) {
        (Operation::Put { key, value, .. }, Written::Put { version, deadline }) => {
            OperationResult::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                version,
                expires_at: deadline,
            })
        }
        (_, Written::Deleted(was_present)) => OperationResult::Deleted(was_present),
        (_, Written::Checked | Written::Put { .. }) => OperationResult::Checked,
    }
}

pub(super) fn unexpected(reply: &Reply) -> Error {
    Error::internal(format!("the machine replied {reply:?} to another kind of command"))
}

/// The size of a store up to which a listing that has to pass over keys is done at once, rather than
/// on a thread of its own: about a millisecond.
const SCAN_MAX: usize = 1_000;
