//! Calls of a node's replicas, in processor time of the whole process, against the engine alone.
//!
//! `cargo bench --bench replicas --no-default-features --features node,store`. A node that is alone, with
//! its disks in a folder of the project: what its tasks, its channels and its disk add to the engine.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{Incarnation, MemberId, MemberList, Options, Replica, Start};
use plimsoll::entry::Key;
use plimsoll::gossip::Space;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::node::{ClusterNode, CrdtHandle, Disks, Drawn, NodeOptions};
use plimsoll::storage_fs::FsDisk;
use plimsoll::store::WallClock;
use plimsoll::value::{Encoded, Value};

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let (keys, value) = (keys(), value());
    engine(&keys, &value);
    runtime.expect("a runtime").block_on(node(&Arc::new(keys), &value));
}

/// The engine, without a node: what a call costs at least.
fn engine(keys: &[QualifiedKey], value: &Encoded) {
    let me = MemberId(1);
    let start = Start {
        member: me,
        number: 1,
        members: MemberList { epoch: 1, members: [me].into() },
        reserved: UnixMillis(0),
        is_durable: false,
        options: Options::default(),
    };
    let mut replica = Replica::begin(start, None, Incarnation(0));
    replica.reserve(UnixMillis(1 << 50));
    let now = Now { monotonic_ms: 0, wall: UnixMillis(1 << 40) };
    let mut put = |n: usize| {
        let written = replica.put(&keys[n % KEYS], value.clone(), None, now);
        written.expect("a sole member");
    };
    report("engine: put", 200_000, |total| (0..total).for_each(&mut put));
    let get = |n: usize| black_box(replica.get(&keys[n % KEYS], now.wall).is_ok());
    report("engine: get", 500_000, |total| {
        assert!((0..total).all(get));
    });
}

async fn node(keys: &Arc<Vec<QualifiedKey>>, value: &Encoded) {
    let folder = tempfile::tempdir_in(".").expect("a folder on the disk of the project");
    let open = |name| FsDisk::open(&folder.path().join(name)).expect("an empty folder");
    let disks = Disks { raft: open("raft"), crdt: Some(open("kvcrdt")) };
    let options = NodeOptions::alone("solo", Arc::new(WallClock::new()));
    let node = ClusterNode::open_on(disks, options, Drawn::from_system()).await.expect("a node");
    let crdt = node.handle().crdt();
    while crdt.replica(Space::Durable).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (since, before) = (Instant::now(), processor_seconds());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = (processor_seconds() - before) / since.elapsed().as_secs_f64();
    println!("{:<40} {:>8.2} % of a processor", "node: idle", idle * 100.0);
    for (space, callers, total) in [
        (Space::Volatile, 1, 50_000),
        (Space::Volatile, 64, 200_000),
        (Space::Durable, 1, 2_000),
        (Space::Durable, 64, 50_000),
        (Space::Durable, 512, 200_000),
    ] {
        let (since, before) = (Instant::now(), processor_seconds());
        put_all(crdt, space, callers, total, keys, value).await;
        let spent = (processor_seconds() - before, since.elapsed());
        tell(&format!("node: put {}, {callers} callers", space.as_str()), total, spent);
    }
    for space in [Space::Volatile, Space::Durable] {
        let (total, since, before) = (500_000, Instant::now(), processor_seconds());
        for n in 0..total {
            let replica = crdt.replica(space).await.expect("it has joined");
            assert!(black_box(replica.get(&keys[n % KEYS], crdt.wall())).is_ok());
        }
        let spent = (processor_seconds() - before, since.elapsed());
        tell(&format!("node: get {}", space.as_str()), total, spent);
    }
    node.close().await;
}

async fn put_all(
    crdt: &CrdtHandle,
    space: Space,
    callers: usize,
    total: usize,
    keys: &Arc<Vec<QualifiedKey>>,
    value: &Encoded,
) {
    let call = |caller: usize| {
        let (crdt, keys, value) = (crdt.clone(), Arc::clone(keys), value.clone());
        tokio::spawn(async move {
            for n in 0..total / callers {
                let key = keys[(n * callers + caller) % KEYS].clone();
                let put = crdt.put(space, key, value.clone(), None, Duration::from_secs(20));
                put.await.expect("a sole member");
            }
        })
    };
    for caller in (0..callers).map(call).collect::<Vec<_>>() {
        caller.await.expect("it does not panic");
    }
}

fn report(name: &str, total: usize, run: impl FnOnce(usize)) {
    let (since, before) = (Instant::now(), processor_seconds());
    run(total);
    tell(name, total, (processor_seconds() - before, since.elapsed()));
}

fn tell(name: &str, total: usize, (processor, elapsed): (f64, Duration)) {
    let mut line = format!("{name:<40} {:>8.2} us", processor * 1e6 / total as f64);
    write!(line, " {:>10.0} calls/s", total as f64 / elapsed.as_secs_f64()).expect("a string");
    println!("{line}");
}

/// What all threads of this process have taken, as Linux tells it: in hundredths of a second.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("this is measured on Linux");
    let fields: Vec<_> = stat.rsplit(')').next().expect("its name").split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

fn keys() -> Vec<QualifiedKey> {
    let keyspace = Keyspace::new("app").expect("a name");
    let key = |n| Key::new(&format!("key/{n:06}")).expect("a key");
    (0..KEYS).map(|n| QualifiedKey::new(&keyspace, &key(n))).collect()
}

fn value() -> Encoded {
    Encoded::new(&Value::from("x".repeat(100).as_str())).expect("a value")
}

/// How many keys there are.
const KEYS: usize = 50_000;
