//! The connections between hosts: each goes through a relay that can hold, cut and tear it.
//!
//! A host is reached at an address of the relay, which passes bytes on in both directions. What is held
//! waits and comes later, as it does in a network that drops packets for a while; what is torn ends
//! after so many bytes, wherever in a frame that is. The simulated network itself adds its latencies,
//! and clogs whole hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// All connections between hosts. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    links: Mutex<Links>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Links {
    /// Directed links on which bytes wait, as bits.
    held: u64,
    /// How often connections were cut.
    cuts: u64,
    /// Directed links whose connections were cut last, as bits.
    cut: u64,
    /// What is to be torn next: a directed link, and the bytes that it still passes.
    tear: Option<(u64, usize)>,
}

/// What becomes of bytes on a link.
enum Passage {
    Whole,
    /// So many of them, and then the end.
    Torn(usize),
    Held,
}

impl Wires {
    /// Which directed links hold what is sent on them; all others pass it on.
    pub fn hold(&self, links: u64) {
        self.lock().held = links;
        self.0.changed.notify_waiters();
    }

    /// Ends all connections on some links.
    pub fn cut(&self, links: u64) {
        {
            let mut state = self.lock();
            state.cuts += 1;
            state.cut = links;
        }
        self.0.changed.notify_waiters();
    }

    /// Ends a connection of a link once it has passed on so many bytes.
    pub fn tear(&self, link: u64, bytes: usize) {
        self.lock().tear = Some((link, bytes));
    }

    /// Nothing is held any more, nothing torn.
    pub fn heal(&self) {
        self.lock().tear = None;
        self.hold(0);
    }

    /// Takes connections to a host and passes them on to where it is.
    pub async fn relay(self, to: u8) {
        let at = SocketAddr::new(RELAY, port_of(to));
        let listener = TcpListener::bind(at).await.expect("the relay has its ports to itself");
        loop {
            let (stream, peer) = listener.accept().await.expect("the relay never ends");
            let from = place_of(peer.ip());
            tokio::spawn(self.clone().carry(stream, from, to));
        }
    }

    async fn carry(self, incoming: TcpStream, from: u8, to: u8) {
        let Ok(outgoing) = TcpStream::connect(listen_address(to)).await else { return };
        let (incoming_reader, incoming_writer) = split(incoming);
        let (outgoing_reader, outgoing_writer) = split(outgoing);
        let (there, back) = (link(from, to), link(to, from));
        tokio::select! {
            biased;
            () = self.until_cut(there) => {}
            () = self.pump(incoming_reader, outgoing_writer, there) => {}
            () = self.pump(outgoing_reader, incoming_writer, back) => {}
        }
    }

    async fn until_cut(&self, link: u64) {
        let mut seen = self.lock().cuts;
        loop {
            self.0.changed.notified().await;
            let links = self.lock();
            if links.cuts != seen && links.cut & link != 0 {
                return;
            }
            seen = links.cuts;
        }
    }

    /// Passes on what comes, until either side ends or something is torn.
    async fn pump(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        link: u64,
    ) {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let (passed, is_end) = loop {
                match self.passage(link, count) {
                    Passage::Whole => break (count, false),
                    Passage::Torn(passed) => break (passed, true),
                    Passage::Held => self.0.changed.notified().await,
                }
            };
            let written = to.write_all(&buffer[..passed]).await;
            if is_end || written.is_err() || to.flush().await.is_err() {
                // What was written before the end arrives.
                let _ = to.flush().await;
                return;
            }
        }
    }

    fn passage(&self, link: u64, count: usize) -> Passage {
        let mut links = self.lock();
        if links.held & link != 0 {
            return Passage::Held;
        }
        match &mut links.tear {
            Some((torn, left)) if *torn == link => {
                if *left < count {
                    let passed = *left;
                    links.tear = None;
                    return Passage::Torn(passed);
                }
                *left -= count;
                Passage::Whole
            }
            _ => Passage::Whole,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.0.links.lock().expect("nobody panics with it")
    }
}

/// The bit of a directed link.
pub(super) const fn link(from: u8, to: u8) -> u64 {
    1 << (from * 8 + to)
}

/// Where a host is.
pub(super) const fn ip_of(place: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, place + 1))
}

/// Where a host listens.
pub(super) fn listen_address(place: u8) -> SocketAddr {
    SocketAddr::new(ip_of(place), LISTEN_PORT)
}

/// Where a host is reached.
pub(super) fn public_address(place: u8) -> String {
    SocketAddr::new(RELAY, port_of(place)).to_string()
}

fn port_of(place: u8) -> u16 {
    RELAY_PORT + u16::from(place)
}

fn place_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3] - 1,
        IpAddr::V6(_) => unreachable!("hosts have addresses of version 4"),
    }
}

/// The host of the relay.
pub(super) const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 1));
const RELAY_PORT: u16 = 7_000;
const LISTEN_PORT: u16 = 7_100;
/// The relay passes on at most so many bytes at once, so that large frames arrive in pieces.
const PIECE_BYTES: usize = 1_400;
