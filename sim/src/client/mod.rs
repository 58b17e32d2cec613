//! Clients: they call, wait, give up, ask again, and write down what they were told.
//!
//! Each client makes bursts of operations at the node that it is connected to, or at another one. A
//! write goes out under a client session. If its outcome is unknown (a deadline passed, the node
//! ended) it is held, and asked about again under the same identity, at any node, until it is known:
//! it stays one call of the history. Watches follow beside.
//!
//! At the end the history is checked in three ways that share no code: the order that the machines
//! recorded is replayed and certified, the certificate is verified, and the versions alone are looked
//! at without trusting any index.

mod operation;
#[cfg(madsim)]
pub(crate) mod outside;
pub mod table;
mod watch;

use std::collections::BTreeMap;

use plimsoll::check::history::{Answer, Label, Outcome};
use plimsoll::check::verdict::{self, Verdict};
use plimsoll::check::zones;
use plimsoll::error::{self, ErrorKind};
use plimsoll::kv::{Action, Command, Reply, SessionStamp};
use plimsoll::raft::{self, ClientSession, Failure, Progress, Request, RequestId, Response};
use plimsoll::recorder::{Execution, Recorder, answers};

use crate::choices::Subject;
use crate::coverage::Mark;
use crate::invariants::{LINEARIZABLE, Violation};
use crate::rng::Rng;
use crate::scenario::Plan;
use crate::world::{Context, Summary, Workload};
use operation::{Draw, Drawn, Keys, Known};
use table::{Cell, Ending, Method, Variant};
use watch::Watch;

/// All clients of a run.
#[derive(Debug)]
pub struct Clients {
    keys: Keys,
    clients: Vec<Client>,
    recorder: Recorder,
    /// What is asked and not answered.
    pending: BTreeMap<RequestId, Pending>,
    /// What is to be asked again, by the token that wakes it.
    delayed: BTreeMap<u32, Attempt>,
    tokens: u32,
    watches: Vec<Watch>,
    watch_ids: u64,
    /// Clients that draw and write down here, but call from elsewhere, as bits.
    outside: u64,
    /// How many of their calls are under way.
    outside_pending: usize,
    definite: u64,
    is_healed: bool,
}

#[derive(Debug)]
struct Client {
    session: ClientSession,
    opening: Option<RequestId>,
    /// Writes that wait for a session.
    queued: Vec<Attempt>,
    operations: u32,
    home: u8,
    known: Vec<Known>,
    /// Where the last listing of each keyspace ended, if it had more.
    cursors: [String; 2],
}

/// An operation under way.
#[derive(Clone, Debug)]
struct Attempt {
    client: u8,
    call: u32,
    method: Method,
    variant: Variant,
    keyspace: usize,
    /// Of a write.
    action: Option<Action>,
    stamp: Option<SessionStamp>,
    /// How often it was sent.
    sent: u32,
    /// An earlier attempt may have been applied.
    is_unknown: bool,
}

#[derive(Debug)]
enum What {
    Attempt(Attempt),
    OpenSession(u8),
}

#[derive(Debug)]
struct Pending {
    what: What,
    node: u8,
    give_up_us: u64,
}

