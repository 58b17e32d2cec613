//! What no machine writes is refused, although its digest is right: each row takes a sound state,
//! changes one thing, and says what the decoder must miss.
//!
//! The states are written by hand, part by part, so that they may be what no machine can become.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::*;
use crate::entry::{EventKind, Key, Version};
use crate::keyspace::Keyspace;
use crate::kv::entries::Record;
use crate::kv::history::KeyEvent;
use crate::kv::wire::encode_reply;
use crate::kv::{Execution, Reason, Refusal, Reply, Written};
use crate::limits::{
    HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX, REMOVALS_MAX, SESSION_REPLIES_MAX, TTL_MS_MAX,
    VALUE_BYTES_MAX,
};
use crate::value::Encoded;

/// A state as a snapshot spells it out: in any order, and as often as it likes.
#[derive(Clone)]
struct Parts {
    revision: u64,
    log_time: u64,
    entries: Vec<(QualifiedKey, Arc<Record>)>,
    sessions: Vec<Session>,
    compacted: u64,
    changes: Vec<Vec<KeyEvent>>,
}

#[derive(Clone)]
struct Session {
    id: SessionId,
    low: u64,
    used_at: u64,
    replies: Vec<(u64, Executed)>,
}

/// Four revisions, of which the first is no longer kept: `a` is of an earlier epoch, `b` was put
/// and expires, `c` was deleted and put again, `d` was removed.
fn sound() -> Parts {
    let written = |revision| Reply::Written(put_reply(revision, None));
    let refused = |reason| Reply::Refused(Refusal { reason, index: Some(1) });
    let replies = [
        (3, written(1)),
        (4, Reply::Transacted(vec![put_reply(2, Some(60)), Written::Checked])),
        (6, Reply::Advanced(REMOVALS_MAX)),
        (7, Reply::SessionOpened(session_id(9))),
        (8, refused(Reason::OtherVersion(version(OLD_EPOCH, 1)))),
        (2 + SESSION_REPLIES_MAX, refused(Reason::Absent)),
    ]
    .map(|(seq, reply)| (seq, executed(12, 50, reply)));
    Parts {
        revision: 4,
        log_time: 50,
        entries: vec![
            (key("a"), record("a", version(OLD_EPOCH, 1), None)),
            (key("b"), record("b", version(EPOCH, 2), Some(60))),
            (key("c"), record("c", version(EPOCH, 4), None)),
        ],
        sessions: vec![
            Session { id: session_id(5), low: 3, used_at: 12, replies: replies.into() },
            Session { id: session_id(9), low: 0, used_at: 9, replies: Vec::new() },
        ],
        compacted: 1,
        changes: vec![
            vec![put("b", 2, Some(60))],
            vec![remove(EventKind::Delete, "c"), remove(EventKind::Expire, "d")],
            vec![put("c", 4, None)],
        ],
    }
}

