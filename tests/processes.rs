//! Real processes on loopback: three nodes as `plimsoll init` makes them, killed, stopped for a while
//! and started again under load; and what the command line says of such a cluster.
//!
//! `PLIMSOLL_PROCESSES_SECONDS` makes the load last longer than the default.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plimsoll::check::history::{
    Answer, Call, History, Observation, Outcome as Ended, Request as Asked,
};
use plimsoll::check::spec::Refusal;
use plimsoll::check::verdict::{Verdict, judge};
use plimsoll::entry::{Condition, Entry, Key, PutOptions, Version};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::keyspace::Keyspace;
use plimsoll::node::{Access, Client, ClientOptions, Session};
use plimsoll::store::{RaftStore, StoreHandle};
use plimsoll::transport::Secret;
use plimsoll::value::Value;
use tempfile::TempDir;

const NODES: usize = 3;

/// How many clusters this process has started.
static STARTED: AtomicU16 = AtomicU16::new(0);

/// A cluster of processes in a folder. They are killed with it.
struct Processes {
    folder: TempDir,
    base_port: u16,
    running: Vec<Option<Child>>,
}

impl Processes {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // Below the ports that the system gives to others.
        let place = STARTED.fetch_add(1, Ordering::Relaxed) * 10 * NODES as u16;
        let base_port = 10_000 + (std::process::id() % 350) as u16 * 60 + place;
        let made = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["init", "--nodes", "3", "--base-port", &base_port.to_string(), "c"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let running = (0..NODES).map(|_| None).collect();
        let mut processes = Self { folder, base_port, running };
        (0..NODES).for_each(|node| processes.run(node));
        processes
    }

