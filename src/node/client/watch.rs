//! A watch of a client: goes on, whatever becomes of connections and nodes.
//!
//! It knows the last revision that it has seen, and asks for what follows: once at the beginning,
//! and again whenever its stream ends. A reader that is slower than the changes come makes the
//! stream end, too: nothing is kept for it but what it has not read of the stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::{Client, GONE, Stream, deadline_after, read_error, unexpected};
use crate::entry::Version;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::kv::RevisionChange;
use crate::mutant::mutant;
use crate::node::protocol::{Ask, Tell};

/// The changes of a keyspace, in order, without a gap or a repeat.
pub struct ClientWatch {
    client: Client,
    keyspace: Keyspace,
    prefix: Bytes,
    epoch: u64,
    /// The last revision that was seen.
    revision: u64,
    stream: Option<Stream>,
    /// When the stream may be asked for again.
    again_at: Instant,
    /// Why it has ended.
    ended: Option<Error>,
}

impl ClientWatch {
    pub(super) async fn begin(
        client: Client,
        keyspace: Keyspace,
        prefix: Bytes,
        after: Option<Version>,
        timeout: Duration,
    ) -> Result<Self> {
        let ask = Ask::Watch { keyspace: keyspace.clone(), prefix: prefix.clone(), after };
        let mut stream = client.stream(ask, deadline_after(timeout));
        match stream.told.recv().await {
            Some(Tell::Watching { epoch, revision }) => {
                let (stream, again_at, ended) = (Some(stream), Instant::now(), None);
                Ok(Self { client, keyspace, prefix, epoch, revision, stream, again_at, ended })
            }
            Some(Tell::Failed(failure)) => Err(read_error(&failure)),
            Some(tell) => Err(unexpected(tell)),
            None => Err(Error::unavailable(GONE)),
        }
    }

    /// The next change, with the epoch of its version. It waits for one without a limit of time, also
    /// while no node can be reached; a call that is dropped loses nothing.
    ///
    /// # Errors
    /// `INVALID` with `details.reason = "compacted"` if what follows is no longer kept: the reader was
    /// too slow, no node could be reached for too long, or the cluster has another history. Every
    /// later call says the same.
    pub async fn next(&mut self) -> Result<(u64, RevisionChange)> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        loop {
            let Some(stream) = &mut self.stream else {
                sleep_until(self.again_at).await;
                self.again();
                continue;
            };
            match stream.told.recv().await {
                Some(Tell::Revision { epoch, change }) => {
                    let weight = Tell::Revision { epoch, change: change.clone() }.weight();
                    stream.waiting.fetch_sub(weight, Ordering::Relaxed);
                    self.revision = change.revision;
                    if !change.events.is_empty() {
                        return Ok((epoch, change));
                    }
                }
                Some(Tell::Watching { .. }) => {}
                None | Some(Tell::Failed(_)) => self.stream = None,
                Some(tell) => {
                    let error = unexpected(tell).with_detail("delivered", self.seen().to_string());
                    self.stream = None;
                    self.ended = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// The version up to which it has seen all changes: a later watch may go on after it.
    #[must_use]
    pub const fn seen(&self) -> Version {
        Version::Numbered { epoch: self.epoch, revision: self.revision }
    }

    fn again(&mut self) {
        let (keyspace, prefix) = (self.keyspace.clone(), self.prefix.clone());
        let mut after = self.seen();
        if let Version::Numbered { revision, .. } = &mut after
            && mutant!("watch goes on one revision late")
        {
            *revision += 1;
        }
        let after = Some(after).filter(|_| !mutant!("watch goes on from now"));
        let ask = Ask::Watch { keyspace, prefix, after };
        self.again_at = Instant::now() + AGAIN_WAIT;
        self.stream = Some(self.client.stream(ask, Instant::now() + AGAIN_TIME));
    }
}

impl std::fmt::Debug for ClientWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientWatch")
            .field("keyspace", &self.keyspace)
            .field("seen", &self.seen())
            .finish_non_exhaustive()
    }
}

/// The least time from one attempt to go on with a watch to the next.
const AGAIN_WAIT: Duration = Duration::from_millis(100);
/// How long a node may take to go on with a watch.
const AGAIN_TIME: Duration = Duration::from_secs(10);
