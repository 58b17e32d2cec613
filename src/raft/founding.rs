//! Founding a cluster: exactly the expected nodes agree, once and durably, on who founds it.
//!
//! A node with an empty data directory tells every peer what it is: its cluster (none), its pledge.
//! When it sees exactly the expected number of nodes, none of which names a cluster, the one with
//! the lowest id pledges itself to a list (cluster, epoch, founders) and tells it. Whoever has no
//! pledge yet takes the same one. A pledge is durable before it is told, and never taken back. Once a
//! node has heard the same pledge from every founder, the cluster is founded: all of them start from
//! the same first snapshot.
//!
//! Its log time begins at the median of what the founders' clocks showed when the pledge was made:
//! right while fewer than half of them are wrong, whether or not the first leader can tell.
//!
//! Safety: a founder has pledged to one list only, and a list needs all of its founders, so no two
//! clusters are founded with a common founder. A node never pledges while a node that it can reach
//! names a cluster: it is to join that one.
//!
//! No liveness under split views: nodes that pledged to different lists wait for ever, and say so in
//! [`Founding::status`]; emptying their directories ends that.
//!
//! # The caller's contract
//! 1. [`Founding::handle_peer`] introduces those that may be reached; `handle_tick` comes regularly.
//! 2. What [`Founding::poll_save`] gives is made durable, then [`Founding::handle_saved`] follows.
//! 3. When [`Founding::founded`] gives a snapshot, that is saved first, then the identity with it;
//!    then [`Node::new`](super::Node::new) takes over. A node that is to join says so instead.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::identity::{Identity, Pledge};
use super::message::Member;
use super::state::found;
use super::{ClusterId, Now, RaftId};
use crate::clock::UnixMillis;
use crate::limits::RAFT_FOUNDERS_MAX;
use crate::mutant::mutant;
use crate::storage::SnapshotMeta;

/// A node that belongs to no cluster yet.
#[derive(Clone, Debug)]
pub struct Founding {
    own: Member,
    identity: Identity,
    expected: usize,
    /// What a pledge of this node would name: random, drawn by the caller.
    drawn: (ClusterId, u64),
    patience_ms: u64,
    peers: BTreeMap<RaftId, Peer>,
    /// A pledge that is not durable yet.
    unsaved: Option<Pledge>,
    saves: VecDeque<Identity>,
    transmits: VecDeque<(Member, Hello)>,
}

#[derive(Clone, Debug)]
struct Peer {
    member: Member,
    heard: Option<(u64, Hello)>,
}

/// What a node tells of itself before it belongs to a cluster, and to those that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub member: Member,
    /// Its cluster, if it belongs to one.
    pub cluster: Option<ClusterId>,
    /// Its durable pledge.
    pub pledge: Option<Pledge>,
    /// Its wall clock when it said so.
    pub wall: UnixMillis,
    /// Whether it takes part in founding a cluster: who only joins one is not counted.
    pub founds: bool,
}

/// How far the founding has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundingStatus {
    /// So many of the expected nodes are seen, this one included.
    Waiting {
        /// How many are seen.
        seen: usize,
    },
    /// This node has pledged; so many founders have said the same.
    Pledged {
        /// How many of them.
        agreed: usize,
    },
    /// Founders have pledged to different lists: this can't end well.
    Split,
    /// A cluster exists already: this node is to be added to it.
    Join {
        /// Which one.
        cluster: ClusterId,
        /// Who told.
        via: Member,
    },
}

