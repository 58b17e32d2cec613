//! Records: what Noise seals, numbered in each direction.
//!
//! A record is its length (two bytes, most significant first) and that many bytes of sealed text,
//! whose last sixteen are the tag. Its number is not sent: both sides count from 0, so that a
//! record which was repeated, left out or moved does not open.
//!
//! Invariant: no number is used twice with a key.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use snow::StatelessTransportState;

use super::error::TransportError;

/// The sealing half of a connection.
#[derive(Debug)]
pub(super) struct Sealing {
    keys: Arc<StatelessTransportState>,
    next: u64,
}

/// The opening half of a connection.
#[derive(Debug)]
pub(super) struct Opening {
    keys: Arc<StatelessTransportState>,
    next: u64,
    /// What was opened last; kept for its room.
    plain: Vec<u8>,
}

/// Both halves for the keys of one handshake.
pub(super) fn halves(keys: StatelessTransportState) -> (Sealing, Opening) {
    let keys = Arc::new(keys);
    let sealing = Sealing { keys: keys.clone(), next: 0 };
    (sealing, Opening { keys, next: 0, plain: Vec::new() })
}

impl Sealing {
    /// Seals the front of `plain`, as much as fits in a record, onto the end of `sealed`.
    pub(super) fn seal(&mut self, plain: &mut BytesMut, sealed: &mut BytesMut) {
        let length = plain.len().min(PLAIN_BYTES_MAX);
        let start = sealed.len();
        sealed.extend_from_slice(&((length + TAG_BYTES) as u16).to_be_bytes());
        sealed.resize(start + HEAD_BYTES + length + TAG_BYTES, 0);
        self.keys
            .write_message(self.next, &plain[..length], &mut sealed[start + HEAD_BYTES..])
            .expect("the record fits, and no connection lives for 2^64 records");
        self.next += 1;
        plain.advance(length);
    }
}

impl Opening {
    /// Takes the record off the front of `input` and opens it; none if it is not all there.
    ///
    /// # Errors
    /// If it is not the next record that the peer sealed.
    pub(super) fn open(&mut self, input: &mut BytesMut) -> Result<Option<&[u8]>, TransportError> {
        let Some(head) = input.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*head));
        let tampered = TransportError::Tampered { record: self.next };
        // Nobody seals an empty text.
        if length <= TAG_BYTES {
            return Err(tampered);
        }
        let Some(sealed) = input.get(HEAD_BYTES..HEAD_BYTES + length) else { return Ok(None) };
        if self.plain.len() < length {
            self.plain.resize(length, 0);
        }
        let opened = self.keys.read_message(self.next, sealed, &mut self.plain[..length]);
        let opened = opened.map_err(|_| tampered)?;
        self.next += 1;
        input.advance(HEAD_BYTES + length);
        Ok(Some(&self.plain[..opened]))
    }

    /// Gives back the room of what was opened.
    pub(super) fn release(&mut self) {
        self.plain = Vec::new();
    }
}

const HEAD_BYTES: usize = 2;
const TAG_BYTES: usize = 16;

/// Most of a plain text in one record: what its length can tell, without the tag.
pub(super) const PLAIN_BYTES_MAX: usize = u16::MAX as usize - TAG_BYTES;
