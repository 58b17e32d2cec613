//! Random numbers that depend on nothing but their seed.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): small,
//! quick, and any 64 bits are a good seed, so a generator can be made for each subject of a choice.
//!
//! No cryptography, and no global state: two generators of one seed give the same numbers on every
//! machine.

/// A generator of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one of many things under the same seed.
    #[must_use]
    pub const fn of(seed: u64, thing: u64) -> Self {
        Self(mix(seed ^ mix(thing)))
    }

    /// The next number, of all 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below an end; 0 if the end is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.next() as u128 * end as u128) >> 64) as u64
    }

    /// A number between two, both included.
    pub const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// Whether something happens that does so in so many of a million cases.
    pub const fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < per_million as u64
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("below a length")]
    }
}

/// Spreads the bits of a number over all 64.
#[must_use]
pub const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_others_do_not() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.next(), rng.next(), rng.next()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(Rng::new(0).next(), 0xe220_a839_7b1d_cdaf, "as published");
    }

    #[test]
    fn numbers_lie_within_their_bounds_and_reach_them() {
        let mut rng = Rng::of(1, 2);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| rng.between(3, 6)).collect();
        assert_eq!(drawn, (3..=6).collect());
        assert_eq!((rng.below(0), rng.chance(0)), (0, false));
        assert!(rng.chance(1_000_000));
    }
}
