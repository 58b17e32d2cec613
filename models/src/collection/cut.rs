//! A fixed cut for ended incarnations: a plausible addition to the rule, that is refuted.
//!
//! When a member learns that an incarnation has ended, it might take what it has of its writes for all
//! there is, and drop what still turns up; then ended incarnations could be forgotten. But members
//! reach that point with different writes.

use super::mutants::Mutant;
use super::rule::{Coverage, Rule};
use super::state::State;

/// The writes that a member takes for lost. Nothing, without the mutant.
#[must_use]
pub fn beyond(state: &State, rule: Rule, me: usize) -> Coverage {
    let mut beyond = Coverage::default();
    if !rule.has(Mutant::FixedCut) {
        return beyond;
    }
    let replica = &state.replicas[me];
    for (stamp, write) in state.stamped() {
        let has_ended = write.incarnation < replica.incarnations[usize::from(write.member)];
        if has_ended && !replica.coverage.covers(stamp) {
            beyond.insert(stamp);
        }
    }
    beyond
}
