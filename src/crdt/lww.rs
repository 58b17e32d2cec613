//! The map of last writes: a register of `crdts` for each key, and what is found through it.
//!
//! A register's marker is the stamp of its write, its value is what is compared: deadline, length and
//! digest of the bytes. The bytes themselves lie beside it as a cache: whether they are there counts in
//! no comparison, digest, dump or merge. A delete is a register without bytes from the start.
//!
//! Merging keeps the greater stamp. Two registers with one stamp and different values cannot come
//! from members that keep to the rules: this is counted as a fault, and the greater value stays, on
//! every member the same. So merging is commutative, associative and idempotent in any case.
//!
//! A register whose deadline has passed is expired: nothing is written for that, it is a tombstone with
//! the same stamp. Its bytes are freed once the deadline lies further back than the clocks may differ.
//!
//! Invariants: the trie, the dots and the order of deadlines hold exactly the registers; a register is
//! in one of three states (shown, expired, tombstone), by the latest instant that the map was told.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use crdts::{CvRDT, LWWReg};
use equivalent::Comparable;
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

use super::stamp::{Dot, Stamp};
use super::trie::Trie;
use super::vector::Coverage;
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::{Digest, KeyRef, QualifiedKey};
use crate::limits::VALUE_BYTES_MAX;
use crate::mutant::mutant;
use crate::value::Encoded;

/// What is compared of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// The instant from which it is gone.
    pub deadline: Option<UnixMillis>,
    /// Bytes of the value; 0 is a delete, as no value is empty.
    pub length: u32,
    /// The digest of the bytes.
    pub digest: Digest,
}

/// The last write of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What was written, and when.
    pub register: LWWReg<Content, Stamp>,
    /// Which of its author's writes it is.
    pub counter: u64,
    /// The value, unless it is a delete or was freed.
    pub bytes: Option<Encoded>,
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

/// What merging did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The map holds something else now.
    Changed,
    /// The map holds as it did, or as good.
    Same,
}

/// The map. A clone is O(1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LwwMap {
    entries: OrdMap<QualifiedKey, Arc<Entry>>,
    dots: OrdMap<Dot, QualifiedKey>,
    /// The deadlines that have not passed.
    deadlines: OrdSet<(UnixMillis, QualifiedKey)>,
    /// The deadlines that have passed by less than the bound.
    expired: OrdSet<(UnixMillis, QualifiedKey)>,
    /// Deletes, and registers whose deadline has passed by more than the bound.
    tombstones: OrdSet<QualifiedKey>,
    trie: Trie,
    /// The XOR of the hashes of all values without a deadline.
    lasting: u128,
    /// The latest instant that the map was told.
    now: UnixMillis,
    bound_ms: u64,
    faults: u64,
}

impl LwwMap {
    /// An empty map. `bound_ms` is how far clocks may differ.
    #[must_use]
    pub fn new(bound_ms: u64) -> Self {
        Self {
            entries: OrdMap::new(),
            dots: OrdMap::new(),
            deadlines: OrdSet::new(),
            expired: OrdSet::new(),
            tombstones: OrdSet::new(),
            trie: Trie::default(),
            lasting: 0,
            now: UnixMillis(0),
            bound_ms,
            faults: 0,
        }
    }

    /// Merges an entry.
    pub fn merge(&mut self, key: &QualifiedKey, entry: &Arc<Entry>) -> Merged {
        let Some(own) = self.entries.get(key) else {
            self.set(key, Arc::clone(entry));
            return Merged::Changed;
        };
        let mut merged = Entry::clone(own);
        if merged.merge(entry).is_err() {
            self.faults += 1;
        }
        if merged.register == own.register {
            let is_useful = own.bytes.is_none() && merged.bytes.is_some();
            if is_useful && !self.tombstones.contains(key) {
                self.entries.insert(key.clone(), Arc::new(merged));
            }
            return Merged::Same;
        }
        self.set(key, Arc::new(merged));
        Merged::Changed
    }

    /// Merges all that another map holds.
    pub fn merge_map(&mut self, other: &Self) {
        for (key, entry) in &other.entries {
            self.merge(key, entry);
        }
    }

