//! Frames between nodes and clients: round trips, damage, and the bytes that the documentation shows.

use std::collections::BTreeMap;

use super::*;
use crate::crdt::{self, Author, Incarnation, MemberId, Stamp};
use crate::entry::{Condition, EventKind, Key, Ttl};
use crate::gossip::Space;
use crate::hlc::HybridTime;
use crate::kv::{KeyEvent, Reason, Refusal, SessionId, SessionStamp, StateMachine, Written};
use crate::node::{
    CrdtFigures, MemberStatus, NodeStatus, Part, Phase, SightFigures, SpaceFigures, Standing,
};
use crate::raft::{ClusterId, FoundingStatus, Member, Role, Status};
use crate::value::Encoded;

const PAGE: &str = include_str!("../../../docs/design/client.md");

fn key(name: &str) -> QualifiedKey {
    QualifiedKey::new(&keyspace(), &Key::new(name).unwrap())
}

fn keyspace() -> Keyspace {
    Keyspace::new("app").unwrap()
}

fn member(id: u64) -> Member {
    Member { id: RaftId(id), name: format!("n{id}"), address: "h:1".into() }
}

fn put(name: &str) -> Write {
    let value = Encoded::new(&Value::from("v")).unwrap();
    Write::Put { key: key(name), value, ttl: None, condition: Condition::None }
}

fn stamped(action: Action) -> Command {
    let session = SessionId { epoch: 0xe7, index: 9 };
    Command { session: Some(SessionStamp { session, seq: 4, low: 3 }), action }
}

/// Records, and the events that made them, as a machine makes them.
fn machine() -> StateMachine {
    let mut machine = StateMachine::new(0xe7);
    let writes = vec![put("k"), put("l")];
    let action = Action::Transact { writes, make_room: false };
    machine.apply(1, UnixMillis(1_000), &Command::new(action));
    let write = match put("m") {
        Write::Put { key, value, condition, .. } => {
            Write::Put { key, value, condition, ttl: Ttl::from_ms(500).unwrap() }
        }
        write => write,
    };
    let action = Action::Write { write, make_room: false };
    machine.apply(2, UnixMillis(1_000), &Command::new(action));
    machine
}

fn record(name: &str) -> (QualifiedKey, Arc<Record>) {
    let machine = machine();
    let page = machine.list("app", &ListQuery::new().prefix(name), UnixMillis(0));
    page.items[0].clone()
}

fn request(ask: Ask) -> ClientFrame {
    ClientFrame::Request { id: 300, timeout_ms: 2_000, ask }
}

fn answer(tell: Tell) -> NodeFrame {
    NodeFrame::Answer { id: 300, tell }
}

fn stamp() -> Stamp {
    let time = HybridTime { wall: UnixMillis(1_000), logical: 2 };
    Stamp { time, author: Author { member: MemberId(0xa1), incarnation: Incarnation(3) } }
}

/// Each by the name that the documentation gives it.
fn client_frames() -> Vec<(&'static str, ClientFrame)> {
    let write = Action::Write { write: put("k"), make_room: false };
    let query = ListQuery::new().prefix("k").after("k1").limit(50);
    let after = Some(Version::Numbered { epoch: 0xe7, revision: 8 });
    let watch = |after| Ask::Watch { keyspace: keyspace(), prefix: Bytes::from("k"), after };
    let of_replica = |space, ask| request(Ask::Replica(space, ask));
    let replica_page = ReplicaAsk::Page(keyspace(), query.clone());
    let replica_put = |ttl| {
        let value = Encoded::new(&Value::from("v")).unwrap();
        ReplicaAsk::Put { key: key("k"), value, ttl }
    };
    let changes = vec![
        MemberChange::AddLearner(member(0xd4)),
        MemberChange::Promote(RaftId(0xe5)),
        MemberChange::Remove(RaftId(0xf6)),
        MemberChange::Move(member(0xd4)),
        MemberChange::Demote(RaftId(0xa7)),
    ];
    vec![
        ("alive", ClientFrame::Alive),
        ("cancel", ClientFrame::Cancel(300)),
        ("write", request(Ask::Write(stamped(write)))),
        ("open session", request(Ask::Write(Command::new(Action::OpenSession)))),
        ("record", request(Ask::Look(Look::Record(key("k"))))),
        ("has", request(Ask::Look(Look::Has(key("k"))))),
        ("page", request(Ask::Look(Look::Page(keyspace(), query)))),
        ("labelled", request(Ask::Labelled(Look::Has(key("k"))))),
        ("watch", request(watch(after))),
        ("watch from now", request(watch(None))),
        ("status", request(Ask::Status)),
        ("change", request(Ask::Change(changes))),
        ("transfer", request(Ask::Transfer(RaftId(0xe5)))),
        ("backup", request(Ask::Backup)),
        ("get of replica", of_replica(Space::Volatile, ReplicaAsk::Get(key("k")))),
        ("has of replica", of_replica(Space::Durable, ReplicaAsk::Has(key("k")))),
        ("page of replica", of_replica(Space::Volatile, replica_page)),
        ("put to replica", of_replica(Space::Volatile, replica_put(Ttl::from_ms(500).unwrap()))),
        ("", of_replica(Space::Durable, replica_put(None))),
        ("delete in replica", of_replica(Space::Volatile, ReplicaAsk::Delete(key("k")))),
    ]
}

