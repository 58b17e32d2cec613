//! The clock of the process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::clock::{Clock, UnixMillis};

/// The wall clock at its creation, carried on by the monotonic clock: it never goes back, and a
/// later step of the wall clock has no effect on it.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    wall_at_start: UnixMillis,
}

impl SystemClock {
    /// A clock that starts at the present wall time.
    #[must_use]
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: Instant::now(),
            wall_at_start: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.wall_at_start.after(elapsed)
    }
}
