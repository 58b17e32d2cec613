//! The clocks of other nodes, as messages have told them.
//!
//! A report is the wall clock that a message carried, plus the monotonic time since it came in, so
//! steps of the own clock are not felt; it is late by the way of the message. Old reports do not count.
//!
//! Messages come late and again, so of the reports of one peer that count the one that is furthest on
//! stays: a late message shows less than the clock does.
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
        let shown = self.reports.get(&peer).and_then(|report| report.shows(now));
        if shown.is_none_or(|shown| shown <= wall) {
            self.reports.insert(peer, Report { wall, received_ms: now.monotonic_ms });
        }
    }

    /// Forgets a peer.
    pub fn forget(&mut self, peer: u64) {
        self.reports.remove(&peer);
    }

    /// The median of what the peers' clocks show now; of two middle ones the lower. So among three
    /// nodes, what is within a bound of the median and of the own clock is within it of all clocks.
    #[must_use]
    pub fn median(&self, now: Now) -> Option<UnixMillis> {
        let mut walls: Vec<_> = self.reports.values().filter_map(|it| it.shows(now)).collect();
        walls.sort_unstable();
        walls.get(walls.len().checked_sub(1)? / 2).copied()
    }
}

impl Report {
    /// What the clock shows now, unless the report is too old to tell.
    fn shows(&self, now: Now) -> Option<UnixMillis> {
        let age_ms = now.monotonic_ms.saturating_sub(self.received_ms);
        (age_ms <= CLOCK_REPORT_MS_MAX).then(|| self.wall.after(age_ms))
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
    #[test]
    fn a_late_message_does_not_set_a_clock_back() {
        let mut peers = PeerClocks::default();
        peers.report(1, UnixMillis(5_000), at(0));
        peers.report(1, UnixMillis(5_000), at(900));
        peers.report(1, UnixMillis(2_000), at(900));
        assert_eq!(peers.median(at(1_000)), Some(UnixMillis(6_000)));
        peers.report(1, UnixMillis(6_500), at(1_000));
        assert_eq!(peers.median(at(1_000)), Some(UnixMillis(6_500)), "a later report counts");
        let late = 1_000 + CLOCK_REPORT_MS_MAX + 1;
        peers.report(1, UnixMillis(2_000), at(late));
        assert_eq!(peers.median(at(late)), Some(UnixMillis(2_000)), "the others are too old");
    }
}
