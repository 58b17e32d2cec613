//! What a replica promises whoever drives it: refusals, pushes, exchanges, durability, messages in bytes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{
    Body, Dot, Entry, Envelope, Handled, Incarnation, Kept, Look, MemberId, MemberList, Options,
    Pushed, Question, Refusal, Replica, Reply, Start, Walk,
};
use plimsoll::entry::{Key, Ttl};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::limits::{CRDT_SUPERSEDED_MAX, VALUE_BYTES_MAX};
use plimsoll::storage::{Batch, MemDisk, SnapshotMeta, Storage, StorageOptions, StoredEntry};
use plimsoll::value::{Encoded, Value};
use xxhash_rust::xxh3::xxh3_128;

const NOW: Now = Now { monotonic_ms: 0, wall: UnixMillis(1_000_000) };

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall: UnixMillis(1_000_000 + ms) }
}

fn start(member: u64, members: u64, number: u64) -> Start {
    Start {
        member: MemberId(member),
        number,
        members: list(0, &(1..=members).collect::<Vec<_>>()),
        reserved: UnixMillis(0),
        is_durable: false,
        options: Options::default(),
    }
}

fn list(epoch: u64, members: &[u64]) -> MemberList {
    MemberList { epoch, members: members.iter().copied().map(MemberId).collect() }
}

fn begin(start: Start) -> Replica {
    let mut replica = Replica::begin(start, None, Incarnation(0));
    replica.reserve(UnixMillis(u64::MAX));
    replica
}

/// Two replicas that have joined.
fn pair() -> (Replica, Replica) {
    let (mut one, mut other) = (begin(start(1, 2, 1)), begin(start(2, 2, 1)));
    exchange(&mut one, &mut other, NOW);
    exchange(&mut other, &mut one, NOW);
    (one, other)
}

/// The asker takes the state of the server. Answers the bytes that went there and back.
fn exchange(asker: &mut Replica, server: &mut Replica, now: Now) -> usize {
    exchange_messages(asker, server, now).iter().map(|message| message.encode().len()).sum()
}

/// The asker takes the state of the server, by messages in bytes. Answers the messages.
fn exchange_messages(asker: &mut Replica, server: &mut Replica, now: Now) -> Vec<Envelope> {
    let mut messages = Vec::new();
    let mut next = Some(asker.ask(server.status().author.member, now));
    while let Some(ask) = next {
        let answer = server.handle(through_bytes(&ask), now).reply.unwrap();
        next = asker.handle(through_bytes(&answer), now).reply;
        messages.extend([ask, answer]);
    }
    messages
}

fn through_bytes(envelope: &Envelope) -> Envelope {
    Envelope::decode(envelope.encode()).unwrap()
}

fn key(name: impl ToString) -> QualifiedKey {
    QualifiedKey::new(&Keyspace::new("k").unwrap(), &Key::new(&name.to_string()).unwrap())
}

fn value(value: impl Into<Value>) -> Encoded {
    Encoded::new(&value.into()).unwrap()
}

fn shown(replica: &Replica, name: impl ToString, now: Now) -> Option<Value> {
    let entry = replica.get(&key(name), now.wall).unwrap()?;
    Some(entry.bytes.as_ref().unwrap().decode())
}

#[test]
fn a_sole_member_serves_at_once_and_others_once_they_have_joined() {
    let mut alone = begin(start(1, 1, 1));
    alone.put(&key("a"), value(1), None, NOW).unwrap();
    assert_eq!(shown(&alone, "a", NOW), Some(1.into()));
    assert_eq!(alone.poll_push(), None, "there is nobody to tell");

    let (mut one, mut other) = (begin(start(1, 2, 1)), begin(start(2, 2, 1)));
    assert_eq!(one.put(&key("a"), value(1), None, NOW), Err(Refusal::NotJoined));
    assert_eq!(one.get(&key("a"), NOW.wall), Err(Refusal::NotJoined));
    assert_eq!(one.digest(MemberId(2), NOW), None);
    exchange(&mut one, &mut other, NOW);
    one.put(&key("a"), value(1), None, NOW).unwrap();
    assert_eq!(other.get(&key("a"), NOW.wall), Err(Refusal::NotJoined));
    assert_eq!(other.unmet().collect::<Vec<_>>(), [MemberId(1)]);
    exchange(&mut other, &mut one, NOW);
    assert_eq!(shown(&other, "a", NOW), Some(1.into()));
}

