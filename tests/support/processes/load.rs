//! What clients do to a cluster of processes, and the history of it: with labels, that the nodes tell
//! with their answers. So it can be proved that the history is linearizable.
//!
//! Each client makes one call after the other. What is of unknown outcome is asked about again, until
//! it is known; meanwhile the client goes on. Nothing expires here: the upkeep of the machine is no
//! client's to see.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plimsoll::check::history::{
    Answer, Call, CommandId, Delivery, History, Label, Observation, Outcome as Ended,
    Request as Asked,
};
use plimsoll::check::spec::Refusal;
use plimsoll::check::verdict::{Verdict, judge};
use plimsoll::entry::{Condition, Entry, Key, ListQuery, Operation, PutOptions, Version};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Command, Reason, Refusal as Refused, Reply};
use plimsoll::node::{
    Access, Applied, Client, ClientOptions, ClientProbe, Seen as SeenState, Session,
};
use plimsoll::store::{RaftStore, Resolved, StoreHandle, WatchQuery};
use plimsoll::value::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// What clients asked and were told.
pub struct Recorder {
    began: Instant,
    history: Mutex<History>,
}

/// What the clients of a load have done.
#[derive(Debug, Default)]
pub struct Done {
    pub done: u64,
    pub resolved: u64,
    pub delivered: u64,
}

/// Clients at work, and what they have recorded.
pub struct Load {
    recorder: Arc<Recorder>,
    clients: Vec<JoinHandle<Done>>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    /// Starts so many clients, and one that watches.
    pub fn start(runtime: &Handle, clients: u32, options: impl Fn(usize) -> ClientOptions) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let recorder = Arc::new(Recorder { began: Instant::now(), history: Mutex::default() });
        let start = |number: u32| {
            let worker = Worker::new(options(number as usize), Arc::clone(&recorder), number);
            match number {
                0 => runtime.spawn(worker.watch(Arc::clone(&is_over))),
                _ => runtime.spawn(worker.call(Arc::clone(&is_over))),
            }
        };
        let clients = (0..=clients).map(start).collect();
        Self { recorder, clients, is_over }
    }

    /// Ends the clients, and sees to it that what they were told is proved to be linearizable.
    pub fn finish(self, runtime: &Handle, explain: impl Fn() -> String) -> Done {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        for client in self.clients {
            let Done { done, resolved, delivered } = runtime.block_on(client).unwrap();
            all.done += done;
            all.resolved += resolved;
            all.delivered += delivered;
        }
        let history = std::mem::take(&mut *self.recorder.history.lock().unwrap());
        let unknown = history.calls.iter().filter(|call| call.outcome == Ended::Unknown).count();
        println!("{} calls, {unknown} of unknown outcome, {all:?}", history.calls.len());
        assert_eq!(unknown, 0, "every outcome is known in the end\n{}", explain());
        match judge(&history) {
            Verdict::Linearizable(certificate) => {
                assert!(certificate.order.len() as u64 >= all.done);
            }
            Verdict::Violated(why) | Verdict::Undecided(why) => panic!("{why}\n{}", explain()),
            Verdict::Empty => panic!("nothing was done\n{}", explain()),
        }
        all
    }
}

impl Recorder {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    /// A call has ended; answers its place.
    fn record(&self, client: u32, called_at: u64, request: Asked, ended: Ended, at: At) -> usize {
        let returned_at = Some(self.now());
        let mut history = self.history.lock().unwrap();
        let (place, (label, command)) = (history.calls.len(), at);
        history.calls.push(Call {
            id: place as u64,
            client,
            node: 0,
            keyspace: keyspace(),
            request,
            command: command.map(Box::new),
            called_at,
            returned_at,
            outcome: ended,
            label,
        });
        place
    }

    /// The outcome of a call is known now.
    fn resolve(&self, place: usize, ended: Ended, (label, command): At) {
        let returned_at = Some(self.now());
        let call = &mut self.history.lock().unwrap().calls[place];
        call.command = command.map(Box::new);
        (call.returned_at, call.outcome, call.label) = (returned_at, ended, label);
    }
}

/// Where something happened, and under which identity.
type At = (Option<Label>, Option<CommandId>);

/// What a node has told last of where something happened.
#[derive(Default)]
struct Latest(Mutex<At>);

