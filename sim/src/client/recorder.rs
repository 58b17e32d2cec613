//! The history of a run: what clients asked and were told, with the labels that the machines give.
//!
//! A label comes from the machine that applied a command first. Every execution counts, also that of
//! a command whose client has given up; a second execution of one identity is written down too, so
//! that the checker sees it.

use plimsoll::check::history::{
    Call, CommandId, Delivery, History, Label, Outcome, Request, Upkeep, Work,
};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Reason, Reply, SessionId, SessionStamp};
use plimsoll::raft::Applied;

/// What is recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub history: History,
    /// Grows with everything that is recorded: no two moments are the same.
    moment: u64,
    sessions: Vec<Session>,
    /// Of the machine that applied last.
    epoch: u64,
}

/// The calls of a session, by their sequence numbers.
#[derive(Debug)]
struct Session {
    id: SessionId,
    calls: Vec<Sent>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    call: u32,
    is_executed: bool,
}

/// What became of a command that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Execution {
    First,
    Repeat,
    Other,
}

impl Recorder {
    /// A call is made; answers its position.
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

    /// A write is sent under an identity.
    pub fn stamp(&mut self, call: u32, stamp: SessionStamp) {
        let session = match self.sessions.iter_mut().find(|s| s.id == stamp.session) {
            Some(session) => session,
            None => {
                self.sessions.push(Session { id: stamp.session, calls: Vec::new() });
                self.sessions.last_mut().expect("just pushed")
            }
        };
        debug_assert_eq!(session.calls.len() as u64, stamp.seq, "numbers have no gaps");
        session.calls.push(Sent { call, is_executed: false });
        self.history.calls[call as usize].command = Some(Box::new(command_id(stamp)));
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
        let Some(sent) = self.sent(stamp) else { return Execution::Other };
        if sent.is_executed {
            if applied.outcome.change.is_some() {
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

    /// The epoch of the machine that applied last.
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
        session.calls.get_mut(usize::try_from(stamp.seq).ok()?)
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
pub(crate) const fn is_refused_unexecuted(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Refused(plimsoll::kv::Refusal {
            reason: Reason::SessionExpired | Reason::SequenceTooLow | Reason::SequenceTooHigh,
            ..
        })
    )
}