impl Founding {
    /// A node that waits for `expected` nodes, itself included. Cluster id and epoch are random.
    ///
    /// # Panics
    /// If it expects none or more than [`RAFT_FOUNDERS_MAX`], or belongs to a cluster already.
    #[must_use]
    pub fn new(
        own: Member,
        identity: Identity,
        expected: usize,
        drawn: (ClusterId, u64),
        patience_ms: u64,
    ) -> Self {
        assert!((1..=RAFT_FOUNDERS_MAX).contains(&expected), "a cluster has founders");
        assert!(identity.cluster.is_none() && identity.id == own.id, "it belongs to no cluster");
        let (saves, transmits) = (VecDeque::new(), VecDeque::new());
        let (peers, unsaved) = (BTreeMap::new(), None);
        Self { own, identity, expected, drawn, patience_ms, peers, unsaved, saves, transmits }
    }

    /// A node that founds nothing, and waits until it sees a cluster.
    ///
    /// # Panics
    /// If it belongs to a cluster already.
    #[must_use]
    pub fn joining(own: Member, identity: Identity, patience_ms: u64) -> Self {
        let unused = (ClusterId(0), 0);
        Self { expected: 0, ..Self::new(own, identity, 1, unused, patience_ms) }
    }

    /// A node that may be reached.
    pub fn handle_peer(&mut self, member: Member) {
        if member.id != self.own.id {
            let heard = self.peers.remove(&member.id).and_then(|peer| peer.heard);
            self.peers.insert(member.id, Peer { member, heard });
        }
    }

    /// What another node tells of itself.
    pub fn handle_hello(&mut self, hello: Hello, now: Now) {
        if hello.member.id == self.own.id {
            return;
        }
        let member = hello.member.clone();
        let heard = Some((now.monotonic_ms, hello));
        self.peers.insert(member.id, Peer { member, heard });
        self.consider(now);
    }

    /// Lets time pass: says hello to everyone, and looks who is there.
    pub fn handle_tick(&mut self, now: Now) {
        self.consider(now);
        let hello = self.hello(now);
        for peer in self.peers.values() {
            self.transmits.push_back((peer.member.clone(), hello.clone()));
        }
    }

    /// The identity that was to be saved is durable.
    pub fn handle_saved(&mut self, now: Now) {
        if let Some(pledge) = self.unsaved.take() {
            self.identity.pledge = Some(pledge);
        }
        self.consider(now);
    }

    /// What this node tells of itself: for addresses where nobody was heard yet.
    #[must_use]
    pub fn hello(&self, now: Now) -> Hello {
        let (member, pledge) = (self.own.clone(), self.identity.pledge.clone());
        Hello { member, cluster: None, pledge, wall: now.wall, founds: self.expected > 0 }
    }

    /// The next hello to send.
    pub fn poll_transmit(&mut self) -> Option<(Member, Hello)> {
        self.transmits.pop_front()
    }

    /// The identity to make durable.
    pub fn poll_save(&mut self) -> Option<Identity> {
        self.saves.pop_front()
    }

    /// The identity and the first snapshot of the cluster, once every founder has pledged to it.
    #[must_use]
    pub fn founded(&self) -> Option<(Identity, SnapshotMeta, Bytes)> {
        let pledge = self.identity.pledge.as_ref()?;
        let is_early = mutant!("founded before all have pledged");
        let needed = if is_early { 1 } else { pledge.founders.len() };
        if self.agreed(pledge) < needed && self.founded_elsewhere(pledge).is_none() {
            return None;
        }
        let (meta, bytes) = found(pledge.cluster, pledge.epoch, pledge.at, &pledge.founders);
        let identity =
            Identity { cluster: Some(pledge.cluster), pledge: None, ..self.identity.clone() };
        Some((identity, meta, bytes))
    }

    /// How far it has come.
    #[must_use]
    pub fn status(&self, now: Now) -> FoundingStatus {
        if let Some(pledge) = &self.identity.pledge {
            let is_split = self
                .peers
                .values()
                .filter_map(|peer| peer.heard.as_ref())
                .any(|(_, hello)| hello.pledge.as_ref().is_some_and(|other| other != pledge));
            if is_split {
                return FoundingStatus::Split;
            }
            return FoundingStatus::Pledged { agreed: self.agreed(pledge) };
        }
        if let Some((cluster, via)) = self.cluster_in_sight(now) {
            return FoundingStatus::Join { cluster, via };
        }
        FoundingStatus::Waiting { seen: self.in_sight(now).len() }
    }

