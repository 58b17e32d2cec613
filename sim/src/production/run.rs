//! One seed, from the founding of its cluster to the verdict.
//!
//! The run's own task takes one slot of time after the other: it looks who leads, ends the faults that
//! are over, draws new ones, and starts what is down. In the end everything is healed; then there must
//! be a leader, everything that was pending must be resolved, the members must be those that are wanted
//! and hold the same, watches must have seen it all, and the history must be linearizable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use madsim::Config;
use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use madsim::time::{sleep, timeout};
use plimsoll::entry::Version;
use plimsoll::node::{MemberStatus, NodeStatus, Phase};
use plimsoll::raft::Role;

use super::callers::is_behind;
use super::faults::{Kind, Swarm};
use super::hosts::{Host, Part, State};
use super::stage::{Shared, now, now_us, spawn_at};
use super::wires::{
    Link, OPERATOR, RELAY, Wires, clients_address, clients_listen_address, ip_of, listen_address,
    public_address,
};
use crate::faults::Rates;
use crate::invariants::{
    CONVERGED_AFTER_HEALING, LEADER_AFTER_HEALING, RESOLVED_AFTER_HEALING, Violation,
};
use crate::rng::Rng;
use crate::scenario::{Plan, Scenario};
use crate::world::{Summary, Workload};

mod inject;
mod members;

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub result: Result<Summary, Violation>,
    /// Covers all that happened.
    pub hash: u64,
    pub simulated: Duration,
    pub wall: Duration,
    pub faults: BTreeMap<Kind, u64>,
    pub newest: Vec<String>,
    pub overview: Vec<String>,
}

impl Report {
    /// Of a run that broke off.
    pub fn broken(violation: Violation) -> Self {
        Self {
            result: Err(violation),
            hash: 0,
            simulated: Duration::ZERO,
            wall: Duration::ZERO,
            faults: BTreeMap::new(),
            newest: Vec::new(),
            overview: Vec::new(),
        }
    }
}

/// Runs a seed in this thread, which must be a fresh one.
pub(super) fn run(seed: u64, is_printed: bool) -> Report {
    let start = Instant::now();
    let plan = plan_of(seed);
    let mut config = Config::default();
    // Every message takes two hops.
    config.net.send_latency =
        Duration::from_micros(plan.link_us_min)..Duration::from_micros(plan.link_us_max);
    // The first of all: with it the thread's hash maps have the order of the seed.
    let runtime = Runtime::with_seed_and_config(seed, config);
    let simulated = async move {
        runtime.block_on(async move {
            let mut run = Run::new(plan, seed, is_printed);
            let result = run.play().await;
            let overview = run.overview().await;
            let report = run.report(result, overview);
            run.shared.lock().empty();
            report
        })
    };
    let mut report = with_channels_of(seed, simulated);
    report.wall = start.elapsed();
    report
}

/// Runs with what is random in channels from a seed.
///
/// They are those of the true tokio: which of those who wait for a `watch` is woken first is random in
/// them. A runtime of theirs around the simulated one has no other purpose.
fn with_channels_of<T>(seed: u64, simulated: impl Future<Output = T>) -> T {
    let random = channels::runtime::RngSeed::from_bytes(&seed.to_le_bytes());
    let around = channels::runtime::Builder::new_current_thread().rng_seed(random).build();
    around.expect("it needs nothing").block_on(channels::task::unconstrained(simulated))
}

fn plan_of(seed: u64) -> Plan {
    let scenario = Scenario::custom("production", "the production node", Rates::none());
    let mut plan = scenario.plan(seed, None);
    let mut rng = Rng::of(seed, PLAN);
    plan.nodes = rng.pick(&[3, 3, 3, 5]);
    plan.spares = rng.pick(&[0, 1, 1, 2]);
    // Less at once than where no connection costs anything.
    plan.burst_max = 6;
    plan
}

/// The clients that use the shipped client: in one seed of four none, in one all, else some.
fn callers_of(plan: &Plan, seed: u64) -> Vec<u8> {
    let mut rng = Rng::of(seed, CALLERS);
    let percent = rng.pick(&[0, 50, 50, 100]);
    let clients = 0..u8::try_from(plan.clients).expect("few clients");
    clients.filter(|_| rng.below(100) < percent).collect()
}

/// A run.
struct Run {
    shared: Shared,
    wires: Wires,
    swarm: Swarm,
    rng: Rng,
    /// What ends, or begins again, and when.
    later: BTreeMap<(u64, u64), Later>,
    laters: u64,
    /// Links that are held, once for each partition.
    held: BTreeMap<u64, BTreeSet<Link>>,
    relay_at: NodeId,
    operator_at: NodeId,
    /// The host whose clock may be off.
    clock_at: u8,
}

