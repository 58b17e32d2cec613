//! The history checkers on a million labelled calls, beside a million inserts into a bare map.
//!
//! `cargo bench --bench check [-- CALLS]`. The machine itself answers the calls of 64 clients over
//! 10,000 keys, so that every answer is right and the checkers have to look at all of it. The peak
//! of memory counts history and checker.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use plimsoll::check::certificate::verify;
use plimsoll::check::history::{
    Answer, Call, CommandId, History, Label, Observation, Outcome, Request,
};
use plimsoll::check::spec::Refusal;
use plimsoll::check::{witness, zones};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, Entry, Key, ListQuery, Page, PutOptions, Version};
use plimsoll::error::ErrorKind;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{
    Action, Command, KeyRef, QualifiedKey, Reason, Record, Reply, StateMachine, Write, Written,
};
use plimsoll::value::{Encoded, Value};
use support::Picker;

const KEYS: usize = 10_000;
const CLIENTS: usize = 64;
const PAGE: usize = 100;

fn main() {
    let calls = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let calls: usize = calls.unwrap_or(1_000_000);
    let map = timed(&format!("{calls} inserts into a BTreeMap"), None, || insert(calls));
    black_box(map.len());
    drop(map);
    for (percent, seconds) in [(0, 1.0), (2, 2.0)] {
        let history = Recorder::new().record(calls, percent);
        println!("{calls} labelled calls, {percent}% lists: the history takes {} MB", peak_mb());
        let certificate =
            timed("  witness", Some(seconds), || witness::check(&history).expect("it is right"));
        println!("  {} steps in order; peak {} MB", certificate.order.len(), peak_mb());
        timed("  zones", None, || zones::check(&history).expect("it is right"));
        println!("  peak {} MB", peak_mb());
        if percent == 0 {
            timed("  verifier", None, || verify(&history, &certificate).expect("it is right"));
        }
    }
}

fn timed<T>(what: &str, aim: Option<f64>, work: impl FnOnce() -> T) -> T {
    let (start, start_busy) = (Instant::now(), busy());
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let busy = busy().zip(start_busy).map_or(seconds, |(end, start)| end - start);
    let verdict = match aim {
        Some(aim) if busy <= aim => format!("   aim {aim:.1} s: reached"),
        Some(aim) => format!("   aim {aim:.1} s: missed"),
        None => String::new(),
    };
    println!("{what}: {busy:.2} s of a processor, in {seconds:.2} s{verdict}");
    result
}

/// How long this thread has run, in seconds: others may want the processor too.
fn busy() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

/// The most memory that this process has had, in megabytes.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1_000
}

fn insert(count: usize) -> BTreeMap<Arc<str>, u64> {
    let mut picker = Picker::new();
    let mut map = BTreeMap::new();
    for number in 0..count {
        map.insert(Arc::from(format!("user:{:010}", picker.below(count))), number as u64);
    }
    map
}

/// Clients at a machine: each makes a call, which happens some steps later, and then returns.
struct Recorder {
    machine: StateMachine,
    index: u64,
    picker: Picker,
    keyspace: Keyspace,
    keys: Vec<Key>,
    seen: Vec<Option<Arc<Observation>>>,
    history: History,
}

impl Recorder {
    fn new() -> Self {
        let keys = (0..KEYS).map(|i| Key::new(&format!("user:{i:010}")).expect("a key"));
        Self {
            machine: StateMachine::new(1),
            index: 0,
            picker: Picker::new(),
            keyspace: Keyspace::new("bench").expect("a name"),
            keys: keys.collect(),
            seen: vec![None; KEYS],
            history: History::default(),
        }
    }

    fn record(mut self, calls: usize, lists: usize) -> History {
        self.history.calls.reserve_exact(calls);
        let mut running: Vec<Option<usize>> = vec![None; CLIENTS];
        let mut clock = 0;
        while self.history.calls.len() < calls {
            clock += 1;
            let client = self.picker.below(CLIENTS);
            match running[client].take() {
                Some(position) => self.history.calls[position].returned_at = Some(clock),
                None => {
                    running[client] = Some(self.history.calls.len());
                    self.call(client as u32, clock, lists);
                }
            }
        }
        for position in running.into_iter().flatten() {
            self.history.calls[position].returned_at = Some(clock + 1);
        }
        self.history
    }

