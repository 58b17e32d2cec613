//! What a node and its clients tell each other: one connection, many requests under way.
//!
//! Format (primitives of [`crate::codec`]; its version is the transport's):
//!
//! ```text
//! of a client: kind: byte
//!     0 alive
//!     1 request       id, timeout (ms), ask: byte, then
//!         0 write         a command, to the end      1 record, 2 has    key
//!         3 page          keyspace, prefix, after, limit
//!         9 labelled      an ask from 1 to 3         10 replica         as replica.rs shows
//!         4 watch         keyspace, prefix, after: 0, or 1 and a version
//!         5 status, 8 backup                         6 change           count, changes
//!         7 transfer      id: fixed
//!     2 cancel        id
//! of a node: kind: byte
//!     0 alive
//!     1 answer        id, tell: byte, then
//!         0 applied       may be repeated: byte, index, log time (ms), reply
//!         1 record        0, or 1 and key, record    2 has              byte
//!         3 page          has more: byte, count, each: key, record
//!         4 watching      epoch: fixed, revision     5 revision         epoch: fixed, revision, events
//!         6 status        as status.rs shows         7 changed          index
//!         8 transfer started                         9 chunk            bytes
//!         10 backup end   length, digest: fixed
//!         11 failed       reason: byte, of a refusal and of no node its words, outcome: byte
//!         12 error        kind: byte, message, detail "reason": 0, or 1 and text
//!         13 labelled     index, log time (ms), epoch: fixed, a tell from 1 to 3
//!         14 shown, 15 shown page, 16 stamped        as replica.rs shows
//! ```
//!
//! Every request but a watch and a backup has one answer; those have many, the last of which is a
//! failure, an error or the end of the backup.
//!
//! No frame, no checksum, no secrecy: those are the transport's. Whatever arrives is decoded or
//! refused; values are slices of the frame that they came in.

mod replica;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::handle::NodeStatus;
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::crdt::Shown;
use crate::entry::{ListQuery, Version};
use crate::error::{Error, ErrorKind, Outcome};
use crate::gossip::Space;
use crate::keyspace::Keyspace;
use crate::kv::wire::{
    decode_events, decode_key, decode_record, decode_reply, decode_version, encode_events,
    encode_key, encode_record, encode_reply, encode_version,
};
use crate::kv::{
    Action, Command, KeyPage, MachinePage, QualifiedKey, Record, Reply, RevisionChange, Write,
    decode_command, encode_command,
};
use crate::limits::{
    KEY_BYTES_MAX, RAFT_MEMBERS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX,
};
use crate::raft::{Failure, FailureReason, MemberChange, RaftId, read_change, write_change};
use crate::value::Value;

pub(super) use replica::ReplicaAsk;
pub use replica::Stamped;

pub(super) type Decoded<T> = Result<T, DecodeError>;

/// A frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientFrame {
    /// Nothing but that it is still there.
    Alive,
    /// It asks for something, under an id that it has not used on this connection.
    Request { id: u64, timeout_ms: u64, ask: Ask },
    /// It no longer waits for an answer. What was asked for may be done all the same.
    Cancel(u64),
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Have a command applied.
    Write(Command),
    /// Look at the machine.
    Look(Look),
    /// Look at the machine, and tell which state of it was seen.
    Labelled(Look),
    /// The changes of a keyspace after a version, or from now on.
    Watch { keyspace: Keyspace, prefix: Bytes, after: Option<Version> },
    /// What the node tells of itself.
    Status,
    /// Change the membership.
    Change(Vec<MemberChange>),
    /// Hand leadership to a voter.
    Transfer(RaftId),
    /// The whole machine.
    Backup,
    /// Something of a replica.
    Replica(Space, ReplicaAsk),
}

/// What a client wants to see of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The record of a key.
    Record(QualifiedKey),
    /// Whether a key is there.
    Has(QualifiedKey),
    /// A page of a keyspace.
    Page(Keyspace, ListQuery),
}

