//! The rule of tombstone collection, carried out on the state of a replica: when a tombstone may be
//! forgotten, and what every replica does so that nobody brings the deleted value back.
//!
//! `docs/design/crdt.md` has the twelve sentences. The functions here have the names and the order of
//! those that the model `collection` searches exhaustively, and do the same; what there is one key and
//! a set of few writes, is here a map and a [`Coverage`].
//!
//! No messages and no exchanges: what makes one complete is the matter of `exchange.rs`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::lww::{Entry, LwwMap, Merged, Standing};
use super::stamp::{Author, Incarnation, MemberId, Stamp};
use super::vector::Coverage;
use crate::kv::QualifiedKey;
use crate::mutant::mutant;

/// The members of a cluster, as they were agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberList {
    /// Which agreement it is: a later list has a greater number.
    pub epoch: u64,
    /// The members. Who was in an earlier list and is not in this one is in no later one.
    pub members: BTreeSet<MemberId>,
}

/// What a member knows: of the keys, of the writes, and of the other members. A clone is O(1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// Who this is.
    pub me: MemberId,
    /// The listed members.
    pub list: Arc<MemberList>,
    /// The newest write of each key, unless it was collected.
    pub map: LwwMap,
    /// The writes that the map is the result of.
    pub coverage: Coverage,
    /// The newest known incarnation of each listed member; its own too.
    pub incarnations: OrdMap<MemberId, Incarnation>,
    /// Whether this incarnation serves, and takes writes.
    pub has_joined: bool,
    /// The members that it has exchanged with in this incarnation.
    pub met: OrdSet<MemberId>,
    /// Until it has joined: whom it found not to have joined, in which incarnation.
    pub found: OrdMap<MemberId, Incarnation>,
    /// Those of them that it found so once more, after it had found all.
    pub again: OrdSet<MemberId>,
    /// What each member's newest known incarnation is known to cover, by its digests.
    pub digests: OrdMap<MemberId, Coverage>,
    /// Of each author the last write that was dropped as a tombstone, here or where this was learnt
    /// from. What is at or below it may have been dropped, what is above has not.
    pub collected: OrdMap<Author, u64>,
    /// How many entries were dropped.
    pub dropped: u64,
}

/// What a digest tells, and what every answer of an exchange begins with: the sender's state at one
/// moment, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    /// Who sent it.
    pub from: Author,
    /// What the sender covers.
    pub coverage: Coverage,
    /// The sender's table; at its own place its incarnation at that moment.
    pub incarnations: OrdMap<MemberId, Incarnation>,
    /// Whether it had joined.
    pub has_joined: bool,
    /// Whether it was whole.
    pub is_whole: bool,
    /// What its values without a deadline come to; see [`LwwMap::lasting`].
    pub lasting: u128,
}

/// What a message is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Single writes.
    Push,
    /// An answer of an exchange.
    Sync,
    /// The coverage alone.
    Digest,
}

impl State {
    /// The start of a new incarnation (sentences 1 and 4). `kept` is the state of an older moment of
    /// the last incarnation, if there is one; from before the last one none counts.
    pub fn restart_anew(
        me: Author,
        list: Arc<MemberList>,
        bound_ms: u64,
        kept: Option<Self>,
    ) -> Self {
        let mut state = Self {
            me: me.member,
            list,
            map: LwwMap::new(bound_ms),
            coverage: Coverage::default(),
            incarnations: OrdMap::new(),
            has_joined: mutant!("no join"),
            met: OrdSet::new(),
            found: OrdMap::new(),
            again: OrdSet::new(),
            digests: OrdMap::new(),
            collected: OrdMap::new(),
            dropped: 0,
        };
        state.has_joined |= state.is_alone();
        if let Some(kept) = kept {
            state.map = kept.map;
            state.coverage = kept.coverage;
            state.incarnations = kept.incarnations;
            state.collected = kept.collected;
            if mutant!("snapshot same incarnation") {
                (state.has_joined, state.met) = (kept.has_joined, kept.met);
                return state;
            }
        }
        state.incarnations.insert(me.member, me.incarnation);
        state
    }

    /// Itself, in its incarnation.
    pub fn author(&self) -> Author {
        Author { member: self.me, incarnation: self.incarnation_of(self.me) }
    }

    /// Moves on to a later list, or goes on with the list of a start (sentence 12).
    pub fn take_list(&mut self, list: Arc<MemberList>) {
        if !mutant!("digests over change") {
            self.digests = OrdMap::new();
        }
        self.met = self.met.iter().filter(|it| list.members.contains(it)).copied().collect();
        (self.found, self.again) = (OrdMap::new(), OrdSet::new());
        self.list = list;
        let is_met = mutant!("join at change") && self.is_whole();
        self.has_joined |= self.is_alone() || is_met;
    }

