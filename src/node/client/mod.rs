//! A client of a cluster: what programs use that are no members.
//!
//! It connects on first use to whichever of its addresses answers, and has many calls under way on
//! that one connection (those to replicas on another, see `replicas`). When a connection breaks it goes on at the next address: calls that were
//! not answered are sent again there, watches go on behind what they have delivered. Nodes forward
//! what is a leader's to do, so that any of them will do.
//!
//! Invariants:
//! 1. Every call ends by its deadline, but for the moment that an answer may take to arrive.
//! 2. What may have been sent and was not answered has an unknown outcome; what was never sent has
//!    none. A write is sent again as it is: its session stamp makes it one.
//! 3. A watch delivers every revision once and in order, whatever happens to connections.
//!
//! No sessions here, and no retries of what a node has answered: that is above.

mod actor;
mod backup;
mod latest;
mod replicas;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::handle::NodeStatus;
use super::protocol::{Applied, Ask, Look, Seen, Tell, refusal};
use crate::entry::{ListQuery, Version};
use crate::error::{Error, Outcome, Result};
use crate::keyspace::Keyspace;
use crate::kv::{Command, MachinePage, QualifiedKey, Record};
use crate::limits::{CLIENT_REQUESTS_MAX, CLIENT_TIMEOUT_MS_MAX, KEY_BYTES_MAX};
use crate::node::left;
use crate::raft::{Failure, FailureReason, MemberChange, RaftId};
use crate::transport::{Greeting, Role, Secret, TransportError};

use actor::{Actor, Call, Ended};
pub use backup::Backup;
pub use latest::{LatestPlace, Place};
pub use watch::ClientWatch;

/// What a client is told when it is made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where nodes take connections of clients, `host:port`; one that answers is enough.
    pub addresses: Vec<String>,
    /// The cluster's secret.
    pub secret: Secret,
    /// Its name, for people.
    pub name: String,
}

/// A client of a cluster. Clones share the connection, which ends with the last of them.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// Looks on at a client: for histories, that are judged by the order of the log. It decides nothing.
pub trait ClientProbe: Send + Sync {
    /// A command was answered.
    fn applied(&self, command: &Command, applied: &Applied);

    /// A read was answered, with what it saw.
    fn read(&self, seen: Seen);
}

struct Inner {
    options: ClientOptions,
    /// Who looks on, if anybody does.
    probe: Option<Arc<dyn ClientProbe>>,
    /// To the task that owns the connection, once it was needed.
    calls: OnceLock<mpsc::UnboundedSender<Call>>,
    /// To that which owns the connection for replicas, likewise.
    replica_calls: OnceLock<mpsc::UnboundedSender<Call>>,
    /// The places of calls that are under way.
    places: Semaphore,
    next_id: AtomicU64,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSent {
    /// What the machine replied, or why nothing is known of that.
    pub answer: Result<Applied, Failure>,
    /// Whether the answer may be to a later copy of the command, while an earlier one was answered to
    /// nobody.
    pub was_repeated: bool,
}

impl Client {
    /// A client. It connects when it is used, in a task of the runtime in which it is used first.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        Self::with(options, None)
    }

    /// A client at which somebody looks on.
    #[must_use]
    pub fn with_probe(options: ClientOptions, probe: Arc<dyn ClientProbe>) -> Self {
        Self::with(options, Some(probe))
    }

    fn with(options: ClientOptions, probe: Option<Arc<dyn ClientProbe>>) -> Self {
        Self(Arc::new(Inner {
            options,
            probe,
            calls: OnceLock::new(),
            replica_calls: OnceLock::new(),
            places: Semaphore::new(CLIENT_REQUESTS_MAX),
            next_id: AtomicU64::new(1),
        }))
    }

    /// Has a command applied: a write or a transaction with the stamp of a session, or the opening of
    /// one. It may be sent several times, until the deadline; a session that is opened twice is one
    /// too many, which does no harm.
    pub async fn write(&self, command: Command, timeout: Duration) -> ClientSent {
        if let Some(failure) = refusal(&command) {
            return ClientSent { answer: Err(failure), was_repeated: false };
        }
        let observed = self.0.probe.as_ref().map(|probe| (probe, command.clone()));
        let Ended { answer, was_repeated } = self.ask(Ask::Write(command), timeout).await;
        match answer {
            Ok(Tell::Applied { applied, was_repeated: by_node }) => {
                if let Some((probe, command)) = observed {
                    probe.applied(&command, &applied);
                }
                ClientSent { answer: Ok(applied), was_repeated: was_repeated || by_node }
            }
            Ok(tell) => ClientSent { answer: Err(unexpected_of_write(&tell)), was_repeated },
            Err(failure) => ClientSent { answer: Err(failure), was_repeated },
        }
    }

