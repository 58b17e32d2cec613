//! Generated histories: clients at a store that does what the specification says, every call at one
//! instant between its call and its return. They are right by construction, labels included.
#![allow(dead_code)]

use std::sync::Arc;

use plimsoll::check::history::{
    Answer, Call, CommandId, Delivery, History, Label, Observation, Outcome, Request, Upkeep, Work,
};
use plimsoll::check::spec::{Name, Profile, Refusal, Spec};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{
    Change, Condition, Entry, Event, Key, ListQuery, Operation, OperationResult, PutOptions, Ttl,
    Version,
};
use plimsoll::error::ErrorKind;
use plimsoll::keyspace::Keyspace;

/// A generator of numbers: xorshift, seeded.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            dice.below(1);
        }
        dice
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit.max(1) as u64) as usize
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What histories look like; percentages where not said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many calls.
    pub calls: usize,
    /// How many clients.
    pub clients: usize,
    /// How many keys.
    pub keys: usize,
    pub lists: usize,
    pub transactions: usize,
    /// Of the puts.
    pub ttl: usize,
    /// Calls whose client learns no outcome.
    pub unknown: usize,
    /// How many watches.
    pub watches: usize,
    /// Steps at which the machine expires entries.
    pub advances: usize,
    /// Whether epochs change.
    pub restores: bool,
}

impl Shape {
    pub const TINY: Self = Self {
        calls: 6,
        clients: 3,
        keys: 2,
        lists: 10,
        transactions: 10,
        ttl: 0,
        unknown: 8,
        watches: 0,
        advances: 0,
        restores: false,
    };

    pub const FULL: Self = Self {
        calls: 120,
        clients: 5,
        keys: 6,
        lists: 10,
        transactions: 10,
        ttl: 25,
        unknown: 10,
        watches: 2,
        advances: 5,
        restores: true,
    };
}

/// A history of a shape.
pub fn generate(shape: Shape, seed: u64) -> History {
    Generator::new(shape, seed).run()
}

struct Generator {
    shape: Shape,
    dice: Dice,
    spec: Spec,
    index: u64,
    clock: u64,
    log_clock: u64,
    clients: Vec<Client>,
    /// Commands whose clients have gone.
    adrift: Vec<usize>,
    watches: Vec<Watch>,
    history: History,
}

#[derive(Clone, Default)]
struct Client {
    /// The position of the running call, and whether it has happened.
    running: Option<(usize, bool)>,
    seq: u64,
    seen: Vec<Version>,
}

struct Watch {
    keyspace: Keyspace,
    prefix: &'static str,
    after: Option<Version>,
    /// What was made and not handed out yet.
    waiting: Vec<Change>,
}

pub fn keyspace(index: usize) -> Keyspace {
    Keyspace::new(["apps", "jobs"][index]).unwrap()
}

pub fn key(index: usize) -> Key {
    Key::new(&format!("{}{}", ["a/", "b/"][index % 2], index / 2)).unwrap()
}

impl Generator {
    fn new(shape: Shape, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let epoch = 1 + dice.below(1_000) as u64;
        let watch = |number: usize| Watch {
            keyspace: keyspace(0),
            prefix: ["", "a/"][number % 2],
            after: [None, Some(Version::Numbered { epoch, revision: 0 })][number / 2 % 2],
            waiting: Vec::new(),
        };
        Self {
            shape,
            dice,
            spec: Spec::new(Profile::MACHINE, epoch),
            index: 0,
            clock: 0,
            log_clock: 1_000,
            clients: vec![Client::default(); shape.clients],
            adrift: Vec::new(),
            watches: (0..shape.watches).map(watch).collect(),
            history: History::default(),
        }
    }

    fn run(mut self) -> History {
        loop {
            self.clock += self.dice.below(3) as u64;
            self.log_clock += self.dice.below(4) as u64;
            let client = self.dice.below(self.clients.len());
            match self.clients[client].running {
                None if self.history.calls.len() < self.shape.calls => self.call(client),
                None if self.clients.iter().all(|client| client.running.is_none()) => break,
                None => {}
                Some((call, false)) if self.dice.percent(self.shape.unknown) => {
                    self.give_up(client, call);
                }
                Some((call, false)) => {
                    self.happen(call);
                    self.clients[client].running = Some((call, true));
                }
                Some((call, true)) => self.finish(client, call),
            }
            self.drift();
            self.upkeep();
            self.watch();
        }
        self.history
    }

    fn call(&mut self, client: usize) {
        let request = self.request(client);
        let Client { seq, .. } = &mut self.clients[client];
        *seq += u64::from(request.is_command());
        let id = CommandId { session: (self.spec.epoch(), client as u64), seq: *seq };
        let position = self.history.calls.len();
        self.history.calls.push(Call {
            id: position as u64,
            client: client as u32,
            node: self.dice.below(3) as u32,
            keyspace: keyspace(usize::from(self.dice.percent(10))),
            command: request.is_command().then(|| Box::new(id)),
            request,
            called_at: self.clock,
            returned_at: None,
            outcome: Outcome::Unknown,
            label: None,
        });
        self.clients[client].running = Some((position, false));
    }

