//! How one replica and its copies on other nodes become the same: what is said to whom, and when.
//!
//! - **Pushes.** A new write goes to a few nodes at once; whoever hears it for the first time does the
//!   same, unless there are so few nodes that it came to all of them at once (Demers and others:
//!   "Epidemic algorithms for replicated database maintenance", 1987).
//! - **Hints.** In the rounds after, other nodes are only told its name; who lacks it pulls it (as in
//!   Leitao, Pereira, Rodrigues: "Epidemic broadcast trees", 2007). The number of rounds grows with
//!   the logarithm of the number of nodes, so that a node is seldom left out.
//! - **Large values** are not pushed. A digest tells that there is something, whoever lacks it asks for
//!   it, and tells others once it has it.
//! - **Digests** go to one node after the other, at an even pace. Who finds that it is behind, and still
//!   is after what is under way had time to arrive, begins an exchange: so does what was lost arrive.
//! - **Exchanges** with members that were not met since the start come first. A step that is not
//!   answered is asked again, then somebody else is asked.
//!
//! No decisions about merging or collection: those are the replica's.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::random::Random;
use crate::clock::Now;
use crate::crdt::{Body, Coverage, Dot, Entry, Envelope, MemberId, Pushed, Replica};
use crate::limits::{CRDT_CHUNK_BYTES, GOSSIP_PUSHED_BYTES_MAX, GOSSIP_RUMOR_BYTES_MAX};
use crate::mutant::mutant;

/// What a step of spreading is given.
pub(super) struct Scene<'a> {
    pub now: Now,
    /// The listed members that are worth talking to: all but itself and those that are down.
    pub targets: &'a [MemberId],
    pub random: &'a mut Random,
    /// What is to be sent.
    pub out: &'a mut Vec<Said>,
}

/// What one replica says to another one.
#[derive(Debug)]
pub(super) enum Said {
    /// A message of the replica itself.
    Envelope(Envelope),
    /// That it holds these writes.
    Hint(MemberId, Coverage),
    /// That it lacks these, of which it was told.
    Pull(MemberId, Coverage),
}

/// A replica, and what is on its way.
#[derive(Debug)]
pub(super) struct Spread {
    replica: Replica,
    rumors: VecDeque<Rumor>,
    rumor_bytes: usize,
    /// What was pulled in this round.
    pulled: Coverage,
    /// Whom to talk to next: everyone comes once before anyone comes twice.
    ring: Vec<MemberId>,
    /// Who covered what this replica did not, and when it is looked whether it still does not.
    behind: Option<Behind>,
    exchange: Option<Asked>,
    /// Something came that others may lack and that is not pushed.
    has_hint: bool,
    push_due_ms: u64,
    round_due_ms: u64,
    digest_due_ms: u64,
    collect_due_ms: u64,
}

/// A write that others may not have yet.
#[derive(Debug)]
struct Rumor {
    pushed: Pushed,
    /// In how many more rounds it is told of.
    rounds: u32,
    /// In how many more rounds it is kept for who asks.
    kept: u32,
}

#[derive(Debug)]
struct Behind {
    server: MemberId,
    coverage: Coverage,
    due_ms: u64,
}

/// The exchange that is on.
#[derive(Debug)]
struct Asked {
    /// When its last step was asked.
    at_ms: u64,
    tries: u32,
    /// What was covered when it began.
    before: Coverage,
}

