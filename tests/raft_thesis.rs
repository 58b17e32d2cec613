//! What Ongaro's thesis says of Raft, held against the node: "Consensus: Bridging Theory and
//! Practice" (Stanford, 2014), chapters 3, 4 and 6, a sentence a test.
//!
//! Where the node goes further than the thesis (it asks for pre-votes first, and its changes of
//! membership are always joint when they are of several members), the test says so.
#![cfg(feature = "raft")]
#![allow(clippy::unwrap_used)]

#[path = "support/raft/mod.rs"]
mod cluster;
#[path = "support/raft/faults.rs"]
mod faults;

use cluster::{CLUSTER, Cluster, member};
use faults::Pick;
use plimsoll::kv::{Action, Command, Reply, SessionStamp};
use plimsoll::raft::{
    Answer, Body, Envelope, FailureReason, MemberChange, Node, Options, RaftId, Request, RequestId,
    Role,
};
use plimsoll::storage::{Batch, HardState, StoredEntry};
use raft::eraftpb::{Entry, Message, MessageType};

const N: [RaftId; 6] = [RaftId(0), RaftId(1), RaftId(2), RaftId(3), RaftId(4), RaftId(5)];

fn cluster(voters: u64) -> Cluster {
    Cluster::new(voters, Options::default())
}

/// A cluster that `n1` leads.
fn led(voters: u64) -> Cluster {
    let mut cluster = cluster(voters);
    cluster.campaign(N[1]);
    cluster.deliver();
    cluster.tick(2, None);
    assert_eq!(cluster.leader(), Some(N[1]));
    cluster
}

fn message(kind: MessageType, from: RaftId, to: RaftId, term: u64) -> Message {
    Message { msg_type: kind as i32, from: from.0, to: to.0, term, ..Message::default() }
}

/// Entries of these terms, after an index.
fn entries(after: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(index, term): (u64, &u64)| Entry { index, term: *term, ..Entry::default() };
    (after + 1..).zip(terms).map(entry).collect()
}

/// What a node says at once to a message; nothing else is under way.
fn answers(cluster: &mut Cluster, message: Message) -> Vec<Message> {
    let (from, to) = (RaftId(message.from), RaftId(message.to));
    cluster.take(&Pick::default());
    let wall = cluster.now(from).wall;
    let body = Body::Raft(Box::new(message));
    cluster.hand_over(vec![Envelope { from, to, cluster: CLUSTER, wall, body }]);
    let answers = cluster.take(&Pick::default().from(to));
    answers
        .into_iter()
        .filter_map(|envelope| match envelope.body {
            Body::Raft(message) => Some(*message),
            _ => None,
        })
        .collect()
}

/// Whether a node gives its vote.
fn votes_for(cluster: &mut Cluster, from: RaftId, to: RaftId, term: u64, log: (u64, u64)) -> bool {
    let mut ask = message(MessageType::MsgRequestVote, from, to, term);
    (ask.index, ask.log_term) = log;
    let answers = answers(cluster, ask);
    answers.iter().any(|answer| {
        answer.get_msg_type() == MessageType::MsgRequestVoteResponse && !answer.reject
    })
}

fn terms(node: &Node) -> Vec<u64> {
    let log = node.log();
    (log.first_index()..=log.last_index()).map(|index| log.term_at(index).unwrap()).collect()
}

fn command() -> Request {
    Request::Write(Command::new(Action::OpenSession))
}

/// Asks and delivers everything; the write has ended then.
fn write(cluster: &mut Cluster, at: RaftId) -> u64 {
    let request = cluster.request(at, command(), 10_000);
    cluster.deliver();
    cluster.tick(2, None);
    applied(cluster, at, request).expect("it has ended")
}

fn applied(cluster: &mut Cluster, at: RaftId, request: RequestId) -> Option<u64> {
    match cluster.response(at, request)?.result {
        Ok(Answer::Applied { index, .. }) => Some(index),
        other => panic!("{other:?}"),
    }
}

