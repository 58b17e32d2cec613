//! Driving a node: its start, its inputs, its outputs, its end.
//!
//! This is the caller's part of the contract of `gossip::Node`, with every wait made an event. What a start
//! finds on its disk is in [`super::disk`]. A paused node takes nothing: what comes waits in its inbox.

use std::collections::VecDeque;

use bytes::Bytes;
use plimsoll::clock::Now;
use plimsoll::crdt::{Body, Envelope, Question, Reply};
use plimsoll::gossip::{Node, Space, Transmit};
use plimsoll::limits::GOSSIP_PUSHED_BYTES_MAX;

use super::host::{Seen, address, place_at};
use super::inject::draw_late_message;
use super::{CrdtWorld, Event, SPACES, place_of};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::invariants::{NO_ALARM, Scene, Violation};
use crate::rng::mix;
use crate::trace::{Saying, What};
use crate::world::host_of;
use plimsoll::raft::RaftId;

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub saying: Saying,
    /// The id of the member that it is for, or 0 for whoever is there.
    pub to: u64,
    pub bytes: Bytes,
    pub sent_us: u64,
    /// Of an answer: whether the server had joined.
    pub has_joined: bool,
    pub is_walk: bool,
    pub has_large: bool,
}

impl Parcel {
    /// What a message says, for notes and marks.
    fn new(from: u8, transmit: Transmit, sent_us: u64) -> Option<Self> {
        let Transmit { to, address, bytes } = transmit;
        let place = match to.0 {
            0 => place_at(&address?)?,
            id => host_of(RaftId(id)),
        };
        let kind = bytes.first().copied().unwrap_or(0);
        let is_durable = kind > 0 && bytes.get(1) == Some(&1);
        let name = match kind {
            0 => "swim",
            1 => "envelope",
            2 => "hint",
            _ => "pull",
        };
        let link = (from, place);
        let numbers = [0; 4];
        let saying = Saying { link, kind: name, is_durable, numbers, bytes: bytes.len() };
        let mut parcel = Self {
            saying,
            to: to.0,
            bytes,
            sent_us,
            has_joined: false,
            is_walk: false,
            has_large: false,
        };
        if kind == ENVELOPE {
            parcel.read();
        }
        Some(parcel)
    }

    fn read(&mut self) {
        let Ok(envelope) = Envelope::decode(self.bytes.slice(2..)) else { return };
        let (exchange, step) = match &envelope.body {
            Body::Ask(ask) => {
                self.is_walk = matches!(ask.question, Question::Nodes(_));
                (ask.exchange.number, ask.step)
            }
            Body::Answer(answer) => {
                self.has_joined = answer.image.has_joined;
                if let Reply::Entries { entries, .. } = &answer.reply {
                    let is_large = |bytes: usize| bytes > GOSSIP_PUSHED_BYTES_MAX;
                    self.has_large = entries.iter().any(|(_, entry)| is_large(entry.size()));
                }
                (answer.exchange.number, answer.step)
            }
            Body::Push(_) | Body::Digest(_) => (0, 0),
        };
        self.saying.kind = match &envelope.body {
            Body::Push(_) => "push",
            Body::Digest(_) => "digest",
            Body::Ask(_) => ASK,
            Body::Answer(_) => ANSWER,
        };
        let incarnation = envelope.from.incarnation.0;
        self.saying.numbers = [incarnation, envelope.epoch, exchange, step];
    }
}

