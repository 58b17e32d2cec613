//! The parts of the machine's formats that others build theirs from: keys, records, versions, replies
//! and events. A snapshot is made of them, and what a node and its clients tell each other.
//!
//! Format (primitives of [`crate::codec`]):
//!
//! ```text
//! key: bytes          the keyspace, a NUL byte, the key
//! version             epoch: fixed, revision
//! record              value: bytes, version, deadline (ms): optional
//! events: count, each: kind: byte (put, delete, expire), key, of a put the record
//! written: byte (put, deleted nothing, deleted, checked), of a put version and deadline: optional
//! reply: byte, then
//!     written         written
//!     transacted      count, each: written
//!     advanced        how many
//!     session opened  epoch: fixed, index
//!     refused         which write: optional, reason: byte (exists, absent, other version, session
//!                     expired, sequence too low, too high), of the first and the third a version
//! ```
//!
//! No format version: that is the one of the format which they are part of.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use super::command::{Reason, Refusal, Reply, SessionId, Written};
use super::entries::Record;
use super::history::KeyEvent;
use super::key::QualifiedKey;
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer, varint_len};
use crate::entry::{EventKind, Version};
use crate::value::Encoded;

type Decoded<T> = Result<T, DecodeError>;

/// Appends a key with its keyspace.
pub fn encode_key(writer: &mut Writer, key: &QualifiedKey) {
    writer.bytes(key.as_bytes());
}

/// The key that [`encode_key`] wrote.
///
/// # Errors
/// If the bytes are none.
pub fn decode_key(reader: &mut Reader) -> Decoded<QualifiedKey> {
    QualifiedKey::read(reader)
}

/// Appends what is stored under a key, without the key.
pub fn encode_record(writer: &mut Writer, record: &Record) {
    writer.bytes(record.value.as_bytes());
    encode_version(writer, record.version);
    writer.optional(record.deadline.map(|deadline| deadline.0));
}

/// How many bytes [`encode_key`] and [`encode_record`] write.
pub(super) fn encoded_len(key: &QualifiedKey, record: &Record) -> usize {
    let bytes = |length: usize| varint_len(length as u64) + length;
    let revision = match record.version {
        Version::Numbered { revision, .. } => revision,
        Version::Unversioned | Version::Stamped { .. } => 0,
    };
    let deadline = record.deadline.map_or(0, |deadline| varint_len(deadline.0));
    bytes(key.as_bytes().len())
        + bytes(record.value.len())
        + 8
        + varint_len(revision)
        + 1
        + deadline
}

/// The record that [`encode_record`] wrote, of its key. The value is a slice of what is read.
///
/// # Errors
/// If the bytes are none.
pub fn decode_record(reader: &mut Reader, key: &QualifiedKey) -> Decoded<Record> {
    let value = reader.bytes("a value")?;
    let value = Encoded::from_bytes(value).map_err(|_| reader.error("a value"))?;
    let version = decode_version(reader)?;
    let deadline = reader.optional("a deadline")?.map(UnixMillis);
    Ok(Record::new(key, value, version, deadline))
}

/// Appends a version.
///
/// # Panics
/// If it has no number: the machine numbers every version.
pub fn encode_version(writer: &mut Writer, version: Version) {
    let (epoch, revision) = match version {
        Version::Numbered { epoch, revision } => (epoch, revision),
        Version::Unversioned | Version::Stamped { .. } => {
            unreachable!("the machine numbers every version")
        }
    };
    writer.fixed(epoch);
    writer.unsigned(revision);
}

/// The version that [`encode_version`] wrote.
///
/// # Errors
/// If the bytes are none.
pub fn decode_version(reader: &mut Reader) -> Decoded<Version> {
    let epoch = reader.fixed("an epoch")?;
    Ok(Version::Numbered { epoch, revision: reader.unsigned("a revision")? })
}

/// Appends the events of a revision.
pub fn encode_events(writer: &mut Writer, events: &[KeyEvent]) {
    writer.count(events.len());
    for event in events {
        writer.byte(event.kind as u8);
        encode_key(writer, &event.key);
        if let Some(record) = &event.record {
            encode_record(writer, record);
        }
    }
}

/// The events that [`encode_events`] wrote.
///
/// # Errors
/// If the bytes are none.
pub fn decode_events(reader: &mut Reader) -> Decoded<Arc<[KeyEvent]>> {
    let count = reader.count(2, "the number of events")?;
    (0..count).map(|_| decode_event(reader)).collect()
}

fn decode_event(reader: &mut Reader) -> Decoded<KeyEvent> {
    let kind = match reader.byte("an event")? {
        0 => EventKind::Put,
        1 => EventKind::Delete,
        2 => EventKind::Expire,
        _ => return Err(reader.error("an event")),
    };
    let key = QualifiedKey::read(reader)?;
    let record = match kind {
        EventKind::Put => Some(Arc::new(decode_record(reader, &key)?)),
        EventKind::Delete | EventKind::Expire => None,
    };
    Ok(KeyEvent { kind, key, record })
}

