//! What everybody in a run shares: the hosts, the clients, what was applied, and the record of it all.
//!
//! The clients are those of the other simulator. What they ask for becomes a task in the process of
//! the node that is asked, which calls the node's handle and ends with the process: then the clients
//! see a connection that broke. Some clients of a run are elsewhere (`callers`): here is only what they
//! were told.
//!
//! Nothing here waits while it holds the stage, and a run has one thread: nobody ever waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use madsim::runtime::Handle;
use madsim::task::NodeId;
use madsim::time::{TimeHandle, sleep};
use plimsoll::entry::Version;
use plimsoll::kv::StateMachine;
use plimsoll::node::NodeHandle;
use plimsoll::raft::{Answer, Applied, Progress, Request, RequestId, Response};
use xxhash_rust::xxh3::Xxh3;

use super::faults::Kind;
use super::hosts::{Host, Part};
use crate::choices::Choices;
use crate::client::Clients;
use crate::coverage::Coverage;
use crate::invariants::{Promise, Violation};
use crate::scenario::Plan;
use crate::world::{Context, Nodes, Order, Workload};

/// The stage of a run. Clones are the same.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Stage>>);

pub(super) struct Stage {
    pub plan: Plan,
    pub hosts: Vec<Host>,
    pub clients: Clients,
    pub leader: Option<u8>,
    pub faults: BTreeMap<Kind, u64>,
    pub record: Record,
    pub choices: Choices,
    coverage: Coverage,
    orders: Vec<Order>,
    requests: u64,
    /// What nodes were asked and have not answered.
    asked: BTreeMap<RequestId, Asked>,
    /// Calls of clients elsewhere that were not answered, and until when they have to be.
    called: BTreeMap<u64, (String, Duration)>,
    calls: u64,
    /// How far the watches of clients elsewhere have seen, by their numbers.
    pub watched: BTreeMap<u64, Option<Version>>,
    /// Hosts that are no members any more.
    pub removed: Vec<u8>,
    /// The places and processes of clients elsewhere.
    pub callers: Vec<(u8, NodeId)>,
    pub is_healed: bool,
    /// What was applied at each index, by whoever was first.
    applied: BTreeMap<u64, Applied>,
    violation: Option<Violation>,
    /// Where the clients' timers run.
    clients_at: NodeId,
}

#[derive(Clone, Copy)]
struct Asked {
    node: u8,
    at_us: u64,
    patience: Duration,
}