impl CrdtWorld {
    /// Ends a node: what it had not synced is at the mercy of an image, and it starts again later.
    pub(super) fn crash(&mut self, index: u8, image: u64, down_us: Option<u64>) {
        let now_us = self.now_us;
        let host = &mut self.hosts[usize::from(index)];
        if host.node.take().is_none() {
            return;
        }
        host.life += 1;
        host.inbox = None;
        host.disturbed_us = now_us;
        if let Some(storage) = host.storage.take() {
            host.disk = Some(storage.into_disk());
        }
        if let Some(disk) = &mut host.disk {
            crate::world::crash_image(disk, image);
        }
        host.driver = super::host::Driver::default();
        let pending = std::mem::take(&mut host.pending);
        let life = host.life;
        if let Some(down_us) = down_us {
            self.queue.push(now_us + down_us, Event::Start { host: index, life });
        }
        for waiting in pending.into_values() {
            self.coverage.mark(Mark::WriteLost);
            self.clients.unknown(waiting.operation);
        }
        self.lose(Space::Volatile, index);
        self.note(Some(index), What::Word("ends"), image);
    }

    /// The replica of a place loses what it held.
    pub(super) fn lose(&mut self, space: Space, index: u8) {
        self.books[place_of(space)].lose(index, &self.listed);
    }

