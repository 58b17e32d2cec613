//! Scenarios: what a run is made of, before chance has its say.
//!
//! A [`Scenario`] is a table of fault rates and what it changes in the usual plan. A [`Plan`] is what
//! one run drew from it: sizes, periods, latencies, the mix of operations. The plan is part of the
//! schedule, the rates are not: replaying needs only what was done.
//!
//! Every plan runs for a minute of simulated time at least, with five clients and fifty operations a
//! second at least; then everything is healed, and what must come true then is checked.

use std::fmt;

use plimsoll::limits::RAFT_SNAPSHOT_KEPT_BYTES;
use plimsoll::raft::Options;
use plimsoll::storage::StorageOptions;

use crate::faults::{FaultKind, Rates};
use crate::rng::Rng;

macro_rules! plan {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a run was planned to be.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Plan {
            /// Of which scenario.
            pub scenario: String,
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Plan {
            const fn empty(scenario: String) -> Self {
                Self { scenario, $($name: 0,)+ }
            }

            fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
                match name {
                    $(stringify!($name) => self.$name = value,)+
                    _ => return Err(format!("a plan has no {name:?}")),
                }
                Ok(())
            }
        }

        impl fmt::Display for Plan {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                writeln!(f, "scenario {}", self.scenario)?;
                $(writeln!(f, "{} {}", stringify!($name), self.$name)?;)+
                Ok(())
            }
        }
    };
}

plan! {
    /// The seed of everything that goes its natural way.
    natural,
    /// Founding nodes.
    nodes,
    /// Nodes that may be added later.
    spares,
    /// 1 if the cluster is yet to be founded, by nodes with empty disks; 2 if one node too many tries.
    founding,
    /// Until everything is healed.
    duration_ms,
    /// Clients.
    clients,
    /// Operations that a client makes in one go, at most.
    burst_max,
    /// Between two bursts of a client, on average.
    burst_period_ms,
    /// Keys of each keyspace.
    keys,
    /// Watches that are open.
    watches,
    /// The longest that an operation is waited for.
    patience_ms,
    /// Writes with a time to live, of a hundred.
    ttl_percent,
    /// The longest time to live.
    ttl_ms_max,
    /// Reads, of a hundred operations.
    read_percent,
    /// Listings, of a hundred reads.
    list_percent,
    /// Writes with a condition, of a hundred.
    condition_percent,
    /// Transactions, of a hundred writes.
    transact_percent,
    /// The period of a node.
    tick_ms,
    /// Ticks between heartbeats.
    heartbeat_ticks,
    /// Ticks of the shortest election timeout.
    election_ticks,
    /// How far clocks may differ and still agree.
    clock_bound_ms,
    /// Entries between snapshots.
    snapshot_threshold,
    /// Bytes of a snapshot in one message.
    chunk_bytes,
    /// Bytes of a snapshot up to which it is kept in memory.
    snapshot_kept_bytes,
    /// Bytes of a segment of the log.
    segment_bytes,
    /// The usual latency of a link, at least.
    link_us_min,
    /// The usual latency of a link, at most.
    link_us_max,
    /// The usual latency of a disk, at least.
    disk_us_min,
    /// The usual latency of a disk, at most.
    disk_us_max,
    /// 1 if the nodes are CRDT nodes instead of Raft nodes.
    crdt,
    /// Most tombstones of a CRDT replica.
    tombstones_max,
    /// Bytes of records after which a CRDT replica's snapshot is saved.
    record_bytes_max,
}

impl Plan {
    /// The plan in the lines of a schedule.
    pub(crate) fn parse(lines: &[&str]) -> Result<Self, String> {
        let mut plan = Self::empty(String::new());
        for line in lines {
            let (name, value) = line.split_once(' ').ok_or_else(|| format!("no {line:?}"))?;
            if name == "scenario" {
                value.clone_into(&mut plan.scenario);
            } else {
                plan.set(name, value.parse().map_err(|_| format!("{line:?} is no number"))?)?;
            }
        }
        if plan.nodes == 0 || plan.nodes + plan.spares > HOSTS_MAX || plan.tick_ms == 0 {
            return Err("a plan has between 1 and 8 nodes, and ticks".to_owned());
        }
        Ok(plan)
    }