/// One that is found without its state may have joined since, by one that starts without it after that.
#[test]
fn nobody_is_joined_before_it_has_found_all_to_be_unjoined_at_once() {
    let [mut one, mut two, mut three] = [1, 2, 3].map(|member| begin(start(member, 3, 1)));
    exchange(&mut one, &mut two, NOW);
    assert_eq!(one.unmet().collect::<Vec<_>>(), [MemberId(2), MemberId(3)]);
    exchange(&mut one, &mut three, NOW);
    assert_eq!(one.unmet().collect::<Vec<_>>(), [MemberId(2)], "it is asked once more");
    assert!(!one.status().has_joined);

    let mut again = begin(start(2, 3, 2));
    exchange(&mut one, &mut again, NOW);
    assert_eq!(one.unmet().collect::<Vec<_>>(), [MemberId(3)], "it had started again");
    assert!(!one.status().has_joined);
    exchange(&mut one, &mut three, NOW);
    assert!(one.status().has_joined && one.status().is_whole);
    exchange(&mut again, &mut one, NOW);
    assert!(again.status().has_joined);
    assert_eq!(again.unmet().collect::<Vec<_>>(), [MemberId(3)], "to be whole");
}

#[test]
fn pushes_tell_the_newest_write_of_a_key_and_cover_those_it_superseded() {
    let (mut one, mut other) = pair();
    for number in 0..5 {
        one.put(&key("a"), value(number), None, NOW).unwrap();
    }
    one.delete(&key("b"), NOW).unwrap();
    let pushes = one.poll_push().unwrap();
    let superseded: Vec<_> = pushes.iter().map(|it| it.superseded.len()).collect();
    assert_eq!(superseded, [4, 0]);
    assert_eq!(one.poll_push(), None);
    let envelope = one.push(MemberId(2), pushes, NOW);
    other.handle(envelope.clone(), NOW);
    assert_eq!(shown(&other, "a", NOW), Some(4.into()));
    assert_eq!(other.coverage(), one.coverage(), "no gap is left");
    let relayed = other.poll_push().unwrap();
    let authors: BTreeSet<_> = relayed.iter().map(|it| it.entry.dot().author.member).collect();
    assert_eq!(authors, BTreeSet::from([MemberId(1)]), "a relayed write is still its author's");
    other.handle(envelope, NOW);
    assert_eq!(other.poll_push(), None, "what is no news is not relayed");
}

/// However often a key is written between two pushes.
#[test]
fn a_push_names_no_more_writes_than_its_limit_and_an_exchange_covers_the_rest() {
    let (mut one, mut other) = pair();
    for number in 0..3 * CRDT_SUPERSEDED_MAX {
        one.put(&key("a"), value(number), None, NOW).unwrap();
    }
    let pushes = one.poll_push().unwrap();
    assert_eq!(pushes[0].superseded.len(), CRDT_SUPERSEDED_MAX - 1);
    let envelope = one.push(MemberId(2), pushes, NOW);
    other.handle(envelope, NOW);
    assert_eq!(other.map().dump(), one.map().dump());
    assert_ne!(other.coverage(), one.coverage());
    let digest = one.digest(MemberId(2), NOW).unwrap();
    assert!(other.handle(digest, NOW).is_behind);
    assert!(exchange(&mut other, &mut one, NOW) < 400, "no entries, only what is covered");
    assert_eq!(other.coverage(), one.coverage());
}

#[test]
fn beyond_the_bound_of_tombstones_no_new_key_is_written_or_deleted() {
    let options = Options { tombstones_max: 2, ..Options::default() };
    let mut replica = begin(Start { options, ..start(1, 1, 1) });
    replica.delete(&key("a"), NOW).unwrap();
    let ttl = Ttl::from_ms(1).unwrap();
    replica.put(&key("b"), value(1), ttl, NOW).unwrap();
    replica.put(&key("c"), value(1), None, NOW).unwrap();
    let later = at(10);
    let before = replica.status();
    assert_eq!(replica.put(&key("d"), value(1), None, later), Err(Refusal::Tombstones));
    assert_eq!(replica.delete(&key("d"), later), Err(Refusal::Tombstones));
    assert_eq!(replica.status().registers, before.registers);
    replica.put(&key("a"), value(2), None, later).unwrap();
    replica.put(&key("d"), value(1), None, later).unwrap();
    replica.delete(&key("c"), later).unwrap();
    assert_eq!(replica.delete(&key("e"), later), Err(Refusal::Tombstones));
    replica.collect(100, later);
    assert_eq!(replica.status().dropped, 1, "the delete; what expired waits for the clocks");
    replica.delete(&key("e"), later).unwrap();
}