impl Clients {
    /// The clients of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let keys = Keys::new(plan.keys);
        let client = |_| Client {
            session: ClientSession::new(),
            opening: None,
            queued: Vec::new(),
            operations: 0,
            home: 0,
            known: vec![Known::default(); keys.len()],
            cursors: [String::new(), String::new()],
        };
        let clients = (0..plan.clients).map(client).collect();
        let watch = |n: u64| {
            let keyspace = keys.keyspaces[(n % 2) as usize].clone();
            let prefix = [&b""[..], b"a", b"ab"][(n % 3) as usize].to_vec();
            Watch::new(n, u8::try_from(n).expect("few watches"), keyspace, prefix)
        };
        Self {
            watches: (0..plan.watches).map(watch).collect(),
            watch_ids: plan.watches,
            keys,
            clients,
            recorder: Recorder::default(),
            pending: BTreeMap::new(),
            delayed: BTreeMap::new(),
            tokens: FIRST_DELAYED,
            outside: 0,
            outside_pending: 0,
            definite: 0,
            is_healed: false,
        }
    }

    /// A client makes a burst of operations.
    fn burst(&mut self, index: u8, context: &mut Context<'_>) {
        self.give_up(context);
        self.tend_watches(index, context);
        if self.is_healed {
            if !self.pending.is_empty() {
                context.wake_at(context.now_us + BURST_AFTER_HEALING_US, u32::from(index));
            }
            return;
        }
        let n = self.clients[usize::from(index)].operations;
        let subject = Subject::Operation { client: index, n };
        let mut rng = context.choices.natural(subject);
        let period_us = context.plan.burst_period_ms * 1_000;
        let wait_us = rng.between(period_us / 2, period_us * 3 / 2);
        context.wake_at(context.now_us + wait_us, u32::from(index));
        for _ in 0..rng.between(1, context.plan.burst_max) {
            self.operate(index, context);
        }
    }

    fn operate(&mut self, index: u8, context: &mut Context<'_>) {
        let client = &mut self.clients[usize::from(index)];
        client.operations += 1;
        let subject = Subject::Operation { client: index, n: client.operations };
        // A schedule that was cut down leaves operations out.
        if context.choices.deviation(subject, |_| None).is_some() {
            return;
        }
        let mut rng = context.choices.natural(subject);
        let drawn = self.draw(index, context.plan, &mut rng);
        let home = self.clients[usize::from(index)].home;
        let node = if rng.chance(700_000) { home } else { any_node(&mut rng, context) };
        let attempt = self.record(index, node, drawn);
        self.attempt(attempt, node, context);
    }

    /// Draws an operation of a client.
    fn draw(&self, index: u8, plan: &Plan, rng: &mut Rng) -> Drawn {
        let client = &self.clients[usize::from(index)];
        let goes_on = rng.chance(500_000);
        let cursor = if goes_on { client.cursors[0].as_str() } else { "" };
        Draw {
            plan,
            keys: &self.keys,
            known: &client.known,
            cursor,
            unique: i64::from(client.operations) * 16 + i64::from(index),
        }
        .operation(rng)
    }

    /// Writes down that an operation is called.
    fn record(&mut self, index: u8, node: u8, drawn: Drawn) -> Attempt {
        let keyspace = &self.keys.keyspaces[drawn.keyspace];
        Attempt {
            client: index,
            call: self.recorder.call(index, node, keyspace, drawn.request),
            method: drawn.method,
            variant: drawn.variant,
            keyspace: drawn.keyspace,
            action: drawn.action,
            stamp: None,
            sent: 0,
            is_unknown: false,
        }
    }

    /// Sends an operation, if need be once a session is open.
    fn attempt(&mut self, mut attempt: Attempt, node: u8, context: &mut Context<'_>) {
        let Some(action) = &attempt.action else {
            return self.ask(What::Attempt(attempt), node, Request::Read, context);
        };
        let client = &mut self.clients[usize::from(attempt.client)];
        let stamp = match attempt.stamp {
            // Given up, or of a session that is gone: unknown for ever.
            Some(stamp) => match client.session.restamp(stamp) {
                Some(stamp) => stamp,
                None => return self.end_unknown(&attempt, context),
            },
            None if client.session.needs_opening() => {
                let index = attempt.client;
                client.queued.push(attempt);
                if client.opening.is_none() {
                    let request = Request::Write(Command::new(Action::OpenSession));
                    self.ask(What::OpenSession(index), node, request, context);
                }
                return;
            }
            None => {
                let Ok(stamp) = client.session.begin() else {
                    let limited = Ending::Failed(ErrorKind::RateLimited);
                    return self.end(
                        &attempt,
                        answers::failed(ErrorKind::RateLimited),
                        limited,
                        context,
                    );
                };
                self.recorder.stamp(attempt.call, stamp);
                stamp
            }
        };
        attempt.stamp = Some(stamp);
        attempt.sent += 1;
        let command = Command { session: Some(stamp), action: action.clone() };
        self.ask(What::Attempt(attempt), node, Request::Write(command), context);
    }

    fn ask(&mut self, what: What, node: u8, request: Request, context: &mut Context<'_>) {
        let patience_ms = match &what {
            What::Attempt(attempt) => {
                let share = 1 + u64::from(attempt.call) % 4;
                (context.plan.patience_ms * share / 4).max(500)
            }
            What::OpenSession(_) => context.plan.patience_ms,
        };
        let id = context.ask(node, request, patience_ms);
        if let What::OpenSession(client) = what {
            self.clients[usize::from(client)].opening = Some(id);
        }
        let give_up_us = context.now_us + (patience_ms + GRACE_MS) * 1_000;
        self.pending.insert(id, Pending { what, node, give_up_us });
    }

    /// What a node does not answer in time is given up: it may be paused, or gone.
    fn give_up(&mut self, context: &mut Context<'_>) {
        let is_over = |pending: &Pending| pending.give_up_us <= context.now_us;
        let over: Vec<_> =
            self.pending.iter().filter(|(_, p)| is_over(p)).map(|(id, _)| *id).collect();
        for id in over {
            context.coverage.mark(Mark::ClientGaveUp);
            self.lose(id, ErrorKind::Timeout, context);
        }
    }

    /// A request has no answer: what it asked for may have been done, or may be done yet.
    fn lose(&mut self, id: RequestId, kind: ErrorKind, context: &mut Context<'_>) {
        let Some(Pending { what, .. }) = self.pending.remove(&id) else { return };
        match what {
            What::OpenSession(client) => self.fail_opening(client, kind, context),
            What::Attempt(attempt) if attempt.action.is_none() => {
                self.end(&attempt, answers::failed(kind), Ending::Failed(kind), context);
            }
            What::Attempt(attempt) => self.hold(attempt, context),
        }
    }

    /// The outcome of a write is unknown: it is asked about again later.
    fn hold(&mut self, mut attempt: Attempt, context: &mut Context<'_>) {
        let stamp = attempt.stamp.expect("a write that was sent has a stamp");
        self.clients[usize::from(attempt.client)].session.hold(stamp);
        if !attempt.is_unknown {
            attempt.is_unknown = true;
            self.recorder.end(attempt.call, Outcome::Unknown, None);
            self.count(&attempt, Ending::Unknown, context);
        }
        if attempt.sent >= ATTEMPTS_MAX {
            return self.end_unknown(&attempt, context);
        }
        self.later(attempt, context);
    }

    /// Asks again after a while.
    fn later(&mut self, attempt: Attempt, context: &mut Context<'_>) {
        let subject = Subject::Operation { client: attempt.client, n: attempt.call + AGAIN };
        let mut rng = context.choices.natural(subject);
        let wait_us = rng.between(50_000, if self.is_healed { 300_000 } else { 1_500_000 });
        self.tokens += 1;
        context.wake_at(context.now_us + wait_us, self.tokens);
        self.delayed.insert(self.tokens, attempt);
    }

    fn again(&mut self, attempt: Attempt, token: u32, context: &mut Context<'_>) {
        let subject = Subject::Operation { client: attempt.client, n: token + AGAIN };
        let mut rng = context.choices.natural(subject);
        // In the end nobody asks a node that was removed: it has nobody to ask.
        let node = if self.is_healed {
            rng.pick(&context.nodes.wanted())
        } else {
            any_node(&mut rng, context)
        };
        if attempt.stamp.is_some() {
            context.coverage.mark(Mark::SentAgain);
        }
        self.attempt(attempt, node, context);
    }

    /// An operation ends for good.
    fn end(
        &mut self,
        attempt: &Attempt,
        outcome: Outcome,
        ending: Ending,
        context: &mut Context<'_>,
    ) {
        self.see(attempt, &outcome);
        self.recorder.end(attempt.call, outcome, None);
        self.definite += 1;
        if attempt.is_unknown {
            let (method, variant, ending) = (Method::Resolve, Variant::Plain, Ending::Done);
            context.coverage.cell(Cell { method, variant, ending });
        }
        self.count(attempt, ending, context);
        if let Some(stamp) = attempt.stamp {
            self.clients[usize::from(attempt.client)].session.finish(stamp);
        }
    }

    /// Nobody will ever know.
    fn end_unknown(&mut self, attempt: &Attempt, context: &mut Context<'_>) {
        self.recorder.end(attempt.call, Outcome::Unknown, None);
        if !attempt.is_unknown {
            self.count(attempt, Ending::Unknown, context);
        }
        if let Some(stamp) = attempt.stamp {
            self.clients[usize::from(attempt.client)].session.finish(stamp);
        }
    }

    fn count(&self, attempt: &Attempt, ending: Ending, context: &mut Context<'_>) {
        let Attempt { method, variant, .. } = *attempt;
        context.coverage.cell(Cell { method, variant, ending });
    }

    /// Remembers the versions that an answer shows.
    fn see(&mut self, attempt: &Attempt, outcome: &Outcome) {
        let client = &mut self.clients[usize::from(attempt.client)];
        let request = &self.recorder.history.calls[attempt.call as usize].request;
        let mut see = |key, version| {
            if let Some(place) = self.keys.place(attempt.keyspace, key) {
                client.known[self.keys.number(place)].see(version);
            }
        };
        use plimsoll::check::history::Request as Asked;
        match (outcome, request) {
            (Outcome::Ok(Answer::Entry(seen)), Asked::Get(key) | Asked::Entry(key)) => {
                see(key, seen.version);
            }
            (Outcome::Ok(Answer::Entry(seen)), Asked::Put(put)) => see(&put.key, seen.version),
            (Outcome::Ok(Answer::Page(page)), _) => {
                page.items.iter().for_each(|item| see(&item.key, item.version));
                let goes_on = page.has_more;
                client.cursors[0] = if goes_on { page.cursor.clone() } else { String::new() };
            }
            (Outcome::Failed(refusal), Asked::Put(put)) => {
                if let Some(version) = refusal.current {
                    see(&put.key, version);
                }
            }
            _ => {}
        }
    }

    fn answered(
        &mut self,
        attempt: Attempt,
        node: u8,
        answer: &raft::Answer,
        context: &mut Context<'_>,
    ) {
        match answer {
            raft::Answer::Read { index } => {
                let machine = context.machine(node).expect("it has just answered");
                let keyspace = &self.keys.keyspaces[attempt.keyspace];
                let call = &mut self.recorder.history.calls[attempt.call as usize];
                call.label = Some(answers::label(machine, *index));
                let outcome = answers::read(machine, keyspace, &call.request);
                if !context.nodes.leads(node) {
                    context.coverage.mark(Mark::FollowerRead);
                }
                let ending = ending_of(&outcome);
                self.end(&attempt, outcome, ending, context);
            }
            raft::Answer::Applied { index, reply, .. } => {
                self.applied(attempt, *index, reply, context);
            }
            raft::Answer::Changed { .. } | raft::Answer::TransferStarted => {
                unreachable!("clients change no membership")
            }
        }
    }

    fn applied(
        &mut self,
        mut attempt: Attempt,
        index: u64,
        reply: &Reply,
        context: &mut Context<'_>,
    ) {
        let call = &self.recorder.history.calls[attempt.call as usize];
        let Some(outcome) = answers::written(&call.request, reply) else {
            return self.expired(attempt, context);
        };
        if attempt.is_unknown {
            let had_been = call.label.is_some_and(|label| label.index < index);
            let mark = if had_been { Mark::ResolvedApplied } else { Mark::ResolvedNow };
            context.coverage.mark(mark);
        }
        let ending = ending_of(&outcome);
        attempt.sent += 1;
        self.end(&attempt, outcome, ending, context);
    }

    /// The cluster does not know the session. A write that was never sent before goes out under a new
    /// one; the outcome of any other stays unknown.
    fn expired(&mut self, mut attempt: Attempt, context: &mut Context<'_>) {
        context.coverage.mark(Mark::SessionExpired);
        let client = &mut self.clients[usize::from(attempt.client)];
        if client.session.id() == attempt.stamp.map(|stamp| stamp.session) {
            client.session.expired();
        }
        if attempt.sent > 1 || attempt.is_unknown {
            return self.end_unknown(&attempt, context);
        }
        (attempt.stamp, attempt.sent) = (None, 0);
        self.later(attempt, context);
    }

    fn failed(&mut self, attempt: Attempt, failure: &Failure, context: &mut Context<'_>) {
        let kind = failure.to_error().kind();
        let is_write = attempt.action.is_some();
        if is_write && (failure.outcome == error::Outcome::Unknown || attempt.is_unknown) {
            return self.hold(attempt, context);
        }
        // Without effect: some clients try again, under the same identity.
        if is_write && attempt.sent < 2 && attempt.call.is_multiple_of(2) && !self.is_healed {
            return self.later(attempt, context);
        }
        self.end(&attempt, answers::failed(kind), Ending::Failed(kind), context);
    }

    fn opened(&mut self, index: u8, node: u8, answer: &raft::Answer, context: &mut Context<'_>) {
        let raft::Answer::Applied { reply: Reply::SessionOpened(id), .. } = answer else {
            unreachable!("{answer:?} is no answer to the opening of a session")
        };
        let client = &mut self.clients[usize::from(index)];
        client.session.opened(*id);
        client.opening = None;
        count_opening(Ending::Done, context);
        for attempt in std::mem::take(&mut client.queued) {
            self.attempt(attempt, node, context);
        }
    }

    fn fail_opening(&mut self, index: u8, kind: ErrorKind, context: &mut Context<'_>) {
        let client = &mut self.clients[usize::from(index)];
        client.opening = None;
        count_opening(Ending::Failed(kind), context);
        for attempt in std::mem::take(&mut client.queued) {
            self.end(&attempt, answers::failed(kind), Ending::Failed(kind), context);
        }
    }

    /// Watches that ended begin again, and now and then one is moved.
    fn tend_watches(&mut self, client: u8, context: &mut Context<'_>) {
        let Some(watch) = self.watches.get_mut(usize::from(client)) else { return };
        let n = self.clients[usize::from(client)].operations;
        let subject = Subject::Operation { client, n: n + AGAIN / 2 };
        let mut rng = context.choices.natural(subject);
        if rng.chance(20_000) {
            watch.end();
        }
        if watch.is_ended() && !self.is_healed {
            let node = any_node(&mut rng, context);
            watch.begin(node, WATCH_PATIENCE_MS, context);
        }
    }

    /// Judges the history. Answers whether it says anything: that of a cluster which never came to
    /// serve does not.
    fn check(&self) -> Result<bool, Violation> {
        let history = &self.recorder.history;
        match verdict::judge(history) {
            Verdict::Linearizable(_) => {}
            Verdict::Violated(violation) | Verdict::Undecided(violation) => {
                return Err(LINEARIZABLE.broken(violation.to_string()));
            }
            Verdict::Empty if history.calls.is_empty() => {
                return Err(LINEARIZABLE.broken("nothing was recorded"));
            }
            Verdict::Empty => return Ok(false),
        }
        let checked = zones::check(history);
        checked.map(|()| true).map_err(|violation| LINEARIZABLE.broken(violation.to_string()))
    }
}

