//! The loop of the replicas: inputs into [`gossip::Node`](crate::gossip::Node), outputs to where they
//! belong.
//!
//! Invariants:
//! 1. What a step has done is published before its calls are answered.
//! 2. Nothing is given to the engine that must be durable and is not: lists, bounds of the clock.
//! 3. Nothing here waits for a peer or the disk, but at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, sleep};

use super::disk::Done;
use super::figures::{CrdtFigures, SightFigures, SpaceFigures};
use super::handle::{Input, Published};
use super::inlet::Outlet;
use super::keeper::{Keeper, Started};
use super::observe::Observer;
use super::writes::Writes;
use super::{Listing, Parts, SPACES};
use crate::clock::{Now, UnixMillis};
use crate::crdt::{MemberId, MemberList, Replica, Start};
use crate::gossip::{Node, Space};
use crate::mutant::mutant;
use crate::node::about::{About, Sighting, Sightings};
use crate::node::driver;
use crate::node::links::Links;
use crate::node::options::NodeOptions;
use crate::raft::RaftId;

/// The task: what it owns.
pub(super) struct Task {
    options: NodeOptions,
    me: MemberId,
    number: u64,
    node: Node,
    links: Links,
    /// None of a node without a disk for replicas: then it has none.
    keeper: Option<Keeper>,
    /// The list with which the replicas run.
    list: Option<MemberList>,
    /// The durable replica, while it is being saved for the first time.
    beginning: Option<Replica>,
    writes: Writes,
    /// When there was a write last, on the monotonic clock.
    wrote_ms: Option<u64>,
    observer: Observer,
    calls: mpsc::Receiver<Input>,
    messages: Outlet,
    listing: watch::Receiver<Listing>,
    sightings: watch::Sender<Option<Sightings>>,
    published: watch::Sender<Published>,
    raft: mpsc::WeakSender<driver::Input>,
}

impl Task {
    pub fn new(parts: Parts, node: Node, keeper: Option<Keeper>) -> Self {
        let Parts {
            options,
            me,
            number,
            links,
            calls,
            messages,
            listing,
            sightings,
            published,
            raft,
        } = parts;
        Self {
            observer: Observer::new(options.name.clone()),
            options,
            me,
            number,
            node,
            links,
            keeper,
            list: None,
            beginning: None,
            writes: Writes::default(),
            wrote_ms: None,
            calls,
            messages,
            listing,
            sightings,
            published,
            raft,
        }
    }

    /// Runs until it is told to stop, the Raft engine has stopped, or the disk fails.
    pub async fn run(mut self) {
        let mut alarm = Alarm(Some(self.raft.clone()));
        let ended = self.work().await;
        alarm.0 = None;
        let why = match ended {
            Ok(()) => "it was closed".to_owned(),
            Err(why) => {
                if let Some(raft) = self.raft.upgrade() {
                    // It may have stopped already.
                    _ = raft.send(driver::Input::Failed(why.clone())).await;
                }
                why
            }
        };
        self.published.send_modify(|published| published.stopped = Some(why));
        if let Some(Keeper { disk, .. }) = self.keeper {
            drop(disk.work);
            // A panic there was reported as a failure of the disk.
            _ = disk.task.await;
        }
    }

    async fn work(&mut self) -> Result<(), String> {
        self.relist();
        self.start_if_listed();
        loop {
            self.turn();
            let now_ms = self.now().monotonic_ms;
            let pause = Duration::from_millis(self.node.due_ms().saturating_sub(now_ms));
            let (mut call, mut message) = (None, None);
            tokio::select! {
                biased;
                done = done(&mut self.keeper) => self.disk_done(done)?,
                changed = self.listing.changed() => {
                    if changed.is_err() {
                        return self.finish().await;
                    }
                    self.relist();
                }
                it = self.messages.receive() => message = Some(it),
                it = self.calls.recv(), if !self.writes.are_held() => call = Some(it),
                () = sleep(pause) => {}
            }
            let now = self.now();
            let is_over = self.take_calls(call, now);
            self.take_messages(message, now);
            // One for a pause of the process, however long it was.
            if self.node.due_ms() <= now.monotonic_ms {
                self.node.tick(now);
                self.observer.look(&self.node, self.writes.clock_refusals, now);
                self.tell_sightings(now);
            }
            if is_over {
                return self.finish().await;
            }
        }
    }

