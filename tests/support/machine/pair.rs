//! The machine and its specification, side by side: every step is taken by both and compared.

use std::fmt::Debug;

use bytes::Bytes;
use plimsoll::check::session::{Admission, Sessions};
use plimsoll::check::spec::{Profile, Spec};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, EventKind, Key, ListQuery, Operation, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{
    Action, Command, Execution, KeyRef, Outcome, Reason, Refusal, Reply, SessionId, SessionStamp,
    StateMachine, Written,
};
use plimsoll::limits::{CLIENT_SESSIONS_MAX, HISTORY_REVISIONS_MAX, REMOVALS_MAX};

use super::steps::{ActionStep, Call, KEYSPACES, SeqPick, SessionPick, Step};
use super::translate::{NAMES, keyspace, to_refusal, to_reply, to_revision, to_write, to_written};
use crate::explore::Recorder;
use crate::writes::{Versions, key, put, value};

/// What a step finds wrong.
pub type Verdict = Result<(), String>;

/// A machine, a twin that is never reloaded, and what must hold for both.
#[derive(Clone)]
pub struct Pair {
    machine: StateMachine,
    twin: StateMachine,
    spec: Spec,
    /// Replies, and where they were given first.
    sessions: Sessions<(Reply, Execution)>,
    /// The index of the last command.
    index: u64,
    stamp: u64,
    clients: Vec<Client>,
    versions: Versions,
    clones: Vec<(StateMachine, Bytes)>,
}

/// What a client remembers.
#[derive(Clone, Copy)]
struct Client {
    session: SessionId,
    next: u64,
    low: u64,
}

impl Pair {
    /// An empty machine.
    pub fn new() -> Self {
        Self {
            machine: StateMachine::new(EPOCH),
            twin: StateMachine::new(EPOCH),
            spec: Spec::new(Profile::MACHINE, EPOCH),
            sessions: Sessions::new(),
            index: 0,
            stamp: START,
            clients: Vec::new(),
            versions: Versions::default(),
            clones: Vec::new(),
        }
    }

    /// A machine at every limit on numbers: one more session evicts one, one more revision drops
    /// one, and soon more entries expire than one command removes.
    pub fn crowded() -> Result<Self, String> {
        let mut pair = Self::new();
        let recorder = &mut Recorder::default();
        let space = keyspace(0);
        for number in 0..HISTORY_REVISIONS_MAX {
            let put = if number < REMOVALS_MAX + 100 {
                put(Key::new(&format!("crowd/{number}")).unwrap(), value(0), 20, Condition::None)
            } else {
                put(key(0), value(0), 0, Condition::None)
            };
            pair.write(&space, &put, false, None, recorder)?;
        }
        for _ in 0..CLIENT_SESSIONS_MAX {
            pair.open_session(None, recorder)?;
        }
        Ok(pair)
    }

    /// Takes a step with both and compares.
    pub fn step(&mut self, step: &Step, recorder: &mut Recorder) -> Verdict {
        match step {
            Step::Crowded => {}
            Step::Command { stamp, call, action } => {
                self.stamp = self.stamp.saturating_add_signed(*stamp);
                let call = call.and_then(|call| self.session_stamp(call));
                self.command(action, call, recorder)?;
            }
            Step::List { keyspace, prefix, after, limit, ahead } => {
                let query = ListQuery::new().prefix(*prefix).after(*after).limit(*limit);
                let now = self.spec.time().after(*ahead);
                self.compare_page(now, *keyspace, &query, recorder)?;
                self.compare_entries(now)?;
            }
            Step::Changes { back } => {
                self.compare_changes(self.spec.revision().saturating_sub(*back), recorder)?;
            }
            Step::Reload { damage } => {
                refuse_damaged(self.machine.snapshot(), *damage)?;
                self.machine = reloaded(&self.machine)?;
                recorder.mark("a machine is reloaded from its snapshot");
            }
            Step::Restore => self.restore(recorder)?,
            Step::Clone => self.clones.push((self.machine.clone(), self.machine.snapshot())),
            Step::Fork { key, value } => self.fork(*key, *value)?,
        }
        // Readers may lag behind the log: then they read at its time.
        self.compare_entries(UnixMillis(0))?;
        self.compare_summary()
    }