    fn call(&mut self, client: u32, called_at: u64, lists: usize) {
        let number = self.picker.below(KEYS);
        let (request, outcome) = if self.picker.below(100) < lists {
            self.list(number)
        } else if self.picker.below(10) < 6 {
            self.get(number)
        } else {
            self.put(number)
        };
        let id = self.history.calls.len() as u64;
        let command = CommandId { session: (1, client.into()), seq: id };
        self.history.calls.push(Call {
            id,
            client,
            node: client % 3,
            keyspace: self.keyspace.clone(),
            command: request.is_command().then(|| Box::new(command)),
            request,
            called_at,
            returned_at: None,
            outcome,
            label: Some(Label { index: self.index, log_time: self.machine.log_time(), epoch: 1 }),
        });
    }

    fn get(&mut self, number: usize) -> (Request, Outcome) {
        let key = self.keys[number].clone();
        let found = self.machine.get(KeyRef::new(&self.keyspace, &key), UnixMillis(0));
        let outcome = match found {
            Some(_) => Outcome::Ok(Answer::Entry(self.seen[number].clone().expect("it was put"))),
            None => refused(ErrorKind::NotFound, None),
        };
        (Request::Get(key), outcome)
    }

    fn list(&mut self, number: usize) -> (Request, Outcome) {
        let query = ListQuery::new().after(self.keys[number].as_str()).limit(PAGE);
        let page = self.machine.list(self.keyspace.as_str(), &query, UnixMillis(0));
        let number_of = |key: &QualifiedKey| key.key()["user:".len()..].parse::<usize>();
        let item = |(key, record): &(QualifiedKey, Arc<Record>)| Entry {
            key: self.keys[number_of(key).expect("as it was made")].clone(),
            value: record.value.decode(),
            version: record.version,
            expires_at: record.deadline,
        };
        let cursor = page.items.last().map_or(String::new(), |(key, _)| key.key().to_owned());
        let items = page.items.iter().map(item).collect();
        let page = Page { items, cursor, has_more: page.has_more };
        (Request::list(query), Outcome::Ok(Answer::page(page)))
    }

    fn put(&mut self, number: usize) -> (Request, Outcome) {
        self.index += 1;
        let key = self.keys[number].clone();
        let value = Arc::new(Value::from(self.history.calls.len()));
        let condition = match (&self.seen[number], self.picker.below(3)) {
            (Some(seen), 0) => Condition::Version(seen.version),
            (_, 1) => Condition::Absent,
            _ => Condition::None,
        };
        let write = Write::Put {
            key: QualifiedKey::new(&self.keyspace, &key),
            value: Encoded::new(&value).expect("a small value"),
            ttl: None,
            condition,
        };
        let command = Command::new(Action::Write { write, make_room: false });
        let outcome = self.machine.apply(self.index, UnixMillis(self.index), &command);
        let outcome = match outcome.reply {
            Reply::Written(Written::Put { version, deadline }) => {
                let observation =
                    Observation { value: Arc::clone(&value), version, expires_at: deadline };
                let observation = Arc::new(observation);
                self.seen[number] = Some(Arc::clone(&observation));
                Outcome::Ok(Answer::Entry(observation))
            }
            Reply::Refused(refusal) => match refusal.reason {
                Reason::Exists(version) => refused(ErrorKind::AlreadyExists, Some(version)),
                Reason::OtherVersion(version) => refused(ErrorKind::Conflict, Some(version)),
                other => unreachable!("not refused like this: {other:?}"),
            },
            other => unreachable!("not answered like this: {other:?}"),
        };
        (Request::put(key, value, PutOptions { ttl: None, condition }), outcome)
    }
}

fn refused(kind: ErrorKind, current: Option<Version>) -> Outcome {
    Outcome::failed(Refusal { kind, current, index: None })
}