#[test]
fn a_deadline_travels_with_its_value_and_goes_with_it() {
    let (mut one, mut other) = pair();
    let ttl = Ttl::from_ms(500).unwrap();
    let written = one.put(&key("a"), value(1), ttl, NOW).unwrap();
    assert_eq!(written.deadline, Some(NOW.wall.after(500)));
    one.put(&key("b"), value(1), ttl, NOW).unwrap();
    one.put(&key("b"), value(2), None, NOW).unwrap();
    exchange(&mut other, &mut one, NOW);
    assert_eq!(shown(&other, "a", at(499)), Some(1.into()));
    assert_eq!(shown(&other, "a", at(500)), None);
    assert_eq!(shown(&other, "b", at(9_000)), Some(2.into()));
    other.handle_tick(at(500));
    assert_eq!(shown(&other, "a", NOW), None, "time never goes back for a reader");
    assert_eq!(other.poll_push(), None, "expiry writes nothing");
    assert!(!one.delete(&key("a"), at(600)).unwrap().was_shown);
}

/// What an ended incarnation says comes late, and says nothing about the time.
#[test]
fn a_message_of_an_ended_incarnation_tells_no_time() {
    let (mut one, other) = pair();
    let hour_ms = 3_600_000;
    let ttl = Ttl::from_ms(hour_ms / 2).unwrap();
    one.put(&key("a"), value(1), ttl, NOW).unwrap();
    let wrong = Now { wall: NOW.wall.after(hour_ms), ..NOW };
    let late = other.digest(MemberId(1), wrong).unwrap();
    let mut again = begin(start(2, 2, 2));
    exchange(&mut again, &mut one, NOW);
    one.handle(late, NOW);
    one.handle_tick(wrong);
    assert_eq!(shown(&one, "a", NOW), Some(1.into()));
}

#[test]
fn an_exchange_takes_bytes_in_proportion_to_the_difference() {
    let (mut one, mut other) = pair();
    for number in 0..5_000 {
        one.put(&key(number), value("x".repeat(100).as_str()), None, NOW).unwrap();
    }
    let all = exchange(&mut other, &mut one, NOW);
    assert!(all > 500_000, "{all} bytes, in chunks");
    assert_eq!(other.map().dump(), one.map().dump());
    for number in [7, 4_000] {
        one.put(&key(number), value(number), None, NOW).unwrap();
    }
    other.put(&key("own"), value(1), None, NOW).unwrap();
    let few = exchange(&mut other, &mut one, NOW);
    assert!(few < 1_000, "{few} bytes for two writes of 5,000");
    assert!(exchange(&mut other, &mut one, NOW) < 400);
}

/// Some of many keys, by far more than a message takes.
#[test]
fn a_difference_of_many_chunks_comes_in_the_order_of_keys() {
    for chunk_bytes in [1, 300, 2_000] {
        let options = Options { chunk_bytes, ..Options::default() };
        let of = |member| begin(Start { options, ..start(member, 2, 1) });
        let (mut one, mut other) = (of(1), of(2));
        exchange(&mut one, &mut other, NOW);
        for number in 0..400 {
            one.put(&key(number), value(number), None, NOW).unwrap();
        }
        exchange(&mut other, &mut one, NOW);
        for number in 0..40 {
            one.put(&key(number * 77 % 400), value("again"), None, NOW).unwrap();
        }
        let messages = exchange_messages(&mut other, &mut one, NOW);
        let is_same = other.map().dump() == one.map().dump();
        assert!(is_same, "in chunks of {chunk_bytes} bytes");
        let mut keys = Vec::new();
        for message in &messages {
            let Body::Answer(answer) = &message.body else { continue };
            let Reply::Entries { entries, .. } = &answer.reply else { panic!("there is no walk") };
            keys.extend(entries.iter().map(|(key, _)| key.clone()));
        }
        assert_eq!(keys.len(), 40, "none of them twice");
        assert!(keys.is_sorted());
        assert!(messages.len() > 2, "more than one chunk");
    }
}

/// A member that is set back to a snapshot still holds what was deleted and collected since.
#[test]
fn a_member_that_was_set_back_walks_to_what_was_dropped() {
    let (mut one, mut other) = set_back();
    assert_eq!(other.map().len(), 300, "it holds what was deleted");
    let messages = exchange_messages(&mut other, &mut one, NOW);
    assert_eq!(other.map().dump(), one.map().dump());
    assert_eq!(other.coverage(), one.coverage());
    assert!(other.status().has_joined);
    assert_eq!((other.status().dropped, other.map().len()), (5, 295));
    assert_eq!(shown(&other, 100, NOW), Some("again".into()));
    let is_branch =
        |envelope: &&Envelope| has_nodes(envelope, |look| matches!(look, Look::Branch(_)));
    let is_leaf = |envelope: &&Envelope| has_nodes(envelope, |look| matches!(look, Look::Leaf(_)));
    assert_eq!(messages.iter().filter(is_branch).count(), 2, "the root, and below it");
    assert_eq!(messages.iter().filter(is_leaf).count(), 1);
    let bytes: usize = messages.iter().map(|it| it.encode().len()).sum();
    assert!(bytes < 3_000, "{bytes} bytes for five keys of 300");
}

