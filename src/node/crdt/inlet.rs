//! The way by which messages of gossip come to the replicas: bounded in bytes. What comes beyond it is
//! dropped, so that no connection waits; gossip says again what matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::limits::CRDT_INBOX_BYTES_MAX;

/// Where messages are put.
#[derive(Clone, Debug)]
pub(in crate::node) struct Inlet {
    sender: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// Where they are taken.
#[derive(Debug)]
pub(super) struct Outlet {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    queued: Arc<AtomicUsize>,
    /// How many were dropped.
    pub lost: Arc<AtomicU64>,
}

pub(super) fn inlet() -> (Inlet, Outlet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (queued, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let outlet = Outlet { receiver, queued: Arc::clone(&queued), lost: Arc::clone(&lost) };
    (Inlet { sender, queued, lost }, outlet)
}

impl Inlet {
    /// Puts a message, or drops it if too much waits.
    pub fn offer(&self, message: Bytes) {
        let weight = WEIGHT + message.len();
        if self.queued.load(Ordering::Relaxed) + weight > CRDT_INBOX_BYTES_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.queued.fetch_add(weight, Ordering::Relaxed);
        // Without a receiver the node is ending.
        _ = self.sender.send(message);
    }
}

impl Outlet {
    /// Waits for a message; for ever if nobody can put any.
    pub async fn receive(&mut self) -> Bytes {
        match self.receiver.recv().await {
            Some(message) => self.taken(message),
            None => std::future::pending().await,
        }
    }

    /// A message that is there.
    pub fn try_receive(&mut self) -> Option<Bytes> {
        self.receiver.try_recv().ok().map(|message| self.taken(message))
    }

    fn taken(&self, message: Bytes) -> Bytes {
        self.queued.fetch_sub(WEIGHT + message.len(), Ordering::Relaxed);
        message
    }
}

/// What a message takes beside its bytes.
const WEIGHT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_dropped_and_counted_and_there_is_room_again() {
        let (inlet, mut outlet) = inlet();
        let large = Bytes::from(vec![0; CRDT_INBOX_BYTES_MAX / 2]);
        inlet.offer(large.clone());
        inlet.offer(large.clone());
        assert_eq!(outlet.lost.load(Ordering::Relaxed), 1);
        assert_eq!(outlet.try_receive().as_ref(), Some(&large));
        assert_eq!(outlet.try_receive(), None);
        inlet.offer(large);
        assert_eq!(outlet.lost.load(Ordering::Relaxed), 1);
    }
}
