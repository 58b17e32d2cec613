//! Clients of a cluster of three nodes on loopback and real files.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used)]

#[path = "support/client.rs"]
mod client;
#[path = "support/nodes.rs"]
mod nodes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use client::{Cluster, Session, delete, key, keyspace, put, put_if};
use nodes::PATIENCE;
use plimsoll::entry::{Condition, EventKind, ListQuery, Version};
use plimsoll::error::{ErrorKind, Outcome};
use plimsoll::kv::{Action, Command, Reason, Refusal, Reply, StateMachine, Written};
use plimsoll::node::{Client, ClientOptions, Phase};
use plimsoll::raft::{Member, MemberChange, RaftId, Role};
use plimsoll::transport::{Connection, Greeting, Role as TransportRole, Secret, accept};
use plimsoll::value::Value;
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_does_what_it_says() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let session = Session::open(&client).await;
    let sent = session.send(put("k", "v")).await;
    let Ok(applied) = &sent.answer else { panic!("{sent:?}") };
    let Reply::Written(Written::Put { version, deadline: None }) = applied.reply else {
        panic!("{applied:?}")
    };
    assert!(!sent.was_repeated);
    assert!(applied.index > 0 && applied.log_time.0 > 0);
    let record = client.record(key("k"), PATIENCE).await.unwrap().unwrap();
    assert_eq!((record.value.decode(), record.version), (Value::from("v"), version));
    assert!(client.has(key("k"), PATIENCE).await.unwrap());
    assert!(!client.has(key("none"), PATIENCE).await.unwrap());
    assert_eq!(client.record(key("none"), PATIENCE).await.unwrap(), None);

    let refused = session.write(put_if("k", "w", Condition::Absent)).await;
    let exists = Refusal { reason: Reason::Exists(version), index: None };
    assert_eq!(refused, Reply::Refused(exists));
    for n in 0..5 {
        session.write(put(&format!("page{n}"), "v")).await;
    }
    let query = ListQuery::new().prefix("page").limit(3);
    let page = client.page(&keyspace(), &query, PATIENCE).await.unwrap();
    let keys: Vec<_> = page.items.iter().map(|(key, _)| key.key().to_owned()).collect();
    assert_eq!((keys, page.has_more), (vec!["page0".into(), "page1".into(), "page2".into()], true));
    assert_eq!(session.write(delete("k")).await, Reply::Written(Written::Deleted(true)));

    let status = client.status(PATIENCE).await.unwrap();
    let Phase::Member(member) = status.phase else { panic!("{status:?}") };
    assert_eq!((member.entries, member.members.len()), (5, 3));
    cluster.nodes.leader().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_membership_is_changed_and_leadership_handed_over() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let member = Member { id: RaftId(77), name: "n7".into(), address: "127.0.0.1:1".into() };
    let add = vec![MemberChange::AddLearner(member)];
    let index = client.change(add, PATIENCE).await.unwrap();
    assert!(index > 0);
    let nobody =
        client.change(vec![MemberChange::Promote(RaftId(78))], PATIENCE).await.unwrap_err();
    assert!(nobody.message().contains("78") || nobody.message().contains("4e"), "{nobody}");
    let leader = cluster.nodes.leader().await;
    let other = cluster.nodes.status((leader + 1) % 3).await.unwrap().raft.id;
    client.transfer(other, PATIENCE).await.unwrap();
    nodes::eventually("the other leads", async || {
        let status = cluster.nodes.status((leader + 1) % 3).await?;
        (status.raft.role == Role::Leader).then_some(())
    })
    .await;
    let refused = client.transfer(RaftId(5), PATIENCE).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_the_stamp_of_a_session_is_refused_unsent() {
    let cluster = Cluster::founded().await;
    let command = Command::new(Action::Write { write: put("k", "v"), make_room: false });
    let sent = cluster.client().write(command, PATIENCE).await;
    let error = sent.answer.unwrap_err().to_error();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Invalid, Some(Outcome::None)));
    assert!(!cluster.client().has(key("k"), PATIENCE).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_see_each_others_writes() {
    let cluster = Cluster::founded().await;
    let (one, other) = (cluster.client(), cluster.client_from(1));
    let sessions = (Session::open(&one).await, Session::open(&other).await);
    for n in 0..20 {
        sessions.0.write(put("ours", &n.to_string())).await;
        let record = other.record(key("ours"), PATIENCE).await.unwrap().unwrap();
        assert_eq!(record.value.decode(), Value::from(n.to_string().as_str()));
        let version = Condition::Version(record.version);
        let reply = sessions.1.write(put_if("ours", "theirs", version)).await;
        assert!(matches!(reply, Reply::Written(_)), "{reply:?}");
        let seen = one.record(key("ours"), PATIENCE).await.unwrap().unwrap();
        assert_eq!(seen.value.decode(), Value::from("theirs"));
    }
}

/// Counters that grow by conditional writes: a write that was applied twice, or was answered as if it
/// had not been applied, would break the chain of versions of its counter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_applied_once_while_nodes_stop_and_start() {
    const TASKS: usize = 8;
    const EACH_MIN: usize = 125;
    const STOPS: usize = 6;
    let mut cluster = Cluster::founded().await;
    let client = cluster.client();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (client, is_over) = (client.clone(), Arc::clone(&is_over));
        tasks.spawn(async move {
            let session = Session::open(&client).await;
            let (name, mut condition) = (format!("counter{task}"), Condition::Absent);
            let (mut repeated, mut n) = (0, 0);
            while n < EACH_MIN || !is_over.load(Ordering::Relaxed) {
                let sent = session.send(put_if(&name, &n.to_string(), condition)).await;
                repeated += usize::from(sent.was_repeated);
                let applied = sent.answer.unwrap_or_else(|failure| panic!("{name} {n}: {failure}"));
                let Reply::Written(Written::Put { version, .. }) = applied.reply else {
                    panic!("{name} {n}: {applied:?}")
                };
                condition = Condition::Version(version);
                n += 1;
            }
            (name, n, repeated)
        });
    }
    for stop in 0..STOPS {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The one that the client is connected to, as long as its addresses are used in order.
        if stop % 2 == 0 {
            cluster.kill(stop % 3);
        } else {
            cluster.nodes.stop(stop % 3).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.start(stop % 3).await;
        cluster.nodes.leader().await;
    }
    is_over.store(true, Ordering::Relaxed);
    let (mut all, mut all_repeated) = (0, 0);
    for (name, count, repeated) in tasks.join_all().await {
        let found = client.record(key(&name), PATIENCE).await.unwrap().unwrap();
        assert_eq!(found.value.decode(), Value::from((count - 1).to_string().as_str()));
        all += count;
        all_repeated += repeated;
    }
    println!("{all} writes over {STOPS} stops, {all_repeated} of them sent again");
    assert!(all >= 1_000);
    assert!(all_repeated > 0, "some writes were under way when a node stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_elsewhere_without_a_gap_or_a_repeat() {
    const WRITES: usize = 300;
    let mut cluster = Cluster::founded().await;
    let client = cluster.client();
    let writer = cluster.client_from(2);
    let session = Session::open(&writer).await;
    session.write(put("before", "v")).await;
    let mut watch = client.watch(&keyspace(), "w", None, PATIENCE).await.unwrap();
    let writing = tokio::spawn(async move {
        for n in 0..WRITES {
            session.write(put(&format!("w{n}"), "v")).await;
            session.write(put(&format!("other{n}"), "v")).await;
        }
    });
    let mut revisions: Vec<u64> = Vec::new();
    for n in 0..WRITES {
        if n == WRITES / 3 {
            cluster.kill(0);
        }
        if n == 2 * WRITES / 3 {
            cluster.start(0).await;
            cluster.nodes.stop(1).await;
        }
        let next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it goes on");
        let (epoch, change) = next.unwrap();
        assert_eq!(watch.seen(), Version::Numbered { epoch, revision: change.revision });
        let events: Vec<_> = change.events.iter().map(|it| (it.kind, it.key.key())).collect();
        assert_eq!(events, [(EventKind::Put, format!("w{n}").as_str())]);
        assert!(revisions.last().is_none_or(|last| *last < change.revision));
        revisions.push(change.revision);
    }
    writing.await.unwrap();
    let Version::Numbered { epoch, .. } = watch.seen() else { panic!("numbered") };
    // From a version in the past everything after it comes again.
    let after = Some(Version::Numbered { epoch, revision: revisions[9] });
    let mut again = client.watch(&keyspace(), "w", after, PATIENCE).await.unwrap();
    assert_eq!(again.next().await.unwrap().1.revision, revisions[10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_what_is_gone_is_told_so() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let foreign = Some(Version::Numbered { epoch: 1, revision: 0 });
    let error = client.watch(&keyspace(), "", foreign, PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.detail("reason"), Some(&Value::from("compacted")));
    let unversioned = client.watch(&keyspace(), "", Some(Version::Unversioned), PATIENCE).await;
    assert_eq!(unversioned.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_not_read_goes_on_where_it_was_left() {
    let cluster = Cluster::founded().await;
    let (client, writer) = (cluster.client(), cluster.client());
    let session = Session::open(&writer).await;
    let mut watch = client.watch(&keyspace(), "", None, PATIENCE).await.unwrap();
    let large = "v".repeat(1 << 20 >> 1);
    for n in 0..30 {
        session.write(put(&format!("k{n}"), &large)).await;
    }
    // More than a client keeps for a watch; the connection serves others all the while.
    assert!(client.has(key("k29"), PATIENCE).await.unwrap());
    for n in 0..30 {
        let next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it goes on");
        assert_eq!(next.unwrap().1.events[0].key.key(), format!("k{n}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_snapshot_and_is_checked() {
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let session = Session::open(&client).await;
    let large = "v".repeat(300_000);
    for n in 0..10 {
        session.write(put(&format!("k{n}"), &large)).await;
    }
    let mut backup = client.backup(PATIENCE).await.unwrap();
    let (mut bytes, mut chunks) = (BytesMut::new(), 0);
    while let Some(chunk) = backup.next().await.unwrap() {
        bytes.extend_from_slice(&chunk);
        chunks += 1;
    }
    assert!(chunks > 10, "{chunks}");
    let machine = StateMachine::from_snapshot(bytes.freeze()).unwrap();
    assert_eq!(machine.len(), 10);
    assert_eq!(backup.next().await.unwrap(), None, "at its end it stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_told_at_once() {
    let cluster = Cluster::founded().await;
    let options = ClientOptions { secret: Secret::from_bytes([9; 32]), ..cluster.options() };
    let client = Client::new(options);
    let began = Instant::now();
    let error = client.has(key("k"), PATIENCE).await.unwrap_err();
    let opening = Command::new(Action::OpenSession);
    let failure = client.write(opening, PATIENCE).await.answer.unwrap_err();
    let backup = client.backup(PATIENCE).await.unwrap_err();
    let watch = client.watch(&keyspace(), "", None, PATIENCE).await.unwrap_err();
    for error in [error, failure.to_error(), backup, watch] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_ne!(error.outcome(), Some(Outcome::Unknown));
        assert!(error.message().contains("secret"), "{error}");
        assert!(error.message().contains(&cluster.clients[0]), "{error}");
    }
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_address_that_answers_a_call_ends_by_its_deadline() {
    let addresses = vec![nodes::free_address(), nodes::free_address()];
    let secret = Secret::from_bytes([7; 32]);
    let options = ClientOptions { addresses: addresses.clone(), secret, name: "c".into() };
    let client = Client::new(options.clone());
    let timeout = Duration::from_millis(400);
    let began = Instant::now();
    let opening = Command::new(Action::OpenSession);
    let (read, sent, backup) = tokio::join!(
        client.has(key("k"), timeout),
        client.write(opening, timeout),
        client.backup(timeout)
    );
    let elapsed = began.elapsed();
    assert!(elapsed >= timeout && elapsed < 3 * timeout, "{elapsed:?}");
    let failure = sent.answer.unwrap_err();
    assert_eq!(failure.outcome, Outcome::None, "it was never sent");
    for error in [read.unwrap_err(), failure.to_error(), backup.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains(&addresses[0]), "{error}");
        assert!(error.message().contains(&addresses[1]), "{error}");
    }
    let nowhere = Client::new(ClientOptions { addresses: Vec::new(), ..options });
    let error = nowhere.has(key("k"), PATIENCE).await.unwrap_err();
    assert!(error.message().contains("no address"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_calls_end_by_their_deadline_and_tell_the_outcome() {
    let mut cluster = Cluster::founded().await;
    let client = cluster.client();
    let session = Session::open(&client).await;
    cluster.nodes.stop(1).await;
    cluster.nodes.stop(2).await;
    let began = Instant::now();
    let timeout = Duration::from_millis(700);
    let command = session.stamped(put("k", "v"));
    let (read, sent) =
        tokio::join!(client.has(key("k"), timeout), client.write(command.clone(), timeout));
    assert!(began.elapsed() < 3 * timeout, "{:?}", began.elapsed());
    assert!(matches!(read.unwrap_err().kind(), ErrorKind::Timeout | ErrorKind::Unavailable));
    assert!(sent.answer.is_err());
    // Resolving it: the same command again, once there is a majority.
    cluster.start(1).await;
    let sent = client.write(command, PATIENCE).await;
    assert!(matches!(sent.answer.unwrap().reply, Reply::Written(Written::Put { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_share_a_connection() {
    const CALLS: usize = 5_000;
    let cluster = Cluster::founded().await;
    let client = cluster.client();
    let session = Session::open(&client).await;
    session.write(put("k", "v")).await;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let client = client.clone();
        tasks.spawn(async move { client.record(key("k"), PATIENCE).await.unwrap().unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().value.decode(), Value::from("v"));
    }
    println!("{CALLS} reads in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_idle_clients_disturb_nobody() {
    let cluster = Cluster::founded().await;
    let mut clients = Vec::new();
    for place in 0..500 {
        let client = cluster.client_from(place % 3);
        client.status(PATIENCE).await.unwrap();
        clients.push(client);
    }
    // Longer than a silent client is kept: they say that they are there.
    let until = Instant::now() + Duration::from_secs(22);
    let session = Session::open(&cluster.client()).await;
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let began = Instant::now();
        session.write(put("k", "v")).await;
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("slowest write beside 500 idle clients: {slowest:?}");
    for client in &clients {
        client.status(PATIENCE).await.unwrap();
    }
}

/// A node of one's own making: it greets, takes one request, answers it with these frames, and gives
/// the connection when it has no more to say. With it its address.
async fn false_node(frames: Vec<Vec<u8>>) -> (JoinHandle<Connection>, String) {
    let secret = Secret::from_bytes([7; 32]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let name = "false".to_owned();
    let role = TransportRole::Peer;
    let greeting = Greeting { role, cluster: None, id: None, name, address: String::new() };
    let node = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = accept(stream, &secret, &greeting, PATIENCE).await.unwrap();
        assert!(connection.receiver.receive().await.unwrap().is_some());
        for frame in frames {
            connection.sender.push(&frame).unwrap();
        }
        connection.sender.flush().await.unwrap();
        connection
    });
    (node, address)
}

fn options_of(addresses: Vec<String>) -> ClientOptions {
    ClientOptions { addresses, secret: Secret::from_bytes([7; 32]), name: "c".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_falls_silent_is_left() {
    let cluster = Cluster::founded().await;
    let (node, address) = false_node(Vec::new()).await;
    let mut options = cluster.options();
    options.addresses.insert(0, address);
    let client = Client::new(options);
    let began = Instant::now();
    assert!(!client.has(key("k"), PATIENCE).await.unwrap());
    assert!(began.elapsed() > Duration::from_secs(5), "it was asked, and said nothing");
    drop(node.await.unwrap());
}

#[tokio::test]
async fn the_connection_ends_with_the_last_clone_of_its_client() {
    let (node, address) = false_node(vec![vec![1, 1, 2, 1]]).await;
    let client = Client::new(options_of(vec![address]));
    let clone = client.clone();
    assert!(client.has(key("k"), PATIENCE).await.unwrap(), "as the node says");
    let mut connection = node.await.unwrap();
    drop(client);
    let brief = Duration::from_millis(200);
    let waiting = tokio::time::timeout(brief, connection.receiver.receive()).await;
    assert!(waiting.is_err(), "it goes on: {waiting:?}");
    drop(clone);
    let ended = tokio::time::timeout(PATIENCE, connection.receiver.receive()).await.unwrap();
    assert_eq!(ended.unwrap(), None);
}

#[tokio::test]
async fn a_backup_that_is_changed_or_cut_on_its_way_is_an_error() {
    let chunk = |bytes: &[u8]| [&[1, 1, 9, bytes.len() as u8][..], bytes].concat();
    let end = |length: u8, digest: u64| [&[1, 1, 10, length][..], &digest.to_be_bytes()].concat();
    // xxh3 of "abc".
    let digest = 0x78af_5f94_892f_3950;
    let good = vec![chunk(b"ab"), chunk(b"c"), end(3, digest)];
    let rows = [
        (good.clone(), None),
        (vec![chunk(b"ab"), chunk(b"d"), end(3, digest)], Some(ErrorKind::Internal)),
        (vec![chunk(b"ab"), end(3, digest)], Some(ErrorKind::Internal)),
        (vec![chunk(b"ab"), chunk(b"c"), end(2, digest)], Some(ErrorKind::Internal)),
        (good[..2].to_vec(), Some(ErrorKind::Unavailable)),
        (vec![chunk(b"ab"), vec![9]], Some(ErrorKind::Unavailable)),
    ];
    for (frames, expected) in rows {
        let (node, address) = false_node(frames.clone()).await;
        let mut backup = Client::new(options_of(vec![address])).backup(PATIENCE).await.unwrap();
        tokio::spawn(async move { node.await.unwrap().sender.finish().await });
        let error = loop {
            match backup.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error.kind()),
            }
        };
        assert_eq!(error, expected, "{frames:x?}");
    }
}
