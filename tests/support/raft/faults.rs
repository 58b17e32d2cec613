//! What can be done to a cluster beyond letting it run: messages that are picked, lost, doubled and
//! late, links that are cut, clocks that are off, disks that fail.
#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part of it")]

use plimsoll::raft::{Body, Envelope, Node, RaftId, Role};

use crate::cluster::Cluster;

/// Which messages: all that fit every part that is given.
#[derive(Clone, Debug, Default)]
pub struct Pick {
    pub from: Option<RaftId>,
    pub to: Option<RaftId>,
    /// As [`Body::kind`] tells it.
    pub kind: String,
}

impl Pick {
    pub fn kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    pub fn from(self, from: RaftId) -> Self {
        Self { from: Some(from), ..self }
    }

    pub fn to(self, to: RaftId) -> Self {
        Self { to: Some(to), ..self }
    }

    fn fits(&self, envelope: &Envelope) -> bool {
        self.from.is_none_or(|from| envelope.from == from)
            && self.to.is_none_or(|to| envelope.to == to)
            && (self.kind.is_empty() || envelope.body.kind() == self.kind)
    }
}

impl Cluster {
    /// Takes the messages under way that fit off the network.
    pub fn take(&mut self, pick: &Pick) -> Vec<Envelope> {
        self.take_some(pick, usize::MAX)
    }

    /// Takes so many of the messages that fit off the network, the oldest of each link first.
    pub fn take_some(&mut self, pick: &Pick, taken_max: usize) -> Vec<Envelope> {
        let mut taken = Vec::new();
        for queue in self.links.values_mut() {
            for envelope in std::mem::take(queue) {
                if taken.len() < taken_max && pick.fits(&envelope) {
                    taken.push(envelope);
                } else {
                    queue.push_back(envelope);
                }
            }
        }
        taken
    }

    /// Delivers messages, whatever became of their links; what they cause stays under way.
    pub fn hand_over(&mut self, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            let to = envelope.to;
            if self.hosts.contains_key(&to) {
                self.with(to, |node, now| node.handle_message(envelope, now));
            }
        }
    }

    /// Delivers the messages under way that fit; what they cause stays under way.
    pub fn deliver_only(&mut self, pick: &Pick) -> usize {
        let taken = self.take(pick);
        let count = taken.len();
        self.hand_over(taken);
        count
    }

    /// Puts a second copy of the messages that fit behind those under way.
    pub fn double(&mut self, pick: &Pick) -> usize {
        let mut count = 0;
        for queue in self.links.values_mut() {
            let copies: Vec<_> = queue.iter().filter(|e| pick.fits(e)).cloned().collect();
            count += copies.len();
            queue.extend(copies);
        }
        count
    }

    /// The messages under way, link by link.
    pub fn under_way(&self) -> impl Iterator<Item = &Envelope> {
        self.links.values().flatten()
    }

    /// Lets ticks pass at one node; nothing is delivered.
    pub fn tick_alone(&mut self, id: RaftId, ticks: u64) {
        for _ in 0..ticks {
            self.now_ms += self.options.tick_ms;
            self.with(id, Node::handle_tick);
        }
    }

    /// Lets a node's time pass until it asks for votes; what it says stays under way.
    pub fn campaign(&mut self, id: RaftId) {
        let asks = |envelope: &Envelope| {
            envelope.from == id && matches!(envelope.body.kind(), "vote" | "pre-vote")
        };
        for _ in 0..CAMPAIGN_TICKS_MAX {
            if self.under_way().any(asks) {
                return;
            }
            self.tick_alone(id, 1);
        }
        panic!("{id:?} does not campaign");
    }

    /// Loses all messages between a node and the others, in both directions.
    pub fn isolate(&mut self, id: RaftId) {
        let others: Vec<_> = self.hosts.keys().copied().filter(|other| *other != id).collect();
        others.into_iter().for_each(|other| self.part(id, other));
    }

    /// Loses all messages between two nodes, those under way too.
    pub fn part(&mut self, one: RaftId, other: RaftId) {
        for link in [(one, other), (other, one)] {
            self.cut.insert(link);
            self.links.remove(&link);
        }
    }

    /// Holds what is to be persisted by a node, or no longer.
    pub fn hold(&mut self, id: RaftId, is_held: bool) {
        let host = self.hosts.get_mut(&id).unwrap();
        (host.persists_at_once, host.saves_at_once) = (!is_held, !is_held);
        if !is_held {
            self.persist(id);
        }
    }

    /// The present leader: of several, that of the highest term.
    pub fn leader(&self) -> Option<RaftId> {
        let leads = |node: &&Node| node.role() == Role::Leader;
        let nodes = self.hosts.values().filter_map(|host| host.node.as_ref());
        nodes.filter(leads).max_by_key(|node| node.term()).map(|node| node.status().id)
    }

    /// Lets everyone's time pass until a node other than those given leads.
    pub fn until_led(&mut self, not_by: &[RaftId]) -> RaftId {
        for _ in 0..CAMPAIGN_TICKS_MAX {
            if let Some(leader) = self.leader().filter(|leader| !not_by.contains(leader)) {
                return leader;
            }
            self.tick(1, None);
        }
        panic!("nobody leads");
    }
}

/// One word for a message, and what matters of it.
pub fn show_message(envelope: &Envelope) -> String {
    let kind = envelope.body.kind();
    let details = match &envelope.body {
        Body::Raft(message) => {
            let (index, term) = (message.index, message.term);
            let verdict = if message.reject { "no" } else { "yes" };
            match kind {
                "append" => format!(
                    "term {term}, after {index}@{}, {} entries, commit {}",
                    message.log_term,
                    message.entries.len(),
                    message.commit
                ),
                "append-response" if message.reject => {
                    format!("term {term}, refused {index}, try {}", message.reject_hint)
                }
                "append-response" => format!("term {term}, has {index}"),
                "vote" | "pre-vote" => format!("term {term}, log {index}@{}", message.log_term),
                "vote-response" | "pre-vote-response" => format!("term {term}, {verdict}"),
                _ => format!("term {term}"),
            }
        }
        Body::Decline { why, .. } => format!("{why:?}"),
        Body::Chunk { offset, bytes, snapshot } => {
            format!("{} bytes at {offset} of {}", bytes.len(), snapshot.bytes)
        }
        Body::ChunkReceived { offset, snapshot } => format!("{offset} of {}", snapshot.bytes),
        Body::NotMember { index } => format!("as of {index}"),
        Body::Forward { .. } | Body::ForwardChange { .. } => String::new(),
    };
    let line = format!("n{} -> n{} {kind} {details}", envelope.from.0, envelope.to.0);
    line.trim_end().to_owned()
}

const CAMPAIGN_TICKS_MAX: u64 = 200;
