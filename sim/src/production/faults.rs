//! What can go wrong here, and how often it is drawn.
//!
//! Each run draws a subset with rates of its own, as those of the other simulator do.

use crate::rng::Rng;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $per_million:literal;)+) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        /// All kinds, and in how many of a million slots of time one begins.
        const RATES: &[(Kind, u32)] = &[$((Kind::$name, $per_million)),+];

        impl Kind {
            /// The name in reports.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// A process ends at once, and its computer with it: what was not synced is at the mercy of an
    /// image.
    Kill = "kill", 12_000;
    /// The leader's process ends so.
    KillLeader = "kill-leader", 6_000;
    /// All processes end so, within a moment.
    KillAll = "kill-all", 1_500;
    /// The computer stops in the middle of what its disk does.
    KillInWrite = "kill-in-write", 6_000;
    /// A node is closed, and started again: nothing may be lost, though the power fails right after.
    Close = "close", 5_000;
    /// A sync fails: the node must stop.
    SyncError = "sync-error", 4_000;
    /// A host loses its disk, and a node with an empty one takes its place.
    LostDisk = "lost-disk", 2_500;
    /// A host with an empty disk joins.
    Join = "join", 8_000;
    /// A member is removed for good; there are three at least afterwards.
    Remove = "remove", 10_000;
    /// A host ends, and starts again at another address.
    Move = "move", 8_000;
    /// A disk is slow for a while.
    SlowDisk = "slow-disk", 8_000;
    /// A process does nothing for a while; time goes on.
    Pause = "pause", 8_000;
    /// Two groups of hosts and clients do not hear each other for a while.
    Partition = "partition", 8_000;
    /// One group does not hear the other, which hears it.
    OneWay = "one-way", 6_000;
    /// The network of a host or a client is clogged: inwards, outwards or both.
    Clog = "clog", 8_000;
    /// Connections are cut.
    Cut = "cut", 12_000;
    /// A connection ends in the middle of a frame.
    Tear = "tear", 25_000;
    /// A wall clock jumps.
    ClockStep = "clock-step", 8_000;
    /// Leadership is handed over.
    Transfer = "transfer", 10_000;
}

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        RATES.iter().map(|(kind, _)| *kind)
    }
}

/// The kinds that one run draws, and how often.
pub(super) struct Swarm(Vec<(Kind, u32)>);

impl Swarm {
    /// A subset, with other rates; never nothing.
    pub fn drawn(rng: &mut Rng) -> Self {
        let mut rates = Vec::new();
        for (kind, rate) in RATES {
            let percent = u32::try_from(rng.between(30, 200)).expect("it is small");
            if rng.chance(650_000) {
                rates.push((*kind, rate * percent / 100));
            }
        }
        Self(if rates.is_empty() { RATES.to_vec() } else { rates })
    }

    /// What begins in a slot of time.
    pub fn begin(&self, rng: &mut Rng) -> Vec<Kind> {
        self.0.iter().filter(|(_, rate)| rng.chance(*rate)).map(|(kind, _)| *kind).collect()
    }
}
