//! The rules by tables, a line for what each is for; over random clusters; and with the deliberate bugs in
//! them, each of which some line notices.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::Wish;
use super::rules::{Reach, View, Wanted, was_removed};
use super::watch::Watch;
use crate::node::about::{Sighting, Sightings, Traits};
use crate::raft::MemberChange::{AddLearner, Demote, Move, Promote, Remove};
use crate::raft::{Member, MemberChange, RaftId, Reached};

/// A cluster as its leader sees it. At first its first node leads.
#[derive(Clone, Debug)]
struct Cluster {
    nodes: BTreeMap<RaftId, Host>,
    members: BTreeMap<RaftId, Member>,
    voters: BTreeSet<RaftId>,
    learners: BTreeSet<RaftId>,
    wanted: Wanted,
    is_settled: bool,
    leader: RaftId,
}

#[derive(Clone, Debug)]
struct Host {
    traits: Traits,
    is_known: bool,
    reach: Reach,
    asks: Option<Member>,
}

/// Somewhere to be.
fn member(id: u64) -> Member {
    Member { id: RaftId(id), name: format!("n{id}"), address: format!("host:{id}") }
}

const WELL: Reach = Reach { is_heard: true, is_caught_up: true, is_seen: true, away_ms: None };
const TIMEOUT_MS: u64 = 600_000;

const fn away(ms: u64) -> Reach {
    Reach { is_heard: false, is_caught_up: false, is_seen: false, away_ms: Some(ms) }
}

impl Cluster {
    /// Voters and standbys of these failure domains, `""` being none, under the ids from 1 on.
    fn new(voters: &[&str], standbys: &[&str]) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            members: BTreeMap::new(),
            voters: BTreeSet::new(),
            learners: BTreeSet::new(),
            wanted: Wanted { voters: voters.len(), standbys: 4, failure_timeout_ms: TIMEOUT_MS },
            is_settled: true,
            leader: RaftId(1),
        };
        for (id, domain) in (1..).zip(voters.iter().chain(standbys)) {
            cluster.host(id, domain);
            cluster.members.insert(RaftId(id), member(id));
            let is_voter = voters.len() as u64 >= id;
            let part = if is_voter { &mut cluster.voters } else { &mut cluster.learners };
            part.insert(RaftId(id));
        }
        cluster
    }

    fn host(&mut self, id: u64, domain: &str) -> &mut Host {
        let failure_domain = (!domain.is_empty()).then(|| domain.to_owned());
        let traits = Traits { is_eligible: true, priority: 100, failure_domain };
        let host = Host { traits, is_known: true, reach: WELL, asks: None };
        self.nodes.entry(RaftId(id)).or_insert(host)
    }

    fn with(mut self, id: u64, change: impl FnOnce(&mut Host)) -> Self {
        change(self.nodes.get_mut(&RaftId(id)).expect("it is there"));
        self
    }

    fn away(self, id: u64, ms: u64) -> Self {
        self.with(id, |host| host.reach = away(ms))
    }

    fn priority(self, id: u64, priority: i64) -> Self {
        self.with(id, |host| host.traits.priority = priority)
    }

    fn ineligible(self, id: u64) -> Self {
        self.with(id, |host| host.traits.is_eligible = false)
    }

    /// A node that is no member asks, or one that is tells where it is.
    fn asks(mut self, member: Member, domain: &str) -> Self {
        let id = member.id.0;
        self.host(id, domain).asks = Some(member);
        self
    }

    fn wanted(mut self, voters: usize, standbys: usize) -> Self {
        (self.wanted.voters, self.wanted.standbys) = (voters, standbys);
        self
    }

    fn unsettled(mut self) -> Self {
        self.is_settled = false;
        self
    }

    fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let own = &self.members[&self.leader];
        let wishes: Vec<_> = self.nodes.values().filter_map(Host::wish).collect();
        let known = self.nodes.iter().filter(|(_, host)| host.is_known);
        let traits = known.map(|(id, host)| (*id, host.traits.clone())).collect();
        let others = self.nodes.iter().filter(|(id, _)| self.members.contains_key(id));
        look(&View {
            own,
            voters: &self.voters,
            learners: &self.learners,
            members: &self.members,
            traits: &traits,
            reach: others.map(|(id, host)| (*id, host.reach)).collect(),
            wishes: wishes.iter().collect(),
            wanted: &self.wanted,
            is_settled: self.is_settled,
        })
    }

    fn next(&self) -> Vec<MemberChange> {
        self.look(|view| view.next()).map_or(Vec::new(), |step| step.changes)
    }

    /// Makes a change, and forgets those who are gone. A leader that is to be a learner hands over to
    /// another voter instead.
    fn apply(&mut self, changes: &[MemberChange]) {
        if changes.contains(&Demote(self.leader)) {
            let is_there = |id: &&RaftId| **id != self.leader && self.nodes[id].reach.is_heard;
            self.leader = *self.voters.iter().find(is_there).expect("another one is there");
            return;
        }
        for change in changes {
            let id = change.id();
            match change {
                AddLearner(member) => {
                    self.members.insert(id, member.clone());
                    self.learners.insert(id);
                }
                Move(member) => {
                    self.members.insert(id, member.clone());
                }
                Promote(_) => {
                    assert!(self.learners.remove(&id), "{id:?} is no learner");
                    self.voters.insert(id);
                }
                Demote(_) => {
                    assert!(self.voters.remove(&id), "{id:?} is no voter");
                    self.learners.insert(id);
                }
                Remove(_) => {
                    assert!(self.members.remove(&id).is_some(), "{id:?} is no member");
                    self.voters.remove(&id);
                    self.learners.remove(&id);
                    self.nodes.remove(&id);
                }
            }
        }
    }

    fn domains(&self) -> BTreeSet<&str> {
        self.voters
            .iter()
            .filter_map(|id| self.nodes[id].traits.failure_domain.as_deref())
            .collect()
    }

    fn has_majority(&self, half: &BTreeSet<RaftId>) -> bool {
        let heard = |id: &&RaftId| self.nodes.get(id).is_some_and(|host| host.reach.is_heard);
        half.iter().filter(heard).count() > half.len() / 2
    }
}

