//! The command line of `cargo madsim`: seeds to run, failures to reproduce.
//!
//! Each seed runs twice, in fresh threads, and both runs must be the same to the last effect. Results
//! go to stdout; every failure ends with the line that makes it happen again.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use super::faults::Kind;
use super::run::{Report, run};
use crate::cli::mutants::run_again;
use crate::invariants::NO_PANIC;
use crate::runner::{self, REPEATABLE};

/// Runs production nodes in simulated processes, with every fault there is.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo madsim")]
struct Args {
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Threads; all processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Print what happens.
    #[arg(long)]
    trace: bool,
    /// Skip the second run that compares every effect.
    #[arg(long)]
    once: bool,
    /// With this deliberate bug.
    #[arg(long)]
    mutant: Option<String>,
    /// How many seeds it takes to find each deliberate bug of what only runs here; as many are tried.
    #[arg(long, conflicts_with_all = ["mutant", "seed"])]
    mutants: bool,
}

/// Sums over all runs.
#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    failed: u64,
    weak: u64,
    operations: u64,
    faults: BTreeMap<Kind, u64>,
    simulated: Duration,
    /// Real time of the first runs, all threads together.
    busy: Duration,
}

/// Runs the command line.
#[must_use]
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let args = Args::parse_from(arguments);
    if (args.mutant.is_some() || args.mutants) && !cfg!(feature = "mutants") {
        return run_again("target/madsim-mutants", &["--config", "sim/madsim.toml"]);
    }
    runner::quiet_panics();
    if args.mutants {
        return if table(&args) { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    let start = Instant::now();
    let totals = run_seeds(&args);
    if finish(&totals, start.elapsed()) { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn run_seeds(args: &Args) -> Totals {
    let (first, count) = args.seed.map_or((args.start, args.seeds), |seed| (seed, 1));
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if args.trace { 1 } else { args.jobs.unwrap_or(processors).max(1) };
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            let report = run_twice(args, first + n);
            let mut totals = totals.lock().expect("nobody panics with it");
            totals.add(&report);
            if report.result.is_err() {
                print_failure(args, first + n, &report);
                is_over.fetch_or(!args.keep_going, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    totals.into_inner().expect("nobody panics with it")
}

/// Tries every deliberate bug of the node; answers whether all were caught.
fn table(args: &Args) -> bool {
    let mut are_caught = true;
    println!("| mutant | seeds to catch | broken promise |\n|---|---|---|");
    for name in mutants() {
        let args = Args { mutant: Some((*name).to_owned()), ..args.clone() };
        let caught = (0..args.seeds).find_map(|n| {
            let result = run_once(&args, args.start + n, args.trace).result;
            result.err().map(|violation| (n + 1, violation.name))
        });
        match caught {
            Some((seeds, promise)) => println!("| {name} | {seeds} | {promise} |"),
            None => {
                println!("| {name} | not within {} | |", args.seeds);
                are_caught = false;
            }
        }
    }
    are_caught
}

#[cfg(feature = "mutants")]
const fn mutants() -> &'static [&'static str] {
    plimsoll::mutant::NODE
}

#[cfg(not(feature = "mutants"))]
const fn mutants() -> &'static [&'static str] {
    &[]
}

/// Runs a seed, and if it is well once more: the second run must be the same.
fn run_twice(args: &Args, seed: u64) -> Report {
    let first = run_once(args, seed, args.trace);
    if args.once || args.trace || first.result.is_err() {
        return first;
    }
    let second = run_once(args, seed, false);
    if first.hash == second.hash && second.result.is_ok() {
        return first;
    }
    let details = format!("hash {:016x}, and {:016x}", first.hash, second.hash);
    Report { result: Err(REPEATABLE.broken(details)), ..first }
}

/// Runs a seed in a thread of its own: what is thread-local is fresh there.
fn run_once(args: &Args, seed: u64, is_printed: bool) -> Report {
    thread::scope(|scope| {
        let play = || {
            runner::set_mutant(args.mutant.as_deref());
            std::panic::catch_unwind(|| run(seed, is_printed)).map_err(|panic| {
                format!("{}: {}", runner::panicked_at(), crate::world::words_of(&*panic))
            })
        };
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, play);
        let joined = thread.expect("a thread can be started").join();
        joined.expect("panics are caught within")
    })
    .unwrap_or_else(|words| Report::broken(NO_PANIC.broken(words)))
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.failed += u64::from(report.result.is_err());
        self.weak += u64::from(is_weak(report));
        self.operations += report.result.as_ref().map_or(0, |summary| summary.operations);
        for (kind, count) in &report.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.simulated += report.simulated;
        self.busy += report.wall;
    }
}

/// Whether a run says little: nothing went wrong in it, or too few operations have a known end.
fn is_weak(report: &Report) -> bool {
    let Ok(summary) = report.result else { return false };
    report.faults.is_empty() || summary.operations == 0 || summary.definite * 2 < summary.operations
}

fn print_failure(args: &Args, seed: u64, report: &Report) {
    let Err(violation) = &report.result else { return };
    println!("FAILED: seed {seed}\n{violation}");
    println!("the last events:");
    report.newest.iter().for_each(|note| println!("  {note}"));
    println!("the nodes:");
    report.overview.iter().for_each(|node| println!("  {node}"));
    let mutant = args.mutant.as_ref().map_or(String::new(), |name| format!(" --mutant {name:?}"));
    println!("reproduce: cargo madsim --seed {seed}{mutant} --trace");
}

/// The last lines. Answers whether all is well.
fn finish(totals: &Totals, wall: Duration) -> bool {
    let mut is_well = totals.failed == 0;
    let counts: Vec<_> = Kind::all()
        .map(|kind| (kind, totals.faults.get(&kind).copied().unwrap_or(0)))
        .map(|(kind, count)| format!("{} {count}", kind.as_str()))
        .collect();
    println!("faults: {}", counts.join(", "));
    if totals.seeds == 0 {
        println!("no seed was run");
        is_well = false;
    }
    let missing: Vec<_> = Kind::all().filter(|kind| !totals.faults.contains_key(kind)).collect();
    if totals.seeds >= SEEDS_OF_ALL && !missing.is_empty() {
        println!("faults that never fired: {missing:?}");
        is_well = false;
    }
    if totals.weak * 100 > totals.seeds * WEAK_PERCENT_MAX {
        println!("too many weak seeds: {} of {}", totals.weak, totals.seeds);
        is_well = false;
    }
    let faults: u64 = totals.faults.values().sum();
    println!(
        "seeds={} failed={} weak={} ops={} faults={faults} simulated={}s wall={:.1}s ratio={:.0}x",
        totals.seeds,
        totals.failed,
        totals.weak,
        totals.operations,
        totals.simulated.as_secs(),
        wall.as_secs_f64(),
        totals.simulated.as_secs_f64() / totals.busy.as_secs_f64().max(1e-9),
    );
    is_well
}

/// Seeds among which every kind of fault must fire.
const SEEDS_OF_ALL: u64 = 20;
/// Weak seeds, of a hundred, from which on the simulator is at fault.
const WEAK_PERCENT_MAX: u64 = 5;
const STACK_BYTES: usize = 8 << 20;