    /// Takes a pledge, if there is one to take.
    fn consider(&mut self, now: Now) {
        let has_pledged = self.identity.pledge.is_some() && !mutant!("second pledge is taken");
        if has_pledged || self.unsaved.is_some() || self.expected == 0 {
            return;
        }
        if self.cluster_in_sight(now).is_some() {
            return;
        }
        let offered = self.in_sight_hellos(now).find_map(|hello| {
            let pledge = hello.pledge.as_ref()?;
            pledge.founders.contains(&self.own).then(|| pledge.clone())
        });
        let Some(pledge) = offered.or_else(|| self.own_pledge(now)) else { return };
        self.saves.push_back(Identity { pledge: Some(pledge.clone()), ..self.identity.clone() });
        if mutant!("pledge told before it is durable") {
            self.identity.pledge = Some(pledge.clone());
        }
        self.unsaved = Some(pledge);
    }

    /// The pledge that this node begins: if it sees exactly the expected nodes and comes first.
    fn own_pledge(&self, now: Now) -> Option<Pledge> {
        let mut founders = self.in_sight(now);
        founders.sort_unstable();
        let comes_first = founders.first() == Some(&self.own);
        let (cluster, epoch) = self.drawn;
        let at = self.median_clock(now);
        let pledge = Pledge { cluster, epoch, at, founders };
        (comes_first && pledge.founders.len() == self.expected).then_some(pledge)
    }

    /// The median of the clocks of everyone that is there; of two middle ones the lower.
    fn median_clock(&self, now: Now) -> UnixMillis {
        let others = self
            .in_sight_heard(now)
            .filter(|(_, hello)| hello.founds)
            .map(|(heard_ms, hello)| hello.wall.after(now.monotonic_ms.saturating_sub(*heard_ms)));
        let mut clocks: Vec<_> = others.chain([now.wall]).collect();
        clocks.sort_unstable();
        clocks[(clocks.len() - 1) / 2]
    }

    fn in_sight_heard(&self, now: Now) -> impl Iterator<Item = &(u64, Hello)> {
        let oldest_ms = now.monotonic_ms.saturating_sub(self.patience_ms);
        let heard = self.peers.values().filter_map(|peer| peer.heard.as_ref());
        heard.filter(move |(heard_ms, _)| *heard_ms >= oldest_ms)
    }

    fn in_sight_hellos(&self, now: Now) -> impl Iterator<Item = &Hello> {
        self.in_sight_heard(now).map(|(_, hello)| hello)
    }

    /// Everyone that is there to found a cluster, this node included if it does.
    fn in_sight(&self, now: Now) -> Vec<Member> {
        let others = self.in_sight_hellos(now).filter(|hello| hello.founds);
        let own = (self.expected > 0).then(|| self.own.clone());
        others.map(|hello| hello.member.clone()).chain(own).collect()
    }

    fn cluster_in_sight(&self, now: Now) -> Option<(ClusterId, Member)> {
        self.in_sight_hellos(now)
            .find_map(|hello| hello.cluster.map(|cluster| (cluster, hello.member.clone())))
    }

    /// How many founders have pledged to it, as far as this node has heard: a pledge stays.
    fn agreed(&self, pledge: &Pledge) -> usize {
        let has_pledged = |founder: &&Member| {
            **founder == self.own
                || self
                    .peers
                    .get(&founder.id)
                    .and_then(|peer| peer.heard.as_ref())
                    .is_some_and(|(_, hello)| hello.pledge.as_ref() == Some(pledge))
        };
        pledge.founders.iter().filter(has_pledged).count()
    }

