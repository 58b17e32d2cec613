//! The load of the demo: clients that read and write a few keys as fast as they are answered, and
//! write down what they asked and were told.
//!
//! A client asks one node until that one does not answer, then the next. A write whose outcome is
//! unknown is asked about again under its number until it is known: it stays one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Told;
use super::cluster::{Cluster, NODES, Shared};
use crate::check::history::{Answer as Said, Outcome as Ended, Request as Asked};
use crate::entry::{Condition, Key, ListQuery, PutOptions, Version};
use crate::error::{ErrorKind, Outcome};
use crate::keyspace::Keyspace;
use crate::kv::{Action, Command, QualifiedKey, Reply, SessionStamp, Write};
use crate::node::NodeHandle;
use crate::raft::{Answer, ClientSession, Failure, FailureReason, Request};
use crate::recorder::answers;
use crate::value::{Encoded, Value};

/// The clients at work.
pub(super) struct Clients {
    tasks: JoinSet<Told<Load>>,
    is_over: Arc<AtomicBool>,
}

/// What came of the load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Calls that were answered, a failed condition included.
    pub answered: u64,
    /// Writes whose outcome was unknown for a while.
    pub unknown: u64,
}

impl Clients {
    /// Starts so many.
    pub fn start(cluster: &Cluster, count: u8) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let client = Client {
                shared: cluster.shared(),
                number,
                node: usize::from(number) % NODES,
                session: ClientSession::new(),
                random: Random(u64::from(number) + 1),
                keyspace: Keyspace::new("load").expect("a good name"),
                seen: None,
                load: Load::default(),
            };
            tasks.spawn(client.live(Arc::clone(&is_over)));
        }
        Self { tasks, is_over }
    }

    /// Lets each finish what it has begun.
    pub async fn finish(self) -> Told<Load> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Load::default();
        for load in self.tasks.join_all().await {
            let load = load?;
            all.answered += load.answered;
            all.unknown += load.unknown;
        }
        Ok(all)
    }
}

struct Client {
    shared: Shared,
    number: u8,
    /// Which node it asks.
    node: usize,
    session: ClientSession,
    random: Random,
    keyspace: Keyspace,
    /// The version that it saw last, of whichever key.
    seen: Option<Version>,
    load: Load,
}

impl Client {
    async fn live(mut self, is_over: Arc<AtomicBool>) -> Told<Load> {
        while !is_over.load(Ordering::Relaxed) {
            let key = format!("key{}", self.random.below(KEYS));
            let key = Key::new(&key).expect("a good key");
            match self.random.below(10) {
                0..4 => self.read(Asked::Entry(key)).await,
                4 => self.read(Asked::list(ListQuery::default())).await,
                draw => {
                    let (asked, write) = self.draw_write(draw, key);
                    self.write(asked, Action::Write { write, make_room: false }).await?;
                }
            }
        }
        Ok(self.load)
    }

    /// A write: some delete, some depend on what was seen, some on absence.
    fn draw_write(&mut self, draw: u64, key: Key) -> (Asked, Write) {
        let qualified = QualifiedKey::new(&self.keyspace, &key);
        if draw == 5 {
            let write = Write::Delete { key: qualified, if_version: None };
            return (Asked::delete(key, None), write);
        }
        let condition = match (draw, self.seen) {
            (6 | 7, Some(version)) => Condition::Version(version),
            (8, _) => Condition::Absent,
            _ => Condition::None,
        };
        // Written once only: what is read tells by whom.
        let value = Value::from(format!("{}-{}", self.number, self.random.next()));
        let encoded = Encoded::new(&value).expect("a short text");
        let write = Write::Put { key: qualified, value: encoded, ttl: None, condition };
        (Asked::put(key, value, PutOptions { ttl: None, condition }), write)
    }

    async fn read(&mut self, asked: Asked) {
        let call = self.call(asked.clone());
        let Some(node) = self.handle().await else { return };
        let answer = node.request(Request::Read, PATIENCE).await;
        let published = node.published().borrow().clone();
        match answer {
            Ok(_) => {
                let outcome = answers::read(&published.machine, &self.keyspace, &asked);
                let label = answers::label(&published.machine, published.applied);
                let mut recording = self.shared.recording();
                recording.recorder.end(call, outcome.clone(), Some(label));
                recording.answered += 1;
                drop(recording);
                self.note(&outcome);
            }
            Err(failure) => {
                let outcome = answers::failed(failure.to_error().kind());
                self.shared.recording().recorder.end(call, outcome, None);
                self.move_on();
            }
        }
    }

