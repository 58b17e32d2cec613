//! A whole cluster in one thread: the shipped machines, and a network, disks and clocks that are not
//! real.
//!
//! A world takes one event after the other from a queue in virtual time (a message arrives, a tick is
//! due, a batch is synced, a client wakes). It feeds the node concerned, moves what the node puts out
//! to where it belongs, and checks what the step touched. Every choice is asked of [`Choices`], so
//! that a run is its schedule, and equal schedules make equal runs to the last bit: [`World::hash`]
//! covers every effect.
//!
//! The parts: `node` what a host is, `drive` feeding and draining it, `disk` the steps of its disk,
//! `network` and `clock` what they say, `inject` what goes wrong, `members` who shall be a member,
//! `founding` how a cluster comes to be, `heal` the end of a run. Nothing here knows what clients do: that is a [`Workload`].

mod clock;
mod disk;
mod drive;
mod events;
mod founding;
mod heal;
mod inject;
mod lost;
mod members;
mod network;
mod node;
mod workload;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll::clock::UnixMillis;
use plimsoll::raft::{ClusterId, Identity, found};

pub use clock::{HostClock, WALL_START_MS};
pub(crate) use disk::{SNAPSHOT_FAULTS, crash_image, draw as draw_disk, set_fault};
pub(crate) use events::{Ask, Event, Queue, Undo};
pub(crate) use founding::number_of;
pub(crate) use inject::{draw_message, draw_slot};
pub(crate) use network::{Letter, Network};
pub use network::{link, links_between};
pub use node::{Host, host_of, raft_id};
pub(crate) use workload::Order;
pub use workload::{Context, Nodes, Summary, Workload};

use crate::choices::{Choices, Schedule, Subject};
use crate::coverage::Coverage;
use crate::faults::Rates;
use crate::invariants::{Checker, Invariant, NO_PANIC, Violation};
use crate::rng::mix;
use crate::scenario::Plan;
use crate::trace::{Filter, Note, Trace, What};
use members::Reconciler;

/// A cluster, and everything around it.
pub struct World {
    plan: Plan,
    rates: Rates,
    choices: Choices,
    now_us: u64,
    steps: u64,
    queue: Queue<Event>,
    hosts: Vec<Host>,
    network: Network<Letter>,
    cluster: ClusterId,
    slots: u32,
    joints: u32,
    requests: u64,
    workload: Box<dyn Workload>,
    orders: Vec<Order>,
    reconciler: Reconciler,
    checker: Checker,
    invariants: Vec<Box<dyn Invariant>>,
    clocks_are_trusted: bool,
    unresolved: u64,
    /// By term: by how much log time may lag.
    lags_us: BTreeMap<u64, u64>,
    /// Until when something other than a message is, or was, disturbed.
    disturbed_us: u64,
    /// Messages that were lost, doubled or late.
    troubles: u64,
    coverage: Coverage,
    trace: Trace,
    hash: u64,
    is_healed: bool,
    is_over: bool,
}

/// Where the deviations of a world come from.
#[derive(Clone, Debug)]
pub enum Deviations {
    /// They are drawn, from a seed, so often.
    Drawn(u64, Rates),
    /// They are those of a schedule.
    Recorded(Box<Schedule>),
}

impl Deviations {
    /// The choices of a run under a seed of what goes its natural way, and how often they deviate.
    pub(crate) fn split(self, natural: u64) -> (Choices, Rates) {
        match self {
            Self::Drawn(seed, rates) => (Choices::drawn(natural, seed), rates),
            Self::Recorded(schedule) => (Choices::recorded(&schedule), Rates::none()),
        }
    }
}

impl World {
    /// A cluster at the beginning of time: founded, or, if that is planned, yet to be founded.
    ///
    /// # Errors
    /// If it breaks a promise at its very start.
    pub fn new(
        plan: Plan,
        deviations: Deviations,
        workload: Box<dyn Workload>,
        printed: Option<Filter>,
    ) -> Result<Self, Violation> {
        let (choices, rates) = deviations.split(plan.natural);
        let places = u8::try_from(plan.nodes + plan.spares).expect("a world has few nodes");
        let mut world = Self {
            cluster: ClusterId(mix(plan.natural)),
            hosts: (0..places).map(Host::new).collect(),
            network: Network::new(),
            queue: Queue::default(),
            plan,
            rates,
            choices,
            now_us: 0,
            steps: 0,
            slots: 0,
            joints: 0,
            requests: 0,
            workload,
            orders: Vec::new(),
            reconciler: Reconciler::default(),
            checker: Checker::default(),
            invariants: Vec::new(),
            clocks_are_trusted: true,
            unresolved: 0,
            lags_us: BTreeMap::new(),
            disturbed_us: 0,
            troubles: 0,
            coverage: Coverage::default(),
            trace: Trace::new(printed),
            hash: 0,
            is_healed: false,
            is_over: false,
        };
        world.begin();
        world.tell(|workload, context| workload.start(context));
        world.take_orders();
        Ok(world)
    }

    /// Adds an invariant, asked after every step.
    pub fn add_invariant(&mut self, invariant: Box<dyn Invariant>) {
        self.invariants.push(invariant);
    }

    /// Founds the cluster, or lets it be founded, and schedules what happens by itself.
    fn begin(&mut self) {
        if self.plan.founding > 0 {
            self.await_founding();
        } else {
            self.found();
        }
        self.queue.push(SLOT_US, Event::Slot);
        self.queue.push(members::PERIOD_US, Event::Reconcile);
        self.queue.push(self.plan.duration_ms * 1_000, Event::Heal);
    }

