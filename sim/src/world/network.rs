//! The network: directed links between nodes, each with its latency and its troubles.
//!
//! A link keeps its order, as a connection does; an overtaken message is a fault. Nothing is said of a
//! lost message. Nodes are counted from 0; a set of links is 64 bits, one for each of 8 by 8.

use std::collections::VecDeque;

use plimsoll::raft::{Envelope, Hello, RaftId};

use crate::faults::{Fault, FaultKind};

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// Between members.
    Member(Box<Envelope>),
    /// From or to a node that belongs to no cluster yet.
    Hello { to: RaftId, hello: Box<Hello> },
}

impl Letter {
    /// Whose it is.
    pub const fn from(&self) -> RaftId {
        match self {
            Self::Member(envelope) => envelope.from,
            Self::Hello { hello, .. } => hello.member.id,
        }
    }

    /// For whom it is.
    pub const fn to(&self) -> RaftId {
        match self {
            Self::Member(envelope) => envelope.to,
            Self::Hello { to, .. } => *to,
        }
    }
}

/// All links, and what travels on them.
#[derive(Debug)]
pub(crate) struct Network<L> {
    links: Vec<Link<L>>,
}

#[derive(Debug)]
struct Link<L> {
    /// Messages sent so far.
    sent: u32,
    /// When the last one arrives that keeps its order.
    last_us: u64,
    /// How many faults cut it at present.
    cuts: u32,
    /// How many faults hold its messages at present.
    clogs: u32,
    slow_us: u64,
    held: VecDeque<L>,
}

impl<L> Network<L> {
    pub fn new() -> Self {
        let link =
            || Link { sent: 0, last_us: 0, cuts: 0, clogs: 0, slow_us: 0, held: VecDeque::new() };
        Self { links: (0..64).map(|_| link()).collect() }
    }

    /// Counts a message of a link.
    pub fn count(&mut self, from: u8, to: u8) -> u32 {
        let link = self.link(from, to);
        link.sent += 1;
        link.sent
    }

    /// Whether messages of a link are lost.
    pub fn is_cut(&self, from: u8, to: u8) -> bool {
        self.links[place(from, to)].cuts > 0
    }

    /// Whether any link is cut.
    pub fn has_cuts(&self) -> bool {
        self.links.iter().any(|link| link.cuts > 0)
    }

    /// Holds a message if the link is clogged; else gives it back.
    pub fn hold(&mut self, from: u8, to: u8, letter: L) -> Option<L> {
        let link = self.link(from, to);
        if link.clogs == 0 {
            return Some(letter);
        }
        if link.held.len() < HELD_MAX {
            link.held.push_back(letter);
        }
        None
    }

    /// When a message arrives that takes so long; in order, or overtaken by later ones.
    pub fn arrival(&mut self, link: (u8, u8), now_us: u64, delay_us: u64, in_order: bool) -> u64 {
        let link = self.link(link.0, link.1);
        let at_us = now_us + delay_us + link.slow_us;
        if !in_order {
            return at_us;
        }
        link.last_us = link.last_us.max(at_us);
        link.last_us
    }

    /// When a message arrives that takes so long, once, twice or never; `fault` is what goes wrong with it.
    pub fn carry(
        &mut self,
        link: (u8, u8),
        letter: L,
        now_us: u64,
        delay_us: u64,
        fault: Option<Fault>,
    ) -> Vec<(u64, L)>
    where
        L: Clone,
    {
        let Some(fault) = fault else {
            return vec![(self.arrival(link, now_us, delay_us, true), letter)];
        };
        let late_us = delay_us + fault.amount.unsigned_abs();
        match fault.kind {
            FaultKind::Drop => Vec::new(),
            FaultKind::Duplicate => {
                let in_order_us = self.arrival(link, now_us, delay_us, true);
                let late_us = self.arrival(link, now_us, late_us, false);
                vec![(in_order_us, letter.clone()), (late_us, letter)]
            }
            _ => vec![(self.arrival(link, now_us, late_us, false), letter)],
        }
    }

    pub fn cut(&mut self, links: u64) {
        self.each(links, |link| link.cuts += 1);
    }

    pub fn uncut(&mut self, links: u64) {
        self.each(links, |link| link.cuts = link.cuts.saturating_sub(1));
    }

    pub fn clog(&mut self, links: u64) {
        self.each(links, |link| link.clogs += 1);
    }

    /// Ends a clog: what was held comes out, unless another clog holds it.
    pub fn unclog(&mut self, links: u64) -> Vec<L> {
        let mut released = Vec::new();
        self.each(links, |link| {
            link.clogs = link.clogs.saturating_sub(1);
            if link.clogs == 0 {
                released.extend(link.held.drain(..));
            }
        });
        released
    }

    pub fn slow(&mut self, links: u64, by_us: u64) {
        self.each(links, |link| link.slow_us += by_us);
    }

    pub fn unslow(&mut self, links: u64, by_us: u64) {
        self.each(links, |link| link.slow_us = link.slow_us.saturating_sub(by_us));
    }

    /// Ends all troubles; what was held comes out.
    pub fn heal(&mut self) -> Vec<L> {
        let mut released = Vec::new();
        for link in &mut self.links {
            (link.cuts, link.clogs, link.slow_us) = (0, 0, 0);
            released.extend(link.held.drain(..));
        }
        released
    }

    fn link(&mut self, from: u8, to: u8) -> &mut Link<L> {
        &mut self.links[place(from, to)]
    }

    fn each(&mut self, links: u64, mut change: impl FnMut(&mut Link<L>)) {
        for (place, link) in self.links.iter_mut().enumerate() {
            if links >> place & 1 == 1 {
                change(link);
            }
        }
    }
}

const fn place(from: u8, to: u8) -> usize {
    from as usize * 8 + to as usize
}

/// The set of one link.
#[must_use]
pub const fn link(from: u8, to: u8) -> u64 {
    1 << place(from, to)
}

/// The links from one group of nodes to another; groups are sets of bits.
#[must_use]
pub const fn links_between(from: u64, to: u64) -> u64 {
    let mut set = 0;
    let mut node = 0;
    while node < 8 {
        if from >> node & 1 == 1 {
            set |= (to & 0xff) << (node * 8);
        }
        node += 1;
    }
    set
}

/// Most messages that a clogged link holds; what is sent then is lost.
const HELD_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_their_order_and_may_be_cut_twice() {
        let mut network = Network::<()>::new();
        assert_eq!(network.arrival((0, 1), 10, 50, true), 60);
        assert_eq!(network.arrival((0, 1), 20, 5, true), 60, "behind the one before");
        assert_eq!(network.arrival((0, 1), 20, 5, false), 25, "overtakes it");
        assert_eq!(network.arrival((1, 0), 20, 5, true), 25, "another link");
        network.cut(link(0, 1));
        network.cut(link(0, 1) | link(2, 1));
        network.uncut(link(0, 1));
        assert!(network.is_cut(0, 1) && network.is_cut(2, 1) && !network.is_cut(1, 0));
        network.heal();
        assert!(!network.has_cuts());
    }

    #[test]
    fn groups_make_sets_of_links() {
        assert_eq!(links_between(0b001, 0b110), link(0, 1) | link(0, 2));
        assert_eq!(links_between(0b110, 0b001), link(1, 0) | link(2, 0));
    }
}
