//! The replicas of nodes that run: what calls see, what a start finds again, and whom gossip sees.
#![allow(clippy::unwrap_used)]

#[path = "support/lent.rs"]
mod lent;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/replicas.rs"]
mod replicas;

use std::path::Path;

use lent::Lent;
use nodes::{Nodes, PATIENCE, eventually};
use plimsoll::error::{ErrorKind, Outcome};
use plimsoll::gossip::Space;
use plimsoll::node::{ClusterNode, Disks, Drawn, NodeHandle, NodeOptions};
use plimsoll::raft::{MemberChange, Request};
use plimsoll::storage_fs::FsDisk;
use plimsoll::value::Value;
use replicas::{
    SPACES, alone, crash_and_set_back, crash_everywhere, fail_disk, joined, key, open_on, put,
    read, released, value,
};

async fn shows(handle: &NodeHandle, space: Space, text: &str, is: &str) {
    let what = format!("{text} is {is} in {space:?}");
    let look =
        async || (read(handle.crdt(), space, text).await == Some(Value::from(is))).then_some(());
    eventually(&what, look).await;
}

async fn open_in(folder: &Path, options: NodeOptions) -> ClusterNode {
    // What was killed a moment ago may hold its folders and ports still.
    let folder = folder.to_owned();
    eventually("the node starts", async || {
        let open = |name| FsDisk::open(&folder.join("_sys").join(name)).ok();
        let disks = Disks { raft: open("raft")?, crdt: Some(open("kvcrdt")?) };
        ClusterNode::open_on(disks, options.clone(), Drawn::from_system()).await.ok()
    })
    .await
}

async fn start(nodes: &mut Nodes, place: usize) {
    let options = nodes.options(place);
    nodes.nodes[place] = Some(open_in(&nodes.data_dir(place), options).await);
}

async fn founded(count: usize) -> Nodes {
    let mut nodes = Nodes::places(count, count);
    for place in 0..count {
        start(&mut nodes, place).await;
    }
    for place in 0..count {
        joined(nodes.handle(place)).await;
    }
    nodes
}

#[tokio::test]
async fn a_node_that_is_alone_serves_at_once_and_reads_its_own_writes() {
    let folder = tempfile::tempdir().unwrap();
    let node = open_in(folder.path(), alone()).await;
    joined(node.handle()).await;
    let crdt = node.handle().crdt();
    for space in SPACES {
        let first = crdt.put(space, key("a"), value("1"), None, PATIENCE).await.unwrap();
        assert!(!first.was_shown);
        assert_eq!(read(crdt, space, "a").await, Some(Value::from("1")));
        let deleted = crdt.delete(space, key("a"), PATIENCE).await.unwrap();
        assert!(deleted.was_shown && deleted.stamp > first.stamp);
        assert_eq!(read(crdt, space, "a").await, None);
    }
    let figures = crdt.figures().await.unwrap();
    let status = &figures.spaces[&Space::Volatile].status;
    assert!(status.has_joined && status.is_whole && status.blocking.is_empty());
    node.close().await;
    let error = crdt.replica(Space::Volatile).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = put(crdt, Space::Volatile, "a", "2").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));
}

