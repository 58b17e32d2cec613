//! Replicas in one thread, three at first, and everything that may go wrong between them: messages lost,
//! repeated, reordered and late, restarts with the state, without it, and from an older snapshot, members
//! that come and go.
//!
//! Every message goes through its bytes, and every start of a durable replica through what was synced.
//! What a run does follows from its seed alone. A run panics with what is wrong, its trace and its seed.
#![allow(clippy::unwrap_used, dead_code)]

pub mod node;
pub mod promises;
pub mod run;
pub mod trials;

/// Small numbers that only depend on a seed.
#[derive(Clone)]
pub struct Draw(pub u64);

impl Draw {
    /// A number below an end.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// Whether something of this many percent happens.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
