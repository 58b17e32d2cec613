//! One replica: its state, its clock, what waits to be said, and the exchange that is on.
//!
//! The contract of whoever drives it stands at the head of the module. No decisions about
//! collection here: those are `rule.rs`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::exchange::{self, Exchange, Progress};
use super::journal::{Journal, Kept};
use super::lww::{Entry, LwwMap, Merged};
use super::message::{Answer, Ask, Body, Envelope, ExchangeId, Pushed, Reply};
use super::rule::{Form, Image, MemberList, State};
use super::stamp::{Author, Dot, Incarnation, MemberId, Stamp};
use super::vector::Coverage;
use crate::clock::{Now, UnixMillis};
use crate::entry::Ttl;
use crate::hlc::{ClockRefusal, HybridClock, HybridTime, PeerClocks};
use crate::kv::{KeyRef, QualifiedKey};
use crate::limits::{
    CRDT_CHUNK_BYTES, CRDT_CLOCK_BOUND_MS_DEFAULT, CRDT_QUEUE_KEYS_MAX, CRDT_REFUSED_MAX,
    CRDT_SUPERSEDED_MAX, CRDT_TOMBSTONES_DEFAULT,
};
use crate::mutant::mutant;
use crate::value::Encoded;

/// How a replica behaves; on all members the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// How far clocks may differ.
    pub clock_bound_ms: u64,
    /// Most tombstones; beyond it no new key is written or deleted.
    pub tombstones_max: usize,
    /// Bytes of entries in one message; a larger entry travels alone.
    pub chunk_bytes: usize,
}

/// A start of a replica.
#[derive(Clone, Debug)]
pub struct Start {
    /// Who it is.
    pub member: MemberId,
    /// The number of this start: greater than that of every earlier one of the member.
    pub number: u64,
    /// The listed members: the last list that was given to this member, or a later one.
    pub members: MemberList,
    /// What was reported last with [`Replica::reserve`] before this start, or 0.
    pub reserved: UnixMillis,
    /// Whether what it says has to be durable before: then [`Replica::poll_record`] gives records.
    pub is_durable: bool,
    /// How it behaves.
    pub options: Options,
}

/// A write that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its stamp, which is the entry's version.
    pub stamp: Stamp,
    /// Its name.
    pub dot: Dot,
    /// From when on it is gone.
    pub deadline: Option<UnixMillis>,
    /// Whether this replica showed a value before.
    pub was_shown: bool,
    /// The record that has to be durable before it is acknowledged, if the replica is durable.
    pub record: Option<u64>,
}

/// Why a call was refused. Nothing has changed, and it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This member is not listed any more, and never will be.
    Removed,
    /// This incarnation has not joined.
    NotJoined,
    /// Another start of this member, with this number, is known: this one has ended.
    Superseded(Incarnation),
    /// The clocks are too far apart, or the reservation has run out.
    Clock(ClockRefusal),
    /// There are as many tombstones as may be, and the key has no register.
    Tombstones,
}

/// What a message led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// What to send.
    pub reply: Option<Envelope>,
    /// The sender covers what this replica does not: an exchange with it is worthwhile.
    pub is_behind: bool,
}

/// What there is to know about a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Itself.
    pub author: Author,
    /// The epoch of its list of members.
    pub epoch: u64,
    /// Whether it serves.
    pub has_joined: bool,
    /// Whether it has exchanged with every other listed member in this incarnation.
    pub is_whole: bool,
    /// The members that collection waits for.
    pub blocking: Vec<MemberId>,
    /// Registers, those that show nothing included.
    pub registers: usize,
    /// Registers that show nothing.
    pub tombstones: usize,
    /// Tombstones that were dropped.
    pub dropped: u64,
    /// Registers with one stamp and different values.
    pub faults: u64,
    /// Entries that were refused because they came from too far in the future.
    pub from_future: u64,
    /// How often another replica covered the same and held something else: an alarm.
    pub divergences: u64,
}

/// One replica. A clone is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    options: Options,
    start: u64,
    state: State,
    /// The number of the last own write.
    counter: u64,
    clock: HybridClock,
    peers: PeerClocks,
    journal: Option<Journal>,
    /// The keys whose writes wait to be pushed, with the writes that were not.
    queue: OrdMap<QualifiedKey, Vec<Dot>>,
    exchange: Option<Exchange>,
    exchanges: u64,
    /// Writes from the future, and when they may be asked for.
    refused: OrdMap<Dot, UnixMillis>,
    /// Where collection goes on.
    cursor: Option<QualifiedKey>,
    superseded_by: Option<Incarnation>,
    from_future: u64,
    divergences: u64,
}

