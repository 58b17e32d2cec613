//! Clients that are elsewhere: the shipped client, each in a process of its own.
//!
//! What they ask is drawn by the clients of the other simulator, who also write down what they are told.
//! A caller sends it through its [`Client`] and its [`Session`]: over the network, to whichever of the
//! hosts it is connected to, with as many calls at once as come together. A write whose outcome is
//! unknown is resolved until it is known. A watch follows beside, and is now and then begun again after
//! what it has seen.

use std::sync::Arc;
use std::time::Duration;

use madsim::runtime::Handle;
use madsim::time::sleep;
use plimsoll::check::history::{Label, Outcome, Request};
use plimsoll::entry::Version;
use plimsoll::error::{Error, ErrorKind, Outcome as Known};
use plimsoll::kv::{Action, QualifiedKey, Reply, SessionId, SessionStamp};
use plimsoll::node::{
    Access, Client, ClientOptions, ClientProbe, ClientWatch, LatestPlace, Place, Session,
};
use plimsoll::recorder::answers;

use super::hosts::secret;
use super::stage::{Shared, spawn_at};
use super::wires::{FIRST_CALLER, clients_address, ip_of};
use crate::client::outside::{Operation, Watched};
use crate::invariants::{Promise, Violation};
use crate::rng::Rng;

/// One client.
struct Caller {
    shared: Shared,
    index: u8,
    client: Client,
    session: Session,
    /// Nobody waits between an answer and who takes this.
    latest: Arc<LatestPlace>,
    burst_max: u64,
    period_ms: u64,
    patience_ms: u64,
    /// Of what is random in it.
    seed: u64,
}

/// The client of somebody at a place, who knows all hosts and begins with one of them.
pub(super) fn client_at(place: u8, hosts: u8, probe: Option<Arc<dyn ClientProbe>>) -> Client {
    let addresses = (0..hosts).map(|n| clients_address((place + n) % hosts).to_string()).collect();
    let options = ClientOptions { addresses, secret: secret(), name: format!("client {place}") };
    match probe {
        Some(probe) => Client::with_probe(options, probe),
        None => Client::new(options),
    }
}

impl Shared {
    /// Lets some of the clients call from elsewhere, from now on.
    pub fn let_out(&self, clients: &[u8]) {
        let mut stage = self.lock();
        let mut watches = stage.clients.let_out(clients);
        let hosts = u8::try_from(stage.hosts.len()).expect("few hosts");
        for index in clients {
            let place = FIRST_CALLER + index;
            let handle = Handle::current();
            let node = handle.create_node().name(format!("c{index}")).ip(ip_of(place)).build();
            let process = node.id();
            stage.callers.push((place, process));
            let latest = Arc::<LatestPlace>::default();
            let client = client_at(place, hosts, Some(Arc::clone(&latest) as Arc<dyn ClientProbe>));
            let caller = Arc::new(Caller {
                shared: self.clone(),
                index: *index,
                session: Session::new(Access::Client(client.clone())),
                client,
                latest,
                burst_max: stage.plan.burst_max,
                period_ms: stage.plan.burst_period_ms,
                patience_ms: stage.plan.patience_ms,
                seed: stage.plan.natural ^ CALLERS ^ u64::from(*index),
            });
            for watched in watches.extract_if(.., |watched| watched.client == *index) {
                spawn_at(process, Arc::clone(&caller).watch(watched));
            }
            spawn_at(process, caller.live());
        }
    }
}

