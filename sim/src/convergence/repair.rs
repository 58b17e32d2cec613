//! What it takes to repair a replica that lacks some of many keys.
//!
//! Two ways. The ordinary one: it knows what it covers, and asks for the rest. The other one: it was set
//! back to an older snapshot, and of what it lacks the others have nothing left but that it is gone. Then
//! it has to find which of its keys have to go, by walking the hash tries of both.

use plimsoll::crdt::{Kept, Replica};
use plimsoll::kv::QualifiedKey;

use super::swarm::{Sent, Swarm, key, value};

/// What was measured of one repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Keys that both held.
    pub keys: usize,
    /// Keys that one of them lacked, or held and should not.
    pub differing: usize,
    /// Bytes sent by both.
    pub bytes: u64,
    /// Those of keys and values that were lacking.
    pub payload: u64,
    /// Messages sent by both.
    pub messages: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Two replicas that hold the same keys, of 22 bytes, with values of 64.
pub struct Twins {
    swarm: Swarm,
    keys: usize,
}

impl Twins {
    /// Fills one of two, which the other takes over.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let mut swarm = Swarm::new(2, 1);
        assert!(swarm.run_until(60_000, Swarm::has_converged), "both join");
        let mut twins = Self { swarm, keys };
        twins.write(0..keys);
        twins.settle();
        twins
    }

    /// One writes while the other is away, which then asks for what it lacks.
    ///
    /// # Panics
    /// If the two do not become the same.
    pub fn by_coverage(&mut self, differing: usize) -> Repair {
        let first = self.keys;
        self.write(first..first + differing);
        self.keys += differing;
        let (took_ms, sent) = self.settle();
        let payload = (differing * (KEY_BYTES + VALUE_BYTES)) as u64;
        self.repair(differing, took_ms, sent, payload)
    }

    /// Keys are deleted and forgotten; then one is set back to before that.
    ///
    /// # Panics
    /// If the two do not become the same, or the deletes are not forgotten.
    pub fn by_trie(&mut self, differing: usize) -> Repair {
        let (_, snapshot) = self.swarm.replica(2).snapshot();
        let places: Vec<_> = (0..differing).map(|n| n * (self.keys / differing)).collect();
        for place in &places {
            self.swarm.delete(1, &numbered(*place));
        }
        let is_forgotten =
            |swarm: &Swarm| (1..=2).all(|id| swarm.replica(id).map().tombstones_len() == 0);
        assert!(self.swarm.run_until(600_000, is_forgotten), "deletes are forgotten");
        let last = self.swarm.replica(2).author().incarnation;
        self.swarm.stop(2);
        let start = self.swarm.start_of(2, last.0 + 1);
        let bound_ms = start.options.clock_bound_ms;
        let kept = Kept::decode(&snapshot, bound_ms).expect("it was just made");
        let replica = Replica::begin(start, Some(kept), last);
        self.swarm.start(2, last.0 + 1, Some(replica));
        self.keys -= differing;
        let (took_ms, sent) = self.settle();
        let found = places
            .iter()
            .all(|place| self.swarm.replica(2).map().entry(&numbered(*place)).is_none());
        assert!(found, "what was deleted is gone");
        for place in places {
            // The next repair finds them there.
            self.swarm.put(1, &numbered(place), &value(VALUE_BYTES, 9));
        }
        self.keys += differing;
        self.settle();
        self.repair(differing, took_ms, sent, 0)
    }

    fn repair(&self, differing: usize, took_ms: u64, sent: Sent, payload: u64) -> Repair {
        let (bytes, messages) = (sent.replica_bytes, sent.replica_messages);
        Repair { keys: self.keys, differing, bytes, payload, messages, took_ms }
    }

    /// Writes at the first, without a push.
    fn write(&mut self, numbers: std::ops::Range<usize>) {
        let mut replica = self.swarm.stop(1).expect("it runs");
        let number = replica.author().incarnation.0;
        for place in numbers {
            let now = self.swarm.now();
            replica.reserve(now.wall.after(60_000));
            let filled = value(VALUE_BYTES, u8::try_from(place % 251).expect("below 251"));
            replica.put(&numbered(place), filled, None, now).expect("it serves");
            if place % 1_000 == 0 {
                while replica.poll_push().is_some() {}
            }
        }
        while replica.poll_push().is_some() {}
        self.swarm.start(1, number, Some(replica));
    }

    /// Lets both become the same. Tells how long that took, and what was sent.
    fn settle(&mut self) -> (u64, Sent) {
        let start_ms = self.swarm.now_ms();
        self.swarm.sent = Sent::default();
        let are_same = |swarm: &Swarm| {
            let [one, other] = [1, 2].map(|id| swarm.replica(id));
            swarm.has_converged() && one.map().len() == other.map().len()
        };
        assert!(self.swarm.run_until(600_000, are_same), "both hold the same");
        (self.swarm.now_ms() - start_ms, self.swarm.sent)
    }
}

fn numbered(place: usize) -> QualifiedKey {
    key(&format!("session/{place:010}"))
}

/// Bytes of a key, with its keyspace, and of a value in its encoding.
const KEY_BYTES: usize = 22;
const VALUE_BYTES: usize = 64;
