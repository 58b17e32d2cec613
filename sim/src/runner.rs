//! Running seeds and schedules: each in a fresh thread, twice, and the second time must be the same.
//!
//! A fresh thread has fresh thread-local state (random numbers of libraries, the active mutant), so
//! that a run depends on nothing that ran before it.

use std::cell::RefCell;
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use crate::choices::Schedule;
use crate::client::Clients;
use crate::coverage::Coverage;
use crate::crdt::CrdtWorld;
use crate::invariants::Violation;
use crate::rng::Rng;
use crate::scenario::{Plan, Scenario};
use crate::trace::{Filter, Trace};
use crate::world::{Deviations, Summary, Workload, World};

/// What to run.
#[derive(Clone, Debug)]
pub enum Job {
    /// A seed of a scenario.
    Seed {
        /// Which scenario.
        scenario: Scenario,
        /// Which seed.
        seed: u64,
        /// So many founding nodes, instead of those that the seed draws.
        nodes: Option<u64>,
    },
    /// A recorded schedule.
    Schedule(Box<Schedule>),
}

impl Job {
    fn plan(&self) -> Plan {
        match self {
            Self::Seed { scenario, seed, nodes } => scenario.plan(*seed, *nodes),
            Self::Schedule(schedule) => schedule.plan.clone(),
        }
    }

    fn deviations(&self) -> Deviations {
        match self {
            Self::Seed { scenario, seed, .. } => {
                let rates = scenario.rates.swarm(&mut Rng::of(*seed, RATES));
                Deviations::Drawn(*seed, rates)
            }
            Self::Schedule(schedule) => Deviations::Recorded(schedule.clone()),
        }
    }
}

/// How to run it.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Which notes to print.
    pub printed: Option<Filter>,
    /// Which deliberate bug is active.
    pub mutant: Option<String>,
    /// Whether to run it a second time and compare.
    pub is_repeated: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What the workload did, or which promise was broken.
    pub result: Result<Summary, Violation>,
    /// A number that covers every effect.
    pub hash: u64,
    /// Events.
    pub steps: u64,
    /// Virtual time.
    pub simulated: Duration,
    /// Real time, of the first run.
    pub wall: Duration,
    /// What was reached.
    pub coverage: Coverage,
    /// What was done.
    pub schedule: Schedule,
    /// Deviations that did not apply.
    pub skipped: usize,
    /// What happened last, in words.
    pub newest: Vec<String>,
    /// The nodes at the end, in words.
    pub overview: String,
}

impl Report {
    /// Whether it says little: nothing went wrong in it, or too few operations have a known end.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        let Ok(summary) = self.result else { return false };
        self.coverage.faults_fired() == 0 || summary.definite * 2 < summary.operations
    }
}

/// Runs a job with clients: those of Raft nodes, or those of CRDT nodes.
#[must_use]
pub fn run(job: &Job, manner: &Manner) -> Report {
    run_with(job, manner, |plan| Box::new(Clients::new(plan)), |_| {})
}

/// Runs a job with a workload of one's own, on a world that was prepared. A world of CRDT nodes has its own
/// clients.
#[must_use]
pub fn run_with(
    job: &Job,
    manner: &Manner,
    workload: impl Fn(&Plan) -> Box<dyn Workload> + Sync,
    prepare: impl Fn(&mut World) + Sync,
) -> Report {
    let first = run_once(job, manner, &workload, &prepare);
    if !manner.is_repeated || first.result.is_err() {
        return first;
    }
    let second = run_once(job, &Manner { printed: None, ..manner.clone() }, &workload, &prepare);
    if (first.hash, first.steps) == (second.hash, second.steps) {
        return first;
    }
    let details = format!(
        "hash {:016x} after {} steps, and {:016x} after {} steps",
        first.hash, first.steps, second.hash, second.steps
    );
    Report { result: Err(REPEATABLE.broken(details)), ..first }
}

pub(crate) const REPEATABLE: crate::invariants::Promise = crate::invariants::Promise {
    name: "repeatable",
    sentence: "a run that is made again is the same to the last effect",
};

