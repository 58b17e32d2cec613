//! The clocks of a node, as functions of true time.
//!
//! The monotonic clock may run fast or slow, never back. The wall clock is the monotonic one moved by
//! an offset that may change at any time. No smoothing: a step is a step.

use plimsoll::clock::UnixMillis;
use plimsoll::raft::Now;

/// The clocks of one node.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    /// True time when the rate last changed, and what the monotonic clock showed then.
    since_us: u64,
    then_us: u64,
    drift_ppm: i64,
    offset_ms: i64,
}

impl HostClock {
    /// Clocks that are right.
    #[must_use]
    pub const fn right() -> Self {
        Self { since_us: 0, then_us: 0, drift_ppm: 0, offset_ms: 0 }
    }

    /// What the clocks show at a true time.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        let monotonic_ms = self.monotonic_us(true_us) / 1_000;
        let wall = UnixMillis((WALL_START_MS + monotonic_ms).saturating_add_signed(self.offset_ms));
        Now { monotonic_ms, wall }
    }

    /// The true time at which the monotonic clock will have gone on for a while.
    #[must_use]
    pub fn after(&self, true_us: u64, monotonic_us: u64) -> u64 {
        let rate = u64::try_from(MILLION + self.drift_ppm).expect("a clock does not go back");
        true_us + monotonic_us * MILLION.unsigned_abs() / rate
    }

    /// By how much the wall clock is ahead of true time.
    #[must_use]
    pub fn error_ms(&self, true_us: u64) -> i64 {
        let shown = self.now(true_us).wall.0;
        let truth = WALL_START_MS + true_us / 1_000;
        shown.cast_signed() - truth.cast_signed()
    }

    /// Lets the wall clock jump.
    pub const fn step(&mut self, by_ms: i64) {
        self.offset_ms = self.offset_ms.saturating_add(by_ms);
    }

    /// Lets both clocks run at another rate from now on.
    pub fn drift(&mut self, true_us: u64, ppm: i64) {
        self.then_us = self.monotonic_us(true_us);
        self.since_us = true_us;
        self.drift_ppm = ppm;
    }

    fn monotonic_us(&self, true_us: u64) -> u64 {
        let passed = (true_us - self.since_us).cast_signed();
        let shown = passed + passed * self.drift_ppm / MILLION;
        self.then_us + shown.unsigned_abs()
    }
}

/// What right wall clocks show when a run begins.
pub const WALL_START_MS: u64 = 1_700_000_000_000;

const MILLION: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_goes_on_over_steps_and_drifts() {
        let mut clock = HostClock::right();
        assert_eq!(clock.now(5_000).monotonic_ms, 5);
        clock.step(-90);
        assert_eq!(clock.now(5_000).monotonic_ms, 5);
        assert_eq!(clock.error_ms(5_000), -90);
        clock.drift(5_000, 100_000);
        assert_eq!(clock.now(5_000).monotonic_ms, 5);
        assert_eq!(clock.now(15_000).monotonic_ms, 16);
        clock.drift(15_000, -500_000);
        assert_eq!(clock.now(25_000).monotonic_ms, 21);
        assert_eq!(clock.after(25_000, 5_000), 35_000);
    }
}
