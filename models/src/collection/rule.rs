//! The rule of tombstone collection: when a replica may forget that a key was deleted, and what
//! every replica has to do so that nobody brings the deleted value back.
//!
//! A tombstone that is dropped too early is fatal: a member that missed the delete, or a message that
//! was under way for long, still has the value, and there is nothing left that beats it. The rule lets
//! a member drop a tombstone only once nothing in the cluster can need it any more, although members
//! restart, with their state or without, and messages are lost, repeated and late. It has twelve
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
//!    by one complete exchange with a joined member, or, where nobody has joined, with every other
//!    listed member: with each once, and after that with each but the last again, in the same
//!    incarnation and still not joined.
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
//! 10. The list of members is agreed on elsewhere, and each agreement begins an *epoch*. A member
//!     moves on to later epochs only, over restarts of any kind too. Who was removed never comes
//!     back, and who is added is new.
//! 11. Every message carries its sender's epoch. It is discarded if that is not the receiver's, and if
//!     either of them is not listed.
//! 12. Who moves on to a later epoch forgets all digests, and whom it found not to have joined;
//!     whom it has met it still has. Who is then the only member has joined. Who is not listed any
//!     more serves nothing and says nothing.
//!
//! All functions are pure: state and input in, state out. What a write holds is not of interest here,
//! so a write is its [`Stamp`], which is unique, and stands for its dot too. A coverage here is a set of
//! at most eight writes; with more writes it is a version vector with gaps. Each sentence can be
//! weakened by a [`Mutant`]; [`Rule::WHOLE`] is the rule.

use super::mutants::Mutant;

/// The most members of a run, removed ones included.
pub const MEMBERS: usize = 4;

/// When a write happened: its place in the total order of all writes, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u8);

/// A set of writes: exactly those whose effects a state includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coverage(pub u8);

/// A set of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Members(pub u8);

/// Who is a member, as was agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List {
    /// Which agreement it is.
    pub epoch: u8,
    /// The members. Who was removed is in no later list.
    pub members: Members,
}

/// The epochs in which a message was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epochs(pub u8);

/// The incarnations in which members were found that had not joined.
pub type Found = [Option<Incarnation>; MEMBERS];

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
    /// Until it has joined: whom it found not to have joined, in which incarnation.
    pub found: Found,
    /// Those of them that it found so once more, after it had found all.
    pub again: Members,
    /// Who is a member.
    pub list: List,
    /// What each member's newest known incarnation is known to cover, by its digests.
    pub digests: [Coverage; MEMBERS],
}