    /// Takes calls that have come together, unless writes wait already. Gives whether it is to end.
    fn take_calls(&mut self, first: Option<Option<Input>>, now: Now) -> bool {
        let mut is_over = matches!(first, Some(None));
        let mut next = first.flatten();
        for _ in 0..CALLS_MAX {
            if next.is_none() && !self.writes.are_held() {
                next = self.calls.try_recv().ok();
            }
            let Some(input) = next.take() else { break };
            match input {
                Input::Write(write) => {
                    self.wrote_ms = Some(now.monotonic_ms);
                    self.writes.make(write, &mut self.node, now);
                }
                Input::Figures(answer) => {
                    _ = answer.send(Box::new(self.figures(now)));
                }
                Input::Stop => is_over = true,
            }
        }
        is_over
    }

    fn take_messages(&mut self, first: Option<Bytes>, now: Now) {
        let mut next = first;
        for _ in 0..MESSAGES_MAX {
            let Some(message) = next.take().or_else(|| self.messages.try_receive()) else { return };
            // One that can't be read is counted there.
            _ = self.node.handle(message, now);
        }
    }

    /// What comes of a step: everything goes where it belongs.
    fn turn(&mut self) {
        self.reserve();
        self.drain();
        let spaces = SPACES.into_iter();
        let replicas =
            spaces.filter_map(|space| Some((space, self.node.replica(space)?.clone()))).collect();
        self.published.send_replace(Published { replicas, stopped: None });
        self.writes.answer();
    }

    /// Asks for a later bound of the clock while there are writes: a node that has none needs no sync.
    fn reserve(&mut self) {
        let now = self.now();
        let Some(keeper) = &mut self.keeper else { return };
        let are_held = self.writes.are_held();
        let is_recent = |wrote_ms| now.monotonic_ms.saturating_sub(wrote_ms) < WRITING_MS;
        if keeper.is_reserving() || !are_held && !self.wrote_ms.is_some_and(is_recent) {
            return;
        }
        match self.node.wanted_reservation(now) {
            Some(until) => {
                keeper.keep_reservation(until);
                if mutant!("bound of the clock is used before it is durable") {
                    self.node.reserve(until);
                    self.writes.retry(&mut self.node, now);
                }
            }
            // The clock has moved: now they are made, or refused.
            None => self.writes.retry(&mut self.node, now),
        }
    }

