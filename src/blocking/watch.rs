//! Watches that block.

use std::fmt;
use std::time::Duration;

use super::runtime::Runtime;
use crate::entry::Change;
use crate::error::Result;
use crate::store;

/// A stream of changes. After its first error, other than a timeout, it has ended.
///
/// As an iterator it waits for each change, and ends when it is closed.
pub struct Watch {
    watch: store::Watch,
    runtime: Runtime,
}

impl Watch {
    pub(super) const fn new(watch: store::Watch, runtime: Runtime) -> Self {
        Self { watch, runtime }
    }

    /// The next change; `None` once the stream is closed. Without a timeout it waits for ever.
    ///
    /// # Errors
    /// As [`store::Watch::next`].
    #[track_caller]
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Change>> {
        self.runtime.wait(self.watch.next(timeout))
    }

    /// Ends the stream.
    pub fn close(&mut self) {
        self.watch.close();
    }
}

impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self, None).transpose()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.watch, f)
    }
}
