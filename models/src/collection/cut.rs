//! A fixed cut for ended incarnations: a plausible addition to the rule, that is refuted.
//!
//! Where every other member has sent a digest after it knew that an incarnation had ended, one might
//! take what none of these digests covers for lost, and drop it wherever it still turns up; then ended
//! incarnations could be forgotten. But members reach that point with different digests.

use super::mutants::Mutant;
use super::rule::{Coverage, MEMBERS, Rule};
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
        let writer = usize::from(write.member);
        let has_ended = write.incarnation < replica.incarnations[writer];
        let none_covered = (0..MEMBERS).filter(|member| *member != me).all(|member| {
            let is_informed = replica.informed[member].contains(writer);
            is_informed && !replica.digests[member].covers(stamp)
        });
        if has_ended && none_covered && !replica.coverage.covers(stamp) {
            beyond.insert(stamp);
        }
    }
    beyond
}
