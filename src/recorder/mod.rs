//! Recording a history: what clients asked and were told, with the labels that the machines give.
//!
//! A label comes from the machine that applied a command first. Every execution counts, also that of
//! a command whose client has given up; a second execution of one identity is written down too, so
//! that the checker sees it.
//!
//! Whoever runs nodes tells a [`Recorder`] of everything that they apply, and its clients what they
//! do: the simulators and `plimsoll demo` record so. Of clients that nobody records, one that is made
//! [`Recorder::with_others`] takes what they changed from the log, as calls of an unknown outcome.
//!
//! Whoever has its writes numbered by somebody else may learn an identity only after it was executed:
//! what was executed under an identity that no call has yet is kept until one has it.
//!
//! It judges nothing: that is [`crate::check`], which shares no code with it.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod answers;

use std::collections::BTreeMap;

use crate::check::history::{
    Call, CommandId, Delivery, History, Label, Outcome, Request, Upkeep, Work,
};
use crate::entry::{Operation, PutOptions};
use crate::keyspace::Keyspace;
use crate::kv::{Action, Reason, Refusal, Reply, SessionId, SessionStamp, Write};
use crate::raft::Applied;

/// Records a history, as long as it is in one place: it knows no clock, moments are counted.
#[derive(Debug, Default)]
pub struct Recorder {
    /// What is recorded.
    pub history: History,
    /// Grows with everything that is recorded: no two moments are the same.
    moment: u64,
    sessions: Vec<Session>,
    /// What was executed under identities that no call has yet.
    unclaimed: BTreeMap<(SessionId, u64), Vec<Executed>>,
    /// Of the machine that applied last.
    epoch: u64,
    takes_others: bool,
}

/// The calls of a session, by their sequence numbers.
#[derive(Debug)]
struct Session {
    id: SessionId,
    calls: BTreeMap<u64, Sent>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    call: u32,
    is_executed: bool,
}

/// One execution of a command.
#[derive(Clone, Copy, Debug)]
struct Executed {
    label: Label,
    has_changed: bool,
}

/// What became of a command that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// It is a command of a recorded client, executed for the first time.
    First,
    /// It was executed before.
    Repeat,
    /// It is of nobody who is recorded, or was refused without being executed.
    Other,
}

impl Recorder {
    /// One that also records what others change than the clients which tell it.
    #[must_use]
    pub fn with_others() -> Self {
        Self { takes_others: true, ..Self::default() }
    }

    /// A call is made; answers its position.
    ///
    /// # Panics
    /// If there are 2^32 calls already.
    pub fn call(&mut self, client: u8, node: u8, keyspace: &Keyspace, request: Request) -> u32 {
        let position = u32::try_from(self.history.calls.len()).expect("a short history");
        let called_at = self.tick();
        self.history.calls.push(Call {
            id: u64::from(position),
            client: u32::from(client),
            node: u32::from(node),
            keyspace: keyspace.clone(),
            request,
            command: None,
            called_at,
            returned_at: None,
            outcome: Outcome::Unknown,
            label: None,
        });
        position
    }

    /// A write is sent under an identity, or was.
    pub fn stamp(&mut self, call: u32, stamp: SessionStamp) {
        let session = match self.sessions.iter_mut().find(|s| s.id == stamp.session) {
            Some(session) => session,
            None => {
                self.sessions.push(Session { id: stamp.session, calls: BTreeMap::new() });
                self.sessions.last_mut().expect("just pushed")
            }
        };
        let before = session.calls.insert(stamp.seq, Sent { call, is_executed: false });
        debug_assert!(before.is_none(), "a number is one call's");
        self.history.calls[call as usize].command = Some(Box::new(command_id(stamp)));
        let earlier = self.unclaimed.remove(&(stamp.session, stamp.seq));
        for executed in earlier.into_iter().flatten() {
            self.executed(stamp, executed);
        }
    }

    /// A call ends.
    pub fn end(&mut self, call: u32, outcome: Outcome, label: Option<Label>) {
        let at = self.tick();
        let call = &mut self.history.calls[call as usize];
        call.returned_at = Some(at);
        call.outcome = outcome;
        call.label = call.label.or(label);
    }