fn assert_same_state(cluster: &Cluster) {
    let nodes = || cluster.hosts.values().filter_map(|host| host.node.as_ref());
    let first = nodes().next().unwrap();
    for node in nodes() {
        assert_eq!(node.applied(), first.applied());
        assert_eq!(node.machine().digest(), first.machine().digest());
    }
}

/// Puts a log on a host's disk, as if it had been written in an earlier life.
fn put_log(cluster: &mut Cluster, id: RaftId, terms: &[u64]) {
    cluster.crash(id);
    let entries = (2..).zip(terms).map(|(index, term)| StoredEntry {
        index,
        term: *term,
        kind: 0,
        context: Vec::new().into(),
        data: Vec::new().into(),
    });
    let term = terms.last().copied().unwrap_or(1);
    let batch = Batch {
        hard_state: Some(HardState { term, vote: 0, commit: 1 }),
        reset: None,
        entries: entries.collect(),
    };
    let storage = cluster.hosts.get_mut(&id).unwrap().storage();
    storage.write(&batch).unwrap();
    storage.sync().unwrap();
    cluster.start(id);
}

// Chapter 3.3: terms.

/// §3.3: whoever sees a greater term takes it, and stops to lead or to campaign.
#[test]
fn a_greater_term_ends_leadership_and_candidacy() {
    let mut cluster = led(3);
    answers(&mut cluster, message(MessageType::MsgAppend, N[2], N[1], 9));
    let status = cluster.node(N[1]).status();
    assert_eq!((status.role, status.term, status.leader), (Role::Follower, 9, Some(N[2])));

    cluster.crash(N[3]);
    cluster.start(N[3]);
    cluster.campaign(N[3]);
    answers(&mut cluster, message(MessageType::MsgHeartbeat, N[2], N[3], 9));
    let status = cluster.node(N[3]).status();
    assert_eq!((status.role, status.term, status.leader), (Role::Follower, 9, Some(N[2])));
}

/// §3.3: a request of a past term is refused; it changes nothing.
#[test]
fn a_request_of_a_past_term_changes_nothing() {
    let mut cluster = led(3);
    let before = cluster.node(N[3]).status();
    let mut append = message(MessageType::MsgAppend, N[2], N[3], 1);
    (append.index, append.log_term) = (1, 1);
    append.entries = entries(1, &[1, 1]);
    let told: Vec<_> = answers(&mut cluster, append).iter().map(|answer| answer.term).collect();
    assert_eq!(told, [2], "it is told the present term");
    assert!(!votes_for(&mut cluster, N[2], N[3], 1, (9, 9)));
    assert_eq!(cluster.node(N[3]).status(), before);
}

// Chapter 3.4: leader election.

/// §3.4: servers start as followers.
#[test]
fn a_node_starts_as_a_follower() {
    let cluster = cluster(3);
    for host in cluster.hosts.values() {
        let status = host.node.as_ref().unwrap().status();
        assert_eq!((status.role, status.leader, status.vote), (Role::Follower, None, None));
    }
}

/// §3.4: a server remains a follower as long as it hears from a leader.
#[test]
fn heartbeats_keep_followers_from_campaigning() {
    let mut cluster = led(5);
    cluster.tick(500, None);
    for host in cluster.hosts.values() {
        let status = host.node.as_ref().unwrap().status();
        assert_eq!((status.term, status.leader), (2, Some(N[1])));
    }
}

/// §3.4: whoever hears nothing for a timeout begins a term, votes for itself and asks all others.
/// Here it asks first whether it would be elected, in the term that it has.
#[test]
fn a_timeout_begins_a_term_with_a_vote_for_itself() {
    let mut cluster = cluster(5);
    cluster.campaign(N[2]);
    assert_eq!(cluster.node(N[2]).status().role, Role::PreCandidate);
    assert_eq!(cluster.node(N[2]).term(), 1);
    cluster.deliver_only(&Pick::kind("pre-vote"));
    cluster.deliver_only(&Pick::kind("pre-vote-response"));
    let status = cluster.node(N[2]).status();
    assert_eq!((status.role, status.term, status.vote), (Role::Candidate, 2, Some(N[2])));
    let asked: Vec<_> = cluster.take(&Pick::kind("vote")).iter().map(|ask| ask.to).collect();
    assert_eq!(asked, [N[1], N[3], N[4], N[5]]);
}

