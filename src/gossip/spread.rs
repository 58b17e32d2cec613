//! How one replica and its copies on other nodes become the same: what is said to whom, and when.
//!
//! - **Pushes.** A new write goes to a few nodes at once, and to others in the rounds after; whoever
//!   hears it for the first time does the same. The number of rounds grows with the logarithm of the
//!   number of nodes, so that a node is seldom left out (Demers and others: "Epidemic algorithms for
//!   replicated database maintenance", 1987).
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
use crate::crdt::{Coverage, Entry, Envelope, MemberId, Pushed, Replica};
use crate::limits::{CRDT_CHUNK_BYTES, GOSSIP_PUSHED_BYTES_MAX, GOSSIP_RUMOR_BYTES_MAX};
use crate::mutant::mutant;

/// What a step of spreading is given.
pub(super) struct Scene<'a> {
    pub now: Now,
    /// The listed members that are worth talking to: all but itself and those that are down.
    pub targets: &'a [MemberId],
    pub random: &'a mut Random,
    /// What is to be sent.
    pub out: &'a mut Vec<Envelope>,
}

/// A replica, and what is on its way.
#[derive(Debug)]
pub(super) struct Spread {
    replica: Replica,
    rumors: VecDeque<Rumor>,
    rumor_bytes: usize,
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

/// A write that is pushed to so many more rounds of nodes.
#[derive(Debug)]
struct Rumor {
    pushed: Pushed,
    rounds: u32,
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
            scene.out.push(reply);
        }
        if handled.is_behind
            && self.behind.is_none()
            && let Some(coverage) = coverage
        {
            let due_ms = scene.now.monotonic_ms + GRACE_MS;
            self.behind = Some(Behind { server: from, coverage, due_ms });
        }
        self.note_end(scene);
        self.flush(scene);
    }

    /// Does what is due.
    pub fn tick(&mut self, scene: &mut Scene<'_>) {
        let now_ms = scene.now.monotonic_ms;
        if now_ms >= self.round_due_ms {
            self.round_due_ms = now_ms + ROUND_MS;
            self.replica.handle_tick(scene.now);
            self.push_round(scene);
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
        while let Some(pushes) = self.replica.poll_push() {
            self.push_due_ms = now_ms + PUSH_GAP_MS;
            let (small, large): (Vec<_>, Vec<_>) =
                pushes.into_iter().partition(|pushed| is_small(&pushed.entry));
            self.has_hint |= !large.is_empty();
            if !small.is_empty() {
                self.send(&small, scene);
                self.go_on(small, scene.targets.len());
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

    /// Keeps writes for further rounds; the oldest give way.
    fn go_on(&mut self, pushes: Vec<Pushed>, targets: usize) {
        let rounds = rounds_of(targets) - 1;
        if rounds == 0 {
            return;
        }
        for pushed in pushes {
            self.rumor_bytes += size(&pushed);
            self.rumors.push_back(Rumor { pushed, rounds });
        }
        while self.rumor_bytes > GOSSIP_RUMOR_BYTES_MAX
            && let Some(oldest) = self.rumors.pop_front()
        {
            self.rumor_bytes -= size(&oldest.pushed);
        }
    }

    /// A round of what was pushed before.
    fn push_round(&mut self, scene: &mut Scene<'_>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for rumor in &mut self.rumors {
            rumor.rounds -= 1;
            bytes += size(&rumor.pushed);
            batch.push(rumor.pushed.clone());
        }
        if bytes > 0 {
            self.send(&batch, scene);
        }
        self.rumors.retain(|rumor| rumor.rounds > 0);
        self.rumor_bytes = self.rumors.iter().map(|rumor| size(&rumor.pushed)).sum();
    }

    /// Pushes writes to the next few members.
    fn send(&mut self, pushes: &[Pushed], scene: &mut Scene<'_>) {
        for to in self.next(FANOUT, scene) {
            for chunk in chunks(pushes) {
                scene.out.push(self.replica.push(to, chunk.to_vec(), scene.now));
            }
        }
    }

    fn tell_digest(&mut self, count: usize, scene: &mut Scene<'_>) {
        for to in self.next(count, scene) {
            scene.out.extend(self.replica.digest(to, scene.now));
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
                scene.out.extend(self.replica.ask_again(scene.now));
                return;
            }
        }
        self.exchange = None;
        if let Some(server) = self.next_server(scene) {
            let before = self.replica.coverage().clone();
            self.exchange = Some(Asked { at_ms: now_ms, tries: 0, before });
            scene.out.push(self.replica.ask(server, scene.now));
        }
    }

    /// With whom an exchange is worthwhile now.
    fn next_server(&mut self, scene: &mut Scene<'_>) -> Option<MemberId> {
        let is_target = |member: &MemberId| scene.targets.contains(member);
        if !self.replica.status().has_joined {
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

    /// If an exchange has ended that brought something, others may lack it too.
    fn note_end(&mut self, scene: &Scene<'_>) {
        if self.replica.asks().is_none()
            && let Some(asked) = self.exchange.take()
        {
            self.has_hint |= *self.replica.coverage() != asked.before && scene.targets.len() > 1;
        }
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
        crate::crdt::Body::Digest(image) => Some(image.coverage.clone()),
        _ => None,
    }
}

/// To how many rounds of nodes a write is pushed by each that hears of it: so many that all of them
/// together leave one out in one of fifty cases.
fn rounds_of(targets: usize) -> u32 {
    let nodes = u32::try_from(targets + 1).expect("nodes are few");
    // 0.69 is the natural logarithm of 2; four more make e^-4 of what is left out.
    let pushes = 69 * (u32::BITS - nodes.leading_zeros()) / 100 + 4;
    pushes.div_ceil(u32::try_from(FANOUT).expect("it is small"))
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
/// The least time between two pushes of what is new: what comes in it goes together.
const PUSH_GAP_MS: u64 = 10;
/// How often a digest goes to another member.
const DIGEST_MS: u64 = 1_000;
/// What a digest tells may be under way already: how long it is waited for.
const GRACE_MS: u64 = 500;
/// After which time without an answer a step is asked again, and how often.
const ANSWER_MS: u64 = 1_000;
const TRIES_MAX: u32 = 2;
/// How often tombstones are looked at, and how many at once.
const COLLECT_MS: u64 = 1_000;
const COLLECTED_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_grow_with_the_logarithm_of_the_nodes() {
        for (targets, rounds) in [(0, 2), (2, 2), (15, 3), (127, 3), (999, 4)] {
            assert_eq!(rounds_of(targets), rounds, "{targets}");
        }
    }
}