impl Replica {
    /// Starts a new incarnation, whose number is that of the start.
    ///
    /// `kept` is what was saved of an earlier moment, if anything was. It counts only if it is of
    /// `last`, the incarnation before this one.
    ///
    /// # Panics
    /// If it is another member's.
    #[must_use]
    pub fn begin(start: Start, kept: Option<Kept>, last: Incarnation) -> Self {
        assert_is_of(&start, kept.as_ref());
        let is_of_last = |kept: &Kept| kept.state.author().incarnation == last;
        let kept = kept.filter(|kept| is_of_last(kept) || mutant!("any snapshot"));
        let time = kept.as_ref().map(|kept| kept.time);
        let counter = kept.as_ref().map_or(0, |kept| kept.counter);
        let me = Author { member: start.member, incarnation: Incarnation(start.number) };
        let (list, bound_ms) = (Arc::new(start.members.clone()), start.options.clock_bound_ms);
        let state = State::restart_anew(me, list, bound_ms, kept.map(|kept| kept.state));
        let counter = if state.author() == me { 0 } else { counter };
        Self::with_state(&start, state, counter, time, 0)
    }

    /// Goes on in the incarnation of what was kept: all that it had said and acknowledged is in it.
    ///
    /// # Panics
    /// If it is another member's.
    #[must_use]
    pub fn resume(start: Start, kept: Kept) -> Self {
        assert_is_of(&start, Some(&kept));
        let Kept { mut state, counter, time, record } = kept;
        state.take_list(Arc::new(start.members.clone()));
        Self::with_state(&start, state, counter, Some(time), record)
    }

    fn with_state(
        start: &Start,
        state: State,
        counter: u64,
        time: Option<HybridTime>,
        record: u64,
    ) -> Self {
        let mut clock = HybridClock::new(start.options.clock_bound_ms, start.reserved);
        clock.resume(time.unwrap_or_default());
        let counter = if mutant!("counter restarts") { 0 } else { counter };
        let time = clock.latest();
        let journal = || Journal::new(&state, counter, time, record);
        Self {
            options: start.options,
            start: start.number,
            journal: start.is_durable.then(journal),
            state,
            counter,
            clock,
            peers: PeerClocks::default(),
            queue: OrdMap::new(),
            exchange: None,
            exchanges: 0,
            refused: OrdMap::new(),
            cursor: None,
            superseded_by: None,
            from_future: 0,
            divergences: 0,
        }
    }