/// What was deleted and collected is written again, while the exchange that should tell of it is on.
#[test]
fn what_is_written_during_a_walk_does_not_hide_what_was_dropped() {
    let (mut one, mut other) = set_back();
    let mut next = Some(other.ask(MemberId(1), NOW));
    let mut is_written = false;
    while let Some(ask) = next {
        let Body::Ask(step) = &ask.body else { panic!("{ask:?}") };
        if matches!(step.question, Question::Nodes(_)) && !is_written {
            one.put(&key(60), value("anew"), None, NOW).unwrap();
            is_written = true;
        }
        let answer = one.handle(ask, NOW).reply.unwrap();
        next = other.handle(answer, NOW).reply;
    }
    assert!(is_written, "it walks");
    assert_eq!(shown(&other, 60, NOW), Some("anew".into()), "the value before was deleted");
    assert_eq!(other.map().dump(), one.map().dump());
}

/// One member, and another one that is set back to a moment before 5 keys of 300 were deleted, and
/// another one was written again.
fn set_back() -> (Replica, Replica) {
    let (mut one, mut other) = pair();
    for number in 0..300 {
        one.put(&key(number), value(number), None, NOW).unwrap();
    }
    exchange(&mut other, &mut one, NOW);
    let kept = kept_of(&other);
    for number in 0..5 {
        one.delete(&key(number * 60), NOW).unwrap();
    }
    one.put(&key(100), value("again"), None, NOW).unwrap();
    exchange(&mut other, &mut one, NOW);
    let digest = other.digest(MemberId(1), NOW).unwrap();
    one.handle(digest, NOW);
    one.collect(1_000, NOW);
    assert_eq!(one.status().dropped, 5);
    let other = Replica::begin(start(2, 2, 2), Some(kept), Incarnation(1));
    (one, other)
}

fn has_nodes(envelope: &Envelope, is_it: impl Fn(&Look) -> bool) -> bool {
    let Body::Answer(answer) = &envelope.body else { return false };
    let Reply::Nodes(nodes) = &answer.reply else { return false };
    nodes.iter().any(|(_, look)| is_it(look))
}

#[test]
fn the_largest_value_travels() {
    let (mut one, mut other) = pair();
    let large = value(vec![7; VALUE_BYTES_MAX - 4]);
    one.put(&key("a"), large.clone(), None, NOW).unwrap();
    let pushes = one.poll_push().unwrap();
    let envelope = one.push(MemberId(2), pushes, NOW);
    other.handle(through_bytes(&envelope), NOW);
    assert_eq!(other.get(&key("a"), NOW.wall).unwrap().unwrap().bytes, Some(large));
}

#[test]
fn a_member_that_is_told_of_a_later_start_of_itself_has_ended() {
    let (mut one, mut other) = pair();
    let mut again = begin(start(1, 2, 5));
    exchange(&mut again, &mut other, NOW);
    let digest = other.digest(MemberId(1), NOW).unwrap();
    one.handle(digest, NOW);
    let refusal = Refusal::Superseded(Incarnation(5));
    assert_eq!(one.put(&key("a"), value(1), None, NOW), Err(refusal));
    assert_eq!(one.get(&key("a"), NOW.wall), Err(refusal));
    again.put(&key("a"), value(1), None, NOW).unwrap();
}

#[test]
fn a_durable_replica_says_and_shows_nothing_that_is_not_durable() {
    let mut one = begin(Start { is_durable: true, ..start(1, 2, 1) });
    let mut other = begin(start(2, 2, 1));
    let ask = other.ask(MemberId(1), NOW);
    assert_eq!(one.handle(ask, NOW).reply, None, "whom it answers is not durable yet");
    let (number, _) = one.poll_record().unwrap();
    one.handle_durable(number);
    exchange(&mut other, &mut one, NOW);
    exchange(&mut one, &mut other, NOW);
    let (number, _) = one.poll_record().unwrap();
    one.handle_durable(number);
    assert_eq!(one.get(&key("a"), NOW.wall), Ok(None));

    let written = one.put(&key("a"), value(1), None, NOW).unwrap();
    assert_eq!(shown(&one, "a", NOW), None);
    assert_eq!(one.poll_push(), None);
    let (number, _) = one.poll_record().unwrap();
    assert_eq!(written.record, Some(number));
    let second = one.put(&key("a"), value(2), None, NOW).unwrap();
    assert_eq!(second.record, Some(number + 1));
    assert_eq!(one.poll_push(), None);
    one.handle_durable(number);
    assert_eq!(shown(&one, "a", NOW), Some(1.into()));
    assert_eq!(one.poll_push().unwrap()[0].entry.dot(), written.dot);
    assert_eq!(one.poll_push(), None);
    assert_eq!(one.poll_record().unwrap().0, number + 1);
    assert_eq!(one.poll_record(), None, "nothing changed");
    one.handle_durable(number + 1);
    assert_eq!(one.poll_push().unwrap()[0].entry.dot(), second.dot);
}

