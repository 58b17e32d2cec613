//! What clients do to a cluster of processes, and the history of it: with labels, that the nodes tell
//! with their answers. So it can be proved that the history is linearizable.
//!
//! Each client makes one call after the other. What is of unknown outcome is asked about again, until
//! it is known; meanwhile the client goes on. Nothing expires here: the upkeep of the machine is no
//! client's to see.
//!
//! Beside them one follows all changes: in the end it must have seen the last one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plimsoll::check::history::{Answer, Delivery, Observation, Outcome as Ended, Request as Asked};
use plimsoll::check::spec::Refusal;
use plimsoll::check::verdict::{Verdict, judge};
use plimsoll::entry::{Change, Condition, Entry, Key, ListQuery, Operation, PutOptions, Version};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::keyspace::Keyspace;
use plimsoll::node::{Access, Client, ClientOptions, ClientProbe, LatestPlace, Place, Session};
use plimsoll::recorder::{Recorder, answers};
use plimsoll::store::{RaftStore, Resolved, StoreHandle, WatchQuery};
use plimsoll::value::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// What clients asked and were told, which all of them write down.
type Shared = Arc<Mutex<Recorder>>;

/// What the clients of a load have done.
#[derive(Debug, Default)]
pub struct Done {
    pub done: u64,
    pub resolved: u64,
    pub delivered: u64,
}

/// Clients at work, and what they have recorded.
pub struct Load {
    recorder: Shared,
    workers: Vec<JoinHandle<Done>>,
    is_over: Arc<AtomicBool>,
    follower: JoinHandle<()>,
    followed: watch::Receiver<Followed>,
    /// Who writes last.
    last: Worker,
}

impl Load {
    /// Starts so many clients, and one that watches.
    pub fn start(runtime: &Handle, clients: u32, options: impl Fn(usize) -> ClientOptions) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let recorder = Shared::default();
        let worker = |n: u32| {
            Worker::new(options(n as usize), Arc::clone(&recorder), u8::try_from(n).unwrap())
        };
        let (tell, followed) = watch::channel(Followed::default());
        let follower = runtime.spawn(worker(0).follow(tell));
        let last = worker(clients + 1);
        let workers = (1..=clients)
            .map(|number| runtime.spawn(worker(number).call(Arc::clone(&is_over))))
            .collect();
        Self { recorder, workers, is_over, follower, followed, last }
    }

    /// Ends the clients, and sees to it that what they were told is proved to be linearizable, and that
    /// who follows has seen all of it.
    pub fn finish(mut self, runtime: &Handle, explain: impl Fn() -> String) -> Done {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        for worker in self.workers {
            let Done { done, resolved, .. } = runtime.block_on(worker).unwrap();
            all.done += done;
            all.resolved += resolved;
        }
        let seen = runtime.block_on(self.last.is_followed(&mut self.followed));
        assert!(seen.is_ok(), "{}\n{}", seen.unwrap_err(), explain());
        self.follower.abort();
        all.delivered = self.followed.borrow().delivered;
        let history = std::mem::take(&mut self.recorder.lock().unwrap().history);
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

/// How far who follows has come.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    /// How often the watch was begun without a version to go on after: what changes from then on it sees.
    begun: u64,
    delivered: u64,
    seen: Option<Version>,
}

impl Followed {
    /// How far that is, once it is far enough.
    async fn once(
        told: &mut watch::Receiver<Self>,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Result<Self, String> {
        let waited = timeout(PATIENCE, told.wait_for(is_enough)).await;
        let waited = waited.map(|told| *told.expect("who follows goes on"));
        waited.map_err(|_| format!("who follows comes no further: {:?}", *told.borrow()))
    }
}

/// One client.
struct Worker {
    store: StoreHandle,
    latest: Arc<LatestPlace>,
    recorder: Shared,
    number: u8,
    random: u64,
    /// The version that it saw last.
    seen: Option<Version>,
    /// Calls of unknown outcome.
    unknown: VecDeque<(u32, Error)>,
    did: Done,
}

impl Worker {
    fn new(options: ClientOptions, recorder: Shared, number: u8) -> Self {
        let latest = Arc::new(LatestPlace::default());
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
        self.resolve_all().await;
        self.did
    }