/// §3.4: a candidate wins if a majority of all votes for it in its term.
#[test]
fn a_candidate_needs_a_majority_of_all() {
    for voters in 2..=5 {
        for granted in 0..voters {
            let mut cluster = cluster(voters);
            cluster.campaign(N[1]);
            cluster.deliver_only(&Pick::kind("pre-vote"));
            cluster.deliver_only(&Pick::kind("pre-vote-response"));
            for voter in 2..2 + granted {
                cluster.deliver_only(&Pick::kind("vote").to(RaftId(voter)));
            }
            cluster.deliver_only(&Pick::kind("vote-response"));
            let leads = cluster.node(N[1]).role() == Role::Leader;
            assert_eq!(leads, granted + 1 > voters / 2, "{granted} others of {voters}");
        }
    }
}

/// §3.4: each server votes for at most one candidate in a term, the first that asks.
/// §3.8: it keeps term and vote over a restart.
#[test]
fn a_node_votes_once_in_a_term_and_does_not_forget() {
    let mut cluster = cluster(3);
    assert!(votes_for(&mut cluster, N[1], N[3], 2, (1, 1)));
    assert!(!votes_for(&mut cluster, N[2], N[3], 2, (1, 1)));
    cluster.crash(N[3]);
    cluster.start(N[3]);
    let status = cluster.node(N[3]).status();
    assert_eq!((status.term, status.vote), (2, Some(N[1])));
    assert!(!votes_for(&mut cluster, N[2], N[3], 2, (1, 1)));
    assert!(votes_for(&mut cluster, N[1], N[3], 2, (1, 1)), "asked again it says the same");
    assert!(votes_for(&mut cluster, N[2], N[3], 3, (1, 1)), "another term, another vote");
}

/// §3.4: a candidate that hears a leader of its own term follows it.
#[test]
fn a_candidate_follows_a_leader_of_its_term() {
    let mut cluster = cluster(3);
    cluster.campaign(N[1]);
    cluster.deliver_only(&Pick::kind("pre-vote"));
    cluster.deliver_only(&Pick::kind("pre-vote-response"));
    assert_eq!(cluster.node(N[1]).status().role, Role::Candidate);
    answers(&mut cluster, message(MessageType::MsgHeartbeat, N[2], N[1], 2));
    let status = cluster.node(N[1]).status();
    assert_eq!((status.role, status.term, status.leader), (Role::Follower, 2, Some(N[2])));
}

/// §3.4: timeouts are random, between one and two times the least, so that split votes are rare and
/// end soon.
#[test]
fn timeouts_are_spread_and_elections_end_soon() {
    let mut cluster = cluster(4);
    let mut timeouts = std::collections::BTreeSet::new();
    for _ in 0..40 {
        for id in 1..=4 {
            cluster.crash(RaftId(id));
            cluster.start(RaftId(id));
        }
        cluster.take(&Pick::default());
        let before_ms = cluster.now_ms;
        cluster.campaign(N[1]);
        timeouts.insert((cluster.now_ms - before_ms) / cluster.options.tick_ms);
        cluster.take(&Pick::default());
        cluster.tick(10 * cluster.options.election_ticks as u64, None);
        assert!(cluster.leader().is_some(), "within ten timeouts someone leads");
    }
    assert!(timeouts.iter().all(|ticks| (10..20).contains(ticks)), "{timeouts:?}");
    assert!(timeouts.len() >= 7, "{timeouts:?}");
}

// Chapter 3.5: log replication.