    /// The options of every node.
    #[must_use]
    pub fn options(&self) -> Options {
        let size = |value: u64| usize::try_from(value).expect("a small number");
        Options {
            tick_ms: self.tick_ms,
            heartbeat_ticks: size(self.heartbeat_ticks),
            election_ticks: size(self.election_ticks),
            clock_bound_ms: self.clock_bound_ms,
            snapshot_threshold: self.snapshot_threshold,
            chunk_bytes: size(self.chunk_bytes),
            snapshot_kept_bytes: self.snapshot_kept_bytes,
            ..Options::default()
        }
    }

    /// The options of every storage.
    #[must_use]
    pub fn storage_options(&self) -> StorageOptions {
        StorageOptions { segment_bytes: usize::try_from(self.segment_bytes).expect("small") }
    }

    /// The longest election timeout.
    #[must_use]
    pub const fn election_us(&self) -> u64 {
        2 * self.election_ticks * self.tick_ms * 1_000
    }
}

/// One kind of run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub about: &'static str,
    /// How often things go wrong in it.
    pub rates: Rates,
    adjust: fn(&mut Plan, &mut Rng),
}

impl Scenario {
    /// All scenarios.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let networks = NETWORK.iter().fold(Rates::none(), |rates, (k, r)| rates.with(*k, *r));
        let everything = EVERYTHING.iter().fold(networks.clone(), |all, (k, r)| all.with(*k, *r));
        let rates = |kinds: &[(FaultKind, u32)]| {
            kinds.iter().fold(Rates::none(), |rates, (kind, rate)| rates.with(*kind, *rate))
        };
        let new = |name, about, rates, adjust| Self { name, about, rates, adjust };
        vec![
            new("elections", "leaders come and go", rates(ELECTIONS), |_, _| {}),
            new("crash-recovery", "nodes end and start again", rates(CRASHES), |_, _| {}),
            new("partitions", "nodes do not hear each other", networks, |_, _| {}),
            new("clocks", "clocks step and drift", rates(CLOCKS), with_ttl),
            new("disks", "disks fail, fill up and forget", rates(DISKS), with_small_segments),
            new("membership", "nodes come and go for good", rates(MEMBERSHIP), with_members),
            new("laggards", "followers fall behind snapshots", rates(LAGGARDS), with_snapshots),
            new("ttl", "entries expire over changes of leader", rates(TTL), with_ttl),
            new("restarts", "nodes end again and again", rates(RESTARTS), |_, _| {}),
            new("calm", "a message is lost now and then", rates(CALM), |_, _| {}),
            new("races", "conditional writes race", rates(RACES), with_races),
            new("lost-majority", "a survivor goes on alone", rates(LOST), with_spares),
            new("founding", "a cluster comes to be", rates(FOUNDING), with_founding),
            new("everything", "all of it at once", everything, with_everything),
            new("crdt", "replicas that always take writes", rates(CRDT), with_replicas),
        ]
    }

    /// The scenario of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// A scenario of an embedder: its own name and rates, on the usual plan.
    #[must_use]
    pub fn custom(name: &'static str, about: &'static str, rates: Rates) -> Self {
        Self { name, about, rates, adjust: |_, _| {} }
    }

    /// Whether its nodes are CRDT nodes.
    #[must_use]
    pub fn is_of_crdt(&self) -> bool {
        self.plan(0, None).crdt > 0
    }

    /// The plan of a seed.
    #[must_use]
    pub fn plan(&self, seed: u64, nodes: Option<u64>) -> Plan {
        let mut rng = Rng::of(seed, PLAN);
        let link_us_min = rng.pick(&[100, 300, 1_000]);
        let disk_us_min = rng.pick(&[100, 500, 2_000]);
        let mut plan = Plan {
            scenario: self.name.to_owned(),
            natural: rng.next(),
            nodes: nodes.unwrap_or_else(|| rng.pick(&[3, 3, 3, 3, 5, 1])),
            spares: 0,
            founding: 0,
            duration_ms: 60_000,
            clients: rng.between(5, 7),
            burst_max: 12,
            burst_period_ms: 600,
            keys: rng.between(2, 8),
            watches: rng.between(1, 3),
            patience_ms: rng.pick(&[2_000, 3_000, 5_000]),
            ttl_percent: rng.pick(&[0, 10, 30]),
            ttl_ms_max: rng.pick(&[300, 2_000, 8_000]),
            read_percent: rng.between(20, 60),
            list_percent: rng.pick(&[0, 10, 30]),
            condition_percent: rng.pick(&[10, 30, 60]),
            transact_percent: rng.pick(&[0, 10, 30]),
            tick_ms: 100,
            heartbeat_ticks: 2,
            election_ticks: 10,
            clock_bound_ms: rng.pick(&[500, 2_000]),
            snapshot_threshold: rng.pick(&[64, 256, 1_024]),
            chunk_bytes: rng.pick(&[512, 4_096]),
            snapshot_kept_bytes: RAFT_SNAPSHOT_KEPT_BYTES,
            segment_bytes: rng.pick(&[16 << 10, 64 << 10]),
            link_us_min,
            link_us_max: link_us_min * rng.between(2, 6),
            disk_us_min,
            disk_us_max: disk_us_min * rng.between(2, 4),
            crdt: 0,
            tombstones_max: 0,
            record_bytes_max: 0,
        };
        (self.adjust)(&mut plan, &mut rng);
        plan.spares = plan.spares.min(HOSTS_MAX - plan.nodes);
        // Either every snapshot is small, or every one is large.
        plan.snapshot_kept_bytes = rng.pick(&[0, RAFT_SNAPSHOT_KEPT_BYTES]);
        plan
    }
}