/// What happens later by itself.
#[derive(Clone, Copy, Debug)]
enum Later {
    Start(u8),
    Kill(u8, u64),
    Resume(u8),
    Release(u64),
    Unclog(NodeId),
    Retire(u8),
    Quicken(u8),
}

impl Run {
    fn new(plan: Plan, seed: u64, is_printed: bool) -> Self {
        let mut rng = Rng::of(seed, FAULTS);
        let founders = u8::try_from(plan.nodes).expect("few nodes");
        let places = u8::try_from(plan.nodes + plan.spares).expect("few nodes");
        let half_ms = i64::try_from(plan.clock_bound_ms / 2).expect("a small bound");
        let offset =
            |rng: &mut Rng| i64::try_from(rng.below(1_000)).expect("small") * half_ms / 1_000;
        let part = |place| if place < founders { Part::Founder } else { Part::Spare };
        let host = |place| Host::new(place, part(place), offset(&mut rng));
        let hosts = (0..places).map(host).collect();
        let handle = Handle::current();
        let clients_at = handle.create_node().name("clients").build().id();
        let relay_at = handle.create_node().name("relay").ip(RELAY).build().id();
        let operator_at = handle.create_node().name("operator").ip(ip_of(OPERATOR)).build().id();
        let clock_at = u8::try_from(rng.below(u64::from(places))).expect("few nodes");
        let callers = callers_of(&plan, seed);
        let run = Self {
            shared: Shared::new(plan, hosts, clients_at, is_printed),
            wires: Wires::default(),
            swarm: Swarm::drawn(&mut rng),
            rng,
            later: BTreeMap::new(),
            laters: 0,
            held: BTreeMap::new(),
            relay_at,
            operator_at,
            clock_at,
        };
        for place in 0..places {
            run.relay(place, public_address(place, 0), listen_address(place));
            run.relay(place, clients_address(place), clients_listen_address(place));
        }
        run.shared.let_out(&callers);
        run
    }

    fn relay(&self, place: u8, at: SocketAddr, listens: SocketAddr) {
        spawn_at(self.relay_at, self.wires.clone().relay(place, at, listens));
    }

    async fn play(&mut self) -> Result<Summary, Violation> {
        for place in self.wanted() {
            self.later(u64::from(place) * 7, Later::Start(place));
        }
        self.shared.tell(|clients, context| clients.start(context));
        let duration = Duration::from_millis(self.shared.lock().plan.duration_ms);
        while now() < duration {
            self.slot().await?;
            self.inject().await;
        }
        self.heal();
        self.expect_leader().await?;
        self.expect_resolved().await?;
        self.expect_equal().await?;
        self.shared.lock().clients.finish()
    }

    /// Lets a slot of time pass.
    async fn slot(&mut self) -> Result<(), Violation> {
        sleep(SLOT).await;
        self.shared.lock().check()?;
        self.bury();
        self.take_away();
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now_us()
        {
            let later = entry.remove();
            self.end(later);
        }
        self.look().await;
        Ok(())
    }

    /// Processes whose node has ended are killed, and started again after a while.
    fn bury(&mut self) {
        for place in self.places() {
            let state = self.shared.lock().hosts[usize::from(place)].state;
            if matches!(state, State::Ended | State::Closed) {
                // Who was closed has lost nothing, whatever happens then.
                let image = (state == State::Ended).then(|| self.rng.next());
                self.shared.kill(place, image);
                let down_ms = self.rng.between(100, 2_000);
                self.later(down_ms, Later::Start(place));
            }
        }
    }

    /// Looks who leads.
    async fn look(&mut self) {
        let mut leader: Option<(u64, u8)> = None;
        for place in self.places() {
            if let Some(status) = self.status(place).await
                && status.raft.role == Role::Leader
                && leader.is_none_or(|(term, _)| status.raft.term > term)
            {
                leader = Some((status.raft.term, place));
            }
        }
        self.shared.lock().leader = leader.map(|(_, place)| place);
    }

    /// What a node at work tells of itself.
    async fn status(&self, place: u8) -> Option<MemberStatus> {
        let handle = {
            let stage = self.shared.lock();
            let host = &stage.hosts[usize::from(place)];
            host.handle.clone().filter(|_| host.is_at_work())?
        };
        match timeout(STATUS_TIME, handle.status()).await {
            Ok(Some(NodeStatus { phase: Phase::Member(status), .. })) => Some(*status),
            _ => None,
        }
    }

    async fn expect_leader(&mut self) -> Result<(), Violation> {
        let election = Duration::from_micros(self.shared.lock().plan.election_us());
        let end = now() + election * LEADER_ELECTIONS;
        while now() < end {
            self.slot().await?;
        }
        if self.leader_of_all().await.is_none() {
            return Err(LEADER_AFTER_HEALING.broken(self.overview().await.join("\n")));
        }
        Ok(())
    }