#[tokio::test]
async fn a_durable_write_survives_a_kill_and_a_volatile_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = [None; 2];
    // Each start begins a second ahead of the one before: more of them have to wait for the clock.
    for round in 0..3_u32 {
        let node = open_in(folder.path(), alone()).await;
        joined(node.handle()).await;
        let crdt = node.handle().crdt();
        for before in 0..round {
            let kept = read(crdt, Space::Durable, &format!("k{before}")).await;
            assert_eq!(kept, Some(Value::from("v")), "in round {round}");
        }
        assert_eq!(read(crdt, Space::Volatile, "k0").await, None);
        for (space, last) in SPACES.into_iter().zip(&mut last) {
            let key = key(&format!("k{round}"));
            let written = crdt.put(space, key, value("v"), None, PATIENCE).await.unwrap();
            assert!(*last < Some(written.stamp), "stamps grow over starts");
            *last = Some(written.stamp);
        }
        let status = crdt.figures().await.unwrap().spaces[&Space::Durable].status.clone();
        assert_eq!(status.author.incarnation.0, 1, "a restart is a pause");
        drop(node);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_hold_the_same_in_the_end() {
    let nodes = founded(3).await;
    for space in SPACES {
        for place in 0..3 {
            put(nodes.handle(place).crdt(), space, &format!("k{place}"), "v").await.unwrap();
            put(nodes.handle(place).crdt(), space, "shared", &format!("of {place}")).await.unwrap();
        }
        let large = "x".repeat(1 << 19);
        put(nodes.handle(1).crdt(), space, "large", &large).await.unwrap();
        nodes.handle(2).crdt().delete(space, key("k0"), PATIENCE).await.unwrap();
        for place in 0..3 {
            shows(nodes.handle(place), space, "large", &large).await;
            shows(nodes.handle(place), space, "k1", "v").await;
        }
        eventually("all hold the same", async || {
            let mut digests = Vec::new();
            for place in 0..3 {
                let figures = nodes.handle(place).crdt().figures().await?;
                digests.push(figures.spaces[&space].digest);
            }
            digests.iter().all(|digest| *digest == digests[0]).then_some(())
        })
        .await;
        assert_eq!(read(nodes.handle(0).crdt(), space, "k0").await, None);
    }
    let figures = nodes.handle(0).crdt().figures().await.unwrap();
    assert_eq!(figures.sights.iter().filter(|sight| sight.is_up).count(), 2);
    eventually("all are whole", async || {
        let figures = nodes.handle(0).crdt().figures().await?;
        figures.spaces.values().all(|space| space.status.is_whole).then_some(())
    })
    .await;
}

/// Nodes that know the address of the first one only.
async fn founded_through_one_door(count: usize) -> Nodes {
    let mut nodes = Nodes::places(count, count);
    for place in 0..count {
        let mut options = nodes.options(place);
        let door = vec![nodes.addresses[0].clone()];
        options.network.as_mut().unwrap().join = door;
        nodes.nodes[place] = Some(open_in(&nodes.data_dir(place), options).await);
    }
    nodes.leader().await;
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_one_door_found_a_cluster_together() {
    for count in [3, 5] {
        let nodes = founded_through_one_door(count).await;
        let first = nodes.status(0).await.unwrap();
        assert_eq!(first.raft.voters.len(), count);
        for place in 0..count {
            let look = async || nodes.status(place).await;
            let status = eventually("it is a member", look).await;
            assert_eq!(status.cluster, first.cluster);
            joined(nodes.handle(place)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_holds_what_it_missed_with_its_disk_and_without() {
    let mut nodes = founded(3).await;
    for space in SPACES {
        put(nodes.handle(2).crdt(), space, "own", "v").await.unwrap();
        shows(nodes.handle(0), space, "own", "v").await;
    }
    for has_disk in [true, false] {
        nodes.stop(2).await;
        let missed = format!("missed {has_disk}");
        for space in SPACES {
            put(nodes.handle(0).crdt(), space, &missed, "v").await.unwrap();
        }
        if !has_disk {
            let folder = nodes.data_dir(2).join("_sys").join("kvcrdt");
            std::fs::remove_dir_all(folder).unwrap();
        }
        start(&mut nodes, 2).await;
        let handle = nodes.handle(2).clone();
        if has_disk {
            // Before anybody can have answered: it has no need of others.
            let own = async || handle.crdt().replica(Space::Durable).await.ok();
            let replica = eventually("it serves", own).await;
            assert!(replica.get(&key("own"), handle.crdt().wall()).unwrap().is_some());
        }
        for space in SPACES {
            for name in ["own", &missed] {
                shows(&handle, space, name, "v").await;
            }
            put(handle.crdt(), space, "own", "v").await.unwrap();
        }
        let figures = handle.crdt().figures().await.unwrap();
        let incarnation = figures.spaces[&Space::Durable].status.author.incarnation.0;
        assert_eq!(incarnation, if has_disk { 1 } else { 3 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_node_serves_its_state_before_any_other_is_there() {
    let mut nodes = founded(3).await;
    put(nodes.handle(0).crdt(), Space::Durable, "k", "v").await.unwrap();
    for place in 0..3 {
        nodes.stop(place).await;
    }
    start(&mut nodes, 0).await;
    shows(nodes.handle(0), Space::Durable, "k", "v").await;
    put(nodes.handle(0).crdt(), Space::Durable, "k", "w").await.unwrap();
    let error = put(nodes.handle(0).crdt(), Space::Volatile, "k", "v").await.unwrap_err();
    assert_eq!(error.detail("reason"), Some(&Value::from("not_joined")));
    assert!(error.retryable() && error.outcome() == Some(Outcome::None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_removed_refuses() {
    let nodes = founded(3).await;
    let leader = nodes.leader().await;
    let other = (leader + 1) % 3;
    for space in SPACES {
        put(nodes.handle(other).crdt(), space, "k", "v").await.unwrap();
        shows(nodes.handle(leader), space, "k", "v").await;
    }
    let id = nodes.status(other).await.unwrap().raft.id;
    let change = Request::Change(vec![MemberChange::Remove(id)]);
    nodes.handle(leader).request(change, PATIENCE).await.unwrap();
    for space in SPACES {
        let error = eventually("it refuses", async || {
            put(nodes.handle(other).crdt(), space, "k", "w").await.err()
        })
        .await;
        assert_eq!(error.detail("reason"), Some(&Value::from("removed")));
        assert!(nodes.handle(other).crdt().replica(space).await.is_err());
        // The others go on, and wait for it no longer.
        put(nodes.handle(leader).crdt(), space, "k", "x").await.unwrap();
        shows(nodes.handle((leader + 2) % 3), space, "k", "x").await;
    }
    eventually("nobody is waited for", async || {
        let figures = nodes.handle(leader).crdt().figures().await?;
        figures.spaces.values().all(|space| space.status.blocking.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_without_a_disk_for_replicas_says_so() {
    let node = ClusterNode::open(Lent::default(), alone(), Drawn::from_system()).await.unwrap();
    for error in [
        node.handle().crdt().replica(Space::Volatile).await.unwrap_err(),
        put(node.handle().crdt(), Space::Durable, "k", "v").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_node_that_is_closed_or_dropped() {
    for closes in [true, false] {
        let (raft, crdt) = (Lent::default(), Lent::default());
        let node = open_on(&raft, &crdt, 0).await.unwrap();
        let handle = node.handle().clone();
        joined(&handle).await;
        put(handle.crdt(), Space::Durable, "k", "v").await.unwrap();
        if closes {
            node.close().await;
        } else {
            drop(node);
        }
        released([&raft, &crdt]).await;
        let error = put(handle.crdt(), Space::Durable, "k", "v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(handle.crdt().replica(Space::Volatile).await.is_err());
        assert!(handle.crdt().figures().await.is_none());
    }
}

#[tokio::test]
async fn a_disk_that_fails_or_is_full_stops_the_node_and_what_was_acknowledged_is_there_again() {
    fail_disk("sync").await;
    fail_disk("full").await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_at_any_operation_of_the_disk() {
    crash_everywhere().await;
}

#[tokio::test]
async fn stamps_grow_over_a_crash_at_any_operation_of_the_disk_and_a_clock_that_is_set_back() {
    crash_and_set_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_added_joins_and_has_the_list_of_the_others() {
    let mut nodes = Nodes::places(4, 3);
    for place in 0..3 {
        start(&mut nodes, place).await;
    }
    for space in SPACES {
        joined(nodes.handle(0)).await;
        put(nodes.handle(0).crdt(), space, "early", "v").await.unwrap();
    }
    let mut options = nodes.options(3);
    options.raft.snapshot_threshold = 16;
    nodes.nodes[3] = Some(open_in(&nodes.data_dir(3), options.clone()).await);
    for space in SPACES {
        shows(nodes.handle(3), space, "early", "v").await;
        put(nodes.handle(3).crdt(), space, "late", "v").await.unwrap();
        shows(nodes.handle(1), space, "late", "v").await;
        eventually("all have one list", async || {
            let mut epochs = std::collections::BTreeSet::new();
            for place in 0..4 {
                let figures = nodes.handle(place).crdt().figures().await?;
                epochs.insert(figures.spaces[&space].status.epoch);
            }
            (epochs.len() == 1).then_some(())
        })
        .await;
    }
    // Also after a snapshot has replaced the change in the log.
    for number in 0..50 {
        nodes::write(nodes.handle(3), &format!("r{number}"), "v").await.unwrap();
    }
    eventually("the log begins later", async || {
        nodes.status(3).await.filter(|status| status.raft.first_index > 20)
    })
    .await;
    let figures = nodes.handle(3).crdt().figures().await.unwrap();
    let before = figures.spaces[&Space::Durable].status.epoch;
    nodes.stop(3).await;
    nodes.nodes[3] = Some(open_in(&nodes.data_dir(3), options).await);
    joined(nodes.handle(3)).await;
    let figures = nodes.handle(3).crdt().figures().await.unwrap();
    assert_eq!(figures.spaces[&Space::Durable].status.epoch, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_after_a_pause_wait_for_the_bound_of_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let node = open_in(folder.path(), alone()).await;
    joined(node.handle()).await;
    for _ in 0..2 {
        let mut writes = Vec::new();
        for number in 0..300 {
            let crdt = node.handle().crdt().clone();
            let space = SPACES[number % 2];
            let key = format!("k{number}");
            writes.push(tokio::spawn(async move { put(&crdt, space, &key, "v").await }));
        }
        for write in writes {
            write.await.unwrap().unwrap();
        }
        let reserved = node.handle().crdt().figures().await.unwrap().reserved;
        tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
        let figures = node.handle().crdt().figures().await.unwrap();
        assert!(figures.reserved.0 < reserved.0 + 2_500, "a node without writes syncs nothing");
        assert!(figures.reserved < node.handle().crdt().wall(), "so the next ones have to wait");
        assert_eq!(figures.clock_refusals, 0);
    }
}

#[tokio::test]
async fn a_long_log_is_replaced_by_a_snapshot_and_a_start_finds_both() {
    let (raft, crdt) = (Lent::default(), Lent::default());
    let snapshots = || {
        let names = plimsoll::storage::Disk::names(&crdt).unwrap();
        names.into_iter().filter(|name| name.starts_with("snapshot")).collect::<Vec<_>>()
    };
    let node = open_on(&raft, &crdt, 0).await.unwrap();
    joined(node.handle()).await;
    let first = snapshots();
    let large = |number: usize| format!("{number} {}", "x".repeat(100 << 10));
    for number in 0..120 {
        let key = format!("k{}", number % 10);
        put(node.handle().crdt(), Space::Durable, &key, &large(number)).await.unwrap();
    }
    eventually("there is another snapshot", async || (snapshots() != first).then_some(())).await;
    put(node.handle().crdt(), Space::Durable, "last", "v").await.unwrap();
    drop(node);
    released([&raft, &crdt]).await;
    crdt.0.lock().unwrap().lose_unsynced();
    let node = open_on(&raft, &crdt, 0).await.unwrap();
    joined(node.handle()).await;
    for number in 110..120 {
        let kept = read(node.handle().crdt(), Space::Durable, &format!("k{}", number % 10)).await;
        assert_eq!(kept, Some(Value::from(large(number).as_str())), "{number}");
    }
    assert_eq!(read(node.handle().crdt(), Space::Durable, "last").await, Some("v".into()));
    let status = node.handle().crdt().figures().await.unwrap().spaces[&Space::Durable].clone();
    assert_eq!(status.status.author.incarnation.0, 1, "it goes on");
    assert!(snapshots().len() <= 2, "older ones are removed: {:?}", snapshots());
}
