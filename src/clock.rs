//! Time as an input: an instant, a trait that tells it, and a clock that is set by hand.
//!
//! No real clock here: the core never reads one. `store::SystemClock` is the real one.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An instant: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The instant a number of milliseconds later; the end of time if there is none.
    #[must_use]
    pub const fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Seconds since the Unix epoch, as entries show their deadline.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact for the next 285,000 years")]
    pub const fn as_seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl fmt::Debug for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// The time of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back within a start of the node.
    pub monotonic_ms: u64,
    /// The wall clock, which may show anything.
    pub wall: UnixMillis,
}

/// Seconds in whole milliseconds, rounded up, but without what the floats add: 0.3 s are 300 ms
/// although 0.3 * 1000 is a little more. What "a little" is grows with the number: over months the
/// next float is more than a nanosecond away.
#[must_use]
pub fn milliseconds_of(seconds: f64) -> f64 {
    let exact = seconds * 1_000.0;
    (exact - (exact * f64::EPSILON).max(1e-6)).ceil()
}

/// Tells the time. Implementations never go back.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> UnixMillis;
}

/// A clock that moves only when told to; clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows an instant.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self(Arc::new(AtomicU64::new(now.0)))
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}
