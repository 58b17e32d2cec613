//! Nodes that are given what is not theirs, at their start or by whoever holds the secret: each case
//! ends in a clear error or costs little, and no node that has nothing to do with it is disturbed.
//!
//! What clients may try is in `node_client_attacks.rs`, what processes say at their start in
//! `processes.rs`.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used)]

#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/transport.rs"]
mod transport;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nodes::{Nodes, PATIENCE, Wall, eventually, open, value_of, write};
use plimsoll::clock::Clock;
use plimsoll::entry::{Condition, Key, Ttl};
use plimsoll::error::ErrorKind;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, QualifiedKey, Write};
use plimsoll::limits::FRAME_BYTES_MAX;
use plimsoll::node::{ClusterNode, Drawn, NetworkOptions, NodeOptions, Phase};
use plimsoll::raft::{ClusterId, FoundingStatus, Member, RaftId, Request};
use plimsoll::storage_fs::FsDisk;
use plimsoll::transport::{Connection, Greeting, Role, TransportError, connect};
use plimsoll::value::{Encoded, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use transport::RawPeer;

/// The files of a folder.
fn image(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_name() != "lock");
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_directory_of_a_newer_format_is_refused_by_file_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let options = || NodeOptions::alone("solo", Arc::new(Wall(0)));
    let node = open(folder.path(), options()).await;
    write(node.handle(), "k", "v").await.unwrap();
    node.close().await;
    let sound = image(folder.path());
    assert!(sound.len() >= 3, "{:?}", sound.keys());
    for (name, bytes) in &sound {
        let mut newer = bytes.clone();
        if name.starts_with("log-") {
            newer[38] = 2;
            let checksum = xxhash_rust::xxh3::xxh3_64(&newer[8..512]);
            newer[..8].copy_from_slice(&checksum.to_be_bytes());
        } else {
            newer[7] = 2;
        }
        std::fs::write(folder.path().join(name), &newer).unwrap();
        let before = image(folder.path());
        let disk = FsDisk::open(folder.path()).unwrap();
        let opened = ClusterNode::open(disk, options(), Drawn::from_system()).await;
        let error = opened.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains(name) && error.message().contains("version 2"), "{error}");
        assert_eq!(image(folder.path()), before, "{name}");
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let node = open(folder.path(), options()).await;
    let machine = node.handle().read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("v")));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for (name, bytes) in image(from) {
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_directory_of_another_cluster_serves_nothing_and_disturbs_nobody() {
    let mut foreign = Nodes::founded(3).await;
    write(foreign.handle(0), "k", "foreign").await.unwrap();
    for place in 0..3 {
        foreign.stop(place).await;
    }
    let mut nodes = Nodes::founded(3).await;
    write(nodes.handle(0), "k", "own").await.unwrap();
    nodes.stop(2).await;
    std::fs::remove_dir_all(nodes.data_dir(2)).unwrap();
    copy(&foreign.data_dir(2), &nodes.data_dir(2));
    nodes.start(2).await;
    let failure = nodes.handle(2).read(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(failure.to_error().kind(), ErrorKind::Unavailable, "{failure}");
    let (own, other) = (nodes.status(0).await.unwrap(), nodes.status(2).await.unwrap());
    assert_ne!(own.cluster, other.cluster);
    assert_eq!(other.raft.leader, None, "nobody of this cluster hears it");
    assert_eq!(own.raft.voters.len(), 3, "it was taken into nothing");
    write(nodes.handle(0), "later", "v").await.unwrap();
    let machine = nodes.handle(1).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("own")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_of_another_node_makes_a_node_that_one_and_costs_no_vote() {
    let mut nodes = Nodes::founded(3).await;
    write(nodes.handle(0), "k", "v").await.unwrap();
    let (moved, gone) = (nodes.status(1).await.unwrap().raft.id, nodes.status(2).await.unwrap());
    nodes.stop(1).await;
    nodes.stop(2).await;
    std::fs::remove_dir_all(nodes.data_dir(2)).unwrap();
    std::fs::rename(nodes.data_dir(1), nodes.data_dir(2)).unwrap();
    nodes.start(2).await;
    let status = nodes.status(2).await.unwrap();
    assert_eq!(status.raft.id, moved, "an id goes with its directory");
    assert_ne!(status.raft.id, gone.raft.id);
    eventually("it is known by the name and the address that it has now", async || {
        let (name, address) = ("n2".to_owned(), nodes.addresses[2].clone());
        let known = nodes.status(0).await?.members.get(&moved)?.clone();
        (known == Member { id: moved, name, address }).then_some(())
    })
    .await;
    nodes.start(1).await;
    eventually("the place with an empty directory is taken in as a new node", async || {
        let status = nodes.status(0).await?;
        let new = nodes.status(1).await?.raft.id;
        let both_vote = status.raft.voters.is_superset(&[new, moved].into());
        (both_vote && status.raft.outgoing.is_empty()).then_some(())
    })
    .await;
    let machine = nodes.handle(1).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("v")));
}

#[tokio::test]
async fn addresses_where_nobody_answers_are_tried_a_few_times_a_second_and_said() {
    let mut nodes = Nodes::places(3, 3);
    // One takes connections and says nothing that could be understood; at the other is nobody.
    let listener = TcpListener::bind(&nodes.addresses[1]).await.unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let closing = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    nodes.start(0).await;
    let began = std::time::Instant::now();
    let read = nodes.handle(0).read(Duration::from_secs(4)).await;
    let failure = read.unwrap_err();
    assert_eq!(failure.to_error().kind(), ErrorKind::Unavailable, "{failure}");
    assert!(began.elapsed() < Duration::from_secs(6));
    let status = nodes.handle(0).status().await.unwrap();
    assert_eq!(status.name, "n0");
    assert_eq!(status.phase, Phase::Founding(FoundingStatus::Waiting { seen: 1 }));
    let attempts = attempts.load(Ordering::Relaxed);
    assert!((3..=20).contains(&attempts), "{attempts} attempts in four seconds");
    closing.abort();
}

fn put_for(name: &str, seconds: f64) -> Request {
    let key = QualifiedKey::new(&Keyspace::new("app").unwrap(), &Key::new(name).unwrap());
    let (value, ttl) = (Encoded::new(&Value::from("v")).unwrap(), Ttl::from_seconds(seconds));
    let write = Write::Put { key, value, ttl: ttl.unwrap(), condition: Condition::None };
    Request::Write(Command::new(Action::Write { write, make_room: false }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_an_hour_off_makes_no_entry_expire_early() {
    const HOUR_MS: i64 = 3_600_000;
    for off_ms in [HOUR_MS, -HOUR_MS] {
        let mut nodes = Nodes::places(3, 3);
        for place in 0..3 {
            let wrong = if place == 2 { off_ms } else { 0 };
            let options = NodeOptions { clock: Arc::new(Wall(wrong)), ..nodes.options(place) };
            nodes.start_with(place, options).await;
        }
        let leader = nodes.leader().await;
        assert_ne!(leader, 2, "who is off does not lead while the others agree");
        nodes.handle(2).request(put_for("long", 600.0), PATIENCE).await.unwrap();
        // The leader is gone: two of three answer, and disagree.
        nodes.stop(leader).await;
        let good = 1 - leader;
        let leader = nodes.leader().await;
        let status = nodes.status(leader).await.unwrap();
        assert!(status.raft.clock_unresolved, "{off_ms}: it is said");
        nodes.handle(good).request(put_for("short", 1.0), PATIENCE).await.unwrap();
        let machine = nodes.handle(2).read(PATIENCE).await.unwrap();
        for key in ["long", "short"] {
            assert_eq!(value_of(&machine, key), Some(Value::from("v")), "{off_ms}: {key}");
        }
        let real = Wall(0).now().0;
        let log_time = machine.log_time().0;
        assert!(log_time.abs_diff(real) < 60_000, "{off_ms}: {log_time} at {real}");
        // Time goes on all the same.
        eventually("the short one expires", async || {
            let machine = nodes.handle(good).read(PATIENCE).await.ok()?;
            value_of(&machine, "short").is_none().then_some(())
        })
        .await;
        let machine = nodes.handle(good).read(PATIENCE).await.unwrap();
        assert_eq!(value_of(&machine, "long"), Some(Value::from("v")), "{off_ms}");
    }
}

fn peer(cluster: Option<ClusterId>) -> Greeting {
    let (name, address) = ("peer".to_owned(), "127.0.0.1:1".to_owned());
    Greeting { role: Role::Peer, cluster, id: Some(RaftId(77)), name, address }
}

async fn connection(nodes: &Nodes, greeting: &Greeting) -> Connection {
    connect(&nodes.addresses[0], &nodes.secret, greeting, PATIENCE).await.unwrap()
}

/// Whether the other side ends a connection soon.
async fn ends(mut connection: Connection) -> bool {
    let end = timeout(Duration::from_secs(5), connection.receiver.receive()).await;
    matches!(end, Ok(Ok(None) | Err(TransportError::Broken { .. } | TransportError::Cut { .. })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_cluster_is_let_go_at_once() {
    let nodes = Nodes::founded(3).await;
    let own = nodes.status(0).await.unwrap().cluster;
    let foreign = peer(Some(ClusterId(own.0.wrapping_add(1))));
    assert!(ends(connection(&nodes, &foreign).await).await);
    let known = connection(&nodes, &peer(Some(own))).await;
    assert_eq!(known.peer.cluster, Some(own));
    assert!(!ends(known).await, "one of its own is listened to");
    write(nodes.handle(0), "k", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_peer_says_ends_its_connection_only() {
    let nodes = Nodes::founded(3).await;
    let cluster = Some(nodes.status(0).await.unwrap().cluster);
    let (before, members) = {
        let status = nodes.status(0).await.unwrap();
        (status.raft.term, status.members)
    };
    let garbage: [&[u8]; 7] = [b"", &[9], &[0, 0], &[1], &[1, 2, 3], &[3, 0xff], &[0xff; 100_000]];
    for frame in garbage {
        let mut bad = connection(&nodes, &peer(cluster)).await;
        bad.sender.push(frame).unwrap();
        bad.sender.flush().await.unwrap();
        let shown = &frame[..frame.len().min(8)];
        assert!(ends(bad).await, "{shown:x?}");
    }
    for text in [&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()[..], &transport::frame(&[0])[..4]] {
        let (own, mut others) = tokio::io::duplex(1 << 20);
        let mut stream = TcpStream::connect(&nodes.addresses[0]).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut others, &mut stream).await });
        let mut raw = RawPeer::open(own).await;
        raw.send(&transport::frame(&peer(cluster).encode().unwrap())).await;
        assert!(!raw.receive().await.is_empty(), "the node greets");
        raw.send(text).await;
        raw.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(5), raw.stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{text:x?}");
    }
    write(nodes.handle(1), "k", "v").await.unwrap();
    let status = nodes.status(0).await.unwrap();
    assert_eq!((status.raft.term, status.members), (before, members), "nothing came of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_is_told_so_and_serves_nothing() {
    let mut nodes = Nodes::founded(3).await;
    nodes.stop(2).await;
    let secret = plimsoll::transport::Secret::from_bytes([8; 32]);
    let error = connect(&nodes.addresses[0], &secret, &peer(None), PATIENCE).await.unwrap_err();
    assert_eq!(error, TransportError::Secret);
    let mut options = nodes.options(2);
    options.network = options.network.map(|network| NetworkOptions { secret, ..network });
    nodes.start_with(2, options).await;
    let failure = nodes.handle(2).read(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(failure.to_error().kind(), ErrorKind::Unavailable, "{failure}");
    write(nodes.handle(0), "k", "v").await.unwrap();
    // With the right one it goes on where it was.
    nodes.stop(2).await;
    nodes.start(2).await;
    let machine = nodes.handle(2).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("v")));
}
