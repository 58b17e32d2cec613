//! What the rest of the program has of the replicas: writes through their task, reads on clones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::left;

use super::figures::CrdtFigures;
use super::inlet::Inlet;
use super::writes::{Action, Write};
use crate::clock::{Clock, UnixMillis};
use crate::crdt::{Refusal, Replica, Written};
use crate::entry::Ttl;
use crate::error::{Error, Outcome, Result};
use crate::gossip::Space;
use crate::hlc::ClockRefusal;
use crate::kv::QualifiedKey;
use crate::value::Encoded;

/// The replicas of a node that runs. Clones are the same node's.
#[derive(Clone)]
pub struct CrdtHandle {
    pub(super) inbox: mpsc::Sender<Input>,
    /// Where messages of other nodes are put.
    pub(in crate::node) inlet: Inlet,
    pub(super) published: watch::Receiver<Published>,
    pub(super) clock: Arc<dyn Clock>,
    /// Else this node has no replicas.
    pub(super) has_disk: bool,
}

/// What the task is asked.
pub(in crate::node) enum Input {
    /// A write.
    Write(Write),
    /// The figures.
    Figures(oneshot::Sender<Box<CrdtFigures>>),
    /// To end.
    Stop,
}

/// What the task shows after each step.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Published {
    pub replicas: BTreeMap<Space, Replica>,
    /// Why there is nothing any more, if so.
    pub stopped: Option<String>,
}

impl CrdtHandle {
    /// Writes a value. It is answered once this node's reads see it, and in [`Space::Durable`] once it
    /// is durable.
    ///
    /// # Errors
    /// `UNAVAILABLE` with outcome `none` if the replica refuses, `details.reason` says why; `TIMEOUT` if
    /// the time is over; outcome `unknown` if the node stops meanwhile.
    pub async fn put(
        &self,
        space: Space,
        key: QualifiedKey,
        value: Encoded,
        ttl: Option<Ttl>,
        timeout: Duration,
    ) -> Result<Written> {
        self.write(space, key, Action::Put(value, ttl), timeout).await
    }

    /// Deletes a key, also one that is not known here.
    ///
    /// # Errors
    /// As [`CrdtHandle::put`].
    pub async fn delete(
        &self,
        space: Space,
        key: QualifiedKey,
        timeout: Duration,
    ) -> Result<Written> {
        self.write(space, key, Action::Delete, timeout).await
    }

    async fn write(
        &self,
        space: Space,
        key: QualifiedKey,
        action: Action,
        wait: Duration,
    ) -> Result<Written> {
        self.check_disk().map_err(|error| error.with_outcome(Outcome::None))?;
        let deadline = Instant::now() + wait;
        let (answer, answered) = oneshot::channel();
        let input = Input::Write(Write { space, key, action, answer });
        match timeout(wait, self.inbox.send(input)).await {
            Err(_) => {
                return Err(
                    Error::timeout("the node has too much to do").with_outcome(Outcome::None)
                );
            }
            Ok(Err(_)) => return Err(self.stopped(Outcome::None)),
            Ok(Ok(())) => {}
        }
        match timeout(left(deadline), answered).await {
            Ok(Ok(written)) => written.map_err(refused),
            Ok(Err(_)) => Err(self.stopped(Outcome::Unknown)),
            Err(_) => {
                Err(Error::timeout("the write was not durable in time")
                    .with_outcome(Outcome::Unknown))
            }
        }
    }

    /// A replica as it may be told now, for reads: what this node has acknowledged is in it.
    ///
    /// # Errors
    /// `UNAVAILABLE` until it has joined, once this node is no member any more, and once it has stopped.
    pub async fn replica(&self, space: Space) -> Result<Replica> {
        self.check_disk()?;
        let published = self.published.borrow();
        // A node that was dropped had no time to say so.
        if published.stopped.is_some() || self.inbox.is_closed() {
            return Err(stopped(&published));
        }
        let replica = published.replicas.get(&space).ok_or_else(|| unready(Refusal::NotJoined))?;
        replica.shows().map_err(unready)?;
        Ok(replica.clone())
    }

    /// This node's wall clock, for reads.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.clock.now()
    }

    /// What there is to tell of the replicas and of gossip; none once the node has stopped.
    pub async fn figures(&self) -> Option<CrdtFigures> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Input::Figures(answer)).await.ok()?;
        answered.await.ok().map(|figures| *figures)
    }

    /// Ends the task, and waits until it has ended.
    pub(in crate::node) async fn close(&self) {
        // It may have ended already.
        let _ = self.inbox.send(Input::Stop).await;
        // Its sender lives as long as the task.
        let mut published = self.published.clone();
        while published.changed().await.is_ok() {}
    }

    fn check_disk(&self) -> Result<()> {
        let lacking =
            || Error::invalid("this node keeps no replicas: it was opened without a disk for them");
        self.has_disk.then_some(()).ok_or_else(lacking)
    }

    fn stopped(&self, outcome: Outcome) -> Error {
        stopped(&self.published.borrow()).with_outcome(outcome)
    }
}

impl std::fmt::Debug for CrdtHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrdtHandle")
    }
}

fn stopped(published: &Published) -> Error {
    let why = published.stopped.as_deref().unwrap_or("it was closed");
    Error::unavailable(format!("the node has stopped: {why}"))
}

/// The error of a write that was refused.
fn refused(refusal: Refusal) -> Error {
    unready(refusal).with_outcome(Outcome::None)
}

/// The error of a call that a replica refuses.
fn unready(refusal: Refusal) -> Error {
    let (reason, message) = match refusal {
        Refusal::NotJoined => {
            ("not_joined", "the replica has not joined the others yet".to_owned())
        }
        Refusal::Removed => {
            ("removed", "this node is no member of the cluster any more".to_owned())
        }
        Refusal::Superseded(by) => {
            ("superseded", format!("another process has started as this node, as number {}", by.0))
        }
        Refusal::Clock(ClockRefusal::Ahead { ahead_ms }) => {
            ("clock", format!("the clocks of the cluster are too far apart: by {ahead_ms} ms"))
        }
        Refusal::Clock(ClockRefusal::Unreserved) => {
            ("clock", "the bound of the clock is not durable yet".to_owned())
        }
        Refusal::Tombstones => {
            ("tombstones", "there are as many deleted keys as may be, so no new one".to_owned())
        }
    };
    Error::unavailable(message).with_detail("reason", reason)
}