/// As a driver would: records are entries of the log, a snapshot replaces those before it.
#[test]
fn a_durable_replica_shows_nothing_before_its_join_is_durable() {
    let (mut one, mut other) = pair();
    one.put(&key("a"), value(1), None, NOW).unwrap();
    exchange(&mut other, &mut one, NOW);
    let older = kept_of(&other);
    one.delete(&key("a"), NOW).unwrap();
    let start = Start { is_durable: true, ..start(2, 2, 2) };
    let mut set_back = Replica::begin(start, Some(older), Incarnation(1));
    exchange(&mut set_back, &mut one, NOW);
    // What it was set back to has a value that was deleted since.
    assert_eq!(set_back.get(&key("a"), NOW.wall), Err(Refusal::NotJoined));
    assert!(set_back.range(Bound::Unbounded, NOW.wall).is_err());
    let (number, _) = set_back.poll_record().unwrap();
    set_back.handle_durable(number);
    assert_eq!(shown(&set_back, "a", NOW), None);
}

#[test]
fn records_and_snapshots_survive_a_crash_on_storage() {
    let options = StorageOptions::default();
    let (mut storage, _) = Storage::open(MemDisk::new(), options).unwrap();
    let durable = |number| Start { is_durable: true, ..start(1, 1, number) };
    let mut replica = begin(durable(1));
    storage.save_snapshot(SnapshotMeta::default(), &replica.snapshot().1).unwrap();
    let (mut acknowledged, mut saved) = (0, 0);
    for round in 0..20_u64 {
        replica.put(&key(round % 7), value(round as i64), None, NOW).unwrap();
        replica.delete(&key((round + 3) % 7), NOW).unwrap();
        replica.collect(100, NOW);
        let (number, data) = replica.poll_record().unwrap();
        let entry = StoredEntry { index: number, term: 1, data, ..StoredEntry::default() };
        storage.write(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
        storage.sync().unwrap();
        replica.handle_durable(number);
        acknowledged = number;
        if round == 9 {
            let (number, bytes) = replica.snapshot();
            storage.save_snapshot(SnapshotMeta { index: number, term: 1 }, &bytes).unwrap();
            storage.compact(number).unwrap();
            saved = number;
        }
    }
    let expected = replica.snapshot();
    replica.put(&key("lost"), value(1), None, NOW).unwrap();
    let (number, data) = replica.poll_record().unwrap();
    let entry = StoredEntry { index: number, term: 1, data, ..StoredEntry::default() };
    storage.write(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();

    let mut disk = storage.into_disk();
    disk.lose_unsynced();
    let (_, recovered) = Storage::open(disk, options).unwrap();
    let (meta, snapshot) = recovered.snapshot.unwrap();
    assert_eq!(meta.index, saved);
    let mut kept = Kept::decode(&snapshot, Options::default().clock_bound_ms).unwrap();
    let after = kept.record();
    for entry in recovered.entries.into_iter().filter(|entry| entry.index > after) {
        kept.apply(entry.data).unwrap();
    }
    assert_eq!(kept.record(), acknowledged);
    let resumed = Replica::resume(durable(2), kept);
    assert_eq!(resumed.snapshot(), expected);
}

fn kept_of(replica: &Replica) -> Kept {
    Kept::decode(&replica.snapshot().1, Options::default().clock_bound_ms).unwrap()
}

#[test]
#[should_panic(expected = "what was kept is of the member that starts")]
fn nobody_begins_with_the_state_of_another_member() {
    _ = Replica::begin(start(2, 2, 2), Some(kept_of(&pair().0)), Incarnation(1));
}

#[test]
#[should_panic(expected = "what was kept is of the member that starts")]
fn nobody_goes_on_in_the_incarnation_of_another_member() {
    _ = Replica::resume(start(2, 2, 2), kept_of(&pair().0));
}

/// Even if a server tells a time that is behind its entries.
#[test]
fn an_own_write_is_later_than_every_entry_that_came() {
    let (mut one, mut other) = pair();
    one.put(&key("a"), value(1), None, at(2_000)).unwrap();
    let ask = other.ask(MemberId(1), NOW);
    let mut answer = one.handle(ask, NOW).reply.unwrap();
    let Body::Answer(told) = &mut answer.body else { panic!("an answer") };
    told.time.wall = UnixMillis(1);
    other.handle(answer, NOW);
    assert_eq!(shown(&other, "a", NOW), Some(1.into()));
    other.put(&key("a"), value(2), None, NOW).unwrap();
    assert_eq!(shown(&other, "a", NOW), Some(2.into()));
}

/// With a digest that matches, as if a replica had written it.
#[test]
fn a_snapshot_that_does_not_hold_together_is_refused() {
    let (mut one, _) = pair();
    one.put(&key("a"), value(1), None, NOW).unwrap();
    one.put(&key("b"), value(1), None, NOW).unwrap();
    let (_, snapshot) = one.snapshot();
    let author = [&1_u64.to_be_bytes()[..], &[1]].concat();
    // One author, one run: both writes, from the first possible one on.
    let coverage = [&[1], &author[..], &[1, 0, 1]].concat();
    // After the key the stamp, then the counter.
    let second = [b"\x03k\0b\xc0\x84\x3d\x01", &author[..], &[2]].concat();
    for (part, last, what) in [
        (&coverage, 0, "an entry that is covered"),
        (&coverage, 2, "a coverage of all own writes"),
        (&second, 1, "one key for each write"),
    ] {
        let mut places = snapshot.windows(part.len()).enumerate().filter(|(_, it)| it == part);
        let (place, _) = places.next().unwrap();
        assert!(places.next().is_none(), "there is one such part");
        let mut damaged = snapshot[..snapshot.len() - 16].to_vec();
        damaged[place + part.len() - 1] = last;
        damaged.extend(xxh3_128(&damaged).to_be_bytes());
        assert_eq!(Kept::decode(&damaged.into(), 5_000).unwrap_err().what, what);
    }
    Kept::decode(&snapshot, 5_000).unwrap();
}

#[test]
fn a_record_out_of_its_order_is_refused() {
    let mut replica = begin(Start { is_durable: true, ..start(1, 1, 1) });
    let (_, snapshot) = replica.snapshot();
    let mut records = Vec::new();
    for number in 0..3 {
        replica.put(&key(number), value(number), None, NOW).unwrap();
        records.push(replica.poll_record().unwrap().1);
    }
    let mut kept = Kept::decode(&snapshot, 5_000).unwrap();
    let before = kept.clone();
    assert!(kept.apply(records[1].clone()).is_err());
    assert_eq!(kept, before);
    for length in 0..records[0].len() {
        assert!(kept.apply(records[0].slice(..length)).is_err(), "what is cut is refused");
    }
    records.into_iter().for_each(|record| kept.apply(record).unwrap());
}

/// Messages of every kind.
fn messages() -> Vec<Envelope> {
    let (mut one, mut other) = pair();
    for number in 0..20 {
        one.put(&key(number), value(number), Ttl::from_ms(9).unwrap(), NOW).unwrap();
    }
    one.delete(&key(3), NOW).unwrap();
    one.put(&key(4), value("again"), None, NOW).unwrap();
    let pushes: Vec<Pushed> = one.poll_push().unwrap();
    let ask = other.ask(MemberId(1), NOW);
    let answer = one.handle(ask.clone(), NOW).reply.unwrap();
    let digest = one.digest(MemberId(2), NOW).unwrap();
    let mut messages = vec![one.push(MemberId(2), pushes, NOW), ask, answer, digest];
    let (mut one, mut other) = set_back();
    messages.extend(exchange_messages(&mut other, &mut one, NOW));
    messages
}

#[test]
fn messages_are_canonical_and_what_is_cut_or_added_to_is_refused() {
    for envelope in messages() {
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(bytes.clone()).unwrap(), envelope);
        for length in 0..bytes.len() {
            assert!(Envelope::decode(bytes.slice(..length)).is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Envelope::decode(longer.into()).is_err());
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[place] ^= 1 << bit;
                let flipped = Bytes::from(flipped);
                if let Ok(read) = Envelope::decode(flipped.clone()) {
                    assert_eq!(read.encode(), flipped, "what is read is what was written");
                }
            }
        }
    }
}