/// Appends a reply. It is also what the hash of a reply is taken of.
pub fn encode_reply(writer: &mut Writer, reply: &Reply) {
    match reply {
        Reply::Written(written) => {
            writer.byte(REPLY_WRITTEN);
            encode_written(writer, *written);
        }
        Reply::Transacted(all) => {
            writer.byte(REPLY_TRANSACTED);
            writer.count(all.len());
            for written in all {
                encode_written(writer, *written);
            }
        }
        Reply::Advanced(removed) => {
            writer.byte(REPLY_ADVANCED);
            writer.count(*removed);
        }
        Reply::SessionOpened(id) => {
            writer.byte(REPLY_SESSION_OPENED);
            writer.fixed(id.epoch);
            writer.unsigned(id.index);
        }
        Reply::Refused(Refusal { reason, index }) => {
            writer.byte(REPLY_REFUSED);
            writer.optional(index.map(|index| index as u64));
            encode_reason(writer, *reason);
        }
    }
}

/// The reply that [`encode_reply`] wrote.
///
/// # Errors
/// If the bytes are none.
pub fn decode_reply(reader: &mut Reader) -> Decoded<Reply> {
    Ok(match reader.byte("a reply")? {
        REPLY_WRITTEN => Reply::Written(decode_written(reader)?),
        REPLY_TRANSACTED => {
            let count = reader.count(1, "the number of writes")?;
            Reply::Transacted((0..count).map(|_| decode_written(reader)).collect::<Decoded<_>>()?)
        }
        REPLY_ADVANCED => Reply::Advanced(decode_usize(reader)?),
        REPLY_SESSION_OPENED => Reply::SessionOpened(SessionId {
            epoch: reader.fixed("a session's epoch")?,
            index: reader.unsigned("a session's index")?,
        }),
        REPLY_REFUSED => {
            let index = match reader.optional("the index of a refusal")? {
                None => None,
                Some(index) => Some(usize::try_from(index).map_err(|_| reader.error("an index"))?),
            };
            Reply::Refused(Refusal { index, reason: decode_reason(reader)? })
        }
        _ => return Err(reader.error("a reply")),
    })
}

fn decode_usize(reader: &mut Reader) -> Decoded<usize> {
    let number = reader.unsigned("a number")?;
    usize::try_from(number).map_err(|_| reader.error("a number"))
}

fn encode_written(writer: &mut Writer, written: Written) {
    match written {
        Written::Put { version, deadline } => {
            writer.byte(WRITTEN_PUT);
            encode_version(writer, version);
            writer.optional(deadline.map(|deadline| deadline.0));
        }
        Written::Deleted(false) => writer.byte(WRITTEN_DELETED_NOTHING),
        Written::Deleted(true) => writer.byte(WRITTEN_DELETED),
        Written::Checked => writer.byte(WRITTEN_CHECKED),
    }
}

fn decode_written(reader: &mut Reader) -> Decoded<Written> {
    Ok(match reader.byte("a write")? {
        WRITTEN_PUT => Written::Put {
            version: decode_version(reader)?,
            deadline: reader.optional("a deadline")?.map(UnixMillis),
        },
        WRITTEN_DELETED_NOTHING => Written::Deleted(false),
        WRITTEN_DELETED => Written::Deleted(true),
        WRITTEN_CHECKED => Written::Checked,
        _ => return Err(reader.error("a write")),
    })
}

fn encode_reason(writer: &mut Writer, reason: Reason) {
    match reason {
        Reason::Exists(version) => {
            writer.byte(REASON_EXISTS);
            encode_version(writer, version);
        }
        Reason::Absent => writer.byte(REASON_ABSENT),
        Reason::OtherVersion(version) => {
            writer.byte(REASON_OTHER_VERSION);
            encode_version(writer, version);
        }
        Reason::SessionExpired => writer.byte(REASON_SESSION_EXPIRED),
        Reason::SequenceTooLow => writer.byte(REASON_SEQUENCE_TOO_LOW),
        Reason::SequenceTooHigh => writer.byte(REASON_SEQUENCE_TOO_HIGH),
    }
}

fn decode_reason(reader: &mut Reader) -> Decoded<Reason> {
    Ok(match reader.byte("a reason")? {
        REASON_EXISTS => Reason::Exists(decode_version(reader)?),
        REASON_ABSENT => Reason::Absent,
        REASON_OTHER_VERSION => Reason::OtherVersion(decode_version(reader)?),
        REASON_SESSION_EXPIRED => Reason::SessionExpired,
        REASON_SEQUENCE_TOO_LOW => Reason::SequenceTooLow,
        REASON_SEQUENCE_TOO_HIGH => Reason::SequenceTooHigh,
        _ => return Err(reader.error("a reason")),
    })
}

const REPLY_WRITTEN: u8 = 0;
const REPLY_TRANSACTED: u8 = 1;
const REPLY_ADVANCED: u8 = 2;
const REPLY_SESSION_OPENED: u8 = 3;
const REPLY_REFUSED: u8 = 4;

const WRITTEN_PUT: u8 = 0;
const WRITTEN_DELETED_NOTHING: u8 = 1;
const WRITTEN_DELETED: u8 = 2;
const WRITTEN_CHECKED: u8 = 3;

const REASON_EXISTS: u8 = 0;
const REASON_ABSENT: u8 = 1;
const REASON_OTHER_VERSION: u8 = 2;
const REASON_SESSION_EXPIRED: u8 = 3;
const REASON_SEQUENCE_TOO_LOW: u8 = 4;
const REASON_SEQUENCE_TOO_HIGH: u8 = 5;
