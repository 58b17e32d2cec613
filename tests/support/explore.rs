//! Runs generated sequences of steps until enough steps were executed; on failure shrinks the
//! sequence and says how to see the failure again.
//!
//! Each sequence has a seed of its own, the run's seed plus its number: the first sequence of a run
//! with the seed that a failure prints is the one that failed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed of the first sequence.
    pub seed: u64,
    /// Stop after the sequence with which this many steps were executed.
    pub steps_min: u64,
    /// Most attempts to make a failing sequence simpler.
    pub shrinks_max: u32,
    /// What the reader of a failure types, after the seed.
    pub command: &'static str,
}

/// What a passed run did.
#[derive(Debug, Default)]
pub struct Report {
    pub sequences: u64,
    pub steps: u64,
    /// How often each remarkable thing happened.
    pub marks: BTreeMap<&'static str, u64>,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations in {} sequences", self.steps, self.sequences)?;
        for (mark, count) in &self.marks {
            write!(f, "\n{count:>9}  {mark}")?;
        }
        Ok(())
    }
}

/// How a run failed.
#[derive(Debug)]
pub struct Failure {
    /// The steps executed up to the failure, shrinking left out.
    pub steps: u64,
    /// The shrunk sequence, what was wrong, and how to see it again.
    pub text: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong after {} operations; shrunk:{}", self.steps, self.text)
    }
}

/// Where the execution of a sequence leaves what it sees.
#[derive(Debug, Default)]
pub struct Recorder {
    steps: u64,
    pub marks: BTreeMap<&'static str, u64>,
    trace: Option<Vec<String>>,
}

impl Recorder {
    /// A step begins.
    pub fn step(&mut self, step: &impl Display) {
        self.steps += 1;
        let steps = self.steps;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{steps:>4}. {step}"));
        }
    }

    /// What came of the step.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("      {}", note()));
        }
    }

    /// Something remarkable happened.
    pub fn mark(&mut self, mark: &'static str) {
        *self.marks.entry(mark).or_default() += 1;
    }
}

/// Runs sequences, each of the strategy for its seed. `run` executes one and tells the first thing
/// that is wrong.
pub fn explore<S: Display + Debug + Clone, T: Strategy<Value = Vec<S>>>(
    plan: Plan,
    strategy: impl Fn(u64) -> T,
    run: impl Fn(&[S], &mut Recorder) -> Result<(), String>,
) -> Result<Report, Failure> {
    let run = |steps: &[S], recorder: &mut Recorder| {
        catch_unwind(AssertUnwindSafe(|| run(steps, recorder)))
            .unwrap_or_else(|panic| Err(panic_message(panic.as_ref())))
    };
    let report = RefCell::new(Report::default());
    while report.borrow().steps < plan.steps_min {
        let seed = plan.seed.wrapping_add(report.borrow().sequences);
        let mut runner = TestRunner::new_with_rng(config(plan.shrinks_max), rng(seed));
        let has_failed = Cell::new(false);
        let result = runner.run(&strategy(seed), |steps| {
            let mut recorder = Recorder::default();
            let result = run(&steps, &mut recorder);
            // What shrinking executes does not count.
            if !has_failed.replace(has_failed.get() || result.is_err()) {
                let mut report = report.borrow_mut();
                report.steps += recorder.steps;
                for (mark, count) in recorder.marks {
                    *report.marks.entry(mark).or_default() += count;
                }
            }
            result.map_err(TestCaseError::fail)
        });
        if let Err(TestError::Fail(_, mut steps)) = result {
            if plan.shrinks_max > 0 {
                remove_needless(&mut steps, |steps| run(steps, &mut Recorder::default()).is_err());
            }
            let mut recorder = Recorder { trace: Some(Vec::new()), ..Recorder::default() };
            let wrong = run(&steps, &mut recorder).expect_err("it failed before");
            let trace = recorder.trace.unwrap_or_default().join("\n");
            let text = format!("\n{trace}\n      {wrong}\n\nSEED={seed} {}\n", plan.command);
            return Err(Failure { steps: report.borrow().steps, text });
        }
        report.borrow_mut().sequences += 1;
    }
    Ok(report.into_inner())
}

/// Takes steps out for as long as the rest still fails. Shrinking took steps out before it made
/// the remaining ones simpler; that may have made more of them needless.
fn remove_needless<S: Clone>(steps: &mut Vec<S>, fails: impl Fn(&[S]) -> bool) {
    let mut place = 0;
    while place < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(place);
        if fails(&fewer) {
            *steps = fewer;
            place = 0;
        } else {
            place += 1;
        }
    }
}

/// The seed of this run: from the environment variable `SEED`, else the given one, else a new one.
pub fn seed(default: Option<u64>) -> u64 {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => default.unwrap_or_else(|| RandomState::new().build_hasher().finish()),
    }
}

fn config(shrinks_max: u32) -> Config {
    Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: shrinks_max,
        ..Config::default()
    }
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}