    /// Sets what a key holds, whatever it held.
    pub(super) fn set(&mut self, key: &QualifiedKey, entry: Arc<Entry>) {
        let hash = entry.hash(key);
        self.trie.insert(key, hash);
        if let Some(old) = self.entries.insert(key.clone(), Arc::clone(&entry)) {
            self.forget(key, &old);
        }
        self.dots.insert(entry.dot(), key.clone());
        if entry.is_lasting() {
            self.lasting ^= hash;
        }
        match (entry.register.val.deadline, entry.is_delete()) {
            (Some(deadline), false) => _ = self.deadlines.insert((deadline, key.clone())),
            (_, true) => _ = self.tombstones.insert(key.clone()),
            (None, false) => {}
        }
        self.advance(self.now);
    }

    /// Removes a register. Only the rule of collection says when this may be.
    pub(super) fn remove(&mut self, key: &QualifiedKey) -> Option<Arc<Entry>> {
        let old = self.entries.remove(key)?;
        self.trie.remove(key);
        self.forget(key, &old);
        Some(old)
    }

    /// Takes what a key held out of all that finds it, but the trie.
    fn forget(&mut self, key: &QualifiedKey, old: &Entry) {
        if self.dots.get(&old.dot()) == Some(key) {
            self.dots.remove(&old.dot());
        }
        if old.is_lasting() {
            self.lasting ^= old.hash(key);
        }
        if let Some(deadline) = old.register.val.deadline {
            let place = (deadline, key.clone());
            self.deadlines.remove(&place);
            self.expired.remove(&place);
        }
        self.tombstones.remove(key);
    }

    /// Tells the map an instant of the own physical clock. It never goes back for the map: what has
    /// expired stays so.
    pub fn advance(&mut self, now: UnixMillis) {
        self.now = self.now.max(now);
        while let Some(first) = self.deadlines.get_min().cloned()
            && first.0 <= self.now
        {
            self.deadlines.remove(&first);
            self.expired.insert(first);
        }
        while let Some((deadline, key)) = self.expired.get_min().cloned()
            && deadline.after(self.bound_ms) < self.now
        {
            let entry = self.entries.get_mut(&key).expect("its deadline stands in the order");
            Arc::make_mut(entry).bytes = None;
            self.expired.remove(&(deadline, key.clone()));
            self.tombstones.insert(key);
        }
    }

    /// What a key holds, shown or not.
    #[must_use]
    pub fn entry<K: Comparable<QualifiedKey>>(&self, key: &K) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// What a key shows at an instant of the reader's physical clock.
    #[must_use]
    pub fn get<K: Comparable<QualifiedKey>>(
        &self,
        key: &K,
        now: UnixMillis,
    ) -> Option<&Arc<Entry>> {
        self.entries.get(key).filter(|entry| entry.is_shown(self.now.max(now)))
    }

    /// What is shown at an instant from a place on, in order.
    pub fn range(
        &self,
        start: Bound<KeyRef<'_>>,
        now: UnixMillis,
    ) -> impl Iterator<Item = (&QualifiedKey, &Arc<Entry>)> {
        let now = self.now.max(now);
        self.entries.range((start, Bound::Unbounded)).filter(move |(_, entry)| entry.is_shown(now))
    }

