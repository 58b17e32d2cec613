//! Driving a node: its start, its inputs, its outputs, its end.
//!
//! This is what a production driver does, with every wait made an event. A paused node takes nothing:
//! what comes waits in its inbox (messages beyond a bound are lost), its clocks go on.

use std::collections::VecDeque;

use plimsoll::raft::{
    Body, Envelope, Failure, FailureReason, Identity, Node, Now, Persist, Progress, RaftId,
    Request, Response, Role,
};
use plimsoll::storage::{MemDisk, Recovered, Storage};

use super::network::Letter;
use super::node::{Asked, Driver};
use super::{Ask, Event, World, host_of};
use crate::choices::Subject;
use crate::coverage::Mark;
use crate::invariants::{
    Brought, NODE_LIVES, OPERATION_ENDS, READS_SERVED, SeenOfNode, Violation, damage_was_opened,
    does_not_open,
};
use crate::rng::mix;
use crate::trace::{Said, What};

impl World {
    /// Starts a node from its disk.
    pub(super) fn start(&mut self, index: u8, life: u32) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        if host.is_running() || host.life != life {
            return Ok(());
        }
        let Some(mut disk) = host.disk.take() else { return Ok(()) };
        disk.set_capacity(host.is_full.then_some(0));
        let before = disk.clone();
        let opened = Storage::open(disk, self.plan.storage_options());
        match opened {
            Ok(_) if host.is_damaged => Err(damage_was_opened(index)),
            Ok((storage, recovered)) => self.start_on(index, storage, recovered),
            Err(why) => {
                host.disk = Some(before);
                if host.is_damaged {
                    self.coverage.mark(Mark::DamageRefused);
                    self.note(Some(index), What::Word("refuses to start: damage"), 1);
                    return Ok(());
                }
                if host.is_full {
                    self.start_later(index);
                    return Ok(());
                }
                Err(does_not_open(&format!("node {index}: {why}")))
            }
        }
    }

    fn start_on(
        &mut self,
        index: u8,
        mut storage: Storage<MemDisk>,
        recovered: Recovered,
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let mut identity = match &recovered.identity {
            Some(bytes) => Identity::decode(bytes.clone())
                .map_err(|why| does_not_open(&format!("the identity of node {index}: {why}")))?,
            None if host.is_founder => Identity::new(host.id),
            None => Identity { cluster: Some(self.cluster), ..Identity::new(host.id) },
        };
        let Some(cluster) = identity.cluster else {
            return self.start_founder(index, storage, identity);
        };
        if host.is_founder && !host.has_founded {
            self.follow_founded(index, cluster)?;
        }
        let host = &mut self.hosts[usize::from(index)];
        identity.start += 1;
        if storage.save_identity(&identity.encode()).is_err() {
            host.disk = Some(storage.into_disk());
            self.start_later(index);
            return Ok(());
        }
        host.starts += 1;
        host.life += 1;
        let subject = Subject::Start { node: index, n: host.starts };
        let seed = self.choices.natural(subject).next();
        let now = host.now(self.now_us);
        let last = recovered.entries.last().map_or(0, |entry| entry.index);
        if last > 0 && recovered.snapshot.as_ref().is_some_and(|(meta, _)| meta.index > 0) {
            self.coverage.mark(Mark::StartedFromBoth);
        }
        let node = Node::new(&identity, self.plan.options(), recovered, seed, now)
            .map_err(|why| does_not_open(&format!("node {index} does not start: {why}")))?;
        host.node = Some(node);
        host.storage = Some(storage);
        host.driver = Driver::default();
        host.seen = SeenOfNode::default();
        let life = host.life;
        let first_tick_us = host.clock.after(self.now_us, self.plan.tick_ms * 1_000);
        self.disturb(self.now_us);
        self.queue.push(first_tick_us, Event::Tick { host: index, life });
        self.note(Some(index), What::Start { start: identity.start, last }, seed ^ last);
        self.drain(index)
    }

    fn start_later(&mut self, index: u8) {
        self.coverage.mark(Mark::StartRefusedFull);
        let life = self.hosts[usize::from(index)].life;
        let at_us = self.now_us + START_AGAIN_US;
        self.queue.push(at_us, Event::Start { host: index, life });
        self.note(Some(index), What::Word("can't start: the disk is full"), 2);
    }

    /// Ends a node: what it had not synced is at the mercy of an image, and it starts again later.
    pub(super) fn crash(
        &mut self,
        index: u8,
        image: u64,
        down_us: Option<u64>,
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        if host.founder.is_some() {
            return self.crash_founder(index, image, down_us);
        }
        if host.node.take().is_none() {
            return Ok(());
        }
        if self.checker.membership.is_joint() {
            self.coverage.mark(Mark::CrashInJoint);
        }
        if host.driver.snapshot.is_some() {
            self.coverage.mark(Mark::CrashInSnapshot);
        }
        host.life += 1;
        host.inbox = None;
        host.pending.clear();
        let storage = host.storage.take().expect("a node that runs has a storage");
        let mut disk = storage.into_disk();
        super::crash_image(&mut disk, image);
        let driver = std::mem::take(&mut host.driver);
        let unsynced = driver.unsynced.map(|unsynced| unsynced.batch);
        if host.is_misdirected {
            self.check_misdirected(index, &disk)?;
        } else {
            self.check_image(index, &disk, unsynced.as_ref())?;
        }
        let host = &mut self.hosts[usize::from(index)];
        host.disk = Some(disk);
        let life = host.life;
        if let Some(down_us) = down_us {
            self.queue.push(self.now_us + down_us, Event::Start { host: index, life });
        }
        self.disturb(self.now_us);
        self.note(Some(index), What::Word("ends"), image);
        self.tell(|workload, context| workload.end_node(index, context));
        Ok(())
    }

    /// A write of the life that has ended landed elsewhere: either that is noticed, or nothing of it
    /// is missing (the node ended before it wrote, or the write was not synced and is lost).
    fn check_misdirected(&mut self, index: u8, disk: &MemDisk) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        host.is_misdirected = false;
        match Storage::open(disk.clone(), self.plan.storage_options()) {
            Err(_) => host.is_damaged = true,
            Ok((_, found)) => {
                host.durable.check_recovered(&found, None)?;
                host.durable = crate::invariants::Durable::recovered(&found);
            }
        }
        Ok(())
    }

    /// What would be found now is at least what was durable.
    fn check_image(
        &mut self,
        index: u8,
        disk: &MemDisk,
        unsynced: Option<&plimsoll::storage::Batch>,
    ) -> Result<(), Violation> {
        let (_, found) = Storage::open(disk.clone(), self.plan.storage_options())
            .map_err(|why| does_not_open(&format!("node {index}: {why}")))?;
        let durable = self.hosts[usize::from(index)].durable;
        let first = unsynced.and_then(|batch| batch.entries.first());
        let reset = unsynced.and_then(|batch| batch.reset);
        let shortened_to = first.map(|entry| entry.index - 1).or(reset.map(|(index, _)| index));
        durable.check_recovered(&found, shortened_to)?;
        let now = crate::invariants::Durable::recovered(&found);
        if let Some(batch) = unsynced {
            let mut whole = durable;
            whole.synced(batch);
            let has_survived = now.last_index == whole.last_index && now.term == whole.term;
            let mark = if has_survived { Mark::UnsyncedSurvived } else { Mark::UnsyncedLost };
            self.coverage.mark(mark);
        }
        self.hosts[usize::from(index)].durable = now;
        self.hosts[usize::from(index)].brought = Brought::default();
        Ok(())
    }

    pub(super) fn tick(&mut self, index: u8) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let life = host.life;
        if host.is_paused() {
            return Ok(());
        }
        let next_us = host.clock.after(self.now_us, self.plan.tick_ms * 1_000);
        self.queue.push(next_us, Event::Tick { host: index, life });
        self.note(Some(index), What::Tick, 3);
        if self.hosts[usize::from(index)].founder.is_some() {
            return self.feed_founder(index, plimsoll::raft::Founding::handle_tick);
        }
        self.feed(index, Node::handle_tick)?;
        let host = &self.hosts[usize::from(index)];
        let now_ms = host.now(self.now_us).monotonic_ms;
        match host.pending.iter().find(|(_, asked)| asked.deadline_ms <= now_ms) {
            None => Ok(()),
            Some((request, asked)) => Err(OPERATION_ENDS.broken(format!(
                "request {} at node {index} had to be answered by {} ms and is not at {now_ms} ms \
                 of its clock",
                request.0, asked.deadline_ms
            ))),
        }
    }

    /// A paused node goes on, with everything that came meanwhile.
    pub(super) fn resume(&mut self, index: u8) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let Some(inbox) = host.inbox.take() else { return Ok(()) };
        let life = host.life;
        let led_term = host.seen.led_term;
        let is_succeeded = |other: &super::Host| other.seen.led_term > led_term;
        if host.led_at_pause && self.hosts.iter().any(is_succeeded) {
            self.coverage.mark(Mark::PausedLeaderReturns);
        }
        self.disturb(self.now_us);
        self.note(Some(index), What::Word("goes on"), 4);
        for event in inbox {
            self.handle(event)?;
        }
        if self.lives(index, life) { self.tick(index) } else { Ok(()) }
    }

    pub(super) fn pause(&mut self, index: u8, for_us: u64) {
        let host = &mut self.hosts[usize::from(index)];
        host.led_at_pause = host.node().is_some_and(|node| node.role() == Role::Leader);
        host.inbox = Some(VecDeque::new());
        let life = host.life;
        self.queue.push(self.now_us + for_us, Event::Resume { host: index, life });
    }

    /// Puts an event into the inbox of a paused node; else gives it back.
    pub(super) fn unless_paused(&mut self, index: u8, event: Event) -> Option<Event> {
        let Some(inbox) = &mut self.hosts[usize::from(index)].inbox else { return Some(event) };
        if inbox.len() < INBOX_MAX || !matches!(event, Event::Deliver(_)) {
            inbox.push_back(event);
        }
        None
    }

    pub(super) fn deliver(&mut self, letter: Letter) -> Result<(), Violation> {
        let (from, to) = (host_of(letter.from()), host_of(letter.to()));
        let host = &self.hosts[usize::from(to)];
        let is_there = match letter {
            Letter::Member(_) => host.is_up(),
            Letter::Hello { .. } => host.is_running() && host.id == letter.to(),
        };
        if !is_there {
            // A connection to a process that is not there is refused.
            let sender = &self.hosts[usize::from(from)];
            let (life, peer) = (sender.life, letter.to());
            let at_us = self.now_us + self.plan.link_us_min;
            self.queue.push(at_us, Event::Unreachable { host: from, life, peer });
            return Ok(());
        }
        let Some(Event::Deliver(letter)) = self.unless_paused(to, Event::Deliver(letter)) else {
            return Ok(());
        };
        let said = Said::of(&letter);
        self.note(Some(to), What::Receive(said), said.number());
        match letter {
            Letter::Hello { hello, .. } => self.take_hello(to, *hello),
            Letter::Member(envelope) => {
                self.mark_message(&envelope);
                self.hosts[usize::from(to)].brought.note(&envelope);
                self.feed(to, |node, now| node.handle_message(*envelope, now))
            }
        }
    }

    fn mark_message(&mut self, envelope: &Envelope) {
        match &envelope.body {
            Body::Forward { .. } => self.coverage.mark(Mark::Forwarded),
            Body::Decline { .. } => self.coverage.mark(Mark::Declined),
            Body::NotMember { .. } => self.coverage.mark(Mark::RemovedTold),
            Body::Raft(_)
            | Body::ForwardChange { .. }
            | Body::Chunk { .. }
            | Body::ChunkReceived { .. } => {}
        }
    }

    pub(super) fn ask(&mut self, index: u8, ask: Box<Ask>) -> Result<(), Violation> {
        if !self.hosts[usize::from(index)].is_up() {
            let request = ask.id;
            if !self.reconciler.take_refusal(request) {
                self.tell(|workload, context| workload.refuse(index, request, context));
            }
            return Ok(());
        }
        let event = Event::Ask { host: index, ask };
        let Some(Event::Ask { ask, .. }) = self.unless_paused(index, event) else { return Ok(()) };
        let Ask { id, request, patience_ms } = *ask;
        self.note(Some(index), What::Ask { request: id.0 }, id.0);
        let now_us = self.now_us;
        let is_due =
            request == Request::Read && patience_ms >= SERVED_WITHIN_MS && self.is_serving(index);
        let host = &mut self.hosts[usize::from(index)];
        let deadline_ms = host.now(now_us).monotonic_ms + patience_ms;
        let asked = Asked { deadline_ms, is_due, asked_us: now_us, troubles: self.troubles };
        host.pending.insert(id, asked);
        self.feed(index, |node, now| node.handle_request(id, request, deadline_ms, now))
    }

    /// Feeds a node and moves what it puts out.
    pub(super) fn feed(
        &mut self,
        index: u8,
        input: impl FnOnce(&mut Node, Now),
    ) -> Result<(), Violation> {
        let now_us = self.now_us;
        let host = &mut self.hosts[usize::from(index)];
        let now = host.now(now_us);
        let Some(node) = host.node.as_mut() else { return Ok(()) };
        input(node, now);
        self.drain(index)
    }

    /// Moves what a node puts out to where it belongs, and checks what changed.
    pub(super) fn drain(&mut self, index: u8) -> Result<(), Violation> {
        let place = usize::from(index);
        while let Some(persist) = self.poll(index, Node::poll_persist) {
            self.take_persist(index, persist);
        }
        while let Some(envelope) = self.poll(index, Node::poll_transmit) {
            let host = &self.hosts[place];
            host.durable.check_said(&envelope, &host.brought)?;
            self.send(index, Letter::Member(Box::new(envelope)));
        }
        while let Some(progress) = self.poll(index, Node::poll_progress) {
            self.take_progress(index, &progress)?;
        }
        while let Some(response) = self.poll(index, Node::poll_response) {
            self.take_response(index, response)?;
        }
        if let Some(job) = self.poll(index, Node::poll_snapshot) {
            self.take_snapshot_job(index, job);
        }
        self.schedule_disk(index);
        self.look(index)
    }

    fn poll<T>(&mut self, index: u8, poll: impl FnOnce(&mut Node) -> Option<T>) -> Option<T> {
        poll(self.hosts[usize::from(index)].node.as_mut()?)
    }

    fn take_persist(&mut self, index: u8, persist: Persist) {
        let host = &mut self.hosts[usize::from(index)];
        let node = host.node.as_ref().expect("it was just polled");
        let mut entries = Vec::with_capacity(persist.batch.entries.len());
        self.checker.raft.see(node, &persist.batch, self.now_us, &mut entries);
        host.driver.entries.push_back((persist.number, entries));
        let waiting = host.driver.waiting.back().and_then(|before| before.batch.entries.last());
        let last = waiting.map_or(host.durable.last_index, |entry| entry.index);
        if persist.batch.entries.first().is_some_and(|first| first.index <= last) {
            self.coverage.mark(Mark::LogCut);
        }
        host.driver.waiting.push_back(persist);
    }

    fn take_progress(&mut self, index: u8, progress: &Progress) -> Result<(), Violation> {
        let is_new = match progress {
            Progress::Installed { index: covered } => {
                self.coverage.mark(Mark::SnapshotInstalled);
                self.note(Some(index), What::Install { index: *covered }, *covered);
                false
            }
            Progress::Applied(applied) => {
                let (at, term) = (applied.index, applied.term);
                self.note(Some(index), What::Apply { index: at, term }, at);
                let is_new = self.checker.machines.is_new(applied);
                if is_new {
                    let node = self.hosts[usize::from(index)].node().expect("it was just polled");
                    self.checker.machines.check_applied(applied, node.machine().epoch())?;
                    let moment = self.moment(applied);
                    if self.checker.expiry.check_applied(applied, moment)? {
                        self.coverage.mark(Mark::ExpiredUnderOther);
                    }
                }
                is_new
            }
        };
        self.tell(|workload, context| workload.progress(index, progress, is_new, context));
        Ok(())
    }

    fn take_response(&mut self, index: u8, response: Response) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let asked = host.pending.remove(&response.request);
        if let (Err(failure), Some(asked)) = (&response.result, asked) {
            self.check_served(index, failure, &asked)?;
        }
        let how = match &response.result {
            Ok(_) => "done",
            Err(failure) => failure.outcome.as_str(),
        };
        let request = response.request.0;
        self.note(Some(index), What::Answer { request, how }, request ^ how.len() as u64);
        if let Some(response) = self.reconciler.take(response, &mut self.coverage) {
            self.tell(|workload, context| workload.respond(index, response, context));
        }
        Ok(())
    }

    /// Whether a read that is asked now is to be answered: the world has been calm for a while, a
    /// leader is settled, and the node is a voter that is not behind. Who is behind has to catch up
    /// first, be it by a snapshot in many chunks; and how long an election takes is chance.
    fn is_serving(&self, index: u8) -> bool {
        let host = &self.hosts[usize::from(index)];
        let commit = |host: &super::Host| host.node().map_or(0, Node::commit);
        let newest = self.hosts.iter().map(commit).max().unwrap_or(0);
        let leader = self.leader().map(|leader| &self.hosts[usize::from(leader)]);
        self.now_us > self.disturbed_us + CALM_US
            && leader.is_some_and(|leader| self.now_us > leader.led_since_us + CALM_US)
            && self.checker.membership.voters().any(|voter| voter == host.id)
            && newest <= commit(host) + BEHIND_MAX
    }

    /// A request has failed. A read that was due must not, if the world stayed calm.
    fn check_served(&self, index: u8, failure: &Failure, asked: &Asked) -> Result<(), Violation> {
        let is_late = matches!(failure.reason, FailureReason::Timeout | FailureReason::NoLeader);
        let stayed_calm =
            asked.asked_us > self.disturbed_us && self.troubles - asked.troubles <= TROUBLES_MAX;
        if !(asked.is_due && is_late && stayed_calm) {
            return Ok(());
        }
        let waited_ms = (self.now_us - asked.asked_us) / 1_000;
        Err(READS_SERVED.broken(format!(
            "a read at node {index} was not answered in {waited_ms} ms\n{}",
            self.overview()
        )))
    }

    /// Something other than a message is disturbed, until then at least.
    pub(super) fn disturb(&mut self, until_us: u64) {
        self.disturbed_us = self.disturbed_us.max(until_us);
    }

    /// Looks at what changed in a node.
    fn look(&mut self, index: u8) -> Result<(), Violation> {
        let host = &mut self.hosts[usize::from(index)];
        let Some(node) = host.node.as_ref() else { return Ok(()) };
        if let Some(why) = node.stopped()
            && why != STORAGE_FAILED
        {
            return Err(NODE_LIVES.broken(format!("node {index}: {why}")));
        }
        let applied_before = host.seen.applied;
        let has_begun = self.checker.look(node, &mut host.seen)?;
        if host.seen.applied != applied_before && self.look_at_membership(index, applied_before)? {
            self.follow_joint(index);
        }
        if has_begun {
            self.follow_leader(index);
        }
        Ok(())
    }

    /// Looks at the configuration if it may have changed: by an entry, or by an installed snapshot.
    fn look_at_membership(&mut self, index: u8, applied_before: u64) -> Result<bool, Violation> {
        let host = &self.hosts[usize::from(index)];
        let node = host.node().expect("it has just applied something");
        let (mut changes, mut is_installed) = (Vec::new(), false);
        for index in applied_before + 1..=host.seen.applied {
            match node.log().entry(index) {
                Some(entry) if entry.entry_type == 0 => {}
                Some(_) => changes.push(index),
                None => is_installed = true,
            }
        }
        if changes.is_empty() && !is_installed {
            return Ok(false);
        }
        let is_joint = self.checker.membership.check(node, &changes)?;
        self.disturb(self.now_us);
        Ok(is_joint)
    }

    /// Two configurations are in force together: a good moment to end.
    fn follow_joint(&mut self, index: u8) {
        self.coverage.mark(Mark::Joint);
        self.joints += 1;
        let subject = Subject::Joint { n: self.joints };
        let rates = &self.rates;
        let fault = self.choices.deviation(subject, |rng| super::inject::draw_joint(rates, rng));
        if let Some(fault) = fault {
            let event =
                Event::Crash { host: index, life: self.hosts[usize::from(index)].life, fault };
            self.queue.push(self.now_us + fault.amount.unsigned_abs(), event);
        }
    }

    fn follow_leader(&mut self, index: u8) {
        let now_us = self.now_us;
        let host = &mut self.hosts[usize::from(index)];
        host.led_since_us = now_us;
        self.disturb(now_us);
        let host = &self.hosts[usize::from(index)];
        let term = host.seen.led_term;
        let node = host.node().expect("it leads");
        let is_unresolved = node.status().clock_unresolved;
        let before_us = self.lags_us.range(..term).next_back().map_or(0, |(_, lag_us)| *lag_us);
        let lag_us = if is_unresolved { self.checker.expiry.lag_us(before_us, now_us) } else { 0 };
        self.lags_us.insert(term, lag_us);
        if is_unresolved {
            self.unresolved += 1;
            self.coverage.mark(Mark::ClockUnresolved);
        }
        if self.checker.raft.leaders_len() > 1 {
            self.coverage.mark(Mark::SecondLeader);
        }
        let is_short = |other: &super::Host| {
            other.index != index
                && other.seen.led_term > 0
                && now_us - other.led_since_us < self.plan.election_us() / 2
        };
        if self.hosts.iter().any(is_short) {
            self.coverage.mark(Mark::ShortLeader);
        }
        let error_ms = self.hosts[usize::from(index)].clock.error_ms(now_us).unsigned_abs();
        if error_ms > self.plan.clock_bound_ms {
            self.coverage.mark(Mark::LeaderClockOff);
        }
        self.note(Some(index), What::Lead { term }, term);
    }

    /// Sends a message: it arrives after a while, or not, or twice.
    pub(super) fn send(&mut self, from: u8, letter: Letter) {
        let to = host_of(letter.to());
        if usize::from(to) >= self.hosts.len() {
            return;
        }
        let n = self.network.count(from, to);
        let subject = Subject::Message { from, to, n };
        let said = Said::of(&letter);
        self.note(Some(from), What::Send(said), mix(said.number()));
        if self.network.is_cut(from, to) {
            return;
        }
        let Some(letter) = self.network.hold(from, to, letter) else { return };
        let times = if matches!(letter, Letter::Hello { .. }) { HELLO_FAULTS } else { 1 };
        let rates = &self.rates;
        let deviation = if self.is_healed {
            None
        } else {
            self.choices.deviation(subject, |rng| super::inject::draw_message(rates, times, rng))
        };
        let mut rng = self.choices.natural(subject);
        let delay_us = rng.between(self.plan.link_us_min, self.plan.link_us_max);
        if let Some(fault) = deviation {
            self.troubles += 1;
            self.coverage.fault(fault.kind);
            self.note(Some(from), What::Troubled(said, fault), fault.kind as u64);
        }
        let now_us = self.now_us;
        for (at_us, letter) in self.network.carry((from, to), letter, now_us, delay_us, deviation) {
            self.queue.push(at_us, Event::Deliver(letter));
        }
    }

    /// The leader of the newest term that runs.
    pub(super) fn leader(&self) -> Option<u8> {
        let leads = |host: &&super::Host| {
            host.node().is_some_and(|node| node.role() == Role::Leader && node.stopped().is_none())
        };
        let leaders = self.hosts.iter().filter(leads);
        leaders.max_by_key(|host| host.seen.term).map(|host| host.index)
    }

    /// The place of a raft id that is in use.
    pub(super) fn place_of(&self, id: RaftId) -> Option<&super::Host> {
        self.hosts.get(usize::from(host_of(id))).filter(|host| host.id == id)
    }
}

/// Why a node is stopped when its storage fails.
pub(super) const STORAGE_FAILED: &str = "storage failed";
/// Most messages that wait for a paused node.
const INBOX_MAX: usize = 2_000;
/// How long nothing may have happened for the world to be calm.
const CALM_US: u64 = 2_000_000;
/// Message faults that one read must survive.
const TROUBLES_MAX: u64 = 2;
/// The patience with which a read must be answered then.
const SERVED_WITHIN_MS: u64 = 2_000;
/// Entries by which a node may be behind that answers.
const BEHIND_MAX: u64 = 32;
/// So much likelier is a fault of a hello than of another message: there are few.
const HELLO_FAULTS: u32 = 8;
/// Until a start is tried again.
const START_AGAIN_US: u64 = 500_000;