/// A frame of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NodeFrame {
    /// Nothing but that it is still there.
    Alive,
    /// An answer to the request of an id.
    Answer { id: u64, tell: Tell },
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tell {
    /// A command was applied; and whether the reply may be to a later copy of it, because the node did
    /// not see every command being applied meanwhile.
    Applied { applied: Applied, was_repeated: bool },
    /// The record of a key, if the key is there.
    Record(Option<(QualifiedKey, Arc<Record>)>),
    /// Whether a key is there.
    Has(bool),
    /// A page.
    Page(MachinePage),
    /// A watch has begun after a revision.
    Watching { epoch: u64, revision: u64 },
    /// What a revision changed among what is watched; nothing, if it is only told how far the watch
    /// has come.
    Revision { epoch: u64, change: RevisionChange },
    /// What the node tells of itself.
    Status(Box<NodeStatus>),
    /// The membership was changed, at this index of the log.
    Changed(u64),
    /// The transfer of leadership has begun.
    TransferStarted,
    /// A part of a backup.
    Chunk(Bytes),
    /// The end of a backup: how long it is, and its digest.
    BackupEnd { bytes: u64, digest: u64 },
    /// The engine failed to do it.
    Failed(Failure),
    /// What was seen of the machine, and in which state.
    Labelled { seen: Seen, tell: Box<Tell> },
    /// What a replica shows under a key, if it does.
    Shown(Option<Shown>),
    /// A page of a replica.
    ShownPage(KeyPage<Shown>),
    /// A replica has written.
    Stamped(Stamped),
    /// It can't be done; only kind, message and the detail `reason` are told.
    Error(Error),
}

/// The state of the machine that a read has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The last index of the log that was applied.
    pub index: u64,
    /// The log time.
    pub log_time: UnixMillis,
    /// The epoch of the machine.
    pub epoch: u64,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// At which index of the log it was executed, which may have been before.
    pub index: u64,
    /// The log time after that.
    pub log_time: UnixMillis,
    /// What the machine replied.
    pub reply: Reply,
}

impl ClientFrame {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Alive => Bytes::from_static(&[ALIVE]),
            Self::Request { id, timeout_ms, ask } => {
                let mut writer = Writer::with_capacity(SMALL);
                writer.byte(REQUEST);
                writer.unsigned(*id);
                writer.unsigned(*timeout_ms);
                ask.write(&mut writer);
                writer.finish()
            }
            Self::Cancel(id) => {
                let mut writer = Writer::with_capacity(SMALL);
                writer.byte(CANCEL);
                writer.unsigned(*id);
                writer.finish()
            }
        }
    }

    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let frame = match reader.byte("a kind of frame")? {
            ALIVE => Self::Alive,
            REQUEST => Self::Request {
                id: reader.unsigned("an id")?,
                timeout_ms: reader.unsigned("a timeout")?,
                ask: Ask::read(&mut reader)?,
            },
            CANCEL => Self::Cancel(reader.unsigned("an id")?),
            _ => return Err(reader.error("a kind of frame")),
        };
        reader.finish("the end of the frame")?;
        Ok(frame)
    }
}

impl Ask {
    /// Whether it would do something twice if it was sent twice: no stamp of a session makes it one.
    pub const fn is_sent_once(&self) -> bool {
        matches!(self, Self::Replica(_, ask) if ask.is_write())
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Write(command) => {
                writer.byte(ASK_WRITE);
                writer.raw(&encode_command(command));
            }
            Self::Look(look) => look.write(writer),
            Self::Labelled(look) => {
                writer.byte(ASK_LABELLED);
                look.write(writer);
            }
            Self::Watch { keyspace, prefix, after } => {
                writer.byte(ASK_WATCH);
                writer.bytes(keyspace.as_str().as_bytes());
                writer.bytes(prefix);
                writer.byte(u8::from(after.is_some()));
                if let Some(after) = after {
                    encode_version(writer, *after);
                }
            }
            Self::Status => writer.byte(ASK_STATUS),
            Self::Change(changes) => {
                writer.byte(ASK_CHANGE);
                writer.count(changes.len());
                for change in changes {
                    write_change(writer, change);
                }
            }
            Self::Transfer(to) => {
                writer.byte(ASK_TRANSFER);
                writer.fixed(to.0);
            }
            Self::Backup => writer.byte(ASK_BACKUP),
            Self::Replica(space, ask) => {
                writer.byte(ASK_REPLICA);
                ask.write(*space, writer);
            }
        }
    }

    fn read(reader: &mut Reader) -> Decoded<Self> {
        Ok(match reader.byte("an ask")? {
            ASK_WRITE => {
                let rest = reader.raw(reader.remaining(), "a command")?;
                Self::Write(decode_command(rest)?)
            }
            ask @ (ASK_RECORD | ASK_HAS | ASK_PAGE) => Self::Look(Look::read(ask, reader)?),
            ASK_LABELLED => {
                let ask = reader.byte("an ask")?;
                Self::Labelled(Look::read(ask, reader)?)
            }
            ASK_WATCH => {
                let keyspace = read_keyspace(reader)?;
                let prefix = reader.bytes("a prefix")?;
                if prefix.len() > KEY_BYTES_MAX {
                    return Err(reader.error("a prefix"));
                }
                let after = match read_flag(reader)? {
                    false => None,
                    true => Some(decode_version(reader)?),
                };
                Self::Watch { keyspace, prefix, after }
            }
            ASK_STATUS => Self::Status,
            ASK_CHANGE => {
                let count = reader.count(9, "the number of changes")?;
                if count > RAFT_MEMBERS_MAX {
                    return Err(reader.error("the number of changes"));
                }
                Self::Change((0..count).map(|_| read_change(reader)).collect::<Decoded<_>>()?)
            }
            ASK_TRANSFER => Self::Transfer(RaftId::read(reader)?),
            ASK_BACKUP => Self::Backup,
            ASK_REPLICA => {
                let (space, ask) = ReplicaAsk::read(reader)?;
                Self::Replica(space, ask)
            }
            _ => return Err(reader.error("an ask")),
        })
    }
}

