//! The shortest traces that the model `collection` found against weaker rules, replayed on real replicas,
//! and trials of what random schedules hardly ever meet. Each tells what is wrong, if anything is.
//!
//! In a trace whatever the rule forbids does not happen; that is what saves it. Two of them are longer
//! than the model's: there a replica drops its tombstone as soon as another one has, here it waits until
//! it may do so by itself.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll::clock::{Now, UnixMillis};
use plimsoll::crdt::{Body, Entry, Envelope, Kept, LwwMap, Pushed, Refusal, Written};
use plimsoll::entry::Ttl;
use plimsoll::value::{Encoded, Value};

use super::Draw;
use super::node::{BOUND_MS, Manner, Node, member};
use super::run::{World, key};

pub type Trial = fn() -> Result<(), String>;

/// Why a trace came to no good end.
#[derive(Debug)]
pub enum Wrong {
    /// A promise is broken: which one.
    Broken(String),
    /// It says that a message arrives which nobody has sent: it says nothing.
    NotReplayed(String),
}

/// What each shows: the mutant that it was found for, how the promise begins that breaks with it, and the
/// events.
pub const TRACES: &[(&str, &str, &str)] = &[
    (
        "any snapshot",
        "not covered: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n0 is kept | n0 restarts empty \
         | n0 exchanges with n1 | n0 exchanges with n2 | n2 exchanges with n0 | n2 collects \
         | n0 restarts older",
    ),
    (
        "tables not carried",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n1 restarts empty | n1 exchanges with n0 \
         | n0 exchanges with n2 | n2 exchanges with n0 | n2 collects",
    ),
    (
        "ended pushes",
        "not covered: ",
        "n0 puts | n0 pushes | n1 deletes | n1 pushes | n2 gets push of n1 | n0 restarts empty \
         | n0 exchanges with n1 | n0 exchanges with n2 | n0 collects | n1 exchanges with n0 \
         | n1 exchanges with n2 | n1 collects | n1 gets push of n0",
    ),
    (
        "ended syncs",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n0 asks n1 | n1 gets ask of n0 \
         | n1 restarts empty | n1 exchanges with n0 | n0 gets answer of n1 | n0 exchanges with n2 \
         | n0 collects",
    ),
    (
        "ended digests",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n1 tells n0 | n1 restarts empty \
         | n1 exchanges with n0 | n0 gets digest of n1 | n0 exchanges with n2 | n0 collects",
    ),
    (
        "join with unjoined",
        "resurrected: ",
        "n1 is ahead | n1 deletes | n1 pushes | n0 gets push of n1 | n2 gets push of n1 \
         | n0 restarts empty | n1 restarts empty | n0 exchanges with n1 | n0 puts",
    ),
    (
        "messages before join",
        "not covered: ",
        "n0 puts | n0 pushes | n1 deletes | n1 pushes | n2 gets push of n1 | n0 restarts empty \
         | n0 exchanges with n1 | n1 restarts empty | n1 gets push of n0 | n0 exchanges with n2 \
         | n0 collects | n0 exchanges with n1",
    ),
    (
        "joiner not recorded",
        "resurrected: ",
        "n0 puts | n1 deletes | n1 pushes | n2 exchanges with n1 | n1 restarts empty \
         | n1 exchanges with n0 | n0 gets push of n1 | n2 exchanges with n0 | n2 collects",
    ),
    (
        "stale sync joins",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 asks n0 | n0 gets ask of n2 | n2 exchanges with n1 \
         | n0 exchanges with n1 | n2 restarts empty | n2 gets answer of n0",
    ),
    (
        "collector not whole",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n1 tells n0 | n1 restarts empty \
         | n1 exchanges with n0 | n0 restarts empty | n0 exchanges with n2 | n0 gets digest of n1 \
         | n0 collects",
    ),
    (
        "digests of not whole",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n1 restarts empty | n1 exchanges with n0 \
         | n0 restarts empty | n0 exchanges with n2 | n2 exchanges with n0 | n2 collects",
    ),
    (
        "prefix digests",
        "not collected: ",
        "n0 puts | n0 pushes | n0 deletes | n0 pushes | n1 gets push of n0 | n0 restarts empty",
    ),
    (
        "no containment",
        "not covered: ",
        "n0 puts | n0 pushes | n1 deletes | n1 pushes | n2 exchanges with n1 | n0 gets push of n1 \
         | n0 tells n2 | n2 gets digest of n0 | n2 collects | n2 gets push of n0",
    ),
    (
        "no receive filter",
        "not covered: ",
        "n0 puts | n0 pushes | n1 deletes | n1 pushes | n2 exchanges with n1 | n0 gets push of n1 \
         | n2 exchanges with n0 | n2 collects | n2 gets push of n0",
    ),
    (
        "no drop in sync",
        "not covered: ",
        "n0 puts | n0 is kept | n0 deletes | n1 exchanges with n0 | n2 exchanges with n0 \
         | n0 restarts older | n1 exchanges with n2 | n2 exchanges with n1 | n1 collects \
         | n2 collects",
    ),
    (
        "join once met",
        "resurrected: ",
        "n0 puts | n0 is kept | n0 deletes | n1 exchanges with n0 | n2 exchanges with n0 \
         | n2 restarts empty | n0 restarts older | n0 exchanges with n2 | n2 exchanges with n1 \
         | n1 restarts empty | n0 exchanges with n1",
    ),
    (
        "unmet not asked",
        "resurrected: ",
        "n2 is removed | n0 moves | n1 moves | n0 puts | n1 deletes | n3 is added | n1 moves \
         | n1 exchanges with n3 | n3 exchanges with n1 | n3 collects",
    ),
    (
        "epoch forgotten",
        "resurrected: ",
        "n0 puts | n1 deletes | n1 pushes | n2 gets push of n1 | n0 is removed | n1 moves | n2 moves \
         | n1 restarts empty | n1 exchanges with n0",
    ),
    (
        "other epoch pushes",
        "not covered: ",
        "n2 is removed | n0 moves | n1 moves | n1 is ahead | n1 deletes | n0 exchanges with n1 \
         | n1 exchanges with n0 | n0 restarts empty | n1 collects | n1 is removed | n0 moves \
         | n3 is added | n0 moves | n0 puts | n0 pushes | n1 gets push of n0",
    ),
    (
        "other epoch syncs",
        "resurrected: ",
        "n0 puts | n1 deletes | n0 is removed | n2 moves | n2 exchanges with n1 | n2 collects \
         | n1 restarts empty | n1 exchanges with n0",
    ),
    (
        "other epoch digests",
        "resurrected: ",
        "n0 puts | n1 deletes | n1 pushes | n2 gets push of n1 | n0 is removed | n1 moves \
         | n2 tells n1 | n1 gets digest of n2 | n1 collects | n2 restarts empty \
         | n2 exchanges with n0",
    ),
    (
        "unlisted heard",
        "not covered: ",
        "n0 puts | n0 pushes | n1 deletes | n0 is removed | n2 moves | n1 moves \
         | n2 exchanges with n1 | n2 collects | n2 gets push of n0",
    ),
    (
        "unlisted served",
        "not covered: ",
        "n0 puts | n1 deletes | n0 is removed | n2 moves | n1 moves | n2 exchanges with n1 \
         | n2 collects | n0 exchanges with n2",
    ),
    (
        "digests over change",
        "resurrected: ",
        "n0 puts | n1 deletes | n2 exchanges with n1 | n1 restarts empty | n1 exchanges with n0 \
         | n0 is removed | n2 moves | n2 collects",
    ),
    (
        "join at change",
        "resurrected: ",
        "n1 puts | n1 is kept | n1 deletes | n0 exchanges with n1 | n2 exchanges with n1 \
         | n0 restarts empty | n1 restarts older | n1 exchanges with n0 | n0 exchanges with n2 \
         | n2 is removed | n1 moves",
    ),
];

