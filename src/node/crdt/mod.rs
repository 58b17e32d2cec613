//! The eventually consistent half of a node: what drives [`gossip::Node`](crate::gossip::Node).
//!
//! A task of its own, so that merging what another node brings never makes the Raft engine wait. It takes
//! what has come as one step, publishes the replicas, and only then answers.
//!
//! No decisions about members, merging or spreading: those are the engines'.

mod handle;
mod task;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use handle::{CrdtFigures, CrdtHandle, SpaceFigures};
pub(super) use handle::{Published, unready};
pub(super) use task::Beginning;

use super::options::NodeOptions;
use crate::limits::CRDT_INBOX_MAX;

/// Starts the task.
pub(super) fn spawn(options: &NodeOptions, beginning: Beginning) -> (CrdtHandle, JoinHandle<()>) {
    let (inbox, inputs) = mpsc::channel(CRDT_INBOX_MAX);
    let published = watch::Sender::new(Published::default());
    let handle =
        CrdtHandle { inbox, published: published.subscribe(), clock: Arc::clone(&options.clock) };
    let task = tokio::spawn(task::run(options.clone(), beginning, inputs, published));
    (handle, task)
}
