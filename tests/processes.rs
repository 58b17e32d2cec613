//! Real processes on loopback: three nodes as `plimsoll init` makes them, killed, stopped for a while,
//! cut off and started again under load, one of them with a disk that becomes full; and what the
//! command line says of such a cluster.
//!
//! `PLIMSOLL_PROCESSES_SECONDS` makes the load last longer than the default.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

#[path = "support/processes/mod.rs"]
mod processes;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use plimsoll::keyspace::Keyspace;
use plimsoll::node::{Access, Client, Session};
use plimsoll::store::{RaftStore, StoreHandle};
use processes::links::{CLIENTS, Links};
use processes::load::Load;
use processes::{NODES, Processes, SNAPSHOT_THRESHOLD, skipped};

/// What goes wrong, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The process is killed, and started again.
    Kill,
    /// The process does nothing for a while.
    Stop,
    /// No other node reaches it, nor it them; clients do.
    Isolate,
    /// What it says reaches no other node.
    Mute,
    /// What others say does not reach it.
    Deafen,
    /// Connections of members and clients are reset in the middle of a frame.
    Tear,
    /// Clients do not reach it, and another node hears them without being heard.
    Strand,
}

const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Isolate,
    Fault::Stop,
    Fault::Mute,
    Fault::Tear,
    Fault::Deafen,
    Fault::Strand,
];

impl Fault {
    const fn is_of_links(self) -> bool {
        !matches!(self, Self::Kill | Self::Stop)
    }

    const fn lasts(self) -> Duration {
        match self {
            // Longer than an operation waits: the outcomes of some are unknown.
            Self::Isolate => Duration::from_secs(6),
            _ => Duration::from_millis(1_500),
        }
    }

    fn happen(self, processes: &mut Processes, links: &Links, victim: usize) {
        let others = (0..NODES).filter(move |node| *node != victim);
        let from_it = others.clone().map(|other| (victim, other));
        let to_it = others.map(|other| (other, victim));
        match self {
            Self::Kill => {
                processes.kill(victim);
                std::thread::sleep(self.lasts() / 3);
                return processes.run(victim);
            }
            Self::Stop => {
                processes.signal(victim, "-STOP");
                std::thread::sleep(self.lasts());
                return processes.signal(victim, "-CONT");
            }
            Self::Isolate => links.cut(from_it.chain(to_it)),
            Self::Mute => links.hold(from_it),
            Self::Deafen => links.hold(to_it),
            Self::Tear => {
                let all = from_it.chain(to_it).chain([(CLIENTS, victim), (victim, CLIENTS)]);
                for (number, link) in all.enumerate() {
                    links.tear(link, 37 + 101 * number);
                }
            }
            Self::Strand => {
                links.cut([(CLIENTS, victim)]);
                links.hold([((victim + 1) % NODES, CLIENTS)]);
            }
        }
        std::thread::sleep(self.lasts());
        links.heal();
    }
}

