//! Deliberate bugs: the simulator must find each, and the table says how many seeds it takes.

use std::process::{Command, ExitCode};

use super::{Args, is_caught, job_of};
use crate::runner::{self, Manner};
use crate::scenario::Scenario;

/// Runs this very command line again, built with mutants, in a target folder of its own. The
/// configuration is that of the build.
pub(crate) fn run_again(target: &str, configuration: &[&str]) -> ExitCode {
    let arguments = std::env::args().skip(1);
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--release", "--package", "plimsoll-sim", "--features", "mutants"])
        .args(configuration)
        .args(["--target-dir", target, "--"])
        .args(arguments)
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(None) => ExitCode::from(1),
        Err(why) => {
            eprintln!("error: cargo can't be run: {why}");
            ExitCode::from(2)
        }
    }
}

/// Tries every mutant with up to so many seeds; answers whether all were caught.
pub(super) fn table(args: &Args, scenarios: &[Scenario]) -> Result<bool, String> {
    let seeds = args.seeds.unwrap_or(SEEDS_OF_MUTANT);
    let args = Args { seeds: Some(seeds), ..args.clone() };
    // Raft's mutants do nothing to nodes that have no Raft.
    let is_other = |it: &&Scenario| scenarios.len() == 1 || it.name != CRDT_SCENARIO;
    let others: Vec<_> = scenarios.iter().filter(is_other).cloned().collect();
    let mut are_caught = true;
    println!("| mutant | scenario | seeds to catch | broken promise |\n|---|---|---|---|");
    // Asked for one scenario of replicas, only their mutants are tried, and for another one the rest.
    let is_meant = |name: &&str| match &args.scenario {
        None => true,
        Some(scenario) => (scenario == CRDT_SCENARIO) == is_of_crdt(name),
    };
    for name in names().filter(is_meant) {
        if let Some((_, why)) = NOT_SHOWN.iter().find(|(hidden, _)| *hidden == name) {
            println!("| {name} | | not shown by a cluster: {why} | |");
            continue;
        }
        let manner = Manner { mutant: Some(name.to_owned()), ..Manner::default() };
        let home = HOMES.iter().find(|(at_home, _)| *at_home == name).map(|(_, home)| *home);
        let home = if is_of_crdt(name) { Some(CRDT_SCENARIO) } else { home };
        let scenario = home.and_then(Scenario::named).filter(|_| args.scenario.is_none());
        let tried = scenario.as_ref().map_or(&others[..], std::slice::from_ref);
        let place = if let [only] = tried { only.name } else { "all in turn" };
        let caught = (0..seeds).find_map(|n| {
            let report = runner::run(&job_of(&args, tried, n)?, &manner);
            let promise = report.result.as_ref().err().map_or("", |violation| violation.name);
            is_caught(&report).then_some((n + 1, promise))
        });
        match caught {
            Some((seeds, promise)) => println!("| {name} | {place} | {seeds} | {promise} |"),
            None => {
                println!("| {name} | {place} | not within {seeds} | |");
                are_caught = false;
            }
        }
    }
    Ok(are_caught)
}

/// Seeds after which a mutant counts as not caught.
const SEEDS_OF_MUTANT: u64 = 3_000;

/// The scenario whose nodes are CRDT nodes.
const CRDT_SCENARIO: &str = "crdt";

/// Mutants that show in one scenario sooner than in all of them in turn.
const HOMES: &[(&str, &str)] = &[
    ("configuration missing in the snapshot", "membership"),
    ("corrupt middle is cut as a tail", "disks"),
    ("cut is not synced", "restarts"),
    ("dropped read is not issued again", "calm"),
    ("founded before all have pledged", "founding"),
    ("leader forgets the last log time", "clocks"),
    ("leader's clock without the quorum", "clocks"),
    ("pledge told before it is durable", "founding"),
    ("removed node votes", "membership"),
    ("restore keeps the epoch", "lost-majority"),
    ("restore keeps the sessions", "lost-majority"),
    ("second pledge is taken", "founding"),
    ("stamps follow the wall clock", "clocks"),
    ("torn tail is accepted", "restarts"),
    ("unknown session is opened silently", "lost-majority"),
];

/// Mutants that no run of clients on a cluster can show, and why. Other suites catch them.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("advance removes without a limit", "there are never a thousand keys"),
    ("deadline from the stamp", "a leader never stamps before the log time"),
    ("digest forgets the deadline", "equal machines stay equal"),
    ("history is never compacted", "it takes memory, and nothing else"),
    (
        "crdt snapshot is not compared with its digest",
        "checksums keep damaged snapshots out before",
    ),
    (
        "equal stamps keep the own value",
        "no two writes have one stamp here; a trial of replicas has them",
    ),
    (
        "hints are not followed",
        "exchanges bring the same a little later; a measured spread shows it",
    ),
    (
        "late clocks count",
        "no answer is later here than the bounds of a life allow; a golden script has one",
    ),
    ("log time goes back", "a leader never stamps before the log time"),
    ("purge takes its own revision", "these stores have no size that they could reach"),
    (
        "read context restarts",
        "it takes a drop, a late answer and two ends; a golden script has them",
    ),
    (
        "removal told before it is durable",
        "it takes a removal and a crash at once; a golden script has it",
    ),
    ("sequence numbers have no upper end", "a client never has a thousand writes under way"),
    ("snapshot is not compared with its digest", "checksums keep damaged snapshots out before"),
];

/// The mutants that a cluster should show.
#[cfg(feature = "mutants")]
fn names() -> impl Iterator<Item = &'static str> {
    use plimsoll::mutant::{ALL, CRDT, FOUNDING, GOSSIP, RAFT, STORAGE};
    let raft = RAFT.iter().chain(FOUNDING).chain(STORAGE).chain(ALL);
    raft.chain(CRDT).chain(GOSSIP).copied()
}

/// Whether a mutant is one of CRDT nodes.
#[cfg(feature = "mutants")]
fn is_of_crdt(name: &str) -> bool {
    use plimsoll::mutant::{CRDT, GOSSIP};
    CRDT.contains(&name) || GOSSIP.contains(&name)
}

#[cfg(not(feature = "mutants"))]
const fn is_of_crdt(_: &str) -> bool {
    false
}

#[cfg(not(feature = "mutants"))]
fn names() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}
