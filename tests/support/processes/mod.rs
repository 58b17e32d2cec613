//! A cluster of real processes, as `plimsoll init` makes it: on loopback, in a folder of its own.
#![allow(dead_code, reason = "each test target uses its part")]

pub mod links;
pub mod load;
pub mod small_disk;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use plimsoll::json;
use plimsoll::node::ClientOptions;
use plimsoll::transport::Secret;
use plimsoll::value::{Table, Value};
use tempfile::TempDir;
use tokio::runtime::Handle;

use links::Links;
use small_disk::SmallDisk;

pub const NODES: usize = 3;
/// After how many entries nodes make snapshots that make them often.
pub const SNAPSHOT_THRESHOLD: usize = 500;

/// How many clusters this process has started.
static STARTED: AtomicU16 = AtomicU16::new(0);

/// A cluster of processes in a folder. They are killed with it.
pub struct Processes {
    pub folder: TempDir,
    base_port: u16,
    running: Vec<Option<Child>>,
    links: Option<Linked>,
    /// Where the data of a node is, if it is on a file system of its own.
    small_disk: Option<(usize, SmallDisk)>,
    /// How many files each node may open, if not as many as this process.
    pub files_max: Option<u32>,
    /// What each node is told besides its configuration.
    pub arguments: &'static [&'static str],
}

/// The relays, and where clients find them.
struct Linked {
    links: Links,
    clients: Vec<String>,
}

impl Processes {
    /// A cluster that is founded.
    pub fn start() -> Self {
        let mut processes = Self::made();
        processes.run_all();
        processes
    }

