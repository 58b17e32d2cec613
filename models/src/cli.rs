//! The command line: models to search, mutants to refute.
//!
//! Results go to stdout, progress to stderr. Every run ends with a line of its own, and a failure with
//! its trace before that.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use stateright::Model as _;

use crate::catalogue::{self, Entry};
use crate::collection::Collection;
use crate::collection::bounds::Bounds;
use crate::collection::mutants::Mutant;
use crate::collection::properties::PROMISES;
use crate::collection::rule::Rule;
use crate::collection::state::State;
use crate::collection::trace;
use crate::search::{Found, Manner, search};

/// Searches every interleaving of small clusters.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo models", arg_required_else_help = true)]
struct Args {
    /// Search this model.
    #[arg(required_unless_present_any = ["all", "list"], conflicts_with_all = ["all", "list"])]
    name: Option<String>,
    /// Search all models, and then all their mutants.
    #[arg(long, conflicts_with = "list")]
    all: bool,
    /// List models, promises and mutants.
    #[arg(long)]
    list: bool,
    /// Search within wider bounds: millions of states, in minutes.
    #[arg(long)]
    deep: bool,
    /// Search within these bounds: puts=1,deletes=1,empty=2. How many states there are is then not
    /// checked.
    #[arg(long, requires = "name", conflicts_with = "deep")]
    bounds: Option<Bounds>,
    /// With this part of the rule weakened: the search has to find a trace against it.
    #[arg(long, requires = "name")]
    mutant: Option<String>,
    /// Walk through the states in a browser instead.
    #[arg(long, requires = "name", conflicts_with = "deep")]
    explore: bool,
    /// Threads. With more than one, depths and traces may be longer than the shortest; a mutant always
    /// gets one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// Show progress also where stderr is no terminal.
    #[arg(long)]
    progress: bool,
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
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
    let Some(name) = &args.name else { return Ok(run_all(args)) };
    let entry =
        Entry::named(name).ok_or_else(|| format!("no model {name:?}: --list shows them"))?;
    let mutant = match &args.mutant {
        None => None,
        Some(name) => {
            let known = entry.mutants().find(|mutant| mutant.name() == name);
            Some(known.ok_or_else(|| format!("no mutant {name:?}: --list shows them"))?)
        }
    };
    if args.explore {
        explore(entry, mutant);
        return Ok(true);
    }
    Ok(match mutant {
        None => run_model(args, entry),
        Some(mutant) => run_mutant(args, entry, mutant),
    })
}

/// Every model within its bounds, and then all that is wrong with it. Goes on after a failure.
fn run_all(args: &Args) -> bool {
    let mut is_well = true;
    for entry in catalogue::ALL {
        is_well &= run_model(args, entry);
    }
    for entry in catalogue::ALL {
        for mutant in entry.mutants() {
            is_well &= run_mutant(args, entry, mutant);
        }
    }
    is_well
}

/// Searches a model; answers whether it holds, and has as many states as it should.
fn run_model(args: &Args, entry: &Entry) -> bool {
    let scope = if args.deep { entry.deep } else { entry.standard };
    let model = Collection::new(Rule::WHOLE, args.bounds.unwrap_or(scope.bounds));
    let found = search(model.clone(), manner(args, args.threads));
    let mut holds = true;
    if let Some((broken, states)) = &found.violated {
        print_lines(&trace::tell(&model, states, broken));
        holds = false;
    } else if found.unique != scope.unique && args.bounds.is_none() {
        println!("{} states were reached instead of {}", found.unique, scope.unique);
        holds = false;
    }
    for what in &found.never {
        println!("it never happened that {what}");
        holds = false;
    }
    println!("{} {} {}", entry.name, figures(&found), if holds { "holds" } else { "violated" });
    if !holds {
        eprintln!("again: cargo models {}{}", entry.name, if args.deep { " --deep" } else { "" });
    }
    holds
}

/// Searches a model with a weakened rule; answers whether it was refuted, in as many steps as it
/// should be.
fn run_mutant(args: &Args, entry: &Entry, mutant: Mutant) -> bool {
    let bounds = args.bounds.unwrap_or(mutant.bounds());
    let model = Collection::new(Rule { weakness: Some(mutant) }, bounds);
    let found = search(model.clone(), manner(args, 1));
    let mut is_well = found.violated.is_some();
    if let Some((broken, states)) = &found.violated {
        print_lines(&trace::tell(&model, states, broken));
        if found.depth != mutant.steps() && args.bounds.is_none() {
            println!("it took {} steps instead of {}", found.depth, mutant.steps());
            is_well = false;
        }
    }
    let end = if found.violated.is_some() { "refuted" } else { "survived" };
    println!("{} mutant={} {} {end}", entry.name, mutant.name(), figures(&found));
    if !is_well {
        eprintln!("again: cargo models {} --mutant {}", entry.name, mutant.name());
    }
    is_well
}

/// Serves the states of a model to a browser on this machine, until it is interrupted.
fn explore(entry: &Entry, mutant: Option<Mutant>) {
    let bounds = mutant.map_or(entry.standard.bounds, Mutant::bounds);
    let model = Collection::new(Rule { weakness: mutant }, bounds).to_walk();
    println!("http://{EXPLORER}");
    // It answers until the process is ended.
    let _ = model.checker().serve(EXPLORER);
}

fn list() {
    println!("models");
    for entry in catalogue::ALL {
        println!("  {:<28}{}", entry.name, entry.about);
    }
    println!("promises");
    for (name, sentence) in PROMISES {
        println!("  {name:<28}{sentence}");
    }
    println!("mutants");
    for entry in catalogue::ALL {
        for mutant in entry.mutants() {
            let weakens = match mutant.sentence() {
                0 => "expiry".to_owned(),
                sentence => format!("sentence {sentence}"),
            };
            println!("  {:<28}of {}, weakens {weakens}", mutant.name(), entry.name);
        }
    }
}

fn manner(args: &Args, threads: u8) -> Manner {
    Manner { threads: threads.into(), is_watched: args.progress || std::io::stderr().is_terminal() }
}

fn figures(found: &Found<State>) -> String {
    format!("unique={} depth={} time={:.1}s", found.unique, found.depth, found.time.as_secs_f64())
}

fn print_lines(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

/// Nobody but this machine sees it.
const EXPLORER: &str = "127.0.0.1:3000";