/// What follows a counter must be a number.
#[test]
fn the_greatest_number_is_no_counter() {
    let mut refused = 0;
    for mut envelope in messages() {
        let (author, pristine) = (envelope.from, envelope.clone());
        match &mut envelope.body {
            Body::Push(pushed) => {
                let mut superseding = pristine;
                let entry = &pushed[0].entry;
                pushed[0].entry = Arc::new(Entry::delete(entry.stamp(), u64::MAX));
                let Body::Push(pushed) = &mut superseding.body else { unreachable!("it is one") };
                pushed[0].superseded.push(Dot { author, counter: u64::MAX });
                assert!(Envelope::decode(superseding.encode()).is_err());
            }
            Body::Answer(answer) => _ = answer.collected.insert(author, u64::MAX),
            Body::Digest(image) => _ = image.coverage.insert(Dot { author, counter: u64::MAX }),
            Body::Ask(_) => continue,
        }
        let error = Envelope::decode(envelope.encode()).unwrap_err();
        assert!(error.what.contains("counter"), "{error}");
        refused += 1;
    }
    assert!(refused >= 3);
}

#[test]
fn a_message_for_or_from_somebody_else_is_not_looked_at() {
    let (_, other) = pair();
    for mut envelope in messages() {
        for (from, to) in [(1, 3), (2, 2), (7, 2)] {
            envelope.from.member = MemberId(from);
            envelope.to = MemberId(to);
            if let Body::Push(_) | Body::Ask(_) = envelope.body {
                let mut replica = other.clone();
                assert_eq!(replica.handle(envelope.clone(), NOW).reply, None);
                assert_eq!(replica, other);
            }
        }
    }
}

