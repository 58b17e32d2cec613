//! Clients that call from elsewhere: what they ask is drawn here, and what they are told written down.
//!
//! They bring their own sessions, connections and watches: those of the shipped client. Where in the log
//! a write was executed is taken from the machines, as of all clients; under which identity it was sent
//! they tell as soon as they know, which may be after it was executed.

use plimsoll::check::history::{Delivery, Label, Outcome, Request};
use plimsoll::entry::{Change, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, KeyEvent, RevisionChange, SessionStamp};

use super::{Attempt, Clients};
use crate::choices::{Choices, Subject};
use crate::invariants::{Promise, Violation};
use crate::scenario::Plan;

/// An operation that is to be called.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub keyspace: Keyspace,
    pub request: Request,
    /// Of a write.
    pub action: Option<Action>,
    attempt: Attempt,
}

/// A watch of such a client.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// Unique in the history: a watch that begins anew is another one.
    pub id: u64,
    pub client: u8,
    pub keyspace: Keyspace,
    pub prefix: Vec<u8>,
    /// The last revision that it was handed, or after which it began.
    pub last: Option<Version>,
}

impl Operation {
    /// Its position in the history.
    pub const fn call(&self) -> u32 {
        self.attempt.call
    }
}

impl Clients {
    /// From now on some clients call from elsewhere. Gives the watches that are theirs.
    pub(crate) fn let_out(&mut self, clients: &[u8]) -> Vec<Watched> {
        self.outside = clients.iter().fold(0, |all, client| all | 1 << client);
        let is_out = |client: u8| clients.contains(&client);
        let theirs = self.watches.iter().filter(|watch| is_out(watch.client));
        theirs.map(super::watch::Watch::taken).collect()
    }

    /// Draws an operation of a client, and writes down that it is called.
    pub(crate) fn begin_outside(
        &mut self,
        index: u8,
        plan: &Plan,
        choices: &mut Choices,
    ) -> Operation {
        let client = &mut self.clients[usize::from(index)];
        client.operations += 1;
        let subject = Subject::Operation { client: index, n: client.operations };
        let drawn = self.draw(index, plan, &mut choices.natural(subject));
        let (request, action) = (drawn.request.clone(), drawn.action.clone());
        let keyspace = self.keys.keyspaces[drawn.keyspace].clone();
        let attempt = self.record(index, SOMEWHERE, drawn);
        self.outside_pending += 1;
        Operation { keyspace, request, action, attempt }
    }

    /// A write was sent under an identity. One that went out under several is of none.
    pub(crate) fn stamp_outside(&mut self, operation: &mut Operation, stamp: SessionStamp) {
        if operation.attempt.stamp.replace(stamp).is_none() {
            self.recorder.stamp(operation.call(), stamp);
        }
    }

    /// Its outcome is unknown for now.
    pub(crate) fn hold_outside(&mut self, operation: &Operation) {
        self.recorder.end(operation.call(), Outcome::Unknown, None);
    }

    /// It has ended. A read tells where it happened.
    pub(crate) fn end_outside(
        &mut self,
        operation: &Operation,
        outcome: Outcome,
        label: Option<Label>,
    ) {
        self.outside_pending -= 1;
        self.definite += u64::from(outcome != Outcome::Unknown);
        self.see(&operation.attempt, &outcome);
        self.recorder.end(operation.call(), outcome, label);
    }

    /// The answer to a write tells where it was executed: it must be where the machines executed it.
    ///
    /// # Errors
    /// If it was executed elsewhere, or nowhere.
    pub(crate) fn check_place(&self, operation: &Operation, told: Label) -> Result<(), Violation> {
        let label = self.recorder.history.calls[operation.call() as usize].label;
        if label == Some(told) {
            return Ok(());
        }
        let what =
            format!("{:?}: the answer says {told:?}, the machines {label:?}", operation.request);
        Err(TOLD_WHERE.broken(what))
    }

    /// A watch was handed a revision.
    pub(crate) fn deliver_outside(
        &mut self,
        watched: &mut Watched,
        epoch: u64,
        change: &RevisionChange,
    ) {
        let revision = Version::Numbered { epoch, revision: change.revision };
        let events = change.events.iter().map(KeyEvent::to_event).collect();
        self.recorder.deliver(Delivery {
            watch: watched.id,
            client: u32::from(watched.client),
            node: u32::from(SOMEWHERE),
            keyspace: watched.keyspace.clone(),
            prefix: watched.prefix.clone(),
            after: watched.last,
            delivered_at: 0,
            change: Change { revision, events },
        });
        watched.last = Some(revision);
    }

    /// A watch begins anew: as another one.
    pub(crate) fn renew_watch(&mut self, watched: &mut Watched) {
        (watched.id, watched.last) = (self.watch_ids, None);
        self.watch_ids += 1;
    }
}

/// Answers name the place of what was done.
const TOLD_WHERE: Promise = Promise {
    name: "told where",
    sentence: "the answer to a write tells where in the log it was executed first",
};

/// The node of a call that goes to whichever node the client is connected to.
const SOMEWHERE: u8 = u8::MAX;
