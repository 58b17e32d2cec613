//! The receiving half of a connection.
//!
//! All of its state stands in the struct, so a call that is dropped while it waits loses nothing.
//!
//! Invariant: while it waits between frames, it holds no buffer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::net::TcpStream;

use super::decode::FrameDecoder;
use super::error::TransportError;
use super::seal::Opening;
use crate::limits::FRAME_BYTES_MAX;

/// The receiving half of a connection.
#[derive(Debug)]
pub struct FrameReceiver<R = ReadHalf<TcpStream>> {
    reader: R,
    opening: Opening,
    /// Records that have come and were not opened.
    input: BytesMut,
    /// How much is read at once.
    read_bytes: usize,
    decoder: FrameDecoder,
    frames: VecDeque<Bytes>,
    /// How it ended.
    end: Option<Result<(), TransportError>>,
}

impl<R: AsyncRead + Unpin> FrameReceiver<R> {
    pub(super) fn new(reader: R, opening: Opening) -> Self {
        Self {
            reader,
            opening,
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            decoder: FrameDecoder::default(),
            frames: VecDeque::new(),
            end: None,
        }
    }

    /// The next frame, or none once the peer has closed the connection between two of them. A call
    /// that is dropped before it is done loses nothing.
    ///
    /// # Errors
    /// If the connection failed, or ended within a frame, or if what came is not what the peer sent,
    /// or is too long. Frames that came before are given first; every later call says the same.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        self.receive_within(FRAME_BYTES_MAX).await
    }

    pub(super) async fn receive_within(
        &mut self,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            match self.open(bytes_max) {
                Ok(true) => {}
                Ok(false) => self.end = self.read().await,
                Err(error) => self.end = Some(Err(error)),
            }
        }
    }

    /// Opens the next record, if it is there.
    fn open(&mut self, bytes_max: usize) -> Result<bool, TransportError> {
        match self.opening.open(&mut self.input)? {
            None => Ok(false),
            Some(text) => {
                self.decoder.decode(text, bytes_max, &mut self.frames)?;
                Ok(true)
            }
        }
    }

    /// Reads more, or tells how it ended. Buffers are given back while there is nothing to read; they
    /// grow while more comes than fits.
    async fn read(&mut self) -> Option<Result<(), TransportError>> {
        let read = poll_fn(|context| {
            self.input.reserve(self.read_bytes);
            let polled = pin!(self.reader.read_buf(&mut self.input)).poll(context);
            if polled.is_pending() && self.input.is_empty() {
                self.input = BytesMut::new();
                self.frames = VecDeque::new();
                self.opening.release();
            }
            polled
        })
        .await;
        match read {
            Ok(0) if self.input.is_empty() && self.decoder.is_between_frames() => Some(Ok(())),
            Ok(0) => Some(Err(TransportError::Cut { what: "a frame" })),
            Ok(bytes) if bytes >= self.read_bytes => {
                self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_MAX);
                None
            }
            Ok(_) => {
                self.read_bytes = READ_BYTES_MIN;
                None
            }
            Err(error) => Some(Err(TransportError::broken(&error))),
        }
    }
}

const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
