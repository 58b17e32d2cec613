//! What is noticed of the replicas and of gossip from one look to the next, to be logged.
//!
//! It looks and decides nothing.

use std::collections::BTreeMap;

use tracing::{error, info, warn};

use super::SPACES;
use crate::clock::Now;
use crate::crdt::MemberId;
use crate::gossip::{Node, Space};
use crate::node::observe::{CLOCK, CRDT, DISK, GOSSIP};

/// How everything was when it was last looked at.
#[derive(Debug)]
pub(super) struct Observer {
    /// The name of the node.
    name: String,
    spaces: BTreeMap<Space, Noted>,
    sights: BTreeMap<MemberId, bool>,
    /// Refusals that were told, and when they may be told again.
    clock_refusals: u64,
    clock_due_ms: u64,
}

/// What is remembered of a replica.
#[derive(Debug, Default)]
struct Noted {
    has_joined: bool,
    divergences: u64,
    faults: u64,
    from_future: u64,
}

impl Observer {
    pub fn new(name: String) -> Self {
        let (spaces, sights) = (BTreeMap::new(), BTreeMap::new());
        Self { name, spaces, sights, clock_refusals: 0, clock_due_ms: 0 }
    }

    /// Looks at what changes seldom.
    pub fn look(&mut self, node: &Node, clock_refusals: u64, now: Now) {
        self.look_at_clocks(clock_refusals, now);
        for space in SPACES {
            self.look_at(space, node);
        }
        self.look_around(node);
    }

    fn look_at(&mut self, space: Space, node: &Node) {
        let Some(replica) = node.replica(space) else { return };
        let noted = self.spaces.entry(space).or_default();
        let (node, space, status) = (&self.name, space.as_str(), replica.status());
        if status.has_joined && !noted.has_joined {
            let (incarnation, registers) = (status.author.incarnation.0, status.registers);
            info!(target: CRDT, node, space, incarnation, registers, "the replica has joined and serves");
        }
        if status.divergences > noted.divergences {
            let divergences = status.divergences;
            error!(target: CRDT, node, space, divergences, "another replica has seen the same writes and holds something else");
        }
        if status.faults > noted.faults {
            let faults = status.faults;
            error!(target: CRDT, node, space, faults, "two writes of one stamp differ");
        }
        if status.from_future > noted.from_future {
            let from_future = status.from_future;
            warn!(target: CRDT, node, space, from_future, "a write from too far in the future was refused: clocks are too far apart");
        }
        *noted = Noted {
            has_joined: status.has_joined,
            divergences: status.divergences,
            faults: status.faults,
            from_future: status.from_future,
        };
    }

    fn look_around(&mut self, gossip: &Node) {
        let node = &self.name;
        for sight in gossip.sights() {
            let (id, address, is_up) = (sight.peer.id, &*sight.peer.address, sight.is_up);
            let was_up = self.sights.insert(id, is_up).unwrap_or(false);
            let id = format_args!("{:016x}", id.0);
            match (was_up, is_up) {
                (false, true) => info!(target: GOSSIP, node, %id, address, "a node is seen"),
                (true, false) => {
                    warn!(target: GOSSIP, node, %id, address, "a node does not answer any more");
                }
                _ => {}
            }
        }
        if self.sights.len() > gossip.sights().count() {
            self.sights.retain(|id, _| gossip.sights().any(|sight| sight.peer.id == *id));
        }
    }

    /// The disk has failed.
    pub fn note_failure(&self, why: &str) {
        error!(target: DISK, node = self.name, why, "the disk of the replicas has failed");
    }

    /// Writes were refused because of the clocks: told once in a while, however many there are.
    fn look_at_clocks(&mut self, refusals: u64, now: Now) {
        let is_due = self.clock_due_ms <= now.monotonic_ms;
        if refusals > self.clock_refusals && is_due {
            let node = &self.name;
            warn!(target: CLOCK, node, refusals, "writes are refused: the clocks are too far apart");
            self.clock_due_ms = now.monotonic_ms + CLOCK_MS;
            self.clock_refusals = refusals;
        }
    }
}

/// How often it is told that writes are refused, in milliseconds.
const CLOCK_MS: u64 = 10_000;
