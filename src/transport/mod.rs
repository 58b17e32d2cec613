//! Connections between the nodes of a cluster, and between them and their clients: mutually
//! authenticated by a shared secret, encrypted, and cut into frames.
//!
//! [`connect`] and [`accept`] make a [`Connection`] of a TCP stream, [`initiate`] and [`respond`] of
//! any two halves of one. It comes with the peer's [`Greeting`], and with two halves that may live
//! in different tasks. `docs/design/transport.md` has the format, and tells what it protects from.
//!
//! # The caller's contract
//! 1. The peer holds the secret. Whether it belongs here (its cluster, its id, its role) is decided
//!    by the caller from its greeting, before anything else is sent.
//! 2. Frames that were pushed go out when they are flushed. Whoever pushes on while the peer does
//!    not read watches [`FrameSender::buffered`].
//! 3. A flush and a receive wait without a limit of time; both may be dropped at any moment and
//!    called again.
//! 4. A connection is closed when both of its halves are dropped; [`FrameSender::finish`] ends one
//!    direction before. After an error both are to be dropped. The end of a connection says nothing
//!    of what the peer has done: whoever has to know waits for an answer.
//! 5. [`accept`] takes up to [`HANDSHAKE_MS_MAX`](crate::limits::HANDSHAKE_MS_MAX) and little memory
//!    for whoever connects: it runs in a task of its own, and the caller limits their number.
//!
//! No identity of a single node, and no way to exclude one: whoever holds the secret may say to be
//! anyone. No reconnection, no heartbeats, no requests and answers: those are above.

mod decode;
mod error;
mod greeting;
mod handshake;
mod receiver;
mod seal;
mod secret;
mod sender;

use std::time::Duration;

use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;

pub use error::TransportError;
pub use greeting::{Greeting, Role};
pub use handshake::{initiate, respond};
pub use receiver::FrameReceiver;
pub use secret::{Secret, SecretError};
pub use sender::FrameSender;

/// A connection to a peer that holds the secret.
#[derive(Debug)]
pub struct Connection<R = ReadHalf<TcpStream>, W = WriteHalf<TcpStream>> {
    /// What the peer says of itself.
    pub peer: Greeting,
    /// The half that sends.
    pub sender: FrameSender<W>,
    /// The half that receives.
    pub receiver: FrameReceiver<R>,
}

/// Connects to `host:port`: to the first of its addresses that takes a connection, each of which gets
/// an equal part of the time.
///
/// # Errors
/// If nobody is there, if the handshake fails, or if all of it was not done within `timeout`.
pub async fn connect(
    address: &str,
    secret: &Secret,
    greeting: &Greeting,
    timeout: Duration,
) -> Result<Connection, TransportError> {
    let connection = async {
        let stream = dial(address, timeout).await?;
        let (reader, writer) = halves(stream)?;
        initiate(reader, writer, secret, greeting, timeout).await
    };
    let after_ms = timeout.as_millis() as u64;
    let over = TransportError::Timeout { doing: "connecting to the peer", after_ms };
    tokio::time::timeout(timeout, connection).await.unwrap_or(Err(over))
}

/// Takes a connection that a listener has accepted.
///
/// # Errors
/// If the handshake fails, or was not done within `timeout`.
pub async fn accept(
    stream: TcpStream,
    secret: &Secret,
    greeting: &Greeting,
    timeout: Duration,
) -> Result<Connection, TransportError> {
    let (reader, writer) = halves(stream)?;
    respond(reader, writer, secret, greeting, timeout).await
}

/// Tells whoever has opened a connection that there is no room for it. Returns when it has left, or
/// when the time is over.
pub async fn turn_away(stream: TcpStream, timeout: Duration) {
    let (reader, writer) = split(stream);
    // It is told, or has not waited for it: nothing is to be done then.
    let _ = tokio::time::timeout(timeout, handshake::turn_away(reader, writer)).await;
}

async fn dial(address: &str, timeout: Duration) -> Result<TcpStream, TransportError> {
    let unresolved = |why: String| TransportError::Address { address: address.to_owned(), why };
    let found = tokio::net::lookup_host(address).await;
    let found: Vec<_> = found.map_err(|error| unresolved(error.to_string()))?.collect();
    let each = timeout / found.len().max(1) as u32;
    let mut last = None;
    for one in found {
        let why = match tokio::time::timeout(each, TcpStream::connect(one)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", each.as_millis()),
        };
        last = Some(format!("{one}: {why}"));
    }
    match last {
        Some(why) => Err(TransportError::Unreachable { address: address.to_owned(), why }),
        None => Err(unresolved("it has no address".to_owned())),
    }
}

type Halves = (ReadHalf<TcpStream>, WriteHalf<TcpStream>);

/// Small frames are to go out when they are flushed, not when the system thinks fit.
fn halves(stream: TcpStream) -> Result<Halves, TransportError> {
    stream.set_nodelay(true).map_err(|error| TransportError::broken(&error))?;
    Ok(split(stream))
}