fn with_ttl(plan: &mut Plan, rng: &mut Rng) {
    plan.ttl_percent = 60;
    plan.ttl_ms_max = rng.pick(&[2_000, 8_000, 60_000]);
    plan.nodes = plan.nodes.max(3);
}

fn with_small_segments(plan: &mut Plan, rng: &mut Rng) {
    plan.segment_bytes = rng.pick(&[4 << 10, 16 << 10]);
    plan.snapshot_threshold = rng.pick(&[32, 128]);
}

fn with_spares(plan: &mut Plan, rng: &mut Rng) {
    plan.nodes = plan.nodes.max(3);
    plan.spares = rng.between(2, 4);
    plan.snapshot_threshold = rng.pick(&[64, 256]);
}

fn with_members(plan: &mut Plan, rng: &mut Rng) {
    with_spares(plan, rng);
    plan.snapshot_threshold = rng.pick(&[8, 16, 64]);
}

fn with_snapshots(plan: &mut Plan, rng: &mut Rng) {
    plan.nodes = plan.nodes.max(3);
    plan.snapshot_threshold = rng.pick(&[16, 32, 64]);
    plan.chunk_bytes = rng.pick(&[128, 512]);
}

fn with_races(plan: &mut Plan, rng: &mut Rng) {
    plan.keys = rng.between(1, 2);
    plan.condition_percent = 90;
    plan.read_percent = 30;
    plan.transact_percent = 20;
}

fn with_everything(plan: &mut Plan, rng: &mut Rng) {
    with_spares(plan, rng);
    plan.ttl_percent = 30;
    plan.segment_bytes = rng.pick(&[4 << 10, 16 << 10]);
    plan.founding = rng.pick(&[0, 0, 1, 2]);
}