    /// A command was applied for the first time anywhere.
    pub fn applied(&mut self, applied: &Applied, epoch: u64) -> Execution {
        self.epoch = epoch;
        let label = Label { index: applied.index, log_time: applied.log_time, epoch };
        let Some(stamp) = applied.command.session else {
            if applied.command.action == Action::Advance {
                self.history.upkeep.push(Upkeep { label, work: Work::Advance });
            }
            return Execution::Other;
        };
        if is_refused_unexecuted(&applied.outcome.reply) {
            return Execution::Other;
        }
        let has_changed = applied.outcome.change.is_some();
        if self.sent(stamp).is_none() {
            if self.takes_others {
                if has_changed {
                    self.take_other(&applied.command.action, stamp, label);
                }
            } else {
                let executed = Executed { label, has_changed };
                self.unclaimed.entry((stamp.session, stamp.seq)).or_default().push(executed);
            }
            return Execution::Other;
        }
        self.executed(stamp, Executed { label, has_changed })
    }

    /// A command was executed whose call is known.
    fn executed(
        &mut self,
        stamp: SessionStamp,
        Executed { label, has_changed }: Executed,
    ) -> Execution {
        let sent = self.sent(stamp).expect("its call is known");
        if sent.is_executed {
            if has_changed {
                let work = Work::Execute(command_id(stamp));
                self.history.upkeep.push(Upkeep { label, work });
            }
            return Execution::Repeat;
        }
        sent.is_executed = true;
        let call = sent.call;
        self.history.calls[call as usize].label = Some(label);
        Execution::First
    }

    /// Somebody's command that changed something: it was called at the latest now.
    fn take_other(&mut self, action: &Action, stamp: SessionStamp, label: Label) {
        let Some((keyspace, request)) = request_of(action) else { return };
        let call = self.call(OTHERS, 0, &keyspace, request);
        let call = &mut self.history.calls[call as usize];
        (call.command, call.label) = (Some(Box::new(command_id(stamp))), Some(label));
    }

    /// The epoch of the machine that applied last.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A machine went on in a new epoch.
    pub fn restored(&mut self, label: Label) {
        self.history.upkeep.push(Upkeep { label, work: Work::Restore });
    }

    /// A watch hands out a revision.
    pub fn deliver(&mut self, delivery: Delivery) {
        let delivered_at = self.tick();
        self.history.deliveries.push(Delivery { delivered_at, ..delivery });
    }

    fn sent(&mut self, stamp: SessionStamp) -> Option<&mut Sent> {
        let session = self.sessions.iter_mut().find(|session| session.id == stamp.session)?;
        session.calls.get_mut(&stamp.seq)
    }

    const fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

const fn command_id(stamp: SessionStamp) -> CommandId {
    CommandId { session: (stamp.session.epoch, stamp.session.index), seq: stamp.seq }
}

/// Whether a reply says that the command was not executed at all.
#[must_use]
pub const fn is_refused_unexecuted(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Refused(Refusal {
            reason: Reason::SessionExpired | Reason::SequenceTooLow | Reason::SequenceTooHigh,
            ..
        })
    )
}

/// What a client asked for that had an action proposed; none if it was none of its store.
fn request_of(action: &Action) -> Option<(Keyspace, Request)> {
    let keyspace = Keyspace::new(action.writes().first()?.key().keyspace()).ok()?;
    let request = match action {
        Action::Write { write: Write::Put { key, value, ttl, condition }, .. } => {
            let options = PutOptions { ttl: *ttl, condition: *condition };
            Request::put(key.to_key(), value.decode(), options)
        }
        Action::Write { write: Write::Delete { key, if_version }, .. } => {
            Request::delete(key.to_key(), *if_version)
        }
        _ => Request::transact(action.writes().iter().map(operation_of).collect()),
    };
    Some((keyspace, request))
}

fn operation_of(write: &Write) -> Operation {
    match write {
        Write::Put { key, value, ttl, condition } => Operation::Put {
            key: key.to_key(),
            value: value.decode(),
            options: PutOptions { ttl: *ttl, condition: *condition },
        },
        Write::Delete { key, if_version } => {
            Operation::Delete { key: key.to_key(), if_version: *if_version }
        }
        Write::Check { key, condition } => {
            Operation::Check { key: key.to_key(), condition: *condition }
        }
    }
}