    /// All registers, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&QualifiedKey, &Arc<Entry>)> {
        self.entries.iter()
    }

    /// What an entry that is held is at the latest instant.
    #[must_use]
    pub fn standing(&self, key: &QualifiedKey) -> Option<Standing> {
        let entry = self.entries.get(key)?;
        let is_expired = |deadline| self.expired.contains(&(deadline, key.clone()));
        Some(if self.tombstones.contains(key) {
            Standing::Tombstone
        } else if entry.register.val.deadline.is_some_and(is_expired) {
            Standing::Expired
        } else {
            Standing::Live
        })
    }

    /// The keys that hold a tombstone, from the one after a key on, and then from the beginning.
    pub fn tombstones_after(
        &self,
        key: Option<&QualifiedKey>,
    ) -> impl Iterator<Item = &QualifiedKey> {
        let start = key.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let again = key.map(|key| self.tombstones.range(..=key.clone()));
        self.tombstones.range((start, Bound::Unbounded)).chain(again.into_iter().flatten())
    }

    /// The keys whose deadline has passed by less than the bound.
    pub(super) fn expired(&self) -> impl Iterator<Item = &QualifiedKey> {
        self.expired.iter().map(|(_, key)| key)
    }

    /// How many registers show nothing at the latest instant.
    #[must_use]
    pub fn tombstones_len(&self) -> usize {
        self.tombstones.len() + self.expired.len()
    }

    /// The first keys after a place, in order, that hold a write which a coverage has not, but another
    /// has. They are as many as asked for, if there are.
    pub(super) fn keys_beyond(
        &self,
        after: Option<&QualifiedKey>,
        known: &Coverage,
        offered: &Coverage,
        keys_max: usize,
    ) -> Box<dyn Iterator<Item = QualifiedKey> + '_> {
        let is_after = |key: &QualifiedKey| after.is_none_or(|after| key > after);
        let missing = offered.difference(known);
        if missing.len() > self.entries.len() as u64 / SCAN_SHARE {
            let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
            let entries = self.entries.range((start, Bound::Unbounded));
            let beyond = entries.filter(move |(_, entry)| missing.covers(entry.dot()));
            return Box::new(beyond.map(|(key, _)| key.clone()).take(keys_max));
        }
        let mut least = BinaryHeap::new();
        for (author, (first, last)) in missing.runs() {
            let dot = |counter| Dot { author, counter };
            let held = self.dots.range(dot(first)..=dot(last));
            for (_, key) in held.filter(|(_, key)| is_after(key)) {
                if least.len() < keys_max {
                    least.push(key);
                } else if let Some(mut greatest) = least.peek_mut()
                    && key < *greatest
                {
                    *greatest = key;
                }
            }
        }
        Box::new(least.into_sorted_vec().into_iter().cloned())
    }

    /// What has to be done to an older state of this map to make it this one, in the order of keys:
    /// entries to set, and keys to drop. That values were freed is no change.
    pub(super) fn changes_since(&self, old: &Self) -> Vec<(QualifiedKey, Option<Arc<Entry>>)> {
        let changes = old.entries.diff(&self.entries).filter_map(|item| match item {
            DiffItem::Add(key, new) => Some((key.clone(), Some(Arc::clone(new)))),
            DiffItem::Remove(key, _) => Some((key.clone(), None)),
            DiffItem::Update { old: (_, old), new: (key, new) } => {
                let is_freed = old.register == new.register && new.bytes.is_none();
                (!is_freed).then(|| (key.clone(), Some(Arc::clone(new))))
            }
        });
        changes.collect()
    }

    /// Whether no two keys hold one write.
    pub(super) fn has_one_key_for_each_dot(&self) -> bool {
        self.dots.len() == self.entries.len()
    }

    /// The trie over all registers.
    #[must_use]
    pub const fn trie(&self) -> &Trie {
        &self.trie
    }

    /// The XOR of the hashes of all values without a deadline: equal wherever the same writes are
    /// covered, whatever was collected and whatever the clocks show.
    #[must_use]
    pub const fn lasting(&self) -> u128 {
        self.lasting
    }

    /// The latest instant that the map was told.
    #[must_use]
    pub const fn now(&self) -> UnixMillis {
        self.now
    }

    /// How many registers were merged that had one stamp and different values.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    /// How many keys have a register.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key has a register.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All registers in canonical bytes, without values: equal for equal contents.
    #[must_use]
    pub fn dump(&self) -> Bytes {
        let mut writer = Writer::new();
        for (key, entry) in &self.entries {
            writer.bytes(key.as_bytes());
            entry.encode_register(&mut writer);
        }
        writer.finish()
    }
}

impl Entry {
    /// The entry of a put.
    #[must_use]
    pub fn put(stamp: Stamp, counter: u64, bytes: Encoded, deadline: Option<UnixMillis>) -> Self {
        let content = Content::of(&bytes, deadline);
        Self { register: LWWReg { val: content, marker: stamp }, counter, bytes: Some(bytes) }
    }

    /// The entry of a delete.
    #[must_use]
    pub const fn delete(stamp: Stamp, counter: u64) -> Self {
        Self { register: LWWReg { val: Content::DELETED, marker: stamp }, counter, bytes: None }
    }