#[test]
fn a_member_that_is_removed_refuses_everything_and_says_nothing() {
    let (mut one, mut other) = pair();
    other.put(&key("a"), value(1), None, NOW).unwrap();
    let late = other.digest(MemberId(1), NOW).unwrap();
    one.set_list(list(1, &[1]), NOW);
    other.set_list(list(1, &[1]), NOW);
    assert_eq!(other.get(&key("a"), NOW.wall), Err(Refusal::Removed));
    assert_eq!(other.put(&key("a"), value(2), None, NOW), Err(Refusal::Removed));
    assert_eq!(other.digest(MemberId(1), NOW), None);
    assert_eq!(other.poll_push(), None);
    let ask = other.ask(MemberId(1), NOW);
    let before = one.clone();
    assert_eq!(one.handle(ask, NOW), Handled::default(), "it is not served");
    assert_eq!(one.handle(late, NOW), Handled::default(), "what it said before is not heard");
    assert_eq!(one, before);
    one.put(&key("a"), value(3), None, NOW).unwrap();
    assert_eq!(one.poll_push(), None, "there is nobody to tell");
}

#[test]
fn members_of_different_epochs_do_not_hear_each_other() {
    let (mut one, mut other) = pair();
    one.put(&key("a"), value(1), None, NOW).unwrap();
    one.set_list(list(1, &[1, 2, 3]), NOW);
    let pushes = one.poll_push().unwrap();
    let push = one.push(MemberId(2), pushes, NOW);
    let digest = one.digest(MemberId(2), NOW).unwrap();
    let (early, ask) = (other.clone(), other.ask(MemberId(1), NOW));
    let mut receiver = early.clone();
    for message in [&push, &digest] {
        assert_eq!(receiver.handle(message.clone(), NOW), Handled::default());
    }
    assert_eq!(receiver, early);
    assert_eq!(one.handle(ask, NOW), Handled::default());
    assert_eq!((one.status().epoch, other.status().epoch), (1, 0));
    other.set_list(list(1, &[1, 2, 3]), NOW);
    assert_eq!(other.asks(), None, "the exchange was given up");
    other.handle(push, NOW);
    assert_eq!(shown(&other, "a", NOW), Some(1.into()));
}

#[test]
fn a_new_list_is_waited_for_anew_and_an_added_member_has_to_be_met() {
    let (mut one, mut other) = pair();
    one.delete(&key("a"), NOW).unwrap();
    exchange(&mut other, &mut one, NOW);
    let digest = other.digest(MemberId(1), NOW).unwrap();
    one.handle(digest, NOW);
    assert_eq!(one.status().blocking, []);
    for replica in [&mut one, &mut other] {
        replica.set_list(list(3, &[1, 2, 9]), NOW);
        replica.set_list(list(3, &[1, 2, 9]), NOW);
    }
    assert_eq!(one.status().blocking, [MemberId(2), MemberId(9)], "digests are of the last epoch");
    assert_eq!(one.unmet().collect::<Vec<_>>(), [MemberId(9)]);
    one.collect(100, NOW);
    assert_eq!(one.status().dropped, 0);
    let mut added = begin(Start { members: list(3, &[1, 2, 9]), ..start(9, 1, 1) });
    assert_eq!(added.get(&key("a"), NOW.wall), Err(Refusal::NotJoined));
    exchange(&mut added, &mut other, NOW);
    assert_eq!(added.get(&key("a"), NOW.wall), Ok(None));
    exchange(&mut added, &mut one, NOW);
    exchange(&mut other, &mut added, NOW);
    exchange(&mut one, &mut other, NOW);
    one.collect(100, NOW);
    assert_eq!(one.status().dropped, 0, "the added member has not been met");
    exchange(&mut one, &mut added, NOW);
    one.collect(100, NOW);
    assert_eq!(one.status().dropped, 1);
}