fn with_founding(plan: &mut Plan, rng: &mut Rng) {
    with_spares(plan, rng);
    plan.founding = rng.between(1, 2);
}

fn with_replicas(plan: &mut Plan, rng: &mut Rng) {
    plan.crdt = 1;
    if plan.nodes < 3 {
        plan.nodes = rng.pick(&[4, 7]);
    }
    plan.spares = if rng.chance(400_000) { rng.between(1, 2) } else { 0 };
    plan.keys = rng.pick(&[1, 2, 3, 8, 30]);
    plan.ttl_ms_max = rng.pick(&[300, 2_000, 8_000]);
    plan.clock_bound_ms = rng.pick(&[3_000, 5_000]);
    plan.tombstones_max = rng.pick(&[1, 1_000, 1_000, 1_000]);
    plan.chunk_bytes = rng.pick(&[1, 256, 64 << 10]);
    plan.record_bytes_max = rng.pick(&[1 << 10, 16 << 10, 256 << 10]);
}

/// Most nodes of a world, spares included: sets of links are 64 bits.
pub const HOSTS_MAX: u64 = 8;

const PLAN: u64 = 0x706c_616e;

use FaultKind as F;

const NETWORK: &[(FaultKind, u32)] = &[
    (F::Drop, 20_000),
    (F::Duplicate, 20_000),
    (F::Reorder, 20_000),
    (F::Partition, 10_000),
    (F::OneWay, 8_000),
    (F::Bridge, 6_000),
    (F::Clog, 8_000),
    (F::SlowLink, 8_000),
];

const ELECTIONS: &[(FaultKind, u32)] = &[
    (F::Pause, 15_000),
    (F::Transfer, 20_000),
    (F::Crash, 8_000),
    (F::Drop, 20_000),
    (F::Reorder, 10_000),
    (F::Partition, 8_000),
];

const CRASHES: &[(FaultKind, u32)] = &[
    (F::Crash, 20_000),
    (F::CrashAll, 2_000),
    (F::CrashInWrite, 1_500),
    (F::Pause, 8_000),
    (F::Drop, 5_000),
];

const CLOCKS: &[(FaultKind, u32)] = &[
    (F::ClockStep, 30_000),
    (F::ClockDrift, 15_000),
    (F::Pause, 8_000),
    (F::Transfer, 10_000),
    (F::Crash, 6_000),
    (F::Drop, 10_000),
];

const DISKS: &[(FaultKind, u32)] = &[
    (F::SyncError, 800),
    (F::DiskFull, 5_000),
    (F::SlowDisk, 10_000),
    (F::CrashInWrite, 1_500),
    (F::Crash, 10_000),
    (F::CrashAll, 1_500),
    (F::Corruption, 2_500),
    (F::Misdirection, 1_500),
];

const MEMBERSHIP: &[(FaultKind, u32)] = &[
    (F::Add, 20_000),
    (F::Remove, 20_000),
    (F::LostDisk, 5_000),
    (F::Transfer, 8_000),
    (F::Crash, 8_000),
    (F::Partition, 6_000),
    (F::Drop, 10_000),
];

const LAGGARDS: &[(FaultKind, u32)] = &[
    (F::Pause, 12_000),
    (F::Crash, 10_000),
    (F::Partition, 12_000),
    (F::Drop, 20_000),
    (F::Duplicate, 20_000),
    (F::Reorder, 20_000),
    (F::LostDisk, 3_000),
    (F::SlowLink, 8_000),
];

const TTL: &[(FaultKind, u32)] = &[
    (F::Transfer, 25_000),
    (F::Crash, 12_000),
    (F::Pause, 12_000),
    (F::Partition, 8_000),
    (F::ClockStep, 10_000),
    (F::ClockDrift, 8_000),
];

const RESTARTS: &[(FaultKind, u32)] = &[
    (F::Crash, 90_000),
    (F::Drop, 80_000),
    (F::Duplicate, 150_000),
    (F::Reorder, 100_000),
    (F::CrashInWrite, 3_000),
];

