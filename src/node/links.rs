//! Outgoing connections: one task and one queue for each address.
//!
//! A link connects when there is something to send, sends what waits as one flush, and says that it is
//! still there when there is nothing. What can't be sent in time is dropped and the member reported
//! unreachable: the Raft engine sends again what matters. A member that reads slowly costs a bounded
//! number of bytes and nobody's time.
//!
//! Messages go out on the connections that this node makes and come in on those that others make, so
//! that neither side has to agree on which of two connections is the one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::driver::Input;
use super::frames::Frame;
use super::metrics::{Metrics, Side};
use super::observe::NET;
use super::options::Probe;
use super::reconcile::Wish;
use crate::limits::LINK_BYTES_MAX;
use crate::raft::{ClusterId, Envelope, Hello, RaftId};
use crate::transport::{FrameSender, Greeting, Secret, TransportError, connect};

/// All outgoing connections of a node. None of a node that is alone: what it is to send is lost.
pub(super) struct Links {
    network: Option<(Secret, Greeting)>,
    inbox: mpsc::WeakSender<Input>,
    metrics: Arc<Metrics>,
    probe: Option<Arc<dyn Probe>>,
    links: BTreeMap<String, Link>,
    /// Where nodes said that they are when they were heard last.
    heard: BTreeMap<RaftId, Heard>,
}

/// Where a node said that it is.
struct Heard {
    address: String,
    /// What the log said then, if it knew the node. Once it says something else it knows better.
    logged: Option<String>,
}

struct Link {
    frames: mpsc::UnboundedSender<Frame>,
    /// The bytes in the queue, which is bounded by them.
    queued: Arc<AtomicUsize>,
    used: Instant,
    task: JoinHandle<()>,
}

/// What a link's task knows.
struct Sender {
    address: String,
    secret: Secret,
    greeting: Greeting,
    frames: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
    inbox: mpsc::WeakSender<Input>,
    metrics: Arc<Metrics>,
}

impl Links {
    pub fn new(
        network: Option<(Secret, Greeting)>,
        inbox: mpsc::WeakSender<Input>,
        metrics: Arc<Metrics>,
        probe: Option<Arc<dyn Probe>>,
    ) -> Self {
        let (links, heard) = (BTreeMap::new(), BTreeMap::new());
        Self { network, inbox, metrics, probe, links, heard }
    }

    /// The node belongs to a cluster now: connections from here on say so. Those that are there
    /// introduced it as it was, and are closed.
    pub fn set_cluster(&mut self, cluster: Option<ClusterId>) {
        if let Some((_, greeting)) = &mut self.network {
            greeting.cluster = cluster;
        }
        self.links.clear();
    }

    /// As [`Links::set_cluster`], if it is another one than that which is known.
    pub fn set_cluster_if_other(&mut self, cluster: Option<ClusterId>) {
        let is_other = |(_, greeting): &(Secret, Greeting)| greeting.cluster != cluster;
        if self.network.as_ref().is_some_and(is_other) {
            self.set_cluster(cluster);
        }
    }

    /// Sends a message to a member: where it was heard, for it may have moved since the log knows it;
    /// else at the address of the log. One that the log does not know any more is told so.
    pub fn send(&mut self, logged: Option<&str>, envelope: Envelope) {
        let is_last = |heard: &&Heard| logged.is_none() || heard.logged.as_deref() == logged;
        let heard = self.heard.get(&envelope.to).filter(is_last);
        let address = heard.map(|heard| heard.address.clone());
        if let Some(address) = address.or_else(|| logged.map(str::to_owned)) {
            self.give(&address, Frame::Message(envelope));
        }
    }

    /// Tells an address what this node is.
    pub fn hello(&mut self, address: &str, hello: Hello) {
        self.give(address, Frame::Hello(hello));
    }

    /// Tells an address that a node asks to take part.
    pub fn wish(&mut self, address: &str, wish: Wish) {
        self.give(address, Frame::Wish(wish));
    }

    /// Tells an address that the cluster has no room for its node.
    pub fn no_room(&mut self, address: &str) {
        self.give(address, Frame::NoRoom);
    }

    /// Sends a message of gossip to an address.
    pub fn gossip(&mut self, address: &str, message: Bytes) {
        self.give(address, Frame::Gossip(message));
    }

    /// A node was heard that says where it is; the log may say something else.
    pub fn heard(&mut self, id: RaftId, address: String, logged: Option<String>) {
        if self.heard.len() >= HEARD_MAX {
            // Members come before all others.
            self.heard.retain(|_, heard| heard.logged.is_some());
        }
        let has_room = self.heard.len() < HEARD_MAX || self.heard.contains_key(&id);
        if has_room && !address.is_empty() {
            self.heard.insert(id, Heard { address, logged });
        }
    }

