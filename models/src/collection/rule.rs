//! The rule of tombstone collection: when a replica may forget that a key was deleted, and what
//! every replica has to do so that nobody brings the deleted value back.
//!
//! A tombstone that is dropped too early is fatal: a member that missed the delete, or a message that
//! was under way for long, still has the value, and there is nothing left that beats it. The rule lets
//! a member drop a tombstone only once nothing in the cluster can need it any more, although members
//! restart, with their state or without, and messages are lost, repeated and late. It has nine
//! sentences, and the functions below name those that they carry out.
//!
//! 1. An *incarnation* begins whenever a process starts without everything that it had sent or
//!    acknowledged. A durable member's restart is a pause: it keeps its incarnation, and loses only
//!    the digests that it held. A snapshot of the last incarnation is a state to start from; one of
//!    an incarnation before that is none, because what the last one said never counted it in.
//! 2. Every message carries its sender's incarnation; syncs and digests carry its table of the
//!    newest known incarnations, and the receiver takes the maximum into its own.
//! 3. A message of an ended incarnation is discarded, and so are the digests of a member as soon as
//!    a newer incarnation of it is known. What an ended incarnation wrote still arrives through
//!    others.
//! 4. A new incarnation merges nothing, serves nothing and takes no writes until it has *joined*:
//!    by one complete exchange with a joined member, or with every other listed member.
//! 5. Who serves an exchange records the joiner's incarnation before reading what is handed over;
//!    the answer names that incarnation, and nothing else counts as a join.
//! 6. A member is *whole* once it has exchanged with every other listed member in this incarnation.
//!    Only digests of whole members count, and only whole members collect.
//! 7. A digest is the exact coverage, gaps included. Coverage grows by what has arrived only: by
//!    all that the sender covers once an exchange is complete, before that by single writes.
//! 8. A tombstone is dropped when for every other listed member there are digests of its newest
//!    known incarnation that cover it and lie entirely within the coverage of who drops it.
//! 9. A write that is covered already and would beat the state was superseded and collected: it is
//!    ignored. In a sync a replica also drops its own entry if the sender covers it and holds
//!    nothing as new.
//!
//! All functions are pure: state and input in, state out. What a write holds is not of interest here,
//! so a write is its [`Stamp`], which is unique, and stands for its dot too. A coverage here is a set of
//! at most eight writes; with more writes it is a version vector with gaps. Each sentence can be
//! weakened by a [`Mutant`]; [`Rule::WHOLE`] is the rule.

use super::mutants::Mutant;

/// Listed members.
pub const MEMBERS: usize = 3;

/// When a write happened: its place in the total order of all writes, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u8);

/// A set of writes: exactly those whose effects a state includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coverage(pub u8);

/// A set of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Members(pub u8);

/// A life of a member, between a start without all that it had said and the next such start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u8);

/// What a member knows: of the key, of the writes, and of the other members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// The newest write of the key, a put or a delete, unless there is none or it was collected.
    pub entry: Option<Stamp>,
    /// The writes that the entry is the result of.
    pub coverage: Coverage,
    /// The newest known incarnation of each listed member; at its own place its own.
    pub incarnations: [Incarnation; MEMBERS],
    /// Whether this incarnation serves, and takes writes.
    pub has_joined: bool,
    /// The members that it has exchanged with in this incarnation.
    pub met: Members,
    /// What each member's newest known incarnation is known to cover, by its digests.
    pub digests: [Coverage; MEMBERS],
}

/// What a sync hands over, a digest tells and an answer of an exchange consists of: the sender's
/// state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Image {
    /// Who sent it.
    pub from: u8,
    /// What the sender holds.
    pub entry: Option<Stamp>,
    /// What the sender covers.
    pub coverage: Coverage,
    /// The same, as a digest tells it.
    pub digest: Coverage,
    /// The sender's table; at its own place its incarnation at that moment.
    pub incarnations: [Incarnation; MEMBERS],
    /// Whether it had joined.
    pub has_joined: bool,
    /// Whether it was whole.
    pub is_whole: bool,
}

/// What an entry is to the member that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A value that is shown.
    Live,
    /// Past its deadline by the member's own clock, while another clock may not be there yet.
    Expired,
    /// A delete, or a value whose deadline plus the bound of all clocks has passed.
    Tombstone,
}

/// What a message is to its receiver; sentence 3 holds for all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// One write.
    Push,
    /// A whole state.
    Sync,
    /// The coverage alone.
    Digest,
}

/// The rule, or the rule with one weakness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What is wrong with it.
    pub weakness: Option<Mutant>,
}

