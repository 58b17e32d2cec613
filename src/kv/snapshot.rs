//! Snapshots: the whole state of the machine in canonical bytes. Equal states, equal bytes.
//!
//! Format version 1 (primitives of [`crate::codec`]):
//!
//! ```text
//! "PLIMKV"  format version: byte
//! epoch: fixed  revision  log time (ms)
//! entries: count, each: key, value, epoch: fixed, revision, deadline: optional     in key order
//! sessions: count, each: epoch: fixed, index, low, used at, replies: count, each: seq,
//!           index, log time (ms), reply                                    in order of id and seq
//! compacted revision, changes: count, each: events: count, each: kind: byte, key, [record]
//! digest of the state: 16 bytes
//! ```
//!
//! The digest at the end covers all that was read, so a corrupted snapshot is refused. A record in
//! the history is written like an entry, without its key. What decodes is what a machine has
//! written, and encodes to the same bytes: the order is checked where it is read, and what has to
//! hold between the parts, in `invariants.rs`, once all are there.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::command::SessionId;
use super::entries::{Entries, Record};
use super::history::{History, KeyEvent, RevisionChange};
use super::key::{KeyRef, QualifiedKey};
use super::machine::StateMachine;
use super::session::{ClientSession, Executed, Sessions};
use super::wire::{decode_events, decode_record, encode_events, encode_key, encode_record};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{CLIENT_SESSIONS_MAX, REVISION_MAX};
use crate::mutant::mutant;

#[cfg(test)]
mod tests;

type Decoded<T> = Result<T, DecodeError>;

impl StateMachine {
    /// The whole state in canonical bytes. O(n).
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.snapshot_len());
        for part in self.snapshot_parts() {
            bytes.extend_from_slice(&part);
        }
        bytes.into()
    }

    /// How many bytes [`StateMachine::snapshot`] has. It costs what sessions and history do, whatever
    /// the number of entries.
    #[must_use]
    pub fn snapshot_len(&self) -> usize {
        let mut writer = Writer::new();
        self.encode_head(&mut writer);
        self.encode_tail(&mut writer);
        writer.len() + self.entries.encoded_len()
    }

    /// As [`StateMachine::snapshot`], in parts that are encoded when they are asked for: nobody has to
    /// hold all of it.
    #[must_use]
    pub fn snapshot_parts(&self) -> SnapshotParts {
        SnapshotParts { machine: self.clone(), next: Next::Head }
    }

    fn encode_head(&self, writer: &mut Writer) {
        writer.raw(MAGIC);
        writer.byte(FORMAT_VERSION);
        writer.fixed(self.epoch);
        writer.unsigned(self.revision);
        writer.unsigned(self.log_time.0);
        writer.count(self.entries.len());
    }

    fn encode_tail(&self, writer: &mut Writer) {
        encode_sessions(writer, &self.sessions);
        encode_history(writer, &self.history);
        writer.raw(&self.digest().0.to_be_bytes());
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
        let history = decode_history(&mut reader, revision, &entries)?;
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

/// The parts of a snapshot, first to last. It keeps the state as it was when they were asked for.
#[derive(Clone, Debug)]
pub struct SnapshotParts {
    machine: StateMachine,
    next: Next,
}

/// What the next part of a snapshot begins with.
#[derive(Clone, Debug)]
enum Next {
    Head,
    /// The entries after this one.
    After(QualifiedKey),
    Nothing,
}

impl Iterator for SnapshotParts {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut writer = Writer::with_capacity(PART_BYTES + PART_BYTES / 4);
        let next = std::mem::replace(&mut self.next, Next::Nothing);
        let start = match &next {
            Next::Nothing => return None,
            Next::Head => {
                self.machine.encode_head(&mut writer);
                Bound::Unbounded
            }
            Next::After(key) => {
                let (keyspace, key) = (key.keyspace(), key.key().as_bytes());
                Bound::Excluded(KeyRef { keyspace, key })
            }
        };
        for (key, record) in self.machine.entries.range(start) {
            encode_key(&mut writer, key);
            encode_record(&mut writer, record);
            if writer.len() >= PART_BYTES {
                self.next = Next::After(key.clone());
                return Some(writer.finish());
            }
        }
        self.machine.encode_tail(&mut writer);
        Some(writer.finish())
    }
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
        entries.insert(&key, Arc::new(record.detached()));
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
        for (seq, executed) in &session.replies {
            writer.unsigned(*seq);
            executed.encode(writer);
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

fn decode_replies(reader: &mut Reader) -> Decoded<OrdMap<u64, Executed>> {
    let mut replies = OrdMap::new();
    for _ in 0..reader.count(4, "the number of replies")? {
        let seq = reader.unsigned("a sequence number")?;
        if replies.get_max().is_some_and(|(previous, _)| *previous >= seq) {
            return Err(reader.error("sequence numbers in order"));
        }
        replies.insert(seq, Executed::decode(reader)?);
    }
    Ok(replies)
}

fn encode_history(writer: &mut Writer, history: &History) {
    writer.unsigned(history.compacted());
    writer.count(history.iter().len());
    for change in history.iter() {
        encode_events(writer, &change.events);
    }
}

fn decode_history(reader: &mut Reader, newest: u64, entries: &Entries) -> Decoded<History> {
    let compacted = reader.unsigned("the compacted revision")?;
    let count = reader.count(1, "the number of changes")?;
    if compacted.checked_add(count as u64) != Some(newest) {
        return Err(reader.error("a history up to the revision"));
    }
    let mut history = History::after(compacted);
    for revision in compacted + 1..=newest {
        let events = decode_events(reader)?;
        let events = events.iter().map(|event| detached(event, entries)).collect();
        history.push(RevisionChange { revision, events });
        if history.compacted() != compacted {
            return Err(reader.error("a history within its limits"));
        }
    }
    Ok(history)
}

/// An event that keeps nothing of what it was read from: its record is that of the entry, if that is
/// still there.
fn detached(event: &KeyEvent, entries: &Entries) -> KeyEvent {
    let record = event.record.as_ref().map(|record| {
        let present = entries.get(&event.key).filter(|present| *present == record);
        present.cloned().unwrap_or_else(|| Arc::new(Record::clone(record).detached()))
    });
    KeyEvent { record, ..event.clone() }
}

const MAGIC: &[u8] = b"PLIMKV";
const FORMAT_VERSION: u8 = 1;
/// How much is written as one part.
const PART_BYTES: usize = 64 << 10;