    /// Moves on to a later list of members, which is durable. The list that is there may be given again.
    ///
    /// # Panics
    /// If the list is of an earlier epoch, or another one of the same.
    pub fn set_list(&mut self, list: MemberList, now: Now) {
        let last = Arc::clone(&self.state.list);
        if *last == list {
            return;
        }
        assert!(last.epoch < list.epoch, "a later list has a later epoch");
        self.advance(now);
        let list = Arc::new(list);
        for removed in last.members.difference(&list.members) {
            self.peers.forget(removed.0);
        }
        self.exchange = None;
        self.state.take_list(Arc::clone(&list));
        if let Some(journal) = &mut self.journal {
            journal.take_list(&list);
        }
        if !self.state.is_listed() || self.state.is_alone() {
            self.queue = OrdMap::new();
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If it is refused; nothing has changed then.
    pub fn put(
        &mut self,
        key: &QualifiedKey,
        value: Encoded,
        ttl: Option<Ttl>,
        now: Now,
    ) -> Result<Written, Refusal> {
        self.write(key, now, |stamp, counter, wall| {
            Entry::put(stamp, counter, value, ttl.map(|ttl| wall.after(ttl.as_ms())))
        })
    }

    /// Deletes a key, also one that is not known here.
    ///
    /// # Errors
    /// If it is refused; nothing has changed then.
    pub fn delete(&mut self, key: &QualifiedKey, now: Now) -> Result<Written, Refusal> {
        self.write(key, now, |stamp, counter, _| Entry::delete(stamp, counter))
    }

    fn write(
        &mut self,
        key: &QualifiedKey,
        now: Now,
        entry: impl FnOnce(Stamp, u64, UnixMillis) -> Entry,
    ) -> Result<Written, Refusal> {
        self.serves()?;
        self.advance(now);
        let is_full = self.state.map.tombstones_len() >= self.options.tombstones_max;
        if is_full && self.state.map.entry(key).is_none() {
            return Err(Refusal::Tombstones);
        }
        let median = self.peers.median(now);
        let time = self.clock.now(now.wall, median).map_err(Refusal::Clock)?;
        let stamp = Stamp { time, author: self.state.author() };
        let was_shown = self.state.map.get(key, now.wall).is_some();
        self.counter += 1;
        let entry = Arc::new(entry(stamp, self.counter, self.state.map.now()));
        let merged = self.state.merge_entry(key, &entry);
        assert_eq!(
            merged,
            Merged::Changed,
            "a new stamp is above all that were merged or observed"
        );
        let dot = entry.dot();
        self.queue(key, [dot]);
        let record = self.journal.as_ref().map(Journal::next);
        Ok(Written { stamp, dot, deadline: entry.register.val.deadline, was_shown, record })
    }

    /// What a key shows. A durable replica shows what is durable: what was read once is never gone.
    ///
    /// # Errors
    /// As [`Replica::shows`].
    pub fn get(
        &self,
        key: &QualifiedKey,
        wall: UnixMillis,
    ) -> Result<Option<&Arc<Entry>>, Refusal> {
        self.shows()?;
        Ok(self.spoken().map.get(key, self.latest(wall)))
    }

    /// What is shown from a place on, in the order of keys.
    ///
    /// # Errors
    /// As [`Replica::shows`].
    pub fn range(
        &self,
        start: Bound<KeyRef<'_>>,
        wall: UnixMillis,
    ) -> Result<impl Iterator<Item = (&QualifiedKey, &Arc<Entry>)>, Refusal> {
        self.shows()?;
        Ok(self.spoken().map.range(start, self.latest(wall)))
    }

    /// Whether there is something to read: it serves, and of a durable replica that it has joined is
    /// durable. Without that it would show what it began with, deleted values included.
    ///
    /// # Errors
    /// Why not.
    pub fn shows(&self) -> Result<(), Refusal> {
        self.serves()?;
        if self.spoken().has_joined { Ok(()) } else { Err(Refusal::NotJoined) }
    }

    /// Tells the time: what has expired is a tombstone from now on.
    pub fn handle_tick(&mut self, now: Now) {
        self.advance(now);
        let is_early = |(_, until): &(Dot, UnixMillis)| *until > now.wall;
        self.refused =
            self.refused.iter().map(|(dot, until)| (*dot, *until)).filter(is_early).collect();
        if mutant!("expiry deletes") {
            let expired: Vec<_> = self.state.map.expired().cloned().collect();
            for key in expired {
                _ = self.delete(&key, now);
            }
        }
    }

    /// Takes a message.
    pub fn handle(&mut self, envelope: Envelope, now: Now) -> Handled {
        let Envelope { from, epoch, to, wall, body } = envelope;
        let form = match &body {
            Body::Push(_) => Some(Form::Push),
            Body::Digest(_) => Some(Form::Digest),
            Body::Answer(_) => Some(Form::Sync),
            Body::Ask(_) => None,
        };
        if to != self.state.me || !self.state.hears(from.member, epoch, form) {
            return Handled::default();
        }
        if from.incarnation >= self.state.incarnation_of(from.member) {
            self.peers.report(from.member.0, wall, now);
        }
        self.advance(now);
        match body {
            Body::Push(pushed) => {
                self.handle_push(from, pushed, now);
                Handled::default()
            }
            Body::Digest(image) => self.handle_digest(from, &image),
            Body::Ask(ask) => {
                let mut reply = self.handle_ask(from, ask, now);
                if mutant!("unlisted served") {
                    reply.iter_mut().for_each(|reply| reply.epoch = epoch);
                }
                Handled { reply, is_behind: false }
            }
            Body::Answer(answer) => {
                Handled { reply: self.handle_answer(from, *answer, now), is_behind: false }
            }
        }
    }

    /// Begins an exchange with a member, instead of one that is on. Who is not listed is not answered.
    pub fn ask(&mut self, server: MemberId, now: Now) -> Envelope {
        self.exchanges += 1;
        let id = ExchangeId { start: self.start, number: self.exchanges };
        let mut known = self.state.coverage.clone();
        for dot in self.refused.keys() {
            known.insert(*dot);
        }
        let exchange = self.exchange.insert(Exchange::new(id, server, known));
        let ask = exchange.ask(&self.state);
        self.envelope(server, Body::Ask(ask), now)
    }

    /// The step of the exchange that has not been answered, to be sent again if it was lost.
    #[must_use]
    pub fn ask_again(&self, now: Now) -> Option<Envelope> {
        let exchange = self.exchange.as_ref()?;
        Some(self.envelope(exchange.server, Body::Ask(exchange.ask(&self.state)), now))
    }

    /// The member with which an exchange is on.
    #[must_use]
    pub fn asks(&self) -> Option<MemberId> {
        self.exchange.as_ref().map(|exchange| exchange.server)
    }

    /// The members with which this incarnation has to exchange, each of them: to join, and after that to
    /// be whole. One that had not joined when it was asked is asked again, as it may have by now.
    pub fn unmet(&self) -> impl Iterator<Item = MemberId> {
        self.state.unmet()
    }

    /// The next writes to push, to as many members as the driver likes. None of them is given twice.
    pub fn poll_push(&mut self) -> Option<Vec<Pushed>> {
        let spoken = self.journal.as_ref().map_or(&self.state, Journal::spoken);
        let (mut pushes, mut bytes, mut said) = (Vec::new(), 0, Vec::new());
        for (key, dots) in &self.queue {
            if bytes >= self.options.chunk_bytes {
                break;
            }
            let (ready, held): (Vec<_>, Vec<_>) =
                dots.iter().copied().partition(|dot| spoken.coverage.covers(*dot));
            if ready.is_empty() {
                continue;
            }
            said.push((key.clone(), held));
            if let Some(entry) = spoken.map.entry(key) {
                let is_other = |dot: &Dot| *dot != entry.dot();
                let superseded: Vec<_> = ready.into_iter().filter(is_other).collect();
                bytes += key.as_bytes().len() + entry.size() + superseded.len() * DOT_BYTES;
                pushes.push(Pushed { key: key.clone(), entry: Arc::clone(entry), superseded });
            }
        }
        for (key, held) in said {
            if held.is_empty() {
                self.queue.remove(&key);
            } else {
                self.queue.insert(key, held);
            }
        }
        (!pushes.is_empty()).then_some(pushes)
    }

    /// Pushes for a member.
    #[must_use]
    pub fn push(&self, to: MemberId, pushes: Vec<Pushed>, now: Now) -> Envelope {
        self.envelope(to, Body::Push(pushes), now)
    }

    /// A digest for a member, unless this incarnation has not joined.
    #[must_use]
    pub fn digest(&self, to: MemberId, now: Now) -> Option<Envelope> {
        let spoken = self.spoken();
        let image = Box::new(spoken.image());
        let speaks = spoken.has_joined && spoken.is_listed();
        speaks.then(|| self.envelope(to, Body::Digest(image), now))
    }

    /// Drops tombstones that nobody can need any more. At most `examined_max` are looked at; the next
    /// call goes on where this one ended.
    pub fn collect(&mut self, examined_max: usize, now: Now) {
        self.advance(now);
        self.cursor = self.state.collect(self.cursor.as_ref(), examined_max);
    }

    /// The bound of the clock to make durable next, if the one there is runs out soon.
    #[must_use]
    pub fn wanted_reservation(&self, now: Now) -> Option<UnixMillis> {
        self.clock.wanted_reservation(now.wall, self.peers.median(now))
    }

    /// Takes note of a bound of the clock that is durable.
    pub fn reserve(&mut self, until: UnixMillis) {
        self.clock.reserve(until);
    }

    /// A bound above all times that this member has given: of a replica that has ended and writes no more,
    /// it may be given to the next start in place of what was reported last with [`Replica::reserve`].
    #[must_use]
    pub fn stamped_below(&self) -> UnixMillis {
        self.clock.given_below()
    }

    /// The next record to make durable, with its number; of a durable replica only.
    pub fn poll_record(&mut self) -> Option<(u64, bytes::Bytes)> {
        self.journal.as_mut()?.cut(&self.state, self.counter, self.clock.latest())
    }

    /// All records up to a number are durable.
    pub fn handle_durable(&mut self, number: u64) {
        if let Some(journal) = &mut self.journal {
            journal.acknowledge(number);
        }
    }

    /// What is to be saved in place of all records up to a number, which is given too.
    #[must_use]
    pub fn snapshot(&self) -> (u64, bytes::Bytes) {
        match &self.journal {
            Some(journal) => journal.snapshot(),
            None => (0, Kept::encode(&self.state, self.counter, self.clock.latest(), 0)),
        }
    }

    /// The map, as far as it may be told: of a durable replica what is durable.
    #[must_use]
    pub fn map(&self) -> &LwwMap {
        &self.spoken().map
    }

    /// What that map is the result of.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.spoken().coverage
    }

    /// Whose replica it is, in which incarnation.
    #[must_use]
    pub fn author(&self) -> Author {
        self.state.author()
    }

    /// Whether this incarnation serves.
    #[must_use]
    pub const fn has_joined(&self) -> bool {
        self.state.has_joined
    }

    /// What there is to know.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            author: self.state.author(),
            epoch: self.state.list.epoch,
            has_joined: self.state.has_joined,
            is_whole: self.state.is_whole(),
            blocking: self.state.blocking().collect(),
            registers: self.state.map.len(),
            tombstones: self.state.map.tombstones_len(),
            dropped: self.state.dropped,
            faults: self.state.map.faults(),
            from_future: self.from_future,
            divergences: self.divergences,
        }
    }

    fn handle_push(&mut self, from: Author, pushed: Vec<Pushed>, now: Now) {
        if !self.state.accepts(from, Form::Push) {
            return;
        }
        self.state.learn(from);
        for Pushed { key, entry, superseded } in pushed {
            let is_brought = self.exchange.as_ref().is_some_and(|it| it.brings(&entry));
            if is_brought && !self.state.coverage.covers(entry.dot()) {
                continue;
            }
            if self.clock.observe(entry.stamp().time, now.wall).is_err() {
                self.from_future += 1;
                continue;
            }
            let is_news = !self.state.coverage.covers(entry.dot());
            let merged = self.state.merge_entry(&key, &entry);
            let dots = superseded.into_iter().chain([entry.dot()]);
            let news: Vec<_> = dots
                .filter(|dot| self.state.coverage.insert(*dot) || is_news && *dot == entry.dot())
                .collect();
            if merged == Merged::Changed {
                self.queue(&key, news);
            }
        }
    }

    fn handle_digest(&mut self, from: Author, image: &Image) -> Handled {
        if !self.state.accepts(from, Form::Digest) || image.from != from {
            return Handled::default();
        }
        self.note_own_incarnation(image);
        self.state.learn_table(image);
        self.state.take_digest(image);
        let covers_same = image.has_joined && image.coverage == self.state.coverage;
        if covers_same && image.lasting != self.state.map.lasting() {
            self.divergences += 1;
        }
        let mut missing = image.coverage.difference(&self.state.coverage);
        if !missing.is_empty() && !self.refused.is_empty() {
            missing = missing.difference(&self.refused.keys().copied().collect());
        }
        Handled { reply: None, is_behind: !missing.is_empty() }
    }

    /// The answer is made of the state that may be told; so it is not made before the joiner's
    /// incarnation is in that state.
    fn handle_ask(&mut self, from: Author, ask: Ask, now: Now) -> Option<Envelope> {
        if from.incarnation < self.state.incarnation_of(from.member) {
            return None;
        }
        self.state.record_joiner(from);
        let spoken = self.spoken();
        let is_recorded = spoken.incarnation_of(from.member) >= from.incarnation;
        if !is_recorded && !mutant!("joiner not recorded") {
            return None;
        }
        let answer = Answer {
            asked_by: from,
            exchange: ask.exchange,
            step: ask.step,
            image: spoken.image(),
            time: self.clock.latest(),
            collected: spoken.collected.clone(),
            dropped: spoken.dropped,
            reply: exchange::reply(spoken, ask.question, self.options.chunk_bytes),
        };
        Some(self.envelope(from.member, Body::Answer(Box::new(answer)), now))
    }

    fn handle_answer(&mut self, from: Author, answer: Answer, now: Now) -> Option<Envelope> {
        let is_current = answer.asked_by == self.state.author();
        if !self.state.accepts(from, Form::Sync) || answer.image.from != from {
            return None;
        }
        if mutant!("stale sync joins") && !is_current && !self.state.has_joined {
            self.exchange = Some(Exchange::stale(&answer));
        } else if !is_current {
            return None;
        }
        if !self.exchange.as_ref()?.expects(&answer) {
            return None;
        }
        let mut exchange = self.exchange.take()?;
        self.note_own_incarnation(&answer.image);
        let server = exchange.server;
        if self.refuses(&answer, now) {
            return None;
        }
        self.note_matured(&answer.image.coverage);
        if exchange.leaves_out(&self.state.coverage, &answer.image.coverage) {
            return Some(self.ask(server, now));
        }
        match exchange.take(&mut self.state, answer) {
            Progress::Fails => Some(self.ask(server, now)),
            Progress::Goes => {
                self.exchange = Some(exchange);
                self.ask_again(now)
            }
            Progress::Ends => {
                exchange.end(&mut self.state);
                None
            }
        }
    }

    /// Takes note of the times in an answer. If the server's is from too far in the future, so may be
    /// what it holds: then the exchange ends here, and what else it brought is merged.
    fn refuses(&mut self, answer: &Answer, now: Now) -> bool {
        let entries = match &answer.reply {
            Reply::Entries { entries, .. } => &entries[..],
            Reply::Nodes(_) => &[],
        };
        let times = entries.iter().map(|(_, entry)| entry.stamp().time);
        let latest = times.fold(answer.time, HybridTime::max);
        if self.clock.observe(latest, now.wall).is_ok() {
            return false;
        }
        self.from_future += 1;
        let takes_all = self.state.has_joined && answer.image.has_joined;
        for (key, entry) in entries {
            let time = entry.stamp().time;
            if self.clock.check(time, now.wall).is_err() {
                if self.refused.len() < CRDT_REFUSED_MAX {
                    let until = time.wall.0.saturating_sub(self.clock.bound_ms());
                    self.refused.insert(entry.dot(), UnixMillis(until));
                }
            } else if takes_all && self.clock.observe(time, now.wall).is_ok() {
                self.state.merge_entry(key, entry);
            }
        }
        true
    }

    /// Of what a server covers whose clock is not too far ahead, nothing is from the future any more.
    fn note_matured(&mut self, covered: &Coverage) {
        let is_early = |(dot, _): &(Dot, UnixMillis)| !covered.covers(*dot);
        self.refused =
            self.refused.iter().map(|(dot, until)| (*dot, *until)).filter(is_early).collect();
    }

    /// Whether others know of a later start of this member.
    fn note_own_incarnation(&mut self, image: &Image) {
        let known = image.incarnations.get(&self.state.me).copied();
        let later = known.filter(|known| *known > self.state.author().incarnation);
        self.superseded_by = self.superseded_by.max(later);
    }

    /// Tells the map the time, but none that is ahead of the peers' clocks by more than the bound. What
    /// expires is gone for good, here and wherever this replica is asked for it, so one wrong reading of
    /// the own clock must not make it. If no peer has told its clock there is nothing to compare with.
    fn advance(&mut self, now: Now) {
        let latest = self.peers.median(now).map(|peers| peers.after(self.clock.bound_ms()));
        self.state.map.advance(latest.map_or(now.wall, |latest| now.wall.min(latest)));
    }

    /// An instant, unless the map was told a later one: time never goes back for readers.
    fn latest(&self, wall: UnixMillis) -> UnixMillis {
        wall.max(self.state.map.now())
    }

    fn serves(&self) -> Result<(), Refusal> {
        if !self.state.is_listed() {
            return Err(Refusal::Removed);
        }
        if let Some(by) = self.superseded_by {
            return Err(Refusal::Superseded(by));
        }
        if self.state.has_joined { Ok(()) } else { Err(Refusal::NotJoined) }
    }

    fn queue(&mut self, key: &QualifiedKey, dots: impl IntoIterator<Item = Dot>) {
        let is_alone = self.state.is_alone();
        let is_full = self.queue.len() >= CRDT_QUEUE_KEYS_MAX && !self.queue.contains_key(key);
        if !is_alone && !is_full {
            let waiting = self.queue.entry(key.clone()).or_default();
            waiting.extend(dots);
            waiting.drain(..waiting.len().saturating_sub(CRDT_SUPERSEDED_MAX));
        }
    }

    /// The state as far as it may be told.
    fn spoken(&self) -> &State {
        self.journal.as_ref().map_or(&self.state, Journal::spoken)
    }

    fn envelope(&self, to: MemberId, body: Body, now: Now) -> Envelope {
        let (from, epoch) = (self.state.author(), self.state.list.epoch);
        Envelope { from, epoch, to, wall: now.wall, body }
    }
}

/// A member that went on from the state of another one would write in that one's name.
fn assert_is_of(start: &Start, kept: Option<&Kept>) {
    let member = kept.map_or(start.member, |kept| kept.author().member);
    assert_eq!(member, start.member, "what was kept is of the member that starts");
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock_bound_ms: CRDT_CLOCK_BOUND_MS_DEFAULT,
            tombstones_max: CRDT_TOMBSTONES_DEFAULT,
            chunk_bytes: CRDT_CHUNK_BYTES,
        }
    }
}

/// About how many bytes the name of a write takes in a message.
const DOT_BYTES: usize = 12;
