//! `store.kv.crdt` over clients of a cluster, on loopback and real files: the same as on the node, staying
//! with one node, moving on from it, and writes that nobody has answered.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used)]

#[path = "support/client.rs"]
mod client;
#[path = "support/nodes.rs"]
mod nodes;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Cluster, key, keyspace};
use nodes::{PATIENCE, eventually};
use plimsoll::clock::Clock as _;
use plimsoll::entry::{Entry, ListQuery, PutOptions, Ttl, Version};
use plimsoll::error::{Error, ErrorKind, Outcome, Result};
use plimsoll::gossip::Space;
use plimsoll::limits::PAGE_BYTES_MAX;
use plimsoll::node::{Access, Client, ClientOptions, ClusterNode, Disks, Drawn, NetworkOptions};
use plimsoll::policy::{
    Actor, Effect, Field, Operand, Operator, Pattern, Policies, Policy, PolicyCondition, Rights,
};
use plimsoll::storage_fs::FsDisk;
use plimsoll::store::{CrdtStore, StoreHandle};
use plimsoll::transport::{Greeting, Role, Secret, accept};
use plimsoll::value::{Encoded, Value};

/// Three nodes with replicas that have joined, and where they take clients.
async fn founded() -> Cluster {
    let nodes = nodes::Nodes::places(3, 3);
    let clients = (0..3).map(|_| nodes::free_address()).collect();
    let mut cluster = Cluster { nodes, clients };
    for place in 0..3 {
        start(&mut cluster, place).await;
    }
    for place in 0..3 {
        for space in [Space::Volatile, Space::Durable] {
            let replicas = cluster.nodes.handle(place).crdt();
            eventually("it has joined", async || replicas.replica(space).await.ok()).await;
        }
    }
    cluster
}

async fn start(cluster: &mut Cluster, place: usize) {
    let mut options = cluster.nodes.options(place);
    let network = options.network.take().unwrap();
    let listen_clients = Some(cluster.clients[place].clone());
    options.network = Some(NetworkOptions { listen_clients, ..network });
    let folder = cluster.nodes.data_dir(place);
    let open = |name| FsDisk::open(&folder.join(name)).unwrap();
    let disks = Disks { raft: open("raft"), crdt: Some(open("kvcrdt")) };
    let node = ClusterNode::open_on(disks, options, Drawn::from_system()).await.unwrap();
    cluster.nodes.nodes[place] = Some(node);
}

fn store(access: Access, durable: bool) -> StoreHandle {
    StoreHandle::new("app:sessions", Arc::new(CrdtStore::new(access, keyspace(), durable)))
}

fn on_node(cluster: &Cluster, place: usize) -> StoreHandle {
    store(Access::Node(cluster.nodes.handle(place).clone()), false)
}