fn standing(part: Part, failure_domain: Option<&str>, away_ms: Option<u64>) -> Standing {
    Standing { part, failure_domain: failure_domain.map(str::to_owned), away_ms }
}

fn status() -> NodeStatus {
    let raft = Status {
        id: RaftId(0xa1),
        role: Role::Leader,
        term: 2,
        vote: Some(RaftId(0xa1)),
        leader: Some(RaftId(0xa1)),
        commit: 41,
        applied: 40,
        first_index: 2,
        last_index: 42,
        voters: [RaftId(0xa1)].into(),
        outgoing: [].into(),
        learners: [RaftId(0xb2)].into(),
        clock_unresolved: false,
        unsynced: 1,
        waiting: 3,
        is_removed: false,
    };
    let status = MemberStatus {
        cluster: ClusterId(0xc3),
        raft,
        members: BTreeMap::from([(RaftId(0xa1), member(0xa1)), (RaftId(0xb2), member(0xb2))]),
        digest: "d".into(),
        revision: 7,
        entries: 5,
        wall_ms: 1_000,
        log_time_ms: 900,
        standings: BTreeMap::from([
            (RaftId(0xa1), standing(Part::Voter, Some("r1"), None)),
            (RaftId(0xb2), standing(Part::Standby, None, Some(300))),
        ]),
        waits_for: Some("w".into()),
    };
    let phase = Phase::Member(Box::new(status));
    NodeStatus { name: "n161".into(), phase, crdt: Some(Box::new(figures())) }
}

fn figures() -> CrdtFigures {
    let status = crdt::Status {
        author: crdt::Author { member: MemberId(0xa1), incarnation: Incarnation(2) },
        epoch: 5,
        has_joined: true,
        is_whole: false,
        blocking: vec![MemberId(0xb2)],
        registers: 3,
        tombstones: 1,
        dropped: 4,
        faults: 0,
        from_future: 6,
        divergences: 0,
    };
    let space = SpaceFigures { status, digest: 0xdd, coverage_runs: 2 };
    let (member, address) = (MemberId(0xb2), "h:1".into());
    CrdtFigures {
        spaces: BTreeMap::from([(Space::Durable, space)]),
        sights: vec![SightFigures { member, address, is_up: true, for_ms: 8 }],
        reserved: UnixMillis(1_000),
        clock_refusals: 7,
        malformed: 9,
        lost: 10,
    }
}

fn founding(status: FoundingStatus) -> NodeFrame {
    let phase = Phase::Founding(status);
    answer(Tell::Status(Box::new(NodeStatus { name: "n1".into(), phase, crdt: None })))
}

fn labelled(tell: Tell) -> NodeFrame {
    let seen = Seen { index: 12, log_time: UnixMillis(1_000), epoch: 0xe7 };
    answer(Tell::Labelled { seen, tell: Box::new(tell) })
}

fn replies() -> Vec<Reply> {
    let version = Version::Numbered { epoch: 0xe7, revision: 8 };
    let refused = |reason, index| Reply::Refused(Refusal { reason, index });
    vec![
        Reply::Written(Written::Put { version, deadline: Some(UnixMillis(1_500)) }),
        Reply::Transacted(vec![Written::Deleted(true), Written::Deleted(false), Written::Checked]),
        Reply::Advanced(3),
        Reply::SessionOpened(SessionId { epoch: 0xe7, index: 12 }),
        refused(Reason::Exists(version), None),
        refused(Reason::Absent, Some(2)),
        refused(Reason::OtherVersion(version), None),
        refused(Reason::SessionExpired, None),
        refused(Reason::SequenceTooLow, None),
        refused(Reason::SequenceTooHigh, None),
    ]
}

