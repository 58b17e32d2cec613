//! The property of every kind of store: through its handles it answers what `check::spec` says for
//! a store that supports what `info()` claims.

pub mod pair;
mod stamps;
pub mod steps;

use crate::explore::{Failure, Plan, Recorder, Report, explore};
use crate::kinds::Kind;
use pair::{Pair, Verdict};
use steps::Step;

/// Runs generated sequences against a kind of store.
pub fn check(kind: Kind, plan: Plan) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    explore(
        plan,
        |_| steps::sequences(),
        |steps, recorder| runtime.block_on(run(kind, steps, recorder)),
    )
}

async fn run(kind: Kind, steps: &[Step], recorder: &mut Recorder) -> Verdict {
    let mut pair = Pair::open(kind).await;
    for step in steps {
        recorder.step(step);
        pair.step(step, recorder).await?;
    }
    for step in [Step::Drain, Step::Scan { prefix: b"", limit: 1 }] {
        pair.step(&step, recorder).await?;
    }
    Ok(())
}