impl Workload for Clients {
    fn start(&mut self, context: &mut Context<'_>) {
        let nodes = context.plan.nodes;
        for (index, client) in (0_u8..).zip(&mut self.clients) {
            client.home = (u64::from(index) % nodes) as u8;
            let at_us = FIRST_BURST_US + u64::from(index) * 37_000;
            if self.outside & (1 << index) == 0 {
                context.wake_at(at_us, u32::from(index));
            }
        }
    }

    fn wake(&mut self, token: u32, context: &mut Context<'_>) {
        if token < FIRST_DELAYED {
            return self.burst(u8::try_from(token).expect("few clients"), context);
        }
        if let Some(attempt) = self.delayed.remove(&token) {
            self.again(attempt, token, context);
        }
    }

    fn respond(&mut self, node: u8, response: Response, context: &mut Context<'_>) {
        if let Some(watch) = self.watches.iter_mut().find(|w| w.waits_for(response.request)) {
            watch.begun(&response, &mut self.recorder, &mut self.watch_ids, context);
            return;
        }
        // What was given up is answered to nobody.
        let Some(Pending { what, .. }) = self.pending.remove(&response.request) else { return };
        match (what, &response.result) {
            (What::Attempt(attempt), Ok(answer)) => self.answered(attempt, node, answer, context),
            (What::Attempt(attempt), Err(failure)) => self.failed(attempt, failure, context),
            (What::OpenSession(client), Ok(answer)) => self.opened(client, node, answer, context),
            (What::OpenSession(client), Err(failure)) => {
                self.fail_opening(client, failure.to_error().kind(), context);
            }
        }
    }