impl Caller {
    /// Makes one burst of calls after the other.
    async fn live(self: Arc<Self>) {
        let mut rng = Rng::of(self.seed, 0);
        sleep(Duration::from_millis(FIRST_BURST_MS + u64::from(self.index) * 37)).await;
        while !self.shared.lock().is_healed {
            for _ in 0..rng.between(1, self.burst_max) {
                tokio::spawn(Arc::clone(&self).call());
            }
            let wait_ms = rng.between(self.period_ms / 2, self.period_ms * 3 / 2);
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    /// Makes one call, from its beginning to its known end.
    async fn call(self: Arc<Self>) {
        let operation = {
            let mut stage = self.shared.lock();
            let stage = &mut *stage;
            let (plan, choices) = (&stage.plan, &mut stage.choices);
            let operation = stage.clients.begin_outside(self.index, plan, choices);
            let (call, request) = (operation.call(), &operation.request);
            stage.record.note(None, format_args!("client {} calls {call}: {request}", self.index));
            operation
        };
        match operation.action.clone() {
            None => self.read(&operation).await,
            Some(action) => self.write(operation, action).await,
        }
    }

    async fn read(&self, operation: &Operation) {
        let (keyspace, patience) = (&operation.keyspace, self.patience(operation));
        let qualified = |key| QualifiedKey::new(keyspace, key);
        let running = self.expect(format!("read {}", operation.call()), patience);
        let result = match &operation.request {
            Request::Get(key) | Request::Entry(key) => {
                let record = self.client.record(qualified(key), patience).await;
                record.map(|record| answers::found(record.as_ref()))
            }
            Request::Has(key) => {
                let has = self.client.has(qualified(key), patience).await;
                has.map(|has| Outcome::Ok(plimsoll::check::history::Answer::Present(has)))
            }
            Request::List(query) => {
                let page = self.client.page(keyspace, query, patience).await;
                page.map(|page| answers::listed(&page))
            }
            Request::Put(_) | Request::Delete(_) | Request::Transact(_) => {
                unreachable!("a write has an action")
            }
        };
        let place = self.latest.take();
        self.ended(running);
        match result {
            Ok(outcome) => self.end(operation, outcome, place.map(|place| place.label)),
            Err(error) => self.fail(operation, &error),
        }
    }

    async fn write(&self, mut operation: Operation, action: Action) {
        let patience = self.patience(&operation);
        let running = self.expect(format!("write {}", operation.call()), patience);
        let result = self.session.write(action, patience).await;
        let place = self.latest.take();
        self.ended(running);
        match result {
            Ok(reply) => self.written(&mut operation, &reply, place),
            Err(error) if error.outcome() == Some(Known::Unknown) => {
                let name = error.detail("operation").and_then(|name| name.as_str());
                let Some(name) = name else { return self.fail(&operation, &error) };
                self.hold(&mut operation, name);
                self.resolve(operation, name).await;
            }
            Err(error) => self.fail(&operation, &error),
        }
    }

    /// Asks about a write of unknown outcome until it is known.
    async fn resolve(&self, mut operation: Operation, name: &str) {
        let mut rng = Rng::of(self.seed, u64::from(operation.call()));
        let patience = self.patience(&operation);
        loop {
            let most_ms = if self.shared.lock().is_healed { 300 } else { 1_500 };
            sleep(Duration::from_millis(rng.between(50, most_ms))).await;
            let running = self.expect(format!("resolving {}", operation.call()), patience);
            let result = self.session.resolve(name, patience).await;
            let place = self.latest.take();
            self.ended(running);
            match result {
                Ok((_, reply)) => return self.written(&mut operation, &reply, place),
                Err(error) if is_because(&error, "forgotten") => {
                    return self.end(&operation, Outcome::Unknown, None);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return self.fail(&operation, &error),
            }
        }
    }

    /// A write was answered.
    fn written(&self, operation: &mut Operation, reply: &Reply, place: Option<Place>) {
        let outcome = answers::written(&operation.request, reply);
        let told = place.and_then(|place| Some((place.label, place.stamp?)));
        let (Some(outcome), Some((label, stamp))) = (outcome, told) else {
            let what = format!("{} is answered {reply:?}", operation.request);
            return self.shared.lock().fail(SAYS_WHAT_IS.broken(what));
        };
        {
            let mut stage = self.shared.lock();
            stage.clients.stamp_outside(operation, stamp);
            if let Err(violation) = stage.clients.check_place(operation, label) {
                stage.fail(violation);
            }
        }
        self.end(operation, outcome, None);
    }

    /// The outcome of a write is unknown for now; its error names it.
    fn hold(&self, operation: &mut Operation, name: &str) {
        let mut stage = self.shared.lock();
        let call = operation.call();
        stage.record.note(None, format_args!("client {}: {call} is unknown: {name}", self.index));
        let Some(stamp) = stamp_of(name) else {
            return stage.fail(SAYS_WHAT_IS.broken(format!("{name:?} names no operation")));
        };
        stage.clients.stamp_outside(operation, stamp);
        stage.clients.hold_outside(operation);
    }

    /// A call has failed, and changed nothing.
    fn fail(&self, operation: &Operation, error: &Error) {
        let is_known = error.outcome() != Some(Known::Unknown) || operation.action.is_none();
        if !is_known || !is_passing(error) {
            let what = format!("{} is answered {error:?}", operation.request);
            self.shared.lock().fail(SAYS_WHAT_IS.broken(what));
        }
        self.end(operation, answers::failed(error.kind()), None);
    }

    fn end(&self, operation: &Operation, outcome: Outcome, label: Option<Label>) {
        let mut stage = self.shared.lock();
        let (index, call) = (self.index, operation.call());
        let at = label.map(|label| label.index);
        stage.record.note(None, format_args!("client {index}: {call} ends {outcome:?} at {at:?}"));
        stage.clients.end_outside(operation, outcome, label);
    }

    /// Follows changes, whatever becomes of nodes and connections.
    async fn watch(self: Arc<Self>, mut watched: Watched) {
        let (number, mut rng) = (watched.id, Rng::of(self.seed, WATCHES));
        self.shared.lock().watched.insert(number, None);
        sleep(Duration::from_millis(FIRST_BURST_MS + u64::from(self.index) * 53)).await;
        let mut after = None;
        loop {
            let running = self.expect(format!("watch {number}"), WATCH_PATIENCE);
            let prefix = watched.prefix.clone();
            let begun = self.client.watch(&watched.keyspace, prefix, after, WATCH_PATIENCE).await;
            self.ended(running);
            let result = match begun {
                Ok(watch) => {
                    watched.last = watched.last.or(Some(watch.seen()));
                    let looks = rng.between(1, WATCH_LOOKS_MAX);
                    self.follow(watch, &mut watched, number, looks).await
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(seen) => after = Some(seen),
                Err(error) if is_because(&error, "compacted") => {
                    after = None;
                    {
                        let mut stage = self.shared.lock();
                        stage.clients.renew_watch(&mut watched);
                        stage.watched.insert(number, None);
                    }
                    self.note_watch(number, format_args!("begins anew: {error}"));
                }
                // It goes on after what it had seen.
                Err(error) if is_passing(&error) => {
                    after = self.shared.lock().watched.get(&number).copied().flatten();
                }
                Err(error) => {
                    let what = format!("watch {number} after {after:?}: {error:?}");
                    self.shared.lock().fail(SAYS_WHAT_IS.broken(what));
                }
            }
            sleep(WATCH_LOOK).await;
        }
    }

    /// Takes what a watch hands out, looking so often how far it has come. Gives how far that is.
    async fn follow(
        &self,
        mut watch: ClientWatch,
        watched: &mut Watched,
        number: u64,
        looks: u64,
    ) -> Result<Version, Error> {
        let mut looked = 0;
        while looked < looks {
            tokio::select! {
                biased;
                next = watch.next() => {
                    let (epoch, change) = next?;
                    self.note_watch(number, format_args!("is told {}", change.revision));
                    self.shared.lock().clients.deliver_outside(watched, epoch, &change);
                }
                () = sleep(WATCH_LOOK) => looked += 1,
            }
            self.shared.lock().watched.insert(number, Some(watch.seen()));
        }
        Ok(watch.seen())
    }

    fn note_watch(&self, number: u64, what: std::fmt::Arguments<'_>) {
        let mut stage = self.shared.lock();
        stage.record.note(None, format_args!("client {}: watch {number} {what}", self.index));
    }

    fn patience(&self, operation: &Operation) -> Duration {
        let share = 1 + u64::from(operation.call()) % 4;
        Duration::from_millis((self.patience_ms * share / 4).max(500))
    }

    fn expect(&self, what: String, patience: Duration) -> u64 {
        self.shared.lock().expect(format!("client {}: {what}", self.index), patience)
    }

    fn ended(&self, call: u64) {
        self.shared.lock().expect_no_more(call);
    }
}

/// The identity in the name of an operation.
fn stamp_of(name: &str) -> Option<SessionStamp> {
    let mut parts = name.split('-');
    let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
    let index = parts.next()?.parse().ok()?;
    let seq = parts.next()?.parse().ok()?;
    Some(SessionStamp { session: SessionId { epoch, index }, seq, low: 0 })
}

/// Whether an error says that something could not be done now.
fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::RateLimited)
}

fn is_because(error: &Error, reason: &str) -> bool {
    error.detail("reason").and_then(|it| it.as_str()) == Some(reason)
}

/// Answers fit to what was asked.
const SAYS_WHAT_IS: Promise = Promise {
    name: "says what is",
    sentence: "a client is answered what it asked for, or why not: no node, no leader, no time, no room",
};

const CALLERS: u64 = 0x6361_6c6c_6572_7300;
const WATCHES: u64 = 1 << 40;
/// When the first burst comes.
const FIRST_BURST_MS: u64 = 1_500;
/// What a watch waits for its beginning.
const WATCH_PATIENCE: Duration = Duration::from_millis(1_000);
/// How often it is looked how far a watch has come, and how often before it is begun again.
const WATCH_LOOK: Duration = Duration::from_millis(300);
const WATCH_LOOKS_MAX: u64 = 60;

/// For the checks of a run.
pub(super) const WATCHES_CATCH_UP: Promise = Promise {
    name: "watches catch up",
    sentence: "soon after everything was healed, every watch has seen all changes",
};

/// Breaks a promise about watches.
pub(super) fn is_behind(number: u64, seen: Option<Version>, revision: u64) -> Violation {
    WATCHES_CATCH_UP.broken(format!("watch {number} has seen {seen:?} of {revision}"))
}