    /// A founder that belongs to the pledged cluster already had heard all pledges.
    fn founded_elsewhere(&self, pledge: &Pledge) -> Option<RaftId> {
        pledge.founders.iter().map(|founder| founder.id).find(|id| {
            let heard = self.peers.get(id).and_then(|peer| peer.heard.as_ref());
            heard.is_some_and(|(_, hello)| hello.cluster == Some(pledge.cluster))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE_MS: u64 = 1_000;

    fn now(ms: u64) -> Now {
        Now { monotonic_ms: ms, wall: UnixMillis(ms) }
    }

    fn member(number: u64) -> Member {
        Member { id: RaftId(number), name: format!("n{number}"), address: format!("a{number}") }
    }

    /// Nodes that found, with what is durable of each, under losses and restarts.
    struct Founders {
        nodes: BTreeMap<RaftId, Founding>,
        durable: BTreeMap<RaftId, Identity>,
        founded: BTreeMap<RaftId, ClusterId>,
        expected: usize,
        random: u64,
    }

    impl Founders {
        fn new(count: u64, expected: usize, seed: u64) -> Self {
            let mut founders = Self {
                nodes: BTreeMap::new(),
                durable: BTreeMap::new(),
                founded: BTreeMap::new(),
                expected,
                random: seed,
            };
            for number in 1..=count {
                founders.durable.insert(RaftId(number), Identity::new(RaftId(number)));
                founders.start(number, count);
            }
            founders
        }

        fn start(&mut self, number: u64, count: u64) {
            let id = RaftId(number);
            let drawn = (ClusterId(self.draw(u64::MAX)), self.draw(u64::MAX));
            let identity = self.durable[&id].clone();
            let mut node =
                Founding::new(member(number), identity, self.expected, drawn, PATIENCE_MS);
            (1..=count).for_each(|peer| node.handle_peer(member(peer)));
            self.nodes.insert(id, node);
        }

        fn draw(&mut self, below: u64) -> u64 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.random % below
        }

        /// A tick of every node; each message is lost with this chance in a hundred. Now and then a
        /// node ends before its pledge is durable, and starts again.
        fn tick(&mut self, ms: u64, lost_of_100: u64) {
            let ids: Vec<_> = self.nodes.keys().copied().collect();
            for id in ids {
                let ends = self.draw(8) == 0;
                let node = self.nodes.get_mut(&id).unwrap();
                node.handle_tick(now(ms));
                let hellos: Vec<_> = std::iter::from_fn(|| node.poll_transmit()).collect();
                match node.poll_save() {
                    Some(_) if ends => self.start(id.0, self.nodes.len() as u64),
                    Some(identity) => {
                        self.durable.insert(id, identity);
                        node.handle_saved(now(ms));
                    }
                    None => {}
                }
                if let Some((identity, ..)) = self.nodes[&id].founded() {
                    self.founded.insert(id, identity.cluster.unwrap());
                }
                for (to, mut hello) in hellos {
                    hello.cluster = self.founded.get(&id).copied();
                    if self.draw(100) >= lost_of_100
                        && let Some(receiver) = self.nodes.get_mut(&to.id)
                    {
                        receiver.handle_hello(hello, now(ms));
                    }
                }
            }
        }
    }

    /// Three nodes that expect three; answers how many have founded, and how many clusters.
    fn found_three(seed: u64) -> (usize, usize) {
        let mut founders = Founders::new(3, 3, seed);
        for tick in 0..200 {
            founders.tick(tick * 100, 40);
            if founders.draw(20) == 0 {
                let number = founders.draw(3) + 1;
                founders.start(number, 3);
            }
        }
        let clusters: std::collections::BTreeSet<_> = founders.founded.values().collect();
        (founders.founded.len(), clusters.len())
    }

    #[test]
    fn the_expected_nodes_found_one_cluster_whatever_is_lost() {
        for seed in 1..200 {
            assert_eq!(found_three(seed), (3, 1), "seed {seed}");
        }
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn every_mutant_is_caught() {
        for mutant in crate::mutant::FOUNDING {
            crate::mutant::set(Some(mutant));
            let is_caught = (1..200).any(|seed| found_three(seed) != (3, 1));
            crate::mutant::set(None);
            assert!(is_caught, "{mutant}");
        }
    }

    #[test]
    fn no_two_clusters_have_a_common_founder() {
        for seed in 1..200 {
            // Five nodes, each of which waits for three: views differ, and lists overlap.
            let mut founders = Founders::new(5, 3, seed);
            for tick in 0..100 {
                founders.tick(tick * 100, 70);
            }
            for (id, cluster) in &founders.founded {
                let pledge = founders.durable[id].pledge.as_ref().unwrap();
                assert_eq!(pledge.cluster, *cluster);
                for founder in &pledge.founders {
                    let other = founders.durable[&founder.id].pledge.as_ref();
                    assert_eq!(other, Some(pledge), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_node_that_only_joins_is_not_counted_and_founds_nothing() {
        let mut founders = Founders::new(4, 3, 7);
        let identity = founders.durable[&RaftId(1)].clone();
        let mut joining = Founding::joining(member(1), identity, PATIENCE_MS);
        (2..=4).for_each(|peer| joining.handle_peer(member(peer)));
        founders.nodes.insert(RaftId(1), joining);
        for tick in 0..20 {
            founders.tick(tick * 100, 0);
        }
        let ids: Vec<_> = founders.founded.keys().map(|id| id.0).collect();
        assert_eq!(ids, [2, 3, 4]);
        let status = founders.nodes[&RaftId(1)].status(now(2_000));
        assert!(matches!(status, FoundingStatus::Join { .. }), "{status:?}");
    }

    #[test]
    fn log_time_begins_at_the_median_of_the_founders_clocks() {
        let mut node =
            Founding::new(member(1), Identity::new(RaftId(1)), 4, (ClusterId(7), 8), PATIENCE_MS);
        for (number, wall) in [(2, 4_000), (3, 1_000_000), (4, 0)] {
            let hello = Hello {
                member: member(number),
                cluster: None,
                pledge: None,
                wall: UnixMillis(wall),
                founds: true,
            };
            node.handle_hello(hello, Now { monotonic_ms: 500, wall: UnixMillis(4_400) });
        }
        let pledge = node.poll_save().unwrap().pledge.unwrap();
        assert_eq!((pledge.at, pledge.founders.len()), (UnixMillis(4_000), 4));
        // Half a second after it was heard, the clock of n2 shows half a second more.
        let mut late =
            Founding::new(member(1), Identity::new(RaftId(1)), 2, (ClusterId(7), 8), PATIENCE_MS);
        let wall = UnixMillis(4_000);
        let hello = Hello { member: member(2), cluster: None, pledge: None, wall, founds: true };
        late.peers.insert(RaftId(2), Peer { member: member(2), heard: Some((0, hello)) });
        late.handle_tick(Now { monotonic_ms: 500, wall: UnixMillis(9_000) });
        assert_eq!(late.poll_save().unwrap().pledge.unwrap().at, UnixMillis(4_500));
    }

    #[test]
    fn a_node_that_sees_a_cluster_joins_it_instead() {
        let mut node =
            Founding::new(member(1), Identity::new(RaftId(1)), 1, (ClusterId(7), 8), PATIENCE_MS);
        let cluster = Some(ClusterId(5));
        node.handle_hello(
            Hello { member: member(2), cluster, pledge: None, wall: UnixMillis(0), founds: false },
            now(0),
        );
        node.handle_tick(now(100));
        assert_eq!(node.poll_save(), None);
        let via = member(2);
        let join = FoundingStatus::Join { cluster: ClusterId(5), via };
        assert_eq!(node.status(now(100)), join);
        node.handle_tick(now(2_000));
        assert!(node.poll_save().is_some(), "out of sight, it founds alone as it was told to");
    }
}
