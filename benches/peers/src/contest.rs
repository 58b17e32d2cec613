//! The contest: which operations are measured, on how many clients, over which connections, and in
//! which order.
//!
//! Every round measures every operation on every system, one system after the other, and begins with
//! another one each time: what disturbs the machine for a while disturbs all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ContestArgs;
use crate::load::{Load, Measured, Operation, fill};
use crate::machine::{Machine, processor_time};
use crate::report::{Report, Row};
use crate::systems::{Cluster, Link, System};

/// Over which connections clients reach a system.
#[derive(Clone, Copy, Debug)]
pub struct Wiring {
    connections: usize,
    /// Whether they go to all servers in turn, or all to the leader.
    spread: bool,
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = if self.spread { "all servers" } else { "the leader" };
        write!(f, "{} to {to}", self.connections)
    }
}

/// A system that takes part.
struct Contender {
    cluster: Cluster,
    /// Connections to the leader, and to all servers in turn.
    to_leader: Vec<Link>,
    to_all: Vec<Link>,
    /// What was found best for it, for writes and for reads.
    writes: Wiring,
    reads: Wiring,
}

/// Measures everything and prints it.
pub async fn run(args: &ContestArgs, clusters: Vec<Cluster>) -> Result<(), String> {
    let mut contenders = Vec::new();
    for cluster in clusters {
        contenders.push(Contender::new(cluster, args.keys).await?);
    }
    let most = args.clients.iter().copied().max().ok_or("no number of clients is given")?;
    let time = Duration::from_millis(args.milliseconds);
    for contender in &mut contenders {
        contender.wire(most, args.keys, time.min(TRIAL_TIME)).await?;
    }
    let mut report = Report::default();
    for round in 1..=args.rounds {
        let machine = Machine::measure(&args.folder)?;
        report.machine(round, machine);
        for operation in [Operation::Put, Operation::Cas, Operation::Get, Operation::List] {
            for &clients in &args.clients {
                let load = Load { operation, clients, keys: args.keys, time };
                let count = contenders.len();
                for place in 0..count {
                    let contender = &contenders[(place + round as usize) % count];
                    if contender.cluster.system.leaves_out(load) {
                        continue;
                    }
                    settle(&contenders).await?;
                    let (wiring, measured) = contender.measure(load).await?;
                    let system = contender.cluster.system;
                    report.row(Row { round, system, operation, clients, wiring, measured });
                }
            }
        }
    }
    report.print();
    Ok(())
}

impl Contender {
    /// Connects to a cluster once it is ready, and fills it.
    async fn new(cluster: Cluster, keys: u64) -> Result<Self, String> {
        let leader = cluster.ready().await?;
        let (mut to_leader, mut to_all) = (Vec::new(), Vec::new());
        for number in 0..CONNECTIONS {
            to_leader.push(cluster.connect(leader).await?);
            to_all.push(cluster.connect(number % cluster.servers.len()).await?);
        }
        let began = Instant::now();
        fill(&to_leader, keys).await.map_err(|why| format!("{}: {why}", cluster.system))?;
        let took = began.elapsed().as_secs_f64();
        eprintln!("{}: {keys} keys written in {took:.1} s", cluster.system);
        let one = Wiring { connections: 1, spread: false };
        Ok(Self { cluster, to_leader, to_all, writes: one, reads: one })
    }

    /// Tries connections, and takes those with which the system does most.
    async fn wire(&mut self, clients: usize, keys: u64, time: Duration) -> Result<(), String> {
        for operation in [Operation::Put, Operation::Get] {
            let mut tried = BTreeMap::new();
            for wiring in WIRINGS {
                let load = Load { operation, clients, keys, time };
                let measured = load.run(&self.cluster, &self.links(wiring, clients)).await?;
                let rate = measured.per_second as u64;
                eprintln!("{}: {operation}, connections: {wiring}: {rate}/s", self.cluster.system);
                tried.insert(rate, wiring);
            }
            let Some((_, best)) = tried.last_key_value() else { continue };
            match operation {
                Operation::Put => self.writes = *best,
                _ => self.reads = *best,
            }
        }
        Ok(())
    }

    /// Measures a load over the connections that were found best. One client has one, to the leader.
    async fn measure(&self, load: Load) -> Result<(Wiring, Measured), String> {
        let wiring = match load.operation {
            _ if load.clients == 1 => Wiring { connections: 1, spread: false },
            Operation::Put | Operation::Cas => self.writes,
            Operation::Get | Operation::List => self.reads,
        };
        let links = self.links(wiring, load.clients);
        let measured = load.run(&self.cluster, &links).await;
        let measured = measured.map_err(|why| format!("{}: {why}", self.cluster.system))?;
        Ok((Wiring { connections: links.len(), ..wiring }, measured))
    }

    fn links(&self, wiring: Wiring, clients: usize) -> Vec<Link> {
        let links = if wiring.spread { &self.to_all } else { &self.to_leader };
        links[..wiring.connections.min(clients)].to_vec()
    }
}

/// Waits until no server works on what was asked of it before, whichever it is.
async fn settle(contenders: &[Contender]) -> Result<(), String> {
    let until = Instant::now() + SETTLE_TIME;
    while Instant::now() < until {
        let pids = || contenders.iter().flat_map(|contender| contender.cluster.pids());
        let before = processor_time(pids())?;
        sleep(SETTLE_PERIOD).await;
        if processor_time(pids())?.saturating_sub(before) <= SETTLE_PERIOD / 5 {
            break;
        }
    }
    Ok(())
}

impl System {
    /// What is not measured on a system. A list of NATS 2.9 looks through all keys: what many clients
    /// ask for waits in its queue, and is still worked on long after they have left.
    fn leaves_out(self, load: Load) -> bool {
        self == Self::Nats && load.operation == Operation::List && load.clients > 16
    }

    /// Whether the system's answers mean what the aims ask for, and if not, why.
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Plimsoll | Self::Etcd => None,
            Self::Nats => Some(
                "not the same promises: NATS 2.9 answers a write before it is on any disk (it syncs every two \
                 minutes, and can't be told to sync each write), and its get is answered by any replica, \
                 which may be behind; neither is compared with an aim",
            ),
        }
    }
}

/// The connections that are tried.
const WIRINGS: [Wiring; 4] = [
    Wiring { connections: 1, spread: false },
    Wiring { connections: 8, spread: false },
    Wiring { connections: CONNECTIONS, spread: false },
    Wiring { connections: 9, spread: true },
];
/// The most that are tried.
const CONNECTIONS: usize = 32;
/// For how long each is tried, at most.
const TRIAL_TIME: Duration = Duration::from_millis(700);
/// Before each measurement the servers have to be idle for so long; it is not waited for longer than
/// the other.
const SETTLE_PERIOD: Duration = Duration::from_millis(150);
const SETTLE_TIME: Duration = Duration::from_secs(10);
