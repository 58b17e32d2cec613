//! A state of the model: three replicas, the writes of the run, and what is under way.
//!
//! Stamps are places in the one order of all writes. A write may take any place after all that its
//! member has covered: so do hybrid clocks whose physical parts differ in every way. Since ties are no
//! matter then, members differ in nothing but their numbers, and of the up to six states that differ in
//! these numbers alone, one stands for all ([`State::representative`]). It keeps which dot is whose,
//! and every action and property treats members alike, so nothing is lost.
//!
//! **Invariant:** equal states are equal byte for byte: places that are not used hold defaults.

use super::bounds::{Bounds, DELAYED_MAX, LISTS_MAX, Manner, WRITES_MAX};
use super::rule::{
    Coverage, Epochs, Found, Image, Incarnation, List, MEMBERS, Members, Replica, Stamp, Standing,
};

/// A state of the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The members, in the order in which they were first listed.
    pub replicas: [Replica; MEMBERS],
    /// The lists so far, by their epochs.
    pub lists: [Members; LISTS_MAX],
    /// The last epoch.
    pub epoch: u8,
    /// The writes so far, in the order of their stamps. Each is also a push under way from the member
    /// that wrote it to every other one, for ever.
    pub writes: [Option<Write>; WRITES_MAX],
    /// The members by whose clocks the deadline of the lease has passed.
    pub passed: Members,
    /// Other messages that are under way for ever.
    pub delayed: [Option<Delayed>; DELAYED_MAX],
    /// An older state of one member, that it may be set back to.
    pub snapshot: Option<Snapshot>,
    /// The newest tombstone that all listed members covered at once while all had joined, in the last
    /// epoch, or that one collected: no older value may be shown again, unless all lost their state.
    pub buried: Option<Stamp>,
    /// What may still happen.
    pub left: Bounds,
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Write {
    /// Who made it.
    pub member: u8,
    /// In which incarnation.
    pub incarnation: Incarnation,
    /// What it is.
    pub kind: Kind,
    /// The epochs in which that incarnation has been since.
    pub epochs: Epochs,
}

/// What a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value.
    Put,
    /// A value with a deadline.
    Lease,
    /// A delete.
    Delete,
    /// A delete that no client asked for. Only the mutant in which expiry writes has it.
    Sweep,
}

/// A message that may arrive at any later time, as often as it likes, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delayed {
    /// What it holds.
    pub image: Image,
    /// If it answers an exchange: what was asked. Else everyone may get it.
    pub asked: Option<Asked>,
}

/// What is asked for an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// Who asks.
    pub by: u8,
    /// In which incarnation.
    pub incarnation: Incarnation,
    /// Whom it had found not to have joined.
    pub found: Found,
}

/// A state that a member had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// Whose it is.
    pub member: u8,
    /// What it holds.
    pub replica: Replica,
}

