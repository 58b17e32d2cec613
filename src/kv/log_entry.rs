//! What a replicated log holds for the machine: a command with the leader's stamp, in canonical bytes.
//!
//! Format (primitives of [`crate::codec`]):
//!
//! ```text
//! format version: byte   stamp (ms): fixed
//! session: 0, or 1 and epoch: fixed, index, seq, low
//! action: byte, then
//!     write         make room: byte, write
//!     transaction   make room: byte, count, writes
//!     advance, open session: nothing
//! write: byte, key, then
//!     put           value, ttl (ms): optional, condition
//!     delete        version: 0, or 1 and version
//!     check         condition
//! condition: byte (none, absent, version), version
//! ```
//!
//! The stamp stands at a fixed place, so that the newest log time of a log is read without decoding
//! its commands. No limits of a configuration: those were checked before the command was proposed.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

use super::command::{Action, Command, SessionId, SessionStamp, Write};
use super::key::QualifiedKey;
use super::wire::{decode_version, encode_version};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::entry::{Condition, Ttl, Version};
use crate::limits::TRANSACTION_OPERATIONS_MAX;
use crate::value::Encoded;

type Decoded<T> = Result<T, DecodeError>;

/// A command as it stands in a replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The leader's clock when it proposed the command.
    pub stamp: UnixMillis,
    /// The command.
    pub command: Command,
}

impl LogEntry {
    /// The entry in canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Self::seal(self.stamp, &encode_command(&self.command))
    }

    /// The entry of a command that [`encode_command`] wrote.
    #[must_use]
    pub fn seal(stamp: UnixMillis, command: &[u8]) -> Bytes {
        let mut writer = Writer::with_capacity(HEAD_BYTES + command.len());
        writer.byte(FORMAT_VERSION);
        writer.fixed(stamp.0);
        writer.raw(command);
        writer.finish()
    }

    /// The entry that [`LogEntry::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are none, or of another format version.
    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a format version")? != FORMAT_VERSION {
            return Err(reader.error("a log entry of this format version"));
        }
        let stamp = UnixMillis(reader.fixed("a stamp")?);
        let command = read_command(&mut reader)?;
        reader.finish("the end of the log entry")?;
        Ok(Self { stamp, command })
    }

    /// The stamp of an encoded entry, if it is one.
    #[must_use]
    pub fn stamp_of(bytes: &[u8]) -> Option<UnixMillis> {
        let (version, rest) = bytes.split_first()?;
        let stamp = rest.first_chunk::<8>()?;
        (*version == FORMAT_VERSION).then(|| UnixMillis(u64::from_be_bytes(*stamp)))
    }
}

/// A command in canonical bytes.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    match command.session {
        None => writer.byte(0),
        Some(SessionStamp { session, seq, low }) => {
            writer.byte(1);
            writer.fixed(session.epoch);
            writer.unsigned(session.index);
            writer.unsigned(seq);
            writer.unsigned(low);
        }
    }
    match &command.action {
        Action::Write { write, make_room } => {
            writer.byte(ACTION_WRITE);
            writer.byte(u8::from(*make_room));
            encode_write(&mut writer, write);
        }
        Action::Transact { writes, make_room } => {
            writer.byte(ACTION_TRANSACT);
            writer.byte(u8::from(*make_room));
            writer.count(writes.len());
            for write in writes {
                encode_write(&mut writer, write);
            }
        }
        Action::Advance => writer.byte(ACTION_ADVANCE),
        Action::OpenSession => writer.byte(ACTION_OPEN_SESSION),
    }
    writer.finish()
}

/// The command that [`encode_command`] wrote.
///
/// # Errors
/// If the bytes are none.
pub fn decode_command(bytes: Bytes) -> Decoded<Command> {
    let mut reader = Reader::new(bytes);
    let command = read_command(&mut reader)?;
    reader.finish("the end of the command")?;
    Ok(command)
}

fn read_command(reader: &mut Reader) -> Decoded<Command> {
    let session = match reader.byte("a session")? {
        0 => None,
        1 => {
            let epoch = reader.fixed("a session's epoch")?;
            let index = reader.unsigned("a session's index")?;
            let seq = reader.unsigned("a sequence number")?;
            let low = reader.unsigned("a lowest sequence number")?;
            Some(SessionStamp { session: SessionId { epoch, index }, seq, low })
        }
        _ => return Err(reader.error("a session")),
    };
    let action = match reader.byte("an action")? {
        ACTION_WRITE => {
            let make_room = decode_flag(reader)?;
            Action::Write { write: decode_write(reader)?, make_room }
        }
        ACTION_TRANSACT => {
            let make_room = decode_flag(reader)?;
            let count = reader.count(3, "the number of writes")?;
            if count > TRANSACTION_OPERATIONS_MAX {
                return Err(reader.error("the number of writes"));
            }
            let writes = (0..count).map(|_| decode_write(reader)).collect::<Decoded<_>>()?;
            Action::Transact { writes, make_room }
        }
        ACTION_ADVANCE => Action::Advance,
        ACTION_OPEN_SESSION => Action::OpenSession,
        _ => return Err(reader.error("an action")),
    };
    Ok(Command { session, action })
}

