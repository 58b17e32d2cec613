//! The handshake: two sides that hold the secret get fresh keys, and learn of each other.
//!
//! ```text
//! initiator: preamble, Noise message 1 (48 bytes)
//! responder: preamble, verdict (byte: 0 welcome, 1 another secret, 2 no room), Noise message 2 (48
//!            bytes)
//! both:      one record with one frame, the greeting
//! preamble:  "PLIMSOLL", version (byte)
//! ```
//!
//! The preamble is the prologue of Noise (`NNpsk0`, revision 34 of its specification), so both sides
//! have seen the same one. A preamble of another version is answered with the own one and nothing
//! else, so that both sides can name both versions; anything that is no preamble is not answered.
//!
//! Invariant: neither side is done before it has opened a record of the other, sealed with keys to
//! which both have added something new. A recorded handshake that is played again ends there.

use std::time::Duration;

use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Connection;
use super::error::TransportError;
use super::greeting::{GREETING_BYTES_MAX, Greeting};
use super::receiver::FrameReceiver;
use super::seal::halves;
use super::secret::Secret;
use super::sender::FrameSender;
use crate::limits::HANDSHAKE_MS_MAX;

/// The handshake of the side that has opened the connection.
///
/// # Errors
/// If the peer is another than it should be, if the connection failed, or if the peer was not done
/// within `timeout`, or [`HANDSHAKE_MS_MAX`] if that is shorter.
pub async fn initiate<R, W>(
    reader: R,
    writer: W,
    secret: &Secret,
    greeting: &Greeting,
    timeout: Duration,
) -> Result<Connection<R, W>, TransportError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    within(timeout, async {
        let greeting = greeting.encode()?;
        let mut streams = Streams { reader, writer };
        let keys = streams.initiate(secret).await?;
        streams.greet(keys, &greeting).await
    })
    .await
}

/// The handshake of the side that has accepted the connection.
///
/// # Errors
/// As those of [`initiate`].
pub async fn respond<R, W>(
    reader: R,
    writer: W,
    secret: &Secret,
    greeting: &Greeting,
    timeout: Duration,
) -> Result<Connection<R, W>, TransportError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    within(timeout, async {
        let greeting = greeting.encode()?;
        let mut streams = Streams { reader, writer };
        let keys = streams.respond(secret).await?;
        streams.greet(keys, &greeting).await
    })
    .await
}

/// Tells the side that has opened a connection that there is no room for it, whoever it is.
pub(super) async fn turn_away<R, W>(reader: R, writer: W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut answer = [VERDICT_FULL; PREAMBLE_BYTES + 1];
    answer[..PREAMBLE_BYTES].copy_from_slice(&PREAMBLE);
    Streams { reader, writer }.refuse(&answer).await;
}

async fn within<T>(
    timeout: Duration,
    handshake: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let timeout = timeout.min(Duration::from_millis(HANDSHAKE_MS_MAX));
    let after_ms = timeout.as_millis() as u64;
    let over = TransportError::Timeout { doing: "the handshake with the peer", after_ms };
    tokio::time::timeout(timeout, handshake).await.unwrap_or(Err(over))
}