/// The client of those calls that nobody records.
const OTHERS: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::verdict::{Verdict, judge};
    use crate::clock::UnixMillis;
    use crate::entry::{Condition, Key};
    use crate::kv::{Command, QualifiedKey, StateMachine};
    use crate::value::{Encoded, Value};

    const EPOCH: u64 = 7;

    /// A machine, the log before it, and a client of each kind.
    struct Run {
        machine: StateMachine,
        index: u64,
        recorder: Recorder,
    }

    impl Run {
        fn apply(&mut self, command: Command) -> Reply {
            self.index += 1;
            let log_time = UnixMillis(1_000 + self.index);
            let outcome = self.machine.apply(self.index, log_time, &command);
            let reply = outcome.reply.clone();
            let applied =
                Applied { index: self.index, term: 1, log_time, origin: None, command, outcome };
            self.recorder.applied(&applied, EPOCH);
            reply
        }

        fn open_session(&mut self) -> SessionId {
            match self.apply(Command::new(Action::OpenSession)) {
                Reply::SessionOpened(id) => id,
                other => panic!("{other:?}"),
            }
        }

        fn put(&mut self, session: SessionId, seq: u64, value: &str) -> Reply {
            let key = QualifiedKey::new(&keyspace(), &key());
            let value = Encoded::new(&Value::from(value)).expect("short");
            let write = Write::Put { key, value, ttl: None, condition: Condition::None };
            let stamp = SessionStamp { session, seq, low: 0 };
            let action = Action::Write { write, make_room: false };
            self.apply(Command { session: Some(stamp), action })
        }

        fn read(&mut self) {
            let request = Request::Entry(key());
            let call = self.recorder.call(1, 0, &keyspace(), request.clone());
            let outcome = answers::read(&self.machine, &keyspace(), &request);
            let label = answers::label(&self.machine, self.index);
            self.recorder.end(call, outcome, Some(label));
        }
    }

    fn keyspace() -> Keyspace {
        Keyspace::new("apps").expect("a good name")
    }

    fn key() -> Key {
        Key::new("k").expect("a good key")
    }

    fn run_with(recorder: Recorder) -> History {
        let mut run = Run { machine: StateMachine::new(EPOCH), index: 0, recorder };
        let (mine, theirs) = (run.open_session(), run.open_session());
        run.put(theirs, 0, "theirs");
        run.read();
        let options = PutOptions::default();
        let request = Request::put(key(), Value::from("mine"), options);
        let call = run.recorder.call(1, 0, &keyspace(), request.clone());
        run.recorder.stamp(call, SessionStamp { session: mine, seq: 0, low: 0 });
        let reply = run.put(mine, 0, "mine");
        let outcome = answers::written(&request, &reply).expect("it has a session");
        run.recorder.end(call, outcome, None);
        run.read();
        // Answered a second time, executed once.
        run.put(theirs, 0, "theirs");
        run.read();
        run.recorder.history
    }

    #[test]
    fn what_others_wrote_is_taken_from_the_log() {
        let history = run_with(Recorder::with_others());
        assert_eq!(history.calls.len(), 5);
        let Verdict::Linearizable(_) = judge(&history) else { panic!("{:?}", judge(&history)) };
    }

    #[test]
    fn an_identity_may_be_learned_after_it_was_executed() {
        let recorder = Recorder::default();
        let mut run = Run { machine: StateMachine::new(EPOCH), index: 0, recorder };
        let session = run.open_session();
        let request = Request::put(key(), Value::from("mine"), PutOptions::default());
        let call = run.recorder.call(1, 0, &keyspace(), request.clone());
        let reply = run.put(session, 0, "mine");
        run.put(session, 0, "mine");
        run.recorder.stamp(call, SessionStamp { session, seq: 0, low: 0 });
        let outcome = answers::written(&request, &reply).expect("it has a session");
        run.recorder.end(call, outcome, None);
        run.read();
        let history = run.recorder.history;
        assert_eq!(history.calls[0].label.map(|label| label.index), Some(2), "its first execution");
        let Verdict::Linearizable(_) = judge(&history) else { panic!("{:?}", judge(&history)) };
    }

    #[test]
    fn without_it_a_value_of_others_has_no_writer() {
        let history = run_with(Recorder::default());
        assert_eq!(history.calls.len(), 4);
        assert!(matches!(judge(&history), Verdict::Violated(_)), "{:?}", judge(&history));
    }
}