impl Spread {
    pub fn new(replica: Replica, now: Now) -> Self {
        let due_ms = now.monotonic_ms;
        Self {
            replica,
            rumors: VecDeque::new(),
            rumor_bytes: 0,
            pulled: Coverage::default(),
            ring: Vec::new(),
            behind: None,
            exchange: None,
            has_hint: false,
            push_due_ms: due_ms,
            round_due_ms: due_ms,
            digest_due_ms: due_ms,
            collect_due_ms: due_ms,
        }
    }

    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    pub const fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replica
    }

    pub fn into_replica(self) -> Replica {
        self.replica
    }

    /// Takes a message of another replica.
    pub fn handle(&mut self, envelope: Envelope, scene: &mut Scene<'_>) {
        let from = envelope.from.member;
        let coverage = told_coverage(&envelope);
        let handled = self.replica.handle(envelope, scene.now);
        if let Some(reply) = handled.reply {
            if let Some(asked) = &mut self.exchange
                && self.replica.asks() == Some(reply.to)
            {
                (asked.at_ms, asked.tries) = (scene.now.monotonic_ms, 0);
            }
            scene.out.push(Said::Envelope(reply));
        }
        if handled.is_behind
            && self.behind.is_none()
            && let Some(coverage) = coverage
        {
            let due_ms = scene.now.monotonic_ms + GRACE_MS;
            self.behind = Some(Behind { server: from, coverage, due_ms });
        }
        if self.has_ended() && !self.replica.has_joined() {
            self.ask(scene);
        }
        self.flush(scene);
    }

    /// Another replica tells that it holds these writes.
    pub fn handle_hint(&mut self, from: MemberId, held: &Coverage, scene: &mut Scene<'_>) {
        let missing = held.difference(self.replica.coverage()).difference(&self.pulled);
        let is_target = scene.targets.contains(&from) && self.replica.has_joined();
        if !missing.is_empty() && is_target && !mutant!("hints are not followed") {
            self.pulled.unite(&missing);
            scene.out.push(Said::Pull(from, missing));
        }
    }

    /// Another replica asks for writes that it was told of. What is not kept any more comes to it by an
    /// exchange.
    pub fn handle_pull(&mut self, from: MemberId, wanted: &Coverage, scene: &mut Scene<'_>) {
        let is_wanted = |rumor: &&Rumor| dots(&rumor.pushed).any(|dot| wanted.covers(dot));
        let pushes: Vec<_> =
            self.rumors.iter().filter(is_wanted).map(|rumor| rumor.pushed.clone()).collect();
        if scene.targets.contains(&from) {
            self.push(from, &pushes, scene);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, scene: &mut Scene<'_>) {
        let now_ms = scene.now.monotonic_ms;
        if now_ms >= self.round_due_ms {
            self.round_due_ms = now_ms + ROUND_MS;
            self.replica.handle_tick(scene.now);
            self.hint(scene);
            self.ask(scene);
        }
        if now_ms >= self.digest_due_ms {
            self.digest_due_ms = now_ms + DIGEST_MS;
            self.tell_digest(1, scene);
        }
        if now_ms >= self.collect_due_ms {
            self.collect_due_ms = now_ms + COLLECT_MS;
            self.replica.collect(COLLECTED_MAX, scene.now);
        }
        self.flush(scene);
    }

    /// Pushes what is new, unless that was done just now.
    pub fn flush(&mut self, scene: &mut Scene<'_>) {
        let now_ms = scene.now.monotonic_ms;
        if now_ms < self.push_due_ms {
            return;
        }
        while let Some(mut pushes) = self.replica.poll_push() {
            self.push_due_ms = now_ms + PUSH_GAP_MS;
            if scene.targets.len() <= FANOUT {
                let author = self.replica.author();
                pushes.retain(|pushed| pushed.entry.dot().author == author);
            }
            let (small, large): (Vec<_>, Vec<_>) =
                pushes.into_iter().partition(|pushed| is_small(&pushed.entry));
            self.has_hint |= !large.is_empty();
            if !small.is_empty() {
                for to in self.next(FANOUT, scene) {
                    self.push(to, &small, scene);
                }
                self.remember(small, scene.targets.len());
            }
        }
        if std::mem::take(&mut self.has_hint) {
            self.push_due_ms = now_ms + PUSH_GAP_MS;
            self.tell_digest(FANOUT, scene);
        }
    }

    /// When [`Spread::tick`] has something to do.
    pub fn due_ms(&self) -> u64 {
        self.round_due_ms.min(self.digest_due_ms).min(self.collect_due_ms)
    }

    /// Keeps writes to tell others of them; the oldest give way.
    fn remember(&mut self, pushes: Vec<Pushed>, targets: usize) {
        let rounds = rounds_of(targets);
        for pushed in pushes {
            self.rumor_bytes += size(&pushed);
            self.rumors.push_back(Rumor { pushed, rounds, kept: rounds + KEPT_ROUNDS });
        }
        while self.rumor_bytes > GOSSIP_RUMOR_BYTES_MAX
            && let Some(oldest) = self.rumors.pop_front()
        {
            self.rumor_bytes -= size(&oldest.pushed);
        }
    }

    /// Tells the next few members of what was pushed lately.
    fn hint(&mut self, scene: &mut Scene<'_>) {
        self.pulled = Coverage::default();
        let told = self.rumors.iter().filter(|rumor| rumor.rounds > 0);
        let held: Coverage = told.flat_map(|rumor| dots(&rumor.pushed)).collect();
        if !held.is_empty() {
            for to in self.next(FANOUT, scene) {
                scene.out.push(Said::Hint(to, held.clone()));
            }
        }
        for rumor in &mut self.rumors {
            (rumor.rounds, rumor.kept) = (rumor.rounds.saturating_sub(1), rumor.kept - 1);
        }
        self.rumors.retain(|rumor| rumor.kept > 0);
        self.rumor_bytes = self.rumors.iter().map(|rumor| size(&rumor.pushed)).sum();
    }

    /// Pushes writes to a member.
    fn push(&self, to: MemberId, pushes: &[Pushed], scene: &mut Scene<'_>) {
        for chunk in chunks(pushes) {
            let envelope = self.replica.push(to, chunk.to_vec(), scene.now);
            scene.out.push(Said::Envelope(envelope));
        }
    }

    fn tell_digest(&mut self, count: usize, scene: &mut Scene<'_>) {
        for to in self.next(count, scene) {
            scene.out.extend(self.replica.digest(to, scene.now).map(Said::Envelope));
        }
    }

    /// Begins an exchange, or goes on with the one that is on.
    fn ask(&mut self, scene: &mut Scene<'_>) {
        let now_ms = scene.now.monotonic_ms;
        if let (Some(asked), Some(_)) = (&mut self.exchange, self.replica.asks()) {
            if now_ms < asked.at_ms + ANSWER_MS {
                return;
            }
            if asked.tries < TRIES_MAX {
                (asked.at_ms, asked.tries) = (now_ms, asked.tries + 1);
                scene.out.extend(self.replica.ask_again(scene.now).map(Said::Envelope));
                return;
            }
        }
        self.exchange = None;
        if let Some(server) = self.next_server(scene) {
            let before = self.replica.coverage().clone();
            self.exchange = Some(Asked { at_ms: now_ms, tries: 0, before });
            scene.out.push(Said::Envelope(self.replica.ask(server, scene.now)));
        }
    }

    /// With whom an exchange is worthwhile now.
    fn next_server(&mut self, scene: &mut Scene<'_>) -> Option<MemberId> {
        let is_target = |member: &MemberId| scene.targets.contains(member);
        if !self.replica.has_joined() {
            // Also those that were met before they had joined themselves.
            let count = scene.targets.len();
            return (count > 0).then(|| scene.targets[scene.random.below(count)]);
        }
        let unmet: Vec<_> = self.replica.unmet().filter(is_target).collect();
        if !unmet.is_empty() {
            return Some(unmet[scene.random.below(unmet.len())]);
        }
        let behind = self.behind.take_if(|behind| behind.due_ms <= scene.now.monotonic_ms)?;
        let missing = behind.coverage.difference(self.replica.coverage());
        let is_wanted = !missing.is_empty() && !mutant!("nobody asks for what was lost");
        is_wanted.then_some(behind.server)
    }

    /// Whether an exchange has just ended. If it brought something, others may lack that too.
    fn has_ended(&mut self) -> bool {
        let ended = self.exchange.take_if(|_| self.replica.asks().is_none());
        self.has_hint |= ended.as_ref().is_some_and(|it| it.before != *self.replica.coverage());
        ended.is_some()
    }

    /// The next members to talk to.
    fn next(&mut self, count: usize, scene: &mut Scene<'_>) -> Vec<MemberId> {
        let count = count.min(scene.targets.len());
        let mut chosen = Vec::with_capacity(count);
        // A ring holds each member once, so two rings are enough for a few.
        for _ in 0..2 {
            while chosen.len() < count
                && let Some(next) = self.ring.pop()
            {
                if scene.targets.contains(&next) && !chosen.contains(&next) {
                    chosen.push(next);
                }
            }
            if chosen.len() == count {
                break;
            }
            self.ring = scene.targets.to_vec();
            scene.random.shuffle(&mut self.ring);
        }
        chosen
    }
}

