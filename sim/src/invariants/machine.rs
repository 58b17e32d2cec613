//! The replicated machine: equal inputs make equal states, and what grows never goes back.

use plimsoll::clock::UnixMillis;
use plimsoll::kv::Digest;
use plimsoll::raft::{Applied, Node};

use super::raft::slot;
use super::{Promise, SeenOfNode, Violation};
use plimsoll::recorder::is_refused_unexecuted;

pub(super) const EQUAL_DIGESTS: Promise = Promise {
    name: "equal digests",
    sentence: "machines that have applied the same index are equal, client sessions included",
};
pub(super) const RECOMPUTED_DIGESTS: Promise = Promise {
    name: "recomputed digests",
    sentence: "the digest of a machine is that of its whole state computed anew",
};
pub(super) const REVISION_GROWS: Promise = Promise {
    name: "revision grows",
    sentence: "every command that changes something takes the next revision",
};
pub(super) const VERSION_ONCE: Promise = Promise {
    name: "version once",
    sentence: "a version names one write: its revision is that of the command that made it",
};
pub(super) const LOG_TIME_GROWS: Promise =
    Promise { name: "log time grows", sentence: "log time never goes back" };

pub(super) const SESSION_OF_EPOCH: Promise = Promise {
    name: "session of epoch",
    sentence: "no command of a client session of another epoch is executed",
};

/// What was seen of all machines.
#[derive(Debug, Default)]
pub(crate) struct Machines {
    /// By index: the digest of the machine that has applied it.
    digests: Vec<Option<Digest>>,
    /// The last index that was applied anywhere, and log time, epoch and revision after it.
    last: (u64, UnixMillis, u64, u64),
}

impl Machines {
    pub fn check_digest(&mut self, node: &Node, seen: &mut SeenOfNode) -> Result<(), Violation> {
        let applied = node.applied();
        if applied == seen.applied {
            return Ok(());
        }
        seen.applied = applied;
        let digest = node.machine().digest();
        match slot(&mut self.digests, applied) {
            Some(known) if *known != digest => Err(EQUAL_DIGESTS.broken(format!(
                "at index {applied}, {:?} has {digest}, another node had {known}",
                node.status().id
            ))),
            known => {
                *known = Some(digest);
                Ok(())
            }
        }
    }

    /// Whether a command is applied for the first time anywhere.
    pub const fn is_new(&self, applied: &Applied) -> bool {
        applied.index > self.last.0
    }

    /// A command that was applied for the first time anywhere.
    pub fn check_applied(&mut self, applied: &Applied, epoch: u64) -> Result<(), Violation> {
        let (_, log_time, last_epoch, revision) = self.last;
        if applied.log_time < log_time {
            return Err(LOG_TIME_GROWS.broken(format!(
                "from {log_time:?} to {:?} at index {}",
                applied.log_time, applied.index
            )));
        }
        let revision = if epoch == last_epoch { revision } else { 0 };
        let made = applied.outcome.change.as_ref().map_or(revision, |change| change.revision);
        let is_next = made == revision + u64::from(applied.outcome.change.is_some());
        if !is_next && revision != 0 {
            return Err(REVISION_GROWS
                .broken(format!("from {revision} to {made} at index {}", applied.index)));
        }
        self.last = (applied.index, applied.log_time, epoch, made);
        if let Some(stamp) = applied.command.session
            && stamp.session.epoch != epoch
            && !is_refused_unexecuted(&applied.outcome.reply)
        {
            return Err(SESSION_OF_EPOCH.broken(format!("{stamp:?} in epoch {epoch:x}")));
        }
        check_versions(applied, epoch)
    }

    /// A new epoch begins at an index.
    pub fn restart(&mut self, index: u64, log_time: UnixMillis) {
        self.last = (index, log_time, 0, 0);
        self.digests.clear();
    }

    /// Log time after the last command that was applied anywhere.
    pub const fn log_time(&self) -> UnixMillis {
        self.last.1
    }
}

fn check_versions(applied: &Applied, epoch: u64) -> Result<(), Violation> {
    let Some(change) = &applied.outcome.change else { return Ok(()) };
    let expected = plimsoll::entry::Version::Numbered { epoch, revision: change.revision };
    let mut records = change.events.iter().filter_map(|event| event.record.as_ref());
    match records.find(|record| record.version != expected) {
        None => Ok(()),
        Some(record) => Err(VERSION_ONCE.broken(format!(
            "the command at index {} made {:?} and not {expected:?}",
            applied.index, record.version
        ))),
    }
}

/// In quiescence: the digest is the recomputed one.
pub(crate) fn check_recomputed(node: &Node) -> Result<(), Violation> {
    let (kept, anew) = (node.machine().digest(), node.machine().recomputed_digest());
    if kept == anew {
        return Ok(());
    }
    Err(RECOMPUTED_DIGESTS.broken(format!("{:?} keeps {kept}, it is {anew}", node.status().id)))
}