    /// Compares everything, at the end of a sequence.
    pub fn finish(&self, recorder: &mut Recorder) -> Verdict {
        for keyspace in 0..KEYSPACES.len() {
            let mut query = ListQuery::new().limit(usize::MAX);
            while let Some(cursor) = self.compare_page(UnixMillis(0), keyspace, &query, recorder)? {
                query = query.after(cursor);
            }
        }
        for back in [20, HISTORY_REVISIONS_MAX, HISTORY_REVISIONS_MAX + 1] {
            let revision = self.spec.revision().saturating_sub(back as u64);
            self.compare_changes(revision, recorder)?;
        }
        reloaded(&self.machine)?;
        same("snapshots of twins", &self.machine.snapshot(), &self.twin.snapshot())?;
        same("recomputed digest", &self.machine.recomputed_digest(), &self.machine.digest())?;
        for (clone, snapshot) in &self.clones {
            same("the snapshot of a clone, later", &clone.snapshot(), snapshot)?;
            same("recomputed digest of a clone", &clone.recomputed_digest(), &clone.digest())?;
        }
        Ok(())
    }

    fn command(
        &mut self,
        action: &ActionStep,
        call: Option<SessionStamp>,
        recorder: &mut Recorder,
    ) -> Verdict {
        match action {
            ActionStep::Write { keyspace, write, make_room } => {
                let keyspace = self::keyspace(*keyspace);
                let operation = self.versions.operation(&self.spec, &keyspace, write);
                self.write(&keyspace, &operation, *make_room, call, recorder)
            }
            ActionStep::Transact { keyspace, writes, make_room } => {
                let keyspace = self::keyspace(*keyspace);
                let operations: Vec<_> = writes
                    .iter()
                    .map(|write| self.versions.operation(&self.spec, &keyspace, write))
                    .collect();
                self.transact(&keyspace, &operations, *make_room, call, recorder)
            }
            ActionStep::Advance => self.apply(Action::Advance, call, recorder, |pair, now| {
                Reply::Advanced(pair.spec.advance(now))
            }),
            ActionStep::OpenSession => self.open_session(call, recorder),
        }
    }

    fn write(
        &mut self,
        keyspace: &Keyspace,
        operation: &Operation,
        make_room: bool,
        call: Option<SessionStamp>,
        recorder: &mut Recorder,
    ) -> Verdict {
        let action = Action::Write { write: to_write(keyspace, operation), make_room };
        let operations = std::slice::from_ref(operation);
        self.apply(action, call, recorder, |pair, now| {
            match pair.commit(now, keyspace, operations, make_room) {
                Ok(written) => Reply::Written(written[0]),
                Err(refusal) => Reply::Refused(Refusal { index: None, ..refusal }),
            }
        })
    }

    fn transact(
        &mut self,
        keyspace: &Keyspace,
        operations: &[Operation],
        make_room: bool,
        call: Option<SessionStamp>,
        recorder: &mut Recorder,
    ) -> Verdict {
        let writes = operations.iter().map(|operation| to_write(keyspace, operation)).collect();
        self.apply(Action::Transact { writes, make_room }, call, recorder, |pair, now| {
            match pair.commit(now, keyspace, operations, make_room) {
                Ok(written) => Reply::Transacted(written),
                Err(refusal) => Reply::Refused(refusal),
            }
        })
    }

    fn open_session(&mut self, call: Option<SessionStamp>, recorder: &mut Recorder) -> Verdict {
        self.apply(Action::OpenSession, call, recorder, |pair, _| {
            let session = SessionId { epoch: pair.spec.epoch(), index: pair.index };
            pair.sessions.open((session.epoch, session.index));
            pair.clients.push(Client { session, next: 1, low: 0 });
            Reply::SessionOpened(session)
        })
    }

    /// Applies a command to the machines; `execute` says what becomes of it where the session lets
    /// it through.
    fn apply(
        &mut self,
        action: Action,
        call: Option<SessionStamp>,
        recorder: &mut Recorder,
        execute: impl FnOnce(&mut Self, UnixMillis) -> Reply,
    ) -> Verdict {
        self.index += 1;
        let command = Command { session: call, action };
        let stamp = UnixMillis(self.stamp);
        let outcome = self.machine.apply(self.index, stamp, &command);
        recorder.note(|| format!("{:?}", outcome.reply));
        same("reply of the twin", &self.twin.apply(self.index, stamp, &command), &outcome)?;

        let before = self.spec.revision();
        let now = self.spec.pass(stamp);
        let execution = Execution { index: self.index, log_time: now };
        let mut repeats = None;
        let expected = match call {
            None => execute(self, now),
            Some(SessionStamp { session, seq, low }) => {
                let session = (session.epoch, session.index);
                match self.sessions.admit(session, seq, low) {
                    Admission::Execute => {
                        let reply = execute(self, now);
                        self.sessions.record(session, seq, (reply.clone(), execution));
                        reply
                    }
                    Admission::Repeat((reply, first)) => {
                        repeats = Some(first);
                        recorder.mark("a repeated command is answered from memory");
                        reply
                    }
                    Admission::Refused(refused) => to_reply(refused),
                }
            }
        };
        same("reply", &outcome.reply, &expected)?;
        same("place of a repeated command", &outcome.repeats, &repeats)?;
        let after = Version::Numbered { epoch: self.spec.epoch(), revision: before };
        let made = self.spec.changes_after(after).map_err(|refusal| format!("{refusal:?}"))?;
        same("change", &outcome.change.as_ref().map(to_revision), &made.first().cloned())?;
        mark(&command, &outcome, recorder);
        Ok(())
    }