impl State {
    /// A cluster before the first write: its members have joined and met, or start for the first time.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        let members = Members::first(bounds.members);
        let mut replicas = [Replica::default(); MEMBERS];
        for member in members.iter() {
            replicas[member].list = List { epoch: 0, members };
            if bounds.first == 0 {
                replicas[member].has_joined = true;
                replicas[member].met = members;
            }
        }
        let mut lists = [Members::default(); LISTS_MAX];
        lists[0] = members;
        Self {
            replicas,
            lists,
            epoch: 0,
            writes: [None; WRITES_MAX],
            passed: Members::default(),
            delayed: [None; DELAYED_MAX],
            snapshot: None,
            buried: None,
            left: *bounds,
        }
    }

    /// The last list.
    #[must_use]
    pub fn list(&self) -> List {
        self.list_of(self.epoch)
    }

    /// The list of an epoch.
    #[must_use]
    pub fn list_of(&self, epoch: u8) -> List {
        List { epoch, members: self.lists[usize::from(epoch)] }
    }

    /// The members there ever were.
    #[must_use]
    pub fn members(&self) -> Members {
        Members(self.lists.iter().fold(0, |all, list| all | list.0))
    }

    /// The members of the last list.
    pub fn listed(&self) -> impl Iterator<Item = &Replica> {
        self.list().members.iter().map(|member| &self.replicas[member])
    }

    /// The write with this stamp.
    #[must_use]
    pub fn write(&self, stamp: Stamp) -> Write {
        self.writes[usize::from(stamp.0) - 1].expect("stamps are those of writes")
    }

    /// All writes with their stamps.
    pub fn stamped(&self) -> impl Iterator<Item = (Stamp, Write)> + '_ {
        (1..).zip(&self.writes).filter_map(|(stamp, write)| Some((Stamp(stamp), (*write)?)))
    }

    /// The stamps that a member may give its next write: all after what it has covered.
    pub fn next_stamps(&self, member: usize) -> impl Iterator<Item = Stamp> + use<> {
        let after = self.replicas[member].coverage.newest().map_or(0, |stamp| stamp.0);
        let count = self.stamped().count();
        let free = count < WRITES_MAX;
        let last = if free { u8::try_from(count + 1).expect("few writes") } else { 0 };
        (after + 1..=last).map(Stamp)
    }

    /// What an entry is to a member.
    #[must_use]
    pub fn standing(&self, member: usize, entry: Stamp) -> Standing {
        match self.write(entry).kind {
            Kind::Put => Standing::Live,
            Kind::Delete | Kind::Sweep => Standing::Tombstone,
            Kind::Lease if self.passed == self.members() => Standing::Tombstone,
            Kind::Lease if self.passed.contains(member) => Standing::Expired,
            Kind::Lease => Standing::Live,
        }
    }

    /// Whether an entry is a tombstone to everyone.
    #[must_use]
    pub fn is_tombstone(&self, entry: Stamp) -> bool {
        self.standing(0, entry) == Standing::Tombstone
    }

    /// Adds a write with this stamp; those from there on move up by one, everywhere.
    pub fn insert(&mut self, stamp: Stamp, write: Write) {
        self.for_each_knowledge(|entry, coverages| {
            if let Some(entry) = entry {
                *entry = entry.after_insertion(stamp);
            }
            for coverage in coverages {
                *coverage = coverage.after_insertion(stamp);
            }
        });
        if let Some(buried) = &mut self.buried {
            *buried = buried.after_insertion(stamp);
        }
        let place = usize::from(stamp.0) - 1;
        self.writes[place..].rotate_right(1);
        self.writes[place] = Some(write);
    }

    /// Puts everything that no longer matters at its default.
    pub fn tidy(&mut self) {
        let covered = self
            .buried
            .is_some_and(|buried| self.listed().any(|replica| replica.coverage.covers(buried)));
        if !covered {
            self.buried = None;
        }
        if self.left.older == 0 {
            self.snapshot = None;
        }
        self.delayed.sort_unstable_by_key(|message| (message.is_none(), *message));
    }

    /// The state that stands for all that differ from this one in the numbers of members alone.
    #[must_use]
    pub fn representative(&self) -> Self {
        let orders = match self.members().iter().count() {
            0 | 1 => 1,
            2 => 2,
            3 => 6,
            _ => 24,
        };
        let others = PERMUTATIONS[1..orders].iter().map(|order| self.permuted(order));
        others.fold(self.clone(), Ord::min)
    }

    /// The same with member `m` as member `order[m]`.
    #[must_use]
    pub fn permuted(&self, order: &[usize; MEMBERS]) -> Self {
        let mut permuted = self.clone();
        for member in 0..MEMBERS {
            permuted.replicas[order[member]] = self.replicas[member].permuted(order);
        }
        for write in permuted.writes.iter_mut().flatten() {
            write.member = moved(write.member, order);
        }
        for list in &mut permuted.lists {
            *list = list.permuted(order);
        }
        permuted.passed = self.passed.permuted(order);
        for message in permuted.delayed.iter_mut().flatten() {
            message.image.from = moved(message.image.from, order);
            message.image.incarnations = permute(&message.image.incarnations, order);
            message.asked = message.asked.map(|asked| Asked {
                by: moved(asked.by, order),
                found: permute(&asked.found, order),
                ..asked
            });
        }
        if let Some(snapshot) = &mut permuted.snapshot {
            snapshot.member = moved(snapshot.member, order);
            snapshot.replica = snapshot.replica.permuted(order);
        }
        permuted.tidy();
        permuted
    }

    /// All entries, and all coverages beside them, wherever they are.
    fn for_each_knowledge(&mut self, mut f: impl FnMut(&mut Option<Stamp>, &mut [Coverage])) {
        let snapshots = self.snapshot.iter_mut().map(|snapshot| &mut snapshot.replica);
        for replica in self.replicas.iter_mut().chain(snapshots) {
            f(&mut replica.entry, std::slice::from_mut(&mut replica.coverage));
            f(&mut None, &mut replica.digests);
        }
        for message in self.delayed.iter_mut().flatten() {
            let image = &mut message.image;
            let mut coverages = [image.coverage, image.digest];
            f(&mut image.entry, &mut coverages);
            [image.coverage, image.digest] = coverages;
        }
    }
}