    /// Whether a message that was sent in this epoch is heard, an ask among them (sentence 11).
    pub fn hears(&self, from: MemberId, epoch: u64, form: Option<Form>) -> bool {
        if from == self.me || !self.is_listed() {
            return false;
        }
        if !self.list.members.contains(&from) {
            let is_served = form.is_none() && mutant!("unlisted served");
            return is_served || mutant!("unlisted heard");
        }
        let may_be_other = match form {
            Some(Form::Push) => mutant!("other epoch pushes"),
            Some(Form::Sync) | None => mutant!("other epoch syncs"),
            Some(Form::Digest) => mutant!("other epoch digests"),
        };
        epoch == self.list.epoch || may_be_other
    }

    /// Whether a message is looked at (sentences 3 and 4).
    pub fn accepts(&self, from: Author, form: Form) -> bool {
        let may_be_ended = match form {
            Form::Push => mutant!("ended pushes"),
            Form::Sync => mutant!("ended syncs"),
            Form::Digest => mutant!("ended digests"),
        };
        let is_current = from.incarnation >= self.incarnation_of(from.member);
        let is_ready = self.has_joined || form == Form::Sync || mutant!("messages before join");
        (is_current || may_be_ended) && is_ready
    }

    /// Takes note of an incarnation (sentences 2 and 3): what older ones covered says nothing about
    /// a newer one.
    pub fn learn(&mut self, Author { member, incarnation }: Author) {
        if !self.list.members.contains(&member) || incarnation <= self.incarnation_of(member) {
            return;
        }
        self.incarnations.insert(member, incarnation);
        if !mutant!("old digests kept") {
            self.digests.remove(&member);
        }
    }

    /// Takes note of all incarnations that a sender knew of (sentence 2).
    pub fn learn_table(&mut self, image: &Image) {
        self.learn(image.from);
        if mutant!("tables not carried") {
            return;
        }
        for (member, incarnation) in &image.incarnations {
            if *member != self.me {
                self.learn(Author { member: *member, incarnation: *incarnation });
            }
        }
    }

    /// Merges one write that arrived by itself (sentences 7 and 9).
    pub fn merge_entry(&mut self, key: &QualifiedKey, entry: &Arc<Entry>) -> Merged {
        if mutant!("fixed cut") && self.is_beyond_cut(entry) {
            return Merged::Same;
        }
        let held = self.map.entry(key);
        let is_newer = held.is_none_or(|held| held.stamp() < entry.stamp());
        let was_collected = is_newer && self.coverage.covers(entry.dot());
        self.coverage.insert(entry.dot());
        if was_collected && !mutant!("no receive filter") {
            return Merged::Same;
        }
        self.map.merge(key, entry)
    }

    /// Merges the rest of a whole state, of which the single writes are merged (sentences 7 and 9):
    /// what the sender covers, without what is held here although the sender has dropped it.
    pub fn merge_sync(&mut self, coverage: &Coverage, superseded: &[(QualifiedKey, Stamp)]) {
        for (key, stamp) in superseded {
            let is_held = self.map.entry(key).is_some_and(|held| held.stamp() == *stamp);
            if is_held && !mutant!("no drop in sync") {
                self.map.remove(key);
                self.dropped += 1;
            }
        }
        self.coverage.unite(coverage);
    }

    /// Notes who asks for an exchange (sentence 5), before the state is read for the answer.
    pub fn record_joiner(&mut self, joiner: Author) {
        if !mutant!("joiner not recorded") {
            self.learn(joiner);
        }
    }

    /// Takes a complete exchange, of which the single writes are merged unless it serves nothing.
    pub fn take_sync(
        &mut self,
        image: &Image,
        superseded: &[(QualifiedKey, Stamp)],
        collected: &OrdMap<Author, u64>,
    ) {
        self.learn_table(image);
        self.met.insert(image.from.member);
        if self.takes_nothing_of(image) {
            return;
        }
        self.merge_sync(&image.coverage, superseded);
        for (author, last) in collected {
            self.note_collected(*author, *last);
        }
        if !self.has_joined {
            if !image.has_joined {
                self.note_unjoined(image.from);
            }
            if self.may_join(image) {
                self.has_joined = true;
                (self.found, self.again) = (OrdMap::new(), OrdSet::new());
            }
        }
        self.take_digest(image);
    }

    /// Whether an exchange counts as a meeting only: a joined member takes no state of one that has
    /// not joined.
    pub fn takes_nothing_of(&self, image: &Image) -> bool {
        self.has_joined && !image.has_joined
    }

    /// Takes a digest: what the sender covers, if it was whole (sentences 6 and 7).
    pub fn take_digest(&mut self, image: &Image) {
        if !image.has_joined || !image.is_whole && !mutant!("digests of not whole") {
            return;
        }
        self.digests.entry(image.from.member).or_default().unite(&image.coverage);
    }

    /// Whether a member that has just exchanged may serve (sentence 4).
    fn may_join(&self, image: &Image) -> bool {
        if mutant!("join needs joined") {
            return image.has_joined;
        }
        let found_nobody = if mutant!("join once met") {
            self.is_whole()
        } else {
            self.others().all(|member| self.again.contains(&member))
        };
        image.has_joined || found_nobody || mutant!("join with unjoined")
    }

