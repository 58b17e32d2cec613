//! What is written in one step, and its bytes.
//!
//! Format version 1 (primitives of [`crate::codec`]):
//!
//! ```text
//! length of what follows: 4 bytes   version: byte   number of the batch before
//! term   vote: fixed   commit
//! reset: 0, or 1 and index, term
//! entries: count, each: index, term, kind: byte, context, data
//! ```
//!
//! Every batch repeats the hard state, so that no old segment is needed for it, and names the batch
//! before it, so that none is missing unnoticed.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};

/// The part of Raft's state that must not be forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term.
    pub term: u64,
    /// For whom this member has voted in it; 0 for nobody.
    pub vote: u64,
    /// An index that is known to be committed.
    pub commit: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Which kind of entry it is; what the kinds mean is the writer's matter.
    pub kind: u8,
    /// Bytes beside the data.
    pub context: Bytes,
    /// The data.
    pub data: Bytes,
}

/// What is written in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The hard state, if it has changed.
    pub hard_state: Option<HardState>,
    /// All entries are void, and the log goes on after this index and term: those of a snapshot.
    pub reset: Option<(u64, u64)>,
    /// Entries, consecutive. The first one voids whatever stood at or after its index.
    pub entries: Vec<StoredEntry>,
}

/// A batch as it was read.
pub(super) struct ReadBatch {
    pub before: u64,
    pub hard_state: HardState,
    pub reset: Option<(u64, u64)>,
    pub entries: Vec<StoredEntry>,
}

pub(super) fn encode(batch: &Batch, before: u64, hard_state: HardState) -> Bytes {
    let room: usize = batch.entries.iter().map(|entry| entry.data.len() + 64).sum();
    let mut writer = Writer::with_capacity(64 + room);
    writer.raw(&[0; LENGTH_BYTES]);
    writer.byte(FORMAT_VERSION);
    writer.unsigned(before);
    writer.unsigned(hard_state.term);
    writer.fixed(hard_state.vote);
    writer.unsigned(hard_state.commit);
    match batch.reset {
        None => writer.byte(0),
        Some((index, term)) => {
            writer.byte(1);
            writer.unsigned(index);
            writer.unsigned(term);
        }
    }
    writer.count(batch.entries.len());
    for entry in &batch.entries {
        writer.unsigned(entry.index);
        writer.unsigned(entry.term);
        writer.byte(entry.kind);
        writer.bytes(&entry.context);
        writer.bytes(&entry.data);
    }
    let mut bytes = Vec::from(writer.finish());
    let length = u32::try_from(bytes.len() - LENGTH_BYTES).expect("a batch is shorter than 4 GiB");
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes.into()
}

/// The length that a batch had before it was read.
pub(super) fn encode_len(read: &ReadBatch) -> usize {
    let ReadBatch { before, hard_state, reset, entries } = read;
    let batch = Batch { hard_state: None, reset: *reset, entries: entries.clone() };
    encode(&batch, *before, *hard_state).len()
}

/// The batch at the start of bytes that are filled up with zeros.
pub(super) fn decode(bytes: &Bytes) -> Result<ReadBatch, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let length = reader.raw(LENGTH_BYTES, "the length of a batch")?;
    let length = u32::from_be_bytes(length[..].try_into().expect("four bytes were read"));
    let mut reader = Reader::new(reader.raw(length as usize, "a batch")?);
    if reader.byte("a format version")? != FORMAT_VERSION {
        return Err(reader.error("a batch of this format version"));
    }
    let before = reader.unsigned("the batch before")?;
    let hard_state = HardState {
        term: reader.unsigned("a term")?,
        vote: reader.fixed("a vote")?,
        commit: reader.unsigned("a commit index")?,
    };
    let reset = match reader.byte("a reset")? {
        0 => None,
        1 => Some((reader.unsigned("an index")?, reader.unsigned("a term")?)),
        _ => return Err(reader.error("a reset")),
    };
    let count = reader.count(5, "the number of entries")?;
    let entries = (0..count).map(|_| decode_entry(&mut reader)).collect::<Result<_, _>>()?;
    reader.finish("the end of the batch")?;
    Ok(ReadBatch { before, hard_state, reset, entries })
}

fn decode_entry(reader: &mut Reader) -> Result<StoredEntry, DecodeError> {
    Ok(StoredEntry {
        index: reader.unsigned("an index")?,
        term: reader.unsigned("a term")?,
        kind: reader.byte("a kind")?,
        context: reader.bytes("a context")?,
        data: reader.bytes("data")?,
    })
}

const LENGTH_BYTES: usize = 4;
const FORMAT_VERSION: u8 = 1;
