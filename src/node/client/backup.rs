//! A backup as a client takes it: a stream of chunks on a connection of its own, so that a slow
//! reader slows down nothing else.
//!
//! The end of the stream tells length and digest; only then is it known that all of it was there.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use xxhash_rust::xxh3::Xxh3;

use super::{ALIVE_PERIOD, Attempts, CONNECT_TIME, ClientOptions, deadline_after, unexpected};
use crate::error::{Error, Result};
use crate::node::left;
use crate::node::protocol::{Ask, ClientFrame, NodeFrame, Tell};
use crate::transport::{Connection, TransportError, connect};

/// The chunks of a backup, in order.
pub struct Backup {
    connection: Connection,
    timeout: Duration,
    alive_at: Instant,
    bytes: u64,
    digest: Xxh3,
    is_done: bool,
}

impl Backup {
    pub(super) async fn begin(options: &ClientOptions, timeout: Duration) -> Result<Self> {
        let deadline = deadline_after(timeout);
        let mut connection = reach(options, deadline).await?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let request = ClientFrame::Request { id: 1, timeout_ms, ask: Ask::Backup };
        connection.sender.push(&request.encode()).map_err(|error| broken(&error))?;
        let alive_at = Instant::now() + ALIVE_PERIOD;
        let (bytes, digest, is_done) = (0, Xxh3::new(), false);
        Ok(Self { connection, timeout, alive_at, bytes, digest, is_done })
    }

    /// The next chunk; none at the end, once length and digest were found to be right: not before
    /// then is what came a backup. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// `TIMEOUT` if no chunk came in time, `UNAVAILABLE` if the node did not go on, `INTERNAL` if what
    /// came is not what the node sent, `RATE_LIMITED` if it sends enough backups already. There is
    /// nothing to go on with then: a backup is begun again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let deadline = deadline_after(self.timeout);
        while !self.is_done {
            let Connection { sender, receiver, .. } = &mut self.connection;
            let received = tokio::select! {
                biased;
                received = receiver.receive() => received.map_err(|error| broken(&error))?,
                flushed = sender.flush(), if sender.buffered() > 0 => {
                    flushed.map_err(|error| broken(&error))?;
                    continue;
                }
                () = sleep_until(self.alive_at) => {
                    self.alive_at = Instant::now() + ALIVE_PERIOD;
                    let alive = ClientFrame::Alive.encode();
                    sender.push(&alive).map_err(|error| broken(&error))?;
                    continue;
                }
                () = sleep_until(deadline) => {
                    return Err(Error::timeout("the backup did not go on in time"));
                }
            };
            let bytes =
                received.ok_or_else(|| broken(&TransportError::Cut { what: "a backup" }))?;
            let frame = NodeFrame::decode(bytes)
                .map_err(|error| Error::unavailable(format!("the node's answer is {error}")))?;
            match frame {
                NodeFrame::Alive => {}
                NodeFrame::Answer { tell: Tell::Chunk(chunk), .. } => {
                    self.bytes += chunk.len() as u64;
                    self.digest.update(&chunk);
                    return Ok(Some(chunk));
                }
                NodeFrame::Answer { tell: Tell::BackupEnd { bytes, digest }, .. } => {
                    if (bytes, digest) != (self.bytes, self.digest.digest()) {
                        return Err(Error::internal("the backup is not what the node sent"));
                    }
                    self.is_done = true;
                }
                NodeFrame::Answer { tell: Tell::Failed(failure), .. } => {
                    return Err(super::read_error(&failure));
                }
                NodeFrame::Answer { tell, .. } => return Err(unexpected(tell)),
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A connection to the first address that answers.
async fn reach(options: &ClientOptions, deadline: Instant) -> Result<Connection> {
    let (mut attempts, greeting) = (Attempts::new(), options.greeting());
    let count = options.addresses.len();
    if count == 0 {
        return Err(Error::unavailable("no address of a node was given"));
    }
    for address in options.addresses.iter().cycle() {
        let attempt = connect(address, &options.secret, &greeting, CONNECT_TIME);
        let error = match timeout(left(deadline), attempt).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => break,
        };
        match attempts.failed(address, error, count) {
            Err(why) => return Err(Error::unavailable(why)),
            Ok(None) => {}
            Ok(Some(wait)) => {
                if timeout(left(deadline), sleep(wait)).await.is_err() {
                    break;
                }
            }
        }
    }
    let addresses = options.addresses.join(", ");
    let why = attempts.words();
    Err(Error::unavailable(format!("no connection to {addresses} in time: {why}")))
}

fn broken(error: &TransportError) -> Error {
    Error::unavailable(format!("the backup was broken off: {error}"))
}
