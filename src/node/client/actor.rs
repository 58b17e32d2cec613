//! The task of a client: it owns the connection and all calls that wait for an answer.
//!
//! Invariants:
//! 1. A call is answered once: by a node, at its deadline, or because no node can be asked.
//! 2. What was sent on a connection that broke is sent again on the next one, but for what may be sent
//!    only once: nobody knows what became of that. Streams are given back, whoever reads them knows from
//!    where to go on.
//! 3. It waits for nothing but all of it at once: a connection that stands still delays no deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::{ALIVE_PERIOD, Attempts, CONNECT_TIME, ClientOptions, SILENCE_MAX, WAIT_MAX, WAIT_MIN};
use crate::error::Outcome;
use crate::limits::CLIENT_WATCH_BYTES_MAX;
use crate::mutant::mutant;
use crate::node::protocol::{Ask, ClientFrame, NodeFrame, Tell};
use crate::raft::{Failure, FailureReason};
use crate::transport::{Connection, FrameSender, TransportError, connect};
use crate::value::Value;

/// How many bytes wait in a stream.
pub(super) type Waiting = Arc<AtomicUsize>;

/// What the task is given.
pub(super) enum Call {
    /// Something with one answer.
    One { id: u64, ask: Ask, deadline: Instant, answer: oneshot::Sender<Ended> },
    /// Something with many; the deadline is that of the first.
    Many {
        id: u64,
        ask: Ask,
        deadline: Instant,
        told: mpsc::UnboundedSender<Tell>,
        waiting: Waiting,
    },
    /// Nobody waits for the answer any more.
    Cancel(u64),
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The answer, which is no failure of the engine.
    pub answer: Result<Tell, Failure>,
    /// Whether it was sent more than once.
    pub was_repeated: bool,
}

impl Ended {
    pub const fn without_effect(reason: FailureReason) -> Self {
        Self { answer: Err(Failure::without_effect(reason)), was_repeated: false }
    }

    pub const fn unknown(reason: FailureReason) -> Self {
        let failure = Failure { reason, outcome: Outcome::Unknown };
        Self { answer: Err(failure), was_repeated: false }
    }
}

/// A call that waits for an answer.
struct Pending {
    ask: Ask,
    deadline: Instant,
    /// When it ends without an answer; none of a stream that has begun.
    due: Option<Instant>,
    to: To,
    /// How often it was sent.
    sent: u32,
}

enum To {
    One(oneshot::Sender<Ended>),
    Many(mpsc::UnboundedSender<Tell>, Waiting),
}

/// The task's state.
pub(super) struct Actor {
    options: ClientOptions,
    calls: mpsc::UnboundedReceiver<Call>,
    pending: BTreeMap<u64, Pending>,
    dues: BTreeSet<(Instant, u64)>,
    /// What was not sent on this connection, in order.
    unsent: VecDeque<u64>,
    /// Calls that the node need not answer any more.
    canceled: Vec<u64>,
    /// Which address is next.
    place: usize,
    /// Why no node can be reached, as far as it is known.
    why: String,
    is_connected: bool,
}

/// What is to be thought of the node.
enum Verdict {
    Serves,
    /// It did not do what it was asked for, where another one might.
    Fails,
    /// It is none any more.
    Gone,
}

/// What ended a part of the work.
enum End {
    /// Go on with another connection.
    Connection,
    /// All clients are gone.
    Clients,
}

impl Actor {
    pub fn spawn(options: ClientOptions) -> mpsc::UnboundedSender<Call> {
        let (sender, calls) = mpsc::unbounded_channel();
        let actor = Self {
            options,
            calls,
            pending: BTreeMap::new(),
            dues: BTreeSet::new(),
            unsent: VecDeque::new(),
            canceled: Vec::new(),
            place: 0,
            why: String::new(),
            is_connected: false,
        };
        tokio::spawn(actor.run());
        sender
    }

