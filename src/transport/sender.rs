//! The sending half of a connection.
//!
//! Frames wait until they are flushed, and then share records and writes. All of its state stands
//! in the struct: a flush that is dropped while it waits goes on with the next one.
//!
//! Invariant: after a flush it holds no buffer.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;

use super::error::TransportError;
use super::seal::Sealing;
use crate::limits::FRAME_BYTES_MAX;

/// The sending half of a connection.
#[derive(Debug)]
pub struct FrameSender<W = WriteHalf<TcpStream>> {
    writer: W,
    sealing: Sealing,
    /// Frames that were not sealed.
    plain: BytesMut,
    /// Records that were not written.
    sealed: BytesMut,
    failed: Option<TransportError>,
}

impl<W: AsyncWrite + Unpin> FrameSender<W> {
    pub(super) fn new(writer: W, sealing: Sealing) -> Self {
        let (plain, sealed) = (BytesMut::new(), BytesMut::new());
        Self { writer, sealing, plain, sealed, failed: None }
    }

    /// Puts a frame behind those that wait to be flushed.
    ///
    /// # Errors
    /// [`TransportError::FrameTooLong`] if it is over [`FRAME_BYTES_MAX`], or whatever failed before.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), TransportError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if frame.len() > FRAME_BYTES_MAX {
            return Err(TransportError::FrameTooLong { bytes: frame.len() });
        }
        self.plain.reserve(HEAD_BYTES + frame.len());
        self.plain.put_u32(frame.len() as u32);
        self.plain.extend_from_slice(frame);
        Ok(())
    }

    /// How many bytes wait to be flushed.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.plain.len() + self.sealed.len()
    }

    /// Seals and writes what waits. It waits for the peer to read, without a limit of time: a call
    /// that is dropped before it is done loses nothing, and the next one goes on.
    ///
    /// # Errors
    /// If the connection failed. Every later call says the same.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let written = self.write().await.map_err(|error| TransportError::broken(&error));
        if let Err(error) = &written {
            self.failed = Some(error.clone());
        }
        (self.plain, self.sealed) = (BytesMut::new(), BytesMut::new());
        written
    }

    /// Flushes, and tells the peer that nothing more comes.
    ///
    /// # Errors
    /// If the connection failed.
    pub async fn finish(mut self) -> Result<(), TransportError> {
        self.flush().await?;
        self.writer.shutdown().await.map_err(|error| TransportError::broken(&error))
    }

    async fn write(&mut self) -> std::io::Result<()> {
        while self.buffered() > 0 {
            if self.sealed.is_empty() {
                self.seal();
            }
            if self.writer.write_buf(&mut self.sealed).await? == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
        }
        self.writer.flush().await
    }

    /// Seals as many records as one write takes.
    fn seal(&mut self) {
        while !self.plain.is_empty() && self.sealed.len() < WRITE_BYTES {
            self.sealing.seal(&mut self.plain, &mut self.sealed);
        }
    }
}

const HEAD_BYTES: usize = 4;

/// Bytes of records after which they are written before more are sealed.
const WRITE_BYTES: usize = 192 << 10;
