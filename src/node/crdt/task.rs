//! The loop of the replicas: inputs into [`gossip::Node`](crate::gossip::Node), outputs to where they
//! belong.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Duration, sleep};

use super::handle::{CrdtFigures, Published, SpaceFigures};
use crate::clock::{Now, UnixMillis};
use crate::crdt::{MemberId, MemberList, Options, Refusal, Replica, Start, Written};
use crate::entry::Ttl;
use crate::gossip::{Node, Peer, Space};
use crate::kv::QualifiedKey;
use crate::node::options::NodeOptions;
use crate::value::Encoded;

/// What the task is given.
pub(in crate::node) enum Input {
    /// A write of this process or of a client.
    Write {
        space: Space,
        key: QualifiedKey,
        action: Action,
        answer: oneshot::Sender<Result<Written, Refusal>>,
    },
    /// Asks for the figures.
    Figures(oneshot::Sender<CrdtFigures>),
    /// Ends the task.
    Stop,
}

/// What a write does.
pub(in crate::node) enum Action {
    Put(Encoded, Option<Ttl>),
    Delete,
}

/// With what the task starts.
pub(in crate::node) struct Beginning {
    pub me: MemberId,
    /// The number of the start.
    pub start: u64,
    pub address: String,
    pub seed: u64,
}

pub(super) async fn run(
    options: NodeOptions,
    beginning: Beginning,
    mut inputs: mpsc::Receiver<Input>,
    published: watch::Sender<Published>,
) {
    let Beginning { me, start, address, seed } = beginning;
    let peer = Peer::new(me, start, &address, Bytes::new());
    let mut task =
        Task { node: Node::new(peer, seed), options, published, reserved: UnixMillis(0) };
    let list = MemberList { epoch: 0, members: BTreeSet::from([me]) };
    task.start(me, start, list);
    let mut batch = Vec::with_capacity(INPUTS_MAX);
    loop {
        let now_ms = task.now().monotonic_ms;
        let pause = Duration::from_millis(task.node.due_ms().saturating_sub(now_ms));
        tokio::select! {
            biased;
            count = inputs.recv_many(&mut batch, INPUTS_MAX) => {
                let is_stop = count == 0 || batch.iter().any(|input| matches!(input, Input::Stop));
                task.step(batch.drain(..));
                if is_stop {
                    task.published.send_modify(|it| it.stopped = Some("it was closed".to_owned()));
                    return;
                }
            }
            () = sleep(pause) => {
                let now = task.now();
                task.node.tick(now);
                task.drain();
                task.publish();
            }
        }
    }
}

struct Task {
    options: NodeOptions,
    node: Node,
    published: watch::Sender<Published>,
    reserved: UnixMillis,
}

impl Task {
    fn now(&self) -> Now {
        let monotonic_ms = self.options.monotonic.now().0;
        Now { monotonic_ms, wall: self.options.clock.now() }
    }

    fn start(&mut self, member: MemberId, number: u64, list: MemberList) {
        let now = self.now();
        for space in [Space::Volatile, Space::Durable] {
            let start = Start {
                member,
                number,
                members: list.clone(),
                reserved: self.reserved,
                is_durable: space == Space::Durable,
                options: Options::default(),
            };
            self.node.start(space, Replica::begin(start, None, Default::default()), now);
        }
        self.publish();
    }

    fn step(&mut self, inputs: impl Iterator<Item = Input>) {
        let now = self.now();
        self.reserve(now);
        let mut answers = Vec::new();
        for input in inputs {
            match input {
                Input::Write { space, key, action, answer } => {
                    let written = match action {
                        Action::Put(value, ttl) => self.node.put(space, &key, value, ttl, now),
                        Action::Delete => self.node.delete(space, &key, now),
                    };
                    answers.push((answer, written));
                }
                Input::Figures(answer) => {
                    _ = answer.send(self.figures(now));
                }
                Input::Stop => {}
            }
        }
        self.drain();
        self.publish();
        for (answer, written) in answers {
            _ = answer.send(written);
        }
    }

    fn reserve(&mut self, now: Now) {
        if let Some(until) = self.node.wanted_reservation(now) {
            self.reserved = until;
            self.node.reserve(until);
        }
    }

    fn drain(&mut self) {
        while let Some((number, _)) = self.node.poll_record() {
            let now = self.now();
            self.node.handle_durable(number, now);
        }
        while self.node.poll_transmit().is_some() {}
    }

    fn publish(&self) {
        let spaces = [Space::Volatile, Space::Durable].into_iter();
        let replicas =
            spaces.filter_map(|space| Some((space, self.node.replica(space)?.clone()))).collect();
        self.published.send_replace(Published { replicas, stopped: None });
    }

    fn figures(&self, now: Now) -> CrdtFigures {
        let of = |replica: &Replica| SpaceFigures {
            status: replica.status(),
            digest: replica.map().trie().root(),
        };
        let spaces = [Space::Volatile, Space::Durable].into_iter();
        CrdtFigures {
            spaces: spaces
                .filter_map(|space| Some((space, of(self.node.replica(space)?))))
                .collect(),
            sights: self.node.sights().cloned().collect(),
            monotonic_ms: now.monotonic_ms,
            reserved: self.reserved,
            malformed: self.node.malformed(),
        }
    }
}

/// How many inputs are one step.
const INPUTS_MAX: usize = 1_024;
