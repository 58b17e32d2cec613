//! The connections between hosts, and from clients to hosts: each goes through a relay that can hold, cut
//! and tear it.
//!
//! A host is reached at addresses of the relay, which passes bytes on in both directions: at one as a
//! member, which changes when the host moves, and at one for clients. Nobody is reached where a host was
//! before. What is held
//! waits and comes later, as it does in a network that drops packets for a while; what is torn ends
//! after so many bytes, wherever in a frame that is. The simulated network itself adds its latencies,
//! and clogs whole hosts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A direction between two places.
pub(super) type Link = (u8, u8);

/// All connections. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    links: Mutex<Links>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Links {
    /// Links on which bytes wait.
    held: BTreeSet<Link>,
    /// How often connections were cut.
    cuts: u64,
    /// Links whose connections were cut last.
    cut: BTreeSet<Link>,
    /// What is to be torn next, and the bytes that it still passes.
    tear: Option<(Link, usize)>,
    /// Where nobody is any more.
    left: BTreeSet<SocketAddr>,
}

/// What becomes of bytes on a link.
enum Passage {
    Whole,
    /// So many of them, and then the end.
    Torn(usize),
    Held,
}

impl Wires {
    /// Which links hold what is sent on them; all others pass it on.
    pub fn hold(&self, links: BTreeSet<Link>) {
        self.lock().held = links;
        self.0.changed.notify_waiters();
    }

    /// Ends all connections on some links.
    pub fn cut(&self, links: BTreeSet<Link>) {
        {
            let mut state = self.lock();
            state.cuts += 1;
            state.cut = links;
        }
        self.0.changed.notify_waiters();
    }

    /// Ends a connection of a link once it has passed on so many bytes.
    pub fn tear(&self, link: Link, bytes: usize) {
        self.lock().tear = Some((link, bytes));
    }

    /// Nothing is held any more, nothing torn.
    pub fn heal(&self) {
        self.lock().tear = None;
        self.hold(BTreeSet::new());
    }

    /// Nobody is reached at an address any more.
    pub fn leave(&self, address: SocketAddr) {
        self.lock().left.insert(address);
    }

    /// Takes connections to a host at an address, and passes them on to where it listens.
    pub async fn relay(self, to: u8, at: SocketAddr, listens: SocketAddr) {
        let listener = TcpListener::bind(at).await.expect("the relay has its ports to itself");
        loop {
            let (stream, peer) = listener.accept().await.expect("the relay never ends");
            if self.lock().left.contains(&at) {
                continue;
            }
            let from = place_of(peer.ip());
            tokio::spawn(self.clone().carry(stream, from, to, listens));
        }
    }

    async fn carry(self, incoming: TcpStream, from: u8, to: u8, listens: SocketAddr) {
        let Ok(outgoing) = TcpStream::connect(listens).await else { return };
        let (incoming_reader, incoming_writer) = split(incoming);
        let (outgoing_reader, outgoing_writer) = split(outgoing);
        let (there, back) = ((from, to), (to, from));
        tokio::select! {
            biased;
            () = self.until_cut(there) => {}
            () = self.pump(incoming_reader, outgoing_writer, there) => {}
            () = self.pump(outgoing_reader, incoming_writer, back) => {}
        }
    }

    async fn until_cut(&self, link: Link) {
        let mut seen = self.lock().cuts;
        loop {
            self.0.changed.notified().await;
            let links = self.lock();
            if links.cuts != seen && links.cut.contains(&link) {
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
        link: Link,
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

    fn passage(&self, link: Link, count: usize) -> Passage {
        let mut links = self.lock();
        if links.held.contains(&link) {
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

/// Where a host or a client is.
pub(super) const fn ip_of(place: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, place + 1))
}

/// Where a host listens for members.
pub(super) fn listen_address(place: u8) -> SocketAddr {
    SocketAddr::new(ip_of(place), LISTEN_PORT)
}

/// Where a host listens for clients.
pub(super) fn clients_listen_address(place: u8) -> SocketAddr {
    SocketAddr::new(ip_of(place), CLIENTS_LISTEN_PORT)
}

/// Where members reach a host that has moved so often.
pub(super) fn public_address(place: u8, moves: u16) -> SocketAddr {
    SocketAddr::new(RELAY, RELAY_PORT + u16::from(place) + PLACES * moves)
}

/// Where clients reach a host.
pub(super) fn clients_address(place: u8) -> SocketAddr {
    SocketAddr::new(RELAY, CLIENTS_RELAY_PORT + u16::from(place))
}

fn place_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3] - 1,
        IpAddr::V6(_) => unreachable!("hosts have addresses of version 4"),
    }
}

/// The place of the first client; hosts are below.
pub(super) const FIRST_CALLER: u8 = 8;
/// The place of the one who changes the membership; the last one.
pub(super) const OPERATOR: u8 = 31;

/// The host of the relay.
pub(super) const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 1));
const CLIENTS_RELAY_PORT: u16 = 6_900;
const RELAY_PORT: u16 = 7_000;
const PLACES: u16 = 32;
const LISTEN_PORT: u16 = 7_100;
const CLIENTS_LISTEN_PORT: u16 = 7_101;
/// The relay passes on at most so many bytes at once, so that large frames arrive in pieces.
const PIECE_BYTES: usize = 1_400;
