//! Snapshots: the whole state of the machine in canonical bytes. Equal states, equal bytes.
//!
//! Format version 1 (primitives of [`crate::codec`]):
//!
//! ```text
//! "PLIMKV"  format version: byte
//! epoch: fixed  revision  log time (ms)
//! entries: count, each: key, value, epoch: fixed, revision, deadline: optional     in key order
//! sessions: count, each: epoch: fixed, index, low, used at, replies: count, each: seq, reply
//!                                                                          in order of id and seq
//! compacted revision, changes: count, each: events: count, each: kind: byte, key, [record]
//! digest of the state: 16 bytes
//! ```
//!
//! The digest at the end covers all that was read, so a corrupted snapshot is refused. A record in
//! the history is written like an entry, without its key. What decodes is what a machine has
//! written, and encodes to the same bytes: the order is checked where it is read, and what has to
//! hold between the parts, in `invariants.rs`, once all are there.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::command::{Reason, Refusal, Reply, SessionId, Written};
use super::entries::{Entries, Record};
use super::history::{History, KeyEvent, RevisionChange};
use super::key::QualifiedKey;
use super::machine::StateMachine;
use super::session::{ClientSession, Sessions};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::entry::{EventKind, Version};
use crate::limits::{CLIENT_SESSIONS_MAX, REVISION_MAX};
use crate::mutant::mutant;
use crate::value::Encoded;

#[cfg(test)]
mod tests;

type Decoded<T> = Result<T, DecodeError>;

impl StateMachine {
    /// The whole state in canonical bytes. O(n).
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(MAGIC);
        writer.byte(FORMAT_VERSION);
        writer.fixed(self.epoch);
        writer.unsigned(self.revision);
        writer.unsigned(self.log_time.0);
        writer.count(self.entries.len());
        for (key, record) in self.entries.iter() {
            writer.bytes(key.as_bytes());
            encode_record(&mut writer, record);
        }
        encode_sessions(&mut writer, &self.sessions);
        encode_history(&mut writer, &self.history);
        writer.raw(&self.digest().0.to_be_bytes());
        writer.finish()
    }

    /// The state that [`StateMachine::snapshot`] wrote.
    ///
    /// # Errors
    /// If the bytes are no snapshot, of another format version, or corrupted.
    pub fn from_snapshot(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        if reader.raw(MAGIC.len(), "a snapshot of the machine")? != MAGIC
            || reader.byte("a format version")? != FORMAT_VERSION
        {
            return Err(reader.error("a snapshot of this format version"));
        }
        let epoch = reader.fixed("the epoch")?;
        let revision = reader.unsigned("the revision")?;
        if revision > REVISION_MAX {
            return Err(reader.error("a revision that can go on"));
        }
        let log_time = UnixMillis(reader.unsigned("the log time")?);
        let entries = decode_entries(&mut reader)?;
        let sessions = decode_sessions(&mut reader)?;
        let history = decode_history(&mut reader, revision)?;
        let machine = Self { epoch, revision, log_time, entries, sessions, history };
        let digest = reader.raw(16, "the digest")?;
        if digest != machine.digest().0.to_be_bytes()[..]
            && !mutant!("snapshot is not compared with its digest")
        {
            return Err(reader.error("a snapshot that matches its digest"));
        }
        machine.check_invariants().map_err(|what| reader.error(what))?;
        reader.finish("the end of the snapshot")?;
        Ok(machine)
    }

    /// The state that a snapshot holds, as the start of a new history: entries keep their
    /// versions, the epoch is a new one, and no session or watch of before goes on.
    ///
    /// # Errors
    /// As [`StateMachine::from_snapshot`].
    pub fn restore(bytes: Bytes, epoch: u64) -> Decoded<Self> {
        let machine = Self::from_snapshot(bytes)?;
        let epoch = if mutant!("restore keeps the epoch") { machine.epoch } else { epoch };
        let sessions = if mutant!("restore keeps the sessions") {
            machine.sessions.clone()
        } else {
            Sessions::default()
        };
        let history = History::after(machine.revision);
        Ok(Self { epoch, sessions, history, ..machine })
    }
}

fn encode_record(writer: &mut Writer, record: &Record) {
    writer.bytes(record.value.as_bytes());
    encode_version(writer, record.version);
    writer.optional(record.deadline.map(|deadline| deadline.0));
}

fn decode_record(reader: &mut Reader, key: &QualifiedKey) -> Decoded<Record> {
    let value = reader.bytes("a value")?;
    let value = Encoded::from_bytes(value).map_err(|_| reader.error("a value"))?;
    let version = decode_version(reader)?;
    let deadline = reader.optional("a deadline")?.map(UnixMillis);
    Ok(Record::new(key, value, version, deadline))
}

