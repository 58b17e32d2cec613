//! The bytes in `docs/design/wire.md` are those that the code writes, and the code reads them.
//!
//! A block of the page that begins with `bytes NAME` is compared with the sample of that name: hex
//! digits at the start of each line count, what follows two blanks explains them.
#![cfg(feature = "raft")]
#![allow(clippy::unwrap_used)]

#[path = "support/raft/mod.rs"]
mod cluster;
#[path = "support/raft/faults.rs"]
mod faults;

use std::collections::BTreeMap;

use bytes::Bytes;
use cluster::{Cluster, member};
use plimsoll::clock::UnixMillis;
use plimsoll::kv::{Action, Command, LogEntry, SessionId, SessionStamp};
use plimsoll::raft::{
    Body, ClusterId, Decline, Envelope, Identity, Member, MemberChange, Options, Origin, RaftId,
    Request, RequestId, SnapshotName, found,
};
use raft::eraftpb::{Message, MessageType};

const PAGE: &str = include_str!("../docs/design/wire.md");

fn envelope(body: Body) -> Envelope {
    let (from, to, cluster) = (RaftId(0xa1), RaftId(0xb2), ClusterId(0xc3));
    Envelope { from, to, cluster, wall: UnixMillis(1_000), body }
}

fn named_member() -> Member {
    Member { id: RaftId(0xd4), name: "n4".into(), address: "h:1".into() }
}

fn envelopes() -> BTreeMap<&'static str, Envelope> {
    let origin = Origin { node: RaftId(0xa1), start: 2, request: RequestId(300) };
    let snapshot = SnapshotName { index: 41, term: 2, bytes: 2_368, digest: 0x0102_0304_0506_0708 };
    let heartbeat = Message {
        msg_type: MessageType::MsgHeartbeat as i32,
        to: 0xb2,
        from: 0xa1,
        term: 2,
        commit: 41,
        ..Message::default()
    };
    let decline = |why| Body::Decline { start: 2, request: RequestId(300), why };
    let changes = vec![
        MemberChange::AddLearner(named_member()),
        MemberChange::Promote(RaftId(0xe5)),
        MemberChange::Remove(RaftId(0xf6)),
        MemberChange::Move(named_member()),
        MemberChange::Demote(RaftId(0xa7)),
    ];
    [
        ("raft", Body::Raft(Box::new(heartbeat))),
        ("forward", Body::Forward { origin, command: Bytes::from_static(b"\x00\x03") }),
        ("forward-change", Body::ForwardChange { origin, changes }),
        ("decline: no leader", decline(Decline::NotLeader(None))),
        ("decline: another leader", decline(Decline::NotLeader(Some(RaftId(0xe5))))),
        ("decline: busy", decline(Decline::Busy)),
        ("decline: refused", decline(Decline::Refused("no".into()))),
        ("chunk", Body::Chunk { snapshot, offset: 400, bytes: Bytes::from_static(b"\xaa\xbb") }),
        ("chunk-received", Body::ChunkReceived { snapshot, offset: 402 }),
        ("not-member", Body::NotMember { index: 41 }),
    ]
    .map(|(name, body)| (name, envelope(body)))
    .into()
}

/// Everything that the page shows, by its name.
fn samples() -> BTreeMap<&'static str, Vec<u8>> {
    let mut samples: BTreeMap<_, _> = envelopes()
        .into_iter()
        .map(|(name, envelope)| (name, envelope.encode().to_vec()))
        .collect();
    let session = SessionStamp { session: SessionId { epoch: 0xe, index: 3 }, seq: 1, low: 0 };
    let command = Command { session: Some(session), action: Action::OpenSession };
    let log_entry = LogEntry { stamp: UnixMillis(1_000), command };
    samples.insert("entry: data", log_entry.encode().to_vec());
    let (of_command, of_change) = contexts();
    samples.insert("entry: context", of_command);
    samples.insert("change: context", of_change);
    let (_, snapshot) = found(ClusterId(0xc3), 0xe, UnixMillis(0x7f), &[named_member()]);
    samples.insert("snapshot", snapshot.to_vec());
    let identity =
        Identity { start: 2, cluster: Some(ClusterId(0xc3)), ..Identity::new(RaftId(0xa1)) };
    samples.insert("identity", identity.encode().to_vec());
    samples
}

/// The context of a command's entry, and that of a change of the membership that adds a member.
fn contexts() -> (Vec<u8>, Vec<u8>) {
    let mut cluster = Cluster::new(1, Options::default());
    cluster.tick(40, None);
    let id = RaftId(1);
    cluster.request(id, Request::Write(Command::new(Action::OpenSession)), 5_000);
    cluster.request(id, Request::Change(vec![MemberChange::AddLearner(member(4))]), 5_000);
    let log = cluster.node(id).log();
    let change = log.entry(4).unwrap();
    let change: raft::eraftpb::ConfChangeV2 =
        prost_raft::Message::decode(&change.data[..]).unwrap();
    (log.entry(3).unwrap().context.clone(), change.context)
}

/// The blocks of the page: names and bytes.
fn shown() -> BTreeMap<&'static str, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut name = None;
    for line in PAGE.lines() {
        if let Some(of) = line.strip_prefix("```bytes ") {
            name = Some(of);
            blocks.insert(of, Vec::new());
        } else if line.starts_with("```") {
            name = None;
        } else if let Some(name) = name {
            let digits = line.split("  ").next().unwrap();
            let bytes = digits.split(' ').map(|pair| u8::from_str_radix(pair, 16).unwrap());
            blocks.get_mut(name).unwrap().extend(bytes);
        }
    }
    blocks
}

#[test]
fn the_page_shows_what_the_code_writes() {
    let (samples, shown) = (samples(), shown());
    for (name, bytes) in &samples {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown.get(name), Some(bytes), "{name}: {}", digits.join(" "));
    }
    assert_eq!(shown.len(), samples.len(), "the page shows nothing else");
}

#[test]
fn the_code_reads_what_the_page_shows() {
    let shown = shown();
    for (name, envelope) in envelopes() {
        assert_eq!(Envelope::decode(shown[name].clone().into()), Ok(envelope), "{name}");
    }
    assert!(LogEntry::decode(shown["entry: data"].clone().into()).is_ok());
    assert!(Identity::decode(shown["identity"].clone().into()).is_ok());
}
