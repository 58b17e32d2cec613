//! What a client asks of the replicas of the node that it is connected to.
//!
//! These calls have a connection of their own: what makes a client leave a node for its Raft engine
//! says nothing of its replicas, and a client that stays reads what it has written.

use std::time::Duration;

use super::{Client, read_error, unexpected};
use crate::crdt::Shown;
use crate::entry::{ListQuery, Ttl};
use crate::error::{Outcome, Result};
use crate::gossip::Space;
use crate::keyspace::Keyspace;
use crate::kv::{KeyPage, QualifiedKey};
use crate::node::protocol::{Ask, ReplicaAsk, Stamped, Tell};
use crate::value::Encoded;

impl Client {
    /// What a key shows in a replica, if it does, by the clock of its node.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the node does not serve, `details.reason` tells why, or if none can be reached;
    /// `TIMEOUT` if there is no answer in time.
    pub async fn replica_get(
        &self,
        space: Space,
        key: QualifiedKey,
        timeout: Duration,
    ) -> Result<Option<Shown>> {
        match self.of_replica(space, ReplicaAsk::Get(key), timeout).await? {
            Tell::Shown(shown) => Ok(shown),
            tell => Err(unexpected(tell)),
        }
    }

    /// Whether a key shows anything, likewise.
    ///
    /// # Errors
    /// As [`Client::replica_get`].
    pub async fn replica_has(
        &self,
        space: Space,
        key: QualifiedKey,
        timeout: Duration,
    ) -> Result<bool> {
        match self.of_replica(space, ReplicaAsk::Has(key), timeout).await? {
            Tell::Has(has) => Ok(has),
            tell => Err(unexpected(tell)),
        }
    }

    /// A page of a keyspace, of one state of a replica.
    ///
    /// # Errors
    /// As [`Client::replica_get`].
    pub async fn replica_page(
        &self,
        space: Space,
        keyspace: Keyspace,
        query: ListQuery,
        timeout: Duration,
    ) -> Result<KeyPage<Shown>> {
        match self.of_replica(space, ReplicaAsk::Page(keyspace, query), timeout).await? {
            Tell::ShownPage(page) => Ok(page),
            tell => Err(unexpected(tell)),
        }
    }

    /// Writes a value. It is sent once: if its connection breaks, nobody knows whether it was made.
    ///
    /// # Errors
    /// `UNAVAILABLE` with outcome `none` if the node refuses, `details.reason` tells why; else what is
    /// known of the outcome.
    pub async fn replica_put(
        &self,
        space: Space,
        key: QualifiedKey,
        value: Encoded,
        ttl: Option<Ttl>,
        timeout: Duration,
    ) -> Result<Stamped> {
        self.write_replica(space, ReplicaAsk::Put { key, value, ttl }, timeout).await
    }

    /// Deletes a key, also one that the node does not show; once, likewise.
    ///
    /// # Errors
    /// As [`Client::replica_put`].
    pub async fn replica_delete(
        &self,
        space: Space,
        key: QualifiedKey,
        timeout: Duration,
    ) -> Result<Stamped> {
        self.write_replica(space, ReplicaAsk::Delete(key), timeout).await
    }

    async fn of_replica(&self, space: Space, ask: ReplicaAsk, timeout: Duration) -> Result<Tell> {
        let ended = self.ask(Ask::Replica(space, ask), timeout).await;
        ended.answer.map_err(|failure| read_error(&failure))
    }

    async fn write_replica(
        &self,
        space: Space,
        ask: ReplicaAsk,
        timeout: Duration,
    ) -> Result<Stamped> {
        match self.ask(Ask::Replica(space, ask), timeout).await.answer {
            Ok(Tell::Stamped(stamped)) => Ok(stamped),
            // A node that tells an error has written nothing.
            Ok(Tell::Error(error)) => Err(error.with_outcome(Outcome::None)),
            Ok(tell) => Err(unexpected(tell).with_outcome(Outcome::Unknown)),
            Err(failure) => Err(failure.to_error()),
        }
    }
}
