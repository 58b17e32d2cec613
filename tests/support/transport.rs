//! What the tests of the transport share: connections in memory, and a peer that is written anew
//! from `docs/design/transport.md`, with nothing of the transport's own code. It can say whatever it
//! likes, and it sees what is on the wire.
#![allow(dead_code, reason = "each test target uses its part")]

use std::time::Duration;

use bytes::Bytes;
use plimsoll::raft::{ClusterId, RaftId};
use plimsoll::transport::{Connection, Greeting, Role, Secret, TransportError, initiate, respond};
use snow::StatelessTransportState;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::timeout;

pub const LONG: Duration = Duration::from_secs(5);

pub type Memory = Connection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

pub fn secret() -> Secret {
    Secret::from_bytes([7; 32])
}

pub fn greeting(name: &str) -> Greeting {
    Greeting {
        role: Role::Peer,
        cluster: Some(ClusterId(0xc3)),
        id: Some(RaftId(0xa1)),
        name: name.to_owned(),
        address: "h:1".to_owned(),
    }
}

/// The greeting of "n1" in bytes.
pub const GREETING: &[u8] =
    b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\xc3\x01\x00\x00\x00\x00\x00\x00\x00\xa1\x02n1\x03h:1";

pub async fn opened(stream: DuplexStream) -> Result<Memory, TransportError> {
    let (reader, writer) = tokio::io::split(stream);
    initiate(reader, writer, &secret(), &greeting("n1"), LONG).await
}

pub async fn accepted(stream: DuplexStream) -> Result<Memory, TransportError> {
    let (reader, writer) = tokio::io::split(stream);
    respond(reader, writer, &secret(), &greeting("n2"), LONG).await
}

/// Two ends of a connection that holds so many bytes under way in each direction.
pub async fn pair(capacity: usize) -> (Memory, Memory) {
    let (one, other) = tokio::io::duplex(capacity);
    let (one, other) = tokio::join!(opened(one), accepted(other));
    (one.unwrap(), other.unwrap())
}

/// The peer that is written anew.
pub struct RawPeer {
    pub stream: DuplexStream,
    keys: StatelessTransportState,
    received: u64,
    sent: u64,
}

pub const PREAMBLE: &[u8; 9] = b"PLIMSOLL\x01";

fn noise(secret: &[u8; 32]) -> snow::Builder<'_> {
    snow::Builder::new("Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
        .prologue(PREAMBLE)
        .unwrap()
        .psk(0, secret)
        .unwrap()
}

impl RawPeer {
    /// The opening side, up to the greetings.
    pub async fn open(mut stream: DuplexStream) -> Self {
        let mut noise = noise(&[7; 32]).build_initiator().unwrap();
        let mut message = [0; 48];
        assert_eq!(noise.write_message(&[], &mut message).unwrap(), 48);
        stream.write_all(PREAMBLE).await.unwrap();
        stream.write_all(&message).await.unwrap();
        let mut answer = [0; 9 + 1 + 48];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[..9], PREAMBLE);
        assert_eq!(answer[9], 0, "welcome");
        assert_eq!(noise.read_message(&answer[10..], &mut []).unwrap(), 0);
        let keys = noise.into_stateless_transport_mode().unwrap();
        Self { stream, keys, received: 0, sent: 0 }
    }

    /// The accepting side, up to the greetings.
    pub async fn accept(mut stream: DuplexStream) -> Self {
        let mut hello = [0; 9 + 48];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello[..9], PREAMBLE);
        let mut noise = noise(&[7; 32]).build_responder().unwrap();
        assert_eq!(noise.read_message(&hello[9..], &mut []).unwrap(), 0);
        let mut message = [0; 48];
        assert_eq!(noise.write_message(&[], &mut message).unwrap(), 48);
        stream.write_all(PREAMBLE).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
        stream.write_all(&message).await.unwrap();
        let keys = noise.into_stateless_transport_mode().unwrap();
        Self { stream, keys, received: 0, sent: 0 }
    }

    /// An opening side that has greeted the acceptor, and the acceptor.
    pub async fn with_acceptor(capacity: usize) -> (Self, Memory) {
        let (own, others) = tokio::io::duplex(capacity);
        let raw = async {
            let mut raw = Self::open(own).await;
            raw.send(&frame(GREETING)).await;
            assert!(!raw.receive().await.is_empty());
            raw
        };
        let (raw, acceptor) = tokio::join!(raw, accepted(others));
        (raw, acceptor.unwrap())
    }

    /// The next record with this text.
    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        let mut record = vec![0; 2 + text.len() + 16];
        let length = (text.len() + 16) as u16;
        record[..2].copy_from_slice(&length.to_be_bytes());
        self.keys.write_message(self.sent, text, &mut record[2..]).unwrap();
        self.sent += 1;
        record
    }

    pub async fn send(&mut self, text: &[u8]) {
        let record = self.seal(text);
        self.stream.write_all(&record).await.unwrap();
    }

    /// The text of the next record.
    pub async fn receive(&mut self) -> Vec<u8> {
        let length = self.stream.read_u16().await.unwrap();
        let mut sealed = vec![0; usize::from(length)];
        self.stream.read_exact(&mut sealed).await.unwrap();
        let mut text = vec![0; sealed.len()];
        let opened = self.keys.read_message(self.received, &sealed, &mut text).unwrap();
        self.received += 1;
        text.truncate(opened);
        text
    }
}

