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
                return Err(TransportError::Oversized { bytes: length, bytes_max });
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 300;

    type Decoded = (Vec<Bytes>, Result<bool, TransportError>);

    /// The frames of a text that comes in these parts, and whether it ends with one.
    fn decoded(parts: &[&[u8]]) -> Decoded {
        let (mut decoder, mut frames) = (FrameDecoder::default(), VecDeque::new());
        let all = parts.iter().try_for_each(|part| decoder.decode(part, BYTES_MAX, &mut frames));
        (frames.into(), all.map(|()| decoder.is_between_frames()))
    }

    /// The same from the whole of it, by the definition.
    fn defined(mut text: &[u8]) -> Decoded {
        let mut frames = Vec::new();
        while let Some((head, rest)) = text.split_first_chunk() {
            let bytes = u32::from_be_bytes(*head) as usize;
            if bytes > BYTES_MAX {
                return (frames, Err(TransportError::Oversized { bytes, bytes_max: BYTES_MAX }));
            }
            let Some((body, rest)) = rest.split_at_checked(bytes) else { break };
            frames.push(Bytes::copy_from_slice(body));
            text = rest;
        }
        (frames, Ok(text.is_empty()))
    }

    fn cut(mut text: &[u8], lengths: Vec<usize>) -> Vec<&[u8]> {
        let mut parts = Vec::new();
        for length in lengths {
            let (part, rest) = text.split_at(length.min(text.len()));
            parts.push(part);
            text = rest;
        }
        parts.push(text);
        parts
    }

    /// Frames, some of them too long and the last one cut, or anything at all.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let body = prop_oneof![9 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 280..310)];
        let framed = (vec(body, 0..8), any::<prop::sample::Index>()).prop_map(|(bodies, end)| {
            let mut text: Vec<u8> = bodies
                .iter()
                .flat_map(|body| [&(body.len() as u32).to_be_bytes()[..], body].concat())
                .collect();
            let end = end.index(2 * text.len() + 1);
            text.truncate(end);
            text
        });
        prop_oneof![framed, vec(prop_oneof![Just(0), any::<u8>()], 0..100)]
    }

    proptest! {
        #[test]
        fn a_text_decodes_as_defined_however_it_is_cut(
            text in texts(),
            lengths in vec(0..20_usize, 0..60),
        ) {
            prop_assert_eq!(decoded(&cut(&text, lengths)), defined(&text));
        }
    }

    #[test]
    fn a_claimed_length_gets_no_room_before_its_bytes_come() {
        let (mut decoder, mut frames) = (FrameDecoder::default(), VecDeque::new());
        let length = 1_000_000_usize;
        decoder.decode(&(length as u32).to_be_bytes(), length, &mut frames).unwrap();
        assert_eq!(decoder.body.capacity(), 0);
        let mut most = 0;
        for come in (1_000..length).step_by(1_000) {
            decoder.decode(&[7; 1_000], length, &mut frames).unwrap();
            let room = decoder.body.capacity();
            assert!((come..=2 * come).contains(&room), "{room} for {come}");
            most = most.max(room);
        }
        assert_eq!((most, frames.len()), (length, 0), "in the end exactly what is needed");
        decoder.decode(&[7; 1_000], length, &mut frames).unwrap();
        assert_eq!(frames[0], vec![7; length]);
        assert_eq!(decoder.body.capacity(), 0);
    }
}
