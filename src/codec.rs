//! Primitives of the engine's binary formats: a writer and a strict reader.
//!
//! Integers are LEB128 varints in their shortest form, signed ones zigzag; byte strings carry
//! their length in front. The reader refuses everything that the writer would not have produced,
//! so that equal things have equal bytes in both directions.
//!
//! No schema, no framing, no checksums: those belong to the formats built from this.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

/// Why bytes could not be decoded: what was being read, and what was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// Where in the input, in bytes.
    pub offset: usize,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a valid encoding: {} at byte {}", self.what, self.offset)
    }
}

impl std::error::Error for DecodeError {}

/// How many bytes [`Writer::unsigned`] writes.
#[must_use]
pub const fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends primitives to a buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty writer.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A writer with room for a number of bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// An unsigned varint.
    pub fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A count or length.
    pub fn count(&mut self, count: usize) {
        self.unsigned(count as u64);
    }

    /// A signed varint, zigzag.
    pub fn signed(&mut self, number: i64) {
        self.unsigned(((number << 1) ^ (number >> 63)) as u64);
    }

    /// Eight bytes, most significant first.
    pub fn fixed(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// Bytes without their length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes with their length in front.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    /// An optional number: 0 for none, else the number after a 1.
    pub fn optional(&mut self, number: Option<u64>) {
        match number {
            None => self.byte(0),
            Some(number) => {
                self.byte(1);
                self.unsigned(number);
            }
        }
    }

    /// The number of bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes written.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Reads what a [`Writer`] wrote. Byte strings are slices of the input, never copies.
#[derive(Clone, Debug)]
pub struct Reader {
    input: Bytes,
    offset: usize,
}

impl Reader {
    /// A reader at the start of its input.
    #[must_use]
    pub const fn new(input: Bytes) -> Self {
        Self { input, offset: 0 }
    }

    /// An error at the current position.
    #[must_use]
    pub const fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, offset: self.offset }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.input.len() - self.offset
    }

    /// One byte.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let byte = *self.input.get(self.offset).ok_or(self.error(what))?;
        self.offset += 1;
        Ok(byte)
    }

    /// An unsigned varint in its shortest form.
    pub fn unsigned(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            let overflows = shift == 63 && bits > 1;
            let is_padded = byte == 0 && shift > 0;
            if overflows || is_padded {
                return Err(self.error(what));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.error(what))
    }

    /// A count of things that take at least `bytes_each` bytes each: more than the rest of the
    /// input could hold is refused before anything is allocated.
    pub fn count(&mut self, bytes_each: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.unsigned(what)?).map_err(|_| self.error(what))?;
        if count > self.remaining() / bytes_each.max(1) {
            return Err(self.error(what));
        }
        Ok(count)
    }

    /// A signed varint.
    pub fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let number = self.unsigned(what)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Eight bytes, most significant first.
    pub fn fixed(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let bytes = self.raw(8, what)?;
        Ok(u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes were read")))
    }

    /// A number of bytes.
    pub fn raw(&mut self, length: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(self.error(what));
        }
        let slice = self.input.slice(self.offset..self.offset + length);
        self.offset += length;
        Ok(slice)
    }

    /// Bytes with their length in front.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.count(1, what)?;
        self.raw(length, what)
    }

    /// An optional number.
    pub fn optional(&mut self, what: &'static str) -> Result<Option<u64>, DecodeError> {
        match self.byte(what)? {
            0 => Ok(None),
            1 => self.unsigned(what).map(Some),
            _ => Err(self.error(what)),
        }
    }

    /// Checks that nothing is left.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_length() {
        let mut numbers: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1]).collect();
        numbers.push(u64::MAX);
        for number in numbers {
            let mut writer = Writer::new();
            writer.unsigned(number);
            writer.signed(number as i64);
            let mut reader = Reader::new(writer.finish());
            assert_eq!(reader.unsigned("n"), Ok(number));
            let signed = number as i64;
            assert_eq!(reader.signed("n"), Ok(signed));
            assert_eq!(reader.finish("end"), Ok(()));
        }
    }

    #[test]
    fn padded_and_overlong_varints_are_refused() {
        let overlong = [&[0xff; 9][..], &[0x02]].concat();
        for bytes in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &[0x80; 11], &overlong, &[0x80]] {
            let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
            assert!(reader.unsigned("n").is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn a_count_larger_than_the_input_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[3, 0, 0, 0]));
        assert!(reader.count(2, "n").is_err());
    }
}