    fn refuse(&mut self, _node: u8, request: RequestId, context: &mut Context<'_>) {
        if let Some(watch) = self.watches.iter_mut().find(|watch| watch.waits_for(request)) {
            return watch.count_refusal(context.coverage);
        }
        let Some(Pending { what, .. }) = self.pending.remove(&request) else { return };
        let kind = ErrorKind::Unavailable;
        match what {
            What::OpenSession(client) => {
                self.move_on(client, context);
                self.fail_opening(client, kind, context);
            }
            What::Attempt(attempt) => {
                self.move_on(attempt.client, context);
                let reason = raft::FailureReason::Stopped;
                self.failed(attempt, &Failure::without_effect(reason), context);
            }
        }
    }

    fn progress(&mut self, node: u8, progress: &Progress, is_new: bool, context: &mut Context<'_>) {
        let Progress::Applied(applied) = progress else {
            let here = self.watches.iter_mut().filter(|watch| watch.node == node);
            here.for_each(Watch::end);
            return;
        };
        let epoch = context.machine(node).map_or(0, plimsoll::kv::StateMachine::epoch);
        if is_new {
            if self.recorder.applied(applied, epoch) == Execution::Repeat {
                context.coverage.mark(Mark::RepeatAnswered);
            }
            let expires =
                |event: &plimsoll::kv::KeyEvent| event.kind == plimsoll::entry::EventKind::Expire;
            let change = applied.outcome.change.as_ref();
            if applied.command.action != Action::Advance
                && change.is_some_and(|change| change.events.iter().any(expires))
            {
                context.coverage.mark(Mark::ExpiredInWrite);
            }
        }
        if let Some(change) = &applied.outcome.change {
            for watch in self.watches.iter_mut().filter(|watch| watch.node == node) {
                watch.follow(change, epoch, &mut self.recorder);
            }
        }
    }