/// Others, by what they are about.
pub const TRIALS: &[(&str, Trial)] = &[
    ("an entry from the future", an_entry_from_the_future),
    ("an entry whose time comes during an exchange", an_entry_whose_time_comes),
    ("an entry whose time comes without a tick", an_entry_whose_time_comes_without_a_tick),
    ("a wrong reading of the wall clock", a_wrong_reading_of_the_wall_clock),
    ("a deadline that has passed by one clock", a_deadline_that_has_passed_by_one_clock),
    ("equal stamps", equal_stamps),
    ("a corrupted snapshot", a_corrupted_snapshot),
];

/// Replays a trace, and lets everything settle.
pub fn replay(trace: &str) -> Result<(), Wrong> {
    let mut draw = Draw(0);
    let mut world = World::new(&mut draw, false);
    world.nodes.iter_mut().for_each(|node| node.skew_ms = 0);
    let result = go(&mut world, trace);
    let told = |wrong| format!("{}\n{wrong}", world.trace.join("\n"));
    result.map_err(|wrong| match wrong {
        Wrong::Broken(wrong) => Wrong::Broken(told(wrong)),
        Wrong::NotReplayed(wrong) => Wrong::NotReplayed(told(wrong)),
    })
}

fn go(world: &mut World, trace: &str) -> Result<(), Wrong> {
    world.settle()?;
    for event in trace.split('|').map(str::trim) {
        world.ms += 10;
        let words: Vec<_> = event.split(' ').collect();
        let node = |word: &str| word.trim_start_matches('n').parse::<usize>().unwrap();
        let one = node(words[0]);
        match words[1..] {
            ["puts"] => write(world, one, false)?,
            ["deletes"] => write(world, one, true)?,
            ["exchanges", "with", other] => world.exchange(node(other), one)?,
            ["pushes"] => world.push(one),
            ["tells", other] => world.digest(one, node(other)),
            ["asks", other] => world.ask(one, node(other)),
            ["gets", kind, "of", from] => arrive(world, one, kind, node(from))?,
            ["is", "kept"] => world.nodes[one].keep(),
            ["is", "ahead"] => world.nodes[one].skew_ms = BOUND_MS / 4,
            ["restarts", "empty"] => world.restart_as(one, Manner::Empty)?,
            ["restarts", "older"] => world.restart_as(one, Manner::Older)?,
            ["collects"] => world.collect(one),
            ["is", "removed"] => world.remove(one),
            ["is", "added"] => world.add(false, 0),
            ["moves"] => world.take_list(one)?,
            _ => panic!("no event: {event}"),
        }
        world.check()?;
    }
    Ok(world.end()?)
}

