//! Whether a node is ready: a majority confirms that what it would read is recent enough.
//!
//! A confirmation costs a round of messages. Whoever asks while one is under way waits for that one:
//! if it succeeds, it does so after they have asked.
//!
//! Nothing is remembered: a node that was ready a moment ago may be cut off by now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::limits::HTTP_PROBE_MS_MAX;
use crate::node::NodeHandle;
use crate::raft::Request;

/// Asks whether a node is ready. Clones ask together.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    node: NodeHandle,
    under_way: Arc<Mutex<Option<watch::Receiver<Option<Verdict>>>>>,
}

/// Ready, or why not.
type Verdict = Result<(), String>;

impl Readiness {
    pub fn new(node: NodeHandle) -> Self {
        Self { node, under_way: Arc::default() }
    }

    /// Asks, or waits for who has asked; not longer than [`HTTP_PROBE_MS_MAX`].
    pub async fn check(&self) -> Verdict {
        let mut verdict = self.join();
        match verdict.wait_for(Option::is_some).await {
            Ok(verdict) => verdict.clone().expect("it was waited for"),
            Err(_) => Err("the check was broken off".to_owned()),
        }
    }

    /// The confirmation under way, or a new one. It goes on though whoever asked is gone: others may
    /// wait for it, and it ends soon.
    fn join(&self) -> watch::Receiver<Option<Verdict>> {
        // Nothing in there panics half-way.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose sender is gone has given its verdict.
        if let Some(verdict) = under_way.as_ref()
            && verdict.has_changed().is_ok()
            && verdict.borrow().is_none()
        {
            return verdict.clone();
        }
        let (verdicts, verdict) = watch::channel(None);
        *under_way = Some(verdict.clone());
        let node = self.node.clone();
        tokio::spawn(async move {
            let verdict = confirm(&node).await;
            // All who waited may be gone.
            let _ = verdicts.send(Some(verdict));
        });
        verdict
    }
}

async fn confirm(node: &NodeHandle) -> Verdict {
    // The node ends a request at its next tick after the deadline, and then says why.
    let reading = node.request(Request::Read, READ_TIME);
    match timeout(Duration::from_millis(HTTP_PROBE_MS_MAX), reading).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) => Err(failure.to_error().message().to_owned()),
        Err(_) => Err(format!("the node has not answered within {HTTP_PROBE_MS_MAX} ms")),
    }
}

/// The deadline of the read: a majority that is there confirms within few milliseconds.
const READ_TIME: Duration = Duration::from_millis(HTTP_PROBE_MS_MAX - 200);