fn node_frames() -> Vec<(&'static str, NodeFrame)> {
    let failed = |reason, outcome| answer(Tell::Failed(Failure { reason, outcome }));
    let applied = |reply| {
        let applied = Applied { index: 12, log_time: UnixMillis(1_000), reply };
        answer(Tell::Applied { applied, was_repeated: false })
    };
    let events = [EventKind::Put, EventKind::Delete, EventKind::Expire].map(|kind| {
        let (key, record) = record("k");
        KeyEvent { kind, key, record: (kind == EventKind::Put).then_some(record) }
    });
    let change = RevisionChange { revision: 1, events: events.into() };
    let page = MachinePage { items: vec![record("k"), record("m")], has_more: true };
    let shown = |deadline| {
        let value = Encoded::new(&Value::from("v")).unwrap();
        Shown { value, stamp: stamp(), deadline }
    };
    let items = vec![(key("k"), shown(Some(UnixMillis(1_500)))), (key("m"), shown(None))];
    let shown_page = KeyPage { items, has_more: true };
    let stamped = |deadline| Tell::Stamped(Stamped { stamp: stamp(), deadline, was_shown: true });
    let compacted = Error::invalid("gone").with_detail("reason", "compacted");
    let mut frames: Vec<_> = replies().into_iter().map(|reply| ("", applied(reply))).collect();
    frames[0].0 = "applied";
    frames.extend([
        ("still there", NodeFrame::Alive),
        ("record", answer(Tell::Record(Some(record("m"))))),
        ("no record", answer(Tell::Record(None))),
        ("has", answer(Tell::Has(true))),
        ("page", answer(Tell::Page(page))),
        ("labelled", labelled(Tell::Has(true))),
        ("", labelled(Tell::Record(Some(record("m"))))),
        ("watching", answer(Tell::Watching { epoch: 0xe7, revision: 8 })),
        ("revision", answer(Tell::Revision { epoch: 0xe7, change })),
        ("status", answer(Tell::Status(Box::new(status())))),
        ("", founding(FoundingStatus::Waiting { seen: 2 })),
        ("", founding(FoundingStatus::Pledged { agreed: 1 })),
        ("", founding(FoundingStatus::Split)),
        ("", founding(FoundingStatus::Join { cluster: ClusterId(0xc3), via: member(2) })),
        ("changed", answer(Tell::Changed(13))),
        ("transfer started", answer(Tell::TransferStarted)),
        ("chunk", answer(Tell::Chunk(Bytes::from_static(&[1, 2, 3])))),
        ("backup end", answer(Tell::BackupEnd { bytes: 3, digest: 0xd1 })),
        ("failed", failed(FailureReason::Refused("no".into()), Outcome::Unknown)),
        ("", failed(FailureReason::Timeout, Outcome::Unknown)),
        ("", failed(FailureReason::NoLeader, Outcome::None)),
        ("", failed(FailureReason::Busy, Outcome::None)),
        ("", failed(FailureReason::Stopped, Outcome::Unknown)),
        ("", failed(FailureReason::NoNode("why".into()), Outcome::None)),
        ("shown", answer(Tell::Shown(Some(shown(None))))),
        ("nothing shown", answer(Tell::Shown(None))),
        ("shown page", answer(Tell::ShownPage(shown_page))),
        ("stamped", answer(stamped(Some(UnixMillis(1_500))))),
        ("", answer(stamped(None))),
        ("error", answer(Tell::Error(compacted))),
        ("", answer(Tell::Error(Error::internal("x")))),
    ]);
    frames
}

/// Every cut is refused, and what decodes after a change of any bit is another frame's own encoding.
fn attack<T: PartialEq + std::fmt::Debug>(
    frame: &T,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(Bytes) -> Decoded<T>,
) {
    let bytes = encode(frame);
    assert_eq!(decode(bytes.clone()).as_ref(), Ok(frame));
    for end in 0..bytes.len() {
        assert!(decode(bytes.slice(..end)).is_err(), "cut at {end}: {frame:?}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(decode(longer.into()).is_err(), "with a byte behind it: {frame:?}");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << bit;
            let changed = Bytes::from(changed);
            if let Ok(other) = decode(changed.clone()) {
                assert_eq!(encode(&other), changed, "bit {bit} of byte {at} of {frame:?}");
                assert_ne!(&other, frame);
            }
        }
    }
}

