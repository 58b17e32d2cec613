//! One namespace of a cluster's replicas, on either way to them: what stores read, write and list.
//!
//! With a node in this process it looks at a clone of that node's replica, and reads nothing from
//! anywhere else. A client asks one node, and stays with it as long as that one serves.
//!
//! Nothing is tried again here: a write whose answer was lost may have been made, and writing it again
//! would put it after whatever was written meanwhile.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::access::Access;
use super::crdt::{CrdtHandle, unready};
use super::protocol::{ReplicaAsk, Stamped, Tell};
use crate::crdt::{Shown, Written};
use crate::entry::{ListQuery, Ttl};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::gossip::Space;
use crate::keyspace::Keyspace;
use crate::kv::{KeyPage, PageQuery, QualifiedKey};
use crate::raft::{Failure, FailureReason};
use crate::value::Encoded;

/// A namespace of replicas, on a way to a cluster.
#[derive(Clone, Debug)]
pub struct Replicas {
    access: Access,
    space: Space,
    keyspace: Keyspace,
}

impl Replicas {
    /// A namespace, in one of a node's replicas.
    #[must_use]
    pub const fn new(access: Access, space: Space, keyspace: Keyspace) -> Self {
        Self { access, space, keyspace }
    }

    /// The replica that it lives in.
    #[must_use]
    pub const fn space(&self) -> Space {
        self.space
    }

    /// The namespace.
    #[must_use]
    pub const fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The client, if there is no node in this process.
    #[must_use]
    pub const fn is_client(&self) -> bool {
        matches!(self.access, Access::Client(_))
    }

    /// Waits until the replica of a node in this process serves, for some time at most.
    pub async fn until_joined(&self, wait: Duration) {
        if let Access::Node(node) = &self.access {
            // If it does not, its calls tell why.
            _ = timeout(wait, node.crdt().until_shown(self.space)).await;
        }
    }

    /// What a key shows, if it does, by the clock of the node that is asked.
    ///
    /// # Errors
    /// `UNAVAILABLE` if that node does not serve, or none can be reached; `TIMEOUT` if it does not answer.
    pub async fn get(&self, key: QualifiedKey, timeout: Duration) -> Result<Option<Shown>> {
        match &self.access {
            Access::Node(node) => get(node.crdt(), self.space, &key).await,
            Access::Client(client) => client.replica_get(self.space, key, timeout).await,
        }
    }

    /// Whether a key shows anything, likewise.
    ///
    /// # Errors
    /// As [`Replicas::get`].
    pub async fn has(&self, key: QualifiedKey, timeout: Duration) -> Result<bool> {
        match &self.access {
            Access::Node(node) => has(node.crdt(), self.space, &key).await,
            Access::Client(client) => client.replica_has(self.space, key, timeout).await,
        }
    }

    /// A page of one state of a replica. A client's is not filtered: the node knows nothing of what may
    /// be read.
    ///
    /// # Errors
    /// As [`Replicas::get`].
    pub async fn page(
        &self,
        query: &ListQuery,
        admits: Option<impl Fn(&str) -> bool + Send + 'static>,
        timeout: Duration,
    ) -> Result<KeyPage<Shown>> {
        let (keyspace, query) = (self.keyspace.clone(), query.clone());
        match &self.access {
            Access::Node(node) => page(node.crdt(), self.space, keyspace, query, admits).await,
            Access::Client(client) => {
                client.replica_page(self.space, keyspace, query, timeout).await
            }
        }
    }

    /// Writes a value. The node that has made the write shows it from then on.
    ///
    /// # Errors
    /// `UNAVAILABLE` with outcome `none` if the node refuses, `details.reason` tells why; else what is
    /// known of the outcome.
    pub async fn put(
        &self,
        key: QualifiedKey,
        value: Encoded,
        ttl: Option<Ttl>,
        timeout: Duration,
    ) -> Result<Stamped> {
        match &self.access {
            Access::Node(node) => {
                let written = node.crdt().put(self.space, key, value, ttl, timeout).await?;
                Ok(stamped(&written))
            }
            Access::Client(client) => {
                client.replica_put(self.space, key, value, ttl, timeout).await
            }
        }
    }