/// §3.5: an entry is committed once it is on a majority, and only then applied and answered.
#[test]
fn an_entry_is_committed_once_a_majority_has_it() {
    let mut cluster = led(5);
    let request = cluster.request(N[1], command(), 10_000);
    for (follower, is_committed) in [(N[2], false), (N[3], true), (N[4], true)] {
        cluster.deliver_only(&Pick::kind("append").to(follower));
        cluster.deliver_only(&Pick::kind("append-response").from(follower));
        let status = cluster.node(N[1]).status();
        assert_eq!(status.last_index, 3);
        assert_eq!((status.commit == 3, status.applied == 3), (is_committed, is_committed));
    }
    assert_eq!(applied(&mut cluster, N[1], request), Some(3));
}

/// §3.5: the leader tells how far it has committed, and followers apply up to there, in order.
#[test]
fn followers_apply_what_the_leader_has_committed() {
    let mut cluster = led(3);
    for _ in 0..5 {
        cluster.request(N[1], command(), 10_000);
    }
    cluster.deliver_only(&Pick::kind("append").to(N[2]));
    assert_eq!((cluster.node(N[2]).log().last_index(), cluster.node(N[2]).applied()), (7, 2));
    cluster.deliver_only(&Pick::kind("append-response"));
    cluster.deliver_only(&Pick::kind("append").to(N[2]));
    assert_eq!(cluster.node(N[2]).applied(), 7);
    let progress = &cluster.hosts[&N[2]].progress;
    let indices: Vec<_> = progress
        .iter()
        .map(|progress| match progress {
            plimsoll::raft::Progress::Applied(applied) => applied.index,
            plimsoll::raft::Progress::Installed { index } => panic!("installed {index}"),
        })
        .collect();
    assert_eq!(indices, [3, 4, 5, 6, 7]);
}

/// §3.5: a follower takes entries only behind the one that precedes them in the leader's log.
#[test]
fn entries_that_do_not_follow_are_refused() {
    let put = |index, log_term| {
        let mut cluster = cluster(3);
        put_log(&mut cluster, N[3], &[1, 2, 2]);
        let mut append = message(MessageType::MsgAppend, N[1], N[3], 3);
        (append.index, append.log_term) = (index, log_term);
        append.entries = entries(index, &[3]);
        let answers = answers(&mut cluster, append);
        assert_eq!(answers.len(), 1);
        (!answers[0].reject, terms(cluster.node(N[3])))
    };
    assert_eq!(put(4, 2), (true, vec![1, 2, 2, 3]));
    assert_eq!(put(2, 1), (true, vec![1, 3]), "what contradicts goes, with all behind it");
    assert_eq!(put(5, 2), (false, vec![1, 2, 2]), "a gap");
    assert_eq!(put(4, 1), (false, vec![1, 2, 2]), "another term");
    assert_eq!(put(4, 3), (false, vec![1, 2, 2]), "another term");
}

/// §3.5: entries that are there already stay, and so does what follows them: an older message that
/// comes late shortens nothing.
#[test]
fn a_late_message_shortens_no_log() {
    let mut cluster = cluster(3);
    put_log(&mut cluster, N[3], &[1, 2, 2]);
    let mut append = message(MessageType::MsgAppend, N[1], N[3], 2);
    (append.index, append.log_term) = (1, 1);
    append.entries = entries(1, &[1]);
    assert!(!answers(&mut cluster, append)[0].reject);
    assert_eq!(terms(cluster.node(N[3])), [1, 2, 2]);
}

