//! CRDT nodes in one thread: `gossip::Node` with both of its replicas, under the network, the clocks, the
//! disks and the faults of [`crate::world`].
//!
//! It is the same simulator with other nodes: choices, schedules, faults, links, clocks, disks, notes and
//! marks are shared, and what differs is here. `host` has what a node is and keeps, `drive` feeds it,
//! `disk` does the steps of its disk, `inject` what goes wrong, `members` who is agreed to be a member,
//! `clients` who uses it, `heal` the end. What must hold is in [`crate::invariants`].
//!
//! No agreement is simulated: lists of members come from above the world, in order, and each node hears
//! of the last one at a time of its own.

mod clients;
mod disk;
mod drive;
mod heal;
mod host;
mod inject;
mod members;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll::clock::UnixMillis;
use plimsoll::crdt::MemberList;
use plimsoll::gossip::Space;

use crate::choices::{Choices, Schedule};
use crate::coverage::Coverage;
use crate::faults::{Fault, Rates};
use crate::invariants::{Book, NO_PANIC, Violation};
use crate::rng::mix;
use crate::runner::Simulated;
use crate::scenario::Plan;
use crate::trace::{Filter, Note, Trace, What};
use crate::world::{Deviations, Network, Queue, SLOT_US, Summary, Undo, words_of};
use clients::{Clients, Operation};
use drive::Parcel;
use host::Host;

/// A cluster of CRDT nodes, and everything around it.
pub struct CrdtWorld {
    plan: Plan,
    rates: Rates,
    choices: Choices,
    now_us: u64,
    steps: u64,
    queue: Queue<Event>,
    hosts: Vec<Host>,
    network: Network<Parcel>,
    /// What was agreed on last.
    list: MemberList,
    /// The places of its members.
    listed: BTreeSet<u8>,
    slots: u32,
    clients: Clients,
    books: [Book; 2],
    /// The latest that any clock has shown.
    latest: UnixMillis,
    /// The greatest bound of a clock that was to be durable.
    reserved: UnixMillis,
    /// A clock is off, or was.
    has_wrong_clock: bool,
    /// When the last message came that was late: it told a time that was past.
    late_us: u64,
    /// When a node started last.
    started_us: u64,
    coverage: Coverage,
    trace: Trace,
    hash: u64,
    is_healed: bool,
    is_over: bool,
}

/// Something that is to happen. What belongs to an earlier life of a node does not happen any more.
#[derive(Debug)]
enum Event {
    Tick {
        host: u8,
        life: u32,
        number: u64,
    },
    Deliver(Parcel),
    DiskWrite {
        host: u8,
        life: u32,
    },
    DiskSync {
        host: u8,
        life: u32,
    },
    SaveSnapshot {
        host: u8,
        life: u32,
    },
    Ask {
        host: u8,
        operation: Box<Operation>,
    },
    GiveUp {
        operation: u64,
    },
    Wake {
        client: u8,
    },
    Start {
        host: u8,
        life: u32,
    },
    Resume {
        host: u8,
        life: u32,
    },
    Crash {
        host: u8,
        life: u32,
        fault: Fault,
    },
    /// A node hears of the last list.
    Hear {
        host: u8,
    },
    /// A member that was removed ends for good.
    Retire {
        host: u8,
        life: u32,
    },
    Slot,
    Undo(Undo),
    /// A wall clock that had jumped is put right.
    SetRight {
        host: u8,
        by_ms: i64,
    },
    Heal,
    ExpectServing,
    End,
}