struct Streams<R, W> {
    reader: R,
    writer: W,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Streams<R, W> {
    async fn initiate(
        &mut self,
        secret: &Secret,
    ) -> Result<StatelessTransportState, TransportError> {
        let mut noise = builder(secret).build_initiator().map_err(|_| TransportError::Random)?;
        let mut hello = [0; PREAMBLE_BYTES + MESSAGE_BYTES];
        hello[..PREAMBLE_BYTES].copy_from_slice(&PREAMBLE);
        write_message(&mut noise, &mut hello[PREAMBLE_BYTES..])?;
        self.write(&hello).await?;

        read_preamble(&self.read().await?)?;
        match self.read().await? {
            [VERDICT_WELCOME] => {}
            [VERDICT_SECRET] => return Err(TransportError::Secret),
            [VERDICT_FULL] => return Err(TransportError::Full),
            [_] => return Err(TransportError::Foreign),
        }
        let answer: [u8; MESSAGE_BYTES] = self.read().await?;
        noise.read_message(&answer, &mut []).map_err(|_| TransportError::Secret)?;
        Ok(noise.into_stateless_transport_mode().expect("two messages make the handshake"))
    }

    async fn respond(
        &mut self,
        secret: &Secret,
    ) -> Result<StatelessTransportState, TransportError> {
        let preamble = read_preamble(&self.read().await?);
        if matches!(preamble, Err(TransportError::Version { .. })) {
            self.refuse(&PREAMBLE).await;
        }
        preamble?;

        let mut noise = builder(secret).build_responder().map_err(|_| TransportError::Random)?;
        let hello: [u8; MESSAGE_BYTES] = self.read().await?;
        let mut answer = [0; PREAMBLE_BYTES + 1 + MESSAGE_BYTES];
        answer[..PREAMBLE_BYTES].copy_from_slice(&PREAMBLE);
        if noise.read_message(&hello, &mut []).is_err() {
            answer[PREAMBLE_BYTES] = VERDICT_SECRET;
            self.refuse(&answer[..=PREAMBLE_BYTES]).await;
            return Err(TransportError::Secret);
        }
        answer[PREAMBLE_BYTES] = VERDICT_WELCOME;
        write_message(&mut noise, &mut answer[PREAMBLE_BYTES + 1..])?;
        self.write(&answer).await?;
        Ok(noise.into_stateless_transport_mode().expect("two messages make the handshake"))
    }

    /// Exchanges greetings under the new keys, which is the first proof that both sides have them. It
    /// sends while it receives: both do, and a wire may hold less than a greeting.
    async fn greet(
        self,
        keys: StatelessTransportState,
        greeting: &[u8],
    ) -> Result<Connection<R, W>, TransportError> {
        let (sealing, opening) = halves(keys);
        let mut sender = FrameSender::new(self.writer, sealing);
        let mut receiver = FrameReceiver::new(self.reader, opening);
        sender.push(greeting)?;
        let ((), received) =
            tokio::try_join!(sender.flush(), receiver.receive_within(GREETING_BYTES_MAX))?;
        let received = received.ok_or(TransportError::Cut { what: "the handshake" })?;
        let peer = Greeting::decode(received).map_err(TransportError::Greeting)?;
        Ok(Connection { peer, sender, receiver })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let written = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        written.await.map_err(|error| TransportError::broken(&error))
    }

    async fn read<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], TransportError> {
        let mut bytes = [0; LENGTH];
        match self.reader.read_exact(&mut bytes).await {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(TransportError::Cut { what: "the handshake" })
            }
            Err(error) => Err(TransportError::broken(&error)),
        }
    }

    /// Says why not, and waits for the peer to leave: closing while something of it is unread would
    /// throw away what it was told. What becomes of this is no matter.
    async fn refuse(&mut self, answer: &[u8]) {
        if self.write(answer).await.is_ok() && self.writer.shutdown().await.is_ok() {
            let mut unread = [0; 256];
            for _ in 0..UNREAD_BYTES_MAX / unread.len() {
                if !matches!(self.reader.read(&mut unread).await, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

fn builder(secret: &Secret) -> Builder<'_> {
    let pattern = PATTERN.parse().expect("the pattern is well formed");
    Builder::new(pattern)
        .prologue(&PREAMBLE)
        .and_then(|builder| builder.psk(0, secret.as_bytes()))
        .expect("prologue and secret are given once")
}

fn write_message(noise: &mut HandshakeState, message: &mut [u8]) -> Result<(), TransportError> {
    let written = noise.write_message(&[], message).map_err(|_| TransportError::Random)?;
    assert_eq!(written, MESSAGE_BYTES, "a key and a tag");
    Ok(())
}

fn read_preamble(preamble: &[u8; PREAMBLE_BYTES]) -> Result<(), TransportError> {
    match preamble {
        [magic @ .., _] if *magic != PREAMBLE[..PREAMBLE_BYTES - 1] => Err(TransportError::Foreign),
        [.., PROTOCOL_VERSION] => Ok(()),
        [.., peer] => Err(TransportError::Version { peer: *peer }),
    }
}

/// The version of everything that goes over a connection, up to the frames.
pub(super) const PROTOCOL_VERSION: u8 = 1;

const PREAMBLE: [u8; PREAMBLE_BYTES] = *b"PLIMSOLL\x01";
const PREAMBLE_BYTES: usize = 9;
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// A message of the handshake: a public key, and the tag of an empty text.
const MESSAGE_BYTES: usize = 32 + 16;

const VERDICT_WELCOME: u8 = 0;
const VERDICT_SECRET: u8 = 1;
const VERDICT_FULL: u8 = 2;

/// What is read, and thrown away, of a peer that was refused.
const UNREAD_BYTES_MAX: usize = 16 << 10;