    /// When it was written.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.register.marker
    }

    /// The name of the write.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        Dot { author: self.register.marker.author, counter: self.counter }
    }

    /// Whether the write was a delete.
    #[must_use]
    pub const fn is_delete(&self) -> bool {
        self.register.val.length == 0
    }

    /// Whether it shows a value at an instant.
    #[must_use]
    pub fn is_shown(&self, now: UnixMillis) -> bool {
        self.bytes.is_some() && self.register.val.deadline.is_none_or(|deadline| now < deadline)
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        ENTRY_BYTES + self.bytes.as_ref().map_or(0, Encoded::len)
    }

    const fn is_lasting(&self) -> bool {
        !self.is_delete() && self.register.val.deadline.is_none()
    }

    /// Merges another write of the same key. An error is a fault of whoever gave the stamps.
    fn merge(&mut self, other: &Self) -> Result<(), crdts::lwwreg::Validation> {
        let valid = self.register.validate_merge(&other.register);
        let before = self.register.marker;
        self.register.merge(other.register.clone());
        if self.register.marker != before {
            *self = other.clone();
        } else if valid.is_err() {
            let is_greater = other.register.val > self.register.val;
            if is_greater && !mutant!("equal stamps keep the own value") {
                *self = other.clone();
            }
        } else if before == other.register.marker && self.bytes.is_none() {
            self.bytes.clone_from(&other.bytes);
        }
        valid
    }

    /// The hash of what is compared.
    fn hash(&self, key: &QualifiedKey) -> u128 {
        let mut writer = Writer::with_capacity(80);
        self.encode_register(&mut writer);
        xxh3_128_with_seed(writer.as_slice(), xxh3_64(key.as_bytes()))
    }

    /// Writes stamp, counter and content.
    fn encode_register(&self, writer: &mut Writer) {
        self.register.marker.encode(writer);
        writer.unsigned(self.counter);
        let Content { deadline, length, digest } = self.register.val;
        let is_forgotten = mutant!("deadline is not replicated");
        writer.optional(deadline.filter(|_| !is_forgotten).map(|deadline| deadline.0));
        writer.unsigned(u64::from(length));
        if length > 0 {
            writer.raw(&digest.0.to_be_bytes());
        }
    }

    /// Writes the register, then whether the value follows, and the value.
    pub(super) fn encode(&self, writer: &mut Writer) {
        self.encode_register(writer);
        if !self.is_delete() {
            writer.byte(u8::from(self.bytes.is_some()));
            if let Some(bytes) = &self.bytes {
                writer.raw(bytes.as_bytes());
            }
        }
    }

    /// Reads what [`Entry::encode`] wrote. A value that does not match its register is refused.
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let marker = Stamp::decode(reader)?;
        let counter = Dot::decode_counter(reader)?;
        let deadline = reader.optional("a deadline")?.map(UnixMillis);
        let length = reader.unsigned("a length")?;
        if length > VALUE_BYTES_MAX as u64 || length == 0 && deadline.is_some() {
            return Err(reader.error("a length within the limit"));
        }
        if length == 0 {
            return Ok(Self::delete(marker, counter));
        }
        let digest = reader.raw(16, "a digest")?;
        let digest = Digest(u128::from_be_bytes(digest.as_ref().try_into().expect("16 bytes")));
        let bytes = match reader.byte("whether the value follows")? {
            0 => None,
            1 => Some(reader.raw(length as usize, "a value")?),
            _ => return Err(reader.error("whether the value follows")),
        };
        let bytes = bytes.map(Encoded::from_bytes).transpose()?.map(|bytes| bytes.detached());
        let val = Content { deadline, length: length as u32, digest };
        if bytes.as_ref().is_some_and(|bytes| Content::of(bytes, deadline) != val) {
            return Err(reader.error("a value that matches its register"));
        }
        Ok(Self { register: LWWReg { val, marker }, counter, bytes })
    }
}

impl Content {
    /// That of a delete.
    pub const DELETED: Self = Self { deadline: None, length: 0, digest: Digest(0) };

    fn of(bytes: &Encoded, deadline: Option<UnixMillis>) -> Self {
        let length = u32::try_from(bytes.len()).expect("values are within their limit");
        Self { deadline, length, digest: Digest(xxh3_128(bytes.as_bytes())) }
    }
}

/// Bytes of a register in a message, at most; of an entry's size, at least.
pub(super) const ENTRY_BYTES: usize = 75;

/// A walk over all entries is taken for a difference of more writes than one in this many entries.
const SCAN_SHARE: u64 = 8;
