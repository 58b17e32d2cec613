//! Client sessions: the memory by which a command is executed at most once.
//!
//! A command carries (session, seq, low). The machine keeps the replies of the applied sequence
//! numbers from low on, and where each was executed, in a window of [`SESSION_REPLIES_MAX`], and
//! answers a repeat from them. A command below low, beyond the window, or of an unknown session is
//! refused and never executed: that the session is unknown may mean that the command was executed and
//! forgotten.
//!
//! Sessions are evicted by count, least recently used first, where every command that names a
//! session uses it. So eviction depends on the log alone. (Ongaro, "Consensus: Bridging Theory and
//! Practice", section 6.3.)
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::command::{Reason, Reply, SessionId, SessionStamp};
use super::digest::Digest;
use super::machine::Execution;
use super::wire::{decode_reply, encode_reply};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{CLIENT_SESSIONS_MAX, SESSION_REPLIES_MAX};
use crate::mutant::mutant;

/// One client session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientSession {
    /// The lowest sequence number that the client may still ask about.
    pub low: u64,
    /// The index of the last command that named the session.
    pub used_at: u64,
    /// The replies of the applied sequence numbers from `low` on.
    pub replies: OrdMap<u64, Executed>,
}

/// What is kept of a command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Executed {
    pub execution: Execution,
    pub reply: Reply,
}

/// What to do with a command of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Execute it and record the reply.
    Execute,
    /// It was executed before: answer this.
    Repeat(Executed),
    /// Refuse it.
    Refuse(Reason),
}

/// All client sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    sessions: OrdMap<SessionId, Arc<ClientSession>>,
    usage: OrdSet<(u64, SessionId)>,
    digest: Digest,
}

impl Sessions {
    /// Opens a session, evicting the least recently used one if there are too many.
    pub fn open(&mut self, id: SessionId) {
        self.replace(id, ClientSession { used_at: id.index, ..ClientSession::default() });
        if self.sessions.len() > CLIENT_SESSIONS_MAX {
            let (_, evicted) = self.usage.get_min().cloned().expect("there is a session");
            self.remove(evicted);
        }
    }

    /// Decides about the command at an index. Moves the session's window and marks it as used.
    pub fn admit(&mut self, index: u64, stamp: SessionStamp) -> Admission {
        let Some(session) = self.sessions.get(&stamp.session) else {
            if !mutant!("unknown session is opened silently") {
                return Admission::Refuse(Reason::SessionExpired);
            }
            self.open(stamp.session);
            return Admission::Execute;
        };
        let mut session = ClientSession::clone(session);
        if !mutant!("sessions are evicted by age") {
            session.used_at = index;
        }
        while session.low < stamp.low
            && session.replies.get_min().is_some_and(|(seq, _)| *seq < stamp.low)
        {
            let (seq, executed) = session.replies.get_min().cloned().expect("just seen");
            session.replies.remove(&seq);
            self.digest = self.digest.minus(reply_hash(stamp.session, seq, &executed));
        }
        session.low = session.low.max(stamp.low);
        let admission = decide(&session, stamp.seq);
        self.replace(stamp.session, session);
        admission
    }

    /// Keeps the reply of an executed command.
    pub fn record(&mut self, stamp: SessionStamp, executed: Executed) {
        let Some(session) = self.sessions.get_mut(&stamp.session) else { return };
        let session = Arc::make_mut(session);
        if mutant!("only the last reply is kept") {
            session.replies.clear();
        }
        self.digest = self.digest.plus(reply_hash(stamp.session, stamp.seq, &executed));
        let previous = session.replies.insert(stamp.seq, executed);
        debug_assert!(
            previous.is_none() || cfg!(feature = "mutants"),
            "a command is executed at most once"
        );
    }

    /// The sessions, in order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&SessionId, &Arc<ClientSession>)> {
        self.sessions.iter()
    }

    /// Puts back a session read from a snapshot.
    pub fn insert(&mut self, id: SessionId, session: ClientSession) {
        for (seq, executed) in &session.replies {
            self.digest = self.digest.plus(reply_hash(id, *seq, executed));
        }
        self.replace(id, session);
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The sum of the hashes of all sessions and their replies.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Sets a session whose replies the digest already covers.
    fn replace(&mut self, id: SessionId, session: ClientSession) {
        self.digest = self.digest.plus(session_hash(id, &session));
        self.usage.insert((session.used_at, id));
        let used_at = session.used_at;
        if let Some(old) = self.sessions.insert(id, Arc::new(session)) {
            self.digest = self.digest.minus(session_hash(id, &old));
            if old.used_at != used_at {
                self.usage.remove(&(old.used_at, id));
            }
        }
    }

    fn remove(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.usage.remove(&(session.used_at, id));
        self.digest = self.digest.minus(session_hash(id, &session));
        for (seq, executed) in &session.replies {
            self.digest = self.digest.minus(reply_hash(id, *seq, executed));
        }
    }
}

fn decide(session: &ClientSession, seq: u64) -> Admission {
    if let Some(executed) = session.replies.get(&seq)
        && !mutant!("repeated command is applied again")
    {
        return Admission::Repeat(executed.clone());
    }
    if seq < session.low && !mutant!("sequence below low is applied") {
        return Admission::Refuse(Reason::SequenceTooLow);
    }
    if seq.saturating_sub(session.low) >= SESSION_REPLIES_MAX
        && !mutant!("sequence numbers have no upper end")
    {
        return Admission::Refuse(Reason::SequenceTooHigh);
    }
    Admission::Execute
}

impl Executed {
    pub fn encode(&self, writer: &mut Writer) {
        writer.unsigned(self.execution.index);
        writer.unsigned(self.execution.log_time.0);
        encode_reply(writer, &self.reply);
    }

    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let index = reader.unsigned("where a command was executed")?;
        let log_time = UnixMillis(reader.unsigned("when a command was executed")?);
        let execution = Execution { index, log_time };
        Ok(Self { execution, reply: decode_reply(reader)? })
    }
}

/// Of all but the replies.
fn session_hash(id: SessionId, session: &ClientSession) -> Digest {
    let mut writer = Writer::with_capacity(40);
    writer.fixed(id.epoch);
    writer.unsigned(id.index);
    writer.unsigned(session.low);
    writer.unsigned(session.used_at);
    Digest::of(HASH_SESSION, writer.as_slice())
}

fn reply_hash(id: SessionId, seq: u64, executed: &Executed) -> Digest {
    let mut writer = Writer::with_capacity(64);
    writer.fixed(id.epoch);
    writer.unsigned(id.index);
    writer.unsigned(seq);
    executed.encode(&mut writer);
    Digest::of(HASH_REPLY, writer.as_slice())
}

const HASH_SESSION: u64 = 1;
const HASH_REPLY: u64 = 2;
