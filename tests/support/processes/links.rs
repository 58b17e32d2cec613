//! The links between processes: relays through which members reach each other and clients reach
//! members, and what is done to them. A link has a direction; what passes one way may be held back
//! while the other way is open, a pair may be cut, a connection reset in the middle of a frame.
//!
//! A relay stands before an address, and learns from the system which process has opened a
//! connection to it. So no privilege is needed, and no network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Who is at an end of a link: a node by its place, or the clients of this process.
pub type Place = usize;

/// The place of the clients.
pub const CLIENTS: Place = usize::MAX;

/// From whom to whom bytes go.
pub type Link = (Place, Place);

/// What is wrong with the links.
#[derive(Clone, Default)]
struct Faults {
    cut: BTreeSet<Link>,
    held: BTreeSet<Link>,
}

/// All links. Clones are the same.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    faults: watch::Sender<Faults>,
    /// How many bytes a link passes on before a connection of it is reset.
    tears: Mutex<BTreeMap<Link, usize>>,
    /// The processes of the nodes.
    processes: Mutex<BTreeMap<Place, u32>>,
    pub counts: Counts,
}

/// What has been done to connections.
#[derive(Debug, Default)]
pub struct Counts {
    pub carried: AtomicU64,
    pub cut: AtomicU64,
    pub held: AtomicU64,
    pub torn: AtomicU64,
}

impl Links {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            faults: watch::Sender::new(Faults::default()),
            tears: Mutex::default(),
            processes: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// Whether it can be told here which process has opened a connection.
    pub fn are_told_apart() -> bool {
        fs::exists("/proc/net/tcp").unwrap_or(false)
    }

    /// The process of a node is a new one.
    pub fn is_process(&self, place: Place, process: u32) {
        self.0.processes.lock().unwrap().insert(place, process);
    }

    /// Ends the connections of some links, and lets no new one come about.
    pub fn cut(&self, links: impl IntoIterator<Item = Link>) {
        self.0.faults.send_modify(|faults| faults.cut.extend(links));
    }

    /// Holds back what is sent on some links; their connections stay.
    pub fn hold(&self, links: impl IntoIterator<Item = Link>) {
        self.0.faults.send_modify(|faults| faults.held.extend(links));
    }

    /// Resets a connection of a link once it has passed on so many bytes from now on.
    pub fn tear(&self, link: Link, bytes: usize) {
        self.0.tears.lock().unwrap().insert(link, bytes);
    }

    /// Nothing is wrong any more. What was held back is passed on.
    pub fn heal(&self) {
        self.0.tears.lock().unwrap().clear();
        self.0.faults.send_replace(Faults::default());
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Takes connections before an address of a node and passes them on to it.
    pub async fn relay(self, listener: TcpListener, to: Place, address: SocketAddr) {
        while let Ok((stream, peer)) = listener.accept().await {
            tokio::spawn(self.clone().carry(stream, peer, to, address));
        }
    }

    async fn carry(self, incoming: TcpStream, peer: SocketAddr, to: Place, address: SocketAddr) {
        // The process may just be starting.
        let mut from = self.source(peer);
        for _ in 0..SOURCE_LOOKS {
            if from.is_none() {
                sleep(SOURCE_WAIT).await;
                from = self.source(peer);
            }
        }
        // Who opened it has gone.
        let Some(from) = from else { return };
        let (there, back) = ((from, to), (to, from));
        let is_cut =
            move |faults: &Faults| faults.cut.contains(&there) || faults.cut.contains(&back);
        let mut faults = self.0.faults.subscribe();
        let refused = is_cut(&faults.borrow_and_update());
        let outgoing = if refused { None } else { TcpStream::connect(address).await.ok() };
        // However it ends, both sides see a reset.
        let _ = incoming.set_zero_linger();
        let Some(outgoing) = outgoing else {
            self.0.counts.cut.fetch_add(u64::from(refused), Ordering::Relaxed);
            return;
        };
        let _ = outgoing.set_zero_linger();
        for stream in [&incoming, &outgoing] {
            stream.set_nodelay(true).unwrap();
        }
        self.0.counts.carried.fetch_add(1, Ordering::Relaxed);
        let (incoming_reader, incoming_writer) = incoming.into_split();
        let (outgoing_reader, outgoing_writer) = outgoing.into_split();
        tokio::select! {
            _ = faults.wait_for(is_cut) => {
                self.0.counts.cut.fetch_add(1, Ordering::Relaxed);
            }
            () = self.pump(incoming_reader, outgoing_writer, there) => {}
            () = self.pump(outgoing_reader, incoming_writer, back) => {}
        }
    }

    /// Passes on what comes until either side ends, or the connection is torn.
    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: Link) {
        let mut faults = self.0.faults.subscribe();
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if faults.borrow().held.contains(&link) {
                self.0.counts.held.fetch_add(1, Ordering::Relaxed);
                let is_free = faults.wait_for(|faults| !faults.held.contains(&link)).await.is_ok();
                assert!(is_free, "the links are there as long as their relays");
            }
            let torn_after = self.torn_after(link, count);
            let passed = torn_after.unwrap_or(count);
            if to.write_all(&buffer[..passed]).await.is_err() || torn_after.is_some() {
                return;
            }
        }
    }

    /// How many of the next bytes pass, if the connection is torn within them.
    fn torn_after(&self, link: Link, count: usize) -> Option<usize> {
        let mut tears = self.0.tears.lock().unwrap();
        let left = tears.get_mut(&link)?;
        if *left >= count {
            *left -= count;
            return None;
        }
        self.0.counts.torn.fetch_add(1, Ordering::Relaxed);
        tears.remove(&link)
    }

    /// Who has opened a connection, by the table of sockets and the open files of processes.
    fn source(&self, peer: SocketAddr) -> Option<Place> {
        let SocketAddr::V4(peer) = peer else { return None };
        let [a, b, c, d] = peer.ip().octets();
        let wanted = format!("{d:02X}{c:02X}{b:02X}{a:02X}:{:04X}", peer.port());
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&wanted))?;
        let socket = format!("socket:[{}]", line.split_whitespace().nth(9)?);
        let has_it = |process: &str| {
            let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
            files.filter_map(|file| fs::read_link(file.path()).ok()).any(|it| *it == *socket)
        };
        let processes = self.0.processes.lock().unwrap().clone();
        if has_it("self") {
            return Some(CLIENTS);
        }
        processes.into_iter().find(|(_, process)| has_it(&process.to_string())).map(|(it, _)| it)
    }
}

/// How often, and after which pause, it is looked again who has opened a connection.
const SOURCE_LOOKS: usize = 5;
const SOURCE_WAIT: Duration = Duration::from_millis(20);
/// At most so many bytes are passed on at once, so that frames arrive in pieces.
const PIECE_BYTES: usize = 1_400;