/// The text of a frame.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// What happens to one direction of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Nothing,
    /// One bit of the byte at this place is turned over.
    Flip(usize),
    /// It ends before the byte at this place.
    Cut(usize),
}

/// What one side of a session has seen: the frames that came, and how it ended.
#[derive(Debug)]
pub struct Seen {
    pub frames: Vec<Bytes>,
    pub end: Result<(), TransportError>,
}

/// A session of two sides that send the same frames, over a wire that may be edited.
#[derive(Debug)]
pub struct Session {
    /// What the opening side has seen, then the accepting one.
    pub seen: [Seen; 2],
    /// What the opening side has sent, then the accepting one.
    pub sent: [Vec<u8>; 2],
}

impl Session {
    pub async fn run(frames: &[&[u8]], forward: Edit, backward: Edit) -> Self {
        let (opener, near) = tokio::io::duplex(1 << 20);
        let (acceptor, far) = tokio::io::duplex(1 << 20);
        let (near_in, near_out) = tokio::io::split(near);
        let (far_in, far_out) = tokio::io::split(far);
        let forward = tokio::spawn(relay(near_in, far_out, forward));
        let backward = tokio::spawn(relay(far_in, near_out, backward));
        let both = async {
            tokio::join!(exchange(opened(opener), frames), exchange(accepted(acceptor), frames))
        };
        let (one, other) = timeout(12 * LONG, both).await.expect("a session ends");
        Self { seen: [one, other], sent: [forward.await.unwrap(), backward.await.unwrap()] }
    }
}

async fn exchange(
    connected: impl Future<Output = Result<Memory, TransportError>>,
    frames: &[&[u8]],
) -> Seen {
    let mut seen = Seen { frames: Vec::new(), end: Ok(()) };
    seen.end = async {
        let Connection { mut sender, mut receiver, .. } = connected.await?;
        for frame in frames {
            sender.push(frame)?;
            sender.flush().await?;
        }
        sender.finish().await?;
        while let Some(frame) = receiver.receive().await? {
            seen.frames.push(frame);
        }
        Ok(())
    }
    .await;
    seen
}

/// Carries bytes until they end, and gives what came.
async fn relay(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    edit: Edit,
) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(byte) = from.read_u8().await {
        let edited = match edit {
            Edit::Cut(place) if place == all.len() => break,
            Edit::Flip(place) if place == all.len() => byte ^ 1 << (place % 8),
            _ => byte,
        };
        all.push(byte);
        if to.write_u8(edited).await.is_err() {
            break;
        }
    }
    // Whoever has gone does not want to know of it.
    drop(to.shutdown().await);
    all
}
