//! The language of golden scripts over a cluster of Raft nodes.
//!
//! A node is `n1`, an entry `INDEX@TERM`, times are milliseconds since the cluster was founded. What
//! happens during a command is printed after it, an event a line: who leads, how requests end, what
//! expires, what is installed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::cluster::{Cluster, EPOCH, FOUNDED_MS, member};
use crate::faults::{Pick, show_message};
use crate::show::{self, Watcher};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, Key, Ttl};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, KeyRef, QualifiedKey, SessionId, SessionStamp, Write};
use plimsoll::raft::{Envelope, MemberChange, Options, RaftId, Request, RequestId};
use plimsoll::value::Encoded;

/// The scripts, in order of their names.
pub fn paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft_scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// One line of a script. Messages are picked by `from=n1 to=n2 kind=append`, each part optional.
#[derive(goldenscript::Command)]
pub enum Line {
    /// Founds a cluster of voters `n1` and on: `cluster 3`.
    Cluster {
        voters: u64,
        /// Entries between two snapshots.
        #[arg(key, optional)]
        snapshot: u64,
        /// Bytes in a chunk of a snapshot.
        #[arg(key, optional)]
        chunk: usize,
    },
    /// Ticks of everybody, or of some, with everything delivered after each: `tick 30 n1 n2`.
    Tick {
        ticks: u64,
        #[arg(many, optional)]
        only: Vec<String>,
    },
    /// Ticks of one node; nothing is delivered: `tick_alone n1 5`.
    TickAlone { node: String, ticks: u64 },
    /// Ticks of one node until it asks for votes; nothing is delivered.
    Campaign(String),
    /// Ticks of one node until it asks for votes, and everything delivered: it is elected.
    Elect(String),
    /// Delivers what is under way and what that causes, or only the messages picked.
    Deliver {
        #[arg(key, optional)]
        from: String,
        #[arg(key, optional)]
        to: String,
        #[arg(key, optional)]
        kind: String,
    },
    /// Loses messages under way.
    Drop {
        #[arg(key, optional)]
        from: String,
        #[arg(key, optional)]
        to: String,
        #[arg(key, optional)]
        kind: String,
    },
    /// Doubles messages under way.
    Double {
        #[arg(key, optional)]
        from: String,
        #[arg(key, optional)]
        to: String,
        #[arg(key, optional)]
        kind: String,
    },
    /// Takes messages under way aside, or so many of them, to be delivered late: `delay NAME from=n1`.
    Delay {
        name: String,
        #[arg(key, optional)]
        count: usize,
        #[arg(key, optional)]
        from: String,
        #[arg(key, optional)]
        to: String,
        #[arg(key, optional)]
        kind: String,
    },
    /// Delivers what was taken aside; what it causes stays under way.
    Late(String),
    /// Prints what is under way.
    Messages,
    /// Cuts a node off, or two nodes from each other.
    Cut {
        node: String,
        #[arg(optional)]
        other: String,
    },
    /// All links work again.
    Heal,
    /// What a node is to persist waits, until `persist` or `release`.
    Hold(String),
    /// Makes what waits durable.
    Persist(String),
    /// Persists and saves at once again.
    Release(String),
    /// Saving a snapshot takes a node long: until `release`.
    HoldSnapshots(String),
    /// Ends a node; what was not durable is lost.
    Crash(String),
    /// Starts a node from what is durable.
    Start(String),
    /// Starts a node with an empty disk.
    Join(String),
    /// Tells a node that its disk has failed.
    DiskError(String),
    /// Tells a node that another can't be reached: `unreachable n1 n2`.
    Unreachable { node: String, other: String },
    /// Puts a node's wall clock off by so many ms.
    Clock { node: String, offset_ms: i64 },
    /// `put NODE KEY VALUE [times=N] [ttl=MS] [as=SESSION/SEQ/LOW] [within=MS]`: the value may be
    /// repeated, to be long.
    Put {
        node: String,
        key: String,
        value: String,
        #[arg(key, optional)]
        times: usize,
        #[arg(key, optional)]
        ttl: u64,
        #[arg(key = "as", optional)]
        session: String,
        #[arg(key, optional)]
        within: u64,
    },
    /// Opens a client session under a name: `open NODE alice`.
    Open { node: String, name: String },
    /// Puts so many entries one after the other: `fill NODE PREFIX COUNT`.
    Fill { node: String, prefix: String, count: u64 },
    /// A linearizable read: `get NODE KEY [within=MS]`.
    Get {
        node: String,
        key: String,
        #[arg(key, optional)]
        within: u64,
    },
    /// What a node's machine shows, with its log time; no promise.
    Local { node: String, key: String },
    /// `change NODE "add n4" "promote n4" "remove n1"`
    Change {
        node: String,
        #[arg(many)]
        changes: Vec<String>,
    },
    /// Asks a node to have leadership handed to another: `transfer n1 n2`.
    Transfer { node: String, to: String },
    /// Prints the status of the nodes, or of some.
    Status {
        #[arg(many, optional)]
        nodes: Vec<String>,
    },
    /// Prints the entries of a node's log, from an index on: `log n1 from=5`.
    Log {
        node: String,
        #[arg(key, optional)]
        from: u64,
    },
    /// Prints whether all machines that applied the same have the same digest.
    Digests,
}