    /// The record of a key, if the key is there: with everything that was acknowledged before.
    ///
    /// # Errors
    /// `TIMEOUT` or `UNAVAILABLE`.
    pub async fn record(
        &self,
        key: QualifiedKey,
        timeout: Duration,
    ) -> Result<Option<Arc<Record>>> {
        match self.look(Look::Record(key), timeout).await? {
            Tell::Record(found) => Ok(found.map(|(_, record)| record)),
            tell => Err(unexpected(tell)),
        }
    }

    /// Whether a key is there, likewise.
    ///
    /// # Errors
    /// As [`Client::record`].
    pub async fn has(&self, key: QualifiedKey, timeout: Duration) -> Result<bool> {
        match self.look(Look::Has(key), timeout).await? {
            Tell::Has(has) => Ok(has),
            tell => Err(unexpected(tell)),
        }
    }

    /// A page of a keyspace, likewise.
    ///
    /// # Errors
    /// As [`Client::record`].
    pub async fn page(
        &self,
        keyspace: &Keyspace,
        query: &ListQuery,
        timeout: Duration,
    ) -> Result<MachinePage> {
        let look = Look::Page(keyspace.clone(), query.clone());
        match self.look(look, timeout).await? {
            Tell::Page(page) => Ok(page),
            tell => Err(unexpected(tell)),
        }
    }

    /// The changes of a keyspace to keys that start with a prefix: after a version, or all that are
    /// made once this has returned. The timeout is for the beginning.
    ///
    /// # Errors
    /// `INVALID` if the version is none of the cluster, or the changes after it are no longer kept
    /// (`details.reason = "compacted"`), or if no key has such a prefix; else as [`Client::record`].
    pub async fn watch(
        &self,
        keyspace: &Keyspace,
        prefix: impl Into<Bytes> + Send,
        after: Option<Version>,
        timeout: Duration,
    ) -> Result<ClientWatch> {
        let prefix = prefix.into();
        if matches!(after, Some(Version::Unversioned | Version::Stamped { .. })) {
            return Err(Error::invalid("after must be a version of this store"));
        }
        if prefix.len() > KEY_BYTES_MAX {
            return Err(Error::invalid("the prefix is longer than any key")
                .with_detail("limit", KEY_BYTES_MAX)
                .with_detail("actual", prefix.len()));
        }
        ClientWatch::begin(self.clone(), keyspace.clone(), prefix, after, timeout).await
    }

    /// What the node tells of itself that the client is connected to.
    ///
    /// # Errors
    /// As [`Client::record`].
    pub async fn status(&self, timeout: Duration) -> Result<NodeStatus> {
        match self.read(Ask::Status, timeout).await? {
            Tell::Status(status) => Ok(*status),
            tell => Err(unexpected(tell)),
        }
    }

    /// Changes the membership, all at once, and gives the index of the log at which that was done.
    ///
    /// # Errors
    /// `INVALID` if it is refused; else as [`Client::record`], and the outcome may be unknown.
    pub async fn change(&self, changes: Vec<MemberChange>, timeout: Duration) -> Result<u64> {
        match self.ask(Ask::Change(changes), timeout).await.answer {
            Ok(Tell::Changed(index)) => Ok(index),
            Ok(tell) => Err(unexpected(tell)),
            Err(failure) => Err(failure.to_error()),
        }
    }

    /// Hands leadership to a voter. The status shows when it is done.
    ///
    /// # Errors
    /// As [`Client::change`].
    pub async fn transfer(&self, to: RaftId, timeout: Duration) -> Result<()> {
        match self.ask(Ask::Transfer(to), timeout).await.answer {
            Ok(Tell::TransferStarted) => Ok(()),
            Ok(tell) => Err(unexpected(tell)),
            Err(failure) => Err(failure.to_error()),
        }
    }

    /// Begins a backup: the snapshot of a machine that shows everything that was acknowledged before,
    /// on a connection of its own. The timeout is for each step of it.
    ///
    /// # Errors
    /// As [`Client::record`].
    pub async fn backup(&self, timeout: Duration) -> Result<Backup> {
        Backup::begin(&self.0.options, timeout).await
    }

    /// Looks at the machine; for who looks on, at a state that is named.
    async fn look(&self, look: Look, timeout: Duration) -> Result<Tell> {
        let Some(probe) = &self.0.probe else { return self.read(Ask::Look(look), timeout).await };
        match self.read(Ask::Labelled(look), timeout).await? {
            Tell::Labelled { seen, tell } => {
                probe.read(seen);
                Ok(*tell)
            }
            tell => Err(unexpected(tell)),
        }
    }

    async fn read(&self, ask: Ask, timeout: Duration) -> Result<Tell> {
        self.ask(ask, timeout).await.answer.map_err(|failure| read_error(&failure))
    }

