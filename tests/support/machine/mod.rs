//! The property of the state machine: whatever happens to it, it does what `check::spec` and
//! `check::session` say, and its digests, snapshots and clones keep their promises.

pub mod pair;
pub mod steps;
mod translate;

use std::cell::OnceCell;

use crate::explore::{Failure, Plan, Recorder, Report, explore};
use pair::{Pair, Verdict};
use steps::Step;

/// Runs generated sequences against the machine.
pub fn check(plan: Plan) -> Result<Report, Failure> {
    let crowded = OnceCell::new();
    explore(plan, steps::sequences, |steps, recorder| {
        let pair = match steps.first() {
            Some(Step::Crowded) => crowded.get_or_init(Pair::crowded).clone()?,
            _ => Pair::new(),
        };
        run(pair, steps, recorder)
    })
}

/// Runs one sequence.
pub fn run(mut pair: Pair, steps: &[Step], recorder: &mut Recorder) -> Verdict {
    for step in steps {
        recorder.step(step);
        pair.step(step, recorder)?;
    }
    pair.finish(recorder)
}