impl Host {
    fn wish(&self) -> Option<Wish> {
        let (member, traits) = (self.asks.clone()?, self.traits.clone());
        Some(Wish { member, traits, applied: 0 })
    }
}

/// What a leader does next in a cluster.
type Line = (&'static str, Cluster, Vec<MemberChange>);

fn id(id: u64) -> RaftId {
    RaftId(id)
}

fn lines() -> Vec<Line> {
    let places = [who_is_not_to_vote(), who_change_places()].concat();
    [whom_it_promotes(), whom_it_adds(), whom_it_removes(), places].concat()
}

fn whom_it_promotes() -> Vec<Line> {
    let plain = || Cluster::new(&["a", "b"], &["a", "a", "b"]).wanted(3, 4);
    let late = Reach { is_caught_up: false, ..WELL };
    vec![
        ("the smaller id", plain(), vec![Promote(id(3))]),
        ("the greater priority before it", plain().priority(4, 200), vec![Promote(id(4))]),
        (
            "a new failure domain before that",
            Cluster::new(&["a", "b"], &["a", "", "c"]).wanted(3, 4).priority(3, 200),
            vec![Promote(id(5))],
        ),
        (
            "none is no failure domain",
            Cluster::new(&["a", "b"], &["a", ""]).wanted(3, 4),
            vec![Promote(id(3))],
        ),
        ("not who is never to vote", plain().ineligible(3), vec![Promote(id(4))]),
        (
            "not who has said nothing",
            plain().with(3, |host| host.is_known = false),
            vec![Promote(id(4))],
        ),
        ("not who lags behind", plain().with(3, |host| host.reach = late), vec![Promote(id(4))]),
        ("not who is away", plain().away(3, 5_000), vec![Promote(id(4))]),
        ("nobody where there are enough", Cluster::new(&["", "", ""], &[""]), vec![]),
        (
            "who takes the place of its name, at once",
            Cluster::new(&["", "", ""], &[]).away(3, 4_000).asks(named(9, 3), "").learning(9),
            vec![Promote(id(9)), Remove(id(3))],
        ),
        (
            "not beside its predecessor",
            Cluster::new(&["", "", ""], &[])
                .wanted(5, 4)
                .asks(named(9, 3), "")
                .learning(9)
                .silent(9),
            vec![],
        ),
        (
            "not in the place of the leader",
            Cluster::new(&["", "", ""], &[]).asks(named(9, 1), "").learning(9),
            vec![],
        ),
    ]
}

fn whom_it_adds() -> Vec<Line> {
    let full = || Cluster::new(&["a", "b", "c"], &["a", "b"]).wanted(3, 2);
    vec![
        ("who asks", Cluster::new(&[""], &[]).asks(member(9), ""), vec![AddLearner(member(9))]),
        ("nobody where there is no room", full().asks(member(9), ""), vec![]),
        (
            "those that never vote take no room",
            full().ineligible(5).asks(member(9), ""),
            vec![AddLearner(member(9))],
        ),
        ("and need none", full().asks(member(9), "").ineligible(9), vec![AddLearner(member(9))]),
        (
            "who comes for the place of a voter",
            full().away(3, 4_000).asks(named(9, 3), ""),
            vec![AddLearner(named(9, 3))],
        ),
        (
            "who comes for the place of a standby",
            full().away(4, 4_000).asks(named(9, 4), ""),
            vec![Remove(id(4)), AddLearner(named(9, 4))],
        ),
        (
            "of several the one that would vote first",
            Cluster::new(&["a"], &[]).asks(member(8), "a").asks(member(9), "b"),
            vec![AddLearner(member(9))],
        ),
        (
            "who is elsewhere is moved before all that",
            Cluster::new(&["", "", ""], &[]).away(3, TIMEOUT_MS).asks(named(2, 7), ""),
            vec![Move(named(2, 7))],
        ),
        (
            "with room for voters there is room for standbys",
            Cluster::new(&["a"], &["a"])
                .wanted(3, 0)
                .with(2, |host| host.reach.is_caught_up = false)
                .asks(member(9), ""),
            vec![AddLearner(member(9))],
        ),
    ]
}

fn whom_it_removes() -> Vec<Line> {
    let plain = |standbys: &[&str]| Cluster::new(&["a", "b", "c"], standbys);
    let five = || Cluster::new(&["a", "b", "c", "d", "e"], &["a", "b"]);
    vec![
        ("nobody before the time", plain(&["a"]).away(3, TIMEOUT_MS - 1), vec![]),
        ("a voter alone, without a standby", plain(&[]).away(3, TIMEOUT_MS), vec![Remove(id(3))]),
        (
            "a voter, with a standby in its place",
            plain(&["a"]).away(3, TIMEOUT_MS),
            vec![Promote(id(4)), Remove(id(3))],
        ),
        (
            "the standby being of a failure domain that is gone with it, if there is one",
            plain(&["a", "c"]).away(3, TIMEOUT_MS),
            vec![Promote(id(5)), Remove(id(3))],
        ),
        (
            "no standby that is away itself",
            plain(&["a"]).away(3, TIMEOUT_MS).away(4, 4_000),
            vec![Remove(id(3))],
        ),
        (
            "no standby where there are voters enough",
            plain(&["a"]).wanted(2, 4).away(3, TIMEOUT_MS),
            vec![Remove(id(3))],
        ),
        (
            "nobody where two of three are away",
            plain(&["a", "b"]).away(2, 2 * TIMEOUT_MS).away(3, TIMEOUT_MS),
            vec![],
        ),
        (
            "not even a standby, then",
            plain(&["a"]).away(2, TIMEOUT_MS - 1).away(3, TIMEOUT_MS - 1).away(4, TIMEOUT_MS),
            vec![],
        ),
        (
            "of two in five the longer first",
            five().away(2, TIMEOUT_MS).away(4, 2 * TIMEOUT_MS),
            vec![Promote(id(6)), Remove(id(4))],
        ),
        ("a standby, which makes room", plain(&["a"]).away(4, TIMEOUT_MS), vec![Remove(id(4))]),
        (
            "nobody that gossip has not missed",
            plain(&["a"]).with(3, |host| host.reach = Reach { is_heard: false, ..WELL }),
            vec![],
        ),
    ]
}

fn who_is_not_to_vote() -> Vec<Line> {
    let plain = |standbys: &[&str]| Cluster::new(&["", "", ""], standbys);
    vec![
        ("becomes a learner", plain(&[]).ineligible(2), vec![Demote(id(2))]),
        (
            "with a standby in its place, if there is one",
            plain(&[""]).ineligible(3),
            vec![Promote(id(4)), Demote(id(3))],
        ),
        ("the leader last", plain(&[]).ineligible(1).ineligible(3), vec![Demote(id(3))]),
        ("but it too", plain(&[]).ineligible(1), vec![Demote(id(1))]),
        ("not if nobody may", plain(&[]).ineligible(1).ineligible(2).ineligible(3), vec![]),
        ("nor while a voter is away", plain(&[]).ineligible(2).away(3, 4_000), vec![]),
    ]
}

fn who_change_places() -> Vec<Line> {
    let doubled = || Cluster::new(&["a", "a", "a", "b"], &["c"]);
    vec![
        ("a voter of a doubled domain", doubled(), vec![Promote(id(5)), Demote(id(3))]),
        ("that of least priority", doubled().priority(2, 50), vec![Promote(id(5)), Demote(id(2))]),
        ("never the leader", doubled().priority(1, 50), vec![Promote(id(5)), Demote(id(3))]),
        ("nobody for a domain that is there", Cluster::new(&["a", "a", "b"], &["b"]), vec![]),
        ("nobody for none", Cluster::new(&["a", "a", "b"], &[""]), vec![]),
        ("nobody without failure domains", Cluster::new(&["", "", ""], &["a"]), vec![]),
        ("nobody while a voter is away", doubled().away(4, 4_000), vec![]),
        (
            "nobody while gossip misses one",
            doubled().with(4, |host| host.reach.is_seen = false),
            vec![],
        ),
        (
            "nobody while a voter has said nothing",
            doubled().with(4, |host| host.is_known = false),
            vec![],
        ),
        ("nobody soon after a change", doubled().unsettled(), vec![]),
        ("nobody for who is never to vote", doubled().ineligible(5), vec![]),
    ]
}

/// A node with the name of another one.
fn named(id: u64, name: u64) -> Member {
    Member { name: format!("n{name}"), ..member(id) }
}

impl Cluster {
    fn learning(mut self, id: u64) -> Self {
        let member = self.nodes[&RaftId(id)].asks.clone().expect("it asks");
        self.members.insert(RaftId(id), member);
        self.learners.insert(RaftId(id));
        self
    }

    fn silent(self, id: u64) -> Self {
        self.with(id, |host| host.asks = None)
    }
}

/// What a leader notices over time.
struct Time {
    watch: Watch,
    sightings: Option<Sightings>,
    now_ms: u64,
    term: u64,
}

const OTHER: RaftId = RaftId(2);

impl Time {
    /// A leader that begins; gossip has run for long, and sees the other one or not.
    fn new(is_up: bool) -> Self {
        let now_ms = 10_000_000;
        let mut time = Self { watch: Watch::default(), sightings: None, now_ms, term: 1 };
        time.gossip(is_up, 1_000);
        time
    }

    fn gossip(&mut self, is_up: bool, since_ms: u64) {
        let sighting = Sighting { address: "".into(), is_up, since_ms, about: None };
        let seen = [(OTHER, sighting)].into();
        self.sightings = Some(Sightings { since_ms: 500, seen });
    }

    /// Looks twice a second for so long. Gives since when the other one has been away.
    fn run(&mut self, ms: u64, is_active: bool) -> Option<u64> {
        let reached = [(OTHER, Reached { is_active, is_caught_up: is_active })].into();
        let none = BTreeSet::new();
        for _ in 0..ms / 500 {
            self.now_ms += 500;
            self.watch.look(self.term, [&none, &none, &none], &reached, self.now_ms);
        }
        self.watch.reach(self.sightings.as_ref(), self.now_ms)[&OTHER].away_ms
    }
}

/// What a leader notices, and what it should.
fn times() -> Vec<(&'static str, Option<u64>, Option<u64>)> {
    let after = |change: &dyn Fn(&mut Time) -> Option<u64>| change(&mut Time::new(false));
    vec![
        ("a new leader has not watched", after(&|time| time.run(10_000, false)), Some(9_500)),
        ("who answers is not away", after(&|time| time.run(10_000, true)), None),
        (
            "nor who has answered just now",
            after(&|time| {
                time.run(10_000, true);
                time.run(3_000, false)
            }),
            None,
        ),
        (
            "the next term begins anew",
            after(&|time| {
                time.run(600_000, false);
                time.term += 1;
                time.run(10_000, false)
            }),
            Some(9_500),
        ),
        (
            "so does whoever has not looked for a while",
            after(&|time| {
                time.run(10_000, false);
                time.now_ms += 600_000;
                time.run(10_000, false)
            }),
            Some(9_500),
        ),
        (
            "whom gossip sees is not away",
            after(&|time| {
                time.gossip(true, 1_000);
                time.run(600_000, false)
            }),
            None,
        ),
        (
            "whom gossip has missed since then is away since then",
            after(&|time| {
                time.run(100_000, false);
                time.gossip(false, time.now_ms);
                time.run(10_000, false)
            }),
            Some(10_000),
        ),
        (
            "who was never seen is away since gossip began",
            after(&|time| {
                time.sightings = Some(Sightings { since_ms: time.now_ms, ..Sightings::default() });
                time.now_ms -= 100_000;
                time.run(110_000, false)
            }),
            Some(10_000),
        ),
        (
            "without gossip nobody is away",
            after(&|time| {
                time.sightings = None;
                time.run(600_000, false)
            }),
            None,
        ),
    ]
}

/// The lines that do not hold.
fn broken() -> Vec<String> {
    let mut broken = Vec::new();
    for (what, cluster, wanted) in lines() {
        let next = cluster.next();
        if next != wanted {
            broken.push(format!("{what}: {next:?} instead of {wanted:?}"));
        }
    }
    for (what, is, should) in times() {
        if is != should {
            broken.push(format!("{what}: {is:?} instead of {should:?}"));
        }
    }
    for (applied, leader, wanted) in [(0, 9, false), (9, 9, true), (10, 9, false)] {
        if was_removed(applied, leader) != wanted {
            broken.push(format!("removed: {applied} of {leader} is {}", !wanted));
        }
    }
    broken
}

#[test]
fn a_leader_does_what_the_tables_say() {
    assert_eq!(broken(), Vec::<String>::new());
}

#[cfg(feature = "mutants")]
#[test]
fn every_mutant_of_the_rules_is_caught() {
    use crate::mutant;
    for name in mutant::MEMBERS {
        mutant::set(Some(name));
        let broken = broken();
        mutant::set(None);
        println!("{name}: {broken:?}");
        assert!(!broken.is_empty(), "not caught: {name}");
    }
    assert_eq!(broken(), Vec::<String>::new());
}

#[test]
fn it_says_what_it_waits_for() {
    let waits = |cluster: Cluster| cluster.look(|view| view.waits_for()).unwrap_or_default();
    let plain = || Cluster::new(&["a", "b", "c"], &["a"]);
    assert_eq!(waits(plain()), "");
    assert_eq!(waits(plain().away(3, 590_500)), "n3 is out of reach: in 10 s it is removed");
    let two = plain().away(2, TIMEOUT_MS).away(3, 4_000);
    assert_eq!(waits(two), "n2 is out of reach, and too few voters are reached to remove it");
    let late = plain().wanted(4, 4).with(4, |host| host.reach.is_caught_up = false);
    assert_eq!(waits(late), "n4 has to catch up before it votes");
    let full = plain().wanted(3, 1).asks(member(9), "");
    assert_eq!(waits(full), "no room for 1 more: there are as many standbys as wanted");
}

fn any_cluster() -> impl Strategy<Value = Cluster> {
    let host = (0..4_usize, 0..3_i64, prop::bool::weighted(0.8), prop::bool::weighted(0.75));
    let hosts = |count| prop::collection::vec(host.clone(), count);
    (hosts(1..6), hosts(0..5), hosts(0..4), 1..6_usize, 0..4_usize).prop_map(
        |(voters, learners, outside, most_voters, most_standbys)| {
            let domain = |host: &(usize, i64, bool, bool)| ["", "a", "b", "c"][host.0];
            let names = |hosts: &[_]| hosts.iter().map(domain).collect::<Vec<_>>();
            let (first, others) = (names(&voters), names(&learners));
            let mut cluster = Cluster::new(&first, &others).wanted(most_voters, most_standbys);
            let members = voters.len() + learners.len();
            let all: Vec<_> = voters.into_iter().chain(learners).chain(outside).collect();
            for (id, host) in (1..).zip(&all) {
                if id > members as u64 {
                    cluster = cluster.asks(member(id), domain(host));
                }
                let (_, priority, is_eligible, is_there) = *host;
                cluster = cluster.priority(id, priority);
                if !is_eligible {
                    cluster = cluster.ineligible(id);
                }
                // Somebody leads, and who asks is there.
                if !is_there && id > 1 && id <= members as u64 {
                    cluster = cluster.away(id, TIMEOUT_MS + id);
                }
            }
            cluster
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The leader's changes come to rest, and where they do nothing is left to do that could be done.
    #[test]
    fn changes_come_to_rest_and_keep_a_majority_that_is_reached(mut cluster in any_cluster()) {
        if !cluster.has_majority(&cluster.voters) {
            let next = cluster.next();
            prop_assert!(!next.iter().any(|change| matches!(change, Remove(_))), "{next:?}");
            return Ok(());
        }
        let voters = cluster.voters.len();
        let mut steps = 0;
        loop {
            let next = cluster.next();
            if next.is_empty() {
                break;
            }
            steps += 1;
            prop_assert!(steps <= 50, "it does not come to rest: {cluster:?}");
            let before = cluster.clone();
            cluster.apply(&next);
            prop_assert!(cluster.voters.contains(&cluster.leader), "{next:?}");
            if before.voters != cluster.voters {
                prop_assert!(before.has_majority(&before.voters), "{next:?}");
                prop_assert!(cluster.has_majority(&cluster.voters), "{next:?}");
            }
            let is_told_to = |id: &RaftId| !before.nodes[id].traits.is_eligible;
            if next.iter().any(|it| matches!(it, Demote(id) if !is_told_to(id))) {
                prop_assert!(cluster.domains().len() > before.domains().len(), "{next:?}");
            }
        }
        let wanted = cluster.wanted;
        prop_assert!(cluster.voters.len() <= wanted.voters.max(voters));
        let is_away = |id: &RaftId| cluster.nodes[id].reach.away_ms.is_some();
        prop_assert!(!cluster.members.keys().any(is_away), "somebody is left that nobody reaches");
        let standbys: Vec<_> =
            cluster.learners.iter().filter(|id| cluster.nodes[id].traits.is_eligible).collect();
        prop_assert!(cluster.voters.len() >= wanted.voters || standbys.is_empty());
        // A domain is left out only if no voter can be spared for it.
        let taken = cluster.domains();
        let would_add = standbys.iter().any(|id| {
            cluster.nodes[id].traits.failure_domain.as_deref().is_some_and(|it| !taken.contains(it))
        });
        let mut others = cluster.voters.iter().filter(|id| **id != cluster.leader);
        let is_doubled = |id: &RaftId| {
            let domain_of = |id: &RaftId| cluster.nodes[id].traits.failure_domain.clone();
            let own = domain_of(id);
            own.is_some() && cluster.voters.iter().filter(|it| domain_of(it) == own).count() > 1
        };
        prop_assert!(!(would_add && others.any(is_doubled)), "{cluster:?}");
    }
}