/// A change of one thing, and what is missed then.
type Row = (&'static str, fn(&mut Parts));

/// Of the scalars and the entries.
const ENTRY_ROWS: &[Row] = &[
    ("a revision that can go on", |parts| {
        *parts = Parts { revision: u64::MAX, compacted: u64::MAX, ..empty() };
    }),
    ("a revision that can go on", |parts| {
        *parts = Parts { revision: REVISION_MAX + 1, compacted: REVISION_MAX + 1, ..empty() };
    }),
    ("keys in order", |parts| parts.entries.swap(0, 1)),
    ("keys in order", |parts| parts.entries.insert(1, parts.entries[0].clone())),
    ("a version that was given", |parts| set_record(parts, 0, version(OLD_EPOCH, 5), None)),
    ("a version that was given", |parts| set_record(parts, 0, version(EPOCH, 5), None)),
    ("a version that was given", |parts| set_record(parts, 0, version(OLD_EPOCH, 0), None)),
    ("a deadline within a time to live", |parts| {
        set_record(parts, 0, version(EPOCH, 1), Some(50 + TTL_MS_MAX + 1));
    }),
    ("a deadline within a time to live", |parts| set_record(parts, 0, version(EPOCH, 1), Some(0))),
];

/// Of the client sessions.
const SESSION_ROWS: &[Row] = &[
    ("sessions in order", |parts| parts.sessions.swap(0, 1)),
    ("sessions in order", |parts| parts.sessions[1].id = session_id(5)),
    ("as many sessions as are kept", |parts| {
        let session =
            |index| Session { id: session_id(index), low: 0, used_at: index, replies: Vec::new() };
        parts.sessions = (1..=CLIENT_SESSIONS_MAX as u64 + 1).map(session).collect();
    }),
    ("a session of this epoch", |parts| parts.sessions[0].id.epoch = OLD_EPOCH),
    ("a session used after it was opened", |parts| parts.sessions[1].used_at = 8),
    ("a session used after it was opened", |parts| parts.sessions[1].low = 1),
    ("a session used after it was opened", |parts| {
        parts.sessions[1].replies.push((0, executed(9, 50, Reply::Advanced(0))));
    }),
    ("a session used after it was opened", |parts| {
        parts.sessions[1] =
            Session { id: session_id(u64::MAX), low: 1, used_at: u64::MAX, replies: Vec::new() };
    }),
    ("sequence numbers in order", |parts| parts.sessions[0].replies.swap(0, 1)),
    ("sequence numbers in order", |parts| parts.sessions[0].replies[1].0 = 3),
    ("a sequence number within the window", |parts| parts.sessions[0].low = 4),
    ("a sequence number within the window", |parts| parts.sessions[0].low = 2),
    ("a command executed since", |parts| parts.sessions[0].replies[0].1.execution.index = 5),
    ("a command executed since", |parts| parts.sessions[0].replies[0].1.execution.index = 13),
    ("a command executed since", |parts| {
        parts.sessions[0].replies[0].1.execution.log_time = UnixMillis(51);
    }),
    ("a version that was given", |parts| set_reply(parts, Reply::Written(put_reply(5, None)))),
    ("a version that was given", |parts| set_reply(parts, Reply::Written(put_reply(0, None)))),
    ("a version that was given", |parts| {
        set_reply(parts, refusal(Reason::Exists(version(OLD_EPOCH, 5)), None));
    }),
    ("a deadline within a time to live", |parts| {
        set_reply(parts, Reply::Written(put_reply(1, Some(50 + TTL_MS_MAX + 1))));
    }),
    ("one version for one command", |parts| {
        set_reply(parts, Reply::Transacted(vec![put_reply(1, None), put_reply(2, None)]));
    }),
    ("one version for one command", |parts| {
        let version = version(OLD_EPOCH, 1);
        set_reply(parts, Reply::Written(Written::Put { version, deadline: None }));
    }),
    ("as many removals as a command makes", |parts| {
        set_reply(parts, Reply::Advanced(REMOVALS_MAX + 1));
    }),
    ("a session opened through this one", |parts| {
        set_reply(parts, Reply::SessionOpened(session_id(5)));
    }),
    ("a session opened through this one", |parts| {
        set_reply(parts, Reply::SessionOpened(session_id(13)));
    }),
    ("a session opened through this one", |parts| {
        set_reply(parts, Reply::SessionOpened(SessionId { epoch: OLD_EPOCH, index: 9 }));
    }),
    ("operations counted from 1", |parts| set_reply(parts, refusal(Reason::Absent, Some(0)))),
    ("a refusal that is kept", |parts| set_reply(parts, refusal(Reason::SessionExpired, None))),
    ("a refusal that is kept", |parts| set_reply(parts, refusal(Reason::SequenceTooLow, None))),
    ("a refusal that is kept", |parts| set_reply(parts, refusal(Reason::SequenceTooHigh, None))),
];

/// Of the history, and of what it has to do with the entries.
const HISTORY_ROWS: &[Row] = &[
    ("a history up to the revision", |parts| parts.compacted = 2),
    ("a history up to the revision", |parts| parts.compacted = u64::MAX),
    ("a history within its limits", |parts| {
        let changes = vec![vec![remove(EventKind::Delete, "x")]; HISTORY_REVISIONS_MAX + 1];
        let revision = 1 + changes.len() as u64;
        *parts = Parts { revision, compacted: 1, changes, ..empty() };
    }),
    ("a history within its limits", |parts| {
        let value = Encoded::new(&vec![b'x'; VALUE_BYTES_MAX - 4].into()).unwrap();
        let large = |revision| {
            let record = Record::new(&key("b"), value.clone(), version(EPOCH, revision), None);
            vec![KeyEvent::put(key("b"), Arc::new(record))]
        };
        let revision = (HISTORY_BYTES_MAX / VALUE_BYTES_MAX) as u64;
        *parts = Parts { revision, changes: (1..=revision).map(large).collect(), ..empty() };
    }),
    ("a revision with an event", |parts| parts.changes[0].clear()),
    ("a write with the version of its revision", |parts| {
        parts.changes[2] = vec![put("c", 3, None)];
        set_record(parts, 2, version(EPOCH, 3), None);
    }),
    ("a write with the version of its revision", |parts| {
        let old = record("c", version(OLD_EPOCH, 4), None);
        parts.changes[2] = vec![KeyEvent::put(key("c"), Arc::clone(&old))];
        parts.entries[2].1 = old;
    }),
    ("a deadline within a time to live", |parts| {
        parts.changes[0].insert(0, put("b", 2, Some(50 + TTL_MS_MAX + 1)));
    }),
    ("a removal of what was there", |parts| {
        parts.changes[2].insert(0, remove(EventKind::Delete, "d"));
    }),
    ("a removal of what was there", |parts| {
        parts.changes[1].push(remove(EventKind::Expire, "b"));
        parts.entries.remove(1);
    }),
    ("a removal of what was there", |parts| {
        let changes = vec![vec![remove(EventKind::Delete, "x")]];
        *parts = Parts { revision: 1, changes, ..empty() };
    }),
    ("entries that the history has made", |parts| drop(parts.entries.remove(1))),
    ("entries that the history has made", |parts| {
        set_record(parts, 1, version(EPOCH, 2), Some(61));
    }),
    ("entries that the history has made", |parts| {
        parts.changes[2].push(remove(EventKind::Delete, "a"));
    }),
    ("a history of all that was written since it begins", |parts| {
        set_record(parts, 0, version(EPOCH, 3), None);
    }),
    ("a history of all that was written since it begins", |parts| {
        set_record(parts, 0, version(OLD_EPOCH, 3), None);
    }),
];

#[test]
fn what_no_machine_writes_is_refused() {
    for (number, (expected, change)) in
        ENTRY_ROWS.iter().chain(SESSION_ROWS).chain(HISTORY_ROWS).enumerate()
    {
        let mut parts = sound();
        change(&mut parts);
        let refusal = StateMachine::from_snapshot(parts.write()).map(drop).unwrap_err();
        assert_eq!(refusal.what, *expected, "row {number}");
    }
}

/// The state that the rows change is sound, and so are those at the very limits.
#[test]
fn what_a_machine_writes_is_taken() {
    let mut at_limits = sound();
    let session =
        |index| Session { id: session_id(index), low: 0, used_at: index, replies: Vec::new() };
    at_limits.sessions = (1..=CLIENT_SESSIONS_MAX as u64).map(session).collect();
    set_record(&mut at_limits, 0, version(EPOCH, 1), Some(50 + TTL_MS_MAX));
    let changes = vec![vec![put("b", 1, None)]];
    let entries = vec![(key("b"), record("b", version(EPOCH, 1), None))];
    let first = Parts { revision: 1, entries, changes, ..empty() };
    let last = Parts { revision: REVISION_MAX, compacted: REVISION_MAX, ..empty() };
    for parts in [sound(), at_limits, first, last, empty()] {
        let bytes = parts.write();
        let machine = StateMachine::from_snapshot(bytes.clone()).unwrap();
        assert_eq!(machine.snapshot(), bytes);
        assert_eq!(machine.digest(), machine.recomputed_digest());
    }
}

impl Parts {
    /// The snapshot, with the digest of a machine that is given the parts one by one.
    fn write(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(MAGIC);
        writer.byte(FORMAT_VERSION);
        writer.fixed(EPOCH);
        writer.unsigned(self.revision);
        writer.unsigned(self.log_time);
        writer.count(self.entries.len());
        for (key, record) in &self.entries {
            writer.bytes(key.as_bytes());
            encode_record(&mut writer, record);
        }
        writer.count(self.sessions.len());
        for session in &self.sessions {
            session.write(&mut writer);
        }
        writer.unsigned(self.compacted);
        writer.count(self.changes.len());
        for events in &self.changes {
            writer.count(events.len());
            for event in events {
                writer.byte(event.kind as u8);
                writer.bytes(event.key.as_bytes());
                if let Some(record) = &event.record {
                    encode_record(&mut writer, record);
                }
            }
        }
        writer.raw(&self.machine().digest().0.to_be_bytes());
        writer.finish()
    }

    fn machine(&self) -> StateMachine {
        let mut entries = Entries::default();
        for (key, record) in &self.entries {
            entries.insert(key, Arc::clone(record));
        }
        let mut sessions = Sessions::default();
        for Session { id, low, used_at, replies } in &self.sessions {
            let replies = replies.iter().cloned().collect();
            sessions.insert(*id, ClientSession { low: *low, used_at: *used_at, replies });
        }
        let mut history = History::after(self.compacted);
        for (events, before) in self.changes.iter().zip(self.compacted..=REVISION_MAX) {
            let change = RevisionChange { revision: before + 1, events: events.clone().into() };
            history.push(change);
        }
        let (revision, log_time) = (self.revision, UnixMillis(self.log_time));
        StateMachine { epoch: EPOCH, revision, log_time, entries, sessions, history }
    }
}

impl Session {
    fn write(&self, writer: &mut Writer) {
        writer.fixed(self.id.epoch);
        writer.unsigned(self.id.index);
        writer.unsigned(self.low);
        writer.unsigned(self.used_at);
        writer.count(self.replies.len());
        for (seq, reply) in &self.replies {
            writer.unsigned(*seq);
            writer.unsigned(reply.execution.index);
            writer.unsigned(reply.execution.log_time.0);
            encode_reply(writer, &reply.reply);
        }
    }
}

fn empty() -> Parts {
    Parts {
        revision: 0,
        log_time: 0,
        entries: Vec::new(),
        sessions: Vec::new(),
        compacted: 0,
        changes: Vec::new(),
    }
}

/// Gives an entry another version and deadline, but leaves its key.
fn set_record(parts: &mut Parts, place: usize, version: Version, deadline: Option<u64>) {
    let (key, stored) = &mut parts.entries[place];
    *stored = record(key.key(), version, deadline);
}

fn set_reply(parts: &mut Parts, reply: Reply) {
    parts.sessions[0].replies[0].1.reply = reply;
}

fn executed(index: u64, log_time: u64, reply: Reply) -> Executed {
    Executed { execution: Execution { index, log_time: UnixMillis(log_time) }, reply }
}

fn refusal(reason: Reason, index: Option<usize>) -> Reply {
    Reply::Refused(Refusal { reason, index })
}

fn put_reply(revision: u64, deadline: Option<u64>) -> Written {
    Written::Put { version: version(EPOCH, revision), deadline: deadline.map(UnixMillis) }
}

fn put(name: &str, revision: u64, deadline: Option<u64>) -> KeyEvent {
    KeyEvent::put(key(name), record(name, version(EPOCH, revision), deadline))
}

fn remove(kind: EventKind, name: &str) -> KeyEvent {
    KeyEvent::removal(kind, key(name))
}

fn record(name: &str, version: Version, deadline: Option<u64>) -> Arc<Record> {
    let value = Encoded::new(&name.into()).unwrap();
    Arc::new(Record::new(&key(name), value, version, deadline.map(UnixMillis)))
}

fn key(name: &str) -> QualifiedKey {
    QualifiedKey::new(&Keyspace::new("store").unwrap(), &Key::new(name).unwrap())
}

const fn session_id(index: u64) -> SessionId {
    SessionId { epoch: EPOCH, index }
}

const fn version(epoch: u64, revision: u64) -> Version {
    Version::Numbered { epoch, revision }
}

const EPOCH: u64 = 7;
const OLD_EPOCH: u64 = 6;