pub(super) fn encode_version(writer: &mut Writer, version: Version) {
    let (epoch, revision) = match version {
        Version::Numbered { epoch, revision } => (epoch, revision),
        Version::Unversioned => unreachable!("the machine numbers every version"),
    };
    writer.fixed(epoch);
    writer.unsigned(revision);
}

pub(super) fn decode_version(reader: &mut Reader) -> Decoded<Version> {
    let epoch = reader.fixed("an epoch")?;
    Ok(Version::Numbered { epoch, revision: reader.unsigned("a revision")? })
}

fn decode_entries(reader: &mut Reader) -> Decoded<Entries> {
    let mut entries = Entries::default();
    let mut previous: Option<QualifiedKey> = None;
    for _ in 0..reader.count(2, "the number of entries")? {
        let key = QualifiedKey::read(reader)?;
        if previous.as_ref().is_some_and(|previous| *previous >= key) {
            return Err(reader.error("keys in order"));
        }
        let record = decode_record(reader, &key)?;
        entries.insert(&key, Arc::new(record));
        previous = Some(key);
    }
    Ok(entries)
}

fn encode_sessions(writer: &mut Writer, sessions: &Sessions) {
    if mutant!("sessions missing from the snapshot") {
        writer.count(0);
        return;
    }
    writer.count(sessions.len());
    for (id, session) in sessions.iter() {
        writer.fixed(id.epoch);
        writer.unsigned(id.index);
        writer.unsigned(session.low);
        writer.unsigned(session.used_at);
        writer.count(session.replies.len());
        for (seq, reply) in &session.replies {
            writer.unsigned(*seq);
            encode_reply(writer, reply);
        }
    }
}

fn decode_sessions(reader: &mut Reader) -> Decoded<Sessions> {
    let mut sessions = Sessions::default();
    let mut previous: Option<SessionId> = None;
    let count = reader.count(12, "the number of sessions")?;
    if count > CLIENT_SESSIONS_MAX {
        return Err(reader.error("as many sessions as are kept"));
    }
    for _ in 0..count {
        let id = SessionId {
            epoch: reader.fixed("a session's epoch")?,
            index: reader.unsigned("a session's index")?,
        };
        if previous.is_some_and(|previous| previous >= id) {
            return Err(reader.error("sessions in order"));
        }
        let low = reader.unsigned("a session's low")?;
        let used_at = reader.unsigned("a session's last use")?;
        let replies = decode_replies(reader)?;
        sessions.insert(id, ClientSession { low, used_at, replies });
        previous = Some(id);
    }
    Ok(sessions)
}

fn decode_replies(reader: &mut Reader) -> Decoded<OrdMap<u64, Reply>> {
    let mut replies = OrdMap::new();
    for _ in 0..reader.count(2, "the number of replies")? {
        let seq = reader.unsigned("a sequence number")?;
        if replies.get_max().is_some_and(|(previous, _)| *previous >= seq) {
            return Err(reader.error("sequence numbers in order"));
        }
        replies.insert(seq, decode_reply(reader)?);
    }
    Ok(replies)
}

/// Also what a reply's hash is taken of.
pub(super) fn encode_reply(writer: &mut Writer, reply: &Reply) {
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

fn decode_reply(reader: &mut Reader) -> Decoded<Reply> {
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

fn encode_history(writer: &mut Writer, history: &History) {
    writer.unsigned(history.compacted());
    writer.count(history.iter().len());
    for change in history.iter() {
        writer.count(change.events.len());
        for event in &*change.events {
            writer.byte(event.kind as u8);
            writer.bytes(event.key.as_bytes());
            if let Some(record) = &event.record {
                encode_record(writer, record);
            }
        }
    }
}

fn decode_history(reader: &mut Reader, newest: u64) -> Decoded<History> {
    let compacted = reader.unsigned("the compacted revision")?;
    let count = reader.count(1, "the number of changes")?;
    if compacted.checked_add(count as u64) != Some(newest) {
        return Err(reader.error("a history up to the revision"));
    }
    let mut history = History::after(compacted);
    for revision in compacted + 1..=newest {
        let count = reader.count(2, "the number of events")?;
        let events = (0..count).map(|_| decode_event(reader)).collect::<Decoded<_>>()?;
        history.push(RevisionChange { revision, events });
        if history.compacted() != compacted {
            return Err(reader.error("a history within its limits"));
        }
    }
    Ok(history)
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

const MAGIC: &[u8] = b"PLIMKV";
const FORMAT_VERSION: u8 = 1;

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
