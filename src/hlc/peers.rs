//! The clocks of other nodes, as messages have told them.
//!
//! A report is the wall clock that a message carried, plus the monotonic time since it came in, so
//! steps of the own clock are not felt; it is late by the way of the message. Old reports do not count.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use crate::clock::{Now, UnixMillis};
use crate::limits::CLOCK_REPORT_MS_MAX;

/// What the clocks of the peers showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerClocks {
    reports: BTreeMap<u64, Report>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Report {
    wall: UnixMillis,
    received_ms: u64,
}

impl PeerClocks {
    /// Takes the clock of a peer as it came in a message.
    pub fn report(&mut self, peer: u64, wall: UnixMillis, now: Now) {
        self.reports.insert(peer, Report { wall, received_ms: now.monotonic_ms });
    }

    /// Forgets a peer.
    pub fn forget(&mut self, peer: u64) {
        self.reports.remove(&peer);
    }

    /// The median of what the peers' clocks show now; of two middle ones the lower.
    #[must_use]
    pub fn median(&self, now: Now) -> Option<UnixMillis> {
        let age_ms = |report: &Report| now.monotonic_ms.saturating_sub(report.received_ms);
        let counted = self.reports.values().filter(|it| age_ms(it) <= CLOCK_REPORT_MS_MAX);
        let mut walls: Vec<_> = counted.map(|it| it.wall.after(age_ms(it))).collect();
        walls.sort_unstable();
        walls.get(walls.len().checked_sub(1)? / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Now {
        Now { monotonic_ms, wall: UnixMillis(77) }
    }

    #[test]
    fn the_median_moves_with_monotonic_time_and_old_reports_do_not_count() {
        let mut peers = PeerClocks::default();
        assert_eq!(peers.median(at(0)), None);
        peers.report(1, UnixMillis(1_000), at(0));
        peers.report(2, UnixMillis(5_000), at(500));
        assert_eq!(peers.median(at(1_000)), Some(UnixMillis(2_000)), "the lower of two");
        peers.report(3, UnixMillis(9_000), at(1_000));
        assert_eq!(peers.median(at(1_000)), Some(UnixMillis(5_500)));
        let late = CLOCK_REPORT_MS_MAX + 200;
        assert_eq!(peers.median(at(late)), Some(UnixMillis(5_000 + late - 500)), "1 is too old");
        peers.forget(3);
        assert_eq!(peers.median(at(late)), Some(UnixMillis(5_000 + late - 500)));
    }
}