fn write(world: &mut World, one: usize, is_delete: bool) -> Result<(), String> {
    world.nodes[one].reserve(world.ms);
    let now = world.nodes[one].now(world.ms);
    let replica = &mut world.nodes[one].replica;
    let written = if is_delete {
        replica.delete(&key(0), now)
    } else {
        replica.put(&key(0), value(1), None, now)
    };
    match written {
        Ok(written) => world.note(one, &key(0), written, is_delete),
        Err(_) => Ok(()),
    }
}

/// Delivers the last message of this kind that a member sent to another; it stays under way.
fn arrive(world: &mut World, to: usize, kind: &str, from: usize) -> Result<(), Wrong> {
    let is_it = |bytes: &Bytes| {
        let envelope = Envelope::decode(bytes.clone()).unwrap();
        let is_kind = matches!(
            (&envelope.body, kind),
            (Body::Push(_), "push")
                | (Body::Digest(_), "digest")
                | (Body::Ask(_), "ask")
                | (Body::Answer(_), "answer")
        );
        is_kind && (envelope.from.member, envelope.to) == (member(from), member(to))
    };
    match world.pool.iter().rposition(is_it) {
        Some(place) => Ok(world.deliver(place, true)?),
        None => Err(Wrong::NotReplayed(format!("no {kind} is under way from n{from} to n{to}"))),
    }
}