#[test]
fn frames_round_trip_and_what_is_cut_or_changed_is_refused_or_another_frame() {
    for (_, frame) in client_frames() {
        attack(&frame, ClientFrame::encode, ClientFrame::decode);
    }
    for (_, frame) in node_frames() {
        attack(&frame, NodeFrame::encode, NodeFrame::decode);
    }
}

#[test]
fn an_answer_weighs_about_what_it_takes() {
    for (_, frame) in node_frames() {
        let NodeFrame::Answer { tell, .. } = &frame else { continue };
        let (weight, length) = (tell.weight(), frame.encode().len());
        assert!(length <= weight, "{length} bytes weigh {weight}: {frame:?}");
    }
}

#[test]
fn values_are_slices_of_the_frame() {
    let value = Encoded::new(&Value::from(vec![7; 1_000])).unwrap();
    let write = Write::Put { key: key("k"), value, ttl: None, condition: Condition::None };
    let frame = request(Ask::Write(stamped(Action::Write { write, make_room: false }))).encode();
    let range = frame.as_ptr_range();
    let decoded = ClientFrame::decode(frame.clone()).unwrap();
    let ClientFrame::Request { ask: Ask::Write(command), .. } = decoded else { panic!("a write") };
    let Write::Put { value, .. } = &command.action.writes()[0] else { panic!("a put") };
    assert!(range.contains(&value.as_bytes().as_ptr()));
}

#[test]
fn what_a_client_may_not_write_is_refused_with_the_reason() {
    let write = || Action::Write { write: put("k"), make_room: false };
    let transact = |writes| stamped(Action::Transact { writes, make_room: false });
    let many = (0..=TRANSACTION_OPERATIONS_MAX).map(|n| put(&n.to_string())).collect();
    let large = |name: &str| Write::Put {
        key: key(name),
        value: Encoded::new(&Value::from(vec![0; TRANSACTION_BYTES_MAX / 2])).unwrap(),
        ttl: None,
        condition: Condition::None,
    };
    for (command, word) in [
        (Command::new(write()), "stamp"),
        (stamped(Action::OpenSession), "without the stamp"),
        (stamped(Action::Advance), "leader"),
        (Command::new(Action::Advance), "leader"),
        (transact(many), "129 operations"),
        (transact(vec![put("k"), put("k")]), "occurs twice"),
        (transact(vec![large("a"), large("b")]), "bytes of keys and values"),
    ] {
        let failure = refusal(&command).expect(word);
        let error = failure.to_error();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Invalid, Some(Outcome::None)));
        assert!(error.message().contains(word), "{error}");
    }
    for command in
        [stamped(write()), transact(vec![put("k"), put("l")]), Command::new(Action::OpenSession)]
    {
        assert_eq!(refusal(&command), None);
    }
}

/// The blocks of the page that show bytes: each line is bytes, two spaces, what they are.
fn documented(kind: &str) -> BTreeMap<String, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    for block in PAGE.split("```").skip(1).step_by(2) {
        let (title, lines) = block.split_once('\n').unwrap();
        let Some(name) = title.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' ')) else {
            continue;
        };
        let bytes = lines.lines().flat_map(|line| {
            line.split("  ").next().unwrap().split_whitespace().map(|byte| {
                u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{byte} in {name}"))
            })
        });
        assert_eq!(blocks.insert(name.to_owned(), bytes.collect()), None, "{name} twice");
    }
    blocks
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let named = |frames: Vec<(&str, Bytes)>| -> BTreeMap<String, Vec<u8>> {
        let frames = frames.into_iter().filter(|(name, _)| !name.is_empty());
        frames.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
    };
    let client = client_frames().into_iter().map(|(name, frame)| (name, frame.encode())).collect();
    let node = node_frames().into_iter().map(|(name, frame)| (name, frame.encode())).collect();
    assert_eq!(documented("bytes client"), named(client));
    assert_eq!(documented("bytes node"), named(node));
}
