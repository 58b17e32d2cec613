//! A hybrid logical clock: times that follow the physical clock and never contradict causality.
//!
//! A time is a wall time in milliseconds and a logical counter that orders what happens within one of
//! them. A clock gives out times that only grow, each later than every time that it has observed, so
//! a write that has seen another is later than it, on whatever node. (Kulkarni et al., "Logical
//! Physical Clocks", 2014; the logical part grows by one with each time given within a millisecond.)
//!
//! Invariants:
//! 1. A time is later than all that were given or observed before.
//! 2. The wall part of a time that is given lies below the durable reservation. A clock that starts
//!    with a reservation begins at it, so no time is ever at or below one given before a restart.
//! 3. No time is given that is ahead of the own physical clock, or of the median of the peers' clocks,
//!    by more than half the bound; none is observed that is ahead of the own physical clock by more
//!    than the bound. Whatever is refused changes nothing.
//!
//! The caller's contract: what [`HybridClock::wanted_reservation`] asks for is made durable, and only
//! then reported with [`HybridClock::reserve`]; what was reserved last is given to the next start.
//!
//! No clock is read here: physical time comes with each call, and may show anything.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod peers;

use std::fmt;

pub use peers::PeerClocks;

use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::CLOCK_RESERVE_MS;
use crate::mutant::mutant;

/// A time of a hybrid clock. Order: by wall time, then by the logical part.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HybridTime {
    /// Milliseconds since the Unix epoch.
    pub wall: UnixMillis,
    /// Orders times of one millisecond.
    pub logical: u32,
}

/// Why a clock refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClockRefusal {
    /// The time would be ahead of a clock that it is compared with by this much, which is too much.
    Ahead {
        /// How far ahead.
        ahead_ms: u64,
    },
    /// The durable reservation has to grow first.
    Unreserved,
}

/// The clock of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HybridClock {
    /// The latest time that was given or observed.
    latest: HybridTime,
    /// The wall time below which times may have been given before this start.
    floor: UnixMillis,
    /// The wall time below which times may be given.
    reserved: UnixMillis,
    bound_ms: u64,
}

impl HybridClock {
    /// A clock that starts. `reserved` is what was reported last with [`HybridClock::reserve`] before
    /// this start, or 0 for the very first one.
    #[must_use]
    pub fn new(bound_ms: u64, reserved: UnixMillis) -> Self {
        let floor = if mutant!("clock restarts") { UnixMillis(0) } else { reserved };
        Self { latest: HybridTime::default(), floor, reserved, bound_ms }
    }

    /// Goes on from a time of before the start, of which everything is known to this clock's node.
    pub fn resume(&mut self, latest: HybridTime) {
        self.latest = self.latest.max(latest);
    }

    /// The next time. `peers` is the median of the peers' clocks, if any is known.
    ///
    /// # Errors
    /// If it would be too far ahead, or is not reserved.
    pub fn now(
        &mut self,
        physical: UnixMillis,
        peers: Option<UnixMillis>,
    ) -> Result<HybridTime, ClockRefusal> {
        let next = self.next(physical, peers)?;
        if next.wall >= self.reserved {
            return Err(ClockRefusal::Unreserved);
        }
        self.latest = next;
        Ok(next)
    }

    /// Takes note of a time that another node has given.
    ///
    /// # Errors
    /// If it is too far ahead.
    pub fn observe(
        &mut self,
        remote: HybridTime,
        physical: UnixMillis,
    ) -> Result<(), ClockRefusal> {
        self.check(remote, physical)?;
        if !mutant!("received times are not observed") {
            self.latest = self.latest.max(remote);
        }
        Ok(())
    }

    /// Whether another node's time would be taken note of.
    ///
    /// # Errors
    /// If it is too far ahead.
    pub fn check(&self, remote: HybridTime, physical: UnixMillis) -> Result<(), ClockRefusal> {
        let ahead_ms = remote.wall.0.saturating_sub(physical.0);
        if ahead_ms > self.bound_ms && !mutant!("time from the far future is taken") {
            return Err(ClockRefusal::Ahead { ahead_ms });
        }
        Ok(())
    }

    /// The reservation to make durable next, if the one there is runs out soon. There is none while
    /// times are refused: a wrong clock must not bind the starts to come.
    #[must_use]
    pub fn wanted_reservation(
        &self,
        physical: UnixMillis,
        peers: Option<UnixMillis>,
    ) -> Option<UnixMillis> {
        let next = self.next(physical, peers).ok()?;
        let runs_out = next.wall.after(CLOCK_RESERVE_MS / 2) >= self.reserved;
        runs_out.then(|| next.wall.after(CLOCK_RESERVE_MS))
    }

    /// Takes note of a reservation that is durable.
    pub fn reserve(&mut self, until: UnixMillis) {
        self.reserved = self.reserved.max(until);
    }

    /// A wall time at or above which no time was given, in this start or before: of a clock that gives no
    /// more, the next start needs to be told no later one.
    #[must_use]
    pub fn given_below(&self) -> UnixMillis {
        self.floor.max(self.latest.wall.after(1))
    }

