//! A node that is alone, with replicas on disks in memory, and what has to hold of it when these fail.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use plimsoll::entry::Key;
use plimsoll::error::{ErrorKind, Outcome, Result};
use plimsoll::gossip::Space;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::node::{ClusterNode, CrdtHandle, Disks, Drawn, NodeHandle, NodeOptions};
use plimsoll::value::{Encoded, Value};

use crate::lent::Lent;
use crate::nodes::{PATIENCE, Wall, eventually};

pub const SPACES: [Space; 2] = [Space::Volatile, Space::Durable];

pub fn key(text: &str) -> QualifiedKey {
    QualifiedKey::new(&Keyspace::new("app").unwrap(), &Key::new(text).unwrap())
}

pub fn value(text: &str) -> Encoded {
    Encoded::new(&Value::from(text)).unwrap()
}

pub async fn put(crdt: &CrdtHandle, space: Space, text: &str, is: &str) -> Result<()> {
    crdt.put(space, key(text), value(is), None, PATIENCE).await.map(|_| ())
}

/// What a node shows; none also while it does not serve.
pub async fn read(crdt: &CrdtHandle, space: Space, text: &str) -> Option<Value> {
    let replica = crdt.replica(space).await.ok()?;
    let entry = replica.get(&key(text), crdt.wall()).unwrap();
    entry.and_then(|entry| entry.bytes.as_ref()).map(|bytes| bytes.decode())
}

pub async fn joined(handle: &NodeHandle) {
    for space in SPACES {
        let look = async || handle.crdt().replica(space).await.ok();
        eventually(&format!("{space:?} has joined"), look).await;
    }
}

pub fn alone() -> NodeOptions {
    NodeOptions::alone("solo", Arc::new(Wall(0)))
}

/// A node that is alone, on disks in memory that outlive it.
pub async fn open_on(raft: &Lent, crdt: &Lent, clock_ms: i64) -> Result<ClusterNode> {
    let disks = Disks { raft: raft.clone(), crdt: Some(crdt.clone()) };
    let options = NodeOptions { clock: Arc::new(Wall(clock_ms)), ..alone() };
    ClusterNode::open_on(disks, options, Drawn::from_system()).await
}

/// Waits until nothing of a node that has ended uses its disks.
pub async fn released(disks: [&Lent; 2]) {
    let is_free = |disk: &Lent| Arc::strong_count(&disk.0) == 1;
    eventually("its tasks have ended", async || disks.into_iter().all(is_free).then_some(())).await;
}

/// A disk that fails in a sync, or is full, stops the node; what was acknowledged is there again.
pub async fn fail_disk(fault: &str) {
    let (raft, crdt) = (Lent::default(), Lent::default());
    let mut node = open_on(&raft, &crdt, 0).await.unwrap();
    joined(node.handle()).await;
    put(node.handle().crdt(), Space::Durable, "kept", "v").await.unwrap();
    {
        let mut disk = crdt.0.lock().unwrap();
        if fault == "sync" {
            disk.fail_next_sync();
        } else {
            let bytes = disk.bytes();
            disk.set_capacity(Some(bytes));
        }
    }
    // The log is made of segments that are there: a large one needs another.
    let large = "x".repeat(1 << 19);
    let mut tries = 0;
    let error = loop {
        tries += 1;
        let key = format!("k{tries}");
        match put(node.handle().crdt(), Space::Durable, &key, &large).await {
            Ok(()) => assert!(tries < 100, "it is full"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault}");
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{fault}");
    node.ended().await.unwrap_err();
    assert!(node.handle().crdt().replica(Space::Volatile).await.is_err());
    drop(node);
    released([&raft, &crdt]).await;
    crdt.0.lock().unwrap().lose_unsynced();

    let node = open_on(&raft, &crdt, 0).await.unwrap();
    joined(node.handle()).await;
    assert_eq!(read(node.handle().crdt(), Space::Durable, "kept").await, Some("v".into()));
    for earlier in 1..tries {
        let earlier = read(node.handle().crdt(), Space::Durable, &format!("k{earlier}")).await;
        assert!(earlier.is_some(), "{fault}: it was acknowledged");
    }
    // The failure was written down where that was possible: then it has begun anew.
    let figures = node.handle().crdt().figures().await.unwrap();
    let incarnation = figures.spaces[&Space::Durable].status.author.incarnation.0;
    assert_eq!(incarnation, if fault == "sync" { 2 } else { 1 }, "{fault}");
}

/// A crash at any operation of the disk: what was acknowledged is there again.
pub async fn crash_everywhere() {
    let mut crashes = 0;
    for operations in 0.. {
        let (raft, crdt) = (Lent::default(), Lent::default());
        crdt.0.lock().unwrap().stop_after(operations);
        let mut acknowledged = 0;
        if let Ok(node) = open_on(&raft, &crdt, 0).await {
            while acknowledged < 6 {
                let text = format!("k{acknowledged}");
                match put(node.handle().crdt(), Space::Durable, &text, "v").await {
                    Ok(()) => acknowledged += 1,
                    Err(error)
                        if error.outcome() == Some(Outcome::None)
                            && error.detail("reason").is_some() =>
                    {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(_) => break,
                }
            }
        }
        released([&raft, &crdt]).await;
        crdt.0.lock().unwrap().lose_unsynced();
        let node = open_on(&raft, &crdt, 0).await.unwrap();
        joined(node.handle()).await;
        for number in 0..acknowledged {
            let kept = read(node.handle().crdt(), Space::Durable, &format!("k{number}")).await;
            assert_eq!(kept, Some("v".into()), "k{number} of {acknowledged} after {operations}");
        }
        if acknowledged == 6 {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 20, "{crashes}");
}

/// A crash at any operation of the disk, and a clock that is set back: stamps grow all the same.
pub async fn crash_and_set_back() {
    let mut stamped = 0;
    for operations in 0.. {
        let (raft, crdt) = (Lent::default(), Lent::default());
        crdt.0.lock().unwrap().stop_after(operations);
        let mut before = None;
        if let Ok(node) = open_on(&raft, &crdt, 0).await {
            let crdt = node.handle().crdt();
            for _ in 0..20 {
                let put = crdt.put(Space::Volatile, key("k"), value("v"), None, PATIENCE).await;
                match put {
                    Ok(written) => {
                        before = Some(written.stamp);
                        break;
                    }
                    Err(error) if error.detail("reason").is_none() => break,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        }
        released([&raft, &crdt]).await;
        crdt.0.lock().unwrap().lose_unsynced();
        let Some(before) = before else { continue };
        let node = open_on(&raft, &crdt, -1_000).await.unwrap();
        joined(node.handle()).await;
        let crdt = node.handle().crdt();
        let written =
            crdt.put(Space::Volatile, key("k"), value("v"), None, PATIENCE).await.unwrap();
        assert!(written.stamp > before, "{operations}: {written:?} is not after {before:?}");
        stamped += 1;
        if stamped == STAMPED {
            break;
        }
    }
}

/// In how many places beyond the first one that a write needs.
const STAMPED: u32 = 8;