    /// Deletes a key, also one that the node does not show.
    ///
    /// # Errors
    /// As [`Replicas::put`].
    pub async fn delete(&self, key: QualifiedKey, timeout: Duration) -> Result<Stamped> {
        match &self.access {
            Access::Node(node) => Ok(stamped(&node.crdt().delete(self.space, key, timeout).await?)),
            Access::Client(client) => client.replica_delete(self.space, key, timeout).await,
        }
    }
}

/// Does what a client asks of a node's replicas.
pub(super) async fn answer(
    replicas: &CrdtHandle,
    space: Space,
    ask: ReplicaAsk,
    timeout: Duration,
) -> Tell {
    let all = None::<fn(&str) -> bool>;
    let answered = match ask {
        ReplicaAsk::Get(key) => get(replicas, space, &key).await.map(Tell::Shown),
        ReplicaAsk::Has(key) => has(replicas, space, &key).await.map(Tell::Has),
        ReplicaAsk::Page(keyspace, query) => {
            page(replicas, space, keyspace, query, all).await.map(Tell::ShownPage)
        }
        ReplicaAsk::Put { key, value, ttl } => {
            // It stays, and what it came in does not.
            let written = replicas.put(space, key, value.detached(), ttl, timeout).await;
            written.map(|written| Tell::Stamped(stamped(&written)))
        }
        ReplicaAsk::Delete(key) => {
            let written = replicas.delete(space, key, timeout).await;
            written.map(|written| Tell::Stamped(stamped(&written)))
        }
    };
    answered.unwrap_or_else(failed)
}

async fn get(replicas: &CrdtHandle, space: Space, key: &QualifiedKey) -> Result<Option<Shown>> {
    replicas.replica(space).await?.shown(key, replicas.wall()).map_err(unready)
}

async fn has(replicas: &CrdtHandle, space: Space, key: &QualifiedKey) -> Result<bool> {
    let replica = replicas.replica(space).await?;
    Ok(replica.get(key, replicas.wall()).map_err(unready)?.is_some())
}

async fn page(
    replicas: &CrdtHandle,
    space: Space,
    keyspace: Keyspace,
    query: ListQuery,
    admits: Option<impl Fn(&str) -> bool + Send + 'static>,
) -> Result<KeyPage<Shown>> {
    let (replica, wall) = (replicas.replica(space).await?, replicas.wall());
    let map = replica.map();
    let passed = if admits.is_some() { map.len() } else { map.tombstones_len() };
    let scan = move || {
        let query = PageQuery { keyspace: keyspace.as_str(), query: &query };
        replica.page(query, wall, |key| admits.as_ref().is_none_or(|admits| admits(key)))
    };
    let page = if passed > SCAN_MAX {
        let scanned = spawn_blocking(scan).await;
        scanned.map_err(|error| Error::internal(format!("the listing ended: {error}")))?
    } else {
        scan()
    };
    page.map_err(unready)
}

fn stamped(written: &Written) -> Stamped {
    let Written { stamp, deadline, was_shown, .. } = *written;
    Stamped { stamp, deadline, was_shown }
}

/// An error as a client is told it: what has an unknown outcome is a failure.
fn failed(error: Error) -> Tell {
    if error.outcome() != Some(Outcome::Unknown) {
        return Tell::Error(error);
    }
    let reason = match error.kind() {
        ErrorKind::Timeout => FailureReason::Timeout,
        _ => FailureReason::NoNode(error.message().to_owned()),
    };
    Tell::Failed(Failure { reason, outcome: Outcome::Unknown })
}

/// How many keys a listing may pass over at once, rather than on a thread of its own: about a
/// millisecond.
const SCAN_MAX: usize = 1_000;