impl Shared {
    pub fn new(plan: Plan, hosts: Vec<Host>, clients_at: NodeId, is_printed: bool) -> Self {
        Self(Arc::new(Mutex::new(Stage {
            clients: Clients::new(&plan),
            choices: Choices::drawn(plan.natural, plan.natural),
            plan,
            hosts,
            leader: None,
            faults: BTreeMap::new(),
            record: Record { hash: Xxh3::new(), newest: VecDeque::new(), is_printed },
            coverage: Coverage::default(),
            orders: Vec::new(),
            requests: 0,
            asked: BTreeMap::new(),
            called: BTreeMap::new(),
            calls: 0,
            watched: BTreeMap::new(),
            removed: Vec::new(),
            callers: Vec::new(),
            is_healed: false,
            applied: BTreeMap::new(),
            violation: None,
            clients_at,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().expect("who panics with it ends the run")
    }

    /// Tells the clients something, and does what they want then.
    pub fn tell(&self, what: impl FnOnce(&mut Clients, &mut Context<'_>)) {
        let orders = self.lock().tell(what);
        for order in orders {
            match order {
                Order::Wake { at_us, token } => self.wake(at_us, token),
                Order::Ask { node, id, request, patience_ms } => {
                    self.ask(node, id, request, Duration::from_millis(patience_ms));
                }
            }
        }
    }

    fn wake(&self, at_us: u64, token: u32) {
        let shared = self.clone();
        let process = self.lock().clients_at;
        spawn_at(process, async move {
            sleep(Duration::from_micros(at_us.saturating_sub(now_us()))).await;
            shared.tell(|clients, context| clients.wake(token, context));
        });
    }

    fn ask(&self, node: u8, id: RequestId, request: Request, patience: Duration) {
        let shared = self.clone();
        let mut stage = self.lock();
        stage.record.note(Some(node), format_args!("is asked {}: {request:?}", id.0));
        let host = &stage.hosts[usize::from(node)];
        let Some(handle) = host.handle.clone() else {
            let process = stage.clients_at;
            spawn_at(process, async move {
                sleep(REFUSAL).await;
                shared.tell(|clients, context| clients.refuse(node, id, context));
            });
            return;
        };
        let process = host.process;
        stage.asked.insert(id, Asked { node, at_us: now_us(), patience });
        spawn_at(process, shared.call(handle, node, id, request, patience));
    }

    /// Calls a node, in its process.
    async fn call(
        self,
        handle: NodeHandle,
        node: u8,
        id: RequestId,
        request: Request,
        patience: Duration,
    ) {
        let result = handle.request(request, patience).await;
        let published = handle.published().borrow().clone();
        let result = match result {
            // A read looks at the machine as it is published now.
            Ok(Answer::Read { .. }) => Ok(Answer::Read { index: published.applied }),
            other => other,
        };
        {
            let mut stage = self.lock();
            stage.asked.remove(&id);
            stage.record.note(Some(node), format_args!("answers {}: {result:?}", id.0));
            stage.hosts[usize::from(node)].machine = published.machine;
        }
        let response = Response { request: id, result };
        self.tell(|clients, context| clients.respond(node, response, context));
    }

    /// A machine has moved.
    pub fn progress(&self, node: u8, progress: &Progress) {
        let is_new = self.lock().take_progress(node, progress);
        self.tell(|clients, context| clients.progress(node, progress, is_new, context));
    }
}

impl Stage {
    fn tell(&mut self, what: impl FnOnce(&mut Clients, &mut Context<'_>)) -> Vec<Order> {
        let nodes = Seen { hosts: &self.hosts, leader: self.leader };
        let mut context = Context {
            now_us: now_us(),
            plan: &self.plan,
            nodes: &nodes,
            choices: &mut self.choices,
            coverage: &mut self.coverage,
            orders: &mut self.orders,
            requests: &mut self.requests,
        };
        what(&mut self.clients, &mut context);
        std::mem::take(&mut self.orders)
    }

    /// Notes what a machine applied. Answers whether it is the first one to do so.
    fn take_progress(&mut self, node: u8, progress: &Progress) -> bool {
        match progress {
            Progress::Installed { index } => {
                self.record.note(Some(node), format_args!("installs a snapshot of index {index}"));
                false
            }
            Progress::Applied(applied) => {
                let (index, term) = (applied.index, applied.term);
                self.record.note(Some(node), format_args!("applies index {index} of term {term}"));
                match self.applied.get(&index) {
                    None => {
                        self.applied.insert(index, (**applied).clone());
                        true
                    }
                    Some(first) if *first == **applied => false,
                    Some(first) => {
                        let what = format!("{first:?}\nand at node {node}\n{applied:?}");
                        self.fail(APPLIED_ONCE.broken(what));
                        false
                    }
                }
            }
        }
    }

    /// Notes that a promise was broken, if none was before.
    pub fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// Leaves nothing here: tasks that a runtime leaves behind may keep the stage.
    pub fn empty(&mut self) {
        self.clients = Clients::new(&self.plan);
        self.applied.clear();
    }

    /// The first promise that was broken.
    pub fn check(&mut self) -> Result<(), Violation> {
        let is_late = |asked: &&Asked| {
            let host = &self.hosts[usize::from(asked.node)];
            // A process that was paused has not looked at the clock meanwhile.
            let since = Duration::from_micros(asked.at_us.max(host.resumed_us));
            !host.is_paused && now() > since + asked.patience + LATEST
        };
        if let Some((id, asked)) = self.asked.iter().find(|(_, asked)| is_late(asked)) {
            let what = format!("node {} has not answered request {}", asked.node, id.0);
            return Err(ANSWERED_IN_TIME.broken(what));
        }
        if let Some((what, _)) = self.called.values().find(|(_, latest)| now() > *latest) {
            return Err(ANSWERED_IN_TIME.broken(what.clone()));
        }
        self.violation.take().map_or(Ok(()), Err)
    }

    /// A client elsewhere makes a call, which has to end in time. Gives its number.
    pub fn expect(&mut self, what: String, patience: Duration) -> u64 {
        self.calls += 1;
        self.called.insert(self.calls, (what, now() + patience + LATEST));
        self.calls
    }

    /// The call of a number has ended.
    pub fn expect_no_more(&mut self, call: u64) {
        self.called.remove(&call);
    }

    /// A process is gone, with all that it was asked.
    pub fn forget_asked(&mut self, node: u8) {
        self.asked.retain(|_, asked| asked.node != node);
    }

    /// What runs have reached, by those who were asked.
    pub fn begin_fault(&mut self, kind: Kind, node: Option<u8>, what: fmt::Arguments<'_>) {
        *self.faults.entry(kind).or_default() += 1;
        self.record.note(node, format_args!("fault: {} {what}", kind.as_str()));
    }
}

/// The hosts as clients see them.
struct Seen<'a> {
    hosts: &'a [Host],
    leader: Option<u8>,
}

impl Nodes for Seen<'_> {
    fn known(&self) -> Vec<u8> {
        let is_there = |host: &&Host| host.part != Part::Spare;
        self.hosts.iter().filter(is_there).map(|host| host.place).collect()
    }

    fn wanted(&self) -> Vec<u8> {
        let is_wanted = |host: &&Host| host.part.is_wanted();
        self.hosts.iter().filter(is_wanted).map(|host| host.place).collect()
    }

    fn machine(&self, node: u8) -> Option<&StateMachine> {
        Some(&self.hosts[usize::from(node)].machine)
    }

    fn leads(&self, node: u8) -> bool {
        self.leader == Some(node)
    }
}

/// All that happened, as a hash; and the newest of it, in words.
pub(super) struct Record {
    hash: Xxh3,
    newest: VecDeque<String>,
    is_printed: bool,
}

impl Record {
    pub fn note(&mut self, node: Option<u8>, what: fmt::Arguments<'_>) {
        let (seconds, nanos) = (now().as_secs(), now().subsec_nanos());
        let place = node.map_or_else(|| "      ".to_owned(), |node| format!("node {node}"));
        let line = format!("{seconds:>4}.{nanos:09} {place} {what}");
        self.hash.update(line.as_bytes());
        if self.is_printed {
            println!("{line}");
        }
        if self.newest.len() == NEWEST_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(line);
    }

    /// A number that covers all of it.
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    pub fn newest(&self) -> Vec<String> {
        self.newest.iter().cloned().collect()
    }
}

/// Starts a task in a process.
pub(super) fn spawn_at(process: NodeId, task: impl Future<Output = ()> + Send + 'static) {
    let process = Handle::current().get_node(process).expect("it was made");
    drop(process.spawn(task));
}

/// Simulated time since the beginning.
pub(super) fn now() -> Duration {
    TimeHandle::current().elapsed()
}

pub(super) fn now_us() -> u64 {
    u64::try_from(now().as_micros()).expect("a run does not take so long")
}

/// Every index has one command, everywhere.
const APPLIED_ONCE: Promise = Promise {
    name: "applied once",
    sentence: "all nodes apply the same command at an index, with the same outcome",
};
/// Requests end.
const ANSWERED_IN_TIME: Promise = Promise {
    name: "answered in time",
    sentence: "a request to a process that runs, and a call of a client, ends soon after its deadline at the latest",
};

/// How long it takes to learn that nobody is there.
const REFUSAL: Duration = Duration::from_millis(1);
/// From a deadline to its latest answer.
const LATEST: Duration = Duration::from_secs(1);
/// Notes kept for a failure.
const NEWEST_MAX: usize = 60;