fn value(number: i64) -> Encoded {
    Encoded::new(&Value::from(number)).unwrap()
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn settled() -> Result<World, String> {
    let mut world = World::new(&mut Draw(0), false);
    world.nodes.iter_mut().for_each(|node| node.skew_ms = 0);
    world.settle()?;
    Ok(world)
}

/// It is not merged, not covered, not asked for again before its time, counted, and taken in the end.
fn an_entry_from_the_future() -> Result<(), String> {
    let mut world = settled()?;
    let far = 1_000_000 + 10 * BOUND_MS;
    let written = write_ahead(&mut world, far)?;
    let ours = world.nodes[1].now(0);
    world.push(0);
    for place in 0..world.pool.len() {
        world.deliver(place, true)?;
    }
    world.exchange(0, 1)?;
    let other = &world.nodes[1].replica;
    ensure(!other.coverage().covers(written.dot), "it was covered")?;
    ensure(other.map().is_empty(), "it was merged")?;
    ensure(other.status().from_future == 2, "it was not counted")?;
    world.exchange(0, 1)?;
    let digest = world.nodes[0].replica.digest(member(1), ours).unwrap();
    let handled = world.nodes[1].replica.handle(digest, ours);
    ensure(!handled.is_behind, "it is asked for before its time")?;
    ensure(
        world.nodes[1].replica.put(&key(1), value(2), None, ours).is_err(),
        "nothing is reserved",
    )?;
    let now = late(far - BOUND_MS + 1);
    world.nodes[1].replica.handle_tick(now);
    let digest = world.nodes[0].replica.digest(member(1), now).unwrap();
    ensure(world.nodes[1].replica.handle(digest, now).is_behind, "it is not asked for in time")?;
    let [server, asker, _] = &mut world.nodes[..] else { unreachable!("three") };
    let next = Some(asker.replica.ask(member(0), now));
    finish(server, asker, next, now);
    is_taken(asker, written)?;
    // Who has seen it and has a clock that is behind does not write before it.
    world.nodes[1].replica.reserve(UnixMillis(far + 9_000));
    let refused = world.nodes[1].replica.put(&key(0), value(3), None, ours);
    ensure(matches!(refused, Err(Refusal::Clock(_))), "a clock that is far off was followed")
}

/// What was refused is asked for as soon as an answer shows that its time has come, wherever in the
/// exchange that is.
fn an_entry_whose_time_comes() -> Result<(), String> {
    for is_told in [false, true] {
        let (mut world, far, written) = refused()?;
        let [server, asker, _] = &mut world.nodes[..] else { unreachable!("three") };
        let early = late(far - BOUND_MS - 1);
        let in_time = late(far - BOUND_MS);
        asker.replica.handle_tick(early);
        let ask = asker.replica.ask(member(0), early);
        let answer = server.replica.handle(ask, in_time).reply.unwrap();
        if is_told {
            asker.replica.handle_tick(in_time);
        }
        let next = asker.replica.handle(answer, in_time).reply;
        finish(server, asker, next, in_time);
        is_taken(asker, written)?;
    }
    Ok(())
}

fn an_entry_whose_time_comes_without_a_tick() -> Result<(), String> {
    let (mut world, far, written) = refused()?;
    let [server, asker, _] = &mut world.nodes[..] else { unreachable!("three") };
    let in_time = late(far - BOUND_MS);
    let next = Some(asker.replica.ask(member(0), in_time));
    finish(server, asker, next, in_time);
    is_taken(asker, written)
}

/// n0 has written by a clock that is far ahead, and n1 has refused it in an exchange.
fn refused() -> Result<(World, u64, Written), String> {
    let mut world = settled()?;
    let far = 1_000_000 + 10 * BOUND_MS;
    let written = write_ahead(&mut world, far)?;
    world.exchange(0, 1)?;
    let other = &world.nodes[1].replica;
    ensure(other.status().from_future == 1, "it was not refused")?;
    ensure(!other.coverage().covers(written.dot), "it was covered")?;
    Ok((world, far, written))
}

/// n0 writes by its own clock, which is far ahead: nobody has told it the time for so long.
fn write_ahead(world: &mut World, far: u64) -> Result<Written, String> {
    let replica = &mut world.nodes[0].replica;
    replica.reserve(UnixMillis(far + 1_000));
    replica.put(&key(0), value(1), None, late(far)).map_err(|it| format!("{it:?}"))
}

/// So late that no report of a clock counts.
fn late(wall: u64) -> Now {
    Now { monotonic_ms: 10_000_000, wall: UnixMillis(wall) }
}

fn finish(server: &mut Node, asker: &mut Node, mut next: Option<Envelope>, now: Now) {
    while let Some(ask) = next {
        let answer = server.replica.handle(ask, now).reply.unwrap();
        next = asker.replica.handle(answer, now).reply;
    }
}

fn is_taken(node: &Node, Written { stamp, dot, .. }: Written) -> Result<(), String> {
    ensure(node.replica.coverage().covers(dot), "it was not taken in time")?;
    let held = node.replica.map().entry(&key(0)).map(|entry| entry.stamp());
    ensure(held == Some(stamp), "it is covered and not held: lost")
}

/// Values with a deadline outlive it, wherever it is read, if the clocks of others are known.
fn a_wrong_reading_of_the_wall_clock() -> Result<(), String> {
    let wrong = |now: Now| Now { wall: now.wall.after(3_600_000), ..now };
    let readings: [fn(&mut World, Now); 4] = [
        |world, now| world.nodes[0].replica.handle_tick(now),
        |world, now| world.nodes[0].replica.collect(100, now),
        |world, now| _ = world.nodes[0].replica.delete(&key(1), now),
        |world, now| {
            let digest = world.nodes[1].replica.digest(member(0), world.nodes[1].now(world.ms));
            world.nodes[0].replica.handle(digest.unwrap(), now);
        },
    ];
    let ttl = |ms| Ttl::from_ms(ms).unwrap();
    for reading in readings {
        let mut world = settled()?;
        world.nodes[0].reserve(world.ms);
        let now = world.nodes[0].now(world.ms);
        let put = world.nodes[0].replica.put(&key(0), value(1), ttl(600_000), now);
        put.map_err(|refusal| format!("{refusal:?}"))?;
        reading(&mut world, wrong(now));
        let shown = world.nodes[0].replica.get(&key(0), now.wall).unwrap();
        ensure(shown.is_some(), "one wrong reading took a value away")?;
        world.nodes[0].reserve(world.ms);
        let put = world.nodes[0].replica.put(&key(2), value(1), ttl(1_000), now);
        let deadline = put.map_err(|refusal| format!("{refusal:?}"))?.deadline.unwrap();
        let latest = now.wall.after(1_000 + BOUND_MS);
        ensure(deadline <= latest, "the deadline is that of a wrong clock")?;
        world.exchange(0, 1)?;
        let other = &world.nodes[1].replica;
        let shown = other.get(&key(0), now.wall).unwrap();
        ensure(shown.is_some(), "the value was lost everywhere")?;
    }
    Ok(())
}

/// Nobody drops an entry that another one still shows.
fn a_deadline_that_has_passed_by_one_clock() -> Result<(), String> {
    let mut world = settled()?;
    world.nodes[0].skew_ms = BOUND_MS / 4;
    world.nodes[1].reserve(world.ms);
    let now = world.nodes[1].now(world.ms);
    let ttl = Ttl::from_ms(BOUND_MS / 8).unwrap();
    let put = world.nodes[1].replica.put(&key(0), value(1), ttl, now);
    world.note(1, &key(0), put.map_err(|refusal| format!("{refusal:?}"))?, false)?;
    for (from, to) in [(1, 2), (1, 0), (2, 0)] {
        world.exchange(from, to)?;
    }
    world.pass(10);
    let wall = world.nodes[0].now(world.ms).wall;
    let shown = world.nodes[0].replica.get(&key(0), wall).unwrap();
    ensure(shown.is_none(), "it is shown after its deadline")?;
    world.collect(0);
    world.check()
}

/// They cannot be; if they are all the same, everyone counts it and keeps the same.
fn equal_stamps() -> Result<(), String> {
    let mut world = settled()?;
    write(&mut world, 0, false)?;
    let pushes = world.nodes[0].replica.poll_push().unwrap();
    let mut forged = pushes.clone();
    let Pushed { entry, .. } = &mut forged[0];
    let (stamp, counter) = (entry.stamp(), entry.counter);
    *entry = Arc::new(Entry::put(stamp, counter, value(2), None));
    let now = world.nodes[0].now(world.ms);
    for (to, orders) in [(1, [&pushes, &forged]), (2, [&forged, &pushes])] {
        for order in orders {
            let envelope = world.nodes[0].replica.push(member(to), order.clone(), now);
            world.nodes[to].replica.handle(envelope, now);
        }
    }
    let dump = |to: usize| LwwMap::dump(world.nodes[to].replica.map());
    ensure(dump(1) == dump(2), "the order of arrival decides")?;
    let faults = [1, 2].map(|to| world.nodes[to].replica.status().faults);
    ensure(faults == [1, 1], "the fault is not counted")
}

/// A snapshot with any byte changed is refused.
fn a_corrupted_snapshot() -> Result<(), String> {
    let mut world = settled()?;
    write(&mut world, 0, false)?;
    let (_, bytes) = world.nodes[0].replica.snapshot();
    let kept = Kept::decode(&bytes, BOUND_MS).map_err(|error| error.to_string())?;
    ensure(kept.author() == world.nodes[0].replica.status().author, "it is another's")?;
    for place in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[place] ^= 1;
        ensure(Kept::decode(&damaged.into(), BOUND_MS).is_err(), "damage was taken for a state")?;
        let cut = bytes.slice(..place);
        ensure(Kept::decode(&cut, BOUND_MS).is_err(), "a part was taken for a state")?;
    }
    Ok(())
}

impl From<String> for Wrong {
    fn from(broken: String) -> Self {
        Self::Broken(broken)
    }
}