    /// What the specification makes of the writes of a command.
    fn commit(
        &mut self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
        make_room: bool,
    ) -> Result<Vec<Written>, Refusal> {
        let results = self.spec.commit(now, keyspace, operations, make_room).map_err(to_refusal)?;
        let written: Vec<_> = results.iter().map(to_written).collect();
        for (operation, written) in operations.iter().zip(&written) {
            if let Written::Put { version, .. } = written {
                self.versions.learn((keyspace.clone(), operation.key().clone()), *version);
            }
        }
        Ok(written)
    }

    fn restore(&mut self, recorder: &mut Recorder) -> Verdict {
        let epoch = self.spec.epoch() + 1;
        let restored =
            |machine: &StateMachine| StateMachine::restore(machine.snapshot(), epoch).map_err(text);
        self.machine = restored(&self.machine)?;
        self.twin = restored(&self.twin)?;
        self.spec.restore(epoch);
        self.sessions.clear();
        recorder.mark("a machine is restored in a new epoch");
        Ok(())
    }

    /// States that differ in one thing only have different snapshots and digests.
    fn fork(&self, key: usize, value: usize) -> Verdict {
        let space = keyspace(0);
        let write = |value: usize, ttl_ms: u64, session: Option<SessionStamp>| {
            let put =
                put(crate::writes::key(key), crate::writes::value(value), ttl_ms, Condition::None);
            Command {
                session,
                action: Action::Write { write: to_write(&space, &put), make_room: false },
            }
        };
        let mut commands = vec![
            write(value, 0, None),
            write(value, 1_000, None),
            write(value, 1_001, None),
            write(value + 1, 0, None),
        ];
        if let Some(&Client { session, next, .. }) = self.clients.last()
            && session.epoch == self.spec.epoch()
        {
            let call = |seq, low| Some(SessionStamp { session, seq, low });
            commands.push(write(value, 0, call(next, next)));
            commands.push(write(value, 0, call(next + 1, next)));
            commands.push(write(value, 0, call(next + 1, next + 1)));
        }
        let (mut digests, mut snapshots) = (Vec::new(), Vec::new());
        for command in commands {
            let mut machine = self.machine.clone();
            machine.apply(self.index + 1, UnixMillis(self.stamp), &command);
            let (digest, snapshot) = (machine.digest(), machine.snapshot());
            if digests.contains(&digest) || snapshots.contains(&snapshot) {
                return Err(format!("{command:?} makes a state like another one's"));
            }
            digests.push(digest);
            snapshots.push(snapshot);
        }
        Ok(())
    }

    /// The identity under which a command arrives; none while no session was opened.
    fn session_stamp(&mut self, call: Call) -> Option<SessionStamp> {
        let place = match call.session {
            SessionPick::Newest(back) => self.clients.len().checked_sub(back + 1)?,
            SessionPick::Oldest(place) => place,
            SessionPick::Unknown => {
                let session = SessionId { epoch: self.spec.epoch() ^ 1, index: self.index };
                return Some(SessionStamp { session, seq: 1, low: 0 });
            }
        };
        let client = self.clients.get_mut(place)?;
        let seq = match call.seq {
            SeqPick::Next => client.next,
            SeqPick::Below(back) => client.next.saturating_sub(back),
            SeqPick::Above(gap) => client.next + gap,
        };
        // A client that has skipped far ahead still asks about what it left out.
        if seq < client.next + 4 {
            client.next = client.next.max(seq + 1);
        }
        if let Some(back) = call.low {
            client.low = client.next.saturating_sub(back);
        }
        Some(SessionStamp { session: client.session, seq, low: client.low })
    }

    fn compare_entries(&self, now: UnixMillis) -> Verdict {
        for name in NAMES.iter() {
            let record = self.machine.get(KeyRef::new(&name.0, &name.1), now);
            let found = record.map(|r| (r.value.decode(), r.version, r.deadline));
            let expected = self.spec.entry(now, name);
            let expected = expected.map(|e| (e.value, e.version, e.expires_at));
            same(&format!("entry of {}/{}", name.0, name.1), &found, &expected)?;
        }
        Ok(())
    }

