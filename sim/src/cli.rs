//! The command line: seeds to run, failures to reproduce, mutants to catch.
//!
//! Results go to stdout, progress to stderr. Every failure ends with the one line that makes it
//! happen again, and with a schedule that does so at other commits too.

pub(crate) mod mutants;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::choices::Schedule;
use crate::coverage::{Coverage, Mark};
use crate::invariants::PROMISES;
use crate::runner::{self, Job, Manner, Report};
use crate::scenario::Scenario;
use crate::trace::Filter;
use output::Totals;

/// Runs whole clusters in one thread, with every fault there is, and checks every promise.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo sim")]
pub(crate) struct Args {
    /// Run this one seed.
    #[arg(long, conflicts_with_all = ["seeds", "replay"])]
    seed: Option<u64>,
    /// Run so many seeds: 20 if not given; with --mutants at most 3,000 for each.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Only this scenario; else all of them in turn.
    #[arg(long)]
    scenario: Option<String>,
    /// So many founding nodes, instead of those that each seed draws.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,
    /// Threads; all processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run new seeds for so long: 90s, 10m, 2h.
    #[arg(long = "for", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Print what happens.
    #[arg(long)]
    trace: bool,
    /// With --trace: from this step on.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// With --trace: up to this step.
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
    /// With --trace: only of this node.
    #[arg(long)]
    node: Option<u8>,
    /// Replay a recorded schedule.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Where schedules of failures are written.
    #[arg(long, default_value = "target/sim")]
    schedules: PathBuf,
    /// With this deliberate bug.
    #[arg(long)]
    mutant: Option<String>,
    /// Try every deliberate bug that a cluster should show, and print how many seeds it takes.
    #[arg(long, conflicts_with = "mutant")]
    mutants: bool,
    /// Skip the second run that compares every effect.
    #[arg(long)]
    once: bool,
    /// Print what was reached, and fail if something was never reached.
    #[arg(long)]
    coverage: bool,
    /// With --coverage: also the pairs of faults and situations that never met.
    #[arg(long)]
    pairs: bool,
    /// Print results as JSON lines.
    #[arg(long)]
    json: bool,
    /// List scenarios and promises.
    #[arg(long)]
    list: bool,
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
    if (args.mutant.is_some() || args.mutants) && !cfg!(feature = "mutants") {
        return mutants::run_again("target/mutants", &[]);
    }
    runner::quiet_panics();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    if let Some(path) = &args.replay {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let schedule: Schedule = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
        let job = Job::Schedule(Box::new(schedule));
        return Ok(run_jobs(args, &|n| (n == 0).then(|| job.clone())));
    }
    let scenarios = match &args.scenario {
        None => Scenario::all(),
        Some(name) => {
            let known = Scenario::named(name);
            vec![known.ok_or_else(|| format!("no scenario {name:?}: --list shows them"))?]
        }
    };
    if args.mutants {
        return mutants::table(args, &scenarios);
    }
    Ok(run_jobs(args, &|n| job_of(args, &scenarios, n)))
}

/// The n-th job: scenarios take turns by seed, so that a seed says which one it is.
fn job_of(args: &Args, scenarios: &[Scenario], n: u64) -> Option<Job> {
    let seed = args.seed.unwrap_or(args.start) + n;
    let count = if args.seed.is_some() { 1 } else { args.seeds.unwrap_or(SEEDS) };
    let has_time = args.duration.is_some() && args.seed.is_none();
    let turn = usize::try_from(seed % scenarios.len() as u64).expect("few scenarios");
    let scenario = scenarios[turn].clone();
    (n < count || has_time).then_some(Job::Seed { scenario, seed, nodes: args.nodes })
}

/// Runs jobs until there are none, or one fails. Answers whether all is well.
fn run_jobs(args: &Args, job: &(dyn Fn(u64) -> Option<Job> + Sync)) -> bool {
    let printed = args.trace.then_some(Filter { from: args.from, to: args.to, node: args.node });
    let manner =
        Manner { printed, mutant: args.mutant.clone(), is_repeated: !args.once && !args.trace };
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if args.trace { 1 } else { args.jobs.unwrap_or(processors).max(1) };
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let work = || {
        while !is_over.load(Ordering::Relaxed)
            && args.duration.is_none_or(|duration| start.elapsed() < duration)
        {
            let Some(job) = job(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let report = runner::run(&job, &manner);
            let mut totals = totals.lock().expect("nobody panics with it");
            let has_failed = report.result.is_err();
            if has_failed {
                output::failure(args, &job, &report);
            }
            totals.add(&job, &report);
            output::progress(args, &totals, start.elapsed());
            if has_failed && !args.keep_going {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let totals = totals.into_inner().expect("nobody panics with it");
    output::finish(args, &totals, start.elapsed())
}

fn list() {
    println!("scenarios");
    for scenario in Scenario::all() {
        println!("  {:<16} {}", scenario.name, scenario.about);
    }
    println!("promises");
    for promise in PROMISES {
        println!("  {:<24} {}", promise.name, promise.sentence);
    }
}

/// Seeds, unless it is said how many.
const SEEDS: u64 = 20;

/// `90s`, `10m`, `2h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time: 90s, 10m, 2h");
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(number * seconds))
}

/// What is missing in a coverage that should be whole: of one scenario of CRDT nodes, what concerns them.
fn missing(args: &Args, coverage: &Coverage) -> Vec<String> {
    let scenario = args.scenario.as_deref().and_then(Scenario::named);
    match scenario.filter(Scenario::is_of_crdt) {
        None => coverage.zeros(),
        Some(scenario) => {
            let is_drawn = |kind| scenario.rates.of(kind) > 0;
            coverage.zeros_among(is_drawn, Mark::is_of_crdt, false)
        }
    }
}

/// The pairs of a fault and a situation that never met although one scenario or another has both.
fn pairs_missing(args: &Args, coverage: &Coverage) -> Vec<String> {
    let scenarios = match args.scenario.as_deref().and_then(Scenario::named) {
        Some(scenario) => vec![scenario],
        None => Scenario::all(),
    };
    coverage.pairs_missing(|kind, mark| {
        let has_both =
            |it: &Scenario| it.is_of_crdt() == mark.is_of_crdt() && it.rates.of(kind) > 0;
        scenarios.iter().any(has_both)
    })
}

/// How a job is named.
fn name_of(job: &Job) -> String {
    match job {
        Job::Seed { scenario, seed, .. } => format!("seed {seed} of {}", scenario.name),
        Job::Schedule(schedule) => format!("the schedule of {}", schedule.plan.scenario),
    }
}

/// Whether a report counts as caught.
fn is_caught(report: &Report) -> bool {
    report.result.is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        for bad in ["", "m", "10", "1d", "-1s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