    /// The latest time that was given or observed since the start.
    #[must_use]
    pub const fn latest(&self) -> HybridTime {
        self.latest
    }

    /// How far another node's time may be ahead of the own physical clock.
    #[must_use]
    pub const fn bound_ms(&self) -> u64 {
        self.bound_ms
    }

    fn next(
        &self,
        physical: UnixMillis,
        peers: Option<UnixMillis>,
    ) -> Result<HybridTime, ClockRefusal> {
        let least = HybridTime { wall: physical.max(self.floor), logical: 0 };
        let next = self.latest.next().max(least);
        let slowest = peers.map_or(physical, |peers| peers.min(physical));
        let ahead_ms = next.wall.0.saturating_sub(slowest.0);
        if ahead_ms > self.bound_ms / 2 {
            return Err(ClockRefusal::Ahead { ahead_ms });
        }
        Ok(next)
    }
}

impl HybridTime {
    /// The earliest later time.
    #[must_use]
    const fn next(self) -> Self {
        match self.logical.checked_add(1) {
            Some(logical) => Self { wall: self.wall, logical },
            None => Self { wall: self.wall.after(1), logical: 0 },
        }
    }

    /// Writes both parts.
    pub fn encode(self, writer: &mut Writer) {
        writer.unsigned(self.wall.0);
        writer.unsigned(u64::from(self.logical));
    }

    /// Reads what [`HybridTime::encode`] wrote.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let wall = UnixMillis(reader.unsigned("a wall time")?);
        let logical = reader.unsigned("a logical time")?;
        let logical = u32::try_from(logical).map_err(|_| reader.error("a logical time"))?;
        Ok(Self { wall, logical })
    }
}

impl fmt::Display for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall.0, self.logical)
    }
}

impl fmt::Debug for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND_MS: u64 = 5_000;

    fn clock(reserved: u64) -> HybridClock {
        HybridClock::new(BOUND_MS, UnixMillis(reserved))
    }

    #[test]
    fn a_full_logical_part_moves_the_wall_time() {
        let full = HybridTime { wall: UnixMillis(7), logical: u32::MAX };
        assert_eq!(full.next(), HybridTime { wall: UnixMillis(8), logical: 0 });
    }

    #[test]
    fn nothing_is_given_beyond_half_the_bound_of_any_clock() {
        for (physical, peers, is_given) in [
            (10_000, None, true),
            (7_500, None, true),
            (7_499, None, false),
            (10_000, Some(7_500), true),
            (10_000, Some(7_499), false),
            (7_499, Some(20_000), false),
        ] {
            let mut clock = clock(10_000);
            clock.reserve(UnixMillis(20_000));
            let before = clock.clone();
            let given = clock.now(UnixMillis(physical), peers.map(UnixMillis));
            assert_eq!(given.is_ok(), is_given, "{physical} {peers:?}");
            assert_eq!(clock != before, is_given, "what is refused changes nothing");
        }
    }

    #[test]
    fn nothing_is_observed_beyond_the_bound() {
        let mut clock = clock(0);
        let at = |wall| HybridTime { wall: UnixMillis(wall), logical: 3 };
        clock.observe(at(15_000), UnixMillis(10_000)).expect("within the bound");
        let refused = clock.observe(at(15_001), UnixMillis(10_000));
        assert_eq!(refused, Err(ClockRefusal::Ahead { ahead_ms: 5_001 }));
        assert_eq!(clock.latest(), at(15_000));
    }

    #[test]
    fn what_is_given_back_lies_above_all_that_was_given_here_or_before() {
        // The start before may have given all that it had reserved, and this one gives nothing.
        let mut clock = clock(10_000);
        assert_eq!(clock.given_below(), UnixMillis(10_000));
        clock.reserve(UnixMillis(20_000));
        let given = clock.now(UnixMillis(12_000), None).expect("it is reserved");
        assert_eq!((given.wall, clock.given_below()), (UnixMillis(12_000), UnixMillis(12_001)));
        let mut next = HybridClock::new(5_000, clock.given_below());
        next.reserve(UnixMillis(20_000));
        assert!(next.now(UnixMillis(11_000), None).expect("it is reserved") > given);
    }

    #[test]
    fn a_wrong_clock_reserves_nothing() {
        let mut clock = clock(0);
        let now = UnixMillis(10_000);
        assert_eq!(clock.now(now, None), Err(ClockRefusal::Unreserved));
        let until = clock.wanted_reservation(now, None).expect("it has none");
        assert_eq!(until, UnixMillis(11_000));
        assert_eq!(clock.wanted_reservation(UnixMillis(99_000_000), Some(now)), None);
        clock.reserve(until);
        assert_eq!(clock.wanted_reservation(now, None), None);
        assert!(clock.now(now, None).is_ok());
        let later = clock.wanted_reservation(UnixMillis(10_500), None);
        assert_eq!(later, Some(UnixMillis(11_500)), "half of it is left");
    }
}