    /// Compares a page; answers the cursor, if there are more.
    fn compare_page(
        &self,
        now: UnixMillis,
        keyspace: usize,
        query: &ListQuery,
        recorder: &mut Recorder,
    ) -> Result<Option<String>, String> {
        let page = self.machine.list(KEYSPACES[keyspace], query, now);
        let expected = self.spec.list(now, &self::keyspace(keyspace), query);
        let found: Vec<_> = page
            .items
            .iter()
            .map(|(key, r)| (key.keyspace(), key.to_key(), r.value.decode(), r.version, r.deadline))
            .collect();
        let items: Vec<_> = expected
            .items
            .into_iter()
            .map(|e| (KEYSPACES[keyspace], e.key, e.value, e.version, e.expires_at))
            .collect();
        same("page", &found, &items)?;
        same("has_more", &page.has_more, &expected.has_more)?;
        if expected.has_more {
            recorder.mark("a page is followed by another");
        }
        Ok(expected.has_more.then_some(expected.cursor))
    }

    fn compare_changes(&self, revision: u64, recorder: &mut Recorder) -> Verdict {
        let found = self.machine.changes_after(revision);
        let found = found.map(|changes| changes.map(to_revision).collect::<Vec<_>>());
        let version = Version::Numbered { epoch: self.spec.epoch(), revision };
        let expected = self.spec.changes_after(version).ok();
        if expected.is_none() {
            recorder.mark("changes are no longer known");
        }
        same(&format!("changes after {revision}"), &found, &expected)
    }

    fn compare_summary(&self) -> Verdict {
        let (machine, spec) = (&self.machine, &self.spec);
        let deadlines = spec.deadlines();
        same("revision", &machine.revision(), &spec.revision())?;
        same("epoch", &machine.epoch(), &spec.epoch())?;
        same("log time", &machine.log_time(), &spec.time())?;
        same("len", &machine.len(), &spec.len())?;
        same("entries with a deadline", &machine.expiring_len(), &deadlines.len())?;
        same("next deadline", &machine.next_deadline(), &deadlines.first().copied())?;
        same("sessions", &machine.sessions_len(), &self.sessions.len())?;
        same("digests of twins", &machine.digest(), &self.twin.digest())?;
        if self.index.is_multiple_of(RECOMPUTED_EVERY) && self.sessions.len() < CLIENT_SESSIONS_MAX
        {
            same("recomputed digest", &machine.recomputed_digest(), &machine.digest())?;
        }
        Ok(())
    }
}

/// The machine that a snapshot makes: equal in every respect.
fn reloaded(machine: &StateMachine) -> Result<StateMachine, String> {
    let snapshot = machine.snapshot();
    let reloaded = StateMachine::from_snapshot(snapshot.clone()).map_err(text)?;
    same("snapshot of a reloaded machine", &reloaded.snapshot(), &snapshot)?;
    same("digest of a reloaded machine", &reloaded.digest(), &machine.digest())?;
    if reloaded == *machine { Ok(reloaded) } else { Err("a reloaded machine differs".to_owned()) }
}

fn refuse_damaged(snapshot: Bytes, damage: usize) -> Verdict {
    let bit = damage % (snapshot.len() * 8);
    let mut damaged = snapshot.to_vec();
    damaged[bit / 8] ^= 1 << (bit % 8);
    match StateMachine::from_snapshot(damaged.into()) {
        Err(_) => Ok(()),
        Ok(_) => Err(format!("WRONG: a snapshot damaged in bit {bit} is taken")),
    }
}

fn mark(command: &Command, outcome: &Outcome, recorder: &mut Recorder) {
    if let Reply::Refused(refusal) = &outcome.reply {
        recorder.mark(match refusal.reason {
            Reason::Exists(_) => "refused: the key exists",
            Reason::Absent => "refused: the key is absent",
            Reason::OtherVersion(_) => "refused: another version",
            Reason::SessionExpired => "refused: the session is unknown",
            Reason::SequenceTooLow => "refused: the number is too low",
            Reason::SequenceTooHigh => "refused: the number is too high",
        });
        if refusal.index.is_some_and(|index| index > 1) {
            recorder.mark("a transaction fails after its first operation");
        }
    }
    let expired = outcome.change.iter().flat_map(|change| &*change.events);
    let expired = expired.filter(|event| event.kind == EventKind::Expire).count();
    match command.action {
        Action::Advance if expired == REMOVALS_MAX => {
            recorder.mark("more entries expire than one command removes");
        }
        Action::Advance if expired > 0 => recorder.mark("an advance removes entries"),
        Action::Write { make_room, .. } | Action::Transact { make_room, .. } if expired > 0 => {
            recorder.mark(if make_room {
                "a write makes room"
            } else {
                "a write lands on an expired entry"
            });
        }
        _ => {}
    }
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(format!("WRONG {what}: found {found:?}\n      expected {expected:?}"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const EPOCH: u64 = 0xe0;

/// The first stamp: far enough from 0 that stamps can go back.
const START: u64 = 1_000;

/// Recomputing the digest takes time in proportion to the state.
const RECOMPUTED_EVERY: u64 = 4;
