//! Where in the log a client was told last that something happened: for histories of what it did.
//!
//! It is for a client with one call at a time, or whose callers take what there is before they wait
//! again. What was refused without being executed happened nowhere.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ClientProbe;
use crate::check::history::Label;
use crate::kv::{Command, SessionStamp};
use crate::node::protocol::{Applied, Seen};
use crate::recorder::is_refused_unexecuted;

/// The place of the last answer, until it is taken.
#[derive(Debug, Default)]
pub struct LatestPlace(Mutex<Option<Place>>);

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the log.
    pub label: Label,
    /// Under which identity, if it was a write.
    pub stamp: Option<SessionStamp>,
}

impl LatestPlace {
    /// The place of the last answer since this was asked before, if there was one.
    pub fn take(&self) -> Option<Place> {
        self.place().take()
    }

    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        // Nothing in there panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientProbe for LatestPlace {
    fn applied(&self, command: &Command, applied: &Applied) {
        let Some(stamp) = command.session else { return };
        if is_refused_unexecuted(&applied.reply) {
            return;
        }
        let Applied { index, log_time, .. } = *applied;
        // A session ends with its epoch.
        let label = Label { index, log_time, epoch: stamp.session.epoch };
        *self.place() = Some(Place { label, stamp: Some(stamp) });
    }

    fn read(&self, Seen { index, log_time, epoch }: Seen) {
        *self.place() = Some(Place { label: Label { index, log_time, epoch }, stamp: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::kv::{Action, Reason, Refusal, Reply, SessionId};

    #[test]
    fn what_was_not_executed_has_no_place() {
        let stamp = SessionStamp { session: SessionId { epoch: 7, index: 3 }, seq: 1, low: 1 };
        let command = Command { session: Some(stamp), action: Action::Advance };
        let refused = |reason| Reply::Refused(Refusal { reason, index: None });
        let told = |command: &Command, reply| {
            let latest = LatestPlace::default();
            latest.applied(command, &Applied { index: 9, log_time: UnixMillis(5), reply });
            latest.take()
        };
        let label = Label { index: 9, log_time: UnixMillis(5), epoch: 7 };
        let place = Some(Place { label, stamp: Some(stamp) });
        assert_eq!(told(&command, refused(Reason::Absent)), place);
        for reason in [Reason::SessionExpired, Reason::SequenceTooLow, Reason::SequenceTooHigh] {
            assert_eq!(told(&command, refused(reason)), None, "{reason:?}");
        }
        let opened = Reply::SessionOpened(stamp.session);
        assert_eq!(told(&Command::new(Action::OpenSession), opened), None);
    }
}
