//! A run: drawn steps, with all promises after each, and the end when nothing more goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use plimsoll::crdt::{Body, Dot, Envelope, MemberId, MemberList, Refusal, Stamp, Written};
use plimsoll::entry::{Key, Ttl};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::QualifiedKey;
use plimsoll::value::{Encoded, Value};

use super::Draw;
use super::node::{BOUND_MS, MEMBERS, Manner, Node, first_list, member};
use super::promises::{LONG_MS, Promises, Write, listed};

pub struct World {
    /// All that ever were members, in the order of their ids.
    pub nodes: Vec<Node>,
    /// The last list of members, which not everyone has heard of.
    pub list: MemberList,
    pub promises: Promises,
    /// What is under way.
    pub pool: Vec<Bytes>,
    pub ms: u64,
    pub trace: Vec<String>,
    /// Own writes of each durable node that were acknowledged: the record, and the write.
    acknowledged: Vec<(usize, u64, Dot)>,
    /// All stamps that were given.
    stamps: BTreeSet<Stamp>,
    /// How often each remarkable thing happened.
    pub marks: BTreeMap<&'static str, u64>,
}

/// What is likely in a run.
struct Profile {
    writes: usize,
    pushes: usize,
    exchanges: usize,
    messages: usize,
    digests: usize,
    restarts: usize,
    collections: usize,
    time: usize,
    keys: usize,
    lists: usize,
    moves: usize,
    manners: Vec<Manner>,
    /// How many writes, restarts and new lists are left.
    writes_left: usize,
    restarts_left: usize,
    lists_left: usize,
}

impl Profile {
    /// Few writes and restarts, and all that leads to a collection in between: within a few steps much
    /// goes wrong that longer runs put right again.
    fn short(draw: &mut Draw) -> Self {
        let mut weight = |choices: &[usize]| choices[draw.below(choices.len())];
        let manners = match weight(&[0, 1, 2]) {
            0 => vec![Manner::Older],
            1 => vec![Manner::Older, Manner::Empty],
            _ => vec![Manner::Empty],
        };
        Self {
            writes: 6,
            pushes: weight(&[0, 0, 4]),
            exchanges: weight(&[10, 20]),
            messages: weight(&[0, 8, 16]),
            digests: weight(&[0, 4]),
            restarts: 5,
            collections: 10,
            time: 0,
            keys: 1,
            lists: 5,
            moves: 10,
            manners,
            writes_left: weight(&[2, 2, 3]),
            restarts_left: weight(&[0, 1, 2, 2]),
            lists_left: weight(&[0, 0, 0, 1, 2]),
        }
    }

    fn new(draw: &mut Draw, is_durable: bool) -> Self {
        let mut weight = |choices: &[usize]| choices[draw.below(choices.len())];
        let manners = match weight(&[0, 1, 2, 3]) {
            0 if is_durable => vec![Manner::Durable],
            1 if is_durable => vec![Manner::Durable, Manner::Empty, Manner::Older],
            0 | 1 => vec![Manner::Empty],
            2 => vec![Manner::Older, Manner::Empty],
            _ => vec![Manner::Older],
        };
        Self {
            writes: weight(&[4, 8]),
            pushes: weight(&[0, 4, 8]),
            exchanges: weight(&[0, 12, 12, 25]),
            messages: weight(&[0, 10, 30]),
            digests: weight(&[0, 3, 8]),
            restarts: weight(&[0, 3, 6]),
            collections: weight(&[4, 10]),
            time: weight(&[0, 2, 4]),
            keys: weight(&[1, 1, 2]),
            lists: weight(&[0, 0, 1]),
            moves: weight(&[2, 5]),
            manners,
            writes_left: usize::MAX,
            restarts_left: usize::MAX,
            lists_left: 3,
        }
    }
}

