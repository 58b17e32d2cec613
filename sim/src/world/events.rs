//! What is to happen, in the order of its time.
//!
//! Virtual time jumps from one event to the next: nothing is spent on time in which nothing happens.
//! Events of the same instant happen in the order in which they were scheduled, so that equal runs are
//! equal to the last step.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::network::Letter;
use crate::faults::Fault;
use plimsoll::raft::{RaftId, Request, RequestId};

/// Something that is to happen. A `life` is that of a node between two starts: what belongs to an
/// earlier one does not happen any more.
#[derive(Debug)]
pub(crate) enum Event {
    Tick { host: u8, life: u32 },
    Deliver(Letter),
    Unreachable { host: u8, life: u32, peer: RaftId },
    DiskWrite { host: u8, life: u32 },
    DiskSync { host: u8, life: u32 },
    SaveSnapshot { host: u8, life: u32 },
    SaveFounding { host: u8, life: u32 },
    Ask { host: u8, ask: Box<Ask> },
    Wake { token: u32 },
    Start { host: u8, life: u32 },
    Resume { host: u8, life: u32 },
    Crash { host: u8, life: u32, fault: Fault },
    Slot,
    Reconcile,
    Undo(Undo),
    Heal,
    ExpectLeader,
    ExpectResolved,
    End,
}

/// A request on its way to a node.
#[derive(Debug)]
pub(crate) struct Ask {
    pub id: RequestId,
    pub request: Request,
    pub patience_ms: u64,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    Cut { links: u64 },
    Clog { links: u64 },
    Slow { links: u64, by_us: u64 },
    DiskFull { host: u8 },
    SlowDisk { host: u8, by_us: u64 },
}

/// All events that are to happen.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
    scheduled: u64,
}

#[derive(Debug)]
struct Scheduled<E> {
    at_us: u64,
    number: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0 }
    }
}

impl<E> Queue<E> {
    /// Schedules an event.
    pub fn push(&mut self, at_us: u64, event: E) {
        self.scheduled += 1;
        self.heap.push(Reverse(Scheduled { at_us, number: self.scheduled, event }));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|Reverse(next)| (next.at_us, next.event))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_as_scheduled() {
        let mut queue = Queue::default();
        for (at, token) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            queue.push(at, Event::Wake { token });
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop())
            .map(|(at, event)| match event {
                Event::Wake { token } => (at, token),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [(3, 2), (3, 4), (5, 1), (5, 3)]);
    }
}
