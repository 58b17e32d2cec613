//! The clocks of the process.

use std::sync::atomic::{AtomicU64, Ordering};
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
        Self { start: Instant::now(), wall_at_start: wall_now() }
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

/// The wall clock as it is now, for deadlines that other programs read too. A step back shows as
/// the clock standing still until the wall clock has caught up.
#[derive(Debug, Default)]
pub struct WallClock {
    latest_ms: AtomicU64,
}

impl WallClock {
    /// A clock that shows the wall time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clock for WallClock {
    fn now(&self) -> UnixMillis {
        let now = wall_now();
        let latest = self.latest_ms.fetch_max(now.0, Ordering::Relaxed);
        UnixMillis(latest.max(now.0))
    }
}

fn wall_now() -> UnixMillis {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
}
