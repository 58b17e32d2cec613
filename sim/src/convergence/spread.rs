//! How soon a write is everywhere.

use super::swarm::{Swarm, key, value};
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
    /// For each write, after how many milliseconds it was on half of them.
    pub until_half_ms: Vec<u64>,
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

    /// The time within which half of the writes were on half of the nodes.
    #[must_use]
    pub fn half_ms(&self) -> u64 {
        percentile(&self.until_half_ms, 50)
    }
}

/// Measures writes of 64 bytes under keys of 22 in a cluster that has been at rest.
///
/// # Panics
/// If a write is not everywhere after a minute.
#[must_use]
pub fn measure(nodes: u64, loss_percent: u32, writes: usize, seed: u64) -> Spread {
    let mut swarm = Swarm::new(nodes, seed);
    let has_joined = |swarm: &Swarm| swarm.ids().all(|id| swarm.replica(id).has_joined());
    assert!(swarm.run_until(600_000, has_joined), "all join");
    let is_whole = |swarm: &Swarm| swarm.ids().all(|id| swarm.replica(id).status().is_whole);
    swarm.run_until(600_000, is_whole);
    for id in 1..=nodes {
        // Digests name everyone who has ever written: so they do from the beginning on.
        swarm.put(id, &key(&format!("first/{id}")), &value(64, 1));
    }
    swarm.lost_per_million = loss_percent * 10_000;
    swarm.run(5_000);
    swarm.sent = super::swarm::Sent::default();
    swarm.run(IDLE_MS);
    let per_second = |bytes: u64| bytes as f64 / nodes as f64 / (IDLE_MS as f64 / 1_000.0);
    let idle_bytes = (per_second(swarm.sent.replica_bytes), per_second(swarm.sent.swim_bytes));
    let mut rng = Rng::of(seed, nodes);
    let (mut until_all_ms, mut until_half_ms) = (Vec::new(), Vec::new());
    let (began_ms, before) = (swarm.now_ms(), swarm.sent.replica_bytes);
    for number in 0..writes {
        let key = key(&format!("session/{number:014}"));
        let at = rng.between(1, nodes);
        let start_ms = swarm.now_ms();
        let stamp = swarm.put(at, &key, &value(64, 7));
        let mut without: Vec<_> = (1..=nodes).filter(|id| *id != at).collect();
        let mut half_ms = None;
        while !without.is_empty() {
            without.retain(|id| {
                let held = swarm.replica(*id).map().entry(&key).map(|entry| entry.stamp());
                held != Some(stamp)
            });
            let passed_ms = swarm.now_ms() - start_ms;
            if without.len() as u64 <= nodes / 2 {
                half_ms.get_or_insert(passed_ms);
            }
            assert!(passed_ms < 60_000, "{without:?} never got {key:?}");
            if !without.is_empty() {
                let next_ms = swarm.now_ms() + 1;
                while swarm.step(next_ms) {}
            }
        }
        until_all_ms.push(swarm.now_ms() - start_ms);
        until_half_ms.extend(half_ms);
        // Its rounds come to an end before the next write.
        swarm.run(1_000);
    }
    let seconds = (swarm.now_ms() - began_ms) as f64 / 1_000.0;
    let sent = (swarm.sent.replica_bytes - before) as f64 / nodes as f64;
    until_all_ms.sort_unstable();
    until_half_ms.sort_unstable();
    let bytes_per_write = (sent - idle_bytes.0 * seconds) / writes as f64;
    Spread { nodes, loss_percent, until_all_ms, until_half_ms, bytes_per_write, idle_bytes }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

/// For how long an idle cluster is looked at.
const IDLE_MS: u64 = 60_000;