impl Look {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Record(key) => {
                writer.byte(ASK_RECORD);
                encode_key(writer, key);
            }
            Self::Has(key) => {
                writer.byte(ASK_HAS);
                encode_key(writer, key);
            }
            Self::Page(keyspace, query) => {
                writer.byte(ASK_PAGE);
                Self::write_page(keyspace, query, writer);
            }
        }
    }

    fn read(ask: u8, reader: &mut Reader) -> Decoded<Self> {
        Ok(match ask {
            ASK_RECORD => Self::Record(decode_key(reader)?),
            ASK_HAS => Self::Has(decode_key(reader)?),
            ASK_PAGE => {
                let (keyspace, query) = Self::read_page(reader)?;
                Self::Page(keyspace, query)
            }
            _ => return Err(reader.error("an ask to look")),
        })
    }

    fn write_page(keyspace: &Keyspace, query: &ListQuery, writer: &mut Writer) {
        writer.bytes(keyspace.as_str().as_bytes());
        writer.bytes(&query.prefix);
        writer.bytes(&query.after);
        writer.count(query.items_max());
    }

    fn read_page(reader: &mut Reader) -> Decoded<(Keyspace, ListQuery)> {
        let keyspace = read_keyspace(reader)?;
        let prefix = reader.bytes("a prefix")?;
        let after = reader.bytes("a cursor")?;
        let limit = reader.unsigned("a limit")?;
        let limit = usize::try_from(limit).map_err(|_| reader.error("a limit"))?;
        let query = ListQuery::new().prefix(prefix).after(after).limit(limit);
        if query.items_max() != limit {
            return Err(reader.error("a limit"));
        }
        Ok((keyspace, query))
    }
}

impl NodeFrame {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Alive => Bytes::from_static(&[ALIVE]),
            Self::Answer { id, tell } => {
                let mut writer = Writer::with_capacity(tell.weight());
                writer.byte(ANSWER);
                writer.unsigned(*id);
                tell.write(&mut writer);
                writer.finish()
            }
        }
    }

    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let frame = match reader.byte("a kind of frame")? {
            ALIVE => Self::Alive,
            ANSWER => {
                Self::Answer { id: reader.unsigned("an id")?, tell: Tell::read(&mut reader)? }
            }
            _ => return Err(reader.error("a kind of frame")),
        };
        reader.finish("the end of the frame")?;
        Ok(frame)
    }
}

impl Tell {
    /// Whether another answer to the same request may follow.
    pub const fn goes_on(&self) -> bool {
        matches!(self, Self::Watching { .. } | Self::Revision { .. } | Self::Chunk(_))
    }