    /// Asks for what has one answer.
    async fn ask(&self, ask: Ask, timeout: Duration) -> Ended {
        let deadline = deadline_after(timeout);
        let Ok(Ok(_place)) = tokio::time::timeout(left(deadline), self.0.places.acquire()).await
        else {
            return Ended::without_effect(FailureReason::Timeout);
        };
        let (answer, answered) = oneshot::channel();
        let calls = match ask {
            Ask::Replica(..) => &self.0.replica_calls,
            _ => &self.0.calls,
        };
        let mut guard = self.give(calls, |id| Call::One { id, ask, deadline, answer });
        let ended = answered.await;
        guard.is_needed = false;
        ended.unwrap_or_else(|_| Ended::unknown(FailureReason::NoNode(GONE.to_owned())))
    }

    /// Asks for a stream. It ends with its last answer, or without one if it has to be asked for again.
    fn stream(&self, ask: Ask, deadline: Instant) -> Stream {
        let (sender, told) = mpsc::unbounded_channel();
        let waiting = Arc::default();
        let counter = Arc::clone(&waiting);
        let call = |id| Call::Many { id, ask, deadline, told: sender, waiting: counter };
        let guard = self.give(&self.0.calls, call);
        Stream { told, waiting, _guard: guard }
    }

    fn give(
        &self,
        calls: &OnceLock<mpsc::UnboundedSender<Call>>,
        call: impl FnOnce(u64) -> Call,
    ) -> Guard {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let calls = calls.get_or_init(|| Actor::spawn(self.0.options.clone())).clone();
        // If its task has ended, the answer's channel tells.
        let _ = calls.send(call(id));
        Guard { id, calls: calls.downgrade(), is_needed: true }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.0.options).finish()
    }
}

/// A stream of answers.
struct Stream {
    told: mpsc::UnboundedReceiver<Tell>,
    /// How many bytes of answers wait in it.
    waiting: actor::Waiting,
    _guard: Guard,
}

/// Tells that nobody waits for the answer any more.
struct Guard {
    id: u64,
    calls: mpsc::WeakUnboundedSender<Call>,
    is_needed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_needed
            && let Some(calls) = self.calls.upgrade()
        {
            let _ = calls.send(Call::Cancel(self.id));
        }
    }
}

/// Attempts to reach a node: one after the other over all addresses, round by round.
struct Attempts {
    failed: Vec<(String, TransportError)>,
    wait: Duration,
}

impl Attempts {
    const fn new() -> Self {
        Self { failed: Vec::new(), wait: WAIT_MIN }
    }

    /// An attempt has failed. After a round it tells how long to wait, or why there is no use in it.
    fn failed(
        &mut self,
        address: &str,
        error: TransportError,
        addresses: usize,
    ) -> Result<Option<Duration>, String> {
        if self.failed.len() == addresses {
            self.failed.clear();
        }
        self.failed.push((address.to_owned(), error));
        if self.failed.len() < addresses {
            return Ok(None);
        }
        let is_final = |error: &TransportError| {
            use TransportError::{Foreign, Greeting, GreetingTooLong, Secret, Version};
            matches!(
                error,
                Secret | Version { .. } | Foreign | Greeting(_) | GreetingTooLong { .. }
            )
        };
        if self.failed.iter().any(|(_, error)| is_final(error)) {
            return Err(self.words());
        }
        let wait = self.wait;
        self.wait = (2 * wait).min(WAIT_MAX);
        Ok(Some(wait))
    }

    /// What has failed in the last round.
    fn words(&self) -> String {
        let each = self.failed.iter().map(|(address, error)| format!("{address}: {error}"));
        each.collect::<Vec<_>>().join("; ")
    }
}

impl ClientOptions {
    fn greeting(&self) -> Greeting {
        Greeting {
            role: Role::Client,
            cluster: None,
            id: None,
            name: self.name.clone(),
            address: String::new(),
        }
    }
}

fn deadline_after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_millis(CLIENT_TIMEOUT_MS_MAX))
}

/// The error of a read: it has changed nothing, whatever has become of it.
fn read_error(failure: &Failure) -> Error {
    Failure::without_effect(failure.reason.clone()).to_error()
}

fn unexpected(tell: Tell) -> Error {
    match tell {
        Tell::Error(error) => error,
        _ => Error::internal("the node answered something else than it was asked for"),
    }
}

fn unexpected_of_write(tell: &Tell) -> Failure {
    let why = match tell {
        Tell::Error(error) => error.to_string(),
        _ => "the node answered something else than it was asked for".to_owned(),
    };
    Failure { reason: FailureReason::NoNode(why), outcome: Outcome::Unknown }
}

/// The task has panicked, or its runtime is gone.
const GONE: &str = "the client's task has ended";

/// How long an attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// The pauses between rounds of attempts.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_millis(500);
/// After which time a client says that it is there.
const ALIVE_PERIOD: Duration = Duration::from_secs(5);
/// For how long a node may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(6);