    fn found(&mut self) {
        let founders = usize::try_from(self.plan.nodes).expect("a world has few nodes");
        let members: Vec<_> = self.hosts[..founders].iter().map(Host::member).collect();
        let epoch = mix(self.cluster.0);
        let snapshot = found(self.cluster, epoch, UnixMillis(WALL_START_MS), &members);
        let options = self.plan.storage_options();
        for host in &mut self.hosts[..founders] {
            let identity = Identity { cluster: Some(self.cluster), ..Identity::new(host.id) };
            host.found(options, &identity, &snapshot);
            host.is_wanted = true;
            // Nobody's ticks fall together.
            let at_us = u64::from(host.index) * 7_919;
            self.queue.push(at_us, Event::Start { host: host.index, life: 0 });
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        let run = || {
            while self.step()? {}
            self.workload.finish()
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result,
            Err(panic) => Err(NO_PANIC.broken(words_of(&*panic))),
        }
    }

    /// Lets the next event happen. Answers false at the end.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn step(&mut self) -> Result<bool, Violation> {
        if self.is_over {
            return Ok(false);
        }
        let Some((at_us, event)) = self.queue.pop() else { return Ok(false) };
        self.now_us = at_us;
        self.steps += 1;
        self.handle(event)?;
        self.take_orders();
        if !self.invariants.is_empty() {
            self.ask_invariants()?;
        }
        Ok(!self.is_over)
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick { host, life } if self.lives(host, life) => self.tick(host),
            Event::Deliver(letter) => self.deliver(letter),
            Event::Unreachable { host, life, peer } if self.lives(host, life) => {
                self.feed(host, |node, now| node.handle_unreachable(peer, now))
            }
            Event::DiskWrite { host, life } if self.lives(host, life) => self.disk_write(host),
            Event::DiskSync { host, life } if self.lives(host, life) => self.disk_sync(host),
            Event::SaveSnapshot { host, life } if self.lives(host, life) => {
                self.save_snapshot(host)
            }
            Event::SaveFounding { host, life } if self.lives(host, life) => {
                self.save_founding(host)
            }
            Event::Ask { host, ask } => self.ask(host, ask),
            Event::Wake { token } => {
                self.tell(|workload, context| workload.wake(token, context));
                Ok(())
            }
            Event::Start { host, life } => self.start(host, life),
            Event::Resume { host, life } if self.lives(host, life) => self.resume(host),
            Event::Crash { host, life, fault } if self.lives(host, life) && !self.is_healed => {
                self.coverage.fault(fault.kind);
                self.crash(host, fault.set, Some(fault.for_ms * 1_000))
            }
            Event::Slot => self.slot(),
            Event::Reconcile => self.reconcile(),
            Event::Undo(undo) => {
                self.undo(undo);
                Ok(())
            }
            Event::Heal => self.heal(),
            Event::ExpectLeader => self.expect_leader(),
            Event::ExpectResolved => self.expect_resolved(),
            Event::End => self.end(),
            // Of an earlier life.
            Event::Tick { .. }
            | Event::Unreachable { .. }
            | Event::DiskWrite { .. }
            | Event::DiskSync { .. }
            | Event::SaveSnapshot { .. }
            | Event::SaveFounding { .. }
            | Event::Crash { .. }
            | Event::Resume { .. } => Ok(()),
        }
    }

    fn lives(&self, host: u8, life: u32) -> bool {
        self.hosts[usize::from(host)].life == life
    }

    /// Tells the workload something.
    fn tell(&mut self, what: impl FnOnce(&mut dyn Workload, &mut Context<'_>)) {
        let Self { workload, hosts, choices, coverage, orders, requests, plan, .. } = self;
        let now_us = self.now_us;
        let nodes = &*hosts;
        let mut context = Context { now_us, plan, nodes, choices, coverage, orders, requests };
        what(workload.as_mut(), &mut context);
    }

    /// Schedules what the workload wants.
    fn take_orders(&mut self) {
        for order in self.orders.drain(..) {
            match order {
                Order::Wake { at_us, token } => self.queue.push(at_us, Event::Wake { token }),
                Order::Ask { node, id, request, patience_ms } => {
                    let ask = Box::new(Ask { id, request, patience_ms });
                    self.queue.push(self.now_us + ASK_US, Event::Ask { host: node, ask });
                }
            }
        }
    }

    fn ask_invariants(&mut self) -> Result<(), Violation> {
        let mut invariants = std::mem::take(&mut self.invariants);
        let result = invariants.iter_mut().try_for_each(|invariant| {
            invariant.check(self).map_err(|details| invariant.promise().broken(details))
        });
        self.invariants = invariants;
        result
    }

    /// Keeps a note of what happened, and lets it count in the hash.
    fn note(&mut self, node: Option<u8>, what: What, number: u64) {
        self.hash = mix(self.hash ^ number).wrapping_add(self.now_us);
        self.trace.note(Note { step: self.steps, at_us: self.now_us, node, what });
    }

    /// The schedule of what has happened so far.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule { plan: self.plan.clone(), deviations: self.choices.made().clone() }
    }

    /// Deviations of a schedule that did not apply.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.choices.skipped()
    }

    /// A number that covers every effect so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Steps so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// True time.
    #[must_use]
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The nodes.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What the run has reached.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What happened last.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A draw for what goes its natural way at a disk.
    fn natural_disk_us(&self, subject: Subject) -> u64 {
        let mut rng = self.choices.natural(subject);
        rng.between(self.plan.disk_us_min, self.plan.disk_us_max)
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

/// How often a fault of a node, a disk, a clock or the network may begin.
pub(crate) const SLOT_US: u64 = 100_000;
/// From a client to its node.
const ASK_US: u64 = 50;