    /// About how many bytes it takes encoded.
    pub fn weight(&self) -> usize {
        let of = |key: &QualifiedKey, record: Option<&Arc<Record>>| {
            SMALL + key.as_bytes().len() + record.map_or(0, |record| record.value.len())
        };
        SMALL
            + match self {
                Self::Record(Some((key, record))) => of(key, Some(record)),
                Self::Page(page) => {
                    page.items.iter().map(|(key, record)| of(key, Some(record))).sum()
                }
                Self::Revision { change, .. } => {
                    change.events.iter().map(|it| of(&it.key, it.record.as_ref())).sum()
                }
                Self::Chunk(bytes) => bytes.len(),
                Self::Status(_) => STATUS,
                Self::Labelled { tell, .. } => tell.weight(),
                Self::Shown(Some(shown)) => replica::weight(0, shown),
                Self::ShownPage(page) => {
                    let items = page.items.iter();
                    items.map(|(key, shown)| replica::weight(key.as_bytes().len(), shown)).sum()
                }
                _ => 0,
            }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Applied { applied, was_repeated } => {
                writer.byte(TELL_APPLIED);
                write_applied(writer, applied, *was_repeated);
            }
            Self::Record(found) => {
                writer.byte(TELL_RECORD);
                writer.byte(u8::from(found.is_some()));
                if let Some((key, record)) = found {
                    write_entry(writer, key, record);
                }
            }
            Self::Has(has) => {
                writer.byte(TELL_HAS);
                writer.byte(u8::from(*has));
            }
            Self::Page(page) => {
                writer.byte(TELL_PAGE);
                write_page(writer, page);
            }
            Self::Watching { epoch, revision } => {
                writer.byte(TELL_WATCHING);
                writer.fixed(*epoch);
                writer.unsigned(*revision);
            }
            Self::Revision { epoch, change } => {
                writer.byte(TELL_REVISION);
                writer.fixed(*epoch);
                writer.unsigned(change.revision);
                encode_events(writer, &change.events);
            }
            Self::Status(node) => {
                writer.byte(TELL_STATUS);
                status::write(writer, node);
            }
            Self::Changed(index) => {
                writer.byte(TELL_CHANGED);
                writer.unsigned(*index);
            }
            Self::TransferStarted => writer.byte(TELL_TRANSFER_STARTED),
            Self::Chunk(bytes) => {
                writer.byte(TELL_CHUNK);
                writer.bytes(bytes);
            }
            Self::BackupEnd { bytes, digest } => {
                writer.byte(TELL_BACKUP_END);
                writer.unsigned(*bytes);
                writer.fixed(*digest);
            }
            Self::Failed(failure) => {
                writer.byte(TELL_FAILED);
                write_failure(writer, failure);
            }
            Self::Shown(_) | Self::ShownPage(_) | Self::Stamped(_) => {
                self.write_of_replica(writer);
            }
            Self::Error(error) => {
                writer.byte(TELL_ERROR);
                write_error(writer, error);
            }
            Self::Labelled { seen: Seen { index, log_time, epoch }, tell } => {
                writer.byte(TELL_LABELLED);
                writer.unsigned(*index);
                writer.unsigned(log_time.0);
                writer.fixed(*epoch);
                tell.write(writer);
            }
        }
    }

    fn read(reader: &mut Reader) -> Decoded<Self> {
        Ok(match reader.byte("an answer")? {
            TELL_APPLIED => {
                let was_repeated = read_flag(reader)?;
                let index = reader.unsigned("an index")?;
                let log_time = UnixMillis(reader.unsigned("a log time")?);
                let applied = Applied { index, log_time, reply: decode_reply(reader)? };
                Self::Applied { applied, was_repeated }
            }
            tell @ (TELL_RECORD | TELL_HAS | TELL_PAGE) => Self::read_seen(tell, reader)?,
            TELL_LABELLED => {
                let index = reader.unsigned("an index")?;
                let log_time = UnixMillis(reader.unsigned("a log time")?);
                let seen = Seen { index, log_time, epoch: reader.fixed("an epoch")? };
                let tell = reader.byte("an answer")?;
                Self::Labelled { seen, tell: Box::new(Self::read_seen(tell, reader)?) }
            }
            TELL_WATCHING => Self::Watching {
                epoch: reader.fixed("an epoch")?,
                revision: reader.unsigned("a revision")?,
            },
            TELL_REVISION => {
                let epoch = reader.fixed("an epoch")?;
                let revision = reader.unsigned("a revision")?;
                let change = RevisionChange { revision, events: decode_events(reader)? };
                Self::Revision { epoch, change }
            }
            TELL_STATUS => Self::Status(Box::new(status::read(reader)?)),
            TELL_CHANGED => Self::Changed(reader.unsigned("an index")?),
            TELL_TRANSFER_STARTED => Self::TransferStarted,
            TELL_CHUNK => Self::Chunk(reader.bytes("a chunk")?),
            TELL_BACKUP_END => Self::BackupEnd {
                bytes: reader.unsigned("a length")?,
                digest: reader.fixed("a digest")?,
            },
            TELL_FAILED => Self::Failed(read_failure(reader)?),
            TELL_ERROR => Self::Error(read_error(reader)?),
            TELL_SHOWN => Self::Shown(replica::read_shown(reader)?),
            TELL_SHOWN_PAGE => Self::ShownPage(replica::read_shown_page(reader)?),
            TELL_STAMPED => Self::Stamped(Stamped::read(reader)?),
            _ => return Err(reader.error("an answer")),
        })
    }

    /// What was seen of the machine.
    fn read_seen(tell: u8, reader: &mut Reader) -> Decoded<Self> {
        Ok(match tell {
            TELL_RECORD => match read_flag(reader)? {
                false => Self::Record(None),
                true => Self::Record(Some(read_entry(reader)?)),
            },
            TELL_HAS => Self::Has(read_flag(reader)?),
            TELL_PAGE => {
                let has_more = read_flag(reader)?;
                let count = reader.count(12, "the number of entries")?;
                let items = (0..count).map(|_| read_entry(reader)).collect::<Decoded<_>>()?;
                Self::Page(MachinePage { items, has_more })
            }
            _ => return Err(reader.error("an answer to a look")),
        })
    }
}

