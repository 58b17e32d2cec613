//! Who is there: SWIM (Das, Gupta, Motivala: "SWIM: Scalable weakly-consistent infection-style process
//! group membership protocol", 2002), as the crate `foca` has it.
//!
//! Each node pings another one in each period, directly and then through others; who does not answer is
//! suspected, and down unless it objects in time. What is learnt travels with the pings. A node that was
//! taken for dead and is not comes back under a new renewal. What is down is told now and then that it
//! is, so that two halves of a network find each other again.
//!
//! **Invariant:** nothing here decides who is a member: it tells who was seen.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foca::{Config, Foca, NoCustomBroadcast, Notification, PeriodicParams, Runtime, Timer};

use super::peer::{Peer, PeerCodec};
use super::random::Random;
use crate::crdt::MemberId;
use crate::limits::{GOSSIP_PACKET_BYTES_MAX, GOSSIP_PEERS_MAX};

/// How a peer looks from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The peer, as it told of itself last.
    pub peer: Peer,
    /// Whether it answers, or has not been silent for long.
    pub is_up: bool,
    /// Since when that is so, on this node's monotonic clock.
    pub since_ms: u64,
}

/// SWIM, and what it has seen.
pub(super) struct Membership {
    foca: Foca<Peer, PeerCodec, Random, NoCustomBroadcast>,
    outside: Outside,
    random: Random,
    /// Addresses at which others may be.
    doors: Vec<Arc<str>>,
    knock_due_ms: u64,
    /// Packets that were none.
    malformed: u64,
}

/// What SWIM asks for.
#[derive(Default)]
struct Outside {
    now_ms: u64,
    timers: BTreeMap<(u64, u64), Timer<Peer>>,
    timers_made: u64,
    packets: VecDeque<(Peer, Bytes)>,
    sights: BTreeMap<MemberId, Sight>,
}

impl Membership {
    pub fn new(me: Peer, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let codec = PeerCodec { me: me.id };
        let foca = Foca::new(me, config(), Random::new(random.below(usize::MAX) as u64), codec);
        let (outside, doors) = (Outside::default(), Vec::new());
        Self { foca, outside, random, doors, knock_due_ms: 0, malformed: 0 }
    }

    /// Itself, as it tells others.
    pub fn me(&self) -> &Peer {
        self.foca.identity()
    }

    /// Addresses at which others may be: it knocks there while it sees nobody, and now and then.
    pub fn set_doors(&mut self, doors: impl IntoIterator<Item = Arc<str>>) {
        let own = &self.foca.identity().address;
        self.doors = doors.into_iter().filter(|door| door != own && !door.is_empty()).collect();
    }

    /// Takes a packet of another node.
    pub fn handle(&mut self, packet: &[u8], now_ms: u64) {
        self.outside.now_ms = now_ms;
        // A packet that is none changes nothing.
        if self.foca.handle_data(packet, &mut self.outside).is_err() {
            self.malformed += 1;
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now_ms: u64) {
        self.outside.now_ms = now_ms;
        while let Some(first) = self.outside.timers.first_entry()
            && first.key().0 <= now_ms
        {
            let timer = first.remove();
            if let Timer::RemoveDown(peer) = &timer {
                self.outside.forget(peer);
            }
            // It errs if it was called too late for a probe: then that is over, and the next one begins.
            _ = self.foca.handle_timer(timer, &mut self.outside);
        }
        if now_ms >= self.knock_due_ms {
            self.knock();
        }
    }

    /// What is to be sent, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(Peer, Bytes)> {
        self.outside.packets.pop_front()
    }

    /// When [`Membership::tick`] has something to do.
    pub fn due_ms(&self) -> u64 {
        let first = self.outside.timers.first_key_value().map(|((due_ms, _), _)| *due_ms);
        first.map_or(self.knock_due_ms, |due_ms| due_ms.min(self.knock_due_ms))
    }

    /// All that were seen in this life, in the order of their ids.
    pub fn sights(&self) -> impl Iterator<Item = &Sight> {
        self.outside.sights.values()
    }

    pub fn sight(&self, id: MemberId) -> Option<&Sight> {
        self.outside.sights.get(&id)
    }

    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Asks at a door whether anybody is there: often while nobody was seen.
    fn knock(&mut self) {
        let is_alone = !self.sights().any(|sight| sight.is_up);
        let period_ms = if is_alone { KNOCK_ALONE_MS } else { KNOCK_MS };
        self.knock_due_ms = self.outside.now_ms + period_ms;
        let doors = if is_alone { self.doors.len() } else { 1 };
        self.random.shuffle(&mut self.doors);
        for door in self.doors.iter().take(doors) {
            let to = Peer::at(door);
            self.foca.announce(to, &mut self.outside).expect("an announcement fits into a packet");
        }
    }
}

impl Outside {
    /// A peer has been down for so long that nobody speaks of it any more.
    fn forget(&mut self, peer: &Peer) {
        let is_down = |sight: &Sight| !sight.is_up && sight.peer == *peer;
        if self.sights.get(&peer.id).is_some_and(is_down) {
            self.sights.remove(&peer.id);
        }
    }
}

impl Runtime<Peer> for Outside {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        let (peer, is_up) = match notification {
            Notification::MemberUp(peer) => (peer, true),
            Notification::MemberDown(peer) => (peer, false),
            Notification::Rename(_, peer) => {
                if let Some(sight) = self.sights.get_mut(&peer.id) {
                    sight.peer = peer.clone();
                }
                return;
            }
            _ => return,
        };
        if self.sights.len() < GOSSIP_PEERS_MAX || self.sights.contains_key(&peer.id) {
            let sight = Sight { peer: peer.clone(), is_up, since_ms: self.now_ms };
            self.sights.insert(peer.id, sight);
        }
    }

    fn send_to(&mut self, to: Peer, packet: &[u8]) {
        self.packets.push_back((to, Bytes::copy_from_slice(packet)));
    }

    fn submit_after(&mut self, timer: Timer<Peer>, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).expect("timers are short");
        self.timers_made += 1;
        self.timers.insert((self.now_ms + after_ms, self.timers_made), timer);
    }
}