#[test]
fn who_is_left_alone_serves() {
    let (_, mut one) = pair();
    one.delete(&key("a"), NOW).unwrap();
    let mut again = begin(start(2, 2, 2));
    assert_eq!(again.get(&key("a"), NOW.wall), Err(Refusal::NotJoined));
    again.set_list(list(1, &[2]), NOW);
    assert_eq!(again.get(&key("a"), NOW.wall), Ok(None));
    one.set_list(list(1, &[2]), NOW);
    one.collect(100, NOW);
    assert_eq!(one.status().dropped, 1, "there is nobody to wait for");
}

/// What is kept does not tell the list: the start does.
#[test]
fn a_durable_replica_goes_on_with_a_later_list() {
    let durable =
        |members: MemberList, number| Start { is_durable: true, members, ..start(1, 1, number) };
    let mut one = begin(durable(list(0, &[1, 2]), 1));
    let mut other = begin(start(2, 2, 1));
    let sync = |replica: &mut Replica| {
        while let Some((number, _)) = replica.poll_record() {
            replica.handle_durable(number);
        }
    };
    exchange(&mut one, &mut other, NOW);
    sync(&mut one);
    exchange(&mut other, &mut one, NOW);
    one.put(&key("a"), value(1), None, NOW).unwrap();
    sync(&mut one);
    assert!(one.status().is_whole);
    let kept = kept_of(&one);
    one.set_list(list(1, &[1, 3]), NOW);
    let digest = one.digest(MemberId(3), NOW).unwrap();
    let Body::Digest(image) = digest.body else { panic!("it is one") };
    assert!(!image.is_whole, "what is told goes by the list too");
    let resumed = Replica::resume(durable(list(1, &[1, 3]), 2), kept.clone());
    assert_eq!(resumed.status(), one.status());
    assert_eq!(resumed.unmet().collect::<Vec<_>>(), [MemberId(3)]);
    assert_eq!(shown(&resumed, "a", NOW), Some(1.into()));
    let removed = Replica::resume(durable(list(2, &[3]), 2), kept);
    assert_eq!(removed.get(&key("a"), NOW.wall), Err(Refusal::Removed));
}

#[test]
#[should_panic(expected = "a later list has a later epoch")]
fn an_earlier_list_is_not_gone_back_to() {
    let (mut one, _) = pair();
    one.set_list(list(2, &[1, 2, 3]), NOW);
    one.set_list(list(1, &[1, 2]), NOW);
}

#[test]
#[should_panic(expected = "a later list has a later epoch")]
fn no_two_lists_have_one_epoch() {
    pair().0.set_list(list(0, &[1]), NOW);
}

/// The hexadecimal digits of a block of the page.
fn block(name: &str) -> String {
    let page = include_str!("../docs/design/crdt.md");
    let (_, rest) = page.split_once(&format!("```hex {name}\n")).unwrap();
    rest.split("```").next().unwrap().split_whitespace().collect()
}

/// A message of each kind, and one more of the walk.
#[test]
fn the_page_shows_what_the_code_writes() {
    let (mut one, mut other) = pair();
    one.put(&key("a"), value(1), None, NOW).unwrap();
    let pushes = one.poll_push().unwrap();
    let push = one.push(MemberId(2), pushes, NOW);
    let digest = one.digest(MemberId(2), NOW).unwrap();
    let ask = other.ask(MemberId(1), NOW);
    let answer = one.handle(ask.clone(), NOW).reply.unwrap();
    let mut nodes = ask.clone();
    let Body::Ask(step) = &mut nodes.body else { panic!("it is one") };
    step.question = Question::Nodes(Walk::new().questions(other.map().trie(), 1));
    let found = one.handle(nodes.clone(), NOW).reply.unwrap();
    for (name, envelope) in [
        ("push", push),
        ("digest", digest),
        ("ask", ask),
        ("answer", answer),
        ("ask-nodes", nodes),
        ("answer-leaf", found),
    ] {
        let bytes = envelope.encode();
        let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, block(name), "{name}");
    }
}
