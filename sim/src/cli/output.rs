//! What is printed: progress, failures, and the last line.

use std::fs;
use std::io::{IsTerminal, Write};
use std::process::Command;
use std::time::Duration;

use super::{Args, Job, name_of};
use crate::coverage::Coverage;
use crate::runner::Report;

/// Sums over all runs.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub seeds: u64,
    pub failed: u64,
    pub weak: u64,
    steps: u64,
    operations: u64,
    faults: u64,
    simulated: Duration,
    /// Real time of the first runs, all threads together.
    busy: Duration,
    pub coverage: Coverage,
    /// The first weak seeds, by name.
    weak_names: Vec<String>,
}

impl Totals {
    pub fn add(&mut self, job: &Job, report: &Report) {
        self.seeds += 1;
        self.failed += u64::from(report.result.is_err());
        if report.is_weak() {
            self.weak += 1;
            let kept = WEAK_NAMES_MAX.saturating_sub(self.weak_names.len());
            self.weak_names.extend([name_of(job)].into_iter().take(kept));
        }
        self.steps += report.steps;
        self.operations += report.result.as_ref().map_or(0, |summary| summary.operations);
        self.faults += report.coverage.faults_fired();
        self.simulated += report.simulated;
        self.busy += report.wall;
        self.coverage.add(&report.coverage);
    }

    /// Simulated time over real time, on one processor.
    fn ratio(&self) -> f64 {
        self.simulated.as_secs_f64() / self.busy.as_secs_f64().max(1e-9)
    }

    fn line(&self, wall: Duration) -> String {
        format!(
            "seeds={} failed={} weak={} steps={} ops={} faults={} simulated={}s wall={:.1}s ratio={:.0}x",
            self.seeds,
            self.failed,
            self.weak,
            self.steps,
            self.operations,
            self.faults,
            self.simulated.as_secs(),
            wall.as_secs_f64(),
            self.ratio(),
        )
    }

    fn json(&self, wall: Duration) -> String {
        format!(
            "{{\"seeds\":{},\"failed\":{},\"weak\":{},\"steps\":{},\"ops\":{},\"faults\":{},\
             \"simulated_s\":{},\"wall_s\":{:.1},\"ratio\":{:.0}}}",
            self.seeds,
            self.failed,
            self.weak,
            self.steps,
            self.operations,
            self.faults,
            self.simulated.as_secs(),
            wall.as_secs_f64(),
            self.ratio(),
        )
    }
}

/// A line on a terminal that says how far it is.
pub(super) fn progress(args: &Args, totals: &Totals, wall: Duration) {
    let mut stderr = std::io::stderr();
    if args.trace || !stderr.is_terminal() {
        return;
    }
    // A terminal that does not take it is no reason to stop.
    let _ = write!(stderr, "\r\x1b[2K{}", totals.line(wall));
    let _ = stderr.flush();
}

/// A failure, with all that is needed to look into it.
pub(super) fn failure(args: &Args, job: &Job, report: &Report) {
    let Err(violation) = &report.result else { return };
    clear_line();
    let file = write_schedule(args, job, report);
    if args.json {
        println!(
            "{{\"failed\":{},\"promise\":{},\"sentence\":{},\"details\":{},\"schedule\":{}}}",
            quote(&name_of(job)),
            quote(violation.name),
            quote(violation.sentence),
            quote(&violation.details),
            quote(&file),
        );
        return;
    }
    println!("FAILED: {} at step {}", name_of(job), report.steps);
    println!("{violation}");
    println!("the last events:");
    report.newest.iter().for_each(|note| println!("  {note}"));
    println!("the nodes:\n{}", report.overview);
    println!("schedule: {file} ({} deviations)", report.schedule.deviations.len());
    println!("reproduce: {}", reproducing(args, job, &file));
    if let Job::Seed { .. } = job {
        println!(
            "commit: {}; at another commit only the schedule holds: --replay {file}",
            commit()
        );
    }
}

fn reproducing(args: &Args, job: &Job, file: &str) -> String {
    let mutant = args.mutant.as_ref().map_or(String::new(), |name| format!(" --mutant {name:?}"));
    match job {
        Job::Schedule(_) => format!("cargo sim --replay {file}{mutant}"),
        Job::Seed { scenario, seed, nodes } => {
            let nodes = nodes.map_or(String::new(), |nodes| format!(" --nodes {nodes}"));
            format!("cargo sim --seed {seed} --scenario {}{nodes}{mutant}", scenario.name)
        }
    }
}

fn write_schedule(args: &Args, job: &Job, report: &Report) -> String {
    let name = match job {
        Job::Seed { scenario, seed, .. } => format!("{}-{seed}.schedule", scenario.name),
        Job::Schedule(schedule) => format!("{}-replayed.schedule", schedule.plan.scenario),
    };
    let path = args.schedules.join(name);
    let text = format!("# Recorded at commit {}.\n{}", commit(), report.schedule);
    let written = fs::create_dir_all(&args.schedules).and_then(|()| fs::write(&path, text));
    match written {
        Ok(()) => path.display().to_string(),
        Err(why) => format!("not written to {}: {why}", path.display()),
    }
}

/// The last line, after what it is about. Answers whether all is well.
pub(super) fn finish(args: &Args, totals: &Totals, wall: Duration) -> bool {
    clear_line();
    let mut is_well = totals.failed == 0;
    if args.coverage {
        println!("{}", totals.coverage.report().trim_end());
        for missing in super::missing(args, &totals.coverage) {
            println!("never reached: {missing}");
            is_well = false;
        }
    }
    if args.pairs {
        for missing in super::pairs_missing(args, &totals.coverage) {
            println!("never together: {missing}");
        }
    }
    let is_weak = totals.weak * 100 > totals.seeds * WEAK_PERCENT_MAX;
    if is_weak {
        let names = totals.weak_names.join(", ");
        println!("too many weak seeds: {} of {}: {names}", totals.weak, totals.seeds);
        is_well = false;
    }
    println!("{}", if args.json { totals.json(wall) } else { totals.line(wall) });
    is_well
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
}

/// The commit of the working directory, if it is one.
fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            character if u32::from(character) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Weak seeds that are named.
const WEAK_NAMES_MAX: usize = 20;
/// Weak seeds, of a hundred, from which on the simulator is at fault.
const WEAK_PERCENT_MAX: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quote("a\"b\\c\nd\u{1}é"), "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }
}
