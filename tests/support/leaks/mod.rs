//! The leak property: nothing that a restricted actor is answered depends on what it may not know.
//!
//! Two worlds have the same store, clock and policies. What the host writes under keys about which
//! the actor may know nothing differs between them in key and value; under keys that it may not
//! read but may ask for or delete, in value. The actor makes the same calls in both, and every
//! answer must be the same to the last letter: values, versions, cursors, `has_more`, events,
//! errors with their messages and details.
//!
//! Beside that, in each world: no answer holds a value that the host wrote under a key that the
//! actor may not read, or the name of such a key that the call did not name itself.
//!
//! What the actor may do is read from the policies by `policies::Setup`, not by the engine.

mod steps;
mod worlds;

use crate::explore::{Failure, Plan, Recorder, Report, explore};
use crate::kinds::Kind;
use steps::Step;
use worlds::Worlds;

/// What a step finds wrong.
type Verdict = Result<(), String>;

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
    // Shrinking may have taken the policies away: then there is nothing to keep.
    let Some((Step::Begin(setup), steps)) = steps.split_first() else {
        return Ok(());
    };
    let mut worlds = Worlds::open(kind, setup).await;
    recorder.note(|| format!("{setup:?}"));
    for step in steps {
        recorder.step(step);
        worlds.step(step, recorder).await?;
    }
    Ok(())
}