    /// Writes, exactly once.
    async fn write(&mut self, asked: Asked, action: Action) -> Told<()> {
        self.open_session().await?;
        let call = self.call(asked.clone());
        let stamp = self.session.begin().map_err(|error| error.to_string())?;
        self.shared.recording().recorder.stamp(call, stamp);
        let until = Instant::now() + RESOLVE;
        let mut is_unknown = false;
        loop {
            match self.send(stamp, &action).await {
                Ok(Answer::Applied { reply, .. }) => {
                    let outcome = answers::written(&asked, &reply)
                        .ok_or("the cluster has forgotten a client session")?;
                    let mut recording = self.shared.recording();
                    recording.recorder.end(call, outcome.clone(), None);
                    recording.answered += 1;
                    drop(recording);
                    self.note(&outcome);
                    break;
                }
                Ok(other) => return Err(format!("a write was answered {other:?}")),
                Err(failure) if failure.outcome == Outcome::None && !is_unknown => {
                    let outcome = answers::failed(failure.to_error().kind());
                    self.shared.recording().recorder.end(call, outcome, None);
                    self.move_on();
                    break;
                }
                Err(_) => {
                    self.load.unknown += u64::from(!is_unknown);
                    is_unknown = true;
                    self.move_on();
                }
            }
            if Instant::now() > until {
                return Err("what became of a write can't be learned".to_owned());
            }
        }
        self.session.finish(stamp);
        Ok(())
    }

    /// Sends a write under its number, this time.
    async fn send(&mut self, stamp: SessionStamp, action: &Action) -> Result<Answer, Failure> {
        let session = self.session.restamp(stamp);
        let command = Command { session, action: action.clone() };
        match self.handle().await {
            Some(node) => node.request(Request::Write(command), PATIENCE).await,
            None => Err(Failure::without_effect(FailureReason::Stopped)),
        }
    }

    async fn open_session(&mut self) -> Told<()> {
        let until = Instant::now() + RESOLVE;
        while self.session.needs_opening() {
            if Instant::now() > until {
                return Err("no client session can be opened".to_owned());
            }
            let Some(node) = self.handle().await else { continue };
            let request = Request::Write(Command::new(Action::OpenSession));
            match node.request(request, PATIENCE).await {
                Ok(Answer::Applied { reply: Reply::SessionOpened(id), .. }) => {
                    self.session.opened(id);
                }
                _ => self.move_on(),
            }
        }
        Ok(())
    }

    fn call(&self, asked: Asked) -> u32 {
        let node = u8::try_from(self.node).expect("three nodes");
        self.shared.recording().recorder.call(self.number, node, &self.keyspace, asked)
    }

    /// Remembers a version that an answer shows.
    fn note(&mut self, outcome: &Ended) {
        self.load.answered += 1;
        match outcome {
            Ended::Ok(Said::Entry(seen)) => self.seen = Some(seen.version),
            Ended::Failed(refusal) if refusal.kind == ErrorKind::Conflict => {
                self.seen = refusal.current;
            }
            _ => {}
        }
    }

    /// The node that is asked; none if it is dead: then the next one will be.
    async fn handle(&mut self) -> Option<NodeHandle> {
        let handle = self.shared.handle(self.node);
        if handle.is_none() {
            self.move_on();
            tokio::time::sleep(BREATH).await;
        }
        handle
    }

    fn move_on(&mut self) {
        self.node = (self.node + 1) % NODES;
    }
}

/// Marsaglia's xorshift: what a client does next need not be unpredictable.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    const fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

/// Few keys, so that clients meet.
const KEYS: u64 = 5;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Within what time everything must be known.
const RESOLVE: Duration = Duration::from_secs(30);
/// Between two looks for a node that lives.
const BREATH: Duration = Duration::from_millis(5);