impl CrdtWorld {
    /// A cluster whose nodes are about to start for the first time.
    #[must_use]
    pub fn new(plan: Plan, deviations: Deviations, printed: Option<Filter>) -> Self {
        let (choices, rates) = deviations.split(plan.natural);
        let places = u8::try_from(plan.nodes + plan.spares).expect("a world has few nodes");
        let book = || Book::new(usize::from(places), plan.clock_bound_ms);
        let mut world = Self {
            hosts: (0..places).map(Host::new).collect(),
            network: Network::new(),
            queue: Queue::default(),
            list: MemberList::default(),
            listed: BTreeSet::new(),
            clients: Clients::new(&plan),
            books: [book(), book()],
            plan,
            rates,
            choices,
            now_us: 0,
            steps: 0,
            slots: 0,
            latest: UnixMillis(0),
            reserved: UnixMillis(0),
            has_wrong_clock: false,
            late_us: 0,
            started_us: 0,
            coverage: Coverage::default(),
            trace: Trace::new(printed),
            hash: 0,
            is_healed: false,
            is_over: false,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let founders = usize::try_from(self.plan.nodes).expect("a world has few nodes");
        let members = self.hosts[..founders].iter().map(Host::member).collect();
        self.agree(members);
        for index in 0..u8::try_from(founders).expect("few") {
            self.skew(index);
            let at_us = u64::from(index) * 7_919;
            self.queue.push(at_us, Event::Start { host: index, life: 0 });
        }
        for client in 0..u8::try_from(self.plan.clients).expect("few clients") {
            let at_us = FIRST_BURST_US + u64::from(client) * 37_000;
            self.queue.push(at_us, Event::Wake { client });
        }
        self.queue.push(SLOT_US, Event::Slot);
        self.queue.push(self.plan.duration_ms * 1_000, Event::Heal);
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
        Ok(!self.is_over)
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick { host, life, number } if self.lives(host, life) => self.tick(host, number),
            Event::Deliver(parcel) => self.deliver(parcel),
            Event::DiskWrite { host, life } if self.lives(host, life) => self.disk_write(host),
            Event::DiskSync { host, life } if self.lives(host, life) => self.disk_sync(host),
            Event::SaveSnapshot { host, life } if self.lives(host, life) => {
                self.save_snapshot(host)
            }
            Event::Ask { host, operation } => self.ask(host, operation),
            Event::GiveUp { operation } => self.give_up(operation),
            Event::Wake { client } => {
                self.burst(client);
                Ok(())
            }
            Event::Start { host, life } => self.start(host, life),
            Event::Resume { host, life } if self.lives(host, life) => self.resume(host),
            Event::Crash { host, life, fault } if self.lives(host, life) && !self.is_healed => {
                self.coverage.fault(fault.kind);
                self.crash(host, fault.set, Some(fault.for_ms * 1_000));
                Ok(())
            }
            Event::Hear { host } => self.hear(host),
            Event::Retire { host, life } => {
                self.retire(host, life);
                Ok(())
            }
            Event::Slot => self.slot(),
            Event::Undo(undo) => {
                self.undo(undo);
                Ok(())
            }
            Event::SetRight { host, by_ms } => {
                self.set_right(host, by_ms);
                Ok(())
            }
            Event::Heal => self.heal(),
            Event::ExpectServing => self.expect_serving(),
            Event::End => self.end(),
            // Of an earlier life.
            Event::Tick { .. }
            | Event::DiskWrite { .. }
            | Event::DiskSync { .. }
            | Event::SaveSnapshot { .. }
            | Event::Crash { .. }
            | Event::Resume { .. } => Ok(()),
        }
    }

    fn lives(&self, host: u8, life: u32) -> bool {
        self.hosts[usize::from(host)].life == life
    }

    /// Keeps a note of what happened, and lets it count in the hash.
    fn note(&mut self, node: Option<u8>, what: What, number: u64) {
        self.hash = mix(self.hash ^ number).wrapping_add(self.now_us);
        self.trace.note(Note { step: self.steps, at_us: self.now_us, node, what });
    }

    fn book(&mut self, space: Space) -> &mut Book {
        &mut self.books[place_of(space)]
    }
}

impl Simulated for CrdtWorld {
    fn run(&mut self) -> Result<Summary, Violation> {
        let run = || {
            while self.step()? {}
            Ok(self.clients.summary())
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result,
            Err(panic) => Err(NO_PANIC.broken(words_of(&*panic))),
        }
    }

    fn schedule(&self) -> Schedule {
        Schedule { plan: self.plan.clone(), deviations: self.choices.made().clone() }
    }

    fn skipped(&self) -> usize {
        self.choices.skipped()
    }

    fn hash(&self) -> u64 {
        self.hash
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn now_us(&self) -> u64 {
        self.now_us
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn trace(&self) -> &Trace {
        &self.trace
    }

    fn overview(&self) -> String {
        let lines = self.hosts.iter().map(|host| host.words(self.now_us));
        let list = format!("list {} of {:?}", self.list.epoch, self.listed);
        [list].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// Both spaces of a node.
const SPACES: [Space; 2] = [Space::Volatile, Space::Durable];

const fn place_of(space: Space) -> usize {
    match space {
        Space::Volatile => 0,
        Space::Durable => 1,
    }
}

/// When the first burst comes.
const FIRST_BURST_US: u64 = 1_500_000;