    fn request(&mut self, client: usize) -> Request {
        let key = self.key();
        let choice = self.dice.below(100);
        let Shape { lists, transactions, .. } = self.shape;
        if choice < lists {
            let prefix = ["", "", "a/", "b/"][self.dice.below(4)];
            let after = ["", "", "a/0", "a/5"][self.dice.below(4)];
            let query = ListQuery::new().prefix(prefix).after(after);
            return Request::list(query.limit([0, 0, 1, 2][self.dice.below(4)]));
        }
        if choice < lists + transactions {
            let mut operations: Vec<Operation> = Vec::new();
            for _ in 0..1 + self.dice.below(3) {
                let operation = self.operation(client);
                if operations.iter().all(|other| other.key() != operation.key()) {
                    operations.push(operation);
                }
            }
            return Request::transact(operations);
        }
        match self.dice.below(10) {
            0..3 => Request::Get(key),
            3 => Request::Entry(key),
            4 => Request::Has(key),
            5 => {
                let version = self.dice.percent(50).then(|| self.version(client));
                Request::delete(key, version)
            }
            _ => {
                let Operation::Put { key, value, options } = self.put(client) else {
                    unreachable!("it is a put");
                };
                Request::put(key, value, options)
            }
        }
    }

    fn operation(&mut self, client: usize) -> Operation {
        match self.dice.below(6) {
            0 => {
                let if_version = self.dice.percent(50).then(|| self.version(client));
                Operation::Delete { key: self.key(), if_version }
            }
            1 => {
                let version = Condition::Version(self.version(client));
                let condition = if self.dice.percent(50) { Condition::Absent } else { version };
                Operation::Check { key: self.key(), condition }
            }
            _ => self.put(client),
        }
    }

    fn put(&mut self, client: usize) -> Operation {
        let ttl = 1 + self.dice.below(20) as u64;
        let ttl = if self.dice.percent(self.shape.ttl) { ttl } else { 0 };
        let condition = match self.dice.below(5) {
            0 => Condition::Absent,
            1 | 2 => Condition::Version(self.version(client)),
            _ => Condition::None,
        };
        let options = PutOptions { ttl: Ttl::from_ms(ttl).unwrap(), condition };
        Operation::Put { key: self.key(), value: self.dice.below(6).into(), options }
    }

    fn key(&mut self) -> Key {
        key(self.dice.below(self.shape.keys))
    }

    /// A version that the client has seen lately, or one of somebody's.
    fn version(&mut self, client: usize) -> Version {
        let seen = &self.clients[client].seen;
        match seen.last() {
            Some(version) if self.dice.percent(80) => *version,
            _ => {
                let back = self.dice.below(3) as u64;
                let revision = self.spec.revision().saturating_sub(back);
                Version::Numbered { epoch: self.spec.epoch(), revision }
            }
        }
    }

    /// The client learns nothing; a command may still happen.
    fn give_up(&mut self, client: usize, call: usize) {
        self.clients[client].running = None;
        let given_up = &mut self.history.calls[call];
        given_up.returned_at = self.dice.percent(50).then_some(self.clock);
        if given_up.request.is_command() {
            self.adrift.push(call);
        }
    }

    fn finish(&mut self, client: usize, call: usize) {
        self.clients[client].running = None;
        let call = &mut self.history.calls[call];
        call.returned_at = Some(self.clock);
        if self.dice.percent(self.shape.unknown / 2) {
            call.outcome = Outcome::Unknown;
        }
        let seen = match &call.outcome {
            Outcome::Ok(Answer::Entry(observation)) => Some(observation.version),
            Outcome::Failed(refusal) => refusal.current,
            _ => None,
        };
        self.clients[client].seen.extend(seen);
    }

    /// The call happens now.
    fn happen(&mut self, position: usize) {
        let call = self.history.calls[position].clone();
        let now = if call.request.is_command() {
            self.index += 1;
            UnixMillis(self.log_clock)
        } else {
            self.spec.time()
        };
        let before = self.spec.revision();
        self.spec.pass(now);
        let outcome = ask(&mut self.spec, &call, now);
        self.tell_watches(before);
        let label = Label { index: self.index, log_time: now, epoch: self.spec.epoch() };
        let call = &mut self.history.calls[position];
        call.label = Some(label);
        call.outcome = outcome;
    }

    /// Commands whose clients have gone happen late or never.
    fn drift(&mut self) {
        if self.adrift.is_empty() || !self.dice.percent(20) {
            return;
        }
        let which = self.dice.below(self.adrift.len());
        let call = self.adrift.swap_remove(which);
        if self.dice.percent(70) {
            self.happen(call);
            self.history.calls[call].outcome = Outcome::Unknown;
        }
    }

