//! What can go wrong, as data: the kinds of faults, one fault with its parameters, and how often
//! each kind is drawn in a run.
//!
//! A fault is a line of text (`pause node=2 for_ms=900`), so that a recorded schedule can be read,
//! cut down and replayed. What a fault does is in [`crate::world`]; whether it may happen at all
//! (the only copy of a majority is never destroyed) is decided there too, at the moment it is due.

use std::fmt;
use std::str::FromStr;

use crate::rng::Rng;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl FaultKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name in schedules and reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// A message is lost.
    Drop = "drop",
    /// A message arrives twice.
    Duplicate = "duplicate",
    /// A message arrives late, after those that were sent after it.
    Reorder = "reorder",
    /// Two groups of nodes do not hear each other.
    Partition = "partition",
    /// Messages of one direction between two groups are lost.
    OneWay = "one-way",
    /// Two groups hear each other only through one node that hears all.
    Bridge = "bridge",
    /// Messages of a link are held, and all come at once in the end.
    Clog = "clog",
    /// A link is slow for a while.
    SlowLink = "slow-link",
    /// A node does nothing for a while; its clocks go on.
    Pause = "pause",
    /// A node ends; what it had not synced may be lost, wholly or in part.
    Crash = "crash",
    /// All nodes end at once.
    CrashAll = "crash-all",
    /// A node loses its disk, and a new one takes its place.
    LostDisk = "lost-disk",
    /// A node's durable replica is set back to an older snapshot, and the node is told so.
    SetBack = "set-back",
    /// A sync fails.
    SyncError = "sync-error",
    /// A disk takes no more writes for a while.
    DiskFull = "disk-full",
    /// A disk is slow for a while.
    SlowDisk = "slow-disk",
    /// A node ends in the middle of a file operation.
    CrashInWrite = "crash-in-write",
    /// A synced sector is damaged: the node must refuse to start.
    Corruption = "corruption",
    /// A write lands elsewhere in its file: the node must refuse to start again.
    Misdirection = "misdirection",
    /// A wall clock jumps.
    ClockStep = "clock-step",
    /// The clocks of a node run fast or slow.
    ClockDrift = "clock-drift",
    /// A node is added to the cluster.
    Add = "add",
    /// A node is removed from the cluster for good.
    Remove = "remove",
    /// Leadership is handed over.
    Transfer = "transfer",
    /// A majority loses its disks; one survivor is made a new cluster.
    LostMajority = "lost-majority",
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.as_str() == text).ok_or_else(|| format!("no fault {text:?}"))
    }
}

/// One fault: what, to whom, how long, how much. What a kind does not need is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Which node.
    pub node: u8,
    /// Which directed links, or which nodes: a set of bits.
    pub set: u64,
    /// For how long.
    pub for_ms: u64,
    /// How much: milliseconds of a step or delay, parts per million of a drift, the seed of an image.
    pub amount: i64,
}

impl Fault {
    /// A fault of a kind.
    #[must_use]
    pub const fn new(kind: FaultKind) -> Self {
        Self { kind, node: 0, set: 0, for_ms: 0, amount: 0 }
    }

    /// To a node.
    #[must_use]
    pub const fn at(mut self, node: u8) -> Self {
        self.node = node;
        self
    }

    /// On a set of links or nodes.
    #[must_use]
    pub const fn on(mut self, set: u64) -> Self {
        self.set = set;
        self
    }

    /// For a while.
    #[must_use]
    pub const fn lasting(mut self, for_ms: u64) -> Self {
        self.for_ms = for_ms;
        self
    }

    /// So much.
    #[must_use]
    pub const fn by(mut self, amount: i64) -> Self {
        self.amount = amount;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, node, set, for_ms, amount } = self;
        write!(f, "{} node={node}", kind.as_str())?;
        if *set != 0 {
            write!(f, " set={set:x}")?;
        }
        if *for_ms != 0 {
            write!(f, " for_ms={for_ms}")?;
        }
        if *amount != 0 {
            write!(f, " amount={amount}")?;
        }
        Ok(())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut fault = Self::new(words.next().ok_or("a fault has a kind")?.parse()?);
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("no {word:?}"))?;
            let bad = |_| format!("{word:?} is no number");
            match name {
                "node" => fault.node = value.parse().map_err(bad)?,
                "set" => fault.set = u64::from_str_radix(value, 16).map_err(bad)?,
                "for_ms" => fault.for_ms = value.parse().map_err(bad)?,
                "amount" => fault.amount = value.parse().map_err(bad)?,
                _ => return Err(format!("a fault has no {name:?}")),
            }
        }
        Ok(fault)
    }
}

/// How often each kind is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// In a million occasions, by kind. The occasion of a message fault is a message, that of a file
    /// fault a step of a disk, that of any other a slot of time.
    per_million: Vec<(FaultKind, u32)>,
}

impl Rates {
    /// No faults.
    #[must_use]
    pub const fn none() -> Self {
        Self { per_million: Vec::new() }
    }

    /// So often in a million occasions.
    #[must_use]
    pub fn with(mut self, kind: FaultKind, per_million: u32) -> Self {
        self.per_million.retain(|(other, _)| *other != kind);
        self.per_million.push((kind, per_million));
        self
    }

    /// How often, in a million occasions.
    #[must_use]
    pub fn of(&self, kind: FaultKind) -> u32 {
        self.per_million.iter().find(|(other, _)| *other == kind).map_or(0, |(_, rate)| *rate)
    }

    /// The kinds that are drawn.
    pub fn kinds(&self) -> impl Iterator<Item = FaultKind> {
        self.per_million.iter().filter(|(_, rate)| *rate > 0).map(|(kind, _)| *kind)
    }

    /// A subset with other rates, as one run of many has it (Groce and others: "Swarm testing",
    /// 2012): what never happens together with much else is found only where much is left out.
    #[must_use]
    pub fn swarm(&self, rng: &mut Rng) -> Self {
        let mut per_million = Vec::new();
        for (kind, rate) in &self.per_million {
            let percent = rng.between(30, 200);
            if rng.chance(650_000) {
                let rate = u64::from(*rate) * percent / 100;
                per_million.push((*kind, u32::try_from(rate).unwrap_or(1_000_000)));
            }
        }
        if per_million.is_empty() { self.clone() } else { Self { per_million } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_lines_of_text() {
        for kind in FaultKind::ALL {
            let fault = Fault::new(*kind).at(2).on(0x1f).lasting(900).by(-40);
            assert_eq!(fault.to_string().parse(), Ok(fault));
            let plain = Fault::new(*kind);
            assert_eq!(plain.to_string().parse(), Ok(plain));
        }
        for bad in ["", "rain", "drop node", "drop node=x", "drop colour=1"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_run_draws_a_subset_and_never_nothing() {
        let rates = Rates::none().with(FaultKind::Crash, 100).with(FaultKind::Drop, 100);
        let mut rng = Rng::new(1);
        let sizes: std::collections::BTreeSet<_> =
            (0..50).map(|_| rates.swarm(&mut rng).kinds().count()).collect();
        assert_eq!(sizes, [1, 2].into());
    }
}
