//! Frames out of the opened text of records: a length of four bytes, most significant first, and
//! that many bytes.
//!
//! A frame may end anywhere in a record and span many. What comes is decoded or refused; no room is
//! made for bytes before they have arrived.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::TransportError;

/// The frame that has not yet come in full.
#[derive(Debug, Default)]
pub(super) struct FrameDecoder {
    head: [u8; HEAD_BYTES],
    /// How much of the head has come.
    head_bytes: usize,
    body: Vec<u8>,
}

impl FrameDecoder {
    /// Whether what has come ends with a frame.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.head_bytes == 0
    }

    /// Adds the frames that end in `text`. Each is memory of its own: to keep one keeps no other.
    ///
    /// # Errors
    /// If a frame is longer than `bytes_max`. Those before it have been added.
    pub(super) fn decode(
        &mut self,
        mut text: &[u8],
        bytes_max: usize,
        frames: &mut VecDeque<Bytes>,
    ) -> Result<(), TransportError> {
        while !text.is_empty() {
            let missing = &mut self.head[self.head_bytes..];
            let taken = missing.len().min(text.len());
            missing[..taken].copy_from_slice(&text[..taken]);
            self.head_bytes += taken;
            text = &text[taken..];
            if self.head_bytes < HEAD_BYTES {
                return Ok(());
            }
            let length = u32::from_be_bytes(self.head) as usize;
            if length > bytes_max {
                return Err(TransportError::Oversized { bytes: length });
            }
            let missing = length - self.body.len();
            let (body, rest) = text.split_at(missing.min(text.len()));
            self.take(body, missing);
            text = rest;
            if self.body.len() == length {
                frames.push_back(std::mem::take(&mut self.body).into());
                self.head_bytes = 0;
            }
        }
        Ok(())
    }

    /// Takes a part of the body, of which so much is missing. Room doubles with what has come, and
    /// ends at what the head says.
    fn take(&mut self, part: &[u8], missing: usize) {
        if self.body.capacity() - self.body.len() < part.len() {
            let room = part.len().max(self.body.len()).min(missing);
            self.body.reserve_exact(room);
        }
        self.body.extend_from_slice(part);
    }
}

const HEAD_BYTES: usize = 4;