    async fn run(mut self) {
        let mut wait = WAIT_MIN;
        loop {
            if self.pending.is_empty() {
                let Some(call) = self.calls.recv().await else { return };
                self.take(call);
                continue;
            }
            let connection = match self.connect().await {
                Ok(Some(connection)) => connection,
                Ok(None) => continue,
                Err(End::Clients | End::Connection) => return,
            };
            let began = Instant::now();
            self.is_connected = true;
            if matches!(self.work(connection).await, End::Clients) {
                return;
            }
            self.is_connected = false;
            self.disconnected();
            // Nodes that take a connection and serve nothing are not asked without a pause.
            let was_short = began.elapsed() < TENURE_MIN;
            wait = if was_short { (2 * wait).min(WAIT_MAX) } else { WAIT_MIN };
            if was_short && self.meanwhile(sleep(wait)).await.is_err() {
                return;
            }
        }
    }

    /// Connects to the first address that answers. None once nobody waits for it.
    async fn connect(&mut self) -> Result<Option<Connection>, End> {
        let (options, greeting) = (self.options.clone(), self.options.greeting());
        let count = options.addresses.len();
        if count == 0 {
            self.fail_all("no address of a node was given");
            return Ok(None);
        }
        let mut attempts = Attempts::new();
        while !self.pending.is_empty() {
            let address = &options.addresses[self.place % count];
            let attempt = connect(address, &options.secret, &greeting, CONNECT_TIME);
            let error = match self.meanwhile(attempt).await? {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) => error,
            };
            self.place += 1;
            let wait = attempts.failed(address, error, count);
            self.why = attempts.words();
            match wait {
                Err(why) => self.fail_all(&why),
                Ok(None) => {}
                Ok(Some(wait)) => self.meanwhile(sleep(wait)).await?,
            }
        }
        Ok(None)
    }

    /// Waits for something, takes calls and ends those whose time is over.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Result<T, End> {
        let mut future = pin!(future);
        loop {
            let due = self.next_due();
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                call = self.calls.recv() => match call {
                    Some(call) => self.take(call),
                    None => return Err(End::Clients),
                },
                () = sleep_until(due) => {
                    self.expire();
                }
            }
        }
    }

    /// Works on a connection until it breaks.
    async fn work(&mut self, connection: Connection) -> End {
        let Connection { mut sender, mut receiver, .. } = connection;
        let began = Instant::now();
        let (mut heard, mut alive_at) = (began, began + ALIVE_PERIOD);
        self.unsent = self.pending.keys().copied().collect();
        self.canceled.clear();
        let mut is_leaving = false;
        loop {
            if is_leaving && !self.awaits_what_is_sent_once() {
                return End::Connection;
            }
            if !is_leaving && self.push(&mut sender).is_err() {
                return End::Connection;
            }
            let due = self.next_due();
            let verdict = tokio::select! {
                biased;
                received = receiver.receive() => {
                    heard = Instant::now();
                    match received {
                        Ok(Some(bytes)) => self.receive(bytes),
                        Ok(None) | Err(_) => return End::Connection,
                    }
                }
                flushed = sender.flush(), if sender.buffered() > 0 => match flushed {
                    Ok(()) => Verdict::Serves,
                    Err(_) => return End::Connection,
                },
                call = self.calls.recv() => match call {
                    Some(call) => {
                        self.take(call);
                        Verdict::Serves
                    }
                    None => return End::Clients,
                },
                () = sleep_until(due) => self.expire(),
                () = sleep_until(alive_at) => {
                    alive_at = Instant::now() + ALIVE_PERIOD;
                    if sender.push(&ClientFrame::Alive.encode()).is_err() {
                        return End::Connection;
                    }
                    Verdict::Serves
                }
                () = sleep_until(heard + SILENCE_MAX) => return End::Connection,
            };
            match verdict {
                Verdict::Serves => {}
                // Perhaps the others don't hear it. It is not left so fast that all that waits is sent
                // about when there is no leader anywhere.
                Verdict::Fails if began.elapsed() < TENURE_MIN => {}
                Verdict::Fails => is_leaving = true,
                Verdict::Gone => return End::Connection,
            }
        }
    }

    fn awaits_what_is_sent_once(&self) -> bool {
        self.pending.values().any(|pending| pending.sent > 0 && pending.ask.is_sent_once())
    }

    fn take(&mut self, call: Call) {
        let mut next = Some(call);
        // What has come together leaves together.
        while let Some(call) = next {
            match call {
                Call::One { id, ask, deadline, answer } => {
                    self.begin(id, ask, deadline, To::One(answer));
                }
                Call::Many { id, ask, deadline, told, waiting } => {
                    self.begin(id, ask, deadline, To::Many(told, waiting));
                }
                Call::Cancel(id) => {
                    if self.remove(id).is_some_and(|pending| pending.sent > 0) {
                        self.canceled.push(id);
                    }
                }
            }
            next = self.calls.try_recv().ok();
        }
    }

    fn begin(&mut self, id: u64, ask: Ask, deadline: Instant, to: To) {
        self.dues.insert((deadline, id));
        self.pending.insert(id, Pending { ask, deadline, due: Some(deadline), to, sent: 0 });
        if self.is_connected {
            self.unsent.push_back(id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(due) = pending.due {
            self.dues.remove(&(due, id));
        }
        Some(pending)
    }

    fn set_due(&mut self, id: u64, due: Option<Instant>) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if let Some(due) = std::mem::replace(&mut pending.due, due) {
            self.dues.remove(&(due, id));
        }
        self.dues.extend(due.map(|due| (due, id)));
    }

    /// Gives the connection what is to be sent, not all at once.
    fn push(&mut self, sender: &mut FrameSender) -> Result<(), TransportError> {
        for id in self.canceled.drain(..) {
            sender.push(&ClientFrame::Cancel(id).encode())?;
        }
        while sender.buffered() < BUFFERED_MAX
            && let Some(id) = self.unsent.pop_front()
        {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            let left = pending.deadline.saturating_duration_since(Instant::now());
            let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let frame = ClientFrame::Request { id, timeout_ms, ask: pending.ask.clone() };
            match sender.push(&frame.encode()) {
                Ok(()) => {}
                Err(error @ TransportError::FrameTooLong { .. }) => {
                    let why = FailureReason::Refused(error.to_string());
                    self.fail(id, why);
                    continue;
                }
                Err(error) => return Err(error),
            }
            pending.sent += 1;
            let due = pending.deadline + ANSWER_TIME;
            self.set_due(id, Some(due));
        }
        Ok(())
    }

    /// Takes a frame of the node.
    fn receive(&mut self, bytes: Bytes) -> Verdict {
        match NodeFrame::decode(bytes) {
            Ok(NodeFrame::Alive) => Verdict::Serves,
            Ok(NodeFrame::Answer { id, tell }) => self.answered(id, tell),
            Err(_) => Verdict::Gone,
        }
    }

    fn answered(&mut self, id: u64, tell: Tell) -> Verdict {
        let mut id = id;
        if mutant!("answer is taken for another request") {
            let waits = |other: &Pending| other.sent > 0 && matches!(other.to, To::One(_));
            let first = self.pending.iter().find(|(_, other)| waits(other));
            id = first.map_or(id, |(first, _)| *first);
        }
        let Some(pending) = self.pending.get(&id) else { return Verdict::Serves };
        let failed = match &tell {
            Tell::Failed(failure) => Some(failure.reason.clone()),
            _ => None,
        };
        if failed == Some(FailureReason::Stopped) && !pending.ask.is_sent_once() {
            // As if the connection had broken: it is sent again, elsewhere.
            return Verdict::Gone;
        }
        if tell.goes_on() {
            self.forward(id, tell);
            return Verdict::Serves;
        }
        let was_repeated = pending.sent > 1;
        let is_refusal = self.options.addresses.len() > 1 && is_refusal_of_one_node(&tell);
        match self.remove(id).map(|pending| pending.to) {
            Some(To::One(answer)) => {
                let answered = match tell {
                    Tell::Failed(failure)
                        if was_repeated && !mutant!("second attempt denies the first") =>
                    {
                        // Of the earlier attempts it says nothing.
                        Err(Failure { outcome: Outcome::Unknown, ..failure })
                    }
                    Tell::Failed(failure) => Err(failure),
                    tell => Ok(tell),
                };
                let _ = answer.send(Ended { answer: answered, was_repeated });
            }
            Some(To::Many(told, _)) => {
                let _ = told.send(tell);
            }
            None => {}
        }
        match failed {
            Some(FailureReason::Timeout | FailureReason::NoLeader) => Verdict::Fails,
            _ if is_refusal => Verdict::Fails,
            _ => Verdict::Serves,
        }
    }

    /// Passes on an answer that others follow.
    fn forward(&mut self, id: u64, tell: Tell) {
        self.set_due(id, None);
        let Some(Pending { to: To::Many(told, waiting), .. }) = self.pending.get(&id) else {
            return;
        };
        let weight = tell.weight();
        let before = waiting.fetch_add(weight, Ordering::Relaxed);
        let is_read = told.send(tell).is_ok();
        if !is_read || before + weight > CLIENT_WATCH_BYTES_MAX {
            // It is asked for again once what waits was read.
            self.remove(id);
            self.canceled.push(id);
        }
    }

    /// Ends what is late.
    fn expire(&mut self) -> Verdict {
        let (now, mut verdict) = (Instant::now(), Verdict::Serves);
        if self.is_connected && mutant!("connected client keeps no deadline") {
            while let Some((_, id)) = self.dues.first().copied().filter(|(due, _)| *due <= now) {
                self.set_due(id, None);
            }
        }
        while let Some(&(due, id)) = self.dues.first()
            && due <= now
        {
            let is_sent = self.pending.get(&id).is_some_and(|pending| pending.sent > 0);
            let reason = if is_sent || self.is_connected {
                FailureReason::Timeout
            } else {
                FailureReason::NoNode(self.unreachable())
            };
            self.fail(id, reason);
            if self.is_connected && is_sent {
                self.canceled.push(id);
                verdict = Verdict::Fails;
            }
        }
        verdict
    }

    fn unreachable(&self) -> String {
        let addresses = self.options.addresses.join(", ");
        match self.why.as_str() {
            "" => format!("no connection to {addresses} in time"),
            why => format!("no connection to {addresses} in time: {why}"),
        }
    }

    /// Ends a call without an answer.
    fn fail(&mut self, id: u64, reason: FailureReason) {
        let Some(pending) = self.remove(id) else { return };
        let outcome = if pending.sent > 0 { Outcome::Unknown } else { Outcome::None };
        let failure = Failure { reason, outcome };
        match pending.to {
            To::One(answer) => {
                let was_repeated = pending.sent > 1;
                let _ = answer.send(Ended { answer: Err(failure), was_repeated });
            }
            To::Many(told, _) => {
                let _ = told.send(Tell::Failed(failure));
            }
        }
    }

    fn fail_all(&mut self, why: &str) {
        let ids: Vec<_> = self.pending.keys().copied().collect();
        for id in ids {
            self.fail(id, FailureReason::NoNode(why.to_owned()));
        }
    }

    /// The connection has ended: what waits is to be sent again unless it may be sent only once, and
    /// streams are given back.
    fn disconnected(&mut self) {
        self.place += 1;
        self.unsent.clear();
        self.canceled.clear();
        let ids: Vec<_> = self.pending.keys().copied().collect();
        for id in ids {
            let pending = &self.pending[&id];
            let is_lost = pending.sent > 0 && pending.ask.is_sent_once();
            if is_lost {
                self.fail(id, FailureReason::NoNode(LOST.to_owned()));
                continue;
            }
            let has_begun = matches!(pending.to, To::Many(..)) && pending.due.is_none();
            if has_begun {
                self.remove(id);
            } else {
                let deadline = pending.deadline;
                self.set_due(id, Some(deadline));
            }
        }
    }

    fn next_due(&self) -> Instant {
        let far = || Instant::now() + Duration::from_secs(3_600);
        self.dues.first().map_or_else(far, |(due, _)| *due)
    }
}

/// Whether another node might do what this one refuses to do with its replicas.
fn is_refusal_of_one_node(tell: &Tell) -> bool {
    let Tell::Error(error) = tell else { return false };
    let reason = error.detail("reason").and_then(Value::as_str);
    matches!(reason, Some("clock" | "not_joined" | "removed" | "superseded"))
}

/// Why a write has an unknown outcome whose connection has ended.
const LOST: &str = "the connection ended before the node had answered";
/// Bytes that are given to a connection before some of them were sent.
const BUFFERED_MAX: usize = 1 << 20;
/// How long after a deadline the node's own word about it is waited for.
const ANSWER_TIME: Duration = Duration::from_millis(100);
/// For how long a node is asked at least, though it does not serve.
const TENURE_MIN: Duration = Duration::from_secs(1);
