//! What a set of runs has reached: faults, situations, and cells of the table of operations.
//!
//! A simulator that never does something never finds what is wrong with it. So everything that is
//! meant to happen is counted, and a zero over many seeds is a failure of the simulator.

use std::fmt::Write;

use crate::client::table::{CELLS, Cell};
use crate::faults::FaultKind;

macro_rules! marks {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A situation that runs are meant to come into.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mark {
            /// All situations.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The situation in words.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

marks! {
    /// a leader follows another one
    SecondLeader,
    /// a leader leads for less than an election timeout
    ShortLeader,
    /// a paused leader goes on while another one leads
    PausedLeaderReturns,
    /// a node cuts the end off its log, which another leader replaces
    LogCut,
    /// a snapshot is taken
    SnapshotTaken,
    /// a snapshot is installed
    SnapshotInstalled,
    /// a node starts from a snapshot and entries after it
    StartedFromBoth,
    /// a node ends before it belongs to a cluster
    CrashInFounding,
    /// a node starts that has pledged itself and belongs to no cluster yet
    PledgedStart,
    /// a member tells a founder of their cluster
    MemberTellsFounder,
    /// a node that waits to found sees a cluster, and joins it
    JoinsInstead,
    /// founders have pledged to different lists, and begin anew
    FoundersSplit,
    /// a batch that was not synced is lost in a crash
    UnsyncedLost,
    /// a batch that was not synced survives a crash
    UnsyncedSurvived,
    /// a node ends while a snapshot is being saved
    CrashInSnapshot,
    /// a failed disk stops a node
    StorageStopped,
    /// a disk is too full for a node to start
    StartRefusedFull,
    /// a node refuses to start on a damaged log
    DamageRefused,
    /// a repeated command is answered from memory
    RepeatAnswered,
    /// an unknown outcome is resolved: the command had been applied
    ResolvedApplied,
    /// an unknown outcome is resolved by applying the command now
    ResolvedNow,
    /// a command without effect is sent again under its identity
    SentAgain,
    /// a request is forwarded to the leader
    Forwarded,
    /// a forwarded request is declined
    Declined,
    /// a read is answered by a follower
    FollowerRead,
    /// a client's connection breaks with its node
    ConnectionBroken,
    /// a client gives up waiting for a node that does nothing
    ClientGaveUp,
    /// a client session has expired
    SessionExpired,
    /// an entry expires under another leader than the one that wrote it
    ExpiredUnderOther,
    /// a write lands on an entry that has expired and is still there
    ExpiredInWrite,
    /// a leader begins while the clocks of no majority agree
    ClockUnresolved,
    /// a leader's clock is off
    LeaderClockOff,
    /// a watch goes on at another node
    WatchResumed,
    /// a watch is told that it comes too late
    WatchCompacted,
    /// two configurations are in force together
    Joint,
    /// a node ends while two configurations are in force
    CrashInJoint,
    /// the membership changes while links are cut
    ChangeInPartition,
    /// a learner becomes a voter
    Promoted,
    /// a removed node is told so
    RemovedTold,
    /// a change of the membership is refused
    ChangeRefused,
    /// a survivor goes on as a new cluster
    Recovered,
    /// a replica joins through a member that has joined
    JoinedThroughOne,
    /// a replica joins once it has exchanged with everyone
    JoinedWithEveryone,
    /// a tombstone is collected
    Collected,
    /// a tombstone is collected by a replica that has started again
    CollectedAfterRestart,
    /// an entry is dropped in an exchange: its tombstone was collected elsewhere
    DroppedInExchange,
    /// a write from too far in the future is refused
    FutureRefused,
    /// a write is refused by the clock
    RefusedByClock,
    /// a write is refused because there are too many tombstones
    RefusedByTombstones,
    /// a call is refused because the replica has not joined
    RefusedNotJoined,
    /// a call is refused because the member was removed
    RefusedRemoved,
    /// an exchange begins anew
    ExchangeBegunAnew,
    /// an exchange walks the hash tries
    WalkTaken,
    /// a value that is too large to be pushed comes by an exchange
    LargeBrought,
    /// a durable replica goes on after a restart
    ReplicaResumed,
    /// a replica begins with an older snapshot
    BegunOlder,
    /// a replica begins with what a failed disk held
    BegunDoubtful,
    /// a durable replica is let go, and the volatile one goes on
    ReplicaLetGo,
    /// a write to a replica ends unknown with its node
    WriteLost,
    /// a replica moves on to a later list of members
    ListTaken,
    /// a message comes from a member with another list
    OtherList,
    /// a tombstone is collected after the list of members has changed
    CollectedInNewList,
    /// a node is taken for down, and seen again
    SeenAgain,
    /// a read shows nothing because the value has expired
    ExpiredRead,
}

impl Mark {
    /// Whether it is one of the situations of CRDT replicas.
    #[must_use]
    pub const fn is_of_crdt(self) -> bool {
        self as usize >= Self::JoinedThroughOne as usize
    }
}

/// Counters of one or several runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    faults: Vec<u64>,
    marks: Vec<u64>,
    cells: Vec<u64>,
    /// Runs in which a fault and a situation both occurred.
    pairs: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            faults: vec![0; FaultKind::ALL.len()],
            marks: vec![0; Mark::ALL.len()],
            cells: vec![0; CELLS],
            pairs: vec![0; FaultKind::ALL.len() * Mark::ALL.len()],
        }
    }
}