fn encode_write(writer: &mut Writer, write: &Write) {
    match write {
        Write::Put { key, value, ttl, condition } => {
            writer.byte(WRITE_PUT);
            writer.bytes(key.as_bytes());
            writer.bytes(value.as_bytes());
            writer.optional(ttl.map(Ttl::as_ms));
            encode_condition(writer, *condition);
        }
        Write::Delete { key, if_version } => {
            writer.byte(WRITE_DELETE);
            writer.bytes(key.as_bytes());
            encode_condition(writer, if_version.map_or(Condition::None, Condition::Version));
        }
        Write::Check { key, condition } => {
            writer.byte(WRITE_CHECK);
            writer.bytes(key.as_bytes());
            encode_condition(writer, *condition);
        }
    }
}

fn decode_write(reader: &mut Reader) -> Decoded<Write> {
    let kind = reader.byte("a write")?;
    let key = QualifiedKey::read(reader)?;
    Ok(match kind {
        WRITE_PUT => {
            let value = reader.bytes("a value")?;
            let value = Encoded::from_bytes(value).map_err(|_| reader.error("a value"))?;
            let ttl = match reader.optional("a ttl")? {
                None => None,
                Some(ms) => {
                    let ttl = Ttl::from_ms(ms).ok().flatten();
                    Some(ttl.ok_or(reader.error("a ttl"))?)
                }
            };
            Write::Put { key, value, ttl, condition: decode_condition(reader)? }
        }
        WRITE_DELETE => {
            let if_version = match decode_condition(reader)? {
                Condition::None => None,
                Condition::Version(version) => Some(version),
                Condition::Absent => return Err(reader.error("the version of a delete")),
            };
            Write::Delete { key, if_version }
        }
        WRITE_CHECK => Write::Check { key, condition: decode_condition(reader)? },
        _ => return Err(reader.error("a write")),
    })
}

fn encode_condition(writer: &mut Writer, condition: Condition) {
    match condition {
        Condition::None => writer.byte(CONDITION_NONE),
        Condition::Absent => writer.byte(CONDITION_ABSENT),
        Condition::Version(Version::Unversioned) => writer.byte(CONDITION_UNVERSIONED),
        Condition::Version(version) => {
            writer.byte(CONDITION_VERSION);
            encode_version(writer, version);
        }
    }
}

fn decode_condition(reader: &mut Reader) -> Decoded<Condition> {
    Ok(match reader.byte("a condition")? {
        CONDITION_NONE => Condition::None,
        CONDITION_ABSENT => Condition::Absent,
        CONDITION_UNVERSIONED => Condition::Version(Version::Unversioned),
        CONDITION_VERSION => Condition::Version(decode_version(reader)?),
        _ => return Err(reader.error("a condition")),
    })
}

fn decode_flag(reader: &mut Reader) -> Decoded<bool> {
    match reader.byte("a flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.error("a flag")),
    }
}

const FORMAT_VERSION: u8 = 1;
const HEAD_BYTES: usize = 9;

const ACTION_WRITE: u8 = 0;
const ACTION_TRANSACT: u8 = 1;
const ACTION_ADVANCE: u8 = 2;
const ACTION_OPEN_SESSION: u8 = 3;

const WRITE_PUT: u8 = 0;
const WRITE_DELETE: u8 = 1;
const WRITE_CHECK: u8 = 2;

const CONDITION_NONE: u8 = 0;
const CONDITION_ABSENT: u8 = 1;
const CONDITION_VERSION: u8 = 2;
const CONDITION_UNVERSIONED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Key;
    use crate::keyspace::Keyspace;
    use crate::value::Value;

    fn key(name: &str) -> QualifiedKey {
        QualifiedKey::new(&Keyspace::new("app").unwrap(), &Key::new(name).unwrap())
    }

    fn commands() -> Vec<Command> {
        let version = Version::Numbered { epoch: 7, revision: 300 };
        let put = |condition| Write::Put {
            key: key("k"),
            value: Encoded::new(&Value::from("v")).unwrap(),
            ttl: Ttl::from_ms(500).unwrap(),
            condition,
        };
        let check = Write::Check { key: key("c"), condition: Condition::Absent };
        let writes = vec![
            put(Condition::Version(version)),
            Write::Delete { key: key("d"), if_version: None },
            Write::Delete { key: key("e"), if_version: Some(version) },
            check,
        ];
        let session = SessionId { epoch: 1, index: 2 };
        vec![
            Command::new(Action::Write { write: put(Condition::None), make_room: false }),
            Command {
                session: Some(SessionStamp { session, seq: 3, low: 1 }),
                action: Action::Transact { writes, make_room: true },
            },
            Command::new(Action::Advance),
            Command::new(Action::OpenSession),
        ]
    }

    #[test]
    fn entries_round_trip_and_show_their_stamp() {
        for command in commands() {
            let entry = LogEntry { stamp: UnixMillis(1_234), command: command.clone() };
            let bytes = entry.encode();
            assert_eq!(LogEntry::stamp_of(&bytes), Some(entry.stamp));
            assert_eq!(LogEntry::decode(bytes), Ok(entry));
            assert_eq!(decode_command(encode_command(&command)), Ok(command));
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_another_entry() {
        for command in commands() {
            let bytes = LogEntry { stamp: UnixMillis(9), command }.encode();
            for end in 0..bytes.len() {
                assert!(LogEntry::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                let changed = Bytes::from(changed);
                if let Ok(entry) = LogEntry::decode(changed.clone()) {
                    assert_eq!(entry.encode(), changed, "what decodes is canonical");
                }
            }
        }
    }
}