fn run_once(
    job: &Job,
    manner: &Manner,
    workload: &(impl Fn(&Plan) -> Box<dyn Workload> + Sync),
    prepare: &(impl Fn(&mut World) + Sync),
) -> Report {
    thread::scope(|scope| {
        let run = || run_here(job, manner, workload, prepare);
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
        let joined = thread.expect("a thread can be started").join();
        joined.expect("panics are caught within")
    })
}

fn run_here(
    job: &Job,
    manner: &Manner,
    workload: &impl Fn(&Plan) -> Box<dyn Workload>,
    prepare: &impl Fn(&mut World),
) -> Report {
    set_mutant(manner.mutant.as_deref());
    let start = Instant::now();
    let plan = job.plan();
    if plan.crdt > 0 {
        return report(CrdtWorld::new(plan, job.deviations(), manner.printed), start);
    }
    let clients = workload(&plan);
    let world = World::new(plan, job.deviations(), clients, manner.printed);
    let mut world = world.expect("nothing has happened yet");
    prepare(&mut world);
    report(world, start)
}

/// What the runner needs of a world.
pub(crate) trait Simulated {
    /// Runs to the end; what its clients did, or the first promise that is broken.
    fn run(&mut self) -> Result<Summary, Violation>;

    /// The schedule of what has happened so far.
    fn schedule(&self) -> Schedule;

    /// Deviations of a schedule that did not apply.
    fn skipped(&self) -> usize;

    /// A number that covers every effect so far.
    fn hash(&self) -> u64;

    /// Steps so far.
    fn steps(&self) -> u64;

    /// True time.
    fn now_us(&self) -> u64;

    /// What the run has reached.
    fn coverage(&self) -> &Coverage;

    /// What happened last.
    fn trace(&self) -> &Trace;

    /// All nodes in words.
    fn overview(&self) -> String;
}

impl Simulated for World {
    fn run(&mut self) -> Result<Summary, Violation> {
        Self::run(self)
    }

    fn schedule(&self) -> Schedule {
        Self::schedule(self)
    }

    fn skipped(&self) -> usize {
        Self::skipped(self)
    }

    fn hash(&self) -> u64 {
        Self::hash(self)
    }

    fn steps(&self) -> u64 {
        Self::steps(self)
    }

    fn now_us(&self) -> u64 {
        Self::now_us(self)
    }

    fn coverage(&self) -> &Coverage {
        Self::coverage(self)
    }

    fn trace(&self) -> &Trace {
        Self::trace(self)
    }

    fn overview(&self) -> String {
        Self::overview(self)
    }
}

/// Runs a world, and says what came of it.
fn report(mut world: impl Simulated, start: Instant) -> Report {
    let result = world.run();
    Report {
        result: result.map_err(with_place),
        hash: world.hash(),
        steps: world.steps(),
        simulated: Duration::from_micros(world.now_us()),
        wall: start.elapsed(),
        coverage: world.coverage().clone(),
        schedule: world.schedule(),
        skipped: world.skipped(),
        newest: world.trace().newest(),
        overview: world.overview(),
    }
}

#[cfg(feature = "mutants")]
pub(crate) fn set_mutant(name: Option<&str>) {
    plimsoll::mutant::set(name);
}

#[cfg(not(feature = "mutants"))]
pub(crate) fn set_mutant(name: Option<&str>) {
    assert!(name.is_none(), "built without mutants");
}

thread_local! {
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of runs from the terminal: they are part of reports.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANICKED_AT.with_borrow_mut(|at| *at = place);
    }));
}

/// Where this thread panicked last.
pub(crate) fn panicked_at() -> String {
    PANICKED_AT.with_borrow(Clone::clone)
}

fn with_place(mut violation: Violation) -> Violation {
    if violation.name == "no panic" {
        violation.details = format!("{}: {}", panicked_at(), violation.details);
    }
    violation
}

const RATES: u64 = 0x7261_7465;
const STACK_BYTES: usize = 8 << 20;