    fn end_node(&mut self, node: u8, context: &mut Context<'_>) {
        self.watches.iter_mut().filter(|watch| watch.node == node).for_each(Watch::end);
        let broken: Vec<_> =
            self.pending.iter().filter(|(_, p)| p.node == node).map(|(id, _)| *id).collect();
        for id in broken {
            context.coverage.mark(Mark::ConnectionBroken);
            self.lose(id, ErrorKind::Unavailable, context);
        }
    }

    fn heal(&mut self, context: &mut Context<'_>) {
        self.is_healed = true;
        let outside = self.outside;
        let is_here = |client: &u32| outside & (1 << client) == 0;
        let clients = 0..u32::try_from(self.clients.len()).expect("few clients");
        for client in clients.filter(is_here) {
            context.wake_at(context.now_us + BURST_AFTER_HEALING_US, client);
        }
    }

    fn pending(&self) -> usize {
        let queued: usize = self.clients.iter().map(|client| client.queued.len()).sum();
        self.pending.len() + self.delayed.len() + queued + self.outside_pending
    }

    fn recover(&mut self, applied: &[raft::Applied], label: Label, context: &mut Context<'_>) {
        let old_epoch = self.recorder.epoch();
        for applied in applied {
            if self.recorder.applied(applied, old_epoch) == Execution::Repeat {
                context.coverage.mark(Mark::RepeatAnswered);
            }
        }
        self.recorder.restored(label);
    }

