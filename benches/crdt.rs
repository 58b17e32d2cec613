//! A replica that takes over the entries of another one, against a bare map that is given the same
//! entries; and what a replica takes in memory for a key and for a tombstone.
//!
//! `cargo bench --bench crdt`. The baseline inserts key and value; the replica checks dots and the rule of
//! collection, keeps the orders by author and deadline, the hash trie and the coverage beside the map.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{
    Answer, Body, Envelope, Incarnation, MemberId, MemberList, Options, Replica, Reply, Start,
};
use plimsoll::entry::Key;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::value::{Encoded, Value};

const NOW: Now = Now { monotonic_ms: 1_000, wall: UnixMillis(1_000) };

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "memory") {
        return memory(&arguments[place + 1]);
    }
    for size in [10_000, 1_000_000] {
        merge(size);
    }
    for what in ["key", "tombstone"] {
        // A process of its own for each: nothing that was freed before counts.
        let program = std::env::current_exe().expect("it runs");
        let status = Command::new(program).args(["memory", what]).status();
        assert!(status.expect("it starts").success());
    }
}

/// Three rounds of both in turn; the best of each counts.
fn merge(size: usize) {
    let mut source = replica(1);
    fill(&mut source, size);
    let entries = entries_of(&source);
    let answers = answers_of(&source);
    let (mut replica_best, mut map_best) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let given = entries.clone();
        let start = Instant::now();
        let mut map = BTreeMap::new();
        for (key, value) in given {
            map.insert(key, value);
        }
        map_best = map_best.min(start.elapsed());
        assert_eq!(map.len(), size);
        drop(map);
        replica_best = replica_best.min(taken_over(&answers, size));
    }
    let rate = |took: Duration| size as f64 / took.as_secs_f64();
    println!(
        "merge of {size} entries: {:.0} entries/s, a bare BTreeMap {:.0} entries/s: {:.2}x its time",
        rate(replica_best),
        rate(map_best),
        replica_best.as_secs_f64() / map_best.as_secs_f64()
    );
}

/// How long another replica takes to merge answers of an exchange, once they are decoded.
fn taken_over(answers: &[Bytes], size: usize) -> Duration {
    let mut replica = replica(2);
    let mut took = Duration::ZERO;
    replica.ask(MemberId(1), NOW);
    for answer in answers {
        let envelope = Envelope::decode(answer.clone()).expect("it was encoded");
        let envelope = renamed(envelope, &replica);
        let start = Instant::now();
        replica.handle(envelope, NOW);
        took += start.elapsed();
    }
    assert_eq!(replica.map().len(), size, "it took over everything");
    took
}

/// The answer as to the exchange that this replica has on.
fn renamed(mut envelope: Envelope, replica: &Replica) -> Envelope {
    let asked = replica.ask_again(NOW).expect("an exchange is on");
    let Body::Ask(ask) = asked.body else { unreachable!("it asks") };
    let Body::Answer(answer) = &mut envelope.body else { unreachable!("it is an answer") };
    (answer.exchange, answer.step) = (ask.exchange, ask.step);
    envelope
}

/// What a replica that holds nothing is answered, step by step.
fn answers_of(source: &Replica) -> Vec<Bytes> {
    let (mut server, mut asker) = (source.clone(), replica(2));
    let mut ask = Some(asker.ask(MemberId(1), NOW));
    let mut answers = Vec::new();
    while let Some(question) = ask {
        let answer = server.handle(question, NOW).reply.expect("it answers");
        answers.push(answer.encode());
        ask = asker.handle(answer, NOW).reply;
    }
    answers
}

fn entries_of(source: &Replica) -> Vec<(Arc<str>, Bytes)> {
    answers_of(source)
        .into_iter()
        .flat_map(|answer| {
            let envelope = Envelope::decode(answer).expect("it was encoded");
            let Body::Answer(answer) = envelope.body else { unreachable!("it is an answer") };
            let Answer { reply: Reply::Entries { entries, .. }, .. } = *answer else {
                unreachable!("nothing was dropped, so nothing is walked")
            };
            entries
        })
        .map(|(key, _)| (Arc::from(key.key()), Bytes::copy_from_slice(&[b'v'; 64])))
        .collect()
}

/// One of two replicas that have joined.
fn replica(member: u64) -> Replica {
    let mut replica = alone(member);
    let members = BTreeSet::from([MemberId(1), MemberId(2)]);
    replica.set_list(MemberList { epoch: 2, members }, NOW);
    replica
}

fn alone(member: u64) -> Replica {
    let start = Start {
        member: MemberId(member),
        number: 1,
        members: MemberList { epoch: 1, members: BTreeSet::from([MemberId(member)]) },
        reserved: UnixMillis(1),
        is_durable: false,
        options: Options { tombstones_max: usize::MAX, ..Options::default() },
    };
    let mut replica = Replica::begin(start, None, Incarnation(0));
    replica.reserve(UnixMillis(u64::MAX));
    replica
}

fn fill(replica: &mut Replica, size: usize) {
    let value = Encoded::new(&Value::from(vec![b'v'; 64])).expect("a small value");
    for number in 0..size {
        replica.put(&key(number), value.detached(), None, NOW).expect("it serves");
        while replica.poll_push().is_some() {}
    }
}

fn key(number: usize) -> QualifiedKey {
    let keyspace = Keyspace::new("bench").expect("a name");
    QualifiedKey::new(&keyspace, &Key::new(&format!("session/{number:014}")).expect("a key"))
}

/// Prints what one key, or one tombstone, takes.
fn memory(what: &str) {
    const SIZE: usize = 1_000_000;
    let mut replica = alone(1);
    let before = resident();
    if what == "key" {
        fill(&mut replica, SIZE);
    } else {
        for number in 0..SIZE {
            replica.delete(&key(number), NOW).expect("it serves");
        }
    }
    let bytes = resident().saturating_sub(before) / SIZE;
    assert_eq!(replica.map().len(), SIZE);
    println!("memory of one {what}, 22 B keys and 64 B values: {bytes} B");
}

/// Resident memory of this process, in bytes; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) * 1_024
}