    fn run(&mut self, node: usize) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("n{node}.log")))
            .unwrap();
        let config = format!("c/n{}/plimsoll.yaml", node + 1);
        let child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["node", "--config", &config])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running[node] = Some(child);
    }

    fn kill(&mut self, node: usize) {
        let mut child = self.running[node].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn signal(&self, node: usize, signal: &str) {
        let id = self.running[node].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn secret_file(&self) -> PathBuf {
        self.folder.path().join("c/secret")
    }

    fn client_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", usize::from(self.base_port) + 10 * node + 1)
    }

    fn client(&self, first: usize) -> Client {
        let addresses = (0..NODES).map(|n| self.client_address((first + n) % NODES)).collect();
        let secret = Secret::from_file(self.secret_file()).unwrap();
        Client::new(ClientOptions { addresses, secret, name: "test".into() })
    }

    /// What a command about the cluster prints, and whether it succeeded.
    fn cli(&self, arguments: &[&str]) -> (bool, String) {
        let addresses: Vec<_> = (0..NODES).map(|node| self.client_address(node)).collect();
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PLIMSOLL_CLUSTER", addresses.join(","))
            .env("PLIMSOLL_SECRET_FILE", self.secret_file())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn logs(&self) -> String {
        let log = |node| fs::read_to_string(self.folder.path().join(format!("n{node}.log")));
        (0..NODES).map(|node| format!("n{node}: {}\n", log(node).unwrap_or_default())).collect()
    }

    /// Waits until the cluster serves.
    fn serves(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.cli(&["get", "deployments", "none"]).1.contains("absent") {
            assert!(Instant::now() < until, "the cluster does not serve\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The place of the leader, if a node knows it.
    fn leader(&self) -> Option<usize> {
        let (_, text) = self.cli(&["member", "list"]);
        let line = text.lines().find(|line| line.ends_with("leader"))?;
        let name = line.split_whitespace().nth(1)?;
        name.strip_prefix('n')?.parse::<usize>().ok().map(|number| number - 1)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What clients asked and were told.
struct Recorder {
    began: Instant,
    history: Mutex<History>,
}

impl Recorder {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    fn record(&self, client: u32, called_at: u64, request: Asked, outcome: Ended) {
        let returned_at = Some(self.now());
        let mut history = self.history.lock().unwrap();
        let id = history.calls.len() as u64;
        history.calls.push(Call {
            id,
            client,
            node: 0,
            keyspace: Keyspace::new("load").unwrap(),
            request,
            command: None,
            called_at,
            returned_at,
            outcome,
            label: None,
        });
    }
}

fn observed(entry: &Entry) -> Answer {
    let value = Arc::new(entry.value.clone());
    let (version, expires_at) = (entry.version, entry.expires_at);
    Answer::entry(Observation { value, version, expires_at })
}

fn failed(error: &Error) -> Ended {
    if error.outcome() == Some(Outcome::Unknown) {
        return Ended::Unknown;
    }
    let current = error.detail("version").and_then(Value::as_str);
    let current = current.map(|version| Version::parse(version).unwrap());
    Ended::failed(Refusal { kind: error.kind(), current, index: None })
}

/// A client that reads and writes a few keys until the time is over.
async fn load(store: StoreHandle, recorder: Arc<Recorder>, number: u32, until: Instant) -> u64 {
    let mut random = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut seen: Option<Version> = None;
    let mut done = 0;
    while Instant::now() < until {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = format!("k{}", random % 4);
        let named = Key::new(&key).unwrap();
        let called_at = recorder.now();
        let (request, ended) = match (random >> 8) % 8 {
            0..4 => {
                let request = Asked::Entry(named);
                match store.entry(&key).await {
                    Ok(Some(entry)) => {
                        seen = Some(entry.version);
                        (request, Ended::Ok(observed(&entry)))
                    }
                    Ok(None) => {
                        let refusal =
                            Refusal { kind: ErrorKind::NotFound, current: None, index: None };
                        (request, Ended::failed(refusal))
                    }
                    // A read that failed says nothing.
                    Err(_) => continue,
                }
            }
            4 => {
                let deleted = store.delete(&key, None).await;
                let ended = deleted.map(|was| Ended::Ok(Answer::Present(was)));
                (Asked::delete(named, None), ended.unwrap_or_else(|error| failed(&error)))
            }
            way => {
                let value = Value::from(format!("{number}-{done}-{called_at}"));
                let condition = match (way, seen) {
                    (5, _) | (6, None) => Condition::None,
                    (6, Some(version)) => Condition::Version(version),
                    _ => Condition::Absent,
                };
                let options = PutOptions { ttl: None, condition };
                let written = store.put(&key, value.clone(), options).await;
                let ended = written.map(|entry| Ended::Ok(observed(&entry)));
                let ended = ended.unwrap_or_else(|error| failed(&error));
                (Asked::put(named, value, options), ended)
            }
        };
        done += u64::from(matches!(ended, Ended::Ok(_)));
        recorder.record(number, called_at, request, ended);
    }
    done
}

#[test]
fn killed_and_stopped_processes_lose_and_invent_nothing() {
    let seconds = std::env::var("PLIMSOLL_PROCESSES_SECONDS").map_or(20, |s| s.parse().unwrap());
    let mut processes = Processes::start();
    processes.serves();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    let recorder = Arc::new(Recorder { began: Instant::now(), history: Mutex::default() });
    let clients: Vec<_> = (0..6_u32)
        .map(|number| {
            let session = Session::new(Access::Client(processes.client(number as usize % NODES)));
            let store = RaftStore::new(Arc::new(session), Keyspace::new("load").unwrap());
            let store = StoreHandle::new("load", Arc::new(store));
            runtime.spawn(load(store, Arc::clone(&recorder), number, until))
        })
        .collect();
    let mut faults = 0;
    while Instant::now() + Duration::from_secs(4) < until {
        std::thread::sleep(Duration::from_millis(1_500));
        let leader = processes.leader().unwrap_or(0);
        let victim = (leader + faults % 2) % NODES;
        if faults % 3 == 2 {
            processes.signal(victim, "-STOP");
            std::thread::sleep(Duration::from_millis(2_500));
            processes.signal(victim, "-CONT");
        } else {
            processes.kill(victim);
            std::thread::sleep(Duration::from_millis(500));
            processes.run(victim);
        }
        faults += 1;
    }
    let done: u64 = clients.into_iter().map(|client| runtime.block_on(client).unwrap()).sum();
    let history = std::mem::take(&mut *recorder.history.lock().unwrap());
    let unknown = history.calls.iter().filter(|call| call.outcome == Ended::Unknown).count();
    println!("calls={} done={done} unknown={unknown} faults={faults}", history.calls.len());
    assert!(faults >= 3 && done > 500, "{done} operations, {faults} faults\n{}", processes.logs());
    // Nothing tells in which order the machine took the calls: a proof there is none, but what can't be
    // is found.
    if let Verdict::Violated(violation) = judge(&history) {
        panic!("{violation}\n{}", processes.logs());
    }
    processes.serves();
    let digests = all_equal(&processes);
    assert!(digests, "the members differ\n{}", processes.cli(&["status"]).1);
}

/// Whether all nodes come to the same digest, once nobody writes.
fn all_equal(processes: &Processes) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        let (is_served, text) = processes.cli(&["status"]);
        let digests: Vec<_> =
            text.lines().skip(1).map(|line| line.split_whitespace().nth(7)).collect();
        if is_served && digests.len() == NODES && digests.windows(2).all(|two| two[0] == two[1]) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    false
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
    assert!(all_equal(processes));
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