    /// Notes that a server has not joined (sentence 4). If all others had not when they were asked first,
    /// and each has not when it is asked after that and is in the same incarnation still, then there was
    /// a moment at which nobody had. Whoever is found last need not be asked again. One exchange is on
    /// at a time, so this one was asked for after the one before had ended.
    fn note_unjoined(&mut self, Author { member, incarnation }: Author) {
        if self.found.insert(member, incarnation) != Some(incarnation) {
            self.again = OrdSet::new();
        }
        if self.has_found_all() {
            self.again.insert(member);
        }
    }

    fn has_found_all(&self) -> bool {
        self.others().all(|member| self.found.contains_key(&member))
    }

    /// The members with which it has to exchange: to join, and after that to be whole. Whom it found not
    /// to have joined may have by now.
    pub fn unmet(&self) -> impl Iterator<Item = MemberId> {
        let done = if self.has_joined { &self.met } else { &self.again };
        self.others().filter(|member| !done.contains(member))
    }

    /// Whether it has exchanged with every other listed member in this incarnation (sentence 6).
    pub fn is_whole(&self) -> bool {
        self.others().all(|member| self.met.contains(&member))
    }

    /// Whether tombstones may be dropped at all now (sentence 6).
    fn is_collector(&self) -> bool {
        let may_be_partial = mutant!("collector not whole") || mutant!("unmet not asked");
        let is_ready = self.is_whole() || may_be_partial;
        self.has_joined && self.is_listed() && is_ready
    }

    /// Drops tombstones that the rule allows to forget (sentences 6 and 8). At most `examined_max` are
    /// looked at, from the key after the given one on. Answers the last key that was looked at.
    pub fn collect(
        &mut self,
        after: Option<&QualifiedKey>,
        examined_max: usize,
    ) -> Option<QualifiedKey> {
        if !self.is_collector() {
            return None;
        }
        let contained = |member: MemberId| {
            let digest = self.digests.get(&member)?;
            let is_contained = digest.is_within(&self.coverage) || mutant!("no containment");
            is_contained.then_some(digest)
        };
        let is_asked = |member: &MemberId| self.met.contains(member) || !mutant!("unmet not asked");
        let digests: Vec<_> = self.others().filter(is_asked).map(contained).collect();
        let tombstones = self.map.tombstones_after(after);
        let expired = self.map.expired().filter(|_| mutant!("dropped at deadline"));
        let examined: Vec<_> = tombstones.chain(expired).take(examined_max).cloned().collect();
        let mut may_go = Vec::new();
        for key in &examined {
            let dot = self.map.entry(key).expect("tombstones are registers").dot();
            let releases = |digest: &Option<&Coverage>| digest.is_some_and(|it| it.covers(dot));
            let is_free = if mutant!("alive members only") {
                digests.iter().any(releases)
            } else {
                digests.iter().all(releases)
            };
            if is_free || mutant!("collected by age") {
                may_go.push(key);
            }
        }
        for key in may_go {
            debug_assert!(self.map.standing(key) != Some(Standing::Live), "it shows nothing");
            let entry = self.map.remove(key).expect("it was just there");
            self.note_collected(entry.dot().author, entry.counter);
            self.dropped += 1;
        }
        examined.last().cloned()
    }

    /// The members that collection waits for: those without a digest that counts.
    pub fn blocking(&self) -> impl Iterator<Item = MemberId> {
        self.others().filter(|member| {
            let digest = self.digests.get(member);
            !self.met.contains(member)
                || digest.is_none_or(|digest| !digest.is_within(&self.coverage))
        })
    }

    /// The writes of a coverage that are missing here and may have been dropped where it comes from.
    pub fn may_have_missed(&self, coverage: &Coverage, collected: &OrdMap<Author, u64>) -> bool {
        coverage
            .difference(&self.coverage)
            .runs()
            .any(|(author, (first, _))| collected.get(&author).is_some_and(|last| first <= *last))
    }

    /// The state as a message tells it.
    pub fn image(&self) -> Image {
        let is_prefix = mutant!("prefix digests");
        Image {
            from: self.author(),
            coverage: if is_prefix { self.coverage.prefix() } else { self.coverage.clone() },
            incarnations: self.incarnations.clone(),
            has_joined: self.has_joined,
            is_whole: self.is_whole(),
            lasting: self.map.lasting(),
        }
    }

    /// Whether it is a member itself.
    pub fn is_listed(&self) -> bool {
        self.list.members.contains(&self.me)
    }

    /// Whether it is the only member.
    pub fn is_alone(&self) -> bool {
        self.is_listed() && self.list.members.len() == 1
    }

    /// The other listed members.
    pub fn others(&self) -> impl Iterator<Item = MemberId> {
        self.list.members.iter().copied().filter(|member| *member != self.me)
    }

    pub fn incarnation_of(&self, member: MemberId) -> Incarnation {
        self.incarnations.get(&member).copied().unwrap_or_default()
    }

    fn note_collected(&mut self, author: Author, counter: u64) {
        let last = self.collected.entry(author).or_default();
        *last = (*last).max(counter);
    }

    fn is_beyond_cut(&self, entry: &Entry) -> bool {
        let Author { member, incarnation } = entry.dot().author;
        incarnation < self.incarnation_of(member) && !self.coverage.covers(entry.dot())
    }
}
