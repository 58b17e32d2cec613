//! Batches: what is written and synced as one, and its encoding.
//!
//! ```text
//! kind: byte                                        0 a batch, 1 the end of a segment
//! end of the log before it: index, term             what a lost part would contradict
//! hard state: term: fixed, vote: fixed, commit: fixed
//! reset: byte, [index, term]                        0 none, 1 the log begins after this index
//! entries: count, [first index], each: term, kind: byte, context, data
//! ```
//!
//! Primitives are those of [`crate::codec`]. The first index is there if there is an entry. The end
//! of a segment has no reset and no entries. Every batch repeats the hard state, so that no segment
//! is needed for the sake of an older one.
//!
//! No checksum and no length: those belong to the sectors that carry it.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};

/// What a Raft member promised, beside its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardState {
    /// The newest term that it knows of.
    pub term: u64,
    /// Whom it voted for in that term; 0 is nobody.
    pub vote: u64,
    /// The highest index that it knows to be committed.
    pub commit: u64,
}

/// An entry of the log. What kind, context and data mean is the caller's matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredEntry {
    /// Its index, counted from 1.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// Its kind.
    pub kind: u8,
    /// Bytes beside the data.
    pub context: Bytes,
    /// The data.
    pub data: Bytes,
}

/// What is written and synced as one. In this order: the hard state, the reset, the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Index and term of an installed snapshot, which was saved before: the log now begins after it,
    /// and what stood in it is gone.
    pub reset: Option<(u64, u64)>,
    /// Entries with consecutive indexes. The first replaces whatever stood at or after its index.
    pub entries: Vec<StoredEntry>,
}

/// An index and the term of its entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub index: u64,
    pub term: u64,
}

/// What a batch says once it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub is_end: bool,
    /// The end of the log before it.
    pub before: Position,
    pub hard_state: HardState,
    pub reset: Option<Position>,
    pub entries: Vec<StoredEntry>,
}

pub(super) fn encode(
    before: Position,
    hard_state: HardState,
    reset: Option<Position>,
    entries: &[StoredEntry],
) -> Writer {
    let bytes: usize = entries.iter().map(|e| e.context.len() + e.data.len() + 24).sum();
    let mut writer = Writer::with_capacity(bytes + 80);
    encode_head(&mut writer, KIND_BATCH, before, hard_state);
    match reset {
        None => writer.byte(0),
        Some(Position { index, term }) => {
            writer.byte(1);
            writer.unsigned(index);
            writer.unsigned(term);
        }
    }
    writer.count(entries.len());
    if let Some(first) = entries.first() {
        writer.unsigned(first.index);
    }
    for entry in entries {
        writer.unsigned(entry.term);
        writer.byte(entry.kind);
        writer.bytes(&entry.context);
        writer.bytes(&entry.data);
    }
    writer
}

/// The batch that ends a segment.
pub(super) fn encode_end(before: Position, hard_state: HardState) -> Writer {
    let mut writer = Writer::with_capacity(80);
    encode_head(&mut writer, KIND_END, before, hard_state);
    writer
}

fn encode_head(writer: &mut Writer, kind: u8, before: Position, hard_state: HardState) {
    writer.byte(kind);
    writer.unsigned(before.index);
    writer.unsigned(before.term);
    encode_hard_state(writer, hard_state);
}

pub(super) fn encode_hard_state(writer: &mut Writer, hard_state: HardState) {
    for number in [hard_state.term, hard_state.vote, hard_state.commit] {
        writer.fixed(number);
    }
}

/// Reads a batch. Contexts and data are slices of the input.
pub(super) fn decode(bytes: Bytes) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(bytes);
    let is_end = match reader.byte("kind of a batch")? {
        KIND_BATCH => false,
        KIND_END => true,
        _ => return Err(reader.error("kind of a batch")),
    };
    let before = decode_position(&mut reader)?;
    let hard_state = decode_hard_state(&mut reader)?;
    let (mut reset, mut entries) = (None, Vec::new());
    if !is_end {
        reset = match reader.byte("reset")? {
            0 => None,
            1 => Some(decode_position(&mut reader)?),
            _ => return Err(reader.error("reset")),
        };
        entries = decode_entries(&mut reader)?;
    }
    reader.finish("end of a batch")?;
    Ok(Record { is_end, before, hard_state, reset, entries })
}

fn decode_entries(reader: &mut Reader) -> Result<Vec<StoredEntry>, DecodeError> {
    let count = reader.count(ENTRY_BYTES_MIN, "entries")?;
    let mut entries = Vec::with_capacity(count);
    if count == 0 {
        return Ok(entries);
    }
    let first = reader.unsigned("first index")?;
    if first == 0 || first.checked_add(count as u64).is_none() {
        return Err(reader.error("first index"));
    }
    for index in first..first + count as u64 {
        entries.push(StoredEntry {
            index,
            term: reader.unsigned("term of an entry")?,
            kind: reader.byte("kind of an entry")?,
            context: reader.bytes("context of an entry")?,
            data: reader.bytes("data of an entry")?,
        });
    }
    Ok(entries)
}

fn decode_position(reader: &mut Reader) -> Result<Position, DecodeError> {
    Ok(Position { index: reader.unsigned("index")?, term: reader.unsigned("term")? })
}

pub(super) fn decode_hard_state(reader: &mut Reader) -> Result<HardState, DecodeError> {
    Ok(HardState {
        term: reader.fixed("hard state")?,
        vote: reader.fixed("hard state")?,
        commit: reader.fixed("hard state")?,
    })
}

const KIND_BATCH: u8 = 0;
const KIND_END: u8 = 1;

/// Term, kind, and two lengths.
const ENTRY_BYTES_MIN: usize = 4;