    fn finish(&mut self) -> Result<Summary, Violation> {
        let says_something = self.check()?;
        let operations = self.recorder.history.calls.len() as u64;
        let definite = if says_something { self.definite } else { 0 };
        Ok(Summary { operations, definite })
    }
}

impl Clients {
    /// A client whose node is gone connects to another one.
    fn move_on(&mut self, client: u8, context: &mut Context<'_>) {
        let subject = Subject::Operation { client, n: self.tokens };
        let mut rng = context.choices.natural(subject);
        self.clients[usize::from(client)].home = any_node(&mut rng, context);
    }
}

fn any_node(rng: &mut Rng, context: &Context<'_>) -> u8 {
    rng.pick(&context.nodes.known())
}

fn ending_of(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Ok(_) => Ending::Done,
        Outcome::Failed(refusal) => Ending::Failed(refusal.kind),
        Outcome::Unknown => Ending::Unknown,
    }
}

fn count_opening(ending: Ending, context: &mut Context<'_>) {
    let (method, variant) = (Method::OpenSession, Variant::Plain);
    context.coverage.cell(Cell { method, variant, ending });
}

/// Tokens from here on wake what is asked again; those below are clients.
const FIRST_DELAYED: u32 = 1_000;
/// Numbers of subjects for what is asked again.
const AGAIN: u32 = 1 << 30;
/// What a client waits beyond the deadline that it gave its node.
const GRACE_MS: u64 = 500;
/// What a watch waits for its beginning.
const WATCH_PATIENCE_MS: u64 = 500;
/// When the first burst comes.
const FIRST_BURST_US: u64 = 1_500_000;
const BURST_AFTER_HEALING_US: u64 = 300_000;
/// After so many attempts nobody asks any more.
const ATTEMPTS_MAX: u32 = 200;
