//! The rule with one sentence weakened: what is wrong, and within which bounds a search shows it.
//!
//! Each was a plausible rule. That all are refuted says that no sentence is there for nothing, and
//! that the search would find a hole if there were one.

use super::bounds::Bounds;

/// A weakness of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// Sentence 3: digests of a member stay when a newer incarnation of it is known.
    OldDigestsKept,
    /// Sentence 5: the server of an exchange does not record the joiner's incarnation.
    JoinerNotRecorded,
    /// Sentence 2: only the sender's own incarnation is learnt from a message.
    TablesNotCarried,
    /// Sentence 6: a joined member collects before it is whole.
    CollectorPartial,
    /// Sentence 6: digests of members that are not whole count.
    DigestsOfPartial,
    /// Sentence 4: a new incarnation takes part at once.
    NoJoin,
    /// Sentence 4: an exchange with a member that has not joined itself is a join.
    JoinWithUnjoined,
    /// Sentence 4: only an exchange with a joined member is a join.
    JoinNeedsJoined,
    /// Sentence 5: any sync counts as a join.
    StaleSyncJoins,
    /// Sentence 4: messages are merged before the join.
    MessagesBeforeJoin,
    /// Sentence 3: pushes of ended incarnations are accepted.
    EndedPushes,
    /// Sentence 3: syncs of ended incarnations are accepted.
    EndedSyncs,
    /// Sentence 3: digests of ended incarnations are accepted.
    EndedDigests,
    /// Sentence 3: what a member has of an ended incarnation when it learns of the end is all that it
    /// takes of it.
    FixedCut,
    /// Sentence 7: a digest tells of each incarnation's writes up to the first gap only.
    PrefixDigests,
    /// Sentence 7: a sync that was cut off before its entries counts as complete.
    CoverageBeforeEntries,
    /// Sentence 9: what is covered and would beat the state is merged.
    NoReceiveFilter,
    /// Sentence 9: a sync never takes an entry away.
    NoDropInSync,
    /// Sentence 8: the digests need not lie within the collector's coverage.
    NoContainment,
    /// Sentence 8: members that the failure detector takes for dead are not asked.
    AliveMembersOnly,
    /// Sentence 8: a tombstone is dropped when it is old.
    CollectedByAge,
    /// Sentence 1: an older snapshot goes on under the same incarnation.
    SnapshotSameIncarnation,
    /// Sentence 1: a snapshot of any earlier incarnation is a state to start from.
    AnySnapshot,
    /// Sentence 8: an expired entry is dropped at its deadline, without the bound of the clocks.
    DroppedAtDeadline,
    /// An expired entry is deleted by a write of its own, with a stamp of its own.
    ExpiryDeletes,
    /// Sentence 4: to have exchanged with every other listed member, none of which had joined, is a join.
    JoinOnceMet,
    /// Sentence 11: pushes of other epochs are heard.
    OtherEpochPushes,
    /// Sentence 11: members of other epochs are served, and their answers are heard.
    OtherEpochSyncs,
    /// Sentence 11: digests of other epochs are heard.
    OtherEpochDigests,
    /// Sentence 11: who is not listed is heard.
    UnlistedHeard,
    /// Sentence 11: who is not listed is served.
    UnlistedServed,
    /// Sentence 10: a start without the state goes back to an earlier list.
    EpochForgotten,
    /// Sentence 12: digests stay when a member moves on to a later list.
    DigestsOverChange,
    /// Sentence 12: who has met all members of a later list has joined.
    JoinAtChange,
    /// Sentence 8: members that were not met in this incarnation are not asked.
    UnmetNotAsked,
}