impl Coverage {
    /// Counts a fault.
    pub fn fault(&mut self, kind: FaultKind) {
        self.faults[kind as usize] += 1;
    }

    /// Counts a situation.
    pub fn mark(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    /// Counts the end of an operation.
    pub fn cell(&mut self, cell: Cell) {
        self.cells[cell.number()] += 1;
    }

    /// How many faults fired.
    #[must_use]
    pub fn faults_fired(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// How often a fault fired.
    #[must_use]
    pub fn of_fault(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize]
    }

    /// How often a situation came up.
    #[must_use]
    pub fn of_mark(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// Adds what another run has reached.
    pub fn add(&mut self, run: &Self) {
        let add = |sums: &mut [u64], more: &[u64]| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.faults, &run.faults);
        add(&mut self.marks, &run.marks);
        add(&mut self.cells, &run.cells);
        for (fault, fired) in run.faults.iter().enumerate().filter(|(_, fired)| **fired > 0) {
            debug_assert!(*fired > 0);
            for (mark, met) in run.marks.iter().enumerate() {
                self.pairs[fault * Mark::ALL.len() + mark] += u64::from(*met > 0);
            }
        }
    }

    /// What of all that there is was never reached.
    #[must_use]
    pub fn zeros(&self) -> Vec<String> {
        self.zeros_among(|_| true, |_| true, true)
    }

    /// What was never reached, of the faults and situations that are meant to be, and of the operations on
    /// Raft nodes if they are.
    #[must_use]
    pub fn zeros_among(
        &self,
        is_drawn: impl Fn(FaultKind) -> bool,
        is_meant: impl Fn(Mark) -> bool,
        has_operations: bool,
    ) -> Vec<String> {
        let faults = FaultKind::ALL.iter().filter(|kind| self.of_fault(**kind) == 0);
        let faults = faults.filter(|kind| is_drawn(**kind));
        let marks = Mark::ALL.iter().filter(|mark| self.of_mark(**mark) == 0);
        let marks = marks.filter(|mark| is_meant(**mark));
        let cells = Cell::all().filter(|cell| has_operations && cell.excluded().is_none());
        let cells = cells.filter(|cell| self.cells[cell.number()] == 0);
        let named = faults.map(|kind| format!("fault {}", kind.as_str()));
        let named = named.chain(marks.map(|mark| format!("mark: {}", mark.as_str().trim())));
        named.chain(cells.map(|cell| format!("operation {cell}"))).collect()
    }

    /// Pairs of a fault and a situation that never occurred in one run, of those that can.
    #[must_use]
    pub fn pairs_missing(&self, can_meet: impl Fn(FaultKind, Mark) -> bool) -> Vec<String> {
        let mut missing = Vec::new();
        for kind in FaultKind::ALL {
            for mark in Mark::ALL.iter().filter(|mark| can_meet(*kind, **mark)) {
                if self.pairs[*kind as usize * Mark::ALL.len() + *mark as usize] == 0 {
                    missing.push(format!("{} with: {}", kind.as_str(), mark.as_str().trim()));
                }
            }
        }
        missing
    }

    /// The report: every count, and why what is excluded is.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = String::from("faults\n");
        for kind in FaultKind::ALL {
            writeln!(text, "  {:>9}  {}", self.of_fault(*kind), kind.as_str()).expect("a string");
        }
        text.push_str("situations\n");
        for mark in Mark::ALL {
            writeln!(text, "  {:>9}  {}", self.of_mark(*mark), mark.as_str().trim())
                .expect("a string");
        }
        text.push_str("operations\n");
        for cell in Cell::all() {
            let count = self.cells[cell.number()];
            match cell.excluded() {
                None => writeln!(text, "  {count:>9}  {cell}"),
                Some(why) if count == 0 => writeln!(text, "          -  {cell}: {why}"),
                Some(why) => writeln!(text, "  {count:>9}  {cell}, although: {why}"),
            }
            .expect("a string");
        }
        text
    }
}