    fn drain(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            while keeper.takes_record()
                && let Some((number, bytes)) = self.node.poll_record()
            {
                keeper.keep_record(number, bytes);
            }
            if let Some(replica) = self.node.replica(Space::Durable) {
                keeper.save_when_due(replica);
            }
        }
        let listing = self.listing.borrow();
        while let Some(transmit) = self.node.poll_transmit() {
            let logged = || listing.addresses.get(&transmit.to).cloned();
            if let Some(address) = transmit.address.or_else(logged) {
                self.links.gossip(&address, transmit.bytes);
            }
        }
    }

    fn disk_done(&mut self, done: Option<Done>) -> Result<(), String> {
        let now = self.now();
        let keeper = self.keeper.as_mut().expect("a disk that has done something");
        match done.unwrap_or_else(|| Done::Failed("the disk's task has ended".to_owned())) {
            Done::Ledger(ledger) => {
                keeper.ledger = ledger;
                self.node.reserve(keeper.ledger.reserved);
                self.start_if_listed();
                self.writes.retry(&mut self.node, now);
            }
            Done::Begun { bytes } => {
                keeper.note_begun(bytes);
                let mut replica = self.beginning.take().expect("it was begun");
                replica.reserve(keeper.ledger.reserved);
                self.node.start(Space::Durable, replica, now);
                self.set_list(now);
            }
            Done::Recorded(index) => {
                let number = keeper.note_recorded(index);
                self.node.handle_durable(number, now);
                self.writes.note_durable(number);
            }
            Done::Snapshot { bytes } => keeper.note_snapshot(bytes),
            Done::Failed(why) => {
                self.observer.note_failure(&why);
                return Err(why);
            }
        }
        Ok(())
    }

    /// The Raft engine has told who the members are, and where.
    fn relist(&mut self) {
        let listing = self.listing.borrow_and_update().clone();
        self.links.set_cluster_if_other(listing.cluster);
        let network = self.options.network.as_ref();
        let join =
            network.iter().flat_map(|network| network.join.iter().map(|it| it.as_str().into()));
        self.node.set_doors(join.chain(listing.addresses.values().map(Arc::clone)));
        let Some(keeper) = &mut self.keeper else { return };
        if listing.list.members.contains(&self.me) || keeper.was_listed() {
            keeper.keep_list(&listing.list);
        }
    }

    /// Starts the replicas with a list that is durable, or moves them on to it.
    fn start_if_listed(&mut self) {
        let now = self.now();
        let Some(keeper) = &mut self.keeper else { return };
        let list = keeper.ledger.list.clone();
        if list.epoch == 0 || self.list.as_ref() == Some(&list) {
            return;
        }
        if self.list.replace(list.clone()).is_some() {
            return self.set_list(now);
        }
        let start = |space| Start {
            member: self.me,
            number: self.number,
            members: list.clone(),
            reserved: keeper.ledger.reserved,
            is_durable: space == Space::Durable,
            options: self.options.crdt,
        };
        let (volatile, durable) = (start(Space::Volatile), start(Space::Durable));
        let none = crate::crdt::Incarnation(0);
        self.node.start(Space::Volatile, Replica::begin(volatile, None, none), now);
        match keeper.start(durable) {
            Started::Resumed(replica) => self.node.start(Space::Durable, replica, now),
            Started::Begins(replica) => self.beginning = Some(replica),
        }
        self.set_list(now);
    }

    fn set_list(&mut self, now: Now) {
        if let Some(list) = &self.list {
            self.node.set_list(list, now);
        }
    }

    /// Tells the driver whom gossip sees: who is away, and where those are that are there.
    fn tell_sightings(&self, now: Now) {
        let seen = self.node.sights().map(|sight| {
            let sighting = Sighting {
                address: Arc::clone(&sight.peer.address),
                is_up: sight.is_up,
                since_ms: sight.since_ms,
                about: About::decode(sight.peer.about.clone()).ok(),
            };
            (RaftId(sight.peer.id.0), sighting)
        });
        let seen = seen.collect();
        self.sightings.send_modify(|told| {
            let since_ms = told.as_ref().map_or(now.monotonic_ms, |told| told.since_ms);
            *told = Some(Sightings { since_ms, seen });
        });
    }

    fn figures(&self, now: Now) -> CrdtFigures {
        let spaces = SPACES.into_iter();
        let sight = |sight| SightFigures::of(sight, now.monotonic_ms);
        CrdtFigures {
            spaces: spaces
                .filter_map(|space| Some((space, SpaceFigures::of(self.node.replica(space)?))))
                .collect(),
            sights: self.node.sights().map(sight).collect(),
            reserved: self.keeper.as_ref().map_or(UnixMillis(0), |keeper| keeper.ledger.reserved),
            clock_refusals: self.writes.clock_refusals,
            malformed: self.node.malformed(),
            lost: self.messages.lost.load(Ordering::Relaxed),
        }
    }

    /// Lets what was written become durable, and the next start begin where this one ends.
    async fn finish(&mut self) -> Result<(), String> {
        self.turn();
        while self.writes.are_waiting() {
            let done = done(&mut self.keeper).await;
            self.disk_done(done)?;
            self.turn();
        }
        // From here on nothing is written.
        if let (Some(keeper), Some(bound)) = (&mut self.keeper, self.node.stamped_below()) {
            keeper.return_reservation(bound);
        }
        while self.keeper.as_ref().is_some_and(Keeper::is_reserving) {
            let done = done(&mut self.keeper).await;
            self.disk_done(done)?;
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let monotonic_ms = self.options.monotonic.now().0;
        Now { monotonic_ms, wall: self.options.clock.now() }
    }
}

/// Stops the node if the task ends by a panic: half a node must not go on.
struct Alarm(Option<mpsc::WeakSender<driver::Input>>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(raft) = self.0.as_ref().and_then(mpsc::WeakSender::upgrade) {
            // If there is no room the node has more to do than it can.
            _ = raft
                .try_send(driver::Input::Failed("the task of the replicas has ended".to_owned()));
        }
    }
}

/// Waits for the disk; for ever if there is none.
async fn done(keeper: &mut Option<Keeper>) -> Option<Done> {
    match keeper {
        Some(keeper) => keeper.disk.done.recv().await,
        None => std::future::pending().await,
    }
}

/// How many calls, and how many messages, are one step.
const CALLS_MAX: usize = 1_024;
const MESSAGES_MAX: usize = 64;
/// For how long after a write the bound of the clock is kept ahead, in milliseconds.
const WRITING_MS: u64 = 1_000;
