//! The laws of the hybrid clock, over any physical clocks, exchanges of times and restarts.
#![allow(clippy::unwrap_used)]

use plimsoll::clock::UnixMillis;
use plimsoll::hlc::{HybridClock, HybridTime};
use proptest::prelude::*;

const BOUND_MS: u64 = 5_000;
const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// The physical clock of a node steps, forwards or back.
    Move { node: usize, by_ms: i64 },
    /// A node asks for a time.
    Give { node: usize },
    /// A node observes the latest time of another one.
    Observe { node: usize, of: usize },
    /// What a node wants to reserve becomes durable; or the node crashes before it is told so.
    Reserve { node: usize, is_told: bool },
    /// A node starts again from its reservation.
    Restart { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        2 => (node(), prop_oneof![-40..400_i64, -9_000..9_000_i64])
            .prop_map(|(node, by_ms)| Step::Move { node, by_ms }),
        6 => node().prop_map(|node| Step::Give { node }),
        3 => (node(), node()).prop_map(|(node, of)| Step::Observe { node, of }),
        3 => (node(), prop::bool::weighted(0.8))
            .prop_map(|(node, is_told)| Step::Reserve { node, is_told }),
        1 => node().prop_map(|node| Step::Restart { node }),
    ]
}

struct Node {
    clock: HybridClock,
    physical: UnixMillis,
    /// What is durable.
    reserved: UnixMillis,
    /// All that it gave, and since its start all that it observed.
    given: Option<HybridTime>,
    seen: Option<HybridTime>,
}

fn run(steps: &[Step]) -> Result<usize, TestCaseError> {
    let mut nodes: Vec<_> = (0..NODES)
        .map(|_| Node {
            clock: HybridClock::new(BOUND_MS, UnixMillis(0)),
            physical: UnixMillis(100_000),
            reserved: UnixMillis(0),
            given: None,
            seen: None,
        })
        .collect();
    let mut given = 0;
    for step in steps {
        match *step {
            Step::Move { node, by_ms } => {
                let physical = &mut nodes[node].physical;
                physical.0 = physical.0.checked_add_signed(by_ms).unwrap();
            }
            Step::Give { node } => {
                let slowest = nodes.iter().map(|node| node.physical).min();
                let node = &mut nodes[node];
                let Ok(time) = node.clock.now(node.physical, slowest) else { continue };
                prop_assert!(node.given < Some(time), "it only grows, over restarts too");
                prop_assert!(node.seen < Some(time), "it is later than what was observed");
                prop_assert!(time.wall < node.reserved, "it is reserved");
                let slowest = slowest.unwrap().min(node.physical);
                prop_assert!(time.wall <= slowest.after(BOUND_MS / 2), "it is not far ahead");
                prop_assert!(time.wall >= node.physical, "it follows the physical clock");
                node.given = Some(time);
                given += 1;
            }
            Step::Observe { node, of } => {
                let time = nodes[of].clock.latest();
                let node = &mut nodes[node];
                let is_far = time.wall > node.physical.after(BOUND_MS);
                let taken = node.clock.observe(time, node.physical);
                prop_assert_eq!(taken.is_err(), is_far);
                if !is_far {
                    node.seen = node.seen.max(Some(time));
                }
            }
            Step::Reserve { node, is_told } => {
                let node = &mut nodes[node];
                let wanted = node.clock.wanted_reservation(node.physical, None);
                if let Some(until) = wanted {
                    node.reserved = node.reserved.max(until);
                    if is_told {
                        node.clock.reserve(until);
                    }
                }
            }
            Step::Restart { node } => {
                let node = &mut nodes[node];
                node.clock = HybridClock::new(BOUND_MS, node.reserved);
                node.seen = None;
            }
        }
    }
    Ok(given)
}

#[test]
fn times_only_grow_over_steps_of_clocks_and_restarts() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let given = std::cell::Cell::new(0);
    let steps = prop::collection::vec(step(), 1..120);
    let result = runner.run(&steps, |steps| {
        given.set(given.get() + run(&steps)?);
        Ok(())
    });
    result.unwrap();
    assert!(given.get() > 1_000, "only {} times were given", given.get());
}