const CALM: &[(FaultKind, u32)] =
    &[(F::Drop, 700), (F::Reorder, 400), (F::Transfer, 4_000), (F::SlowDisk, 4_000)];

const RACES: &[(FaultKind, u32)] = &[
    (F::Crash, 10_000),
    (F::Pause, 10_000),
    (F::Drop, 40_000),
    (F::Duplicate, 40_000),
    (F::Reorder, 40_000),
    (F::Partition, 8_000),
    (F::Transfer, 10_000),
];

const LOST: &[(FaultKind, u32)] =
    &[(F::LostMajority, 2_000), (F::Crash, 8_000), (F::Drop, 10_000), (F::Partition, 6_000)];

const FOUNDING: &[(FaultKind, u32)] = &[
    (F::Drop, 20_000),
    (F::Duplicate, 10_000),
    (F::Reorder, 10_000),
    (F::Crash, 20_000),
    (F::CrashAll, 2_000),
    (F::CrashInWrite, 2_000),
    (F::SyncError, 1_000),
    (F::DiskFull, 3_000),
    (F::SlowDisk, 5_000),
    (F::Pause, 10_000),
    (F::Partition, 15_000),
    (F::OneWay, 8_000),
    (F::Bridge, 15_000),
    (F::Clog, 5_000),
    (F::ClockStep, 8_000),
    (F::LostMajority, 500),
];

const CRDT: &[(FaultKind, u32)] = &[
    (F::Drop, 20_000),
    (F::Duplicate, 20_000),
    (F::Reorder, 20_000),
    (F::Partition, 10_000),
    (F::OneWay, 6_000),
    (F::Bridge, 6_000),
    (F::Clog, 8_000),
    (F::SlowLink, 8_000),
    (F::Pause, 8_000),
    (F::Crash, 20_000),
    (F::CrashAll, 800),
    (F::CrashInWrite, 1_000),
    (F::LostDisk, 6_000),
    (F::SetBack, 10_000),
    (F::SyncError, 500),
    (F::DiskFull, 2_000),
    (F::SlowDisk, 4_000),
    (F::ClockStep, 4_000),
    (F::ClockDrift, 4_000),
    (F::Add, 5_000),
    (F::Remove, 5_000),
];

const EVERYTHING: &[(FaultKind, u32)] = &[
    (F::Pause, 6_000),
    (F::Crash, 8_000),
    (F::CrashAll, 800),
    (F::LostDisk, 2_000),
    (F::SyncError, 300),
    (F::DiskFull, 2_000),
    (F::SlowDisk, 4_000),
    (F::CrashInWrite, 500),
    (F::Corruption, 1_000),
    (F::Misdirection, 500),
    (F::ClockStep, 8_000),
    (F::ClockDrift, 6_000),
    (F::Add, 3_000),
    (F::Remove, 3_000),
    (F::Transfer, 6_000),
    (F::LostMajority, 600),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_belongs_to_a_scenario() {
        let drawn: Vec<_> =
            Scenario::all().iter().flat_map(|s| s.rates.kinds().collect::<Vec<_>>()).collect();
        for kind in FaultKind::ALL {
            assert!(drawn.contains(kind), "{kind:?}");
        }
    }

    #[test]
    fn plans_are_at_least_as_large_as_promised() {
        for scenario in Scenario::all() {
            for seed in 0..100 {
                let plan = scenario.plan(seed, None);
                assert!(plan.duration_ms >= 60_000 && plan.clients >= 5);
                // A burst has half of its most operations on average.
                let bursts = plan.clients * 1_000 * (plan.burst_max + 1);
                assert!(bursts >= 50 * 2 * plan.burst_period_ms, "{plan}");
                assert!(plan.nodes + plan.spares <= HOSTS_MAX);
            }
        }
    }
}