async fn write(store: &StoreHandle, key: &str, value: impl Into<Value>) -> Entry {
    store.put(key, value, PutOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_does_through_a_node_what_the_node_does_itself() {
    let cluster = founded().await;
    for durable in [false, true] {
        let through = store(Access::Client(cluster.client_from(1)), durable);
        let itself = store(Access::Node(cluster.nodes.handle(1).clone()), durable);
        assert_eq!(through.info().unwrap(), itself.info().unwrap());

        let options = PutOptions { ttl: Ttl::from_ms(60_000).unwrap(), ..PutOptions::default() };
        let written = through.put("a", Value::from(1.0), options).await.unwrap();
        let left = written.expires_at.unwrap().0 - nodes::Wall(0).now().0;
        assert!((50_000..=60_000).contains(&left), "by the clock of the node: {left}");
        assert_eq!(itself.entry("a").await.unwrap(), Some(written.clone()));
        assert_eq!(through.entry("a").await.unwrap(), Some(written.clone()));
        let on_node = write(&itself, "b", "from the node").await;
        assert!(on_node.version.to_string() > written.version.to_string());
        assert_eq!(through.get("b").await.unwrap(), Some("from the node".into()));
        assert!(through.has("a").await.unwrap() && !through.has("none").await.unwrap());
        assert_eq!(through.entry("none").await.unwrap(), None);
        for limit in [1, 2, 100] {
            let query = ListQuery::new().limit(limit);
            assert_eq!(through.list(&query).await.unwrap(), itself.list(&query).await.unwrap());
        }
        assert!(through.delete("a", None).await.unwrap());
        assert!(!through.delete("a", None).await.unwrap());
        assert!(!itself.has("a").await.unwrap());
        let brief = PutOptions { ttl: Ttl::from_ms(30).unwrap(), ..PutOptions::default() };
        through.put("brief", 1, brief).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert!(!through.has("brief").await.unwrap());
        assert!(!through.delete("brief", None).await.unwrap(), "an expired entry is absent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_writes_at_one_node_every_node_shows_in_the_end() {
    let cluster = founded().await;
    let first = store(Access::Client(cluster.client_from(0)), false);
    let other = store(Access::Client(cluster.client_from(2)), false);
    write(&first, "k", "one").await;
    let seen = async || other.entry("k").await.unwrap();
    let entry = eventually("the other node shows it", seen).await;
    // Whoever has seen a write writes after it.
    let later = write(&other, "k", "two").await;
    assert!(later.version.to_string() > entry.version.to_string());
    for place in 0..3 {
        let shows = on_node(&cluster, place);
        let is_later = async || (shows.entry("k").await.unwrap()? == later).then_some(());
        eventually("every node shows the later one", is_later).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_majority_stays_with_its_node_and_reads_what_it_has_written() {
    let mut cluster = founded().await;
    let client = cluster.client_from(0);
    let sessions = store(Access::Client(client.clone()), false);
    write(&sessions, "before", 1).await;
    for place in [1, 2] {
        cluster.kill(place);
    }
    let until = Instant::now() + Duration::from_secs(4);
    let brief = Duration::from_millis(300);
    let mut count = 0;
    while Instant::now() < until {
        let (confirmed, written) = tokio::join!(
            client.has(key("k"), brief),
            sessions.put("k", count, PutOptions::default())
        );
        assert!(confirmed.is_err(), "nobody confirms who leads");
        let entry = written.unwrap();
        assert_eq!(sessions.entry("k").await.unwrap(), Some(entry));
        count += 1;
    }
    assert!(count > 5, "{count}");
    assert!(sessions.has("before").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_client_end_at_their_bytes_and_show_what_may_be_read() {
    let cluster = founded().await;
    let own = on_node(&cluster, 0);
    let large = Value::from(vec![7; 1_000_000]);
    for number in 0..6 {
        write(&own, &format!("large:{number}"), large.clone()).await;
    }
    for number in 0..30 {
        let owner = if number % 3 == 0 { "mine" } else { "theirs" };
        write(&own, &format!("small:{number:02}:{owner}"), number).await;
    }
    let access = || Access::Client(cluster.client_from(0));
    let page = store(access(), false).list(&ListQuery::new()).await.unwrap();
    assert!(page.has_more && page.items.len() * 1_000_000 >= PAGE_BYTES_MAX);
    assert!(page.items.len() < 6, "{}", page.items.len());

    let rights = rights_on_mine();
    let restricted = |access| {
        let store = Arc::new(CrdtStore::new(access, keyspace(), false));
        StoreHandle::with_rights("app:sessions", store, rights.clone())
    };
    let query = ListQuery::new().prefix("small:").limit(4);
    let (mut query, mut seen) = (query, Vec::new());
    loop {
        let page = restricted(access()).list(&query).await.unwrap();
        let node = Access::Node(cluster.nodes.handle(0).clone());
        assert_eq!(restricted(node).list(&query).await.unwrap(), page);
        seen.extend(page.items.iter().map(|entry| entry.key.to_string()));
        if !page.has_more {
            break;
        }
        assert_eq!(page.items.len(), 4);
        query = query.after(page.cursor);
    }
    let mine: Vec<_> = (0..30).step_by(3).map(|n| format!("small:{n:02}:mine")).collect();
    assert_eq!(seen, mine);
}

/// The rights to list all and to read what ends in `:mine`.
fn rights_on_mine() -> Rights {
    let patterns = |text: &str| vec![Pattern::parse(text).unwrap()];
    let matches = PolicyCondition::new(
        Field::parse("key").unwrap(),
        Operator::parse("matches").unwrap(),
        Operand::One(":mine$".into()),
    );
    let policies: Policies = [
        Policy::new(Effect::Allow, patterns("store.key.list"), patterns("*")),
        Policy::new(Effect::Allow, patterns("store.key.get"), patterns("*"))
            .with_condition(matches.unwrap()),
    ]
    .into_iter()
    .collect();
    policies.rights(&Actor::anonymous(), "app:sessions")
}

/// A node of one's own making, with its address. It greets, and gives each request to `answer`, with the
/// number of its connection: what comes back is sent, with a pause after each, and without anything the
/// connection ends.
struct FalseNode {
    address: String,
    /// What was asked, after the id and the time.
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FalseNode {
    async fn start(answer: impl Fn(usize, u8, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            let name = "false".to_owned();
            let role = Role::Peer;
            let greeting = Greeting { role, cluster: None, id: None, name, address: String::new() };
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let secret = Secret::from_bytes([7; 32]);
                let accepted = accept(stream, &secret, &greeting, PATIENCE).await;
                let Ok(mut connection) = accepted else { continue };
                while let Ok(Some(frame)) = connection.receiver.receive().await {
                    if frame[0] != 1 {
                        continue;
                    }
                    let time = frame[2..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
                    let (id, ask) = (frame[1], &frame[2 + time..]);
                    noted.lock().unwrap().push(ask.to_vec());
                    let answers = answer(number, id, ask);
                    if answers.is_empty() {
                        break;
                    }
                    for answer in answers {
                        connection.sender.push(&answer).unwrap();
                        // Whoever has left hears nothing.
                        _ = connection.sender.flush().await;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn client_of(nodes: &[&FalseNode]) -> Client {
    let addresses = nodes.iter().map(|node| node.address.clone()).collect();
    Client::new(ClientOptions { addresses, secret: Secret::from_bytes([7; 32]), name: "c".into() })
}

/// After each frame of a false node.
const PAUSE: Duration = Duration::from_millis(100);
const ASK_REPLICA: u8 = 10;
const PUT: u8 = 3;

fn stamped(id: u8) -> Vec<u8> {
    [&[1, id, 16, 9, 0][..], &[0, 0, 0, 0, 0, 0, 0, 5], &[1, 0, 0]].concat()
}

fn nothing_shown(id: u8) -> Vec<u8> {
    vec![1, id, 14, 0]
}

fn refusal(id: u8, reason: &str) -> Vec<u8> {
    let kind = ErrorKind::ALL.iter().position(|kind| *kind == ErrorKind::Unavailable).unwrap();
    let mut frame = vec![1, id, 12, u8::try_from(kind).unwrap(), 2, b'n', b'o', 1];
    frame.push(u8::try_from(reason.len()).unwrap());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

async fn put(client: &Client, name: &str) -> Result<()> {
    let value = Encoded::new(&Value::from("v")).unwrap();
    client.replica_put(Space::Volatile, key(name), value, None, PATIENCE).await.map(drop)
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_not_sent_again_and_a_read_is() {
    let node = FalseNode::start(|number, id, ask| {
        assert_eq!(ask[0], ASK_REPLICA);
        match (number, ask[2] == PUT) {
            // Whether it was made, only this node knows.
            (_, true) | (1, false) => Vec::new(),
            (_, false) => vec![nothing_shown(id)],
        }
    })
    .await;
    let client = client_of(&[&node]);
    let error = put(&client, "k").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::Unknown)));
    assert!(!error.retryable());
    assert!(error.message().contains("the connection ended before"), "{error}");
    assert_eq!(node.asked(), 1, "it was sent once");
    let shown = client.replica_get(Space::Volatile, key("k"), PATIENCE).await.unwrap();
    assert_eq!((shown, node.asked()), (None, 3), "the read was sent twice");
    let error = store(Access::Client(client), false).set("k", "v", None).await.unwrap_err();
    assert_eq!(error.detail("outcome"), Some(&"unknown".into()));
    assert_eq!(error.detail("operation"), None, "nobody can be asked what became of it");
}

#[tokio::test]
async fn a_client_goes_on_elsewhere_from_a_node_that_does_not_serve() {
    for reason in ["not_joined", "clock", "removed", "superseded"] {
        let first = FalseNode::start(move |_, id, _| vec![refusal(id, reason)]).await;
        let second = FalseNode::start(|_, id, _| vec![stamped(id)]).await;
        let client = client_of(&[&first, &second]);
        let error = put(&client, "k").await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));
        assert!(error.retryable());
        assert_eq!(error.detail("reason"), Some(&reason.into()));
        // Whoever tries again is served, once the first has had its time.
        let again = async || put(&client, "k").await.ok();
        eventually("the other node is asked", again).await;
        assert_eq!(second.asked(), 1);
    }
    // What every node would say is no reason to leave one.
    let full = FalseNode::start(|_, id, _| vec![refusal(id, "tombstones")]).await;
    let other = FalseNode::start(|_, id, _| vec![stamped(id)]).await;
    let client = client_of(&[&full, &other]);
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        put(&client, "k").await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn a_client_that_moves_waits_for_the_answers_to_its_writes() {
    let held = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&held);
    // The first write is answered a moment after the second was refused.
    let first = FalseNode::start(move |_, id, ask| {
        let mut held = noted.lock().unwrap();
        if ask.windows(4).any(|it| it == b"slow") {
            *held = Some(id);
            return vec![vec![0]];
        }
        let refused = refusal(id, "clock");
        held.take().map_or(vec![refused.clone()], |slow| vec![refused, stamped(slow)])
    })
    .await;
    let second = FalseNode::start(|_, id, _| vec![stamped(id)]).await;
    let client = client_of(&[&first, &second]);
    put(&client, "k").await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { put(&client, "slow").await }
    });
    eventually("it is under way", async || held.lock().unwrap().map(drop)).await;
    put(&client, "k").await.unwrap_err();
    let (other, slow) = tokio::join!(put(&client, "elsewhere"), slow);
    assert_eq!(slow.unwrap(), Ok(()), "the answer was waited for");
    assert_eq!((other, second.asked()), (Ok(()), 1));
}

#[tokio::test]
async fn without_an_address_that_answers_a_call_ends_by_its_deadline() {
    let closed = nodes::free_address();
    let options = ClientOptions {
        addresses: vec![closed.clone()],
        secret: Secret::from_bytes([7; 32]),
        name: "c".into(),
    };
    let client = Client::new(options);
    let brief = Duration::from_millis(200);
    let value = Encoded::new(&Value::from("v")).unwrap();
    let write = client.replica_put(Space::Durable, key("k"), value, None, brief).await.unwrap_err();
    let read = client.replica_has(Space::Durable, key("k"), brief).await.unwrap_err();
    for error in [write, read] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.outcome(), Some(Outcome::None));
        assert!(error.message().contains(&closed), "{error}");
    }
}

#[tokio::test]
async fn bad_input_is_invalid_before_any_node_is_asked() {
    let client = Client::new(ClientOptions {
        addresses: vec![nodes::free_address()],
        secret: Secret::from_bytes([7; 32]),
        name: "c".into(),
    });
    let sessions = store(Access::Client(client), true);
    let began = Instant::now();
    let version = Version::Unversioned;
    let large = Value::from(vec![0; 2 << 20]);
    let refused: [Error; 5] = [
        sessions.get("").await.map(drop).unwrap_err(),
        sessions.set("k", large, None).await.unwrap_err(),
        sessions.delete("k", Some(version)).await.map(drop).unwrap_err(),
        sessions.transact(&[]).await.map(drop).unwrap_err(),
        sessions.watch(&plimsoll::store::WatchQuery::default()).await.map(drop).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(1));
}
