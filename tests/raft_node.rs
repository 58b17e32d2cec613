//! The Raft node, driven step by step: what it promises to whoever drives it.
#![cfg(feature = "raft")]
#![allow(clippy::unwrap_used)]

#[path = "support/raft/mod.rs"]
mod cluster;

use cluster::{Cluster, member};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, Key};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{
    Action, Command, KeyRef, QualifiedKey, Reply, SessionId, SessionStamp, Write, Written,
};
use plimsoll::raft::{
    Answer, Body, ClusterId, FailureReason, Member, MemberChange, Node, Options, Persist, RaftId,
    Request, RequestId, Role, force_new_cluster,
};
use plimsoll::storage::{Batch, HardState, SnapshotMeta, StoredEntry};
use plimsoll::value::{Encoded, Value};
use raft::eraftpb::MessageType;

const A: RaftId = RaftId(1);
const B: RaftId = RaftId(2);
const C: RaftId = RaftId(3);

fn put(key: &str, value: &str) -> Action {
    let key = QualifiedKey::new(&Keyspace::new("app").unwrap(), &Key::new(key).unwrap());
    let value = Encoded::new(&Value::from(value)).unwrap();
    Action::Write {
        write: Write::Put { key, value, ttl: None, condition: Condition::None },
        make_room: false,
    }
}

fn leader(cluster: &Cluster) -> RaftId {
    let leads = |node: &Node| node.role() == Role::Leader;
    let (id, _) = cluster
        .hosts
        .iter()
        .filter(|(_, host)| host.node.as_ref().is_some_and(leads))
        .max_by_key(|(_, host)| host.node.as_ref().unwrap().term())
        .expect("someone leads");
    *id
}

fn elected(voters: u64) -> Cluster {
    let mut cluster = Cluster::new(voters, Options::default());
    cluster.tick(40, None);
    leader(&cluster);
    cluster
}

fn value_of(node: &Node, key: &str) -> Option<Value> {
    let key = KeyRef { keyspace: "app", key: key.as_bytes() };
    node.machine().get(key, UnixMillis(0)).map(|record| record.value.decode())
}

