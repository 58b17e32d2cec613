//! The replicas of nodes that run: what calls see, what a start finds again, and whom gossip sees.

#[path = "support/nodes.rs"]
mod nodes;

use std::sync::Arc;

use nodes::{PATIENCE, Wall, open};
use plimsoll::entry::Key;
use plimsoll::gossip::Space;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::node::{CrdtHandle, NodeOptions};
use plimsoll::value::{Encoded, Value};

const SPACES: [Space; 2] = [Space::Volatile, Space::Durable];

fn key(text: &str) -> QualifiedKey {
    QualifiedKey::new(&Keyspace::new("app").unwrap(), &Key::new(text).unwrap())
}

fn value(text: &str) -> Encoded {
    Encoded::new(&Value::from(text)).unwrap()
}

async fn read(crdt: &CrdtHandle, space: Space, text: &str) -> Option<Value> {
    let replica = crdt.replica(space).await.unwrap();
    let entry = replica.get(&key(text), crdt.wall()).unwrap();
    entry.and_then(|entry| entry.bytes.as_ref()).map(|bytes| bytes.decode())
}

#[tokio::test]
async fn a_node_that_is_alone_serves_at_once_and_reads_its_own_writes() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path(), NodeOptions::alone("solo", Arc::new(Wall(0)))).await;
    let crdt = node.handle().crdt();
    nodes::eventually("it has joined", async || crdt.replica(Space::Durable).await.ok()).await;
    for space in SPACES {
        let first = crdt.put(space, key("a"), value("1"), None, PATIENCE).await.unwrap();
        assert!(!first.was_shown);
        assert_eq!(read(crdt, space, "a").await, Some(Value::from("1")));
        let deleted = crdt.delete(space, key("a"), PATIENCE).await.unwrap();
        assert!(deleted.was_shown && deleted.stamp > first.stamp);
        assert_eq!(read(crdt, space, "a").await, None);
    }
    let figures = crdt.figures().await.unwrap();
    assert_eq!(figures.spaces[&Space::Volatile].status.registers, 1);
    node.close().await;
    assert!(crdt.replica(Space::Volatile).await.is_err());
}
