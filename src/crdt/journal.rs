//! What a durable replica must not forget: the canonical snapshot of its whole state, records of what
//! changed since, and the state that may be told because it is durable.
//!
//! Map, coverage and tables are in a snapshot together, and so is each change of them in a record: a
//! coverage that says more than the map holds would make every other replica forget, too. Digests of
//! other members are in neither: they are lost with a start, as the rule has it. Nor is the list of
//! members, which whoever drives a replica makes durable and gives to the start.
//!
//! Snapshot, format version 1 (primitives of [`crate::codec`]):
//!
//! ```text
//! "PLIMCRDT"  format version: byte  number of the last record in it
//! tables                            as below
//! coverage                          see `Coverage::encode`
//! entries: count, each: key, entry  in the order of keys; see `Entry::encode`
//! digest of all this: 16 bytes
//! ```
//!
//! Record, format version 1:
//!
//! ```text
//! format version: byte  its number
//! tables
//! coverage gained since the record before
//! dropped keys: count, each: key                       in order
//! entries set: count, each: key, entry                 in the order of keys
//! ```
//!
//! Tables, whole in both:
//!
//! ```text
//! author  number of its last write  hybrid time: wall, logical
//! has joined: byte  dropped  met: count, each: member: fixed        in order
//! incarnations: count, each: member: fixed, incarnation             in order
//! collected: count, each: author, counter                           in order
//! ```
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet, Vector};
use xxhash_rust::xxh3::xxh3_128;

use super::lww::{Entry, LwwMap};
use super::rule::{MemberList, State};
use super::stamp::{Author, Dot, Incarnation, MemberId};
use super::vector::Coverage;
use crate::codec::{DecodeError, Reader, Writer};
use crate::hlc::HybridTime;
use crate::kv::QualifiedKey;
use crate::limits::CRDT_RECORDS_MAX;
use crate::mutant::mutant;

/// What was kept of a replica: a snapshot, and the records that were applied to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub(super) state: State,
    /// The number of its last own write.
    pub(super) counter: u64,
    /// Its hybrid clock.
    pub(super) time: HybridTime,
    /// The number of the last record that is in it.
    pub(super) record: u64,
}

/// The records of a replica that is running.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Journal {
    /// What is durable.
    durable: Kept,
    /// What was given out to be made durable, in order.
    cuts: Vector<Kept>,
}

impl Kept {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// If it is none, of another format version, or corrupted.
    pub fn decode(bytes: &Bytes, clock_bound_ms: u64) -> Result<Self, DecodeError> {
        let length = bytes.len().saturating_sub(DIGEST_BYTES);
        let mut reader = Reader::new(bytes.slice(..length));
        if reader.raw(MAGIC.len(), "a snapshot of a replica")? != MAGIC
            || reader.byte("a format version")? != FORMAT_VERSION
        {
            return Err(reader.error("a snapshot of this format version"));
        }
        let digest = xxh3_128(&bytes[..length]).to_be_bytes();
        if bytes[length..] != digest && !mutant!("crdt snapshot is not compared with its digest") {
            return Err(reader.error("a snapshot that matches its digest"));
        }
        let record = reader.unsigned("the number of a record")?;
        let mut kept = Self::decode_tables(&mut reader, LwwMap::new(clock_bound_ms))?;
        kept.record = record;
        kept.state.coverage = Coverage::decode(&mut reader)?;
        kept.decode_entries(&mut reader)?;
        reader.finish("the end of the snapshot")?;
        kept.check(bytes.len())?;
        Ok(kept)
    }

    /// Applies the record that follows.
    ///
    /// # Errors
    /// If it is none, or not the one that follows. What is kept must not be used then.
    pub fn apply(&mut self, record: Bytes) -> Result<(), DecodeError> {
        let length = record.len();
        let mut reader = Reader::new(record);
        if reader.byte("a format version")? != FORMAT_VERSION {
            return Err(reader.error("a record of this format version"));
        }
        let number = reader.unsigned("the number of a record")?;
        if Some(number) != self.record.checked_add(1) {
            return Err(reader.error("the record that follows"));
        }
        let mut next = Self::decode_tables(&mut reader, self.state.map.clone())?;
        next.record = number;
        next.state.coverage = self.state.coverage.clone();
        next.state.coverage.unite(&Coverage::decode(&mut reader)?);
        let mut previous = None;
        for _ in 0..reader.count(2, "the number of dropped keys")? {
            let key = read_key_after(&mut reader, previous.as_ref())?;
            let removed = next.state.map.remove(&key);
            removed.ok_or(reader.error("a key that was held"))?;
            previous = Some(key);
        }
        next.decode_entries(&mut reader)?;
        reader.finish("the end of the record")?;
        next.check(length)?;
        *self = next;
        Ok(())
    }

