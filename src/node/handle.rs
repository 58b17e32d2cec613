//! What the rest of the program has of a node: a handle that asks it, and the machine that it
//! publishes.
//!
//! Every request ends by its deadline. The machine is published after each step as a clone, which
//! costs nothing to take: a read confirms leadership through the node and then looks at the clone
//! on whatever thread it likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::error::Outcome;
use crate::kv::StateMachine;
use crate::raft::{
    Answer, Failure, FailureReason, FoundingStatus, Member, RaftId, Request, Status,
};

use super::crdt::{CrdtFigures, CrdtHandle};
use super::driver::Input;
use super::metrics::Metrics;

/// A node that runs. Clones are the same node.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) crdt: CrdtHandle,
    pub(super) published: watch::Receiver<Published>,
    /// The node's monotonic time.
    pub(super) monotonic: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// What a node shows after each step.
#[derive(Clone, Debug)]
pub struct Published {
    /// The machine, as it is applied here. It may lag behind the cluster.
    pub machine: StateMachine,
    /// The last index that it has applied.
    pub applied: u64,
    /// How often the machine was replaced by a snapshot.
    pub installs: u64,
    /// Why the node has stopped, if it has.
    pub stopped: Option<String>,
}

/// What a node tells whoever watches over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// What it tells everybody.
    pub status: NodeStatus,
    /// By how many milliseconds the clocks of the other members are ahead of its own, as far as it
    /// knows.
    pub clock_offsets_ms: BTreeMap<RaftId, i64>,
    /// Whether it keeps from leading because its clock is far from those of an agreeing majority.
    pub is_clock_refused: bool,
    /// Bytes of the entries of its log in memory.
    pub log_bytes: usize,
}

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub phase: Phase,
    /// Its replicas, and whom gossip sees; none while nobody tells.
    pub crdt: Option<Box<CrdtFigures>>,
}

/// The phases of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It belongs to no cluster yet.
    Founding(FoundingStatus),
    /// It is a member of one, or waits to be added to it.
    Member(Box<MemberStatus>),
}

/// What a member tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The cluster.
    pub cluster: crate::raft::ClusterId,
    /// The Raft engine.
    pub raft: Status,
    /// The members, as of the applied index.
    pub members: BTreeMap<RaftId, Member>,
    /// The digest of the machine at the applied index: equal on all members there.
    pub digest: String,
    /// The revision of the machine.
    pub revision: u64,
    /// How many entries it holds.
    pub entries: usize,
    /// Its wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The log time, likewise.
    pub log_time_ms: u64,
    /// What the members are, as far as the node knows.
    pub standings: BTreeMap<RaftId, Standing>,
    /// What the node waits for before it changes the members, if it leads; or before it becomes one.
    pub waits_for: Option<String>,
}

/// What a member is to its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub part: Part,
    /// Its failure domain, if it names one that is known here.
    pub failure_domain: Option<String>,
    /// For how long it has been out of reach, in milliseconds: of the leader and of gossip there, of
    /// gossip alone elsewhere.
    pub away_ms: Option<u64>,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It votes.
    Voter,
    /// It keeps the state, and may take the place of a voter.
    Standby,
    /// It keeps the state, and never votes.
    Learner,
}

impl Part {
    /// One word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Standby => "standby",
            Self::Learner => "learner",
        }
    }
}

impl Figures {
    /// Those of a node that has no engine yet.
    pub(super) const fn of(status: NodeStatus) -> Self {
        let clock_offsets_ms = BTreeMap::new();
        Self { status, clock_offsets_ms, is_clock_refused: false, log_bytes: 0 }
    }
}

impl NodeHandle {
    /// Asks the node for something.
    ///
    /// # Errors
    /// The failure says what is known of the outcome.
    pub async fn request(&self, request: Request, timeout: Duration) -> Result<Answer, Failure> {
        let timed = self.metrics.begin(&request);
        let result = self.ask(request, timeout).await;
        timed.end(&result);
        result
    }

    async fn ask(&self, request: Request, timeout: Duration) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = self.monotonic.now().after(timeout_ms).0;
        let input = Input::Request { request, deadline_ms, answer };
        match tokio::time::timeout(timeout, self.inbox.send(input)).await {
            Err(_) => return Err(Failure::without_effect(FailureReason::Busy)),
            Ok(Err(_)) => return Err(Failure::without_effect(FailureReason::Stopped)),
            Ok(Ok(())) => {}
        }
        let gone = Failure { reason: FailureReason::Stopped, outcome: Outcome::Unknown };
        answered.await.unwrap_or(Err(gone))
    }

    /// The machine with everything that was acknowledged before the call, anywhere in the cluster.
    ///
    /// # Errors
    /// `TIMEOUT` or `UNAVAILABLE` if no majority confirms it within the timeout.
    pub async fn read(&self, timeout: Duration) -> Result<StateMachine, Failure> {
        self.read_published(timeout).await.map(|published| published.machine)
    }

    /// As [`NodeHandle::read`], with how far that machine has come.
    pub(super) async fn read_published(&self, timeout: Duration) -> Result<Published, Failure> {
        self.request(Request::Read, timeout).await?;
        Ok(self.published.borrow().clone())
    }

    /// The machine as it is applied here, and as it goes on.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The node's replicas: the eventually consistent half of it.
    #[must_use]
    pub const fn crdt(&self) -> &CrdtHandle {
        &self.crdt
    }

    /// Waits until the node has stopped; says why.
    pub async fn stopped(&self) -> String {
        let mut published = self.published.clone();
        let stopped = published.wait_for(|published| published.stopped.is_some()).await;
        let why = stopped.ok().and_then(|published| published.stopped.clone());
        why.unwrap_or_else(|| "it has panicked".to_owned())
    }

    /// What the node tells of itself; none once it has stopped.
    pub async fn status(&self) -> Option<NodeStatus> {
        self.figures().await.map(|figures| figures.status)
    }

    /// What the node tells whoever watches over it; none once it has stopped.
    pub async fn figures(&self) -> Option<Figures> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Input::Status(answer)).await.ok()?;
        let mut figures = answered.await.ok()?;
        figures.status.crdt = self.crdt.figures().await.map(Box::new);
        Some(figures)
    }

    /// What the node has counted and measured since it started.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeHandle")
    }
}
