//! Watches: clients that follow changes, over ends of nodes and installed snapshots.
//!
//! A watch begins with a read, so that it never begins in the past, and then follows what its node
//! applies. When the stream ends, it goes on at another node after the last revision that it was
//! handed, out of the history that every machine keeps; if that is gone, it begins anew.

use plimsoll::check::history::Delivery;
use plimsoll::entry::{Change, Version};
use plimsoll::error::ErrorKind;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{RevisionChange, StateMachine};
use plimsoll::raft::{Request, RequestId, Response};

use super::table::{Cell, Ending, Method, Variant};
use crate::coverage::{Coverage, Mark};
use crate::world::Context;
use plimsoll::recorder::Recorder;

/// One client that watches.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Unique in the history: a watch that begins anew is another one.
    pub id: u64,
    pub client: u8,
    pub node: u8,
    keyspace: Keyspace,
    prefix: Vec<u8>,
    /// The last revision that it was handed: where it resumes.
    last: Option<Version>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ended,
    Beginning(RequestId),
    Following { revision: u64 },
}

impl Watch {
    pub const fn new(id: u64, client: u8, keyspace: Keyspace, prefix: Vec<u8>) -> Self {
        Self { id, client, node: 0, keyspace, prefix, last: None, state: State::Ended }
    }

    /// What it watches, for one who does so from elsewhere.
    #[cfg(madsim)]
    pub fn taken(&self) -> super::outside::Watched {
        let (keyspace, prefix) = (self.keyspace.clone(), self.prefix.clone());
        super::outside::Watched { id: self.id, client: self.client, keyspace, prefix, last: None }
    }

    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub fn end(&mut self) {
        self.state = State::Ended;
    }

    /// Whether a request is its own.
    pub fn waits_for(&self, request: RequestId) -> bool {
        self.state == State::Beginning(request)
    }

    /// Begins, or goes on, at a node.
    pub fn begin(&mut self, node: u8, patience_ms: u64, context: &mut Context<'_>) {
        self.node = node;
        self.state = State::Beginning(context.ask(node, Request::Read, patience_ms));
    }

    /// The read with which it begins has ended. Answers whether it has begun.
    pub fn begun(
        &mut self,
        response: &Response,
        recorder: &mut Recorder,
        fresh_id: &mut u64,
        context: &mut Context<'_>,
    ) -> bool {
        let variant = if self.last.is_some() { Variant::After } else { Variant::Plain };
        let mut count = |ending| {
            context.coverage.cell(Cell { method: Method::Watch, variant, ending });
        };
        if let Err(failure) = &response.result {
            count(Ending::Failed(failure.to_error().kind()));
            self.state = State::Ended;
            return false;
        }
        count(Ending::Done);
        let machine = context.machine(self.node).expect("it has just answered").clone();
        if let Some(last) = self.last {
            match resumable(&machine, last) {
                None => {
                    context.coverage.mark(Mark::WatchCompacted);
                    context.coverage.cell(Cell {
                        method: Method::Watch,
                        variant,
                        ending: Ending::Failed(ErrorKind::Invalid),
                    });
                    (self.last, self.id) = (None, *fresh_id);
                    *fresh_id += 1;
                }
                Some(changes) => {
                    context.coverage.mark(Mark::WatchResumed);
                    for change in changes {
                        self.hand_out(&change, machine.epoch(), recorder);
                    }
                }
            }
        }
        self.state = State::Following { revision: machine.revision() };
        true
    }

    /// Its node has made a revision.
    pub fn follow(&mut self, change: &RevisionChange, epoch: u64, recorder: &mut Recorder) {
        if let State::Following { revision } = &mut self.state
            && change.revision > *revision
        {
            *revision = change.revision;
            self.hand_out(change, epoch, recorder);
        }
    }

    fn hand_out(&mut self, change: &RevisionChange, epoch: u64, recorder: &mut Recorder) {
        let is_wanted = |event: &&plimsoll::kv::KeyEvent| {
            event.key.keyspace() == self.keyspace.as_str()
                && event.key.key().as_bytes().starts_with(&self.prefix)
        };
        let events: Vec<_> =
            change.events.iter().filter(is_wanted).map(plimsoll::kv::KeyEvent::to_event).collect();
        if events.is_empty() {
            return;
        }
        let revision = Version::Numbered { epoch, revision: change.revision };
        recorder.deliver(Delivery {
            watch: self.id,
            client: u32::from(self.client),
            node: u32::from(self.node),
            keyspace: self.keyspace.clone(),
            prefix: self.prefix.clone(),
            after: self.last,
            delivered_at: 0,
            change: Change { revision, events },
        });
        self.last = Some(revision);
    }

    pub fn count_refusal(&mut self, coverage: &mut Coverage) {
        let variant = if self.last.is_some() { Variant::After } else { Variant::Plain };
        let ending = Ending::Failed(ErrorKind::Unavailable);
        coverage.cell(Cell { method: Method::Watch, variant, ending });
        self.state = State::Ended;
    }
}

/// The changes after a revision, if the machine still has them all.
fn resumable(machine: &StateMachine, last: Version) -> Option<Vec<RevisionChange>> {
    match last {
        Version::Numbered { epoch, revision } if epoch == machine.epoch() => {
            Some(machine.changes_after(revision)?.cloned().collect())
        }
        _ => None,
    }
}