impl Kind {
    /// What a client asked for, so that it has to survive.
    #[must_use]
    pub fn is_acknowledged(self) -> bool {
        self != Self::Sweep
    }
}

impl Manner {
    /// How a trace tells it.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Durable => "restarts with its state",
            Self::Empty => "restarts without its state",
            Self::Older => "restarts from its snapshot",
        }
    }
}

impl Stamp {
    fn after_insertion(self, inserted: Self) -> Self {
        if self >= inserted { Self(self.0 + 1) } else { self }
    }
}

impl Coverage {
    fn after_insertion(self, inserted: Stamp) -> Self {
        let below = (1 << (inserted.0 - 1)) - 1;
        Self((self.0 & below) | (self.0 & !below) << 1)
    }
}

impl Members {
    fn permuted(self, order: &[usize; MEMBERS]) -> Self {
        let mut permuted = Self::default();
        for member in (0..MEMBERS).filter(|member| self.contains(*member)) {
            permuted.insert(order[member]);
        }
        permuted
    }
}

impl Replica {
    fn permuted(&self, order: &[usize; MEMBERS]) -> Self {
        Self {
            incarnations: permute(&self.incarnations, order),
            met: self.met.permuted(order),
            found: permute(&self.found, order),
            again: self.again.permuted(order),
            list: List { members: self.list.members.permuted(order), ..self.list },
            digests: permute(&self.digests, order),
            ..*self
        }
    }
}

fn permute<T: Copy>(values: &[T; MEMBERS], order: &[usize; MEMBERS]) -> [T; MEMBERS] {
    let mut permuted = *values;
    for member in 0..MEMBERS {
        permuted[order[member]] = values[member];
    }
    permuted
}

fn moved(member: u8, order: &[usize; MEMBERS]) -> u8 {
    u8::try_from(order[usize::from(member)]).expect("members are few")
}

/// All orders of four members, the usual one first: before all others the two of the first two members,
/// and the six of the first three.
const PERMUTATIONS: &[[usize; MEMBERS]] = &[
    [0, 1, 2, 3],
    [1, 0, 2, 3],
    [0, 2, 1, 3],
    [1, 2, 0, 3],
    [2, 0, 1, 3],
    [2, 1, 0, 3],
    [0, 1, 3, 2],
    [0, 2, 3, 1],
    [0, 3, 1, 2],
    [0, 3, 2, 1],
    [1, 0, 3, 2],
    [1, 2, 3, 0],
    [1, 3, 0, 2],
    [1, 3, 2, 0],
    [2, 0, 3, 1],
    [2, 1, 3, 0],
    [2, 3, 0, 1],
    [2, 3, 1, 0],
    [3, 0, 1, 2],
    [3, 0, 2, 1],
    [3, 1, 0, 2],
    [3, 1, 2, 0],
    [3, 2, 0, 1],
    [3, 2, 1, 0],
];