    pub(super) fn tick(&mut self, index: u8, number: u64) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        if host.tick != number {
            return Ok(());
        }
        if host.is_paused() {
            return Ok(());
        }
        host.tick_us = 0;
        self.note(Some(index), What::Tick, 3);
        self.feed(index, Node::tick)?;
        self.expire(index);
        Ok(())
    }

    /// Writes whose time is over are answered: their outcome is unknown.
    fn expire(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index)];
        let now_ms = host.now(self.now_us).monotonic_ms;
        let late: Vec<_> = host.pending.extract_if(.., |_, it| it.deadline_ms <= now_ms).collect();
        for (_, waiting) in late {
            self.clients.unknown(waiting.operation);
        }
    }

    pub(super) fn pause(&mut self, index: u8, for_us: u64) {
        let now_us = self.now_us;
        let host = &mut self.hosts[usize::from(index)];
        host.inbox = Some(VecDeque::new());
        host.disturbed_us = now_us;
        let life = host.life;
        self.queue.push(now_us + for_us, Event::Resume { host: index, life });
    }

    /// A paused node goes on, with everything that came meanwhile.
    pub(super) fn resume(&mut self, index: u8) -> Result<(), Violation> {
        let now_us = self.now_us;
        let host = &mut self.hosts[usize::from(index)];
        let Some(inbox) = host.inbox.take() else { return Ok(()) };
        let life = host.life;
        host.disturbed_us = now_us;
        self.note(Some(index), What::Word("goes on"), 4);
        for event in inbox {
            self.handle(event)?;
        }
        if self.lives(index, life) { self.feed(index, Node::tick) } else { Ok(()) }
    }

    /// Gives an event back, unless the node is paused: then the event waits.
    pub(super) fn unless_paused(&mut self, index: u8, event: Event) -> Option<Event> {
        let inbox = self.hosts[usize::from(index)].inbox.as_mut();
        let Some(inbox) = inbox else { return Some(event) };
        if inbox.len() < INBOX_MAX || !matches!(event, Event::Deliver(_)) {
            inbox.push_back(event);
        }
        None
    }

    pub(super) fn deliver(&mut self, parcel: Parcel) -> Result<(), Violation> {
        let (_, index) = parcel.saying.link;
        let host = &self.hosts[usize::from(index)];
        let is_its = parcel.to == 0 || parcel.to == host.member().0;
        if host.node.is_none() || !is_its {
            return Ok(());
        }
        let event = self.unless_paused(index, Event::Deliver(parcel));
        let Some(Event::Deliver(parcel)) = event else { return Ok(()) };
        let Parcel { saying, bytes, has_joined, has_large, sent_us, .. } = parcel;
        if self.now_us > sent_us + LATE_US {
            self.late_us = self.now_us;
        }
        self.note(Some(index), What::Hear(saying), mix(saying.number()));
        if saying.kind != "swim"
            && saying.numbers[1] != self.epoch_of(index)
            && saying.numbers[0] > 0
        {
            self.coverage.mark(Mark::OtherList);
        }
        let place = usize::from(saying.is_durable);
        let before = self.hosts[usize::from(index)].seen[place];
        let mut result = Ok(());
        self.feed(index, |node, now| result = node.handle(bytes, now))?;
        if let Err(why) = result {
            return Err(NO_ALARM.broken(format!("{saying}: {why}")));
        }
        if saying.kind == ANSWER {
            self.mark_answer(index, place, before, has_joined, has_large);
        }
        Ok(())
    }

    fn epoch_of(&self, index: u8) -> u64 {
        self.hosts[usize::from(index)].ledger.list.epoch
    }

    /// What an answer of an exchange has led to.
    fn mark_answer(
        &mut self,
        index: u8,
        place: usize,
        before: Seen,
        has_joined: bool,
        has_large: bool,
    ) {
        let now = self.hosts[usize::from(index)].seen[place];
        if !before.has_joined && now.has_joined {
            let mark = if has_joined { Mark::JoinedThroughOne } else { Mark::JoinedWithEveryone };
            self.coverage.mark(mark);
        }
        if now.dropped > before.dropped {
            self.coverage.mark(Mark::DroppedInExchange);
        }
        if now.exchange > before.exchange && before.exchange > 0 && before.has_joined {
            self.coverage.mark(Mark::ExchangeBegunAnew);
        }
        if has_large {
            self.coverage.mark(Mark::LargeBrought);
        }
    }

    /// Feeds a node and moves what it puts out.
    pub(super) fn feed(
        &mut self,
        index: u8,
        input: impl FnOnce(&mut Node, Now),
    ) -> Result<(), Violation> {
        let now = self.read_clock(index);
        let host = &mut self.hosts[usize::from(index)];
        let Some(node) = host.node.as_mut() else { return Ok(()) };
        input(node, now);
        self.drain(index)
    }

    /// What the clocks of a node show.
    pub(super) fn read_clock(&mut self, index: u8) -> Now {
        let now = self.hosts[usize::from(index)].now(self.now_us);
        self.latest = self.latest.max(now.wall);
        let host = &mut self.hosts[usize::from(index)];
        host.latest = host.latest.max(now.wall);
        now
    }

    /// Moves what a node puts out to where it belongs, and checks what changed.
    pub(super) fn drain(&mut self, index: u8) -> Result<(), Violation> {
        while let Some(transmit) = self.poll(index, Node::poll_transmit) {
            self.send(index, transmit);
        }
        if !self.hosts[usize::from(index)].driver.has_failed {
            while let Some(record) = self.poll(index, Node::poll_record) {
                self.hosts[usize::from(index)].driver.records.push_back(record);
            }
            self.want_reservation(index);
            self.schedule_disk(index);
        }
        self.schedule_tick(index);
        self.look(index)
    }

    fn poll<T>(&mut self, index: u8, poll: impl FnOnce(&mut Node) -> Option<T>) -> Option<T> {
        poll(self.hosts[usize::from(index)].node.as_mut()?)
    }

    fn schedule_tick(&mut self, index: u8) {
        let now_us = self.now_us;
        let host = &mut self.hosts[usize::from(index)];
        let Some(node) = &host.node else { return };
        let now_ms = host.clock.now(now_us).monotonic_ms;
        let wait_ms = node.due_ms().saturating_sub(now_ms).max(1);
        let at_us = host.clock.after(now_us, wait_ms * 1_000);
        if host.tick_us > now_us && host.tick_us <= at_us {
            return;
        }
        host.tick += 1;
        host.tick_us = at_us;
        let (life, number) = (host.life, host.tick);
        self.queue.push(at_us, Event::Tick { host: index, life, number });
    }

    /// Looks at what changed in a node.
    fn look(&mut self, index: u8) -> Result<(), Violation> {
        let wall = self.hosts[usize::from(index)].now(self.now_us).wall;
        let latest = self.latest;
        for space in SPACES {
            let place = place_of(space);
            let host = &mut self.hosts[usize::from(index)];
            let Some(node) = host.node.as_ref() else { return Ok(()) };
            let Some(replica) = node.replica(space) else { continue };
            let own_latest = host.latest;
            let scene = Scene { listed: &self.listed, wall, own_latest, latest };
            let looked = self.books[place].look(index, replica, &scene)?;
            let before = host.seen[place];
            let status = replica.status();
            if (status.faults, status.divergences, node.malformed()) != (0, 0, 0) {
                return Err(NO_ALARM.broken(format!("node {index}: {status:?}")));
            }
            host.seen[place] = Seen {
                has_joined: status.has_joined,
                dropped: status.dropped,
                from_future: status.from_future,
                exchange: before.exchange,
            };
            if status.from_future > before.from_future {
                self.coverage.mark(Mark::FutureRefused);
            }
            if looked.has_dropped {
                let is_again = host.starts > 1;
                self.coverage.mark(Mark::Collected);
                if is_again {
                    self.coverage.mark(Mark::CollectedAfterRestart);
                }
                if status.epoch > 1 {
                    self.coverage.mark(Mark::CollectedInNewList);
                }
            }
        }
        self.look_at_sights(index);
        Ok(())
    }

    fn look_at_sights(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index)];
        let Some(node) = host.node.as_ref() else { return };
        let mut down = 0;
        for sight in node.sights() {
            let bit = 1 << host_of(RaftId(sight.peer.id.0));
            down |= if sight.is_up { 0 } else { bit };
        }
        let has_returned = host.down & !down != 0;
        host.down = down;
        if has_returned {
            self.coverage.mark(Mark::SeenAgain);
        }
    }

    /// Sends a message: it arrives after a while, or not, or twice.
    fn send(&mut self, from: u8, transmit: Transmit) {
        let Some(parcel) = Parcel::new(from, transmit, self.now_us) else { return };
        let saying = parcel.saying;
        let (_, to) = saying.link;
        if usize::from(to) >= self.hosts.len() || from == to {
            return;
        }
        self.mark_ask(from, &parcel);
        let n = self.network.count(from, to);
        let subject = Subject::Message { from, to, n };
        self.note(Some(from), What::Say(saying), mix(saying.number()));
        if self.network.is_cut(from, to) {
            return;
        }
        let Some(parcel) = self.network.hold(from, to, parcel) else { return };
        let rates = &self.rates;
        let deviation = if self.is_healed {
            None
        } else {
            self.choices.deviation(subject, |rng| draw_late_message(rates, rng))
        };
        let mut rng = self.choices.natural(subject);
        let delay_us = rng.between(self.plan.link_us_min, self.plan.link_us_max);
        if let Some(fault) = deviation {
            self.coverage.fault(fault.kind);
            self.note(Some(from), What::Disturbed(saying, fault), fault.kind as u64);
        }
        let now_us = self.now_us;
        for (at_us, parcel) in self.network.carry(saying.link, parcel, now_us, delay_us, deviation)
        {
            self.queue.push(at_us, Event::Deliver(parcel));
        }
    }

    fn mark_ask(&mut self, from: u8, parcel: &Parcel) {
        if parcel.saying.kind != ASK {
            return;
        }
        let [_, _, exchange, _] = parcel.saying.numbers;
        let place = usize::from(parcel.saying.is_durable);
        self.hosts[usize::from(from)].seen[place].exchange = exchange;
        if parcel.is_walk {
            self.coverage.mark(Mark::WalkTaken);
        }
    }

    /// All places that a node may knock at.
    pub(super) fn doors(&self) -> Vec<std::sync::Arc<str>> {
        (0..self.hosts.len())
            .map(|n| address(u8::try_from(n).expect("few")).as_str().into())
            .collect()
    }
}

const ENVELOPE: u8 = 1;
const ASK: &str = "ask";
const ANSWER: &str = "answer";
/// After so long a message tells a time that is noticeably past.
const LATE_US: u64 = 200_000;
/// Most messages that wait for a paused node.
const INBOX_MAX: usize = 2_000;