impl Rule {
    /// All nine sentences.
    pub const WHOLE: Self = Self { weakness: None };

    /// Whether a message is looked at (sentences 3 and 4). `from` is the sender, which was in this
    /// incarnation when it sent the message. Whether a sync is a join is for [`Self::take_sync`] to say.
    #[must_use]
    pub fn accepts(
        self,
        replica: &Replica,
        from: usize,
        incarnation: Incarnation,
        form: Form,
    ) -> bool {
        let may_be_ended = match form {
            Form::Push => self.has(Mutant::EndedPushes),
            Form::Sync => self.has(Mutant::EndedSyncs),
            Form::Digest => self.has(Mutant::EndedDigests),
        };
        let is_current = incarnation >= replica.incarnations[from];
        let is_ready =
            replica.has_joined || form == Form::Sync || self.has(Mutant::MessagesBeforeJoin);
        (is_current || may_be_ended) && is_ready
    }

    /// Takes note of an incarnation (sentences 2 and 3): what older ones covered says nothing about
    /// a newer one.
    pub fn learn(self, replica: &mut Replica, member: usize, incarnation: Incarnation) {
        if incarnation <= replica.incarnations[member] {
            return;
        }
        replica.incarnations[member] = incarnation;
        if !self.has(Mutant::OldDigestsKept) {
            replica.digests[member] = Coverage::default();
        }
    }

    /// Takes note of all incarnations that the sender of a sync or a digest knew of (sentence 2).
    pub fn learn_table(self, replica: &mut Replica, me: usize, image: &Image) {
        let from = usize::from(image.from);
        self.learn(replica, from, image.incarnations[from]);
        if self.has(Mutant::TablesNotCarried) {
            return;
        }
        for member in (0..MEMBERS).filter(|member| *member != me) {
            self.learn(replica, member, image.incarnations[member]);
        }
    }

    /// Merges one write that arrived by itself (sentences 7 and 9).
    pub fn merge_entry(self, replica: &mut Replica, entry: Stamp) {
        let is_newer = replica.entry < Some(entry);
        let was_collected = is_newer && replica.coverage.covers(entry);
        if is_newer && (!was_collected || self.has(Mutant::NoReceiveFilter)) {
            replica.entry = Some(entry);
        }
        replica.coverage.insert(entry);
    }

    /// Merges a whole state (sentences 7 and 9).
    pub fn merge_sync(self, replica: &mut Replica, entry: Option<Stamp>, coverage: Coverage) {
        let was_superseded =
            replica.entry.is_some_and(|own| coverage.covers(own) && entry < Some(own));
        let held = replica.entry;
        if let Some(entry) = entry {
            self.merge_entry(replica, entry);
        }
        if was_superseded && !self.has(Mutant::NoDropInSync) && replica.entry == held {
            replica.entry = None;
        }
        replica.coverage = replica.coverage.union(coverage);
    }

    /// Takes the part of a sync that came before it was cut off (sentence 7): the writes that it
    /// brought, and nothing of what the sender covers besides.
    pub fn merge_part(self, replica: &mut Replica, me: usize, image: &Image) {
        self.learn_table(replica, me, image);
        if self.has(Mutant::CoverageBeforeEntries) {
            replica.coverage = replica.coverage.union(image.coverage);
        } else if let Some(entry) = image.entry {
            self.merge_entry(replica, entry);
        }
    }

    /// Notes who asks for an exchange (sentence 5). The server does so before it reads its state for
    /// the answer, so no digest that it sends after the answer is taken for one from before.
    pub fn record_joiner(self, server: &mut Replica, joiner: usize, incarnation: Incarnation) {
        if !self.has(Mutant::JoinerNotRecorded) {
            self.learn(server, joiner, incarnation);
        }
    }

    /// Takes a complete sync. `is_answer` says that it answers an exchange that this very incarnation
    /// asked for (sentence 5): only then does it count as a meeting, and only then can it be a join
    /// (sentence 4).
    pub fn take_sync(self, replica: &mut Replica, me: usize, image: &Image, is_answer: bool) {
        let counts = is_answer || self.has(Mutant::StaleSyncJoins) && !replica.has_joined;
        if !replica.has_joined && !counts {
            return;
        }
        self.learn_table(replica, me, image);
        if counts {
            replica.met.insert(usize::from(image.from));
        }
        let serves_nothing = replica.has_joined && !image.has_joined;
        if serves_nothing {
            return;
        }
        self.merge_sync(replica, image.entry, image.coverage);
        replica.has_joined = replica.has_joined || self.may_join(replica, me, image);
        self.take_digest(replica, image);
    }