impl Mutant {
    /// All of them, in the order of the sentences.
    pub const ALL: &[Self] = &[
        Self::SnapshotSameIncarnation,
        Self::AnySnapshot,
        Self::TablesNotCarried,
        Self::OldDigestsKept,
        Self::EndedPushes,
        Self::EndedSyncs,
        Self::EndedDigests,
        Self::FixedCut,
        Self::NoJoin,
        Self::JoinWithUnjoined,
        Self::JoinNeedsJoined,
        Self::JoinOnceMet,
        Self::MessagesBeforeJoin,
        Self::JoinerNotRecorded,
        Self::StaleSyncJoins,
        Self::CollectorPartial,
        Self::DigestsOfPartial,
        Self::PrefixDigests,
        Self::CoverageBeforeEntries,
        Self::NoContainment,
        Self::AliveMembersOnly,
        Self::CollectedByAge,
        Self::UnmetNotAsked,
        Self::NoReceiveFilter,
        Self::NoDropInSync,
        Self::EpochForgotten,
        Self::OtherEpochPushes,
        Self::OtherEpochSyncs,
        Self::OtherEpochDigests,
        Self::UnlistedHeard,
        Self::UnlistedServed,
        Self::DigestsOverChange,
        Self::JoinAtChange,
        Self::DroppedAtDeadline,
        Self::ExpiryDeletes,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OldDigestsKept => "old-digests-kept",
            Self::JoinerNotRecorded => "joiner-not-recorded",
            Self::TablesNotCarried => "tables-not-carried",
            Self::CollectorPartial => "collector-not-whole",
            Self::DigestsOfPartial => "digests-of-not-whole",
            Self::NoJoin => "no-join",
            Self::JoinWithUnjoined => "join-with-unjoined",
            Self::JoinNeedsJoined => "join-needs-joined",
            Self::StaleSyncJoins => "stale-sync-joins",
            Self::MessagesBeforeJoin => "messages-before-join",
            Self::EndedPushes => "ended-pushes",
            Self::EndedSyncs => "ended-syncs",
            Self::EndedDigests => "ended-digests",
            Self::FixedCut => "fixed-cut",
            Self::PrefixDigests => "prefix-digests",
            Self::CoverageBeforeEntries => "coverage-before-entries",
            Self::NoReceiveFilter => "no-receive-filter",
            Self::NoDropInSync => "no-drop-in-sync",
            Self::NoContainment => "no-containment",
            Self::AliveMembersOnly => "alive-members-only",
            Self::CollectedByAge => "collected-by-age",
            Self::SnapshotSameIncarnation => "snapshot-same-incarnation",
            Self::AnySnapshot => "any-snapshot",
            Self::DroppedAtDeadline => "dropped-at-deadline",
            Self::ExpiryDeletes => "expiry-deletes",
            Self::JoinOnceMet => "join-once-met",
            Self::OtherEpochPushes => "other-epoch-pushes",
            Self::OtherEpochSyncs => "other-epoch-syncs",
            Self::OtherEpochDigests => "other-epoch-digests",
            Self::UnlistedHeard => "unlisted-heard",
            Self::UnlistedServed => "unlisted-served",
            Self::EpochForgotten => "epoch-forgotten",
            Self::DigestsOverChange => "digests-over-change",
            Self::JoinAtChange => "join-at-change",
            Self::UnmetNotAsked => "unmet-not-asked",
        }
    }

    /// The model that shows it.
    #[must_use]
    pub const fn model(self) -> &'static str {
        match self {
            Self::DroppedAtDeadline | Self::ExpiryDeletes => "expiry",
            Self::JoinOnceMet => "all-restart",
            Self::OtherEpochPushes
            | Self::OtherEpochSyncs
            | Self::OtherEpochDigests
            | Self::UnlistedHeard
            | Self::UnlistedServed
            | Self::EpochForgotten
            | Self::DigestsOverChange
            | Self::JoinAtChange => "removal",
            Self::UnmetNotAsked => "addition",
            _ => "collection",
        }
    }

    /// The sentence of the rule that it weakens; 0 if it is none of the nine.
    #[must_use]
    pub const fn sentence(self) -> u8 {
        match self {
            Self::SnapshotSameIncarnation | Self::AnySnapshot => 1,
            Self::TablesNotCarried => 2,
            Self::OldDigestsKept
            | Self::EndedPushes
            | Self::EndedSyncs
            | Self::EndedDigests
            | Self::FixedCut => 3,
            Self::NoJoin
            | Self::JoinWithUnjoined
            | Self::JoinNeedsJoined
            | Self::MessagesBeforeJoin
            | Self::JoinOnceMet => 4,
            Self::JoinerNotRecorded | Self::StaleSyncJoins => 5,
            Self::CollectorPartial | Self::DigestsOfPartial => 6,
            Self::PrefixDigests | Self::CoverageBeforeEntries => 7,
            Self::NoContainment
            | Self::AliveMembersOnly
            | Self::CollectedByAge
            | Self::DroppedAtDeadline
            | Self::UnmetNotAsked => 8,
            Self::NoReceiveFilter | Self::NoDropInSync => 9,
            Self::EpochForgotten => 10,
            Self::OtherEpochPushes
            | Self::OtherEpochSyncs
            | Self::OtherEpochDigests
            | Self::UnlistedHeard
            | Self::UnlistedServed => 11,
            Self::DigestsOverChange | Self::JoinAtChange => 12,
            Self::ExpiryDeletes => 0,
        }
    }

    /// Bounds within which the search finds a trace against it.
    #[must_use]
    pub const fn bounds(self) -> Bounds {
        let base = Bounds { puts: 1, deletes: 1, plain: 1, ..Bounds::NONE };
        let late = Bounds { delayed: 1, plain: 2, ..base };
        match self {
            Self::SnapshotSameIncarnation | Self::NoDropInSync => Bounds { older: 1, ..base },
            Self::DigestsOfPartial | Self::JoinWithUnjoined | Self::MessagesBeforeJoin => {
                Bounds { empty: 2, ..base }
            }
            Self::AnySnapshot => Bounds { empty: 1, older: 1, plain: 2, ..base },
            Self::CollectorPartial => Bounds { empty: 2, ..late },
            Self::StaleSyncJoins | Self::EndedSyncs | Self::EndedDigests => {
                Bounds { empty: 1, ..late }
            }
            Self::CoverageBeforeEntries | Self::NoContainment => Bounds { plain: 0, ..base },
            Self::JoinNeedsJoined => Bounds { first: 1, ..Bounds::NONE },
            Self::DroppedAtDeadline | Self::ExpiryDeletes => {
                Bounds { leases: 1, deletes: 0, ..base }
            }
            Self::JoinOnceMet => Bounds { empty: 3, ..base },
            Self::UnmetNotAsked => Bounds { members: 2, additions: 1, ..base },
            Self::OtherEpochPushes => Bounds { members: 2, removals: 1, empty: 1, ..base },
            Self::UnlistedHeard => Bounds { removals: 1, ..base },
            Self::JoinAtChange => Bounds { removals: 1, empty: 2, plain: 2, ..base },
            Self::OtherEpochDigests => Bounds { removals: 1, empty: 1, plain: 0, ..base },
            Self::EpochForgotten
            | Self::OtherEpochSyncs
            | Self::UnlistedServed
            | Self::DigestsOverChange => Bounds { removals: 1, empty: 1, ..base },
            _ => Bounds { empty: 1, ..base },
        }
    }

    /// How many steps its shortest trace has within these bounds.
    #[must_use]
    pub const fn steps(self) -> usize {
        match self {
            Self::JoinNeedsJoined => 0,
            Self::CoverageBeforeEntries | Self::DroppedAtDeadline => 2,
            Self::FixedCut | Self::CollectedByAge => 3,
            Self::PrefixDigests | Self::AliveMembersOnly => 4,
            Self::NoJoin => 5,
            Self::SnapshotSameIncarnation | Self::ExpiryDeletes => 6,
            Self::JoinWithUnjoined
            | Self::StaleSyncJoins
            | Self::NoContainment
            | Self::NoReceiveFilter => 7,
            Self::TablesNotCarried
            | Self::OldDigestsKept
            | Self::JoinerNotRecorded
            | Self::NoDropInSync => 8,
            Self::EndedPushes | Self::EndedSyncs | Self::EndedDigests | Self::DigestsOfPartial => 9,
            Self::MessagesBeforeJoin | Self::CollectorPartial | Self::AnySnapshot => 10,
            Self::UnmetNotAsked => 7,
            Self::EpochForgotten
            | Self::OtherEpochPushes
            | Self::OtherEpochSyncs
            | Self::UnlistedHeard
            | Self::UnlistedServed
            | Self::DigestsOverChange => 8,
            Self::OtherEpochDigests => 9,
            Self::JoinOnceMet | Self::JoinAtChange => 10,
        }
    }

    /// The mutant of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}
