//! Who becomes a member and a voter by itself: nodes on loopback and real files, with gossip between them.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used)]

#[path = "support/nodes.rs"]
mod nodes;

use std::collections::BTreeSet;
use std::time::Duration;

use nodes::{Nodes, PATIENCE, eventually, value_of, write};
use plimsoll::node::{MemberStatus, NodeOptions, Part};
use plimsoll::raft::{MemberChange, RaftId, Request};
use plimsoll::value::Value;

/// A node of a cluster of three voters, from which members are removed soon.
fn options(nodes: &Nodes, place: usize) -> NodeOptions {
    NodeOptions { voters_max: 3, failure_timeout_ms: FAILURE_MS, ..nodes.options(place) }
}

/// Three voters and so many others, which come one after the other and are members once they are there.
async fn founded(others: usize) -> Nodes {
    let mut nodes = Nodes::places(3 + others, 3);
    for place in 0..3 + others {
        start(&mut nodes, place).await;
        if place >= 2 {
            nodes.leader().await;
        }
        if place >= 3 {
            let what = "it is a learner that could vote";
            part_is(&nodes, place, Part::Standby, what).await;
        }
    }
    nodes
}

async fn start(nodes: &mut Nodes, place: usize) {
    let options = options(nodes, place);
    nodes.start_with(place, options).await;
}

/// The process of a node ends at once.
fn kill(nodes: &mut Nodes, place: usize) {
    drop(nodes.nodes[place].take().expect("it runs"));
}

async fn id_of(nodes: &Nodes, place: usize) -> RaftId {
    nodes.status(place).await.unwrap().raft.id
}

async fn leader_status(nodes: &Nodes) -> MemberStatus {
    nodes.status(nodes.leader().await).await.unwrap()
}

/// Waits until a node is something, as the leader sees it and as it knows itself.
async fn part_is(nodes: &Nodes, place: usize, part: Part, what: &str) {
    eventually(what, async || {
        let own = nodes.status(place).await?;
        for status in [&own, &leader_status(nodes).await] {
            status.standings.get(&own.raft.id).filter(|standing| standing.part == part)?;
        }
        Some(())
    })
    .await;
}