    /// The number of the last record in it.
    #[must_use]
    pub const fn record(&self) -> u64 {
        self.record
    }

    /// Whose it is.
    #[must_use]
    pub fn author(&self) -> Author {
        self.state.author()
    }

    /// What a snapshot of a state is.
    pub(super) fn encode(state: &State, counter: u64, time: HybridTime, record: u64) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(MAGIC);
        writer.byte(FORMAT_VERSION);
        writer.unsigned(record);
        encode_tables(&mut writer, state, counter, time);
        state.coverage.encode(&mut writer);
        writer.count(state.map.len());
        for (key, entry) in state.map.iter() {
            writer.bytes(key.as_bytes());
            entry.encode(&mut writer);
        }
        let digest = xxh3_128(writer.as_slice());
        writer.raw(&digest.to_be_bytes());
        writer.finish()
    }

    fn decode_tables(reader: &mut Reader, map: LwwMap) -> Result<Self, DecodeError> {
        let author = Author::decode(reader)?;
        let counter = reader.unsigned("the number of a write")?;
        let time = HybridTime::decode(reader)?;
        let has_joined = match reader.byte("whether it has joined")? {
            0 => false,
            1 => true,
            _ => return Err(reader.error("whether it has joined")),
        };
        let dropped = reader.unsigned("the number of dropped entries")?;
        let met = read_members(reader)?;
        let incarnations = read_incarnations(reader)?;
        if incarnations.get(&author.member) != Some(&author.incarnation) {
            return Err(reader.error("an author of its own table"));
        }
        let collected = read_collected(reader)?;
        let state = State {
            me: author.member,
            list: Arc::default(),
            map,
            coverage: Coverage::default(),
            incarnations,
            has_joined,
            met,
            found: OrdMap::new(),
            again: OrdSet::new(),
            digests: OrdMap::new(),
            collected,
            dropped,
        };
        Ok(Self { state, counter, time, record: 0 })
    }

    fn decode_entries(&mut self, reader: &mut Reader) -> Result<(), DecodeError> {
        let mut previous = None;
        for _ in 0..reader.count(2, "the number of entries")? {
            let key = read_key_after(reader, previous.as_ref())?;
            let entry = Entry::decode(reader)?;
            if !self.state.coverage.covers(entry.dot()) {
                return Err(reader.error("an entry that is covered"));
            }
            self.state.map.set(&key, Arc::new(entry));
            previous = Some(key);
        }
        Ok(())
    }

    /// What holds between the parts.
    fn check(&self, offset: usize) -> Result<(), DecodeError> {
        let error = |what| Err(DecodeError { what, offset });
        if self.state.coverage.last(self.state.author()) != self.counter {
            return error("a coverage of all own writes");
        }
        if !self.state.map.has_one_key_for_each_dot() {
            return error("one key for each write");
        }
        Ok(())
    }

    /// Whether a record has to tell a state.
    fn differs(&self, state: &State, counter: u64) -> bool {
        let own = &self.state;
        counter != self.counter
            || own.coverage != state.coverage
            || own.incarnations != state.incarnations
            || (own.has_joined, own.dropped) != (state.has_joined, state.dropped)
            || own.met != state.met
            || own.collected != state.collected
    }
}

impl Journal {
    /// The journal of a replica that starts: what it starts with is durable.
    pub fn new(state: &State, counter: u64, time: HybridTime, record: u64) -> Self {
        let durable = Kept { state: state.clone(), counter, time, record };
        Self { durable, cuts: Vector::new() }
    }

    /// The state that may be told.
    pub const fn spoken(&self) -> &State {
        &self.durable.state
    }

    /// Who is a member does not wait until anything is durable.
    pub fn take_list(&mut self, list: &Arc<MemberList>) {
        let cuts = self.cuts.iter_mut();
        for kept in cuts.chain([&mut self.durable]) {
            kept.state.list = Arc::clone(list);
        }
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.last().record + 1
    }