/// §3.5, the figure of six followers: whatever is missing or too much in theirs, in the end all have
/// the log of the leader, which only ever appends to its own.
#[test]
fn a_leader_brings_every_log_into_line() {
    let leading = [1, 1, 4, 4, 5, 5, 6, 6, 6];
    let following: [&[u64]; 6] = [
        &[1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 4],
        &[1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 4, 4, 4, 4],
        &[1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut cluster = cluster(7);
    put_log(&mut cluster, N[1], &leading);
    for (id, terms) in (2..).zip(following) {
        put_log(&mut cluster, RaftId(id), terms);
    }
    // The figure's leader is of term 8; it takes a try to learn of term 7.
    for _ in 0..3 {
        cluster.take(&Pick::default());
        cluster.campaign(N[1]);
        cluster.deliver();
    }
    cluster.tick(20, Some(&[N[1]]));
    let expected = [&leading[..], &[8]].concat();
    for id in 1..=7 {
        assert_eq!(terms(cluster.node(RaftId(id))), expected, "n{id}");
    }
}

// Chapter 3.6: safety.

/// §3.6.1: a vote goes only to a candidate whose log is at least as up to date: first the last term
/// counts, then the length.
#[test]
fn a_vote_goes_to_no_log_that_lacks_something() {
    for (log, is_granted) in [
        ((4, 2), true),
        ((5, 2), true),
        ((3, 2), false),
        ((9, 1), false),
        ((2, 3), true),
        ((4, 3), true),
    ] {
        let mut cluster = cluster(3);
        put_log(&mut cluster, N[3], &[1, 2, 2]);
        assert_eq!(votes_for(&mut cluster, N[1], N[3], 5, log), is_granted, "{log:?}");
    }
}

/// §3.6.3: every later leader has every committed entry.
#[test]
fn what_is_committed_is_in_the_log_of_every_later_leader() {
    let mut cluster = led(5);
    let mut committed = Vec::new();
    for _ in 0..8 {
        let leader = cluster.until_led(&[]);
        let index = write(&mut cluster, leader);
        committed.push((index, cluster.node(leader).log().term_at(index)));
        cluster.crash(leader);
        let next = cluster.until_led(&[leader]);
        for (index, term) in &committed {
            assert_eq!(cluster.node(next).log().term_at(*index), *term);
        }
        cluster.start(leader);
        cluster.tick(4, None);
    }
    assert_same_state(&cluster);
}

/// §3.7: messages may come twice; all of them are idempotent.
#[test]
fn messages_may_come_twice() {
    let mut cluster = cluster(3);
    for round in 0..200 {
        cluster.now_ms += cluster.options.tick_ms;
        for id in [N[1], N[2], N[3]] {
            cluster.with(id, Node::handle_tick);
        }
        if round % 10 == 0 {
            cluster.request(N[1 + round % 3], command(), 60_000);
        }
        for _ in 0..6 {
            cluster.double(&Pick::default());
            cluster.deliver_only(&Pick::default());
        }
        cluster.take(&Pick::default());
    }
    cluster.tick(10, None);
    assert!(cluster.node(N[1]).machine().sessions_len() >= 15);
    assert_same_state(&cluster);
}

/// §3.10: leadership is handed over once the successor has the log; it need not wait for a timeout.
#[test]
fn leadership_is_handed_to_whoever_has_the_log() {
    let mut cluster = led(3);
    cluster.isolate(N[3]);
    write(&mut cluster, N[1]);
    cluster.request(N[1], Request::Transfer(N[3]), 5_000);
    let waiting = cluster.request(N[1], command(), 9_000);
    assert_eq!(cluster.node(N[1]).log().last_index(), 3, "meanwhile nothing new is taken");
    cluster.cut.clear();
    cluster.tick(4, None);
    assert_eq!(cluster.leader(), Some(N[3]));
    assert_eq!(cluster.node(N[3]).term(), 3);
    cluster.tick(2, None);
    assert_eq!(applied(&mut cluster, N[1], waiting), Some(5));
}

// Chapter 4: cluster membership changes.

/// §4.2.1: a new server catches up without a vote before it gets one.
#[test]
fn a_new_member_catches_up_before_it_votes() {
    let mut cluster = led(3);
    cluster.add_host(N[4]);
    let add = vec![MemberChange::AddLearner(member(4))];
    cluster.request(N[1], Request::Change(add), 5_000);
    cluster.deliver();
    // It is not started: it can't have caught up.
    let promote = || Request::Change(vec![MemberChange::Promote(N[4])]);
    let refused = cluster.request(N[1], promote(), 5_000);
    let failure = cluster.response(N[1], refused).unwrap().result.unwrap_err();
    assert!(matches!(failure.reason, FailureReason::Refused(_)), "{failure:?}");
    cluster.start(N[4]);
    cluster.tick(30, None);
    let status = cluster.node(N[4]).status();
    assert_eq!(status.applied, cluster.node(N[1]).applied());
    assert_eq!(status.voters, [N[1], N[2], N[3]].into());
    let promoted = cluster.request(N[1], promote(), 5_000);
    cluster.deliver();
    assert!(cluster.response(N[1], promoted).unwrap().result.is_ok());
    assert!(cluster.node(N[1]).status().voters.contains(&N[4]));
}

/// §4.2.2: a leader that is to be removed lets another one lead.
#[test]
fn a_leader_that_is_removed_leads_no_longer() {
    let mut cluster = led(3);
    cluster.request(N[1], Request::Change(vec![MemberChange::Remove(N[1])]), 5_000);
    cluster.tick(10, None);
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, N[1]);
    assert_eq!(cluster.node(leader).status().voters, [N[2], N[3]].into());
    write(&mut cluster, leader);
}

/// §4.2.3: whoever hears a leader gives no vote and takes no greater term from a candidate.
#[test]
fn no_vote_is_given_while_a_leader_is_heard() {
    let mut cluster = led(3);
    assert!(!votes_for(&mut cluster, N[3], N[2], 9, (9, 9)));
    assert!(!votes_for(&mut cluster, N[3], N[1], 9, (9, 9)));
    cluster.tick(4, None);
    assert_eq!((cluster.leader(), cluster.node(N[1]).term()), (Some(N[1]), 2));
}

/// §4.1: there is one change at a time; the next one waits.
/// §4.3: in between, both majorities are needed.
#[test]
fn in_the_joint_phase_both_majorities_are_needed() {
    let (removed, added) = ([N[2], N[3]], [N[4], N[5]]);
    for (reached, is_committed) in [
        (&removed[..], false),
        (&added[..], false),
        (&[N[2], N[4]][..], true),
        (&[N[2], N[3], N[4]][..], true),
    ] {
        let mut cluster = led(3);
        added.iter().for_each(|id| {
            cluster.add_host(*id);
            cluster.start(*id);
        });
        let add = added.iter().map(|id| MemberChange::AddLearner(member(id.0))).collect();
        cluster.request(N[1], Request::Change(add), 5_000);
        cluster.tick(20, None);
        let swap: Vec<_> = removed
            .iter()
            .map(|id| MemberChange::Remove(*id))
            .chain(added.iter().map(|id| MemberChange::Promote(*id)))
            .collect();
        cluster.request(N[1], Request::Change(swap), 9_000);
        cluster.deliver_only(&Pick::kind("append"));
        cluster.deliver_only(&Pick::kind("append-response"));
        let joint = cluster.node(N[1]).status();
        assert_eq!(joint.outgoing, [N[1], N[2], N[3]].into());
        let next = vec![MemberChange::Remove(N[5])];
        cluster.request(N[1], Request::Change(next), 9_000);
        assert_eq!(cluster.node(N[1]).log().last_index(), joint.last_index, "it waits");
        for id in removed.iter().chain(&added).filter(|id| !reached.contains(id)) {
            cluster.isolate(*id);
        }
        cluster.tick(6, None);
        let has_left = cluster.node(N[1]).status().outgoing.is_empty();
        assert_eq!(has_left, is_committed, "{reached:?}");
    }
}

// Chapter 6: client interaction.

/// §6.2: a leader that hears no majority for a timeout leads no longer.
#[test]
fn a_leader_without_a_majority_steps_down() {
    let mut cluster = led(5);
    cluster.isolate(N[2]);
    cluster.isolate(N[3]);
    cluster.tick(25, Some(&[N[1]]));
    assert_eq!(cluster.node(N[1]).role(), Role::Leader, "three of five are enough");
    cluster.isolate(N[1]);
    cluster.tick(25, Some(&[N[1]]));
    assert_eq!(cluster.node(N[1]).role(), Role::Follower);
}

/// §6.2: whoever does not lead hands requests to the leader.
#[test]
fn a_follower_hands_requests_to_the_leader() {
    let mut cluster = led(3);
    for id in [N[2], N[3]] {
        cluster.request(id, command(), 5_000);
        let forwarded = cluster.take(&Pick::default().from(id));
        assert_eq!(forwarded.len(), 1);
        assert_eq!((forwarded[0].to, forwarded[0].body.kind()), (N[1], "forward"));
        assert_eq!(cluster.node(id).log().last_index(), 2);
    }
}

/// §6.3: a command that comes again is not executed again, and gets the answer of the first time.
#[test]
fn a_repeated_command_gets_the_first_answer() {
    let mut cluster = led(3);
    let opened = cluster.request(N[1], command(), 5_000);
    cluster.deliver();
    let Ok(Answer::Applied { reply: Reply::SessionOpened(session), .. }) =
        cluster.response(N[1], opened).unwrap().result
    else {
        panic!("a session is opened")
    };
    // What a command does shows in its answer: opening a session is of the index that it has.
    let stamp = SessionStamp { session, seq: 0, low: 0 };
    let stamped = Command { session: Some(stamp), action: Action::OpenSession };
    let mut replies = Vec::new();
    for at in [N[1], N[2], N[3]] {
        let request = cluster.request(at, Request::Write(stamped.clone()), 5_000);
        cluster.deliver();
        cluster.tick(2, None);
        match cluster.response(at, request).unwrap().result {
            Ok(Answer::Applied { reply, .. }) => replies.push(reply),
            other => panic!("{other:?}"),
        }
    }
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
}

/// §6.4: a leader does not know what is committed before an entry of its own term is; until then it
/// answers no read.
#[test]
fn a_new_leader_answers_no_read_before_its_first_commit() {
    let mut cluster = led(3);
    write(&mut cluster, N[1]);
    cluster.crash(N[1]);
    cluster.tick_alone(N[3], 10);
    cluster.take(&Pick::default());
    cluster.campaign(N[2]);
    for kind in ["pre-vote", "pre-vote-response", "vote", "vote-response"] {
        cluster.deliver_only(&Pick::kind(kind));
    }
    assert_eq!(cluster.node(N[2]).role(), Role::Leader);
    let read = cluster.request(N[2], Request::Read, 5_000);
    assert_eq!(cluster.response(N[2], read), None);
    assert!(cluster.under_way().all(|envelope| envelope.body.kind() != "heartbeat"));
    cluster.deliver();
    assert_eq!(read_index(&mut cluster, N[2], read), Some(4));
}

/// §6.4: a read waits for a round of heartbeats that a majority answers after it was asked.
#[test]
fn a_read_waits_for_a_round_of_heartbeats() {
    let mut cluster = led(5);
    let read = cluster.request(N[1], Request::Read, 5_000);
    cluster.deliver_only(&Pick::kind("heartbeat"));
    cluster.deliver_only(&Pick::kind("heartbeat-response").from(N[2]));
    assert_eq!(read_index(&mut cluster, N[1], read), None, "two of five");
    cluster.deliver_only(&Pick::kind("heartbeat-response").from(N[3]));
    assert_eq!(read_index(&mut cluster, N[1], read), Some(2));
}

/// §6.4: a follower asks the leader for its commit index, and answers once it has applied that much.
#[test]
fn a_read_of_a_follower_waits_for_its_machine() {
    let mut cluster = led(3);
    cluster.part(N[1], N[3]);
    let index = write(&mut cluster, N[1]);
    cluster.cut.clear();
    let read = cluster.request(N[3], Request::Read, 5_000);
    for kind in ["read-index", "heartbeat", "heartbeat-response", "read-index-response"] {
        cluster.deliver_only(&Pick::kind(kind));
    }
    assert!(cluster.node(N[3]).applied() < index);
    assert_eq!(read_index(&mut cluster, N[3], read), None);
    cluster.deliver();
    assert_eq!(read_index(&mut cluster, N[3], read), Some(index));
}

fn read_index(cluster: &mut Cluster, at: RaftId, read: RequestId) -> Option<u64> {
    match cluster.response(at, read)?.result {
        Ok(Answer::Read { index }) => Some(index),
        other => panic!("{other:?}"),
    }
}