/// Waits until the voters are those of these places.
async fn voters_are(nodes: &Nodes, places: &[usize], what: &str) {
    let mut wanted = BTreeSet::new();
    for place in places {
        wanted.insert(id_of(nodes, *place).await);
    }
    eventually(what, async || {
        let raft = leader_status(nodes).await.raft;
        (raft.voters == wanted && raft.outgoing.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_is_killed_is_replaced_by_a_standby_and_the_cluster_serves_on() {
    let mut nodes = founded(1).await;
    let leader = nodes.leader().await;
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let dead_id = id_of(&nodes, dead).await;
    kill(&mut nodes, dead);
    eventually("the leader says what it waits for", async || {
        let status = nodes.status(leader).await?;
        let away_ms = status.standings[&dead_id].away_ms?;
        let waits_for = status.waits_for?;
        assert!(away_ms < FAILURE_MS + 5_000, "{away_ms}");
        waits_for.contains(&format!("n{dead} is out of reach: in ")).then_some(())
    })
    .await;
    write(nodes.handle(leader), "meanwhile", "v").await.unwrap();
    voters_are(&nodes, &[leader, other, 3], "the standby is in its place").await;
    assert!(!leader_status(&nodes).await.members.contains_key(&dead_id));
    // It counts: another one may go.
    kill(&mut nodes, other);
    write(nodes.handle(3), "after", "v").await.unwrap();
    start(&mut nodes, other).await;
    // Whoever was removed is told, and does not come back by itself.
    start(&mut nodes, dead).await;
    eventually("it knows that it was removed", async || {
        nodes.status(dead).await?.raft.is_removed.then_some(())
    })
    .await;
    assert!(!leader_status(&nodes).await.members.contains_key(&dead_id));
    let machine = nodes.handle(other).read(PATIENCE).await.unwrap();
    for key in ["meanwhile", "after"] {
        assert_eq!(value_of(&machine, key), Some(Value::from("v")), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_voters_gone_nobody_is_removed() {
    let mut nodes = founded(1).await;
    let before = leader_status(&nodes).await;
    kill(&mut nodes, 1);
    kill(&mut nodes, 2);
    tokio::time::sleep(Duration::from_millis(FAILURE_MS) * 4).await;
    for place in [0, 3] {
        let status = nodes.status(place).await.unwrap();
        assert_eq!(status.raft.voters, before.raft.voters, "{place}");
        assert_eq!(status.members, before.members, "{place}");
    }
    // With one of them back a majority is there, and the other one is replaced after its time.
    start(&mut nodes, 1).await;
    voters_are(&nodes, &[0, 1, 3], "the standby is in the place of the third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_room_is_told_so_and_is_added_once_there_is() {
    let mut nodes = Nodes::places(5, 3);
    let limited = |nodes: &Nodes, place| NodeOptions { standbys_max: 1, ..options(nodes, place) };
    for place in 0..4 {
        let options = limited(&nodes, place);
        nodes.start_with(place, options).await;
    }
    nodes.leader().await;
    part_is(&nodes, 3, Part::Standby, "the fourth is a standby").await;
    let options = limited(&nodes, 4);
    nodes.start_with(4, options).await;
    eventually("the fifth is told", async || {
        nodes.status(4).await?.waits_for.filter(|it| it.starts_with("there is no room")).map(drop)
    })
    .await;
    assert_eq!(leader_status(&nodes).await.members.len(), 4);
    // A standby that is away for too long makes room.
    let gone = id_of(&nodes, 3).await;
    kill(&mut nodes, 3);
    part_is(&nodes, 4, Part::Standby, "the fifth takes the room of the fourth").await;
    let status = leader_status(&nodes).await;
    assert!(!status.members.contains_key(&gone), "{status:?}");
    eventually("the fifth waits no more", async || {
        nodes.status(4).await?.waits_for.is_none().then_some(())
    })
    .await;
}

/// Also of a leader that has never seen it: a learner asks for no votes, by which it would learn of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_was_removed_while_it_was_away_does_not_come_back() {
    let mut nodes = founded(1).await;
    let id = id_of(&nodes, 3).await;
    nodes.stop(3).await;
    let leader = nodes.leader().await;
    let removal = Request::Change(vec![MemberChange::Remove(id)]);
    nodes.handle(leader).request(removal, PATIENCE).await.unwrap();
    for place in 0..3 {
        nodes.stop(place).await;
    }
    for place in 0..3 {
        start(&mut nodes, place).await;
    }
    nodes.leader().await;
    start(&mut nodes, 3).await;
    eventually("it knows that it was removed", async || {
        nodes.status(3).await?.raft.is_removed.then_some(())
    })
    .await;
    assert!(!leader_status(&nodes).await.members.contains_key(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_are_spread_over_failure_domains_and_keep_their_directories() {
    let mut nodes = Nodes::places(4, 3);
    let domains = ["a", "a", "b", "c"];
    let in_domain = |nodes: &Nodes, place: usize| NodeOptions {
        failure_domain: Some(domains[place].to_owned()),
        ..options(nodes, place)
    };
    for place in 0..4 {
        let options = in_domain(&nodes, place);
        nodes.start_with(place, options).await;
    }
    let spread = eventually("there is a voter in each failure domain", async || {
        let status = leader_status(&nodes).await;
        let voters = status.standings.values().filter(|standing| standing.part == Part::Voter);
        let domains: BTreeSet<_> = voters.map(|it| it.failure_domain.clone()).collect();
        (domains.len() == 3 && !domains.contains(&None)).then_some(status)
    })
    .await;
    assert_eq!((spread.raft.voters.len(), spread.members.len()), (3, 4));
    let mut standbys = spread.standings.values().filter(|it| it.part == Part::Standby);
    assert_eq!(standbys.next().unwrap().failure_domain.as_deref(), Some("a"));
    // It is at rest.
    tokio::time::sleep(Duration::from_millis(FAILURE_MS) * 2).await;
    assert_eq!(leader_status(&nodes).await.raft.voters, spread.raft.voters);
    write(nodes.handle(3), "k", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_that_are_not_to_vote_become_learners_and_one_that_leads_hands_over_first() {
    let mut nodes = founded(0).await;
    let leader = nodes.leader().await;
    for place in 0..3 {
        nodes.stop(place).await;
    }
    for place in 0..3 {
        let is_eligible = place != leader;
        let options = NodeOptions { is_eligible, ..options(&nodes, place) };
        nodes.start_with(place, options).await;
    }
    part_is(&nodes, leader, Part::Learner, "it is a learner").await;
    voters_are(&nodes, &[(leader + 1) % 3, (leader + 2) % 3], "the others vote").await;
    write(nodes.handle(leader), "k", "v").await.unwrap();
}

/// After which time a member is removed here.
const FAILURE_MS: u64 = 3_000;