    async fn entry(&mut self) {
        let key = self.key();
        let call = self.begin(Asked::Entry(key.clone()));
        let read = self.store.entry(key.as_str()).await;
        if let Ok(Some(entry)) = &read {
            self.seen = Some(entry.version);
        }
        let absent = || answers::failed(ErrorKind::NotFound);
        self.end_read(
            call,
            read.map(|found| found.map_or_else(absent, |it| Ended::Ok(observed(&it)))),
        );
    }

    async fn has(&mut self) {
        let key = self.key();
        let call = self.begin(Asked::Has(key.clone()));
        let has = self.store.has(key.as_str()).await;
        self.end_read(call, has.map(|has| Ended::Ok(Answer::Present(has))));
    }

    async fn list(&mut self) {
        let query = ListQuery::new().prefix("k").limit(3);
        let call = self.begin(Asked::list(query.clone()));
        let page = self.store.list(&query).await;
        self.end_read(call, page.map(|page| Ended::Ok(Answer::page(page))));
    }

    async fn delete(&mut self) {
        let key = self.key();
        let call = self.begin(Asked::delete(key.clone(), None));
        let deleted = self.store.delete(key.as_str(), None).await;
        self.end_write(call, deleted.map(Answer::Present));
    }

    async fn put(&mut self) {
        let (key, condition) = (self.key(), self.condition());
        let _ = self.put_if(key, condition).await;
    }

    async fn put_if(&mut self, key: Key, condition: Condition) -> Result<Entry, Error> {
        let (value, options) = (self.value(), PutOptions { ttl: None, condition });
        let call = self.begin(Asked::put(key.clone(), value.clone(), options));
        let written = self.store.put(key.as_str(), value, options).await;
        self.end_write(call, written.as_ref().map(observed).map_err(Clone::clone));
        written
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
        let call = self.begin(Asked::transact(operations.clone()));
        let results = self.store.transact(&operations).await;
        self.end_write(call, results.map(Answer::transacted));
    }

    fn begin(&self, request: Asked) -> u32 {
        self.latest.take();
        self.recorder.lock().unwrap().call(self.number, SOMEWHERE, &keyspace(), request)
    }

    fn end(&self, call: u32, ended: Ended) {
        let place = self.latest.take();
        let mut recorder = self.recorder.lock().unwrap();
        if let Some(stamp) = place.and_then(|place| place.stamp) {
            recorder.stamp(call, stamp);
        }
        recorder.end(call, ended, place.map(|Place { label, .. }| label));
    }

    fn end_read(&mut self, call: u32, read: Result<Ended, Error>) {
        self.did.done += u64::from(read.is_ok());
        // One that failed says nothing.
        self.end(call, read.unwrap_or_else(|error| answers::failed(error.kind())));
    }

    fn end_write(&mut self, call: u32, answer: Result<Answer, Error>) {
        self.did.done += 1;
        match answer {
            Ok(answer) => self.end(call, Ended::Ok(answer)),
            Err(error) if error.outcome() == Some(Outcome::Unknown) => {
                self.end(call, Ended::Unknown);
                self.unknown.push_back((call, error));
            }
            Err(error) => self.end(call, refused(&error)),
        }
    }

    /// Asks about all calls of unknown outcome until they are known, or it takes too long.
    async fn resolve_all(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.unknown.is_empty() && Instant::now() < until {
            self.resolve_one().await;
        }
    }