#[test]
fn killed_stopped_and_cut_off_processes_lose_and_invent_nothing() {
    let seconds = std::env::var("PLIMSOLL_PROCESSES_SECONDS").map_or(20, |s| s.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut processes = Processes::made();
    let links = processes.link(runtime.handle());
    processes.snapshot_often();
    processes.run_all();
    processes.serves();
    let are_told_apart = Links::are_told_apart();
    if !are_told_apart {
        skipped("faults of links, for nothing tells here whose a connection is");
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let options = |number| processes.client_options(number % NODES);
    let load = Load::start(runtime.handle(), 6, options);
    let mut faults = 0;
    loop {
        let fault = FAULTS[faults % FAULTS.len()];
        if Instant::now() + PAUSE + fault.lasts() > until {
            break;
        }
        std::thread::sleep(PAUSE);
        // The leader in the first round, and another node in the second.
        let victim = (processes.settled_leader() + faults / FAULTS.len() % 2) % NODES;
        faults += 1;
        if are_told_apart || !fault.is_of_links() {
            fault.happen(&mut processes, &links, victim);
        }
    }
    let done = load.finish(runtime.handle(), || processes.logs());
    println!("{faults} faults, {:?}", links.counts());
    assert!(faults >= 5 && done.done > 300, "{faults} faults, {done:?}\n{}", processes.logs());
    assert!(done.delivered > 100, "{done:?}\n{}", processes.logs());
    if are_told_apart && faults >= FAULTS.len() {
        let counts = links.counts();
        assert!(done.resolved > 0, "no outcome was unknown: {done:?}");
        for (what, count) in [("cut", &counts.cut), ("held", &counts.held), ("torn", &counts.torn)]
        {
            assert!(count.load(Ordering::Relaxed) > 0, "no connection was {what}: {counts:?}");
        }
    }
    processes.serves();
    processes.become_equal();
}

#[test]
fn a_node_whose_disk_is_full_stops_and_catches_up_when_there_is_room() {
    const FULL: usize = 0;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut processes = Processes::made();
    if let Err(why) = processes.on_small_disk(FULL, 48 << 20) {
        return skipped(&format!("no small file system can be mounted here: {why}"));
    }
    processes.snapshot_often();
    processes.run_all();
    processes.serves();
    let options = |number| processes.client_options(number % NODES);
    let load = Load::start(runtime.handle(), 6, options);
    for leader in [FULL, 1] {
        processes.lead(leader);
        std::thread::sleep(Duration::from_secs(1));
        processes.small_disk().fill();
        stops_without_room(&mut processes, FULL);
        // While there is no room it does not start either.
        processes.run(FULL);
        stops_without_room(&mut processes, FULL);
        processes.serves();
        processes.small_disk().free();
        processes.run(FULL);
        processes.catches_up(FULL);
    }
    let done = load.finish(runtime.handle(), || processes.logs());
    assert!(done.done > 300, "{done:?}\n{}", processes.logs());
    assert!(!processes.logs().contains("panicked"), "{}", processes.logs());
    processes.become_equal();
}

/// The node ends by itself and says that its disk is full.
fn stops_without_room(processes: &mut Processes, node: usize) {
    let (status, said) = processes.ended(node);
    let has_failed = status.code().is_some_and(|code| code != 0);
    assert!(has_failed && said.contains("the disk is full"), "{status}: {said}");
}

/// How long nothing goes wrong between two faults.
const PAUSE: Duration = Duration::from_millis(700);

#[test]
fn whatever_is_logged_shows_no_secret_no_key_and_no_value() {
    const KEY: &str = "quokka/xylophone";
    const VALUE: &str = "zygote+marmalade";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut processes = Processes::made();
    processes.arguments = &["--log", "trace"];
    processes.snapshot_often();
    processes.run_all();
    processes.serves();
    for arguments in [
        &["put", "deployments", KEY, VALUE, "--if-absent"][..],
        &["get", "deployments", KEY],
        &["list", "deployments", "--prefix", KEY],
        &["backup", "b.plimsoll"],
        &["status"],
    ] {
        let (is_done, text) = processes.cli(arguments);
        assert!(is_done, "{arguments:?}: {text}");
    }
    // Refused, for the key is there; deleted and told to who watches; and asked for with another secret.
    let (is_done, text) = processes.cli(&["put", "deployments", KEY, VALUE, "--if-absent"]);
    let version = text.split("version: ").last().unwrap().split_whitespace().next().unwrap();
    let version = version.replace('"', "");
    assert!(!is_done && processes.cli(&["delete", "deployments", KEY]).0, "{text}");
    assert!(processes.cli(&["set", "deployments", KEY, VALUE]).0);
    let (is_done, text) =
        processes.cli(&["watch", "deployments", "--after", &version, "--count", "2"]);
    assert!(is_done && text.contains(KEY) && text.contains(VALUE), "{text}");
    let secret = fs::read_to_string(processes.secret_file()).unwrap();
    fs::write(processes.secret_file(), secret.trim().chars().rev().collect::<String>()).unwrap();
    assert!(!processes.cli(&["get", "deployments", KEY]).0);
    fs::write(processes.secret_file(), &secret).unwrap();
    // One node misses so much that it is sent a snapshot.
    let away = (processes.settled_leader() + 1) % NODES;
    processes.kill(away);
    runtime.block_on(async {
        let access = Access::Client(Client::new(processes.client_options((away + 1) % NODES)));
        let keyspace = Keyspace::new("deployments").unwrap();
        let store = Arc::new(RaftStore::new(Arc::new(Session::new(access)), keyspace));
        let store = StoreHandle::new("deployments", store);
        for _ in 0..SNAPSHOT_THRESHOLD + 100 {
            store.set(KEY, VALUE, None).await.unwrap();
        }
    });
    processes.run(away);
    processes.become_equal();
    let logs = processes.logs();
    for event in [
        "DEBUG plimsoll::net: has accepted a connection",
        "plimsoll::net: has refused a connection",
        "DEBUG plimsoll::snapshot: has saved a snapshot",
        "INFO plimsoll::snapshot: a snapshot has replaced the machine",
    ] {
        assert!(logs.contains(event), "{event} is not in {logs}");
    }
    let bytes: Vec<u8> = secret
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    for hidden in [&bytes, KEY.as_bytes(), VALUE.as_bytes()] {
        let shown = shown(&logs, hidden);
        assert_eq!(shown, None, "{} is in {logs}", hidden.escape_ascii());
    }
}

/// A part of some bytes that a text shows: as they are, in digits, or as a list of numbers.
fn shown(text: &str, hidden: &[u8]) -> Option<String> {
    const PART: usize = 8;
    assert!(hidden.len() >= PART);
    let text = text.to_lowercase();
    let digits = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let numbers = |part: &[u8]| part.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let forms = |part: &[u8]| [part.escape_ascii().to_string(), digits(part), numbers(part)];
    hidden.windows(PART).flat_map(forms).find(|form| text.contains(form.as_str()))
}

/// The verbs on namespaces of `store.kv.crdt`, each a client of its own of the first node.
fn serves_replicas(processes: &Processes) {
    for store in ["crdt:sessions", "crdt-durable:sessions"] {
        // Nodes serve once their replicas have met.
        let until = Instant::now() + Duration::from_secs(20);
        while !processes.cli(&["set", store, "k", store]).0 {
            assert!(Instant::now() < until, "{}", processes.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    for store in ["crdt:sessions", "crdt-durable:sessions"] {
        assert_eq!(processes.cli(&["get", store, "k"]), (true, format!("{store}\n")));
        let (is_done, text) = processes.cli(&["list", store]);
        assert!(is_done && text.starts_with("k\t"), "{text}");
        let (is_done, text) = processes.cli(&["watch", store]);
        assert!(!is_done && text.contains("is a kv.crdt store, which has no watches"), "{text}");
        assert_eq!(processes.cli(&["delete", store, "k"]), (true, "true\n".to_owned()));
        assert_eq!(processes.cli(&["has", store, "k"]), (false, "false\n".to_owned()));
    }
    let (is_done, text) = processes.cli(&["get", "crtd:sessions", "k"]);
    assert!(!is_done && text.contains("crdt:NAMESPACE"), "{text}");
}

#[test]
fn the_command_line_serves_a_cluster() {
    let mut processes = Processes::start();
    processes.serves();
    let (is_done, text) = processes.cli(&["put", "deployments", "web", "v1", "--if-absent"]);
    assert!(is_done && text.contains("version"), "{text}");
    let (is_done, text) = processes.cli(&["put", "deployments", "web", "v2", "--if-absent"]);
    assert!(!is_done && text.contains("AlreadyExists"), "{text}");
    assert_eq!(processes.cli(&["get", "deployments", "web"]), (true, "v1\n".to_owned()));
    let version = text.split("version: ").last().unwrap().split_whitespace().next().unwrap();
    let after = version.replace('"', "");
    assert!(processes.cli(&["set", "deployments", "web2", "v"]).0);
    assert!(processes.cli(&["delete", "deployments", "web2"]).0);
    let (is_done, text) =
        processes.cli(&["watch", "deployments", "--after", &after, "--count", "2"]);
    assert!(
        is_done && text.contains("put\tweb2\t\"v\"") && text.contains("delete\tweb2"),
        "{text}"
    );
    serves_replicas(&processes);
    let (is_done, text) = processes.cli(&["status"]);
    assert!(is_done && text.contains("leader") && text.contains("follower"), "{text}");
    let leader = processes.leader().unwrap();
    let other = format!("n{}", (leader + 1) % NODES + 1);
    assert_eq!(processes.cli(&["member", "transfer-leader", &other]), (true, "done\n".to_owned()));
    let (is_done, text) = processes.cli(&["member", "remove", "nobody"]);
    assert!(!is_done && text.contains("there are n"), "{text}");
    // Where the cluster is named by the environment, a store of a configuration is told apart, and what
    // takes no cluster goes on as without it.
    let (is_done, text) = processes.cli(&["get", "app:records", "k"]);
    assert!(!is_done && text.contains("PLIMSOLL_CLUSTER"), "{text}");
    fs::write(processes.folder.path().join("s.lua"), "print('ran')").unwrap();
    assert_eq!(processes.cli(&["run", "s.lua"]), (true, "ran\n".to_owned()));
    let (is_done, text) = processes.cli(&["backup", "b.plimsoll"]);
    assert!(is_done, "{text}");
    (0..NODES).for_each(|node| processes.kill(node));
    restore(&mut processes);
    recover(&mut processes);
}

/// A new cluster from the backup: one node begins, the others join it.
fn restore(processes: &mut Processes) {
    let folder = processes.folder.path().to_owned();
    let data = |node: usize| folder.join(format!("c/n{node}/data"));
    let config = "c/n1/plimsoll.yaml";
    let (is_done, text) = processes.cli(&["restore", "b.plimsoll", "--config", config]);
    assert!(!is_done && text.contains("not empty"), "{text}");
    (1..=NODES).for_each(|node| fs::remove_dir_all(data(node)).unwrap());
    damage(&folder.join("b.plimsoll"), &folder.join("damaged"));
    let (is_done, text) = processes.cli(&["restore", "damaged", "--config", config]);
    assert!(!is_done && text.contains("damaged"), "{text}");
    let (is_done, text) = processes.cli(&["restore", "b.plimsoll", "--config", config]);
    assert!(is_done, "{text}");
    (0..NODES).for_each(|node| processes.run(node));
    processes.serves();
    assert_eq!(processes.cli(&["get", "deployments", "web"]), (true, "v1\n".to_owned()));
    let until = Instant::now() + Duration::from_secs(30);
    while processes.cli(&["member", "list"]).1.matches("voter").count() < 2 {
        assert!(Instant::now() < until, "{}", processes.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Two of three are lost for ever: the third goes on alone.
fn recover(processes: &mut Processes) {
    let folder = processes.folder.path().to_owned();
    assert!(processes.cli(&["set", "deployments", "late", "v"]).0);
    processes.become_equal();
    (0..NODES).for_each(|node| processes.kill(node));
    let data_dir = ["recover", "--data-dir", "c/n2/data"];
    let (is_done, text) = processes.cli(&data_dir);
    assert!(!is_done && text.contains("--force-new-cluster"), "{text}");
    let (is_done, text) = processes.cli(&[&data_dir[..], &["--force-new-cluster"]].concat());
    assert!(is_done && text.contains("n2"), "{text}");
    for node in [1, 3] {
        fs::remove_dir_all(folder.join(format!("c/n{node}/data"))).unwrap();
    }
    processes.run(1);
    processes.serves();
    assert_eq!(processes.cli(&["get", "deployments", "late"]), (true, "v\n".to_owned()));
}

fn damage(from: &Path, to: &Path) {
    let mut bytes = fs::read(from).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(to, bytes).unwrap();
}