impl World {
    pub fn new(draw: &mut Draw, has_durable: bool) -> Self {
        let kinds = if has_durable { draw.below(4) } else { 4 };
        let nodes = (0..MEMBERS)
            .map(|number| {
                let is_durable = kinds == 0 || kinds == 1 && number == 0;
                Node::new(
                    number,
                    first_list(),
                    is_durable,
                    draw.below(BOUND_MS as usize / 2) as u64,
                )
            })
            .collect();
        Self {
            nodes,
            list: first_list(),
            promises: Promises::default(),
            pool: Vec::new(),
            ms: 0,
            trace: Vec::new(),
            acknowledged: Vec::new(),
            stamps: BTreeSet::new(),
            marks: BTreeMap::new(),
        }
    }

    pub fn mark(&mut self, mark: &'static str) {
        *self.marks.entry(mark).or_default() += 1;
    }

    /// A run of a seed; what is wrong, if anything is.
    pub fn run(seed: u64) -> Result<BTreeMap<&'static str, u64>, String> {
        let mut draw = Draw(seed);
        let is_short = draw.percent(90);
        let mut world = Self::new(&mut draw, !is_short);
        let (mut profile, steps) = if is_short {
            (Profile::short(&mut draw), STEPS_SHORT)
        } else {
            (Profile::new(&mut draw, world.nodes[0].is_durable), STEPS)
        };
        let result = world.go(&mut draw, &mut profile, steps);
        result.map_err(|wrong| format!("{}\n{wrong}", world.trace.join("\n")))?;
        Ok(world.marks)
    }

    fn go(&mut self, draw: &mut Draw, profile: &mut Profile, steps: usize) -> Result<(), String> {
        if draw.percent(85) {
            self.settle()?;
            self.trace.push("settled".to_owned());
        }
        for _ in 0..steps {
            self.step(draw, profile)?;
            self.check()?;
        }
        self.end()
    }

    pub fn check(&mut self) -> Result<(), String> {
        self.promises.check(&self.nodes, &self.list, self.ms)
    }

    fn step(&mut self, draw: &mut Draw, profile: &mut Profile) -> Result<(), String> {
        let count = self.nodes.len();
        let one = draw.below(count);
        let other = (one + 1 + draw.below(count - 1)) % count;
        let weights = [
            profile.writes,
            profile.pushes,
            profile.exchanges,
            profile.messages,
            profile.digests,
            profile.restarts,
            profile.collections,
            profile.time,
            profile.lists,
            if self.list.epoch > 0 { profile.moves } else { 0 },
            6,
        ];
        let mut drawn = draw.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| match drawn.checked_sub(*weight) {
            Some(left) => {
                drawn = left;
                false
            }
            None => true,
        });
        match kind.unwrap() {
            0 if profile.writes_left == 0 => Ok(()),
            0 => {
                profile.writes_left -= 1;
                self.write(draw, one, profile.keys)
            }
            1 => {
                self.push(one);
                Ok(())
            }
            2 => self.exchange(other, one),
            3 => self.message(draw, one, other),
            4 => {
                self.digest(one, other);
                if draw.percent(70) {
                    self.deliver(self.pool.len().wrapping_sub(1), false)
                } else {
                    Ok(())
                }
            }
            5 if profile.restarts_left == 0 => Ok(()),
            5 => {
                profile.restarts_left -= 1;
                self.restart(draw, one, profile)
            }
            6 => {
                self.collect(one);
                Ok(())
            }
            7 => {
                self.pass(draw.below(2 * BOUND_MS as usize) as u64);
                Ok(())
            }
            8 if profile.lists_left == 0 => Ok(()),
            8 => {
                profile.lists_left -= 1;
                self.change_list(draw, one);
                Ok(())
            }
            9 => self.take_list(one),
            _ => {
                self.keep_house(draw, one);
                Ok(())
            }
        }
    }

    fn change_list(&mut self, draw: &mut Draw, one: usize) {
        let is_listed = self.list.members.contains(&member(one));
        if is_listed && self.list.members.len() > 1 && draw.percent(60) {
            self.remove(one);
        } else if self.nodes.len() < NODES_MAX {
            let is_durable = self.nodes[0].is_durable;
            self.add(is_durable, draw.below(BOUND_MS as usize / 2) as u64);
        }
    }

    /// A list without a member is agreed on, of which nobody has heard.
    pub fn remove(&mut self, one: usize) {
        self.list.epoch += 1;
        self.list.members.remove(&member(one));
        self.trace.push(format!("epoch {} is agreed on, without n{one}", self.list.epoch));
        self.mark("a member is removed");
    }

    /// A list with a new member is agreed on, which starts.
    pub fn add(&mut self, is_durable: bool, skew_ms: u64) {
        let number = self.nodes.len();
        self.list.epoch += 1;
        self.list.members.insert(member(number));
        self.nodes.push(Node::new(number, self.list.clone(), is_durable, skew_ms));
        self.trace.push(format!("epoch {} is agreed on, with n{number}", self.list.epoch));
        self.mark("a member is added");
    }

    /// A member hears of the last list.
    pub fn take_list(&mut self, one: usize) -> Result<(), String> {
        if self.nodes[one].list == self.list {
            return Ok(());
        }
        self.trace.push(format!("n{one} moves on to epoch {}", self.list.epoch));
        self.nodes[one].take_list(&self.list, self.ms);
        if self.nodes[one].is_listed() {
            return Ok(());
        }
        self.mark("a member hears that it is removed");
        let now = self.nodes[one].now(self.ms);
        let replica = &mut self.nodes[one].replica;
        let is_silent = replica.get(&key(0), now.wall) == Err(Refusal::Removed)
            && replica.digest(member(0), now).is_none()
            && replica.poll_push().is_none();
        if is_silent { Ok(()) } else { Err(format!("n{one} is removed and goes on")) }
    }

    /// Anything with single messages.
    fn message(&mut self, draw: &mut Draw, one: usize, other: usize) -> Result<(), String> {
        let place = draw.below(self.pool.len().max(1));
        match draw.below(10) {
            0 => self.ask(one, other),
            1 => {
                let now = self.nodes[one].now(self.ms);
                if let Some(ask) = self.nodes[one].replica.ask_again(now) {
                    self.trace.push(format!("n{one} asks again"));
                    self.send(ask);
                }
            }
            2 if !self.pool.is_empty() => {
                self.pool.remove(place);
                self.mark("a message is lost");
            }
            _ => self.deliver(place, draw.percent(50))?,
        }
        Ok(())
    }

    fn keep_house(&mut self, draw: &mut Draw, one: usize) {
        let node = &mut self.nodes[one];
        match draw.below(8) {
            0 | 1 => node.cut(),
            2 | 3 => {
                node.cut();
                node.sync();
            }
            4 if node.is_durable => node.compact(),
            5 | 6 => {
                node.keep();
                self.trace.push(format!("a snapshot of n{one} is kept"));
            }
            _ => {}
        }
    }

    pub fn write(&mut self, draw: &mut Draw, one: usize, keys: usize) -> Result<(), String> {
        let key = key(draw.below(keys));
        self.nodes[one].reserve(self.ms);
        let now = self.nodes[one].now(self.ms);
        let node = &mut self.nodes[one];
        let is_delete = draw.percent(50);
        let ttl = draw.percent(35).then(|| Ttl::from_ms(1 + draw.below(5_000) as u64).unwrap());
        let written = if is_delete {
            node.replica.delete(&key, now)
        } else {
            let value = Encoded::new(&Value::from(draw.below(1_000) as i64)).unwrap();
            node.replica.put(&key, value, ttl.flatten(), now)
        };
        match written {
            Ok(written) => self.note(one, &key, written, is_delete),
            Err(refusal) => {
                self.trace.push(format!("n{one} refuses: {refusal:?}"));
                Ok(())
            }
        }
    }

    /// A write was made.
    pub fn note(
        &mut self,
        one: usize,
        key: &QualifiedKey,
        written: Written,
        is_delete: bool,
    ) -> Result<(), String> {
        let what = if is_delete { "deletes" } else { "puts" };
        let Written { stamp, dot, deadline, .. } = written;
        let replica = &self.nodes[one].replica;
        self.trace.push(format!("n{one} {what} {key:?} {stamp:?} {deadline:?}"));
        for before in &self.promises.writes {
            if replica.coverage().covers(before.dot) && before.dot != dot && before.stamp >= stamp {
                return Err(format!("{stamp:?} is no later than {before:?}, which was seen"));
            }
            if before.dot == dot {
                return Err(format!("{dot:?} is used twice"));
            }
        }
        if !self.stamps.insert(stamp) {
            return Err(format!("{stamp:?} is used twice"));
        }
        let held = replica.map().entry(key).map(|entry| entry.stamp());
        if held != Some(stamp) && written.record.is_none() {
            return Err(format!("n{one} does not hold its own write, but {held:?}"));
        }
        if let Some(record) = written.record {
            self.acknowledged.push((one, record, dot));
        }
        self.mark(if is_delete { "a delete" } else { "a put" });
        let key = key.clone();
        self.promises.writes.push(Write { key, stamp, dot, is_delete, deadline });
        Ok(())
    }

    pub fn ask(&mut self, one: usize, other: usize) {
        let now = self.nodes[one].now(self.ms);
        let ask = self.nodes[one].replica.ask(member(other), now);
        self.trace.push(format!("n{one} asks n{other}"));
        self.send(ask);
    }

    pub fn push(&mut self, one: usize) {
        let now = self.nodes[one].now(self.ms);
        let Some(pushes) = self.nodes[one].replica.poll_push() else { return };
        self.trace.push(format!("n{one} pushes {} writes", pushes.len()));
        for other in (0..self.nodes.len()).filter(|other| *other != one) {
            let envelope = self.nodes[one].replica.push(member(other), pushes.clone(), now);
            self.send(envelope);
        }
    }

    pub fn digest(&mut self, one: usize, other: usize) {
        let now = self.nodes[one].now(self.ms);
        if let Some(digest) = self.nodes[one].replica.digest(member(other), now) {
            self.trace.push(format!("n{one} sends a digest to n{other}"));
            self.send(digest);
        }
    }

    pub fn collect(&mut self, one: usize) {
        let now = self.nodes[one].now(self.ms);
        let before = self.nodes[one].replica.status().dropped;
        let held = self.nodes[one].replica.map().clone();
        self.nodes[one].replica.collect(100, now);
        if self.nodes[one].replica.status().dropped > before {
            self.promises.bury_collected(&held, self.nodes[one].replica.map());
            self.trace.push(format!("n{one} collects"));
            self.mark("a tombstone is collected");
            if self.nodes[one].incarnation > 1 {
                self.mark("a new incarnation collects");
            }
            if one >= MEMBERS {
                self.mark("an added member collects");
            }
        }
    }

    pub fn pass(&mut self, by_ms: u64) {
        self.ms += by_ms;
        self.trace.push(format!("{by_ms} ms pass"));
        for one in 0..self.nodes.len() {
            let now = self.nodes[one].now(self.ms);
            self.nodes[one].reserve(self.ms);
            let before = self.nodes[one].replica.map().clone();
            self.nodes[one].replica.handle_tick(now);
            self.note_own_deletes(one, &before);
        }
    }

    /// Expiry writes nothing; a mutant's does.
    fn note_own_deletes(&mut self, one: usize, before: &plimsoll::crdt::LwwMap) {
        let map = self.nodes[one].replica.map();
        for (key, entry) in map.iter() {
            if before.entry(key).is_none_or(|before| before.stamp() != entry.stamp()) {
                let (stamp, dot) = (entry.stamp(), entry.dot());
                let key = key.clone();
                let write = Write { key, stamp, dot, is_delete: true, deadline: None };
                self.promises.writes.push(write);
            }
        }
    }

    fn restart(&mut self, draw: &mut Draw, one: usize, profile: &Profile) -> Result<(), String> {
        let manner = profile.manners[draw.below(profile.manners.len())];
        let node = &self.nodes[one];
        let is_possible = match manner {
            Manner::Durable => node.is_durable,
            Manner::Empty => true,
            Manner::Older => node.older.is_some(),
        };
        if !is_possible {
            return Ok(());
        }
        if node.list != self.list && draw.percent(30) {
            self.nodes[one].list = self.list.clone();
            self.trace.push(format!("n{one} hears of epoch {} and ends", self.list.epoch));
            self.mark("a restart with a later list");
        }
        self.restart_as(one, manner)
    }

    pub fn restart_as(&mut self, one: usize, manner: Manner) -> Result<(), String> {
        self.trace.push(format!("n{one} restarts: {manner:?}"));
        self.mark(match manner {
            Manner::Durable => "a restart with the state",
            Manner::Empty => "a restart without state",
            Manner::Older => "a restart from an older snapshot",
        });
        let kept = self.nodes[one].recovered();
        self.nodes[one].restart(manner);
        if manner == Manner::Durable {
            let coverage = self.nodes[one].replica.coverage();
            let is_lost = |(node, record, dot): &(usize, u64, Dot)| {
                *node == one && *record <= kept.record() && !coverage.covers(*dot)
            };
            if let Some(lost) = self.acknowledged.iter().find(|it| is_lost(it)) {
                return Err(format!("acknowledged and lost: {lost:?}"));
            }
            // What was neither durable nor said has never been; its dot may be another write's.
            let author = self.nodes[one].replica.status().author;
            self.promises.writes.retain(|it| it.dot.author != author || coverage.covers(it.dot));
        }
        self.acknowledged.retain(|(node, record, _)| {
            *node != one || manner == Manner::Durable && *record <= kept.record()
        });
        Ok(())
    }

    pub fn send(&mut self, envelope: Envelope) {
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(bytes.clone()).unwrap(), envelope);
        self.pool.push(bytes);
        if self.pool.len() > POOL_MAX {
            self.pool.remove(0);
        }
    }

    /// Delivers what is under way; it may stay so, and arrive again.
    pub fn deliver(&mut self, place: usize, stays: bool) -> Result<(), String> {
        let Some(bytes) = self.pool.get(place).cloned() else { return Ok(()) };
        if !stays {
            self.pool.remove(place);
        }
        if let Some(reply) = self.hand_over(bytes)? {
            self.send(reply);
        }
        Ok(())
    }

    fn hand_over(&mut self, bytes: Bytes) -> Result<Option<Envelope>, String> {
        let envelope = Envelope::decode(bytes).map_err(|error| error.to_string())?;
        let to = (envelope.to.0 - 1) as usize;
        let what = match &envelope.body {
            Body::Push(_) => "push",
            Body::Digest(_) => "digest",
            Body::Ask(_) => "ask",
            Body::Answer(_) => "answer",
        };
        self.trace.push(format!("n{to} gets {what} of {:?}", envelope.from));
        if envelope.from.incarnation.0
            < self.nodes[(envelope.from.member.0 - 1) as usize].incarnation
        {
            self.mark("a message of an ended incarnation arrives");
        }
        if envelope.epoch != self.nodes[to].list.epoch {
            let is_removed = !self.list.members.contains(&envelope.from.member);
            self.mark(if is_removed && self.nodes[to].list == self.list {
                "a message of a removed member arrives"
            } else {
                "a message of another epoch arrives"
            });
        }
        let now = self.nodes[to].now(self.ms);
        let was_joined = self.nodes[to].replica.status().has_joined;
        let reply = self.nodes[to].replica.handle(envelope, now).reply;
        if !was_joined && self.nodes[to].replica.status().has_joined {
            self.mark("a join");
        }
        Ok(reply)
    }

    /// One complete exchange, without losses: `to` asks, `from` serves.
    pub fn exchange(&mut self, from: usize, to: usize) -> Result<(), String> {
        self.trace.push(format!("n{to} exchanges with n{from}"));
        let now = self.nodes[to].now(self.ms);
        let mut next = Some(self.nodes[to].replica.ask(member(from), now));
        let (mut steps, mut has_synced) = (0, false);
        while self.nodes[to].replica.asks().is_some() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(format!("the exchange of n{to} with n{from} does not end"));
            }
            let now = self.nodes[to].now(self.ms);
            let ask = next.take().or_else(|| self.nodes[to].replica.ask_again(now));
            let Some(ask) = ask else { break };
            match self.hand_over(ask.encode())? {
                Some(answer) => next = self.hand_over(answer.encode())?,
                // A durable server answers once it has synced whom it answers.
                None if !has_synced => {
                    has_synced = true;
                    self.nodes[from].cut();
                    self.nodes[from].sync();
                }
                None if !self.is_of_one_epoch(from, to) => break,
                None => {}
            }
        }
        Ok(())
    }

    fn is_of_one_epoch(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.nodes[one], &self.nodes[other]);
        one.list == other.list && one.is_listed() && other.is_listed()
    }

    /// The members of the last list.
    fn listed(&self) -> impl Iterator<Item = &Node> {
        listed(&self.nodes, &self.list)
    }

    /// Everyone hears of the last list, exchanges with everyone, and collects, until nothing changes.
    pub fn settle(&mut self) -> Result<(), String> {
        let members: Vec<_> = self.listed().map(|node| node.number).collect();
        for one in &members {
            self.take_list(*one)?;
            self.check()?;
        }
        for _ in 0..ROUNDS_MAX {
            let before: Vec<_> = self.nodes.iter().map(fingerprint).collect();
            for distance in 1..members.len() {
                for (place, from) in members.iter().enumerate() {
                    self.exchange(*from, members[(place + distance) % members.len()])?;
                    for node in &mut self.nodes {
                        node.cut();
                        node.sync();
                    }
                }
            }
            for one in &members {
                self.collect(*one);
                self.check()?;
            }
            if before == self.nodes.iter().map(fingerprint).collect::<Vec<_>>() {
                return Ok(());
            }
        }
        Err("it does not settle".to_owned())
    }

    /// What has to be there when nothing more goes wrong.
    pub fn end(&mut self) -> Result<(), String> {
        self.trace.push("nothing more goes wrong".to_owned());
        for node in &mut self.nodes {
            node.cut();
            node.sync();
        }
        // Each start has raised the durable bound of a clock, and time has to catch up.
        self.pass(2 * BOUND_MS);
        let survivors = self.promises.survivors(&self.nodes, &self.list);
        self.settle()?;
        self.compare(&survivors)?;
        self.pass(LONG_MS);
        self.settle()?;
        self.compare(&survivors)?;
        for node in self.listed() {
            let status = node.replica.status();
            if status.tombstones > 0 || !status.blocking.is_empty() {
                return Err(format!("not collected: n{} {status:?}", node.number));
            }
        }
        Ok(())
    }

    fn compare(&self, survivors: &BTreeMap<QualifiedKey, Write>) -> Result<(), String> {
        let first = &self.listed().next().unwrap().replica;
        for node in self.listed() {
            let status = node.replica.status();
            if !status.has_joined || !status.is_whole {
                return Err(format!("not joined: n{} {status:?}", node.number));
            }
            if node.replica.coverage() != first.coverage() {
                return Err(format!("n{} covers other writes than the first", node.number));
            }
            for (key, write) in survivors {
                let wall = node.now(self.ms).wall;
                let shown = node.replica.get(key, wall).unwrap().map(|entry| entry.stamp());
                let is_gone = write.is_delete || write.deadline.is_some_and(|it| it <= wall);
                let expected = (!is_gone).then_some(write.stamp);
                if shown != expected {
                    let n = node.number;
                    return Err(format!("n{n} shows {shown:?}, what survived is {write:?}"));
                }
            }
        }
        Ok(())
    }
}

fn fingerprint(node: &Node) -> (Bytes, plimsoll::crdt::Coverage, bool, bool, Vec<MemberId>) {
    let status = node.replica.status();
    let replica = &node.replica;
    (
        replica.map().dump(),
        replica.coverage().clone(),
        status.has_joined,
        status.blocking.is_empty(),
        replica.unmet().collect(),
    )
}

pub fn key(number: usize) -> QualifiedKey {
    QualifiedKey::new(&Keyspace::new("k").unwrap(), &Key::new(&number.to_string()).unwrap())
}

/// Drawn steps of a run.
const STEPS: usize = 60;

/// Drawn steps of a short one.
const STEPS_SHORT: usize = 24;

/// Messages that are under way at most.
const POOL_MAX: usize = 24;

/// Steps of an exchange without losses.
const STEPS_MAX: usize = 200;

/// Rounds after which what still changes never comes to rest.
const ROUNDS_MAX: usize = 12;

/// Members, removed ones included.
const NODES_MAX: usize = 5;