fn config() -> Config {
    let some = |count| NonZeroUsize::new(count).expect("it is not 0");
    let periodic = |every_ms, count| {
        Some(PeriodicParams {
            frequency: Duration::from_millis(every_ms),
            num_members: some(count),
        })
    };
    Config {
        probe_period: Duration::from_millis(PROBE_MS),
        probe_rtt: Duration::from_millis(PROBE_MS / 3),
        num_indirect_probes: some(3),
        max_transmissions: NonZeroU8::new(10).expect("it is not 0"),
        suspect_to_down_after: Duration::from_millis(SUSPICION_MS),
        remove_down_after: Some(FORGET),
        max_packet_size: some(GOSSIP_PACKET_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: periodic(20_000, 1),
        periodic_announce_to_down_members: periodic(5_000, 2),
        periodic_gossip: periodic(500, 2),
    }
}

/// How often another peer is asked whether it is there.
const PROBE_MS: u64 = 1_000;
/// How long a peer that does not answer has to object.
const SUSPICION_MS: u64 = 4_000;
/// After which time a peer that is down is forgotten.
const FORGET: Duration = Duration::from_hours(24);
/// How often it knocks at its doors, and how often while it sees nobody.
const KNOCK_MS: u64 = 10_000;
const KNOCK_ALONE_MS: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    /// A few nodes on a network that takes 10 ms and loses what is for, or from, who is cut off.
    struct Nodes {
        nodes: Vec<Option<Membership>>,
        under_way: VecDeque<(u64, u64, Bytes)>,
        now_ms: u64,
        cut_off: Vec<u64>,
    }

    fn address(id: u64) -> String {
        format!("host:{id}")
    }

    fn member(id: u64, start: u64) -> Membership {
        let me = Peer::new(MemberId(id), start, &address(id), Bytes::new());
        let mut membership = Membership::new(me, id);
        membership.set_doors([address(1).as_str().into()]);
        membership
    }

    impl Nodes {
        fn new(count: u64) -> Self {
            let nodes = (1..=count).map(|id| Some(member(id, 1))).collect();
            Self { nodes, under_way: VecDeque::new(), now_ms: 1_000, cut_off: Vec::new() }
        }

        fn run(&mut self, ms: u64) {
            for _ in 0..ms / 10 {
                self.now_ms += 10;
                for (id, to, packet) in std::mem::take(&mut self.under_way) {
                    let is_cut = self.cut_off.contains(&id) != self.cut_off.contains(&to);
                    let place = usize::try_from(to - 1).expect("small");
                    if let (false, Some(node)) = (is_cut, &mut self.nodes[place]) {
                        node.handle(&packet, self.now_ms);
                    }
                }
                for (id, node) in (1..).zip(&mut self.nodes) {
                    let Some(node) = node else { continue };
                    if node.due_ms() <= self.now_ms {
                        node.tick(self.now_ms);
                    }
                    while let Some((to, packet)) = node.poll_transmit() {
                        let to = to.address.strip_prefix("host:").expect("an address");
                        self.under_way.push_back((id, to.parse().expect("a number"), packet));
                    }
                }
            }
        }

        /// Who sees whom.
        fn seen(&self, id: usize) -> Vec<u64> {
            let node = self.nodes[id - 1].as_ref().expect("it is there");
            node.sights().filter(|sight| sight.is_up).map(|sight| sight.peer.id.0).collect()
        }
    }

    #[test]
    fn nodes_that_know_one_door_find_each_other_and_who_is_gone_is_missed() {
        let mut nodes = Nodes::new(5);
        nodes.run(5_000);
        for id in 1..=5 {
            let others: Vec<_> = (1..=5).filter(|other| *other != id as u64).collect();
            assert_eq!(nodes.seen(id), others, "{id}");
        }
        nodes.nodes[4] = None;
        nodes.run(20_000);
        assert_eq!(nodes.seen(2), [1, 3, 4]);
        let since_ms = nodes.nodes[1].as_ref().and_then(|node| node.sight(MemberId(5)));
        let sight = since_ms.expect("it was seen once");
        assert!(!sight.is_up && sight.since_ms > 6_000 && sight.since_ms < 26_000);
        nodes.nodes[4] = Some(member(5, 2));
        nodes.run(5_000);
        assert_eq!(nodes.seen(2), [1, 3, 4, 5]);
        let node = nodes.nodes[1].as_ref().expect("it is there");
        assert_eq!(node.sight(MemberId(5)).map(|sight| sight.peer.start), Some(2));
    }

    #[test]
    fn both_sides_of_a_cut_find_each_other_again() {
        let mut nodes = Nodes::new(5);
        nodes.run(5_000);
        nodes.cut_off = vec![4, 5];
        nodes.run(60_000);
        assert_eq!(nodes.seen(1), [2, 3]);
        assert_eq!(nodes.seen(5), [4]);
        nodes.cut_off.clear();
        nodes.run(30_000);
        for id in 1..=5 {
            assert_eq!(nodes.seen(id).len(), 4, "{id}");
        }
    }

    #[test]
    fn nonsense_changes_nothing_and_is_counted() {
        let mut node = member(1, 1);
        for packet in [&b""[..], b"x", &[0; 100]] {
            node.handle(packet, 5);
        }
        assert_eq!(node.malformed(), 3);
        assert_eq!(node.sights().count(), 0);
        assert!(node.poll_transmit().is_none());
    }
}