/// What a sync hands over, a digest tells and an answer of an exchange consists of: the sender's
/// state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Image {
    /// Who sent it.
    pub from: u8,
    /// In which epoch.
    pub epoch: u8,
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
    /// All twelve sentences.
    pub const WHOLE: Self = Self { weakness: None };

    /// Moves on to a later list (sentence 12).
    pub fn take_list(self, replica: &mut Replica, me: usize, list: List) {
        if !self.has(Mutant::DigestsOverChange) {
            replica.digests = Default::default();
        }
        replica.met.0 &= list.members.0;
        (replica.found, replica.again) = Default::default();
        replica.list = list;
        let is_met = self.has(Mutant::JoinAtChange) && is_whole(replica, me);
        replica.has_joined |= is_alone(replica, me) || is_met;
    }

    /// Whether who is asked serves, and in which epoch (sentence 11).
    #[must_use]
    pub fn serves(self, server: &Replica, asker: usize, asked_in: u8) -> Option<u8> {
        if !server.list.members.contains(asker) {
            return self.has(Mutant::UnlistedServed).then_some(asked_in);
        }
        let is_same = server.list.epoch == asked_in || self.has(Mutant::OtherEpochSyncs);
        is_same.then_some(server.list.epoch)
    }

    /// Whether a message that its sender may have sent in these epochs is heard (sentence 11).
    #[must_use]
    pub fn hears(self, replica: &Replica, from: usize, epochs: Epochs, form: Form) -> bool {
        if !replica.list.members.contains(from) {
            return self.has(Mutant::UnlistedHeard);
        }
        let may_be_other = match form {
            Form::Push => self.has(Mutant::OtherEpochPushes),
            Form::Sync => self.has(Mutant::OtherEpochSyncs),
            Form::Digest => self.has(Mutant::OtherEpochDigests),
        };
        epochs.contains(replica.list.epoch) || may_be_other
    }

    /// Whether a message that is heard is looked at (sentences 3 and 4). `from` is the sender, which was
    /// in this incarnation when it sent the message. Whether a sync is a join is for [`Self::take_sync`]
    /// to say.
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

    /// Takes a complete sync. If it answers an exchange that this very incarnation asked for (sentence
    /// 5), `asked` tells whom it had found when it asked: only then does it count as a meeting, and only
    /// then can it be a join (sentence 4).
    pub fn take_sync(self, replica: &mut Replica, me: usize, image: &Image, asked: Option<Found>) {
        let counts = asked.is_some() || self.has(Mutant::StaleSyncJoins) && !replica.has_joined;
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
        if !replica.has_joined {
            if let Some(asked) = asked.filter(|_| !image.has_joined) {
                note_unjoined(replica, me, image, asked);
            }
            if self.may_join(replica, me, image) {
                replica.has_joined = true;
                (replica.found, replica.again) = Default::default();
            }
        }
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
        let found_nobody = if self.has(Mutant::JoinOnceMet) {
            is_whole(replica, me)
        } else {
            others(replica, me).all(|member| replica.again.contains(member))
        };
        image.has_joined || found_nobody || self.has(Mutant::JoinWithUnjoined)
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
        let is_ready = is_whole(replica, me)
            || self.has(Mutant::CollectorPartial)
            || self.has(Mutant::UnmetNotAsked);
        if !replica.has_joined || !is_ready {
            return false;
        }
        if self.has(Mutant::CollectedByAge) {
            return true;
        }
        let mut others = others(replica, me)
            .filter(|member| replica.met.contains(*member) || !self.has(Mutant::UnmetNotAsked));
        let releases = |member: usize| {
            let digest = replica.digests[member];
            let is_contained =
                digest.is_within(replica.coverage) || self.has(Mutant::NoContainment);
            digest.covers(entry) && is_contained
        };
        if self.has(Mutant::AliveMembersOnly) { others.any(releases) } else { others.all(releases) }
    }

    /// The start of a new incarnation, after everything but `kept` was lost (sentences 1 and 4). What
    /// is kept from before the last incarnation is not looked at. The list is that of the start.
    #[must_use]
    pub fn restart_anew(self, before: &Replica, kept: &Replica, me: usize, list: List) -> Replica {
        let is_of_last = kept.incarnations[me] == before.incarnations[me];
        let nothing = Replica::default();
        let kept = if is_of_last || self.has(Mutant::AnySnapshot) { kept } else { &nothing };
        let mut replica = Replica {
            entry: kept.entry,
            coverage: kept.coverage,
            incarnations: kept.incarnations,
            list,
            ..Replica::default()
        };
        replica.has_joined = is_alone(&replica, me) || self.has(Mutant::NoJoin);
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
        Replica {
            digests: Default::default(),
            found: Default::default(),
            again: Members::default(),
            ..*before
        }
    }

    /// Whether this weakness was chosen.
    #[must_use]
    pub fn has(self, mutant: Mutant) -> bool {
        self.weakness == Some(mutant)
    }
}

/// Notes that a server has not joined (sentence 4). If all others had not when they were asked first,
/// and each has not when it is asked after that and is in the same incarnation still, then there was a
/// moment at which nobody had. Whoever is found last need not be asked again.
fn note_unjoined(replica: &mut Replica, me: usize, image: &Image, asked: Found) {
    let from = usize::from(image.from);
    let incarnation = Some(image.incarnations[from]);
    let is_asked_since = asked == replica.found;
    if replica.found[from] != incarnation {
        replica.found[from] = incarnation;
        replica.again = Members::default();
    }
    let has_found_all = others(replica, me).all(|member| replica.found[member].is_some());
    if is_asked_since && has_found_all {
        replica.again.insert(from);
    }
}

/// Whether a member has exchanged with every other one in this incarnation (sentence 6).
#[must_use]
pub fn is_whole(replica: &Replica, me: usize) -> bool {
    others(replica, me).all(|member| replica.met.contains(member))
}

/// Whether it is the only member.
#[must_use]
pub fn is_alone(replica: &Replica, me: usize) -> bool {
    others(replica, me).next().is_none()
}

/// The other listed members.
fn others(replica: &Replica, me: usize) -> impl Iterator<Item = usize> + use<> {
    replica.list.members.iter().filter(move |member| *member != me)
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
    /// The first members, so many.
    #[must_use]
    pub fn first(count: u8) -> Self {
        Self((1 << count) - 1)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = usize> + use<> {
        (0..MEMBERS).filter(move |member| self.contains(*member))
    }

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

impl Epochs {
    /// One.
    #[must_use]
    pub fn of(epoch: u8) -> Self {
        Self(1 << epoch)
    }

    /// Whether an epoch is among them.
    #[must_use]
    pub fn contains(self, epoch: u8) -> bool {
        self.0 >> epoch & 1 == 1
    }
}

impl Incarnation {
    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
