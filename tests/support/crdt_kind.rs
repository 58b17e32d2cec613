//! A `store.kv.crdt` of one node on a folder of its own, under a clock that is set by hand.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::clock::ManualClock;
use plimsoll::keyspace::Keyspace;
use plimsoll::node::{Access, ClusterNode, Disks, Drawn, NodeOptions};
use plimsoll::raft::{ClusterId, Options, RaftId};
use plimsoll::storage_fs::FsDisk;
use plimsoll::store::CrdtStore;

/// A node and a store on it.
pub struct CrdtKind {
    pub folder: tempfile::TempDir,
    pub node: ClusterNode,
    pub store: Arc<CrdtStore>,
    pub durable: bool,
}

impl CrdtKind {
    pub async fn open(durable: bool, clock: &ManualClock) -> Self {
        Self::open_on(tempfile::tempdir().unwrap(), durable, clock).await
    }

    pub async fn open_on(folder: tempfile::TempDir, durable: bool, clock: &ManualClock) -> Self {
        let disk = |name| FsDisk::open(&folder.path().join(name)).unwrap();
        let disks = Disks { raft: disk("raft"), crdt: Some(disk("kvcrdt")) };
        let options = NodeOptions {
            monotonic: Arc::new(clock.clone()),
            raft: Options { tick_ms: 2, ..Options::default() },
            ..NodeOptions::alone("solo", Arc::new(clock.clone()))
        };
        let drawn = Drawn { id: RaftId(1), cluster: ClusterId(1), epoch: 1, seed: 1 };
        let node = ClusterNode::open_on(disks, options, drawn).await.unwrap();
        let access = Access::Node(node.handle().clone());
        let store = CrdtStore::new(access, Keyspace::new("entries").unwrap(), durable);
        store.until_joined(Duration::from_secs(5)).await;
        Self { folder, node, store: Arc::new(store), durable }
    }

    /// Closes the node and opens it again.
    pub async fn reopen(self, clock: &ManualClock) -> Self {
        let Self { folder, node, store, durable } = self;
        drop(store);
        node.close().await;
        drop(node);
        Self::open_on(folder, durable, clock).await
    }
}