    /// Takes a digest: what the sender covers, if it was whole (sentences 6 and 7).
    pub fn take_digest(self, replica: &mut Replica, image: &Image) {
        let from = usize::from(image.from);
        if !image.has_joined || !image.is_whole && !self.has(Mutant::DigestsOfPartial) {
            return;
        }
        replica.digests[from] = replica.digests[from].union(image.digest);
    }

    /// Whether a member that has just exchanged may serve (sentence 4).
    #[must_use]
    fn may_join(self, replica: &Replica, me: usize, image: &Image) -> bool {
        if self.has(Mutant::JoinNeedsJoined) {
            return image.has_joined;
        }
        image.has_joined || is_whole(replica, me) || self.has(Mutant::JoinWithUnjoined)
    }

    /// Whether a member may drop the tombstone that it holds (sentences 6 and 8).
    #[must_use]
    pub fn may_collect(self, replica: &Replica, me: usize, standing: Standing) -> bool {
        let Some(entry) = replica.entry else { return false };
        match standing {
            Standing::Live => return false,
            Standing::Expired if !self.has(Mutant::DroppedAtDeadline) => return false,
            Standing::Expired | Standing::Tombstone => {}
        }
        let is_ready = is_whole(replica, me) || self.has(Mutant::CollectorPartial);
        if !replica.has_joined || !is_ready {
            return false;
        }
        if self.has(Mutant::CollectedByAge) {
            return true;
        }
        let mut others = (0..MEMBERS).filter(|member| *member != me);
        let releases = |member: usize| {
            let digest = replica.digests[member];
            let is_contained =
                digest.is_within(replica.coverage) || self.has(Mutant::NoContainment);
            digest.covers(entry) && is_contained
        };
        if self.has(Mutant::AliveMembersOnly) { others.any(releases) } else { others.all(releases) }
    }

    /// The start of a new incarnation, after everything but `kept` was lost (sentences 1 and 4). What
    /// is kept from before the last incarnation is not looked at.
    #[must_use]
    pub fn restart_anew(self, before: &Replica, kept: &Replica, me: usize) -> Replica {
        let is_of_last = kept.incarnations[me] == before.incarnations[me];
        let nothing = Replica::default();
        let kept = if is_of_last || self.has(Mutant::AnySnapshot) { kept } else { &nothing };
        let mut replica = Replica {
            entry: kept.entry,
            coverage: kept.coverage,
            incarnations: kept.incarnations,
            has_joined: self.has(Mutant::NoJoin),
            ..Replica::default()
        };
        replica.incarnations[me] = before.incarnations[me].next();
        if self.has(Mutant::SnapshotSameIncarnation) {
            replica.incarnations[me] = before.incarnations[me];
            replica.has_joined = kept.has_joined;
            replica.met = kept.met;
        }
        replica
    }

    /// The pause of a durable member, that had synced what it sent and acknowledged (sentence 1).
    #[must_use]
    pub fn restart_durable(self, before: &Replica) -> Replica {
        Replica { digests: Default::default(), ..*before }
    }

    /// Whether this weakness was chosen.
    #[must_use]
    pub fn has(self, mutant: Mutant) -> bool {
        self.weakness == Some(mutant)
    }
}

/// Whether a member has exchanged with every other one in this incarnation (sentence 6).
#[must_use]
pub fn is_whole(replica: &Replica, me: usize) -> bool {
    (0..MEMBERS).all(|member| member == me || replica.met.contains(member))
}

impl Coverage {
    /// Whether a write is in it.
    #[must_use]
    pub fn covers(self, stamp: Stamp) -> bool {
        self.0 & stamp.bit() != 0
    }

    /// Adds a write.
    pub fn insert(&mut self, stamp: Stamp) {
        self.0 |= stamp.bit();
    }

    /// What either has.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the other has all of it.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The newest write in it.
    #[must_use]
    pub fn newest(self) -> Option<Stamp> {
        self.0.checked_ilog2().map(|bit| Stamp(u8::try_from(bit + 1).expect("at most eight bits")))
    }
}

impl Stamp {
    fn bit(self) -> u8 {
        1 << (self.0 - 1)
    }
}

impl Members {
    /// Everyone.
    pub const ALL: Self = Self((1 << MEMBERS) - 1);

    /// Whether a member is in it.
    #[must_use]
    pub fn contains(self, member: usize) -> bool {
        self.0 >> member & 1 == 1
    }

    /// Adds a member.
    pub fn insert(&mut self, member: usize) {
        self.0 |= 1 << member;
    }
}

impl Incarnation {
    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