/// Why no node would take a command from a client, if none would. A client asks itself, too: what it
/// sends is never refused for its form.
pub(super) fn refusal(command: &Command) -> Option<Failure> {
    let refused = |why: String| Some(Failure::without_effect(FailureReason::Refused(why)));
    match (&command.action, command.session) {
        (Action::OpenSession, None) => return None,
        (Action::Write { .. } | Action::Transact { .. }, Some(_)) => {}
        (Action::Write { .. } | Action::Transact { .. }, None) => {
            return refused("a write of a client carries the stamp of its session".to_owned());
        }
        (Action::OpenSession, Some(_)) => {
            return refused("a session is opened without the stamp of one".to_owned());
        }
        (Action::Advance, _) => {
            return refused("only a leader advances the log time".to_owned());
        }
    }
    let writes = command.action.writes();
    if writes.len() > TRANSACTION_OPERATIONS_MAX {
        let (length, max) = (writes.len(), TRANSACTION_OPERATIONS_MAX);
        return refused(format!("the transaction has {length} operations, the limit is {max}"));
    }
    if !matches!(command.action, Action::Transact { .. }) {
        return None;
    }
    let (mut keys, mut bytes) = (BTreeSet::new(), 0);
    for write in writes {
        let key = write.key();
        if !keys.insert(key) {
            return refused(format!("the key {key:?} occurs twice in the transaction"));
        }
        bytes += key.key().len();
        if let Write::Put { value, .. } = write {
            bytes += value.len();
        }
    }
    if bytes > TRANSACTION_BYTES_MAX {
        let max = TRANSACTION_BYTES_MAX;
        return refused(format!(
            "the transaction has {bytes} bytes of keys and values, the limit is {max}"
        ));
    }
    None
}

fn write_applied(writer: &mut Writer, applied: &Applied, was_repeated: bool) {
    let Applied { index, log_time, reply } = applied;
    writer.byte(u8::from(was_repeated));
    writer.unsigned(*index);
    writer.unsigned(log_time.0);
    encode_reply(writer, reply);
}

fn write_page(writer: &mut Writer, MachinePage { items, has_more }: &MachinePage) {
    writer.byte(u8::from(*has_more));
    writer.count(items.len());
    for (key, record) in items {
        write_entry(writer, key, record);
    }
}

fn write_entry(writer: &mut Writer, key: &QualifiedKey, record: &Record) {
    encode_key(writer, key);
    encode_record(writer, record);
}

fn read_entry(reader: &mut Reader) -> Decoded<(QualifiedKey, Arc<Record>)> {
    let key = decode_key(reader)?;
    let record = decode_record(reader, &key)?;
    Ok((key, Arc::new(record)))
}

fn write_failure(writer: &mut Writer, Failure { reason, outcome }: &Failure) {
    match reason {
        FailureReason::Timeout => writer.byte(REASON_TIMEOUT),
        FailureReason::NoLeader => writer.byte(REASON_NO_LEADER),
        FailureReason::Busy => writer.byte(REASON_BUSY),
        FailureReason::Refused(why) => {
            writer.byte(REASON_REFUSED);
            writer.bytes(why.as_bytes());
        }
        FailureReason::Stopped => writer.byte(REASON_STOPPED),
        FailureReason::NoNode(why) => {
            writer.byte(REASON_NO_NODE);
            writer.bytes(why.as_bytes());
        }
    }
    writer.byte(u8::from(*outcome == Outcome::Unknown));
}