    fn give(&mut self, address: &str, frame: Frame) {
        let Some((secret, greeting)) = &self.network else { return };
        if address.is_empty() || address == greeting.address {
            return;
        }
        if self.probe.as_ref().is_some_and(|probe| !probe.carries(address)) {
            return report_lost(&self.inbox, [&frame]);
        }
        let now = Instant::now();
        if !self.links.contains_key(address) {
            self.links.retain(|_, link| now - link.used < IDLE_LINK);
            let (secret, greeting) = (secret.clone(), greeting.clone());
            let (inbox, metrics) = (self.inbox.clone(), Arc::clone(&self.metrics));
            let link = Link::spawn(address, secret, greeting, inbox, metrics);
            self.links.insert(address.to_owned(), link);
        }
        let link = self.links.get_mut(address).expect("it was just inserted");
        link.used = now;
        let weight = frame.weight();
        if link.queued.load(Ordering::Relaxed) + weight > LINK_BYTES_MAX {
            return report_lost(&self.inbox, [&frame]);
        }
        link.queued.fetch_add(weight, Ordering::Relaxed);
        // The task ends only with this queue.
        let _ = link.frames.send(frame);
    }
}

impl Link {
    fn spawn(
        address: &str,
        secret: Secret,
        greeting: Greeting,
        inbox: mpsc::WeakSender<Input>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, frames) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let (address, counter) = (address.to_owned(), Arc::clone(&queued));
        let task = Sender { address, secret, greeting, frames, queued: counter, inbox, metrics };
        let task = tokio::spawn(task.run());
        Self { frames: sender, queued, used: Instant::now(), task }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sender {
    async fn run(mut self) {
        let mut wait = WAIT_MIN;
        while let Some(first) = self.frames.recv().await {
            let connecting = connect(&self.address, &self.secret, &self.greeting, CONNECT_TIME);
            let connection = match connecting.await {
                Ok(connection) => connection,
                Err(why) => {
                    self.metrics.connects_failed.add(1);
                    self.tell_failure(&why, wait == WAIT_MIN);
                    self.lose(first);
                    sleep(wait).await;
                    self.lose_all();
                    wait = (wait * 2).min(WAIT_MAX);
                    continue;
                }
            };
            wait = WAIT_MIN;
            let (node, address) = (&self.greeting.name, &self.address);
            debug!(target: NET, node, address, peer = connection.peer.name, "has connected to a member");
            let _held = self.metrics.connections(Side::ToMember).hold();
            // The other side sends nothing on this connection.
            let (sender, _receiver) = (connection.sender, connection.receiver);
            self.send_on(sender, first).await;
            debug!(target: NET, node = self.greeting.name, address = self.address, "a connection to a member has ended");
        }
    }

    /// Logs why there is no connection: the first time aloud, so that a member that is down for long
    /// does not fill the log.
    fn tell_failure(&self, why: &TransportError, is_first: bool) {
        let (node, address) = (&self.greeting.name, &self.address);
        if is_first {
            warn!(target: NET, node, address, %why, "a member can't be reached");
        } else {
            debug!(target: NET, node, address, %why, "a member still can't be reached");
        }
    }

    /// Sends until the connection fails or the queue ends.
    async fn send_on(&mut self, mut sender: FrameSender, first: Frame) {
        let mut frames = vec![first];
        loop {
            let unflushed = std::mem::take(&mut frames);
            for frame in &unflushed {
                let bytes = frame.encode();
                self.queued.fetch_sub(frame.weight(), Ordering::Relaxed);
                // A frame over the limit can't be: the engine bounds what it sends.
                match sender.push(&bytes) {
                    Ok(()) => self.metrics.sent(Side::ToMember).add(bytes.len() as u64),
                    Err(_) => report_lost(&self.inbox, [frame]),
                }
            }
            if !matches!(timeout(FLUSH_TIME, sender.flush()).await, Ok(Ok(()))) {
                return report_lost(&self.inbox, &unflushed);
            }
            let waiting = self.frames.recv_many(&mut frames, FRAMES_MAX);
            match timeout(ALIVE_PERIOD, waiting).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => {
                    self.queued.fetch_add(Frame::Alive.weight(), Ordering::Relaxed);
                    frames.push(Frame::Alive);
                }
            }
        }
    }

    fn lose(&self, frame: Frame) {
        self.queued.fetch_sub(frame.weight(), Ordering::Relaxed);
        report_lost(&self.inbox, [&frame]);
    }

    /// Drops what waits: it is too old to be of use.
    fn lose_all(&mut self) {
        while let Ok(frame) = self.frames.try_recv() {
            self.lose(frame);
        }
    }
}

/// Tells the node whose messages were lost. If its inbox is full it will learn from silence.
fn report_lost<'a>(inbox: &mpsc::WeakSender<Input>, frames: impl IntoIterator<Item = &'a Frame>) {
    let Some(inbox) = inbox.upgrade() else { return };
    let mut told = None;
    for frame in frames {
        if let Frame::Message(Envelope { to, .. }) = frame
            && told != Some(*to)
        {
            told = Some(*to);
            let _ = inbox.try_send(Input::Unreachable(*to));
        }
    }
}

/// How long a connection may take to stand.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long a flush may take.
const FLUSH_TIME: Duration = Duration::from_secs(5);
/// After which silence a link says that it is there.
pub(super) const ALIVE_PERIOD: Duration = Duration::from_secs(5);
/// The pauses between attempts to connect.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_millis(500);
/// A link that was not used for so long is closed when another one is opened.
const IDLE_LINK: Duration = Duration::from_secs(60);
/// How many frames are sent as one flush.
const FRAMES_MAX: usize = 256;
/// How many addresses of nodes that were heard are kept.
const HEARD_MAX: usize = 256;
