//! Nodes on loopback and real files: founding, joining, stopping, starting again.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used)]

#[path = "support/nodes.rs"]
mod nodes;

use std::sync::Arc;
use std::time::Duration;

use nodes::{Nodes, PATIENCE, Wall, eventually, open, value_of, write};
use plimsoll::clock::UnixMillis;
use plimsoll::node::{ClusterNode, Drawn, NodeOptions};
use plimsoll::raft::{
    ClusterId, FailureReason, Identity, Member, MemberChange, Options, RaftId, Request, Role, found,
};
use plimsoll::storage::{Storage, StorageOptions};
use plimsoll::storage_fs::FsDisk;
use plimsoll::value::Value;

#[tokio::test]
async fn a_node_alone_founds_at_once_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let options = || NodeOptions::alone("solo", Arc::new(Wall(0)));
    for start in 0..3 {
        let node = open(folder.path(), options()).await;
        for n in 0..start {
            let machine = node.handle().read(PATIENCE).await.unwrap();
            assert_eq!(value_of(&machine, &format!("k{n}")), Some(Value::from("v")));
        }
        write(node.handle(), &format!("k{start}"), "v").await.unwrap();
        node.close().await;
    }
}

#[tokio::test]
async fn a_read_right_after_a_start_sees_what_only_the_snapshot_holds() {
    let folder = tempfile::tempdir().unwrap();
    let raft = Options { snapshot_threshold: 1, ..Options::default() };
    let options =
        || NodeOptions { raft: raft.clone(), ..NodeOptions::alone("solo", Arc::new(Wall(0))) };
    let node = open(folder.path(), options()).await;
    write(node.handle(), "k", "v").await.unwrap();
    node.close().await;
    // The snapshot of the write was being taken; this start takes it if that one was too late.
    open(folder.path(), options()).await.close().await;
    let node = open(folder.path(), options()).await;
    let machine = node.handle().read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("v")));
    assert_eq!(node.handle().published().borrow().machine.epoch(), machine.epoch());
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = NodeOptions::alone("solo", Arc::new(Wall(0)));
    let _node = open(folder.path(), options).await;
    assert!(FsDisk::open(folder.path()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_found_one_cluster_and_each_serves() {
    let nodes = Nodes::founded(3).await;
    for place in 0..3 {
        write(nodes.handle(place), &format!("k{place}"), "v").await.unwrap();
        for reader in 0..3 {
            let machine = nodes.handle(reader).read(PATIENCE).await.unwrap();
            let seen = value_of(&machine, &format!("k{place}"));
            assert_eq!(seen, Some(Value::from("v")), "written at {place}, read at {reader}");
        }
    }
    let first = nodes.status(0).await.unwrap();
    assert_eq!(first.raft.voters.len(), 3);
    for place in 1..3 {
        assert_eq!(nodes.status(place).await.unwrap().cluster, first.cluster);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_leader_is_followed_by_another_and_comes_back() {
    let mut nodes = Nodes::founded(3).await;
    for round in 0..3 {
        let leader = nodes.leader().await;
        write(nodes.handle(leader), &format!("before{round}"), "v").await.unwrap();
        nodes.stop(leader).await;
        let other = nodes.leader().await;
        write(nodes.handle(other), &format!("after{round}"), "v").await.unwrap();
        nodes.start(leader).await;
        let machine = nodes.handle(leader).read(PATIENCE).await.unwrap();
        for key in [format!("before{round}"), format!("after{round}")] {
            assert_eq!(value_of(&machine, &key), Some(Value::from("v")), "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_stop_and_start_and_nothing_is_lost() {
    let mut nodes = Nodes::founded(3).await;
    write(nodes.handle(1), "kept", "v").await.unwrap();
    for place in 0..3 {
        nodes.stop(place).await;
    }
    for place in 0..3 {
        nodes.start(place).await;
    }
    let machine = nodes.handle(2).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "kept"), Some(Value::from("v")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_is_promoted_and_leaves() {
    let mut nodes = Nodes::places(4, 3);
    for place in 0..3 {
        nodes.start(place).await;
    }
    let leader = nodes.leader().await;
    write(nodes.handle(leader), "early", "v").await.unwrap();
    nodes.start(3).await;
    let joined = eventually("the node is a voter", async || {
        let status = nodes.status(3).await?;
        status.raft.voters.contains(&status.raft.id).then_some(status)
    })
    .await;
    assert_eq!(joined.members.len(), 4);
    let machine = nodes.handle(3).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "early"), Some(Value::from("v")));
    let removal = Request::Change(vec![MemberChange::Remove(joined.raft.id)]);
    nodes.handle(0).request(removal, PATIENCE).await.unwrap();
    let status = nodes.status(0).await.unwrap();
    assert!(!status.raft.voters.contains(&joined.raft.id));
    // It does not ask to be added again.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!nodes.status(0).await.unwrap().members.contains_key(&joined.raft.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_between_hearing_of_the_cluster_and_being_added_is_added_later() {
    let mut nodes = Nodes::places(4, 3);
    for place in 0..3 {
        nodes.start(place).await;
    }
    nodes.leader().await;
    // One of three is left: it tells of the cluster, and can't add anybody.
    nodes.stop(1).await;
    nodes.stop(2).await;
    eventually("nobody leads", async || {
        nodes.status(0).await.filter(|status| status.raft.leader.is_none())
    })
    .await;
    nodes.start(3).await;
    eventually("it has heard of the cluster", async || nodes.status(3).await).await;
    nodes.stop(3).await;
    for place in 1..4 {
        nodes.start(place).await;
    }
    eventually("the node is a voter", async || {
        let status = nodes.status(3).await?;
        status.raft.voters.contains(&status.raft.id).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_index_is_that_of_the_engine() {
    let nodes = Nodes::founded(3).await;
    let leader = nodes.leader().await;
    // The entry with which a leader begins is no command.
    let applied = nodes.status(leader).await.unwrap().raft.applied;
    assert!(applied > 0);
    assert!(nodes.handle(leader).published().borrow().applied >= applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_directory_takes_the_place_of_its_name() {
    let mut nodes = Nodes::founded(3).await;
    let old = nodes.status(2).await.unwrap().raft.id;
    write(nodes.handle(0), "kept", "v").await.unwrap();
    nodes.stop(2).await;
    std::fs::remove_dir_all(nodes.data_dir(2)).unwrap();
    let leader = nodes.leader().await;
    assert_ne!(leader, 2);
    nodes.start(2).await;
    let new = eventually("it took the place", async || {
        let status = nodes.status(0).await?;
        let new = nodes.status(2).await?.raft.id;
        let is_new = status.raft.voters.contains(&new) && !status.raft.voters.contains(&old);
        (is_new && status.raft.outgoing.is_empty()).then_some(new)
    })
    .await;
    assert_ne!(new, old);
    let machine = nodes.handle(2).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "kept"), Some(Value::from("v")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_every_request_ends_by_its_deadline() {
    let mut nodes = Nodes::founded(3).await;
    let leader = nodes.leader().await;
    for place in (0..3).filter(|place| *place != leader) {
        nodes.stop(place).await;
    }
    let began = std::time::Instant::now();
    let timeout = Duration::from_millis(700);
    let handle = nodes.handle(leader);
    let (read, written) =
        tokio::join!(handle.read(timeout), handle.request(nodes::put("k", "v"), timeout));
    assert!(read.is_err() && written.is_err());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let status = eventually("the leader steps down", async || {
        nodes.status(leader).await.filter(|status| status.raft.role != Role::Leader)
    })
    .await;
    assert_eq!(status.raft.leader, None);
}

#[tokio::test]
async fn nodes_without_the_secret_found_nothing() {
    let mut nodes = Nodes::places(2, 2);
    nodes.start(0).await;
    nodes.secret = plimsoll::transport::Secret::from_bytes([8; 32]);
    nodes.start(1).await;
    let read = nodes.handle(0).read(Duration::from_secs(1)).await;
    assert!(read.is_err(), "one node alone is not the two that were expected");
    assert!(nodes.status(0).await.is_none());
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let nodes = Nodes::places(1, 1);
    let _taken = std::net::TcpListener::bind(&nodes.addresses[0]).unwrap();
    let disk = FsDisk::open(&nodes.data_dir(0)).unwrap();
    let opened = ClusterNode::open(disk, nodes.options(0), Drawn::from_system()).await;
    let error = opened.err().unwrap();
    assert!(error.message().contains(&nodes.addresses[0]), "{error}");
}

#[tokio::test]
async fn what_a_snapshot_held_is_there_before_anything_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let options = || {
        let raft = plimsoll::raft::Options { snapshot_threshold: 1, ..Default::default() };
        NodeOptions { raft, ..NodeOptions::alone("solo", Arc::new(Wall(0))) }
    };
    let node = open(folder.path(), options()).await;
    write(node.handle(), "k", "v").await.unwrap();
    eventually("there is a snapshot", async || {
        let status = nodes::member_status(node.handle()).await?;
        (status.raft.first_index > status.raft.applied).then_some(())
    })
    .await;
    node.close().await;
    drop(node);
    let node = open(folder.path(), options()).await;
    let machine = node.handle().read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("v")));
}

#[tokio::test]
async fn a_directory_of_two_clusters_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (ClusterId(1), ClusterId(2));
    let own = Member { id: RaftId(7), name: "solo".into(), address: String::new() };
    let (meta, snapshot) = found(one, 3, UnixMillis(0), &[own]);
    let identity = Identity { cluster: Some(other), ..Identity::new(RaftId(7)) };
    let disk = FsDisk::open(folder.path()).unwrap();
    let (mut storage, _) = Storage::open(disk, StorageOptions::default()).unwrap();
    storage.save_snapshot(meta, &snapshot).unwrap();
    storage.save_identity(&identity.encode()).unwrap();
    drop(storage);
    let node = open(folder.path(), NodeOptions::alone("solo", Arc::new(Wall(0)))).await;
    let why = node.handle().stopped().await;
    assert!(why.contains("another cluster"), "{why}");
    let failure = node.handle().read(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_to_join_does_not_keep_the_others_from_founding() {
    let mut nodes = Nodes::places(4, 3);
    nodes.start(3).await;
    for place in 0..3 {
        nodes.start(place).await;
    }
    eventually("all four are voters of one cluster", async || {
        let status = nodes.status(3).await?;
        (status.raft.voters.len() == 4).then_some(())
    })
    .await;
}

/// Starts a node on another port.
async fn start_elsewhere(nodes: &mut Nodes, place: usize) {
    nodes.addresses[place] = nodes::free_address();
    nodes.start(place).await;
}

/// Waits until all nodes that run know all members where they are.
async fn all_are_known(nodes: &Nodes) {
    eventually("all members are known where they are", async || {
        for place in 0..nodes.nodes.len() {
            let members = nodes.status(place).await?.members;
            let mut known: Vec<_> = members.values().map(|it| it.address.clone()).collect();
            let mut addresses = nodes.addresses.clone();
            known.sort_unstable();
            addresses.sort_unstable();
            if known != addresses {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_on_another_port_is_reached_there() {
    let mut nodes = Nodes::founded(3).await;
    let leader = nodes.leader().await;
    // A follower, and then the leader.
    for place in [(leader + 1) % 3, leader] {
        let id = nodes.status(place).await.unwrap().raft.id;
        nodes.stop(place).await;
        write(nodes.handle((place + 1) % 3), &format!("before{place}"), "v").await.unwrap();
        start_elsewhere(&mut nodes, place).await;
        all_are_known(&nodes).await;
        let status = nodes.status(place).await.unwrap();
        assert_eq!((status.raft.id, status.raft.voters.len()), (id, 3));
        let machine = nodes.handle(place).read(PATIENCE).await.unwrap();
        assert_eq!(value_of(&machine, &format!("before{place}")), Some(Value::from("v")));
    }
    // The others reach it after a start of their own, though nobody tells them but their logs.
    for place in 0..3 {
        nodes.stop(place).await;
    }
    for place in 0..3 {
        let mut options = nodes.options(place);
        options.network.as_mut().unwrap().join.clear();
        nodes.start_with(place, options).await;
    }
    let leader = nodes.leader().await;
    write(nodes.handle(leader), "after", "v").await.unwrap();
    for place in 0..3 {
        let machine = nodes.handle(place).read(PATIENCE).await.unwrap();
        assert_eq!(value_of(&machine, "after"), Some(Value::from("v")));
    }
}

/// Whoever has heard a node where it was follows the log once that knows better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_has_moved_is_reached_by_whoever_leads_later() {
    let mut nodes = Nodes::places(4, 3);
    for place in 0..3 {
        nodes.start(place).await;
    }
    let leader = nodes.leader().await;
    let heir = (leader + 1) % 3;
    // It asks to take part through one follower only, which hears where it is.
    let learner = |nodes: &Nodes, door: usize| {
        let mut options = nodes.options(3);
        options.is_eligible = false;
        options.network.as_mut().unwrap().join = vec![nodes.addresses[door].clone()];
        options
    };
    let options = learner(&nodes, heir);
    nodes.start_with(3, options).await;
    all_are_known(&nodes).await;
    // Back on another port, it tells that to the leader alone.
    nodes.stop(3).await;
    nodes.addresses[3] = nodes::free_address();
    let options = learner(&nodes, leader);
    nodes.start_with(3, options).await;
    all_are_known(&nodes).await;
    let id = nodes.status(heir).await.unwrap().raft.id;
    nodes.handle(leader).request(Request::Transfer(id), PATIENCE).await.unwrap();
    eventually("the follower leads", async || {
        nodes.status(heir).await.filter(|status| status.raft.role == Role::Leader)
    })
    .await;
    nodes.stop(leader).await;
    write(nodes.handle(heir), "late", "v").await.unwrap();
    let mut published = nodes.handle(3).published();
    let arrived = published
        .wait_for(|published| value_of(&published.machine, "late") == Some(Value::from("v")));
    tokio::time::timeout(PATIENCE, arrived).await.expect("it is reached").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_starts_on_other_ports_finds_itself_by_where_it_joins() {
    let mut nodes = Nodes::founded(3).await;
    write(nodes.handle(0), "k", "v").await.unwrap();
    for place in 0..3 {
        nodes.stop(place).await;
        nodes.addresses[place] = nodes::free_address();
    }
    for place in 0..3 {
        nodes.start(place).await;
    }
    let machine = nodes.handle(1).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("v")));
    all_are_known(&nodes).await;
}