fn read_failure(reader: &mut Reader) -> Decoded<Failure> {
    let reason = match reader.byte("a reason")? {
        REASON_TIMEOUT => FailureReason::Timeout,
        REASON_NO_LEADER => FailureReason::NoLeader,
        REASON_BUSY => FailureReason::Busy,
        REASON_REFUSED => FailureReason::Refused(read_text(reader, "a reason")?),
        REASON_STOPPED => FailureReason::Stopped,
        REASON_NO_NODE => FailureReason::NoNode(read_text(reader, "a reason")?),
        _ => return Err(reader.error("a reason")),
    };
    let outcome = if read_flag(reader)? { Outcome::Unknown } else { Outcome::None };
    Ok(Failure { reason, outcome })
}

fn write_error(writer: &mut Writer, error: &Error) {
    let kind = ErrorKind::ALL.iter().position(|kind| *kind == error.kind());
    writer.byte(kind.expect("all kinds are there") as u8);
    writer.bytes(error.message().as_bytes());
    let reason = error.detail("reason").and_then(Value::as_str);
    writer.byte(u8::from(reason.is_some()));
    if let Some(reason) = reason {
        writer.bytes(reason.as_bytes());
    }
}

fn read_error(reader: &mut Reader) -> Decoded<Error> {
    let kind = usize::from(reader.byte("a kind of error")?);
    let kind = *ErrorKind::ALL.get(kind).ok_or(reader.error("a kind of error"))?;
    let error = Error::new(kind, read_text(reader, "a message")?);
    Ok(match read_flag(reader)? {
        false => error,
        true => error.with_detail("reason", read_text(reader, "a reason")?),
    })
}

fn read_keyspace(reader: &mut Reader) -> Decoded<Keyspace> {
    let name = read_text(reader, "a keyspace")?;
    Keyspace::new(&name).map_err(|_| reader.error("a keyspace"))
}

pub(super) fn read_text(reader: &mut Reader, what: &'static str) -> Decoded<String> {
    let bytes = reader.bytes(what)?;
    String::from_utf8(bytes.into()).map_err(|_| reader.error(what))
}

pub(super) fn read_flag(reader: &mut Reader) -> Decoded<bool> {
    match reader.byte("a flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.error("a flag")),
    }
}

/// Room for what is not a key or a value.
const SMALL: usize = 48;
/// Room for a status.
const STATUS: usize = 4 << 10;

const ALIVE: u8 = 0;
const REQUEST: u8 = 1;
const CANCEL: u8 = 2;
const ANSWER: u8 = 1;

const ASK_WRITE: u8 = 0;
const ASK_RECORD: u8 = 1;
const ASK_HAS: u8 = 2;
const ASK_PAGE: u8 = 3;
const ASK_WATCH: u8 = 4;
const ASK_STATUS: u8 = 5;
const ASK_CHANGE: u8 = 6;
const ASK_TRANSFER: u8 = 7;
const ASK_BACKUP: u8 = 8;
const ASK_LABELLED: u8 = 9;
const ASK_REPLICA: u8 = 10;

const TELL_APPLIED: u8 = 0;
const TELL_RECORD: u8 = 1;
const TELL_HAS: u8 = 2;
const TELL_PAGE: u8 = 3;
const TELL_WATCHING: u8 = 4;
const TELL_REVISION: u8 = 5;
const TELL_STATUS: u8 = 6;
const TELL_CHANGED: u8 = 7;
const TELL_TRANSFER_STARTED: u8 = 8;
const TELL_CHUNK: u8 = 9;
const TELL_BACKUP_END: u8 = 10;
const TELL_FAILED: u8 = 11;
const TELL_ERROR: u8 = 12;
const TELL_LABELLED: u8 = 13;
const TELL_SHOWN: u8 = 14;
const TELL_SHOWN_PAGE: u8 = 15;
const TELL_STAMPED: u8 = 16;

const REASON_TIMEOUT: u8 = 0;
const REASON_NO_LEADER: u8 = 1;
const REASON_BUSY: u8 = 2;
const REASON_REFUSED: u8 = 3;
const REASON_STOPPED: u8 = 4;
const REASON_NO_NODE: u8 = 5;
