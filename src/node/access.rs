//! The two ways to a cluster: a node of it in this process, or a client of nodes elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::handle::NodeHandle;
use crate::clock::UnixMillis;
use crate::error::Result;
use crate::kv::{Command, KeyRef, QualifiedKey, Record, Reply};
use crate::raft::{Answer, Failure, Request};

/// A way to a cluster.
#[derive(Clone, Debug)]
pub enum Access {
    /// A node of it, in this process.
    Node(NodeHandle),
    /// A client of nodes elsewhere.
    Client(Client),
}

/// How a command went that was sent under one stamp.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// What the machine replied, or why it is not known.
    pub answer: Result<Reply, Failure>,
    /// Whether the reply may be to a later copy of the command, while an earlier one was answered to
    /// nobody.
    pub was_repeated: bool,
}

impl Access {
    /// Sends a command until it is answered or the time is over.
    pub(super) async fn write(&self, command: Command, timeout: Duration) -> Outcome {
        match self {
            Self::Node(node) => {
                let installs = || node.published.borrow().installs;
                let before = installs();
                let answer = node.request(Request::Write(command), timeout).await;
                // What an installed snapshot covers was applied here without being looked at.
                let was_repeated = installs() != before;
                Outcome { answer: answer.map(into_reply), was_repeated }
            }
            Self::Client(client) => {
                let sent = client.write(command, timeout).await;
                let was_repeated = sent.was_repeated;
                Outcome { answer: sent.answer.map(|applied| applied.reply), was_repeated }
            }
        }
    }

    /// The record of a key.
    ///
    /// # Errors
    /// If no majority confirms it in time.
    pub async fn record(
        &self,
        key: QualifiedKey,
        timeout: Duration,
    ) -> Result<Option<Arc<Record>>> {
        match self {
            Self::Node(node) => {
                let machine = node.read(timeout).await.map_err(|failure| failure.to_error())?;
                let key = KeyRef { keyspace: key.keyspace(), key: key.key().as_bytes() };
                Ok(machine.get(key, UnixMillis(0)).cloned())
            }
            Self::Client(client) => client.record(key, timeout).await,
        }
    }

    /// Whether a key is present.
    ///
    /// # Errors
    /// If no majority confirms it in time.
    pub async fn has(&self, key: QualifiedKey, timeout: Duration) -> Result<bool> {
        match self {
            Self::Node(_) => Ok(self.record(key, timeout).await?.is_some()),
            Self::Client(client) => client.has(key, timeout).await,
        }
    }
}

fn into_reply(answer: Answer) -> Reply {
    match answer {
        Answer::Applied { reply, .. } => reply,
        other => unreachable!("a command is answered with its reply, not {other:?}"),
    }
}