    /// The leader that all wanted nodes follow.
    async fn leader_of_all(&self) -> Option<MemberStatus> {
        let mut leader = None;
        let mut followed = BTreeSet::new();
        for place in self.wanted() {
            let status = self.status(place).await?;
            followed.insert(status.raft.leader?);
            if status.raft.role == Role::Leader {
                leader = Some(status);
            }
        }
        leader.filter(|leader| followed.iter().eq([&leader.raft.id]))
    }

    async fn expect_resolved(&mut self) -> Result<(), Violation> {
        let patience = Duration::from_millis(self.shared.lock().plan.patience_ms);
        let end = now() + patience * 3 + RESOLVE_TIME;
        while self.shared.lock().clients.pending() > 0 {
            self.slot().await?;
            if now() > end {
                let pending = self.shared.lock().clients.pending();
                let overview = self.overview().await.join("\n");
                let what = format!("{pending} operations are pending\n{overview}");
                return Err(RESOLVED_AFTER_HEALING.broken(what));
            }
        }
        Ok(())
    }

    /// Waits until the members are those that are wanted, and hold the same at the same index.
    async fn expect_equal(&mut self) -> Result<(), Violation> {
        let end = now() + SETTLE_TIME;
        loop {
            self.slot().await?;
            let whole = self.whole().await.filter(|whole| whole.are_equal);
            if let Some(leader) = whole.map(|whole| whole.leader) {
                let (applied, digest) = (leader.raft.applied, leader.digest);
                let what = format_args!("all hold {digest} at {applied}");
                self.shared.lock().record.note(None, what);
                return self.expect_seen(leader.revision).await;
            }
            if now() > end {
                return Err(CONVERGED_AFTER_HEALING.broken(self.overview().await.join("\n")));
            }
        }
    }

    /// Waits until all watches of clients elsewhere have seen a revision.
    async fn expect_seen(&mut self, revision: u64) -> Result<(), Violation> {
        let end = now() + SEEN_TIME;
        loop {
            self.slot().await?;
            let has_seen = |seen: &Option<Version>| matches!(seen, Some(Version::Numbered { revision: seen, .. }) if *seen >= revision);
            let behind = {
                let stage = self.shared.lock();
                let mut watched = stage.watched.iter();
                watched.find(|(_, seen)| !has_seen(seen)).map(|(number, seen)| (*number, *seen))
            };
            match behind {
                None => return Ok(()),
                Some((number, seen)) if now() > end => {
                    return Err(is_behind(number, seen, revision));
                }
                Some(_) => {}
            }
        }
    }

    /// All nodes in a line each.
    async fn overview(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for place in self.places() {
            let line = match self.status(place).await {
                Some(status) => {
                    format!("{:?}, {:?}, digest {}", status.raft, status.members, status.digest)
                }
                None => {
                    let stage = self.shared.lock();
                    let host = &stage.hosts[usize::from(place)];
                    format!("{:?}, {:?}, no status", host.part, host.state)
                }
            };
            lines.push(format!("node {place}: {line}"));
        }
        lines
    }

    fn report(&self, result: Result<Summary, Violation>, overview: Vec<String>) -> Report {
        let stage = self.shared.lock();
        Report {
            result,
            hash: stage.record.hash(),
            simulated: now(),
            wall: Duration::ZERO,
            faults: stage.faults.clone(),
            newest: stage.record.newest(),
            overview,
        }
    }

    fn places(&self) -> std::ops::Range<u8> {
        0..u8::try_from(self.shared.lock().hosts.len()).expect("few nodes")
    }

    /// The hosts that are to be voters.
    fn wanted(&self) -> Vec<u8> {
        let stage = self.shared.lock();
        let is_wanted = |host: &&Host| host.part.is_wanted();
        stage.hosts.iter().filter(is_wanted).map(|host| host.place).collect()
    }

    fn later(&mut self, in_ms: u64, later: Later) {
        self.laters += 1;
        self.later.insert((now_us() + in_ms * 1_000, self.laters), later);
    }
}

/// How often faults may begin.
const SLOT: Duration = Duration::from_millis(100);
/// How long a node that works may take to tell its status.
const STATUS_TIME: Duration = Duration::from_millis(50);
/// Election timeouts within which there is a leader.
const LEADER_ELECTIONS: u32 = 10;
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// How long nodes may take to be equal: entries expire, and clocks differ.
const SETTLE_TIME: Duration = Duration::from_secs(30);

/// How long watches may take to see what is there.
const SEEN_TIME: Duration = Duration::from_secs(15);

const CALLERS: u64 = 0x6361_6c6c;
const PLAN: u64 = 0x6d61_6473;
const FAULTS: u64 = 0x6661_756c;
