//! How soon a write is everywhere.

use super::swarm::{Sent, Swarm, key, value};
use crate::rng::Rng;

/// What was measured of writes in one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// How many nodes.
    pub nodes: u64,
    /// Messages lost, of a hundred.
    pub loss_percent: u32,
    /// For each write, after how many milliseconds it was on all nodes, in ascending order.
    pub until_all_ms: Vec<u64>,
    /// For each write and other node, after how many milliseconds it was there, in ascending order.
    pub arrivals_ms: Vec<u64>,
    /// Bytes of one node for one write, those of an idle cluster in the same time taken off.
    pub bytes_per_write: f64,
    /// Bytes that one node sends in a second while nothing is written: of replicas, and of SWIM.
    pub idle_bytes: (f64, f64),
}

impl Spread {
    /// The time within which so many of a hundred writes were on all nodes.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> u64 {
        percentile(&self.until_all_ms, percent)
    }

    /// The time within which half of the nodes had a write.
    #[must_use]
    pub fn half_ms(&self) -> u64 {
        percentile(&self.arrivals_ms, 50)
    }

    /// The share of nodes that had a write after so long.
    #[must_use]
    pub fn share_after(&self, ms: u64) -> f64 {
        let count = self.arrivals_ms.partition_point(|arrival_ms| *arrival_ms <= ms);
        count as f64 / self.arrivals_ms.len() as f64
    }
}

/// Measures writes of 64 bytes under keys of 22 in a cluster that has been at rest.
///
/// # Panics
/// If a write is not everywhere after a minute.
#[must_use]
pub fn measure(nodes: u64, loss_percent: u32, writes: usize, seed: u64) -> Spread {
    let mut swarm = if nodes <= FOUNDERS_MAX {
        Swarm::new(nodes, seed)
    } else {
        Swarm::put_together(nodes, seed)
    };
    let is_whole = |swarm: &Swarm| swarm.ids().all(|id| swarm.replica(id).unmet().next().is_none());
    assert!(swarm.run_until(1_000_000, is_whole), "all meet");
    for id in 1..=nodes {
        // Digests name everyone who has ever written: so they do from the beginning on.
        swarm.put(id, &key(&format!("first/{id}")), &value(64, 1));
    }
    swarm.lost_per_million = loss_percent * 10_000;
    swarm.run(5_000);
    swarm.sent = Sent::default();
    swarm.run(IDLE_MS);
    let per_second = |bytes: u64| bytes as f64 / nodes as f64 / (IDLE_MS as f64 / 1_000.0);
    let idle_bytes = (per_second(swarm.sent.replica_bytes), per_second(swarm.sent.swim_bytes));
    let mut rng = Rng::of(seed, nodes);
    let (mut until_all_ms, mut arrivals_ms) = (Vec::new(), Vec::new());
    let (began_ms, before) = (swarm.now_ms(), swarm.sent.replica_bytes);
    for number in 0..writes {
        let name = format!("session/{number:014}");
        let arrived_ms = follow(&mut swarm, rng.between(1, nodes), &name);
        until_all_ms.extend(arrived_ms.last());
        arrivals_ms.extend(arrived_ms);
        // Its rounds come to an end before the next write.
        swarm.run(1_000);
    }
    let seconds = (swarm.now_ms() - began_ms) as f64 / 1_000.0;
    let sent = (swarm.sent.replica_bytes - before) as f64 / nodes as f64;
    until_all_ms.sort_unstable();
    arrivals_ms.sort_unstable();
    let bytes_per_write = (sent - idle_bytes.0 * seconds) / writes as f64;
    Spread { nodes, loss_percent, until_all_ms, arrivals_ms, bytes_per_write, idle_bytes }
}

/// Writes at a node, and tells after how many milliseconds the write was at each of the others.
fn follow(swarm: &mut Swarm, at: u64, name: &str) -> Vec<u64> {
    let (key, start_ms) = (key(name), swarm.now_ms());
    let stamp = swarm.put(at, &key, &value(64, 7));
    let mut without: Vec<_> = swarm.ids().filter(|id| *id != at).collect();
    let mut arrived_ms = Vec::new();
    while !without.is_empty() {
        let next_ms = swarm.now_ms() + 1;
        while swarm.step(next_ms) {}
        let passed_ms = swarm.now_ms() - start_ms;
        let before = without.len();
        without.retain(|id| {
            let held = swarm.replica(*id).map().entry(&key).map(|entry| entry.stamp());
            held != Some(stamp)
        });
        arrived_ms.extend((without.len()..before).map(|_| passed_ms));
        assert!(passed_ms < 60_000, "{without:?} never got {name}");
    }
    arrived_ms
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

/// How many nodes begin together at most: to meet all others takes each of them so long.
const FOUNDERS_MAX: u64 = 200;
/// For how long an idle cluster is looked at.
const IDLE_MS: u64 = 60_000;
