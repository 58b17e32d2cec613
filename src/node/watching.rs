//! A watch of a client: the revisions of a node's machine, those events only that it asks for.
//!
//! Invariants:
//! 1. Every revision after the start is told once and in order, or the watch ends and says why.
//! 2. The client is never behind by more than a moment of what was looked at: though nothing that it
//!    watches changes, it is told how far the watch has come, so that it can go on elsewhere.
//! 3. While the client does not read, nothing is kept for it but the place where it is.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::protocol::Tell;
use super::serve::Work;
use crate::entry::Version;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::kv::{RevisionChange, StateMachine};
use crate::mutant::mutant;
use crate::node::left;
use crate::raft::{Failure, FailureReason};

/// Tells the changes of a keyspace until the watch can't go on, and gives why.
pub(super) async fn watch(
    work: &Work,
    keyspace: &Keyspace,
    prefix: &Bytes,
    after: Option<Version>,
) -> Tell {
    let stopped = Tell::Failed(Failure::without_effect(FailureReason::Stopped));
    let _held = work.node.metrics().watches.hold();
    let mut published = work.node.published();
    let (epoch, mut seen) = match work.read().await {
        Err(failure) => return Tell::Failed(failure),
        Ok(machine) => match start(&machine, after) {
            Ok(revision) => (machine.epoch(), revision),
            Err(error) => return Tell::Error(error),
        },
    };
    if work.give(Tell::Watching { epoch, revision: seen }).await.is_none() {
        return stopped;
    }
    let mut told = Told { revision: seen, at: Instant::now() };
    loop {
        // A clone, so that the node is not kept from publishing the next one.
        let now = published.borrow_and_update().clone();
        let Some(changes) = changes_after(&now.machine, epoch, seen) else {
            return Tell::Error(compacted());
        };
        let is_stopped = now.stopped.is_some();
        drop(now);
        let has_more = !changes.is_empty();
        let skipped = changes.len().saturating_sub(1);
        let skipped = if mutant!("watch tells only the newest change") { skipped } else { 0 };
        for change in changes.into_iter().skip(skipped) {
            seen = change.revision;
            let change = filtered(change, keyspace, prefix);
            if change.events.is_empty() && !told.is_old() {
                continue;
            }
            told = Told { revision: seen, at: Instant::now() };
            if work.give(Tell::Revision { epoch, change }).await.is_none() {
                return stopped;
            }
        }
        if has_more {
            continue;
        }
        if is_stopped {
            return stopped;
        }
        let is_behind = told.revision < seen;
        let patience = if is_behind { PROGRESS_PERIOD } else { IDLE_PERIOD };
        match timeout(left(told.at + patience), published.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return stopped,
            Err(_) => {
                let change = RevisionChange { revision: seen, events: [].into() };
                told = Told { revision: seen, at: Instant::now() };
                if is_behind && work.give(Tell::Revision { epoch, change }).await.is_none() {
                    return stopped;
                }
            }
        }
    }
}

/// How far a client was told that its watch has come, and when.
struct Told {
    revision: u64,
    at: Instant,
}

impl Told {
    fn is_old(&self) -> bool {
        self.at.elapsed() >= PROGRESS_PERIOD
    }
}

/// The revision after which a watch starts.
fn start(machine: &StateMachine, after: Option<Version>) -> Result<u64> {
    match after {
        None => Ok(machine.revision()),
        Some(Version::Numbered { epoch, revision }) if epoch == machine.epoch() => {
            if revision > machine.revision() {
                let version = Version::Numbered { epoch, revision };
                return Err(Error::invalid(format!("{version} is no version of this store yet")));
            }
            let kept = machine.changes_after(revision).map(|_| revision);
            kept.ok_or_else(compacted)
        }
        Some(_) => Err(compacted()),
    }
}

/// The next changes, not all at once; none if they are no longer kept.
fn changes_after(machine: &StateMachine, epoch: u64, seen: u64) -> Option<Vec<RevisionChange>> {
    if machine.epoch() != epoch {
        return None;
    }
    Some(machine.changes_after(seen)?.take(CHANGES_MAX).cloned().collect())
}

/// Of a change, what is watched.
fn filtered(change: RevisionChange, keyspace: &Keyspace, prefix: &[u8]) -> RevisionChange {
    let watched = change.events.iter().filter(|event| {
        event.key.keyspace() == keyspace.as_str() && event.key.key().as_bytes().starts_with(prefix)
    });
    RevisionChange { revision: change.revision, events: watched.cloned().collect() }
}

fn compacted() -> Error {
    Error::invalid(
        "the changes after this version are no longer kept: list the keys and watch from now",
    )
    .with_detail("reason", "compacted")
}

/// How many changes are looked at at once.
const CHANGES_MAX: usize = 256;
/// How long a client is not told that its watch has come further.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// How long nothing happens at all: there is no need to look then.
const IDLE_PERIOD: Duration = Duration::from_secs(3_600);