    /// A cluster whose nodes have not been started yet.
    pub fn made() -> Self {
        let folder = TempDir::new().unwrap();
        // Below the ports that the system gives to others.
        let place = STARTED.fetch_add(1, Ordering::Relaxed) * 10 * NODES as u16;
        let base_port = 10_000 + (std::process::id() % 200) as u16 * 100 + place;
        let made = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["init", "--nodes", "3", "--base-port", &base_port.to_string(), "c"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let running = (0..NODES).map(|_| None).collect();
        Self {
            folder,
            base_port,
            running,
            links: None,
            small_disk: None,
            files_max: None,
            arguments: &[],
        }
    }

    pub fn run_all(&mut self) {
        (0..NODES).for_each(|node| self.run(node));
    }

    /// Puts relays before all nodes, for members and for clients.
    pub fn link(&mut self, runtime: &Handle) -> Links {
        let links = Links::new();
        let relay = |to, port| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let at = listener.local_addr().unwrap().to_string();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let links = links.clone();
            runtime.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                links.relay(listener, to, address).await;
            });
            at
        };
        let members: Vec<_> = (0..NODES).map(|it| relay(it, self.member_port(it))).collect();
        let clients = (0..NODES).map(|it| relay(it, self.member_port(it) + 1)).collect();
        for node in 0..NODES {
            self.edit(node, |line| {
                if !line.trim_start().starts_with("join_addrs:") {
                    return line.to_owned();
                }
                let others = (0..NODES).filter(|other| *other != node);
                let others: Vec<_> = others.map(|it| format!("\"{}\"", members[it])).collect();
                let (own, others) = (&members[node], others.join(", "));
                format!("    advertise_addr: \"{own}\"\n    join_addrs: [{others}]")
            });
        }
        self.links = Some(Linked { links: links.clone(), clients });
        links
    }

    /// Changes the lines of a node's configuration.
    pub fn edit(&self, node: usize, edit: impl Fn(&str) -> String) {
        let path = self.folder.path().join(self.config(node));
        let lines: Vec<_> = fs::read_to_string(&path).unwrap().lines().map(edit).collect();
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    /// Has all nodes make snapshots after so few entries that whoever was away needs one.
    pub fn snapshot_often(&self) {
        for node in 0..NODES {
            self.edit(node, |line| match line {
                "  raft:" => format!("{line}\n    snapshot_threshold: {SNAPSHOT_THRESHOLD}"),
                _ => line.to_owned(),
            });
        }
    }

    /// Puts the data of a node onto a file system of so many bytes.
    ///
    /// # Errors
    /// Why that is not possible here.
    pub fn on_small_disk(&mut self, node: usize, bytes: usize) -> Result<(), String> {
        let data = self.folder.path().join(format!("c/n{}/data", node + 1));
        fs::create_dir_all(&data).unwrap();
        self.small_disk = Some((node, SmallDisk::mount(&data, bytes)?));
        Ok(())
    }

    pub fn small_disk(&self) -> &SmallDisk {
        &self.small_disk.as_ref().unwrap().1
    }

    pub fn run(&mut self, node: usize) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("n{node}.log")))
            .unwrap();
        let program = env!("CARGO_BIN_EXE_plimsoll");
        let mut command = match (&self.small_disk, self.files_max) {
            (Some((place, disk)), _) if *place == node => disk.command(program),
            (_, None) => Command::new(program),
            (_, Some(files_max)) => {
                let mut command = Command::new("sh");
                let script = format!("ulimit -n {files_max} && exec \"$0\" \"$@\"");
                command.args(["-c", &script, program]);
                command
            }
        };
        let child = command
            .args(["node", "--config"])
            // Whoever enters a namespace is at its root.
            .arg(self.folder.path().join(self.config(node)))
            .args(self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        if let Some(linked) = &self.links {
            linked.links.is_process(node, child.id());
        }
        self.running[node] = Some(child);
    }

    pub fn kill(&mut self, node: usize) {
        let mut child = self.running[node].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until a node has ended by itself; gives how, and what it said last.
    pub fn ended(&mut self, node: usize) -> (ExitStatus, String) {
        let until = Instant::now() + Duration::from_secs(20);
        let child = self.running[node].as_mut().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "n{} goes on\n{}", node + 1, self.logs());
            std::thread::sleep(Duration::from_millis(50));
        };
        self.running[node] = None;
        (status, self.log(node).lines().last().unwrap_or_default().to_owned())
    }

    pub fn signal(&self, node: usize, signal: &str) {
        let id = self.running[node].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn config(&self, node: usize) -> String {
        format!("c/n{}/plimsoll.yaml", node + 1)
    }

    pub fn secret_file(&self) -> PathBuf {
        self.folder.path().join("c/secret")
    }

    pub fn member_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.member_port(node))
    }

    /// Resident memory of a node, in bytes, where the system tells.
    pub fn resident(&self, node: usize) -> Option<usize> {
        let id = self.running[node].as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<usize>().ok()? << 10)
    }

    fn member_port(&self, node: usize) -> u16 {
        self.base_port + 10 * node as u16
    }

    pub fn client_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.member_port(node) + 1)
    }

    /// For a client that begins with a node; through the relays, where there are any.
    pub fn client_options(&self, first: usize) -> ClientOptions {
        let address = |node: usize| match &self.links {
            Some(linked) => linked.clients[node].clone(),
            None => self.client_address(node),
        };
        let addresses = (0..NODES).map(|n| address((first + n) % NODES)).collect();
        let secret = Secret::from_file(self.secret_file()).unwrap();
        ClientOptions { addresses, secret, name: "test".into() }
    }

    /// What a command about the cluster prints, and whether it succeeded. It uses no relay.
    pub fn cli(&self, arguments: &[&str]) -> (bool, String) {
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

    /// What a node has printed.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("n{node}.log"))).unwrap_or_default()
    }

    pub fn logs(&self) -> String {
        (0..NODES).map(|node| format!("n{}: {}\n", node + 1, self.log(node))).collect()
    }

    /// Waits until the cluster serves.
    pub fn serves(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.cli(&["get", "deployments", "none"]).1.contains("absent") {
            assert!(Instant::now() < until, "the cluster does not serve\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The place of the leader, if a node knows it.
    pub fn leader(&self) -> Option<usize> {
        let (_, text) = self.cli(&["member", "list"]);
        let line = text.lines().find(|line| line.ends_with("leader"))?;
        let name = line.split_whitespace().nth(1)?;
        name.strip_prefix('n')?.parse::<usize>().ok().map(|number| number - 1)
    }

    /// The place of the leader, once there is one.
    pub fn settled_leader(&self) -> usize {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            // A node that has not missed its leader yet names one that is gone.
            self.serves();
            if let Some(leader) = self.leader() {
                return leader;
            }
            assert!(Instant::now() < until, "nobody leads\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sees to it that a node leads.
    pub fn lead(&self, node: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.settled_leader() != node {
            let name = format!("n{}", node + 1);
            let (_, text) = self.cli(&["member", "transfer-leader", &name]);
            assert!(Instant::now() < until, "{name} does not lead: {text}\n{}", self.logs());
        }
    }

    /// What each node tells of itself, by its place; and the whole of it, for people.
    fn status(&self) -> (Vec<Table>, String) {
        let (_, text) = self.cli(&["status", "--json"]);
        // What is wrong is said below it.
        let line = text.lines().next().unwrap_or_default();
        let Ok(Some(Value::Table(nodes))) = json::parse(line.as_bytes()) else {
            return (vec![], text);
        };
        let node = |node: usize| nodes.get(node as i64 + 1)?.as_table().cloned();
        ((0..NODES).map_while(node).collect(), text)
    }

    /// Waits until a node has applied about all that the others have.
    pub fn catches_up(&self, node: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let (nodes, text) = self.status();
            let number = |node: &Table, field| node.get(field).and_then(Value::as_integer);
            let newest = nodes.iter().filter_map(|node| number(node, "commit")).max();
            let applied = nodes.get(node).and_then(|node| number(node, "applied"));
            if newest.zip(applied).is_some_and(|(newest, applied)| newest - applied < 100) {
                return;
            }
            assert!(Instant::now() < until, "n{} lags\n{text}\n{}", node + 1, self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until all nodes have the same digest, once nobody writes.
    pub fn become_equal(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let (nodes, text) = self.status();
            let text_of = |node: &Table, field| Some(node.get(field)?.as_str()?.to_owned());
            let digests: Vec<_> = nodes.iter().filter_map(|node| text_of(node, "digest")).collect();
            let are_equal = digests.iter().all(|it| !it.is_empty() && *it == digests[0]);
            let is_served = nodes.iter().any(|node| node.get("leader").is_some());
            if is_served && digests.len() == NODES && are_equal {
                return;
            }
            assert!(Instant::now() < until, "the members differ\n{text}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Says that something is skipped, even if the test passes: what `eprintln` says is not shown then.
#[expect(clippy::explicit_write, reason = "see above")]
pub fn skipped(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").unwrap();
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
