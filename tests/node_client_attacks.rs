//! Nodes against clients that break the rules: each loses its own connection, and disturbs nobody.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used)]

#[path = "support/client.rs"]
mod client;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/transport.rs"]
mod transport;

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Cluster, Session, key, keyspace, put};
use nodes::PATIENCE;
use plimsoll::error::ErrorKind;
use plimsoll::limits::{
    CLIENT_ANSWER_BYTES_MAX, CLIENT_BACKUPS_MAX, CLIENT_WATCHES_MAX, FRAME_BYTES_MAX,
};
use plimsoll::transport::{Connection, Greeting, Role, connect};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::RawPeer;

fn greeting() -> Greeting {
    let (name, address) = ("attacker".to_owned(), String::new());
    Greeting { role: Role::Client, cluster: None, id: None, name, address }
}

async fn connection(cluster: &Cluster) -> Connection {
    connect(&cluster.clients[0], &cluster.nodes.secret, &greeting(), PATIENCE).await.unwrap()
}

/// A request for the record of `app`/`k`, with 20 s of time.
fn record_request(id: u8) -> Vec<u8> {
    [&[1, id, 0xa0, 0x9c, 0x01, 1, 5][..], b"app\0k"].concat()
}

/// A request to watch `app` from now on.
fn watch_request(id: u8) -> Vec<u8> {
    [&[1, id, 0xa0, 0x9c, 0x01, 4, 3][..], b"app", &[0, 0]].concat()
}

/// The frames that come until the connection ends.
async fn until_the_end(connection: &mut Connection) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = connection.receiver.receive().await {
        frames.push(frame);
    }
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_ends_its_connection_only() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    Session::open(&client).await.write(put("k", "v")).await;
    // What is sent here is understood as it is meant.
    let mut good = connection(&cluster).await;
    good.sender.push(&record_request(1)).unwrap();
    good.sender.flush().await.unwrap();
    let answer = timeout(PATIENCE, good.receiver.receive()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer[..4], [1, 1, 1, 1], "an answer: a record that is there");

    let record = record_request(1);
    let cuts = (0..record.len()).map(|end| vec![record[..end].to_vec()]);
    let garbage = [
        vec![vec![9]],
        vec![vec![0xff; 100_000]],
        vec![[&record[..], &[0]].concat()],
        // A command that is none, and an id that is under way.
        vec![vec![1, 1, 10, 0, 7, 7, 7]],
        vec![watch_request(5), watch_request(5)],
    ];
    for frames in garbage.into_iter().chain(cuts) {
        let mut bad = connection(&cluster).await;
        for frame in &frames {
            bad.sender.push(frame).unwrap();
        }
        bad.sender.flush().await.unwrap();
        let ended = timeout(Duration::from_secs(5), until_the_end(&mut bad)).await;
        assert!(ended.is_ok(), "let go at once: {frames:x?}");
    }
    assert!(client.has(key("k"), PATIENCE).await.unwrap());
    good.sender.push(&record_request(2)).unwrap();
    good.sender.flush().await.unwrap();
    let answer = timeout(PATIENCE, good.receiver.receive()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer[..4], [1, 2, 1, 1], "its connection is still served");
}

/// A raw connection, that holds the secret and seals what it likes.
async fn raw(cluster: &Cluster) -> RawPeer {
    let (own, mut others) = tokio::io::duplex(1 << 20);
    let mut stream = TcpStream::connect(&cluster.clients[0]).await.unwrap();
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut others, &mut stream).await });
    let mut raw = RawPeer::open(own).await;
    raw.send(&transport::frame(&greeting().encode().unwrap())).await;
    assert!(!raw.receive().await.is_empty(), "the node greets");
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_and_truncated_frames_end_their_connection_only() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    assert!(!client.has(key("k"), PATIENCE).await.unwrap());
    let mut oversized = raw(&cluster).await;
    oversized.send(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()).await;
    let mut truncated = raw(&cluster).await;
    truncated.send(&transport::frame(&record_request(1))[..9]).await;
    for mut peer in [oversized, truncated] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        peer.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(5), peer.stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the node closes");
    }
    assert!(!client.has(key("k"), PATIENCE).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_reads_no_answers_and_one_that_is_silent_are_let_go() {
    const VALUE_BYTES: usize = 1_000_000;
    const REQUESTS: usize = 5_000;
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let session = Session::open(&client).await;
    session.write(put("k", &"v".repeat(VALUE_BYTES))).await;
    let began = Instant::now();
    let silent = async {
        let mut silent = connection(&cluster).await;
        until_the_end(&mut silent).await;
        began.elapsed()
    };
    let greedy = async {
        let mut greedy = connection(&cluster).await;
        for id in 0..REQUESTS {
            let id = [id as u8 & 0x7f | 0x80, (id >> 7) as u8];
            let request = record_request(0);
            let request = [&request[..1], &id, &request[2..]].concat();
            greedy.sender.push(&request).unwrap();
        }
        // The node stops to read before all were sent, or soon after.
        let _ = timeout(Duration::from_secs(14), greedy.sender.flush()).await;
        tokio::time::sleep(Duration::from_secs(14).saturating_sub(began.elapsed())).await;
        let frames = timeout(PATIENCE, until_the_end(&mut greedy)).await.expect("let go");
        frames.iter().map(Bytes::len).sum::<usize>()
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(12) {
            let began = Instant::now();
            session.write(put("other", "v")).await;
            slowest = slowest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let (silent, greedy, slowest) = tokio::join!(silent, greedy, others);
    println!("silent for {silent:?}; {greedy} bytes of answers; slowest write {slowest:?}");
    let range = Duration::from_secs(19)..Duration::from_secs(25);
    assert!(range.contains(&silent), "{silent:?}");
    // What was queued, and what the system holds for a socket.
    assert!(greedy < 3 * CLIENT_ANSWER_BYTES_MAX, "{greedy} of {}", REQUESTS * VALUE_BYTES);
    assert!(slowest < Duration::from_secs(5), "others are served: {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_too_many_is_refused_and_a_place_comes_back() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENT_WATCHES_MAX {
        let client = client.clone();
        tasks.spawn(async move { client.watch(&keyspace(), "", None, PATIENCE).await.unwrap() });
    }
    let mut watches = tasks.join_all().await;
    let error = client.watch(&keyspace(), "", None, PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    Session::open(&client).await.write(put("k", "v")).await;
    for watch in &mut watches {
        let (_, change) = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
        assert_eq!(change.events[0].key, key("k"));
    }
    watches.pop();
    nodes::eventually("a watch has a place again", async || {
        client.watch(&keyspace(), "", None, PATIENCE).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_too_many_is_refused() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let session = Session::open(&client).await;
    let value = "v".repeat(1_000_000);
    for n in 0..64 {
        session.write(put(&format!("k{n}"), &value)).await;
    }
    let mut backups = Vec::new();
    for _ in 0..CLIENT_BACKUPS_MAX {
        let mut backup = client.backup(PATIENCE).await.unwrap();
        assert!(backup.next().await.unwrap().is_some());
        backups.push(backup);
    }
    let mut one_more = client.backup(PATIENCE).await.unwrap();
    assert_eq!(one_more.next().await.unwrap_err().kind(), ErrorKind::RateLimited);
    for mut backup in backups {
        let mut bytes = 0;
        while let Some(chunk) = backup.next().await.unwrap() {
            bytes += chunk.len();
        }
        assert!(bytes > 63 * value.len(), "{bytes}");
    }
}
