//! A `store.kv.raft` of one node on a folder of its own, under a clock that is set by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use plimsoll::clock::{Clock as _, ManualClock};
use plimsoll::entry::{
    Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version,
};
use plimsoll::error::Result;
use plimsoll::keyspace::Keyspace;
use plimsoll::node::{Access, ClusterNode, Drawn, NodeHandle, NodeOptions, Session};
use plimsoll::policy::Rights;
use plimsoll::raft::{ClusterId, Options, RaftId};
use plimsoll::storage_fs::FsDisk;
use plimsoll::store::{Info, RaftStore, Resolved, Store, Watch, WatchQuery};
use plimsoll::value::Value;

/// A node and a store on it.
pub struct RaftKind {
    pub folder: tempfile::TempDir,
    pub node: ClusterNode,
    pub store: Arc<Settled>,
}

/// The store, used only when log time is where the clock is: a node expires what is due at its next
/// tick, and here the clock jumps.
pub struct Settled {
    store: RaftStore,
    node: NodeHandle,
    clock: ManualClock,
}

impl RaftKind {
    pub async fn open(epoch: u64, clock: &ManualClock) -> Self {
        Self::open_on(tempfile::tempdir().unwrap(), epoch, clock).await
    }

    pub async fn open_on(folder: tempfile::TempDir, epoch: u64, clock: &ManualClock) -> Self {
        let disk = FsDisk::open(folder.path()).unwrap();
        let options = NodeOptions {
            monotonic: Arc::new(clock.clone()),
            raft: Options { tick_ms: 2, ..Options::default() },
            ..NodeOptions::alone("solo", Arc::new(clock.clone()))
        };
        let drawn = Drawn { id: RaftId(1), cluster: ClusterId(1), epoch, seed: 1 };
        let node = ClusterNode::open(disk, options, drawn).await.unwrap();
        let handle = node.handle().clone();
        let session = Arc::new(Session::new(Access::Node(handle.clone())));
        let store = RaftStore::new(session, Keyspace::new("entries").unwrap());
        let store = Arc::new(Settled { store, node: handle, clock: clock.clone() });
        Self { folder, node, store }
    }
}

impl Settled {
    async fn settled(&self) -> &RaftStore {
        let published = self.node.published();
        let is_settled = || {
            let published = published.borrow();
            let deadline = published.machine.next_deadline();
            deadline.is_none_or(|deadline| self.clock.now() < deadline)
        };
        while !is_settled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        &self.store
    }
}

#[async_trait]
impl Store for Settled {
    fn info(&self) -> Info {
        self.store.info()
    }

    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        self.settled().await.entry(key).await
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        self.settled().await.has(key).await
    }

    async fn put(&self, key: Key, value: Value, options: PutOptions) -> Result<Entry> {
        self.store.put(key, value, options).await
    }

    async fn delete(&self, key: &Key, if_version: Option<Version>) -> Result<bool> {
        self.store.delete(key, if_version).await
    }

    async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        self.settled().await.list(query, rights).await
    }

    async fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>> {
        self.store.transact(operations).await
    }

    async fn watch(&self, query: &WatchQuery, rights: &Rights) -> Result<Watch> {
        self.settled().await.watch(query, rights).await
    }

    async fn resolve(&self, operation: &str, rights: &Rights) -> Result<Resolved> {
        self.store.resolve(operation, rights).await
    }
}
