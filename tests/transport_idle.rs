//! Idle connections between nodes cost little memory. A test of its own: nothing else may take memory
//! while it measures.
#![allow(clippy::unwrap_used)]

#[path = "support/transport.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plimsoll::transport::FrameReceiver;
use support::pair;

/// Resident memory of this process, in bytes.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

#[tokio::test]
async fn two_thousand_idle_connections_cost_little_and_end() {
    const CONNECTIONS: usize = 2_000;
    let before = resident();
    let waiting = Arc::new(AtomicUsize::new(0));
    let wait = |mut receiver: FrameReceiver<_>| {
        let waiting = waiting.clone();
        tokio::spawn(async move {
            waiting.fetch_add(1, Ordering::Relaxed);
            receiver.receive().await
        })
    };
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        // A pipe of this size is what memory holds of it.
        let (mut one, mut other) = pair(1_000).await;
        // What was used for this, no connection keeps.
        one.sender.push(&[7; 70_000]).unwrap();
        let (sent, received) = tokio::join!(one.sender.flush(), other.receiver.receive());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap().len(), 70_000);
        senders.extend([one.sender, other.sender]);
        receivers.extend([wait(one.receiver), wait(other.receiver)]);
    }
    while waiting.load(Ordering::Relaxed) < receivers.len() {
        tokio::task::yield_now().await;
    }
    if let Some((before, now)) = before.zip(resident()) {
        let each = now.saturating_sub(before) / CONNECTIONS;
        assert!(each < 12 << 10, "a connection, with both of its ends, costs {each} bytes");
    }
    for sender in senders {
        sender.finish().await.unwrap();
    }
    for receiver in receivers {
        assert_eq!(receiver.await.unwrap(), Ok(None));
    }
}