/// What a digest says that its sender covers.
fn told_coverage(envelope: &Envelope) -> Option<Coverage> {
    match &envelope.body {
        Body::Digest(image) => Some(image.coverage.clone()),
        _ => None,
    }
}

/// In how many rounds a write is told of by each that hears of it: so many that all of them together
/// leave a node out in one of a thousand cases.
fn rounds_of(targets: usize) -> u32 {
    let nodes = u32::try_from(targets + 1).expect("nodes are few");
    // 0.69 is the natural logarithm of 2; seven more make e^-7 of what is left out.
    let contacts = 69 * (u32::BITS - nodes.leading_zeros()) / 100 + 7;
    let fanout = u32::try_from(FANOUT.min(targets.max(1))).expect("it is small");
    contacts.div_ceil(fanout) - 1
}

/// The writes that a push covers.
fn dots(pushed: &Pushed) -> impl Iterator<Item = Dot> {
    pushed.superseded.iter().copied().chain([pushed.entry.dot()])
}

fn is_small(entry: &Arc<Entry>) -> bool {
    entry.size() <= GOSSIP_PUSHED_BYTES_MAX
}

fn size(pushed: &Pushed) -> usize {
    pushed.key.as_bytes().len() + pushed.entry.size()
}

/// Parts that are small enough for a message.
fn chunks(pushes: &[Pushed]) -> impl Iterator<Item = &[Pushed]> {
    let mut rest = pushes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |pushed: &&Pushed| {
            bytes += size(pushed);
            bytes <= CRDT_CHUNK_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (chunk, left) = rest.split_at(count);
        rest = left;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// To how many nodes a write goes at once, and in each round.
const FANOUT: usize = 3;
/// The time between two rounds.
const ROUND_MS: u64 = 200;
/// For how many rounds a write is kept after it was told of for the last time.
const KEPT_ROUNDS: u32 = 5;
/// The least time between two pushes of what is new: what comes in it goes together.
const PUSH_GAP_MS: u64 = 10;
/// How often a digest goes to another member.
const DIGEST_MS: u64 = 1_000;
/// What a digest tells may be under way already: how long it is waited for.
const GRACE_MS: u64 = 400;
/// After which time without an answer a step is asked again, and how often.
const ANSWER_MS: u64 = 500;
const TRIES_MAX: u32 = 4;
/// How often tombstones are looked at, and how many at once.
const COLLECT_MS: u64 = 1_000;
const COLLECTED_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_grow_with_the_logarithm_of_the_nodes() {
        for (targets, rounds) in [(0, 6), (2, 3), (15, 3), (127, 3), (999, 4)] {
            assert_eq!(rounds_of(targets), rounds, "{targets}");
        }
    }
}
