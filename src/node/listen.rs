//! Incoming connections: who may speak, and what they say.
//!
//! Every connection proves the cluster's secret first. A member's frames go to the node, one
//! connection after the other waiting while the node is busy; a client is served (`serve`). Whoever
//! says nothing for a while, says something that can't be read, or belongs to another cluster, is
//! let go.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::driver::Input;
use super::frames::Frame;
use super::handle::NodeHandle;
use super::links::ALIVE_PERIOD;
use super::metrics::{Rejection, Side};
use super::observe::NET;
use super::serve::serve;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKE_MS_MAX};
use crate::raft::ClusterId;
use crate::transport::{FrameReceiver, Greeting, Role, Secret, accept, turn_away};

/// What a listener needs to take a connection.
#[derive(Clone)]
pub(super) struct Listening {
    pub secret: Secret,
    pub greeting: Greeting,
    pub node: NodeHandle,
    /// The places for backups, of all its clients together.
    pub backups: Arc<Semaphore>,
    /// The cluster of this node, once it has one.
    pub cluster: watch::Receiver<Option<ClusterId>>,
    /// When it was last logged that somebody was refused.
    pub refused: Arc<Mutex<Option<Instant>>>,
}

impl Listening {
    /// Takes connections until it is dropped; all of them end with it.
    pub async fn run(self, listener: TcpListener) {
        let places_max = places(files_max());
        let places = Arc::new(Semaphore::new(places_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut tasks = Tasks::default();
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                // Too many open files, or the like: it passes.
                sleep(ACCEPT_WAIT).await;
                continue;
            };
            // Over the limit the other side is told so, and tries another node. There is not always time
            // for that: then it sees a connection that was closed.
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                tasks.spawn(self.clone().take(stream, from, place));
            } else {
                self.refuse(Rejection::Full, from, &format!("there are {places_max} already"));
                if let Ok(refusal) = Arc::clone(&refusals).try_acquire_owned() {
                    tasks.spawn(async move {
                        turn_away(stream, REFUSAL_TIME).await;
                        drop(refusal);
                    });
                }
            }
        }
    }

    async fn take(self, stream: TcpStream, from: SocketAddr, _place: OwnedSemaphorePermit) {
        let cluster = *self.cluster.borrow();
        let greeting = Greeting { cluster, ..self.greeting.clone() };
        // Who does not hold the secret learns nothing.
        let accepting = accept(stream, &self.secret, &greeting, HANDSHAKE_TIME);
        let connection = match accepting.await {
            Ok(connection) => connection,
            Err(why) => return self.refuse(Rejection::Handshake, from, &why.to_string()),
        };
        let peer = connection.peer.clone();
        let is_foreign = peer.cluster.zip(cluster).is_some_and(|(peer, own)| peer != own);
        if is_foreign {
            return self.refuse(
                Rejection::Foreign,
                from,
                &format!("{} is of another cluster", peer.name),
            );
        }
        let (node, name) = (&self.greeting.name, &peer.name);
        debug!(target: NET, node, %from, name, role = ?peer.role, "has accepted a connection");
        let (sender, receiver) = (connection.sender, connection.receiver);
        match peer.role {
            Role::Peer => self.listen(receiver, peer).await,
            Role::Client => serve(self.node, self.backups, sender, receiver).await,
        }
    }

    /// Counts and logs a connection that is not kept: aloud at most once in a while, whoever knocks.
    fn refuse(&self, rejection: Rejection, from: SocketAddr, why: &str) {
        self.node.metrics.rejections(rejection).add(1);
        let node = &self.greeting.name;
        let is_due = {
            // Nothing in there panics half-way.
            let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = last.is_none_or(|last| last.elapsed() >= REFUSAL_PERIOD);
            if is_due {
                *last = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            warn!(target: NET, node, %from, why, "has refused a connection");
        } else {
            debug!(target: NET, node, %from, why, "has refused a connection");
        }
    }

    async fn listen(&self, mut receiver: FrameReceiver, peer: Greeting) {
        let metrics = &self.node.metrics;
        let _held = metrics.connections(Side::FromMember).hold();
        if let Some(id) = peer.id {
            let heard = Input::Heard(id, peer.address);
            if self.node.inbox.send(heard).await.is_err() {
                return;
            }
        }
        while let Ok(Ok(Some(bytes))) = timeout(4 * ALIVE_PERIOD, receiver.receive()).await {
            metrics.received(Side::FromMember).add(bytes.len() as u64);
            let Ok(frame) = Frame::decode(bytes) else { return };
            let input = match frame {
                Frame::Alive => continue,
                Frame::Message(envelope) => Input::Message(envelope),
                Frame::Hello(hello) => Input::Hello(hello),
                Frame::Wish(wish) => Input::Wish(wish),
                Frame::NoRoom => Input::NoRoom,
                // The replicas never make a connection wait.
                Frame::Gossip(message) => {
                    self.node.crdt.inlet.offer(message);
                    continue;
                }
            };
            if self.node.inbox.send(input).await.is_err() {
                return;
            }
        }
    }
}

/// How many connections an address has if the process may open so many files. A node that can't open
/// its own files must stop: some are kept for them.
fn places(files_max: Option<usize>) -> usize {
    let each = files_max.map(|files| files.saturating_sub(FILES_KEPT) / ADDRESSES);
    each.unwrap_or(CONNECTIONS_MAX).clamp(1, CONNECTIONS_MAX)
}

/// How many files this process may open at once, where the system tells.
fn files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Tasks that end with their owner.
#[derive(Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.retain(|task| !task.is_finished());
        self.0.push(tokio::spawn(task));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);
/// How many are told at once that there is no room, and how long that may take.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// The addresses of a node: of its members and of its clients.
const ADDRESSES: usize = 2;
/// Files that connections leave to the rest: those of the storage, links to members, refusals, and
/// whoever asks over HTTP.
const FILES_KEPT: usize = 256;
/// In which time one refusal is logged aloud.
const REFUSAL_PERIOD: Duration = Duration::from_secs(1);
/// The pause after the system could not take a connection.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_may_open_few_files_takes_few_connections() {
        for (files, expected) in [
            (None, CONNECTIONS_MAX),
            (Some(1_000_000), CONNECTIONS_MAX),
            (Some(1_024), 384),
            (Some(258), 1),
            (Some(20), 1),
        ] {
            assert_eq!(places(files), expected, "{files:?}");
        }
    }
}