fn write(cluster: &mut Cluster, at: RaftId, action: Action) -> Reply {
    let request = cluster.request(at, Request::Write(Command::new(action)), 5_000);
    cluster.deliver();
    cluster.tick(2, None);
    match cluster.response(at, request).expect("it has ended").result {
        Ok(Answer::Applied { reply, .. }) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sole_voter_elects_itself_and_serves() {
    let mut cluster = elected(1);
    write(&mut cluster, A, put("k", "v"));
    assert_eq!(value_of(cluster.node(A), "k"), Some("v".into()));
    let read = cluster.request(A, Request::Read, 1_000);
    assert!(matches!(cluster.response(A, read).unwrap().result, Ok(Answer::Read { .. })));
    cluster.crash(A);
    cluster.start(A);
    cluster.tick(40, None);
    assert_eq!(value_of(cluster.node(A), "k"), Some("v".into()));
}

#[test]
fn a_write_through_any_node_is_seen_by_a_read_through_any_other() {
    let mut cluster = elected(3);
    for (count, (writer, reader)) in
        [(A, B), (B, C), (C, A), (A, A), (B, B)].into_iter().enumerate()
    {
        let value = format!("v{count}");
        write(&mut cluster, writer, put("k", &value));
        let read = cluster.request(reader, Request::Read, 1_000);
        cluster.deliver();
        let response = cluster.response(reader, read).expect("answered within a round trip");
        assert!(matches!(response.result, Ok(Answer::Read { .. })), "{response:?}");
        assert_eq!(value_of(cluster.node(reader), "k"), Some(value.into()));
    }
    let digests: Vec<_> =
        cluster.hosts.values().map(|host| host.node.as_ref().unwrap().machine().digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn a_stamped_write_that_is_sent_again_is_applied_once() {
    let mut cluster = elected(3);
    let follower = *[A, B, C].iter().find(|id| **id != leader(&cluster)).unwrap();
    let Reply::SessionOpened(session) = write(&mut cluster, follower, Action::OpenSession) else {
        panic!("a session is opened")
    };
    let stamp = SessionStamp { session, seq: 0, low: 0 };
    let command = Command { session: Some(stamp), action: put("k", "v") };
    let mut versions = Vec::new();
    for at in [follower, A, B, C] {
        let request = cluster.request(at, Request::Write(command.clone()), 5_000);
        cluster.deliver();
        cluster.tick(2, None);
        match cluster.response(at, request).unwrap().result {
            Ok(Answer::Applied { reply: Reply::Written(Written::Put { version, .. }), .. }) => {
                versions.push(version);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{versions:?}");
    assert_eq!(cluster.node(A).machine().revision(), 1);
    assert_ne!(session, SessionId { epoch: 0, index: 0 });
}

#[test]
fn a_cut_off_leader_answers_no_read_and_the_others_go_on() {
    let mut cluster = elected(3);
    write(&mut cluster, A, put("k", "old"));
    let old = leader(&cluster);
    for other in [A, B, C] {
        cluster.cut.insert((old, other));
        cluster.cut.insert((other, old));
    }
    let stale = cluster.request(old, Request::Read, 3_000);
    cluster.tick(40, None);
    let response = cluster.response(old, stale).expect("it ends by its deadline");
    assert!(response.result.is_err(), "{response:?}");
    let new = leader(&cluster);
    assert_ne!(new, old);
    write(&mut cluster, new, put("k", "new"));
    cluster.cut.clear();
    cluster.tick(20, None);
    let read = cluster.request(old, Request::Read, 3_000);
    cluster.deliver();
    assert!(cluster.response(old, read).unwrap().result.is_ok());
    assert_eq!(value_of(cluster.node(old), "k"), Some("new".into()));
}

#[test]
fn a_laggard_is_brought_up_by_a_snapshot_in_chunks() {
    let options = Options { snapshot_threshold: 20, chunk_bytes: 64, ..Options::default() };
    let mut cluster = Cluster::new(3, options);
    cluster.tick(40, None);
    let leading = leader(&cluster);
    let laggard = *[A, B, C].iter().find(|id| **id != leading).unwrap();
    cluster.crash(laggard);
    for count in 0..60 {
        write(&mut cluster, leading, put(&format!("k{count}"), "v"));
    }
    cluster.start(laggard);
    cluster.tick(60, None);
    assert_eq!(cluster.node(laggard).applied(), cluster.node(leading).applied());
    assert_eq!(
        cluster.node(laggard).machine().digest(),
        cluster.node(leading).machine().recomputed_digest()
    );
    cluster.crash(laggard);
    cluster.start(laggard);
    cluster.tick(5, None);
    assert_eq!(cluster.node(laggard).machine().digest(), cluster.node(leading).machine().digest());
}

#[test]
fn a_node_is_added_promoted_and_takes_the_place_of_another() {
    let mut cluster = elected(3);
    write(&mut cluster, A, put("k", "v"));
    let new = RaftId(9);
    cluster.add_host(new);
    cluster.start(new);
    for change in [
        vec![MemberChange::AddLearner(member(9))],
        vec![MemberChange::Promote(new), MemberChange::Remove(A)],
    ] {
        let at = B;
        let request = cluster.request(at, Request::Change(change), 10_000);
        cluster.deliver();
        cluster.tick(60, None);
        let response = cluster.response(at, request).expect("ended");
        assert!(matches!(response.result, Ok(Answer::Changed { .. })), "{response:?}");
    }
    let status = cluster.node(new).status();
    assert_eq!(status.voters, [B, C, new].into());
    assert!(status.outgoing.is_empty() && status.learners.is_empty(), "{status:?}");
    assert_eq!(value_of(cluster.node(new), "k"), Some("v".into()));
    cluster.crash(A);
    write(&mut cluster, new, put("k", "w"));
    assert_eq!(value_of(cluster.node(B), "k"), Some("w".into()));
}

#[test]
fn a_member_goes_on_alone_and_does_not_hear_those_that_were_left_behind() {
    let mut cluster = elected(3);
    write(&mut cluster, A, put("k", "v"));
    let before = cluster.node(A).machine().clone();
    let ids = [A, B, C];
    ids.iter().for_each(|id| cluster.crash(*id));
    let host = cluster.hosts.get_mut(&A).unwrap();
    let recovered = host.open();
    let recovery =
        force_new_cluster(&host.identity, member(1), recovered, ClusterId(0xc2), 0xf).unwrap();
    let (snapshot, batch) = (Some(recovery.snapshot), recovery.batch);
    cluster::persist_to(host.storage(), &Persist { number: 0, snapshot, batch });
    host.identity = recovery.identity;
    cluster.start(A);
    cluster.tick(40, None);
    write(&mut cluster, A, put("k", "w"));
    ids[1..].iter().for_each(|id| cluster.start(*id));
    cluster.tick(60, None);
    assert_eq!(cluster.node(A).status().voters, [A].into());
    assert_eq!(value_of(cluster.node(A), "k"), Some("w".into()));
    assert_eq!(value_of(cluster.node(B), "k"), Some("v".into()), "it did not follow");
    let machine = cluster.node(A).machine();
    assert_ne!(machine.epoch(), before.epoch());
    assert!(machine.revision() > before.revision());
}

#[test]
fn a_recovery_does_not_take_the_old_snapshot_of_the_last_index_for_its_own() {
    let options = Options { snapshot_threshold: 1, ..Options::default() };
    let mut cluster = Cluster::new(1, options);
    cluster.tick(40, None);
    write(&mut cluster, A, put("k", "v"));
    let last = cluster.node(A).applied();
    cluster.crash(A);
    let host = cluster.hosts.get_mut(&A).unwrap();
    let recovered = host.open();
    assert_eq!(recovered.snapshot.as_ref().unwrap().0.index, last, "nothing follows the snapshot");
    let recovery =
        force_new_cluster(&host.identity, member(1), recovered, ClusterId(0xc2), 0xf).unwrap();
    let (snapshot, batch) = (Some(recovery.snapshot), recovery.batch);
    cluster::persist_to(host.storage(), &Persist { number: 0, snapshot, batch });
    host.identity = recovery.identity;
    cluster.start(A);
    cluster.tick(40, None);
    assert_eq!(cluster.node(A).machine().epoch(), 0xf);
    assert_eq!(value_of(cluster.node(A), "k"), Some("v".into()));
}

#[test]
fn nothing_of_a_new_term_is_said_before_it_is_durable() {
    let mut cluster = Cluster::new(3, Options::default());
    for id in [A, B, C] {
        cluster.hosts.get_mut(&id).unwrap().persists_at_once = false;
    }
    // The first one whose timeout passes asks for votes only once its own vote is durable.
    for _ in 0..25 {
        cluster.tick(1, None);
        for id in [A, B, C] {
            let said_new_term = cluster.hosts[&id].node.as_ref().unwrap().status().vote.is_some()
                && cluster.hosts[&id].unsynced.is_empty();
            assert!(!said_new_term, "{id} has voted without writing it");
        }
    }
    assert!(cluster.hosts.values().all(|host| host.node.as_ref().unwrap().leader_id().is_none()));
    for _ in 0..40 {
        [A, B, C].iter().for_each(|id| cluster.persist(*id));
        cluster.tick(1, None);
    }
    leader(&cluster);
}

#[test]
fn a_leader_on_a_slow_disk_goes_on_leading_and_commits_with_the_others() {
    let mut cluster = elected(3);
    let leading = leader(&cluster);
    cluster.hosts.get_mut(&leading).unwrap().persists_at_once = false;
    let command = Command::new(put("k", "v"));
    let request = cluster.request(leading, Request::Write(command), 60_000);
    for _ in 0..50 {
        cluster.tick(1, None);
    }
    assert_eq!(leader(&cluster), leading);
    assert!(cluster.response(leading, request).is_none(), "not applied before it is durable here");
    let follower = *[A, B, C].iter().find(|id| **id != leading).unwrap();
    assert_eq!(value_of(cluster.node(follower), "k"), Some("v".into()), "a quorum has it");
    cluster.persist(leading);
    assert!(cluster.response(leading, request).unwrap().result.is_ok());
}

#[test]
fn requests_that_come_together_are_one_step() {
    let mut cluster = elected(3);
    let at = leader(&cluster);
    let now = cluster.now(at);
    let node = cluster.hosts.get_mut(&at).unwrap().node.as_mut().unwrap();
    let writes = (0..10).map(|n| Request::Write(Command::new(put(&format!("k{n}"), "v"))));
    let reads = (0..10).map(|_| Request::Read);
    let requests = writes.chain(reads).zip(1_000..);
    let requests = requests.map(|(request, id)| (RequestId(id), request, now.monotonic_ms + 5_000));
    node.handle_requests(requests.collect::<Vec<_>>(), now);
    let persists: Vec<_> = std::iter::from_fn(|| node.poll_persist()).collect();
    let entries: Vec<_> = persists.iter().map(|persist| persist.batch.entries.len()).collect();
    assert_eq!(entries, [10], "ten commands, one batch");
    let sent: Vec<_> = std::iter::from_fn(|| node.poll_transmit()).collect();
    let heartbeats = sent.iter().filter(|envelope| match &envelope.body {
        Body::Raft(message) => message.get_msg_type() == MessageType::MsgHeartbeat,
        _ => false,
    });
    assert_eq!(heartbeats.count(), 2, "ten reads, one confirmation of leadership");
}

#[test]
fn steps_join_to_one_batch_without_what_the_later_one_replaces() {
    let entry = |index, term| StoredEntry { index, term, ..StoredEntry::default() };
    let step = |number, commit, entries| Persist {
        number,
        snapshot: None,
        batch: Batch {
            hard_state: Some(HardState { term: 2, vote: 1, commit }),
            reset: None,
            entries,
        },
    };
    let mut first = step(1, 4, vec![entry(5, 1), entry(6, 1), entry(7, 1)]);
    assert!(first.join(step(2, 5, vec![entry(6, 2)])).is_none());
    assert_eq!((first.number, first.batch.hard_state.unwrap().commit), (2, 5));
    assert_eq!(first.batch.entries, [entry(5, 1), entry(6, 2)]);
    let installed = Persist {
        snapshot: Some((SnapshotMeta::default(), Vec::new().into())),
        ..step(3, 9, vec![])
    };
    let mut alone = first.join(installed).unwrap();
    assert!(alone.join(first).is_some());
}

#[test]
fn a_member_is_moved_and_votes_or_not_as_before() {
    let mut cluster = elected(3);
    let (new, stranger) = (RaftId(9), RaftId(8));
    cluster.add_host(new);
    cluster.start(new);
    let elsewhere = |id: RaftId| Member { address: "elsewhere:1".into(), ..member(id.0) };
    let mut change = |change| {
        let request = cluster.request(B, Request::Change(vec![change]), 10_000);
        cluster.deliver();
        cluster.tick(60, None);
        cluster.response(B, request).expect("ended").result
    };
    change(MemberChange::AddLearner(member(9))).unwrap();
    for id in [A, C, new] {
        change(MemberChange::Move(elsewhere(id))).unwrap();
    }
    let failure = change(MemberChange::Move(elsewhere(stranger))).unwrap_err();
    assert!(matches!(&failure.reason, FailureReason::Refused(why) if why.contains("no member")));
    for id in [A, B, C, new] {
        let (status, members) = (cluster.node(id).status(), cluster.node(id).members());
        assert_eq!((status.voters, status.learners), ([A, B, C].into(), [new].into()), "{id}");
        assert!(status.outgoing.is_empty());
        for moved in [A, C, new] {
            assert_eq!(members[&moved], elsewhere(moved), "{id}");
        }
        assert_eq!((&members[&B], members.len()), (&member(B.0), 4), "{id}");
    }
    // A start from what storage holds knows it too.
    cluster.crash(A);
    cluster.start(A);
    cluster.tick(20, None);
    assert_eq!(cluster.node(A).members()[&new], elsewhere(new));
    write(&mut cluster, B, put("k", "v"));
}