impl Latest {
    fn take(&self) -> At {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl ClientProbe for Latest {
    fn applied(&self, command: &Command, applied: &Applied) {
        let Some(stamp) = command.session else { return };
        let is_unexecuted = matches!(
            applied.reply,
            Reply::Refused(Refused {
                reason: Reason::SessionExpired | Reason::SequenceTooLow | Reason::SequenceTooHigh,
                ..
            })
        );
        if is_unexecuted {
            return;
        }
        let Applied { index, log_time, .. } = *applied;
        // A session ends with its epoch.
        let label = Label { index, log_time, epoch: stamp.session.epoch };
        let session = (stamp.session.epoch, stamp.session.index);
        let command = CommandId { session, seq: stamp.seq };
        *self.0.lock().unwrap() = (Some(label), Some(command));
    }

    fn read(&self, SeenState { index, log_time, epoch }: SeenState) {
        *self.0.lock().unwrap() = (Some(Label { index, log_time, epoch }), None);
    }
}

/// One client.
struct Worker {
    store: StoreHandle,
    latest: Arc<Latest>,
    recorder: Arc<Recorder>,
    number: u32,
    random: u64,
    /// The version that it saw last.
    seen: Option<Version>,
    /// Calls of unknown outcome, by their places.
    unknown: VecDeque<(usize, Error)>,
    did: Done,
}

impl Worker {
    fn new(options: ClientOptions, recorder: Arc<Recorder>, number: u32) -> Self {
        let latest = Arc::new(Latest::default());
        let client = Client::with_probe(options, Arc::clone(&latest) as Arc<dyn ClientProbe>);
        let session = Session::new(Access::Client(client));
        let store = Arc::new(RaftStore::new(Arc::new(session), keyspace()));
        Self {
            store: StoreHandle::new("load", store),
            latest,
            recorder,
            number,
            random: u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            seen: None,
            unknown: VecDeque::new(),
            did: Done::default(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) % below
    }

    fn key(&mut self) -> Key {
        Key::new(&format!("k{}", self.draw(4))).unwrap()
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Value {
        let drawn = self.draw(u64::MAX);
        Value::from(format!("{}-{}-{drawn}", self.number, self.did.done))
    }

    fn condition(&mut self) -> Condition {
        match (self.draw(4), self.seen) {
            (0, _) => Condition::Absent,
            (1, Some(version)) => Condition::Version(version),
            _ => Condition::None,
        }
    }

    /// Reads and writes until it is over, and nothing is unknown any more.
    async fn call(mut self, is_over: Arc<AtomicBool>) -> Done {
        while !is_over.load(Ordering::Relaxed) {
            if self.unknown.len() > UNKNOWN_MAX || self.draw(8) == 0 {
                self.resolve_one().await;
            }
            // Every other client only writes: one of them waits wherever something goes wrong.
            let first = 8 * u64::from(self.number.is_multiple_of(2));
            match first + self.draw(16 - first) {
                0..6 => self.entry().await,
                6 => self.has().await,
                7 => self.list().await,
                8 => self.delete().await,
                9..11 => self.transact().await,
                _ => self.put().await,
            }
        }
        let patience = Instant::now() + Duration::from_secs(30);
        while !self.unknown.is_empty() && Instant::now() < patience {
            self.resolve_one().await;
        }
        self.did
    }

    async fn entry(&mut self) {
        let (key, called_at) = (self.key(), self.begin());
        let ended = match self.store.entry(key.as_str()).await {
            Ok(Some(entry)) => {
                self.seen = Some(entry.version);
                Ended::Ok(observed(&entry))
            }
            Ok(None) => absent(),
            // A read that failed says nothing.
            Err(_) => return,
        };
        self.end(called_at, Asked::Entry(key), ended);
    }

    async fn has(&mut self) {
        let (key, called_at) = (self.key(), self.begin());
        let Ok(has) = self.store.has(key.as_str()).await else { return };
        self.end(called_at, Asked::Has(key), Ended::Ok(Answer::Present(has)));
    }

    async fn list(&mut self) {
        let (query, called_at) = (ListQuery::new().prefix("k").limit(3), self.begin());
        let Ok(page) = self.store.list(&query).await else { return };
        self.end(called_at, Asked::list(query), Ended::Ok(Answer::page(page)));
    }

    async fn delete(&mut self) {
        let (key, called_at) = (self.key(), self.begin());
        let deleted = self.store.delete(key.as_str(), None).await;
        let answer = deleted.map(Answer::Present);
        self.end_write(called_at, Asked::delete(key, None), answer);
    }

    async fn put(&mut self) {
        let (key, value, condition) = (self.key(), self.value(), self.condition());
        let options = PutOptions { ttl: None, condition };
        let called_at = self.begin();
        let written = self.store.put(key.as_str(), value.clone(), options).await;
        let answer = written.as_ref().map(observed).map_err(Clone::clone);
        self.end_write(called_at, Asked::put(key, value, options), answer);
    }

    /// Two keys in one: one is put, the other one deleted.
    async fn transact(&mut self) {
        let (first, value, condition) = (self.draw(4), self.value(), self.condition());
        let key = |number: u64| Key::new(&format!("k{}", number % 4)).unwrap();
        let options = PutOptions { ttl: None, condition };
        let operations = vec![
            Operation::Delete { key: key(first + 1), if_version: None },
            Operation::Put { key: key(first), value, options },
        ];
        let called_at = self.begin();
        let results = self.store.transact(&operations).await;
        self.end_write(called_at, Asked::transact(operations), results.map(Answer::transacted));
    }

    fn begin(&self) -> u64 {
        self.latest.take();
        self.recorder.now()
    }

    fn end(&mut self, called_at: u64, request: Asked, ended: Ended) -> usize {
        self.did.done += 1;
        let at = self.latest.take();
        self.recorder.record(self.number, called_at, request, ended, at)
    }

    fn end_write(&mut self, called_at: u64, request: Asked, answer: Result<Answer, Error>) {
        match answer {
            Ok(answer) => {
                self.end(called_at, request, Ended::Ok(answer));
            }
            Err(error) if error.outcome() == Some(Outcome::Unknown) => {
                let place = self.end(called_at, request, Ended::Unknown);
                self.unknown.push_back((place, error));
            }
            Err(error) => {
                self.end(called_at, request, failed(&error));
            }
        }
    }

    /// Asks about a call again, if there is one.
    async fn resolve_one(&mut self) {
        let Some((place, error)) = self.unknown.pop_front() else { return };
        self.latest.take();
        let ended = match self.store.resolve(&error).await {
            Ok(Resolved::Put(entry)) => Ended::Ok(observed(&entry)),
            Ok(Resolved::Deleted(was)) => Ended::Ok(Answer::Present(was)),
            Ok(Resolved::Transacted(results)) => Ended::Ok(Answer::transacted(results)),
            Ok(Resolved::Set) => unreachable!("nothing is set here"),
            Err(again) if again.outcome() == Some(Outcome::Unknown) => {
                return self.unknown.push_back((place, error));
            }
            Err(refused) => failed(&refused),
        };
        self.did.resolved += 1;
        self.recorder.resolve(place, ended, self.latest.take());
    }

    /// Watches until it is over, and goes on where it was when a watch ends.
    async fn watch(mut self, is_over: Arc<AtomicBool>) -> Done {
        let (mut number, mut after) = (0, None);
        while !is_over.load(Ordering::Relaxed) {
            number += 1;
            let query = WatchQuery { prefix: Vec::new(), after };
            let Ok(mut watch) = self.store.watch(&query).await else { continue };
            while !is_over.load(Ordering::Relaxed) {
                let change = match watch.next(Some(Duration::from_millis(500))).await {
                    Ok(Some(change)) => change,
                    Err(error) if error.kind() == ErrorKind::Timeout => continue,
                    Ok(None) | Err(_) => break,
                };
                let revision = change.revision;
                let delivery = Delivery {
                    watch: number,
                    client: self.number,
                    node: 0,
                    keyspace: keyspace(),
                    prefix: Vec::new(),
                    after: after.replace(revision),
                    delivered_at: self.recorder.now(),
                    change,
                };
                self.recorder.history.lock().unwrap().deliveries.push(delivery);
                self.did.delivered += 1;
            }
        }
        self.did
    }
}

fn keyspace() -> Keyspace {
    Keyspace::new("load").unwrap()
}

fn observed(entry: &Entry) -> Answer {
    let value = Arc::new(entry.value.clone());
    let (version, expires_at) = (entry.version, entry.expires_at);
    Answer::entry(Observation { value, version, expires_at })
}

fn absent() -> Ended {
    Ended::failed(Refusal { kind: ErrorKind::NotFound, current: None, index: None })
}

fn failed(error: &Error) -> Ended {
    let current = error.detail("version").and_then(Value::as_str);
    let current = current.map(|version| Version::parse(version).unwrap());
    let index = error.detail("index").and_then(Value::as_integer);
    let index = index.map(|index| usize::try_from(index).unwrap());
    Ended::failed(Refusal { kind: error.kind(), current, index })
}

/// How many calls of a client may be of unknown outcome before it waits for one of them.
const UNKNOWN_MAX: usize = 8;
