//! Schedules that once broke a promise, each with its story in its head: they must not do so again.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use plimsoll_sim::choices::Schedule;
use plimsoll_sim::runner::{Job, Manner, run};
use plimsoll_sim::scenario::Scenario;

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn no_schedule_of_the_corpus_breaks_a_promise_again() {
    let paths = corpus();
    assert!(!paths.is_empty(), "the corpus was found");
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} has no story", path.display());
        let schedule: Schedule = text.parse().unwrap();
        let report = run(&Job::Schedule(Box::new(schedule)), &Manner::default());
        assert!(report.result.is_ok(), "{}: {}", path.display(), report.result.unwrap_err());
    }
}

#[test]
fn a_seed_and_the_schedule_that_it_records_are_the_same_run() {
    for name in ["everything", "membership", "disks", "restarts", "lost-majority", "founding"] {
        let scenario = Scenario::named(name).unwrap();
        let job = Job::Seed { scenario, seed: 7, nodes: Some(3) };
        let drawn = run(&job, &Manner::default());
        let summary = drawn.result.unwrap_or_else(|violation| panic!("{name}: {violation}"));
        assert!(summary.operations > 2_500, "{name}: {summary:?}");
        let text = drawn.schedule.to_string();
        let replayed = run(&Job::Schedule(Box::new(text.parse().unwrap())), &Manner::default());
        assert_eq!(replayed.result, Ok(summary), "{name}");
        assert_eq!((replayed.hash, replayed.skipped), (drawn.hash, 0), "{name}");
    }
}