    fn upkeep(&mut self) {
        if self.dice.percent(self.shape.advances) {
            self.index += 1;
            let before = self.spec.revision();
            self.spec.advance(UnixMillis(self.log_clock));
            self.tell_watches(before);
            self.note(Work::Advance);
        }
        if self.shape.restores && self.dice.below(400) == 0 {
            self.index += 1;
            self.spec.restore(self.spec.epoch() + 1 + self.dice.below(9) as u64);
            self.spec.pass(UnixMillis(self.log_clock));
            // A watch does not outlive its epoch.
            self.watches.clear();
            self.note(Work::Restore);
        }
    }

    fn note(&mut self, work: Work) {
        let log_time = UnixMillis(self.log_clock);
        let label = Label { index: self.index, log_time, epoch: self.spec.epoch() };
        self.history.upkeep.push(Upkeep { label, work });
    }

    fn tell_watches(&mut self, before: u64) {
        let epoch = self.spec.epoch();
        let version = |revision| Version::Numbered { epoch, revision };
        if self.spec.revision() == before || self.watches.is_empty() {
            return;
        }
        for made in self.spec.changes_after(version(before)).unwrap() {
            for watch in &mut self.watches {
                let events: Vec<Event> = made
                    .events
                    .iter()
                    .filter(|(keyspace, event)| {
                        *keyspace == watch.keyspace && event.key.as_str().starts_with(watch.prefix)
                    })
                    .map(|(_, event)| event.clone())
                    .collect();
                if !events.is_empty() {
                    watch.waiting.push(Change { revision: version(made.number), events });
                }
            }
        }
    }

    fn watch(&mut self) {
        if self.watches.is_empty() || !self.dice.percent(10) {
            return;
        }
        let number = self.dice.below(self.watches.len());
        let watch = &mut self.watches[number];
        if watch.waiting.is_empty() {
            return;
        }
        let change = watch.waiting.remove(0);
        let after = watch.after.replace(change.revision);
        self.history.deliveries.push(Delivery {
            watch: number as u64,
            client: 100 + number as u32,
            node: 0,
            keyspace: watch.keyspace.clone(),
            prefix: watch.prefix.as_bytes().to_vec(),
            after,
            delivered_at: self.clock,
            change,
        });
    }
}

/// What the specification answers to a call at a time.
pub fn ask(spec: &mut Spec, call: &Call, now: UnixMillis) -> Outcome {
    let name = |key: &Key| -> Name { (call.keyspace.clone(), key.clone()) };
    let not_found =
        || Outcome::failed(Refusal { kind: ErrorKind::NotFound, current: None, index: None });
    match &call.request {
        Request::Get(key) | Request::Entry(key) => {
            spec.entry(now, &name(key)).map_or_else(not_found, |entry| Outcome::Ok(observed(entry)))
        }
        Request::Has(key) => Outcome::Ok(Answer::Present(spec.entry(now, &name(key)).is_some())),
        Request::List(query) => Outcome::Ok(Answer::page(spec.list(now, &call.keyspace, query))),
        Request::Put(put) => {
            let options = PutOptions { ttl: put.ttl, condition: put.condition };
            match spec.put(now, &name(&put.key), put.value.as_ref().clone(), options) {
                Ok(entry) => Outcome::Ok(observed(entry)),
                Err(refusal) => Outcome::failed(refusal),
            }
        }
        Request::Delete(delete) => match spec.delete(now, &name(&delete.key), delete.if_version) {
            Ok(was_present) => Outcome::Ok(Answer::Present(was_present)),
            Err(refusal) => Outcome::failed(refusal),
        },
        Request::Transact(operations) => match spec.transact(now, &call.keyspace, operations) {
            Ok(results) => Outcome::Ok(Answer::transacted(results)),
            Err(refusal) => Outcome::failed(refusal),
        },
    }
}

fn observed(Entry { value, version, expires_at, .. }: Entry) -> Answer {
    Answer::entry(Observation { value: Arc::new(value), version, expires_at })
}

/// Every version that occurs in a history.
pub fn versions(history: &History) -> Vec<Version> {
    let mut versions = Vec::new();
    for call in &history.calls {
        match &call.outcome {
            Outcome::Ok(Answer::Entry(observation)) => versions.push(observation.version),
            Outcome::Ok(Answer::Page(page)) => {
                versions.extend(page.items.iter().map(|item| item.version));
            }
            Outcome::Ok(Answer::Transacted(results)) => {
                versions.extend(results.iter().filter_map(|result| match result {
                    OperationResult::Put(entry) => Some(entry.version),
                    _ => None,
                }));
            }
            Outcome::Failed(refusal) => versions.extend(refusal.current),
            _ => {}
        }
    }
    versions
}