pub struct Script {
    cluster: Cluster,
    watcher: Watcher,
    delayed: BTreeMap<String, Vec<Envelope>>,
    opening: BTreeMap<RequestId, String>,
    sessions: BTreeMap<String, SessionId>,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl goldenscript::Runner for Script {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &goldenscript::Context) -> Result<String> {
        let mut output = self.execute(line)?;
        for (request, session) in self.watcher.events(&mut self.cluster, &mut output) {
            let name = self.opening.remove(&request).ok_or("nobody opened a session")?;
            self.sessions.insert(name, session);
        }
        Ok(output)
    }
}

impl Script {
    pub fn new() -> Self {
        Self {
            cluster: Cluster::new(0, Options::default()),
            watcher: Watcher::default(),
            delayed: BTreeMap::new(),
            opening: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// What a line does, and what it prints by itself.
    fn execute(&mut self, line: &Line) -> Result<String> {
        let cluster = &mut self.cluster;
        match line {
            Line::Cluster { voters, snapshot, chunk } => {
                let mut options = Options::default();
                if *snapshot > 0 {
                    options.snapshot_threshold = *snapshot;
                }
                if *chunk > 0 {
                    options.chunk_bytes = *chunk;
                }
                *self = Self { cluster: Cluster::new(*voters, options), ..Self::new() };
            }
            Line::Tick { ticks, only } => {
                let only = only.iter().map(|node| id(node)).collect::<Result<Vec<_>>>()?;
                cluster.tick(*ticks, Some(&only[..]).filter(|only| !only.is_empty()));
            }
            Line::TickAlone { node, ticks } => cluster.tick_alone(id(node)?, *ticks),
            Line::Campaign(node) => cluster.campaign(id(node)?),
            Line::Elect(node) => {
                cluster.campaign(id(node)?);
                cluster.deliver();
            }
            Line::Hold(node) => cluster.hold(id(node)?, true),
            Line::Persist(node) => cluster.persist(id(node)?),
            Line::HoldSnapshots(node) => {
                cluster.hosts.get_mut(&id(node)?).ok_or("no such node")?.saves_at_once = false;
            }
            Line::Release(node) => cluster.hold(id(node)?, false),
            Line::Crash(node) => cluster.crash(id(node)?),
            Line::Start(node) => cluster.start(id(node)?),
            Line::Join(node) => {
                cluster.add_host(id(node)?);
                cluster.start(id(node)?);
            }
            Line::DiskError(node) => {
                cluster.with(id(node)?, |node, _| node.handle_storage_error("the disk has failed"));
            }
            Line::Unreachable { node, other } => {
                let other = id(other)?;
                cluster.with(id(node)?, |node, now| node.handle_unreachable(other, now));
            }
            Line::Clock { node, offset_ms } => {
                cluster.hosts.get_mut(&id(node)?).ok_or("no such node")?.wall_offset_ms =
                    *offset_ms;
            }
            Line::Put { .. }
            | Line::Open { .. }
            | Line::Fill { .. }
            | Line::Get { .. }
            | Line::Change { .. }
            | Line::Transfer { .. } => self.ask(line)?,
            Line::Local { .. }
            | Line::Status { .. }
            | Line::Log { .. }
            | Line::Digests
            | Line::Messages => return self.tell(line),
            network => return self.touch_network(network),
        }
        Ok(String::new())
    }

    /// What is done to messages and links.
    fn touch_network(&mut self, line: &Line) -> Result<String> {
        let cluster = &mut self.cluster;
        match line {
            Line::Deliver { from, to, kind }
                if from.is_empty() && to.is_empty() && kind.is_empty() =>
            {
                cluster.deliver();
            }
            Line::Deliver { from, to, kind } => {
                return count(cluster.deliver_only(&pick(from, to, kind)?), "delivered");
            }
            Line::Drop { from, to, kind } => {
                return count(cluster.take(&pick(from, to, kind)?).len(), "lost");
            }
            Line::Double { from, to, kind } => {
                return count(cluster.double(&pick(from, to, kind)?), "doubled");
            }
            Line::Delay { name, count: taken_max, from, to, kind } => {
                let taken_max = if *taken_max == 0 { usize::MAX } else { *taken_max };
                let taken = cluster.take_some(&pick(from, to, kind)?, taken_max);
                let taken_count = taken.len();
                self.delayed.entry(name.clone()).or_default().extend(taken);
                return count(taken_count, "delayed");
            }
            Line::Late(name) => {
                cluster.hand_over(self.delayed.remove(name).ok_or("nothing is delayed")?);
            }
            Line::Cut { node, other } if other.is_empty() => cluster.isolate(id(node)?),
            Line::Cut { node, other } => cluster.part(id(node)?, id(other)?),
            Line::Heal => cluster.cut.clear(),
            _ => unreachable!("the other lines are run above"),
        }
        Ok(String::new())
    }

    /// What a client asks of a node.
    fn ask(&mut self, line: &Line) -> Result<()> {
        match line {
            Line::Put { node, key, value, times, ttl, session, within } => {
                let value = value.repeat((*times).max(1));
                let command = Command {
                    session: self.parse_session(session)?,
                    action: put(key, &value, *ttl)?,
                };
                self.request(node, Request::Write(command), *within, &format!("put {key}"))?;
            }
            Line::Open { node, name } => {
                let command = Command::new(Action::OpenSession);
                let request =
                    self.request(node, Request::Write(command), 0, &format!("open {name}"))?;
                self.opening.insert(request, name.clone());
            }
            Line::Fill { node, prefix, count } => {
                for number in 1..=*count {
                    let command = Command::new(put(&format!("{prefix}{number}"), "x", 0)?);
                    self.request(node, Request::Write(command), 0, "")?;
                    self.cluster.deliver();
                }
            }
            Line::Get { node, key, within } => {
                self.request(node, Request::Read, *within, &format!("get {key}"))?;
            }
            Line::Change { node, changes } => {
                let parsed = changes.iter().map(|c| parse_change(c)).collect::<Result<_>>()?;
                self.request(node, Request::Change(parsed), 0, &changes.join(", "))?;
            }
            Line::Transfer { node, to } => {
                self.request(node, Request::Transfer(id(to)?), 0, &format!("transfer to {to}"))?;
            }
            _ => unreachable!("the other lines are run above"),
        }
        Ok(())
    }

    fn request(
        &mut self,
        node: &str,
        request: Request,
        within: u64,
        label: &str,
    ) -> Result<RequestId> {
        let patience_ms = if within == 0 { PATIENCE_MS } else { within };
        let request = self.cluster.request(id(node)?, request, patience_ms);
        self.watcher.label(request, label);
        Ok(request)
    }

    /// What a line only prints.
    fn tell(&self, line: &Line) -> Result<String> {
        let mut output = String::new();
        let cluster = &self.cluster;
        match line {
            Line::Local { node, key } => {
                let machine = cluster.node(id(node)?).machine();
                let log_time = machine.log_time();
                let record =
                    machine.get(KeyRef { keyspace: KEYSPACE, key: key.as_bytes() }, log_time);
                let shown = record.map_or("absent".to_owned(), |record| {
                    let deadline =
                        record.deadline.map_or(String::new(), |d| format!(" until {}", since(d)));
                    format!("{:?}{deadline}", record.value.decode())
                });
                writeln!(output, "{node} at log time {}: {key} is {shown}", since(log_time))?;
            }
            Line::Status { nodes } => {
                for (node, host) in &cluster.hosts {
                    let name = format!("n{}", node.0);
                    if nodes.is_empty() || nodes.contains(&name) {
                        writeln!(output, "{}", show::status(&name, host.node.as_ref()))?;
                    }
                }
            }
            Line::Log { node, from } => {
                let log = cluster.node(id(node)?).log();
                for index in log.first_index().max(*from)..=log.last_index() {
                    writeln!(output, "{}", show::entry(log.entry(index).unwrap()))?;
                }
            }
            Line::Digests => writeln!(output, "{}", show::digests(cluster))?,
            Line::Messages => {
                let lines: Vec<_> = cluster.under_way().map(show_message).collect();
                let lines = if lines.is_empty() { vec!["nothing".to_owned()] } else { lines };
                writeln!(output, "{}", lines.join("\n"))?;
            }
            _ => unreachable!("the other lines are run above"),
        }
        Ok(output)
    }

    /// `SESSION/SEQ/LOW`, or nothing.
    fn parse_session(&self, text: &str) -> Result<Option<SessionStamp>> {
        if text.is_empty() {
            return Ok(None);
        }
        let parts: Vec<_> = text.split('/').collect();
        let [name, seq, low] = parts[..] else { return Err("not SESSION/SEQ/LOW".into()) };
        let unknown = SessionId { epoch: EPOCH, index: 0 };
        let session = self.sessions.get(name).copied().unwrap_or(unknown);
        Ok(Some(SessionStamp { session, seq: seq.parse()?, low: low.parse()? }))
    }
}

/// `n1`.
fn id(node: &str) -> Result<RaftId> {
    let number = node.strip_prefix('n').ok_or_else(|| format!("no node: {node}"))?;
    Ok(RaftId(number.parse()?))
}

fn pick(from: &str, to: &str, kind: &str) -> Result<Pick> {
    let parse = |node: &str| (!node.is_empty()).then(|| id(node)).transpose();
    Ok(Pick { from: parse(from)?, to: parse(to)?, kind: kind.to_owned() })
}

/// A script that picks nothing does not show what it says.
fn count(count: usize, what: &str) -> Result<String> {
    match count {
        0 => Err(format!("nothing to be {what}").into()),
        count => Ok(format!("{what} {count}\n")),
    }
}

fn parse_change(text: &str) -> Result<MemberChange> {
    match text.split_once(' ') {
        Some(("add", node)) => Ok(MemberChange::AddLearner(member(id(node)?.0))),
        Some(("promote", node)) => Ok(MemberChange::Promote(id(node)?)),
        Some(("demote", node)) => Ok(MemberChange::Demote(id(node)?)),
        Some(("remove", node)) => Ok(MemberChange::Remove(id(node)?)),
        _ => Err(format!("no change: {text}").into()),
    }
}

fn put(key: &str, value: &str, ttl: u64) -> Result<Action> {
    let key = QualifiedKey::new(&Keyspace::new(KEYSPACE).unwrap(), &Key::new(key)?);
    let (value, ttl) = (Encoded::new(&value.into())?, Ttl::from_ms(ttl)?);
    let write = Write::Put { key, value, ttl, condition: Condition::None };
    Ok(Action::Write { write, make_room: false })
}

/// Wall time since the cluster was founded.
pub fn since(time: UnixMillis) -> String {
    match time.0 {
        0 => "none".to_owned(),
        ms => (i128::from(ms) - i128::from(FOUNDED_MS)).to_string(),
    }
}

pub const KEYSPACE: &str = "scripts";
const PATIENCE_MS: u64 = 5_000;
