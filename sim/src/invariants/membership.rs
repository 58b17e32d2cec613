//! Changes of the membership: no two quorums, of one configuration and the next, without a common
//! member.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::raft::{Node, RaftId};

use super::{Promise, Violation};

pub(super) const QUORUM_OVERLAP: Promise = Promise {
    name: "quorum overlap",
    sentence: "every quorum of a configuration has a member in common with every quorum of the next",
};

pub(super) const EQUAL_CONFIGURATIONS: Promise = Promise {
    name: "equal configurations",
    sentence: "members that have applied the same index have the same configuration",
};

/// The voters of a configuration: both halves, of a joint one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Voters {
    incoming: BTreeSet<RaftId>,
    outgoing: BTreeSet<RaftId>,
}

/// The configurations, in the order in which they were applied.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    newest: Option<(u64, Voters)>,
    /// What came into force at an index; none if another one followed before it was seen.
    all: BTreeMap<u64, Option<Voters>>,
}

impl Membership {
    /// Looks at the configuration of a node that has just applied changes at these indices, or has
    /// taken a snapshot. Answers whether a joint one has just come into force.
    pub fn check(&mut self, node: &Node, changes: &[u64]) -> Result<bool, Violation> {
        let status = node.status();
        let voters = Voters { incoming: status.voters, outgoing: status.outgoing };
        let index = node.applied();
        if let Some((last, passed)) = changes.split_last() {
            for passed in passed {
                self.all.entry(*passed).or_insert(None);
            }
            self.all.entry(*last).or_insert_with(|| Some(voters.clone()));
        }
        if let Some((since, Some(known))) = self.all.range(..=index).next_back()
            && *known != voters
        {
            return Err(EQUAL_CONFIGURATIONS.broken(format!(
                "{:?} has {voters:?} at index {index}, since {since} it is {known:?}",
                status.id
            )));
        }
        match &self.newest {
            Some((newest, before)) if index <= *newest || *before == voters => Ok(false),
            Some((newest, before)) if !overlap(before, &voters) => Err(QUORUM_OVERLAP.broken(
                format!("from {before:?} at index {newest} to {voters:?} at index {index}"),
            )),
            _ if voters.incoming.is_empty() => Ok(false),
            _ => {
                self.newest = Some((index, voters));
                Ok(self.is_joint())
            }
        }
    }

    /// A new cluster goes on.
    pub fn clear(&mut self) {
        self.newest = None;
        self.all.clear();
    }

    /// Whether a set of members is a quorum of the newest configuration.
    pub fn is_quorum(&self, members: impl Fn(RaftId) -> bool) -> bool {
        let Some((_, voters)) = &self.newest else { return false };
        has_quorum(voters, members)
    }

    /// Whether the newest configuration is a joint one.
    pub fn is_joint(&self) -> bool {
        self.newest.as_ref().is_some_and(|(_, voters)| !voters.outgoing.is_empty())
    }

    /// Where the newest configuration came into force.
    pub fn since(&self) -> u64 {
        self.newest.as_ref().map_or(0, |(index, _)| *index)
    }

    /// The voters of the newest configuration.
    pub fn voters(&self) -> impl Iterator<Item = RaftId> {
        let newest = self.newest.iter();
        newest.flat_map(|(_, voters)| voters.incoming.union(&voters.outgoing)).copied()
    }
}

/// Whether no quorum of one configuration is disjoint from a quorum of another: tried with every set
/// of members against its complement.
fn overlap(one: &Voters, other: &Voters) -> bool {
    let halves = [&one.incoming, &one.outgoing, &other.incoming, &other.outgoing];
    let all: BTreeSet<RaftId> = halves.into_iter().flatten().copied().collect();
    let all: Vec<RaftId> = all.into_iter().collect();
    (0..1_u64 << all.len()).all(|set| {
        let is_in =
            |id: RaftId| all.iter().position(|a| *a == id).is_some_and(|p| set >> p & 1 == 1);
        !(has_quorum(one, is_in) && has_quorum(other, |id| !is_in(id)))
    })
}

fn has_quorum(voters: &Voters, is_in: impl Fn(RaftId) -> bool) -> bool {
    let is_majority = |half: &BTreeSet<RaftId>| {
        half.is_empty() || half.iter().filter(|id| is_in(**id)).count() > half.len() / 2
    };
    !voters.incoming.is_empty() && is_majority(&voters.incoming) && is_majority(&voters.outgoing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(incoming: &[u64], outgoing: &[u64]) -> Voters {
        let set = |ids: &[u64]| ids.iter().copied().map(RaftId).collect();
        Voters { incoming: set(incoming), outgoing: set(outgoing) }
    }

    #[test]
    fn a_joint_phase_is_what_makes_two_configurations_overlap() {
        let (old, new) = (voters(&[1, 2, 3], &[]), voters(&[3, 4, 5], &[]));
        let joint = voters(&[3, 4, 5], &[1, 2, 3]);
        assert!(!overlap(&old, &new));
        assert!(overlap(&old, &joint) && overlap(&joint, &new));
        assert!(overlap(&old, &voters(&[1, 2, 3, 4], &[])), "one more");
        assert!(!overlap(&old, &voters(&[1, 2, 3, 4, 5], &[])), "two more: 1, 2 and 3, 4, 5");
    }
}
