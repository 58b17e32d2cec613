//! The clocks of the members, as one of them sees them, and the time at which a leader anchors its
//! stamps.
//!
//! A report is the wall clock in an envelope, plus the monotonic time since it was received: its
//! error is at most the round trip in which it came. A leader's stamps begin at an anchor and then
//! follow its monotonic time alone, so that no step of a wall clock within a term is felt.
//!
//! Reports agree if they lie within the bound of each other. Where those of a majority of all
//! voters agree (of both halves of a joint configuration), time is the median of the largest such
//! set. Where none do, the caller goes on from the last log time and says so.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use super::{Now, RaftId};
use crate::clock::UnixMillis;

/// What the members' clocks showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    reports: BTreeMap<RaftId, Report>,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    wall: UnixMillis,
    received_ms: u64,
}

/// Whose votes make a majority: those of every set that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Voters {
    pub incoming: BTreeSet<RaftId>,
    pub outgoing: BTreeSet<RaftId>,
}

impl Voters {
    /// Whether members are a majority of each half.
    pub fn has_quorum(&self, members: &BTreeSet<RaftId>) -> bool {
        let is_majority = |half: &BTreeSet<RaftId>| {
            half.is_empty() || half.intersection(members).count() > half.len() / 2
        };
        !self.incoming.is_empty() && is_majority(&self.incoming) && is_majority(&self.outgoing)
    }

    pub fn contains(&self, id: RaftId) -> bool {
        self.incoming.contains(&id) || self.outgoing.contains(&id)
    }
}

impl Clocks {
    /// Forgets all reports.
    pub fn clear(&mut self) {
        self.reports.clear();
    }

    /// Takes the clock of a member as it came in an envelope.
    pub fn report(&mut self, member: RaftId, wall: UnixMillis, now: Now) {
        self.reports.insert(member, Report { wall, received_ms: now.monotonic_ms });
    }

    /// Whether there is a report of a member.
    pub fn has(&self, member: RaftId) -> bool {
        self.reports.contains_key(&member)
    }

    /// The clock of a member as it should be now, as far as its last report tells.
    pub fn time_at(&self, member: RaftId, now: Now) -> Option<UnixMillis> {
        let report = self.reports.get(&member)?;
        Some(report.wall.after(now.monotonic_ms.saturating_sub(report.received_ms)))
    }

    /// The time on which a majority of the voters agrees; none if no majority does. The own clock
    /// counts as it is now; reports older than `age_max_ms` do not.
    pub fn agreed(
        &self,
        voters: &Voters,
        own: RaftId,
        bound_ms: u64,
        age_max_ms: u64,
        now: Now,
    ) -> Option<UnixMillis> {
        let mut times: Vec<(UnixMillis, RaftId)> = Vec::new();
        for (member, report) in &self.reports {
            let age_ms = now.monotonic_ms.saturating_sub(report.received_ms);
            if *member != own && voters.contains(*member) && age_ms <= age_max_ms {
                times.push((report.wall.after(age_ms), *member));
            }
        }
        if voters.contains(own) {
            times.push((now.wall, own));
        }
        times.sort_unstable();
        largest_agreeing(&times, voters, bound_ms)
    }
}

/// The median of the largest set of times within the bound whose members have a quorum. Of equally
/// large sets the earliest, of two middle times the lower.
fn largest_agreeing(
    times: &[(UnixMillis, RaftId)],
    voters: &Voters,
    bound_ms: u64,
) -> Option<UnixMillis> {
    let mut largest: &[(UnixMillis, RaftId)] = &[];
    for start in 0..times.len() {
        let latest = times[start].0.after(bound_ms);
        let length = times[start..].partition_point(|(time, _)| *time <= latest);
        let set = &times[start..start + length];
        let members = set.iter().map(|(_, member)| *member).collect();
        if set.len() > largest.len() && voters.has_quorum(&members) {
            largest = set;
        }
    }
    let middle = largest.len().checked_sub(1)? / 2;
    Some(largest[middle].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(incoming: &[u64], outgoing: &[u64]) -> Voters {
        let set = |ids: &[u64]| ids.iter().copied().map(RaftId).collect();
        Voters { incoming: set(incoming), outgoing: set(outgoing) }
    }

    #[test]
    fn time_is_the_median_of_the_largest_agreeing_majority() {
        let three = voters(&[1, 2, 3], &[]);
        for (times, agreed) in [
            (&[(1_000, 1), (1_005, 2), (1_009, 3)][..], Some(1_005)),
            (&[(1_000, 1), (1_005, 2)], Some(1_000)),
            (&[(1_000, 1), (1_010, 2), (9_000, 3)], Some(1_000)),
            (&[(1_000, 1), (1_011, 2)], None),
            (&[(1_000, 1), (1_011, 2), (1_022, 3)], None),
            (&[(1_000, 1)], None),
            (&[(1_000, 1), (1_000, 9)], None),
        ] {
            let times: Vec<_> =
                times.iter().map(|(ms, id)| (UnixMillis(*ms), RaftId(*id))).collect();
            let time = largest_agreeing(&times, &three, 10);
            assert_eq!(time, agreed.map(UnixMillis), "{times:?}");
        }
    }

    #[test]
    fn both_halves_of_a_joint_configuration_must_agree() {
        let joint = voters(&[1, 2, 3], &[3, 4, 5]);
        let times = |ids: &[u64]| ids.iter().map(|id| (UnixMillis(7), RaftId(*id))).collect();
        let agree = |times: Vec<_>| largest_agreeing(&times, &joint, 10).is_some();
        assert!(agree(times(&[1, 3, 4])));
        assert!(!agree(times(&[1, 2, 3])));
        assert!(!agree(times(&[3, 4, 5])));
    }

    #[test]
    fn reports_go_on_with_monotonic_time_and_grow_old() {
        let at = |monotonic_ms, wall| Now { monotonic_ms, wall: UnixMillis(wall) };
        let two = voters(&[1, 2], &[]);
        let mut clocks = Clocks::default();
        clocks.report(RaftId(2), UnixMillis(500), at(0, 400));
        let agreed = |clocks: &Clocks, now| clocks.agreed(&two, RaftId(1), 200, 50, now);
        assert_eq!(agreed(&clocks, at(30, 430)), Some(UnixMillis(430)));
        assert_eq!(agreed(&clocks, at(30, 300)), None, "530 and 300 do not agree");
        assert_eq!(agreed(&clocks, at(51, 430)), None, "too old");
    }
}