    /// Asks about a call again, if there is one.
    async fn resolve_one(&mut self) {
        let Some((call, error)) = self.unknown.pop_front() else { return };
        self.latest.take();
        let ended = match self.store.resolve(&error).await {
            Ok(Resolved::Put(entry)) => Ended::Ok(observed(&entry)),
            Ok(Resolved::Deleted(was)) => Ended::Ok(Answer::Present(was)),
            Ok(Resolved::Transacted(results)) => Ended::Ok(Answer::transacted(results)),
            Ok(Resolved::Set) => unreachable!("nothing is set here"),
            Err(again) if again.outcome() == Some(Outcome::Unknown) => {
                return self.unknown.push_back((call, error));
            }
            Err(error) => refused(&error),
        };
        self.did.resolved += 1;
        self.end(call, ended);
    }

    /// Follows all changes: after what it has seen when a watch ends, and anew when that is no longer kept.
    async fn follow(self, tell: watch::Sender<Followed>) {
        let mut after = None;
        loop {
            let query = WatchQuery { prefix: Vec::new(), after };
            let why = match self.store.watch(&query).await {
                Ok(mut watch) => {
                    tell.send_modify(|it| it.begun += u64::from(after.is_none()));
                    loop {
                        match watch.next(None).await {
                            Ok(Some(change)) => self.deliver(change, &mut after, &tell),
                            Ok(None) => unreachable!("nobody closes it"),
                            Err(why) => break why,
                        }
                    }
                }
                Err(why) => why,
            };
            if why.detail("reason").and_then(Value::as_str) == Some("compacted") {
                after = None;
            } else {
                let is_passing = matches!(why.kind(), ErrorKind::Timeout | ErrorKind::Unavailable);
                assert!(is_passing, "a watch after {after:?} ends: {why:?}");
            }
            sleep(BREATH).await;
        }
    }

    fn deliver(&self, change: Change, after: &mut Option<Version>, tell: &watch::Sender<Followed>) {
        let seen = change.revision;
        self.recorder.lock().unwrap().deliver(Delivery {
            watch: tell.borrow().begun,
            client: u32::from(self.number),
            node: u32::from(SOMEWHERE),
            keyspace: keyspace(),
            prefix: Vec::new(),
            after: after.replace(seen),
            delivered_at: 0,
            change,
        });
        tell.send_modify(|it| (it.delivered, it.seen) = (it.delivered + 1, Some(seen)));
    }

    /// Writes once more, when nobody else does, and waits until who follows has seen that.
    async fn is_followed(
        &mut self,
        followed: &mut watch::Receiver<Followed>,
    ) -> Result<(), String> {
        let until = Instant::now() + 2 * PATIENCE;
        while Instant::now() < until {
            let begun = Followed::once(followed, |it| it.begun > 0).await?.begun;
            let written = self.put_if(Key::new("k0").unwrap(), Condition::None).await;
            let Ok(Entry { version, .. }) = written else {
                self.resolve_all().await;
                continue;
            };
            // A watch that was begun anew meanwhile may have been begun after it.
            let is_seen = |it: &Followed| it.seen == Some(version) || it.begun > begun;
            if Followed::once(followed, is_seen).await?.seen == Some(version) {
                return Ok(());
            }
        }
        Err("who follows has not seen the last write".to_owned())
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

/// What a write was told that was refused: with the version and the position that its error names.
fn refused(error: &Error) -> Ended {
    let current = error.detail("version").and_then(Value::as_str);
    let current = current.map(|version| Version::parse(version).unwrap());
    let index = error.detail("index").and_then(Value::as_integer);
    let index = index.map(|index| usize::try_from(index).unwrap());
    Ended::failed(Refusal { kind: error.kind(), current, index })
}

/// The node of what goes to whichever node a client is connected to.
const SOMEWHERE: u8 = u8::MAX;
/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const BREATH: Duration = Duration::from_millis(100);
/// How many calls of a client may be of unknown outcome before it waits for one of them.
const UNKNOWN_MAX: usize = 8;