    /// The record of all that changed since the one before, if anything did and there is room.
    pub fn cut(&mut self, state: &State, counter: u64, time: HybridTime) -> Option<(u64, Bytes)> {
        let changes = state.map.changes_since(&self.last().state.map);
        let is_full = self.cuts.len() >= CRDT_RECORDS_MAX;
        if is_full || changes.is_empty() && !self.last().differs(state, counter) {
            return None;
        }
        let number = self.next();
        let mut writer = Writer::new();
        writer.byte(FORMAT_VERSION);
        writer.unsigned(number);
        encode_tables(&mut writer, state, counter, time);
        state.coverage.difference(&self.last().state.coverage).encode(&mut writer);
        let (set, dropped): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(_, entry)| entry.is_some());
        writer.count(dropped.len());
        dropped.iter().for_each(|(key, _)| writer.bytes(key.as_bytes()));
        writer.count(set.len());
        for (key, entry) in set {
            writer.bytes(key.as_bytes());
            entry.expect("those without were parted").encode(&mut writer);
        }
        self.cuts.push_back(Kept { state: state.clone(), counter, time, record: number });
        if mutant!("told before it is durable") {
            self.acknowledge(number);
        }
        Some((number, writer.finish()))
    }

    /// All records up to a number are durable.
    pub fn acknowledge(&mut self, number: u64) {
        while let Some(first) = self.cuts.front()
            && first.record <= number
        {
            self.durable = self.cuts.pop_front().expect("it was just there");
        }
    }

    /// A snapshot of what is durable, with the number of the last record in it.
    pub fn snapshot(&self) -> (u64, Bytes) {
        let Kept { state, counter, time, record } = &self.durable;
        (*record, Kept::encode(state, *counter, *time, *record))
    }

    fn last(&self) -> &Kept {
        self.cuts.back().unwrap_or(&self.durable)
    }
}

fn encode_tables(writer: &mut Writer, state: &State, counter: u64, time: HybridTime) {
    state.author().encode(writer);
    writer.unsigned(counter);
    time.encode(writer);
    writer.byte(u8::from(state.has_joined));
    writer.unsigned(state.dropped);
    writer.count(state.met.len());
    state.met.iter().for_each(|member| writer.fixed(member.0));
    write_incarnations(writer, &state.incarnations);
    write_collected(writer, &state.collected);
}

pub(super) fn write_incarnations(writer: &mut Writer, all: &OrdMap<MemberId, Incarnation>) {
    writer.count(all.len());
    for (member, incarnation) in all {
        Author { member: *member, incarnation: *incarnation }.encode(writer);
    }
}

pub(super) fn read_incarnations(
    reader: &mut Reader,
) -> Result<OrdMap<MemberId, Incarnation>, DecodeError> {
    let mut all = OrdMap::new();
    for _ in 0..reader.count(9, "the number of incarnations")? {
        let Author { member, incarnation } = Author::decode(reader)?;
        if all.get_max().is_some_and(|(previous, _)| *previous >= member) {
            return Err(reader.error("members in order"));
        }
        all.insert(member, incarnation);
    }
    Ok(all)
}

pub(super) fn write_collected(writer: &mut Writer, all: &OrdMap<Author, u64>) {
    writer.count(all.len());
    for (author, counter) in all {
        author.encode(writer);
        writer.unsigned(*counter);
    }
}

pub(super) fn read_collected(reader: &mut Reader) -> Result<OrdMap<Author, u64>, DecodeError> {
    let mut all = OrdMap::new();
    for _ in 0..reader.count(10, "the number of authors")? {
        let author = Author::decode(reader)?;
        if all.get_max().is_some_and(|(previous, _)| *previous >= author) {
            return Err(reader.error("authors in order"));
        }
        all.insert(author, Dot::decode_counter(reader)?);
    }
    Ok(all)
}

/// Reads a key that stands after another one.
pub(super) fn read_key_after(
    reader: &mut Reader,
    previous: Option<&QualifiedKey>,
) -> Result<QualifiedKey, DecodeError> {
    let key = QualifiedKey::read(reader)?;
    let is_after = previous.is_none_or(|previous| *previous < key);
    if is_after { Ok(key) } else { Err(reader.error("keys in order")) }
}

fn read_members(reader: &mut Reader) -> Result<OrdSet<MemberId>, DecodeError> {
    let mut all = OrdSet::new();
    for _ in 0..reader.count(8, "the number of members")? {
        let member = MemberId(reader.fixed("a member")?);
        if all.get_max().is_some_and(|previous| *previous >= member) {
            return Err(reader.error("members in order"));
        }
        all.insert(member);
    }
    Ok(all)
}

const MAGIC: &[u8] = b"PLIMCRDT";
const FORMAT_VERSION: u8 = 1;
const DIGEST_BYTES: usize = 16;
